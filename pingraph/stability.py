"""Tells how much of an embedding stays: between seeds, epochs and checkpoints.

Letters: N pins, D and E dimensions of two embeddings, Q queries, k neighbors of each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from pingraph.embeddings import check_table
from pingraph.errors import PinGraphError
from pingraph.jackknife import GROUPS, jackknife_interval
from pingraph.knn import nearest_neighbors
from pingraph.ranking import draw_queries, measured

if TYPE_CHECKING:
    from pingraph.interfaces import EmbeddingTable

_BLOCK = 65_536  # pins whose products are summed at a time


def stability(
    one: EmbeddingTable, two: EmbeddingTable, *, k: int = 10, max_queries: int = 10_000, seed: int
) -> dict[str, Any]:
    """Compare two embeddings of the same pins by their fused vectors; widths may differ.

    Compared are the pins that have a vector in both (a vector of zeros stands for none), among each
    other: who lacks one has no neighbors, and no place in the space.

    Args:
        one: an embedding.
        two: another, such as of another seed, epoch or checkpoint.
        k: neighbors of a pin.
        max_queries: when there are more pins, this many are drawn and their neighbors compared.
        seed: of the draw and the intervals.

    Returns:
        "pins"; "compared", those with a vector in both, and "only_first" and "only_second", those
        with a vector in one; "queries"; "neighbors": see `neighbor_churn`; "cka" and
        "cka_debiased": see `cka`. Churn and CKA are null where fewer than two are compared.

    Raises:
        PinGraphError: they are of other pins, or a vector is not finite (names the pin).
    """
    for name, table in (("the first embedding", one), ("the second embedding", two)):
        check_table(table, name)
    require_same_pins(one, two)
    in_one, in_two = one.present["fused"], two.present["fused"]
    in_both = in_one & in_two
    vectors = [table.fused if in_both.all() else table.fused[in_both] for table in (one, two)]
    compared = len(vectors[0])
    queries = draw_queries(np.arange(compared), max_queries, seed)
    found = [nearest_neighbors(some, k, queries=queries).ids for some in vectors]
    return {
        "pins": len(one.pin_ids),
        "compared": compared,
        "only_first": int((in_one & ~in_two).sum()),
        "only_second": int((in_two & ~in_one).sum()),
        "queries": len(queries),
        "neighbors": neighbor_churn(*found, pins=compared, seed=seed),
        **cka(*vectors),
    }


def neighbor_churn(
    before: np.ndarray, after: np.ndarray, *, pins: int, seed: int
) -> dict[str, Any]:
    """Tell how many of the k nearest neighbors are replaced by others.

    Of a pin with s neighbors in both lists, churn is 1 - s / k (as of Fard et al. 2016, who count
    predictions that change), and the Jaccard index of the two sets is s / (2 k - s).

    Args:
        before: int [Q, k], all different in a row.
        after: int [Q, k], of the same queries.
        pins: how many there are, which gives the churn of two lists that know nothing of each
            other: 1 - k / (pins - 1).
        seed: of the resamples.

    Returns:
        "k", "churn" and "jaccard" ("value" and "ci95", null without neighbors), "churn_by_chance".

    Raises:
        PinGraphError: the shapes differ.
    """
    if before.shape != after.shape:
        raise PinGraphError(f"neighbors have shapes {before.shape} and {after.shape}")
    k = before.shape[1]
    shared = shared_neighbors(before, after)
    values = np.stack([1 - shared / max(k, 1), shared / np.maximum(2 * k - shared, 1)], axis=1)
    churn, jaccard = measured(values if k else values[:0], seed=seed)
    chance = 1 - k / (pins - 1) if k else None
    return {"k": k, "churn": churn, "jaccard": jaccard, "churn_by_chance": chance}


def shared_neighbors(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Count the ids that both lists of a query have, int64 [Q].

    Args:
        one: int [Q, k], all different in a row.
        two: int [Q, k], likewise.
    """
    both = np.sort(np.concatenate([one, two], axis=1), axis=1)
    return (both[:, 1:] == both[:, :-1]).sum(axis=1)


