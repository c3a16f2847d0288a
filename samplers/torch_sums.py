"""Sums of floats in a fixed order: to the bit those of loops and of NumPy, on any device."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

_BLOCK = 128  # NumPy halves longer rows


def running_sums(old: Tensor, values: Tensor, starts: Tensor, lengths: Tensor) -> Tensor:
    """Return what is added up one by one: M times an old value and a run of values.

    The old value 1 and the run 2, 3 in a width of 3 give the column 1, 3, 6, 6.

    Args:
        old: float64 [M].
        values: float64 [n].
        starts: int64 [M], where each run begins in the values.
        lengths: int64 [M], at least 1; about the same, since all take the space of the longest.

    Returns:
        float64 [longest + 1, M]. A sum along a dimension that is not the last is made one by one,
        on a GPU by one thread for each column; a column of zeros keeps a single one from being the
        last dimension in effect.
    """
    place = torch.arange(int(lengths.max()), device=old.device)[:, None]
    inside = place < lengths
    table = old.new_zeros(len(place) + 1, len(old) + 1)
    table[0, :-1] = old
    table[1:, :-1] = torch.where(inside, values[starts + torch.where(inside, place, 0)], 0.0)
    return table.cumsum(0)[:, :-1]


def in_buckets(lengths: Tensor) -> Iterator[Tensor]:
    """Yield the places of lengths, int64 [M] above 0, that are the same up to a factor of 2."""
    width, most = 1, int(lengths.max())
    while width < 2 * most:
        some = ((lengths <= width) & (2 * lengths > width)).nonzero()[:, 0]
        if len(some):
            yield some
        width *= 2


def row_sums(values: Tensor) -> Tensor:
    """Return the sums of the rows of float64 [B, n], added in the order in which NumPy adds."""
    length = values.shape[1]
    if length > _BLOCK:
        half = length // 2 // 8 * 8
        return row_sums(values[:, :half]) + row_sums(values[:, half:])
    total, eights = values.new_zeros(len(values)), length // 8 * 8
    if eights:
        lanes = values[:, :8]
        for start in range(8, eights, 8):
            lanes = lanes + values[:, start : start + 8]
        pairs = lanes[:, 0::2] + lanes[:, 1::2]
        total = (pairs[:, 0] + pairs[:, 1]) + (pairs[:, 2] + pairs[:, 3])
    for column in range(eights, length):
        total = total + values[:, column]
    return total
