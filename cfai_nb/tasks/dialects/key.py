"""The parts of a key that are not plain JSON: options in one canonical form, and the user's own code as a digest.

A user's own task, or a schema with validators, shapes requests and stored cells, so after an edit it is a different
question.  The digest is of the compiled code, not of the source text: it exists for a class in a notebook cell as well,
it is what really runs after a file was edited, and comments and layout do not change it.  A new version of Python may
compile the same source differently; then the requests are sent again.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import dis
import enum
import functools
import hashlib
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import pydantic_core

from .request import Json

#: Packages that are not part of a key by their code: a task of this package has its ``version`` there.
_NOT_OWN = frozenset({"cfai_nb", "pydantic", "pydantic_core", "annotated_types", *sys.stdlib_module_names})
_PLAIN = (str, int, float, complex, bool, bytes, type(None))


def is_own(value: Any) -> bool:
    """Whether a class or function is the user's: neither of this package nor of the standard library or pydantic."""
    return str(getattr(value, "__module__", None) or "builtins").partition(".")[0] not in _NOT_OWN


def fields_of(task: Any) -> dict[str, Json]:
    """Return the fields of a task that are part of the question (see ``display_only``), in a canonical form."""
    fields = [each.name for each in dataclasses.fields(task) if not each.metadata.get("display_only")]
    return {name: canonical(getattr(task, name)) for name in fields}


def canonical(value: Any) -> Json:
    """Turn an option into JSON that is equal exactly when the option means the same."""
    if isinstance(value, type) and hasattr(value, "model_json_schema"):
        return key_of_model(value)
    if isinstance(value, type) and typing.get_origin(value) is None:
        return {"type": value.__name__} | _own(value)
    if isinstance(value, Mapping):
        # A list of pairs: the order of labels or fields is part of the question, and JSON keys lose it when sorted.
        return {"pairs": [[canonical(k), canonical(v)] for k, v in value.items()]}
    if isinstance(value, (set, frozenset)):
        return {"set": sorted(map(repr, value))}
    if hasattr(value, "tolist"):  # an array, Index or Series: its repr would leave out the middle
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
        # As Python writes it; the user's own classes are described in addition.
        own = [canonical(part) for part in typing.get_args(value) if isinstance(part, type) and is_own(part)]
        return {"type": str(value)} | ({"own": own} if own else {})
    raise TypeError(f"{value!r:.80} cannot be part of a question: give text, numbers, lists or dicts.")


def _own(value: type) -> dict[str, Json]:
    """Describe the code of a user's own class, and the members of an enum."""
    members = [[str(name), repr(one.value)] for name, one in getattr(value, "__members__", {}).items()]
    code = code_of(value)
    return ({"members": members} if members else {}) | ({"code": code} if code else {})


def code_of(*values: Any) -> str:
    """Return a digest of classes and functions; "" where none is the user's own.

    Of a class, every method and plain attribute counts, of itself and of its own bases.  Of a function, its code,
    defaults and closure, and what it refers to by name: functions and classes of its own package in the same way,
    texts and numbers by value.
    """
    reader = _Reader()
    made = [part for value in dict.fromkeys(values) if (part := reader.described(value, True))]
    return hashlib.blake2b(pydantic_core.to_json(made), digest_size=16).hexdigest() if made else ""


def key_of_model(model: Any) -> dict[str, Json]:
    """Return the part of a key that describes a pydantic model: its JSON schema, and the code of its validators."""
    described = {"schema": model.model_json_schema()}
    code = code_of(model, *_within(model.__pydantic_core_schema__))
    return described | ({"code": code} if code else {})


def _within(part: Any) -> Iterator[Any]:
    if isinstance(part, Mapping):
        for name, each in part.items():
            if name != "metadata":  # for JSON schemas, which the key holds already
                yield from _within(each)
    elif isinstance(part, (list, tuple)):
        for each in part:
            yield from _within(each)
    elif isinstance(part, functools.partial):
        yield from _within([part.func, part.args, part.keywords])
    elif callable(part):
        plain = getattr(part, "__func__", part)
        if is_own(plain):
            yield plain


