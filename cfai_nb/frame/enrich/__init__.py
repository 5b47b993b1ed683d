"""``cf.enrich``: verbs over parquet files or a Polars query larger than memory, into a folder of parquet files.

``enrich`` is a definition as ``steps`` describes it: it reads a batch (``batches``), yields one call a column
(``enrich_columns``; with a cascade ``enrich_cascade``), writes a part (``parts``), and goes on.  ``plan_of`` prices the
same calls and writes nothing.  The batch is the unit of memory, the part that of resuming: answers of a part that was
not finished come from the store.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ... import session
from ..._engine.plan import keys_of
from ..._engine.run_options import NAMES
from ...errors import ColumnError, InputError, Stopped, refuse_unknown
from ...tasks import ChatTask, Task
from .. import rows as frames
from ..arrow import as_pandas
from ..call import Call, remember, warn
from ..cascades import EMBEDDINGS, Cascade
from ..extract_call import ExtractCall
from ..gold import columns_in
from ..progress import Display, listener, working
from ..steps import Steps
from ..verb import call_of
from .batches import Files, Held, Query, Reader, digest_of, source_of
from .enrich_cascade import FilesCascade, Frames, certificates, prepare
from .enrich_columns import Asked, bytes_of_vector, calls_of, made_of
from .enrich_report import EnrichPlan, EnrichReport
from .parts import Part, Target, left

#: What a row takes beside its cells and answers: inputs, keys, places in lists, what waits for the store.
_BYTES_A_ROW = 1_500
#: The share of the memory that the rows of a batch may take; their answers are there twice while they are read and
#: stored (measured: 1 million rows of 768 numbers).
_SHARE = 0.4
#: Bytes of a row group while a part is written.
_GROUP_BYTES = 16_000_000
#: Run options that are of the whole, not of a column.
_WHOLE = ("budget", "neurons", "progress")


@dataclass
class Batch:
    """The rows of a part: their numbers, and the columns the verbs need."""

    number: int
    start: int
    stop: int
    table: Any


class Enrichment:
    """A checked call of ``enrich``: source, target and questions."""

    def __init__(
        self, source: Any, target: str | Path, columns: Mapping[str, Any], memory: int, overwrite: bool,
        options: Mapping[str, Any],
    ) -> None:  # fmt: skip
        if isinstance(memory, bool) or not isinstance(memory, (int, float)) or memory < 100_000:
            raise ValueError(f"memory={memory!r}: give bytes, at least 100,000, such as 512_000_000.")
        self.session, self._memory, self._overwrite = session.current(), memory, overwrite
        self.source = source_of(source)
        self.target = Target(target)
        self._refuse_inside()
        self.options = self.session.options(options)
        self.asked = [self._counted(one) for one in self._checked(columns, dict(options))]
        needed = frozenset().union(*(one.uses for one in self.asked))
        names = list(self.source.schema.names)
        self.reads = names if isinstance(self.source, Query) else [name for name in names if name in needed]
        self._schema_key = hashlib.blake2b(
            str(self.source.schema.remove_metadata()).encode(), digest_size=8
        ).hexdigest()

    def _refuse_inside(self) -> None:
        folder = self.target.folder.resolve()
        for file in self.source.files.values() if isinstance(self.source, Files) else ():
            if folder in file.path.resolve().parents:
                raise InputError(f"target: {folder} holds files of the source; give a folder of its own.")
        if isinstance(self.source, Files) and self.source.folder.resolve() in folder.parents and self.source.listed:
            raise InputError(f"target: {folder} lies inside the source; give a folder beside it.")

    def _checked(self, columns: Mapping[str, Any], whole: dict[str, Any]) -> list[Asked]:
        """Check every entry on a frame without rows, before anything is read or sent."""
        if not isinstance(columns, Mapping) or not columns:
            raise ColumnError('columns: give a dict such as {"topic": (cf.Classify(labels=["a", "b"]), "text")}.')
        frame = as_pandas(self.source.schema.empty_table())
        taken, found = set(map(str, frame.columns)), []
        for name, entry in columns.items():
            asked = self._asked(name, entry, frame, whole)
            for new in asked.made.names:
                if new in taken:
                    raise ColumnError(f"There is a column {new!r} already; give {name!r} another name.")
                taken.add(new)
                frame[new] = pd.Series([], dtype=object)
            found.append(asked)
        return found

    def _asked(self, name: str, entry: Any, frame: pd.DataFrame, whole: dict[str, Any]) -> Asked:
        task, on, own = (
            (*entry, {})[:3] if isinstance(entry, (tuple, list)) and len(entry) in (2, 3) else (None, None, {})
        )
        if not isinstance(task, Task) or not isinstance(own, Mapping) or not isinstance(name, str):
            raise ColumnError(
                f"columns[{name!r}] is {entry!r:.80}: give a task, what it works on, and options of the call where "
                'there are any: (cf.Embed(), "text", {"model": "bge-m3"}).'
            )
        if refused := [each for each in own if each in _WHOLE]:
            raise ColumnError(f"columns[{name!r}]: {refused[0]}= is of the whole; give it to enrich itself.")
        refuse_unknown(f"columns[{name!r}]", own, ("model", "truth", *(each for each in NAMES if each not in _WHOLE)))
        given = {each: value for each, value in own.items() if each not in ("model", "truth")}
        options = self.session.options({**whole, **given, "budget": self.options.budget, "neurons": None})
        options = dataclasses.replace(options, progress=False)
        model, truth = own.get("model"), own.get("truth")
        cascade = model if isinstance(model, Cascade) else None
        strong = model if cascade is None else cascade.strong
        if truth is not None and cascade is None:
            raise TypeError(f"columns[{name!r}]: truth= goes with model=cf.Cascade(cheap, strong) alone. Leave it out.")
        call: Call | ExtractCall
        if cascade is None:
            call, whole_cascade = call_of(task, strong, frame, on, options), None
        else:
            call = Call(task, strong, frame, on, options)
            whole_cascade = FilesCascade(call.task, cascade, call, on, options, truth)
            whole_cascade.truths_of(frame)
        made = made_of(name, call, cascade=cascade is not None)
        if whole_cascade is not None and EMBEDDINGS in whole_cascade.cheaps:
            vector = bytes_of_vector(whole_cascade.cheaps[EMBEDDINGS][1])
            made = dataclasses.replace(made, bytes_a_row=made.bytes_a_row + vector)
        # The model that is asked for, not one that takes its place where it is not open to the account.
        asked = self.session.model_for(call.task, strong, options.gateway)
        key = keys_of(call.task, asked, [""], self.session.endpoint.server or self.session.origin, self.session.account)
        models = [asked.id, *(each.model.id for each in calls_of(call)[1:])]
        digest = hashlib.blake2b(repr([key[0].hex(), on, made.names, models]).encode(), digest_size=12).hexdigest()
        uses = frozenset([*frames.names_in(on, frame, template=task.template), *columns_in(truth)])
        return Asked(
            name, call.task if not isinstance(task, ChatTask) else task, on, model, options, made, digest,
            f"{task.name} with {' and '.join(models) if whole_cascade is None else whole_cascade.label} on {on!r}",
            uses, whole_cascade,
        )  # fmt: skip

    def _counted(self, one: Asked) -> Asked:
        """Return an entry as it is, or one with a cascade once all rows were counted: they are part of its question."""
        cascade = one.cascade
        if cascade is None:
            return one
        if later := [name for name in one.uses if name not in self.source.schema.names]:
            raise ColumnError(
                f"columns[{one.name!r}]: a cascade is planned over all rows before the first is answered, and "
                f"{later[0]!r} is answered in the same call. Enrich in two calls."
            )
        with working(f"enrich, rows for {one.name}", self.options.progress) as say:
            cascade.count(functools.partial(self.frames, one), self._memory, say)
        first, promise = [model.id for _, model in cascade.cheaps.values()], cascade.cascade
        about = repr([one.key, cascade.digest, first, promise.accuracy, promise.confidence])
        key = hashlib.blake2b(about.encode(), digest_size=12).hexdigest()
        return dataclasses.replace(one, key=key, words=f"{one.words}, certified for {cascade.rows:,} rows")

    def frames(self, one: Asked) -> Iterator[pd.DataFrame]:
        """Yield all rows of the source, with the columns that an entry works on, a batch at a time."""
        names = [name for name in self.source.schema.names if name in one.uses]
        reader = Reader(self.source, 0, names)
        while (taken := reader.take(None, self._memory * _SHARE, _BYTES_A_ROW + one.made.bytes_a_row))[1]:
            frame = as_pandas(taken[0])
            yield frame.set_axis(pd.RangeIndex(reader.at - len(frame), reader.at))

    @property
    def cascades(self) -> dict[str, tuple[FilesCascade, Frames]]:
        """By column: each cascade, and the rows it is about."""
        there = [(one, one.cascade) for one in self.asked if one.cascade is not None]
        return {one.name: (cascade, functools.partial(self.frames, one)) for one, cascade in there}

    # -- what is there already ---------------------------------------------------------------------------------------

    def look(self, *, remove: bool) -> list[str]:
        """Read which parts are there; return what should be known of them.

        Raises
        ------
        ColumnError
            Parts answer another question, or come from a source that was changed.
        """
        self.target.look()
        for name in self.target.broken if remove else ():  # there may be fewer parts this time
            (self.target.folder / name).unlink()
        notes = [f"{name} was cut short and is made again." for name in self.target.broken]
        stale = {number: why for number, part in self.target.parts.items() if (why := self._differs(part))}
        if isinstance(self.source, Files) and not stale:
            known: dict[str, int] = {}
            for part in self.target.parts.values():
                known |= {name: about[0] for name, about in part.record["files"].items()}
            if why := self.source.order(known):
                stale = dict.fromkeys(self.target.parts, why)
        if stale and not self._overwrite:
            number, why = next(iter(stale.items()))
            raise ColumnError(
                f"{self.target.folder} holds parts of something else: {why} ({self.target.parts[number].path.name}). "
                "Give another target, or overwrite=True to make these parts again; answers the store holds are free."
            )
        if stale:
            gone = list(self.target.parts)  # all of them: the rows of the others may have moved
            notes.append(f"All {len(gone):,} parts are made again: {next(iter(stale.values()))}.")
            self.target.remove(gone) if remove else self.target.parts.clear()
        return notes

    def _differs(self, part: Part) -> str:
        """Say how a part differs from what is asked for now; empty where it does not."""
        record = part.record
        before, now = record["columns"], {one.name: one for one in self.asked}
        for name in [*before, *now]:
            if name not in now:
                return f"the parts there have a column {name!r} that this call does not ask for"
            if name not in before:
                return f"the parts there lack column {name!r}"
            if before[name]["key"] != now[name].key:
                was, words = before[name]["words"], now[name].words
                return f"{name!r} was {was}" + (f", and now is {words}" if was != words else " with other options")
        if record["schema"] != self._schema_key:
            return "the columns of the source were changed"
        if isinstance(self.source, Files):
            for name, (_, *identity) in record["files"].items():
                there = self.source.files.get(name)
                if there is None or there.identity != identity:
                    return f"{name} {'is gone' if there is None else 'was changed'}"
        return "" if bool(record["files"]) == isinstance(self.source, Files) or not part.stop else "another source"

    # -- batches and parts -------------------------------------------------------------------------------------------

    def batches(self) -> Iterator[Batch]:
        """Yield the rows of each part that has to be made."""
        todo = left(self.target.parts)
        checks = self.target.parts if isinstance(self.source, Query) else {}
        each = _BYTES_A_ROW * len(self.asked) + sum(one.made.bytes_a_row for one in self.asked)
        budget, reader = self._memory * _SHARE, Reader(self.source, 0, self.reads)
        steps = sorted([(n, p.start, p.stop) for n, p in checks.items()] + todo, key=lambda step: step[0])
        for number, start, stop in steps:
            if reader.at != start:
                reader = Reader(self.source, start, self.reads)
            while stop is None or start < stop:
                most, within = (None, budget) if stop is None else (stop - start, None)
                table, count = reader.take(most, within, each)
                if number in checks:
                    if digest_of(table) != checks[number].record["digest"]:
                        raise ColumnError(
                            f"The query gives other rows than those of {checks[number].path.name}. Sort it, so that it "
                            "gives the same rows each time; or give another target."
                        )
                    break
                if not count and (number or stop is not None):
                    break
                yield Batch(number, start, start + count, table)
                if not count or stop is not None:
                    break
                number, start = number + 1, start + count

    def write(self, batch: Batch, answers: Mapping[str, Any], report: EnrichReport, counts: Mapping[str, Any]) -> None:
        """Write the part of a batch: all columns of the source, and the new ones."""
        import pyarrow as pa

        names = list(self.source.schema.names)
        fields = [field for one in self.asked for field in one.made.fields(answers[one.name])]
        schema = self.source.schema
        for field in fields:
            schema = schema.append(field)
        held = Held(batch.table, self.source.schema) if isinstance(self.source, Query) else None
        reader = Reader(self.source if held is None else held, 0 if held else batch.start, names)

        def tables() -> Iterator[Any]:
            at, rows = 0, batch.stop - batch.start
            while at < rows:
                table, count = reader.take(rows - at, _GROUP_BYTES, sum(one.made.bytes_a_row for one in self.asked))
                if not count:
                    raise InputError(
                        f"{self.source.name} has fewer rows than when it was opened: {batch.start + at:,}."
                    )
                arrays = [a for one in self.asked for a in one.made.arrays(answers[one.name], at, at + count, schema)]
                yield pa.Table.from_arrays([*table.columns, *arrays], schema=schema)
                at += count

        vectors = [new for one in self.asked for new, kind in one.made.kinds.items() if kind == "vector"]
        self.target.write(batch.number, self._record(batch, counts), schema, tables(), vectors)
        report.written(batch.stop - batch.start)

    def _record(self, batch: Batch, counts: Mapping[str, Any]) -> dict[str, Any]:
        files = {}
        if isinstance(self.source, Files):
            first = self.source.first_rows()
            inside = {
                n: at for n, at in first.items() if at < batch.stop and at + self.source.files[n].rows > batch.start
            }
            files = {name: [at, *self.source.files[name].identity] for name, at in inside.items()}
        return {
            "version": 1, "start": batch.start, "stop": batch.stop, "schema": self._schema_key, "files": files,
            "digest": digest_of(batch.table) if isinstance(self.source, Query) else "", "origin": self.session.origin,
            "columns": {
                o.name: {
                    "key": o.key, "words": o.words, **counts.get(o.name, {}),
                    **({} if o.cascade is None else o.cascade.record),
                } for o in self.asked
            },
        }  # fmt: skip


def enrich(
    source: Any, target: str | Path, columns: Mapping[str, Any], *, memory: int = 512_000_000,
    overwrite: bool = False, display: Display | None = None, **options: Any,
) -> Steps[EnrichReport]:  # fmt: skip
    """Enrich parquet files that are larger than memory: new columns for all rows, as a folder of parquet files.

    Batches follow the byte budget ``memory``; only the columns that the tasks need are read for them.  Each batch
    becomes a part with all columns of the source in their order and the new ones behind them; it is written to a
    temporary name and renamed.  Rows keep their order.  Stopped, killed or out of budget: the same call goes on, and
    does not make again a part that is there.

    Parameters
    ----------
    source : path, or Polars LazyFrame
        A parquet file, a glob, or a folder with all parquet files below it.  Files of different columns are read as
        one: a column a file lacks is null there.  A query has to give the same rows in the same order each time.
    target : path
        A folder of its own.
    columns : mapping of str to (Task, on) or (Task, on, options)
        For each new column the task, what it works on (a column, or a template with ``{column}``), and options of its
        call, such as ``model``.  Later ones may name earlier ones.  A task with several columns gives
        ``<name>__<column>`` each.  A ``cf.Cascade`` as the model makes one certificate for all rows of the source, and
        ``<name>__answered_by``; for it this column is read three times more, and 120 bytes a distinct row are kept.
        The option ``truth`` beside it names a column of right answers, or is a ``cf.gold(name)``.
    memory : int, default 512,000,000
        Bytes for a batch while it is worked on.  What Python and the packages need comes on top (about 300 MB).
    overwrite : bool
        Make parts again that answer another question or come from a source that was changed, instead of raising.
    **options
        Run options; budget and progress are of the whole.

    Returns
    -------
    EnrichReport
        Its repr is the receipt; ``.path``, ``.failures``, ``.certificates``.  Failed rows are null with the reason in
        ``<name>__error``.  Lists and objects are written as JSON text, times in UTC.

    Raises
    ------
    ColumnError
        A column is missing or there already, or the target holds parts of another question or source.
    RowsFailed
        Every row failed; or, with ``on_error="raise"``, some did.

    Examples
    --------
    >>> cf.enrich("reviews/*.parquet", "enriched", {
    ...     "topic": (cf.Classify(labels=["price", "quality"]), "text"),
    ...     "vector": (cf.Embed(), "text", {"model": "bge-m3"}),
    ... }, budget=5.0)
    """
    job = Enrichment(source, target, columns, memory, overwrite, options)
    report = EnrichReport(job.target.folder, job.source.rows, {one.made.error: one.name for one in job.asked})
    with job.target.opened(), listener(job.options.progress, display) as report.show:
        report.notes += job.look(remove=True)
        for part in job.target.parts.values():
            report.written(part.stop - part.start, before=True)
        remember(report)
        try:
            yield from prepare(job.cascades, job.target, report)
            proven = {
                name
                for part in job.target.parts.values()
                for name, one in part.record["columns"].items()
                if one.get("done")
            }
            for batch in job.batches():
                frame, answers, counts = as_pandas(batch.table), {}, {}
                for at, one in enumerate(job.asked):
                    report.begin(batch.number, len(frame), at, one.name)
                    made, count = yield from one.steps(frame, report, proven=one.name in proven)
                    answers[one.name], counts[one.name] = made, count
                    proven |= {one.name} if count["done"] else set()
                    for new in one.made.names:  # without rows there are no answers, but the columns are there
                        frame[new] = pd.Series([], dtype=object) if made is None else made[new]
                job.write(batch, answers, report, counts)
            report.certificates = certificates(job.cascades, job.target)
        except KeyboardInterrupt as error:  # between two calls, while a batch is read or written
            raise error if isinstance(error, Stopped) else Stopped(report.stopped_words) from None
        finally:
            report.end()
    report.outcome(job.options.on_error)
    report.notes += job.source.newer() if isinstance(job.source, Files) else []

    def finish() -> EnrichReport:
        while report.notes:
            warn(report.notes.pop(0))
        return report

    return finish


def plan_of(
    source: Any, target: str | Path, columns: Mapping[str, Any], *, memory: int = 512_000_000,
    overwrite: bool = False, **options: Any,
) -> EnrichPlan:  # fmt: skip
    """Price what ``enrich`` would do; the source is read, nothing is sent or written."""
    job = Enrichment(source, target, columns, memory, overwrite, options)
    notes = job.look(remove=False)
    done = sum(part.stop - part.start for part in job.target.parts.values())
    notes += [f"{one.name}: {one.cascade.note}" for one in job.asked if one.cascade is not None]
    plan = EnrichPlan(job.target.folder, done, len(job.target.parts), notes)
    for batch in job.batches():
        frame = as_pandas(batch.table)
        plan.parts, plan.rows = plan.parts + 1, plan.rows + len(frame)
        for one in job.asked:
            call = one.call(frame)
            models = " and ".join(each.model.id for each in calls_of(call))
            words = f"{call.task.name} with {models if one.cascade is None else one.cascade.label}"
            for each in calls_of(call):
                plan.add(one.name, words, each.plan().estimate)
            if one.cascade is not None:
                for cheap in one.cascade.cheap_plans(frame):
                    plan.add(one.name, words, cheap.estimate)
            frame = one.made.with_placeholders(frame, call)
    return plan
