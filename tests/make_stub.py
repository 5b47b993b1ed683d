"""Make the stub of the accessor, which editors and type checkers read: ``python tests/freeze.py`` writes it.

Every verb is declared once in the stub, with the options of its task or function and the run options; three generic
classes give it the forms of a verb.  ``test_stub.py`` compares, so that the stub cannot drift from the verbs, and
``typed_use.py`` is checked by mypy against it.
"""

from __future__ import annotations

import ast
import builtins
import dataclasses
import inspect
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import cfai_nb
from cfai_nb import accessor
from cfai_nb.accessor import Accessor, WidgetVerb
from cfai_nb.frame.verb import FilterVerb, RankVerb, TaskVerb, Verb
from cfai_nb.tasks import Task

STUB = Path(cfai_nb.__file__).with_name("accessor.pyi")
_LONGEST, _WIDEST = 40, 105
_HEAD = '''\
"""What editors and type checkers see of the accessor; made by ``python tests/freeze.py``, not by hand."""
# fmt: off

{imports}

P = ParamSpec("P")
R = TypeVar("R")

class EmbeddingOptions(GivenOptions, total=False):
    """The run options of a verb, and its model."""

    model: str | Model | Cascade | None

class Form(Generic[P, R]):
    """A verb on a frame: call it, await ``.aio``, or price it with ``.plan``."""

    __name__: str
    def __init__(self, definition: Callable[Concatenate[Any, P], R]) -> None: ...
    def __call__(self, *args: P.args, **options: P.kwargs) -> R: ...
    async def aio(self, *args: P.args, **options: P.kwargs) -> R: ...
    def plan(self, *args: P.args, **options: P.kwargs) -> Plan | Plans | CascadePlan: ...

class DecidingForm(Form[P, R]):
    """A task on a frame that a cascade can do, too."""

    def plan(self, *args: P.args, **options: P.kwargs) -> Plan | CascadePlan: ...
    def call(self, *args: P.args, **options: P.kwargs) -> Call | ExtractCall: ...

class TaskForm(DecidingForm[P, R]):
    """A task on a frame."""

    def plan(self, *args: P.args, **options: P.kwargs) -> Plan: ...

class Accessor:
    """Verbs of Workers AI on a DataFrame or Series."""

    def __init__(self, data: pd.DataFrame | pd.Series[Any]) -> None: ...
{verbs}

class EnrichForm:
    """``cf.enrich``: call it, await ``.aio``, or price it with ``.plan``."""

    def __call__(self,{enrich}) -> EnrichReport: ...
    async def aio(self,{enrich}) -> EnrichReport: ...
    def plan(self,{enrich}) -> EnrichPlan: ...

enrich: EnrichForm

def on(data: pd.DataFrame | pd.Series[Any]) -> Accessor:
    """Return the accessor of a frame as a typed call."""

def register() -> None:
    """Give DataFrame and Series their ``cfai``."""
'''
_BASE = {
    ("collections.abc", "Callable"), ("typing", "Any"), ("typing", "Concatenate"), ("typing", "Generic"),
    ("typing", "ParamSpec"), ("typing", "TypeVar"), ("typing", "Unpack"), ("", "pandas as pd"),
    ("._engine.plan", "Plan"), ("._engine.run_options", "GivenOptions"),
    (".frame.steps", "Plans"), (".models", "Model"),
    (".frame.enrich.enrich_report", "EnrichPlan"), (".frame.enrich.enrich_report", "EnrichReport"),
    (".frame.call", "Call"), (".frame.extract_call", "ExtractCall"),
    (".frame.cascades", "Cascade"), (".frame.cascades", "CascadePlan"),
}  # fmt: skip


class Imports:
    """What the stub imports: (module, name), found where the annotations were written."""

    def __init__(self) -> None:
        self.found = set(_BASE)

    def need(self, annotation: str, module: ModuleType) -> str:
        """Import the names of an annotation of this module, and return it."""
        for node in ast.walk(ast.parse(annotation, mode="eval")):
            if isinstance(node, ast.Name) and not hasattr(builtins, node.id):
                self.found.add(_source(node.id, module))
        return annotation

    def __str__(self) -> str:
        groups: dict[int, dict[str, set[str]]] = {0: {}, 1: {}, 2: {}}  # the library's, others', the package's own
        for module, name in self.found:
            root = (module or name).partition(" ")[0].partition(".")[0]
            group = groups[2 if module.startswith(".") else 0 if root in sys.stdlib_module_names else 1]
            group.setdefault(module, set()).add(name)
        made = []
        for group in groups.values():
            lines = [f"import {name}" for name in sorted(group.pop("", ()))]
            made.append("\n".join([*lines, *(_from(module, names) for module, names in sorted(group.items()))]))
        return "\n\n".join(made)


def _from(module: str, names: set[str]) -> str:
    return f"from {module} import {', '.join(sorted(names, key=lambda name: (not name.isupper(), name)))}"


def _source(name: str, module: ModuleType) -> tuple[str, str]:
    """Return which module a name of a module comes from, relative to the package, and its name there."""
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    base = module.__name__.split(".")
                    package = base if hasattr(module, "__path__") else base[:-1]
                    start = package[: len(package) - node.level + 1] if node.level else []
                    return _relative(".".join([*start, *([node.module] if node.module else [])])), alias.name
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname == name:
                    return "", f"{alias.name} as {name}"
    return _relative(module.__name__), name


def _relative(module: str) -> str:
    package = f"{cfai_nb.__name__}."
    return f".{module.removeprefix(package)}" if module.startswith(package) else module


