"""Training that fails tells why in a line, leaves the folder as it was, and loses nothing."""

import shlex
import shutil
import signal
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pingraph.errors import PinGraphError
from pingraph.fit_failures import clean_failure
from tests.command_line import TINY, contents
from tests.conftest import plain_tables

pytestmark = pytest.mark.xdist_group("commands")

FOREIGN = Path(__file__).parents[2] / "shared" / "data" / "pinterest-graph"


def fit_args(data, run, *more, steps=3, workers=0):
    return [
        "fit",
        f"--data.folder={data}",
        f"--trainer.default_root_dir={run}",
        f"--trainer.max_steps={steps}",
        f"--data.num_workers={workers}",
        *TINY,
        *more,
    ]


@pytest.fixture
def mounted(tmp_path):
    """A function that mounts a file system of so many bytes, where that is allowed."""
    folder = tmp_path / "mounted"
    folder.mkdir()

    def mount(*options):
        command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", folder]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("this process may not mount a file system")
        return folder

    yield mount
    subprocess.run(["umount", folder], capture_output=True)


def wrong_tables():
    plain = {name: pa.table(columns) for name, columns in plain_tables().items()}
    pins, edges = plain["pins"], plain["edges"]
    stranger = {**plain_tables()["edges"], "pin_id": ["a", "a", "x", "b", "c", "c", "d"]}
    bare = pins.select(["pin_id"])
    return {
        "no file": ({"edges": None}, "edges.parquet: no such file"),
        "no column": ({"pins": pins.drop_columns(["pin_id"])}, "'pin_id'"),
        "unknown pin": ({"edges": stranger}, "edges.parquet: row 2: unknown pin id 'x'"),
        "no edge": ({"edges": edges.slice(0, 0)}, "edges.parquet: no edges"),
        "no pin": ({"pins": pins.slice(0, 0), "edges": edges.slice(0, 0)}, "pins.parquet: no pins"),
        "nothing to learn from": ({"pins": bare}, "no pin has an image or a text"),
    }


@pytest.mark.parametrize("case", wrong_tables())
@pytest.mark.parametrize("command", ["fit", "demo"])
def test_wrong_data_are_refused_and_nothing_is_written(
    command, case, commands, write_folder, tmp_path
):
    tables, words = wrong_tables()[case]
    folder = write_folder(**tables)
    before = contents(tmp_path)
    out = tmp_path / "a" / "b"
    args = fit_args(folder, out) if command == "fit" else ["demo", "--data", folder, "-o", out]
    assert words in commands.run(*args).refusal()
    assert contents(tmp_path) == before


@pytest.mark.skipif(not FOREIGN.is_dir(), reason="the shared data are not there")
def test_a_folder_of_another_layout_is_refused(commands, trained, tmp_path):
    for args in (
        fit_args(FOREIGN, tmp_path / "run"),
        ["demo", "--data", FOREIGN, "-o", tmp_path / "run"],
        ["embed", trained, FOREIGN, "-o", tmp_path / "e.parquet"],
    ):
        assert (
            "pins.parquet: no such file; a data set folder holds" in commands.run(*args).refusal()
        )
    ended = commands.run("inspect", FOREIGN)
    assert (ended.status, ended.err) == (2, "")
    assert "error: no pins.parquet, boards.parquet or edges.parquet" in ended.out
    assert contents(tmp_path) == {}


@pytest.fixture
def broken_folder(tiny_folder, tmp_path):
    """A copy of the tiny folder whose pins 20 to 29 have broken images, so that one is trained."""
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "broken"))
    table = pq.read_table(folder / "pins.parquet")
    images = table["image"].to_pylist()
    for row in range(20, 30):  # each another, for twins are held out together
        images[row] = (images[row] or b"")[:70] if row % 2 else b"%d is no image" % row
    place = table.column_names.index("image")
    table = table.set_column(place, "image", pa.array(images, pa.binary()))
    pq.write_table(table, folder / "pins.parquet")
    return folder


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_stops_training_with_the_id_of_its_pin(
    workers, broken_folder, commands, tmp_path
):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("keep")
    before = contents(tmp_path)
    args = fit_args(broken_folder, tmp_path / "run", steps=30, workers=workers)
    ended = commands.run(*args)
    error = ended.refusal()
    assert "pins.parquet: pin 2" in error
    assert "image cannot be decoded" in error
    assert len(error.splitlines()) == 1
    assert contents(tmp_path) == before


