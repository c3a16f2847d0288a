"""Co-board neighbors: pins drawn from the boards of a pin; the cheap baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pingraph.errors import PinGraphError
from pingraph.interfaces import Neighbors
from pingraph.samplers.co_board_kernels import draw_mates
from pingraph.samplers.requests import call_key, check_seeds, check_whole, share_out

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph

_WEIGHTINGS = ("uniform", "inverse_size")


@dataclass(frozen=True, kw_only=True)
class CoBoardSampler:
    """The pins drawn most often from the boards of a pin.

    Each of `draws` draws, with replacement, picks one of the seed's boards and one of the other
    pins on it. The seed itself is never drawn, so no draw is lost. With n(b) other pins on board b,
    pin v is drawn with probability

        "uniform":       number of boards shared with v / Σ n(b) over the seed's boards
        "inverse_size":  Σ 1 / (m n(b)) over the boards shared with v

    where m is the number of the seed's boards that hold another pin. So "uniform" prefers large
    boards, and pins that share many boards; "inverse_size" gives each board the same say. The `k`
    pins drawn most are the neighbors, of equal ones the one drawn first; a score is a number of
    draws. Edge weights and times are not used.

    For comparison: a walk of one traversal (`PinSAGESampler(walk_length=1)`) draws as
    "inverse_size" does, but may come back to the seed, which counts for nothing.

    Args:
        k: neighbors of a seed, at most.
        draws: pins drawn for each seed.
        weighting: "uniform" or "inverse_size".
        num_threads: threads that share the seeds of a call. It does not change the result.

    Raises:
        PinGraphError: an argument is out of its range; names the argument and the value.
    """

    k: int = 10
    draws: int = 100
    weighting: str = "uniform"
    num_threads: int = 1

    def __post_init__(self) -> None:
        check_whole("k", self.k, least=1, most=2**20)
        check_whole("draws", self.draws, least=1, most=2**24)
        check_whole("num_threads", self.num_threads, least=1, most=1024)
        if self.weighting not in _WEIGHTINGS:
            expected = " or ".join(f'"{name}"' for name in _WEIGHTINGS)
            raise PinGraphError(f"weighting is {self.weighting!r}; expected {expected}")

    def sample(
        self, graph: PinBoardGraph, seeds: np.ndarray, *, seed: int, epoch: int = 0
    ) -> Neighbors:
        """Return the pins drawn most from the boards of each seed pin.

        Args:
            graph: the graph to draw from.
            seeds: int [B], dense pin indices; repeats are allowed. A pin without boards, or alone
                on its boards, has no neighbors: its row of the mask is False.
            seed: the random seed, 0 to 2⁶⁴ - 1. The row of a pin is a function of the graph, the
                settings, `seed`, `epoch` and the pin, whatever else is asked for, and by whom.
            epoch: another epoch gives fresh draws; 0 to 2⁶⁴ - 1.

        Raises:
            PinGraphError: a seed is not a pin of the graph, or an argument is out of its range.
        """
        key = call_key(seed, epoch)
        seeds = check_seeds(graph, seeds)
        ids = np.full((len(seeds), self.k), -1, np.int64)
        scores = np.zeros((len(seeds), self.k), np.float32)
        arrays = graph.pin_offsets, graph.pin_boards, graph.board_offsets, graph.board_pins
        rule = self.draws, self.weighting == "inverse_size"

        def draw(rows: slice) -> None:
            draw_mates(arrays, seeds[rows], key, rule, ids[rows], scores[rows])

        share_out(draw, len(seeds), self.num_threads)
        return Neighbors.from_scores(seeds=seeds, ids=ids, scores=scores)
