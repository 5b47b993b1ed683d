"""The static form of a map: what a saved notebook, an export and a place without widgets show.

In: the state of a map.  Out: a PNG drawn by `plots.clusters`, its description in words, and both as HTML.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from IPython.display import Image

from ...markup import address, badge, counted, figure, inline, line
from .shading import PLAIN, shade
from .state import MapState

#: Above this share of the total variance within groups, the groups are named in a legend.
_SCATTERED = 0.7
_NAMED = 8  # groups counted in the description
_image: Callable[..., Any] = Image  # IPython does not declare its types


def still(state: MapState, hint: str) -> str:
    """Return a map as HTML: a figure with the picture, its description, and a caption."""
    caption = " · ".join(inline(part) for part in (*state.notes, hint) if part)
    source = address(draw(state), "image/png")
    image = f'<img style="max-width: 100%" alt="{inline(words(state), 1_000)}" src="{source}">'
    return figure(image, badge(state.mark) + caption, faded=False)


def picture(state: MapState) -> Any:
    """Return a map as an IPython image."""
    return _image(draw(state), format="png", alt=words(state))


def draw(state: MapState) -> bytes:
    """Return the map as a PNG."""
    from ...plots import clusters
    from ...plots.axes import png

    title = counted(len(state.rows)) + ("" if state.color is None else f" by {line(state.color, 60)}")
    points = state.points.iloc[state.rows].to_numpy()
    if state.color is None:
        labels, colors, legend = pd.Series([title] * len(state.rows), dtype=object), {title: PLAIN}, True
    else:
        shading = shade(state.frame[state.color], state.value_names(state.color))
        labels = shading.labels.iloc[state.rows].reset_index(drop=True)
        colors, legend = shading.colors, shading.steps or not _apart(points, labels)
    mark = state.mark or None
    return png(lambda ax: clusters(points, labels, colors=colors, legend=legend, ax=ax, title=title, mark=mark), 7.5, 6)


def _apart(points: npt.NDArray[np.float64], labels: pd.Series[Any]) -> bool:
    """Whether the groups are separate; a name in the middle of scattered points would be misleading."""
    known = labels.notna().to_numpy()
    if not known.any():
        return False
    placed = pd.DataFrame(points[known])
    within = placed - placed.groupby(labels[known].to_numpy()).transform("mean")
    return float((within**2).to_numpy().sum()) < _SCATTERED * float(((placed - placed.mean()) ** 2).to_numpy().sum())


def words(state: MapState) -> str:
    """Return a description of the map in words."""
    text = f"Map of {counted(len(state.rows))}"
    if state.color is not None:
        labels = shade(state.frame[state.color], state.value_names(state.color)).labels.iloc[state.rows]
        counts = [(word, count) for word, count in labels.value_counts().items() if count]
        named = ", ".join(f"{word} {count:,}" for word, count in counts[:_NAMED])
        more = f" and {len(counts) - _NAMED} more groups" if len(counts) > _NAMED else ""
        text += f", colored by {line(state.color, 60)}: {named}{more}"
    return f"{text}. {state.notes[0] if state.notes else ''}".strip()
