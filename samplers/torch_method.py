"""What `DeviceSampler` asks of each sampler that it can follow on tensors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

    from pingraph.samplers.torch_graph import DeviceGraph


class Request(NamedTuple):
    """What is asked for in one turn; all tensors but the key are on the device of the graph."""

    graph: DeviceGraph
    seeds: Tensor  # int64 [B]
    times: Tensor | None  # int64 [B], of the seeds
    key: Tensor  # int64 of no dimensions, the bits of the call's key


class Method(ABC):
    """How one kind of sampler does its work on tensors, with settings of its own."""

    timed = False  # whether seeds have times, and edges must have some

    def __init__(self, sampler: Any, memory: int):
        self.sampler, self.memory = sampler, memory  # bytes

    @property
    def weighted(self) -> bool:
        """Whether edges must have weights."""
        return False

    def own_times(self, graph: DeviceGraph, seeds: Tensor) -> Tensor:
        """Return the times of seeds, int64 [B], that nobody has given: of `timed` samplers.

        Raises:
            PinGraphError: the graph was copied without its times.
        """
        raise NotImplementedError

    @abstractmethod
    def seed_bytes(self, graph: DeviceGraph) -> int:
        """Return the memory that a seed takes at most, beside the graph and the result."""

    @abstractmethod
    def rank(self, request: Request, ids: Tensor, scores: Tensor) -> None:
        """Write the neighbors of each seed, best first, as the kernel does.

        Args:
            request: the seeds.
            ids: int64 [B, k], filled with -1.
            scores: float32 [B, k], filled with 0.

        Raises:
            PinGraphError: the graph was copied without what is needed.
        """
