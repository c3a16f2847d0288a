"""Pretrained backbones: their features are the model's own, and what does not fit is named."""

import io
import json
import os
import pickle
import re
import shutil
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from pingraph.encoders.backbone import Backbone
from pingraph.encoders.hub import cache_alone_without_hub
from pingraph.encoders.pretrained import PretrainedBackbone, load_backbone
from pingraph.encoders.towers import LEVELS, Depths
from pingraph.encoders.tuning import Tuning
from pingraph.errors import PinGraphError
from pingraph.images import to_rgb
from pingraph.tokenization import encode
from tests import tiny_models

# Of each kind: how many tokens stand before its patches.
CLASS_TOKENS = {
    "clip": 1,
    "metaclip_2": 1,
    "altclip": 1,
    "chinese_clip": 1,
    "aimv2": 0,
    "siglip": 0,
    "siglip2": 0,
    "naflex": 0,
}
PAIRED = tuple(CLASS_TOKENS)
SIGLIP = ("siglip", "siglip2", "naflex")
TEXTS = [
    "a red chair",
    "Two green chairs, and a table!",
    "kitchen",
    "old oak table with four chairs in a bright kitchen by the sea " * 3,
    "unseen wörds 1 2 3",
]


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Where the tiny models lie, by kind."""
    root = tmp_path_factory.mktemp("models")
    return {kind: tiny_models.save(kind, root / kind) for kind in PAIRED}


def copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "model")


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def own(folder):
    """A model and its parts, as their documentation loads them."""
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    processor = AutoImageProcessor.from_pretrained(folder)
    return (
        AutoModel.from_pretrained(folder).eval(),
        processor,
        AutoTokenizer.from_pretrained(folder),
    )


def picture(size=(32, 32), seed=0, mode="RGB"):
    """Smooth, so that a shift by a pixel is seen, but with noise."""
    generator = np.random.default_rng(seed)
    width, height = size
    channels = len(Image.new(mode, (1, 1)).getbands())
    slope = np.add.outer(np.linspace(0, 120, height), np.linspace(0, 80, width))[..., None]
    noise = generator.integers(0, 50, (height, width, channels))
    array = (slope + noise).astype(np.uint8)
    return Image.fromarray(array if channels > 1 else array[..., 0], mode)


def pixels(backbone, images):
    return torch.from_numpy(np.stack([backbone.preparation.pixels(one) for one in images]))


def tokenized(backbone, texts):
    tokens, mask = encode(backbone.preparation.tokenizer([]), texts)
    return torch.from_numpy(tokens), torch.from_numpy(mask)


def texts_for(tokenizer, texts):
    """Tokens as a model's own processor makes them."""
    return tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")


@pytest.mark.parametrize("kind", PAIRED)
def test_features_are_the_models_own(folders, kind):
    model, processor, tokenizer = own(folders[kind])
    backbone = PretrainedBackbone(folders[kind]).eval()
    # Squares: of others NaFlex makes no squares itself.
    images = [picture((size, size), seed) for seed, size in enumerate((32, 90, 17))]
    with torch.no_grad():
        images_of_ours = backbone.embed_images(pixels(backbone, images)).pooled
        known = model.get_image_features(**processor(images=images, return_tensors="pt"))
        assert torch.allclose(images_of_ours, known.pooler_output, atol=1e-6)
        texts_of_ours = backbone.embed_texts(*tokenized(backbone, TEXTS)).pooled
        known = model.get_text_features(**texts_for(tokenizer, TEXTS))
        assert torch.allclose(texts_of_ours, known.pooler_output, atol=1e-6)
    # Else any two would be close.
    assert images_of_ours.std(0).max() > 1e-3
    assert texts_of_ours.std(0).max() > 1e-3


