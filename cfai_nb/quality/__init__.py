"""Is it right, how sure, and at what price: pure functions on arrays, numpy and scipy only.

Columns, lists or arrays come in, small frozen objects with a sentence (``.words``) go out.  Nothing here sends a
request, knows a frame library or keeps state; what needs the strong model gets it as a function of row positions, so
that every promise can be tested by simulation.

* ``cascade``, ``recall_cut``, ``precision_cut``: which cheap answers may stand, with a stated probability.
* ``share``, ``mean``, ``accuracy``, ``assert_accuracy``: a figure with its interval, from answers and some gold.
* ``difference``, ``differences``, ``mcnemar``, ``holm``: whether one model is better than another on the same rows.
* ``draw``, ``rows_for_width``, ``rows_for_difference``: which rows to label, and how many.

scipy is loaded when a function runs, not when the room is imported.
"""

from .certificate import Certificate, cascade, precision_cut, recall_cut
from .estimates import Estimate, accuracy, assert_accuracy, mean, share, wilson
from .sampling import draw, rows_for_difference, rows_for_width
from .significance import Difference, difference, differences, holm, mcnemar

__all__ = [
    "Certificate", "Difference", "Estimate", "accuracy", "assert_accuracy", "cascade", "difference", "differences",
    "draw", "holm", "mcnemar", "mean", "precision_cut", "recall_cut", "rows_for_difference", "rows_for_width", "share",
    "wilson",
]  # fmt: skip


def __dir__() -> list[str]:
    return __all__
