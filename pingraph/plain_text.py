"""Texts and names of others, as one short line that is safe to show."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pingraph.datasets import PinBoardDataset

LONGEST = 48  # characters of a text or title


def plain(text: str, longest: int | None = LONGEST) -> str:
    """Return a text as one line, cut where it is too long; control characters are spelled out.

    A terminal would obey them: what is shown comes from others, and two ids may differ in one.
    """
    line = " ".join("".join(map(_printable, " ".join(text.split()))).split())
    return line if longest is None or len(line) <= longest else line[: longest - 1] + "…"


def _printable(sign: str) -> str:
    if sign.isprintable():
        return sign
    return repr(sign)[1:-1] if unicodedata.category(sign) == "Cc" else " "


def board_name(dataset: PinBoardDataset, board: int, longest: int | None = LONGEST) -> str:
    """Return the title of a board (dense index), or its id where it has none, as `plain` does."""
    title = plain(dataset.board_titles[board], longest)
    return title or plain(str(dataset.board_ids[board]), longest)
