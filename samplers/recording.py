"""Recordings: the rows of a sampler in one file that all processes replay by mapping it."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pingraph.errors import PinGraphError
from pingraph.files import atomic_file
from pingraph.interfaces import Neighbors, Sampler
from pingraph.samplers.asking import neighbors_of
from pingraph.samplers.requests import check_draw, check_seeds

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph

FORMAT, VERSION = "pingraph.neighbors", "1"
_DTYPES = {"pins": "<i8", "ids": "<i8", "weights": "<f4", "scores": "<f4", "checksums": "<u4"}
_NAMES = {"<i8": "I64", "<f4": "F32", "<u4": "U32"}  # of the dtypes in a safetensors header
_FACTS = ("format", "version", "graph", "sampler", "seed", "epoch")


def record(
    sampler: Sampler,
    graph: PinBoardGraph,
    seeds: np.ndarray,
    path: str | Path,
    *,
    seed: int,
    epoch: int = 0,
) -> None:
    """Write the rows of a sampler to a file that `RecordedSampler` replays, all or nothing.

    The file is safetensors: `pins` int64 [n] ascending, `ids` int64 [n, k], `weights` and `scores`
    float32 [n, k] as in `Neighbors`, and `checksums` uint32 [n] of the rows. Its metadata say the
    format and version, the graph's fingerprint, the sampler, the random seed and the epoch. All
    rows are in memory at once, 16 k + 12 bytes each.

    Args:
        sampler: whose rows.
        graph: the graph to walk on.
        seeds: int [B], dense pin indices, at least one; repeats are recorded once.
        path: the file to write; one that is there is replaced.
        seed: the random seed.
        epoch: the epoch.

    Raises:
        PinGraphError: a seed is not a pin of the graph, there is none, or the file cannot be
            written; then nothing is left behind.
    """
    check_draw(seed, epoch)
    pins = np.unique(check_seeds(graph, seeds))
    if not len(pins):
        raise PinGraphError("seeds are empty; expected at least one pin to record")
    found = neighbors_of(sampler, graph, pins, seed=seed, epoch=epoch)
    tensors = {"pins": pins, "ids": found.ids, "weights": found.weights, "scores": found.scores}
    tensors = {name: np.ascontiguousarray(tensors[name], _DTYPES[name]) for name in tensors}
    tensors["checksums"] = np.array(list(_checksums(tensors)), "<u4")
    facts = (FORMAT, VERSION, graph.fingerprint(), _name(sampler), str(seed), str(epoch))
    metadata = dict(zip(_FACTS, facts, strict=True))
    metadata["checksum"] = _checksum_of_all(metadata, pins)
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        file.write(_header(metadata, tensors))
        for tensor in tensors.values():
            file.write(tensor.data)


@dataclass(frozen=True, kw_only=True)
class RecordedSampler:
    """The rows that `pingraph.samplers.record` wrote, equal to the sampler's to the bit.

    The file is mapped into memory: opening reads only the list of pins, and processes share the
    rest. A recording is one draw: whatever `seed` and `epoch` are asked for, the rows are those
    that were recorded. The first request for a graph reads all of it, to compare its fingerprint.

    Args:
        path: the file.

    Raises:
        PinGraphError: the file is missing, cut, damaged or of another format or version. When
            sampling: another graph, a pin that was not recorded, or a damaged row.
    """

    path: str

    def __post_init__(self) -> None:
        _ = self._file  # fail now, not in a worker

    def sample(
        self, graph: PinBoardGraph, seeds: np.ndarray, *, seed: int, epoch: int = 0
    ) -> Neighbors:
        """Return the recorded rows of the seeds; `seed` and `epoch` don't change them.

        Raises:
            PinGraphError: the graph is not the recorded one, a seed was not recorded or is not a
                pin of the graph, a row is damaged, or an argument is out of its range.
        """
        check_draw(seed, epoch)
        seeds = check_seeds(graph, seeds)
        metadata, tensors = self._file
        if graph.fingerprint() != metadata["graph"]:
            raise PinGraphError(
                f"{self.path}: recorded on another graph than {graph!r}; that of a training has "
                "titles of boards among its pins, see pingraph.training_pins"
            )
        pins = tensors["pins"]
        rows = np.minimum(np.searchsorted(pins, seeds), len(pins) - 1)
        unknown = np.flatnonzero(pins[rows] != seeds)
        if len(unknown):
            row = unknown[0]
            found = f"seeds[{row}] is {seeds[row]}, which was not recorded"
            raise PinGraphError(f"{self.path}: {found}; {len(pins):,} pins were")
        mine = {name: tensors[name][rows] for name in _DTYPES}
        damaged = np.flatnonzero(mine["checksums"] != np.array(list(_checksums(mine)), "<u4"))
        if len(damaged):
            raise PinGraphError(f"{self.path}: damaged: the row of pin {seeds[damaged[0]]}")
        return Neighbors(
            seeds=seeds,
            ids=mine["ids"],
            weights=mine["weights"],
            scores=mine["scores"],
            mask=mine["ids"] >= 0,
        )

    @cached_property
    def _file(self) -> tuple[dict[str, str], dict[str, np.ndarray]]:
        return _open(Path(self.path))

    def __reduce__(self) -> tuple:
        return partial(RecordedSampler, path=self.path), ()


def _header(metadata: dict[str, str], tensors: dict[str, np.ndarray]) -> bytes:
    """Return the head of a safetensors file whose tensors stand in the order of the dictionary.

    Written by hand, since the library orders the metadata by chance: equal rows are equal files.
    """
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.nbytes
        entry = {"dtype": _NAMES[_DTYPES[name]], "shape": tensor.shape}
        header[name] = {**entry, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _open(path: Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Return the metadata and the mapped tensors of a recording.

    By hand, since the library maps files for torch alone and copies for NumPy.
    """
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(size, path.stat().st_size)))
            metadata = header.pop("__metadata__")
            found = {name: metadata[name] for name in ("format", "version")}
    except OSError as error:
        raise PinGraphError(f"{path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PinGraphError(f"{path}: cut, damaged, or not a recording") from error
    if found != {"format": FORMAT, "version": VERSION}:
        expected = f"expected {FORMAT!r} version {VERSION!r}"
        raise PinGraphError(
            f"{path}: format {found['format']!r} version {found['version']!r}; {expected}"
        )
    try:
        tensors = _mapped(path, header, 8 + size)
        whole = metadata["checksum"] == _checksum_of_all(metadata, tensors["pins"])
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise PinGraphError(f"{path}: cut or damaged") from error
    if not whole:
        raise PinGraphError(f"{path}: damaged: its list of pins isn't what was recorded")
    return metadata, tensors


def _mapped(path: Path, header: dict[str, Any], start: int) -> dict[str, np.ndarray]:
    """Map the tensors of a safetensors file; raises ValueError or KeyError if they are others."""
    count, k = header["ids"]["shape"]
    tensors, ends = {}, set()
    for name, dtype in _DTYPES.items():
        entry = header[name]
        begin, end = entry["data_offsets"]
        shape = [count, k] if name in ("ids", "weights", "scores") else [count]
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if entry["shape"] != shape or entry["dtype"] != _NAMES[dtype] or end - begin != size:
            raise ValueError(f"{name} is {entry}")
        tensors[name] = np.memmap(path, dtype, "r", start + begin, tuple(shape)).view(np.ndarray)
        ends.add(end)
    if path.stat().st_size != start + max(ends):
        raise ValueError("the file has another length")
    return tensors


def _checksums(tensors: dict[str, np.ndarray]) -> Iterable[int]:
    """Yield the CRC-32 of each row: the bytes of its pin, ids, weights and scores."""
    names = ("pins", "ids", "weights", "scores")
    columns = [np.ascontiguousarray(tensors[name]) for name in names]
    for row in zip(*columns, strict=True):
        checksum = 0
        for part in row:
            checksum = zlib.crc32(part, checksum)
        yield checksum


def _checksum_of_all(metadata: dict[str, str], pins: np.ndarray) -> str:
    text = json.dumps({name: metadata[name] for name in _FACTS})
    return f"{zlib.crc32(np.ascontiguousarray(pins).data, zlib.crc32(text.encode())):08x}"


def _name(sampler: Sampler) -> str:
    """Return a description without the address of an object, which no two runs share."""
    kind = type(sampler)
    plain = kind.__repr__ is object.__repr__
    return f"{kind.__module__}.{kind.__qualname__}" if plain else repr(sampler)