def _default(value: Any) -> str:
    if value is dataclasses.MISSING or value is inspect.Parameter.empty:
        return ""
    text = f'"{value}"' if isinstance(value, str) else repr(value)
    plain = value is None or isinstance(value, (bool, int, float, str, tuple))
    return f" = {text if plain and len(text) <= _LONGEST else '...'}"


def _declared(name: str, parameters: list[str], returns: str, doc: str, decorator: str = "") -> str:
    signature = f"def {name}(self, {', '.join(parameters)}) -> {returns}:"
    if len(signature) > 116:
        lines = ["self,"]
        for parameter in parameters:  # broken between parameters only
            fits = len(lines[-1]) + len(parameter) < 110
            lines[-1:] = [f"{lines[-1]} {parameter},"] if fits else [lines[-1], f"{parameter},"]
        inner = "\n".join(lines)
        signature = f"def {name}(\n{textwrap.indent(inner, '    ')}\n) -> {returns}:"
    summary = doc.partition("\n\n")[0].replace("\n", " ")
    if len(summary) > _WIDEST:
        summary = f"{summary[:_WIDEST].rpartition(' ')[0]} ..."
    lines = [*([f"@{decorator}"] if decorator else []), signature, f'    """{summary}"""']
    return textwrap.indent("\n".join(lines), "    ")


def _function(function: Any, imports: Imports) -> Iterator[str]:
    """The parameters of a function, without its first one."""
    module = sys.modules[function.__module__]
    _, *own = inspect.signature(function).parameters.values()
    names = {each.name for each in own}
    keyword = False
    for each in own:
        if each.kind is each.VAR_KEYWORD:
            given = "GivenOptions" if names & {"model", "models"} else "EmbeddingOptions"
            yield f"**options: Unpack[{given}]"
            continue
        if each.kind is each.KEYWORD_ONLY and not keyword:
            keyword = True
            yield "*"
        yield f"{each.name}: {imports.need(each.annotation, module)}{_default(each.default)}"


def _task(verb: TaskVerb, imports: Imports) -> Iterator[str]:
    task = verb.task
    yield "on: Any = None"
    fields = {field.name: field for field in dataclasses.fields(task)}
    others = [name for name in fields if name not in task.positional]
    for name in [*task.positional, *(["*"] if others else []), *others]:
        if name == "*":
            yield name
            continue
        owner = next(base for base in task.__mro__ if name in vars(base).get("__annotations__", {}))
        kind = imports.need(str(fields[name].type), sys.modules[owner.__module__])
        given = _default(fields[name].default)
        yield f"{name}: {kind}{given or (' = ...' if name in task.positional else '')}"
    if verb.extra and not others:
        yield "*"
    yield from (f"{name}: {'Any' if name == 'truth' else 'float | None'} = None" for name in verb.extra)
    yield "**options: Unpack[EmbeddingOptions]"


def _returned(verb: TaskVerb) -> str:
    if isinstance(verb, FilterVerb):
        return "Any"
    if isinstance(verb, RankVerb):
        return "pd.DataFrame"
    columns = str(inspect.signature(verb.task.to_columns).return_annotation)
    one = columns == "Column" or verb.task.to_columns is Task.to_columns  # which lays out one column
    return "pd.Series[Any]" if one else "pd.DataFrame" if "Column |" not in columns else "Any"


def stub() -> str:
    """Return the text of the stub."""
    imports, verbs = Imports(), []
    for name, verb in vars(Accessor).items():
        if isinstance(verb, TaskVerb):
            form = "DecidingForm" if verb.extra else "TaskForm"
            verbs.append(_declared(name, list(_task(verb, imports)), _returned(verb), verb.help.doc, form))
        elif isinstance(verb, WidgetVerb):
            imports.found.add((".widgets", verb.widget.__name__))
            verbs.append(_declared(name, list(_widget(verb, imports)), verb.widget.__name__, verb.help.doc, "Form"))
        elif isinstance(verb, Verb):
            function, module = verb.definition, sys.modules[verb.definition.__module__]
            kind = str(inspect.signature(function).return_annotation).removeprefix("Steps[").removesuffix("]")
            returns = imports.need(kind, module)
            verbs.append(_declared(name, list(_function(function, imports)), returns, verb.help.doc, "Form"))
    whole = "\n        ".join(["", *_enrich(imports)]) + "\n    "
    return _HEAD.format(imports=imports, verbs="\n".join(verbs), enrich=whole)


def _enrich(imports: Imports) -> Iterator[str]:
    function = accessor.enrich._definition.definition
    module = sys.modules[function.__module__]
    for each in inspect.signature(function).parameters.values():
        if each.name == "display":
            continue
        if each.name == "memory":
            yield "*,"
        stated = each.kind is each.VAR_KEYWORD
        kind = "Unpack[GivenOptions]" if stated else imports.need(each.annotation, module)
        yield f"{'**' * stated}{each.name}: {kind}{_default(each.default)},"


def _widget(method: WidgetVerb, imports: Imports) -> Iterator[str]:
    module = sys.modules[method.widget.__init__.__module__]
    _, *own = inspect.signature(method.widget).parameters.values()
    keyword = False
    if any(each.kind is each.VAR_KEYWORD for each in own):
        yield "/"
    for each in own:
        if each.name in method.given:
            continue
        if each.kind is each.KEYWORD_ONLY and not keyword:
            keyword = True
            yield "*"
        stars = "**" if each.kind is each.VAR_KEYWORD else ""
        yield f"{stars}{each.name}: {imports.need(str(each.annotation), module)}{_default(each.default)}"


if __name__ == "__main__":
    STUB.write_text(stub(), encoding="utf-8")
