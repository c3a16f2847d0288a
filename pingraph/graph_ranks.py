"""Trustworthiness and continuity: whether who is near in the embedding is near in the graph.

Letters: N pins, D dimensions, k neighbors of each, Q pins that are asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pingraph.compiled import njit
from pingraph.samplers.requests import share_out

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph

_TOGETHER = 64  # pins whose scores and distances are held at a time: 512 bytes for each of N


def ranks_kept(
    vectors: np.ndarray, graph: PinBoardGraph, pins: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return trustworthiness and continuity of each pin's neighborhood (Venna and Kaski 2001).

    With r(j) the place of pin j by distance in the graph, and ρ(j) by the vectors, from 1:

        trustworthiness = 1 - c Σ max(0, r(j) - k) over the k first by ρ: who should not be near
        continuity      = 1 - c Σ max(0, ρ(j) - k) over the k first by r: who should be near
        c = 2 / (k (2N - 3k - 1))

    The distance is the number of traversals pin → board → pin; unreachable pins come last. Most
    distances are tied, and ties are in the order of ρ: so order among equals costs nothing.

    Pins without a vector have no place: N counts the others, which are all that is ranked. Ways in
    the graph may lead over them.

    Args:
        vectors: float32 [N, D]; the greatest dot product is the nearest, of equal ones the first.
            A vector of zeros stands for none.
        graph: of the same pins.
        pins: int64 [Q], with a vector.
        k: at least 0.

    Returns:
        float64 [Q] each, from 0 to 1; NaN unless 0 < k < N / 2.
    """
    sums = np.full((2, len(pins)), np.nan)
    ranked = np.flatnonzero(vectors.any(axis=1))
    if 0 < 2 * k < len(ranked):
        for start in range(0, len(pins), _TOGETHER):
            part = slice(start, start + _TOGETHER)
            _sum_ranks(vectors, graph, pins[part], ranked, k, sums[:, part])
    kept = 1 - 2 / max(1, k * (2 * len(ranked) - 3 * k - 1)) * sums
    return kept[0], kept[1]


def _sum_ranks(vectors, graph, pins, ranked, k, sums):
    """Write Σ max(0, r - k) and Σ max(0, ρ - k) of at most 64 pins."""
    scores = vectors[pins] @ vectors.T
    scores[np.arange(len(pins)), pins] = -np.inf
    arrays = graph.pin_offsets, graph.pin_boards, graph.board_offsets, graph.board_pins
    distances = np.empty(scores.shape, np.int32)
    _walk_breadth_first(*arrays, pins, distances)
    if len(ranked) < len(vectors):
        scores, distances = scores[:, ranked], distances[:, ranked]

    def work(part: slice) -> None:
        for row in range(part.start, part.stop):
            order = np.argsort(-scores[row], kind="stable")[:-1]  # the pin itself comes last
            sums[:, row] = _sum_beyond(order, distances[row], k)

    share_out(work, len(pins), fewest=1)


@njit(nogil=True, cache=True)
def _sum_beyond(order, distances, k):
    """Place the pins by (distance, order), and add up what lies beyond k on either side.

    Order [2 0 1] with distances [1 2 1] of pins 0, 1, 2: by distance come 2, 0, then 1. A distance
    begins where the nearer ones end; each pin takes the next place of its distance.
    """
    places = np.zeros(distances.max() + 2, np.int64)
    for pin in order:
        places[distances[pin] + 1] += 1
    places = np.cumsum(places)
    by_graph = by_vector = 0
    for rank in range(len(order)):
        pin = order[rank]
        place = places[distances[pin]]
        places[distances[pin]] += 1
        if rank < k:
            by_graph += max(0, place + 1 - k)
        if place < k:
            by_vector += max(0, rank + 1 - k)
    return by_graph, by_vector


@njit(nogil=True, cache=True)
def _walk_breadth_first(pin_offsets, pin_boards, board_offsets, board_pins, starts, distances):
    """Write the traversals from each start to each pin; out of reach is one above the rest.

    Up to 64 walks go together: bit s of a mask stands for the walk from starts[s], so that an edge
    is read once for all that cross it in one round (MS-BFS, Then et al. 2014, PVLDB 8).

    Args:
        pin_offsets, pin_boards, board_offsets, board_pins: of the graph.
        starts: int64 [Q], at most 64 pins.
        distances: int32 [Q, N], to be written.
    """
    distances[:] = -1
    pins, boards = len(pin_offsets) - 1, len(board_offsets) - 1
    seen, fresh, queue = _masks(pins), _masks(pins), np.empty(pins, np.int64)
    seen_boards, fresh_boards = _masks(boards), _masks(boards)
    board_queue = np.empty(boards, np.int64)
    waiting = level = 0
    for walk in range(len(starts)):
        mask = np.uint64(1) << np.uint64(walk)
        waiting = _reach(starts[walk], mask, seen, fresh, queue, waiting)
    while waiting:
        for place in range(waiting):
            pin = queue[place]
            seen[pin] |= fresh[pin]
            for walk in range(len(starts)):
                if fresh[pin] >> np.uint64(walk) & np.uint64(1):
                    distances[walk, pin] = level
        found = 0
        for place in range(waiting):
            pin = queue[place]
            for board in pin_boards[pin_offsets[pin] : pin_offsets[pin + 1]]:
                found = _reach(board, fresh[pin], seen_boards, fresh_boards, board_queue, found)
            fresh[pin] = 0
        waiting = 0
        for place in range(found):
            board = board_queue[place]
            seen_boards[board] |= fresh_boards[board]
            for pin in board_pins[board_offsets[board] : board_offsets[board + 1]]:
                waiting = _reach(pin, fresh_boards[board], seen, fresh, queue, waiting)
            fresh_boards[board] = 0
        level += 1
    for walk in range(len(starts)):
        for pin in range(pins):
            if distances[walk, pin] < 0:
                distances[walk, pin] = level


@njit(nogil=True, cache=True)
def _masks(count):
    return np.zeros(count, np.uint64)


@njit(nogil=True, cache=True)
def _reach(node, mask, seen, fresh, queue, waiting):
    """Note which walks are new at a node, and queue it once; return the end of the queue."""
    mask &= ~seen[node]
    if mask:
        if not fresh[node]:
            queue[waiting] = node
            waiting += 1
        fresh[node] |= mask
    return waiting
