"""Frozen features: what pretrained models make of a pin's image and of its text, by themselves.

They are computed once for each distinct image and text, and read from the disk from then on.
N pins of a reader, U pins asked for, F numbers of a feature.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch.nn.functional import normalize

from pingraph.datasets import BrokenImageError, cache_folder
from pingraph.devices import default_device
from pingraph.encoders import efficientnet, minilm
from pingraph.errors import PinGraphError
from pingraph.files import atomic_file, only_one
from pingraph.fingerprint import hash_texts
from pingraph.interfaces import PinContent
from pingraph.progress import progress_bar

if TYPE_CHECKING:
    from pingraph.content import Reader

BLOCK = 32  # images or texts that a model sees at once
_RECIPE = "2"  # raised when features are made in another way, so that none is stale


class FeatureSource(Protocol):
    """Pins as they come, such as a `PinBoardDataset`."""

    @property
    def num_pins(self) -> int:
        """How many pins there are, N."""
        ...

    @property
    def texts(self) -> list[str]:
        """The text of each pin, "" for none."""
        ...

    @property
    def image_groups(self) -> np.ndarray:
        """Which pins show one image to the byte, int64 [N]; -1 for a pin without."""
        ...

    @property
    def image_digest(self) -> str:
        """Tells these images from any others, to the byte."""
        ...

    def pixels(self, pin: int, size: int) -> np.ndarray | None:
        """Return a pin's image as uint8 [3, size, size], or None; raises BrokenImageError."""
        ...


class TextSource:
    """Texts, as pins that have no image.

    Args:
        texts: one a pin.
    """

    def __init__(self, texts: list[str]):
        self.texts = texts
        self.num_pins = len(texts)
        self.image_groups = np.full(len(texts), -1)
        self.image_digest = f"none of {len(texts)}"

    def pixels(self, pin: int, size: int) -> None:
        """Return None."""


class FeatureReader:
    """Reads pins with their frozen features. Pickled, it carries the files' names only.

    Args:
        reader: of the pins without.
        features: of the same pins, as `frozen_features` returns them.
    """

    def __init__(self, reader: Reader, features: dict[str, np.memmap]):
        self.reader = reader
        self.features = features

    def read(self, pins: np.ndarray) -> PinContent:
        """Return the content of pins int64 [U], with features; errors as of the reader's."""
        found = {name: torch.from_numpy(rows[pins]) for name, rows in self.features.items()}
        return replace(
            self.reader.read(pins),
            image_features=found.get("image"),
            text_features=found.get("text"),
        )

    def __getstate__(self) -> dict[str, Any]:
        paths = {name: str(rows.filename) for name, rows in self.features.items()}
        return {"reader": self.reader, "features": paths}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.reader = state["reader"]
        self.features = {name: _opened(Path(path)) for name, path in state["features"].items()}


def frozen_features(
    source: FeatureSource,
    modalities: Sequence[str] = ("image", "text"),
    *,
    skip_broken: bool = False,
    cache: Path | None = None,
) -> dict[str, np.memmap]:
    """Return the frozen features of all pins, computed unless they are in the cache.

    Of processes that want the same features, one computes and the others wait.

    Args:
        source: of the pins.
        modalities: of which features are wanted.
        skip_broken: take a pin with a broken image for one without.
        cache: where features are kept, default the folder `features` in `cache_folder()`.

    Returns:
        By modality, float16 [N, F] of length 1, 0 for a pin that has none. They are read from the
        disk as they are asked for.

    Raises:
        PinGraphError: a model is not installed; the folder cannot be written, or what is in it is
            damaged.
        BrokenImageError: an image cannot be decoded, and none may be skipped.
    """
    folder = cache or cache_folder() / "features"
    paths = {}
    if "image" in modalities:
        paths["image"] = _of_images(source, folder, skip_broken)
    if "text" in modalities:
        paths["text"] = _of_texts(source, folder)
    return {name: _opened(path) for name, path in paths.items()}


