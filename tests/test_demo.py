"""The demo on small folders: what it writes and prints, and that it loses nothing."""

import contextlib
import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from pingraph import fit as training
from pingraph.errors import PinGraphError
from pingraph.experiments import demo
from pingraph.metrics import METRICS
from pingraph.queries import text_vector
from pingraph.runs import Run
from pingraph.subject import open_subject
from tests.command_line import TINY

pytestmark = pytest.mark.xdist_group("commands")

SMALL = [*TINY, "--trainer.max_steps=4", "--data.num_workers=0"]


@pytest.fixture(scope="module", autouse=True)
def small():
    """The demo trains in a second: a tiny encoder, few steps."""
    fit = training.fit
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "fit", lambda args: fit([*args, *SMALL]))
        yield


@pytest.fixture(scope="module")
def shown(tiny_folder, tmp_path_factory, small):
    """The demo on the tiny folder: where it wrote to, what it returned, and what it printed."""
    out = tmp_path_factory.mktemp("demo") / "new" / "out"
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        comparison = demo.run_demo(str(tiny_folder), 3, out)
    return out, comparison, printed.getvalue()


@pytest.fixture
def without(tiny_folder, tmp_path):
    """A function that writes the tiny folder without a column of its pins."""

    def write(column):
        folder = tmp_path / f"no {column}"
        folder.mkdir()
        for name in ("pins", "boards", "edges"):
            table = pq.read_table(tiny_folder / f"{name}.parquet")
            table = table.drop_columns([column]) if name == "pins" else table
            pq.write_table(table, folder / f"{name}.parquet")
        return folder

    return write


def assert_is_comparison(comparison, tasks, baselines):
    """Check the keys and the arithmetic; `tasks` are those that the data allow."""
    assert comparison.keys() == {"data", "seed", "cold", "warm"}
    for part in ("cold", "warm"):
        assert comparison[part].keys() == {
            "pin_to_pin",
            "image_to_text",
            "text_to_image",
            "board_to_pins",
        }
        for task, metrics in comparison[part].items():
            if task not in tasks:
                assert metrics is None
                continue
            assert metrics.keys() == set(METRICS)
            for entry in metrics.values():
                assert entry.keys() == {"image_text", "joint", "lift", "ci95"} | baselines
                assert all((entry[name] is None) == (task != "pin_to_pin") for name in baselines)
                assert_is_lift(entry)


def assert_is_lift(entry):
    if not entry["image_text"]:
        assert entry["lift"] is None
        return
    assert entry["lift"] == pytest.approx(entry["joint"] / entry["image_text"] - 1)
    if entry["ci95"] is not None:
        low, high = entry["ci95"]
        assert low <= high


def test_comparison_has_the_keys_that_are_promised(shown, tiny_folder):
    out, comparison, _ = shown
    assert json.loads((out / "comparison.json").read_text()) == comparison
    assert (comparison["data"], comparison["seed"]) == ("tiny", 3)
    tasks = {"pin_to_pin", "image_to_text", "text_to_image", "board_to_pins"}
    assert_is_comparison(comparison, tasks, {"tf_idf", "raw_pixels"})


def test_both_runs_have_one_budget_seed_and_split(shown):
    out, comparison, _ = shown
    configs = {}
    for method in ("image_text", "joint"):
        configs[method] = yaml.safe_load((out / method / "config.yaml").read_text())
        objective = configs[method]["model"]["objective"]["init_args"]
        assert (objective.pop("neighbor_weight") > 0) == (method == "joint")
        assert configs[method]["trainer"].pop("default_root_dir") == str(out / method)
        metrics = json.loads((out / method / "metrics.json").read_text())
        for part in ("cold", "warm"):
            for task, entries in comparison[part].items():
                for metric, entry in entries.items():
                    value = metrics[part][task][metric]["value"]
                    assert value == (entry[method] and pytest.approx(entry[method]))
    assert configs["image_text"] == configs["joint"]
    assert configs["joint"]["seed_everything"] == 3
    splits = [Run.open(out / method).split for method in configs]
    np.testing.assert_array_equal(splits[0].train_edges, splits[1].train_edges)


