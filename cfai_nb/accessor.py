"""``df.cfai`` and ``s.cfai``: one class for both, one line per verb."""

from __future__ import annotations

import dataclasses
import inspect
import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import pandas as pd

from . import frames
from .call import OPTIONS, Call
from .tasks import (
    Ask,
    Check,
    Classify,
    Embed,
    Extract,
    FixGrammar,
    Generate,
    Mask,
    Score,
    Sentiment,
    Summarize,
    Task,
    Translate,
)

if TYPE_CHECKING:
    from ._engine.plan import Plan

T = TypeVar("T", bound=Task)


class Verb(Generic[T]):
    """Makes a task a method of the accessor, in its three forms."""

    def __init__(self, task: type[T]) -> None:
        self.task = task

    def __set_name__(self, owner: type, name: str) -> None:
        self.__doc__ = self.task.__doc__

    @overload
    def __get__(self, accessor: None, owner: type) -> Verb[T]: ...
    @overload
    def __get__(self, accessor: Accessor, owner: type) -> BoundVerb[T]: ...
    def __get__(self, accessor: Accessor | None, owner: type) -> Verb[T] | BoundVerb[T]:
        return self if accessor is None else BoundVerb(self.task, accessor._data)


class Forms:
    """The three forms of a call: do it, await it, price it."""

    def _call(self, *args: Any, **options: Any) -> Call:
        raise TypeError("a verb must say how its arguments make a call")

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Do it and wait."""
        return self._call(*args, **options).wait()

    async def aio(self, *args: Any, **options: Any) -> Any:
        """Do it; awaited, on any event loop."""
        return await self._call(*args, **options).wait_async()

    def plan(self, *args: Any, **options: Any) -> Plan:
        """Price it and send nothing."""
        return self._call(*args, **options).plan()


class BoundVerb(Forms, Generic[T]):
    """A verb on a frame: call it, await ``.aio``, or price it with ``.plan``."""

    def __init__(self, task: type[T], data: frames.Frame) -> None:
        self._task = task
        self._data = data
        self.__name__ = task.name
        self.__doc__ = f"{task.__doc__}\n{_HOW_IT_TRAVELS}"
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
        travel = {name: options.pop(name) for name in OPTIONS if name in options}
        model = options.pop("model", None)
        try:
            task = self._task(**options)
        except TypeError as error:
            known = [f.name for f in dataclasses.fields(self._task)]
            text = re.sub(r"^\w+\.__init__", self.__name__, str(error)).rstrip(".?")
            raise TypeError(f"{text}. Options: {', '.join([*known, 'model', *OPTIONS])}.") from None
        return Call(task, model, self._data, on, travel)


class FilterVerb(Verb[Check]):
    """``df.cfai.filter``: the rows for which a condition holds."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.__doc__ = "Keep the rows for which a condition holds; options as for ``check``."

    def __get__(self, accessor: Accessor | None, owner: type) -> Any:
        return self if accessor is None else BoundFilter(self.task, accessor._data)


class BoundFilter(BoundVerb[Check]):
    """``check``, and then the rows of the frame where it holds; rows without an answer are left out."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Keep the rows for which the condition holds."""
        return self._kept(super().__call__(*args, **options))

    async def aio(self, *args: Any, **options: Any) -> Any:
        """Keep the rows for which the condition holds; awaited."""
        return self._kept(await super().aio(*args, **options))

    def _kept(self, checked: Any) -> Any:
        holds = checked["check"] if isinstance(checked, pd.DataFrame) else checked
        return self._data[holds.fillna(False).to_numpy(dtype=bool)]


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

    def __init__(self, data: frames.Frame) -> None:
        self._data = data

    def _call(self, task: Task, on: Any = None, *, model: Any = None, **options: Any) -> Call:
        if not isinstance(task, Task):
            raise TypeError(f"run() takes a Task such as cf.Embed(), not {task!r:.60}; its options go into the Task.")
        return Call(task, model, self._data, on, options)


#: What rooms above give a frame, by name: put in place by the front door, so that nothing here imports them.
above: dict[str, Callable[..., Any]] = {}


