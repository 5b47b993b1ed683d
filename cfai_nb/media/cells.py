"""What media verbs put into cells: ``cf.Image`` and ``cf.Audio``, and the boxes of ``detect``.

Pictures and speech display and save themselves: the engine's results and the store make them; a notebook calls
``_repr_mimebundle_``.  Boxes are plain lists of dicts; ``plots.boxes`` and the tables of ``html`` read and color them
here, so that a box looks the same in both.  Such a cell may come back from a file or be written by anybody: its numbers
and labels are checked before they are drawn.
"""

from __future__ import annotations

import base64
import io
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..errors import InputError
from ..html import markup
from .picture import Form, Kind, Thumbnail, sniff, thumbnail

#: Longer side in pixels of a picture as displayed; the cell keeps the original.
SHOWN = 512
#: Bytes beyond which a sound is not embedded in a notebook: it would enlarge the file.
MOST_PLAYED = 10_000_000


class _Cell(bytes):
    """Bytes with a media type.  A subclass of bytes, so that parquet and other libraries take them as plain binary."""

    kind: ClassVar[Kind]

    @cached_property
    def form(self) -> Form:
        """What the bytes are, by their content; ``application/octet-stream`` if unknown."""
        try:
            return sniff(self)
        except InputError:
            return Form("application/octet-stream", "document")

    @property
    def format(self) -> str:
        """Such as ``"PNG"`` or ``"WAV"``."""
        return self.form.suffix.upper()

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the bytes to a file and return its path; a name without an extension gets the right one."""
        target = Path(path).expanduser()
        if not target.suffix:
            target = target.with_suffix(f".{self.form.suffix}")
        target.write_bytes(self)
        return target

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.form}, {len(self) / 1000:,.1f} kB>"

    __str__ = __repr__

    def __reduce__(self) -> Any:
        return type(self), (bytes(self),)


class Image(_Cell):
    """A picture: bytes that display and save themselves.

    Attributes
    ----------
    size : tuple of int or None
        Width and height in pixels.
    format : str
        Such as ``"PNG"``.
    """

    kind = "image"

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height in pixels; None where the bytes are not a picture."""
        form = self.form
        return None if form.width is None or form.height is None else (form.width, form.height)

    def pillow(self) -> Any:
        """Return a PIL image."""
        from PIL import Image as pillow

        return pillow.open(io.BytesIO(self))

    def thumbnail(self, pixels: int = SHOWN) -> bytes:
        """Return the picture as JPEG or WebP with at most so many pixels per side, without metadata.

        Raises InputError: the bytes are not a picture, are broken, or claim more pixels than are decoded.
        """
        return thumbnail(bytes(self), pixels).content

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        words = repr(self)
        try:
            shown = thumbnail(bytes(self), SHOWN)
        except InputError as error:
            return {"text/html": markup.remark(words, str(error)), "text/plain": f"{words}: {error}"}
        alt = f"a picture, {self.form}"
        page = markup.figure(markup.picture(shown.content, shown.mime, alt, SHOWN), markup.escape(words[1:-1]))
        data = {"text/html": page, "text/plain": words}
        if shown.mime == "image/jpeg":  # where HTML is not displayed, as in a PDF, which cannot hold WebP
            data["image/jpeg"] = base64.b64encode(shown.content).decode()
        return data, {shown.mime: {"width": shown.width, "height": shown.height, "alt": alt}}


class Audio(_Cell):
    """Sound: bytes that play and save themselves.

    Attributes
    ----------
    seconds : float or None
    format : str
        Such as ``"WAV"``.
    """

    kind = "audio"

    @property
    def seconds(self) -> float | None:
        """Duration; None where the content does not state it."""
        return self.form.seconds

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        form, words = self.form, repr(self)
        if form.kind != "audio":
            return {"text/html": markup.remark(words, "the bytes are not a sound"), "text/plain": words}
        if len(self) > MOST_PLAYED:
            why = f"more than {MOST_PLAYED / 1e6:.0f} MB are not embedded in a notebook; .save(path) writes a file"
            return {"text/html": markup.remark(f"{words[1:-1]}: {why}"), "text/plain": f"{words}: {why}"}
        player = markup.player(bytes(self), form.mime, f"a sound, {form}", width="24em")
        return {"text/html": markup.figure(player, markup.escape(words[1:-1])), "text/plain": words}


