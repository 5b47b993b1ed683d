"""A task as a method: each verb in its three forms, with the docstring and signature of its task."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any, Generic, Protocol, TypeVar, overload

import pandas as pd

from ..errors import ColumnError, refuse_unknown
from ..tasks import Check, Rank, Task
from . import rows
from .call import OPTIONS, Call, Forms

T = TypeVar("T", bound=Task)
_OPTIONS = "\n\nAttributes\n----------\n"


class Holder(Protocol):
    """What verbs are methods of."""

    _data: rows.Frame


def _documented(task: type[Task], about: str = "") -> str:
    """Return the docstring of a verb: the task's, with the options it inherits and those of every call.

    `about` takes the place of what the task says of itself.
    """
    head, _, notes = inspect.cleandoc(task.__doc__ or "").partition("\n\nNotes\n-----\n")
    options: dict[str, str] = {}  # each as it is documented where it is declared
    for owner in task.__mro__[: task.__mro__.index(Task)]:
        _, _, listed = inspect.cleandoc(owner.__doc__ or "").partition(_OPTIONS)
        for entry in re.findall(r"^\w+ :.*(?:\n +.*)*", listed, re.MULTILINE):
            options.setdefault(entry.split()[0], entry)
    about = about or head.partition(_OPTIONS)[0]
    parts = [about, "", "Parameters", "----------", _ON, *options.values(), _HOW_IT_TRAVELS]
    return "\n".join([*parts, *(["", "Notes", "-----", notes] if notes else [])])


class Verb(Generic[T]):
    """Makes a task a method of the accessor, in its three forms."""

    def __init__(self, task: type[T]) -> None:
        self.task = task

    def __set_name__(self, owner: type, name: str) -> None:
        self.__doc__ = _documented(self.task)

    @overload
    def __get__(self, accessor: None, owner: type) -> Verb[T]: ...
    @overload
    def __get__(self, accessor: Holder, owner: type) -> BoundVerb[T]: ...
    def __get__(self, accessor: Holder | None, owner: type) -> Verb[T] | BoundVerb[T]:
        return self if accessor is None else BoundVerb(self.task, accessor._data)


class BoundVerb(Forms, Generic[T]):
    """A verb on a frame: call it, await ``.aio``, or price it with ``.plan``."""

    def __init__(self, task: type[T], data: rows.Frame) -> None:
        self._task = task
        self._data = data
        self.__name__ = task.name
        self.__doc__ = _documented(task)
        self.__signature__ = _signature(task)

    def __repr__(self) -> str:
        return f"<df.cfai.{self.__name__}{self.__signature__}: call it, await .aio(...), or price it with .plan(...)>"

    def _call(self, on: Any = None, *args: Any, **options: Any) -> Call:
        names = self._task.positional
        if isinstance(self._data, pd.Series) and on is not None and names and not args and names[0] not in options:
            on, args = None, (on,)  # a Series needs no column: s.cfai.classify(labels)
        if len(args) > len(names):
            raise TypeError(f"{self.__name__}() takes {len(names)} arguments after the column ({', '.join(names)})")
        options = {**dict(zip(names, args, strict=False)), **options}
        known = [f.name for f in dataclasses.fields(self._task)]
        refuse_unknown(self.__name__, options, [*known, "model", *OPTIONS])
        travel = {name: options.pop(name) for name in OPTIONS if name in options}
        model = options.pop("model", None)
        try:
            task = self._task(**options)
        except TypeError as error:
            text = re.sub(r"^\w+\.__init__", self.__name__, str(error)).rstrip(".?")
            raise TypeError(f"{text}. Options: {', '.join([*known, 'model', *OPTIONS])}.") from None
        return Call(task, model, self._data, on, travel)


class FilterVerb(Verb[Check]):
    """``df.cfai.filter``: the rows for which a condition holds."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.__doc__ = _documented(self.task, _KEEPS)

    def __get__(self, accessor: Holder | None, owner: type) -> Any:
        return self if accessor is None else BoundFilter(self.task, accessor._data)


class BoundRows(BoundVerb[T]):
    """A verb whose answers choose among the rows of the frame, or order them."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Do it, and return the rows."""
        call = self._call(*args, **options)
        return self._rows(call.wait(), call)

    async def aio(self, *args: Any, **options: Any) -> Any:
        """Do it, and return the rows; awaited."""
        from .._engine.loop import in_thread

        call = await in_thread(lambda: self._call(*args, **options))
        answers = await call.wait_async()
        return await in_thread(lambda: self._rows(answers, call))

    def _rows(self, answers: Any, call: Call) -> Any:
        raise TypeError("a verb must say which rows its answers mean")


class BoundFilter(BoundRows[Check]):
    """``check``, and then the rows of the frame where it holds; rows without an answer are left out."""

    def __init__(self, task: type[Check], data: rows.Frame) -> None:
        super().__init__(task, data)
        self.__name__, self.__doc__ = "filter", _documented(task, _KEEPS)

    def _rows(self, answers: Any, call: Call) -> Any:
        holds = answers["check"] if isinstance(answers, pd.DataFrame) else answers
        return self._data[holds.fillna(False).to_numpy(dtype=bool)]


