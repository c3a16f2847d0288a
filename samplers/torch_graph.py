"""The graph in the memory of a GPU: copied there once, read by all samplers on tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pingraph.errors import PinGraphError
from pingraph.samplers.keeping import kept_with
from pingraph.samplers.tables import by_weight

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph


@dataclass(frozen=True, kw_only=True, eq=False)
class DeviceRows:
    """The neighbors of all nodes of one side, N nodes and E edges."""

    offsets: Tensor  # int64 [N + 1]
    neighbors: Tensor  # int32 or int64 [E], as in the graph
    alias: tuple[Tensor, Tensor] | None  # the tables of `pingraph.samplers.alias`, int32 [E] each


@dataclass(frozen=True, kw_only=True, eq=False)
class DeviceGraph:
    """The structure of a `PinBoardGraph` in the memory of a device, without ids and times."""

    by_pin: DeviceRows  # the boards of the pins
    by_board: DeviceRows  # the pins of the boards

    @classmethod
    def from_graph(
        cls, graph: PinBoardGraph, device: str = "cuda", *, weighted: bool = False
    ) -> DeviceGraph:
        """Copy a graph to a device: 8 bytes a node and 8 an edge (16 with int64 neighbors).

        Args:
            graph: it may be memory-mapped.
            device: "cuda", "cuda:1", …, or "cpu".
            weighted: with what walks by edge weight need, 16 bytes an edge more.

        Raises:
            PinGraphError: it is no such device, this machine lacks it, or the graph lacks weights.
        """
        home = _device_at_hand(device)
        tables: list = [None, None]
        if weighted:
            found = [
                torch.tensor(t.view(np.int32), device=home) for t in kept_with(graph, by_weight)
            ]
            tables = [tuple(found[:2]), tuple(found[2:])]
        by_pin, by_board = (
            DeviceRows(
                offsets=torch.tensor(csr.offsets, device=home),
                neighbors=torch.tensor(csr.neighbors, device=home),
                alias=alias,
            )
            for csr, alias in zip((graph.by_pin, graph.by_board), tables, strict=True)
        )
        return cls(by_pin=by_pin, by_board=by_board)

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


def resident(graph: PinBoardGraph, device: str, weighted: bool) -> DeviceGraph:
    """Return the copy of the graph on the device: one for all samplers, as long as it lives."""
    return kept_with(graph, _copied, device, weighted)


def _copied(graph: PinBoardGraph, device: str, weighted: bool) -> DeviceGraph:
    return DeviceGraph.from_graph(graph, device, weighted=weighted)


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
