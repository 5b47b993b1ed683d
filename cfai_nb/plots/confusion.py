"""`confusion`: which labels are mistaken for which. Answers and truths in, the axes out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from ..html.markup import counted
from ..quality import accuracy
from ..quality.estimates import canonical, judge
from ..vectors.vector import stand_in_of
from .axes import BLUE, label_order, new_axes, plot, read_labels, theme
from .text import empty, finish, name_ticks

_MOST, _NUMBERED = 60, 16  # labels that can be told apart, and up to which the cells hold counts and shares
_WIDTH = 18  # characters of a label
_NONE = "no answer"


@plot
def confusion(
    guess: pd.DataFrame | pd.Series[Any] | Iterable[Any],
    truth: Iterable[Any],
    *,
    ax: Axes | None = None,
    title: str | None = None,
    mark: str | None = None,
) -> Axes:
    """Draw which labels are mistaken for which: a row for each right answer, a column for each given.

    A cell holds the number of rows and their share among the rows with this right answer, which is also its color.
    Rows without a truth are left out and counted under the title, with the accuracy and its 95 % interval; rows without
    an answer have a column of their own, and are not part of the accuracy.

    Parameters
    ----------
    guess : Series, list, or DataFrame
        One answer a row; of a frame (such as ``classify`` returns with ``probabilities=True``) the first column.
    truth : iterable
        One right answer a row, missing where it is unknown.
    ax, title, mark : see ``help(cf.plots)``

    Raises
    ------
    ValueError
        There are not as many truths as rows, or more than 60 different labels.

    Notes
    -----
    ``ax.rows_of(truth, guess)`` of the axes returned gives the index labels of the rows in a cell (positions, where
    `guess` has no index): ``tickets.loc[ax.rows_of("billing", "bug")]``.  ``None`` means "no answer".

    Examples
    --------
    >>> cf.plots.confusion(df.cfai.classify("text", topics), df["topic"])
    """
    given = guess.iloc[:, 0] if isinstance(guess, pd.DataFrame) else guess
    answers: pd.Series[Any] = given if isinstance(given, pd.Series) else pd.Series(list(given), dtype=object)
    right = _spelled(read_labels(truth, answers, len(answers)), answers)
    known = right.notna().to_numpy()
    names = _names(answers, right[known])
    if len(names) > _MOST:
        raise ValueError(f"{len(names)} different labels: more than {_MOST} cannot be read; draw some of them.")
    table = _table(answers[known], right[known], names)
    few = len(names) <= _NUMBERED
    if ax is None:
        side = float(np.clip(0.62 * len(names), 2.6, 7.0))
        ax = new_axes(side + 3.2, side + 1.9)
    if not known.any():
        return empty(ax, title, "no row has a truth")
    _draw(ax, table, names, few)
    notes = [accuracy(answers[known], right[known].set_axis(answers.index[known])).words] if table[:, :-1].sum() else []
    notes += [f"{int((~known).sum()):,} without truth left out"] if not known.all() else []
    usual = f"{counted(int(known.sum()))}, right answers in rows"

    def rows_of(truth: Any, guess: Any) -> list[Any]:
        """Return the index labels of the rows with this right answer that were given this one."""
        here = answers.isna() if guess is None else answers.astype(object) == guess
        both = here.fillna(False).to_numpy(dtype=bool) & judge(right, [truth] * len(right))[0]
        return list(answers.index[both])

    ax.rows_of = rows_of  # type: ignore[attr-defined]
    return finish(ax, usual, title, notes, mark, stand_in_of(guess))


def _spelled(right: pd.Series[Any], answers: pd.Series[Any]) -> pd.Series[Any]:
    """Return right answers that are equal written in one way: as they are given, if they are."""
    own = {canonical(name): name for name in label_order(answers)}
    return right.map(lambda name: own.setdefault(canonical(name), name), na_action="ignore")


def _names(answers: pd.Series[Any], right: pd.Series[Any]) -> list[Any]:
    """Return all labels: those of the answers in their order, then further right ones."""
    own = label_order(answers)
    return [*own, *(name for name in label_order(right) if name not in set(own))]


def _table(answers: pd.Series[Any], right: pd.Series[Any], names: list[Any]) -> npt.NDArray[np.int64]:
    """Return the rows of each pair, shape (labels, labels + 1): the last column counts those without an answer."""
    place = {name: at for at, name in enumerate(names)}
    found = np.zeros((len(names), len(names) + 1), dtype=np.int64)
    for answer, true in zip(answers.astype(object).tolist(), right.astype(object).tolist(), strict=True):
        found[place[true], len(names) if pd.isna(answer) else place[answer]] += 1
    return found


def _draw(ax: Axes, table: npt.NDArray[np.int64], names: list[Any], few: bool) -> None:
    lacking = bool(table[:, -1].any())
    shown = table if lacking else table[:, :-1]
    total = table.sum(axis=1, keepdims=True)
    shares = np.divide(shown, total, out=np.zeros(shown.shape), where=total > 0)
    shades = LinearSegmentedColormap.from_list("shares", [theme(ax).background, BLUE])  # nothing looks like the ground
    image = ax.imshow(shares, cmap=shades, vmin=0, vmax=1, interpolation="nearest", aspect="equal")
    ax.spines[:].set_visible(False)
    size = 9.0 if few else 7.0
    name_ticks(ax, ax.yaxis, names, _WIDTH, fontsize=size)
    columns = [*names, _NONE] if lacking else names
    name_ticks(ax, ax.xaxis, columns, _WIDTH, fontsize=size, ha="right", rotation_mode="anchor", rotation=45)
    ax.set_ylabel("right answer", color=theme(ax).faint, fontsize=9)
    ax.set_xlabel("answer given", color=theme(ax).faint, fontsize=9)
    ax.tick_params(length=0)
    for (row, column), count in np.ndenumerate(shown) if few else ():
        if not count:
            continue
        red, green, blue, _ = image.to_rgba(np.array([shares[row, column]]))[0]
        ink = "white" if 0.3 * red + 0.59 * green + 0.11 * blue < 0.55 else "#222222"
        text = f"{count:,}\n{shares[row, column]:.0%}"
        ax.text(column, row, text, ha="center", va="center", color=ink, fontsize=8, linespacing=1.1)
