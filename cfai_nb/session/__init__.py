"""The connection to an account: credentials, model selection, listings, streams and feedback."""

from .session import Session, connect, current, files_folder

__all__ = ["Session", "connect", "current", "files_folder"]
