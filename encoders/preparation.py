"""How images and texts are made ready for the small towers, which learn their own vocabulary."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pingraph.images import load_pixels
from pingraph.tokenization import train_tokenizer

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image
    from tokenizers import Tokenizer


@dataclass(frozen=True, kw_only=True)
class SmallPreparation:
    """Whole images on white; words and parts of words learned from the texts.

    Args:
        image_size: pixels of a side.
        vocab_size: most tokens that the tokenizer learns, at least 2.
        max_tokens: longest text, in tokens.
        known_words: that are tokens beside those, in lower case.
    """

    image_size: int
    vocab_size: int
    max_tokens: int
    known_words: tuple[str, ...] = ()
    hides_tokens: ClassVar[bool] = True

    def pixels(self, image: Image) -> np.ndarray:
        """Return an image as uint8 [3, image_size, image_size], RGB."""
        return load_pixels(image, self.image_size)

    def tokenizer(self, texts: Iterable[str]) -> Tokenizer:
        """Train a tokenizer of words and their parts on texts, which cuts at `max_tokens`."""
        tokenizer = train_tokenizer(texts, self.vocab_size, self.known_words)
        tokenizer.enable_truncation(self.max_tokens)
        return tokenizer
