"""Embeddings: five dialects of "text in, vectors out", and the ``/v1`` one. The vectors are lexical hashes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import words
from .catalogue import Model
from .checks import Schema, complaints
from .errors import refuse
from .shapes import BOOLEAN, STRING, any_of, array, obj, one, one_of
from .work import Ask, Family, Work, by_schema

#: What qwen3 puts in front of queries when nothing else is asked for.
INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"

#: How much of a qwen3 query's vector is its instruction: enough to differ from the same text as a document.
_INSTRUCTED = 0.15


def bge(model: Model) -> Schema:
    """``text`` and ``pooling``, or several such requests for the queue."""
    single = obj({"text": _texts(model), "pooling": one("mean", "cls")}, "text")
    return one_of(single, obj({"requests": array(single)}, "requests"))


def plain(model: Model) -> Schema:
    """``text`` alone; an empty one is refused where the model publishes a batch limit."""
    return obj({"text": _texts(model) if model.batch else any_of(STRING, array(STRING))}, "text")


def qwen(model: Model) -> Schema:
    """``text`` or ``documents``, or ``queries`` with an instruction."""
    names = ("queries", "documents", "text")
    return obj({**{name: _texts(model) for name in names}, "instruction": STRING})


def m3(model: Model) -> Schema:
    """``text``, ``contexts``, or ``query`` with ``contexts``."""
    contexts = obj(
        {"query": STRING, "contexts": array(obj({"text": STRING})), "truncate_inputs": BOOLEAN},
        "contexts",
    )
    text = obj({"text": any_of(STRING, array(STRING)), "truncate_inputs": BOOLEAN}, "text")
    return any_of(contexts, text, obj({"requests": array(any_of(contexts, text))}, "requests"))


def _texts(model: Model) -> Schema:
    some = {"type": "string", "minLength": 1}
    return one_of(some, array(some, maxItems=model.batch))


def output(model: Model) -> Schema:
    """Return the published answer shape."""
    numbers = array({"type": "number"})
    return obj({"shape": numbers, "data": array(numbers), "pooling": one("mean", "cls")})


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _form(ask: Ask) -> tuple[str, list[str]]:
    """Return which field of the body carries the texts, and the texts."""
    body = ask.body
    if ask.route == "embeddings":
        return "text", _listed(body["input"])
    if "contexts" in body:
        return "contexts", [context.get("text", "") for context in body["contexts"]]
    for name in ("text", "documents", "queries"):
        if name in body:
            return name, _listed(body[name])
    return "", []


def texts(ask: Ask) -> list[str]:
    """Return every text that is charged for."""
    found = _form(ask)[1]
    return [ask.body["query"], *found] if "query" in ask.body else found


def check(ask: Ask) -> None:
    """Refuse what the schema refuses, then what only the service's limits refuse."""
    if ask.route == "embeddings":
        wrong = complaints(ask.body, obj({"input": any_of(STRING, array(STRING)), "model": STRING}, "input"))
        if wrong:
            raise refuse(5006, why=", ".join(wrong))
    else:
        by_schema(ask)
        if "requests" in ask.body and not _form(ask)[0]:
            raise refuse(5007, text="requests are answered later only: ask with ?queueRequest=true")
    name, found = _form(ask)
    if not name:
        raise refuse(5006, why="required properties at '/' are 'text'")
    if ask.model.batch and len(found) > ask.model.batch:
        raise refuse(5006, why=f"Array length of '/{name}' must be <= {ask.model.batch}")
    context = ask.model.context
    if ask.model.family == "bge-m3" and context and not ask.body.get("truncate_inputs"):
        longest = max(map(words.tokens, found), default=0)
        if longest > context:
            raise refuse(5021, wanted=longest, context=context)


def _place(ask: Ask, found: Sequence[str], instruction: str = "") -> Any:
    """Return the vectors of texts in the model's own space, cut to its context first."""
    model = ask.model
    dims = model.dims or 768
    if model.context:
        found = [text if len(text) < model.context else words.clip(text, model.context) for text in found]
    if not found:
        return words.vectors(["-"], dims)[:0]
    matrix = words.vectors(found, dims)
    if instruction:
        matrix = matrix + _INSTRUCTED * words.vectors([instruction], dims)
        matrix /= (matrix**2).sum(axis=1, keepdims=True) ** 0.5
    order, signs = words.space(f"{model.id} {ask.body.get('pooling', 'mean')}", dims)
    return (matrix[:, order] * signs).round(7) + 0.0


def answer(ask: Ask) -> Work:
    """Return vectors, or scores where a query came with contexts."""
    name, found = _form(ask)
    instruction = str(ask.body.get("instruction", INSTRUCTION)) if name == "queries" else ""
    matrix = _place(ask, found, instruction)
    charged = texts(ask)
    usage = {"input_tokens": sum(_counted(ask.model, charged))}
    if "query" in ask.body:
        scores = (matrix @ _place(ask, [ask.body["query"]])[0]).clip(0, 1).round(6)
        ranked = sorted(enumerate(scores.tolist()), key=lambda pair: -pair[1])
        return Work({"response": [{"id": place, "score": score} for place, score in ranked]}, usage)
    short = ask.fault == "short" and len(found) > 1
    rows = matrix[:-1].tolist() if short else matrix.tolist()
    if ask.route == "embeddings":
        return Work(_openai(ask, rows, usage["input_tokens"]), usage, damaged=short)
    shape = [len(rows), ask.model.dims or 768]
    if name == "contexts":
        return Work({"response": rows, "shape": shape, "pooling": "cls"}, usage, damaged=short)
    result: dict[str, Any] = {"shape": shape, "data": rows}
    if ask.model.family == "bge":
        result["pooling"] = ask.body.get("pooling", "mean")
    elif ask.model.family == "bge-m3":
        result["pooling"] = "cls"
    return Work(result, usage, damaged=short)


def _counted(model: Model, found: Sequence[str]) -> list[int]:
    return [min(words.tokens(text), model.context or 1 << 30) for text in found]


def _openai(ask: Ask, rows: list[list[float]], count: int) -> dict[str, Any]:
    """Return the OpenAI list. It always holds floats: ``encoding_format`` is ignored, as the service was seen to do."""
    data = [{"object": "embedding", "index": place, "embedding": row} for place, row in enumerate(rows)]
    return {
        "object": "list",
        "data": data,
        "model": ask.model.id,
        "usage": {"prompt_tokens": count, "total_tokens": count},
    }


_ROUTES = frozenset({"run", "embeddings"})

FAMILIES = {
    name: Family(inputs, output, texts, answer, check, _ROUTES)
    for name, inputs in {"bge": bge, "bge-m3": m3, "qwen3-embedding": qwen, "plain-embedding": plain}.items()
}
