"""Embeddings as they are stored and searched in few bytes: the forms that `views.View` trains for.

N vectors, Q queries, D channels, d of them kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pingraph.errors import PinGraphError

if TYPE_CHECKING:
    from pingraph.views import Code, View

_BLOCK = 65_536  # vectors at a time


@dataclass(frozen=True, kw_only=True)
class Codes:
    """N vectors in one stored form. A code stands for itself: it needs no table of scales."""

    values: np.ndarray  # float32 or int8 [N, d]; of "binary" uint8 [N, ⌈d / 8⌉], packed bits
    present: np.ndarray  # bool [N], false where the vector is zero
    dim: int  # channels d
    code: Code

    @property
    def bytes_per_pin(self) -> int:
        """Size of one vector's values; `present` is one bit more where it is stored."""
        return self.values.shape[1] * self.values.itemsize

    def decode(self) -> np.ndarray:
        """Return the vectors, float32 [N, d], of length 1 or zero: what the view gave training."""
        if self.code == "float":
            return self.values
        if self.code == "int8":
            squares = np.square(self.values, dtype=np.int32).sum(1, keepdims=True, dtype=np.int64)
            return self.values * _inverse(np.sqrt(squares).astype(np.float32))
        signs = np.unpackbits(self.values, axis=1, count=self.dim) * np.float32(2) - 1
        return signs * (self.present[:, None] * np.float32(self.dim**-0.5))


def encode(vectors: np.ndarray, view: View) -> Codes:
    """Return the stored form of vectors, bit for bit that of `view`; only float cuts differ.

    The length of a float cut is a sum, which NumPy and torch may round differently.

    Args:
        vectors: float32 [N, D], of length 1, or zero for what a pin lacks.
        view: which channels are kept, and in which code.

    Raises:
        PinGraphError: the vectors are not a matrix, not finite, or narrower than the view.
    """
    if vectors.ndim != 2:
        raise PinGraphError(f"vectors have shape {vectors.shape}: expected [N, D]")
    finite = np.isfinite(vectors).all(1)
    if not finite.all():
        raise PinGraphError(f"row {np.argmin(finite)} of the vectors is not finite")
    size = view.width(vectors.shape[1])
    kept = np.ascontiguousarray(vectors[:, :size], np.float32)
    values: np.ndarray
    if view.code == "binary":
        values = np.packbits(kept >= 0, axis=1)
    elif view.code == "int8":
        values = _int8(kept)
    else:
        values = kept if size == vectors.shape[1] else _unit(kept)
    return Codes(values=values, present=np.asarray(kept.any(axis=1)), dim=size, code=view.code)


def score(queries: Codes, pins: Codes) -> np.ndarray:
    """Return the cosine of each query with each pin, float32 [Q, N]; 0 where either is zero.

    Two binary codes differ in h of d bits and score 1 − 2 h / d. Other pairs may be of two codes:
    float queries find int8 or binary pins better than queries that are rounded too.

    Raises:
        PinGraphError: queries and pins have another number of channels.
    """
    if queries.dim != pins.dim:
        raise PinGraphError(f"queries have {queries.dim} channels, and the pins {pins.dim}")
    if queries.code == pins.code == "binary":
        return _hamming(queries, pins)
    decoded = queries.decode()
    scores = np.empty((len(decoded), len(pins.values)), np.float32)
    for start in range(0, len(pins.values), _BLOCK):
        rows = slice(start, start + _BLOCK)
        block = replace(pins, values=pins.values[rows], present=pins.present[rows])
        scores[:, rows] = decoded @ block.decode().T
    return scores


def as_served(vectors: np.ndarray, view: View) -> np.ndarray:
    """Return what the stored form of vectors decodes to, float32 [N, d]; see `encode`."""
    served = np.empty((len(vectors), view.width(vectors.shape[1])), np.float32)
    for start in range(0, len(vectors), _BLOCK):
        rows = slice(start, start + _BLOCK)
        served[rows] = encode(vectors[rows], view).decode()
    return served


def _int8(vectors: np.ndarray) -> np.ndarray:
    scale = _inverse(np.abs(vectors).max(1, keepdims=True))
    return np.rint(vectors * scale * np.float32(127)).astype(np.int8)


def _inverse(sizes: np.ndarray) -> np.ndarray:
    """1 / sizes, and 0 of 0; the twin of that of the views."""
    tiny = np.finfo(np.float32).tiny
    return (sizes > tiny) / np.maximum(sizes, tiny)


def _unit(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 0, length, np.float32(1))


def _hamming(queries: Codes, pins: Codes) -> np.ndarray:
    scores = np.empty((len(queries.values), len(pins.values)), np.float32)
    for row, query in enumerate(queries.values):
        differ = np.bitwise_count(pins.values ^ query).sum(1, dtype=np.int64)
        scores[row] = (pins.dim - 2 * differ) / pins.dim
    return scores * queries.present[:, None] * pins.present
