"""Tables and sentences of results, for the console and as Markdown, that a newcomer can read."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pingraph.metrics import METRICS
from pingraph.relevance import leaves_out_known

if TYPE_CHECKING:
    from rich.table import Table

PARTS = {"cold": "Cold pins", "warm": "Warm pins"}
TASKS = {
    "pin_to_pin": "pin → pin",
    "image_to_text": "image → text",
    "text_to_image": "text → image",
    "board_to_pins": "board → pins",
}
METHODS = {
    "tf_idf": "TF-IDF",
    "raw_pixels": "pixels",
    "image_text": "image-text",
    "joint": "joint",
}
_MAIN = "recall@10"
_SHORT = (_MAIN, "mrr")  # where not every metric is shown
_SEEN = "Cold pins were held out; warm pins may have been trained on, which flatters them."
_RECALL = "recall@k: hits among the k nearest, over the min(k, relevant) possible ones."
_NOTHING_HELD_OUT = "Nothing is held out: every pin on a board counts as warm."
_MATES = "pin → pin: relevant to a pin are those that share a board of at most 200 pins."
_BOARDS = "board → pins: a board is asked by its pins in training; relevant are those held out."
_MACRO = "by board: the mean over boards, each of which is the mean over its queries."
_FILTERED = "Warm pin → pin leaves out pairs that share such a board in training."


class Cell(NamedTuple):
    """What stands in a place of a table, and its style in the console."""

    text: str
    style: str = ""


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A table that can be shown in the console and written as Markdown."""

    title: str
    columns: list[str]  # the first names the rows
    sections: dict[str, list[list[Cell]]]  # rows of cells, under a heading
    notes: list[str]

    def console(self) -> Table:
        """Return the table for `rich.console.Console.print`."""
        from rich import box
        from rich.table import Table
        from rich.text import Text

        # As Text: a pin id or a folder's name in brackets is no markup.
        title = Text(self.title, "table.title")
        caption = Text("\n".join(self.notes), "table.caption")
        table = Table(title=title, caption=caption, box=box.SIMPLE_HEAD)
        table.title_justify = table.caption_justify = "left"
        for place, name in enumerate(self.columns):
            table.add_column(Text(name), justify="right" if place else "left")
        for heading, rows in self.sections.items():
            table.add_row(Text(heading, "bold"))
            for row in rows:
                table.add_row(*(Text(cell.text, cell.style) for cell in row))
            table.add_section()
        return table

    def markdown(self) -> str:
        """Return the table as Markdown, with the notes below it."""
        rule = ["---", *("---:" for _ in self.columns[1:])]
        rows = []
        for heading, section in self.sections.items():
            if heading:
                rows.append([f"**{heading}**", *("" for _ in self.columns[1:])])
            rows += [[cell.text for cell in row] for row in section]
        lines = [
            f"| {' | '.join(_cell_of_markdown(cell) for cell in cells)} |"
            for cells in (self.columns, rule, *rows)
        ]
        return "\n".join([f"**{self.title}**", "", *lines, "", *self.notes]) + "\n"


