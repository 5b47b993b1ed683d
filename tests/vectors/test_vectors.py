"""The space: projections, groups and the words that tell groups apart."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
import types
from collections.abc import Iterator
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import cfai_nb as cf
from cfai_nb import vectors
from cfai_nb._engine.run_state import Results
from cfai_nb.vectors import (
    Projection,
    VectorColumn,
    cluster,
    duplicates,
    outliers,
    project,
    search,
    similarity,
    topic_terms,
)
from cfai_nb.vectors.vector import Space


def blobs(rows: int, groups: int, width: int = 32, spread: float = 0.3) -> tuple[Any, Any]:
    """Vectors around well separated centres, and the number of each one's centre."""
    random = np.random.default_rng(5)
    owner = np.arange(rows) % groups
    return (random.normal(size=(groups, width))[owner] + random.normal(size=(rows, width)) * spread).astype("f4"), owner


def same_split(one: Any, other: Any) -> bool:
    """Whether two labellings differ by the names of the groups only."""
    pairs = set(zip(one.tolist(), other.tolist(), strict=True))
    return len(pairs) == len(set(one.tolist())) == len(set(other.tolist()))


@pytest.mark.slow
def test_the_room_loads_sklearn_when_a_function_runs() -> None:
    """Importing the space, and even asking about no vectors, does not load scikit-learn."""
    code = "import sys, cfai_nb.vectors as s; s.project([]); s.cluster([]); print('sklearn' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "False"


@pytest.mark.slow
@pytest.mark.parametrize("method", ["auto", "tsne", "pca"])
@pytest.mark.parametrize("rows", [0, 1, 2, 3, 4, 5, 7])
def test_few_vectors_are_no_special_case(rows: int, method: str) -> None:
    """However few the vectors, there is one finite point for each, and a note."""
    laid = project(np.random.default_rng(0).normal(size=(rows, 6)), method)
    assert laid.points.shape == (rows, 2)
    assert np.isfinite(laid.points).all()
    assert laid.note


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_equal_vectors_share_one_point(value: float) -> None:
    """Vectors that are all the same, zeros included, are on one point, and the note says that they are the same."""
    laid = project(np.full((30, 4), value))
    assert not laid.points.any()
    assert "all the same" in laid.note
    assert cluster(np.full((30, 4), value)).tolist() == [0] * 30


def test_vectors_of_one_dimension_are_laid_out() -> None:
    """A matrix of one column has a projection and groups: its two directions."""
    column = np.array([[1.0], [-1.0], [2.0], [-2.0]] * 4)
    assert project(column).points.shape == (16, 2)
    assert cluster(column).tolist() == [0, 1, 0, 1] * 4


@pytest.mark.slow
def test_neighbours_stay_neighbours() -> None:
    """t-SNE lays every vector closer to the middle of its own group than to any other."""
    matrix, owner = blobs(300, 5)
    laid = project(matrix)
    assert laid.method == "tsne"
    middles = np.stack([laid.points[owner == group].mean(axis=0) for group in range(5)])
    nearest = np.linalg.norm(laid.points[:, None] - middles, axis=2).argmin(axis=1)
    assert (nearest == owner).all()


def test_the_method_follows_the_number_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit "auto" maps a sample, lays the others in their groups, and says so; "tsne" maps all."""
    monkeypatch.setattr("cfai_nb.vectors.projection.TSNE_ROWS", 60)
    matrix, owner = blobs(160, 3)
    told: list[str] = []
    beyond = project(matrix, on_progress=told.append)
    assert "sample of 60; the other 100 are placed at" in beyond.note
    assert any("placing" in text for text in told)
    middles = np.stack([beyond.points[owner == group].mean(axis=0) for group in range(3)])
    assert (np.linalg.norm(beyond.points[:, None] - middles, axis=2).argmin(axis=1) == owner).all()
    assert project(matrix, "tsne").note == "t-SNE of 160 vectors"
    assert project(matrix[:60]).note == "t-SNE of 60 vectors"


def test_umap_is_used_if_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for and not installed it is an error with the line to install it; installed, it makes the points."""
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(cf.CfaiError, match="pip install umap-learn"):
        project(np.eye(6), "umap")
    pretended = types.SimpleNamespace(fit_transform=lambda close: close[:, :2] + 1)
    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=lambda **options: pretended))
    laid = project(np.eye(6), "umap")
    assert (laid.method, laid.note) == ("umap", "UMAP of 6 vectors")
    assert np.allclose(laid.points.mean(axis=0), 0)