@pytest.mark.parametrize(
    "settings", [{"padding_side": "left"}, {"model_input_names": ["input_ids"]}]
)
def test_siglips_padding_is_that_of_its_tokenizer(tmp_path, settings):
    folder = tiny_models.save("naflex", tmp_path, **settings)
    model, _, tokenizer = own(folder)
    backbone = PretrainedBackbone(folder).eval()
    tokens, mask = tokenized(backbone, TEXTS[:3])
    found = backbone.embed_texts(tokens, mask)
    known = model.get_text_features(**texts_for(tokenizer, TEXTS[:3]), output_hidden_states=True)
    assert torch.allclose(found.pooled, known.pooler_output, atol=1e-6)
    T = tokens.shape[1]
    assert T < 16
    assert torch.equal(found.mask, mask)
    whole = torch.zeros(len(mask), 16, dtype=torch.bool)
    if "padding_side" in settings:
        whole[:, -T:] = mask.flip(1)
    else:
        whole[:, :T] = mask
    # Each token is where it was given, whichever side the tower had the padding on.
    assert torch.allclose(found.levels[-1][mask], known.last_hidden_state[whole], atol=1e-6)


def test_clip_of_the_first_days_finds_the_end_by_its_number(tmp_path):
    """Its config names another end of the text, and the model takes the largest id."""
    folder = tiny_models.save("clip", tmp_path, text={"eos_token_id": 2})
    model, _, tokenizer = own(folder)
    backbone = PretrainedBackbone(folder).eval()
    known = model.get_text_features(**texts_for(tokenizer, TEXTS)).pooler_output
    assert torch.allclose(
        backbone.embed_texts(*tokenized(backbone, TEXTS)).pooled, known, atol=1e-6
    )


def given_images(backbone, images):
    """What the model is given of images uint8; in patches, for NaFlex."""
    scaled = backbone.scaling(images)
    patches = backbone.model_type == "siglip2"
    return backbone._patches(scaled) if patches else {"pixel_values": scaled}


@pytest.mark.parametrize("kind", PAIRED)
def test_tokens_are_the_models_own(folders, kind):
    model, _, tokenizer = own(folders[kind])
    backbone = PretrainedBackbone(folders[kind], levels=(0.1, 0.4, 0.7, 1.0)).eval()
    tokens, mask = tokenized(backbone, TEXTS)
    found = backbone.embed_texts(tokens, mask)
    texts = texts_for(tokenizer, TEXTS)
    known = model.text_model(**texts, output_hidden_states=True)
    last = known.last_hidden_state
    if kind == "altclip":  # whose own are mapped further, to the width of another model
        last = model.text_model.pre_LN(known.hidden_states[2])
        mapped = model.text_model.transformation(found.levels[-1])
        same = known.last_hidden_state[:, : tokens.shape[1]]
        assert torch.allclose(mapped[mask], same[mask], atol=1e-6)
    # Of 2 layers: 0.1, 0.4 and 0.7 of them all round to the first one.
    assert len(found.levels) == backbone.text_levels == 2
    for level, same in zip(found.levels, (known.hidden_states[1], last), strict=True):
        assert level.shape == (*tokens.shape, backbone.text_width)
        assert torch.allclose(level[mask], same[:, : tokens.shape[1]][mask], atol=1e-6)

    images = pixels(backbone, [picture(seed=seed) for seed in range(2)])
    found = backbone.embed_images(images)
    assert len(found.levels) == backbone.image_levels == 3
    assert found.mask.all()
    tokens = backbone.grid**2 + CLASS_TOKENS[kind]
    assert found.mask.shape == (2, tokens)
    assert found.levels[0].shape == (2, tokens, backbone.image_width)
    assert found.pooled.shape == (2, backbone.image_pooled_width)
    # The last level is what the model's own head and projection see.
    first = CLASS_TOKENS[kind] == 1
    same = found.levels[-1][:, 0] if first else model.vision_model.head(found.levels[-1])
    if kind not in SIGLIP:
        same = model.visual_projection(same)
    assert torch.allclose(same, found.pooled, atol=1e-6)
    seen = model.get_image_features(
        **given_images(backbone, pixels(backbone, [picture(), picture(seed=1)])),
        output_hidden_states=True,
    )
    for level, same in zip(found.levels[:-1], seen.hidden_states[1:3], strict=True):
        assert torch.allclose(level, same, atol=1e-6)


