"""Sorts edges into CSR by counting, without SciPy: one thread, few bytes, duplicates merged.

Letters: E edges, N rows (the nodes of one side), M columns (the nodes of the other side).

Edges are scattered by column, then by row. Counting sort is stable, so the columns of each row come
out ascending and duplicates come to lie side by side, where one pass merges them.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from pingraph.errors import PinGraphError

_INT32_NODES = int(np.iinfo(np.int32).max)


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
    offsets = _offsets(columns, num_columns)
    entries = _empty(len(rows), index_dtype(num_rows), weights, times)
    _scatter_edges(columns, rows, weights, times, _cursor(offsets), *entries)
    by_row = transpose(_csr(offsets, entries), num_rows)
    del entries
    return _without_duplicates(by_row)


def transpose(csr: Csr, num_columns: int) -> Csr:
    """Return the other direction of the same edges: row j lists the rows of `csr` that hold j."""
    offsets = _offsets(csr.neighbors, num_columns)
    num_rows = len(csr.offsets) - 1
    out = _empty(len(csr.neighbors), index_dtype(num_rows), csr.weights, csr.times)
    _transpose(csr.offsets, csr.neighbors, csr.weights, csr.times, _cursor(offsets), *out)
    return _csr(offsets, out)


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


def largest_component(by_column: Csr, num_rows: int) -> int:
    """Return how many rows the component with most rows has; rows that share a column are joined.

    Union-find over rows alone, with path halving (Tarjan and van Leeuwen, 1984).
    """
    if num_rows == 0:
        return 0
    parents = np.arange(num_rows, dtype=np.int64)
    _join(by_column.offsets, by_column.neighbors, parents)
    return int(np.bincount(parents).max())


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


def _cursor(offsets: np.ndarray) -> np.ndarray:
    """Return where each key's next entry goes, as int32 if that fits: it has to stay in cache."""
    return offsets[:-1].astype(index_dtype(int(offsets[-1]) + 1))


def _empty(length: int, dtype: type, weights: np.ndarray | None, times: np.ndarray | None) -> tuple:
    return (
        np.empty(length, dtype),
        None if weights is None else np.empty(length, weights.dtype),
        None if times is None else np.empty(length, np.int64),
    )


def _csr(offsets: np.ndarray, entries: tuple) -> Csr:
    neighbors, weights, times = entries
    return Csr(offsets=offsets, neighbors=neighbors, weights=weights, times=times)


def _without_duplicates(csr: Csr) -> Csr:
    """Merge duplicates in the arrays of `csr`, which nobody else may hold."""
    offsets = np.empty_like(csr.offsets)
    kept = _merge(csr.offsets, csr.neighbors, csr.weights, csr.times, offsets)
    for array in (csr.neighbors, csr.weights, csr.times):
        if array is not None:
            array.resize(kept, refcheck=False)  # shrinks in place, where a copy would double it
    weights = csr.weights
    if weights is not None and kept and weights.max() > np.finfo(np.float32).max:
        raise PinGraphError("the weights of a repeated edge add up to more than float32 holds")
    return Csr(
        offsets=offsets,
        neighbors=csr.neighbors,
        weights=None if weights is None else weights.astype(np.float32, copy=False),
        times=csr.times,
    )


@njit(nogil=True, cache=True)
def _offsets(keys, count):
    """Count the keys: [2, 0, 2] of 3 gives [0, 1, 1, 3]."""
    offsets = np.zeros(count + 1, np.int64)
    for key in keys:
        offsets[key + 1] += 1
    for i in range(count):
        offsets[i + 1] += offsets[i]
    return offsets


@njit(nogil=True, cache=True)
def _scatter_edges(keys, values, weights, times, cursor, to_values, to_weights, to_times):
    """Put each edge's value where its key's next free place is.

    keys [1, 0, 1], values [7, 8, 9], cursor [0, 1] gives [8, 7, 9].
    """
    for i in range(len(keys)):
        place = cursor[keys[i]]
        cursor[keys[i]] = place + 1
        to_values[place] = values[i]
        if weights is not None:
            to_weights[place] = weights[i]
        if times is not None:
            to_times[place] = times[i]


@njit(nogil=True, cache=True)
def _transpose(offsets, neighbors, weights, times, cursor, to_values, to_weights, to_times):
    """Like `_scatter_edges` with the neighbors as keys and the row numbers as values."""
    for row in range(len(offsets) - 1):
        for i in range(offsets[row], offsets[row + 1]):
            place = cursor[neighbors[i]]
            cursor[neighbors[i]] = place + 1
            to_values[place] = row
            if weights is not None:
                to_weights[place] = weights[i]
            if times is not None:
                to_times[place] = times[i]


@njit(nogil=True, cache=True)
def _merge(offsets, neighbors, weights, times, new_offsets):
    """Merge equal neighbors in place: row [3, 3, 5] with weights [1, 2, 4] becomes [3, 5], [3, 4].

    Returns the number of entries that are left.
    """
    kept = 0
    new_offsets[0] = 0
    for row in range(len(offsets) - 1):
        i = offsets[row]
        while i < offsets[row + 1]:
            end = i + 1
            while end < offsets[row + 1] and neighbors[end] == neighbors[i]:
                end += 1
            neighbors[kept] = neighbors[i]
            if weights is not None:
                weights[kept] = weights[i] if end == i + 1 else _sum(weights[i:end])
            if times is not None:
                times[kept] = times[i] if end == i + 1 else times[i:end].min()
            kept += 1
            i = end
        new_offsets[row + 1] = kept
    return kept


@njit(nogil=True, cache=True)
def _sum(values):
    total = 0.0
    for value in np.sort(values):
        total += value
    return total


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