def test_a_broken_image_stops_demo_embed_and_inspect(broken_folder, trained, commands, tmp_path):
    before = contents(tmp_path)
    for args in (
        ["demo", "--data", broken_folder, "-o", tmp_path / "demo"],
        ["embed", trained, broken_folder, "-o", tmp_path / "e.parquet"],
    ):
        error = commands.run(*args).refusal()
        assert "pins.parquet: pin 2" in error
        assert "image cannot be decoded" in error
        assert contents(tmp_path) == before
    ended = commands.run("inspect", broken_folder)
    assert (ended.status, ended.err) == (2, "")
    assert "broken images" in ended.out


def test_broken_images_are_skipped_and_counted_when_asked(broken_folder, commands, tmp_path):
    args = fit_args(broken_folder, tmp_path / "run", "--data.on_broken_image=skip", steps=6)
    ended = commands.run(*args)
    assert ended.status == 0, ended.err
    (line,) = [line for line in ended.err.splitlines() if line.startswith("warning: ")]
    assert "broken images skipped: " in line
    assert ", of pins 2" in line
    assert commands.run("evaluate", tmp_path / "run").status == 0


def test_a_picture_that_breaks_after_training_stops_evaluate(tiny, commands, tmp_path):
    folder = Path(shutil.copytree(tiny.folder, tmp_path / "files"))
    table = pq.read_table(folder / "pins.parquet")
    paths = []
    for pin in range(tiny.num_pins):
        paths.append(f"{pin}.png" if tiny.has_image[pin] else None)
        if tiny.has_image[pin]:
            tiny.image(pin).save(folder / f"{pin}.png")
    place = table.column_names.index("image")
    pq.write_table(table.set_column(place, "image", pa.array(paths)), folder / "pins.parquet")
    assert commands.run(*fit_args(folder, tmp_path / "run", steps=1)).status == 0
    picture = folder / "7.png"
    picture.write_bytes(bytes(picture.stat().st_size))  # of the same size, as the copy of a disk
    before = contents(tmp_path)
    error = commands.run("evaluate", tmp_path / "run").refusal()
    assert "pin 7: image cannot be decoded" in error
    assert contents(tmp_path) == before


@pytest.mark.parametrize("where", ["a file", "a file/run", "/proc/run", "read-only"])
def test_a_folder_that_cannot_be_written_is_refused(
    where, commands, tiny_folder, tmp_path, mounted
):
    (tmp_path / "a file").write_text("keep")
    folder = mounted("ro") / "run" if where == "read-only" else tmp_path / where
    before = contents(tmp_path)
    error = commands.run(*fit_args(tiny_folder, folder)).refusal()
    assert str(folder) in error
    assert commands.run("make-world", "--num_pins=9", "-o", folder).refusal()
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    "option", ["--trainer.fast_dev_run=true", "--trainer.enable_checkpointing=false"]
)
def test_a_run_without_checkpoint_is_told(option, commands, tiny_folder, tmp_path):
    args = ["fit", f"--data.folder={tiny_folder}", "--data.num_workers=0", *TINY]
    args += [f"--trainer.default_root_dir={tmp_path / 'run'}", "--trainer.max_steps=2", option]
    for _ in range(2):  # nor does it stand in the way of another
        ended = commands.run(*args)
        assert (ended.status, ended.out) == (0, f"{tmp_path / 'run'}\n")
        assert ended.err.splitlines()[-1].startswith("note: no checkpoint is kept (--trainer.")
    assert "is not a trained run" in commands.run("evaluate", tmp_path / "run").refusal()


@pytest.mark.parametrize(
    ("option", "error"),
    [
        ("trainer.max_epochs=0", "trainer.max_epochs is 0: nothing would be trained"),
        *(
            (
                f"trainer.limit_train_batches={number}",
                f"trainer.limit_train_batches is {number}: expected none, since "
                "trainer.max_steps says how long to train",
            )
            for number in ("0", "1", "0.5")
        ),
        ("seed_everything=true", "seed_everything is True: expected 0 to 4294967295"),
        ("seed_everything=false", "seed_everything is False: expected 0 to 4294967295"),
    ],
)
def test_what_would_train_otherwise_than_it_seems_is_refused(
    option, error, commands, tiny_folder, tmp_path
):
    args = ["fit", f"--data.folder={tiny_folder}", *TINY, f"--{option}"]
    assert error in commands.run(*args, cwd=tmp_path).refusal()
    assert contents(tmp_path) == {}


