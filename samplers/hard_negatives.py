"""Hard negatives: pins that walks from the seed reach, but late in their ranking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pingraph.errors import PinGraphError
from pingraph.interfaces import Negatives, Sampler
from pingraph.samplers.asking import neighbors_of
from pingraph.samplers.check_rows import ids_in_range, padded_at_the_end, seeds_come_back
from pingraph.samplers.negative_kernels import draw_window
from pingraph.samplers.negatives import stream_key
from pingraph.samplers.requests import check_seeds, check_whole, share_out

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph

_MOST_NEIGHBORS = 2**22  # held at a time, about 70 MB


@dataclass(frozen=True, kw_only=True)
class WalkRankNegatives:
    """Pins in a window of ranks of another sampler, such as walks or personalized PageRank.

    They resemble the seed somewhat, but are no neighbors of it. The window of a seed is what
    `sampler` ranks from `first` up to, but not including, `last` (the best neighbor has rank 0),
    without the pins that share a board with the seed. From it `n` pins are drawn uniformly and
    without replacement. A window of fewer pins is given whole, in random order, and the rest of the
    row is masked; so is the whole row where the sampler does not find more than `first` pins.

    Each log-probability is -log(size of the window): given what the sampler has found, each pin of
    the window is equally likely in each place of the row.

    Source: Ying et al., Graph Convolutional Neural Networks for Web-Scale Recommender Systems, KDD
    2018 (arXiv 1806.01973), section 3.3, which ranks by personalized PageRank and draws from the
    ranks 2,000 to 5,000. That board-mates are left out is ours.

    Args:
        sampler: ranks the pins; it must give `last` columns (`k=5000` for the defaults), and find
            as many: 200 short walks don't.
        n: negatives of a seed, at most.
        first: the first rank of the window, from 0.
        last: the rank after the window.
        curriculum: gives min(n, epoch) negatives, none in epoch 0, and masks the others: harder
            with each epoch, as in section 3.3 of the paper.
        num_threads: threads that share the draws of a call; the sampler has its own. It does not
            change the result.

    Raises:
        PinGraphError: an argument is out of its range; names the argument and the value.
    """

    sampler: Sampler
    n: int = 10
    first: int = 2_000
    last: int = 5_000
    curriculum: bool = False
    num_threads: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.sampler, Sampler):
            raise PinGraphError(f"sampler is {self.sampler!r}; expected a sampler of neighbors")
        check_whole("n", self.n, least=1, most=2**20)
        check_whole("first", self.first, least=0, most=2**20)
        check_whole("last", self.last, least=self.first + 1, most=2**20)
        check_whole("num_threads", self.num_threads, least=1, most=1024)
        if not isinstance(self.curriculum, bool):
            raise PinGraphError(f"curriculum is {self.curriculum!r}; expected True or False")

    def sample_negatives(
        self, graph: PinBoardGraph, seeds: np.ndarray, *, seed: int, epoch: int = 0
    ) -> Negatives:
        """Return up to n hard negatives of each seed pin.

        Args:
            graph: the graph to walk on.
            seeds: int [B], dense pin indices; repeats are allowed. A pin without boards has no
                negatives: its row of the mask is False.
            seed: the random seed, 0 to 2⁶⁴ - 1, of the sampler, too. The row of a pin is a function
                of the graph, the settings, `seed`, `epoch` and the pin, if the sampler's is.
            epoch: another epoch gives fresh walks and draws; 0 to 2⁶⁴ - 1.

        Raises:
            PinGraphError: a seed is not a pin of the graph, an argument is out of its range, or the
                sampler gives fewer than `last` columns.
        """
        key = stream_key(b"walkers", seed, epoch)
        seeds = check_seeds(graph, seeds)
        ids = np.full((len(seeds), self.n), -1, np.int64)
        logs = np.zeros((len(seeds), self.n), np.float32)
        arrays = graph.pin_offsets, graph.pin_boards, graph.board_offsets, graph.board_pins
        take = min(self.n, epoch) if self.curriculum else self.n
        block = max(1, _MOST_NEIGHBORS // self.last)
        for start in range(0, len(seeds), block) if take else ():
            part = slice(start, start + block)
            ranked = self._window(graph, seeds[part], seed, epoch)
            whole = seeds[part], ranked, ids[part], logs[part]

            def work(rows: slice, whole: tuple[np.ndarray, ...] = whole) -> None:
                at, window, out, chances = (array[rows] for array in whole)
                draw_window(arrays, at, key, window, take, out, chances)

            share_out(work, len(seeds[part]), self.num_threads)
        return Negatives(seeds=seeds, ids=ids, log_probabilities=logs, mask=ids >= 0)

    def _window(self, graph: PinBoardGraph, seeds: np.ndarray, seed: int, epoch: int) -> np.ndarray:
        """Return the pins at the ranks of the window, int64 [B, last - first]."""
        # A seed among its own neighbors is left out here; ids beyond the mask would be drawn.
        answers = (seeds_come_back, padded_at_the_end, ids_in_range)
        ids = neighbors_of(self.sampler, graph, seeds, seed=seed, epoch=epoch, promises=answers).ids
        if ids.shape[1] < self.last:
            raise PinGraphError(
                f"sampler gives {ids.shape[1]} neighbors of a pin; expected at least {self.last}, "
                f"the end of the window: give it k={self.last}"
            )
        return np.ascontiguousarray(ids[:, self.first : self.last])
