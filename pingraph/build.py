"""Turns edges into CSR, one direction of the graph, and CSR into other CSR.

Letters: E edges, N rows (the nodes of one side), M columns (the nodes of the other side).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pingraph import radix
from pingraph.compiled import njit
from pingraph.errors import PinGraphError

_INT32_NODES = int(np.iinfo(np.int32).max)
_BUCKET_BITS = 17  # edges in a bucket, if they are spread evenly: half a MiB of keys
_MOST_BUCKETS_BITS = 10  # buckets dealt out to at a time: more than that leave the cache
_DIGIT_BITS = 11  # bits sorted by in one pass: the counters take 16 KiB


@dataclass(frozen=True, kw_only=True)
class Csr:
    """One direction of a bipartite graph: row i has the entries offsets[i] … offsets[i + 1] - 1."""

    offsets: np.ndarray  # int64 [N + 1], ascending from 0 to E
    neighbors: np.ndarray  # int32 or int64 [E], columns, ascending within each row, none twice
    weights: np.ndarray | None = None  # float32 [E]
    times: np.ndarray | None = None  # int64 [E]


def index_dtype(count: int) -> type[np.signedinteger]:
    """Return int32 if the indices 0 … count - 1 fit into it, else int64."""
    return np.int32 if count <= _INT32_NODES else np.int64


def csr_from_edges(
    rows: np.ndarray,
    columns: np.ndarray,
    weights: np.ndarray | None,
    times: np.ndarray | None,
    *,
    num_rows: int,
    num_columns: int,
) -> Csr:
    """Sort edges by row and column, and merge those that occur more than once.

    Args:
        rows: int [E], each in 0 … num_rows - 1 (not checked).
        columns: int [E], each in 0 … num_columns - 1 (not checked).
        weights: float32 or float64 [E], positive. Duplicates add up: smallest first in float64, so
            that the order of the edges cannot change the sum, then rounded to float32.
        times: int64 [E]. Of duplicates the earliest stays.

    Raises:
        PinGraphError: the weights of a repeated edge add up to more than float32 holds.
    """
    low, column_bits = max(_bits(num_rows) - _bucket_bits(len(rows)), 0), _bits(num_columns)
    key_bits = low + column_bits  # a key holds the column and what the bucket leaves of the row
    starts = _bucket_starts(rows, low, num_rows)
    merged = _empty(len(rows), index_dtype(num_columns), weights, times)
    neighbors, values = merged[0], merged[1:]
    in_place = key_bits <= 8 * neighbors.itemsize  # then neighbors take the place of their keys
    key_dtype = np.dtype(f"u{neighbors.itemsize if in_place else 8}")
    keys = neighbors.view(key_dtype) if in_place else np.empty(len(rows), key_dtype)
    cursor = starts[:-1].copy()
    radix.deal_edges(rows, columns, weights, times, cursor, low, column_bits, keys, *values)
    spare = _empty(_largest(starts), key_dtype, weights, times)
    passes = -(-key_bits // _DIGIT_BITS)
    digit_bits = -(-key_bits // max(passes, 1))
    ends = np.empty((passes, 1 << digit_bits), np.uint64)
    offsets = np.zeros(num_rows + 1, np.int64)
    bits = (low, column_bits, digit_bits)
    kept = radix.sort_buckets(starts, bits, ends, keys, *values, *spare, offsets, neighbors)
    del keys  # a view would not survive what follows
    weights, times = values
    for array in merged:
        if array is not None:
            array.resize(kept, refcheck=False)  # shrinks in place, where a copy would double it
    weights = None if weights is None else _float32(weights)
    return Csr(offsets=offsets, neighbors=neighbors, weights=weights, times=times)


def transpose(csr: Csr, num_columns: int) -> Csr:
    """Return the other direction of the same edges: row j lists the rows of `csr` that hold j."""
    length = len(csr.neighbors)
    low = min(max(_bits(num_columns) - _bucket_bits(length), 0), 16)  # has to fit into uint16
    starts = _bucket_starts(csr.neighbors, low, num_columns)
    entries = _empty(length, index_dtype(len(csr.offsets) - 1), csr.weights, csr.times)
    lows = np.empty(length, np.uint16)
    arrays = (csr.offsets, csr.neighbors, csr.weights, csr.times)
    radix.deal_rows(*arrays, starts[:-1].copy(), low, lows, *entries)
    spare = _empty(_largest(starts), entries[0].dtype, csr.weights, csr.times)
    offsets = np.zeros(num_columns + 1, np.int64)
    radix.order_buckets(starts, lows, np.empty(1 << low, np.uint64), *entries, *spare, offsets)
    neighbors, weights, times = entries
    return Csr(offsets=offsets, neighbors=neighbors, weights=weights, times=times)


def keep_entries(csr: Csr, keep: np.ndarray) -> Csr:
    """Return the rows with only the entries where `keep` (bool [E]) is true."""
    before = np.zeros(len(keep) + 1, np.int64)
    np.cumsum(keep, out=before[1:])
    return Csr(
        offsets=before[csr.offsets],
        neighbors=csr.neighbors[keep],
        weights=None if csr.weights is None else csr.weights[keep],
        times=None if csr.times is None else csr.times[keep],
    )


def components(by_column: Csr, num_rows: int) -> np.ndarray:
    """Return the first row of each row's component, int64 [N]; rows of a column are joined.

    Union-find over rows alone, with path halving (Tarjan and van Leeuwen, 1984).
    """
    parents = np.arange(num_rows, dtype=np.int64)
    _join(by_column.offsets, by_column.neighbors, parents)
    return parents


def drop_empty(csr: Csr, keep_rows: np.ndarray, keep_columns: np.ndarray) -> Csr:
    """Renumber the rows and columns, without those that are not kept; these must have no entries.

    Args:
        csr: N rows and M columns.
        keep_rows: bool [N].
        keep_columns: bool [M].
    """
    offsets = np.zeros(np.count_nonzero(keep_rows) + 1, np.int64)
    np.cumsum(np.diff(csr.offsets)[keep_rows], out=offsets[1:])
    places = np.cumsum(keep_columns, dtype=np.int64) - 1
    neighbors = places[csr.neighbors].astype(index_dtype(int(keep_columns.sum())))
    return Csr(offsets=offsets, neighbors=neighbors, weights=csr.weights, times=csr.times)


def find_fault(csr: Csr, num_columns: int) -> str | None:
    """Return what makes the arrays no CSR of `num_columns` columns, or None if nothing does."""
    row, fault = _first_fault(csr.offsets, csr.neighbors, num_columns)
    return None if row < 0 else f"row {row} {_FAULTS[fault]}"


_FAULTS = (
    "begins after its end or beyond the edges",
    "has a neighbor out of range",
    "has neighbors that do not ascend",
)


def _bits(count: int) -> int:
    """Return how many bits the numbers 0 … count - 1 have."""
    return max(count - 1, 0).bit_length()


def _bucket_bits(num_edges: int) -> int:
    return min(max(num_edges.bit_length() - _BUCKET_BITS, 0), _MOST_BUCKETS_BITS)


def _bucket_starts(keys: np.ndarray, low: int, num_keys: int) -> np.ndarray:
    """Return where the bucket of each key >> low begins, and where the last one ends."""
    starts = np.zeros((max(num_keys - 1, 0) >> low) + 2, np.uint64)
    radix.count(keys, low, starts[1:])
    return np.cumsum(starts, out=starts)


def _largest(starts: np.ndarray) -> int:
    return int(np.diff(starts).max())


def _empty(
    length: int, dtype: Any, weights: np.ndarray | None, times: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    return (
        np.empty(length, dtype),
        None if weights is None else np.empty(length, weights.dtype),
        None if times is None else np.empty(length, np.int64),
    )


def _float32(weights: np.ndarray) -> np.ndarray:
    if len(weights) and weights.max() > np.finfo(np.float32).max:
        raise PinGraphError("the weights of a repeated edge add up to more than float32 holds")
    return weights.astype(np.float32, copy=False)


@njit(nogil=True, cache=True)
def _join(offsets, neighbors, parents):
    for row in range(len(offsets) - 1):
        for i in range(offsets[row] + 1, offsets[row + 1]):
            a = _root(parents, neighbors[i - 1])
            b = _root(parents, neighbors[i])
            parents[max(a, b)] = min(a, b)
    for i in range(len(parents)):
        parents[i] = _root(parents, i)


@njit(nogil=True, cache=True)
def _root(parents, node):
    while parents[node] != node:
        parents[node] = parents[parents[node]]
        node = parents[node]
    return node


@njit(nogil=True, cache=True)
def _first_fault(offsets, neighbors, num_columns):
    """Return the first row that is wrong and which of `_FAULTS` it has, or (-1, 0)."""
    for row in range(len(offsets) - 1):
        if offsets[row] < 0 or offsets[row + 1] < offsets[row] or offsets[row + 1] > len(neighbors):
            return row, 0
        for i in range(offsets[row], offsets[row + 1]):
            if neighbors[i] < 0 or neighbors[i] >= num_columns:
                return row, 1
            if i > offsets[row] and neighbors[i] <= neighbors[i - 1]:
                return row, 2
    return -1, 0
