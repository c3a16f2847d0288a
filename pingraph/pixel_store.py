"""Decoded images, each decoded once: a file that all data-loader workers share by mapping it."""

from __future__ import annotations

import os
import shutil
import tempfile
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Literal

import numpy as np

from pingraph.datasets import BrokenImageError, PinBoardDataset
from pingraph.errors import PinGraphError
from pingraph.interfaces import Preparation

OnBrokenImage = Literal["raise", "skip"]

_UNKNOWN, _DECODED, _ABSENT, _BROKEN = range(4)


class PixelStore:
    """The images of a data set at one size, decoded on first use.

    What was decoded is kept in a temporary file, unless all images would take more than
    `max_bytes` or than the disk has left; then each is decoded whenever it is asked for. The file
    goes with the object, or with the process that made it.

    Args:
        dataset: whose images.
        preparation: makes pixels of an image.
        on_broken_image: "raise" stops with the pin's id; "skip" counts the pin as one without an
            image, see `broken_pins`.
        max_bytes: largest temporary file, default 4 GiB.

    Raises:
        PinGraphError: another `on_broken_image`.
    """

    def __init__(
        self,
        dataset: PinBoardDataset,
        preparation: Preparation,
        *,
        on_broken_image: OnBrokenImage = "raise",
        max_bytes: int = 4 << 30,
    ):
        if on_broken_image not in ("raise", "skip"):
            raise PinGraphError(
                f"on_broken_image is {on_broken_image!r}: expected 'raise' or 'skip'"
            )
        self.dataset = dataset
        self.preparation = preparation
        self.size = size = preparation.image_size
        self.skip_broken = on_broken_image == "skip"
        self._folder = tempfile.mkdtemp(prefix="pingraph-pixels-")
        # Not weakref.finalize: the processes of multiprocessing, such as the ranks of a training,
        # end without it. Forked workers, which hold copies, do not take the file from the others.
        self._cleanup = Finalize(self, shutil.rmtree, (self._folder, True), exitpriority=0)
        pins, needed = dataset.num_pins, dataset.num_pins * 3 * size * size
        (Path(self._folder) / "states").write_bytes(bytes(pins))
        self.keep = needed <= max_bytes and _allocate(Path(self._folder) / "pixels", needed)
        self._map()

    def read(self, pins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the images uint8 [U, 3, size, size] of pins int64 [U], and which have one.

        Images that are missing are zeros, and false in the mask bool [U].

        Raises:
            BrokenImageError: an image cannot be decoded and broken ones are not skipped.
        """
        images = np.zeros((len(pins), 3, self.size, self.size), dtype=np.uint8)
        has_image = np.zeros(len(pins), dtype=bool)
        for row, pin in enumerate(pins):
            has_image[row] = self._read_one(int(pin), images[row])
        return images, has_image

    def broken_pins(self) -> np.ndarray:
        """Return the pins whose image was asked for and found broken, int64 ascending."""
        return np.flatnonzero(self._states == _BROKEN)

    def _read_one(self, pin: int, out: np.ndarray) -> bool:
        if self._states[pin] == _UNKNOWN or (self._states[pin] == _DECODED and not self.keep):
            return self._decode(pin, out)
        if self._states[pin] == _DECODED:
            out[:] = self._pixels[pin]
            return True
        return False

    def _decode(self, pin: int, out: np.ndarray) -> bool:
        try:
            pixels = self.dataset.decode(pin, self.preparation.pixels)
        except BrokenImageError:
            if not self.skip_broken:
                raise
            self._states[pin] = _BROKEN
            return False
        if pixels is None:
            self._states[pin] = _ABSENT
            return False
        out[:] = pixels
        if self.keep:
            self._pixels[pin] = pixels
        # After the pixels, so that another worker never sees the mark without them.
        self._states[pin] = _DECODED
        return True

    def _map(self) -> None:
        pins, folder = self.dataset.num_pins, Path(self._folder)
        self._states = np.memmap(folder / "states", np.uint8, "r+", shape=(pins,))
        if self.keep:
            shape = (pins, 3, self.size, self.size)
            self._pixels = np.memmap(folder / "pixels", np.uint8, "r+", shape=shape)

    def __getstate__(self) -> dict:
        hidden = ("_pixels", "_states", "_cleanup")
        return {name: value for name, value in self.__dict__.items() if name not in hidden}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._map()


def _allocate(path: Path, size: int) -> bool:
    """Make a file whose bytes have their place; a mapped one without kills who writes to it."""
    try:
        with path.open("wb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
    except OSError:
        path.unlink(missing_ok=True)
        return False
    return True
