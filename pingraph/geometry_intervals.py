"""How sure the numbers of `pingraph.geometry` are: jackknife intervals, see `pingraph.jackknife`.

Left out in turn are groups of pins; of the alignment, which is a mean over pairs on boards, groups
of boards; and of hubness groups of lists, as of queries elsewhere: who may be found stays.

Letters: G groups, M pins with a vector that is not zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pingraph import geometry
from pingraph.board_sizes import BOARD_LIMIT
from pingraph.jackknife import GROUPS, jackknife_interval
from pingraph.stability import cross_products

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph
    from pingraph.interfaces import EmbeddingTable
    from pingraph.knn import Knn

# What the numbers can be, at least and at most.
_LIMITS = {
    "alignment": (0, 4),
    "uniformity": (-8, 0),
    "effective_rank": (1, np.inf),
    "anisotropy": (-1, 1),
    **dict.fromkeys(("robin_hood", "anti_hubs", "largest_hub"), (0, 1)),
    "modality_gap": (0, 2),
}


def geometry_intervals(
    values: dict[str, float],
    table: EmbeddingTable,
    graph: PinBoardGraph,
    knn: Knn,
    *,
    sample: int | None = None,
    seed: int = 0,
) -> dict[str, list[float] | None]:
    """Return the 95% interval of each number, by name.

    Args:
        values: what `geometry` returns for the other arguments.
        table, graph, knn, sample, seed: as of `geometry`.

    Returns:
        Both ends; None of a count, of what does not exist, and of fewer than 2 G pins.
    """
    unit, rows = geometry.unit_rows(table.fused)
    if len(unit) < 2 * GROUPS:
        return dict.fromkeys(values, None)
    left_out = {
        "alignment": _alignments(unit, rows, graph),
        "uniformity": _uniformities(geometry.draw_rows(unit, sample, seed)),
        "effective_rank": _ranks(unit),
        "anisotropy": _mean_cosines(unit),
        **_hubness(knn, rows >= 0),
        "modality_gap": _gaps(table),
    }
    return {
        name: jackknife_interval(
            value, left_out.get(name, ()), _LIMITS.get(name, (-np.inf, np.inf))
        )
        for name, value in values.items()
    }


def _alignments(unit: np.ndarray, rows: np.ndarray, graph: PinBoardGraph) -> list[float]:
    sizes, spreads = geometry.board_spreads(unit, rows, graph)
    counted = (sizes > 1) & (graph.board_degrees <= BOARD_LIMIT)
    pairs, spreads = (sizes * (sizes - 1) // 2)[counted], spreads[counted]
    return [
        _share(spreads.sum() - spreads[g::GROUPS].sum(), pairs.sum() - pairs[g::GROUPS].sum())
        for g in range(GROUPS)
    ]


def _share(part: float, whole: float) -> float:
    return part / whole if whole else np.nan


def _uniformities(drawn: np.ndarray) -> list[float]:
    sums = geometry.kernel_sums(drawn)
    found = []
    for g in range(GROUPS):
        group = drawn[g::GROUPS]
        # Pairs with one end in the group are counted once among its sums, those with both twice.
        gone = 2 * sums[g::GROUPS].sum() - geometry.kernel_sums(group).sum()
        found.append(geometry.mean_kernel(sums.sum() - gone, len(drawn) - len(group)))
    return found


def _ranks(unit: np.ndarray) -> list[float]:
    parts = [cross_products(unit[g::GROUPS], unit[g::GROUPS]) for g in range(GROUPS)]
    whole = np.sum(parts, axis=0)
    return [geometry.rank_of_products(whole - part) for part in parts]


def _mean_cosines(unit: np.ndarray) -> list[float]:
    parts = [geometry.sums_and_squares(unit[g::GROUPS]) for g in range(GROUPS)]
    total, squares = np.sum([one for one, _ in parts], axis=0), sum(one for _, one in parts)
    return [
        geometry.mean_cosine(total - part, squares - square, len(unit) - len(unit[g::GROUPS]))
        for g, (part, square) in enumerate(parts)
    ]


def _hubness(knn: Knn, present: np.ndarray) -> dict[str, list[float]]:
    lists = knn.ids[present]
    counts = geometry.times_found(lists, present)
    found: dict[str, list[float]] = {}
    for g in range(GROUPS):
        gone = lists[g::GROUPS]
        left = counts - geometry.times_found(gone, present)
        for name, value in geometry.hubness_of_counts(left, len(lists) - len(gone)).items():
            found.setdefault(name, []).append(value)
    return found


def _gaps(table: EmbeddingTable) -> list[float]:
    image, text = (
        [geometry.sum_of_units(vectors[g::GROUPS], there[g::GROUPS]) for g in range(GROUPS)]
        for vectors, there in ((table.image, table.has_image), (table.text, table.has_text))
    )
    return [
        geometry.distance_of_means(_without(image, g), _without(text, g)) for g in range(GROUPS)
    ]


def _without(parts: list[tuple[np.ndarray, int]], group: int) -> tuple[np.ndarray, int]:
    rest = parts[:group] + parts[group + 1 :]
    return np.sum([total for total, _ in rest], axis=0), sum(count for _, count in rest)
