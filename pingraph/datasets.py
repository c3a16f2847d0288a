"""Pins with their images and texts, boards with their titles, and the graph between them."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pingraph.errors import PinGraphError
from pingraph.files import atomic_folder
from pingraph.fingerprint import hash_texts
from pingraph.graph import PinBoardGraph
from pingraph.pin_images import BrokenImageError as BrokenImageError  # its public home is here
from pingraph.pin_images import PinImages
from pingraph.tables import (
    check_columns,
    first_null,
    hash_column,
    is_bytes,
    is_text,
    naming,
    read_ids,
    read_table,
    require_type,
    without_decimals,
)

if TYPE_CHECKING:
    from PIL import Image

BUILT_IN = ("icons", "world")
_RECIPE = 2  # raised when a built-in data set is made in another way, so that none is stale


class PinBoardDataset:
    """The content of a folder of pins.parquet, boards.parquet and edges.parquet.

    Row i of pins.parquet is pin i of `graph`, row j of boards.parquet is board j. Images stay
    encoded until they are asked for. Pickling carries the folder's name only, so spawned workers
    reopen it and forked ones share its pages.

    Args:
        folder: the folder.
        name: what to call it; default the folder's name.
        pins_only: boards.parquet and edges.parquet are not needed, and `graph` is not there.

    Raises:
        PinGraphError: pins.parquet is missing, empty or wrong; see `open_dataset` for the rest.
    """

    def __init__(self, folder: str | Path, *, name: str | None = None, pins_only: bool = False):
        self.folder = Path(folder).resolve()
        self.name = name or self.folder.name
        self.pins_only = pins_only
        path = self.folder / "pins.parquet"
        table = read_table(path, ("pin_id",), ("image", "text"))
        self.pin_ids = read_ids(table, "pin_id", path)
        if not len(self.pin_ids):
            raise PinGraphError(f"{path}: no pins")
        self._texts, self.has_text = _read_texts(table, path)
        self._images = PinImages(table, self.pin_ids, self.folder)
        self.has_image = self._images.present
        self.has_text.flags.writeable = self.has_image.flags.writeable = False

    def __repr__(self) -> str:
        """Name, counts and folder."""
        return f"PinBoardDataset({self.name!r}, {self.num_pins:,} pins, {str(self.folder)!r})"

    def __reduce__(self) -> tuple:
        """Pickle the name of the folder."""
        return _reopen, (self.folder, self.name, self.pins_only)

    @property
    def num_pins(self) -> int:
        """The number of pins, N."""
        return len(self.pin_ids)

    @functools.cached_property
    def texts(self) -> list[str]:
        """The text of each pin, "" where `has_text` is false."""
        return pc.if_else(pa.array(self.has_text), self._texts, "").to_pylist()

    @functools.cached_property
    def _boards(self) -> tuple[np.ndarray, list[str]]:
        if self.pins_only:
            raise PinGraphError(
                f"{self.folder}: opened with pins_only, so it has no boards or graph"
            )
        path = self.folder / "boards.parquet"
        table = read_table(path, ("board_id", "title"))
        ids = read_ids(table, "board_id", path)
        titles = table.column("title")
        if pa.types.is_null(titles.type):
            return ids, [""] * len(titles)
        require_type(table, "title", path, is_text, "strings")
        return ids, pc.fill_null(titles, "").to_pylist()

    @property
    def board_ids(self) -> np.ndarray:
        """The id of each board, int64 or str."""
        return self._boards[0]

    @property
    def board_titles(self) -> list[str]:
        """The title of each board, "" where it has none."""
        return self._boards[1]

    @functools.cached_property
    def graph(self) -> PinBoardGraph:
        """All edges of the data set."""
        board_ids = self.board_ids
        path = self.folder / "edges.parquet"
        table = read_table(path, ("pin_id", "board_id"), ("weight", "time"))
        with naming(path):
            if not len(table):
                raise PinGraphError("no edges; expected at least one")
            return PinBoardGraph.from_edges(
                table.column("pin_id"),
                table.column("board_id"),
                _numbers(table, "weight"),
                _numbers(table, "time"),
                pin_ids=self.pin_ids,
                board_ids=board_ids,
            )

    def image(self, pin: int) -> Image.Image | None:
        """Return the image of a pin in full size as RGB, or None where it has none.

        Raises:
            BrokenImageError: the image cannot be read or decoded; the message names the pin.
        """
        from pingraph.images import to_rgb

        return self._images.decode(pin, to_rgb)

    def pixels(self, pin: int, size: int) -> np.ndarray | None:
        """Return the image of a pin as uint8 [3, size, size], or None where it has none.

        Raises:
            BrokenImageError: the image cannot be read or decoded; the message names the pin.
        """
        from pingraph.images import load_pixels

        return self.decode(pin, lambda image: load_pixels(image, size))

    def decode(self, pin: int, finish: Callable[[Image.Image], np.ndarray]) -> np.ndarray | None:
        """Return what `finish` makes of a pin's image, or None where it has none.

        Args:
            pin: its dense index.
            finish: takes the opened image, which is not decoded yet.

        Raises:
            BrokenImageError: the image cannot be read or decoded; the message names the pin.
        """
        return self._images.decode(pin, finish)

    @functools.cached_property
    def image_groups(self) -> np.ndarray:
        """int64 [N]: equal where the encoded images are the same to the byte, -1 without image."""
        return _groups(self.num_pins, self.has_image, self._image_keys.__getitem__)

    @functools.cached_property
    def text_groups(self) -> np.ndarray:
        """int64 [N]: equal where the texts are the same to the letter, -1 without text."""
        return _groups(self.num_pins, self.has_text, self.texts.__getitem__)

    @functools.cached_property
    def image_fingerprint(self) -> str:
        """sha256 of the images; of those in files the paths and sizes, not the bytes."""
        digest = hashlib.sha256()
        digest.update(b"bytes" if is_bytes(self._images.column.type) else b"text")
        hash_column(digest, self._images.column)
        digest.update(self._images.file_sizes().tobytes())
        return digest.hexdigest()

    @functools.cached_property
    def image_digest(self) -> str:
        """sha256 of the images to the byte, for what is kept of them; those in files are read."""
        if is_bytes(self._images.column.type):
            return self.image_fingerprint
        keys = (f"{pin} {key!r}" for pin, key in self._image_keys.items())
        return hash_texts(str(self.num_pins), *keys)

    @functools.cached_property
    def _image_keys(self) -> dict[int, bytes | int]:
        """What tells the image of each pin that has one, to the byte: each file is read once."""
        return {pin: self._images.key(pin) for pin in np.flatnonzero(self.has_image).tolist()}

    @functools.cached_property
    def fingerprint(self) -> str:
        """sha256 of the ids, texts, images, titles and edges, however the files are laid out.

        Of images in files of their own it covers the paths and sizes, not the bytes. With
        `pins_only` it covers the pins.
        """
        digest = hashlib.sha256()
        _hash_ids(digest, self.pin_ids)
        digest.update(b"bytes" if is_bytes(self._texts.type) else b"text")
        hash_column(digest, self._texts)
        digest.update(self.image_fingerprint.encode())
        if not self.pins_only:
            hash_column(digest, pa.chunked_array([pa.array(self.board_titles, pa.string())]))
            digest.update(self.graph.fingerprint().encode())
        return digest.hexdigest()


def open_dataset(name_or_folder: str | Path, *, pins_only: bool = False) -> PinBoardDataset:
    """Open a data set and check it: every id of an edge is known, no id occurs twice.

    Args:
        name_or_folder: "icons" or "world", which are made on first use in the cache folder
            ($PINGRAPH_CACHE, default ~/.cache/pingraph), or a folder; write ./icons for a folder
            of that name.
        pins_only: only pins.parquet is needed, as when fresh pins are to be embedded.

    Raises:
        PinGraphError: a file or column is missing or of a wrong type, an id is null, unknown or
            not unique, or there are no pins or edges. The message names the file and the row.
    """
    folder = resolve_folder(name_or_folder)
    name = str(name_or_folder) if str(name_or_folder) in BUILT_IN else None
    dataset = PinBoardDataset(folder, name=name, pins_only=pins_only)
    if not pins_only:
        dataset.graph  # noqa: B018 (made once and kept; its checks are what we want here)
    return dataset


def check_source(name_or_folder: str | Path) -> None:
    """Check that there is a data set, as far as that is told without reading or making it.

    Raises:
        PinGraphError: there is no such folder, or a file or a required column of it is missing.
    """
    if str(name_or_folder) in BUILT_IN:
        return
    folder = resolve_folder(name_or_folder)
    check_columns(folder / "pins.parquet", ("pin_id",))
    check_columns(folder / "boards.parquet", ("board_id", "title"))
    check_columns(folder / "edges.parquet", ("pin_id", "board_id"))


def resolve_folder(name_or_folder: str | Path) -> Path:
    """Return the folder of a data set; a built-in one is made if it is not in the cache yet.

    Raises:
        PinGraphError: there is no such folder, or the built-in data set cannot be made.
    """
    if str(name_or_folder) in BUILT_IN:
        return _built_in(str(name_or_folder))
    folder = Path(name_or_folder)
    if not folder.is_dir():
        known = " and ".join(BUILT_IN)
        raise PinGraphError(f"{folder}: no such folder; the built-in data sets are {known}")
    return folder


def write_dataset(folder: str | Path, *, pins: pa.Table, boards: pa.Table, edges: pa.Table) -> None:
    """Write the three tables as a data set folder, all or nothing.

    Raises:
        PinGraphError: the folder exists and is not empty, or cannot be written.
    """
    with atomic_folder(folder) as temporary:
        for name, table in (("pins", pins), ("boards", boards), ("edges", edges)):
            path = temporary / f"{name}.parquet"
            pq.write_table(table, path, compression="zstd", write_page_checksum=True)


def cache_folder() -> Path:
    """Return where built-in data sets are kept: $PINGRAPH_CACHE, default ~/.cache/pingraph."""
    return Path(os.environ.get("PINGRAPH_CACHE") or Path.home() / ".cache" / "pingraph")


def _built_in(name: str) -> Path:
    folder = cache_folder() / f"{name}-{_RECIPE}"
    if folder.is_dir():
        return folder
    try:
        if name == "icons":
            from pingraph.icons import make_icons

            make_icons(folder)
        else:
            from pingraph.world import World

            World().write(folder)
    except PinGraphError:
        if not folder.is_dir():  # else another process was first
            raise
    return folder


def _reopen(folder: Path, name: str, pins_only: bool) -> PinBoardDataset:
    return PinBoardDataset(folder, name=name, pins_only=pins_only)


def _read_texts(table: pa.Table, path: Path) -> tuple[pa.ChunkedArray, np.ndarray]:
    missing = "text" not in table.column_names
    if missing or pa.types.is_null(table.schema.field("text").type):
        return pa.chunked_array([pa.nulls(len(table), pa.string())]), np.zeros(len(table), bool)
    require_type(table, "text", path, is_text, "strings")
    column = table.column("text")
    filled = pc.fill_null(pc.not_equal(pc.utf8_trim_whitespace(column), ""), False)
    return column, filled.to_numpy()


def _numbers(table: pa.Table, column: str) -> np.ndarray | None:
    if column not in table.column_names:
        return None
    values = table.column(column)
    if values.null_count:
        raise PinGraphError(f"row {first_null(values)}: the {column} is missing")
    return without_decimals(values).to_numpy()


def _groups(count: int, present: np.ndarray, key: Callable[[int], object]) -> np.ndarray:
    groups = np.full(count, -1, np.int64)
    numbers: dict[object, int] = {}
    for pin in np.flatnonzero(present).tolist():
        groups[pin] = numbers.setdefault(key(pin), len(numbers))
    groups.flags.writeable = False
    return groups


def _hash_ids(digest: hashlib._Hash, ids: np.ndarray) -> None:
    if ids.dtype.kind == "U":
        hash_column(digest, pa.chunked_array([pa.array(ids.tolist(), pa.string())]))
    else:
        digest.update(ids.tobytes())
