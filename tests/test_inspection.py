"""Inspection tells every problem at once, and finds wrong whatever opening refuses."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from PIL import Image

from pingraph.datasets import open_dataset
from pingraph.errors import PinGraphError
from pingraph.images import encode_png
from pingraph.inspection import inspect_folder
from tests.conftest import plain_tables

SHARED = Path(__file__).parents[2] / "shared" / "data"


def test_a_good_folder(tiny_folder, tiny):
    found = inspect_folder(tiny_folder)
    assert found.errors == []
    graph = tiny.graph
    facts = found.facts
    assert (facts["pins"], facts["boards"], facts["edges"]) == (60, 14, graph.num_edges)
    assert facts["image_share"] == 56 / 60
    assert facts["text_share"] == 54 / 60
    assert facts["distinct_images"] == 50
    assert facts["image_formats"] == {"PNG": 56}
    assert facts["image_width"] == {"mean": 16.0, "median": 16.0, "min": 16.0, "max": 16.0}
    assert facts["pins_on_no_board"] == 6
    assert facts["boards_per_pin"]["max"] == graph.pin_degrees.max()
    assert facts["pins_per_board"]["mean"] == round(graph.board_degrees.mean(), 2)
    assert facts["connected_share"] == graph.connected_share()
    assert facts["times"] == {"first": graph.pin_times.min(), "last": graph.pin_times.max()}
    json.dumps(facts)


def test_printed_text_names_facts_then_errors_then_warnings(write_folder):
    folder = write_folder(
        boards={"board_id": [10, 20, 10], "title": ["x", "", "z"]},
        edges={"pin_id": ["a", "zz"], "board_id": [10, 20]},
    )
    lines = str(inspect_folder(folder)).splitlines()
    assert lines[0] == str(folder.resolve())
    assert any(line.split() == ["pins", "4"] for line in lines)
    kinds = [line.split(":")[0] for line in lines if line.startswith(("error", "warning"))]
    assert kinds == ["error", "error", "warning"]
    assert lines[-len(kinds) :] == [line for line in lines if line.startswith(("error", "warn"))]


def test_all_problems_are_found_at_once(write_folder):
    truncated = encode_png(Image.fromarray(np.zeros((50, 50, 3), np.uint8)))[:60]
    folder = write_folder(
        pins={
            "pin_id": ["a", "b", "b", None, "", "f"],
            "image": [None, b"junk", truncated, None, None, None],
            "text": ["x", " ", "z", "z", "z", None],
        },
        boards={"board_id": [1, 1, -5], "title": [None, "same", "same"]},
        edges={
            "pin_id": ["a", "q", "r", "a", None],
            "board_id": [1, 1, 7, 7, 1],
            "weight": [1.0, float("nan"), -1.0, 0.0, 1.0],
        },
    )
    found = inspect_folder(folder)
    expected = [
        "pins.parquet: 1 pin_id missing: row 3 first",
        "pins.parquet: 1 pin_id empty: row 4 first",
        "pins.parquet: 1 pin_id repeated: 'b'",
        "boards.parquet: 1 board_id negative: row 2 first",
        "boards.parquet: 1 board_id repeated: 1",
        "edges.parquet: 1 pin_id missing: row 4 first",
        "edges.parquet: 2 rows with a pin_id that pins.parquet lacks: 'q' (row 1), 'r' (row 2)",
        "edges.parquet: 2 rows with a board_id that boards.parquet lacks: 7 (row 2), 7 (row 3)",
        "edges.parquet: 3 weights not finite and above 0: nan (row 1), -1.0 (row 2), 0.0 (row 3)",
        "pins.parquet: 2 broken images: pin 'b': image cannot be decoded (no image of a known",
    ]
    assert len(found.errors) == len(expected)
    for line, start in zip(found.errors, expected, strict=True):
        assert line.startswith(start), line
    assert found.warnings == [
        "boards.parquet: 1 board without a title: row 0 first",
        "boards.parquet: 1 title of several boards: 'same'",
        "pins.parquet: 1 pin with neither image nor text: 'f' (row 5)",
    ]
    assert found.facts["pins"] == 6


def test_warnings_about_the_graph(write_folder):
    pins = [f"p{i}" for i in range(260)]
    edges = [(pin, 1) for pin in pins] + [("p0", 2), ("p0", 2), ("p1", 3), ("p2", 3)]
    folder = write_folder(
        pins={"pin_id": pins, "image": pa.nulls(260), "text": pins},
        boards={"board_id": [1, 2, 3, 4], "title": ["a", "b", "c", "d"]},
        edges={"pin_id": [e[0] for e in edges], "board_id": [e[1] for e in edges]},
    )
    found = inspect_folder(folder)
    assert found.errors == []
    assert found.warnings == [
        "edges.parquet: 1 edge given more than once; merged on opening",
        "boards.parquet: 1 board without any pin: 4 (row 3)",
        "boards.parquet: 1 board with one pin, relating no pins: 2 (row 1)",
        "boards.parquet: 1 board with more than 200 pins, who do not count as mates: 1 (row 0)",
    ]
    assert found.facts["edges"] == 263


def test_text_leak_counts_whole_titles_word_for_word(write_folder):
    folder = write_folder(
        pins={"pin_id": [0, 1, 2, 3], "text": ["A Red, Sky", "red skyline", "sky red", None]},
        boards={"board_id": [0, 1], "title": ["red sky!", "?"]},
        edges={"pin_id": [0, 1, 2, 3, 0], "board_id": [0, 0, 0, 0, 1]},
    )
    assert inspect_folder(folder).facts["text_leak_share"] == 1 / 5


def test_image_formats_and_sizes(write_folder):
    images = []
    for format, size in (("PNG", (4, 9)), ("JPEG", (30, 10)), ("JPEG", (8, 8))):
        Image.new("RGB", size).save(file := io.BytesIO(), format)
        images.append(file.getvalue())
    folder = write_folder(
        pins={"pin_id": list("abcd"), "image": [*images, images[0]], "text": list("wxyz")}
    )
    facts = inspect_folder(folder).facts
    assert facts["image_formats"] == {"PNG": 2, "JPEG": 2}
    assert facts["image_width"]["max"] == 30
    assert facts["image_height"] == {"mean": 9.0, "median": 9.0, "min": 8.0, "max": 10.0}
    assert facts["pins_that_share_an_image"] == 2
    assert facts["distinct_images"] == 3


@pytest.mark.parametrize("missing", ["image", "text"])
def test_a_column_of_another_name_is_told(missing, write_folder):
    given = {"pin_id": list("abcd"), "image": [RED] * 4, "text": list("wxyz")}
    named = {name.replace(missing, "picture"): column for name, column in given.items()}
    found = inspect_folder(write_folder(pins=named))
    among = ", ".join(named)
    assert found.errors == []  # it may be meant
    assert found.warnings[0] == (
        f"pins.parquet: no column '{missing}' among {among}; taken as pins without {missing}s"
    )
    assert "nothing wrong found" not in str(found)
    meant = {**named, missing: pa.nulls(4)}
    assert not any(
        "column" in line for line in inspect_folder(write_folder("b", pins=meant)).warnings
    )


def test_a_table_of_unknown_columns_is_told_by_its_first_mistake_alone(write_folder):
    pins = {"id": list("abcd"), "img": [RED] * 4, "caption": list("wxyz")}
    assert inspect_folder(write_folder(pins=pins)).errors == [
        "pins.parquet: no column 'pin_id' among id, img, caption, nor any other known"
    ]


def test_small_weights_are_not_0(write_folder):
    edges = plain_tables()["edges"]
    weights = np.linspace(0.001, 0.002, len(edges["pin_id"]))
    found = inspect_folder(write_folder(edges={**edges, "weight": weights}))
    assert found.facts["weights"] == {"mean": 0.0015, "median": 0.0015, "min": 0.001, "max": 0.002}


def test_titles_may_all_be_missing(write_folder):
    boards = {"board_id": [10, 20, 30], "title": pa.nulls(3)}
    folder = write_folder(boards=boards)
    found = inspect_folder(folder)
    assert found.errors == []
    assert found.warnings[0] == "boards.parquet: 3 boards without a title: row 0 first"
    assert open_dataset(folder).board_titles == ["", "", ""]


def test_nothing_to_learn_from(write_folder):
    folder = write_folder(pins={"pin_id": list("abcd")})
    assert "no pin has an image or a text" in inspect_folder(folder).errors[0]


@pytest.mark.parametrize("tables", [["edges"], ["boards"], ["boards", "edges"]])
def test_numbers_that_are_too_large_for_ids_are_told(tables, write_folder):
    ids = pa.array([10, 20, 2**63], pa.uint64())
    columns = {
        "boards": {"board_id": ids, "title": ["x", "y", "z"]},
        "edges": {"pin_id": ["a", "b", "c"], "board_id": ids},
    }
    folder = write_folder(**{name: columns[name] for name in tables})
    errors = inspect_folder(folder).errors
    for name in tables:
        assert f"{name}.parquet: 1 board_id above the int64 range: row 2 first" in errors
    with pytest.raises(PinGraphError, match="exceeds int64"):
        open_dataset(folder)


def test_a_folder_of_another_layout(tmp_path):
    (tmp_path / "train_edges.parquet").write_bytes(b"")
    found = inspect_folder(tmp_path)
    assert len(found.errors) == 1
    assert "no pins.parquet, boards.parquet or edges.parquet" in found.errors[0]
    assert "train_edges.parquet" in found.errors[0]


def test_a_file_instead_of_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PinGraphError, match="no such folder"):
        inspect_folder(tmp_path / "file")


RED = encode_png(Image.new("RGB", (4, 4), (255, 0, 0)))
GOOD = {
    "pins": {"pin_id": ["a", "b", "c"], "image": [RED, None, RED], "text": ["x", "y", None]},
    "boards": {"board_id": [1, 2], "title": ["one", "two"]},
    "edges": {"pin_id": ["a", "b"], "board_id": [1, 2], "weight": [1.0, 2.0], "time": [5, 6]},
}
CELLS = [None, "", "a", "zz", "\0", b"junk", 0, 1, -1, 7, 2**63, 1.5, -1.0, 1e300, 1e-50]
CELLS += [float("nan"), float("inf"), True, [1]]


@st.composite
def nearly_good_tables(draw):
    """Good tables with nothing to three things changed."""
    tables = {name: dict(table) for name, table in GOOD.items()}
    for _ in range(draw(st.integers(0, 3))):
        name = draw(st.sampled_from([name for name, table in tables.items() if table]))
        column = draw(st.sampled_from(list(tables[name])))
        values, cell = tables[name][column], draw(st.sampled_from(CELLS))
        change = draw(st.sampled_from(["cell", "cell", "cell", "column", "drop", "empty"]))
        if change == "cell" and values:
            row = draw(st.integers(0, len(values) - 1))
            tables[name][column] = [*values[:row], cell, *values[row + 1 :]]
        elif change == "column":
            tables[name][column] = [cell] * len(values)
        elif change == "drop":
            del tables[name][column]
        elif change == "empty":
            tables[name] = {key: [] for key in tables[name]}
    return tables


@settings(
    deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(tables=nearly_good_tables())
def test_it_finds_wrong_just_what_opening_refuses(tmp_path, tables):
    folder = tmp_path / "any"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, table in tables.items():
        try:
            table = pa.table(table)
        except (pa.ArrowException, OverflowError):  # a column of two types is no table at all
            reject()
        if table.num_columns:
            pq.write_table(table, folder / f"{name}.parquet")
    found = inspect_folder(folder)
    assert str(found)
    try:
        open_dataset(folder)
        opened = True
    except PinGraphError:
        opened = False
    # a data set of broken images or of nothing at all opens, but cannot be trained on
    content = ("broken image", "nothing can be learned")
    structural = [line for line in found.errors if not any(part in line for part in content)]
    assert opened == (not structural), found.errors


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(1, 255))
def test_damaged_files_never_raise(tiny_folder, tmp_path, place, byte):
    shutil.rmtree(tmp_path / "copy", ignore_errors=True)
    folder = shutil.copytree(tiny_folder, tmp_path / "copy")
    for name in ("pins", "boards", "edges"):
        data = bytearray((folder / f"{name}.parquet").read_bytes())
        data[int(place * len(data))] ^= byte
        (folder / f"{name}.parquet").write_bytes(data)
    assert str(inspect_folder(folder))


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data lies beside the checkout only")
def test_numbers_of_the_shared_data_are_those_of_its_readme():
    facts = inspect_folder(SHARED / "wasteland-items").facts
    assert facts["distinct_images"] == 2932
    assert facts["distinct_texts"] == 5079
    assert f"{facts['text_leak_share']:.2%}" == "0.31%"
    assert f"{facts['connected_share']:.1%}" == "88.8%"
    assert facts["boards_per_pin"] == {"mean": 5.06, "median": 2.0, "min": 1.0, "max": 250.0}
