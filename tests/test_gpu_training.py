"""Training and embedding on a GPU: what the CPU makes of the same batches, up to rounding."""

import csv

import numpy as np
import pytest
import torch

from pingraph import devices, runs
from pingraph.fit import fit
from pingraph.run_files import CHECKPOINT_FILE
from pingraph.runs import Run
from tests import tiny_models
from tests.torch_cases import needs_cuda
from tests.training_cases import EVERYTHING, arguments, pretrained

# Dropout draws other numbers on a GPU.
STILL = {
    "model__encoder__dropout": 0,
    "model__encoder__input_dropout": 0,
    "model__encoder__backbone__dropout": 0,
    "model__encoder__backbone__word_dropout": 0,
}
CHOICES = {
    "plain": ("", {}),
    "everything": (EVERYTHING, {}),
    "sigmoid": ("", {"model__objective__form": "sigmoid"}),
    "multi_softmax": ("", {"model__objective__form": "multi_softmax"}),
    "pooled context": (
        "",
        {
            "model__objective__context": "pingraph.neighbor_context.NeighborContext",
        },
    ),
    "granularities": (
        "",
        {"model__encoder__granularities": "[global,regional,patch]", "model__encoder__levels": 2},
    ),
}


@pytest.fixture
def train(tiny_folder, tmp_path, monkeypatch):
    """A function that trains on the tiny folder on a device, and returns the folder of the run."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)

    def train(name, device, config="", **changes):
        changes = {"trainer__accelerator": device, "trainer__max_steps": 4} | changes
        return fit(arguments(tiny_folder, tmp_path, name, config, **changes))

    return train


def rows(run):
    with (run / "csv" / "version_0" / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@needs_cuda
@pytest.mark.parametrize("choice", CHOICES)
def test_losses_are_those_of_the_cpu(choice, train):
    config, changes = CHOICES[choice]
    on_cpu = rows(train("cpu", "cpu", config, **STILL, **changes))
    on_gpu = rows(train("gpu", "gpu", config, **STILL, **changes))
    compared = [name for name in on_cpu[0] if not name.startswith("speed/")]
    for step, (row, expected) in enumerate(zip(on_gpu, on_cpu, strict=True)):
        near = 2e-2 if step else 1e-4  # Adam makes more of what differs by rounding
        for name in compared:
            assert float(row[name]) == pytest.approx(float(expected[name]), rel=near, abs=near), (
                step,
                name,
            )


@needs_cuda
@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_half_precision_learns(precision, train):
    changes = {"trainer__max_steps": 20, "data__batch_size": 24}
    run = train("run", "gpu", trainer__precision=precision, **changes)
    curve = [float(row["loss"]) for row in rows(run)]
    assert np.isfinite(curve).all()
    assert np.mean(curve[-5:]) < 0.9 * np.mean(curve[:5])


@needs_cuda
def test_a_compiled_encoder_trains_alike(train):
    plain = rows(train("plain", "gpu", **STILL))
    compiled = rows(train("compiled", "gpu", model__compile=True, **STILL))
    for row, expected in zip(compiled, plain, strict=True):
        assert float(row["loss"]) == pytest.approx(float(expected["loss"]), rel=1e-2)


@needs_cuda
def test_a_run_goes_on(train, tmp_path):
    train("run", "gpu", EVERYTHING, trainer__max_steps=2)
    checkpoint = tmp_path / "run" / CHECKPOINT_FILE
    run = train("run", "gpu", EVERYTHING, trainer__max_steps=5, ckpt_path=checkpoint)
    assert (run / "csv" / "version_1" / "metrics.csv").exists()


@needs_cuda
def test_frozen_features_are_computed_there(train, tmp_path, monkeypatch):
    """And are those of the CPU up to rounding."""
    clip = tiny_models.save("clip", tmp_path / "clip")
    config = pretrained(clip, {"train": "nothing"})
    losses = {}
    for device in ("cpu", "gpu"):
        monkeypatch.setenv("PINGRAPH_CACHE", str(tmp_path / f"cache-{device}"))
        changes = {"trainer__max_steps": 1, "model__encoder__dropout": 0}
        losses[device] = float(rows(train(device, device, config, **changes))[0]["loss"])
    assert losses["gpu"] == pytest.approx(losses["cpu"], rel=1e-3)


@needs_cuda
def test_embeddings_are_those_of_the_cpu(trained, tiny, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    run = Run.open(trained)
    assert next(run.encoder.parameters()).is_cuda
    on_gpu = run.embed(tiny)
    monkeypatch.setattr(runs, "default_device", lambda: torch.device("cpu"))
    on_cpu = Run.open(trained).embed(tiny)
    for name in ("image", "text", "fused"):
        np.testing.assert_allclose(getattr(on_gpu, name), getattr(on_cpu, name), atol=1e-4)


@needs_cuda
def test_batches_wait_in_pinned_memory(train, monkeypatch):
    seen = []

    def looking(record, device):
        seen.append(record.content[0].images.is_pinned())
        return devices.moved(record, device)

    monkeypatch.setattr("pingraph.data.moved", looking)
    train("run", "gpu", data__num_workers=1)
    assert seen == [True] * 4
