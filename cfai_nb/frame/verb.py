"""Verbs as methods of the accessor: each is a descriptor that binds one definition to the frame.

``Verb`` binds a function over the data, imported when it is first used; ``TaskVerb`` binds a task, and ``FilterVerb``
and ``RankVerb`` make rows of what a task answers.  All give a ``BoundVerb`` with the three forms of ``Forms``.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd

from ..errors import ColumnError, refuse_unknown
from ..models import Model
from ..tasks import Ask, Check, Extract, Rank, Task
from ..tasks.dialects.extraction import NOT_STATED, types_of
from ..tasks.dialects.question_types import Choice, Question, YesNo
from . import rows
from .call import Call
from .progress import Display
from .steps import Forms, Steps

if TYPE_CHECKING:
    from .verb_help import Help


class Holder(Protocol):
    """What verbs are methods of."""

    _data: rows.Frame
    _display: Display | None


class Verb:
    """A method of the accessor in three forms.

    Parameters
    ----------
    module, name : str
        The module within the package that defines it, and its name there: a function whose first parameter is the
        data, and that yields ``Steps``.
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
        from .verb_help import of_function  # brings the engine's options; importing the package is quick

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
        unknown = options.keys() - self._verb.help.signature.parameters.keys()
        refuse_unknown(self.__name__, unknown, self._verb.help.options)
        return self._verb.definition(self._data, *args, **options)


class BoundTaskVerb(BoundVerb):
    """A task on a frame."""

    _verb: TaskVerb

    def call(self, *args: Any, **options: Any) -> Call:
        """Return the call, checked and not yet made, for those who carry it out themselves."""
        verb: TaskVerb = self._verb
        return verb.call(self._data, *args, **options)


class TaskVerb(Verb):
    """A task as a method.

    Parameters
    ----------
    task : type of Task
    about : str
        What it does, where that is not what the task says of itself.
    """

    def __init__(self, task: type[Task], about: str = "") -> None:
        self.task, self._about, self.name = task, about, task.name

    @functools.cached_property
    def definition(self) -> Callable[..., Steps[Any]]:
        """What it does: one call, and what becomes of its answers."""
        return self._steps

    @functools.cached_property
    def help(self) -> Help:
        """Its signature and docstring; built once."""
        from .verb_help import of_task

        return of_task(self.task, self._about)

    def __get__(self, accessor: Holder | None, owner: type) -> Any:
        if accessor is None:
            return super().__get__(accessor, owner)
        return BoundTaskVerb(self, accessor._data, accessor._display)

    def _steps(self, data: rows.Frame, *args: Any, **options: Any) -> Steps[Any]:
        call = self.call(data, *args, **options)
        answers = yield call
        return lambda: self.result(data, call, answers)

    def call(self, data: rows.Frame, on: Any = None, *args: Any, **options: Any) -> Call:
        """Return the call that these arguments mean, checked and not yet made."""
        task, model, on, given = self.meant(data, on, *args, **options)
        return Call(task, model, data, on, given)

    def meant(self, data: rows.Frame, on: Any, *args: Any, **options: Any) -> tuple[Task, Any, Any, dict[str, Any]]:
        """Return task, model, column and run options that these arguments mean."""
        names = self.task.positional
        if isinstance(data, pd.Series) and on is not None and names and not args and names[0] not in options:
            on, args = None, (on,)  # a Series needs no column: s.cfai.classify(labels)
        if len(args) > len(names):
            raise TypeError(f"{self.name}() takes {len(names)} arguments after the column ({', '.join(names)})")
        options = {**dict(zip(names, args, strict=False)), **options}
        refuse_unknown(self.name, options, self.help.options)
        fields = {field.name for field in dataclasses.fields(self.task)}
        given = {name: options.pop(name) for name in list(options) if name not in fields}
        model = given.pop("model", None)
        try:
            task = self.task(**options)
        except TypeError as error:
            text = re.sub(r"^\w+\.__init__", self.name, str(error)).rstrip(".?")
            raise TypeError(f"{text}. Options: {', '.join(self.help.options)}.") from None
        return task, model, on, given

    def result(self, data: rows.Frame, call: Call, answers: Any) -> Any:
        """Return what the verb returns, given the answers of its call."""
        return answers


