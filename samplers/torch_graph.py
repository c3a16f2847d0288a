"""The graph in the memory of a GPU: copied there once, read by all samplers on tensors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pingraph.errors import PinGraphError
from pingraph.samplers.keeping import kept_with
from pingraph.samplers.ppr import sides_of
from pingraph.samplers.tables import by_weight, in_time_order
from pingraph.samplers.torch_mates import Mates, mates_of

if TYPE_CHECKING:
    from pingraph.build import Csr
    from pingraph.graph import PinBoardGraph


@dataclass(frozen=True, kw_only=True, eq=False)
class DeviceRows:
    """The neighbors of all nodes of one side, N nodes and E edges."""

    offsets: Tensor  # int64 [N + 1]
    neighbors: Tensor  # int32 or int64 [E], as in the graph
    longest: int  # neighbors of a node at most
    alias: tuple[Tensor, Tensor] | None  # the tables of `pingraph.samplers.alias`, int32 [E] each
    in_time: tuple[Tensor, Tensor] | None  # neighbors and their times, int64 [E], oldest first
    weights: Tensor | None  # float32 [E]
    weight_sums: Tensor | None  # float64 [N]


@dataclass(frozen=True, kw_only=True, eq=False)
class DeviceGraph:
    """What samplers read of a `PinBoardGraph`, in the memory of a device."""

    by_pin: DeviceRows  # the boards of the pins
    by_board: DeviceRows  # the pins of the boards
    mean_weight: float  # of an edge; 1 without weights

    @classmethod
    def from_graph(
        cls,
        graph: PinBoardGraph,
        device: str = "cuda",
        *,
        weighted: bool = False,
        timed: bool = False,
    ) -> DeviceGraph:
        """Copy a graph to a device: 8 bytes a node and 8 an edge (16 with int64 neighbors).

        Args:
            graph: it may be memory-mapped.
            device: "cuda", "cuda:1", …, or "cpu".
            weighted: with what samplers by edge weight need, 24 bytes an edge and 8 a node more.
            timed: with what walks in time need, 24 bytes an edge more (32).

        Raises:
            PinGraphError: it is no such device, this machine lacks it, or the graph lacks weights
                or times.
        """
        home = _device_at_hand(device)
        alias = kept_with(graph, by_weight) if weighted else None
        ordered = kept_with(graph, in_time_order) if timed else None
        sums: list = [side[3] for side in sides_of(graph, True)] if weighted else [None, None]

        def pair(one: np.ndarray, other: np.ndarray) -> tuple[Tensor, Tensor]:
            return torch.tensor(one, device=home), torch.tensor(other, device=home)

        def rows(csr: Csr, alias: Any, in_time: Any, sums: Any) -> DeviceRows:
            return DeviceRows(
                offsets=torch.tensor(csr.offsets, device=home),
                neighbors=torch.tensor(csr.neighbors, device=home),
                longest=int(np.diff(csr.offsets).max(initial=0)),
                alias=alias and pair(*(table.view(np.int32) for table in alias)),
                in_time=in_time and pair(*in_time),
                weights=torch.tensor(csr.weights, device=home) if weighted else None,
                weight_sums=torch.tensor(sums, device=home) if weighted else None,
            )

        return cls(
            by_pin=rows(
                graph.by_pin,
                alias and alias[:2],
                ordered and (ordered.pin_boards, ordered.pin_times),
                sums[0],
            ),
            by_board=rows(
                graph.by_board,
                alias and alias[2:],
                ordered and (ordered.board_pins, ordered.board_times),
                sums[1],
            ),
            mean_weight=float(sums[0].sum() / graph.num_edges)
            if weighted and graph.num_edges
            else 1.0,
        )

    @property
    def num_pins(self) -> int:
        """Number of pins P."""
        return len(self.by_pin.offsets) - 1

    @property
    def num_edges(self) -> int:
        """Number of edges E."""
        return len(self.by_pin.neighbors)

    @property
    def device(self) -> torch.device:
        """Where the arrays are."""
        return self.by_pin.offsets.device

    @cached_property
    def mates(self) -> Mates:
        """The boards with mates; made when first asked for, 16 bytes a pin and 12 an edge more."""
        return mates_of(self.by_pin, self.by_board)


def resident(graph: PinBoardGraph, device: str, weighted: bool, timed: bool) -> DeviceGraph:
    """Return the copy of the graph on the device: one for all samplers, as long as it lives."""
    return kept_with(graph, _copied, device, weighted, timed)


def _copied(graph: PinBoardGraph, device: str, weighted: bool, timed: bool) -> DeviceGraph:
    return DeviceGraph.from_graph(graph, device, weighted=weighted, timed=timed)


def known_device(name: str) -> torch.device:
    """Return the device of this name, be it here or not."""
    try:
        device = torch.device(name)
        known = device.type in ("cpu", "cuda")
    except (RuntimeError, TypeError):
        known = False
    if not known:
        raise PinGraphError(f"device is {name!r}; expected 'cuda', 'cuda:N' or 'cpu'")
    return device


def _device_at_hand(name: str) -> torch.device:
    device = known_device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise PinGraphError(f"device is {name!r}; torch finds {torch.cuda.device_count()} GPUs")
    return device
