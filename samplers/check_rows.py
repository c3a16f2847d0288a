"""What a record of neighbors promises, each promise as a function: returns what is wrong, or None.

B seeds, k neighbors of each. The functions after `malformed` trust dtypes and shapes. Records of
negatives, n of each seed, keep some of the promises, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from pingraph.interfaces import Negatives, Neighbors

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph

# Of each record, the letter of its width and its float32 arrays beside the ids.
_LAYOUTS = {Neighbors: ("k", ("weights", "scores")), Negatives: ("n", ("log_probabilities",))}


def malformed(
    found: Any, size: int, k: int | None = None, record: type[Neighbors | Negatives] = Neighbors
) -> str | None:
    """Say what is wrong with the type, the dtypes and the shapes of an answer for `size` seeds."""
    if not isinstance(found, record):
        expected = f"expected pingraph.interfaces.{record.__name__}"
        return f"returned {type(found).__name__}; {expected}"
    letter, floats = _LAYOUTS[record]
    shape: tuple[int, ...] = getattr(found.ids, "shape", ())
    if len(shape) != 2 or shape[0] != size:
        return f"returned ids of shape {shape}; expected ({size}, {letter})"
    for name in ("ids", *floats):
        dtype = "int64" if name == "ids" else "float32"
        fault = _array_fault(name, getattr(found, name), dtype, shape)
        if fault:
            return fault
    if k is not None and shape[1] != k:
        return f"returned rows of {shape[1]} neighbors; expected {k} as in the other calls"
    return _array_fault("mask", found.mask, "bool", shape) or _array_fault(
        "seeds", found.seeds, "int64", (size,)
    )


def seeds_come_back(
    graph: PinBoardGraph, seeds: np.ndarray, found: Neighbors | Negatives
) -> str | None:
    """The field `seeds` is what was asked for."""
    rows = np.flatnonzero(found.seeds != seeds)
    if len(rows):
        row = rows[0]
        return f"row {row} was asked for pin {seeds[row]}, and seeds[{row}] is {found.seeds[row]}"
    return None


def padded_at_the_end(graph: PinBoardGraph, seeds: np.ndarray, found: Neighbors) -> str | None:
    """Padding is at the end of a row, and -1, 0 and 0."""
    mask = found.mask
    gaps = np.argwhere(mask[:, 1:] & ~mask[:, :-1])
    if len(gaps):
        row, column = gaps[0]
        return f"pin {seeds[row]}: mask[{row}, {column}] is False before a True; padding comes last"
    for name, empty in (("ids", -1), ("weights", 0), ("scores", 0)):
        wrong = np.argwhere(~mask & (getattr(found, name) != empty))
        if len(wrong):
            row, column = wrong[0]
            value = getattr(found, name)[row, column]
            place = f"{name}[{row}, {column}] is {value} where the mask is False"
            return f"pin {seeds[row]}: {place}; expected {empty}"
    return None


def ids_in_range(
    graph: PinBoardGraph, seeds: np.ndarray, found: Neighbors | Negatives
) -> str | None:
    """Every neighbor, or negative, is a pin of the graph."""
    wrong = found.mask & ((found.ids < 0) | (found.ids >= graph.num_pins))
    expected = f"expected a pin of the graph, 0 to {graph.num_pins - 1}"
    what = "negative" if isinstance(found, Negatives) else "neighbor"
    return _first(
        wrong, seeds, lambda row, column: f"is {found.ids[row, column]}; {expected}", what
    )


def seed_not_among_them(graph: PinBoardGraph, seeds: np.ndarray, found: Neighbors) -> str | None:
    """No pin is its own neighbor."""
    wrong = found.mask & (found.ids == seeds[:, None])
    return _first(wrong, seeds, lambda row, column: f"is the seed {seeds[row]} itself")


def none_twice(graph: PinBoardGraph, seeds: np.ndarray, found: Neighbors) -> str | None:
    """No pin stands twice in a row."""
    ids = np.sort(np.where(found.mask, found.ids, -1), axis=1)
    again = np.argwhere((ids[:, 1:] == ids[:, :-1]) & (ids[:, 1:] != -1))
    if not len(again):
        return None
    row, column = again[0]
    pin = ids[row, column]
    places = np.flatnonzero(found.mask[row] & (found.ids[row] == pin)).tolist()
    return f"pin {seeds[row]}: neighbor {pin} stands in places {places} of row {row}"


def weights_sum_to_one(graph: PinBoardGraph, seeds: np.ndarray, found: Neighbors) -> str | None:
    """Weights are finite and above 0, and their sum is 1."""
    fault = _not_positive("weights", seeds, found)
    if fault:
        return fault
    sums = found.weights.sum(axis=1, dtype=np.float64)
    rows = np.flatnonzero(found.mask.any(axis=1) & (abs(sums - 1) > 1e-5))
    if len(rows):
        return (
            f"pin {seeds[rows[0]]}: the weights of row {rows[0]} sum to {sums[rows[0]]:.6g}, not 1"
        )
    return None


def scores_are_positive(graph: PinBoardGraph, seeds: np.ndarray, found: Neighbors) -> str | None:
    """Scores are finite and above 0."""
    return _not_positive("scores", seeds, found)


def best_first(graph: PinBoardGraph, seeds: np.ndarray, found: Neighbors) -> str | None:
    """Neither scores nor weights grow along a row."""
    for name in ("scores", "weights"):
        array = getattr(found, name)
        both = found.mask[:, 1:] & found.mask[:, :-1]
        rising = np.argwhere(both & (array[:, 1:] > array[:, :-1]))
        if len(rising):
            row, column = rising[0]
            values = f"{array[row, column]:.6g} and then {array[row, column + 1]:.6g}"
            return f"pin {seeds[row]}: {name}[{row}, {column}:] are {values}; expected best first"
    return None


RowCheck = Callable[["PinBoardGraph", np.ndarray, Neighbors], str | None]
ROW_CHECKS: tuple[RowCheck, ...] = (
    seeds_come_back,
    padded_at_the_end,
    ids_in_range,
    seed_not_among_them,
    none_twice,
    weights_sum_to_one,
    scores_are_positive,
    best_first,
)


def _array_fault(name: str, array: Any, dtype: str, shape: tuple[int, ...]) -> str | None:
    if isinstance(array, np.ndarray) and array.dtype == dtype and array.shape == shape:
        return None
    found = type(array).__name__
    if isinstance(array, np.ndarray):
        found = f"{array.dtype} of shape {array.shape}"
    return f"returned {name} as {found}; expected {dtype} of shape {shape}"


def _not_positive(name: str, seeds: np.ndarray, found: Neighbors) -> str | None:
    array = getattr(found, name)
    wrong = found.mask & ~(np.isfinite(array) & (array > 0))
    expected = "expected a finite number above 0"
    return _first(
        wrong, seeds, lambda row, column: f"has {name} {array[row, column]:.6g}; {expected}"
    )


def _first(
    wrong: np.ndarray,
    seeds: np.ndarray,
    say: Callable[[int, int], str],
    what: str = "neighbor",
) -> str | None:
    """Name the first wrong place, in the user's words."""
    if not wrong.any():
        return None
    row, column = (int(place) for place in np.argwhere(wrong)[0])
    return f"pin {seeds[row]}: {what} {column} (of row {row}) {say(row, column)}"
