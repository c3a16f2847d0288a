"""Pixie: the contract, forced answers, its definition plainly written and equal, the exact law."""

import hashlib
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonargparse import ArgumentParser
from scipy.stats import binom, chi2, kstest

from pingraph.errors import PinGraphError
from pingraph.graph import PinBoardGraph
from pingraph.interfaces import Sampler
from pingraph.samplers import PixieSampler
from pingraph.samplers.hooks import Walk
from pingraph.samplers.pixie import step_budgets
from tests.random_twin import WORD, choose, word
from tests.sampler_contract import SamplerContract, assert_consistent, assert_same, skewed_graph


class TestPixieContract(SamplerContract):
    def make(self, **arguments):
        return PixieSampler(num_steps=300, **arguments)


# Forced answers: graphs and settings that leave only one set of walks, or one number of visits.


def star(points):
    return PinBoardGraph.from_edges(range(points), [0] * points)


def test_all_steps_of_the_budget_are_made():
    sampler = PixieSampler(k=9, num_steps=5_000, min_visits=5_001)
    found = sampler.sample(star(5), [2], seed=1)
    assert sorted(found.ids[0].tolist()) == [-1] * 5 + [0, 1, 3, 4]
    assert found.scores.sum() == pytest.approx(4_000, abs=150)  # five standard deviations: 141
    np.testing.assert_allclose(found.weights[0, :4], 0.25, atol=0.04)


@pytest.mark.parametrize("restart", [0.0, 0.5, 1 - 1e-15])
@pytest.mark.parametrize("steps", [1, 2, 255, 256, 257, 4_000])
def test_a_budget_is_spent_to_the_step(steps, restart):
    sampler = PixieSampler(k=2, num_steps=steps, restart_probability=restart, min_visits=steps + 1)
    pair = PinBoardGraph.from_edges([0, 1], [0, 0])
    found = sampler.sample(pair, [0, 1], seed=3)
    for start in (0, 1):
        expected = visits(pair, start, steps, [start], sampler, 3, 0)
        assert found.scores[start, 0] == expected.get(1 - start, 0)


def test_walks_stop_at_the_visit_that_makes_enough_pins_visited_often():
    found = PixieSampler(num_steps=10**6, min_pins=1, min_visits=7).sample(star(2), [0], seed=1)
    assert found.scores[0].tolist() == [7] + [0] * 9
    sampler = PixieSampler(k=4, num_steps=10**6, min_pins=4, min_visits=1_000)
    scores = sampler.sample(star(5), [0], seed=1).scores[0]
    assert scores[3] == 1_000  # the last of four to get there
    assert (scores[:3] > 1_000).all()


def test_pins_of_the_query_do_not_count_for_stopping():
    sampler = PixieSampler(num_steps=10**6, min_pins=1, min_visits=5)
    found = sampler.recommend(star(3), [([0, 1], None)], seed=1)
    assert found.ids[0, 0] == 2
    assert found.scores[0, 0] == 20  # (√5 + √5)²


def test_visits_from_several_query_pins_are_boosted():
    # 0 -a- 2, 1 -b- 3 and both 0 and 1 -c- 4: 4 is half of what either reaches.
    graph = PinBoardGraph.from_edges([0, 2, 1, 3, 0, 4, 1], [0, 0, 1, 1, 2, 2, 2])
    sampler = PixieSampler(num_steps=60_000, restart_probability=1 - 1e-15, min_visits=60_001)
    found = sampler.recommend(graph, [([0, 1], None)], seed=1)
    scores = dict(zip(found.ids[0].tolist(), found.scores[0].tolist(), strict=True))
    # Of 30,000 steps from 0, a quarter visits 2, a sixth 4; likewise of those from 1.
    assert scores[2] == pytest.approx(7_500, rel=0.05)
    assert scores[3] == pytest.approx(7_500, rel=0.05)
    assert scores[4] == pytest.approx(20_000, rel=0.05)  # (2 · √5,000)²
    assert found.ids[0, 0] == 4


