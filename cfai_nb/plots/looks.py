"""How kinds of money look, in every plot alike: exact, estimated, and saved by answers that were kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter

from .bars import amount

EXACT, ESTIMATED = "#0072B2", "#7FB2D9"
HATCHED: dict[str, Any] = {"edgecolor": "white", "hatch": "////", "linewidth": 0}
OUTLINE: dict[str, Any] = {"facecolor": "none", "edgecolor": "#009E73", "linewidth": 1.0, "linestyle": (0, (3, 2))}


def looks(kinds: Sequence[str], wide: bool = True) -> list[Patch]:
    """Return the entries of a legend for these of "exact", "estimated" and "saved"."""
    known = {
        "exact": Patch(facecolor=EXACT, label="exact"),
        "estimated": Patch(facecolor=ESTIMATED, label="estimated", **HATCHED),
        "saved": Patch(label="saved by kept answers" if wide else "saved", **OUTLINE),
    }
    return [known[kind] for kind in kinds]


def money_ticks(metric: str) -> FuncFormatter:
    """Write amounts at ticks, without the word Neurons that stands beside the axis."""
    return FuncFormatter(lambda value, _: amount(value, metric).removesuffix(" Neurons"))


def unit(metric: str) -> str:
    """Return the words beside an axis of money."""
    return "US dollars" if metric == "usd" else "Neurons"
