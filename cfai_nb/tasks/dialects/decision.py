"""The dialects of questions: a request to a decision model, a JSON object from a chat model, a verdict of Llama Guard.

A task makes a ``Questionnaire`` of its questions (see ``question_types``) and gets a cell for each; what follows from
the questions alone is computed once and not per row.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ...errors import AnswerError, InputError, ModelError, is_number
from ...html.markup import address, counted
from ...media import Media, media_in, text_of
from ...models import Model, Usage, find, names_of_models, tokens_in
from . import chat, values
from .question_types import Choice, Question, sent_as
from .reply import Reply
from .request import Answer, Cell, Input, Json, Request, tokens_of

#: Families that answer questions.
FAMILIES = chat.FAMILIES | {"system-one"}
#: The kinds of input that a question can be about.
KINDS = frozenset({"text", "image", "audio", "video"})
#: Tokens of a request beside text and questions: a tiny one to a decision model was billed at 346.
_OVERHEAD = 300
#: Tokens of an option of a question, at least (seen over 524 calls, 2026-11).
_OPTION = 18
#: Options of a choice from which on clef-flash is weak: of any choice, and of one that has an option for the rest (150
#: were measured; a handful with "other" was not).  Names of such an option.
_MANY, _MANY_AND_REST = 100, 20
_OTHER = frozenset({
    "other", "others", "none", "none of these", "none of the above", "out of scope", "out-of-scope", "out_of_scope",
    "oos", "unknown", "misc", "miscellaneous", "something else", "anything else",
})  # fmt: skip
#: Macro-F1 on CLINC150 with its out-of-scope label (observed 2026-11).
_MACRO_F1 = {"clef-flash": 66.8, "clef": 97.4, "clef-omni": 97.7}
#: Characters of a token: the most that are likely, and the number that estimates assume.
_LONGEST_TOKEN, _COUNTED = 6, 4
_ID = re.compile(r"[A-Za-z0-9_.-]{1,100}")
#: Pictures that are accepted: some of more than about 2 megapixels were refused, whatever the bytes (observed 2026-10).
_FORMATS, _BYTES, _PIXELS = frozenset({"image/png", "image/jpeg", "image/webp"}), 4 << 20, 2_000_000
#: Pixels a side of a smaller copy, of which hardly a PNG is too large and clef-omni sees all; its tokens at most.
_SIDE, _SEEN = 1024, 37 * 37
_MEMBERS = {"image": "images", "audio": "audio", "video": "videos"}
#: The hazards of Llama Guard's model card (the MLCommons taxonomy and code interpreter abuse), S1 to S14 in order.
HAZARDS = (
    "violent crimes", "non-violent crimes", "sex crimes", "child exploitation", "defamation", "specialized advice",
    "privacy", "intellectual property", "indiscriminate weapons", "hate", "self-harm", "sexual content", "elections",
    "code interpreter abuse",
)  # fmt: skip
#: Llama Guard's tokens: written at most (a word and 14 codes), and read beside the text (its hazards, estimated).
_GUARD_WRITES, _GUARD_READS = 128, 250


def state(value: Input) -> dict[str, Json]:
    """Return an input as Clef and Clairic take it: the text, and the media beside it."""
    body: dict[str, Json] = {"state": text_of(value)}
    for media in media_in(value):
        sent = _picture(media) if media.form.kind == "image" else media.data_uri()
        body.setdefault(_MEMBERS[media.form.kind], []).append(sent)
    return body


def _picture(media: Media) -> str:
    """Return a picture as it is, or a smaller copy if it would be refused."""
    form = media.form
    fits = form.mime in _FORMATS and media.size <= _BYTES and (form.width or 0) * (form.height or 0) <= _PIXELS
    return media.data_uri() if fits else address(media.resized(_SIDE), "image/png")


def tokens(value: Input) -> int:
    """Estimate the tokens of an input; a picture counts no more than the model sees of it."""
    pictures = (tokens_of(media) for media in media_in(value) if media.form.kind == "image")
    return tokens_of(value) - sum(max(0, count - _SEEN) for count in pictures)


def check_size(text: int, besides: int, model: Model) -> None:
    """Refuse a text that certainly does not fit, before it is sent and paid for."""
    limit = model.context or float("inf")  # a text that may fit is sent
    if text * _COUNTED / _LONGEST_TOKEN + besides > limit:
        raise InputError(
            f"the text takes about {text:,} tokens, and fields or questions {besides:,}; {model.name} reads {limit:,}. "
            "Shorten or split it"
        )


def options_of(question: Question) -> tuple[str, ...]:
    """Return the answers a question offers."""
    return question.names if isinstance(question, Choice) else getattr(question, "levels", ("yes", "no"))


def weakness(questions: Iterable[Question], model: Model) -> str:
    """Return a warning where the cheap decision model is known to be weak, with the price of others; else empty."""
    offered = [question.names for question in questions if isinstance(question, Choice)]
    most = max(map(len, offered), default=0)
    large = [names for names in offered if len(names) >= _MANY_AND_REST]
    others = [name for names in large for name in names if name.casefold().strip() in _OTHER]
    if model.name != "clef-flash" or (most < _MANY and not others):
        return ""
    why = f"{most:,} labels" if most >= _MANY else f"a catch-all label {others[0]!r}"
    own = (model.prices or {})["input_tokens"].usd or 0.0
    dearer = []
    for name in ("clef", "clef-omni"):
        usd = (find(name).prices or {})["input_tokens"].usd or 0.0
        dearer.append(f"{name} ({_MACRO_F1[name]}) costs {usd / own:.1f} times as much, ${usd:g} a million tokens")
    return (
        f"clef-flash is weak with {why}: macro-F1 {_MACRO_F1['clef-flash']} on CLINC150, which has 150 labels and one "
        f"for the rest. {'; '.join(dearer)}: model= chooses"
    )


@dataclass(frozen=True)
class Questionnaire:
    """The questions a task asks about every input, in one request."""

    questions: Mapping[str, Question]

    @functools.cached_property
    def _ids(self) -> dict[str, str]:
        return sent_as(self.questions, _ID, "question")

    @functools.cached_property
    def _criteria(self) -> dict[str, Json]:
        return {self._ids[name]: question.criteria() for name, question in self.questions.items()}

    @functools.cached_property
    def _chat(self) -> chat.Instructed:
        properties: dict[str, Json] = {name: question.schema() for name, question in self.questions.items()}
        lines = [f"- {name}: {described['description']}" for name, described in properties.items()]
        schema = {"type": "object", "properties": properties, "required": list(properties)}
        settings = chat.Settings(max_tokens=224 + 32 * len(properties), temperature=0.0, schema=schema)
        return chat.Instructed("Answer about the user's text:\n" + "\n".join(lines), settings)

    @functools.cached_property
    def reads(self) -> int:
        """Tokens that a decision model reads beside the text; estimated."""
        options = _OPTION * sum(len(options_of(question)) for question in self.questions.values())
        return _OVERHEAD + options + tokens_in(json.dumps(self._criteria, ensure_ascii=False))

    def check(self, model: Model) -> None:
        """Refuse questions that a decision model cannot read, with the numbers."""
        if model.family == "system-one" and model.context and self.reads > model.context:
            options = sum(len(options_of(question)) for question in self.questions.values())
            raise ModelError(
                f"{model.id} reads {model.context:,} tokens, and {counted(len(self.questions), 'question')} with "
                f"{options:,} options take about {self.reads:,}. Ask less at once, or use a model that reads more."
            )

    def build_request(self, value: Input, model: Model) -> Request:
        if model.family == "system-one":
            check_size(tokens(value), self.reads, model)
            return Request(json={"model": model.name, **state(value), "questions": self._criteria})
        return self._chat.build_request(value, model)

    def estimate_usage(self, inputs: Sequence[Input], model: Model) -> Usage:
        if model.family == "system-one":
            return Usage({"input_tokens": float(sum(tokens(each) + self.reads for each in inputs))})
        return self._chat.estimate_usage(inputs, model) + Usage({"input_tokens": float(_OVERHEAD * len(inputs))})

    def parse(self, answer: Answer, value: Input, model: Model) -> Cell:
        """Return a dict with the cell of every question; an answer that is missing or impossible is an AnswerError."""
        decided = model.family == "system-one"
        limit = model.context or float("inf")
        if decided and _tokens_read(answer) >= limit and 2 * tokens(value) >= limit:
            # "long text is truncated to fit" (the published schema), but the answer does not report it.  A model that
            # read as much as it can has cut the text; short texts are exempt, since the count may include the text once
            # per question.
            words = f"the text is longer than the {limit:,} tokens {model.name} reads; shorten it"
            raise AnswerError(words, "truncated")
        reply = None if decided else chat.parse(answer, self._chat.settings)
        try:
            answers = answer.json["answers"] if reply is None else self._answers(reply)
            return {name: self._cell(name, question, answers, decided) for name, question in self.questions.items()}
        except (KeyError, IndexError, OverflowError, TypeError, ValueError) as error:
            # A decision model may answer otherwise the next time; a chat model would only repeat itself.
            words, text = f"the answer does not fit the questions: {error}", None if reply is None else reply.text
            raise AnswerError(words, "schema", again=decided, text=text) from None

    def _answers(self, reply: Reply) -> Json:
        """Return the object of answers in a chat model's reply; to one question, it may be the bare answer."""
        try:
            answers = reply.json()
        except ValueError:
            if len(self.questions) > 1:
                raise
            answers = reply.content
        one = len(self.questions) == 1 and not isinstance(answers, Mapping)
        return dict.fromkeys(self.questions, answers) if one else answers

    def _cell(self, name: str, question: Question, answers: Json, decided: bool) -> Cell:
        key = self._ids[name] if decided else name
        if not isinstance(answers, Mapping) or key not in answers:
            raise ValueError(f"there is no answer to {name!r}")
        try:
            return question.decided(answers[key]) if decided else question.chosen(answers[key])
        except KeyError as error:
            raise ValueError(f"{name}: {error} is missing") from None
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None


