"""What to ask: one file per verb, pure."""

from .answer import Answer, Json, Request
from .ask import Ask
from .check import Check, Score, Sentiment
from .classify import Classify
from .embed import Embed
from .extract import Extract
from .generate import Generate
from .inputs import Input, tokens_of
from .questions import choice, scale, yes_no
from .rewrite import FixGrammar, Mask, Summarize
from .stream import StreamReader
from .task import Cell, Cells, Column, Talk, Task, shown
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
    "Mask",
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
    "tokens_of",
    "yes_no",
]
