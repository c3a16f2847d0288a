"""Edges drawn by hypothesis, and the slow, obvious twin of a graph: a dictionary of edges."""

from dataclasses import dataclass, replace

import numpy as np
from hypothesis import strategies as st

from pingraph.graph import PinBoardGraph


@dataclass(frozen=True, kw_only=True)
class Edges:
    pins: np.ndarray
    boards: np.ndarray
    weights: np.ndarray | None
    times: np.ndarray | None
    pin_ids: np.ndarray  # a universe: every id that occurs, and some that don't
    board_ids: np.ndarray

    def graph(self, *, universe: bool = True) -> PinBoardGraph:
        return PinBoardGraph.from_edges(
            self.pins,
            self.boards,
            self.weights,
            self.times,
            pin_ids=self.pin_ids if universe else None,
            board_ids=self.board_ids if universe else None,
        )

    def take(self, rows) -> "Edges":
        columns = ("pins", "boards", "weights", "times")
        values = {name: getattr(self, name) for name in columns}
        taken = {name: None if value is None else value[rows] for name, value in values.items()}
        return replace(self, **taken)

    def twin(self) -> dict:
        """Merge by the documented rule, with Python's exact fractions for the sum."""
        from fractions import Fraction

        merged: dict = {}
        for row, edge in enumerate(zip(self.pins.tolist(), self.boards.tolist(), strict=True)):
            weight = Fraction(0) if self.weights is None else Fraction(self.weights[row].item())
            time = 0 if self.times is None else self.times[row].item()
            before, earliest = merged.get(edge, (Fraction(0), time))
            merged[edge] = (before + weight, min(time, earliest))
        return merged


def as_dict(graph: PinBoardGraph) -> dict:
    """Return {(pin id, board id): (weight or 0, time or 0)} of a graph."""
    pins, boards = graph.edges()
    weights = np.zeros(len(pins)) if graph.pin_weights is None else graph.pin_weights
    times = np.zeros(len(pins), int) if graph.pin_times is None else graph.pin_times
    keys = zip(graph.pin_ids[pins].tolist(), graph.board_ids[boards].tolist(), strict=True)
    values = zip(weights.tolist(), times.tolist(), strict=True)
    return dict(zip(keys, values, strict=True))


@st.composite
def universes(draw, max_size=6):
    """Draw all ids of one side, in any order: 0 … n-1, other integers, or strings."""
    kind = draw(st.sampled_from(["range", "integers", "strings"]))
    if kind == "range":
        return np.arange(draw(st.integers(1, max_size)))
    if kind == "integers":
        values = st.integers(0, 30) | st.integers(2**40, 2**63 - 1)
        return np.array(draw(st.lists(values, min_size=1, max_size=max_size, unique=True)))
    characters = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
    values = st.text(characters, min_size=1, max_size=4)
    return np.array(draw(st.lists(values, min_size=1, max_size=max_size, unique=True)))


@st.composite
def edges(draw, max_edges=14, weights=None, times=None):
    """Draw one edge or more; `weights` and `times` say whether there are any (None: drawn)."""
    pin_ids, board_ids = draw(universes()), draw(universes())
    pairs = st.tuples(st.integers(0, len(pin_ids) - 1), st.integers(0, len(board_ids) - 1))
    rows = np.array(draw(st.lists(pairs, min_size=1, max_size=max_edges)))
    size = {"min_size": len(rows), "max_size": len(rows)}
    if draw(st.booleans()) if weights is None else weights:
        width = draw(st.sampled_from([32, 64]))
        values = st.floats(2.0**-20, 2.0**30, width=width)
        weight_column = np.array(draw(st.lists(values, **size)), f"f{width // 8}")
    else:
        weight_column = None
    if draw(st.booleans()) if times is None else times:
        time_column = np.array(draw(st.lists(st.integers(-(2**63), 2**63 - 1), **size)), np.int64)
    else:
        time_column = None
    return Edges(
        pins=pin_ids[rows[:, 0]],
        boards=board_ids[rows[:, 1]],
        weights=weight_column,
        times=time_column,
        pin_ids=pin_ids,
        board_ids=board_ids,
    )


def enriched(graph, seed=0):
    """Return the graph with a skewed weight for each edge, and times of which many are equal."""
    generator = np.random.default_rng(seed)
    return PinBoardGraph.from_edges(
        *graph.edges(),
        weights=0.05 + generator.random(graph.num_edges) ** 3,
        times=generator.integers(0, 12, graph.num_edges),
        pin_ids=np.arange(graph.num_pins),
        board_ids=np.arange(graph.num_boards),
    )
