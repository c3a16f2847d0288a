"""Trustworthiness and continuity: whether who is near in the embedding is near in the graph.

Letters: N pins, D dimensions, k neighbors of each, Q pins that are asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numba
import numpy as np
from numba import njit

from pingraph.samplers.requests import share_out

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph

_SCORES = 32_000_000  # that are held at a time: 128 MB


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

    Args:
        vectors: float32 [N, D]; the greatest dot product is the nearest, of equal ones the first.
        graph: of N pins.
        pins: int64 [Q].
        k: at least 0.

    Returns:
        float64 [Q] each, from 0 to 1; NaN unless 0 < k < N / 2.
    """
    sums = np.full((2, len(pins)), np.nan)
    if 0 < 2 * k < len(vectors):
        step = max(1, _SCORES // len(vectors))
        for start in range(0, len(pins), step):
            _sum_ranks(vectors, graph, pins[start : start + step], k, sums[:, start : start + step])
    kept = 1 - 2 / max(1, k * (2 * len(vectors) - 3 * k - 1)) * sums
    return kept[0], kept[1]


def _sum_ranks(vectors, graph, pins, k, sums):
    """Write Σ max(0, r - k) and Σ max(0, ρ - k) of some pins."""
    scores = vectors[pins] @ vectors.T
    scores[np.arange(len(pins)), pins] = -np.inf
    arrays = graph.pin_offsets, graph.pin_boards, graph.board_offsets, graph.board_pins

    def work(part: slice) -> None:
        for row in range(part.start, part.stop):
            order = np.argsort(-scores[row], kind="stable")[:-1]  # the pin itself comes last
            distances = np.empty(len(vectors), np.int64)
            _walk_breadth_first(*arrays, pins[row], distances)
            sums[:, row] = _sum_beyond(order, distances, k)

    share_out(work, len(pins), numba.get_num_threads(), fewest=1)


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
def _walk_breadth_first(pin_offsets, pin_boards, board_offsets, board_pins, start, distances):
    """Write the traversals from `start` to each pin; of those out of reach, one above the rest."""
    distances[:] = -1
    seen = np.zeros(len(board_offsets) - 1, np.bool_)
    queue = np.empty(len(distances), np.int64)
    queue[0], distances[start], end = start, 0, 1
    here = 0
    while here < end:
        pin = queue[here]
        here += 1
        for board in pin_boards[pin_offsets[pin] : pin_offsets[pin + 1]]:
            if not seen[board]:
                seen[board] = True
                for other in board_pins[board_offsets[board] : board_offsets[board + 1]]:
                    if distances[other] < 0:
                        distances[other] = distances[pin] + 1
                        queue[end] = other
                        end += 1
    distances[distances < 0] = distances[queue[end - 1]] + 1
