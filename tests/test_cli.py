"""The command line as a process: what it prints, refuses, and leaves behind."""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from pingraph.cli import COMMANDS
from pingraph.embeddings import read_embeddings
from pingraph.evaluation import evaluate_scorers, table_scorers
from pingraph.propagation import Propagation
from pingraph.splits import Split
from tests.command_line import TINY, contents, start

pytestmark = pytest.mark.xdist_group("commands")

USER_SAMPLER = '''
import numpy as np

from pingraph.graph import PinBoardGraph
from pingraph.interfaces import Neighbors


class NextPins:
    """The pins that follow.

    Args:
        k: how many.
    """

    def __init__(self, k: int = 2):
        self.k = k

    def sample(
        self, graph: PinBoardGraph, seeds: np.ndarray, *, seed: int, epoch: int = 0
    ) -> Neighbors:
        ids = (seeds[:, None] + 1 + np.arange(self.k)) % graph.num_pins
        return Neighbors.from_scores(seeds=seeds, ids=ids, scores=np.ones(ids.shape))


class NoSampler:
    def sample(self, graph, seeds):
        return None
'''


def test_help_is_complete_and_loads_nothing_heavy():
    program = (
        "import sys; from pingraph.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "print('loaded', sorted({'torch', 'lightning', 'numpy', 'numba'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.stderr == ""
    assert ended.stdout.endswith("loaded []\n")
    for name in COMMANDS:
        assert f"    {name} " in ended.stdout


def test_the_script_is_installed_and_tells_its_version():
    ended = start("--version")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith("pingraph 0.")


def test_the_module_is_the_same_command_line(tmp_path):
    def module(*args):
        command = [sys.executable, "-m", "pingraph", *args]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    told = module("--version")
    assert (told.returncode, told.stdout, told.stderr) == (0, start("--version").out, "")
    for args in (["inspect", "--help"], ["fit", "--help"]):
        assert module(*args).stdout.startswith(f"usage: pingraph {args[0]} ")
    failed = module("inspect", "nowhere")
    assert (failed.returncode, failed.stderr) == (2, start("inspect", "nowhere").err)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "fit"])
def test_every_subcommand_has_help_that_fits_two_screens(name, commands):
    ended = commands.run(name, "--help")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith(f"usage: pingraph {name} ")
    assert "<class" not in ended.out
    assert len(ended.out.splitlines()) < 100


def test_the_help_of_fit_begins_with_what_is_needed_most(commands):
    ended = commands.run("fit", "--help")
    assert (ended.status, ended.err) == (0, "")
    lines = ended.out.splitlines()
    for option in ("--data.folder", "--trainer.default_root_dir", "--ckpt_path", "--config"):
        assert any(option in line for line in lines[:24])
    assert len(lines) < 500  # without the classes of torch
    assert "<class" not in ended.out


def test_a_class_tells_its_options(commands):
    ended = commands.run("fit", "--data.sampler.help", "pingraph.samplers.PinSAGESampler")
    assert (ended.status, ended.err) == (0, "")
    assert "--data.sampler.restart_probability" in ended.out


def test_a_printed_configuration_can_be_given_back(commands, tmp_path):
    first = commands.run("fit", "--data.folder=x", "--data.sampler.k=7", "--print_config")
    assert first.status == 0
    assert yaml.safe_load(first.out)["data"]["sampler"]["init_args"]["k"] == 7
    (tmp_path / "printed.yaml").write_text(first.out)
    again = commands.run("fit", "--config", tmp_path / "printed.yaml", "--print_config")
    assert again.out == first.out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("", ["no command given", "fit", "make-world"]),
        ("evalute x", ["no command 'evalute'", "did you mean evaluate?"]),
        ("--hlp", ["unknown option --hlp"]),
        ("demo --dta x", ["unknown option --dta", "did you mean --data?", "pingraph demo --help"]),
        ("demo --seed x", ["seed is 'x': expected a whole number"]),
        ("demo --seed nan", ["seed is 'nan': expected a whole number"]),
        ("demo --seed -1", ["--seed is -1"]),
        ("demo --se 1", ["unknown option --se", "did you mean --seed?"]),
        ("demo x", ["unexpected argument 'x'"]),
        ("demo --data nowhere", ["nowhere: no such folder"]),
        ("inspect", ["missing: folder"]),
        ("inspect nowhere", ["nowhere: no such folder"]),
        ("evaluate", ["missing: run"]),
        ("evaluate nowhere", ["nowhere is not a trained run: it has no config.yaml"]),
        ("embed a b", ["missing: --out"]),
        ("embed nowhere icons -o x.parquet", ["nowhere is not a trained run"]),
        ("embed nowhere icons -o x.npy", ["x.npy: expected the name of a .parquet file"]),
        ("neighbors x 3 -o y.jpg", ["y.jpg: expected the name of a .png file"]),
        ("neighbors x --k 3 17", ["unexpected argument '17'", "give it before all options"]),
        ("evaluate x.npy --data icons --split_seed 3", ["--split_seed draws", "--cold_fraction"]),
        (
            "evaluate x.npy --data icons --cold_fraction 0.2 --split_seed -1",
            ["the seed of the split is -1: expected 0 or more"],
        ),
        ("export x -o y.parquet --k 0", ["--k is 0: expected 1 or more"]),
        ("neighbors x --k ten", ["k is 'ten': expected a whole number"]),
        ("neighbors x 3 --k 0", ["--k is 0: expected 1 or more"]),
        ("neighbors x", ["give one of: a pin's id, --text or --image"]),
        ("neighbors x 3 --text y", ["give one of"]),
        ("neighbors x --text y -o z", ["--out draws the neighbors of a pin"]),
        ("make-world --pins 3 -o x", ["unknown option --pins", "did you mean --num_pins?"]),
        ("make-world --seed -1 -o x", ["seed is -1"]),
        ("make-world --fresh_share 2 -o x", ["fresh_share is 2"]),
        ("fit", ["missing: --data.folder", "pingraph fit --help"]),
        (
            "fit icons.yaml",
            ["unexpected argument 'icons.yaml'", "mean --config icons.yaml?"],
        ),
        ("fit --config nowhere.yaml", ["config: File does not exist"]),
        ("fit --data.folder nowhere", ["nowhere: no such folder"]),
        ("fit --data.foldr x", ["unknown option --data.foldr", "did you mean --data.folder?"]),
        (
            "fit --data.folder icons --data.sampler.num_walks 3 "
            "--data.sampler pingraph.samplers.PPRSampler",
            ["--data.sampler.num_walks is no option of pingraph.samplers.PPRSampler"],
        ),
        ("fit --model.lr 1", ["unknown option --model.lr", "did you mean --model.learning_rate?"]),
        ("fit --seed 3", ["did you mean --seed_everything?"]),
        ("fit --data.folder x --seed_everything -1", ["seed_everything is -1: expected 0 to"]),
        ("fit --data.folder x --trainer.max_step 3", ["did you mean --trainer.max_steps?"]),
        ("fit --data.folder x --data.batch_size few", ["data.batch_size is 'few': expected a"]),
        ("fit --data.folder x --data.sampler.k=ten", ["data.sampler.k is 'ten'"]),
        ("fit --data.folder x --data.sampler.walks 3", ["did you mean data.sampler.num_walks?"]),
        ("fit --data.folder x --data.sampler.k 0", ["k is 0; expected a whole number from 1"]),
        ("fit --data.folder x --data.sampler.num_walks -3", ["num_walks is -3"]),
        (
            "fit --data.folder x --data.sampler pingraph.samplers.PinSAGE",
            [
                "data.sampler is 'pingraph.samplers.PinSAGE'",
                "did you mean pingraph.samplers.PinSAGES",
            ],
        ),
        ("fit --data.folder x --data.split EdgeSplit", ["did you mean pingraph.splits.EdgeSplit?"]),
        ("fit --data.folder x --data.sampler nowhere.S", ["No module named 'nowhere'"]),
        ("fit --data.folder x --model.encoder.backbone.dim 20", ["dim is 20"]),
        ("fit --data.folder x --model.learning_rate nan", ["learning_rate is 'nan': expected a n"]),
        (
            "fit --data.folder x --model.objective.form hinge",
            ["expected softmax or multi_softmax or sigmoid"],
        ),
    ],
)
def test_a_mistake_is_answered_in_a_few_lines(args, words, commands, tmp_path):
    ended = commands.run(*args.split(), cwd=tmp_path)
    error = ended.refusal()
    assert ended.out == ""
    for word in words:
        assert word in error
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dta: {folder: x}", ["unknown option 'dta.folder'", "did you mean data.folder?"]),
        ("data: {folder: x, batch: 3}", ["unknown option 'data.batch'", "data.batch_size?"]),
        (
            "data: {sampler: {class_path: pingraph.samplers.PinSAGESampler, init_args: {walk: 3}}}",
            ["unknown option 'data.sampler.walk' of pingraph.samplers.PinSAGESampler"],
        ),
        (
            "data: {sampler: {class_path: pingraph.samplers.PinSAGESampler, init_args: {k: 2.5}}}",
            ["data.sampler.k is '2.5': expected a whole number"],
        ),
        ("data: {sampler: {class_path: mine.S}}", ["data.sampler is 'mine.S'", "No module named"]),
        ("data: {augmentation: {shfit: 1}}", ["did you mean data.augmentation.shift?"]),
        (
            "model: {encoder: 3}",
            ["model.encoder is '3': expected a class path, such as pin"],
        ),
        ("trainer: {max_step: 3}", ["did you mean trainer.max_steps?"]),
        ("data: {folder: x", ["line 1"]),
        ("- 1", ["the configuration file holds no keys"]),
        ("", ["the configuration file holds no keys"]),
    ],
)
def test_a_mistake_in_a_configuration_is_named_by_its_key(text, words, commands, tmp_path):
    (tmp_path / "mine.yaml").write_text(text)
    error = commands.run("fit", "--config", tmp_path / "mine.yaml").refusal()
    for word in [f"{tmp_path / 'mine.yaml'}: ", *words]:
        assert word in error
    assert "pingraph fit --help" in error


