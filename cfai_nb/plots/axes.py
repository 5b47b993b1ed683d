"""What every plot shares: how its vectors and labels are read, the axes it is drawn on, and its colors.

Plots take an `ax` or make one here. The colors of data can be told apart by color-blind readers; the colors of text
and lines depend on the figure, so that a plot can be read on a light and on a dark one. The map widget reads labels and
colors here too, so that it agrees with its still picture.
"""

from __future__ import annotations

import functools
import inspect
import io
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Literal, NamedTuple, ParamSpec

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb, to_rgba
from matplotlib.figure import Figure

from ..errors import takes_options
from ..frame.polars import from_polars
from ..frame.rows import laid_on
from ..html import markup
from ..media.cells import COLORS
from ..vectors import VectorColumn

# Okabe and Ito (2008), "Color Universal Design"; yellow last, since it is faint on white, and black left to text.
_OKABE_ITO = (*COLORS, "#F0E442")
# More than eight colors cannot be told apart: the same hues darker and lighter, with another shape each.
_SHADES = ((0.0, "o"), (-0.42, "s"), (0.45, "^"))
DISTINCT = len(_OKABE_ITO) * len(_SHADES)
BLUE = _OKABE_ITO[0]
GREY = "#B4B4B4"
#: The gid of images that are photographs or drawings of the user: they keep their colors in a dark theme.
PICTURE = "cfai-picture"
DASHED = (0, (4, 3))

_BRIEF = "ax, title, mark : see ``help(cf.plots)``"
_IN_FULL = """ax : matplotlib.axes.Axes, optional
    Where to draw. Default: a new figure.
title : str, optional
    Replaces the usual one; ``""`` for none.
mark : str, optional
    A word to stamp on the plot. Default: ``"emulator"`` where the data say that they come from the emulator; ``""``
    for none.

Returns
-------
matplotlib.axes.Axes"""
_Options = ParamSpec("_Options")
Numbers = npt.NDArray[np.float64]


class Theme(NamedTuple):
    """Colors of text, secondary text, grid, frame and background."""

    ink: str
    faint: str
    grid: str
    frame: str
    background: str


_LIGHT = Theme("#222222", "#666666", "#E8E8E8", "#BBBBBB", "#FFFFFF")
_DARK = Theme("#E6E6E6", "#A6A6A6", "#333333", "#666666", "#111111")


def theme(ax: Axes) -> Theme:
    """Return the colors that can be read on the figure of `ax`."""
    *rgb, alpha = to_rgba(ax.figure.canvas.figure.get_facecolor())
    return _DARK if alpha > 0.5 and _luminance((rgb[0], rgb[1], rgb[2])) < 0.2 else _LIGHT


def plot(draw: Callable[_Options, Axes]) -> Callable[_Options, Axes]:
    """Complete a docstring with the parameters all plots share; take Polars too, and refuse unknown options."""
    draw.__doc__ = inspect.cleandoc(draw.__doc__ or "").replace(_BRIEF, _IN_FULL)

    @functools.wraps(draw)
    def drawn(*args: _Options.args, **options: _Options.kwargs) -> Axes:
        given: Any = draw
        return given(*map(_taken, args), **{name: _taken(value) for name, value in options.items()})  # type: ignore[no-any-return]

    return takes_options()(drawn)


def _taken(value: Any) -> Any:
    """Return what is drawn as pandas, where it is of Polars; also the results in a dict."""
    return {name: from_polars(each) for name, each in value.items()} if type(value) is dict else from_polars(value)


def new_axes(width: float, height: float) -> Axes:
    """Return the axes of a new pyplot figure, sizes in inches; a notebook shows such a figure by itself."""
    import matplotlib.pyplot as plt  # only here: pyplot picks a backend, and a given `ax` has one already

    figure = plt.figure(figsize=(width, height), layout="constrained", FigureClass=ThemedFigure)
    return figure.subplots()


class ThemedFigure(Figure):
    """A figure that a notebook shows twice, on no ground: with light ink in dark themes; the theme picks one."""

    def _repr_html_(self) -> str:
        return themed(self, "a plot")


def themed(figure: Figure, alt: str) -> str:
    """Return a figure as HTML with a picture for light themes and one for dark ones; `alt` is its description."""
    from PIL import Image

    light = png(figure, facecolor="none", dpi=96)
    pixels = np.asarray(Image.open(io.BytesIO(light)).convert("RGBA"))
    dark = for_dark(pixels)
    for part in _pictures(figure, pixels.shape[0], 96):
        dark[part] = pixels[part]
    written = io.BytesIO()
    Image.fromarray(dark).save(written, "PNG", optimize=True)
    words, shown = markup.escape(alt, 1_000), ""
    # Where the style sheet is dropped, as in notebooks that are not trusted, the second one stays hidden.
    for look, content, style in (
        ("light", light, "max-width: 100%"),
        ("dark", written.getvalue(), "max-width: 100%; display: none"),
    ):
        source = markup.address(content, "image/png")
        shown += f'<img class="cfai-{look}" alt="{words}" style="{style}" src="{source}">'
    return f'{markup.sheet("plot")}<div class="cfai cfai-plot">{shown}</div>'


def _pictures(figure: Figure, height: int, dpi: float) -> list[tuple[slice, slice]]:
    """Return the rows and columns of pixels that hold pictures of the user, once the figure was drawn."""
    found = []
    for image in (image for axes in figure.axes for image in axes.images if image.get_gid() == PICTURE):
        box = image.get_window_extent()
        x0, y0, x1, y1 = (max(0, round(side * dpi / figure.dpi)) for side in box.extents)
        found.append((slice(max(0, height - y1), max(0, height - y0)), slice(x0, x1)))
    return found


