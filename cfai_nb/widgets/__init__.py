"""How it feels: what a notebook shows while work goes on.  ipywidgets and IPython are used in this room only."""

from .gallery import Gallery
from .player import Player
from .preview import Preview
from .progress import Bar, bar

__all__ = ["Bar", "Gallery", "Player", "Preview", "bar"]
