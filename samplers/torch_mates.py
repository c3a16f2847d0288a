"""The boards of each pin that hold another pin, its mate: what co-board draws choose from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from pingraph.samplers.torch_graph import DeviceRows


@dataclass(frozen=True, kw_only=True, eq=False)
class Mates:
    """The boards of P pins, those with mates at the beginning of each row; E edges."""

    boards: Tensor  # int32 or int64 [E]
    first: Tensor  # int64 [P], where the row of a pin begins
    end: Tensor  # int64 [P], where its boards with mates end
    before: Tensor  # int64 [E + 1], mates on all boards before, those of other rows included


def mates_of(by_pin: DeviceRows, by_board: DeviceRows) -> Mates:
    """Sort the boards of each pin into those with mates and those without; none changes its order.

    A pin's boards 4, 5, 6 with 2, 0 and 3 mates become 4, 6, 5; before is 0, 2, 5 and then 5.
    """
    first, boards = by_pin.offsets[:-1], by_pin.neighbors
    mates = by_board.offsets.diff()[boards] - 1
    edges = torch.arange(len(boards), device=boards.device)
    seen = _before(mates > 0)
    end = first + seen[by_pin.offsets[1:]] - seen[first]
    row = first.repeat_interleave(by_pin.offsets.diff(), output_size=len(boards))
    ends = end.repeat_interleave(by_pin.offsets.diff(), output_size=len(boards))
    earlier = seen[:-1] - seen[row]  # boards with mates before it in its row
    place = torch.where(mates > 0, row + earlier, ends + (edges - row - earlier))
    order = torch.empty_like(place).scatter_(0, place, edges)
    return Mates(boards=boards[order], first=first, end=end, before=_before(mates[order]))


def _before(counts: Tensor) -> Tensor:
    """Return the sums of all counts before each and of all, int64 [E + 1]."""
    return torch.cat((counts.new_zeros(1, dtype=torch.int64), counts.cumsum(0)))
