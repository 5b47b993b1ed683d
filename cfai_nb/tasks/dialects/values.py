"""Readers of a yes, a label, a number or a day in a model's answer: one function each, used by every task.

Each takes a JSON value that a model wrote and returns the value of a cell.  A value that it does not accept raises a
ValueError with a quotation of it.  None of them searches a text for something that fits ("not billing" contains the
label "billing"): the whole value has to be the answer, apart from case, and from space, quotation marks, punctuation
and Markdown around it.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import pydantic_core

from .request import MOST, Json

T = TypeVar("T")
#: Words that mean yes and no, in any case; also where the question is in another language.
YES, NO = frozenset({"true", "yes", "y", "1"}), frozenset({"false", "no", "n", "0"})
#: Characters that may be around a word: space, quotation marks, punctuation, Markdown.
_AROUND = " \t\r\n\"'`*_~.,;:!?()[]{}<>#-–—“”‘’„«»"
_DIGITS = frozenset("0123456789+-.eE")
#: Characters of a value that an error quotes; characters a word or a number may have.
_QUOTED, _LONGEST = 80, 1_000


def quoted(value: Json) -> str:
    """Return a value as an error quotes it, as JSON writes it: of a text the beginning, on one line."""
    if isinstance(value, str):
        return repr(value[:_QUOTED]) + ("..." if len(value) > _QUOTED else "")
    if isinstance(value, (list, dict)):
        return str(value) if not value else "a list" if isinstance(value, list) else "an object"
    if value is None or isinstance(value, bool):
        return str(pydantic_core.to_json(value), "ascii")
    try:
        return f"{value!r:.{_QUOTED}}"
    except ValueError:  # more digits than Python writes
        return "a number of thousands of digits"


def core(text: str) -> str:
    """Return a text in lower case, without the characters around its words."""
    return " ".join(text.strip(_AROUND).split()).casefold() if len(text) <= _LONGEST else ""


def yes_or_no(value: Json, yes: str = "yes", no: str = "no") -> bool:
    """Read a yes or a no: true, false, 1, 0, the words of ``YES`` and ``NO``, and the two words given."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and value in (0, 1):
        return value == 1
    word = core(value) if isinstance(value, str) else None
    if word in YES | {yes}:
        return True
    if word in NO | {no}:
        return False
    raise ValueError(f"{quoted(value)} is neither {yes} nor {no}")


def one_of(value: Json, offered: Sequence[str]) -> str:
    """Read one of the offered names.

    An exact match comes first, then one in another case, then one with characters around it ("**Billing**.").  Where
    names differ only in these characters ("C" and "C#"), only an exact match is taken.
    """
    given = str(value).lower() if isinstance(value, bool) else value
    if isinstance(given, int) and abs(given) < 10**18:  # a label such as "5" arrives as a number
        given = str(given)
    if not isinstance(given, str) or len(given) > _LONGEST:
        raise ValueError(f"{quoted(value)} was not offered")
    if given in offered:
        return given
    for form in (lambda text: " ".join(text.split()).casefold(), core):
        wanted = form(given)
        meant = [name for name in offered if wanted and form(name) == wanted]
        if len(meant) == 1:
            return meant[0]
        if meant:
            raise ValueError(f"{quoted(value)} may be {' or '.join(map(repr, meant))}")
    raise ValueError(f"{quoted(value)} was not offered")


def number(value: Json) -> float:
    """Read a finite number, also one written as plain digits ("12", "-1.5", "3e4"); true and false are not numbers."""
    digits = isinstance(value, str) and len(value) <= _LONGEST and set(value.strip()) <= _DIGITS
    counts = isinstance(value, (int, float)) and not isinstance(value, bool)
    found = _float(value) if digits or counts else math.nan
    if not math.isfinite(found):
        raise ValueError(f"{quoted(value)} is not a number")
    return found


def whole(value: Json) -> int:
    """Read a whole number, also one written as digits or with a fraction of zero."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() < 1_024:
        return value
    found = number(value)
    if found != int(found):
        raise ValueError(f"{quoted(value)} is not a whole number")
    return int(value) if isinstance(value, str) and value.strip().lstrip("+-").isdigit() else int(found)


def probability(value: Json) -> float:
    """Read a probability: a JSON number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ValueError(f"{quoted(value)} is not a probability")
    return float(value)


def amount(value: Json) -> float | None:
    """Read an amount: a finite number from 0 on; None for anything else."""
    try:
        found = math.nan if isinstance(value, str) else number(value)
    except ValueError:
        return None
    return found if 0 <= found <= MOST else None


def text(value: Json) -> str:
    """Read a text."""
    if not isinstance(value, str):
        raise ValueError(f"{quoted(value)} is not a text")
    return value


def several(value: Json, read: Callable[[Json], T]) -> list[T]:
    """Read a list, each entry as ``read`` does."""
    if not isinstance(value, list):
        raise ValueError(f"{quoted(value)} is not a list")
    return [read(each) for each in value]


def day(value: Json) -> str:
    """Read a day, as ISO 8601 writes it ("2026-11-29", also "20261129" or with the time 00:00)."""
    return _iso(value, "a day such as '2026-11-29'", dt.date.fromisoformat, _midnight)


def moment(value: Json) -> str:
    """Read a day and time, as ISO 8601 writes them; a day alone is its midnight."""
    return _iso(value, "a day and time such as '2026-11-29T16:00:00'", dt.datetime.fromisoformat)


def clock(value: Json) -> str:
    """Read a time of day, as ISO 8601 writes it."""
    return _iso(value, "a time such as '16:00'", _time)


def _iso(value: Json, what: str, *readers: Callable[[str], dt.date | dt.time]) -> str:
    for read in readers if isinstance(value, str) and len(value) <= _LONGEST else ():
        with contextlib.suppress(ValueError):
            return read(value.strip()).isoformat()
    raise ValueError(f"{quoted(value)} is not {what}")


def _midnight(given: str) -> dt.date:
    found = dt.datetime.fromisoformat(given)
    if found.time() != dt.time():
        raise ValueError
    return found.date()


def _time(given: str) -> dt.time:
    if ":" not in given:  # Python takes "16" too
        raise ValueError
    return dt.time.fromisoformat(given)


def _float(value: str | float) -> float:
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan
