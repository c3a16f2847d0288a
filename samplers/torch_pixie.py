"""Pixie's walks on tensors: all walks of the budgets at once, then a search for where they stop.

Where a walk ends does not depend on where it goes, so all lengths are drawn first; then it is known
where in the list of a seed's visits, walk by walk, each visit belongs. The kernel stops walking
where enough pins were visited often enough. Here the whole budget is walked, and what comes after
that visit is forgotten.

Letters: B seeds, N steps of a seed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from pingraph.samplers.torch_hooks import uniform, with_edge
from pingraph.samplers.torch_method import Method, Request
from pingraph.samplers.torch_randomness import draw, shift_right
from pingraph.samplers.torch_tally import rank_visits

if TYPE_CHECKING:
    from pingraph.samplers.pixie import PixieSampler
    from pingraph.samplers.torch_graph import DeviceGraph

_STEP_BYTES = 288  # at most
_LENGTHS = 2**63  # the draws for the length of a walk lie apart from those of its steps


class _Walks(NamedTuple):
    """Walks of all seeds, in order."""

    rows: Tensor  # int64 [n], whose they are
    keys: Tensor  # int64 [n], what their random words are drawn from
    begins: Tensor  # int64 [n], where in the visits of their seed they begin
    ends: Tensor  # int64 [n], and end


class Pixie(Method):
    """Follows `PixieSampler` without a bias."""

    sampler: PixieSampler

    def seed_bytes(self, graph: DeviceGraph) -> int:
        """Return the bytes of the walks of a seed."""
        return self.sampler.num_steps * _STEP_BYTES

    def rank(self, request: Request, ids: Tensor, scores: Tensor) -> None:
        """Write the pins visited most, the scores are visits: of one query pin (√V)² is V."""
        graph, seeds, _, key = request
        if not graph.num_edges:
            return
        visits = self._visits(graph, seeds, key)
        visits = torch.where(visits == seeds[:, None], graph.num_pins, visits)
        rank_visits(self._until_enough(visits, graph.num_pins), graph.num_pins, ids, scores)

    def _visits(self, graph: DeviceGraph, seeds: Tensor, key: Tensor) -> Tensor:
        """Return the pins visited, [B, N], walk by walk; P, no pin, for a seed without boards."""
        steps = self.sampler.num_steps
        visits = graph.by_board.neighbors.new_full((len(seeds) * steps,), graph.num_pins)
        rows, keys, begins, ends = self._plan(
            draw(key, seeds), with_edge(graph.by_pin, seeds, None)
        )
        place, end, at, hop = rows * steps + begins, rows * steps + ends, seeds[rows], 0
        while len(place):
            board, rest = uniform(graph.by_pin, at, draw(keys, hop), None)
            pin, _ = uniform(graph.by_board, board.long(), rest, None)
            visits[place] = pin
            place, hop = place + 1, hop + 1
            on = place < end
            keys, at, place, end = keys[on], pin[on].long(), place[on], end[on]
        return visits.view(len(seeds), steps)

    def _plan(self, keys: Tensor, connected: Tensor) -> _Walks:
        """Draw the lengths of walks until each seed's steps are spent; the last walk is cut.

        Some more walks are drawn than are likely needed, and more for the seeds that need more.
        """
        steps, rows, parts = self.sampler.num_steps, connected.nonzero()[:, 0], []
        walks, planned = torch.zeros_like(keys), torch.zeros_like(keys)
        while True:
            left = steps - planned[rows][:, None]
            most = int(left.max()) if len(rows) else 0
            many = min(most, int(1.1 * most * self.sampler.restart_probability) + 8)
            numbers = walks[rows][:, None] + torch.arange(many, device=keys.device)
            drawn = draw(keys[rows][:, None], numbers)
            lengths = self._lengths(drawn.flatten(), left.expand_as(drawn).flatten())
            ends = lengths.view(drawn.shape).cumsum(dim=1)
            begins = ends - lengths.view(drawn.shape)
            some, before = begins < left, planned[rows][:, None]
            own = rows[:, None].expand_as(drawn)
            ends = torch.minimum(ends, left)
            found = own, drawn, before + begins, before + ends
            parts.append(_Walks(*(part[some] for part in found)))
            if not len(rows):
                return _Walks(*(torch.cat(columns) for columns in zip(*parts, strict=True)))
            walks[rows] += many
            planned[rows] += ends[:, -1]
            rows = rows[planned[rows] < steps]

    def _lengths(self, keys: Tensor, most: Tensor) -> Tensor:
        """Return the traversals of walks, int64 [n], each at most what `most` says."""
        go_on = round((1 - self.sampler.restart_probability) * 2**53)
        lengths, coin = torch.ones_like(keys), 0
        going = torch.arange(len(keys), device=keys.device)
        while len(going):
            word = draw(keys[going], _LENGTHS + coin)
            going = going[(shift_right(word, 11) < go_on) & (lengths[going] < most[going])]
            lengths[going] += 1
            coin += 1
        return lengths

    def _until_enough(self, visits: Tensor, no_pin: int) -> Tensor:
        """Return the visits [B, N] until `min_pins` pins have `min_visits`, then no pins.

        Of 7 5 7 6 5 6, with 2 pins of 2 visits, the last one is left out. Sorted they are 5 5 6 6 7
        7 and stood at 1 4 3 5 0 2: the second visits are at 4, 5 and 2, and the second of these is
        4.
        """
        often, enough, steps = self.sampler.min_visits, self.sampler.min_pins, visits.shape[1]
        if often - 1 + enough > steps:  # too few
            return visits
        pins, order = visits.sort(dim=1, stable=True)
        last, first = pins[:, often - 1 :], pins[:, : steps - often + 1]
        reached = (last == first) & (last != no_pin)
        reached[:, 1:] &= last[:, 1:] != first[:, :-1]
        places = torch.where(reached, order[:, often - 1 :], steps).sort(dim=1).values
        spent = torch.arange(steps, device=visits.device) > places[:, enough - 1 : enough]
        return torch.where(spent, no_pin, visits)
