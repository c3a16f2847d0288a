"""The tables of the sampler lab."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pingraph.lab.convergence import WALKS
from pingraph.results import Cell, Sheet

if TYPE_CHECKING:
    from pingraph.lab.compare import Comparison, SamplerResult
    from pingraph.lab.convergence import Convergence

_COLUMNS = {  # name of the measure: heading and format
    "answered_share": ("answered", ".1%"),
    "mean_found": ("found", ".1f"),
    "effective_neighbors": ("effective", ".1f"),
    "entropy_bits": ("bits", ".2f"),
    "coverage": ("coverage", ".1%"),
    "board_mate_share": ("mates", ".1%"),
    "hub_share": ("hubs", ".1%"),
    "degree_ratio": ("degree", ".2f"),
    "self_hit_share": ("self", ".1%"),
}


def sheets(comparison: Comparison) -> list[Sheet]:
    """Lay out a comparison: the measures, the overlap, and the way to exact PageRank."""
    out = [_measures(comparison)]
    if len(comparison.results) > 1:
        out.append(_overlap(comparison))
    if any(one.convergence for one in comparison.results.values()):
        out.append(_convergence(comparison))
    return out


def _measures(comparison: Comparison) -> Sheet:
    seeds, pins = comparison.num_seeds, comparison.graph.num_pins
    return Sheet(
        title=f"{comparison.name}: neighbors of {seeds:,} of {pins:,} pins",
        columns=["", *(heading for heading, _ in _COLUMNS.values()), "µs"],
        sections={
            "Sampler": [
                [Cell(name), *_measured(result)] for name, result in comparison.results.items()
            ]
        },
        notes=[
            "answered: pins with a neighbor. found: neighbors of a pin, of so many as it may have.",
            "bits: entropy of the weights of a pin's neighbors. effective: 2^bits.",
            "coverage: share of all pins that are found. mates: weight on pins of a common board.",
            "hubs: weight on the 1% of pins with most boards, which have "
            f"{comparison.hub_edge_share:.1%} of the edges.",
            "degree: median boards of a neighbor over those of a pin. self: pins that found "
            "themselves.",
            "µs: time for a pin.",
            *comparison.notes,
        ],
    )


def _measured(result: SamplerResult) -> list[Cell]:
    cells = [_cell(result.measures[name], form) for name, (_, form) in _COLUMNS.items()]
    cells[1] = Cell(f"{cells[1].text} of {result.k}")
    if result.measures["self_hit_share"] > 0:
        cells[-1] = Cell(cells[-1].text, "red")
    return [*cells, _cell(result.seed_microseconds, ",.1f")]


def _overlap(comparison: Comparison) -> Sheet:
    numbers = range(1, len(comparison.results) + 1)
    rows = [
        [Cell(f"{number} {name}"), *(_cell(value, ".2f") for value in values)]
        for number, name, values in zip(
            numbers, comparison.results, comparison.overlap, strict=True
        )
    ]
    return Sheet(
        title="Overlap (mean Jaccard index)",
        columns=["", *map(str, numbers)],
        sections={"Sampler": rows},
        notes=["Of two calls with other random numbers each, also of a sampler with itself."],
    )


def _convergence(comparison: Comparison) -> Sheet:
    curves = {
        name: result.convergence
        for name, result in comparison.results.items()
        if result.convergence is not None
    }
    return Sheet(
        title="Walks against exact personalized PageRank",
        columns=["walks from a pin", *(f"{walks:,}" for walks in WALKS)],
        sections={
            "Total variation distance": [
                [Cell(name), *(_cell(value, ".3f") for value in curve.distance)]
                for name, curve in curves.items()
            ],
            "Share of the top k": [
                [Cell(name), *(_cell(value, ".1%") for value in curve.top_share)]
                for name, curve in curves.items()
            ],
        },
        notes=_bases(curves),
    )


def _bases(curves: dict[str, Convergence]) -> list[str]:
    """Say which exact vectors were compared with."""
    alike: dict[str, list[str]] = {}
    for name, curve in curves.items():
        basis = f"restart probability {curve.restart_probability:g}, {curve.seeds} pins"
        alike.setdefault(basis, []).append(name)
    return [f"{', '.join(names)}: {basis}." for basis, names in alike.items()]


def _cell(value: float | None, form: str) -> Cell:
    return Cell("-" if value is None or math.isnan(value) else format(value, form))
