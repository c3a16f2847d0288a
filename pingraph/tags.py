"""Data sets of tagged images: each tag is a board of the pins that carry it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa

from pingraph.datasets import write_dataset


def write_tagged(
    folder: str | Path,
    images: Mapping[str, bytes],
    texts: Mapping[str, str],
    tags: Iterable[tuple[str, str, str]],
) -> None:
    """Write tagged images as a data set; ids are strings, pins in the order of `images`.

    A tag whose words are all words of a pin's text gives that pin no edge, as "arrows" and "Arrow
    Left": it would only repeat the text; case and a final s make no difference. Boards of fewer
    than two pins are left out, and of boards with the same pins only the first is kept.

    Args:
        folder: a new or empty folder.
        images: the encoded image of each pin, by pin id.
        texts: the text of each pin, by pin id.
        tags: (board id, title, pin id) of each tag of each pin; of other pins they are passed over.

    Raises:
        PinGraphError: the folder cannot be written.
    """
    boards = _boards(tags, texts)
    edges = [(pin, board) for board, (_, members) in boards.items() for pin in sorted(members)]
    write_dataset(
        folder,
        pins=pa.table(
            {
                "pin_id": list(images),
                "image": list(images.values()),
                "text": [texts[pin] for pin in images],
            }
        ),
        boards=pa.table(
            {"board_id": list(boards), "title": [title for title, _ in boards.values()]}
        ),
        edges=pa.table({"pin_id": [e[0] for e in edges], "board_id": [e[1] for e in edges]}),
    )


def _boards(
    tags: Iterable[tuple[str, str, str]], texts: Mapping[str, str]
) -> dict[str, tuple[str, set[str]]]:
    """Return the title and the pins of each board that is kept, by board id."""
    members: dict[str, tuple[str, set[str]]] = {}
    for board, title, pin in tags:
        if pin in texts and not _repeats(title, texts[pin]):
            members.setdefault(board, (title, set()))[1].add(pin)
    kept: dict[frozenset, str] = {}
    for board, (_, pins) in members.items():
        if len(pins) > 1:
            kept.setdefault(frozenset(pins), board)
    return {board: members[board] for board in kept.values()}


def _repeats(title: str, text: str) -> bool:
    words = _words(title)
    return bool(words) and words <= _words(text)


def _words(text: str) -> set[str]:
    return {word.removesuffix("s") or word for word in re.findall(r"\w+", text.lower())}
