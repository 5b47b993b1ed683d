"""What the store knows of a plan, before anything is sent."""

from __future__ import annotations

import asyncio

import numpy as np

from .engine import Engine
from .record import Run


async def recall(engine: Engine, run: Run) -> list[int]:
    """Deliver what the store holds, enter what that saved, and return the indexes it does not hold."""
    store, plan = engine.store, run.plan
    if store is None or run.options.cache not in (True, "only"):
        return list(range(len(plan.inputs)))
    plan.packs, plan.slots = await asyncio.to_thread(store.locate, plan.keys)
    known = np.flatnonzero(plan.packs >= 0)
    # By pack, so that each is read once, however the rows are shuffled.
    order = known[np.argsort(plan.packs[known], kind="stable")]
    packs, starts = np.unique(plan.packs[order], return_index=True)
    groups = dict(zip(packs.tolist(), np.split(order, starts[1:]), strict=True)) if len(packs) else {}
    saved = 0.0
    for at in range(0, len(packs), 64):
        part = packs[at : at + 64].tolist()
        for pack, cells, neurons in await asyncio.to_thread(lambda chosen: list(store.read(chosen)), part):
            group = groups.pop(pack)
            slots = plan.slots[group]
            chosen = cells[slots] if isinstance(cells, np.ndarray) else [cells[slot] for slot in slots]
            run.stored += run.deliver(group, chosen)
            saved += (neurons or 0.0) * len(group) / max(1, len(cells))
        if run.stopped:
            return []
    if run.stored:
        saving = engine.saving(saved, plan.model, run=run.id, verb=plan.task.name, rows=run.stored)
        run.note(saving)
        engine.enter([saving])
    gone = np.concatenate(list(groups.values())) if groups else np.empty(0, dtype=np.int64)
    plan.packs[gone] = -1  # evicted by another process between the two looks
    return [int(index) for index in np.flatnonzero(plan.packs < 0)]
