"""The boards that pins are nearest to by their vectors, so that a title can say what a place means.

Letters: N pins, D channels of an embedding, B boards, Q asking pins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pingraph.datasets import PinBoardDataset
    from pingraph.graph import PinBoardGraph
    from pingraph.subject import Subject


def nearest_boards(
    subject: Subject, train: PinBoardGraph, ends: tuple[int, int], top: int
) -> dict[str, Any]:
    """Return the boards whose pins' mean is nearest to the one pin, to the other, and to both.

    Near to both is what has the greatest smaller cosine. Where a pin has no vector, the lists that
    ask for it are empty.

    Args:
        subject: the embeddings.
        train: the training graph: says who is on which board.
        ends: the two pins, dense indices.
        top: most boards of a list.
    """
    dataset, fused = subject.dataset, subject.table.fused
    cosines, counts = board_cosines(fused, train, np.array(ends), subject.board_sums)
    usable = np.flatnonzero(counts)
    ranked = {"one": cosines[:, 0], "other": cosines[:, 1], "both": cosines.min(axis=1)}
    present = [bool(fused[pin].any()) for pin in ends]
    asked = {"one": present[0], "other": present[1], "both": all(present)}
    whole = dataset.graph
    return {
        name: [
            {
                **board_card(dataset, train, board),
                "others": int(counts[board]),
                "cosine": [
                    float(c) if p else None for c, p in zip(cosines[board], present, strict=True)
                ],
                "holds": [_holds(whole, train, pin, board) for pin in ends],
            }
            for board in usable[np.argsort(-scores[usable], kind="stable")[:top]].tolist()
        ]
        if asked[name]
        else []
        for name, scores in ranked.items()
    }


def _holds(whole: PinBoardGraph, train: PinBoardGraph, pin: int, board: int) -> str | None:
    if board in train.boards_of(pin):
        return "training"
    return "held out" if board in whole.boards_of(pin) else None


def board_cosines(
    fused: np.ndarray,
    graph: PinBoardGraph,
    pins: np.ndarray,
    sums: tuple[np.ndarray, np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Return the cosine of pins with the mean vector of each board's other pins.

    The asking pins are left out of all means, lest a pin is near to its boards by being on them.

    Args:
        fused: float32 [N, D], zero where there is no vector.
        graph: says who is on which board.
        pins: int64 [Q], the asking pins.
        sums: `board_sums` of them.

    Returns:
        float64 [B, Q], and how many pins each mean is of, int64 [B]; where that is 0, or the mean
        is zero, cosines are 0.
    """
    lengths, counts = (known.copy() for known in sums)
    for board in {board for pin in pins for board in graph.boards_of(pin).tolist()}:
        there = graph.pins_of(board)
        others = fused[there[~np.isin(there, pins)]]
        lengths[board] = np.linalg.norm(others.sum(axis=0, dtype=np.float64))
        counts[board] = others.any(axis=1).sum()
    queries = fused[pins].astype(np.float64)
    queries /= np.maximum(np.linalg.norm(queries, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    products = (fused @ queries.astype(np.float32).T).astype(np.float64)
    products[pins] = 0
    return graph.members() @ products / np.where(lengths > 0, lengths, 1)[:, None], counts


def board_card(dataset: PinBoardDataset, graph: PinBoardGraph, board: int) -> dict[str, Any]:
    """Return how a board is told of: its id, title and number of pins in a graph."""
    return {
        "board_id": dataset.board_ids[board].item(),
        "title": dataset.board_titles[board],
        "pins": int(graph.board_degrees[board]),
    }
