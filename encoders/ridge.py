"""Ridge regression on groups of numbers. n rows, F numbers of a group, K targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from scipy import sparse

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
        return sum((group @ (group.T @ x) for group in groups), penalty * x)

    dual = conjugate_gradients(kernel, targets.astype(np.float32))
    return [np.asarray(group.T @ dual) for group in groups]


def conjugate_gradients(
    product: Callable[[np.ndarray], np.ndarray],
    b: np.ndarray,
    *,
    tolerance: float = 1e-5,
    most: int = 40,
) -> np.ndarray:
    """Return x [n, K] with A x = b, each column by itself (Hestenes & Stiefel 1952).

    Args:
        product: of A, symmetric and positive definite, with any [n, K].
        b: [n, K].
        tolerance: of the length of b - A x, in lengths of b.
        most: steps. So many and not a tolerance end the solution of thousands of rows: where to
            stop by a tolerance hangs on rounding, and so on the number of threads.
    """
    x = np.zeros_like(b)
    rest, direction = b.copy(), b.copy()
    square = (rest * rest).sum(0)
    goal = tolerance**2 * square
    for _ in range(most):
        if (square <= goal).all():
            break
        image = product(direction)
        step = square / np.maximum((direction * image).sum(0), np.finfo(b.dtype).tiny)
        x += step * direction
        rest -= step * image
        before, square = square, (rest * rest).sum(0)
        direction = rest + square / np.maximum(before, np.finfo(b.dtype).tiny) * direction
    return x
