"""Negatives drawn from the whole graph, uniformly or by popularity, with their exact chances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pingraph.errors import PinGraphError
from pingraph.interfaces import Negatives
from pingraph.samplers.keeping import kept_with
from pingraph.samplers.negative_kernels import call_key, draw_negatives, weigh_boards
from pingraph.samplers.requests import check_draw, check_seeds, check_whole, share_out

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph

_ONE = 2**26  # the weight of a pin on one board; rounding to whole ones is off by a relative 2⁻²⁷
_MOST_EDGES = 2**37  # so that the sum of all weights stays below 2⁶³


@dataclass(frozen=True, kw_only=True)
class UniformNegatives:
    """Pins drawn uniformly, with replacement, from all pins that lie on a board.

    A pin without boards is never drawn: in a training graph it may be held out. The seed is never
    drawn, and with `exclude_board_mates` neither is a pin that shares a board with it. The chance
    of each of the others is 1 / their number, which differs from seed to seed; its logarithm is
    exact to float32. A seed that leaves nobody gets a row whose mask is False.

    To leave the board-mates out, all pins of the seed's boards are read: that, and not `n`, is
    what a seed costs.

    Args:
        n: negatives of a seed.
        exclude_board_mates: whether pins that share a board with the seed are left out.
        num_threads: threads that share the seeds of a call. It does not change the result.

    Raises:
        PinGraphError: an argument is out of its range; names the argument and the value.
    """

    n: int = 10
    exclude_board_mates: bool = True
    num_threads: int = 1

    def __post_init__(self) -> None:
        _check(self)

    def sample_negatives(
        self, graph: PinBoardGraph, seeds: np.ndarray, *, seed: int, epoch: int = 0
    ) -> Negatives:
        """Return n pins that do not belong to each seed pin.

        Args:
            graph: the graph whose pins are drawn.
            seeds: int [B], dense pin indices; repeats are allowed.
            seed: the random seed, 0 to 2⁶⁴ - 1. The row of a pin is a function of the graph, the
                settings, `seed`, `epoch` and the pin, and independent of all walks.
            epoch: another epoch gives fresh draws; 0 to 2⁶⁴ - 1.

        Raises:
            PinGraphError: a seed is not a pin of the graph, or an argument is out of its range.
        """
        return _sample(self, graph, seeds, 0.0, stream_key(b"uniform", seed, epoch))


@dataclass(frozen=True, kw_only=True)
class PopularityNegatives:
    """Pins drawn by popularity, with replacement: in proportion to (boards of the pin)^exponent.

    Who is left out, and what is exact, is as of `UniformNegatives`: the chance of a pin is its
    weight over the weight of all pins that are not left out for that seed.

    Source: Mikolov et al., Distributed Representations of Words and Phrases and their
    Compositionality, NIPS 2013 (arXiv 1310.4546), section 2.2: the power 3/4 of the frequency.

    Args:
        n: negatives of a seed.
        exponent: in [0, 1]; 0 is uniform, 1 is in proportion to the number of boards.
        exclude_board_mates: whether pins that share a board with the seed are left out.
        num_threads: threads that share the seeds of a call. It does not change the result.

    Raises:
        PinGraphError: an argument is out of its range; names the argument and the value.
    """

    n: int = 10
    exponent: float = 0.75
    exclude_board_mates: bool = True
    num_threads: int = 1

    def __post_init__(self) -> None:
        _check(self)
        number = isinstance(self.exponent, (int, float, np.number))
        if not number or isinstance(self.exponent, bool) or not 0 <= self.exponent <= 1:
            raise PinGraphError(f"exponent is {self.exponent!r}; expected a number from 0 to 1")

    def sample_negatives(
        self, graph: PinBoardGraph, seeds: np.ndarray, *, seed: int, epoch: int = 0
    ) -> Negatives:
        """Return n pins for each seed pin; arguments and errors as of `UniformNegatives`."""
        key = stream_key(b"popular", seed, epoch)
        return _sample(self, graph, seeds, float(self.exponent), key)


class CandidateTable(NamedTuple):
    """The pins that can be drawn, in classes of equal weight; C candidates, D classes.

    Pins on equally many boards have equal weights, and there are few such numbers: to find the
    class of a random position takes a search among D, not among C.
    """

    pins: np.ndarray  # int32 or int64 [C], class by class
    starts: np.ndarray  # int64 [D + 1], where a class starts among the pins
    ends: np.ndarray  # uint64 [D], sums of all weights up to the end of each class
    weights: np.ndarray  # uint64 [D], of one pin of the class
    weight_of_degree: np.ndarray  # uint64 [largest degree + 1], or [1] if all weights are equal
    board_weights: np.ndarray  # uint64 [boards], of all pins of a board, or [0] likewise


def stream_key(stream: bytes, seed: Any, epoch: Any) -> np.uint64:
    """Return the key of a call, of words that walks and samplers of another name never use.

    Args:
        stream: seven letters; they stand where walks have the pin, as a number no pin has.
        seed: the random seed.
        epoch: the epoch.

    Raises:
        PinGraphError: `seed` or `epoch` is no whole number from 0 to 2⁶⁴ - 1.
    """
    check_draw(seed, epoch)
    number = np.uint64(int.from_bytes(stream, "big"))
    return np.uint64(call_key(np.uint64(seed), np.uint64(epoch), number))


def candidate_table(graph: PinBoardGraph, exponent: float) -> CandidateTable:
    """Return the table of a graph, kept as long as the graph lives: to make it takes a sort."""
    return kept_with(graph, _table, exponent)


def _table(graph: PinBoardGraph, exponent: float) -> CandidateTable:
    if graph.num_edges > _MOST_EDGES:
        raise PinGraphError(f"graph has {graph.num_edges} edges; expected at most {_MOST_EDGES}")
    degrees = graph.pin_degrees
    pins = np.flatnonzero(degrees)
    if exponent == 0:
        sizes = np.array([len(pins)])
        weights = weight_of_degree = np.full(1, _ONE, np.uint64)
        board_weights = np.zeros(0, np.uint64)
    else:
        pins = pins[np.argsort(degrees[pins], kind="stable")]
        distinct, sizes = np.unique(degrees[pins], return_counts=True)
        every = np.arange(degrees.max(initial=1) + 1, dtype=np.float64)
        weight_of_degree = np.rint(_ONE * every**exponent).astype(np.uint64)
        weights = weight_of_degree[distinct]
        board_weights = weigh_boards(_arrays(graph), weight_of_degree)
    return CandidateTable(
        pins=pins.astype(graph.board_pins.dtype),
        starts=np.append(0, np.cumsum(sizes)),
        ends=np.cumsum(sizes.astype(np.uint64) * weights, dtype=np.uint64),
        weights=weights,
        weight_of_degree=weight_of_degree,
        board_weights=board_weights,
    )


def _arrays(graph: PinBoardGraph) -> tuple[np.ndarray, ...]:
    return graph.pin_offsets, graph.pin_boards, graph.board_offsets, graph.board_pins


def _check(sampler: UniformNegatives | PopularityNegatives) -> None:
    check_whole("n", sampler.n, least=1, most=2**20)
    check_whole("num_threads", sampler.num_threads, least=1, most=1024)
    if not isinstance(sampler.exclude_board_mates, bool):
        found = repr(sampler.exclude_board_mates)
        raise PinGraphError(f"exclude_board_mates is {found}; expected True or False")


def _sample(
    sampler: UniformNegatives | PopularityNegatives,
    graph: PinBoardGraph,
    seeds: np.ndarray,
    exponent: float,
    key: np.uint64,
) -> Negatives:
    seeds = check_seeds(graph, seeds)
    ids = np.full((len(seeds), sampler.n), -1, np.int64)
    logs = np.zeros((len(seeds), sampler.n), np.float32)
    arrays = _arrays(graph)
    table = tuple(candidate_table(graph, exponent))

    def work(rows: slice) -> None:
        mates = sampler.exclude_board_mates
        draw_negatives(arrays, table, seeds[rows], key, mates, ids[rows], logs[rows])

    share_out(work, len(seeds), sampler.num_threads)
    return Negatives(seeds=seeds, ids=ids, log_probabilities=logs, mask=ids >= 0)
