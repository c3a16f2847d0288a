"""Says which pins an evaluation ranks, and who is relevant to whom.

Letters: N pins of the data set, B queries of a block, F shared things (boards or groups).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from pingraph.board_sizes import BOARD_LIMIT

if TYPE_CHECKING:
    from pingraph.datasets import PinBoardDataset
    from pingraph.graph import PinBoardGraph
    from pingraph.splits import Split

TASKS = ("pin_to_pin", "image_to_text", "text_to_image", "board_to_pins")
BLOCK_SCORES = 50_000_000  # scores that are held at a time: 200 MB
_JUDGED = 20_000_000  # relevant pairs that are held at a time, where nothing is scored: 300 MB


@dataclass(frozen=True, kw_only=True)
class Task:
    """A retrieval task on a data set: queries that rank the pins of a corpus.

    `askable` and `corpus` say who may be a query and which pins may be candidates. What a query is,
    a pin or a board, and who is relevant to it, is the matter of the kinds of task below.
    """

    name: str
    askable: np.ndarray  # bool, over all pins or all boards
    corpus: np.ndarray  # bool [N]

    def judge(self, queries: np.ndarray) -> tuple[sparse.csr_array, sparse.csr_array]:
        """Return who is relevant to queries, and who of the corpus is no candidate.

        Args:
            queries: int64 [B].

        Returns:
            Two [B, N] matrices; the nonzero pattern of the first, and ones in the second. They
            have no pair in common.
        """
        raise NotImplementedError

    def boards_of(self, queries: np.ndarray, relevant: sparse.csr_array) -> sparse.csr_array:
        """Return ones where a query counts for a board in the mean over boards, [B, boards].

        Args:
            queries: int64 [B].
            relevant: what `judge` returned for them.
        """
        raise NotImplementedError

    def answerable(self, queries: np.ndarray) -> np.ndarray:
        """Return those of `queries` that may be asked and have someone relevant to them."""
        queries = queries[self.askable[queries]]
        block = np.cumsum(self.most_relevant(queries)) // _JUDGED
        parts = np.split(queries, np.flatnonzero(np.diff(block)) + 1)
        counts = [np.diff(self.judge(part)[0].indptr) for part in parts]
        return queries[np.concatenate(counts) > 0]

    def most_relevant(self, queries: np.ndarray) -> np.ndarray:
        """Return how many pins are relevant to each of queries [B] at most, int64 [B]."""
        raise NotImplementedError

    def blocks(self, queries: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the queries in parts whose [B, N] scores fit in memory, at least one a part."""
        step = max(1, min(1024, BLOCK_SCORES // len(self.corpus)))
        for start in range(0, len(queries), step):
            yield queries[start : start + step]


@dataclass(frozen=True, kw_only=True)
class PinTask(Task):
    """Queries are pins; two pins are relevant to each other when they share a thing.

    `things` holds what each pin has. `known` holds what pairs may have shared in training: such
    pairs are neither relevant nor candidates. Unless `finds_itself`, a query is no candidate of its
    own.
    """

    things: sparse.csr_array  # float32 [N, F], 1 where the pin has the thing
    boards: sparse.csr_array  # float32 [N, boards], 1 where the pin is on the board
    known: sparse.csr_array | None = None  # float32 [N, F]
    finds_itself: bool = False

    def judge(self, queries: np.ndarray) -> tuple[sparse.csr_array, sparse.csr_array]:
        """Return who shares a thing with pins, and who is no candidate; see `Task.judge`."""
        excluded = self._excluded(queries)
        relevant = _sharing(self.things, self._owners, queries)
        relevant.data *= self.corpus[relevant.indices]
        relevant = relevant - relevant.multiply(excluded)
        relevant.eliminate_zeros()
        return relevant, excluded

    def most_relevant(self, queries: np.ndarray) -> np.ndarray:
        """Return how many pins have each of the things that pins have, added up."""
        return (self.things[queries] @ np.diff(self._owners.indptr)).astype(np.int64)

    def boards_of(self, queries: np.ndarray, relevant: sparse.csr_array) -> sparse.csr_array:
        """Return the boards that a pin shares with someone relevant to it."""
        shared = self.boards[queries].multiply(relevant @ self.boards).tocsr()
        shared.data[:] = 1
        return shared

    def _excluded(self, queries: np.ndarray) -> sparse.csr_array:
        shape = (len(queries), len(self.corpus))
        out = sparse.csr_array(shape, dtype=np.float32)
        if not self.finds_itself:
            ones, rows = np.ones(shape[0], np.float32), np.arange(shape[0])
            out = sparse.csr_array((ones, (rows, queries)), shape=shape)
        if self.known is None:
            return out
        return out.maximum(_sharing(self.known, self._knowing, queries))

    # Turned once: SciPy would turn all of it in each product with a few rows.
    @cached_property
    def _owners(self) -> sparse.csr_array:
        return self.things.T.tocsr()

    @cached_property
    def _knowing(self) -> sparse.csr_array:
        assert self.known is not None
        return self.known.T.tocsr()


@dataclass(frozen=True, kw_only=True)
class BoardTask(Task):
    """Queries are boards; relevant are held-out pins of theirs, all others of theirs are known."""

    held_out: sparse.csr_array  # float32 [boards, N], 1 where a pin is to be found
    known: sparse.csr_array  # float32 [boards, N], 1 where a pin of the board is no candidate

    def judge(self, queries: np.ndarray) -> tuple[sparse.csr_array, sparse.csr_array]:
        """Return the held-out pins of boards, and their other pins; see `Task.judge`."""
        relevant = self.held_out[queries]
        relevant.data *= self.corpus[relevant.indices]
        relevant.eliminate_zeros()
        return relevant, self.known[queries]

    def most_relevant(self, queries: np.ndarray) -> np.ndarray:
        """Return how many held-out pins boards have."""
        return np.diff(self.held_out.indptr)[queries]

    def boards_of(self, queries: np.ndarray, relevant: sparse.csr_array) -> sparse.csr_array:
        """Return each board for itself: the mean over boards is that over queries."""
        rows = np.arange(len(queries))
        return _membership(rows, queries, (len(queries), self.held_out.shape[0]))


def leaves_out_known(kind: str) -> bool:
    """Whether pairs that are known from training are left out for a kind of split."""
    return kind not in ("pin", "none")


def retrieval_tasks(dataset: PinBoardDataset, split: Split) -> list[PinTask]:
    """Return the tasks pin_to_pin, image_to_text and text_to_image of a data set.

    Pin → pin: two pins are relevant to each other when they share a board of at most BOARD_LIMIT
    pins, counted on the whole graph. For every split but that by pin, and where nothing is held
    out, pairs which share such a board in training already are left out (the filtered ranking of
    Bordes et al. 2013).

    Image ↔ text: queries are pins with both; the candidates are all texts (or images); relevant
    are the pin's own and those of pins with the same image to the byte or text to the letter.
    """
    graph = dataset.graph
    small = graph.board_degrees <= BOARD_LIMIT
    known = _boards(split.train_graph(graph), small) if leaves_out_known(split.kind) else None
    everyone, boards = np.ones(graph.num_pins, bool), _boards(graph, small)
    both = dataset.has_image & dataset.has_text
    same = sparse.hstack([_groups(dataset.image_groups), _groups(dataset.text_groups)]).tocsr()
    return [
        PinTask(
            name="pin_to_pin",
            askable=everyone,
            corpus=everyone,
            things=boards,
            boards=boards,
            known=known,
        ),
        PinTask(
            name="image_to_text",
            askable=both,
            corpus=dataset.has_text,
            things=same,
            boards=boards,
            finds_itself=True,
        ),
        PinTask(
            name="text_to_image",
            askable=both,
            corpus=dataset.has_image,
            things=same,
            boards=boards,
            finds_itself=True,
        ),
    ]


def board_task(dataset: PinBoardDataset, split: Split, pins: np.ndarray) -> BoardTask:
    """Return the task board_to_pins: find the held-out pins of a board by those of training.

    Asked are boards of at most BOARD_LIMIT pins, counted on the whole graph, that have a pin in
    training. Candidates are all pins that are not on the board, and those that are to be found.

    Args:
        dataset: the data set.
        split: says which edges are held out.
        pins: int64, the pins that are to be found, such as the cold ones.
    """
    graph = dataset.graph
    small = graph.board_degrees <= BOARD_LIMIT
    whole = _boards(graph, small).T.tocsr()
    trained = _boards(split.train_graph(graph), small).T.tocsr()
    wanted = np.zeros(graph.num_pins, np.float32)
    wanted[pins] = 1
    held_out = whole - trained
    held_out.data *= wanted[held_out.indices]
    held_out.eliminate_zeros()
    known = whole - held_out
    known.eliminate_zeros()
    return BoardTask(
        name="board_to_pins",
        askable=np.diff(trained.indptr) > 0,
        corpus=np.ones(graph.num_pins, bool),
        held_out=held_out,
        known=known,
    )


def _sharing(
    things: sparse.csr_array, owners: sparse.csr_array, queries: np.ndarray
) -> sparse.csr_array:
    """Return ones where a query and a pin have something in common, [B, N].

    Args:
        things: [N, F], what each pin has.
        owners: [F, N], its transpose.
        queries: int64 [B].
    """
    shared = things[queries] @ owners
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
