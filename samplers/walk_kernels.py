"""Random walks pin → board → pin in lockstep: the loops that decide how fast a sampler is.

A walk is a chain of cache misses, so a walk alone waits for memory nearly all the time. Here all
walks of a seed take the same small step together: one loop computes where each of them will read
and asks the processor to fetch it, the next loop reads. Meanwhile the visits of the seed before are
counted, one in the shadow of each fetch.

Letters: B seeds, k neighbors, W walks of a seed, V visits of a seed at most (walks · traversals).
Indices are unsigned inside the loops, since numba adds a test for below 0 to signed ones.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from pingraph.samplers.randomness import draw, pick

_U = np.uint64
_EMPTY = np.int32(-1)


@njit(nogil=True, cache=True)
def pinsage(graph, seeds, key, rule, ids, scores):
    """Fill `ids` and `scores` with the pins that the walks of each seed visit most, best first.

    Of equally visited pins the one visited first is the better one, where all first traversals, in
    the order of the walks, come before all second ones. On paper: three walks from pin 0 that visit
    (5), (7, 0) and (7, 5) are read as 5, 7, 7, 0, 5; the start 0 is left out; 5 and 7 have two
    visits each, so the row is ids 5, 7 and scores 2, 2.

    Args:
        graph: (pin_offsets, pin_boards, board_offsets, board_pins) of a `PinBoardGraph`.
        seeds: int64 [B], B > 0, pins of the graph; one without boards leaves its row as it was.
        key: uint64, the `epoch_key` of the call.
        rule: (walks of a seed, traversals of a walk at most, go_on), where go_on, a uint64, is the
            probability to go on after a traversal, times 2⁵³.
        ids: int64 [B, k], filled with -1 by the caller.
        scores: float32 [B, k], filled with 0 by the caller; becomes the visits.
    """
    num_walks, walk_length, _ = rule
    walks = np.empty(num_walks, _U), np.empty(num_walks, _U), np.empty(num_walks, _U)
    visits = num_walks * walk_length
    tally = _new_tally(visits)
    new, old = np.empty(visits + 1, np.int64), np.empty(visits + 1, np.int64)
    waiting = 0
    for row in range(seeds.size):
        seed = seeds[row]
        _look_ahead(graph, seeds, row)
        _clear(tally)
        traced, found = _walk(graph, seed, draw(key, seed), rule, walks, new, old[:waiting], tally)
        if row > 0:
            _rank(tally, found, ids[row - 1], scores[row - 1])
        new, old, waiting = old, new, traced
    _clear(tally)
    found = _count_all(old[:waiting], _U(0), tally)
    _rank(tally, found, ids[seeds.size - 1], scores[seeds.size - 1])


@njit
def _walk(graph, seed, pin_key, rule, walks, new, old, tally):
    """Walk from `seed`, write the visits to `new`, and count the visits `old` meanwhile.

    Returns the number of visits written and the number of distinct pins counted.
    """
    pin_offsets, pin_boards, board_offsets, board_pins = graph
    num_walks, walk_length, go_on = rule
    keys, at, rest = walks
    traced, done, found = _U(0), _U(0), _U(0)
    walking = _U(num_walks if pin_offsets[seed] < pin_offsets[seed + 1] else 0)
    for j in range(walking):
        keys[j] = draw(pin_key, j)
        at[j] = _U(seed)
    for step in range(walk_length):
        for j in range(walking):
            start, end = pin_offsets[at[j]], pin_offsets[at[j] + _U(1)]
            place, rest[j] = pick(draw(keys[j], step), end - start)
            at[j] = _U(start + place)
            prefetch(pin_boards, at[j])
            if step > 0 and done < _U(old.size):  # at step 0 all read one row, soon in the cache
                found = _count(old[done], found, tally)
                done += _U(1)
        for j in range(walking):
            at[j] = _U(pin_boards[at[j]])
            prefetch(board_offsets, at[j])
        for j in range(walking):
            start, end = board_offsets[at[j]], board_offsets[at[j] + _U(1)]
            place, rest[j] = pick(rest[j], end - start)
            at[j] = _U(start + place)
            prefetch(board_pins, at[j])
            if done < _U(old.size):
                found = _count(old[done], found, tally)
                done += _U(1)
        still = _U(0)
        for j in range(walking):
            pin = np.int64(board_pins[at[j]])
            prefetch(pin_offsets, pin)
            new[traced] = pin
            traced += _U(pin != seed)
            keys[still], at[still] = keys[j], _U(pin)
            still += _U((rest[j] >> _U(11)) < go_on)
        walking = still
    return traced, _count_all(old[done:], found, tally)


@njit
def _look_ahead(graph, seeds, row):
    """Fetch the row of the next seed, and where the row of the seed after it begins."""
    pin_offsets, pin_boards, _, _ = graph
    if row + 2 < seeds.size:
        prefetch(pin_offsets, seeds[row + 2])
    if row + 1 < seeds.size:
        prefetch(pin_boards, pin_offsets[seeds[row + 1]])


@njit
def _new_tally(visits):
    """Return (table, pins, counts, above), what the visits of one seed are counted in.

    `table` is a hash table from pins to their numbers in the order of their first visits; `pins`
    and `counts` are by that number; `above[c]` is the number of pins visited more than c times.
    """
    size = 8
    while size < 2 * visits:
        size *= 2
    table = np.empty(size, np.int32)
    return (
        table,
        np.empty(visits, np.int64),
        np.empty(visits, np.int32),
        np.empty(visits + 1, np.int32),
    )


@njit
def _clear(tally):
    table, _, counts, above = tally
    table[:] = _EMPTY
    counts[:] = 0
    above[:] = 0


@njit(inline="always")
def _count(pin, found, tally):
    """Count a visit to `pin`; `found` pins were seen before, return how many are seen now."""
    table, pins, counts, above = tally
    wrap = _U(table.size - 1)
    slot = ((_U(pin) * _U(0x9E3779B97F4A7C15)) >> _U(32)) & wrap
    number = table[slot]
    while number != _EMPTY and pins[_U(number)] != pin:
        slot = (slot + _U(1)) & wrap
        number = table[slot]
    place = found if number == _EMPTY else _U(number)
    table[slot] = place
    pins[place] = pin
    count = counts[place]
    counts[place] = count + 1
    above[_U(count)] += 1
    return max(found, place + _U(1))


@njit
def _count_all(visits, found, tally):
    for visit in range(_U(visits.size)):
        found = _count(visits[visit], found, tally)
    return found


@njit
def _rank(tally, found, ids, scores):
    """Write the pins with the most visits; equally visited ones in the order of their numbers."""
    _, pins, visits, above = tally
    once = above[1]  # most pins are visited once: their next rank stays in a register
    for number in range(found):
        count = visits[number]
        if count == 1:
            rank = once
            once += 1
        else:
            rank = above[_U(count)]
            above[_U(count)] = rank + 1
        if rank < ids.size:
            ids[rank] = pins[number]
            scores[rank] = count


def _emit_prefetch(typing_context, array, index):
    """Ask the processor to fetch the cache line of array[index], without waiting for it."""

    def generate(context, builder, signature, arguments):
        view = context.make_array(signature.args[0])(context, builder, arguments[0])
        byte, i32 = ir.IntType(8).as_pointer(), ir.IntType(32)
        address = builder.bitcast(builder.gep(view.data, [arguments[1]]), byte)
        kind = ir.FunctionType(ir.VoidType(), [byte, i32, i32, i32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(function, [address, i32(0), i32(3), i32(1)])  # to read, keep, data
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


prefetch: Any = intrinsic(_emit_prefetch)  # called as prefetch(array, index)
