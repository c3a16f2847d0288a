"""Fusion of image and text at two levels: their tokens (cross-attention) and their vectors (gates).

U pins, T text tokens, M image tokens, C channels, D embedding dimension.
"""

import torch
from torch import Tensor, nn

from pingraph.encoders.layers import AttentionPool, Block


class HybridFusion(nn.Module):
    """Fuses what a pin has; a missing modality is masked out of both levels.

    Tokens: the text's tokens look at the image's by cross-attention, and all of them are pooled by
    attention. Vectors: the image's, the text's and the pooled tokens' embeddings are mixed by
    gates that see all three (gated multimodal units, arXiv 1702.01992).

    Args:
        dim: channels C of the tokens.
        embed_dim: dimension D of the embeddings.
        heads: attention heads.
        dropout: share of activations dropped in training.
    """

    def __init__(self, dim: int, embed_dim: int, heads: int, dropout: float):
        super().__init__()
        self.nothing = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.cross = Block(dim, heads, dropout)
        self.pool = AttentionPool(dim, heads)
        self.project = nn.Linear(dim, embed_dim)
        self.gates = nn.Linear(3 * embed_dim, 3)

    def forward(
        self,
        image_tokens: Tensor,
        has_image: Tensor,
        image: Tensor,
        text_tokens: Tensor,
        token_mask: Tensor,
        text: Tensor,
    ) -> Tensor:
        """Fuse.

        Args:
            image_tokens: [U, M, C].
            has_image: bool [U].
            image: [U, D], of length 1; zero where there is no image.
            text_tokens: [U, T, C].
            token_mask: bool [U, T], a row of false where there is no text.
            text: [U, D], of length 1; zero where there is no text.

        Returns:
            [U, D], not normalized.
        """
        U, M, _ = image_tokens.shape
        # One key is always visible: a softmax over no keys at all would be NaN.
        always = has_image.new_ones(U, 1)
        nothing = self.nothing.expand(U, -1, -1)
        image_mask = torch.cat([always, has_image.unsqueeze(1).expand(U, M)], dim=1)
        image_keys = torch.cat([nothing, image_tokens], dim=1)
        text_tokens = self.cross(text_tokens, image_keys, image_mask)
        tokens = self.pool(
            torch.cat([image_keys, text_tokens], dim=1), torch.cat([image_mask, token_mask], dim=1)
        )
        tokens = nn.functional.normalize(self.project(tokens.squeeze(1)), dim=1)
        gates = torch.sigmoid(self.gates(torch.cat([image, text, tokens], dim=1)))
        parts = torch.stack([image, text, tokens], dim=1)
        return (gates.unsqueeze(2) * parts).sum(1)
