"""Measures how well vectors retrieve: the full corpus is ranked, cold and warm pins apart.

`pingraph.ranking` asks the queries of each task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pingraph.bootstrap import lift_intervals, lifts
from pingraph.codes import as_served
from pingraph.embeddings import check_table, require_pins
from pingraph.errors import PinGraphError
from pingraph.metrics import METRICS
from pingraph.ranking import (
    Scorer,
    TaskResult,
    evaluate_task,
    interval_or_null,
    mean_or_null,
    number_or_null,
)
from pingraph.relevance import TASKS, Task, board_task, retrieval_tasks

if TYPE_CHECKING:
    from pingraph.datasets import PinBoardDataset
    from pingraph.graph import PinBoardGraph
    from pingraph.interfaces import EmbeddingTable
    from pingraph.splits import Split
    from pingraph.views import View

FORMAT, VERSION = "pingraph.metrics", 2
PARTS = ("cold", "warm")
_ROWS = 8192  # of vectors that are hashed at a time


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
    view: View | None = None,
    seed: int = 0,
    max_queries: int = 10_000,
) -> Evaluation:
    """Evaluate embeddings: pin → pin and board → pins by the fused vectors, and image ↔ text.

    A table without image vectors or without text vectors is not asked the last: None stands there.

    Args:
        table: the vectors, in the order of the data set's pins.
        dataset: says who is relevant to whom.
        split: says which pins are cold (held out with all edges) and which are warm.
        view: the form in which queries and pins are stored; None for the vectors as they are.
        seed: of the queries that are drawn, and of the intervals.
        max_queries: when a task has more queries in a part, this many are drawn.

    Raises:
        PinGraphError: the table is of other pins, a vector is not finite (names the pin), or the
            view is wider than the vectors.
    """
    scorers = table_scorers(table, dataset, split, view)
    return evaluate_scorers(scorers, dataset, split, seed=seed, max_queries=max_queries)


def evaluate_scorers(
    scorers: Mapping[str, Scorer],
    dataset: PinBoardDataset,
    split: Split,
    *,
    seed: int = 0,
    max_queries: int = 10_000,
    queries: np.ndarray | None = None,
    known: np.ndarray | None = None,
    candidates: Mapping[str, np.ndarray] | None = None,
) -> Evaluation:
    """Evaluate anything that scores pins; see `evaluate_table` for the other arguments.

    Args:
        scorers: by task (of TASKS); a task without one is left out.
        queries: int64, the only pins that are asked, and that boards are asked for; None for all.
        known: int64, the only of these that are asked; boards are asked for the others too.
        candidates: by part, the only pins that are ranked, int64; all where there are none given.

    Raises:
        PinGraphError: a task is unknown; a score is not finite; or the split is of another data
            set.
    """
    if unknown := [task for task in scorers if task not in TASKS]:
        raise PinGraphError(f"scorer of {unknown[0]!r}: expected one of {', '.join(TASKS)}")
    graph = dataset.graph
    pins = {"cold": split.cold_pins(graph), "warm": split.warm_pins(graph)}
    if queries is not None:
        pins = {part: np.intersect1d(of_part, queries) for part, of_part in pins.items()}
    asked = pins
    if known is not None:
        asked = {part: np.intersect1d(of_part, known) for part, of_part in pins.items()}
    results: dict[str, dict[str, TaskResult | None]] = {part: {} for part in PARTS}
    shared = retrieval_tasks(dataset, split)
    boards = np.arange(graph.num_boards)
    drawn = {"seed": seed, "max_queries": max_queries}
    tasks: list[tuple[str, Task, np.ndarray]] = [
        *((part, task, asked[part]) for task in shared for part in PARTS),
        *((part, board_task(dataset, split, pins[part]), boards) for part in PARTS),
    ]  # the parts of a task follow each other, for a scorer may be made when it is first asked
    for part, task, those in tasks:
        if candidates is not None and part in candidates:
            task = _among(task, candidates[part])
        exists = task.name in scorers and task.askable.any()
        results[part][task.name] = (
            evaluate_task(task, scorers[task.name], those, dataset, **drawn) if exists else None
        )
    described = {"kind": split.kind, "seed": split.seed, **split.parameters}
    return Evaluation(data=dataset.name, split=described, seed=seed, **results)


def _among(task: Task, pins: np.ndarray) -> Task:
    ranked = np.zeros(len(task.corpus), bool)
    ranked[pins] = True
    return replace(task, corpus=task.corpus & ranked)


def table_scorers(
    table: EmbeddingTable, dataset: PinBoardDataset, split: Split, view: View | None = None
) -> dict[str, Scorer]:
    """Return dot products of the vectors, or of their stored form, as scorers of the four tasks.

    Without an image vector, or without a text vector, there are none of image ↔ text: nothing would
    be measured but chance. A board is asked by the mean of the fused vectors of its pins in
    training. A vector of zeros stands for none: such a candidate comes after all others.

    Raises:
        PinGraphError: as `evaluate_table`.
    """
    require_pins(table, dataset.pin_ids, dataset.name)
    check_table(table, f"{dataset.name}: embeddings")
    graph = split.train_graph(dataset.graph)

    def form(vectors: np.ndarray) -> np.ndarray:
        return vectors if view is None else as_served(vectors, view)

    def of_kind(kind: str) -> dict[str, Scorer]:
        candidates = form(getattr(table, kind))
        if kind == "fused":
            return fused_scorers(candidates, graph)
        if kind == "text":
            return {"image_to_text": dot_scorer(candidates, lambda pins: form(table.image[pins]))}
        return {"text_to_image": dot_scorer(candidates, lambda pins: form(table.text[pins]))}

    made: dict[str, dict[str, Scorer]] = {}

    def scorer(task: str, kind: str) -> Scorer:
        def score(queries: np.ndarray) -> np.ndarray:
            if kind not in made:
                if view is not None:
                    made.clear()  # before the next: stored forms of all kinds are a second table
                made[kind] = of_kind(kind)
            return made[kind][task](queries)

        return score

    kinds = {"pin_to_pin": "fused", "board_to_pins": "fused"}
    if table.has_image.any() and table.has_text.any():
        kinds |= {"image_to_text": "text", "text_to_image": "image"}
    return {task: scorer(task, kind) for task, kind in kinds.items()}


def fused_scorers(vectors: np.ndarray, graph: PinBoardGraph) -> dict[str, Scorer]:
    """Return scorers of "pin_to_pin" and "board_to_pins" by dot products; see `dot_products`.

    Args:
        vectors: float32 [N, D], of the pins.
        graph: of the training edges; a board is asked by the sum of its pins' vectors, which ranks
            as their mean does.
    """
    products, members = dot_products(vectors), graph.members()
    return {
        "pin_to_pin": lambda pins: products(vectors[pins]),
        "board_to_pins": lambda boards: products(members[boards] @ vectors),
    }


def dot_scorer(candidates: np.ndarray, vectors: Callable[[np.ndarray], np.ndarray]) -> Scorer:
    """Score candidates by `dot_products`; `vectors` makes float32 [B, D] of queries."""
    products = dot_products(candidates)
    return lambda queries: products(vectors(queries))


def dot_products(candidates: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return what multiplies vectors [B, D] with candidates float32 [N, D] to scores [B, N].

    A candidate whose vector is zero has none, and comes last. Equal vectors get equal scores, to
    the bit.
    """
    absent = np.flatnonzero(~candidates.any(axis=1))
    longest = np.sqrt(np.einsum("nd,nd->n", candidates, candidates).max(initial=0))
    copies, originals = _copies(candidates)

    def score(asked: np.ndarray) -> np.ndarray:
        scores = asked @ candidates.T
        if len(copies):  # a product may sum the channels of each column in another order
            scores[:, copies] = scores[:, originals]
        if len(absent):
            scores[:, absent] = -1 - longest * np.linalg.norm(asked, axis=1, keepdims=True)
        return scores

    return score


