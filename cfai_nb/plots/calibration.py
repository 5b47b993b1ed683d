"""How well a confidence fits what came true, as numbers: bins, ECE and Brier score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BINS = 10
_Z = 1.96  # 95 %

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """Confidence against outcome.

    Attributes
    ----------
    mean, share, low, high : numpy.ndarray
        For each bin with rows: mean confidence, share that came true, and its 95 % interval (Wilson 1927).
    count : numpy.ndarray
        Rows of each of these bins.
    ece : float
        Expected calibration error: the mean distance of share and confidence over ten bins of equal width, weighted
        by their rows (Naeini et al. 2015). 0 is best.
    brier : float
        Mean squared distance of confidence and outcome (Brier 1950). 0 is best, 0.25 is a coin's.
    """

    mean: Numbers
    share: Numbers
    low: Numbers
    high: Numbers
    count: npt.NDArray[np.int64]
    ece: float
    brier: float


def calibrate(confidence: Numbers, true: npt.NDArray[np.bool_]) -> Calibration:
    """Compare confidences (between 0 and 1, without NaN, at least one) with what came true."""
    which = np.minimum((confidence * BINS).astype(int), BINS - 1)
    count = np.bincount(which, minlength=BINS)
    some = count > 0
    mean = np.bincount(which, confidence, BINS)[some] / count[some]
    share = np.bincount(which, true.astype(float), BINS)[some] / count[some]
    low, high = wilson(share, count[some])
    return Calibration(
        mean, share, low, high, count[some],
        ece=float(np.average(np.abs(share - mean), weights=count[some])),
        brier=float(np.mean((confidence - true) ** 2)),
    )  # fmt: skip


def wilson(share: Numbers, count: npt.NDArray[np.int64]) -> tuple[Numbers, Numbers]:
    """Return the 95 % interval of shares of so many rows (Wilson 1927), which holds for few rows too."""
    spread = _Z**2 / np.asarray(count)
    middle = (share + spread / 2) / (1 + spread)
    half = np.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return np.maximum(middle - half, 0), np.minimum(middle + half, 1)
