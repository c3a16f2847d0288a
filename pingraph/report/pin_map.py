"""The 2-D map of the report: where pins lie, what they look like, and how true the map is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pingraph.knn import nearest_neighbors
from pingraph.pictures import SPRITE_COLUMNS
from pingraph.plain_text import board_name
from pingraph.planar import plane
from pingraph.popularity import degree_buckets
from pingraph.report.cases import words
from pingraph.report.measures import main_values

if TYPE_CHECKING:
    from pingraph.datasets import PinBoardDataset
    from pingraph.evaluation import Evaluation
    from pingraph.interfaces import EmbeddingTable
    from pingraph.pictures import Pictures
    from pingraph.splits import Split

CELL = 48  # pixels of a picture
GRID = 4095  # coordinates are whole numbers from 0 to this
_NEAR = 6  # neighbors that are shown of a pin
_KEPT = 10  # neighbors by which the map is judged


def placed_pins(tables: Sequence[EmbeddingTable]) -> np.ndarray:
    """Return the pins that have a place in every space, int64 ascending: those with a vector."""
    return np.flatnonzero(np.all([table.present["fused"] for table in tables], axis=0))


def describe_pins(
    dataset: PinBoardDataset, split: Split, pins: np.ndarray, pictures: Pictures
) -> dict[str, Any]:
    """Return what the map shows of its pins, whatever the run; lists are in their order."""
    graph = dataset.graph
    sprite, places = pictures.sprite(pins.tolist(), CELL)
    part = np.full(graph.num_pins, 2)
    part[split.warm_pins(graph)] = 1
    part[split.cold_pins(graph)] = 0
    boards, titles = _boards(dataset, pins)
    buckets = degree_buckets(graph)
    bucket = buckets.pins[pins]
    return {
        "grid": GRID,
        "cell": CELL,
        "columns": SPRITE_COLUMNS,
        "sprite": sprite,
        "picture": places,
        "id": [str(pin) for pin in dataset.pin_ids[pins].tolist()],
        "text": [words(dataset, pin) for pin in pins.tolist()],
        "degree": graph.pin_degrees[pins].tolist(),
        "bucket": bucket.tolist(),
        "buckets": list(buckets.labels[: bucket.max(initial=0) + 1]),  # boards may need more
        "part": part[pins].tolist(),
        "boards": boards,
        "titles": titles,
    }


def lay_out(table: EmbeddingTable, pins: np.ndarray, evaluation: Evaluation) -> dict[str, Any]:
    """Return where the pins of one run lie, who is near to whom, and how each did as a query.

    Args:
        table: the embeddings of the run.
        pins: of the map, int64; each has a vector.
        evaluation: of the run.

    Returns:
        By name, lists in the order of the pins: "x" and "y" from 0 to GRID, "near" (places among
        the pins), "hit" (MAIN, None for who is not asked); and "kept".

    "kept" is the share of the 10 nearest pins in the space (among those of the map) that are among
    the 10 nearest on the map.
    """
    vectors = table.fused[pins]
    places = plane(vectors)
    near = nearest_neighbors(vectors, _KEPT).ids if len(pins) else np.empty((0, 0), np.int32)
    kept = _kept(near, places)
    low, high = places.min(axis=0, initial=0), places.max(axis=0, initial=0)
    scaled = (places - low) / max(float((high - low).max()), 1e-12) * GRID
    found = np.full(len(table.fused), np.nan)
    for part in (evaluation.warm, evaluation.cold):
        result = part.get("pin_to_pin")
        if result is not None:
            found[result.queries] = main_values(result)
    return {
        "x": scaled[:, 0].round().astype(int).tolist(),
        "y": scaled[:, 1].round().astype(int).tolist(),
        "near": near[:, :_NEAR].tolist(),
        "hit": [None if np.isnan(value) else round(float(value), 3) for value in found[pins]],
        "kept": kept,
    }


def _kept(near: np.ndarray, places: np.ndarray) -> float | None:
    """Return which share of the nearest in the space are among the nearest on the map."""
    from sklearn.neighbors import NearestNeighbors

    if not near.shape[1]:
        return None
    there = (
        NearestNeighbors(n_neighbors=near.shape[1]).fit(places).kneighbors(return_distance=False)
    )
    return float((near[:, :, None] == there[:, None, :]).any(axis=2).mean())


def _boards(dataset: PinBoardDataset, pins: np.ndarray) -> tuple[list[list[int]], list[str]]:
    """Return all boards of each pin, as places in a list of titles, and the list.

    Boards with more pins on the map come first in the list; of a pin the smallest ones come first.
    """
    graph = dataset.graph
    own = []
    for pin in pins.tolist():
        boards = graph.boards_of(pin)
        order = np.argsort(graph.board_degrees[boards], kind="stable")
        own.append(boards[order].tolist())
    counts = Counter(board for boards in own for board in boards)
    place = {board: number for number, (board, _) in enumerate(counts.most_common())}
    titles = [board_name(dataset, board, 160) for board in place]
    return [[place[board] for board in boards] for boards in own], titles
