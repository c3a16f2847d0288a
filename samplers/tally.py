"""Counts the visits of one seed's walks in a small hash table, and ranks the pins by them.

A tally is a tuple (table, pins, counts, above): `table` is a hash table from pins to their numbers
in the order of their first visits; `pins` and `counts` are by that number; `above[c]` is the number
of pins visited more than c times.

Indices are unsigned inside the loops, since numba adds a test for below 0 to signed ones.
"""

import numpy as np

from pingraph.compiled import njit

_U = np.uint64
_EMPTY = np.int32(-1)


@njit(cache=True)
def new_tally(visits):
    """Return a tally for so many visits at most; clear it before use."""
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


@njit(cache=True)
def clear(tally):
    """Forget all visits."""
    table, _, counts, above = tally
    table[:] = _EMPTY
    counts[:] = 0
    above[:] = 0


@njit(forceinline=True)
def count(pin, found, tally):
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
    seen = counts[place]
    counts[place] = seen + 1
    above[_U(seen)] += 1
    return max(found, place + _U(1))


@njit(cache=True)
def count_all(visits, first, last, found, tally):
    """Count the visits first … last - 1, an array of pins; return how many pins are seen now."""
    for visit in range(_U(first), _U(last)):
        found = count(visits[visit], found, tally)
    return found


@njit(cache=True)
def rank_visits(tally, found, ids, scores, row):
    """Write the most visited pins to a row; equally visited ones in the order of their numbers.

    It uses up the tally. Pins 5, 7, 3 with 1, 2, 1 visits are written as ids 7, 5, 3.
    """
    _, pins, visits, above = tally
    once = above[1]  # most pins are visited once: their next rank stays in a register
    for number in range(found):
        seen = visits[number]
        if seen == 1:
            rank = once
            once += 1
        else:
            rank = above[_U(seen)]
            above[_U(seen)] = rank + 1
        if rank < ids.shape[1]:
            ids[row, rank] = pins[number]
            scores[row, rank] = seen


@njit(cache=True)
def rank_scores(pins, values, ids, scores):
    """Write the pins with the highest values above 0, best first; of equal ones the earlier.

    Args:
        pins: int64 [m].
        values: float64 [m]; NaN and what is not above 0 is left out.
        ids: int64 [k], filled with -1.
        scores: float32 [k], filled with 0.
    """
    kept = 0
    for i in range(pins.size):
        score = np.float32(values[i])
        if not score > 0 or (kept == ids.size and score <= scores[kept - 1]):
            continue
        place = kept if kept < ids.size else kept - 1
        while place > 0 and scores[place - 1] < score:
            scores[place], ids[place] = scores[place - 1], ids[place - 1]
            place -= 1
        scores[place], ids[place] = score, pins[i]
        kept = min(kept + 1, ids.size)
