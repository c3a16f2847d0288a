"""Says which sampler is at fault, and of what, when one fails or returns what can't be measured."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pingraph.errors import PinGraphError
from pingraph.interfaces import Neighbors

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph
    from pingraph.interfaces import Sampler


@contextmanager
def blame(name: str, sampler: Sampler) -> Iterator[None]:
    """Put the sampler's name before an error; one of the user's own code is told with its line."""
    try:
        yield
    except PinGraphError as error:
        raise PinGraphError(f"{name}: {error}") from error
    except Exception as error:
        if type(sampler).__module__.startswith("pingraph."):
            raise
        frames = traceback.extract_tb(error.__traceback__)
        own = [one for one in frames if one.filename == inspect.getfile(type(sampler))]
        place = (own or frames)[-1]
        reason = " ".join(str(error).split())[:200]
        raise PinGraphError(
            f"{name}: {Path(place.filename).name}, line {place.lineno}: "
            f"{type(error).__name__}: {reason}"
        ) from error


def check_result(found: Any, name: str, graph: PinBoardGraph, seeds: np.ndarray) -> None:
    """Raise a PinGraphError unless a sampler returned neighbors that can be measured."""
    if not isinstance(found, Neighbors):
        raise PinGraphError(f"{name} returned {type(found).__name__}; expected Neighbors")
    if not np.array_equal(found.seeds, seeds):
        raise PinGraphError(f"{name} returned other seeds than it was given")
    shape = (len(seeds), np.shape(found.ids)[-1])
    for field, kinds in (("ids", "iu"), ("weights", "f"), ("mask", "b")):
        array = np.asarray(getattr(found, field))
        if array.shape != shape or array.dtype.kind not in kinds:
            expected = {"iu": "whole numbers", "f": "floating-point numbers", "b": "bool"}[kinds]
            raise PinGraphError(
                f"{name}: {field} are {array.dtype} {array.shape}; expected {expected} {shape}"
            )
    for row, (ids, weights, mask) in enumerate(
        zip(found.ids, found.weights, found.mask, strict=True)
    ):
        fault = _fault(ids[mask], weights[mask], graph.num_pins)
        if weights[~mask].any():
            fault = "has weight where the mask is False"
        if fault:
            raise PinGraphError(f"{name}: row {row} (pin {seeds[row]}) {fault}")


def _fault(ids: np.ndarray, weights: np.ndarray, num_pins: int) -> str:
    """Say what is wrong with the neighbors of a seed, if anything is."""
    outside = ids[(ids < 0) | (ids >= num_pins)]
    if len(outside):
        return f"holds {outside[0]}; expected pins of the graph, 0 to {num_pins - 1}"
    if len(np.unique(ids)) < len(ids):
        return "holds a pin twice"
    total = weights.sum(dtype=np.float64)
    if len(ids) and not ((weights >= 0).all() and abs(total - 1) < 1e-3):
        return f"has weights that sum to {total:g}; expected none below 0, and a sum of 1"
    return ""
