"""Polars frames and Series have the verbs of pandas: the same answers, in Polars' own types."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from processes import environment

import cfai_nb as cf
from cfai_nb.emulator import Emulator
from cfai_nb.frame import polars as adapter

pl = pytest.importorskip("polars")

TEXTS = ["My parcel is late", "I was charged twice", None, "The app crashes", "Where is my parcel?"]
LABELS = ["billing", "shipping"]


@pytest.fixture
def frames(emulator: Emulator) -> tuple[Any, pd.DataFrame]:
    """The same rows in Polars and in pandas."""
    held = {"id": [1, 2, None, 4, 5], "text": TEXTS, "tags": [["a"], [], None, ["b", "c"], ["d"]]}
    return pl.DataFrame(held), pd.DataFrame(held)


@pytest.mark.slow  # processes that import Polars
@pytest.mark.parametrize("first", ["polars", "cfai_nb"])
def test_the_order_of_imports_does_not_matter(first: str, tmp_path: Path) -> None:
    """Importing the package does not import Polars; whichever comes first, frames have their verbs."""
    code = (
        f"import sys, {first}; assert {first == 'polars'} == ('polars' in sys.modules); import cfai_nb, polars as pl; "
        "print(pl.DataFrame({'a': ['x']}).cfai, pl.Series(['x']).cfai.embed, pl.__spec__.name)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("<cfai of 1 rows: ")
    assert "call it, await .aio(...)" in done.stdout


def test_answers_are_those_of_pandas(frames: tuple[Any, pd.DataFrame], emulator: Emulator) -> None:
    """Labels, numbers, booleans, texts and columns have the same values, in Polars' types; null stays null."""
    polars, pandas = frames
    label = polars.cfai.classify("text", LABELS)
    assert label.dtype == pl.Enum(LABELS)
    assert label.to_list()[2] is None
    assert label.cast(pl.String).to_list() == [None if pd.isna(x) else x for x in pandas.cfai.classify("text", LABELS)]
    asked = emulator.requests
    assert polars.cfai.classify("text", LABELS).equals(label)
    assert emulator.requests == asked
    checked = polars.cfai.check("text", "about a parcel")
    assert (checked.dtype, checked.null_count()) == (pl.Boolean, 1)
    score = polars["text"].cfai.score(["calm", "angry"])
    assert (score.dtype, score.null_count(), score.is_nan().sum()) == (pl.Float64, 1, 0)
    said = polars.cfai.generate("{id}: {text}", max_tokens=60)
    assert said.dtype == pl.String
    assert [str(cell) for cell in adapter.to_pandas(polars)["id"]] == ["1", "2", "<NA>", "4", "5"]  # whole beside null
    both = polars.cfai.classify("text", LABELS, probabilities=True)
    assert (both["label"].dtype, both["p__billing"].null_count()) == (pl.Enum(LABELS), 1)
    assert polars.cfai.moderate("text")["categories"].dtype.base_type() == pl.List


def test_vectors_are_the_matrix_itself(emulator: Emulator) -> None:
    """Vectors are pl.Array over the run's matrix, without a copy; duplicates and missing rows are right."""
    texts = pl.Series("text", [f"text {i}" for i in range(50)])
    vectors = texts.cfai.embed(model="bge-base-en-v1.5")
    assert vectors.dtype == pl.Array(pl.Float32, 768)
    again = pd.Series(texts.to_list()).cfai.embed(model="bge-base-en-v1.5")
    assert (vectors.to_numpy() == cf.matrix(again)).all()
    address = vectors.to_numpy().__array_interface__["data"][0]
    assert adapter.series_to_polars(adapter.to_pandas(vectors)).to_numpy().__array_interface__["data"][0] == address
    mixed = pl.Series([None, "text 3", "text 3", "text 9"]).cfai.embed(model="bge-base-en-v1.5")
    assert mixed.null_count() == 1
    assert (np.stack(mixed.to_list()[1:]) == vectors.to_numpy()[[3, 3, 9]]).all()


def test_vector_verbs(frames: tuple[Any, pd.DataFrame], emulator: Emulator) -> None:
    """Search, similarity, duplicates and clusters give what pandas gives; rows keep the types of the frame."""
    polars, pandas = frames
    polars = polars.with_columns(vec=polars.cfai.embed("text"))
    pandas["vec"] = pandas.cfai.embed("text")
    found = polars.cfai.search("parcel", top_k=2, on="vec")
    expected = pandas.cfai.search("parcel", top_k=2, on="vec")
    assert found["text"].to_list() == expected["text"].tolist()
    assert found["score"].to_list() == pytest.approx(expected["score"].tolist())
    assert found.schema == {**polars.schema, "score": pl.Float64}
    near = polars.filter(pl.col("text").str.contains("parcel")).sort("text")  # its rows were copied
    assert near.cfai.similarity("vec", near["vec"]).to_list() == pytest.approx([1.0, 1.0])
    assert near.cfai.search("parcel", top_k=1, on="vec").height == 1
    cosine = polars.cfai.similarity("vec", "parcel")
    assert (cosine.null_count(), cosine.is_nan().sum()) == (1, 0)
    assert polars.cfai.dedupe("vec").schema == polars.schema
    assert polars.cfai.cluster("vec", n_clusters=2).dtype == pl.Int64
    assert polars.cfai.project("vec").columns == ["x", "y"]
    assert polars.cfai.sim_join(polars, "vec", "vec")["score"].to_list() == pytest.approx([1.0] * 4)
    labels = polars.cfai.label_clusters("text", polars.cfai.cluster("vec", n_clusters=2))
    assert isinstance(labels.dtype, pl.Enum)


