"""Faults: what can go wrong on purpose, how often, and whether the work was charged by then.

``app`` draws a fault for every admitted call; ``http.responses`` and the families carry it out.

Before the work (nothing is charged): ``500``, ``502``, ``503``, ``529``, ``408``, ``422`` (5006 with a JSON document as
the text), ``html`` (a 502 page), ``1015`` (a 429 that is not JSON), ``reset`` (connection dropped), and any code of the
service by its number, such as ``3040``.

After it (charged, though the answer may be useless): ``reset-after`` (connection dropped), ``cut`` (dropped in the
middle of the body), ``garbage`` (200 with broken JSON), ``short`` (a batch answer with one vector missing), ``empty``
(null content), ``length`` (text cut, ``finish_reason`` length), ``truncated-stream`` (a stream that ends early, without
``[DONE]``).

``slow`` only waits. A fault that does not apply to a call (``short`` for a chat) leaves the call unchanged.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from threading import Lock

from ..error_codes import CODES

BEFORE = frozenset({"422", "500", "502", "503", "529", "408", "html", "1015", "reset"})
AFTER = frozenset({"reset-after", "cut", "garbage", "short", "empty", "length", "truncated-stream"})

Script = Callable[[int, str], str | None]
Faults = Mapping[str, float] | Sequence[str | None] | Script


class FaultSource:
    """Decides the fault of each call.

    Parameters
    ----------
    faults : mapping, sequence or callable
        Kind -> probability per call; or the kinds of the first calls (``None`` for none), all later calls without a
        fault; or a function of the call's number and model. Calls are numbered from 0 as they are admitted: those
        refused for their input, the rate or the quota do not count.
    seed : int
        Seed of the draws, so that a run can be repeated.
    """

    def __init__(self, faults: Faults, seed: int) -> None:
        self._faults, self._random, self._lock = faults, random.Random(seed), Lock()
        self._number = 0
        kinds: list[str] = []
        if isinstance(faults, Mapping):
            kinds = list(faults)
            if any(share < 0 for share in faults.values()) or sum(faults.values()) > 1 + 1e-9:
                raise ValueError("fault probabilities must lie in 0..1 and add up to at most 1")
        elif not callable(faults):
            kinds = [kind for kind in faults if kind]
        for kind in kinds:
            checked_fault(kind)

    def next(self, model: str) -> str:
        """Return the fault of the next admitted call, empty for none."""
        with self._lock:
            number, point = self._number, self._random.random()
            self._number += 1
        if isinstance(self._faults, Mapping):
            for kind, share in self._faults.items():
                point -= share
                if point < 0:
                    return kind
            return ""
        if callable(self._faults):
            return checked_fault(self._faults(number, model) or "")
        return (self._faults[number] or "") if number < len(self._faults) else ""


def checked_fault(kind: str) -> str:
    """Return a fault kind, or raise ValueError for an unknown one."""
    code = kind.isdigit() and int(kind) in CODES
    if kind and kind not in BEFORE | AFTER and kind != "slow" and not code:
        raise ValueError(
            f"no fault called {kind!r}; there are {', '.join(sorted(BEFORE | AFTER | {'slow'}))} and codes"
        )
    return kind
