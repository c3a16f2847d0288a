"""Leave one out: each board hides one pin, to be found among pins that the board never saved.

The protocol of He et al., Neural Collaborative Filtering, WWW 2017, where a board is a user.
Letters: B boards, C candidates of each, P pins.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pingraph.errors import PinGraphError
from pingraph.graph import PinBoardGraph
from pingraph.ids import id_array, id_column
from pingraph.tables import naming, read_ids, read_table, require_type

if TYPE_CHECKING:
    import pyarrow as pa

TRAIN, TEST, NEGATIVES = "train_edges.parquet", "test.parquet", "test_negatives.parquet"
CUT = 10  # how far down a list is looked at
_GAINS = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(CUT) + 2.0))])


@dataclass(frozen=True, kw_only=True)
class LeaveOneOut:
    """Boards, what each has to choose from, and the graph without the hidden saves."""

    graph: PinBoardGraph  # its pins are all that occur anywhere, so some may be on no board
    boards: np.ndarray  # int64 [B], dense indices, all different
    candidates: np.ndarray  # int64 [B, C], dense indices; the first is the hidden pin

    @classmethod
    def read(cls, folder: str | Path) -> LeaveOneOut:
        """Read the three files of a folder.

        train_edges.parquet has a row for each save (board_id, pin_id), test.parquet one for each of
        these boards, with the pin it hides (board_id, pin_id), and test_negatives.parquet one for
        each, with pins it never saved (board_id, negative_pin_ids: as many for each, all
        different). Ids are integers or strings.

        Raises:
            PinGraphError: a file is missing or damaged, lacks a column, or breaks one of these
                rules; names the file, and the board and pin.
        """
        train, test, negatives = (Path(folder) / name for name in (TRAIN, TEST, NEGATIVES))
        edges, hidden = _table(train, "pin_id"), _table(test, "pin_id")
        others = _table(negatives, "negative_pin_ids")
        saved = _pin_ids(edges["pin_id"], train)
        answers, lists = _pin_ids(hidden["pin_id"], test), _pin_lists(others, negatives)
        everyone = _all_pins(saved, {test: answers, negatives: lists})
        with naming(train):
            graph = PinBoardGraph.from_edges(saved, edges["board_id"], pin_ids=everyone)
        pins = [
            np.searchsorted(everyone, ids)[_rows_of_boards(graph, table, path)]
            for ids, table, path in ((answers, hidden, test), (lists, others, negatives))
        ]
        boards, candidates = np.arange(graph.num_boards), np.column_stack(pins)
        task = cls(graph=graph, boards=boards, candidates=candidates)
        task._refuse_saved(candidates[:, :1], test)
        task._refuse_saved(candidates[:, 1:], negatives)
        task._refuse_repeats(negatives)
        return task

    def draw(self, num_boards: int, *, seed: int) -> LeaveOneOut:
        """Return the task with `num_boards` of its boards, drawn at random; all if it has fewer."""
        rng = np.random.default_rng([seed, 0])
        rows = np.sort(rng.permutation(len(self.boards))[:num_boards])
        return replace(self, boards=self.boards[rows], candidates=self.candidates[rows])

    def validation(self, num_boards: int, *, seed: int) -> LeaveOneOut:
        """Return a task like this one that knows nothing of what the boards of this one hide.

        Each of `num_boards` boards with two pins or more, drawn at random (all of these if there
        are fewer), hides another one of its pins, among as many pins that it has not in the graph,
        drawn uniformly without repeats.

        Raises:
            PinGraphError: no board has two pins.
        """
        graph, rng = self.graph, np.random.default_rng([seed, 1])
        able = np.flatnonzero(graph.board_degrees > 1)
        if not len(able):
            raise PinGraphError("no board has two pins, so none can hide one to tune with")
        boards = np.sort(rng.permutation(able)[:num_boards])
        places = graph.board_offsets[boards] + rng.integers(graph.board_degrees[boards])
        hidden = graph.board_pins[places].astype(np.int64)
        candidates = np.empty((len(boards), self.candidates.shape[1]), np.int64)
        candidates[:, 0] = hidden
        for row, board in enumerate(boards):
            free = np.ones(graph.num_pins, np.bool_)
            free[graph.pins_of(board)] = False
            others = candidates.shape[1] - 1
            candidates[row, 1:] = rng.choice(np.flatnonzero(free), others, replace=False)
        pins, of_boards = graph.edges()
        kept = ~np.isin(_keys(graph, of_boards, pins), _keys(graph, boards, hidden))
        return LeaveOneOut(graph=graph.keep_edges(kept), boards=boards, candidates=candidates)

    @property
    def known(self) -> np.ndarray:
        """bool [B, C]: the candidates that are on a board, so that the graph can rank them."""
        return self.graph.pin_degrees[self.candidates] > 0

    def _refuse_saved(self, pins: np.ndarray, path: Path) -> None:
        """Raise PinGraphError if a board has one of its `pins`, int64 [B, n], in the graph."""
        keys = _keys(self.graph, self.boards[:, None], pins)
        saved = np.isin(keys, _keys(self.graph, *reversed(self.graph.edges())))
        self._refuse(saved, pins, path, f"which the board saved in {TRAIN}")

    def _refuse_repeats(self, path: Path) -> None:
        order = np.argsort(self.candidates, axis=1, kind="stable")  # the hidden pin before equals
        ordered = np.take_along_axis(self.candidates, order, axis=1)
        repeats = np.zeros(order.shape, np.bool_)
        repeats[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
        self._refuse(repeats, ordered, path, "which the board hides or has in the list before")

    def _refuse(self, bad: np.ndarray, pins: np.ndarray, path: Path, why: str) -> None:
        if bad.any():
            row, place = np.argwhere(bad)[0]
            board, pin = (
                self.graph.board_ids[self.boards[row]],
                self.graph.pin_ids[pins[row, place]],
            )
            raise PinGraphError(f"{path}: board {board.item()!r} has pin {pin.item()!r}, {why}")


def expected_metrics(scores: np.ndarray) -> np.ndarray:
    """Return HR@10 and NDCG@10 of each board, float64 [B, 2].

    HR@10 is 1 if the hidden pin is among the best ten candidates, NDCG@10 is 1 / log₂(place + 1) if
    it is. Where others score the same as the hidden pin, each order of these is as likely, and both
    are the mean over the orders: nobody wins by the place in a list. A hidden pin of score -inf
    cannot be ranked and is a miss.

    Args:
        scores: float [B, C], the first is that of the hidden pin.

    Raises:
        PinGraphError: a score is NaN.
    """
    if np.isnan(scores).any():
        raise PinGraphError(f"the scores of row {np.argwhere(np.isnan(scores))[0, 0]} hold NaN")
    hidden, others = scores[:, :1], scores[:, 1:]
    first = (others > hidden).sum(axis=1)
    end = first + 1 + (others == hidden).sum(axis=1)  # the places are first … end - 1
    inside = np.minimum(end, CUT) - np.minimum(first, CUT)
    gains = _GAINS[np.minimum(end, CUT)] - _GAINS[np.minimum(first, CUT)]
    ranked = np.isfinite(hidden[:, 0])
    return np.column_stack([inside, gains]) / (end - first)[:, None] * ranked[:, None]


def _keys(graph: PinBoardGraph, boards: np.ndarray, pins: np.ndarray) -> np.ndarray:
    """Return one int64 for each pair of a board and a pin."""
    return np.asarray(boards, np.int64) * graph.num_pins + pins


def _table(path: Path, column: str) -> pa.Table:
    if not path.is_file():
        raise PinGraphError(f"{path}: no such file; expected {TRAIN}, {TEST} and {NEGATIVES}")
    return read_table(path, ("board_id", column))


def _all_pins(saved: np.ndarray, others: dict[Path, np.ndarray]) -> np.ndarray:
    """Return all ids, ascending; raise PinGraphError where integers and strings would mix."""
    for path, ids in others.items():
        if ids.dtype.kind != saved.dtype.kind:
            found = f"{ids.dtype}; expected {saved.dtype} as in {TRAIN}"
            raise PinGraphError(f"{path}: the pin ids are {found}")
    return np.unique(np.concatenate([saved, *(ids.ravel() for ids in others.values())]))


def _rows_of_boards(graph: PinBoardGraph, table: pa.Table, path: Path) -> np.ndarray:
    """Return the row of each board of the graph, int64 [boards]."""
    ids = read_ids(table, "board_id", path)
    with naming(path):
        found = graph.board_index(ids)
    rows = np.full(graph.num_boards, -1)
    rows[found] = np.arange(len(found))
    if (rows < 0).any():
        board = graph.board_ids[np.argmin(rows)].item()
        raise PinGraphError(f"{path}: no row of board {board!r}; expected one of each in {TRAIN}")
    return rows


def _pin_ids(column: pa.ChunkedArray, path: Path) -> np.ndarray:
    with naming(path):
        return id_array(id_column(column, "pin"))


def _pin_lists(table: pa.Table, path: Path) -> np.ndarray:
    """Return the lists of negatives as one array [rows, n]."""
    import pyarrow as pa
    import pyarrow.compute as pc

    def is_list(kind: pa.DataType) -> bool:
        return pa.types.is_list(kind) or pa.types.is_large_list(kind)

    require_type(table, "negative_pin_ids", path, is_list, "lists")
    column = table["negative_pin_ids"]
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    expected = max(lengths.max(initial=1), 1)
    if (lengths != expected).any():
        row = int(np.argmax(lengths != expected))
        raise PinGraphError(
            f"{path}: row {row} has {lengths[row]} negative_pin_ids; expected {expected} in each"
        )
    return _pin_ids(pc.list_flatten(column), path).reshape(-1, expected)
