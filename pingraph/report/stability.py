"""What the report says of how much of an embedding stays from one run to another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pingraph.compatibility import compatibility
from pingraph.report.layout import Section, block, plot_of
from pingraph.report.plots import Mark, Series, dots
from pingraph.report.sheets import values_sheet
from pingraph.report.words import compared_pins
from pingraph.results import Cell, Sheet, measured
from pingraph.stability import stability

if TYPE_CHECKING:
    from pingraph.subject import Subject

_QUERIES = 500  # of each part, at most, where an old index is asked
_NOTES = [
    "churn: share of the 10 nearest neighbors of a pin that are others in the second.",
    "Jaccard: pins in both lists, over those in either.",
    "CKA: 1 where one space is a rotation and scaling of the other.",
    "CKA, debiased: 0 on average where the two know nothing of each other.",
]
_INDEX = {  # of `pingraph.compatibility`
    "old": "first asks first",
    "new": "second asks second",
    "new_on_old": "second asks first",
    "rotated": "second, rotated, asks first",
}


def measure_stability(subjects: Sequence[Subject], *, seed: int) -> list[dict[str, Any]]:
    """Compare the first embedding with each other one.

    Returns:
        Of each other one "first" and "second" (names), what `pingraph.stability.stability` returns,
        and "compatibility": of `pingraph.compatibility`, the first being the old embedding.
    """
    first = subjects[0]
    return [
        {
            "first": first.name,
            "second": other.name,
            **stability(first.table, other.table, seed=seed),
            "compatibility": compatibility(
                first.table,
                other.table,
                first.dataset,
                first.split,
                seed=seed,
                max_queries=_QUERIES,
            ),
        }
        for other in subjects[1:]
    ]


def stability_section(numbers: dict[str, Any], part: str | None) -> Section:
    """Lay out churn, CKA and whether the second embedding can ask an index of the first."""
    pairs = {f"{one['first']} → {one['second']}": one for one in numbers["stability"]}
    rows = {
        "churn": [one["neighbors"]["churn"] for one in pairs.values()],
        "… by chance": [one["neighbors"]["churn_by_chance"] for one in pairs.values()],
        "Jaccard": [one["neighbors"]["jaccard"] for one in pairs.values()],
        "CKA": [one["cka"] for one in pairs.values()],
        "CKA, debiased": [one["cka_debiased"] for one in pairs.values()],
    }
    shown = ("churn", "Jaccard", "CKA")
    series = [
        Series(name=name, look=place + 1, marks=[Mark.of(rows[key][place]) for key in shown])
        for place, name in enumerate(pairs)
    ]
    title = "Neighbors that change, and likeness of the spaces"
    notes = [*_NOTES, *filter(None, map(compared_pins, pairs.values()))]
    blocks = [block(values_sheet("Stability", rows, list(pairs), notes))]
    if part is not None:
        blocks += [block(_index_sheet(name, one, part)) for name, one in pairs.items()]
    return Section(
        key="stability",
        title="Stability",
        lead=(
            "How much of the first embedding stays in each other one, and whether the vectors of "
            "the other can search an index of the first. Intervals are over pins and queries."
        ),
        plots=[plot_of(dots(shown, series, title=title), title, series)],
        blocks=blocks,
    )


def _index_sheet(name: str, pair: dict[str, Any], part: str) -> Sheet:
    found = pair["compatibility"][part]
    verdicts = {True: "gain", False: "lose", None: "neither gain nor lose beyond chance"}
    notes = [
        f"pin → pin: queries of the one, candidates of the other; {_QUERIES} queries at most.",
        "rotated: turned to the first over the training pins.",
        f"{found['reason'].capitalize()}."
        if "reason" in found
        else f"Queries of the second, as they are, {verdicts[found['compatible']]} there.",
    ]
    rows = [[Cell(words), measured(found[key])] for key, words in _INDEX.items()]
    return Sheet(
        title=f"An old index: {name}",
        columns=["", f"recall@10, {part} pins"],
        sections={"": rows},
        notes=notes,
    )
