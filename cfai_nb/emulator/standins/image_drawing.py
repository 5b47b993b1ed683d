"""Draws what a prompt names, with the prompt and the word "emulator" on the picture, using Pillow.

The text-to-image families call :func:`draw`. The same prompt, seed and input pictures give the same pixels. What was
drawn, and where, is kept in the file itself (a PNG text chunk, a JPEG comment), so that the families that look at
pictures find what is really there.
"""

from __future__ import annotations

import hashlib
import io
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .image_reading import COLORS, KEY, SHAPES, Box, Color, Item, Scene, Thing, open_image, read_prompt, scaled

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

MEDIA = {"PNG": "image/png", "JPEG": "image/jpeg"}
MARK = "emulator"


@dataclass(frozen=True)
class Order:
    """A picture to draw.

    Attributes
    ----------
    prompt : str
        Names the things to draw.
    width, height : int
        Pixels.
    seed : int
        Changes positions and colors.
    start : bytes
        An input picture; it stays visible under the drawing.
    mask : bytes
        Only where it is white is the input picture painted over.
    strength : float
        How much of the input picture is covered, 0 to 1; at 1 a third of it still shows.
    beside : sequence of bytes
        Reference pictures, shown small along the top.
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
    picture, scene = _compose(order)
    out = io.BytesIO()
    if form == "JPEG":
        picture.save(out, "JPEG", quality=88, comment=scene.dump().encode())
        return out.getvalue()
    from PIL.PngImagePlugin import PngInfo

    notes = PngInfo()
    notes.add_text(KEY, scene.dump())
    picture.save(out, "PNG", pnginfo=notes, compress_level=1)
    return out.getvalue()


def _compose(order: Order) -> tuple[Image.Image, Scene]:
    from PIL import Image, ImageDraw

    dice = random.Random(_seed(order))
    reading = read_prompt(order.prompt)
    size = order.width, order.height
    picture, ground = _ground(size, reading.ground, dice)
    old: tuple[Thing, ...] = ()
    frame: Box = (0, 0, *size)
    start, mask = None, None
    if order.start:
        seen, start = open_image(order.start)
        start = start.resize(size)
        old = scaled(seen.things, (seen.width, seen.height), frame)
        if order.mask:
            mask = open_image(order.mask)[1].convert("L").resize(size).point(lambda value: 255 * (value > 127))
            frame = mask.getbbox() or frame
            old = tuple(thing for thing in old if not mask.getpixel(_middle(thing.box, size)))
        else:
            picture = Image.blend(start, picture, 0.65 * min(1.0, max(0.0, order.strength)))
    top = 0.3 if order.beside else 0.1
    room = _inner(frame, top if frame == (0, 0, *size) else 0.02)
    pen = ImageDraw.Draw(picture)
    new = _things(pen, [item for item in reading.wanted for _ in range(item.count)], room, ground, dice)
    if mask is not None and start is not None:
        picture = Image.composite(picture, start, mask)
        pen = ImageDraw.Draw(picture)
    old += _refer(picture, order.beside)
    _letter(picture, order.prompt)
    return picture, Scene(order.prompt, *size, ground, old + new)


def _seed(order: Order) -> int:
    state = hashlib.blake2b(f"{order.seed}\n{order.prompt}".encode("utf-8", "surrogatepass"), digest_size=8)
    for raw in (order.start, order.mask, *order.beside):
        state.update(hashlib.blake2b(raw).digest())
    return int.from_bytes(state.digest(), "big")


def _ground(size: tuple[int, int], name: str, dice: random.Random) -> tuple[Image.Image, str]:
    """Return an empty picture, slightly darker towards the bottom, and the name of its color."""
    from PIL import Image, ImageOps

    if name:
        top = COLORS[name]
    else:
        tint = dice.choice(("orange", "yellow", "green", "blue", "purple", "pink", "grey", "turquoise"))
        name, top = f"pale {tint}", _mixed(COLORS[tint], (255, 255, 255), 0.82)
    foot = _mixed(top, (0, 0, 0), 0.08)
    shade = Image.linear_gradient("L").resize(size)
    return ImageOps.colorize(shade, top, foot).convert("RGB"), name


def _mixed(one: Color, other: Color, share: float) -> Color:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _middle(box: Box, size: tuple[int, int]) -> tuple[int, int]:
    return min(size[0] - 1, max(0, (box[0] + box[2]) // 2)), min(size[1] - 1, max(0, (box[1] + box[3]) // 2))


def _inner(frame: Box, top: float) -> Box:
    """Return the part of a frame for things: below the references at the top, above the text."""
    wide, high = frame[2] - frame[0], frame[3] - frame[1]
    edge, foot = round(0.04 * wide), round((0.2 if top > 0.05 else 0.02) * high)
    return frame[0] + edge, frame[1] + round(top * high), frame[2] - edge, frame[3] - foot


def _things(
    pen: ImageDraw.ImageDraw, items: Sequence[Item], room: Box, ground: str, dice: random.Random
) -> tuple[Thing, ...]:
    """Draw things into the cells of a grid, without overlap, and return their positions."""
    wide, high = room[2] - room[0], room[3] - room[1]
    if not items or wide < 4 or high < 4:
        return ()
    columns = min(len(items), max(1, math.ceil(math.sqrt(len(items) * wide / high))))
    rows = math.ceil(len(items) / columns)
    field, step = wide / columns, high / rows
    made = []
    for place, item in enumerate(items):
        color = item.color or dice.choice([name for name in COLORS if name not in (ground, "white", "black")])
        side = max(2.0, min(field, step) * 0.9 * item.size)
        width, height = side * _WIDTHS.get(item.label, 1.0), side * _HEIGHTS.get(item.label, 1.0)
        left = room[0] + place % columns * field + dice.random() * (field - width)
        upper = room[1] + place // columns * step + dice.random() * (step - height)
        box = round(left), round(upper), round(left + width), round(upper + height)
        _one(pen, item.label, color, box)
        made.append(Thing(item.label, color, box))
    return tuple(made)


_WIDTHS = {"heart": 0.95, "diamond": 0.75}
_HEIGHTS = {"rectangle": 0.6, "oval": 0.65}


Points = list[tuple[float, float]]


def _filling(points: Points) -> Points:
    """Return a polygon stretched to fill the square from 0 to 1."""
    (left, right), (top, foot) = ((min(side), max(side)) for side in zip(*points, strict=True))
    return [((x - left) / (right - left), (y - top) / (foot - top)) for x, y in points]


def _fan(corners: int, inner: float = 1.0) -> Points:
    """Return a regular polygon; with an inner radius below 1, a star of twice as many corners."""
    count = corners * (1 + (inner < 1))
    turns = [2 * math.pi * number / count for number in range(count)]
    reach = [inner if number % 2 else 1.0 for number in range(count)]
    return _filling([(math.sin(turn) * far, -math.cos(turn) * far) for turn, far in zip(turns, reach, strict=True)])


_POLYGONS = {
    "triangle": [(0.5, 0.0), (1.0, 1.0), (0.0, 1.0)],
    "diamond": _fan(4),
    "pentagon": _fan(5),
    "hexagon": _fan(6),
    "star": _fan(5, 0.4),
    "cross": [(a / 3, b / 3) for a, b in ((1, 0), (2, 0), (2, 1), (3, 1), (3, 2), (2, 2), (2, 3), (1, 3), (1, 2))]
    + [(0.0, 2 / 3), (0.0, 1 / 3), (1 / 3, 1 / 3)],
    "heart": _filling(
        [
            (16 * math.sin(t) ** 3, 5 * math.cos(2 * t) + 2 * math.cos(3 * t) + math.cos(4 * t) - 13 * math.cos(t))
            for t in (math.tau * number / 60 for number in range(60))
        ]
    ),
}


def _one(pen: ImageDraw.ImageDraw, label: str, color: str, box: Box) -> None:
    fill, side = COLORS[color], box[2] - box[0]
    look: dict[str, Any] = {"fill": fill, "outline": _mixed(fill, (0, 0, 0), 0.45), "width": max(1, side // 60)}
    if label in ("circle", "oval"):
        pen.ellipse(box, **look)
    elif label == "ring":
        pen.ellipse(box, outline=fill, width=max(2, side // 6))
    elif label in _POLYGONS:
        high = box[3] - box[1]
        points = [(box[0] + x * side, box[1] + y * high) for x, y in _POLYGONS[label]]
        pen.polygon(points, **look)
    elif label in SHAPES:
        pen.rectangle(box, **look)
    else:
        pen.rounded_rectangle(box, max(1, side // 8), **look)
        ink = (0, 0, 0) if sum(fill) > 380 else (255, 255, 255)
        _centred(pen, label, box, ink)


def _centred(pen: ImageDraw.ImageDraw, text: str, box: Box, ink: Color) -> None:
    wide = box[2] - box[0]
    font = _font(max(6, min((box[3] - box[1]) // 3, round(1.6 * wide / max(3, len(text))))))
    pen.text(((box[0] + box[2]) / 2, (box[1] + box[3]) / 2), text, fill=ink, font=font, anchor="mm")


@cache
def _letters() -> Path | None:
    """Return the font file that comes with matplotlib: it has most scripts except East Asian ones."""
    found = find_spec("matplotlib")
    file = Path(found.origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf" if found and found.origin else None
    return file if file and file.is_file() else None


def _font(size: int) -> Any:
    from PIL import ImageFont

    file = _letters()
    return ImageFont.truetype(str(file), size) if file else ImageFont.load_default(size)


def _refer(picture: Image.Image, beside: Sequence[bytes]) -> tuple[Thing, ...]:
    """Paste reference pictures along the top, small, and return the things in them."""
    high, found = round(0.2 * picture.height), []
    left = picture.width - round(0.02 * picture.width)
    for raw in reversed(beside):
        seen, small = open_image(raw)
        wide = max(1, min(round(high * seen.width / seen.height), picture.width // 5))
        left -= wide
        box = left, round(0.07 * picture.height), left + wide, round(0.07 * picture.height) + max(1, high)
        picture.paste(small.resize((wide, max(1, high))), box[:2])
        found += list(scaled(seen.things, (seen.width, seen.height), box))
        left -= round(0.01 * picture.width)
    return tuple(found)


def _letter(picture: Image.Image, prompt: str) -> None:
    """Write the prompt at the bottom, on a band, and the mark at the top."""
    from PIL import ImageDraw

    pen = ImageDraw.Draw(picture, "RGBA")
    size = max(7, min(picture.size) // 26)
    font, gap = _font(size), max(2, size // 3)
    lines = _wrapped("".join(sign if sign.isprintable() else " " for sign in prompt), font, picture.width - 4 * gap)
    foot = picture.height - gap
    pen.rectangle((0, foot - len(lines) * (size + gap) - gap, picture.width, picture.height), fill=(255, 255, 255, 236))
    for number, line in enumerate(reversed(lines)):
        pen.text((2 * gap, foot - number * (size + gap)), line, fill=(30, 30, 30, 255), font=font, anchor="lb")
    box = pen.textbbox((2 * gap, gap), MARK, font=font)
    pen.rectangle((box[0] - gap, box[1] - gap, box[2] + gap, box[3] + gap), fill=(30, 30, 30, 210))
    pen.text((2 * gap, gap), MARK, fill=(255, 255, 255, 255), font=font)


def _wrapped(text: str, font: Any, wide: int, most: int = 3) -> list[str]:
    lines = [""]
    for word in text[:400].split():
        word = word[:60]
        longer = f"{lines[-1]} {word}".strip()
        if not lines[-1] or font.getlength(longer) <= wide:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines[:most] if len(lines) <= most else [*lines[: most - 1], f"{lines[most - 1]} …"]
