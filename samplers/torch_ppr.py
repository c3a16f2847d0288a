"""PageRank by push on tensors: the pushes of many seeds at once, each sum in the kernel's order.

Floats do not forgive another order of adding. All that arrives at a node in one turn of a side is
sorted into the order in which the kernel's queue sends it, and added up one by one.

Letters: S seeds, N nodes of a side (pins or boards), Q nodes that are pushed, of all seeds, T edges
that mass arrives by, R nodes that it arrives at. A place is seed · N + node.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from pingraph.errors import PinGraphError
from pingraph.samplers.torch_method import Method, Request
from pingraph.samplers.torch_randomness import bits, draw
from pingraph.samplers.torch_sums import in_buckets, running_sums
from pingraph.samplers.torch_tally import write_best

if TYPE_CHECKING:
    from pingraph.samplers.ppr import PPRSampler
    from pingraph.samplers.torch_graph import DeviceGraph, DeviceRows

_EDGE_BYTES = 224  # of an edge that mass arrives by, at most
_LOWEST = -(2**63)  # the bit that makes int64 sort as the uint64 words of the same bits would


@dataclass(frozen=True, kw_only=True, eq=False)
class _Side:
    rows: DeviceRows
    weights: Tensor | None  # float32 [E]
    degrees: Tensor  # float64 [N], sums of the weights or numbers of the edges
    waits: Tensor  # float64 [S · N], the mass that waits to move on
    kept: Tensor | None  # float64 [S · N], the mass that is kept; boards keep none
    restart: float  # the share of what arrives that is kept
    threshold: float  # mass for each unit of degree above which a node is pushed


class _Queue(NamedTuple):
    seeds: Tensor  # int64 [Q], ascending
    nodes: Tensor  # int64 [Q], of each seed in the order in which they are pushed


class PageRank(Method):
    """Follows `PPRSampler`."""

    sampler: PPRSampler

    @property
    def weighted(self) -> bool:
        """Whether edges are chosen by weight."""
        return self.sampler.weighted

    def seed_bytes(self, graph: DeviceGraph) -> int:
        """Return twice the bytes of the masses of a seed: the other half is for the pushes."""
        return 2 * (16 * graph.num_pins + 8 * (len(graph.by_board.offsets) - 1))

    def rank(self, request: Request, ids: Tensor, scores: Tensor) -> None:
        """Write the pins that keep most mass; see `Method.rank`."""
        _keep_best(self.masses(request.graph, request.seeds), request.seeds, ids, scores)

    def masses(self, graph: DeviceGraph, seeds: Tensor) -> Tensor:
        """Return the mass that each pin keeps of each seed's, float64 [S, P]."""
        pins, boards = self._sides(graph, len(seeds))
        rows = torch.arange(len(seeds), device=graph.device)
        pins.waits[rows * graph.num_pins + seeds] = 1.0
        starts = graph.by_pin.offsets[seeds] < graph.by_pin.offsets[seeds + 1]
        starts &= pins.threshold * pins.degrees[seeds] < 1.0
        queue, side, other = _Queue(rows[starts], seeds[starts]), pins, boards
        while len(queue.nodes):
            parts = [_push(side, other, part) for part in self._parts(side, queue)]
            queue = _Queue(*(torch.cat(columns) for columns in zip(*parts, strict=True)))
            side, other = other, side
        assert pins.kept is not None
        return pins.kept.view(len(seeds), graph.num_pins)

    def _sides(self, graph: DeviceGraph, seeds: int) -> tuple[_Side, _Side]:
        if self.weighted and graph.by_pin.weights is None:
            raise PinGraphError("weighted walks need DeviceGraph.from_graph(…, weighted=True)")
        unit = graph.mean_weight if self.weighted else 1.0
        threshold = float(self.sampler.epsilon / 2 / unit)
        restart = float(self.sampler.restart_probability)

        def side(rows: DeviceRows, keeps: bool) -> _Side:
            size = seeds * (len(rows.offsets) - 1)
            degrees = rows.weight_sums if self.weighted else rows.offsets.diff()
            assert degrees is not None
            masses = torch.zeros(2 if keeps else 1, size, dtype=torch.float64, device=graph.device)
            return _Side(
                rows=rows,
                weights=rows.weights if self.weighted else None,
                degrees=degrees.double(),  # times a threshold, integers would become float32
                waits=masses[0],
                kept=masses[1] if keeps else None,
                restart=restart if keeps else 0.0,
                threshold=threshold,
            )

        return side(graph.by_pin, True), side(graph.by_board, False)

    def _parts(self, side: _Side, queue: _Queue) -> Iterator[_Queue]:
        """Yield the queue in parts of whole seeds whose edges fit into half of the memory."""
        room = max(1, self.memory // 2 // _EDGE_BYTES)
        edges = side.rows.offsets[queue.nodes + 1] - side.rows.offsets[queue.nodes]
        last = torch.cat((queue.seeds.diff() != 0, queue.seeds.new_ones(1).bool()))
        totals, ends = edges.cumsum(0)[last].tolist(), (last.nonzero()[:, 0] + 1).tolist()
        start = done = 0
        for i, end in enumerate(ends):
            if i + 1 == len(ends) or totals[i + 1] - done > room:
                yield _Queue(queue.seeds[start:end], queue.nodes[start:end])
                start, done = end, totals[i]


def _push(side: _Side, other: _Side, queue: _Queue) -> _Queue:
    """Push all nodes of the queue at once; return the queue of the other side."""
    offsets, size = side.rows.offsets, len(other.degrees)
    place = queue.seeds * len(side.degrees) + queue.nodes
    share = side.waits[place] / side.degrees[queue.nodes]
    side.waits[place] = 0.0
    first = offsets[queue.nodes]
    counts = offsets[queue.nodes + 1] - first
    pushed = torch.arange(len(place), device=place.device).repeat_interleave(counts)
    edge = torch.arange(len(pushed), device=place.device)
    edge += (first - counts.cumsum(0) + counts)[pushed]
    mass = share[pushed] if side.weights is None else share[pushed] * side.weights[edge]
    at = queue.seeds[pushed] * size + side.rows.neighbors[edge]
    at, order = at.sort(stable=True)
    crossed = _arrive(other, at, mass[order])
    arrivals = order[crossed].sort().values  # nodes are pushed in the order of their crossings
    return _Queue(queue.seeds[pushed[arrivals]], side.rows.neighbors[edge[arrivals]].long())


def _arrive(side: _Side, at: Tensor, mass: Tensor) -> Tensor:
    """Add mass to the nodes of a side; return with which of it nodes rise above their threshold.

    Nodes at which about the same number of masses arrive, up to a factor of 2, are taken together.

    Args:
        side: where it arrives.
        at: int64 [T], the places of the nodes, ascending.
        mass: float64 [T], that of each place in the order of its arrival.
    """
    place, lengths = at.unique_consecutive(return_counts=True)
    starts = lengths.cumsum(0) - lengths
    limits = side.threshold * side.degrees[place % len(side.degrees)]
    keep = side.restart * mass
    wait = mass if side.kept is None else (1.0 - side.restart) * mass
    crossed = []
    for some in in_buckets(lengths):
        here, runs = place[some], (starts[some], lengths[some])
        sums = running_sums(side.waits[here], wait, *runs)
        side.waits[here] = sums[-1]
        if side.kept is not None:
            side.kept[here] = running_sums(side.kept[here], keep, *runs)[-1]
        above = sums > limits[some]
        first = starts[some] + (~above).sum(dim=0) - 1
        crossed.append(first[above[-1]])
    return torch.cat(crossed)


def _keep_best(kept: Tensor, seeds: Tensor, ids: Tensor, scores: Tensor) -> None:
    """Write the pins that keep most, as float32, best first; of equal ones a draw decides."""
    row, pin = kept.float().nonzero().unbind(1)
    other = pin != seeds[row]
    row, pin = row[other], pin[other]
    score = kept[row, pin].float()
    chance = draw(draw(bits(0), seeds[row]), pin) ^ _LOWEST
    order = chance.argsort()
    write_best(row[order], pin[order], score[order], ids, scores)
