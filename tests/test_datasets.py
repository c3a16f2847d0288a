"""Folders open as they are, in whatever form Parquet holds them, and every bad one is named."""

import hashlib
import io
import itertools
import pickle
import shutil
import subprocess
import sys
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pingraph import datasets
from pingraph.datasets import BrokenImageError, PinBoardDataset, open_dataset, write_dataset
from pingraph.errors import PinGraphError
from pingraph.images import encode_png
from pingraph.tables import hash_column

SHARED = Path(__file__).parents[2] / "shared" / "data"
RED = encode_png(Image.new("RGB", (8, 8), (255, 0, 0)))
PLAIN_EDGES = {"pin_id": ["a", "b"], "board_id": [10, 10]}


def pins(**columns):
    return {"pin_id": ["a", "b"], "image": [RED, RED], "text": ["one", "two"], **columns}


BOARDS = {"board_id": [10], "title": ["ten"]}


def test_rows_are_dense_indices(write_folder):
    dataset = open_dataset(write_folder())
    assert dataset.pin_ids.tolist() == ["a", "b", "c", "d"]
    assert dataset.board_ids.tolist() == [10, 20, 30]
    assert dataset.texts == ["red sky", "green field", "blue sea", "black cat"]
    assert dataset.board_titles == ["colors", "nature", "animals"]
    assert dataset.graph.boards_of(0).tolist() == [0, 1]
    assert dataset.graph.boards_of(3).tolist() == [2]
    assert dataset.image(1).getpixel((4, 4)) == (0, 255, 0)
    assert dataset.pixels(2, 4)[:, 1, 1].tolist() == [0, 0, 255]
    assert dataset.name == "folder"
    assert dataset.num_pins == 4


def test_order_of_rows_is_kept_and_nodes_may_be_alone(write_folder):
    folder = write_folder(
        pins={"pin_id": [7, 3, 5], "text": ["x", "y", "z"]},
        boards={"board_id": ["q", "p"], "title": ["Q", None]},
        edges={"pin_id": [3], "board_id": ["p"], "weight": [2.5], "time": [9]},
    )
    dataset = open_dataset(folder)
    assert dataset.pin_ids.tolist() == [7, 3, 5]
    assert dataset.graph.pin_degrees.tolist() == [0, 1, 0]
    assert dataset.graph.boards_of(1).tolist() == [1]
    assert dataset.graph.pin_weights.tolist() == [2.5]
    assert dataset.graph.pin_times.tolist() == [9]
    assert dataset.board_titles == ["Q", ""]


def test_missing_modalities(write_folder):
    folder = write_folder(
        pins={
            "pin_id": ["a", "b", "c", "d"],
            "image": [RED, None, b"", RED],
            "text": ["  ", None, "blue", "blue"],
        }
    )
    dataset = open_dataset(folder)
    assert dataset.has_image.tolist() == [True, False, False, True]
    assert dataset.has_text.tolist() == [False, False, True, True]
    assert dataset.texts == ["", "", "blue", "blue"]
    assert dataset.image(1) is None
    assert dataset.pixels(2, 8) is None
    assert dataset.image_groups.tolist() == [0, -1, -1, 0]
    assert dataset.text_groups.tolist() == [-1, -1, 0, 0]


@pytest.mark.parametrize("dropped", ["image", "text"])
def test_a_whole_modality_may_be_missing(write_folder, dropped):
    whole = pins()
    without = {key: value for key, value in whole.items() if key != dropped}
    nulls = {**whole, dropped: pa.nulls(2)}
    for place, table in enumerate((without, nulls)):
        folder = write_folder(str(place), pins=table, boards=BOARDS, edges=PLAIN_EDGES)
        dataset = open_dataset(folder)
        flags = dataset.has_image if dropped == "image" else dataset.has_text
        groups = dataset.image_groups if dropped == "image" else dataset.text_groups
        assert not flags.any()
        assert groups.tolist() == [-1, -1]


