"""Agreement of embedding and graph: equal to libraries, loops and forced answers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import laplacian, shortest_path
from sklearn.manifold import trustworthiness as sklearn_trustworthiness
from torch_geometric.metrics import LinkPredPrecision, LinkPredRecall

from pingraph import graph_ranks
from pingraph.errors import PinGraphError
from pingraph.graph import PinBoardGraph
from pingraph.graph_agreement import (
    PERSISTENCE,
    agreement_by_pin,
    dirichlet_energy,
    energy_of,
    energy_sums,
    graph_agreement,
    has_mate,
    mates_share,
    overlaps,
)
from pingraph.graph_ranks import ranks_kept
from pingraph.interfaces import EmbeddingTable, Neighbors
from pingraph.knn import nearest_neighbors
from pingraph.samplers import PinSAGESampler


def table_of(fused):
    fused = np.asarray(fused, np.float32)
    present = np.ones(len(fused), bool)
    return EmbeddingTable(
        pin_ids=np.arange(len(fused)),
        image=fused,
        text=fused,
        fused=fused,
        has_image=present,
        has_text=present,
    )


def graph_of(pins, boards, count):
    return PinBoardGraph.from_edges(np.array(pins), np.array(boards), pin_ids=np.arange(count))


def random_graph(rng, count, boards, edges):
    return graph_of(rng.integers(count, size=edges), rng.integers(boards, size=edges), count)


def unit(rng, count, width):
    vectors = rng.normal(size=(count, width))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


def neighbors_of(rows, seeds=None):
    """Return a record of lists of pins, best first."""
    ids = np.full((len(rows), max(map(len, rows), default=0)), -1, np.int64)
    for row, pins in enumerate(rows):
        ids[row, : len(pins)] = pins
    seeds = np.arange(len(rows)) if seeds is None else np.array(seeds)
    return Neighbors.from_scores(seeds=seeds, ids=ids, scores=(ids >= 0).astype(np.float32))


def mates(graph):
    """Return who shares a board with whom, bool [N, N]."""
    incidence = graph.incidence().toarray()
    shared = incidence @ incidence.T > 0
    np.fill_diagonal(shared, False)
    return shared


def edge_index(relevant):

    return torch.tensor(np.stack(np.nonzero(relevant)))


# Overlap and rank-biased overlap


def slow_biased(long, short, p):
    """Equation 32 of Webber et al., with sets."""

    def common(depth):
        return len(set(long[:depth]) & set(short[:depth]))

    k, s = len(long), len(short)
    first = sum(common(d) / d * p**d for d in range(1, k + 1))
    second = sum(common(s) * (d - s) / (s * d) * p**d for d in range(s + 1, k + 1))
    last = ((common(k) - common(s)) / k + common(s) / s) * p**k
    return (1 - p) / p * (first + second) + last


@st.composite
def two_lists(draw):
    pins = st.permutations(range(12))
    return draw(pins)[: draw(st.integers(1, 8))], draw(pins)[: draw(st.integers(1, 12))]


@given(st.lists(two_lists(), min_size=1, max_size=6))
@settings(deadline=None, max_examples=100)
def test_overlaps_equal_sets(pairs):
    for near, walked in pairs:
        shared, biased = overlaps(np.int32([near]), neighbors_of([walked]).ids)
        cut = walked[: len(near)]
        assert shared[0] == pytest.approx(len(set(near) & set(cut)) / len(cut))
        assert biased[0] == pytest.approx(slow_biased(near, cut, PERSISTENCE))
        assert 0 <= biased[0] <= 1 + 1e-12


def test_overlap_equals_pyg_and_is_forced_at_its_ends():
    rng = np.random.default_rng(0)
    near = np.array([rng.permutation(40)[:6] for _ in range(30)], np.int32)
    walked = np.array([rng.permutation(40)[:6] for _ in range(30)], np.int64)
    shared, _ = overlaps(near, walked)
    relevant = np.zeros((30, 40), bool)
    relevant[np.arange(30)[:, None], walked] = True
    metric = LinkPredRecall(6)
    metric.update(torch.tensor(near), edge_index(relevant))
    assert shared.mean() == pytest.approx(float(metric.compute()), rel=1e-6)
    assert overlaps(near, near.astype(np.int64)) == pytest.approx((1, 1))
    assert overlaps(near, near.astype(np.int64) + 40) == pytest.approx((0, 0))
    swapped = near[:, [1, 0, 2, 3, 4, 5]].astype(np.int64)
    late = near[:, [0, 1, 2, 3, 5, 4]].astype(np.int64)
    first, last = (overlaps(near, lists) for lists in (swapped, late))
    assert (first[0] == 1).all()
    assert (first[1] < last[1]).all()  # the first places weigh more
    assert (last[1] < 1).all()


# Board purity


@pytest.mark.parametrize("seed", range(3))
def test_purity_equals_pyg_and_a_product(seed):

    rng = np.random.default_rng(seed)
    graph, table = random_graph(rng, 80, 25, 110), table_of(unit(rng, 80, 6))
    knn = nearest_neighbors(table.fused, 7)
    shared = mates(graph)
    assert np.array_equal(has_mate(graph), shared.any(axis=1))
    hits = np.take_along_axis(shared, knn.ids, axis=1)
    asked = np.flatnonzero(shared.any(axis=1))
    walks = PinSAGESampler(k=7).sample(graph, np.arange(80), seed=0)
    values = agreement_by_pin(table, graph, knn, walks)["board_purity@7"]
    assert np.array_equal(np.flatnonzero(~np.isnan(values)), asked)
    np.testing.assert_allclose(values[asked], hits[asked].mean(axis=1))
    metric = LinkPredPrecision(7)
    metric.update(torch.tensor(knn.ids[asked]), edge_index(shared[asked]))
    assert np.nanmean(values) == pytest.approx(float(metric.compute()), rel=1e-6)


def test_chance_is_the_purity_of_pins_drawn_evenly():
    rng = np.random.default_rng(0)
    graph, table = random_graph(rng, 2000, 20, 3000), table_of(unit(rng, 2000, 4))
    knn = nearest_neighbors(table.fused, 20)
    walks = PinSAGESampler(k=2).sample(graph, np.arange(5), seed=0)
    found = graph_agreement(table, graph, knn, walks, ranked=1)
    shared = mates(graph)
    expected = (shared.sum(axis=1) / 1999)[shared.any(axis=1)].mean()
    assert found["board_purity_chance@20"] == pytest.approx(expected, rel=0.05)
    assert found["board_purity@20"] == pytest.approx(expected, rel=0.1)  # vectors know nothing


def test_chance_never_draws_the_pin_itself():
    graph, vectors = graph_of(range(200), np.arange(200) // 2, 200), np.eye(200, dtype=np.float32)
    knn, walks = nearest_neighbors(vectors, 99), neighbors_of([[1], [0]])
    found = graph_agreement(table_of(vectors), graph, knn, walks, ranked=1)
    assert found["board_purity_chance@99"] == pytest.approx(1 / 199, rel=0.3)  # itself: 2 / 199


# Trustworthiness and continuity


def hops(graph):
    """Return the traversals between all pins, [N, N]; infinite where there is no way."""
    return shortest_path(mates(graph).astype(float), unweighted=True)


def slow_ranks_kept(vectors, graph, pin, k):
    count = len(vectors)
    scores = [-float(np.dot(vectors[pin], vectors[other])) for other in range(count)]
    others = [other for other in range(count) if other != pin]
    by_vector = sorted(others, key=lambda other: (scores[other], other))
    rho = {other: rank for rank, other in enumerate(by_vector, 1)}
    distances = hops(graph)[pin]
    by_graph = sorted(others, key=lambda other: (distances[other], rho[other]))
    r = {other: rank for rank, other in enumerate(by_graph, 1)}
    c = 2 / (k * (2 * count - 3 * k - 1))
    trust = 1 - c * sum(max(0, r[other] - k) for other in by_vector[:k])
    return trust, 1 - c * sum(max(0, rho[other] - k) for other in by_graph[:k])


@given(st.integers(0, 2**32), st.integers(3, 25), st.data())
@settings(deadline=None, max_examples=40)
def test_ranks_equal_loops(seed, count, data):
    rng = np.random.default_rng(seed)
    k = data.draw(st.integers(1, (count - 1) // 2))
    graph = random_graph(rng, count, data.draw(st.integers(1, 12)), count)
    vectors = unit(rng, count, 3)
    trust, continuity = ranks_kept(vectors, graph, np.arange(count), k)
    expected = [slow_ranks_kept(vectors, graph, pin, k) for pin in range(count)]
    np.testing.assert_allclose(np.stack([trust, continuity], axis=1), expected, atol=1e-12)
    assert (np.concatenate([trust, continuity]) >= -1e-12).all()


def test_trustworthiness_equals_sklearn(monkeypatch):
    rng = np.random.default_rng(1)
    graph, vectors = random_graph(rng, 120, 60, 200), unit(rng, 120, 5)
    order = np.argsort(-(vectors @ vectors.T), axis=1)
    ranks = np.argsort(order, axis=1)
    distances = np.minimum(hops(graph), 1000) + ranks / 1000  # ties in the order of the vectors
    np.fill_diagonal(distances, 0)
    expected = sklearn_trustworthiness(distances, vectors, n_neighbors=9, metric="precomputed")
    trust, _ = ranks_kept(vectors, graph, np.arange(120), 9)
    assert trust.mean() == pytest.approx(expected)
    monkeypatch.setattr(graph_ranks, "_TOGETHER", 7)  # pins at a time
    assert np.array_equal(ranks_kept(vectors, graph, np.arange(120), 9)[0], trust)


def test_a_far_neighbor_costs_more_than_a_near_one():
    # A path of pins, 0 - 1 - … - 9, by boards of two. All but pin 0 lie on a half circle in the
    # order of the path; pin 0 lies beside pin 1, then in the middle, then at the end.
    graph = graph_of([*range(9), *range(1, 10)], [*range(9), *range(9)], 10)
    kept = []
    for place in (0.9, 5.1, 9.1):
        angles = np.array([place, *range(1, 10)]) * np.pi / 12
        vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
        kept.append(np.ravel(ranks_kept(vectors, graph, np.array([0]), 2)))
    assert kept[0] == pytest.approx([1, 1])
    assert (kept[1] < kept[0]).all()
    assert (kept[2] < kept[1]).all()


@pytest.mark.parametrize("k", [0, 5, 6])
def test_ranks_need_a_neighborhood_below_half_of_the_pins(k):
    rng = np.random.default_rng(0)
    kept = ranks_kept(unit(rng, 10, 2), random_graph(rng, 10, 3, 20), np.arange(10), k)
    assert np.isnan(kept).all()


# Dirichlet energy


@pytest.mark.parametrize("seed", range(3))
def test_energy_equals_the_laplacian(seed):
    rng = np.random.default_rng(seed)
    graph, vectors = random_graph(rng, 50, 20, 130), unit(rng, 50, 4)
    incidence = graph.incidence().toarray().astype(np.float64)
    sizes = incidence.sum(axis=0)
    scale = np.where(sizes > 1, 1 / np.maximum(sizes - 1, 1), 0)
    weights = (incidence * scale) @ incidence.T
    np.fill_diagonal(weights, 0)
    degrees = weights.sum(axis=1)
    np.testing.assert_allclose(degrees, incidence[:, sizes > 1].sum(axis=1))
    center = degrees @ vectors / degrees.sum()
    energy = np.trace(vectors.T @ laplacian(weights) @ vectors)
    around = degrees @ ((vectors - center) ** 2).sum(axis=1)
    assert dirichlet_energy(vectors, graph) == pytest.approx(energy / around, rel=1e-5)


def test_energy_adds_up_over_groups_of_boards():
    rng = np.random.default_rng(3)
    graph, vectors = random_graph(rng, 60, 12, 150), unit(rng, 60, 5)
    vectors[:4] = 0
    sums = energy_sums(vectors, graph, 5)
    assert energy_of(sums.sum(0)) == pytest.approx(dirichlet_energy(vectors, graph))
    _, boards = graph.edges()
    for group in range(5):
        rest = graph.keep_edges(boards % 5 != group)
        left = energy_of(sums.sum(0) - sums[group])
        assert left == pytest.approx(dirichlet_energy(vectors, rest))


def test_energy_is_forced_at_its_ends():
    vectors = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    together = graph_of(range(12), np.arange(12) // 4, 12)
    assert dirichlet_energy(vectors, together) == 0
    opposite = np.float32([[1, 0], [-1, 0]])
    assert dirichlet_energy(opposite, graph_of([0, 1], [0, 0], 2)) == pytest.approx(2)
    rng = np.random.default_rng(0)
    many = random_graph(rng, 3000, 300, 9000)
    assert dirichlet_energy(unit(rng, 3000, 16), many) == pytest.approx(1, abs=0.02)
    assert np.isnan(dirichlet_energy(np.ones((12, 3), np.float32), together))  # all alike
    assert np.isnan(dirichlet_energy(vectors, graph_of(range(12), range(12), 12)))  # no mates
    padded = np.vstack([vectors, np.zeros((2, 3), np.float32)])
    wide = graph_of(range(14), [*(np.arange(12) // 4), 0, 1], 14)
    assert dirichlet_energy(padded, wide) == 0  # zero vectors are left out


# All together


def world():
    """Return clusters that are boards, each pin near to its board's center, and its walks."""
    rng = np.random.default_rng(0)
    boards = np.repeat(np.arange(30), 12)
    vectors = np.eye(30, dtype=np.float32)[boards] + 0.02 * unit(rng, 360, 30)
    graph = graph_of(range(360), boards, 360)
    walks = PinSAGESampler(k=11, num_walks=400, walk_length=1, restart_probability=0.0)
    return table_of(vectors), graph, walks.sample(graph, np.arange(360), seed=0)