def test_a_sampler_of_the_user_is_chosen_by_its_path(commands, tiny_folder, tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "my_sampler.py").write_text(USER_SAMPLER)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "mine.yaml").write_text(
        f"trainer: {{max_steps: 2, default_root_dir: {tmp_path / 'run'}}}\n"
        f"data: {{folder: {tiny_folder}, sampler: {{class_path: my_sampler.NextPins}}}}\n"
    )
    where = {"cwd": tmp_path / "elsewhere", "path": [tmp_path / "code"]}
    args = ["fit", "--config", "../mine.yaml", *TINY, "--data.sampler.k=3"]
    ended = commands.run(*args, **where)
    assert ended.status == 0, ended.err
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    sampler = {"class_path": "my_sampler.NextPins", "init_args": {"k": 3}}
    assert config["data"]["sampler"] == sampler
    # An encoder is opened without the sampler it was trained with.
    assert commands.run("neighbors", tmp_path / "run", "3").status == 0
    error = commands.run(*args, "--data.sampler=my_sampler.NoSampler", **where).refusal()
    assert "does not implement protocol Sampler" in error
    assert "sample(self, graph: PinBoardGraph, seeds: np.ndarray, *, seed: int" in error


def test_evaluate_writes_what_it_prints(run, commands):
    ended = commands.run("evaluate", run.name, cwd=run.parent)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.splitlines()[-2:] == ["run/metrics.json", "run/neighbors.png"]
    metrics = json.loads((run / "metrics.json").read_text())
    for part in ("cold", "warm"):
        for task in ("pin_to_pin", "image_to_text", "text_to_image"):
            value = metrics[part][task]["recall@10"]["value"]
            assert 0 <= value <= 1
            assert f"{value:.3f} [" in ended.out
    assert Image.open(run / "neighbors.png").size[0] > 600
    before = contents(run)
    commands.run("evaluate", run)
    assert contents(run) == before
    other_seed = commands.run("evaluate", run, "--seed", "1")
    assert other_seed.status == 0
    assert json.loads((run / "metrics.json").read_text()) != metrics  # other intervals


