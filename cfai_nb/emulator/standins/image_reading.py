"""Scenes: the things that a prompt names, and the things that a stand-in finds in a picture.

:func:`read_prompt` finds things, colors and numbers in words; ``image_drawing`` draws them and writes the scene into
the file. :func:`read_image` reads it back. Of any other picture it reports what can be measured (size, format, colors),
and finds no things. A drawing that was saved again, for example resized, counts as another picture, since it has lost
the metadata.

>>> [(item.count, item.color, item.label) for item in read_prompt("two blue squares and a red circle").wanted]
[(2, 'blue', 'square'), (1, 'red', 'circle')]
"""

from __future__ import annotations

import io
import json
import re
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..error_codes import refuse

if TYPE_CHECKING:
    from PIL import Image


Color = tuple[int, int, int]
Box = tuple[int, int, int, int]

#: The colors known by name.
COLORS: Mapping[str, Color] = {
    "red": (214, 39, 40), "orange": (255, 140, 0), "yellow": (247, 209, 34), "green": (44, 160, 44),
    "blue": (31, 90, 200), "purple": (128, 62, 170), "pink": (244, 140, 186), "brown": (133, 84, 52),
    "black": (20, 20, 20), "white": (250, 250, 250), "grey": (128, 128, 128), "turquoise": (38, 190, 190),
}  # fmt: skip
_SAME = {
    "gray": "grey", "violet": "purple", "lilac": "purple", "cyan": "turquoise", "teal": "turquoise", "navy": "blue",
    "crimson": "red", "scarlet": "red", "gold": "yellow", "golden": "yellow", "magenta": "pink", "silver": "grey",
}  # fmt: skip
_NUMBERS = {
    "a": 1, "an": 1, "one": 1, "single": 1, "two": 2, "both": 2, "three": 3, "some": 3, "four": 4, "several": 4,
    "five": 5, "six": 6, "many": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
}  # fmt: skip
_SIZES = {"small": 0.45, "little": 0.45, "tiny": 0.3, "big": 1.0, "large": 1.0, "huge": 1.0, "giant": 1.0}
_SHAPES = "circle square rectangle triangle star heart oval diamond pentagon hexagon cross ring"
SHAPES = frozenset(_SHAPES.split())
_LIKE = {
    "disc": "circle", "disk": "circle", "dot": "circle", "ball": "circle", "ellipse": "oval", "box": "square",
    "rhombus": "diamond", "plus": "cross", "donut ring": "ring",
}  # fmt: skip
#: Things that are not shapes are drawn as a card with their name. COCO's classes, so that detection finds them.
_NAMED = (
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,parking meter,"
    "bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,handbag,tie,suitcase,frisbee,"
    "skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,"
    "cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange fruit,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,"
    "potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink,"
    "refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush,"
    "house,tree,flower,sun,moon,mountain,robot,table,lamp,kettle,watch,vacuum,cloud,fish,fox,key,door,window,hat,shoe,rocket"
)
_THINGS = frozenset(_NAMED.split(","))
_IRREGULAR = {"people": "person", "men": "person", "women": "person", "man": "person", "woman": "person"} | {
    "mice": "mouse", "knives": "knife", "sofa": "couch", "plane": "airplane", "bike": "bicycle", "phone": "cell phone",
    "puppy": "dog", "kitten": "cat", "fridge": "refrigerator", "motorbike": "motorcycle",
}  # fmt: skip
_GROUNDS = frozenset({"background", "backdrop", "ground", "canvas"})
_BREAKING = "the and with or on in at of by near under over above below beside behind between , . ; : ! ?"
_BREAKS = frozenset(_BREAKING.split())
_DENIALS = frozenset({"no", "without"})
_MOST, _LONGEST = 40, 4000


@dataclass(frozen=True)
class Item:
    """A number of equal things; `size` is the share of its grid cell that each fills."""

    label: str
    count: int = 1
    color: str = ""
    size: float = 0.7


@dataclass(frozen=True)
class Reading:
    """The things that a prompt names, and the color of the background if it names one."""

    wanted: tuple[Item, ...] = ()
    ground: str = ""


@dataclass(frozen=True)
class Thing:
    """One drawn thing: its name, its color, and the pixels that it covers (left, top, right, bottom)."""

    label: str
    color: str
    box: Box

    def named(self) -> str:
        """Return its name with its color."""
        return f"{self.color} {self.label}".strip()


@dataclass(frozen=True)
class Scene:
    """A whole drawing, as it is kept in the picture's own metadata."""

    prompt: str
    width: int
    height: int
    ground: str
    things: tuple[Thing, ...] = ()

    def dump(self) -> str:
        """Return the scene as JSON in plain ASCII."""
        return json.dumps({"emulator": 1, **asdict(self), "prompt": self.prompt[:_LONGEST]})


def load(text: str) -> Scene | None:
    """Return the scene of a dump; ``None`` for any other text."""

    def box(left: int, top: int, right: int, foot: int) -> Box:
        return int(left), int(top), int(right), int(foot)

    try:
        found: Any = json.loads(text)
        if found.pop("emulator") != 1:
            return None
        things = tuple(Thing(str(one["label"]), str(one["color"]), box(*one["box"])) for one in found["things"])
        sides = int(found["width"]), int(found["height"])
        return Scene(str(found["prompt"]), *sides, str(found["ground"]), things)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def scaled(things: tuple[Thing, ...], before: tuple[int, int], box: Box) -> tuple[Thing, ...]:
    """Return the things of a picture after it was scaled into a box of another picture."""
    across, down = (box[2] - box[0]) / before[0], (box[3] - box[1]) / before[1]

    def moved(x: int, y: int) -> tuple[int, int]:
        return round(box[0] + x * across), round(box[1] + y * down)

    return tuple(Thing(one.label, one.color, (*moved(*one.box[:2]), *moved(*one.box[2:]))) for one in things)


