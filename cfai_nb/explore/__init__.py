"""Verbs on vectors that are there: a frame in, a frame out, by the plain functions of ``space``."""

from .verbs import Exploring

__all__ = ["Exploring"]
