"""An upload to a store of the service: what the rows of a frame become there, and how that is carried out.

``to_vectorize`` and ``to_ai_search`` turn rows into ids and metadata, which are checked against the ``Rules`` of the
store before anything is sent.  They subclass ``Uploading``, hand it to ``uploaded``, and return the ``Written`` it
makes.  The session's store keeps a digest of each thing the service acknowledged, as it keeps answers, so that the same
call sends only what is new or changed.  Searches use ``plain`` and ``names_of`` to find the rows again.

Limits and rules: developers.cloudflare.com/vectorize/platform/limits and /reference/client-api, and for AI Search
/ai-search/configuration/indexing/metadata and /troubleshooting/api-error-codes.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import re
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pydantic_core

from .._engine.engine import Engine
from .._engine.run_options import RunOptions
from .._engine.run_state import new_run
from ..errors import ColumnError, RowError
from ..html.markup import counted
from ..session.requests import RequestJob
from . import rows
from .call import warn
from .reading import is_missing
from .steps import Requests, Step

#: Bytes of the metadata of a row.
_METADATA_BYTES = 10_240
#: Integers up to this size survive JSON.
_EXACT = 2**53
#: Seconds ``wait=True`` waits at most.
_WAIT = 300.0


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a store takes as an id, as a property of metadata, and as its value."""

    store: str
    most: int  # of an id, in its unit: bytes or characters
    unit: str = "bytes"
    never: str = ""  # a pattern of what an id may not hold
    properties: int  # how many it can be filtered by
    lists: bool = True  # whether a value may be a list of texts
    text: int | None = None  # the most characters of a text
    reserved: frozenset[str] = frozenset()  # names that properties may not have
    lower: bool = False  # whether names of properties are stored in lower case

    def size(self, name: str) -> int:
        """Return how long an id is, in its unit."""
        return len(name.encode()) if self.unit == "bytes" else len(name)

    def key(self, column: Any) -> str:
        """Return the name of a column as a property, or raise ColumnError."""
        key = str(column)
        if not key or "." in key or '"' in key or key.startswith("$"):
            raise ColumnError(
                f"{self.store} does not accept the property name {key!r}: it must not be empty, start with a dollar "
                "sign, or contain a dot or a double quote. Rename the column."
            )
        if key.lower() in self.reserved:
            raise ColumnError(f"{self.store} has a property {key.lower()!r} of its own. Rename the column.")
        return key.lower() if self.lower else key

    def value(self, cell: Any) -> Any:
        """Return a cell as a value of metadata, None where it is missing, or raise ValueError."""
        made = plain(cell)
        if isinstance(made, list) and not self.lists:
            raise ValueError(f"{self.store} takes no lists in metadata: make a text of it")
        if isinstance(made, str) and self.text is not None and len(made) > self.text:
            raise ValueError(
                f"the text has {len(made):,} characters, and {self.store} cuts one at {self.text} without saying so: "
                "shorten it, or leave the column out"
            )
        return made


VECTORIZE = Rules(store="Vectorize", most=64, properties=10)


def ids_of(data: rows.Frame, column: Any, kept: Sequence[int], rules: Rules = VECTORIZE) -> list[str]:
    """Return the id of each of these rows (positions): the labels of the index, or a column, as text.

    Raises
    ------
    ColumnError
        There is no such column, or the index has several levels.
    ValueError
        An id is missing, empty, too long, or used by two rows.
    """
    if column is None and data.index.nlevels > 1:
        raise ColumnError("The index has several levels and an id must be one text: name a column with id=.")
    where, names = "the index" if column is None else f"column {column!r}", names_of(data, column)
    ids: dict[str, int] = {}
    for at in kept:
        name, row = names[at], data.index[at]
        if not name:
            raise ValueError(
                f"row {row!r}: its id in {where} is missing. Give id= a column in which every row has one."
            )
        if (size := rules.size(name)) > rules.most:
            raise ValueError(
                f"row {row!r}: its id in {where} has {size} {rules.unit}, and {rules.store} takes {rules.most}. Give "
                "id= a column of shorter ones, such as a number or a hash."
            )
        if rules.never and (found := re.search(rules.never, name)):
            raise ValueError(
                f"row {row!r}: its id in {where} holds {found[0]!r}, which the key of a document cannot. Give id= "
                "another column."
            )
        if name in ids:
            raise ValueError(
                f"rows {data.index[ids[name]]!r} and {row!r} have the same id {name!r} in {where} (position "
                f"{ids[name]} and {at}), and the second would replace the first. Give id= a column of distinct ids, or "
                "df.reset_index(drop=True) first."
            )
        ids[name] = at
    return list(ids)


