"""Means, differences and lifts of methods over queries and seeds, with intervals and tests.

Each seed holds out pins of its own, so the queries of two seeds are different ones: methods are
paired query by query within a seed, and every seed counts alike. Letters: S seeds, Q queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pingraph.bootstrap import LEVELS, RESAMPLES, resampled_means, unseen
from pingraph.significance import sign_flip


@dataclass(frozen=True, kw_only=True)
class Mean:
    """A mean over seeds of means over queries, and its 95% interval (None with one query)."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How a method differs from the reference on the queries that both answered."""

    difference: Mean
    lift: Mean | None  # of the means; None where that of the reference is 0
    p: float  # two-sided, of the sign-flip test
    queries: int
    seeds: int


def averaged(values: Sequence[np.ndarray], *, seed: int) -> Mean:
    """Return the mean of S arrays float64 [Q of the seed], none empty, with its interval.

    The interval is that of the hierarchical bootstrap (Davison and Hinkley 1997, section 3.8):
    seeds are drawn with replacement, and within each drawn seed its queries. With one seed it is
    the interval over queries alone; with few seeds it is a rough one, as they have little to tell.
    Where all queries of all seeds got 0, or 1, it is that of `bootstrap.mean_intervals` for as many
    queries as there would be if each seed had the least: for the mean over seeds that is enough.

    Args:
        values: what each query got, from 0 to 1, by seed.
        seed: of the resamples.
    """
    mean = float(np.mean([part.mean() for part in values]))
    found = _mean(mean, resampled(values, seed=seed)[:, 0], values)
    if found.low is None or mean not in (0, 1):
        return found
    share = unseen(len(values) * min(map(len, values)))
    return replace(found, low=1 - share) if mean else replace(found, high=share)


def compared(before: Sequence[np.ndarray], after: Sequence[np.ndarray], *, seed: int) -> Comparison:
    """Compare a method with the reference; see `averaged` for the intervals.

    The lift is mean(after) / mean(before) - 1, of the same resamples. The p-value flips the signs
    of the queries' differences, each weighted so that seeds count alike; it says whether these
    trained models differ on more queries than these, and nothing of other seeds.

    Args:
        before: the reference's, by seed, float64 [Q of the seed], none empty.
        after: the method's, of the same seeds and queries.
        seed: of the resamples and flips.
    """
    gains = [two - one for one, two in zip(before, after, strict=True)]
    both = [np.stack([one, gain], axis=1) for one, gain in zip(before, gains, strict=True)]
    base, gain = resampled(both, seed=seed).T
    seen = np.mean([part.mean() for part in before]), np.mean([part.mean() for part in gains])
    ratios = np.divide(gain, base, out=np.where(gain == 0, 0.0, np.inf), where=base != 0)
    weighted = np.concatenate([part / (len(part) * len(gains)) for part in gains])
    return Comparison(
        difference=_mean(seen[1], gain, gains),
        lift=_mean(seen[1] / seen[0], ratios, gains) if seen[0] else None,
        p=float(sign_flip(weighted[:, None], seed=seed)[0]),
        queries=len(weighted),
        seeds=len(gains),
    )


def resampled(values: Sequence[np.ndarray], *, seed: int) -> np.ndarray:
    """Return the means of hierarchical resamples, see `averaged`.

    Args:
        values: float64 [Q of the seed] or [Q of the seed, M], by seed.
        seed: of the resamples; arrays of the same sizes get the same ones.

    Returns:
        float64 [RESAMPLES, M].
    """
    means = np.stack(
        [
            resampled_means(part.reshape(len(part), -1), seed=seed + place)
            for place, part in enumerate(values)
        ]
    )
    rng = np.random.default_rng([seed, len(values)])
    shape = RESAMPLES, len(values)
    if len(values) == 1:
        return means[0]
    return means[rng.integers(len(values), size=shape), rng.integers(RESAMPLES, size=shape)].mean(1)


def _mean(value: float, drawn: np.ndarray, values: Sequence[np.ndarray]) -> Mean:
    if sum(map(len, values)) < 2:
        return Mean(value=float(value), low=None, high=None)
    low, high = np.quantile(drawn, LEVELS, method="inverted_cdf").tolist()
    known = np.isfinite([low, high]).all()
    return Mean(value=float(value), low=low if known else None, high=high if known else None)