@pytest.mark.parametrize("kind", PAIRED)
def test_patches_stand_row_by_row_at_the_end(folders, kind):
    backbone = PretrainedBackbone(folders[kind]).eval()
    g, size = backbone.grid, backbone.preparation.image_size
    image = pixels(backbone, [picture()])
    others = image.repeat(g * g, 1, 1, 1)
    for place, other in enumerate(others):
        row, column = divmod(place, g)
        corner = other[:, row * size // g :, column * size // g :]
        corner[:, : size // g, : size // g] += 100
    before, after = (backbone.embed_images(one).levels[0][:, -g * g :] for one in (image, others))
    # Attention changes all tokens, but none as much as the patch's own.
    assert torch.equal((after - before).norm(dim=2).argmax(1), torch.arange(g * g))


@pytest.mark.parametrize("kind", PAIRED)
def test_a_pin_does_not_depend_on_its_batch(folders, kind):
    backbone = PretrainedBackbone(folders[kind]).eval()
    tokens, mask = tokenized(backbone, TEXTS)
    images = pixels(backbone, [picture(seed=seed) for seed in range(3)])
    texts, pictures = backbone.embed_texts(tokens, mask), backbone.embed_images(images)
    for row in range(3):
        T = int(mask[row].sum())  # alone it is not padded
        alone = backbone.embed_texts(tokens[row : row + 1, :T], mask[row : row + 1, :T])
        assert torch.allclose(alone.pooled[0], texts.pooled[row], atol=1e-6)
        assert torch.allclose(alone.levels[-1][0], texts.levels[-1][row, :T], atol=1e-6)
        alone = backbone.embed_images(images[row : row + 1])
        assert torch.allclose(alone.pooled[0], pictures.pooled[row], atol=1e-6)
    junk = torch.where(mask, tokens, 3)
    assert torch.equal(backbone.embed_texts(junk, mask).pooled, texts.pooled)


@pytest.mark.parametrize("kind", PAIRED)
def test_all_that_is_trained_learns_with_checkpointing_as_without(folders, kind):
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)  # of the dropout that some have
        backbone = PretrainedBackbone(folders[kind], Tuning(checkpointing=checkpointing))
        images = backbone.embed_images(pixels(backbone, [picture()]))
        texts = backbone.embed_texts(*tokenized(backbone, TEXTS))
        gradients.append(tiny_models.gradients(backbone, images, texts))
    pairs = zip(*gradients, strict=True)
    assert all(torch.allclose(plain, again, rtol=1e-4, atol=1e-4) for plain, again in pairs)


@pytest.mark.parametrize("train", ["nothing", "last", "lora"])
@pytest.mark.parametrize("kind", PAIRED)
def test_tuning_reaches_both_towers_and_changes_no_feature(folders, kind, train):
    settings = {"last": {"layers": 1}, "lora": {"rank": 2}}.get(train, {})
    backbone = PretrainedBackbone(folders[kind], Tuning(train=train, **settings)).eval()
    plain = PretrainedBackbone(folders[kind]).eval()
    images = pixels(backbone, [picture()])
    tokens, mask = tokenized(backbone, TEXTS)
    found = backbone.embed_images(images).pooled, backbone.embed_texts(tokens, mask).pooled
    known = plain.embed_images(images).pooled, plain.embed_texts(tokens, mask).pooled
    for one, same in zip(found, known, strict=True):
        assert torch.allclose(one, same, atol=1e-6)
        assert one.requires_grad == (train != "nothing")
    assert backbone.frozen == (train == "nothing")


@pytest.mark.parametrize("kind", PAIRED)
def test_each_weight_has_its_depth_but_the_temperature(folders, kind):
    backbone = PretrainedBackbone(folders[kind], Tuning(learning_rate_scale=1, layer_decay=0.5))
    weights = {name.removeprefix("model."): w for name, w in backbone.named_parameters()}
    without = {name for name, weight in weights.items() if not weight.requires_grad}
    assert without <= {"logit_scale", "logit_bias"}
    scales = backbone.learning_rate_scales()
    for name in weights.keys() - without:
        depth = top = 3 if name.startswith("text") else 4  # of what comes after its 2 or 3 layers
        if "embeddings" in name or "pre_layrnorm" in name:
            depth = 0
        elif found := re.search(r"encoder\.layers?\.(\d)", name):
            depth = int(found[1]) + 1
        assert scales.get(f"model.{name}", 1) == 0.5 ** (top - depth), name


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
@pytest.mark.parametrize("size", [(32, 32), (70, 41), (41, 70), (1, 1), (3, 50), (200, 8)])
@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_pixels_are_the_processors_own(folders, kind, size, mode):
    _, processor, _ = own(folders[kind])
    backbone = PretrainedBackbone(folders[kind])
    image = picture(size, mode=mode)
    found = pixels(backbone, [image])
    assert found.dtype == torch.uint8
    known = processor(images=to_rgb(image), return_tensors="pt")["pixel_values"]
    assert torch.allclose(backbone.scaling(found), known, atol=1e-6)


def test_a_processor_that_neither_rescales_nor_normalizes_is_followed(folders, tmp_path):
    folder = copied(folders["siglip"], tmp_path)
    file = folder / "preprocessor_config.json"
    change(file, do_normalize=False, rescale_factor=0.5)
    backbone = PretrainedBackbone(str(folder))
    image = torch.full((1, 3, 32, 32), 7, dtype=torch.uint8)
    assert torch.equal(backbone.scaling(image), torch.full((1, 3, 32, 32), 3.5))
    change(file, do_rescale=False)
    assert torch.equal(PretrainedBackbone(str(folder)).scaling(image), image.float())


def test_naflex_squeezes_an_image_into_a_square(folders):
    backbone = PretrainedBackbone(folders["naflex"])
    image = picture((70, 41))
    known = image.resize((32, 32), Image.Resampling.BILINEAR)
    assert np.array_equal(backbone.preparation.pixels(image), np.asarray(known).transpose(2, 0, 1))


def test_a_photograph_is_decoded_small_and_looks_the_same(folders):
    preparation = PretrainedBackbone(folders["clip"]).preparation
    file = io.BytesIO()
    picture((40, 60)).resize((400, 600), Image.Resampling.BICUBIC).save(file, "JPEG", quality=95)
    lazy, whole = Image.open(file), Image.open(io.BytesIO(file.getvalue())).convert("RGB")
    found = preparation.pixels(lazy).astype(int)
    assert lazy.size == (100, 150)  # of 1/4, the smallest that is twice the 32 pixels
    assert np.abs(found - preparation.pixels(whole)).mean() < 3


def test_an_endless_image_fits_into_memory(folders):
    preparation = PretrainedBackbone(folders["clip"]).preparation
    image = Image.new("RGB", (1, 60_000), (9, 9, 9))
    image.paste((200, 0, 0), (0, 29_990, 1, 30_010))
    found = preparation.pixels(image)  # of the whole at 32 pixels: 180 MB; at 224 px 9 GB
    assert found.shape == (3, 32, 32)
    assert found[0, 16, 16] > 150


@pytest.mark.parametrize("kind", PAIRED)
def test_ids_are_those_of_the_models_tokenizer(folders, kind):
    _, _, tokenizer = own(folders[kind])
    preparation = PretrainedBackbone(folders[kind]).preparation
    assert preparation.max_tokens == 16
    again = pickle.loads(pickle.dumps(preparation))  # as for a process that reads data
    assert np.array_equal(again.pixels(picture()), preparation.pixels(picture()))
    for text in (*TEXTS, "", " ", "chair\n\ttable"):
        known = tokenizer(text, truncation=True)["input_ids"]
        found = again.tokenizer(["ignored"]).encode(text).ids
        assert found == known
        assert len(found) <= 16
        end = tokenizer.sep_token_id if kind == "chinese_clip" else tokenizer.eos_token_id
        assert found[-1] == end  # which is not cut off


@pytest.mark.parametrize("kind", PAIRED)
def test_a_text_fills_all_positions_and_no_more(folders, tmp_path, kind):
    """Where the tokenizer would go on: AltCLIP's positions begin after that of the padding."""
    folder = copied(folders[kind], tmp_path)
    change(folder / "tokenizer_config.json", model_max_length=512)
    model, _, tokenizer = own(folder)
    backbone = PretrainedBackbone(str(folder)).eval()
    tokens, mask = tokenized(backbone, [TEXTS[3]])
    assert tokens.shape == (1, 16)
    assert mask.all()
    given = tokenizer(TEXTS[3], truncation=True, max_length=16, return_tensors="pt")
    known = model.get_text_features(**of_training(kind, given))
    found = backbone.embed_texts(tokens, mask)
    assert torch.allclose(found.pooled, known.pooler_output, atol=1e-6)
    with pytest.raises((IndexError, RuntimeError, ValueError)):
        model.get_text_features(F.pad(tokens, (0, 1), value=5), attention_mask=torch.ones(1, 17))


def of_training(kind, given):
    """AIMv2's tower was trained causal, and is that only where it is given some padding."""
    if kind != "aimv2":
        return given
    T = given["input_ids"].shape[1]
    causal = torch.ones(T, T, dtype=torch.bool).tril()[None, None]
    return {**given, "attention_mask": causal}


def test_siglip2_of_a_fixed_size_reads_lower_case(folders, tmp_path):
    """It came with the tokenizer of Gemma, which tells Red from red."""
    folder = copied(folders["siglip2"], tmp_path)
    change(folder / "tokenizer_config.json", tokenizer_class="GemmaTokenizer")
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    change(folder / "tokenizer.json", normalizer=spaces)
    _, _, theirs = own(folder)
    assert theirs("A Red CHAIR")["input_ids"] != theirs("a red chair")["input_ids"]
    ours = PretrainedBackbone(str(folder)).preparation.tokenizer([])
    assert ours.encode("A Red CHAIR").ids == theirs("a red chair")["input_ids"]


def test_siglips_tokenizer_is_read_without_sentencepiece(folders, tmp_path):
    folder = copied(folders["siglip"], tmp_path)
    change(folder / "tokenizer_config.json", tokenizer_class="SiglipTokenizer")
    found = PretrainedBackbone(str(folder)).preparation.tokenizer([]).encode(TEXTS[1]).ids
    plain = PretrainedBackbone(folders["siglip"]).preparation
    assert found == plain.tokenizer([]).encode(TEXTS[1]).ids


def cut(folder, share):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])


