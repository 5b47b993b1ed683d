"""Refusals: what each code of the service means, in every form in which it was seen to arrive."""

from __future__ import annotations

import json

import pytest

import cfai_nb as cf
from cfai_nb._engine.refusals import refusal

MODEL = "@cf/baai/bge-m3"

#: code -> (HTTP status or None where none is established, class, reaction): the table of the dossier, section 8.
CODES: dict[int, tuple[int | None, type[cf.ServiceError], str]] = {
    3003: (400, cf.Refused, "split"),
    3006: (413, cf.TooLarge, "split"),
    3007: (408, cf.Unavailable, "again"),
    3008: (408, cf.Unavailable, "again"),
    3021: (429, cf.RateLimited, "wait"),
    3023: (403, cf.AccessError, "stop"),
    3030: (None, cf.Refused, "split"),
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
    error = refusal(status or 400, {}, json.dumps(FORMS[form](code)).encode(), MODEL)
    assert type(error) is kind
    assert error.reaction == reaction
    assert error.code == code
    assert error.status == (status or 400)
    assert error.model == MODEL
    assert MODEL in str(error)
    assert str(code) in str(error)
    assert "words" in str(error)


@pytest.mark.parametrize("code", CODES)
def test_the_code_decides_and_not_the_status(code: int) -> None:
    """Whatever status a known code comes with, it means the same (DESIGN 6: by body code, not by status)."""
    body = json.dumps(FORMS["envelope"](code)).encode()
    kinds = {status: type(refusal(status, {}, body, MODEL)) for status in (200, 400, 403, 404, 422, 429, 500)}
    assert kinds == dict.fromkeys(kinds, CODES[code][1])


@pytest.mark.parametrize("code", FINAL)
def test_other_final_codes_are_not_repeated(code: int) -> None:
    """Codes that say no for good are neither repeated nor waited for."""
    error = refusal(FINAL[code], {}, json.dumps(FORMS["envelope"](code)).encode(), MODEL)
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
    error = refusal(status, {}, content, MODEL)
    assert type(error) is kind
    assert error.code == code
    assert MODEL in str(error)


def test_a_malformed_question_arrives_as_a_document_in_a_string() -> None:
    """422 with JSON inside errors[0].message is a refusal of the row that shows the text, cut to a line."""
    inner = json.dumps({"detail": [{"loc": ["body", "questions"], "msg": "too many " * 100}]}, indent=2)
    error = refusal(422, {}, json.dumps({"errors": [{"code": 5006, "message": inner}]}).encode(), MODEL)
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
    assert refusal(429, {"retry-after": value}, b"", MODEL).wait == wait
    assert refusal(429, {}, b"", MODEL).wait is None


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
    assert words in str(refusal(status, {}, json.dumps(FORMS["envelope"](code)).encode(), MODEL))
