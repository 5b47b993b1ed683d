"""How it feels: what a notebook shows while work goes on.  ipywidgets and IPython are used in this room only."""

from .map import Map
from .progress import Bar, bar

__all__ = ["Bar", "Map", "bar"]
