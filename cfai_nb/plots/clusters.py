"""`clusters`: a map of vectors or points, colored and labelled. Vectors and labels in, the axes out.

Users call it, and the map widget for its still picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from .. import vectors as space
from ..frame.progress import working
from ..html.markup import counted
from ..vectors.vector import stand_in_of
from .axes import (
    DISTINCT,
    GREY,
    Numbers,
    color_and_marker,
    label_order,
    new_axes,
    plot,
    read_labels,
    read_vectors,
    run_layout,
    theme,
)
from .text import (
    Label,
    chosen_mark,
    empty,
    fold_distinct,
    heading,
    label_width,
    legend_of,
    place_labels,
    stamp,
)

_CORNERS = (("upper right", 1, 1), ("lower left", 0, 0), ("upper left", 0, 1), ("lower right", 1, 0))


@plot
def clusters(
    points_or_vectors: Any, labels: Iterable[Any] | None = None, *,
    names: Mapping[Any, str] | Sequence[str] | None = None, texts: Iterable[Any] | None = None,
    colors: Mapping[Any, str] | None = None, legend: bool = False, ax: Axes | None = None, title: str | None = None,
    method: str = "auto", mark: str | None = None, random_state: int = 0, progress: bool | None = None,
) -> Axes:  # fmt: skip
    """Draw vectors as a map, colored by their labels, with the labels written on it.

    Parameters
    ----------
    points_or_vectors : numpy.ndarray, DataFrame, Series or list
        Points of shape (n, 2), drawn as they are; or vectors of shape (n, d), projected first. A Series or list
        holds one vector a cell. Missing rows are left out, and the line under the title counts them.
    labels : iterable, optional
        One label a row: words, numbers or a categorical. -1 is drawn in grey as "noise", a missing label as
        "missing". Without labels the rows are grouped by `space.cluster`. Of more than 24 labels the 24 largest
        have colors.
    names : mapping or sequence of str, optional
        What to write instead of a label: by label, or by position for labels that count from 0.
    texts : iterable of str, optional
        One text a row. Groups that are only numbers are then named by the words that set them apart.
    colors : mapping of label to color, optional
        Colors for some or all labels, such as a scale for labels that are steps of a number.
    legend : bool
        Write all labels in a legend and none on the map: for labels that are scattered over it.
    method : {"auto", "tsne", "pca", "umap"}
        How vectors are projected, see `space.project`.
    random_state : int, default 0
        For the projection and the grouping: the same number draws the same map.
    progress : bool, optional
        Show a line with the current step where it takes longer than a second; default in notebooks and terminals.
    ax, title, mark : see ``help(cf.plots)``

    Raises
    ------
    ValueError
        The cells are not vectors of one length, there are not as many labels or texts as rows, or the index of these
        differs from that of the vectors.

    Examples
    --------
    >>> df["vector"] = df.cfai.embed("text")
    >>> cf.plots.clusters(df["vector"], df.cfai.cluster("vector"))
    """
    matrix, kept = read_vectors(points_or_vectors)
    given = None if labels is None else read_labels(labels, points_or_vectors, len(kept))[kept]
    words = None if texts is None else read_labels(texts, points_or_vectors, len(kept))[kept]
    ax = new_axes(7.5, 6) if ax is None else ax
    if not len(matrix):
        return empty(ax, title, "no vectors to show" + (f" ({len(kept):,} missing)" if len(kept) else ""))
    notes = []
    if matrix.shape[1] == 2:
        points = matrix.astype(np.float64)
    else:
        with working("clusters", progress) as tell:
            projection = space.project(matrix, method, random_state, on_progress=tell)
        points, notes = projection.points, [projection.note]
    if given is None:
        with working("clusters", progress) as tell:
            tell(f"groups of {len(matrix):,} vectors")
            given = pd.Series(space.cluster(matrix, random_state=random_state))
        notes.append("groups by KMeans")
    if len(matrix) < len(kept):
        notes.append(f"{len(kept) - len(matrix):,} without a vector left out")
    groups, grey, count = _groups(given.reset_index(drop=True), names, words, colors or {}, label_width(ax))
    _draw(ax, points, groups, grey)
    usual = f"{counted(len(matrix))}, {counted(count, 'group')}"
    heading(ax, usual if title is None else title, " · ".join(notes))
    run_layout(ax)
    word = chosen_mark(mark, stand_in_of(points_or_vectors, labels, texts))
    taken = [stamp(ax, word).get_window_extent()] if word else []
    unplaced = groups if legend else place_labels(ax, points, groups, taken)
    _add_legend(ax, points, unplaced, groups, grey, taken)
    return ax


def _groups(
    labels: pd.Series[Any], names: Mapping[Any, str] | Sequence[str] | None, texts: pd.Series[Any] | None,
    colors: Mapping[Any, str], width: int,
) -> tuple[list[Label], list[Label], int]:  # fmt: skip
    """Return groups with a color of their own, those in grey (noise, missing, the smallest), and their number."""
    noise = labels.map(lambda label: not isinstance(label, str) and label == -1, na_action="ignore").eq(True).to_numpy()
    missing = labels.isna().to_numpy()
    kinds = label_order(labels[~noise & ~missing])
    rows = {kind: np.flatnonzero(labels.eq(kind).fillna(False).to_numpy(dtype=bool)) for kind in kinds}
    largest = set(sorted(kinds, key=lambda kind: -len(rows[kind]))[:DISTINCT])
    written = _wording(kinds, labels, names, texts)
    colored = [kind for kind in kinds if kind in largest]
    groups = [
        Label(text, rows[kind], colors.get(kind, color_and_marker(at)[0]))
        for at, (kind, text) in enumerate(
            zip(colored, fold_distinct([written[kind] for kind in colored], width, 2), strict=True)
        )
    ]
    rest = [rows[kind] for kind in kinds if kind not in largest]
    grey = {
        "noise": np.flatnonzero(noise),
        "missing": np.flatnonzero(missing),
        counted(len(rest), "smaller group"): np.concatenate([np.array([], dtype=np.intp), *rest]),
    }
    share = {text: f"{text} ({len(members) / len(labels):.0%})" for text, members in grey.items()}
    return groups, [Label(share[text], members, GREY) for text, members in grey.items() if len(members)], len(kinds)


def _wording(
    kinds: list[Any], labels: pd.Series[Any], names: Mapping[Any, str] | Sequence[str] | None, texts: Any
) -> dict[Any, str]:
    """Return what is written for each label."""
    words: dict[Any, str] = {}
    if texts is not None and not any(isinstance(kind, str) for kind in kinds):
        words = {kind: terms for kind, terms in space.topic_terms(texts, labels).items() if terms}
    if isinstance(names, Mapping):
        words |= {kind: names[kind] for kind in kinds if kind in names}
    elif names is not None:
        numbered = [kind for kind in kinds if isinstance(kind, (int, np.integer)) and 0 <= kind < len(names)]
        words |= {kind: names[int(kind)] for kind in numbered}
    return {kind: words.get(kind, str(kind)) for kind in kinds}


def _draw(ax: Axes, points: Numbers, groups: list[Label], grey: list[Label]) -> None:
    """Draw the points of all groups in random order, so that no group covers another."""
    count = len(points)
    alpha = float(np.clip(1.15 - 0.16 * np.log10(max(count, 1)), 0.4, 0.9))
    edge = {"edgecolors": theme(ax).background, "linewidths": 0.4} if count <= 600 else {"linewidths": 0}
    size = float(np.clip(36 * np.sqrt(150 / max(count, 1)), 3, 48))
    look: dict[str, Any] = {"s": size, "rasterized": count > 2_000, **edge}
    for group in grey:
        ax.scatter(*points[group.rows].T, color=GREY, alpha=alpha * 0.6, zorder=1, **look)
    shapes: dict[str, list[Label]] = {}
    for at, group in enumerate(groups):
        shapes.setdefault(color_and_marker(at)[1], []).append(group)
    for marker, members in shapes.items():
        rows = np.concatenate([group.rows for group in members])
        shades = np.concatenate([np.full(len(group.rows), group.color) for group in members])
        mixed = np.random.default_rng(0).permutation(len(rows))
        x, y = points[rows[mixed]].T
        ax.scatter(x, y, c=shades[mixed], marker=marker, alpha=alpha, zorder=2, **look)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_color(theme(ax).grid)
    ax.margins(0.06)
    ax.set_aspect("equal", adjustable="datalim")


def _add_legend(
    ax: Axes, points: Numbers, unplaced: list[Label], groups: list[Label], grey: list[Label], taken: list[Bbox]
) -> None:
    """Add a small legend for what is not written on the map, in the emptiest corner."""
    listed = [*unplaced, *grey]
    if not listed:
        return
    markers = {group.text: color_and_marker(at)[1] for at, group in enumerate(groups)}
    handles = [
        Line2D([], [], linestyle="", marker=markers.get(label.text, "o"), color=label.color, markersize=5)
        for label in listed
    ]
    legend = legend_of(
        ax, handles, [label.text for label in listed], label_width(ax) + 4, 2, loc="upper right", fontsize=8,
        framealpha=0.85, edgecolor="none", facecolor=theme(ax).background, handletextpad=0.2,
    )  # fmt: skip
    legend.set_zorder(8)
    legend.set_loc(_emptiest_corner(ax, legend, points, taken))


def _emptiest_corner(ax: Axes, legend: Legend, points: Numbers, taken: list[Bbox]) -> Any:
    """Return the corner with the fewest points and no label (matplotlib's own "best" is slow with many points)."""
    needed, frame, pixels = legend.get_window_extent(), ax.bbox, ax.transData.transform(points)
    busy: dict[str, float] = {}
    for corner, right, top in _CORNERS:
        x0, y0 = frame.x0 + right * (frame.width - needed.width), frame.y0 + top * (frame.height - needed.height)
        near = Bbox.from_bounds(x0, y0, needed.width, needed.height)
        covered = ((pixels >= near.min) & (pixels <= near.max)).all(axis=1)
        busy[corner] = np.count_nonzero(covered) / len(points) + sum(near.overlaps(box) for box in taken)
    return min(busy, key=lambda corner: busy[corner])
