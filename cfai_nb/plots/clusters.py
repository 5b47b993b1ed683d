"""A map of vectors: `clusters`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from .. import vectors as space
from ..frame.progress import working
from ..markup import counted
from ..vectors.vector import is_emulated
from .axes import new_axes, plot, settle
from .label_placement import Name, fold, place
from .palette import DISTINCT, GREY, INK, colour
from .rows import labels as read_labels
from .rows import order, vectors
from .text import blank, folded, heading, letters, marked, stamp, told_apart

Corner = Literal["upper right", "lower left", "upper left", "lower right"]
_CORNERS: tuple[tuple[Corner, int, int], ...] = (
    ("upper right", 1, 1), ("lower left", 0, 0), ("upper left", 0, 1), ("lower right", 1, 0)
)  # fmt: skip


@plot
def clusters(
    points_or_vectors: Any,
    labels: Iterable[Any] | None = None,
    *,
    names: Mapping[Any, str] | Sequence[str] | None = None,
    texts: Iterable[Any] | None = None,
    colours: Mapping[Any, str] | None = None,
    legend: bool = False,
    ax: Axes | None = None,
    title: str | None = None,
    method: str = "auto",
    mark: str | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> Axes:
    """Draw vectors as a map, coloured by their labels, with the labels written on it.

    Parameters
    ----------
    points_or_vectors : numpy.ndarray, DataFrame, Series or list
        Points of shape (n, 2), drawn as they are; or vectors of shape (n, d), projected first. A Series or list
        holds one vector a cell. Missing rows are left out, and the line under the title says how many.
    labels : iterable, optional
        One label a row: words, numbers or a categorical. -1 is drawn in grey as "noise", a missing label as
        "missing". Without labels the groups are found by `space.cluster`. Of more than 24 labels the 24 largest
        have colours.
    names : mapping or sequence of str, optional
        What to write instead of a label: by label, or by position for labels that count from 0.
    texts : iterable of str, optional
        One text a row. Groups that are only numbers are then named by the words that set them apart.
    colours : mapping of label to colour, optional
        Colours for some or all labels, such as a scale for labels that are steps of a number.
    legend : bool
        Write all labels in a legend and none on the map: for labels that lie scattered over it.
    method : {"auto", "tsne", "pca", "umap"}
        How vectors are projected, see `space.project`.
    seed : int, default 0
        For the projection and for finding groups.
    progress : bool, optional
        A line that says what is being done, where it takes longer than a second; default in notebooks and terminals.
    ax, title, mark : see ``help(cf.plots)``

    Raises
    ------
    ValueError
        If the cells are no vectors of one length, there are not as many labels or texts as rows, or their index is
        another one than that of the vectors.
    """
    matrix, kept = vectors(points_or_vectors)
    given = None if labels is None else read_labels(labels, points_or_vectors, len(kept))[kept]
    spoken = None if texts is None else read_labels(texts, points_or_vectors, len(kept))[kept]
    ax = new_axes(7.5, 6) if ax is None else ax
    if not len(matrix):
        return blank(ax, title, "no vectors to show" + (f" ({len(kept):,} missing)" if len(kept) else ""))
    notes = []
    if matrix.shape[1] == 2:
        points = matrix.astype(np.float64)
    else:
        with working("clusters", progress) as tell:
            projection = space.project(matrix, method, seed, on_progress=tell)
        points, notes = projection.points, [projection.note]
    if given is None:
        with working("clusters", progress) as tell:
            tell(f"groups of {len(matrix):,} vectors")
            given = pd.Series(space.cluster(matrix, random_state=seed))
        notes.append("groups by KMeans")
    if len(matrix) < len(kept):
        notes.append(f"{len(kept) - len(matrix):,} without a vector left out")
    groups, grey, kinds = _group(given.reset_index(drop=True), names, spoken, colours or {}, fold(ax))
    shown_title = _counted(len(matrix), kinds) if title is None else title
    _draw(ax, points, groups, grey)
    heading(ax, shown_title, " · ".join(notes))
    settle(ax)
    word = marked(mark, is_emulated(points_or_vectors, labels, texts))
    taken = [stamp(ax, word).get_window_extent()] if word else []
    homeless = groups if legend else place(ax, points, groups, taken)
    _legend(ax, points, homeless, groups, grey, taken)
    return ax


def _counted(rows: int, groups: int) -> str:
    return f"{counted(rows)}, {counted(groups, 'group')}"


def _group(
    labels: pd.Series[Any],
    names: Mapping[Any, str] | Sequence[str] | None,
    texts: pd.Series[Any] | None,
    colours: Mapping[Any, str],
    width: int,
) -> tuple[list[Name], list[Name], int]:
    """Groups with a colour of their own, those in grey (noise, missing, the rest of too many), and their number."""
    noise = labels.map(lambda label: not isinstance(label, str) and label == -1, na_action="ignore").eq(True).to_numpy()
    missing = labels.isna().to_numpy()
    kinds = order(labels[~noise & ~missing])
    where = {kind: np.flatnonzero(labels.eq(kind).fillna(False).to_numpy(dtype=bool)) for kind in kinds}
    largest = set(sorted(kinds, key=lambda kind: -len(where[kind]))[:DISTINCT])
    written = _wording(kinds, labels, names, texts)
    coloured = [kind for kind in kinds if kind in largest]
    apart = told_apart([written[kind] for kind in coloured], width, 2)
    groups = [
        Name(word, where[kind], colours.get(kind, colour(at)[0]))
        for at, (kind, word) in enumerate(zip(coloured, apart, strict=True))
    ]
    rest = [where[kind] for kind in kinds if kind not in largest]
    smaller = counted(len(rest), "smaller group")
    grey = [
        Name(f"{what} ({len(rows) / len(labels):.0%})", rows, GREY)
        for what, rows in (
            ("noise", np.flatnonzero(noise)),
            ("missing", np.flatnonzero(missing)),
            (smaller, np.concatenate(rest) if rest else np.array([], dtype=np.intp)),
        )
        if len(rows)
    ]
    return groups, grey, len(kinds)


def _wording(
    kinds: list[Any], labels: pd.Series[Any], names: Mapping[Any, str] | Sequence[str] | None, texts: Any
) -> dict[Any, str]:
    """What is written for each label."""
    words: dict[Any, str] = {}
    if texts is not None and not any(isinstance(kind, str) for kind in kinds):
        words = {kind: said for kind, said in space.topic_terms(texts, labels).items() if said}
    if isinstance(names, Mapping):
        words |= {kind: names[kind] for kind in kinds if kind in names}
    elif names is not None:
        counted = [kind for kind in kinds if isinstance(kind, (int, np.integer)) and 0 <= kind < len(names)]
        words |= {kind: names[int(kind)] for kind in counted}
    return {kind: words.get(kind, str(kind)) for kind in kinds}


def _draw(ax: Axes, points: npt.NDArray[np.float64], groups: list[Name], grey: list[Name]) -> None:
    """Points of all groups mixed, so that no group lies on top of another by its name."""
    count = len(points)
    size = float(np.clip(36 * np.sqrt(150 / max(count, 1)), 3, 48))
    strength = float(np.clip(1.15 - 0.16 * np.log10(max(count, 1)), 0.4, 0.9))
    edge = {"edgecolors": "white", "linewidths": 0.4} if count <= 600 else {"linewidths": 0}
    look: dict[str, Any] = {"s": size, "rasterized": count > 2_000, **edge}
    for name in grey:
        ax.scatter(*points[name.rows].T, color=GREY, alpha=strength * 0.6, zorder=1, **look)
    shapes: dict[str, list[int]] = {}
    for at in range(len(groups)):
        shapes.setdefault(colour(at)[1], []).append(at)
    for marker, members in shapes.items():
        rows = np.concatenate([groups[at].rows for at in members])
        shades = np.concatenate([np.full(len(groups[at].rows), groups[at].colour) for at in members])
        mixed = np.random.default_rng(0).permutation(len(rows))
        x, y = points[rows[mixed]].T
        ax.scatter(x, y, c=shades[mixed], marker=marker, alpha=strength, zorder=2, **look)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_color("#DDDDDD")
    ax.margins(0.06)
    ax.set_aspect("equal", adjustable="datalim")


def _legend(
    ax: Axes,
    points: npt.NDArray[np.float64],
    homeless: list[Name],
    groups: list[Name],
    grey: list[Name],
    taken: list[Bbox],
) -> None:
    """A small legend for what is not written on the map, in the emptiest corner."""
    if not homeless and not grey:
        return
    marks = {name.text: colour(at)[1] for at, name in enumerate(groups)}
    handles = [
        Line2D([], [], linestyle="", marker=marks.get(name.text, "o"), color=name.colour, markersize=5)
        for name in [*homeless, *grey]
    ]
    written = [letters(name.text) for name in [*homeless, *grey]]
    families = list(dict.fromkeys(family for _, chosen in written for family in chosen))
    legend = ax.legend(
        handles,
        [folded(text, fold(ax) + 4) for text, _ in written],
        loc="upper right",
        prop={"family": families, "size": 8},
        labelcolor=INK,
        framealpha=0.85,
        edgecolor="none",
        handletextpad=0.2,
    )
    legend.set_zorder(8)
    for entry in legend.get_texts():
        entry.set_parse_math(False)
    legend.set_loc(_emptiest(ax, legend, points, taken))


def _emptiest(ax: Axes, legend: Legend, points: npt.NDArray[np.float64], taken: list[Bbox]) -> Corner:
    """The corner with the fewest points and no name in it (matplotlib's own "best" is slow with many points)."""
    needed, frame, pixels = legend.get_window_extent(), ax.bbox, ax.transData.transform(points)
    busy: dict[Corner, float] = {}
    for corner, right, top in _CORNERS:
        x0, y0 = frame.x0 + right * (frame.width - needed.width), frame.y0 + top * (frame.height - needed.height)
        near = Bbox.from_bounds(x0, y0, needed.width, needed.height)
        covered = ((pixels >= near.min) & (pixels <= near.max)).all(axis=1)
        busy[corner] = np.count_nonzero(covered) / len(points) + sum(near.overlaps(box) for box in taken)
    return min(busy, key=lambda corner: busy[corner])
