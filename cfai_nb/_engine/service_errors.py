"""What an error response means: a table of codes for each product, and the status for everything else.

``Wire`` passes in the response and the product that answered; a ``ServiceError`` comes out, and its ``reaction``
decides what the sender does.  A code has a meaning only within its product.  It is permanent only with a status
it is known to come with, so a 5xx is always repeated; a code that only asks to wait counts with any status.

Codes and texts: developers.cloudflare.com/workers-ai/platform/errors (2026-09-17), and for 3021, 4006, 7001, 7003,
6003, 8001, 8006, 9106, 10000 and those of Vectorize (3000, 3002, 400xx) dated observations of the live service; those
of AI Search (70xx): developers.cloudflare.com/ai-search/troubleshooting/api-error-codes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import urlsplit

import pydantic_core

from ..errors import (
    AccessError,
    Busy,
    QuotaExhausted,
    RateLimited,
    Refused,
    ServiceError,
    TooLarge,
    Unavailable,
    printable,
)
from ..tasks import Json, Request

_QUOTA = "the day's Neurons are used up; they come back at 00:00 UTC (a paid plan has no such stop)"
_TERMS = 'accept its terms, once for the account: session.accept_terms("{model}"), of the session from cf.connect(...)'
_TOKEN = "check CLOUDFLARE_API_TOKEN (it needs Workers AI Read and Edit) and CLOUDFLARE_ACCOUNT_ID"
_CLOSED = "this account has no access to the model; choose another from cf.models()"
_MODELS = "cf.models(refresh=True) lists the available models"
_SPENT = (
    "the gateway's spend limit blocks until its window ends: raise it in the gateway's settings, wait until then, or "
    "leave gateway= out"
)
_SHORTEN = "shorten the text or lower max_tokens"

#: A code may stand in front of a text of the service ("3040: ...", "AiError: AiError: 3040: ...") ...
_LEAD = re.compile(r"\s*(?:AiError:\s*)*(?:([0-9]{4,5}):\s*)?")
#: ... and in a page or a line of its edge, which is not JSON.
_PAGE = re.compile(r"error code:? ([0-9]{4})\b", re.IGNORECASE)

#: The text of a gateway's spend limit, which is a 429 like a full minute; its code is not known.
_SPEND_LIMIT = re.compile(r"spend(?:ing)?[ _-]?limit", re.IGNORECASE)


#: Bytes of a refusal that its error keeps.
_KEPT = 16_384


class _Meaning(NamedTuple):
    """What a code means, and the statuses it comes with."""

    kind: type[ServiceError]
    statuses: tuple[int, ...]
    todo: str = ""

    def fits(self, status: int | None) -> bool:
        """Whether the code means this with a status; None where the error has no status of its own."""
        return status is None or status in self.statuses or self.kind.reaction in ("wait", "again")


#: Cloudflare's edge, in front of every product of the account.
_EDGE: Mapping[int | str, _Meaning] = {
    1015: _Meaning(RateLimited, (429,)),
    7001: _Meaning(AccessError, (400, 405), "check base_url"),
    7003: _Meaning(AccessError, (400, 404), "check CLOUDFLARE_ACCOUNT_ID: 32 hexadecimal characters"),
    9106: _Meaning(AccessError, (400, 401, 403), _TOKEN),
    9109: _Meaning(AccessError, (401, 403), _TOKEN),
    10000: _Meaning(AccessError, (401, 403), _TOKEN),
}
_WORKERS_AI: Mapping[int | str, _Meaning] = {
    3003: _Meaning(Refused, (400,)),
    3006: _Meaning(TooLarge, (413,), "split the text"),
    3007: _Meaning(Unavailable, (408,)),
    3008: _Meaning(Unavailable, (408,)),
    3010: _Meaning(TooLarge, (400, 413), _SHORTEN),
    3021: _Meaning(RateLimited, (429,)),
    3023: _Meaning(AccessError, (403,), "the account is blocked; ask Cloudflare's support"),
    3030: _Meaning(Refused, (400,), "the safety filter flagged it; reword rather than repeat"),
    "3030 422": _Meaning(Refused, (422,), "a definition in fields= is not accepted: check its type and options"),
    3036: _Meaning(QuotaExhausted, (429,), _QUOTA),
    3039: _Meaning(Refused, (400,), "the fine-tune's files are missing"),
    3040: _Meaning(Busy, (429,)),
    3041: _Meaning(AccessError, (403,), _CLOSED),
    3042: _Meaning(AccessError, (404,), _MODELS),
    4006: _Meaning(QuotaExhausted, (429,), _QUOTA),
    5004: _Meaning(Refused, (400,)),
    5005: _Meaning(AccessError, (405,), "the model takes no fine-tune"),
    5006: _Meaning(Refused, (400, 422)),
    5007: _Meaning(AccessError, (400, 404), _MODELS),
    5016: _Meaning(AccessError, (403,), _TERMS),
    5018: _Meaning(AccessError, (403,), _CLOSED),
    5019: _Meaning(AccessError, (405,), "update cfai_nb"),
    5021: _Meaning(TooLarge, (400, 413), _SHORTEN),
    5035: _Meaning(AccessError, (403,), "the model needs the Workers Paid plan; choose another from cf.models()"),
    6003: _Meaning(Refused, (400,)),
    8001: _Meaning(Refused, (400, 422)),
    8006: _Meaning(Refused, (400, 422), "raise max_tokens: the model's thinking used it up before the call"),
}
_GATEWAY: Mapping[int | str, _Meaning] = {
    2001: _Meaning(
        AccessError, (400, 404), "this gateway does not exist: check gateway=, or create it in the dashboard"
    ),
    2009: _Meaning(AccessError, (401,), "check the provider's key in the gateway's settings"),
    2021: _Meaning(QuotaExhausted, (402,), "buy credits for the gateway, or leave gateway= out"),
}
_VECTORIZE: Mapping[int | str, _Meaning] = {
    3000: _Meaning(AccessError, (404,), "this index does not exist; to_vectorize(..., create=True) creates it"),
    3002: _Meaning(Refused, (400, 409), "an index of this name already exists"),
    40006: _Meaning(Refused, (400,), "the query vector comes from another model than the index"),
    40008: _Meaning(Refused, (400,), "shorten ids and namespace to 64 bytes"),
    40012: _Meaning(Refused, (400,), "the vectors come from another model than the index"),
    40018: _Meaning(Refused, (400,), "rename the column: no dot, no double quote, no dollar sign in front"),
    40023: _Meaning(Refused, (400,), "check the ids, values and metadata of the row it names"),
    40025: _Meaning(Refused, (400,), "ask for fewer matches"),
}
_FILTER = "check filter=: the names must be filterable, the dates ISO texts"
_AI_SEARCH: Mapping[int | str, _Meaning] = {
    7002: _Meaning(AccessError, (404,), "this instance does not exist; to_ai_search(..., create=True) creates it"),
    7010: _Meaning(AccessError, (400,), "check the models in the instance's settings"),
    7012: _Meaning(AccessError, (400,), "renew the instance's service token in the dashboard"),
    7013: _Meaning(AccessError, (403,), "the account has as many instances as it may have"),
    7022: _Meaning(Refused, (400,), "an instance of this name already exists"),
    7030: _Meaning(Unavailable, (400,)),
    7031: _Meaning(Unavailable, (400,)),
    7032: _Meaning(AccessError, (400,), "resume the instance in the dashboard"),
    7038: _Meaning(Refused, (400,)),
    7039: _Meaning(Refused, (400,)),
    7041: _Meaning(Refused, (404,), "this document does not exist"),
    7042: _Meaning(Refused, (409,), "a document with this key already exists"),
    7053: _Meaning(AccessError, (400,), "the instance has no storage of its own: create another"),
    7054: _Meaning(TooLarge, (413,), "split the text: 4 MiB a document"),
    7056: _Meaning(Refused, (400,)),
    7057: _Meaning(Refused, (400,), _FILTER),
    7058: _Meaning(Refused, (400,), _FILTER),
    7060: _Meaning(Refused, (400,)),
    7063: _Meaning(AccessError, (404,), "this namespace does not exist: check namespace="),
    7069: _Meaning(QuotaExhausted, (429,), "the month's queries are used up"),
    7070: _Meaning(AccessError, (400,), "the instance has no index for this mode: leave mode= out"),
    7072: _Meaning(Refused, (400,), "shorten the id"),
    7077: _Meaning(AccessError, (401,), "check the provider's key in the gateway's settings"),
    7078: _Meaning(QuotaExhausted, (402,), "the provider's bill is not settled"),
    7079: _Meaning(TooLarge, (413,), "lower top_k"),
}
#: The ``code`` or ``type`` of an error in OpenAI's format, from that company and from compatible servers.
_OPENAI: Mapping[int | str, _Meaning] = {
    "insufficient_quota": _Meaning(QuotaExhausted, (402, 403, 429), "the account's credits are used up"),
    "billing_hard_limit_reached": _Meaning(QuotaExhausted, (400, 402, 429), "the account's limit is reached"),
    "rate_limit_exceeded": _Meaning(RateLimited, (429,)),
    "invalid_api_key": _Meaning(AccessError, (401, 403), "check api_token"),
    "authentication_error": _Meaning(AccessError, (401,), "check api_token"),
    "model_not_found": _Meaning(AccessError, (400, 403, 404), "check the model's name"),
    "context_length_exceeded": _Meaning(TooLarge, (400, 413), _SHORTEN),
    "exceed_context_size_error": _Meaning(TooLarge, (400, 413), _SHORTEN),
    "string_above_max_length": _Meaning(TooLarge, (400, 413), "shorten the text"),
    "content_filter": _Meaning(Refused, (400, 422), "the safety filter flagged it; reword rather than repeat"),
    "overloaded_error": _Meaning(Busy, (429, 503, 529)),
}


@dataclass(frozen=True, slots=True)
class Product:
    """A service that answers, as far as its errors go."""

    meanings: Mapping[int | str, _Meaning] = field(repr=False)  # by code
    access: str = _TOKEN  # what to do when it denies access
    place: str = "check base_url and the model's name"  # what to do when it does not know the address
    leads: bool = False  # its codes may also stand in front of a text


WORKERS_AI = Product({**_EDGE, **_WORKERS_AI}, leads=True)
THROUGH_GATEWAY = Product({**_EDGE, **_WORKERS_AI, **_GATEWAY, **_OPENAI}, leads=True)
GATEWAY = Product({**_EDGE, **_GATEWAY}, place="check the name of the gateway and the id of the log")
VECTORIZE = Product({**_EDGE, **_VECTORIZE}, place="check the name of the index")
AI_SEARCH = Product(
    {**_EDGE, **_AI_SEARCH},
    access="the token needs the permissions AI Search: Edit and Run",
    place="check the name of the instance",
)
ANALYTICS = Product(_EDGE, access="give the token the permission Account Analytics: Read", place="check base_url")
SERVER = Product(_OPENAI, access="check api_token and base_url")
_BY_PATH = {"/vectorize/": VECTORIZE, "/ai-gateway/": GATEWAY, "/ai-search/": AI_SEARCH, "/graphql": ANALYTICS}


def product_of(request: Request, *, cloudflare: bool) -> Product:
    """Return which product answers a request, from its path and whether a gateway is named.

    ``cloudflare`` is False for a server in OpenAI's dialect.  The batch queue answers with the codes of Workers AI.
    """
    if not cloudflare:
        return SERVER
    for start, product in _BY_PATH.items():
        if (request.path or "").startswith(start):
            return product
    return THROUGH_GATEWAY if "cf-aig-gateway-id" in request.headers else WORKERS_AI


def service_error(
    status: int | None, headers: Mapping[str, str], content: bytes, model: str, product: Product = WORKERS_AI
) -> ServiceError:
    """Turn an error response into the exception it means; ``model`` is for its message.

    ``status`` is None for one request of a batch, which has no status of its own.  The names of ``headers`` are in
    lower case.  ``content`` is an envelope of the service, an OpenAI error object, a web page, or nothing.
    """
    code, text = _code_and_text(content, product)
    known = None if code is None else product.meanings.get(f"{code} {status}") or product.meanings.get(code)
    fits = known is not None and known.fits(status)
    meaning = known if known is not None and fits else _by_status(status, text, headers, product)
    answered = "refused in the batch" if status is None else f"HTTP {status}"
    named = answered if code is None else f"{code}" if fits else f"{answered} ({code})"
    advice = f" -- {meaning.todo.replace('{model}', model)}" if meaning.todo else ""
    error = meaning.kind(
        f"{model}: {named}: {_short(text) or 'the response gives no reason'}{advice}",
        # An unknown code is shown as it is; a known one with an unexpected status would mislead.
        code if code is not None and (fits or (known is None and isinstance(code, int))) else status,
        status=status,
        model=model,
        wait=_retry_after(headers),
        known=fits,
    )
    error.content, error.headers = content[:_KEPT], headers
    return error


def _by_status(status: int | None, text: str, headers: Mapping[str, str], product: Product) -> _Meaning:
    if status is None:
        return _Meaning(Refused, ())
    if 300 <= status < 400:
        moved = AccessError if status in (301, 308) else Unavailable
        to = _target(headers.get("location", "")) or "another address"
        return _Meaning(moved, (), f"the server redirects to {to}: check base_url")
    if status in (408, 409, 425) or status < 400 or (status >= 500 and status != 529):
        return _Meaning(Unavailable, ())
    if status in (401, 403):
        return _Meaning(AccessError, (), product.access)
    if status in (404, 405):
        return _Meaning(AccessError, (), product.place)
    if status == 413 or "maximum context length" in text:
        return _Meaning(TooLarge, (), _SHORTEN)
    if status == 429 and product in (GATEWAY, THROUGH_GATEWAY) and _SPEND_LIMIT.search(text):
        return _Meaning(QuotaExhausted, (), _SPENT)
    kinds: dict[int, _Meaning] = {
        402: _Meaning(QuotaExhausted, (), "the account's credits are used up"),
        429: _Meaning(RateLimited, ()),
        529: _Meaning(Busy, ()),
    }
    return kinds.get(status, _Meaning(Refused, ()))


def _target(location: str) -> str:
    """Return where a redirect leads, without a query, which may hold a secret; empty if that is not an address."""
    try:
        target = urlsplit(location)
    except ValueError:
        return ""
    return printable(f"{target.scheme}://{target.hostname}{target.path}" if target.hostname else target.path)[:200]


def _code_and_text(content: bytes, product: Product) -> tuple[int | str | None, str]:
    """Return code and text of the error, from any of its formats."""
    plain = content[:4000].decode("utf-8", "replace")
    try:
        document: Json = pydantic_core.from_json(content)
    except ValueError:
        found = _PAGE.search(plain)
        code = int(found[1]) if found and int(found[1]) in product.meanings else None
        return code, re.sub(r"<[^<>]*>|\s+", " ", plain)
    if not isinstance(document, dict):
        return None, "" if document is None else plain
    errors = document.get("errors") or document.get("error") or document
    first = errors[0] if isinstance(errors, list) and errors else errors
    if isinstance(first, str):
        first = {"message": first}
    if not isinstance(first, dict):
        return None, plain
    text = str(first.get("message") or "")
    lead = _LEAD.match(text) if product.leads else None
    ahead = int(lead[1]) if lead and lead[1] else None
    if lead and (ahead is None or ahead in product.meanings or str(first.get("code")) == lead[1]):
        text = text[lead.end() :]
    # Codes arrive as numbers, as strings, and in front of a text of Workers AI; words come from OpenAI's dialect.
    code = first.get("code")
    if isinstance(code, str) and re.fullmatch(r"[0-9]{4,6}", code):
        code = int(code)
    for word in (code, first.get("type"), ahead):
        if isinstance(word, (int, str)) and word in product.meanings:
            return word, text
    return (code if isinstance(code, int) and 1_000 <= code <= 999_999 else None), text


def _short(text: str) -> str:
    line = " ".join(printable(text).split())
    return line if len(line) <= 300 else line[:297] + "..."


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a Retry-After header, at most a minute; the service was never seen to send one."""
    try:
        return min(60.0, max(0.0, float(headers["retry-after"])))
    except (KeyError, ValueError):
        return None
