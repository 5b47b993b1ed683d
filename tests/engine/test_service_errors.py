"""Refusals: what each code of the service means, in every form in which it was seen to arrive."""

from __future__ import annotations

import json
from typing import Any

import pytest

import cfai_nb as cf
from cfai_nb._engine import service_errors
from cfai_nb._engine.service_errors import SERVER, THROUGH_GATEWAY, VECTORIZE, WORKERS_AI, product_of, service_error
from cfai_nb.emulator.error_codes import CODES as EMULATED
from cfai_nb.emulator.search_instance import CODES as SEARCH

MODEL = "@cf/baai/bge-m3"

#: code -> (HTTP status or None where none is established, class, reaction): the table of the dossier, section 8.
CODES: dict[int, tuple[int | None, type[cf.ServiceError], str]] = {
    3003: (400, cf.Refused, "split"),
    3006: (413, cf.TooLarge, "split"),
    3007: (408, cf.Unavailable, "again"),
    3008: (408, cf.Unavailable, "again"),
    3021: (429, cf.RateLimited, "wait"),
    3023: (403, cf.AccessError, "stop"),
    3030: (400, cf.Refused, "split"),
    6003: (400, cf.Refused, "split"),
    8006: (400, cf.Refused, "split"),
    3036: (429, cf.QuotaExhausted, "stop"),
    4006: (429, cf.QuotaExhausted, "stop"),
    3039: (400, cf.Refused, "split"),
    3040: (429, cf.Busy, "wait"),
    3041: (403, cf.AccessError, "stop"),
    5018: (403, cf.AccessError, "stop"),
    3042: (404, cf.AccessError, "stop"),
    5004: (400, cf.Refused, "split"),
    5006: (400, cf.Refused, "split"),
    5007: (400, cf.AccessError, "stop"),
    5016: (403, cf.AccessError, "stop"),
    5021: (413, cf.TooLarge, "split"),
    3010: (413, cf.TooLarge, "split"),
    5035: (403, cf.AccessError, "stop"),
    8001: (None, cf.Refused, "split"),
    7001: (405, cf.AccessError, "stop"),
    7003: (404, cf.AccessError, "stop"),
    9106: (400, cf.AccessError, "stop"),
    10000: (401, cf.AccessError, "stop"),
    2001: (400, cf.AccessError, "stop"),
    2021: (402, cf.QuotaExhausted, "stop"),
    2009: (401, cf.AccessError, "stop"),
    1015: (429, cf.RateLimited, "wait"),
}
#: Codes that mean "no", whoever asks: either class ends well, but they must not be repeated.
FINAL = {5005: 405, 5019: 405}