@dataclass(frozen=True)
class OneQuestion(Questionnaire):
    """A questionnaire of one question; its cell is the answer alone."""

    def parse(self, answer: Answer, value: Input, model: Model) -> Cell:
        (cell,) = super().parse(answer, value, model).values()
        return cell


def _tokens_read(answer: Answer) -> float:
    """Return how many tokens were read; 0 if the answer does not report it."""
    usage = answer.json.get("usage") if isinstance(answer.json, Mapping) else None
    return (values.amount(usage.get("input_tokens")) if isinstance(usage, Mapping) else None) or 0.0


def check_threshold(threshold: object, name: str = "threshold") -> None:
    """Refuse a threshold that is not a probability."""
    if not is_number(threshold) or not 0 <= threshold <= 1:
        raise ValueError(f"{name}={threshold!r}: a probability lies between 0 and 1.")


def check_probabilities(wanted: bool, model: Model, families: frozenset[str] = frozenset({"system-one"})) -> None:
    """Refuse probabilities from a model that gives none; the error names models that do."""
    if wanted and model.family not in families:
        able = names_of_models(lambda other: other.family in families)
        hint = f"Leave probabilities= out, or use a model that does: {able}."
        raise ModelError(f"{model.id} gives no probabilities. {hint}")


@dataclass(frozen=True)
class LlamaGuard:
    """Llama Guard, which asks about its own hazards; ``whole`` names the question about the text as a whole."""

    whole: str

    def build_request(self, value: Input, model: Model) -> Request:
        # It takes no system message, since it has its own questions.
        body = {"messages": chat.messages(text_of(value), None), "max_tokens": _GUARD_WRITES, "temperature": 0.0}
        return Request(json={**body, "response_format": {"type": "json_object"}})

    def estimate_usage(self, inputs: Sequence[Input], model: Model) -> Usage:
        read = float(sum(tokens_in(text_of(each)) + _GUARD_READS for each in inputs))
        return Usage({"input_tokens": read, "output_tokens": float(_GUARD_WRITES * len(inputs))})

    def parse(self, answer: Answer, value: Input, model: Model) -> Cell:
        """Return a cell for the whole and each hazard, out of JSON or of ``unsafe\\nS1,S2``."""
        reply = chat.parse(answer, chat.Settings(max_tokens=_GUARD_WRITES))
        try:
            content = reply.json() if reply.text.lstrip().startswith("{") else reply.content
            unsafe, codes = _verdict(content)
            numbers = {_hazard(code) for code in codes}
            if numbers and not unsafe:
                raise ValueError("it names hazards of a safe text")
        except ValueError as error:
            raise AnswerError(f"the answer is not a verdict: {error}", "schema", text=reply.text) from None
        named = {name: at in numbers for at, name in enumerate(HAZARDS, 1)}
        new = {f"S{number}": True for number in sorted(numbers) if not 1 <= number <= len(HAZARDS)}
        return {name: {"value": value, "p": None} for name, value in ({self.whole: unsafe} | named | new).items()}


def _verdict(content: Json) -> tuple[bool, Sequence[Json]]:
    """Return whether the text is unsafe, and the codes of its hazards, out of either form."""
    if isinstance(content, Mapping):
        codes = content.get("categories") or ()
        codes = codes.replace(",", " ").split() if isinstance(codes, str) else codes
        if not isinstance(codes, (list, tuple)):
            raise ValueError(f"{values.quoted(codes)} is not a list of hazards")
        return not values.yes_or_no(content.get("safe"), yes="safe", no="unsafe"), codes
    word, *codes = values.text(content).replace(",", " ").split() or [""]
    return values.yes_or_no(word, yes="unsafe", no="safe"), codes


def _hazard(code: Json) -> int:
    """Return the number of a hazard such as "S10"."""
    digits = values.text(code).strip()[1:]
    if code.strip()[:1].upper() != "S" or not 0 < len(digits) < 3 or not digits.isdecimal():
        raise ValueError(f"{values.quoted(code)} is not a hazard")
    return int(digits)
