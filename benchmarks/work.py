"""One measured piece of work in a process of its own; prints one JSON line."""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
import zlib
from typing import Any

import numpy as np
import pandas as pd


def texts(count: int, distinct: int | None = None) -> list[str]:
    """Return short texts, repeated when fewer are to be distinct."""
    made = [
        f"ticket {i}: the parcel of order {i * 7919 % 100_003} did not arrive, please help"
        for i in range(distinct or count)
    ]
    return [made[i % len(made)] for i in range(count)]


def right_vectors(vectors: Any, inputs: list[str]) -> int:
    """Count rows whose vector is missing or belongs to another text."""
    wanted = np.array([zlib.crc32(t.encode()) / 2**32 for t in inputs], dtype=np.float32)
    got = np.array([np.nan if v is None else v[0] for v in vectors], dtype=np.float32)
    return int((~(np.abs(wanted - got) < 1e-5)).sum())


def main() -> None:
    """Do what the command line says: CLIENT CASE URL COUNT OPTIONS-AS-JSON."""
    client, case, url, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    options: dict[str, Any] = json.loads(sys.argv[5])
    inputs = texts(count, options.pop("distinct", None))
    places, queue = options.pop("places", 32), options.pop("queue", None)
    if client == "plain":
        from benchmarks import plain

        begin = _now()
        if case == "embed":
            wrong = right_vectors(plain.embed(url, inputs, places), inputs)
        else:
            wrong = sum(a != f"re: {b}" for a, b in zip(plain.generate(url, inputs, places), inputs, strict=True))
        _tell(begin, wrong, count)
        return
    import cfai_nb as cf

    store = options.pop("store", None) or tempfile.mkdtemp() + "/store.sqlite"
    rate = options.pop("rate", None)
    cf.connect(base_url=url, account_id="a" * 32, api_token="x", store=store, rate=rate, **options)
    frame = pd.DataFrame({"text": inputs})
    begin = _now()
    error = ""
    try:
        if case == "embed":
            out = frame.cfai.embed("text", model="bge-base-en-v1.5", queue=queue)
        elif case == "queue":
            out = frame.cfai.generate("{text}", model="llama-3.3-70b-instruct-fp8-fast", queue=queue)
        else:
            out = frame.cfai.generate("{text}", concurrency=places)
    except cf.CfaiError as failure:
        error, out = str(failure), cf.last_run().frame()
    end = _now()
    wrong = right_vectors(out, inputs) if case == "embed" else int((out != ("re: " + frame["text"])).sum())
    _tell(begin, wrong, count, end, receipt=cf.last_run().receipt, error=error)


def _now() -> tuple[float, float, int]:
    return time.perf_counter(), time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _tell(begin: Any, wrong: int, count: int, end: Any = None, **more: Any) -> None:
    end = end or _now()
    peak = {"start_mb": begin[2] >> 10, "peak_mb": end[2] >> 10}
    print(
        json.dumps(
            {"wall": end[0] - begin[0], "cpu_us": (end[1] - begin[1]) / count * 1e6, "wrong": wrong, **peak, **more}
        )
    )


if __name__ == "__main__":
    main()
