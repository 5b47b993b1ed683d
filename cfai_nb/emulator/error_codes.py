"""Error codes of the service: HTTP status and text of each, and the exception that carries one.

Every part of the emulator raises what :func:`refuse` returns; ``service.http`` turns it into a failure envelope.
The table is the service's published one (``workers-ai/platform/errors``) plus the codes that were only observed. A
client distinguishes errors by the code in the body, so the emulator never invents a code: what it does not imitate is
refused with the service's "no such model or task", and the text begins with "emulator:".
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: code -> (HTTP status, text). ``{…}`` is filled in by :func:`refuse`.
CODES: Mapping[int, tuple[int, str]] = {
    1015: (429, "error code: 1015"),
    2001: (400, "Please configure AI Gateway in the Cloudflare dashboard"),
    2008: (400, "Invalid provider"),
    2009: (401, "The provider rejected the credentials of the gateway"),
    2021: (402, "Prepaid credits are used up"),
    3000: (404, 'vectorize.index.not_found - Index name "{name}"'),
    3002: (400, 'vectorize.index.duplicate_name - Index name "{name}"'),
    3003: (400, "Invalid or incomplete request: headers or body missing"),
    3006: (413, "Request is too large"),
    3007: (408, "Request timeout"),
    3008: (408, "Request was aborted"),
    3010: (413, "The estimated number of input and maximum output tokens exceeded this model context window limit"),
    3021: (429, "rate limiting: inference request per min rate reached"),
    3023: (403, "Service unavailable for account"),
    3030: (400, "Your output has been flagged. Choose another prompt"),
    3036: (429, "You have used up your daily free allocation of 10,000 neurons"),
    3039: (400, "Missing finetune files"),
    3040: (429, "Capacity temporarily exceeded, please try again."),
    3041: (403, "The account is not allowed to access this model"),
    3042: (404, "Model name is invalid: {name}"),
    4006: (
        429,
        "you have used up your daily free allocation of 10,000 neurons, please upgrade to Cloudflare's Workers Paid "
        "plan if you would like to continue usage.",
    ),
    5004: (400, "Invalid data type for base64 input"),
    5005: (405, "The model does not support LoRa inference"),
    5006: (400, "Bad input: Error: {why}"),
    5007: (400, "No such model {name} or task"),
    5016: (403, "Model terms were not accepted; send the prompt 'agree' once"),
    5018: (403, "Account not allowed for private model"),
    5019: (405, "Deprecated SDK version"),
    5021: (
        413,
        "The estimated number of input and maximum output tokens ({wanted}) exceeded this model context window limit "
        "({context})",
    ),
    5035: (403, "This model requires the Workers Paid plan"),
    6003: (400, "Invalid or malformed request body"),
    7001: (405, "Method {method} not available for that URI."),
    7003: (404, "Could not route to {path}, perhaps your object identifier is invalid?"),
    8001: (400, "Invalid input"),
    8006: (400, "Tool call could not be completed: max_tokens is too small for the model's reasoning"),
    9106: (400, "Authentication failed: malformed or missing API token"),
    10000: (401, "Authentication error"),
}

#: Codes of the edge in front of the models and of other products; their texts have no prefix and no id.
_EDGE = frozenset({2001, 2008, 2009, 2021, 3000, 3002, 7001, 7003, 9106, 10000})
#: Codes of AI Gateway; on its own host they have another format.
GATEWAY = frozenset({2001, 2008, 2009, 2021})
#: Codes from here on are Vectorize's.
_VECTORIZE = 40_000
#: Codes of AI Search; 7001 and 7003 are the edge's as well.
_AI_SEARCH = range(7000, 7100)


@dataclass(eq=False)
class ServiceError(Exception):
    """An error as the service sends it; `text` is the message without prefix and request id."""

    code: int
    text: str
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self, request: str) -> dict[str, Any]:
        """Return the failure envelope; `request` is the request id at the end of the message."""
        bare = self.code in _EDGE or self.code in _AI_SEARCH or self.code >= _VECTORIZE or self.status == 422
        message = self.text if bare else f"AiError: AiError: {self.text} ({request})"
        return {"errors": [{"message": message, "code": self.code}], "success": False, "result": {}, "messages": []}


def refuse(code: int, *, text: str | None = None, status: int | None = None, **details: object) -> ServiceError:
    """Return the error of a code, with the service's text unless another is given."""
    usual, words = CODES.get(code, (400, f"error {code}"))
    return ServiceError(code, text if text is not None else words.format_map(details), status or usual)


def malformed(details: Sequence[tuple[Sequence[str], str]]) -> ServiceError:
    """Return the 422 of a malformed question: (path below the body, what is wrong) as JSON text in the message."""
    found = [{"loc": ["body", *path], "msg": text, "type": "value_error"} for path, text in details]
    return ServiceError(5006, json.dumps({"detail": found}), 422)