def nested(part, **values):
    def damage(folder):
        file = folder / "config.json"
        settings = json.loads(file.read_text())
        change(file, **{part: settings[part] | values})

    return damage


DAMAGES = {
    "no config": (lambda f: (f / "config.json").unlink(), "no config.json in this folder"),
    "half a config": (lambda f: (f / "config.json").write_text("{"), "cannot load the config"),
    "no type": (lambda f: (f / "config.json").write_text("{}"), "model type None, expected one of"),
    "other type": (
        lambda f: change(f / "config.json", model_type="bert"),
        "model type 'bert', expected one of clip, metaclip_2, .*, siglip2$",
    ),
    "a size in words": (nested("vision_config", hidden_size="x"), "cannot load the config"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "cannot load the weights"),
    "half the weights": (lambda f: cut(f, 0.5), "cannot load the weights: .*header"),
    "empty weights": (lambda f: cut(f, 0), "cannot load the weights"),
    "wider": (nested("vision_config", hidden_size=64), "their sizes are not those of config.json"),
    "deeper": (nested("vision_config", num_hidden_layers=4), r"they lack .*layers\.3.*16 in all"),
    "less deep": (nested("text_config", num_hidden_layers=1), r"they also hold .*layers\.1"),
    "larger images": (nested("vision_config", image_size=48), "makes 32 pixels.*takes 48"),
    "no processor": (
        lambda f: (f / "preprocessor_config.json").unlink(),
        "cannot load the image processor",
    ),
    "no square": (
        lambda f: change(f / "preprocessor_config.json", do_center_crop=False),
        r"makes \(3, 32, 32\) and .* of images, expected one square",
    ),
    "oblong": (
        lambda f: change(f / "preprocessor_config.json", crop_size={"height": 32, "width": 24}),
        r"makes \(3, 32, 24\) of images, expected one square",
    ),
    "half a tokenizer": (lambda f: (f / "tokenizer.json").write_text("{"), "load the tokenizer"),
    "no tokenizer": (
        lambda f: [one.unlink() for one in f.glob("tokenizer*")],
        "no tokenizer, expected tokenizer.json",
    ),
    "many tokens": (nested("text_config", vocab_size=50), r"has \d+ tokens, but the model 50"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_named_in_one_line(folders, tmp_path, damage):
    folder = copied(folders["clip"], tmp_path)
    harm, named = DAMAGES[damage]
    harm(folder)
    with pytest.raises(PinGraphError, match=named) as caught:
        PretrainedBackbone(str(folder))
    assert str(caught.value).startswith(f"{folder}: ")
    assert "\n" not in str(caught.value)


def test_pickled_weights_are_not_read(folders, tmp_path):
    folder = copied(folders["clip"], tmp_path)
    (folder / "model.safetensors").unlink()
    torch.save(own(folders["clip"])[0].state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(PinGraphError, match="cannot load the weights"):
        PretrainedBackbone(str(folder))


def test_code_that_comes_along_is_not_run(folders, tmp_path):
    folder = copied(folders["clip"], tmp_path)
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').write('x')")
    change(folder / "config.json", auto_map={"AutoConfig": "evil.C", "AutoModel": "evil.M"})
    PretrainedBackbone(str(folder))
    assert not (tmp_path / "ran").exists()


def test_an_image_model_without_head_has_no_features(tmp_path):
    folder = tiny_models.save("siglip", tmp_path, vision={"vision_use_head": False})
    with pytest.raises(PinGraphError, match="has no head"):
        PretrainedBackbone(folder)


def test_naflex_patches_of_another_size_are_named(folders, tmp_path):
    folder = copied(folders["naflex"], tmp_path)
    change(folder / "preprocessor_config.json", patch_size=16)
    with pytest.raises(PinGraphError, match=r"makes patches of 16 pixels, .* takes 8"):
        PretrainedBackbone(str(folder))


def test_names_that_lead_nowhere(tmp_path, monkeypatch):
    with pytest.raises(PinGraphError, match="nowhere: no such folder"):
        load_backbone(str(tmp_path / "nowhere"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(PinGraphError, match="openai/nothing: cannot load the config from the hub"):
        load_backbone("openai/nothing")


def ask_for_the_hub_at(address, monkeypatch):
    for name, value in (
        ("ENDPOINT", address),
        ("HUGGINGFACE_CO_URL_TEMPLATE", f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"),
        ("HF_HUB_OFFLINE", False),
    ):
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)  # else the proxy is what answers, or does not


def is_left_to_the_cache(name):
    from huggingface_hub import constants

    with cache_alone_without_hub(name):
        return constants.HF_HUB_OFFLINE


def test_without_a_network_the_cache_alone_is_looked_at(monkeypatch):
    ask_for_the_hub_at("http://127.0.0.1:9", monkeypatch)  # where nothing listens
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("it waits, to try again"))
    with pytest.raises(PinGraphError, match="folder: cannot load the config from the hub"):
        load_backbone("folder")


def test_a_hub_is_waited_for_no_longer_however_long_its_name_and_addresses_take(monkeypatch):
    ask_for_the_hub_at("http://slow.invalid", monkeypatch)
    monkeypatch.setattr("pingraph.encoders.hub._SECONDS", 0.1)
    asked_enough = threading.Event()

    def connect(*_, **__):
        asked_enough.wait(5)
        return io.BytesIO()

    monkeypatch.setattr("socket.create_connection", connect)
    assert is_left_to_the_cache("openai/nothing")
    asked_enough.set()


@pytest.mark.parametrize(
    ("seconds", "to_the_cache", "times"), [(0, [True, False, False], 2), (999, [True] * 3, 1)]
)
def test_a_hub_that_did_not_answer_is_asked_again_later(seconds, to_the_cache, times, monkeypatch):
    """And not for each part of a model; one that did answer is not asked again."""
    ask_for_the_hub_at(f"http://late-{seconds}.invalid", monkeypatch)
    monkeypatch.setattr("pingraph.encoders.hub._SILENT", seconds)
    asked = []

    def connect(*_, **__):
        asked.append(1)
        if len(asked) == 1:
            raise OSError
        return io.BytesIO()

    monkeypatch.setattr("socket.create_connection", connect)
    assert [is_left_to_the_cache("openai/nothing") for _ in range(3)] == to_the_cache
    assert len(asked) == times


def test_a_hub_that_answers_is_asked(monkeypatch):
    asked = []

    class Nothing(BaseHTTPRequestHandler):
        def do_HEAD(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_): ...

    with HTTPServer(("127.0.0.1", 0), Nothing) as server:
        threading.Thread(target=server.serve_forever).start()
        ask_for_the_hub_at(f"http://127.0.0.1:{server.server_port}", monkeypatch)
        with pytest.raises(
            PinGraphError, match="openai/nothing: cannot load the config from the h"
        ):
            load_backbone("openai/nothing")
        server.shutdown()
    assert "/openai/nothing/resolve/main/config.json" in asked


@pytest.mark.parametrize("kind", PAIRED)
def test_load_backbone_finds_the_class(folders, kind):
    assert isinstance(load_backbone(folders[kind]), PretrainedBackbone)


def test_aimv2_without_a_head_has_no_features(tmp_path):
    folder = tiny_models.save("aimv2", tmp_path, vision={"use_head": False})
    with pytest.raises(PinGraphError, match="has no head"):
        PretrainedBackbone(folder)


def test_load_backbone_lists_what_it_can_load(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(PinGraphError, match=r"model type 'llama', expected one of clip, .*qwen"):
        load_backbone(str(tmp_path))


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        *((kind, "vision") for kind in ("vit", "dinov2", "dinov2_with_registers", "dinov3_vit")),
        *((kind, "text") for kind in ("bert", "distilbert", "roberta", "xlm-roberta", "mpnet")),
        ("modernbert", "text"),
    ],
)
def test_a_model_of_one_side_leads_to_the_backbone_of_two(tmp_path, kind, what):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    with pytest.raises(PinGraphError) as caught:
        load_backbone(str(tmp_path))
    arguments = {"vision": "vision (this one) and text", "text": "vision and text (this one)"}[what]
    assert str(caught.value) == (
        f"{tmp_path}: model type '{kind}' is a {what} model by itself, expected one of images and "
        "texts; two models make a pingraph.encoders.TwoTowerBackbone, with its arguments "
        f"{arguments}"
    )


@pytest.mark.parametrize("levels", [(), (0.5,), (0.5, 0.5, 1.0), (0.0, 1.0), (0.5, 1.0, 2.0)])
def test_levels_ascend_to_one(levels):
    with pytest.raises(PinGraphError, match=r"levels is .*expected shares ascending"):
        Depths(levels, 12)


def test_levels_of_real_depths():
    assert [Depths(LEVELS, layers).middle for layers in (1, 2, 3, 12, 24, 27)] == [
        [],
        [1],
        [1, 2],
        [4, 8],
        [8, 16],
        [9, 18],
    ]


def test_a_line_of_yaml_makes_a_backbone(folders):
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Backbone, "backbone")
    parser.add_argument("--config", action="config")
    line = "backbone: {class_path: pingraph.encoders.pretrained.PretrainedBackbone, init_args: "
    line += f"{{name: {folders['clip']}, tuning: {{train: last, layers: 1}}, levels: [0.5, 1]}}}}"
    backbone = parser.instantiate(parser.parse_args([f"--config={line}"])).backbone
    assert isinstance(backbone, PretrainedBackbone)
    assert backbone.image_levels == 2
