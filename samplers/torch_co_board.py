"""Co-board draws on tensors: all draws of all seeds at once; see `co_board_kernels`.

Letters: B seeds, D draws of a seed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pingraph.samplers.torch_hooks import first_not_below
from pingraph.samplers.torch_method import Method, Request
from pingraph.samplers.torch_randomness import draw, pick
from pingraph.samplers.torch_tally import rank_visits

if TYPE_CHECKING:
    from pingraph.samplers.co_board import CoBoardSampler
    from pingraph.samplers.torch_graph import DeviceGraph

_DRAW_BYTES = 192  # at most


class CoBoard(Method):
    """Follows `CoBoardSampler`."""

    sampler: CoBoardSampler

    def seed_bytes(self, graph: DeviceGraph) -> int:
        """Return the bytes of the draws of a seed."""
        return self.sampler.draws * _DRAW_BYTES

    def rank(self, request: Request, ids: Tensor, scores: Tensor) -> None:
        """Write the mates that are drawn most; see `Method.rank`."""
        graph, seeds, _, key = request
        if graph.num_edges:
            numbers = torch.arange(self.sampler.draws, device=graph.device)
            words = draw(draw(key, seeds)[:, None], numbers)
            drawn = self._drawn(graph, seeds[:, None], words)
            rank_visits(drawn, graph.num_pins, ids, scores)

    def _drawn(self, graph: DeviceGraph, seeds: Tensor, words: Tensor) -> Tensor:
        """Return the pins that the words draw, [B, D]; no pin, P, for a seed [B, 1] without mates.

        It draws places of a board, all but the last; where the seed stands, the last one stands in.
        """
        mates, offsets, pins = graph.mates, graph.by_board.offsets, graph.by_board.neighbors
        first, end = mates.first[seeds], mates.end[seeds]
        if self.sampler.weighting == "inverse_size":
            place, rest = pick(words, end - first)
            edge = torch.where(first < end, first + place, 0)
            place, _ = pick(rest, mates.before[edge + 1] - mates.before[edge])
        else:
            base = mates.before[first]
            place, _ = pick(words, mates.before[end] - base)
            found = first_not_below(
                mates.before, first, end, base + place + 1, graph.by_pin.longest
            )
            edge = torch.where(first < end, found - 1, 0)
            place = torch.where(first < end, place + base - mates.before[edge], 0)
        board = mates.boards[edge].long()
        pin = pins[offsets[board] + place]
        pin = torch.where(pin == seeds, pins[offsets[board + 1] - 1], pin)
        return torch.where(first < end, pin, graph.num_pins)
