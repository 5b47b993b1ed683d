"""What a verb on a Dask frame would send: the partitions priced one by one, and equal inputs counted once.

``DaskVerb.plan`` has each partition priced where it is read; keys and prices of its inputs come back, not the inputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ..models import Cost


@dataclass(frozen=True)
class Priced:
    """What a partition would send: the keys of its inputs, which of them the store has, and the price of each."""

    rows: int
    missing: int = 0
    keys: Any = None
    open: Any = None
    prices: Any = None

    @classmethod
    def of(cls, plan: Any, count: int) -> Priced:
        """Return what is needed of the plan of a partition."""
        if plan is None:
            return cls(0)
        from ..models import price

        costs = [price(plan.estimate_usage([at]), plan.model).neurons for at in range(len(plan.inputs))]
        prices = np.array([np.nan if one is None else one for one in costs], dtype=float)
        keys = np.array(plan.keys, dtype="V16")
        return cls(count, int((plan.where < 0).sum()), keys, ~plan.stored, prices)


@dataclass(frozen=True)
class DaskPlan:
    """What a verb would send for a Dask frame, and what that may cost at most.

    Attributes
    ----------
    words : str
        Verb and model.
    partitions, rows, missing, distinct, stored, requests : int
        Equal inputs count once, also in different partitions.
    cost : Cost
        An estimate; ``neurons`` is None where the model publishes no price.
    minutes : float or None
        At the rate limit, where one is known.
    """

    words: str
    partitions: int
    rows: int
    missing: int
    distinct: int
    stored: int
    requests: int
    cost: Cost
    minutes: float | None

    @classmethod
    def of(cls, words: str, parts: tuple[Priced, ...], batch: int, rate: float | None) -> DaskPlan:
        """Add up the partitions; an input that several have is counted in the first of them."""
        from ..models import Cost

        there = [part for part in parts if part.keys is not None and len(part.keys)]
        keys = np.concatenate([part.keys for part in there]) if there else np.empty(0, dtype="V16")
        _, first = np.unique(keys.view([("high", "u8"), ("low", "u8")]), return_index=True)
        new = np.zeros(len(keys), dtype=bool)
        new[first] = True
        open_ = np.concatenate([part.open for part in there]) if there else new
        prices = np.concatenate([part.prices for part in there]) if there else np.empty(0)
        sent = new & open_
        ends = np.cumsum([len(part.keys) for part in there])
        counts = [int(each.sum()) for each in np.split(sent, ends[:-1])] if there else []
        requests = sum(-(-count // batch) for count in counts)
        total = float(prices[sent].sum())
        return cls(
            words, len(parts), sum(part.rows for part in parts), sum(part.missing for part in parts), int(new.sum()),
            int((new & ~open_).sum()), requests, Cost(None if np.isnan(total) else total, False),
            requests / rate if rate else None,
        )  # fmt: skip

    def __repr__(self) -> str:
        from ..models.ledger import money
        from .files.enrich_report import time_in_words

        stored = f", {self.stored:,} in the store" if self.stored else ""
        limit = "no known rate limit" if self.minutes is None else time_in_words(self.minutes)
        cost = f"{money(self.cost.neurons, False)} at most; estimated, nothing sent"
        if not self.requests:
            cost = "nothing to send, nothing to pay"
        return "\n".join([
            self.words,
            f"  {self.rows:,} rows in {self.partitions:,} partitions ({self.missing:,} without content), "
            f"{self.distinct:,} distinct{stored}",
            f"  {self.requests:,} requests, {limit}",
            f"  {cost}",
        ])  # fmt: skip
