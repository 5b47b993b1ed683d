"""A cascade over the whole of the files that ``enrich`` reads: one certificate for all rows, however many batches.

``count`` reads all rows and keeps 16 bytes of key for each, which say what is drawn; nothing is sent.  ``prepare`` asks
both models about the sample, the cheap model about all other rows, batch by batch, and keeps a score a row: the answers
are in the store.  Embeddings learn from rows of their own first, and take the place of the cheap model or come before
it.  ``answer`` then gives the answers of one batch: the cheap ones that stand come from the store, all others from the
strong model.  So the rows that are asked are those that the verb would ask about one frame of them all, and a call that
was ended goes on as any call does.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..._engine.plan import Plan
from ..._engine.run_options import RunOptions
from ...errors import InputError, ModelError
from ...models import Cost, Model
from ...quality.certificate import accuracy_steps
from ...tasks import Embed, Task
from ...vectors import VectorColumn
from ..call import Call
from ..cascades import EMBEDDINGS, Cascade, Certificate, dollars, parts_of, sureness
from ..cascades.cascade_call import cheap_of
from ..cascades.cascade_rows import (
    Answers,
    Distinct,
    Lessons,
    PartCall,
    Population,
    Rows,
    costs_of,
    hopeless,
    known_answers,
    known_cell,
    known_inputs,
    whole,
)
from ..gold import Gold, by_content, replaced
from ..report import Report

if TYPE_CHECKING:
    from .enrich_report import EnrichReport
    from .parts import Target

#: Bytes a distinct row takes while the certificate is found: key, weight, score, its places in the order and sample.
BYTES_A_ROW = 120
_LACKS = "A cascade in enrich reads the cheap answers again from the store"

#: Yields the rows of the source, a frame a batch.
Frames: TypeAlias = Callable[[], Iterator[pd.DataFrame]]


class FilesCascade:
    """A cascade in one column of ``enrich``; `strong` is the call of the strong model on no rows, checked.

    ``certificate`` is there once it was found, and its ``failed`` counts no row yet; ``gold`` has the cells of rows
    with a truth once the rows are counted.
    """

    def __init__(
        self, task: Task, cascade: Cascade, strong: Call, on: Any, options: RunOptions, truth: Any = None
    ) -> None:  # fmt: skip
        if strong.session.store() is None or options.cache not in (True, "only"):
            raise ModelError(f"{_LACKS}: connect with a store, and leave cache= out.")
        self.parts, self.task, self.cascade = parts_of(task), task, cascade
        self.cheap_task: Task = dataclasses.replace(task, probabilities=True)  # type: ignore[call-arg]
        self.strong: Model = strong.model
        self.cheaps: dict[str, tuple[Task, Model]] = {}  # what is asked before the strong model, in order
        self.on, self._options = on, options
        if cascade.learns:
            embed = Call(Embed(), None, strong._given[0], on, options)
            self.cheaps[EMBEDDINGS] = embed.task, embed.model
        self.cheap = cheap_of(cascade, self.cheap_task, strong)
        if self.cheap is not None:
            self.cheaps[self.cheap.name] = self.cheap_task, self.cheap
        self.lessons: Lessons | None = None
        self._truth = None if truth is None else by_content(truth, "the source")
        self.gold: dict[int, Any] = {}
        self.keys: npt.NDArray[np.bytes_] = np.empty(0, dtype="S16")
        self.keep: npt.NDArray[np.bool_] = np.empty(0, dtype=bool)
        self.prices = dict.fromkeys([*self.cheaps, self.strong.id], Cost(0.0))  # of all rows, at most
        self.certificate: Certificate | None = None
        self.rows = 0

    @property
    def label(self) -> str:
        """What answers, in order."""
        return " → ".join([*self.cheaps, self.strong.name])

    # -- before anything is sent -------------------------------------------------------------------------------------

    def count(self, frames: Frames, memory: float, say: Callable[[str], None]) -> None:
        """Read all rows, and decide what is drawn; `say` takes how many were read.

        Raises
        ------
        InputError
            They are too many for the memory.
        """
        found: list[npt.NDArray[np.bytes_]] = []
        weights: list[npt.NDArray[np.int64]] = []
        known: dict[bytes, tuple[Any, ...]] = {}
        for frame in frames():
            batch = Distinct(self._call(self.task, self.strong, frame).plan())
            if (given := self.truths_of(frame)) is not None:
                for at, each in known_inputs(batch.plan, given).items():
                    key = batch.plan.keys[at]
                    known[key] = each if known.setdefault(key, each) == each else ()
            found.append(np.frombuffer(batch.keys, dtype="S16"))
            weights.append(batch.weights)
            every, self.rows = np.arange(len(batch.weights)), self.rows + len(frame)
            say(f"{self.rows:,} read")
            for of, asked in {**self.cheaps, self.strong.id: (self.task, self.strong)}.items():
                self.prices[of] += batch.price(*asked, every)
            if (needed := BYTES_A_ROW * sum(map(len, found))) > memory:
                raise InputError(
                    f"A cascade keeps {BYTES_A_ROW} bytes a distinct row, and {needed:,} bytes are more than "
                    f"memory={memory:,.0f}. Give more, or a file or folder at a time with a certificate each."
                )
        self.keys, where = np.unique(np.concatenate([self.keys, *found]), return_inverse=True)
        counts = np.bincount(where, np.concatenate([np.empty(0), *weights]), len(self.keys)).astype(np.int64)
        places = np.searchsorted(self.keys, np.array(list(known), dtype="S16")).tolist()
        given_to = sorted(zip(places, known.values(), strict=True))
        self.gold = {place: known_cell(self.parts, answers) for place, answers in given_to if answers}
        self.drawn = Population(
            self.keys.tobytes(), counts, self.parts, np.array(list(self.gold), dtype=np.int64),
            learns=self.cascade.learns, targets={"accuracy": self.cascade.accuracy}, confidence=self.cascade.confidence,
        )  # fmt: skip
        self.keep = np.zeros(len(self.keys), dtype=bool)
        self.reason = self._idle()

    def truths_of(self, frame: pd.DataFrame) -> pd.DataFrame | None:
        """Return the right answers of a batch, by position."""
        if self._truth is None:
            return None
        laid = replaced(self._truth, lambda one: one.match(frame, self.on) if isinstance(one, Gold) else one)
        return known_answers(self.task, self.parts, frame, self.on, laid)

    def _idle(self) -> str:
        """Why it does not pay, as far as that can be seen now."""
        if not len(self.keys):
            return "there are no rows"
        drawn, alone = self.drawn, self.prices[self.strong.id]
        least = self.first_price * (len(drawn.open) / len(self.keys)) + alone * self._share
        return drawn.idle(self.strong.name, least, alone)

    @property
    def _share(self) -> float:
        """The share of the distinct rows that the strong model is asked in any case."""
        return (len(self.drawn.taught) + len(self.drawn.checked)) / len(self.keys)

    @property
    def first_price(self) -> Cost:
        """What is asked in any case: what embeddings leave to the cheap model may be nothing."""
        return self.prices[next(iter(self.cheaps))]

    @property
    def digest(self) -> str:
        """What tells this set of rows, and what is known of them, from another one."""
        known = (
            hashlib.blake2b(repr(sorted(self.gold.items())).encode(), digest_size=8).hexdigest() if self.gold else ""
        )
        return f"{self.drawn.seed:016x}{known}"

    @property
    def note(self) -> str:
        """What a plan says besides the most it can cost."""
        if self.reason:
            return f"the cascade does not pay ({self.reason}), so {self.strong.name} is asked alone"
        shares = self._share, self._share + (1 - self._share) * (1 - self.drawn.expected())
        least, expected = (dollars(self.first_price + self.prices[self.strong.id] * share) for share in shares)
        return f"{least} at least, {expected} expected if nine of ten cheap answers are right"

    # -- the certificate ---------------------------------------------------------------------------------------------

    def prepare(self, frames: Frames, report: EnrichReport, name: str) -> Generator[Call, Any, None]:
        """Find out which cheap answers stand; yield the calls."""
        sample, open_, none = self.drawn.checked, self.drawn.open, np.zeros(len(self.keys), dtype=bool)
        scores, right, seen, spent = np.full(len(self.keys), np.nan), none.copy(), none.copy(), [Cost(0.0), Cost(0.0)]
        if self.cascade.learns and not self.reason:
            report.title = f"enrich, rows to learn from for {name}:"
            spent = yield from self._learn(frames, report, none.copy())
        for wanted, title in ((sample, "sample"), (open_, "cheap answers"))[self.cascade.learns :]:
            if self.reason or not len(open_):
                break
            report.title = f"enrich, {title} for {name}:"
            for frame, rows in self._new(frames, seen, wanted):
                every, answers = np.arange(len(rows)), Answers(len(rows), {})
                calls = yield from self._guess(frame, every, every, answers, report)
                scores[rows] = sureness(self.parts, answers.guesses)
                checked = np.flatnonzero(np.isin(rows, sample))
                asked = yield from self._ask(frame, every, checked, answers, report)
                right[rows[checked]] = answers.agree(self.task, checked)
                spent = [spent[0] + costs_of(calls), spent[1] + costs_of(asked)]
            if title == "sample":
                self.reason = hopeless(
                    next(iter(self.cheaps)), right[sample], scores[sample], self.cascade.accuracy,
                    self.prices[self.strong.id], self.first_price,
                )  # fmt: skip
        if not self.reason and len(open_):
            steps = accuracy_steps(
                scores[open_], self.cascade.accuracy, self.cascade.confidence, self.drawn.weights[open_],
                self.drawn.seed, self.drawn.sure,
            )  # fmt: skip
            try:
                steps.send(right[open_[next(steps)]])
            except StopIteration as end:
                self.keep[open_], self.reason = end.value.keep, end.value.reason
        self._certify(spent[0], spent[1], len(sample) + len(self.drawn.taught))

    def _learn(
        self, frames: Frames, report: EnrichReport, seen: npt.NDArray[np.bool_]
    ) -> Generator[Call, Any, list[Cost]]:
        """Learn from answers of the strong model, and from what is known; return what both models cost."""
        spent, found = [Cost(0.0), Cost(0.0)], dict[int, tuple[Any, Any]]()
        for frame, rows in self._new(frames, seen, np.append(self.drawn.taught, list(self.gold)).astype(np.int64)):
            every = np.arange(len(rows))
            answers = Answers(
                len(rows), {at: self.gold[row] for at, row in enumerate(rows.tolist()) if row in self.gold}
            )
            asked = yield from self._ask(frame, every, np.flatnonzero(~answers.settled), answers, report)
            call, vectors, place = yield from self._embed(frame, report)
            for at, row in enumerate(rows.tolist()):
                if place[at] >= 0 and answers.cells[at] is not None:
                    found[row] = vectors[place[at]], answers.cells[at]
            spent = [spent[0] + costs_of([call]), spent[1] + costs_of(asked)]
        if len(found) > 1:  # in the order of their keys, which that of the files has no say in
            known, cells = zip(*(found[row] for row in sorted(found)), strict=True)
            self.lessons = Lessons(self.parts, np.stack(known), cells, self.cascade.accuracy)
        return spent

    def _new(self, frames: Frames, seen: npt.NDArray[np.bool_], wanted: Rows) -> Iterator[tuple[pd.DataFrame, Rows]]:
        """Yield the rows of each batch that are wanted and were not seen yet: a frame, and which distinct rows."""
        open_ = np.zeros(len(self.keys), dtype=bool)
        open_[wanted] = True
        for frame in frames():
            batch = Distinct(self._call(self.task, self.strong, frame).plan())
            rows = self._places(batch)
            new = open_[rows] & ~seen[rows]
            seen[rows[new]] = True
            if new.any():
                yield frame.iloc[batch.at[new]], rows[new]

    def _places(self, batch: Distinct) -> Rows:
        """Return which rows of all the rows of a batch are.

        Raises
        ------
        InputError
            The source was changed since it was counted.
        """
        keys = np.frombuffer(batch.keys, dtype="S16")
        found = np.minimum(np.searchsorted(self.keys, keys), max(0, len(self.keys) - 1))
        if len(keys) and not (len(self.keys) and np.array_equal(self.keys[found], keys)):
            raise InputError("The source was changed while it was read. Make the same call again.")
        return found.astype(np.int64)

    def _embed(self, frame: pd.DataFrame, report: EnrichReport) -> Generator[Call, Any, tuple[Call, Any, Rows]]:
        """Embed the rows of a frame; return the call, the vectors, and which of them each row has."""
        call = Call(*self.cheaps[EMBEDDINGS], frame, self.on, self._later, whole=report)
        column = VectorColumn((yield call))
        vectors, place = column[np.arange(len(column))], column.per_cell(np.arange(len(column)), -1, np.int64)
        report.settle()
        return call, vectors, place

    def _guess(
        self, frame: pd.DataFrame, at: Rows, some: Rows, answers: Answers, report: EnrichReport
    ) -> Generator[Call, Any, list[Call]]:
        """Ask what is cheap about some rows of a batch, which are at these places of its frame; return the calls."""
        calls: list[Call] = []
        if self.lessons is not None and len(some):
            call, vectors, place = yield from self._embed(frame.iloc[at[some]], report)
            calls.append(call)
            there = np.flatnonzero(place >= 0)
            cells, sure = self.lessons.guesses(vectors[place[there]])
            answers.guess(some[there], cells, EMBEDDINGS, np.zeros(len(there), dtype=bool))
            some = np.setdiff1d(some, some[there[sure]])
        if self.cheap is not None and len(some):
            part = self._call(self.cheap_task, self.cheap, frame.iloc[at[some]], report)
            yield from part.guessed(some, answers)
            calls.append(part)
            report.settle()
        return calls

    def _ask(
        self, frame: pd.DataFrame, at: Rows, some: Rows, answers: Answers, report: EnrichReport
    ) -> Generator[Call, Any, list[Call]]:
        """Ask the strong model about some rows of a batch; return the calls, of which there may be none."""
        if not len(some):
            return []
        call = self._call(self.task, self.strong, frame.iloc[at[some]], report)
        yield from call.asked(some, answers)
        report.settle()
        return [call]

    def _certify(self, cheap: Cost, strong: Cost, sample: int) -> None:
        """Put the certificate together, given what cheap answers cost, and the strong ones of the sample."""
        weights, kept = self.drawn.weights, int(self.drawn.weights[self.keep].sum())
        sent_to = ~self.keep
        sent_to[list(self.gold)] = False
        rows, asked = int(weights.sum()), int(weights[sent_to].sum())
        alone = self.prices[self.strong.id]
        if sample and strong.neurons is not None and not self.reason:
            alone = strong * (len(self.keys) / sample)
        cost = (cheap + alone * float(sent_to.mean() if len(self.keys) else 0)).neurons
        self.certificate = self.read([rows, asked, kept, "" if kept else self.reason, cost, alone.neurons], 0)

    @property
    def kept(self) -> str:
        """What tells the rows that keep the cheap answer from others."""
        return hashlib.blake2b(np.packbits(self.keep).tobytes(), digest_size=8).hexdigest()

    @property
    def record(self) -> dict[str, Any]:
        """What a part notes of it."""
        one = self.certificate
        assert one is not None
        about = [one.rows, one.asked, one.kept, one.reason, one.cost.neurons, one.alone.neurons]
        return {"kept": self.kept, "certificate": about}

    def read(self, noted: list[Any], failed: int) -> Certificate:
        """Return the certificate that a part noted, given how many rows have failed in all parts."""
        rows, asked, kept, reason, cost, alone = noted
        return Certificate(
            rows=rows, asked=asked, kept=kept, known=int(self.drawn.weights[list(self.gold)].sum()),
            failed=failed, strong=self.strong.name,
            confidence=self.cascade.confidence, targets={"accuracy": self.cascade.accuracy} if kept else {},
            reason=reason, cost=Cost(cost), alone=Cost(alone),
        )  # fmt: skip

    # -- the answers of a batch --------------------------------------------------------------------------------------

    def answer(self, frame: pd.DataFrame, report: EnrichReport) -> Generator[Call, Any, tuple[pd.DataFrame, Report]]:
        """Yield the calls of a batch; return its answers with what answered each row, and their report."""
        strong = self._call(self.task, self.strong, frame, report)
        batch = Distinct(strong.plan())
        rows = self._places(batch)
        known = {at: self.gold[row] for at, row in enumerate(rows.tolist()) if row in self.gold}
        answers, some = Answers(len(batch.weights), known), np.flatnonzero(self.keep[rows])
        calls = yield from self._guess(frame, batch.at, some, answers, report)
        # An answer that the store has lost, and that now fails, is left to the strong model.
        answers.kept[some] = [answers.guesses[row] is not None for row in some.tolist()]
        rest = np.flatnonzero(~answers.kept & ~answers.settled)
        calls += yield from self._ask(frame, batch.at, rest, answers, report)
        answers.stand()
        made = whole(strong, batch, answers, calls, None)
        found = made.frame()
        if isinstance(found, pd.Series):
            found = pd.DataFrame({"answer": found, "answered_by": made.answered_by})
        return found, made

    def cheap_plans(self, frame: pd.DataFrame) -> list[Plan]:
        """Return what is asked about the rows of a batch before the strong model, at most."""
        return [self._call(*asked, frame).plan() for asked in self.cheaps.values()]

    @property
    def _later(self) -> RunOptions:
        return dataclasses.replace(self._options, part="later")

    def _call(self, task: Task, model: Model, frame: pd.DataFrame, report: EnrichReport | None = None) -> PartCall:
        return PartCall(task, model, frame, self.on, self._later, whole=report)


def prepare(
    cascades: Mapping[str, tuple[FilesCascade, Frames]], target: Target, report: EnrichReport
) -> Generator[Call, Any, None]:
    """Yield the calls that cascades need before the first part; parts of another certificate are made again."""
    there = sum(part.stop - part.start for part in target.parts.values())
    for name, (cascade, frames) in cascades.items():
        if there and there == cascade.rows:  # the parts hold the certificate
            continue
        yield from cascade.prepare(frames, report, name)
        if cascade.reason and len(cascade.keys):
            rows = " without a truth" if cascade.gold else ""
            why = f"the cascade does not pay: {cascade.reason}. {cascade.strong.name} is asked about every row{rows}."
            report.notes.append(f"{name}: {why}")
        if any(part.record["columns"][name]["kept"] != cascade.kept for part in target.parts.values()):
            report.notes.append("All parts are made again: rows that had failed were answered.")
            target.remove(list(target.parts))
            report.none_there()


def certificates(cascades: Mapping[str, tuple[FilesCascade, Frames]], target: Target) -> dict[str, Certificate]:
    """Return what cascades promise, going by the parts that are there."""
    found = {}
    for name, (cascade, _) in cascades.items():
        records = [part.record["columns"][name] for part in target.parts.values()]
        if records:
            found[name] = cascade.read(records[0]["certificate"], sum(record["failed"] for record in records))
    return found
