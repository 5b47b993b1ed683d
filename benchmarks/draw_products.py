"""Draw the pictures of ``cf.sample("products")``: ``python -m benchmarks.draw_products`` writes them beside the sample.

Each is a JPEG of 320 x 320 pixels with the scene in its comment, as the emulator's own drawings have, so that the
emulator's captions and boxes are those of what is there.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops, ImageDraw, ImageFilter

import cfai_nb.data
from cfai_nb.emulator.standins.image_reading import COLORS, Scene, Thing

SIDE, FINE = 320, 4  # drawn four times as large, for smooth edges
BIG = SIDE * FINE
Rgb = tuple[int, int, int]
Paint = Callable[["Canvas", Rgb], None]


def mix(one: Rgb, other: Rgb, share: float) -> Rgb:
    """Return a color between two."""
    return tuple(round(a + (b - a) * share) for a, b in zip(one, other, strict=True))  # type: ignore[return-value]


class Canvas:
    """A picture with a lit wall and a table, on which bodies cast shadows. Coordinates run from 0 to 100."""

    def __init__(self, wall: Rgb, table: Rgb) -> None:
        light = (
            Image.radial_gradient("L")
            .resize((2 * BIG, 2 * BIG))
            .crop((BIG // 3, BIG // 4, BIG // 3 + BIG, BIG // 4 + BIG))
        )
        self.picture = Image.composite(
            Image.new("RGB", (BIG, BIG), mix(wall, (0, 0, 0), 0.25)),
            Image.new("RGB", (BIG, BIG), mix(wall, (255, 255, 255), 0.35)), light,
        )  # fmt: skip
        shade = Image.linear_gradient("L").resize((BIG, BIG * 3 // 10))
        top = Image.new("RGB", shade.size, mix(table, (255, 255, 255), 0.15))
        self.picture.paste(
            Image.composite(Image.new("RGB", shade.size, mix(table, (0, 0, 0), 0.3)), top, shade), (0, BIG * 7 // 10)
        )

    def shape(
        self, kind: str, points: list[tuple[float, float]], *more: Any, fill: int = 255, **options: Any
    ) -> Image.Image:
        """Return where a shape is: a method of Pillow's drawing, and its points."""
        made = Image.new("L", (BIG, BIG), 0)
        scaled = [(x * BIG / 100, y * BIG / 100) for x, y in points]
        getattr(ImageDraw.Draw(made), kind)(scaled, *more, fill=fill, **options)
        return made

    def shadow(self, left: float, right: float, foot: float) -> None:
        """Lay a soft shadow on the table."""
        dark = self.shape("ellipse", [(left - 3, foot - 3), (right + 9, foot + 5)], fill=150)
        dark = dark.filter(ImageFilter.GaussianBlur(BIG / 50))
        self.picture.paste(Image.new("RGB", (BIG, BIG), (15, 12, 10)), mask=dark)

    def body(self, color: Rgb, where: Image.Image, gloss: float = 0.55) -> None:
        """Paint a shape as a round, glossy body: bright on the left, dark on the right."""
        box = where.getbbox() or (0, 0, BIG, BIG)
        wide, high = box[2] - box[0], box[3] - box[1]
        ramp = Image.new("L", (256, 1))
        for x in range(256):
            share = x / 255
            ramp.putpixel((x, 0), round(255 * min(1.0, 0.15 + 0.85 * abs(share - 0.3) ** 0.8 * 1.25)))
        dark = ramp.resize((wide, high))
        bright, deep = mix(color, (255, 255, 255), gloss * 0.6), mix(color, (0, 0, 0), 0.55)
        tone = Image.composite(Image.new("RGB", (wide, high), deep), Image.new("RGB", (wide, high), bright), dark)
        tone = Image.blend(tone, Image.new("RGB", (wide, high), color), 0.35)
        whole = Image.new("RGB", (BIG, BIG))
        whole.paste(tone, box[:2])
        self.picture.paste(whole, mask=where)

    def flat(self, color: Rgb, where: Image.Image, share: float = 1.0) -> None:
        """Paint a shape in one color, more or less opaque."""
        self.picture.paste(Image.new("RGB", (BIG, BIG), color), mask=where.point(lambda value: round(value * share)))

    def glow(self, color: Rgb, x: float, y: float, radius: float) -> None:
        """Add light."""
        spot = self.shape("ellipse", [(x - radius, y - radius), (x + radius, y + radius)], fill=190)
        spot = spot.filter(ImageFilter.GaussianBlur(BIG * radius / 260))
        light = Image.composite(Image.new("RGB", (BIG, BIG), color), Image.new("RGB", (BIG, BIG)), spot)
        self.picture = ImageChops.screen(self.picture, light)


