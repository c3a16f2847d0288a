"""Tells what an embedding still finds in the forms in which it is served: cut, int8 or binary.

Letters: N pins, Q queries, D channels of an embedding, k neighbors of each query.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pingraph.bootstrap import lift_intervals, lifts
from pingraph.codes import as_served, encode
from pingraph.errors import PinGraphError
from pingraph.evaluation import PARTS, Evaluation, evaluate_table
from pingraph.knn import nearest_neighbors
from pingraph.metrics import METRICS
from pingraph.ranking import (
    TaskResult,
    draw_queries,
    figures,
    interval_or_null,
    measured,
    number_or_null,
)
from pingraph.stability import shared_neighbors

if TYPE_CHECKING:
    from pingraph.datasets import PinBoardDataset
    from pingraph.interfaces import EmbeddingTable
    from pingraph.splits import Split
    from pingraph.views import View


def usual_views(channels: int) -> list[View]:
    """Return the forms that are worth a look: int8, binary, cuts to a half, a quarter, an eighth.

    Args:
        channels: D of the embedding; cuts below 8 channels are left out.
    """
    from pingraph.views import View  # imports torch

    cuts = [channels // part for part in (2, 4, 8) if channels // part >= 8]
    return [View(code="int8"), View(code="binary"), *(View(dim=cut) for cut in cuts)]


def served_quality(
    table: EmbeddingTable,
    dataset: PinBoardDataset,
    split: Split,
    views: Sequence[View] | None = None,
    *,
    evaluation: Evaluation | None = None,
    k: int = 10,
    seed: int = 0,
    max_queries: int = 10_000,
) -> dict[str, Any]:
    """Evaluate the stored forms of an embedding beside the whole vectors.

    Queries and pins are both stored in the form.

    Args:
        table: the whole vectors.
        dataset: the data set.
        split: says which pins are cold.
        views: the forms; None takes `usual_views`.
        evaluation: of the whole vectors with the same `seed` and `max_queries`, if it is there.
        k: neighbors of a query that are compared with those of the whole vectors.
        seed: of drawn queries and of intervals.
        max_queries: as of `evaluate_table`; of the neighbors too.

    Returns:
        "k", "full" and "forms", which hold "dim", "code", "bytes_per_pin" (of one vector), and
        "parts": by part and task (null where it does not exist) each metric's "value" and "ci95".
        Of forms these have beside them "lift" and "lift_ci95", the relative change to the whole
        vectors, paired over queries (null as in `comparison.json`); and "neighbors_kept": the share
        of the k nearest of the whole vectors that are among the k nearest of the form, over pins
        with a vector and among them (null with fewer than two).

    Raises:
        PinGraphError: a view is wider than the vectors, or what `evaluate_table` raises.
    """
    evaluate = partial(evaluate_table, table, dataset, split, seed=seed, max_queries=max_queries)
    whole = evaluation or evaluate()
    channels = table.fused.shape[1]
    present = table.present["fused"]
    vectors = table.fused if present.all() else table.fused[present]
    drawn = draw_queries(np.arange(len(vectors)), max_queries, seed)
    neighbors = nearest_neighbors(vectors, k, queries=drawn).ids
    forms = []
    for view in usual_views(channels) if views is None else views:
        done = evaluate(view=view)
        kept = _kept(neighbors, as_served(vectors, view), drawn)
        forms.append(
            {
                "dim": view.width(channels),
                "code": view.code,
                "bytes_per_pin": encode(table.fused[:1], view).bytes_per_pin,
                "neighbors_kept": measured(kept[:, None], seed=seed)[0],
                "parts": _parts(whole, done, seed),
            }
        )
    full = {"dim": channels, "code": "float", "bytes_per_pin": 4 * channels}
    return {"k": k, "full": {**full, "parts": _parts(None, whole, seed)}, "forms": forms}


def gains(
    before: np.ndarray, after: np.ndarray, names: Sequence[str], *, seed: int
) -> dict[str, dict[str, Any]]:
    """Return what queries get now, and the relative change to what they got before.

    Args:
        before: float64 [Q, M].
        after: float64 [Q, M], of the same queries.
        names: of the M metrics.
        seed: of the resamples.

    Returns:
        By metric "value", "ci95", "lift" and "lift_ci95".
    """
    changes = lifts(before, after), lift_intervals(before, after, seed=seed)
    return {
        name: {
            **found,
            "lift": number_or_null(change),
            "lift_ci95": interval_or_null(ends),
        }
        for name, found, change, ends in zip(
            names, measured(after, seed=seed, unit=True), *changes, strict=True
        )
    }


def _kept(neighbors: np.ndarray, served: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Return the share of each query's k nearest that its stored form still finds, float64 [Q].

    Empty where there are none (k is 0). A query of which the form keeps nothing finds nobody.
    """
    k = neighbors.shape[1]
    if not k:
        return np.empty(0)
    found = nearest_neighbors(served, k, queries=queries).ids
    return shared_neighbors(neighbors, found) / k * served[queries].any(axis=1)


def _parts(whole: Evaluation | None, done: Evaluation, seed: int) -> dict[str, Any]:
    out: dict[str, Any] = {part: {} for part in PARTS}
    for part in PARTS:
        for task, result in getattr(done, part).items():
            base = None if whole is None else getattr(whole, part).get(task)
            out[part][task] = result and _task(base, result, seed, f"{part} {task}")
    return out


def _task(base: TaskResult | None, result: TaskResult, seed: int, where: str) -> dict[str, Any]:
    if base is None:
        return figures(result.values, seed=seed)
    if not np.array_equal(base.queries, result.queries):
        raise PinGraphError(f"{where}: the whole vectors were evaluated on other queries")
    return gains(base.values, result.values, METRICS, seed=seed)