def test_pca_keeps_the_variance_it_claims() -> None:
    """Of vectors in a plane PCA keeps all the variance, and the note says 100%."""
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    flat = np.zeros((40, 9))
    flat[:, 2], flat[:, 7] = np.cos(angles), np.sin(angles)
    laid = project(flat, "pca")
    assert "100% of their variance" in laid.note
    assert np.allclose(np.linalg.norm(laid.points, axis=1), 1, atol=1e-5)


def test_length_does_not_matter() -> None:
    """Vectors are compared by angle: longer ones of the same directions give the same groups and points."""
    matrix, _ = blobs(90, 3)
    longer = matrix * np.float32(4)
    assert (cluster(longer) == cluster(matrix)).all()
    assert np.allclose(project(longer, "pca").points, project(matrix, "pca").points, atol=1e-5)


def test_same_seed_same_answer() -> None:
    """Projections and groups are repeatable to the last bit, and the matrix is left as it was."""
    matrix, _ = blobs(120, 4, spread=1.0)
    before = matrix.copy()
    assert (project(matrix, random_state=3).points == project(matrix, random_state=3).points).all()
    assert (cluster(matrix, random_state=3) == cluster(matrix, random_state=3)).all()
    assert (matrix == before).all()


@pytest.mark.parametrize("groups", [2, 3, 6, 12])
def test_the_number_of_groups_is_found(groups: int) -> None:
    """With "auto" separated groups are found as they are."""
    matrix, owner = blobs(240, groups)
    assert same_split(cluster(matrix), owner)


def test_groups_are_numbered_by_size() -> None:
    """0 is the largest group, and the last number the smallest."""
    matrix, owner = blobs(300, 3)
    kept = np.concatenate([np.flatnonzero(owner == group)[:size] for group, size in ((2, 100), (0, 40), (1, 10))])
    assert np.bincount(cluster(matrix[kept], n_clusters=3)).tolist() == [100, 40, 10]


def test_no_more_groups_than_different_vectors() -> None:
    """Of three different vectors there are at most three groups, however many are asked for."""
    matrix = np.repeat(np.eye(3, dtype="f4"), 5, axis=0)
    assert sorted(set(cluster(matrix, n_clusters=8).tolist())) == [0, 1, 2]
    assert cluster(matrix, n_clusters=1).tolist() == [0] * 15


@pytest.mark.parametrize("k", [0, -2, 2.5, "many", True])
def test_a_senseless_number_of_groups_is_refused(k: Any) -> None:
    """n_clusters is "auto" or a whole number from one."""
    with pytest.raises(ValueError, match="n_clusters must be 'auto' or a whole number"):
        cluster(np.eye(4), n_clusters=k)


@pytest.mark.parametrize("function", [project, cluster])
def test_missing_numbers_are_refused_with_their_row(function: Any) -> None:
    """NaN and infinity are an error that names the first row and how many there are."""
    matrix = np.ones((5, 3))
    matrix[2, 1], matrix[4, 0] = np.nan, np.inf
    with pytest.raises(ValueError, match=r"2 of 5 vectors .* first is row 2"):
        function(matrix)


@pytest.mark.parametrize("given", [np.ones(3), np.ones((2, 2, 2)), [[1.0, 2.0], [1.0]], [["a", "b"]]])
def test_what_is_no_matrix_is_refused(given: Any) -> None:
    """One dimension, three, rows of several lengths and words are errors that ask for a matrix."""
    with pytest.raises(ValueError, match="matrix"):
        project(given)


def test_an_unknown_method_is_refused() -> None:
    """A method that does not exist is an error with the ones that do."""
    with pytest.raises(ValueError, match="'auto', 'tsne', 'pca' or 'umap', not 'som'"):
        project(np.eye(3), "som")
    with pytest.raises(ValueError, match="'kmeans' or 'hdbscan', not 'dbscan'"):
        cluster(np.eye(3), method="dbscan")
    with pytest.raises(ValueError, match="n_clusters= is for 'kmeans'"):
        cluster(np.eye(3), 3, method="hdbscan")


