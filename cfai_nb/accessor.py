"""``df.cfai`` and ``s.cfai``: one class for both, one line per verb.

It stands above the widgets, which it opens when they are used.  ``accessor.pyi`` is what editors and type checkers see
of it: made by ``python tests/make_stub.py`` from the definitions named here.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import re
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pandas as pd

from .errors import fold, near, takes_options
from .frame import arrow, dask, polars, rows
from .frame.progress import Display, Listener
from .frame.steps import Steps
from .frame.verb import FilterVerb, Function, RankVerb, TaskVerb, Verb
from .frame.verb_help import Help
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


class WidgetVerb(Verb):
    """Opens a widget of ``cf.widgets`` on the frame; the verb does not take the options that are `given` here."""

    def __init__(self, name: str, **given: Any) -> None:
        self._class, self.given = name, given

    @functools.cached_property
    def widget(self) -> Any:
        """Its class; the room of widgets is imported when one is used."""
        return getattr(importlib.import_module(f"{__package__}.widgets"), self._class)

    @functools.cached_property
    def definition(self) -> Callable[..., Steps[Any]]:
        """What it does: opens the widget, which sends nothing."""
        return self._steps

    def _steps(self, *args: Any, **options: Any) -> Steps[Any]:
        made = self.widget(*args, **options, **self.given)
        yield from ()
        return lambda: made

    @functools.cached_property
    def help(self) -> Help:
        """The signature and the docstring of the class, without the data."""
        _, *own = inspect.signature(self.widget).parameters.values()
        kept = [each.replace(annotation=each.empty) for each in own if each.name not in self.given]
        doc = re.sub(r"^data :.*\n(?: +.*\n)*", "", inspect.getdoc(self.widget) or "", flags=re.MULTILINE)
        return Help(inspect.Signature(kept), doc, [each.name for each in kept])


def _bar() -> AbstractContextManager[Listener]:
    from .widgets.progress import bar  # in a notebook only: importing the package is quick

    return bar()


class Accessor:
    """Verbs of Workers AI on a DataFrame or Series.

    Every verb has three forms: ``df.cfai.embed("text")`` does it, ``await df.cfai.embed.aio("text")`` does it in a
    coroutine, ``df.cfai.embed.plan("text")`` prices it and sends nothing.

    Verbs on vectors take ``on``, a column of vectors as ``embed`` makes it or as a file brings it back; or a column of
    text (or a template), which is embedded first: an ordinary ``embed``, priced and stored, so that the same texts cost
    once.  A Series needs none, and neither does a frame with one column of vectors.  Rows without a vector stay
    missing.  Vectors of different models, poolings or origins cannot be compared (ValueError), nor can columns that do
    not record theirs; ``as_vectors`` states it.  Parquet and Arrow files record it.  Everything is exact unless it says
    otherwise, and computed in blocks: an n-by-n matrix is never made.
    """

    embed = TaskVerb(Embed)
    classify = TaskVerb(Classify)
    generate = TaskVerb(Generate)
    ask = TaskVerb(Ask)
    check = TaskVerb(Check)
    score = TaskVerb(Score)
    sentiment = TaskVerb(Sentiment)
    filter = FilterVerb(Check)
    extract = TaskVerb(Extract)
    summarize = TaskVerb(Summarize)
    translate = TaskVerb(Translate)
    fix_grammar = TaskVerb(FixGrammar)
    mask = TaskVerb(Mask)
    image = TaskVerb(GenerateImage)
    caption = TaskVerb(Caption)
    detect = TaskVerb(Detect)
    transcribe = TaskVerb(Transcribe)
    speak = TaskVerb(Speak)
    to_markdown = TaskVerb(ToMarkdown)
    moderate = TaskVerb(Moderate)
    rank = RankVerb(Rank)
    run = Verb("frame.verb", "run")
    compare = Verb("frame.compare", "compare")
    tune = Verb("frame.tune", "tune")
    verify = Verb("frame.verb", "verify")

    as_vectors = Verb("frame.vectors", "as_vectors")
    search = Verb("frame.vectors", "search")
    similarity = Verb("frame.vectors", "similarity")
    sim_join = Verb("frame.vectors", "sim_join")
    dedupe = Verb("frame.vectors", "dedupe")
    cluster = Verb("frame.vectors", "cluster")
    label_clusters = Verb("frame.label_clusters", "label_clusters")
    discover = Verb("frame.label_clusters", "discover")
    project = Verb("frame.vectors", "project")
    outliers = Verb("frame.vectors", "outliers")
    to_vectorize = Verb("frame.vectorize.to_vectorize", "to_vectorize")
    to_ai_search = Verb("frame.ai_search.to_ai_search", "to_ai_search")
    answer = Verb("frame.ai_search.passages", "answer")

    map = Verb("widgets.map", "map_rows")
    playground = WidgetVerb("Playground")
    review = WidgetVerb("Review")
    preview = WidgetVerb("Preview")
    gallery = WidgetVerb("Gallery", kind="image")
    player = WidgetVerb("Gallery", kind="audio")

    def __init__(self, data: rows.Frame) -> None:
        self._data = data
        self._display: Display | None = _bar

    def __repr__(self) -> str:
        return f"<cfai of {len(self._data):,} rows: {', '.join(self._names)}>"

    def __getattr__(self, name: str) -> Any:
        meant = near(name, self._names) if not name.startswith("_") else ""
        hint = f"Did you mean {meant!r}?" if meant else f"Verbs: {', '.join(self._names)}."
        error = AttributeError(f"cfai has no {name!r}. {hint}")
        fold(error)
        raise error

    @property
    def _names(self) -> list[str]:
        return [name for name in dir(type(self)) if not name.startswith("_")]


#: ``cf.enrich``: its module, and pyarrow with it, is imported when it is used.
enrich = Function("frame.files.enrich", "enrich", "plan_of", _bar)


@takes_options()
def on(data: rows.Frame) -> Accessor:
    """Return the accessor of a frame as a typed call, since no type checker can see a registered one.

    Returns
    -------
    Accessor

    Examples
    --------
    >>> cf.on(df).embed("text")
    """
    return Accessor(data)


def register() -> None:
    """Give DataFrame and Series their ``cfai``, also those of Polars and Dask; and files their vectors."""
    arrow.register()
    polars.register(Accessor)
    dask.register(Accessor)
    for owner, add in (
        (pd.DataFrame, pd.api.extensions.register_dataframe_accessor),
        (pd.Series, pd.api.extensions.register_series_accessor),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            add("cfai")(Accessor)
        assert hasattr(owner, "cfai")
