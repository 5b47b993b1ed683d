"""Models that read texts: embeddings, sentiment, reranker, Llama Guard; and translation.

Nothing is understood: vectors are lexical hashes, labels follow word lists, and a translation is the text itself,
marked with the wanted language. There are five dialects of embeddings, and ``/v1``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from .. import standins
from ..error_codes import refuse
from ..json_schema import BOOLEAN, NUMBER, STRING, Schema, any_of, array, complaints, each, obj, one, one_of, require
from ..model_catalogue import Model
from . import Family, ModelRequest, ModelResult, openai_usage, prompts
from .chat_schemas import SAMPLING

#: The instruction that qwen3 puts before queries by default.
_INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"

#: Weight of the instruction in a qwen3 query's vector: enough to differ from the same text as a document.
_INSTRUCTED = 0.15
_SOME: Schema = {"type": "string", "minLength": 1}


def _bge_input(model: Model) -> Schema:
    """Return ``text`` and ``pooling``, or several such requests for an asynchronous batch."""
    single = obj({"pooling": one("mean", "cls")}, text=_list_of_texts(model))
    return one_of(single, obj(requests=array(single)))


def _list_of_texts(model: Model) -> Schema:
    return one_of(_SOME, array(_SOME, maxItems=model.batch))


_CONTEXTS = obj({"query": STRING, "truncate_inputs": BOOLEAN}, contexts=array(obj({"text": STRING})))
_ONE_OR_MORE = any_of(STRING, array(STRING))
_TEXT = obj({"truncate_inputs": BOOLEAN}, text=_ONE_OR_MORE)
#: ``text``, ``contexts``, or ``query`` with ``contexts``, or several such requests for an asynchronous batch.
_M3 = any_of(_CONTEXTS, _TEXT, obj(requests=array(any_of(_CONTEXTS, _TEXT))))
_NUMBERS = array(NUMBER)
_VECTORS = obj({"shape": _NUMBERS, "data": array(_NUMBERS), "pooling": one("mean", "cls")})
_OPENAI_INPUT = obj({"model": STRING}, input=_ONE_OR_MORE)


def _texts(value: Any) -> list[str]:
    """Return the texts of a field that holds one or several."""
    return [value] if isinstance(value, str) else list(value)


def _contexts(request: ModelRequest) -> list[str]:
    return [context.get("text", "") for context in request.body["contexts"]]


def _named_texts(request: ModelRequest) -> tuple[str, list[str]]:
    """Return the field of the body that has the texts, and the texts."""
    body = request.body
    if request.route == "embeddings":
        return "text", _texts(body["input"])
    if "contexts" in body and request.model.family == "bge-m3" and not ("text" in body and complaints(body, _CONTEXTS)):
        return "contexts", _contexts(request)
    for name in ("text", "documents", "queries"):
        if name in body:
            return name, _texts(body[name])
    return "", []


def _query(request: ModelRequest) -> list[str]:
    """Return the query beside contexts, or nothing."""
    return [request.body["query"]] if _named_texts(request)[0] == "contexts" and "query" in request.body else []


def _embedded(request: ModelRequest) -> list[str]:
    """Return every text that is charged."""
    return [*_query(request), *_named_texts(request)[1]]


def _embeddings_check(request: ModelRequest, schema: Schema) -> None:
    """Refuse what the schema refuses, then what only the service's limits refuse."""
    if request.route == "embeddings":
        require(request.body, _OPENAI_INPUT)
    else:
        require(request.body, schema)
        if "requests" in request.body and not _named_texts(request)[0]:
            raise refuse(5007, text="requests are answered later only: send them with ?queueRequest=true")
    name, found = _named_texts(request)
    if not name:
        raise refuse(5006, why="required properties at '/' are 'text'")
    if request.model.batch and len(found) > request.model.batch:
        raise refuse(5006, why=f"Array length of '/{name}' must be <= {request.model.batch}")
    context = request.model.context
    if request.model.family == "bge-m3" and context and not request.body.get("truncate_inputs"):
        longest = max(map(standins.count_tokens, found), default=0)
        if longest > context:
            raise refuse(5021, wanted=longest, context=context)


