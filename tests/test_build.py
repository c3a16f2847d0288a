"""The sort behind a graph, against sorting with Python, and its small companions."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from pingraph import build as build_module
from pingraph.build import (
    Csr,
    components,
    csr_from_edges,
    drop_empty,
    find_fault,
    keep_entries,
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


def plain(rows, cols, weights, times):
    """Return what `entries` should, by a dictionary of the edges of each pair, sorted."""
    same = {}
    for i, pair in enumerate(zip(rows.tolist(), cols.tolist(), strict=True)):
        same.setdefault(pair, []).append(i)
    return [
        (
            *pair,
            0 if weights is None else np.float32(sum(np.sort(weights[i]).tolist())),
            0 if times is None else times[i].min(),
        )
        for pair, i in sorted(same.items())
    ]


def check_both_ways(case, num_rows, num_columns):
    """Compare the CSR of the edges, its transpose and the transpose of that with the plain twin."""
    csr = csr_from_edges(*case, num_rows=num_rows, num_columns=num_columns)
    expected = plain(*case)
    assert entries(csr) == expected
    assert (csr.offsets[0], len(csr.offsets)) == (0, num_rows + 1)
    assert find_fault(csr, num_columns) is None
    turned = transpose(csr, num_columns)
    assert entries(turned) == sorted((col, row, w, t) for row, col, w, t in expected)
    assert len(turned.offsets) == num_columns + 1
    assert find_fault(turned, num_rows) is None
    assert entries(transpose(turned, num_rows)) == expected


@quick
@given(columns())
def test_edges_come_out_sorted_and_merged_both_ways(case):
    check_both_ways(case, NUM_ROWS, NUM_COLUMNS)


@st.composite
def skewed(draw):
    """Draw up to 300 edges of wide or narrow sides, some of them almost all at a few nodes."""
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    length = draw(st.integers(0, 300))
    sides = [draw(st.sampled_from([1, 2, 3, 40, 1000, 2**16 + 1])) for _ in range(2)]
    powers = [draw(st.sampled_from([1, 4, 50])) for _ in range(2)]
    ends = [
        (count * rng.random(length) ** power).astype(np.int64)
        for count, power in zip(sides, powers, strict=True)
    ]
    dtype = draw(st.sampled_from([None, np.float32, np.float64]))
    weights = None if dtype is None else rng.lognormal(0, 3, length).astype(dtype)
    times = rng.integers(-9, 9, length) if draw(st.booleans()) else None
    return (*ends, weights, times), *sides


@quick
@given(skewed(), st.integers(1, 8), st.integers(0, 8), st.integers(1, 12))
def test_buckets_and_digits_of_any_size_give_the_same(case, bucket, most, digit):
    # At their true sizes 300 edges would be one bucket.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build_module, "_BUCKET_BITS", bucket)
        patch.setattr(build_module, "_MOST_BUCKETS_BITS", most)
        patch.setattr(build_module, "_DIGIT_BITS", digit)
        check_both_ways(*case)


@pytest.mark.parametrize("side", ["row", "column"])
def test_many_edges_of_one_node_fill_a_bucket_alone(side):
    rng = np.random.default_rng(0)
    one, many = np.full(500_000, 7), rng.integers(0, 90_000, 500_000)
    rows, cols = (one, many) if side == "row" else (many, one)
    csr = csr_from_edges(rows, cols, None, None, num_rows=90_000, num_columns=90_000)
    turned = transpose(csr, 90_000)
    narrow, wide = (csr, turned) if side == "row" else (turned, csr)
    assert np.array_equal(narrow.neighbors, np.unique(many))
    assert narrow.offsets[7:9].tolist() == [0, len(np.unique(many))]
    assert np.array_equal(np.flatnonzero(np.diff(wide.offsets)), np.unique(many))
    assert (wide.neighbors == 7).all()


@pytest.mark.parametrize(
    ("num_columns", "dtype"),
    [(2**31 - 1, np.int32), (2**31, np.int64), (2**32, np.int64), (2**33, np.int64)],
)
@pytest.mark.parametrize("num_rows", [1, 9])
def test_columns_beyond_int32_are_kept_as_int64(num_columns, dtype, num_rows):
    rows = np.arange(300) % num_rows
    cols = num_columns - 1 - np.arange(300) % 7
    csr = csr_from_edges(rows, cols, None, None, num_rows=num_rows, num_columns=num_columns)
    assert csr.neighbors.dtype == dtype
    assert entries(csr) == plain(rows, cols, None, None)


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
def test_components_are_those_of_scipy(case):
    csr = build(*case)
    square = sp.lil_array((NUM_ROWS + NUM_COLUMNS,) * 2)
    for row, col, _, _ in entries(csr):
        square[row, NUM_ROWS + col] = 1
    _, labels = sp.csgraph.connected_components(square, directed=False)
    _, first, inverse = np.unique(labels[:NUM_ROWS], return_index=True, return_inverse=True)
    found = components(transpose(csr, NUM_COLUMNS), NUM_ROWS)
    np.testing.assert_array_equal(found, first[inverse])


def test_a_long_chain_is_one_component():
    pins = np.arange(20_000).repeat(2)[1:-1]
    boards = np.random.default_rng(0).permutation(19_999).repeat(2)
    csr = csr_from_edges(pins, boards, None, None, num_rows=20_000, num_columns=19_999)
    assert not components(transpose(csr, 19_999), 20_000).any()


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
@pytest.mark.parametrize("first", [0, 1, 5])
def test_duplicates_add_up_smallest_first(dtype, first):
    # Added to 1 + 2 ** -24 one by one the four are lost; together they tip the rounding up.
    weights = np.roll(np.array([1.0, 2.0**-24] + [2.0**-54] * 4, dtype), -first)
    csr = build(np.zeros(6, int), np.zeros(6, int), weights, None)
    assert csr.weights.tolist() == [1 + 2.0**-23]


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
