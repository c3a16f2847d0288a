"""What every sampler does around its kernel: check what it is given, share seeds among threads."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import config

from pingraph.errors import PinGraphError
from pingraph.samplers.randomness import epoch_key

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph


def check_whole(name: str, value: Any, *, least: int, most: int) -> None:
    """Raise a PinGraphError unless the argument `name` is a whole number in least … most."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or not least <= value <= most:
        raise PinGraphError(f"{name} is {value!r}; expected a whole number from {least} to {most}")


def check_share(name: str, value: Any) -> None:
    """Raise a PinGraphError unless the argument `name` is a number from 0 to below 1."""
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not number or not 0 <= value < 1:
        raise PinGraphError(f"{name} is {value!r}; expected a number from 0 to below 1")


def check_draw(seed: Any, epoch: Any) -> None:
    """Raise a PinGraphError unless the random seed and the epoch are 0 to 2⁶⁴ - 1."""
    check_whole("seed", seed, least=0, most=2**64 - 1)
    check_whole("epoch", epoch, least=0, most=2**64 - 1)


def call_key(seed: Any, epoch: Any) -> np.uint64:
    """Return the `epoch_key` of a call, as kernels want it: numba hands a uint64 back as an int.

    Raises:
        PinGraphError: a part is out of its range.
    """
    check_draw(seed, epoch)
    return np.uint64(epoch_key(np.uint64(seed), np.uint64(epoch)))


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


def check_times(seeds: np.ndarray, times: Any) -> np.ndarray:
    """Return a time for each of the seeds, int64 [B]; raise a PinGraphError if they are none."""
    array = np.asarray(times)
    if array.dtype.kind not in "iu" or array.shape != seeds.shape:
        raise PinGraphError(
            f"times are {array.dtype} of shape {array.shape}; "
            f"expected whole numbers of shape {seeds.shape}"
        )
    return array.astype(np.int64)


def share_out(
    work: Callable[[slice], None], size: int, num_threads: int | None = None, *, fewest: int = 64
) -> None:
    """Call `work` with slices that cover 0 … size-1, in up to `num_threads` threads.

    By default there are as many as NUMBA_NUM_THREADS says, else one for each core. (To ask
    `numba.get_num_threads()` would start numba's own threads, which sets those of torch as well.)

    A slice has `fewest` rows or more, so that it costs well above the 20 µs that it takes to hand
    it over: of PinSAGE's walks, 64 rows are about 0.3 ms.

    The caller is one of the threads and takes shares like the others, until none is left: helpers
    that are late, or whose core is busy, cost next to nothing.
    """
    num_threads = num_threads or config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    share = max(fewest, -(-size // (4 * num_threads)))
    shares = iter([slice(i, min(i + share, size)) for i in range(0, size, share)])

    def take_shares() -> None:
        for part in shares:  # one iterator for all threads: the GIL gives each share out once
            work(part)

    wanted = min(num_threads, -(-size // share)) - 1
    helpers = [_helpers(num_threads).submit(take_shares) for _ in range(wanted)]
    take_shares()
    for helper in helpers:
        if not helper.cancel():  # it has started
            helper.result()


@cache
def _helpers(num_threads: int) -> ThreadPoolExecutor:
    """Return threads that are kept: to start one takes as long as 50 seeds."""
    return ThreadPoolExecutor(num_threads, thread_name_prefix="pingraph-sampler")


if hasattr(os, "register_at_fork"):  # a forked child has no threads; Windows doesn't fork
    os.register_at_fork(after_in_child=_helpers.cache_clear)