class RankVerb(Verb[Rank]):
    """``df.cfai.rank``: the rows, ordered by how well they answer a query."""

    def __get__(self, accessor: Holder | None, owner: type) -> Any:
        return self if accessor is None else BoundRank(self.task, accessor._data)


class BoundRank(BoundRows[Rank]):
    """``rank``, and then the rows of the frame in that order, with a column of scores."""

    def _call(self, *args: Any, **options: Any) -> Call:
        call = super()._call(*args, **options)
        column = call.task.column if isinstance(call.task, Rank) else ""
        if column in (self._data.columns if isinstance(self._data, pd.DataFrame) else [self._data.name]):
            raise ColumnError(
                f"There is a column {column!r} already; say with column= what the scores shall be called."
            )
        return call

    def _rows(self, answers: Any, call: Call) -> Any:
        task = call.task
        assert isinstance(task, Rank)
        frame = self._data if isinstance(self._data, pd.DataFrame) else self._data.to_frame(self._data.name or "value")
        scores = answers.to_numpy(dtype=float, na_value=float("nan"))
        # Stable, so that equal scores keep the order of the frame; those without a score go last.
        order = (-scores).argsort(kind="stable")
        if task.top_k is not None:
            failed = call.report.errors if call.report is not None else {}
            scored = len(scores) - int(pd.isna(scores).sum())
            order = [*order[: min(task.top_k, scored)], *(at for at in order[scored:] if int(at) in failed)]
        return frame.iloc[order].assign(**{task.column: scores[order]})


class AnyTask(Forms):
    """``df.cfai.run``: any task, also one written in a cell, in the same three forms.

    Parameters
    ----------
    task : Task
        An instance, which holds the options of the question.
    on : str
        A column, or a template with ``{column}`` in it.
    model : str or Model, optional
    **options
        How it travels, as for every verb.
    """

    def __init__(self, data: rows.Frame) -> None:
        self._data = data

    def _call(self, task: Task, on: Any = None, *, model: Any = None, **options: Any) -> Call:
        if not isinstance(task, Task):
            raise TypeError(f"run() takes a Task such as cf.Embed(), not {task!r:.60}; its options go into the Task.")
        return Call(task, model, self._data, on, options)


_KEEPS = "Keep the rows for which a condition holds; rows without an answer are left out."
_ON = """on : str
    A column, or a template with ``{column}`` in it.  A Series needs none."""
_HOW_IT_TRAVELS = """model : str or Model, optional
    A name from ``cf.models()``; the catalogue says why the default is the default.
cache : {True, False, "refresh", "only"}
    Use the store; neither read nor keep; ask anew and keep; answer from the store alone.
budget : float or "free", optional
    Dollars, or what is left of today's free Neurons; ``neurons=`` gives it in Neurons.  Nothing is sent that could
    go beyond it.
on_error : {"keep", "raise", "partial"}
    Failed rows stay missing (``cf.last_run().failures`` lists them, with the text of replies that were cut), or raise
    at the end, or hold the beginning of a reply that was cut at ``max_tokens``.
concurrency : "auto" or int
    The most requests of this call at once, of the 64 (or as many as are asked for) that all calls to the model share.
patience : float, optional
    Seconds that a row waits at most from its first refusal or fault on, and the run without any answer (default 120).
    Waiting for one's own turn in the minute or in the queue, or for an answer, is not counted.
gateway : cf.Gateway or str, optional
    The AI Gateway the requests go through.
queue : bool, optional
    Hand the requests in to the service's batch queue and wait there: for models that have one, when time is no
    matter.  What was handed in is fetched by the same call later, also after a restart.
reject_if_busy : bool, optional
    Have a model that is out of capacity say so at once, so that what is sent follows capacity more closely.
fetch : bool, optional
    Whether addresses in a column of pictures or sound may be fetched, from public hosts only.  Default: no.
files : path, optional
    The folder in which texts of a column of pictures, sound or documents may name files; nothing outside it is read,
    and no link in it is followed.  Default: none; a ``pathlib.Path`` in a cell is read without it.
progress : bool, optional
    Default: a bar in a notebook, a line in a terminal, nothing elsewhere."""


class _Required:
    """What stands in a signature for what must be given."""

    def __repr__(self) -> str:
        return "..."


_REQUIRED = _Required()


def _signature(task: type[Task]) -> inspect.Signature:
    kind = inspect.Parameter
    names = [kind("on", kind.POSITIONAL_OR_KEYWORD, default=None)]
    fields = {f.name: f for f in dataclasses.fields(task)}
    ordered = [*task.positional, *(name for name in fields if name not in task.positional)]
    for name in ordered:
        default = fields[name].default
        empty = default is dataclasses.MISSING
        how = kind.POSITIONAL_OR_KEYWORD if name in task.positional else kind.KEYWORD_ONLY
        # A required field by position cannot follow an optional one in a signature, whatever the call allows.
        names.append(
            kind(
                name,
                how,
                default=_REQUIRED if empty and how is kind.POSITIONAL_OR_KEYWORD else kind.empty if empty else default,
            )
        )
    names += [kind(name, kind.KEYWORD_ONLY, default=None) for name in ("model", *OPTIONS)]
    return inspect.Signature(names)
