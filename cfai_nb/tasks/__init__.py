"""What to ask: one file per verb, pure."""

from .ask import Ask
from .caption import Caption
from .check import Check
from .classify import Classify
from .detect import Detect
from .dialects.estimates import Estimate, estimate, forecast
from .dialects.inputs import Input, tokens_of
from .dialects.questions import choice, scale, yes_no
from .dialects.request import Answer, Json, Local, Request
from .dialects.stream import StreamReader
from .embed import Embed
from .extract import Extract
from .generate import Generate
from .image import GenerateImage
from .markdown import ToMarkdown
from .mask import Mask
from .moderate import Moderate
from .rank import Rank
from .rewrite import FixGrammar, Summarize
from .score import Score
from .sentiment import Sentiment
from .speak import Speak
from .task import Cell, Cells, Column, Conversation, Task, display_only
from .transcribe import Transcribe
from .translate import Translate

__all__ = [
    "Answer",
    "Ask",
    "Caption",
    "Cell",
    "Cells",
    "Check",
    "Classify",
    "Column",
    "Conversation",
    "Detect",
    "Embed",
    "Estimate",
    "Extract",
    "FixGrammar",
    "Generate",
    "GenerateImage",
    "Input",
    "Json",
    "Local",
    "Mask",
    "Moderate",
    "Rank",
    "Request",
    "Score",
    "Sentiment",
    "Speak",
    "StreamReader",
    "Summarize",
    "Task",
    "ToMarkdown",
    "Transcribe",
    "Translate",
    "choice",
    "display_only",
    "estimate",
    "forecast",
    "scale",
    "tokens_of",
    "yes_no",
]
