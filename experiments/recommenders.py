"""Recommenders of a few lines each, on top of samplers and methods: from a graph to scores.

A scorer takes boards int64 [n] and their candidates int64 [n, C], both dense indices, and returns
scores [n, C], higher is better. What a board has in the graph is all that is known of it.
Letters: P pins, n boards, C candidates of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pingraph.experiments.methods import LightGCN
    from pingraph.graph import PinBoardGraph
    from pingraph.interfaces import Sampler
    from pingraph.samplers import PixieSampler, PPRSampler

    Scorer = Callable[[np.ndarray, np.ndarray], np.ndarray]

_AT_ONCE = 512  # rows of P scores that are held at a time


def popularity(graph: PinBoardGraph) -> Scorer:
    """Score a pin by the number of its boards, the same for everybody."""
    return lambda boards, candidates: graph.pin_degrees[candidates].astype(np.float32)


def co_occurrence(graph: PinBoardGraph) -> Scorer:
    """Score a pin by the cosines of its boards with those of the board's pins, added up.

    The cosine of two pins is the number of boards they share over the root of the product of the
    numbers of their boards.
    """
    incidence = graph.incidence()
    shared = (incidence @ incidence.T).toarray()
    lengths = np.sqrt(np.maximum(graph.pin_degrees, 1)).astype(np.float32)
    return _summed(graph, shared / lengths / lengths[:, None])


def neighbor_weights(graph: PinBoardGraph, *, sampler: Sampler, seed: int) -> Scorer:
    """Score a pin by its weights among the neighbors of the board's pins, added up.

    With walks that start at a pin of the board, each as likely, this is how often they visit it.
    """
    weights = np.zeros((graph.num_pins, graph.num_pins), np.float32)
    for part in _parts(graph.num_pins):
        found = sampler.sample(graph, part, seed=seed)
        weights[part] = _spread(found.ids, found.weights, graph.num_pins)
    return _summed(graph, weights)


def pixie(graph: PinBoardGraph, *, sampler: PixieSampler, seed: int) -> Scorer:
    """Score a pin by V, its boosted visits, where all of the board's pins are the query."""

    def score(boards: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        queries = [(graph.pins_of(board), None) for board in boards]
        found = sampler.recommend(graph, queries, seed=seed)
        everyone = _spread(found.ids, found.scores, graph.num_pins)
        return np.take_along_axis(everyone, candidates, axis=1)

    return score


def endless_pixie(graph: PinBoardGraph, *, sampler: PPRSampler) -> Scorer:
    """Score a pin by what V tends to, up to a factor of each board, as the steps grow: (Σ √(s π))².

    From a query pin q a pin p gets its share π(q, p) of N_q visits, where N_q is in proportion to
    the s_q of equation 1 of the Pixie paper (see `PixieSampler`), and π is the personalized
    PageRank of the same restart probability, here the sampler's estimate.
    """
    degrees = np.maximum(graph.pin_degrees, 1)
    scaling = degrees * (degrees.max() - np.log(degrees))
    roots = np.zeros((graph.num_pins, graph.num_pins), np.float32)
    for part in _parts(graph.num_pins):
        found = sampler.sample(graph, part, seed=0)
        shares = _spread(found.ids, found.scores, graph.num_pins)
        roots[part] = np.sqrt(scaling[part, None] * shares)
    score = _summed(graph, roots)
    return lambda boards, candidates: score(boards, candidates) ** 2


def ease(graph: PinBoardGraph, *, strength: float) -> Scorer:
    """Score a pin by the linear model that best tells each pin of a board from its others.

    With X the boards' pins [boards, P], B minimizes ‖X - XB‖² + λ‖B‖² where its diagonal is 0, and
    the scores of a board are its row of XB. With M = (XᵀX + λI)⁻¹, B is -M over its diagonal,
    column by column. In float32.

    Source: Steck, Embarrassingly Shallow Autoencoders for Sparse Data, WWW 2019 (arXiv 1905.03375).

    Args:
        graph: the graph.
        strength: λ, above 0.
    """
    from scipy.linalg.lapack import spotrf, spotri

    incidence = graph.incidence()
    shared = (incidence @ incidence.T).toarray(order="F")
    diagonal = np.diag_indices(graph.num_pins)
    shared[diagonal] += strength
    factor, _ = spotrf(shared, overwrite_a=True)
    inverse, _ = spotri(factor, overwrite_c=True)
    del shared, factor
    inverse = np.triu(inverse) + np.triu(inverse, 1).T  # the lower half was not computed
    weights = inverse / -inverse[diagonal]
    weights[diagonal] = 0
    return _summed(graph, weights)


def light_gcn(graph: PinBoardGraph, *, model: LightGCN, seed: int) -> Scorer:
    """Score a pin by the dot product of its vector and the board's, which is what is trained.

    Trains on all saves of the graph; the seed is that of the first vectors and of what is drawn.
    """
    pins, boards = model.vectors(graph, seed=seed)
    return lambda rows, candidates: np.einsum("nd,ncd->nc", boards[rows], pins[candidates])


def _summed(graph: PinBoardGraph, weights: np.ndarray) -> Scorer:
    """Return a scorer that adds up weights [P, P] from the board's pins to the candidate."""

    def score(boards: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        pairs = zip(boards, candidates, strict=True)
        return np.stack([weights[np.ix_(graph.pins_of(b), row)].sum(axis=0) for b, row in pairs])

    return score


def _spread(ids: np.ndarray, values: np.ndarray, num_pins: int) -> np.ndarray:
    """Return values [n, k] of ids [n, k] (-1: none) in the places of the ids, float32 [n, P]."""
    out = np.zeros((len(ids), num_pins), np.float32)
    rows, columns = np.nonzero(ids >= 0)
    out[rows, ids[rows, columns]] = values[rows, columns]
    return out


def _parts(num_pins: int) -> Iterator[np.ndarray]:
    for start in range(0, num_pins, _AT_ONCE):
        yield np.arange(start, min(start + _AT_ONCE, num_pins))
