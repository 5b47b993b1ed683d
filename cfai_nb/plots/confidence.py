"""`confidence` and `reliability`: how sure models were, and how often they were right. Results in, the axes out.

`confidence` is of one result: a histogram, or with a truth a reliability curve. `reliability` has a curve for each of
several results.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ..html.markup import counted, line
from ..quality import wilson
from ..quality.estimates import judge
from ..vectors.vector import stand_in_of
from .axes import BLUE, DASHED, GREY, Numbers, color_and_marker, new_axes, plot, read_labels, theme, tidy
from .text import empty, finish, legend_of

_BINS = 10


@plot
def confidence(
    frame_or_series: pd.DataFrame | pd.Series[Any], truth: Iterable[Any] | None = None, *,
    question: str | None = None, ax: Axes | None = None, title: str | None = None, mark: str | None = None,
) -> Axes:  # fmt: skip
    """Draw how sure a model was; with the truth, how often that was right.

    Parameters
    ----------
    frame_or_series : DataFrame or Series
        What ``classify``, ``ask``, ``check`` or ``sentiment`` return with ``probabilities=True``: ``confidence`` and
        ``<name>__confidence`` are the probability of the answer given, ``p`` and ``<name>__p`` that of yes. Or a
        Series of numbers between 0 and 1. Rows without a number are left out and counted under the title.
    truth : iterable, optional
        One value a row. For a frame the right answers, which are compared with its answers (for a yes or no: True or
        False); for a Series whether the answer was right. The plot is then a reliability curve: on the diagonal, 80 %
        of the answers given with 80 % probability are right. Whiskers are 95 % intervals; ECE (ten bins of equal
        width) and Brier score stand below the title.
    question : str, optional
        Which answer, where the frame holds several.
    ax, title, mark : see ``help(cf.plots)``

    Raises
    ------
    ValueError
        There is no confidence, or there are several and no `question`; numbers are outside of 0 to 1; there are not
        as many truths as rows; or answers cannot be right or wrong (a scale).

    Examples
    --------
    >>> guess = df.cfai.classify("text", topics, probabilities=True)
    >>> cf.plots.confidence(guess, truth=df["topic"])
    """
    found, numbers, right = read_confidence(frame_or_series, truth, question)
    known = np.isfinite(numbers)
    notes = [f"{(~known).sum():,} without a number left out"] if not known.all() else []
    kept = known if right is None else known & right.notna().to_numpy()
    if right is not None and (unknown := int((known & ~kept).sum())):
        notes.append(f"{unknown:,} without truth left out")
    ax = new_axes(6, 4) if ax is None else ax
    if not kept.any():
        why = "no rows to show" if not len(kept) else f"no row has a {'truth' if known.any() else 'confidence'}"
        return empty(ax, title, why)
    if right is None:
        _histogram(ax, numbers[kept], found)
        notes.insert(0, f"{kept.sum():,} rows, half of them above {np.median(numbers[kept]):.2f}")
    else:
        scores = calibrate(numbers[kept], right[kept].astype(bool).to_numpy())
        _reliability(ax, scores, found)
        notes.insert(0, f"ECE {scores.ece:.3f} · Brier {scores.brier:.3f} · {counted(int(kept.sum()))}")
    ax.set_xlim(0, 1)
    usual = f"{'Reliability' if right is not None else 'Confidence'} of {found.name}"
    return finish(ax, usual, title, notes, mark, stand_in_of(frame_or_series))


@plot
def reliability(
    results: pd.DataFrame | pd.Series[Any] | Mapping[str, pd.DataFrame | pd.Series[Any]],
    truth: Iterable[Any],
    *,
    question: str | None = None,
    ax: Axes | None = None,
    title: str | None = None,
    mark: str | None = None,
) -> Axes:
    """Draw how often models were right where they were this sure, one curve for each.

    On the diagonal, 80 % of the answers given with 80 % probability are right; below it a model is surer than it should
    be.  Whiskers are 95 % intervals (Wilson); the legend has each model's expected calibration error and Brier score.

    Parameters
    ----------
    results : DataFrame or Series, or dict of name to one of them
        As `confidence` takes them: what a verb returned with ``probabilities=True``, one for each model.
    truth : iterable
        One value a row: the right answers, for a yes or no True or False.
    question : str, optional
        Which answer, where the frames hold several.
    ax, title, mark : see ``help(cf.plots)``

    Raises
    ------
    ValueError
        As `confidence`; or there is nothing to draw.

    Examples
    --------
    >>> guess = df.cfai.classify("text", topics, probabilities=True)
    >>> cf.plots.reliability(guess, df["topic"])
    """
    several: Mapping[str, Any] = results if isinstance(results, Mapping) else {"": results}
    if not several:
        raise ValueError("results: give what a verb returned with probabilities=True, or a dict of several.")
    found: list[tuple[str, Answer, Any]] = []
    for name, given in several.items():
        answer, p, right = read_confidence(given, truth, question)
        assert right is not None
        known = np.isfinite(p) & right.notna().to_numpy()
        if known.any():
            found.append((name or answer.name, answer, calibrate(p[known], right[known].astype(bool).to_numpy())))
    ax = new_axes(6, 4.4) if ax is None else ax
    if not found:
        return empty(ax, title, "no row has a confidence and a truth")
    _diagonal(ax, found[0][1])
    curves, texts = [], []
    for at, (name, _, scores) in enumerate(found):
        color, marker = color_and_marker(at)
        curves.append(_curve(ax, scores, color=color, marker=marker))
        rows = counted(int(scores.count.sum()))
        texts.append(f"{line(name, 60)}: ECE {scores.ece:.3f}, Brier {scores.brier:.3f}, {rows}")
    ax.set_xlim(0, 1)
    legend_of(ax, curves, texts, 120, loc="lower right", fontsize=8, frameon=False)
    return finish(ax, "Reliability", title, (), mark, stand_in_of(*several.values()))


@dataclass(frozen=True)
class Answer:
    """One answer of a frame: its name, its probabilities, the answers themselves, and whether it is a yes or no."""

    name: str
    p: pd.Series[Any]
    answers: pd.Series[Any] | None
    binary: bool

    @property
    def meaning(self) -> str:
        """What the probabilities are; those of a plain Series are whatever its owner calls confidence."""
        if self.binary:
            return "probability of yes"
        return "confidence" if self.answers is None else "probability of the answer given"


def read_confidence(
    given: pd.DataFrame | pd.Series[Any], truth: Iterable[Any] | None, question: str | None
) -> tuple[Answer, Numbers, pd.Series[Any] | None]:
    """Return an answer, how sure the model was of it row by row (NaN: unknown), and whether it was right."""
    found = find_answer(given, question)
    p = pd.to_numeric(pd.Series(found.p), errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    if len(odd := p[(p < 0) | (p > 1)]):
        raise ValueError(f"{found.name}: a confidence is between 0 and 1, and one here is {odd[0]:.3g}")
    return found, p, None if truth is None else is_right(found, read_labels(truth, given, len(p)))


def find_answer(given: pd.DataFrame | pd.Series[Any], question: str | None) -> Answer:
    if isinstance(given, pd.Series):
        return Answer(str(given.name or "confidence"), given, None, False)
    columns = list(given.columns)
    known: dict[str, tuple[str, Any]] = {}  # name of the answer: its column of probabilities, its own column
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
            "the frame has no column of confidence: call the verb again with probabilities=True, which sends no new "
            "requests"
        )
    if question is None and len(known) > 1:
        raise ValueError(f"several answers have a confidence: choose one with question={next(iter(known))!r} or "
                         f"another of {', '.join(known)}")  # fmt: skip
    name = question if question is not None else next(iter(known))
    column, answer = known[name]
    return Answer(name, given[column], given[answer], column == "p" or column.endswith("__p"))


def is_right(found: Answer, truth: pd.Series[Any]) -> pd.Series[Any]:
    """Return row by row whether the answer came true; missing where the truth is unknown."""
    if found.binary or found.answers is None:
        odd = [value for value in truth.dropna().unique() if value not in (True, False)]
        if odd:
            what = "the answer is yes" if found.binary else "the answer was right"
            raise ValueError(f"truth of {found.name} must be True or False (whether {what}), not {odd[0]!r:.40}")
        return truth.astype("boolean")
    answers = found.answers
    if pd.api.types.is_float_dtype(answers.dtype):
        raise ValueError(f"{found.name} is a place on a scale, which is not simply right or wrong: call "
                         "confidence(frame['confidence'], truth=was_right)")  # fmt: skip
    right, judged = judge(answers, truth)
    return pd.Series(right, dtype="boolean").mask(~judged)


def _histogram(ax: Axes, numbers: Numbers, found: Answer) -> None:
    tidy(ax, "y", x=found.meaning, y="rows")
    ax.hist(numbers, bins=2 * _BINS, range=(0, 1), color=BLUE, edgecolor=theme(ax).background, linewidth=0.8)
    ax.axvline(float(np.median(numbers)), color=theme(ax).ink, linewidth=1, linestyle=DASHED)
    ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))


def _reliability(ax: Axes, scores: Calibration, found: Answer) -> None:
    _diagonal(ax, found)
    heights = 0.22 * scores.count / scores.count.max()
    ax.bar(scores.mean, heights, width=0.03, color=GREY, alpha=0.5, zorder=1)
    for x, height, count in zip(scores.mean, heights, scores.count, strict=True):
        ax.annotate(f"{count:,}", (x, height), (0, 2), textcoords="offset points", ha="center", color=theme(ax).faint,
                    fontsize=7)  # fmt: skip
    _curve(ax, scores, color=BLUE, marker="o")


def _diagonal(ax: Axes, found: Answer) -> None:
    """Draw where a model is as often right as it is sure, and say what the axes are."""
    tidy(ax, "y", x=found.meaning, y="the answer was yes" if found.binary else "the answer was right")
    ax.plot([0, 1], [0, 1], color=theme(ax).faint, linewidth=1, linestyle=DASHED, zorder=2)
    ax.set_ylim(0, 1)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PercentFormatter(1))


def _curve(ax: Axes, scores: Calibration, **look: Any) -> ErrorbarContainer:
    """Draw how often a model was right, bin by bin, with 95 % intervals."""
    whiskers = np.maximum([scores.share - scores.low, scores.high - scores.share], 0)
    return ax.errorbar(scores.mean, scores.share, yerr=whiskers, markersize=6, linewidth=1.6, elinewidth=1, capsize=2,
                       zorder=3, clip_on=False, **look)  # fmt: skip


@dataclass(frozen=True)
class Calibration:
    """Confidence compared with outcomes, for each bin with rows."""

    mean: Numbers  #: mean confidence
    share: Numbers  #: share that came true
    low: Numbers  #: ends of its 95 % interval (Wilson 1927)
    high: Numbers
    count: npt.NDArray[np.int64]  #: rows
    #: Expected calibration error: the mean distance of share and confidence over ten bins of equal width, weighted by
    #: their rows (Naeini et al. 2015). 0 is best.
    ece: float
    #: Mean squared distance of confidence and outcome (Brier 1950). 0 is best; always saying 0.5 scores 0.25.
    brier: float


def calibrate(confidence: Numbers, true: npt.NDArray[np.bool_]) -> Calibration:
    """Compare confidences (between 0 and 1, without NaN, at least one) with what came true."""
    which = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    count = np.bincount(which, minlength=_BINS)
    some = count > 0
    mean = np.bincount(which, confidence, _BINS)[some] / count[some]
    share = np.bincount(which, true.astype(float), _BINS)[some] / count[some]
    low, high = wilson(share, count[some])
    return Calibration(
        mean, share, low, high, count[some],
        ece=float(np.average(np.abs(share - mean), weights=count[some])),
        brier=float(np.mean((confidence - true) ** 2)),
    )  # fmt: skip
