"""Ridge regression on groups of numbers equals the textbook's, on all of them side by side."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from pingraph.encoders.ridge import solve_ridge, solve_shifted


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


@pytest.mark.parametrize("n", [40, 700])
def test_large_eigenvalues_cost_no_steps(n):
    """As of thousands of pins: a mean that all have, a slow decay, and a shift far below."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(n, n)))[0]
    eigenvalues = n / np.arange(1, n + 1) ** 1.2
    a = (basis * eigenvalues) @ basis.T
    b = rng.normal(size=(n, 5)) * np.logspace(-6, 6, 5)
    x = solve_shifted(lambda y: a @ y, b, 0.3)
    rest = np.linalg.norm(b - a @ x - 0.3 * x, axis=0) / np.linalg.norm(b, axis=0)
    assert (rest < 2e-5).all()


def test_nothing_makes_nothing():
    assert solve_shifted(lambda y: 0 * y, np.zeros((3, 2)), 1.0).tolist() == [[0, 0]] * 3
    assert solve_ridge([np.ones((2, 4))], np.zeros((2, 0)), penalty=1)[0].shape == (4, 0)
    np.testing.assert_allclose(solve_shifted(lambda y: 0 * y, np.ones((3, 2)), 0.5), 2.0, rtol=1e-4)
