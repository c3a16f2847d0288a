"""A step that is not finite is not made, and weights that are not finite are not saved."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from pingraph.errors import PinGraphError
from pingraph.module import PinModule
from pingraph.objectives import AlignmentObjective
from pingraph.run_callbacks import RunCheckpoint


class Encoder(nn.Module):
    """One weight, and a mask that is meant to hold infinities."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))

    def get_extra_state(self):
        return {"words": 3}

    def set_extra_state(self, state):
        pass


@pytest.fixture
def module(monkeypatch):
    monkeypatch.setattr(PinModule, "global_step", 6)
    return PinModule(Encoder(), AlignmentObjective())


def step(module, monkeypatch, gradient, term=1.0, scale=None):
    scaler = None if scale is None else SimpleNamespace(get_scale=lambda: scale)
    plugin = SimpleNamespace(scaler=scaler)
    monkeypatch.setattr(PinModule, "trainer", SimpleNamespace(precision_plugin=plugin))
    module._terms = {"neighbor": torch.tensor(term)}
    module.encoder.weight.grad = torch.tensor([1.0, gradient, 1.0])
    module.on_before_optimizer_step(None)


@pytest.mark.parametrize(("gradient", "term"), [(1, torch.nan), (torch.inf, 1), (torch.nan, 1)])
def test_a_step_that_is_not_finite_is_not_made(gradient, term, module, monkeypatch):
    step(module, monkeypatch, 1.0)
    with pytest.raises(PinGraphError, match=rf"step 7 .*\(neighbor {float(term):g}, norm of the"):
        step(module, monkeypatch, gradient, term)


def test_a_scaler_may_leave_steps_out_until_it_scales_no_more(module, monkeypatch):
    step(module, monkeypatch, torch.inf, scale=65536.0)
    step(module, monkeypatch, torch.nan, scale=1.0)
    with pytest.raises(PinGraphError, match="norm of the gradient inf"):
        step(module, monkeypatch, torch.inf, scale=0.5)
    with pytest.raises(PinGraphError, match="neighbor nan"):
        step(module, monkeypatch, 1.0, torch.nan, scale=65536.0)


def test_infinities_that_are_meant_are_saved_and_such_weights_are_not(module):
    trainer, saver = SimpleNamespace(global_step=7), RunCheckpoint(Path("run/last.ckpt"))
    saver.on_save_checkpoint(trainer, module, {"state_dict": module.state_dict()})
    for spoiled in (torch.inf, torch.nan):
        module.encoder.weight.data[1] = spoiled
        with pytest.raises(PinGraphError, match=r"after step 7 encoder\.weight is not finite"):
            saver.on_save_checkpoint(trainer, module, {})
