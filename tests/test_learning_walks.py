"""Before training, the shallow part is solved for the walks: of training pins, if at all."""

import numpy as np
import pytest
import yaml

from pingraph.encoders import HybridEncoder
from pingraph.fit import fit
from pingraph.runs import Run
from pingraph.samplers import PinSAGESampler, record
from pingraph.training_pins import TrainingPins
from pingraph.walk_spectrum import walk_spectrum
from tests.training_cases import arguments


@pytest.fixture
def told(monkeypatch):
    calls = []

    def learn(self, contents, targets):
        calls.append(([content.tokens for content in contents], targets))

    monkeypatch.setattr(HybridEncoder, "learn_walks", learn)
    return calls


def test_the_encoder_is_told_of_the_walks_among_training_pins(tiny_folder, tmp_path, told):
    run = Run.open(fit(arguments(tiny_folder, tmp_path, "run")))
    ((tokens, targets),) = told
    dataset = run.dataset()
    graph = TrainingPins.of(dataset, run.split).graph
    pins = [pin for pin in run.split.train_pins.tolist() if graph.pin_degrees[pin]]
    assert 0 < len(pins) < len(run.split.train_pins)
    assert sum(map(len, tokens)) == len(pins)
    assert max(map(len, tokens)) == 5  # the chunk size
    expected = walk_spectrum(graph, np.array(pins), PinSAGESampler(k=10), dim=48, seed=3)
    assert targets.shape == expected.shape
    np.testing.assert_allclose(targets @ targets.T, expected @ expected.T, atol=1e-4)


def test_recorded_walks_serve_the_solution_as_they_serve_the_batches(tiny_folder, tmp_path, told):
    run = Run.open(fit(arguments(tiny_folder, tmp_path, "run")))
    pins, rows = TrainingPins.of(run.dataset(), run.split), tmp_path / "rows.safetensors"
    record(PinSAGESampler(k=10), pins.graph, pins.anchors, rows, seed=0)
    recorded = {"class_path": "pingraph.samplers.RecordedSampler", "init_args": {"path": str(rows)}}
    config = yaml.safe_dump({"data": {"sampler": recorded}})
    fit(arguments(tiny_folder, tmp_path, "again", config))
    assert told[1][1].any()


@pytest.mark.parametrize(
    "option",
    ["objective.neighbor_weight=0", "encoder.shallow=false", "encoder.solved_weight=0"],
)
def test_it_is_not_told_without_a_neighbor_term_or_a_part_to_solve(
    option, tiny_folder, tmp_path, told
):
    fit([*arguments(tiny_folder, tmp_path, "run"), f"--model.{option}"])
    assert told == []


def test_a_run_that_goes_on_is_not_solved_again(tiny_folder, tmp_path, told):
    fit(arguments(tiny_folder, tmp_path, "run", trainer__max_steps=2))
    assert len(told) == 1
    checkpoint = next((tmp_path / "run").rglob("*.ckpt"))
    fit(arguments(tiny_folder, tmp_path, "run", trainer__max_steps=3, ckpt_path=checkpoint))
    assert len(told) == 1


def test_of_very_many_pins_some_are_drawn(tiny_folder, tmp_path, told, monkeypatch):
    monkeypatch.setattr("pingraph.data.SOLVED_PINS", 20)
    fit(arguments(tiny_folder, tmp_path, "run"))
    ((tokens, targets),) = told
    assert sum(map(len, tokens)) == len(targets) == 20


def test_the_same_seed_gives_the_same_start_and_a_run_keeps_it(tiny_folder, tmp_path):
    names = ("one", "two")
    first, second = (Run.open(fit(arguments(tiny_folder, tmp_path, name))) for name in names)
    for name, value in first.encoder.solved.state_dict().items():
        assert np.array_equal(value, second.encoder.solved.state_dict()[name]), name
    assert first.encoder.solved.pixels.weight.any()
    assert first.encoder.solved_share == second.encoder.solved_share > 0
