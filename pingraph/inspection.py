"""Tells what is in a data set folder and everything that is wrong with it, however bad it is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pingraph.board_sizes import BOARD_LIMIT
from pingraph.datasets import PinBoardDataset, open_dataset, resolve_folder
from pingraph.errors import PinGraphError
from pingraph.folder_checks import (
    check_ids,
    check_known,
    check_weights,
    count,
    examples,
    read_what_is_there,
    repeated,
)
from pingraph.pin_images import BrokenImageError, PinImages
from pingraph.tables import column_names, is_text, lengths

if TYPE_CHECKING:
    from PIL import Image

_SLOW = 1000  # images; from here on a progress bar is worth its line


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What was found in a folder.

    `errors` keep the data set from being opened or trained on; `warnings` do not, but are seldom
    meant. Each is one line with a count and the first cases.
    """

    folder: str
    facts: dict[str, Any] = field(default_factory=dict)  # by name, in the order they are printed
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Facts in a column, then the errors, then the warnings."""
        width = max((len(name) for name in self.facts), default=0)
        lines = [self.folder]
        for name, value in self.facts.items():
            lines.append(f"  {name.replace('_', ' '):<{width}}  {_shown(name, value)}")
        lines += [f"error: {problem}" for problem in self.errors]
        lines += [f"warning: {problem}" for problem in self.warnings]
        if not self.errors and not self.warnings:
            lines.append("nothing wrong found")
        return "\n".join(lines)


def inspect_folder(name_or_folder: str | Path) -> Inspection:
    """Read a data set whole, every image included, and report what it holds and what is wrong.

    A data set that cannot be opened is described as far as possible.

    Args:
        name_or_folder: a folder, or "icons" or "world".

    Raises:
        PinGraphError: there is no such folder, or a built-in data set cannot be made.
    """
    folder = resolve_folder(name_or_folder).resolve()
    found = Inspection(folder=str(folder))
    if not any((folder / f"{name}.parquet").exists() for name in ("pins", "boards", "edges")):
        names = sorted(path.name for path in folder.iterdir())
        holds = ", ".join(names[:5]) + (", …" if len(names) > 5 else "") if names else "nothing"
        found.errors.append(f"no pins.parquet, boards.parquet or edges.parquet; it holds {holds}")
        return found
    pins = read_what_is_there(folder / "pins.parquet", ("pin_id", "image", "text"), found.errors)
    boards = read_what_is_there(folder / "boards.parquet", ("board_id", "title"), found.errors)
    columns = ("pin_id", "board_id", "weight", "time")
    edges = read_what_is_there(folder / "edges.parquet", columns, found.errors)
    for name, table in (("pins", pins), ("boards", boards), ("edges", edges)):
        if table is not None:
            found.facts[name] = len(table)
            if not len(table):
                found.errors.append(f"{name}.parquet: no rows")
    if pins is not None:
        _inspect_columns(folder / "pins.parquet", pins, found)
    has_text = np.zeros(0, bool) if pins is None else _inspect_ids_and_texts(pins, found)
    if boards is not None:
        _inspect_boards(boards, found)
    if edges is not None:
        _inspect_edges(edges, pins, boards, found)
    if not found.errors:
        _inspect_graph(folder, found)
    if pins is not None:
        _inspect_content(pins, has_text, folder, found)
    return found


def _inspect_columns(path: Path, pins: pa.Table, found: Inspection) -> None:
    """Warn of a table without texts or images: most often the column has another name."""
    for column in ("image", "text"):
        if column not in pins.column_names:
            among = ", ".join(column_names(path))
            message = f"no column '{column}' among {among}; taken as pins without {column}s"
            found.warnings.append(f"{path.name}: {message}")


def _inspect_content(pins: pa.Table, has_text: np.ndarray, folder: Path, found: Inspection) -> None:
    named = "pin_id" in pins.column_names
    names = pins.column("pin_id").to_pylist() if named else list(range(len(pins)))
    has_image = _inspect_images(pins, names, folder, found)
    bare = np.flatnonzero(~has_text & ~has_image)
    if len(bare) == len(pins):
        found.errors.append("pins.parquet: no pin has an image or a text; nothing can be learned")
    elif len(bare):
        shown = examples([names[row] for row in bare], bare)
        found.warnings.append(
            f"pins.parquet: {count(len(bare), 'pin')} with neither image nor text: {shown}"
        )


def _inspect_ids_and_texts(pins: pa.Table, found: Inspection) -> np.ndarray:
    """Check ids and texts; return which pins have a text, bool [N]."""
    check_ids(pins, "pin_id", "pins.parquet", found.errors, unique=True)
    if "text" not in pins.column_names or pa.types.is_null(pins.schema.field("text").type):
        return np.zeros(len(pins), bool)
    texts = pins.column("text")
    if not is_text(texts.type):
        found.errors.append(f"pins.parquet: column 'text' is {texts.type}; expected strings")
        return np.zeros(len(pins), bool)
    has_text = lengths(pc.utf8_trim_whitespace(texts)) > 0
    filled = texts.filter(pa.array(has_text))
    found.facts["text_share"] = int(has_text.sum()) / max(len(has_text), 1)
    if len(filled):
        found.facts["distinct_texts"] = len(filled.unique())
        found.facts["words_per_text"] = _spread([len(_words(t)) for t in filled.to_pylist()])
    return has_text


def _inspect_images(pins: pa.Table, names: list, folder: Path, found: Inspection) -> np.ndarray:
    """Decode every image; return which pins have one, bool [N]."""
    try:
        images = PinImages(pins, np.array(names, object), folder)
    except PinGraphError as error:
        message = str(error).removeprefix(f"{folder}/")
        if message not in found.errors:
            found.errors.append(message)
        return np.zeros(len(pins), bool)
    pictured = np.flatnonzero(images.present).tolist()
    found.facts["image_share"] = len(pictured) / max(len(pins), 1)
    if not len(pictured):
        return images.present
    copies = Counter(images.key(pin) for pin in pictured)
    found.facts["distinct_images"] = len(copies)
    found.facts["pins_that_share_an_image"] = sum(n for n in copies.values() if n > 1)
    formats: Counter[str | None] = Counter()
    sizes, broken = [], []
    for pin in _with_progress(pictured):
        try:
            seen = images.decode(pin, _format_and_size)
        except BrokenImageError as error:
            seen = None
            broken.append(str(error).removeprefix(f"{folder / 'pins.parquet'}: "))
        if seen is not None:
            formats[seen[0]] += 1
            sizes.append(seen[1])
    found.facts["image_formats"] = dict(formats.most_common())
    if sizes:
        found.facts["image_width"] = _spread([width for width, _ in sizes])
        found.facts["image_height"] = _spread([height for _, height in sizes])
    if broken:
        shown = "; ".join(broken[:3])
        found.errors.append(f"pins.parquet: {count(len(broken), 'broken image')}: {shown}")
    return images.present


def _inspect_boards(boards: pa.Table, found: Inspection) -> None:
    check_ids(boards, "board_id", "boards.parquet", found.errors, unique=True)
    if "title" not in boards.column_names:
        found.errors.append("boards.parquet: no column 'title'")
        return
    titles = boards.column("title")
    if pa.types.is_null(titles.type):
        titles = titles.cast(pa.string())
    if not is_text(titles.type):
        found.errors.append(f"boards.parquet: column 'title' is {titles.type}; expected strings")
        return
    empty = lengths(pc.utf8_trim_whitespace(titles)) == 0
    if empty.any():
        message = f"{count(int(empty.sum()), 'board')} without a title: row {empty.argmax()} first"
        found.warnings.append(f"boards.parquet: {message}")
    shared = repeated(titles.filter(pa.array(~empty)))
    if shared:
        message = f"{count(len(shared), 'title')} of several boards: {examples(shared)}"
        found.warnings.append(f"boards.parquet: {message}")


def _inspect_edges(
    edges: pa.Table, pins: pa.Table | None, boards: pa.Table | None, found: Inspection
) -> None:
    sides = (("pin_id", pins, "pins.parquet"), ("board_id", boards, "boards.parquet"))
    for column, known, other in sides:
        good = check_ids(edges, column, "edges.parquet", found.errors, unique=False)
        if good and known is not None and check_ids(known, column, other, [], unique=False):
            check_known(edges, known, column, other, found.errors)
    check_weights(edges, found.errors)


def _inspect_graph(folder: Path, found: Inspection) -> None:
    try:
        dataset = open_dataset(folder)
    except PinGraphError as error:  # what the checks before have not seen
        found.errors.append(str(error).removeprefix(f"{folder}/"))
        return
    graph, facts = dataset.graph, found.facts
    repeats = facts["edges"] - graph.num_edges
    facts["edges"] = graph.num_edges
    facts["boards_per_pin"] = _spread(graph.pin_degrees)
    facts["pins_per_board"] = _spread(graph.board_degrees)
    facts["pins_on_no_board"] = int((graph.pin_degrees == 0).sum())
    facts["pins_on_one_board"] = int((graph.pin_degrees == 1).sum())
    facts["connected_share"] = graph.connected_share()
    facts["text_leak_share"] = _text_leak(dataset)
    facts["weights"] = "none" if graph.pin_weights is None else _spread(graph.pin_weights)
    times = graph.pin_times
    first_last = times is not None and {"first": int(times.min()), "last": int(times.max())}
    facts["times"] = first_last or "none"
    if repeats:
        message = f"{count(repeats, 'edge')} given more than once; merged on opening"
        found.warnings.append(f"edges.parquet: {message}")
    for wrong, reason in (
        (graph.board_degrees == 0, "without any pin"),
        (graph.board_degrees == 1, "with one pin, relating no pins"),
        (
            graph.board_degrees > BOARD_LIMIT,
            f"with more than {BOARD_LIMIT} pins, who do not count as mates",
        ),
    ):
        rows = np.flatnonzero(wrong)
        if len(rows):
            shown = examples(graph.board_ids[rows], rows)
            message = f"{count(len(rows), 'board')} {reason}: {shown}"
            found.warnings.append(f"boards.parquet: {message}")


def _text_leak(dataset: PinBoardDataset) -> float:
    """Return the share of edges whose board title stands in the pin's text, word for word."""
    texts = [f" {' '.join(_words(text))} " for text in dataset.texts]
    titles = [f" {' '.join(_words(title))} " for title in dataset.board_titles]
    pins, boards = (ends.tolist() for ends in dataset.graph.edges())
    pairs = zip(pins, boards, strict=True)
    leaks = sum(titles[board] in texts[pin] and titles[board] != "  " for pin, board in pairs)
    return leaks / len(pins)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _format_and_size(image: Image.Image) -> tuple[str | None, tuple[int, int]]:
    from pingraph.images import to_rgb

    to_rgb(image)
    return image.format, image.size


def _with_progress(pins: list[int]) -> Iterable[int]:
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    quiet = len(pins) < _SLOW or not console.is_terminal
    return track(pins, "decoding images", console=console, transient=True, disable=quiet)


def _spread(values: Sequence[float] | np.ndarray) -> dict[str, float]:
    array = np.asarray(values)
    measures = {"mean": array.mean(), "median": np.median(array)}
    measures |= {"min": array.min(), "max": array.max()}
    # Of two decimals nothing would be left of small weights.
    small = {name: float(f"{value:.3g}") for name, value in measures.items() if abs(value) < 1}
    return {name: round(float(value), 2) for name, value in measures.items()} | small


def _shown(name: str, value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(key, part)}" for key, part in value.items())
    if name.endswith("_share"):
        return f"{value:.2%}"
    return f"{value:,.10g}" if isinstance(value, (int, float)) else str(value)
