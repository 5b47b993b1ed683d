"""Search in a million vectors, a map of 20,000, a cascade of 100,000, on this machine; by `python -m benchmarks`."""

from __future__ import annotations

import json
import resource
import sys
import time

import numpy as np
import pandas as pd

import cfai_nb as cf
from cfai_nb._engine.run_state import Results
from cfai_nb.vectors.vector import Space

WIDTH = 768


def peak() -> float:
    """Return the most memory so far, in MB of 2**20 bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def column(count: int, groups: int = 0) -> pd.Series:
    """Return random vectors as `embed` gives them: rows of one matrix; around the centres of groups if any."""
    random = np.random.default_rng(0)
    matrix = np.empty((count, WIDTH), dtype=np.float32)
    centres = random.normal(size=(max(1, groups), WIDTH)).astype("f4") * bool(groups)
    for start in range(0, count, 10_000):
        part = matrix[start : start + 10_000]
        random.standard_normal(part.shape, dtype=np.float32, out=part)
        part += centres[np.arange(start, start + len(part)) % len(centres)]
    results = Results(count)
    results.matrix = matrix
    results.filled[:] = True
    cells = np.empty(count, dtype=object)
    cells[:] = results.vectors(np.arange(count), Space("random", WIDTH))
    return pd.Series(cells)


def search(count: int) -> dict[str, float]:
    """Search for one vector by the verb, twice, and once more where every hundredth vector is missing."""
    begin = peak()
    frame = pd.DataFrame({"n": np.arange(count)})
    frame["vec"] = column(count)
    held = peak()
    query = np.array(frame["vec"].iloc[77])
    seconds, wrong = [], 0
    for data in (frame, frame, frame.assign(vec=frame["vec"].where(frame["n"] % 100 > 0))):
        start = time.perf_counter()
        found = data.cfai.search(query, 10, on="vec")
        seconds.append(time.perf_counter() - start)
        wrong += int(found["n"].iloc[0] != 77)
    matrix = count * WIDTH * 4 / 2**20
    return {
        "first": seconds[0], "again": seconds[1], "gaps": seconds[2], "wrong": wrong,
        "beyond_column": (peak() - held) / matrix, "beyond_matrix": (peak() - begin - matrix) / matrix,
    }  # fmt: skip


def picture(count: int) -> dict[str, float]:
    """Project and draw, groups found as well; the share of rows whose nearest on the map is of their group."""
    import matplotlib as mpl
    from sklearn.neighbors import NearestNeighbors

    mpl.use("agg")
    vectors = column(count, groups=15)
    start = time.perf_counter()
    laid = vectors.cfai.project(progress=True)
    projected = time.perf_counter() - start
    cf.plots.clusters(laid[["x", "y"]].to_numpy(), np.arange(count) % 15).figure.canvas.draw()
    drawn = time.perf_counter() - start
    near = NearestNeighbors(n_neighbors=2).fit(laid).kneighbors(return_distance=False)[:, 0]
    return {"projected": projected, "drawn": drawn, "pure": float((near % 15 == np.arange(count) % 15).mean())}


def certificate(count: int) -> dict[str, float]:
    """Certify the answers of a cheap model with ten labels; models that answer at once."""
    random = np.random.default_rng(0)
    strong, scores = random.integers(0, 10, count), random.beta(8, 1, count)
    cheap = np.where(random.random(count) < scores, strong, (strong + 1) % 10)
    cf.quality.cascade(scores[:1_000], lambda rows: cheap[rows] == strong[rows])  # loads scipy
    start = time.process_time()
    found = cf.quality.cascade(scores, lambda rows: cheap[rows] == strong[rows])
    seconds = time.process_time() - start
    final = np.where(found.keep, cheap, strong)
    return {"seconds": seconds, "saved": found.saved, "agreed": float((final == strong).mean())}


CASES = {"search": search, "picture": picture, "certificate": certificate}

if __name__ == "__main__":
    print(json.dumps(CASES[sys.argv[1]](int(sys.argv[2]))))
