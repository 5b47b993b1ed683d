"""Scene: the things, colors and numbers that a prompt names. No pixels, only words.

``standins.image_drawing`` draws a scene and writes it into the file; ``standins.image_reading`` reads it back.

>>> [(thing.count, thing.color, thing.label) for thing in read("two blue squares and a red circle").wanted]
[(2, 'blue', 'square'), (1, 'red', 'circle')]
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

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
SHAPES = frozenset(
    {
        *("circle", "square", "rectangle", "triangle", "star", "heart"),
        *("oval", "diamond", "pentagon", "hexagon", "cross", "ring"),
    }
)
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
THINGS = frozenset(_NAMED.split(","))
_IRREGULAR = {"people": "person", "men": "person", "women": "person", "man": "person", "woman": "person"} | {
    "mice": "mouse", "knives": "knife", "sofa": "couch", "plane": "airplane", "bike": "bicycle", "phone": "cell phone",
    "puppy": "dog", "kitten": "cat", "fridge": "refrigerator", "motorbike": "motorcycle",
}  # fmt: skip
_GROUNDS = frozenset({"background", "backdrop", "ground", "canvas"})
_BREAKING = "the and with or on in at of by near under over above below beside behind between , . ; : ! ?"
_BREAKS = frozenset(_BREAKING.split())
_NOT = frozenset({"no", "without"})
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
    try:
        found: Any = json.loads(text)
        if found.pop("emulator") != 1:
            return None
        things = tuple(Thing(str(one["label"]), str(one["color"]), _box(*one["box"])) for one in found["things"])
        sides = int(found["width"]), int(found["height"])
        return Scene(str(found["prompt"]), *sides, str(found["ground"]), things)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def _box(left: int, top: int, right: int, foot: int) -> Box:
    return int(left), int(top), int(right), int(foot)


def scaled(things: tuple[Thing, ...], before: tuple[int, int], box: Box) -> tuple[Thing, ...]:
    """Return the things of a picture after it was scaled into a box of another picture."""
    across, down = (box[2] - box[0]) / before[0], (box[3] - box[1]) / before[1]

    def moved(old: Box) -> Box:
        return (
            round(box[0] + old[0] * across),
            round(box[1] + old[1] * down),
            round(box[0] + old[2] * across),
            round(box[1] + old[3] * down),
        )

    return tuple(Thing(thing.label, thing.color, moved(thing.box)) for thing in things)


def singular(word: str) -> str:
    """Return the known name of a word in either number, or an empty text."""
    for tried in (word, word[:-1] if word.endswith("s") else "", word[:-2] if word.endswith("es") else ""):
        tried = _LIKE.get(tried, _IRREGULAR.get(tried, tried))
        if tried in SHAPES or tried in THINGS:
            return tried
    return ""


def color(word: str) -> str:
    """Return the known name of a color, or an empty text."""
    return word if word in COLORS else _SAME.get(word, "")


def read(prompt: str) -> Reading:
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
        elif word in _NOT:
            denied = True
        elif word in _NUMBERS or word.isdigit():
            count, tint, size = _NUMBERS.get(word) or int(word[:4]), "", 0.7
        else:
            tint, size = color(word) or tint, _SIZES.get(word, size)
    return Reading(tuple(wanted), ground)


def counted(things: tuple[Thing, ...]) -> str:
    """Return things in words: ``two blue squares and a red circle``."""
    tally: dict[str, int] = {}
    for thing in things:
        tally[thing.named()] = tally.get(thing.named(), 0) + 1
    names = [_several(name, count) for name, count in tally.items()]
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) if names else "nothing in particular"


_COUNT_WORDS = ("no", "a", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def _several(name: str, count: int) -> str:
    if count == 1:
        return f"{'an' if name[0] in 'aeio' else 'a'} {name}"
    number = _COUNT_WORDS[count] if count < len(_COUNT_WORDS) else str(count)
    if name.endswith("person"):
        return f"{number} {name.removesuffix('person')}people"
    return f"{number} {name}" + ("" if name.endswith(("sheep", "skis", "scissors")) else _ending(name))


def _ending(name: str) -> str:
    return "es" if name.endswith(("s", "x", "ch", "sh")) else "s"
