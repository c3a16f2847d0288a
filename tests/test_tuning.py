"""Tuning: exactly the chosen part moves, LoRA begins as nothing, decay follows its formula."""

import builtins
import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonargparse import ArgumentParser
from torch import nn
from transformers import BertConfig, BertModel, CLIPVisionConfig, CLIPVisionModel

from pingraph.encoders.tuning import Tower, TunedBackbone, Tuning
from pingraph.errors import PinGraphError
from pingraph.interfaces import Tokens

IMAGE_LAYERS, TEXT_LAYERS = 3, 2
SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2}
MODES = {
    "all": Tuning(),
    "nothing": Tuning(train="nothing"),
    "last": Tuning(train="last", layers=2),
    "lora": Tuning(train="lora", rank=3),
}


class TwoTowers(TunedBackbone):
    """Models of transformers with dropout, and a parameter that no tower has."""

    def __init__(self, tuning):
        super().__init__()
        torch.manual_seed(0)
        image = CLIPVisionConfig(
            **SIZES, num_hidden_layers=IMAGE_LAYERS, image_size=8, patch_size=4, dropout=0.3
        )
        text = BertConfig(**SIZES, num_hidden_layers=TEXT_LAYERS, vocab_size=20)
        text.hidden_dropout_prob = text.attention_probs_dropout_prob = 0.3
        image.attention_dropout = 0.3
        # As `from_pretrained` would leave them.
        self.image = CLIPVisionModel(image).eval()
        self.text = BertModel(text, add_pooling_layer=False).eval()
        self.temperature = nn.Parameter(torch.ones(()))
        before = (self.image.embeddings, self.image.pre_layrnorm)
        after = (self.image.post_layernorm,)
        towers = [
            Tower(before=before, layers=self.image.encoder.layers, after=after),
            Tower(before=(self.text.embeddings,), layers=self.text.encoder.layer),
        ]
        self.tune(tuning, towers)

    def embed_images(self, images):
        made = self.image(images.float() / 255)
        mask = torch.ones(made.last_hidden_state.shape[:2], dtype=torch.bool)
        return Tokens(levels=(made.last_hidden_state,), mask=mask, pooled=made.pooler_output)

    def embed_texts(self, tokens, mask):
        made = self.text(tokens, attention_mask=mask).last_hidden_state
        return Tokens(levels=(made,), mask=mask, pooled=made[:, 0])


def content():
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (3, 3, 8, 8), dtype=torch.uint8, generator=generator)
    tokens = torch.randint(1, 20, (3, 5), generator=generator)
    return images, tokens, torch.tensor([[1] * 5, [1] * 3 + [0] * 2, [1] + [0] * 4]).bool()


def outputs(backbone):
    images, tokens, mask = content()
    image, text = backbone.embed_images(images), backbone.embed_texts(tokens, mask)
    return [image.levels[0], image.pooled, text.levels[0] * mask[:, :, None], text.pooled]


def loss(backbone):
    return sum((value.tanh() ** 2).sum() for value in outputs(backbone))


def trained(backbone):
    return {name for name, value in backbone.named_parameters() if value.requires_grad}


def names(backbone, *starts):
    return {name for name, _ in backbone.named_parameters() if name.startswith(starts)}


def expected(mode, backbone):
    if mode == "nothing":
        return set()
    if mode == "all":
        return names(backbone, "image.", "text.")
    if mode == "lora":
        return {name for name, _ in backbone.named_parameters() if ".lora_" in name}
    after = "image.post_layernorm."
    return names(backbone, "image.encoder.layers.1.", "image.encoder.layers.2.", after, "text.enc")


