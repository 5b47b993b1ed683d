"""The variants of a playground: drafts by letter, one of which is edited through traits, and the calls they make.

In: sample rows and the first draft.  Out: `Variants`, on which `Workbench` builds; each change is checked at once,
and ``problem`` says why the draft cannot run.
"""

from __future__ import annotations

import dataclasses
import string
from collections.abc import Mapping
from typing import Any

import pandas as pd
import traitlets

from ..._engine.plan import Plan
from ...errors import CfaiError, refuse_unknown
from ...frame import rows
from ...frame.call import Call
from ...frame.verb import BoundTaskVerb, TaskVerb
from ..base import View
from . import text_forms
from .draft import MODES, Draft
from .sample_rows import SampleRows

_VERBS = {name: TaskVerb(mode.task) for name, mode in MODES.items()}
#: The fields of a draft; each is a trait.
FIELDS = tuple(field.name for field in dataclasses.fields(Draft))


class Variants(View):
    """Drafts by letter; the traits are those of the one being edited."""

    mode = traitlets.Enum(list(MODES), "generate")
    prompt = traitlets.Unicode("")
    system = traitlets.Unicode("")
    instructions = traitlets.Unicode("")
    model = traitlets.Unicode("")
    temperature = traitlets.Float(None, allow_none=True)
    max_tokens = traitlets.Int(None, allow_none=True)
    schema = traitlets.Any(None)
    labels = traitlets.Any(None)
    questions = traitlets.Any(None)
    fields = traitlets.Any(None)
    variant = traitlets.Unicode("A")
    problem = traitlets.Unicode("")

    def __init__(self, samples: SampleRows, name: str | None, first: Mapping[str, Any]) -> None:
        super().__init__()
        self.samples, self.data = samples, samples.data
        self.name = name or ("s" if isinstance(samples.data, pd.Series) else "df")
        self._drafts: dict[str, Draft] = {"A": Draft()}
        self._set(first)
        self.check()
        self.observe(lambda change: self._edited(), FIELDS)
        self.observe(lambda change: self._show_variant(), "variant")

    def draw(self) -> None:
        """Show the current state."""
        raise NotImplementedError

    def _set(self, values: Mapping[str, Any]) -> None:
        with self.hold_trait_notifications():
            for name, value in values.items():
                setattr(self, name, value)

    @traitlets.validate("schema", "labels", "questions", "fields")  # type: ignore[untyped-decorator, unused-ignore]
    def _read_lines(self, proposal: Any) -> Any:
        value = proposal["value"]
        return text_forms.read(proposal["trait"].name, value) if isinstance(value, str) else value or None

    @traitlets.validate("variant")  # type: ignore[untyped-decorator, unused-ignore]
    def _known(self, proposal: Any) -> str:
        letter = str(proposal["value"])
        if letter not in self._drafts:
            raise ValueError(f"There is no variant {letter!r}; there are {', '.join(self._drafts)}. p.add() adds one.")
        return letter

    @property
    def draft(self) -> Draft:
        """The variant being edited, as plain data."""
        return Draft(**{name: getattr(self, name) for name in FIELDS})

    @draft.setter
    def draft(self, draft: Draft) -> None:
        self._set(draft.values())

    def restore_drafts(self, drafts: Mapping[str, Draft], variant: str) -> None:
        """Continue with these variants, and edit one of them."""
        self._drafts.update(drafts)
        self.variant = variant
        self._show_variant()

    @property
    def variants(self) -> Mapping[str, Draft]:
        """All variants by letter."""
        return dict(self._drafts)

    def check(self) -> None:
        """Keep the draft under its letter, and set ``problem``."""
        self._drafts[self.variant] = draft = self.draft
        problem = ""
        try:
            self.call(draft, self.data.iloc[:0])
        except (CfaiError, ValueError, TypeError) as error:
            problem = str(error)
        self.problem = problem

    def _edited(self) -> None:
        self.check()
        self.draw()

    def _show_variant(self) -> None:
        self.draft = self._drafts[self.variant]
        self._edited()

    # -- code ----------------------------------------------------------------------------------------------------

    @property
    def code(self) -> str:
        """The line that makes this call on the whole frame.

        Raises
        ------
        ValueError
            A required field is empty.
        """
        return self.draft.code(self.name, series=self.samples.series)

    def call(self, draft: Draft, data: rows.Frame, **options: Any) -> Call:
        """Return the call of a draft on some rows, checked but not started."""
        args, fields = draft.call(series=self.samples.series)
        return BoundTaskVerb(_VERBS[draft.mode], data).call(*args, **fields, **options)

    def plan(self, **options: Any) -> Plan:
        """Price the variant on the whole frame; nothing is sent."""
        return self.call(self.draft, self.data, **options).plan()

    # -- several -------------------------------------------------------------------------------------------------

    def add(self, **changes: Any) -> str:
        """Add a variant like the one being edited, with these changes; edit it, and return its letter."""
        refuse_unknown("add", changes, FIELDS)
        free = [letter for letter in string.ascii_uppercase if letter not in self._drafts]
        if not free:
            raise ValueError("There are 26 variants already; drop one first.")
        self._drafts[free[0]], before = self.draft, self.variant
        self.variant = free[0]
        try:
            self._set(changes)
        except Exception:
            self.drop(free[0], before)
            raise
        return free[0]

    def drop(self, variant: str, instead: str | None = None) -> None:
        """Drop a variant; its versions are kept."""
        if len(self._drafts) == 1:
            raise ValueError("The last variant cannot be dropped.")
        if variant not in self._drafts:
            raise ValueError(f"There is no variant {variant!r}; there are {', '.join(self._drafts)}.")
        others = [letter for letter in self._drafts if letter != variant]
        if self.variant == variant:
            self.variant = instead or others[-1]
        del self._drafts[variant]
        self.draw()