def singular(word: str) -> str:
    """Return the known name of a word in either number, or an empty text."""
    for tried in (word, word[:-1] if word.endswith("s") else "", word[:-2] if word.endswith("es") else ""):
        tried = _LIKE.get(tried, _IRREGULAR.get(tried, tried))
        if tried in SHAPES or tried in _THINGS:
            return tried
    return ""


def color(word: str) -> str:
    """Return the known name of a color, or an empty text."""
    return word if word in COLORS else _SAME.get(word, "")


def read_prompt(prompt: str) -> Reading:
    """Return the things that a prompt names, in its order, at most 40."""
    words = re.findall(r"[a-z]+|\d+|[,.;:!?]", prompt.casefold())
    wanted: list[Item] = []
    ground, room = "", _MOST
    count, tint, size, denied = 1, "", 0.7, False
    place = 0
    while place < len(words):
        word = words[place]
        label = singular(" ".join(words[place : place + 2])) if place + 1 < len(words) else ""
        place += 2 if label else 1
        label = label or singular(word)
        if word in _GROUNDS:
            ground = tint or ground
        if label and not denied and room > 0:
            number = min(max(0, count), room)
            wanted += [Item(label, number, tint, size)] if number else []
            room -= number
        if label or word in _BREAKS or word in _GROUNDS:
            count, tint, size, denied = 1, "", 0.7, denied and (bool(label) or word in ("the", "or"))
        elif word in _DENIALS:
            denied = True
        elif word in _NUMBERS or word.isdigit():
            count, tint, size = _NUMBERS.get(word) or int(word[:4]), "", 0.7
        else:
            tint, size = color(word) or tint, _SIZES.get(word, size)
    return Reading(tuple(wanted), ground)


def counted(things: tuple[Thing, ...]) -> str:
    """Return things in words: ``two blue squares and a red circle``."""
    names = [_several(name, count) for name, count in Counter(thing.named() for thing in things).items()]
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) if names else "nothing in particular"


_COUNT_WORDS = ("no", "a", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def _several(name: str, count: int) -> str:
    if count == 1:
        return f"{'an' if name[0] in 'aeio' else 'a'} {name}"
    number = _COUNT_WORDS[count] if count < len(_COUNT_WORDS) else str(count)
    if name.endswith("person"):
        return f"{number} {name.removesuffix('person')}people"
    ending = "es" if name.endswith(("s", "x", "ch", "sh")) else "s"
    return f"{number} {name}" + ("" if name.endswith(("sheep", "skis", "scissors")) else ending)


#: The PNG text chunk with the scene; in a JPEG it is the comment.
KEY = "cfai-emulator"

#: The smallest share of a picture for a color to be named, the side of the small copy that is measured, and the most
#: pixels of a picture that is opened.
_SHARE, _SIDE, _MAX_PIXELS = 0.03, 48, 50_000_000
#: Formats that are opened. No others, since some of Pillow's readers start other programs.
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
_ANY = frozenset({"object", "shape", "thing", "item", "everything", "anything", "figure"})
_YES = re.compile(r"\s*(is|are|does|do|can|has|have|was|were|contains?)\b", re.I)


@dataclass(frozen=True)
class ImageReading:
    """The content of one picture.

    `color` is the background of a drawing, else the most frequent color, with its `share` and the `others`. `prompt` is
    ``None`` for a picture that the emulator did not draw.
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
        if length == "long":
            text += "".join(f"; the {thing.named()} is {self._where(thing)}" for thing in self.things)
        return text if length == "short" else f'{text}, drawn for "{self.prompt}"'

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
        named = [thing for thing in self.things if every or thing.label in labels]
        return [thing for thing in named if not tints or thing.color in tints]

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
    """Return the content of a picture; 8001 for other bytes, 3006 for over 50 million pixels."""
    return open_image(raw)[0]


def open_image(raw: bytes) -> tuple[ImageReading, Image.Image]:
    """Return the content of a picture, and the picture as RGB."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the size is checked below, without Pillow's own warning
            picture = Image.open(io.BytesIO(raw), formats=_FORMATS)
            if picture.width * picture.height > _MAX_PIXELS:
                raise Image.DecompressionBombError
            form, notes = picture.format or "", picture.info
            flat = picture.convert("RGB")
    except Image.DecompressionBombError:
        raise refuse(3006, text=f"emulator: a picture of more than {_MAX_PIXELS:,} pixels") from None
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
    names: Counter[str] = Counter()
    for pixel, count in Counter(raw[place : place + 3] for place in range(0, len(raw), 3)).items():
        names[nearest(pixel)] += count
    shares = [(name, count / names.total()) for name, count in names.most_common()]
    return [shares[0], *((name, share) for name, share in shares[1:] if share >= _SHARE)]


def nearest(pixel: bytes) -> str:
    """Return the known color nearest to three bytes of red, green and blue."""
    return min(COLORS, key=lambda name: sum((a - b) ** 2 for a, b in zip(COLORS[name], pixel, strict=True)))