@torch.inference_mode()
def image_features(pictures: np.ndarray) -> torch.Tensor:
    """Return float16 [U, F], of length 1, of pictures uint8 [U, 3, efficientnet.SIDE, SIDE]."""
    model = _model(efficientnet.load_efficientnet)
    return _kept_so(model(torch.from_numpy(pictures).to(default_device())))


@torch.inference_mode()
def text_features(texts: Sequence[str]) -> torch.Tensor:
    """Return float16 [U, F], of length 1, of texts; none is blank."""
    return _kept_so(_model(minilm.load_minilm)(texts))


@lru_cache
def _model(load: Callable[[], torch.nn.Module]) -> torch.nn.Module:
    return load().to(default_device())


def _kept_so(features: torch.Tensor) -> torch.Tensor:
    return normalize(features, dim=1).half().cpu()


def _of_images(source: FeatureSource, folder: Path, skip_broken: bool) -> Path:
    made_of = source.image_digest, str(skip_broken)
    key = hash_texts(_RECIPE, version(efficientnet.PACKAGE), *made_of)
    path = folder / f"{key}.npy"

    def blocks() -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        pins = _places(source.image_groups.tolist())  # one is of those without, who have no picture
        for block in _blocks(np.array(list(pins)), "images"):
            pictures = {one: _picture(source, pins[one][0], skip_broken) for one in block.tolist()}
            found = {one: picture for one, picture in pictures.items() if picture is not None}
            if found:
                yield _for_all(pins, found, image_features(np.stack(list(found.values()))))

    return _computed(path, (source.num_pins, efficientnet.WIDTH), blocks)


def _picture(source: FeatureSource, pin: int, skip_broken: bool) -> np.ndarray | None:
    try:
        return source.pixels(pin, efficientnet.SIDE)
    except BrokenImageError:
        if not skip_broken:
            raise
        return None


def _of_texts(source: FeatureSource, folder: Path) -> Path:
    texts = source.texts
    path = folder / f"{hash_texts(_RECIPE, version(minilm.PACKAGE), *texts)}.npy"

    def blocks() -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        pins = _places(texts)
        written = [text for text in pins if text.strip()]
        distinct = np.array(sorted(written, key=len), object)  # alike in length: little padding
        for block in _blocks(distinct, "texts"):
            yield _for_all(pins, block, text_features(block.tolist()))

    return _computed(path, (len(texts), minilm.WIDTH), blocks)


def _places(items: Sequence[Any]) -> dict[Any, list[int]]:
    places: dict[Any, list[int]] = {}
    for place, item in enumerate(items):
        places.setdefault(item, []).append(place)
    return places


def _for_all(
    pins: dict[Any, list[int]], items: Collection[Any], features: torch.Tensor
) -> tuple[np.ndarray, torch.Tensor]:
    """Give the features of distinct items to all pins that have them."""
    counts = torch.tensor([len(pins[item]) for item in items])
    rows = np.concatenate([pins[item] for item in items])
    return rows, features.repeat_interleave(counts, dim=0)


def _blocks(items: np.ndarray, what: str) -> Iterator[np.ndarray]:
    starts = range(0, len(items), BLOCK)
    with progress_bar(len(starts)) as step:
        for start in starts:
            step(f"features of {what}")
            yield items[start : start + BLOCK]


def _computed(
    path: Path,
    shape: tuple[int, int],
    blocks: Callable[[], Iterator[tuple[np.ndarray, torch.Tensor]]],
) -> Path:
    """Write what `blocks` yields of some rows to a file, unless it is there; other rows are 0."""
    if not path.is_file():
        with only_one(path):
            if not path.is_file():
                with atomic_file(path) as temporary:
                    out = np.lib.format.open_memmap(temporary, "w+", np.float16, shape)
                    for rows, features in blocks():
                        out[rows] = features.numpy()
                    out.flush()
    return path


def _opened(path: Path) -> np.memmap:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise PinGraphError(f"{path}: damaged, delete it to have it made anew ({error})") from error