def test_an_embedding_that_is_the_graph_agrees_with_it():
    table, graph, walks = world()
    found = graph_agreement(table, graph, nearest_neighbors(table.fused, 11), walks, ranked=50)
    for name in ("overlap@11", "board_purity@11", "trustworthiness@11", "continuity@11"):
        assert found[name] == 1
    assert found["board_purity_chance@11"] == pytest.approx(11 / 359, rel=0.2)
    assert found["dirichlet_energy"] < 0.01
    assert found["overlap@11 pins"] == 360
    assert found["trustworthiness@11 pins"] == 50
    assert 0 < found["rbo@11"] < 1


def test_the_order_of_lists_and_a_choice_of_queries_change_nothing():
    table, graph, walks = world()
    whole = agreement_by_pin(table, graph, nearest_neighbors(table.fused, 5), walks, ranked=None)
    pins = np.random.default_rng(3).permutation(360)[:40]
    some = nearest_neighbors(table.fused, 5, queries=pins)
    walks = PinSAGESampler(k=11, num_walks=400, walk_length=1, restart_probability=0.0).sample(
        graph, pins[:7], seed=0
    )
    found = agreement_by_pin(table, graph, some, walks, ranked=None)
    for name in ("overlap@5", "rbo@5"):
        np.testing.assert_array_equal(found[name][pins[:7]], whole[name][pins[:7]])
        assert (~np.isnan(found[name])).sum() == 7
    for name in ("board_purity@5", "trustworthiness@5", "continuity@5"):
        np.testing.assert_allclose(found[name][pins], whole[name][pins], atol=1e-12)
        assert (~np.isnan(found[name])).sum() == 40


