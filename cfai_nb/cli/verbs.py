"""``cfai-nb verbs``: every verb with an example run on the emulator: input, result, models and price unit.

``markdown`` is the page of the documentation with the table of verbs; a test compares them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..accessor import Accessor
from ..frame.call import last_run
from ..frame.verb import TaskVerb
from ..models import Model, catalogue
from ..session import connect
from ..tasks import Task
from .commands import print_table

#: Code that makes the frame the examples use.
SETTING = """\
import pathlib, tempfile
import pandas as pd
import cfai_nb as cf

note = pathlib.Path(tempfile.mkdtemp(), "invoice.html")
_ = note.write_text("<h1>Invoice 7</h1><p>Total: <b>12.50</b> EUR</p>")
shop = pd.DataFrame(
    {
        "text": ["My parcel is late, I want my money back!", "Thank you, the new lamp is great. Ann, ann@example.com"],
        "product": ["a red circle", "two blue squares"],
        "file": [note, note],
    }
)
shop["photo"] = shop.cfai.image("{product}", size=256)
shop["voice"] = shop.cfai.speak("product")"""
_UNITS = {
    "input_tokens": "tokens read", "output_tokens": "tokens written", "tiles": "512 × 512 tiles", "steps": "steps",
    "input_tiles": "tiles given", "audio_minutes": "minutes of sound", "characters": "characters", "images": "pictures",
}  # fmt: skip
_CHAT = ("legacy", "openai", "responses+chat")
_HEAD = ("verb", "rows", "result", "models, the default first", "priced by")


@dataclass(frozen=True)
class Entry:
    """One verb, and the result, task and model of running its example."""

    name: str
    verb: TaskVerb
    result: Any
    task: Task
    model: Model

    @property
    def takes(self) -> str:
        """What a row holds."""
        kinds = sorted(self.task.kinds, key=lambda kind: (kind != "text", kind))
        words = ", ".join("picture" if kind == "image" else kind for kind in kinds)
        return f"template of {words}" if self.task.template else words

    @property
    def gives(self) -> str:
        """What the verb returns without further options."""
        kind, _, what = self.verb.returns.partition(": ")
        usual, options, _ = what.partition(";")
        usual_kind = kind.partition(" or ")[0] if options else kind  # the other one goes with an option
        return f"{usual_kind}: {usual.rstrip('.')}".replace("``", "`")

    @property
    def models(self) -> list[Model]:
        """Every current model it accepts with the options of its example, the default first."""
        if isinstance(self.task.default_model, Model):
            return [self.task.default_model]
        able = [m for m in catalogue().values() if m.status == "current" and m != self.model and self._accepts(m)]
        return [self.model, *able]

    def _accepts(self, model: Model) -> bool:
        try:
            self.task.check(model)
        except ValueError:
            return False
        return True

    @property
    def priced(self) -> str:
        """The units its default model is priced in."""
        return " and ".join(_UNITS.get(unit, unit.replace("_", " ")) for unit in self.model.prices or {}) or "unknown"


def entries() -> Iterator[Entry]:
    """Run every example on the emulator, in a session of its own."""
    names: dict[str, Any] = {"cf": sys.modules[__name__.partition(".")[0]]}
    with warnings.catch_warnings(), connect("emulator", store=False):
        warnings.simplefilter("error")
        exec(compile(SETTING, "<verbs>", "exec"), names)
        try:
            for name, verb in vars(Accessor).items():
                if isinstance(verb, TaskVerb):
                    result = eval(verb.example, names)
                    plan = last_run().run.plan
                    yield Entry(name, verb, result, plan.task, plan.model)
        finally:
            shutil.rmtree(names["note"].parent)


def table(known: list[Entry]) -> list[tuple[str, ...]]:
    """Return the table's rows: verb, rows, result, models, price unit."""
    return [(each.name, each.takes, each.gives, _named(each.models), each.priced) for each in known]


def _named(models: list[Model]) -> str:
    """Name the default, the special models, and how many chat models."""
    first, *others = models
    special = [model.name for model in others if model.family not in _CHAT]
    chat = sum(model.family in _CHAT for model in others)
    more = [f"{chat} {'more ' if first.family in _CHAT else ''}chat models"] if chat else []
    return ", ".join([first.name, *special, *more])


def markdown() -> str:
    """Return the documentation's part about verbs: the table, and every example with its output."""
    known = list(entries())
    lines = [f"| {' | '.join(_HEAD)} |", "| --- " * len(_HEAD) + "|"]
    lines += [f"| {' | '.join((f'`{verb}`', *rest))} |" for verb, *rest in table(known)]
    blocks = [f"```python\n{SETTING}\nshop.shape\n```\n\n```text\n(2, 5)\n```"]
    for each in known:
        shown = "\n".join(line.rstrip() for line in repr(each.result).splitlines())
        blocks.append(f"```python\n{each.verb.example}\n```\n\n```text\n{shown}\n```")
    return "\n".join([*lines, "", "## Every verb once, with what it shows", "", "\n\n".join(blocks)])


def list_verbs(args: argparse.Namespace) -> int:
    """Print every verb with its input, result, models and price unit."""
    if args.markdown:
        print(markdown())
        return 0
    known = list(entries())
    rows = table(known)
    if args.json:
        names = ("verb", "rows", "result", "models", "priced_by", "example")
        made = [dict(zip(names, (*row, each.verb.example), strict=True)) for row, each in zip(rows, known, strict=True)]
        print(json.dumps(made, indent=1, ensure_ascii=False))
    else:
        print_table([_HEAD, *rows])
    return 0
