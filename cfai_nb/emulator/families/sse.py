"""Server-sent events of text generation: how an event is framed, how a stream ends, and the native and OpenAI dialects.

The families write their streams with it; ``service.quirks`` changes single events.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic_core import from_json, to_json

from ..standins.text_standin import split_tokens
from .family import ModelRequest

_PREFIX = b"data: "
DONE = _PREFIX + b"[DONE]\n\n"


def event(value: Any, name: str = "") -> bytes:
    """Return one server-sent event, with a name where the dialect has event names."""
    named = f"event: {name}\n".encode() if name else b""
    return named + _PREFIX + to_json(value) + b"\n\n"


def map_event(frame: bytes, change: Callable[[Any], Any]) -> bytes:
    """Return an event with its value changed; a named event and the end of a stream stay as they are."""
    if frame == DONE or not frame.startswith(_PREFIX):
        return frame
    return event(change(from_json(frame.removeprefix(_PREFIX))))


def without_space(frame: bytes) -> bytes:
    """Return an event without the optional space before its value."""
    return frame.replace(_PREFIX, _PREFIX.rstrip(), 1)


def native_token(piece: str) -> str | int:
    """Return a token as the native stream sends it: one that looks like a number is sent as a number (an open bug)."""
    return int(piece) if piece.isascii() and piece.isdigit() and str(int(piece)) == piece else piece


def _frame_usage(request: ModelRequest) -> dict[str, Any]:
    """Return the usage in one ordinary native frame: that of the frame, not of the call."""
    usage: dict[str, Any] = {"prompt_tokens": 0, "completion_tokens": 1, "total_tokens": 1}
    neurons = request.model.neurons({"output_tokens": 1})
    return usage if neurons is None else {**usage, "neurons": neurons}


def native_stream(
    request: ModelRequest, text: str, usage: Mapping[str, Any], calls: Sequence[Mapping[str, Any]] = ()
) -> list[bytes]:
    """Return the frames of a legacy model on ``/run``: tokens with padding or tool calls, then the totals."""
    once = _frame_usage(request)
    frames = [
        event(
            {"response": native_token(piece), "usage": once, "p": "abcdefghijklmnopqrstuvwxyz"[: 3 + 5 * number % 23]}
        )
        for number, piece in enumerate(split_tokens(text))
    ]
    frames += [event({"response": "", "tool_calls": list(calls), "usage": once})] if calls else []
    return end_stream(request, [*frames, event({"response": "", "usage": usage})])


def chat_stream(
    request: ModelRequest, base: Mapping[str, Any], parts: list[tuple[str, str]], finish: str, usage: Any
) -> list[bytes]:
    """Return the frames of Chat Completions.

    Parameters
    ----------
    base : mapping
        id, created, model.
    parts : list of (field, text)
        The message, reasoning first.
    finish : str
        The finish reason.
    usage : mapping
        The totals. ``/run`` ends with them in a native frame; ``/v1`` sends them with ``include_usage``.
    """
    deltas = [
        {name: native_token(piece) if request.route == "run" else piece}
        for name, text in parts
        for piece in split_tokens(text)
    ]
    return _chunks(request, base, deltas, finish, usage)


def tool_call_stream(
    request: ModelRequest, base: Mapping[str, Any], call: Mapping[str, Any], usage: Any
) -> list[bytes]:
    """Return the frames of a tool call: its id and name, then its arguments in fragments.

    On ``/run`` a frame of nulls ends it. Only Cloudflare's clients of that address expect it, and OpenAI's own client,
    which is for ``/v1``, fails on it.
    """
    function = call["function"]
    opened = {**call, "index": 0, "function": {"name": function["name"], "arguments": ""}}
    fragments = [{"index": 0, "function": {"arguments": piece}} for piece in split_tokens(function["arguments"])]
    closed = {"index": 0, "id": None, "type": None, "function": {"name": None, "arguments": None}}
    closing = [closed] if request.route == "run" else []
    deltas = [{"tool_calls": [part]} for part in (opened, *fragments, *closing)]
    return _chunks(request, base, deltas, "tool_calls", usage)


def _chunks(
    request: ModelRequest, base: Mapping[str, Any], deltas: Sequence[dict[str, Any]], finish: str, usage: Any
) -> list[bytes]:
    run = request.route == "run"
    shell = {**base, "object": "chat.completion.chunk"}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return event({**shell, "choices": [choice], **({"usage": _frame_usage(request)} if run and delta else {})})

    frames = [chunk({"role": "assistant", "content": ""})]
    frames += [chunk(delta) for delta in deltas]
    frames.append(chunk({}, finish))
    if run:
        frames.append(event({"response": "", "usage": usage}))
    elif (request.body.get("stream_options") or {}).get("include_usage"):
        frames.append(event({**shell, "choices": [], "usage": usage}))
    return end_stream(request, frames)


def end_stream(request: ModelRequest, frames: list[bytes], end: bytes = DONE) -> list[bytes]:
    """Return frames with their end, or half of them where the fault cuts the stream."""
    return frames[: max(1, len(frames) // 2 - 1)] if request.fault == "truncated-stream" else [*frames, end]
