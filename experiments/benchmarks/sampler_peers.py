"""PinSAGE neighbors as others compute them, to race against: DGL, torch-cluster, NumPy, torch.

Every function here takes seeds, int64 [B], and returns ids [B, k] and counts [B, k] or what the
library gives instead; `Task` says which graph and which walks.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pingraph.graph import PinBoardGraph


@dataclass(frozen=True, kw_only=True)
class Task:
    """What all contestants do alike."""

    graph: PinBoardGraph
    k: int
    num_walks: int
    walk_length: int
    restart_probability: float


def numpy_by_hand(task: Task) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return the sampler that one would write with NumPy: all walks at once, sorted, counted."""
    generator = np.random.default_rng(0)
    graph, walks, steps, k = task.graph, task.num_walks, task.walk_length, task.k

    def hop(at, offsets, neighbors):
        start = offsets[at]
        places = generator.random(len(at)) * (offsets[at + 1] - start)
        return neighbors[start + places.astype(np.int64)]

    def sample(seeds):
        rows = np.repeat(np.arange(len(seeds)), walks)
        at, visits = seeds[rows], []
        for step in range(steps):
            if step:
                on = generator.random(len(rows), np.float32) >= task.restart_probability
                rows, at = rows[on], at[on]
            at = hop(at, graph.pin_offsets, graph.pin_boards)
            at = hop(at, graph.board_offsets, graph.board_pins)
            others = at != seeds[rows]
            visits.append(rows[others] * graph.num_pins + at[others])
        visits = np.concatenate(visits)
        visits.sort()
        first = np.flatnonzero(np.append(True, visits[1:] != visits[:-1]))
        counts = np.diff(np.append(first, len(visits)))
        rows, pins = np.divmod(visits[first], graph.num_pins)
        order = np.argsort((rows + 1) * (walks * steps + 1) - counts, kind="stable")
        ranks = np.arange(len(order)) - np.searchsorted(rows, np.arange(len(seeds)))[rows]
        order, rows, ranks = order[ranks < k], rows[ranks < k], ranks[ranks < k]
        return _filled(len(seeds), k, rows, ranks, pins[order], counts[order])

    return sample


def _filled(size, k, rows, ranks, pins, counts):
    ids, visits = np.full((size, k), -1), np.zeros((size, k), np.int32)
    ids[rows, ranks], visits[rows, ranks] = pins, counts
    return ids, visits


def torch_by_hand(task: Task) -> Callable[[np.ndarray], tuple[Tensor, Tensor]]:
    """Return the sampler that one would write with torch on a CPU."""
    generator = torch.Generator().manual_seed(0)
    graph = task.graph
    pin_side = _tensor(graph.pin_offsets), _tensor(graph.pin_boards)
    board_side = _tensor(graph.board_offsets), _tensor(graph.board_pins)

    def hop(at, offsets, neighbors):
        start = offsets[at]
        places = torch.rand(len(at), generator=generator, dtype=torch.float64)
        return neighbors[start + (places * (offsets[at + 1] - start)).long()].long()

    def sample(seeds):
        seeds = torch.from_numpy(seeds)
        rows = torch.arange(len(seeds)).repeat_interleave(task.num_walks)
        at, visits = seeds[rows], []
        for step in range(task.walk_length):
            if step:
                on = torch.rand(len(rows), generator=generator) >= task.restart_probability
                rows, at = rows[on], at[on]
            at = hop(hop(at, *pin_side), *board_side)
            others = at != seeds[rows]
            visits.append(rows[others] * graph.num_pins + at[others])
        return _most_visited(task, len(seeds), torch.cat(visits))

    return sample


def torch_cluster_sampler(task: Task) -> Callable[[np.ndarray], tuple[Tensor, Tensor]]:
    """Return torch-cluster's walk of full length, cut by coins, counted as in `torch_by_hand`.

    Raises ImportError without torch-cluster, which has no wheels for every torch.
    """
    import torch_cluster  # noqa: F401 (registers the operator)

    graph, length = task.graph, task.walk_length
    offsets = np.append(graph.pin_offsets, graph.num_edges + graph.board_offsets[1:])
    neighbors = np.append(graph.pin_boards.astype(np.int64) + graph.num_pins, graph.board_pins)
    offsets, neighbors = torch.from_numpy(offsets), torch.from_numpy(neighbors)
    generator = torch.Generator().manual_seed(0)

    def sample(seeds):
        seeds = torch.from_numpy(seeds)
        rows = torch.arange(len(seeds)).repeat_interleave(task.num_walks)
        walk = torch.ops.torch_cluster.random_walk
        nodes, _ = walk(offsets, neighbors, seeds[rows], 2 * length, 1.0, 1.0)
        coins = torch.rand(len(rows), length - 1, generator=generator) >= task.restart_probability
        visited = nodes[:, 2::2] != seeds[rows][:, None]
        visited[:, 1:] &= coins.int().cumprod(dim=1).bool()
        keys = rows[:, None] * graph.num_pins + nodes[:, 2::2]
        return _most_visited(task, len(seeds), keys[visited])

    return sample


def _most_visited(task: Task, size: int, visits: Tensor) -> tuple[Tensor, Tensor]:
    visits, counts = torch.unique_consecutive(visits.sort().values, return_counts=True)
    rows, pins = visits // task.graph.num_pins, visits % task.graph.num_pins
    most = task.num_walks * task.walk_length + 1
    order = torch.argsort((rows + 1) * most - counts, stable=True)
    ranks = torch.arange(len(order)) - torch.searchsorted(rows, torch.arange(size))[rows]
    kept = ranks < task.k
    order, rows, ranks = order[kept], rows[kept], ranks[kept]
    ids = torch.full((size, task.k), -1)
    visits = torch.zeros((size, task.k), dtype=torch.int32)
    ids[rows, ranks], visits[rows, ranks] = pins[order], counts[order].int()
    return ids, visits


def dgl_sampler(task: Task, dtype: torch.dtype) -> Callable[[np.ndarray], object]:
    """Return DGL's PinSAGESampler on a graph of int32 or int64 indices.

    It differs from ours in one thing: a seed may be among its own neighbors.
    """
    import dgl

    pins, boards = (_tensor(side).to(dtype) for side in task.graph.edges())
    graph = dgl.heterograph(
        {("pin", "on", "board"): (pins, boards), ("board", "holds", "pin"): (boards, pins)},
        num_nodes_dict={"pin": task.graph.num_pins, "board": task.graph.num_boards},
        idtype=dtype,
    )
    graph = graph.formats("csr")
    sampler = dgl.sampling.PinSAGESampler(
        graph,
        "pin",
        "board",
        num_traversals=task.walk_length,
        termination_prob=task.restart_probability,
        num_random_walks=task.num_walks,
        num_neighbors=task.k,
    )
    return lambda seeds: sampler(torch.from_numpy(seeds).to(dtype))


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(array))  # torch warns of read-only arrays, so a copy
