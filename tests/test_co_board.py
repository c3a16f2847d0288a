"""Co-board neighbors: the contract, forced answers, a plain twin bit for bit, and the exact law."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonargparse import ArgumentParser
from scipy.stats import chi2

from pingraph.errors import PinGraphError
from pingraph.graph import PinBoardGraph
from pingraph.interfaces import Sampler
from pingraph.samplers import CoBoardSampler
from tests.chance import assert_chance
from tests.random_twin import WORD, choose, word
from tests.sampler_contract import SamplerContract

WEIGHTINGS = ["uniform", "inverse_size"]


class TestUniformContract(SamplerContract):
    def make(self, **arguments):
        return CoBoardSampler(**arguments)


class TestInverseSizeContract(SamplerContract):
    def make(self, **arguments):
        return CoBoardSampler(weighting="inverse_size", **arguments)


# Forced answers.


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("start", range(3))
def test_the_only_mate_gets_all_draws(weighting, start):
    """Pin 1 of the three is on no board of two; the others lie first and last on theirs."""
    graph = PinBoardGraph.from_edges([0, 2, 1, 0, 2], [0, 0, 1, 2, 3])
    found = CoBoardSampler(weighting=weighting, draws=7).sample(graph, [start], seed=1)
    mate = {0: 2, 1: -1, 2: 0}[start]
    assert found.ids[0].tolist() == [mate] + [-1] * 9
    assert found.scores[0].tolist() == [7 * (mate >= 0)] + [0] * 9


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_no_draw_is_lost(weighting):
    graph = random_graph(0)
    found = CoBoardSampler(k=30, draws=50, weighting=weighting).sample(graph, range(30), seed=1)
    assert (found.scores.sum(axis=1) == 50 * has_mates(graph)).all()


def test_large_boards_count_as_their_size_or_as_one():
    """Pin 0 is on a board of 1 other pin and on one of 1,000."""
    graph = PinBoardGraph.from_edges([0, 1, *range(1_002)], [0] * 2 + [1] * 1_002)
    graph = graph.keep_edges(~((graph.edges()[0] == 1) & (graph.edges()[1] == 1)))
    shares = {}
    for weighting in WEIGHTINGS:
        found = CoBoardSampler(k=1_001, draws=10_000, weighting=weighting).sample(
            graph, [0], seed=1
        )
        shares[weighting] = found.weights[0][found.ids[0] == 1].sum()
    assert shares["uniform"] == pytest.approx(1 / 1_001, abs=0.002)  # six standard deviations
    assert shares["inverse_size"] == pytest.approx(1 / 2, abs=0.03)


def test_more_draws_add_to_the_first_draws():
    graph = random_graph(1)
    few, many = (CoBoardSampler(k=30, draws=n).sample(graph, range(30), seed=1) for n in (50, 60))
    assert (counted(many) >= counted(few)).all()


# A plain twin: the same draws one by one, in whole numbers without bounds.


@settings(max_examples=60, deadline=None)
@given(
    edges=st.sets(st.tuples(st.integers(0, 11), st.integers(0, 5)), min_size=1, max_size=40),
    k=st.integers(1, 15),
    draws=st.integers(1, 40),
    weighting=st.sampled_from(WEIGHTINGS),
    seed=st.integers(0, WORD),
    epoch=st.integers(0, WORD),
)
def test_it_equals_its_plain_twin(edges, k, draws, weighting, seed, epoch):
    pins, boards = zip(*edges, strict=True)
    graph = PinBoardGraph.from_edges(pins, boards, pin_ids=range(12), board_ids=range(6))
    sampler = CoBoardSampler(k=k, draws=draws, weighting=weighting)
    found = sampler.sample(graph, range(12), seed=seed, epoch=epoch)
    for pin in range(12):
        expected = twin(graph, pin, sampler, seed, epoch)
        padding = k - len(expected)
        assert found.ids[pin].tolist() == [i for i, _ in expected] + [-1] * padding
        assert found.scores[pin].tolist() == [n for _, n in expected] + [0] * padding


def twin(graph, start, sampler, seed, epoch):
    """Return the (pin, draws) of `sampler`."""
    start_key = word(word(word(0, seed), epoch), start)
    boards = [mates_in_order(graph, board, start) for board in graph.boards_of(start)]
    boards = [mates for mates in boards if mates]
    drawn = {}
    for number in range(sampler.draws if boards else 0):
        mates, rest = [pin for board in boards for pin in board], word(start_key, number)
        if sampler.weighting == "inverse_size":
            mates, rest = choose(boards, rest)
        pin, _ = choose(mates, rest)
        drawn[pin] = drawn.get(pin, 0) + 1
    return sorted(drawn.items(), key=lambda item: -item[1])[: sampler.k]


def mates_in_order(graph, board, start):
    """Return the other pins of a board; the last one stands where the seed was."""
    pins = graph.pins_of(board).tolist()
    last = pins.pop()
    return [last if pin == start else pin for pin in pins]


# The exact law: draws are independent, so Pearson's chi-square is enough.


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_draws_follow_the_exact_law(weighting):
    """The p-values of 1,106 tests (40 graphs, 30 pins, 3,000 draws) are those of chance.

    Pins with fewer than two mates leave nothing to test. With another random seed, the false
    alarm rate of each of the two cases is 2 in 10,000.
    """
    sampler = CoBoardSampler(k=30, draws=3_000, weighting=weighting)
    p_values = []
    for number in range(40):
        graph = random_graph(number)
        drawn = counted(sampler.sample(graph, range(30), seed=number))
        p_values += [p_value(drawn[pin], law(graph, pin, weighting)) for pin in range(30)]
    p_values = [p for p in p_values if p is not None]
    assert len(p_values) > 200
    assert_chance(p_values)


@pytest.mark.parametrize("part", ["seed", "epoch"])
def test_calls_are_independent_draws(part):
    """The first three draws of 1,000 calls, 10 graphs, 30 pins. False alarms: 2 in 10,000."""
    sampler = CoBoardSampler(k=30, draws=3)
    p_values = []
    for number in range(10):
        graph = random_graph(number)
        drawn = np.zeros((30, 30), int)
        for call in range(1_000):
            drawn += counted(
                sampler.sample(graph, range(30), **{"seed": 7, "epoch": 7, part: call})
            )
        p_values += [p_value(drawn[pin], law(graph, pin, "uniform")) for pin in range(30)]
    p_values = [p for p in p_values if p is not None]
    assert len(p_values) > 200
    assert_chance(p_values)


def random_graph(number):
    """Return a random graph of 30 pins and 12 boards; some pins may lack mates or boards."""
    generator = np.random.default_rng(number)
    pins, boards = np.nonzero(generator.random((30, 12)) < generator.random(12) * 0.4)
    return PinBoardGraph.from_edges(
        np.append(pins, 0), np.append(boards, 0), pin_ids=range(30), board_ids=range(12)
    )


def has_mates(graph):
    return np.array([law(graph, pin, "uniform").any() for pin in range(graph.num_pins)])


def law(graph, start, weighting):
    """Return the probability of each pin, from the definition."""
    incidence = graph.incidence().toarray() > 0
    mates = incidence[:, incidence[start]].astype(float)
    mates[start] = 0
    mates = mates[:, mates.any(axis=0)]
    if weighting == "inverse_size":
        mates /= mates.sum(axis=0)
    return mates.sum(axis=1) / max(mates.sum(), 1)


def counted(found):
    """Return the draws as a matrix, int [B, 30]."""
    drawn = np.zeros((len(found.seeds), 30), int)
    rows, columns = np.nonzero(found.mask)
    drawn[rows, found.ids[rows, columns]] = found.scores[rows, columns]
    return drawn


def p_value(drawn, law):
    """Return the p-value of Pearson's chi-square, or None where the law leaves no choice."""
    assert not drawn[law == 0].any()
    expected = 3_000 * law[law > 0]
    if len(expected) < 2:
        return None
    return chi2.sf(np.sum((drawn[law > 0] - expected) ** 2 / expected), len(expected) - 1)