def test_images_in_files(write_folder, tmp_path):
    (outside := tmp_path / "outside.png").write_bytes(RED)
    paths = ["in/red.png", "in/same.png", str(outside), "in/lost.png", "in/../../outside.png", ""]
    folder = write_folder(
        pins={"pin_id": list("abcdef"), "image": paths, "text": ["t"] * 6},
        edges={"pin_id": ["a"], "board_id": [10]},
    )
    (folder / "in").mkdir()
    for name in ("red", "same"):
        (folder / "in" / f"{name}.png").write_bytes(RED)
    dataset = open_dataset(folder)
    for pin in range(3):
        assert dataset.image(pin).getpixel((0, 0)) == (255, 0, 0)
    with pytest.raises(BrokenImageError, match=r"pins.parquet: pin 'd': .*No such file"):
        dataset.image(3)
    with pytest.raises(BrokenImageError, match=r"pin 'e': .*leaves the folder"):
        dataset.pixels(4, 8)
    assert dataset.image(5) is None
    assert dataset.image_groups.tolist()[:3] == [0, 0, 0]
    assert len(set(dataset.image_groups.tolist()[3:])) == 3
    before = dataset.fingerprint
    (folder / "in" / "red.png").write_bytes(RED + b"0")
    assert open_dataset(folder).fingerprint != before


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_damaged_image_is_named_or_decoded_but_never_another_error(data, tmp_path_factory):
    image = Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3))
    format = data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"]))
    image.save(file := io.BytesIO(), format)
    damaged = bytearray(file.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        damaged[place] = data.draw(st.integers(0, 255))
    damaged = damaged[: data.draw(st.integers(1, len(damaged)))]
    folder = tmp_path_factory.mktemp("damaged")
    pq.write_table(pa.table({"pin_id": ["x1"], "image": [bytes(damaged)]}), folder / "pins.parquet")
    dataset = open_dataset(folder, pins_only=True)
    message = ""
    try:
        assert dataset.pixels(0, 8).shape == (3, 8, 8)
    except BrokenImageError as error:
        message = str(error)
    assert not message or "pin 'x1': image cannot be decoded" in message
    assert "\n" not in message


def test_pins_only(write_folder):
    dataset = open_dataset(write_folder(boards=None, edges=None), pins_only=True)
    assert dataset.num_pins == 4
    assert len(dataset.fingerprint) == 64
    with pytest.raises(PinGraphError, match="pins_only"):
        dataset.graph  # noqa: B018
    with pytest.raises(PinGraphError, match="pins_only"):
        dataset.board_titles  # noqa: B018


VARIANTS = {
    "dictionary": lambda table: table.set_column(
        2, "text", table.column("text").dictionary_encode()
    ),
    "large": lambda table: table.cast(
        pa.schema(
            [("pin_id", pa.large_string()), ("image", pa.large_binary()), ("text", pa.string())]
        )
    ),
    "views": lambda table: table.cast(
        pa.schema(
            [("pin_id", pa.string_view()), ("image", pa.binary_view()), ("text", pa.string_view())]
        )
    ),
    "chunks": lambda table: table,
    "more": lambda table: table.append_column("likes", pa.array([1, 2, 3, 4])),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_same_content_in_other_parquet_is_the_same_data_set(write_folder, variant):
    plain = write_folder("plain")
    other = shutil.copytree(plain, plain.with_name("other"))
    table = VARIANTS[variant](pq.read_table(plain / "pins.parquet"))
    pq.write_table(table, other / "pins.parquet", row_group_size=1, compression="gzip")
    one, two = open_dataset(plain), open_dataset(other)
    assert one.fingerprint == two.fingerprint
    assert one.texts == two.texts
    assert two.image(2).getpixel((0, 0)) == (0, 0, 255)
    assert one.graph == two.graph


CHANGES = {
    "pin id": ("pins", "pin_id", ["a", "b", "c", "e"]),
    "text": ("pins", "text", ["red sky", "green field", "blue sea", "black cats"]),
    "text moved": ("pins", "text", ["red skygreen", " field", "blue sea", "black cat"]),
    "image": ("pins", "image", [RED] * 4),
    "title": ("boards", "title", ["colors", "nature", "animal"]),
    "board id": ("boards", "board_id", [10, 20, 30]),
    "edge": ("edges", "board_id", [10, 20, 10, 20, 10, 20, 20]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_fingerprint_follows_the_content(write_folder, change):
    plain = write_folder("plain")
    name, column, values = CHANGES[change]
    table = pq.read_table(plain / f"{name}.parquet")
    changed = table.set_column(table.column_names.index(column), column, pa.array(values))
    if change == "pin id":
        edges = {"pin_id": ["a", "a", "b", "b", "c", "c", "e"], "board_id": [10, 20] * 3 + [30]}
        other = write_folder("other", pins=changed, edges=edges)
    else:
        other = write_folder("other", **{name: changed})
    same = change == "board id"
    assert (open_dataset(plain).fingerprint == open_dataset(other).fingerprint) == same


@settings(deadline=None, max_examples=60)
@given(values=st.lists(st.none() | st.binary(max_size=5)), cuts=st.lists(st.integers(0, 20)))
def test_hash_of_a_column_does_not_depend_on_chunks(values, cuts):
    whole = pa.array(values, pa.binary())
    bounds = sorted({0, len(values), *(cut for cut in cuts if cut < len(values))})
    chunks = [whole.slice(a, b - a) for a, b in itertools.pairwise(bounds)]
    column = pa.chunked_array(chunks, pa.binary())
    found, slow = hashlib.sha256(), hashlib.sha256()
    hash_column(found, column)
    filled = [value or b"" for value in values]
    slow.update(np.array([len(value) for value in filled], np.int64).tobytes())
    slow.update(b"".join(filled))
    assert found.digest() == slow.digest()


def test_groups_equal_slow_twin(tiny):
    table = pq.read_table(tiny.folder / "pins.parquet")
    for groups, column in ((tiny.image_groups, "image"), (tiny.text_groups, "text")):
        values = table.column(column).to_pylist()
        for i in range(tiny.num_pins):
            for j in range(tiny.num_pins):
                same = values[i] is not None and values[i] == values[j]
                assert (groups[i] == groups[j] and groups[i] >= 0) == same
        assert not groups.flags.writeable


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_see_the_same_images(tiny, method):
    pin = int(np.flatnonzero(tiny.has_image)[0])
    # A function of the package: a spawned process cannot import this file and would wait forever.
    with get_context(method).Pool(1) as pool:
        found = pool.apply(PinBoardDataset.pixels, (tiny, pin, 8))
    assert np.array_equal(found, tiny.pixels(pin, 8))


@pytest.mark.parametrize("mistake", [NameError, ImportError])
def test_a_mistake_of_the_program_is_no_broken_image(tiny, monkeypatch, mistake):
    def load_pixels(image, size):
        raise mistake

    monkeypatch.setattr("pingraph.images.load_pixels", load_pixels)
    with pytest.raises(mistake):
        tiny.pixels(int(np.flatnonzero(tiny.has_image)[0]), 8)


def test_pickling_carries_no_images(tiny):
    data = pickle.dumps(tiny)
    assert len(data) < 1000
    again = pickle.loads(data)
    assert (again.name, again.fingerprint) == (tiny.name, tiny.fingerprint)


def test_a_folder_of_a_tables_name_is_told(tmp_path):
    (tmp_path / "pins.parquet").mkdir()
    with pytest.raises(PinGraphError, match=r"pins\.parquet: a folder, where a Parquet file is"):
        open_dataset(tmp_path)


BAD = {
    "no pins file": ({"pins": None}, r"pins.parquet: no such file"),
    "no boards file": ({"boards": None}, r"boards.parquet: no such file"),
    "no edges file": ({"edges": None}, r"edges.parquet: no such file"),
    "no pin_id": ({"pins": {"id": ["a"]}}, r"pins.parquet: 0 columns 'pin_id' among id"),
    "no title": ({"boards": {"board_id": [1]}}, r"boards.parquet: 0 columns 'title'"),
    "no board_id": ({"edges": {"pin_id": ["a"]}}, r"edges.parquet: 0 columns 'board_id'"),
    "text twice": (
        {"pins": pa.table([["a"], ["x"], ["y"]], names=["pin_id", "text", "text"])},
        r"pins.parquet: 2 columns 'text'",
    ),
    "empty pins": (
        {"pins": {"pin_id": pa.array([], pa.string())}},
        r"pins.parquet: no pins",
    ),
    "empty edges": (
        {"edges": {"pin_id": pa.array([], pa.null()), "board_id": pa.array([], pa.null())}},
        r"edges.parquet: no edges",
    ),
    "repeated pin": (
        {"pins": pins(pin_id=["a", "a"])},
        r"pins.parquet: pin id 'a' occurs twice, in rows 0 and 1",
    ),
    "repeated board": (
        {"boards": {"board_id": [10, 20, 10], "title": ["x", "y", "z"]}},
        r"boards.parquet: board id 10 occurs twice, in rows 0 and 2",
    ),
    "null pin": ({"pins": pins(pin_id=["a", None])}, r"pins.parquet: row 1: the pin id is missing"),
    "float pin": ({"pins": pins(pin_id=[1.0, 2.0])}, r"pins.parquet: .* type double"),
    "unknown pin": (
        {"edges": {"pin_id": ["a", "zz"], "board_id": [10, 10]}},
        r"edges.parquet: row 1: unknown pin id 'zz'",
    ),
    "unknown board": (
        {"edges": {"pin_id": ["a", "b"], "board_id": [10, 11]}},
        r"edges.parquet: row 1: unknown board id 11",
    ),
    "other kind": (
        {"edges": {"pin_id": [1, 2], "board_id": [10, 10]}},
        r"edges.parquet: the pin ids are strings, but integers",
    ),
    "nan weight": (
        {"edges": {**PLAIN_EDGES, "weight": [1.0, float("nan")]}},
        r"edges.parquet: row 1: weight nan",
    ),
    "null weight": (
        {"edges": {**PLAIN_EDGES, "weight": [1.0, None]}},
        r"edges.parquet: row 1: the weight is missing",
    ),
    "null time": (
        {"edges": {**PLAIN_EDGES, "time": [None, 3]}},
        r"edges.parquet: row 0: the time is missing",
    ),
    "text time": (
        {"edges": {**PLAIN_EDGES, "time": ["x", "y"]}},
        r"edges.parquet: times are object",
    ),
    "number text": ({"pins": pins(text=[1, 2])}, r"pins.parquet: column 'text' is int64"),
    "number image": ({"pins": pins(image=[1, 2])}, r"pins.parquet: column 'image' is int64"),
    "number title": (
        {"boards": {"board_id": [10], "title": [1]}},
        r"boards.parquet: column 'title' is int64",
    ),
    "broken text": (
        {"pins": pins(text=pa.array([b"\xff", b"a"]).view(pa.string()))},
        r"pins.parquet: not a readable Parquet file \(.*UTF8",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_bad_is_named_in_one_line(write_folder, case):
    tables, message = BAD[case]
    folder = write_folder(**tables)
    with pytest.raises(PinGraphError, match=message) as caught:
        open_dataset(folder)
    assert str(folder.resolve()) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(PinGraphError, match="no such folder; the built-in data sets are icons"):
        open_dataset(tmp_path / "nothing")


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(1, 255), cut=st.booleans())
def test_a_damaged_file_is_refused_or_gives_the_same(tiny_folder, tmp_path, place, byte, cut):
    shutil.rmtree(tmp_path / "copy", ignore_errors=True)
    folder = shutil.copytree(tiny_folder, tmp_path / "copy")
    data = bytearray((folder / "edges.parquet").read_bytes())
    footer = int.from_bytes(data[-8:-4], "little") + 8  # has no checksum in Parquet
    spot = int(place * (len(data) - footer))
    data[spot] ^= byte
    (folder / "edges.parquet").write_bytes(data[:spot] if cut else data)
    with suppress(PinGraphError):
        assert open_dataset(folder).graph == open_dataset(tiny_folder).graph


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(1, 255))
def test_damage_anywhere_gives_no_other_error(tiny_folder, tmp_path, place, byte):
    shutil.rmtree(tmp_path / "copy", ignore_errors=True)
    folder = shutil.copytree(tiny_folder, tmp_path / "copy")
    for name in ("pins", "boards", "edges"):
        data = bytearray((folder / f"{name}.parquet").read_bytes())
        data[int(place * len(data))] ^= byte
        (folder / f"{name}.parquet").write_bytes(data)
    with suppress(PinGraphError):
        open_dataset(folder)


def test_writing_is_all_or_nothing(tmp_path):
    tables = {"pins": pa.table(pins()), "boards": pa.table(BOARDS)}
    with pytest.raises(AttributeError):
        write_dataset(tmp_path / "new", **tables, edges=None)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "file").write_text("mine")
    with pytest.raises(PinGraphError, match="already exists"):
        write_dataset(tmp_path / "old", **tables, edges=pa.table(PLAIN_EDGES))
    write_dataset(tmp_path / "good", **tables, edges=pa.table(PLAIN_EDGES))
    assert open_dataset(tmp_path / "good").graph.num_edges == 2


def test_built_in_sets_are_made_once(cache, monkeypatch):
    world = open_dataset("world")
    assert world.folder.parent == cache.resolve()
    assert world.name == "world"
    monkeypatch.setattr("pingraph.world.World.write", lambda *_: pytest.fail("made twice"))
    assert open_dataset("world").fingerprint == world.fingerprint


def test_a_built_in_set_may_be_made_by_another_process_meanwhile(
    monkeypatch, tmp_path, tiny_folder
):
    monkeypatch.setenv("PINGRAPH_CACHE", str(tmp_path))

    def beaten(self, folder):
        shutil.copytree(tiny_folder, folder)
        raise PinGraphError(f"{folder}: already exists")

    monkeypatch.setattr("pingraph.world.World.write", beaten)
    assert open_dataset("world").num_pins == 60


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data lies beside the checkout only")
@pytest.mark.parametrize(
    ("name", "counts"),
    [("wasteland-items", (5175, 2326, 26207)), ("art-subjects-text", (51297, 5813, 328224))],
)
def test_shared_data_open_as_they_are(name, counts):
    graph = open_dataset(SHARED / name).graph
    assert (graph.num_pins, graph.num_boards, graph.num_edges) == counts


def test_importing_is_cheap():
    code = (
        "import sys, pingraph.datasets, pingraph.splits, pingraph.world, pingraph.inspection;"
        "print([m for m in ('torch', 'PIL', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_module_names_its_exception():
    assert datasets.BrokenImageError is BrokenImageError
    assert issubclass(BrokenImageError, PinGraphError)
