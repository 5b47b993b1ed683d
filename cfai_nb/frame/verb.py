"""Verbs as methods of the accessor: each is a descriptor that binds one definition to the frame.

``Verb`` binds a function over the data, imported when it is first used; ``TaskVerb`` binds a task, and ``FilterVerb``
and ``RankVerb`` make rows of what a task answers.  All give a ``BoundVerb`` with the three forms of ``Forms``.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import pandas as pd

from .. import session
from ..errors import ColumnError, ModelError, refuse_unknown
from ..models import Model
from ..tasks import Extract, Rank, Task, Verify
from . import rows
from .call import Call, Whole
from .cascades import DECIDING, Cascade
from .cascades.cascade_call import CascadeCall
from .extract_call import ExtractCall
from .progress import Display
from .steps import Form, Forms, Steps
from .verb_help import Help, of_function, of_task


class Holder(Protocol):
    """What verbs are methods of."""

    _data: rows.Frame
    _display: Display | None


class Verb:
    """A method of the accessor in three forms.

    It calls a function of this package that takes the data as its first parameter and yields ``Steps``.
    """

    def __init__(self, module: str, name: str) -> None:
        self._at = module, name
        self.name = name

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, accessor: Holder | None, owner: type) -> Any:
        if accessor is None:
            self.__doc__ = self.help.doc
            return self
        return BoundVerb(self, accessor._data, accessor._display)

    @functools.cached_property
    def definition(self) -> Callable[..., Steps[Any]]:
        """What it does: yields the steps of a call."""
        module, name = self._at
        made: Callable[..., Steps[Any]] = getattr(importlib.import_module(f"..{module}", __package__), name)
        return made

    @functools.cached_property
    def help(self) -> Help:
        """Its signature and docstring; built once."""
        return of_function(self.definition)


class BoundVerb(Forms):
    """A verb on a frame: call it, await ``.aio``, or price it with ``.plan``."""

    def __init__(self, verb: Verb, data: rows.Frame, display: Display | None = None) -> None:
        self._verb, self._data, self._display = verb, data, display
        self.__name__ = verb.name
        self.__signature__, self.__doc__ = verb.help.signature, verb.help.doc

    def __repr__(self) -> str:
        return f"<df.cfai.{self.__name__}{self.__signature__}: call it, await .aio(...), or price it with .plan(...)>"

    def _steps(self, *args: Any, **options: Any) -> Steps[Any]:
        self._refuse_unknown(options)
        return self._verb.definition(self._data, *args, **options)

    def _refuse_unknown(self, options: Mapping[str, Any]) -> None:
        known = self._verb.help.signature.parameters
        # One with ``**options``, as the playground has, checks their names itself.
        takes_others = any(each.kind is each.VAR_KEYWORD for each in known.values())
        if not takes_others and (unknown := options.keys() - known.keys()):
            refuse_unknown(self.__name__, unknown, self._verb.help.options)


class Function(Forms):
    """A verb over something other than a frame, such as ``cf.enrich`` over files, in the same three forms.

    Its definition, named as that of a ``Verb``, takes ``display``; `plan` is the function of that module that prices
    it.
    """

    def __init__(self, module: str, name: str, plan: str, display: Display | None = None) -> None:
        self.__name__, self._display = name, display
        self._definition, self._plan = Verb(module, name), Verb(module, plan)

    @functools.cached_property
    def _help(self) -> Help:
        return of_function(self._definition.definition, bound=False)

    @property
    def __signature__(self) -> inspect.Signature:
        return self._help.signature

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        return self._help.doc

    def __repr__(self) -> str:
        return f"<cf.{self.__name__}: call it, await .aio(...), or price it with .plan(...)>"

    def _steps(self, *args: Any, **options: Any) -> Steps[Any]:
        refuse_unknown(self.__name__, options, self._help.options)
        return self._definition.definition(*args, display=self._display, **options)

    @Form
    def plan(self, *args: Any, **options: Any) -> Any:
        """Price it and send nothing."""
        refuse_unknown(self.__name__, options, self._help.options)
        return self._plan.definition(*args, **options)


class BoundTaskVerb(BoundVerb):
    """A task on a frame."""

    _verb: TaskVerb

    def call(self, *args: Any, **options: Any) -> Call | ExtractCall:
        """Return the call, checked and not yet made, for those who carry it out themselves."""
        self._refuse_unknown(options)
        verb: TaskVerb = self._verb
        return verb.call(self._data, *args, **options)


class TaskVerb(Verb):
    """A task as a method: what it returns, such as ``"Series: A text a row."``, and an example of it.

    The example is code about a frame ``shop``, which ``cli/verbs.py`` makes; it ends up in the help of the verb, and is
    run for the documentation.
    """

    #: Options that go with a cascade alone.
    _with_cascades: tuple[str, ...] = ("truth",)
    #: What it does, where that is not what the task says of itself.
    _about = ""
    #: Whether it returns rows of the frame.
    _rows = False

    def __init__(self, task: type[Task], returns: str = "Series: A text a row.", example: str = "") -> None:
        self.task, self.returns, self.example, self.name = task, returns, example, task.name

    @property
    def extra(self) -> tuple[str, ...]:
        """Options that go with a cascade alone; none where its answers are not equal or not."""
        return self._with_cascades if issubclass(self.task, DECIDING) else ()

    @functools.cached_property
    def definition(self) -> Callable[..., Steps[Any]]:
        """What it does: one call, and what becomes of its answers."""
        return self._steps

    @functools.cached_property
    def help(self) -> Help:
        """Its signature and docstring; built once."""
        return of_task(self.task, self.returns, self.example, about=self._about, extra=self.extra, rows=self._rows)

    def __get__(self, accessor: Holder | None, owner: type) -> Any:
        if accessor is None:
            return super().__get__(accessor, owner)
        return BoundTaskVerb(self, accessor._data, accessor._display)

    def _steps(self, data: rows.Frame, *args: Any, **options: Any) -> Steps[Any]:
        task, model, on, given = self._arguments(data, *args, **options)
        if isinstance(model, Cascade):
            own = {name: given.pop(name, None) for name in self.extra}
            whole = CascadeCall(task, model, data, on, given, **own)
            answers = yield from carried_out(whole)
            return lambda: self.result(data, whole, answers())
        call = call_of(task, model, data, on, _without(given, self.extra))
        answers = yield from carried_out(call)
        return lambda: self.result(data, call, answers())

    def call(self, data: rows.Frame, *args: Any, **options: Any) -> Call | ExtractCall:
        """Return the call that these arguments mean, checked and not yet made."""
        task, model, on, given = self._arguments(data, *args, **options)
        if isinstance(model, Cascade):
            raise ModelError(f"a cascade is several calls; call {self.name}() itself, or give one model.")
        return call_of(task, model, data, on, _without(given, self.extra))

    def _arguments(
        self, data: rows.Frame, on: Any = None, *args: Any, **options: Any
    ) -> tuple[Task, Any, Any, dict[str, Any]]:
        """Return the task, the model, the column and the run options that these arguments mean."""
        names = self.task.positional
        if isinstance(data, pd.Series) and on is not None and names and not args and names[0] not in options:
            on, args = None, (on,)  # a Series needs no column: s.cfai.classify(labels)
        if len(args) > len(names):
            raise TypeError(f"{self.name}() takes {len(names)} arguments after the column ({', '.join(names)})")
        options = {**dict(zip(names, args, strict=False)), **options}
        fields = {field.name for field in dataclasses.fields(self.task)}
        given = {name: options.pop(name) for name in list(options) if name not in fields}
        model = given.pop("model", None)
        try:
            return self.task(**options), model, on, given
        except TypeError as error:
            text = re.sub(r"^\w+\.__init__", self.name, str(error)).rstrip(".?")
            raise TypeError(f"{text}. Options: {', '.join(self.help.options)}.") from None

    def result(self, data: rows.Frame, call: Call | CascadeCall | ExtractCall, answers: Any) -> Any:
        """Return what the verb returns, given the answers of its call."""
        return answers


def call_of(
    task: Task, model: Any, data: rows.Frame, on: Any, options: Any, part: str = "", *, whole: Whole | None = None
) -> Call | ExtractCall:
    """Return the call of a task; for an ``Extract`` with fields that its model has no type for, the two that it is."""
    here = session.current()
    if isinstance(task, Extract) and not here.endpoint.is_server:
        # With any gateway, since the call itself says where one is missing.
        family = here.model_for(task, model, "default").family
        asked, rest = task.divided() if family == "clairic" else ({}, task)
        if asked:
            return ExtractCall(task, asked, rest, model, data, on, options, part, whole=whole)
    return Call(task, model, data, on, options, part, whole=whole)


def carried_out(call: Call | CascadeCall | ExtractCall) -> Steps[Any]:
    """Yield the steps of a call, of whatever kind it is; return what gives its answers."""
    if isinstance(call, Call):
        answers = yield call
        return lambda: answers
    yield from call.steps()
    return call.frame


def _without(given: Mapping[str, Any], extra: Sequence[str]) -> dict[str, Any]:
    """Return the run options; refuses options that only go with a cascade."""
    if idle := [name for name in extra if given.get(name) is not None]:
        raise TypeError(f"{' and '.join(idle)}: these go with model=cf.Cascade(cheap, strong) alone. Leave them out.")
    return {name: value for name, value in given.items() if name not in extra}


class FilterVerb(TaskVerb):
    """``check``, and then the rows of the frame where it holds; rows without an answer are left out."""

    _with_cascades = ("truth", "recall", "precision")
    _about = "Keep the rows for which a condition holds; rows without an answer are left out."
    _rows = True

    def result(self, data: rows.Frame, call: Call | CascadeCall | ExtractCall, answers: Any) -> Any:
        """Return the rows where it holds."""
        holds = answers["check"] if isinstance(answers, pd.DataFrame) else answers
        return data[holds.fillna(False).to_numpy(dtype=bool)]


class RankVerb(TaskVerb):
    """``rank``, and then the rows of the frame in that order, with a column of scores."""

    _rows = True

    def _arguments(self, data: rows.Frame, *args: Any, **options: Any) -> tuple[Task, Any, Any, dict[str, Any]]:
        """Return what they mean; refuses a column of scores that is there already."""
        made = super()._arguments(data, *args, **options)
        column = made[0].column if isinstance(made[0], Rank) else ""
        if column in (data.columns if isinstance(data, pd.DataFrame) else [data.name]):
            raise ColumnError(f"There is a column {column!r} already; column= gives the scores another name.")
        return made

    def result(self, data: rows.Frame, call: Call | CascadeCall | ExtractCall, answers: Any) -> Any:
        """Return the rows in the order of their scores."""
        task = call.task
        assert isinstance(task, Rank)
        scores = answers.to_numpy(dtype=float, na_value=float("nan"))
        # Stable, so that equal scores keep the order of the frame; those without a score go last.
        order = (-scores).argsort(kind="stable")
        if task.top_k is not None:
            failed = call.report.errors if call.report is not None else {}
            scored = len(scores) - int(pd.isna(scores).sum())
            order = [*order[: min(task.top_k, scored)], *(at for at in order[scored:] if int(at) in failed)]
        made = rows.as_frame(data).iloc[order].copy()
        made[rows.label_in(made, task.column)] = scores[order]
        return made


def run(
    data: rows.Frame, /, task: Task, on: Any = None, *, model: str | Model | Cascade | None = None, truth: Any = None,
    **options: Any,
) -> Steps[Any]:  # fmt: skip
    """Run any task, also one written in a cell, in the same three forms as every verb.

    Parameters
    ----------
    task : Task
        An instance, which holds the options of the question.
    on : str
        A column, or a template with ``{column}`` in it.  A Series needs none.
    model : str, Model or cf.Cascade, optional
        A name from ``cf.models()``; default: that for the task's kind of work.
    truth : column, Series, list or cf.gold(name), or dict of answer to one of these, optional
        With a cascade: right answers where they are known, see ``classify``.

    Returns
    -------
    Series or DataFrame
        On the index of the frame, as the task lays its answers out; rows without an answer are missing.

    Raises
    ------
    TypeError
        `task` is not a Task.

    Examples
    --------
    >>> df.cfai.run(cf.Classify(labels=["billing", "shipping"]), "text")
    """
    if not isinstance(task, Task):
        raise TypeError(f"run() takes a Task such as cf.Embed(), not {task!r:.60}; its options go into the Task.")
    if isinstance(model, Cascade):
        return (yield from carried_out(CascadeCall(task, model, data, on, options, truth=truth)))
    return (yield from carried_out(call_of(task, model, data, on, _without({**options, "truth": truth}, ("truth",)))))


def verify(
    data: rows.Frame, /, claim: str, source: str, *, probabilities: bool = False,
    model: str | Model | Cascade | None = None, truth: Any = None, **options: Any,
) -> Steps[Any]:  # fmt: skip
    """Say of each claim whether a source supports it, contradicts it, or does not mention it.

    Parameters
    ----------
    claim, source : str
        Columns of text: what is claimed, and what it is held against.  A row without one of both has no verdict.
    probabilities : bool
        Return a DataFrame ``verify, confidence, p__<verdict>`` instead of a categorical Series.
    model : str, Model or cf.Cascade, optional
        A name from ``cf.models()``; default: that of ``classify``.
    truth : column, Series, list or cf.gold(name), optional
        With a cascade: right verdicts where they are known, see ``classify``.

    Returns
    -------
    Series or DataFrame
        ``"supported"``, ``"contradicted"`` or ``"not mentioned"``, on the index of the frame.

    Raises
    ------
    ColumnError
        There is no such column.

    Examples
    --------
    >>> df["verdict"] = df.cfai.verify("summary", "article")
    """
    both = rows.as_frame(data)
    pair = pd.concat([rows.column(both, claim), rows.column(both, source)], axis=1)
    pair.columns = pd.Index(["claim", "source"])
    task = Verify(probabilities=probabilities)
    return (yield from run(pair, task, "Claim: {claim}\n\nSource: {source}", model=model, truth=truth, **options))
