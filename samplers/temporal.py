"""Walks that know nothing of the future: only edges older than the seed's own time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pingraph.interfaces import Neighbors, Walks
from pingraph.samplers.hooks import Earlier
from pingraph.samplers.keeping import kept_with
from pingraph.samplers.requests import check_seeds, check_times
from pingraph.samplers.tables import in_time_order
from pingraph.samplers.walking import NO_TIME, Rules, WalkingSampler

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph


@dataclass(frozen=True, kw_only=True)
class TemporalSampler(WalkingSampler):
    """The pins that walks visit most which use only edges older than the seed's own time.

    The walks are those of `PinSAGESampler` on the graph as it was just before the seed's time: of
    each node, the edges older than that are chosen from with equal probability. A seed without such
    an edge has no neighbors. The graph must have times; the same seed may be asked for at several
    times in one call.

    Args:
        k: neighbors of a seed, at most.
        num_walks: walks from each seed.
        walk_length: traversals pin → board → pin of a walk, at most.
        restart_probability: in [0, 1), the probability to stop after a traversal.
        num_threads: threads that share the seeds of a call. It does not change the result.

    Raises:
        PinGraphError: an argument is out of its range; names the argument and the value.
    """

    def rules(self, graph: PinBoardGraph) -> Rules:
        """Return steps over edges in the order of time; raises PinGraphError without times."""
        return Rules(kept_with(graph, in_time_order), Earlier())

    def sample(
        self,
        graph: PinBoardGraph,
        seeds: np.ndarray,
        *,
        seed: int,
        epoch: int = 0,
        times: Any = None,
    ) -> Neighbors:
        """Return the most visited pins of each seed pin; see `WalkingSampler.sample`.

        Args:
            graph: a graph with edge times.
            seeds: int [B], dense pin indices.
            seed: the random seed.
            epoch: another epoch gives fresh walks.
            times: int [B], each seed's own time, in the unit of the graph's times: only edges
                older than it are used. By default a seed sees everything up to its own newest
                edge, that one included, and nothing that came later.

        Raises:
            PinGraphError: as of `WalkingSampler.sample`; the graph has no times, or `times` are no
                whole numbers of the length of the seeds.
        """
        seeds = check_seeds(graph, seeds)
        return self._sample(graph, seeds, _own_times(graph, seeds, times), seed, epoch)

    def walk(
        self,
        graph: PinBoardGraph,
        seeds: np.ndarray,
        *,
        seed: int,
        epoch: int = 0,
        times: Any = None,
    ) -> Walks:
        """Return the walks themselves; arguments and errors are those of `sample`."""
        seeds = check_seeds(graph, seeds)
        return self._walk(graph, seeds, _own_times(graph, seeds, times), seed, epoch)


def _own_times(graph: PinBoardGraph, seeds: np.ndarray, times: Any) -> np.ndarray:
    ordered = kept_with(graph, in_time_order)
    if times is None:
        last = ordered.pin_offsets[seeds + 1] - 1
        found = graph.pin_degrees[seeds] > 0
        edge_times = np.asarray(ordered.pin_times)
        newest = edge_times[np.where(found, last, 0)] if graph.num_edges else last
        return np.where(found & (newest < NO_TIME), newest + 1, NO_TIME)
    return check_times(seeds, times)
