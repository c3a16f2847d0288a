"""Reads the Parquet tables of a data set, so that a wrong one is named by file, column and row."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pingraph.errors import PinGraphError

LAYOUT = "a data set folder holds pins.parquet, boards.parquet and edges.parquet"


def read_table(path: Path, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> pa.Table:
    """Read the named columns of a Parquet file; dictionary-encoded ones come out plain.

    Raises:
        PinGraphError: the file is missing or no Parquet file, or lacks a required column.
    """
    if not path.is_file():
        raise PinGraphError(f"{path}: no such file; {LAYOUT}")
    try:
        names = pq.read_schema(path).names
        for column in required:
            if column not in names:
                raise PinGraphError(f"{path}: no column '{column}'; it has {', '.join(names)}")
        wanted = [name for name in (*required, *optional) if name in names]
        table = pq.read_table(path, columns=wanted, memory_map=True)
    except (pa.ArrowException, OSError) as error:
        raise PinGraphError(f"{path}: not a readable Parquet file ({_one_line(error)})") from error
    for place, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            plain = table.column(place).cast(field.type.value_type)
            table = table.set_column(place, field.name, plain)
    return table


def read_ids(table: pa.Table, column: str, path: Path) -> np.ndarray:
    """Return an id column as int64 or unicode array [rows].

    Raises:
        PinGraphError: the ids are neither integers nor strings, or one is null or beyond int64.
    """
    values = table.column(column)
    require_type(table, column, path, is_id, "integers or strings")
    if values.null_count:
        row = values.is_null().to_pylist().index(True)
        raise PinGraphError(f"{path}: row {row}: {column} is null")
    if is_text(values.type):
        return values.to_numpy().astype(np.str_)
    try:
        return values.cast(pa.int64()).to_numpy()
    except pa.ArrowInvalid as error:
        raise PinGraphError(f"{path}: {column} beyond int64 ({_one_line(error)})") from error


def require_type(table: pa.Table, column: str, path: Path, is_right, expected: str) -> None:
    """Raise PinGraphError unless `is_right(type)` of a column."""
    found = table.schema.field(column).type
    if not is_right(found):
        raise PinGraphError(f"{path}: column '{column}' is {found}, expected {expected}")


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds strings."""
    types = pa.types
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def is_bytes(kind: pa.DataType) -> bool:
    """Whether a column of this type holds bytes."""
    types = pa.types
    return types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)


def is_id(kind: pa.DataType) -> bool:
    """Whether a column of this type can name pins or boards."""
    return pa.types.is_integer(kind) or is_text(kind)


def hash_column(digest: hashlib._Hash, column: pa.ChunkedArray) -> None:
    """Feed a column of strings or bytes to a hash, however it is cut into chunks."""
    lengths = pc.fill_null(pc.binary_length(column).cast(pa.int64()), -1)
    digest.update(lengths.to_numpy().tobytes())
    for chunk in column.cast(pa.large_binary()).chunks:
        chunk = chunk.drop_null()
        if len(chunk):
            _, offsets, data = chunk.buffers()
            bounds = np.frombuffer(offsets, np.int64)[chunk.offset : chunk.offset + len(chunk) + 1]
            digest.update(memoryview(data)[bounds[0] : bounds[-1]])


def _one_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
