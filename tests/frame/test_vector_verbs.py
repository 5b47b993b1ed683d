"""Verbs on vectors: rows, indexes, missing cells, queries, spaces that may not meet, and names for clusters."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import cfai_nb as cf
from cfai_nb.emulator import Emulator
from cfai_nb.emulator.standins.image_drawing import Order, draw
from cfai_nb.frame.label_clusters import describe, distinct
from cfai_nb.frame.progress import working
from cfai_nb.frame.vector_input import Embedding

TEXTS = ["refund my money please", "where is my parcel", None, "a refund of my money please", "the app crashes"]
INDEX = [7, 7, 8, 9, 9]


@pytest.fixture
def frame(emulator: Emulator) -> pd.DataFrame:
    """Five rows, one without text, on an index with doubles, and their vectors."""
    made = pd.DataFrame({"text": TEXTS, "n": range(5)}, index=INDEX)
    made["vec"] = made.cfai.embed("text")
    return made


def sent() -> int:
    return cf.last_run().event.requests


def test_rows_keep_their_labels(frame: pd.DataFrame) -> None:
    """Every verb keeps the index, doubles included, and leaves rows without a vector missing."""
    about = frame.cfai
    made = [
        about.similarity("vec", "refund"),
        about.cluster("vec", 2),
        about.project("vec"),
        about.outliers("vec", 1),
        about.outliers("vec", 1, contamination=0.3),
        about.dedupe("vec", groups=True),
        about.label_clusters("text", [0, 1, None, 0, -1]),
    ]
    for result in made:
        assert result.index.tolist() == INDEX
        assert np.atleast_2d(result.isna().to_numpy().T)[0].tolist() == [False, False, True, False, False]
    assert [str(result.dtype) for result in made if isinstance(result, pd.Series)] == [
        "float64", "Int64", "float64", "boolean", "Int64", "category"
    ]  # fmt: skip
    assert "t-SNE" in made[2].attrs["cfai"]["note"] or "PCA" in made[2].attrs["cfai"]["note"]
    assert made[4].sum() == 2


def test_search(frame: pd.DataFrame) -> None:
    """The best rows with their scores; several queries one after the other; texts, vectors and lists of both."""
    best = frame.cfai.search("refund my money please", top_k=2)
    assert best["n"].tolist() == [0, 3]
    assert best.index.tolist() == [7, 9]
    assert best["score"].tolist() == pytest.approx([1, best["score"].iloc[1]])
    assert "query" not in best
    several = frame.cfai.search(["parcel", "crashes"], top_k=1, on="vec")
    assert several[["n", "query"]].to_numpy().tolist() == [[1, "parcel"], [4, "crashes"]]
    vector = frame["vec"].iloc[4]
    for query in (vector, np.asarray(vector), vector.tolist()):
        assert frame.cfai.search(query, 1, on="vec")["n"].tolist() == [4]
    for query in ([vector, vector], cf.matrix([vector, vector]), pd.Series([vector, vector])):
        assert frame.cfai.search(query, 1, on="vec")["query"].tolist() == [0, 1]
    assert len(frame.cfai.search("refund", top_k=99)) == 4
    assert frame["text"].cfai.search("parcel", 1)["text"].tolist() == [TEXTS[1]]


def test_a_query_is_asked_as_a_query(emulator: Emulator) -> None:
    """Where the model tells queries from documents the text goes out as one, to the model and pooling of the column."""
    texts = pd.Series(["one two", "three four"])
    vectors = texts.cfai.embed(model="qwen3-embedding-0.6b", role="document")
    asked = cf.matrix(pd.Series(["three"]).cfai.embed(model="qwen3-embedding-0.6b", role="query"))
    before = vectors.cfai.similarity("three")
    assert sent() == 0  # that very query was stored a line above
    assert before.tolist() == pytest.approx((cf.matrix(vectors) @ asked[0]).tolist(), abs=1e-5)
    pooled = texts.cfai.embed(model="bge-base-en-v1.5", pooling="cls")
    assert pooled.cfai.search("three", 1).index.tolist() == [1]


def test_text_columns_are_embedded_first(frame: pd.DataFrame) -> None:
    """A column of text gives what its vectors give, by the ordinary engine: here out of the store."""
    pd.testing.assert_series_equal(frame.cfai.similarity("text", "refund"), frame.cfai.similarity("vec", "refund"))
    frame.cfai.cluster("text", 2)
    assert cf.last_run().receipt.startswith("embed: 4 of 4 rows · 4 from the store")
    frame.cfai.outliers("{text} {n}", 2)
    assert cf.last_run().event.rows == 4
    assert sent() == 1


def test_similarity_row_by_row(frame: pd.DataFrame) -> None:
    """Against a column of vectors or of texts each row meets its own; missing on either side is missing."""
    other = frame["vec"].copy()
    other.iloc[0] = None
    found = frame.cfai.similarity("vec", other)
    assert found.isna().tolist() == [True, False, True, False, False]
    assert found.dropna().tolist() == pytest.approx([1, 1, 1])
    assert frame["vec"].cfai.similarity(frame["text"]).dropna().tolist() == pytest.approx([1] * 4)
    with pytest.raises(ValueError, match="its index differs"):
        frame.cfai.similarity("vec", frame["vec"].reset_index(drop=True))
    with pytest.raises(ValueError, match=r"give df\['vec'\]"):
        frame.cfai.similarity("vec", "vec")


def test_vectors_that_record_nothing(frame: pd.DataFrame, tmp_path: Path) -> None:
    """Plain vectors are used as they are, and compared only with what the caller states: a vector, or as_vectors()."""
    plain = frame.assign(vec=[None if v is None else v.tolist() for v in frame["vec"]])
    vector, wanted = frame["vec"].iloc[0], frame.cfai.cluster("vec", 2)
    pd.testing.assert_series_equal(plain.cfai.cluster(n_clusters=2), wanted)
    assert plain.cfai.search(vector, 2)["n"].tolist() == [0, 3]
    assert plain.cfai.search(np.asarray(vector), 2)["n"].tolist() == [0, 3]
    before = len(cf.ledger())
    for call in (
        lambda: plain.cfai.search("refund"),
        lambda: plain.cfai.search("refund", model="bge-m3"),
        lambda: plain.cfai.search(frame["vec"].dropna()),
        lambda: plain.cfai.search(plain["vec"].dropna()),
        lambda: plain.cfai.similarity("vec", frame["vec"]),
        lambda: plain.cfai.similarity("vec", plain["vec"]),
        lambda: plain.cfai.similarity("vec", "refund", model="bge-m3"),
        lambda: plain.cfai.sim_join(frame, "vec", "vec"),
        lambda: plain.cfai.sim_join(plain, "vec", "vec"),
        lambda: plain.cfai.sim_join(frame[["text"]], "vec", "text", model="bge-m3"),
    ):
        with pytest.raises(ValueError, match=r"not record which model .*as_vectors\("):
            call()
    assert len(cf.ledger()) == before
    plain["vec"] = plain.cfai.as_vectors("vec", model="bge-m3", origin="emulator")
    assert plain.cfai.search("the app crashes", 1)["n"].tolist() == [4]
    assert plain.cfai.similarity("vec", frame["vec"]).dropna().tolist() == pytest.approx([1] * 4)
    assert plain["vec"].iloc[0].space == vector.space
    assert (
        plain["vec"].cfai.as_vectors(model="bge-m3", origin="emulator").isna().tolist() == plain["vec"].isna().tolist()
    )
    with pytest.raises(ValueError, match=r"record that they are of .*bge-m3"):
        plain.cfai.as_vectors("vec", model="bge-m3", origin="cloudflare")
    with pytest.raises(ValueError, match="origin="):
        plain.cfai.as_vectors("vec", model="bge-m3", origin="")


def test_a_column_of_several_makers(frame: pd.DataFrame) -> None:
    """Rows of a column that record nothing do not hide among rows that do."""
    mixed = pd.concat([frame["vec"], pd.Series([[0.0] * 1024])])
    with pytest.raises(ValueError, match="row 5 does not record"):
        mixed.cfai.cluster(n_clusters=2)


def test_vectors_written_as_text_are_never_embedded(frame: pd.DataFrame, tmp_path: Path) -> None:
    """A column of vectors out of a CSV file is refused with what to do, by every verb that would embed it."""
    frame.to_csv(tmp_path / "f.csv", index=False)
    again = pd.read_csv(tmp_path / "f.csv")
    again["full"] = [None if v is None else str(v.tolist()) for v in frame["vec"]]
    again["shown"] = [None if v is None else repr(v) for v in frame["vec"]]
    before = len(cf.ledger())
    for name in ("vec", "full", "shown"):
        for call in (
            lambda name=name: again.cfai.search("refund", on=name),
            lambda name=name: again.cfai.cluster(name),
            lambda name=name: again.cfai.map(name),
            lambda name=name: again.cfai.embed(name),
            lambda name=name: again.cfai.embed.plan(name),
            lambda name=name: again[name].cfai.dedupe(),
            lambda name=name: frame.cfai.sim_join(again, "vec", name),
            lambda name=name: again.cfai.to_vectorize("index", name),
        ):
            with pytest.raises(cf.ColumnError, match=f"'{name}' holds vectors written as text.*parquet"):
                call()
    assert len(cf.ledger()) == before
    texts = pd.Series(["[draft] a text", "[1, 2, 3] are numbers", "[1.5, 2.5]"])
    assert texts.cfai.embed().notna().all()


def test_options_without_effect_are_reported(frame: pd.DataFrame) -> None:
    """On vectors that are there, an option that asks for a model or the like is refused; limits hold of themselves."""
    vector = frame["vec"].iloc[0]
    for options in ({"model": "bge-m3"}, {"gateway": "g"}, {"queue": True}, {"cache": "refresh"}, {"fetch": True}):
        for call in (
            lambda o: frame.cfai.cluster("vec", 2, **o),
            lambda o: frame.cfai.outliers("vec", 2, **o),
            lambda o: frame.cfai.dedupe("vec", **o),
            lambda o: frame.cfai.project("vec", **o),
            lambda o: frame.cfai.map("vec", **o),
            lambda o: frame.cfai.search(vector, on="vec", **o),
            lambda o: frame.cfai.similarity("vec", vector, **o),
            lambda o: frame.cfai.sim_join(frame, "vec", "vec", **o),
        ):
            with pytest.raises(TypeError, match=rf"column 'vec' holds vectors.*{next(iter(options))}= would have no"):
                call(options)
    with pytest.raises(TypeError, match="model= would have no effect"):
        frame.cfai.to_vectorize("index", "vec", model="bge-m3")
    with pytest.raises(TypeError, match=r"without model= .* nothing is sent, so queue= would have no effect"):
        frame.cfai.label_clusters("text", [0] * 5, queue=True)
    with pytest.raises(ValueError, match="on_error='keep': each cluster needs its label"):
        frame.cfai.label_clusters("text", [0] * 5, model="default", on_error="keep")
    assert frame.cfai.cluster("vec", 2, progress=False, budget=1, cache=False).notna().sum() == 4
    assert len(frame.cfai.search("refund", 1, on="vec", model="bge-m3")) == 1


def test_a_column_of_pictures_is_reported_before_sending(emulator: Emulator) -> None:
    """Verbs that read text say which column holds what, before anything is sent."""
    picture = draw(Order("a red circle", 64, 64))
    made = pd.DataFrame({"img": [picture, picture], "list": [["a"], {"b": 1}], "text": ["a", "b"]})
    made["vec"] = made.cfai.embed("text")
    before = len(cf.ledger())
    for call in (
        lambda: made.cfai.embed("img"),
        lambda: made.cfai.embed.plan("img"),
        lambda: made.cfai.map("img"),
        lambda: made.cfai.map("vec", text="img"),
        lambda: made.cfai.cluster("img"),
        lambda: made.cfai.summarize("img"),
        lambda: made.cfai.translate("list", to="de"),
        lambda: made.cfai.embed("vec"),
        lambda: made.cfai.label_clusters("img", [0, 1]),
        lambda: made.cfai.caption("vec"),
        lambda: made.cfai.transcribe("img"),
        lambda: made.cfai.embed("{img} and {text}"),
    ):
        with pytest.raises(cf.ColumnError, match=r"Column '(img|list|vec)' cannot be used, nothing was sent\. Row 0: "):
            call()
    assert made.head(1).cfai.embed.plan("img").bad == 1, "one cell does not tell what a column holds"
    with pytest.warns(cf.CfaiWarning, match="1 of 2 rows failed"):
        assert pd.Series(["a text", ["a list"]], dtype=object).cfai.embed().notna().tolist() == [True, False]
    before = len(cf.ledger())
    sentences = pd.Series(["a text of words", "another text of words"])
    with pytest.raises(cf.ColumnError, match="cannot be used, nothing was sent"):
        sentences.cfai.caption()
    assert len(cf.ledger()) == before


def test_spaces_do_not_meet(frame: pd.DataFrame) -> None:
    """Other models, poolings and origins are errors that name both, before anything is sent."""
    small = frame.assign(vec=frame.cfai.embed("text", model="bge-small-en-v1.5"))
    for call in (
        lambda: frame.cfai.search(small["vec"].iloc[0], on="vec"),
        lambda: frame.cfai.similarity("vec", small["vec"]),
        lambda: frame.cfai.sim_join(small, "vec", "vec"),
    ):
        with pytest.raises(ValueError, match=r"different spaces .*bge-m3.*bge-small"):
            call()
    with pytest.raises(ValueError, match=r"vectors are of .*bge-m3"):
        frame.cfai.search("refund", model="bge-small-en-v1.5")
    with (
        cf.connect(account_id="0" * 32, api_token="x", store=False),
        pytest.raises(ValueError, match="asks cloudflare"),
    ):
        frame.cfai.search("refund")


def test_which_column(frame: pd.DataFrame) -> None:
    """Without `on` the only column of vectors is meant; none, several or a wrong name are errors with the names."""
    with pytest.raises(cf.ColumnError, match="No column holds vectors"):
        frame[["text"]].cfai.cluster()
    with pytest.raises(cf.ColumnError, match=r"Several columns hold vectors: \['vec', 'v2'\]"):
        frame.assign(v2=frame["vec"]).cfai.search("refund")
    with pytest.raises(cf.ColumnError, match="Did you mean 'vec'"):
        frame.cfai.search("refund", on="vecs")
    for query, message in (
        (3, "a query is a text"),
        (" ", "empty text"),
        ([frame["vec"].iloc[0], None], "1 is missing"),
    ):
        with pytest.raises(ValueError, match=message):
            frame.cfai.search(query)


def test_no_rows_are_no_special_case(emulator: Emulator) -> None:
    """Frames without rows, or without a single vector, give empty and missing results."""
    none = pd.DataFrame({"vec": pd.Series([None, None], dtype=object)})
    for frame in (none, none.head(0)):
        assert frame.cfai.search(np.ones(3), on="vec").empty
        assert frame.cfai.cluster("vec").isna().all()
        assert frame.cfai.project("vec").isna().all(axis=None)
        assert frame.cfai.outliers("vec").isna().all()
        assert len(frame.cfai.dedupe("vec")) == len(frame)
        assert frame.cfai.sim_join(none, "vec", "vec").empty


def test_a_query_that_is_a_row_is_bought_once(emulator: Emulator) -> None:
    """Where a model is sent queries as it is sent other texts, a text is embedded once for both."""
    texts = pd.Series(["refund my money", "parcel where"])
    texts.cfai.embed()
    assert texts.cfai.search("refund my money", 1).index.tolist() == [0]
    assert texts.cfai.similarity(texts).tolist() == pytest.approx([1, 1])
    assert emulator.requests == 1


@pytest.mark.parametrize("dtype", ["object", "str"])
def test_no_texts_are_no_special_case(emulator: Emulator, dtype: str) -> None:
    """Frames without a single text give empty and missing results too, for queries that are texts; nothing is sent."""
    none = pd.DataFrame({"text": pd.Series([None, None], dtype=dtype)})
    for frame in (none, none.head(0)):
        assert frame.cfai.search("refund", on="text").empty
        assert frame.cfai.search(["refund", "parcel"], on="text").columns.tolist() == ["text", "score", "query"]
        assert frame.cfai.similarity("text", "refund").isna().all()
        assert frame.cfai.cluster("text", model="bge-m3", cache="refresh").isna().all()
        assert frame.cfai.search("refund", on="text", model="bge-m3", gateway="default").empty
    assert not emulator.requests


@pytest.mark.filterwarnings("error")
def test_columns_of_several_levels(emulator: Emulator) -> None:
    """What is added to columns of two levels has two levels as well, and joins with columns of one."""
    on = ("a", "text")
    frame = pd.DataFrame({on: ["a refund", "a parcel", None], ("b", "n"): [1, 2, 3]}, index=[1, 1, 2])
    other = pd.DataFrame({"text": ["refund"], "n": [3]})
    score = ("score", "")
    assert list(frame.cfai.rank(on, "refund")) == [on, ("b", "n"), score]
    assert list(frame[on].cfai.rank(query="refund")) == [on, score]
    assert list(frame.cfai.search(["refund", "parcel"], 1, on)) == [on, ("b", "n"), score, ("query", "")]
    joined = frame.cfai.sim_join(other, on, "text")
    assert list(joined) == [on, ("b", "n"), ("text", ""), ("n", ""), score]
    assert joined.index.tolist() == [1, 1]
    with pytest.raises(cf.ColumnError, match="column 'score' already"):
        joined.cfai.sim_join(other, on, "text")
    assert list(other.cfai.sim_join(frame, "text", on)) == [("text", ""), ("n", ""), on, ("b", "n"), score]
    alone = frame.reset_index(drop=True)
    alone.cfai.to_vectorize("levels", on, create=True, wait=True)
    assert list(alone.cfai.search("refund", 1, index="levels")) == [on, ("b", "n"), ("id", ""), score]


# -- joins and duplicates ----------------------------------------------------------------------------------------------


def test_sim_join(frame: pd.DataFrame) -> None:
    """Each row with its closest of the other frame, names and suffixes as merge makes them, labels kept."""
    other = pd.DataFrame({"text": ["refund my money", "parcel where"], "price": [5, 6]})
    joined = frame.cfai.sim_join(other, "vec", "text", threshold=0.3)
    assert joined.columns.tolist() == ["text_x", "n", "vec", "text_y", "price", "score"]
    assert joined[["n", "price"]].to_numpy().tolist() == [[0, 5], [1, 6], [3, 5]]
    assert joined.index.tolist() == [7, 7, 9]
    assert str(joined["price"].dtype) == "int64"
    kept = frame.cfai.sim_join(other, "vec", "text", threshold=0.3, how="left", suffixes=("", "_other"))
    assert kept["n"].tolist() == [0, 1, 2, 3, 4]
    assert kept["text_other"].isna().tolist() == [False, False, True, False, True]
    assert kept["score"].isna().tolist() == [False, False, True, False, True]
    twice = frame.cfai.sim_join(other, "text", "text", top_k=2)
    assert twice["n"].tolist() == [0, 0, 1, 1, 3, 3, 4, 4]
    assert (twice["score"].to_numpy()[::2] >= twice["score"].to_numpy()[1::2]).all()
    with pytest.raises(ValueError, match='"inner" or "left"'):
        frame.cfai.sim_join(other, "vec", "text", how="outer")
    with pytest.raises(ValueError, match="overlap"):
        frame.cfai.sim_join(other, "vec", "text", suffixes=(None, None))
    scored = frame.set_axis(pd.MultiIndex.from_product([["a"], range(len(frame))]), axis=0).assign(score="mine")
    for one, two in ((scored, other), (frame, other.assign(score=1))):
        with pytest.raises(cf.ColumnError, match="column 'score' already"):
            one.cfai.sim_join(two, "text", "text")
    both = scored.cfai.sim_join(other.assign(score=1), "vec", "text")
    assert both[["score_x", "score_y"]].drop_duplicates().to_numpy().tolist() == [["mine", 1]]


def test_dedupe(frame: pd.DataFrame) -> None:
    """One row a group stays, the first or the last; rows without a vector stay; groups show who goes with whom."""
    assert frame.cfai.dedupe("vec", 0.7)["n"].tolist() == [0, 1, 2, 4]
    assert frame.cfai.dedupe("vec", 0.7, keep="last")["n"].tolist() == [1, 2, 3, 4]
    groups = frame.cfai.dedupe("vec", 0.7, groups=True)
    assert groups.dropna().tolist() == [0, 1, 0, 2]
    assert frame["vec"].cfai.dedupe(threshold=0.7).index.tolist() == [7, 7, 8, 9]
    with pytest.raises(ValueError, match='"first" or "last"'):
        frame.cfai.dedupe("vec", keep="none")


# -- names for clusters ------------------------------------------------------------------------------------------------


@pytest.fixture
def tickets(emulator: Emulator) -> pd.DataFrame:
    made = cf.sample("tickets")[["text", "topic"]].head(80)
    made["vec"] = made.cfai.embed("text")
    return made


@pytest.mark.slow
def test_labels_by_words(tickets: pd.DataFrame) -> None:
    """Without a model labels are telling words, all different; noise and missing stay; yours come first."""
    clusters = tickets.cfai.cluster("vec", 4)
    clusters.iloc[:3] = [-1, pd.NA, 0]
    labels = tickets.cfai.label_clusters("text", clusters, labels={1: "mine"})
    assert labels.cat.categories[1] == "mine"
    assert labels.cat.categories[-1] == labels.iloc[0] == "noise"
    assert labels.isna().sum() == clusters.isna().sum()
    assert len(labels.cat.categories) == 5
    merged = tickets["text"].cfai.label_clusters(clusters, labels=dict.fromkeys(range(4), "all"))
    assert merged.cat.categories.tolist() == ["all", "noise"]
    wordless = pd.Series(["1", "2", "one word", "one word"]).cfai.label_clusters([0, 1, 2, 3])
    assert wordless.tolist()[:2] == ["cluster 0", "cluster 1"]
    assert len(set(wordless)) == 4
    with pytest.raises(ValueError, match=r"no clusters \[9\]"):
        tickets.cfai.label_clusters("text", clusters, labels={9: "nine"})
    with pytest.raises(ValueError, match="clusters: 2 values for 80 rows"):
        tickets.cfai.label_clusters("text", [1, 2])


def test_labels_by_a_model(tickets: pd.DataFrame) -> None:
    """One priced, stored request names all clusters, differently; plan and aio are the same call; yours come first."""
    verb = tickets.cfai.label_clusters
    assert verb.plan("text", "topic", on="vec", model="default").estimate.requests == 1
    labels = verb("text", "topic", on="vec", model="default")
    assert sent() == 1
    assert labels.nunique() == tickets["topic"].nunique()
    assert (labels.groupby(tickets["topic"]).nunique() == 1).all()
    again = asyncio.run(verb.aio("text", "topic", on="vec", model="default", labels={"billing": "Money"}))
    assert sent() == 0
    assert "Money" in again.cat.categories
    assert set(again.cat.categories) - {"Money"} < set(labels.cat.categories)
    assert set(cf.ledger()["verb"]) == {"embed", "label_clusters"}
    with pytest.raises(ValueError, match="nothing to price"):
        verb.plan("text", "topic")
    with pytest.raises(ValueError, match="embed it first"):
        verb.plan("text", "topic", on="text", model="default")


def test_labels_must_differ() -> None:
    """The schema sends equal labels back with what is wrong, and describes each group by its words."""
    schema = distinct(["a, b", "c"])
    with pytest.raises(ValueError, match="several groups have the label 'money'"):
        schema.model_validate({"group_0": "Money", "group_1": "money "})
    assert schema.model_validate({"group_0": "Money", "group_1": "parcels"})
    assert describe([("a, b", ["one\n two"]), ("", [])]) == "group_0: a, b.\n- one two\n\ngroup_1: (no telling words)."


# -- progress ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("notebook", [False, True])
def test_long_work_shows_a_line(
    notebook: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Work that lasts says what it does and for how long (in a notebook not in red); short or unwanted, nothing."""
    import threading

    drawn = threading.Event()
    screen = sys.stdout if notebook else sys.stderr
    write = screen.write
    monkeypatch.setattr("cfai_nb.frame.progress.in_notebook", lambda: notebook)
    monkeypatch.setattr(screen, "write", lambda text: (write(text), drawn.set())[0])
    monkeypatch.setattr("cfai_nb.frame.progress.BEFORE_SHOWN", 0.01)
    with working("project", True) as tell:
        tell("t-SNE of 7 vectors")
        assert drawn.wait(10)
    captured = capsys.readouterr()
    shown, other = (captured.out, captured.err) if notebook else (captured.err, captured.out)
    assert other == ""
    assert "project · t-SNE of 7 vectors · 0 s" in shown
    assert shown.endswith("\n")
    monkeypatch.setattr("cfai_nb.frame.progress.BEFORE_SHOWN", 60)
    for wanted in (True, False, None):
        with working("project", wanted) as tell:
            tell("quick")
    assert capsys.readouterr() == ("", "")


