"""What the store knows of a plan, before anything is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from .engine import Engine
from .record import Run


async def recall(engine: Engine, run: Run, wanted: Sequence[int]) -> list[int]:
    """Deliver what the store holds of these inputs, enter what that saved, and return those it does not hold."""
    store, plan = engine.store, run.plan
    if store is None or run.options.cache not in (True, "only") or not wanted:
        return list(wanted)
    indexes = np.asarray(wanted, dtype=np.int64)
    await asyncio.to_thread(store.flush)  # what another run was answered a moment ago may still wait for the disk
    packs, slots = await asyncio.to_thread(store.locate, [plan.keys[index] for index in wanted])
    known = np.flatnonzero(packs >= 0)
    # By pack, so that each is read once, however the rows are shuffled.
    order = known[np.argsort(packs[known], kind="stable")]
    distinct, starts = np.unique(packs[order], return_index=True)
    groups = dict(zip(distinct.tolist(), np.split(order, starts[1:]), strict=True)) if len(distinct) else {}
    saved, rows, unpriced = 0.0, 0, 0
    for at in range(0, len(distinct), 64):
        part = distinct[at : at + 64].tolist()
        for pack, cells, neurons, log in await asyncio.to_thread(lambda chosen: list(store.read(chosen)), part):
            group = groups.pop(pack)
            chosen = cells[slots[group]] if isinstance(cells, np.ndarray) else [cells[slot] for slot in slots[group]]
            delivered = run.deliver(indexes[group], chosen)
            rows += 0 if neurons is None else delivered
            unpriced += delivered if neurons is None else 0
            if log is not None:
                run.logs.update(dict.fromkeys(indexes[group].tolist(), log))
            saved += (neurons or 0.0) * len(group) / max(1, len(cells))
        if run.stopped:
            break
    run.stored += rows + unpriced
    amounts = ((saved, rows), (None, unpriced))  # apart, since what nobody knows is not nothing
    entries = [
        engine.saving(n, plan.model, run=run.id, verb=plan.task.name, rows=count) for n, count in amounts if count
    ]
    for entry in entries:
        run.note(entry)
    engine.enter(entries)
    # What another process evicted between the two looks is asked for again.
    gone = np.concatenate([np.flatnonzero(packs < 0), *groups.values()]) if groups else np.flatnonzero(packs < 0)
    return [int(index) for index in np.sort(indexes[gone])]
