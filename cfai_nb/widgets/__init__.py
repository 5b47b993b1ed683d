"""Widgets: what a notebook shows and lets the user do.  ipywidgets and IPython are used in this room only."""

from .gallery import Gallery, Preview
from .map import Map
from .overviews import LedgerView, Models, ledger, models
from .playground import Playground
from .progress import Bar, bar
from .review import Review

__all__ = [
    "Bar",
    "Gallery",
    "LedgerView",
    "Map",
    "Models",
    "Playground",
    "Preview",
    "Review",
    "bar",
    "ledger",
    "models",
]
