"""Any answer: whatever status, code and form come back on whichever route, a run ends soon and keeps its other rows."""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from inputs import quick_queue, quick_retries
from intercept import Faulty, failure, poison

import cfai_nb as cf

ROWS = 6
STATUSES = (200, 302, 400, 401, 402, 403, 404, 413, 422, 429, 500, 503, 529)
CODES = (
    1015, 2001, 2009, 2021, 3000, 3002, 3003, 3006, 3007, 3008, 3010, 3021, 3023, 3030, 3036, 3039, 3040, 3041, 3042,
    4006, 5004, 5005, 5006, 5007, 5016, 5018, 5019, 5021, 5035, 6003, 7001, 7003, 8001, 8006, 9106, 9109, 10000, 40006,
    40008, 40012, 40018, 40023, 40025, 17, 9999, "\u00b2", "insufficient_quota", None,
)  # fmt: skip
FORMS = ("envelope", "OpenAI", "text", "page", "nothing", "null", "no result")
LLAMA = "llama-3.3-70b-instruct-fp8-fast"
ROUTES: dict[str, Callable[..., Any]] = {
    "embed": lambda rows, **o: rows.cfai.embed(**o),
    "classify": lambda rows, **o: rows.cfai.classify(["a", "b"], **o),
    "generate": lambda rows, **o: rows.cfai.generate("{value}", **o),
    "run": lambda rows, **o: rows.cfai.generate("{value}", model=LLAMA, **o),
    "translate": lambda rows, **o: rows.cfai.translate(to="de", source="en", model="m2m100-1.2b", **o),
    "image": lambda rows, **o: rows.cfai.image("{value}", model="flux-1-schnell", **o),
    "speak": lambda rows, **o: rows.cfai.speak(**o),
    "gateway": lambda rows, **o: rows.cfai.generate("{value}", gateway="g", **o),
    "queue": lambda rows, **o: rows.cfai.generate("{value}", model=LLAMA, queue=True, **o),
    "check": lambda rows, **o: rows.cfai.check("is it a text?", **o),
}


def cases(seed: int, each: int) -> Iterator[tuple[str, int, Any, str]]:
    """So many of each route, of all statuses, codes and forms in turn."""
    dice = random.Random(seed)
    statuses, codes, forms = (dice.sample(pool, len(pool)) for pool in (STATUSES, CODES, FORMS))
    for at, route in enumerate(ROUTES):
        for number in range(each):
            turn = at * each + number
            yield route, statuses[turn % len(statuses)], codes[turn % len(codes)], forms[turn % len(forms)]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short waits, and a minute of a moment."""
    quick_retries(monkeypatch, faster=400, minute=0.3)
    quick_queue(monkeypatch, 0.005)


def ended(route: str, here: Faulty, store: Path | bool) -> tuple[Exception | None, float]:
    """Ask for six rows, the fourth of which is the bad one; return what was raised, and the seconds it took."""
    rows = pd.Series([f"a poison text {at}" if at == 3 else f"a text about number {at}" for at in range(ROWS)])
    begun = time.monotonic()
    raised: Exception | None = None
    with cf.connect(here, store=store, rate=None, patience=0.2), warnings.catch_warnings():
        warnings.simplefilter("ignore", cf.CfaiWarning)
        try:
            ROUTES[route](rows)
        except cf.CfaiError as error:
            raised = error
    return raised, time.monotonic() - begun


@pytest.mark.slow
@pytest.mark.parametrize(("route", "status", "code", "form"), list(cases(1, 8)))
def test_for_one_row_for_ever(route: str, status: int, code: Any, form: str) -> None:
    """That row fails with a readable reason; the others are answered, and the run ends in bounded time."""
    raised, seconds = ended(route, Faulty(poison(failure(status, code, form))), False)
    report = cf.last_run()
    assert raised is None
    assert seconds < 6
    assert report.run.done >= ROWS - 1
    assert all(message.isprintable() and len(message) < 600 for message in report.failures["message"])


@pytest.mark.slow
@pytest.mark.parametrize(("route", "status", "code", "form"), list(cases(2, 6)))
def test_once(route: str, status: int, code: Any, form: str) -> None:
    """The run goes on; at most the row it came for is lost, and none where it may pass."""
    raised, seconds = ended(route, Faulty(poison(failure(status, code, form), times=1, word=b"text")), False)
    assert raised is None
    assert seconds < 6
    assert cf.last_run().run.done >= ROWS - (status in (400, 413, 422))


@pytest.mark.slow
@pytest.mark.parametrize(("route", "status", "code", "form"), list(cases(3, 4)))
def test_for_all_rows_for_ever(tmp_path: Path, route: str, status: int, code: Any, form: str) -> None:
    """The call raises a readable error in bounded time, earlier answers are kept, and the waiting is reported."""
    raised, seconds = ended(route, Faulty(poison(failure(status, code, form), word=b"text")), tmp_path / "s.sqlite")
    assert isinstance(raised, cf.CfaiError)
    assert str(raised).isprintable()
    assert seconds < 8
    assert cf.last_run().run.done == 0
    assert cf.last_run().event.waiting is None
