"""What answers in a model's place. Here: lexical similarity in place of understanding, and the mark on every text.

Everything here compares letters. The families and AI Search use its token estimates, vectors, label scores, polarity
and sentences. Vectors are stateless hashes of words and letter groups: texts that share words are near each other, and
a text always has the same vector. Labels are scored by shared word stems, letter groups and a small lexicon of words
that tend to occur together, in English and, for the commonest, in German, French and Spanish. The files beside this
one are the stand-ins that need more: a small local model, JSON that satisfies a schema, and pictures.
"""

from __future__ import annotations

import math
import re
import unicodedata
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MARK = "[emulator]"

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_SENTENCE = re.compile(r"(?<=[.!?。！？])\s+|\n+")

#: The words of an instruction that asks for a shorter text.
SHORTEN = re.compile(
    r"\b(summar\w*|tl;?dr|shorten|condense|gist|brief\w*|headline|title|one sentence|zusammenfass\w*|r[ée]sum\w*)\b",
    re.IGNORECASE,
)
#: A token: a run of digits, of white space, or of anything else up to six letters.
_TOKEN = re.compile(r"\d+|\s+|[^\d\s]{1,6}")

#: Weight of the words in a vector; the rest is groups of 3 to 5 letters.
_WORD_SHARE = 0.7


