"""Draws the things that a prompt names, with the prompt and the word "emulator" on the picture, using Pillow.

The text-to-image families call :func:`draw`. The same prompt, seed and input pictures give the same pixels. The drawn
things and their places are kept in the file itself (a PNG text chunk, a JPEG comment), so that the families that look
at pictures find what is really there.
"""

from __future__ import annotations

import hashlib
import io
import math
import random
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from .image_reading import COLORS, KEY, SHAPES, Box, Color, Item, Scene, Thing, open_image, read_prompt, scaled

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

MEDIA = {"PNG": "image/png", "JPEG": "image/jpeg"}
MARK = "emulator"
_TINTS = ("orange", "yellow", "green", "blue", "purple", "pink", "grey", "turquoise")


@dataclass(frozen=True)
class Order:
    """A picture to draw.

    `start` is an input picture that stays visible under the drawing: `strength` (0 to 1) is how much of it is covered,
    and at 1 a third of it still shows; with a `mask` it is painted over only where that is white. `beside` are
    reference pictures, shown small along the top.
    """

    prompt: str
    width: int
    height: int
    seed: int = 0
    start: bytes = b""
    mask: bytes = b""
    strength: float = 1.0
    beside: Sequence[bytes] = ()


def draw(order: Order, form: str = "PNG") -> bytes:
    """Return the file of a drawing, ``PNG`` or ``JPEG``."""
    from PIL.PngImagePlugin import PngInfo

    picture, scene = _compose(order)
    out, notes = io.BytesIO(), PngInfo()
    notes.add_text(KEY, scene.dump())
    if form == "JPEG":
        picture.save(out, "JPEG", quality=88, comment=scene.dump().encode())
    else:
        picture.save(out, "PNG", pnginfo=notes, compress_level=1)
    return out.getvalue()


def _compose(order: Order) -> tuple[Image.Image, Scene]:
    from PIL import Image, ImageDraw

    state = hashlib.blake2b(f"{order.seed}\n{order.prompt}".encode("utf-8", "surrogatepass"), digest_size=8)
    for raw in (order.start, order.mask, *order.beside):
        state.update(hashlib.blake2b(raw).digest())
    dice = random.Random(int.from_bytes(state.digest(), "big"))
    reading, size = read_prompt(order.prompt), (order.width, order.height)
    tint = reading.ground or dice.choice(_TINTS)
    ground, fill = reading.ground, COLORS[tint]
    if not ground:
        ground, fill = f"pale {tint}", _mixed(fill, (255, 255, 255), 0.82)
    picture = Image.new("RGB", size, fill)
    things: tuple[Thing, ...] = ()
    frame, start, mask = (0, 0, *size), None, None
    if order.start:
        seen, start = open_image(order.start)
        start = start.resize(size)
        things = scaled(seen.things, (seen.width, seen.height), frame)
        if order.mask:
            mask = open_image(order.mask)[1].convert("L").resize(size).point(lambda value: 255 * (value > 127))
            frame = mask.getbbox() or frame
            things = tuple(thing for thing in things if not mask.getpixel(_middle(thing.box, size)))
        else:
            picture = Image.blend(start, picture, 0.65 * min(1.0, max(0.0, order.strength)))
    whole = frame == (0, 0, *size)
    room = _inner(frame, (0.3 if order.beside else 0.1) if whole else 0.02, 0.2 if whole else 0.02)
    items = [item for item in reading.wanted for _ in range(item.count)]
    new = _things(ImageDraw.Draw(picture), items, room, ground, dice)
    if mask is not None and start is not None:
        picture = Image.composite(picture, start, mask)
    things += _refer(picture, order.beside)
    _letter(picture, order.prompt)
    return picture, Scene(order.prompt, *size, ground, things + new)


