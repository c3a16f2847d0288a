"""Random walks pin → board → pin as traces: many walks of many seeds step together.

See `visit_kernels` for why they do. Here a walk is written down where it goes, so that the trace is
its memory: walk n of the call is row n of `pins` and `boards`.
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
    refresh,
)
from pingraph.samplers.prefetching import prefetch
from pingraph.samplers.randomness import draw

_U = np.uint64
_TOGETHER = 512  # walks: enough for all reads that fit in flight, few enough for the first cache


def trace_walks(graph, step, accept, data, seeds, times, key, rule, pins, boards, fault):
    """Write the walks of each seed to `pins` and `boards`.

    On paper: a walk from pin 4 over board 2 to pin 7, where it ends, with two traversals at most,
    is the row [4, 7, -1] of `pins` and [2, -1] of `boards`.

    Args:
        graph, step, accept, data, seeds, times, key, rule, fault: as of
            `visit_kernels.count_visits`.
        pins: int32 or int64 [B · W, L + 1], filled with -1 by the caller.
        boards: int32 or int64 [B · W, L], likewise.
    """
    lanes = _new_lanes(), _new_lanes()
    for first in range(0, len(pins), _TOGETHER):
        block = first, min(first + _TOGETHER, len(pins))
        _trace(
            graph, step, accept, data, seeds, times, key, rule, pins, boards, fault, lanes, block
        )


@njit
def _new_lanes():
    """Return (walks, keys, at, rest, ended) of the walks that step together."""
    return (
        np.empty(_TOGETHER, _U),
        np.empty(_TOGETHER, _U),
        np.empty(_TOGETHER, _U),
        np.empty(_TOGETHER, _U),
        np.empty(_TOGETHER, np.bool_),
    )


@njit
def _trace(graph, step, accept, data, seeds, times, key, rule, pins, boards, fault, lanes, block):
    num_walks, walk_length, go_on = _U(rule[0]), rule[1], rule[2]
    here, there = lanes
    walking = _U(0)
    for walk in range(_U(block[0]), _U(block[1])):
        seed = seeds[walk // num_walks]
        pins[walk, 0] = seed
        here[0][walking], here[1][walking] = walk, draw(draw(key, seed), walk % num_walks)
        walking += _U(can_start(step, graph, seed, times[walk // num_walks]))
    for hop in range(walk_length):
        still, proposal = _U(0), _U(0)
        while walking > 0:
            walks, keys, at, rest, ended = here
            for j in range(walking):  # alone in a loop, draws are vectorized
                rest[j] = draw(keys[j], _U(hop) | proposal << _U(32))
            for j in range(walking):
                pin = _U(pins[walks[j], hop])
                start, end = graph.pin_offsets[pin], graph.pin_offsets[pin + _U(1)]
                state = _state(graph, data, seeds, times, pins, walks[j], num_walks, -1, hop)
                place, rest[j] = choose_edge(step, state, start, end, rest[j])
                at[j] = _U(placed(step, place, start, end, state, ended, j, fault))
                prefetch(graph.pin_boards, at[j])
            refresh(step, rest, walking)
            for j in range(walking):
                board = graph.pin_boards[at[j]]
                boards[walks[j], hop] = board
                prefetch(graph.board_offsets, board)
            for j in range(walking):
                board = _U(boards[walks[j], hop])
                start, end = graph.board_offsets[board], graph.board_offsets[board + _U(1)]
                state = _state(
                    graph, data, seeds, times, pins, walks[j], num_walks, np.int64(board), hop
                )
                place, rest[j] = choose_edge(step, state, start, end, rest[j])
                at[j] = _U(placed(step, place, start, end, state, ended, j, fault))
                prefetch(graph.board_pins, at[j])
            refresh(step, rest, walking)
            again = _U(0)
            for j in range(walking):
                if not goes_on(step, ended, j):
                    boards[walks[j], hop] = -1
                    continue
                pin = np.int64(graph.board_pins[at[j]])
                board = np.int64(boards[walks[j], hop])
                state = _state(graph, data, seeds, times, pins, walks[j], num_walks, board, hop)
                if accepted(accept, state, pin, rest[j]):
                    prefetch(graph.pin_offsets, pin)
                    pins[walks[j], hop + 1] = pin
                    there[0][still], there[1][still] = walks[j], keys[j]
                    still += _U((rest[j] >> _U(11)) < go_on)
                elif proposal + _U(1) < MOST_PROPOSALS:
                    walks[again], keys[again] = walks[j], keys[j]
                    again += _U(1)
                else:
                    boards[walks[j], hop] = -1
            walking, proposal = again, proposal + _U(1)
        here, there = there, here
        walking = still


@njit(forceinline=True)
def _state(graph, data, seeds, times, pins, walk, num_walks, board, hop):
    """Return what a user's function sees of a walk; nothing is computed that it doesn't use."""
    row = walk // num_walks
    previous = np.int64(pins[walk, hop - 1]) if hop > 0 else np.int64(-1)
    return Walk(
        graph, data, seeds[row], times[row], previous, np.int64(pins[walk, hop]), board, hop
    )


# Kernels with a user's functions are not kept on disk: numba cannot tell when they change.
trace_walks_cached = njit(nogil=True, cache=True)(trace_walks)
trace_walks_fresh = njit(nogil=True)(trace_walks)
