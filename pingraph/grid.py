"""A picture of neighborhoods: query pins at the left, their nearest pins beside them."""

from __future__ import annotations

import bisect
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from pingraph.board_sizes import BOARD_LIMIT
from pingraph.datasets import BrokenImageError
from pingraph.embeddings import nearest
from pingraph.errors import PinGraphError
from pingraph.files import atomic_file
from pingraph.plain_text import board_name
from pingraph.relevance import retrieval_tasks

if TYPE_CHECKING:
    from pingraph.datasets import PinBoardDataset
    from pingraph.interfaces import EmbeddingTable
    from pingraph.splits import Split

WIDTH = 1800  # pixels at most
_SIDE, _GAP, _MARGIN = 168, 16, 36  # pixels: of a picture, between pictures, around the grid
_HEAD, _CAPTION = 122, 80  # pixels above the first row, and below each picture
_NARROWEST = 640  # pixels, for the words above
_LONGEST = 400  # characters of a text that can be shown at all
_EXPLANATION = "Left: the query. Right: its nearest pins, best first."
_LEGEND = f"shares the board named below it, of at most {BOARD_LIMIT} pins, with the query"
_INK, _SOFT, _PAPER, _CARD = "#1c1c1c", "#5c5c5c", "#ffffff", "#f4f1ea"
_MATE, _OTHER = "#0072b2", "#d4d4d4"  # blue and gray differ for every kind of color vision


@dataclass(frozen=True, kw_only=True)
class GridRow:
    """A query pin, its nearest pins, best first, and what each of them shares with it."""

    query: int
    neighbors: list[int]
    shared: list[str | None]  # title of the smallest board of both, None where there is none
    label: str = ""  # such as the method, when rows of several stand together


def example_queries(
    dataset: PinBoardDataset, split: Split, count: int, *, seed: int = 0
) -> np.ndarray:
    """Draw cold pins that have a board-mate to be found, int64, at most `count`.

    Where no pin is cold, warm ones are drawn.
    """
    task = retrieval_tasks(dataset, split)[0]
    pins = task.answerable(split.cold_pins(dataset.graph))
    if not len(pins):
        pins = task.answerable(split.warm_pins(dataset.graph))
    return np.random.default_rng(seed).permutation(pins)[:count]


def grid_rows(
    table: EmbeddingTable,
    dataset: PinBoardDataset,
    queries: np.ndarray,
    *,
    k: int = 8,
    label: str = "",
) -> list[GridRow]:
    """Find the k nearest pins of query pins by the fused vectors.

    Args:
        table: the embeddings, in the order of the data set's pins.
        dataset: says who shares a board.
        queries: int64 [Q], dense pin indices.
        k: how many neighbors.
        label: goes to every row.
    """
    found, _ = nearest(table, table.fused[queries], k, exclude=queries)
    return [
        GridRow(
            query=query,
            neighbors=neighbors,
            shared=[_shared_title(dataset, query, pin) for pin in neighbors],
            label=label,
        )
        for query, neighbors in zip(queries.tolist(), found.tolist(), strict=True)
    ]


