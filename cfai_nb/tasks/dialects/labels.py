"""How a label is asked for: as a decision, in words about a picture, or by the scores of a model with its own labels.

``classify`` hands in its labels and gets a cell for each row.  Labels that hold further labels are a ``Taxonomy``: a
coarse question first, and then one about the labels within the answer.  These are turns of one conversation, charged,
stopped and resumed as those of any task, and its cell has the shape that a plain choice has.
"""

from __future__ import annotations

import functools
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import AnswerError, ModelError
from ...html.markup import counted
from ...media import media_in, text_of
from ...models import Model, Usage, names_of_models, price
from ...models.ledger import money
from . import chat, values
from .decision import FAMILIES, KINDS, OneQuestion, Questionnaire, check_probabilities, check_threshold
from .question_types import MOST_QUESTIONS, Choice, YesNo, holds
from .request import Answer, Cell, Column, Dialect, Dialogue, Input, Request, members, reading, shown_to, tokens_of

#: Families with labels of their own, which they score, and the kind of their input.
_SCORERS = {"distilbert": "text", "resnet": "image"}
#: Families with vision that answer only in words.
_SEERS = chat.SEEING - chat.FAMILIES
LABELLERS = FAMILIES | frozenset(_SCORERS) | _SEERS
#: Models that give a probability for each label.
WITH_PROBABILITIES = frozenset({"system-one"}) | frozenset(_SCORERS)
#: The default question about labels.
BEST = "Which label fits the text best?"
_WORDS = chat.Settings(max_tokens=64)
#: Between the labels of a path; no label may hold it.
ARROW = " > "
#: Labels that describe the one they are within.
_NAMED = 12


def kinds_for_label(model: Model) -> frozenset[str]:
    """Return the kinds of input that a model takes for a label."""
    if model.family in _SCORERS:
        return frozenset({_SCORERS[model.family]})
    return frozenset({"image"}) if model.family in _SEERS else KINDS & shown_to(model)


class Labels:
    """Labels of which a row gets one; None: those that a model has of its own.

    Attributes
    ----------
    choices : tuple of Choice
        The questions of which a model has to choose one answer each.
    shallowest : int
        How many requests a row takes at least.
    """

    shallowest = 1

    def __init__(self, choice: Choice | None) -> None:
        self.choice = choice
        self.choices: tuple[Choice, ...] = () if choice is None else (choice,)
        self._dialects: dict[str, Dialect] = dict.fromkeys(_SCORERS, Scored(choice))
        if choice is not None:
            self._dialects |= dict.fromkeys(_SEERS, InWords(choice))
            self._dialects |= dict.fromkeys(FAMILIES, OneQuestion({"label": choice}))

    def question(self, model: Model) -> Dialect:
        """Return how this model is asked for one of the labels."""
        return self._dialects[model.family or ""]

    def dialect(self, model: Model) -> Dialect:
        """Return how this model is asked; of a conversation, the first question, and the price of all."""
        return self.question(model)

    def remarks(self, inputs: Sequence[Input], model: Model) -> list[str]:
        """Return what a plan should say besides its price."""
        return []

    def check(self, model: Model) -> None:
        """Refuse labels that the model does not have, or cannot read."""
        if model.family == "resnet":
            if self.choice is not None:
                raise ModelError(f"{model.id} has its own 1,000 labels; leave labels= out, or use another model.")
        elif self.choice is None:
            raise ValueError("labels: give at least two labels, as a list or a dict.")
        elif model.family == "distilbert":
            if not {name.lower() for name in self.choice.names} <= {"negative", "positive"}:
                raise ModelError(f"{model.id} only tells negative from positive; use clef-flash for other labels.")
        elif isinstance(asked := self.question(model), Questionnaire):
            asked.check(model)

    def confidence(self, cell: Cell) -> float | None:
        """Return how sure an answer is; None where the model gives no probability."""
        sure: float | None = cell["confidence"]
        return sure

    def unsure(self, cell: Cell, limit: float | None) -> bool:
        """Return whether an answer is below a confidence, or has none."""
        return limit is not None and ((sure := self.confidence(cell)) is None or sure < limit)

    def columns(self, cells: Sequence[Cell], threshold: float, *, all_: bool) -> Column | Mapping[str, Column]:
        """Lay the cells out; with ``all_`` the probabilities, too."""
        if self.choice is None:
            found = members(cells, {"label": "category", "confidence": "number", "p": "object"})
        else:
            named = self.choice.columns("label", cells, 0.5, all_=all_)
            found = {name.removeprefix("label__"): column for name, column in named.items()}
        return found if all_ else found["label"]