class ExtractVerb(TaskVerb):
    """``extract``, with those fields put to a decision model that the extraction model has no type for."""

    def _steps(self, data: rows.Frame, *args: Any, **options: Any) -> Steps[Any]:
        task, model, on, given = self.meant(data, *(args or (None,)), **options)
        assert isinstance(task, Extract)
        asked, rest = self._divided(task, model)
        if not asked:
            answers = yield Call(task, model, data, on, given)
            return lambda: answers
        from ..session import current

        merged = current().options(given)  # once, so that both calls share one budget
        found = pd.DataFrame(index=data.index)
        if rest is not None:
            answers = yield Call(rest, model, data, on, merged)
            found = answers if isinstance(answers, pd.DataFrame) else found  # a plan has no answers
        decided = yield Call(Ask(questions=asked, probabilities=task.details), None, data, on, merged)
        return lambda: _together(types_of(task.fields), asked, found, decided)

    def _divided(self, task: Extract, model: Any) -> tuple[dict[str, Question], Extract | None]:
        from ..session import current

        here = current()
        # With any gateway, since the call itself says where one is missing.
        chosen = None if here.endpoint.is_server else here.model_for(task, model, "default")
        return ({}, task) if chosen is None or chosen.family != "clairic" else task.divided()


def _together(
    names: Iterable[str], asked: Mapping[str, Question], found: pd.DataFrame, decided: pd.DataFrame
) -> pd.DataFrame:
    """Return the columns of both calls in the order of the fields."""
    columns: dict[str, pd.Series[Any]] = {}
    known = sorted(names, key=len, reverse=True)
    owners = {each: next((n for n in known if each == n or each.startswith(f"{n}__")), each) for each in found.columns}
    for name in names:
        question = asked.get(name)
        if question is None:
            columns |= {each: found[each] for each, owner in owners.items() if owner == name}
        elif isinstance(question, YesNo):
            columns[name] = decided[name]
            if f"{name}__p" in decided:
                p = decided[f"{name}__p"]
                columns[f"{name}__confidence"] = p.where(p >= 0.5, 1 - p)
        else:
            words = question.names if isinstance(question, Choice) else ()
            columns[name] = decided[name].cat.set_categories([each for each in words if each != NOT_STATED])
            if f"{name}__confidence" in decided:
                columns[f"{name}__confidence"] = decided[f"{name}__confidence"]
                columns[f"{name}__p_null"] = decided[f"{name}__p__{NOT_STATED}"]
    result = pd.DataFrame(columns, index=decided.index)
    facts = [frame.attrs["cfai"] for frame in (found, decided) if "cfai" in frame.attrs]
    models = ", ".join(each["model"] for each in facts)
    result.attrs["cfai"] = {**facts[0], "verb": "extract", "model": models}
    return result


class RowsVerb(TaskVerb):
    """A verb whose answers choose among the rows of the frame, or order them."""


class FilterVerb(RowsVerb):
    """``check``, and then the rows of the frame where it holds; rows without an answer are left out."""

    def __init__(self, task: type[Check]) -> None:
        super().__init__(task, "Keep the rows for which a condition holds; rows without an answer are left out.")

    def result(self, data: rows.Frame, call: Call, answers: Any) -> Any:
        """Return the rows where it holds."""
        holds = answers["check"] if isinstance(answers, pd.DataFrame) else answers
        return data[holds.fillna(False).to_numpy(dtype=bool)]


class RankVerb(RowsVerb):
    """``rank``, and then the rows of the frame in that order, with a column of scores."""

    def call(self, data: rows.Frame, on: Any = None, *args: Any, **options: Any) -> Call:
        """Return the call; refuses a column of scores that is there already."""
        call = super().call(data, on, *args, **options)
        column = call.task.column if isinstance(call.task, Rank) else ""
        if column in (data.columns if isinstance(data, pd.DataFrame) else [data.name]):
            raise ColumnError(f"There is a column {column!r} already; column= gives the scores another name.")
        return call

    def result(self, data: rows.Frame, call: Call, answers: Any) -> Any:
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
        return rows.as_frame(data).iloc[order].assign(**{task.column: scores[order]})


def run(
    data: rows.Frame, /, task: Task, on: Any = None, *, model: str | Model | None = None, **options: Any
) -> Steps[Any]:
    """Run any task, also one written in a cell, in the same three forms as every verb.

    Parameters
    ----------
    task : Task
        An instance, which holds the options of the question.
    on : str
        A column, or a template with ``{column}`` in it.  A Series needs none.
    model : str or Model, optional
        A name from ``cf.models()``; default: that for the task's kind of work.

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
    answers = yield Call(task, model, data, on, options)
    return lambda: answers
