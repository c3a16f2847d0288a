"""Lays vectors out in the plane so that near ones stay near: t-SNE with exact repulsion.

Of a few thousand vectors the sums over all pairs, 8 at a time, cost less than a tree that saves
most of them. Letters: n vectors, D dimensions, k neighbors of each.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from pingraph.compiled import njit
from pingraph.knn import nearest_neighbors

PERPLEXITY = 30.0
_STEPS, _EARLY, _EXAGGERATION = 750, 250, 12.0
_SEARCH = 60  # halvings of the search for a width
_SMALLEST = 20  # vectors from which t-SNE is used


def plane(vectors: np.ndarray) -> np.ndarray:
    """Return a place in the plane for each vector.

    t-SNE (van der Maaten and Hinton 2008) of the cosine distance, d² = 2 - 2 cos, with the 3 ·
    PERPLEXITY nearest of each (van der Maaten 2014), started from the first two principal
    directions, so that nothing is drawn; the step is n / 48 (Belkina et al. 2019). Fewer than 20
    vectors, or vectors that are all alike, lie in those two directions themselves.

    Args:
        vectors: float32 [n, D] of length 1 (or 0).

    Returns:
        float64 [n, 2].
    """
    start = principal(vectors)
    if len(vectors) < _SMALLEST or not start.any():
        return start
    affinities = affinity(vectors)
    places = start / max(start[:, 0].std(), 1e-12) * 1e-4
    moved, gains = np.zeros_like(places), np.ones_like(places)
    rate = max(len(vectors) / _EXAGGERATION / 4, 50.0)
    for step in range(_STEPS):
        early = step < _EARLY
        slope = gradient(affinities, places, _EXAGGERATION if early else 1.0)
        same_way = (slope > 0) == (moved > 0)
        gains = np.maximum(np.where(same_way, gains * 0.8, gains + 0.2), 0.01)
        moved = (0.5 if early else 0.8) * moved - rate * gains * slope
        places += moved
    return places - places.mean(axis=0)


def principal(vectors: np.ndarray) -> np.ndarray:
    """Return the places along the first two principal directions, float64 [n, 2].

    The sign of a direction is such that its greatest place in size is positive.
    """
    out = np.zeros((len(vectors), 2))
    if len(vectors) > 1:
        centered = vectors - vectors.mean(axis=0, dtype=np.float64)
        _, _, directions = np.linalg.svd(centered.T @ centered)
        places = centered @ directions[:2].T
        signs = np.sign(np.take_along_axis(places, np.abs(places).argmax(axis=0)[None], axis=0))
        out[:, : places.shape[1]] = places * np.where(signs == 0, 1, signs)
    return out


def affinity(vectors: np.ndarray) -> sparse.csr_array:
    """Return the joint probabilities of pairs of neighbors, symmetric [n, n], with the sum 1.

    The width of each row is such that its neighbors' entropy is log PERPLEXITY.
    """
    count = len(vectors)
    perplexity = min(PERPLEXITY, (count - 1) / 3)
    found = nearest_neighbors(vectors, min(count - 1, int(3 * perplexity)))
    squares = np.maximum(2 - 2 * found.scores.astype(np.float64), 0)
    squares -= squares.min(axis=1, keepdims=True)
    low, high = np.zeros(count), np.full(count, np.inf)
    sharpness = np.ones(count)
    for _ in range(_SEARCH):
        shares = np.exp(-squares * sharpness[:, None])
        shares /= shares.sum(axis=1, keepdims=True)
        entropy = -(shares * np.log(np.maximum(shares, 1e-300))).sum(axis=1)
        wide = entropy > np.log(perplexity)
        low, high = np.where(wide, sharpness, low), np.where(wide, high, sharpness)
        middle = (low + np.where(np.isinf(high), 0, high)) / 2
        sharpness = np.where(np.isinf(high), np.minimum(sharpness * 2, 1e12), middle)
    rows = np.repeat(np.arange(count), found.ids.shape[1])
    pairs = sparse.csr_array((shares.ravel(), (rows, found.ids.ravel())), shape=(count, count))
    joint = (pairs + pairs.T).tocsr()
    return joint / joint.sum()


def gradient(affinities: sparse.csr_array, places: np.ndarray, exaggeration: float) -> np.ndarray:
    """Return the slope of the Kullback-Leibler divergence at some places, float64 [n, 2].

    4 Σⱼ (e pᵢⱼ - qᵢⱼ) wᵢⱼ (yᵢ - yⱼ), where wᵢⱼ = 1 / (1 + |yᵢ - yⱼ|²) and qᵢⱼ = wᵢⱼ / Σ w.
    """
    x, y = (np.ascontiguousarray(axis, np.float32) for axis in places.T)
    push = np.zeros((len(places), 2))
    total = _repel(x, y, push)
    pull = np.zeros_like(push)
    _attract(affinities.indptr, affinities.indices, affinities.data, places, pull)
    return 4 * (exaggeration * pull - push / total)


# Without NumPy's rule for a division by zero nothing would be done 8 at a time.
@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _repel(x, y, push):
    """Sum wᵢⱼ² (yᵢ - yⱼ) for each i into `push`, and return the sum of all wᵢⱼ."""
    total = 0.0
    for i in range(len(x)):
        weights = right = up = np.float32(0)
        for j in range(len(x)):
            dx, dy = x[i] - x[j], y[i] - y[j]
            weight = np.float32(1) / (np.float32(1) + dx * dx + dy * dy)
            weights += weight
            right += weight * weight * dx
            up += weight * weight * dy
        total += float(weights) - 1.0  # without i itself
        push[i, 0], push[i, 1] = right, up
    return total


@njit(nogil=True, cache=True)
def _attract(offsets, columns, affinities, places, pull):
    for i in range(len(places)):
        for entry in range(offsets[i], offsets[i + 1]):
            dx = places[i, 0] - places[columns[entry], 0]
            dy = places[i, 1] - places[columns[entry], 1]
            force = affinities[entry] / (1.0 + dx * dx + dy * dy)
            pull[i, 0] += force * dx
            pull[i, 1] += force * dy
