"""The folder that a graph is saved to: a .npy file for each array, and a manifest of them.

Opening maps the files into memory and reads none of the edges. It still hashes up to 16 blocks of
each file, spread evenly: a small file is checked whole, and of a large one most cuts, swaps and
overwritten stretches show, in time that doesn't grow with the edges. `verify=True` reads it all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pingraph.build import find_fault, transpose
from pingraph.edges import check_weights
from pingraph.errors import PinGraphError
from pingraph.files import atomic_folder, read_json, write_json
from pingraph.ids import universe_index

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph

FORMAT = "pingraph-graph"
VERSION = 1
MANIFEST = "manifest.json"

_BLOCK = 16 * 1024
_BLOCKS = 16
_CHUNK = 1 << 22
_OPTIONAL = (("pin_weights", "board_weights"), ("pin_times", "board_times"))
_DTYPES = {
    "_offsets": ("<i8",),
    "_boards": ("<i4", "<i8"),
    "_pins": ("<i4", "<i8"),
    "_weights": ("<f4",),
    "_times": ("<i8",),
    "_ids": ("<i8", "<U"),
}


def save_graph(graph: PinBoardGraph, folder: str | Path) -> None:
    """Write a graph to a new or empty folder; either all of it is there afterwards or nothing.

    Raises:
        PinGraphError: the folder holds something, cannot be written, or the disk is full.
    """
    with atomic_folder(folder) as temporary:
        files = {
            f"{name}.npy": _write_array(temporary / f"{name}.npy", array)
            for name, array in graph.arrays().items()
            if array is not None
        }
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "num_pins": graph.num_pins,
            "num_boards": graph.num_boards,
            "num_edges": graph.num_edges,
            "files": files,
        }
        write_json(temporary / MANIFEST, manifest)


def open_arrays(folder: str | Path, *, verify: bool = False) -> dict[str, np.ndarray]:
    """Map a saved graph's arrays into memory, by name.

    Raises:
        PinGraphError: the folder or a file is missing, cut, damaged, or of another format. Damage
            inside a large file is found only with `verify`.
    """
    folder = Path(folder)
    manifest = _read_manifest(folder)
    arrays = {}
    for name, length in _expected_lengths(folder, manifest).items():
        entry = manifest["files"][f"{name}.npy"]
        arrays[name] = _open_array(folder / f"{name}.npy", entry, length, verify=verify)
    for name in ("pin_offsets", "board_offsets"):
        offsets = arrays[name]
        if offsets[0] != 0 or offsets[-1] != manifest["num_edges"]:
            found = f"run from {offsets[0]} to {offsets[-1]}"
            expected = f"expected 0 to {manifest['num_edges']}"
            raise PinGraphError(f"{folder / name}.npy: offsets {found}; {expected}")
    return arrays


def check_structure(graph: PinBoardGraph, folder: str | Path) -> None:
    """Raise PinGraphError unless the arrays are a graph: in range, in order, both ways the same."""
    sides = {"pin": (graph.by_pin, graph.num_boards), "board": (graph.by_board, graph.num_pins)}
    for side, (csr, others) in sides.items():
        fault = find_fault(csr, others)
        if fault:
            raise PinGraphError(f"{folder}: {side} {fault}")
    turned = vars(transpose(graph.by_pin, graph.num_boards))
    for name, array in vars(graph.by_board).items():
        if array is not None and not np.array_equal(array, turned[name]):
            raise PinGraphError(f"{folder}: {name} of the boards differ from those of the pins")
    try:
        if graph.pin_weights is not None:
            check_weights(graph.pin_weights)
        universe_index(graph.pin_ids, "pin")
        universe_index(graph.board_ids, "board")
    except PinGraphError as error:
        raise PinGraphError(f"{folder}: {error}") from error


def _write_array(path: Path, array: np.ndarray) -> dict[str, Any]:
    """Write a .npy file and return its entry in the manifest."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for chunk in _npy_chunks(array):
            file.write(chunk)
            digest.update(chunk)
    return {
        "dtype": array.dtype.str,
        "shape": list(array.shape),
        "bytes": path.stat().st_size,
        "sha256": digest.hexdigest(),
        "sample_sha256": _hash_samples(path),
    }