def test_no_command_writes_over_a_data_set_or_a_run(trained, commands, tiny_folder, tmp_path):
    data, run = tmp_path / "data", tmp_path / "run"
    shutil.copytree(tiny_folder, data)
    shutil.copytree(trained, run)
    (tmp_path / "bare").mkdir()
    shutil.copy(data / "pins.parquet", tmp_path / "bare")
    before = contents(tmp_path)
    one, other = "3", "5"
    for args, file in (
        (["embed", run, data, "-o"], "data/pins.parquet"),
        (["embed", run, "bare", "-o"], "bare/pins.parquet"),
        (["embed", run, data, "-o"], "run/config.yaml"),
        (["export", run, "-o"], "data/pins.parquet"),
        (["explain", run, one, other, "--json"], "data/edges.parquet"),
        (["explain", run, one, other, "--json"], "run/data.json"),
        (["neighbors", run, one, "-o"], "run/checkpoints/last.ckpt"),
        (["neighbors", run, one, "-o"], "run/split.safetensors"),
    ):
        error = commands.run(*args, file, cwd=tmp_path).refusal()
        assert f"cannot write {file}: it " in error
    ended = commands.run("neighbors", "run", one, "-o", "last.ckpt", cwd=run / "checkpoints")
    assert ended.status == 2
    assert contents(tmp_path) == before
    # A file of vectors may have the name of a table of pins, and be written again.
    for _ in range(2):
        assert commands.run("embed", run, data, "-o", tmp_path / "pins.parquet").status == 0