def test_walks_on_a_checkerboard_stay_on_their_color():
    pins, boards = np.nonzero((np.arange(8)[:, None] + np.arange(8)) % 2 == 0)
    checkerboard = PinBoardGraph.from_edges(pins, boards)
    sampler = PixieSampler(k=8, num_steps=500, restart_probability=0, min_visits=501)
    found = sampler.recommend(checkerboard, [([0, 2], None), ([1], [0.5]), ([4, 7], None)], seed=1)
    assert found.seeds.tolist() == [0, 1, 4]
    for row, expected in enumerate([{4, 6}, {3, 5, 7}, {0, 1, 2, 3, 5, 6}]):
        assert set(found.ids[row][found.mask[row]].tolist()) == expected


def test_a_pin_alone_is_recommended_for_as_it_is_sampled_for():
    graph = skewed_graph(80, 20, 75)
    sampler = PixieSampler(num_steps=1_000)
    sampled = sampler.sample(graph, range(80), seed=1, epoch=4)
    queries = [([pin], None) for pin in range(80)]
    assert_same(sampler.recommend(graph, queries, seed=1, epoch=4), sampled)


def test_a_query_is_answered_alike_among_others_and_in_any_order():
    graph, generator = skewed_graph(80, 20, 75), np.random.default_rng(1)
    queries = [(generator.permutation(80)[:n], generator.random(n) + 0.1) for n in range(1, 21)]
    sampler = PixieSampler(k=5, num_steps=400)
    whole = sampler.recommend(graph, queries, seed=1)
    assert_consistent(whole, graph, 5)
    order = generator.permutation(20)
    again = sampler.recommend(graph, [queries[i] for i in order], seed=1)
    np.testing.assert_array_equal(again.ids, whole.ids[order])
    np.testing.assert_array_equal(again.scores, whole.scores[order])
    for row in range(20):
        alone = sampler.recommend(graph, [queries[row]], seed=1)
        np.testing.assert_array_equal(alone.ids[0], whole.ids[row])


def test_the_budget_is_shared_by_degree_and_weight():
    # Degrees 1, 2 and 4, so that C = 4: s = 4, 2 (4 - ln 2), 4 (4 - ln 4), all to 1/1024.
    graph = PinBoardGraph.from_edges([0, 1, 1, 2, 2, 2, 2], [0, 0, 1, 0, 1, 2, 3], pin_ids=range(4))
    scaling = np.array([4, 2 * (4 - math.log(2)), 4 * (4 - math.log(4))])
    pins, offsets = np.array([0, 1, 2, 3, 1, 3]), np.array([0, 4, 6])
    weights = np.array([1.0, 1, 0.5, 1, 3, 1])
    budgets = step_budgets(graph, pins, weights, offsets, 10_000)
    expected = 10_000 * np.array([1, 1, 0.5]) * scaling / scaling.sum()
    np.testing.assert_allclose(budgets[:3], expected, atol=2)
    assert budgets[3:].tolist() == [0, 30_000, 0]  # without boards; alone in its query
    even = step_budgets(graph, np.array([0, 1, 2]), np.ones(3), np.array([0, 3]), 2)
    assert even.tolist() == [1, 1, 1]  # nobody is left out


# The definition, written plainly: whole numbers without bounds, walk by walk.


