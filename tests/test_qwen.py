"""Qwen-VL as a backbone: its own features, from patches that its own processor would have made."""

import json
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonargparse import ArgumentParser
from PIL import Image
from safetensors.torch import load_file, save_file

from pingraph.encoders.backbone import Backbone
from pingraph.encoders.qwen import MODEL_TYPES, QwenBackbone
from pingraph.encoders.tuning import Tuning
from pingraph.errors import PinGraphError
from pingraph.tokenization import encode
from tests.tiny_qwen import SIZE, TEXTS, processor, save

GRID = 4


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    @cache
    def folder(kind):
        return str(save(kind, tmp_path_factory.mktemp(kind)))

    return folder


@pytest.fixture(scope="module")
def backbones(folders):
    @cache
    def backbone(kind):
        return QwenBackbone(folders(kind), Tuning(train="nothing"), (0.34, 1.0), SIZE, 12)

    return backbone


@cache
def own(folder):
    """The model as `transformers` loads it, by its own class."""
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText.from_pretrained(folder).eval()


def pictures(count, size=SIZE, seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return [Image.fromarray(one) for one in noise]


def pixels(backbone, images):
    return torch.from_numpy(np.stack([backbone.preparation.pixels(one) for one in images]))


def text_input(backbone, texts):
    tokens, mask = encode(backbone.preparation.tokenizer([]), texts)
    return torch.from_numpy(tokens), torch.from_numpy(mask)


@pytest.mark.parametrize("kind", MODEL_TYPES)
@pytest.mark.parametrize("size", [SIZE, 75])
def test_patches_are_those_of_the_image_processor(backbones, folders, kind, size):
    from transformers import AutoImageProcessor

    backbone, images = backbones(kind), pictures(3, size)
    theirs = AutoImageProcessor.from_pretrained(folders(kind), backend="pil")
    wanted = theirs(images, return_tensors="pt")
    assert wanted["image_grid_thw"].tolist() == [[1, 8, 8]] * 3
    made = backbone._patches(pixels(backbone, images))
    torch.testing.assert_close(made, wanted["pixel_values"], rtol=0, atol=1e-6)


@settings(deadline=None, max_examples=20)
@given(
    count=st.integers(1, 3), grid=st.integers(1, 3), merge=st.integers(1, 3), p=st.integers(1, 3)
)
def test_patches_of_any_size(backbones, count, grid, merge, p):
    backbone = backbones("qwen2_vl")
    kept = {name: getattr(backbone, name) for name in ("grid", "merge", "patch")}
    images = pictures(count, grid * merge * p)
    side = {"shortest_edge": 1, "longest_edge": 1 << 20}
    theirs = processor(size=side, patch_size=p, merge_size=merge)(images, return_tensors="pt")
    try:
        backbone.grid, backbone.merge, backbone.patch = grid, merge, p
        stacked = torch.from_numpy(np.stack([np.asarray(one) for one in images]))
        made = backbone._patches(stacked.permute(0, 3, 1, 2).contiguous())
    finally:
        for name, value in kept.items():
            setattr(backbone, name, value)
    torch.testing.assert_close(made, theirs["pixel_values"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_images_are_the_models_own_features(backbones, folders, kind):
    from transformers import AutoImageProcessor

    backbone, images = backbones(kind), pictures(3)
    given = AutoImageProcessor.from_pretrained(folders(kind), backend="pil")(
        images, return_tensors="pt"
    )
    with torch.no_grad():
        wanted = own(folders(kind)).get_image_features(**given)
    made = backbone.embed_images(pixels(backbone, images))
    assert len(made.levels) == backbone.image_levels == (3 if "qwen3_vl" in kind else 1)
    close = {"rtol": 1e-5, "atol": 1e-6}
    for row, features in enumerate(wanted.pooler_output):
        torch.testing.assert_close(made.levels[-1][row], features, **close)
        torch.testing.assert_close(made.pooled[row], features.mean(0), **close)
        for depth, deep in enumerate(wanted.get("deepstack_features") or ()):
            torch.testing.assert_close(made.levels[depth][row], deep[row], **close)
    assert made.levels[0].shape == (3, GRID**2, backbone.image_width)
    assert made.pooled.shape == (3, backbone.image_pooled_width)
    assert made.mask.all()


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_texts_are_the_states_of_the_whole_model_without_padding(backbones, folders, kind):
    backbone = backbones(kind)
    texts = [text for text in TEXTS if text]
    tokens, mask = text_input(backbone, texts)
    made = backbone.embed_texts(tokens, mask)
    assert len(made.levels) == backbone.text_levels == 2
    for row in range(len(texts)):
        ids = tokens[row, mask[row]]
        with torch.no_grad():
            wanted = own(folders(kind)).model(input_ids=ids[None], output_hidden_states=True)
        close = {"rtol": 1e-5, "atol": 1e-6}
        last = wanted.last_hidden_state[0]
        torch.testing.assert_close(made.levels[-1][row, : len(ids)], last, **close)
        torch.testing.assert_close(
            made.levels[0][row, : len(ids)], wanted.hidden_states[1][0], **close
        )
        torch.testing.assert_close(made.pooled[row], last[-1], **close)


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_the_patches_stand_row_by_row(backbones, kind):
    """Where a tower mixes no places, a mark in the picture shows at its place among the tokens."""
    backbone = backbones(kind)
    visual = backbone.model.visual
    images = torch.zeros(1, 3, SIZE, SIZE, dtype=torch.uint8)
    blocks = visual.blocks
    try:
        visual.blocks = torch.nn.ModuleList()
        plain = backbone.embed_images(images).levels[-1]
        for place in (1, GRID, 2 * GRID + 3):
            row, column = divmod(place, GRID)
            marked = images.clone()
            marked[:, :, row * 8 : row * 8 + 8, column * 8 : column * 8 + 8] = 255
            changed = (backbone.embed_images(marked).levels[-1] != plain).any(2)[0]
            assert changed.nonzero().flatten().tolist() == [place]
    finally:
        visual.blocks = blocks


def test_the_pooled_text_ends_with_the_end_token(backbones):
    backbone = backbones("qwen2_vl")
    tokenizer = backbone.preparation.tokenizer([])
    end = tokenizer.token_to_id("<|im_end|>")
    tokens, mask = text_input(backbone, [*TEXTS, " ".join(TEXTS * 9)])
    assert mask.sum(1).max() == 12
    assert mask.sum(1)[2] == 0
    for row in (0, 1, 3, 4):
        assert tokens[row, mask[row]][-1] == end
    words = tokenizer.decode(tokens[0, mask[0]].tolist()).replace(" ", "").replace("Ġ", " ")
    assert words == TEXTS[0]


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_a_pin_does_not_depend_on_its_batch(backbones, kind):
    backbone = backbones(kind)
    images = pixels(backbone, pictures(4))
    tokens, mask = text_input(backbone, [text for text in TEXTS if text])
    together = backbone.embed_images(images), backbone.embed_texts(tokens, mask)
    for row in range(3):
        length = int(mask[row].sum())
        alone = backbone.embed_images(images[row : row + 1])
        torch.testing.assert_close(alone.pooled[0], together[0].pooled[row])
        alone = backbone.embed_texts(tokens[row : row + 1, :length], mask[row : row + 1, :length])
        torch.testing.assert_close(alone.pooled[0], together[1].pooled[row])


@pytest.mark.parametrize("kind", MODEL_TYPES)
@pytest.mark.parametrize(
    "tuning",
    [
        Tuning(checkpointing=True, learning_rate_scale=1, layer_decay=0.5),
        Tuning(train="last", layers=1),
        Tuning(train="lora", rank=2),
    ],
    ids=lambda tuning: tuning.train,
)
def test_it_can_be_tuned(folders, kind, tuning):
    backbone = QwenBackbone(folders(kind), tuning, image_size=SIZE)
    tokens, mask = text_input(backbone, TEXTS[:2])
    image = backbone.embed_images(pixels(backbone, pictures(2)))
    text = backbone.embed_texts(tokens, mask)
    if tuning.train == "lora":
        frozen = QwenBackbone(folders(kind), Tuning(train="nothing"), image_size=SIZE)
        assert torch.equal(image.pooled, frozen.embed_images(pixels(backbone, pictures(2))).pooled)
    # Not the square of each: the norms would leave its sum as it is.
    sum((level**3).sum() for level in (*image.levels, *text.levels)).backward()
    without = [
        name
        for name, parameter in backbone.named_parameters()
        if parameter.requires_grad and parameter.grad is None
    ]
    assert without == []
    if tuning.train == "all":
        assert all(parameter.requires_grad for parameter in backbone.parameters())
    scales = backbone.learning_rate_scales()
    if tuning.layer_decay != 1:
        assert scales["model.visual.patch_embed.proj.weight"] == 0.5**4
        assert scales["model.language_model.layers.2.input_layernorm.weight"] == 0.5


def test_it_is_chosen_by_class_path_in_yaml(folders):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--backbone", type=Backbone)
    parsed = parser.parse_string(f"""
        backbone:
          class_path: pingraph.encoders.QwenBackbone
          init_args:
            name: {folders("qwen3_vl")}
            image_size: 32
            tuning: {{train: last, layers: 1}}
    """)
    backbone = parser.instantiate(parsed).backbone
    assert isinstance(backbone, QwenBackbone)
    trained = {name for name, value in backbone.named_parameters() if value.requires_grad}
    assert "model.language_model.layers.2.mlp.up_proj.weight" in trained
    assert "model.language_model.layers.1.mlp.up_proj.weight" not in trained


def test_it_is_frozen_and_its_preparation_is_square(backbones):
    backbone = backbones("qwen3_vl")
    assert backbone.frozen
    assert backbone.preparation.image_size == SIZE
    wide = Image.new("RGB", (90, 31), (9, 200, 77))
    made = backbone.preparation.pixels(wide)
    assert made.shape == (3, SIZE, SIZE)
    assert (made == np.array([9, 200, 77], np.uint8)[:, None, None]).all()


@pytest.mark.parametrize("kind", ["qwen3_5", "qwen3_5_moe"])
def test_the_part_that_predicts_further_tokens_is_left_out(folders, tmp_path, kind):
    """The files of Qwen3.5 hold it, with layers of its own; `transformers` has no place for it."""
    folder = shutil.copytree(folders(kind), tmp_path / kind)
    file = folder / "model.safetensors"
    further = {
        name: torch.ones(2) for name in ("mtp.norm.weight", "mtp.layers.0.mlp.up_proj.weight")
    }
    save_file(load_file(file) | further, file, {"format": "pt"})
    backbone = QwenBackbone(str(folder), image_size=SIZE)
    assert not any("mtp" in name for name, _ in backbone.named_parameters())


def damaged(folder, change):
    path = Path(folder) / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    return str(folder)


def test_what_does_not_fit_is_named(folders, tmp_path):
    folder = folders("qwen2_vl")
    with pytest.raises(PinGraphError, match=r"image_size is 30: .* needs a multiple of 8"):
        QwenBackbone(folder, image_size=30)
    with pytest.raises(PinGraphError, match="max_tokens is 1: expected 2 or more"):
        QwenBackbone(folder, image_size=SIZE, max_tokens=1)
    save("qwen2_vl", tmp_path)
    for key, found, expected in (("patch_size", 14, 4), ("merge_size", 1, 2)):
        with pytest.raises(PinGraphError) as error:
            QwenBackbone(damaged(tmp_path, {key: found}), image_size=SIZE)
        wanted = f"{key} {found}, but its vision model {expected}"
        assert str(error.value) == f"{tmp_path}: its image processor has {wanted}"
        damaged(tmp_path, {key: expected})
    settings = tmp_path / "tokenizer_config.json"
    kept = {k: v for k, v in json.loads(settings.read_text()).items() if k != "eos_token"}
    settings.write_text(json.dumps(kept))
    with pytest.raises(PinGraphError, match="its tokenizer has no end token"):
        QwenBackbone(str(tmp_path), image_size=SIZE)
