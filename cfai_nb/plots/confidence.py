"""How sure a model was, and whether it was right to be: `confidence`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ..markup import counted
from ..vectors.vector import is_emulated
from .axes import new_axes, plain, plot, settle
from .calibration import BINS, Calibration, calibrate
from .looks import EXACT
from .palette import FAINT, GREY, INK
from .rows import labels as read_labels
from .text import blank, heading, marked

_GIVEN = "probability of the answer given"


@plot
def confidence(
    frame_or_series: pd.DataFrame | pd.Series[Any],
    truth: Iterable[Any] | None = None,
    *,
    question: str | None = None,
    ax: Axes | None = None,
    title: str | None = None,
    mark: str | None = None,
) -> Axes:
    """Draw how sure a model was; with the truth, how often that was right.

    Parameters
    ----------
    frame_or_series : DataFrame or Series
        What ``classify``, ``ask``, ``check`` or ``sentiment`` return with ``probabilities=True``: ``confidence`` and
        ``<name>__confidence`` are the probability of the answer given, ``p`` and ``<name>__p`` that of yes. Or a
        Series of numbers between 0 and 1. Rows without a number are left out and counted under the title.
    truth : iterable, optional
        One a row: the right answers, which are compared with those of the frame (for a yes or no: whether it is so);
        for a Series whether the answer was right. The plot is then a reliability curve: on the diagonal, of the
        answers given with 80 % probability 80 % are right. Whiskers are 95 % intervals; ECE (ten bins of equal width)
        and Brier score stand below the title.
    question : str, optional
        Which answer, where the frame holds several.
    ax, title, mark : see ``help(cf.plots)``

    Raises
    ------
    ValueError
        There is no confidence, or there are several and no `question`; numbers lie outside of 0 to 1; there are not
        as many truths as rows; or answers have no right or wrong (a scale).
    """
    shown = _found(frame_or_series, question)
    numbers = pd.to_numeric(pd.Series(shown.p), errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    there = np.isfinite(numbers)
    if ((numbers[there] < 0) | (numbers[there] > 1)).any():
        raise ValueError(f"{shown.name}: a confidence lies between 0 and 1, this reaches {np.nanmax(numbers):.3g}")
    right = None if truth is None else _right(shown, read_labels(truth, frame_or_series, len(numbers)))
    notes = [f"{(~there).sum():,} without a number left out"] if not there.all() else []
    if right is not None and (unknown := int((there & right.isna().to_numpy()).sum())):
        notes.append(f"{unknown:,} without truth left out")
    kept = there if right is None else there & right.notna().to_numpy()
    ax = new_axes(6, 4) if ax is None else ax
    if not kept.any():
        return blank(ax, title, _nothing(len(numbers), bool(there.any())))
    if right is None:
        _histogram(ax, numbers[kept], shown)
        notes.insert(0, f"{kept.sum():,} rows, half of them above {np.median(numbers[kept]):.2f}")
    else:
        found = calibrate(numbers[kept], right[kept].astype(bool).to_numpy())
        _reliability(ax, found, shown)
        notes.insert(0, f"ECE {found.ece:.3f} · Brier {found.brier:.3f} · {counted(int(kept.sum()))}")
    settle(ax)
    usual = f"{'Reliability' if right is not None else 'Confidence'} of {shown.name}"
    heading(ax, usual if title is None else title, " · ".join(notes), marked(mark, is_emulated(frame_or_series)))
    return ax


@dataclass(frozen=True)
class _Shown:
    """One answer of a frame: its name, its numbers, the answers themselves, and whether it is a yes or no."""

    name: str
    p: pd.Series[Any]
    answers: pd.Series[Any] | None
    binary: bool


def _found(given: pd.DataFrame | pd.Series[Any], question: str | None) -> _Shown:
    if isinstance(given, pd.Series):
        return _Shown(str(given.name or "confidence"), given, None, False)
    columns = list(given.columns)
    known: dict[str, tuple[str, Any]] = {}  # name of the answer: its column of numbers
    for at, column in enumerate(columns):
        if column in ("confidence", "p") and at:
            known.setdefault(str(columns[at - 1]), (str(column), columns[at - 1]))
        for suffix in ("__confidence", "__p"):
            base = str(column).removesuffix(suffix)
            if base != column and base in columns:
                known[base] = (str(column), base)
    if question is not None and question not in known:
        raise ValueError(f"there is no confidence of {question!r}; there is one of: {', '.join(known) or 'nothing'}")
    if not known:
        raise ValueError(
            "the frame holds no confidence: call the verb again with probabilities=True, which sends nothing new"
        )
    if question is None and len(known) > 1:
        raise ValueError(f"several answers have a confidence: choose one with question={next(iter(known))!r} or "
                         f"another of {', '.join(known)}")  # fmt: skip
    name = question if question is not None else next(iter(known))
    column, answer = known[name]
    return _Shown(name, given[column], given[answer], column == "p" or column.endswith("__p"))


def _right(shown: _Shown, truth: pd.Series[Any]) -> pd.Series[Any]:
    """Whether it came true, row by row; missing where nobody knows."""
    if shown.binary or shown.answers is None:
        odd = [value for value in truth.dropna().unique() if value not in (True, False)]
        if odd:
            what = "whether it is so" if shown.binary else "whether the answer was right"
            raise ValueError(f"truth of {shown.name} says {what}: True or False, not {odd[0]!r:.40}")
        return truth.astype("boolean")
    answers = shown.answers.reset_index(drop=True)
    if pd.api.types.is_float_dtype(answers.dtype):
        raise ValueError(f"{shown.name} is a place on a scale, which is not simply right or wrong: give "
                         "confidence(frame['confidence'], truth=was_right)")  # fmt: skip
    same = answers.astype(object) == truth.astype(object)
    return same.astype("boolean").mask(truth.isna() | answers.isna())


def _nothing(count: int, known: bool) -> str:
    if not count:
        return "no rows to show"
    return "no row has a truth" if known else "no row has a confidence"


def _words(shown: _Shown) -> str:
    """What the numbers are; those of a Series are as sure as its owner says."""
    return "probability of yes" if shown.binary else "confidence" if shown.answers is None else _GIVEN


def _axis(ax: Axes, words: str) -> None:
    ax.set_xlim(0, 1)
    ax.set_xlabel(words, color=FAINT, fontsize=9)


def _histogram(ax: Axes, numbers: Any, shown: _Shown) -> None:
    plain(ax, "y")
    ax.hist(numbers, bins=2 * BINS, range=(0, 1), color=EXACT, edgecolor="white", linewidth=0.8)
    ax.axvline(float(np.median(numbers)), color=INK, linewidth=1, linestyle=(0, (4, 3)))
    ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.set_ylabel("rows", color=FAINT, fontsize=9)
    _axis(ax, _words(shown))


def _reliability(ax: Axes, found: Calibration, shown: _Shown) -> None:
    plain(ax, "y")
    heights = 0.22 * found.count / found.count.max()
    ax.bar(found.mean, heights, width=0.03, color=GREY, alpha=0.5, zorder=1)
    for x, height, count in zip(found.mean, heights, found.count, strict=True):
        ax.annotate(f"{count:,}", (x, height), (0, 2), textcoords="offset points", ha="center", color=FAINT, fontsize=7)
    ax.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=(0, (4, 3)), zorder=2)
    whiskers = np.maximum([found.share - found.low, found.high - found.share], 0)
    ax.errorbar(found.mean, found.share, yerr=whiskers, color=EXACT, marker="o", markersize=6, linewidth=1.6,
                elinewidth=1, capsize=2, zorder=3, clip_on=False)  # fmt: skip
    ax.set_ylim(0, 1)
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.set_ylabel("it was so" if shown.binary else "the answer was right", color=FAINT, fontsize=9)
    _axis(ax, _words(shown))
