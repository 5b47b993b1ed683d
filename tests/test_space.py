"""The space: projections, groups and the words that tell groups apart."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from cfai_nb.space import Projection, cluster, project, terms


def blobs(rows: int, groups: int, width: int = 32, spread: float = 0.3) -> tuple[Any, Any]:
    """Vectors around well separated centres, and the number of each one's centre."""
    random = np.random.default_rng(5)
    owner = np.arange(rows) % groups
    return (random.normal(size=(groups, width))[owner] + random.normal(size=(rows, width)) * spread).astype("f4"), owner


def same_split(one: Any, other: Any) -> bool:
    """Whether two labellings differ by the names of the groups only."""
    pairs = set(zip(one.tolist(), other.tolist(), strict=True))
    return len(pairs) == len(set(one.tolist())) == len(set(other.tolist()))


def test_the_room_loads_sklearn_when_a_function_runs() -> None:
    """Importing the space, and even asking about no vectors, does not load scikit-learn."""
    code = "import sys, cfai_nb.space as s; s.project([]); s.cluster([]); print('sklearn' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "False"


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
    """Vectors that are all the same, zeros included, lie on one point, and the note says that they are the same."""
    laid = project(np.full((30, 4), value))
    assert not laid.points.any()
    assert "all the same" in laid.note
    assert cluster(np.full((30, 4), value)).tolist() == [0] * 30


def test_vectors_of_one_dimension_are_laid_out() -> None:
    """A matrix of one column has a projection and groups: its two directions."""
    column = np.array([[1.0], [-1.0], [2.0], [-2.0]] * 4)
    assert project(column).points.shape == (16, 2)
    assert cluster(column).tolist() == [0, 1, 0, 1] * 4


def test_neighbours_stay_neighbours() -> None:
    """t-SNE lays every vector closer to the middle of its own group than to any other."""
    matrix, owner = blobs(300, 5)
    laid = project(matrix)
    assert laid.method == "tsne"
    middles = np.stack([laid.points[owner == group].mean(axis=0) for group in range(5)])
    nearest = np.linalg.norm(laid.points[:, None] - middles, axis=2).argmin(axis=1)
    assert (nearest == owner).all()


def test_the_method_follows_the_number_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit "auto" is PCA, says so, and "tsne" is still done when asked for."""
    monkeypatch.setattr("cfai_nb.space.projection.TSNE_ROWS", 50)
    matrix, _ = blobs(60, 3)
    beyond = project(matrix)
    assert beyond.method == "pca"
    assert "t-SNE is for up to 50" in beyond.note
    assert project(matrix, "tsne").method == "tsne"
    assert project(matrix[:50]).method == "tsne"


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
    assert (project(matrix, seed=3).points == project(matrix, seed=3).points).all()
    assert (cluster(matrix, seed=3) == cluster(matrix, seed=3)).all()
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
    assert np.bincount(cluster(matrix[kept], k=3)).tolist() == [100, 40, 10]


def test_no_more_groups_than_different_vectors() -> None:
    """Of three different vectors there are at most three groups, however many are asked for."""
    matrix = np.repeat(np.eye(3, dtype="f4"), 5, axis=0)
    assert sorted(set(cluster(matrix, k=8).tolist())) == [0, 1, 2]
    assert cluster(matrix, k=1).tolist() == [0] * 15


@pytest.mark.parametrize("k", [0, -2, 2.5, "many", True])
def test_a_senseless_number_of_groups_is_refused(k: Any) -> None:
    """k is "auto" or a whole number from one."""
    with pytest.raises(ValueError, match="k must be 'auto' or a whole number"):
        cluster(np.eye(4), k=k)


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
    with pytest.raises(ValueError, match="'auto', 'tsne' or 'pca', not 'umap'"):
        project(np.eye(3), "umap")


def test_a_projection_cannot_be_changed() -> None:
    """The result is a frozen record."""
    laid = project(np.eye(3))
    assert isinstance(laid, Projection)
    with pytest.raises(AttributeError):
        laid.method = "other"  # type: ignore[misc]


def test_terms_tell_groups_apart() -> None:
    """Words of one group come first; a word of all groups, small words, numbers and noise do not come at all."""
    texts = ["refund my money order", "a refund for the order", "parcel lost order 77", "a parcel in order", "xyzzy"]
    found = terms(texts, ["r", "r", "p", "p", -1], n=1)
    assert found == {"r": "refund", "p": "parcel"}
    assert "order" not in terms(texts, ["r", "r", "p", "p", -1], n=9)["r"]


def test_terms_of_other_languages_are_no_small_words() -> None:
    """Groups of German and Japanese texts are named by what they are about."""
    texts = ["Wo ist mein Paket?", "Das Paket ist nicht da", "返品したいです", "返品をお願いします"]
    assert terms(texts, [0, 0, 1, 1], n=1) == {0: "paket", 1: "返品"}


def test_one_form_of_a_word_is_enough() -> None:
    """Of "refund" and "refunds" one is named."""
    assert terms(["refund refunds refunded"] * 3, [0, 0, 0], n=3) == {0: "refund"}


def test_terms_bear_missing_texts_and_wordless_groups() -> None:
    """Missing texts and labels are passed over; a group without words has the empty string; no rows, no groups."""
    assert terms(["tides", None, "12 34", "lost"], [0, 0, 1, None]) == {0: "tides", 1: ""}
    assert terms(["1", "2"], [0, 1]) == {0: "", 1: ""}
    assert terms([], []) == {}


def test_terms_refuse_what_does_not_fit() -> None:
    """Texts and labels of different lengths, or no words wanted, are errors."""
    with pytest.raises(ValueError, match="2 texts and 1 labels"):
        terms(["a", "b"], [0])
    with pytest.raises(ValueError, match="at least 1"):
        terms(["a"], [0], n=0)
