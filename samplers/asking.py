"""Asks a sampler that a user may have written: what goes wrong is told with its name and place."""

from __future__ import annotations

import inspect
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pingraph import interfaces
from pingraph.errors import PinGraphError
from pingraph.interfaces import Negatives, Neighbors
from pingraph.samplers import check_rows
from pingraph.samplers.check_rows import (
    ROW_CHECKS,
    RowCheck,
    ids_in_range,
    malformed,
    seeds_come_back,
)

# Generated code has names in brackets.
_NOT_OF_USERS = (
    *(sysconfig.get_path(name) + os.sep for name in ("stdlib", "purelib", "platlib")),
    *(f"{Path(inspect.getfile(one)).parent}{os.sep}" for one in (interfaces, check_rows)),
    "<",
)

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph
    from pingraph.interfaces import NegativeSampler, Sampler


def neighbors_of(
    sampler: Sampler,
    graph: PinBoardGraph,
    seeds: np.ndarray,
    *,
    seed: int,
    epoch: int = 0,
    name: str = "",
    promises: Sequence[RowCheck] = ROW_CHECKS,
) -> Neighbors:
    """Return what a sampler finds, if it is what a sampler promises.

    Args:
        sampler: any; it is called once.
        graph: to sample on.
        seeds: int [B], pins of the graph.
        seed: the random seed.
        epoch: the epoch.
        name: what to call the sampler; by default its class.
        promises: those that its answer is held to, beside types and shapes.

    Raises:
        PinGraphError: the sampler raised it; or any other error, if the sampler is not one of
            pingraph's; or its answer breaks a promise. Names the sampler, and the line that raised
            or the pin.
    """
    name = name or type(sampler).__name__
    with blame(name, sampler):
        found = sampler.sample(graph, seeds, seed=seed, epoch=epoch)
    return kept_promises(found, graph, seeds, name, promises)


def kept_promises(
    found: Any,
    graph: PinBoardGraph,
    seeds: np.ndarray,
    name: str,
    promises: Sequence[RowCheck] = ROW_CHECKS,
    record: type[Neighbors | Negatives] = Neighbors,
) -> Any:
    """Return the answer of the sampler `name`; raise a PinGraphError where it breaks a promise."""
    faults = (check(graph, seeds, found) for check in promises)
    fault = malformed(found, len(seeds), record=record) or next(filter(None, faults), None)
    if fault is not None:
        raise PinGraphError(f"{name}: {fault}")
    return found


def negatives_of(
    sampler: NegativeSampler,
    graph: PinBoardGraph,
    seeds: np.ndarray,
    *,
    seed: int,
    epoch: int = 0,
) -> Negatives:
    """Return what a sampler draws, if its types, shapes, seeds and ids are what it promises.

    Args:
        sampler: any; it is called once.
        graph: to sample on.
        seeds: int64 [B], pins of the graph.
        seed: the random seed.
        epoch: the epoch.

    Raises:
        PinGraphError: as of `neighbors_of`.
    """
    name = type(sampler).__name__
    with blame(name, sampler):
        found = sampler.sample_negatives(graph, seeds, seed=seed, epoch=epoch)
    return kept_promises(found, graph, seeds, name, (seeds_come_back, ids_in_range), Negatives)


@contextmanager
def blame(name: str, sampler: Any) -> Iterator[None]:
    """Put the sampler's name before an error; one of the user's own code is told with its line.

    An error that no code of a user took part in is a bug of ours: it goes on as it is.
    """
    try:
        yield
    except PinGraphError as error:
        raise PinGraphError(f"{name}: {error}") from error
    except Exception as error:
        where = place_of(error, sampler)
        if where is None:
            raise
        reason = " ".join(str(error).split())[:200]
        raise PinGraphError(f"{name}: {where}: {type(error).__name__}: {reason}") from error


def place_of(error: BaseException, sampler: Any) -> str | None:
    """Return where a user's code has led to an error, as "file.py, line 3"; None if none has.

    It is the innermost line of the sampler's own file. Of one of pingraph's, which may hold another
    sampler, it is that of any file but those of pingraph, of Python and of what is installed.
    """
    module = type(sampler).__module__
    if module.startswith("pingraph."):
        return users_place_of(error)
    frames = traceback.extract_tb(error.__traceback__)[::-1]
    own = getattr(sys.modules.get(module), "__file__", None)
    return _told([frame for frame in frames if frame.filename == own] or frames)


def users_place_of(error: BaseException) -> str | None:
    """Return the innermost place that is neither pingraph's, Python's nor of what is installed."""
    frames = traceback.extract_tb(error.__traceback__)[::-1]
    return _told([frame for frame in frames if not frame.filename.startswith(_NOT_OF_USERS)])


def _told(frames: list[traceback.FrameSummary]) -> str | None:
    return f"{Path(frames[0].filename).name}, line {frames[0].lineno}" if frames else None
