"""How often a pin comes into a training batch: the sampling bias that logQ corrects."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pingraph.progress import progress_bar
from pingraph.samplers.asking import negatives_of, neighbors_of

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph
    from pingraph.interfaces import NegativeSampler, Sampler

_ANCHORS = 10_000  # sampled at least
_BLOCK = 8192  # anchors sampled at once


def expected_counts(
    graph: PinBoardGraph,
    train_pins: np.ndarray,
    sampler: Sampler,
    negatives: Sequence[NegativeSampler] = (),
    *,
    neighbors_per_anchor: int,
    passes: int,
    seed: int,
) -> np.ndarray:
    """Return how often each pin is drawn in a pass over the training pins, beside being an anchor.

    That is `neighbors_per_anchor` times its weight for each pin that it is a sampled neighbor of,
    and once for each time it is drawn as a negative. It is measured on the walks of some of the
    run's passes, as many as make 10,000 anchors, spread over the run, since negatives may get
    harder with each. What none of them drew counts as half a draw: another pass may draw it.

    Args:
        graph: the training graph.
        train_pins: int64 [N'], the anchors of a pass.
        sampler: finds the neighbors.
        negatives: draw negatives of the anchors.
        neighbors_per_anchor: neighbors drawn of each anchor, by weight and with replacement.
        passes: over the training pins, of the whole run.
        seed: of the draws.

    Returns:
        float64 [N], above 0.
    """
    counts = np.zeros(graph.num_pins)
    epochs = _spread(passes, -(-_ANCHORS // len(train_pins)))
    starts = range(0, len(train_pins), _BLOCK)
    with progress_bar(len(epochs) * len(starts)) as step:
        for epoch, start in itertools.product(epochs, starts):
            step("counting how often pins are drawn")
            anchors = train_pins[start : start + _BLOCK]
            found = neighbors_of(sampler, graph, anchors, seed=seed, epoch=epoch)
            draws = neighbors_per_anchor * found.weights[found.mask].astype(float)
            np.add.at(counts, found.ids[found.mask], draws)
            for source in negatives:
                drawn = negatives_of(source, graph, anchors, seed=seed, epoch=epoch)
                np.add.at(counts, drawn.ids[drawn.mask], 1)
    return np.maximum(counts, 0.5) / len(epochs)


def _spread(passes: int, most: int) -> list[int]:
    """The middles of at most `most` equal parts of a run."""
    count = min(passes, most)
    return [(2 * part + 1) * passes // (2 * count) for part in range(count)]
