"""Many dimensions on a flat page: `project`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import SetupError, takes_options
from .matrix import Matrix, Vectors, blocks, checked, distinct, leading, sample, units
from .neighbours import Tell, search, silent
from .threads import limited

# Up to here t-SNE answers within a cup of coffee; its time grows a little faster than the rows do.
TSNE_ROWS = 5_000
# t-SNE measures distances in the leading directions only: the same neighbours, a fraction of the time.
_LEADING = 50
# The middle of so many neighbours on the map is where a vector is laid that was not in the sample.
_NEIGHBOURS = 5


@dataclass(frozen=True)
class Projection:
    """Points on the plane, and how they came there.

    Attributes
    ----------
    points : numpy.ndarray
        float64, shape (n, 2), centred on 0; one point a vector, in the same order.
    method : {"tsne", "pca", "umap"}
        What was used.
    note : str
        One line for the reader of a plot: the method, and what it means for the picture.
    """

    points: npt.NDArray[np.float64]
    method: str
    note: str


@takes_options()
def project(matrix: Any, method: str = "auto", seed: int = 0, *, tell: Tell = silent) -> Projection:
    """Lay vectors out on a plane so that what is alike lies close.

    Vectors are compared by angle (their length is set to one first).

    Parameters
    ----------
    matrix : array_like
        Shape (n, d): one vector a row, without NaN. n may be 0.
    method : {"auto", "tsne", "pca", "umap"}, default "auto"
        ``"tsne"`` keeps neighbours together, and distances between groups mean little; ``"pca"`` keeps the two
        directions of most variance, is quick, and blurs neighbours; ``"umap"`` is much like t-SNE and quicker on many
        rows, and needs the package ``umap-learn``. ``"auto"`` is t-SNE for up to 5,000 vectors; beyond, t-SNE of a
        random sample of 5,000, and every other vector is laid in the middle of its 5 nearest of the sample, by all
        dimensions. The note says which. Fewer than five different vectors are always laid out by PCA.
    seed : int, default 0
        The same seed and vectors give the same points.
    tell : callable, optional
        Called with a text that says what is being done.

    Returns
    -------
    Projection
        Points of shape (n, 2), the method used and a line about it.

    Raises
    ------
    ValueError
        If the matrix is not two-dimensional or holds NaN or infinity, or the method is unknown.
    SetupError
        If UMAP is asked for and not installed.
    """
    if method not in ("auto", "tsne", "pca", "umap"):
        raise ValueError(f"method must be 'auto', 'tsne', 'pca' or 'umap', not {method!r}")
    rows = checked(matrix)
    count = len(rows)
    chosen = sample(count, TSNE_ROWS, seed)
    different = distinct(units(rows, chosen))
    if different < 2:
        what = "no vectors" if not count else "one vector" if count == 1 else f"{count:,} vectors, all the same"
        return Projection(np.zeros((count, 2)), "pca", what)
    if method == "pca" or different < 5:
        tell(f"PCA of {count:,} vectors")
        points, share = _pca(rows, seed)
        return Projection(points, "pca", f"PCA of {count:,} vectors, {share:.0%} of their variance")
    if method == "umap":
        tell(f"UMAP of {count:,} vectors")
        return Projection(_umap(rows, seed), "umap", f"UMAP of {count:,} vectors")
    if method == "tsne" or count <= TSNE_ROWS:
        tell(f"t-SNE of {count:,} vectors")
        return Projection(_tsne(rows, seed), "tsne", f"t-SNE of {count:,} vectors")
    tell(f"t-SNE of a sample of {len(chosen):,} of {count:,} vectors")
    some = units(rows, chosen)
    points = _placed(rows, some, chosen, _tsne(some, seed), tell)
    note = f"t-SNE of a sample of {len(chosen):,}; the other {count - len(chosen):,} lie amid their nearest of these"
    return Projection(points, "tsne", note)


def _placed(
    rows: Vectors, some: Matrix, chosen: npt.NDArray[np.int64], points: npt.NDArray[np.float64], tell: Tell
) -> npt.NDArray[np.float64]:
    """Points of all rows, given those of a few."""
    placed = np.empty((len(rows), 2))
    for part in blocks(len(rows), 16_384):
        tell(f"placing the others by their neighbours, {part.start:,} of {len(rows):,}")
        _, near = search(some, np.asarray(rows[part], dtype=np.float32), _NEIGHBOURS)
        # The median: a mean of neighbours in two groups would lie in the empty land between them.
        placed[part] = np.median(points[near], axis=1)
    placed[chosen] = points
    return placed


def _pca(rows: Vectors, seed: int) -> tuple[npt.NDArray[np.float64], float]:
    """Two leading coordinates, and the share of the variance they keep."""
    coordinates = leading(rows, 2, seed)
    first, second = np.zeros(rows.shape[1]), np.zeros(rows.shape[1])
    for part in blocks(len(rows)):
        block = units(rows, part).astype(np.float64)
        first += block.sum(axis=0)
        second += (block**2).sum(axis=0)
    variance = float((second / len(rows) - (first / len(rows)) ** 2).sum())
    return coordinates, min(1.0, float(coordinates.var(axis=0).sum()) / variance)


def _tsne(rows: Vectors, seed: int) -> npt.NDArray[np.float64]:
    """t-SNE from a PCA start, with the perplexity a small frame can bear."""
    from sklearn.manifold import TSNE

    perplexity = min(30.0, max(1.5, (len(rows) - 1) / 3))
    close = leading(rows, min(_LEADING, max(2, rows.shape[1])), seed)
    start = close[:, :2] / close[:, 0].std() * 1e-4
    method = "barnes_hut" if len(rows) > 100 else "exact"
    # A coarser tree takes a third off the time; of the ten nearest on the map of 1,000 docstrings 46.5% are of the same
    # package with it, and 47.0% without (mean of three runs that differ by 1% themselves).
    angle = 0.7 if len(rows) > 1_000 else 0.5
    model = TSNE(init=start.astype(np.float32), perplexity=perplexity, method=method, angle=angle, random_state=seed)
    with limited(1 if len(rows) <= 1_000 else None):  # threads pay from there on only
        points = np.asarray(model.fit_transform(close), dtype=np.float64)
    centred: npt.NDArray[np.float64] = points - points.mean(axis=0)
    return centred


def _umap(rows: Vectors, seed: int) -> npt.NDArray[np.float64]:
    """UMAP in the leading directions, single-threaded as a fixed seed demands."""
    try:
        from umap import UMAP
    except ImportError as error:
        raise SetupError("method='umap' needs the package umap-learn: pip install umap-learn") from error
    close = leading(rows, min(_LEADING, max(2, rows.shape[1])), seed)
    neighbours = min(15, len(rows) - 1)
    points = np.asarray(UMAP(n_neighbors=neighbours, random_state=seed, n_jobs=1).fit_transform(close), dtype=float)
    centred: npt.NDArray[np.float64] = points - points.mean(axis=0)
    return centred
