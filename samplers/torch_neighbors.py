"""Neighbors as tensors: what samplers on tensors give."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pingraph.samplers.torch_sums import row_sums


@dataclass(frozen=True, kw_only=True)
class DeviceNeighbors:
    """`pingraph.interfaces.Neighbors` as tensors of one device: same fields, same rules."""

    seeds: Tensor  # int64 [B]
    ids: Tensor  # int64 [B, k]
    weights: Tensor  # float32 [B, k]
    scores: Tensor  # float32 [B, k]
    mask: Tensor  # bool [B, k]

    @classmethod
    def from_scores(cls, *, seeds: Tensor, ids: Tensor, scores: Tensor) -> DeviceNeighbors:
        """Return the record whose weights are the scores over their sum, to the bit as NumPy's."""
        total = row_sums(scores.double())[:, None]
        weights = (scores / torch.where(total > 0, total, 1)).float()
        return cls(seeds=seeds, ids=ids, weights=weights, scores=scores, mask=ids >= 0)
