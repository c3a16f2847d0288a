"""External ids (integers or strings): what may be one, and how ids become dense indices and back.

A column of ids is a NumPy int64 array or, for strings, an Arrow large_string array: a fifth of the
memory of NumPy's fixed-width strings, and Arrow hashes it. Row numbers in messages count from 0.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from pingraph.build import index_dtype
from pingraph.compiled import njit
from pingraph.errors import PinGraphError

if TYPE_CHECKING:
    import pyarrow as pa

    IdColumn: TypeAlias = np.ndarray | pa.LargeStringArray

_EXPECTED = "expected non-negative integers or strings"


def id_column(values: Any, what: str, first_row: int = 0) -> IdColumn:
    """Check ids and return them as int64 array or Arrow large_string array.

    Args:
        values: a one-dimensional NumPy array, list or Arrow array of integers or strings.
        what: "pin" or "board", for messages.
        first_row: the number of the first row, for messages.

    Raises:
        PinGraphError: a value is missing, negative, empty or of another type.
    """
    import pyarrow as pa

    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        column = _from_arrow(values, what, first_row)
    else:
        column = _from_numpy(values, what, first_row)
    if not isinstance(column, np.ndarray):
        _refuse_bad_strings(column, what, first_row)
    elif len(column) and column.min() < 0:
        _refuse(column < 0, column, f"{what} id %s is negative", first_row)
    return column


def id_array(column: IdColumn) -> np.ndarray:
    """Return ids as a graph keeps them: int64 or NumPy unicode strings."""
    if isinstance(column, np.ndarray):
        return column
    return np.array(column.to_pylist(), dtype=np.str_) if len(column) else np.empty(0, "<U1")


def universe_index(ids: Any, what: str) -> IdIndex:
    """Return the index of all ids of one side, in the order of their dense indices.

    Raises:
        PinGraphError: an id is not one (see `id_column`), or occurs twice.
    """
    try:
        # A copy, lest the caller's array changes a graph afterwards.
        index = IdIndex(id_array(id_column(ids, what)).copy(), what)
        index.refuse_duplicates()
    except PinGraphError as error:
        raise PinGraphError(f"{what}_ids: {error}") from error
    return index


class IdIndex:
    """Finds the dense index of an id among all ids of one side of a graph.

    Nothing is built before the first search, and nothing at all for the integers 0 … n - 1.
    """

    def __init__(self, ids: np.ndarray, what: str):
        self.ids = ids  # int64 or str [n], all different
        self.what = what

    def find(self, column: IdColumn, first_row: int = 0) -> np.ndarray:
        """Return the dense index of each id, as int64 or int32.

        Raises:
            PinGraphError: an id is unknown, or of the other type.
        """
        if not len(column):
            return np.empty(0, np.int64)
        mine = self.ids.dtype.kind == "i"
        if mine != isinstance(column, np.ndarray):
            kinds = ("integers", "strings") if mine else ("strings", "integers")
            raise PinGraphError(f"the {self.what} ids are {kinds[0]}, but {kinds[1]} were given")
        if self._is_range:
            if column.max() >= len(self.ids):
                _refuse(column >= len(self.ids), column, f"unknown {self.what} id %s", first_row)
            return column
        if len(column) * 8 < len(self.ids):
            return self._find_by_search(column, first_row)
        return self._find_by_hash(column, first_row)

    def refuse_duplicates(self) -> None:
        """Raise PinGraphError, with both rows and how many more, when an id occurs twice."""
        if self._is_range or self._is_ascending:
            return
        ordered = self.ids[self._order]
        twice = np.flatnonzero(ordered[1:] == ordered[:-1])
        if len(twice):
            first, second = self._order[twice[0]], self._order[twice[0] + 1]
            name = self.ids[first].item()
            others = len(np.unique(ordered[twice])) - 1
            more = f" (and {others:,} more)" if others else ""
            raise PinGraphError(
                f"{self.what} id {name!r} occurs twice, in rows {first} and {second}{more}"
            )

    @cached_property
    def _is_range(self) -> bool:
        ids = self.ids
        return ids.dtype.kind == "i" and bool((ids == np.arange(len(ids))).all())

    @cached_property
    def _is_ascending(self) -> bool:
        return bool((self.ids[1:] > self.ids[:-1]).all())

    @cached_property
    def _order(self) -> np.ndarray:
        return np.argsort(self.ids, kind="stable")

    def _find_by_search(self, column: IdColumn, first_row: int) -> np.ndarray:
        wanted = id_array(column)
        order = None if self._is_ascending else self._order
        places = np.searchsorted(self.ids, wanted, sorter=order)
        places = np.minimum(places, len(self.ids) - 1)
        if order is not None:
            places = order[places]
        missing = self.ids[places] != wanted
        _refuse(missing, column, f"unknown {self.what} id %s", first_row)
        return places

    def _find_by_hash(self, column: IdColumn, first_row: int) -> np.ndarray:
        found = _index_in(column, _to_arrow(self.ids))
        _refuse(found < 0, column, f"unknown {self.what} id %s", first_row)
        return found


class IdCoder:
    """Numbers ids by first appearance, batch by batch, when nobody said which ids there are."""

    def __init__(self, what: str):
        self.what = what
        self.known: Any = None  # int64 or large_string, in the order of the codes

    def __len__(self) -> int:
        return 0 if self.known is None else len(self.known)

    def encode(self, column: IdColumn) -> np.ndarray:
        """Return int32 codes [len(column)]; a new id gets the next free code."""
        import pyarrow as pa

        values = _to_arrow(column)
        if self.known is None:
            encoded = values.dictionary_encode()
            self.known = encoded.dictionary
            return encoded.indices.to_numpy()
        codes = _index_in(values, self.known)
        new = codes < 0
        if new.any():
            encoded = values.filter(pa.array(new)).dictionary_encode()
            codes = np.where(new, 0, codes)
            codes[new] = encoded.indices.to_numpy() + len(self.known)
            self.known = pa.concat_arrays([self.known, encoded.dictionary])
        return codes

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """Return all ids in ascending order, and for each code its place in that order (int32)."""
        import pyarrow.compute as pc

        order = pc.array_sort_indices(self.known)
        ids = self.known.take(order)
        ranks = np.empty(len(ids), np.int32)
        ranks[order.to_numpy()] = np.arange(len(ids), dtype=np.int32)
        return id_array(_from_arrow(ids, self.what, 0)), ranks


def number_ids(column: IdColumn, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct ids in ascending order, and the place of each row's id among them."""
    if isinstance(column, np.ndarray) and len(column) and column.max() < 4 * len(column):
        seen = np.zeros(column.max() + 1, np.bool_)
        _mark(column, seen)
        if seen.all():
            return np.arange(len(seen)), column
        places = np.cumsum(seen, dtype=index_dtype(len(seen))) - 1
        # NumPy asks the system for huge pages; an array of numba's takes twice the time to fill.
        found = np.empty(len(column), places.dtype)
        _look_up(places, column, found)
        return np.flatnonzero(seen), found
    coder = IdCoder(what)
    codes = coder.encode(column)
    ids, ranks = coder.finish()
    return ids, ranks[codes]


