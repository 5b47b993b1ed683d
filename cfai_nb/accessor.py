"""``df.cfai`` and ``s.cfai``: one class for both, one entry per verb: its task, what it returns, and an example.

It stands above the widgets, which it opens when they are used.  ``accessor.pyi`` is what editors and type checkers see
of it: made by ``python tests/freeze.py`` from the definitions named here.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import re
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

import pandas as pd

from . import tasks
from .errors import fold, near, takes_options
from .frame import arrow, polars, rows
from .frame.progress import Display, Listener
from .frame.steps import Steps
from .frame.verb import FilterVerb, Function, RankVerb, TaskVerb, Verb
from .frame.verb_help import Help

#: What the verbs return that ask questions, beside their answers.
_BESIDE = "; with ``probabilities=True`` a DataFrame with the probabilities beside them."


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

    embed = TaskVerb(
        tasks.Embed, "Series: A vector a row, which records its model.", 'shop.cfai.embed("text").iloc[0].space'
    )
    classify = TaskVerb(
        tasks.Classify,
        f"Series or DataFrame: A label a row{_BESIDE}",
        'shop.cfai.classify("text", ["delivery", "praise"])',
    )
    generate = TaskVerb(
        tasks.Generate,
        "Series or DataFrame: A text a row; with ``n`` a list of texts, with ``schema`` a column a field.",
        'shop.cfai.generate("Answer in one line: {text}", max_tokens=40)',
    )
    ask = TaskVerb(
        tasks.Ask,
        "DataFrame: A column a question; with ``probabilities=True`` the probabilities beside them.",
        'shop.cfai.ask("text", {"refund": cf.yes_no("Money back?"), "mood": cf.scale("angry", "calm", "glad")})',
    )
    check = TaskVerb(
        tasks.Check,
        f"Series or DataFrame: True or False a row{_BESIDE}",
        'shop.cfai.check("text", "The customer wants money back")',
    )
    score = TaskVerb(
        tasks.Score,
        f"Series or DataFrame: A number a row{_BESIDE}",
        'shop.cfai.score("text", ["angry", "calm", "glad"]).round(2)',
    )
    sentiment = TaskVerb(tasks.Sentiment, f"Series or DataFrame: A mood a row{_BESIDE}", 'shop.cfai.sentiment("text")')
    filter = FilterVerb(
        tasks.Check,
        "DataFrame or Series: The rows for which the condition holds, as they are.",
        'shop.cfai.filter("text", "The customer wants money back")["text"]',
    )
    extract = TaskVerb(
        tasks.Extract,
        "DataFrame: A column a field, of the type asked for.",
        'shop.cfai.extract("text", {"thing": str, "parts": int})',
    )
    summarize = TaskVerb(tasks.Summarize, "Series: A text a row.", 'shop.cfai.summarize("text", max_words=8)')
    translate = TaskVerb(tasks.Translate, "Series: A text a row.", 'shop.cfai.translate("text", "German")')
    fix_grammar = TaskVerb(tasks.FixGrammar, "Series: A text a row.", 'shop.cfai.fix_grammar("text")')
    mask = TaskVerb(tasks.Mask, "Series: A text a row.", 'shop.cfai.mask("text", ["person", "email"])')
    image = TaskVerb(
        tasks.GenerateImage,
        "Series: A ``cf.Image`` a row; with ``n`` a list of them.",
        'shop.cfai.image("{photo} as a watercolour", size=256).map(lambda picture: picture.size)',
    )
    caption = TaskVerb(tasks.Caption, "Series: A text a row.", 'shop.cfai.caption("photo")')
    detect = TaskVerb(tasks.Detect, "Series: A list of boxes a row.", 'shop.cfai.detect("photo", "square").str.len()')
    transcribe = TaskVerb(
        tasks.Transcribe,
        "Series or DataFrame: A text a row; with ``details=True`` a DataFrame.",
        'shop.cfai.transcribe("voice")',
    )
    speak = TaskVerb(
        tasks.Speak, "Series: A ``cf.Audio`` a row.", 'shop.cfai.speak("product").map(lambda sound: sound.seconds)'
    )
    to_markdown = TaskVerb(tasks.ToMarkdown, "Series: A text a row.", 'shop.cfai.to_markdown("file").iloc[0]')
    moderate = TaskVerb(
        tasks.Moderate,
        "DataFrame: ``safe`` and ``categories``; with ``probabilities=True`` also the probabilities.",
        'shop.cfai.moderate("text")',
    )
    rank = RankVerb(
        tasks.Rank,
        "DataFrame: The rows, best first, with a column ``score``.",
        'shop.cfai.rank("text", "Where is my parcel?")[["text", "score"]].round(2)',
    )
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
    answer = Verb("frame.ai_search", "answer")

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
enrich = Function("frame.enrich", "enrich", "plan_of", _bar)


@takes_options()
def on(data: Any) -> Any:
    """Return the accessor of a frame as a typed call, since no type checker can see a registered one.

    Parameters
    ----------
    data : DataFrame or Series
        Of pandas, Polars or Dask; type checkers know it for pandas alone.

    Returns
    -------
    Accessor
        Of Polars and Dask the one that their frames have as ``.cfai``.

    Examples
    --------
    >>> cf.on(df).embed("text")
    """
    if isinstance(data, (pd.DataFrame, pd.Series)):
        return Accessor(data)
    if not hasattr(type(data), "cfai"):
        raise TypeError(f"on() takes a DataFrame or Series of pandas, Polars or Dask, not {type(data).__name__}.")
    return data.cfai


def _register_with_dask(module: ModuleType) -> None:
    from .frame import dask  # when Dask is there: importing the package is quick

    dask.register(Accessor, module)


def register() -> None:
    """Give DataFrame and Series their ``cfai``, also those of Polars and Dask; and files their vectors."""
    arrow.register()
    polars.register(Accessor)
    polars.when_imported("dask.dataframe", "DataFrame", _register_with_dask)
    for owner, add in (
        (pd.DataFrame, pd.api.extensions.register_dataframe_accessor),
        (pd.Series, pd.api.extensions.register_series_accessor),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            add("cfai")(Accessor)
        assert hasattr(owner, "cfai")
