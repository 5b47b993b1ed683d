"""Prefixes: prompt caching. What a prompt shares with an earlier one, from its start, is charged at the cached rate.

The service steers calls of one ``x-session-affinity`` to one instance; without the header an account cannot count on
meeting its own prefix again, and the emulator never lets it.
"""

from __future__ import annotations

from collections import deque
from threading import Lock

from . import prompts, words
from .work import Ask

#: Below this nothing is cached ("very short prompts"; the figure is the emulator's), and hits come in such blocks.
SHORTEST, BLOCK = 256, 64

_KEPT = 64


class Prefixes:
    """The prompts that were seen lately, by account, model and session."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str, str], deque[str]] = {}
        self._lock = Lock()

    def hit(self, account: str, session: str, ask: Ask) -> int:
        """Return how many input tokens of a prompt are cached, and remember the prompt."""
        if not session or not (ask.model.row.get("prices") or {}).get("cached_input_tokens"):
            return 0
        prompt = prompts.read(ask)
        text = "".join(f"{role}\n{said}\n" for role, said in prompt.messages)
        with self._lock:
            seen = self._seen.setdefault((account, ask.model.id, session), deque(maxlen=_KEPT))
            shared = max((_shared(text, other) for other in seen), default=0)
            seen.append(text)
        cached = min(prompt.tokens, words.tokens(text[:shared])) if shared else 0
        return 0 if cached < SHORTEST else cached // BLOCK * BLOCK


def _shared(one: str, other: str) -> int:
    """Return how many characters two texts share from their start."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    return low