def names_of(data: rows.Frame, column: Any) -> list[str]:
    """Return the ids of all rows, empty where one is missing; they need not be distinct."""
    source = data.index if column is None else rows.column(rows.as_frame(data), column)
    return ["" if is_missing(cell) else str(cell) for cell in source.tolist()]


def plain(cell: Any) -> Any:
    """Return a cell as a value of metadata: types are kept, dates become ISO texts, a missing cell is None.

    Raises
    ------
    ValueError
        Metadata cannot hold it.
    """
    if is_missing(cell):
        return None
    if isinstance(cell, (str, bool)):
        return str(cell) if isinstance(cell, str) else cell
    if isinstance(cell, (np.bool_, np.number)):
        cell = cell.item()
    if isinstance(cell, (dt.date, dt.time)):  # a Timestamp is one of these
        return cell.isoformat()
    if isinstance(cell, np.datetime64):
        return pd.Timestamp(cell).isoformat()
    if isinstance(cell, int) and abs(cell) > _EXACT:
        raise ValueError(
            f"{cell} is beyond 2**53, where numbers in JSON lose digits: convert it to text with .astype(str)"
        )
    if isinstance(cell, (int, float)):
        if isinstance(cell, float) and not np.isfinite(cell):
            raise ValueError("infinity is not a number in JSON")
        return cell
    if isinstance(cell, (list, tuple)) and all(isinstance(one, str) for one in cell):
        return list(cell)
    raise ValueError(
        f"expected text, a number, a truth value, a date or a list of texts, got {type(cell).__name__}: convert the "
        "column first"
    )


def listed(columns: Any) -> list[Any]:
    """Return columns that are given as a list or as one name."""
    return [] if columns is None else [columns] if isinstance(columns, str) else list(columns)


def metadata_of(
    data: rows.Frame, metadata: Any, filterable: Any, kept: Sequence[int], rules: Rules = VECTORIZE
) -> tuple[list[bytes | None], dict[str, str]]:
    """Return these columns of these rows as JSON, None for a row without any, and the types of those to filter by.

    Raises
    ------
    ColumnError
        There is no such column, or the store does not accept its name.
    ValueError
        Metadata cannot hold a cell, or a row has too much; or a column cannot be filtered by.
    """
    by = listed(filterable)
    records = _records(data, list(dict.fromkeys([*listed(metadata), *by])), kept, rules)
    return _json(records, data, kept, rules), kinds_of(records, [rules.key(column) for column in by], rules)


def _records(data: rows.Frame, columns: Sequence[Any], kept: Sequence[int], rules: Rules) -> list[dict[str, Any]]:
    """Return the metadata of each of these rows, without missing cells."""
    frame, names = rows.as_frame(data), dict[str, Any]()
    records: list[dict[str, Any]] = [{} for _ in kept]
    for column in columns:
        key = rules.key(column)
        if names.setdefault(key, column) != column:
            raise ColumnError(f"Columns {names[key]!r} and {column!r} would both be the property {key!r}: rename one.")
        cells = rows.column(frame, column).tolist()
        for record, at in zip(records, kept, strict=True):
            try:
                value = rules.value(cells[at])
            except ValueError as error:
                raise ValueError(f"row {data.index[at]!r}, column {column!r}: {error}.") from None
            if value is not None:
                record[key] = value
    return records


