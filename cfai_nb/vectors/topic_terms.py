"""Topic terms: the words that distinguish clusters of texts (``topic_terms``)."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

import numpy as np
import pandas as pd

from ..errors import takes_options

# Stop words of German, French, Spanish and Portuguese, Italian and Dutch, and English ones that scikit-learn lacks.
# Without them a cluster of German texts among English ones would be about "der, und, nicht".
_STOP_WORDS = """
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
def topic_terms(texts: Iterable[Any], labels: Iterable[Any], n: int = 3) -> dict[Hashable, str]:
    """Describe each cluster of texts by the words most specific to it (a c-TF-IDF over document counts).

    The weight of a word in a cluster is the share of its texts that use the word, times the logarithm of that share
    over the mean share of all clusters. Stop words of English, German, French, Spanish, Portuguese, Italian and Dutch
    are left out, and so are numbers. Japanese is split where its scripts change, a rough approximation of words.

    Parameters
    ----------
    texts : iterable
        One text per row; missing ones are skipped.
    labels : iterable
        The cluster of each row, as many as texts. Rows whose label is missing or -1 (noise) are skipped.
    n : int, default 3
        Words per cluster.

    Returns
    -------
    dict
        Label to ``"word, word, word"``, in the order in which the labels first occur; the empty string for a cluster
        without any word left.

    Raises
    ------
    ValueError
        There are not as many labels as texts, or `n` is below 1.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}")
    given, clusters = pd.Series(list(texts), dtype=object), pd.Series(list(labels), dtype=object)
    if len(given) != len(clusters):
        raise ValueError(f"{len(given)} texts and {len(clusters)} labels: give one label per text")
    kept = clusters.notna() & (clusters != -1)
    codes, found = pd.factorize(clusters[kept])
    made: dict[Hashable, str] = {label.item() if isinstance(label, np.generic) else label: "" for label in found}
    words, weights = _weights(given[kept].fillna("").astype(str).tolist(), codes, len(found))
    for row, label in enumerate(made):
        made[label] = ", ".join(_heaviest(words, weights[row], n)) if len(words) else ""
    return made


def _weights(texts: list[str], codes: Any, clusters: int) -> tuple[Any, Any]:
    """Return the words, and the weight of each word in each cluster, shape (clusters, words)."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, CountVectorizer

    asian = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
    pattern = rf"[^\W\d_{asian}]{{3,}}|[\u30a0-\u30ff]{{3,}}|[\u3400-\u9fff]{{2,}}|[\uac00-\ud7af]{{2,}}"
    stop_words = sorted({*ENGLISH_STOP_WORDS, *_STOP_WORDS.split()})
    try:
        counter = CountVectorizer(binary=True, token_pattern=pattern, stop_words=stop_words)
        table = counter.fit_transform(texts)
    except ValueError:  # scikit-learn raises it where no word is left
        return np.array([]), np.empty((clusters, 0))
    inside = np.zeros((clusters, len(texts)))
    inside[codes, np.arange(len(texts))] = 1
    share = (table.T @ inside.T).T / np.maximum(1, inside.sum(axis=1, keepdims=True))
    # Over the mean of all clusters: the usual log(1 + A / f) hardly separates common words from specific ones.
    ratio = np.log(np.maximum(share, 1e-12) / share.mean(axis=0)) if clusters > 1 else 1.0
    return counter.get_feature_names_out(), share * ratio


def _heaviest(words: Any, weights: Any, n: int) -> list[str]:
    """Return the heaviest words, of "refund" and "refunds" only one."""
    chosen: list[str] = []
    for at in np.lexsort((np.arange(len(words)), -weights)):
        word = str(words[at])
        if weights[at] <= 0 or len(chosen) == n:
            break
        if not any(word.startswith(other[:5]) or other.startswith(word) for other in chosen):
            chosen.append(word)
    return chosen
