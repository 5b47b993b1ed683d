"""Guard: Llama Guard's verdict on a talk, by a word list, in both its forms."""

from __future__ import annotations

from . import prompts, words
from .catalogue import Model
from .checks import Schema
from .legacy import SAMPLING
from .lexicon import HAZARDS
from .shapes import BOOLEAN, NUMBER, STRING, any_of, array, obj, one
from .work import Ask, Family, Work, by_schema


def inputs(model: Model) -> Schema:
    """A talk of user and assistant alone."""
    message = obj({"role": one("user", "assistant"), "content": STRING}, "role", "content")
    fields = {name: SAMPLING[name] for name in ("max_tokens", "temperature")}
    return obj({"messages": array(message), **fields, "response_format": obj({"type": STRING})}, "messages")


def output(model: Model) -> Schema:
    """A verdict as text or as an object."""
    verdict = obj({"safe": BOOLEAN, "categories": array(STRING)})
    counts = obj(dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), NUMBER))
    return obj({"response": any_of(STRING, verdict), "usage": counts})


def check(ask: Ask) -> None:
    """Refuse by the schema, then a talk that leaves no room for the verdict."""
    by_schema(ask)
    prompts.fit(ask)


def answer(ask: Ask) -> Work:
    """Return the verdict on the last message."""
    prompt = prompts.read(ask)
    here = words.stems(prompt.messages[-1][1] if prompt.messages else "")
    found = [name for name, hazards in HAZARDS.items() if here & words.stems(hazards)]
    said = f"unsafe\n{','.join(found)}" if found else "safe"
    units = {"input_tokens": prompt.tokens, "output_tokens": words.tokens(said)}
    spent, made = units["input_tokens"], units["output_tokens"]
    usage = {"prompt_tokens": spent, "completion_tokens": made, "total_tokens": spent + made}
    if ask.fault == "empty":
        return Work({"response": "", "usage": usage}, units, damaged=True)
    form = (ask.body.get("response_format") or {}).get("type")
    verdict = {"safe": not found, "categories": found} if form in ("json_object", "json_schema") else said
    return Work({"response": verdict, "usage": usage}, units)


FAMILIES = {"llama-guard": Family(inputs, output, prompts.text, answer, check)}
