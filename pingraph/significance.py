"""Tells whether one method beats another: paired tests over queries, corrected for their number.

Letters: Q queries, M metrics, T tests.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pingraph.bootstrap import mean_intervals
from pingraph.errors import PinGraphError
from pingraph.evaluation import PARTS, Evaluation
from pingraph.metrics import METRICS
from pingraph.ranking import TaskResult

FLIPS = 10_000
_CHUNK = 4_000_000  # signs that are held at a time: 32 MB


@dataclass(frozen=True, kw_only=True)
class PairedTest:
    """One metric of two methods over the same queries.

    `p` is two-sided, of the hypothesis that which method got which value of a query is a matter of
    chance. `p_holm` is corrected for all tests that were made together: where it is below 0.05, the
    chance that any of them is a false alarm is below 5%.
    """

    first: str
    second: str
    part: str
    task: str
    metric: str
    queries: int
    means: tuple[float, float]
    difference: float  # second - first
    ci95: tuple[float, float] | None  # of the difference; None with one query
    p: float
    p_holm: float

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON holds them."""
        ends = None if self.ci95 is None else list(self.ci95)
        return {**asdict(self), "means": list(self.means), "ci95": ends}


def paired_tests(
    evaluations: Mapping[str, Evaluation],
    *,
    metrics: Sequence[str] = ("recall@10",),
    base: str | None = None,
    seed: int = 0,
    flips: int = FLIPS,
) -> list[PairedTest]:
    """Test every pair of methods in every task, cold and warm, and correct all tests together.

    Args:
        evaluations: by the methods' names, of one data set and split, with the same queries.
        metrics: names of METRICS; each more makes the correction stricter for all.
        base: a method that all others are tested against; None tests every pair.
        seed: of the resamples and the flips.
        flips: how many signs are drawn, see `sign_flip`.

    Returns:
        The tests, none for tasks without queries or that one of the two methods lacks.

    Raises:
        PinGraphError: a name is unknown, or two methods answered different queries.
    """
    for metric in metrics:
        if metric not in METRICS:
            raise PinGraphError(f"metric {metric!r}: expected one of {', '.join(METRICS)}")
    columns = [METRICS.index(metric) for metric in metrics]
    drafts = []
    for first, second in _pairs(list(evaluations), base):
        for part, task, one, two in _shared_tasks(evaluations, first, second):
            values = one.values[:, columns], two.values[:, columns]
            names = {"first": first, "second": second, "part": part, "task": task}
            drafts += [
                {**names, "metric": metric, **measured}
                for metric, measured in zip(metrics, _test(*values, seed, flips), strict=True)
            ]
    corrected = holm(np.array([draft["p"] for draft in drafts]))
    return [
        PairedTest(**draft, p_holm=float(p)) for draft, p in zip(drafts, corrected, strict=True)
    ]


def sign_flip(differences: np.ndarray, *, seed: int, flips: int = FLIPS) -> np.ndarray:
    """Return two-sided p-values of paired differences by flipping their signs (Fisher 1935, § 21).

    If the methods are alike, each query's difference could as well have the other sign. p is the
    share of sign patterns whose sum is at least as far from 0 as the one that was seen. All 2^Q
    are tried where there are no more than `flips`; else that many are drawn and the one that was
    seen is counted as one of them (Phipson and Smyth 2010), so p is never 0.

    Args:
        differences: float64 [Q, M]; all columns see the same flips.
        seed: of the flips that are drawn.
        flips: how many.

    Returns:
        float64 [M]; 1 without queries.
    """
    queries = len(differences)
    seen = np.abs(differences.sum(axis=0))
    enough = seen - 1e-9 * np.abs(differences).sum(axis=0)  # sums in another order round otherwise
    every = queries < 63 and 2**queries <= flips
    count, extreme = 0, np.zeros(differences.shape[1])
    for signs in _every_sign(queries) if every else _drawn_signs(queries, seed, flips):
        extreme += (np.abs(signs @ differences) >= enough).sum(axis=0)
        count += len(signs)
    return extreme / count if every else (extreme + 1) / (count + 1)


def holm(p: np.ndarray) -> np.ndarray:
    """Return p-values corrected for being many, so that any false alarm is unlikely (Holm 1979).

    Sorted upward, the i-th of T (from 0) becomes p · (T - i), at most 1, and no less than the one
    before it. Holds however the tests depend on each other.

    Args:
        p: float64 [T].
    """
    order = np.argsort(p, kind="stable")
    steps = np.minimum(p[order] * (len(p) - np.arange(len(p))), 1)
    corrected = np.empty(len(p))
    corrected[order] = np.maximum.accumulate(steps)
    return corrected


def _pairs(names: list[str], base: str | None) -> list[tuple[str, str]]:
    if base is None:
        return list(itertools.combinations(names, 2))
    if base not in names:
        raise PinGraphError(f"base {base!r}: expected one of {', '.join(names)}")
    return [(base, name) for name in names if name != base]


def _shared_tasks(
    evaluations: Mapping[str, Evaluation], first: str, second: str
) -> Iterator[tuple[str, str, TaskResult, TaskResult]]:
    for part in PARTS:
        others = getattr(evaluations[second], part)
        for task, one in getattr(evaluations[first], part).items():
            two = others.get(task)
            if one is None or two is None:
                continue
            if not np.array_equal(one.queries, two.queries):
                raise PinGraphError(
                    f"{part} {task}: {first!r} and {second!r} answered different queries"
                )
            if len(one.queries):
                yield part, task, one, two


def _test(before: np.ndarray, after: np.ndarray, seed: int, flips: int) -> Iterator[dict[str, Any]]:
    gains = after - before
    ends = mean_intervals(gains, seed=seed)
    p = sign_flip(gains, seed=seed, flips=flips)
    for column in range(gains.shape[1]):
        low, high = ends[column].tolist()
        yield {
            "queries": len(gains),
            "means": (float(before[:, column].mean()), float(after[:, column].mean())),
            "difference": float(gains[:, column].mean()),
            "ci95": (low, high) if len(gains) > 1 else None,
            "p": float(p[column]),
        }


def _every_sign(queries: int) -> Iterator[np.ndarray]:
    patterns = np.arange(2**queries)[:, None] >> np.arange(queries)
    yield (patterns & 1) * 2.0 - 1


def _drawn_signs(queries: int, seed: int, flips: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(seed)
    chunk = max(1, _CHUNK // queries)
    for start in range(0, flips, chunk):
        shape = min(chunk, flips - start), queries
        yield rng.integers(2, size=shape, dtype=np.int8) * 2.0 - 1
