"""What training sees: the pins of a data set, and behind them the titles of their boards.

What people call a board often is the word that its pins do without. So a title is a pin in
training: one that has a text alone, and is saved to its board. It is walked to and contrasted like
any other; a pin that is embedded needs none.

N pins of a data set, M titles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pingraph.content import ContentReader, Reader, TextReader, reader_for
from pingraph.datasets import PinBoardDataset
from pingraph.edges import EdgeRows
from pingraph.graph import PinBoardGraph
from pingraph.interfaces import Encoder
from pingraph.joined_reader import JoinedReader
from pingraph.splits import Split


@dataclass(frozen=True, kw_only=True)
class TrainingPins:
    """The training side of a split: N pins, of which some may be trained on, and M titles."""

    graph: PinBoardGraph  # of the training edges; pins N … N + M - 1 are the titles
    anchors: np.ndarray  # int64 ascending, the pins of the data set that may be trained on
    groups: np.ndarray  # int64 [2, N + M], equal for the same image; the same text; -1 for none
    titles: list[str]  # [M]

    @classmethod
    def of(cls, dataset: PinBoardDataset, split: Split, *, titles: bool = True) -> TrainingPins:
        """Return the training side of a data set.

        Args:
            dataset: the data set.
            split: of it; of boards without an edge in training the title is not seen either.
            titles: whether titles are pins.
        """
        graph = split.train_graph(dataset.graph)
        boards = _titled(graph, dataset.board_titles) if titles else np.zeros(0, np.int64)
        texts = [dataset.board_titles[board] for board in boards.tolist()]
        return cls(
            graph=_with_titles(graph, boards) if len(boards) else graph,
            anchors=split.train_pins,
            groups=_groups(dataset, texts),
            titles=texts,
        )

    def texts(self, dataset: PinBoardDataset) -> list[str]:
        """Return the texts that training may see, of pins and titles."""
        return [dataset.texts[pin] for pin in self.anchors] + self.titles

    def reader(self, encoder: Encoder, content: ContentReader) -> Reader:
        """Return what reads the N + M pins for an encoder; arguments as of `reader_for`."""
        pins = reader_for(encoder, content)
        if not self.titles:
            return pins
        titles = TextReader(self.titles, content.tokenizer, encoder.preparation)
        return JoinedReader(pins, content.num_pins, reader_for(encoder, titles))


def _titled(graph: PinBoardGraph, titles: Sequence[str]) -> np.ndarray:
    """Return the boards that have a title and a pin; int64 [M] ascending."""
    boards = np.flatnonzero(graph.board_degrees)
    return np.array([board for board in boards.tolist() if titles[board].strip()], np.int64)


def _with_titles(graph: PinBoardGraph, boards: np.ndarray) -> PinBoardGraph:
    """Return a graph with a pin more for each of the boards int64 [M], saved to it alone.

    A title is as old as the first save to its board, and weighs as much as one of them does on
    average. Its id is "title of" and that of the board; where pins go by numbers, the next one that
    no pin has.
    """
    pins, others = graph.edges()
    weights, times = graph.pin_weights, graph.pin_times
    if weights is not None and graph.board_weights is not None:
        sums = _of_boards(np.add, graph.board_weights, graph, boards)
        means = sums / graph.board_degrees[boards]
        weights = np.concatenate([weights, means.astype(np.float32)])
    if times is not None and graph.board_times is not None:
        times = np.concatenate([times, _of_boards(np.minimum, graph.board_times, graph, boards)])
    return PinBoardGraph.from_rows(
        EdgeRows(
            pins=np.concatenate([pins, graph.num_pins + np.arange(len(boards))]),
            boards=np.concatenate([others, boards]),
            weights=weights,
            times=times,
            pin_ids=np.concatenate([graph.pin_ids, _ids(graph, boards)]),
            board_ids=graph.board_ids,
        )
    )


def _of_boards(
    reduce: np.ufunc, values: np.ndarray, graph: PinBoardGraph, boards: np.ndarray
) -> np.ndarray:
    """Reduce the values [E] of the edges, in board order, of each of the boards."""
    bounds = np.stack([graph.board_offsets[boards], graph.board_offsets[boards + 1]], axis=1)
    return reduce.reduceat(np.append(values, values[:1]), bounds.ravel())[::2]


def _ids(graph: PinBoardGraph, boards: np.ndarray) -> np.ndarray:
    if graph.pin_ids.dtype.kind == "U":
        return np.array([f"title of {board}" for board in graph.board_ids[boards].tolist()], str)
    some = np.arange(graph.num_pins + len(boards))
    return np.setdiff1d(some, graph.pin_ids)[: len(boards)]


def _groups(dataset: PinBoardDataset, titles: Sequence[str]) -> np.ndarray:
    numbers = dict(zip(dataset.texts, dataset.text_groups.tolist(), strict=True))
    of_titles = [numbers.setdefault(title, len(numbers)) for title in titles]
    groups = np.full((2, dataset.num_pins + len(titles)), -1, np.int64)
    groups[0, : dataset.num_pins] = dataset.image_groups
    groups[1] = np.concatenate([dataset.text_groups, np.array(of_titles, np.int64)])
    return groups
