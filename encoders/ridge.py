"""Ridge regression on groups of numbers. n rows, F numbers of a group, K targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from scipy import sparse

_RANK = 256  # eigenvectors of the preconditioner
_STEPS = 30
_EXACT = 1e-5  # of the length of b, which is as small as float32 lets the rest become

Group: TypeAlias = np.ndarray | sparse.csr_array  # [n, F]


def solve_ridge(
    groups: Sequence[Group], targets: np.ndarray, *, penalty: float
) -> list[np.ndarray]:
    """Return the matrices W that make targets of groups X, one for each.

    They minimize ||sum of X W - targets||² + penalty times the sum of ||W||² (Hoerl & Kennard
    1970), by the dual problem, so that no matrix is larger than the groups and the targets.

    Args:
        groups: float [n, F] each, dense or sparse.
        targets: float [n, K].
        penalty: above 0.

    Returns:
        float32 [F, K] for each group.
    """
    groups = [group.astype(np.float32, copy=False) for group in groups]

    def kernel(x: np.ndarray) -> np.ndarray:
        return sum((group @ (group.T @ x) for group in groups), np.zeros_like(x))

    dual = solve_shifted(kernel, targets.astype(np.float32), penalty)
    return [np.asarray(group.T @ dual) for group in groups]


def solve_shifted(
    product: Callable[[np.ndarray], np.ndarray], b: np.ndarray, shift: float
) -> np.ndarray:
    """Return x [n, K] with (A + shift I) x = b, each column by itself.

    Conjugate gradients (Hestenes & Stiefel 1952), preconditioned by a randomized Nyström
    approximation (Frangella, Tropp & Udell 2023, arXiv 2110.02820): the largest eigenvalues of A
    grow with n, and without it the steps would with them. It ends after 30 steps, or where the rest
    of every column is as small as float32 lets it become.

    Args:
        product: of A, symmetric and positive semi-definite, with any [n, K].
        b: [n, K].
        shift: above 0.
    """
    precondition = _nystrom(product, len(b), shift, b.dtype)
    tiny = np.finfo(b.dtype).tiny
    x, rest = np.zeros_like(b), b.copy()
    goal = _EXACT**2 * (b * b).sum(0)
    better = precondition(rest)
    direction, descent = better, (rest * better).sum(0)
    for _ in range(_STEPS):
        if ((rest * rest).sum(0) <= goal).all():
            break
        image = product(direction) + shift * direction
        step = descent / np.maximum((direction * image).sum(0), tiny)
        x += step * direction
        rest -= step * image
        better = precondition(rest)
        before, descent = descent, (rest * better).sum(0)
        direction = better + descent / np.maximum(before, tiny) * direction
    return x


def _nystrom(
    product: Callable[[np.ndarray], np.ndarray], n: int, shift: float, dtype: np.dtype
) -> Callable[[np.ndarray], np.ndarray]:
    """Return what makes (A + shift I) about a multiple of I, from A's main eigenvectors."""
    rank = min(_RANK, n)
    test = np.linalg.qr(np.random.default_rng(0).standard_normal((n, rank)).astype(dtype))[0]
    sketch = product(test)
    # A little is added, and taken off again, so that the root exists in spite of rounding.
    little = np.finfo(dtype).eps * max(float(np.linalg.norm(sketch)), np.finfo(dtype).tiny)
    sketch = sketch + little * test
    core = test.T @ sketch
    values, vectors = np.linalg.eigh((core + core.T) / 2)
    root = sketch @ (vectors / np.sqrt(np.maximum(values, little)))
    main, lengths, _ = np.linalg.svd(root, full_matrices=False)
    eigenvalues = np.maximum(lengths**2 - little, 0)
    factor = (eigenvalues[-1] + shift) / (eigenvalues + shift) - 1

    def precondition(x: np.ndarray) -> np.ndarray:
        return x + main @ (factor[:, None] * (main.T @ x))

    return precondition
