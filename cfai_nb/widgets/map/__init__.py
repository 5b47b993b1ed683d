"""The map: vectors of a column laid out on a plane, to zoom, select, label and describe."""

from .map import Map

__all__ = ["Map"]
