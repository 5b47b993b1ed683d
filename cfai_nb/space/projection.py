"""Many dimensions on a flat page: `project`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .threads import limited
from .vectors import Matrix, checked, directions, distinct, leading

# Up to here t-SNE answers within a cup of coffee; its time grows a little faster than the rows do.
TSNE_ROWS = 5_000
# t-SNE measures distances in the leading directions only: the same neighbours, a fraction of the time.
_LEADING = 50


@dataclass(frozen=True)
class Projection:
    """Points on the plane, and how they came there.

    Attributes
    ----------
    points : numpy.ndarray
        float64, shape (n, 2), centred on 0; one point a vector, in the same order.
    method : {"tsne", "pca"}
        What was used.
    note : str
        One line for the reader of a plot: the method, and what it means for the picture.
    """

    points: npt.NDArray[np.float64]
    method: str
    note: str


def project(matrix: npt.ArrayLike, method: str = "auto", seed: int = 0) -> Projection:
    """Lay vectors out on a plane so that what is alike lies close.

    Vectors are compared by angle (their length is set to one first).

    Parameters
    ----------
    matrix : array_like
        Shape (n, d): one vector a row, without NaN. n may be 0.
    method : {"auto", "tsne", "pca"}, default "auto"
        ``"tsne"`` keeps neighbours together, and distances between groups mean little; ``"pca"`` keeps the two
        directions of most variance, is quick, and blurs neighbours. ``"auto"`` is t-SNE for up to 5,000 vectors
        and PCA beyond; the result says which. Fewer than five different vectors are always laid out by PCA.
    seed : int, default 0
        The same seed and vectors give the same points.

    Returns
    -------
    Projection
        Points of shape (n, 2), the method used and a line about it.

    Raises
    ------
    ValueError
        If the matrix is not two-dimensional or holds NaN or infinity, or the method is unknown.
    """
    if method not in ("auto", "tsne", "pca"):
        raise ValueError(f"method must be 'auto', 'tsne' or 'pca', not {method!r}")
    rows = directions(checked(matrix))
    count, different = len(rows), distinct(rows)
    if different < 2:
        what = "no vectors" if not count else "one vector" if count == 1 else f"{count:,} vectors, all the same"
        return Projection(np.zeros((count, 2)), "pca", what)
    if method == "pca" or different < 5 or (method == "auto" and count > TSNE_ROWS):
        points, share = _pca(rows, seed)
        beyond = f"; t-SNE is for up to {TSNE_ROWS:,}" if method == "auto" and count > TSNE_ROWS else ""
        return Projection(points, "pca", f"PCA of {count:,} vectors, {share:.0%} of their variance{beyond}")
    return Projection(_tsne(rows, seed), "tsne", f"t-SNE of {count:,} vectors")


def _pca(rows: Matrix, seed: int) -> tuple[npt.NDArray[np.float64], float]:
    """Two leading coordinates, and the share of the variance they keep."""
    coordinates = leading(rows, 2, seed)
    variance = float(rows.var(axis=0, dtype=np.float64).sum())
    return coordinates, min(1.0, float(coordinates.var(axis=0).sum()) / variance)


def _tsne(rows: Matrix, seed: int) -> npt.NDArray[np.float64]:
    """t-SNE from a PCA start, with the perplexity a small frame can bear."""
    from sklearn.manifold import TSNE

    perplexity = min(30.0, max(1.5, (len(rows) - 1) / 3))
    close = leading(rows, min(_LEADING, max(2, rows.shape[1])), seed)
    start = close[:, :2] / close[:, 0].std() * 1e-4
    method = "barnes_hut" if len(rows) > 100 else "exact"
    model = TSNE(init=start.astype(np.float32), perplexity=perplexity, method=method, random_state=seed)
    with limited(1 if len(rows) <= 1_000 else None):  # threads pay from there on only
        points = np.asarray(model.fit_transform(close), dtype=np.float64)
    centred: npt.NDArray[np.float64] = points - points.mean(axis=0)
    return centred