@settings(max_examples=60, deadline=None)
@given(
    edges=st.sets(st.tuples(st.integers(0, 11), st.integers(0, 5)), min_size=1, max_size=40),
    queries=st.lists(
        st.dictionaries(st.integers(0, 11), st.sampled_from([0.3, 1.0, 2.0]), max_size=4),
        max_size=4,
    ),
    k=st.integers(1, 15),
    num_steps=st.sampled_from([1, 7, 60, 900]),
    restart=st.sampled_from([0.0, 0.25, 0.5, 0.9, 0.999]),
    min_pins=st.integers(1, 8),
    min_visits=st.sampled_from([1, 2, 5, 40, 10**6]),
    seed=st.integers(0, WORD),
    epoch=st.integers(0, WORD),
)
def test_it_equals_its_plain_definition(
    edges, queries, k, num_steps, restart, min_pins, min_visits, seed, epoch
):
    pins, boards = zip(*edges, strict=True)
    graph = PinBoardGraph.from_edges(pins, boards, pin_ids=range(12), board_ids=range(6))
    sampler = PixieSampler(
        k=k,
        num_steps=num_steps,
        restart_probability=restart,
        min_pins=min_pins,
        min_visits=min_visits,
    )
    pairs = [(list(query), list(query.values())) for query in queries]
    found = sampler.recommend(graph, pairs, seed=seed, epoch=epoch)
    assert found.seeds.tolist() == [next(iter(query), -1) for query in queries]
    for row, query in enumerate(queries):
        expected = definition(graph, query, sampler, seed, epoch)
        padding = k - len(expected)
        assert found.ids[row].tolist() == [pin for pin, _ in expected] + [-1] * padding
        assert found.scores[row].tolist() == [score for _, score in expected] + [0] * padding


def definition(graph, query, sampler, seed, epoch):
    """Return the (pin, score) of a query {pin: weight}, as the docstring of PixieSampler tells."""
    most = max(len(graph.boards_of(pin)) for pin in range(graph.num_pins))
    scaling = {pin: scaling_factor(len(graph.boards_of(pin)), most) for pin in query}
    total = 0.0
    for factor in scaling.values():
        total += factor
    roots = {}
    for pin, weight in query.items():
        if scaling[pin]:
            budget = max(round(weight * sampler.num_steps * scaling[pin] / total), 1)
            for other, count in visits(graph, pin, budget, query, sampler, seed, epoch).items():
                roots[other] = roots.get(other, 0.0) + math.sqrt(count)
    scores = [(pin, float(np.float32(root * root))) for pin, root in roots.items()]
    return sorted(scores, key=lambda item: -item[1])[: sampler.k]


def scaling_factor(degree, most):
    return round(degree * (most - math.log(degree)) * 1024) / 1024 if degree else 0.0


def visits(graph, pin, budget, query, sampler, seed, epoch):
    """Return {pin: visits} from one query pin, in the order of the first visits."""
    counts, often, steps, walk = {}, 0, 0, 0
    while steps < budget:
        for at in walk_from(graph, pin, walk, budget - steps, sampler, seed, epoch):
            steps += 1
            if at in query or at is None:
                continue
            counts[at] = counts.get(at, 0) + 1
            often += counts[at] == sampler.min_visits
            if often == sampler.min_pins:
                return counts
        walk += 1
    return counts


def walk_from(graph, start, walk, most, sampler, seed, epoch):
    """Return the pins that a walk visits, at most `most`; None for each step not made."""
    walk_key = word(word(word(word(0, seed), epoch), start), walk)
    length = 1
    while length < most:
        if word(walk_key, 2**63 + length - 1) / 2**64 >= 1 - sampler.restart_probability:
            break
        length += 1
    pin, previous, trace = start, -1, []
    for step in range(length):
        reached = propose(graph, start, pin, previous, step, sampler, walk_key)
        if reached is None:
            return trace + [None] * (length - step)
        pin, previous = reached, pin
        trace.append(pin)
    return trace


def propose(graph, start, pin, previous, step, sampler, walk_key):
    """Return the first pin of 1,000 proposed ones that the bias accepts, or None."""
    for proposal in range(1_000):
        board, rest = choose(graph.boards_of(pin), word(walk_key, step + 2**32 * proposal))
        reached, rest = choose(graph.pins_of(board), rest)
        if sampler.bias is None:
            return int(reached)
        data = sampler.data(graph)
        walk = Walk(None, data, start, 2**63 - 1, previous, pin, int(board), step)
        if (word(rest, 2**41) >> 11) / 2**53 < sampler.bias(walk, reached):
            return int(reached)
    return None


