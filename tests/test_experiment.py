"""Experiments: grids that are checked, run once a cell, stopped and gone on with, and refused."""

import json
import math
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from threading import Event, Lock

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from pingraph.errors import PinGraphError
from pingraph.experiment import records, run
from pingraph.experiment.cell import (
    CELL_FILE,
    DATA_FOLDER,
    JUDGED_FILE,
    MADE_FILE,
    QUERIES_FILE,
    _of_run,
    main,
    prepare,
)
from pingraph.experiment.figures import Figures
from pingraph.experiment.files import write_all
from pingraph.experiment.parts import Trial
from pingraph.experiment.plan import Cell, Experiment
from pingraph.experiment.records import costs, finished, older
from pingraph.experiment.run import listing, run_cells
from pingraph.files import held_while_open, read_json, write_json
from pingraph.fit import fit
from pingraph.propagation import Propagation
from pingraph.run_files import CHECKPOINT_FILE, CONFIG_FILE, SPLIT_FILE
from pingraph.runs import Run
from pingraph.splits import Split
from pingraph.subject import open_subject
from pingraph.weights import read_state
from tests.command_line import TINY, contents

FIT = dict(option.removeprefix("--").split("=") for option in TINY)
TF_IDF = {"class_path": "pingraph.experiments.methods.TfIdf"}
WORDS = {"class_path": "pingraph.experiments.own_method.BoardWords", "init_args": {"rare": 2.0}}
TEXT_ALONE = {"text alone": {"embedding": "text"}}
GIVEN = {
    "title": "A small grid",
    "seeds": [0],
    "options": {**FIT, "trainer.max_steps": 2, "data.num_workers": 0},
    "methods": {"TF-IDF": TF_IDF, "own": WORDS},
}
MADE = {"seconds": 1, "commit": None, "dirty": None, "continued": [], "trained_in": "."}


@pytest.fixture
def judged_here(monkeypatch):
    """Cells that are not trained run in this process, for one of their own takes 7 s of imports."""

    def process(arguments, *_):
        assert arguments[:2] == ["-m", "pingraph.experiment.cell"]
        main(*arguments[2:])

    monkeypatch.setattr(run, "_process", process)


@pytest.fixture
def trained_here(judged_here, monkeypatch):
    """Cells that are trained run in this process too; returns a list of what was trained."""
    judged, fitted, alone = run._process, [], Lock()

    def process(arguments, *rest):
        if arguments[0] == "-m":
            return judged(arguments, *rest)
        assert arguments[2] == "fit"
        with alone:  # two at a time would draw from one torch generator
            fitted.append(Path(fit(arguments[3:])))

    monkeypatch.setattr(run, "_process", process)
    return fitted


def write(path, **changes):
    given = {key: value for key, value in {**GIVEN, **changes}.items() if value is not None}
    path.write_text(yaml.safe_dump(given, sort_keys=False))
    return path


@pytest.mark.xdist_group("commands")
def test_a_grid_is_run_once_and_made_into_tables(commands, tiny_folder, tmp_path):
    file = write(tmp_path / "small.yaml", data=[str(tiny_folder)])
    dry = commands.run("experiment", str(file), "--dry-run", cwd=tmp_path)
    assert dry.status == 0, dry.err
    assert dry.out.splitlines() == [
        "to do    runs/small/tiny/TF-IDF/seed-0",
        "to do    runs/small/tiny/own/seed-0",
        "2 of 2 cells to do",
    ]
    ended = commands.run("experiment", str(file), "--jobs=2", cwd=tmp_path)
    assert ended.status == 0, ended.err
    out = tmp_path / "runs" / "small"
    written = [Path(line).name for line in ended.out.splitlines() if line.startswith("runs/small/")]
    assert written == [
        "results.parquet",
        "comparisons.parquet",
        "table.md",
        "table.tex",
        "table.html",
        "plot.png",
        "plot.svg",
    ]
    rows = pq.read_table(out / "results.parquet").to_pylist()
    for row in rows:
        method = row["method"].replace(" ", "-")
        judged = json.loads((out / "tiny" / method / "seed-0" / JUDGED_FILE).read_text())
        entry = judged[row["part"]][row["task"]][row["metric"]]
        assert row["value"] == entry["value"]
        assert [row["low"], row["high"]] == (entry["ci95"] or [None, None])
    assert {row["method"] for row in rows} == set(GIVEN["methods"])
    for method in GIVEN["methods"]:
        assert f"| {method} |" in (out / "table.md").read_text()
    cells = [out / "tiny" / name / "seed-0" for name in ("TF-IDF", "own")]
    every_query_is_kept(cells)
    own = pq.read_table(cells[1] / QUERIES_FILE)  # `warm_only`
    assert min(own["saves"].to_pylist()) > 0
    assert set(own["part"].to_pylist()) == {"warm"}
    judged_alike(cells)
    before = {path: path.stat().st_mtime_ns for path in out.rglob(MADE_FILE)}
    assert len(before) == 2
    (out / "tiny" / "TF-IDF" / "seed-0" / MADE_FILE).unlink()
    again = commands.run("experiment", str(file), cwd=tmp_path)
    assert again.status == 0, again.err
    assert re.search(r"^\[2/2\] tiny/TF-IDF/seed-0", again.err, re.MULTILINE)
    assert "[1/2]" not in again.err  # finished before
    after = {path: path.stat().st_mtime_ns for path in out.rglob(MADE_FILE)}
    changed = [path.parts[-3] for path in after if after[path] != before[path]]
    assert changed == ["TF-IDF"]


def every_query_is_kept(cells):
    """The means of queries.parquet are the figures of judged.json."""
    for cell in cells:
        judged = read_json(cell / JUDGED_FILE)
        queries = pq.read_table(cell / QUERIES_FILE).to_pylist()
        places = {(row["part"], row["task"]) for row in queries}
        assert ("warm", "pin_to_pin") in places
        for part, task in places:
            rows = [row for row in queries if (row["part"], row["task"]) == (part, task)]
            assert len({row["query"] for row in rows}) == judged[part][task]["queries"]
            for metric in ("recall@10", "ndcg@10", "mrr", "hit_rate@10"):
                values = [row[metric] for row in rows]
                assert np.mean(values) == pytest.approx(judged[part][task][metric]["value"])


