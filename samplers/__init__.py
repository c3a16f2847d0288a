"""Samplers: from a graph and seed pins to the neighbors of each, by random walks."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pingraph.samplers.pinsage import PinSAGESampler

if TYPE_CHECKING:
    from pingraph.samplers.torch_graph import DeviceGraph
    from pingraph.samplers.torch_pinsage import DeviceSampler
    from pingraph.samplers.torch_walks import walk_tensors

__all__ = ["DeviceGraph", "DeviceSampler", "PinSAGESampler", "walk_tensors"]

_WITH_TORCH = {
    "DeviceGraph": "torch_graph",
    "DeviceSampler": "torch_pinsage",
    "walk_tensors": "torch_walks",
}


def __getattr__(name: str) -> Any:
    """Import what needs torch when it is first used."""
    if name not in _WITH_TORCH:
        raise AttributeError(f"module 'pingraph.samplers' has no attribute {name!r}")
    return getattr(import_module(f"pingraph.samplers.{_WITH_TORCH[name]}"), name)
