"""Media: bytes out of the forms JSON carries them in, lists of numbers, base64 and data URIs. Nothing is fetched."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Any

from .checks import Schema
from .errors import refuse
from .shapes import one_of
from .work import Ask, by_schema

_DATA = re.compile(r"data:(?P<media>[\w.+-]+/[\w.+-]+)?(?:;[\w.+-]+=[^;,]*)*(?P<base64>;base64)?,", re.ASCII)


def octets(value: Any) -> bytes:
    """Return the bytes of a list of numbers from 0 to 255, a base64 text or a data URI.

    Raises
    ------
    Refusal
        5006 for a number out of range and for a web address, 5004 for what is no base64.
    """
    if isinstance(value, list):
        try:
            return bytes(map(int, value))
        except (ValueError, TypeError, OverflowError):
            raise refuse(5006, why="bytes must be numbers from 0 to 255") from None
    text = str(value)
    if text[:8].casefold().startswith(("http://", "https://")):
        raise refuse(5006, why="the emulator fetches no addresses: send the picture itself, as a data URI")
    head = _DATA.match(text[:200])
    try:
        return base64.b64decode("".join(text[head.end() if head else 0 :].split()), validate=True)
    except (binascii.Error, ValueError):
        raise refuse(5004) from None


def text64(raw: bytes) -> str:
    """Return bytes as base64 text."""
    return base64.b64encode(raw).decode("ascii")


def or_raw(fields: Schema) -> Schema:
    """Return an input that is the bytes themselves, or an object that holds them."""
    return one_of({"type": "string", "format": "binary"}, fields)


def check(ask: Ask) -> None:
    """Refuse a JSON input that the schema refuses; raw bytes are the whole input and have none."""
    if not ask.content:
        by_schema(ask)


def given(ask: Ask, name: str) -> bytes:
    """Return the one picture or recording of an ask: its raw body, or the JSON field of that name."""
    return ask.content or octets(ask.body[name])


def named(ask: Ask, *fields: str) -> str:
    """Return a short name of the bytes an ask carries, the same for the same bytes, as the book's input text."""
    state = hashlib.blake2b(ask.content, digest_size=8)
    for name in fields:
        value = ask.body.get(name)
        state.update((value if isinstance(value, str) else repr(value)).encode("utf-8", "surrogatepass"))
    for raw in ask.files.values():
        state.update(raw)
    return f"bytes {state.hexdigest()}"
