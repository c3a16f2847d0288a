"""Graph encoders on frozen features of content, trained on our walks: GraphSAGE and PinSage.

Letters: N pins, F features, D dimensions, E edges from a neighbor to the pin whose neighbor it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from pingraph.datasets import PinBoardDataset
from pingraph.evaluation import dot_scorer
from pingraph.experiments.methods.features import content_features
from pingraph.interfaces import Sampler
from pingraph.ranking import Scorer
from pingraph.splits import Split

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

TEMPERATURE = 0.07


class GraphSAGE:
    """PyG's SAGEConv over walk neighbors, on words and pixels that stay as they are.

    A pin's neighbors are those that the sampler finds in training. A pair of pins is positive when
    a walk from one leads to the other, each as likely as its visits; negatives are the other pins
    of the batch but for those with a shared board (softmax, temperature 0.07). A cold pin has no
    neighbors and is embedded by its features alone; so that it is not new to the model, each pin of
    a step goes without its neighbors with a chance of `hide`.

    Source: Hamilton et al., Inductive Representation Learning on Large Graphs, NeurIPS 2017
    (arXiv 1706.02216).

    Args:
        dim: dimensions of the hidden layer and the embeddings.
        layers: hops.
        steps: of the optimizer (Adam).
        batch_size: pairs of a step.
        learning_rate: of Adam.
        hide: share of the pins of a step that go without their neighbors.
        words: features of a text.
        pixels: features of an image.
        sampler: finds neighbors; PinSAGESampler(k=10) if not given.
    """

    weighted = False

    def __init__(
        self,
        dim: int = 128,
        layers: int = 2,
        steps: int = 600,
        batch_size: int = 512,
        learning_rate: float = 0.003,
        hide: float = 0.5,
        words: int = 256,
        pixels: int = 128,
        sampler: Sampler | None = None,
    ):
        self.dim, self.layers, self.steps, self.batch_size = dim, layers, steps, batch_size
        self.learning_rate, self.hide = learning_rate, hide
        self.words, self.pixels, self.sampler = words, pixels, sampler

    def scorers(self, dataset: PinBoardDataset, split: Split, *, seed: int) -> Mapping[str, Scorer]:
        """Train, and return scorers of "pin_to_pin" and "board_to_pins" by cosine."""
        features = content_features(dataset, split, words=self.words, pixels=self.pixels, seed=seed)
        vectors = self.embedded(dataset, split, features, seed=seed)
        members = split.train_graph(dataset.graph).incidence().T.tocsr()
        members.data[:] = 1
        return {
            "pin_to_pin": dot_scorer(vectors, lambda pins: vectors[pins]),
            "board_to_pins": dot_scorer(vectors, lambda boards: members[boards] @ vectors),
        }

    def embedded(
        self, dataset: PinBoardDataset, split: Split, features: np.ndarray, *, seed: int
    ) -> np.ndarray:
        """Train on features [N, F] and return unit vectors, float32 [N, D]."""
        import torch
        from torch.nn.functional import normalize

        from pingraph.samplers import PinSAGESampler
        from pingraph.samplers.torch_hops import edge_index

        torch.manual_seed(seed)
        graph = split.train_graph(dataset.graph)
        sampler = self.sampler or PinSAGESampler(k=10, num_walks=200)
        edges, weights = edge_index(sampler.sample(graph, np.arange(graph.num_pins), seed=seed))
        x = torch.from_numpy(features)
        model = self.model(x.shape[1])
        optimizer = torch.optim.Adam(model.parameters(), lr=self.learning_rate)
        boards = graph.incidence().tocsr()
        for _ in range(self.steps):
            shown = torch.rand(len(x))[edges[1]] >= self.hide
            pairs = edges[:, torch.multinomial(weights, self.batch_size)]
            vectors = normalize(model(x, edges[:, shown], weights[shown]))
            loss = _contrast(vectors, pairs, boards)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.inference_mode():
            return normalize(model(x, edges, weights)).numpy()

    def model(self, width: int) -> nn.Module:
        """Return the layers, from (features, edges, weights) to [N, D]."""
        from torch import nn
        from torch_geometric.nn import GraphConv, SAGEConv

        weighted = self.weighted

        class Layers(nn.Module):
            def __init__(self, dim: int, layers: int):
                super().__init__()
                widths = [width, *[dim] * layers]
                kind = GraphConv if weighted else SAGEConv
                self.convolutions = nn.ModuleList(
                    kind(one, other) for one, other in pairwise(widths)
                )

            def forward(self, x: Tensor, edges: Tensor, weights: Tensor) -> Tensor:
                for place, convolution in enumerate(self.convolutions):
                    x = x.relu() if place else x
                    x = convolution(x, edges, weights) if weighted else convolution(x, edges)
                return x

        return Layers(self.dim, self.layers)


class PinSage(GraphSAGE):
    """The same with importance pooling: neighbors are summed by their share of the walk's visits.

    PyG's GraphConv does so. What the paper has beside it, hard negatives by walk rank and a
    curriculum of them, is not here.

    Source: Ying et al., Graph Convolutional Neural Networks for Web-Scale Recommender Systems, KDD
    2018 (arXiv 1806.01973), section 3.2. The arguments are those of GraphSAGE.
    """

    weighted = True


def _contrast(vectors: Tensor, pairs: Tensor, boards) -> torch.Tensor:
    """Return the softmax loss of pairs [2, B], board-mates no negatives of each other."""
    import torch

    found, pins = pairs
    logits = vectors[pins] @ vectors[found].T / TEMPERATURE
    mates = (boards[pins.numpy()] @ boards[found.numpy()].T).toarray() > 0
    known = torch.from_numpy(mates) | (pins[:, None] == found) | (found[:, None] == found)
    known.fill_diagonal_(False)
    return torch.nn.functional.cross_entropy(
        logits.masked_fill(known, -torch.inf), torch.arange(len(pins))
    )
