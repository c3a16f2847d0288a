"""Measures how well vectors retrieve: the full corpus is ranked, cold and warm pins apart.

Letters: N pins of the data set, B queries of a block, Q queries of a task, D dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pingraph.bootstrap import lift_intervals, lifts, mean_intervals
from pingraph.embeddings import check_table
from pingraph.errors import PinGraphError
from pingraph.metrics import METRICS, rank_relevant, ranking_metrics
from pingraph.relevance import Task, retrieval_tasks

if TYPE_CHECKING:
    from pingraph.datasets import PinBoardDataset
    from pingraph.interfaces import EmbeddingTable
    from pingraph.splits import Split

FORMAT, VERSION = "pingraph.metrics", 1
PARTS = ("cold", "warm")

# Scores some query pins (int64 [B]) with every pin of the data set, higher is better: a fresh
# float32 [B, N], which the caller may write to.
Scorer = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """What one method got for the queries of one task, query by query."""

    corpus: int  # candidates that are ranked
    queries: np.ndarray  # int64 [Q], pins
    available: int  # queries there are; more than Q when some were drawn
    without_relevant: int  # pins left out because nobody is relevant to them
    values: np.ndarray  # float64 [Q, len(METRICS)]

    def to_dict(self, *, seed: int) -> dict[str, Any]:
        """Return counts, means and 95% intervals; null where there is no query."""
        ends = mean_intervals(self.values, seed=seed)
        means = self.values.mean(axis=0) if len(self.values) else np.full(len(METRICS), np.nan)
        return {
            "corpus": self.corpus,
            "queries": len(self.queries),
            "queries_available": self.available,
            "queries_without_relevant": self.without_relevant,
            **{
                name: {"value": _number(mean), "ci95": _interval(pair)}
                for name, mean, pair in zip(METRICS, means, ends, strict=True)
            },
        }


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How one method did on a data set and split; keeps every query, so that two can be paired."""

    data: str
    split: dict[str, Any]
    seed: int
    cold: dict[str, TaskResult | None]  # by task; None for what does not exist
    warm: dict[str, TaskResult | None]

    def to_dict(self) -> dict[str, Any]:
        """Return the content of metrics.json; docs/evaluation.md describes the keys."""
        parts = {
            part: {
                task: result and result.to_dict(seed=self.seed)
                for task, result in getattr(self, part).items()
            }
            for part in PARTS
        }
        head = {"format": FORMAT, "version": VERSION, "data": self.data, "split": self.split}
        return {**head, "seed": self.seed, **parts}


def evaluate_table(
    table: EmbeddingTable,
    dataset: PinBoardDataset,
    split: Split,
    *,
    seed: int = 0,
    max_queries: int = 10_000,
) -> Evaluation:
    """Evaluate embeddings: pin → pin by the fused vectors, image → text and text → image.

    Args:
        table: the vectors, in the order of the data set's pins.
        dataset: says who is relevant to whom.
        split: says which pins are cold (held out with all edges) and which are warm.
        seed: of the queries that are drawn, and of the intervals.
        max_queries: when a task has more queries in a part, this many are drawn.

    Raises:
        PinGraphError: the table is of other pins, or a vector is not finite (names the pin).
    """
    scorers = table_scorers(table, dataset)
    return evaluate_scorers(scorers, dataset, split, seed=seed, max_queries=max_queries)


def evaluate_scorers(
    scorers: Mapping[str, Scorer],
    dataset: PinBoardDataset,
    split: Split,
    *,
    seed: int = 0,
    max_queries: int = 10_000,
) -> Evaluation:
    """Evaluate anything that scores pins; see `evaluate_table` for the other arguments.

    Args:
        scorers: by task ("pin_to_pin", "image_to_text", "text_to_image"); a task without one is
            left out.

    Raises:
        PinGraphError: a score is not finite; or the split is of another data set.
    """
    graph = dataset.graph
    pins = {"cold": split.cold_pins(graph), "warm": split.warm_pins(graph)}
    results: dict[str, dict[str, TaskResult | None]] = {part: {} for part in PARTS}
    for task in retrieval_tasks(dataset, split):
        for part in PARTS:
            exists = task.name in scorers and task.askable.any()
            results[part][task.name] = (
                _run(task, scorers[task.name], pins[part], dataset, seed, max_queries)
                if exists
                else None
            )
    described = {"kind": split.kind, "seed": split.seed, **split.parameters}
    return Evaluation(data=dataset.name, split=described, seed=seed, **results)


