"""The split that experiments are judged by: cold pins, and held-out saves of the warm ones."""

from __future__ import annotations

import numpy as np

from pingraph.datasets import PinBoardDataset
from pingraph.splits import EdgeSplit, PinSplit, Split, make_split, pair_units


class MixedSplit:
    """Some pins are held out with all their edges, and of the others some edges are.

    One training can so be asked for both: where do pins belong that nobody saved, and which saves
    of the known ones are missing? The cold pins are those of `PinSplit`. Of the other edges each
    pin keeps one that is drawn; of the rest a share is held out, each with its twins (the edges of
    one image to one board).

    Args:
        pins: the share of the pins with edges to hold out, between 0 and 1.
        edges: the share of the edges that can be spared to hold out, between 0 and 1.
        seed: which of them.

    Raises:
        PinGraphError: a share is out of its range.
    """

    def __init__(self, pins: float = 0.2, edges: float = 0.1, seed: int = 0):
        self.pins, self.edges = PinSplit(pins, seed), EdgeSplit(edges, seed)
        self.seed = seed

    def split(self, dataset: PinBoardDataset) -> Split:
        """Return the split; raises PinGraphError when a side would be empty."""
        cold = ~self.pins.split(dataset).train_edges
        owners, _ = dataset.graph.edges()
        pairs = pair_units(dataset)
        order = np.random.default_rng([self.seed, 1]).permutation(pairs.max() + 1)[pairs]
        first = np.lexsort((order, owners))
        kept = first[np.unique(owners[first], return_index=True)[1]]
        spared = ~np.isin(pairs, pairs[kept]) & ~cold
        # The first of the spared pairs in another order are held out.
        able = np.unique(pairs[spared])
        count = round(self.edges.fraction * len(able))
        drawn = np.random.default_rng([self.seed, 2]).permutation(able)[:count]
        shares = {"pins": self.pins.fraction, "edges": self.edges.fraction}
        return make_split("mixed", self.seed, shares, dataset, cold | np.isin(pairs, drawn))
