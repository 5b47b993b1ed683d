"""Frames: every kind of column and index goes in and comes out as it was."""

from __future__ import annotations

import datetime as dt
import decimal
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import cfai_nb as cf
from cfai_nb.emulator import Emulator
from cfai_nb.frame import rows

SHOP = ["billing", "shipping"]


def inputs(data: Any, on: Any = None, *, template: bool = False) -> list[str | None]:
    return rows.rows_of(data, on, template=template).inputs


INDEXES = {
    "range": pd.RangeIndex(4),
    "duplicates": pd.Index(["x", "x", "y", "x"]),
    "numbers backwards": pd.Index([3, 2, 1, 0]),
    "dates": pd.date_range("2026-01-01", periods=4, tz="UTC"),
    "two levels": pd.MultiIndex.from_tuples([("a", 1), ("a", 1), ("b", 2), ("b", 1)], names=["l", "n"]),
    "missing": pd.Index(["x", None, np.nan, "y"], dtype=object),
    "named": pd.Index([1.5, 2.5, np.nan, 4.5], name="weight"),
    "categories": pd.CategoricalIndex(["a", "b", "a", "c"]),
}


@pytest.mark.parametrize("index", INDEXES.values(), ids=list(INDEXES))
def test_every_index_is_kept_in_order(emulator: Emulator, index: pd.Index) -> None:
    """Whatever the index, results lie on it, in order, each beside the text it belongs to."""
    frame = pd.DataFrame({"text": ["a refund please", None, "where is my parcel", "a refund please"]}, index=index)
    vectors = frame.cfai.embed("text")
    labels = frame.cfai.classify("text", SHOP, probabilities=True)
    said = frame.cfai.generate("Repeat: {text}")
    for result in (vectors, labels, said):
        pd.testing.assert_index_equal(result.index, index, exact=True)
    alone = {text: pd.Series([text]).cfai.embed(cache="only").iloc[0] for text in frame["text"].dropna().unique()}
    for text, vector in zip(frame["text"].tolist(), vectors, strict=True):
        assert np.array_equal(vector, alone[text]) if text in alone else vector is None
    assert labels["label"].isna().tolist() == [False, True, False, False]
    assert said.isna().tolist() == [False, True, False, False]
    assert said.iloc[0] == said.iloc[3]
    joined = frame.assign(vector=vectors, said=said)
    assert len(joined) == 4


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(["a", None, "b", "a"], dtype=object),
        pd.Series(["a", None, "b", "a"], dtype="string"),
        pd.Series(["a", None, "b", "a"], dtype=pd.StringDtype("pyarrow")),
        pd.Series(["a", None, "b", "a"], dtype="category"),
        pd.Series(["a", np.nan, "b", "a"]),
        pd.Series(["a", pd.NA, "b", "a"], dtype=object),
        pd.Series(["a", pd.NaT, "b", "a"], dtype=object),
        pd.Series(["a", "", "b", "a"]),
        pd.Series(["a", " \n\t", "b", "a"]),
    ],
    ids=["object", "string", "arrow", "category", "nan", "NA", "NaT", "empty", "blank"],
)
def test_text_columns_of_every_type_read_alike(column: pd.Series) -> None:
    """Object, string, Arrow and categorical columns give the same inputs; missing and blank cells give none."""
    assert inputs(column) == ["a", None, "b", "a"]
    assert inputs(pd.DataFrame({"c": column}), "c") == ["a", None, "b", "a"]
    assert inputs(pd.DataFrame({"c": column}), "<{c}>", template=True) == ["<a>", None, "<b>", "<a>"]


def test_an_arrow_backed_frame_reads_and_enriches(emulator: Emulator) -> None:
    """A frame of Arrow dtypes goes through every verb."""
    pa = pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"t": pd.Series(["a", None], dtype=pd.ArrowDtype(pa.string())), "n": [1, 2]})
    frame["n"] = frame["n"].astype(pd.ArrowDtype(pa.int64()))
    assert frame.cfai.embed("t").notna().tolist() == [True, False]
    assert inputs(frame, "n") == ["1", "2"]
    assert inputs(frame, "{t}:{n:03d}", template=True) == ["a:001", None]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7, "7"),
        (7.5, "7.5"),
        (True, "True"),
        (np.int64(3), "3"),
        (np.str_("x"), "x"),
        (pd.Timestamp("2026-01-02"), "2026-01-02 00:00:00"),
        (dt.date(2026, 1, 2), "2026-01-02"),
        (dt.time(1, 2), "01:02:00"),
        (pd.Timedelta("1h"), "0 days 01:00:00"),
    ],
)
def test_cells_with_an_obvious_text_are_written_out(value: Any, text: str) -> None:
    """Numbers, booleans and times in a column are sent as their text."""
    column = pd.Series([value, "word"], dtype=object)
    assert inputs(column) == [text, "word"]


