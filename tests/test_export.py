"""What other tools read of an export is what is known of the pins, whatever they are called."""

import io
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tensorboard.data.provider import Run
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin
from werkzeug.test import Client
from werkzeug.wrappers import Response

from pingraph.datasets import open_dataset
from pingraph.errors import PinGraphError
from pingraph.evaluation import evaluate_table
from pingraph.export import gather, projector, write_parquet, write_projector
from pingraph.metrics import METRICS
from pingraph.planar import plane, principal
from pingraph.splits import NoSplit
from tests.command_line import contents
from tests.conftest import plain_tables
from tests.test_evaluation import make_table
from tests.test_report import subject

HOSTILE = ["tab\there", "two\nlines\r\nand \u2028 more", "  ", "=1+1<b>&\x07\u202eback"]


def written(folder, mine, *, k=10, image_size=32, **options):
    """Export as Parquet and return what it holds."""
    path = folder / "pins.parquet"
    write_parquet(path, gather(mine, **options), k=k, image_size=image_size)
    return pq.read_table(path)


def test_parquet_holds_what_is_known(tiny, tmp_path):
    mine = subject(tiny)
    table = written(tmp_path, mine, k=4)
    rows = table.to_pylist()
    graph, fused = tiny.graph, mine.table.fused
    assert [row["row"] for row in rows] == list(range(60))
    assert [row["id"] for row in rows] == tiny.pin_ids.tolist()
    assert [row["text"] or "" for row in rows] == tiny.texts
    assert [row["num_boards"] for row in rows] == graph.pin_degrees.tolist()
    for pin, row in enumerate(rows):
        titles = {tiny.board_titles[board] for board in graph.boards_of(pin)}
        assert set(row["boards"]) == titles
        sizes = [graph.board_degrees[tiny.board_titles.index(title)] for title in row["boards"]]
        assert sizes == sorted(sizes)
        cosines = fused[pin] @ fused.T
        cosines[pin] = -2
        nearest = np.argsort(-cosines, kind="stable")[:4]
        assert row["neighbors"]["ids"] == nearest.tolist()
        assert row["neighbors"]["distances"] == pytest.approx(1 - cosines[nearest], abs=1e-5)
        assert row["vector"] == fused[pin].tolist()
    np.testing.assert_allclose([[row["x"], row["y"]] for row in rows], plane(fused))
    states = np.array([row["state"] for row in rows])
    assert np.flatnonzero(states == "cold").tolist() == mine.split.cold_pins(graph).tolist()
    assert np.flatnonzero(states == "warm").tolist() == mine.split.warm_pins(graph).tolist()
    assert set(states) == {"cold", "warm", "none"}


def test_parquet_holds_what_each_pin_found(tiny, tmp_path):
    mine = subject(tiny)
    rows = written(tmp_path, mine).to_pylist()
    evaluation = evaluate_table(mine.table, tiny, mine.split)
    expected = {}
    for part in (evaluation.cold, evaluation.warm):
        result = part["pin_to_pin"]
        expected |= dict(zip(result.queries.tolist(), result.values, strict=True))
    assert {row["row"] for row in rows if row["recall_at_10"] is not None} == set(expected)
    for pin, values in expected.items():
        assert rows[pin]["recall_at_10"] == values[METRICS.index("recall@10")]
        assert rows[pin]["hit_at_10"] == values[METRICS.index("hit_rate@10")]


def test_types_are_those_that_the_tools_expect(tiny, tmp_path):
    schema = written(tmp_path, subject(tiny)).schema
    assert schema.field("vector").type == pa.list_(pa.float32(), 8)
    assert schema.field("boards").type == pa.list_(pa.string())
    image = schema.field("image").type
    assert (image.field("bytes").type, image.field("path").type) == (pa.binary(), pa.string())
    ids = schema.field("neighbors").type.field("ids").type
    assert pa.types.is_integer(ids.value_type)


@pytest.mark.parametrize(("size", "form"), [(32, "PNG"), (96, "JPEG")])
def test_images_can_be_decoded(tiny, tmp_path, size, form):
    images = written(tmp_path, subject(tiny), image_size=size)["image"].to_pylist()
    assert [image is not None for image in images] == tiny.has_image.tolist()
    first = next(image for image in images if image)
    opened = Image.open(io.BytesIO(first["bytes"]))
    assert (opened.size, opened.format) == ((size, size), form)
    whole = tiny.pixels(int(np.argmax(tiny.has_image)), size).mean()
    assert np.asarray(opened).mean() == pytest.approx(whole, abs=3)


def test_without_images(tiny, tmp_path):
    assert written(tmp_path, subject(tiny), image_size=0)["image"].null_count == 60