def test_pins_without_vector_mates_or_walks_are_left_out():
    vectors = np.eye(8, dtype=np.float32) + 0.1
    vectors[1] = 0
    graph = graph_of([0, 1, 2, 3, 4], [0, 0, 0, 1, 1], 8)  # 5, 6 and 7 are on no board
    walks = neighbors_of([[2], [0], [], [4], [3], [], [], []])
    knn = nearest_neighbors(vectors, 2)
    values = agreement_by_pin(table_of(vectors), graph, knn, walks)
    known = {name: np.flatnonzero(~np.isnan(value)).tolist() for name, value in values.items()}
    assert known["overlap@2"] == known["rbo@2"] == [0, 3, 4]
    assert known["board_purity@2"] == known["continuity@2"] == [0, 2, 3, 4]
    assert known["board_purity_chance@2"] == known["trustworthiness@2"] == [0, 2, 3, 4]


def test_a_single_pin_has_nothing_to_agree_on():
    table, graph = table_of([[1.0, 0.0]]), graph_of([0], [0], 1)
    knn = nearest_neighbors(table.fused, 3)
    walks = PinSAGESampler().sample(graph, np.array([0]), seed=0)
    found = graph_agreement(table, graph, knn, walks)
    assert all(np.isnan(v) for name, v in found.items() if not name.endswith("pins"))
    assert all(v == 0 for name, v in found.items() if name.endswith("pins"))


