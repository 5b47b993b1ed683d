"""`reliability`: how often models were right where they were this sure. Results and truths in, the axes out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from ..markup import counted
from ..vectors.vector import stand_in_of
from .axes import DASHED, color_and_marker, new_axes, plot, read_labels, theme, tidy
from .confidence import Answer, calibrate, find_answer, is_right
from .text import drawable, empty, finish


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
    """
    several: Mapping[str, Any] = results if isinstance(results, Mapping) else {"": results}
    if not several:
        raise ValueError("results: give what a verb returned with probabilities=True, or a dict of several.")
    found: list[tuple[str, Answer, Any]] = []
    for name, given in several.items():
        answer = find_answer(given, question)
        p = pd.to_numeric(pd.Series(answer.p), errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        right = is_right(answer, read_labels(truth, given, len(p)))
        known = np.isfinite(p) & right.notna().to_numpy()
        if ((p[known] < 0) | (p[known] > 1)).any():
            raise ValueError(f"{name or answer.name}: a confidence lies between 0 and 1")
        if known.any():
            found.append((name or answer.name, answer, calibrate(p[known], right[known].astype(bool).to_numpy())))
    ax = new_axes(6, 4.4) if ax is None else ax
    if not found:
        return empty(ax, title, "no row has a confidence and a truth")
    tidy(ax, "y", x=found[0][1].meaning, y="the answer was yes" if found[0][1].binary else "the answer was right")
    ax.plot([0, 1], [0, 1], color=theme(ax).faint, linewidth=1, linestyle=DASHED, zorder=2)
    for at, (name, _, scores) in enumerate(found):
        color, marker = color_and_marker(at)
        whiskers = np.maximum([scores.share - scores.low, scores.high - scores.share], 0)
        label = (
            f"{drawable(name)[0]}: ECE {scores.ece:.3f}, Brier {scores.brier:.3f}, {counted(int(scores.count.sum()))}"
        )
        ax.errorbar(scores.mean, scores.share, yerr=whiskers, color=color, marker=marker, markersize=6, linewidth=1.6,
                    elinewidth=1, capsize=2, zorder=3, clip_on=False, label=label)  # fmt: skip
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    legend = ax.legend(loc="lower right", fontsize=8, frameon=False, labelcolor=theme(ax).ink)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return finish(ax, "Reliability", title, (), mark, stand_in_of(*several.values()))
