"""The shape of every task: what to ask, as plain data and plain functions."""

from __future__ import annotations

import dataclasses
import datetime as dt
import inspect
import types
import typing
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from ..errors import AnswerError, ModelError, refuse_unknown
from ..models import Model, Usage, catalogue
from .code_digest import asked_of, code_of, is_own
from .dialects.inputs import Input as Input
from .dialects.inputs import shown_to, tokens_of
from .dialects.request import Answer, Json, Local, Request
from .dialects.values import amount

#: What was read for one input: a JSON value, or an exception that fails just this row.
Cell: TypeAlias = Any
#: What was read for the inputs of one request: a cell each, or the rows of a matrix.
Cells: TypeAlias = "Sequence[Cell] | npt.NDArray[np.float32]"
#: A conversation: yields what to send (receives an Answer) or to do here (receives what it gave), returns the cells.
Conversation: TypeAlias = "Generator[Request | Local, Any, Cells]"
#: Fills the template of a call with given records: for each its prompt, and what the template does not name.
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


def display_only(default: Any) -> Any:
    """Declare a task field that only changes how results are shown: it is no part of what is asked or stored."""
    return dataclasses.field(default=default, metadata={"display_only": True})


@dataclass(frozen=True, kw_only=True)
class Task:
    """What to ask of a model, for any number of inputs.

    Subclass it as a frozen, keyword-only dataclass whose fields are the options of the verb; every field is part of
    the key under which answers are kept (except those declared with ``display_only``), and so is the code of an own
    task: an edited one is asked again.  A task does no I/O and knows no frame.  ``build_request`` and ``parse`` are all
    a simple one needs; a task of several turns overrides ``conversation``.

    Attributes
    ----------
    name : str
        The verb.
    version : int
        Part of the key: raise it when the meaning of the stored cells changes.
    work : str
        Which default model of the catalogue it takes (``"embed"``, ``"classify"``, ``"generate"``), or a model id.
    positional : tuple of str
        Fields that may be given by position, after the column.
    template : bool
        Whether ``on`` is a prompt template rather than the name of a column.
    families : frozenset of str
        Model families it can speak to; empty: any.
    fallback : str
        Whose default model stands in where its own is not open to the account; empty: none.
    own_model : Model or None
        Whom it asks where that is no model of the catalogue.
    owned : tuple of str
        Fields that name what belongs to an account, such as a fine-tune: where one is set, the account is part of the
        key.
    kinds : frozenset of str
        What its inputs may hold: ``"text"``, ``"image"``, ``"audio"``, ``"video"``, ``"document"``.  Where that is not
        text, a cell with text in it is the address of a file, or its name in the folder of ``files=``.
    """

    name: ClassVar[str] = "task"
    version: ClassVar[int] = 1
    work: ClassVar[str] = "generate"
    positional: ClassVar[tuple[str, ...]] = ()
    template: ClassVar[bool] = False
    families: ClassVar[frozenset[str]] = frozenset()
    fallback: ClassVar[str] = ""
    own_model: ClassVar[Model | None] = None
    owned: ClassVar[tuple[str, ...]] = ()
    kinds: ClassVar[frozenset[str]] = frozenset({"text"})

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
        """Keep lists and dicts as they are now: what is asked, and the key, do not change when their owner does."""
        for each in dataclasses.fields(self):
            object.__setattr__(self, each.name, _copied(getattr(self, each.name)))

    # -- what a task must say ------------------------------------------------------------------------------------

    def build_request(self, inputs: Sequence[Input], model: Model) -> Request:
        """Return the request for these inputs (one, unless ``batch`` says more)."""
        raise TypeError(f"{type(self).__name__} must define build_request() or conversation()")

    def parse(self, answer: Answer, inputs: Sequence[Input], model: Model) -> Cells:
        """Return one cell an input, in order.  A cell may be an AnswerError, which fails that row alone."""
        raise TypeError(f"{type(self).__name__} must define parse() or conversation()")

    # -- what it may say otherwise -------------------------------------------------------------------------------

    def conversation(self, inputs: Sequence[Input], model: Model) -> Conversation:
        """Hold the conversation for these inputs: by default one question and its answer."""
        answer = yield self.build_request(inputs, model)
        return self.parse(answer, inputs, model)

    def batch(self, model: Model) -> int:
        """Inputs a request may carry."""
        return 1

    def estimate_usage(self, inputs: Sequence[Input], model: Model) -> Usage:
        """Estimate, before sending, what these inputs use at most.

        Where the model charges what it writes, 512 tokens an input are counted; override it when you set a limit.
        """
        read = {"input_tokens": float(sum(map(tokens_of, inputs)))}
        writes = "output_tokens" in (model.prices or {})
        return Usage(read | ({"output_tokens": 512.0 * len(inputs)} if writes else {}))

    def usage(self, request: Request, answer: Answer, inputs: Sequence[Input], model: Model) -> Usage:
        """Say what one answered request used.

        Best source first: the ``cf-ai-neurons`` header or ``usage.neurons``, then the reported tokens, then the
        estimate of ``estimate_usage``.
        """
        return reported(answer) or self.estimate_usage(inputs, model)

    def turns(self, model: Model) -> tuple[int, str]:
        """Say how many requests a batch takes at least, and in words what its forecast leaves out ("": nothing)."""
        return 1, ""

    def input_kinds(self, model: Model) -> frozenset[str]:
        """Say which of its ``kinds`` this model can be given."""
        return self.kinds & shown_to(model) if "text" in self.kinds else self.kinds

    def streamed(self, request: Request, model: Model) -> Request | None:
        """Return the request whose answer comes piece by piece; None where pieces are of no use."""
        return None

    def check(self, model: Model) -> None:
        """Raise what is wrong with asking this of this model, before anything is planned."""
        if self.families and model.family not in self.families:
            fit = [m.id for m in catalogue().values() if m.family in self.families and m.status == "current"]
            raise ModelError(f"{self.name} cannot use {model.id} ({model.task}). It works with: {', '.join(fit)}.")

    def resolve(self, fill: Fill) -> Task:
        """Return the task with its options settled that depend on the template of the call."""
        return self

    def to_columns(self, cells: Sequence[Cell]) -> Column | Mapping[str, Column]:
        """Lay the cells out as one column, or as several by name."""
        return Column(cells, "object")

    # -- what is the same for all --------------------------------------------------------------------------------

    def key_fields(self) -> dict[str, Json]:
        """Return every field that is part of the question, in a canonical form."""
        fields = (f for f in dataclasses.fields(self) if not f.metadata.get("display_only"))
        return {f.name: canonical(getattr(self, f.name)) for f in fields}


