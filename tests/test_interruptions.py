"""Whatever stops a training, and whenever: going on gives what an undisturbed one gives."""

import contextlib
import functools
import multiprocessing
import os
import shutil
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
import torch
from lightning.pytorch.callbacks import model_checkpoint
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter

from pingraph.errors import PinGraphError
from pingraph.fit import fit
from pingraph.interrupts import Uninterrupted
from pingraph.module import PinModule
from pingraph.run_callbacks import AtomicCheckpoints, WholeLogs
from pingraph.run_files import CHECKPOINT_FILE
from pingraph.samplers import PinSAGESampler
from tests.command_line import TINY, contents

pytestmark = pytest.mark.xdist_group("commands")

STEPS = 12
SOLVED = 10  # times that the sampler is asked for the shallow part, before the first step


def args(data, run, *more, steps=STEPS, workers=0):
    return [
        f"--data.folder={data}",
        f"--trainer.default_root_dir={run}",
        f"--trainer.max_steps={steps}",
        f"--data.num_workers={workers}",
        "--model.encoder.backbone.image_size=16",
        "--model.encoder.backbone.dropout=0.1",
        *TINY,
        *more,
    ]


def state(run):
    return torch.load(Path(run) / CHECKPOINT_FILE, weights_only=True)


def assert_same(run, other):
    """Check that two runs ended alike: weights, optimizer and steps."""
    one, two = state(run), state(other)
    assert one["global_step"] == two["global_step"]
    for name, value in one["state_dict"].items():
        assert torch.equal(value, two["state_dict"][name]), name
    moments = [s["optimizer_states"][0]["state"] for s in (one, two)]
    assert moments[0].keys() == moments[1].keys()
    for place, values in moments[0].items():
        assert all(torch.equal(value, moments[1][place][k]) for k, value in values.items())


