"""Asks the queries of one retrieval task, and keeps what each of them got.

Letters: N pins of the data set, B queries of a block, Q queries of the task, M metrics.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from pingraph.bootstrap import mean_intervals
from pingraph.errors import PinGraphError
from pingraph.metrics import METRICS, rank_relevant, ranking_metrics
from pingraph.relevance import BoardTask, Task

if TYPE_CHECKING:
    from pingraph.datasets import PinBoardDataset

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


def evaluate_task(
    task: Task,
    scorer: Scorer,
    asked: np.ndarray,
    dataset: PinBoardDataset,
    *,
    seed: int = 0,
    max_queries: int = 10_000,
) -> TaskResult:
    """Rank the corpus of a task for some queries, block by block.

    Args:
        task: of `pingraph.relevance`.
        scorer: of the task.
        asked: int64, pins (of "board_to_pins" boards); those that cannot be asked are left out.
        dataset: the data set.
        seed: of the queries that are drawn.
        max_queries: when there are more, this many are drawn.

    Raises:
        PinGraphError: a scorer returns other than a number for each query and pin (names the task,
            what was returned and what was expected), or a score is not finite (names the pin or
            board).
    """
    answerable = task.answerable(asked)
    queries = draw_queries(answerable, max_queries, seed)
    values = [np.empty((0, len(METRICS)))]
    boards = [sparse.csr_array((0, dataset.graph.num_boards), dtype=np.float32)]
    for block in task.blocks(queries):
        scores = scorer(block)
        _require_scores(scores, block, task, dataset)
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


def figures(values: np.ndarray, *, seed: int) -> dict[str, dict[str, Any]]:
    """Return `measured` of each metric by its name; one row of values a query (or a board)."""
    return dict(zip(METRICS, measured(values, seed=seed, unit=True), strict=True))


def measured(values: np.ndarray, *, seed: int, unit: bool = False) -> list[dict[str, Any]]:
    """Return the mean of each column and its 95% interval over the rows, as JSON holds them.

    Args:
        values: float64 [Q, M].
        seed: of the resamples.
        unit: whether values are from 0 to 1, see `mean_intervals`.

    Returns:
        M times "value" (null without rows) and "ci95" (null with fewer than 2).
    """
    ends = mean_intervals(values, seed=seed, unit=unit)
    return [
        {"value": mean_or_null(column), "ci95": interval_or_null(pair)}
        for column, pair in zip(values.T, ends, strict=True)
    ]


def mean_or_null(values: np.ndarray) -> float | None:
    """Return the mean as JSON holds it; null of nothing."""
    return number_or_null(values.mean()) if len(values) else None


def number_or_null(value: float) -> float | None:
    """Return a number as JSON holds it, which has no NaN and no infinity."""
    return float(value) if math.isfinite(value) else None


def interval_or_null(ends: np.ndarray) -> list[float] | None:
    """Return the ends of an interval as JSON holds them; null where one is not finite."""
    return [float(end) for end in ends] if np.isfinite(ends).all() else None


def _require_scores(scores: Any, queries: np.ndarray, task: Task, dataset: PinBoardDataset) -> None:
    expected = (len(queries), dataset.num_pins)
    is_array = isinstance(scores, np.ndarray)
    if not is_array or scores.dtype.kind != "f" or scores.shape != expected:
        found = f"{scores.dtype} {list(scores.shape)}" if is_array else type(scores).__name__
        raise PinGraphError(
            f"{dataset.name}: the scorer of {task.name} returned {found}: expected a NumPy array, "
            f"float32 {list(expected)}: for each query a score of every pin"
        )


def _require_finite(
    scores: np.ndarray, queries: np.ndarray, task: Task, dataset: PinBoardDataset
) -> None:
    # A sum is not finite when a part is not, and takes a quarter of the time of looking at each.
    with np.errstate(over="ignore"):
        finite = np.isfinite(scores.sum(axis=1))
    finite[~finite] = np.isfinite(scores[~finite]).all(axis=1)  # parts of a large sum may be
    if not finite.all():
        what, ids = "pin", dataset.pin_ids
        if isinstance(task, BoardTask):
            what, ids = "board", dataset.board_ids
        who = f"{what} {ids[queries[np.argmin(finite)]].item()!r}"
        raise PinGraphError(f"{dataset.name}: {task.name}: a score of {who} is not finite")