# -- boxes -------------------------------------------------------------------------------------------------------------

_SIDES = ("xmin", "ymin", "xmax", "ymax")
#: Colors of labels in the order of their names, as in the plots (Okabe and Ito 2008, without the faint yellow).
COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#8C6BB1")
_MOST_BOXES = 1_000  # boxes of a cell that are drawn


class Box(NamedTuple):
    """A thing in a picture: its label, how sure the model was (None: not stated), and its sides in pixels."""

    label: str
    score: float | None
    xmin: float
    ymin: float
    xmax: float
    ymax: float


def is_boxes(cell: Any) -> bool:
    """Whether a cell is a list as ``detect`` returns it; an empty one is, too."""
    if not isinstance(cell, (list, tuple, np.ndarray)) or (isinstance(cell, np.ndarray) and cell.dtype != object):
        return False
    return all(isinstance(each, Mapping) and "label" in each and set(_SIDES) <= each.keys() for each in cell)


def boxes_of(cell: Any) -> list[Box]:
    """Return the boxes of a cell, or raise a ValueError: it is not a list of boxes, or a side is not a number."""
    if not is_boxes(cell):
        raise ValueError("not a list of boxes with label, xmin, ymin, xmax and ymax; df.cfai.detect(...) returns them")
    return [_box(each) for each in cell[:_MOST_BOXES]]


def _box(given: Mapping[str, Any]) -> Box:
    left, top, right, foot = (_number(given[name], name) for name in _SIDES)
    score = given.get("score")
    known = score is not None and score == score  # a file may hold NaN for a missing score
    return Box(
        str(given["label"]), _number(score, "score") if known else None, min(left, right), min(top, foot),
        max(left, right), max(top, foot),
    )  # fmt: skip


def _number(value: Any, name: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{name} of a box is {value!r:.40}, not a number of pixels")
    return number


def label_colors(boxes: Iterable[Box], known: dict[str, str] | None = None) -> dict[str, str]:
    """Add a color for each label that has none, in the order of their names; colors repeat after seven labels."""
    colors = {} if known is None else known
    for label in sorted({box.label for box in boxes} - colors.keys()):
        colors[label] = COLORS[len(colors) % len(COLORS)]
    return colors


def in_words(boxes: Sequence[Box]) -> list[tuple[str, str]]:
    """Return each label and what is known of it: how many boxes, or the score of a single one."""
    found: dict[str, list[Box]] = {}
    for box in boxes:
        found.setdefault(box.label, []).append(box)
    return [(label, _known(found[label])) for label in sorted(found)]


def _known(boxes: Sequence[Box]) -> str:
    if len(boxes) > 1:
        return f"× {len(boxes):,}"
    return "" if boxes[0].score is None else f"{boxes[0].score:.2f}"


def outlined(source: Any, pixels: int, boxes: Sequence[Box], colors: Mapping[str, str]) -> Thumbnail:
    """Return a small copy of a picture (bytes or a PIL image) with its boxes drawn on it, in the colors of labels."""

    def draw(picture: Any, scale: float) -> None:
        from PIL import ImageDraw

        pen = ImageDraw.Draw(picture)
        width = max(2, round(max(picture.size) / 90))
        for box in sorted(boxes, key=lambda one: (one.xmin - one.xmax) * (one.ymax - one.ymin)):  # small ones last
            sides = _inside(box, scale, picture.size)
            pen.rectangle([sides[0] - 1, sides[1] - 1, sides[2] + 1, sides[3] + 1], outline="white", width=width + 2)
            pen.rectangle(sides, outline=colors[box.label], width=width)

    return thumbnail(source, pixels, draw)


def _inside(box: Box, scale: float, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return the sides of a box on the small copy; what reaches out of the picture ends at its edge."""
    x = [min(max(side * scale, 0.0), size[0] - 1.0) for side in (box.xmin, box.xmax)]
    y = [min(max(side * scale, 0.0), size[1] - 1.0) for side in (box.ymin, box.ymax)]
    return x[0], y[0], x[1], y[1]
