"""A map of vectors in two dimensions: ``project``."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import SetupError, takes_options
from .matrix import (
    Matrix,
    Numbers,
    OnProgress,
    Vectors,
    blocks,
    checked,
    count_distinct,
    limit_threads,
    no_progress,
    principal_components,
    sample,
    unit_rows,
)
from .neighbors import search

Points = npt.NDArray[np.float64]

# Up to so many rows t-SNE takes minutes at most; its time grows a little faster than the number of rows.
TSNE_ROWS = 5_000
# t-SNE and UMAP run on this many principal components: the same neighbors in a fraction of the time.
_COMPONENTS = 50
# Layouts that are kept: a map, a plot of its clusters and `project` of the same vectors compute one layout.
_KEPT = 8
_LARGEST = 1 << 29  # bytes of a matrix that is compared with the kept ones
_layouts: OrderedDict[tuple[bytes, str, int], Projection] = OrderedDict()
_lock = threading.Lock()
# A vector that was not in the sample is placed at the median of this many neighbors.
_NEIGHBORS = 5


@dataclass(frozen=True)
class Projection:
    """Points on a plane, and how they were computed.

    Attributes
    ----------
    points : numpy.ndarray
        float64, shape (n, 2), centered on 0; one point per vector, in the same order.
    method : {"tsne", "pca", "umap"}
        What was used.
    note : str
        One line for the reader of a plot: the method, and what it means for the picture.
    """

    points: Points
    method: str
    note: str


@takes_options()
def project(
    matrix: Any, method: str = "auto", random_state: int = 0, *, on_progress: OnProgress = no_progress
) -> Projection:
    """Lay vectors out on a plane so that similar vectors are close to each other.

    Vectors are compared by angle (they are normalized first).

    Parameters
    ----------
    matrix : array_like
        Shape (n, d): one vector per row, without NaN. n may be 0.
    method : {"auto", "tsne", "pca", "umap"}, default "auto"
        ``"tsne"`` keeps neighbors together, and distances between clusters mean little; ``"pca"`` keeps the two
        directions of most variance, is fast, and blurs neighbors; ``"umap"`` is much like t-SNE, is faster on many
        rows, and needs the package ``umap-learn``. ``"auto"`` is t-SNE for up to 5,000 vectors; beyond, t-SNE of a
        random sample of 5,000, and every other vector is placed at the median of its 5 nearest neighbors in the sample,
        by all dimensions. The note says which. Fewer than five distinct vectors are always laid out by PCA.
    random_state : int, default 0
        The same value and vectors give the same points. The last few layouts are kept, so that the same call again
        (by a map or a plot of the same vectors) computes nothing.
    on_progress : callable, optional
        Called with a text about the progress.

    Returns
    -------
    Projection
        Points of shape (n, 2), the method used and a line about it.

    Raises
    ------
    ValueError
        The matrix is not two-dimensional or holds NaN or infinity, or the method is unknown.
    SetupError
        UMAP is asked for and not installed.
    """
    if method not in ("auto", "tsne", "pca", "umap"):
        raise ValueError(f"method must be 'auto', 'tsne', 'pca' or 'umap', not {method!r}")
    rows = checked(matrix)
    key = _key(rows, method, random_state)
    with _lock:
        laid = _layouts.get(key) if key else None
    if laid is None:
        laid = _project(rows, method, random_state, on_progress)
        with _lock:
            if key:
                _layouts[key] = laid
            while len(_layouts) > _KEPT:
                _layouts.popitem(last=False)
    return replace(laid, points=laid.points.copy())


def _key(rows: Vectors, method: str, random_state: int) -> tuple[bytes, str, int] | None:
    """Return the key of a layout; None for a matrix that is too large to compare."""
    if len(rows) * rows.shape[1] * 4 > _LARGEST:
        return None
    state = hashlib.blake2b(repr(rows.shape).encode(), digest_size=16)
    for part in blocks(len(rows)):
        state.update(np.ascontiguousarray(rows[part], dtype=np.float32).tobytes())
    return state.digest(), method, random_state


def _project(rows: Vectors, method: str, random_state: int, on_progress: OnProgress) -> Projection:
    count = len(rows)
    chosen = sample(count, TSNE_ROWS, random_state)
    different = count_distinct(unit_rows(rows, chosen))
    if different < 2:
        what = "no vectors" if not count else "one vector" if count == 1 else f"{count:,} vectors, all the same"
        return Projection(np.zeros((count, 2)), "pca", what)
    if method == "pca" or different < 5:
        on_progress(f"PCA of {count:,} vectors")
        points, explained = _pca(rows, random_state)
        return Projection(points, "pca", f"PCA of {count:,} vectors, {explained:.0%} of their variance")
    if method == "umap":
        on_progress(f"UMAP of {count:,} vectors")
        return Projection(_umap(rows, random_state), "umap", f"UMAP of {count:,} vectors")
    if method == "tsne" or count <= TSNE_ROWS:
        on_progress(f"t-SNE of {count:,} vectors")
        return Projection(_tsne(rows, random_state), "tsne", f"t-SNE of {count:,} vectors")
    on_progress(f"t-SNE of a sample of {len(chosen):,} of {count:,} vectors")
    some = unit_rows(rows, chosen)
    points = _place_others(rows, some, chosen, _tsne(some, random_state), on_progress)
    others = count - len(chosen)
    note = f"t-SNE of a sample of {len(chosen):,}; the other {others:,} are placed at their nearest neighbors in it"
    return Projection(points, "tsne", note)


def _place_others(rows: Vectors, some: Matrix, chosen: Numbers, points: Points, on_progress: OnProgress) -> Points:
    """Return points of all rows, given those of a sample."""
    placed = np.empty((len(rows), 2))
    for part in blocks(len(rows), 16_384):
        on_progress(f"placing the others by their neighbors, {part.start:,} of {len(rows):,}")
        _, near = search(some, np.asarray(rows[part], dtype=np.float32), _NEIGHBORS)
        # The median: a mean of neighbors in two clusters would be in the empty space between them.
        placed[part] = np.median(points[near], axis=1)
    placed[chosen] = points
    return placed


def _pca(rows: Vectors, random_state: int) -> tuple[Points, float]:
    """Return the first two coordinates, and the part of the variance they explain."""
    coordinates = principal_components(rows, 2, random_state)
    first, second = np.zeros(rows.shape[1]), np.zeros(rows.shape[1])
    for part in blocks(len(rows)):
        block = unit_rows(rows, part).astype(np.float64)
        first += block.sum(axis=0)
        second += (block**2).sum(axis=0)
    variance = float((second / len(rows) - (first / len(rows)) ** 2).sum())
    return coordinates, min(1.0, float(coordinates.var(axis=0).sum()) / variance)


def _tsne(rows: Vectors, random_state: int) -> Points:
    """Run t-SNE from a PCA start, with a perplexity that fits a small frame."""
    from sklearn.manifold import TSNE

    perplexity = min(30.0, max(1.5, (len(rows) - 1) / 3))
    close = principal_components(rows, min(_COMPONENTS, max(2, rows.shape[1])), random_state)
    start = (close[:, :2] / close[:, 0].std() * 1e-4).astype(np.float32)
    method = "barnes_hut" if len(rows) > 100 else "exact"
    # A coarser tree takes a third off the time; of the ten nearest on the map of 1,000 docstrings 46.5% are of the same
    # package with it, and 47.0% without (mean of three runs that differ by 1% themselves).
    angle = 0.7 if len(rows) > 1_000 else 0.5
    model = TSNE(init=start, perplexity=perplexity, method=method, angle=angle, random_state=random_state)
    # One thread: several spin for each other on a machine that others use as well (1,980 rows took 40 s there, one
    # thread 7), and sum in another order.
    with limit_threads(1):
        return _centered(model.fit_transform(close))


def _umap(rows: Vectors, random_state: int) -> Points:
    """Run UMAP on the principal components, with one thread, as a fixed random state requires."""
    try:
        from umap import UMAP
    except ImportError as error:
        raise SetupError("method='umap' needs the package umap-learn: pip install umap-learn") from error
    close = principal_components(rows, min(_COMPONENTS, max(2, rows.shape[1])), random_state)
    neighbors = min(15, len(rows) - 1)
    return _centered(UMAP(n_neighbors=neighbors, random_state=random_state, n_jobs=1).fit_transform(close))


def _centered(points: Any) -> Points:
    made = np.asarray(points, dtype=np.float64)
    return np.asarray(made - made.mean(axis=0))
