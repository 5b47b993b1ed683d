"""Whose account is asked: connecting, credentials, model selection, listings, streams and feedback."""

from .session import Session, connect, current, folder

__all__ = ["Session", "connect", "current", "folder"]
