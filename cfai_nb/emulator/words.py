"""Words: the lexical stand-ins for understanding. Everything here compares letters; nothing here knows anything.

Vectors are stateless hashes of words and letter groups, so texts that share wording lie near each other, today and
tomorrow. Labels are weighed by shared word stems, a small lexicon and letter groups.
"""

from __future__ import annotations

import math
import re
import unicodedata
import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from .lexicon import NEGATIONS, NEGATIVE, OTHERS, POSITIVE, RELATED, STOP

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_SENTENCE = re.compile(r"(?<=[.!?。！？])\s+|\n+")

#: How much of a vector is words; the rest is groups of 3 to 5 letters.
_WORD_SHARE = 0.7


def tokens(text: str) -> int:
    """Return the estimated number of tokens: UTF-8 bytes over four, rounded up, at least 1."""
    return max(1, -(-len(text.encode("utf-8", "surrogatepass")) // 4))


def clip(text: str, limit: int) -> str:
    """Return the longest prefix of a text that is estimated at `limit` tokens or fewer."""
    return text.encode("utf-8", "surrogatepass")[: 4 * max(0, limit)].decode("utf-8", "ignore")


def bare(text: str) -> str:
    """Return a text in lower case without accents."""
    split = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in split if not unicodedata.combining(letter))


@lru_cache(maxsize=4096)
def stems(text: str) -> frozenset[str]:
    """Return the stems of a text's words: their first six letters, little words left out."""
    found = (word for word in _WORD.findall(text) if len(word) > 2 or not word.isascii())
    return frozenset(stem(word) for word in found if word.casefold() not in STOP)


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """Return the first six letters of a bare word, without a plural or participle ending."""
    plain = bare(word)
    for ending in ("ing", "ed", "es", "s"):
        if plain.endswith(ending) and len(plain) - len(ending) > 3:
            plain = plain[: -len(ending)]
            break
    return plain[:6]


@lru_cache(maxsize=8)
def _hashers(dims: int) -> tuple[Any, Any]:
    from sklearn.feature_extraction.text import HashingVectorizer

    # Without "the" and "of", which say nothing of what a text is about, neighbours agree noticeably more often.
    words = HashingVectorizer(
        n_features=dims, stop_words="english", token_pattern=r"(?u)\b\w+\b", strip_accents="unicode"
    )
    letters = HashingVectorizer(n_features=dims, analyzer="char_wb", ngram_range=(3, 5), strip_accents="unicode")
    return words, letters


def vectors(texts: Sequence[str], dims: int) -> NDArray[np.float64]:
    """Return one unit vector per text, from hashed words and letter groups.

    Parameters
    ----------
    texts : sequence of str
    dims : int
        Width.

    Returns
    -------
    array of float64, shape (len(texts), dims)
    """
    import numpy as np

    words, letters = _hashers(dims)
    mixed = words.transform(texts) * _WORD_SHARE + letters.transform(texts) * (1 - _WORD_SHARE)
    matrix: NDArray[np.float64] = mixed.toarray()
    length = np.linalg.norm(matrix, axis=1, keepdims=True)
    matrix[length[:, 0] == 0, 0] = 1.0  # a text without a single letter still gets a unit vector
    length[length == 0] = 1.0
    matrix /= length
    return matrix


@lru_cache(maxsize=64)
def space(name: str, dims: int) -> tuple[Any, Any]:
    """Return the shuffle and signs that give every model its own space: comparing two must give nothing."""
    import numpy as np

    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return rng.permutation(dims), rng.choice((-1.0, 1.0), size=dims)


@lru_cache(maxsize=4096)
def _letters(text: str) -> dict[str, float]:
    flat = " " + " ".join(_WORD.findall(bare(text))) + " "
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
    for labels, words in RELATED.items():
        if own & stems(labels):
            found |= stems(words)
    return frozenset(found - own)


def weigh(text: str, options: Sequence[tuple[str, str]]) -> list[float]:
    """Return how well each option suits a text, 0 and up.

    Parameters
    ----------
    text : str
    options : sequence of (name, description)
        An option called "other", "none" or the like gets a small weight of its own, so that it wins when nothing fits.
    """
    here, near = stems(text), _letters(text)
    scores = []
    for name, description in options:
        if bare(name).strip() in OTHERS or stems(name) & OTHERS:
            scores.append(0.35)
            continue
        label = name.replace("_", " ").replace("-", " ")
        own, explained, related = stems(label), stems(description), _related(label)
        hits = 1.6 * len(here & own) + 0.8 * len(here & explained - own) + 0.7 * len(here & related - explained - own)
        grams = _letters(f"{label} {description}")
        cosine = sum(weight * near.get(gram, 0.0) for gram, weight in grams.items())
        scores.append(hits / (1 + 0.1 * math.sqrt(len(here))) + cosine)
    return scores


def shares(scores: Sequence[float], warmth: float = 0.6) -> list[float]:
    """Return probabilities with four decimals out of scores (softmax; `warmth` flattens)."""
    top = max(scores)
    powers = [math.exp((score - top) / warmth) for score in scores]
    total = sum(powers)
    return [round(power / total, 4) for power in powers]


def polarity(text: str) -> float:
    """Return the balance of praising and scolding words, -1 to 1; a negation right before a word turns it."""
    words = [bare(word) for word in _WORD.findall(text)]
    balance = hits = 0
    for place, word in enumerate(words):
        sign = (word in POSITIVE) - (word in NEGATIVE)
        if sign:
            turned = any(before in NEGATIONS for before in words[max(0, place - 2) : place])
            balance += -sign if turned else sign
            hits += 1
    return balance / (hits + 0.5) if hits else 0.0


def sentences(text: str) -> list[str]:
    """Return the sentences of a text."""
    return [part.strip() for part in _SENTENCE.split(text) if part.strip()]


def closest(query: str, texts: Sequence[str]) -> int:
    """Return which text shares most wording with the query; the first on a tie."""
    scores = weigh(query, [(text, "") for text in texts])
    return max(range(len(texts)), key=lambda place: (scores[place], -place))