# The promise that the numbers stay as they are, and the arguments.

GOLDEN = {
    "uniform": "7b34292d38b7a951f4d0689d77a743194d428efc95fe28a848f2421cc167f5a1",
    "inverse_size": "6be3dc1d6b912898ec82f81385aa069aa97507c8cb1d31b1d1056cd18a5f3196",
}


@pytest.mark.parametrize("num_threads", [1, 2, 8])
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_golden(weighting, num_threads):
    """A change of this hash changes the results of everybody: say so in the changelog."""
    numbers = np.arange(3_000)
    pins, boards = numbers * numbers % 503, numbers * 7 % 101  # skewed: squares
    graph = PinBoardGraph.from_edges(pins, boards)
    sampler = CoBoardSampler(weighting=weighting, num_threads=num_threads)
    found = sampler.sample(graph, np.arange(graph.num_pins), seed=20, epoch=26)
    digest = hashlib.sha256(found.ids.astype("<i8").tobytes())
    digest.update(found.scores.astype("<i4").tobytes())
    assert digest.hexdigest() == GOLDEN[weighting]


@pytest.mark.parametrize("name", ["k", "draws", "num_threads"])
@pytest.mark.parametrize("value", [0, -1, 1.0, "3", True, None, 2**40])
def test_a_whole_number_out_of_range_is_refused(name, value):
    with pytest.raises(
        PinGraphError, match=f"^{name} is {value!r}; expected a whole number from 1"
    ):
        CoBoardSampler(**{name: value})


@pytest.mark.parametrize("value", ["", "Uniform", None, 1, []])
def test_an_unknown_weighting_is_refused(value):
    with pytest.raises(PinGraphError, match=r"^weighting is .*; expected \"uniform\" or "):
        CoBoardSampler(weighting=value)


def test_it_is_chosen_by_class_path():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--sampler", type=Sampler)
    arguments = ["--sampler=pingraph.samplers.CoBoardSampler", "--sampler.weighting=inverse_size"]
    chosen = parser.instantiate(parser.parse_args(arguments))
    assert chosen.sampler == CoBoardSampler(weighting="inverse_size")
