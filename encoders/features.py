"""What frozen features become in an encoder: a token of a tower, and a part of the shallow look.

Frozen features are what pretrained models make of an image and of a text, as they stand.
U pins, F numbers of a feature, C channels, D embedding dimension.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from pingraph.encoders import efficientnet, minilm
from pingraph.encoders.hiding import HiddenNumbers
from pingraph.errors import PinGraphError
from pingraph.interfaces import PinContent

Modality = Literal["image", "text"]
WIDTHS: dict[str, int] = {"image": efficientnet.WIDTH, "text": minilm.WIDTH}
_LENGTH = 4.0  # of a feature before it becomes a token: the longer, the sooner is its map learned


class FeatureToken(nn.Module):
    """Makes a token, [U, C], of features [U, F] of length 1.

    Args:
        modality: of what the features are.
        dim: channels C.
        dropout: share of the features' numbers hidden in training.
    """

    def __init__(self, modality: Modality, dim: int, dropout: float):
        super().__init__()
        self.map = _map(modality, dim, 1 / _LENGTH)  # numbers of the token are about 1
        self.dropout = HiddenNumbers(dropout)

    def forward(self, features: Tensor) -> Tensor:
        """Return the token."""
        return self.map(self.dropout(features.to(self.map.weight.dtype)) * _LENGTH)


class ShallowFeatures(nn.Module):
    """Makes a vector, [U, D], of all features of a pin, by one matrix for each modality.

    Args:
        modalities: whose features are looked at.
        embed_dim: dimension D.
        dropout: share of the features' numbers hidden in training.
    """

    def __init__(self, modalities: tuple[Modality, ...], embed_dim: int, dropout: float):
        super().__init__()
        self.maps = nn.ModuleDict({name: _map(name, embed_dim, 0.02) for name in modalities})
        self.dropout = HiddenNumbers(dropout)

    def forward(self, content: PinContent) -> Tensor:
        """Return the sum over the modalities; of one that a pin lacks there is nothing."""
        parts, dtype = [], next(self.parameters()).dtype
        for name, to in self.maps.items():
            features, present = feature_of(content, name)
            parts.append(to(self.dropout(features.to(dtype))) * present.unsqueeze(1))
        return torch.stack(parts).sum(0)


def feature_of(content: PinContent, modality: str) -> tuple[Tensor, Tensor]:
    """Return the features [U, F] of a modality, and which pins have it, bool [U].

    Raises:
        PinGraphError: a pin has the modality, but no features came along.
    """
    if modality == "image":
        features, present = content.image_features, content.has_image
    else:
        features, present = content.text_features, content.token_mask.any(1)
    if features is None:
        if present.any():
            raise PinGraphError(f"content with {modality}s, but without their frozen features")
        features = torch.zeros(len(present), WIDTHS[modality], device=present.device)
    return features, present


def _map(modality: str, out: int, std: float) -> nn.Linear:
    made = nn.Linear(WIDTHS[modality], out)
    nn.init.normal_(made.weight, std=std)
    nn.init.zeros_(made.bias)
    return made
