"""Injected faults: faults of single calls, and quirks that change every call.

``app`` draws a fault for every admitted call; ``http`` and the families apply it.

Before the work (nothing is charged): ``500``, ``502``, ``503``, ``529``, ``408``, ``422`` (5006 with a JSON document as
the text), ``html`` (a 502 page), ``1015`` (a 429 that is not JSON), ``reset`` (connection dropped), and any code of the
service by its number, such as ``3040``.

After it (charged, though the answer may be useless): ``reset-after`` (connection dropped), ``cut`` (dropped in the
middle of the body), ``garbage`` (200 with broken JSON), ``short`` (a batch answer with one vector missing), ``empty``
(null content), ``length`` (text cut, ``finish_reason`` length), ``truncated-stream`` (a stream that ends early, without
``[DONE]``).

``slow`` only waits. A fault that does not apply to a call (``short`` for a chat) leaves the call unchanged.

A quirk is odd behaviour that was seen on the service now and then, a switch in :data:`QUIRKS`
(``Emulator(quirks={"null-result"})``). Quirks that the emulator always shows need no switch: a number-like token as a
JSON number in native streams, 422 with a JSON document as a string in ``errors[0].message`` (for a malformed question;
the fault ``422`` for any call), a second native dialect at the end of a stream, 4006 where the documentation says 3036
(``quota_code``), no id in legacy tool calls, and 403 for the call that accepts a licence (``terms_accepted``).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from threading import Lock
from typing import Any

from .. import standins
from ..error_codes import CODES, ServiceError, refuse
from ..families import ModelRequest, ModelResult, map_event, native_token, without_space

_BEFORE = frozenset({"422", "500", "502", "503", "529", "408", "html", "1015", "reset"})
AFTER = frozenset({"reset-after", "cut", "garbage", "short", "empty", "length", "truncated-stream"})

Script = Callable[[int, str], str | None]
Faults = Mapping[str, float] | Sequence[str | None] | Script


class FaultSource:
    """Decides the fault of each call.

    `faults` is kind -> probability per call; or the kinds of the first calls (``None`` for none), all later calls
    without a fault; or a function of the call's number and model. Calls are numbered from 0 as they are admitted: those
    refused for their input, the rate or the quota do not count.
    """

    def __init__(self, faults: Faults, seed: int) -> None:
        self._faults, self._random, self._lock = faults, random.Random(seed), Lock()
        self._number = 0
        if isinstance(faults, Mapping) and (min(faults.values(), default=0) < 0 or sum(faults.values()) > 1 + 1e-9):
            raise ValueError("fault probabilities must lie in 0..1 and add up to at most 1")
        for kind in () if callable(faults) else faults:
            _checked_fault(kind or "")

    def next(self, model: str) -> str:
        """Return the fault of the next admitted call, empty for none."""
        with self._lock:
            number, point = self._number, self._random.random()
            self._number += 1
        if isinstance(self._faults, Mapping):
            for kind, share in self._faults.items():
                point -= share
                if point < 0:
                    return kind
            return ""
        if callable(self._faults):
            return _checked_fault(self._faults(number, model) or "")
        return (self._faults[number] or "") if number < len(self._faults) else ""


def _checked_fault(kind: str) -> str:
    """Return a fault kind, or raise ValueError for an unknown one."""
    known = _BEFORE | AFTER | {"slow"}
    if kind and kind not in known and not (kind.isdecimal() and int(kind) in CODES):
        raise ValueError(f"no fault called {kind!r}; there are {', '.join(sorted(known))} and codes")
    return kind


#: The switches and their effects.
QUIRKS: Mapping[str, str] = {
    "null-content": "text answers come with null where the text or the JSON should be",
    "number-response": "the native `response` is a number, as when the model answers with one",
    "object-response": "the native `response` is an object, though no JSON was asked for",
    "string-codes": "error codes are strings",
    "code-in-text": "error texts begin with their code: '3040: ...'",
    "bare-text": "error texts have no 'AiError: AiError:' before them and no request id after them",
    "null-result": "`result` is null on failure, not an empty object",
    "tight-data": "stream events say 'data:{...}', without the space",
    "number-tokens": "number-like tokens are JSON numbers in OpenAI streams too",
    "bare-gateway": "through a gateway, /run answers without its envelope",
    "free-plan": "models that need Workers Paid are refused (403, code 5035)",
    "no-credits": "a gateway is out of prepaid credits (402, code 2021)",
    "no-ai-search": "the token lacks the permissions of AI Search (401, code 10000)",
    "spend-limit": "a gateway has reached its spend limit (429 until its window ends)",
    "model-length": "a reply that is cut ends with finish_reason model_length",
    "tool-call-as-text": "gpt-oss prints a forced tool call as JSON text in its content",
    "3030": "prompts with words of the guard's hazard list get the safety filter's 3030",
}

_FAILURE = re.compile(r"(?:AiError: )*(.*?)(?: \([0-9a-zA-Z\-]*\))?", re.DOTALL)
_GENERATED = frozenset({"Text Generation", "Text-to-Image"})


def checked_quirks(quirks: Collection[str]) -> frozenset[str]:
    """Return quirks as a set, or raise ValueError for an unknown one."""
    unknown = sorted(set(quirks) - QUIRKS.keys())
    if isinstance(quirks, str) or unknown:
        raise ValueError(f"no quirk called {unknown or quirks!r}; there are {', '.join(QUIRKS)}")
    return frozenset(quirks)


def safety_error(request: ModelRequest, texts: Collection[str]) -> ServiceError | None:
    """Return the safety filter's error for a generation that mentions hazards, under the quirk "3030"."""
    if "3030" not in request.quirks or request.model.task not in _GENERATED:
        return None
    stems = standins.stems(" ".join(texts))
    return refuse(3030) if any(stems & standins.stems(hazards) for hazards in standins.HAZARDS.values()) else None


