"""The Pin-Board graph: who was saved where, as an immutable bipartite graph in both directions."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pingraph import description, edge_files, storage
from pingraph.build import (
    Csr,
    components,
    csr_from_edges,
    drop_empty,
    keep_entries,
    transpose,
)
from pingraph.edges import EdgeRows, check_edges
from pingraph.errors import PinGraphError
from pingraph.fingerprint import fingerprint
from pingraph.ids import IdIndex, id_column

if TYPE_CHECKING:
    from pathlib import Path

    import scipy.sparse


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PinBoardGraph:
    """Pins, boards and the edges between them; E edges, P pins, B boards.

    Inside, pins are the dense indices 0 … P-1 and boards 0 … B-1; `pin_ids` and `board_ids` say who
    they are outside. "Pin order" lists the edges by pin and then board, "board order" by board and
    then pin. Nothing can be changed: arrays are read-only, and a change is a new graph.

    Make one with `from_edges`, `from_file`, `open` or the functions of `pingraph.convert`; the
    constructor takes finished arrays and trusts them.
    """

    pin_offsets: np.ndarray  # int64 [P + 1], the boards of pin i are
    pin_boards: np.ndarray  # pin_boards[pin_offsets[i] : pin_offsets[i + 1]], int32 or int64 [E]
    pin_weights: np.ndarray | None = None  # float32 [E], pin order
    pin_times: np.ndarray | None = None  # int64 [E], pin order, in the unit that was given
    board_offsets: np.ndarray  # int64 [B + 1], likewise the pins of board j
    board_pins: np.ndarray  # int32 or int64 [E]
    board_weights: np.ndarray | None = None  # float32 [E], board order
    board_times: np.ndarray | None = None  # int64 [E], board order
    pin_ids: np.ndarray  # int64 or str [P], all different
    board_ids: np.ndarray  # int64 or str [B], all different

    def __post_init__(self) -> None:
        for name, array in self.arrays().items():
            if array is not None:
                object.__setattr__(self, name, _read_only(array))

    @classmethod
    def from_edges(
        cls,
        pins: Any,
        boards: Any,
        weights: Any = None,
        times: Any = None,
        *,
        pin_ids: Any = None,
        board_ids: Any = None,
    ) -> PinBoardGraph:
        """Build a graph from one row an edge.

        Edges that occur more than once are merged: their weights add up (in float64, stored as
        float32) and the earliest time stays. The order of the rows doesn't matter.

        Args:
            pins: ids [E], integers or strings: a NumPy array, a list or an Arrow array.
            boards: ids [E], likewise.
            weights: [E], finite and above 0; None for a graph without weights.
            times: integers [E] in any unit, or datetime64, which become whole seconds since 1970.
            pin_ids: all ids in the order of their dense indices, so that a pin may lack edges; by
                default the ids that occur in `pins`, ascending.
            board_ids: likewise.

        Raises:
            PinGraphError: there is no edge, an id is negative, missing, unknown or of a wrong type,
                a weight is not finite and positive, or lengths differ. Names the row and value.
        """
        return cls.from_rows(
            check_edges(pins, boards, weights, times, pin_ids=pin_ids, board_ids=board_ids)
        )

    @classmethod
    def from_file(
        cls, path: str | Path, *, pin_ids: Any = None, board_ids: Any = None
    ) -> PinBoardGraph:
        """Build a graph from a Parquet or CSV file of edges, read in batches.

        The columns are pin_id, board_id and, if they are there, weight and time. See `from_edges`
        for the rules and the other arguments, and `pingraph.edge_files` for the types.

        Raises:
            PinGraphError: the file is missing or broken, lacks a column, or holds a bad edge. Names
                the file, and the row and value.
        """
        return cls.from_rows(edge_files.read_edges(path, pin_ids=pin_ids, board_ids=board_ids))

    @classmethod
    def open(cls, folder: str | Path, *, verify: bool = False) -> PinBoardGraph:
        """Open a saved graph: memory-mapped, in a time that doesn't grow with the edges.

        Processes that are forked afterwards, or open the folder too, share its memory.

        Args:
            folder: what `save` wrote.
            verify: also compare every byte with its checksum and prove the structure.

        Raises:
            PinGraphError: the folder is missing, cut, damaged, or of another format or version.
                Damage in the middle of a large file is only found with `verify`.
        """
        graph = cls(**storage.open_arrays(folder, verify=verify))
        if verify:
            storage.check_structure(graph, folder)
        return graph

    def save(self, folder: str | Path) -> None:
        """Save to a new or empty folder; see `pingraph.storage` for the format.

        Raises:
            PinGraphError: the folder holds something, cannot be written, or the disk is full; then
                nothing is left behind.
        """
        storage.save_graph(self, folder)

    @classmethod
    def from_rows(cls, rows: EdgeRows) -> PinBoardGraph:
        """Merge and sort edges that were checked before."""
        shape = {"num_rows": len(rows.pin_ids), "num_columns": len(rows.board_ids)}
        by_pin = csr_from_edges(rows.pins, rows.boards, rows.weights, rows.times, **shape)
        pin_ids, board_ids = rows.pin_ids, rows.board_ids
        del rows  # unless the caller holds them, they make room for the other direction
        return cls._from_csr(by_pin, transpose(by_pin, len(board_ids)), pin_ids, board_ids)

    @property
    def num_pins(self) -> int:
        """Number of pins P, those without edges included."""
        return len(self.pin_ids)

    @property
    def num_boards(self) -> int:
        """Number of boards B, those without edges included."""
        return len(self.board_ids)

    @property
    def num_edges(self) -> int:
        """Number of edges E, each counted once."""
        return len(self.pin_boards)

    @cached_property
    def pin_degrees(self) -> np.ndarray:
        """int64 [P]: the number of boards of each pin."""
        return _read_only(np.diff(self.pin_offsets))

    @cached_property
    def board_degrees(self) -> np.ndarray:
        """int64 [B]: the number of pins of each board."""
        return _read_only(np.diff(self.board_offsets))

    def boards_of(self, pin: int) -> np.ndarray:
        """Return the boards (dense indices, ascending) of a pin (dense index)."""
        return _row(self.by_pin, pin, "pin")

    def pins_of(self, board: int) -> np.ndarray:
        """Return the pins (dense indices, ascending) of a board (dense index)."""
        return _row(self.by_board, board, "board")

    def pin_index(self, ids: Any) -> np.ndarray:
        """Return the dense indices, int64 [n], of pins given by id (one, or a list or array).

        Raises:
            PinGraphError: an id is unknown; names the row and the id.
        """
        return _find(self._pin_lookup, ids)

    def board_index(self, ids: Any) -> np.ndarray:
        """Return the dense indices, int64 [n], of boards given by id; see `pin_index`."""
        return _find(self._board_lookup, ids)

    def edges(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the pin and the board (dense indices) of each edge, in pin order."""
        pins = np.arange(self.num_pins, dtype=self.board_pins.dtype)
        return np.repeat(pins, self.pin_degrees), self.pin_boards

    def incidence(self) -> scipy.sparse.csr_array:
        """Return a sparse float32 matrix [P, B] of the weights, or of ones."""
        from scipy.sparse import csr_array

        data = self.pin_weights
        if data is None:
            data = np.ones(self.num_edges, np.float32)
        shape = (self.num_pins, self.num_boards)
        return csr_array((data, self.pin_boards, self.pin_offsets), shape=shape)

    def members(self) -> scipy.sparse.csr_array:
        """Return a sparse float32 matrix [B, P] of ones: the pins of each board, all alike."""
        from scipy.sparse import csr_array

        ones = np.ones(self.num_edges, np.float32)
        shape = (self.num_boards, self.num_pins)
        return csr_array((ones, self.board_pins, self.board_offsets), shape=shape)

    def subgraph(
        self,
        *,
        pins: Any = None,
        boards: Any = None,
        as_of: int | None = None,
        keep_nodes: bool = False,
    ) -> PinBoardGraph:
        """Return the graph of the edges whose pin, board and time are all selected.

        Args:
            pins: dense indices or bool [P]; None selects all.
            boards: dense indices or bool [B]; None selects all.
            as_of: keeps edges up to and including this time, in the unit of the graph's times.
            keep_nodes: True keeps every pin and board with its dense index. False drops the pins
                and boards that are not selected; the others keep their order and their ids, even
                if they have no edge left.

        Raises:
            PinGraphError: an index is out of range, or `as_of` is given to a graph without times.
        """
        pin_mask = _selection(pins, self.num_pins, "pins")
        board_mask = _selection(boards, self.num_boards, "boards")
        keep = np.repeat(pin_mask, self.pin_degrees)
        keep &= board_mask[self.pin_boards]
        if as_of is not None:
            if self.pin_times is None:
                raise PinGraphError("as_of needs edge times, and this graph has none")
            keep &= self.pin_times <= as_of
        kept = self.keep_edges(keep)
        return kept if keep_nodes else kept._without_nodes(pin_mask, board_mask)

    def keep_edges(self, mask: np.ndarray) -> PinBoardGraph:
        """Return the graph with only the edges where `mask` (bool [E], pin order) is true.

        Every pin and board stays, with its dense index.

        Raises:
            PinGraphError: the mask has another dtype or length.
        """
        mask = np.asarray(mask)
        if mask.dtype != np.bool_ or mask.shape != (self.num_edges,):
            found = f"{mask.dtype} {list(mask.shape)}"
            raise PinGraphError(f"mask of edges is {found}; expected bool [{self.num_edges}]")
        by_pin = keep_entries(self.by_pin, mask)
        by_board = transpose(by_pin, self.num_boards)
        return self._from_csr(by_pin, by_board, self.pin_ids, self.board_ids)

    def components(self) -> np.ndarray:
        """Return the first pin of each pin's component, int64 [P].

        It is the same of two pins if walks lead from one to the other, over any number of boards.
        """
        return components(self.by_board, self.num_pins)

    def connected_share(self) -> float:
        """Return the share of all pins that lie in the component with most pins (0 if no pins)."""
        sizes = np.bincount(self.components(), minlength=1)
        return int(sizes.max()) / max(self.num_pins, 1)

    def fingerprint(self) -> str:
        """Return the sha256 (hex) of structure, weights, times and ids."""
        return self._fingerprint

    def describe(self) -> str:
        """Return size, degrees, connectedness, ranges and memory as text of some lines."""
        return description.describe(self)

    def arrays(self) -> dict[str, np.ndarray | None]:
        """Return all arrays by name, ids included."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def by_pin(self) -> Csr:
        """The boards of the pins, weights and times as one record."""
        return Csr(
            offsets=self.pin_offsets,
            neighbors=self.pin_boards,
            weights=self.pin_weights,
            times=self.pin_times,
        )

    @cached_property
    def by_board(self) -> Csr:
        """The pins of the boards, weights and times as one record."""
        return Csr(
            offsets=self.board_offsets,
            neighbors=self.board_pins,
            weights=self.board_weights,
            times=self.board_times,
        )

    def __repr__(self) -> str:
        return f"PinBoardGraph({description.headline(self)})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PinBoardGraph):
            return NotImplemented
        mine, theirs = self._telling_arrays(), other._telling_arrays()
        return all(_same(mine[name], theirs[name]) for name in mine)

    def __hash__(self) -> int:
        return hash((self.num_pins, self.num_boards, self.num_edges))

    def __reduce__(self) -> tuple:
        # Through the constructor, since unpickled arrays would be writable.
        arrays: dict[str, Any] = self.arrays()
        return partial(PinBoardGraph, **arrays), ()

    @classmethod
    def _from_csr(
        cls, by_pin: Csr, by_board: Csr, pin_ids: np.ndarray, board_ids: np.ndarray
    ) -> PinBoardGraph:
        return cls(
            pin_offsets=by_pin.offsets,
            pin_boards=by_pin.neighbors,
            pin_weights=by_pin.weights,
            pin_times=by_pin.times,
            board_offsets=by_board.offsets,
            board_pins=by_board.neighbors,
            board_weights=by_board.weights,
            board_times=by_board.times,
            pin_ids=pin_ids,
            board_ids=board_ids,
        )

    @cached_property
    def _pin_lookup(self) -> IdIndex:
        return IdIndex(self.pin_ids, "pin")

    @cached_property
    def _board_lookup(self) -> IdIndex:
        return IdIndex(self.board_ids, "board")

    @cached_property
    def _fingerprint(self) -> str:
        return fingerprint(self._telling_arrays())

    def _telling_arrays(self) -> dict[str, np.ndarray | None]:
        """Return what tells graphs apart: the board order follows from the pin order."""
        return {**vars(self.by_pin), "pin_ids": self.pin_ids, "board_ids": self.board_ids}

    def _without_nodes(self, pins: np.ndarray, boards: np.ndarray) -> PinBoardGraph:
        return self._from_csr(
            drop_empty(self.by_pin, pins, boards),
            drop_empty(self.by_board, boards, pins),
            self.pin_ids[pins],
            self.board_ids[boards],
        )


def _read_only(array: np.ndarray) -> np.ndarray:
    view = array.view(np.ndarray)
    view.flags.writeable = False
    return view


def _row(csr: Csr, row: int, what: str) -> np.ndarray:
    count = len(csr.offsets) - 1
    if not 0 <= row < count:
        raise PinGraphError(f"no {what} with index {row}; the graph has {count} {what}s")
    return csr.neighbors[csr.offsets[row] : csr.offsets[row + 1]]


def _find(index: IdIndex, ids: Any) -> np.ndarray:
    if isinstance(ids, (int, str, np.integer)):
        ids = [ids]
    return index.find(id_column(ids, index.what)).astype(np.int64)


def _selection(selected: Any, count: int, what: str) -> np.ndarray:
    """Return a mask of the selected nodes."""
    if selected is None:
        return np.ones(count, np.bool_)
    selected = np.asarray(selected)
    if selected.dtype == np.bool_ and selected.shape == (count,):
        return selected
    mask = np.zeros(count, np.bool_)
    if selected.size == 0:
        return mask
    if selected.dtype.kind not in "iu" or selected.ndim != 1:
        found = f"{selected.dtype} {list(selected.shape)}"
        raise PinGraphError(f"{what} are {found}; expected indices or bool [{count}]")
    bad = (selected < 0) | (selected >= count)
    if bad.any():
        row = int(np.argmax(bad))
        raise PinGraphError(f"row {row} of {what}: index {selected[row]} is not in 0 … {count - 1}")
    mask[selected] = True
    return mask


def _same(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    if a is None or b is None:
        return a is b
    return a.dtype.kind == b.dtype.kind and np.array_equal(a, b)
