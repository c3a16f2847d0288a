"""A shallow look at a pin: words, coarse pixels and frozen features, each with a vector, summed.

U pins, T tokens, S pixels of a side, D embedding dimension.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pingraph.encoders.features import Modality, ShallowFeatures
from pingraph.encoders.hiding import HiddenNumbers
from pingraph.encoders.layers import unit
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
        weights = F.normalize(self.words.weigh(words, content.token_mask), dim=1)
        vectors = self.words.sum(words, weights) + self._pixels(content)
        return unit(vectors if self.features is None else vectors + self.features(content))

    def _pixels(self, content: PinContent) -> Tensor:
        images = content.images.to(self.middle.dtype) / 255
        coarse = F.adaptive_avg_pool2d(images, self.SIDE).flatten(1) - self.middle
        return self.pixels(self.dropout(unit(coarse))) * content.has_image.unsqueeze(1)
