"""Propagation is two loops over walks, and leaves new pins alone."""

import numpy as np
import pytest

from pingraph import propagation
from pingraph.errors import PinGraphError
from pingraph.propagation import Propagation
from pingraph.samplers import PinSAGESampler, PPRSampler
from pingraph.splits import PinSplit

SAMPLERS = [None, PinSAGESampler(k=7, num_walks=30)]


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def vectors(tiny):
    drawn = unit(np.random.default_rng(0).normal(size=(tiny.num_pins, 6))).astype(np.float32)
    drawn[5] = 0  # a pin without a vector
    return drawn


@pytest.fixture(scope="module")
def graph(tiny):
    return PinSplit(0.3, seed=2).split(tiny).train_graph(tiny.graph)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("block", [7, 1000])
def test_vectors_and_scores_are_those_of_two_loops(sampler, block, vectors, graph, monkeypatch):
    monkeypatch.setattr(propagation, "_BLOCK", block)
    walks = (sampler or PPRSampler(k=300, epsilon=1e-4)).sample(graph, range(60), seed=4)
    moved = vectors.astype(np.float64)
    visits = np.zeros((60, 60))
    for pin in range(60):
        for other, share in zip(walks.ids[pin], walks.weights[pin], strict=True):
            if other >= 0:
                moved[pin] += 0.7 * share * vectors[other]
                visits[pin, other] = share
    lengths = np.linalg.norm(moved, axis=1, keepdims=True)
    moved /= np.where(lengths > 0, lengths, 1)
    made = Propagation(sampler=sampler, weight=0.7, visits=2.0)
    found = made.vectors(vectors, graph, seed=4)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, moved, atol=1e-6)
    asked = np.array([3, 50, 8])
    scores = made.scorer(found, graph, seed=4)(asked)
    there = np.flatnonzero(moved.any(axis=1))
    expected = moved[asked] @ moved.T + 2 * np.sqrt(visits[asked])
    np.testing.assert_allclose(scores[:, there], expected[:, there], atol=1e-5)


def test_a_pin_without_saves_keeps_every_bit_and_one_without_a_vector_gets_that_of_others(
    vectors, graph
):
    found = Propagation().vectors(vectors, graph)
    new = graph.pin_degrees == 0
    assert new.sum() > 10
    assert np.array_equal(found[new], vectors[new])
    assert graph.pin_degrees[5] > 0
    assert np.linalg.norm(found[5]) == pytest.approx(1, abs=1e-6)
    assert not np.array_equal(found[~new], vectors[~new])


def test_nothing_added_is_nothing_changed(vectors, graph):
    plain = Propagation(weight=0, visits=0)
    np.testing.assert_allclose(plain.vectors(vectors, graph), vectors, atol=1e-6)
    scores = plain.scorer(plain.vectors(vectors, graph), graph)(np.arange(6, 20))
    expected = vectors[6:20] @ vectors.T
    there = vectors.any(axis=1)
    np.testing.assert_allclose(scores[:, there], expected[:, there], atol=1e-6)


@pytest.mark.parametrize("name", ["weight", "visits"])
@pytest.mark.parametrize("value", [-0.1, np.inf, np.nan])
def test_a_weight_out_of_its_range_is_refused(name, value):
    with pytest.raises(PinGraphError, match=f"{name} is {value}: expected a number of 0 or more"):
        Propagation(**{name: value})


def test_vectors_of_other_pins_are_refused(vectors, graph):
    with pytest.raises(PinGraphError, match="vectors has 59 rows: expected those of 60 pins"):
        Propagation().vectors(vectors[1:], graph)
