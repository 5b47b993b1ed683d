"""Draws every plot of ``cf.plots`` for the gallery, for light and for dark pages; the settings of Sphinx call ``draw``.

The answers are the emulator's, with the local model where it is installed, so a build needs no account. Pictures that
are there already are kept: remove the folder to draw them again.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

import cfai_nb as cf

GROUNDS = {"light": "#ffffff", "dark": "#14181e"}  # those of the theme
_TOPICS = ["account", "billing", "bug", "returns", "shipping", "other"]


def draw(folder: Path) -> None:
    """Draw what is missing in the folder."""
    if all((folder / f"{name}-{ground}.png").exists() for name in cf.plots.__all__ for ground in GROUNDS):
        return
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings(), cf.connect("emulator", store=False):
        warnings.simplefilter("ignore")
        drawn = _plots()
        if differ := set(cf.plots.__all__) ^ drawn.keys():
            raise KeyError(f"docs/gallery_plots.py: _plots and the plots of the package differ: {sorted(differ)}")
        for name, (plot, size) in drawn.items():
            for ground, color in GROUNDS.items():
                figure = Figure(figsize=size, dpi=110, layout="constrained", facecolor=color)
                axes = figure.subplots()
                axes.set_facecolor(color)
                plot(axes)
                figure.savefig(folder / f"{name}-{ground}.png", metadata={"Software": None})


def _plots() -> dict[str, tuple[Callable[[Any], Any], tuple[float, float]]]:
    """Return each plot as a function of its axes, and its size in inches."""
    tickets = cf.sample("tickets").head(150)
    vectors = tickets.cfai.embed("text")
    sure = tickets.cfai.classify("text", _TOPICS, probabilities=True)
    run = cf.last_run()
    compared = tickets.cfai.compare(
        cf.Classify(labels=_TOPICS), "text", models=["clef-flash", "clef-omni", "glm-4.7-flash"], truth="topic"
    )
    charges = cf.ledger()
    street = pd.DataFrame({"scene": ["two blue squares and a red circle", "a green triangle", "three orange squares"]})
    street["picture"] = street.cfai.image("A poster: {scene}", size=256, model="lucid-origin", seed=3)
    street["found"] = street.cfai.detect("picture", "square") + street.cfai.detect("picture", "circle")
    return {
        "clusters": (lambda ax: cf.plots.clusters(vectors, tickets["topic"], ax=ax), (7, 4.4)),
        "similarity": (lambda ax: cf.plots.similarity(vectors.dropna().head(20), ax=ax), (5, 4.4)),
        "confidence": (lambda ax: cf.plots.confidence(sure, tickets["topic"], ax=ax), (6, 3.6)),
        "confusion": (lambda ax: cf.plots.confusion(sure["label"], tickets["topic"], ax=ax), (5.4, 4.2)),
        "reliability": (lambda ax: cf.plots.reliability(sure, tickets["topic"], ax=ax), (4.8, 4.2)),
        "compare": (lambda ax: cf.plots.compare(compared, ax=ax), (6.4, 3.6)),
        "cost": (lambda ax: cf.plots.cost(charges, ax=ax), (6.4, 2.8)),
        "latency": (lambda ax: cf.plots.latency(run, ax=ax), (6, 3.2)),
        "concurrency": (lambda ax: cf.plots.concurrency(run, ax=ax), (6, 3.2)),
        "boxes": (lambda ax: cf.plots.boxes(street, "picture", "found", ax=ax, mark="emulator"), (7, 3)),
    }
