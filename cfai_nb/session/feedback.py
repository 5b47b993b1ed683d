"""``cf.feedback``: rate answers in the logs of an AI Gateway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import quote

import pandas as pd

from .._engine.bridge import bridge
from .._engine.errand import Errand
from .._engine.gateway import Gateway, as_gateway
from ..errors import RowError, SetupError, Stopped, takes_options
from ..tasks import Json, Request
from . import session


@takes_options()
def feedback(
    logs: pd.Series[Any] | str,
    score: pd.Series[Any] | Literal[-1, 1],
    *,
    gateway: Gateway | str | None = None,
    metadata: Mapping[str, str | int | float | bool] | None = None,
) -> int:
    """Rate answers that went through an AI Gateway, in its logs.

    Parameters
    ----------
    logs : Series or str
        Ids of logs: ``cf.last_run().logs``, or a part of it.  Missing ones are skipped.
    score : {-1, 1} or Series of them
        Bad or good; a Series is aligned by index, and logs without a score are skipped.
    gateway : Gateway or str, optional
        Default: the gateway of ``cf.connect``.
    metadata : mapping, optional
        Stored with each log.

    Returns
    -------
    int
        Number of logs that were rated; equal rows share one log.

    Raises
    ------
    SetupError
        No gateway is set, here or in ``connect``.
    ValueError
        A score is neither -1 nor 1, or two rows that share a log have different scores.
    ServiceError
        A log could not be rated; a note says how many were rated before.
    Stopped
        It was interrupted; the message says how many were rated.
    """
    here = session.current()
    through = as_gateway(gateway) or here.options({}).gateway
    if through is None:
        raise SetupError("Set gateway= to the gateway that the answers went through, here or in cf.connect.")
    wanted, rated = _rated(logs, score), 0

    async def rate(errand: Errand[None]) -> None:
        async def one(pair: tuple[str, int]) -> None:
            nonlocal rated
            log, value = pair
            body: dict[str, Json] = {"feedback": value} | ({"metadata": dict(metadata)} if metadata else {})
            path = f"/ai-gateway/gateways/{quote(through.name, safe='')}/logs/{quote(log, safe='')}"
            await errand.ask(Request(json=body, path=path), f"log {log!r} of gateway {through.name!r}", "PATCH")
            rated += 1

        await errand.each(one, wanted.items())

    errand = Errand(here.engine(cache=False), rate, drain=True)
    try:
        bridge.wait(errand, lambda: None)
    except RowError as error:
        if rated:
            error.add_note(f"{rated:,} of {len(wanted):,} logs were rated.")
        raise
    if errand.stopped and rated < len(wanted):
        raise Stopped(f"Stopped. {rated:,} of {len(wanted):,} logs were rated; the same call again rates all of them.")
    return rated


def _rated(logs: pd.Series[Any] | str, score: pd.Series[Any] | int) -> dict[str, int]:
    if isinstance(logs, str):
        logs = pd.Series([logs])
    scores = score if isinstance(score, pd.Series) else pd.Series(score, index=logs.index)
    if isinstance(score, pd.Series) and not score.index.equals(logs.index):
        if not (score.index.is_unique and logs.index.is_unique):
            raise ValueError("score: the index has repeated labels; give a Series with the same index as the logs.")
        scores = score.reindex(logs.index)
    rated: dict[str, int] = {}
    for log, value in zip(logs, scores, strict=True):
        if pd.isna(log) or pd.isna(value):
            continue
        if isinstance(value, bool) or value not in (-1, 1):
            raise ValueError(f"score={value!r}: give -1 or 1.")
        if rated.setdefault(str(log), int(value)) != value:
            raise ValueError(f"The log {log} belongs to several rows with different scores; give them the same score.")
    return rated
