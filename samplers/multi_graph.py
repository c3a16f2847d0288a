"""Several bipartite graphs over one set of pins: each is sampled alone, the pins are mixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pingraph.errors import PinGraphError
from pingraph.graph import PinBoardGraph
from pingraph.interfaces import Neighbors, Sampler
from pingraph.samplers.asking import neighbors_of
from pingraph.samplers.keeping import kept_with
from pingraph.samplers.mixture import checked_samplers, checked_weights, mix
from pingraph.samplers.requests import check_draw, check_seeds, check_whole


@dataclass(frozen=True, kw_only=True)
class MultiGraphSampler:
    """The pins that are near in several Pin-Board graphs, such as of saves, searches and clicks.

    `sample` is given the main graph; the others belong to the sampler. Each graph is sampled alone,
    and what was found is mixed as by `MixtureSampler`, the main graph first. Pins are the same if
    their ids are. A pin that another graph lacks has no neighbors there, and the other parts take
    its share. Pins that the main graph lacks are never returned, though walks on the other graphs
    pass through them; the weights of the other pins found there are divided by their sum.

    **No split is applied to the other graphs.** Whatever they say about held-out pins and edges of
    the main graph is seen in training: make them of training data alone.

    Source: Gurukar et al., MultiBiSage: A Web-Scale Recommendation System Using Multiple Bipartite
    Graphs at Pinterest, VLDB 2022 (arXiv 2205.10666), which walks on six such graphs.

    Args:
        graphs: the other graphs, at least one: as objects, or as paths of folders that
            `PinBoardGraph.save` wrote (memory-mapped) or of edge files (read into memory). Paths
            are opened when a process first samples.
        samplers: one for all graphs; or one for the main graph and one for each other, in order.
        weights: the graphs' shares, the main graph first, from 1e-9 to 1e9; None: all the same.
        k: neighbors of a seed, at most.

    Raises:
        PinGraphError: an argument is out of its range. When sampling: a path can't be opened, or
            a graph shares no pin with the main one.
    """

    graphs: Sequence[str | PinBoardGraph]
    samplers: Sequence[Sampler]
    weights: Sequence[float] | None = None
    k: int = 10

    def __post_init__(self) -> None:
        if not isinstance(self.graphs, (list, tuple)) or not self.graphs:
            raise PinGraphError(f"graphs is {self.graphs!r}; expected a list of at least one graph")
        for number, graph in enumerate(self.graphs):
            if not isinstance(graph, (str, Path, PinBoardGraph)):
                raise PinGraphError(f"graphs[{number}] is {graph!r}; expected a graph or a path")
        object.__setattr__(self, "graphs", tuple(self.graphs))
        count = len(self.graphs) + 1
        object.__setattr__(self, "samplers", checked_samplers(self.samplers))
        if len(self.samplers) not in (1, count):
            found = f"samplers has {len(self.samplers)} entries"
            raise PinGraphError(f"{found}; expected 1, or {count}: one a graph, the main one first")
        object.__setattr__(self, "weights", checked_weights(self.weights, count))
        check_whole("k", self.k, least=1, most=2**20)

    def sample(
        self, graph: PinBoardGraph, seeds: np.ndarray, *, seed: int, epoch: int = 0
    ) -> Neighbors:
        """Return the pins of the greatest score; arguments and errors as of `Sampler.sample`.

        The rows that another graph adds are those of its own dense pin indices.
        """
        check_draw(seed, epoch)
        seeds = check_seeds(graph, seeds)
        samplers = list(self.samplers)
        if len(samplers) == 1:
            samplers *= len(self.graphs) + 1
        main = neighbors_of(samplers[0], graph, seeds, seed=seed, epoch=epoch)
        parts = [(main.ids, main.weights)]
        for number, (other, sampler) in enumerate(zip(self._opened, samplers[1:], strict=True)):
            there, back = kept_with(graph, self._matched, number)
            present = np.flatnonzero(there[seeds] >= 0)
            found = neighbors_of(sampler, other, there[seeds[present]], seed=seed, epoch=epoch)
            parts.append(_brought_back(found, back, present, len(seeds)))
        return mix(seeds, parts, self.weights, self.k)

    @cached_property
    def _opened(self) -> list[PinBoardGraph]:
        return [
            graph if isinstance(graph, PinBoardGraph) else _open(graph) for graph in self.graphs
        ]

    def _matched(self, graph: PinBoardGraph, number: int) -> tuple[np.ndarray, np.ndarray]:
        return _matched(graph, self._opened[number], number)

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


def _open(path: str | Path) -> PinBoardGraph:
    return PinBoardGraph.open(path) if Path(path).is_dir() else PinBoardGraph.from_file(path)


def _matched(
    main: PinBoardGraph, other: PinBoardGraph, number: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the index in `other` of each main pin, and in `main` of each other pin; int64, or -1.

    Raises:
        PinGraphError: they share no pin, or have ids of different types.
    """
    if main.pin_ids.dtype.kind != other.pin_ids.dtype.kind:
        kinds = [{"i": "integers", "U": "strings"}[g.pin_ids.dtype.kind] for g in (main, other)]
        raise PinGraphError(
            f"graphs[{number}]: its pin ids are {kinds[1]}, those of the main graph {kinds[0]}"
        )
    _, in_main, in_other = np.intersect1d(
        main.pin_ids, other.pin_ids, assume_unique=True, return_indices=True
    )
    if not len(in_main):
        raise PinGraphError(f"graphs[{number}] shares no pin with the main graph; pins go by id")
    there = np.full(main.num_pins, -1, np.int64)
    back = np.full(other.num_pins, -1, np.int64)
    there[in_main], back[in_other] = in_other, in_main
    return there, back


def _brought_back(
    found: Neighbors, back: np.ndarray, rows: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return what was found in another graph as main pins [size, k], and their weights."""
    mine = np.where(found.mask, back[found.ids], -1)
    kept = np.where(mine >= 0, found.weights, 0).astype(np.float64)
    kept /= np.maximum(kept.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    ids = np.full((size, mine.shape[1]), -1, np.int64)
    weights = np.zeros(ids.shape)
    ids[rows], weights[rows] = mine, kept
    return ids, weights
