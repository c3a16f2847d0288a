"""Samplers: from a graph and seed pins to the neighbors of each, by random walks."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pingraph.samplers.cache import CachedSampler
from pingraph.samplers.checking import CheckResult, Report, check
from pingraph.samplers.co_board import CoBoardSampler
from pingraph.samplers.count_min import CountMinSketch
from pingraph.samplers.hard_negatives import WalkRankNegatives
from pingraph.samplers.mixture import MixtureSampler
from pingraph.samplers.multi_graph import MultiGraphSampler
from pingraph.samplers.negatives import PopularityNegatives, UniformNegatives
from pingraph.samplers.node2vec import Node2VecSampler
from pingraph.samplers.pinsage import PinSAGESampler
from pingraph.samplers.pixie import PixieSampler
from pingraph.samplers.ppr import PPRSampler, exact_ppr
from pingraph.samplers.recording import RecordedSampler, record
from pingraph.samplers.temporal import TemporalSampler
from pingraph.samplers.walk import WalkSampler

if TYPE_CHECKING:
    from pingraph.samplers.torch_graph import DeviceGraph
    from pingraph.samplers.torch_sampler import DeviceSampler

__all__ = [
    "CachedSampler",
    "CheckResult",
    "CoBoardSampler",
    "CountMinSketch",
    "DeviceGraph",
    "DeviceSampler",
    "MixtureSampler",
    "MultiGraphSampler",
    "Node2VecSampler",
    "PPRSampler",
    "PinSAGESampler",
    "PixieSampler",
    "PopularityNegatives",
    "RecordedSampler",
    "Report",
    "TemporalSampler",
    "UniformNegatives",
    "WalkRankNegatives",
    "WalkSampler",
    "check",
    "exact_ppr",
    "record",
]

_WITH_TORCH = {
    "DeviceGraph": "torch_graph",
    "DeviceSampler": "torch_sampler",
}


def __getattr__(name: str) -> Any:
    """Import what needs torch when it is first used."""
    if name not in _WITH_TORCH:
        raise AttributeError(f"module 'pingraph.samplers' has no attribute {name!r}")
    return getattr(import_module(f"pingraph.samplers.{_WITH_TORCH[name]}"), name)
