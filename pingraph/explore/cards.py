"""What is told of a pin and of a board, and the pictures of pins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pingraph.board_sizes import BOARD_LIMIT
from pingraph.explore.ranking import STATES
from pingraph.images import encode_png, load_pixels

if TYPE_CHECKING:
    from PIL.Image import Image

    from pingraph.datasets import PinBoardDataset
    from pingraph.graph import PinBoardGraph

SIDES = (96, 192, 384)  # pixels of a picture
_SHORT, _LONG = 200, 5000  # characters of a text
_BOARDS = 100  # boards of a pin that are named


@dataclass(frozen=True, kw_only=True)
class Cards:
    """Tells of the pins and boards of a data set, as JSON holds it; ids are told as text."""

    dataset: PinBoardDataset
    train: PinBoardGraph  # without the held-out edges
    states: np.ndarray  # int8 [N], see `ranking.pin_states`

    def short(self, pin: int) -> dict[str, Any]:
        """Return what a list tells of a pin (dense index)."""
        return {
            "index": int(pin),
            "id": str(self.dataset.pin_ids[pin]),
            "text": _cut(" ".join(self.dataset.texts[pin][: 4 * _SHORT].split()), _SHORT),
            "image": bool(self.dataset.has_image[pin]),
            "boards": int(self.dataset.graph.pin_degrees[pin]),
            "state": STATES[self.states[pin]],
        }

    def full(self, pin: int) -> dict[str, Any]:
        """Return all that is told of a pin; its smallest boards come first."""
        graph = self.dataset.graph
        boards = graph.boards_of(pin)
        boards = boards[np.argsort(graph.board_degrees[boards], kind="stable")]
        return {
            **self.short(pin),
            "text": _cut(self.dataset.texts[pin], _LONG),
            "held_out": int(graph.pin_degrees[pin] - self.train.pin_degrees[pin]),
            "on": [
                {**self.board(board), "held_out": not self._trained(pin, board)}
                for board in boards[:_BOARDS].tolist()
            ],
        }

    def board(self, board: int) -> dict[str, Any]:
        """Return what is told of a board (dense index)."""
        return {
            "id": str(self.dataset.board_ids[board]),
            "title": _cut(" ".join(self.dataset.board_titles[board].split()), _SHORT),
            "pins": int(self.dataset.graph.board_degrees[board]),
        }

    def shared(self, one: int, other: int) -> dict[str, Any] | None:
        """Return the smallest board of two pins, None where they share none.

        Returns:
            `board`; how many boards they share; `hit`: whether it has at most `BOARD_LIMIT` pins,
            beyond which sharing it says little; `held_out`: whether training did not see both pins
            on it.
        """
        graph = self.dataset.graph
        both = np.intersect1d(graph.boards_of(one), graph.boards_of(other), assume_unique=True)
        if not len(both):
            return None
        board = int(both[np.argmin(graph.board_degrees[both])])
        return {
            "board": self.board(board),
            "boards": len(both),
            "hit": bool(graph.board_degrees[board] <= BOARD_LIMIT),
            "held_out": not (self._trained(one, board) and self._trained(other, board)),
        }

    def picture(self, pin: int, side: int) -> bytes | None:
        """Return the picture of a pin as PNG, a square of `side` pixels at most, None without one.

        Raises:
            BrokenImageError: it cannot be decoded.
        """
        pixels = self.dataset.decode(pin, lambda image: small_pixels(image, side))
        return None if pixels is None else png(pixels)

    def _trained(self, pin: int, board: int) -> bool:
        boards = self.train.boards_of(pin)  # ascending
        at = np.searchsorted(boards, board)
        return bool(at < len(boards) and boards[at] == board)


def small_pixels(image: Image, side: int) -> np.ndarray:
    """Return an image as uint8 [3, S, S], S at most `side`; a smaller one is not enlarged."""
    return load_pixels(image, min(side, max(image.size)))


def png(pixels: np.ndarray) -> bytes:
    """Return uint8 [3, H, W] as PNG."""
    from PIL import Image

    return encode_png(Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"
