"""Pictures, sound, video and documents: what bytes are, media that is read late, and cells that hold it."""

from .cells import Audio, Image
from .form import Form, mime_of, sniff
from .source import Link, Media, Parts, is_media, media_in, words_of

__all__ = [
    "Audio",
    "Form",
    "Image",
    "Link",
    "Media",
    "Parts",
    "is_media",
    "media_in",
    "mime_of",
    "sniff",
    "words_of",
]
