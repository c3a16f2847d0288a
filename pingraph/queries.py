"""`pingraph neighbors`: the pins nearest to a pin, to words or to an image file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from pingraph.embeddings import find_rows, nearest
from pingraph.encoders.efficientnet import SIDE
from pingraph.errors import PinGraphError
from pingraph.frozen_features import image_features, text_features
from pingraph.grid import grid_rows, save_grid
from pingraph.images import load_pixels, open_image
from pingraph.interfaces import PinContent
from pingraph.plain_text import plain
from pingraph.tokenization import UNKNOWN, encode

if TYPE_CHECKING:
    from PIL.Image import Image

    from pingraph.runs import Run
    from pingraph.subject import Subject


_LONGEST_ID = 64  # a sha256 in hex, which can still be given to the next command
_LONGEST_TEXT = 100


def list_neighbors(subject: Subject, pin_id: str, k: int, out: Path | None = None) -> None:
    """Print the pins nearest to a pin, by the fused vectors of both, and draw them to `out`.

    Raises:
        PinGraphError: there is no such pin, or it or all others have no vector, or `out` cannot be
            written.
    """
    dataset = subject.dataset
    pin = find_rows(dataset, [pin_id])  # before the embedding, which takes the longest
    subject.require_vector(pin[0])
    table = subject.table
    print(f"nearest to {plain(dataset.texts[pin[0]], _LONGEST_TEXT) or plain(pin_id, _LONGEST_ID)}")
    _print_nearest(subject, table.fused[pin], k, exclude=pin)
    if out is not None:
        save_grid(out, dataset, grid_rows(table, dataset, pin, k=k), f"nearest to {pin_id}")
        print(out)


def search_text(subject: Subject, text: str, k: int) -> None:
    """Print the pins whose fused vectors are nearest to words; errors as of `text_vector`."""
    vector = text_vector(subject, text)
    _print_nearest(subject, vector[None], k)


def search_image(subject: Subject, path: Path, k: int) -> None:
    """Print the pins whose fused vectors are nearest to an image file.

    Raises:
        PinGraphError: the file cannot be read; and as `image_vector` does.
    """
    vector = image_vector(subject, path, str(path))
    _print_nearest(subject, vector[None], k)


def cannot_search(subject: Subject, by: Literal["text", "image"]) -> str | None:
    """Return why embeddings cannot be searched by text or by image, None where they can."""
    if subject.run is None:
        return f"{subject.name} holds vectors alone: only a run can be searched by words or images"
    if by in subject.run.modalities:
        return None
    return f"{subject.run.folder} cannot search by {by}: it was trained without {by}s"


def get_ready(subject: Subject) -> None:
    """Load the models that the first search by words or by an image would wait for."""
    features = () if subject.run is None else _features(subject.run)
    if "text" in features:
        text_features(["ready"])
    if "image" in features:
        image_features(np.zeros((1, 3, SIDE, SIDE), np.uint8))


def text_vector(subject: Subject, text: str) -> np.ndarray:
    """Return the text embedding of words, float32 [D].

    Raises:
        PinGraphError: no word is known to the run, or there is no run.
    """
    run = _run_for(subject, "text")
    tokens, mask = encode(run.tokenizer, [text])
    if not (mask & (tokens != run.tokenizer.token_to_id(UNKNOWN))).any():
        raise PinGraphError(f"the text {text!r} holds no word that {run.folder} knows")
    size = run.encoder.preparation.image_size
    content = _content(np.zeros((3, size, size), np.uint8), False, tokens, mask)
    if "text" in _features(run):
        content = replace(content, text_features=text_features([text]))
    return run.embed_content(content).text[0].numpy()


def image_vector(subject: Subject, source: bytes | Path, name: str) -> np.ndarray:
    """Return the image embedding of an encoded image, float32 [D].

    Args:
        subject: the embeddings of a run.
        source: the bytes, or the file that holds them.
        name: what messages call it.

    Raises:
        PinGraphError: it cannot be read or is no image, or the run was trained without images, or
            there is no run.
    """
    run = _run_for(subject, "image")
    pixels = _read_image(source, name, run.encoder.preparation.pixels)
    content = _content(pixels, True, np.zeros((1, 1), np.int64), np.zeros((1, 1), bool))
    if "image" in _features(run):
        picture = _read_image(source, name, lambda image: load_pixels(image, SIDE))
        content = replace(content, image_features=image_features(picture[None]))
    return run.embed_content(content).image[0].numpy()


def _run_for(subject: Subject, by: Literal["text", "image"]) -> Run:
    if reason := cannot_search(subject, by):
        raise PinGraphError(reason)
    assert subject.run is not None
    return subject.run


def _print_nearest(
    subject: Subject, vector: np.ndarray, k: int, *, exclude: np.ndarray | None = None
) -> None:
    """Print a line for each pin near to a vector [1, D]: its place, its score, its id and text."""
    dataset = subject.dataset
    pins, scores = nearest(subject.table, vector, k, exclude=exclude)
    if not pins.size:
        raise PinGraphError(f"{subject.name}: no other pin has a vector")
    names = [plain(str(dataset.pin_ids[pin]), _LONGEST_ID) for pin in pins[0]]
    width = max(map(len, names))
    rows = zip(pins[0].tolist(), scores[0].tolist(), names, strict=True)
    for place, (pin, score, name) in enumerate(rows, start=1):
        text = plain(dataset.texts[pin], _LONGEST_TEXT)
        print(f"{place:>4}  {score:.3f}  {name:<{width}}  {text}".rstrip())


def _features(run: Run) -> tuple[str, ...]:
    return getattr(run.encoder, "features", ())


def _read_image(
    source: bytes | Path, name: str, finish: Callable[[Image], np.ndarray]
) -> np.ndarray:
    """Return what `finish` makes of an encoded image."""
    from PIL import UnidentifiedImageError

    try:
        return finish(open_image(source))
    except UnidentifiedImageError as error:  # its message names a memory address
        raise PinGraphError(f"{name}: no image of a known format") from error
    except OSError as error:
        raise PinGraphError(f"{name}: {error.strerror or error}") from error
    # On damaged bytes Pillow's decoders raise almost anything: SyntaxError, struct.error, …
    except Exception as error:
        raise PinGraphError(f"{name}: image cannot be decoded ({error})") from error


def _content(
    pixels: np.ndarray, has_image: bool, tokens: np.ndarray, mask: np.ndarray
) -> PinContent:
    return PinContent(
        images=torch.from_numpy(pixels[None]),
        has_image=torch.tensor([has_image]),
        tokens=torch.from_numpy(tokens),
        token_mask=torch.from_numpy(mask),
    )
