"""How questions travel: in one decision request, or as one JSON object from a chat model."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...errors import AnswerError, ModelError
from ...markup import address
from ...media import Media, media_in, text_of
from ...models import Model, Usage, catalogue, tokens_in
from ..task import Cell
from . import chat
from .fields import sent_as
from .inputs import Input, tokens_of
from .questions import Question
from .reply import Reply
from .request import Answer, Json, Request
from .values import amount

#: Families that decide.
FAMILIES = chat.FAMILIES | {"system-one"}
#: What a decision request carries besides state and questions, in tokens: a tiny one was seen billed at 346.
_OVERHEAD = 300
_ID = re.compile(r"[A-Za-z0-9_.-]{1,100}")


#: What can be asked about.
KINDS = frozenset({"text", "image", "audio", "video"})
#: Pictures they take: of more than about 2 megapixels some were refused, whatever the bytes (observed 2026-10).
_FORMATS, _BYTES, _PIXELS = frozenset({"image/png", "image/jpeg", "image/webp"}), 4 << 20, 2_000_000
#: Pixels a side of a smaller copy, of which hardly a PNG is too large and clef-omni sees all; its tokens at most.
_SIDE, _SEEN = 1024, 37 * 37
_MEMBERS = {"image": "images", "audio": "audio", "video": "videos"}


def state(value: Input) -> dict[str, Json]:
    """Return what is asked about in the words of Clef and Clairic: the text, and the media beside it."""
    body: dict[str, Json] = {"state": text_of(value)}
    for media in media_in(value):
        shown = _picture(media) if media.form.kind == "image" else media.data_uri()
        body.setdefault(_MEMBERS[media.form.kind], []).append(shown)
    return body


def _picture(media: Media) -> str:
    """Return a picture as it is, or a smaller copy of one that would be refused."""
    form = media.form
    fits = form.mime in _FORMATS and media.size <= _BYTES and (form.width or 0) * (form.height or 0) <= _PIXELS
    return media.data_uri() if fits else address(media.resized(_SIDE), "image/png")


@dataclass(frozen=True)
class Questionnaire:
    """The questions a task asks about every input; what follows from them alone is worked out once, not once a row."""

    questions: Mapping[str, Question]

    @functools.cached_property
    def _sent(self) -> dict[str, str]:
        """What each question is called in a decision request."""
        return sent_as(self.questions, _ID, "question")

    @functools.cached_property
    def _criteria(self) -> dict[str, Json]:
        return {self._sent[name]: question.criteria() for name, question in self.questions.items()}

    @functools.cached_property
    def _system(self) -> str:
        lines = [f"- {name}: {question.schema()['description']}" for name, question in self.questions.items()]
        return "Answer about the user's text:\n" + "\n".join(lines)

    @functools.cached_property
    def _settings(self) -> chat.Settings:
        properties: dict[str, Json] = {name: question.schema() for name, question in self.questions.items()}
        schema = {"type": "object", "properties": properties, "required": list(properties)}
        return chat.Settings(max_tokens=224 + 32 * len(properties), temperature=0.0, schema=schema)

    @functools.cached_property
    def _fixed(self) -> int:
        """Tokens that are read with every input."""
        return _OVERHEAD + tokens_in(self._system)

    def compose(self, value: Input, model: Model) -> Request:
        """Return one request with all questions about a text, a picture, or both."""
        if model.family == "system-one":
            return Request(json={"model": model.name, **state(value), "questions": self._criteria})
        return chat.compose(chat.messages(value, self._system), model, self._settings)

    def forecast(self, inputs: Sequence[Input], model: Model) -> Usage:
        """Estimate inputs and questions, and for a chat model all that it may write."""
        if model.family == "system-one":
            return Usage({"input_tokens": float(sum(tokens(each) + self._fixed for each in inputs))})
        written = float(self._settings.max_tokens * len(inputs))
        return Usage({
            "input_tokens": float(sum(tokens_of(each) + self._fixed for each in inputs)), "output_tokens": written,
        })  # fmt: skip

    def read(self, answer: Answer, value: Input, model: Model) -> dict[str, Cell]:
        """Return a cell for every question about a value.

        Raises
        ------
        AnswerError
            An answer is missing, or means none of those that are possible (``"schema"``), or the text was cut to what
            the model reads (``"truncated"``).
        """
        decided = model.family == "system-one"
        room = model.context or float("inf")
        if decided and _read(answer) >= room and 2 * tokens(value) >= room:
            # "long text is truncated to fit" (the published schema), and the answer does not say so; that the model
            # read as much as it can does.  Short texts are exempt: the count may include the text once per question.
            raise AnswerError(
                f"the text is longer than the {room:,} tokens {model.name} reads; shorten it", "truncated"
            )
        reply = None if decided else chat.read(answer, self._settings)
        text = None if reply is None else reply.text
        try:
            said = answer.json["answers"] if reply is None else self._said(reply)
            return {name: self._cell(name, question, said, decided) for name, question in self.questions.items()}
        except (KeyError, IndexError, OverflowError, TypeError, ValueError) as error:
            # A decision model that answers otherwise had a bad moment; a chat model would only say it again.
            words = f"the answer does not fit the questions: {error}"
            raise AnswerError(words, "schema", again=decided, text=text) from None

    def _said(self, reply: Reply) -> Json:
        """Return the object of answers in a chat model's reply; where one thing is asked, it may be the bare answer."""
        try:
            said = reply.json()
        except ValueError:
            if len(self.questions) > 1:
                raise
            said = reply.content
        return said if isinstance(said, Mapping) or len(self.questions) > 1 else dict.fromkeys(self.questions, said)

    def _cell(self, name: str, question: Question, said: Json, decided: bool) -> Cell:
        key = self._sent[name] if decided else name
        if not isinstance(said, Mapping) or key not in said:
            raise ValueError(f"there is no answer to {name!r}")
        try:
            return question.decided(said[key]) if decided else question.chosen(said[key])
        except KeyError as error:
            raise ValueError(f"{name}: {error} is missing") from None
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None


def _read(answer: Answer) -> float:
    """Return how many tokens were read, 0 where the answer does not say."""
    usage = answer.json.get("usage") if isinstance(answer.json, Mapping) else None
    return (amount(usage.get("input_tokens")) if isinstance(usage, Mapping) else None) or 0.0


def tokens(value: Input) -> int:
    """Estimate the tokens of an input, of each picture what is seen of it at most."""
    pictures = (tokens_of(media) for media in media_in(value) if media.form.kind == "image")
    return tokens_of(value) - sum(max(0, count - _SEEN) for count in pictures)


def check_threshold(cut: float) -> None:
    """Refuse a threshold that is not a probability."""
    if not isinstance(cut, (int, float)) or not 0 <= cut <= 1:
        raise ValueError(f"threshold={cut!r}: a probability lies between 0 and 1.")


def check_probabilities(wanted: bool, model: Model, families: frozenset[str] = frozenset({"system-one"})) -> None:
    """Refuse probabilities of a model that gives none.

    Raises
    ------
    ModelError
        The message names the models that give some.
    """
    if wanted and model.family not in families:
        able = ", ".join(m.name for m in catalogue().values() if m.family in families and m.status == "current")
        raise ModelError(
            f"{model.id} gives no probabilities. Leave probabilities= out, or use a model that does: {able}."
        )