def test_a_projection_cannot_be_changed() -> None:
    """The result is a frozen record."""
    laid = project(np.eye(3))
    assert isinstance(laid, Projection)
    with pytest.raises(AttributeError):
        laid.method = "other"  # type: ignore[misc]


def test_terms_tell_groups_apart() -> None:
    """Words of one group come first; a word of all groups, small words, numbers and noise do not come at all."""
    texts = ["refund my money order", "a refund for the order", "parcel lost order 77", "a parcel in order", "xyzzy"]
    found = topic_terms(texts, ["r", "r", "p", "p", -1], n=1)
    assert found == {"r": "refund", "p": "parcel"}
    assert "order" not in topic_terms(texts, ["r", "r", "p", "p", -1], n=9)["r"]


def test_terms_of_other_languages_are_no_small_words() -> None:
    """Groups of German and Japanese texts are named by what they are about."""
    texts = ["Wo ist mein Paket?", "Das Paket ist nicht da", "返品したいです", "返品をお願いします"]
    assert topic_terms(texts, [0, 0, 1, 1], n=1) == {0: "paket", 1: "返品"}


def test_one_form_of_a_word_is_enough() -> None:
    """Of "refund" and "refunds" one is named."""
    assert topic_terms(["refund refunds refunded"] * 3, [0, 0, 0], n=3) == {0: "refund"}


def test_terms_bear_missing_texts_and_wordless_groups() -> None:
    """Missing texts and labels are passed over; a group without words has the empty string; no rows, no groups."""
    assert topic_terms(["tides", None, "12 34", "lost"], [0, 0, 1, None]) == {0: "tides", 1: ""}
    assert topic_terms(["1", "2"], [0, 1]) == {0: "", 1: ""}
    assert topic_terms([], []) == {}