def test_more_pins_than_a_row_group_holds(tiny, tmp_path, monkeypatch):
    whole = written(tmp_path, subject(tiny)).to_pylist()
    monkeypatch.setattr("pingraph.export.parquet._BLOCK", 7)
    assert written(tmp_path, subject(tiny)).to_pylist() == whole
    assert pq.ParquetFile(tmp_path / "pins.parquet").num_row_groups == 9


def test_drawn_pins_are_neighbors_of_one_another(tiny, tmp_path):
    mine = subject(tiny)
    table = written(tmp_path, mine, pins=20, k=30)
    ids = table["id"].to_pylist()
    assert len(ids) == 20
    pins = [tiny.pin_ids.tolist().index(pin) for pin in ids]
    vectors = mine.table.fused[pins]
    for row, neighbors in enumerate(table["neighbors"].to_pylist()):
        assert sorted([row, *neighbors["ids"]]) == list(range(20))
        cosines = vectors[neighbors["ids"]] @ vectors[row]
        assert 1 - np.array(neighbors["distances"]) == pytest.approx(cosines, abs=1e-5)
    assert written(tmp_path, mine, pins=20, seed=1)["id"].to_pylist() != ids


def test_pins_without_a_vector_are_left_out(tiny, tmp_path):
    vectors = make_table(tiny).fused.copy()
    vectors[[0, 7]] = 0
    table = written(tmp_path, subject(tiny, fused=vectors))
    left = np.delete(tiny.pin_ids, [0, 7]).tolist()
    assert table["id"].to_pylist() == left
    assert table["row"].to_pylist() == list(range(58))
    with pytest.raises(PinGraphError, match="mine: no pin has a vector"):
        gather(subject(tiny, fused=np.zeros((60, 8), np.float32)))


