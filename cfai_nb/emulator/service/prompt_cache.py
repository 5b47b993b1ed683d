"""Prompt caching: the part that a prompt shares with an earlier one, from its start, is charged at the cached rate.

``app`` asks for it before each answer. The service sends calls with the same ``x-session-affinity`` to the same
instance; without that header an account cannot count on reaching its cached prefix, and the emulator never lets it.
"""

from __future__ import annotations

from collections import deque
from threading import Lock

from ..families.family import ModelRequest
from ..families.prompts import read_prompt
from ..standins import lexical

#: Fewer tokens are never cached ("very short prompts"; the figure is the emulator's); hits are multiples of the block.
SHORTEST, BLOCK = 256, 64

_KEPT = 64


class PromptCache:
    """The latest prompts, by account, model and session."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str, str], deque[str]] = {}
        self._lock = Lock()

    def hit(self, account: str, session: str, request: ModelRequest) -> int:
        """Return how many input tokens of a prompt are cached, and remember the prompt."""
        if not session or not (request.model.row.get("prices") or {}).get("cached_input_tokens"):
            return 0
        prompt = read_prompt(request)
        text = "".join(f"{role}\n{content}\n" for role, content in prompt.messages)
        with self._lock:
            seen = self._seen.setdefault((account, request.model.id, session), deque(maxlen=_KEPT))
            shared = max((_shared(text, other) for other in seen), default=0)
            seen.append(text)
        cached = min(prompt.tokens, lexical.count_tokens(text[:shared])) if shared else 0
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
