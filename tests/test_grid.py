"""The picture of neighborhoods shows every pin in its place, whatever the pin is made of."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from pingraph import grid
from pingraph.datasets import open_dataset
from pingraph.errors import PinGraphError
from pingraph.grid import WIDTH, GridRow, example_queries, grid_rows, save_grid
from pingraph.interfaces import EmbeddingTable
from pingraph.splits import PinSplit

BLUE = (0, 114, 178)


def make_table(dataset, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(dataset.num_pins, 4)).astype(np.float32)
    return EmbeddingTable(
        pin_ids=dataset.pin_ids,
        image=vectors,
        text=vectors,
        fused=vectors,
        has_image=dataset.has_image,
        has_text=dataset.has_text,
    )


def open_grid(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def frame(pixels, row, column, side=grid._SIDE):
    """The color just outside the picture at a place."""
    spot = grid._Spot.at(row, column, side)
    return tuple(pixels[spot.top - 1, spot.left + spot.side // 2].tolist())


def test_board_mates_have_a_blue_frame(write_folder, tmp_path):
    dataset = open_dataset(write_folder())  # a, b and c share boards; d is alone
    rows = [GridRow(query=0, neighbors=[1, 3, 2], shared=["colors", None, ""], label="mine")]
    save_grid(tmp_path / "grid.png", dataset, rows, "title")
    pixels = open_grid(tmp_path / "grid.png")
    assert [frame(pixels, 0, column) == BLUE for column in range(4)] == [False, True, False, True]
    assert frame(pixels, 0, 0) == (28, 28, 28)
    middle = [grid._Spot.at(0, column, grid._SIDE) for column in range(4)]
    shown = [tuple(pixels[s.top + s.side // 2, s.left + s.side // 2].tolist()) for s in middle]
    assert shown == [(255, 0, 0), (0, 255, 0), (9, 9, 9), (0, 0, 255)]


@pytest.mark.parametrize("neighbors", [0, 1, 8, 25])
def test_it_is_never_too_wide(tiny, tmp_path, neighbors):
    pins = [pin % tiny.num_pins for pin in range(neighbors)]
    rows = [GridRow(query=0, neighbors=pins, shared=[None] * neighbors)] * 2
    save_grid(tmp_path / "grid.png", tiny, rows, "a title")
    assert open_grid(tmp_path / "grid.png").shape[1] <= WIDTH


def test_rows_say_what_is_shared(tiny):
    table, queries = make_table(tiny), np.array([2, 11, 5])
    rows = grid_rows(table, tiny, queries, k=7, label="mine")
    assert [row.query for row in rows] == [2, 11, 5]
    sizes = tiny.graph.board_degrees
    for row in rows:
        scores = table.fused @ table.fused[row.query]
        scores[row.query] = -np.inf
        assert row.neighbors == np.argsort(-scores)[:7].tolist()
        assert row.label == "mine"
        for pin, title in zip(row.neighbors, row.shared, strict=True):
            both = set(tiny.graph.boards_of(row.query).tolist())
            both &= set(tiny.graph.boards_of(pin).tolist())
            least = min((sizes[board] for board in both), default=None)
            titles = {tiny.board_titles[board] for board in both if sizes[board] == least}
            assert title in titles if both else title is None


def test_a_large_board_makes_no_mates(tiny, monkeypatch):
    monkeypatch.setattr(grid, "BOARD_LIMIT", 0)
    rows = grid_rows(make_table(tiny), tiny, np.arange(6), k=20)
    assert all(title is None for row in rows for title in row.shared)


def test_examples_are_cold_and_have_something_to_find(tiny):
    split = PinSplit(0.3).split(tiny)
    pins = example_queries(tiny, split, 5, seed=1)
    assert len(set(pins.tolist())) == 5
    assert set(pins.tolist()) <= set(split.cold_pins(tiny.graph).tolist())
    assert np.array_equal(pins, example_queries(tiny, split, 5, seed=1))
    assert len(example_queries(tiny, split, 1000)) <= len(split.cold_pins(tiny.graph))


def test_examples_are_warm_where_nobody_is_cold(tiny):
    everything = {
        "train_edges": np.ones(tiny.graph.num_edges, bool),
        "train_pins": np.arange(tiny.num_pins),
    }
    split = dataclasses.replace(PinSplit(0.3).split(tiny), **everything)
    assert len(example_queries(tiny, split, 3)) == 3


STRANGE = [
    "猫と本棚 " * 40,
    "قطة على الكتب",
    "emoji 🧵📌 and a\ttab\nnewline \x00 null",
    "a" * 5000,
    "",
    None,
    "\u202e backwards \u0301\u0301",
]


def test_strange_texts_and_missing_or_broken_images(write_folder, tmp_path):
    ids = [f"p{row}" for row in range(len(STRANGE))]
    dataset = open_dataset(
        write_folder(
            pins={"pin_id": ids, "text": STRANGE, "image": [b"broken", *[None] * 6]},
            boards={"board_id": [1], "title": ["名前 \x00 🧵 " * 30]},
            edges={"pin_id": ids, "board_id": [1] * len(ids)},
        )
    )
    rows = grid_rows(make_table(dataset), dataset, np.arange(7), k=6, label="手法")
    save_grid(tmp_path / "grid.png", dataset, rows, "題 \x00")
    pixels = open_grid(tmp_path / "grid.png")
    assert frame(pixels, 6, 1) == BLUE


@pytest.mark.parametrize("width", [1, 20, 60, 168, 10_000])
@pytest.mark.parametrize("text", ["the quick brown fox jumps", "x" * 70, "a b c d e f", "", "ab"])
def test_wrapping_keeps_to_the_width_and_loses_no_words(text, width):
    font = grid._font(13)
    lines = grid._wrap(text, font, width, 4)
    assert len(lines) <= 4
    assert all(font.getlength(line) <= width for line in lines if len(line.rstrip("…")) > 1)
    kept = "".join(lines)
    if kept.endswith("…"):
        assert text.replace(" ", "").startswith(kept[:-1].replace(" ", ""))
    else:
        assert kept.replace(" ", "") == text.replace(" ", "")


def test_nothing_to_draw_is_an_error_and_leaves_nothing(tiny, tmp_path):
    with pytest.raises(PinGraphError, match="no pins to draw"):
        save_grid(tmp_path / "grid.png", tiny, [], "title")
    assert list(tmp_path.iterdir()) == []
