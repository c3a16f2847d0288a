"""Numbers that tell samplers apart, computed from what they found; the formulas of the lab.

Letters: B seeds, k neighbors of each, P pins of the graph. Where a number is undefined, such as the
mean entropy of no neighbors at all, it is NaN. docs/sampler-lab.md says what each one means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph
    from pingraph.interfaces import Neighbors

HUBS = 0.01  # share of the pins that are called hubs
_ROUNDING = 1e-9  # relative; exact probabilities that differ by less are ties


def measures(found: Neighbors, graph: PinBoardGraph) -> dict[str, float]:
    """Return every measure of one sampler by name."""
    bits = entropy(found)
    return {
        "answered_share": answered_share(found),
        "mean_found": mean_found(found),
        "coverage": coverage(found, graph),
        "effective_neighbors": _mean(np.exp2(bits)),
        "entropy_bits": _mean(bits),
        "hub_share": weight_share(found, hubs(graph)[found.ids]),
        "board_mate_share": weight_share(found, board_mates(found, graph)),
        "degree_ratio": degree_ratio(found, graph),
        "self_hit_share": self_hit_share(found),
    }


def answered_share(found: Neighbors) -> float:
    """Return the share of the seeds that have a neighbor."""
    return _mean(found.mask.any(axis=1))


def mean_found(found: Neighbors) -> float:
    """Return the mean number of neighbors of a seed, of the k that it may have."""
    return _mean(found.mask.sum(axis=1))


def coverage(found: Neighbors, graph: PinBoardGraph) -> float:
    """Return the share of all pins of the graph that are a neighbor of some seed."""
    return len(np.unique(found.ids[found.mask])) / graph.num_pins


def entropy(found: Neighbors) -> np.ndarray:
    """Return the Shannon entropy of the weights of each seed in bits, float64 [B].

    -Σ w log₂ w: 0 for a single neighbor, log₂ k for k equal ones, NaN for none. 2 to its power is
    the number of equal neighbors that would be as uncertain.
    """
    weights = found.weights.astype(np.float64)
    logs = np.log2(weights, out=np.zeros_like(weights), where=weights > 0)
    return np.where(found.mask.any(axis=1), -(weights * logs).sum(axis=1), np.nan)


def hubs(graph: PinBoardGraph) -> np.ndarray:
    """Return which pins are hubs, bool [P]: the 1% on most boards (rounded up).

    Of pins on equally many boards the one with the lower index comes first.
    """
    chosen = np.zeros(graph.num_pins, np.bool_)
    count = int(np.ceil(HUBS * graph.num_pins))
    chosen[np.argsort(-graph.pin_degrees, kind="stable")[:count]] = True
    return chosen


def edge_share(graph: PinBoardGraph, pins: np.ndarray) -> float:
    """Return the share of the edges that some pins (bool [P]) have."""
    return float(graph.pin_degrees[pins].sum() / graph.num_edges)


def weight_share(found: Neighbors, chosen: np.ndarray) -> float:
    """Return the share of all weight that lies on the chosen entries (bool [B, k])."""
    total = found.weights.sum(dtype=np.float64)
    return float(found.weights[chosen].sum(dtype=np.float64) / total) if total else float("nan")


def board_mates(found: Neighbors, graph: PinBoardGraph) -> np.ndarray:
    """Return which neighbors share a board with their seed, bool [B, k]."""
    mates = np.zeros(found.mask.shape, np.bool_)
    owner = np.full(graph.num_boards, -1)  # the last row whose seed lies on the board
    for row, seed in enumerate(found.seeds):
        owner[graph.boards_of(seed)] = row
        for column in np.flatnonzero(found.mask[row]):
            mates[row, column] = (owner[graph.boards_of(found.ids[row, column])] == row).any()
    return mates


def degree_ratio(found: Neighbors, graph: PinBoardGraph) -> float:
    """Return the median degree of all neighbors over that of the pins that lie on a board.

    The degree of a pin is its number of boards. A pin counts as often as it is a neighbor.
    """
    degrees = graph.pin_degrees[found.ids[found.mask]]
    usual = np.median(graph.pin_degrees[graph.pin_degrees > 0])
    return float(np.median(degrees) / usual) if len(degrees) else float("nan")


def self_hit_share(found: Neighbors) -> float:
    """Return the share of the seeds that are among their own neighbors; a fault of the sampler."""
    return _mean(((found.ids == found.seeds[:, None]) & found.mask).any(axis=1))


def mean_jaccard(one: Neighbors, other: Neighbors) -> float:
    """Return the mean Jaccard index of two samplers' sets of neighbors, over the same seeds.

    |A ∩ B| / |A ∪ B|. Seeds for which neither found anything are left out.
    """
    width = max(one.ids.max(initial=0), other.ids.max(initial=0)) + 1
    first, second = _pairs(one, width), _pairs(other, width)
    common = np.intersect1d(first, second, assume_unique=True)
    shared, left, right = (
        np.bincount(pairs // width, minlength=len(one.seeds)) for pairs in (common, first, second)
    )
    either = left + right - shared
    return _mean(shared[either > 0] / either[either > 0])


def total_variation(found: Neighbors, exact: np.ndarray) -> np.ndarray:
    """Return the total variation distance of the weights from a distribution, float64 [B].

    ½ Σ |w - p| over all pins: 0 where they are equal, 1 where they have no pin in common, or where
    the sampler found nothing.

    Args:
        found: each row's ids are all different.
        exact: float64 [B, P], each row sums to 1.
    """
    rows, columns = np.nonzero(found.mask)
    difference = exact.copy()
    difference[rows, found.ids[rows, columns]] -= found.weights[rows, columns]
    distance = np.abs(difference).sum(axis=1) / 2
    return np.where(found.mask.any(axis=1), distance, 1.0)


def top_share(found: Neighbors, exact: np.ndarray, k: int) -> np.ndarray:
    """Return the share of the k most probable pins that the first k neighbors hold, float64 [B].

    A neighbor counts when it is as probable as the k-th most probable pin, so that among tied pins
    every choice is right. Where fewer than k pins are possible, these are wanted.

    Args:
        found: each row's ids are all different.
        exact: float64 [B, P], each row with a number above 0.
        k: from 1 to P.
    """
    last = np.partition(exact, -k, axis=1)[:, -k]
    ids, mask = found.ids[:, :k], found.mask[:, :k]
    probable = np.take_along_axis(exact, np.where(mask, ids, 0), axis=1)
    hits = mask & (probable > 0) & (probable >= last[:, None] * (1 - _ROUNDING))
    return hits.sum(axis=1) / np.minimum((exact > 0).sum(axis=1), k)


def _pairs(found: Neighbors, width: int) -> np.ndarray:
    """Return a number for each distinct (row, neighbor), ascending."""
    rows, columns = np.nonzero(found.mask)
    return np.unique(rows * width + found.ids[rows, columns])


def _mean(values: Any) -> float:
    """Return the mean of what is not NaN."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")
