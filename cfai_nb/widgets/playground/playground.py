"""`Playground`, the widget: a workbench with its panel and its page; ``df.cfai.playground`` makes one.

Its traits are its interface: the panel and the user's code change the same ones, so everything works without a
browser.
"""

from __future__ import annotations

import contextlib
import functools
from typing import Any

from .page import page, plain
from .panel import Panel
from .workbench import Workbench


class Playground(Workbench):
    """Prompts, models and settings tried on a few sample rows, until they are a line of code.

    In a notebook it shows boxes and buttons; everything can also be done from Python.  Every answer is kept in the
    store, so ``apply`` does not pay for the sample rows again.  When its cell runs again, variants and versions are
    still there; if the cell now starts with another draft, that one is edited, and the versions stay.

    Parameters
    ----------
    data : DataFrame or Series
    on : str, optional
        The column to work on, or a prompt with ``{column}`` in it.
    n : int
        Number of sample rows: the first rows that have text.
    rows : list of labels, optional
        The sample rows, instead of the first ones.
    name : str, optional
        The name of the frame in ``code``.  Default: its variable in the notebook.
    **draft
        The first draft: any of ``mode``, ``prompt``, ``model``, ``system``, ``labels``, ... below.

    Attributes
    ----------
    mode : {"generate", "classify", "ask", "extract"}
    prompt, system, instructions, model, temperature, max_tokens, schema, labels, questions, fields
        The variant being edited; ``schema``, ``labels``, ``questions`` and ``fields`` may be given as lines.
    variant : str
        The letter of that variant.
    problem : str
        Why it cannot run; empty if it can.
    running : bool
    compare : bool
        Mark changes since the version before.
    result : Series, DataFrame or None
        The result of the last run on all rows.

    Examples
    --------
    >>> p = df.cfai.playground("text", n=3)
    >>> p.prompt = "Summarize in five words: {text}"
    >>> p.run()
    >>> p.results
    >>> p.code
    >>> summaries = p.apply()
    """

    def _code(self) -> str:
        with contextlib.suppress(ValueError):
            return "" if self.problem else self.code
        return ""

    def page(self) -> str:
        """Return the page as HTML; it is the same live and saved."""
        inputs, trials = self.samples.texts(self.prompt), self._tried.shown(self._drafts)
        return page(inputs, trials, compare=self.compare, code=self._code())

    def __repr__(self) -> str:
        trials = [trial for trial, _ in self._tried.shown(self._drafts)]
        return plain(trials, self._code(), len(self.samples.positions))

    @functools.cached_property
    def panel(self) -> Panel:
        """The boxes and buttons, created on first use."""
        return Panel(self)

    @property
    def controls(self) -> Any:
        """The widget that holds them."""
        return self.panel.controls
