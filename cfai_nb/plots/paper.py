"""What a plot is drawn on: the axes that was given, or a new figure."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure


def new_axes(width: float, height: float) -> Axes:
    """Return the axes of a new figure of so many inches, one that a notebook shows by itself."""
    import matplotlib.pyplot as plt  # only here: pyplot picks a backend, and a given `ax` has one already

    return plt.subplots(figsize=(width, height), layout="constrained")[1]


def png(draw: Callable[[Axes], Any], width: float, height: float, dpi: int = 96) -> bytes:
    """Return what `draw(ax)` draws as a PNG of so many inches; pyplot does not come to know of it."""
    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    draw(figure.subplots())
    written = io.BytesIO()
    figure.savefig(written, format="png", metadata={"Software": None})
    return written.getvalue()


def settle(ax: Axes) -> None:
    """Let the figure's layout happen now, so that what is measured next is measured at its place."""
    figure = ax.figure.canvas.figure  # the outermost one, also of an axes in a subfigure
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)


def inches(ax: Axes) -> float:
    """Return the width of the axes."""
    return float(ax.get_window_extent().width / ax.figure.dpi)
