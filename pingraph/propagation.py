"""What walks add to vectors once pins have saves, for whoever ranks pins that are known.

An embedding of pingraph is of a pin's content alone, so that a new pin has one. Where pins have
saves, the graph says more of them: here it is added to any vectors, without training.

Letters: N pins, D dimensions, B queries.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from pingraph.errors import PinGraphError
from pingraph.evaluation import dot_products
from pingraph.samplers.asking import neighbors_of
from pingraph.samplers.ppr import PPRSampler

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph
    from pingraph.interfaces import Sampler
    from pingraph.ranking import Scorer

_BLOCK = 4096  # pins whose walks are held at once


@dataclass(frozen=True, kw_only=True)
class Propagation:
    """Moves a pin towards those that walks from it visit, and ranks these higher.

    A vector v becomes that of length 1 along v + weight · Σ w_n v_n, where w_n is the share of the
    visits of neighbor n, of the pins as they were: one step of what APPNP does to predictions
    (Gasteiger et al., Predict then Propagate, ICLR 2019, arXiv 1810.05997). A pin without saves
    stays as it is. To the products of such vectors a query adds visits · √w_n for each neighbor.

    Args:
        sampler: finds the neighbors; PPRSampler(k=300, epsilon=1e-4) if not given.
        weight: of the neighbors' vectors beside the pin's own, which has length 1.
        visits: of the shares of the visits in a score.

    Raises:
        PinGraphError: a weight is below 0 or not finite.
    """

    sampler: Sampler | None = None
    weight: float = 0.5
    visits: float = 1.0

    def __post_init__(self) -> None:
        for name in ("weight", "visits"):
            if not 0 <= getattr(self, name) < math.inf:
                found = getattr(self, name)
                raise PinGraphError(f"{name} is {found}: expected a number of 0 or more")

    def vectors(self, vectors: np.ndarray, graph: PinBoardGraph, *, seed: int = 0) -> np.ndarray:
        """Return the vectors after propagation, for an index or a file.

        Args:
            vectors: float32 [N, D], of length 1, or 0 for a pin without one, which gets that of its
                neighbors.
            graph: of the N pins, with the edges that may be known.
            seed: of the sampler.

        Returns:
            float32 [N, D], rows of length 1, or 0 where neither pin nor neighbors have a vector.

        Raises:
            PinGraphError: the vectors are not those of the graph's pins, or the sampler fails.
        """
        if len(vectors) != graph.num_pins:
            count = f"{graph.num_pins:,} pins"
            raise PinGraphError(f"vectors has {len(vectors):,} rows: expected those of {count}")
        out = np.empty_like(vectors, np.float32)
        for start in range(0, len(vectors), _BLOCK):
            pins = np.arange(start, min(start + _BLOCK, len(vectors)))
            shares = self._shares(pins, graph, seed)
            moved = vectors[pins] + self.weight * (shares @ vectors)
            lengths = np.linalg.norm(moved, axis=1, keepdims=True)
            moved /= np.where(lengths > 0, lengths, 1)
            known = np.diff(shares.indptr) > 0
            out[pins] = np.where(known[:, None], moved, vectors[pins])  # others to the bit
        return out

    def scorer(self, moved: np.ndarray, graph: PinBoardGraph, *, seed: int = 0) -> Scorer:
        """Return a scorer of pin → pin.

        There is none of boards: known pins, moved towards each other, would crowd out the new ones
        that a board is asked for.

        Args:
            moved: float32 [N, D], what `vectors` returned.
            graph: the one that they were moved by.
            seed: of the sampler.
        """
        products = dot_products(moved)

        def score(pins: np.ndarray) -> np.ndarray:
            shares = self._shares(pins, graph, seed)
            return products(moved[pins]) + self.visits * np.sqrt(shares).toarray()

        return score

    def _shares(self, pins: np.ndarray, graph: PinBoardGraph, seed: int) -> sparse.csr_array:
        """The share of the visits from some pins [B] to each pin, float32 [B, N]."""
        sampler = self.sampler or PPRSampler(k=300, epsilon=1e-4)
        found = neighbors_of(sampler, graph, pins, seed=seed)
        rows = found.mask.nonzero()[0]
        entries = found.weights[found.mask], (rows, found.ids[found.mask])
        return sparse.csr_array(entries, shape=(len(pins), graph.num_pins), dtype=np.float32)