@pytest.mark.parametrize("value", [b"bytes", ["a", "list"], {"a": 1}, object(), decimal.Decimal("1.5"), (1, 2), {1}])
def test_cells_without_a_text_fail_alone(emulator: Emulator, value: Any) -> None:
    """A cell that is no text fails its row with a reason, and the other rows are answered."""
    column = pd.Series(["fine", value, "also fine"], dtype=object, index=["a", "b", "c"])
    with pytest.warns(cf.CfaiWarning, match="row 'b'"):
        result = column.cfai.embed()
    assert result.notna().tolist() == [True, False, True]
    failures = cf.last_run().failures
    assert failures["row"].tolist() == ["b"]
    assert failures["code"].tolist() == ["input"]
    assert type(value).__name__ in failures["message"].iloc[0]


def test_half_a_character_fails_its_row_alone(emulator: Emulator) -> None:
    """A lone surrogate, which no JSON can carry, fails its own row in a column and in a template."""
    column = pd.Series(["fine", "half \ud83d", "whole \U0001f600"], dtype=object)
    with pytest.warns(cf.CfaiWarning, match="1 of 3 rows failed"):
        assert column.cfai.embed().notna().tolist() == [True, False, True]
    frame = pd.DataFrame({"t": column})
    with pytest.warns(cf.CfaiWarning, match="1 of 3 rows failed"):
        assert frame.cfai.generate("Say {t}").notna().tolist() == [True, False, True]
    with pytest.warns(cf.CfaiWarning, match="1 of 3 rows failed"):
        assert frame.cfai.generate("Say {t:>20}").notna().tolist() == [True, False, True]


@pytest.mark.parametrize("column", [[], [None, None], ["", " "], pd.Series([], dtype="category")])
def test_nothing_to_do_is_no_error(emulator: Emulator, column: Any) -> None:
    """An empty frame and a column without a single text give results of the right shape, and nothing is sent."""
    frame = pd.DataFrame({"t": pd.Series(column, dtype=None if len(column) else object)})
    assert frame.cfai.embed("t").isna().all()
    assert list(frame.cfai.classify("t", SHOP, probabilities=True)) == [
        "label",
        "confidence",
        "p__billing",
        "p__shipping",
    ]
    typed = frame.cfai.generate("{t}", schema={"n": int})
    assert typed.dtypes.astype(str).to_dict() == {"n": "Int64"}
    assert len(typed) == len(frame)
    assert emulator.requests == 0


def test_results_have_real_types(emulator: Emulator) -> None:
    """Labels are categorical in the order given, probabilities floats, schema fields typed and nullable."""
    column = pd.Series(["a refund please", None])
    labels = column.cfai.classify(["shipping", "billing"])
    assert labels.dtype == "category"
    assert list(labels.cat.categories) == ["shipping", "billing"]
    assert column.cfai.generate("{value}").dtype == pd.Series(["x"]).dtype
    schema = {"n": int, "x": float, "yes": bool, "who": str, "mood": ["glad", "sad"], "tags": list[str]}
    frame = column.cfai.generate("Say {value}", schema=schema)
    kinds = frame.dtypes.astype(str).to_dict()
    assert (kinds["n"], kinds["x"], kinds["yes"], kinds["mood"]) == ("Int64", "float64", "boolean", "category")
    assert kinds["tags"] == "object"
    assert isinstance(frame["tags"].iloc[0], list)
    assert frame.iloc[1].isna().all()


def test_the_users_frame_is_never_written(emulator: Emulator) -> None:
    """No verb changes the frame it works on, nor the columns' types or attrs."""
    frame = pd.DataFrame({"t": ["a", None, "b"], "n": [1, 2, 3]}, index=[5, 5, 6])
    before = frame.copy(deep=True)
    frame.cfai.embed("t")
    frame["t"].cfai.classify(SHOP)
    frame.cfai.generate("{t} {n}")
    pd.testing.assert_frame_equal(frame, before)
    assert frame.attrs == {}


