"""Where a walk can be changed: how it chooses an edge, what it accepts, how visits are scored.

The kernels call `choose_edge`, `accepted`, `rank` and what belongs to them. Which code that runs is
decided while a kernel is compiled, by the type of the hook: a rule of our own, such as `Uniform`,
is a named tuple, so that kernels with it can be kept on disk; a user's is a compiled function.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.extending import overload

from pingraph.compiled import njit
from pingraph.errors import PinGraphError
from pingraph.samplers.randomness import draw, follow, pick
from pingraph.samplers.tally import rank_scores, rank_visits

_ACCEPTANCE = np.uint64(2**41)  # a draw far from those that a user makes of a word: 0, 1, 2, …

# A walk is a big tuple: to hand it to a function that is not inlined costs more than its work.
_INLINE: Any = {"forceinline": True}

_LARGEST = float(np.finfo(np.float32).max)  # score
MOST_PROPOSALS = 1_000  # of one traversal, before a walk that nothing is accepted of ends


class GraphArrays(NamedTuple):
    """The arrays of a PinBoardGraph, as a step sees them; see there for their meaning."""

    pin_offsets: np.ndarray  # int64 [P + 1]
    pin_boards: np.ndarray  # int [E]
    pin_weights: np.ndarray | None  # float32 [E]
    pin_times: np.ndarray | None  # int64 [E]
    board_offsets: np.ndarray  # int64 [B + 1]
    board_pins: np.ndarray  # int [E]
    board_weights: np.ndarray | None  # float32 [E]
    board_times: np.ndarray | None  # int64 [E]


class Walk(NamedTuple):
    """A walk on its way, as the functions of a user see it."""

    graph: GraphArrays
    data: Any  # what the sampler was given as its data
    seed: int | np.integer  # the pin where the walk began
    time: int | np.integer  # the time of the seed, 2⁶³ - 1 where there is none
    previous: int | np.integer  # the pin before the one where it is, -1 at the seed
    pin: int | np.integer  # the pin where it is
    board: int | np.integer  # the board on the way to the next pin, -1 before it is chosen
    step: int | np.integer  # traversals made


class Uniform(NamedTuple):
    """Each edge of a node is chosen with equal probability."""

    tag: int = 0


class Weighted(NamedTuple):
    """Each edge is chosen in proportion to its weight: Walker's alias method, see `alias`."""

    pin_thresholds: np.ndarray  # uint32 [E], pin order: keep the place below it, else its alias
    pin_aliases: np.ndarray  # int32 [E], place within the row
    board_thresholds: np.ndarray  # the same in board order
    board_aliases: np.ndarray


class Earlier(NamedTuple):
    """Each edge older than the time of the seed with equal probability; rows ascend in time."""

    tag: int = 0


class Second(NamedTuple):
    """node2vec's acceptance: what a traversal is worth, given the pin before, over the best."""

    again: float  # back to the pin before
    near: float  # to a board-mate of the pin before
    far: float  # to any other pin


class RuleError(PinGraphError):
    """What a user's function returned cannot be; compiled code gives it three numbers alone."""

    told = ""

    def __init__(self, *args: Any):
        if len(args) == 3:  # else it comes from another process, with its words
            args = (self.told.format(*args),)
        super().__init__(*args)


class ProbabilityError(RuleError):
    """What a user's `accept` or `bias` returned is no probability."""

    told = "the probability to accept a traversal from pin {} to pin {} is {}; expected 0 to 1"


class ScoreError(RuleError):
    """What a user's `score` returned is too large for float32."""

    told = (
        "the score of pin {1} for seed {0} is {2}; expected numbers up to "
        f"{_LARGEST:.1e}, the largest of float32"
    )


def choose_edge(step, walk, start, end, word):
    """Return the place of an edge in start … end - 1, and what is left of the random word."""


@overload(choose_edge, jit_options=_INLINE)
def _compile_choice(step, walk, start, end, word):
    if isinstance(step, types.Dispatcher):
        return lambda step, walk, start, end, word: (step(walk, start, end, word), word)
    chosen = {Uniform: _uniform, Weighted: _weighted, Earlier: _earlier}[step.instance_class]
    return lambda step, walk, start, end, word: chosen(step, walk, start, end, word)


@njit(forceinline=True)
def _uniform(step, walk, start, end, word):
    place, rest = pick(word, end - start)
    return start + place, rest


@njit(forceinline=True)
def _weighted(step, walk, start, end, word):
    place, rest = pick(word, end - start)
    place += start
    if walk.board < 0:
        keep = (rest >> np.uint64(32)) < step.pin_thresholds[place]
        place = place if keep else start + step.pin_aliases[place]
    else:
        keep = (rest >> np.uint64(32)) < step.board_thresholds[place]
        place = place if keep else start + step.board_aliases[place]
    return place, word