def _mixed(one: Color, other: Color, share: float) -> Color:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _middle(box: Box, size: tuple[int, int]) -> tuple[int, int]:
    return min(size[0] - 1, max(0, (box[0] + box[2]) // 2)), min(size[1] - 1, max(0, (box[1] + box[3]) // 2))


def _inner(frame: Box, top: float, foot: float) -> Box:
    """Return the part of a frame for things: below the references at the top, above the text."""
    wide, high = frame[2] - frame[0], frame[3] - frame[1]
    edge = round(0.04 * wide)
    return frame[0] + edge, frame[1] + round(top * high), frame[2] - edge, frame[3] - round(foot * high)


def _things(
    pen: ImageDraw.ImageDraw, items: Sequence[Item], room: Box, ground: str, dice: random.Random
) -> tuple[Thing, ...]:
    """Draw things into the cells of a grid, without overlap, and return their positions."""
    wide, high = room[2] - room[0], room[3] - room[1]
    if not items or wide < 4 or high < 4:
        return ()
    columns = min(len(items), max(1, math.ceil(math.sqrt(len(items) * wide / high))))
    field, step = wide / columns, high / math.ceil(len(items) / columns)
    made = []
    for place, item in enumerate(items):
        color = item.color or dice.choice([name for name in COLORS if name not in (ground, "white", "black")])
        width = height = max(2.0, min(field, step) * 0.9 * item.size)
        height *= 0.6 if item.label in ("rectangle", "oval") else 1.0
        left = room[0] + place % columns * field + dice.random() * (field - width)
        upper = room[1] + place // columns * step + dice.random() * (step - height)
        box = round(left), round(upper), round(left + width), round(upper + height)
        _one(pen, item.label, color, box)
        made.append(Thing(item.label, color, box))
    return tuple(made)


def _fan(corners: int, inner: float = 1.0) -> list[tuple[float, float]]:
    """Return a regular polygon that fills the square from 0 to 1; every second corner has the inner radius."""
    turns = [2 * math.pi * number / corners for number in range(corners)]
    reach = [inner if number % 2 else 1.0 for number in range(corners)]
    points = [(math.sin(turn) * far, -math.cos(turn) * far) for turn, far in zip(turns, reach, strict=True)]
    (left, right), (top, foot) = ((min(side), max(side)) for side in zip(*points, strict=True))
    return [((x - left) / (right - left), (y - top) / (foot - top)) for x, y in points]


_POLYGONS = {
    "triangle": [(0.5, 0.0), (1.0, 1.0), (0.0, 1.0)],
    "diamond": _fan(4),
    "pentagon": _fan(5),
    "hexagon": _fan(6),
    "star": _fan(10, 0.4),
    "cross": [
        (a / 3, b / 3)
        for a, b in ((1, 0), (2, 0), (2, 1), (3, 1), (3, 2), (2, 2), (2, 3), (1, 3), (1, 2), (0, 2), (0, 1), (1, 1))
    ],
    "heart": [
        *((0.5, 1), (0, 0.4), (0, 0.15), (0.1, 0.03), (0.25, 0), (0.4, 0.05), (0.5, 0.2)),
        *((0.6, 0.05), (0.75, 0), (0.9, 0.03), (1, 0.15), (1, 0.4)),
    ],
}


def _one(pen: ImageDraw.ImageDraw, label: str, color: str, box: Box) -> None:
    """Draw one thing: a shape, or a card with the name of anything else."""
    fill, wide, high = COLORS[color], box[2] - box[0], box[3] - box[1]
    look: dict[str, Any] = {"fill": fill, "outline": _mixed(fill, (0, 0, 0), 0.45), "width": max(1, wide // 60)}
    if label in ("circle", "oval"):
        pen.ellipse(box, **look)
    elif label == "ring":
        pen.ellipse(box, outline=fill, width=max(2, wide // 6))
    elif label in _POLYGONS:
        pen.polygon([(box[0] + x * wide, box[1] + y * high) for x, y in _POLYGONS[label]], **look)
    else:
        pen.rectangle(box, **look)
    if label not in SHAPES:
        font = _font(max(6, min(high // 3, round(1.6 * wide / max(3, len(label))))))
        middle, ink = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2), (0, 0, 0) if sum(fill) > 380 else (255, 255, 255)
        pen.text(middle, label, fill=ink, font=font, anchor="mm")


@cache
def _font(size: int) -> Any:
    """Return the font that comes with matplotlib: it has most scripts, and Pillow's own has no umlauts."""
    from PIL import ImageFont

    place = (getattr(find_spec("matplotlib"), "submodule_search_locations", None) or [""])[0]
    return ImageFont.truetype(f"{place}/mpl-data/fonts/ttf/DejaVuSans.ttf", size)


def _refer(picture: Image.Image, beside: Sequence[bytes]) -> tuple[Thing, ...]:
    """Paste reference pictures along the top, small, and return the things in them."""
    high, top = max(1, round(0.2 * picture.height)), round(0.07 * picture.height)
    found: list[Thing] = []
    left = picture.width - round(0.02 * picture.width)
    for raw in reversed(beside):
        seen, small = open_image(raw)
        wide = max(1, min(round(high * seen.width / seen.height), picture.width // 5))
        left -= wide
        box = left, top, left + wide, top + high
        picture.paste(small.resize((wide, high)), box[:2])
        found += scaled(seen.things, (seen.width, seen.height), box)
        left -= round(0.01 * picture.width)
    return tuple(found)


def _letter(picture: Image.Image, prompt: str) -> None:
    """Write the prompt at the bottom, on a band, and the mark at the top."""
    from PIL import ImageDraw

    pen = ImageDraw.Draw(picture, "RGBA")
    size = max(7, min(picture.size) // 26)
    font, gap = _font(size), max(2, size // 3)
    text = "".join(sign if sign.isprintable() else " " for sign in prompt[:400])
    lines = textwrap.wrap(text, max(8, int(1.7 * picture.width / size)), max_lines=3, placeholder=" …")
    foot = picture.height - gap
    pen.rectangle((0, foot - len(lines) * (size + gap) - gap, picture.width, picture.height), fill=(255, 255, 255, 236))
    for number, line in enumerate(reversed(lines)):
        pen.text((2 * gap, foot - number * (size + gap)), line, fill=(30, 30, 30, 255), font=font, anchor="lb")
    box = pen.textbbox((2 * gap, gap), MARK, font=font)
    pen.rectangle((box[0] - gap, box[1] - gap, box[2] + gap, box[3] + gap), fill=(30, 30, 30, 210))
    pen.text((2 * gap, gap), MARK, fill=(255, 255, 255, 255), font=font)
