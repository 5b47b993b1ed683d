"""The words that tell groups of texts apart: `terms`."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

import numpy as np
import pandas as pd

from ..errors import takes_options

# By language: German, French, Spanish and Portuguese, Italian and Dutch, and English beyond the list of scikit-learn.
# Without them a group of German texts among English ones would be about "der, und, nicht".
_SMALL_WORDS = """
aber als am an auch auf aus bei bin bitte das dass dem den der des die dies diese doch du durch ein eine einem einen
einer er es etwas für gern habe haben hat hatte ich ihnen ihr ihre im immer in ist ja kann kein keine können mein meine
meinem meinen meiner mich mir mit nach nicht noch nur oder ohne schon sehr seit sich sie sind so über um und uns vom
von vor war wenn werden wie wir wird wo wurde zu zum zur

au aux avec ce ces cette dans de depuis des donc du elle en est et été être fait faire il ils je la le les leur lui ma
mais me merci mes moi mon ne nous on ont ou où par pas plus pour pouvez puis qu que quelqu qui sa sans ses si son sont
suis sur ta te tout toute très un une vos votre vous bonjour

al ao aos com como da das dar do dos e el ela ele em era esta este está estou eu foi ha han hay he isso já las lo los
mais mas mi minha muito más meu me na nas no nos não os ou para pela pelo pero por porque puedo quando que quiero quien
se sem ser seu si sin sobre su sua também también tem tengo todo todos tu uma un una vez você vocês ya yo cada

che ci con dal del della di gli ho il mio nel non per più quale sono ancora come dit een het hij ik is kan maar meer
met mijn naar niet nog nu of om ook op te tot uit van voor wel wij zijn sinds

ago did didn does doesn don got ll just like says said isn ve want wants won
"""


@takes_options()
def terms(texts: Iterable[Any], labels: Iterable[Any], n: int = 3) -> dict[Hashable, str]:
    """Say in a few words what sets each group of texts apart (a c-TF-IDF over document counts).

    A word counts for a group by the share of its texts that use it, times the logarithm of that share over the mean
    share of all groups. Small words of English, German, French, Spanish, Portuguese, Italian and Dutch do not count,
    nor do numbers. Japanese is split where its scripts change, a rough stand-in for words.

    Parameters
    ----------
    texts : iterable
        One text a row; missing ones are passed over.
    labels : iterable
        The group of each row, as many as there are texts. Rows whose label is missing or -1 (noise) are passed over.
    n : int, default 3
        How many words for a group.

    Returns
    -------
    dict
        Label to ``"word, word, word"``, in the order in which the labels first occur. A group of which no words are
        known has the empty string.

    Raises
    ------
    ValueError
        If there are not as many labels as texts, or `n` is below 1.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}")
    said, groups = pd.Series(list(texts), dtype=object), pd.Series(list(labels), dtype=object)
    if len(said) != len(groups):
        raise ValueError(f"{len(said)} texts and {len(groups)} labels: there must be as many of one as of the other")
    kept = groups.notna() & (groups != -1)
    codes, found = pd.factorize(groups[kept])
    wanted: dict[Hashable, str] = {label.item() if isinstance(label, np.generic) else label: "" for label in found}
    words, weights = _weigh(said[kept].fillna("").astype(str).tolist(), codes, len(found))
    for row, label in enumerate(wanted):
        wanted[label] = ", ".join(_pick(words, weights[row], n)) if len(words) else ""
    return wanted


def _weigh(texts: list[str], codes: Any, groups: int) -> tuple[Any, Any]:
    """The words, and the weight of each word for each group, shape (groups, words)."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, CountVectorizer

    asian = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
    pattern = rf"[^\W\d_{asian}]{{3,}}|[\u30a0-\u30ff]{{3,}}|[\u3400-\u9fff]{{2,}}|[\uac00-\ud7af]{{2,}}"
    small = sorted({*ENGLISH_STOP_WORDS, *_SMALL_WORDS.split()})
    try:
        counter = CountVectorizer(binary=True, token_pattern=pattern, stop_words=small)
        table = counter.fit_transform(texts)
    except ValueError:  # scikit-learn's way to say that not a word is left
        return np.array([]), np.empty((groups, 0))
    inside = np.zeros((groups, len(texts)))
    inside[codes, np.arange(len(texts))] = 1
    share = (table.T @ inside.T).T / np.maximum(1, inside.sum(axis=1, keepdims=True))
    # Against the mean over the groups: the usual log(1 + A / f) hardly tells a common word from a telling one.
    apart = np.log(np.maximum(share, 1e-12) / share.mean(axis=0)) if groups > 1 else 1.0
    return counter.get_feature_names_out(), share * apart


def _pick(words: Any, weights: Any, n: int) -> list[str]:
    """The heaviest words, of "refund" and "refunds" only one."""
    chosen: list[str] = []
    for at in np.lexsort((np.arange(len(words)), -weights)):
        word = str(words[at])
        if weights[at] <= 0 or len(chosen) == n:
            break
        if not any(word.startswith(other[:5]) or other.startswith(word) for other in chosen):
            chosen.append(word)
    return chosen
