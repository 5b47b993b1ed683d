"""What to ask: one file per verb, pure."""

from .answer import Answer, Json, Request
from .ask import Ask
from .check import Check, Score, Sentiment
from .classify import Classify
from .embed import Embed
from .generate import Generate
from .questions import choice, scale, yes_no
from .stream import StreamReader
from .task import Cell, Cells, Column, Input, Talk, Task, shown

__all__ = [
    "Answer",
    "Ask",
    "Cell",
    "Cells",
    "Check",
    "Classify",
    "Column",
    "Embed",
    "Generate",
    "Input",
    "Json",
    "Request",
    "Score",
    "Sentiment",
    "StreamReader",
    "Talk",
    "Task",
    "choice",
    "scale",
    "shown",
    "yes_no",
]
