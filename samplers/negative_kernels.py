"""The loops of the negative samplers: mark who is no negative, then draw from all the others.

Chances are whole numbers: each pin has a uint64 weight, and sums of them are exact, so that what is
left after leaving some pins out has an exact chance, too.

Letters: B seeds, n negatives of a seed, P pins of the graph, C candidates, D classes of candidates
of equal weight, K ranks of a window.
"""

import numpy as np

from pingraph.compiled import njit
from pingraph.samplers.randomness import draw, epoch_key, pick

_U = np.uint64  # indices in loops that count: numba adds a test for below 0 to signed ones
_FEW = _U(16)  # below 1/16 of the weight left, list what is left instead of rejecting


@njit(nogil=True, cache=True)
def draw_negatives(graph, table, seeds, key, without_mates, ids, logs):
    """Fill `ids` and `logs` with draws from the candidates that are not left out, with replacement.

    On paper: weights 2, 2, 3 of the candidates 5, 8, 9 end at 2, 4, 7. Position 3 of 0 … 6 is in
    the first class (it ends at 4), one weight of 2 after its start: pin 8. If 8 is a board-mate of
    the seed, the next word is tried. Of the weight 7 then 5 are left: pin 9 has the chance 3/5.

    Args:
        graph: (pin_offsets, pin_boards, board_offsets, board_pins) of a `PinBoardGraph`.
        table: the `CandidateTable`.
        seeds: int64 [B], pins of the graph. The row of one that leaves nobody stays as it was.
        key: uint64, the key of the call.
        without_mates: whether to leave out the pins that share a board with the seed.
        ids: int64 [B, n], filled with -1 by the caller.
        logs: float32 [B, n], filled with 0 by the caller.
    """
    pins, _, ends, _, weight_of_degree, board_weights = table
    marks = _new_marks(graph, without_mates)
    for row in range(seeds.size):
        seed, stamp = seeds[row], _next_stamp(marks, row)
        if without_mates:
            weights = weight_of_degree, board_weights
            count, weight = _mark_mates(graph, seed, weights, marks, stamp)
        else:
            count, weight = _alone(graph, seed, weight_of_degree)
        if count == pins.size:
            continue
        left_out = seed, marks, stamp
        left = ends[-1] - weight
        pin_key = draw(key, seed)
        if left >= ends[-1] // _FEW:
            _reject(table, left_out, left, pin_key, ids[row], logs[row])
        else:
            _list(table, left_out, pins.size - count, pin_key, ids[row], logs[row])


@njit(nogil=True, cache=True)
def draw_window(graph, seeds, key, ranked, take, ids, logs):
    """Fill `ids` and `logs` with draws from the ranked pins, without replacement.

    Args:
        graph, seeds, key, ids, logs: as of `draw_negatives`.
        ranked: int64 [B, K], the pins of each seed's window, or -1.
        take: negatives of a seed, at most.
    """
    marks = _new_marks(graph, True)
    no_weights = np.zeros(1, np.uint64), np.zeros(0, np.uint64)
    window = np.empty(ranked.shape[1], np.int64)
    for row in range(seeds.size):
        seed, stamp = seeds[row], _next_stamp(marks, row)
        _mark_mates(graph, seed, no_weights, marks, stamp)
        size = 0
        for rank in range(ranked.shape[1]):
            pin = ranked[row, rank]
            if pin >= 0 and not _is_left_out(pin, (seed, marks, stamp)):
                window[size] = pin
                size += 1
        pin_key = draw(key, seed)
        for slot in range(min(take, size)):
            place, _ = pick(draw(pin_key, slot), size - slot)
            ids[row, slot] = window[slot + place]
            window[slot + place] = window[slot]
            logs[row, slot] = -np.log(size)


@njit(nogil=True, cache=True)
def weigh_boards(graph, weight_of_degree):
    """Return the sum of the weights of each board's pins, uint64 [boards]."""
    pin_offsets, _, board_offsets, board_pins = graph
    sums = np.zeros(board_offsets.size - 1, np.uint64)
    for board in range(sums.size):
        for pin in board_pins[board_offsets[board] : board_offsets[board + 1]]:
            sums[board] += weight_of_degree[pin_offsets[pin + 1] - pin_offsets[pin]]
    return sums