def apply_quirks(result: ModelResult, request: ModelRequest) -> ModelResult:
    """Return the result as the quirks of the call change it; the usage stays the same."""
    if not request.quirks:
        return result
    if result.frames is not None:
        result.frames = [_frame(frame, request.quirks) for frame in result.frames]
    elif isinstance(result.result, dict):
        result.result = _result(result.result, request)
    return result


def _result(result: dict[str, Any], request: ModelRequest) -> dict[str, Any]:
    text, quirks = result.get("response"), request.quirks
    if "null-content" in quirks and "response" in result and request.model.task == "Text Generation":
        return {**result, "response": None}
    if isinstance(text, str) and "number-response" in quirks:
        digits = re.search(r"\d+", text)
        return {**result, "response": int(digits.group()) if digits else 0}
    if isinstance(text, str) and "object-response" in quirks:
        return {**result, "response": {"text": text}}
    if "model-length" in quirks:
        return _cut_choices(result)
    if "null-content" in quirks and isinstance(result.get("choices"), list):
        choices = [
            {**choice, "message": {**choice["message"], "content": None}} if "message" in choice else choice
            for choice in result["choices"]
        ]
        return {**result, "choices": choices}
    return result


def _frame(frame: bytes, quirks: frozenset[str]) -> bytes:
    if "number-tokens" in quirks:
        frame = map_event(frame, _numbered)
    if "model-length" in quirks:
        frame = map_event(frame, _cut_choices)
    return without_space(frame) if "tight-data" in quirks else frame


def _cut_by_the_model(choice: dict[str, Any]) -> dict[str, Any]:
    return {**choice, "finish_reason": "model_length"} if choice.get("finish_reason") == "length" else choice


def _cut_choices(chunk: dict[str, Any]) -> dict[str, Any]:
    choices = chunk.get("choices")
    return {**chunk, "choices": [*map(_cut_by_the_model, choices)]} if isinstance(choices, list) else chunk


def _numbered(chunk: dict[str, Any]) -> dict[str, Any]:
    """Return a chunk with number-like tokens as numbers."""
    for choice in chunk.get("choices") or ():
        delta = choice.get("delta") or {}
        delta.update({name: native_token(text) for name, text in delta.items() if isinstance(text, str)})
    return chunk


def quirky_envelope(body: dict[str, Any], quirks: frozenset[str]) -> dict[str, Any]:
    """Return a failure envelope as the quirks change it."""
    errors = []
    for error in body["errors"]:
        code, message = error["code"], error["message"]
        if quirks & {"bare-text", "code-in-text"} and (found := _FAILURE.fullmatch(message)):
            message = found.group(1)
        if "code-in-text" in quirks:
            message = f"{code}: {message}"
        errors.append({"message": message, "code": str(code) if "string-codes" in quirks else code})
    return {**body, "errors": errors, "result": None if "null-result" in quirks else body["result"]}
