"""What is hidden of the inputs follows the number of passes over the training pins."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pingraph.encoders import HybridEncoder, SmallBackbone
from pingraph.encoders.hiding import HiddenNumbers, HiddenRows, hide_for
from pingraph.fit import fit
from tests.training_cases import arguments

ENCODER = {"backbone": SmallBackbone(dim=16, heads=2, lexicon="none", word_dropout=0.4)}


def hidden(encoder):
    return [part.p for part in encoder.modules() if isinstance(part, HiddenNumbers | HiddenRows)]


@given(st.floats(0.01, 500), st.floats(0, 0.99))
def test_shares_grow_with_the_passes_up_to_what_they_are_given_as(passes, share):
    parts = nn.Sequential(HiddenNumbers(share), nn.Dropout(0.1), HiddenRows(share))
    hide_for(parts, passes)
    assert [part.p for part in parts] == pytest.approx(
        [share * min(1, passes / 37), 0.1, share * min(1, passes / 74)]
    )
    hide_for(parts, 1000)  # another training of the same encoder
    assert [part.p for part in parts] == [share, 0.1, share]


def test_all_inputs_of_the_encoder_are_hidden_so_and_nothing_else():
    encoder = HybridEncoder(**ENCODER, embed_dim=16, heads=2, input_dropout=0.6)
    assert sorted(set(hidden(encoder))) == [0.4, 0.6]
    others = [p.p for p in encoder.modules() if isinstance(p, nn.Dropout) and p.p == 0.1]
    encoder.expect_passes(37 / 2)
    assert sorted(set(hidden(encoder))) == pytest.approx([0.1, 0.3])
    assert others == [p.p for p in encoder.modules() if isinstance(p, nn.Dropout) and p.p == 0.1]


def test_a_share_is_hidden_and_the_rest_is_raised():
    torch.manual_seed(0)
    part = HiddenNumbers(0.8)
    hide_for(part, 37 / 2)
    seen = part(torch.ones(200, 200))
    assert (seen == 0).float().mean() == pytest.approx(0.4, abs=0.01)
    assert seen.max() == pytest.approx(1 / 0.6)


@pytest.mark.parametrize(("steps", "accumulated"), [(6, 1), (3, 2)])
def test_a_training_tells_the_encoder_how_many_passes_it_makes(
    steps, accumulated, tiny_folder, tmp_path, monkeypatch
):
    told = []
    monkeypatch.setattr(HybridEncoder, "expect_passes", lambda self, passes: told.append(passes))
    options = {"trainer__max_steps": steps, "trainer__accumulate_grad_batches": accumulated}
    fit(arguments(tiny_folder, tmp_path, "run", **options))
    from pingraph.runs import Run

    pins = len(Run.open(tmp_path / "run").split.train_pins)
    assert told == [pytest.approx(6 * 8 / pins)]