# A bias of one's own.


def affinity(graph):
    """Return how much each pin is liked: pins from 12 on not at all."""
    pins = np.arange(graph.num_pins)
    return np.where(pins < 12, 1 / (1 + pins % 3), 0)


def likes(walk, pin):
    return walk.data[pin] * (0.5 if (walk.board + walk.step) % 2 else 1.0) * (pin != walk.previous)


def biased(**arguments):
    return PixieSampler(bias=likes, data=affinity, **arguments)


@settings(max_examples=25, deadline=None)
@given(
    edges=st.sets(st.tuples(st.integers(0, 11), st.integers(0, 5)), min_size=15, max_size=40),
    num_steps=st.sampled_from([1, 30, 700]),
    restart=st.sampled_from([0.0, 0.5]),
    min_pins=st.integers(1, 6),
    seed=st.integers(0, WORD),
)
def test_biased_walks_equal_their_plain_definition(edges, num_steps, restart, min_pins, seed):
    edges |= {(pin, 0) for pin in range(3)} | {(pin, 1) for pin in range(12)}  # nobody is alone
    pins, boards = zip(*edges, strict=True)
    graph = PinBoardGraph.from_edges(pins, boards, pin_ids=range(12), board_ids=range(6))
    sampler = biased(
        num_steps=num_steps, restart_probability=restart, min_pins=min_pins, min_visits=20
    )
    found = sampler.recommend(graph, [([3, 0], [1.0, 2.0])], seed=seed)
    expected = definition(graph, {3: 1.0, 0: 2.0}, sampler, seed, 0)
    assert found.ids[0][found.mask[0]].tolist() == [pin for pin, _ in expected]
    assert found.scores[0][found.mask[0]].tolist() == [score for _, score in expected]


def test_what_the_bias_never_accepts_is_never_visited():
    found = biased(k=40, num_steps=2_000, min_visits=2_001).sample(star(40), [0], seed=1)
    assert set(found.ids[0][found.mask[0]].tolist()) == set(range(1, 12))


@pytest.mark.parametrize("restart", [0.0, 0.5])
def test_walks_of_which_nothing_is_accepted_end(restart):
    graph = PinBoardGraph.from_edges([0, 12, 13, 1, 2], [0, 0, 0, 1, 1], pin_ids=range(14))
    sampler = biased(num_steps=300, restart_probability=restart)
    found = sampler.recommend(graph, [([12], None), ([1], None)], seed=1)
    for row, pin in enumerate([12, 1]):
        expected = definition(graph, {pin: 1.0}, sampler, 1, 0)
        assert found.ids[row][found.mask[row]].tolist() == [pin for pin, _ in expected]
        assert found.scores[row][found.mask[row]].tolist() == [score for _, score in expected]
    assert found.scores[0, 0] < 300  # the steps planned for walks that ended are not made


@pytest.mark.parametrize("num_threads", [2, 8])
def test_biased_walks_do_not_depend_on_threads_or_batches(num_threads):
    graph = skewed_graph(12, 6, 12)
    seeds = np.random.default_rng(1).integers(0, 12, 300)
    expected = biased(num_steps=50).sample(graph, range(12), seed=5)
    found = biased(num_steps=50, num_threads=num_threads).sample(graph, seeds, seed=5)
    np.testing.assert_array_equal(found.ids, expected.ids[seeds])
    np.testing.assert_array_equal(found.scores, expected.scores[seeds])


def without_pin(walk):
    return 1.0


def misspelled(walk, pin):
    return walk.graph.pin_weight[pin]


def test_a_bad_bias_is_refused():
    with pytest.raises(PinGraphError, match=r"^bias is 3; expected a function bias\(walk, pin\)"):
        PixieSampler(bias=3)
    with pytest.raises(PinGraphError, match=r"^bias without_pin .*test_pixie\.py, line"):
        PixieSampler(bias=without_pin)
    with pytest.raises(PinGraphError, match=r"^data is 3; expected a function data\(graph\)"):
        PixieSampler(bias=likes, data=3)
    with pytest.raises(PinGraphError, match=r"^bias misspelled .* cannot be compiled .*pin_weight"):
        PixieSampler(bias=misspelled).sample(star(3), [0], seed=1)


