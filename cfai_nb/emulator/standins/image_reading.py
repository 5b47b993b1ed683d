"""What a stand-in sees in a picture.

Of a picture that the emulator drew it knows the content, from the file's metadata. Of any other picture it says what
can be measured (size, format, colors) and finds nothing in it. A drawing that was saved again, for example resized,
counts as another picture, since the pixels do not carry the metadata.
"""

from __future__ import annotations

import io
import re
import warnings
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..error_codes import refuse
from .scene import COLORS, Thing, color, counted, load, singular

if TYPE_CHECKING:
    from PIL import Image

#: The PNG text chunk with the scene; in a JPEG it is the comment.
KEY = "cfai-emulator"

#: The smallest share of a picture for a color to be named, and the side of the small copy that is measured.
_NAMED, _SIDE = 0.03, 48
#: The most pixels of a picture that is opened.
MAX_PIXELS = 50_000_000
#: Formats that are opened. No others, since some of Pillow's readers start other programs.
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
_ANY = frozenset({"object", "shape", "thing", "item", "everything", "anything", "figure"})
_YES = re.compile(r"\s*(is|are|does|do|can|has|have|was|were|contains?)\b", re.I)


@dataclass(frozen=True)
class ImageReading:
    """The content of one picture.

    Attributes
    ----------
    width, height : int
        Pixels.
    form : str
        The format of the file, detected from its bytes.
    color : str
        The most frequent color, or the background of a drawing.
    share : float
        Share of the picture with that color, 0 to 1.
    others : tuple of str
        Other colors of a picture that was measured.
    prompt : str or None
        The prompt of a drawing; ``None`` for a picture that the emulator did not draw.
    things : tuple of Thing
        The things in it.
    """

    width: int
    height: int
    form: str
    color: str
    share: float
    prompt: str | None = None
    things: tuple[Thing, ...] = ()
    others: tuple[str, ...] = ()

    def caption(self, length: str = "normal") -> str:
        """Return a description: ``short``, ``normal`` or ``long``."""
        if self.prompt is None:
            text = f"a picture of {self.width} x {self.height} pixels, mostly {self.color}"
            if length == "short":
                return text
            return f"{text} ({self.share:.0%}){', with ' * bool(self.others)}{', '.join(self.others)}, {self.form}"
        text = f"{counted(self.things)} on a {self.color} ground"
        if length == "short":
            return text
        if length == "long":
            text += "".join(f"; the {thing.named()} is {self._where(thing)}" for thing in self.things)
        return f'{text}, drawn for "{self.prompt}"'

    def _where(self, thing: Thing) -> str:
        across = (thing.box[0] + thing.box[2]) / 2 / self.width
        down = (thing.box[1] + thing.box[3]) / 2 / self.height
        sides = "at the top" if down < 1 / 3 else "at the foot" if down > 2 / 3 else "in the middle"
        return f"{sides} {'left' if across < 1 / 3 else 'right' if across > 2 / 3 else 'centre'}"

    def find(self, target: str) -> list[Thing]:
        """Return the things that a phrase names (``red circles``, ``shapes``), in drawing order."""
        words = re.findall(r"[a-z]+", target.casefold())
        tints = {color(word) for word in words} - {""}
        pairs = [" ".join(words[place : place + 2]) for place in range(len(words) - 1)]
        labels = {singular(word) for word in [*words, *pairs]} - {""}
        every = not labels and (bool(tints) or bool(_ANY & {word.removesuffix("s") for word in words}))
        return [
            thing for thing in self.things if (every or thing.label in labels) and (not tints or thing.color in tints)
        ]

    def answer(self, question: str) -> str:
        """Return the answer to a question about numbers, colors, presence or text; else the caption."""
        asked = question.casefold()
        found = self.find(asked)
        if self.prompt is None and re.search(r"\bcolou?rs?\b", asked):
            return ", ".join([self.color, *self.others])
        if self.prompt is None:
            return f"I can only measure: {self.caption()}."
        if "how many" in asked or "number of" in asked or asked.startswith("count"):
            return str(len(found))
        if re.search(r"\bcolou?rs?\b", asked) and found:
            return ", ".join(dict.fromkeys(thing.color for thing in found))
        if re.search(r"\b(written|text|says?|read)\b", asked):
            return self.prompt
        if _YES.match(asked):
            return "yes" if found else "no"
        return self.caption()


def read_image(raw: bytes) -> ImageReading:
    """Return the content of a picture, from its bytes.

    Raises
    ------
    ServiceError
        8001 when the bytes are not a picture, 3006 when it has more than 50 million pixels.
    """
    return open_image(raw)[0]


def open_image(raw: bytes) -> tuple[ImageReading, Image.Image]:
    """Return the content of a picture, and the picture as RGB."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the size is checked below, without Pillow's own warning
            picture = Image.open(io.BytesIO(raw), formats=_FORMATS)
            if picture.width * picture.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            form, notes = picture.format or "", picture.info
            flat = picture.convert("RGB")
    except Image.DecompressionBombError:
        raise refuse(3006, text=f"emulator: a picture of more than {MAX_PIXELS:,} pixels") from None
    except (OSError, ValueError, SyntaxError, EOFError):
        raise refuse(8001, text="Invalid input: these bytes are not a picture") from None
    note = notes.get(KEY) or notes.get("comment") or ""
    scene = load(note.decode("utf-8", "replace") if isinstance(note, bytes) else str(note))
    sides = flat.width, flat.height
    if scene is not None and (scene.width, scene.height) == sides:
        return ImageReading(*sides, form, scene.ground, 1.0, scene.prompt, scene.things), flat
    (name, share), *others = _colors(flat)
    return ImageReading(*sides, form, name, share, others=tuple(name for name, _ in others)), flat


def _colors(picture: Image.Image) -> list[tuple[str, float]]:
    """Return the colors of a picture with their shares, the most frequent first, without rare ones."""
    raw = picture.resize((_SIDE, _SIDE)).tobytes()
    names = Counter(nearest(raw[place : place + 3]) for place in range(0, len(raw), 3))
    shares = [(name, count / names.total()) for name, count in names.most_common()]
    return [shares[0], *((name, share) for name, share in shares[1:] if share >= _NAMED)]


def nearest(pixel: bytes) -> str:
    """Return the known color nearest to three bytes of red, green and blue."""
    return min(COLORS, key=lambda name: sum((a - b) ** 2 for a, b in zip(COLORS[name], pixel, strict=True)))
