"""What came out of an experiment: a row each figure in Parquet, and a table of means by method."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pingraph.experiment import Cell, Experiment
from pingraph.experiment_run import finished, seconds
from pingraph.files import atomic_file, read_json
from pingraph.metrics import METRICS
from pingraph.results import PARTS, TASKS, Sheet
from pingraph.results import Cell as Place
from pingraph.run_files import METRICS_FILE

RESULTS_FILE, TABLE_FILE = "results.parquet", "table.md"
METRIC = "recall@10"
COLUMNS = (
    ("cold", "pin_to_pin"),
    ("cold", "image_to_text"),
    ("cold", "text_to_image"),
    ("warm", "pin_to_pin"),
)


def collect(experiment: Experiment, out: Path) -> list[dict[str, Any]]:
    """Return a row for each figure of each finished cell.

    Keys: data, method, seed, part, task, metric, value, low and high (95% over queries), queries.
    """
    rows = []
    for cell in experiment.cells():
        if not finished(cell, out):
            continue
        found = read_json(out / cell.path / METRICS_FILE)
        named = {"data": cell.data, "method": cell.method, "seed": cell.seed}
        for part in PARTS:
            for task, result in found[part].items():
                for metric in METRICS if result else ():
                    low, high = result[metric]["ci95"] or (None, None)
                    figure = {"value": result[metric]["value"], "low": low, "high": high}
                    place = {"part": part, "task": task, "metric": metric}
                    rows.append({**named, **place, **figure, "queries": result["queries"]})
    return rows


def write_results(rows: list[dict[str, Any]], sheet: Sheet, out: Path) -> list[Path]:
    """Write the rows as Parquet and the table as Markdown, and return the two paths."""
    with atomic_file(out / RESULTS_FILE) as temporary:
        pq.write_table(pa.Table.from_pylist(rows), temporary)
    with atomic_file(out / TABLE_FILE) as temporary:
        temporary.write_text(sheet.markdown(), encoding="utf-8")
    return [out / RESULTS_FILE, out / TABLE_FILE]


def table_of(experiment: Experiment, rows: list[dict[str, Any]], out: Path) -> Sheet:
    """Lay out recall@10: a section each data set, a row each method, the mean over its seeds."""
    sections = {}
    for data in dict.fromkeys(cell.data for cell in experiment.cells()):
        values = {
            (method, part, task): [
                row["value"]
                for row in rows
                if (row["data"], row["method"]) == (data, method)
                and (row["part"], row["task"], row["metric"]) == (part, task, METRIC)
                and row["value"] is not None
            ]
            for method in experiment.methods
            for part, task in COLUMNS
        }
        sections[data] = [
            [
                Place(method),
                *(_mean(values[method, part, task]) for part, task in COLUMNS),
                _lift(values, method, experiment.reference),
                _time(experiment.cells(), data, method, out),
            ]
            for method in experiment.methods
        ]
    names = [f"{part} {TASKS[task]}" for part, task in COLUMNS]
    seeds = ", ".join(map(str, experiment.seeds))
    return Sheet(
        title=f"{experiment.title}: {METRIC}",
        columns=["", *names, "lift", "s"],
        sections=sections,
        notes=[
            f"Means over seeds {seeds}; ± is the standard deviation over them, where they are more "
            "than one.",
            f"lift: of cold pin → pin over {experiment.reference}. s: mean seconds of a cell.",
        ],
    )


def _mean(values: list[float]) -> Place:
    if not values:
        return Place("-")
    spread = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
    return Place(f"{mean(values):.3f}{spread}")


def _lift(values: dict[tuple[str, str, str], list[float]], method: str, reference: str) -> Place:
    ours, theirs = (values[name, *COLUMNS[0]] for name in (method, reference))
    if method == reference or not ours or len(ours) != len(theirs) or not mean(theirs):
        return Place("")
    return Place(f"{mean(ours) / mean(theirs) - 1:+.1%}")


def _time(cells: list[Cell], data: str, method: str, out: Path) -> Place:
    of_method = [cell for cell in cells if (cell.data, cell.method) == (data, method)]
    times = [time for time in (seconds(cell, out) for cell in of_method) if time is not None]
    return Place(f"{mean(times):,.0f}" if times else "")
