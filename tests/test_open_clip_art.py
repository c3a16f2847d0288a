"""Open clip art: drawings of two small packages, each rule by a drawing that it decides."""

import subprocess
import sys

import pytest
from PIL import Image

from pingraph.datasets import open_dataset
from pingraph.errors import PinGraphError
from pingraph.experiments.open_clip_art import SIDE, main, make_clip_art

SVG = """<svg xmlns="http://www.w3.org/2000/svg" xmlns:dc="http://purl.org/dc/elements/1.1/"
  xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><metadata><rdf:RDF>
  <dc:title>{title}</dc:title><dc:creator>Somebody</dc:creator>
  <dc:subject><rdf:Bag>{items}</rdf:Bag></dc:subject></rdf:RDF></metadata></svg>"""
DRAWINGS = {  # file: title, tags
    "animals/red_fox_01": ("Red fox", ["Animal", "hash(0x8a393)", "HASH", "0x8b754fc", "red"]),
    "animals/cat_linda_k_02": ("Pets", ["animal", "pet", "", "HASH", "hash(0x8a393)", "0x8b754fc"]),
    "animals/dog-7": ("Pets", ["animal", "pet", "bone_eater"]),
    "tools/saw": ("", ["bone_eater"]),
    "shapes/stars/star_3": ("gramastar", ["animal", "pet"]),
}


@pytest.fixture
def packages(tmp_path):
    for pin, (title, tags) in DRAWINGS.items():
        items = "".join(f"<rdf:li>{tag}</rdf:li>" for tag in tags)
        add(tmp_path, pin, SVG.format(title=title, items=items))
    return tmp_path


def add(packages, pin, svg, size=(30, 20)):
    root = packages / "usr" / "share" / "openclipart"
    for kind in ("svg", "png"):
        (root / kind / pin).parent.mkdir(parents=True, exist_ok=True)
    (root / "svg" / f"{pin}.svg").write_text(svg)
    Image.new("RGBA", size, (255, 0, 0, 128)).save(root / "png" / f"{pin}.png")
    return root


def made(packages):
    make_clip_art(packages, packages / "made")
    return open_dataset(packages / "made")


def test_texts_are_titles_or_the_names_of_files(packages):
    dataset = made(packages)
    assert dict(zip(dataset.pin_ids.tolist(), dataset.texts, strict=True)) == {
        "animals/cat_linda_k_02": "cat linda k",
        "animals/dog-7": "dog",
        "animals/red_fox_01": "Red fox",
        "tools/saw": "saw",
    }


def test_boards_are_tags(packages):
    dataset = made(packages)
    graph, pins = dataset.graph, dataset.pin_ids
    boards = {
        str(title): pins[graph.pins_of(board)].tolist()
        for board, title in enumerate(dataset.board_titles)
    }
    assert boards == {
        "animal": ["animals/cat_linda_k_02", "animals/dog-7", "animals/red_fox_01"],
        "pet": ["animals/cat_linda_k_02", "animals/dog-7"],
        "bone eater": ["animals/dog-7", "tools/saw"],
    }


def test_pictures_lie_on_white_and_fit(packages):
    add(packages, "tools/axe", SVG.format(title="", items=""), size=(4 * SIDE, 2 * SIDE))
    dataset = made(packages)
    sizes = {pin: dataset.image(i).size for i, pin in enumerate(dataset.pin_ids.tolist())}
    assert sizes["tools/saw"] == (30, 20)
    assert sizes["tools/axe"] == (SIDE, SIDE // 2)
    assert dataset.image(0).getpixel((5, 5)) == (255, 127, 127)


def test_what_is_not_in_both_packages_or_a_link_is_passed_over(packages, capsys):
    root = add(packages, "tools/axe", SVG.format(title="", items=""))
    (root / "png" / "tools" / "axe.png").unlink()
    (root / "svg" / "tools" / "hacksaw.svg").symlink_to("saw.svg")
    (root / "png" / "tools" / "hacksaw.png").symlink_to("saw.png")
    add(packages, "tools/file", SVG.format(title="", items=""))
    (root / "png" / "tools" / "file.png").write_bytes(b"not a picture")
    assert made(packages).num_pins == 4
    assert "4 pins; pictures not readable: 1" in capsys.readouterr().out


def test_a_broken_drawing_is_named_and_nothing_written(packages):
    root = add(packages, "tools/axe", "<svg>")
    with pytest.raises(PinGraphError, match=r"tools/axe\.svg: not an SVG file \(no element"):
        make_clip_art(packages, packages / "made")
    assert not (packages / "made").exists()
    assert root.exists()


def test_a_folder_that_is_not_empty_is_refused_before_the_drawings_are_read(tmp_path):
    (tmp_path / "mine").write_text("")
    with pytest.raises(PinGraphError, match="already exists; give the name of a new or empty"):
        make_clip_art(tmp_path, tmp_path)


def test_command(packages):
    ended = subprocess.run(
        [sys.executable, "-m", "pingraph.experiments.open_clip_art", packages, packages / "made"],
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert open_dataset(packages / "made").num_pins == 4


def test_command_names_what_is_missing(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main([str(tmp_path), str(tmp_path / "made")])
    assert capsys.readouterr().err == (
        f"error: {tmp_path}/usr/share/openclipart/svg: no such folder; "
        "expected openclipart-svg, extracted\n"
    )
