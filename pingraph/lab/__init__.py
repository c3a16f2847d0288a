"""`pingraph sample`: the lab that compares samplers on a graph, without training."""

from pingraph.lab.compare import compare_samplers

__all__ = ["compare_samplers"]
