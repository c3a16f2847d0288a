"""Where pins would stand if walks alone decided: a factorization of who is walked to from whom.

n pins, K dimensions.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from pingraph.graph import PinBoardGraph
from pingraph.interfaces import Sampler
from pingraph.progress import progress_bar
from pingraph.samplers.asking import neighbors_of

_EPOCHS = 10  # of walks that are added up: one of them finds the less likely neighbors by chance


def walk_spectrum(
    graph: PinBoardGraph, pins: np.ndarray, sampler: Sampler, *, dim: int, seed: int
) -> np.ndarray:
    """Return vectors of pins whose products are how much oftener than by chance they meet.

    The shares of the visits, averaged over epochs and made symmetric, are taken for the
    probability that two pins meet, and the positive part of the logarithm of that over chance
    (PPMI) is factorized by its main eigenvectors: what contrastive training of a vector for each
    pin would come to (Levy & Goldberg 2014; NetMF, Qiu et al. 2018, arXiv 1710.02971).

    Args:
        graph: of the training edges.
        pins: int64 [n] ascending, those that are placed; neighbors that are not are left out.
        sampler: finds neighbors, whose weights are shares of the visits.
        dim: K, at most; fewer where there are fewer pins.
        seed: of the walks.

    Returns:
        float32 [n, min(K, n - 1)]; 0 for a pin without a neighbor. The first dimension has the
        largest eigenvalue.

    Raises:
        PinGraphError: the sampler fails.
    """
    from scipy.sparse.linalg import eigsh

    dim = max(0, min(dim, len(pins) - 1))
    nowhere = np.zeros((len(pins), dim), np.float32)
    if not dim:
        return nowhere
    meetings = _ppmi(_visits(graph, pins, sampler, seed))
    if not meetings.nnz:
        return nowhere
    # The start is drawn, since one of ones is an eigenvector of some graphs; of a drawn one the
    # seed is fixed, for the same result each time.
    start = np.random.default_rng(seed).random(len(pins))
    values, vectors = eigsh(meetings, k=dim, which="LA", v0=start, tol=1e-4)
    order = np.argsort(-values, kind="stable")
    lengths = np.sqrt(np.maximum(values[order], 0))
    return (vectors[:, order] * lengths).astype(np.float32)


def _visits(
    graph: PinBoardGraph, pins: np.ndarray, sampler: Sampler, seed: int
) -> sparse.csr_array:
    """Shares of the visits from each pin to each other, [n, n]; rows sum to 1 at most."""
    total = sparse.csr_array((len(pins), len(pins)))
    with progress_bar(_EPOCHS) as step:
        for epoch in range(_EPOCHS):
            step("walks to solve for")
            found = neighbors_of(sampler, graph, pins, seed=seed, epoch=epoch)
            known, columns = found.among(pins)
            rows = known.nonzero()[0]
            entries = found.weights[known].astype(np.float64) / _EPOCHS, (rows, columns[known])
            total = total + sparse.csr_array(entries, shape=total.shape)
    return total


def _ppmi(visits: sparse.csr_array) -> sparse.csr_array:
    """max(0, log(J_ij / (J_i J_j))) of the joint J, which is symmetric and sums to 1."""
    joint = (visits + visits.T).tocoo()
    total = joint.sum()
    if not total:
        return joint.tocsr()
    rows, columns = joint.coords
    margin = joint.sum(axis=1)
    chance = margin[rows] * margin[columns] / total
    values = np.log(np.maximum(joint.data / chance, 1.0))
    return sparse.coo_array((values, (rows, columns)), shape=joint.shape).tocsr()
