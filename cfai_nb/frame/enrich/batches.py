"""Rows out of parquet files or a Polars query, in Arrow tables that fit a byte budget.

``enrich`` opens a source with ``source_of`` and reads it twice: first the columns that the verbs need, batch by batch
(``Reader``), then all columns of the rows of one batch, in slices, while the part is written.  Rows are numbered
through all files, so that two numbers say which rows a part holds.  pyarrow is imported when a source is opened.
"""

from __future__ import annotations

import glob
import hashlib
import itertools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ...errors import ColumnError, InputError, SetupError
from ...html.markup import counted

#: A cell is there as Arrow, as Python, and in a request.
_COPIES = 3
#: Bytes and rows that are read at once.
_CHUNK_BYTES, _CHUNK_ROWS = 8_000_000, 8_192
_PARTITION = re.compile(r"([^=/\\]+)=([^/\\]*)")
_NEEDS_PYARROW = "Parquet files need pyarrow: pip install pyarrow"


@dataclass(frozen=True)
class File:
    """One file of a source: its rows, and what shows that it was not changed."""

    path: Path
    rows: int
    size: int
    modified: int
    partitions: Mapping[str, str] = field(default_factory=dict)

    @property
    def identity(self) -> list[int]:
        """What stays the same until the file is written again."""
        return [self.rows, self.size, self.modified]


class Source(Protocol):
    """Rows in an order that stays the same."""

    @property
    def schema(self) -> Any:
        """The Arrow schema of all rows."""

    @property
    def name(self) -> str:
        """As it was given."""

    def read(self, start: int, columns: Sequence[str]) -> Iterator[Any]:
        """Yield Arrow tables of at most some MB, from this row on."""


class Files:
    """Parquet files by name, in order; a column of the schema that a file lacks is null there.

    The name of the whole is as it was given; those of the files are relative to the folder.
    """

    def __init__(self, files: dict[str, File], schema: Any, name: str, folder: Path) -> None:
        self.files, self.schema, self.name, self.folder = files, schema, name, folder
        self.listed = not Path(name).expanduser().is_file()
        self.rows: int = sum(one.rows for one in files.values())

    def order(self, known: Mapping[str, int]) -> str:
        """Put files that parts hold already at the rows they have there, and the others behind them.

        Returns what does not fit, in words; an empty text if all does.
        """
        rest, placed, at = [name for name in self.files if name not in known], {}, 0
        for name, first in sorted(known.items(), key=lambda item: item[1]):
            while at < first and rest:  # its part is gone
                placed[rest[0]] = self.files[rest[0]]
                at += self.files[rest.pop(0)].rows
            if at != first or name not in self.files:
                return f"the rows of {name} start at another position than when the parts were written"
            placed[name] = self.files[name]
            at += placed[name].rows
        self.files = placed | {name: self.files[name] for name in rest}
        return ""

    def first_rows(self) -> dict[str, int]:
        """Return the number of the first row of each file."""
        starts = itertools.accumulate((one.rows for one in self.files.values()), initial=0)
        return dict(zip(self.files, starts, strict=False))

    def newer(self) -> list[str]:
        """Say which files came since the source was opened."""
        base, paths = _paths(self.name)
        new = [name for path in paths if (name := path.relative_to(base).as_posix()) not in self.files]
        return (
            [f"{counted(len(new), 'file')} came to the source meanwhile; the same call goes on with it."] if new else []
        )

    def read(self, start: int, columns: Sequence[str]) -> Iterator[Any]:
        """Yield Arrow tables of at most some MB, from this row on.

        Raises
        ------
        InputError
            A file was changed since it was listed, or cannot be read.
        """
        import pyarrow as pa

        first = 0
        for name, file in self.files.items():
            first, skip = first + file.rows, max(0, start - first)
            if skip >= file.rows:
                continue
            if _stat(file.path) != (file.size, file.modified):
                raise InputError(f"{name} was changed while it was read. The same call says what that means.")
            try:
                yield from self._read(file, skip, columns)
            except (pa.ArrowException, OSError) as error:
                raise InputError(f"{name} cannot be read: {error!s:.200}") from None

    def _read(self, file: File, skip: int, columns: Sequence[str]) -> Iterator[Any]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = pa.schema([self.schema.field(name) for name in columns])
        with pq.ParquetFile(file.path, pre_buffer=False, buffer_size=1 << 20) as opened:
            there = [name for name in columns if name in opened.schema_arrow.names]
            for group in range(opened.num_row_groups):
                about = opened.metadata.row_group(group)
                if skip >= about.num_rows:
                    skip -= about.num_rows
                    continue
                wide = _bytes_a_row(about, set(there))
                most = int(max(1, min(_CHUNK_ROWS, _CHUNK_BYTES / max(1.0, wide))))
                if not there:
                    sizes = [min(most, about.num_rows - at) for at in range(skip, about.num_rows, most)]
                    yield from (_fitting({}, count, schema, file.partitions) for count in sizes)
                    skip = 0
                    continue
                for part in opened.iter_batches(most, row_groups=[group], columns=there, use_threads=False):
                    if skip >= part.num_rows:
                        skip -= part.num_rows
                        continue
                    part, skip = part.slice(skip), 0
                    held = dict(zip(part.schema.names, part.columns, strict=True))
                    yield _fitting(held, part.num_rows, schema, file.partitions)


