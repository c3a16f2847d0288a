"""Measures how well vectors retrieve: the full corpus is ranked, cold and warm pins apart.

Letters: N pins of the data set, B queries of a block, Q queries of a task, D dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from pingraph.bootstrap import lift_intervals, lifts, mean_intervals
from pingraph.embeddings import check_table
from pingraph.errors import PinGraphError
from pingraph.metrics import METRICS, rank_relevant, ranking_metrics
from pingraph.relevance import BoardTask, Task, board_task, retrieval_tasks

if TYPE_CHECKING:
    from pingraph.datasets import PinBoardDataset
    from pingraph.interfaces import EmbeddingTable
    from pingraph.splits import Split

FORMAT, VERSION = "pingraph.metrics", 2
PARTS = ("cold", "warm")

# Scores some queries (int64 [B], pins or boards) with every pin of the data set, higher is better:
# a fresh float32 [B, N], which the caller may write to.
Scorer = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """What one method got for the queries of one task, query by query."""

    corpus: int  # candidates that are ranked
    queries: np.ndarray  # int64 [Q], pins; of "board_to_pins" boards
    available: int  # queries there are; more than Q when some were drawn
    without_relevant: int  # pins (boards) left out because nobody is relevant to them
    values: np.ndarray  # float64 [Q, len(METRICS)]
    boards: sparse.csr_array  # float32 [Q, boards], 1 where a query counts for a board

    def to_dict(self, *, seed: int) -> dict[str, Any]:
        """Return counts, and means over queries (micro) and over boards (macro) with intervals.

        Null stands where there is no query or no board.
        """
        by_board = self.board_means()
        micro, macro = figures(self.values, seed=seed), figures(by_board, seed=seed)
        return {
            "corpus": self.corpus,
            "queries": len(self.queries),
            "queries_available": self.available,
            "queries_without_relevant": self.without_relevant,
            "boards": len(by_board),
            **{name: {**micro[name], "macro": macro[name]} for name in METRICS},
        }

    def board_means(self) -> np.ndarray:
        """Return the mean of each board over its queries, float64 [boards with one, M]."""
        counts = self.boards.sum(axis=0)
        return (self.boards.T @ self.values)[counts > 0] / counts[counts > 0, None]


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


def figures(values: np.ndarray, *, seed: int) -> dict[str, dict[str, Any]]:
    """Return `measured` of each metric by its name; one row of values a query (or a board)."""
    return dict(zip(METRICS, measured(values, seed=seed), strict=True))


def measured(values: np.ndarray, *, seed: int) -> list[dict[str, Any]]:
    """Return the mean of each column and its 95% interval over the rows, as JSON holds them.

    Args:
        values: float64 [Q, M].
        seed: of the resamples.

    Returns:
        M times "value" (null without rows) and "ci95" (null with fewer than 2).
    """
    ends = mean_intervals(values, seed=seed)
    return [
        {"value": _mean(column), "ci95": _interval(pair)}
        for column, pair in zip(values.T, ends, strict=True)
    ]


def evaluate_table(
    table: EmbeddingTable,
    dataset: PinBoardDataset,
    split: Split,
    *,
    seed: int = 0,
    max_queries: int = 10_000,
) -> Evaluation:
    """Evaluate embeddings: pin → pin and board → pins by the fused vectors, and image ↔ text.

    Args:
        table: the vectors, in the order of the data set's pins.
        dataset: says who is relevant to whom.
        split: says which pins are cold (held out with all edges) and which are warm.
        seed: of the queries that are drawn, and of the intervals.
        max_queries: when a task has more queries in a part, this many are drawn.

    Raises:
        PinGraphError: the table is of other pins, or a vector is not finite (names the pin).
    """
    scorers = table_scorers(table, dataset, split)
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
        scorers: by task ("pin_to_pin", "image_to_text", "text_to_image", "board_to_pins"); a task
            without one is left out.

    Raises:
        PinGraphError: a score is not finite; or the split is of another data set.
    """
    graph = dataset.graph
    pins = {"cold": split.cold_pins(graph), "warm": split.warm_pins(graph)}
    results: dict[str, dict[str, TaskResult | None]] = {part: {} for part in PARTS}
    shared = retrieval_tasks(dataset, split)
    boards = np.arange(graph.num_boards)
    drawn = {"seed": seed, "max_queries": max_queries}
    for part in PARTS:
        tasks: list[tuple[Task, np.ndarray]] = [(task, pins[part]) for task in shared]
        for task, asked in [*tasks, (board_task(dataset, split, pins[part]), boards)]:
            exists = task.name in scorers and task.askable.any()
            results[part][task.name] = (
                evaluate_task(task, scorers[task.name], asked, dataset, **drawn) if exists else None
            )
    described = {"kind": split.kind, "seed": split.seed, **split.parameters}
    return Evaluation(data=dataset.name, split=described, seed=seed, **results)


