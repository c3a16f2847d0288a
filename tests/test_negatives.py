"""Uniform and popular negatives: the contract, forced answers, a plain twin, and the exact law."""

import hashlib
import math
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonargparse import ArgumentParser
from scipy.stats import chi2

from pingraph.errors import PinGraphError
from pingraph.graph import PinBoardGraph
from pingraph.interfaces import NegativeSampler
from pingraph.samplers import PopularityNegatives, UniformNegatives, negatives
from tests.chance import assert_chance
from tests.negative_contract import NegativeContract, assert_consistent, assert_same
from tests.random_twin import WORD, word
from tests.sampler_contract import skewed_graph, two_hop

EITHER = pytest.mark.parametrize("sampler", [UniformNegatives, PopularityNegatives])


class TestUniformContract(NegativeContract):
    def make(self, **arguments):
        return UniformNegatives(**arguments)

    def test_a_spawned_worker_of_a_data_loader_changes_nothing(self, graph):
        self.check_workers(graph, "spawn", 1)


class TestPopularityContract(NegativeContract):
    def make(self, **arguments):
        return PopularityNegatives(**arguments)


# Forced answers.


@EITHER
def test_the_only_pin_that_is_no_board_mate_is_drawn_always(sampler):
    graph = PinBoardGraph.from_edges([0, 1, 1, 2], [0, 0, 1, 1], pin_ids=range(4))  # 0 - 1 - 2
    found = sampler(n=50).sample_negatives(graph, [0, 2, 1], seed=1)
    assert (found.ids[0] == 2).all()
    assert (found.ids[1] == 0).all()
    assert (found.log_probabilities == 0).all()
    assert found.mask.all(axis=1).tolist() == [True, True, False]


@EITHER
def test_board_mates_are_drawn_if_wanted_the_seed_never(sampler):
    graph = PinBoardGraph.from_edges(range(3), [0, 0, 0], pin_ids=range(4))
    drawing = sampler(n=100, exclude_board_mates=False)
    found = drawing.sample_negatives(graph, [0, 1, 2, 3], seed=1)
    assert [set(row) for row in found.ids.tolist()] == [{1, 2}, {0, 2}, {0, 1}, {0, 1, 2}]
    chances = np.log([[1 / 2], [1 / 2], [1 / 2], [1 / 3]])
    np.testing.assert_allclose(found.log_probabilities, chances * np.ones(100), rtol=1e-7)


@EITHER
def test_a_pin_alone_in_the_graph_has_no_negatives(sampler):
    graph = PinBoardGraph.from_edges([0], [0], pin_ids=range(2))
    drawing = sampler(exclude_board_mates=False)
    assert drawing.sample_negatives(graph, [0, 1], seed=1).mask.any(axis=1).tolist() == [0, 1]


def test_the_exponent_moves_the_chances_from_uniform_to_the_number_of_boards():
    graph = PinBoardGraph.from_edges([0, *[1] * 81, 2], [0, *range(1, 82), 82])
    for exponent, odds in [(0, 1), (0.25, 3), (0.5, 9), (0.75, 27), (1, 81)]:
        sampler = PopularityNegatives(n=400, exponent=exponent)
        found = sampler.sample_negatives(graph, [2], seed=1)
        popular = found.ids == 1
        expected = np.where(popular, odds / (odds + 1), 1 / (odds + 1))
        np.testing.assert_allclose(np.exp(found.log_probabilities), expected, rtol=5e-7)
        share = odds / (odds + 1)
        assert abs(popular.mean() - share) < 5 * math.sqrt(share * (1 - share) / 400)


