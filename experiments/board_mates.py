"""What the examples with PyG and DGL learn: which pins share a board by a save they do not see.

A tenth of the saves is hidden. To go by there are the words of the texts and the other saves.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pingraph.datasets import PinBoardDataset, open_dataset
from pingraph.evaluation import evaluate_scorers
from pingraph.graph import PinBoardGraph
from pingraph.splits import EdgeSplit, Split

WORDS = 512  # places that the words of a text are hashed to


@dataclass(frozen=True, kw_only=True)
class BoardMates:
    """A data set with hidden saves; N pins.

    Args:
        dataset: the data set with all saves.
        split: says which saves are hidden.
    """

    dataset: PinBoardDataset
    split: Split

    @classmethod
    def open(cls, data: str, *, seed: int) -> BoardMates:
        """Open a data set folder, "icons" or "world", and hide a tenth of its saves by the seed."""
        dataset = open_dataset(data)
        return cls(dataset=dataset, split=EdgeSplit(fraction=0.1, seed=seed).split(dataset))

    @cached_property
    def graph(self) -> PinBoardGraph:
        """The graph without the hidden saves."""
        return self.split.train_graph(self.dataset.graph)

    @cached_property
    def words(self) -> np.ndarray:
        """float32 [N, WORDS]: the words of each text, hashed, of length 1; 0 without text."""
        from sklearn.feature_extraction.text import HashingVectorizer

        hashing = HashingVectorizer(n_features=WORDS, alternate_sign=False, dtype=np.float32)
        return hashing.transform(self.dataset.texts).toarray()

    def recall(self, vectors: np.ndarray) -> float:
        """Return recall@10 of hidden mates by the cosine of vectors [N, D], known ones left out."""
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit = vectors / np.where(lengths > 0, lengths, 1)
        scorers = {"pin_to_pin": lambda queries: unit[queries] @ unit.T}
        found = evaluate_scorers(scorers, self.dataset, self.split).to_dict()
        return found["warm"]["pin_to_pin"]["recall@10"]["value"]
