"""Second-order walks on tensors: traversals are proposed until one is accepted, as in `hooks`.

How many proposals it takes is not known before, so the host looks after each: what is left of the
walks becomes shorter, and the loop ends when none is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pingraph.samplers.hooks import MOST_PROPOSALS, Second
from pingraph.samplers.torch_hooks import DeviceRules, first_not_below
from pingraph.samplers.torch_randomness import coin
from pingraph.samplers.torch_walks import FirstOrder, Lanes, Traversal

if TYPE_CHECKING:
    from pingraph.samplers.node2vec import Node2VecSampler
    from pingraph.samplers.torch_graph import DeviceGraph, DeviceRows

_WIDTH = 8  # boards of a pin that are looked for at once, at least
_ROOM = 2**16  # boards of all pins that are looked for at once, at least


class SecondOrder(FirstOrder):
    """Follows `Node2VecSampler`."""

    sampler: Node2VecSampler
    walk_bytes = 1024  # some boards for each

    def step(self, graph: DeviceGraph, rules: DeviceRules, lanes: Lanes, number: int) -> Traversal:
        """Return the first traversal of each walk that is accepted, with proposals of its own."""
        worth = self.sampler.acceptance()
        if lanes.previous is None or worth is None:
            return super().step(graph, rules, lanes, number)
        shape = lanes.at.shape
        keys, previous, at = (part.flatten() for part in (lanes.keys, lanes.previous, lanes.at))
        boards, pins = (
            graph.by_pin.neighbors.new_zeros(at.shape),
            at.to(graph.by_board.neighbors.dtype, copy=True),
        )
        rests, proposals = torch.zeros_like(at), torch.full_like(at, MOST_PROPOSALS)
        left = lanes.walking.flatten().nonzero().squeeze(1)
        for proposal in range(MOST_PROPOSALS):
            if not len(left):
                break
            part = Lanes(keys[left], previous[left], at[left], lanes.walking, None)
            made = super().step(graph, rules, part, number | proposal << 32)
            won = coin(made.rests) < _chances(graph.by_pin, worth, previous[left], made.pins)
            here = left[won]
            boards[here], pins[here], rests[here] = (part[won] for part in made[:3])
            proposals[here] = proposal
            left = left[~won]
        walking = proposals < MOST_PROPOSALS
        found = (part.view(shape) for part in (boards, pins, rests, walking, proposals))
        return Traversal(*found)


def _chances(by_pin: DeviceRows, worth: Second, previous: Tensor, pins: Tensor) -> Tensor:
    """Return the probabilities, float64, that traversals to `pins` are accepted."""
    chances = torch.full_like(previous, worth.far, dtype=torch.float64)
    if worth.near != worth.far:
        other = (pins != previous).nonzero().squeeze(1)
        mates = share_a_board(by_pin, previous[other], pins[other].long())
        chances[other[mates]] = worth.near
    return chances.masked_fill_(pins == previous, worth.again)


def share_a_board(by_pin: DeviceRows, ones: Tensor, others: Tensor) -> Tensor:
    """Return whether pins share a board, bool [n], by a search for boards of the one that has less.

    All pairs look for some boards each; those without success and with boards left look further,
    for more at once the fewer they are, so that the memory stays as it was.

    Args:
        by_pin: the boards of the pins, ascending.
        ones, others: int64 [n], pins with boards.
    """
    offsets, boards = by_pin.offsets, by_pin.neighbors
    degrees = offsets[ones + 1] - offsets[ones], offsets[others + 1] - offsets[others]
    fewer = torch.where(degrees[0] <= degrees[1], ones, others)
    more = ones + others - fewer
    found = torch.zeros(len(ones), dtype=torch.bool, device=ones.device)
    left, place = torch.arange(len(ones), device=ones.device), offsets[fewer]
    room = max(_ROOM, _WIDTH * len(ones))
    while len(left):
        end = offsets[fewer[left] + 1]
        start, stop = offsets[more[left]][:, None], offsets[more[left] + 1][:, None]
        width = min(room // len(left), by_pin.longest)
        wanted = place[:, None] + torch.arange(width, device=ones.device)
        board = boards[torch.minimum(wanted, end[:, None] - 1)]
        at = first_not_below(boards, start, stop, board, by_pin.longest)
        hit = ((at < stop) & (boards[torch.minimum(at, stop - 1)] == board)).any(dim=1)
        found[left[hit]] = True
        on = ~hit & (place + width < end)
        left, place = left[on], place[on] + width
    return found
