"""ToMarkdown: documents as text."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from ..errors import AnswerError
from ..media import media_in
from ..models import Model, Usage
from .dialects import media, values
from .dialects.request import Answer, Cell, Cells, Column, Input, Request, members, reading
from .task import Task, display_only

#: The converter is not in the catalogue, and publishes no price: pictures are described by models, which costs.
CONVERTER = Model(id="tomarkdown", task="Markdown Conversion", family="tomarkdown")


@dataclass(frozen=True, kw_only=True)
class ToMarkdown(Task):
    """Turn documents (PDF, Office, HTML, pictures, ...) into Markdown.

    Attributes
    ----------
    css : str, optional
        Convert only the parts of a web page that this CSS selector finds: ``"article"``, ``"main .content"``.
    output : {"markdown", "text"}
        Markdown, or the bare text.
    metadata : bool, optional
        Whether the metadata of a PDF (title, author, pages) are placed before its text; default: the service's own.
    language : {"en", "it", "de", "es", "fr", "pt"}, optional
        The language in which pictures are described; default: English.
    max_images : int, optional
        How many of a document's pictures are described, 0 to 10; each costs Neurons.
    details : bool
        Return a DataFrame: ``markdown``, ``tokens`` (of it), ``mime``.  They are always kept.

    Notes
    -----
    One request per distinct document, so a file that cannot be converted does not affect other rows.  No price is
    published; a model describes pictures, which costs Neurons.
    """

    name: ClassVar[str] = "to_markdown"
    families: ClassVar[frozenset[str]] = frozenset({"tomarkdown"})
    kinds: ClassVar[frozenset[str]] = frozenset({"document", "image", "audio", "video"})
    default_model: ClassVar[str | Model] = CONVERTER

    css: str | None = None
    output: Literal["markdown", "text"] = "markdown"
    metadata: bool | None = None
    language: str | None = None
    max_images: int | None = None
    details: bool = display_only(False)

    @functools.cached_property
    def _conversion(self) -> media.Conversion:
        return media.Conversion(self.css, self.output, self.metadata, self.language, self.max_images)

    def check(self, model: Model) -> None:
        super().check(model)
        self._conversion.check()

    def build_request(self, inputs: Sequence[Input], model: Model) -> Request:
        (document,) = media_in(inputs[0])
        file = (document.name, document.content(), document.form.mime)
        return Request(form={"files": file, **self._conversion.form()}, path="tomarkdown", expected="document")

    def parse(self, answer: Answer, inputs: Sequence[Input], model: Model) -> Cells:
        """Return one cell ``{markdown, tokens, mime}``."""
        with reading("document"):
            (made,) = answer.json
            if made["format"] == "error":
                raise AnswerError(f"the document was not converted: {made.get('error')}"[:300], "document")
            tokens, mime = made.get("tokens"), made.get("mimeType")
            facts = {"mime": mime and values.text(mime), "tokens": None if tokens is None else values.whole(tokens)}
            return [{"markdown": values.text(made["data"]), **facts}]

    def estimate_usage(self, inputs: Sequence[Input], model: Model) -> Usage:
        """Count the documents; the price of describing pictures is not published."""
        return Usage({"documents": float(len(inputs))})

    def to_columns(self, cells: Sequence[Cell]) -> Column | Mapping[str, Column]:
        columns = members(cells, {"markdown": "text", "tokens": "integer", "mime": "text"})
        return columns if self.details else columns["markdown"]
