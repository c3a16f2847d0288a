"""Which boards are small enough to say that their pins belong together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph

BOARD_LIMIT = 200  # pins of a board beyond which sharing it says little


def boards_that_tell(graph: PinBoardGraph, trained: np.ndarray) -> np.ndarray:
    """Return the boards whose pins are no negatives of each other, bool [boards].

    They hold at most BOARD_LIMIT pins, and at most half of those that are trained on: the mates of
    larger ones are most of a batch, and who has them all masked learns to tell nobody apart.

    Args:
        graph: of the training edges.
        trained: int64, the pins that are trained on; others, such as titles, do not count.
    """
    pins, boards = graph.edges()
    sizes = np.bincount(boards[np.isin(pins, trained)], minlength=graph.num_boards)
    return sizes <= min(BOARD_LIMIT, len(trained) // 2)