@pytest.mark.parametrize("mode", MODES)
def test_exactly_the_chosen_part_moves(mode):
    backbone = TwoTowers(MODES[mode])
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    assert trained(backbone) == expected(mode, backbone)
    assert backbone.frozen == (mode == "nothing")
    # All parameters are given to it, and weight decay moves whatever has a gradient.
    optimizer = torch.optim.AdamW(backbone.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(2 * (mode != "nothing")):
        optimizer.zero_grad()
        loss(backbone).backward()
        optimizer.step()
    has_grad = {name for name, value in backbone.named_parameters() if value.grad is not None}
    assert has_grad == expected(mode, backbone)
    moved = {n for n, value in backbone.named_parameters() if not torch.equal(value, before[n])}
    assert moved == expected(mode, backbone)


def test_a_frozen_backbone_never_drops_out_and_lets_no_graph_grow():
    backbone = nn.ModuleList([TwoTowers(MODES["nothing"])]).train()
    assert backbone.training
    assert not any(module.training for module in backbone[0].modules())
    first, second = outputs(backbone[0]), outputs(backbone[0])
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    assert not any(value.requires_grad for value in first)


def test_what_is_trained_drops_out_though_the_model_came_in_evaluation_mode():
    for mode in ("all", "last", "lora"):
        backbone = TwoTowers(MODES[mode])
        assert not torch.equal(outputs(backbone)[0], outputs(backbone)[0]), mode
        assert torch.equal(outputs(backbone.eval())[0], outputs(backbone)[0]), mode
    partly = TwoTowers(Tuning(train="last", layers=1))
    layers = partly.image.encoder.layers
    assert [layer.training for layer in layers] == [False, False, True]
    assert not partly.image.embeddings.training


def test_lora_changes_no_bit_at_first_and_can_be_loaded():
    plain, lora = TwoTowers(Tuning()).eval(), TwoTowers(MODES["lora"]).eval()
    pairs = list(zip(outputs(plain), outputs(lora), strict=True))
    assert all(torch.equal(one, other) for one, other in pairs)
    with torch.no_grad():
        for name, value in lora.named_parameters():
            if ".lora_B." in name:
                value.normal_()
    assert not any(torch.allclose(a, b) for a, b in zip(outputs(plain), outputs(lora), strict=True))
    again = TwoTowers(MODES["lora"]).eval()
    again.load_state_dict(lora.state_dict())
    pairs = list(zip(outputs(again), outputs(lora), strict=True))
    assert all(torch.equal(one, other) for one, other in pairs)


def test_lora_stands_on_every_map_of_the_attention_and_nowhere_else():
    backbone = TwoTowers(MODES["lora"])
    stems = {name.split(".lora_")[0] for name in trained(backbone)}
    image = {
        f"image.encoder.layers.{i}.self_attn.{name}_proj"
        for i in range(IMAGE_LAYERS)
        for name in ("q", "k", "v", "out")
    }
    text = {
        f"text.encoder.layer.{i}.attention.{name}"
        for i in range(TEXT_LAYERS)
        for name in ("self.query", "self.key", "self.value", "output.dense")
    }
    assert stems == image | text
    shapes = {p.shape for name, p in backbone.named_parameters() if ".lora_" in name}
    assert shapes == {(3, 16), (16, 3)}


@settings(deadline=None, max_examples=10)
@given(
    whole=st.sampled_from([None, 1.0, 0.5, 3.0]),
    decay=st.floats(0.1, 1),
    mode=st.sampled_from(["all", "last", "lora"]),
)
def test_the_scale_is_the_formula_by_name(whole, decay, mode):
    values = {**vars(MODES[mode]), "layer_decay": decay, "learning_rate_scale": whole}
    backbone = TwoTowers(Tuning(**values))
    scales = backbone.learning_rate_scales()
    whole = whole or (1 if mode == "lora" else 0.01)
    for name in expected(mode, backbone):
        tower, _, rest = name.partition(".")
        depth = IMAGE_LAYERS if tower == "image" else TEXT_LAYERS
        if rest.startswith("encoder."):
            exponent = depth - int(rest.split(".")[2])  # layer 0 of L: L; the last layer: 1
        else:
            exponent = 0 if rest.startswith("post_layernorm") else depth + 1
        wanted = pytest.approx(whole * decay**exponent, rel=1e-12)
        assert scales.get(name, 1.0) == wanted, name
    assert scales.keys() <= expected(mode, backbone)


def test_without_decay_and_scale_none_is_given():
    assert TwoTowers(Tuning(learning_rate_scale=1)).learning_rate_scales() == {}
    assert TwoTowers(MODES["lora"]).learning_rate_scales() == {}


@pytest.mark.parametrize("mode", ["all", "last", "lora"])
def test_checkpointing_changes_no_gradient(mode):
    plain = TwoTowers(MODES[mode])
    recomputed = TwoTowers(Tuning(**{**vars(MODES[mode]), "checkpointing": True}))
    recomputed.load_state_dict(plain.state_dict())
    calls = []
    for backbone in (plain, recomputed):
        layer = backbone.image.encoder.layers[-1]
        layer.mlp.register_forward_pre_hook(lambda *_, of=backbone: calls.append(of))
        torch.manual_seed(5)  # with dropout, which must be the same when computed anew
        loss(backbone).backward()
    assert calls == [plain, recomputed, recomputed]
    for (name, one), other in zip(plain.named_parameters(), recomputed.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None), name
        if one.grad is not None:
            torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=0)


