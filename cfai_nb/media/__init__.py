"""Pictures, sound, video and documents: what bytes are, media that is read when it is sent, and cells that hold it."""

from .cells import Audio, Image
from .picture import Form, mime_of, sniff
from .source import Folder, Link, Media, Parts, as_folder, is_media, media_in, text_of

__all__ = [
    "Audio", "Folder", "Form", "Image", "Link", "Media", "Parts", "as_folder", "is_media", "media_in", "mime_of",
    "sniff", "text_of",
]  # fmt: skip
