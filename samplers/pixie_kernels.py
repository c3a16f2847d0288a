"""Pixie's walks in lockstep, counted walk by walk, so that they stop at exactly the right visit.

How long a walk becomes does not depend on where it goes. So the lengths of a block of walks are
drawn first; then it is known where in the list of all visits, walk by walk, each visit belongs, and
all walks of the block can step together (see `visit_kernels` for why) and write it there. Then the
block is counted, in order; what was walked beyond the visit at which the query pin stops is
forgotten.

Letters: B queries, n query pins of all queries, k recommendations.
Indices are unsigned inside the loops, since numba adds a test for below 0 to signed ones.
"""

import numpy as np

from pingraph.compiled import njit
from pingraph.samplers.hooks import MOST_PROPOSALS, Walk, accepted
from pingraph.samplers.prefetching import prefetch
from pingraph.samplers.randomness import draw, pick
from pingraph.samplers.tally import rank_scores

_U = np.uint64
_BLOCK = 256  # walks that step together: enough to hide the memory, and few are walked in vain
_EMPTY = np.int32(-1)
_ENDED = np.int64(-1)  # in place of the visits of a walk that the bias has ended
_NO_TIME = np.int64(2**63 - 1)
_QUERY = np.int32(-(2**30))  # visits of a query pin start here and reach no threshold
_LENGTHS = np.uint64(2**63)  # the draws for the length of a walk lie apart from those of its steps


def recommend(graph, bias, data, pins, budgets, offsets, key, rule, ids, scores):
    """Fill `ids` and `scores` with the pins that score highest for each query, best first.

    On paper: the walks of pin 0 visit 5, 7, 0, 5 and those of pin 1 visit 7, 6. The visits to 0 are
    left out; 5 scores (√2)², 7 scores (√1 + √1)² and 6 scores (√1)²: ids 7, 5, 6, scores 4, 2, 1.
    Of equal scores the pin visited first is the better one.

    Args:
        graph: `GraphArrays`.
        bias: a compiled function (walk, pin) that returns a probability, or None.
        data: what the bias finds in `walk.data`.
        pins: int64 [n], the pins of all queries, none twice in a query.
        budgets: int64 [n], traversals from each of them; 0 for a pin without boards.
        offsets: int64 [B + 1], query i has the pins offsets[i] … offsets[i + 1] - 1.
        key: uint64, the `epoch_key` of the call.
        rule: (go_on, min_pins, min_visits), where go_on, a uint64, is the probability to go on
            after a traversal, times 2⁵³; a query pin stops at the visit with which `min_pins`, a
            uint64, pins have `min_visits` visits from it.
        ids: int64 [B, k], filled with -1 by the caller.
        scores: float32 [B, k], filled with 0 by the caller.
    """
    own = budgets[offsets[0] : offsets[-1]]
    most = own.max() if own.size else 0
    room = _new_lanes(), np.empty(most, np.int64)
    full = _new_tally(graph, budgets, offsets)
    for row in range(offsets.size - 1):
        first, end = offsets[row], offsets[row + 1]
        _, numbered, visits, sums, touched = full
        tally = _clear(full, budgets[first:end]), numbered, visits, sums, touched
        found = _U(0)
        for i in range(first, end):
            found = _enter(pins[i], found, tally)
        for i in range(first, end):
            start = pins[i], draw(key, pins[i]), budgets[i]
            found = _walk(graph, bias, data, start, rule, room, found, tally)
        asked = _U(end - first)
        boosted = sums[asked:found]
        boosted *= boosted
        rank_scores(numbered[asked:found], boosted, ids[row], scores[row])


@njit
def _new_lanes():
    """Return two times (keys, pins, previous, places, ends), and (boards, at, rest)."""
    return _walk_lanes(), _walk_lanes(), (_lane(), _lane(), _lane())


@njit
def _walk_lanes():
    return _lane(), _lane(), _lane(), _lane(), _lane()


@njit
def _lane():
    return np.empty(_BLOCK, _U)


@njit
def _walk(graph, bias, data, start, rule, room, found, tally):
    """Walk from one query pin until its budget is spent or enough pins were visited often enough.

    Adds the roots of the visits to the sums of the pins; returns how many pins are numbered now.
    """
    pin, pin_key, budget = start
    lanes, trace = room
    go_on, min_pins, min_visits = rule
    table, numbered, visits, sums, touched = tally
    walks, left, often, met = _U(0), _U(budget), _U(0), _U(0)
    while left > 0 and often < min_pins:
        ready, planned = _plan(pin_key, walks, left, go_on, lanes[0])
        _step_together(graph, bias, data, pin, ready, lanes, trace)
        for i in range(planned):
            if trace[i] == _ENDED:
                continue
            number, found = _number(trace[i], found, table, numbered)
            seen = visits[number] + np.int32(1)
            visits[number] = seen
            touched[met] = number
            met += _U(seen == 1)
            if seen == min_visits:
                often += _U(1)
                if often == min_pins:
                    break
        walks, left = walks + ready, left - planned
    for i in range(met):
        number = touched[i]
        sums[number] += np.sqrt(np.float64(visits[number]))
        visits[number] = 0
    return found


