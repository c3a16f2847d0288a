"""Neighbors as the edges that graph libraries pass messages along: what both adapters rest on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING

import numpy as np
import torch

from pingraph.errors import PinGraphError
from pingraph.interfaces import Neighbors, Sampler
from pingraph.samplers.requests import check_whole

if TYPE_CHECKING:
    from torch import Tensor

    from pingraph.graph import PinBoardGraph


def edge_index(found: Neighbors) -> tuple[Tensor, Tensor]:
    """Return the neighbors as edges from neighbor to seed, in PyG's layout.

    Args:
        found: what any sampler returns, of E neighbors in all.

    Returns:
        int64 [2, E], the neighbors above their seeds, pins of the graph, row by row and best first;
        and float32 [E], the weights. `dgl.graph(tuple(edge_index))` takes the first, too.
    """
    rows, columns = np.nonzero(found.mask)
    ends = np.stack([found.ids[rows, columns], found.seeds[rows]])
    return torch.from_numpy(ends), torch.from_numpy(found.weights[rows, columns])


@dataclass(frozen=True, kw_only=True)
class Hop:
    """The edges of one hop between nodes that are numbered from 0; M nodes, E edges."""

    nodes: np.ndarray  # int64 [M], pins: those known before, then new ones as they first occur
    sources: np.ndarray  # int64 [E], places of the neighbors among the nodes
    targets: np.ndarray  # int64 [E], rows of the seeds that they are neighbors of, ascending
    weights: np.ndarray  # float32 [E]


def to_hop(known: np.ndarray, found: Neighbors) -> Hop:
    """Number the neighbors: a known pin keeps its first place, the others are appended.

    Known 4, 9 and rows (9, 7), (7, 5) give nodes 4, 9, 7, 5 and sources 1, 2, 2, 3.

    Args:
        known: int64 [N], pins; repeats keep a place each.
        found: the neighbors of some pins.
    """
    rows, columns = np.nonzero(found.mask)
    everyone = np.concatenate([known, found.ids[rows, columns]])
    _, first, group = np.unique(everyone, return_index=True, return_inverse=True)
    new = np.sort(first[first >= len(known)])
    places = first[group[len(known) :]]
    is_new = places >= len(known)
    places[is_new] = len(known) + np.searchsorted(new, places[is_new])
    return Hop(
        nodes=np.concatenate([known, everyone[new]]),
        sources=places,
        targets=rows,
        weights=found.weights[rows, columns],
    )


class HopSampler:
    """Samplers, one for each hop, with the random seed and the epoch of their walks.

    The epoch lies in shared memory: workers of a data loader see it change, those that live on
    from one epoch to the next included.

    Args:
        graph: the graph to walk on; its pins are the nodes.
        hops: a sampler for each hop, the one around the seeds first.
        seed: the random seed, 0 to 2⁶⁴ - 1.

    Raises:
        PinGraphError: there is no hop, one is no sampler, or the seed is out of range.
    """

    def __init__(self, graph: PinBoardGraph, hops: Sequence[Sampler], *, seed: int):
        if isinstance(hops, Sampler) or not len(hops):
            raise PinGraphError(f"hops is {hops!r}; expected a list with a sampler for each hop")
        for place, sampler in enumerate(hops):
            if not isinstance(sampler, Sampler):
                raise PinGraphError(f"hops[{place}] is {sampler!r}; expected a sampler")
        check_whole("seed", seed, least=0, most=2**64 - 1)
        self.graph, self.hops, self.seed = graph, tuple(hops), seed
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()

    @property
    def epoch(self) -> int:
        """The epoch whose walks are given out, 0 at first."""
        return int(self._epoch[0])

    def set_epoch(self, epoch: int) -> None:
        """Give out the walks of another epoch from now on; call it before each pass of a loader.

        Args:
            epoch: 0 to 2⁶³ - 1. The same epoch gives the same walks again.

        Raises:
            PinGraphError: the epoch is out of range.
        """
        check_whole("epoch", epoch, least=0, most=2**63 - 1)
        self._epoch[0] = epoch

    def neighbors(self, hop: int, pins: np.ndarray, times: np.ndarray | None = None) -> Neighbors:
        """Return the neighbors of pins at a hop, 0 around the seeds; times after `check_timed`."""
        options = {} if times is None else {"times": times}
        return self.hops[hop].sample(self.graph, pins, seed=self.seed, epoch=self.epoch, **options)

    def check_timed(self) -> None:
        """Raise a PinGraphError unless all samplers take `times`, as `TemporalSampler` does."""
        for place, sampler in enumerate(self.hops):
            if "times" not in signature(sampler.sample).parameters:
                raise PinGraphError(
                    f"the loader gives the seeds times, and hops[{place}] is {sampler!r}; "
                    "expected a sampler that takes times, such as TemporalSampler"
                )
