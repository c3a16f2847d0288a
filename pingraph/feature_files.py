"""Rows of unequal length in one file that is read by mapping it; see `feature_store`."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike

from pingraph.errors import PinGraphError
from pingraph.files import read_json, write_json
from pingraph.interfaces import Tokens

CARD = "card.json"
_FORMAT, _VERSION = "pingraph-features", "1"


class FeatureWriter:
    """Appends the tokens of pins, some of which have none.

    Args:
        folder: where NAME.values, NAME.offsets and NAME.pooled go.
        name: NAME.
        dtype: of the values, such as "float16".
        levels: depths of each token.
        width: channels of the tokens.
        pooled_width: channels of the pooled vector; 0 for none.
    """

    def __init__(
        self, folder: Path, name: str, dtype: str, levels: int, width: int, pooled_width: int
    ):
        self.folder, self.name, self.dtype = folder, name, dtype
        self.levels, self.width, self.pooled_width = levels, width, pooled_width
        self._lengths: list[np.ndarray] = []
        self._values = (folder / f"{name}.values").open("wb")
        self._pooled = (folder / f"{name}.pooled").open("wb")

    def __enter__(self) -> FeatureWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._values.close()
        self._pooled.close()

    def add(self, tokens: Tokens, present: torch.Tensor) -> None:
        """Append the pins of a block; `tokens` has a row for each that is true in `present` [U].

        Raises:
            PinGraphError: padding that stands before a token, a value that is no number or too
                large for the dtype, or shapes other than those the backbone declares.
        """
        values = self._cast(torch.stack(tokens.levels, 1), (self.levels, -1, self.width))
        pooled = np.zeros((len(present), self.pooled_width), self.dtype)
        lengths = np.zeros(len(present), np.int64)
        mask, rows = tokens.mask.cpu().numpy(), present.numpy()
        lengths[rows] = mask.sum(1)
        if not np.array_equal(mask, np.arange(mask.shape[1]) < lengths[rows][:, None]):
            raise PinGraphError(f"{self.name} tokens: padding must stand after all tokens")
        pooled[rows] = self._cast(tokens.pooled, (self.pooled_width,))
        for row, length in zip(values, lengths[rows], strict=True):
            self._values.write(row[:, :length].tobytes())
        self._pooled.write(pooled.tobytes())
        self._lengths.append(lengths)

    def skip(self, pins: int) -> None:
        """Append pins without tokens."""
        self._pooled.write(np.zeros((pins, self.pooled_width), self.dtype).tobytes())
        self._lengths.append(np.zeros(pins, np.int64))

    def close(self, *, least: int = 1) -> dict[str, Any]:
        """Finish the files, and return their part of the card.

        Args:
            least: the fewest tokens that rows are padded to when read.
        """
        lengths = np.concatenate([np.zeros(1, np.int64), *self._lengths])
        with (self.folder / f"{self.name}.offsets").open("wb") as file:
            file.write(np.cumsum(lengths).tobytes())
            _to_disk(file)
        for file in (self._values, self._pooled):
            _to_disk(file)
        fields = {name: getattr(self, name) for name in ("dtype", "levels", "width")}
        return {**fields, "pooled_width": self.pooled_width, "least": least}

    def _cast(self, values: torch.Tensor, shape: tuple[int, ...]) -> np.ndarray:
        found = tuple(values.shape[1:])
        free = tuple(n if wanted < 0 else wanted for n, wanted in zip(found, shape, strict=False))
        if len(found) != len(shape) or found != free:
            raise PinGraphError(f"{self.name} tokens: shape {found}, but declared is {shape}")
        cast = values.to(getattr(torch, self.dtype))
        if not torch.isfinite(cast).all():
            largest = values.abs().max().item()
            advice = "; float32 can" if torch.isfinite(values).all() else ""
            raise PinGraphError(
                f"{self.name} tokens: {self.dtype} cannot hold the largest, {largest:.3g}{advice}"
            )
        return cast.cpu().numpy()


@dataclass(frozen=True, kw_only=True)
class FeatureFile:
    """The tokens of N pins, mapped."""

    values: np.ndarray  # of all tokens, flat
    offsets: np.ndarray  # int64 [N + 1], in tokens
    pooled: np.ndarray  # [N, P]
    levels: int
    width: int
    least: int

    def lengths(self, pins: np.ndarray) -> np.ndarray:
        """Return how many tokens each of the pins int64 [U] has, int64 [U]."""
        return self.offsets[pins + 1] - self.offsets[pins]

    def read(self, pins: np.ndarray, dtype: DTypeLike) -> tuple[np.ndarray, np.ndarray]:
        """Return the tokens [L, U, M, C] of pins int64 [U], and the mask bool [U, M] of them.

        M is that of the longest, or `least`.
        """
        lengths = self.lengths(pins)
        mask = np.arange(max(self.least, lengths.max(initial=0))) < lengths[:, None]
        out = np.zeros((self.levels, *mask.shape, self.width), dtype)
        size = self.levels * self.width
        for row, (begin, length) in enumerate(zip(self.offsets[pins], lengths, strict=True)):
            values = self.values[begin * size : (begin + length) * size]
            out[:, row, :length] = values.reshape(self.levels, length, self.width)
        return out, mask


def save_card(folder: Path, key: str, parts: dict[str, dict[str, Any]]) -> None:
    """Write the card of a folder whose files are finished.

    Args:
        folder: the folder.
        key: what its features depend on.
        parts: what `FeatureWriter.close` returned, by name.
    """
    card: dict[str, Any] = {"format": _FORMAT, "version": _VERSION, "key": key, "parts": parts}
    card["digest"] = _digest(folder, card)
    write_json(folder / CARD, card)


def open_features(folder: Path, key: str) -> dict[str, FeatureFile]:
    """Map the files of a folder, by name.

    Sizes are checked, and every bit of the card and the offsets, but not the values.

    Raises:
        PinGraphError: a file is missing or damaged, or the folder is not that of `key`.
    """
    path = folder / CARD
    card = read_json(path)
    if not isinstance(card, dict) or card.get("format") != _FORMAT:
        raise PinGraphError(f"{path}: not the card of a folder of features")
    if card.get("version") != _VERSION or card.get("key") != key:
        found = f"version {card.get('version')} of {card.get('key')}"
        raise PinGraphError(f"{path}: {found}, expected version {_VERSION} of {key}")
    digest = card.pop("digest", None)
    if digest != _digest(folder, card):
        raise _damaged(path, "it does not fit the .offsets files beside it")
    return {name: _map(folder, name, part) for name, part in card["parts"].items()}


def _map(folder: Path, name: str, part: dict[str, Any]) -> FeatureFile:
    dtype, levels, width = np.dtype(part["dtype"]), part["levels"], part["width"]
    offsets = np.fromfile(folder / f"{name}.offsets", np.int64)
    pooled_width = part["pooled_width"]
    pooled = _mapped(folder / f"{name}.pooled", dtype, (len(offsets) - 1) * pooled_width)
    return FeatureFile(
        values=_mapped(folder / f"{name}.values", dtype, int(offsets[-1]) * levels * width),
        offsets=offsets,
        pooled=pooled.reshape(-1, pooled_width) if pooled_width else pooled.reshape(0, 0),
        levels=levels,
        width=width,
        least=part["least"],
    )


def _mapped(path: Path, dtype: np.dtype, count: int) -> np.ndarray:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise _damaged(path, error.strerror or str(error)) from error
    if size != count * dtype.itemsize:
        raise _damaged(path, f"{size:,} bytes, expected {count * dtype.itemsize:,}")
    if not size:  # which cannot be mapped
        return np.zeros(0, dtype)
    return np.memmap(path, dtype, "r", shape=(count,)).view(np.ndarray)


def _digest(folder: Path, card: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(card, sort_keys=True).encode())
    for name in sorted(card.get("parts", {})):
        path = folder / f"{name}.offsets"
        try:
            digest.update(path.read_bytes())
        except OSError as error:
            raise _damaged(path, error.strerror or str(error)) from error
    return digest.hexdigest()


def _damaged(path: Path, reason: str) -> PinGraphError:
    return PinGraphError(
        f"{path}: damaged ({reason}); remove {path.parent} to have it computed anew"
    )


def _to_disk(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())
