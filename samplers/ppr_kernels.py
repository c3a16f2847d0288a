"""Personalized PageRank on the bipartite graph: by forward push, and to the end.

Forward push lets mass flow from a pin until too little waits anywhere; `solve_pagerank` solves for
all pins at once.

Indices are unsigned inside the loops, since numba adds a test for below 0 to signed ones.
Letters: N nodes of a side (pins or boards), E edges, S seeds, k neighbors. A side is a tuple
(offsets, neighbors, weights, degrees, masses, queue, reached) of a graph's pins or of its boards:

    offsets, neighbors, weights: the edges as in `PinBoardGraph`; weights is None without weights
    degrees: [N], sums of the weights or numbers of the edges
    masses: float64 [N, 2], the mass kept and the mass that waits to move on, of each node
    queue: int64 [N + 1], the nodes to push next, each of them once
    reached: int64 [N + 1], the nodes that mass has come to

The last three are for work. They are as large as the graph, but a seed touches only the nodes that
its mass reaches, and memory that is never touched is never taken from the system.
"""

import numpy as np

from pingraph.compiled import njit
from pingraph.samplers.prefetching import prefetch
from pingraph.samplers.randomness import draw

_U = np.uint64


@njit(nogil=True, cache=True)
def push_pagerank(pins, boards, seeds, rule, ids, scores):
    """Fill `ids` and `scores` with the pins that keep most mass, best first; see `PPRSampler`.

    Pins 0 and 1 on one board, restart ½: the mass 1 of pin 0 goes to the board and comes back as ½
    for each pin, which keeps ¼ and passes ¼ on. The board gives each of them ¼ of the ½ that it now
    has, so they keep ⅛ more and pass ⅛ on: ¼, ⅜, … until what waits is below the threshold.

    Args:
        pins, boards: the sides of the graph, with all masses 0; so they are afterwards.
        seeds: int64 [S], pins of the graph; one without boards leaves its row as it was.
        rule: (restart probability, threshold): a node is pushed when more than the threshold times
            its degree waits there.
        ids: int64 [S, k], filled with -1 by the caller.
        scores: float32 [S, k], filled with 0 by the caller; becomes the mass kept.
    """
    offsets, masses, reached = pins[0], pins[4], pins[6]
    for row in range(seeds.size):
        seed = seeds[row]
        if offsets[seed] < offsets[seed + 1]:
            num_pins, num_boards = _push_all(pins, boards, seed, rule)
            _keep_best(seed, reached[:num_pins], masses, ids[row], scores[row])
            masses[seed, 1] = 0.0
            _clear(reached[:num_pins], masses)
            _clear(boards[6][:num_boards], boards[4])


@njit(nogil=True, cache=True)
def solve_pagerank(boards, degrees, seeds, rule, ppr):
    """Fill `ppr` with the personalized PageRank π of all pins, by conjugate gradients.

    With M the mean over the pins of each of a pin's boards, and d the degrees of pins,
    π(s, v) = d(v) h(v), where h solves

        (1 - (1-α) M) h = α M e / d(s)  with e(s) = 1 and e = 0 elsewhere,

    since walks are as likely there as back but for the degrees: d(s) π(s, v) = d(v) π(v, s). So M
    is symmetric in the product Σ d(v) x(v) y(v), with eigenvalues from 0 to 1, and the matrix on
    the left has them from α to 1. The method: Hestenes and Stiefel, J. Res. Natl. Bur. Stand. 49
    (1952), pages 409-436. The absolute errors of π sum to at most 1/α times what is missing.

    Args:
        boards: (offsets, neighbors, weights, degrees) of the graph's boards.
        degrees: [P] of the pins, as those of the boards.
        seeds: int64 [S], pins of the graph; one without boards leaves its row as it was.
        rule: (restart probability α, the most that the absolute errors of a row may sum to).
        ppr: float64 [S, P], filled with 0 by the caller.
    """
    restart, limit = rule
    missing, step, moved = np.zeros(degrees.size), np.zeros(degrees.size), np.zeros(degrees.size)
    for row in range(seeds.size):
        seed, found = seeds[row], ppr[row]
        if degrees[seed] > 0:
            missing[:] = 0.0
            missing[seed] = restart / degrees[seed]
            _average(boards, degrees, missing, step)
            missing[:] = step
            before, left = _measure(degrees, missing)
            while left > restart * limit:
                _average(boards, degrees, step, moved)
                length = before / _energy(degrees, step, moved, restart)
                for pin in range(degrees.size):
                    found[pin] += length * step[pin]
                    missing[pin] -= length * (step[pin] - (1.0 - restart) * moved[pin])
                after, left = _measure(degrees, missing)
                for pin in range(degrees.size):
                    step[pin] = missing[pin] + after / before * step[pin]
                before = after
            for pin in range(degrees.size):
                found[pin] = max(0.0, degrees[pin] * found[pin])


@njit
def _average(boards, degrees, values, moved):
    """Fill `moved` with the mean over each pin's boards of the mean of `values` on the board."""
    offsets, neighbors, weights, board_degrees = boards
    moved[:] = 0.0
    for board in range(board_degrees.size):
        first, last = _U(offsets[board]), _U(offsets[board + 1])
        total = 0.0
        for edge in range(first, last):
            total += _portion(values[_U(neighbors[edge])], weights, edge)
        if total != 0.0:
            total /= board_degrees[board]
            for edge in range(first, last):
                moved[_U(neighbors[edge])] += _portion(total, weights, edge)
    for pin in range(degrees.size):
        if degrees[pin] > 0:
            moved[pin] /= degrees[pin]


