"""Personalized PageRank: where endless walks from a pin end, within a bound and without chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pingraph.errors import PinGraphError
from pingraph.interfaces import Neighbors
from pingraph.samplers.keeping import kept_with
from pingraph.samplers.ppr_kernels import push_pagerank, solve_pagerank
from pingraph.samplers.requests import check_draw, check_seeds, check_whole, share_out

if TYPE_CHECKING:
    from pingraph.build import Csr
    from pingraph.graph import PinBoardGraph

_LEAST_RESTART, _LEAST_EPSILON = 1e-3, 1e-12
_ERROR = 1e-12  # of an exact vector, in all


@dataclass(frozen=True, kw_only=True)
class PPRSampler:
    """The pins with the largest personalized PageRank, estimated by forward push.

    A walk starts at the seed s and moves to one of its pin's boards, then to one of that board's
    pins, each chosen uniformly, or in proportion to the edge weights if `weighted`; after each such
    traversal it stops with probability α, the `restart_probability`. With P(u, v) the probability
    that a traversal leads from u to v, the walk ends at v with probability

        π(s, v) = Σ α (1-α)^(t-1) P^t(s, v) over t = 1, 2, …

    This is also the share of visits to v that `PinSAGESampler` tends to with many walks and no
    limit to their length. `exact_ppr` computes it whole; here, mass is pushed from s only while it
    is worth it, in a time that does not grow with the graph. The score of v is an estimate with

        π(s, v) - epsilon · d(v) ≤ score ≤ π(s, v)        (and float32 rounding, 1 in 10⁷)

    where d(v) is the number of boards of v or, if `weighted`, the sum of the weights of its edges
    over the mean weight of the graph's edges. The bound holds for pins that are not found, too:
    their score is 0. The seed is left out. Of pins with equal scores, the pin whose index hashes to
    less together with the seed's is kept, so low indices are not favored.

    No random numbers: `seed` and `epoch` of `sample` change nothing.

    Source: Andersen, Chung, Lang, Local Graph Partitioning using PageRank Vectors, FOCS 2006. What
    is changed for pins and boards, and the proof of the bound, stand in docs/ppr.md.

    Args:
        k: neighbors of a seed, at most.
        restart_probability: α, from 0.001 to below 1.
        epsilon: the bound of the error for each unit of degree, from 1e-12 to 1. A seed takes up
            to 4 / (α · epsilon) edges of work, on a graph without weights.
        weighted: choose edges in proportion to their weights.
        num_threads: threads that share the seeds of a call. It does not change the result.

    Raises:
        PinGraphError: an argument is out of its range; names the argument and the value.
    """

    k: int = 10
    restart_probability: float = 0.5
    epsilon: float = 1e-5
    weighted: bool = False
    num_threads: int = 1

    def __post_init__(self) -> None:
        check_whole("k", self.k, least=1, most=2**20)
        check_whole("num_threads", self.num_threads, least=1, most=1024)
        _check_restart(self.restart_probability)
        if not _is_number(self.epsilon) or not _LEAST_EPSILON <= self.epsilon <= 1:
            raise PinGraphError(
                f"epsilon is {self.epsilon!r}; expected a number from {_LEAST_EPSILON} to 1"
            )
        _check_weighted(self.weighted)

    def sample(
        self, graph: PinBoardGraph, seeds: np.ndarray, *, seed: int, epoch: int = 0
    ) -> Neighbors:
        """Return the pins of largest estimate for each seed pin, with the estimates as scores.

        Args:
            graph: the graph to push on.
            seeds: int [B], dense pin indices; repeats are allowed. A pin without boards has no
                neighbors, and neither has one whose degree is 2 / `epsilon` or more.
            seed: 0 to 2⁶⁴ - 1, as every sampler takes it; changes nothing.
            epoch: 0 to 2⁶⁴ - 1; changes nothing.

        Raises:
            PinGraphError: a seed is not a pin of the graph, an argument is out of its range, or the
                graph has no weights and the sampler is `weighted`.
        """
        check_draw(seed, epoch)
        seeds = check_seeds(graph, seeds)
        ids = np.full((len(seeds), self.k), -1, np.int64)
        scores = np.zeros((len(seeds), self.k), np.float32)
        pins, boards = sides_of(graph, self.weighted)
        unit = pins[3].sum() / graph.num_edges if graph.num_edges else 1.0  # the mean weight, or 1
        rule = float(self.restart_probability), float(self.epsilon / 2 / unit)

        def push(rows: slice) -> None:
            sides = pins + _working_set(graph.num_pins), boards + _working_set(graph.num_boards)
            push_pagerank(*sides, seeds[rows], rule, ids[rows], scores[rows])

        share_out(push, len(seeds), self.num_threads)
        return Neighbors.from_scores(seeds=seeds, ids=ids, scores=scores)


def exact_ppr(
    graph: PinBoardGraph,
    seeds: np.ndarray,
    restart_probability: float = 0.5,
    *,
    weighted: bool = False,
    num_threads: int = 1,
) -> np.ndarray:
    """Return the personalized PageRank of all pins, float64 [B, P], but for rounding.

    The vector π of each seed as `PPRSampler` defines it, the seed's own entry included. The
    absolute errors of a row sum to at most 10⁻¹², and pins that no walk reaches have 0; a row sums
    to 1, or to 0 if the pin has no boards. It is for small graphs or few seeds: a seed takes passes
    over all edges, 15 / √α or fewer. Source: docs/ppr.md.

    Args:
        graph: the graph to walk on.
        seeds: int [B], dense pin indices.
        restart_probability: α, from 0.001 to below 1.
        weighted: choose edges in proportion to their weights.
        num_threads: threads that share the seeds. It does not change the result.

    Raises:
        PinGraphError: a seed is not a pin of the graph, an argument is out of its range, or the
            graph has no weights and `weighted` is True.
    """
    check_whole("num_threads", num_threads, least=1, most=1024)
    _check_restart(restart_probability)
    _check_weighted(weighted)
    seeds = check_seeds(graph, seeds)
    pins, boards = sides_of(graph, weighted)
    ppr = np.zeros((len(seeds), graph.num_pins))
    rule = float(restart_probability), _ERROR

    def solve(rows: slice) -> None:
        solve_pagerank(boards, pins[3], seeds[rows], rule, ppr[rows])

    share_out(solve, len(seeds), num_threads, fewest=1)
    return ppr


def sides_of(graph: PinBoardGraph, weighted: bool) -> tuple[tuple, tuple]:
    """Return (offsets, neighbors, weights or None, degrees) of the pins and of the boards."""
    by_pin, by_board = graph.by_pin, graph.by_board
    if not weighted:
        return (
            (by_pin.offsets, by_pin.neighbors, None, graph.pin_degrees),
            (by_board.offsets, by_board.neighbors, None, graph.board_degrees),
        )
    if graph.pin_weights is None or graph.board_weights is None:
        raise PinGraphError("weighted=True needs edge weights, and this graph has none")
    sums = kept_with(graph, _sums_of_sides)
    return (
        (by_pin.offsets, by_pin.neighbors, graph.pin_weights, sums[0]),
        (by_board.offsets, by_board.neighbors, graph.board_weights, sums[1]),
    )


def _sums_of_sides(graph: PinBoardGraph) -> tuple[np.ndarray, np.ndarray]:
    return _sums(graph.by_pin), _sums(graph.by_board)


def _sums(edges: Csr) -> np.ndarray:
    """Return the sum of the weights of each row, float64."""
    sums = np.zeros(len(edges.offsets) - 1)
    filled = np.diff(edges.offsets) > 0
    starts = edges.offsets[:-1][filled]
    sums[filled] = np.add.reduceat(np.asarray(edges.weights), starts, dtype=np.float64)
    return sums


def _working_set(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the masses, queue and reached nodes of a side: see `ppr_kernels`."""
    return np.zeros((size, 2)), np.empty(size + 1, np.int64), np.empty(size + 1, np.int64)


def _check_restart(value: Any) -> None:
    if not _is_number(value) or not _LEAST_RESTART <= value < 1:
        raise PinGraphError(
            f"restart_probability is {value!r}; expected a number from {_LEAST_RESTART} to below 1"
        )


def _check_weighted(value: Any) -> None:
    if not isinstance(value, bool):
        raise PinGraphError(f"weighted is {value!r}; expected True or False")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