class AnyLabels(Labels):
    """Labels of which a row gets any number: a yes or no for each."""

    def __init__(self, choice: Choice | None) -> None:
        super().__init__(None)  # nothing is chosen
        self._options = () if choice is None else choice.options
        asked = "" if choice is None or choice.instructions == BEST else f"{choice.instructions} "
        each = {name: YesNo(f"{asked}Does the label {name!r} fit the text?", yes=what) for name, what in self._options}
        self._asked = Questionnaire(each)

    def dialect(self, model: Model) -> Dialect:
        return self._asked

    def check(self, model: Model) -> None:
        if not 2 <= len(self._options) <= MOST_QUESTIONS or model.family not in FAMILIES:
            able = names_of_models(lambda other: other.family == "system-one")
            raise ModelError(f"multiple=True takes 2 to {MOST_QUESTIONS} labels, and a chat model or one of: {able}.")
        self._asked.check(model)

    def confidence(self, cell: Cell) -> float | None:
        """Return that of the label that the model is least sure of; None where one has no probability."""
        p = [part["p"] for part in cell.values()]
        return None if None in p else min(max(one, 1 - one) for one in p)

    def columns(self, cells: Sequence[Cell], threshold: float, *, all_: bool) -> Column | Mapping[str, Column]:
        names = [name for name, _ in self._options]
        label = Column([cell and [name for name in names if holds(cell[name], threshold)] for cell in cells], "object")
        if not all_:
            return label
        p = {f"p__{name}": Column([cell and cell[name]["p"] for cell in cells], "number") for name in names}
        return {"label": label, **p}