@njit
def _measure(degrees, values):
    """Return the sums over pins of d x² and of d |x|."""
    squares = sizes = 0.0
    for pin in range(degrees.size):
        part = degrees[pin] * abs(values[pin])
        squares += part * abs(values[pin])
        sizes += part
    return squares, sizes


@njit
def _energy(degrees, step, moved, restart):
    """Return the sum over pins of d x y, with y the matrix times x, and `moved` the mean of x."""
    energy = 0.0
    for pin in range(degrees.size):
        energy += degrees[pin] * step[pin] * (step[pin] - (1.0 - restart) * moved[pin])
    return energy


@njit
def _push_all(pins, boards, seed, rule):
    """Push from `seed` until nothing exceeds its threshold; return how many nodes were reached.

    All pins of the queue are pushed, which fills boards, then all boards, which fills pins, and so
    on: what a queue would give whose first comer is the first to go. Since a push fills the other
    side alone, the order within a side changes nothing but the rounding: no index is favored.
    """
    restart, threshold = rule
    degrees, masses, queue = pins[3], pins[4], pins[5]
    masses[seed, 1] = 1.0
    queue[0] = seed
    waiting = np.int64(threshold * degrees[seed] < 1.0)
    num_pins = num_boards = np.int64(0)
    while waiting > 0:
        waiting, num_boards = _push(pins, boards, waiting, num_boards, 1.0, 1.0, threshold)
        waiting, num_pins = _push(
            boards, pins, waiting, num_pins, restart, 1.0 - restart, threshold
        )
    return num_pins, num_boards


@njit
def _push(side, other, waiting, num_reached, keep, pass_on, threshold):
    """Push the `waiting` nodes in the queue of a side; fill the queue of the other side.

    Of what arrives at a node of the other side, the shares `keep` and `pass_on` are added to what
    it keeps and to what waits. (A board notes all that arrives and keeps nothing.) Returns how many
    nodes are in the queue of the other side, and how many were reached there.
    """
    offsets, neighbors, weights, degrees, masses, queue, _ = side
    _, _, _, other_degrees, other_masses, other_queue, other_reached = other
    filled, num_reached = _U(0), _U(num_reached)
    for i in range(waiting):
        _look_ahead(side, i, waiting)
        node = queue[i]
        part = masses[node, 1] / degrees[node]
        masses[node, 1] = 0.0
        for edge in range(_U(offsets[node]), _U(offsets[node + 1])):
            at = _U(neighbors[edge])
            arrived = _portion(part, weights, edge)
            other_reached[num_reached] = at
            num_reached += _U(other_masses[at, 0] == 0.0)
            other_masses[at, 0] += keep * arrived
            before = other_masses[at, 1]
            after = before + pass_on * arrived
            other_masses[at, 1] = after
            limit = threshold * other_degrees[at]
            other_queue[filled] = at
            filled += _U(before <= limit < after)
    return np.int64(filled), np.int64(num_reached)


@njit
def _look_ahead(side, i, waiting):
    """Fetch what the next nodes in the queue begin with: rows are short and lie far apart."""
    offsets, neighbors, _, degrees, masses, queue, _ = side
    if i + 8 < waiting:
        node = queue[i + 8]
        prefetch(offsets, node)
        prefetch(degrees, node)
        prefetch(masses, 2 * node)
    if i + 4 < waiting:
        prefetch(neighbors, offsets[queue[i + 4]])


@njit
def _portion(part, weights, edge):
    if weights is None:
        return part
    return part * weights[edge]


@njit
def _clear(reached, masses):
    for i in range(reached.size):
        masses[reached[i], 0] = 0.0
        masses[reached[i], 1] = 0.0


@njit
def _keep_best(seed, reached, masses, ids, scores):
    """Write the pins that keep most, as float32, best first; of equal ones a draw decides.

    The row is a heap with the worst place on top, at first an empty one, and is sorted at the end.
    """
    key = draw(_U(0), seed)
    for i in range(reached.size):
        pin, score = reached[i], np.float32(masses[reached[i], 0])
        if pin != seed and score > 0 and _worse(scores[0], ids[0], score, pin, key):
            ids[0], scores[0] = pin, score
            _sink(ids.size, key, ids, scores)
    for end in range(ids.size - 1, 0, -1):
        ids[0], ids[end] = ids[end], ids[0]
        scores[0], scores[end] = scores[end], scores[0]
        _sink(end, key, ids, scores)


@njit
def _sink(size, key, ids, scores):
    """Move the top of a heap of `size` places down until what is below it is better."""
    root, worst = 0, 1
    while worst < size:
        right = worst + 1
        if right < size and _worse(scores[right], ids[right], scores[worst], ids[worst], key):
            worst = right
        if not _worse(scores[worst], ids[worst], scores[root], ids[root], key):
            return
        ids[root], ids[worst] = ids[worst], ids[root]
        scores[root], scores[worst] = scores[worst], scores[root]
        root, worst = worst, 2 * worst + 1


@njit
def _worse(score, pin, other_score, other_pin, key):
    if score != other_score:
        return score < other_score
    return draw(key, pin) > draw(key, other_pin)
