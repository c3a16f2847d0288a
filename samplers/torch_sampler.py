"""Samplers on a GPU: the settings are those of a sampler on the CPU, and so is what they find."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pingraph.errors import PinGraphError
from pingraph.interfaces import Neighbors, Sampler, Walks
from pingraph.samplers.co_board import CoBoardSampler
from pingraph.samplers.node2vec import Node2VecSampler
from pingraph.samplers.pinsage import PinSAGESampler
from pingraph.samplers.pixie import PixieSampler, flat_queries, step_budgets
from pingraph.samplers.ppr import PPRSampler
from pingraph.samplers.requests import check_seeds, check_whole
from pingraph.samplers.temporal import TemporalSampler
from pingraph.samplers.torch_co_board import CoBoard
from pingraph.samplers.torch_graph import DeviceGraph, known_device, resident
from pingraph.samplers.torch_method import Method, Request
from pingraph.samplers.torch_neighbors import DeviceNeighbors
from pingraph.samplers.torch_pixie import STEP_BYTES, Pixie, Queries, query_turns
from pingraph.samplers.torch_ppr import PageRank
from pingraph.samplers.torch_requests import (
    call_key,
    check_seed_tensor,
    check_time_tensor,
    time_tensor,
)
from pingraph.samplers.torch_second_order import SecondOrder
from pingraph.samplers.torch_walks import FirstOrder, InTime, WalkMethod

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph

_METHODS: dict[type, type[Method]] = {
    PinSAGESampler: FirstOrder,
    TemporalSampler: InTime,
    Node2VecSampler: SecondOrder,
    CoBoardSampler: CoBoard,
    PPRSampler: PageRank,
    PixieSampler: Pixie,
}


@dataclass(frozen=True, kw_only=True)
class DeviceSampler:
    """A sampler on a GPU: the same neighbors, weights, scores and walks, bit for bit.

    `sample` and `walk` take and give NumPy arrays, as every sampler; a graph is copied to the
    device when it is first seen, and stays there as long as it lives. `sample_tensors` and
    `walk_tensors` stay on the device. A GPU needs many seeds a call to be faster than a CPU:
    thousands rather than hundreds.

    Args:
        sampler: the settings; its `num_threads` have no meaning here. A `PinSAGESampler`,
            `TemporalSampler`, `Node2VecSampler`, `CoBoardSampler`, `PPRSampler`, or a
            `PixieSampler` without a bias.
        device: "cuda", "cuda:1", …, or "cpu" (to try things out: the kernels are much faster).
        memory: bytes for the work of a call, beside the graph and the result. Seeds beyond it wait
            for their turn; it does not change the result. One seed at a time is the least.

    Raises:
        PinGraphError: an argument is of another kind or out of its range.
    """

    sampler: Sampler
    device: str = "cuda"
    memory: int = 2**30

    def __post_init__(self) -> None:
        if type(self.sampler) not in _METHODS:
            *names, last = (kind.__name__ for kind in _METHODS)
            raise PinGraphError(
                f"sampler is {self.sampler!r}, which runs on the CPU only; "
                f"expected {', '.join(names)} or {last}"
            )
        if isinstance(self.sampler, PixieSampler) and self.sampler.bias is not None:
            raise PinGraphError(f"bias is {self.sampler.bias!r}, which runs on the CPU only")
        known_device(self.device)
        check_whole("memory", self.memory, least=1, most=2**63 - 1)

    def sample(
        self,
        graph: PinBoardGraph,
        seeds: np.ndarray,
        *,
        seed: int,
        epoch: int = 0,
        times: Any = None,
    ) -> Neighbors:
        """Return what the sampler returns; arguments and errors are the same.

        Args:
            graph: a graph with all that the sampler needs.
            seeds: int [B], dense pin indices; repeats are allowed.
            seed: the random seed, 0 to 2⁶⁴ - 1.
            epoch: another epoch gives fresh walks; 0 to 2⁶⁴ - 1.
            times: int [B], for a `TemporalSampler` alone, see there.

        Raises:
            PinGraphError: also if this machine lacks the device, or there are times and the sampler
                takes none.
        """
        seeds, request = self._arrays(graph, seeds, times, seed, epoch)
        ids, scores = self._sample(request)
        return Neighbors.from_scores(
            seeds=seeds, ids=ids.cpu().numpy(), scores=scores.cpu().numpy()
        )

    def walk(
        self,
        graph: PinBoardGraph,
        seeds: np.ndarray,
        *,
        seed: int,
        epoch: int = 0,
        times: Any = None,
    ) -> Walks:
        """Return the walks that `sample` counts; arguments and errors are those of `sample`.

        Raises:
            PinGraphError: also if the sampler has no walks to give.
        """
        seeds, request = self._arrays(graph, seeds, times, seed, epoch)
        pins, boards = self._walk(request)
        return Walks(seeds=seeds, pins=pins.cpu().numpy(), boards=boards.cpu().numpy())

    def sample_tensors(
        self,
        graph: DeviceGraph,
        seeds: Tensor,
        *,
        seed: int,
        epoch: int = 0,
        times: Tensor | None = None,
    ) -> DeviceNeighbors:
        """Return the neighbors as tensors of the device on which the graph is.

        Args:
            graph: where to walk.
            seeds: int64 [B] on any device, dense pin indices; repeats are allowed. Those on the
                device are checked there, and the call waits for it.
            seed: the random seed, 0 to 2⁶⁴ - 1.
            epoch: another epoch gives fresh walks; 0 to 2⁶⁴ - 1.
            times: int64 [B] on any device, for a `TemporalSampler` alone, see there.

        Raises:
            PinGraphError: a seed is not a pin of the graph, an argument is out of its range, the
                graph was copied without what the sampler needs, or there are times and the sampler
                takes none.
        """
        request = self._tensors(graph, seeds, times, seed, epoch)
        ids, scores = self._sample(request)
        return DeviceNeighbors.from_scores(seeds=request.seeds, ids=ids, scores=scores)

    def walk_tensors(
        self,
        graph: DeviceGraph,
        seeds: Tensor,
        *,
        seed: int,
        epoch: int = 0,
        times: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the walks whose visits `sample_tensors` counts: (pins, boards).

        Arguments and errors are those of `sample_tensors`.

        Returns:
            pins [B, W, L + 1], where pins[:, :, 0] are the seeds, and boards [B, W, L], in the
            dtypes of the graph's neighbors; -1 after a walk's end.

        Raises:
            PinGraphError: also if the sampler has no walks to give.
        """
        return self._walk(self._tensors(graph, seeds, times, seed, epoch))

    def recommend(
        self,
        graph: PinBoardGraph,
        queries: Sequence[tuple[Any, Any]],
        *,
        seed: int,
        epoch: int = 0,
    ) -> Neighbors:
        """Return what `PixieSampler.recommend` returns; arguments and errors are the same.

        Raises:
            PinGraphError: also if this machine lacks the device, or the sampler is another.
        """
        method, key = self._method, call_key(seed, epoch)
        if not isinstance(method, Pixie):
            kind = type(self.sampler).__name__
            raise PinGraphError(f"{kind} takes no queries; expected a PixieSampler for them")
        pins, weights, offsets = flat_queries(graph, queries)
        steps = step_budgets(graph, pins, weights, offsets, method.sampler.num_steps)
        on_device = resident(graph, self.device, method.weighted, method.timed)
        ids, scores = self._empty(len(queries), on_device)
        for rows in query_turns(steps, offsets, self.memory // STEP_BYTES):
            part = slice(offsets[rows.start], offsets[rows.stop])
            sizes = np.diff(offsets[rows.start : rows.stop + 1])
            arrays = pins[part], steps[part], np.repeat(np.arange(len(sizes)), sizes)
            tensors = (torch.from_numpy(array).to(on_device.device) for array in arrays)
            method.recommend(on_device, Queries(*tensors), key, ids[rows], scores[rows])
        leads = np.where(np.diff(offsets) > 0, np.append(pins, -1)[offsets[:-1]], -1)
        return Neighbors.from_scores(
            seeds=leads, ids=ids.cpu().numpy(), scores=scores.cpu().numpy()
        )

    @property
    def _method(self) -> Method:
        return _METHODS[type(self.sampler)](self.sampler, self.memory)

    def _arrays(
        self, graph: PinBoardGraph, seeds: Any, times: Any, seed: int, epoch: int
    ) -> tuple[np.ndarray, Request]:
        """Return the seeds, checked, and the request; a graph is copied where it is not yet."""
        seeds = check_seeds(graph, seeds)
        key, method = call_key(seed, epoch), self._method
        on_device = resident(graph, self.device, method.weighted, method.timed)
        given = time_tensor(seeds, times)
        return seeds, self._request(on_device, torch.from_numpy(seeds), given, key)

    def _tensors(
        self, graph: DeviceGraph, seeds: Tensor, times: Tensor | None, seed: int, epoch: int
    ) -> Request:
        check_seed_tensor(graph, seeds)
        check_time_tensor(seeds, times)
        return self._request(graph, seeds, times, call_key(seed, epoch))

    def _request(
        self, graph: DeviceGraph, seeds: Tensor, times: Tensor | None, key: Tensor
    ) -> Request:
        method, seeds = self._method, seeds.to(graph.device)
        if times is not None and not method.timed:
            kind = type(self.sampler).__name__
            raise PinGraphError(f"times are given to {kind}; expected a TemporalSampler for them")
        if method.timed:
            times = method.own_times(graph, seeds) if times is None else times.to(graph.device)
        return Request(graph, seeds, times, key)

    def _sample(self, request: Request) -> tuple[Tensor, Tensor]:
        """Return ids, int64 [B, k], and scores, float32 [B, k]."""
        method = self._method
        ids, scores = self._empty(len(request.seeds), request.graph)
        for rows, part in self._turns(request):
            method.rank(part, ids[rows], scores[rows])
        return ids, scores

    def _empty(self, rows: int, graph: DeviceGraph) -> tuple[Tensor, Tensor]:
        shape = rows, self._method.sampler.k
        ids = torch.full(shape, -1, dtype=torch.int64, device=graph.device)
        return ids, torch.zeros(shape, dtype=torch.float32, device=graph.device)

    def _walk(self, request: Request) -> tuple[Tensor, Tensor]:
        method = self._method
        if not isinstance(method, WalkMethod):
            kind = type(self.sampler).__name__
            raise PinGraphError(f"{kind} has no walks to give; it samples neighbors only")
        graph, sampler = request.graph, method.sampler
        shape = len(request.seeds), sampler.num_walks, sampler.walk_length
        pins = graph.by_board.neighbors.new_empty((*shape[:2], shape[2] + 1))
        boards = graph.by_pin.neighbors.new_empty(shape)
        for rows, part in self._turns(request):
            pins[rows], boards[rows] = method.trace(part)
        return pins, boards

    def _turns(self, request: Request) -> Iterator[tuple[slice, Request]]:
        """Yield the seeds in parts whose work fits into the memory, and which they are."""
        graph, seeds, times, key = request
        size = max(1, self.memory // self._method.seed_bytes(graph))
        for start in range(0, len(seeds), size):
            rows = slice(start, start + size)
            yield rows, Request(graph, seeds[rows], None if times is None else times[rows], key)