def table_scorers(table: EmbeddingTable, dataset: PinBoardDataset) -> dict[str, Scorer]:
    """Return dot products of the vectors as scorers of the three tasks.

    Raises:
        PinGraphError: the table is of other pins, or a vector is not finite (names the pin).
    """
    if not np.array_equal(table.pin_ids, dataset.pin_ids):
        raise PinGraphError(
            f"{dataset.name}: the embeddings are of other pins, or in another order "
            f"({len(table.pin_ids)} embeddings, {dataset.num_pins} pins)"
        )
    check_table(table, f"{dataset.name}: embeddings")
    return {
        "pin_to_pin": lambda queries: table.fused[queries] @ table.fused.T,
        "image_to_text": lambda queries: table.image[queries] @ table.text.T,
        "text_to_image": lambda queries: table.text[queries] @ table.image.T,
    }


def compare(
    image_text: Evaluation,
    joint: Evaluation,
    baselines: Mapping[str, Evaluation],
    *,
    seed: int,
) -> dict[str, Any]:
    """Set two methods side by side over the same queries, with what cheap baselines reach.

    Args:
        image_text: the method without the graph.
        joint: the method with it.
        baselines: by name, such as "tf_idf"; their values stand beside the two.
        seed: stands in the result, and draws the resamples of the intervals.

    Returns:
        The content of comparison.json: for each part, task and metric the two means, `lift` =
        joint / image_text - 1 and its 95% interval `ci95`, and each baseline's mean.

    Raises:
        PinGraphError: the evaluations are not of the same queries.
    """
    others = {"joint": joint, **baselines}
    out: dict[str, Any] = {"data": image_text.data, "seed": seed}
    for part in PARTS:
        out[part] = {}
        for task, result in getattr(image_text, part).items():
            rivals = {name: getattr(other, part).get(task) for name, other in others.items()}
            out[part][task] = result and _compare_task(result, rivals, seed, f"{part} {task}")
    return out


def _run(
    task: Task,
    scorer: Scorer,
    pins: np.ndarray,
    dataset: PinBoardDataset,
    seed: int,
    max_queries: int,
) -> TaskResult:
    answerable = queries = task.answerable(pins)
    if len(queries) > max_queries:
        draw = np.random.default_rng(seed).choice(len(queries), max_queries, replace=False)
        queries = queries[np.sort(draw)]
    values = [np.empty((0, len(METRICS)))]
    for block in task.blocks(queries):
        scores = scorer(block)
        _require_finite(scores, block, task, dataset)
        scores[:, ~task.corpus] = -np.inf
        relevant, excluded = task.judge(block)
        scores[excluded.tocoo().coords] = -np.inf
        measured = ranking_metrics(rank_relevant(scores, relevant, block), relevant.indptr)
        values.append(np.stack([measured[name] for name in METRICS], axis=1))
    return TaskResult(
        corpus=int(task.corpus.sum()),
        queries=queries,
        available=len(answerable),
        without_relevant=int(task.askable[pins].sum()) - len(answerable),
        values=np.concatenate(values),
    )


def _require_finite(
    scores: np.ndarray, queries: np.ndarray, task: Task, dataset: PinBoardDataset
) -> None:
    # A sum is not finite when a part is not, and takes a quarter of the time of looking at each.
    finite = np.isfinite(scores.sum(axis=1))
    if not finite.all():
        pin = dataset.pin_ids[queries[np.argmin(finite)]].item()
        raise PinGraphError(f"{dataset.name}: {task.name}: a score of pin {pin!r} is not finite")


def _compare_task(
    image_text: TaskResult, rivals: Mapping[str, TaskResult | None], seed: int, where: str
) -> dict[str, Any]:
    for name, other in rivals.items():
        if other is not None and not np.array_equal(other.queries, image_text.queries):
            raise PinGraphError(f"{where}: 'image_text' and '{name}' answered different queries")
    joint = rivals["joint"]
    if joint is None:
        raise PinGraphError(f"{where}: evaluated for 'image_text', not for 'joint'")
    gains = lifts(image_text.values, joint.values)
    ends = lift_intervals(image_text.values, joint.values, seed=seed)
    return {
        metric: {
            "image_text": _mean(image_text.values[:, place]),
            **{
                name: None if other is None else _mean(other.values[:, place])
                for name, other in rivals.items()
            },
            "lift": _number(gains[place]),
            "ci95": _interval(ends[place]),
        }
        for place, metric in enumerate(METRICS)
    }


def _mean(values: np.ndarray) -> float | None:
    return _number(values.mean()) if len(values) else None


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _interval(ends: np.ndarray) -> list[float] | None:
    return [float(end) for end in ends] if np.isfinite(ends).all() else None
