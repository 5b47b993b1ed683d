"""Columns offered for a prompt that is being written."""

from __future__ import annotations

import re
from collections.abc import Sequence

_OPEN_BRACE = re.compile(r"\{([^{}]*)$|\{([^{}]*)(?=\{)")
#: Columns that are offered; the others are typed.
MOST = 24


def begun(prompt: str) -> str | None:
    """Return what stands after a brace that is still open: ``"te"`` of ``"Summarize {te"``; None where none is."""
    at = _open(prompt)
    return None if at is None else next(part for part in at.groups() if part is not None)


def offered(prompt: str, columns: Sequence[str]) -> list[str]:
    """Return the columns that can stand in braces; while a brace is open, those that begin like what was typed."""
    start = begun(prompt) or ""
    return [name for name in columns if not set(name) & set("{}:!") and name.startswith(start)][:MOST]


def completed(prompt: str, column: str) -> str:
    """Return the prompt with a column in the brace that is open, or at its end."""
    at = _open(prompt)
    if at is not None:
        return prompt[: at.start()] + f"{{{column}}}" + prompt[at.end() :]
    gap = " " if prompt and not prompt[-1].isspace() else ""
    return f"{prompt}{gap}{{{column}}}"


def _open(prompt: str) -> re.Match[str] | None:
    return _OPEN_BRACE.search(prompt.replace("{{", "  "))
