"""Fusion of image and text: early over their tokens, late over their vectors, or both.

U pins, T text tokens, M image tokens, C channels, D embedding dimension.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from pingraph.encoders.layers import AttentionPool, Block, unit
from pingraph.errors import PinGraphError

FusionKind = Literal["hybrid", "early", "late"]


class Fusion(nn.Module):
    """Fuses what a pin has; a missing modality is masked out.

    Early: the text's tokens look at the image's by cross-attention, and all of them are pooled by
    attention. Late: the image's and the text's embeddings are mixed by gates that see both (gated
    multimodal units, arXiv 1702.01992). Hybrid: the gates mix three, the early one among them.

    Before they are mixed, a matrix turns each part. The image of one pin and the text of another
    live in one space, where their similarity would count like that of two images; turned apart they
    are nearly at right angles, and what is left is each part beside its like. The turns are learned
    from random rotations.

    Args:
        kind: early, late or hybrid.
        dim: channels C of the tokens.
        embed_dim: dimension D of the embeddings.
        heads: attention heads.
        dropout: share of activations dropped in training.
    """

    def __init__(self, kind: FusionKind, dim: int, embed_dim: int, heads: int, dropout: float):
        super().__init__()
        if kind not in get_args(FusionKind):
            raise PinGraphError(f"fusion is {kind!r}: expected hybrid, early or late")
        early, parts = kind != "late", {"early": 0, "late": 2, "hybrid": 3}[kind]
        self.tokens = TokenFusion(dim, embed_dim, heads, dropout) if early else None
        self.gates = nn.Linear(parts * embed_dim, parts) if parts else None
        self.turns = nn.ParameterList(rotation(embed_dim) for _ in range(parts))

    def forward(
        self,
        image_tokens: Tensor,
        image_mask: Tensor,
        image: Tensor,
        text_tokens: Tensor,
        text_mask: Tensor,
        text: Tensor,
    ) -> Tensor:
        """Fuse.

        Args:
            image_tokens: [U, M, C].
            image_mask: bool [U, M], a row of false where there is no image.
            image: [U, D], of length 1; zero where there is no image.
            text_tokens: [U, T, C].
            text_mask: bool [U, T], a row of false where there is no text.
            text: [U, D], of length 1; zero where there is no text.

        Returns:
            [U, D], not normalized.
        """
        parts = [image, text]
        if self.tokens is not None:
            parts.append(unit(self.tokens(image_tokens, image_mask, text_tokens, text_mask)))
        if self.gates is None:
            return parts[-1]
        gates = torch.sigmoid(self.gates(torch.cat(parts, dim=1)))
        turned = [part @ turn for part, turn in zip(parts, self.turns, strict=True)]
        return (gates.unsqueeze(2) * torch.stack(turned, dim=1)).sum(1)


def rotation(size: int) -> Tensor:
    """Return a random rotation, [size, size]."""
    return nn.init.orthogonal_(torch.empty(size, size))


class TokenFusion(nn.Module):
    """Cross-attention from text to image, and one vector pooled from the tokens of both."""

    def __init__(self, dim: int, embed_dim: int, heads: int, dropout: float):
        super().__init__()
        self.nothing = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.cross = Block(dim, heads, dropout)
        self.pool = AttentionPool(dim, heads)
        self.project = nn.Linear(dim, embed_dim)

    def forward(
        self, image_tokens: Tensor, image_mask: Tensor, text_tokens: Tensor, text_mask: Tensor
    ) -> Tensor:
        """Return [U, D]; arguments as of `Fusion.forward`."""
        U = len(image_tokens)
        # One key is always visible: a softmax over no keys at all would be NaN.
        keys = torch.cat([self.nothing.expand(U, -1, -1), image_tokens], dim=1)
        keys_mask = torch.cat([image_mask.new_ones(U, 1), image_mask], dim=1)
        text_tokens = self.cross(text_tokens, keys, keys_mask, text_mask)
        everything = torch.cat([keys, text_tokens], dim=1)
        pooled = self.pool(everything, torch.cat([keys_mask, text_mask], dim=1))
        return self.project(pooled.squeeze(1))