class Accessor:
    """Verbs of Workers AI on a DataFrame or Series.

    Every verb has three forms: ``df.cfai.embed("text")`` does it, ``await df.cfai.embed.aio("text")`` does it in a
    coroutine, ``df.cfai.embed.plan("text")`` prices it and sends nothing.
    """

    embed = Verb(Embed)
    classify = Verb(Classify)
    generate = Verb(Generate)
    ask = Verb(Ask)
    check = Verb(Check)
    score = Verb(Score)
    sentiment = Verb(Sentiment)
    filter = FilterVerb(Check)
    extract = Verb(Extract)
    summarize = Verb(Summarize)
    translate = Verb(Translate)
    fix_grammar = Verb(FixGrammar)
    mask = Verb(Mask)

    def __init__(self, data: frames.Frame) -> None:
        self._data = data

    @property
    def run(self) -> AnyTask:
        """Run any task, also one written in a cell: ``df.cfai.run(MyTask(...), on="text")``."""
        return AnyTask(self._data)

    def preview(self, columns: Any = None, n: int = 12, page: int = 0, **options: Any) -> Any:
        """Look at rows: thumbnails, players, bars of vectors, texts, and what failed; see ``cf.widgets.Preview``.

        Parameters
        ----------
        columns : column or list of columns, optional
            Default: eight at most, media first.
        n : int
            Rows a page.
        page : int
            The first to show, from 0.
        **options
            ``filter``, ``failures``, ``sound``.

        Returns
        -------
        Preview
            Only what is on its page is read.
        """
        return above["preview"](self._data, columns, n, page, **options)

    def gallery(self, column: Any = None, caption: Any = None, n: int = 12, **options: Any) -> Any:
        """Look through the pictures of a column and pick rows; see ``cf.widgets.Gallery``.

        Parameters
        ----------
        column : column, optional
            Default: the first that holds pictures.
        caption : column or list of columns, optional
            The words beneath.
        n : int
            Pictures a page.
        **options
            ``page``, ``filter``.

        Returns
        -------
        Gallery
            ``.picked`` is the part of the frame that was picked.
        """
        return above["gallery"](self._data, column, caption, n, **options)

    def player(self, column: Any = None, caption: Any = None, n: int = 12, **options: Any) -> Any:
        """Listen to the sounds of a column and pick rows: as ``gallery``, for sound; see ``cf.widgets.Player``."""
        return above["player"](self._data, column, caption, n, **options)


def on(data: frames.Frame) -> Accessor:
    """Return the accessor of a frame as a typed call: no checker can see a registered one."""
    return Accessor(data)


def register() -> None:
    """Give DataFrame and Series their ``cfai``; quiet when it is there already (a reload)."""
    for owner, add in (
        (pd.DataFrame, pd.api.extensions.register_dataframe_accessor),
        (pd.Series, pd.api.extensions.register_series_accessor),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            add("cfai")(Accessor)
        assert hasattr(owner, "cfai")


_HOW_IT_TRAVELS = """
    Parameters
    ----------
    on : str
        A column, or a template with ``{column}`` in it.  A Series needs none.
    model : str or Model, optional
        A name from ``cf.models()``; the catalogue says why the default is the default.
    cache : {True, False, "refresh", "only"}
        Use the store; neither read nor keep; ask anew and keep; answer from the store alone.
    budget : float or "free", optional
        Dollars, or what is left of today's free Neurons; ``neurons=`` gives it in Neurons.  Nothing is sent that could
        go beyond it.
    on_error : {"keep", "raise"}
        Failed rows stay missing (``cf.last_run().failures`` lists them), or raise at the end.
    concurrency : "auto" or int
        The most requests at once.
    fetch : bool, optional
        Whether addresses in a column of pictures or sound may be fetched, from public hosts only.  Default: no.
    progress : bool, optional
        Default: a bar in a notebook, a line in a terminal, nothing elsewhere.
"""


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
                default=... if empty and how is kind.POSITIONAL_OR_KEYWORD else kind.empty if empty else default,
            )
        )
    names += [kind(name, kind.KEYWORD_ONLY, default=None) for name in ("model", *OPTIONS)]
    return inspect.Signature(names)
