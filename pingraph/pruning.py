"""Prunes a graph as Pixie does: without the boards of mixed content and the edges that fit least.

Source: Eksombatchai et al., Pixie: A System for Recommending 3+ Billion Items to 200+ Million Users
in Real-Time, WWW 2018 (arXiv 1711.07601), section 3.2. See `docs/pixie.md`.

Letters: P pins, B boards, E edges, T topics. The topics of a pin are a distribution that the user
brings, from a topic model or a classifier; those of a board are the mean of its pins'.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from pingraph.compiled import njit
from pingraph.errors import PinGraphError

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph

_STRIDE = np.uint64(0x9E3779B97F4A7C15)


def prune_boards(graph: PinBoardGraph, *, drop_share: float, topics: Any = None) -> PinBoardGraph:
    """Return the graph without the edges of its most diverse boards.

    Of the boards that have pins, the share `drop_share`, rounded down to a whole number, is
    dropped: those with the highest entropy -Σ_t c_t ln c_t, where c is the mean of the topics of
    the board's pins; without topics, those with most pins. Of equally diverse boards the larger
    one is dropped, and of these the one with the higher index.

    Args:
        graph: the graph to prune.
        drop_share: from 0 (nothing is dropped) to 1 (everything is).
        topics: float [P, T], finite and not negative; a row is divided by its sum. A row of zeros
            is a pin of which nothing is known and does not count; a board of only such pins has
            entropy 0.

    Returns:
        A graph with fewer edges. Every pin and board stays, with its dense index.

    Raises:
        PinGraphError: `drop_share` is out of its range, or the topics are no such array.
    """
    _check_number("drop_share", drop_share, lambda share: 0 <= share <= 1, "from 0 to 1")
    sizes = graph.board_degrees
    diversity = sizes
    if topics is not None:
        diversity = _entropies(_board_topics(graph, _pin_topics(graph, topics)))
    most_diverse_first = np.lexsort((-np.arange(graph.num_boards), -sizes, -diversity))
    with_pins = most_diverse_first[sizes[most_diverse_first] > 0]
    kept = np.ones(graph.num_boards, np.bool_)
    kept[with_pins[: _whole(drop_share * len(with_pins), np.floor)]] = False
    return graph.keep_edges(kept[graph.pin_boards])


def prune_pins(
    graph: PinBoardGraph, *, exponent: float, topics: Any = None, seed: int = 0
) -> PinBoardGraph:
    """Return the graph in which each pin keeps ⌈degree^δ⌉ of its edges, those that fit it best.

    How well a board fits a pin is the cosine of their topics (0 where one has none). Without
    topics, it is the weight of the edge, and in a graph without weights all boards fit alike. Of
    boards that fit alike, a random choice is kept.

    Args:
        graph: the graph to prune.
        exponent: δ, above 0 and at most 1, where it changes nothing. Pixie's authors found 0.91
            best on their graph.
        topics: as of `prune_boards`; those of a board are the mean of its pins' in this graph.
        seed: the random seed, 0 to 2⁶⁴ - 1. The choice is a function of the seed, the pin, and
            the board, so that an edge elsewhere does not change it.

    Returns:
        A graph with fewer edges. Every pin and board stays, with its dense index.

    Raises:
        PinGraphError: `exponent` or `seed` is out of its range, or the topics are no such array.
    """
    _check_number("exponent", exponent, lambda delta: 0 < delta <= 1, "above 0, at most 1")
    whole = isinstance(seed, (int, np.integer)) and not isinstance(seed, bool)
    if not whole or not 0 <= seed < 2**64:
        raise PinGraphError(f"seed is {seed!r}; expected a whole number from 0 to {2**64 - 1}")
    fit = np.zeros(graph.num_edges, np.float32) if graph.pin_weights is None else graph.pin_weights
    if topics is not None:
        fit = _cosines(graph, _pin_topics(graph, topics))
    degrees = graph.pin_degrees
    keep = _whole(degrees.astype(np.float64) ** exponent, np.ceil)
    mask = np.ones(graph.num_edges, np.bool_)
    _drop_worst(graph.pin_offsets, graph.pin_boards, keep, fit, np.uint64(seed), mask)
    return graph.keep_edges(mask)


def _check_number(name: str, value: Any, fits: Callable[[Any], bool], expected: str) -> None:
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not number or not fits(value):
        raise PinGraphError(f"{name} is {value!r}; expected a number {expected}")


def _whole(values: Any, direction: Any) -> Any:
    """Round down or up, but first to whole numbers that a power or product has just missed."""
    near = np.rint(values)
    hit = np.abs(values - near) <= 1e-12 * near
    return np.where(hit, near, direction(values)).astype(np.int64)


def _pin_topics(graph: PinBoardGraph, topics: Any) -> np.ndarray:
    """Check the topics of the pins; return them as float64 [P, T], each row's sum 1 or 0."""
    topics = np.asarray(topics)
    fits = topics.ndim == 2 and len(topics) == graph.num_pins and topics.shape[1] > 0
    if topics.dtype.kind not in "fiu" or not fits:
        found = f"{topics.dtype} {list(topics.shape)}"
        raise PinGraphError(f"topics are {found}; expected float [{graph.num_pins}, topics]")
    topics = topics.astype(np.float64)
    fault = np.argwhere(~((topics >= 0) & (topics < np.inf)))
    if len(fault):
        pin, topic = fault[0]
        raise PinGraphError(
            f"topics[{pin}, {topic}] is {topics[pin, topic]}; expected a finite number, 0 or more"
        )
    for total in (np.max, np.sum):  # the highest first: a sum of huge numbers would be infinite
        divisor = total(topics, axis=1, keepdims=True)
        topics /= np.where(divisor > 0, divisor, 1)
    return topics


