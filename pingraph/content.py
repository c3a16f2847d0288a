"""From pins of a data set to what an encoder sees: pixels and tokens. U pins."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from pingraph.encoders.backbone import Backbone
from pingraph.feature_store import cached_features
from pingraph.fingerprint import hash_texts
from pingraph.frozen_features import (
    FeatureReader,
    FeatureSource,
    TextSource,
    frozen_features,
)
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


class SourceReader(Reader, Protocol):
    """Reads pins from where they come from, all of which it knows."""

    @property
    def num_pins(self) -> int:
        """How many pins there are, N."""
        ...

    @property
    def fingerprint(self) -> str:
        """sha256 of what the content of all pins depends on, but for the preparation."""
        ...

    @property
    def source(self) -> FeatureSource:
        """What frozen features are made of."""
        ...

    @property
    def skip_broken(self) -> bool:
        """Whether a pin with a broken image is taken for one without."""
        ...


class ContentReader:
    """Reads the content of the pins of a data set, prepared for an encoder.

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

    @property
    def num_pins(self) -> int:
        """The pins of the data set."""
        return self.dataset.num_pins

    @property
    def fingerprint(self) -> str:
        """sha256 of the data set, the tokenizer and what is done about broken images."""
        data = self.dataset.fingerprint, self.dataset.image_digest
        return hash_texts(*data, self.tokenizer.to_str(), str(self.pixels.skip_broken))

    @property
    def source(self) -> FeatureSource:
        """The data set."""
        return self.dataset

    @property
    def skip_broken(self) -> bool:
        """Whether a pin with a broken image is taken for one without."""
        return self.pixels.skip_broken

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


class TextReader:
    """Reads texts as pins that have no image.

    Args:
        texts: one a pin.
        tokenizer: of the texts.
        preparation: whose images are missing.
    """

    def __init__(self, texts: Sequence[str], tokenizer: Tokenizer, preparation: Preparation):
        self.texts = list(texts)
        self.tokenizer = tokenizer
        self.skip_broken = False
        self.image_size = preparation.image_size

    @property
    def num_pins(self) -> int:
        """How many texts there are."""
        return len(self.texts)

    @property
    def fingerprint(self) -> str:
        """sha256 of the texts and the tokenizer."""
        return hash_texts(self.tokenizer.to_str(), *self.texts)

    @property
    def source(self) -> FeatureSource:
        """The texts, as pins without images."""
        return TextSource(self.texts)

    def read(self, pins: np.ndarray) -> PinContent:
        """Return the content of pins int64 [U]."""
        tokens, mask = encode(self.tokenizer, [self.texts[pin] for pin in pins])
        shape = len(pins), 3, self.image_size, self.image_size
        return PinContent(
            images=torch.zeros(shape, dtype=torch.uint8),
            has_image=torch.zeros(len(pins), dtype=torch.bool),
            tokens=torch.from_numpy(tokens),
            token_mask=torch.from_numpy(mask),
        )


@dataclass(frozen=True)
class BlindReader:
    """Reads pins as if none had an image, or a text.

    Args:
        reader: of the pins as they are.
        sees: "image", "text" or both.
    """

    reader: Reader
    sees: Collection[str]

    def read(self, pins: np.ndarray) -> PinContent:
        """Return the content of pins int64 [U]; errors as of `reader`."""
        content = self.reader.read(pins)
        if "image" not in self.sees:
            content = replace(content, has_image=torch.zeros_like(content.has_image))
        if "text" not in self.sees:
            content = replace(content, token_mask=torch.zeros_like(content.token_mask))
        return content


def reader_for(encoder: Encoder, reader: SourceReader) -> Reader:
    """Return what reads pins for an encoder, from the disk what is frozen of it.

    Args:
        encoder: whose preparation `reader` follows.
        reader: of the pins as they are.

    Raises:
        PinGraphError: the tokens of a frozen backbone, or frozen features, cannot be computed,
            written or read.
        BrokenImageError: an image cannot be decoded, and the reader may not skip it.
    """
    backbone = getattr(encoder, "backbone", None)
    found: Reader = reader
    if isinstance(backbone, Backbone) and backbone.frozen:
        keep_images = getattr(encoder, "looks_at_pixels", False)
        found = cached_features(reader, backbone, keep_images=keep_images)
    if modalities := getattr(encoder, "features", ()):
        features = frozen_features(reader.source, modalities, skip_broken=reader.skip_broken)
        return FeatureReader(found, features)
    return found