def cka(one: np.ndarray, two: np.ndarray) -> dict[str, Any]:
    """Return the linear CKA of two embeddings, plain and debiased (Kornblith et al. 2019).

    With X [N, D] and Y [N, E], CKA = HSIC(X, Y) / sqrt(HSIC(X, X) HSIC(Y, Y)); it is 1 when one is
    a rotation and scaling of the other. Plain: HSIC = ‖X'ᵀY'‖²_F with centered X' and Y', which is
    above 0 for unrelated vectors, the more so the fewer the pins are for the dimensions. Debiased:
    the unbiased HSIC of Song et al. (2012), which is 0 on average for them, and can be below.

    Both are made of sums over pins, so they need memory for D · E numbers, never for N². The
    intervals are those of `pingraph.jackknife`, with groups of pins left out in turn.

    Args:
        one: float32 [N, D].
        two: float32 [N, E].

    Returns:
        "cka" and "cka_debiased", each with "value" and "ci95"; null, with a "reason" beside, where
        it does not exist.
    """
    pairs = [(one, one), (one, two), (two, two)]
    whole = [_moments(a, b) for a, b in pairs]
    left_out = []
    if len(one) >= 2 * GROUPS:
        for g in range(GROUPS):
            parts = (_moments(a[g::GROUPS], b[g::GROUPS]) for a, b in pairs)
            left_out.append([full - part for full, part in zip(whole, parts, strict=True)])
    return {
        name: _with_interval(_ratio(whole, hsic), [_ratio(sums, hsic) for sums in left_out])
        for name, hsic in (("cka", _hsic), ("cka_debiased", _unbiased_hsic))
    }


def _exact(vectors: np.ndarray) -> np.ndarray:
    return vectors.astype(np.float64)


def cross_products(
    left: np.ndarray, right: np.ndarray, prepare: Callable[[np.ndarray], np.ndarray] = _exact
) -> np.ndarray:
    """Return leftᵀ right, summed in float64 block by block, of rows as `prepare` makes them."""
    starts = range(0, max(1, len(left)), _BLOCK)  # of no rows, one block without any
    blocks = (slice(start, start + _BLOCK) for start in starts)
    return np.asarray(sum(prepare(left[rows]).T @ prepare(right[rows]) for rows in blocks))


def require_same_pins(one: EmbeddingTable, two: EmbeddingTable) -> None:
    """Raise PinGraphError unless two embeddings are of the same pins in the same order."""
    if not np.array_equal(one.pin_ids, two.pin_ids):
        raise PinGraphError(
            f"the embeddings are of other pins, or in another order ({len(one.pin_ids)} and "
            f"{len(two.pin_ids)} pins)"
        )


def _moments(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return all sums over pins that HSIC needs, float64 [D + 2, E + 2].

    The vectors are extended by their squared length and by 1, so that their products hold Xᵀ Y,
    Σ x, Σ y, Σ ‖y‖² x, Σ ‖x‖² y, Σ ‖x‖² ‖y‖², Σ ‖x‖², Σ ‖y‖² and N.
    """
    return cross_products(left, right, _extended)


def _extended(vectors: np.ndarray) -> np.ndarray:
    squares = np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64)
    return np.column_stack([vectors, squares, np.ones(len(vectors))])


def _hsic(sums: np.ndarray) -> float:
    """‖Σ (x - mean x)(y - mean y)ᵀ‖²_F."""
    centered = sums[:-2, :-2] - np.outer(sums[:-2, -1], sums[-1, :-2]) / max(sums[-1, -1], 1)
    return float(np.square(centered).sum())


def _unbiased_hsic(sums: np.ndarray) -> float:
    """Equation 5 of Song et al. (2012) for K = X Xᵀ and L = Y Yᵀ without their diagonals.

    tr(KL) + 1ᵀK1 · 1ᵀL1 / ((N-1)(N-2)) - 2 / (N-2) · 1ᵀKL1, times N (N-3), which CKA cancels.
    """
    count, product = sums[-1, -1], sums[:-2, :-2]
    if count < 4:
        return np.nan
    x, y = sums[:-2, -1], sums[-1, :-2]  # Σ x, Σ y
    trace = np.square(product).sum() - sums[-2, -2]
    total_k, total_l = x @ x - sums[-2, -1], y @ y - sums[-1, -2]
    mixed = x @ product @ y - x @ sums[:-2, -2] - y @ sums[-2, :-2] + sums[-2, -2]
    both = total_k * total_l / ((count - 1) * (count - 2))
    return float(trace + both - 2 * mixed / (count - 2))


def _ratio(sums: list[np.ndarray], hsic: Any) -> float:
    own_one, cross, own_two = (hsic(part) for part in sums)
    # Equal vectors leave a rounding error of what cancels, which is nothing.
    tiny = 1e-12 * max(np.square(sums[0]).max(), np.square(sums[2]).max())
    if not min(own_one, own_two) > tiny:
        return np.nan
    return cross / np.sqrt(own_one * own_two)


def _with_interval(value: float, left_out: list[float]) -> dict[str, Any]:
    if not np.isfinite(value):
        reason = "too few pins, or the vectors of an embedding are all alike"
        return {"value": None, "ci95": None, "reason": reason}
    return {"value": float(value), "ci95": jackknife_interval(value, left_out, (-1, 1))}
