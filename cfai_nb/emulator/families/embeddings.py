"""Embeddings: five dialects of "text in, vectors out" and the ``/v1`` one. Hashes or a local model make them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..error_codes import refuse
from ..model_catalogue import Model
from ..schemas.json_schema import BOOLEAN, NUMBER, STRING, Schema, any_of, array, each, obj, one, one_of, require
from ..standins import lexical
from .family import Family, ModelRequest, ModelResult

#: The instruction that qwen3 puts before queries by default.
INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"

#: Weight of the instruction in a qwen3 query's vector: enough to differ from the same text as a document.
_INSTRUCTED = 0.15


def _bge(model: Model) -> Schema:
    """Return ``text`` and ``pooling``, or several such requests for an asynchronous batch."""
    single = obj({"pooling": one("mean", "cls")}, text=_list_of_texts(model))
    return one_of(single, obj(requests=array(single)))


def _plain(model: Model) -> Schema:
    """Return ``text`` alone; an empty one is refused where the model publishes a batch limit."""
    return obj(text=_list_of_texts(model) if model.batch else any_of(STRING, array(STRING)))


def _qwen(model: Model) -> Schema:
    """Return ``text`` or ``documents``, or ``queries`` with an instruction."""
    return obj({**each("queries documents text", _list_of_texts(model)), "instruction": STRING})


def _list_of_texts(model: Model) -> Schema:
    some = {"type": "string", "minLength": 1}
    return one_of(some, array(some, maxItems=model.batch))


_CONTEXTS = obj({"query": STRING, "truncate_inputs": BOOLEAN}, contexts=array(obj({"text": STRING})))
_TEXT = obj({"truncate_inputs": BOOLEAN}, text=any_of(STRING, array(STRING)))
#: ``text``, ``contexts``, or ``query`` with ``contexts``, or several such requests for an asynchronous batch.
_M3 = any_of(_CONTEXTS, _TEXT, obj(requests=array(any_of(_CONTEXTS, _TEXT))))
_NUMBERS = array(NUMBER)
_OUTPUT = obj({"shape": _NUMBERS, "data": array(_NUMBERS), "pooling": one("mean", "cls")})
_OPENAI_INPUT = obj({"model": STRING}, input=any_of(STRING, array(STRING)))


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _input(request: ModelRequest) -> tuple[str, list[str]]:
    """Return the field of the body that has the texts, and the texts."""
    body = request.body
    if request.route == "embeddings":
        return "text", _listed(body["input"])
    if "contexts" in body:
        return "contexts", [context.get("text", "") for context in body["contexts"]]
    for name in ("text", "documents", "queries"):
        if name in body:
            return name, _listed(body[name])
    return "", []


def _texts(request: ModelRequest) -> list[str]:
    """Return every text that is charged."""
    found = _input(request)[1]
    return [request.body["query"], *found] if "query" in request.body else found


def _check(request: ModelRequest, schema: Schema) -> None:
    """Refuse what the schema refuses, then what only the service's limits refuse."""
    if request.route == "embeddings":
        require(request.body, _OPENAI_INPUT)
    else:
        require(request.body, schema)
        if "requests" in request.body and not _input(request)[0]:
            raise refuse(5007, text="requests are answered later only: send them with ?queueRequest=true")
    name, found = _input(request)
    if not name:
        raise refuse(5006, why="required properties at '/' are 'text'")
    if request.model.batch and len(found) > request.model.batch:
        raise refuse(5006, why=f"Array length of '/{name}' must be <= {request.model.batch}")
    context = request.model.context
    if request.model.family == "bge-m3" and context and not request.body.get("truncate_inputs"):
        longest = max(map(lexical.count_tokens, found), default=0)
        if longest > context:
            raise refuse(5021, wanted=longest, context=context)


def _vectors(request: ModelRequest, found: Sequence[str], instruction: str = "") -> Any:
    """Return the vectors of texts in the model's own space, each text cut to its context."""
    model = request.model
    dims = model.dims or 768
    if model.context:
        found = [text if len(text) < model.context else lexical.truncate(text, model.context) for text in found]
    if not found:
        return lexical.embed(["-"], dims)[:0]
    embed = request.local.embed if request.local else lexical.embed
    matrix = embed(found, dims)
    if instruction:
        matrix = matrix + _INSTRUCTED * embed([instruction], dims)
        matrix /= (matrix**2).sum(axis=1, keepdims=True) ** 0.5
    order, signs = lexical.model_space(f"{model.id} {request.body.get('pooling', 'mean')}", dims)
    return (matrix[:, order] * signs).round(7) + 0.0


def _answer(request: ModelRequest) -> ModelResult:
    """Return vectors, or scores where a query came with contexts."""
    name, found = _input(request)
    instruction = str(request.body.get("instruction", INSTRUCTION)) if name == "queries" else ""
    matrix = _vectors(request, found, instruction)
    charged = _texts(request)
    usage = {"input_tokens": sum(_counted(request.model, charged))}
    if "query" in request.body:
        scores = (matrix @ _vectors(request, [request.body["query"]])[0]).clip(0, 1).round(6)
        ranked = sorted(enumerate(scores.tolist()), key=lambda pair: -pair[1])
        return ModelResult({"response": [{"id": place, "score": score} for place, score in ranked]}, usage)
    short = request.fault == "short" and len(found) > 1
    rows = matrix[:-1].tolist() if short else matrix.tolist()
    if request.route == "embeddings":
        return ModelResult(_openai(request, rows, usage["input_tokens"]), usage, damaged=short)
    shape = [len(rows), request.model.dims or 768]
    if name == "contexts":
        return ModelResult({"response": rows, "shape": shape, "pooling": "cls"}, usage, damaged=short)
    result: dict[str, Any] = {"shape": shape, "data": rows}
    if request.model.family == "bge":
        result["pooling"] = request.body.get("pooling", "mean")
    elif request.model.family == "bge-m3":
        result["pooling"] = "cls"
    return ModelResult(result, usage, damaged=short)


def _counted(model: Model, found: Sequence[str]) -> list[int]:
    return [min(lexical.count_tokens(text), model.context or 1 << 30) for text in found]


def _openai(request: ModelRequest, rows: list[list[float]], count: int) -> dict[str, Any]:
    """Return the OpenAI list. It always has floats: ``encoding_format`` is ignored, as was seen on the service."""
    data = [{"object": "embedding", "index": place, "embedding": row} for place, row in enumerate(rows)]
    return {
        "object": "list",
        "data": data,
        "model": request.model.id,
        "usage": {"prompt_tokens": count, "total_tokens": count},
    }


_ROUTES = frozenset({"run", "embeddings"})

_INPUTS: dict[str, Schema | Callable[[Model], Schema]] = {
    "bge": _bge,
    "bge-m3": _M3,
    "qwen3-embedding": _qwen,
    "plain-embedding": _plain,
}
FAMILIES = {name: Family(schema, _OUTPUT, _texts, _answer, _check, _ROUTES) for name, schema in _INPUTS.items()}
