"""What all walk samplers share: their settings, and the way from seeds to neighbors and traces."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pingraph.errors import PinGraphError
from pingraph.interfaces import Neighbors, Walks
from pingraph.samplers.hooks import GraphArrays
from pingraph.samplers.requests import call_key, check_seeds, check_share, check_whole, share_out
from pingraph.samplers.trace_kernels import trace_walks_cached, trace_walks_fresh
from pingraph.samplers.visit_kernels import count_visits_cached, count_visits_fresh

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph

NO_TIME = 2**63 - 1  # later than any edge


class Rules(NamedTuple):
    """How the walks of a sampler go on a graph; see `hooks`."""

    graph: GraphArrays
    step: Any
    accept: Any = None
    score: Any = None
    data: Any = ()
    from_user: bool = False  # then kernels are not kept on disk


@dataclass(frozen=True, kw_only=True)
class WalkingSampler(ABC):
    """Walks from pins, and the pins that they visit most.

    From each seed start `num_walks` walks. A walk moves from its pin to one of the pin's boards and
    from there to one of the board's pins (which may lead back to the pin it came from); after each
    such traversal it stops with probability `restart_probability`, and at the latest after
    `walk_length` traversals. How boards and pins are chosen is what subclasses differ in.

    Args:
        k: neighbors of a seed, at most.
        num_walks: walks from each seed.
        walk_length: traversals pin → board → pin of a walk, at most.
        restart_probability: in [0, 1), the probability to stop after a traversal.
        num_threads: threads that share the seeds of a call. It does not change the result.

    Raises:
        PinGraphError: an argument is out of its range; names the argument and the value.
    """

    k: int = 10
    num_walks: int = 200
    walk_length: int = 2
    restart_probability: float = 0.5
    num_threads: int = 1

    def __post_init__(self) -> None:
        for name in ("k", "num_walks", "walk_length"):
            check_whole(name, getattr(self, name), least=1, most=2**20)
        check_whole(
            "num_walks * walk_length", self.num_walks * self.walk_length, least=1, most=2**24
        )
        check_whole("num_threads", self.num_threads, least=1, most=1024)
        check_share("restart_probability", self.restart_probability)

    @abstractmethod
    def rules(self, graph: PinBoardGraph) -> Rules:
        """Return how this sampler's walks go on `graph`.

        Raises:
            PinGraphError: the graph lacks what they need.
        """

    def sample(
        self, graph: PinBoardGraph, seeds: np.ndarray, *, seed: int, epoch: int = 0
    ) -> Neighbors:
        """Return the most visited pins of each seed pin, with their visits as scores.

        Args:
            graph: the graph to walk on.
            seeds: int [B], dense pin indices; repeats are allowed. A pin without boards has no
                neighbors: its row of the mask is False.
            seed: the random seed, 0 to 2⁶⁴ - 1. The row of a pin is a function of the graph, the
                settings, `seed`, `epoch` and the pin, whatever else is asked for, and by whom.
            epoch: another epoch gives fresh walks; 0 to 2⁶⁴ - 1.

        Raises:
            PinGraphError: a seed is not a pin of the graph, or an argument is out of its range.
        """
        return self._sample(graph, check_seeds(graph, seeds), None, seed, epoch)

    def walk(self, graph: PinBoardGraph, seeds: np.ndarray, *, seed: int, epoch: int = 0) -> Walks:
        """Return the walks whose visits `sample` counts, traversal by traversal.

        Arguments and errors are those of `sample`.
        """
        return self._walk(graph, check_seeds(graph, seeds), None, seed, epoch)

    def _sample(
        self, graph: PinBoardGraph, seeds: np.ndarray, times: Any, seed: int, epoch: int
    ) -> Neighbors:
        ids = np.full((len(seeds), self.k), -1, np.int64)
        scores = np.zeros((len(seeds), self.k), np.float32)
        times, key, rule = self._request(seeds, times, seed, epoch)
        rules, fault = self.rules(graph), np.full(5, -1)
        kernel = count_visits_fresh if rules.from_user else count_visits_cached

        def count(rows: slice) -> None:
            kernel(
                *(rules.graph, rules.step, rules.accept, rules.score, rules.data),
                *(seeds[rows], times[rows], key, rule, ids[rows], scores[rows], fault),
            )

        share_out(count, len(seeds), self.num_threads)
        _check_places(fault)
        return Neighbors.from_scores(seeds=seeds, ids=ids, scores=scores)

    def _walk(
        self, graph: PinBoardGraph, seeds: np.ndarray, times: Any, seed: int, epoch: int
    ) -> Walks:
        size, dtype = len(seeds) * self.num_walks, graph.board_pins.dtype
        pins = np.empty((self.walk_length + 1, size), dtype)
        boards = np.empty((self.walk_length, size), dtype)
        times, key, rule = self._request(seeds, times, seed, epoch)
        rules, fault = self.rules(graph), np.full(5, -1)
        kernel = trace_walks_fresh if rules.from_user else trace_walks_cached

        def trace(rows: slice) -> None:
            kernel(
                *(rules.graph, rules.step, rules.accept, rules.data),
                *(seeds, times, key, rule, pins, boards, (rows.start, rows.stop), fault),
            )

        share_out(trace, len(seeds), self.num_threads)
        _check_places(fault)
        shape = len(seeds), self.num_walks
        return Walks(
            seeds=seeds,
            pins=pins.T.reshape(*shape, self.walk_length + 1),
            boards=boards.T.reshape(*shape, self.walk_length),
        )

    def _request(
        self, seeds: np.ndarray, times: Any, seed: int, epoch: int
    ) -> tuple[np.ndarray, np.uint64, tuple]:
        """Return the times of the seeds, the key of the call, and the rule of the kernels."""
        key = call_key(seed, epoch)
        if times is None:
            times = np.full(len(seeds), NO_TIME)
        go_on = np.uint64(round((1 - self.restart_probability) * 2**53))
        return times, key, (self.num_walks, self.walk_length, go_on)


def _check_places(fault: np.ndarray) -> None:
    pin, board, start, end, place = fault.tolist()
    if end < 0:
        return
    node = f"board {board}" if board >= 0 else f"pin {pin}"
    raise PinGraphError(
        f"step returned place {place} at {node}; "
        f"expected {start} to {end - 1}, or -1 to end the walk"
    )