def _npy_chunks(array: np.ndarray) -> Iterator[bytes]:
    header = BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    yield header.getvalue()
    step = max(1, _CHUNK // array.itemsize)
    for start in range(0, len(array), step):
        yield array[start : start + step].tobytes()


def _hash_samples(path: Path) -> str:
    """Return the sha256 of 16 blocks of 16 KiB spread over the file: all of one up to 256 KiB."""
    digest = hashlib.sha256()
    last = max(path.stat().st_size - _BLOCK, 0)
    with path.open("rb") as file:
        for place in dict.fromkeys(last * i // (_BLOCKS - 1) for i in range(_BLOCKS)):
            file.seek(place)
            digest.update(file.read(_BLOCK))
    return digest.hexdigest()


def _hash_all(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise PinGraphError(f"{path}: missing; expected a folder that PinBoardGraph.save wrote")
    manifest = read_json(path)
    found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
    if found != FORMAT:
        raise PinGraphError(f"{path}: format {found!r}; expected {FORMAT!r}")
    found = manifest.get("version")
    if type(found) is not int or found != VERSION:
        raise PinGraphError(f"{path}: version {found!r}; this pingraph reads version {VERSION}")
    for count in ("num_pins", "num_boards", "num_edges"):
        if type(manifest.get(count)) is not int or manifest[count] < 0:
            raise PinGraphError(f"{path}: {count} is {manifest.get(count)!r}; expected a count")
    if not isinstance(manifest.get("files"), dict):
        raise PinGraphError(f"{path}: no table of files")
    return manifest


def _expected_lengths(folder: Path, manifest: dict[str, Any]) -> dict[str, int]:
    """Return how long each array has to be, optional ones only if the manifest lists them."""
    pins, boards, edges = (manifest[f"num_{things}"] for things in ("pins", "boards", "edges"))
    lengths = {"pin_offsets": pins + 1, "board_offsets": boards + 1}
    lengths |= {"pin_boards": edges, "board_pins": edges, "pin_ids": pins, "board_ids": boards}
    for pair in _OPTIONAL:
        if any(f"{name}.npy" in manifest["files"] for name in pair):
            lengths |= dict.fromkeys(pair, edges)
    listed = {f"{name}.npy" for name in lengths}
    for name in sorted(listed ^ set(manifest["files"])):
        problem = "not listed" if name in listed else "listed, but not part of a graph"
        raise PinGraphError(f"{folder / MANIFEST}: {name} is {problem}")
    return lengths


def _open_array(path: Path, entry: Any, length: int, *, verify: bool) -> np.ndarray:
    if not isinstance(entry, dict):
        raise PinGraphError(f"{path.parent / MANIFEST}: entry of {path.name} is {entry!r}")
    try:
        size = path.stat().st_size
        if size != entry.get("bytes"):
            expected = f"the manifest says {entry.get('bytes')!r}"
            raise PinGraphError(f"{path}: cut or damaged: it has {size} bytes, {expected}")
        if _hash_samples(path) != entry.get("sample_sha256"):
            raise PinGraphError(f"{path}: damaged or swapped: its contents aren't what was saved")
        if verify and _hash_all(path) != entry.get("sha256"):
            raise PinGraphError(f"{path}: damaged: its sha256 isn't what was saved")
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise PinGraphError(f"{path}: {error.strerror or error}") from error
    except (ValueError, EOFError) as error:
        if isinstance(error, PinGraphError):
            raise
        raise PinGraphError(f"{path}: not an .npy file ({error})") from error
    _check_header(path, array, entry, length)
    return array


def _check_header(path: Path, array: np.ndarray, entry: dict[str, Any], length: int) -> None:
    name = path.stem
    dtype = array.dtype.str
    allowed = next(kinds for end, kinds in _DTYPES.items() if name.endswith(end))
    if array.shape != (length,) or entry.get("shape") != [length]:
        raise PinGraphError(f"{path}: shape {list(array.shape)}; expected [{length}]")
    if dtype != entry.get("dtype") or not dtype.startswith(allowed):
        expected = " or ".join(allowed)
        raise PinGraphError(f"{path}: dtype {dtype}; expected {expected} as in the manifest")
