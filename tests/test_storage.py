"""Saved graphs come back equal and mapped, and whatever was damaged is refused by name."""

import errno
import itertools
import json
import multiprocessing
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from pingraph import storage
from pingraph.errors import PinGraphError
from pingraph.graph import PinBoardGraph
from tests.graph_cases import edges

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def graph():
    return PinBoardGraph.from_edges(
        ["a", "c", "b", "a", "d"],
        [0, 1, 0, 1, 1],
        [1.0, 4.0, 3.0, 2.0, 5.0],
        [10, 40, 30, 20, 50],
        board_ids=[0, 1, 2],
    )


@pytest.fixture
def folder(graph, tmp_path):
    graph.save(tmp_path / "graph")
    return tmp_path / "graph"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A graph of a million edges (4 MB in each file of neighbors), and one of 100,000."""
    rng = np.random.default_rng(0)
    pins, boards = rng.integers(0, 2000, 1_100_000), rng.integers(0, 9000, 1_100_000)
    large = tmp_path_factory.mktemp("large") / "graph"
    graph = PinBoardGraph.from_edges(pins, boards)
    graph.save(large)
    small = tmp_path_factory.mktemp("small") / "graph"
    graph.keep_edges(np.arange(graph.num_edges) % 10 == 0).save(small)
    return small, large


@pytest.fixture
def large(folders):
    return folders[1]


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(case=edges())
def test_what_is_saved_is_opened_again(case, tmp_path_factory):
    graph = case.graph()
    folder = tmp_path_factory.mktemp("saved") / "new" / "graph"
    graph.save(folder)
    for verify in (False, True):
        opened = PinBoardGraph.open(folder, verify=verify)
        assert opened == graph
        assert opened.fingerprint() == graph.fingerprint()
        for name, array in opened.arrays().items():
            np.testing.assert_array_equal(array, graph.arrays()[name])


def test_a_view_without_edges_or_nodes_is_saved_too(graph, tmp_path):
    for name, view in (
        ("edgeless", graph.keep_edges(np.zeros(5, bool))),
        ("empty", graph.subgraph(pins=[], boards=[])),
    ):
        view.save(tmp_path / name)
        assert PinBoardGraph.open(tmp_path / name, verify=True) == view


def test_an_opened_graph_is_mapped_and_fixed(folder):
    for array in PinBoardGraph.open(folder).arrays().values():
        assert isinstance(array.base, np.memmap)
        assert type(array) is np.ndarray
        with pytest.raises(ValueError, match="read-only"):
            array[0] = array[0]


def test_an_opened_graph_can_be_viewed_and_saved_elsewhere(folder, graph, tmp_path):
    opened = PinBoardGraph.open(folder)
    opened.save(tmp_path / "copy")
    assert PinBoardGraph.open(tmp_path / "copy", verify=True) == graph
    assert opened.subgraph(pins=[0, 1]) == graph.subgraph(pins=[0, 1])


def test_the_manifest_says_what_is_there(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["format"], manifest["version"]) == ("pingraph-graph", 1)
    assert [manifest[f"num_{name}"] for name in ("pins", "boards", "edges")] == [4, 3, 5]
    assert {path.name for path in folder.iterdir()} == {"manifest.json", *manifest["files"]}
    entry = manifest["files"]["pin_boards.npy"]
    assert (entry["dtype"], entry["shape"]) == ("<i4", [5])
    assert entry["bytes"] == (folder / "pin_boards.npy").stat().st_size


@on_linux
def test_opening_reads_no_more_of_a_larger_graph(folders):
    read = []
    for folder in folders:
        before = _bytes_read()
        opened = PinBoardGraph.open(folder)
        read.append(_bytes_read() - before)
        assert _mapping(folder / "pin_boards.npy")["Rss"] <= 64 * 1024 < opened.pin_boards.nbytes
    assert read[1] < 1.1 * read[0]
    assert read[1] < 2**21 < sum(path.stat().st_size for path in folders[1].iterdir())


@on_linux
def test_forked_workers_share_the_pages(large):
    opened = PinBoardGraph.open(large)
    total = int(opened.pin_boards.sum())
    fork = multiprocessing.get_context("fork")
    queue = fork.SimpleQueue()
    path = large / "pin_boards.npy"
    worker = fork.Process(target=lambda: queue.put((int(opened.pin_boards.sum()), _mapping(path))))
    worker.start()
    found, mapped = queue.get()
    worker.join()
    assert found == total
    assert mapped["Anonymous"] == mapped["Private_Dirty"] == mapped["Private_Clean"] == 0
    assert mapped["Shared_Clean"] + mapped["Shared_Dirty"] >= opened.pin_boards.nbytes


FILES = [f"{name}.npy" for name in PinBoardGraph.__dataclass_fields__]


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_missing_cut_or_longer_is_named(folder, name):
    path = folder / name
    whole = path.read_bytes()
    for content in (None, b"", whole[:100], whole[:-1], whole + b"\0"):
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        _refused(folder, re.escape(str(path)))
        path.write_bytes(whole)
    PinBoardGraph.open(folder, verify=True)


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_byte_of_a_small_file_is_seen_at_once(folder, name):
    path = folder / name
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        _refused(folder, f"{re.escape(str(path))}: damaged")


def test_swapped_files_are_seen(folder):
    for one, two in itertools.combinations(FILES, 2):
        a, b = (folder / one).read_bytes(), (folder / two).read_bytes()
        (folder / one).write_bytes(b)
        (folder / two).write_bytes(a)
        _refused(folder, rf"({one}|{two}): (damaged|cut)")
        (folder / one).write_bytes(a)
        (folder / two).write_bytes(b)


def test_a_flipped_byte_deep_in_a_large_file_is_seen_by_verify(large, tmp_path):
    folder = tmp_path / "graph"
    PinBoardGraph.open(large).save(folder)
    path = folder / "pin_boards.npy"
    with path.open("r+b") as file:
        file.seek(150_001)
        byte = file.read(1)
        file.seek(150_001)
        file.write(bytes([byte[0] ^ 1]))
    PinBoardGraph.open(folder)
    with pytest.raises(PinGraphError, match=r"pin_boards\.npy: damaged: its sha256"):
        PinBoardGraph.open(folder, verify=True)


@pytest.mark.parametrize("place", range(0, 200_000, 9_001))
def test_a_file_of_200_kib_is_checked_whole_at_once(tmp_path, place):
    rng = np.random.default_rng(0)
    pins, boards = rng.integers(0, 2000, 50_000), rng.integers(0, 9000, 50_000)
    PinBoardGraph.from_edges(pins, boards).save(tmp_path / "graph")
    path = tmp_path / "graph" / "pin_boards.npy"
    data = bytearray(path.read_bytes())
    assert 190_000 < len(data) < 256 * 1024
    data[min(place, len(data) - 1)] ^= 1
    path.write_bytes(bytes(data))
    _refused(tmp_path / "graph", r"pin_boards\.npy: damaged or swapped")


def test_the_last_byte_of_a_large_file_is_checked_at_once(large, tmp_path):
    PinBoardGraph.open(large).save(tmp_path / "graph")
    path = tmp_path / "graph" / "board_pins.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    _refused(tmp_path / "graph", r"board_pins\.npy: damaged or swapped")


def test_a_stretch_of_zeros_in_a_large_file_is_seen_at_once(large, tmp_path):
    folder = tmp_path / "graph"
    PinBoardGraph.open(large).save(folder)
    with (folder / "board_pins.npy").open("r+b") as file:
        file.seek(1_000_000)
        file.write(bytes(400_000))
    _refused(folder, r"board_pins\.npy: damaged or swapped")


MANIFESTS = {
    "another format": ({"format": "parquet"}, "format 'parquet'; expected 'pingraph-graph'"),
    "a later version": ({"version": 2}, "version 2; this pingraph reads version 1"),
    "no version": ({"version": None}, "version None"),
    "a truth for a version": ({"version": True}, "version True"),
    "a text for a count": ({"num_pins": "4"}, "num_pins is '4'; expected a count"),
    "a negative count": ({"num_edges": -1}, "num_edges is -1"),
    "other pins": ({"num_pins": 5}, r"pin_offsets\.npy: shape \[5\]; expected \[6\]"),
    "other edges": ({"num_edges": 4}, r"pin_boards\.npy: shape \[5\]; expected \[4\]"),
    "no files": ({"files": None}, "no table of files"),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_an_edited_manifest_is_refused(folder, name):
    change, message = MANIFESTS[name]
    _edit(folder, lambda manifest: manifest.update(change))
    _refused(folder, message)


FILE_TABLES = {
    "a file is not listed": (lambda files: files.pop("pin_ids.npy"), r"pin_ids\.npy is not listed"),
    "half a pair": (lambda files: files.pop("pin_times.npy"), r"pin_times\.npy is not listed"),
    "a path outside": (
        lambda files: files.update({"../x.npy": {}}),
        r"\.\./x\.npy is listed, but not part of a graph",
    ),
    "no entry": (lambda files: files.update({"pin_ids.npy": 3}), r"entry of pin_ids\.npy is 3"),
    "another size": (
        lambda files: files["pin_ids.npy"].update(bytes=3),
        r"pin_ids\.npy: cut or damaged: it has 144 bytes, the manifest says 3",
    ),
    "another dtype": (
        lambda files: files["pin_times.npy"].update(dtype="<f8"),
        r"pin_times\.npy: dtype <i8; expected <i8 as in the manifest",
    ),
    "no checksum": (
        lambda files: files["pin_ids.npy"].pop("sample_sha256"),
        r"pin_ids\.npy: damaged or swapped",
    ),
}


@pytest.mark.parametrize("name", FILE_TABLES)
def test_an_edited_table_of_files_is_refused(folder, name):
    change, message = FILE_TABLES[name]
    _edit(folder, lambda manifest: change(manifest["files"]))
    _refused(folder, message)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([1, 2, 3], object), r"pin_times\.npy: not an \.npy file \(.*Python objects"),
        (np.arange(5.0), r"pin_times\.npy: dtype <f8; expected <i8"),
        (np.arange(4), r"pin_times\.npy: shape \[4\]; expected \[5\]"),
        (np.arange(5).reshape(5, 1), r"pin_times\.npy: shape \[5, 1\]; expected \[5\]"),
        (b"not an array", r"pin_times\.npy: not an \.npy file"),
    ],
)
def test_a_foreign_array_is_refused_even_if_the_manifest_vouches_for_it(folder, array, message):
    path = folder / "pin_times.npy"
    if isinstance(array, bytes):
        path.write_bytes(array)
    else:
        np.save(path, array)
    entry = {
        "bytes": path.stat().st_size,
        "sha256": storage._hash_all(path),
        "sample_sha256": storage._hash_samples(path),
    }
    if not isinstance(array, bytes):
        entry |= {"dtype": array.dtype.str, "shape": list(array.shape)}
    _edit(folder, lambda manifest: manifest["files"]["pin_times.npy"].update(entry))
    _refused(folder, message)


WRONG_ARRAYS = {
    "offsets that do not end at the edges": (
        {"pin_offsets": [0, 2, 3, 4, 4]},
        r"pin_offsets\.npy: offsets run from 0 to 4; expected 0 to 5",
        False,
    ),
    "a neighbor out of range": ({"pin_boards": [0, 3, 0, 1, 1]}, "pin row 0 has a neighbor", True),
    "falling neighbors": ({"pin_boards": [1, 0, 0, 1, 1]}, "pin row 0 has neighbors that do", True),
    "falling offsets": ({"board_offsets": [0, 6, 5, 5]}, "board row 0 begins after", True),
    "two graphs": ({"board_pins": [0, 2, 0, 1, 3]}, "neighbors of the boards differ", True),
    "two weights": ({"board_weights": [1, 3, 2, 4, 6]}, "weights of the boards differ", True),
    "two times": ({"board_times": [1, 3, 2, 4, 6]}, "times of the boards differ", True),
    "offsets that do not begin at 0": ({"pin_offsets": [1, 2, 3, 4, 5]}, "run from 1 to 5", False),
    "an id twice": ({"pin_ids": ["a", "b", "c", "a"]}, "pin id 'a' occurs twice", True),
    "a board twice": ({"board_ids": [0, 1, 1]}, "board id 1 occurs twice", True),
    "a bad weight": (
        {"pin_weights": [1, 2, 3, 4, -5], "board_weights": [1, 3, 2, 4, -5]},
        "row 4: weight -5.0",
        True,
    ),
}


@pytest.mark.parametrize("name", WRONG_ARRAYS)
def test_arrays_that_are_no_graph_are_refused(graph, tmp_path, name):
    arrays, message, at_once = WRONG_ARRAYS[name]
    dtypes = {key: array.dtype for key, array in graph.arrays().items()}
    wrong = {key: np.array(values, dtypes[key]) for key, values in arrays.items()}
    replace(graph, **wrong).save(tmp_path / "graph")
    if at_once:
        PinBoardGraph.open(tmp_path / "graph")
    with pytest.raises(PinGraphError, match=message) as caught:
        PinBoardGraph.open(tmp_path / "graph", verify=True)
    assert str(tmp_path / "graph") in str(caught.value)


def test_a_place_without_a_graph_is_named(folder, tmp_path):
    (tmp_path / "bare").mkdir()
    for place in (tmp_path / "bare", tmp_path / "missing", folder / "pin_ids.npy"):
        _refused(
            place, rf"{re.escape(str(place))}.*: missing; expected a folder that PinBoardGraph"
        )
    for text in ("{", "[]", '"graph"', "{}"):
        (folder / "manifest.json").write_text(text)
        _refused(folder, r"manifest\.json: (not a JSON file|format)")


def test_saving_overwrites_nothing(graph, folder, tmp_path):
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(PinGraphError, match="already exists"):
        graph.save(folder)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    (tmp_path / "empty").mkdir()
    graph.save(tmp_path / "empty")
    assert PinBoardGraph.open(tmp_path / "empty") == graph


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
def test_a_failing_disk_leaves_nothing_behind(graph, tmp_path, monkeypatch, number):
    hashed = storage._hash_samples

    def fail(path):
        if path.name == "board_pins.npy":
            raise OSError(number, os.strerror(number))
        return hashed(path)

    monkeypatch.setattr(storage, "_hash_samples", fail)
    with pytest.raises(PinGraphError, match=f"cannot write .*graph: {os.strerror(number)}"):
        graph.save(tmp_path / "graph")
    assert list(tmp_path.iterdir()) == []


@on_linux
def test_a_write_that_stops_halfway_leaves_nothing_behind(large, tmp_path):
    """A real one: the system refuses to let any file grow beyond 1 MB."""
    code = """
