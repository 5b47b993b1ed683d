"""Two decision models for tests of cascades: what each answers to a text is known, and a question can stop the call."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from intercept import Intercept, envelope
from starlette.requests import Request
from starlette.responses import JSONResponse

from cfai_nb.frame.call import Call

LABELS = ["billing", "shipping"]
FLASH, OMNI = "clef-flash", "clef-omni"


def luck(text: str, what: str = "") -> float:
    """A number between 0 and 1 that belongs to a text."""
    return int.from_bytes(hashlib.blake2b(f"{what}{text}".encode(), digest_size=6).digest(), "big") / 2**48


def right(text: str) -> str:
    """What the strong model answers."""
    return LABELS[luck(text, "right") < 0.4]


def sure(text: str) -> float:
    """How sure the cheap model is, which is how often it is right."""
    return 0.6 + 0.4 * luck(text, "sure") ** (1 / 4)


def cheap(text: str) -> str:
    """What the cheap model answers."""
    return right(text) if luck(text, "luck") < sure(text) else next(each for each in LABELS if each != right(text))


class Clefs(Intercept):
    """Two decision models that know the answers above; the emulator answers everything else.

    Attributes
    ----------
    asked : Counter of (model, text)
    guess : callable
        What the cheap model answers.
    broken : callable
        Whether a model fails on a text, for good.
    at : int or None
        The request at which ``then`` is called.
    """

    def __init__(self, guess: Callable[[str], str] = cheap) -> None:
        super().__init__()
        self.asked: Counter[tuple[str, str]] = Counter()
        self.guess = guess
        self.broken: Callable[[str, str], bool] = lambda model, text: False
        self.at: int | None = None
        self.then: Callable[[], Any] = lambda: None

    def answer(self, request: Request, body: bytes) -> tuple[JSONResponse | None, bytes]:
        read = json.loads(body)
        if "questions" not in read:
            self.asked[("other", "")] += 1
            return None, body
        model, text = read["model"], read["state"]
        self.asked[model, text] += 1
        if self.at is not None and self.asked.total() >= self.at:
            self.then()
        if self.broken(model, text):
            return envelope(None, 400, 5006), body
        label, p = (self.guess(text), sure(text)) if model == FLASH else (right(text), 0.9)
        answers = {name: self._one(question, label, p) for name, question in read["questions"].items()}
        return envelope({"model": model, "answers": answers, "usage": {"input_tokens": 100, "output_tokens": 0}}), body

    @staticmethod
    def _one(question: dict[str, Any], label: str, p: float) -> dict[str, Any]:
        if question["type"] == "noul":
            return {"type": "noul", "noul": p if label == LABELS[0] else 1 - p}
        names = list(question["criteria"])
        chosen = names[LABELS.index(label)]
        rest = (1 - p) / (len(names) - 1)
        return {"type": "choice", "choice": chosen, "probabilities": {n: p if n == chosen else rest for n in names}}

    def of(self, model: str) -> int:
        """Requests to a model."""
        return sum(count for (name, _), count in self.asked.items() if name == model)


def stop_at(here: Clefs, question: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the call that is under way when this question arrives."""
    start = Call._start

    def noted(one: Call) -> Any:
        runner, made = start(one)
        here.then = runner.stop
        return runner, made

    monkeypatch.setattr(Call, "_start", noted)
    here.at = question