# The exact law, by matrix. All walks of a query pin together are one Markov chain of num_steps
# steps, which starts anew with the restart probability; its visits depend on each other, so the
# statistic is the quadratic form with their exact covariance.


@pytest.mark.parametrize("restart", [0.0, 0.4])
def test_visits_follow_the_exact_law(restart):
    """The p-values of 240 tests (40 graphs, 6 pins of each, 30 times 100 steps) are of chance.

    With another random seed, the false alarm rate of each of the two cases is 2 in 10,000.
    """
    sampler = PixieSampler(k=30, num_steps=100, restart_probability=restart, min_visits=101)
    p_values = []
    for number in range(40):
        graph = small_graph(number)
        counts = np.zeros((6, 30))
        for epoch in range(30):
            found = sampler.sample(graph, range(6), seed=number, epoch=epoch)
            rows, columns = np.nonzero(found.mask)
            counts[rows, found.ids[rows, columns]] += found.scores[rows, columns]
        for visited, mean, covariance in zip(counts, *law(graph, 6, 100, restart), strict=True):
            p_values.append(p_value(visited, 30 * mean, 30 * covariance))
    low, high = binom.ppf([0.5e-4, 1 - 0.5e-4], len(p_values), 0.05)
    assert low <= np.sum(np.array(p_values) < 0.05) <= high
    assert kstest(p_values, "uniform").pvalue > 1e-4


def small_graph(number):
    """Return a random graph of 30 pins and 12 boards, each pin on at least one board."""
    generator = np.random.default_rng(number)
    pins, boards = np.nonzero(generator.random((30, 12)) < 0.2)
    pins, boards = np.append(pins, range(30)), np.append(boards, generator.integers(0, 12, 30))
    return PinBoardGraph.from_edges(pins, boards, pin_ids=range(30), board_ids=range(12))


def law(graph, starts, num_steps, restart):
    """Return mean [starts, pins] and covariance [starts, pins, pins] of the visits to others."""
    incidence = (graph.incidence().toarray() > 0).astype(float)
    steps = incidence / incidence.sum(1, keepdims=True)
    steps = steps @ (incidence / np.maximum(incidence.sum(0), 1)).T  # pin → board → pin
    first = steps[:starts, None, :]
    chain = (1 - restart) * steps + restart * first  # one for each start
    at = [first]
    for _ in range(num_steps - 1):
        at.append(at[-1] @ chain)
    mean = np.sum(at, axis=0)
    second, later = mean * np.eye(len(steps)), np.zeros_like(chain)
    for early in reversed(at[:-1]):
        later = chain + chain @ later  # the visits after an early step, by its pin
        both = early.transpose(0, 2, 1) * later
        second += both + both.transpose(0, 2, 1)
    covariance = second - mean * mean.transpose(0, 2, 1)
    others = np.arange(len(steps)) != np.arange(starts)[:, None]
    return mean[:, 0] * others, covariance * others[:, None] * others[:, :, None]


def p_value(counts, mean, covariance):
    assert not counts[mean == 0].any()
    values, vectors = np.linalg.eigh(covariance)
    kept = values > 1e-9 * values.max()
    off = (counts - mean) @ vectors[:, kept]
    return chi2.sf(np.sum(off**2 / values[kept]), kept.sum())


# The promise that the numbers stay as they are, and the arguments.


