"""Embeddings as a Parquet file, and the nearest pins in them.

Letters: N pins, Q queries, D dimensions, k neighbors of each query.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pingraph.errors import PinGraphError
from pingraph.files import atomic_file
from pingraph.interfaces import EmbeddingTable

if TYPE_CHECKING:
    from pingraph.datasets import PinBoardDataset

FORMAT, VERSION = "pingraph.embeddings", "1"
_VECTORS = ("image", "text", "fused")
_BLOCK_SCORES = 64_000_000  # 256 MB of float32


def write_embeddings(path: str | Path, table: EmbeddingTable) -> None:
    """Write embeddings as Parquet: pin_id, image, text and fused (lists of D float32), atomically.

    `image` and `text` are null where the pin lacks the modality.

    Raises:
        PinGraphError: shapes or ids are wrong, a vector is not finite, or the file cannot be
            written.
    """
    check_table(table, path)
    present = {"image": table.has_image, "text": table.has_text}
    columns = {name: _to_arrow(getattr(table, name), present.get(name)) for name in _VECTORS}
    ids = pa.array(table.pin_ids.tolist(), pa.int64() if _integers(table) else pa.string())
    metadata = {"format": FORMAT, "version": VERSION}
    arrow = pa.table({"pin_id": ids, **columns}).replace_schema_metadata(metadata)
    with atomic_file(path) as temporary:
        pq.write_table(arrow, temporary, compression="zstd")


def read_embeddings(path: str | Path) -> EmbeddingTable:
    """Read embeddings that `write_embeddings` wrote.

    Raises:
        PinGraphError: the file is missing, damaged or of another format; or its ids are null or
            not unique; or a vector is not finite or missing.
    """
    path = Path(path)
    if not path.is_file():
        raise PinGraphError(f"{path}: no such file")
    try:
        arrow = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise PinGraphError(f"{path}: not a readable Parquet file ({reason})") from error
    _check_schema(arrow, path)
    vectors = {name: _to_numpy(arrow[name].combine_chunks()) for name in _VECTORS}
    ids = arrow["pin_id"]
    table = EmbeddingTable(
        pin_ids=ids.to_numpy() if pa.types.is_int64(ids.type) else ids.to_numpy().astype(np.str_),
        has_image=arrow["image"].is_valid().to_numpy(),
        has_text=arrow["text"].is_valid().to_numpy(),
        **vectors,
    )
    check_table(table, path)
    return table


def check_table(table: EmbeddingTable, source: str | Path) -> None:
    """Raise PinGraphError unless shapes agree, ids are unique and vectors are finite.

    Args:
        table: the embeddings.
        source: what the message calls them, such as their file.
    """
    count, width = len(table.pin_ids), table.fused.shape[-1]
    for name in _VECTORS:
        vectors = getattr(table, name)
        if vectors.shape != (count, width):
            expected = f"({count}, {width})"
            raise PinGraphError(f"{source}: {name} has shape {vectors.shape}, expected {expected}")
        finite = np.isfinite(vectors).all(axis=1)
        if not finite.all():
            row = int(np.argmin(finite))
            pin = table.pin_ids[row].item()
            raise PinGraphError(f"{source}: row {row}: the {name} vector of {pin!r} is not finite")
    for name in ("has_image", "has_text"):
        if getattr(table, name).shape != (count,):
            found = getattr(table, name).shape
            raise PinGraphError(f"{source}: {name} has shape {found}, expected ({count},)")
    _, first = np.unique(table.pin_ids, return_index=True)
    if len(first) < count:
        row = int(np.setdiff1d(np.arange(count), first)[0])
        pin = table.pin_ids[row].item()
        raise PinGraphError(f"{source}: row {row}: pin_id {pin!r} occurs twice")


def require_pins(table: EmbeddingTable, pin_ids: np.ndarray, owner: str = "") -> None:
    """Raise PinGraphError unless embeddings are of the pins with these ids, in their order.

    Args:
        table: the embeddings.
        pin_ids: int64 or str [N], of a data set or a graph.
        owner: its name, which the message begins with, if it has one.
    """
    if not np.array_equal(table.pin_ids, pin_ids):
        raise PinGraphError(
            f"{owner}{': ' * bool(owner)}the embeddings are of other pins, or in another order "
            f"({len(table.pin_ids):,} embeddings, {len(pin_ids):,} pins)"
        )


def find_rows(table: EmbeddingTable | PinBoardDataset, pin_ids: list[str | int]) -> np.ndarray:
    """Return the rows of pins, int64; digits stand for a number where ids are integers.

    Raises:
        PinGraphError: an id is not in the table.
    """
    return np.array([_find_row(table.pin_ids, str(pin)) for pin in pin_ids], np.int64)


def _find_row(ids: np.ndarray, pin: str) -> int:
    wanted: str | int = pin
    if ids.dtype.kind != "U":
        wanted = int(pin) if pin.isdecimal() and str(int(pin)) == pin else -1  # no id is below 0
    rows = np.flatnonzero(ids == wanted)
    if not len(rows):
        some = ", ".join(map(str, ids[:3].tolist()))
        kind = "" if isinstance(wanted, str) or pin.isdecimal() else ": their ids are integers"
        raise PinGraphError(f"no pin {pin!r} among {len(ids):,} pins ({some}, …){kind}")
    return int(rows[0])


def nearest(
    table: EmbeddingTable, vectors: np.ndarray, k: int, *, exclude: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Find the pins whose fused vectors have the greatest dot product with each query, exactly.

    A pin whose vector is zero has none, and is never found.

    Args:
        table: the pins to search.
        vectors: float32 [Q, D]; a row of `table.image` or `table.text` is as good a query as one
            of `table.fused`, since they share a space.
        k: how many, at least 1; there are fewer when the table has fewer.
        exclude: int64 [Q], a row of the table that each query must not find (itself).

    Returns:
        Rows of the table, int64 [Q, k], and their scores, float32 [Q, k], best first; equal scores
        in the order of the table, but which of them are found at the end of the list is open.

    Raises:
        PinGraphError: k is below 1, or the vectors have another width or are not finite.
    """
    if k < 1:
        raise PinGraphError(f"k is {k}, expected at least 1")
    if vectors.ndim != 2 or vectors.shape[1] != table.fused.shape[1]:
        expected = f"[queries, {table.fused.shape[1]}]"
        raise PinGraphError(f"query vectors have shape {vectors.shape}, expected {expected}")
    if not np.isfinite(vectors).all():
        raise PinGraphError("a query vector is not finite")
    absent = np.flatnonzero(~table.present["fused"])
    count = len(table.fused) - len(absent) - (exclude is not None)
    k = max(0, min(k, count))
    rows = np.empty((len(vectors), k), np.int64)
    scores = np.empty((len(vectors), k), np.float32)
    step = max(1, _BLOCK_SCORES // max(1, len(table.fused)))
    for start in range(0, len(vectors), step):
        block = slice(start, start + step)
        found = vectors[block].astype(np.float32) @ table.fused.T
        found[:, absent] = -np.inf
        if exclude is not None:
            found[np.arange(len(found)), exclude[block]] = -np.inf
        rows[block] = _best(found, k)
        scores[block] = np.take_along_axis(found, rows[block], axis=1)
    return rows, scores


def _best(scores: np.ndarray, k: int) -> np.ndarray:
    if k < scores.shape[1]:
        rows = np.sort(np.argpartition(-scores, k, axis=1)[:, :k], axis=1)
    else:
        rows = np.broadcast_to(np.arange(k), scores.shape)
    order = np.argsort(-np.take_along_axis(scores, rows, axis=1), axis=1, kind="stable")
    return np.take_along_axis(rows, order, axis=1)


def _integers(table: EmbeddingTable) -> bool:
    return table.pin_ids.dtype.kind in "iu"


def _check_schema(arrow: pa.Table, path: Path) -> None:
    metadata = {
        key.decode(): value.decode() for key, value in (arrow.schema.metadata or {}).items()
    }
    if metadata.get("format") != FORMAT or metadata.get("version") != VERSION:
        found = f"format {metadata.get('format')!r} version {metadata.get('version')!r}"
        raise PinGraphError(f"{path}: {found}, expected {FORMAT!r} version {VERSION!r}")
    for name in ("pin_id", *_VECTORS):
        if name not in arrow.column_names:
            raise PinGraphError(f"{path}: no column '{name}'; it has {arrow.column_names}")
    if arrow["pin_id"].type not in (pa.int64(), pa.string()):
        found = arrow["pin_id"].type
        raise PinGraphError(f"{path}: pin_id is {found}, expected int64 or string")
    for name in _VECTORS:
        kind = arrow[name].type
        if not pa.types.is_fixed_size_list(kind) or kind.value_type != pa.float32():
            raise PinGraphError(f"{path}: {name} is {kind}, expected fixed-size lists of float32")
    for name in ("pin_id", "fused"):
        if arrow[name].null_count:
            row = arrow[name].is_null().to_pylist().index(True)
            raise PinGraphError(f"{path}: row {row}: {name} is null")


def _to_arrow(vectors: np.ndarray, present: np.ndarray | None) -> pa.FixedSizeListArray:
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
    absent = None if present is None else pa.array(~present)
    return pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1], mask=absent)


def _to_numpy(lists: pa.FixedSizeListArray) -> np.ndarray:
    """Return float32 [N, D], zero where the list is null, NaN where a number in it is."""
    filled = lists.values.slice(
        lists.offset * lists.type.list_size, len(lists) * lists.type.list_size
    )
    vectors = filled.fill_null(np.nan).to_numpy().reshape(len(lists), lists.type.list_size).copy()
    vectors[lists.is_null().to_numpy(zero_copy_only=False)] = 0
    return vectors