def _json(records: Sequence[dict[str, Any]], data: rows.Frame, kept: Sequence[int], rules: Rules) -> list[bytes | None]:
    """Return metadata as JSON, None for a row without any; refuses a row with more than 10 KiB of it."""
    made = [pydantic_core.to_json(record) if record else None for record in records]
    large = [at for at, one in enumerate(made) if one is not None and len(one) > _METADATA_BYTES]
    if large:
        record, size = records[large[0]], len(made[large[0]] or b"")
        widest = max(record, key=lambda key: len(pydantic_core.to_json(record[key])))
        raise ValueError(
            f"{counted(len(large), 'row')} with more metadata than the {_METADATA_BYTES:,} bytes {rules.store} takes; "
            f"the first is row {data.index[kept[large[0]]]!r} with {size:,}, most of it in {widest!r}. Shorten that, "
            "or leave it out: search joins its matches to the rows of the frame."
        )
    return made


def kinds_of(records: Sequence[Mapping[str, Any]], keys: Sequence[str], rules: Rules = VECTORIZE) -> dict[str, str]:
    """Return the type of the metadata index of each property: ``"string"``, ``"number"`` or ``"boolean"``.

    Raises
    ------
    ValueError
        There are too many, or one is empty or holds several types.
    """
    if len(keys) > rules.properties:
        what = "an index" if rules is VECTORIZE else f"an instance of {rules.store}"
        raise ValueError(f"filterable: {what} can be filtered by {rules.properties} properties, not {len(keys)}.")
    kinds = {}
    for key in keys:
        found = {_kind(record[key]) for record in records if key in record}
        if len(found) != 1 or None in found:
            what = "nothing" if not found else "lists" if None in found else " and ".join(sorted(map(str, found)))
            raise ValueError(
                f"filterable: column {key!r} holds {what}; one type of text, numbers or truth values is needed."
            )
        kinds[key] = str(found.pop())
    return kinds


def _kind(value: Any) -> str | None:
    if isinstance(value, bool):
        return "boolean"
    return "string" if isinstance(value, str) else "number" if isinstance(value, (int, float)) else None