def for_dark(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the pixels (height, width, RGBA) for a dark ground: grays are turned around, dark colors lightened."""
    color = pixels[..., :3].astype(np.float32) / 255
    low, high = color.min(axis=2, keepdims=True), color.max(axis=2, keepdims=True)
    middle, spread = (low + high) / 2, np.clip((high - low) * 3, 0, 1)
    gray = 0.93 - 0.86 * middle  # near white for ink, near the ground for what was white
    lift = np.clip((0.56 - middle) / np.maximum(1 - middle, 1e-6), 0, 1)
    lighter = color + (1 - color) * lift
    made = (spread * lighter + (1 - spread) * gray) * 255
    return np.concatenate([np.clip(made, 0, 255).astype(np.uint8), pixels[..., 3:]], axis=2)


def loose_axes(width: float, height: float) -> Axes:
    """Return the axes of a new figure that pyplot does not know and nothing shows, sizes in inches."""
    return Figure(figsize=(width, height), dpi=96, layout="constrained").subplots()


def png(figure: Figure, **options: Any) -> bytes:
    """Return a figure as a PNG."""
    written = io.BytesIO()
    figure.savefig(written, format="png", metadata={"Software": None}, **options)
    return written.getvalue()


def tidy(ax: Axes, grid: Literal["x", "y", "both"], *, x: str = "", y: str = "") -> None:
    """Reduce the frame to a line below, faint numbers and a faint grid behind the data; name the two axes."""
    shades = theme(ax)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.spines["bottom"].set_color(shades.frame)
    ax.tick_params(colors=shades.faint, labelsize=8.5)
    ax.tick_params(axis="y", length=0)
    ax.set_axisbelow(True)
    ax.grid(True, axis=grid, color=shades.grid, linewidth=0.8)
    ax.set_xlabel(x, color=shades.faint, fontsize=9)
    ax.set_ylabel(y, color=shades.faint, fontsize=9)


def run_layout(ax: Axes) -> None:
    """Run the figure's layout now, so that what is measured next is measured where it will stand."""
    figure = ax.figure.canvas.figure  # the outermost one, also for the axes of a subfigure
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)


def inches(ax: Axes) -> float:
    """Return the width of the axes in inches."""
    return float(ax.get_window_extent().width / ax.figure.dpi)


def color_and_marker(position: int) -> tuple[str, str]:
    """Return the color and the marker of the label at `position`; they repeat after `DISTINCT`."""
    shade, marker = _SHADES[position // len(_OKABE_ITO) % len(_SHADES)]
    return to_hex(_mixed(to_rgb(_OKABE_ITO[position % len(_OKABE_ITO)]), shade)), marker


def readable(color: str, background: str = "#FFFFFF") -> str:
    """Return `color`, darkened or lightened to a contrast of at least 4.5 on `background`, as WCAG 2 asks of text."""
    rgb, behind = to_rgb(color), _luminance(to_rgb(background))
    step = -0.06 if behind > 0.2 else 0.06
    while True:
        dark, light = sorted((behind, _luminance(rgb)))
        if (light + 0.05) / (dark + 0.05) >= 4.5:
            return to_hex(rgb)
        rgb = _mixed(rgb, step)


def _mixed(rgb: tuple[float, float, float], shade: float) -> tuple[float, float, float]:
    """Mix with black (shade below 0) or white (above)."""
    end = 1.0 if shade > 0 else 0.0
    red, green, blue = (part + (end - part) * abs(shade) for part in rgb)
    return red, green, blue


def _luminance(rgb: tuple[float, float, float]) -> float:
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


# -- data --------------------------------------------------------------------------------------------------------------


def read_vectors(given: Any) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Return the vectors that are present, shape (kept, d), and a mask of the rows they come from.

    A row is missing if its cell is, or if its vector holds NaN; vectors of different lengths or spaces are refused.
    """
    column = VectorColumn(given.to_numpy() if isinstance(given, pd.DataFrame) else given).finite()
    return column.to_matrix(), column.present


def read_labels(given: Iterable[Any], like: Any, count: int) -> pd.Series[Any]:
    """Return one label a row, in the order of the rows; another number of labels, or another index, is refused."""
    if not isinstance(like, (pd.Series, pd.DataFrame)):
        like, given = pd.Series(index=range(count)), given.array if isinstance(given, pd.Series) else given
    made: pd.Series[Any] = laid_on(like, given, "labels, texts or truths").reset_index(drop=True)
    return made


def label_order(series: pd.Series[Any]) -> list[Any]:
    """Return the different labels in the order of their colors: of a categorical its own, else sorted."""
    try:
        present = series.dropna().unique()
    except TypeError:
        odd = next((cell for cell in series if not isinstance(cell, Hashable)), series.dropna().iloc[0])
        raise ValueError(
            f"a label is one value a row, such as a text, and here one is a {type(odd).__name__}, "
            f"{markup.line(odd, 40)}: give a column with one for each row"
        ) from None
    if isinstance(series.dtype, pd.CategoricalDtype):
        found = set(present)
        return [label for label in series.dtype.categories if label in found]
    try:
        return sorted(present.tolist())
    except TypeError:  # numbers among words
        return sorted(present.tolist(), key=lambda label: (type(label).__name__, str(label)))
