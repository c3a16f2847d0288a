"""What an export tells of its pins, whatever it is written to.

Letters: N pins of the data set, n pins that are exported, D channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pingraph.errors import PinGraphError
from pingraph.evaluation import table_scorers
from pingraph.metrics import METRICS
from pingraph.ranking import draw_queries, evaluate_task
from pingraph.relevance import retrieval_tasks

if TYPE_CHECKING:
    from pingraph.datasets import PinBoardDataset
    from pingraph.subject import Subject

QUERIES = 10_000  # cold ones, and warm ones, that are asked at most
SHOWN = {"recall_at_10": "recall@10", "hit_at_10": "hit_rate@10"}  # column, and what is in it


@dataclass(frozen=True, kw_only=True, eq=False)
class Facts:
    """The exported pins, all with a vector, and what is told of each, in the order of `pins`."""

    subject: Subject
    pins: np.ndarray  # int64 [n], dense indices, ascending
    vectors: np.ndarray  # float32 [n, D], the fused ones
    states: list[str]  # "cold", "warm", or "none" for who can be neither
    titles: list[list[str]]  # of the pin's boards, smallest first; the id where there is no title
    scores: dict[str, np.ndarray]  # by column of SHOWN: float64 [n], NaN for who was not asked


def gather(subject: Subject, *, pins: int | None = None, seed: int = 0) -> Facts:
    """Collect what is told of the pins that have a vector, or of some that are drawn from them.

    The metrics are those of pin → pin, ranked among all pins; beyond QUERIES cold or warm pins,
    that many are drawn and asked.

    Args:
        subject: the embeddings.
        pins: how many to draw at most; None takes all.
        seed: of what is drawn.

    Raises:
        PinGraphError: `pins` is below 1, no pin has a vector, or a vector is not finite
            (names the pin).
    """
    if pins is not None and pins < 1:
        raise PinGraphError(f"pins is {pins}: expected 1 or more")
    dataset, split, fused = subject.dataset, subject.split, subject.table.fused
    scorer = table_scorers(subject.table, dataset, split)["pin_to_pin"]  # refuses what's not finite
    drawn = np.flatnonzero(fused.any(axis=1))
    if not len(drawn):
        raise PinGraphError(f"{subject.name}: no pin has a vector")
    if pins is not None:
        drawn = draw_queries(drawn, pins, seed)
    task = retrieval_tasks(dataset, split)[0]
    states = np.full(dataset.num_pins, "none", object)
    scores = {column: np.full(dataset.num_pins, np.nan) for column in SHOWN}
    parts = {"cold": split.cold_pins(dataset.graph), "warm": split.warm_pins(dataset.graph)}
    for state, of_part in parts.items():
        states[of_part] = state
        asked = np.intersect1d(drawn, of_part)
        result = evaluate_task(task, scorer, asked, dataset, seed=seed, max_queries=QUERIES)
        for column, metric in SHOWN.items():
            scores[column][result.queries] = result.values[:, METRICS.index(metric)]
    return Facts(
        subject=subject,
        pins=drawn,
        vectors=fused[drawn],
        states=states[drawn].tolist(),
        titles=_titles(dataset, drawn),
        scores={column: values[drawn] for column, values in scores.items()},
    )


def _titles(dataset: PinBoardDataset, pins: np.ndarray) -> list[list[str]]:
    graph = dataset.graph
    names = [
        title if title.strip() else str(board)
        for title, board in zip(dataset.board_titles, dataset.board_ids.tolist(), strict=True)
    ]
    out = []
    for pin in pins.tolist():
        boards = graph.boards_of(pin)
        order = np.argsort(graph.board_degrees[boards], kind="stable")
        out.append([names[board] for board in boards[order].tolist()])
    return out
