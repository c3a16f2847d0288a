"""The random walks of the CPU kernels as tensors of a GPU: same numbers, same traces and visits.

All walks of a batch take each step together. Tensors have fixed sizes: a walk that has ended is
masked, not removed, so that nothing waits for the device between the steps.

Letters: B seeds, k neighbors, W walks of a seed, L traversals of a walk at most, V = L · W visits;
P pins of the graph.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from pingraph.errors import PinGraphError
from pingraph.samplers.torch_hooks import (
    DeviceRules,
    earlier,
    uniform,
    weighted,
    with_early_edge,
    with_edge,
)
from pingraph.samplers.torch_method import Method, Request
from pingraph.samplers.torch_randomness import draw, shift_right
from pingraph.samplers.torch_tally import rank_visits
from pingraph.samplers.walking import NO_TIME, WalkingSampler

if TYPE_CHECKING:
    from pingraph.samplers.node2vec import Node2VecSampler
    from pingraph.samplers.pinsage import PinSAGESampler
    from pingraph.samplers.torch_graph import DeviceGraph

_VISIT_BYTES = 96  # at most


class Lanes(NamedTuple):
    """Walks that step together, [B, W] or any other shape."""

    keys: Tensor  # what their random words are drawn from, int64
    previous: Tensor | None  # the pins before, int64; None at the seeds
    at: Tensor  # the pins where they are, int64
    walking: Tensor  # whether they still do; the others are masked
    times: Tensor | None  # of their seeds, int64


class Traversal(NamedTuple):
    """Where a step has led, in the shape of the lanes."""

    boards: Tensor
    pins: Tensor
    rests: Tensor  # what is left of the random words
    walking: Tensor  # whether the traversal is made
    proposals: Tensor | None  # not accepted before; None if the first one always is


class WalkMethod(Method):
    """Follows the samplers that walk; the pins visited most are the neighbors."""

    sampler: WalkingSampler
    walk_bytes = 128  # of a walk at most, beside its visits

    @abstractmethod
    def rules(self, graph: DeviceGraph) -> DeviceRules:
        """Return how the walks go; raise a PinGraphError if the graph lacks what they need."""

    def seed_bytes(self, graph: DeviceGraph) -> int:
        """Return the bytes of the walks of a seed."""
        visit_bytes = _VISIT_BYTES * self.sampler.walk_length
        return self.sampler.num_walks * (self.walk_bytes + visit_bytes)

    def rank(self, request: Request, ids: Tensor, scores: Tensor) -> None:
        """Write the pins that the walks visit most; see `Method.rank`."""
        rank_visits(self._visits(request), request.graph.num_pins, ids, scores)

    def trace(self, request: Request) -> tuple[Tensor, Tensor]:
        """Return the pins [B, W, L + 1] and boards [B, W, L] of walks, -1 after a walk's end."""
        graph, seeds = request.graph, request.seeds
        shape = len(seeds), self.sampler.num_walks, self.sampler.walk_length
        pins = graph.by_board.neighbors.new_full((*shape[:2], shape[2] + 1), -1)
        boards = graph.by_pin.neighbors.new_full(shape, -1)
        pins[:, :, 0] = seeds[:, None]
        for step, made in enumerate(self._traversals(request)):
            boards[:, :, step] = torch.where(made.walking, made.boards, -1)
            pins[:, :, step + 1] = torch.where(made.walking, made.pins, -1)
        return pins, boards

    def step(self, graph: DeviceGraph, rules: DeviceRules, lanes: Lanes, number: int) -> Traversal:
        """Return a traversal of each walk, made with its random word of this number."""
        word = draw(lanes.keys, number)
        board, rest = rules.choose(graph.by_pin, lanes.at, word, lanes.times)
        pin, rest = rules.choose(graph.by_board, board.long(), rest, lanes.times)
        return Traversal(board, pin, rest, lanes.walking, None)

    def _visits(self, request: Request) -> Tensor:
        """Return the pins visited, [B, V] in the graph's dtype: all first visits, then all second.

        Where there is no visit, or one to the seed itself, stands P, which is no pin.
        """
        graph, seeds = request.graph, request.seeds
        length, walks = self.sampler.walk_length, self.sampler.num_walks
        visits = graph.by_board.neighbors.new_full((len(seeds), length, walks), graph.num_pins)
        place = torch.arange(walks, device=graph.device).expand(len(seeds), walks)
        for step, made in enumerate(self._traversals(request)):
            counts = made.walking & (made.pins != seeds[:, None])
            pins = torch.where(counts, made.pins, graph.num_pins)
            if made.proposals is not None:  # the kernel walks those on first that it accepts first
                order = (made.proposals * walks + place).argsort(dim=1)
                pins, place = pins.gather(1, order), order.argsort(dim=1)
            visits[:, step] = pins
        return visits.flatten(1)

    def _traversals(self, request: Request) -> Iterator[Traversal]:
        """Yield the traversals of all walks, [B, W], step by step.

        A walk that has ended goes on all the same, and one that cannot start starts elsewhere: what
        they meet is masked, and every place that is read exists.
        """
        graph, seeds, times, key = request
        rules = self.rules(graph)
        if not graph.num_edges:
            return
        go_on = round((1 - self.sampler.restart_probability) * 2**53)
        shape = len(seeds), self.sampler.num_walks
        starts = rules.can_start(graph.by_pin, seeds, times)
        elsewhere = graph.by_board.neighbors[0].long()
        lanes = Lanes(
            keys=draw(draw(key, seeds)[:, None], torch.arange(shape[1], device=graph.device)),
            previous=None,
            at=torch.where(starts, seeds, elsewhere)[:, None].expand(shape),
            walking=starts[:, None].expand(shape),
            times=None if times is None else times[:, None],
        )
        for step in range(self.sampler.walk_length):
            made = self.step(graph, rules, lanes, step)
            yield made
            lanes = lanes._replace(
                previous=lanes.at,
                at=made.pins.long(),
                walking=made.walking & (shift_right(made.rests, 11) < go_on),
            )