def test_a_run_is_not_written_over(trained, commands, tiny_folder):
    before = contents(trained)
    error = commands.run(*fit_args(tiny_folder, trained)).refusal()
    assert f"--ckpt_path {trained}/checkpoints/last.ckpt" in error
    assert contents(trained) == before


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--ckpt_path=nowhere.ckpt"], "nowhere.ckpt: no such checkpoint"),
        (["--ckpt_path={run}/data.json"], "data.json: not a checkpoint, or a damaged one"),
        (
            ["--ckpt_path={checkpoint}", "--model.encoder.embed_dim=32"],
            "last.ckpt is of another model",
        ),
        (["--ckpt_path={checkpoint}", "--data.split.seed=3"], "the split is not the one"),
        (["--ckpt_path={checkpoint}", "--data.titles=false"], "data.titles is False, but"),
        (["--ckpt_path={checkpoint}", "--data.sampler.k=7"], "data.sampler.init_args.k is 7, but"),
        (["--ckpt_path={checkpoint}", "--data.batch_size=3"], "data.batch_size is 3, but"),
        (["--ckpt_path={checkpoint}", "--seed_everything=5"], "seed_everything is 5, but"),
        (
            ["--ckpt_path={checkpoint}", "--trainer.gradient_clip_val=0.1"],
            "trainer.gradient_clip_val is 0.1, but",
        ),
    ],
)
def test_a_run_does_not_go_on_with_something_else(
    more, words, trained, commands, tiny_folder, tmp_path
):
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    before = contents(run)
    names = {"run": run, "checkpoint": run / "checkpoints" / "last.ckpt"}
    more = [option.format(**names) for option in more]
    assert words in commands.run(*fit_args(tiny_folder, run, *more, steps=12)).refusal()
    assert contents(run) == before


def test_a_run_does_not_go_on_with_other_data(trained, commands, tmp_path):
    assert commands.run("make-world", "--num_pins=60", "-o", tmp_path / "world").status == 0
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    before = contents(run)
    args = fit_args(tmp_path / "world", run, f"--ckpt_path={run}/checkpoints/last.ckpt", steps=12)
    assert "is not the data that" in commands.run(*args).refusal()
    assert contents(run) == before


