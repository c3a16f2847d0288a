"""The tables and the JSON file of the Pinterest benchmark, with the published figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pingraph.bootstrap import mean_intervals
from pingraph.results import Cell, Sheet

if TYPE_CHECKING:
    from pingraph.experiments.leave_one_out import LeaveOneOut
    from pingraph.experiments.recommender_comparison import Comparison, Row

FORMAT, VERSION = "pingraph-pinterest", 1
METRICS = ("hr@10", "ndcg@10")
REFERENCE = "co-occurrence"  # the method that the others are compared with, board by board
PUBLISHED = {  # HR@10 and NDCG@10 of the original code, as the README of guoyang9/NCF lists them
    "MLP": (0.868, 0.542),
    "GMF (PyTorch code)": (0.867, 0.546),
    "NeuMF without pre-training": (0.870, 0.549),
    "NeuMF with pre-training": (0.879, 0.555),
}


def sheets(comparison: Comparison) -> list[Sheet]:
    """Lay out what the methods reached, and on which pins."""
    sections = _sections(comparison)
    return [_overall(comparison, sections), _by_degree(comparison, sections)]


def _sections(comparison: Comparison) -> dict[str, list[Row]]:
    return {"Scores as they are": comparison.plain, "Over degree^β": comparison.debiased}


def _overall(comparison: Comparison, sections: dict[str, list[Row]]) -> Sheet:
    task = comparison.task
    boards, choices = task.candidates.shape
    unknown = int((~task.known[:, 0]).sum())
    base = _base(comparison)
    published = [
        [Cell(name), Cell(f"{hr:.3f}"), Cell(""), Cell(f"{ndcg:.3f}"), *[Cell("")] * 4]
        for name, (hr, ndcg) in PUBLISHED.items()
    ]
    return Sheet(
        title=f"The hidden pin of {boards:,} boards among {choices} pins",
        columns=["", "HR@10", "95%", "NDCG@10", "95%", "against co-occurrence", "chosen", "CPU s"],
        sections={
            **{
                heading: [_cells(row, base, comparison.seed) for row in rows]
                for heading, rows in sections.items()
            },
            "Published": published,
        },
        notes=[
            "95%: bootstrap over boards. Ties: the mean over their orders.",
            "against co-occurrence: NDCG@10, scores as they are, difference board by board, 95%.",
            f"{unknown} hidden pins that nobody else saved are misses.",
            f"chosen: on validation pins of {comparison.validation_boards:,} boards, by NDCG@10.",
            "CPU s: seconds of all threads to fit and to score, without the choice.",
            "Published: He et al. 2017 and PyTorch code, all 55,187 boards, other negatives.",
        ],
    )


def _base(comparison: Comparison) -> Row:
    return next(row for row in comparison.plain if row.name == REFERENCE)


def _cells(row: Row, base: Row, seed: int) -> list[Cell]:
    cells = [Cell(row.name)]
    for mean, ends in zip(row.metrics.mean(axis=0), row.intervals, strict=True):
        cells += [Cell(f"{mean:.4f}"), Cell(_span(ends, ".3f", "-"))]
    gain, ends = _gain(row, base, seed)
    against = f"{gain:+.4f} [{_span(ends, '+.4f', ', ')}]" if gain else "0"
    chosen = ", ".join(filter(None, (row.setting, f"β {row.beta:g}" if row.beta else "")))
    return [*cells, Cell(against), Cell(chosen), Cell(f"{row.cpu_seconds:,.0f}")]


def _span(ends: np.ndarray, form: str, between: str) -> str:
    """Write an interval, or "?" where one board alone allows none."""
    return "?" if np.isnan(ends).any() else between.join(format(end, form) for end in ends)


def _gain(row: Row, base: Row, seed: int) -> tuple[float, np.ndarray]:
    """Return how much more NDCG@10 a row has, and the 95% interval of the paired difference."""
    gains = (row.metrics - base.metrics)[:, 1:]
    return float(gains.mean()), mean_intervals(gains, seed=seed)[0]


def _by_degree(comparison: Comparison, sections: dict[str, list[Row]]) -> Sheet:
    quarter, names = quarters(comparison.task)
    return Sheet(
        title="HR@10 by the number of boards of the hidden pin",
        columns=["", *names],
        sections={
            heading: [
                [Cell(row.name), *(Cell(f"{hits:.3f}") for hits in _hits(row, quarter, len(names)))]
                for row in rows
            ]
            for heading, rows in sections.items()
        },
        notes=[
            "Boards in training, the hiding one left out. Each column is a quarter of the boards."
        ],
    )


def quarters(task: LeaveOneOut) -> tuple[np.ndarray, list[str]]:
    """Part the boards into four by the degree of their hidden pin.

    Returns:
        The part of each board, int64 [B], and the names of the parts: fewer than four where
        degrees are alike.
    """
    degrees = task.graph.pin_degrees[task.candidates[:, 0]]
    cuts = np.unique(np.quantile(degrees, (0.25, 0.5, 0.75), method="inverted_cdf"))
    cuts = cuts[cuts < degrees.max()].astype(np.int64)
    starts, ends = [degrees.min(), *(cuts + 1)], [*cuts, degrees.max()]
    names = [f"{start}-{end}" for start, end in zip(starts, ends, strict=True)]
    return np.searchsorted(cuts, degrees), names


def _hits(row: Row, quarter: np.ndarray, parts: int) -> list[float]:
    return [float(row.metrics[quarter == part, 0].mean()) for part in range(parts)]


def to_dict(comparison: Comparison) -> dict[str, Any]:
    """Return the content of the JSON file; intervals are null with fewer than two boards."""
    task = comparison.task
    shared = _base(comparison), comparison.seed, *quarters(task)
    return {
        "format": FORMAT,
        "version": VERSION,
        "graph": {
            "pins": task.graph.num_pins,
            "boards": task.graph.num_boards,
            "edges": task.graph.num_edges,
            "fingerprint": task.graph.fingerprint(),
        },
        "boards": len(task.boards),
        "candidates": task.candidates.shape[1],
        "unknown_hidden_pins": int((~task.known[:, 0]).sum()),
        "validation_boards": comparison.validation_boards,
        "seed": comparison.seed,
        "plain": [_row_dict(row, *shared) for row in comparison.plain],
        "debiased": [_row_dict(row, *shared) for row in comparison.debiased],
        "published": {
            name: dict(zip(METRICS, found, strict=True)) for name, found in PUBLISHED.items()
        },
    }


def _row_dict(
    row: Row, base: Row, seed: int, quarter: np.ndarray, names: list[str]
) -> dict[str, Any]:
    means, intervals = row.metrics.mean(axis=0), row.intervals
    return {
        "name": row.name,
        "setting": row.setting,
        "beta": row.beta,
        **{name: _figure(means[i], intervals[i]) for i, name in enumerate(METRICS)},
        f"ndcg@10_against_{REFERENCE}": _figure(*_gain(row, base, seed)),
        "hr@10_by_degree": dict(zip(names, _hits(row, quarter, len(names)), strict=True)),
        "cpu_seconds": row.cpu_seconds,
    }


def _figure(value: float, ends: np.ndarray) -> dict[str, Any]:
    return {"value": float(value), "ci95": None if np.isnan(ends).any() else ends.tolist()}
