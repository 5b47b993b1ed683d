"""``df.cfai`` and ``s.cfai``: one class for both, one line per verb."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pandas as pd

from .errors import near, takes_options
from .frame import arrow, rows
from .frame.vectors import Exploring
from .frame.verb import AnyTask, FilterVerb, RankVerb, Verb
from .tasks import (
    Ask,
    Caption,
    Check,
    Classify,
    Detect,
    Embed,
    Extract,
    FixGrammar,
    Generate,
    GenerateImage,
    Mask,
    Moderate,
    Rank,
    Score,
    Sentiment,
    Speak,
    Summarize,
    ToMarkdown,
    Transcribe,
    Translate,
)

if TYPE_CHECKING:
    from .frame.compare import Compare

#: What rooms above give a frame, by name: put in place by the front door, so that nothing here imports them.
above: dict[str, Callable[..., Any]] = {}


class Accessor(Exploring):
    """Verbs of Workers AI on a DataFrame or Series.

    Every verb has three forms: ``df.cfai.embed("text")`` does it, ``await df.cfai.embed.aio("text")`` does it in a
    coroutine, ``df.cfai.embed.plan("text")`` prices it and sends nothing.  What works on vectors that are there
    (``search``, ``dedupe``, ``cluster`` and so on) is a plain method.
    """

    embed = Verb(Embed)
    classify = Verb(Classify)
    generate = Verb(Generate)
    ask = Verb(Ask)
    check = Verb(Check)
    score = Verb(Score)
    sentiment = Verb(Sentiment)
    filter = FilterVerb(Check)
    extract = Verb(Extract)
    summarize = Verb(Summarize)
    translate = Verb(Translate)
    fix_grammar = Verb(FixGrammar)
    mask = Verb(Mask)
    image = Verb(GenerateImage)
    caption = Verb(Caption)
    detect = Verb(Detect)
    transcribe = Verb(Transcribe)
    speak = Verb(Speak)
    to_markdown = Verb(ToMarkdown)
    moderate = Verb(Moderate)
    rank = RankVerb(Rank)

    def __init__(self, data: rows.Frame) -> None:
        self._data = data

    def __repr__(self) -> str:
        return f"<cfai of {len(self._data):,} rows: {', '.join(self._names)}>"

    def __getattr__(self, name: str) -> Any:
        meant = near(name, self._names) if not name.startswith("_") else ""
        hint = f" Did you mean {meant!r}?" if meant else ""
        raise AttributeError(f"cfai has no {name!r}.{hint}")

    @property
    def _names(self) -> list[str]:
        return [name for name in dir(type(self)) if not name.startswith("_")]

    @property
    def run(self) -> AnyTask:
        """Run any task, also one written in a cell: ``df.cfai.run(MyTask(...), on="text")``."""
        return AnyTask(self._data)

    @property
    def compare(self) -> Compare:
        """Put one task to several models: ``df.cfai.compare(cf.Classify(labels=[...]), "text", models=[...])``."""
        from .frame.compare import Compare  # when it is used: importing the package is quick

        return Compare(self._data)

    def playground(self, on: str | None = None, *, n: int = 5, **options: Any) -> Any:
        """Try prompts and models on a few rows until they are code; see ``cf.widgets.Playground``.

        Parameters
        ----------
        on : str, optional
            The column to work on, or a prompt with ``{column}`` in it.
        n : int
            How many rows are tried: the first ones that have text.
        **options
            What it begins with: ``mode``, ``rows``, ``model``, ``system``, ``labels``, ...

        Returns
        -------
        Playground
            With ``run()``, ``results``, ``versions``, ``code`` and ``apply()``.
        """
        return above["playground"](self._data, on, n=n, **options)

    @property
    def map(self) -> Any:
        """Lay rows out on a map, to select, label and describe them: ``df.cfai.map("text", color="team")``."""
        return above["map"](self._data)

    @takes_options("filter", "failures", "sound", "files")
    def preview(self, columns: Any = None, n: int = 12, page: int = 0, **options: Any) -> Any:
        """Look at rows: thumbnails, players, bars of vectors, texts, and what failed; see ``cf.widgets.Preview``.

        Parameters
        ----------
        columns : column or list of columns, optional
            Default: eight at most, media first.
        n : int
            Rows a page.
        page : int
            The first to show, from 0.
        **options
            ``filter``, ``failures``, ``sound``, ``files``.

        Returns
        -------
        Preview
            Only what is on its page is read.
        """
        return above["preview"](self._data, columns, n, page, **options)

    @takes_options("page", "filter", "sound", "files")
    def gallery(self, column: Any = None, caption: Any = None, n: int = 12, **options: Any) -> Any:
        """Look through the pictures of a column and pick rows; see ``cf.widgets.Gallery``.

        Parameters
        ----------
        column : column, optional
            Default: the first that holds pictures.
        caption : column or list of columns, optional
            The words beneath.
        n : int
            Pictures a page.
        **options
            ``page``, ``filter``, ``files``.

        Returns
        -------
        Gallery
            ``.picked`` is the part of the frame that was picked.
        """
        return above["gallery"](self._data, column, caption, n, **options)

    @takes_options("page", "filter", "sound", "files")
    def player(self, column: Any = None, caption: Any = None, n: int = 12, **options: Any) -> Any:
        """Listen to the sounds of a column and pick rows: as ``gallery``, for sound; see ``cf.widgets.Player``."""
        return above["player"](self._data, column, caption, n, **options)


def on(data: rows.Frame) -> Accessor:
    """Return the accessor of a frame as a typed call: no checker can see a registered one."""
    return Accessor(data)


def register() -> None:
    """Give DataFrame and Series their ``cfai``, and files their vectors; quiet when that is done already (a reload)."""
    arrow.register()
    for owner, add in (
        (pd.DataFrame, pd.api.extensions.register_dataframe_accessor),
        (pd.Series, pd.api.extensions.register_series_accessor),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            add("cfai")(Accessor)
        assert hasattr(owner, "cfai")
