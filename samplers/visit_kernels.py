"""Counts the visits of many walks of each seed: the kernel of all samplers that walk.

The walks of a seed step together, and while they wait for memory, the visits of the seed before are
counted; see `hops`.

Letters: B seeds, k neighbors, W walks of a seed, V visits of a seed at most (walks · traversals).
"""

import numpy as np

from pingraph.compiled import njit
from pingraph.samplers.hooks import (
    MOST_PROPOSALS,
    accepted,
    can_start,
    may_leave,
    rank,
    remembers,
)
from pingraph.samplers.hops import Shadow, new_lanes, propose, walk_of
from pingraph.samplers.prefetching import prefetch
from pingraph.samplers.randomness import draw
from pingraph.samplers.tally import clear, count_all, new_tally

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
    lanes = new_lanes(num_walks, 1)
    visits = num_walks * walk_length
    shadow = Shadow(np.empty(2 * visits + 2, np.int64), new_tally(visits))
    tally, old, new = shadow.tally, _U(0), _U(visits + 1)  # where their halves of the visits begin
    waiting = _U(0)
    for row in range(seeds.size + 1):  # the visits of a row are counted while the next one walks
        clear(tally)
        wait, traced, found = (old, old + waiting), _U(0), _U(0)
        if row < seeds.size:
            seed, time = seeds[row], times[row]
            pin_key = draw(key, seed)
            _look_ahead(graph, seeds, row)
            traced, found = _walk(
                graph,
                step,
                accept,
                data,
                seed,
                time,
                pin_key,
                rule,
                lanes,
                shadow,
                wait,
                new,
                fault,
            )
        else:
            found = count_all(shadow.visits, old, old + waiting, found, tally)
        if row > 0:
            before = row - 1
            seed, time = seeds[before], times[before]
            rank(score, graph, data, seed, time, tally, found, ids, scores, before)
        new, old, waiting = old, new, traced


@njit
def _walk(graph, step, accept, data, seed, time, pin_key, rule, lanes, shadow, wait, new, fault):
    """Walk from a seed, write the visits from `new` on, and count the waiting ones meanwhile.

    Returns the number of visits written and the number of distinct pins counted.
    """
    num_walks, walk_length, go_on = rule
    here, there = _U(0), _U(num_walks)
    (done, last), found, traced = wait, _U(0), new
    walking = _U(num_walks if can_start(step, graph, seed, time) else 0)
    for j in range(walking):
        lanes.keys[j] = draw(pin_key, j)
    for j in range(walking):
        lanes.pins[j] = seed
        if remembers(step, accept):
            lanes.previous[j] = -1
    lanes.seeds[0], lanes.times[0] = seed, time
    for hop in range(walk_length):
        still, proposal = there, _U(0)
        while walking > 0:
            wait = done, last, found
            done, found = propose(
                graph, step, data, lanes, here, walking, hop, proposal, shadow, wait, fault
            )
            again = here
            for j in range(here, here + walking):
                if may_leave(step) and lanes.ended[j]:
                    lanes.ended[j] = False
                    continue
                pin = np.int64(graph.board_pins[lanes.at[j]])
                walk = walk_of(graph, data, lanes, j, lanes.boards[j], hop)
                if accepted(accept, walk, pin, lanes.words[j]):
                    prefetch(graph.pin_offsets, pin)
                    shadow.visits[traced] = pin
                    traced += _U(pin != seed)
                    _move(step, accept, lanes, j, still, pin, lanes.pins[j])
                    still += _U((lanes.words[j] >> _U(11)) < go_on)
                else:
                    _move(step, accept, lanes, j, again, lanes.pins[j], lanes.previous[j])
                    again += _U(proposal + _U(1) < MOST_PROPOSALS)
            walking, proposal = again - here, proposal + _U(1)
        walking = still - there
        here, there = there, here
    return traced - new, count_all(shadow.visits, done, last, found, shadow.tally)


@njit(forceinline=True)
def _move(step, accept, lanes, j, to, pin, previous):
    """Put the walk of lane j onto lane `to`, at `pin`; all lanes have one seed."""
    lanes.keys[to], lanes.pins[to] = lanes.keys[j], pin
    if remembers(step, accept):
        lanes.previous[to] = previous


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
