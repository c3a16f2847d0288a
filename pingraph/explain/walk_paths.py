"""Exact chances of the walks pin → board → pin that lead from one pin to another.

A traversal goes from pin u to one of its boards b, and from there to one of the board's pins, each
chosen uniformly, as in PinSAGE (arXiv 1806.01973, section 3.2). With d() the number of boards of a
pin and of pins of a board, it takes u → b → v with the chance 1 / (d(u) d(b)), and leads to v with

    P(u, v) = Σ 1 / (d(u) d(b)) over the boards b of both; so d(u) P(u, v) = d(v) P(v, u).

Two traversals lead from u to v with P²(u, v) = Σ P(u, m) P(m, v) over the pins m.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pingraph.graph import PinBoardGraph
from pingraph.samplers.keeping import kept_with
from pingraph.samplers.ppr import exact_ppr

_ROUNDING = 1e-9  # relative; exact chances that differ by less are ties


class Pair(NamedTuple):
    """What holds of the way from the one pin to the other, and of the way back."""

    there: float
    back: float


@dataclass(frozen=True, kw_only=True)
class SharedBoard:
    """A board of both pins, and the chance of the traversal over it."""

    board: int
    chance: Pair


@dataclass(frozen=True, kw_only=True)
class TwoSteps:
    """Two traversals one → boards[0] → pin → boards[1] → other, and the chance of just these."""

    boards: tuple[int, int]
    pin: int
    chance: Pair


@dataclass(frozen=True, kw_only=True)
class Walk:
    """Where endless walks with restarts from one pin end, as far as the other is concerned."""

    chance: float  # π of `exact_ppr`
    parts: tuple[float, float, float]  # of `chance`: after 1, after 2, and after more traversals
    place: int | None  # of the other pin among those reached, 1 for the likeliest; None if it's not
    reached: int  # pins that a walk can end at, other than where it began


def shared_boards(graph: PinBoardGraph, one: int, other: int) -> list[SharedBoard]:
    """Return the boards of both pins (dense indices), the likeliest (smallest) first."""
    boards = np.intersect1d(graph.boards_of(one), graph.boards_of(other))
    sizes = graph.board_degrees[boards]
    return [
        SharedBoard(board=int(boards[at]), chance=_both(graph, one, other, 1 / sizes[at]))
        for at in np.argsort(sizes, kind="stable")
    ]


def one_step(graph: PinBoardGraph, pin: int) -> np.ndarray:
    """Return P(pin, ·), float64 [P]; zeros for a pin without boards."""
    pins, boards = _reach(graph, pin)
    weights = 1 / (graph.board_degrees[boards] * max(1, graph.pin_degrees[pin]))
    return np.bincount(pins, weights, minlength=graph.num_pins)


def two_steps(graph: PinBoardGraph, one: int, other: int) -> float:
    """Return P²(one, other), by way of any pin, the two included."""
    met = one_step(graph, one) * one_step(graph, other)
    return float(graph.pin_degrees[other] * (met / np.maximum(graph.pin_degrees, 1)).sum())


def two_step_paths(graph: PinBoardGraph, one: int, other: int, count: int) -> list[TwoSteps]:
    """Return the likeliest paths by way of a third pin and of two different boards.

    Other two-step walks come back to an end, or stay on a board that the pins share: they say no
    more than `shared_boards`. Of equal paths those by lower indices (pin, boards) come first.

    Args:
        graph: the graph.
        one: dense index of the pin where paths begin.
        other: of that where they end.
        count: how many, at least 1.
    """
    sides = [_by_pin(graph, *_reach(graph, pin), leave_out=(one, other)) for pin in (one, other)]
    # A pin's best path takes one of the two smallest boards on either side. The pins of the best
    # paths are among those whose best path is best, and take one of their smallest boards.
    pins, _, _, values = _joined(graph, *(_smallest(side, 2) for side in sides))
    best = pins[np.lexsort((pins, -values))]
    _, first = np.unique(best, return_index=True)
    chosen = best[np.sort(first)[:count]]
    kept = [side[:, np.isin(side[0], chosen)] for side in sides]
    pins, left, right, values = _joined(graph, *(_smallest(side, count + 1) for side in kept))
    order = np.lexsort((right, left, pins, -values))[:count]
    return [
        TwoSteps(
            boards=(int(left[at]), int(right[at])),
            pin=int(pins[at]),
            chance=_both(graph, one, other, values[at]),
        )
        for at in order
    ]


def walks(
    graph: PinBoardGraph, one: int, other: int, restart_probability: float = 0.5
) -> tuple[Walk, Walk]:
    """Return what walks from the one pin say of the other, and the other way round.

    Args:
        graph: the graph.
        one: a pin, dense index.
        other: another pin.
        restart_probability: α: a walk ends after each traversal with this chance, so that it ends
            at v with π(u, v) = Σ α (1-α)^(t-1) P^t(u, v) over t = 1, 2, … (`exact_ppr`).

    Raises:
        PinGraphError: the restart probability is out of its range.
    """
    part = kept_with(graph, PinBoardGraph.components)
    joined = part == part[one], part == part[other]
    # Pins of two components have chances of 0, which need not be solved for.
    ends = np.array([one, other] if joined[0][other] else [], np.int64)
    solved = exact_ppr(graph, ends, restart_probability, num_threads=2)
    there, back = solved if len(solved) else np.zeros((2, graph.num_pins))
    return (
        _walk(graph, one, other, there, joined[0], restart_probability),
        _walk(graph, other, one, back, joined[1], restart_probability),
    )


def _walk(
    graph: PinBoardGraph,
    start: int,
    end: int,
    ppr: np.ndarray,
    joined: np.ndarray,
    restart_probability: float,
) -> Walk:
    ppr[start] = 0
    chance = float(ppr[end])
    first = restart_probability * float(one_step(graph, start)[end])
    second = restart_probability * (1 - restart_probability) * two_steps(graph, start, end)
    ahead = int((ppr > chance * (1 + _ROUNDING)).sum())
    return Walk(
        chance=chance,
        parts=(first, second, max(0.0, chance - first - second)),
        place=ahead + 1 if joined[end] else None,
        reached=int(joined.sum()) - 1,
    )


def _both(graph: PinBoardGraph, one: int, other: int, rest: float) -> Pair:
    """Return the chances of a path and of its reverse, which differ in their first factor alone."""
    degrees = graph.pin_degrees
    return Pair(float(rest / degrees[one]), float(rest / degrees[other]))


def _reach(graph: PinBoardGraph, pin: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pins of a pin's boards, and the board of each; the pin itself is among them."""
    boards = graph.boards_of(pin)
    pins = [graph.pins_of(board) for board in boards.tolist()]
    each = np.repeat(boards, graph.board_degrees[boards])
    return (np.concatenate(pins) if pins else boards), each