FORMS = {
    "envelope": lambda code: {"success": False, "errors": [{"code": code, "message": "words"}], "result": {}},
    "envelope with null": lambda code: {
        "success": False,
        "errors": [{"code": code, "message": "words"}],
        "result": None,
    },
    "code as string": lambda code: {"success": False, "errors": [{"code": str(code), "message": "words"}]},
    "prefix": lambda code: {"success": False, "errors": [{"message": f"{code}: words"}]},
    "AiError prefix": lambda code: {"errors": [{"message": f"AiError: AiError: {code}: words (0a1b)"}]},
    "prefix beside a word": lambda code: {"errors": [{"code": "rate_limit", "message": f"{code}: words"}]},
    "OpenAI": lambda code: {"error": {"message": "words", "type": "invalid_request_error", "code": code}},
    "OpenAI, code as string": lambda code: {
        "error": {"message": "words", "type": "x", "param": None, "code": str(code)}
    },
    "OpenAI, prefix": lambda code: {"error": {"message": f"{code}: words", "type": "x", "code": "bad"}},
    "bare string": lambda code: {"error": f"{code}: words"},
    "bare object": lambda code: {"code": code, "message": "words"},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("code", CODES)
def test_every_code_in_every_form(code: int, form: str) -> None:
    """A code has one class and reaction, whichever way it is written."""
    status, kind, reaction = CODES[code]
    error = service_error(status or 400, {}, json.dumps(FORMS[form](code)).encode(), MODEL, THROUGH_GATEWAY)
    assert type(error) is kind
    assert error.reaction == reaction
    assert error.code == code
    assert error.status == (status or 400)
    assert error.model == MODEL
    assert MODEL in str(error)
    assert str(code) in str(error)
    assert "words" in str(error)


#: Codes of the emulator that no session can be answered with, so that their status alone says what they mean.
UNMET = {
    2008,  # on the host of the gateway alone
    7055,  # an upload without a file
    7064, 7065, 7066,  # namespaces are neither made nor deleted
    7074,  # one search over several instances
}  # fmt: skip


def test_every_code_of_the_emulator_has_a_meaning() -> None:
    """What the emulator can refuse with, the client knows: its class, and what to do about it."""
    known = {code for product in PRODUCTS.values() for code in product.meanings}
    assert {*EMULATED, *SEARCH} - known == UNMET, "give these codes a meaning in _engine/service_errors.py"


STATUSES = (200, 302, 400, 403, 404, 422, 429, 500, 503)
PRODUCTS = {name: made for name, made in vars(service_errors).items() if isinstance(made, service_errors.Product)}


@pytest.mark.parametrize("product", PRODUCTS)
def test_a_fault_is_never_permanent(product: str) -> None:
    """Whatever code a 5xx carries, of its product or of another, in whichever form: it is repeated."""
    for code in {*CODES, *FINAL, *range(40_000, 40_030), 3000, 3002, 17, 9999}:
        for write in FORMS.values():
            error = service_error(500, {}, json.dumps(write(code)).encode(), MODEL, PRODUCTS[product])
            assert error.reaction in ("again", "wait"), (code, str(error))


@pytest.mark.parametrize("code", CODES)
def test_a_permanent_code_needs_its_status(code: int) -> None:
    """With a status it does not come with, a code that ends something is not believed; one that waits always is."""
    kind = CODES[code][1]
    body = json.dumps(FORMS["envelope"](code)).encode()
    for status in STATUSES:
        error = service_error(status, {}, body, MODEL, THROUGH_GATEWAY)
        meanings = THROUGH_GATEWAY.meanings
        fits = (meanings.get(f"{code} {status}") or meanings[code]).fits(status)
        assert error.known == fits
        assert fits or type(error) is type(service_error(status, {}, b"", MODEL, THROUGH_GATEWAY))
        assert not fits or type(error) is kind
        assert fits or error.code == status
        if kind.reaction in ("wait", "again"):
            assert fits
    assert type(service_error(None, {}, body, MODEL, THROUGH_GATEWAY)) is kind, "one request of a batch has no status"


def test_a_code_is_of_its_product() -> None:
    """The codes of Vectorize, of a gateway and of Workers AI mean nothing to another, or to another server."""

    def read(product: service_errors.Product, code: int, status: int) -> cf.ServiceError:
        return service_error(status, {}, json.dumps(FORMS["envelope"](code)).encode(), MODEL, product)

    assert read(VECTORIZE, 3000, 404).known
    assert not read(WORKERS_AI, 3000, 404).known
    assert not read(VECTORIZE, 4006, 429).known
    assert read(THROUGH_GATEWAY, 2021, 402).known
    assert not read(WORKERS_AI, 2021, 402).known
    for code, (status, *_) in CODES.items():
        error = read(SERVER, code, status or 400)
        assert not error.known
        assert "cf.models" not in str(error)
        assert "CLOUDFLARE" not in str(error)


def test_the_route_says_which_product_answers() -> None:
    """It follows from the address and from whether a gateway is named, and not from what a text says."""

    def of(path: str | None, *, cloudflare: bool = True, **headers: str) -> service_errors.Product:
        return product_of(cf.Request(path=path, headers=headers), cloudflare=cloudflare)

    assert of(None) is of("v1/chat/completions") is of("models/search") is WORKERS_AI
    assert of(None, **{"cf-aig-gateway-id": "g"}) is THROUGH_GATEWAY
    assert of("/vectorize/v2/indexes/notes") is VECTORIZE
    assert of("/ai-gateway/gateways/g/logs/1") is service_errors.GATEWAY
    assert of("/ai-search/namespaces/default/instances") is service_errors.AI_SEARCH
    assert of("v1/chat/completions", cloudflare=False, **{"cf-aig-gateway-id": "g"}) is SERVER
    error = service_error(500, {}, b"2021: connection reset by upstream", MODEL, THROUGH_GATEWAY)
    assert (type(error), error.code) == (cf.Unavailable, 500)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (429, "insufficient_quota", cf.QuotaExhausted), (429, "rate_limit_exceeded", cf.RateLimited),
        (400, "context_length_exceeded", cf.TooLarge), (404, "model_not_found", cf.AccessError),
        (401, "invalid_api_key", cf.AccessError), (400, "invalid_request_error", cf.Refused),
        (500, "insufficient_quota", cf.Unavailable), (503, "invalid_api_key", cf.Unavailable),
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", ["code", "type"])
def test_words_of_openais_dialect(status: int, code: str, kind: type[cf.ServiceError], place: str) -> None:
    """Another server is read by its status and by OpenAI's words for it."""
    body = json.dumps({"error": {"message": "words", "type": None, "code": None, place: code}}).encode()
    error = service_error(status, {}, body, "gpt", SERVER)
    assert type(error) is kind
    assert "words" in str(error)


ODD = {
    "a power as a code": '{"errors": [{"code": "\u00b2", "message": "words"}]}'.encode(),
    "5,000 digits": b'{"errors": [{"code": ' + b"9" * 5_000 + b', "message": "words"}]}',
    "5,000 digits in a text": b'{"errors": [{"code": "' + b"9" * 5_000 + b'", "message": "words"}]}',
    "100,000 brackets": b"[" * 100_000,
    "an escape": b'{"errors": [{"code": 5006, "message": "\\u001b]0;title\\u0007\\u202e"}]}',
    "half a character": b'{"errors": [{"code": 5006, "message": "\\ud800"}]}',
    "null": b"null",
    "nothing": b"",
    "no result": b'{"success": true, "result": null}',
    "a list of lists": b'{"errors": [[]]}',
    "codes in a dict": b'{"errors": [{"code": {"a": 1}, "message": ["x"]}]}',
}


@pytest.mark.parametrize("body", ODD.values(), ids=list(ODD))
@pytest.mark.parametrize("status", STATUSES)
def test_any_body_gives_a_readable_error(status: int, body: bytes) -> None:
    """One line of plain text that names the model and the status or code, whatever the body holds."""
    for product in PRODUCTS.values():
        text = str(service_error(status, {"location": "/\x1b[2J"}, body, MODEL, product))
        assert text.isprintable()
        assert text.startswith(f"{MODEL}: ")
        assert str(status) in text or "5006" in text
        assert len(text) < 700


def test_a_redirect_says_where_to() -> None:
    """It names the address without its query, which may hold a secret, and what to check."""
    error = service_error(302, {"location": "https://login.example.com/in?token=secret"}, b"", MODEL)
    assert error.reaction == "again"
    assert "https://login.example.com/in: check base_url" in str(error)
    assert "secret" not in str(error)
    assert type(service_error(301, {"location": "https://example.com/"}, b"", MODEL)) is cf.AccessError
    for odd in ("http://[oops", "http://[::1", "//[x]/"):  # of a broken proxy: the error of one row
        assert "redirects to another address" in str(service_error(302, {"location": odd}, b"", MODEL))


@pytest.mark.parametrize("code", FINAL)
def test_other_final_codes_are_not_repeated(code: int) -> None:
    """Codes that say no for good are neither repeated nor waited for."""
    error = service_error(FINAL[code], {}, json.dumps(FORMS["envelope"](code)).encode(), MODEL)
    assert error.reaction not in ("again", "wait")


PAGE = b"<!DOCTYPE html><html><head><title>502</title></head><body><h1>Bad gateway</h1></body></html>"


@pytest.mark.parametrize(
    ("status", "content", "kind", "code"),
    [
        (502, PAGE, cf.Unavailable, 502),
        (200, PAGE, cf.Unavailable, 200),
        (429, b"error code: 1015", cf.RateLimited, 1015),
        (429, b"<html><body>Error code: 1015</body></html>", cf.RateLimited, 1015),
        (502, b"error code: 502", cf.Unavailable, 502),
        (429, b"", cf.RateLimited, 429),
        (500, b"", cf.Unavailable, 500),
        (503, b"{}", cf.Unavailable, 503),
        (529, b"", cf.Busy, 529),
        (408, b"", cf.Unavailable, 408),
        (409, b"", cf.Unavailable, 409),
        (401, b"", cf.AccessError, 401),
        (403, b"[]", cf.AccessError, 403),
        (402, b"null", cf.QuotaExhausted, 402),
        (404, b'"nothing"', cf.AccessError, 404),
        (413, b"17", cf.TooLarge, 413),
        (400, b"\xff\xfe\x00", cf.Refused, 400),
        (422, b'{"errors": []}', cf.Refused, 422),
        (400, b'{"errors": [null]}', cf.Refused, 400),
        (400, b'{"errors": [{"message": null, "code": null}]}', cf.Refused, 400),
        (
            400,
            b'{"errors": [{"message": "Requested token count exceeds the model\'s maximum context length"}]}',
            cf.TooLarge,
            400,
        ),
        (200, b'{"success": false, "errors": []}', cf.Unavailable, 200),
    ],
)
def test_bodies_that_say_nothing_go_by_the_status(
    status: int, content: bytes, kind: type[cf.ServiceError], code: int
) -> None:
    """Pages, plain text, empty and broken bodies are classed by status, and never raise by themselves."""
    error = service_error(status, {}, content, MODEL)
    assert type(error) is kind
    assert error.code == code
    assert MODEL in str(error)


def test_a_malformed_question_arrives_as_a_document_in_a_string() -> None:
    """422 with JSON inside errors[0].message is a refusal of the row that shows the text, cut to a line."""
    inner = json.dumps({"detail": [{"loc": ["body", "questions"], "msg": "too many " * 100}]}, indent=2)
    error = service_error(422, {}, json.dumps({"errors": [{"code": 5006, "message": inner}]}).encode(), MODEL)
    assert type(error) is cf.Refused
    assert "too many" in str(error)
    assert "\n" not in str(error)
    assert len(str(error)) < 400


@pytest.mark.parametrize(
    ("value", "wait"),
    [("7", 7.0), ("0", 0.0), ("3600", 60.0), ("-3", 0.0), ("soon", None), ("Wed, 21 Oct 2026 07:28:00 GMT", None)],
)
def test_retry_after_is_honoured_up_to_a_minute(value: str, wait: float | None) -> None:
    """Retry-After in seconds is kept, capped at 60; anything else is as if it were absent."""
    assert service_error(429, {"retry-after": value}, b"", MODEL).wait == wait
    assert service_error(429, {}, b"", MODEL).wait is None


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (4006, "00:00 UTC"),
        (10000, "CLOUDFLARE_API_TOKEN"),
        (9106, "CLOUDFLARE_API_TOKEN"),
        (7003, "CLOUDFLARE_ACCOUNT_ID"),
        (5035, "cf.models()"),
        (5007, "cf.models(refresh=True)"),
        (5021, "max_tokens"),
    ],
)
def test_a_refusal_says_what_to_do(code: int, words: str) -> None:
    """The message of a refusal that a user can do something about says what."""
    status = CODES[code][0] or 400
    assert words in str(service_error(status, {}, json.dumps(FORMS["envelope"](code)).encode(), MODEL))


def test_a_code_with_two_meanings_is_read_by_its_status() -> None:
    """3030 is the safety filter's (400), and with 422 a definition that the extraction model does not accept."""
    body = b'{"success": false, "errors": [{"code": 3030, "message": "no"}]}'
    flagged, defined = (service_error(status, {}, body, "m") for status in (400, 422))
    assert "safety filter" in str(flagged)
    assert "fields=" in str(defined)
    assert flagged.code == defined.code == 3030


@pytest.mark.parametrize(
    ("product", "text", "kind"),
    [
        (THROUGH_GATEWAY, "Spend limit exceeded", cf.QuotaExhausted),
        (THROUGH_GATEWAY, "spend_limits: rule 2 reached", cf.QuotaExhausted),
        (THROUGH_GATEWAY, "Rate limited", cf.RateLimited),
        (WORKERS_AI, "Spend limit exceeded", cf.RateLimited),
    ],
)
def test_a_spend_limit_is_the_gateways(product: Any, text: str, kind: type[cf.ServiceError]) -> None:
    """A 429 of a gateway that names its spend limit stops the run; any other one waits."""
    content = json.dumps({"success": False, "errors": [{"code": 429, "message": text}]}).encode()
    assert type(service_error(429, {}, content, "m", product)) is kind
