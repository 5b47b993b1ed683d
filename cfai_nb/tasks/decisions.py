"""How questions travel: in one decision request, or as one JSON object from a chat model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ..errors import AnswerError
from ..markup import address
from ..media import Media, media_in, words_of
from ..models import Model, Usage, tokens_in
from . import chat
from .answer import Answer, Json, Request
from .fields import sent_as
from .inputs import Input, tokens_of
from .questions import Question
from .task import Cell

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
    body: dict[str, Json] = {"state": words_of(value)}
    for media in media_in(value):
        shown = _picture(media) if media.form.kind == "image" else media.data_uri()
        body.setdefault(_MEMBERS[media.form.kind], []).append(shown)
    return body


def _picture(media: Media) -> str:
    """Return a picture as it is, or a smaller copy of one that would be refused."""
    form = media.form
    fits = form.mime in _FORMATS and media.size <= _BYTES and (form.width or 0) * (form.height or 0) <= _PIXELS
    return media.data_uri() if fits else address(media.fitting(_SIDE), "image/png")


def compose(questions: Mapping[str, Question], value: Input, model: Model) -> Request:
    """Return one request with all questions about a text, a picture, or both."""
    if model.family == "system-one":
        sent = sent_as(questions, _ID, "question")
        asked = {sent[name]: question.criteria() for name, question in questions.items()}
        return Request(json={"model": model.name, **state(value), "questions": asked})
    return chat.compose(chat.messages(value, _system(questions)), model, _settings(questions))


def read(questions: Mapping[str, Question], answer: Answer, value: Input, model: Model) -> dict[str, Cell]:
    """Return a cell for every question about a value.

    Raises
    ------
    AnswerError
        An answer is missing, or was not offered, or the text was cut to what the model reads (``"truncated"``).
    """
    decided = model.family == "system-one"
    room = model.context or float("inf")
    if decided and _read(answer) >= room and 2 * tokens(value) >= room:
        # "long text is truncated to fit" (the published schema), and the answer does not say so; that the model read as
        # much as it can does.  Whether it counts a text once for all questions nobody says: a short one is not meant.
        raise AnswerError(f"the text is longer than the {room:,} tokens {model.name} reads; shorten it", "truncated")
    try:
        said = answer.json["answers"] if decided else chat.read(answer, _settings(questions)).json()
        if not isinstance(said, Mapping) and len(questions) == 1:  # a chat model may leave the object out
            said = dict.fromkeys(questions, said)
        sent = sent_as(questions, _ID, "question")
        return {
            name: question.decided(said[sent[name]]) if decided else question.chosen(said[name])
            for name, question in questions.items()
        }
    except (KeyError, IndexError, TypeError, ValueError) as error:
        # A decision model that answers otherwise had a bad moment; a chat model would only say it again.
        raise AnswerError(f"the answer does not fit the questions: {error}", "schema", again=decided) from None


def _read(answer: Answer) -> float:
    """Return how many tokens were read, 0 where the answer does not say."""
    usage = answer.json.get("usage") if isinstance(answer.json, Mapping) else None
    count = usage.get("input_tokens") if isinstance(usage, Mapping) else None
    return count if isinstance(count, (int, float)) else 0


def forecast(questions: Mapping[str, Question], inputs: Sequence[Input], model: Model) -> Usage:
    """Estimate inputs and questions, and for a chat model all that it may write."""
    fixed = _OVERHEAD + tokens_in(_system(questions))
    if model.family == "system-one":
        return Usage({"input_tokens": float(sum(tokens(each) + fixed for each in inputs))})
    read_ = {"input_tokens": float(sum(tokens_of(each) + fixed for each in inputs))}
    return Usage(read_ | {"output_tokens": float(_settings(questions).max_tokens * len(inputs))})


def tokens(value: Input) -> int:
    """Estimate the tokens of an input, of each picture what is seen of it at most."""
    pictures = (tokens_of(media) for media in media_in(value) if media.form.kind == "image")
    return tokens_of(value) - sum(max(0, count - _SEEN) for count in pictures)


def _system(questions: Mapping[str, Question]) -> str:
    lines = [f"- {name}: {question.schema()['description']}" for name, question in questions.items()]
    return "Answer about the user's text:\n" + "\n".join(lines)


def _settings(questions: Mapping[str, Question]) -> chat.Settings:
    properties: dict[str, Json] = {name: question.schema() for name, question in questions.items()}
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return chat.Settings(max_tokens=224 + 32 * len(questions), temperature=0.0, schema=schema)
