"""One column of a frame is read: its cells become texts or media, and cells that cannot be sent become errors by row.

``rows`` reads columns and templates with it; nothing is opened or fetched beyond what ``files=`` and ``fetch=`` allow.
"""

from __future__ import annotations

import functools
import itertools
import os
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from ..errors import ColumnError, InputError
from ..media import Folder, Link, Media, is_media
from ..media.source import made_again, media_of

#: Fetches addresses that media lie at: a Media, or what is wrong, for each.
Fetch: TypeAlias = "Callable[[Sequence[str]], Sequence[Media | InputError]]"
Bad: TypeAlias = "dict[int, InputError]"


class WrongKind(InputError):
    """The cell cannot be sent, and no cell of its kind can."""


def refuse_wrong_kind(column: pd.Series[Any], name: Any, cells: Sequence[Any], bad: Bad) -> None:
    """Refuse a column in which no cell is of a kind the task takes, before anything is sent.

    One cell alone does not tell what a column holds: it fails as a row does.

    Raises
    ------
    ColumnError
        It is such a column.
    """
    wrong = len(bad) > 1 and all(isinstance(error, WrongKind) for error in bad.values())
    if wrong and not any(cell is not None for cell in cells):
        at = min(bad)
        raise ColumnError(f"Column {name!r} cannot be used, nothing was sent. Row {column.index[at]!r}: {bad[at]}.")


def refuse_written_vectors(cells: Iterable[Any], name: Any) -> None:
    """Refuse to embed a column that holds vectors written as text.

    Raises
    ------
    ColumnError
        Its first cells are such texts.
    """
    some = list(itertools.islice((cell for cell in cells if cell is not None), _LOOKED_AT))
    if some and all(isinstance(cell, str) and _is_written_vector(cell) for cell in some):
        raise ColumnError(
            f"Column {name!r} holds vectors written as text, as CSV files do, which loses numbers; nothing was sent. "
            "Read them from a parquet or Arrow file, or embed the column of texts again: texts in the store cost "
            "nothing."
        )


_LOOKED_AT = 3
_LEAST_NUMBERS = 8
_BRACKETED = re.compile(r"\s*(?:[\w.]*\()?\[(.*)\](?:,.*\))?\s*", re.DOTALL)


def _is_written_vector(text: str) -> bool:
    """Whether a text is what str() or repr() makes of an array or list of numbers."""
    if text.lstrip()[:1] not in ("[", "a", "V", "n") or not (found := _BRACKETED.fullmatch(text)):
        return False
    parts = found[1].replace(",", " ").split()
    numbers = [part for part in parts if part not in ("...", "…")]
    try:
        list(map(float, numbers))
    except ValueError:
        return False
    return bool(numbers) and (len(parts) > len(numbers) or len(numbers) >= _LEAST_NUMBERS)


def read(
    column: pd.Series[Any], takes: frozenset[str], fetch: Fetch | None = None, files: Folder | None = None
) -> tuple[Sequence[str | Media | None], Bad]:
    """Read a column as what a task takes; return its cells, and by position the error of those that cannot be sent.

    A cell is None where it is missing or blank, and where it cannot be sent.  With "text" among the kinds that are
    taken, a cell that is not text is media; otherwise text is an address or the name of a file.  Without `fetch`
    addresses are refused, and without `files` names of files.
    """
    if "text" not in takes:
        return _media(column, takes, fetch, files)
    textual = takes == {"text"} or (isinstance(column.dtype, (pd.StringDtype, np.dtype)) and column.dtype != object)
    shown = [] if textual else [at for at, cell in enumerate(column) if type(cell) is not str and is_media(cell)]
    if not shown:
        return texts(column)
    rest = column.astype(object)
    rest.iloc[shown] = None
    found: list[str | Media | None] = []
    found[:], bad = texts(rest)
    media, wrong = _media(column.iloc[shown], takes - {"text"}, fetch, files)
    for at, cell in zip(shown, media, strict=True):
        found[at] = cell
    return found, bad | {shown[at]: error for at, error in wrong.items()}


