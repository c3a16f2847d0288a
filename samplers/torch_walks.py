"""The random walks of the CPU kernels as tensors of a GPU: same numbers, same traces.

All walks of a batch take each step together. Tensors have fixed sizes: a walk that has ended is
masked, not removed, so that nothing waits for the device between the steps.

Letters: B seeds, W walks of a seed, L traversals of a walk at most.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from pingraph.errors import PinGraphError
from pingraph.samplers.requests import check_share, check_whole
from pingraph.samplers.torch_graph import DeviceGraph
from pingraph.samplers.torch_randomness import draw, epoch_key, pick, shift_right


def walk_tensors(
    graph: DeviceGraph,
    seeds: Tensor,
    *,
    num_walks: int,
    walk_length: int,
    restart_probability: float = 0.0,
    seed: int,
    epoch: int = 0,
) -> tuple[Tensor, Tensor]:
    """Return the traces of walks from each seed: (pins [B, W, L + 1], boards [B, W, L]).

    They are those of `pingraph.interfaces.Walks`, bit for bit, as tensors of the graph's device in
    the dtypes of its neighbors: pins[:, :, 0] are the seeds; -1 stands after a walk's end.

    Args:
        graph: where to walk.
        seeds: int64 [B] on any device, dense pin indices; repeats are allowed.
        num_walks: W, walks from each seed.
        walk_length: L, traversals pin → board → pin of a walk, at most.
        restart_probability: in [0, 1), the probability to stop after a traversal.
        seed: the random seed, 0 to 2⁶⁴ - 1.
        epoch: another epoch gives fresh walks; 0 to 2⁶⁴ - 1.

    Raises:
        PinGraphError: a seed is not a pin of the graph, or an argument is out of its range.
    """
    check_whole("num_walks", num_walks, least=1, most=2**20)
    check_whole("walk_length", walk_length, least=1, most=2**20)
    check_share("restart_probability", restart_probability)
    check_seed_tensor(graph, seeds)
    key = call_key(seed, epoch)
    seeds = seeds.to(graph.device)
    shape = len(seeds), num_walks, walk_length
    pins = graph.board_pins.new_full((*shape[:2], walk_length + 1), -1)
    boards = graph.pin_boards.new_full(shape, -1)
    pins[:, :, 0] = seeds[:, None]
    walked = traversals(graph, seeds, num_walks, walk_length, restart_probability, key)
    for step, (board, pin, walking) in enumerate(walked):
        boards[:, :, step] = torch.where(walking, board, -1)
        pins[:, :, step + 1] = torch.where(walking, pin, -1)
    return pins, boards


def traversals(
    graph: DeviceGraph,
    seeds: Tensor,
    num_walks: int,
    walk_length: int,
    restart_probability: float,
    key: Tensor,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield the board, the pin and whether the walk goes there, each [B, W], step by step.

    A walk that has ended goes on all the same, and one that cannot start starts elsewhere: what
    they meet is masked, and every place that is read exists.
    """
    if not graph.num_edges:
        return
    go_on = round((1 - restart_probability) * 2**53)
    connected = graph.pin_offsets[seeds] < graph.pin_offsets[seeds + 1]
    at = torch.where(connected, seeds, graph.board_pins[0].long())[:, None].expand(-1, num_walks)
    walking = connected[:, None].expand(-1, num_walks)
    keys = draw(draw(key, seeds)[:, None], torch.arange(num_walks, device=graph.device))
    for step in range(walk_length):
        board, rest = _hop(graph.pin_offsets, graph.pin_boards, at, draw(keys, step))
        pin, rest = _hop(graph.board_offsets, graph.board_pins, board.long(), rest)
        yield board, pin, walking
        at = pin.long()
        walking = walking & (shift_right(rest, 11) < go_on)


def _hop(offsets: Tensor, neighbors: Tensor, at: Tensor, word: Tensor) -> tuple[Tensor, Tensor]:
    """Return a neighbor of each node `at`, chosen by its word, and what is left of the word."""
    start = offsets[at]
    place, rest = pick(word, offsets[at + 1] - start)
    return neighbors[start + place], rest


def call_key(seed: int, epoch: int) -> Tensor:
    """Return the `epoch_key` of a call; raise a PinGraphError if a part is out of range."""
    check_whole("seed", seed, least=0, most=2**64 - 1)
    check_whole("epoch", epoch, least=0, most=2**64 - 1)
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