class Taxonomy(Labels, Dialogue):
    """Labels, some of which hold further labels: a choice between the coarsest, and what is within each of those."""

    def __init__(self, choice: Choice, within: Mapping[str, Taxonomy]) -> None:
        super().__init__(choice)
        self.names, self.within = choice.names, within
        inner = [within.get(name) for name in self.names]
        self.shallowest = 1 + min(0 if one is None else one.shallowest for one in inner)
        self.depth: int = 1 + max(0 if one is None else one.depth for one in inner)
        self.choices = (choice, *(each for one in inner if one is not None for each in one.choices))

    def every(self, above: str = "") -> Iterator[tuple[str, bool]]:
        """Yield the path of every label in their order, and whether it holds others."""
        for name in self.names:
            yield above + name, name in self.within
            if name in self.within:
                yield from self.within[name].every(f"{above}{name}{ARROW}")

    @functools.cached_property
    def paths(self) -> tuple[str, ...]:
        """The path of each label that holds no others."""
        return tuple(path for path, holds in self.every() if not holds)

    def dialect(self, model: Model) -> Dialect:
        return self

    def build_request(self, value: Input, model: Model) -> Request:
        """Return the first question."""
        return self.question(model).build_request(value, model)

    def parse(self, answer: Answer, value: Input, model: Model) -> Cell:
        """Return the answer to the first question."""
        return self.question(model).parse(answer, value, model)

    def conversation(self, value: Input, model: Model) -> Generator[Request, Answer, Cell]:
        """Ask down to a label that holds no others; return ``{label, confidence, p}``.

        ``p`` holds the path of every label that was asked about, with the product of the probabilities along it.
        """
        node: Taxonomy | None = self
        path: list[str] = []
        sure: float | None = 1.0
        known: dict[str, float] | None = {}
        while node is not None:
            dialect = node.question(model)
            answer = yield dialect.build_request(value, model)
            cell = dialect.parse(answer, value, model)
            if cell["p"] is None or sure is None or known is None:
                known = None
            else:
                known |= {ARROW.join((*path, name)): sure * p for name, p in cell["p"].items()}
            sure = None if sure is None or cell["confidence"] is None else sure * cell["confidence"]
            path.append(cell["label"])
            node = node.within.get(cell["label"])
        return {"label": ARROW.join(path), "confidence": sure, "p": known}

    def estimate_usage(self, inputs: Sequence[Input], model: Model) -> Usage:
        """Estimate the dearest way down for these inputs."""
        further = [inner.estimate_usage(inputs, model) for inner in self.within.values()]
        own = self.question(model).estimate_usage(inputs, model)
        return own + max(further, key=lambda one: price(one, model).neurons or one.tokens or 0.0, default=Usage({}))

    def estimate_request(self, inputs: Sequence[Input], model: Model) -> Usage:
        """Estimate the dearest question."""
        every = [inner.estimate_request(inputs, model) for inner in self.within.values()]
        every.append(self.question(model).estimate_usage(inputs, model))
        return max(every, key=lambda one: price(one, model).neurons or one.tokens or 0.0)

    def expected_usage(self, inputs: Sequence[Input], model: Model) -> Usage:
        """Estimate what these inputs use if they spread evenly over the labels of each question."""
        used = self.question(model).estimate_usage(inputs, model)
        for inner in self.within.values():
            amounts = inner.expected_usage(inputs, model).amounts
            used = used + Usage({unit: amount / len(self.names) for unit, amount in amounts.items()})
        return used

    def remarks(self, inputs: Sequence[Input], model: Model) -> list[str]:
        """Say how many questions a row takes, and what they cost if rows spread evenly."""
        of = counted(self.depth, "request")
        of = of if self.shallowest == self.depth else f"{self.shallowest} to {of}"
        neurons = price(self.expected_usage(inputs, model), model).neurons
        cost = "" if neurons is None else f"; {money(neurons, exact=False)} expected, if rows spread evenly"
        return [f"{of} a row, one for each level of its label{cost}"]

    def check(self, model: Model) -> None:
        super().check(model)
        for inner in self.within.values():
            inner.check(model)

    def columns(self, cells: Sequence[Cell], threshold: float, *, all_: bool) -> Mapping[str, Column]:
        """Lay the cells out: the label, the coarsest one and the path; with ``all_`` what is known of probabilities."""
        split = [None if cell is None else cell["label"].split(ARROW) for cell in cells]
        leaves = tuple(dict.fromkeys(path.rpartition(ARROW)[2] for path in self.paths))
        made = {
            "label": Column([path and path[-1] for path in split], "category", leaves),
            "coarse": Column([path and path[0] for path in split], "category", self.names),
            "path": Column([cell and cell["label"] for cell in cells], "category", self.paths),
        }
        if all_:
            made["confidence"] = Column([cell and cell["confidence"] for cell in cells], "number")
            for path, _ in self.every():
                p = [None if cell is None else (cell["p"] or {}).get(path) for cell in cells]
                made[f"p__{path}"] = Column(p, "number")
        return made


