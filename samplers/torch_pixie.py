"""Pixie's walks on tensors: all walks of the budgets at once, then a search for where they stop.

Where a walk ends does not depend on where it goes, so all lengths are drawn first; then it is known
where in the list of all visits, walk by walk, each visit belongs. The kernel stops walking where
enough pins were visited often enough. Here the whole budget is walked, and what comes after that
visit is forgotten.

Letters: B queries, n query pins of all queries, V steps of all query pins, P pins of the graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pingraph.samplers.torch_hooks import uniform, with_edge
from pingraph.samplers.torch_method import Method, Request
from pingraph.samplers.torch_randomness import draw, shift_right
from pingraph.samplers.torch_sums import in_buckets, running_sums
from pingraph.samplers.torch_tally import write_best

if TYPE_CHECKING:
    from pingraph.samplers.pixie import PixieSampler
    from pingraph.samplers.torch_graph import DeviceGraph

STEP_BYTES = 288  # at most
_LENGTHS = 2**63  # the draws for the length of a walk lie apart from those of its steps


class Queries(NamedTuple):
    """Query pins, one query after the other, in the order given."""

    pins: Tensor  # int64 [n]
    steps: Tensor  # int64 [n], 0 for a pin without boards
    rows: Tensor  # int64 [n], the query of each, ascending


class Pixie(Method):
    """Follows `PixieSampler` without a bias."""

    sampler: PixieSampler

    def seed_bytes(self, graph: DeviceGraph) -> int:
        """Return the bytes of the walks of a seed."""
        return self.sampler.num_steps * STEP_BYTES

    def rank(self, request: Request, ids: Tensor, scores: Tensor) -> None:
        """Write the pins visited most; see `Method.rank`. Each seed is a query of its own."""
        graph, seeds, _, key = request
        steps = torch.where(with_edge(graph.by_pin, seeds, None), self.sampler.num_steps, 0)
        queries = Queries(seeds, steps, torch.arange(len(seeds), device=graph.device))
        self.recommend(graph, queries, key, ids, scores)

    def recommend(
        self, graph: DeviceGraph, queries: Queries, key: Tensor, ids: Tensor, scores: Tensor
    ) -> None:
        """Write the pins of the highest (Σ√V)² for each query, [B, k]; see `Method.rank`.

        The walks of pin 0 visit 5 7 0 5, those of pin 1 visit 7 6. Without the 0 and sorted they
        are 5 5 6 7 7. Each run of a pin from one query pin adds the root of its length: √2 to 5, √1
        to 6, √1 and √1 to 7.
        """
        visits, owner = self._visits(graph, queries, draw(key, queries.pins))
        if not len(visits):
            return
        at = queries.rows[owner] * graph.num_pins + visits
        asked = (queries.rows * graph.num_pins + queries.pins).sort().values
        others = asked[torch.searchsorted(asked, at).clamp(max=len(asked) - 1)] != at
        at, owner = at[others], owner[others]
        until = _until_enough(at, owner, len(queries.pins), self.sampler)
        at, order = at[until].sort(stable=True)
        if not len(at):
            return
        owner = owner[until][order]
        begins = _run_starts(at, owner)
        visited = torch.cat((begins, begins.new_tensor([len(at)]))).diff()
        at, pieces = at[begins].unique_consecutive(return_counts=True)
        piece = pieces.cumsum(0) - pieces
        roots, sums = visited.double().sqrt(), torch.zeros(len(at), device=at.device).double()
        for some in in_buckets(pieces):
            sums[some] = running_sums(sums[some], roots, piece[some], pieces[some])[-1]
        earlier = order[begins[piece]].argsort()
        at, score = at[earlier], (sums * sums).float()[earlier]
        write_best(at // graph.num_pins, at % graph.num_pins, score, ids, scores)

    def _visits(self, graph: DeviceGraph, queries: Queries, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pins visited, walk by walk, and the query pin of each, both int64 [V]."""
        pins, steps, _ = queries
        numbers = torch.arange(len(pins), device=graph.device)
        owner = numbers.repeat_interleave(steps)
        visits = torch.empty_like(owner)
        place, end, keys, at = self._plan(pins, steps, keys)
        hop = 0
        while len(place):
            board, rest = uniform(graph.by_pin, at, draw(keys, hop), None)
            pin, _ = uniform(graph.by_board, board.long(), rest, None)
            visits[place] = pin.long()
            place, hop = place + 1, hop + 1
            on = place < end
            place, end, keys, at = place[on], end[on], keys[on], pin[on].long()
        return visits, owner

    def _plan(self, pins: Tensor, steps: Tensor, keys: Tensor) -> tuple[Tensor, ...]:
        """Draw the lengths of walks until all steps are spent; the last walk of a pin is cut.

        Some more walks are drawn than are likely needed, and more for the pins that need more.
        Returns where each walk begins and ends among all visits, its key and where it starts.
        """
        base, rows, parts = steps.cumsum(0) - steps, steps.nonzero()[:, 0], []
        walks, planned = torch.zeros_like(keys), torch.zeros_like(keys)
        while True:
            left = (steps - planned)[rows][:, None]
            most = int(left.max()) if len(rows) else 0
            many = min(most, int(1.1 * most * self.sampler.restart_probability) + 8)
            numbers = walks[rows][:, None] + torch.arange(many, device=keys.device)
            drawn = draw(keys[rows][:, None], numbers)
            lengths = self._lengths(drawn.flatten(), left.expand_as(drawn).flatten())
            ends = lengths.view(drawn.shape).cumsum(dim=1)
            begins = ends - lengths.view(drawn.shape)
            some, ends = begins < left, torch.minimum(ends, left)
            before = (base + planned)[rows][:, None]
            start = pins[rows][:, None].expand_as(drawn)
            parts.append([part[some] for part in (before + begins, before + ends, drawn, start)])
            if not len(rows):
                return tuple(torch.cat(columns) for columns in zip(*parts, strict=True))
            walks[rows] += many
            planned[rows] += ends[:, -1]
            rows = rows[planned[rows] < steps[rows]]

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


