"""Checks edges that come as arrays, and gives each pin and board of a row its dense index.

Row numbers in messages count from 0.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pingraph.errors import PinGraphError
from pingraph.ids import id_column, number_ids, universe_index

_LARGEST = float(np.finfo(np.float32).max)
_SMALLEST = float(np.finfo(np.float32).smallest_subnormal)


@dataclass(frozen=True, kw_only=True)
class EdgeRows:
    """Checked edges, one a row, not yet merged or sorted."""

    pins: np.ndarray  # int [E], indices of pin_ids
    boards: np.ndarray  # int [E], indices of board_ids
    weights: np.ndarray | None  # float32 or float64 [E], finite and above 0
    times: np.ndarray | None  # int64 [E]
    pin_ids: np.ndarray  # int64 or str [P], all different
    board_ids: np.ndarray  # int64 or str [B], all different


def check_edges(
    pins: Any, boards: Any, weights: Any, times: Any, *, pin_ids: Any, board_ids: Any
) -> EdgeRows:
    """Check edges given by external ids; see `PinBoardGraph.from_edges`."""
    pins, boards = id_column(pins, "pin"), id_column(boards, "board")
    _check_lengths(pins=pins, boards=boards, weights=weights, times=times)
    if not len(pins):
        raise PinGraphError("no edges; expected at least one")
    weights = None if weights is None else check_weights(weights)
    times = None if times is None else check_times(times)
    pin_ids, pins = _resolve(pins, pin_ids, "pin")
    board_ids, boards = _resolve(boards, board_ids, "board")
    return EdgeRows(
        pins=pins,
        boards=boards,
        weights=weights,
        times=times,
        pin_ids=pin_ids,
        board_ids=board_ids,
    )


def check_weights(weights: Any, first_row: int = 0) -> np.ndarray:
    """Return weights as float32 (if given so) or float64 [E].

    Raises:
        PinGraphError: a weight is not a number that is finite and above 0 as float32.
    """
    weights = np.asarray(weights)
    if weights.dtype.kind not in "iuf":
        raise PinGraphError(_wrong_type("weights", weights, first_row, "positive numbers"))
    if weights.dtype != np.float32:
        weights = weights.astype(np.float64)
    if len(weights) and not (weights.min() >= _SMALLEST and weights.max() <= _LARGEST):
        row = int(np.argmin((weights >= _SMALLEST) & (weights <= _LARGEST)))
        found = f"row {first_row + row}: weight {weights[row].item()!r}"
        raise PinGraphError(f"{found}; expected a finite number above 0 that float32 can hold")
    return weights


def check_times(times: Any, first_row: int = 0) -> np.ndarray:
    """Return times as int64 [E]; datetime64 becomes whole seconds since 1970, rounded down.

    Raises:
        PinGraphError: a time is missing or neither an integer of 64 bits nor datetime64.
    """
    times = np.asarray(times)
    if times.dtype.kind == "M":
        if np.isnat(times).any():
            row = int(np.argmax(np.isnat(times)))
            raise PinGraphError(f"row {first_row + row}: the time is missing")
        return times.astype("datetime64[s]").astype(np.int64)
    if times.dtype.kind not in "iu":
        raise PinGraphError(_wrong_type("times", times, first_row, "integers or datetime64"))
    if times.dtype == np.uint64 and len(times) and times.max() > np.iinfo(np.int64).max:
        row = int(np.argmax(times > np.iinfo(np.int64).max))
        raise PinGraphError(f"row {first_row + row}: time {times[row]} exceeds int64")
    return times.astype(np.int64, copy=False)


def _check_lengths(**columns: Any) -> None:
    """Raise PinGraphError if the columns that are not None have different numbers of rows."""
    lengths = {name: np.shape(column) for name, column in columns.items() if column is not None}
    for name, shape in lengths.items():
        if len(shape) != 1:
            raise PinGraphError(f"{name} has {len(shape)} dimensions; expected 1")
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} has {shape[0]}" for name, shape in lengths.items())
        raise PinGraphError(f"columns of different lengths: {found} rows")


def _resolve(column: Any, universe: Any, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Return all ids of one side, and the dense index of each row's id."""
    if universe is None:
        return number_ids(column, what)
    index = universe_index(universe, what)
    return index.ids, index.find(column)


def _wrong_type(name: str, values: np.ndarray, first_row: int, expected: str) -> str:
    sample = f" (row {first_row}: {values[0]!r})" if values.ndim and len(values) else ""
    return f"{name} are {values.dtype}{sample}; expected {expected}"