def way_of(given: Any, instructions: str, *, multiple: bool = False) -> Labels:
    """Return what labels ask: one of them, any number, or where some hold others a taxonomy."""
    if given is not None and (isinstance(given, str) or len(given) < 2):
        raise ValueError(f"labels={given!r}: give at least two labels, as a list or a dict.")
    options = {} if given is None else given
    pairs = list(options.items()) if isinstance(options, Mapping) else [(name, None) for name in options]
    for name, what in pairs:
        if not isinstance(what, (str, Mapping, list, tuple, type(None))):
            raise ValueError(f"labels: {name!r} holds {what!r:.60}; give a description, a list of labels or a dict.")
    holding = {name: what for name, what in pairs if what is not None and not isinstance(what, str)}
    if not holding:
        choice = Choice(tuple(pairs), instructions) if pairs else None
        return AnyLabels(choice) if multiple else Labels(choice)
    if multiple:
        raise ValueError("multiple=True: labels within labels give a row one label at each level; leave it out.")
    within = {name: _inner(name, what, instructions) for name, what in holding.items()}
    described = ((name, ", ".join(within[name].names[:_NAMED]) if name in within else what) for name, what in pairs)
    made = Taxonomy(Choice(tuple(described), instructions), within)
    if wrong := next((name for choice in made.choices for name in choice.names if ARROW in name), None):
        raise ValueError(f"labels: {wrong!r} holds {ARROW!r}, which stands between the labels of a path.")
    return made


def _inner(name: str, given: Any, instructions: str) -> Taxonomy:
    if len(given) < 2:
        raise ValueError(f"labels: {name!r} holds {counted(len(given), 'label')}; give two or more, or none.")
    found = way_of(given, instructions)
    if isinstance(found, Taxonomy):
        return found
    assert found.choice is not None
    return Taxonomy(found.choice, {})


def check_numbers(threshold: object, uncertain: object, wanted: bool, model: Model) -> None:
    """Refuse numbers that are not probabilities, and probabilities of a model that gives none."""
    check_threshold(threshold)
    if uncertain is not None:
        check_threshold(uncertain, "uncertain")
    check_probabilities(wanted or uncertain is not None, model, WITH_PROBABILITIES)


@dataclass(frozen=True)
class InWords:
    """A choice between labels as a question about a picture; the answer has to be one of them."""

    choice: Choice

    @functools.cached_property
    def _question(self) -> chat.PictureQuestion:
        offered = "; ".join(name if what is None else f"{name} ({what})" for name, what in self.choice.options)
        words = f"{self.choice.instructions} Answer with one of these and nothing else: {offered}."
        return chat.PictureQuestion(words, _WORDS)

    def build_request(self, value: Input, model: Model) -> Request:
        return self._question.build_request(value, model)

    def estimate_usage(self, inputs: Sequence[Input], model: Model) -> Usage:
        return self._question.estimate_usage(inputs, model)

    def parse(self, answer: Answer, value: Input, model: Model) -> Cell:
        """Return ``{label, confidence, p}`` without numbers; raise an AnswerError for any other words."""
        reply = self._question.reply(answer, model)
        if (problem := reply.problem(_WORDS.max_tokens)) is not None:
            raise problem
        try:
            return self.choice.chosen(reply.content)
        except ValueError as error:
            raise AnswerError(f"the answer is none of the labels: {error}", "schema", text=reply.text) from None


@dataclass(frozen=True)
class Scored:
    """A model that scores its own labels; ``choice`` selects some of them, None all."""

    choice: Choice | None

    def build_request(self, value: Input, model: Model) -> Request:
        if model.family == "distilbert":
            return Request(json={"text": text_of(value)})
        (picture,) = media_in(value)
        return Request(content=picture.content(), content_type=picture.form.mime)

    def estimate_usage(self, inputs: Sequence[Input], model: Model) -> Usage:
        if model.family == "resnet":
            return Usage({"images": float(len(inputs))})
        return Usage({"input_tokens": float(sum(map(tokens_of, inputs)))})

    def parse(self, answer: Answer, value: Input, model: Model) -> Cell:
        """Return ``{label, confidence, p}``; raise an AnswerError where it holds no scores."""
        with reading("scores"):
            scores = {values.text(item["label"]): values.probability(item["score"]) for item in answer.json}
            folded = {name.lower(): score for name, score in scores.items()}
            p = scores if self.choice is None else {name: folded[name.lower()] for name in self.choice.names}
            best = max(p, key=lambda name: p[name])
            return {"label": best, "confidence": p[best], "p": p}
