"""Walks as others make them, to race against: plain and second-order ones.

Every function here returns a sampler that takes seeds, int64 [B], and returns the nodes of one walk
from each, `length` traversals pin → board → pin long, or raises ImportError.
"""

from collections.abc import Callable

import numpy as np
import torch

from pingraph.graph import PinBoardGraph


def numpy_walks(graph: PinBoardGraph, length: int) -> Callable:
    """Return the walk that one would write with NumPy: all walks at once, hop by hop."""
    generator = np.random.default_rng(0)
    sides = (graph.pin_offsets, graph.pin_boards), (graph.board_offsets, graph.board_pins)

    def walk(seeds):
        nodes = np.empty((2 * length + 1, len(seeds)), graph.pin_boards.dtype)
        at = nodes[0] = seeds
        for hop in range(2 * length):
            offsets, neighbors = sides[hop % 2]
            start = offsets[at]
            places = generator.random(len(at)) * (offsets[at + 1] - start)
            at = nodes[hop + 1] = neighbors[start + places.astype(np.int64)]
        return nodes

    return walk


def torch_walks(graph: PinBoardGraph, length: int) -> Callable:
    """Return the same with torch on a CPU."""
    generator = torch.Generator().manual_seed(0)
    sides = (
        (_tensor(graph.pin_offsets), _tensor(graph.pin_boards)),
        (_tensor(graph.board_offsets), _tensor(graph.board_pins)),
    )

    def walk(seeds):
        nodes = [torch.from_numpy(seeds)]
        for hop in range(2 * length):
            offsets, neighbors = sides[hop % 2]
            at = nodes[-1].long()
            start = offsets[at]
            places = torch.rand(len(at), generator=generator, dtype=torch.float64)
            nodes.append(neighbors[start + (places * (offsets[at + 1] - start)).long()])
        return torch.stack([nodes[0].to(nodes[-1].dtype), *nodes[1:]])

    return walk


def torch_cluster_walks(graph: PinBoardGraph, length: int) -> Callable:
    """Return torch-cluster's walk over pins and boards as nodes of one kind."""
    import torch_cluster  # noqa: F401 (registers the operator)

    offsets, neighbors = _as_one_kind(graph)

    def walk(seeds):
        run = torch.ops.torch_cluster.random_walk
        return run(offsets, neighbors, torch.from_numpy(seeds), 2 * length, 1.0, 1.0)

    return walk


def dgl_walks(graph: PinBoardGraph, length: int, dtype: torch.dtype) -> Callable:
    """Return DGL's walk along a metapath."""
    import dgl

    pins, boards = (_tensor(side).to(dtype) for side in graph.edges())
    both = {("pin", "on", "board"): (pins, boards), ("board", "holds", "pin"): (boards, pins)}
    counts = {"pin": graph.num_pins, "board": graph.num_boards}
    mixed = dgl.heterograph(both, num_nodes_dict=counts, idtype=dtype).formats("csr")
    path = ["on", "holds"] * length
    return lambda seeds: dgl.sampling.random_walk(
        mixed, torch.from_numpy(seeds).to(dtype), metapath=path
    )


def dgl_node2vec(graph: PinBoardGraph, length: int, p: float, q: float) -> Callable:
    """Return DGL's node2vec over pins and boards as nodes of one kind.

    There its two parameters are one, and a step looks up an edge, where ours compares two rows: it
    does less.
    """
    import dgl

    offsets, neighbors = _as_one_kind(graph)
    nodes = graph.num_pins + graph.num_boards
    one_kind = dgl.graph(("csr", (offsets, neighbors, torch.empty(0, dtype=torch.int64))))
    assert one_kind.num_nodes() == nodes
    run = dgl.sampling.node2vec_random_walk
    return lambda seeds: run(one_kind, torch.from_numpy(seeds), p, q, 2 * length)


def numpy_node2vec(graph: PinBoardGraph, length: int, p: float, q: float) -> Callable:
    """Return our second-order walk as one would write it with NumPy and SciPy: by rejection."""
    generator = np.random.default_rng(0)
    incidence = graph.incidence()
    worth = np.array([1.0, 1 / p, 1 / q]) / max(1.0, 1 / p, 1 / q)

    def traverse(at):
        for offsets, neighbors in (
            (graph.pin_offsets, graph.pin_boards),
            (graph.board_offsets, graph.board_pins),
        ):
            start = offsets[at]
            places = generator.random(len(at)) * (offsets[at + 1] - start)
            at = neighbors[start + places.astype(np.int64)]
        return at

    def walk(seeds):
        nodes = [seeds, traverse(seeds)]
        for _ in range(length - 1):
            before, at = nodes[-2:]
            following = np.empty_like(at)
            left = np.arange(len(at))
            while left.size:
                proposed = traverse(at[left])
                shared = incidence[before[left]].multiply(incidence[proposed]).sum(axis=1) > 0
                kind = np.where(proposed == before[left], 1, np.where(shared, 0, 2))
                accepted = generator.random(len(left)) < worth[kind]
                following[left[accepted]] = proposed[accepted]
                left = left[~accepted]
            nodes.append(following)
        return nodes

    return walk


def _as_one_kind(graph: PinBoardGraph) -> tuple[torch.Tensor, torch.Tensor]:
    """Return CSR offsets and neighbors in which board j is node num_pins + j."""
    offsets = np.append(graph.pin_offsets, graph.num_edges + graph.board_offsets[1:])
    boards = graph.pin_boards.astype(np.int64) + graph.num_pins
    return torch.from_numpy(offsets), torch.from_numpy(np.append(boards, graph.board_pins))


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(array))  # torch warns of read-only arrays, so a copy
