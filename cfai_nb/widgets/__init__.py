"""How it feels: what a notebook shows while work goes on.  ipywidgets and IPython are used in this room only."""

from .ledger import LedgerView, ledger
from .map import Map
from .models import Models, models
from .playground import Playground
from .progress import Bar, bar

__all__ = ["Bar", "LedgerView", "Map", "Models", "Playground", "bar", "ledger", "models"]
