"""Random changes to a pin's content that leave what it is alone. U pins, T tokens."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pingraph.errors import PinGraphError
from pingraph.interfaces import PinContent


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Shifts images and hides tokens.

    Args:
        shift: largest shift of an image to each side, as a share of its width; the border is
            repeated. Default 1/8.
        hide_tokens: share of the tokens hidden from the text tower, one always stays.

    Raises:
        PinGraphError: a share outside 0 to 1.
    """

    shift: float = 0.125
    hide_tokens: float = 0.15

    def __post_init__(self) -> None:
        for name in ("shift", "hide_tokens"):
            if not 0 <= getattr(self, name) < 1:
                raise PinGraphError(f"{name} is {getattr(self, name)}: expected 0 up to below 1")

    def __call__(self, content: PinContent, rng: np.random.Generator) -> PinContent:
        """Return the content changed by draws of `rng` alone."""
        return replace(
            content,
            images=_shifted(content.images, round(self.shift * content.images.shape[-1]), rng),
            token_mask=_hidden(content.token_mask, self.hide_tokens, rng),
        )


def _shifted(images: Tensor, most: int, rng: np.random.Generator) -> Tensor:
    U, _, H, W = images.shape
    top, left = rng.integers(0, 2 * most + 1, size=(2, U, 1))
    if not U or not most:
        return images
    # One padded image at a time stays in the processor's cache; a batch of them does not.
    padded = np.empty((*images.shape[1:2], H + 2 * most, W + 2 * most), dtype=np.uint8)
    shifted = np.empty_like(images.numpy())
    for image, out, y, x in zip(images.numpy(), shifted, top.ravel(), left.ravel(), strict=True):
        padded[:, most : most + H, most : most + W] = image
        padded[:, most : most + H, :most] = image[:, :, :1]
        padded[:, most : most + H, most + W :] = image[:, :, -1:]
        padded[:, :most] = padded[:, most : most + 1]
        padded[:, most + H :] = padded[:, most + H - 1 : most + H]
        out[:] = padded[:, y : y + H, x : x + W]
    return torch.from_numpy(shifted)


def _hidden(mask: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    draws = torch.from_numpy(rng.random(mask.shape))
    draws[~mask] = -1
    # The token with the highest draw of a row stays whatever the share is.
    kept = (draws >= share) | (draws == draws.amax(1, keepdim=True))
    return mask & kept