@pytest.fixture(autouse=True)
def ctrl_c():
    """The handler of Ctrl-C that Python begins with, before and after."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def whole(tiny_folder, tmp_path_factory):
    """A run that nothing interrupted."""
    return fit(args(tiny_folder, tmp_path_factory.mktemp("whole") / "run"))


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


class BrokenError(Exception):
    """Something that goes wrong within a step."""


def fail():
    raise BrokenError


def at_step(step, act, owner, hook, monkeypatch):
    """Let a method of the module or of the sampler act, once, when `step` steps are done."""
    method, calls = getattr(owner, hook), []

    @functools.wraps(method)  # the command line looks at the signature
    def acting(self, *given, **named):
        calls.append(hook)
        if len(calls) == step + 1:
            act()
        return method(self, *given, **named)

    monkeypatch.setattr(owner, hook, acting)


@pytest.mark.parametrize(
    ("owner", "hook", "call", "done"),
    [
        (PinSAGESampler, "sample", SOLVED + 5, 5),  # while a batch is read
        (PinModule, "training_step", 5, 6),  # in a step, which is ended first
        (PinModule, "on_before_optimizer_step", 5, 6),
        (PinModule, "on_train_batch_end", 5, 6),
    ],
)
def test_ctrl_c_anywhere_leaves_whole_steps(
    owner, hook, call, done, whole, tiny_folder, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        at_step(call, interrupt, owner, hook, patch)
        with pytest.raises(KeyboardInterrupt, match="to go on: "):
            fit(args(tiny_folder, tmp_path / "run"))
    assert state(tmp_path / "run")["global_step"] == done
    more = f"--ckpt_path={tmp_path / 'run' / CHECKPOINT_FILE}"
    assert_same(fit(args(tiny_folder, tmp_path / "run", more)), whole)


def test_ctrl_c_before_the_first_step_leaves_nothing(tiny_folder, tmp_path, monkeypatch):
    at_step(SOLVED - 1, interrupt, PinSAGESampler, "sample", monkeypatch)
    with pytest.raises(KeyboardInterrupt, match="there is no checkpoint yet"):
        fit(args(tiny_folder, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("hook", ["training_step", "on_before_optimizer_step"])
def test_a_failure_within_a_step_leaves_the_steps_before(
    hook, whole, tiny_folder, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        at_step(5, fail, PinModule, hook, patch)
        with pytest.raises(BrokenError):
            fit(args(tiny_folder, tmp_path / "run"))
    assert state(tmp_path / "run")["global_step"] == 5
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    more = f"--ckpt_path={tmp_path / 'run' / CHECKPOINT_FILE}"
    assert_same(fit(args(tiny_folder, tmp_path / "run", more)), whole)


@pytest.mark.parametrize(
    ("hook", "call", "accumulated", "done"),
    [
        ("on_before_optimizer_step", 3, 1, 3),
        ("on_before_optimizer_step", 1, 2, 1),
        ("training_step", 3, 2, 1),  # in the second batch of the second step
    ],
)
def test_the_bank_has_nothing_of_a_step_that_failed(
    hook, call, accumulated, done, tiny_folder, tmp_path, monkeypatch
):
    options = [f"--trainer.accumulate_grad_batches={accumulated}", "--model.objective.bank_size=64"]
    whole = fit(args(tiny_folder, tmp_path / "whole", *options, steps=4))
    assert (state(whole)["state_dict"]["objective.bank.pins"] >= 0).any()
    with monkeypatch.context() as patch:
        at_step(call, fail, PinModule, hook, patch)
        with pytest.raises(BrokenError):
            fit(args(tiny_folder, tmp_path / "run", *options, steps=4))
    assert state(tmp_path / "run")["global_step"] == done
    more = f"--ckpt_path={tmp_path / 'run' / CHECKPOINT_FILE}"
    assert_same(fit(args(tiny_folder, tmp_path / "run", *options, more, steps=4)), whole)


def test_no_state_is_kept_between_the_batches_of_a_step(tiny_folder, tmp_path, monkeypatch):
    """Its gradients would be lost: whoever is killed then would go on with a part of them."""
    saved, save = [], AtomicCheckpoints.save_checkpoint

    def saving(self, checkpoint, *others, **named):
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
        saved.append(progress["ready"])
        save(self, checkpoint, *others, **named)

    monkeypatch.setattr(AtomicCheckpoints, "save_checkpoint", saving)
    hours = []  # one passes in the second batch of the second step, and no time else
    at_step(4, lambda: hours.append(1), PinModule, "training_step", monkeypatch)
    clock = SimpleNamespace(monotonic=lambda: 3600.0 * len(hours))
    monkeypatch.setattr(model_checkpoint, "time", clock)
    fit(args(tiny_folder, tmp_path / "run", "--trainer.accumulate_grad_batches=3", steps=4))
    assert saved == [6, 12]


def test_ctrl_c_waits_until_the_workers_are_started(tiny_folder, tmp_path, monkeypatch):
    """One that comes while Python forks would be lost."""
    started, start = [], DataLoader.__iter__

    def interrupted(self):
        interrupt()
        started.append(self.num_workers)
        return start(self)

    monkeypatch.setattr(DataLoader, "__iter__", interrupted)
    others = set(multiprocessing.active_children())
    with pytest.raises(KeyboardInterrupt, match="there is no checkpoint yet"):
        fit(args(tiny_folder, tmp_path / "run", workers=1))
    assert started == [1]
    assert set(multiprocessing.active_children()) <= others
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("option", ["--trainer.max_epochs=1", "--data.num_workers=1"])
def test_options_that_do_not_change_the_training_do_not_change_how_it_goes_on(
    option, whole, tiny_folder, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        at_step(3, interrupt, PinModule, "training_step", patch)
        with pytest.raises(KeyboardInterrupt):
            fit(args(tiny_folder, tmp_path / "run"))
    more = f"--ckpt_path={tmp_path / 'run' / CHECKPOINT_FILE}"
    assert_same(fit(args(tiny_folder, tmp_path / "run", more, option)), whole)


def test_a_command_that_is_interrupted_twice_ends_as_if_never(commands, tiny_folder, tmp_path):
    """By a real Ctrl-C, which reaches the worker too, wherever it happens to come."""
    steps, run = 50, tmp_path / "run"
    command = args(tiny_folder, run, steps=steps, workers=1)
    more = f"--ckpt_path={run / CHECKPOINT_FILE}"
    for text, given in (("| 5/50", command), ("| 15/50", [*command, more])):
        ended = commands.run("fit", *given, ready=commands.until(text))
        assert ended.status == 130, ended.err
    assert 15 <= state(run)["global_step"] < steps
    assert commands.run("fit", *command, more).status == 0
    whole = args(tiny_folder, tmp_path / "whole", steps=steps, workers=1)
    assert commands.run("fit", *whole).status == 0
    assert_same(run, tmp_path / "whole")


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--model.encoder.heads=2", "model.encoder.init_args.heads is 2, but"),
        ("--model.objective.form=sigmoid", "form is 'sigmoid', but .* begun with 'softmax'"),
        ("--model.learning_rate=0.5", "model.learning_rate is 0.5, but"),
        ("--model.encoder.embed_dim=8", "is of another model"),
        ("--trainer.default_root_dir={other}", "not of the run in .*other"),
    ],
)
def test_a_run_goes_on_as_it_began_or_not_at_all(option, words, whole, tiny_folder, tmp_path):
    before = contents(whole)
    more = f"--ckpt_path={whole / CHECKPOINT_FILE}"
    option = option.format(other=tmp_path / "other")
    with pytest.raises(PinGraphError, match=words):
        fit(args(tiny_folder, whole, more, option, steps=STEPS + 2))
    assert contents(whole) == before
    assert not (tmp_path / "other").exists()


def test_a_start_that_fails_keeps_the_checkpoint(whole, tiny_folder, tmp_path, monkeypatch):
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    before = (run / CHECKPOINT_FILE).read_bytes()
    monkeypatch.setattr(torch.optim.AdamW, "load_state_dict", lambda *_: fail())
    more = f"--ckpt_path={run / CHECKPOINT_FILE}"
    with pytest.raises(BrokenError):
        fit(args(tiny_folder, run, more, steps=STEPS + 2))
    assert (run / CHECKPOINT_FILE).read_bytes() == before


def test_several_batches_a_step_are_not_the_same_twice(tiny_folder, tmp_path, monkeypatch):
    seen, sample = [], PinSAGESampler.sample

    @functools.wraps(sample)
    def recording(self, graph, seeds, **key):
        seen.append((key["epoch"], *seeds))
        return sample(self, graph, seeds, **key)

    monkeypatch.setattr(PinSAGESampler, "sample", recording)
    run = fit(args(tiny_folder, tmp_path / "run", "--trainer.accumulate_grad_batches=3", steps=4))
    assert state(run)["global_step"] == 4
    assert len(set(seen[SOLVED:])) == len(seen[SOLVED:]) == 12


@pytest.fixture
def without_images(tiny_folder, tmp_path):
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "without images"))
    pins = pq.read_table(folder / "pins.parquet").drop_columns(["image"])
    pq.write_table(pins, folder / "pins.parquet")
    return folder


@pytest.mark.parametrize("case", ["no graph", "no images"])
def test_ranks_train_what_leaves_parameters_without_a_use(
    case, commands, tiny_folder, without_images, tmp_path
):
    data = without_images if case == "no images" else tiny_folder
    more = ["--model.objective.neighbor_weight=0"] if case == "no graph" else []
    ranks = ["--trainer.strategy=ddp_fork", "--trainer.devices=2", "--trainer.accelerator=cpu"]
    more.append("--data.chunk_size=10")  # a chunk for each at least
    ended = commands.run("fit", *args(data, tmp_path / "run", *ranks, *more, steps=4))
    assert ended.status == 0, ended.err
    assert state(tmp_path / "run")["global_step"] == 4


def held_back(*acts):
    """Do some things while Ctrl-C is held back, and return how many of them were done."""
    done = []
    with contextlib.suppress(KeyboardInterrupt, BrokenError), Uninterrupted():
        for act in acts:
            act()
            done.append(act)
    return len(done)


def test_ctrl_c_waits_for_the_end_of_a_block_but_not_the_second_time():
    assert held_back(interrupt, time.monotonic) == 2
    assert held_back(time.monotonic, interrupt, interrupt, time.monotonic) == 2
    assert held_back(interrupt, fail) == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    block = Uninterrupted()
    for asked in (True, False):  # once is not remembered for the next time
        block.__enter__()
        if asked:
            interrupt()
        with pytest.raises(KeyboardInterrupt) if asked else contextlib.nullcontext():
            block.__exit__(None)


def test_ctrl_c_does_not_leave_a_log_half_written_to(tmp_path, monkeypatch):
    log, written, add = WholeLogs(tmp_path), [], SummaryWriter.add_scalar

    def adding(self, name, *others):
        interrupt()
        add(self, name, *others)
        written.append(name)

    monkeypatch.setattr(SummaryWriter, "add_scalar", adding)
    with pytest.raises(KeyboardInterrupt):
        log.log_metrics({"a": 1.0}, step=0)
    assert written == ["a"]
    log.finalize("interrupted")


def test_ctrl_c_that_is_ignored_stays_so():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Uninterrupted():
        interrupt()
        interrupt()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_other_threads_are_let_alone():
    handlers = []

    def run():
        with Uninterrupted():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert handlers == [signal.default_int_handler]
