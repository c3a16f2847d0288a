"""Every option of a training by itself and together: exact to resume, equal on ranks, told right."""

import csv
import signal

import numpy as np
import pytest
import torch
import yaml

from pingraph.datasets import open_dataset
from pingraph.encoders import PretrainedBackbone
from pingraph.fit import fit
from pingraph.module import PinModule
from pingraph.run_files import CHECKPOINT_FILE, CONFIG_FILE
from pingraph.runs import Run
from pingraph.weights import read_state
from tests.command_line import start
from tests.tiny_models import save

SMALL = """
seed_everything: 3
trainer:
  max_steps: 6
  log_every_n_steps: 1
  accelerator: cpu
  enable_progress_bar: false
model:
  encoder:
    class_path: pingraph.encoders.HybridEncoder
    init_args:
      backbone:
        class_path: pingraph.encoders.SmallBackbone
        init_args: {image_size: 16, vocab_size: 200, max_tokens: 8, dim: 32, heads: 2}
      embed_dim: 24
      heads: 2
data:
  batch_size: 8
  chunk_size: 5
  num_workers: 0
  sampler: {class_path: pingraph.samplers.PinSAGESampler, init_args: {k: 10}}
"""
EVERYTHING = """
model:
  recompute: true
  objective:
    class_path: pingraph.objectives.AlignmentObjective
    init_args:
      form: softmax
      neighbor_pairs: {fused->fused: 1.0, image->text: 0.5}
      logq: true
      bank_size: 16
      views: [{}, {dim: 8}, {code: int8, weight: 0.5}, {dim: 16, code: binary}]
      context: {class_path: pingraph.neighbor_context.NeighborContext, init_args: {kind: tokens}}
data:
  neighbors_per_anchor: 3
  negatives:
    - {class_path: pingraph.samplers.UniformNegatives, init_args: {n: 1}}
    - class_path: pingraph.samplers.WalkRankNegatives
      init_args:
        sampler: {class_path: pingraph.samplers.PinSAGESampler, init_args: {k: 30}}
        n: 2
        first: 10
        last: 30
        curriculum: true
"""


@pytest.fixture
def train(tiny_folder, tmp_path):
    """A function that trains on the tiny folder with a configuration and options, as a user does."""

    def train(name, config="", **changes):
        return fit(arguments(tiny_folder, tmp_path, name, config, **changes))

    return train


def arguments(data, folder, name, config="", **changes):
    files = []
    for number, text in enumerate((SMALL, config)):
        if text:
            files.append(folder / f"{name}-{number}.yaml")
            files[-1].write_text(text)
    given = {"data.folder": data, "trainer.default_root_dir": folder / name}
    given |= {key.replace("__", "."): value for key, value in changes.items()}
    return [f"--config={file}" for file in files] + [f"--{k}={v}" for k, v in given.items()]


def state(run):
    return read_state(run / CHECKPOINT_FILE)


def same(one, other):
    one, other = state(one), state(other)
    assert one.keys() == other.keys()
    return [name for name in one if not torch.equal(one[name], other[name])] == []


def rows(run):
    with (run / "csv" / "version_0" / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return save("clip", tmp_path_factory.mktemp("clip"))


def pretrained(folder, tuning):
    return yaml.safe_dump(
        {
            "model": {
                "encoder": {
                    "class_path": "pingraph.encoders.HybridEncoder",
                    "init_args": {
                        "backbone": {
                            "class_path": "pingraph.encoders.PretrainedBackbone",
                            "init_args": {"name": folder, "tuning": tuning},
                        },
                        "dim": 32,
                    },
                }
            }
        }
    )


@pytest.fixture
def interrupted(monkeypatch):
    """A function that trains until Ctrl-C comes in the step after some others."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield lambda train, *args, steps=4, **changes: interrupt(
        monkeypatch, train, *args, steps=steps, **changes
    )
    for number, handler in handlers.items():  # Lightning ignores Ctrl-C for good once it came
        signal.signal(number, handler)


def interrupt(monkeypatch, train, *args, steps, **changes):
    before = PinModule.training_step

    def training_step(module, batch, batch_idx):
        if batch.index == steps:
            raise KeyboardInterrupt
        return before(module, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(PinModule, "training_step", training_step)
        with pytest.raises(KeyboardInterrupt, match="to go on: "):
            train(*args, **changes)


def test_everything_at_once_goes_on_exactly(train, interrupted, tmp_path):
    """Bank, context, views, hard negatives and the rest: no bit differs after an interruption."""
    whole = train("whole", EVERYTHING)
    interrupted(train, "run", EVERYTHING)
    assert not same(tmp_path / "run", whole)
    assert same(train("run", EVERYTHING, ckpt_path=tmp_path / "run" / CHECKPOINT_FILE), whole)
    assert (state(whole)["objective.bank.pins"] >= 0).all()
    assert all(float(row["loss/context"]) > 0 for row in rows(whole))
    assert state(whole)["objective.bank.vectors"].shape[-1] == 24


def test_interrupted_between_two_halves_of_a_step(train, interrupted, tmp_path):
    """With accumulated gradients the step is done again from its first batch."""
    changes = {"trainer__accumulate_grad_batches": 2, "trainer__max_steps": 3}
    whole = train("whole", **changes)
    interrupted(train, "run", steps=3, **changes)
    assert same(train("run", **changes, ckpt_path=tmp_path / "run" / CHECKPOINT_FILE), whole)


def test_recomputed_chunks_train_alike(train):
    assert same(train("kept"), train("again", model__recompute=True))


@pytest.mark.parametrize("form", ["softmax", "multi_softmax", "sigmoid"])
def test_each_form_learns(form, train):
    run = train(form, model__objective__form=form, trainer__max_steps=25, data__batch_size=30)
    curve = [float(row["loss"]) for row in rows(run)]
    assert np.mean(curve[-5:]) < 0.9 * np.mean(curve[:5])


def test_half_precision_trains_near_full_precision(train):
    full, half = (
        [float(row["loss"]) for row in rows(train(precision, trainer__precision=precision))]
        for precision in ("32-true", "bf16-mixed")
    )
    assert full != half
    assert half == pytest.approx(full, rel=0.05)


def test_two_ranks_with_everything_train_as_one(train, tiny_folder, tmp_path):
    ranks = {"trainer__strategy": "ddp_fork", "trainer__devices": 2, "trainer__max_steps": 4}
    args = arguments(tiny_folder, tmp_path, "ranks", EVERYTHING, **ranks)
    ended = start("fit", *args, timeout=90)
    assert ended.status == 0, ended.err
    one = train("one", EVERYTHING, trainer__max_steps=4)
    compared = [name for name in rows(one)[0] if not name.startswith("speed/")]
    for row, expected in zip(rows(tmp_path / "ranks"), rows(one), strict=True):
        for name in compared:
            assert float(row[name]) == pytest.approx(float(expected[name]), abs=2e-4), name
    found = state(tmp_path / "ranks")
    for name, value in state(one).items():
        torch.testing.assert_close(found[name], value, atol=3e-4, rtol=0, msg=name)
