"""What pretrained towers share: how pixels are scaled, and from which depths tokens are taken.

U images, S pixels of a side, M tokens, C channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pingraph.errors import PinGraphError

LEVELS = (0.33, 0.67, 1.0)


class Scaling(nn.Module):
    """What an image processor does to pixels after it has resized and cropped them.

    Args:
        processor: an image processor of `transformers`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, processor: Any):
        super().__init__()
        self.factor = processor.rescale_factor if processor.do_rescale else 1.0
        normalize = processor.do_normalize
        mean = torch.as_tensor(processor.image_mean if normalize else 0.0, dtype=torch.float32)
        std = torch.as_tensor(processor.image_std if normalize else 1.0, dtype=torch.float32)
        self.register_buffer("mean", mean.expand(3).clone()[:, None, None], persistent=False)
        self.register_buffer("std", std.expand(3).clone()[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return images uint8 [U, 3, S, S] as the float [U, 3, S, S] that the model takes."""
        return (images.to(self.mean.dtype) * self.factor - self.mean) / self.std


class Depths:
    """The layers of a tower after which tokens are taken; the last one always is.

    Args:
        shares: of the tower's depth, ascending, the last 1; those that fall on one layer are one.
        layers: how many layers the tower has.

    Raises:
        PinGraphError: the shares do not ascend from above 0 up to 1.
    """

    def __init__(self, shares: tuple[float, ...], layers: int):
        ascending = all(low < high for low, high in zip((0, *shares), shares, strict=False))
        if not shares or not ascending or shares[-1] != 1:
            raise PinGraphError(f"levels is {shares}: expected shares ascending from above 0 to 1")
        *middle, _ = sorted({max(1, round(share * layers)) for share in shares})
        self.middle: list[int] = middle
        self.layers = layers

    def __len__(self) -> int:
        return len(self.middle) + 1

    def arguments(self, last: bool = False) -> dict[str, Any]:
        """Return what makes a model of `transformers` keep the states after these layers.

        Args:
            last: whether those after the last layer are needed too, before any norm.
        """
        return {"output_hidden_states": [*self.middle, *[self.layers] * last] or False}

    def taken(self, output: Any, last: Tensor) -> tuple[Tensor, ...]:
        """Return the levels [U, M, C] of a model's output; `last` comes after the final norm."""
        return (*(output.hidden_states[depth] for depth in self.middle), last)
