"""Columns of vectors: an ordinary column in pandas, and one that keeps where it comes from in files."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import cfai_nb as cf
from cfai_nb.frame.arrow import TYPE_NAME, VectorArray
from cfai_nb.vectors.vector import Space, views

pyarrow = pytest.importorskip("pyarrow")

#: Names of columns that no format and no template may stumble over.
HOSTILE = ["vec", "a.b", "{vec}", "a{b}c", "", "ünïcode 向量", "x:y", 'quo"te', "1"]
SPACE = Space("@cf/baai/bge-m3", 4, "", "cloudflare")


def column(space: Space | None = SPACE, rows: int = 3) -> pd.Series[Any]:
    """Vectors of a space, the second of them missing."""
    matrix = np.arange(4 * rows, dtype=np.float32).reshape(rows, 4)
    where = np.array([0, -1, *range(1, rows - 1)])
    return pd.Series(VectorArray._from_sequence(views(matrix, where, space)), index=[7, 7, *range(8, 6 + rows)])


def same(one: Any, other: Any) -> None:
    """Both columns hold the same numbers, are missing at the same rows, and know the same spaces."""
    assert one.isna().tolist() == other.isna().tolist()
    for mine, theirs in zip(one.dropna(), other.dropna(), strict=True):
        np.testing.assert_array_equal(np.asarray(mine), np.asarray(theirs))
        assert (mine.dtype, mine.space) == (theirs.dtype, theirs.space)


@pytest.mark.parametrize("name", HOSTILE)
def test_parquet_keeps_where_vectors_come_from(tmp_path: Path, name: str) -> None:
    """to_parquet and read_parquet give the column back with its space, whatever it is called."""
    frame = pd.DataFrame({name: column(), "n": [1, 2, 3]})
    frame.to_parquet(tmp_path / "f.parquet")
    again = pd.read_parquet(tmp_path / "f.parquet")
    assert again.columns.tolist() == [name, "n"]
    assert again.index.tolist() == frame.index.tolist()
    same(again[name], frame[name])
    assert again[name].iloc[0].space == SPACE
    assert again[name].iloc[0].base is again[name].iloc[2].base, "one matrix, not an array a row"


def test_feather_tables_and_arrow_dtypes_keep_it_too(emulator: Any, tmp_path: Path) -> None:
    """Feather, Arrow tables and the pyarrow backend of pandas carry the same type."""
    frame = pd.DataFrame({"vec": column().reset_index(drop=True)})
    frame.to_feather(tmp_path / "f.feather")
    same(pd.read_feather(tmp_path / "f.feather")["vec"], frame["vec"])
    table = pyarrow.Table.from_pandas(frame)
    assert table.schema.field("vec").type.extension_name == TYPE_NAME
    same(table["vec"].to_pandas(), frame["vec"])
    frame.to_parquet(tmp_path / "f.parquet")
    arrow = pd.read_parquet(tmp_path / "f.parquet", dtype_backend="pyarrow")
    with pytest.raises(ValueError, match="asks emulator"):
        arrow.cfai.search("a text", on="vec")
    assert arrow.cfai.similarity("vec", frame["vec"]).dropna().tolist() == pytest.approx([1, 1])


@pytest.mark.slow
def test_others_read_plain_lists(tmp_path: Path, bare_environment: dict[str, str]) -> None:
    """Without this package the column is lists of float32, without a warning."""
    pd.DataFrame({"vec": column()}).to_parquet(tmp_path / "f.parquet")
    code = (
        "import sys, pandas as pd, pyarrow.parquet as pq; "
        f"path = {str(tmp_path / 'f.parquet')!r}; vec = pd.read_parquet(path)['vec']; "
        "print(vec.dtype, vec.iloc[0].tolist(), vec.iloc[0].dtype, vec.iloc[1], end=' '); "
        "print(pq.read_schema(path).field('vec').type, any('cfai' in name for name in sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=bare_environment, capture_output=True, text=True, timeout=60
    )
    assert run.stdout.split("list<")[0] == "object [0.0, 1.0, 2.0, 3.0] float32 None ", run.stderr
    assert run.stdout.strip().endswith("float> False")


def test_embedded_vectors_go_on_in_another_session(emulator: Any, tmp_path: Path) -> None:
    """What embed made is searched with a text after a file; another origin refuses, and so does another model."""
    frame = pd.DataFrame({"text": ["my parcel is late", "a refund please", None]})
    frame["vec"] = frame.cfai.embed("text")
    frame.to_parquet(tmp_path / "f.parquet")
    again = pd.read_parquet(tmp_path / "f.parquet")
    assert again.cfai.search("a refund please", 1)["text"].tolist() == ["a refund please"]
    small = again["text"].cfai.embed(model="bge-small-en-v1.5")
    small.to_frame("vec").to_parquet(tmp_path / "g.parquet")
    with pytest.raises(ValueError, match="different spaces"):
        again.cfai.similarity("vec", pd.read_parquet(tmp_path / "g.parquet")["vec"])
    with (
        cf.connect(account_id="0" * 32, api_token="x", store=False),
        pytest.raises(ValueError, match="asks cloudflare"),
    ):
        again.cfai.search("a refund please")


def test_one_column_records_one_space(tmp_path: Path) -> None:
    """Vectors of two spaces, or some that record none, are refused; plain vectors are written as plain lists."""
    other = column(Space("other", 4))
    mixed = pd.concat([column(), other])
    plain = pd.concat([column(), column(None)])
    for cells, words in ((mixed, "different spaces"), (plain, "do not record")):
        with pytest.raises(ValueError, match=words):
            cells.to_frame("vec").to_parquet(tmp_path / "f.parquet")
    column(None).to_frame("vec").to_parquet(tmp_path / "f.parquet")
    again = pd.read_parquet(tmp_path / "f.parquet")["vec"]
    assert (again.iloc[0].tolist(), again.isna().tolist()) == ([0, 1, 2, 3], [False, True, False])
    gone = pd.DataFrame({"vec": column().iloc[[1, 1]]})
    gone.to_parquet(tmp_path / "f.parquet")
    assert pd.read_parquet(tmp_path / "f.parquet")["vec"].isna().all()
    gone.head(0).to_parquet(tmp_path / "f.parquet")
    assert pd.read_parquet(tmp_path / "f.parquet").empty


@pytest.mark.parametrize(
    "written",
    [b"", b"no json", b"[1]", b"{}", b'{"model": 1, "dims": 4, "form": "", "origin": "x"}', b'\xff\xfe',
     b'{"model": "m", "dims": 5, "form": "", "origin": "x"}', b"[" * 100_000,
     b'{"model": "\\u001b[2J", "dims": 4, "form": "", "origin": "x"}'],
)  # fmt: skip
def test_what_a_file_says_is_not_believed_as_it_is(written: bytes) -> None:
    """Metadata that are no space, or of other dimensions than the vectors, leave the origin unknown."""
    kind = type(pyarrow.array(column()).type)
    made = kind.__arrow_ext_deserialize__(pyarrow.list_(pyarrow.float32()), written)
    storage = pyarrow.array([[1.0, 2.0, 3.0, 4.0], None], pyarrow.list_(pyarrow.float32()))
    found = pyarrow.ExtensionArray.from_storage(made, storage).to_pandas()
    assert found.isna().tolist() == [False, True]
    assert getattr(found.iloc[0], "space", None) is None


def test_rows_of_several_lengths_are_read_row_by_row() -> None:
    """A file in which a row is shorter, or holds a null, is read, and the vectors refuse to be compared."""
    kind = pyarrow.array(column()).type
    storage = pyarrow.array([[1.0, 2.0, 3.0, 4.0], [1.0], [1.0, None, 3.0, 4.0]], pyarrow.list_(pyarrow.float32()))
    found = pyarrow.ExtensionArray.from_storage(kind, storage).to_pandas()
    assert [len(cell) for cell in found] == [4, 1, 4]
    with pytest.raises(ValueError, match="all of one length"):
        found.cfai.cluster()


def test_vectors_without_numbers_are_read() -> None:
    """A column of a file whose vectors are all empty is read as such cells, and missing ones stay missing."""
    kind = pyarrow.array(column()).type
    cells = pyarrow.ExtensionArray.from_storage(kind, pyarrow.array([[], None, []], pyarrow.list_(pyarrow.float32())))
    found = pyarrow.table({"vec": cells})["vec"].to_pandas()
    assert [None if cell is None else len(cell) for cell in found] == [0, None, 0]


def test_very_large_columns_have_wider_offsets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More numbers than 32 bits count are written with offsets of 64 bits, and read alike."""
    monkeypatch.setattr("cfai_nb.frame.arrow._MOST_OFFSETS", 3)
    frame = pd.DataFrame({"vec": column()})
    assert pyarrow.types.is_large_list(pyarrow.array(frame["vec"]).type.storage_type)
    frame.to_parquet(tmp_path / "f.parquet")
    same(pd.read_parquet(tmp_path / "f.parquet")["vec"], frame["vec"])


