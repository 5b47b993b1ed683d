"""Classification: the sentiment model and the reranker. Words are counted, not understood."""

from __future__ import annotations

import math

from . import words
from .catalogue import Model
from .checks import Schema
from .shapes import STRING, array, obj
from .work import Ask, Family, Work

_SCORED = {"label": STRING, "score": {"type": "number"}}


def sentiment_input(model: Model) -> Schema:
    """One text per call."""
    return obj({"text": STRING}, "text")


def sentiment_texts(ask: Ask) -> list[str]:
    """Return the one text."""
    return [ask.body["text"]]


def sentiment(ask: Ask) -> Work:
    """Return NEGATIVE and POSITIVE with scores that add up to 1, the likelier last as the service does."""
    text = ask.body["text"]
    balance = words.polarity(text)
    positive = round(1 / (1 + math.exp(-4 * balance)), 6)
    result = [{"label": "NEGATIVE", "score": round(1 - positive, 6)}, {"label": "POSITIVE", "score": positive}]
    return Work(result, {"input_tokens": min(512, words.tokens(text))})


def rerank_input(model: Model) -> Schema:
    """A query and the contexts to order."""
    some = {"type": "string", "minLength": 1}
    return obj(
        {"query": some, "top_k": {"type": "integer", "minimum": 1}, "contexts": array(obj({"text": some}))},
        "query",
        "contexts",
    )


def rerank_texts(ask: Ask) -> list[str]:
    """Return each context; the query is charged with each of them."""
    return [context.get("text", "") for context in ask.body["contexts"]]


def rerank(ask: Ask) -> Work:
    """Return the contexts' places in order of score, at most `top_k`."""
    contexts, query = rerank_texts(ask), ask.body["query"]
    usage = {"input_tokens": sum(words.tokens(query) + words.tokens(text) for text in contexts)}
    matrix = words.vectors([query, *contexts], 1024)
    scores = (matrix[1:] @ matrix[0]).clip(0, 1).round(6).tolist()
    ranked = sorted(enumerate(scores), key=lambda pair: -pair[1])[: ask.body.get("top_k") or len(scores)]
    return Work({"response": [{"id": place, "score": score} for place, score in ranked]}, usage)


FAMILIES = {
    "distilbert": Family(sentiment_input, lambda model: array(obj(_SCORED)), sentiment_texts, sentiment),
    "reranker": Family(
        rerank_input,
        lambda model: obj({"response": array(obj({"id": {"type": "number"}, "score": {"type": "number"}}))}),
        rerank_texts,
        rerank,
    ),
}
