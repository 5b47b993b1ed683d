"""What to ask: one file per verb, pure."""

from .answer import Answer, Json, Local, Request
from .ask import Ask
from .check import Check
from .classify import Classify
from .embed import Embed
from .extract import Extract
from .generate import Generate
from .mask import Mask
from .moderate import Moderate
from .questions import choice, scale, yes_no
from .rank import Rank
from .rewrite import FixGrammar, Summarize
from .score import Score
from .sentiment import Sentiment
from .stream import StreamReader
from .task import Cell, Cells, Column, Input, Talk, Task, shown
from .translate import Translate

__all__ = [
    "Answer",
    "Ask",
    "Cell",
    "Cells",
    "Check",
    "Classify",
    "Column",
    "Embed",
    "Extract",
    "FixGrammar",
    "Generate",
    "Input",
    "Json",
    "Local",
    "Mask",
    "Moderate",
    "Rank",
    "Request",
    "Score",
    "Sentiment",
    "StreamReader",
    "Summarize",
    "Talk",
    "Task",
    "Translate",
    "choice",
    "scale",
    "shown",
    "yes_no",
]
