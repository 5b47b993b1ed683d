"""The still form of a map: what a saved notebook, an export and a place without widgets show."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from IPython.display import Image

from ...markup import address, badge, counted, figure, inline, line
from .shading import PLAIN, shade

if TYPE_CHECKING:
    from .map import Map

#: Groups with more than this share of the whole spread within them are named in a legend.
_SCATTERED = 0.7
_image: Callable[..., Any] = Image  # IPython does not say what it takes
_NAMED = 8  # groups counted in the words for those who do not see the picture


def still(shown: Map, hint: str) -> str:
    """Return a map as HTML: a figure with the picture, words in its place, and a caption."""
    caption = " · ".join(inline(part) for part in (*shown.notes, hint) if part)
    source = address(draw(shown), "image/png")
    image = f'<img style="max-width: 100%" alt="{inline(words(shown), 1_000)}" src="{source}">'
    return figure(image, badge(shown.mark) + caption, faded=False)


def picture(shown: Map) -> Any:
    """Return a map as an IPython image."""
    return _image(draw(shown), format="png", alt=words(shown))


def draw(shown: Map) -> bytes:
    """Return the map as a PNG."""
    from ...plots import clusters
    from ...plots.axes import png

    title = counted(len(shown.rows)) + ("" if shown.color is None else f" by {line(shown.color, 60)}")
    mark = shown.mark or None
    points = shown.points.iloc[shown.rows].to_numpy()
    if shown.color is None:
        labels, colours, legend = pd.Series([title] * len(shown.rows), dtype=object), {title: PLAIN}, True
    else:
        shading = shade(shown.frame[shown.color], shown.names_of(shown.color))
        labels = shading.labels.iloc[shown.rows].reset_index(drop=True)
        colours, legend = shading.colours, shading.steps or not _apart(points, labels)
    return png(
        lambda ax: clusters(points, labels, colors=colours, legend=legend, ax=ax, title=title, mark=mark), 7.5, 6
    )


def _apart(points: npt.NDArray[np.float64], labels: pd.Series[Any]) -> bool:
    """Whether groups lie in places of their own: names in the middle of scattered points would say nothing."""
    known = labels.notna().to_numpy()
    if not known.any():
        return False
    laid = pd.DataFrame(points[known])
    within = laid - laid.groupby(labels[known].to_numpy()).transform("mean")
    return float((within**2).to_numpy().sum()) < _SCATTERED * float(((laid - laid.mean()) ** 2).to_numpy().sum())


def words(shown: Map) -> str:
    """Return what is to be seen, in words."""
    said = f"Map of {counted(len(shown.rows))}"
    if shown.color is not None:
        labels = shade(shown.frame[shown.color], shown.names_of(shown.color)).labels.iloc[shown.rows]
        counts = [(word, count) for word, count in labels.value_counts().items() if count]
        named = ", ".join(f"{word} {count:,}" for word, count in counts[:_NAMED])
        more = f" and {len(counts) - _NAMED} more groups" if len(counts) > _NAMED else ""
        said += f", coloured by {line(shown.color, 60)}: {named}{more}"
    return f"{said}. {shown.notes[0] if shown.notes else ''}".strip()
