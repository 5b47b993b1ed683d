"""The map: vectors of a column laid out on a plane, to zoom, select, label and describe.

`map_verb` computes the points, `state` holds them, `map` is the widget; `chart`, `picture` and `describe` read the
state.
"""

from .map import Map

__all__ = ["Map"]
