"""What a plot is drawn on: the axes that was given, or a new figure."""

from __future__ import annotations

import inspect
import io
from collections.abc import Callable
from typing import Any, Literal, ParamSpec

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import takes_options
from .palette import FAINT

_BRIEF = "ax, title, mark : see ``help(cf.plots)``"
_WHOLE = """ax : matplotlib.axes.Axes, optional
    Where to draw. Without one a new figure is made.
title : str, optional
    In place of the usual one; ``""`` for none.
mark : str, optional
    A word to stamp on it. Default: ``"emulator"`` where the data say that they are the emulator's; ``""`` for none.

Returns
-------
matplotlib.axes.Axes"""
_Options = ParamSpec("_Options")


def plot(draw: Callable[_Options, Axes]) -> Callable[_Options, Axes]:
    """Write in full what the docstrings of all plots share, and refuse options the plot does not have."""
    draw.__doc__ = inspect.cleandoc(draw.__doc__ or "").replace(_BRIEF, _WHOLE)
    return takes_options()(draw)


def new_axes(width: float, height: float) -> Axes:
    """Return the axes of a new figure of so many inches, one that a notebook shows by itself."""
    import matplotlib.pyplot as plt  # only here: pyplot picks a backend, and a given `ax` has one already

    return plt.subplots(figsize=(width, height), layout="constrained")[1]


def plain(ax: Axes, grid: Literal["x", "y", "both"]) -> None:
    """Leave of the frame what is read from: a line below, faint numbers, a faint grid behind the data."""
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.spines["bottom"].set_color("#BBBBBB")
    ax.tick_params(colors=FAINT, labelsize=8.5)
    ax.tick_params(axis="y", length=0)
    ax.set_axisbelow(True)
    ax.grid(True, axis=grid, color="#E8E8E8", linewidth=0.8)


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
