"""Vectors of pins from walks alone: their products are how much oftener than by chance two meet."""

import math

import numpy as np
import pytest

from pingraph.graph import PinBoardGraph
from pingraph.interfaces import Neighbors
from pingraph.samplers import PinSAGESampler
from pingraph.walk_spectrum import walk_spectrum


class Fixed:
    """Finds what it is told, other neighbors in odd epochs."""

    def __init__(self, even, odd):
        self.found, self.asked = (even, odd), []

    def sample(self, graph, seeds, *, seed, epoch=0):
        self.asked.append((seed, epoch))
        rows = [self.found[epoch % 2].get(pin, {}) for pin in seeds.tolist()]
        width = max(map(len, rows))
        ids, scores = (np.full((len(rows), width), one) for one in (-1, 0.0))
        for place, row in enumerate(rows):
            ids[place, : len(row)], scores[place, : len(row)] = [*row], [*row.values()]
        return Neighbors.from_scores(seeds=seeds, ids=ids, scores=scores)


EVEN = {0: {1: 3, 2: 1}, 1: {0: 1}, 2: {3: 1, 7: 1}, 3: {2: 5}, 5: {0: 1}}
ODD = {0: {1: 1}, 1: {2: 1}, 2: {3: 1}, 3: {2: 5}}
PINS = np.array([0, 1, 2, 3, 5, 6])
BOARDS = PinBoardGraph.from_edges(np.arange(8), np.zeros(8, int))


def by_loops():
    """The PPMI of PINS: shares of visits, over both kinds of epochs, made symmetric."""
    joint = np.zeros((len(PINS), len(PINS)))
    for found in (EVEN, ODD):
        for row, pin in enumerate(PINS):
            visits = found.get(pin, {})
            for column, other in enumerate(PINS):
                share = visits.get(other, 0) / max(1, sum(visits.values()))
                joint[row, column] += share
                joint[column, row] += share
    joint /= joint.sum()
    made = np.zeros_like(joint)
    for row, column in np.argwhere(joint):
        chance = joint[row].sum() * joint[:, column].sum()
        made[row, column] = max(0, math.log(joint[row, column] / chance))
    return made


def test_products_are_the_ppmi_without_what_no_product_can_be():
    sampler = Fixed(EVEN, ODD)
    found = walk_spectrum(BOARDS, PINS, sampler, dim=99, seed=7)
    values, vectors = np.linalg.eigh(by_loops())
    kept = np.maximum(values, 0) * vectors @ vectors.T
    assert found.shape == (6, 5)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found @ found.T, kept, atol=1e-5)
    assert sampler.asked == [(7, epoch) for epoch in range(10)]
    np.testing.assert_allclose(found[5], 0, atol=1e-6)  # pin 6 has no neighbor


def test_of_fewer_dimensions_there_are_the_main_ones():
    found = walk_spectrum(BOARDS, PINS, Fixed(EVEN, ODD), dim=2, seed=0)
    values = np.sort(np.linalg.eigvalsh(by_loops()))[::-1]
    np.testing.assert_allclose(np.square(found).sum(0), values[:2], rtol=1e-4)


def test_pins_of_boards_that_nobody_joins_stand_apart():
    pins = np.arange(30)
    graph = PinBoardGraph.from_edges(pins, pins // 10)
    found = walk_spectrum(graph, pins, PinSAGESampler(k=9), dim=3, seed=0)
    again = walk_spectrum(graph, pins, PinSAGESampler(k=9), dim=3, seed=0)
    other = walk_spectrum(graph, pins, PinSAGESampler(k=9), dim=3, seed=1)
    np.testing.assert_allclose(again @ again.T, found @ found.T, atol=1e-6)
    assert not np.allclose(other @ other.T, found @ found.T, atol=1e-6)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    same = pins[:, None] // 10 == pins // 10
    np.testing.assert_allclose(found @ found.T, same, atol=0.05)


@pytest.mark.parametrize("pins", [[], [3], [0, 1]])
def test_without_walks_there_is_nothing(pins):
    found = walk_spectrum(BOARDS, np.array(pins, int), Fixed({}, {}), dim=4, seed=0)
    assert found.shape == (len(pins), max(0, len(pins) - 1))
    assert not found.any()