def test_vectors_of_two_models_do_not_meet(emulator: Emulator) -> None:
    """A column of Polars cannot record its model, but what was handed out is known again; what was not is refused."""
    texts = pl.Series("text", ["one", "two", "three"])
    one = texts.cfai.embed(model="bge-base-en-v1.5")
    other = texts.cfai.embed(model="embeddinggemma-300m")
    with pytest.raises(ValueError, match=r"bge-base.*embeddinggemma|embeddinggemma.*bge-base"):
        one.cfai.similarity(other)
    unknown = pl.Series(np.eye(768, dtype=np.float32)[:3])
    with pytest.raises(ValueError, match="not record which model"):
        unknown.cfai.search("one")
    stated = unknown.cfai.as_vectors(model="bge-base-en-v1.5", origin="emulator")
    assert stated.dtype == pl.Array(pl.Float32, 768)
    assert stated.cfai.search("one", top_k=1).height == 1


def test_rows_that_are_chosen_keep_their_types(frames: tuple[Any, pd.DataFrame]) -> None:
    """filter and rank return rows of the Polars frame, with the score beside them."""
    polars, pandas = frames
    kept = polars.cfai.filter("text", "about a parcel")
    assert kept.schema == polars.schema
    assert kept["text"].to_list() == pandas.cfai.filter("text", "about a parcel")["text"].tolist()
    ranked = polars.cfai.rank("text", "Where is my parcel?", column="fits")
    assert ranked.schema == {**polars.schema, "fits": pl.Float64}
    assert ranked["fits"].to_list()[-1] is None
    assert ranked["id"].to_list()[-1] is None


def test_other_doors_take_polars(tmp_path: Path) -> None:
    """``on``, gold, plots and ``matrix`` give for Polars what they give for pandas; what is neither is refused."""
    from matplotlib.figure import Figure

    pandas = pd.DataFrame({"text": [f"refund {i}" if i % 2 else f"parcel {i}" for i in range(8)]})
    with cf.connect("emulator", store=tmp_path / "s.sqlite"):
        polars = pl.from_pandas(pandas)
        polars = polars.with_columns(vec=cf.on(polars).embed("text"), guess=cf.on(polars).classify("text", LABELS))
        review = polars.cfai.review("text", polars["guess"], n=4, name="hand")
        review.label(review.rows[0], "billing")
        gold = cf.gold("hand")
        assert gold.match(polars, "text").to_list() == [None if x is None else x for x in gold.match(pandas, "text")]
        assert gold.weights(polars, "text").null_count() == 4
    both = (
        polars.with_columns(p=pl.Series(np.linspace(0.1, 0.9, 8))),
        pandas.assign(vec=adapter.to_pandas(polars["vec"]), p=np.linspace(0.1, 0.9, 8)),
    )
    assert cf.matrix(polars["vec"]).tolist() == cf.matrix(both[1]["vec"]).tolist()
    for draw in (
        lambda frame, ax: cf.plots.similarity(frame["vec"], ax=ax),
        lambda frame, ax: cf.plots.reliability({"one": frame["p"]}, [True] * 8, ax=ax),
    ):
        words = [[text.get_text() for text in draw(frame, Figure().subplots()).texts] for frame in both]
        assert words[0] == words[1]
    with pytest.raises(TypeError, match="pandas, Polars or Dask, not list"):
        cf.on([1])


def test_media_are_binary(emulator: Emulator) -> None:
    """Pictures come as binary and go in again; what cannot be drawn is null."""
    shapes = pl.DataFrame({"what": ["a red circle", None]})
    pictures = shapes.cfai.image("{what}", size=256)
    assert (pictures.dtype, pictures.null_count()) == (pl.Binary, 1)
    assert "red circle" in shapes.with_columns(photo=pictures).cfai.caption("photo").to_list()[0]


def test_the_other_forms(frames: tuple[Any, pd.DataFrame], emulator: Emulator) -> None:
    """A plan sends nothing, ``aio`` gives the same, mistakes are those of pandas, and help shows the verb's own."""
    polars, _ = frames
    plan = polars.cfai.embed.plan("text")
    assert (plan.estimate.rows, plan.estimate.missing, emulator.requests) == (5, 1, 0)
    awaited = asyncio.run(polars.cfai.embed.aio("text"))
    assert awaited.equals(polars.cfai.embed("text"))
    with pytest.raises(cf.ColumnError, match="Did you mean 'text'"):
        polars.cfai.embed("txt")
    with pytest.raises(AttributeError, match="Did you mean 'classify'"):
        _ = polars.cfai.clasify
    assert str(polars.cfai.embed.__signature__) == str(pd.DataFrame().cfai.embed.__signature__)
    assert dir(polars.cfai) == [name for name in dir(pd.DataFrame().cfai) if not name.startswith("_")]


def test_no_rows_and_all_missing(emulator: Emulator) -> None:
    """Empty frames and columns without a text give columns of nulls, and nothing is sent."""
    assert pl.DataFrame({"text": []}, schema={"text": pl.String}).cfai.embed("text").len() == 0
    assert pl.Series("t", [None, None], dtype=pl.String).cfai.embed().to_list() == [None, None]
    assert emulator.requests == 0