class _Reader:
    """Describes code as JSON; what was described before is only named."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def described(self, value: Any, follow: bool) -> Json:
        """Describe a class or function; None where it is not the user's, or has no code."""
        value = getattr(value, "__func__", value)
        if not is_own(value):
            return None
        if id(value) in self._seen:
            return ["again", value.__qualname__]
        if isinstance(value, types.FunctionType):
            self._seen.add(id(value))
            return self._function(value, follow)
        if not isinstance(value, type):
            return None
        self._seen.add(id(value))
        parts = [[name, part] for owner in value.__mro__ if is_own(owner) for name, part in self._members(owner)]
        return parts or None

    def _members(self, owner: type) -> Iterator[tuple[str, Json]]:
        generated = hasattr(owner, "__dataclass_fields__")
        for name, member in sorted(vars(owner).items()):
            functions = [] if name.startswith("__annotate") else _functions(member)
            for function in functions:
                made = generated and name.startswith("__") and function.__code__.co_filename == "<string>"
                if not made and (part := self.described(function, True)) is not None:
                    yield name, part
            # Members of an enum are in the schema; an empty model_config is every model's.
            plain = name == "model_config" or not (name.startswith("_") or issubclass(owner, enum.Enum))
            if plain and not functions and (kept := _constant(member)) is not None:
                yield name, kept

    def _function(self, function: types.FunctionType, follow: bool) -> Json:
        cells = [cell.cell_contents for cell in function.__closure__ or () if _filled(cell)]
        given = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values(), *cells]
        names = dict.fromkeys(_names(function.__code__)) if follow else {}
        outside = {name: function.__globals__[name] for name in names if name in function.__globals__}
        package = function.__module__.partition(".")[0]
        return [
            _compiled(function.__code__),
            [self._value(value, package, _constant(value)) for value in given],
            [[name, self._value(value, package, _fixed(value))] for name, value in outside.items()],
        ]

    def _value(self, value: Any, package: str, constant: Json) -> Json:
        if constant is not None:
            return constant
        if not isinstance(value, (type, types.FunctionType, types.MethodType)):
            return type(value).__qualname__
        near = str(value.__module__).partition(".")[0] == package
        return [value.__qualname__, self.described(value, near) if near else None]


def _functions(member: Any) -> list[types.FunctionType]:
    if isinstance(member, property):
        found = [member.fget, member.fset]
    else:
        found = [getattr(member, "__func__", getattr(member, "func", getattr(member, "__wrapped__", member)))]
    return [function for function in found if isinstance(function, types.FunctionType)]


def _filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:  # not assigned yet
        return False


def _compiled(code: types.CodeType) -> Json:
    own = types.CodeType
    constants = [_compiled(each) if isinstance(each, own) else _fixed(each) or repr(each) for each in code.co_consts]
    arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return [code.co_code.hex(), constants, list(code.co_names), list(arguments), code.co_flags]


def _names(code: types.CodeType) -> Iterator[str]:
    """Yield the global names that a function refers to, without names of attributes."""
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"):
            yield str(step.argval)
    for each in code.co_consts:
        if isinstance(each, types.CodeType):
            yield from _names(each)


def _fixed(value: Any) -> Json:
    """Return a value that cannot change as JSON; None for others, which a program may use to keep count."""
    if isinstance(value, _PLAIN) or value is ...:
        return [type(value).__name__, repr(value)]
    if isinstance(value, (tuple, frozenset)):
        return _joined(value, [_fixed(each) for each in value], isinstance(value, tuple))
    return None


def _constant(value: Any) -> Json:
    """Return a plain value, or lists, sets and dicts of such, as JSON; None for others."""
    if isinstance(value, Mapping) and value:
        parts = [[_constant(name), _constant(each)] for name, each in value.items()]
        return None if any(None in part for part in parts) else ["dict", *parts]
    if isinstance(value, (list, set)):
        return _joined(value, [_constant(each) for each in value], isinstance(value, list))
    return _fixed(value)


def _joined(value: Any, parts: list[Json], in_order: bool) -> Json:
    return None if None in parts else [type(value).__name__, *(parts if in_order else sorted(parts))]
