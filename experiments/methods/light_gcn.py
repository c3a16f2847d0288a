"""LightGCN: vectors of pins and boards that are averaged along the saves, without content."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pingraph.datasets import PinBoardDataset
from pingraph.ranking import Scorer
from pingraph.splits import Split


class LightGCN:
    """PyG's LightGCN on the saves of training, with the loss of Bayesian personalized ranking.

    A step draws saves, and for each a random pin that the board lacks. Pins are near by the cosine
    of their vectors, boards and pins by the dot product that was trained. A pin without saves has
    but its random start, so cold pins are not asked.

    Source: He et al., LightGCN, SIGIR 2020 (arXiv 2002.02126); the loss of Rendle et al., UAI 2009
    (arXiv 1205.2618).

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
        penalty: float = 1e-4,
    ):
        self.dim, self.layers, self.steps = dim, layers, steps
        self.batch_size, self.learning_rate, self.penalty = batch_size, learning_rate, penalty

    def scorers(self, dataset: PinBoardDataset, split: Split, *, seed: int) -> Mapping[str, Scorer]:
        """Train, and return scorers of "pin_to_pin" and "board_to_pins"."""
        graph = split.train_graph(dataset.graph)
        vectors = self._trained(*graph.edges(), graph.num_pins, graph.num_boards, seed)
        pins, boards = vectors[: graph.num_pins], vectors[graph.num_pins :]
        lengths = np.linalg.norm(pins, axis=1, keepdims=True)
        unit = pins / np.where(lengths > 0, lengths, 1)
        return {
            "pin_to_pin": lambda queries: unit[queries] @ unit.T,
            "board_to_pins": lambda queries: boards[queries] @ pins.T,
        }

    def _trained(
        self, pins: np.ndarray, boards: np.ndarray, num_pins: int, num_boards: int, seed: int
    ) -> np.ndarray:
        import torch
        from torch_geometric.nn import LightGCN as Model

        torch.manual_seed(seed)
        saves = torch.from_numpy(np.stack([pins, boards + num_pins]).astype(np.int64))
        edges = torch.cat([saves, saves.flip(0)], dim=1)
        known = torch.from_numpy(np.sort(boards.astype(np.int64) * num_pins + pins))
        model = Model(num_pins + num_boards, self.dim, self.layers)
        optimizer = torch.optim.Adam(model.parameters(), lr=self.learning_rate)
        for _ in range(self.steps):
            near, board = saves[:, torch.randint(saves.shape[1], (self.batch_size,))]
            far = _drawn(known, board - num_pins, num_pins)
            vectors = model.get_embedding(edges)
            gap = (vectors[board] * (vectors[near] - vectors[far])).sum(1)
            start = model.embedding.weight[torch.cat([board, near, far])]
            size = start.pow(2).sum() / self.batch_size
            loss = -torch.nn.functional.logsigmoid(gap).mean() + self.penalty * size
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.inference_mode():
            return model.get_embedding(edges).numpy()


def _drawn(known, boards, num_pins: int):
    """Draw a pin for each board that it lacks, int64 [B]; after ten tries any."""
    import torch

    pins = torch.randint(num_pins, boards.shape)
    for _ in range(10):
        taken = torch.isin(boards * num_pins + pins, known)
        if not taken.any():
            break
        pins = torch.where(taken, torch.randint(num_pins, boards.shape), pins)
    return pins
