"""The hybrid vision transformer: a convolutional stem before a transformer trunk.

The stem gives many fine tokens, the trunk few coarse ones (the whole object). Hybrid ViT: arXiv
2010.11929. U images, S pixels of a side, C channels.
"""

import torch
from torch import Tensor, nn

from pingraph.encoders.layers import Block
from pingraph.encoders.stem import ConvolutionalStem
from pingraph.interfaces import Tokens


class HybridVisionTransformer(nn.Module):
    """Turns images into tokens of two granularities.

    Args:
        image_size: pixels S of a side, a multiple of 8.
        dim: channels C of the tokens, a multiple of 16 and of `heads`.
        depth: transformer blocks of the trunk.
        heads: attention heads of a block.
        dropout: share of activations dropped in training.
    """

    STRIDE = 2 * ConvolutionalStem.STRIDE
    LEVELS = 2

    def __init__(self, image_size: int, dim: int, depth: int, heads: int, dropout: float):
        super().__init__()
        side = image_size // self.STRIDE
        self.stem = ConvolutionalStem(dim, heads)
        self.to_coarse = nn.Conv2d(dim // 2, dim, kernel_size=2, stride=2)
        self.positions = nn.Parameter(torch.randn(1, side * side, dim) * 0.02)
        self.trunk = nn.ModuleList(Block(dim, heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)

    def forward(self, images: Tensor) -> Tokens:
        """Encode images uint8 [U, 3, S, S], RGB.

        Returns:
            Tokens before the trunk and after it, the details first and then the coarse grid; as
            summary the mean of the details, [U, C].
        """
        details, grid = self.stem(images)
        shallow = self.to_coarse(grid).flatten(2).transpose(1, 2) + self.positions
        deep = shallow
        for block in self.trunk:
            deep = block(deep)
        levels = tuple(
            torch.cat([details, patches], dim=1) for patches in (shallow, self.norm(deep))
        )
        visible = torch.ones(levels[0].shape[:2], dtype=torch.bool, device=images.device)
        return Tokens(levels=levels, mask=visible, pooled=details.mean(1))
