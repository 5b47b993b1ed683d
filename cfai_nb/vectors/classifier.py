"""A classifier on vectors: logistic regression, fitted to the labels of some rows.

A cascade uses it as its cheapest model.  It takes any column of vectors; scikit-learn is imported when it runs.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Matrix64 = npt.NDArray[np.float64]
_FOLDS, _BLOCK = 5, 20_000


@dataclass(frozen=True)
class Classifier:
    """What was learned from the labels of some vectors."""

    labels: list[Any]  #: The L distinct labels.
    held_out: Matrix64  #: Shape (rows, L): probabilities of the rows it knows, each from a fit without that row.
    _learned: Callable[[Matrix64], Matrix64]

    def __call__(self, vectors: npt.NDArray[Any]) -> Matrix64:
        """Return the probabilities of some vectors, of which only the direction matters, shape (n, L)."""
        parts = [self._learned(_unit(vectors[begin : begin + _BLOCK])) for begin in range(0, len(vectors), _BLOCK)]
        return np.concatenate(parts) if parts else np.empty((0, len(self.labels)))


def fit(vectors: npt.NDArray[Any], labels: Sequence[Any]) -> Classifier:
    """Fit a classifier to vectors, of which only the direction matters, and the label of each."""
    names = sorted(set(labels), key=lambda label: (type(label).__name__, label))
    place = {name: at for at, name in enumerate(names)}
    codes = np.array([place[label] for label in labels], dtype=np.int64)
    known = _unit(vectors)
    return Classifier(names, _held_out(known, codes, len(names)), _learn(known, codes, len(names)))


def sure_from(sure: Matrix64, right: npt.NDArray[np.bool_], target: float) -> float:
    """Return the probability from which on held-out answers reach the target accuracy; above 1 if there is none."""
    order = np.argsort(-sure, kind="stable")
    good = np.flatnonzero(np.cumsum(right[order]) >= target * np.arange(1, len(order) + 1))
    return float(sure[order[good[-1]]]) if len(good) else 2.0


def _unit(matrix: npt.NDArray[Any]) -> Matrix64:
    made = np.asarray(matrix, dtype=np.float64)
    length = np.linalg.norm(made, axis=1, keepdims=True)
    unit: Matrix64 = np.divide(made, length, out=np.zeros_like(made), where=length > 0)
    return unit


def _held_out(known: Matrix64, codes: npt.NDArray[np.int64], count: int) -> Matrix64:
    fold = np.random.default_rng(0).permutation(len(codes)) % min(_FOLDS, max(len(codes), 1))
    found = np.zeros((len(codes), count))
    for each in range(_FOLDS):
        out = fold == each
        if out.any() and not out.all():
            found[out] = _learn(known[~out], codes[~out], count)(known[out])
    return found


def _learn(known: Matrix64, codes: npt.NDArray[np.int64], count: int) -> Any:
    """Return a function from vectors to the probabilities of all labels."""
    there = np.unique(codes)
    if len(there) < 2:  # one label: its probability by the rule of succession
        sure = (len(codes) + 1) / (len(codes) + 2)
        return lambda some: np.tile(np.where(np.isin(np.arange(count), there), sure, 0.0), (len(some), 1))
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=10.0, max_iter=500)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a fit that has not converged is used as it is
        model.fit(known, codes)

    def applied(some: Matrix64) -> Matrix64:
        p = np.zeros((len(some), count))
        p[:, model.classes_] = model.predict_proba(some)
        return p

    return applied
