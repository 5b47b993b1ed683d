"""Translation: nothing is translated. The text comes back marked with the language it should be in."""

from __future__ import annotations

from . import words
from .catalogue import Model
from .checks import Schema
from .shapes import STRING, any_of, array, obj, one
from .work import Ask, Family, Work

_SCRIPTS = (
    "asm_Beng", "awa_Deva", "ben_Beng", "bho_Deva", "brx_Deva", "doi_Deva", "eng_Latn", "gom_Deva", "gon_Deva",
    "guj_Gujr", "hin_Deva", "hne_Deva", "kan_Knda", "kas_Arab", "kas_Deva", "kha_Latn", "lus_Latn", "mag_Deva",
    "mai_Deva", "mal_Mlym", "mar_Deva", "mni_Beng", "mni_Mtei", "npi_Deva", "ory_Orya", "pan_Guru", "san_Deva",
    "sat_Olck", "snd_Arab", "snd_Deva", "tam_Taml", "tel_Telu", "urd_Arab", "unr_Deva",
)  # fmt: skip


def m2m100_input(model: Model) -> Schema:
    """A text with its languages, or several such requests for the queue."""
    single = obj({"text": STRING, "source_lang": STRING, "target_lang": STRING}, "text", "target_lang")
    return any_of(single, obj({"requests": array(single)}, "requests"))


def indictrans2_input(model: Model) -> Schema:
    """A text or several, and a language with its script."""
    return obj({"text": any_of(STRING, array(STRING)), "target_language": one(*_SCRIPTS)}, "text", "target_language")


def texts(ask: Ask) -> list[str]:
    """Return what is to be translated."""
    text = ask.body.get("text", "")
    return [text] if isinstance(text, str) else list(text)


def m2m100(ask: Ask) -> Work:
    """Return the text with the mark."""
    said = [_marked(text, str(ask.body.get("target_lang"))) for text in texts(ask)]
    return Work({"translated_text": said[0]}, _usage(ask, said))


def indictrans2(ask: Ask) -> Work:
    """Return the texts with the mark."""
    said = [_marked(text, str(ask.body["target_language"])) for text in texts(ask)]
    return Work({"translations": said}, _usage(ask, said))


def _marked(text: str, language: str) -> str:
    return f"[emulator: {language}] {text}"


def _usage(ask: Ask, said: list[str]) -> dict[str, float]:
    return {"input_tokens": sum(map(words.tokens, texts(ask))), "output_tokens": sum(map(words.tokens, said))}


FAMILIES = {
    "m2m100": Family(m2m100_input, lambda model: obj({"translated_text": STRING}), texts, m2m100),
    "indictrans2": Family(
        indictrans2_input, lambda model: obj({"translations": array(STRING)}, "translations"), texts, indictrans2
    ),
}
