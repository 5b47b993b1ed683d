"""cfai_nb: DataFrame verbs for Cloudflare Workers AI, with the price known first.

    >>> import cfai_nb as cf
    >>> session = cf.connect("emulator")
    >>> df = cf.sample("tickets")
    >>> df["topic_guess"] = df.cfai.classify("text", ["billing", "shipping", "bug"])

``import cfai_nb`` gives every DataFrame and Series a ``.cfai``; everything heavy is loaded when it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .accessor import Accessor, enrich, on
from .accessor import register as _register
from .errors import (
    AccessError,
    AnswerError,
    BudgetError,
    Busy,
    CfaiError,
    ColumnError,
    InputError,
    ModelError,
    QuotaExhausted,
    RateLimited,
    Refused,
    RowError,
    RowsFailed,
    ServiceError,
    SetupError,
    Stopped,
    StoreError,
    TooLarge,
    Unavailable,
)
from .frame import progress as _progress
from .frame.call import last_run
from .frame.cascades import Cascade
from .models import Model, Usage
from .session.listings import ledger, models
from .tasks import (
    Answer,
    AnswerFrom,
    Ask,
    Caption,
    Check,
    Classify,
    Column,
    Detect,
    Embed,
    Extract,
    FixGrammar,
    Generate,
    GenerateImage,
    Mask,
    Moderate,
    Rank,
    Request,
    Score,
    Sentiment,
    Speak,
    Summarize,
    Task,
    ToMarkdown,
    Transcribe,
    Translate,
    Verify,
    choice,
    estimate,
    forecast,
    scale,
    yes_no,
)
from .vectors.matrix import matrix

if TYPE_CHECKING:
    from collections.abc import Callable

    from . import emulator, plots, quality, vectors, widgets
    from ._engine.run_options import Gateway
    from .data import sample
    from .frame.gold import gold
    from .frame.report import CfaiWarning, Report
    from .media import Audio, Image
    from .models.ledger import Budget
    from .session import Session, connect
    from .session.requests import feedback, stream

__version__ = "0.1.0"

__all__ = [
    "AccessError", "Accessor", "Answer", "AnswerError", "AnswerFrom", "Ask", "Audio", "Budget", "BudgetError", "Busy",
    "Caption", "Cascade", "CfaiError", "CfaiWarning", "Check", "Classify", "Column", "ColumnError", "Detect", "Embed",
    "Extract", "FixGrammar", "Gateway", "Generate", "GenerateImage", "Image", "InputError", "Mask", "Model",
    "ModelError", "Moderate", "QuotaExhausted", "Rank", "RateLimited", "Refused", "Report", "Request", "RowError",
    "RowsFailed", "Score", "Sentiment", "ServiceError", "Session", "SetupError", "Speak", "Stopped", "StoreError",
    "Summarize", "Task", "ToMarkdown", "TooLarge", "Transcribe", "Translate", "Unavailable", "Usage", "Verify",
    "choice", "connect", "emulator", "enrich", "estimate", "feedback", "forecast", "gold", "last_run", "ledger",
    "listen", "matrix", "models", "on", "plots", "quality", "sample", "scale", "stream", "use_notebook_loop", "vectors",
    "widgets", "yes_no",
]  # fmt: skip

# Loaded on first use: name -> (module, attribute; None for the module itself).
_LAZY = {
    "Audio": ("media", "Audio"),
    "Budget": ("models.ledger", "Budget"),
    "CfaiWarning": ("frame.report", "CfaiWarning"),
    "Gateway": ("_engine.run_options", "Gateway"),
    "Image": ("media", "Image"),
    "feedback": ("session.requests", "feedback"),
    "gold": ("frame.gold", "gold"),
    "Report": ("frame.report", "Report"),
    "Session": ("session", "Session"),
    "connect": ("session", "connect"),
    "emulator": ("emulator", None),
    "load_ipython_extension": ("widgets.magics", "load_ipython_extension"),  # %load_ext cfai_nb
    "plots": ("plots", None),
    "quality": ("quality", None),
    "sample": ("data", "sample"),
    "stream": ("session.requests", "stream"),
    "vectors": ("vectors", None),
    "widgets": ("widgets", None),
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _LAZY[name]
    loaded = importlib.import_module(f".{module}", __name__)
    return loaded if attribute is None else getattr(loaded, attribute)


def __dir__() -> list[str]:
    return sorted(__all__)


def use_notebook_loop(wanted: bool = True) -> None:
    """Run everything on this notebook's own event loop, which nest-asyncio makes re-entrant, or go back.

    For coroutines and locks that belong to the notebook's loop, and for background tasks of the notebook that must go
    on while a cell waits.  Not needed for anything else; it patches asyncio for the whole process.

    Raises
    ------
    SetupError
        There is no running loop, it is not asyncio's own, or the archived nest_asyncio broke it (Python 3.14).

    Examples
    --------
    >>> cf.use_notebook_loop()
    """
    from ._engine.bridge import bridge

    bridge.use_notebook_loop(wanted)


def listen(listener: Callable[[Any], Any]) -> _progress.Listening:
    """Call ``listener(event)`` about ten times a second during every run, and at its end.

    ``listening = cf.listen(print)`` goes on until ``listening.close()``; ``with cf.listen(print): ...`` ends by itself.

    Returns
    -------
    Listening

    Examples
    --------
    >>> with cf.listen(lambda event: print(event.done, event.spent.usd)):
    ...     df.cfai.embed("text")
    """
    return _progress.Listening(listener)


_register()
