"""Convolutions over pixels: the fine details, which patches of many pixels blur.

U images, S pixels of a side, C channels, F tokens of details.
"""

from torch import Tensor, nn

from pingraph.encoders.layers import AttentionPool


class ConvolutionalStem(nn.Module):
    """Turns pixels into a fine grid, and the grid into a few tokens that attend to all of it.

    Texture and edges are what a small data set teaches quickest. Early convolutions: arXiv
    2106.14881.

    Args:
        dim: channels C of the tokens, a multiple of 16 and of `heads`.
        heads: attention heads.
        tokens: tokens F that the details are pooled into.
    """

    STRIDE = 4

    def __init__(self, dim: int, heads: int, tokens: int = 4):
        super().__init__()
        # Group norm, not batch norm: a pin's vector must not depend on its batch.
        self.convolutions = nn.Sequential(
            nn.Conv2d(3, dim // 4, kernel_size=3, stride=2, padding=1, bias=False),
            nn.GroupNorm(4, dim // 4),
            nn.GELU(),
            nn.Conv2d(dim // 4, dim // 2, kernel_size=3, stride=2, padding=1, bias=False),
            nn.GroupNorm(4, dim // 2),
            nn.GELU(),
        )
        self.project = nn.Linear(dim // 2, dim)
        self.pool = AttentionPool(dim, heads, queries=tokens)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Look closely.

        Args:
            images: uint8 [U, 3, S, S], RGB.

        Returns:
            The details [U, F, C] and the fine grid [U, C / 2, S / 4, S / 4].
        """
        grid = self.convolutions(images.to(self.project.weight.dtype) / 127.5 - 1)
        # Pooled at once: many fine tokens would cost the fusion more than all the rest.
        details = self.pool(self.project(grid.flatten(2).transpose(1, 2)))
        return details, grid
