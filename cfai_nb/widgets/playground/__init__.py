"""The playground: prompts and models tried on a few rows until they are code."""

from .playground import Playground

__all__ = ["Playground"]
