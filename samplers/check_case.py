"""Calling a sampler that may be wrong: what it did is told in words, nothing it raises is lost."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, is_dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pingraph.interfaces import Neighbors
from pingraph.samplers.asking import place_of
from pingraph.samplers.check_rows import malformed

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph

_FIELDS = ("ids", "weights", "scores", "mask")


class BrokenCall(Exception):  # noqa: N818 (the sentence of a failed check, not an error of ours)
    """A call of the sampler raised, or returned no rows; the message names the call."""


class LeftOut(Exception):  # noqa: N818
    """A check does not apply; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A sampler under test and what it has found."""

    sampler: Any
    unused: Any  # a copy of the sampler that was never asked before; None if it can't be copied
    graph: PinBoardGraph
    pins: np.ndarray  # int64 [B], pins that share a board with others
    isolated: np.ndarray  # int64 [any], pins that don't
    found: Neighbors  # the rows of `pins` with random seed 1 and epoch 0


def ask(
    sampler: Any, graph: PinBoardGraph, seeds: np.ndarray, *, seed: int = 1, epoch: int = 0
) -> Neighbors:
    """Return what the sampler finds; it is given a copy of the seeds.

    Raises:
        BrokenCall: it raised an exception, or returned something malformed.
    """
    return call(sampler, graph, seeds.copy(), seed=seed, epoch=epoch)


def call(
    sampler: Any, graph: PinBoardGraph, seeds: np.ndarray, *, seed: int = 1, epoch: int = 0
) -> Neighbors:
    """Do what `ask` does with the array of seeds itself."""
    words = f"sample(graph, {listed(seeds)}, seed={seed}, epoch={epoch})"
    try:
        found = sampler.sample(graph, seeds, seed=seed, epoch=epoch)
    except Exception as error:
        where = place_of(error, sampler) or "in pingraph"
        raise BrokenCall(f"{words} raised {type(error).__name__}: {error} ({where})") from error
    fault = malformed(found, len(seeds))
    if fault:
        raise BrokenCall(f"{words} {fault}")
    return found


def isolated_rows(case: Case) -> Neighbors:
    """Return the rows of the isolated pins.

    Raises:
        LeftOut: there is no such pin.
        BrokenCall: the sampler fails on them.
    """
    if not len(case.isolated):
        raise LeftOut("all pins that were looked at share a board with another")
    return ask(case.sampler, case.graph, case.isolated)


def refusal(case: Case, pin: int) -> BrokenCall | None:
    """Return how the sampler refuses a pin, None if it doesn't."""
    try:
        ask(case.sampler, case.graph, np.array([pin]))
    except BrokenCall as error:
        return error
    return None


def with_value(sampler: Any, name: str, value: int) -> Any:
    """Return a copy of the sampler with another value of an attribute.

    Raises:
        LeftOut: it has no such attribute.
        BrokenCall: its constructor refuses the value.
    """
    if not hasattr(sampler, name):
        raise LeftOut(f"the sampler has no {name}")
    try:
        if is_dataclass(sampler):
            return replace(sampler, **{name: value})  # type: ignore[type-var]
        other = copy(sampler)
        setattr(other, name, value)
    except Exception as error:
        what = f"a copy with {name}={value}"
        raise BrokenCall(f"{what} raised {type(error).__name__}: {error}") from error
    return other


def in_company(graph: PinBoardGraph, pins: np.ndarray) -> np.ndarray:
    """Return for each pin whether it shares a board with another; bool."""
    shared = [(graph.board_degrees[graph.boards_of(pin)] > 1).any() for pin in pins.tolist()]
    return np.array(shared, np.bool_)


def same_rows(one: Neighbors, other: Neighbors) -> bool:
    """Whether two answers are equal to the bit, whatever they were asked."""
    return all(
        np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True) for name in _FIELDS
    )


def difference(found: Neighbors, case: Case, places: np.ndarray, when: str) -> str | None:
    """Say which row differs from the first answer's row at the place that belongs to it."""
    if found.ids.shape[1] != case.found.ids.shape[1]:
        widths = f"{found.ids.shape[1]} neighbors, {case.found.ids.shape[1]} at first"
        return f"{when}, rows have {widths}"
    for name in _FIELDS:
        mine, first = getattr(found, name), getattr(case.found, name)[places]
        both_nan = (mine != mine) & (first != first)
        rows = np.flatnonzero(((mine != first) & ~both_nan).any(axis=1))
        if len(rows):
            row = rows[0]
            values = f"{name} {listed(mine[row])}, at first {listed(first[row])}"
            return f"pin {case.pins[places[row]]}, {when}, got {values}"
    return None


def listed(values: Any) -> str:
    """Return the values, or the first and the last of many."""
    texts = [str(value) for value in values]
    if len(texts) > 8:
        return f"[{', '.join(texts[:4])}, … {texts[-1]}] ({len(texts)})"
    return f"[{', '.join(texts)}]"
