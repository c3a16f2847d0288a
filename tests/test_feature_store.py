"""The cache of features: what a frozen backbone would say, once; never half of it."""

import json
import multiprocessing
import os
import pickle
import resource
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pingraph import feature_store
from pingraph.content import ContentReader
from pingraph.datasets import open_dataset
from pingraph.encoders.backbone import Backbone
from pingraph.encoders.hybrid import HybridEncoder
from pingraph.encoders.preparation import SmallPreparation
from pingraph.encoders.pretrained import PretrainedBackbone
from pingraph.encoders.towers import Depths
from pingraph.encoders.tuning import Tuning
from pingraph.errors import PinGraphError
from pingraph.feature_files import FeatureWriter, open_features, save_card
from pingraph.feature_key import feature_key
from pingraph.feature_store import FeatureStore, cached_features
from pingraph.interfaces import Tokens
from tests import tiny_models
from tests.conftest import plain_tables

FORK = multiprocessing.get_context("fork")
PREPARATION = SmallPreparation(image_size=8, vocab_size=60, max_tokens=7)


class Random(Backbone):
    """Two frozen towers of random weights, with dropout; a class token and 2 x 2 patches."""

    def __init__(self, *, seed=0, scale=1.0, trained=False, calls=None):
        super().__init__()
        torch.manual_seed(seed)
        self.preparation = PREPARATION
        self.grid, self.scale, self.calls = 2, scale, calls
        self.image_width, self.image_pooled_width, self.image_levels = 6, 5, 2
        self.text_width, self.text_pooled_width, self.text_levels = 4, 3, 3
        self.patch = nn.Conv2d(3, 6, 4, stride=4)
        self.deeper, self.image_head = nn.Linear(6, 6), nn.Linear(6, 5)
        self.words, self.text_head = nn.Embedding(60, 4), nn.Linear(4, 3)
        self.dropout = nn.Dropout(0.5)
        self.requires_grad_(trained)

    def embed_images(self, images):
        if self.calls:
            with Path(self.calls).open("a") as file:
                file.write(f"{len(images)}\n")
        patches = self.patch(images.float() / 255).flatten(2).transpose(1, 2)
        first = torch.cat([patches.mean(1, keepdim=True), patches], 1) * self.scale
        last = self.dropout(self.deeper(first))
        mask = torch.ones(last.shape[:2], dtype=torch.bool)
        return Tokens(levels=(first, last), mask=mask, pooled=self.image_head(last[:, 0]))

    def embed_texts(self, tokens, mask):
        assert mask.any(1).all()
        words = self.words(tokens) * mask[:, :, None]
        sums = words.cumsum(1)
        pooled = self.text_head(words.sum(1))
        return Tokens(levels=(words, self.dropout(sums), sums + 1), mask=mask, pooled=pooled)


@pytest.fixture(scope="module")
def reader(tiny):
    tokenizer = PREPARATION.tokenizer(tiny.texts)
    return ContentReader(tiny, tokenizer, PREPARATION)


@pytest.fixture(scope="module")
def store(reader, tmp_path_factory):
    return cached_features(reader, Random(), cache=tmp_path_factory.mktemp("features"))


def entries(folder):
    return sorted(path.name for path in folder.iterdir())


def check(content, reader, backbone, pins, *, exact):
    """A slow twin: the content of each pin alone through the backbone."""
    close = {"rtol": 0, "atol": 1e-6} if exact else {"rtol": 2**-11, "atol": 1e-6}
    backbone.eval()
    for row, pin in enumerate(pins):
        alone = reader.read(np.array([pin]))
        words = alone.tokens[0, : int(alone.token_mask.sum())]
        length = len(words)
        assert content.has_image[row] == alone.has_image[0]
        assert content.token_mask[row].tolist() == [
            i < length for i in range(len(content.tokens[row]))
        ]
        assert content.tokens[row].tolist() == words.tolist() + [0] * (
            content.tokens.shape[1] - length
        )
        sides = [
            (
                content.image_tokens,
                bool(alone.has_image),
                lambda one=alone: backbone.embed_images(one.images),
            ),
            (
                content.text_tokens,
                length > 0,
                lambda one=alone: backbone.embed_texts(one.tokens, one.token_mask),
            ),
        ]
        for tokens, present, made in sides:
            count = made().mask.sum() if present else 0
            assert tokens.mask[row].sum() == count
            assert tokens.mask[row, :count].all()
            for depth, level in enumerate(tokens.levels):
                assert (level[row, count:] == 0).all()
                if present:
                    wanted = made().levels[depth][0]
                    torch.testing.assert_close(level[row, :count].float(), wanted, **close)
            wanted = made().pooled[0] if present else torch.zeros(tokens.pooled.shape[1])
            torch.testing.assert_close(tokens.pooled[row].float(), wanted, **close)


