"""Showing: pictures in the messages of a chat model. A model that can see has them put into words; no other looks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from . import media, sight, units
from .prompts import Prompt
from .work import Ask


def shown(ask: Ask, prompt: Prompt) -> Prompt:
    """Return a prompt with what its pictures show: as words under the last message, and as the answer to it.

    Raises
    ------
    Refusal
        5006 for a picture that would have to be fetched, 5004 and 8001 for one that cannot be read.
    """
    if not ask.model.has("vision"):
        return prompt
    sights = [sight.look(media.octets(given)) for given in _pictures(ask.body)]
    if not sights:
        return prompt
    seen = "; ".join(one.answer(prompt.user) for one in sights)
    told = "\n".join(f"The picture shows {one.caption()}." for one in sights)
    messages = list(prompt.messages)
    last = max((place for place, (role, _) in enumerate(messages) if role == "user"), default=len(messages) - 1)
    messages[last] = messages[last][0], f"{messages[last][1]}\n{told}"
    spent = prompt.tokens + sum(units.looked(one.width, one.height) for one in sights)
    unseen = prompt.pictures - len(sights)
    return replace(prompt, messages=tuple(messages), pictures=unseen, tokens=spent, seen=seen)


def _pictures(body: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the pictures of a request, as they were sent: in the messages' parts, and beside them."""
    for message in body.get("messages") or ():
        content = message.get("content")
        for part in [content] if isinstance(content, Mapping) else content if isinstance(content, list) else ():
            url = (part.get("image_url") or {}).get("url") if isinstance(part, Mapping) else None
            if url:
                yield url
    if body.get("image"):
        yield body["image"]
