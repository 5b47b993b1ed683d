"""Names for clusters: by their words, by a chat model, or by hand."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from .. import vectors
from ..errors import ColumnError, refuse_unknown
from ..tasks.label_clusters import Label, describe, distinct
from . import rows as frames
from .call import OPTIONS, Call, Forms
from .vector_input import is_text, refuse_needless, vectors_of

NOISE = "noise"
#: Texts of each cluster a chat model is shown, and words.
_EXAMPLES, _TERMS = 3, 6


class LabelClusters(Forms):
    """Name clusters: a categorical Series of labels, one a row.

    Without `model` the labels are the words that set the clusters apart (c-TF-IDF), and nothing is sent.  With it a
    chat model is asked, in one request for all clusters, for short labels of which no two are the same; that is an
    ordinary task: ``.plan(...)`` prices it, ``.aio(...)`` awaits it, the store keeps it.

    Parameters
    ----------
    text : str
        Column of text; a Series needs none.
    clusters : Series, array_like or str
        The cluster of each row, as ``cluster`` gives it, or a column of them.  -1 is named "noise", and a missing one
        stays missing.
    on : str, optional
        Column of vectors: the model is then shown the texts in the middle of each cluster, otherwise some of all its
        texts, evenly drawn.
    model : str or Model, optional
        A chat model from ``cf.models()``, or ``"default"``.
    labels : mapping of cluster to str, optional
        Your own labels, which come before all others.  Clusters given the same label become one.
    n : int, default 3
        Words of a label without a model.
    **travel
        Run options, for the model.

    Returns
    -------
    Series
        Categorical; the categories are in the order of the clusters, noise last.

    Raises
    ------
    ValueError
        There are not as many clusters as rows, or `labels` names one that is not there.
    RowsFailed
        The model gave no fitting labels twice.
    """

    def __init__(self, data: frames.Frame) -> None:
        self._data = data

    def __call__(
        self, text: Any = None, clusters: Any = None, *, on: Any = None, model: Any = None,
        labels: Mapping[Any, str] | None = None, n: int = 3, **travel: Any,
    ) -> pd.Series[Any]:  # fmt: skip
        """Name them."""
        options = {"on": on, "model": model, "labels": labels, "n": n, **travel}
        about = _About(self._data, text, clusters, options)
        return about.named(about.call().wait() if about.asks else None)

    async def aio(self, text: Any = None, clusters: Any = None, **options: Any) -> pd.Series[Any]:
        """Name them; awaited."""
        from .._engine.aside import beside

        about = await beside(lambda: _About(self._data, text, clusters, options))
        call = await beside(about.call) if about.asks else None
        answer = None if call is None else await call.wait_async()
        return await beside(lambda: about.named(answer))

    def _call(self, text: Any = None, clusters: Any = None, **options: Any) -> Call:
        return _About(self._data, text, clusters, options).call()


class _About:
    """Clusters, what is known of them, and what is to be done."""

    def __init__(self, data: frames.Frame, text: Any, clusters: Any, options: dict[str, Any]) -> None:
        if clusters is None and isinstance(data, pd.Series):
            text, clusters = None, text  # a Series needs no column: s.cfai.label_clusters(clusters)
        refuse_unknown("label_clusters", options, ["text", "clusters", "on", "model", "labels", "n", *OPTIONS])
        self.data = data
        self.on, self.model = options.pop("on", None), options.pop("model", None)
        self.labels: Mapping[Hashable, str] = options.pop("labels", None) or {}
        self.n = options.pop("n", 3)
        self.travel = options
        self.asks = self.model is not None
        if not self.asks:
            refuse_needless(options, "without model= labels are words of the texts and nothing is sent")
        self.clusters = self._clusters(clusters)
        self.texts = frames.rows_of(data, text, template=False).inputs
        self.codes, self.known = _coded(self.clusters)
        unknown = [name for name in self.labels if name not in self.known and name != -1]
        if unknown:
            raise ValueError(f"labels: there are no clusters {unknown}; there are {self.known}")

    def _clusters(self, given: Any) -> pd.Series[Any]:
        if given is None:
            raise ValueError("say which cluster each row is of: label_clusters('text', df.cfai.cluster('vector'))")
        if isinstance(given, str):
            column = frames.column_of(self.data, given)
            if column is None:
                raise ColumnError(f"There is no column {given!r} of clusters.")
            given = column
        if isinstance(given, pd.Series) and not given.index.equals(self.data.index):
            raise ValueError("the clusters have another index than the rows: align them first")
        series = pd.Series(given) if not isinstance(given, pd.Series) else given
        if len(series) != len(self.data):
            raise ValueError(f"{len(self.data)} rows and {len(series)} clusters: one for each row is needed")
        return series.reset_index(drop=True)

    def call(self) -> Call:
        """Return the one request for all clusters, not yet sent."""
        if not self.asks:
            raise ValueError("without model= nothing is sent, so there is nothing to price: give model='default'")
        if not self.known:
            raise ValueError("there are no clusters to name")
        words = self._terms(_TERMS)
        prompt = describe([(words[at], self._examples(at)) for at in range(len(self.known))])
        model = None if self.model == "default" else self.model
        travel = self.travel | {"on_error": "raise"}  # a cluster without its label is no result
        return Call(Label(schema=distinct(words)), model, pd.Series([prompt], dtype=object), None, travel)

    @functools.cached_property
    def _vectors(self) -> vectors.VectorColumn:
        if is_text(self.data, self.on):
            raise ValueError(f"on={self.on!r} holds no vectors: embed it first, so that a plan sends nothing")
        return vectors_of(self.data, self.on, {})

    def named(self, answer: Any) -> pd.Series[Any]:
        """Return the labels of the rows, given the model's answer or None."""
        if answer is None:
            said = _unlike(self._terms(self.n), self.known)
        else:
            said = [str(answer.iloc[0][f"group_{at}"]).strip() for at in range(len(self.known))]
        labels = [self.labels.get(cluster, label) for cluster, label in zip(self.known, said, strict=True)]
        labels.append(self.labels.get(-1, NOISE))
        rows: list[Any] = [None if code < -1 else labels[code] for code in self.codes.tolist()]
        used = labels if (self.codes == -1).any() else labels[:-1]
        categories = pd.Index(list(dict.fromkeys(used)), dtype=object)
        return pd.Series(pd.Categorical(rows, categories=categories), index=self.data.index, name="label")

    def _terms(self, n: int) -> list[str]:
        """The words of each cluster, in the order of the clusters."""
        found = vectors.topic_terms(self.texts, [None if code < 0 else code for code in self.codes.tolist()], n)
        return [found.get(at, "") for at in range(len(self.known))]

    def _examples(self, at: int) -> list[str]:
        """A few different texts: the nearest to the middle, or evenly drawn where there are no vectors."""
        there = np.array([text is not None for text in self.texts])
        rows = np.flatnonzero((self.codes == at) & there)
        if self.on is not None and len(rows):
            some = self._vectors.select((self.codes == at) & there)
            if len(some):
                middle = vectors.mean_direction(some)
                rows = some.positions[np.argsort(-vectors.similarity(some, middle), kind="stable")]
        different = list(dict.fromkeys(str(self.texts[int(row)]) for row in rows))
        if self.on is not None:
            return different[:_EXAMPLES]
        spots = np.linspace(0, len(different) - 1, min(_EXAMPLES, len(different)))
        return [different[int(spot)] for spot in spots]


def _coded(clusters: pd.Series[Any]) -> tuple[Any, list[Any]]:
    """The place of each row's cluster among the clusters in their order; -1 for noise, -2 where it is missing."""
    noise = clusters.map(lambda cluster: not isinstance(cluster, str) and cluster == -1, na_action="ignore").eq(True)
    grey = noise.fillna(False).to_numpy(dtype=bool)
    real = ~grey & clusters.notna().to_numpy(dtype=bool)
    known = clusters[real].drop_duplicates().tolist()
    if isinstance(clusters.dtype, pd.CategoricalDtype):
        known = [name for name in clusters.cat.categories.tolist() if name in set(known)]
    else:
        known = sorted(known, key=lambda name: (isinstance(name, str), name))
    place = {name: at for at, name in enumerate(known)}
    codes = np.full(len(clusters), -2)
    codes[grey] = -1
    codes[real] = [place[name] for name in clusters[real].tolist()]
    return codes, known


def _unlike(words: list[str], known: list[Any]) -> list[str]:
    """Labels of which no two are alike: a cluster without words of its own goes by its number too."""
    return [
        said if said and words.count(said) == 1 else f"{said} ({name})" if said else f"cluster {name}"
        for said, name in zip(words, known, strict=True)
    ]
