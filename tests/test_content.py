"""Content: images decoded once and shared, texts as tokens, changes that leave a pin what it is."""

import gc
import multiprocessing
import os
import pickle
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pingraph.augmentation import Augmentation
from pingraph.content import ContentReader
from pingraph.datasets import BrokenImageError, PinBoardDataset, open_dataset
from pingraph.encoders.preparation import SmallPreparation
from pingraph.errors import PinGraphError
from pingraph.interfaces import PinContent
from pingraph.pixel_store import PixelStore
from pingraph.tokenization import encode, train_tokenizer
from tests.conftest import plain_tables

FORK = multiprocessing.get_context("fork")
TEXTS = ["red sky", "red sea", "red", "", "blue sea ☃", "a very long title of a pin", "red"] * 2


def of_size(size):
    return SmallPreparation(image_size=size, vocab_size=2, max_tokens=1)


@pytest.fixture
def decoded(monkeypatch):
    """The pins that were decoded, in order."""
    pins = []
    decode = PinBoardDataset.decode

    def counted(dataset, pin, finish):
        pins.append(pin)
        return decode(dataset, pin, finish)

    monkeypatch.setattr(PinBoardDataset, "decode", counted)
    return pins


@pytest.fixture
def broken(write_folder):
    """Four pins, of which the second has a broken image."""
    tables = plain_tables()
    tables["pins"]["image"][1] = b"no image"
    return open_dataset(write_folder("broken", **tables))


def test_images_are_those_of_the_data_set(tiny):
    images, has_image = PixelStore(tiny, of_size(24)).read(np.arange(tiny.num_pins)[::-1])
    np.testing.assert_array_equal(has_image, tiny.has_image[::-1])
    assert (images.dtype, images.shape) == (np.uint8, (tiny.num_pins, 3, 24, 24))
    for row, pin in enumerate(range(tiny.num_pins - 1, -1, -1)):
        pixels = tiny.pixels(pin, 24)
        np.testing.assert_array_equal(images[row], 0 if pixels is None else pixels)


def test_each_image_is_decoded_once(tiny, decoded):
    store = PixelStore(tiny, of_size(16))
    pins = np.array([3, 1, 4, 1, 5, 9, 2, 6, 5, 3])
    first = store.read(pins)
    second = store.read(pins)
    assert sorted(decoded) == sorted(set(pins.tolist()))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_a_forked_worker_decoded_is_there_for_all(tiny, decoded):
    store = PixelStore(tiny, of_size(16))
    pins = np.arange(20)
    assert in_child(store.read, pins) == 0
    images, _ = store.read(pins)
    assert decoded == []
    np.testing.assert_array_equal(images, PixelStore(tiny, of_size(16)).read(pins)[0])


def test_the_end_of_a_worker_leaves_the_file_to_the_others(tiny):
    store = PixelStore(tiny, of_size(16))
    assert in_child(os.listdir, store._folder) == 0
    assert Path(store._folder).is_dir()


def test_images_beyond_the_largest_file_are_decoded_each_time(tiny, decoded):
    needed = tiny.num_pins * 3 * 16 * 16
    pins = np.flatnonzero(tiny.has_image)[:3]
    assert PixelStore(tiny, of_size(16), max_bytes=needed).keep
    store = PixelStore(tiny, of_size(16), max_bytes=needed - 1)
    assert not store.keep
    first, second = store.read(pins)[0], store.read(pins)[0]
    assert decoded == [*pins, *pins]
    np.testing.assert_array_equal(first, second)
    assert first.any()
    assert [path.name for path in Path(store._folder).iterdir()] == ["states"]


