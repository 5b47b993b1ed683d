"""What ``?`` shows of a verb: its signature and numpydoc docstring, built from where each option is declared.

For ``tune`` and the playground it also writes a call as a line of code (``code_of``, ``in_code``).

``Verb`` asks for them once for each verb.  Options of a task come from the task and its bases, run options from
``RunOptions``, and those of a verb that is a function from its own docstring.  What a verb that is a task returns, and
its example, stand in its line in ``accessor.py``: a task does not know of frames.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_origin

import numpy as np

from .._engine.run_options import NAMES, documented
from ..tasks import Task
from ..tasks.dialects.question_types import Choice, Scale, YesNo

#: Examples of the verbs on vectors, for a frame with columns ``text`` and ``vector``.
ON_VECTORS = {
    "as_vectors": 'shop.cfai.as_vectors("vector", model="bge-m3", origin="cloudflare")',
    "cluster": 'shop.cfai.cluster("vector", n_clusters=2)',
    "dedupe": 'shop.cfai.dedupe("vector", threshold=0.95)',
    "outliers": 'shop.cfai.outliers("vector")',
    "project": 'shop.cfai.project("vector")',
    "search": 'shop.cfai.search("a late parcel", on="vector", top_k=5)',
    "sim_join": 'shop.cfai.sim_join(shop, "vector", top_k=1)',
    "similarity": 'shop.cfai.similarity("vector", "a late parcel")',
}
_SAME = "The index is that of the rows.  A cell is missing where its row is, or failed: see ``cf.last_run().failures``."

_OPTIONS = "\n\nAttributes\n----------\n"
_ENTRY = re.compile(r"^\w[\w, ]* :.*(?:\n +.*)*", re.MULTILINE)
_ON = """on : str
    A column, or a template with ``{column}`` in it.  A Series needs none."""
_ON_VECTORS = """on : str, optional
    A column of vectors; or of text, or a template, which is embedded first.  Default: the Series, or the only column of
    vectors."""
_MODEL = """model : str or Model, optional
    A name from ``cf.models()``; the catalogue says why the default is the default."""

_CASCADE = """model : str, Model or cf.Cascade, optional
    A name from ``cf.models()``; the catalogue says why the default is the default.  A cascade takes a cheap model's
    answers as far as they are those of a strong one with a stated probability; ``cf.last_run()`` has its
    ``certificate``, and ``answered_by`` for each row (a column of the result, where that is a frame)."""
#: Options that go with a cascade alone.
_WITH_CASCADES = {
    "truth": """truth : column, Series, list or cf.gold(name), or dict of answer to one of these, optional
    With a cascade: right answers where they are known, missing elsewhere.  Their rows carry them, nothing is asked
    about them, and embeddings learn from them.  So they cannot show how good the result is.""",
    "recall": """recall : float, optional
    With a cascade, in place of its accuracy.  Minimum share of the strong model's yes rows that are kept.""",
    "precision": """precision : float, optional
    With a cascade, in place of its accuracy.  Minimum share of the kept rows that the strong model would keep.
    With both, the cascade's confidence is that both hold.""",
}


@dataclass(frozen=True)
class Help:
    """Signature and docstring of a verb, and the names of its options."""

    signature: inspect.Signature
    doc: str
    options: list[str]


class _Required:
    """What stands in a signature for what must be given."""

    def __repr__(self) -> str:
        return "..."


_REQUIRED = _Required()
_Parameter = inspect.Parameter


def _with_run_options(own: list[inspect.Parameter], model: bool = True) -> inspect.Signature:
    there = {each.name for each in own}
    model = model and "models" not in there
    names = [name for name in ("model", *NAMES) if name not in there and (model or name != "model")]
    return inspect.Signature([*own, *(_Parameter(name, _Parameter.KEYWORD_ONLY, default=None) for name in names)])


def of_function(function: Callable[..., Any], *, bound: bool = True) -> Help:
    """Return the help of a verb that is a function; `bound` if its first parameter is the frame it is a method of.

    Where it takes ``**options``, these are the run options.  They are not in its docstring, nor is an ``on`` that is a
    column of vectors or text.
    """
    given = inspect.signature(function).parameters.values()
    own = [each for at, each in enumerate(given) if each.name != "display" and not (bound and not at)]
    named = [each.replace(annotation=_Parameter.empty) for each in own if each.kind is not each.VAR_KEYWORD]
    signature = _with_run_options(named, bound) if len(named) < len(own) else inspect.Signature(named)
    before, heading, after = inspect.cleandoc(function.__doc__ or "").partition("Parameters\n----------\n")
    entries, *rest = re.split(r"\n(?=\n\w+\n-+\n)", after, maxsplit=1)
    own_entries = {name: entry for entry in _ENTRY.findall(entries) for name in entry.partition(" :")[0].split(", ")}
    known = {"on": _ON_VECTORS, "model": _MODEL, **documented(), **own_entries}
    listed = dict.fromkeys(known[name] for name in signature.parameters if name in known)  # once where it names two
    doc = "".join([before, heading, "\n".join(listed), *(f"\n{section}" for section in rest)])
    if bound and (name := function.__name__) in ON_VECTORS:
        doc = f"{doc.rstrip()}\n{_example(ON_VECTORS[name])}"
    return Help(signature, doc, list(signature.parameters))


