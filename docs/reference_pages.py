"""Makes the pages of the reference from signatures and docstrings; the settings of Sphinx call ``write``.

One renderer serves functions, classes and verbs. Autodoc cannot read a verb: its signature and docstring are built from
its task and the run options when they are first used. All verbs share the run options, which have a page of their own.
"""

from __future__ import annotations

import argparse
import enum
import inspect
import os
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from numpydoc.docscrape_sphinx import SphinxDocString

import cfai_nb as cf
from cfai_nb._engine.run_options import NAMES, RunOptions
from cfai_nb.accessor import WidgetVerb
from cfai_nb.cli import parser
from cfai_nb.frame.verb import TaskVerb

_TEXT, _WIDGETS = "Text in, a column out", "Widgets"
#: The verbs of each part of the page. A task that is not named here stands in the first part, a widget in the last one.
VERBS = {
    _TEXT: "verify",
    "Rows": "filter rank discover run compare tune review",
    "Pictures, sound and documents": "image caption detect transcribe speak to_markdown",
    "Vectors": "as_vectors search similarity sim_join dedupe cluster label_clusters project outliers",
    "Stores of the service": "to_vectorize to_ai_search answer",
    _WIDGETS: "map",
}
CLASSES = ("Session", "Accessor", "Report", "Budget", "Cascade", "Gateway", "Image", "Audio", "Model", "Usage",
           "Column", "Request", "Answer")  # fmt: skip
MODULES = ("plots", "quality", "widgets", "vectors", "emulator")


def write(folder: Path) -> None:
    """Write the pages into the folder, and leave alone those that did not change."""
    names = [name for name in cf.__all__ if name not in (*CLASSES, *MODULES)]
    functions = [name for name in names if not isinstance(getattr(cf, name), type)]
    pages = {
        "verbs": _verbs(),
        "options": _options(),
        "functions": _page("Functions", (_function(f"cf.{name}", getattr(cf, name)) for name in functions)),
        "classes": _page("Classes", (_class(f"cf.{name}", getattr(cf, name)) for name in CLASSES)),
        "tasks": _tasks(),
        "errors": _errors(),
        "command": _command(),
    }
    pages |= {name: _module(name) for name in MODULES}
    for name, text in pages.items():
        path = folder / f"{name}.rst"
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


def _page(title: str, parts: Iterable[str], before: str = "") -> str:
    """Join a page."""
    return "\n\n".join([f"{title}\n{'=' * len(title)}", *([before] if before else []), *parts]) + "\n"


def _heading(title: str, line: str = "-") -> str:
    return f"{title}\n{line * len(title)}"


def _doc(text: str | None, leave_out: Iterable[str] = ()) -> str:
    """Render a numpydoc docstring as reStructuredText, without some of its parameters."""
    parsed = SphinxDocString(inspect.cleandoc(text or ""))
    gone = set(leave_out)
    for section in ("Parameters", "Attributes"):
        parsed[section] = [each for each in parsed[section] if not set(each.name.split(", ")) & gone]
    parsed["index"] = {}
    return str(parsed).strip()


def _signature(value: Any, leave_out: Iterable[str] = (), rest: str = "") -> str:
    """Write a signature without annotations: the docstring has the types."""
    try:
        given = inspect.signature(value)
    except (TypeError, ValueError):
        return "()"
    kept = [
        each.replace(annotation=inspect.Parameter.empty)
        for each in given.parameters.values()
        if each.name not in {*leave_out, "self"} and not each.name.startswith("_")
    ]
    if kept and kept[-1].kind is inspect.Parameter.VAR_KEYWORD:
        rest = ""
    text = str(inspect.Signature(kept))
    return text if not rest else f"{text[:-1]}{', ' if kept else ''}{rest})"


def _entry(kind: str, name: str, signature: str, body: str) -> str:
    """Write one directive."""
    if not body:
        raise ValueError(f"{name} has no docstring")
    return f".. py:{kind}:: {name}{signature}\n\n{textwrap.indent(body, '   ')}"