def _bag(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: A label word (or several) -> words that suggest it.
_RELATED: Mapping[str, str] = {
    "billing payment invoice charge finance": (
        "invoice bill billed charge charged payment pay paid card credit receipt subscription price cost tax vat "
        "bank debit overcharged twice rechnung zahlung bezahlt abgebucht konto betrag facture paiement payer "
        "prélèvement débité factura pago cobro cobrado tarjeta"
    ),
    "refund return": (
        "refund refunded return money back reimburse reimbursement cancel exchange rückerstattung erstattung "
        "zurück rembourser remboursement retour reembolso devolución devolver"
    ),
    "bug technical error crash problem defect outage support": (
        "bug error crash crashes crashed broken fails failed failing failure freeze freezes frozen exception "
        "stack blank screen glitch slow loading load timeout stopped working install update version app browser "
        "fehler absturz kaputt funktioniert lädt erreur plante panne bogue marche fallo falla funciona pantalla"
    ),
    "shipping delivery order logistics": (
        "ship shipped shipping delivery deliver delivered parcel package courier tracking track arrive arrived "
        "arrives late lost order address warehouse lieferung geliefert paket versand bestellung livraison livré "
        "colis commande expédition envío entrega paquete pedido llegado"
    ),
    "account login access password profile security": (
        "account login log sign signin password reset email username locked profile verification verify code "
        "authentication access delete settings anmelden passwort konto gesperrt kennwort compte connexion "
        "connecter mot passe cuenta contraseña acceso sesión"
    ),
    "feature request suggestion idea improvement": (
        "feature request suggest suggestion wish would like add support option please idea improve improvement "
        "could wünsche vorschlag funktion suggestion ajouter sugerencia añadir"
    ),
    "cancel cancellation churn unsubscribe": (
        "cancel cancellation unsubscribe terminate end stop subscription kündigen kündigung résilier annuler "
        "cancelar baja"
    ),
    "product quality damage": (
        "product quality broken damaged scratched defective size colour color item material qualität beschädigt "
        "qualité abîmé calidad dañado"
    ),
    "praise compliment thanks thank positive happy satisfied": (
        "thank thanks great love excellent wonderful amazing perfect good happy best awesome helpful danke toll "
        "super merci génial gracias excelente"
    ),
    "complaint negative angry unhappy dissatisfied": (
        "terrible awful bad worst hate angry disappointed unacceptable useless horrible poor annoyed furious "
        "schlecht furchtbar nul mauvais pésimo malo"
    ),
    "urgent urgency emergency critical high": (
        "urgent urgently immediately asap now emergency critical today deadline blocked down dringend sofort "
        "urgence immédiatement urgente inmediatamente"
    ),
    "spam scam fraud phishing": (
        "winner won prize lottery click free offer bitcoin crypto investment viagra inherit password bank verify "
        "congratulations limited"
    ),
    "sport sports": ("game match team player season league goal score coach win cup championship football tennis"),
    "politics government": ("government president minister election vote parliament law policy party senate congress"),
    "business economy": ("company market stock shares profit economy trade bank investor revenue sales growth"),
    "science technology tech": (
        "research scientists study computer software data physics space energy robot internet chip"
    ),
    "health medicine medical": ("doctor hospital patient disease treatment drug vaccine symptom pain medical health"),
    "travel hotel flight": ("hotel flight trip airport booking travel room vacation ticket passport"),
    "food restaurant": ("food restaurant meal dish taste menu eat cook kitchen delicious"),
    "question inquiry information how": ("how what when where which can could question wondering information know ask"),
    "math mathematics statistics": (
        "equation matrix integral probability mean variance distribution polynomial linear"
    ),
}

#: Names of labels that mean "nothing else fits".
_OTHERS = _bag(
    "other others none misc miscellaneous unknown general else neither neutral unclear sonstiges autre autres "
    "otro otros"
)

#: Without accents, as :func:`normalized` returns them.
_POSITIVE = _bag(
    "good great excellent amazing wonderful love loved loves like liked best perfect happy nice awesome fantastic "
    "brilliant superb delightful enjoy enjoyed enjoyable helpful thanks thank pleased glad beautiful impressive "
    "recommend easy fun favorite favourite outstanding satisfied fast friendly solid charming remarkable win wins "
    "works gut super toll danke schon bon bien merci genial excelente bueno gracias"
)
_NEGATIVE = _bag(
    "bad terrible awful horrible worst hate hated hates poor broken disappointing disappointed disappointment sad "
    "angry useless slow boring annoying annoyed fail fails failed failure crash crashes error ugly waste wrong "
    "problem problems unhappy rude dirty unacceptable frustrating frustrated mess dull ridiculous never lost late "
    "damaged charged refund schlecht furchtbar kaputt mauvais nul horrible malo pesimo"
)
_NEGATIONS = _bag("not no never isn’t wasn’t isn't wasn't don't doesn't didn't can't won't nicht kein pas ne sin")

#: Words too common to distinguish texts.
STOP = _bag(
    "a an and are as at be but by for from has have he i in is it its me my of on or our she so that the their "
    "them they this to us was we were will with you your not do does did if then than there been being into about "
    "which who whom der die das und ist ein eine nicht ich sie wir mit auf für den dem zu le la les de des et est "
    "un une je vous nous pas pour que qui el los las y es una en por para con no se al del lo su"
)

#: Hazard categories of the guard model, with words that indicate them.
HAZARDS: Mapping[str, str] = {
    "S1": "kill murder bomb shoot stab massacre attack weapon explosive",
    "S2": "steal robbery fraud launder counterfeit smuggle hack malware ransomware drugs cocaine heroin",
    "S9": "nerve sarin anthrax nuclear chemical biological",
    "S10": "hate slur inferior exterminate",
    "S11": "suicide self-harm overdose",
}


def count_tokens(text: str) -> int:
    """Return the estimated number of tokens: UTF-8 bytes over four, rounded up, at least 1."""
    return max(1, -(-len(text.encode("utf-8", "surrogatepass")) // 4))


def truncate(text: str, limit: int) -> str:
    """Return the longest prefix of a text that is estimated at `limit` tokens or fewer."""
    return text.encode("utf-8", "surrogatepass")[: 4 * max(0, limit)].decode("utf-8", "ignore")


def split_tokens(text: str) -> list[str]:
    """Return a text in the tokens it is streamed in."""
    return _TOKEN.findall(text)


def normalized(text: str) -> str:
    """Return a text in lower case without accents."""
    split = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in split if not unicodedata.combining(letter))


@lru_cache(maxsize=4096)
def stems(text: str) -> frozenset[str]:
    """Return the stems of a text's words: their first six letters, without stop words."""
    found = (word for word in _WORD.findall(text) if len(word) > 2 or not word.isascii())
    return frozenset(stem(word) for word in found if word.casefold() not in STOP)


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """Return the first six letters of a normalized word, without a plural or participle ending."""
    plain = normalized(word)
    for ending in ("ing", "ed", "es", "s"):
        if plain.endswith(ending) and len(plain) - len(ending) > 3:
            plain = plain[: -len(ending)]
            break
    return plain[:6]


@lru_cache(maxsize=8)
def _hashers(dims: int) -> tuple[Any, Any]:
    from sklearn.feature_extraction.text import HashingVectorizer

    # without stop words, nearest neighbors agree noticeably more often
    words = HashingVectorizer(
        n_features=dims, stop_words="english", token_pattern=r"(?u)\b\w+\b", strip_accents="unicode"
    )
    letters = HashingVectorizer(n_features=dims, analyzer="char_wb", ngram_range=(3, 5), strip_accents="unicode")
    return words, letters


def embed(texts: Sequence[str], dims: int) -> NDArray[np.float64]:
    """Return one unit vector per text, from hashed words and letter groups, shape (texts, `dims`)."""
    import numpy as np

    words, letters = _hashers(dims)
    mixed = words.transform(texts) * _WORD_SHARE + letters.transform(texts) * (1 - _WORD_SHARE)
    matrix: NDArray[np.float64] = mixed.toarray()
    length = np.linalg.norm(matrix, axis=1, keepdims=True)
    matrix[length[:, 0] == 0, 0] = 1.0  # a text without letters still gets a unit vector
    length[length == 0] = 1.0
    matrix /= length
    return matrix


@lru_cache(maxsize=64)
def model_space(name: str, dims: int) -> tuple[Any, Any]:
    """Return a permutation and signs that give every model its own space: vectors of two models are unrelated."""
    import numpy as np

    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return rng.permutation(dims), rng.choice((-1.0, 1.0), size=dims)


@lru_cache(maxsize=4096)
def _letters(text: str) -> dict[str, float]:
    flat = " " + " ".join(_WORD.findall(normalized(text))) + " "
    counts: dict[str, float] = {}
    for place in range(len(flat) - 3):
        gram = flat[place : place + 4]
        counts[gram] = counts.get(gram, 0.0) + 1.0
    norm = math.sqrt(sum(count * count for count in counts.values())) or 1.0
    return {gram: count / norm for gram, count in counts.items()}


@lru_cache(maxsize=4096)
def _related(name: str) -> frozenset[str]:
    own = stems(name)
    found: set[str] = set()
    for labels, words in _RELATED.items():
        if own & stems(labels):
            found |= stems(words)
    return frozenset(found - own)


def similarity(text: str, options: Sequence[tuple[str, str]]) -> list[float]:
    """Return how well each option, a name and a description, fits a text: 0 and up.

    An option named "other", "none" or similar gets a small fixed score, so that it wins when nothing fits.
    """
    here, near = stems(text), _letters(text)
    scores = []
    for name, description in options:
        if normalized(name).strip() in _OTHERS or stems(name) & _OTHERS:
            scores.append(0.35)
            continue
        label = name.replace("_", " ").replace("-", " ")
        own, explained, related = stems(label), stems(description), _related(label)
        hits = 1.6 * len(here & own) + 0.8 * len(here & explained - own) + 0.7 * len(here & related - explained - own)
        grams = _letters(f"{label} {description}")
        cosine = sum(weight * near.get(gram, 0.0) for gram, weight in grams.items())
        scores.append(hits / (1 + 0.1 * math.sqrt(len(here))) + cosine)
    return scores


def softmax(scores: Sequence[float], temperature: float = 0.6) -> list[float]:
    """Return probabilities with four decimals out of scores (softmax; a higher `temperature` flattens)."""
    top = max(scores)
    powers = [math.exp((score - top) / temperature) for score in scores]
    total = sum(powers)
    return [round(power / total, 4) for power in powers]


def polarity(text: str) -> float:
    """Return the balance of positive and negative words, -1 to 1; a negation right before a word reverses it."""
    words = [normalized(word) for word in _WORD.findall(text)]
    balance = hits = 0
    for place, word in enumerate(words):
        sign = (word in _POSITIVE) - (word in _NEGATIVE)
        if sign:
            negated = any(before in _NEGATIONS for before in words[max(0, place - 2) : place])
            balance += -sign if negated else sign
            hits += 1
    return balance / (hits + 0.5) if hits else 0.0


def sentences(text: str) -> list[str]:
    """Return the sentences of a text."""
    return [part.strip() for part in _SENTENCE.split(text) if part.strip()]


def closest(query: str, texts: Sequence[str]) -> int:
    """Return the position of the text most similar to the query; the first on a tie."""
    scores = similarity(query, [(text, "") for text in texts])
    return max(range(len(texts)), key=lambda place: (scores[place], -place))


def level_shares(state: str, levels: Sequence[str]) -> list[float]:
    """Return the share of each level of a scale, by similarity and by mood."""
    weights = similarity(state, [(level, "") for level in levels])
    moods = [polarity(level) for level in levels]
    if max(moods) - min(moods) > 0:
        here = polarity(state)
        weights = [weight - 1.5 * abs(mood - here) for weight, mood in zip(weights, moods, strict=True)]
    return softmax(weights)


def subject(text: str, options: Sequence[str] = ()) -> str:
    """Return the part of a message that its instruction refers to.

    An instruction is the text before a colon or a line break at the start, or a line that lists two or more of the
    options. If nothing else is left, the whole message is returned.
    """
    lines = [line for line in re.split(r"\n+", text) if line.strip()]
    if options:
        lines = [line for line in lines if sum(_names(option, line) for option in options) < 2]
    if len(lines) > 1 and (SHORTEN.search(lines[0]) or lines[0].rstrip().endswith((":", "?"))):
        lines = lines[1:]
    body = "\n".join(lines).strip()
    head, colon, rest = body.partition(":")
    if colon and rest.strip() and len(head.split()) <= 14 and len(rest.strip()) > len(head) / 2 and "\n" not in head:
        body = rest.strip()
    return body or text.strip()


def _names(option: str, line: str) -> bool:
    return bool(option) and re.search(rf"(?<!\w){re.escape(option)}(?!\w)", line, re.I) is not None


def trim(text: str, longest: int = 240) -> str:
    """Return a text of one line, cut at a word."""
    line = " ".join(text.split())
    if len(line) <= longest:
        return line
    return line[: longest - 1].rsplit(" ", 1)[0] + "…"