def test_the_figure_of_the_claim_is_that_of_the_fused_embedding(shown, tiny):
    out, comparison, _ = shown
    run = Run.open(out / "joint")
    graph = tiny.graph
    fused = run.embed(tiny).fused
    boards = [set(graph.boards_of(pin)) for pin in range(tiny.num_pins)]
    recalls = []
    for pin in run.split.cold_pins(graph):
        others = [other for other in range(tiny.num_pins) if other != pin]
        relevant = {other for other in others if boards[pin] & boards[other]}
        if relevant:
            nearest = sorted(others, key=lambda other: -fused[other] @ fused[pin])[:10]
            recalls.append(len(relevant & set(nearest)) / min(10, len(relevant)))
    assert max(graph.board_degrees) <= 200
    found = comparison["cold"]["pin_to_pin"]["recall@10"]["joint"]
    assert found == pytest.approx(np.mean(recalls))
    cold = run.split.cold_pins(graph)
    assert len(cold) == pytest.approx(0.2 * tiny.num_pins, abs=3)


def test_it_prints_the_table_and_the_paths(shown):
    out, comparison, printed = shown
    entry = comparison["cold"]["pin_to_pin"]["recall@10"]
    line = next(one for one in printed.splitlines() if one.split()[:1] == ["recall@10"])
    assert f"{entry['lift']:+.0%} [" in line
    for name in ("tf_idf", "raw_pixels", "image_text", "joint"):
        assert f"{entry[name]:.3f}" in line
    for path in ("comparison.json", "comparison.md", "image_text", "joint", "neighbors.png"):
        assert f"  {out / path}" in printed.splitlines()
        assert (out / path).exists()
    assert "Neighbor alignment " in printed
    assert Image.open(out / "neighbors.png").size[0] > 600


def test_a_folder_without_images_has_no_image_tasks(without, tmp_path, capsys):
    folder = without("image")
    first = demo.run_demo(str(folder), 0, tmp_path / "first")
    assert_is_comparison(first, {"pin_to_pin", "board_to_pins"}, {"tf_idf"})
    assert capsys.readouterr().out.count("image → text") == 0
    again = demo.run_demo(str(folder), 0, tmp_path / "again")
    assert again == first  # one seed, one result


def test_a_folder_without_texts_has_no_text_tasks(without, tmp_path):
    comparison = demo.run_demo(str(without("text")), 0, tmp_path / "out")
    assert_is_comparison(comparison, {"pin_to_pin", "board_to_pins"}, {"raw_pixels"})
    subject = open_subject(tmp_path / "out" / "joint")
    vector = text_vector(subject, subject.dataset.board_titles[0])  # known as a title alone
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_a_folder_with_missing_modalities_is_no_obstacle(tiny):
    # What `shown` ran on.
    assert 0 < (~tiny.has_text).sum() < tiny.num_pins
    assert 0 < (~tiny.has_image).sum() < tiny.num_pins


def test_a_trained_run_outlives_a_later_failure(tiny_folder, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise PinGraphError("the disk is full")

    out = tmp_path / "out"
    monkeypatch.setattr(demo, "compare", fail)
    with pytest.raises(PinGraphError, match="the disk is full"):
        demo.run_demo(str(tiny_folder), 0, out)
    for method in ("image_text", "joint"):
        assert Run.open(out / method).dataset() is not None
    assert not (out / "comparison.json").exists()
    with pytest.raises(PinGraphError, match="out: already exists"):
        demo.run_demo(str(tiny_folder), 0, out)


def test_a_failure_before_a_run_is_trained_leaves_nothing(tiny_folder, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise PinGraphError("no")

    monkeypatch.setattr(demo, "evaluate_table", fail)
    with pytest.raises(PinGraphError, match="no"):
        demo.run_demo(str(tiny_folder), 0, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_demo_says_how_its_run_goes_on(commands, tiny_folder, tmp_path):
    args = ["demo", "--data", tiny_folder, "-o", tmp_path / "out"]
    ended = commands.run(*args, ready=commands.until("| 5/"))
    assert ended.status == 130
    assert ended.err.splitlines()[-1].startswith("interrupted; to go on: pingraph fit ")
    assert (tmp_path / "out" / "image_text" / "checkpoints" / "last.ckpt").exists()
    assert "Traceback" not in ended.err