def _function(name: str, value: Any) -> str:
    given = list(NAMES) if _runs(value) else []
    rest = "**run_options" if given else ""
    return _entry("function", name, _signature(value, given, rest), _doc(inspect.getdoc(value), given))


def _runs(value: Any) -> bool:
    """Whether it takes all run options."""
    try:
        return set(NAMES) <= set(inspect.signature(value).parameters)
    except (TypeError, ValueError):
        return False


def _class(name: str, value: type) -> str:
    """Write a class with its public methods and properties."""
    parts = [_doc(value.__doc__)]
    if not issubclass(value, (BaseException, enum.Enum)) and name != "cf.Accessor":
        for each, member in inspect.getmembers(value):
            own = any(each in vars(base) and base.__module__.startswith("cfai_nb") for base in value.__mro__)
            if each.startswith("_") or not own or not inspect.getdoc(member):
                continue
            if isinstance(member, property):
                parts.append(_entry("property", each, "", _doc(inspect.getdoc(member))))
            elif inspect.isroutine(member):
                parts.append(_entry("method", each, _signature(member), _doc(inspect.getdoc(member))))
    signature = _signature(value) if name != "cf.Accessor" else ""
    return _entry("class", name, signature, "\n\n".join(part for part in parts if part))


def verbs() -> dict[str, list[str]]:
    """Return the names of all verbs, by the part of the page they stand in."""
    parts = {title: names.split() for title, names in VERBS.items()}
    made = {name: verb for name, verb in vars(cf.Accessor).items() if not name.startswith("_")}
    rest = [name for name in made if not any(name in names for names in parts.values())]
    tasks = [name for name in rest if isinstance(made[name], TaskVerb)]
    widgets = [name for name in rest if isinstance(made[name], WidgetVerb)]
    if unplaced := set(rest) - {*tasks, *widgets}:
        raise KeyError(f"docs/reference_pages.py: name these verbs in VERBS: {sorted(unplaced)}")
    return parts | {_TEXT: tasks + parts[_TEXT], _WIDGETS: parts[_WIDGETS] + widgets}


def _verbs() -> str:
    bound = pd.DataFrame({"text": ["a"]}).cfai
    parts = []
    for title, names in verbs().items():
        parts.append(_heading(title))
        for name in names:
            verb = getattr(bound, name)
            given = list(NAMES) if _runs(verb) else []
            signature = _signature(verb, given, "**run_options" if given else "")
            parts.append(_entry("method", f"df.cfai.{name}", signature, _doc(inspect.getdoc(verb), given)))
    before = (
        "Methods of ``df.cfai`` and ``s.cfai``. Each that sends requests has three forms: the call, "
        "``await verb.aio(...)`` and ``verb.plan(...)``, which shows the price and sends nothing. ``**run_options`` "
        "are :doc:`the same for all <options>`; :doc:`table` shows every verb with an example."
    )
    return _page("Verbs", parts, before)


def _options() -> str:
    doc = SphinxDocString(inspect.cleandoc(RunOptions.__doc__ or ""))
    parts = []
    known = {each.name: each for each in doc["Attributes"]}
    for name in NAMES:
        if name in known:
            kind, lines = known[name].type, known[name].desc
        else:
            kind, lines = "float, optional", ["The budget in Neurons; see ``budget``."]
        parts.append(f"``{name}`` : {kind}\n" + textwrap.indent("\n".join(lines), "   "))
    before = "They may be given to ``cf.connect``, as defaults of the session, and to every verb that sends requests."
    return _page("Run options", parts, before)


