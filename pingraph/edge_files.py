"""Reads edges from Parquet or CSV batch by batch, so that the file may be larger than memory.

PyArrow reads and hashes the batches. DuckDB could spill to disk as well, but the graph that comes
out lives in memory anyway, and PyArrow keeps the order of the rows, which messages need. Held at a
time: the distinct ids, one group of batches, and of each edge 8 bytes, another 8 for a weight (4 if
it is float32) and 8 for a time; never the ids of all rows.

Columns: `pin_id`, `board_id` (integers or strings), optional `weight` and `time`; others are
ignored. A time is an integer, kept as it is, or a timestamp or date, which becomes whole seconds
since 1970 (UTC). CSV has a header line, and spaces around a field don't count. A CSV column of ids
is integer if each id is a whole number below 10¹⁸ without leading zeros; else all are strings.
Row numbers count from 0, the header left out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pingraph.build import index_dtype
from pingraph.edges import EdgeRows, check_times, check_weights
from pingraph.errors import PinGraphError
from pingraph.ids import IdCoder, id_column, universe_index

if TYPE_CHECKING:
    import pyarrow as pa

_GROUP_ROWS = 1 << 21
_BATCH_ROWS = 1 << 18
_BLOCK_BYTES = 1 << 22
_NEEDED = ("pin_id", "board_id")
_OPTIONAL = ("weight", "time")


def read_edges(path: str | Path, *, pin_ids: Any = None, board_ids: Any = None) -> EdgeRows:
    """Read and check the edges of a file.

    Args:
        path: a Parquet file, or a CSV file whose name ends in .csv or .csv.gz.
        pin_ids: all pins, or None to take those of the file; see `PinBoardGraph.from_edges`.
        board_ids: likewise.

    Raises:
        PinGraphError: the file is missing or broken, lacks a column, or holds a bad edge.
    """
    path = Path(path)
    with _named_errors(path):
        text = not _is_parquet(path)
        pins, boards = _Side("pin", pin_ids, text), _Side("board", board_ids, text)
        weights = _Numbers("weight", check_weights, "a number", text)
        times = _Numbers("time", check_times, "an integer or a timestamp", text)
        batches = _csv_batches(path) if text else _parquet_batches(path)
        rows = 0
        for table in _groups(batches, pins, boards):
            pins.add(table["pin_id"], rows)
            boards.add(table["board_id"], rows)
            if "weight" in table.column_names:
                weights.add(table["weight"], rows)
            if "time" in table.column_names:
                times.add(table["time"], rows)
            rows += len(table)
        if not rows:
            raise PinGraphError("no edges; expected at least one")
        pin_ids, pin_rows = pins.finish()
        board_ids, board_rows = boards.finish()
        return EdgeRows(
            pins=pin_rows,
            boards=board_rows,
            weights=weights.finish(),
            times=times.finish(),
            pin_ids=pin_ids,
            board_ids=board_ids,
        )


class _Side:
    """Collects the dense indices of one side of the edges."""

    def __init__(self, what: str, universe: Any, text: bool):
        self._what = what
        self._text = text  # ids come as text, even where they are integers
        self._index = None if universe is None else universe_index(universe, what)
        self._coder = IdCoder(what)
        self._parts: list[np.ndarray] = []

    def __len__(self) -> int:
        return len(self._coder if self._index is None else self._index.ids)

    def add(self, ids: pa.ChunkedArray, first_row: int) -> None:
        import pyarrow as pa

        if self._index is None:
            part = self._coder.encode(id_column(ids, self._what, first_row))
        else:
            if self._text and self._index.ids.dtype.kind == "i":
                ids = _parsed(ids, f"{self._what} id", "an integer", [pa.int64()], first_row)
            part = self._index.find(id_column(ids, self._what, first_row), first_row)
            part = part.astype(index_dtype(len(self)), copy=False)
        self._parts.append(part)

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """Return all ids and each row's place among them."""
        if self._index is not None:
            return self._index.ids, _joined(self._parts)
        if self._text:
            self._read_integers()
        ids, ranks = self._coder.finish()
        return ids, _joined(self._parts, ranks)

    def _read_integers(self) -> None:
        import pyarrow.compute as pc

        known = self._coder.known
        if pc.all(pc.match_substring_regex(known, r"^(0|-?[1-9][0-9]{0,17})$")).as_py():
            numbers = known.cast("int64")
            negative = np.flatnonzero(numbers.to_numpy() < 0)
            if len(negative):
                row = int(np.argmax(_joined(list(self._parts)) == negative[0]))
                value = numbers[int(negative[0])]
                raise PinGraphError(f"row {row}: {self._what} id {value} is negative")
            self._coder.known = numbers


class _Numbers:
    """Collects the weights or the times of the edges, if the file has them."""

    def __init__(self, what: str, check: Callable, expected: str, text: bool):
        self._what = what
        self._check = check
        self._expected = expected
        self._text = text
        self._types = _types(what)  # those that a text may still be read as
        self._parts: list[np.ndarray] = []

    def add(self, column: pa.ChunkedArray, first_row: int) -> None:
        if self._text:
            column = _parsed(column, self._what, self._expected, self._types, first_row)
            self._types = [column.type]
        elif column.null_count:
            row = first_row + int(np.argmax(column.is_null().to_numpy()))
            raise PinGraphError(f"row {row}: the {self._what} is missing")
        else:
            from pingraph.tables import without_decimals  # imports pyarrow

            column = without_decimals(column)
        self._parts.append(self._check(column.to_numpy(), first_row))

    def finish(self) -> np.ndarray | None:
        return _joined(self._parts) if self._parts else None