@pytest.fixture
def small_disk():
    """Files may have 10,000 bytes, as if the disk were full then."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_images_are_decoded_each_time_where_the_disk_is_full(tiny, decoded, small_disk):
    store = PixelStore(tiny, of_size(16))
    pins = np.flatnonzero(tiny.has_image)[:3]
    first, second = store.read(pins)[0], store.read(pins)[0]
    assert decoded == [*pins, *pins]
    np.testing.assert_array_equal(first, second)


def test_the_file_has_its_place_on_the_disk_before_it_is_mapped(tiny):
    """Else the process that writes to the mapping when the disk is full is killed (SIGBUS)."""
    store = PixelStore(tiny, of_size(64))
    found = (Path(store._folder) / "pixels").stat()
    assert found.st_size == tiny.num_pins * 3 * 64 * 64
    assert found.st_blocks * 512 >= found.st_size


def test_a_copy_for_a_spawned_worker_shares_the_file(tiny, decoded):
    store = PixelStore(tiny, of_size(16))
    copy = pickle.loads(pickle.dumps(store))
    expected, _ = copy.read(np.arange(9))
    decoded.clear()
    np.testing.assert_array_equal(store.read(np.arange(9))[0], expected)
    assert decoded == []
    del copy
    gc.collect()
    assert Path(store._folder).is_dir()


def test_a_broken_image_is_raised_with_its_pin_each_time(broken):
    store = PixelStore(broken, of_size(8))
    for _ in range(2):
        with pytest.raises(BrokenImageError, match=r"pins\.parquet: pin 'b': image cannot"):
            store.read(np.array([0, 1]))
    assert store.broken_pins().tolist() == []
    assert store.read(np.array([0, 2]))[1].all()


def test_a_broken_image_is_skipped_and_counted_once_it_is_asked_for(broken, decoded):
    store = PixelStore(broken, of_size(8), on_broken_image="skip")
    store.read(np.array([0, 2]))
    assert store.broken_pins().tolist() == []
    for _ in range(2):
        images, has_image = store.read(np.array([0, 1, 2]))
    assert has_image.tolist() == [True, False, True]
    assert not images[1].any()
    assert store.broken_pins().tolist() == [1]
    assert decoded.count(1) == 1


def test_a_broken_image_that_a_worker_met_is_counted(broken):
    store = PixelStore(broken, of_size(8), on_broken_image="skip")
    assert in_child(store.read, np.arange(4)) == 0
    assert store.broken_pins().tolist() == [1]


def test_another_way_with_broken_images_is_refused(tiny):
    with pytest.raises(PinGraphError, match="on_broken_image is 'stop': expected"):
        PixelStore(tiny, of_size(8), on_broken_image="stop")


def test_the_file_goes_with_the_object(tiny):
    store = PixelStore(tiny, of_size(8))
    folder = Path(store._folder)
    assert folder.is_dir()
    del store
    gc.collect()
    assert not folder.exists()


ENDINGS = """
import os
import sys
import numpy as np
from pingraph.datasets import open_dataset
from pingraph.encoders.preparation import SmallPreparation
from pingraph.pixel_store import PixelStore

dataset = open_dataset(sys.argv[1])
for end in ("", "raise SystemExit(3)", "raise KeyboardInterrupt"):
    if os.fork() == 0:
        break  # each process ends in its own way; what they import is imported once
    os.wait()
else:
    sys.exit()
store = PixelStore(dataset, SmallPreparation(image_size=8, vocab_size=2, max_tokens=1))
store.read(np.arange(4))
print(store._folder, os.path.isdir(store._folder), flush=True)
exec(end)
"""


def test_the_file_goes_with_the_process(tiny_folder):
    ended = python(ENDINGS, tiny_folder)
    assert "SystemExit" not in ended.stderr
    assert "KeyboardInterrupt" in ended.stderr
    lines = [line.rsplit(" ", 1) for line in ended.stdout.splitlines()]
    assert [there for _, there in lines] == ["True"] * 3, ended.stderr
    assert not any(Path(folder).exists() for folder, _ in lines)


def test_the_file_of_a_rank_goes_with_the_rank(tiny, tmp_path):
    """Processes of multiprocessing end without what other processes do at their end."""

    def rank(path):
        Rank.store = PixelStore(tiny, of_size(8))  # lives until the process ends
        path.write_text(Rank.store._folder)

    assert in_child(rank, tmp_path / "folder") == 0
    assert not Path((tmp_path / "folder").read_text()).exists()


class Rank:
    """Holds what a rank has."""


HASHED = """