def _stat(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    return found.st_size, found.st_mtime_ns


def _bytes_a_row(group: Any, names: set[str]) -> float:
    columns = (group.column(at) for at in range(group.num_columns))
    held = sum(one.total_uncompressed_size for one in columns if one.path_in_schema.partition(".")[0] in names)
    return float(held / max(1, group.num_rows))


def _fitting(held: Mapping[str, Any], rows: int, schema: Any, partitions: Mapping[str, str]) -> Any:
    """Return columns of a file as a table of the common schema."""
    import pyarrow as pa

    arrays = []
    for one in schema:
        if one.name in held:
            array = held[one.name]
            if array.type != one.type and pa.types.is_dictionary(array.type):
                array = array.dictionary_decode()
            arrays.append(array if array.type == one.type else array.cast(one.type))
        elif one.name in partitions:
            arrays.append(pa.repeat(pa.scalar(partitions[one.name], one.type), rows))
        else:
            arrays.append(pa.nulls(rows, one.type))
    return pa.Table.from_arrays(arrays, schema=schema) if arrays else pa.table({})


class Query:
    """The rows of a Polars query, which is carried out in its streaming engine."""

    def __init__(self, query: Any) -> None:
        self._query, self.name = query, "the query"
        self.rows: int | None = None
        self.schema = _arrow(type(query.head(0).collect())(schema=query.collect_schema())).schema

    def read(self, start: int, columns: Sequence[str]) -> Iterator[Any]:
        """Yield Arrow tables of at most some MB, from this row on."""
        rest = self._query.select(list(columns)).slice(start)
        for frame in rest.collect_batches(chunk_size=_CHUNK_ROWS, maintain_order=True):
            if frame.height:
                yield _arrow(frame).cast(self.schema.empty_table().select(list(columns)).schema)


def _arrow(frame: Any) -> Any:
    import polars as pl

    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())