def test_vectors_are_read_only_rows_of_one_matrix(emulator: Emulator) -> None:
    """The cells are views of one float32 matrix, duplicates share theirs, and cf.matrix copies nothing."""
    vectors = pd.Series(["a", "b", "c"]).cfai.embed()
    matrix = cf.matrix(vectors)
    assert matrix.dtype == np.float32
    assert matrix.shape == (3, 1024)
    assert all(np.shares_memory(vector, matrix) for vector in vectors)
    with pytest.raises(ValueError, match="read-only"):
        vectors.iloc[0][0] = 1
    twice = pd.Series(["a", "a"]).cfai.embed()
    assert np.shares_memory(twice.iloc[0], twice.iloc[1])
    assert "emulator" in str(vectors.iloc[0].space)


# -- naming columns ----------------------------------------------------------------------------------------------------

FRAME = pd.DataFrame({"text": ["a"], "title": ["b"], 0: ["c"], ("x", "y"): ["d"], "odd {name}": ["e"]})


@pytest.mark.parametrize(("on", "text"), [("text", "a"), (0, "c"), (("x", "y"), "d"), ("odd {name}", "e")])
def test_any_label_names_a_column(on: Any, text: str) -> None:
    """Columns are named by any label: a text, a number, a tuple, even one with braces."""
    assert inputs(FRAME, on) == [text]


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{text}-{title}", "a-b"),
        ("{0}", "c"),
        ("{{{text}}}", "{a}"),
        ("{text:>3}", "  a"),
        ("{text}{text}", "aa"),
        ("line\n{text}\u2028", "line\na\u2028"),
    ],
)
def test_templates_are_filled(template: str, text: str) -> None:
    """Names, numbers of columns, doubled braces and formats work as in Python."""
    assert inputs(FRAME, template, template=True) == [text]


@pytest.mark.parametrize(
    ("on", "template", "words"),
    [
        ("txet", False, "Did you mean 'text'"),
        ("zzz", False, "Columns: text, title"),
        (None, False, "a column"),
        (None, True, "template"),
        ("no braces", True, "names no column"),
        ("", True, "names no column"),
        ("{txet}", True, "Did you mean 'text'"),
        ("{txet}", False, "Did you mean 'text'"),
        ("{}", True, "{name}"),
        ("{text!r}", True, "{name}"),
        ("{text", True, "{{"),
        ("{text}}", True, "{{"),
        (["text"], False, "There is no column"),
        (7, False, "There is no column 7"),
    ],
)
def test_a_wrong_column_says_which_there_are(on: Any, template: bool, words: str) -> None:
    """A column that is not there and a template that names none are errors that help."""
    with pytest.raises(cf.ColumnError) as caught:
        inputs(FRAME, on, template=template)
    assert words in str(caught.value)


def test_a_name_of_two_columns_is_refused() -> None:
    """A label that names several columns is reported as such."""
    frame = pd.DataFrame([["a", "b"]], columns=["t", "t"])
    for on, template in (("t", False), ("{t}", True)):
        with pytest.raises(cf.ColumnError, match="names 2 columns"):
            inputs(frame, on, template=template)
    nested = pd.DataFrame([["a", "b"]], columns=pd.MultiIndex.from_tuples([("t", "x"), ("t", "y")]))
    assert inputs(nested, ("t", "x")) == ["a"]
    with pytest.raises(cf.ColumnError):
        inputs(nested, "t")


def test_columns_that_are_written_alike() -> None:
    """A name in a template is the column of that very text; where only others are written so, several are refused."""
    both = pd.DataFrame([["number", "text"]], columns=pd.Index([1, "1"], dtype=object))
    assert inputs(both, "{1}", template=True) == ["text"]
    assert inputs(both[both.columns[::-1]], "{1}", template=True) == ["text"]
    assert inputs(both, 1) == ["number"]
    assert inputs(both, "1") == ["text"]
    assert inputs(both[[1]], "{1}", template=True) == ["number"]
    day = dt.date(2026, 1, 1)
    alike = pd.DataFrame([["a", "b"]], columns=pd.Index([day, decimal.Decimal("1")], dtype=object))
    assert inputs(alike, "{2026-01-01} {1}", template=True) == ["a b"]
    several = pd.DataFrame([["a", "b"]], columns=pd.Index([2.5, decimal.Decimal("2.5000")], dtype=object))
    several.columns = pd.Index([Named(), Named()], dtype=object)
    with pytest.raises(cf.ColumnError, match=r"\{same\} could mean several columns.*Rename"):
        inputs(several, "{same}", template=True)
    with pytest.raises(cf.ColumnError, match="two columns go by one name"):
        rows.filled(both, both, "{1}")


