"""Small square pictures of pins: one by one, as data URIs, and many in one sheet."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from pingraph.datasets import BrokenImageError
from pingraph.images import load_pixels

if TYPE_CHECKING:
    from pingraph.datasets import PinBoardDataset

SPRITE_COLUMNS = 100  # a WebP image has 16,383 pixels each way at most: 34,100 pictures of 48
_QUALITY = 72


class Pictures:
    """Reads the pictures of a data set's pins.

    Args:
        dataset: the data set.
    """

    def __init__(self, dataset: PinBoardDataset):
        self.dataset = dataset

    def small(self, pin: int, side: int) -> Image.Image | None:
        """Return the picture of a pin, RGB [side, side], or None where it has none or a broken one.

        An image that is smaller is enlarged; pixel art keeps its edges.
        """
        try:
            pixels = self.dataset.decode(
                pin, lambda image: load_pixels(image, min(side, max(image.size)))
            )
        except BrokenImageError:
            return None
        if pixels is None:
            return None
        image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
        coarse = 2 * image.width <= side
        method = Image.Resampling.NEAREST if coarse else Image.Resampling.BICUBIC
        return image if image.width == side else image.resize((side, side), method)

    def each(self, pins: Iterable[int], side: int) -> list[Image.Image | None]:
        """Return `small` of each pin."""
        with ThreadPoolExecutor() as pool:  # decoding releases the GIL
            return list(pool.map(lambda pin: self.small(pin, side), pins))

    def uris(self, pins: Iterable[int], side: int) -> dict[int, str]:
        """Return the pictures of pins as data URIs; pins without one are left out."""
        distinct = sorted(set(pins))
        return {
            pin: _uri(image)
            for pin, image in zip(distinct, self.each(distinct, side), strict=True)
            if image is not None
        }

    def sprite(self, pins: list[int], side: int) -> tuple[str, list[int]]:
        """Return one image that holds many pictures row by row, as a data URI.

        Returns:
            The URI ("" without any picture), and the place of each pin's picture in it, counted
            from the left of the first row, SPRITE_COLUMNS in a row; -1 for a pin without one.
        """
        images = self.each(pins, side)
        present = [image is not None for image in images]
        places = np.where(present, np.cumsum(present) - 1, -1).tolist()
        there = [image for image in images if image is not None]
        columns = min(len(there), SPRITE_COLUMNS)
        return (_uri(sheet(there, columns, side)) if there else ""), places


def sheet(
    images: Sequence[Image.Image | None], columns: int, side: int, rows: int | None = None
) -> Image.Image:
    """Return pictures of [side, side] pixels row by row on white; None leaves its place empty.

    Args:
        images: at least one.
        columns: pictures in a row.
        side: pixels of a picture.
        rows: of the sheet; by default as many as are needed.
    """
    rows = -(-len(images) // columns) if rows is None else rows
    paper = Image.new("RGB", (columns * side, rows * side), "white")
    for place, image in enumerate(images):
        if image is not None:
            row, column = divmod(place, columns)
            paper.paste(image, (column * side, row * side))
    return paper


def _uri(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, format="WEBP", quality=_QUALITY, method=3)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")
