"""From pins of a data set to what an encoder sees: pixels and tokens. U pins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from pingraph.interfaces import PinContent, Preparation
from pingraph.pixel_store import OnBrokenImage, PixelStore
from pingraph.tokenization import encode

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from pingraph.datasets import PinBoardDataset


class ContentReader:
    """Reads the content of pins, prepared for an encoder.

    Args:
        dataset: the pins.
        tokenizer: of their texts.
        preparation: makes pixels of their images.
        on_broken_image: "raise" stops with the pin's id, "skip" takes it for a pin without image.
    """

    def __init__(
        self,
        dataset: PinBoardDataset,
        tokenizer: Tokenizer,
        preparation: Preparation,
        *,
        on_broken_image: OnBrokenImage = "raise",
    ):
        self.dataset = dataset
        self.tokenizer = tokenizer
        self.pixels = PixelStore(dataset, preparation, on_broken_image=on_broken_image)

    def read(self, pins: np.ndarray) -> PinContent:
        """Return the content of pins int64 [U].

        Raises:
            BrokenImageError: an image cannot be decoded and broken ones are not skipped.
        """
        images, has_image = self.pixels.read(pins)
        texts = [self.dataset.texts[pin] for pin in pins]
        tokens, mask = encode(self.tokenizer, texts)
        return PinContent(
            images=torch.from_numpy(images),
            has_image=torch.from_numpy(has_image),
            tokens=torch.from_numpy(tokens),
            token_mask=torch.from_numpy(mask),
        )
