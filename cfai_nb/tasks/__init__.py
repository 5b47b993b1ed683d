"""What to ask: one file per verb, pure."""

from .caption import Caption
from .chat_task import ChatTask
from .classify import Classify
from .detect import Detect
from .dialects.extraction import Estimate, estimate, forecast
from .dialects.question_types import choice, scale, yes_no
from .dialects.reply import StreamReader, reported
from .dialects.request import Answer, Input, Json, Local, Request, tokens_of
from .embed import Embed
from .extract import Extract
from .generate import Generate
from .image import GenerateImage
from .markdown import ToMarkdown
from .moderate import Moderate
from .questions import Ask, Check, Score, Sentiment, Verify
from .rank import Rank
from .rewrite import FixGrammar, Mask, Summarize, Translate
from .speak import Speak
from .task import Cell, Cells, Column, Conversation, DialectTask, Task, display_only
from .transcribe import Transcribe

__all__ = [
    "Answer",
    "Ask",
    "Caption",
    "Cell",
    "Cells",
    "ChatTask",
    "Check",
    "Classify",
    "Column",
    "Conversation",
    "Detect",
    "DialectTask",
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
    "Verify",
    "choice",
    "display_only",
    "estimate",
    "forecast",
    "reported",
    "scale",
    "tokens_of",
    "yes_no",
]
