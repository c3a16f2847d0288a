"""Reads the Parquet tables of a data set, so that a wrong one is named by file, column and row."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pingraph.errors import PinGraphError
from pingraph.ids import IdIndex, id_array, id_column

LAYOUT = "a data set folder holds pins.parquet, boards.parquet and edges.parquet"


def check_columns(path: Path, required: tuple[str, ...]) -> None:
    """Check that a Parquet file has the required columns; its rows are not read.

    Raises:
        PinGraphError: see `read_table`.
    """
    _opened(path, required).close()


def column_names(path: Path) -> list[str]:
    """Return the names of a Parquet file's columns, in its order.

    Raises:
        PinGraphError: the file is missing, damaged or no Parquet file.
    """
    with _opened(path, ()) as file:
        return file.schema_arrow.names


def read_table(path: Path, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> pa.Table:
    """Read the named columns of a Parquet file; dictionaries and views come out plain.

    Raises:
        PinGraphError: the file is missing, damaged or no Parquet file, or lacks a required column.
    """
    file = _opened(path, required, optional)
    names = file.schema_arrow.names
    with unreadable(path), file:
        table = file.read([name for name in (*required, *optional) if name in names])
        table.validate(full=True)
    return table.cast(pa.schema([field.with_type(_plain(field.type)) for field in table.schema]))


def read_ids(table: pa.Table, column: str, path: Path) -> np.ndarray:
    """Return a column of ids as int64 or unicode array [rows].

    Args:
        table: the table.
        column: "pin_id" or "board_id".
        path: where the table was read, for messages.

    Raises:
        PinGraphError: an id is missing, negative, empty, of a wrong type, or occurs twice.
    """
    what = column.removesuffix("_id")
    with naming(path):
        ids = id_array(id_column(table.column(column), what))
        IdIndex(ids, what).refuse_duplicates()
    return ids


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the name of a file before the message of a PinGraphError."""
    try:
        yield
    except PinGraphError as error:
        raise PinGraphError(f"{path}: {error}") from error


def require_type(
    table: pa.Table,
    column: str,
    path: Path,
    is_right: Callable[[pa.DataType], bool],
    expected: str,
) -> None:
    """Raise PinGraphError unless `is_right(type)` of a column."""
    found = table.schema.field(column).type
    if not is_right(found):
        raise PinGraphError(f"{path}: column '{column}' is {found}, expected {expected}")


def first_null(column: pa.ChunkedArray) -> int:
    """Return the first row whose value is missing; there must be one."""
    return pc.index(column.is_null(), True).as_py()


def without_decimals(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return decimals, which databases write, as float64, and any other column as it is."""
    return column.cast(pa.float64()) if pa.types.is_decimal(column.type) else column


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds strings."""
    types = pa.types
    return types.is_string(kind) or types.is_large_string(kind)


def is_bytes(kind: pa.DataType) -> bool:
    """Whether a column of this type holds bytes."""
    types = pa.types
    return types.is_binary(kind) or types.is_large_binary(kind)


def hash_column(digest: hashlib._Hash, column: pa.ChunkedArray) -> None:
    """Feed strings or bytes to a hash; chunks make no difference, nor null or empty."""
    digest.update(lengths(column).tobytes())
    for chunk in column.cast(pa.large_binary()).chunks:
        chunk = chunk.drop_null()
        _, offsets, data = chunk.buffers()
        if len(chunk) and data is not None:
            bounds = np.frombuffer(offsets, np.int64)[chunk.offset : chunk.offset + len(chunk) + 1]
            digest.update(memoryview(data)[bounds[0] : bounds[-1]])


def lengths(column: pa.ChunkedArray) -> np.ndarray:
    """Return the bytes of each string or byte string, int64; 0 for null."""
    return pc.fill_null(pc.binary_length(column).cast(pa.int64()), 0).to_numpy()


def _opened(
    path: Path, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> pq.ParquetFile:
    if not path.is_file():
        found = "a folder, where a Parquet file is expected" if path.is_dir() else "no such file"
        raise PinGraphError(f"{path}: {found}; {LAYOUT}")
    with unreadable(path):
        file = pq.ParquetFile(path, memory_map=True, page_checksum_verification=True)
        names = file.schema_arrow.names
    for column in (*required, *optional):
        found = names.count(column)
        if found > 1 or (found == 0 and column in required):
            among = ", ".join(names)
            raise PinGraphError(f"{path}: {found} columns '{column}' among {among}; expected one")
    return file


@contextmanager
def unreadable(path: Path) -> Iterator[None]:
    """Name the file where pyarrow cannot read it, as a PinGraphError."""
    # for some damage pyarrow raises a bare ValueError or OSError instead of its own exceptions
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise PinGraphError(f"{path}: not a readable Parquet file ({reason})") from error


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    views = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
    return views.get(kind, kind)
