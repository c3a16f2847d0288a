"""Writes walks down as traces: many walks of many seeds step together, see `hops`.

Letters: B seeds, W walks of a seed, L traversals of a walk at most.
"""

import numpy as np

from pingraph.compiled import njit
from pingraph.samplers.hooks import MOST_PROPOSALS, accepted, can_start, may_leave, remembers
from pingraph.samplers.hops import Shadow, new_lanes, propose, walk_of
from pingraph.samplers.prefetching import prefetch
from pingraph.samplers.randomness import draw
from pingraph.samplers.tally import new_tally

_U = np.uint64
_TOGETHER = 240  # walks: enough for all reads that fit in flight, few enough for the first cache


def trace_walks(graph, step, accept, data, seeds, times, key, rule, pins, boards, rows, fault):
    """Write the walks of the seeds rows[0] … rows[1] - 1 to `pins` and `boards`.

    On paper: a walk from pin 4 over board 2 to pin 7, where it ends, with two traversals at most,
    is the column [4, 7, -1] of `pins` and [2, -1] of `boards`.

    Args:
        graph, step, accept, data, seeds, times, key, rule, fault: as of
            `visit_kernels.count_visits`.
        pins: int32 or int64 [L + 1, B · W]; walks that step together write side by side.
        boards: int32 or int64 [L, B · W], likewise.
    """
    lanes = new_lanes(_TOGETHER, _TOGETHER)
    nothing = Shadow(np.empty(0, np.int64), new_tally(1))
    end = rows[1] * rule[0]
    for first in range(rows[0] * rule[0], end, _TOGETHER):
        last = min(first + _TOGETHER, end)
        pins[:, first:last], boards[:, first:last] = -1, -1
        walking = _start(graph, step, seeds, times, key, rule, pins, first, last, lanes)
        _trace(graph, step, accept, data, rule, pins, boards, fault, lanes, walking, nothing)


@njit
def _start(graph, step, seeds, times, key, rule, pins, first, last, lanes):
    """Put the walks of a block that can start onto lanes; return how many they are."""
    num_walks, walking = _U(rule[0]), _U(0)
    for walk in range(_U(first), _U(last)):
        pins[0, walk] = seeds[walk // num_walks]
        prefetch(graph.pin_offsets, pins[0, walk])
    for walk in range(_U(first), _U(last)):
        row = walk // num_walks
        lanes.walks[walking] = walk
        lanes.keys[walking] = draw(draw(key, seeds[row]), walk % num_walks)
        lanes.seeds[walking], lanes.times[walking] = seeds[row], times[row]
        lanes.pins[walking], lanes.previous[walking] = seeds[row], -1
        walking += _U(can_start(step, graph, seeds[row], times[row]))
    return walking


@njit
def _trace(graph, step, accept, data, rule, pins, boards, fault, lanes, walking, nothing):
    _, walk_length, go_on = rule
    here, there, none = _U(0), _U(_TOGETHER), (_U(0), _U(0), _U(0))
    for hop in range(walk_length):
        still, proposal = there, _U(0)
        while walking > 0:
            propose(graph, step, data, lanes, here, walking, hop, proposal, nothing, none, fault)
            again = here
            for j in range(here, here + walking):
                if may_leave(step) and lanes.ended[j]:
                    lanes.ended[j] = False
                    continue
                pin = np.int64(graph.board_pins[lanes.at[j]])
                walk = walk_of(graph, data, lanes, j, lanes.boards[j], hop)
                if accepted(accept, walk, pin, lanes.words[j]):
                    prefetch(graph.pin_offsets, pin)
                    pins[hop + 1, lanes.walks[j]] = pin
                    boards[hop, lanes.walks[j]] = lanes.boards[j]
                    _move(step, accept, lanes, j, still, pin, lanes.pins[j])
                    still += _U((lanes.words[j] >> _U(11)) < go_on)
                else:
                    _move(step, accept, lanes, j, again, lanes.pins[j], lanes.previous[j])
                    again += _U(proposal + _U(1) < MOST_PROPOSALS)
            walking, proposal = again - here, proposal + _U(1)
        walking = still - there
        here, there = there, here


@njit(forceinline=True)
def _move(step, accept, lanes, j, to, pin, previous):
    """Put the walk of lane j onto lane `to`, at `pin`."""
    lanes.walks[to], lanes.keys[to], lanes.pins[to] = lanes.walks[j], lanes.keys[j], pin
    if remembers(step, accept):
        lanes.previous[to], lanes.seeds[to] = previous, lanes.seeds[j]
        lanes.times[to] = lanes.times[j]


# Kernels with a user's functions are not kept on disk: numba cannot tell when they change.
trace_walks_cached = njit(nogil=True, cache=True)(trace_walks)
trace_walks_fresh = njit(nogil=True)(trace_walks)