class FirstOrder(WalkMethod):
    """Follows `PinSAGESampler`."""

    sampler: PinSAGESampler | Node2VecSampler

    @property
    def weighted(self) -> bool:
        """Whether edges are chosen by weight."""
        return self.sampler.weighted

    def rules(self, graph: DeviceGraph) -> DeviceRules:
        """Return uniform or weighted steps."""
        if not self.weighted:
            return DeviceRules(uniform, with_edge)
        if graph.by_pin.alias is None:
            raise PinGraphError("weighted walks need DeviceGraph.from_graph(…, weighted=True)")
        return DeviceRules(weighted, with_edge)


class InTime(WalkMethod):
    """Follows `TemporalSampler`."""

    timed = True

    def rules(self, graph: DeviceGraph) -> DeviceRules:
        """Return steps over older edges."""
        _edge_times(graph)
        return DeviceRules(earlier, with_early_edge)

    def own_times(self, graph: DeviceGraph, seeds: Tensor) -> Tensor:
        """Return for each seed the time just after its newest edge, or the end of all time."""
        times = _edge_times(graph)
        if not graph.num_edges:
            return torch.full_like(seeds, NO_TIME)
        last = graph.by_pin.offsets[seeds + 1] - 1
        newest = times[last.clamp(min=0)]
        known = with_edge(graph.by_pin, seeds, None) & (newest < NO_TIME)
        return torch.where(known, newest + 1, NO_TIME)


def _edge_times(graph: DeviceGraph) -> Tensor:
    if graph.by_pin.in_time is None:
        raise PinGraphError("walks in time need DeviceGraph.from_graph(…, timed=True)")
    return graph.by_pin.in_time[1]
