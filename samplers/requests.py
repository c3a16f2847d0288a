"""What every sampler does around its kernel: check what it is given, share seeds among threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from pingraph.errors import PinGraphError

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph

_FEWEST_SEEDS = 64  # of a share: about 0.3 ms of walks, well above the cost of handing it over


def check_whole(name: str, value: Any, *, least: int, most: int) -> None:
    """Raise a PinGraphError unless the argument `name` is a whole number in least … most."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not least <= value <= most:
        raise PinGraphError(f"{name} is {value!r}; expected a whole number from {least} to {most}")


def check_seeds(graph: PinBoardGraph, seeds: Any) -> np.ndarray:
    """Return a copy of the seeds as int64 [B].

    Raises:
        PinGraphError: they are not a list of whole numbers, or one is not a pin of the graph.
    """
    array = np.asarray(seeds)
    if array.ndim == 1 and not array.size:
        return np.empty(0, np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise PinGraphError(
            f"seeds are {array.dtype} of shape {array.shape}; expected whole numbers of shape (B,)"
        )
    unknown = np.flatnonzero((array < 0) | (array >= graph.num_pins))
    if unknown.size:
        row = unknown[0]
        raise PinGraphError(
            f"seeds[{row}] is {array[row]}; expected a pin of the graph, 0 to {graph.num_pins - 1}"
        )
    return np.array(array, np.int64)


def share_out(work: Callable[[slice], None], size: int, num_threads: int) -> None:
    """Call `work` with slices that cover 0 … size-1, in up to `num_threads` threads.

    Shares are smaller than size / num_threads, so that a thread on a busy core holds up little.
    """
    share = max(_FEWEST_SEEDS, -(-size // (4 * num_threads)))
    if num_threads == 1 or size <= share:
        work(slice(0, size))
        return
    with ThreadPoolExecutor(num_threads) as pool:
        for _ in pool.map(work, [slice(i, i + share) for i in range(0, size, share)]):
            pass  # the loop passes on an exception of a thread