def _types(what: str) -> list[pa.DataType]:
    import pyarrow as pa

    if what == "weight":
        return [pa.float64()]
    return [pa.int64(), pa.timestamp("us"), pa.timestamp("us", "UTC")]


def _parsed(
    column: pa.ChunkedArray, what: str, expected: str, types: list[pa.DataType], first_row: int
) -> pa.ChunkedArray:
    """Return texts as the first of some types that all of them can be read as."""
    for kind in types:
        if _reads_as(column, kind):
            return column.cast(kind)
    for row, text in enumerate(column):
        types = [kind for kind in types if _reads_as(text, kind)]
        if not types:
            found = f"row {first_row + row}: {what} {text.as_py()!r}"
            raise PinGraphError(f"{found}; expected {expected} (one kind in all rows)")
    raise AssertionError("a column can be read when each of its values can")


def _reads_as(text: pa.ChunkedArray | pa.Scalar, kind: pa.DataType) -> bool:
    import pyarrow as pa

    try:
        text.cast(kind)
    except pa.ArrowInvalid:
        return False
    return True


def _joined(parts: list[np.ndarray], ranks: np.ndarray | None = None) -> np.ndarray:
    """Join the parts, or `ranks` of them, and empty the list on the way to save memory."""
    dtype = parts[0].dtype if ranks is None else ranks.dtype
    whole = np.empty(sum(map(len, parts)), dtype)
    end = len(whole)
    while parts:
        part = parts.pop()
        whole[end - len(part) : end] = part if ranks is None else ranks[part]
        end -= len(part)
    return whole


def _groups(batches: Iterator[pa.RecordBatch], pins: _Side, boards: _Side) -> Iterator[pa.Table]:
    """Join batches until there are about as many rows as ids are known.

    Each group is looked up in a hash table of all ids, which this way costs no more than the rows.
    """
    import pyarrow as pa

    group: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        group.append(batch)
        rows += len(batch)
        if rows >= max(_GROUP_ROWS, len(pins), len(boards)):
            yield pa.Table.from_batches(group)
            group, rows = [], 0
    if rows:
        yield pa.Table.from_batches(group)


def _is_parquet(path: Path) -> bool:
    if path.name.endswith((".csv", ".csv.gz")):
        return False
    with path.open("rb") as file:
        if file.read(4) != b"PAR1":
            raise PinGraphError("not a Parquet file, and its name doesn't end in .csv or .csv.gz")
    return True


def _parquet_batches(path: Path) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as pq

    # These two make it read the columns of a row group bit by bit, not all at once.
    with pq.ParquetFile(path, buffer_size=_BLOCK_BYTES, pre_buffer=False) as file:
        columns = _wanted(file.schema_arrow.names)
        yield from file.iter_batches(batch_size=_BATCH_ROWS, columns=columns)


def _csv_batches(path: Path) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import csv

    # One thread: only then an error names the row.
    reading = csv.ReadOptions(block_size=_BLOCK_BYTES, use_threads=False)
    with csv.open_csv(path, read_options=reading) as file:
        names = {name.strip(): name for name in file.schema.names}
        columns = _wanted([name.strip() for name in file.schema.names])
    converting = csv.ConvertOptions(
        include_columns=[names[column] for column in columns],
        column_types={names[column]: pa.large_string() for column in columns},
    )
    with csv.open_csv(path, read_options=reading, convert_options=converting) as file:
        for batch in file:
            texts = [pc.utf8_trim_whitespace(column) for column in batch.columns]
            yield pa.RecordBatch.from_arrays(texts, names=columns)


def _wanted(found: list[str]) -> list[str]:
    """Return the columns to read."""
    for name in _NEEDED:
        if name not in found:
            columns = ", ".join(map(repr, found))
            expected = "expected 'pin_id', 'board_id' and optional 'weight' and 'time'"
            raise PinGraphError(f"no column {name!r}; found {columns}; {expected}")
    wanted = [name for name in _NEEDED + _OPTIONAL if name in found]
    for name in wanted:
        if found.count(name) > 1:
            raise PinGraphError(f"column {name!r} occurs {found.count(name)} times; expected once")
    return wanted


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    """Put the file's name before every message."""
    import pyarrow as pa

    try:
        yield
    except PinGraphError as error:
        raise PinGraphError(f"{path}: {error}") from error
    except UnicodeDecodeError as error:
        raise PinGraphError(f"{path}: not UTF-8 ({error.reason})") from error
    except (OSError, pa.ArrowException) as error:
        number = getattr(error, "errno", None)
        reason = os.strerror(number) if number else " ".join(str(error).split())
        reason = reason.replace("Row #", "line ")
        raise PinGraphError(f"{path}: {reason}") from error