from pingraph.tokenization import train_tokenizer
texts = {"red sky", "red sea", "blue sea", "a reddish bluebell", "bluebells", "reddish"}
tokenizer = train_tokenizer(list(texts), 60)
print(tokenizer.to_str())
"""


def test_a_tokenizer_does_not_depend_on_the_hashes_of_the_process():
    found = {python(HASHED, hash_seed=seed).stdout for seed in (0, 1, 2)}
    assert len(found) == 1
    assert found != {""}


def test_ids_are_ranks_of_frequency():
    tokenizer = train_tokenizer(TEXTS, 100)
    tokens, mask = encode(tokenizer, TEXTS)
    counts = np.bincount(tokens[mask], minlength=tokenizer.get_vocab_size())[2:]
    assert (np.diff(counts) <= 0).all()
    assert tokenizer.encode("red").ids == [2]


def test_content_is_pixels_and_tokens_of_the_pins(tiny):
    preparation = SmallPreparation(image_size=16, vocab_size=200, max_tokens=3)
    tokenizer = preparation.tokenizer(tiny.texts)
    reader = ContentReader(tiny, tokenizer, preparation)
    pins = np.array([7, 0, 59, 7])
    content = reader.read(pins)
    np.testing.assert_array_equal(content.images, reader.pixels.read(pins)[0])
    np.testing.assert_array_equal(content.has_image, tiny.has_image[pins])
    np.testing.assert_array_equal(content.token_mask.any(1), tiny.has_text[pins])
    for row, pin in enumerate(pins):
        ids, there = encode(train_tokenizer(tiny.texts, 200), [tiny.texts[pin]])
        assert content.tokens[row][content.token_mask[row]].tolist() == ids[there][:3].tolist()
    everything = reader.read(np.arange(tiny.num_pins))
    np.testing.assert_array_equal(everything.token_mask.any(1), tiny.has_text)
    np.testing.assert_array_equal(everything.has_image, tiny.has_image)


@given(st.integers(4, 20), st.floats(0, 0.5), st.integers(0, 5), st.integers(0, 9))
@settings(deadline=None, max_examples=40)
def test_a_shifted_image_equals_its_slow_twin(size, shift, pins, seed):
    content = pictures(pins, size, seed)
    changed = Augmentation(shift=shift, hide_tokens=0)(content, np.random.default_rng(seed)).images
    assert changed.dtype == torch.uint8
    most = round(shift * size)
    offsets = np.random.default_rng(seed).integers(0, 2 * most + 1, size=(2, pins, 1))[..., 0]
    expected = np.empty((pins, 3, size, size), np.uint8)
    for pin in range(pins):
        for row in range(size):
            for column in range(size):
                source_row = min(max(row + offsets[0, pin] - most, 0), size - 1)
                source_column = min(max(column + offsets[1, pin] - most, 0), size - 1)
                expected[pin, :, row, column] = content.images[pin, :, source_row, source_column]
    np.testing.assert_array_equal(changed, expected)


def test_all_shifts_occur_and_each_image_has_its_own():
    content = pictures(400, 8, 0)
    images = content.images[:1].expand(400, -1, -1, -1)
    changed = Augmentation(shift=0.125)(
        PinContent(**{**vars(content), "images": images}), np.random.default_rng(0)
    )
    assert len(changed.images.flatten(1).unique(dim=0)) == 9


@given(st.floats(0, 0.99), st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_hiding_leaves_a_token_to_whoever_had_one(share, seed):
    content = pictures(30, 4, seed)
    changed = Augmentation(shift=0, hide_tokens=share)(content, np.random.default_rng(seed))
    kept = changed.token_mask
    assert not (kept & ~content.token_mask).any()
    assert torch.equal(kept.any(1), content.token_mask.any(1))
    assert torch.equal(changed.tokens, content.tokens)
    assert torch.equal(changed.has_image, content.has_image)


@pytest.mark.parametrize("share", [0.15, 0.5])
def test_the_share_of_hidden_tokens_is_as_asked(share):
    """Of 100,000 tokens, within 5 standard deviations; the one that always stays costs less."""
    mask = torch.ones(2000, 50, dtype=torch.bool)
    content = PinContent(**{**vars(pictures(2000, 1, 0)), "token_mask": mask})
    changed = Augmentation(shift=0, hide_tokens=share)(content, np.random.default_rng(0))
    hidden = 1 - changed.token_mask.double().mean().item()
    assert abs(hidden - share) < 5 * (share * (1 - share) / mask.numel()) ** 0.5


def test_nothing_changes_at_zero_and_the_draws_alone_decide():
    content = pictures(20, 16, 0)
    still = Augmentation(shift=0, hide_tokens=0)(content, np.random.default_rng(0))
    first, second, other = (
        Augmentation()(content, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    for name in ("images", "has_image", "tokens", "token_mask"):
        assert torch.equal(getattr(still, name), getattr(content, name))
        assert torch.equal(getattr(first, name), getattr(second, name))
    assert not torch.equal(first.images, other.images)
    assert not torch.equal(first.token_mask, other.token_mask)


@pytest.mark.parametrize("name", ["shift", "hide_tokens"])
@pytest.mark.parametrize("value", [-0.1, 1.0, float("nan")])
def test_shares_outside_their_range_are_refused(name, value):
    with pytest.raises(PinGraphError, match=f"{name} is {value}: expected 0 up to below 1"):
        Augmentation(**{name: value})


def pictures(pins, size, seed):
    """Random content; some pins lack their text."""
    rng = np.random.default_rng([seed, 99])
    lengths = rng.integers(0, 7, (pins, 1))
    return PinContent(
        images=torch.from_numpy(rng.integers(0, 256, (pins, 3, size, size), dtype=np.uint8)),
        has_image=torch.from_numpy(rng.random(pins) < 0.8),
        tokens=torch.from_numpy(rng.integers(1, 50, (pins, 6))),
        token_mask=torch.from_numpy(np.arange(6) < lengths),
    )


def in_child(function, argument):
    """Call a function in a forked process, and return the exit status of that."""
    process = FORK.Process(target=function, args=(argument,), daemon=True)
    process.start()
    process.join(60)
    return process.exitcode


def python(code, *args, hash_seed=0):
    """Run code in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        capture_output=True,
        text=True,
        timeout=90,
    )
