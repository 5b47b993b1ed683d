"""How it feels: what a notebook shows while work goes on.  ipywidgets and IPython are used in this room only."""

from .gallery import Gallery
from .ledger import LedgerView, ledger
from .map.map import Map
from .models import Models, models
from .player import Player
from .playground import Playground
from .preview import Preview
from .progress import Bar, bar

__all__ = [
    "Bar",
    "Gallery",
    "LedgerView",
    "Map",
    "Models",
    "Player",
    "Playground",
    "Preview",
    "bar",
    "ledger",
    "models",
]
