"""``cf.feedback``: tell an AI Gateway which answers were good."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import quote

import pandas as pd

from .._engine.bridge import bridge
from .._engine.gateway import Gateway, as_gateway
from .._engine.sender import RequestJob
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
        Ids of logs: ``cf.last_run().logs``, or some of it.  Missing ones are left out.
    score : {-1, 1} or Series of them
        Bad or good; a Series is matched by index, and rows it does not hold are left out.
    gateway : Gateway or str, optional
        Default: that of ``cf.connect``.
    metadata : mapping, optional
        Kept with each log.

    Returns
    -------
    int
        Logs that were rated; equal rows share one.

    Raises
    ------
    SetupError
        No gateway is named, here or in ``connect``.
    ValueError
        A score is neither -1 nor 1, or two rows that share a log have different ones.
    ServiceError
        A log could not be rated; the message says how many were before.
    Stopped
        It was interrupted; the message says how many were rated.
    """
    here = session.current()
    through = as_gateway(gateway) or here.options({}).gateway
    if through is None:
        raise SetupError("Name the gateway the answers went through: gateway=, here or in cf.connect.")
    wanted, rated = _rated(logs, score), 0

    async def rate(job: RequestJob[None]) -> None:
        async def one(pair: tuple[str, int]) -> None:
            nonlocal rated
            log, value = pair
            body: dict[str, Json] = {"feedback": value} | ({"metadata": dict(metadata)} if metadata else {})
            path = f"/ai-gateway/gateways/{quote(through.name, safe='')}/logs/{quote(log, safe='')}"
            await job.ask(Request(json=body, path=path), f"log {log!r} of gateway {through.name!r}", "PATCH")
            rated += 1

        await job.each(one, wanted.items())

    job = RequestJob(here.engine(cache=False), rate, drain=True)
    try:
        bridge.wait(job, lambda: None)
    except RowError as error:
        if rated:
            error.add_note(f"{rated:,} of {len(wanted):,} logs were rated.")
        raise
    if job.stopped and rated < len(wanted):
        raise Stopped(f"Stopped. {rated:,} of {len(wanted):,} logs were rated; the same call again rates all of them.")
    return rated


def _rated(logs: pd.Series[Any] | str, score: pd.Series[Any] | int) -> dict[str, int]:
    if isinstance(logs, str):
        logs = pd.Series([logs])
    scores = score if isinstance(score, pd.Series) else pd.Series(score, index=logs.index)
    if isinstance(score, pd.Series) and not score.index.equals(logs.index):
        if not (score.index.is_unique and logs.index.is_unique):
            raise ValueError("score: with repeated labels in the index, give a Series on the index of the logs.")
        scores = score.reindex(logs.index)
    rated: dict[str, int] = {}
    for log, value in zip(logs, scores, strict=True):
        if pd.isna(log) or pd.isna(value):
            continue
        if isinstance(value, bool) or value not in (-1, 1):
            raise ValueError(f"score={value!r}: give -1 or 1.")
        if rated.setdefault(str(log), int(value)) != value:
            raise ValueError(f"The log {log} is of several rows with different scores; rate it once.")
    return rated
