"""Reads vectors that others made, from a Parquet or .npy file, and lays them out by pin.

N pins of the data set, R rows of the file, D channels. Files are read in blocks of rows, so that
little more than the vectors themselves is held.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pingraph.embeddings import FORMAT, VERSION
from pingraph.errors import PinGraphError
from pingraph.ids import IdIndex, id_array, id_column
from pingraph.interfaces import EmbeddingTable
from pingraph.tables import naming, unreadable

if TYPE_CHECKING:
    from pingraph.datasets import PinBoardDataset

BLOCK = 16_384  # rows that are read at a time
_SAME_LENGTH = 1e-6  # a vector whose length is as near to 1 is left as it is, to the bit
_TOLD_LENGTH = 1e-3  # lengths that are farther from 1 are told of
_IDS = (".ids.npy", ".ids.txt")


class _Block(NamedTuple):
    """Some rows of a file: the vectors of those that have one."""

    rows: np.ndarray  # int64 [b], of the file
    vectors: np.ndarray  # float [b, D]


def read_vectors(path: str | Path, dataset: PinBoardDataset) -> tuple[EmbeddingTable, list[str]]:
    """Read a file of vectors as embeddings of a data set's pins.

    A Parquet file has a column of ids ("pin_id", "id", or the only column of integers or strings)
    and one of vectors (lists of floats); or vectors named fused, and image and text if they are
    there. A null is a pin without a vector. A .npy file holds floats [R, D], a row each pin of the
    data set in its order, or in that of the ids beside it: NAME.ids.npy or NAME.ids.txt.

    Vectors are brought to length 1, since pins are compared by cosine. A vector of zeros, in the
    table that is returned, stands for none.

    Returns:
        The table, in the order of the data set, and what there is to be told about it.

    Raises:
        PinGraphError: the file is missing, damaged or of another form; an id is unknown or occurs
            twice; vectors differ in width, or one is not finite or zero. Names file, row and pin.
    """
    path = Path(path)
    if not path.is_file():
        raise PinGraphError(f"{path}: no such file")
    readers = {".npy": _read_array, ".parquet": _read_parquet}
    if path.suffix not in readers:
        raise PinGraphError(f"{path}: expected a run folder, a .parquet file or a .npy file")
    return readers[path.suffix](path, dataset)


class _Layout:
    """The vectors of one kind, by pin, gathered block by block; says at the end what was wrong."""

    def __init__(self, path: Path, ids: np.ndarray, places: np.ndarray, size: int, what: str):
        self.path, self.ids, self.places, self.size, self.what = path, ids, places, size, what
        self.vectors = np.zeros((size, 0), np.float32)
        self.present = np.zeros(size, bool)
        self.lengths = (np.inf, 0.0)
        self.infinite: list[int] = []
        self.zero: list[int] = []

    def add(self, rows: np.ndarray, vectors: np.ndarray) -> None:
        """Take the vectors [b, D] of some rows of the file."""
        if not len(rows):
            return
        if not self.vectors.shape[1]:
            self.vectors = np.zeros((self.size, vectors.shape[1]), np.float32)
        wide = vectors.astype(np.float64)
        peaks = np.abs(wide).max(axis=1)  # so that no square overflows or vanishes
        self.infinite += rows[~np.isfinite(peaks)].tolist()
        self.zero += rows[peaks == 0].tolist()
        sound = np.isfinite(peaks) & (peaks > 0)
        rows, wide, peaks = rows[sound], wide[sound], peaks[sound, None]
        units = wide / peaks
        norms = np.linalg.norm(units, axis=1, keepdims=True)
        lengths = norms * peaks
        kept = np.where(np.abs(lengths - 1) < _SAME_LENGTH, wide, units / norms)
        self.vectors[self.places[rows]] = kept
        self.present[self.places[rows]] = True
        least, most = lengths.min(initial=np.inf), lengths.max(initial=0)
        self.lengths = min(self.lengths[0], least), max(self.lengths[1], most)

    def finish(self, *, zero_is_none: bool = False) -> None:
        """Raise PinGraphError where a vector was wrong, or there was none at all."""
        for rows, fault in ((self.infinite, "is not finite"), (self.zero, "is zero")):
            if rows and not (zero_is_none and rows is self.zero):
                pin = self.ids[rows[0]].item()
                more = f" (and {len(rows) - 1:,} more)" if len(rows) > 1 else ""
                said = f"row {rows[0]}: the {self.what} vector of pin {pin!r} {fault}{more}"
                raise PinGraphError(f"{self.path}: {said}")
        if self.what == "fused" and not self.present.any():
            raise PinGraphError(f"{self.path}: holds no vectors")


def _read_array(path: Path, dataset: PinBoardDataset) -> tuple[EmbeddingTable, list[str]]:
    array = _open_array(path)
    if array.ndim != 2 or array.dtype.kind != "f" or not array.shape[1]:
        found = f"{array.dtype} {list(array.shape)}"
        raise PinGraphError(f"{path}: holds {found}, expected floats [pins, channels]")
    ids = _ids_beside(path, dataset)
    if ids is None and len(array) != dataset.num_pins:
        beside = f"give the ids beside it, in {path.with_suffix(_IDS[0]).name}"
        count = f"{len(array):,} rows, but {dataset.name} has {dataset.num_pins:,} pins"
        raise PinGraphError(f"{path}: {count}: {beside}")
    if ids is not None and len(array) != len(ids[1]):
        raise PinGraphError(f"{ids[0]}: {len(ids[1]):,} ids for {len(array):,} rows of {path.name}")
    places = np.arange(len(array)) if ids is None else _places(*ids, dataset)
    named = dataset.pin_ids if ids is None else ids[1]
    fused = _Layout(path, named, places, dataset.num_pins, "fused")
    for start in range(0, len(array), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(array)))
        fused.add(rows, array[rows])
    fused.finish()
    return _table(path, dataset, {"fused": fused})


def _read_parquet(path: Path, dataset: PinBoardDataset) -> tuple[EmbeddingTable, list[str]]:
    with unreadable(path):
        file = pq.ParquetFile(path, memory_map=True, page_checksum_verification=True)
    ours = _is_ours(file.schema_arrow, path)
    key, columns = _columns(file.schema_arrow, path)
    with unreadable(path):
        column = file.read([key])[key]
    with naming(path):
        ids = id_array(id_column(column, "pin"))
    places = _places(path, ids, dataset)
    layouts = {what: _Layout(path, ids, places, dataset.num_pins, what) for what in columns}
    for what, name in columns.items():
        for block in _blocks(file, name, path, ids):
            layouts[what].add(*block)
        # A pin that has neither image nor text has a fused vector of zeros in our own files.
        layouts[what].finish(zero_is_none=ours and what == "fused")
    return _table(path, dataset, layouts)


def _blocks(file: pq.ParquetFile, name: str, path: Path, ids: np.ndarray) -> Iterator[_Block]:
    first, width = 0, None
    batches = file.iter_batches(BLOCK, columns=[name])
    while True:
        with unreadable(path):
            batch = next(batches, None)
        if batch is None:
            return
        lists = batch.column(0)
        rows = first + np.flatnonzero(lists.is_valid().to_numpy(zero_copy_only=False))
        widths = pc.list_value_length(lists).drop_null().to_numpy()
        if len(rows):
            width = int(widths[0]) if width is None else width
            if (widths != width).any() or not width:
                row = rows[np.argmax((widths != width) | (width == 0))]
                found = (
                    f"the vector of pin {ids[row].item()!r} has {widths[row == rows][0]} numbers"
                )
                expected = f"{width} as those before it" if width else "at least one"
                raise PinGraphError(f"{path}: row {row}: {found}, expected {expected}")
            numbers = lists.flatten().to_numpy(zero_copy_only=False)  # a null becomes NaN
            yield _Block(rows, numbers.reshape(len(rows), width))
        first += len(lists)


def _columns(schema: pa.Schema, path: Path) -> tuple[str, dict[str, str]]:
    """Return the column of ids, and those of vectors by what they are of."""
    names = schema.names
    if len(set(names)) < len(names):
        raise PinGraphError(f"{path}: two columns of one name among {', '.join(names)}")
    keys = [field.name for field in schema if _is_id(field.type)]
    keys = next(([name] for name in ("pin_id", "id") if name in names), keys)
    if len(keys) != 1:
        raise PinGraphError(f"{path}: no column 'pin_id' among {', '.join(names) or 'none'}")
    vectors = [field.name for field in schema if _is_vectors(field.type)]
    if "fused" in vectors:
        return keys[0], {name: name for name in ("fused", "image", "text") if name in vectors}
    if len(vectors) != 1:
        listed = ", ".join(f"{field.name} ({field.type})" for field in schema)
        which = "one column of vectors (lists of floats), or one of them named 'fused'"
        raise PinGraphError(f"{path}: expected {which}; it has {listed}")
    return keys[0], {"fused": vectors[0]}


def _is_id(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    types = pa.types
    return types.is_integer(kind) or types.is_string(kind) or types.is_large_string(kind)


def _is_vectors(kind: pa.DataType) -> bool:
    types = pa.types
    lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return lists and types.is_floating(kind.value_type)


def _is_ours(schema: pa.Schema, path: Path) -> bool:
    metadata = schema.metadata or {}
    version = metadata.get(b"version", b"").decode(errors="replace")
    ours = metadata.get(b"format") == FORMAT.encode()
    if ours and version != VERSION:
        raise PinGraphError(f"{path}: {FORMAT} version {version}, expected version {VERSION}")
    return ours


def _open_array(path: Path) -> np.ndarray:
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except (ValueError, OSError, EOFError, TypeError, SyntaxError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise PinGraphError(f"{path}: not a readable .npy file of numbers ({reason})") from error


def _ids_beside(path: Path, dataset: PinBoardDataset) -> tuple[Path, np.ndarray] | None:
    """Return the file of ids beside a .npy file and what it holds, or None without one."""
    found = [path.with_suffix(suffix) for suffix in _IDS if path.with_suffix(suffix).is_file()]
    if not found:
        return None
    if len(found) > 1:
        raise PinGraphError(f"{found[0]}: there is {found[1].name} as well; keep one of them")
    values = _open_array(found[0]) if found[0].suffix == ".npy" else _lines(found[0], dataset)
    with naming(found[0]):
        return found[0], id_array(id_column(values, "pin"))


def _lines(path: Path, dataset: PinBoardDataset) -> list[Any]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise PinGraphError(f"{path}: not a text file ({error})") from error
    if dataset.pin_ids.dtype.kind != "i":
        return lines
    for row, line in enumerate(lines):
        if not line.strip().isdecimal():
            raise PinGraphError(f"{path}: row {row}: {line!r} is no id: those of pins are integers")
    return [int(line) for line in lines]


def _places(path: Path, ids: np.ndarray, dataset: PinBoardDataset) -> np.ndarray:
    """Return the pins that ids are of, int64 [R]."""
    with naming(path):
        IdIndex(ids, "pin").refuse_duplicates()
    try:
        return IdIndex(dataset.pin_ids, "pin").find(id_column(ids, "pin")).astype(np.int64)
    except PinGraphError as error:
        if ids.dtype.kind != dataset.pin_ids.dtype.kind:  # NumPy would compare numbers as text
            raise PinGraphError(f"{path}: {error}") from error
        unknown = np.isin(ids, dataset.pin_ids, invert=True).sum()
        lacking = f"{dataset.name} lacks {unknown:,} of the {len(ids):,} ids"
        raise PinGraphError(f"{path}: {error}; {lacking}") from error


def _table(
    path: Path, dataset: PinBoardDataset, layouts: dict[str, _Layout]
) -> tuple[EmbeddingTable, list[str]]:
    fused = layouts["fused"]
    shape = fused.vectors.shape
    for what, layout in layouts.items():
        if layout.present.any() and layout.vectors.shape != shape:
            widths = f"{layout.vectors.shape[1]} numbers, the fused ones {shape[1]}"
            raise PinGraphError(f"{path}: the {what} vectors have {widths}")
    none = np.broadcast_to(np.float32(0), shape)  # takes no memory
    filled = {what: layout for what, layout in layouts.items() if layout.present.any()}
    table = EmbeddingTable(
        pin_ids=dataset.pin_ids,
        fused=fused.vectors,
        image=filled["image"].vectors if "image" in filled else none,
        text=filled["text"].vectors if "text" in filled else none,
        has_image=layouts["image"].present if "image" in layouts else np.zeros(shape[0], bool),
        has_text=layouts["text"].present if "text" in layouts else np.zeros(shape[0], bool),
    )
    wanted = {"image": dataset.has_image, "text": dataset.has_text}
    notes = [
        note
        for what, layout in layouts.items()
        for note in _notes(path, layout, wanted.get(what, np.ones(shape[0], bool)))
    ]
    return table, notes


def _notes(path: Path, layout: _Layout, wanted: np.ndarray) -> Iterator[str]:
    missing = int((wanted & ~layout.present).sum())
    if missing:
        pins = "pins" if layout.what == "fused" else f"pins with {layout.what}"
        count = f"{missing:,} of {wanted.sum():,} {pins} have no {layout.what} vector"
        yield f"{count} in {path.name}: as queries they rank at random, as candidates last."
    low, high = layout.lengths
    if high > 0 and max(1 - low, high - 1) > _TOLD_LENGTH:
        scaled = f"The {layout.what} vectors have lengths from {low:.3g} to {high:.3g}"
        yield f"{scaled}; they were brought to length 1, since pins are compared by cosine."
