"""Says which pins an evaluation ranks, and who is relevant to whom.

Letters: N pins of the data set, B queries of a block, F shared things (boards or groups).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from pingraph.datasets import PinBoardDataset
    from pingraph.graph import PinBoardGraph
    from pingraph.splits import Split

BOARD_LIMIT = 200  # pins of a board beyond which sharing it says little
BLOCK_SCORES = 50_000_000  # scores that are held at a time: 200 MB


@dataclass(frozen=True, kw_only=True)
class Task:
    """A retrieval task on a data set: two pins are relevant to each other when they share a thing.

    `askable` and `corpus` say which pins may be queries and candidates. `things` holds what each
    pin has. `known` holds what pairs may have shared in training: such pairs are neither relevant
    nor candidates. Unless `finds_itself`, a query is no candidate of its own.
    """

    name: str
    askable: np.ndarray  # bool [N]
    corpus: np.ndarray  # bool [N]
    things: sparse.csr_array  # float32 [N, F], 1 where the pin has the thing
    known: sparse.csr_array | None = None  # float32 [N, F]
    finds_itself: bool = False

    def judge(self, queries: np.ndarray) -> tuple[sparse.csr_array, sparse.csr_array]:
        """Return who is relevant to queries, and who of the corpus is no candidate.

        Args:
            queries: int64 [B].

        Returns:
            Two [B, N] matrices; the nonzero pattern of the first, and ones in the second. They
            have no pair in common.
        """
        excluded = self._excluded(queries)
        relevant = _sharing(self.things, queries)
        relevant.data *= self.corpus[relevant.indices]
        relevant = relevant - relevant.multiply(excluded)
        relevant.eliminate_zeros()
        return relevant, excluded

    def answerable(self, pins: np.ndarray) -> np.ndarray:
        """Return those of `pins` that may be queries and have someone relevant to them."""
        pins = pins[self.askable[pins]]
        counts = [np.diff(self.judge(block)[0].indptr) for block in self.blocks(pins)]
        return pins[np.concatenate(counts) > 0] if counts else pins

    def blocks(self, queries: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the queries in parts whose [B, N] scores fit in memory, at least one a part."""
        step = max(1, min(1024, BLOCK_SCORES // len(self.corpus)))
        for start in range(0, len(queries), step):
            yield queries[start : start + step]

    def _excluded(self, queries: np.ndarray) -> sparse.csr_array:
        shape = (len(queries), len(self.corpus))
        out = sparse.csr_array(shape, dtype=np.float32)
        if not self.finds_itself:
            ones, rows = np.ones(shape[0], np.float32), np.arange(shape[0])
            out = sparse.csr_array((ones, (rows, queries)), shape=shape)
        return out if self.known is None else out.maximum(_sharing(self.known, queries))


def retrieval_tasks(dataset: PinBoardDataset, split: Split) -> list[Task]:
    """Return the tasks pin_to_pin, image_to_text and text_to_image of a data set.

    Pin → pin: two pins are relevant to each other when they share a board of at most BOARD_LIMIT
    pins, counted on the whole graph. For every split but that by pin, pairs which share such a
    board in training already are left out (the filtered ranking of Bordes et al. 2013).

    Image ↔ text: queries are pins with both; the candidates are all texts (or images); relevant
    are the pin's own and those of pins with the same image to the byte or text to the letter.
    """
    graph = dataset.graph
    small = graph.board_degrees <= BOARD_LIMIT
    known = None if split.kind == "pin" else _boards(split.train_graph(graph), small)
    everyone = np.ones(graph.num_pins, bool)
    both = dataset.has_image & dataset.has_text
    same = sparse.hstack([_groups(dataset.image_groups), _groups(dataset.text_groups)]).tocsr()
    return [
        Task(
            name="pin_to_pin",
            askable=everyone,
            corpus=everyone,
            things=_boards(graph, small),
            known=known,
        ),
        Task(
            name="image_to_text",
            askable=both,
            corpus=dataset.has_text,
            things=same,
            finds_itself=True,
        ),
        Task(
            name="text_to_image",
            askable=both,
            corpus=dataset.has_image,
            things=same,
            finds_itself=True,
        ),
    ]


def _sharing(things: sparse.csr_array, queries: np.ndarray) -> sparse.csr_array:
    """Return ones where a query and a pin have something in common, [B, N]."""
    shared = things[queries] @ things.T
    shared.data[:] = 1
    return shared


def _boards(graph: PinBoardGraph, wanted: np.ndarray) -> sparse.csr_array:
    pins, boards = graph.edges()
    kept = wanted[boards]
    return _membership(pins[kept], boards[kept], (graph.num_pins, graph.num_boards))


def _groups(groups: np.ndarray) -> sparse.csr_array:
    pins = np.flatnonzero(groups >= 0)
    return _membership(pins, groups[pins], (len(groups), groups.max(initial=-1) + 1))


def _membership(rows: np.ndarray, columns: np.ndarray, shape: tuple) -> sparse.csr_array:
    return sparse.csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape=shape)
