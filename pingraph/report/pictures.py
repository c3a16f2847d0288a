"""Small pictures of pins for the report: data URIs, and many in one sprite sheet."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from pingraph.datasets import BrokenImageError
from pingraph.images import load_pixels

if TYPE_CHECKING:
    from pingraph.datasets import PinBoardDataset

SPRITE_COLUMNS = 50
_QUALITY = 72


class Pictures:
    """Reads the pictures of a data set's pins, and remembers which of them are broken.

    Args:
        dataset: the data set.
    """

    def __init__(self, dataset: PinBoardDataset):
        self.dataset = dataset
        self.broken: set[int] = set()

    def small(self, pin: int, side: int) -> Image.Image | None:
        """Return the picture of a pin, RGB [side, side], or None where it has none or a broken one.

        An image that is smaller is enlarged; pixel art keeps its edges.
        """
        try:
            pixels = self.dataset.decode(
                pin, lambda image: load_pixels(image, min(side, max(image.size)))
            )
        except BrokenImageError:
            self.broken.add(pin)
            return None
        if pixels is None:
            return None
        image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
        coarse = 2 * image.width <= side
        method = Image.Resampling.NEAREST if coarse else Image.Resampling.BICUBIC
        return image if image.width == side else image.resize((side, side), method)

    def uris(self, pins: Iterable[int], side: int) -> dict[int, str]:
        """Return the pictures of pins as data URIs; pins without one are left out."""
        distinct = sorted(set(pins))
        with ThreadPoolExecutor() as pool:  # decoding releases the GIL
            images = list(pool.map(lambda pin: self.small(pin, side), distinct))
        return {
            pin: _uri(image)
            for pin, image in zip(distinct, images, strict=True)
            if image is not None
        }

    def sprite(self, pins: list[int], side: int) -> tuple[str, list[int]]:
        """Return one image that holds many pictures row by row, as a data URI.

        Returns:
            The URI ("" without any picture), and the place of each pin's picture in it, counted
            from the left of the first row, SPRITE_COLUMNS in a row; -1 for a pin without one.
        """
        with ThreadPoolExecutor() as pool:
            images = list(pool.map(lambda pin: self.small(pin, side), pins))
        count = sum(image is not None for image in images)
        if not count:
            return "", [-1] * len(pins)
        rows = -(-count // SPRITE_COLUMNS)
        sheet = Image.new("RGB", (min(count, SPRITE_COLUMNS) * side, rows * side), "white")
        places: list[int] = []
        free = 0
        for image in images:
            places.append(-1 if image is None else free)
            if image is not None:
                row, column = divmod(free, SPRITE_COLUMNS)
                sheet.paste(image, (column * side, row * side))
                free += 1
        return _uri(sheet), places


def _uri(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, format="WEBP", quality=_QUALITY, method=3)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")