def _by_pin(
    graph: PinBoardGraph, pins: np.ndarray, boards: np.ndarray, leave_out: tuple[int, int]
) -> np.ndarray:
    """Return rows of pins, boards and board sizes, sorted by pin, then size, then board."""
    rows = np.stack([pins, boards, graph.board_degrees[boards]]).astype(np.int64)
    rows = rows[:, ~np.isin(pins, leave_out)]
    return rows[:, np.lexsort((rows[1], rows[2], rows[0]))]


def _smallest(side: np.ndarray, count: int) -> np.ndarray:
    """Return the first `count` entries of each pin."""
    starts = np.searchsorted(side[0], side[0])
    return side[:, np.arange(side.shape[1]) - starts < count]


def _joined(
    graph: PinBoardGraph, left: np.ndarray, right: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the pins of both sides with each two different boards, and 1 / (d(b) d(m) d(b'))."""
    starts = np.searchsorted(right[0], left[0])
    counts = np.searchsorted(right[0], left[0], side="right") - starts
    ours = np.repeat(np.arange(left.shape[1]), counts)
    theirs = np.arange(counts.sum()) + np.repeat(starts - np.cumsum(counts) + counts, counts)
    (pins, one, size), (_, other, other_size) = left[:, ours], right[:, theirs]
    values = 1.0 / (size * graph.pin_degrees[pins] * other_size)
    differ = one != other
    return pins[differ], one[differ], other[differ], values[differ]
