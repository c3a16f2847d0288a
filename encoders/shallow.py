"""A shallow look at a pin: words, coarse pixels and frozen features, each with a vector, summed.

U pins, T tokens, S pixels of a side, D embedding dimension.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional as F

from pingraph.encoders.features import Modality, ShallowFeatures, feature_of
from pingraph.encoders.hiding import HiddenNumbers
from pingraph.encoders.layers import unit
from pingraph.encoders.ridge import Group, solve_ridge
from pingraph.encoders.vocabulary import Vocabulary, Words, WordVectors
from pingraph.interfaces import PinContent


class ShallowLook(nn.Module):
    """Embeds a pin by one matrix: the sum of the vectors of its words, pixels and features.

    A map without layers knows no context, but learns from few pins, and goes on to gain where deep
    towers know their pins by heart; so it stands beside them (Wide & Deep, arXiv 1606.07792).
    Words are weighted as in the text tower, and those of a text count together as a vector of
    length 1, as coarse pixels do.

    Args:
        vocabulary: of the tokens.
        embed_dim: dimension D.
        features: modalities whose frozen features are looked at.
        dropout: share of the pixels' and of the features' numbers hidden in training.
    """

    SIDE = 16  # pixels that are told apart, of a side
    PENALTY = 0.3  # of the ridge regression, in mean squared lengths of what is seen of a pin
    PIXELS = 0.5  # what the pixels count there beside the other groups of numbers

    def __init__(
        self,
        vocabulary: Vocabulary,
        embed_dim: int,
        features: tuple[Modality, ...] = (),
        dropout: float = 0.0,
    ):
        super().__init__()
        self.words = WordVectors(vocabulary, embed_dim)
        self.dropout = HiddenNumbers(dropout)
        self.pixels = nn.Linear(3 * self.SIDE**2, embed_dim, bias=False)
        self.middle = nn.Parameter(torch.full((3 * self.SIDE**2,), 0.5))
        nn.init.normal_(self.pixels.weight, std=0.02)
        self.features = ShallowFeatures(features, embed_dim, dropout) if features else None

    def forward(self, content: PinContent, words: Words) -> Tensor:
        """Return [U, D], of length 1; zero where a pin has neither image nor text.

        Args:
            content: of the pins.
            words: its tokens, as the vocabulary gives them.
        """
        weights = self._weights(content, words)
        pixels = self.pixels(self.dropout(self._pixels(content)))
        vectors = self.words.sum(words, weights) + pixels
        return unit(vectors if self.features is None else vectors + self.features(content))

    @torch.no_grad()
    def solve(self, seen: Iterable[tuple[PinContent, Words]], targets: np.ndarray) -> float:
        """Set all matrices at once, so that what is seen of pins makes their targets.

        By ridge regression, and of the result the D main components: reduced-rank regression
        (Izenman 1975). Vectors come out about 1 long before `forward` makes them so.

        Args:
            seen: the content of n pins, some at a time, and its tokens.
            targets: float32 [n, K], of whom each pin belongs to; rotated, they give the same.

        Returns:
            What can be told of pins unseen, 0 to 1: the mean cosine, 0 if it is below, between the
            targets of a tenth of the pins, drawn, and what a solution of the others makes of them.
        """
        parts = [self._groups(content, words) for content, words in seen]
        groups = {name: _stacked([part[name] for part in parts]) for name in parts[0]}
        lengths = {name: _length(group) for name, group in groups.items()}
        counts = {
            name: self.PIXELS if name == "pixels" else 1.0 for name in groups if lengths[name]
        }
        scales = {
            name: math.sqrt(count / sum(counts.values())) / lengths[name]
            for name, count in counts.items()
        }
        scaled = [groups[name] * scale for name, scale in scales.items()]
        found = solve_ridge(scaled, targets, penalty=self.PENALTY)
        made = _products(scaled, found)
        axes = np.linalg.eigh(made.T @ made)[1][:, ::-1][:, : self.pixels.out_features]
        length = np.sqrt(np.square(made @ axes).sum(1).mean())
        axes = axes / max(length, np.finfo(np.float32).tiny)
        matrices = dict(zip(scales, found, strict=True))
        for name, group in groups.items():
            absent = np.zeros((group.shape[1], len(axes)), np.float32)
            self._set(name, scales.get(name, 0.0) * matrices.get(name, absent) @ axes)
        return self._foresight(scaled, targets)

    def _foresight(self, groups: list[Group], targets: np.ndarray) -> float:
        held = np.zeros(len(targets), bool)
        drawn = np.random.default_rng(0).permutation(len(targets))
        held[drawn[: -(-len(targets) // 10)]] = True
        found = solve_ridge(
            [group[~held] for group in groups], targets[~held], penalty=self.PENALTY
        )
        told, truth = _products([group[held] for group in groups], found), targets[held]
        lengths = np.linalg.norm(told, axis=1) * np.linalg.norm(truth, axis=1)
        there = lengths > 0
        cosines = (told * truth).sum(1)[there] / lengths[there]
        return max(0.0, float(cosines.mean())) if len(cosines) else 0.0

    def _weights(self, content: PinContent, words: Words) -> Tensor:
        return F.normalize(self.words.weigh(words, content.token_mask), dim=1)

    def _pixels(self, content: PinContent) -> Tensor:
        images = content.images.to(self.middle.dtype) / 255
        coarse = F.adaptive_avg_pool2d(images, self.SIDE).flatten(1) - self.middle
        return unit(coarse) * content.has_image.unsqueeze(1)

    def _groups(self, content: PinContent, words: Words) -> dict[str, Group]:
        """What the matrices are multiplied with, [U, F] each."""
        weights = self._weights(content, words)
        pins, places = content.token_mask.nonzero(as_tuple=True)
        tokens = words.learned[words.places][pins, places]
        learned = tokens != self.words.learned.padding_idx
        entries = [one[learned].cpu().numpy() for one in (weights[pins, places], pins, tokens)]
        shape = len(weights), self.words.learned.num_embeddings
        groups: dict[str, Group] = {"words": sparse.csr_array((entries[0], entries[1:]), shape)}
        if words.known is not None:
            known = words.known.to(weights.dtype)
            bags = F.embedding_bag(words.places, known, per_sample_weights=weights, mode="sum")
            groups["lexicon"] = bags.cpu().numpy()
        groups["pixels"] = self._pixels(content).cpu().numpy()
        for name in self._maps():
            features, present = feature_of(content, name)
            groups[name] = (features.float() * present.unsqueeze(1)).cpu().numpy()
        return groups

    def _set(self, name: str, matrix: np.ndarray) -> None:
        """Set the weights of a group to a matrix [F, at most D]."""
        made = torch.from_numpy(np.ascontiguousarray(matrix))
        made = F.pad(made, (0, self.pixels.out_features - matrix.shape[1]))
        layer = self._layers()[name]
        layer.weight.copy_(made if name == "words" else made.T)
        if getattr(layer, "bias", None) is not None:
            layer.bias.zero_()

    def _layers(self) -> dict[str, Any]:
        """The matrices of the groups of numbers, by name."""
        lexicon = {} if self.words.map is None else {"lexicon": self.words.map}
        return {"words": self.words.learned, **lexicon, "pixels": self.pixels, **self._maps()}

    def _maps(self) -> dict[str, Any]:
        return {} if self.features is None else dict(self.features.maps.items())


def _products(groups: list[Group], matrices: list[np.ndarray]) -> np.ndarray:
    return np.sum([group @ w for group, w in zip(groups, matrices, strict=True)], axis=0)


def _length(group: Group) -> float:
    """The root of the mean square of the rows that are not 0; 0 where all are."""
    square = abs(group).power(2).sum(1) if sparse.issparse(group) else np.square(group).sum(1)
    present = square[square > 0]
    return math.sqrt(present.mean()) if len(present) else 0.0


def _stacked(parts: list[Group]) -> Group:
    if sparse.issparse(parts[0]):
        return sparse.vstack(parts, format="csr")
    return np.concatenate(parts)
