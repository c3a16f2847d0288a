"""How far a sampler's weights are from exact personalized PageRank, as its walks grow."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pingraph.errors import PinGraphError
from pingraph.lab.statistics import top_share, total_variation
from pingraph.samplers.ppr import exact_ppr

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph

WALKS = (10, 30, 100, 300, 1000, 3000)  # of a seed
MOST_SEEDS, FEWEST_SEEDS = 100, 10
_FIELDS = {"k", "num_walks", "restart_probability"}
_LEAST_RESTART = 1e-3  # of exact_ppr
_WORK = 2e9  # edges that are passed, some seconds
_NUMBERS = 2e7  # seeds · pins: three such arrays of float64 are held


@dataclass(frozen=True, kw_only=True)
class Convergence:
    """Means over `seeds` seeds, one for each of WALKS; None where there can't be so many walks."""

    restart_probability: float
    seeds: int
    distance: list[float | None]  # total variation, 0 to 1
    top_share: list[float | None]  # of the k most probable pins, 0 to 1


class ExactPageRank:
    """Exact personalized PageRank of some seeds, computed once for all samplers that share it.

    Args:
        graph: the graph.
        seeds: int64, from which the first are taken.
    """

    def __init__(self, graph: PinBoardGraph, seeds: np.ndarray) -> None:
        self.graph, self.seeds = graph, seeds
        self._known: dict[tuple[float, bool], tuple[np.ndarray, np.ndarray]] = {}

    def size(self, restart_probability: float) -> int:
        """Return how many seeds can be computed in some seconds; 0 where they are too few."""
        passes = 15 / math.sqrt(restart_probability)  # of exact_ppr, at most
        by_work = _WORK / (passes * self.graph.num_edges)
        size = int(min(MOST_SEEDS, len(self.seeds), by_work, _NUMBERS / self.graph.num_pins))
        return size if size >= min(FEWEST_SEEDS, len(self.seeds)) else 0

    def of_others(
        self, restart_probability: float, weighted: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return those seeds that reach other pins, and the distribution on these, [B, P]."""
        key = restart_probability, weighted
        if key not in self._known:
            seeds = self.seeds[: self.size(restart_probability)]
            exact = exact_ppr(self.graph, seeds, restart_probability, weighted=weighted)
            exact[np.arange(len(seeds)), seeds] = 0
            mass = exact.sum(axis=1, keepdims=True)
            reach = mass[:, 0] > 0
            self._known[key] = seeds[reach], exact[reach] / mass[reach]
        return self._known[key]


def can_converge(sampler: Any) -> bool:
    """Return whether a sampler says by its fields that it walks with restart."""
    if not dataclasses.is_dataclass(sampler):
        return False
    values = {field.name: getattr(sampler, field.name) for field in dataclasses.fields(sampler)}
    return values.keys() >= _FIELDS and values["restart_probability"] >= _LEAST_RESTART


def converge(
    sampler: Any, exact: ExactPageRank, *, seed: int, step: Callable[[str], None]
) -> Convergence | None:
    """Compare a sampler with exact PageRank of its own restart probability.

    The sampler keeps its settings, but for the number of walks; k is raised so that no pin that
    was found is cut off from the distance. The share of the top k is that of its own k.

    Args:
        sampler: one that `can_converge`.
        exact: the exact vectors.
        seed: the random seed.
        step: called before each number of walks.

    Returns:
        The figures; None where the graph is too large, or no seed reaches another pin.
    """
    restart = sampler.restart_probability
    if not exact.size(restart):
        return None
    seeds, rank = exact.of_others(restart, getattr(sampler, "weighted", False))
    if not len(seeds):
        return None
    points: list[tuple[float | None, float | None]] = []
    for walks in WALKS:
        step(f"{walks:,} walks against exact PageRank")
        widest = walks * getattr(sampler, "walk_length", exact.graph.num_pins)
        try:
            wide = dataclasses.replace(
                sampler, num_walks=walks, k=max(sampler.k, min(widest, exact.graph.num_pins))
            )
        except PinGraphError:
            points.append((None, None))
            continue
        found = wide.sample(exact.graph, seeds, seed=seed)
        top = top_share(found, rank, min(sampler.k, exact.graph.num_pins))
        points.append((float(total_variation(found, rank).mean()), float(top.mean())))
    distance, share = zip(*points, strict=True)
    return Convergence(
        restart_probability=restart,
        seeds=len(seeds),
        distance=list(distance),
        top_share=list(share),
    )