def test_checkpointing_leaves_the_input_of_frozen_layers_without_gradient():
    backbone = TwoTowers(Tuning(train="last", layers=1, checkpointing=True))
    seen = []
    layer = backbone.text.encoder.layer[-1]
    layer.register_forward_pre_hook(lambda _, args: seen.append(args[0].requires_grad))
    loss(backbone).backward()
    assert seen == [False]


def test_a_copy_is_tuned_alike():
    backbone = copy.deepcopy(TwoTowers(Tuning(train="last", layers=1, layer_decay=0.5)))
    first = backbone.learning_rate_scales()
    backbone.image.encoder.layers[-1].requires_grad_(False)
    second = backbone.learning_rate_scales()
    assert first.keys() - second.keys() == names(backbone, "image.encoder.layers.2.")


def test_any_module_with_layers_can_be_tuned():
    model = nn.ModuleDict({"embed": nn.Embedding(5, 4), "layers": nn.ModuleList()})
    model["layers"].extend(nn.Linear(4, 4) for _ in range(3))
    positions = nn.Parameter(torch.zeros(7, 4))
    model.register_parameter("positions", positions)
    tower = Tower(before=(model["embed"], positions), layers=model["layers"])
    Tuning(train="last", layers=2).apply(model, [tower])
    assert trained(model) == names(model, "layers.1", "layers.2")
    tuning = Tuning(learning_rate_scale=1, layer_decay=0.5)
    tuning.apply(model, [tower])
    scales = tuning.learning_rate_scales(model, [tower])
    assert scales["positions"] == scales["embed.weight"] == 0.5**4
    with pytest.raises(PinGraphError, match="checkpointing: Linear does not know it"):
        Tuning(checkpointing=True).apply(model, [tower])
    with pytest.raises(PinGraphError, match="no attention to put LoRA into in a tower of Linear"):
        Tuning(train="lora", rank=1).apply(model, [tower])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"train": "some"}, "train is 'some': expected 'all', 'nothing', 'last' or 'lora'"),
        ({"train": "last"}, "layers is None: train 'last' needs 1 or more"),
        ({"train": "last", "layers": 0}, "layers is 0: train 'last' needs 1 or more"),
        ({"train": "lora"}, "rank is None: train 'lora' needs 1 or more"),
        ({"layers": 2}, "layers is 2, but train is 'all', not 'last'"),
        ({"train": "last", "layers": 1, "rank": 4}, "rank is 4, but train is 'last', not 'lora'"),
        ({"learning_rate_scale": 0.0}, "learning_rate_scale is 0.0: expected a number above 0"),
        (
            {"learning_rate_scale": float("inf")},
            "learning_rate_scale is inf: expected a number above 0",
        ),
        ({"layer_decay": 0.0}, "layer_decay is 0.0: expected above 0, up to 1"),
        ({"layer_decay": 1.1}, "layer_decay is 1.1: expected above 0, up to 1"),
        ({"layer_decay": float("nan")}, "layer_decay is nan: expected above 0, up to 1"),
    ],
)
def test_values_that_do_not_fit_are_refused(values, message):
    with pytest.raises(PinGraphError) as error:
        Tuning(**values)
    assert str(error.value) == message


def test_more_layers_than_a_tower_has_are_refused():
    with pytest.raises(PinGraphError, match="layers is 3, but a tower has only 2"):
        TwoTowers(Tuning(train="last", layers=3))


def test_without_peft_it_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "peft":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(PinGraphError, match="train 'lora' needs peft: pip install peft"):
        TwoTowers(MODES["lora"])


@pytest.mark.parametrize(
    ("line", "tuning"),
    [
        ("{train: all, layer_decay: 0.75}", Tuning(layer_decay=0.75)),
        ("{train: nothing}", Tuning(train="nothing")),
        ("{train: last, layers: 4}", Tuning(train="last", layers=4)),
        ("{train: lora, rank: 8}", Tuning(train="lora", rank=8)),
        ("{checkpointing: true}", Tuning(checkpointing=True)),
    ],
)
def test_each_mode_is_one_line_of_yaml(line, tuning):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--tuning", type=Tuning, default=Tuning())
    assert parser.instantiate(parser.parse_string(f"tuning: {line}")).tuning == tuning
