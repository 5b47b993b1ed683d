"""What to ask a model: one file per verb, plain data and plain functions."""

from .answer_from import AnswerFrom
from .ask import Ask
from .check import Check, Score, Sentiment, Verify
from .classify import Classify
from .dialects.extraction import estimate, forecast
from .dialects.question_types import choice, scale, yes_no
from .dialects.reply import StreamReader, reported
from .dialects.request import Answer, Cells, Column, Conversation, Input, Json, Local, Request, tokens_of
from .embed import Embed
from .extract import Extract
from .generate import Generate
from .image import GenerateImage
from .markdown import ToMarkdown
from .moderate import Moderate
from .pictures import Caption, Detect
from .rank import Rank
from .rewrite import FixGrammar, Mask, Summarize, Translate
from .speech import Speak, Transcribe
from .task import ChatTask, DialectTask, Task, display_only

__all__ = [
    "Answer", "AnswerFrom", "Ask", "Caption", "Cells", "ChatTask", "Check", "Classify", "Column", "Conversation",
    "Detect", "DialectTask", "Embed", "Extract", "FixGrammar", "Generate", "GenerateImage", "Input", "Json", "Local",
    "Mask", "Moderate", "Rank", "Request", "Score", "Sentiment", "Speak", "StreamReader", "Summarize", "Task",
    "ToMarkdown", "Transcribe", "Translate", "Verify", "choice", "display_only", "estimate", "forecast", "reported",
    "scale", "tokens_of", "yes_no",
]  # fmt: skip
