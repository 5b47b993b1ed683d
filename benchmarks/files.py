"""Files larger than memory and Polars frames, in a process of its own: FILL FOLDER COUNT, ENRICH URL FOLDER MEMORY,
CHECK FOLDER COUNT, or FRAME polars|pandas URL COUNT; prints one JSON line."""

from __future__ import annotations

import json
import pathlib
import sys
import zlib

import numpy as np

from benchmarks.work import _now, _tell, right_vectors, texts

_SLICE = 50_000


def fill(folder: str, count: int) -> None:
    """Write a source of ten files with columns beside the texts."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    made, each = texts(count), -(-count // 10)
    pathlib.Path(folder).mkdir(parents=True)
    for at in range(0, count, each):
        some = made[at : at + each]
        table = pa.table({"id": range(at, at + len(some)), "text": some, "length": [len(text) for text in some]})
        pq.write_table(table, f"{folder}/{at:08}.parquet")


def enrich(url: str, folder: str, memory: int) -> None:
    """Enrich the source; the figures are of this process alone."""
    import cfai_nb as cf

    cf.connect(base_url=url, account_id="a" * 32, api_token="x", store=f"{folder}/store.sqlite", rate=None)
    columns = {"vector": (cf.Embed(), "text", {"model": "bge-base-en-v1.5"})}
    begin = _now()
    report = cf.enrich(f"{folder}/in", f"{folder}/out", columns, memory=memory, progress=False)
    _tell(begin, 0, report.done_rows, rows=report.done_rows, parts=report.parts, receipt=report.receipt)


def check(folder: str, count: int) -> None:
    """Count the rows of the parts that are not what one frame would have, in order."""
    import pyarrow.dataset as ds

    expected, at, wrong = texts(count), 0, 0
    parts = ds.dataset(sorted(map(str, pathlib.Path(folder, "out").glob("part-*.parquet"))))
    for batch in parts.to_batches(columns=["id", "text", "vector", "length"], batch_size=_SLICE):
        ids, cells, lengths = (batch[name].to_numpy(zero_copy_only=False) for name in ("id", "text", "length"))
        some = expected[at : at + len(ids)]
        wrong += int((ids != np.arange(at, at + len(ids))).sum())
        wrong += sum(a != b or n != len(b) for a, n, b in zip(cells, lengths, some, strict=True))
        vector = batch["vector"]
        storage = getattr(vector, "storage", vector)
        first = storage.flatten().to_numpy().reshape(len(ids), -1)[:, 0]
        wanted = np.array([zlib.crc32(text.encode()) / 2**32 for text in some], dtype=np.float32)
        wrong += int((~(np.abs(first - wanted) < 1e-5)).sum())
        at += len(ids)
    print(json.dumps({"rows": at, "wrong": int(wrong)}))


def frame(kind: str, url: str, count: int) -> None:
    """Embed one frame and search it."""
    import cfai_nb as cf

    cf.connect(base_url=url, account_id="a" * 32, api_token="x", store=False, rate=None)
    inputs = texts(count)
    begin = _now()
    if kind == "polars":
        import polars

        given = polars.DataFrame({"text": inputs})
        out = given.cfai.embed("text", model="bge-base-en-v1.5")
        given.with_columns(vec=out).cfai.search(np.eye(768)[0], top_k=5, on="vec")
        end = _now()
        wrong = right_vectors(list(out.to_numpy()), inputs)
    else:
        import pandas

        held = pandas.DataFrame({"text": inputs})
        cells = held.cfai.embed("text", model="bge-base-en-v1.5")
        held.assign(vec=cells).cfai.search(np.eye(768)[0], top_k=5, on="vec")
        end = _now()
        wrong = right_vectors(cells, inputs)
    _tell(begin, wrong, count, end)


if __name__ == "__main__":
    what, *given = sys.argv[1:]
    if what == "fill":
        fill(given[0], int(given[1]))
    elif what == "enrich":
        enrich(given[0], given[1], int(given[2]))
    elif what == "check":
        check(given[0], int(given[1]))
    else:
        frame(given[0], given[1], int(given[2]))