def test_embed_agrees_with_neighbors(trained, commands, tiny, tiny_folder, tmp_path):
    ended = commands.run("embed", trained, tiny_folder, "-o", tmp_path / "new" / "pins.parquet")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith("60 pins in 16 dimensions: ")
    table = read_embeddings(tmp_path / "new" / "pins.parquet")
    np.testing.assert_array_equal(table.pin_ids, tiny.pin_ids)
    scores = table.fused @ table.fused[7]
    scores[7] = -1
    expected = np.argsort(-scores, kind="stable")[:5]
    pin = tiny.pin_ids[7]
    listed = commands.run("neighbors", trained, pin, "--k", "5", "-o", tmp_path / "grid.png")
    assert (listed.status, listed.err) == (0, "")
    head, *lines, last = listed.out.splitlines()
    assert head == f"nearest to {tiny.texts[7] or pin}"
    assert [line.split()[2] for line in lines] == [str(tiny.pin_ids[row]) for row in expected]
    assert [float(line.split()[1]) for line in lines] == pytest.approx(scores[expected], abs=1e-3)
    assert last == str(tmp_path / "grid.png")
    assert Image.open(last).format == "PNG"


def test_neighbors_of_words_and_of_an_image_file(trained, commands, tiny, tmp_path):
    word = tiny.texts[int(np.argmax(tiny.has_text))].split()[0]
    ended = commands.run("neighbors", trained, "--text", word, "--k", "100")
    assert (ended.status, len(ended.out.splitlines())) == (0, 60)
    pin = int(np.argmax(tiny.has_image))
    tiny.image(pin).save(tmp_path / "pin.png")
    ended = commands.run("neighbors", trained, "--image", tmp_path / "pin.png", "--k", "2")
    assert (ended.status, len(ended.out.splitlines())) == (0, 2)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["no-such-pin"], ["no pin 'no-such-pin' among 60 pins"]),
        (["--text", ""], ["the text '' holds no word that"]),
        (["--text", " \n"], ["holds no word"]),
        (["--text", "日本"], ["holds no word"]),
        (["--image", "nowhere.png"], ["nowhere.png: No such file"]),
        (["--image", "words.txt"], ["words.txt: no image of a known format"]),
        (["--image", "."], [".: Is a directory"]),
        (["3", "-o", "words.txt/grid.png"], ["cannot write words.txt/grid.png"]),
        (["3", "-o", "."], ["cannot write .: it is a folder"]),
        (["3", "-o", "/proc/grid.png"], ["cannot write /proc/grid.png"]),
    ],
)
def test_a_search_that_cannot_be_made_is_refused(args, words, trained, commands, tmp_path):
    (tmp_path / "words.txt").write_text("no image")
    before = contents(tmp_path)
    ended = commands.run("neighbors", trained, *args, cwd=tmp_path)
    error = ended.refusal()
    assert ended.out == ""
    for word in words:
        assert word in error
    assert contents(tmp_path) == before