@pytest.mark.parametrize("num_threads", [1, 2, 8])
def test_golden(num_threads):
    """A change of this hash changes the results of everybody: say so in the changelog."""
    numbers = np.arange(3_000)
    pins, boards = numbers * numbers % 503, numbers * 7 % 101  # skewed: squares
    graph = PinBoardGraph.from_edges(pins, boards)
    sampler = PixieSampler(num_steps=2_000, min_pins=40, num_threads=num_threads)
    queries = [(np.arange(i, min(i + 3, graph.num_pins)), None) for i in range(graph.num_pins)]
    digest = hashlib.sha256()
    for found in (
        sampler.sample(graph, np.arange(graph.num_pins), seed=20, epoch=26),
        sampler.recommend(graph, queries, seed=20, epoch=26),
    ):
        digest.update(found.ids.astype("<i8").tobytes())
        digest.update(found.scores.astype("<f4").tobytes())
    assert digest.hexdigest() == GOLDEN


GOLDEN = "e73ba63a1d5538ea6273749e24f1b99df590ca0b534bb504b97ec77cd8cfc488"


@pytest.mark.parametrize("name", ["k", "num_steps", "min_pins", "min_visits", "num_threads"])
@pytest.mark.parametrize("value", [0, -1, 1.0, "3", True, None, 2**40])
def test_a_whole_number_out_of_range_is_refused(name, value):
    with pytest.raises(PinGraphError, match=f"^{name} is {value!r}; expected a whole number"):
        PixieSampler(**{name: value})


@pytest.mark.parametrize("value", [-0.1, 1, float("nan"), True, "0.5", None])
def test_a_restart_probability_out_of_range_is_refused(value):
    with pytest.raises(PinGraphError, match=f"^restart_probability is {value!r}; .* from 0 to"):
        PixieSampler(restart_probability=value)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (([0, 9], None), r"seeds\[1\] is 9; expected a pin of the graph, 0 to 4"),
        (([0.5], None), "expected whole numbers"),
        (([2, 1, 2], None), "pin 2 occurs 2 times"),
        (([0, 1], [1.0]), r"weights are float64 of shape \(1,\); expected .* \(2,\)"),
        (([0, 1], [1, "a"]), "expected numbers"),
        (([0, 1], [1, 0]), r"weights\[1\] is 0.0; expected a finite number above 0"),
        (([0, 1], [-1, 1]), r"weights\[0\] is -1.0"),
        (([0], [math.nan]), r"weights\[0\] is nan"),
        (([0], [math.inf]), r"weights\[0\] is inf"),
        ([0], "expected a pair"),
        (3, "expected a pair"),
    ],
)
def test_a_bad_query_is_refused(query, message):
    with pytest.raises(PinGraphError, match=rf"^queries\[1\].*{message}"):
        PixieSampler().recommend(star(5), [([0], None), query], seed=1)


@pytest.mark.parametrize("weight", [4_000.0, 1e300, 1.7e308])
def test_weights_that_ask_for_too_many_steps_are_refused(weight):
    queries = [([], None), ([0, 1], [1, weight])]
    with pytest.raises(PinGraphError, match=r"^queries\[1\] asks for .* steps .* at most 16777216"):
        PixieSampler().recommend(star(5), queries, seed=1)


def test_tiny_weights_still_walk_a_step():
    found = PixieSampler(num_steps=10).recommend(star(9), [(range(4), [1e-300] * 4)], seed=1)
    assert 0 < found.scores.sum() <= 16  # four visits at most, to one pin or to four


def test_no_queries_give_no_rows():
    found = PixieSampler(k=4).recommend(star(5), [], seed=1)
    assert_consistent(found, star(5), 4)
    assert found.seeds.shape == (0,)


def test_it_is_chosen_by_class_path():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--sampler", type=Sampler)
    arguments = ["--sampler=pingraph.samplers.PixieSampler", "--sampler.num_steps=50"]
    chosen = parser.instantiate(parser.parse_args(arguments))
    assert chosen.sampler == PixieSampler(num_steps=50)


def test_the_code_of_the_page_runs():
    page = (Path(__file__).parent.parent / "docs" / "pixie.md").read_text(encoding="utf-8")
    names = {}
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert len(blocks) >= 2
    for block in blocks:
        exec(block, names)
