"""The two hops of a traversal, pin → board → pin, of many walks in lockstep.

A walk is a chain of cache misses, so a walk alone waits for memory nearly all the time. Here many
walks take the same small step together: one loop computes where each of them will read and asks the
processor to fetch it, the next loop reads. Meanwhile visits that other walks have made are counted,
one in the shadow of each fetch.

Walks that step together are lanes, a tuple of arrays; j is a lane. Indices are unsigned inside the
loops, since numba adds a test for below 0 to signed ones.
"""

from typing import Any, NamedTuple

import numpy as np

from pingraph.compiled import njit
from pingraph.samplers.hooks import Walk, choose_edge, may_leave, refresh
from pingraph.samplers.prefetching import prefetch
from pingraph.samplers.randomness import draw
from pingraph.samplers.tally import count

_U = np.uint64


class Lanes(NamedTuple):
    """The walks that step together, and room for as many that have made the step.

    One array holds both halves, since to exchange arrays would cost as much as some walks: numba
    counts who refers to an array.
    """

    walks: np.ndarray  # uint64, their numbers
    keys: np.ndarray  # uint64, what their random words are drawn from
    seeds: np.ndarray  # int64, of each walk, or one for all
    times: np.ndarray  # int64, of the seeds
    previous: np.ndarray  # int64, the pins before, -1 at the seeds
    pins: np.ndarray  # int64, where they are
    boards: np.ndarray  # int64, on their way
    at: np.ndarray  # uint64, the places of the edges that they take
    words: np.ndarray  # uint64, random
    ended: np.ndarray  # bool, whether a user's step has ended them


class Shadow(NamedTuple):
    """Visits that wait to be counted while others walk."""

    visits: Any  # int64, of which some wait
    tally: Any


@njit(cache=True)
def new_lanes(size, seeds):
    """Return two halves of lanes, each for so many walks, of as many seeds or of one for all."""
    size, seeds = 2 * size, 1 if seeds == 1 else 2 * seeds
    return Lanes(
        np.empty(size, _U),
        np.empty(size, _U),
        np.empty(seeds, np.int64),
        np.empty(seeds, np.int64),
        np.empty(size, np.int64),
        np.empty(size, np.int64),
        np.empty(size, np.int64),
        np.empty(size, _U),
        np.empty(size, _U),
        np.zeros(size, np.bool_),
    )


@njit(forceinline=True)
def propose(graph, step, data, lanes, here, walking, hop, proposal, shadow, wait, fault):
    """Take all walks to a board, and ask for the pin that they may go on to.

    Args:
        graph, step, data: see `hooks`.
        lanes: those from `here` on are walking, so many as `walking` says.
        hop: traversals that they have made.
        proposal: proposals that were not accepted since.
        shadow: what to count meanwhile.
        wait: (done, last, found): the visits done … last - 1 of the shadow wait; `found` pins were
            seen before.
        fault: see `visit_kernels.count_visits`.

    Returns:
        `done` and `found` anew.
    """
    done, last, found = wait
    for j in range(here, here + walking):  # alone in a loop, draws are vectorized
        lanes.words[j] = draw(lanes.keys[j], _U(hop) | proposal << _U(32))
    for j in range(here, here + walking):
        pin = _U(lanes.pins[j])
        start, end = graph.pin_offsets[pin], graph.pin_offsets[pin + _U(1)]
        walk = walk_of(graph, data, lanes, j, -1, hop)
        place, lanes.words[j] = choose_edge(step, walk, start, end, lanes.words[j])
        if may_leave(step) and (place < start or place >= end):
            lanes.ended[j] = True
            note_fault(fault, lanes.pins[j], -1, start, end, place)
            place = start
        lanes.at[j] = _U(place)
        prefetch(graph.pin_boards, lanes.at[j])
        if hop > 0 and done < last:  # at hop 0 all read one row, soon in the cache
            found = count(shadow.visits[done], found, shadow.tally)
            done += _U(1)
    refresh(step, lanes.words, here, walking)
    for j in range(here, here + walking):
        lanes.boards[j] = graph.pin_boards[lanes.at[j]]
        prefetch(graph.board_offsets, lanes.boards[j])
    for j in range(here, here + walking):
        board = _U(lanes.boards[j])
        start, end = graph.board_offsets[board], graph.board_offsets[board + _U(1)]
        walk = walk_of(graph, data, lanes, j, lanes.boards[j], hop)
        place, lanes.words[j] = choose_edge(step, walk, start, end, lanes.words[j])
        if may_leave(step) and (place < start or place >= end):
            lanes.ended[j] = True
            note_fault(fault, lanes.pins[j], lanes.boards[j], start, end, place)
            place = start
        lanes.at[j] = _U(place)
        prefetch(graph.board_pins, lanes.at[j])
        if done < last:
            found = count(shadow.visits[done], found, shadow.tally)
            done += _U(1)
    refresh(step, lanes.words, here, walking)
    return done, found


@njit(forceinline=True)
def walk_of(graph, data, lanes, j, board, hop):
    """Return what a user's function sees of a walk; what it does not look at costs nothing."""
    own = min(_U(j), _U(lanes.seeds.size - 1))
    seed, time = lanes.seeds[own], lanes.times[own]
    return Walk(graph, data, seed, time, lanes.previous[j], lanes.pins[j], board, hop)


@njit(cache=True)
def note_fault(fault, pin, board, start, end, place):
    """Note a place that lies outside of its row; -1 is none, it ends a walk."""
    if place != -1:
        fault[0], fault[1], fault[2], fault[3], fault[4] = pin, board, start, end, place
