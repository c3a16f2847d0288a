"""The icons data set: real glyphs, human boards, and no board that repeats a pin's own words."""

import importlib.util
import re

import numpy as np
import pytest

from pingraph.datasets import open_dataset
from pingraph.errors import PinGraphError
from pingraph.icons import make_icons

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("fontawesomefree") is None, reason="needs pingraph[demo]"
)


@pytest.fixture(scope="module")
def icons():
    return open_dataset("icons")


def test_counts_are_those_of_the_package(icons):
    assert icons.num_pins == 1395
    kinds = [board.split(":")[0] for board in icons.board_ids.tolist()]
    assert kinds.count("category") == 68
    assert kinds.count("term") > 1000
    assert 8000 < icons.graph.num_edges < 10_400


def test_every_icon_has_a_picture_and_a_label(icons):
    assert icons.has_image.all()
    assert icons.has_text.all()
    names, groups = icons.pin_ids.tolist(), icons.image_groups
    twins = [name for name in names if (groups == groups[names.index(name)]).sum() > 1]
    assert twins == ["caret-up", "sort-up"]  # one shape at two heights of the font's line


def test_glyphs_are_dark_on_white_centred_and_fill_the_square(icons):
    for pin in range(0, icons.num_pins, 7):
        pixels = icons.pixels(pin, 64)
        assert (pixels[0] == pixels[1]).all()
        ink = pixels[0] < 128
        assert 0.02 < ink.mean() < 0.8
        rows, columns = ((pixels[0] < 255).any(axis) for axis in (1, 0))
        margins = [(side.argmax(), side[::-1].argmax()) for side in (rows, columns)]
        assert all(abs(int(before) - int(after)) <= 1 for before, after in margins)
        assert min(map(min, margins)) == 4
        assert (pixels[:, 0] == 255).all()


def test_a_known_glyph_looks_like_itself(icons):
    pin = icons.pin_ids.tolist().index("circle")
    ink = icons.pixels(pin, 64)[0] < 128
    y, x = np.mgrid[:64, :64] - 31.5
    assert (ink == (np.hypot(x, y) < 28)).mean() > 0.98


def test_no_board_repeats_the_words_of_its_pins(icons):
    pins, boards = icons.graph.edges()

    def words(text):  # without the plural s
        return {re.sub("s$", "", word) or word for word in re.findall(r"\w+", text.lower())}

    for pin, board in zip(pins.tolist(), boards.tolist(), strict=True):
        title = words(icons.board_titles[board])
        assert not title or title - words(icons.texts[pin])


def test_boards_have_two_pins_or_more_and_no_two_the_same(icons):
    members = [frozenset(icons.graph.pins_of(b).tolist()) for b in range(icons.graph.num_boards)]
    assert min(map(len, members)) >= 2
    assert len(set(members)) == len(members)


def test_boards_are_the_tags_of_the_package(icons):
    graph = icons.graph
    board = icons.board_ids.tolist().index("category:animals")
    assert icons.board_titles[board] == "Animals"
    members = {icons.pin_ids[pin] for pin in graph.pins_of(board)}
    assert {"cat", "dog", "horse", "spider"} <= members
    assert "anchor" not in members
    dog = graph.boards_of(icons.pin_ids.tolist().index("dog"))
    assert "term:mammal" in set(icons.board_ids[dog].tolist())


def test_made_twice_it_is_the_same(icons, tmp_path):
    make_icons(tmp_path / "again")
    assert open_dataset(tmp_path / "again").fingerprint == icons.fingerprint


def test_without_the_package_it_tells_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PinGraphError, match=r"pip install pingraph\[demo\]"):
        make_icons(tmp_path / "icons")
    assert not list(tmp_path.iterdir())