def _vectors(request: ModelRequest, found: Sequence[str], instruction: str = "") -> Any:
    """Return the vectors of texts in the model's own space, each text cut to its context."""
    model = request.model
    dims = model.dims or 768
    if model.context:
        found = [text if len(text) < model.context else standins.truncate(text, model.context) for text in found]
    embed = request.local.embed if request.local else standins.embed
    matrix = embed(found or ["-"], dims)[: len(found)]
    if instruction:
        matrix = matrix + _INSTRUCTED * embed([instruction], dims)
        matrix /= (matrix**2).sum(axis=1, keepdims=True) ** 0.5
    order, signs = standins.model_space(f"{model.id} {request.body.get('pooling', 'mean')}", dims)
    return (matrix[:, order] * signs).round(7) + 0.0


def _embed(request: ModelRequest) -> ModelResult:
    """Return vectors, or scores where a query came with contexts."""
    name, found = _named_texts(request)
    instruction = str(request.body.get("instruction", _INSTRUCTION)) if name == "queries" else ""
    matrix = _vectors(request, found, instruction)
    charged = _embedded(request)
    usage = {
        "input_tokens": sum(min(standins.count_tokens(text), request.model.context or 1 << 30) for text in charged)
    }
    if query := _query(request):
        return ModelResult(_ranked(matrix, _vectors(request, query)[0]), usage)
    short = request.fault == "short" and len(found) > 1
    rows = matrix[:-1].tolist() if short else matrix.tolist()
    if request.route == "embeddings":
        return ModelResult(_openai(request, rows, usage["input_tokens"]), usage, damaged=short)
    shape = [len(rows), request.model.dims or 768]
    if name == "contexts":
        return ModelResult({"response": rows, "shape": shape, "pooling": "cls"}, usage, damaged=short)
    pooling = {"bge": {"pooling": request.body.get("pooling", "mean")}, "bge-m3": {"pooling": "cls"}}
    result = {"shape": shape, "data": rows, **pooling.get(request.model.family, {})}
    return ModelResult(result, usage, damaged=short)


def _ranked(matrix: Any, query: Any, most: float | None = None) -> dict[str, Any]:
    """Return the positions of vectors by their similarity to another."""
    scores = (matrix @ query).clip(0, 1).round(6).tolist()
    ranked = sorted(enumerate(scores), key=lambda pair: -pair[1])[: int(most or len(scores))]
    return {"response": [{"id": place, "score": score} for place, score in ranked]}


def _openai(request: ModelRequest, rows: list[list[float]], count: int) -> dict[str, Any]:
    """Return the OpenAI list. It always has floats: ``encoding_format`` is ignored, as observed on the service."""
    data = [{"object": "embedding", "index": place, "embedding": row} for place, row in enumerate(rows)]
    usage = {"prompt_tokens": count, "total_tokens": count}
    return {"object": "list", "data": data, "model": request.model.id, "usage": usage}


_INPUTS: dict[str, Schema | Callable[[Model], Schema]] = {
    "bge": _bge_input,
    "bge-m3": _M3,
    "qwen3-embedding": lambda model: obj(
        {**each("queries documents text", _list_of_texts(model)), "instruction": STRING}
    ),
    # an empty text is refused where the model publishes a batch limit
    "plain-embedding": lambda model: obj(text=_list_of_texts(model) if model.batch else _ONE_OR_MORE),
}


_SENTIMENT = obj(text=STRING)
_RERANK = obj({"top_k": {"type": "integer", "minimum": 1}}, query=_SOME, contexts=array(obj({"text": _SOME})))
_GUARD = obj(
    {**{name: SAMPLING[name] for name in ("max_tokens", "temperature")}, "response_format": obj({"type": STRING})},
    messages=array(obj(role=one("user", "assistant"), content=STRING)),
)
_COUNTS = obj(each("prompt_tokens completion_tokens total_tokens", NUMBER))
_VERDICT = obj({"response": any_of(STRING, obj({"safe": BOOLEAN, "categories": array(STRING)})), "usage": _COUNTS})
_SCRIPTS = (
    "asm_Beng", "awa_Deva", "ben_Beng", "bho_Deva", "brx_Deva", "doi_Deva", "eng_Latn", "gom_Deva", "gon_Deva",
    "guj_Gujr", "hin_Deva", "hne_Deva", "kan_Knda", "kas_Arab", "kas_Deva", "kha_Latn", "lus_Latn", "mag_Deva",
    "mai_Deva", "mal_Mlym", "mar_Deva", "mni_Beng", "mni_Mtei", "npi_Deva", "ory_Orya", "pan_Guru", "san_Deva",
    "sat_Olck", "snd_Arab", "snd_Deva", "tam_Taml", "tel_Telu", "urd_Arab", "unr_Deva",
)  # fmt: skip
_M2M100 = obj({"source_lang": STRING}, text=STRING, target_lang=STRING)
_INDICTRANS2 = obj(text=any_of(STRING, array(STRING)), target_language=one(*_SCRIPTS))


