"""PinSAGE neighbors: the pins that short random walks from a pin visit most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pingraph.samplers.hooks import Uniform
from pingraph.samplers.keeping import kept_with
from pingraph.samplers.tables import by_weight, structure
from pingraph.samplers.walking import Rules, WalkingSampler

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph


@dataclass(frozen=True, kw_only=True)
class PinSAGESampler(WalkingSampler):
    """The pins that random walks from a pin visit most, weighted by their visits.

    From each seed start `num_walks` walks. A walk moves from its pin to one of the pin's boards and
    from there to one of the board's pins, each chosen uniformly, or by the weights of the edges
    (which may lead back to the pin it came from); after each such traversal it stops with
    probability `restart_probability`, and at the latest after `walk_length` traversals. Each
    traversal is a visit to the pin where it ends. The `k` most visited pins are the neighbors; the
    seed itself is never one of them, though walks pass through it. Of equally visited pins the one
    visited first is kept, where all first traversals, in the order of the walks, come before all
    second ones; so low indices are not favored. The weights are the visits of the kept pins over
    their sum.

    Source: Ying et al., Graph Convolutional Neural Networks for Web-Scale Recommender Systems, KDD
    2018 (arXiv 1806.01973), section 3.2. The paper leaves the walks' number and length open.

    Args:
        k: neighbors of a seed, at most.
        num_walks: walks from each seed.
        walk_length: traversals pin → board → pin of a walk, at most.
        restart_probability: in [0, 1), the probability to stop after a traversal.
        num_threads: threads that share the seeds of a call. It does not change the result.
        weighted: choose edges in proportion to their weights; the graph must have some.

    Raises:
        PinGraphError: an argument is out of its range; names the argument and the value.
    """

    weighted: bool = False

    def rules(self, graph: PinBoardGraph) -> Rules:
        """Return uniform or weighted steps; raises PinGraphError without the weights."""
        return Rules(structure(graph), kept_with(graph, by_weight) if self.weighted else Uniform())
