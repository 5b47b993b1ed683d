"""A Dask cluster of workers in processes, in a process of its own: CASE URL OPTIONS as JSON; prints one JSON line.

CASE is ``ask`` (rows of a model, one worker killed where ``kill`` is given) or ``overhead`` (threads, or pandas alone).
"""

from __future__ import annotations

import gc
import json
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from typing import Any


def _connected(url: str, rate: float | None) -> Any:
    import cfai_nb as cf

    store = tempfile.mkdtemp() + "/store.sqlite"
    return cf.connect(base_url=url, account_id="a" * 32, api_token="x", store=store, rate=rate)


def _requests(url: str) -> int:
    with urllib.request.urlopen(url.removesuffix("/client/v4") + "/stats") as response:
        return int(json.load(response)["requests"])


def ask(
    url: str, *, rows: int, verb: str = "generate", distinct: int = 10**9, partitions: int = 16,
    rate: float | None = None, places: int = 64, kill: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Ask with four workers; ``kill`` is the number of requests after which one is killed."""
    import dask.dataframe as dd
    import pandas as pd
    from distributed import Client, LocalCluster

    texts = [f"text number {at % distinct}" for at in range(rows)]
    with LocalCluster(n_workers=4, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        _connected(url, rate)
        frame = dd.from_pandas(pd.DataFrame({"text": texts}), npartitions=partitions, sort=False)
        model = {"model": "bge-base-en-v1.5"} if verb == "embed" else {}
        lazy = getattr(frame.cfai, verb)("{text}", concurrency=places, **model)
        victim = next(iter(client.run(os.getpid).values()))

        def strike() -> None:
            while _requests(url) < kill:
                time.sleep(0.05)
            os.kill(victim, signal.SIGKILL)

        threading.Thread(target=strike, daemon=True).start() if kill else None
        begin = time.monotonic()
        made = lazy.compute()
        return {"missing": int(made.isna().sum()), "rows": len(made), "wall": time.monotonic() - begin}


def overhead(url: str, *, rows: int, threads: int) -> dict[str, Any]:
    """Embed frames in 16 partitions with so many threads, or without Dask (0): the median of three, after a first one.

    One process measures one kind: the next kind would pay for the memory that this one leaves behind.
    """
    import dask.dataframe as dd
    import pandas as pd

    walls = []
    for at in range(4):
        _connected(url, None)
        held = pd.DataFrame({"text": [f"{at} {threads} {os.getpid()} {each}" for each in range(rows)]})
        frame = dd.from_pandas(held, npartitions=16)
        gc.collect()  # what the run before left
        begin = time.monotonic()
        if threads:
            lazy = frame.cfai.embed("text", model="bge-base-en-v1.5", progress=False)
            lazy.compute(scheduler="threads", num_workers=threads)
        else:
            held.cfai.embed("text", model="bge-base-en-v1.5", progress=False)
        walls.append(time.monotonic() - begin)
    return {"seconds": statistics.median(walls[1:])}


if __name__ == "__main__":
    case, address, options = sys.argv[1:4]
    print(json.dumps({"ask": ask, "overhead": overhead}[case](address, **json.loads(options))))