def same_json(damaged, whole):
    try:
        return json.loads(damaged) == json.loads(whole)
    except ValueError:
        return False


def same(one, other):
    for name in ("images", "has_image", "tokens", "token_mask"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    for name in ("image_tokens", "text_tokens"):
        mine, others = getattr(one, name), getattr(other, name)
        assert torch.equal(mine.mask, others.mask)
        pairs = zip((*mine.levels, mine.pooled), (*others.levels, others.pooled), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


@settings(deadline=None, max_examples=15)
@given(pins=st.lists(st.integers(0, 59), min_size=1, max_size=9))
def test_a_pin_reads_as_the_backbone_sees_it(store, reader, pins):
    content = store.read(np.array(pins))
    assert content.images.shape == (len(pins), 3, 0, 0)
    assert content.images.dtype == torch.uint8
    assert {level.dtype for level in content.image_tokens.levels} == {torch.float16}
    assert content.tokens.dtype == torch.int64
    check(content, reader, Random(), pins, exact=False)


def test_all_pins_exactly_where_float32_is_kept(reader, tmp_path):
    kept = cached_features(reader, Random(), precision="float32", cache=tmp_path)
    pins = np.arange(60)
    check(kept.read(pins), reader, Random(), pins, exact=True)


def test_pins_without_the_modality(store, tiny):
    pins = np.flatnonzero(~tiny.has_image)
    content = store.read(pins)
    assert content.image_tokens.levels[0].shape == (len(pins), 4, 6)  # still the patches
    assert not content.image_tokens.mask.any()
    without = store.read(np.flatnonzero(~tiny.has_text))
    assert without.text_tokens.levels[0].shape[1] == 1
    assert not without.token_mask.any()


def test_images_are_kept_if_asked_for(reader, tmp_path):
    kept = cached_features(reader, Random(), keep_images=True, cache=tmp_path)
    pins = np.array([3, 59, 0])
    content, plain = kept.read(pins), reader.read(pins)
    assert torch.equal(content.images, plain.images)
    assert torch.equal(content.tokens, plain.tokens)
    same(replace(content, images=plain.images[:, :, :0, :0]), FeatureStore(kept.folder).read(pins))


def test_it_is_computed_once_and_no_pin_twice(reader, tiny, tmp_path):
    calls = tmp_path / "calls"
    backbone = Random(calls=str(calls)).train()
    for _ in range(2):
        first = cached_features(reader, backbone, cache=tmp_path / "cache")
    assert sum(map(int, calls.read_text().split())) == tiny.has_image.sum()
    pins = np.arange(60)
    assert not FeatureStore(first.folder)._files["image"].values.flags.writeable
    check(first.read(pins), reader, Random(), pins, exact=False)  # no dropout in it


def test_the_blocks_are_whole(reader, store, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_store, "BLOCK", 7)
    small = cached_features(reader, Random(), cache=tmp_path)
    monkeypatch.setattr(feature_store, "BLOCK", 1)
    single = cached_features(reader, Random(), precision="float32", cache=tmp_path)
    pins = np.arange(60)[::-1]
    check(small.read(pins), reader, Random(), pins, exact=False)
    check(single.read(pins), reader, Random(), pins, exact=True)


def test_workers_read_it(store):
    again = pickle.loads(pickle.dumps(store))
    assert len(pickle.dumps(store)) < 1000
    same(again.read(np.arange(9)), store.read(np.arange(9)))
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        same(pool.apply(store.read, (np.arange(9),)), store.read(np.arange(9)))


def test_the_key_tells_apart_what_gives_other_features(reader, tiny, write_folder, tmp_path):
    class Other(Random):
        pass

    class Cropped(SmallPreparation):
        def pixels(self, image):
            return super().pixels(image)[:, ::-1]

    keys = {feature_key(reader, Random(), "float16")}
    assert feature_key(reader, Random().train(), "float16") in keys
    assert feature_key(reader, Random(seed=0), "float16") in keys
    moved = Random()
    with torch.no_grad():
        moved.words.weight[17, 3] += 1e-6
    cropped, buffered = Random(), Random()
    cropped.preparation = Cropped(image_size=8, vocab_size=60, max_tokens=7)
    buffered.register_buffer("mean", torch.zeros(3), persistent=False)
    deeper, listed, noted = Random(), Random(), Random()
    deeper.depths = Depths((0.5, 1.0), 12)
    listed.depths = Depths((0.25, 1.0), 12)
    noted.settings = {"offset": np.zeros(3)}
    backbones = [Random(seed=1), Random(scale=2.0), Other(), moved, cropped, buffered]
    backbones += [deeper, listed, noted]
    keys |= {feature_key(reader, one, "float16") for one in backbones}
    keys.add(feature_key(reader, Random(), "float32"))
    shorter = PREPARATION.tokenizer(tiny.texts)
    shorter.enable_truncation(3)
    others = [
        ContentReader(tiny, shorter, PREPARATION),
        ContentReader(open_dataset(write_folder("other", **plain_tables())), shorter, PREPARATION),
        ContentReader(tiny, reader.tokenizer, PREPARATION, on_broken_image="skip"),
    ]
    keys |= {feature_key(one, Random(), "float16") for one in others}
    assert len(keys) == 14


def test_texts_alone_and_images_alone(write_folder, tmp_path):
    tables = plain_tables()
    tables["pins"]["image"] = [None] * len(tables["pins"]["pin_id"])
    dataset = open_dataset(write_folder("words", **tables))
    reader = ContentReader(dataset, PREPARATION.tokenizer(dataset.texts), PREPARATION)
    pins = np.arange(dataset.num_pins)
    check(
        cached_features(reader, Random(), cache=tmp_path).read(pins),
        reader,
        Random(),
        pins,
        exact=False,
    )
    tables = plain_tables()
    tables["pins"]["text"] = [None] * len(tables["pins"]["pin_id"])
    dataset = open_dataset(write_folder("pictures", **tables))
    reader = ContentReader(dataset, PREPARATION.tokenizer(["a"]), PREPARATION)
    check(
        cached_features(reader, Random(), cache=tmp_path).read(pins),
        reader,
        Random(),
        pins,
        exact=False,
    )


@pytest.mark.parametrize(("kind", "settings"), [("clip", {}), ("naflex", {"padding_side": "left"})])
def test_the_features_of_a_pretrained_model(kind, settings, tiny, tmp_path):
    frozen = Tuning(train="nothing")
    name = tiny_models.save(kind, tmp_path / kind, **settings)
    backbone = PretrainedBackbone(name, frozen)
    reader = ContentReader(tiny, backbone.preparation.tokenizer([]), backbone.preparation)
    kept = cached_features(reader, backbone.train(), cache=tmp_path)
    pins = np.arange(0, 60, 3)
    check(kept.read(pins), reader, PretrainedBackbone(name, frozen), pins, exact=False)
    keys = {
        feature_key(reader, PretrainedBackbone(name, frozen, levels), "float16")
        for levels in ((0.33, 0.67, 1.0), (0.33, 1.0), (0.67, 1.0))
    }
    assert len(keys) == 3
    assert kept.folder.name in keys


def test_an_encoder_says_the_same_of_features_as_of_pixels(tiny, tmp_path):
    for kind, stem in (("clip", False), ("clip", True)):
        name = tiny_models.save(kind, tmp_path / f"{kind}{stem}")
        backbone = PretrainedBackbone(name, Tuning(train="nothing"))
        torch.manual_seed(3)
        encoder = HybridEncoder(backbone, embed_dim=16, dim=16, levels=2, stem=stem).eval()
        reader = ContentReader(tiny, backbone.preparation.tokenizer([]), backbone.preparation)
        kept = cached_features(reader, backbone, keep_images=stem, cache=tmp_path)
        pins = np.arange(60)
        with torch.no_grad():
            made, wanted = encoder(kept.read(pins)), encoder(reader.read(pins))
        for part in ("image", "text", "fused"):
            error = (getattr(made, part) - getattr(wanted, part)).norm(dim=1).max()
            assert error < 2e-3, part
        assert torch.equal(made.has_image, wanted.has_image)
        assert torch.equal(made.has_text, wanted.has_text)


def test_float16_rounds_by_half_a_unit_and_refuses_what_it_cannot_hold(reader, tmp_path):
    with pytest.raises(
        PinGraphError, match=r"image tokens: float16 cannot hold the largest, .*e\+0.*; float32 can"
    ):
        cached_features(reader, Random(scale=1e6), cache=tmp_path)
    assert [name for name in entries(tmp_path) if not name.endswith(".lock")] == []
    kept = cached_features(reader, Random(scale=1e6), precision="float32", cache=tmp_path)
    assert kept.read(np.arange(60)).image_tokens.levels[0].max() > 65504
    with pytest.raises(PinGraphError, match=r"image tokens: float16 cannot hold the largest, nan$"):
        cached_features(reader, Random(scale=float("nan")), cache=tmp_path)


def test_a_trained_backbone_is_refused(reader, tmp_path):
    with pytest.raises(PinGraphError, match="only the tokens of a frozen backbone can be kept"):
        cached_features(reader, Random(trained=True), cache=tmp_path)
    with pytest.raises(PinGraphError, match="precision is 'int8': expected 'float16' or 'float32'"):
        cached_features(reader, Random(), precision="int8", cache=tmp_path)


NAMES = (
    "image.values",
    "image.pooled",
    "image.offsets",
    "text.values",
    "text.offsets",
    "words.values",
)


@pytest.mark.parametrize("name", [*NAMES, "card.json"])
def test_damage_is_found_and_named(reader, tmp_path, name):
    folder = cached_features(reader, Random(), cache=tmp_path).folder
    path = folder / name
    whole = path.read_bytes()
    for damaged in (whole[:-2], whole[:-8], b"", whole + b"\0"):
        path.write_bytes(damaged)
        with pytest.raises(PinGraphError) as error:
            cached_features(reader, Random(), cache=tmp_path)
        wanted = (name, "card.json") if name.endswith("offsets") else (name,)
        assert any(str(folder / one) in str(error.value) for one in wanted)
    path.unlink()
    with pytest.raises(PinGraphError, match=name):
        FeatureStore(folder)


def test_each_flipped_bit_of_card_and_offsets_is_found(store, tmp_path):
    folder = tmp_path / store.folder.name
    folder.mkdir()
    for path in store.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    for name in ("card.json", "text.offsets"):
        whole = (folder / name).read_bytes()
        for place in range(0, len(whole), 3):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << place % 7
            (folder / name).write_bytes(damaged)
            if name == "card.json" and same_json(damaged, whole):  # white space
                continue
            with pytest.raises(PinGraphError, match=str(folder)):
                FeatureStore(folder)
        (folder / name).write_bytes(whole)
    moved = folder.rename(tmp_path / "moved")
    with pytest.raises(PinGraphError, match=f"of {folder.name}, expected version 1 of moved"):
        FeatureStore(moved)


def test_a_full_disk_leaves_nothing(reader, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(PinGraphError, match=r"cannot write .*: File too large"):
            cached_features(reader, Random(), cache=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert all(name.endswith(".lock") for name in entries(tmp_path))
    cached_features(reader, Random(), cache=tmp_path)


def test_a_folder_that_cannot_be_made_is_named(reader, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PinGraphError, match=r"cannot write .*/file/"):
        cached_features(reader, Random(), cache=tmp_path / "file")


def test_what_was_killed_begins_anew(reader, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_store, "BLOCK", 8)

    class Killed:
        def __getattr__(self, name):
            return getattr(reader, name)

        def read(self, pins):
            if pins[0] >= 32:
                os.kill(os.getpid(), signal.SIGKILL)
            return reader.read(pins)

    process = FORK.Process(
        target=cached_features, args=(Killed(), Random()), kwargs={"cache": tmp_path}, daemon=True
    )
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert len(entries(tmp_path)) == 2  # the lock and what was half made
    kept = cached_features(reader, Random(), cache=tmp_path)
    key = kept.folder.name
    assert entries(tmp_path) == [f".{key}.lock", key]
    pins = np.arange(60)
    check(kept.read(pins), reader, Random(), pins, exact=False)


def test_of_processes_that_want_the_same_one_computes(reader, tiny, store, tmp_path):
    calls = tmp_path / "calls"
    backbone, cache = Random(calls=str(calls)), tmp_path / "cache"
    ready = FORK.Barrier(3)

    def work():
        ready.wait()
        read = cached_features(reader, backbone, cache=cache).read(np.arange(60))
        same(read, store.read(np.arange(60)))

    processes = [FORK.Process(target=work, daemon=True) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert sum(map(int, calls.read_text().split())) == tiny.has_image.sum()


def test_it_lies_in_the_cache_of_the_user(reader, cache):
    folder = cached_features(reader, Random(seed=3)).folder
    assert folder.parent == cache / "features"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": torch.tensor([[False, True, True]])}, "padding must stand after all tokens"),
        ({"levels": (torch.zeros(1, 3, 5),)}, r"shape \(1, 3, 5\), but declared is \(1, -1, 4\)"),
        ({"pooled": torch.zeros(1, 1)}, r"shape \(1,\), but declared is \(2,\)"),
    ],
)
def test_tokens_other_than_declared_are_refused(tmp_path, change, message):
    tokens = Tokens(
        levels=(torch.zeros(1, 3, 4),), mask=torch.ones(1, 3).bool(), pooled=torch.zeros(1, 2)
    )
    with FeatureWriter(tmp_path, "text", "float16", 1, 4, 2) as writer:
        with pytest.raises(PinGraphError, match=message):
            writer.add(replace(tokens, **change), torch.tensor([True]))
        writer.add(tokens, torch.tensor([True]))
        save_card(tmp_path, tmp_path.name, {"text": writer.close()})
    assert open_features(tmp_path, tmp_path.name)["text"].lengths(np.array([0])).tolist() == [3]