def test_topic_terms_of_many_clusters_take_little_memory() -> None:
    """Memory grows with the words that occur, not with clusters times texts (8 bytes each would be 32 MB here)."""
    texts = [f"word{chr(97 + at % 26) * 4} thing" for at in range(4_000)]
    topic_terms(texts[:2], [0, 1])  # loads scikit-learn
    tracemalloc.start()
    found = topic_terms(texts, np.arange(len(texts)) % 1_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == 1_000
    assert found[0].startswith("word")
    assert peak < 10e6


def test_terms_refuse_what_does_not_fit() -> None:
    """Texts and labels of different lengths, or no words wanted, are errors."""
    with pytest.raises(ValueError, match="2 texts and 1 labels"):
        topic_terms(["a", "b"], [0])
    with pytest.raises(ValueError, match="at least 1"):
        topic_terms(["a"], [0], n=0)


# -- neighbours, against the naive n-by-n -----------------------------------------------------------------------------


def column(matrix: Any, where: Any = None, model: str = "m") -> list[Any]:
    """Vectors as `embed` gives them: rows of one matrix, in this order; None for -1."""
    results = Results(len(matrix))
    results.put(np.arange(len(matrix)), np.asarray(matrix, dtype="f4"))
    where = np.arange(len(matrix)) if where is None else np.asarray(where, dtype=np.int64)
    return results.vectors(where, Space(model, matrix.shape[1]))


def cosines(one: Any, other: Any) -> Any:
    """All of them, in float64; 0 for a vector of zeros."""
    return unit(one) @ unit(other).T


def unit(matrix: Any) -> Any:
    """Rows of length one, in float64."""
    lengths = np.linalg.norm(matrix.astype(float), axis=1)
    return matrix / np.where(lengths > 0, lengths, 1)[:, None]


@st.composite
def matrices(draw: st.DrawFn, rows: int = 40) -> Any:
    """Few rows of few whole numbers: many equal ones, some all zeros."""
    width = draw(st.integers(1, 4))
    count = draw(st.integers(1, rows))
    seed = draw(st.integers(0, 2**16))
    return np.random.default_rng(seed).integers(-2, 3, size=(count, width)).astype("f4")


@pytest.fixture(scope="class")
def small_blocks() -> Iterator[None]:
    """Blocks of seven rows and three queries, so that a small matrix has many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vectors.matrix.blocks, "__defaults__", (7,))
        patch.setattr(vectors.neighbors, "_QUERIES", 3)
        patch.setattr(vectors.neighbors, "_MAX_PAIRS", 5)
        yield


@pytest.mark.usefixtures("small_blocks")
class TestAgainstNaive:
    """In blocks comes out what n-by-n would say."""

    @settings(deadline=None, max_examples=40)
    @given(matrices(), st.integers(1, 9), st.sampled_from([None, 0.5]), st.integers(0, 99))
    def test_search(self, matrix: Any, k: int, threshold: float | None, seed: int) -> None:
        """The scores of the best k are those of all cosines sorted, and every row found has its score."""
        queries = np.random.default_rng(seed).normal(size=(5, matrix.shape[1])).astype("f4")
        scores, rows = search(matrix, queries, k, threshold=threshold)
        every = cosines(queries, matrix)
        wanted = -np.sort(-every, axis=1)[:, :k]
        if threshold is not None:
            wanted = np.where(wanted >= threshold, wanted, -np.inf)
        assert np.allclose(scores, wanted, atol=1e-5)
        assert ((rows < 0) == np.isneginf(wanted)).all()
        assert np.allclose(np.take_along_axis(every, rows, 1)[rows >= 0], scores[rows >= 0], atol=1e-5)
        assert all(len(set(found)) == len(found) for found in (row[row >= 0].tolist() for row in rows))

    @settings(deadline=None, max_examples=40)
    @given(matrices(), st.sampled_from([0.3, 0.9, 1.0]))
    def test_duplicates(self, matrix: Any, threshold: float) -> None:
        """Groups are the connected components of all pairs at or above the threshold, numbered as they come."""
        from scipy.sparse.csgraph import connected_components

        found = duplicates(matrix, threshold)
        _, wanted = connected_components(cosines(matrix, matrix) >= threshold - 2e-6)
        assert same_split(found, wanted)
        assert list(dict.fromkeys(found.tolist())) == list(range(found.max() + 1))

    @settings(deadline=None, max_examples=30)
    @given(matrices(), st.integers(1, 5))
    def test_outliers(self, matrix: Any, k: int) -> None:
        """The score is the mean distance to the k nearest others, never to the row itself."""
        found, note = outliers(matrix, k)
        every = cosines(matrix, matrix)
        np.fill_diagonal(every, -np.inf)
        k = min(k, len(matrix) - 1)
        assert (note == "no neighbors") == (k < 1)
        if k:
            assert np.allclose(found, (1 + np.sort(-every, axis=1)[:, :k]).mean(axis=1), atol=1e-5)

    @settings(deadline=None, max_examples=30)
    @given(matrices(), st.data())
    def test_a_column_is_the_matrix_it_amounts_to(self, matrix: Any, data: st.DataObject) -> None:
        """Rows that are missing, repeated or in another order, plain arrays and lists: the same answers."""
        where = data.draw(st.lists(st.integers(-1, len(matrix) - 1), min_size=1, max_size=30))
        there = [at for at in where if at >= 0]
        query = np.ones(matrix.shape[1], dtype="f4")
        cells = column(matrix, where)
        for kind in (lambda v: v, np.array, lambda v: v.tolist()):
            gathered = VectorColumn([None if cell is None else kind(cell) for cell in cells])
            assert gathered.positions.tolist() == [at for at, row in enumerate(where) if row >= 0]
            if there:
                assert (gathered.to_matrix() == matrix[there]).all()
                assert np.allclose(similarity(gathered, query), cosines(matrix[there], query[None])[:, 0], atol=1e-5)
                best = search(gathered, query[None], 3)[0]
                assert np.allclose(best, search(matrix[there], query[None], 3)[0], atol=1e-5)
                half = np.arange(len(where)) % 2 == 0
                rest = [row for row, wanted in zip(where, half, strict=True) if wanted and row >= 0]
                assert (gathered.select(half).to_matrix() == matrix[rest]).all()


def test_a_column_is_read_without_a_copy() -> None:
    """Consecutive rows are a view of their matrix, also from a slice; a slice of a vector is not a row of it."""
    cells = column(np.arange(12.0).reshape(4, 3))
    assert np.shares_memory(VectorColumn(cells[1:]).to_matrix(), cf.matrix(cells))
    assert np.shares_memory(cf.matrix(cells[1:3]), cf.matrix(cells))
    assert cf.matrix([cell[:2] for cell in cells]).tolist() == [[0, 1], [3, 4], [6, 7], [9, 10]]
    assert cf.matrix([cell[:2] for cell in cf.matrix(cells)]).shape == (4, 2)
    assert (cf.matrix(cells[::-1]) == cf.matrix(cells)[::-1]).all()
    assert cf.matrix([]).shape == (0, 0)


def test_lengths_are_those_of_the_matrix_at_hand() -> None:
    """What is kept of one matrix is not taken for another, nor for one that was written to."""
    matrix = np.eye(3, dtype="f4")
    assert similarity(matrix, [1.0, 0, 0]).tolist() == [1, 0, 0]
    matrix[1] = [5, 0, 0]
    assert similarity(matrix, [1.0, 0, 0]).tolist() == [1, 1, 0]
    for scale in (1, 2, 3):
        assert similarity(VectorColumn(column(np.eye(3) * scale)), [1.0, 0, 0]).tolist() == [1, 0, 0]


def test_large_neighbourhoods_are_sampled() -> None:
    """Beyond the limit neighbours come from a sample, the note says so, and far rows still stand out."""
    matrix, _ = blobs(200, 3)
    matrix[17] = -matrix[:3].sum(axis=0)
    found, note = outliers(matrix, 4, among=60)
    assert "in a sample of 60 of 200" in note
    assert found.argmax() == 17


def test_noise_is_minus_one() -> None:
    """HDBSCAN calls what is in no dense group -1, and numbers the groups by size; few vectors are all noise."""
    matrix, owner = blobs(150, 2)
    lonely = np.random.default_rng(1).normal(size=(12, 32)).astype("f4") * 3
    found = cluster(np.vstack([matrix[owner == 0], matrix[owner == 1][:40], lonely]), method="hdbscan")
    assert set(found[:75]) == {0}
    assert set(found[75:115]) == {1}
    assert (found[115:] == -1).sum() >= 4
    assert cluster(np.eye(5), method="hdbscan").tolist() == [-1] * 5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: search(np.eye(3), np.eye(3), 0), "top_k=0 must be a whole number"),
        (lambda: search(np.eye(3), np.eye(4)), "of 3 and of 4 dimensions"),
        (lambda: duplicates(np.eye(3), 1.2), "threshold must be"),
        (lambda: similarity(np.eye(3), np.eye(3)[:2]), "3 vectors and 2"),
        (lambda: VectorColumn([[1.0, 2.0], "text"]), "row 1 is not a vector but str"),
        (lambda: VectorColumn([[1.0, 2.0], None, [1.0]]), "all of one length"),
        (lambda: search(VectorColumn([None, [1.0], [np.nan]]), [[1.0]]), "first is row 2"),
        (lambda: VectorColumn([*column(np.eye(2)), *column(np.eye(2), model="other")]), "different spaces"),
        (lambda: cf.matrix([*column(np.eye(2)), *column(np.eye(2), model="other")]), "different spaces"),
        (lambda: cf.matrix([*column(np.eye(2)), np.ones(2, "f4")]), "row 2 does not record which model"),
        (lambda: cf.matrix([[1.0, 2.0], None]), "row 1 holds no vector; drop missing rows first"),
        (lambda: cf.matrix([[1.0, 2.0], "text"]), "row 1 is not a vector but str"),
        (lambda: cf.matrix([np.ones(2), np.ones(3)]), "all of one length"),
    ],
)
def test_what_makes_no_sense_is_refused(call: Any, message: str) -> None:
    """Counts, thresholds, shapes and spaces that do not fit are errors that say what is needed."""
    with pytest.raises(ValueError, match=message):
        call()