@njit
def _plan(pin_key, first, left, go_on, lanes):
    """Draw the lengths of the next walks; the last one ends where the budget, `left`, is spent.

    Writes the key of each walk, and where in the trace it begins and ends. Returns the number of
    walks and of their traversals.
    """
    keys, _, _, places, ends = lanes
    ready, planned = _U(0), _U(0)
    while ready < _U(_BLOCK) and planned < left:
        walk_key = draw(pin_key, first + ready)
        keys[ready], places[ready] = walk_key, planned
        planned += _U(1)
        coin = _LENGTHS
        while planned < left and (draw(walk_key, coin) >> _U(11)) < go_on:
            planned += _U(1)
            coin += _U(1)
        ends[ready] = planned
        ready += _U(1)
    return ready, planned


@njit
def _step_together(graph, bias, data, start, walking, lanes, trace):
    """Make all traversals of the planned walks, and write where each of them ends to the trace."""
    here, there, (boards, at, rest) = lanes
    for j in range(walking):
        here[1][j], here[2][j] = _U(start), _U(_ENDED)
    hop = _U(0)
    while walking > 0:
        still, proposal = _U(0), _U(0)
        while walking > 0:
            keys, pins, previous, places, ends = here
            next_keys, next_pins, next_previous, next_places, next_ends = there
            for j in range(walking):  # alone in a loop, draws are vectorized
                rest[j] = draw(keys[j], hop | proposal << _U(32))
            for j in range(walking):
                first, end = graph.pin_offsets[pins[j]], graph.pin_offsets[pins[j] + _U(1)]
                place, rest[j] = pick(rest[j], end - first)
                at[j] = _U(first + place)
                prefetch(graph.pin_boards, at[j])
            for j in range(walking):
                boards[j] = _U(graph.pin_boards[at[j]])
                prefetch(graph.board_offsets, boards[j])
            for j in range(walking):
                first, end = graph.board_offsets[boards[j]], graph.board_offsets[boards[j] + _U(1)]
                place, rest[j] = pick(rest[j], end - first)
                at[j] = _U(first + place)
                prefetch(graph.board_pins, at[j])
            again = _U(0)
            for j in range(walking):
                pin, place, end = np.int64(graph.board_pins[at[j]]), places[j], ends[j]
                back, at_pin, board = np.int64(previous[j]), np.int64(pins[j]), np.int64(boards[j])
                walk = Walk(graph, data, start, _NO_TIME, back, at_pin, board, np.int64(hop))
                if not accepted(bias, walk, pin, rest[j]):
                    keys[again], pins[again], previous[again] = keys[j], pins[j], previous[j]
                    places[again], ends[again] = place, end
                    if proposal + _U(1) < MOST_PROPOSALS:
                        again += _U(1)
                    else:
                        trace[place:end] = _ENDED
                    continue
                prefetch(graph.pin_offsets, pin)
                trace[place] = pin
                next_keys[still], next_pins[still], next_previous[still] = keys[j], _U(pin), pins[j]
                next_places[still], next_ends[still] = place + _U(1), end
                still += _U(place + _U(1) < end)
            walking, proposal = again, proposal + _U(1)
        here, there, walking, hop = there, here, still, hop + _U(1)


@njit
def _new_tally(graph, budgets, offsets):
    """Return (table, numbered, visits, sums, touched), what one query is counted in.

    `table` is a hash table from pins to their numbers in the order of their first visits, after
    those of the query itself; by that number are `numbered`, the pins, `visits` from the query pin
    at work, and `sums` of the roots of the visits from the query pins before. `touched` lists the
    numbers of the pins that the query pin at work has visited.
    """
    most = 0
    for row in range(offsets.size - 1):
        first, end = offsets[row], offsets[row + 1]
        most = max(most, budgets[first:end].sum() + end - first)
    most = min(most, graph.pin_offsets.size - 1)
    return (
        np.empty(_slots(most), np.int32),
        np.empty(most, np.int64),
        np.empty(most, np.int32),
        np.empty(most, np.float64),
        np.empty(most + 1, np.int64),
    )


@njit
def _slots(pins):
    """Return the size of a hash table for so many pins: a power of two, at most half of it used."""
    size = 8
    while size < 2 * pins:
        size *= 2
    return size


@njit
def _clear(room, budgets):
    """Forget the query before; return the part of the table that this one needs."""
    table, numbered, visits, sums, _ = room
    most = min(budgets.sum() + budgets.size, numbered.size)
    visits[:most] = 0
    sums[:most] = 0
    part = table[: _slots(most)]
    part[:] = _EMPTY
    return part


@njit
def _enter(pin, found, tally):
    """Give a query pin its number and put it out of the competition."""
    table, numbered, visits, _, _ = tally
    number, found = _number(pin, found, table, numbered)
    visits[number] = _QUERY
    return found


@njit(inline="always")
def _number(pin, found, table, numbered):
    """Return the number of a pin, and how many pins are numbered now (`found` were before)."""
    wrap = _U(table.size - 1)
    slot = ((_U(pin) * _U(0x9E3779B97F4A7C15)) >> _U(32)) & wrap
    number = table[slot]
    while number != _EMPTY and numbered[_U(number)] != pin:
        slot = (slot + _U(1)) & wrap
        number = table[slot]
    place = found if number == _EMPTY else _U(number)
    table[slot] = np.int32(place)
    numbered[place] = pin
    return place, max(found, place + _U(1))


# Kernels with a user's bias are not kept on disk: numba cannot tell when it changes.
recommend_cached = njit(nogil=True, cache=True)(recommend)
recommend_fresh = njit(nogil=True)(recommend)