def test_a_full_disk_costs_nothing_that_was_there(commands, tiny_folder, mounted):
    folder = mounted("size=200k")
    run = folder / "run"
    assert "No space left on device" in commands.run(*fit_args(tiny_folder, run)).refusal()
    assert contents(folder) == {}
    subprocess.run(["mount", "-o", "remount,size=16m", folder], check=True)
    assert commands.run(*fit_args(tiny_folder, run)).status == 0
    checkpoint = run / "checkpoints" / "last.ckpt"
    free = shutil.disk_usage(folder).free
    (folder / "filling").write_bytes(bytes(free - checkpoint.stat().st_size // 2))
    before = checkpoint.read_bytes()
    more = f"--ckpt_path={checkpoint}"
    error = commands.run(*fit_args(tiny_folder, run, more, steps=5)).refusal()
    assert "last.ckpt: No space left on device" in error
    assert checkpoint.read_bytes() == before
    (folder / "more filling").write_bytes(bytes(shutil.disk_usage(folder).free))
    before = contents(folder)
    ended = commands.run("evaluate", run)
    assert "metrics.json: No space left on device" in ended.refusal()
    assert "recall@10" in ended.out  # the figures are not lost
    embed = ["embed", run, tiny_folder, "-o", folder / "e.parquet"]
    for args in (embed, ["make-world", "-o", folder / "w"]):
        assert "o space left on device" in commands.run(*args).refusal()
    assert contents(folder) == before


SPOILED = """
import torch

from pingraph.objectives import AlignmentObjective


class SpoiledObjective(AlignmentObjective):
    def __init__(self, spoiled: str):
        super().__init__()
        self.spoiled, self.calls = spoiled, 0

    def forward(self, *args, **kwargs):
        losses = super().forward(*args, **kwargs)
        self.calls += 1
        if self.calls == 3:
            if self.spoiled == "loss":
                losses.terms["neighbor"] = losses.terms["neighbor"] * torch.nan
            losses.total.register_hook(lambda gradient: gradient * torch.nan)
        return losses
"""


@pytest.mark.parametrize("spoiled", ["loss", "gradient"])
def test_a_loss_that_is_not_finite_ends_a_run_at_the_step_before(
    spoiled, commands, tiny_folder, tmp_path
):
    (tmp_path / "spoiled.py").write_text(SPOILED)
    objective = ["--model.objective=spoiled.SpoiledObjective"]
    objective.append(f"--model.objective.spoiled={spoiled}")
    run = tmp_path / "run"
    ended = commands.run(*fit_args(tiny_folder, run, *objective, steps=9), path=[tmp_path])
    error = ended.refusal()
    assert "the loss of step 3 or its gradient is not finite (image_text" in error
    assert ("neighbor nan" in error) == (spoiled == "loss")
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["global_step"] == 2
    assert all(weight.isfinite().all() for weight in state["state_dict"].values())


def test_weights_that_are_not_finite_replace_no_checkpoint(commands, tiny_folder, tmp_path):
    run = tmp_path / "run"
    commands.run(*fit_args(tiny_folder, run))
    checkpoint = run / "checkpoints" / "last.ckpt"
    state = torch.load(checkpoint, weights_only=True)
    state["optimizer_states"][0]["param_groups"][0]["weight_decay"] = float("inf")
    torch.save(state, checkpoint)
    spoiled = checkpoint.read_bytes()
    args = fit_args(tiny_folder, run, f"--ckpt_path={checkpoint}", steps=5)
    assert "is not finite, so nothing is saved" in commands.run(*args).refusal()
    assert checkpoint.read_bytes() == spoiled


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_how_to_go_on_and_does(number, commands, tiny_folder, tmp_path):
    args = fit_args(tiny_folder, "my run", steps=40, workers=1)
    ready = commands.until("| 5/40")
    ended = commands.run(*args, cwd=tmp_path, ready=ready, signal=number)
    assert (ended.status, ended.out) == (130, "")
    last = ended.err.splitlines()[-1]
    assert last.startswith("interrupted; to go on: pingraph fit ")
    assert "Traceback" not in ended.err
    again = shlex.split(last.partition("pingraph ")[2])
    assert again == [*args, "--ckpt_path", "my run/checkpoints/last.ckpt"]
    ended = commands.run(*again, cwd=tmp_path)
    assert (ended.status, ended.out) == (0, "my run\n")
    state = torch.load(tmp_path / "my run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["global_step"] == 40


def test_a_run_interrupted_before_its_first_step_leaves_nothing(commands, tiny_folder, tmp_path):
    args = fit_args(tiny_folder, tmp_path / "run", workers=1)
    ended = commands.run(*args, ready=commands.until("0/?"))
    assert ended.status == 130
    assert ended.err.splitlines()[-1].startswith("interrupted")
    assert not (tmp_path / "run").exists() or (tmp_path / "run" / "checkpoints").exists()


KILLED_SAMPLER = """
import os
import signal

import numpy as np
from torch.utils.data import get_worker_info

from pingraph.graph import PinBoardGraph
from pingraph.interfaces import Neighbors
from pingraph.samplers import PinSAGESampler


class Killed:
    def sample(
        self, graph: PinBoardGraph, seeds: np.ndarray, *, seed: int, epoch: int = 0
    ) -> Neighbors:
        if get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return PinSAGESampler(k=5).sample(graph, seeds, seed=seed, epoch=epoch)
"""


OWN_SAMPLERS = """
import numpy as np

from pingraph.graph import PinBoardGraph
from pingraph.interfaces import Neighbors


class Fails:
    def sample(
        self, graph: PinBoardGraph, seeds: np.ndarray, *, seed: int, epoch: int = 0
    ) -> Neighbors:
        return self.table[seeds]


class FindsNobody:
    def sample(
        self, graph: PinBoardGraph, seeds: np.ndarray, *, seed: int, epoch: int = 0
    ) -> Neighbors:
        ids = np.full((len(seeds), 3), -1)
        return Neighbors.from_scores(seeds=seeds, ids=ids, scores=np.zeros(ids.shape))
"""


@pytest.mark.parametrize("workers", [0, 1])
def test_a_sampler_that_fails_is_told_with_its_line(workers, commands, tiny_folder, tmp_path):
    (tmp_path / "own.py").write_text(OWN_SAMPLERS)
    args = fit_args(tiny_folder, tmp_path / "run", "--data.sampler=own.Fails", workers=workers)
    error = commands.run(*args, path=[tmp_path]).refusal()
    assert error.startswith("error: Fails: own.py, line 12: AttributeError: 'Fails' object has no")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("weight", "warned"), [(1, True), (0, False)])
def test_a_graph_that_teaches_nothing_is_told(weight, warned, commands, tiny_folder, tmp_path):
    (tmp_path / "own.py").write_text(OWN_SAMPLERS)
    more = ["--data.sampler=own.FindsNobody", f"--model.objective.neighbor_weight={weight}"]
    ended = commands.run(*fit_args(tiny_folder, tmp_path / "run", *more), path=[tmp_path])
    assert ended.status == 0
    assert ended.err.count("none of the 16 anchors of the first batch has a neighbor") == warned


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        ("{image->image: 1.0, text->image: 0.5}", "image->image, text->image"),
        ("{image->image: 1.0, text->text: 0.5}", None),
        ("{image->image: 0.0}", None),
    ],
)
def test_neighbors_of_a_missing_modality_are_told(pairs, told, commands, tiny_folder, tmp_path):
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "texts"))
    pins = pq.read_table(folder / "pins.parquet").drop_columns("image")
    pq.write_table(pins, folder / "pins.parquet")
    args = fit_args(folder, tmp_path / "run", f"--model.objective.neighbor_pairs={pairs}")
    ended = commands.run(*args)
    assert ended.status == 0
    assert ended.err.count("of the first batch has any image; if it stays so") == (told is not None)
    assert told is None or f"neighbor_pairs has {told} alone" in ended.err


