"""PinSAGE neighbors: the pins that short random walks from a pin visit most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pingraph.interfaces import Neighbors
from pingraph.samplers.randomness import epoch_key
from pingraph.samplers.requests import check_seeds, check_share, check_whole, share_out
from pingraph.samplers.walk_kernels import pinsage

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph


@dataclass(frozen=True, kw_only=True)
class PinSAGESampler:
    """The pins that random walks from a pin visit most, weighted by their visits.

    From each seed start `num_walks` walks. A walk moves from its pin to one of the pin's boards and
    from there to one of the board's pins, each chosen uniformly (which may lead back to the pin it
    came from); after each such traversal it stops with probability `restart_probability`, and at
    the latest after `walk_length` traversals. Each traversal is a visit to the pin where it ends.
    The `k` most visited pins are the neighbors; the seed itself is never one of them, though walks
    pass through it. Of equally visited pins the one visited first is kept, where all first
    traversals, in the order of the walks, come before all second ones; so low indices are not
    favored. The weights are the visits of the kept pins over their sum.

    Edge weights and times of the graph are not used.

    Source: Ying et al., Graph Convolutional Neural Networks for Web-Scale Recommender Systems, KDD
    2018 (arXiv 1806.01973), section 3.2. The paper leaves the walks' number and length open.

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

    def sample(
        self, graph: PinBoardGraph, seeds: np.ndarray, *, seed: int, epoch: int = 0
    ) -> Neighbors:
        """Return the most visited pins of each seed pin.

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
        check_whole("seed", seed, least=0, most=2**64 - 1)
        check_whole("epoch", epoch, least=0, most=2**64 - 1)
        seeds = check_seeds(graph, seeds)
        ids = np.full((len(seeds), self.k), -1, np.int64)
        scores = np.zeros((len(seeds), self.k), np.float32)
        arrays = graph.pin_offsets, graph.pin_boards, graph.board_offsets, graph.board_pins
        key = np.uint64(epoch_key(np.uint64(seed), np.uint64(epoch)))
        go_on = np.uint64(round((1 - self.restart_probability) * 2**53))
        rule = self.num_walks, self.walk_length, go_on

        def walk(rows: slice) -> None:
            pinsage(arrays, seeds[rows], key, rule, ids[rows], scores[rows])

        share_out(walk, len(seeds), self.num_threads)
        return Neighbors.from_scores(seeds=seeds, ids=ids, scores=scores)
