"""From pins of a data set to what an encoder sees: pixels and tokens. U pins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from pingraph.encoders.backbone import Backbone
from pingraph.feature_store import cached_features
from pingraph.interfaces import Encoder, PinContent, Preparation
from pingraph.pixel_store import OnBrokenImage, PixelStore
from pingraph.tokenization import encode

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from pingraph.datasets import PinBoardDataset


class Reader(Protocol):
    """Reads the content of pins."""

    def read(self, pins: np.ndarray) -> PinContent:
        """Return the content of pins int64 [U].

        Raises:
            BrokenImageError: an image cannot be decoded and broken ones are not skipped.
        """
        ...


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


def reader_for(encoder: Encoder, reader: ContentReader) -> Reader:
    """Return what reads pins for an encoder: from the disk, where its backbone is frozen.

    Args:
        encoder: whose preparation `reader` follows.
        reader: of the pins as they are.

    Raises:
        PinGraphError: the tokens of a frozen backbone cannot be computed, written or read.
    """
    backbone = getattr(encoder, "backbone", None)
    if isinstance(backbone, Backbone) and backbone.frozen:
        looks_at_pixels = getattr(encoder, "stem", None) is not None
        return cached_features(reader, backbone, keep_images=looks_at_pixels)
    return reader
