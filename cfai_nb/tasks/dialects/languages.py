"""How the two translation models are asked, and the codes by which they take languages."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...errors import AnswerError
from ...models import Model, Usage
from .request import Answer, Cell, Input, Request, tokens_of
from .values import quoted

#: Families that translate and do nothing else.
FAMILIES = frozenset({"m2m100", "indictrans2"})

#: The hundred languages of m2m100, by their English names (the model card of ``facebook/m2m100_1.2B``).
M2M100 = {
    "afrikaans": "af", "albanian": "sq", "amharic": "am", "arabic": "ar", "armenian": "hy", "asturian": "ast",
    "azerbaijani": "az", "bashkir": "ba", "belarusian": "be", "bengali": "bn", "bosnian": "bs", "breton": "br",
    "bulgarian": "bg", "burmese": "my", "catalan": "ca", "cebuano": "ceb", "chinese": "zh", "croatian": "hr",
    "czech": "cs", "danish": "da", "dutch": "nl", "english": "en", "estonian": "et", "finnish": "fi", "french": "fr",
    "fulah": "ff", "galician": "gl", "ganda": "lg", "georgian": "ka", "german": "de", "greek": "el", "gujarati": "gu",
    "haitian": "ht", "hausa": "ha", "hebrew": "he", "hindi": "hi", "hungarian": "hu", "icelandic": "is", "igbo": "ig",
    "iloko": "ilo", "indonesian": "id", "irish": "ga", "italian": "it", "japanese": "ja", "javanese": "jv",
    "kannada": "kn", "kazakh": "kk", "khmer": "km", "korean": "ko", "lao": "lo", "latvian": "lv", "lingala": "ln",
    "lithuanian": "lt", "luxembourgish": "lb", "macedonian": "mk", "malagasy": "mg", "malay": "ms", "malayalam": "ml",
    "marathi": "mr", "mongolian": "mn", "nepali": "ne", "northern sotho": "ns", "norwegian": "no", "occitan": "oc",
    "oriya": "or", "panjabi": "pa", "pashto": "ps", "persian": "fa", "polish": "pl", "portuguese": "pt",
    "romanian": "ro", "russian": "ru", "scottish gaelic": "gd", "serbian": "sr", "sindhi": "sd", "sinhala": "si",
    "slovak": "sk", "slovenian": "sl", "somali": "so", "spanish": "es", "sundanese": "su", "swahili": "sw",
    "swati": "ss", "swedish": "sv", "tagalog": "tl", "tamil": "ta", "thai": "th", "tswana": "tn", "turkish": "tr",
    "ukrainian": "uk", "urdu": "ur", "uzbek": "uz", "vietnamese": "vi", "welsh": "cy", "western frisian": "fy",
    "wolof": "wo", "xhosa": "xh", "yiddish": "yi", "yoruba": "yo", "zulu": "zu",
}  # fmt: skip
#: Languages of indictrans2 that have a code of their own above; its codes carry the script, and there are more.
INDIC = {
    "as": "asm_Beng", "bn": "ben_Beng", "gu": "guj_Gujr", "hi": "hin_Deva", "kn": "kan_Knda", "ml": "mal_Mlym",
    "mr": "mar_Deva", "ne": "npi_Deva", "or": "ory_Orya", "pa": "pan_Guru", "ta": "tam_Taml", "te": "tel_Telu",
    "ur": "urd_Arab",
}  # fmt: skip
_OTHERS = {"assamese": "as", "odia": "or", "punjabi": "pa", "telugu": "te"}


def code_of(language: str, model: Model) -> str:
    """Return the code by which a translation model takes a language, given by name or code.

    Raises ValueError: the model does not have it; the message names one that is written alike.
    """
    wanted = language.strip()
    code = (M2M100 | _OTHERS).get(wanted.lower(), wanted.lower())
    scripts = model.family == "indictrans2"
    if scripts and "_" in wanted:
        return wanted
    known = INDIC if scripts else set(M2M100.values())
    if code in known:
        return INDIC[code] if scripts else code
    names = [name for name, its in (M2M100 | _OTHERS).items() if its in known]
    near = difflib.get_close_matches(wanted.lower(), names, n=1)
    hint = f" Did you mean {near[0].title()}?" if near else ""
    raise ValueError(f"{model.id} has no language {language!r}.{hint} A chat model may have it.")


@dataclass(frozen=True, slots=True)
class Translation:
    """A translation by one of the two models."""

    to: str
    source: str | None

    def check(self, model: Model) -> None:
        """Refuse what is not a language, and for a translation model a language it does not have."""
        for name, language in (("to", self.to), ("source", self.source)):
            if (language is not None or name == "to") and not (isinstance(language, str) and language.strip()):
                raise ValueError(f"{name}={language!r}: give a language, such as 'German' or 'de'.")
        if model.family not in FAMILIES:
            return
        if model.family == "m2m100":
            code_of(self.source or "English", model)
        elif (self.source or "en").strip().lower() not in ("en", "english"):
            raise ValueError(f"{model.id} translates from English only; leave source= out or choose another model.")
        code_of(self.to, model)

    def build_request(self, value: Input, model: Model) -> Request:
        target = code_of(self.to, model)
        if model.family == "indictrans2":
            return Request(json={"text": value, "target_language": target})
        source = code_of(self.source or "English", model)
        return Request(json={"text": value, "source_lang": source, "target_lang": target})

    def estimate_usage(self, inputs: Sequence[Input], model: Model) -> Usage:
        """Estimate the texts; a translation is counted at twice the tokens of its source."""
        read = float(sum(map(tokens_of, inputs)))
        return Usage({"input_tokens": read, "output_tokens": 2 * read})

    def parse(self, answer: Answer, value: Input, model: Model) -> Cell:
        output = answer.json if isinstance(answer.json, Mapping) else {}
        several = output.get("translations")
        text = output.get("translated_text") or (several[0] if isinstance(several, list) and several else None)
        if not isinstance(text, str) or not text.strip():
            raise AnswerError(f"the translation is empty: {quoted(text)}", "empty")
        return text