# -- carried out -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What ``to_vectorize`` or ``to_ai_search`` did.

    Attributes
    ----------
    name : str
        Of the index or instance.
    store : str
        "Vectorize index" or "AI Search instance".
    unit : str
        What was sent: "vector" or "document".
    sent : int
        How many this call wrote.
    skipped : int
        Those this machine had written before without a change since, which were not sent again.
    missing : int
        Rows without one.
    mutations : tuple of str
        Vectorize's ids of the writes, one a call.
    failed : mapping of str to str
        By id, why AI Search could not index a document; known after waiting.
    visible : bool or None
        Whether a search finds all of them; None if the call did not wait for that.
    origin : str
        Where it is.
    """

    name: str
    store: str
    unit: str
    sent: int = 0
    skipped: int = 0
    missing: int = 0
    mutations: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    visible: bool | None = None
    origin: str = "cloudflare"

    def __repr__(self) -> str:
        where = "" if self.origin == "cloudflare" else f" ({self.origin})"
        calls = f" in {counted(len(self.mutations), 'call')}" if self.unit == "vector" else ""
        parts = [f"{counted(self.sent, self.unit)} sent{calls}"]
        parts += [f"{self.skipped:,} written before"] if self.skipped else []
        parts += [f"{self.missing:,} without a {self.unit}"] if self.missing else []
        parts += [f"{len(self.failed):,} NOT INDEXED"] if self.failed else []
        parts += ["visible"] if self.visible else []
        return f"{self.store} {self.name!r}{where}: {' · '.join(parts)}"


class Uploading(ABC):
    """One upload of so many things, sent or not, for a ``RequestJob``; a subclass does the ``_work``.

    `reads` says whether earlier writes are looked up in the store, and `keeps` whether this one is recorded there, with
    the ``id`` as its owner.  ``tell`` is called with the progress in words.
    """

    #: What a message calls the store and what is sent.
    store, unit = "", ""

    def __init__(self, name: str, total: int, *, reads: bool, keeps: bool) -> None:
        self.name, self.total, self.id = name, total, new_run()
        self.sent = self.skipped = 0
        self.mutations: list[str] = []
        self.failed: dict[str, str] = {}
        self.visible: bool | None = None
        self.keeps, self._reads = keeps, reads
        self.tell: Callable[[str], None] = lambda text: None

    async def __call__(self, job: RequestJob[None]) -> None:
        """Do it; ends early where Stop was pressed."""
        try:
            await self._work(job)
        except RowError as error:
            if job.stopped:
                return
            if self.sent:
                error.add_note(f"{self.sent:,} {self.unit}s were written before; the same call again sends the rest.")
            raise

    @abstractmethod
    async def _work(self, job: RequestJob[None]) -> None:
        """Send what is not there yet."""

    def new_properties(self, wanted: Mapping[str, str], there: Mapping[str, str], rules: Rules) -> dict[str, str]:
        """Return those of the wanted properties, with their types, that the store cannot be filtered by yet.

        Raises
        ------
        ValueError
            It filters one as another type, or there would be too many.
        """
        what = self.store.split()[-1]
        for name, kind in wanted.items():
            if there.get(name, kind) != kind:
                raise ValueError(
                    f"filterable: {name!r} holds {kind} and the {what} {self.name!r} filters it as {there[name]}: "
                    "rename the column, or convert it."
                )
        new = {name: kind for name, kind in wanted.items() if name not in there}
        if new and len(there) + len(new) > rules.properties:
            raise ValueError(
                f"filterable: an {what} can be filtered by {rules.properties} properties; {self.name!r} has "
                f"{', '.join(there)} already."
            )
        return new

    async def known(self, engine: Engine, keys: Sequence[bytes]) -> tuple[dict[bytes, str], int | None]:
        """Return what was recorded under each key, and the position of the most recent record."""
        store = engine.store
        if store is None or not self._reads:
            return {}, None

        def look() -> tuple[dict[bytes, str], int | None]:
            store.flush()
            found, last = dict[bytes, str](), None
            for held in itertools.chain.from_iterable(store.held(keys)):
                if held.cells is not None:
                    found.update(zip((keys[at] for at in held.at), map(str, held.cells), strict=True))
                    last = int(held.at[-1])
            return found, last

        return await asyncio.to_thread(look)

    async def record(self, engine: Engine, keys: Sequence[bytes], records: Sequence[str]) -> None:
        """Record what the service acknowledged; a process killed from now on does not send it again."""
        if engine.store is not None and self.keeps:
            engine.store.put(list(keys), list(records), owner=self.id)
            await engine.written(self.id)


def uploaded(
    verb: str, writing: Uploading, engine: Engine, options: RunOptions, missing: int
) -> Generator[Step, Any, Callable[[], Written]]:
    """Yield the step that does an upload; return what says what was done, or raises or warns about its end.

    `missing` counts the rows without anything to send.
    """

    def stopped() -> str:
        kept = writing.keeps and engine.store is not None and engine.store.writer.trouble(writing.id) is None
        then = "sends only the rest" if kept else "starts from the beginning"
        return (
            f"Stopped. {writing.sent + writing.skipped:,} of {writing.total:,} {writing.unit}s are in the "
            f"{writing.store.split()[-1]} {writing.name!r}; running the same call again {then}."
        )

    step = Requests(verb, engine, writing, options, drain=True, stopped=stopped)
    writing.tell = step.tell
    yield step

    def result() -> Written:
        failure = engine.store.writer.take_failure(writing.id) if engine.store is not None else None
        if failure is not None:
            warn(f"The {writing.unit}s are written, and it could not be kept that they are: {failure}")
        step.refuse_stopped()
        return Written(
            name=writing.name, store=writing.store, unit=writing.unit, sent=writing.sent, skipped=writing.skipped,
            missing=missing, mutations=tuple(writing.mutations), failed=dict(writing.failed), visible=writing.visible,
            origin=engine.origin,
        )  # fmt: skip

    return result


def seconds_of_wait(wait: bool | float) -> float | None:
    """Return the seconds that ``wait=`` asks for, None for not waiting; or raise ValueError."""
    if not isinstance(wait, (bool, int, float)) or wait < 0:
        raise ValueError(f"wait={wait!r}: give True, or seconds.")
    return None if wait is False else _WAIT if wait is True else float(wait)


async def beats(job: RequestJob[Any], seconds: float) -> AsyncIterator[None]:
    """Yield at growing intervals until the time is over or Stop was pressed."""
    end, pause = time.monotonic() + seconds, 0.05
    while not job.stopped:
        yield
        if time.monotonic() >= end:
            return
        await job.pause(min(pause, max(0.0, end - time.monotonic())))
        pause = min(2.0, pause * 1.5)
