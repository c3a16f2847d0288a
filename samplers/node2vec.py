"""Second-order walks: where a walk goes depends on where it was, as in node2vec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pingraph.errors import PinGraphError
from pingraph.samplers.hooks import Second, Uniform
from pingraph.samplers.keeping import kept_with
from pingraph.samplers.tables import by_weight, structure
from pingraph.samplers.walking import Rules, WalkingSampler

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph


@dataclass(frozen=True, kw_only=True)
class Node2VecSampler(WalkingSampler):
    """The pins that second-order walks from a pin visit most; `walk` gives the walks themselves.

    node2vec weighs a step from v to x, of a walk that came from t, by the distance of t and x. In a
    bipartite graph two nodes of one side are never at distance 1, and its two parameters become
    one. So here a step is a whole traversal pin → board → pin, and pins are neighbors if they share
    a board: the walk is node2vec's on the graph of pins in which the edge from v to x has the
    weight Σ 1 / (pins of b) over the boards b that hold both, loops included. The probability of a
    traversal from v to x, as of `PinSAGESampler`, is multiplied by

        1 / return_parameter    if x is t,
        1                       if x shares a board with t,
        1 / in_out_parameter    otherwise,

    and normalized over x. The first traversal of a walk is not weighed. With both parameters 1 the
    walks are those of `PinSAGESampler`. A traversal is proposed, and accepted with the ratio of its
    weight to the highest one (rejection sampling, as in KnightKing, SOSP 2019); a walk ends after
    1,000 proposals that were not accepted. So extreme parameters cost time: the highest weight over
    the mean one is the number of proposals.

    Source: Grover and Leskovec, node2vec, KDD 2016 (arXiv 1607.00653), section 3.2.

    Args:
        k: neighbors of a seed, at most.
        num_walks: walks from each seed.
        walk_length: traversals pin → board → pin of a walk, at most.
        restart_probability: in [0, 1), the probability to stop after a traversal.
        num_threads: threads that share the seeds of a call. It does not change the result.
        return_parameter: p, above 0; a high one keeps a walk from going back.
        in_out_parameter: q, above 0; a high one keeps a walk near where it was.
        weighted: choose edges in proportion to their weights before all this.

    Raises:
        PinGraphError: an argument is out of its range; names the argument and the value.
    """

    walk_length: int = 4
    restart_probability: float = 0.0
    return_parameter: float = 1.0
    in_out_parameter: float = 1.0
    weighted: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("return_parameter", "in_out_parameter"):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not 1e-6 <= value <= 1e6:
                raise PinGraphError(f"{name} is {value!r}; expected a number from 1e-06 to 1e+06")

    def rules(self, graph: PinBoardGraph) -> Rules:
        """Return the steps and what of them is accepted."""
        step = kept_with(graph, by_weight) if self.weighted else Uniform()
        return Rules(structure(graph), step, self.acceptance())

    def acceptance(self) -> Second | None:
        """Return how likely a traversal is accepted, by where it leads; None if it always is."""
        worth = 1 / self.return_parameter, 1.0, 1 / self.in_out_parameter
        return Second(*(weight / max(worth) for weight in worth)) if len(set(worth)) > 1 else None
