"""What to ask: one file per verb, pure."""

from .answer import Answer, Json, Request
from .classify import Classify
from .embed import Embed
from .generate import Generate
from .stream import StreamReader
from .task import Cell, Cells, Column, Input, Talk, Task, shown

__all__ = [
    "Answer",
    "Cell",
    "Cells",
    "Classify",
    "Column",
    "Embed",
    "Generate",
    "Input",
    "Json",
    "Request",
    "StreamReader",
    "Talk",
    "Task",
    "shown",
]
