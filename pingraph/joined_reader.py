"""Pins of two readers as those of one. U pins that are read, M tokens."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from pingraph.content import Reader
from pingraph.interfaces import PinContent, Tokens


class JoinedReader:
    """Reads pins from two readers, the second of which goes on where the first ends.

    Args:
        first: reads the first pins.
        count: how many those are.
        second: its pin 0 is pin `count` here.
    """

    def __init__(self, first: Reader, count: int, second: Reader):
        self.first, self.count, self.second = first, count, second

    def read(self, pins: np.ndarray) -> PinContent:
        """Return the content of pins int64 [U], ascending.

        Raises:
            BrokenImageError: an image cannot be decoded and broken ones are not skipped.
        """
        end = int(np.searchsorted(pins, self.count))
        if end == len(pins):
            return self.first.read(pins)
        if end == 0:
            return self.second.read(pins - self.count)
        return _joined(self.first.read(pins[:end]), self.second.read(pins[end:] - self.count))


def _joined(one: PinContent, other: PinContent) -> PinContent:
    return PinContent(
        images=_stacked(one.images, other.images),
        has_image=_stacked(one.has_image, other.has_image),
        tokens=_stacked(one.tokens, other.tokens),
        token_mask=_stacked(one.token_mask, other.token_mask),
        image_tokens=_joined_tokens(one.image_tokens, other.image_tokens),
        text_tokens=_joined_tokens(one.text_tokens, other.text_tokens),
        image_features=_joined_features(one.image_features, other.image_features),
        text_features=_joined_features(one.text_features, other.text_features),
    )


def _joined_features(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    return None if one is None or other is None else torch.cat([one, other])


def _joined_tokens(one: Tokens | None, other: Tokens | None) -> Tokens | None:
    if one is None or other is None:
        return None
    return Tokens(
        levels=tuple(map(_stacked, one.levels, other.levels)),
        mask=_stacked(one.mask, other.mask),
        pooled=_stacked(one.pooled, other.pooled),
    )


def _stacked(one: Tensor, other: Tensor) -> Tensor:
    """Stack [U, M, ...] on [U', M', ...]; the one of fewer tokens is padded with zeros."""
    if one.ndim > 1:
        width = max(one.shape[1], other.shape[1])
        one, other = (
            pad(part, (0, 0) * (part.ndim - 2) + (0, width - part.shape[1]))
            for part in (one, other)
        )
    return torch.cat([one, other])