def _sentiment(request: ModelRequest) -> ModelResult:
    """Return NEGATIVE and POSITIVE with scores that add up to 1, the likelier last as the service does."""
    text = request.body["text"]
    if request.local:
        positive = request.local.levels(text, ["negative", "positive"])[1]
    else:
        positive = round(1 / (1 + math.exp(-4 * standins.polarity(text))), 6)
    result = [{"label": "NEGATIVE", "score": round(1 - positive, 6)}, {"label": "POSITIVE", "score": positive}]
    return ModelResult(result, {"input_tokens": min(512, standins.count_tokens(text))})


def _rerank(request: ModelRequest) -> ModelResult:
    """Return the positions of the contexts in order of score, at most `top_k`; the query is charged with each."""
    contexts, query = _contexts(request), request.body["query"]
    usage = {"input_tokens": sum(standins.count_tokens(query) + standins.count_tokens(text) for text in contexts)}
    matrix = request.local.embed([query, *contexts]) if request.local else standins.embed([query, *contexts], 1024)
    return ModelResult(_ranked(matrix[1:], matrix[0], request.body.get("top_k")), usage)


def _guard(request: ModelRequest) -> ModelResult:
    """Return the verdict on the last message, as text or as an object, by a word list."""
    prompt = prompts.read_prompt(request)
    last = prompt.messages[-1][1] if prompt.messages else ""
    if request.local:
        found = [name for name, hazards in standins.HAZARDS.items() if request.local.hazard(last, hazards) >= 0.5]
    else:
        found = [n for n, hazards in standins.HAZARDS.items() if standins.stems(last) & standins.stems(hazards)]
    text = f"unsafe\n{','.join(found)}" if found else "safe"
    units = {"input_tokens": prompt.tokens, "output_tokens": standins.count_tokens(text)}
    usage = openai_usage(units)
    if request.fault == "empty":
        return ModelResult({"response": "", "usage": usage}, units, damaged=True)
    form = (request.body.get("response_format") or {}).get("type")
    verdict = {"safe": not found, "categories": found} if form in ("json_object", "json_schema") else text
    return ModelResult({"response": verdict, "usage": usage}, units)


def _texts_of(request: ModelRequest) -> list[str]:
    return _texts(request.body.get("text", ""))


def _translate(request: ModelRequest) -> ModelResult:
    """Return the texts with the language as a mark."""
    given = _texts_of(request)
    language = request.body.get("target_lang", request.body.get("target_language"))
    marked = [f"[emulator: {language}] {text}" for text in given]
    spent, made = (sum(map(standins.count_tokens, texts)) for texts in (given, marked))
    one = request.model.family == "m2m100"
    result = {"translated_text": marked[0]} if one else {"translations": marked}
    return ModelResult(result, {"input_tokens": spent, "output_tokens": made})


FAMILIES = {
    **{
        name: Family(schema, _VECTORS, _embedded, _embed, _embeddings_check, frozenset({"run", "embeddings"}))
        for name, schema in _INPUTS.items()
    },
    "distilbert": Family(_SENTIMENT, array(obj({"label": STRING, "score": NUMBER})), _texts_of, _sentiment),
    "reranker": Family(_RERANK, obj({"response": array(obj({"id": NUMBER, "score": NUMBER}))}), _contexts, _rerank),
    "llama-guard": Family(_GUARD, _VERDICT, prompts.prompt_text, _guard, prompts.check_prompt),
    "m2m100": Family(
        any_of(_M2M100, obj(requests=array(_M2M100))), obj({"translated_text": STRING}), _texts_of, _translate
    ),
    "indictrans2": Family(_INDICTRANS2, obj(translations=array(STRING)), _texts_of, _translate),
}
