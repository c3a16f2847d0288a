"""Says what a graph looks like in a few lines that are worth reading."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph


def headline(graph: PinBoardGraph) -> str:
    """Return the counts and kinds in one line."""
    parts = [
        _count(graph.num_pins, "pin"),
        _count(graph.num_boards, "board"),
        _count(graph.num_edges, "edge"),
    ]
    if graph.pin_weights is not None:
        parts.append("weighted")
    if graph.pin_times is not None:
        parts.append("timed")
    return ", ".join(parts)


def describe(graph: PinBoardGraph) -> str:
    """Return size, degrees, isolated nodes, connectedness, weights, times and memory as text."""
    facts = {
        "graph": headline(graph),
        "boards a pin": _degrees(graph.pin_degrees, "pin"),
        "pins a board": _degrees(graph.board_degrees, "board"),
        "connected": f"{graph.connected_share():.1%} of the pins lie in the largest component",
        "weights": _range(graph.pin_weights),
        "times": _range(graph.pin_times),
        "ids": f"pins {_ids(graph.pin_ids)}; boards {_ids(graph.board_ids)}",
        "memory": _memory(graph),
    }
    return "\n".join(f"{name:<14}{fact}" for name, fact in facts.items())


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _degrees(degrees: np.ndarray, noun: str) -> str:
    if not len(degrees):
        return "none"
    isolated = int(np.count_nonzero(degrees == 0))
    without = f"{_count(isolated, noun)} ({isolated / len(degrees):.1%}) without any"
    middle = f"median {np.median(degrees):g}, mean {degrees.mean():.1f}"
    return f"{middle}, most {degrees.max():,}; {without}"


def _range(values: np.ndarray | None) -> str:
    if values is None or not len(values):
        return "none"
    low, middle, high = (
        f"{value:.10g}" for value in (values.min(), np.median(values), values.max())
    )
    return f"{low} … {high}, median {middle}"


def _ids(ids: np.ndarray) -> str:
    kind = "integers" if ids.dtype.kind == "i" else "strings"
    return f"{kind} {ids[0].item()!r} … {ids[-1].item()!r}" if len(ids) else kind


def _memory(graph: PinBoardGraph) -> str:
    arrays = [*vars(graph.by_pin).values(), *vars(graph.by_board).values()]
    size = sum(array.nbytes for array in arrays if array is not None)
    ids = graph.pin_ids.nbytes + graph.board_ids.nbytes
    each = size / max(graph.num_edges, 1)
    return f"{size / 1e6:,.1f} MB ({each:.1f} bytes an edge) and {ids / 1e6:,.1f} MB of ids"
