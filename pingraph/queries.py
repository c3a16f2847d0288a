"""The content of what is searched with and is no pin: a text, or an image file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from pingraph.errors import PinGraphError
from pingraph.interfaces import PinContent
from pingraph.tokenization import encode

if TYPE_CHECKING:
    from pingraph.runs import Run


def text_content(run: Run, text: str) -> PinContent:
    """Return the content of one pin that has only this text.

    Raises:
        PinGraphError: the text is blank.
    """
    tokens, mask = encode(run.tokenizer, [text], run.encoder.max_tokens)
    if not mask.any():
        raise PinGraphError(f"the text {text!r} holds no word to search with")
    size = run.encoder.image_size
    return _content(np.zeros((3, size, size), np.uint8), False, tokens, mask)


def image_content(run: Run, path: Path) -> PinContent:
    """Return the content of one pin that has only this image.

    Raises:
        PinGraphError: the file is missing or no image.
    """
    from PIL import Image

    from pingraph.images import load_pixels

    try:
        with Image.open(path) as image:
            pixels = load_pixels(image, run.encoder.image_size)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise PinGraphError(f"{path}: not an image that can be read ({error})") from error
    return _content(pixels, True, np.zeros((1, 1), np.int64), np.zeros((1, 1), bool))


def _content(
    pixels: np.ndarray, has_image: bool, tokens: np.ndarray, mask: np.ndarray
) -> PinContent:
    return PinContent(
        images=torch.from_numpy(pixels[None]),
        has_image=torch.tensor([has_image]),
        tokens=torch.from_numpy(tokens),
        token_mask=torch.from_numpy(mask),
    )
