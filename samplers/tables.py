"""Graphs as the kernels of walks want them: bare arrays, alias tables, rows in order of time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pingraph.compiled import njit
from pingraph.errors import PinGraphError
from pingraph.samplers.alias import alias_tables
from pingraph.samplers.hooks import GraphArrays, Weighted

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph


def structure(graph: PinBoardGraph) -> GraphArrays:
    """Return the arrays of a graph without weights and times, for rules that use neither."""
    return GraphArrays(
        graph.pin_offsets,
        graph.pin_boards,
        None,
        None,
        graph.board_offsets,
        graph.board_pins,
        None,
        None,
    )


def whole(graph: PinBoardGraph) -> GraphArrays:
    """Return all arrays of a graph, as a user's function may want them."""
    return GraphArrays(
        graph.pin_offsets,
        graph.pin_boards,
        graph.pin_weights,
        graph.pin_times,
        graph.board_offsets,
        graph.board_pins,
        graph.board_weights,
        graph.board_times,
    )


def by_weight(graph: PinBoardGraph) -> Weighted:
    """Return the rule that takes edges by weight; 16 bytes an edge, made once.

    Raises:
        PinGraphError: the graph has no weights.
    """
    if graph.pin_weights is None or graph.board_weights is None:
        raise PinGraphError("weighted walks need edge weights, and this graph has none")
    return Weighted(
        *alias_tables(graph.pin_offsets, graph.pin_weights),
        *alias_tables(graph.board_offsets, graph.board_weights),
    )


def in_time_order(graph: PinBoardGraph) -> GraphArrays:
    """Return the arrays with the edges of each row sorted by time; of equal times by neighbor.

    Raises:
        PinGraphError: the graph has no times.
    """
    if graph.pin_times is None or graph.board_times is None:
        raise PinGraphError("walks in time need edge times, and this graph has none")
    by_pin = _order_in_rows(graph.pin_offsets, graph.pin_times)
    by_board = _order_in_rows(graph.board_offsets, graph.board_times)
    return GraphArrays(
        graph.pin_offsets,
        graph.pin_boards[by_pin],
        None,
        graph.pin_times[by_pin],
        graph.board_offsets,
        graph.board_pins[by_board],
        None,
        graph.board_times[by_board],
    )


@njit(nogil=True, cache=True)
def _order_in_rows(offsets, values):
    """Return the places of all entries, int64 [E], each row's in ascending order of its values."""
    order = np.empty(len(values), np.int64)
    for row in range(len(offsets) - 1):
        start, end = offsets[row], offsets[row + 1]
        order[start:end] = start + np.argsort(values[start:end], kind="mergesort")
    return order
