"""Approximate search with faiss: how much of what is near it finds, at which speed.

Letters: N pins, Q queries, D channels, k neighbors of each query, S places that are searched.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from pingraph.embeddings import check_table, require_pins
from pingraph.errors import PinGraphError
from pingraph.evaluation import PARTS
from pingraph.knn import nearest_neighbors
from pingraph.metrics import ranking_metrics
from pingraph.ranking import draw_queries, measured
from pingraph.relevance import PinTask, retrieval_tasks
from pingraph.served import gains

if TYPE_CHECKING:
    from pingraph.datasets import PinBoardDataset
    from pingraph.interfaces import EmbeddingTable
    from pingraph.splits import Split

K = 10
AT_K = ("recall@1", "recall@10", "hit_rate@10", "ndcg@10")  # what K places are enough for
EFFORTS = (8, 16, 32, 64, 128, 256)
_REPEATS = 3  # the fastest counts
_MOST = 2048  # places that are searched at most


def recall_speed(
    table: EmbeddingTable,
    dataset: PinBoardDataset,
    split: Split,
    *,
    factory: str = "HNSW32",
    parameter: str = "efSearch",
    efforts: Sequence[int] = EFFORTS,
    max_queries: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Search pin → pin through a faiss index with more and more effort, and exactly for comparison.

    The index holds the pins that have a vector (one of zeros stands for none). A query without one
    finds nobody, and has no recall.

    Recall of a query is the share of its 10 places that hold a pin whose exact score is at least
    that of the 10th nearest (as ann-benchmarks counts, Aumüller et al. 2020): which of some pins
    with one score are found is no mistake. The task metrics rank what was found among what may be
    found (for splits other than by pin, pairs known from training are no candidates, and more
    places are searched to make up for them); what was not found is not ranked at all.

    Speed is queries per second in one call with all queries, the fastest of three, with the threads
    that faiss has (`faiss.omp_set_num_threads`, OMP_NUM_THREADS). An index that is built by several
    threads is not the same each time, nor is what it finds.

    Args:
        table: the embeddings; their fused vectors are searched by dot product.
        dataset: the data set.
        split: says which pins are cold; the queries are cold and warm pins with a board-mate.
        factory: the index, in the words of `faiss.index_factory`, such as "IVF1024,SQ8".
        parameter: what is turned, such as "efSearch" of HNSW or "nprobe" of IVF.
        efforts: its values.
        max_queries: more queries of a part than this are drawn from.
        seed: of the draw and the intervals.

    Returns:
        "factory", "parameter", "threads", "pins" (that the index holds), "build_seconds",
        "bytes_per_pin" (of the index on disk), "queries" and "exact" by part and "points", one an
        effort. "exact" and the points have "queries_per_second" and "tasks": by part, the metrics
        AT_K with "value" and "ci95", null without queries; of points also "lift" and "lift_ci95"
        over the exact search. Points have "effort" and "recall" ("value" and "ci95").

    Raises:
        PinGraphError: faiss is not installed, knows no such index or parameter, or cannot build it
            from so few pins; or the embeddings are of other pins or not finite.
    """
    faiss = _faiss()
    require_pins(table, dataset.pin_ids, dataset.name)
    check_table(table, f"{dataset.name}: embeddings")
    vectors = np.ascontiguousarray(table.fused, np.float32)
    pins = np.flatnonzero(table.present["fused"])
    asked = _Asked(dataset, split, max_queries, seed)
    index, seconds = _build(faiss, vectors[pins], factory)
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors[pins])
    found, speed = _search(flat, vectors, pins, asked.queries, asked.places)
    exact = asked.values(found)
    points = []
    for effort in efforts:
        _turn(faiss, index, factory, parameter, effort)
        found, faster = _search(index, vectors, pins, asked.queries, asked.places)
        right = neighbor_recall(vectors, asked.queries, found)
        right = right[~np.isnan(right)]
        points.append(
            {
                "effort": effort,
                "recall": measured(right[:, None], seed=seed, unit=True)[0],
                "queries_per_second": faster,
                "tasks": asked.report(exact, asked.values(found), seed),
            }
        )
    return {
        "factory": factory,
        "parameter": parameter,
        "threads": faiss.omp_get_max_threads(),
        "pins": len(pins),
        "build_seconds": seconds,
        "bytes_per_pin": len(faiss.serialize_index(index)) / max(1, len(pins)),
        "queries": {part: len(rows) for part, rows in asked.parts.items()},
        "exact": {"queries_per_second": speed, "tasks": asked.report(None, exact, seed)},
        "points": points,
    }


