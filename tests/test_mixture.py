"""Mixtures: the contract, forced answers, a plain twin, and bad input."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonargparse import ArgumentParser

from pingraph.errors import PinGraphError
from pingraph.graph import PinBoardGraph
from pingraph.interfaces import Neighbors, Sampler
from pingraph.samplers import MixtureSampler, PinSAGESampler
from tests.sampler_contract import SamplerContract, assert_consistent, assert_same, skewed_graph

STAR = PinBoardGraph.from_edges(range(30), [0] * 30)


@dataclass(frozen=True, kw_only=True)
class Fixed:
    """Gives the rows that it was made with: the pins of each, best first, and their scores."""

    rows: Sequence[Sequence[tuple[int, float]]]
    k: int = 8

    def sample(self, graph, seeds, *, seed, epoch=0):
        ids = np.full((len(seeds), self.k), -1)
        scores = np.zeros((len(seeds), self.k))
        for row, pin in enumerate(seeds):
            for place, (other, score) in enumerate(self.rows[pin]):
                ids[row, place], scores[row, place] = other, score
        return Neighbors.from_scores(seeds=np.asarray(seeds), ids=ids, scores=scores)


def mixed(*rows, **arguments):
    """Return the ids and weights of pin 0, of parts that give one row each."""
    samplers = [Fixed(rows=[row]) for row in rows]
    found = MixtureSampler(samplers=samplers, **arguments).sample(STAR, [0], seed=1)
    assert_consistent(found, STAR, arguments.get("k", 10))
    count = found.mask.sum()
    return found.ids[0, :count].tolist(), found.weights[0, :count].tolist()


class TestMixtureContract(SamplerContract):
    def make(self, **arguments):
        near = PinSAGESampler(walk_length=1, **arguments)
        far = PinSAGESampler(walk_length=4, restart_probability=0.1, **arguments)
        return MixtureSampler(samplers=[near, far], weights=[2, 1], k=near.k)


# Forced answers.


def test_a_pin_found_by_several_parts_adds_up():
    ids, weights = mixed([(5, 3), (6, 1)], [(7, 4), (6, 1)])
    assert ids == [7, 5, 6]  # halves of .8, of .75, and of .25 + .2
    np.testing.assert_allclose(weights, [0.4, 0.375, 0.225], atol=1e-7)


def test_parts_count_by_their_weights():
    ids, weights = mixed([(5, 1)], [(7, 1)], weights=[1, 3])
    assert ids == [7, 5]
    assert weights == [0.75, 0.25]


def test_only_the_ratios_of_the_weights_matter():
    rows = [(5, 3), (6, 1)], [(7, 4), (6, 1)]
    assert mixed(*rows, weights=[2e-9, 6e-9]) == mixed(*rows, weights=[0.25, 0.75])
    assert mixed(*rows, weights=[7e8, 7e8]) == mixed(*rows)


def test_a_part_that_found_nothing_leaves_its_share_to_the_others():
    assert mixed([(5, 1)], [], [(7, 2)], weights=[1, 100, 3]) == ([7, 5], [0.75, 0.25])
    assert mixed([], [(7, 2)], weights=[1e9, 1e-9]) == ([7], [1.0])
    assert mixed([], []) == ([], [])


def test_the_weights_of_the_kept_pins_sum_to_1():
    ids, weights = mixed([(5, 5), (6, 3), (7, 2)], k=2)
    assert ids == [5, 6]
    np.testing.assert_allclose(weights, [0.625, 0.375])


def test_ties_go_to_the_first_part_and_in_it_to_the_better_rank():
    first, second = [(21, 1), (9, 1)], [(3, 1), (21, 1), (4, 1), (9, 1)]
    assert mixed(first, second)[0] == [21, 9, 3, 4]
    assert mixed(second, first)[0] == [21, 9, 3, 4]
    assert mixed([(8, 1), (2, 1)], [(7, 1), (1, 1)])[0] == [8, 2, 7, 1]
    assert mixed([(8, 1), (2, 1)], [(7, 1), (1, 1)], k=3)[0] == [8, 2, 7]


def test_a_mixture_of_one_part_is_that_part():
    graph = skewed_graph(80, 20, 75)
    part = PinSAGESampler(k=12)
    alone = part.sample(graph, np.arange(80), seed=3, epoch=2)
    found = MixtureSampler(samplers=[part], k=12).sample(graph, np.arange(80), seed=3, epoch=2)
    np.testing.assert_array_equal(found.ids, alone.ids)
    np.testing.assert_allclose(found.weights, alone.weights, atol=1e-7)


def test_two_equal_parts_are_as_one_of_twice_the_weight():
    graph, seeds = skewed_graph(80, 20, 75), np.arange(80)
    near, far = PinSAGESampler(walk_length=1), PinSAGESampler(walk_length=3)
    twice = MixtureSampler(samplers=[near, near, far]).sample(graph, seeds, seed=3)
    once = MixtureSampler(samplers=[near, far], weights=[2, 1]).sample(graph, seeds, seed=3)
    np.testing.assert_allclose(twice.scores, once.scores, atol=1e-7)


def test_a_part_that_breaks_its_promises_is_named():
    class Nothing:
        def sample(self, graph, seeds, *, seed, epoch=0):
            return None

    for part in (Nothing(), Fixed(rows=[[(0, 1)]])):
        mixture = MixtureSampler(samplers=[PinSAGESampler(), part])
        with pytest.raises(PinGraphError, match=f"^{type(part).__name__}: "):
            mixture.sample(skewed_graph(80, 20, 75), np.array([0]), seed=1)


# A plain twin, with a dictionary.

part_rows = st.lists(
    st.dictionaries(st.integers(3, 14), st.integers(1, 4), max_size=6), min_size=3, max_size=3
)


@settings(max_examples=150, deadline=None)
@given(
    parts=st.lists(
        st.tuples(part_rows, st.sampled_from([1, 2, 0.5, 3.25])), min_size=1, max_size=4
    ),
    k=st.integers(1, 14),
)
def test_it_equals_its_plain_twin(parts, k):
    rows = [
        [sorted(row.items(), key=lambda item: -item[1]) for row in given_rows]
        for given_rows, _ in parts
    ]
    weights = [weight for _, weight in parts]
    samplers = [Fixed(rows=own) for own in rows]
    sampler = MixtureSampler(samplers=samplers, weights=weights, k=k)
    seeds = np.array([2, 0, 1, 1])
    found = sampler.sample(skewed_graph(80, 20, 75), seeds, seed=1)
    for row, pin in enumerate(seeds):
        expected = twin([own[pin] for own in rows], weights)[:k]
        count = len(expected)
        assert found.ids[row].tolist() == [pin for pin, _ in expected] + [-1] * (k - count)
        assert found.scores[row, :count].tolist() == [score for _, score in expected]
        assert not found.scores[row, count:].any()
        total = sum(score for _, score in expected)
        np.testing.assert_allclose(
            found.weights[row, :count], [score / total for _, score in expected], rtol=1e-6
        )


def twin(rows, weights):
    """Return the (pin, score) of a mixture, all of them, as the docstring tells it."""
    active = sum(weight for row, weight in zip(rows, weights, strict=True) if row)
    sums = {}
    for row, weight in zip(rows, weights, strict=True):
        total = sum(score for _, score in row)
        for pin, score in row:
            own = np.float32(score / total)  # weights of a part are float32
            sums[pin] = sums.get(pin, 0) + weight / active * float(own)
    scores = {pin: float(np.float32(value)) for pin, value in sums.items()}
    return sorted(scores.items(), key=lambda item: -item[1])


# The promise that the numbers stay as they are, and the arguments.


@pytest.mark.parametrize("num_threads", [1, 2, 8])
def test_golden(num_threads):
    """A change of this hash changes the results of everybody: say so in the changelog."""
    numbers = np.arange(3_000)
    graph = PinBoardGraph.from_edges(numbers * numbers % 503, numbers * 7 % 101)
    near = PinSAGESampler(walk_length=1, num_threads=num_threads)
    far = PinSAGESampler(k=30, walk_length=4, num_threads=num_threads)
    sampler = MixtureSampler(samplers=[near, far], weights=[0.3, 0.7], k=20)
    found = sampler.sample(graph, np.arange(graph.num_pins), seed=20, epoch=26)
    digest = hashlib.sha256(found.ids.astype("<i8").tobytes())
    digest.update(found.scores.astype("<f4").tobytes())
    assert digest.hexdigest() == GOLDEN


GOLDEN = "7a9c68cbe0e77639aa965e275b3a3639ff0c39dcb0577b185de95e077ddb6803"


def test_parts_get_the_seed_and_epoch_of_the_call():
    asked = []

    class Asked:
        def sample(self, graph, seeds, *, seed, epoch=0):
            asked.append((seeds.tolist(), seed, epoch))
            return PinSAGESampler().sample(graph, seeds, seed=seed, epoch=epoch)

    MixtureSampler(samplers=[Asked(), Asked()]).sample(STAR, [3, 1], seed=5, epoch=6)
    assert asked == [([3, 1], 5, 6)] * 2


@pytest.mark.parametrize("samplers", [[], None, "PinSAGESampler", PinSAGESampler()])
def test_no_list_of_samplers_is_refused(samplers):
    with pytest.raises(PinGraphError, match=r"^samplers is .*; expected a list of at least one"):
        MixtureSampler(samplers=samplers)


@pytest.mark.parametrize("part", [None, 3, PinSAGESampler])
def test_a_part_that_is_no_sampler_is_refused(part):
    with pytest.raises(PinGraphError, match=r"^samplers\[1\] is .*; expected a sampler"):
        MixtureSampler(samplers=[PinSAGESampler(), part])


@pytest.mark.parametrize(
    "weight", [0, -1, float("nan"), float("inf"), 1e-10, 1e10, True, "1", None]
)
def test_a_weight_out_of_range_is_refused(weight):
    with pytest.raises(PinGraphError, match=rf"^weights\[1\] is {weight!r}; .* 1e-09 to 1e\+09"):
        MixtureSampler(samplers=[PinSAGESampler()] * 2, weights=[1, weight])


@pytest.mark.parametrize("weights", [[], [1], [1, 1, 1], 1, "11"])
def test_other_than_one_weight_a_part_is_refused(weights):
    with pytest.raises(PinGraphError, match=r"^weights is .*; expected a list of 2"):
        MixtureSampler(samplers=[PinSAGESampler()] * 2, weights=weights)


@pytest.mark.parametrize("k", [0, -1, 1.0, True, None])
def test_a_k_out_of_range_is_refused(k):
    with pytest.raises(PinGraphError, match=r"^k is"):
        MixtureSampler(samplers=[PinSAGESampler()], k=k)


def test_it_is_chosen_by_class_path(tmp_path):
    (tmp_path / "mine.yaml").write_text("""
sampler:
  class_path: pingraph.samplers.MixtureSampler
  init_args:
    samplers:
    - class_path: pingraph.samplers.PinSAGESampler
      init_args: {walk_length: 1}
    - class_path: pingraph.samplers.PinSAGESampler
    weights: [1, 0.5]
""")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--sampler", type=Sampler)
    parser.add_argument("--config", action="config")
    chosen = parser.instantiate(parser.parse_args([f"--config={tmp_path / 'mine.yaml'}"])).sampler
    parts = [PinSAGESampler(walk_length=1), PinSAGESampler()]
    assert chosen == MixtureSampler(samplers=parts, weights=[1, 0.5])
    graph = skewed_graph(80, 20, 75)
    assert_same(
        chosen.sample(graph, [1, 2], seed=1),
        MixtureSampler(samplers=parts, weights=[2, 1]).sample(graph, [1, 2], seed=1),
    )
