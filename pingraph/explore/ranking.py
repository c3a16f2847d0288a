"""All pins in the order of a score, and the filters that pass some of them.

Letters: N pins, D dimensions, R ranked pins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph
    from pingraph.interfaces import Sampler
    from pingraph.splits import Split

STATES = ("warm", "cold", "held out, but its image was trained on", "on no board")
WARM, COLD, TWIN, UNSAVED = range(4)


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Pins in the order of a score, the best first."""

    pins: np.ndarray  # int64 [R], dense indices
    scores: np.ndarray  # float32 [R]
    places: np.ndarray  # int64 [N], of each pin in `pins`, from 1; 0 where it is not ranked

    @classmethod
    def of(cls, pins: np.ndarray, scores: np.ndarray, count: int) -> Ranking:
        """Return the record of pins that are in order already, of `count` in all."""
        places = np.zeros(count, np.int64)
        places[pins] = np.arange(1, len(pins) + 1)
        return cls(pins=pins, scores=scores, places=places)

    def first(self, passing: np.ndarray, k: int) -> np.ndarray:
        """Return the first k pins that pass (bool [N])."""
        return self.pins[passing[self.pins]][:k]


def rank_by_vector(
    vectors: np.ndarray, present: np.ndarray, query: np.ndarray, own: int | None = None
) -> Ranking:
    """Rank pins by their dot product with a query; equal ones in the order of the pins.

    Args:
        vectors: float32 [N, D].
        present: bool [N], which pins have a vector; no other is ranked.
        query: float32 [D].
        own: the pin that asks, which is not ranked.
    """
    scores = vectors @ query
    scores[~present] = -np.inf
    if own is not None:
        scores[own] = -np.inf
    ranked = descending(scores)[: np.count_nonzero(scores != -np.inf)]
    return Ranking.of(ranked, scores[ranked], len(vectors))


def descending(scores: np.ndarray) -> np.ndarray:
    """Return the places of scores from the greatest on, equal ones in their order, int64 [N].

    The bits of a float, read as a whole number, are in the order of the floats, or in the reverse
    one below zero. With its place behind them, a plain sort of whole numbers is a stable one, in a
    fraction of the time.

    Args:
        scores: float32 [N], not NaN; N is below 2³².
    """
    bits = (scores + np.float32(0)).view(np.uint32)  # -0 becomes 0, which it is equal to
    falling = np.where(bits >> 31, bits, bits ^ np.uint32(0x7FFFFFFF))
    keys = falling.astype(np.uint64) << np.uint64(32) | np.arange(len(bits), dtype=np.uint64)
    keys.sort()
    return (keys & np.uint64(0xFFFFFFFF)).astype(np.int64)


def rank_by_walks(sampler: Sampler, graph: PinBoardGraph, pin: int, *, seed: int = 0) -> Ranking:
    """Rank pins by their share of the visits of walks from a pin.

    Args:
        sampler: whose `k` is as great as the number of pins that its walks can visit, so that
            weights are shares of all visits.
        graph: the graph to walk on.
        pin: where the walks begin; not ranked.
        seed: of the walks.
    """
    found = sampler.sample(graph, np.array([pin]), seed=seed)
    there = found.mask[0]
    return Ranking.of(found.ids[0, there], found.weights[0, there], graph.num_pins)


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which pins a list may hold."""

    board: int | None = None  # only the pins of this board, dense index
    least: int = 0  # boards that a pin is on at least
    most: int | None = None  # and at most
    state: int | None = None  # only WARM, COLD, TWIN or UNSAVED

    def passing(self, graph: PinBoardGraph, states: np.ndarray) -> np.ndarray:
        """Return which pins pass, bool [N].

        Args:
            graph: with all edges, those that are held out included.
            states: int8 [N], as `pin_states` returns them.
        """
        passing = graph.pin_degrees >= self.least
        if self.most is not None:
            passing &= graph.pin_degrees <= self.most
        if self.state is not None:
            passing &= states == self.state
        if self.board is not None:
            inside = np.zeros(graph.num_pins, bool)
            inside[graph.pins_of(self.board)] = True
            passing &= inside
        return passing


def pin_states(split: Split, graph: PinBoardGraph) -> np.ndarray:
    """Return what training saw of each pin, int8 [N]: WARM, COLD, TWIN or UNSAVED.

    Args:
        split: what was held out.
        graph: with all edges.
    """
    states = np.full(graph.num_pins, TWIN, np.int8)
    states[graph.pin_degrees == 0] = UNSAVED
    states[split.cold_pins(graph)] = COLD
    states[split.warm_pins(graph)] = WARM
    return states
