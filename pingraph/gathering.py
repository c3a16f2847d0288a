"""What the ranks of a training share: who makes which rows, put together on each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, distributed
from torch.autograd.function import Function, once_differentiable


def share_of(rank: int, ranks: int, count: int) -> range:
    """Return which of `count` things fall to a rank; the shares of all ranks are in order."""
    return range(count * rank // ranks, count * (rank + 1) // ranks)


def gather_rows(own: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return the rows of all ranks, rank 0's first, on each rank.

    The gradient of a rank's rows is the sum of what all ranks' losses want of them, so where the
    loss of a training is the sum of its ranks' losses, this is its gradient.

    Args:
        own: [sizes[rank], …], this rank's rows.
        sizes: rows of each rank.
    """
    return _Gather.apply(own, sizes)


class _Gather(Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, sizes: Sequence[int]) -> Tensor:
        rank = distributed.get_rank()
        ctx.own = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
        # Collectives take equal sizes: rows are added to the smaller parts, and dropped again.
        padded = own.new_zeros(max(sizes), *own.shape[1:])
        padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in sizes]
        distributed.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        total = gradient.contiguous().clone()
        distributed.all_reduce(total)
        return total[ctx.own], None
