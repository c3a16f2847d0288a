"""Random walks pin → board → pin in lockstep: the loops that decide how fast a sampler is.

A walk is a chain of cache misses, so a walk alone waits for memory nearly all the time. Here all
walks of a seed take the same small step together: one loop computes where each of them will read
and asks the processor to fetch it, the next loop reads. Meanwhile the visits of the seed before are
counted, one in the shadow of each fetch.

Letters: B seeds, k neighbors, W walks of a seed, V visits of a seed at most (walks · traversals).
Indices are unsigned inside the loops, since numba adds a test for below 0 to signed ones.
"""

import numpy as np
from numba import njit

from pingraph.samplers.hooks import (
    MOST_PROPOSALS,
    Walk,
    accepted,
    can_start,
    choose_edge,
    goes_on,
    placed,
    rank,
    refresh,
)
from pingraph.samplers.prefetching import prefetch
from pingraph.samplers.randomness import draw
from pingraph.samplers.tally import clear, count, count_all, new_tally

_U = np.uint64


def count_visits(graph, step, accept, score, data, seeds, times, key, rule, ids, scores, fault):
    """Fill `ids` and `scores` with the pins that the walks of each seed visit most, best first.

    Of equally visited pins the one visited first is the better one, where all first traversals, in
    the order of the walks, come before all second ones. On paper: three walks from pin 0 that visit
    (5), (7, 0) and (7, 5) are read as 5, 7, 7, 0, 5; the start 0 is left out; 5 and 7 have two
    visits each, so the row is ids 5, 7 and scores 2, 2. Of one traversal, the walks whose first
    proposal is accepted come first.

    Args:
        graph: `GraphArrays`.
        step, accept, score, data: see `hooks`; accept and score may be None.
        seeds: int64 [B], pins of the graph; one without boards leaves its row as it was.
        times: int64 [B], the times of the seeds.
        key: uint64, the `epoch_key` of the call.
        rule: (walks of a seed, traversals of a walk at most, go_on), where go_on, a uint64, is the
            probability to go on after a traversal, times 2⁵³.
        ids: int64 [B, k], filled with -1 by the caller.
        scores: float32 [B, k], filled with 0 by the caller; becomes the visits, or their scores.
        fault: int64 [5], filled with -1; becomes (pin, board, start, end, place) of the last place
            that lay outside of its row, where the board is -1 if it was to be chosen.
    """
    num_walks, walk_length, _ = rule
    lanes = new_lanes(num_walks), new_lanes(num_walks)
    visits = num_walks * walk_length
    tally = new_tally(visits)
    new, old = np.empty(visits + 1, np.int64), np.empty(visits + 1, np.int64)
    waiting = _U(0)
    for row in range(seeds.size + 1):  # the visits of a row are counted while the next one walks
        clear(tally)
        traced, found = _U(0), _U(0)
        if row < seeds.size:
            start = seeds[row], times[row]
            pin_key = draw(key, seeds[row])
            _look_ahead(graph, seeds, row)
            traced, found = _walk(
                graph,
                step,
                accept,
                data,
                start,
                pin_key,
                rule,
                lanes,
                new,
                old[:waiting],
                tally,
                fault,
            )
        else:
            found = count_all(old[:waiting], found, tally)
        if row > 0:
            walk = Walk(graph, data, seeds[row - 1], times[row - 1], -1, -1, -1, -1)
            rank(score, walk, tally, found, ids[row - 1], scores[row - 1])
        new, old, waiting = old, new, traced


@njit(cache=True)
def new_lanes(size):
    """Return (keys, pins, previous, boards, at, rest, ended): the walks that step together."""
    return (
        np.empty(size, _U),
        np.empty(size, np.int64),
        np.empty(size, np.int64),
        np.empty(size, np.int64),
        np.empty(size, _U),
        np.empty(size, _U),
        np.empty(size, np.bool_),
    )


@njit
def _walk(graph, step, accept, data, start, pin_key, rule, lanes, new, old, tally, fault):
    """Walk from a seed, write the visits to `new`, and count the visits `old` meanwhile.

    Returns the number of visits written and the number of distinct pins counted.
    """
    seed, time = start
    num_walks, walk_length, go_on = rule
    here, there = lanes
    traced, done, found = _U(0), _U(0), _U(0)
    walking = _U(num_walks if can_start(step, graph, seed, time) else 0)
    for j in range(walking):
        here[0][j] = draw(pin_key, j)
        here[1][j], here[2][j] = seed, -1
    for hop in range(walk_length):
        still, proposal = _U(0), _U(0)
        while walking > 0:
            keys, pins, previous, boards, at, rest, ended = here
            next_keys, next_pins, next_previous, _, _, _, _ = there
            for j in range(walking):  # alone in a loop, draws are vectorized
                rest[j] = draw(keys[j], _U(hop) | proposal << _U(32))
            for j in range(walking):
                pin = pins[j]
                first, end = graph.pin_offsets[_U(pin)], graph.pin_offsets[_U(pin) + _U(1)]
                walk = Walk(graph, data, seed, time, previous[j], pin, -1, hop)
                place, rest[j] = choose_edge(step, walk, first, end, rest[j])
                at[j] = _U(placed(step, place, first, end, walk, ended, j, fault))
                prefetch(graph.pin_boards, at[j])
                if hop > 0 and done < _U(old.size):  # at hop 0 all read one row, soon in cache
                    found = count(old[done], found, tally)
                    done += _U(1)
            refresh(step, rest, walking)
            for j in range(walking):
                boards[j] = graph.pin_boards[at[j]]
                prefetch(graph.board_offsets, boards[j])
            for j in range(walking):
                board = boards[j]
                first, end = graph.board_offsets[_U(board)], graph.board_offsets[_U(board) + _U(1)]
                walk = Walk(graph, data, seed, time, previous[j], pins[j], board, hop)
                place, rest[j] = choose_edge(step, walk, first, end, rest[j])
                at[j] = _U(placed(step, place, first, end, walk, ended, j, fault))
                prefetch(graph.board_pins, at[j])
                if done < _U(old.size):
                    found = count(old[done], found, tally)
                    done += _U(1)
            refresh(step, rest, walking)
            again = _U(0)
            for j in range(walking):
                if not goes_on(step, ended, j):
                    continue
                pin = np.int64(graph.board_pins[at[j]])
                walk = Walk(graph, data, seed, time, previous[j], pins[j], boards[j], hop)
                if not accepted(accept, walk, pin, rest[j]):
                    keys[again], pins[again], previous[again] = keys[j], pins[j], previous[j]
                    again += _U(proposal + _U(1) < MOST_PROPOSALS)
                    continue
                prefetch(graph.pin_offsets, pin)
                new[traced] = pin
                traced += _U(pin != seed)
                next_keys[still], next_pins[still], next_previous[still] = keys[j], pin, pins[j]
                still += _U((rest[j] >> _U(11)) < go_on)
            walking, proposal = again, proposal + _U(1)
        here, there = there, here
        walking = still
    return traced, count_all(old[done:], found, tally)


@njit
def _look_ahead(graph, seeds, row):
    """Fetch the row of the next seed, and where the row of the seed after it begins."""
    if row + 2 < seeds.size:
        prefetch(graph.pin_offsets, seeds[row + 2])
    if row + 1 < seeds.size:
        prefetch(graph.pin_boards, graph.pin_offsets[seeds[row + 1]])


# Kernels with a user's functions are not kept on disk: numba cannot tell when they change.
count_visits_cached = njit(nogil=True, cache=True)(count_visits)
count_visits_fresh = njit(nogil=True)(count_visits)
