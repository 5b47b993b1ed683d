"""Plots of results: data and an optional `ax` in, the axes out.

`clusters` draws a map of vectors or points with its labels on it, `similarity` compares rows with one another, `cost`
shows what calls have cost, `confidence` how sure a model was and how often it was right, `latency` and `concurrency`
how a run went, `compare` how models did on the same rows, `confusion` which labels were mistaken for which,
`reliability` whether models were as often right as they were sure, and `boxes` what was found in pictures.

All of them take `ax` (where to draw; default: a new figure), `title` (replaces the usual one; ``""`` for none) and
`mark` (a word to stamp on the plot). Data that say they come from the emulator are stamped without being asked:
results of verbs, vectors, runs, comparisons and the ledger. Plain arrays and lists do not say where they come from.

Users and the map widget call these functions. matplotlib is used in this room only. No plot changes a global style or
shows anything by itself; text and lines are dark on a light figure and light on a dark one.
"""

from .boxes import boxes
from .clusters import clusters
from .compare import compare
from .confidence import confidence, reliability
from .confusion import confusion
from .cost import cost
from .similarity import similarity
from .timing import concurrency, latency

__all__ = [
    "boxes",
    "clusters",
    "compare",
    "concurrency",
    "confidence",
    "confusion",
    "cost",
    "latency",
    "reliability",
    "similarity",
]


def __dir__() -> list[str]:
    return __all__
