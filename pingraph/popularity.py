"""Tells for which pins an embedding is good: metrics by degree and age, and who is found at all.

Letters: N pins, Q queries, k places of a list, L buckets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from pingraph.errors import PinGraphError
from pingraph.evaluation import PARTS, Evaluation, table_scorers
from pingraph.jackknife import GROUPS, jackknife_interval
from pingraph.metrics import DEPTH, best_items
from pingraph.ranking import Scorer, TaskResult, figures, measured
from pingraph.relevance import Task, retrieval_tasks

if TYPE_CHECKING:
    from pingraph.datasets import PinBoardDataset
    from pingraph.graph import PinBoardGraph
    from pingraph.interfaces import EmbeddingTable
    from pingraph.splits import Split

K = 10  # places of the lists that are looked at


@dataclass(frozen=True, kw_only=True)
class Buckets:
    """Pins and boards that are dealt into classes by a number, such as their degree."""

    by: str  # "degree" or "age"
    bounds: tuple[tuple[int, int], ...]  # lowest and highest number of each of the L buckets
    pins: np.ndarray  # int64 [N], the bucket of each pin, -1 for none
    boards: np.ndarray  # int64 [boards], likewise

    @property
    def labels(self) -> tuple[str, ...]:
        """Name the buckets, such as "0", "1", "2–4"."""
        dash = "\N{EN DASH}"
        return tuple(f"{low}{dash}{high}" if low < high else str(low) for low, high in self.bounds)


def degree_buckets(graph: PinBoardGraph) -> Buckets:
    """Deal pins by their number of boards, and boards by their number of pins.

    The buckets are 0, 1, 2–4, 5–16, 17–64 and so on, each four times as high as the one before.

    Args:
        graph: the training graph, so that bucket 0 holds what training saw no edge of.
    """
    degrees = graph.pin_degrees, graph.board_degrees
    highs = [0, 1]
    while highs[-1] < max(part.max(initial=0) for part in degrees):
        highs.append(4 * highs[-1])
    bounds = [(low + 1, high) for low, high in zip([-1, *highs], highs, strict=False)]
    pins, boards = (np.searchsorted(highs, part) for part in degrees)
    return Buckets(by="degree", bounds=tuple(bounds), pins=pins, boards=boards)


def age_buckets(graph: PinBoardGraph, parts: int = 5) -> Buckets | None:
    """Deal pins by age into parts of about equal size, youngest first; boards are in none.

    The age of a pin is the time from its first edge to the last edge of the graph, in the unit of
    the times. Pins of one age stay together; pins without an edge have none.

    Args:
        graph: the graph with all edges.
        parts: how many, at least 1; there are fewer where many pins are of one age.

    Returns:
        The buckets; None for a graph without times or edges.
    """
    if graph.pin_times is None or not graph.num_edges:
        return None
    dated = graph.pin_degrees > 0
    first = np.minimum.reduceat(graph.pin_times, graph.pin_offsets[:-1][dated])
    ages = graph.pin_times.max() - first
    order = np.sort(ages)
    highs = np.unique(order[np.arange(1, parts + 1) * len(order) // parts - 1])
    places = np.searchsorted(highs, ages)
    lows = order[np.searchsorted(order, [-1, *highs[:-1]], side="right")]
    pins = np.full(graph.num_pins, -1)
    pins[dated] = places
    bounds = tuple(zip(lows.tolist(), highs.tolist(), strict=True))
    return Buckets(by="age", bounds=bounds, pins=pins, boards=np.full(graph.num_boards, -1))


def metrics_by_bucket(evaluation: Evaluation, buckets: Buckets) -> dict[str, Any]:
    """Average every metric over the queries of each bucket, apart.

    Returns:
        By part and task (null where the evaluation has none): a list of the L buckets, each with
        its "bucket" (label), number of "queries", and for each metric "value" and "ci95" (null
        without queries, or with one).
    """
    return {
        part: {
            task: result and _by_bucket(task, result, buckets, evaluation.seed)
            for task, result in getattr(evaluation, part).items()
        }
        for part in PARTS
    }


def best_lists(
    task: Task, scorer: Scorer, queries: np.ndarray, k: int = K
) -> tuple[np.ndarray, sparse.csr_array]:
    """Return what queries find among their candidates, and who is relevant to them.

    Args:
        task: says who is a candidate.
        scorer: of `pingraph.evaluation`.
        queries: int64 [Q].
        k: places of a list, at most DEPTH.

    Returns:
        int64 [Q, k], best first, -1 where there are no more candidates; ties in the order of the
        metrics. And a sparse [Q, N] whose stored entries are the relevant pairs.

    Raises:
        PinGraphError: k is out of its range.
    """
    if not 1 <= k <= DEPTH:
        raise PinGraphError(f"k is {k}: expected 1 to {DEPTH}")
    lists = [np.empty((0, k), np.int64)]
    pairs = [sparse.csr_array((0, len(task.corpus)), dtype=np.float32)]
    for block in task.blocks(queries):
        scores = scorer(block)
        relevant, excluded = task.judge(block)
        scores[:, ~task.corpus] = -np.inf
        scores[excluded.tocoo().coords] = -np.inf
        lists.append(best_items(scores, block, k))
        pairs.append(relevant)
    return np.concatenate(lists), sparse.vstack(pairs, format="csr")


def exposure(
    lists: np.ndarray, relevant: sparse.csr_array, popularity: np.ndarray, *, seed: int
) -> dict[str, Any]:
    """Tell how popular what is found is, how many pins are found at all, and how evenly.

    - popularity: the mean popularity of the pins of a list, averaged over the lists (ARP of Yin et
      al. 2012); beside it that of the relevant pins, which a fair method would show.
    - coverage: the share of the N pins that is on any list (Herlocker et al. 2004, section 4.1.2),
      and the share that could be, with so many places.
    - gini: of how often each of the N pins is on a list, (Σ_i (2 i - N - 1) x_i) / (N Σ x), with x
      ascending: 0 if all are shown alike, near 1 if few get all places. `gini_even` is the least
      that so many places can reach, where places are fewer than pins.

    Coverage and Gini are properties of all lists together. To draw lists again with replacement
    makes both worse by itself, so their intervals are those of the jackknife over lists.

    Args:
        lists: int64 [Q, k], -1 for no pin.
        relevant: sparse [Q, N], its stored entries say who is relevant to each query.
        popularity: [N], such as the training degree of each pin.
        seed: of the resamples.

    Returns:
        Numbers, and "value" with "ci95" of the two popularities, coverage and Gini; null without
        lists, or without enough of them.
    """
    count, shown = len(popularity), lists >= 0
    popularity = popularity.astype(np.float64)
    with np.errstate(invalid="ignore"):  # 0 / 0 of a list without pins
        found = np.where(shown, popularity[lists], 0).sum(axis=1) / shown.sum(axis=1)
        pattern = (np.ones(relevant.nnz), relevant.indices, relevant.indptr)
        sums = sparse.csr_array(pattern, shape=relevant.shape) @ popularity
        wanted = sums / np.diff(relevant.indptr)
    times = _times(lists, count)
    places = int(times.sum())
    groups = GROUPS if len(lists) >= 2 * GROUPS else 0
    rests = (times - _times(lists[group::GROUPS], count) for group in range(groups))
    left_out = [(coverage(rest), gini(rest)) for rest in rests]
    return {
        "lists": len(lists),
        "k": lists.shape[1],
        "popularity": _mean(found, seed),
        "popularity_of_relevant": _mean(wanted, seed),
        "popularity_of_all": float(popularity.mean()),
        "coverage": _jackknifed(coverage(times), [one for one, _ in left_out]),
        "coverage_possible": min(1.0, places / count),
        "gini": _jackknifed(gini(times), [one for _, one in left_out]),
        "gini_even": max(0.0, 1 - places / count) if places else None,
    }


def coverage(counts: np.ndarray) -> float | None:
    """Return the share of counts [N] above 0, None where all are 0; see `exposure`."""
    return float((counts > 0).mean()) if counts.any() else None


def gini(counts: np.ndarray) -> float | None:
    """Return the Gini coefficient of counts [N] from 0 up, None where all are 0; see `exposure`."""
    total, count = counts.sum(), len(counts)
    if not total:
        return None
    weights = 2 * np.arange(1, count + 1) - count - 1
    return float(weights @ np.sort(counts).astype(np.float64) / (count * total))


def reach_by_bucket(
    lists: np.ndarray, relevant: sparse.csr_array, buckets: Buckets, *, seed: int
) -> list[dict[str, Any]]:
    """Tell how well the pins of each bucket are found: the other end of `metrics_by_bucket`.

    Of a query with R relevant pins in a bucket, h of which are on its list of k, it is h / min(k,
    R), averaged over the queries with R > 0. All buckets share the k places.

    Args:
        lists: int64 [Q, k], -1 for no pin.
        relevant: sparse [Q, N], its stored entries say who is relevant to each query.
        buckets: of the relevant pins.
        seed: of the resamples.

    Returns:
        Of each of the L buckets its "bucket" (label), number of "queries", "value" and "ci95".
    """
    rows = np.repeat(np.arange(len(lists)), np.diff(relevant.indptr))
    columns, width = relevant.indices, len(buckets.pins)
    on_list = np.flatnonzero(lists.ravel() >= 0)
    keys = on_list // max(1, lists.shape[1]) * width + lists.ravel()[on_list]
    hit = np.isin(rows * width + columns, keys)
    out = []
    for place, label in enumerate(buckets.labels):
        inside = buckets.pins[columns] == place
        total = np.bincount(rows[inside], minlength=len(lists))
        hits = np.bincount(rows[inside & hit], minlength=len(lists))
        asked = total > 0
        values = hits[asked] / np.minimum(total[asked], lists.shape[1])
        out.append({"bucket": label, "queries": int(asked.sum()), **_mean(values, seed, unit=True)})
    return out


def popularity(
    table: EmbeddingTable,
    dataset: PinBoardDataset,
    split: Split,
    evaluation: Evaluation,
    *,
    k: int = K,
) -> dict[str, Any]:
    """Tell for whom an embedding is good, from its evaluation and its lists of pin → pin.

    Args:
        table: the embeddings.
        dataset: the data set, and `split` its split, of the evaluation.
        split: says which edges training saw: a pin's popularity is its degree among those.
        evaluation: what `evaluate_table` made of them; its pin → pin queries are asked again.
        k: places of a list.

    Returns:
        "by_degree" and "by_age" (null without times) as `metrics_by_bucket`; "exposure" and, by
        the degree of what is to be found, "reach" for each part (null without queries).
    """
    graph = dataset.graph
    trained = split.train_graph(graph)
    by_degree, by_age = degree_buckets(trained), age_buckets(graph)
    task = retrieval_tasks(dataset, split)[0]
    scorer = table_scorers(table, dataset, split)[task.name]
    shown: dict[str, Any] = {"exposure": {}, "reach": {}}
    for part in PARTS:
        result = getattr(evaluation, part)[task.name]
        asked = result is not None and len(result.queries)
        found = best_lists(task, scorer, result.queries, k) if asked else None
        seed = evaluation.seed
        shown["exposure"][part] = found and exposure(*found, trained.pin_degrees, seed=seed)
        shown["reach"][part] = found and reach_by_bucket(*found, by_degree, seed=seed)
    return {
        "by_degree": metrics_by_bucket(evaluation, by_degree),
        "by_age": by_age and metrics_by_bucket(evaluation, by_age),
        **shown,
    }


def _by_bucket(task: str, result: TaskResult, buckets: Buckets, seed: int) -> list[dict[str, Any]]:
    places = (buckets.boards if task == "board_to_pins" else buckets.pins)[result.queries]
    return [
        {
            "bucket": label,
            "queries": int((places == place).sum()),
            **figures(result.values[places == place], seed=seed),
        }
        for place, label in enumerate(buckets.labels)
    ]


def _times(lists: np.ndarray, pins: int) -> np.ndarray:
    """Return on how many lists each pin is, int64 [N]."""
    return np.bincount(lists[lists >= 0], minlength=pins)


def _jackknifed(value: float | None, left_out: list[float | None]) -> dict[str, Any]:
    others = [one for one in left_out if one is not None]
    if value is None or len(others) < len(left_out):
        return {"value": value, "ci95": None}
    return {"value": value, "ci95": jackknife_interval(value, others, (0, 1))}


def _mean(values: np.ndarray, seed: int, *, unit: bool = False) -> dict[str, Any]:
    known = values[np.isfinite(values)]
    return measured(known[:, None], seed=seed, unit=unit)[0]
