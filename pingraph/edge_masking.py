"""The edge-masking curve: what is left of a pin's neighborhood when fewer of its edges are known.

For methods that look at the graph when they embed. An encoder that looks at content alone has a
flat curve. Letters: M pins whose edges are masked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pingraph.errors import PinGraphError
from pingraph.ranking import Scorer, draw_queries, evaluate_task, figures
from pingraph.relevance import retrieval_tasks

if TYPE_CHECKING:
    from pingraph.datasets import PinBoardDataset
    from pingraph.graph import PinBoardGraph
    from pingraph.splits import Split

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


def edge_masking(
    embed: Callable[[PinBoardGraph], Mapping[str, Scorer]],
    dataset: PinBoardDataset,
    split: Split,
    *,
    shares: Sequence[float] = SHARES,
    max_pins: int = 1000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Drop more and more training edges of some warm pins, and evaluate pin → pin for them.

    The edges of all other pins stay, and who is relevant stays too. So the last point, where they
    have no edge, is what the method gives a pin that was never saved.

    Args:
        embed: makes a scorer of "pin_to_pin" from a training graph, which has all pins and boards.
        dataset: the data set.
        split: says which edges training saw.
        shares: of the edges of each of these pins to drop, between 0 and 1; what a larger share
            keeps, a smaller one keeps too.
        max_pins: at most, drawn from the warm pins with a board-mate, and no more than a tenth of
            these, so that the graph around them stays what it was.
        seed: of the draws and the intervals.

    Returns:
        Of each share the "share", "edges" that these pins have left, "queries", and each metric's
        "value" and "ci95".

    Raises:
        PinGraphError: a share is out of its range.
    """
    graph = split.train_graph(dataset.graph)
    task = retrieval_tasks(dataset, split)[0]
    answerable = task.answerable(split.warm_pins(dataset.graph))
    pins = draw_queries(answerable, min(max_pins, -(-len(answerable) // 10)), seed)
    curve = []
    for share in shares:
        left = mask_edges(graph, pins, share, seed=seed)
        result = evaluate_task(task, embed(left)["pin_to_pin"], pins, dataset)
        edges = int(left.pin_degrees[pins].sum())
        found = figures(result.values, seed=seed)
        curve.append({"share": share, "edges": edges, "queries": len(pins), **found})
    return curve


def mask_edges(graph: PinBoardGraph, pins: np.ndarray, share: float, *, seed: int) -> PinBoardGraph:
    """Return the graph without a share of the edges of some pins.

    Of a pin with d edges, round(share · d) are dropped (half to even): the first in an order that
    the seed draws, so that a larger share drops those of a smaller one and more.

    Args:
        graph: any graph.
        pins: int64 [M], dense indices.
        share: between 0 and 1.
        seed: of the order.

    Raises:
        PinGraphError: the share is out of its range.
    """
    if not 0 <= share <= 1:
        raise PinGraphError(f"share is {share}: expected a number between 0 and 1")
    owners, _ = graph.edges()
    order = np.lexsort((np.random.default_rng(seed).random(graph.num_edges), owners))
    place = np.empty(graph.num_edges, np.int64)  # of an edge among those of its pin
    place[order] = np.arange(graph.num_edges) - graph.pin_offsets[owners]
    dropped = np.zeros(graph.num_pins, np.int64)
    dropped[pins] = np.rint(share * graph.pin_degrees[pins])
    return graph.keep_edges(place >= dropped[owners])
