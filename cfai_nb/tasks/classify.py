"""Classify: one label per row, with a probability for each."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..models import Model
from .dialects import decision
from .dialects import labels as ways
from .dialects.request import Cell, Column, Dialect, Input, Json
from .task import DialectTask, display_only


@dataclass(frozen=True, kw_only=True)
class Classify(DialectTask):
    """Give each row one of the labels.

    Attributes
    ----------
    labels : list of str, or dict of label to description
        At least two.  A description helps the model more than a long label does; a list or dict in its place holds the
        labels within, and coarse ones are asked first.  ``resnet-50`` has 1,000 labels of its own and is given none.
    instructions : str, optional
        What is being decided; default "Which label fits the text best?".
    multiple : bool
        Give each row any number of the labels (at most 64), as a list: a yes or no for each.
    threshold : float
        With ``multiple``: minimum probability of a label (default 0.5).
    uncertain : float, optional
        Rows below it are missing, and ``cf.last_run().uncertain`` lists them.  Changing it sends no new requests.
    probabilities : bool
        Return a DataFrame ``label, confidence, p__<label>`` instead of a categorical Series; ``confidence`` is the
        probability of the label given, and left out with ``multiple``.  They are always kept, so asking for them later
        sends nothing.

    Notes
    -----
    Decision models (the default, ``clef-flash``) give calibrated probabilities and charge what they read.  A chat model
    answers with a label alone, and ``probabilities=True`` is refused for it.  Its whole answer has to be one of the
    labels, in any case and with any punctuation around it: a label within a sentence ("not billing") is a failed row.
    ``distilbert-sst-2-int8`` has two labels, negative and positive.  Rows may be pictures for models that see (also
    ``llava`` and ``moondream``, with a label alone).  One request per distinct row.

    Labels within labels give a DataFrame ``label, coarse, path`` ("refund", "billing", "billing > refund"), and with
    ``probabilities`` also ``confidence``, the product along the path, and ``p__<path>``, missing where it was not asked
    about.  One request a level; changing any label asks all levels again.
    """

    name: ClassVar[str] = "classify"
    version: ClassVar[int] = 2
    default_model: ClassVar[str | Model] = "classify"
    positional: ClassVar[tuple[str, ...]] = ("labels",)
    families: ClassVar[frozenset[str]] = ways.LABELLERS
    fallback: ClassVar[str] = "generate"
    kinds: ClassVar[frozenset[str]] = decision.KINDS

    labels: Sequence[str] | Mapping[str, Any] | None = None
    instructions: str = ways.BEST
    multiple: bool = False
    threshold: float = display_only(0.5)
    uncertain: float | None = display_only(None)
    probabilities: bool = display_only(False)

    @functools.cached_property
    def way(self) -> ways.Labels:
        """What is asked, and how an answer is read."""
        return ways.way_of(self.labels, self.instructions, multiple=self.multiple)

    def key_fields(self) -> dict[str, Json]:
        return {name: value for name, value in super().key_fields().items() if name != "multiple" or value}

    def input_kinds(self, model: Model) -> frozenset[str]:
        return ways.kinds_for_label(model)

    def check(self, model: Model) -> None:
        super().check(model)
        self.way.check(model)
        ways.check_numbers(self.threshold, self.uncertain, self.probabilities, model)

    def caution(self, model: Model) -> str:
        return decision.weakness(self.way.choices, model)

    def remarks(self, inputs: Sequence[Input], model: Model) -> list[str]:
        return [*super().remarks(inputs, model), *self.way.remarks(inputs, model)]

    def turns(self, model: Model) -> tuple[int, str]:
        return self.way.shallowest, ""

    def dialect(self, model: Model) -> Dialect:
        return self.way.dialect(model)

    def to_columns(self, cells: Sequence[Cell]) -> Column | Mapping[str, Column]:
        shown = [None if cell is None or self.unsure(cell) else cell for cell in cells]
        return self.way.columns(shown, self.threshold, all_=self.probabilities)

    def unsure(self, cell: Cell) -> bool:
        return self.way.unsure(cell, self.uncertain)
