"""The shape of every task: what to ask, as plain data and plain functions.

A verb builds a task out of the user's options; the engine asks it for requests and hands it the answers; the frame
lays out the columns it returns.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from ..errors import ModelError, refuse_unknown
from ..models import Model, Usage, catalogue
from .code_digest import canonical
from .dialects.reply import reported
from .dialects.request import Answer, Input, Json, Local, Request, shown_to, tokens_of

#: What was read for one input: a JSON value, or an exception that fails just this row.
Cell: TypeAlias = Any
#: What was read for the inputs of one request: a cell each, or the rows of a matrix.
Cells: TypeAlias = "Sequence[Cell] | npt.NDArray[np.float32]"
#: Yields what to send (and receives an Answer) or to do here (and receives its result), and returns the cells.
Conversation: TypeAlias = "Generator[Request | Local, Any, Cells]"
#: Fills the template of a call with given records: for each its prompt, and the columns the template does not name.
Fill: TypeAlias = Callable[[Any], list[tuple[str, dict[str, Any]]]]
#: How a column of a result is laid out.
ColumnKind: TypeAlias = Literal[
    "text", "category", "number", "integer", "boolean", "datetime", "duration", "vector", "object"
]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a result, still without pandas.

    ``kind`` is ``"text"``, ``"category"`` (with its ``levels``), ``"number"``, ``"integer"``, ``"boolean"``,
    ``"datetime"`` (ISO texts), ``"vector"`` or ``"object"``; ``values`` holds None where there is no answer.  A column
    of vectors has no values: they are rows of the run's matrix, and ``form`` says what sets their space apart.
    """

    values: Sequence[Any]
    kind: ColumnKind = "object"
    levels: tuple[str, ...] | None = None
    form: str = ""


def members(cells: Sequence[Cell], kinds: Mapping[str, ColumnKind]) -> dict[str, Column]:
    """Lay cells that are dicts out as one column a member, each of the kind given."""
    return {name: Column([cell and cell[name] for cell in cells], kind) for name, kind in kinds.items()}


def check_count(**options: object) -> None:
    """Refuse an option that has to be a whole number of at least 1 and is not."""
    for name, count in options.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ValueError(f"{name}={count!r} must be a whole number of at least 1.")


def names_of_models(fits: Callable[[Model], bool]) -> str:
    """Return the names of the current models that fit, for an error that refuses another one."""
    return ", ".join(model.name for model in catalogue().values() if model.status == "current" and fits(model))


def display_only(default: Any) -> Any:
    """Declare a field that only changes how results are shown: it is not part of the question or of the key."""
    return dataclasses.field(default=default, metadata={"display_only": True})


