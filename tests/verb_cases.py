"""One case or more for each verb, whose options ``test_requests.py`` has, and a budget that counts requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from test_requests import OPTIONS

import cfai_nb as cf
from cfai_nb.accessor import Accessor
from cfai_nb.emulator.families import audio_models as tune
from cfai_nb.emulator.standins.image_drawing import Order, draw
from cfai_nb.frame.verb import TaskVerb
from cfai_nb.models.ledger import Budget

QUEUED = "llama-3.3-70b-instruct-fp8-fast"
CITIES = ["Rome", "Oslo", "Bonn", "Lima", "Kyiv"]
#: Five things in nine rows: labels that repeat, a row that repeats, one that is missing, and one that cannot be sent.
ORDER, INDEX = (0, 1, 0, None, 2, "bad", 3, 4, 1), list("aabccdeef")


def weather(city: str = "Rome") -> str:
    """Say what the weather is in a city."""
    return f"dry in {city}"


def rows(things: list[Any], bad: Any) -> pd.DataFrame:
    """Lay five things out as the rows of a frame."""
    cells = [None if at is None else bad if at == "bad" else things[at] for at in ORDER]
    return pd.DataFrame({"it": pd.Series(cells, dtype=object, index=INDEX)})


def texts() -> pd.DataFrame:
    """What is the weather in five cities?"""
    return rows([f"What is the weather in {city}?" for city in CITIES], ["no", "text"])


def pictures() -> pd.DataFrame:
    """Five pictures."""
    return rows([draw(Order(f"a red circle in {city}", 64, 64)) for city in CITIES], b"no picture")


def both() -> pd.DataFrame:
    """Three texts and two pictures, and something that is neither."""
    shown = [draw(Order(f"a red circle in {city}", 64, 64)) for city in CITIES[:2]]
    return rows([CITIES[2], shown[0], CITIES[3], shown[1], CITIES[4]], ["no", "text"])


def sounds() -> pd.DataFrame:
    """Five sounds."""
    return rows([tune.speak(f"{city}.", tune.FORMATS["linear16"], 16000)[0] for city in CITIES], b"no sound")


def documents() -> pd.DataFrame:
    """Five documents."""
    return rows([f"<!DOCTYPE html><p>{city}".encode() for city in CITIES], 3.5)


@dataclass(frozen=True)
class Case:
    """One verb, what it is given, and how it is called."""

    verb: str
    made: Callable[[], pd.DataFrame] = texts
    on: str = "it"
    options: dict[str, Any] = field(default_factory=dict)


SAY = "Say {it}"
#: Rows of each kind; a verb is given the first kind that it takes.
KINDS = {"text": texts, "document": documents, "image": pictures, "audio": sounds}
VERBS = {name: made for name, made in vars(Accessor).items() if isinstance(made, TaskVerb)}


def usual(verb: str) -> Case:
    """Ask a verb with the options that ``test_requests`` asks it with first."""
    task = VERBS[verb].task
    made = next(rows for kind, rows in KINDS.items() if kind in task.kinds)
    return Case(verb, made, SAY if task.template else "it", OPTIONS.get(verb, [{}])[0])


#: What a verb is asked beside that, or in its place: a new verb needs no line here.
CASES = {
    "classify": Case("classify", options={"labels": ["weather", "sport"]}),
    "check": Case("check", options={"condition": "It is about Rome."}),
    "filter": Case("filter", options={"condition": "It is about Rome."}),
    "extract": Case("extract", options={"fields": ["city"]}),
    "labels within labels": Case("classify", options={"labels": {"place": ["city", "sea"], "thing": ["tool", "food"]}}),
    "image": Case("image", on="{it} in red", options={"model": "flux-2-klein-4b", "size": 256}),
    "detect": Case("detect", pictures, options={"target": "red circle"}),
    "rank": Case("rank", options={"query": "weather in Rome"}),
    "texts and pictures": Case("ask", both, options={"questions": {"red": cf.yes_no("Is it red?")}}),
    "texts and pictures told": Case("generate", both, on=SAY, options={"model": "gemma-4-26b-a4b-it"}),
    "tools": Case("generate", on="{it}", options={"tools": [weather], "model": QUEUED}),
    "schema": Case("generate", on=SAY, options={"schema": {"city": str}, "model": QUEUED}),
    "samples": Case("generate", on=SAY, options={"n": 2, "model": QUEUED}),
    "tools and schema": Case(
        "generate", on="{it}", options={"tools": [weather], "schema": {"city": str}, "model": QUEUED}
    ),
    "queue": Case("generate", on=SAY, options={"model": QUEUED, "queue": True}),
    "queue and tools": Case("generate", on="{it}", options={"tools": [weather], "model": QUEUED, "queue": True}),
    "queue of batches": Case("embed", options={"model": "bge-small-en-v1.5", "queue": True}),
}
CASES = {name: usual(name) for name in VERBS if name not in CASES} | CASES


class RequestBudget(Budget):
    """Holds so many requests, whatever they cost."""

    def __init__(self, holds: int) -> None:
        super().__init__(float("inf"), f"{holds} requests", allow_unknown=True)
        self.holds = holds

    def _take(self, neurons: float) -> float | None:
        """Set nothing aside, as often as it holds."""
        if not self.holds:
            return None
        self.holds -= 1
        self.requests += 1
        return 0.0
