"""``cluster``, the terms that distinguish clusters of texts (``topic_terms``), and an order of rows: ``leaf_order``."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..errors import check_count, is_number, takes_options
from .matrix import (
    Matrix,
    Numbers,
    Vectors,
    checked,
    count_distinct,
    limit_threads,
    normalized,
    principal_components,
    sample,
    unit_rows,
)

_TRIED = (2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 18)  # more clusters cannot be distinguished in a picture
# The silhouette in 768 dimensions is nearly flat and climbs with k; in the first components it has a peak at the true
# number of clusters (lexical vectors of 1,000 docstrings: 0.03 at every k, against 0.25 at the best).
_COMPONENTS = 12
_COUNTED = 20_000  # rows among which distinct ones are counted
_SCORED = 2_000  # rows on which the numbers of clusters are compared: more make n x n distances slow, not better
_OPTIMAL = 300  # rows up to which branches are flipped optimally: the time grows with the cube of the rows


@takes_options()
def cluster(
    matrix: Any, n_clusters: Literal["auto"] | int = "auto", random_state: int = 0, *, method: str = "kmeans",
    min_cluster_size: int | None = None,
) -> Numbers:  # fmt: skip
    """Assign every vector to a cluster, by angle, in the first principal components.

    Parameters
    ----------
    matrix : array_like
        Shape (n, d): one vector per row, without NaN. n may be 0.
    n_clusters : "auto" or int, default "auto"
        Number of clusters of KMeans. ``"auto"`` takes, of 2 to 18, the number with the best silhouette on a sample of
        at most 2,000 vectors; with fewer than three distinct vectors each is a cluster.
    random_state : int, default 0
        The same value and vectors give the same clusters.
    method : {"kmeans", "hdbscan"}, default "kmeans"
        ``"kmeans"`` assigns every vector. ``"hdbscan"`` finds dense clusters, as many as there are, and calls the
        rest noise: for texts that is often more than half.
    min_cluster_size : int, optional
        Minimum number of members of a cluster of HDBSCAN; default 1% of the vectors, at least 5.

    Returns
    -------
    numpy.ndarray
        int64, shape (n,): 0 is the largest cluster, 1 the next, -1 noise (HDBSCAN only). With fewer distinct vectors
        than `n_clusters` there are as many clusters as distinct vectors.

    Raises
    ------
    ValueError
        The matrix is not two-dimensional or holds NaN or infinity, `n_clusters` is neither "auto" nor at least 1, or
        the method is unknown or does not take one of the arguments.
    """
    if n_clusters != "auto" and not (is_number(n_clusters, whole=True) and n_clusters >= 1):
        raise ValueError(f"n_clusters must be 'auto' or a whole number of at least 1, not {n_clusters!r}")
    if method not in ("kmeans", "hdbscan"):
        raise ValueError(f"method must be 'kmeans' or 'hdbscan', not {method!r}")
    if (method == "hdbscan" and n_clusters != "auto") or (method == "kmeans" and min_cluster_size is not None):
        raise ValueError(
            "n_clusters= is for 'kmeans', and min_cluster_size= for 'hdbscan', which finds their number itself"
        )
    rows = checked(matrix)
    different = count_distinct(unit_rows(rows, sample(len(rows), _COUNTED, random_state)))
    if different < 2 or n_clusters == 1:
        return np.zeros(len(rows), dtype=np.int64)
    if method == "hdbscan":
        return _by_size(_hdbscan(_reduced(rows, _COMPONENTS, random_state), min_cluster_size))
    if n_clusters == "auto":
        wanted = _best_k(_reduced(rows, _COMPONENTS, random_state), different, random_state) if different > 2 else 2
    else:
        wanted = min(int(n_clusters), different)
    return _by_size(_kmeans(_reduced(rows, max(_COMPONENTS, wanted), random_state), wanted, random_state, n_init=4))


def _reduced(rows: Vectors, count: int, random_state: int) -> Matrix:
    if rows.shape[1] > count:
        rows = principal_components(rows, count, random_state).astype(np.float32)
    return normalized(rows)


def _best_k(rows: Matrix, different: int, random_state: int) -> int:
    """Return the number of clusters with the best silhouette on a sample."""
    from sklearn.metrics import pairwise_distances, silhouette_score

    rows = rows[sample(len(rows), _SCORED, random_state)]
    different = min(different, count_distinct(rows))
    distances = pairwise_distances(rows)
    np.fill_diagonal(distances, 0)  # rounding leaves traces there
    scores: dict[int, float] = {}
    for count in _TRIED:
        if count > different or count >= len(rows):
            break
        labels = _kmeans(rows, count, random_state, n_init=2)
        scores[count] = float(silhouette_score(distances, labels, metric="precomputed"))
    return max(scores, key=lambda count: scores[count], default=1)


def _kmeans(rows: Matrix, count: int, random_state: int, n_init: int) -> Numbers:
    from sklearn.cluster import KMeans

    # In twelve dimensions the work is too small to share: threads waited for one another, seconds on a busy machine.
    with limit_threads(1):
        return np.asarray(KMeans(count, n_init=n_init, random_state=random_state).fit_predict(rows), dtype=np.int64)


def _hdbscan(rows: Matrix, min_cluster_size: int | None) -> Numbers:
    from sklearn.cluster import HDBSCAN

    size = max(5, len(rows) // 100) if min_cluster_size is None else min_cluster_size
    if len(rows) < 2 * size:
        return np.full(len(rows), -1, dtype=np.int64)
    found = HDBSCAN(min_cluster_size=size, min_samples=min(5, size), copy=True).fit_predict(rows)
    return np.asarray(found, dtype=np.int64)


def _by_size(labels: Numbers) -> Numbers:
    """Renumber so that 0 is the largest cluster; of equal sizes the first to occur comes first. Noise stays -1."""
    found, first, inverse, sizes = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    rank = np.empty(len(found), dtype=np.int64)
    noise = int(found[0] == -1)
    rank[np.lexsort((first, -sizes, found != -1))] = np.arange(len(found)) - noise
    return rank[inverse]


@takes_options()
def leaf_order(similarities: npt.NDArray[np.floating]) -> npt.NDArray[np.intp]:
    """Return the order of the leaves of an average-linkage tree: rows next to each other are alike.

    Parameters
    ----------
    similarities : numpy.ndarray
        Shape (n, n), symmetric, without NaN.

    Returns
    -------
    numpy.ndarray
        Shape (n,): row numbers.
    """
    count = len(similarities)
    if count < 3:
        return np.arange(count)
    from scipy.cluster.hierarchy import leaves_list, linkage  # installed with scikit-learn

    distances = similarities.max() - similarities[np.triu_indices(count, 1)]
    tree = linkage(np.maximum(distances, 0).astype(np.float64), "average", optimal_ordering=count <= _OPTIMAL)
    return np.asarray(leaves_list(tree), dtype=np.intp)


# -- topic terms ------------------------------------------------------------------------------------------------------

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
    check_count(n=n)
    given, clusters = pd.Series(list(texts), dtype=object), pd.Series(list(labels), dtype=object)
    if len(given) != len(clusters):
        raise ValueError(f"{len(given)} texts and {len(clusters)} labels: give one label per text")
    kept = clusters.notna() & (clusters != -1)
    codes, found = pd.factorize(clusters[kept])
    made: dict[Hashable, str] = {label.item() if isinstance(label, np.generic) else label: "" for label in found}
    words, weights = _weights(given[kept].fillna("").astype(str).tolist(), codes, len(found))
    for row, label in enumerate(made):
        made[label] = ", ".join(_heaviest(words, weights[[row]], n)) if len(words) else ""
    return made


def _weights(texts: list[str], codes: Any, clusters: int) -> tuple[Any, Any]:
    """Return the words, and the weight of each word in each cluster that uses it, sparse (clusters, words)."""
    from scipy.sparse import csr_array
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, CountVectorizer

    asian = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
    pattern = rf"[^\W\d_{asian}]{{3,}}|[\u30a0-\u30ff]{{3,}}|[\u3400-\u9fff]{{2,}}|[\uac00-\ud7af]{{2,}}"
    stop_words = sorted({*ENGLISH_STOP_WORDS, *_STOP_WORDS.split()})
    try:
        counter = CountVectorizer(binary=True, token_pattern=pattern, stop_words=stop_words)
        table = counter.fit_transform(texts)
    except ValueError:  # scikit-learn raises it where no word is left
        return np.array([]), None
    inside = csr_array((np.ones(len(texts)), (codes, np.arange(len(texts)))), shape=(clusters, len(texts)))
    share = inside @ csr_array(table)
    share.data /= np.repeat(np.bincount(codes, minlength=clusters), np.diff(share.indptr))
    # Over the mean of all clusters: the usual log(1 + A / f) hardly separates common words from specific ones.
    mean = share.sum(axis=0) / clusters
    if clusters > 1:
        share.data *= np.log(share.data / mean[share.indices])
    return counter.get_feature_names_out(), share


def _heaviest(words: Any, weights: Any, n: int) -> list[str]:
    """Return the words of the greatest weight in a sparse row, but only one of "refund" and "refunds"."""
    chosen: list[str] = []
    for place in np.lexsort((weights.indices, -weights.data)):
        word = str(words[weights.indices[place]])
        if weights.data[place] <= 0 or len(chosen) == n:
            break
        if not any(word.startswith(other[:5]) or other.startswith(word) for other in chosen):
            chosen.append(word)
    return chosen