def is_missing(cell: Any) -> bool:
    """Whether a cell is missing: None, NaN, NaT or NA; a list or an array is not, whatever it holds."""
    return cell is None or bool(pd.api.types.is_scalar(cell) and pd.isna(cell))


def texts(column: pd.Series[Any]) -> tuple[list[str | None], Bad]:
    """Read a column as text."""
    values = column.tolist()
    missing = column.isna().tolist()
    bad: Bad = {}
    found: list[str | None] = []
    for at, (value, gone) in enumerate(zip(values, missing, strict=True)):
        if gone:
            found.append(None)
        elif type(value) is str and value.isascii():
            found.append(value if value.strip() else None)
        else:
            try:
                text = _text_of(value)
                found.append(text if text.strip() else None)
            except InputError as error:
                bad[at] = error
                found.append(None)
    return found, bad


def _text_of(value: Any) -> str:
    """Write a single value as text; a value without an obvious text form is refused rather than guessed."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InputError(
                "the cell holds half of a character (a lone surrogate), which no request can carry"
            ) from None
        return str(value)
    if isinstance(value, (int, float, bool, np.generic, pd.Timestamp, pd.Timedelta, pd.Period)):
        try:
            return str(value)
        except ValueError as error:  # an integer too long for Python to write
            raise InputError(f"the cell cannot be written as text: {error}") from None
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    if is_media(value):
        raise WrongKind(
            f"the cell holds {type(value).__name__}, and this task and model read text alone; cf.models() lists models "
            "with the capability vision"
        )
    raise WrongKind(f"the cell holds {type(value).__name__}, not text; convert the column first")


def _media(
    column: pd.Series[Any], takes: frozenset[str], fetch: Fetch | None, files: Folder | None
) -> tuple[list[str | Media | None], Bad]:
    bad: Bad = {}
    found: list[str | Media | None] = []
    links: dict[int, str] = {}
    for at, cell in enumerate(column):
        found.append(None)
        if is_missing(cell) or (isinstance(cell, str) and not cell.strip()):
            continue
        try:
            # An Arrow column makes a new object each time a cell is read; it is read again when it is sent.
            made = column.dtype != object and isinstance(cell, bytes)
            media = made_again(functools.partial(column.iloc.__getitem__, at)) if made else media_of(cell, files)
            if isinstance(media, Link):
                links[at] = media.url
            else:
                found[at] = _fitting(media, takes)
        except InputError as error:
            bad[at] = WrongKind(str(error)) if _no_file(cell) else error
    if fetch is None:
        refused = "the cell is an address; fetch=True, here or in cf.connect, lets it be fetched from public hosts"
        bad |= {at: InputError(refused) for at in links}
    elif links:
        urls = list(dict.fromkeys(links.values()))
        fetched = dict(zip(urls, fetch(urls), strict=True))
        for at, url in links.items():
            try:
                found[at] = _fitting(fetched[url], takes)
            except InputError as error:
                bad[at] = error
    return found, bad


def is_sentence(text: str) -> bool:
    """Whether a text has several words and looks like neither a path nor an address."""
    return len(text.split()) > 1 and not re.search(r"[/\\:]|\.\w{1,5}\s*$", text)


def _no_file(cell: Any) -> bool:
    """Whether a cell is neither media nor the name of a file: a number, a list, or a sentence."""
    if isinstance(cell, str):
        return is_sentence(cell)
    return not (is_media(cell) or isinstance(cell, os.PathLike))


def _fitting(media: Media | InputError, takes: frozenset[str]) -> Media:
    if isinstance(media, InputError):
        raise media
    if media.form.kind not in takes and "document" not in takes:  # a converter of documents takes pictures too
        wanted = " or ".join(sorted(takes - {"text"}))
        held = "nothing this task knows" if media.form.mime == "application/octet-stream" else media.form.mime
        name = "the cell" if media.name.startswith("cell.") else media.name  # bytes go by that name
        raise WrongKind(f"{name} holds {held}, by its first bytes; this task and model take {wanted}")
    return media