def evaluate_task(
    task: Task,
    scorer: Scorer,
    asked: np.ndarray,
    dataset: PinBoardDataset,
    *,
    seed: int = 0,
    max_queries: int = 10_000,
) -> TaskResult:
    """Evaluate one task for some queries; see `evaluate_scorers`.

    Args:
        task: of `pingraph.relevance`.
        scorer: of the task.
        asked: int64, pins (of "board_to_pins" boards); those that cannot be asked are left out.
        dataset: the data set.
        seed: of the queries that are drawn.
        max_queries: when there are more, this many are drawn.

    Raises:
        PinGraphError: a score is not finite (names the pin or board).
    """
    answerable = task.answerable(asked)
    queries = draw_queries(answerable, max_queries, seed)
    values = [np.empty((0, len(METRICS)))]
    boards = [sparse.csr_array((0, dataset.graph.num_boards), dtype=np.float32)]
    for block in task.blocks(queries):
        scores = scorer(block)
        _require_finite(scores, block, task, dataset)
        scores[:, ~task.corpus] = -np.inf
        relevant, excluded = task.judge(block)
        scores[excluded.tocoo().coords] = -np.inf
        metrics = ranking_metrics(rank_relevant(scores, relevant, block), relevant.indptr)
        values.append(np.stack([metrics[name] for name in METRICS], axis=1))
        boards.append(task.boards_of(block, relevant))
    return TaskResult(
        corpus=int(task.corpus.sum()),
        queries=queries,
        available=len(answerable),
        without_relevant=int(task.askable[asked].sum()) - len(answerable),
        values=np.concatenate(values),
        boards=sparse.vstack(boards, format="csr"),
    )


def draw_queries(queries: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Return the queries, or `most` of them that are drawn with the seed, in their order."""
    if len(queries) <= most:
        return queries
    draw = np.random.default_rng(seed).choice(len(queries), most, replace=False)
    return queries[np.sort(draw)]


def table_scorers(
    table: EmbeddingTable, dataset: PinBoardDataset, split: Split
) -> dict[str, Scorer]:
    """Return dot products of the vectors as scorers of the four tasks.

    A board is asked by the mean of the fused vectors of its pins in training. A vector of zeros
    stands for none: such a candidate comes after all others.

    Raises:
        PinGraphError: the table is of other pins, or a vector is not finite (names the pin).
    """
    if not np.array_equal(table.pin_ids, dataset.pin_ids):
        raise PinGraphError(
            f"{dataset.name}: the embeddings are of other pins, or in another order "
            f"({len(table.pin_ids)} embeddings, {dataset.num_pins} pins)"
        )
    check_table(table, f"{dataset.name}: embeddings")
    members = split.train_graph(dataset.graph).incidence().T.tocsr()
    members.data[:] = 1  # a sum ranks like the mean
    return {
        "pin_to_pin": _ranking(table.fused, lambda pins: table.fused[pins]),
        "image_to_text": _ranking(table.text, lambda pins: table.image[pins]),
        "text_to_image": _ranking(table.image, lambda pins: table.text[pins]),
        "board_to_pins": _ranking(table.fused, lambda boards: members[boards] @ table.fused),
    }


def _ranking(candidates: np.ndarray, vectors: Callable[[np.ndarray], np.ndarray]) -> Scorer:
    """Score candidates by dot products; one whose vector is zero has none, and comes last."""
    absent = np.flatnonzero(~candidates.any(axis=1))
    longest = np.sqrt(np.einsum("nd,nd->n", candidates, candidates).max(initial=0))

    def score(queries: np.ndarray) -> np.ndarray:
        asked = vectors(queries)
        scores = asked @ candidates.T
        if len(absent):
            scores[:, absent] = -1 - longest * np.linalg.norm(asked, axis=1, keepdims=True)
        return scores

    return score


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


def _require_finite(
    scores: np.ndarray, queries: np.ndarray, task: Task, dataset: PinBoardDataset
) -> None:
    # A sum is not finite when a part is not, and takes a quarter of the time of looking at each.
    finite = np.isfinite(scores.sum(axis=1))
    if not finite.all():
        what, ids = "pin", dataset.pin_ids
        if isinstance(task, BoardTask):
            what, ids = "board", dataset.board_ids
        who = f"{what} {ids[queries[np.argmin(finite)]].item()!r}"
        raise PinGraphError(f"{dataset.name}: {task.name}: a score of {who} is not finite")


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
