"""Examples: questions with their answers, put before the one that is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pydantic_core

from ..task import Fill
from . import schema
from .request import Json

#: Prompts with the answers they should have had.
Pairs = tuple[tuple[str, str], ...]


def pairs(given: Any, wanted: schema.Schema | None, fill: Fill) -> Pairs:
    """Turn examples into pairs of prompt and answer.

    Parameters
    ----------
    given : DataFrame, list of dict, or list of (value, answer)
        Records that hold what the template names, and one thing more: the answer.  With a schema, the rest are its
        fields (or one dict of them).
    wanted : schema, optional
        Of the answers.
    fill : callable
        Fills the template.

    Raises
    ------
    ValueError
        There is no answer, more than one, or one that does not fit the schema.
    """
    made = []
    for at, (prompt, rest) in enumerate(fill(given)):
        only = next(iter(rest.values())) if len(rest) == 1 else None
        if wanted is not None:
            made.append((prompt, _fitting(only if isinstance(only, Mapping) else rest, wanted, at)))
        elif len(rest) != 1:
            raise ValueError(
                f"examples: row {at} has {', '.join(rest) or 'nothing'} besides what the template names; there must be "
                "one column more, the answer."
            )
        elif only is None:
            raise ValueError(f"examples: row {at} has no answer.")
        else:
            made.append((prompt, only if isinstance(only, str) else pydantic_core.to_json(only, fallback=str).decode()))
    return tuple(made)


def _fitting(answer: Mapping[str, Any], wanted: schema.Schema, at: int) -> str:
    plain = {name: value.tolist() if hasattr(value, "tolist") else value for name, value in answer.items()}
    try:
        return pydantic_core.to_json(schema.validate(schema.model_of(wanted), plain)).decode()
    except ValueError as error:
        raise ValueError(f"examples: row {at} does not fit the schema: {error}") from None


def check(given: Any) -> None:
    """Refuse what is not settled: without a template, only pairs of texts mean something."""
    settled = isinstance(given, (list, tuple)) and all(
        isinstance(pair, (list, tuple)) and len(pair) == 2 and all(isinstance(text, str) for text in pair)
        for pair in given
    )
    if not settled and given is not None:
        raise ValueError("examples: without a template, give a list of (prompt, answer) texts.")


def before(talk: list[dict[str, Json]], shown: Sequence[Sequence[str]] | None) -> list[dict[str, Json]]:
    """Return the opening of a conversation with the examples before its last message."""
    said = [
        {"role": role, "content": text}
        for pair in shown or ()
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
    return [*talk[:-1], *said, talk[-1]]