@njit(forceinline=True)
def _earlier(step, walk, start, end, word):
    times = walk.graph.pin_times if walk.board < 0 else walk.graph.board_times
    low, high = start, end
    while low < high:
        middle = (low + high) >> 1
        if times[middle] < walk.time:
            low = middle + 1
        else:
            high = middle
    place, rest = pick(word, low - start)
    return start + place, rest


def accepted(accept, walk, pin, word):
    """Whether a traversal to `pin` is made; the coin is drawn from `word`."""


@overload(accepted, jit_options=_INLINE)
def _compile_acceptance(accept, walk, pin, word):
    if isinstance(accept, types.NoneType):
        return lambda accept, walk, pin, word: True
    if isinstance(accept, types.Dispatcher):
        return _accepted_by_user
    return lambda accept, walk, pin, word: _coin(word) < _second(accept, walk, pin)


def _accepted_by_user(accept, walk, pin, word):
    probability = accept(walk, pin)
    if not 0 <= probability <= 1:
        raise ProbabilityError(walk.pin, pin, probability)
    return _coin(word) < probability


@njit(forceinline=True)
def _coin(word):
    return (draw(word, _ACCEPTANCE) >> np.uint64(11)) * 2.0**-53


@njit
def _second(accept, walk, pin):
    if walk.previous < 0:
        return 1.0
    if pin == walk.previous:
        return accept.again
    if accept.near == accept.far:
        return accept.near
    return accept.near if _board_mates(walk.graph, walk.previous, pin) else accept.far


@njit
def _board_mates(graph, one, other):
    """Whether two pins share a board, by merging their boards, which ascend."""
    i, end = graph.pin_offsets[one], graph.pin_offsets[one + 1]
    j, stop = graph.pin_offsets[other], graph.pin_offsets[other + 1]
    while i < end and j < stop:
        left, right = graph.pin_boards[i], graph.pin_boards[j]
        if left == right:
            return True
        i += left < right
        j += left > right
    return False


def refresh(step, words, here, walking):
    """Replace words that a step may have used up by fresh ones that follow from them."""


@overload(refresh, jit_options=_INLINE)
def _compile_refresh(step, words, here, walking):
    if not isinstance(step, types.Dispatcher) and step.instance_class is not Weighted:
        return lambda step, words, here, walking: None

    def redraw(step, words, here, walking):
        for j in range(here, here + walking):
            words[j] = follow(words[j])

    return redraw


def may_leave(step):
    """Whether a step may return a place outside of its row: known while a kernel is compiled.

    Of our own rules none does.
    """


@overload(may_leave, jit_options=_INLINE)
def _compile_may_leave(step):
    if isinstance(step, types.Dispatcher):
        return lambda step: True
    return lambda step: False


def remembers(step, accept):
    """Whether a rule asks for more of a walk than where it is: known while a kernel is compiled."""


@overload(remembers, jit_options=_INLINE)
def _compile_remembers(step, accept):
    plain = not isinstance(step, types.Dispatcher) and step.instance_class is not Earlier
    if plain and isinstance(accept, types.NoneType):
        return lambda step, accept: False
    return lambda step, accept: True


def can_start(step, graph, seed, time):
    """Whether a seed has an edge to take."""


@overload(can_start, jit_options=_INLINE)
def _compile_can_start(step, graph, seed, time):
    def with_edge(step, graph, seed, time):
        return graph.pin_offsets[seed] < graph.pin_offsets[seed + 1]

    def with_early_edge(step, graph, seed, time):
        first = graph.pin_offsets[seed]
        return first < graph.pin_offsets[seed + 1] and graph.pin_times[first] < time

    if isinstance(step, types.Dispatcher) or step.instance_class is not Earlier:
        return with_edge
    return with_early_edge


def rank(score, graph, data, seed, time, tally, found, ids, scores, row):
    """Write the pins of a tally by their visits, or by what the user's score makes of them."""


@overload(rank)
def _compile_rank(score, graph, data, seed, time, tally, found, ids, scores, row):
    def by_visits(score, graph, data, seed, time, tally, found, ids, scores, row):
        rank_visits(tally, found, ids, scores, row)

    def by_score(score, graph, data, seed, time, tally, found, ids, scores, row):
        walk = Walk(graph, data, seed, time, -1, -1, -1, -1)
        _, pins, visits, _ = tally
        values = np.empty(found, np.float64)
        for number in range(found):
            values[number] = score(walk, pins[number], visits[number])
            if values[number] > _LARGEST:
                raise ScoreError(seed, pins[number], values[number])
        rank_scores(pins[:found], values, ids[row], scores[row])

    return by_visits if isinstance(score, types.NoneType) else by_score