def _tasks() -> str:
    types = {name: getattr(cf, name) for name in cf.__all__ if isinstance(getattr(cf, name), type)}
    names = ["Task", *(n for n, each in types.items() if not issubclass(each, BaseException) and n not in CLASSES)]
    before = "A task is a question as an object, for ``df.cfai.run``, ``compare`` and ``cf.enrich``. Each verb has one."
    made = []
    for name in dict.fromkeys(names):
        value = getattr(cf, name)
        if name == "Task":
            made.append(_class(f"cf.{name}", value))
        else:
            made.append(_entry("class", f"cf.{name}", _signature(value), _doc(value.__doc__)))
    return _page("Tasks", made, before)


#: What to do about each error.
REMEDIES = {
    "CfaiError": "Base class; catch it to catch them all.",
    "SetupError": 'Set what the message names, or use ``cf.connect("emulator")``; ``cfai-nb doctor`` checks the rest.',
    "ColumnError": "Take the column the message proposes; in a template write ``{{`` for a brace.",
    "ModelError": "Choose a name from ``cf.models()``; for a retired model the message names its replacement.",
    "BudgetError": "Raise the budget and run the same call again: it sends only the rest.",
    "StoreError": 'Make room, or give another place with ``store=``; ``store_errors="continue"`` goes on without.',
    "RowsFailed": "Read ``cf.last_run().failures``; correct the input or the option it names and run the call again.",
    "RowError": "Base class of what fails one row; see ``cf.last_run().failures``.",
    "InputError": "Convert the cell: the message names row and column.",
    "AnswerError": "Raise ``max_tokens`` where a reply was cut; try another model where replies do not fit the schema.",
    "ServiceError": "Base class of what the service reports; ``code`` and ``status`` say what.",
    "Refused": "Change the input: the service does not accept it.",
    "TooLarge": "Shorten the text, or choose a model with a longer context.",
    "RateLimited": "Nothing: the run waits. Lower ``concurrency``, or raise ``patience``, if rows are given up.",
    "Busy": "Nothing: the run waits. Try later, or another model.",
    "Unavailable": "Nothing: it is sent again. Run the call again for rows that were given up.",
    "QuotaExhausted": "Wait until 00:00 UTC, or move to a paid plan; what is done is kept.",
    "AccessError": "Check the token's permissions (Workers AI: Read and Edit), the plan, and the licence of the model.",
    "Stopped": "Run the same call again: it sends only the rest.",
    "CfaiWarning": "Read the message; ``cf.last_run()`` has the details.",
}


def _errors() -> str:
    names = [n for n in cf.__all__ if isinstance(getattr(cf, n), type) and issubclass(getattr(cf, n), BaseException)]
    missing = set(names) ^ set(REMEDIES)
    if missing:
        raise KeyError(f"docs/reference_pages.py: REMEDIES and the errors of the package differ: {sorted(missing)}")
    parts = []
    for name in REMEDIES:
        value = getattr(cf, name)
        body = f"{_doc(value.__doc__)}\n\n**What to do:** {REMEDIES[name]}"
        parts.append(_entry("exception", f"cf.{name}", f"({value.__mro__[1].__name__})", body))
    return _page("Errors", parts, "What a message of the package means, and what to do about it.")


def _command() -> str:
    os.environ["COLUMNS"] = "100"
    top = parser()
    parts = [f".. code-block:: text\n\n{textwrap.indent(top.format_help(), '   ')}"]
    commands = next(each.choices for each in top._actions if isinstance(each, argparse._SubParsersAction))
    for name, each in commands.items():
        title = f"cfai-nb {name}"
        parts.append(f"{_heading(title)}\n\n.. code-block:: text\n\n{textwrap.indent(each.format_help(), '   ')}")
    return _page("Command line", parts)


def _module(name: str) -> str:
    module = getattr(cf, name)
    about = inspect.cleandoc(module.__doc__ or "").partition("\n\n")[0]
    parts = []
    for each in module.__all__:
        value = getattr(module, each)
        render = _class if isinstance(value, type) else _function
        if isinstance(value, type) or callable(value):
            parts.append(render(f"cf.{name}.{each}", value))
    return _page(f"cf.{name}", parts, about)