@njit(cache=True)
def call_key(seed, epoch, stream):
    """Return the uint64 key of a call, from its seed, epoch and stream (all uint64)."""
    return draw(epoch_key(seed, epoch), stream)


@njit
def _mark_mates(graph, seed, weights, marks, stamp):
    """Mark the pins of the seed's boards, itself included; return their number and weight.

    The weight is that of the boards, less that of pins that were met before: few, so that few
    degrees are read. No branch asks whether a pin was met, since none could be predicted.
    """
    pin_offsets, pin_boards, board_offsets, board_pins = graph
    weight_of_degree, board_weights = weights
    boards = pin_boards[pin_offsets[seed] : pin_offsets[seed + 1]]
    largest = 0
    for board in boards:
        largest = max(largest, board_offsets[board + 1] - board_offsets[board])
    again = np.empty(largest, np.int64)
    count, weight = np.int64(0), _U(0)
    for board in boards:
        start, end = _U(board_offsets[board]), _U(board_offsets[board + 1])
        met = _U(0)
        for place in range(start, end):
            pin = _U(board_pins[place])
            again[met] = pin
            met += _U(marks[pin] == stamp)
            marks[pin] = stamp
        count += np.int64(end - start - met)
        if board_weights.size > 0:
            weight += board_weights[board]
            for pin in again[:met]:
                weight -= weight_of_degree[pin_offsets[pin + 1] - pin_offsets[pin]]
    if board_weights.size == 0:
        weight = _U(count) * weight_of_degree[0]
    return count, weight


@njit
def _alone(graph, seed, weight_of_degree):
    """Return the number and weight of the seed as a candidate: 0 and 0 if it has no board."""
    degree = graph[0][seed + 1] - graph[0][seed]
    if degree == 0:
        return np.int64(0), _U(0)
    return np.int64(1), weight_of_degree[min(degree, weight_of_degree.size - 1)]


@njit
def _new_marks(graph, wanted):
    """Return marks that no stamp equals, uint8 [P] or [0]: a byte a pin, to fit in a cache."""
    return np.zeros(graph[0].size - 1 if wanted else 0, np.uint8)


@njit
def _next_stamp(marks, row):
    """Return another stamp for each row, 1 … 255, and wipe the marks when they start anew."""
    if row > 0 and row % 255 == 0:
        marks[:] = 0
    return np.uint8(row % 255 + 1)


@njit(inline="always")
def _is_left_out(pin, left_out):
    seed, marks, stamp = left_out
    return pin == seed or (marks.size > 0 and marks[pin] == stamp)


@njit
def _reject(table, left_out, left, pin_key, ids, logs):
    """Draw each negative from all candidates, again and again until it is not left out."""
    pins, starts, ends, weights, _, _ = table
    for slot in range(ids.size):
        slot_key = draw(pin_key, slot)
        attempt = 0
        while True:
            position = _U(pick(draw(slot_key, attempt), ends[-1])[0])
            number = np.searchsorted(ends, position, side="right") if ends.size > 1 else 0
            begin = ends[number - 1] if number > 0 else _U(0)
            place = np.int64((position - begin) // weights[number])
            pin = pins[starts[number] + place]
            if not _is_left_out(pin, left_out):
                break
            attempt += 1
        ids[slot] = pin
        logs[slot] = np.log(weights[number] / left)


@njit
def _list(table, left_out, size, pin_key, ids, logs):
    """List the `size` candidates that are not left out, and draw each negative from them."""
    pins, starts, _, weights, _, _ = table
    listed, ends = np.empty(size, np.int64), np.empty(size, np.uint64)
    found, end = 0, _U(0)
    for number in range(weights.size):
        for pin in pins[starts[number] : starts[number + 1]]:
            if not _is_left_out(pin, left_out):
                end += weights[number]
                listed[found], ends[found] = pin, end
                found += 1
    for slot in range(ids.size):
        position = _U(pick(draw(draw(pin_key, slot), 0), end)[0])
        place = np.searchsorted(ends, position, side="right")
        begin = ends[place - 1] if place > 0 else _U(0)
        ids[slot] = listed[place]
        logs[slot] = np.log((ends[place] - begin) / end)
