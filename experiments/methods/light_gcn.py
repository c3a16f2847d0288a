"""LightGCN: vectors of pins and boards that are averaged along the saves, without content.

Letters: N nodes (pins, then boards), D dimensions, B saves of a step.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from pingraph.datasets import PinBoardDataset
from pingraph.graph import PinBoardGraph
from pingraph.ranking import Scorer
from pingraph.splits import Split

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class LightGCN:
    """LightGCN on the saves of training, with the loss of Bayesian personalized ranking.

    A step draws saves, and for each a random pin that the board lacks. Pins are near by the cosine
    of their vectors, boards and pins by the dot product that was trained. A pin without saves has
    but its random start, so cold pins are not asked.

    Source: He et al., LightGCN, SIGIR 2020 (arXiv 2002.02126); the loss of Rendle et al., UAI 2009
    (arXiv 1205.2618). The vectors are those of PyG's LightGCN, in a tenth of its time.

    Args:
        dim: of the vectors.
        layers: hops.
        steps: of the optimizer (Adam).
        batch_size: saves of a step.
        learning_rate: of Adam.
        penalty: of the squared vectors of a step, per save.
    """

    warm_only = True

    def __init__(
        self,
        dim: int = 64,
        layers: int = 3,
        steps: int = 1000,
        batch_size: int = 2048,
        learning_rate: float = 0.01,
        penalty: float = 1e-3,
    ):
        self.dim, self.layers, self.steps = dim, layers, steps
        self.batch_size, self.learning_rate, self.penalty = batch_size, learning_rate, penalty

    def scorers(self, dataset: PinBoardDataset, split: Split, *, seed: int) -> Mapping[str, Scorer]:
        """Train, and return scorers of "pin_to_pin" and "board_to_pins"."""
        pins, boards = self.vectors(split.train_graph(dataset.graph), seed=seed)
        lengths = np.linalg.norm(pins, axis=1, keepdims=True)
        unit = pins / np.where(lengths > 0, lengths, 1)
        return {
            "pin_to_pin": lambda queries: unit[queries] @ unit.T,
            "board_to_pins": lambda queries: boards[queries] @ pins.T,
        }

    def vectors(self, graph: PinBoardGraph, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Train on all saves of a graph, and return the vectors of its pins and of its boards.

        Both are float32 [pins or boards, D]. What was trained is the dot product of the two.
        """
        import torch

        matrix = normalized(graph)
        start = self._trained_start(graph, matrix, seed)
        with torch.inference_mode():
            found = spread(start, matrix, self.layers).numpy()
        return found[: graph.num_pins], found[graph.num_pins :]

    def _trained_start(self, graph: PinBoardGraph, matrix: Tensor, seed: int) -> Tensor:
        """Return the vectors [N, D] that `spread` averages, the only parameters."""
        import torch
        from torch.nn.functional import logsigmoid

        torch.manual_seed(seed)
        pins, boards = (torch.from_numpy(ends.astype(np.int64)) for ends in graph.edges())
        known, _ = (boards * graph.num_pins + pins).sort()
        start = torch.nn.Embedding(len(matrix), self.dim)
        torch.nn.init.xavier_uniform_(start.weight)
        optimizer = torch.optim.Adam(start.parameters(), lr=self.learning_rate)
        for _ in range(self.steps):
            drawn = torch.randint(len(pins), (self.batch_size,))
            near, board = pins[drawn], boards[drawn]
            far = _lacking(known, board, graph.num_pins)
            vectors = spread(start.weight, matrix, self.layers)
            rows = board + graph.num_pins
            gap = (vectors[rows] * (vectors[near] - vectors[far])).sum(1)
            size = start(torch.cat([rows, near, far])).pow(2).sum() / self.batch_size
            loss = -logsigmoid(gap).mean() + self.penalty * size
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return start.weight


def normalized(graph: PinBoardGraph) -> Tensor:
    """Return the adjacency of pins and boards over the roots of both degrees, sparse [N, N]."""
    import torch

    pins, boards = (torch.from_numpy(ends.astype(np.int64)) for ends in graph.edges())
    count = graph.num_pins + graph.num_boards
    ends = torch.stack([torch.cat([pins, boards + graph.num_pins]), torch.cat([boards, pins])])
    ends[1, : len(pins)] += graph.num_pins
    roots = torch.bincount(ends[0], minlength=count).clamp(min=1).float().rsqrt()
    weights = roots[ends[0]] * roots[ends[1]]
    with warnings.catch_warnings():  # torch calls its sparse rows new, and leaves checks out
        warnings.simplefilter("ignore", UserWarning)
        return torch.sparse_coo_tensor(ends, weights, (count, count)).coalesce().to_sparse_csr()


def spread(start: Tensor, matrix: Tensor, layers: int) -> Tensor:
    """Return the mean over 0 to `layers` hops of vectors [N, D] along a symmetric sparse matrix."""
    import torch

    class Hop(torch.autograd.Function):
        # torch would transpose the matrix anew for each gradient.
        @staticmethod
        def forward(context, vectors: Tensor) -> Tensor:
            return matrix @ vectors

        @staticmethod
        def backward(context, gradient: Tensor) -> Tensor:
            return matrix @ gradient

    total = vectors = start
    for _ in range(layers):
        vectors = Hop.apply(vectors)
        total = total + vectors
    return total / (layers + 1)


def _lacking(known: Tensor, boards: Tensor, num_pins: int) -> torch.Tensor:
    """Draw a pin for each board that it lacks, int64 [B]; after ten tries any.

    Args:
        known: int64, board times num_pins plus pin of each save, ascending.
        boards: int64 [B].
        num_pins: pins of the graph.
    """
    import torch

    pins = torch.randint(num_pins, boards.shape)
    for _ in range(10):
        keys = boards * num_pins + pins
        places = torch.searchsorted(known, keys).clamp(max=len(known) - 1)
        taken = known[places] == keys
        if not taken.any():
            break
        pins = torch.where(taken, torch.randint(num_pins, boards.shape), pins)
    return pins
