"""What the saves tell without any training: popularity, shared boards and random walks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pingraph.datasets import PinBoardDataset
from pingraph.interfaces import Sampler
from pingraph.ranking import Scorer
from pingraph.splits import Split


class Popularity:
    """The number of a pin's boards in training, the same for every query."""

    def scorers(self, dataset: PinBoardDataset, split: Split, *, seed: int) -> Mapping[str, Scorer]:
        """Return a scorer of "pin_to_pin" and "board_to_pins"."""
        degrees = split.train_graph(dataset.graph).pin_degrees.astype(np.float32)
        everybody: Scorer = lambda queries: np.tile(degrees, (len(queries), 1))  # noqa: E731
        return {"pin_to_pin": everybody, "board_to_pins": everybody}


class CoOccurrence:
    """Cosine of the boards of two pins: shared ones over the root of the product of their numbers.

    A board scores a pin by the sum over its own pins, and a pin scores another by the sum over its
    mates, each by its own cosine: those that share a board with the query are mostly known already.

    Source: Sarwar et al., Item-Based Collaborative Filtering Recommendation Algorithms, WWW 2001.
    """

    warm_only = True

    def scorers(self, dataset: PinBoardDataset, split: Split, *, seed: int) -> Mapping[str, Scorer]:
        """Return a scorer of "pin_to_pin" and "board_to_pins"."""
        boards = split.train_graph(dataset.graph).incidence().astype(np.float32)
        boards.data[:] = 1
        lengths = np.sqrt(np.maximum(boards.sum(axis=1), 1)).astype(np.float32)
        unit = boards.multiply(1 / lengths[:, None]).tocsr()
        candidates, members = unit.T.tocsr(), boards.T.tocsr()
        return {
            "pin_to_pin": lambda pins: (unit[pins] @ candidates).toarray() @ unit @ candidates,
            "board_to_pins": lambda asked: ((members[asked] @ unit) @ candidates).toarray(),
        }


class RawWalks:
    """How much random walks from the query visit a pin; pins that none visits rank by chance.

    Source: Eksombatchai et al., Pixie, WWW 2018 (arXiv 1711.07601); Ying et al., PinSAGE, KDD 2018
    (arXiv 1806.01973), whose sampler is the default here.

    Args:
        sampler: any; PinSAGESampler of 1,000 walks if not given.
    """

    warm_only = True

    def __init__(self, sampler: Sampler | None = None):
        self.sampler = sampler

    def scorers(self, dataset: PinBoardDataset, split: Split, *, seed: int) -> Mapping[str, Scorer]:
        """Return a scorer of "pin_to_pin"."""
        from pingraph.samplers import PinSAGESampler

        graph = split.train_graph(dataset.graph)
        sampler = self.sampler or PinSAGESampler(k=300, num_walks=1000)

        def score(pins: np.ndarray) -> np.ndarray:
            found = sampler.sample(graph, pins, seed=seed)
            out = np.zeros((len(pins), graph.num_pins), np.float32)
            rows, columns = np.nonzero(found.mask)
            out[rows, found.ids[rows, columns]] = found.scores[rows, columns]
            return out

        return {"pin_to_pin": score}
