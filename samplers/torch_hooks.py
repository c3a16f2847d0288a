"""Where walks on tensors differ: how an edge is chosen, and where a walk can start; see `hooks`.

Nodes, words and times are tensors of shapes that broadcast. Every node has neighbors; one without
an edge old enough gives its first: whoever asks masks it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pingraph.samplers.torch_graph import DeviceRows
from pingraph.samplers.torch_randomness import follow, pick, shift_right


class DeviceRules(NamedTuple):
    """How the walks of a sampler go; `time` is None where it is not asked for."""

    choose: Callable[[DeviceRows, Tensor, Tensor, Any], tuple[Tensor, Tensor]]
    can_start: Callable[[DeviceRows, Tensor, Any], Tensor]


def uniform(rows: DeviceRows, at: Tensor, word: Tensor, time: None) -> tuple[Tensor, Tensor]:
    """Return a neighbor of each node `at`, chosen by its word, and the word of the next choice."""
    start = rows.offsets[at]
    place, rest = pick(word, rows.offsets[at + 1] - start)
    return rows.neighbors[start + place], rest


def weighted(rows: DeviceRows, at: Tensor, word: Tensor, time: None) -> tuple[Tensor, Tensor]:
    """Return what `uniform` returns, in proportion to the weights of the edges."""
    assert rows.alias is not None
    thresholds, aliases = rows.alias
    start = rows.offsets[at]
    place, rest = pick(word, rows.offsets[at + 1] - start)
    place = start + place
    threshold = thresholds[place].long() & 0xFFFFFFFF  # they are uint32
    place = torch.where(shift_right(rest, 32) < threshold, place, start + aliases[place])
    return rows.neighbors[place], follow(word)


def earlier(rows: DeviceRows, at: Tensor, word: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
    """Return what `uniform` returns, of the edges older than `time`."""
    assert rows.in_time is not None
    neighbors, times = rows.in_time
    start = rows.offsets[at]
    end = first_not_below(times, start, rows.offsets[at + 1], time, rows.longest)
    place, rest = pick(word, end - start)
    return neighbors[start + place], rest


def with_edge(rows: DeviceRows, seeds: Tensor, time: Any) -> Tensor:
    """Return whether each seed has an edge."""
    return rows.offsets[seeds] < rows.offsets[seeds + 1]


def with_early_edge(rows: DeviceRows, seeds: Tensor, time: Tensor) -> Tensor:
    """Return whether each seed has an edge older than its time; the graph has edges."""
    assert rows.in_time is not None
    times = rows.in_time[1]
    first = rows.offsets[seeds]
    return (first < rows.offsets[seeds + 1]) & (times[first.clamp(max=len(times) - 1)] < time)


def first_not_below(
    values: Tensor, start: Tensor, end: Tensor, bound: Tensor, longest: int
) -> Tensor:
    """Return the first place from `start` on whose value is not below the bound, `end` if none is.

    The steps double backwards: 7 values below the bound are found by steps of 4, 2 and 1.

    Args:
        values: ascending from each start to its end.
        start, end: int64, below one another.
        bound: what to look for.
        longest: `end - start` at most.
    """
    place = start
    for step in reversed(range(longest.bit_length())):
        ahead = place + (1 << step)
        below = values[torch.minimum(ahead, end) - 1] < bound
        place = torch.where((ahead <= end) & below, ahead, place)
    return place