def test_a_worker_that_is_killed_is_told(commands, tiny_folder, tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "killed.py").write_text(KILLED_SAMPLER)
    args = fit_args(tiny_folder, "run", "--data.sampler=killed.Killed", workers=1)
    error = commands.run(*args, cwd=tmp_path, path=[tmp_path / "code"]).refusal()
    assert "DataLoader worker" in error
    assert "nothing is left of the run" in error
    assert not (tmp_path / "run").exists()


def test_a_failure_removes_what_is_new_and_keeps_the_rest(tmp_path):
    run = tmp_path / "run"
    (run / "csv").mkdir(parents=True)
    (run / "csv" / "old.csv").write_text("old")
    before = contents(tmp_path)

    def fail():
        (run / "csv" / "new.csv").write_text("new")
        (run / "logs" / "deep").mkdir(parents=True)
        (run / "link").symlink_to(tmp_path)
        raise PinGraphError("the reason")

    with pytest.raises(PinGraphError, match="the reason"), clean_failure(run, []):
        fail()
    assert contents(tmp_path) == before


def test_a_failure_leaves_the_runs_of_others_in_folders_that_it_made(tmp_path):
    other = tmp_path / "deep" / "runs" / "b" / "last.ckpt"

    def fail(run):
        (run / "csv").mkdir()
        if run.name == "a":
            other.parent.mkdir()
            other.write_text("of another training")
        raise PinGraphError("the reason")

    for name in ("deep/runs/a", "far/runs/c"):
        with pytest.raises(PinGraphError, match="the reason"), clean_failure(tmp_path / name, []):
            fail(tmp_path / name)
    assert list(contents(tmp_path)) == [
        "deep",
        "deep/runs",
        "deep/runs/b",
        "deep/runs/b/last.ckpt",
    ]


def test_two_trainings_do_not_write_to_one_folder(tmp_path):
    run = tmp_path / "run"
    with clean_failure(run, []):
        (run / "config.yaml").write_text("of the first")
        before = contents(tmp_path)
        taken = pytest.raises(PinGraphError, match="run: another training writes to it")
        with taken, clean_failure(run, []):
            pytest.fail("it trained")
        with clean_failure(run, [], alone=False):  # a rank of the same training
            pass
        assert contents(tmp_path) == before
    with clean_failure(run, []):
        pass


def test_the_reason_of_a_worker_is_told_without_its_traceback(tmp_path):
    text = 'Caught BrokenImageError in DataLoader worker process 0.\nTraceback\n  File "x"\n'
    text += "pingraph.pin_images.BrokenImageError: pins.parquet: pin 3: image is broken\n"
    with pytest.raises(PinGraphError) as caught, clean_failure(tmp_path / "run", []):
        raise PinGraphError(text)
    assert str(caught.value) == "pins.parquet: pin 3: image is broken"