def save_grid(path: str | Path, dataset: PinBoardDataset, rows: list[GridRow], title: str) -> None:
    """Draw rows of pins and save them as PNG, at most WIDTH pixels wide, atomically.

    Board-mates of the query have a thick blue frame and the title of a shared board. A pin without
    an image, or with a broken one, is drawn as a card with its text.

    Raises:
        PinGraphError: there are no rows, or the file cannot be written.
    """
    if not rows:
        raise PinGraphError(f"{path}: no pins to draw")
    columns = 1 + max(len(row.neighbors) for row in rows)
    side = min(_SIDE, (WIDTH - 2 * _MARGIN) // columns - _GAP)
    end = _Spot.at(len(rows), columns, side)
    width = max(_NARROWEST, end.left - _GAP + _MARGIN)
    paper = Image.new("RGB", (width, end.top), _PAPER)
    draw = ImageDraw.Draw(paper)
    draw.text((_MARGIN, 22), _plain(title), _INK, _font(26, bold=True))
    draw.text((_MARGIN, 60), _EXPLANATION, _SOFT, _font(14))
    draw.rectangle((_MARGIN, 82, _MARGIN + 15, 97), outline=_MATE, width=4)
    draw.text((_MARGIN + 24, 80), _LEGEND, _MATE, _font(14))
    for place, row in enumerate(rows):
        label = [(row.label, _INK)] if row.label else []
        _draw_pin(paper, dataset, row.query, _Spot.at(place, 0, side), (_INK, 3), label)
        for column, (pin, board) in enumerate(zip(row.neighbors, row.shared, strict=True), start=1):
            frame = (_OTHER, 1) if board is None else (_MATE, 6)
            note = [(board, _MATE)] if board else []
            _draw_pin(paper, dataset, pin, _Spot.at(place, column, side), frame, note)
    with atomic_file(path) as temporary:
        paper.save(temporary, format="PNG")


class _Spot(NamedTuple):
    """Where a pin is drawn: the square of its picture."""

    left: int
    top: int
    side: int

    @classmethod
    def at(cls, row: int, column: int, side: int) -> _Spot:
        """Return a place of the grid; the query stands a little apart."""
        left = _MARGIN + column * (side + _GAP) + (_GAP if column else 0)
        return cls(left, _HEAD + row * (side + _CAPTION), side)


def _shared_title(dataset: PinBoardDataset, query: int, pin: int) -> str | None:
    graph = dataset.graph
    both = np.intersect1d(graph.boards_of(query), graph.boards_of(pin))
    if not len(both):
        return None
    board = both[np.argmin(graph.board_degrees[both])]
    return board_name(dataset, int(board)) if graph.board_degrees[board] <= BOARD_LIMIT else None


def _draw_pin(
    paper: Image.Image,
    dataset: PinBoardDataset,
    pin: int,
    spot: _Spot,
    frame: tuple[str, int],
    notes: list[tuple[str, str]],
) -> None:
    """Draw a pin, its text below, and below that notes of one line in a color."""
    draw = ImageDraw.Draw(paper)
    picture = _picture(dataset, pin, spot.side)
    if picture is None:
        _draw_card(draw, dataset, pin, spot)
    else:
        width, height = picture.size
        corner = (spot.left + (spot.side - width) // 2, spot.top + (spot.side - height) // 2)
        paper.paste(picture, corner)
    color, width = frame
    low, high = -width, spot.side + width - 1
    box = (spot.left + low, spot.top + low, spot.left + high, spot.top + high)
    draw.rectangle(box, outline=color, width=width)
    lines = [(line, _INK) for line in _wrap(_words(dataset, pin), _font(13), spot.side, 2)]
    lines = [] if picture is None else lines  # a card has said it
    for note, ink in notes:
        lines += [(line, ink) for line in _wrap(_plain(note), _font(13, bold=True), spot.side, 1)]
    for place, (line, ink) in enumerate(lines):
        corner = (spot.left, spot.top + spot.side + 10 + 17 * place)
        draw.text(corner, line, ink, _font(13, bold=place >= len(lines) - len(notes)))


def _draw_card(draw: ImageDraw.ImageDraw, dataset: PinBoardDataset, pin: int, spot: _Spot) -> None:
    """Draw the text where a picture would be, in the middle of a card."""
    font, line_height = _font(max(11, spot.side // 10)), max(11, spot.side // 10) * 5 // 4
    inner = spot.side - 20
    lines = _wrap(_words(dataset, pin), font, inner, inner // line_height)
    box = (spot.left, spot.top, spot.left + spot.side - 1, spot.top + spot.side - 1)
    draw.rectangle(box, fill=_CARD)
    top = spot.top + (spot.side - line_height * len(lines)) // 2
    for place, line in enumerate(lines):
        middle = (spot.left + spot.side // 2, top + line_height * place)
        draw.text(middle, line, _INK, font, anchor="ma")


def _picture(dataset: PinBoardDataset, pin: int, side: int) -> Image.Image | None:
    try:
        image = dataset.image(pin)
    except BrokenImageError:
        return None
    if image is None:
        return None
    # Enlarged pixel art keeps its edges.
    small = 2 * max(image.size) <= side
    method = Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS
    return ImageOps.contain(image, (side, side), method)


def _words(dataset: PinBoardDataset, pin: int) -> str:
    """Return the text of a pin, or its id where it has none."""
    return _plain(dataset.texts[pin]) or f"[{_plain(str(dataset.pin_ids[pin]))}]"


def _plain(text: str) -> str:
    """Return one line without characters that no font can draw."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[:_LONGEST]).split())


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: int, most: int) -> list[str]:
    """Break text into at most `most` lines of `width` pixels; what is left out becomes "…"."""
    lines: list[str] = []
    rest = text
    while rest and len(lines) < most:
        fits = _fitting(rest, font, width)
        if fits < len(rest) and len(lines) == most - 1:
            lines.append(rest[: _fitting(rest, font, width - font.getlength("…"))].rstrip() + "…")
            break
        space = rest.rfind(" ", 0, fits + 1)
        end = space if fits < len(rest) and space > 0 else fits
        lines.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    return lines


def _fitting(text: str, font: ImageFont.FreeTypeFont, width: float) -> int:
    """Return how many characters fit, at least one."""
    longer = range(2, len(text) + 1)
    return 1 + bisect.bisect_right(longer, width, key=lambda end: font.getlength(text[:end]))


@functools.cache
def _font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Load DejaVu Sans, which matplotlib carries; it draws a box for what it lacks."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", name), size)