@njit(nogil=True, cache=True)
def _mark(column, seen):
    for value in column:
        seen[np.uint64(value)] = True


@njit(nogil=True, cache=True)
def _look_up(places, column, found):
    for i in range(len(column)):
        found[i] = places[np.uint64(column[i])]
    return found


def _from_numpy(values: Any, what: str, first_row: int) -> IdColumn:
    import pyarrow as pa

    if isinstance(values, np.ndarray) and values.dtype == object and values.ndim == 1:
        values = values.tolist()  # as a column of pandas is
    if isinstance(values, (list, tuple)) and any(isinstance(value, str) for value in values):
        row = next((i for i, value in enumerate(values) if not isinstance(value, str)), None)
        if row is not None:
            found = f"{what} id {values[row]!r} among strings"
            raise PinGraphError(f"row {first_row + row}: {found}; {_EXPECTED}")
        return pa.array(values, pa.large_string())
    values = np.asarray(values)
    if values.ndim != 1:
        raise PinGraphError(f"{what} ids have {values.ndim} dimensions; expected 1")
    if values.dtype.kind == "U":
        return pa.array(values, pa.large_string())
    if values.dtype.kind == "u" and len(values):
        _refuse(values > np.iinfo(np.int64).max, values, f"{what} id %s exceeds int64", first_row)
    if values.dtype.kind not in "iu" and len(values):
        found = f"{what} ids are {values.dtype} (row {first_row}: {values[0]!r})"
        raise PinGraphError(f"{found}; {_EXPECTED}")
    return np.ascontiguousarray(values, np.int64)


def _from_arrow(values: Any, what: str, first_row: int) -> IdColumn:
    import pyarrow as pa

    if isinstance(values, pa.ChunkedArray):
        if pa.types.is_string(values.type):  # which hold 2 GiB together at most
            values = values.cast(pa.large_string())
        values = values.combine_chunks()
    if values.null_count:
        row = int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0])
        raise PinGraphError(f"row {first_row + row}: the {what} id is missing; {_EXPECTED}")
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    if pa.types.is_integer(kind):
        return _from_numpy(values.cast(kind).to_numpy(), what, first_row)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view():
        return values.cast(pa.large_string())
    raise PinGraphError(f"{what} ids are of type {values.type}; {_EXPECTED}")


def _to_arrow(column: IdColumn) -> pa.Array:
    import pyarrow as pa

    if isinstance(column, np.ndarray):
        return pa.array(column, pa.int64() if column.dtype.kind == "i" else pa.large_string())
    return column


def _index_in(column: IdColumn, known: pa.Array) -> np.ndarray:
    """Return the place of each value among `known` as int32, or -1."""
    import pyarrow.compute as pc

    return pc.fill_null(pc.index_in(_to_arrow(column), known), -1).to_numpy()


def _refuse_bad_strings(column: pa.LargeStringArray, what: str, first_row: int) -> None:
    import pyarrow.compute as pc

    empty = pc.equal(pc.binary_length(column), 0).to_numpy(zero_copy_only=False)
    _refuse(empty, column, f"{what} id %s is empty", first_row)
    zeros = pc.match_substring(column, "\0").to_numpy(zero_copy_only=False)
    _refuse(zeros, column, f"{what} id %s holds a NUL character", first_row)


def _refuse(bad: np.ndarray, column: IdColumn, message: str, first_row: int) -> None:
    if bad.any():
        row = int(np.argmax(bad))
        value = column[row].item() if isinstance(column, np.ndarray) else column[row].as_py()
        raise PinGraphError(f"row {first_row + row}: {message % repr(value)}")