def of_task(
    task: type[Task], returns: str, example: str, *, about: str = "", extra: tuple[str, ...] = (), rows: bool = False
) -> Help:
    """Return the help of a verb that is a task; `about` takes the place of what the task says of itself.

    `returns` is a type and what is in it, such as ``"Series: A text a row."``; `example` is a call on a frame ``shop``;
    `extra` names the options it has with a cascade; `rows` is whether it returns rows of the frame.
    """
    head, _, notes = inspect.cleandoc(task.__doc__ or "").partition("\n\nNotes\n-----\n")
    options: dict[str, str] = {}  # each as it is documented where it is declared
    for owner in task.__mro__[: task.__mro__.index(Task)]:
        _, _, listed = inspect.cleandoc(owner.__doc__ or "").partition(_OPTIONS)
        for entry in _ENTRY.findall(listed):
            options.setdefault(entry.split()[0], entry)
    about = about or head.partition(_OPTIONS)[0]
    options |= {name: _WITH_CASCADES[name] for name in extra}
    model = _CASCADE if extra else _MODEL
    parts = [about, "", "Parameters", "----------", _ON, *options.values(), model, *documented().values()]
    kind, _, what = returns.partition(": ")
    same = [] if rows else [f"    {_SAME}"]
    parts += ["", "Returns", "-------", kind, f"    {what}", *same]
    parts += ["", "Notes", "-----", notes.rstrip()] if notes else []
    doc = "\n".join([*parts, *([_example(example)] if example else [])])
    known = [field.name for field in dataclasses.fields(task)]
    own = [*_parameters(task), *(_Parameter(name, _Parameter.KEYWORD_ONLY, default=None) for name in extra)]
    return Help(_with_run_options(own), doc, [*known, *extra, "model", *NAMES])


def _example(code: str) -> str:
    """Return the section with a call, which ends with its own closing bracket."""
    depth = 0
    for end, sign in enumerate(code):
        depth += (sign == "(") - (sign == ")")
        if sign == ")" and not depth:
            return f"\nExamples\n--------\n>>> {code[: end + 1].replace('shop', 'df')}"
    return ""


def _parameters(task: type[Task]) -> list[inspect.Parameter]:
    made = [_Parameter("on", _Parameter.POSITIONAL_OR_KEYWORD, default=None)]
    fields = {field.name: field for field in dataclasses.fields(task)}
    for name in [*task.positional, *(name for name in fields if name not in task.positional)]:
        default = fields[name].default
        kind = _Parameter.POSITIONAL_OR_KEYWORD if name in task.positional else _Parameter.KEYWORD_ONLY
        if default is dataclasses.MISSING:
            # A required field by position cannot follow an optional one in a signature, whatever the call allows.
            default = _REQUIRED if kind is _Parameter.POSITIONAL_OR_KEYWORD else _Parameter.empty
        made.append(_Parameter(name, kind, default=default))
    return made


# -- a call as code ----------------------------------------------------------------------------------------------------


def code_of(task: Task, on: Any, model: Any = None) -> str:
    """Return the call of a task on ``df`` as one line of code."""
    where = [] if on is None else [on]
    end = {} if model is None else {"model": getattr(model, "id", model)}
    if not _own(task):
        return in_code("df.cfai.run", [task, *where], end)
    changed = _changed(task)
    first = [changed.pop(name) for name in task.positional if name in changed]
    return in_code(f"df.cfai.{task.name}", [*where, *first], changed | end)


def _own(task: Task) -> bool:
    return type(task).__module__.startswith(__name__.partition(".")[0] + ".")


def _changed(task: Task) -> dict[str, Any]:
    """Return the fields of a task that do not have their default."""
    values = {field.name: (getattr(task, field.name), field.default) for field in dataclasses.fields(task)}
    return {name: value for name, (value, default) in values.items() if value != default}


def in_code(function: str, args: Iterable[Any], options: Mapping[str, Any]) -> str:
    """Return a call of a function as Python code."""
    parts = [*map(spell, args), *(f"{name}={spell(value)}" for name, value in options.items())]
    return f"{function}({', '.join(parts)})"


def spell(value: Any) -> str:
    """Write a value as Python code that creates it (with ``cf`` and ``datetime`` imported)."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{spell(key)}: {spell(each)}" for key, each in value.items()) + "}"
    if isinstance(value, tuple):  # also the label of a column
        return "(" + ", ".join(map(spell, value)) + "," * (len(value) == 1) + ")"
    if isinstance(value, list):
        return "[" + ", ".join(map(spell, value)) + "]"
    if isinstance(value, YesNo):
        meanings = {"yes": value.yes, "no": value.no}
        return in_code("cf.yes_no", [value.instructions], {k: each for k, each in meanings.items() if each is not None})
    if isinstance(value, (Choice, Scale)):
        usual = type(value).__dataclass_fields__["instructions"].default
        named = {} if value.instructions == usual else {"instructions": value.instructions}
        if isinstance(value, Scale):
            return in_code("cf.scale", value.levels, named)
        plain = [name for name, meaning in value.options if meaning is None]
        described = {name: meaning for name, meaning in value.options if meaning is not None}
        if all(name.isidentifier() for name in described):
            return in_code("cf.choice", plain, named | described)
        return in_code("cf.choice", plain, named)[:-1] + f"{', ' if plain else ''}**{described!r})"
    if isinstance(value, Task):
        return in_code(f"{'cf.' if _own(value) else ''}{type(value).__name__}", [], _changed(value))
    if isinstance(value, type) and get_origin(value) is None:
        return f"datetime.{value.__name__}" if value.__module__ == "datetime" else value.__name__
    return repr(value)
