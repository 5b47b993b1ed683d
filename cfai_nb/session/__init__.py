"""The connection to an account: credentials, model selection, listings, streams and feedback.

``session`` is loaded on first use, since it brings the engine; the listings work without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .session import Session, connect, current, files_folder

__all__ = ["Session", "connect", "current", "files_folder"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import session

    globals()[name] = found = getattr(session, name)
    return found
