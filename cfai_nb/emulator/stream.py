"""Stream: server-sent events of text generation: how one is framed, cut into pieces and closed, and two dialects."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic_core import from_json, to_json

from .work import Ask

_PREFIX = b"data: "
DONE = _PREFIX + b"[DONE]\n\n"

#: A token of the stand-in: a run of digits, of white space, or of anything else up to six letters.
_PIECE = re.compile(r"\d+|\s+|[^\d\s]{1,6}")


def event(value: Any, name: str = "") -> bytes:
    """Return one server-sent event, named where its dialect names events."""
    named = f"event: {name}\n".encode() if name else b""
    return named + _PREFIX + to_json(value) + b"\n\n"


def changed(frame: bytes, change: Callable[[Any], Any]) -> bytes:
    """Return an event with its value changed; one with a name and the end of a stream stay as they are."""
    if frame == DONE or not frame.startswith(_PREFIX):
        return frame
    return event(change(from_json(frame.removeprefix(_PREFIX))))


def tight(frame: bytes) -> bytes:
    """Return an event without the space that its value may stand behind."""
    return frame.replace(_PREFIX, _PREFIX.rstrip(), 1)


def pieces(text: str) -> list[str]:
    """Return a text in the pieces it is streamed in."""
    return _PIECE.findall(text)


def loose(piece: str) -> str | int:
    """Return a piece as the native stream sends it: one that looks like a number arrives as a number (an open bug)."""
    return int(piece) if piece.isascii() and piece.isdigit() and str(int(piece)) == piece else piece


def _once(ask: Ask) -> dict[str, Any]:
    """Return the usage of one ordinary native frame: that of the frame, not of the call."""
    usage: dict[str, Any] = {"prompt_tokens": 0, "completion_tokens": 1, "total_tokens": 1}
    neurons = ask.model.neurons({"output_tokens": 1})
    return usage if neurons is None else {**usage, "neurons": neurons}


def native(ask: Ask, text: str, usage: Mapping[str, Any], calls: Sequence[Mapping[str, Any]] = ()) -> list[bytes]:
    """Return the frames of a legacy model on ``/run``: pieces with filler or calls of tools, then the totals."""
    once = _once(ask)
    frames = [
        event({"response": loose(piece), "usage": once, "p": "abcdefghijklmnopqrstuvwxyz"[: 3 + 5 * number % 23]})
        for number, piece in enumerate(pieces(text))
    ]
    frames += [event({"response": "", "tool_calls": list(calls), "usage": once})] if calls else []
    return closed(ask, [*frames, event({"response": "", "usage": usage})])


def openai(ask: Ask, base: Mapping[str, Any], parts: list[tuple[str, str]], finish: str, usage: Any) -> list[bytes]:
    """Return the frames of Chat Completions.

    Parameters
    ----------
    base : mapping
        id, created, model.
    parts : list of (field, text)
        What the message holds, thinking first.
    finish : str
        The finish reason.
    usage : mapping
        The totals. ``/run`` closes with them in a native frame; ``/v1`` sends them when ``include_usage`` asks.
    """
    deltas = [{name: loose(piece) if ask.route == "run" else piece} for name, text in parts for piece in pieces(text)]
    return _chunks(ask, base, deltas, finish, usage)


def called(ask: Ask, base: Mapping[str, Any], call: Mapping[str, Any], usage: Any) -> list[bytes]:
    """Return the frames of a call: its id and name, then its arguments in fragments.

    On ``/run`` a frame of nulls closes it; it is in the sources of Cloudflare's clients of that address only, and
    OpenAI's own client, which is for ``/v1``, does not stand it.
    """
    function = call["function"]
    opened = {**call, "index": 0, "function": {"name": function["name"], "arguments": ""}}
    fragments = [{"index": 0, "function": {"arguments": piece}} for piece in pieces(function["arguments"])]
    closed = {"index": 0, "id": None, "type": None, "function": {"name": None, "arguments": None}}
    closing = [closed] if ask.route == "run" else []
    deltas = [{"tool_calls": [part]} for part in (opened, *fragments, *closing)]
    return _chunks(ask, base, deltas, "tool_calls", usage)


def _chunks(
    ask: Ask, base: Mapping[str, Any], deltas: Sequence[dict[str, Any]], finish: str, usage: Any
) -> list[bytes]:
    run = ask.route == "run"
    shell = {**base, "object": "chat.completion.chunk"}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return event({**shell, "choices": [choice], **({"usage": _once(ask)} if run and delta else {})})

    frames = [chunk({"role": "assistant", "content": ""})]
    frames += [chunk(delta) for delta in deltas]
    frames.append(chunk({}, finish))
    if run:
        frames.append(event({"response": "", "usage": usage}))
    elif (ask.body.get("stream_options") or {}).get("include_usage"):
        frames.append(event({**shell, "choices": [], "usage": usage}))
    return closed(ask, frames)


def closed(ask: Ask, frames: list[bytes], end: bytes = DONE) -> list[bytes]:
    """Return frames with their end, or without it where the stream is to be cut."""
    return frames[: max(1, len(frames) // 2 - 1)] if ask.fault == "truncated-stream" else [*frames, end]