import resource, signal, sys
from pingraph.errors import PinGraphError
from pingraph.graph import PinBoardGraph
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
graph = PinBoardGraph.open(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6))
try:
    graph.save(sys.argv[2])
except PinGraphError as error:
    print(error)
"""
    target = tmp_path / "copy"
    command = [sys.executable, "-c", code, str(large), str(target)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout == f"cannot write {target}: File too large\n"
    assert list(tmp_path.iterdir()) == []


def test_a_target_that_cannot_be_made_is_named(graph, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PinGraphError, match=r"cannot write .*file/graph: File exists"):
        graph.save(tmp_path / "file" / "graph")
    with pytest.raises(PinGraphError, match=r"file: already exists"):
        graph.save(tmp_path / "file")


def _refused(folder, message):
    with pytest.raises(PinGraphError, match=message) as caught:
        PinBoardGraph.open(folder)
    assert "\n" not in str(caught.value)


def _edit(folder, change):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def _bytes_read():
    text = Path("/proc/self/io").read_text()
    return int(re.search(r"rchar: (\d+)", text)[1])


def _mapping(path):
    """Return what /proc says of the memory that a file is mapped to, in bytes, summed."""
    totals: dict[str, int] = {}
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            inside = line.endswith(str(path))
        elif inside and (entry := re.match(r"(\w+): +(\d+) kB", line)):
            totals[entry[1]] = totals.get(entry[1], 0) + int(entry[2]) * 1024
    return totals