def test_bad_input_is_named():
    table, graph, walks = world()
    knn = nearest_neighbors(table.fused, 2)
    with pytest.raises(PinGraphError, match="other pins"):
        graph_agreement(table_of(table.fused[1:]), graph, knn, walks)
    some = nearest_neighbors(table.fused, 2, queries=np.arange(9))
    with pytest.raises(PinGraphError, match=r"seeds\[9\] is 9, which has no neighbors"):
        graph_agreement(table, graph, some, walks)
    with pytest.raises(PinGraphError, match=r"seeds\[0\] is 360"):
        graph_agreement(table, graph, some, neighbors_of([[1]], seeds=[360]))
    larger = nearest_neighbors(np.eye(400, dtype=np.float32), 2)
    with pytest.raises(PinGraphError, match="expected pins 0 to 359"):
        graph_agreement(table, graph, larger, walks)
    with pytest.raises(PinGraphError, match="ranked is 0"):
        graph_agreement(table, graph, knn, walks, ranked=0)


def test_a_mate_on_two_boards_counts_once():
    graph = graph_of([0, 0, 1, 1, 1, 2, 3], [0, 2, 0, 1, 2, 1, 0], 4)
    others = np.int32([[1, 2, 3], [0, 2, 3]])
    np.testing.assert_allclose(mates_share(graph, np.array([0, 1]), others), [2 / 3, 1])


