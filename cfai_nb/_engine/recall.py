"""What the store knows of a plan, before anything is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from .run_state import Run
from .shared import Engine


async def recall(engine: Engine, run: Run, wanted: Sequence[int]) -> list[int]:
    """Deliver what the store holds of these inputs, enter what that saved, and return those it does not hold."""
    store, plan = engine.store, run.plan
    if store is None or run.options.cache not in (True, "only") or not wanted:
        return list(wanted)
    indexes = np.asarray(wanted, dtype=np.int64)
    await engine.written()  # what another run was answered a moment ago may still wait for the disk
    parts = store.held([plan.keys[index] for index in wanted])
    open_ = np.ones(len(indexes), dtype=bool)  # also what another process evicted between the two looks
    saved, rows, unpriced = 0.0, 0, 0
    while (part := await asyncio.to_thread(next, parts, None)) is not None:
        for held in part:
            if held.cells is None:
                run.damaged += len(held.at)
                continue
            open_[held.at] = False
            delivered = run.deliver(indexes[held.at], held.cells)
            rows += 0 if held.neurons is None else delivered
            unpriced += delivered if held.neurons is None else 0
            if held.log is not None:
                run.logs.update(dict.fromkeys(indexes[held.at].tolist(), held.log))
            saved += held.neurons or 0.0
        if run.stopped:
            break
    run.stored += rows + unpriced
    amounts = ((saved, rows), (None, unpriced))  # kept separate: an unknown price is not zero
    entries = [
        engine.saving(n, plan.model, run=run.id, verb=plan.task.name, rows=count) for n, count in amounts if count
    ]
    for entry in entries:
        run.note(entry)
    engine.enter(entries)
    return [int(index) for index in np.sort(indexes[open_])]
