"""What came out of an experiment: the figures of its cells, and how methods compare query by query.

A slice is what a column of a table is about: some queries of a condition, part and task.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from pingraph.errors import PinGraphError
from pingraph.experiment.cell import JUDGED_FILE, QUERIES_FILE
from pingraph.experiment.plan import Cell, Experiment
from pingraph.experiment.records import finished, made
from pingraph.experiment.statistics import Comparison, Mean, averaged, compared
from pingraph.files import read_json
from pingraph.metrics import METRICS
from pingraph.results import PARTS, TASKS
from pingraph.significance import holm
from pingraph.tables import unreadable

COLUMNS = tuple(
    (part, task) for part in PARTS for task in ("pin_to_pin", "image_to_text", "text_to_image")
)
_MOST_NUMBERS = 8  # numbers of saves that have a column each; more are put together


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Which queries a column is about."""

    label: str
    condition: str
    part: str
    task: str
    saves: tuple[int, int] | None = None  # fewest and most saves in training; None for all

    def at(self, part: str, task: str) -> Slice:
        """Return the same condition in another part and task."""
        return Slice(label=self.label, condition=self.condition, part=part, task=task)


@dataclass(frozen=True, kw_only=True)
class Tested:
    """A method beside the reference."""

    comparison: Comparison
    p_holm: float  # corrected by Holm


class Figures:
    """The finished cells of an experiment, read when they are asked for.

    Args:
        experiment: the grid.
        out: the folder of its runs.

    Raises:
        PinGraphError: two cells of one data set, condition and seed were judged by different
            splits, or on other data, as when it has changed.
    """

    def __init__(self, experiment: Experiment, out: Path):
        self.experiment, self.out = experiment, out
        cells = experiment.cells()
        self.cells = [cell for cell in cells if finished(cell, out)]
        self._means: dict[tuple[str, str, Slice], Mean | None] = {}
        self.missing = len(cells) - len(self.cells)
        self.made = {cell.path: made(cell, out) for cell in self.cells}
        self.data = tuple(dict.fromkeys(cell.data for cell in cells))
        judges: dict[tuple, tuple[Cell, tuple[str, ...]]] = {}
        for cell in self.cells:
            key = cell.data, cell.condition, cell.seed
            judge = tuple(self.made[cell.path][one] for one in ("judge", "data"))
            first, other = judges.setdefault(key, (cell, judge))
            if judge != other:
                raise PinGraphError(
                    f"{out / cell.path} and {out / first.path} were judged by different splits or "
                    "data: the data or the condition has changed since; remove the older one"
                )

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each figure of each finished cell, with its interval over queries."""
        rows = []
        for cell in self.cells:
            found = read_json(self.out / cell.path / JUDGED_FILE)
            named = {key: getattr(cell, key) for key in ("data", "condition", "method", "seed")}
            for part in PARTS:
                for task, result in found[part].items():
                    for metric in METRICS if result else ():
                        low, high = result[metric]["ci95"] or (None, None)
                        figure = {"value": result[metric]["value"], "low": low, "high": high}
                        place = {"part": part, "task": task, "metric": metric}
                        rows.append({**named, **place, **figure, "queries": result["queries"]})
        return rows

    def slices(self) -> list[Slice]:
        """Return what the measure is told apart by: conditions or saves, or the only one."""
        part, task = (self.experiment.measure[key] for key in ("part", "task"))
        conditions = list(self.experiment.conditions)
        whole = [
            Slice(label=condition, condition=condition, part=part, task=task)
            for condition in conditions
        ]
        if not self.experiment.by_saves:
            return whole
        by_saves = [
            Slice(
                label=_spelled(ends) if len(conditions) == 1 else f"{condition}, {_spelled(ends)}",
                condition=condition,
                part=part,
                task=task,
                saves=ends,
            )
            for condition in conditions
            for ends in self._saves(condition, part, task)
        ]
        return by_saves or whole  # where nobody answers there are no saves

    def columns(self) -> list[Slice]:
        """Return all that is compared: the slices; where there is one, its other tasks too."""
        slices = self.slices()
        if len(slices) > 1:
            return slices
        return [slices[0].at(*place) for place in self.places(slices[0])]

    def places(self, of: Slice) -> list[tuple[str, str]]:
        """Return the slice's part and task, then the others that some method has an answer to."""
        measured = of.part, of.task
        return [
            place
            for place in dict.fromkeys([measured, *COLUMNS])
            if place == measured
            or any(
                self.mean(data, method, of.at(*place))
                for data in self.data
                for method in self.experiment.methods
            )
        ]

    def mean(self, data: str, method: str, of: Slice) -> Mean | None:
        """Return the measure of a method, None where it has no answer."""
        key = data, method, of
        if key not in self._means:
            values = list(self.values(*key).values())
            self._means[key] = averaged(values, seed=0) if values else None
        return self._means[key]

    def values(self, data: str, method: str, of: Slice) -> dict[int, np.ndarray]:
        """Return what the queries of a method got, by seed; none that has no query."""
        return {seed: values for seed, (_, values) in self._answers(data, method, of).items()}

    def comparisons(self, slices: list[Slice]) -> dict[tuple[str, str, Slice], Tested]:
        """Compare each method with the reference in each slice, on the queries of both.

        Returns:
            By data set, method and slice; none where one of the two has no answer. p-values are
            corrected for all comparisons of one data set, part and task.
        """
        out = {}
        for data, place in product(self.data, dict.fromkeys((of.part, of.task) for of in slices)):
            found = {
                (data, method, of): comparison
                for of in slices
                for method in self.experiment.methods
                if (of.part, of.task) == place
                and (comparison := self._compared(data, method, of)) is not None
            }
            corrected = holm(np.array([one.p for one in found.values()])).tolist()
            for (key, one), p in zip(found.items(), corrected, strict=True):
                out[key] = Tested(comparison=one, p_holm=p)
        return out

    def _compared(self, data: str, method: str, of: Slice) -> Comparison | None:
        if method == self.experiment.reference:
            return None
        theirs = self._answers(data, self.experiment.reference, of)
        ours = self._answers(data, method, of)
        before, after = [], []
        for seed in theirs.keys() & ours.keys():
            _, one, two = np.intersect1d(theirs[seed][0], ours[seed][0], return_indices=True)
            if len(one):
                before.append(theirs[seed][1][one])
                after.append(ours[seed][1][two])
        return compared(before, after, seed=0) if before else None

    def _answers(self, data: str, method: str, of: Slice) -> dict[int, tuple[np.ndarray, ...]]:
        """Return the ids of the queries and what they got, by seed; none that has no query."""
        out = {}
        for cell in self.cells:
            if (cell.data, cell.method, cell.condition) != (data, method, of.condition):
                continue
            table = self._queries[cell.path]
            chosen = (table["part"] == of.part) & (table["task"] == of.task)
            if of.saves is not None:
                low, high = of.saves
                chosen &= (table["saves"] >= low) & (table["saves"] <= high)
            if chosen.any():
                metric = self.experiment.measure["metric"]
                out[cell.seed] = table["query"][chosen], table[metric][chosen]
        return dict(sorted(out.items()))

    @cached_property
    def _queries(self) -> dict[Path, dict[str, np.ndarray]]:
        found = {}
        for cell in self.cells:
            path = self.out / cell.path / QUERIES_FILE
            with unreadable(path):
                table = pq.read_table(path)
            columns = {name: table[name].to_numpy() for name in table.column_names}
            for name in ("part", "task", "query"):
                columns[name] = columns[name].astype(str)
            found[cell.path] = columns
        return found

    def _saves(self, condition: str, part: str, task: str) -> list[tuple[int, int]]:
        found: set[int] = set()
        for cell in self.cells:
            if cell.condition == condition:
                table = self._queries[cell.path]
                chosen = (table["part"] == part) & (table["task"] == task)
                found |= set(table["saves"][chosen].tolist())
        if len(found) <= _MOST_NUMBERS:
            return [(number, number) for number in sorted(found)]
        ends = [(0, 0), *((2**n, 2 ** (n + 1) - 1) for n in range(max(found).bit_length()))]
        return [(low, high) for low, high in ends if any(low <= n <= high for n in found)]


