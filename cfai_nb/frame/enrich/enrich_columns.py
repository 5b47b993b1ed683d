"""The new columns of ``enrich``: what is asked for each, and their names and Arrow types, the same in every part.

A task says what columns it gives before it was asked anything (``to_columns`` of no cells), so the schema is known
before the first request.  Cells that do not fit it are null, with the reason in ``<name>__error``.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pydantic_core

from ..._engine.run_options import RunOptions
from ...errors import ColumnError
from ...models import Model
from ...tasks import Column, Task
from ...vectors.vector import Space
from ..arrow import VectorArray, arrow_type
from ..call import Call
from ..extract_call import ExtractCall
from ..reading import is_missing
from ..report import Report
from ..steps import Step
from ..verb import call_of, carried_out

if TYPE_CHECKING:
    from .enrich_cascade import FilesCascade
    from .enrich_report import EnrichReport

#: Bytes a vector takes beside its numbers, and dimensions where the catalogue does not say them.
_BESIDE, _DIMS = 400, 4_096


@dataclass(frozen=True)
class Made:
    """The columns that come of one entry."""

    name: str
    #: New column -> kind, as in ``Column``; "media" for pictures and sound, "several media" for lists of them.
    kinds: Mapping[str, str]
    short: Mapping[str, str]  # new column -> name in the result of the task; empty where that is a Series
    space: Space | None  # of vectors
    bytes_a_row: int

    @property
    def error(self) -> str:
        """The name of the column of reasons."""
        return f"{self.name}__error"

    @property
    def names(self) -> list[str]:
        """The new columns, that of the reasons last."""
        return [*self.kinds, self.error]

    def answers(self, result: pd.Series[Any] | pd.DataFrame, report: Report | None) -> dict[str, pd.Series[Any]]:
        """Return the new columns of a batch, by name."""
        if isinstance(result, pd.DataFrame) and (extra := set(result.columns) - set(self.short.values())):
            raise ColumnError(f"{self.name!r}: the task gave columns that it had not announced: {sorted(extra)}")
        made: dict[str, Any] = {new: result[self.short[new]] if self.short else result for new in self.kinds}
        reasons = np.full(len(result), None, dtype=object)
        for at, error in (report.errors if report is not None else {}).items():
            reasons[at] = str(error)
        for new, kind in self.kinds.items():
            made[new] = _fitted(made[new], kind, reasons)
        return {**made, self.error: pd.Series(reasons, index=result.index, dtype=object)}

    def fields(self, answers: Mapping[str, pd.Series[Any]] | None) -> list[Any]:
        """Return the Arrow fields; the space of vectors is that of the answers where there are some."""
        import pyarrow as pa

        fields = []
        for new, kind in self.kinds.items():
            space = self.space
            if kind == "vector" and answers is not None:
                space = next((cell.space for cell in answers[new] if not is_missing(cell)), space)
            fields.append(pa.field(new, _type(kind, space)))
        return [*fields, pa.field(self.error, pa.string())]

    def arrays(
        self, answers: Mapping[str, pd.Series[Any]] | None, start: int, stop: int, schema: Any
    ) -> Iterator[Any]:  # fmt: skip
        """Yield the Arrow arrays of some rows."""
        import pyarrow as pa

        for new in self.names:
            wanted = schema.field(new).type
            if answers is None:
                yield pa.nulls(stop - start, wanted)
                continue
            yield _array(answers[new].iloc[start:stop], self.kinds.get(new, "text"), wanted)

    def with_placeholders(self, frame: pd.DataFrame, call: Call | ExtractCall) -> pd.DataFrame:
        """Return the frame with stand-ins for the answers, as long as these may become, to price what names them."""
        count, index = len(frame), frame.index
        missing = np.array([each is None for each in call.rows.inputs], dtype=bool)
        longest = "word " * max(1, getattr(call.task, "max_tokens", 0) or 16)
        new: dict[str, Any] = {self.error: pd.Series([None] * count, index=index, dtype=object)}
        vectors = call.placeholder()
        for name, kind in self.kinds.items():
            stands_in: Any = 0 if kind in ("number", "integer") else kind == "boolean" or None
            if kind in ("text", "category", "object", "datetime", "duration"):
                text = longest if kind != "category" else "a label"
                cells = [None if gone else f"{at} {text}" for at, gone in enumerate(missing)]
                new[name] = pd.Series(cells, index=index, dtype=object)
            else:
                new[name] = vectors if kind == "vector" else pd.Series([stands_in] * count, index=index, dtype=object)
        return frame.assign(**new)


def made_of(name: str, call: Call | ExtractCall, *, cascade: bool = False) -> Made:
    """Return the columns of a call, which may be one on no rows; of a cascade also the one that says what answered."""
    task, model = call.task, call.model
    columns = call.to_columns()
    several = getattr(task, "n", 1) if task.media_bytes else 1
    if isinstance(columns, Column):
        media = "media" if several == 1 else "several media"
        kinds: dict[str, str] = {name: media if task.media_bytes else columns.kind}
        short: dict[str, str] = {name: "answer"} if cascade else {}
    else:
        kinds = {f"{name}__{each}": column.kind for each, column in columns.items()}
        short = {f"{name}__{each}": each for each in columns}
    if cascade:
        kinds[f"{name}__answered_by"], short[f"{name}__answered_by"] = "category", "answered_by"
    written = 4 * min(512, getattr(task, "max_tokens", 0) or 0) + 200 * len(kinds)
    space, each = None, task.media_bytes * several or written
    if "vector" in kinds.values():
        form = columns.form if isinstance(columns, Column) else ""
        space = Space(model.id, model.dims, form, call.session.origin) if model.dims else None
        each = bytes_of_vector(model)
    return Made(name, kinds, short, space, each)


def bytes_of_vector(model: Model) -> int:
    """Return what a vector of a model takes."""
    return 4 * (model.dims or _DIMS) + _BESIDE


@dataclass(frozen=True)
class Asked:
    """One entry of what is asked: a task on a column, and the columns that come of it."""

    name: str
    task: Task
    on: Any
    model: Any
    options: RunOptions
    made: Made
    key: str
    words: str
    uses: frozenset[Any]
    cascade: FilesCascade | None = None

    def call(
        self, frame: pd.DataFrame, whole: EnrichReport | None = None, *, proven: bool = False
    ) -> Call | ExtractCall:
        """Return the call on the rows of a batch."""
        options = dataclasses.replace(self.options, part="later" if proven else "first")
        model = self.model if self.cascade is None else self.cascade.strong
        return call_of(self.task, model, frame, self.on, options, self.name, whole=whole)

    def steps(
        self, frame: pd.DataFrame, report: EnrichReport, *, proven: bool
    ) -> Generator[Step, Any, tuple[Any, dict[str, int]]]:
        """Yield the calls on the rows of a batch; return the new columns, and how many rows are done and failed."""
        if self.cascade is None:
            call = self.call(frame, report, proven=proven)
            found = (yield from carried_out(call))()
            answers = self.made.answers(found, call.report) if len(frame) else None
            return answers, report.settle(call.report)
        result, made = yield from self.cascade.answer(frame, report)
        return self.made.answers(result, made), report.tally(made)


def calls_of(call: Call | ExtractCall) -> Sequence[Call]:
    """Return the calls that a call is."""
    return [call] if isinstance(call, Call) else call.calls


@functools.cache
def _types() -> dict[str, Any]:
    import pyarrow as pa

    return {
        "text": pa.string(), "category": pa.dictionary(pa.int32(), pa.string()), "number": pa.float64(),
        "integer": pa.int64(), "boolean": pa.bool_(), "datetime": pa.timestamp("us"), "duration": pa.duration("us"),
        "object": pa.string(), "media": pa.binary(),
        "several media": pa.list_(pa.binary()),
    }  # fmt: skip


def _type(kind: str, space: Space | None) -> Any:
    import pyarrow as pa

    if kind != "vector":
        return _types()[kind]
    return pa.list_(pa.float32()) if space is None else arrow_type(space)


def _fitted(cells: pd.Series[Any], kind: str, reasons: Any) -> pd.Series[Any]:
    """Return cells that all fit the column; those that do not are missing, and `reasons` says why."""
    import pyarrow as pa

    if kind in ("vector", "media", "several media"):
        return cells
    if kind == "object":
        return cells.map(_json, na_action=None).astype(object)
    if kind in ("text", "category", "number", "boolean") or cells.dtype != object:
        return cells
    made = cells.astype(object)
    for at, cell in enumerate(made.tolist()):
        if is_missing(cell):
            continue
        try:
            pa.scalar(_moment(cell, kind), _types()[kind])
        except (pa.ArrowException, ValueError, OverflowError, TypeError):
            made.iloc[at] = None
            reasons[at] = reasons[at] or f"the answer {str(cell)[:80]!r} does not fit a column of {_types()[kind]}"
    return made


def _moment(cell: Any, kind: str) -> Any:
    if kind == "datetime":
        made = pd.Timestamp(cell)
        return made if made.tz is None else made.tz_convert("UTC").tz_localize(None)
    return pd.Timedelta(cell) if kind == "duration" else cell


def _json(cell: Any) -> str | None:
    """Write a list or object as JSON text; a text stays as it is."""
    if isinstance(cell, str) or is_missing(cell):
        return cell if isinstance(cell, str) else None
    return pydantic_core.to_json(cell, bytes_mode="base64", fallback=str).decode()


def _array(cells: pd.Series[Any], kind: str, wanted: Any) -> Any:
    """Return cells as an Arrow array of a type."""
    import pyarrow as pa

    if kind == "vector":
        if cells.isna().all():
            return pa.nulls(len(cells), wanted)
        array = VectorArray._from_sequence(cells.array).__arrow_array__()
        storage = getattr(array, "storage", array)
        held = getattr(wanted, "storage_type", wanted)
        storage = storage if storage.type == held else storage.cast(held)
        return storage if held is wanted else pa.ExtensionArray.from_storage(wanted, storage)
    if kind == "category":
        codes = pa.array(cells.cat.codes.to_numpy(dtype=np.int32), mask=cells.isna().to_numpy())
        return pa.DictionaryArray.from_arrays(codes, pa.array(cells.cat.categories.astype(object), pa.string()))
    if kind in ("datetime", "duration") and cells.dtype == object:
        cells = pd.Series([None if is_missing(cell) else _moment(cell, kind) for cell in cells], dtype=object)
    elif kind == "datetime" and getattr(cells.dt, "tz", None) is not None:
        cells = cells.dt.tz_convert("UTC").dt.tz_localize(None)
    if kind == "media":
        cells = pd.Series([None if is_missing(cell) else bytes(cell) for cell in cells], dtype=object)
    if kind == "several media":
        lists = [None if is_missing(cell) else [bytes(each) for each in cell] for cell in cells]
        return pa.array(lists, wanted)
    array = pa.array(cells, from_pandas=True)
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    return array if array.type == wanted else array.cast(wanted, safe=kind not in ("datetime", "duration"))
