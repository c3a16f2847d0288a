"""The plainest method that learns from content and graph: one matrix."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pingraph.datasets import PinBoardDataset
from pingraph.encoders.lexicon import MINILM
from pingraph.experiments.methods.features import (
    content_features,
    lexicon_features,
    word_parts,
)
from pingraph.experiments.methods.walk_pairs import cosine_scorers, embed_all, train_on_walks
from pingraph.interfaces import Sampler
from pingraph.ranking import Scorer
from pingraph.splits import Split


class LinearContent:
    """A matrix from words, their parts and main components of pixels to an embedding.

    The words and their pretrained vectors are those of `pingraph fit`, titles of boards among them,
    and the pairs it is trained on are those of `GraphSAGE`. So what the towers of an encoder are
    worth is what they have above this.

    Args:
        dim: dimensions of the embeddings.
        steps: of the optimizer (Adam).
        batch_size: pairs of a step.
        learning_rate: of Adam.
        words: words and parts of words, at most.
        pixels: features of an image.
        lexicon: whose vectors of words come along, as of `SmallBackbone`.
        sampler: finds neighbors; PinSAGESampler(k=50) if not given.
    """

    def __init__(
        self,
        dim: int = 128,
        steps: int = 600,
        batch_size: int = 512,
        learning_rate: float = 0.003,
        words: int = 16384,
        pixels: int = 128,
        lexicon: str = MINILM,
        sampler: Sampler | None = None,
    ):
        self.dim, self.steps, self.batch_size = dim, steps, batch_size
        self.learning_rate, self.words, self.pixels = learning_rate, words, pixels
        self.lexicon, self.sampler = lexicon, sampler

    def scorers(self, dataset: PinBoardDataset, split: Split, *, seed: int) -> Mapping[str, Scorer]:
        """Train, and return scorers of "pin_to_pin" and "board_to_pins" by cosine."""
        import torch
        from torch.nn.functional import normalize

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
        of_words = torch.nn.Parameter(0.02 * torch.randn(words.shape[1], self.dim))
        of_dense = torch.nn.Parameter(0.02 * torch.randn(dense.shape[1], self.dim))

        def embed(rows: np.ndarray) -> torch.Tensor:
            seen = torch.from_numpy(words[rows].toarray()) @ of_words
            return normalize(seen + torch.from_numpy(dense[rows]) @ of_dense)

        train_on_walks(
            embed,
            [of_words, of_dense],
            found,
            graph.incidence().tocsr(),
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
        )
        vectors = embed_all(embed, dataset.num_pins)
        return cosine_scorers(vectors, split.train_graph(dataset.graph))
