"""PageRank by push: the contract, the bound against the exact one, forced answers, a twin."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonargparse import ArgumentParser

from pingraph.errors import PinGraphError
from pingraph.graph import PinBoardGraph
from pingraph.interfaces import Sampler
from pingraph.samplers import CoBoardSampler, PinSAGESampler, PPRSampler, exact_ppr
from tests.random_twin import word
from tests.sampler_contract import SamplerContract, assert_consistent, assert_same, skewed_graph

ROUNDING = 1e-7  # float32, relative
EDGES = st.sets(st.tuples(st.integers(0, 11), st.integers(0, 5)), min_size=1, max_size=40)
RESTARTS = st.sampled_from([0.05, 0.25, 0.5, 0.9, 0.999])


class TestPPRContract(SamplerContract):
    def make(self, **arguments):
        return PPRSampler(**arguments)

    def test_seed_and_epoch_change_the_walks(self, graph):
        """They change nothing: there is no chance in it."""
        sampler, seeds = self.make(), np.arange(400)
        first = sampler.sample(graph, seeds, seed=1, epoch=0)
        for seed, epoch in [(2, 0), (1, 1), (0, 1), (2**64 - 1, 0), (1, 2**64 - 1)]:
            assert_same(sampler.sample(graph, seeds, seed=seed, epoch=epoch), first)


# The bound: for every pin, found or not, exact - epsilon · degree ≤ estimate ≤ exact.


@settings(max_examples=150, deadline=None)
@given(
    edges=EDGES,
    weights=st.none() | st.lists(st.floats(1e-3, 1e3), min_size=40, max_size=40),
    restart=RESTARTS,
    epsilon=st.sampled_from([1.0, 0.2, 0.05, 1e-2, 1e-3, 1e-5, 1e-12]),
)
def test_the_estimate_keeps_its_bound(edges, weights, restart, epsilon):
    graph = small_graph(edges, weights)
    sampler = PPRSampler(
        k=12, restart_probability=restart, epsilon=epsilon, weighted=weights is not None
    )
    least, most = bound_errors(graph, sampler, epsilon)
    assert least >= 0
    assert most <= 0


def test_the_bound_is_neither_broken_nor_idle():
    """On 40 random graphs it is kept for each epsilon, and a third of it would be too small."""
    reached = []
    for number in range(40):
        graph = random_graph(number)
        for epsilon in (0.1, 0.01, 1e-4):
            sampler = PPRSampler(k=30, restart_probability=0.3, epsilon=epsilon)
            least, most = bound_errors(graph, sampler, epsilon)
            assert least >= 0
            assert most <= 0
            reached.append(bound_errors(graph, sampler, epsilon / 3)[1] > 0)
    assert np.mean(reached) > 0.5


def bound_errors(graph, sampler, epsilon):
    """Return the least of exact - estimate, and the most by which it exceeds the bound.

    The seed itself is left out, as the sampler does. A rounding error of float32 is forgiven.
    """
    pins = np.arange(graph.num_pins)
    alpha, weighted = sampler.restart_probability, sampler.weighted
    exact = exact_ppr(graph, pins, alpha, weighted=weighted)
    off = exact - estimates(sampler.sample(graph, pins, seed=1), graph.num_pins)
    off = off[pins[:, None] != pins]
    rounding = ROUNDING * exact[pins[:, None] != pins] + 2e-12  # and what exact_ppr leaves out
    degrees = np.broadcast_to(effective_degrees(graph, weighted), exact.shape)
    limit = epsilon * degrees[pins[:, None] != pins]
    return (off + rounding).min(), (off - rounding - limit).max()


def effective_degrees(graph, weighted):
    if not weighted:
        return graph.pin_degrees
    return graph.incidence().toarray().astype(float).sum(axis=1) / graph.pin_weights.mean()


def estimates(found, num_pins):
    """Return the scores as a matrix [B, pins]."""
    scores = np.zeros((len(found.seeds), num_pins))
    rows, columns = np.nonzero(found.mask)
    scores[rows, found.ids[rows, columns]] = found.scores[rows, columns]
    return scores


def small_graph(edges, weights=None):
    pins, boards = zip(*sorted(edges), strict=True)
    weights = weights and weights[: len(pins)]
    return PinBoardGraph.from_edges(pins, boards, weights, pin_ids=range(12), board_ids=range(6))


def random_graph(number):
    """Return a random graph of 30 pins and 12 boards, with some isolated pins."""
    generator = np.random.default_rng(number)
    pins, boards = np.nonzero(generator.random((30, 12)) < generator.random(12) * 0.5)
    return PinBoardGraph.from_edges(
        np.append(pins, 0), np.append(boards, 0), pin_ids=range(30), board_ids=range(12)
    )


# What is exact, is exact.


@settings(max_examples=50, deadline=None)
@given(
    edges=EDGES,
    weights=st.none() | st.just(list(range(1, 41))),
    restart=RESTARTS | st.sampled_from([0.001, 0.01, 1 - 1e-12]),
)
def test_exact_pagerank_solves_the_equation(edges, weights, restart):
    """The sum of the series is π = α P (1 - (1 - α) P)⁻¹."""
    graph = small_graph(edges, weights)
    weighted = weights is not None
    exact = exact_ppr(graph, np.arange(12), restart, weighted=weighted)
    incidence = graph.incidence().toarray().astype(float)
    if not weighted:
        incidence = (incidence > 0).astype(float)
    forth = incidence / np.maximum(incidence.sum(axis=1, keepdims=True), 1e-9)
    steps = forth @ (incidence / np.maximum(incidence.sum(axis=0), 1e-9)).T
    solved = restart * steps @ np.linalg.inv(np.eye(12) - (1 - restart) * steps)
    assert np.abs(exact - solved).sum(axis=1).max() <= 1e-12 + 1e-14 / restart  # and rounding
    assert not exact[graph.components()[:, None] != graph.components()].any()
    assert exact.min() >= 0


def test_the_errors_of_a_row_sum_to_what_is_promised():
    """On a chain the error falls slowly, so that stopping too early would show."""
    chain = PinBoardGraph.from_edges(np.arange(60).repeat(2)[1:-1], np.arange(59).repeat(2))
    incidence = chain.incidence().toarray().astype(float)
    steps = incidence / incidence.sum(axis=1, keepdims=True) @ (incidence / incidence.sum(0)).T
    solved = 0.1 * steps @ np.linalg.inv(np.eye(60) - 0.9 * steps)
    assert np.abs(exact_ppr(chain, np.arange(60), 0.1) - solved).sum(axis=1).max() <= 1e-12


def test_walks_tend_to_it():
    """Long PinSAGE walks visit as PageRank says: four standard deviations of 3,000 walks."""
    graph, pins = random_graph(5), np.arange(30)
    sampler = PinSAGESampler(k=30, num_walks=3_000, walk_length=40, restart_probability=0.4)
    visits = estimates(sampler.sample(graph, pins, seed=1), 30) * 0.4 / 3_000
    exact = exact_ppr(graph, pins, 0.4) * (pins[:, None] != pins)
    assert exact.sum(axis=1).max() > 0.7
    np.testing.assert_allclose(visits, exact, atol=0.03)
    assert np.abs(visits - exact).sum(axis=1).max() < 0.15


def test_exact_rows_are_those_of_the_seeds():
    graph = random_graph(3)
    whole = exact_ppr(graph, np.arange(30))
    np.testing.assert_array_equal(exact_ppr(graph, np.array([4, 9, 4])), whole[[4, 9, 4]])
    np.testing.assert_array_equal(exact_ppr(graph, np.arange(30), num_threads=3), whole)
    assert exact_ppr(graph, []).shape == (0, 30)


# Forced answers.


def test_on_a_star_all_pins_have_an_equal_share():
    star = PinBoardGraph.from_edges(range(5), [0] * 5)
    found = PPRSampler(epsilon=1e-9).sample(star, [2], seed=1)
    assert sorted(found.ids[0].tolist()) == [-1] * 6 + [0, 1, 3, 4]
    np.testing.assert_allclose(found.scores[0, :4], 0.2, rtol=1e-6)
    np.testing.assert_allclose(found.weights[0, :4], 0.25)


def test_on_a_path_it_is_what_pen_and_paper_give():
    """0 -a- 1 -b- 2, restart ½: π = ½P + ¼P² + …; from 0: π(1) = 4/10, π(2) = 1/10."""
    path = PinBoardGraph.from_edges([0, 1, 1, 2], [0, 0, 1, 1])
    found = PPRSampler(k=2, epsilon=1e-9).sample(path, [0], seed=1)
    P = np.array([[2, 2, 0], [1, 2, 1], [0, 2, 2]]) / 4
    exact = 0.5 * P @ np.linalg.inv(np.eye(3) - 0.5 * P)
    assert found.ids[0].tolist() == [1, 2]
    np.testing.assert_allclose(found.scores[0], exact[0, 1:], atol=3e-9)


def test_a_few_pushes_are_those_of_the_page():
    """Pins 0 and 1 on one board, restart ½: ¼, ⅜, 7/16 … by the number of pushes."""
    pair = PinBoardGraph.from_edges([0, 1], [0, 0])
    cases = [(1, 0), (0.99, 2), (0.5, 2), (0.49, 3), (0.25, 3), (0.24, 3.5), (0.12, 3.75)]
    for epsilon, eighths in cases:
        found = PPRSampler(k=1, epsilon=epsilon).sample(pair, [0], seed=1)
        assert found.scores[0, 0] == eighths / 8, epsilon


def test_almost_sure_restarts_leave_one_traversal():
    graph, pins = random_graph(2), np.arange(30)
    sampler = PPRSampler(k=30, restart_probability=1 - 1e-9, epsilon=1e-6)
    one = CoBoardSampler(k=30, draws=4_000, weighting="inverse_size")
    mates = one.sample(graph, pins, seed=1)
    found = sampler.sample(graph, pins, seed=1)
    for row in range(30):
        assert set(found.ids[row].tolist()) == set(mates.ids[row].tolist())


def test_heavy_edges_draw_mass():
    """Pin 0 shares one board with each of two pins; the board of weight 3 gets thrice the mass."""
    pins, boards, weights = [0, 1, 0, 2], [0, 0, 1, 1], [3.0, 3.0, 1.0, 1.0]
    graph = PinBoardGraph.from_edges(pins, boards, weights)
    found = PPRSampler(k=2, weighted=True, epsilon=1e-9).sample(graph, [0], seed=1)
    assert found.ids[0].tolist() == [1, 2]
    np.testing.assert_allclose(found.scores[0, 0] / found.scores[0, 1], 3, rtol=1e-6)
    found = PPRSampler(k=2, epsilon=1e-9).sample(graph, [0], seed=1)
    np.testing.assert_allclose(found.scores[0, 0], found.scores[0, 1], rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_the_unit_of_the_weights_does_not_matter(scale):
    pins, boards = random_graph(4).edges()
    weights = np.random.default_rng(4).random(len(pins)) + 0.1
    args = {"pin_ids": range(30), "board_ids": range(12)}
    plain, scaled = (
        PinBoardGraph.from_edges(pins, boards, weights * by, **args) for by in (1, scale)
    )
    sampler = PPRSampler(k=30, weighted=True, epsilon=1e-3)
    found, expected = (sampler.sample(graph, range(30), seed=1) for graph in (scaled, plain))
    np.testing.assert_allclose(estimates(found, 30), estimates(expected, 30), rtol=1e-5)


def test_equal_weights_are_no_weights():
    graph = random_graph(6)
    heavy = PinBoardGraph.from_edges(
        *graph.edges(), np.full(graph.num_edges, 4.0), pin_ids=range(30), board_ids=range(12)
    )
    found = PPRSampler(k=30, weighted=True).sample(heavy, range(30), seed=1)
    assert_same(found, PPRSampler(k=30).sample(graph, range(30), seed=1))


# No index is favored, and the rest of the graph is not looked at.


def test_ties_are_broken_by_no_index():
    star = PinBoardGraph.from_edges(range(201), [0] * 201)
    ids = PPRSampler(k=10).sample(star, range(201), seed=1).ids
    assert (ids >= 0).all()
    assert abs((ids < 100).mean() - 0.5) < 0.08  # seven standard deviations
    assert len(np.unique(ids)) > 195  # other seeds choose others


def test_new_numbers_for_pins_and_boards_change_nothing():
    generator = np.random.default_rng(0)
    graph = random_graph(7)
    pins, boards = graph.edges()
    new_pins, new_boards = generator.permutation(30), generator.permutation(12)
    other = PinBoardGraph.from_edges(
        new_pins[pins], new_boards[boards], pin_ids=range(30), board_ids=range(12)
    )
    sampler = PPRSampler(k=30, epsilon=1e-2)
    before = estimates(sampler.sample(graph, np.arange(30), seed=1), 30)
    after = estimates(sampler.sample(other, new_pins, seed=1), 30)
    np.testing.assert_allclose(after[:, new_pins], before, rtol=1e-6)


def test_edges_out_of_reach_change_nothing():
    pins, boards = random_graph(8).edges()
    alone = PinBoardGraph.from_edges(pins, boards, pin_ids=range(60), board_ids=range(24))
    joined = PinBoardGraph.from_edges(
        np.append(pins, pins + 30), np.append(boards, boards + 12), pin_ids=range(60)
    )
    sampler = PPRSampler(k=30)
    assert_same(sampler.sample(joined, range(30), seed=1), sampler.sample(alone, range(30), seed=1))


def test_a_seed_above_the_threshold_has_no_neighbors_and_leaves_nothing_behind():
    star = PinBoardGraph.from_edges([0] * 30 + list(range(1, 31)), list(range(30)) * 2)
    sampler = PPRSampler(epsilon=0.07)
    found = sampler.sample(star, [0, 1], seed=1)
    assert found.mask.any(axis=1).tolist() == [False, True]  # 30 · 0.07 / 2 is above 1
    np.testing.assert_array_equal(found.scores[1:], sampler.sample(star, [1], seed=1).scores)
    assert PPRSampler(epsilon=0.03).sample(star, [0], seed=1).mask.any()


# A plain twin: the same pushes, in dictionaries.


@settings(max_examples=60, deadline=None)
@given(
    edges=EDGES,
    k=st.integers(1, 14),
    restart=RESTARTS,
    epsilon=st.sampled_from([0.3, 0.05, 1e-2, 1e-4]),
)
def test_it_equals_its_plain_twin(edges, k, restart, epsilon):
    graph = small_graph(edges)
    sampler = PPRSampler(k=k, restart_probability=restart, epsilon=epsilon)
    found = sampler.sample(graph, range(12), seed=1)
    for pin in range(12):
        expected = twin(graph, pin, sampler)
        padding = k - len(expected)
        assert found.ids[pin].tolist() == [i for i, _ in expected] + [-1] * padding
        assert found.scores[pin].tolist() == [s for _, s in expected] + [0] * padding


def twin(graph, start, sampler):
    """Return the (pin, score) of `sampler`, as docs/ppr.md tells it."""
    alpha, threshold = sampler.restart_probability, sampler.epsilon / 2
    estimate, on_pins, on_boards = {}, {start: 1.0}, {}
    queue = [("pin", start)] if threshold * len(graph.boards_of(start)) < 1 else []
    while queue and len(graph.boards_of(start)):
        kind, node = queue.pop(0)
        if kind == "pin":
            neighbors, other, degrees = graph.boards_of(node), "board", graph.board_degrees
            mass, filled, passed_on = on_pins.pop(node), on_boards, 1.0
        else:
            neighbors, other, degrees = graph.pins_of(node), "pin", graph.pin_degrees
            mass, filled, passed_on = on_boards.pop(node), on_pins, 1 - alpha
        for neighbor in neighbors.tolist():
            if kind == "board":
                kept = alpha * (mass / len(neighbors))
                estimate[neighbor] = estimate.get(neighbor, 0.0) + kept
            before = filled.get(neighbor, 0.0)
            filled[neighbor] = before + passed_on * (mass / len(neighbors))
            if before <= threshold * degrees[neighbor] < filled[neighbor]:
                queue.append((other, neighbor))
    estimate.pop(start, None)
    key = word(0, start)
    scores = [(pin, float(np.float32(mass))) for pin, mass in estimate.items()]
    return sorted(scores, key=lambda item: (-item[1], word(key, item[0])))[: sampler.k]


def test_any_k_keeps_the_best():
    graph = skewed_graph(400, 60, 395)
    whole = PPRSampler(k=500).sample(graph, range(400), seed=1)
    for k in (1, 2, 3, 10, 64, 399):
        found = PPRSampler(k=k).sample(graph, range(400), seed=1)
        np.testing.assert_array_equal(found.ids, whole.ids[:, :k])
        np.testing.assert_array_equal(found.scores, whole.scores[:, :k])


# The promise that the numbers stay as they are, and the arguments.

GOLDEN = "1f24d245ea43c5d9131d1c1dd37e0493ff06b02830726276e1e162e761eea5d7"


@pytest.mark.parametrize("num_threads", [1, 2, 8])
def test_golden(num_threads):
    """A change of this hash changes the results of everybody: say so in the changelog."""
    numbers = np.arange(3_000)
    pins, boards = numbers * numbers % 503, numbers * 7 % 101  # skewed: squares
    graph = PinBoardGraph.from_edges(pins, boards)
    sampler = PPRSampler(epsilon=1e-4, num_threads=num_threads)
    found = sampler.sample(graph, np.arange(graph.num_pins), seed=0)
    digest = hashlib.sha256(found.ids.astype("<i8").tobytes())
    digest.update(found.scores.astype("<f4").tobytes())
    assert digest.hexdigest() == GOLDEN


@pytest.mark.parametrize("name", ["k", "num_threads"])
@pytest.mark.parametrize("value", [0, -1, 1.0, "3", True, None, 2**40])
def test_a_whole_number_out_of_range_is_refused(name, value):
    with pytest.raises(
        PinGraphError, match=f"^{name} is {value!r}; expected a whole number from 1"
    ):
        PPRSampler(**{name: value})


@pytest.mark.parametrize("value", [-0.1, 0, 1e-4, 1, 1.5, float("nan"), True, "0.5", None])
def test_a_restart_probability_out_of_range_is_refused(value):
    message = f"^restart_probability is {value!r}; expected a number from 0.001 to below 1"
    with pytest.raises(PinGraphError, match=message):
        PPRSampler(restart_probability=value)
    with pytest.raises(PinGraphError, match=message):
        exact_ppr(random_graph(0), [0], value)


@pytest.mark.parametrize("value", [-0.1, 0, 1e-13, 1.5, float("nan"), True, "0.5", None])
def test_an_epsilon_out_of_range_is_refused(value):
    with pytest.raises(PinGraphError, match=f"^epsilon is {value!r}; expected a number from 1e-12"):
        PPRSampler(epsilon=value)


@pytest.mark.parametrize("value", [0, 1, None, "yes"])
def test_weighted_is_yes_or_no(value):
    with pytest.raises(PinGraphError, match=f"^weighted is {value!r}; expected True or False"):
        PPRSampler(weighted=value)
    with pytest.raises(PinGraphError, match=f"^weighted is {value!r}; expected True or False"):
        exact_ppr(random_graph(0), [0], weighted=value)


def test_a_graph_without_weights_is_refused():
    with pytest.raises(PinGraphError, match="weighted=True needs edge weights"):
        PPRSampler(weighted=True).sample(random_graph(0), [0], seed=1)
    with pytest.raises(PinGraphError, match="weighted=True needs edge weights"):
        exact_ppr(random_graph(0), [0], weighted=True)


def test_a_graph_without_edges_has_no_neighbors():
    graph = random_graph(0)
    empty = graph.keep_edges(np.zeros(graph.num_edges, bool))
    assert not PPRSampler().sample(empty, range(30), seed=1).mask.any()
    assert not exact_ppr(empty, range(30)).any()


def test_exact_refuses_unknown_seeds():
    with pytest.raises(PinGraphError, match=r"seeds\[1\] is 30; .* 0 to 29"):
        exact_ppr(random_graph(0), [0, 30])


def test_it_is_chosen_by_class_path():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--sampler", type=Sampler)
    arguments = ["--sampler=pingraph.samplers.PPRSampler", "--sampler.epsilon=1e-6"]
    chosen = parser.instantiate(parser.parse_args(arguments))
    assert chosen.sampler == PPRSampler(epsilon=1e-6)


def test_the_code_of_the_page_runs():
    page = (Path(__file__).parent.parent / "docs" / "ppr.md").read_text(encoding="utf-8")
    names = {}
    for block in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(block, names)
    assert_consistent(names["found"], names["graph"], 2)
