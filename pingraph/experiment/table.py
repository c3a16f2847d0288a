"""The tables of an experiment: means of its figures, and how methods compare with the reference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from statistics import mean
from typing import Any

from pingraph.experiment.figures import Figures, Slice, Tested, measure_name
from pingraph.experiment.records import took_part
from pingraph.experiment.statistics import Mean
from pingraph.results import TASKS, Sheet
from pingraph.results import Cell as Place

Comparisons = dict[tuple[str, str, Slice], Tested]
ABOVE, BELOW = "↑", "↓"
_NONE = Place("-")


def sheets(figures: Figures, comparisons: Comparisons) -> list[Sheet]:
    """Return the tables: the measure and the other tasks; or the measure by slice, twice.

    Args:
        figures: what the cells found.
        comparisons: of its `comparisons`, with its `columns`.
    """
    slices = figures.slices()
    notes = _notes(figures)
    if len(slices) == 1:
        measured, *others = figures.columns()
        tasks = [_others(figures, comparisons, others)] if others else []
        return [_measured(figures, comparisons, measured, notes), *tasks]
    return [
        _by_slice(figures, slices, notes),
        _lifts(figures, comparisons, slices),
    ]


def _measured(figures: Figures, comparisons: Comparisons, of: Slice, notes: list[str]) -> Sheet:
    experiment = figures.experiment
    return Sheet(
        title=f"{experiment.title}: {measure_name(experiment)}",
        columns=["", experiment.measure["metric"], "difference", "lift", "p", "s"],
        sections={
            data: [
                [
                    Place(method),
                    _value(figures.mean(data, method, of), ends=True),
                    *_compared(comparisons.get((data, method, of))),
                    _seconds(figures, data, method),
                ]
                for method in experiment.methods
            ]
            for data in figures.data
        },
        notes=[
            f"difference, lift and p: from {experiment.reference}, on the queries that both "
            "answered; p is corrected by Holm for the methods of a data set. s: mean seconds of a "
            "cell.",
            *notes,
        ],
    )


def _others(figures: Figures, comparisons: Comparisons, slices: list[Slice]) -> Sheet:
    experiment = figures.experiment
    return Sheet(
        title=f"{experiment.title}: {experiment.measure['metric']} of the other tasks",
        columns=["", *(f"{of.part} {TASKS[of.task]}" for of in slices)],
        sections={
            data: [
                [
                    Place(method),
                    *(
                        _value(figures.mean(data, method, of), comparisons.get((data, method, of)))
                        for of in slices
                    ),
                ]
                for method in experiment.methods
            ]
            for data in figures.data
        },
        notes=[
            f"{ABOVE} and {BELOW}: above and below {experiment.reference}, p < 0.05, corrected by "
            "Holm for the methods of a column and data set."
        ],
    )


def _by_slice(figures: Figures, slices: list[Slice], notes: list[str]) -> Sheet:
    experiment = figures.experiment

    def value(of: Slice, data: str, method: str) -> Place:
        return _value(figures.mean(data, method, of), ends=True)

    return _crossed(
        figures,
        f"{experiment.title}: {measure_name(experiment)}",
        list(experiment.methods),
        [*((of.label, partial(value, of)) for of in slices), ("s", partial(_seconds, figures))],
        ["s: mean seconds of a cell.", *notes],
    )


def _lifts(figures: Figures, comparisons: Comparisons, slices: list[Slice]) -> Sheet:
    experiment = figures.experiment

    def lift(of: Slice, data: str, method: str) -> Place:
        return _lift(comparisons.get((data, method, of)), starred=True)

    return _crossed(
        figures,
        f"{experiment.title}: lift over {experiment.reference}",
        [method for method in experiment.methods if method != experiment.reference],
        [(of.label, partial(lift, of)) for of in slices],
        ["* p < 0.05, corrected by Holm for all comparisons of a data set."],
    )


def _crossed(
    figures: Figures,
    title: str,
    methods: list[str],
    told: list[tuple[str, Callable[[str, str], Place]]],
    notes: list[str],
) -> Sheet:
    """Return a table of methods and of what is told of each, mostly slices.

    There is more room for what there is more of below.
    """
    if len(figures.slices()) > len(figures.experiment.methods):
        columns = methods
        rows = {
            data: [[Place(label), *(place(data, one) for one in methods)] for label, place in told]
            for data in figures.data
        }
    else:
        columns = [label for label, _ in told]
        rows = {
            data: [[Place(one), *(place(data, one) for _, place in told)] for one in methods]
            for data in figures.data
        }
    return Sheet(title=title, columns=["", *columns], sections=rows, notes=notes)


def _value(found: Mean | None, tested: Tested | None = None, *, ends: bool = False) -> Place:
    if found is None:
        return _NONE
    if ends and found.low is not None and found.high is not None:
        low, high = (f"{end:.3f}".removeprefix("0") for end in (found.low, found.high))
        return Place(f"{found.value:.3f} [{low}, {high}]")
    sure = tested is not None and tested.p_holm < 0.05
    above = tested is not None and tested.comparison.difference.value > 0
    return Place(f"{found.value:.3f}{f' {ABOVE if above else BELOW}' if sure else ''}")


def _compared(found: Tested | None) -> list[Place]:
    if found is None:
        return [Place(""), Place(""), Place("")]
    difference = found.comparison.difference
    text = f"{difference.value:+.3f}"
    if difference.low is not None:
        text += f" [{difference.low:+.3f}, {difference.high:+.3f}]"
    return [Place(text), _lift(found), Place(f"{found.p_holm:.4f}")]


def _lift(found: Tested | None, *, starred: bool = False) -> Place:
    lift = None if found is None else found.comparison.lift
    if found is None or lift is None:
        return Place("")
    ends = "" if lift.low is None else f" [{lift.low:+.0%}, {lift.high:+.0%}]"
    star = "*" if starred and found.p_holm < 0.05 else ""
    return Place(f"{lift.value:+.0%}{ends}{star}")


def _seconds(figures: Figures, data: str, method: str) -> Place:
    cells = [cell for cell in figures.cells if (cell.data, cell.method) == (data, method)]
    took = [figures.made[cell.path]["seconds"] for cell in cells]
    return Place(f"{mean(took):,.0f}" if took else "")


def _commit(one: dict[str, Any]) -> str:
    if not one["commit"]:
        return "no commit"
    return f"{one['commit'][:10]}{' with changes' * one['dirty']}"


def _of_fewer_seeds(figures: Figures) -> list[str]:
    """Tell which means are over some of the seeds alone: each seed asks other pins."""
    seeds = len(figures.experiment.seeds)
    found = Counter((cell.data, cell.condition, cell.method) for cell in figures.cells)
    named = [
        f"{', '.join(filter(None, place))} ({count} of {seeds})"
        for place, count in found.items()
        if count < seeds
    ]
    told = "; ".join(named)
    return [f"Over fewer seeds, and so of other queries than the rest: {told}."] if named else []


def _notes(figures: Figures) -> list[str]:
    experiment = figures.experiment
    seeds = ", ".join(map(str, experiment.seeds))
    made = figures.made.values()
    commits = Counter(" and ".join(map(_commit, took_part(one))) for one in made)
    threads = sorted({str(one["threads"] or "all") for one in made})
    judged = sum(one["trained_in"] != "." for one in made)
    return [
        f"Means over seeds {seeds}; intervals are 95%, by bootstrap over seeds and their queries. "
        "Warm pins are asked for saves that were held out.",
        *([f"{figures.missing} cells are not finished."] if figures.missing else []),
        *_of_fewer_seeds(figures),
        *([f"Trained in another cell, so that s is of judging: {judged} cells."] if judged else []),
        f"Made at {', '.join(f'{name} ({count} cells)' for name, count in commits.items())}, "
        f"threads a cell: {', '.join(threads)}.",
    ]