class Named:
    """A label that is written like others."""

    def __str__(self) -> str:
        return "same"


@pytest.mark.parametrize("name", ["a.b", "time:utc", "ünïcode 向量", "a[0]", " ", "with space", "price: $"])
def test_hostile_names_in_templates(name: str) -> None:
    """Dots, colons, brackets and any script may stand in the name of a column in braces."""
    frame = pd.DataFrame({name: ["x"], "time": ["wrong"], "a": ["wrong"]})
    assert inputs(frame, f"say {{{name}}}", template=True) == ["say x"]


@pytest.mark.parametrize("name", ["{text}", "a{b", "}", "{"])
def test_names_with_braces_are_columns_outside_of_templates(name: str) -> None:
    """A column whose name has braces is taken by that name where a column is wanted."""
    assert inputs(pd.DataFrame({name: ["x"]}), name) == ["x"]


def test_a_series_is_called_by_its_name_or_value() -> None:
    """In a template a Series is {value} or its own name; without a name, or with a number for one, too."""
    assert inputs(pd.Series(["a"], name="text"), "{text} {value}", template=True) == ["a a"]
    assert inputs(pd.Series(["a"]), "{value}", template=True) == ["a"]
    assert inputs(pd.Series(["a"], name=0), "{0}", template=True) == ["a"]
    assert inputs(pd.Series(["a"], name="value"), "{value}", template=True) == ["a"]
    assert inputs(pd.Series(["a"], name=("x", "y")), "{value}", template=True) == ["a"]
    assert inputs(pd.Series(["a"], name=("x", "y"))) == ["a"]


def test_a_cell_that_does_not_take_its_format_fails_alone(emulator: Emulator) -> None:
    """A format that a cell cannot take is a failure of that row."""
    frame = pd.DataFrame({"n": pd.Series([1.234, "many", None], dtype=object)})
    with pytest.warns(cf.CfaiWarning, match="1 of 3 rows failed"):
        result = frame.cfai.generate("Say {n:.1f}")
    assert result.notna().tolist() == [True, False, False]
    assert "1.2" in result.iloc[0]


# -- what comes out of odd answers -------------------------------------------------------------------------------------


class Saying:
    """A service that answers every call with the same JSON."""

    def __init__(self, value: Any) -> None:
        self.value, self.calls = value, 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.calls += 1
        body = json.dumps({"result": {"response": self.value}, "success": True, "errors": [], "messages": []}).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"n": int}, {"n": 10**30}),
        ({"n": int}, {"n": -(2**63) - 1}),
        ({"x": float}, {"x": 1e308}),
        ({"x": float}, {"x": 10**30}),
        ({"who": str}, {"who": ""}),
        ({"tags": list[str]}, {"tags": []}),
        ({"success": bool}, {"success": False}),
        ({"deep": dict[str, int]}, {"deep": {"a": 10**20}}),
    ],
    ids=str,
)
def test_any_valid_answer_can_be_laid_out(tmp_path: Path, schema: dict[str, Any], value: dict[str, Any]) -> None:
    """Whatever fits the schema becomes a cell of equal value, asked once, also the second time from the store."""
    service = Saying(value)
    cf.connect(service, store=tmp_path / "s.sqlite")
    for _ in range(2):
        frame = pd.DataFrame({"t": ["x"]}).cfai.generate("{t}", schema=schema, model="llama-3.3-70b-instruct-fp8-fast")
        (name,) = schema
        assert frame[name].iloc[0] == value[name]
    assert service.calls == 1


def test_what_is_given_for_the_rows_is_laid_on_them() -> None:
    """A column, a Series on the index or one value a row; what does not fit is refused, with the name of the option."""
    frame = pd.DataFrame({"a": [1, 2]}, index=[5, 6])
    for given in ("a", frame["a"], [1, 2], np.array([1, 2]), pd.Categorical([1, 2])):
        assert rows.laid_on(frame, given, "truth").to_dict() == {5: 1, 6: 2}
    assert rows.laid_on(frame["a"], [None, 2], "truth").tolist() == [None, 2]
    for given, message in (
        ("b", "truth: There is no column 'b'.*Columns: a"),
        ([1], "truth: 1 values for 2 rows"),
        (frame["a"].reset_index(drop=True), "truth: its index differs"),
    ):
        with pytest.raises(ValueError, match=message):
            rows.laid_on(frame, given, "truth")