def _copies(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that equal an earlier one, and the first that each equals, int64 [C] each.

    Zero vectors are left out.
    """
    # Few rows have a copy: whose hash is its own is none, and need not be sorted with the rest.
    hashes = _hashes(vectors)
    _, group, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    alike = np.flatnonzero((counts[group] > 1) & vectors.any(axis=1))
    rows = vectors[alike] + np.float32(0)  # -0 has other bytes than 0
    whole = rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1])))[:, 0]
    _, first, group = np.unique(whole, return_index=True, return_inverse=True)
    copies = np.flatnonzero(first[group] != np.arange(len(rows)))
    return alike[copies], alike[first[group[copies]]]


def _hashes(vectors: np.ndarray) -> np.ndarray:
    """Return a number for each row [N, D], the same for equal ones; uint64 [N]."""
    weights = np.random.default_rng(0).integers(2**64, size=vectors.shape[1], dtype=np.uint64)
    hashes = np.empty(len(vectors), np.uint64)
    for start in range(0, len(vectors), _ROWS):
        block = np.asarray(vectors[start : start + _ROWS], np.float32) + np.float32(0)
        hashes[start : start + _ROWS] = block.view(np.uint32) @ weights
    return hashes


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
            "image_text": mean_or_null(image_text.values[:, place]),
            **{
                name: None if other is None else mean_or_null(other.values[:, place])
                for name, other in rivals.items()
            },
            "lift": number_or_null(gains[place]),
            "ci95": interval_or_null(ends[place]),
        }
        for place, metric in enumerate(METRICS)
    }
