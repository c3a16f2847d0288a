"""Experiments: grids that are checked, run once a cell, and made into a table of their figures."""

import json
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
import yaml

from pingraph.errors import PinGraphError
from pingraph.experiment import Experiment
from pingraph.experiment_run import finished, run_cells
from pingraph.experiment_table import RESULTS_FILE, TABLE_FILE
from pingraph.run_files import METRICS_FILE
from tests.command_line import TINY

FIT = dict(option.removeprefix("--").split("=") for option in TINY)
GIVEN = {
    "title": "A small grid",
    "seeds": [0],
    "options": {**FIT, "trainer.max_steps": 2, "data.num_workers": 0},
    "methods": {
        "joint": None,
        "image-text alone": {"model.objective.neighbor_weight": 0},
        "TF-IDF": {"baseline": "tf_idf"},
    },
}


def write(path, **changes):
    given = {key: value for key, value in {**GIVEN, **changes}.items() if value is not None}
    path.write_text(yaml.safe_dump(given, sort_keys=False))
    return path


@pytest.mark.xdist_group("commands")
def test_a_grid_is_run_once_and_made_into_a_table(commands, tiny_folder, tmp_path):
    file = write(tmp_path / "small.yaml", data=[str(tiny_folder)])
    dry = commands.run("experiment", str(file), "--dry-run", cwd=tmp_path)
    assert dry.out.splitlines() == [
        "to do    runs/small/tiny/joint/seed-0",
        "to do    runs/small/tiny/image-text-alone/seed-0",
        "to do    runs/small/tiny/TF-IDF/seed-0",
    ]
    ended = commands.run("experiment", str(file), "--jobs=2", cwd=tmp_path)
    assert ended.status == 0, ended.err
    out = tmp_path / "runs" / "small"
    assert ended.out.splitlines()[-2:] == [f"runs/small/{RESULTS_FILE}", f"runs/small/{TABLE_FILE}"]
    rows = pq.read_table(out / RESULTS_FILE).to_pylist()
    for row in rows:
        method = row["method"].replace(" ", "-")
        metrics = json.loads((out / "tiny" / method / "seed-0" / METRICS_FILE).read_text())
        entry = metrics[row["part"]][row["task"]][row["metric"]]
        assert row["value"] == entry["value"]
        assert [row["low"], row["high"]] == (entry["ci95"] or [None, None])
    assert {row["method"] for row in rows} == set(GIVEN["methods"])
    for method in ("joint", "image-text alone", "TF-IDF"):
        assert f"| {method} |" in (out / TABLE_FILE).read_text()
    before = {path: path.stat().st_mtime_ns for path in out.rglob(METRICS_FILE)}
    assert len(before) == 3
    (out / "tiny" / "TF-IDF" / "seed-0" / METRICS_FILE).unlink()
    again = commands.run("experiment", str(file), cwd=tmp_path)
    assert again.status == 0, again.err
    after = {path: path.stat().st_mtime_ns for path in out.rglob(METRICS_FILE)}
    changed = [path.parts[-3] for path in after if after[path] != before[path]]
    assert changed == ["TF-IDF"]


@pytest.mark.xdist_group("commands")
def test_a_cell_that_fails_leaves_the_others_their_figures(commands, tiny_folder, tmp_path):
    methods = {"wrong": {"model.encoder.embed_dim": -1}, "TF-IDF": {"baseline": "tf_idf"}}
    file = write(tmp_path / "grid.yaml", data=["icons"], methods=methods)
    ended = commands.run("experiment", str(file), "--data", str(tiny_folder), cwd=tmp_path)
    assert ended.status == 2
    assert "failed: runs/grid/tiny/wrong/seed-0: error: embed_dim is -1" in ended.err
    assert "| TF-IDF |" in (tmp_path / "runs" / "grid" / TABLE_FILE).read_text()


def test_a_cell_of_other_options_is_not_taken_for_this_one(tiny_folder, tmp_path):
    only = {"TF-IDF": {"baseline": "tf_idf"}}
    grid = Experiment.load(write(tmp_path / "a.yaml", data=[str(tiny_folder)], methods=only))
    assert run_cells(grid, tmp_path / "out", jobs=1) == []
    assert all(finished(cell, tmp_path / "out") for cell in grid.cells())
    other = replace(grid, methods={"TF-IDF": {"baseline": "raw_pixels"}})
    with pytest.raises(PinGraphError, match=r"TF-IDF/seed-0 was run with other options"):
        run_cells(other, tmp_path / "out", jobs=1)
    with pytest.raises(PinGraphError, match="jobs is 0: expected 1 or more"):
        run_cells(grid, tmp_path / "out", jobs=0)


def test_the_cells_are_the_product_of_data_methods_and_seeds(tmp_path):
    grid = Experiment.load(write(tmp_path / "a.yaml", data=["icons", "world"], seeds=[3, 5]))
    found = [(cell.seed, cell.data, cell.method) for cell in grid.cells()]
    assert found == [(s, d, m) for s in (3, 5) for d in ("icons", "world") for m in grid.methods]
    assert len({cell.path for cell in grid.cells()}) == 12
    some = grid.of(data=["world"], methods=["TF-IDF"], seeds=[1])
    assert [cell.path.parts for cell in some.cells()] == [("world", "TF-IDF", "seed-1")]
    arguments = grid.cells()[1].arguments()
    assert arguments[:3] == ["--seed_everything=3", "--data.folder=icons", "--data.split.seed=3"]
    assert "--model.objective.neighbor_weight=0" in arguments


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": None}, "data is None: expected a list"),
        ({"data": "icons"}, "data is 'icons': expected a list"),
        ({"methods": ["a"]}, r"methods is \['a'\]: expected names"),
        ({"methods": {"a": 3}}, "methods.a is 3: expected options"),
        ({"methods": {"a": {"baseline": "bm25"}}}, "methods.a.baseline is 'bm25': tf_idf or raw"),
        ({"seeds": [-1]}, "seeds has -1: expected whole numbers from 0"),
        ({"seeds": [True]}, "seeds has True"),
        ({"reference": "nobody"}, "reference is 'nobody': expected one of the methods"),
        ({"sedes": [1]}, "unknown key 'sedes': expected title, data, seeds"),
    ],
)
def test_a_wrong_file_is_refused(changes, words, tmp_path):
    file = write(tmp_path / "grid.yaml", **{"data": ["icons"], **changes})
    with pytest.raises(PinGraphError, match=rf"grid\.yaml: {words}"):
        Experiment.load(file)


def test_a_missing_file_and_an_unknown_method_are_refused(tmp_path):
    with pytest.raises(PinGraphError, match=r"nowhere\.yaml: cannot be read as YAML"):
        Experiment.load(tmp_path / "nowhere.yaml")
    grid = Experiment.load(write(tmp_path / "grid.yaml", data=["icons"]))
    with pytest.raises(PinGraphError, match="no method 'jiont': expected one of"):
        grid.of(methods=["jiont"])