def neighbor_recall(
    vectors: np.ndarray, queries: np.ndarray, found: np.ndarray, *, k: int = K
) -> np.ndarray:
    """Return the share of the first k places that hold one of the nearest, float64 [Q].

    A vector of zeros stands for none: such a query has no recall (NaN), and a place that holds such
    a pin is wrong.

    Args:
        vectors: float32 [N, D].
        queries: int64 [Q], rows of them; a query itself holds no place.
        found: int64 [Q, S], rows of the vectors, best first, -1 for none.
        k: places that count; where fewer others have a vector, there are as many as these.
    """
    present = np.asarray(vectors.any(axis=1))
    k = min(k, int(present.sum()) - 1)
    if k < 1:
        return np.empty(0)
    nearest = nearest_neighbors(vectors, k, queries=queries)
    lists = _without(found, found == queries[:, None])[:, :k]
    wide = vectors[queries].astype(np.float64)[:, None]
    held = (lists >= 0) & present[lists]
    scores = np.where(held, (wide * vectors[lists]).sum(axis=2), -np.inf)
    # The search sums in float32, in an order of its own: what is as near but for that is right.
    least = nearest.scores[:, -1:].astype(np.float64)
    recall = (scores >= least - 1e-6 * np.maximum(1, np.abs(least))).sum(axis=1) / k
    return np.where(present[queries], recall, np.nan)


class _Asked:
    """The queries of pin → pin, cold and warm, and who is relevant to them."""

    def __init__(self, dataset: PinBoardDataset, split: Split, max_queries: int, seed: int):
        graph = dataset.graph
        pins = {"cold": split.cold_pins(graph), "warm": split.warm_pins(graph)}
        task: PinTask = retrieval_tasks(dataset, split)[0]
        self.parts = {
            part: draw_queries(task.answerable(pins[part]), max_queries, seed) for part in PARTS
        }
        self.queries = np.concatenate([self.parts[part] for part in PARTS])
        self.relevant, self.excluded = task.judge(self.queries)
        most = int(np.diff(self.excluded.indptr).max(initial=1))
        self.places = min(K + most, dataset.num_pins, _MOST)

    def values(self, found: np.ndarray) -> np.ndarray:
        """Return AT_K of each query from what was found, int64 [Q, S]; float64 [Q, M]."""
        lists = _without(found, _among(found, self.excluded))[:, :K]
        rows = np.repeat(np.arange(len(lists)), np.diff(self.relevant.indptr))
        own = lists[rows] == self.relevant.indices[:, None]
        ranks = np.where(own.any(axis=1), own.argmax(axis=1), self.relevant.shape[1])
        metrics = ranking_metrics(ranks, self.relevant.indptr.astype(np.int64))
        return np.stack([metrics[name] for name in AT_K], axis=1)

    def report(self, before: np.ndarray | None, after: np.ndarray, seed: int) -> dict[str, Any]:
        """Return the metrics by part, null without queries."""
        out: dict[str, Any] = {}
        for part in PARTS:
            rows = np.isin(self.queries, self.parts[part])
            if not rows.any():
                out[part] = None
            elif before is None:
                out[part] = dict(
                    zip(AT_K, measured(after[rows], seed=seed, unit=True), strict=True)
                )
            else:
                out[part] = gains(before[rows], after[rows], AT_K, seed=seed)
        return out


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise PinGraphError(
            "approximate search needs faiss: pip install 'pingraph[faiss]'"
        ) from error
    return faiss


def _build(faiss: Any, vectors: np.ndarray, factory: str) -> tuple[Any, float]:
    start = time.perf_counter()
    try:
        index = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
        index.train(vectors)
        index.add(vectors)
    except RuntimeError as error:
        pins = f"{len(vectors):,} vectors of {vectors.shape[1]} channels"
        raise PinGraphError(
            f"index {factory!r}: faiss cannot build it of {pins}: {_reason(error)}"
        ) from error
    return index, time.perf_counter() - start


def _turn(faiss: Any, index: Any, factory: str, parameter: str, effort: int) -> None:
    try:
        faiss.ParameterSpace().set_index_parameter(index, parameter, effort)
    except RuntimeError as error:
        raise PinGraphError(f"index {factory!r} has no parameter {parameter!r}") from error


def _search(
    index: Any, vectors: np.ndarray, pins: np.ndarray, queries: np.ndarray, places: int
) -> tuple[np.ndarray, float | None]:
    """Return what is found, pins, int64 [Q, S], and the queries per second.

    The index holds `pins`, those with a vector. A query without one finds nobody.
    """
    out = np.full((len(queries), places), -1, np.int64)
    having = vectors[queries].any(axis=1)
    asked = vectors[queries[having]]
    if not len(asked):
        return out, None
    seconds = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        _, found = index.search(asked, places)
        seconds.append(time.perf_counter() - start)
    out[having] = np.where(found >= 0, pins[found], -1)
    return out, len(asked) / min(seconds)


def _reason(error: RuntimeError) -> str:
    """Return the words of faiss without the place in its code."""
    said = str(error).splitlines()[0]
    return said.rpartition(".cpp:")[2].partition(": ")[2] or said


def _among(found: np.ndarray, pairs: sparse.csr_array) -> np.ndarray:
    """Return where an entry of row q is a column of row q of the pairs, bool [Q, S]."""
    width = pairs.shape[1] + 1
    rows = np.repeat(np.arange(len(found)), np.diff(pairs.indptr))
    return np.isin(found + np.arange(len(found))[:, None] * width, rows * width + pairs.indices) & (
        found >= 0
    )


def _without(found: np.ndarray, dropped: np.ndarray) -> np.ndarray:
    """Move what is dropped to the ends of the lists, as -1."""
    found = np.where(dropped, -1, found)
    order = np.argsort(found < 0, axis=1, kind="stable")
    return np.take_along_axis(found, order, axis=1)