def test_pins_without_a_vector_change_nothing_of_the_others():
    rng = np.random.default_rng(4)
    vectors, graph = unit(rng, 60, 3), random_graph(rng, 60, 25, 110)
    walks = PinSAGESampler(k=12).sample(graph, np.arange(60), seed=0)
    expected = graph_agreement(table_of(vectors), graph, nearest_neighbors(vectors, 12), walks)
    padded = np.vstack([vectors, np.zeros((30, 3), np.float32)])
    pins, boards = graph.edges()
    shared = np.flatnonzero(graph.board_degrees > 1)[:15]  # where nobody gets a first board-mate
    wide = graph_of([*pins, *range(60, 60 + len(shared))], [*boards, *shared], 90)
    found = graph_agreement(table_of(padded), wide, nearest_neighbors(padded, 12), walks)
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_of_few_vectors_only_these_are_neighbors(count):
    vectors = np.eye(8, dtype=np.float32) * (np.arange(8) < count)[:, None]
    graph, walks = graph_of(range(8), [0] * 8, 8), neighbors_of([[1], [0]])
    found = graph_agreement(table_of(vectors), graph, nearest_neighbors(vectors, 3), walks)
    expected = 1 if count == 2 else np.nan
    for name in ("overlap@3", "board_purity@3", "board_purity_chance@3"):
        assert found[name] == pytest.approx(expected, nan_ok=True)