def test_a_large_map_is_a_projection(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("pingraph.export.parquet.MOST_ON_MAP", 59)
    mine = subject(tiny)
    places = [written(tmp_path, mine)[axis].to_numpy() for axis in "xy"]
    np.testing.assert_array_equal(np.stack(places, axis=1), principal(mine.table.fused))


def test_bad_numbers_are_refused(tiny, tmp_path):
    with pytest.raises(PinGraphError, match="pins is 0: expected 1 or more"):
        gather(subject(tiny), pins=0)
    with pytest.raises(PinGraphError, match="k is 0"):
        written(tmp_path, subject(tiny), k=0)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(PinGraphError, match="not finite"):
        gather(subject(tiny, fused=np.full((60, 8), np.nan, np.float32)))


def hostile(write_folder):
    tables = plain_tables()
    tables["pins"] |= {"pin_id": HOSTILE, "text": HOSTILE[::-1]}
    tables["pins"]["image"][3] = b"no image"
    tables["boards"]["title"] = HOSTILE[:3]
    edges = tables["edges"]
    edges["pin_id"] = [HOSTILE["abcd".index(pin)] for pin in edges["pin_id"]]
    dataset = open_dataset(write_folder(**tables))
    return subject(dataset, NoSplit().split(dataset), name="a\tb\nc")


def test_parquet_keeps_any_text(write_folder, tmp_path):
    table = written(tmp_path, hostile(write_folder))
    assert table["id"].to_pylist() == HOSTILE
    assert table["text"].to_pylist() == [HOSTILE[3], None, *HOSTILE[1::-1]]  # blanks are no text
    assert [image is None for image in table["image"].to_pylist()][3]  # the broken one
    named = {title if title.strip() else "30" for title in HOSTILE[:3]}  # by its id, without one
    assert {title for titles in table["boards"].to_pylist() for title in titles} == named


class Provider:
    """Says that a log folder has no runs of its own."""

    def list_runs(self, ctx, experiment_id):
        return [Run(run_id=".", run_name=".", start_time=0.0)]


def served(folder):
    """Return how TensorBoard's projector answers from a folder."""
    plugin = ProjectorPlugin(TBContext(logdir=str(folder), data_provider=Provider()))
    apps = plugin.get_plugin_apps()

    def ask(route, **query):
        answer = Client(apps[route], Response).get("/", query_string=query)
        assert answer.status_code == 200, answer.text
        return answer

    return ask


def test_tensorboard_reads_the_folder(tiny, tmp_path):
    mine = subject(tiny)
    write_projector(tmp_path / "out", gather(mine))
    ask = served(tmp_path / "out")
    assert ask("/runs").json == ["."]
    config = ask("/info", run=".").json["embeddings"]
    assert [one["tensorName"] for one in config] == ["mine"]
    assert config[0]["tensorShape"] == [60, 8]
    tensor = np.frombuffer(ask("/tensor", run=".", name="mine").data, np.float32)
    np.testing.assert_array_equal(tensor.reshape(60, 8), mine.table.fused)
    lines = ask("/metadata", run=".", name="mine", num_rows=100_000).text.split("\n")
    assert lines.pop() == ""
    head, *rows = [line.split("\t") for line in lines]
    assert head == ["text", "id", "state", "num_boards", "boards", "recall_at_10", "hit_at_10"]
    assert {len(row) for row in rows} == {len(head)}
    assert [row[1] for row in rows] == [str(pin) for pin in tiny.pin_ids]
    assert [row[3] for row in rows] == [str(count) for count in tiny.graph.pin_degrees]
    sprite = Image.open(io.BytesIO(ask("/sprite_image", run=".", name="mine").data))
    side = config[0]["sprite"]["singleImageDim"][0]
    assert sprite.size == (8 * side, 8 * side)  # the smallest square that holds 60
    pin = int(np.flatnonzero(tiny.has_image)[10])
    corner = pin % 8 * side, pin // 8 * side
    cell = np.asarray(sprite.crop((*corner, corner[0] + side, corner[1] + side)))
    expected = tiny.pixels(pin, 16).repeat(side // 16, axis=1).repeat(side // 16, axis=2)
    assert np.abs(cell.transpose(2, 0, 1).astype(int) - expected).mean() < 8


def test_tensorboard_gets_one_line_a_pin(write_folder, tmp_path):
    mine = hostile(write_folder)
    write_projector(tmp_path / "out", gather(mine))
    ask = served(tmp_path / "out")
    name = ask("/info", run=".").json["embeddings"][0]["tensorName"]
    assert name == "a b c"
    lines = ask("/metadata", run=".", name=name).text.split("\n")[1:-1]
    assert len(lines) == 4
    for line in lines:
        assert line.isprintable() or line.replace("\t", "").isprintable()
        assert len(line.split("\t")) == 7
        assert line.strip()  # a blank line would be skipped, and shift the others
    assert lines[3].split("\t")[:2] == ["tab here", r"=1+1<b>&\x07 back"]


def test_a_sheet_fits_the_texture(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(projector, "SHEET", 100)
    write_projector(tmp_path / "out", gather(subject(tiny), pins=50))
    assert Image.open(tmp_path / "out" / "sprite.jpg").size == (96, 96)  # 8 times 12 pixels
    assert math.ceil(math.sqrt(projector.MOST)) <= 8192


def test_without_pictures_there_is_no_sheet(write_folder, tmp_path):
    tables = plain_tables()
    tables["pins"] = {name: tables["pins"][name] for name in ("pin_id", "text")}
    dataset = open_dataset(write_folder(**tables))
    write_projector(tmp_path / "out", gather(subject(dataset, NoSplit().split(dataset))))
    assert not (tmp_path / "out" / "sprite.jpg").exists()
    assert "sprite" not in served(tmp_path / "out")("/info", run=".").json["embeddings"][0]


def test_more_pins_than_the_projector_reads(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(projector, "MOST", 59)
    with pytest.raises(PinGraphError, match="60 pins: the projector reads 59 at most"):
        write_projector(tmp_path / "out", gather(subject(tiny)))
    assert not (tmp_path / "out").exists()


def test_twice_the_same_is_the_same(tiny, tmp_path):
    for name in ("one", "two"):
        found = gather(subject(tiny), pins=30)
        write_parquet(tmp_path / name / "pins.parquet", found)
        write_projector(tmp_path / name / "folder", found)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_command_line(tiny, tiny_folder, commands, tmp_path):
    np.save(tmp_path / "theirs.npy", make_table(tiny).fused)
    given = ("export", tmp_path / "theirs.npy", "--data", tiny_folder, "--cold_fraction", 0.3)
    for out in ("pins.parquet", "projector"):
        ended = commands.run(*given, "--pins", 20, "-o", tmp_path / out)
        assert ended.status == 0, ended.err
        assert ended.out.splitlines() == [str(tmp_path / out), "20 pins (40 left out)"]
    ids = pq.read_table(tmp_path / "pins.parquet")["id"].to_pylist()
    rows = (tmp_path / "projector" / "metadata.tsv").read_text(encoding="utf-8").splitlines()[1:]
    assert [row.split("\t")[1] for row in rows] == [str(pin) for pin in ids]
    assert (
        "or a new or empty folder" in commands.run(*given, "-o", tmp_path / "projector").refusal()
    )
    assert (
        "expected 0 to 4096"
        in commands.run(*given, "-o", tmp_path / "x.parquet", "--image_size", -1).refusal()
    )
    commands.run(*given).refusal()
    assert not (tmp_path / "x.parquet").exists()
