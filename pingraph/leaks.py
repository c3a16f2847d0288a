"""The leak guard: proves of a split, on the graph that training gets, that nothing gets through."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pingraph.errors import PinGraphError

if TYPE_CHECKING:
    from pingraph.datasets import PinBoardDataset
    from pingraph.splits import Split


def check_leaks(split: Split, dataset: PinBoardDataset) -> None:
    """Raise PinGraphError at the first leak; see `Split.check_leaks` for what is one."""
    graph = dataset.graph
    training = split.train_graph(graph)
    pins, boards = graph.edges()
    trained = _found(graph.edges(), training.edges(), graph.num_boards)
    _refuse(dataset, trained & ~split.train_edges, "is held out, but in the training graph")
    _refuse(dataset, ~trained & split.train_edges, "is to be trained on, but not in the graph")
    if training.num_edges != trained.sum():
        raise PinGraphError(f"{dataset.name}: the training graph has edges that the data set lacks")

    may_train = np.zeros(graph.num_pins, bool)
    may_train[split.train_pins] = True
    _refuse(dataset, trained & ~may_train[pins], "is trained on, but its pin is held out")
    groups = dataset.image_groups
    crossing = _on_both_sides(groups, may_train) & (groups >= 0)
    if crossing.any():
        twins = dataset.pin_ids[groups == groups[np.argmax(crossing)]][:3].tolist()
        raise PinGraphError(f"{dataset.name}: pins {twins} share an image, but are on both sides")
    pairs = np.where(groups < 0, groups.max() + 1 + np.arange(len(groups)), groups)[pins]
    crossing = _on_both_sides(pairs * graph.num_boards + boards, trained)
    _refuse(dataset, crossing, "is on another side than that of an image twin to the same board")

    if split.kind == "pin":
        _refuse(dataset, _on_both_sides(pins, trained), "is of a pin on both sides")
    elif split.kind == "board":
        _refuse(dataset, _on_both_sides(boards, trained), "is of a board on both sides")
    elif split.kind == "time":
        late = graph.pin_times > split.parameters["after"]
        _refuse(dataset, trained & late, "is in training, but later than the moment of the split")


def _found(edges: tuple, others: tuple, num_boards: int) -> np.ndarray:
    """Return for each of the edges whether it is among the others."""
    keys = [pins.astype(np.int64) * num_boards + boards for pins, boards in (edges, others)]
    return np.isin(*keys)


def _on_both_sides(units: np.ndarray, trained: np.ndarray) -> np.ndarray:
    """Return for each item whether its unit has trained items and others."""
    _, unit = np.unique(units, return_inverse=True)
    share = np.bincount(unit, weights=trained) / np.bincount(unit)
    return ((share > 0) & (share < 1))[unit]


def _refuse(dataset: PinBoardDataset, wrong: np.ndarray, reason: str) -> None:
    if wrong.any():
        graph = dataset.graph
        edge = np.argmax(wrong)
        pin, board = (ends[edge] for ends in graph.edges())
        named = f"pin {graph.pin_ids[pin].item()!r} on board {graph.board_ids[board].item()!r}"
        raise PinGraphError(f"{dataset.name}: leak: the edge of {named} {reason}")