def kettle(canvas: Canvas, color: Rgb) -> None:
    """A kettle with spout, lid and handle, steaming."""
    canvas.shadow(28, 72, 84)
    canvas.flat((40, 40, 44), canvas.shape("arc", [(60, 36), (86, 78)], 250, 110, fill=255, width=BIG // 28))
    canvas.body(color, canvas.shape("polygon", [(34, 48), (17, 40), (14, 44), (31, 64)], fill=255))
    canvas.body(color, canvas.shape("polygon", [(36, 38), (64, 38), (73, 82), (27, 82)], fill=255))
    canvas.body((60, 60, 66), canvas.shape("rounded_rectangle", [(25, 80), (75, 86)], BIG // 50, fill=255))
    canvas.body(
        mix(color, (0, 0, 0), 0.2),
        canvas.shape("pieslice", [(36, 30), (64, 46)], 180, 360, fill=255),
    )
    canvas.body((50, 50, 55), canvas.shape("ellipse", [(47, 26), (53, 32)], fill=255))
    canvas.flat((255, 255, 255), canvas.shape("line", [(41, 44), (37, 74)], fill=255, width=BIG // 60), 0.45)
    for place in range(3):
        x, y = 12 - place * 2, 34 - place * 9
        r = 4 + 2 * place
        steam = canvas.shape("ellipse", [(x - r, y - r), (x + r, y + r)], fill=110)
        canvas.flat((255, 255, 255), steam.filter(ImageFilter.GaussianBlur(BIG / 45)))


def lamp(canvas: Canvas, color: Rgb) -> None:
    """A table lamp with a glowing shade."""
    canvas.shadow(36, 64, 84)
    canvas.glow((255, 214, 140), 50, 42, 34)
    canvas.body((70, 66, 62), canvas.shape("rectangle", [(48.6, 50), (51.4, 82)], fill=255))
    canvas.body((70, 66, 62), canvas.shape("ellipse", [(36, 79), (64, 87)], fill=255))
    shade = canvas.shape("polygon", [(38, 22), (62, 22), (72, 54), (28, 54)], fill=255)
    canvas.body(color, shade, 0.9)
    inside = canvas.shape("ellipse", [(36, 28), (64, 60)], fill=150).filter(ImageFilter.GaussianBlur(BIG / 25))
    canvas.flat((255, 236, 180), ImageChops.multiply(inside, shade))
    canvas.flat((255, 240, 200), canvas.shape("ellipse", [(28, 51.5), (72, 56.5)], fill=255), 0.85)


def watch(canvas: Canvas, color: Rgb) -> None:
    """A watch with a strap and a dial."""
    canvas.shadow(34, 66, 90)
    canvas.body(color, canvas.shape("rounded_rectangle", [(39, 8), (61, 40)], BIG // 30, fill=255), 0.3)
    canvas.body(color, canvas.shape("rounded_rectangle", [(39, 60), (61, 93)], BIG // 30, fill=255), 0.3)
    for y in (72, 77, 82):
        canvas.flat((20, 20, 20), canvas.shape("ellipse", [(49, y), (51, y + 2)], fill=255), 0.7)
    canvas.body((150, 152, 158), canvas.shape("ellipse", [(27, 27), (73, 73)], fill=255), 0.9)
    canvas.body((150, 152, 158), canvas.shape("rounded_rectangle", [(72, 47), (77, 53)], BIG // 80, fill=255))
    canvas.body((18, 22, 30), canvas.shape("ellipse", [(31, 31), (69, 69)], fill=255), 0.25)
    for hour in range(12):
        angle = math.tau * hour / 12
        ends = [(50 + r * math.sin(angle), 50 - r * math.cos(angle)) for r in (15.0, 17.2)]
        canvas.flat((235, 235, 235), canvas.shape("line", ends, fill=255, width=BIG // 120))
    for angle, length, width in ((0.9, 9, 70), (-1.1, 13, 100)):
        end = 50 + length * math.sin(angle), 50 - length * math.cos(angle)
        canvas.flat(
            (250, 250, 250),
            canvas.shape("line", [(50, 50), end], fill=255, width=BIG // width),
        )
    canvas.flat(
        mix(color, (255, 255, 255), 0.4),
        canvas.shape("ellipse", [(48.6, 48.6), (51.4, 51.4)], fill=255),
    )
    canvas.flat((255, 255, 255), canvas.shape("pieslice", [(32, 32), (68, 68)], 200, 250, fill=255), 0.12)


def vacuum(canvas: Canvas, color: Rgb) -> None:
    """A robot vacuum, seen at an angle."""
    canvas.shadow(14, 86, 80)
    canvas.body((45, 47, 52), canvas.shape("ellipse", [(14, 46), (86, 84)], fill=255), 0.3)
    canvas.body(color, canvas.shape("ellipse", [(14, 40), (86, 77)], fill=255), 0.8)
    canvas.flat(
        (255, 255, 255),
        canvas.shape("arc", [(17, 42), (83, 75)], 170, 260, fill=255, width=BIG // 90),
        0.5,
    )
    canvas.body((35, 37, 42), canvas.shape("ellipse", [(40, 48), (60, 60)], fill=255), 0.4)
    canvas.body((60, 62, 68), canvas.shape("ellipse", [(42, 46), (58, 56)], fill=255), 0.5)
    canvas.glow((60, 220, 140), 50, 67, 5)
    canvas.flat((170, 255, 210), canvas.shape("ellipse", [(48.8, 66.3), (51.2, 67.9)], fill=255))


DRAWN: dict[str, tuple[Paint, tuple[int, int, int, int]]] = {
    "kettle": (kettle, (14, 26, 86, 86)),
    "lamp": (lamp, (28, 22, 72, 87)),
    "watch": (watch, (27, 8, 77, 93)),
    "vacuum": (vacuum, (14, 40, 86, 84)),
}
WALLS = {"kettle": "turquoise", "lamp": "purple", "watch": "grey", "vacuum": "yellow"}
TINTS = {
    "kettle": ("red", "white", "blue"),
    "lamp": ("orange", "white", "green"),
    "watch": ("black", "brown", "turquoise"),
    "vacuum": ("white", "black", "red"),
}


def main() -> None:
    """Write all pictures."""
    folder = Path(cfai_nb.data.__file__).parent / "products"
    for label, (paint, box) in DRAWN.items():
        wall = mix(COLORS[WALLS[label]], (255, 255, 255), 0.55)
        for tint in TINTS[label]:
            canvas = Canvas(wall, mix(wall, (120, 80, 50), 0.55))
            paint(canvas, mix(COLORS[tint], (128, 128, 128), 0.12))
            left, top, right, foot = (round(side * SIDE / 100) for side in box)
            things = (Thing(label, tint, (left, top, right, foot)),)
            scene = Scene(f"a {tint} {label} on a table", SIDE, SIDE, f"pale {WALLS[label]}", things)
            out = io.BytesIO()
            small = canvas.picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            small.save(out, "JPEG", quality=88, comment=scene.dump().encode())
            (folder / f"{label}_{tint}.jpg").write_bytes(out.getvalue())


if __name__ == "__main__":
    main()