def judged_alike(cells):
    made = [read_json(cell / MADE_FILE) for cell in cells]
    for key in ("data", "split", "judge", "commit", "versions"):
        assert len({str(one[key]) for one in made}) == 1
    assert all(one["seconds"] > 0 and one["threads"] == 1 for one in made)


@pytest.mark.xdist_group("commands")
def test_a_cell_that_fails_leaves_the_others_their_figures(commands, tiny_folder, tmp_path):
    missing = {"class_path": "pingraph.experiments.methods.PretrainedText"}
    methods = {"wrong": {**missing, "init_args": {"name": str(tmp_path)}}, "TF-IDF": TF_IDF}
    file = write(tmp_path / "grid.yaml", data=["icons"], methods=methods)
    ended = commands.run("experiment", str(file), "--data", str(tiny_folder), cwd=tmp_path)
    assert ended.status == 2
    assert f"failed: runs/grid/tiny/wrong/seed-0: error: {tmp_path}: no text model" in ended.err
    assert "| TF-IDF |" in (tmp_path / "runs" / "grid" / "table.md").read_text()


def test_a_stopped_cell_goes_on_from_its_checkpoint(tiny_folder, tmp_path):
    options = {**GIVEN["options"], "trainer.max_steps": 60, "trainer.log_every_n_steps": 1}
    file = write(tmp_path / "a.yaml", data=[str(tiny_folder)], options=options, methods=TEXT_ALONE)
    code = "from pingraph.cli import main; main()"
    command = [sys.executable, "-c", code, "experiment", str(file), "-o", str(tmp_path / "out")]
    # As a job that a scheduler starts and stops, which Ctrl-C does not reach.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, before)
    folder = tmp_path / "out" / "tiny" / "text-alone" / "seed-0"
    started = time.monotonic()
    while not any(path.stat().st_size > 3000 for path in folder.rglob("events.out.*")):
        assert time.monotonic() - started < 240, (folder / "log.txt").read_text()
        time.sleep(0.05)
    running.send_signal(signal.SIGTERM)  # which becomes a Ctrl-C
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert not (folder / MADE_FILE).exists()
    done = torch.load(folder / CHECKPOINT_FILE, weights_only=True)["global_step"]
    assert 0 < done < 60
    grid = Experiment.load(file)
    assert run_cells(grid, tmp_path / "out", jobs=1) == []
    assert finished(grid.cells()[0], tmp_path / "out")
    judged = read_json(folder / JUDGED_FILE)["cold"]
    assert judged["board_to_pins"] is not None
    assert judged["image_to_text"] is None  # the text tower alone finds no images
    every_query_is_kept([folder])
    assert Split.load(folder / SPLIT_FILE).kind == "mixed"
    assert torch.load(folder / CHECKPOINT_FILE, weights_only=True)["global_step"] == 60
    logs = [path.read_text().splitlines() for path in folder.glob("csv/*/metrics.csv")]
    steps = [int(line.split(",")[logs[0][0].split(",").index("step")]) for line in logs[-1][1:]]
    assert min(steps) >= done - 1  # what was trained before was not trained again
    # What the folder keeps is enough to train the same once more, stop or no stop.
    again = ["--config", str(folder / CONFIG_FILE), "--ckpt_path=null"]
    replayed = fit([*again, f"--trainer.default_root_dir={tmp_path / 'replayed'}"])
    kept, found = (read_state(path / CHECKPOINT_FILE) for path in (folder, replayed))
    assert kept.keys() == found.keys()
    assert all(torch.equal(kept[name], found[name]) for name in kept)


@pytest.fixture
def patient(tmp_path, monkeypatch):
    """A method that waits for a file, and writes into another one who waits."""
    (tmp_path / "patient.py").write_text(PATIENT)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)  # where a cell's process looks for modules as well
    return {"class_path": "patient.Patient", "init_args": {"folder": str(tmp_path)}}


PATIENT = """
import os, time
from pathlib import Path

class Patient:
    def __init__(self, folder: str):
        self.folder = Path(folder)

    def scorers(self, dataset, split, *, seed):
        with open(self.folder / "waiting", "a") as file:
            file.write(f"{os.getpid()}\\n")
        if len((self.folder / "waiting").read_text().split()) > 1:
            raise RuntimeError("two wait")
        while not (self.folder / "go").exists():
            time.sleep(0.05)
        return {}
"""


def until(true):
    started = time.monotonic()
    while not true():
        assert time.monotonic() - started < 240
        time.sleep(0.05)


def waiting(folder):
    """Return the process that waits, as soon as there is one."""
    until(lambda: (folder / "waiting").exists() and (folder / "waiting").read_text())
    return int((folder / "waiting").read_text())


