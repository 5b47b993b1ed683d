"""What a refusal means: told by the code in the body, and by the status only where the body says nothing.

Codes and texts: developers.cloudflare.com/workers-ai/platform/errors (2026-09-17), and for 3021, 4006, 7001, 7003,
8001, 9106, 10000 and those of Vectorize (3000, 3002, 400xx) dated observations of the live service.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import NamedTuple

from ..errors import (
    AccessError,
    Busy,
    QuotaExhausted,
    RateLimited,
    Refused,
    ServiceError,
    TooLarge,
    Unavailable,
)
from ..tasks import Json

_QUOTA = "the day's Neurons are used up; they come back at 00:00 UTC (a paid plan has no such stop)"
_TERMS = 'accept its terms, once for the account: session.accept_terms("{model}"), of the session from cf.connect(...)'
_TOKEN = "check CLOUDFLARE_API_TOKEN (it needs Workers AI Read and Edit) and CLOUDFLARE_ACCOUNT_ID"


#: What texts begin with, and says nothing that the code does not.
_LEAD = re.compile(r"\s*(?:AiError:\s*)*(?:(\d{4,5}):\s*)?")


class _Meaning(NamedTuple):
    kind: type[ServiceError]
    todo: str = ""


_BY_CODE = {
    1015: _Meaning(RateLimited),
    3003: _Meaning(Refused),
    3006: _Meaning(TooLarge, "split the text"),
    3007: _Meaning(Unavailable),
    3008: _Meaning(Unavailable),
    3021: _Meaning(RateLimited),
    3023: _Meaning(AccessError, "the account is blocked; ask Cloudflare's support"),
    3030: _Meaning(Refused, "the safety filter flagged it; reword rather than repeat"),
    3036: _Meaning(QuotaExhausted, _QUOTA),
    4006: _Meaning(QuotaExhausted, _QUOTA),
    3040: _Meaning(Busy),
    3039: _Meaning(Refused, "the fine-tune's files are missing"),
    3041: _Meaning(AccessError, "the model is not open to this account; choose another from cf.models()"),
    5018: _Meaning(AccessError, "the model is not open to this account; choose another from cf.models()"),
    5004: _Meaning(Refused),
    5005: _Meaning(AccessError, "the model takes no fine-tune"),
    5006: _Meaning(Refused),
    5019: _Meaning(AccessError, "update cfai_nb"),
    8001: _Meaning(Refused),
    3042: _Meaning(AccessError, "cf.models(refresh=True) lists the models there are"),
    5007: _Meaning(AccessError, "cf.models(refresh=True) lists the models there are"),
    5016: _Meaning(AccessError, _TERMS),
    5035: _Meaning(AccessError, "the model needs the Workers Paid plan; choose another from cf.models()"),
    5021: _Meaning(TooLarge, "shorten the text or lower max_tokens"),
    3010: _Meaning(TooLarge, "shorten the text or lower max_tokens"),
    7001: _Meaning(AccessError, "check base_url"),
    7003: _Meaning(AccessError, "check CLOUDFLARE_ACCOUNT_ID: 32 hexadecimal characters"),
    9106: _Meaning(AccessError, _TOKEN),
    9109: _Meaning(AccessError, _TOKEN),
    10000: _Meaning(AccessError, _TOKEN),
    2001: _Meaning(AccessError, "there is no such gateway: check gateway=, or create it in the dashboard"),
    2009: _Meaning(AccessError, "check the provider's key in the gateway's settings"),
    2021: _Meaning(QuotaExhausted, "buy credits for the gateway, or leave gateway= out"),
    3000: _Meaning(AccessError, "there is no such index; to_vectorize(..., create=True) makes it"),
    3002: _Meaning(Refused, "there is an index of this name already"),
    40006: _Meaning(Refused, "the query is of another model than the index"),
    40008: _Meaning(Refused, "shorten ids and namespace to 64 bytes"),
    40012: _Meaning(Refused, "the vectors are of another model than the index"),
    40018: _Meaning(Refused, "rename the column: no dot, no double quote, no dollar sign in front"),
    40023: _Meaning(Refused, "look at ids, values and metadata of the row it names"),
    40025: _Meaning(Refused, "ask for fewer matches"),
}


def refusal(status: int, headers: Mapping[str, str], content: bytes, model: str) -> ServiceError:
    """Turn a response that is no answer into the error it means.

    Parameters
    ----------
    status : int
    headers : mapping of str to str
        Names in lower case.
    content : bytes
        An envelope of the service, an OpenAI error object, a web page, or nothing.
    model : str
        For the message.
    """
    code, text = _code_and_text(content)
    meaning = _BY_CODE.get(code) if code is not None else None
    if meaning is None:
        meaning = _by_status(status, text)
    if code is None and text.lstrip().startswith("error code: 1015"):
        code = 1015
    named = f"{code}" if code is not None else f"HTTP {status}"
    advice = f" -- {meaning.todo.replace('{model}', model)}" if meaning.todo else ""
    return meaning.kind(
        f"{model}: {named}: {_short(text) or 'no text'}{advice}",
        code if code is not None else status,
        status=status,
        model=model,
        wait=_retry_after(headers),
    )


def _by_status(status: int, text: str) -> _Meaning:
    if status == 429:
        return _Meaning(RateLimited)
    if status in (401, 403):
        return _Meaning(AccessError, _TOKEN)
    if status == 402:
        return _Meaning(QuotaExhausted, "the account's credits are used up")
    if status == 413 or "maximum context length" in text:
        return _Meaning(TooLarge, "shorten the text or lower max_tokens")
    if status == 529:
        return _Meaning(Busy)
    if status in (408, 409, 425) or status >= 500 or status < 400:
        return _Meaning(Unavailable)
    if status in (404, 405):
        return _Meaning(AccessError, "check base_url and the model's name")
    return _Meaning(Refused)


def _code_and_text(content: bytes) -> tuple[int | None, str]:
    """Find the error in whichever form it came."""
    plain = content[:4000].decode("utf-8", "replace")
    try:
        document: Json = json.loads(content)
    except ValueError:
        found = re.search(r"error code:? (\d{4})", plain, re.IGNORECASE)
        return (int(found[1]) if found else None), re.sub(r"<[^>]*>|\s+", " ", plain)
    if not isinstance(document, dict):
        return None, plain
    errors = document.get("errors") or document.get("error") or document
    first = errors[0] if isinstance(errors, list) and errors else errors
    if isinstance(first, str):
        first = {"message": first}
    if not isinstance(first, dict):
        return None, plain
    text = str(first.get("message") or "")
    code = first.get("code")
    # Codes arrive as numbers, as strings, and as a prefix of the text ("3040: ...").
    lead = _LEAD.match(text)
    if code is None or not str(code).isdigit():
        code = lead[1] if lead else None
    return (int(code) if code is not None else None), text[lead.end() :] if lead else text


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 300 else line[:297] + "..."


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of a Retry-After header, at most a minute; the service was never seen to send one."""
    try:
        return min(60.0, max(0.0, float(headers["retry-after"])))
    except (KeyError, ValueError):
        return None
