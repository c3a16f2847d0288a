"""The random walks of the CPU kernels as tensors of a GPU: same numbers, same traces.

All walks of a batch take each step together. Tensors have fixed sizes: a walk that has ended is
masked, not removed, so that nothing waits for the device between the steps.

Letters: B seeds, W walks of a seed, L traversals of a walk at most.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pingraph.errors import PinGraphError
from pingraph.samplers.requests import check_draw
from pingraph.samplers.torch_graph import DeviceGraph, DeviceRows
from pingraph.samplers.torch_randomness import draw, epoch_key, follow, pick, shift_right

if TYPE_CHECKING:
    from pingraph.samplers.pinsage import PinSAGESampler


def trace(
    graph: DeviceGraph, seeds: Tensor, settings: PinSAGESampler, key: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the pins [B, W, L + 1] and boards [B, W, L] of walks, -1 after a walk's end.

    Raises:
        PinGraphError: as of `traversals`.
    """
    shape = len(seeds), settings.num_walks, settings.walk_length
    pins = graph.by_board.neighbors.new_full((*shape[:2], shape[2] + 1), -1)
    boards = graph.by_pin.neighbors.new_full(shape, -1)
    pins[:, :, 0] = seeds[:, None]
    for step, (board, pin, walking) in enumerate(traversals(graph, seeds, settings, key)):
        boards[:, :, step] = torch.where(walking, board, -1)
        pins[:, :, step + 1] = torch.where(walking, pin, -1)
    return pins, boards


def traversals(
    graph: DeviceGraph, seeds: Tensor, settings: PinSAGESampler, key: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield the board, the pin and whether the walk goes there, each [B, W], step by step.

    A walk that has ended goes on all the same, and one that cannot start starts elsewhere: what
    they meet is masked, and every place that is read exists.

    Raises:
        PinGraphError: the walks are weighted, and the graph was copied without that.
    """
    sides = graph.by_pin, graph.by_board
    if not settings.weighted:
        sides = replace(sides[0], alias=None), replace(sides[1], alias=None)
    elif graph.by_pin.alias is None:
        raise PinGraphError("weighted walks need DeviceGraph.from_graph(…, weighted=True)")
    if not graph.num_edges:
        return
    go_on = round((1 - settings.restart_probability) * 2**53)
    shape = len(seeds), settings.num_walks
    connected = graph.by_pin.offsets[seeds] < graph.by_pin.offsets[seeds + 1]
    elsewhere = graph.by_board.neighbors[0].long()
    at = torch.where(connected, seeds, elsewhere)[:, None].expand(shape)
    walking = connected[:, None].expand(shape)
    keys = draw(draw(key, seeds)[:, None], torch.arange(shape[1], device=graph.device))
    for step in range(settings.walk_length):
        board, rest = _hop(sides[0], at, draw(keys, step))
        pin, rest = _hop(sides[1], board.long(), rest)
        yield board, pin, walking
        at = pin.long()
        walking = walking & (shift_right(rest, 11) < go_on)


def _hop(rows: DeviceRows, at: Tensor, word: Tensor) -> tuple[Tensor, Tensor]:
    """Return a neighbor of each node `at`, chosen by its word, and the word of the next choice."""
    start = rows.offsets[at]
    place, rest = pick(word, rows.offsets[at + 1] - start)
    place = start + place
    if rows.alias is None:
        return rows.neighbors[place], rest
    thresholds, aliases = rows.alias
    threshold = thresholds[place].long() & 0xFFFFFFFF  # they are uint32
    place = torch.where(shift_right(rest, 32) < threshold, place, start + aliases[place])
    return rows.neighbors[place], follow(word)


def call_key(seed: int, epoch: int) -> Tensor:
    """Return the `epoch_key` of a call; raise a PinGraphError if a part is out of range."""
    check_draw(seed, epoch)
    return epoch_key(int(seed), int(epoch))


def check_seed_tensor(graph: DeviceGraph, seeds: Tensor) -> None:
    """Raise a PinGraphError unless the seeds are pins: a GPU that reads beyond an array is lost."""
    if seeds.ndim != 1 or seeds.dtype != torch.int64:
        found = f"{seeds.dtype} of shape {tuple(seeds.shape)}"
        raise PinGraphError(f"seeds are {found}; expected int64 of shape (B,)")
    unknown = (seeds < 0) | (seeds >= graph.num_pins)
    if unknown.any():
        row = int(unknown.int().argmax())
        raise PinGraphError(
            f"seeds[{row}] is {int(seeds[row])}; "
            f"expected a pin of the graph, 0 to {graph.num_pins - 1}"
        )