def _board_topics(graph: PinBoardGraph, topics: np.ndarray) -> np.ndarray:
    """Return the mean topics of the pins of each board, float64 [B, T], row sums 1 or 0."""
    sums = graph.members() @ topics
    totals = sums.sum(axis=1, keepdims=True)
    return sums / np.where(totals > 0, totals, 1)


def _entropies(rows: np.ndarray) -> np.ndarray:
    """Return -Σ c ln c of each row, float64, where 0 ln 0 is 0; equal up to the last bits is equal.

    Sums over the same numbers in another order may differ in their last bits, which must not decide
    between boards that are equally diverse.
    """
    logs = np.log(rows, out=np.zeros_like(rows), where=rows > 0)
    return np.round(-(rows * logs).sum(axis=1), 12) + 0.0


def _cosines(graph: PinBoardGraph, topics: np.ndarray) -> np.ndarray:
    """Return the cosine of the topics of the pin and the board of each edge, float64 [E]."""
    boards = _unit(_board_topics(graph, topics))
    cosines = np.empty(graph.num_edges)
    _dot_products(graph.pin_offsets, graph.pin_boards, _unit(topics), boards, cosines)
    return np.round(cosines, 12)


def _unit(rows: np.ndarray) -> np.ndarray:
    lengths = np.sqrt((rows * rows).sum(axis=1, keepdims=True))
    return rows / np.where(lengths > 0, lengths, 1)


@njit(nogil=True, cache=True)
def _dot_products(offsets, boards, pin_rows, board_rows, out):
    for pin in range(offsets.size - 1):
        for edge in range(offsets[pin], offsets[pin + 1]):
            board, total = boards[edge], 0.0
            for topic in range(pin_rows.shape[1]):
                total += pin_rows[pin, topic] * board_rows[board, topic]
            out[edge] = total


@njit(nogil=True, cache=True)
def _drop_worst(offsets, boards, keep, fit, seed, mask):
    """Set the mask to False for all but the `keep[pin]` edges of each pin that fit it best."""
    key = _draw(np.uint64(0), seed)
    for pin in range(keep.size):
        start, end = offsets[pin], offsets[pin + 1]
        if keep[pin] == end - start:
            continue
        words = np.empty(end - start, np.uint64)
        for edge in range(start, end):
            words[edge - start] = _draw(_draw(key, np.uint64(pin)), np.uint64(boards[edge]))
        order = np.argsort(words)
        order = order[np.argsort(-fit[start:end][order], kind="mergesort")]  # of equal fit, stable
        for place in order[keep[pin] :]:
            mask[start + place] = False


@njit(inline="always")
def _draw(key, index):
    """Return output number `index` of SplitMix64 started at `key`; see `samplers.randomness`."""
    word = key + _STRIDE * (index + np.uint64(1))
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))
