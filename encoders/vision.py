"""The hybrid vision transformer: a convolutional stem before a transformer trunk.

The stem gives many fine tokens (texture and edges, where a small data set learns quickest), the
trunk few coarse ones (the whole object). Early convolutions: arXiv 2106.14881; hybrid ViT:
arXiv 2010.11929. U images, C channels.
"""

import torch
from torch import Tensor, nn

from pingraph.encoders.layers import AttentionPool, Block


class HybridVisionTransformer(nn.Module):
    """Turns images into tokens of two granularities and one pooled vector.

    Args:
        image_size: pixels of a side, a multiple of 8.
        dim: channels C of the tokens.
        depth: transformer blocks of the trunk.
        heads: attention heads of a block.
        dropout: share of activations dropped in training.
    """

    STRIDE_FINE = 4
    STRIDE_COARSE = 8
    FINE_TOKENS = 4

    def __init__(self, image_size: int, dim: int, depth: int, heads: int, dropout: float):
        super().__init__()
        side = image_size // self.STRIDE_COARSE
        # Group norm, not batch norm: a pin's vector must not depend on its batch.
        self.stem = nn.Sequential(
            nn.Conv2d(3, dim // 4, kernel_size=3, stride=2, padding=1, bias=False),
            nn.GroupNorm(4, dim // 4),
            nn.GELU(),
            nn.Conv2d(dim // 4, dim // 2, kernel_size=3, stride=2, padding=1, bias=False),
            nn.GroupNorm(4, dim // 2),
            nn.GELU(),
        )
        self.to_fine = nn.Linear(dim // 2, dim)
        self.pool_fine = AttentionPool(dim, heads, queries=self.FINE_TOKENS)
        self.to_coarse = nn.Conv2d(dim // 2, dim, kernel_size=2, stride=2)
        self.positions = nn.Parameter(torch.randn(1, side * side, dim) * 0.02)
        self.trunk = nn.ModuleList(Block(dim, heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.pool_coarse = AttentionPool(dim, heads)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encode.

        Args:
            images: uint8 [U, 3, H, W], RGB.

        Returns:
            Tokens [U, M, C], the coarse grid and then the fine details, and the pooled [U, 2 C].
        """
        pixels = images.to(self.to_fine.weight.dtype) / 127.5 - 1
        features = self.stem(pixels)
        # Pooled at once: many fine tokens would cost the fusion more than all the rest.
        fine = self.pool_fine(self.to_fine(features.flatten(2).transpose(1, 2)))
        coarse = self.to_coarse(features).flatten(2).transpose(1, 2) + self.positions
        for block in self.trunk:
            coarse = block(coarse)
        coarse = self.norm(coarse)
        pooled = torch.cat([self.pool_coarse(coarse).squeeze(1), fine.mean(1)], dim=1)
        return torch.cat([coarse, fine], dim=1), pooled