def source_of(given: Any) -> Files | Query:
    """Open what rows come from: a parquet file, a glob, a folder, or a Polars frame or query.

    Raises
    ------
    InputError
        There are no such files, or one of them is not a parquet file.
    ColumnError
        A column has different types in different files.
    SetupError
        pyarrow is not installed.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise SetupError(_NEEDS_PYARROW) from None
    if type(given).__module__.partition(".")[0] == "polars":
        return Query(given.lazy())
    if not isinstance(given, (str, os.PathLike)):
        raise InputError(
            f"source: {type(given).__name__} is neither the path of parquet files nor a Polars LazyFrame; for a frame "
            "in memory call its verbs, df.cfai."
        )
    base, paths = _paths(os.fspath(given))
    files: dict[str, File] = {}
    schemas: dict[Any, str] = {}
    for path in paths:
        name = path.relative_to(base).as_posix()
        files[name], schema = _opened(path, name)
        schemas.setdefault(schema, name)
    return Files(files, _common(schemas), os.fspath(given), base)


def _paths(given: str) -> tuple[Path, list[Path]]:
    """Return the files a path, a glob or a folder means, sorted, and what their names are relative to."""
    whole = Path(given).expanduser()
    if whole.is_dir():
        found = [path for path in sorted(whole.rglob("*")) if path.suffix in (".parquet", ".pq") and path.is_file()]
        hidden = [path for path in found if any(p[0] in "._" for p in path.relative_to(whole).parts)]
        base, found = whole, [path for path in found if path not in set(hidden)]
    elif whole.is_file():
        base, found = whole.parent, [whole]
    else:
        parts = itertools.takewhile(lambda part: not glob.has_magic(part), whole.parts)
        base = Path(*parts) if glob.has_magic(str(whole)) else whole.parent
        found = [path for one in sorted(glob.glob(str(whole), recursive=True)) if (path := Path(one)).is_file()]
    if not found:
        raise InputError(f"source: there are no parquet files at {given}")
    return base, found


def _opened(path: Path, name: str) -> tuple[File, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    size, modified = _stat(path)
    try:
        with pq.ParquetFile(path) as opened:
            rows, schema = opened.metadata.num_rows, opened.schema_arrow
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{name} ({size:,} bytes) is not a whole parquet file: {error!s:.200}") from None
    found = dict(_PARTITION.findall("/".join(Path(name).parts[:-1])))
    partitions = {key: value for key, value in found.items() if key not in schema.names}
    for key in partitions:
        schema = schema.append(pa.field(key, pa.string()))
    twice = [each for each in schema.names if schema.names.count(each) > 1]
    if twice:
        raise ColumnError(f"{name} has several columns {twice[0]!r}; rename them so that it names one.")
    return File(path, rows, size, modified, partitions), schema


def _common(schemas: Mapping[Any, str]) -> Any:
    """Return the schema of all files: columns in the order they come, whole numbers as wide as the widest."""
    import pyarrow as pa

    first, *others = schemas
    common = first
    for schema in others:
        try:
            common = pa.unify_schemas([common, schema], promote_options="permissive")
        except pa.ArrowException:
            try:
                plain = [_without_dictionaries(each) for each in (common, schema)]
                common = pa.unify_schemas(plain, promote_options="permissive")
            except pa.ArrowException as error:
                raise ColumnError(
                    f"{schemas[schema]} does not go together with {schemas[first]}: {error!s:.300}"
                ) from None
    return common.with_metadata(first.metadata)


def _without_dictionaries(schema: Any) -> Any:
    import pyarrow as pa

    return pa.schema(
        [one.with_type(one.type.value_type) if pa.types.is_dictionary(one.type) else one for one in schema],
        metadata=schema.metadata,
    )


class Reader:
    """Rows of a source from one row on, as many at a time as are asked for."""

    def __init__(self, source: Source, start: int, columns: Sequence[str]) -> None:
        self.at = start
        self._tables = source.read(start, columns)
        self._rest: Any = None
        self._schema = source.schema.empty_table().select(list(columns)).schema

    def take(self, most: int | None, budget: float | None, extra: float) -> tuple[Any, int]:
        """Return the next rows, and how many they are: at least one where there are any.

        They are `most` at most, and take `budget` bytes at most, with `extra` bytes a row in addition to its cells.
        """
        import pyarrow as pa

        taken, count, held = [], 0, 0.0
        while most is None or count < most:
            table = self._rest if self._rest is not None else next(self._tables, None)
            self._rest = None
            if table is None:
                break
            each = table.nbytes / max(1, table.num_rows) * _COPIES + extra
            fit = table.num_rows if budget is None else max(0 if count else 1, int((budget - held) / max(each, 1.0)))
            fit = min(fit, table.num_rows if most is None else min(table.num_rows, most - count))
            if fit < table.num_rows:
                self._rest = table.slice(fit)
            taken += [table.slice(0, fit)] if fit else []
            count, held = count + fit, held + fit * each
            if self._rest is not None:
                break
        self.at += count
        return (pa.concat_tables(taken) if taken else self._schema.empty_table()), count


class Held:
    """The rows of one batch as a source, where reading them again would carry out the query again."""

    def __init__(self, table: Any, schema: Any) -> None:
        self._table, self.schema, self.rows, self.name = table, schema, table.num_rows, "the query"

    def read(self, start: int, columns: Sequence[str]) -> Iterator[Any]:
        """Yield the table."""
        if self._table.num_rows > start:
            yield self._table.select(list(columns)).slice(start)


def digest_of(table: Any) -> str:
    """Return a digest of the cells of a table, which shows whether a query still gives the same rows."""
    total = hashlib.blake2b(digest_size=8)
    for name in table.column_names:
        cells = table[name].combine_chunks() if table.num_rows else table[name]
        total.update(repr(cells.to_pylist()).encode("utf-8", "surrogatepass"))
    return total.hexdigest()
