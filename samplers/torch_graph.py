"""The graph in the memory of a GPU: copied there once, read by all samplers on tensors."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pingraph.errors import PinGraphError

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph


@dataclass(frozen=True, kw_only=True, eq=False)
class DeviceGraph:
    """The structure of a `PinBoardGraph` in the memory of a device; P pins, B boards, E edges.

    Without ids, weights and times: 16 bytes a node and 8 an edge (16 with int64 neighbors).
    """

    pin_offsets: Tensor  # int64 [P + 1]
    pin_boards: Tensor  # int32 or int64 [E], as in the graph
    board_offsets: Tensor  # int64 [B + 1]
    board_pins: Tensor  # int32 or int64 [E], as in the graph

    @classmethod
    def from_graph(cls, graph: PinBoardGraph, device: str = "cuda") -> DeviceGraph:
        """Copy a graph to a device.

        Args:
            graph: it may be memory-mapped.
            device: "cuda", "cuda:1", …, or "cpu".

        Raises:
            PinGraphError: it is no such device, or this machine lacks it.
        """
        home = _device_at_hand(device)
        return cls(
            pin_offsets=torch.tensor(graph.pin_offsets, device=home),
            pin_boards=torch.tensor(graph.pin_boards, device=home),
            board_offsets=torch.tensor(graph.board_offsets, device=home),
            board_pins=torch.tensor(graph.board_pins, device=home),
        )

    @property
    def num_pins(self) -> int:
        """Number of pins P."""
        return len(self.pin_offsets) - 1

    @property
    def num_edges(self) -> int:
        """Number of edges E."""
        return len(self.pin_boards)

    @property
    def device(self) -> torch.device:
        """Where the arrays are."""
        return self.pin_offsets.device


_RESIDENT: dict[tuple[int, str], DeviceGraph] = {}


def resident(graph: PinBoardGraph, device: str) -> DeviceGraph:
    """Return the copy of the graph on the device: one for all samplers, as long as it lives."""
    key = id(graph), device
    if key not in _RESIDENT:
        _RESIDENT[key] = DeviceGraph.from_graph(graph, device)
        weakref.finalize(graph, _RESIDENT.pop, key, None)
    return _RESIDENT[key]


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
