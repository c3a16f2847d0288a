"""Graph encoders on frozen features of content, trained on our walks: GraphSAGE and PinSage.

Letters: N pins, F features, D dimensions, B pins of a batch, k neighbors of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from pingraph.datasets import PinBoardDataset
from pingraph.encoders.lexicon import MINILM
from pingraph.evaluation import fused_scorers
from pingraph.experiments.methods.features import content_features
from pingraph.experiments.methods.walk_pairs import embed_all, train_on_walks
from pingraph.interfaces import Neighbors, Sampler
from pingraph.ranking import Scorer
from pingraph.splits import Split

if TYPE_CHECKING:
    from torch import Tensor, nn


class GraphSAGE:
    """Two layers of PyG's SAGEConv over walk neighbors, on words and pixels that stay as they are.

    A pin's neighbors are those that the sampler finds in training, and it is trained on pairs
    (`train_on_walks`), more of them, since so many are too many to aggregate. A cold pin has no
    neighbors and is embedded by its features alone; so that it is not new to the model, each pin of
    a step goes without its neighbors with a chance of `hide` (DropoutNet, Volkovs et al., NeurIPS
    2017). Titles of boards are no pins here.

    Source: Hamilton et al., Inductive Representation Learning on Large Graphs, NeurIPS 2017
    (arXiv 1706.02216).

    Args:
        dim: dimensions of the hidden layer and the embeddings.
        steps: of the optimizer (Adam); 600 if not given, or 10 passes over the pins where that is
            more.
        batch_size: pairs of a step.
        learning_rate: of Adam.
        hide: share of the pins of a step that go without their neighbors.
        words: features of a text.
        pixels: features of an image.
        lexicon: whose vectors of words come along, as of `SmallBackbone`.
        pretrained: whether frozen features come along, as of `HybridEncoder`.
        dropout: share of the numbers of features that a step goes without; less in a training of
            few passes over the pins, as of `HiddenNumbers`.
        sampler: finds the neighbors that are aggregated; PinSAGESampler(k=10) if not given.
        pairs: finds those that are trained on; PinSAGESampler(k=50) if not given.
    """

    weighted = False

    def __init__(
        self,
        dim: int = 128,
        steps: int | None = None,
        batch_size: int = 512,
        learning_rate: float = 0.003,
        hide: float = 0.5,
        words: int = 256,
        pixels: int = 128,
        lexicon: str = MINILM,
        pretrained: bool = True,
        dropout: float = 0.5,
        sampler: Sampler | None = None,
        pairs: Sampler | None = None,
    ):
        self.dim, self.steps, self.batch_size = dim, steps, batch_size
        self.learning_rate, self.hide = learning_rate, hide
        self.words, self.pixels, self.lexicon = words, pixels, lexicon
        self.pretrained, self.dropout = pretrained, dropout
        self.sampler, self.pairs = sampler, pairs

    def scorers(self, dataset: PinBoardDataset, split: Split, *, seed: int) -> Mapping[str, Scorer]:
        """Train, and return scorers of "pin_to_pin" and "board_to_pins" by cosine."""
        features = content_features(
            dataset,
            split,
            words=self.words,
            pixels=self.pixels,
            lexicon=self.lexicon,
            pretrained=self.pretrained,
            seed=seed,
        )
        vectors = self.embedded(dataset, split, features, seed=seed)
        return fused_scorers(vectors, split.train_graph(dataset.graph))

    def embedded(
        self, dataset: PinBoardDataset, split: Split, features: np.ndarray, *, seed: int
    ) -> np.ndarray:
        """Train on features [N, F] and return unit vectors, float32 [N, D]."""
        import torch
        from torch.nn.functional import dropout, normalize

        from pingraph.samplers import PinSAGESampler

        torch.manual_seed(seed)
        graph = split.train_graph(dataset.graph)
        everyone = np.arange(graph.num_pins)
        found = (self.sampler or PinSAGESampler(k=10)).sample(graph, everyone, seed=seed)
        pairs = (self.pairs or PinSAGESampler(k=50)).sample(graph, everyone, seed=seed)
        x = torch.from_numpy(features)
        first, second = self.layers(features.shape[1])

        def embed(pins: np.ndarray, hide: float, share: float) -> Tensor:
            near, inner = _hop(pins, found, hide)
            far, outer = _hop(near, found, hide)
            seen = dropout(x[far], share)
            hidden = self.passed(first, seen, len(near), outer).relu()
            return normalize(self.passed(second, hidden, len(pins), inner))

        train_on_walks(
            lambda pins, share: embed(pins, self.hide, share),
            [*first.parameters(), *second.parameters()],
            pairs,
            graph,
            split.train_pins,
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            dropout=self.dropout,
        )
        return embed_all(lambda pins: embed(pins, 0, 0), len(x))

    def layers(self, width: int) -> tuple[nn.Module, nn.Module]:
        """Return the two convolutions."""
        from torch_geometric.nn import GraphConv, SAGEConv

        kind = GraphConv if self.weighted else SAGEConv
        return kind(width, self.dim), kind(self.dim, self.dim)

    def passed(self, layer: nn.Module, x: Tensor, count: int, edges: tuple) -> Tensor:
        """Return what a convolution makes of the first `count` nodes."""
        ends, weights = edges
        return layer((x, x[:count]), ends, *([weights] if self.weighted else []))


class PinSage(GraphSAGE):
    """The same with importance pooling: neighbors are summed by their share of the walk's visits.

    PyG's GraphConv does so. What the paper has beside it, hard negatives by walk rank and a
    curriculum of them, is not here.

    Source: Ying et al., Graph Convolutional Neural Networks for Web-Scale Recommender Systems, KDD
    2018 (arXiv 1806.01973), section 3.2. The arguments are those of GraphSAGE.
    """

    weighted = True


def _hop(pins: np.ndarray, found: Neighbors, hide: float) -> tuple[np.ndarray, tuple]:
    """Return the nodes around pins [B], these first, and the edges to them with their weights."""
    import torch

    from pingraph.samplers.torch_hops import to_hop

    arrays = {name: getattr(found, name)[pins] for name in ("ids", "weights", "scores", "mask")}
    hop = to_hop(pins, Neighbors(seeds=pins, **arrays))
    shown = (torch.rand(len(pins)) >= hide)[hop.targets]
    ends = torch.from_numpy(np.stack([hop.sources, hop.targets]))
    return hop.nodes, (ends[:, shown], torch.from_numpy(hop.weights)[shown])
