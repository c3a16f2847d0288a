"""What the weight and the time of an edge may be. Row numbers in messages count from 0."""

from typing import Any

import numpy as np

from pingraph.errors import PinGraphError

_LARGEST = float(np.finfo(np.float32).max)
_SMALLEST = float(np.finfo(np.float32).smallest_subnormal)


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


def check_lengths(**columns: Any) -> None:
    """Raise PinGraphError if the columns that are not None have different numbers of rows."""
    lengths = {name: np.shape(column) for name, column in columns.items() if column is not None}
    for name, shape in lengths.items():
        if len(shape) != 1:
            raise PinGraphError(f"{name} has {len(shape)} dimensions; expected 1")
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} has {shape[0]}" for name, shape in lengths.items())
        raise PinGraphError(f"columns of different lengths: {found} rows")


def _wrong_type(name: str, values: np.ndarray, first_row: int, expected: str) -> str:
    sample = f" (row {first_row}: {values[0]!r})" if values.ndim and len(values) else ""
    return f"{name} are {values.dtype}{sample}; expected {expected}"
