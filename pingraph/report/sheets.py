"""The tables of the report, and their text as Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from typing import Any

from pingraph.latex import latex
from pingraph.metrics import METRICS
from pingraph.report.measures import MAIN
from pingraph.results import METHODS, PARTS, TASKS, Cell, Sheet, measured

VERDICTS = {"pass": "passed", "warn": "look", "fail": "LEAK", "none": "nothing to check"}


def copies(sheet: Sheet) -> dict[str, str]:
    """Return a table in the forms that it can be copied in, by the name of the form."""
    return {"Markdown": sheet.markdown(), "LaTeX": latex(sheet), "CSV": comma_separated(sheet)}


def comma_separated(sheet: Sheet) -> str:
    """Return a table as CSV (RFC 4180 but for line ends); the first column is the section's."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["section", *map(_inert, sheet.columns)])
    for heading, rows in sheet.sections.items():
        writer.writerows([_inert(heading), *(_inert(cell.text) for cell in row)] for row in rows)
    return file.getvalue()


def retrieval_sheets(numbers: dict[str, Any]) -> list[Sheet]:
    """Lay out every metric of every run, over queries and over boards.

    A table each of cold and warm pins, if it has queries.
    """
    over_queries = "Mean over queries [95% interval]. docs/evaluation.md says what each is."
    over_boards = (
        "Mean over boards [95% interval], each of which is the mean over its queries: small boards "
        "count as much as large ones. A metric that is lower here than over queries is better on "
        "boards with many queries."
    )
    kinds = [
        ("all metrics", "queries", lambda entry: entry, over_queries),
        ("all metrics by board", "boards", lambda entry: entry["macro"], over_boards),
    ]
    sheets = [
        _metrics_sheet(numbers, part, title, counted, figure, note)
        for part in PARTS
        for title, counted, figure, note in kinds
    ]
    return [sheet for sheet in sheets if sheet.sections]


def _metrics_sheet(
    numbers: dict[str, Any],
    part: str,
    title: str,
    counted: str,
    figure: Callable[[dict[str, Any]], dict[str, Any]],
    note: str,
) -> Sheet:
    """Lay out a figure of every metric of the tasks that have something `counted`."""
    named = methods(numbers)
    sections = {}
    for task, words in TASKS.items():
        found = [one[part].get(task) for one in named.values()]
        count = max((one[counted] for one in found if one), default=0)
        if count:
            sections[f"{words} ({count:,} {counted})"] = [
                [Cell(metric), *(measured(one and figure(one[metric])) for one in found)]
                for metric in METRICS
            ]
    return Sheet(
        title=f"{PARTS[part]}: {title}", columns=["", *named], sections=sections, notes=[note]
    )


def methods(numbers: dict[str, Any]) -> dict[str, Any]:
    """Return the metrics of runs, then of baselines, by the name that is shown."""
    runs = {name: run["metrics"] for name, run in numbers["runs"].items()}
    return runs | {METHODS.get(name, name): one for name, one in numbers["baselines"].items()}


def group_sheet(
    title: str, groups: dict[str, list[dict[str, Any]]], notes: list[str]
) -> Sheet | None:
    """Lay out MAIN by group: a row each that has queries, a column each run; see `named_groups`."""
    rows = []
    for entries in zip(*groups.values(), strict=True):
        if entries[0]["queries"]:
            queries = Cell(f"{entries[0]['queries']:,}")
            rows.append([Cell(entries[0]["name"]), queries, *map(measured, entries)])
    if not rows:
        return None
    return Sheet(title=title, columns=["", "queries", *groups], sections={"": rows}, notes=notes)


def board_sheet(run: dict[str, Any], part: str, name: str) -> Sheet | None:
    """Lay out the boards that a run is worst and best at."""
    sections = {}
    for key, heading in (("worst_boards", "Worst"), ("best_boards", "Best")):
        if run[part][key]:
            sections[heading] = [
                [
                    Cell(board["title"]),
                    Cell(f"{board['pins']:,}"),
                    Cell(f"{board['queries']:,}"),
                    measured(board),
                ]
                for board in run[part][key]
            ]
    if not sections:
        return None
    notes = [
        f"Mean {MAIN} of the {part} queries on a board, of {run[part]['boards']:,} boards.",
        "The ends of many boards are in part chance: intervals do not know that these were picked.",
    ]
    columns = ["board", "pins", "queries", MAIN]
    return Sheet(title=f"Boards: {name}", columns=columns, sections=sections, notes=notes)


def difference_sheet(numbers: dict[str, Any]) -> Sheet | None:
    """Lay out the paired differences between runs."""
    if not numbers["differences"]:
        return None
    sections: dict[str, list[list[Cell]]] = {}
    for one in numbers["differences"]:
        ends = one["ci95"]
        cells = [
            f"{one['part']} {TASKS[one['task']]}",
            f"{one['difference']:+.3f}",
            f"{ends[0]:+.3f} to {ends[1]:+.3f}" if ends else "-",
            f"{one['p_holm']:.4f}",
        ]
        heading = f"{one['second']} minus {one['first']}"
        sections.setdefault(heading, []).append([Cell(cell) for cell in cells])
    return Sheet(
        title=f"Differences in {MAIN}",
        columns=["", "difference", "95% interval", "p (Holm)"],
        sections=sections,
        notes=["Query by query (paired). p: sign-flip test, corrected for all tests of the table."],
    )


def values_sheet(
    title: str, rows: dict[str, list[Any]], runs: list[str], notes: list[str]
) -> Sheet:
    """Lay out one number of each run in a row each: with an interval, a plain one, or None."""
    cells = [[Cell(name), *map(_value, values)] for name, values in rows.items()]
    return Sheet(title=title, columns=["", *runs], sections={"": cells}, notes=notes)


def audit_sheet(audit: dict[str, Any]) -> Sheet:
    """Lay out the checks of the leak audit."""
    rows = [
        [
            Cell(check["name"]),
            Cell(VERDICTS[check["verdict"]], check["verdict"]),
            Cell("-" if check["of"] is None else f"{check['found']:,} of {check['of']:,}"),
        ]
        for check in audit["checks"]
    ]
    notes = [f"{check['name']}: {check['means']}" for check in audit["checks"]]
    columns = ["check", "verdict", "found"]
    return Sheet(title="Leak audit", columns=columns, sections={"": rows}, notes=notes)


def counts_sheet(counts: dict[str, int]) -> Sheet:
    """Lay out the counts of a split."""
    rows = [[Cell(name.replace("_", " ")), Cell(f"{count:,}")] for name, count in counts.items()]
    return Sheet(title="What the split holds", columns=["", "count"], sections={"": rows}, notes=[])


def _value(value: Any) -> Cell:
    if isinstance(value, float):
        return Cell(f"{value:.3f}")
    return measured(value)


def _inert(text: str) -> str:
    """Return a cell that no spreadsheet takes for a formula; numbers stay what they are."""
    risky = text[:1] in "=+-@\t\r" and text != "-" and not re.fullmatch(r"[+-][\d.]+", text)
    return f"'{text}" if text and risky else text
