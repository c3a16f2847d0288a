"""The plainest method that learns from content and graph: one matrix."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pingraph.datasets import PinBoardDataset
from pingraph.encoders.lexicon import MINILM
from pingraph.evaluation import fused_scorers
from pingraph.experiments.methods.features import (
    content_features,
    lexicon_features,
    word_parts,
)
from pingraph.experiments.methods.walk_pairs import embed_all, train_on_walks
from pingraph.frozen_features import TextSource, frozen_features
from pingraph.interfaces import Sampler
from pingraph.propagation import Propagation
from pingraph.ranking import Scorer
from pingraph.splits import Split


class LinearContent:
    """A matrix from words, their parts and main components of pixels to an embedding.

    The words and their pretrained vectors are those of `pingraph fit`, titles of boards among them,
    and so are the pairs that it is trained on. So what the towers of an encoder are worth is what
    they have above this.

    Args:
        dim: dimensions of the embeddings.
        steps: of the optimizer (Adam); 600 if not given, or 10 passes over the pins where that is
            more.
        batch_size: pairs of a step.
        learning_rate: of Adam.
        words: words and parts of words, at most.
        pixels: features of an image.
        lexicon: whose vectors of words come along, as of `SmallBackbone`.
        pretrained: whether frozen features come along, as of `HybridEncoder`.
        dropout: share of all numbers that a step goes without; less in a training of few passes
            over the pins, as of `HiddenNumbers`.
        sampler: finds neighbors; PinSAGESampler(k=50) if not given.
        propagated: whether walks are added to the vectors once they are trained (`Propagation`).
    """

    def __init__(
        self,
        dim: int = 128,
        steps: int | None = None,
        batch_size: int = 512,
        learning_rate: float = 0.003,
        words: int = 16384,
        pixels: int = 128,
        lexicon: str = MINILM,
        pretrained: bool = True,
        dropout: float = 0.5,
        sampler: Sampler | None = None,
        propagated: bool = False,
    ):
        self.dim, self.steps, self.batch_size = dim, steps, batch_size
        self.learning_rate, self.words, self.pixels = learning_rate, words, pixels
        self.lexicon, self.pretrained, self.dropout = lexicon, pretrained, dropout
        self.sampler, self.propagated = sampler, propagated

    def scorers(self, dataset: PinBoardDataset, split: Split, *, seed: int) -> Mapping[str, Scorer]:
        """Train, and return scorers of "pin_to_pin" and "board_to_pins" by cosine."""
        import torch
        from torch.nn.functional import dropout, normalize

        from pingraph.samplers import PinSAGESampler
        from pingraph.training_pins import TrainingPins

        torch.manual_seed(seed)
        pins = TrainingPins.of(dataset, split)
        graph, known = pins.graph, pins.texts(dataset)
        sampler = self.sampler or PinSAGESampler(k=50)
        found = sampler.sample(graph, np.arange(graph.num_pins), seed=seed)
        texts = dataset.texts + pins.titles
        words = word_parts(texts, known, words=self.words)
        dense = content_features(dataset, split, words=0, pixels=self.pixels, seed=seed)
        dense = np.pad(dense, [(0, len(pins.titles)), (0, 0)])
        dense = np.concatenate([dense, lexicon_features(texts, known, self.lexicon)], axis=1)
        frozen = self._frozen(dataset, pins.titles)
        maps = [
            torch.nn.Parameter(0.02 * torch.randn(part.shape[1], self.dim))
            for part in (words, dense, frozen)
        ]

        def embed(rows: np.ndarray, share: float = 0.0) -> torch.Tensor:
            seen = (words[rows].toarray(), dense[rows], frozen[rows])
            parts = [dropout(torch.from_numpy(part), share) for part in seen]
            products = [part @ to for part, to in zip(parts, maps, strict=True)]
            return normalize(torch.stack(products).sum(0))

        train_on_walks(
            embed,
            maps,
            found,
            graph,
            split.train_pins,
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            dropout=self.dropout,
        )
        vectors, graph = embed_all(embed, dataset.num_pins), split.train_graph(dataset.graph)
        scorers = fused_scorers(vectors, graph)
        if self.propagated:
            added = Propagation()
            moved = added.vectors(vectors, graph, seed=seed)
            scorers["pin_to_pin"] = added.scorer(moved, graph, seed=seed)
        return scorers

    def _frozen(self, dataset: PinBoardDataset, titles: list[str]) -> np.ndarray:
        """The frozen features of pins and titles, float32 [N + M, F], F 0 without them."""
        if not self.pretrained:
            return np.zeros((dataset.num_pins + len(titles), 0), np.float32)
        found = [frozen_features(source) for source in (dataset, TextSource(titles))]
        rows = [np.concatenate([one["image"], one["text"]], axis=1) for one in found]
        return np.concatenate(rows).astype(np.float32)