def test_parts_of_a_file_are_read_alike(tmp_path: Path) -> None:
    """Row groups, slices and chosen columns of a file keep the vectors at their rows."""
    frame = pd.DataFrame({"vec": column(rows=50), "n": range(50)})
    frame.to_parquet(tmp_path / "f.parquet", row_group_size=7)
    again = pd.read_parquet(tmp_path / "f.parquet", columns=["vec", "n"], filters=[("n", ">", 20)])
    same(again["vec"], frame["vec"][frame["n"] > 20])
    sliced = pyarrow.Table.from_pandas(frame).slice(1, 5)["vec"].to_pandas()
    same(sliced, frame["vec"].iloc[1:6])


def test_pandas_treats_it_as_any_column() -> None:
    """Take, concat, merge, group, assign, explode, pickle and the like keep the cells and what they know."""
    frame = pd.DataFrame({"vec": column(), "g": [1, 1, 2]})
    cells = frame["vec"]
    same(pd.concat([cells, cells]), cells.iloc[[0, 1, 2, 0, 1, 2]])
    same(frame.merge(pd.DataFrame({"g": [1, 2]}), on="g")["vec"], cells)
    same(pickle.loads(pickle.dumps(frame))["vec"], cells)
    assert frame.groupby("g")["vec"].first().map(len).tolist() == [4, 4]
    assert frame.groupby("g")["vec"].last().iloc[0].space == SPACE
    assert cells.reset_index(drop=True).reindex([2, 9]).isna().tolist() == [False, True]
    assert cells.where(frame["g"] > 1).isna().tolist() == [True, True, False]
    assert cells.shift().isna().tolist() == [True, False, True]
    assert cells.map(len, na_action="ignore").dropna().tolist() == [4, 4]
    assert np.stack(cells.dropna()).shape == np.vstack(cells.dropna().to_numpy()).shape == (2, 4)
    assert (cells.dropna() * 2).iloc[0].tolist() == [0, 2, 4, 6]
    assert cells.dropna().sum().tolist() == [4, 6, 8, 10]
    assert frame.to_dict("records")[1]["vec"] is None
    assert frame.equals(frame.copy())
    pd.testing.assert_frame_equal(frame, frame.copy())
    assert "…" not in repr(frame) and "[0, 1, 2, 3]" in repr(frame)  # noqa: PT018
    changed = frame.copy()
    changed.iloc[0, 0] = None
    changed.loc[8, "vec"] = None
    assert changed["vec"].isna().all()
    assert frame["vec"].isna().tolist() == [False, True, False], "the original is as it was"
    changed.loc[changed["g"] == 1, "vec"] = frame.loc[frame["g"] == 1, "vec"]
    changed = changed.reset_index(drop=True)
    changed.at[2, "vec"] = frame["vec"].iloc[0]
    assert [None if cell is None else cell.tolist() for cell in changed["vec"]] == [[0, 1, 2, 3], None, [0, 1, 2, 3]]
    assert frame.to_json(orient="records").startswith('[{"vec":[0.0,1.0,2.0,3.0]')
    assert cells.astype(object).dtype == object
