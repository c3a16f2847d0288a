"""Ridge regression on groups of numbers equals the textbook's, on all of them side by side."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from pingraph.encoders.ridge import conjugate_gradients, solve_ridge


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 12),
    st.lists(st.integers(1, 6), min_size=1, max_size=3),
    st.floats(0.1, 3),
)
def test_it_equals_the_normal_equations(seed, rows, widths, penalty):
    rng = np.random.default_rng(seed)
    dense = [rng.normal(size=(rows, width)) for width in widths]
    groups = [x if place % 2 else sparse.csr_array(x) for place, x in enumerate(dense)]
    targets = rng.normal(size=(rows, 3)) * [1, 1e-3, 0]
    x = np.concatenate(dense, axis=1)
    expected = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ targets)
    found = solve_ridge(groups, targets, penalty=penalty)
    assert [w.shape for w in found] == [(width, 3) for width in widths]
    assert all(w.dtype == np.float32 for w in found)
    joined = np.concatenate(found)
    lengths = np.linalg.norm(targets, axis=0) / np.sqrt(penalty)
    assert (np.abs(joined - expected) <= 1e-3 * lengths + 1e-12).all()


def test_each_column_is_solved_as_far_as_asked():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(40, 40))
    a = root @ root.T + 0.1 * np.eye(40)
    b = rng.normal(size=(40, 5)) * np.logspace(-6, 6, 5)
    for tolerance in (1e-1, 1e-8):
        x = conjugate_gradients(lambda y: a @ y, b, tolerance=tolerance, most=500)
        rest = np.linalg.norm(b - a @ x, axis=0) / np.linalg.norm(b, axis=0)
        assert (rest < 1.01 * tolerance).all()
        assert rest.max() > 1e-4 * tolerance
    x = conjugate_gradients(lambda y: a @ y, b, tolerance=1e-12, most=3)
    assert np.linalg.norm(b - a @ x) > 1e-3 * np.linalg.norm(b)


def test_nothing_makes_nothing():
    assert conjugate_gradients(lambda y: y, np.zeros((3, 2))).tolist() == [[0, 0]] * 3
    assert solve_ridge([np.ones((2, 4))], np.zeros((2, 0)), penalty=1)[0].shape == (4, 0)


def test_columns_do_not_stop_each_other():
    """A column that is solved at once stays as it is while the others go on."""
    a = np.diag(np.arange(1.0, 30.0))
    b = np.stack([np.eye(29)[3], np.ones(29)], axis=1)
    x = conjugate_gradients(lambda y: a @ y, b, tolerance=1e-9)
    np.testing.assert_allclose(x[:, 0], np.eye(29)[3] / 4, atol=1e-12)
    np.testing.assert_allclose(x[:, 1], 1 / np.arange(1.0, 30.0), rtol=1e-6)