@EITHER
def test_marks_of_earlier_seeds_are_forgotten(sampler):
    """255 seeds without a common board, again and again: a mark is a byte, and comes around."""
    pairs = PinBoardGraph.from_edges(range(510), np.arange(510) // 2)
    found = sampler().sample_negatives(pairs, np.tile(np.arange(0, 510, 2), 8), seed=1)
    assert_same(found, found, np.tile(np.arange(255), 8))


# A plain twin, in whole numbers without bounds.


@st.composite
def graphs(draw):
    """Draw a graph of up to 12 pins, or one of 60 where few pins are no board-mates of most."""
    if draw(st.booleans()):
        edges = st.sets(st.tuples(st.integers(0, 11), st.integers(0, 5)), min_size=1, max_size=40)
        pins, boards = zip(*draw(edges), strict=True)
        return PinBoardGraph.from_edges(pins, boards, pin_ids=range(12), board_ids=range(6))
    extra = draw(st.lists(st.tuples(st.integers(54, 58), st.integers(1, 5)), max_size=12))
    return hub_graph(draw(st.integers(54, 59)), extra)


def hub_graph(size, extra):
    """Return a graph whose board 0 holds pins 0 … size-1 of 60; pin 0 is on boards 7 … 9, too."""
    edges = [(pin, 0) for pin in range(size)] + [(0, board) for board in (7, 8, 9)] + extra
    pins, boards = zip(*edges, strict=True)
    return PinBoardGraph.from_edges(pins, boards, pin_ids=range(60), board_ids=range(10))


@settings(max_examples=60, deadline=None)
@given(
    graph=graphs(),
    exponent=st.sampled_from([None, 0.0, 0.5, 0.75, 1.0]),
    without_mates=st.booleans(),
    seed=st.integers(0, WORD),
    epoch=st.integers(0, WORD),
)
def test_it_equals_its_plain_twin(graph, exponent, without_mates, seed, epoch):
    options = {"n": 7, "exclude_board_mates": without_mates}
    sampler = UniformNegatives(**options)
    if exponent is not None:
        sampler = PopularityNegatives(**options, exponent=exponent)
    found = sampler.sample_negatives(graph, range(graph.num_pins), seed=seed, epoch=epoch)
    for pin in range(graph.num_pins):
        expected = twin(graph, pin, exponent, without_mates, seed, epoch)
        assert found.ids[pin].tolist() == [i for i, _ in expected] or not expected
        assert found.mask[pin].tolist() == [bool(expected)] * 7
        logs = [math.log(chance) for _, chance in expected] or [0] * 7
        np.testing.assert_allclose(found.log_probabilities[pin], logs, rtol=1e-7)


def twin(graph, seed_pin, exponent, without_mates, seed, epoch):
    """Return the 7 (pin, chance) that the samplers must give to a pin, or none."""
    degrees = graph.pin_degrees.tolist()
    weigh = {d: round(2**26 * d ** (exponent or 0)) for d in degrees}
    by_weight = sorted(np.flatnonzero(degrees).tolist(), key=lambda pin: weigh[degrees[pin]])
    out = {seed_pin} | (set(two_hop(graph, seed_pin).tolist()) if without_mates else set())
    everybody = [(pin, weigh[degrees[pin]]) for pin in by_weight]
    left = [(pin, weight) for pin, weight in everybody if pin not in out]
    total, total_left = sum(w for _, w in everybody), sum(w for _, w in left)
    if not left:
        return []
    tag = int.from_bytes(b"uniform" if exponent is None else b"popular", "big")
    pin_key = word(word(word(word(0, seed), epoch), tag), seed_pin)
    rejects, drawn = total_left >= total // 16, []
    for slot in range(7):
        attempt, slot_key = 0, word(pin_key, slot)
        while True:
            among = everybody if rejects else left
            position = word(slot_key, attempt) * sum(w for _, w in among) >> 64
            pin, weight = at(position, among)
            if pin not in out:
                break
            attempt += 1
        drawn.append((pin, Fraction(weight, total_left)))
    return drawn


def at(position, weighted):
    for pin, weight in weighted:
        if position < weight:
            return pin, weight
        position -= weight
    raise AssertionError("position beyond the sum of weights")


# The exact law.

LAWS = [
    pytest.param(UniformNegatives(n=3_000), 0, id="uniform"),
    pytest.param(UniformNegatives(n=3_000, exclude_board_mates=False), 0, id="uniform-mates"),
    pytest.param(PopularityNegatives(n=3_000), 0.75, id="popular"),
    pytest.param(PopularityNegatives(n=3_000, exponent=1), 1, id="by-boards"),
    pytest.param(PopularityNegatives(n=3_000, exclude_board_mates=False), 0.75, id="popular-mates"),
]


@pytest.mark.parametrize(("sampler", "exponent"), LAWS)
def test_draws_follow_the_exact_law(sampler, exponent):
    """The p-values of 340 seeds or more, of 40 graphs, 3,000 draws each, are those of chance.

    With another random seed, the false alarm rate of each of the five cases is 2 in 10,000.
    """
    p_values = []
    for number in range(40):
        graph = small_graph(number)
        found = sampler.sample_negatives(graph, range(12), seed=number)
        for pin in range(12):
            chances = law(graph, pin, exponent, sampler.exclude_board_mates)
            if np.count_nonzero(chances) > 1:
                p_values.append(p_value(found.ids[pin], chances))
    assert len(p_values) > 340
    assert_chance(p_values)


@pytest.mark.parametrize("part", ["seed", "epoch"])
def test_calls_are_independent_draws(part):
    """Three draws of 1,000 calls, 10 graphs, 30 pins. False alarms: 2 in 10,000."""
    sampler, p_values = PopularityNegatives(n=3), []
    for number in range(10):
        graph = small_graph(number)
        calls = [
            sampler.sample_negatives(graph, range(30), **{"seed": 7, "epoch": 7, part: call}).ids
            for call in range(1_000)
        ]
        for pin, ids in enumerate(np.concatenate(calls, axis=1)):
            chances = law(graph, pin, 0.75, True)
            if np.count_nonzero(chances) > 1:
                p_values.append(p_value(ids, chances))
    assert_chance(p_values)


@pytest.mark.parametrize(("sampler", "exponent"), LAWS)
def test_logs_are_the_exact_chances_and_sum_to_one(sampler, exponent):
    for graph in [small_graph(0), small_graph(1), hub_graph(56, [(57, 1), (58, 2), (58, 3)])]:
        found = sampler.sample_negatives(graph, range(graph.num_pins), seed=1)
        for pin in np.flatnonzero(found.mask.any(axis=1)):
            chances = law(graph, pin, exponent, sampler.exclude_board_mates)
            ids, places = np.unique(found.ids[pin], return_index=True)
            logs = found.log_probabilities[pin]
            np.testing.assert_array_equal(ids, np.flatnonzero(chances))  # 3,000 draws meet all
            np.testing.assert_allclose(logs[places], np.log(chances[ids]), rtol=1e-7, atol=1e-8)
            np.testing.assert_allclose(np.exp(logs[places].astype(float)).sum(), 1, rtol=1e-6)
            np.testing.assert_array_equal(logs, logs[places][np.searchsorted(ids, found.ids[pin])])


def small_graph(number):
    """Return a random graph: 30 pins, 26 of them on one to five boards of 20; by turns a hub."""
    generator = np.random.default_rng(number)
    pins = np.repeat(np.arange(26), 1 + generator.integers(0, 5, 26))
    boards = generator.integers(0, 20, len(pins))
    if number % 4 == 0:  # a board of nearly all: a sixteenth of the weight is left, or less
        mates = np.arange(24)
        pins, boards = np.append(pins, mates), np.append(boards, np.full(24, 20))
    return PinBoardGraph.from_edges(pins, boards, pin_ids=range(30), board_ids=range(21))


def law(graph, pin, exponent, without_mates):
    """Return the chance of each pin to be drawn for `pin`, [pins]."""
    degrees = graph.pin_degrees.astype(float)
    weights = np.where(degrees > 0, np.maximum(degrees, 1) ** exponent, 0)
    weights[two_hop(graph, pin) if without_mates else pin] = 0
    weights[pin] = 0
    return weights / max(weights.sum(), 1e-300)


def p_value(ids, chances):
    observed, expected = np.bincount(ids, minlength=len(chances)), len(ids) * chances
    possible = expected > 0
    assert not observed[~possible].any()
    off = (observed - expected)[possible]
    return chi2.sf((off**2 / expected[possible]).sum(), possible.sum() - 1)


def test_the_two_samplers_draw_independently():
    """Equal laws; at 8,000 places as many equal pins as chance gives (five standard deviations)."""
    graph = skewed_graph(200, 60, 200)
    options = {"n": 40, "exclude_board_mates": False}
    uniform = UniformNegatives(**options).sample_negatives(graph, range(200), seed=1)
    popular = PopularityNegatives(**options, exponent=0).sample_negatives(graph, range(200), seed=1)
    np.testing.assert_array_equal(uniform.log_probabilities, popular.log_probabilities)
    assert abs((uniform.ids == popular.ids).sum() - 8_000 / 199) < 5 * math.sqrt(8_000 / 199)


# What is kept of a graph.


def test_the_table_of_a_graph_is_kept():
    graph, twin_graph = skewed_graph.__wrapped__(80, 20, 75), skewed_graph.__wrapped__(80, 20, 75)
    table = negatives.candidate_table(graph, 0.75)
    assert negatives.candidate_table(graph, 0.75) is table
    assert negatives.candidate_table(graph, 1.0) is not table
    assert negatives.candidate_table(twin_graph, 0.75) is not table  # equal, but another


def test_weights_that_could_overflow_are_refused(monkeypatch):
    monkeypatch.setattr(negatives, "_MOST_EDGES", 3)
    graph = PinBoardGraph.from_edges(range(4), range(4))
    with pytest.raises(PinGraphError, match="graph has 4 edges; expected at most 3"):
        UniformNegatives().sample_negatives(graph, [0], seed=1)


# The promise that the numbers stay as they are, and the arguments.


@pytest.mark.parametrize("num_threads", [1, 2, 8])
@EITHER
def test_golden(sampler, num_threads):
    """A change of this hash changes the results of everybody: say so in the changelog."""
    graph = golden_graph()
    drawing = sampler(num_threads=num_threads)
    found = drawing.sample_negatives(graph, np.arange(graph.num_pins), seed=20, epoch=26)
    digest = hashlib.sha256(found.ids.astype("<i8").tobytes())
    assert digest.hexdigest() == GOLDEN[sampler]


def golden_graph():
    """Return 309 pins on 1 to 51 boards of 51; six have less than a sixteenth left, or nobody."""
    numbers = np.arange(3_000)
    return PinBoardGraph.from_edges((numbers * 17 % 503) ** 3 // 503**2, numbers * numbers % 101)


GOLDEN = {
    UniformNegatives: "58db25ae6c84bf67997466ff98b8c99db9aceb68b018ea3f22e69eb451aa0241",
    PopularityNegatives: "81c6c2df1c2fc84d32194558856523c07b22d6bbab6a03f83e4cf1569b6c224f",
}


@pytest.mark.parametrize("value", [-0.1, 1.01, float("nan"), float("inf"), True, "0.5", None])
def test_an_exponent_out_of_range_is_refused(value):
    with pytest.raises(PinGraphError, match=f"^exponent is {value!r}; expected a number from 0 to"):
        PopularityNegatives(exponent=value)


@EITHER
@pytest.mark.parametrize("value", ["false", 1, None])
def test_a_switch_that_is_neither_true_nor_false_is_refused(sampler, value):
    with pytest.raises(PinGraphError, match=f"^exclude_board_mates is {value!r}; expected True"):
        sampler(exclude_board_mates=value)


def test_it_is_chosen_by_class_path():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--negatives", type=NegativeSampler)
    arguments = ["--negatives=pingraph.samplers.PopularityNegatives", "--negatives.exponent=0.5"]
    chosen = parser.instantiate(parser.parse_args(arguments))
    assert chosen.negatives == PopularityNegatives(exponent=0.5)


def test_the_code_of_the_page_runs(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parent.parent / "docs" / "negatives.md").read_text(encoding="utf-8")
    names = {}
    for block in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(block, names)
    assert capsys.readouterr().out
    assert_consistent(names["found"], names["graph"], names["found"].ids.shape[1])
