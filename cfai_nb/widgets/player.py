"""Sounds of a column to listen to and pick from."""

from __future__ import annotations

from typing import ClassVar

from ..html import CellKind
from .gallery import Gallery


class Player(Gallery):
    """Sounds of a column with captions, a page at a time, to pick rows from; ``df.cfai.player("speech")`` makes one.

    As `Gallery`, which says what it takes and has, for a column of sound: bytes or paths, and with ``files``
    also names of files.
    """

    kind: ClassVar[CellKind] = "audio"
    wide: ClassVar[str] = "290px"
