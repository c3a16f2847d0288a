"""Percentile bootstrap intervals over queries (Efron and Tibshirani 1993, chapters 13 and 16).

Letters: Q queries, M metrics, S resamples.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

RESAMPLES = 1000
LEVELS = (0.025, 0.975)


def mean_intervals(values: np.ndarray, *, seed: int, unit: bool = False) -> np.ndarray:
    """Return the 95% intervals of means over queries.

    Where all queries got the same, so do all resamples. Of 8 hits of 8 queries they would say that
    nothing but hits is possible: where `unit` is true, the interval is then that of Clopper and
    Pearson (1934) for the share of hits, from 0.025^(1/8) = 0.63 to 1; of no hit, its mirror image.
    It holds for any values from 0 to 1, whose mean is no less than the share that is 1.

    Args:
        values: float64 [Q, M], what each query got.
        seed: the random seed; all columns see the same resamples.
        unit: whether values are from 0 to 1, as those of metrics are.

    Returns:
        float64 [M, 2], lower and upper ends; NaN with fewer than 2 queries.
    """
    if len(values) < 2:
        return np.full((values.shape[1], 2), np.nan)
    ends = np.quantile(resampled_means(values, seed=seed), LEVELS, axis=0).T
    if unit:
        ends[(values == 1).all(axis=0), 0] = 1 - unseen(len(values))
        ends[(values == 0).all(axis=0), 1] = unseen(len(values))
    return ends


def unseen(queries: int) -> float:
    """Return how large a share of all queries may be otherwise than so many that are all alike."""
    return 1 - LEVELS[0] ** (1 / queries)


def resampled_means(values: np.ndarray, *, seed: int) -> np.ndarray:
    """Return the means of RESAMPLES resamples of at least one row, float64 [RESAMPLES, M]."""
    means = [counts @ values / len(values) for counts in _resamples(len(values), seed)]
    return np.concatenate(means)


def lifts(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return mean(after) / mean(before) - 1 of each column, NaN where mean(before) is 0.

    Args:
        before: float64 [Q, M].
        after: float64 [Q, M], the same queries.
    """
    base = before.sum(axis=0)
    return _ratio((after - before).sum(axis=0), base, over_nothing=np.full(base.shape, np.nan))


def lift_intervals(before: np.ndarray, after: np.ndarray, *, seed: int) -> np.ndarray:
    """Return the 95% intervals of `lifts`, from resamples of the queries that both share.

    Returns:
        float64 [M, 2]; NaN with fewer than 2 queries, without a lift, and where so many resamples
        have a mean(before) of 0 that the interval has no end.
    """
    if len(before) < 2:
        return np.full((before.shape[1], 2), np.nan)
    drawn = []
    for counts in _resamples(len(before), seed):
        gain, base = counts @ (after - before), counts @ before
        # A gain over nothing is larger than any other lift; no gain over nothing is none.
        drawn.append(_ratio(gain, base, over_nothing=np.where(gain == 0, 0.0, np.inf)))
    # This method takes one of the values, where interpolation would make NaN next to infinity.
    ends = np.quantile(np.concatenate(drawn), LEVELS, axis=0, method="inverted_cdf").T
    valid = np.isfinite(ends).all(axis=1) & np.isfinite(lifts(before, after))
    return np.where(valid[:, None], ends, np.nan)


def _ratio(gain: np.ndarray, base: np.ndarray, *, over_nothing: np.ndarray) -> np.ndarray:
    return np.divide(gain, base, out=over_nothing, where=base != 0)


def _resamples(count: int, seed: int) -> Iterator[np.ndarray]:
    """Yield how often each query is drawn, float64 [chunk, Q], RESAMPLES rows in all.

    The chunks bound the memory at about 60 MB; one seed gives one set of resamples.
    """
    rng = np.random.default_rng(seed)
    chunk = max(1, min(RESAMPLES, 4_000_000 // count))
    for start in range(0, RESAMPLES, chunk):
        rows = min(chunk, RESAMPLES - start)
        drawn = rng.integers(count, size=(rows, count)) + np.arange(rows)[:, None] * count
        counts = np.bincount(drawn.ravel(), minlength=rows * count)
        yield counts.reshape(rows, count).astype(np.float64)