def query_turns(steps: np.ndarray, offsets: np.ndarray, room: int) -> Iterator[slice]:
    """Yield queries in parts that have so many steps together, or one query at least."""
    before = np.append(0, steps.cumsum())[offsets]
    start = 0
    while start < len(offsets) - 1:
        end = int(np.searchsorted(before, before[start] + room, side="right")) - 1
        end = max(end, start + 1)
        yield slice(start, end)
        start = end


def _until_enough(at: Tensor, owner: Tensor, pins: int, sampler: PixieSampler) -> Tensor:
    """Return whether each visit counts: it is not after `min_pins` pins have `min_visits`.

    Of 7 5 7 6 5 6 from one query pin, with 2 pins of 2 visits, the last one does not. Sorted they
    are 5 5 6 6 7 7 and stood at 1 4 3 5 0 2: the second visits are at 4, 5 and 2, and the second of
    these is 4.

    Args:
        at: int64 [V], the pins visited, in order.
        owner: int64 [V], whose visits they are, ascending.
        pins: how many owners there are.
        sampler: says how many visits of how many pins are enough.
    """
    place = torch.arange(len(at), device=at.device)
    if not len(at):
        return place >= 0
    by_pin = at.sort(stable=True).indices
    order = by_pin[owner[by_pin].sort(stable=True).indices]
    at, theirs = at[order], owner[order]
    begins = _run_starts(at, theirs)
    count = place - begins[torch.searchsorted(begins, place, right=True) - 1] + 1
    events = order[count == sampler.min_visits].sort().values  # by owner, and of each in order
    numbers = torch.arange(pins, device=at.device)
    begin = torch.searchsorted(owner[events], numbers)
    end = torch.searchsorted(owner[events], numbers, right=True)
    enough = begin + sampler.min_pins - 1
    stops = torch.cat((events, place[-1:]))[torch.where(enough < end, enough, len(events))]
    return place <= stops[owner]


def _run_starts(at: Tensor, owner: Tensor) -> Tensor:
    """Return where each run of the same pin and owner begins."""
    new = (at.diff() != 0) | (owner.diff() != 0)
    return torch.cat((new.new_ones(1), new)).nonzero()[:, 0]