def comparison_rows(
    comparisons: dict[tuple[str, str, Slice], Tested], experiment: Experiment
) -> list[dict[str, Any]]:
    """Return a flat row for each comparison."""
    rows = []
    for (data, method, of), found in comparisons.items():
        one = found.comparison
        low, high = of.saves or (None, None)
        row: dict[str, Any] = {
            "data": data,
            "condition": of.condition,
            "part": of.part,
            "task": of.task,
        }
        row |= {"fewest_saves": low, "most_saves": high, "metric": experiment.measure["metric"]}
        row |= {"method": method, "reference": experiment.reference}
        for name, figure in (("difference", one.difference), ("lift", one.lift)):
            ends = asdict(figure) if figure else dict.fromkeys(("value", "low", "high"))
            row |= {name: ends["value"], f"{name}_low": ends["low"], f"{name}_high": ends["high"]}
        counts = {"p": one.p, "p_holm": found.p_holm, "queries": one.queries, "seeds": one.seeds}
        rows.append(row | counts)
    return rows


def measure_name(experiment: Experiment) -> str:
    """Say what the measure is, such as "recall@10, cold pin → pin"."""
    measure = experiment.measure
    part = "" if experiment.by_saves else f"{measure['part']} "
    return f"{measure['metric']}, {part}{TASKS[measure['task']]}"


def _spelled(ends: tuple[int, int]) -> str:
    low, high = ends
    return f"{low}\N{EN DASH}{high} saves" if low < high else f"{low} save{'s' * (low != 1)}"
