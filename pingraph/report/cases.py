"""Queries with their neighbors for the report: picked by a rule, not by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pingraph.grid import GridRow, grid_rows
from pingraph.metrics import METRICS
from pingraph.report.why import explain_row

if TYPE_CHECKING:
    from pingraph.datasets import PinBoardDataset
    from pingraph.evaluation import TaskResult
    from pingraph.pictures import Pictures
    from pingraph.subject import Subject

KINDS = ("worst", "middle", "best")
NEIGHBORS = 8
SIDE = 88  # pixels of a picture
RULE = (
    "Worst: lowest NDCG@10; of equal ones, those whose first relevant pin comes latest. Best: "
    "highest NDCG@10; of equal ones, those with the highest recall@100. Middle: nearest to the "
    "median NDCG@10. Of what is still equal, a draw with the seed decides. A query is passed over "
    "when it shares a board with one that is shown already, or has no vector."
)


def pick(result: TaskResult, dataset: PinBoardDataset, count: int, *, seed: int) -> dict[str, Any]:
    """Return up to `count` query pins of each of KINDS, as RULE says; no pin twice."""
    ndcg, mrr, deep = (
        result.values[:, METRICS.index(name)] for name in ("ndcg@10", "mrr", "recall@100")
    )
    chance = np.random.default_rng(seed).permutation(len(ndcg))
    orders = {
        "worst": np.lexsort((chance, mrr, ndcg)),
        "best": np.lexsort((chance, -deep, -ndcg)),
        "middle": np.lexsort((chance, np.abs(ndcg - np.median(ndcg)))),
    }
    picked: dict[str, list[int]] = {kind: [] for kind in KINDS}
    taken: set[int] = set()
    for kind, order in orders.items():
        boards: set[int] = set()
        for query in result.queries[order].tolist():
            if len(picked[kind]) == count:
                break
            own = set(dataset.graph.boards_of(query).tolist())
            if query not in taken and not own & boards:
                picked[kind].append(query)
                taken.add(query)
                boards |= own
    return picked


def cases(
    result: TaskResult | None,
    subject: Subject,
    pictures: Pictures,
    *,
    count: int = 4,
    seed: int = 0,
) -> dict[str, list[dict[str, Any]]]:
    """Return the queries of each of KINDS with their nearest pins, as the template draws them.

    A query is a dict: "pin" (see `_shown`), "figures" (its own metrics) and "neighbors", whose
    pins have "shared": the title of a board that they share with the query, or None; and "why", see
    `explain_row`.
    """
    table, dataset = subject.table, subject.dataset
    if result is None:
        return {}
    known = table.fused[result.queries].any(axis=1)
    if not known.any():
        return {}
    asked = replace(
        result,
        queries=result.queries[known],
        values=result.values[known],
        boards=result.boards[known],
    )
    picked = pick(asked, dataset, count, seed=seed)
    rows = {
        kind: grid_rows(table, dataset, np.array(queries, np.int64), k=NEIGHBORS)
        for kind, queries in picked.items()
        if queries
    }
    flat = [row for of_kind in rows.values() for row in of_kind]
    uris = pictures.uris([pin for row in flat for pin in (row.query, *row.neighbors)], SIDE)
    return {
        kind: [_case(row, result, subject, uris) for row in of_kind]
        for kind, of_kind in rows.items()
    }


def words(dataset: PinBoardDataset, pin: int, most: int = 160) -> str:
    """Return the text of a pin in one line, cut to `most` characters; "" where it has none."""
    text = " ".join(dataset.texts[pin][: 4 * most].split())
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _case(
    row: GridRow, result: TaskResult, subject: Subject, uris: dict[int, str]
) -> dict[str, Any]:
    dataset = subject.dataset
    values = result.values[np.flatnonzero(result.queries == row.query)[0]]
    figures = {name: float(values[METRICS.index(name)]) for name in ("ndcg@10", "recall@10", "mrr")}
    neighbors = [
        {**_shown(dataset, pin, uris), "shared": shared}
        for pin, shared in zip(row.neighbors, row.shared, strict=True)
    ]
    return {
        "pin": _shown(dataset, row.query, uris),
        "figures": figures,
        "neighbors": neighbors,
        "why": explain_row(subject, row),
    }


def _shown(dataset: PinBoardDataset, pin: int, uris: dict[int, str]) -> dict[str, Any]:
    """Return what is shown of a pin: "id", "text", "picture" (a data URI or None), "saves"."""
    return {
        "id": str(dataset.pin_ids[pin]),
        "text": words(dataset, pin),
        "picture": uris.get(pin),
        "saves": int(dataset.graph.pin_degrees[pin]),
    }
