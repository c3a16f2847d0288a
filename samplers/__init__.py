"""Samplers: from a graph and seed pins to the neighbors of each, by random walks."""

from pingraph.samplers.pinsage import PinSAGESampler

__all__ = ["PinSAGESampler"]