@dataclass(frozen=True, kw_only=True)
class Task:
    """What to ask of a model, for any number of inputs.

    Subclass it as a frozen, keyword-only dataclass whose fields are the options of the verb.  Every field is part of
    the key under which answers are kept (except those declared with ``display_only``), and so is the code of an own
    task: after it was edited, it is asked again.  A task does no I/O and knows no frame.  ``build_request`` and
    ``parse`` are all a simple one needs; a task of several turns overrides ``conversation``.

    Attributes
    ----------
    name : str
        The verb.
    version : int
        Part of the key: raise it when the meaning of the stored cells changes.
    default_model : str or Model
        The model where none is given: a kind of work in the catalogue (``"embed"``, ``"classify"``, ``"generate"``), a
        model id, or a model that is not in the catalogue, which then is the only one.
    positional : tuple of str
        Fields that may be given by position, after the column.
    template : bool
        Whether ``on`` is a prompt template rather than the name of a column.
    families : frozenset of str
        Model families it can ask; empty: any.
    kinds : frozenset of str
        What its inputs may hold: ``"text"``, ``"image"``, ``"audio"``, ``"video"``, ``"document"``.  Where that is not
        text, a cell with text in it is the address of a file, or its name in the folder of ``files=``.
    column_kind : str
        The kind of the result's column, where it has one.
    """

    name: ClassVar[str] = "task"
    version: ClassVar[int] = 1
    default_model: ClassVar[str | Model] = "generate"
    positional: ClassVar[tuple[str, ...]] = ()
    template: ClassVar[bool] = False
    families: ClassVar[frozenset[str]] = frozenset()
    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    column_kind: ClassVar[ColumnKind] = "object"

    def __new__(cls, *given: Any, **options: Any) -> typing.Self:
        """Refuse options the task does not have, and options given by position, before the dataclass does."""
        own = inspect.signature(cls.__init__).parameters  # also of a task that is not a dataclass
        names = [name for name, one in own.items() if name != "self" and one.kind is one.KEYWORD_ONLY]
        if len(names) == len(own) - 1:
            if given:
                first = next(iter([*cls.positional, *names]), "")
                how = f"options by name, such as {cls.__name__}({first}=...)" if first else "no options"
                raise TypeError(f"{cls.__name__}() takes {how}.")
            refuse_unknown(cls.__name__, options, names)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        """Copy lists and dicts: the question and its key do not change when the caller changes them later."""
        for each in dataclasses.fields(self):
            object.__setattr__(self, each.name, _copied(getattr(self, each.name)))

    # -- what every task has -------------------------------------------------------------------------------------

    def build_request(self, inputs: Sequence[Input], model: Model) -> Request:
        """Return the request for these inputs (one, unless ``batch`` allows more)."""
        raise TypeError(f"{type(self).__name__} must define build_request() or conversation()")

    def parse(self, answer: Answer, inputs: Sequence[Input], model: Model) -> Cells:
        """Return one cell an input, in order.  A cell may be an AnswerError, which fails that row alone."""
        raise TypeError(f"{type(self).__name__} must define parse() or conversation()")

    # -- what it may define --------------------------------------------------------------------------------------

    def conversation(self, inputs: Sequence[Input], model: Model) -> Conversation:
        """Hold the conversation for these inputs: by default one request and its answer."""
        answer = yield self.build_request(inputs, model)
        return self.parse(answer, inputs, model)

    def batch(self, model: Model) -> int:
        """Return how many inputs a request may carry."""
        return 1

    def estimate_usage(self, inputs: Sequence[Input], model: Model) -> Usage:
        """Estimate, before sending, what these inputs use at most.

        Where the model charges what it writes, 512 tokens an input are counted; override it when you set a limit.
        """
        read = {"input_tokens": float(sum(map(tokens_of, inputs)))}
        writes = "output_tokens" in (model.prices or {})
        return Usage(read | ({"output_tokens": 512.0 * len(inputs)} if writes else {}))

    def usage(self, request: Request, answer: Answer, inputs: Sequence[Input], model: Model) -> Usage:
        """Return what one answered request used: what the service reported, or else the estimate."""
        return reported(answer) or self.estimate_usage(inputs, model)

    def input_kinds(self, model: Model) -> frozenset[str]:
        """Return those of its ``kinds`` that this model can be given."""
        return self.kinds & shown_to(model) if "text" in self.kinds else self.kinds

    def check(self, model: Model) -> None:
        """Raise an error if this cannot be asked of this model; called before anything is planned."""
        if self.families and model.family not in self.families:
            fit = names_of_models(lambda other: other.family in self.families)
            raise ModelError(f"{self.name} cannot use {model.id} ({model.task}). It works with: {fit}.")

    def to_columns(self, cells: Sequence[Cell]) -> Column | Mapping[str, Column]:
        """Lay the cells out as one column, or as several by name."""
        return Column(cells, self.column_kind)

    def unsure(self, cell: Cell) -> bool:
        """Say whether an answer is too uncertain to be shown."""
        return False

    def key_fields(self) -> dict[str, Json]:
        """Return every field that is part of the question, in a canonical form."""
        fields = (f for f in dataclasses.fields(self) if not f.metadata.get("display_only"))
        return {f.name: canonical(getattr(self, f.name)) for f in fields}


class Dialect(Protocol):
    """How a model is asked about one input, and how its answer is read."""

    def build_request(self, value: Input, model: Model) -> Request:
        """Return the request in the model's own form."""

    def parse(self, answer: Answer, value: Input, model: Model) -> Cell:
        """Return the cell, or raise an AnswerError."""

    def estimate_usage(self, inputs: Sequence[Input], model: Model) -> Usage:
        """Estimate what these inputs use at most."""


@dataclass(frozen=True, kw_only=True)
class DialectTask(Task):
    """A task that asks about one input a request, in the dialect of the model that answers.

    Attributes
    ----------
    fallback : str
        The kind of work whose default model takes over where its own is not open to the account; empty: none.
    """

    fallback: ClassVar[str] = ""

    @property
    def _dialect(self) -> Dialect:
        """How models are asked; a cached property, so that the question is described once a task, not once a row."""
        raise TypeError(f"{type(self).__name__} must define _dialect or dialect()")

    def dialect(self, model: Model) -> Dialect:
        """Return how this model is asked."""
        return self._dialect

    def build_request(self, inputs: Sequence[Input], model: Model) -> Request:
        """Return the request in the model's own form."""
        return self.dialect(model).build_request(inputs[0], model)

    def parse(self, answer: Answer, inputs: Sequence[Input], model: Model) -> Cells:
        """Return the cell of the one input."""
        return [self.dialect(model).parse(answer, inputs[0], model)]

    def estimate_usage(self, inputs: Sequence[Input], model: Model) -> Usage:
        """Estimate inputs and question, and all that the model may write."""
        return self.dialect(model).estimate_usage(inputs, model)


def _copied(value: Any) -> Any:
    if type(value) is list:
        return [_copied(each) for each in value]
    return {key: _copied(each) for key, each in value.items()} if type(value) is dict else value