def gone(process):
    """Whether a process that is not ours has ended; nobody may have taken note of it."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True)
    return state.stdout[:1] in (b"", b"Z")


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import os; print('new'); os.kill(os.getpid(), 9)", "ended by SIGKILL"),
        ("raise SystemExit(3)", "ended with 3"),
        ("print('first'); print('error: last'); raise SystemExit(2)", "error: last"),
        ("", None),
    ],
)
def test_the_end_of_a_process_is_told_by_what_it_wrote_itself(code, told, tmp_path):
    (tmp_path / "log.txt").write_text("next: pingraph evaluate runs/mine\n")
    with (tmp_path / "lock").open("w") as lock:
        found = run._process(["-c", code], tmp_path, 1, Event(), lock.fileno())
    assert found == told
    assert (tmp_path / "log.txt").read_text().startswith("next: pingraph evaluate")


def test_a_cell_whose_runner_was_killed_is_not_run_twice(patient, tiny_folder, tmp_path):
    methods = {"patient": patient, "TF-IDF": TF_IDF}
    file = write(tmp_path / "a.yaml", data=[str(tiny_folder)], methods=methods)
    code = "from pingraph.cli import main; main()"
    command = [sys.executable, "-c", code, "experiment", str(file), "-o", str(tmp_path / "out")]
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    running = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    signal.signal(signal.SIGHUP, before)
    left = waiting(tmp_path)
    running.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert running.poll() is None
    running.kill()
    running.wait()
    grid = Experiment.load(file)
    folder = tmp_path / "out" / "tiny" / "patient" / "seed-0"
    assert run_cells(grid, tmp_path / "out", jobs=1) == [
        f"{folder}: runs already in another process"
    ]
    assert [finished(cell, tmp_path / "out") for cell in grid.cells()] == [False, True]
    (tmp_path / "go").touch()
    until(lambda: gone(left))
    assert finished(grid.cells()[0], tmp_path / "out")
    assert run_cells(grid, tmp_path / "out", jobs=1) == []
    assert (tmp_path / "waiting").read_text().split() == [str(left)]


@pytest.mark.xdist_group("commands")
def test_a_terminal_that_is_closed_stops_the_cells(commands, patient, tiny_folder, tmp_path):
    file = write(tmp_path / "a.yaml", data=[str(tiny_folder)], methods={"patient": patient})
    ended = commands.run(
        *("experiment", file, "-o", tmp_path / "out"),
        cwd=tmp_path,
        path=[tmp_path],
        ready=lambda: waiting(tmp_path),
        signal=signal.SIGHUP,
    )
    assert ended.status == 130, ended.err
    assert gone(waiting(tmp_path))


def test_a_cell_that_another_command_has_finished_meanwhile_is_left_alone(tmp_path):
    cell = Experiment.load(write(tmp_path / "a.yaml", data=["icons"])).cells()[0]
    write_json(tmp_path / cell.path / MADE_FILE, MADE)
    assert run._run(cell, [], tmp_path, 1, Event()) is None
    assert [path.name for path in (tmp_path / cell.path).iterdir()] == [MADE_FILE]


@pytest.mark.parametrize("left", [MADE_FILE, CHECKPOINT_FILE])
def test_a_cell_that_another_command_made_of_other_options_is_refused(tmp_path, left):
    cell = Experiment.load(write(tmp_path / "a.yaml", data=["icons"])).cells()[0]
    other = asdict(replace(cell, made_by={}))
    write_json(tmp_path / cell.path / CELL_FILE, {"cell": other, "started": {}, "continued": []})
    write_json(tmp_path / cell.path / left, MADE)
    with pytest.raises(PinGraphError, match=r"was run with other options \(made_by "):
        run._run(cell, [], tmp_path, 1, Event())
    assert read_json(tmp_path / cell.path / CELL_FILE)["cell"] == other


def test_a_cell_that_another_command_finishes_with_other_options_is_no_result(
    tiny_folder, tmp_path, monkeypatch
):
    grid = Experiment.load(write(tmp_path / "a.yaml", data=[str(tiny_folder)]))
    theirs, ours = (tmp_path / cell.path for cell in grid.cells())
    other = asdict(replace(grid.cells()[0], made_by={}))
    write_json(theirs / CELL_FILE, {"cell": other, "started": {}, "continued": []})

    def process(*_):
        write_json(theirs / MADE_FILE, MADE)
        write_json(ours / MADE_FILE, MADE)

    monkeypatch.setattr(run, "_process", process)
    with (
        held_while_open(theirs),
        pytest.raises(PinGraphError, match=r"was run with other options \(made_by "),
    ):
        run_cells(grid, tmp_path, jobs=1)
    assert finished(grid.cells()[1], tmp_path)


def test_without_images_there_is_a_dash(judged_here, tiny_folder, write_folder, tmp_path):
    tables = {n: pq.read_table(tiny_folder / f"{n}.parquet") for n in ("pins", "boards", "edges")}
    folder = write_folder("blind", **{**tables, "pins": tables["pins"].drop(["image"])})
    pixels = {"class_path": "pingraph.experiments.methods.RawPixels"}
    methods = {"TF-IDF": TF_IDF, "pixels": pixels, "image alone": {"embedding": "image"}}
    grid = Experiment.load(write(tmp_path / "a.yaml", data=[str(folder)], methods=methods))
    assert run_cells(grid, tmp_path / "out", jobs=1) == []
    figures = Figures(grid, tmp_path / "out")
    assert (len(figures.cells), figures.missing) == (3, 0)
    (sheet, *_), _ = write_all(figures, tmp_path / "out")
    shown = {row[0].text: row[1].text for row in sheet.sections["blind"]}
    assert shown["pixels"] == shown["image alone"] == "-"
    assert shown["TF-IDF"] != "-"


def test_a_cell_of_other_options_is_not_taken_for_this_one(judged_here, tiny_folder, tmp_path):
    only = {"TF-IDF": TF_IDF}
    grid = Experiment.load(write(tmp_path / "a.yaml", data=[str(tiny_folder)], methods=only))
    assert run_cells(grid, tmp_path / "out", jobs=1) == []
    assert all(finished(cell, tmp_path / "out") for cell in grid.cells())
    pixels = {"class_path": "pingraph.experiments.methods.RawPixels"}
    half = {"": {**grid.conditions[""], "init_args": {"pins": 0.5}}}
    for other in (replace(grid, methods={"TF-IDF": pixels}), replace(grid, conditions=half)):
        with pytest.raises(PinGraphError, match=r"TF-IDF/seed-0 was run with other options"):
            run_cells(other, tmp_path / "out", jobs=1)
    for begin in (listing, run_cells):
        with pytest.raises(PinGraphError, match="jobs is 0: expected 1 or more"):
            begin(grid, tmp_path / "out", jobs=0)


def test_a_cell_that_failed_takes_a_method_that_was_mended(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "_process", lambda *_: "error: no such thing")
    grid = Experiment.load(write(tmp_path / "a.yaml", data=[str(tiny_folder)]))
    out = tmp_path / "out"
    assert len(run_cells(grid, out, jobs=1)) == 2
    half = {"": {**grid.conditions[""], "init_args": {"pins": 0.5}}}
    for mended in (
        replace(grid, methods={"own": TF_IDF, "TF-IDF": {}}),
        replace(grid, conditions=half),
    ):
        assert len(run_cells(mended, out, jobs=1)) == 2
        asked = [read_json(out / cell.path / CELL_FILE)["cell"] for cell in mended.cells()]
        assert asked == [json.loads(json.dumps(asdict(cell))) for cell in mended.cells()]
    cell = grid.cells()[0]
    (out / cell.path / DATA_FOLDER).mkdir()  # was made under the condition
    assert listing(replace(mended, methods=grid.methods), out, jobs=1)
    with pytest.raises(PinGraphError, match=r"was run with other options \(under "):
        listing(grid, out, jobs=1)
    (out / cell.path / CHECKPOINT_FILE).parent.mkdir()
    (out / cell.path / CHECKPOINT_FILE).touch()
    with pytest.raises(PinGraphError, match=r"was run with other options \(made_by "):
        listing(replace(mended, methods={cell.method: {}}), out, jobs=1)


def test_the_cells_are_the_product_of_data_methods_and_seeds(tmp_path):
    damage = {"class_path": "pingraph.experiments.damage.MissingText", "init_args": {"share": 0.5}}
    grid = Experiment.load(
        write(
            tmp_path / "a.yaml",
            data=["icons", "world"],
            seeds=[3, 5],
            methods={**TEXT_ALONE, **GIVEN["methods"]},
            conditions={
                "whole": {"class_path": "pingraph.experiments.conditions.HeldOut"},
                50: damage,
            },
        )
    )
    found = [(cell.seed, cell.data, cell.condition, cell.method) for cell in grid.cells()]
    assert found == [
        (s, d, c, m)
        for s in (3, 5)
        for d in ("icons", "world")
        for c in ("whole", "50")
        for m in grid.methods
    ]
    assert len({cell.path for cell in grid.cells()}) == 24
    some = grid.of(data=["world"], conditions=["50"], methods=["TF-IDF"], seeds=[1])
    assert [cell.path.parts for cell in some.cells()] == [("world", "50", "TF-IDF", "seed-1")]
    for name in ("", ".", ".."):  # none of which is a folder of its own
        odd = replace(grid.cells()[0], data="icons", condition="", method=name)
        assert odd.path.parts == ("icons", "-", "seed-3")
    arguments = grid.cells()[0].arguments()
    assert arguments[0] == "--seed_everything=3"
    assert "--trainer.max_steps=2" in arguments
    assert "--embedding=text" not in arguments


def test_a_run_is_judged_in_the_form_that_it_is_served_in(trained, tiny):
    split = Split.load(trained / SPLIT_FILE)
    trial = Trial(dataset=tiny, split=split, truth=tiny, judge=split)
    made_by = {"served": {"dim": 8, "code": "binary"}}
    given = {"data": "tiny", "source": "tiny", "condition": "", "under": {}}
    cell = Cell(**given, method="binary", made_by=made_by, seed=0)
    assert cell.arguments() == ["--seed_everything=0"]
    table = Run.open(trained).embed(tiny)
    known = table.has_image | table.has_text
    signs = np.where(table.fused[:, :8] >= 0, 1, -1) * known[:, None] / np.sqrt(8)
    scores = _of_run(trained, cell, trial)["pin_to_pin"](np.arange(60))
    np.testing.assert_allclose(scores, signs @ signs.T, atol=1e-6)
    walks = Cell(**given, method="walks", made_by={"propagation": {"weight": 0.3}}, seed=0)
    assert walks.trains_like(cell)
    asked = np.flatnonzero(known)[:9]
    scores = _of_run(trained, walks, trial)["pin_to_pin"](asked)
    added, graph = Propagation(weight=0.3), split.train_graph(tiny.graph)
    moved = added.vectors(table.fused, graph)
    np.testing.assert_array_equal(scores, added.scorer(moved, graph)(asked))


def test_a_training_does_not_go_on_under_another_split(trained, tiny_folder, tmp_path):
    folder = Path(shutil.copytree(trained, tmp_path / "cell"))
    under = {"class_path": "pingraph.experiments.conditions.HeldOut"}
    given = {"data": "tiny", "source": str(tiny_folder), "condition": "", "under": under}
    cell = Cell(**given, method="a", made_by={}, seed=0)
    write_json(folder / CELL_FILE, {"cell": asdict(cell)})
    before = contents(folder)
    with pytest.raises(PinGraphError, match="cell was begun with another split: remove it"):
        prepare(folder, 0.0)
    assert contents(folder) == before
    (folder / CHECKPOINT_FILE).unlink()  # of what was begun nothing is left
    prepare(folder, 0.0)
    (folder / CHECKPOINT_FILE).write_bytes(b"")
    prepare(folder, 0.0)


ALIKE = {
    "images": {"embedding": "image"},
    "whole": {},
    "short": {"served": {"dim": 8, "code": "binary"}},
    "longer": {"trainer.max_steps": 3},
}


def test_what_is_trained_alike_is_trained_once(trained_here, tiny_folder, tmp_path):
    given = {"data": [str(tiny_folder)], "methods": ALIKE}
    grid, out = Experiment.load(write(tmp_path / "a.yaml", **given)), tmp_path / "out"
    first, whole, short, longer = (out / cell.path for cell in grid.cells())
    told = [line.partition("seed-0")[2] for line in listing(grid, out, jobs=1)[:4]]
    assert told == ["", *["  trained in tiny/images/seed-0"] * 2, ""]
    assert run_cells(grid, out, jobs=2) == []
    assert sorted(trained_here) == [first, longer]
    assert [read_json(folder / MADE_FILE)["trained_in"] for folder in (first, whole, short)] == [
        ".",
        "../../images/seed-0",
        "../../images/seed-0",
    ]
    assert not (whole / CHECKPOINT_FILE).exists()
    (sheet, *_), _ = write_all(Figures(grid, out), out)
    assert "Trained in another cell, so that s is of judging: 2 cells." in sheet.notes

    apart = tmp_path / "apart"  # each trained by itself finds the same
    for folder, method in ((whole, "whole"), (short, "short")):
        assert run_cells(grid.of(methods=[method]), apart / method, jobs=1) == []
        alone = apart / method / folder.relative_to(out)
        assert read_json(alone / JUDGED_FILE) == read_json(folder / JUDGED_FILE)

    # Weights that are there are taken, whichever method comes first.
    (short / MADE_FILE).unlink()
    trained_here.clear()
    turned = replace(grid, methods={name: ALIKE[name] for name in ("short", "whole", "images")})
    assert run_cells(turned, out, jobs=1) == []
    assert read_json(short / MADE_FILE)["trained_in"] == "../../images/seed-0"
    assert trained_here == []


def test_weights_of_a_method_that_is_not_named_are_taken(trained_here, tiny_folder, tmp_path):
    given = {"data": [str(tiny_folder)], "methods": ALIKE}
    grid, out = Experiment.load(write(tmp_path / "a.yaml", **given)), tmp_path / "out"
    assert run_cells(grid.of(methods=["whole"]), out, jobs=1) == []
    some = grid.of(methods=["longer", "short"]).of(methods=["short"])
    (short,) = some.cells()
    assert listing(some, out, jobs=1)[0].endswith("  trained in tiny/whole/seed-0")
    assert run_cells(some, out, jobs=1) == []
    assert records.made(short, out)["trained_in"] == "../../whole/seed-0"
    assert [path.parent.name for path in trained_here] == ["whole"]
    (out / short.path / MADE_FILE).unlink()
    whole = out / "tiny/whole/seed-0" / CELL_FILE
    asked = read_json(whole)
    made_by = {**asked["cell"]["made_by"], "trainer.max_steps": 9}  # by an older file
    write_json(whole, {**asked, "cell": {**asked["cell"], "made_by": made_by}})
    assert run_cells(some, out, jobs=1) == []
    assert records.made(short, out)["trained_in"] == "."
    assert [path.parent.name for path in trained_here] == ["whole", "short"]


@pytest.mark.parametrize("gone", [".", CHECKPOINT_FILE])
def test_what_was_trained_where_nothing_is_left_is_trained_anew(
    trained_here, tiny_folder, tmp_path, gone
):
    given = {"data": [str(tiny_folder)], "methods": ALIKE}
    grid, out = Experiment.load(write(tmp_path / "a.yaml", **given)), tmp_path / "out"
    assert run_cells(grid.of(methods=["images", "whole"]), out, jobs=1) == []
    images, whole, short, _ = grid.cells()
    assert records.made(whole, out)["trained_in"] == "../../images/seed-0"
    lost = out / images.path / gone
    shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
    with pytest.raises(PinGraphError, match=r"whole/seed-0 is not a trained run: it has no config"):
        open_subject(out / whole.path)
    assert run_cells(grid.of(methods=["whole", "short"]), out, jobs=1) == []
    assert [path.parent.name for path in trained_here] == ["images", "short"]
    assert records.made(short, out)["trained_in"] == "."
    (sheet, *_), _ = write_all(Figures(grid.of(methods=["whole", "short"]), out), out)
    assert "Trained in another cell, so that s is of judging: 1 cells." in sheet.notes


def test_no_cell_waits_for_weights_while_another_could_run(tiny_folder, tmp_path, monkeypatch):
    begun = []
    monkeypatch.setattr(run, "_run", lambda cell, *_: begun.append((cell.seed, cell.method)))
    given = {"data": [str(tiny_folder)], "methods": ALIKE, "seeds": [1, 0]}
    run_cells(Experiment.load(write(tmp_path / "a.yaml", **given)), tmp_path / "out", jobs=1)
    order = ["images", "longer", "whole", "short"]
    assert begun == [(seed, method) for seed in (1, 0) for method in order]


def test_a_cell_of_another_commit_than_its_training_names_both(
    trained_here, tiny_folder, tmp_path, monkeypatch
):
    given = {"data": [str(tiny_folder)], "methods": {"whole": {}, "text": {"embedding": "text"}}}
    grid, out = Experiment.load(write(tmp_path / "a.yaml", **given)), tmp_path / "out"
    commits = [{"commit": 40 * sign, "dirty": False} for sign in "ab"]
    for methods, commit in (["whole"], commits[0]), ([], commits[1]):
        monkeypatch.setattr(records, "commit_of_code", lambda commit=commit: commit)
        assert run_cells(grid.of(methods=methods), out, jobs=1) == []
    assert [records.took_part(records.made(cell, out)) for cell in grid.cells()] == [
        commits[:1],
        commits,
    ]


def test_a_cell_that_does_not_say_where_it_was_trained_was_trained_in_itself(tmp_path):
    grid = Experiment.load(write(tmp_path / "a.yaml", data=["icons"], methods=ALIKE))
    first, second, *_ = grid.cells()
    older = {key: value for key, value in MADE.items() if key != "trained_in"}
    for name in (MADE_FILE, CHECKPOINT_FILE):
        write_json(tmp_path / first.path / name, older)
    assert records.made(first, tmp_path)["trained_in"] == "."
    assert records.trained_as(second, grid.cells(), tmp_path) == first


def test_a_training_that_was_begun_goes_on_whichever_method_comes_first(tmp_path):
    grid = Experiment.load(write(tmp_path / "a.yaml", data=["icons"], methods=ALIKE))
    first, second, third, _ = grid.cells()
    assert records.trained_as(third, grid.cells(), tmp_path) == first
    write_json(tmp_path / second.path / CHECKPOINT_FILE, {})
    assert records.trained_as(third, grid.cells(), tmp_path) == second
    assert records.trained_as(first, grid.cells(), tmp_path) == second


def test_a_tower_without_input_trains_nothing_for_others(
    trained_here, tiny_folder, write_folder, tmp_path
):
    tables = {n: pq.read_table(tiny_folder / f"{n}.parquet") for n in ("pins", "boards", "edges")}
    folder = write_folder("blind", **{**tables, "pins": tables["pins"].drop(["image"])})
    grid = Experiment.load(write(tmp_path / "a.yaml", data=[str(folder)], methods=ALIKE))
    grid = grid.of(methods=["images", "whole", "short"])
    assert run_cells(grid, tmp_path / "out", jobs=3) == []
    assert [path.parent.name for path in trained_here] == ["whole"]
    found = [records.made(cell, tmp_path / "out")["trained_in"] for cell in grid.cells()]
    assert found == [".", ".", "../../whole/seed-0"]


def test_a_cell_whose_training_failed_elsewhere_says_so(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "_process", lambda *_: "error: no such thing")
    grid = Experiment.load(write(tmp_path / "a.yaml", data=[str(tiny_folder)], methods=ALIKE))
    failed, _, *others = run_cells(grid, tmp_path / "out", jobs=1)
    assert failed.endswith("images/seed-0: error: no such thing (see log.txt)")
    assert len(others) == 2
    for line in others:
        assert line.endswith("images/seed-0, which is trained alike, is not finished")


def test_a_cell_is_told_when_it_begins_though_another_runs_on(
    tiny_folder, tmp_path, monkeypatch, capfd
):
    begun, told = Event(), []

    def process(arguments, folder, *_):
        if folder.parent.name == "own":
            begun.set()
        else:
            assert begun.wait(60)
            told.append(capfd.readouterr().err)

    monkeypatch.setattr(run, "_process", process)
    grid = Experiment.load(write(tmp_path / "a.yaml", data=[str(tiny_folder)]))
    assert run_cells(grid, tmp_path, jobs=2) == []
    (lines,) = told
    assert sorted(line.split()[1] for line in lines.splitlines()) == [
        "tiny/TF-IDF/seed-0",
        "tiny/own/seed-0",
    ]


def test_no_cell_begins_once_the_command_stops(tiny_folder, tmp_path, monkeypatch):
    begun = []

    def process(arguments, folder, jobs, stopped, lock):
        begun.append(folder)
        if len(begun) == 1:
            raise PinGraphError("no space left")
        assert stopped.wait(60)  # the second one may have begun before the command knew

    monkeypatch.setattr(run, "_process", process)
    given = {"data": [str(tiny_folder)], "seeds": [0, 1]}
    with pytest.raises(PinGraphError, match="no space left"):
        run_cells(Experiment.load(write(tmp_path / "a.yaml", **given)), tmp_path, jobs=1)
    assert len(begun) <= 2


def test_the_time_left_is_that_of_cells_that_have_not_ended(
    tiny_folder, tmp_path, monkeypatch, capfd
):
    def process(arguments, folder, *_):
        write_json(folder / MADE_FILE, {**MADE, "seconds": 120})

    monkeypatch.setattr(run, "_process", process)
    given = {"data": [str(tiny_folder)], "seeds": [0, 1]}
    run_cells(Experiment.load(write(tmp_path / "a.yaml", **given)), tmp_path, jobs=1)
    assert capfd.readouterr().err.splitlines() == [
        "[1/4] tiny/TF-IDF/seed-0",
        "[2/4] tiny/own/seed-0 (about 2 min and 2 cells more)",
        "[3/4] tiny/TF-IDF/seed-1 (about 4 min)",
        "[4/4] tiny/own/seed-1 (about 2 min)",
    ]


def test_costs_are_those_of_the_cells_that_are_most_alike(tmp_path):
    methods = {**TEXT_ALONE, **GIVEN["methods"]}
    given = {"data": ["icons", "world"], "seeds": [0, 1, 2], "methods": methods}
    grid = Experiment.load(write(tmp_path / "a.yaml", **given))
    cells = grid.cells()
    for cell in cells:
        if cell.seed < 2 and cell.data == "icons":
            took = 10 * (cell.seed + 1) + len(cell.method)
            write_json(tmp_path / cell.path / MADE_FILE, {**MADE, "seconds": took})
            write_json(tmp_path / cell.path / CELL_FILE, {"cell": asdict(cell), "started": {}})
    found = dict(zip([cell.path for cell in cells], costs(cells, cells, tmp_path), strict=True))
    for cell in cells:
        assert found[cell.path] == 15 + len(cell.method)
    write_json(tmp_path / "world/own/seed-0" / MADE_FILE, {**MADE, "seconds": 100})
    found = dict(zip([cell.path for cell in cells], costs(cells, cells, tmp_path), strict=True))
    assert found[Path("world/own/seed-2")] == 100
    assert found[Path("icons/own/seed-2")] == 18
    lines = listing(grid, tmp_path, jobs=1)
    assert lines[-1].startswith("11 of 18 cells to do (about")
    assert lines[0].endswith("  20 s")


def test_costs_of_a_training_are_no_judgings(tmp_path):
    grid = Experiment.load(write(tmp_path / "a.yaml", data=["icons"], methods=ALIKE, seeds=[0, 1]))
    cells = grid.cells()
    for cell, took in zip(cells, (100, 7, 8), strict=False):
        trained_in = "." if took == 100 else "../../images/seed-0"
        how = {**MADE, "seconds": took, "trained_in": trained_in}
        write_json(tmp_path / cell.path / MADE_FILE, how)
    assert costs(cells[4:7], cells, tmp_path) == [100, 7, 8]
    some = [cell for cell in cells if cell.method != "images"]
    assert costs(some[3:5], some, tmp_path) == [None, 8]  # without images whole is trained


def test_cells_of_another_commit_are_told(tmp_path, monkeypatch):
    grid = Experiment.load(write(tmp_path / "a.yaml", data=["icons"], seeds=[0, 1, 2, 3]))
    commits = ["a" * 40, "b" * 40, "b" * 40, None]  # None: made where there is no git
    for cell in grid.cells():
        made = {**MADE, "commit": commits[cell.seed]}
        write_json(tmp_path / cell.path / MADE_FILE, made)
        write_json(tmp_path / cell.path / CELL_FILE, {"cell": asdict(cell), "started": {}})

    def told(now):
        monkeypatch.setattr("pingraph.experiment.records.commit_of_code", lambda: {"commit": now})
        note = older(grid.cells(), tmp_path)
        assert (listing(grid, tmp_path, jobs=1)[-1] == note) == bool(note)
        return note.split(". ")[0]

    assert told("a" * 40) == "finished cells of other commits than aaaaaaaaaa: 4 of bbbbbbbbbb"
    both = "finished cells of other commits than cccccccccc: 2 of aaaaaaaaaa, 4 of bbbbbbbbbb"
    assert told("c" * 40) == both
    assert told(None) == ""
    some = grid.of(seeds=[0, 3])
    monkeypatch.setattr("pingraph.experiment.records.commit_of_code", lambda: {"commit": "a" * 40})
    assert older(some.cells(), tmp_path) == ""


def test_a_cell_that_goes_on_names_every_commit_that_took_part(tmp_path, monkeypatch):
    grid = Experiment.load(write(tmp_path / "a.yaml", data=["icons"], methods=TEXT_ALONE))
    cell, made = grid.cells()[0], [{"commit": 40 * sign, "dirty": False} for sign in "abc"]
    folder, resumed = tmp_path / cell.path, []

    def process(words, *_):
        resumed.append("--ckpt_path" in words[-1])

    monkeypatch.setattr(run, "_process", process)

    def go_on(now):
        monkeypatch.setattr(records, "commit_of_code", lambda: now)
        run._run(cell, [], tmp_path, 1, Event())
        found = read_json(folder / CELL_FILE)
        return found["started"], found["continued"]

    assert go_on(made[0]) == (made[0], [])
    assert go_on(made[1]) == (made[1], [])  # nothing was there to go on from
    (folder / CHECKPOINT_FILE).parent.mkdir()
    (folder / CHECKPOINT_FILE).touch()
    assert go_on(made[1]) == (made[1], [])
    changed = {**made[2], "dirty": True}
    for now, others in ((made[2], 1), (made[1], 1), (made[2], 1), (changed, 2)):
        assert go_on(now) == (made[1], [made[2], changed][:others])
    assert sum(resumed) == 5
    write_json(folder / MADE_FILE, {**MADE, **made[1], "continued": [made[2], changed]})
    monkeypatch.setattr(records, "commit_of_code", lambda: made[0])
    assert set(re.findall(r"\d of \w+", older([cell], tmp_path))) == {
        "1 of bbbbbbbbbb",
        "1 of cccccccccc",
    }


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")
def test_a_repository_around_the_package_is_not_its_own(tmp_path, monkeypatch):
    def git(*words):
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        command = ["git", "-C", tmp_path, *who, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    package = tmp_path / ".venv" / "pingraph"
    package.mkdir(parents=True)
    (package / "records.py").touch()
    (tmp_path / "theirs").touch()
    monkeypatch.setattr(records, "__file__", str(package / "records.py"))
    nothing = {"commit": None, "dirty": None}
    assert records.commit_of_code() == nothing  # no repository
    git("init")
    assert records.commit_of_code() == nothing
    git("add", "theirs")
    git("commit", "-m", "theirs")
    assert records.commit_of_code() == nothing
    git("add", ".venv")
    git("commit", "-m", "ours")
    assert records.commit_of_code() == {"commit": git("rev-parse", "HEAD"), "dirty": False}
    (package / "records.py").write_text("changed")
    assert records.commit_of_code()["dirty"] is True
    monkeypatch.setenv("PATH", "")
    assert records.commit_of_code() == nothing


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": None}, "data is None: expected a list"),
        ({"data": "icons"}, "data is 'icons': expected a list"),
        ({"methods": ["a"]}, r"methods is \['a'\]: expected names"),
        ({"methods": {"a": 3}}, "methods.a is 3: expected options"),
        (
            {"methods": {"a": {"class_path": "nowhere.Bm25"}}},
            "methods.a: 'nowhere.Bm25': No module",
        ),
        (
            {"methods": {"a": {"class_path": "pingraph.experiments.methods.Bm25"}}},
            "methods.a: 'pingraph.experiments.methods.Bm25'",
        ),
        (
            {"methods": {"a": {**WORDS, "init_args": {"raer": 1}}}},
            "methods.a: unknown option 'raer'",
        ),
        (
            {"methods": {"a": {**WORDS, "init_args": {"rare": "much"}}}},
            "methods.a: rare is 'much': expected a number",
        ),
        ({"methods": {"a": {**WORDS, "init_args": {"rare": -1}}}}, "methods.a: rare is -1"),
        ({"methods": {"a": {**WORDS, "args": {}}}}, "methods.a is .*: expected class_path and"),
        (
            {"conditions": {"c": {"class_path": "pingraph.experiments.damage.MissingText"}}},
            "conditions.c: missing: share",
        ),
        ({"conditions": {"c": TF_IDF}}, "conditions.c: .*TfIdf"),
        ({"methods": {"a": {"embedding": "sound"}}}, "methods.a.embedding is 'sound': expected"),
        ({"methods": {"a": {"served": {"code": "int4"}}}}, "methods.a.served: code is 'int4'"),
        ({"methods": {"a": {"served": {"bits": 4}}}}, "methods.a.served is .*: expected dim and"),
        ({"methods": {"a": {"served": "int8"}}}, "methods.a.served is 'int8': expected dim and"),
        (
            {"methods": {"a": {"propagation": {"weight": -1}}}},
            "methods.a.propagation: weight is -1",
        ),
        (
            {"methods": {"a": {"propagation": {"sampler": 1}}}},
            "methods.a.propagation is .*: expected weight",
        ),
        (
            {"options": {"propagation": {}, "served": {"code": "int8"}}},
            "options has propagation: expected of whole fused",
        ),
        ({"options": {"embedding": "sound"}}, "options.embedding is 'sound': expected fused"),
        ({"options": {"served": {"code": "int4"}}}, "options.served: code is 'int4'"),
        ({"methods": {"a": {"data.split.seed": 3}}}, "methods.a has 'data.split.seed'"),
        ({"options": {"data.folder": "x"}}, "options has 'data.folder', which the grid gives"),
        ({"measure": {"metric": "f1"}}, "measure.metric is 'f1': expected one of recall@10"),
        ({"measure": {"tasks": "f1"}}, "measure has 'tasks': expected part, task and metric"),
        (
            {"curves": {"c": {"nobody": 1}}},
            "curves.c is {'nobody': 1}: expected conditions, or meth",
        ),
        ({"curves": {"c": {"own": 0}}}, "curves.c.own is 0: expected a number above 0"),
        ({"seeds": [-1]}, "seeds has -1: expected whole numbers from 0"),
        ({"seeds": [True]}, "seeds has True"),
        ({"seeds": [3, 0, 3]}, "seeds has 3 twice"),
        ({"options": WORDS}, "options has 'class_path': expected options of `pingraph fit`"),
        ({"seeds": [2**32]}, "seeds has 4294967296: expected whole numbers from 0 to 4294967295"),
        ({"reference": "nobody"}, "reference is 'nobody': expected one of the methods"),
        ({"sedes": [1]}, "unknown key 'sedes': expected title, data, seeds"),
        ({"data": [3]}, "data has 3: expected names and folders"),
        (
            {"methods": {"a": {"x": date(2024, 1, 2)}}},
            r"methods.a.x is .*2024, 1, 2\): expected text",
        ),
        ({"methods": {"a": {"x": {1: 2}}}}, "methods.a.x has the key 1: expected text"),
        ({"options": {"x": [0, math.nan]}}, r"options.x\[1\] is nan: expected .* finite number"),
        (
            {"conditions": {"c": {"init_args": {"x": {1: 2}}}}},
            "conditions.c.init_args.x has the key",
        ),
    ],
)
def test_a_wrong_file_is_refused(changes, words, tmp_path):
    file = write(tmp_path / "grid.yaml", **{"data": ["icons"], **changes})
    with pytest.raises(PinGraphError, match=rf"grid\.yaml: {words}"):
        Experiment.load(file)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"methods": {"a": {"model.objective.neigbor_weight": 0}}},
            "methods.a: unknown option 'model.objective.neigbor_weight' of .*; "
            "did you mean model.objective.neighbor_weight",
        ),
        (
            {"methods": {"a": {"data.batch_size": "many"}}},
            "methods.a: data.batch_size is 'many': expected a whole number",
        ),
        (
            {"methods": TEXT_ALONE, "options": {"modle.dim": 3}},
            "methods.text alone: unknown option --modle.dim",
        ),
        (
            {"methods": {"a": {"data.sampler": {"class_path": "nowhere.Walks"}}}},
            "methods.a: data.sampler is 'nowhere.Walks'",
        ),
        (
            {
                "options": {"data.sampler.num_walks": 3},
                "methods": {"a": {"data.sampler": "pingraph.samplers.PPRSampler"}},
            },
            "methods.a: --data.sampler.num_walks is no option of pingraph.samplers.PPRSampler",
        ),
        (
            {"methods": {"a": {"served": {"dim": 17}}}},
            "methods.a.served: dim is 17: the embeddings have 16 channels",
        ),
        (
            {"options": {"served": {"dim": 129}}, "methods": {"a": {"embedding": "text"}}},
            "methods.a.served: dim is 129: the embeddings have 128 channels",
        ),
    ],
)
def test_options_that_fit_does_not_know_are_refused_before_anything_runs(changes, words, tmp_path):
    grid = Experiment.load(write(tmp_path / "grid.yaml", **{"data": ["icons"], **changes}))
    for begin in (listing, run_cells):
        with pytest.raises(PinGraphError, match=rf"grid\.yaml: {words}"):
            begin(grid, tmp_path / "out", jobs=1)
    assert not (tmp_path / "out").exists()
    for cell in grid.cells():
        write_json(tmp_path / "out" / cell.path / MADE_FILE, MADE)
    assert listing(grid, tmp_path / "out", jobs=1)  # what is finished is not asked


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("x = 1\nclass A(:\n", r"SyntaxError: [^()]*\(broken_module\.py, line 2\)$"),
        ("x = 1\ny = nothing\n", r"NameError: .*broken_module\.py, line 2\)"),
    ],
)
def test_a_module_of_ones_own_that_fails_is_told_with_its_line(
    source, words, tmp_path, monkeypatch
):
    (tmp_path / "broken_module.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    path = write(
        tmp_path / "grid.yaml", data=["icons"], methods={"a": {"class_path": "broken_module.A"}}
    )
    with pytest.raises(PinGraphError, match=rf"methods\.a: 'broken_module\.A': {words}"):
        Experiment.load(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("methods:\n  a: {x: 1}\n  b:\n  a:\n", "line 5: the key 'a' is in line 3 too"),
        ("methods:\n  1:\n  '1':\n", "line 4: the key '1' is in line 3 too"),
        ("methods: {a: {x: 1, x: 2}}\n", "line 2: the key 'x' is in line 2 too"),
        ("methods: {a: }\nconditions:\n  c:\n  c:\n", "line 5: the key 'c' is in line 4 too"),
    ],
)
def test_a_key_that_stands_twice_is_refused(text, words, tmp_path):
    (tmp_path / "a.yaml").write_text(f"data: [icons]\n{text}")
    with pytest.raises(PinGraphError, match=rf"a\.yaml: {words}"):
        Experiment.load(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"# \ndata: [caf\xe9]\n", "line 2: byte 0xe9 is no UTF-8: expected a text file in UTF-8"),
        (b"data: [icons\nmethods: 3\n", "not YAML: line 2, column 8: expected ',' or ']'"),
    ],
)
def test_a_file_that_is_no_yaml_is_named_with_its_line(raw, words, tmp_path):
    (tmp_path / "a.yaml").write_bytes(raw)
    with pytest.raises(PinGraphError, match=rf"a\.yaml: {words}"):
        Experiment.load(tmp_path / "a.yaml")


def test_what_is_merged_may_be_changed(tmp_path):
    text = "options: &all {trainer.max_steps: 2}\nmethods: {a: {<<: *all, trainer.max_steps: 3}}"
    (tmp_path / "a.yaml").write_text(f"data: [icons]\n{text}\n")
    assert Experiment.load(tmp_path / "a.yaml").methods == {"a": {"trainer.max_steps": 3}}


def test_a_file_whose_data_is_not_there_is_refused(tiny_folder, write_folder, tmp_path):
    tables = {n: pq.read_table(tiny_folder / f"{n}.parquet") for n in ("pins", "boards", "edges")}
    lacking = {**tables, "boards": tables["boards"].drop(["title"])}
    (tmp_path / "empty").mkdir()
    for folder, words in (
        (tmp_path / "nowhere", "nowhere: no such folder; the built-in"),
        (tmp_path / "empty", r"pins\.parquet: no such file"),
        (write_folder("untitled", **lacking), r"boards\.parquet: 0 columns 'title'"),
    ):
        grid = Experiment.load(write(tmp_path / "a.yaml", data=["icons", str(folder)]))
        for begin in (listing, run_cells):
            with pytest.raises(PinGraphError, match=words):
                begin(grid, tmp_path / "out", jobs=1)
    for cell in grid.of(data=[str(tmp_path / "gone")]).cells():
        write_json(tmp_path / cell.path / MADE_FILE, MADE)
    assert listing(grid.of(data=[str(tmp_path / "gone")]), tmp_path, jobs=1)  # is finished


def test_a_missing_file_and_an_unknown_method_are_refused(tmp_path):
    with pytest.raises(PinGraphError, match=r"nowhere\.yaml: No such file"):
        Experiment.load(tmp_path / "nowhere.yaml")
    grid = Experiment.load(write(tmp_path / "grid.yaml", data=["icons"]))
    with pytest.raises(PinGraphError, match="no method 'jiont': expected one of"):
        grid.of(methods=["jiont"])
    with pytest.raises(PinGraphError, match="--seeds has -1: expected whole numbers from 0"):
        grid.of(seeds=[0, -1])
    twice = replace(grid, methods={"a b": TF_IDF, "a-b": TF_IDF})
    with pytest.raises(PinGraphError, match="a-b/seed-0 would hold two cells"):
        run_cells(twice, tmp_path, jobs=1)


def test_the_files_of_the_repository_can_be_read():
    folder = Path(__file__).parents[1] / "experiments"
    files = [path for path in folder.glob("*.yaml") if path.stem not in ("icons", "clip")]
    assert len(files) >= 4
    for path in files:
        assert Experiment.load(path).cells()
    assert len((folder / "own_method.py").read_text().splitlines()) < 60
