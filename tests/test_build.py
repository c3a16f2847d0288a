"""The counting sort behind a graph, against sorting with Python, and its small companions."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from pingraph.build import (
    Csr,
    csr_from_edges,
    drop_empty,
    find_fault,
    keep_entries,
    largest_component,
    transpose,
)
from pingraph.errors import PinGraphError

quick = settings(deadline=None, max_examples=60)
NUM_ROWS, NUM_COLUMNS = 5, 4


@st.composite
def columns(draw):
    """Draw rows, columns, weights and times of up to 20 edges, many of them twice."""
    pairs = st.tuples(st.integers(0, NUM_ROWS - 1), st.integers(0, NUM_COLUMNS - 1))
    drawn = draw(st.lists(pairs, max_size=20))
    rows, cols = np.array(drawn, np.int64).reshape(-1, 2).T.copy()
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    weights = rng.lognormal(0, 3, len(rows)).astype(np.float32) if draw(st.booleans()) else None
    times = rng.integers(-9, 9, len(rows)) if draw(st.booleans()) else None
    return rows, cols, weights, times


def build(rows, cols, weights, times):
    return csr_from_edges(rows, cols, weights, times, num_rows=NUM_ROWS, num_columns=NUM_COLUMNS)


def entries(csr):
    """Return (row, column, weight or 0, time or 0) of each entry in order."""
    rows = np.repeat(np.arange(len(csr.offsets) - 1), np.diff(csr.offsets))
    nothing = np.zeros(len(rows), int)
    weights = nothing if csr.weights is None else csr.weights
    times = nothing if csr.times is None else csr.times
    parts = (rows, csr.neighbors, weights, times)
    return list(zip(*(part.tolist() for part in parts), strict=True))


@quick
@given(columns())
def test_edges_come_out_sorted_and_merged(case):
    rows, cols, weights, times = case
    expected = []
    for row, col in sorted(set(zip(rows.tolist(), cols.tolist(), strict=True))):
        same = (rows == row) & (cols == col)
        weight = 0.0 if weights is None else np.float32(np.sort(weights[same]).astype(float).sum())
        expected.append((row, col, weight, 0 if times is None else times[same].min()))
    csr = build(*case)
    assert entries(csr) == expected
    assert (csr.offsets[0], csr.offsets[-1], len(csr.offsets)) == (0, len(expected), NUM_ROWS + 1)
    assert find_fault(csr, NUM_COLUMNS) is None


@quick
@given(columns())
def test_turning_twice_changes_nothing(case):
    csr = build(*case)
    turned = transpose(csr, NUM_COLUMNS)
    assert find_fault(turned, NUM_ROWS) is None
    assert sorted((col, row, w, t) for row, col, w, t in entries(csr)) == entries(turned)
    assert entries(transpose(turned, NUM_ROWS)) == entries(csr)


@quick
@given(columns(), st.integers(0, 99))
def test_keeping_and_dropping_keep_the_rest(case, seed):
    csr = build(*case)
    keep = np.random.default_rng(seed).random(len(csr.neighbors)) < 0.5
    some = keep_entries(csr, keep)
    assert entries(some) == [entry for entry, kept in zip(entries(csr), keep, strict=True) if kept]
    used = np.zeros(NUM_COLUMNS, bool)
    used[some.neighbors] = True
    rows = np.diff(some.offsets) > 0
    packed = drop_empty(some, rows, used)
    row_names, column_names = np.flatnonzero(rows), np.flatnonzero(used)
    names = [(row_names[row], column_names[col], w, t) for row, col, w, t in entries(packed)]
    assert names == entries(some)
    assert find_fault(packed, int(used.sum())) is None


@quick
@given(columns())
def test_the_largest_component_is_that_of_scipy(case):
    csr = build(*case)
    square = sp.lil_array((NUM_ROWS + NUM_COLUMNS,) * 2)
    for row, col, _, _ in entries(csr):
        square[row, NUM_ROWS + col] = 1
    _, labels = sp.csgraph.connected_components(square, directed=False)
    expected = np.bincount(labels[:NUM_ROWS]).max()
    assert largest_component(transpose(csr, NUM_COLUMNS), NUM_ROWS) == expected


def test_a_long_chain_is_one_component():
    pins = np.arange(20_000).repeat(2)[1:-1]
    boards = np.random.default_rng(0).permutation(19_999).repeat(2)
    csr = csr_from_edges(pins, boards, None, None, num_rows=20_000, num_columns=19_999)
    assert largest_component(transpose(csr, 19_999), 20_000) == 20_000


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("writable", [True, False])
def test_indices_of_any_width_build_the_same(dtype, writable):
    rows = np.array([3, 0, 3, 1], dtype)
    rows.flags.writeable = writable
    csr = build(rows, np.array([1, 2, 1, 0], dtype), None, None)
    assert entries(csr) == [(0, 2, 0, 0), (1, 0, 0, 0), (3, 1, 0, 0)]
    assert csr.neighbors.dtype == np.int32


def test_weights_are_summed_as_float64_and_stored_as_float32():
    weights = np.array([1.0] + [2.0**-24] * 4)
    csr = build(np.zeros(5, int), np.zeros(5, int), weights, None)
    assert csr.weights.dtype == np.float32
    assert csr.weights.tolist() == [1 + 2.0**-22]
    assert weights.tolist() == [1.0] + [2.0**-24] * 4


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_sum_that_float32_cannot_hold_is_refused(dtype):
    with pytest.raises(PinGraphError, match="add up to more than float32 holds"):
        build(np.zeros(2, int), np.zeros(2, int), np.array([3e38, 1e38], dtype), None)


@pytest.mark.parametrize(
    ("offsets", "neighbors", "fault"),
    [
        ([0, 2, 1, 2], [0, 1], "row 1 begins after its end"),
        ([0, 1, 3, 2], [0, 1], "row 1 begins after its end or beyond the edges"),
        ([-1, 0, 1, 2], [0, 1], "row 0 begins after its end"),
        ([0, 1, 1, 2], [0, 9], "row 2 has a neighbor out of range"),
        ([0, 1, 1, 2], [0, -1], "row 2 has a neighbor out of range"),
        ([0, 0, 2, 2], [1, 0], "row 1 has neighbors that do not ascend"),
        ([0, 0, 2, 2], [1, 1], "row 1 has neighbors that do not ascend"),
        ([0, 0, 2, 2], [0, 1], None),
    ],
)
def test_faults_are_found(offsets, neighbors, fault):
    csr = Csr(offsets=np.array(offsets), neighbors=np.array(neighbors, np.int32))
    found = find_fault(csr, 2)
    assert found == fault if fault is None else found.startswith(fault)