@pytest.mark.parametrize("command", ["make-icons", "make-world", "demo"])
def test_no_folder_is_written_over(command, commands, tmp_path):
    (tmp_path / "notes.txt").write_text("keep")
    for target in (".", "notes.txt") if command == "demo" else (".",):
        commands.run(command, "-o", target, cwd=tmp_path).refusal()
    assert contents(tmp_path) == {"notes.txt": b"keep"}


def test_make_world_writes_what_inspect_finds_sound(commands, tmp_path):
    made = commands.run("make-world", "-o", "world", "--num_pins", "40", cwd=tmp_path)
    assert (made.status, made.out, made.err) == (0, "world\n", "")
    ended = commands.run("inspect", "world", cwd=tmp_path)
    assert (ended.status, ended.err) == (0, "")
    assert "pins  " in ended.out


def test_output_that_nobody_reads_on_is_no_error(trained, commands, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = threading.Thread(target=lambda: (tmp_path / "pipe").open("rb").close())
    reader.start()
    ended = commands.run("neighbors", trained, "3", stdout=tmp_path / "pipe")
    reader.join()
    assert (ended.status, ended.err) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_output_that_cannot_be_written_is_told(commands, tiny_folder):
    ended = commands.run("inspect", tiny_folder, stdout="/dev/full")
    assert "No space left on device" in ended.refusal()


def test_an_interruption_is_told_in_one_line(trained, commands, tmp_path):
    os.mkfifo(tmp_path / "pin.png")
    # Opened for writing as soon as the process is about to read it.
    ready = (tmp_path / "pin.png").open
    ended = commands.run(
        "neighbors", trained, "--image", tmp_path / "pin.png", ready=lambda: ready("wb")
    )
    assert (ended.status, ended.out, ended.err) == (130, "", "interrupted\n")


def test_walks_are_added_to_what_is_embedded_and_judged(
    trained, commands, tiny, tiny_folder, tmp_path
):
    plain, known = tmp_path / "plain.parquet", tmp_path / "known.parquet"
    assert commands.run("embed", trained, tiny_folder, "-o", plain).status == 0
    assert commands.run("embed", trained, tiny_folder, "--walks", "-o", known).status == 0
    before, after = read_embeddings(plain), read_embeddings(known)
    expected = Propagation().vectors(before.fused, tiny.graph)
    np.testing.assert_array_equal(after.fused, expected)
    np.testing.assert_array_equal(after.image, before.image)
    written = contents(trained)
    ended = commands.run("evaluate", trained, "--walks", "-o", tmp_path / "judged")
    assert ended.status == 0
    assert "Walks on the training graph are added" in ended.out
    split = Split.load(trained / "split.safetensors")
    graph = split.train_graph(tiny.graph)
    scorers = table_scorers(before, tiny, split)
    added = Propagation()
    scorers["pin_to_pin"] = added.scorer(added.vectors(before.fused, graph), graph)
    wanted = evaluate_scorers(scorers, tiny, split).to_dict()
    found = json.loads((tmp_path / "judged" / "metrics.json").read_text())
    assert found == json.loads(json.dumps(wanted))
    assert commands.run("evaluate", trained, "--walks").status == 0
    assert contents(trained) == written  # the run's own figures are of its vectors alone
