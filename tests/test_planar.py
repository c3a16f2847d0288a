"""The plane keeps near vectors near; its slope is that of the divergence, its sums are loops."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from pingraph import planar
from pingraph.planar import affinity, gradient, plane, principal


def unit(rng, count, width=8):
    vectors = rng.normal(size=(count, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def divergence(joint, places, exaggeration):
    """Σ e p log(1 / w) + log Σ w: at e = 1 the Kullback-Leibler divergence, but for a constant."""
    weights = 1 / (1 + squareform(pdist(places, "sqeuclidean")))
    pull = -(exaggeration * joint * np.log(weights)).sum()
    np.fill_diagonal(weights, 0)
    return pull + np.log(weights.sum())


@pytest.mark.parametrize("exaggeration", [1.0, 12.0])
def test_slope_is_that_of_the_divergence(exaggeration):
    rng = np.random.default_rng(0)
    joint, places = affinity(unit(rng, 25)), rng.normal(size=(25, 2))
    slope = gradient(joint, places, exaggeration)
    dense, step = joint.toarray(), 1e-4
    for pin, axis in [(0, 0), (7, 1), (24, 0)]:
        ends = []
        for sign in (1, -1):
            moved = places.copy()
            moved[pin, axis] += sign * step
            ends.append(divergence(dense, moved, exaggeration))
        assert slope[pin, axis] == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=2e-3)


def test_affinity_has_the_wanted_entropy():
    joint = affinity(unit(np.random.default_rng(1), 200)).toarray()
    assert joint.sum() == pytest.approx(1)
    assert np.array_equal(joint, joint.T)
    assert (joint.diagonal() == 0).all()


def test_affinity_equals_a_search_row_by_row():
    vectors = unit(np.random.default_rng(2), 40)
    squares = squareform(pdist(vectors.astype(np.float64), "sqeuclidean"))
    wanted, rows = np.log(13), np.zeros((40, 40))  # (40 - 1) / 3
    for row in range(40):
        others = np.delete(np.arange(40), row)
        low, high = 0.0, 1e6
        for _ in range(100):
            middle = (low + high) / 2
            shares = np.exp(-middle * (squares[row, others] - squares[row, others].min()))
            shares /= shares.sum()
            entropy = -(shares * np.log(np.maximum(shares, 1e-300))).sum()
            low, high = (middle, high) if entropy > wanted else (low, middle)
        rows[row, others] = shares
    assert affinity(vectors).toarray() == pytest.approx((rows + rows.T) / 80, abs=1e-6)


def test_groups_stay_together():
    rng = np.random.default_rng(3)
    centers = unit(rng, 4)
    group = np.repeat(np.arange(4), 30)
    vectors = centers[group] + 0.05 * unit(rng, 120)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    distances = squareform(pdist(plane(vectors)))
    np.fill_diagonal(distances, np.inf)
    assert (group[distances.argmin(axis=1)] == group).all()


def test_as_good_as_scikit_learn():
    from sklearn.manifold import TSNE, trustworthiness

    vectors = unit(np.random.default_rng(4), 300, width=4)
    theirs = TSNE(2, init="pca", random_state=0, max_iter=planar._STEPS).fit_transform(vectors)
    mine = plane(vectors)
    assert trustworthiness(vectors, mine) > trustworthiness(vectors, theirs) - 0.01


def test_nothing_is_drawn():
    vectors = unit(np.random.default_rng(5), 60)
    assert np.array_equal(plane(vectors), plane(vectors.copy()))


def test_the_order_of_pins_does_not_matter_to_the_directions():
    vectors = unit(np.random.default_rng(6), 12)
    order = np.random.default_rng(7).permutation(12)
    assert principal(vectors[order]) == pytest.approx(principal(vectors)[order], abs=1e-9)


@pytest.mark.parametrize("count", [0, 1, 2, 19, 20])
@pytest.mark.parametrize("width", [1, 5])
def test_few_or_equal_vectors(count, width):
    for vectors in (np.ones((count, width), np.float32), np.zeros((count, width), np.float32)):
        assert np.array_equal(plane(vectors), np.zeros((count, 2)))
    places = plane(unit(np.random.default_rng(0), count, width))
    assert places.shape == (count, 2)
    assert np.isfinite(places).all()