def print_sheet(sheet: Sheet) -> None:
    """Print a table to standard output, wide enough to keep its numbers in a file or a pipe."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 140).print(sheet.console())


def measured(entry: dict[str, Any] | None) -> Cell:
    """Return a value with its interval, of metrics.json or of a report, as a cell."""
    if entry is None or entry["value"] is None:
        return Cell("-")
    ends = [f"{end:.3f}".removeprefix("0") for end in entry["ci95"] or ()]
    return Cell(f"{entry['value']:.3f}" + (f" [{', '.join(ends)}]" if ends else ""))


def lift(entry: dict[str, Any] | None) -> Cell:
    """Return the relative change of an entry with its interval, as a cell."""
    if entry is None or entry.get("lift") is None:
        return Cell("-")
    ends = entry["lift_ci95"]
    said = f" [{ends[0]:+.1%}, {ends[1]:+.1%}]" if ends else ""
    return Cell(f"{entry['lift']:+.1%}{said}")


def metrics_sheet(metrics: dict[str, Any]) -> Sheet:
    """Lay out the content of metrics.json: a row each metric, a column each task."""
    kind = metrics["split"]["kind"]
    seen = _NOTHING_HELD_OUT if kind == "none" else _SEEN
    filtered = [_FILTERED] if leaves_out_known(kind) else []
    return Sheet(
        title=f"{metrics['data']}: ranking the full corpus [95% interval]",
        columns=["", *TASKS.values()],
        sections={name: list(_metric_rows(metrics[part])) for part, name in PARTS.items()},
        notes=[_MATES, _BOARDS, _RECALL, _MACRO, seen, *filtered, *_nobody_asked(metrics)],
    )


def _nobody_asked(metrics: dict[str, Any]) -> list[str]:
    """Say why nothing is asked of pin → pin, where that is so."""
    tasks = [metrics[part]["pin_to_pin"] for part in PARTS]
    if not all(tasks) or any(task["queries"] for task in tasks):
        return []
    count = sum(task["queries_without_relevant"] for task in tasks)
    return [f"None of the {count:,} pins that could ask has a board-mate that could be found."]


def comparison_sheet(comparison: dict[str, Any]) -> Sheet:
    """Lay out the content of comparison.json: baselines, the two methods, and the lift."""
    entries = [
        entry
        for part in PARTS
        for task in comparison[part].values()
        for entry in (task or {}).values()
    ]
    shown = [name for name in METHODS if any(name in entry for entry in entries)]
    sections = {
        f"{part.capitalize()} {TASKS[task]}": [
            [Cell(metric), *_comparison_cells(result[metric], shown)]
            for metric in (METRICS if (part, task) == ("cold", "pin_to_pin") else _SHORT)
        ]
        for part in PARTS
        for task, result in comparison[part].items()
        if result is not None and result[_MAIN]["image_text"] is not None
    }
    return Sheet(
        title=f"{comparison['data']}: what the graph taught (joint against image-text)",
        columns=["", *(METHODS[name] for name in shown), "lift [95%]"],
        sections=sections,
        notes=[_MATES, _BOARDS, _RECALL, _SEEN],
    )


def verdict(comparison: dict[str, Any]) -> str:
    """Say in plain words what neighbor alignment did to cold pins, for better or worse.

    The first sentence is on recall@10 of pin → pin; more follow on image ↔ text, and on a cheap
    baseline that does better.
    """
    cold = comparison["cold"]
    entry = (cold["pin_to_pin"] or {}).get(_MAIN)
    if entry is None or entry["image_text"] is None:
        return "No cold pin has a board-mate to be found, so nothing can be said of pin → pin."
    sentences = [f"Neighbor alignment {_effect(entry, f'{_MAIN} on cold pins')}."]
    for task in ("image_to_text", "text_to_image"):
        if cold[task] and cold[task][_MAIN]["image_text"] is not None:
            sentences.append(f"It {_effect(cold[task][_MAIN], f'that of {TASKS[task]}')}.")
    best = max(("tf_idf", "raw_pixels"), key=lambda name: entry.get(name) or 0)
    if (entry.get(best) or 0) > entry["joint"]:
        reached = f"{entry[best]:.3f} where joint reaches {entry['joint']:.3f}"
        sentences.append(f"But {METHODS[best]} alone does better on cold pins: {reached}.")
    return " ".join(sentences)


def _effect(entry: dict[str, Any], what: str) -> str:
    lift, ends = entry["lift"], entry["ci95"]
    if lift is None:
        joint = entry["joint"]
        return f"brought {what} from 0 to {joint:.3f}" if joint else f"left {what} at 0"
    if ends is None:
        return f"moved {what} by {lift:+.0%}, on too few queries to tell it from chance"
    low, high = ends
    if low > 0:
        return f"raised {what} by {lift:.0%} (95%: {low:.0%} to {high:.0%})"
    if high < 0:
        return f"lowered {what} by {-lift:.0%} (95%: {-high:.0%} to {-low:.0%})"
    return (
        f"made no difference to {what} beyond chance ({lift:+.0%}, 95%: {low:+.0%} to {high:+.0%})"
    )


def _cell_of_markdown(text: str) -> str:
    return " ".join(text.replace("|", r"\|").split())


def _metric_rows(tasks: dict[str, Any]) -> Iterator[list[Cell]]:
    found = [tasks[name] for name in TASKS]
    counts = ["-" if task is None else f"{task['queries']:,}" for task in found]
    yield [Cell("queries"), *(Cell(count, "dim") for count in counts)]
    for metric in METRICS:
        yield [Cell(metric), *(measured(None if task is None else task[metric]) for task in found)]
    macro = [None if task is None else task[_MAIN]["macro"] for task in found]
    yield [Cell(f"{_MAIN} by board"), *map(measured, macro)]


def _comparison_cells(entry: dict[str, Any], shown: list[str]) -> Iterator[Cell]:
    for name in shown:
        value = entry.get(name)
        yield Cell("-" if value is None else f"{value:.3f}", "bold" if name == "joint" else "")
    lift, ends = entry["lift"], entry["ci95"]
    if lift is None or ends is None:
        yield Cell("-" if lift is None else f"{lift:+.0%}")
        return
    style = "green" if ends[0] > 0 else "red" if ends[1] < 0 else "dim"
    yield Cell(f"{lift:+.0%} [{ends[0]:+.0%}, {ends[1]:+.0%}]", style)
