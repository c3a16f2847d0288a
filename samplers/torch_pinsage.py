"""PinSAGE neighbors on a GPU: the visits of a batch are sorted, where the CPU kernel hashes them.

Letters: B seeds, k neighbors, W walks of a seed, L traversals of a walk at most, V = L · W visits;
P pins of the graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pingraph.errors import PinGraphError
from pingraph.interfaces import Neighbors, Walks
from pingraph.samplers.pinsage import PinSAGESampler
from pingraph.samplers.requests import check_seeds, check_whole
from pingraph.samplers.torch_graph import DeviceGraph, known_device, resident
from pingraph.samplers.torch_walks import call_key, check_seed_tensor, trace, traversals

if TYPE_CHECKING:
    import numpy as np

    from pingraph.graph import PinBoardGraph

_WALK_BYTES, _VISIT_BYTES = 128, 96  # at most; on CPU tensors the peak is 0.7 of it


@dataclass(frozen=True, kw_only=True)
class DeviceNeighbors:
    """`pingraph.interfaces.Neighbors` as tensors of one device: same fields, same rules."""

    seeds: Tensor  # int64 [B]
    ids: Tensor  # int64 [B, k]
    weights: Tensor  # float32 [B, k]
    scores: Tensor  # float32 [B, k]
    mask: Tensor  # bool [B, k]


@dataclass(frozen=True, kw_only=True)
class DeviceSampler:
    """`PinSAGESampler` on a GPU: the same neighbors, weights, scores and walks, bit for bit.

    `sample` and `walk` take and give NumPy arrays, as every sampler; a graph is copied to the
    device when it is first seen, and stays there as long as it lives. `sample_tensors` and
    `walk_tensors` stay on the device. A GPU needs many seeds a call to be faster than a CPU:
    thousands rather than hundreds.

    Args:
        sampler: the settings; its `num_threads` have no meaning here.
        device: "cuda", "cuda:1", …, or "cpu" (to try things out: the kernels are much faster).
        memory: bytes for the walks of a call, beside the graph and the result. Seeds beyond it wait
            for their turn; it does not change the result. One seed at a time is the least.

    Raises:
        PinGraphError: an argument is of another kind or out of its range.
    """

    sampler: PinSAGESampler
    device: str = "cuda"
    memory: int = 2**30

    def __post_init__(self) -> None:
        if not isinstance(self.sampler, PinSAGESampler):
            raise PinGraphError(f"sampler is {self.sampler!r}; expected a PinSAGESampler")
        known_device(self.device)
        check_whole("memory", self.memory, least=1, most=2**63 - 1)

    def sample(
        self, graph: PinBoardGraph, seeds: np.ndarray, *, seed: int, epoch: int = 0
    ) -> Neighbors:
        """Return what `PinSAGESampler.sample` returns; arguments and errors are the same.

        Raises:
            PinGraphError: also if this machine lacks the device.
        """
        seeds, key = check_seeds(graph, seeds), call_key(seed, epoch)
        ids, scores = self._sample(self._resident(graph), torch.from_numpy(seeds), key)
        return Neighbors.from_scores(
            seeds=seeds, ids=ids.cpu().numpy(), scores=scores.cpu().numpy()
        )

    def walk(self, graph: PinBoardGraph, seeds: np.ndarray, *, seed: int, epoch: int = 0) -> Walks:
        """Return what `PinSAGESampler.walk` returns; arguments and errors are those of `sample`."""
        seeds, key = check_seeds(graph, seeds), call_key(seed, epoch)
        pins, boards = self._walk(self._resident(graph), torch.from_numpy(seeds), key)
        return Walks(seeds=seeds, pins=pins.cpu().numpy(), boards=boards.cpu().numpy())

    def sample_tensors(
        self, graph: DeviceGraph, seeds: Tensor, *, seed: int, epoch: int = 0
    ) -> DeviceNeighbors:
        """Return the neighbors as tensors of the device on which the graph is.

        The call waits for the device once, to check seeds that are there; not if they are on the
        CPU.

        Args:
            graph: where to walk.
            seeds: int64 [B] on any device, dense pin indices; repeats are allowed.
            seed: the random seed, 0 to 2⁶⁴ - 1.
            epoch: another epoch gives fresh walks; 0 to 2⁶⁴ - 1.

        Raises:
            PinGraphError: a seed is not a pin of the graph, an argument is out of its range, or the
                walks are weighted and the graph was copied without its weights.
        """
        check_seed_tensor(graph, seeds)
        ids, scores = self._sample(graph, seeds, call_key(seed, epoch))
        total = scores.sum(dim=1, keepdim=True, dtype=torch.float64)
        weights = (scores / torch.where(total > 0, total, 1)).float()
        seeds = seeds.to(graph.device)
        return DeviceNeighbors(seeds=seeds, ids=ids, weights=weights, scores=scores, mask=ids >= 0)

    def walk_tensors(
        self, graph: DeviceGraph, seeds: Tensor, *, seed: int, epoch: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Return the walks whose visits `sample_tensors` counts: (pins, boards).

        Arguments and errors are those of `sample_tensors`.

        Returns:
            pins [B, W, L + 1], where pins[:, :, 0] are the seeds, and boards [B, W, L], in the
            dtypes of the graph's neighbors; -1 after a walk's end.
        """
        check_seed_tensor(graph, seeds)
        return self._walk(graph, seeds, call_key(seed, epoch))

    def _sample(self, graph: DeviceGraph, seeds: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """Return ids, int64 [B, k], and scores, float32 [B, k]."""
        shape = len(seeds), self.sampler.k
        ids = torch.full(shape, -1, dtype=torch.int64, device=graph.device)
        scores = torch.zeros(shape, dtype=torch.float32, device=graph.device)
        for rows, part in self._turns(seeds.to(graph.device)):
            _rank(_visits(graph, part, self.sampler, key), graph.num_pins, ids[rows], scores[rows])
        return ids, scores

    def _walk(self, graph: DeviceGraph, seeds: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        shape = len(seeds), self.sampler.num_walks, self.sampler.walk_length
        pins = graph.by_board.neighbors.new_empty((*shape[:2], shape[2] + 1))
        boards = graph.by_pin.neighbors.new_empty(shape)
        for rows, part in self._turns(seeds.to(graph.device)):
            pins[rows], boards[rows] = trace(graph, part, self.sampler, key)
        return pins, boards

    def _turns(self, seeds: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yield the seeds in parts whose walks fit into the memory, and which they are."""
        visit_bytes = _VISIT_BYTES * self.sampler.walk_length
        size = max(1, self.memory // (self.sampler.num_walks * (_WALK_BYTES + visit_bytes)))
        for start in range(0, len(seeds), size):
            rows = slice(start, start + size)
            yield rows, seeds[rows]

    def _resident(self, graph: PinBoardGraph) -> DeviceGraph:
        return resident(graph, self.device, self.sampler.weighted)


def _visits(graph: DeviceGraph, seeds: Tensor, settings: PinSAGESampler, key: Tensor) -> Tensor:
    """Return the pins visited, [B, V] in the graph's dtype: all first visits, then all second ones.

    Where there is no visit, or one to the seed itself, stands P, which is no pin.
    """
    shape = len(seeds), settings.walk_length, settings.num_walks
    visits = graph.by_board.neighbors.new_full(shape, graph.num_pins)
    for step, (_, pin, walking) in enumerate(traversals(graph, seeds, settings, key)):
        counts = walking & (pin != seeds[:, None])
        visits[:, step] = torch.where(counts, pin, graph.num_pins)
    return visits.flatten(1)


def _rank(visits: Tensor, no_pin: int, ids: Tensor, scores: Tensor) -> None:
    """Write the pins with the most visits to `ids` and `scores`; of equal ones the first visited.

    On paper: the visits 5 7 7 0 5 are sorted to 0 5 5 7 7, which stood at 3 0 4 1 2 (a stable sort:
    the first of each run is the first visit). At the end of each run its length and its first visit
    make one number, larger for more and for earlier visits: 1 and 3, 2 and 0, 2 and 1. The largest
    are those of 5 and 7.
    """
    total = visits.shape[1]
    width = total.bit_length()
    pins, order = visits.sort(dim=1, stable=True)
    differs = pins[:, 1:] != pins[:, :-1]
    edge = differs.new_ones(len(pins), 1)
    place = torch.arange(total, device=pins.device)
    start = torch.where(torch.cat((edge, differs), dim=1), place, 0).cummax(dim=1).values
    worth = ((place - start + 1) << width) + (total - 1 - order.gather(1, start))
    last = torch.cat((differs, edge), dim=1) & (pins != no_pin)
    best, where = torch.where(last, worth, -1).topk(min(ids.shape[1], total), dim=1)
    columns = slice(0, best.shape[1])
    ids[:, columns] = torch.where(best >= 0, pins.gather(1, where).long(), -1)
    scores[:, columns] = torch.where(best >= 0, best >> width, 0)