def _copied(value: Any) -> Any:
    if type(value) is list:
        return [_copied(each) for each in value]
    return {key: _copied(each) for key, each in value.items()} if type(value) is dict else value


def canonical(value: Any) -> Json:
    """Turn an option into JSON that is equal exactly when the option means the same."""
    if isinstance(value, type) and hasattr(value, "model_json_schema"):
        return asked_of(value)
    if isinstance(value, type) and typing.get_origin(value) is None:
        return {"type": value.__name__} | _own(value)
    if isinstance(value, Mapping):
        # A list of pairs: the order of labels or fields is part of the question, and JSON keys lose it when sorted.
        return {"pairs": [[canonical(k), canonical(v)] for k, v in value.items()]}
    if isinstance(value, (set, frozenset)):
        return {"set": sorted(map(repr, value))}
    if hasattr(value, "tolist"):  # an array, Index or Series, whose repr would leave out the middle
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [canonical(v) for v in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, dt.date):
        return {"date": value.isoformat()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [[f.name, canonical(getattr(value, f.name))] for f in dataclasses.fields(value)]
        return {type(value).__qualname__: fields} | _own(type(value))
    if typing.get_origin(value) is not None or isinstance(value, types.UnionType):
        # Written out as Python does; classes of the user's own say what they are besides.
        own = [canonical(part) for part in typing.get_args(value) if isinstance(part, type) and is_own(part)]
        return {"type": str(value)} | ({"own": own} if own else {})
    raise TypeError(f"{value!r:.80} cannot be part of a question: give text, numbers, lists or dicts.")


def _own(value: type) -> dict[str, Json]:
    """Describe what a class of the user's own does, and its members where it is an enum."""
    members = [[str(name), repr(one.value)] for name, one in getattr(value, "__members__", {}).items()]
    code = code_of(value)
    return ({"members": members} if members else {}) | ({"code": code} if code else {})


def reported(answer: Answer) -> Usage | None:
    """Return the usage the service itself reported with an answer, if any.

    Neurons come from the ``cf-ai-neurons`` header or from ``usage.neurons``, tokens from ``usage``
    (moondream: ``metrics``).  A number that cannot be an amount (negative, infinite, text, an object) counts as not
    reported: the estimate takes its place, and says that it is one.
    """
    try:
        document = answer.json
    except AnswerError:
        document = None
    usage = (document.get("usage") or document.get("metrics")) if isinstance(document, dict) else None
    usage = usage if isinstance(usage, dict) else {}
    amounts = _tokens(usage)
    neurons = amount(answer.headers.get("cf-ai-neurons"), written=True)
    neurons = amount(usage.get("neurons")) if neurons is None else neurons
    amounts |= {} if neurons is None else {"neurons": neurons}
    return Usage(amounts, exact=True) if amounts else None


def _tokens(usage: Mapping[str, Any]) -> dict[str, float]:
    """Read the tokens of a usage block; nothing where one of its numbers cannot be one, since the others may be too."""
    read = amount(usage.get("prompt_tokens", usage.get("input_tokens")))
    written = usage.get("completion_tokens", usage.get("output_tokens"))
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
    cached = details.get("cached_tokens") if isinstance(details, Mapping) else None
    counts = [amount(0 if count is None else count) for count in (written, cached)]
    if read is None or counts[0] is None or counts[1] is None or counts[1] > read:
        return {}
    amounts = {"input_tokens": read - counts[1], "output_tokens": counts[0]}
    return amounts | ({"cached_input_tokens": counts[1]} if counts[1] else {})
