"""Draws pins of the boards of a pin, never the pin itself.

Letters: B seeds, k neighbors. A mate of a pin is another pin on one of its boards; a pin that
shares several boards with it is a mate on each of them.
"""

import numpy as np

from pingraph.compiled import njit
from pingraph.samplers.prefetching import prefetch
from pingraph.samplers.randomness import draw, pick
from pingraph.samplers.tally import clear, count_all, new_tally, rank_visits

_U = np.uint64


@njit(nogil=True, cache=True)
def draw_mates(graph, seeds, key, rule, ids, scores):
    """Fill `ids` and `scores` with the mates of each seed that are drawn most, best first.

    Args:
        graph: (pin_offsets, pin_boards, board_offsets, board_pins) of a `PinBoardGraph`.
        seeds: int64 [B], pins of the graph; one without mates leaves its row as it was.
        key: uint64, the `epoch_key` of the call.
        rule: (draws, whether the board is drawn first, whatever its size).
        ids: int64 [B, k], filled with -1 by the caller.
        scores: float32 [B, k], filled with 0 by the caller; becomes the draws of each pin.
    """
    draws, board_first = rule
    tally = new_tally(draws)
    drawn, last = np.empty(draws, np.int64), np.empty(draws, np.int64)
    for row in range(seeds.size):
        seed = seeds[row]
        starts, before = _boards_with_mates(graph, seed)
        if starts.size > 0:
            _draw_places(starts, before, graph[3], draw(key, seed), board_first, drawn, last)
            _read_pins(graph[3], seed, drawn, last)
            clear(tally)
            found = count_all(drawn, 0, drawn.size, _U(0), tally)
            rank_visits(tally, found, ids, scores, row)


@njit
def _boards_with_mates(graph, seed):
    """Return where the pins of each of these boards start, and the mates on the boards before it.

    Boards of 3, 1 and 2 pins, the seed included, give two starts and before = [0, 2, 3].
    """
    pin_offsets, pin_boards, board_offsets, _ = graph
    first, end = _U(pin_offsets[seed]), _U(pin_offsets[seed + 1])
    for edge in range(first, end):
        prefetch(board_offsets, pin_boards[edge])
    starts, before = np.empty(end - first, np.int64), np.zeros(end - first + _U(1), np.int64)
    found = 0
    for edge in range(first, end):
        board = _U(pin_boards[edge])
        mates = board_offsets[board + _U(1)] - board_offsets[board] - 1
        starts[found] = board_offsets[board]
        before[found + 1] = before[found] + mates
        found += mates > 0
    return starts[:found], before[: found + 1]


@njit
def _draw_places(starts, before, board_pins, pin_key, board_first, drawn, last):
    """Draw places of `board_pins`, all but the last of their boards; note the last one, too."""
    for number in range(drawn.size):
        word = draw(pin_key, number)
        if board_first:
            board, word = pick(word, starts.size)
            place, _ = pick(word, before[board + 1] - before[board])
        else:
            place, _ = pick(word, before[-1])
            board = np.searchsorted(before, place, side="right") - 1
            place -= before[board]
        drawn[number] = starts[board] + place
        last[number] = starts[board] + before[board + 1] - before[board]
        prefetch(board_pins, drawn[number])


@njit
def _read_pins(board_pins, seed, drawn, last):
    """Replace places by their pins; where that is the seed, the last pin of the board stands in."""
    for number in range(drawn.size):
        pin = board_pins[drawn[number]]
        drawn[number] = board_pins[last[number]] if pin == seed else pin
