"""The small text models: sentiment, reranker, Llama Guard and translation.

Words are counted, not understood, where no local model answers: labels follow word lists. A translation is always the
text itself, marked with the language it should be in.
"""

from __future__ import annotations

import math

from ..schemas.chat_schemas import SAMPLING
from ..schemas.json_schema import BOOLEAN, NUMBER, STRING, Schema, any_of, array, each, obj, one
from ..standins import lexical
from . import prompts
from .family import Family, ModelRequest, ModelResult, by_schema, openai_usage

_SOME: Schema = {"type": "string", "minLength": 1}
_SENTIMENT = obj(text=STRING)
_RERANK = obj({"top_k": {"type": "integer", "minimum": 1}}, query=_SOME, contexts=array(obj({"text": _SOME})))
_GUARD = obj(
    {**{name: SAMPLING[name] for name in ("max_tokens", "temperature")}, "response_format": obj({"type": STRING})},
    messages=array(obj(role=one("user", "assistant"), content=STRING)),
)
_VERDICT = obj(
    {
        "response": any_of(STRING, obj({"safe": BOOLEAN, "categories": array(STRING)})),
        "usage": obj(each("prompt_tokens completion_tokens total_tokens", NUMBER)),
    }
)
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
        positive = round(1 / (1 + math.exp(-4 * lexical.polarity(text))), 6)
    result = [{"label": "NEGATIVE", "score": round(1 - positive, 6)}, {"label": "POSITIVE", "score": positive}]
    return ModelResult(result, {"input_tokens": min(512, lexical.count_tokens(text))})


def _contexts(request: ModelRequest) -> list[str]:
    return [context.get("text", "") for context in request.body["contexts"]]


def _rerank(request: ModelRequest) -> ModelResult:
    """Return the positions of the contexts in order of score, at most `top_k`; the query is charged with each."""
    contexts, query = _contexts(request), request.body["query"]
    usage = {"input_tokens": sum(lexical.count_tokens(query) + lexical.count_tokens(text) for text in contexts)}
    matrix = request.local.embed([query, *contexts]) if request.local else lexical.embed([query, *contexts], 1024)
    scores = (matrix[1:] @ matrix[0]).clip(0, 1).round(6).tolist()
    ranked = sorted(enumerate(scores), key=lambda pair: -pair[1])[: request.body.get("top_k") or len(scores)]
    return ModelResult({"response": [{"id": place, "score": score} for place, score in ranked]}, usage)


def _guard_check(request: ModelRequest, schema: Schema) -> None:
    """Refuse by the schema, then a conversation that leaves no room for the verdict."""
    by_schema(request, schema)
    prompts.check_answerable(request)


def _guard(request: ModelRequest) -> ModelResult:
    """Return the verdict on the last message, as text or as an object, by a word list."""
    prompt = prompts.read_prompt(request)
    last = prompt.messages[-1][1] if prompt.messages else ""
    if request.local:
        found = [name for name, hazards in lexical.HAZARDS.items() if request.local.hazard(last, hazards) >= 0.5]
    else:
        found = [n for n, hazards in lexical.HAZARDS.items() if lexical.stems(last) & lexical.stems(hazards)]
    text = f"unsafe\n{','.join(found)}" if found else "safe"
    units = {"input_tokens": prompt.tokens, "output_tokens": lexical.count_tokens(text)}
    usage = openai_usage(units)
    if request.fault == "empty":
        return ModelResult({"response": "", "usage": usage}, units, damaged=True)
    form = (request.body.get("response_format") or {}).get("type")
    verdict = {"safe": not found, "categories": found} if form in ("json_object", "json_schema") else text
    return ModelResult({"response": verdict, "usage": usage}, units)


def _texts(request: ModelRequest) -> list[str]:
    text = request.body.get("text", "")
    return [text] if isinstance(text, str) else list(text)


def _translated(request: ModelRequest, language: str) -> tuple[list[str], dict[str, float]]:
    """Return the texts with the language as a mark, and the usage."""
    given = _texts(request)
    marked = [f"[emulator: {request.body.get(language)}] {text}" for text in given]
    tokens = (sum(map(lexical.count_tokens, texts)) for texts in (given, marked))
    return marked, dict(zip(("input_tokens", "output_tokens"), tokens, strict=True))


def _m2m100(request: ModelRequest) -> ModelResult:
    texts, usage = _translated(request, "target_lang")
    return ModelResult({"translated_text": texts[0]}, usage)


def _indictrans2(request: ModelRequest) -> ModelResult:
    texts, usage = _translated(request, "target_language")
    return ModelResult({"translations": texts}, usage)


FAMILIES = {
    "distilbert": Family(
        _SENTIMENT, array(obj({"label": STRING, "score": NUMBER})), lambda request: [request.body["text"]], _sentiment
    ),
    "reranker": Family(_RERANK, obj({"response": array(obj({"id": NUMBER, "score": NUMBER}))}), _contexts, _rerank),
    "llama-guard": Family(_GUARD, _VERDICT, prompts.prompt_text, _guard, _guard_check),
    "m2m100": Family(
        any_of(_M2M100, obj(requests=array(_M2M100))),
        obj({"translated_text": STRING}),
        _texts,
        _m2m100,
    ),
    "indictrans2": Family(_INDICTRANS2, obj(translations=array(STRING)), _texts, _indictrans2),
}
