"""Pretrained backbones: their features are the model's own, and what does not fit is named."""

import io
import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from pingraph.encoders.pretrained import PretrainedBackbone, load_backbone
from pingraph.encoders.towers import Depths
from pingraph.errors import PinGraphError
from pingraph.images import to_rgb
from pingraph.tokenization import encode
from tests import tiny_models

PAIRED = ("clip", "siglip", "siglip2", "naflex")
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
    return {kind: tiny_models.save(kind, root / kind) for kind in tiny_models.KINDS}


def damaged(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "model")


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def own(folder):
    """The model and its parts, as their documentation loads them."""
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


def prepared(backbone, images):
    return torch.from_numpy(np.stack([backbone.preparation.pixels(one) for one in images]))


def tokenized(backbone, texts):
    tokens, mask = encode(backbone.preparation.tokenizer([]), texts)
    return torch.from_numpy(tokens), torch.from_numpy(mask)


def texts_for(tokenizer, kind):
    """Tokens as a model's own processor makes them."""
    padding = True if kind == "clip" else "max_length"
    return tokenizer(TEXTS, padding=padding, truncation=True, return_tensors="pt")


@pytest.mark.parametrize("kind", PAIRED)
def test_features_are_the_models_own(folders, kind):
    model, processor, tokenizer = own(folders[kind])
    backbone = PretrainedBackbone(folders[kind]).eval()
    # Squares: of others NaFlex makes no squares itself.
    images = [picture((size, size), seed) for seed, size in enumerate((32, 90, 17))]
    with torch.no_grad():
        images_of_ours = backbone.embed_images(prepared(backbone, images)).pooled
        known = model.get_image_features(**processor(images=images, return_tensors="pt"))
        assert torch.allclose(images_of_ours, known.pooler_output, atol=1e-6)
        texts_of_ours = backbone.embed_texts(*tokenized(backbone, TEXTS)).pooled
        known = model.get_text_features(**texts_for(tokenizer, kind))
        assert torch.allclose(texts_of_ours, known.pooler_output, atol=1e-6)
    # Else any two would be close.
    assert images_of_ours.std(0).max() > 1e-3
    assert texts_of_ours.std(0).max() > 1e-3