def test_local_work_is_shown_as_the_session_wants_it(emulator: Any) -> None:
    """`connect(progress=)` holds for work that sends nothing too; the call's own `progress=` comes first."""
    with cf.connect(emulator, store=False, progress=False):
        assert Embedding({}).progress is False
        assert Embedding({"progress": True}).progress is True


def test_what_is_given_is_any_type(frame: pd.DataFrame) -> None:
    """The typed door and the registered one lead to the same verbs."""
    made: Any = cf.on(frame).search("refund", 1)
    pd.testing.assert_frame_equal(made, frame.cfai.search("refund", 1))


@pytest.mark.parametrize("verb", ["search", "similarity", "sim_join"])
def test_column_and_query_are_charged_to_one_budget(emulator: Emulator, verb: str) -> None:
    """What is embedded for a verb on vectors is in the ledger and the last run, and one budget holds for all of it."""
    texts = pd.Series(TEXTS, name="text")
    query = "a refund " * 40 if verb != "sim_join" else pd.Series(["a refund " * 40], name="text")
    do = {
        "search": lambda **o: texts.cfai.search(query, on="text", model="bge-m3", **o),
        "similarity": lambda **o: texts.cfai.similarity("text", query, model="bge-m3", **o),
        "sim_join": lambda **o: texts.cfai.sim_join(query, model="bge-m3", **o),
    }[verb]
    each = [rows.cfai.embed.plan().estimate.cost.neurons for rows in (texts, pd.Series(query))]
    assert None not in each
    with pytest.raises(cf.BudgetError):
        do(neurons=max(each) * 1.01)
    assert emulator.billed <= max(each) * 1.01
    do(neurons=sum(each) * 1.01)
    entries = pd.DataFrame(cf.ledger())
    assert set(entries["verb"]) == {"embed"}
    assert entries["neurons"].sum() == pytest.approx(emulator.billed)
    assert entries.loc[entries["requests"] > 0, "rows"].sum() == 5
    assert cf.last_run().receipt.startswith("embed: 1 of 1 rows · 1 request")
