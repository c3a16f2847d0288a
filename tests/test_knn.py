"""The blocked search equals sorting all scores, and faiss; it does not depend on how it is cut."""

import faiss
import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pingraph.errors import PinGraphError
from pingraph.knn import nearest_neighbors


def by_sorting(vectors, k, queries):
    """Sort all float64 scores, rounded to float32, by (is zero, score, index)."""
    ids, scores = [], []
    for query in queries:
        row = []
        for other in range(len(vectors)):
            if other != query:
                total = sum(
                    float(a) * float(b) for a, b in zip(*vectors[[query, other]], strict=True)
                )
                row.append((not vectors[other].any(), -np.float32(total), other))
        row.sort()
        ids.append([other for *_, other in row[:k]])
        scores.append([-score for _, score, _ in row[:k]])
    return ids, scores


def unit(count, width, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@st.composite
def tables(draw):
    """Draw vectors: of a few whole numbers, so that most scores are tied; or of any."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = draw(st.integers(1, 40)), draw(st.integers(1, 5))
    if draw(st.booleans()):
        return rng.integers(-1, 2, shape).astype(np.float32)  # zero vectors are among them
    vectors = rng.normal(size=shape).astype(np.float32)
    twins = rng.integers(len(vectors), size=min(8, len(vectors)))
    vectors[twins] = vectors[0]
    return vectors


@given(tables(), st.integers(1, 12), st.integers(1, 15), st.data())
@settings(deadline=None, max_examples=80)
def test_equals_sorting_for_all_and_for_some(vectors, k, block, data):
    whole = nearest_neighbors(vectors, k, block=block)
    ids, scores = by_sorting(vectors, k, range(len(vectors)))
    assert whole.ids.tolist() == ids
    assert whole.scores.tolist() == scores
    rows = st.lists(st.integers(0, len(vectors) - 1), max_size=9)
    queries = np.array(data.draw(rows), np.int64)
    some = nearest_neighbors(vectors, k, queries=queries, block=block)
    assert np.array_equal(some.queries, queries)
    assert np.array_equal(some.ids, whole.ids[queries])
    assert np.array_equal(some.scores, whole.scores[queries])


@pytest.mark.parametrize("width", [3, 64, 200])
def test_blocks_threads_and_the_mirror_image_change_nothing(width, monkeypatch):
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 3)
    vectors = unit(3000, width)
    vectors[100:1100:200] = vectors[0]  # twins in many places of blocks
    expected = nearest_neighbors(vectors, 10)
    assert expected.ids.dtype == np.int32
    assert expected.scores.dtype == np.float32
    everyone = np.arange(3000)
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 1)
    others = [
        nearest_neighbors(vectors, 10, block=block, queries=queries)
        for block in (257, 1000)
        for queries in (None, everyone)
    ]
    for other in others:
        assert np.array_equal(other.ids, expected.ids)
        assert np.array_equal(other.scores, expected.scores)


def test_a_search_leaves_the_threads_of_torch_alone():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        nearest_neighbors(unit(300, 8), 3)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_equals_faiss():
    vectors = unit(5000, 96)
    index = faiss.IndexFlatIP(96)
    index.add(vectors)
    scores, ids = index.search(vectors, 21)
    found = nearest_neighbors(vectors, 20)
    kept = ids != np.arange(5000)[:, None]
    assert (kept.sum(axis=1) == 20).all()
    np.testing.assert_allclose(found.scores, scores[kept].reshape(5000, 20), atol=1e-6)
    assert (found.ids == ids[kept].reshape(5000, 20)).mean() > 0.9999  # rounding swaps a few


def test_a_vector_finds_its_copies_in_the_order_of_rows():
    vectors = unit(500, 33)
    vectors[[7, 450, 20, 301]] = vectors[7]
    found = nearest_neighbors(vectors, 3, block=64)
    assert found.ids[[7, 450, 20, 301]].tolist() == [
        [20, 301, 450],
        [7, 20, 301],
        [7, 301, 450],
        [7, 20, 450],
    ]


def test_many_zero_vectors_find_the_first_rows():
    vectors = np.zeros((300, 4), np.float32)
    found = nearest_neighbors(vectors, 2, block=50)
    assert found.ids[:3].tolist() == [[1, 2], [0, 2], [0, 1]]
    assert (found.ids[3:] == [0, 1]).all()
    assert (found.scores == 0).all()


def test_zero_vectors_change_nothing_between_the_others():
    vectors = unit(300, 3)
    vectors[:, 0] = np.abs(vectors[:, 0])
    vectors[::7, 0] -= 3  # these score below 0 with most
    padded = np.zeros((450, 3), np.float32)
    rows = np.sort(np.random.default_rng(1).permutation(450)[:300])
    padded[rows] = vectors
    for queries in (None, np.arange(0, 300, 3)):
        expected = nearest_neighbors(vectors, 250, queries=queries)
        found = nearest_neighbors(padded, 250, queries=None if queries is None else rows[queries])
        asked = np.isin(found.queries, rows)
        assert np.array_equal(found.ids[asked], rows[expected.ids])
        assert np.array_equal(found.scores[asked], expected.scores)


@pytest.mark.parametrize("block", [1, 7, 64])
def test_late_winners_push_out_the_last_of_equals(block):
    vectors = np.zeros((60, 2), np.float32)
    vectors[[0, *range(50, 59)], 0] = 1  # all others score 0 with row 0
    for queries in (None, np.array([0])):
        found = nearest_neighbors(vectors, 12, queries=queries, block=block)
        assert found.ids[0].tolist() == [*range(50, 59), 1, 2, 3]


def test_the_rounding_of_a_product_decides_nothing():
    # The large numbers cancel; what float32 sums leave of the small ones is noise.
    rng = np.random.default_rng(0)
    small = rng.permutation(12) / 1000
    vectors = np.ones((13, 3), np.float32)
    vectors[1:] = np.stack([np.full(12, 1e6), small, np.full(12, -1e6)], axis=1)
    found = nearest_neighbors(vectors, 5, queries=np.array([0]))
    assert found.ids[0].tolist() == (np.argsort(-small)[:5] + 1).tolist()
    assert found.scores[0] == pytest.approx([0.011, 0.010, 0.009, 0.008, 0.007])


@pytest.mark.parametrize(("count", "expected"), [(0, (0, 0)), (1, (1, 0)), (3, (3, 2))])
def test_few_vectors_have_fewer_neighbors(count, expected):
    assert nearest_neighbors(np.ones((count, 4), np.float32), 5).ids.shape == expected


def test_no_queries_find_nothing():
    found = nearest_neighbors(unit(4, 2), 2, queries=np.empty(0, np.int64))
    assert found.ids.shape == (0, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, "k is 0"),
        ({"block": 0}, "block is 0"),
        ({"vectors": np.zeros(3, np.float32)}, "float32 of shape \\(3,\\)"),
        ({"vectors": np.zeros((3, 2), int)}, "int64 of shape"),
        ({"vectors": np.float32([[1, 2], [np.nan, 0]])}, "row 1 is not finite"),
        ({"vectors": np.float32([[1, 2], [0, np.inf]])}, "row 1 is not finite"),
        ({"vectors": np.float32([[1e30, 0], [0, 1]])}, "row 0 .* too large"),
        ({"queries": np.array([0, 4])}, "queries\\[1\\] is 4; expected a row, 0 to 3"),
        ({"queries": np.array([-1])}, "queries\\[0\\] is -1"),
        ({"queries": np.array([0.5])}, "queries are float64"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {"vectors": unit(4, 2), "k": 2} | change
    with pytest.raises(PinGraphError, match=message):
        nearest_neighbors(**arguments)
