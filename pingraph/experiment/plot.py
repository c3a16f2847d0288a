"""Plots of an experiment: dots with intervals by method, by condition or saves, and curves."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pingraph.experiment.curve import Curve
from pingraph.experiment.figures import Figures, Slice, measure_name
from pingraph.experiment.statistics import Mean
from pingraph.files import atomic_file
from pingraph.results import TASKS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = ("png", "svg")
_MARKS = "os^Dv<>Pp*hX"


def write_plots(figures: Figures, curves: list[Curve], out: Path) -> list[Path]:
    """Write the plots as PNG and SVG, and return the paths; curves only where there are any."""
    slices = figures.slices()
    made = {"plot": _dots(figures, slices[0]) if len(slices) == 1 else _columns(figures, slices)}
    if curves:
        made["curves"] = _curves(figures, curves)
    paths = []
    for (name, figure), kind in product(made.items(), KINDS):
        paths.append(out / f"{name}.{kind}")
        with atomic_file(paths[-1]) as temporary:
            # Without a date one result is one file.
            metadata = {"Date": None} if kind == "svg" else None
            figure.savefig(temporary, format=kind, dpi=150, metadata=metadata)
    return paths


def _dots(figures: Figures, of: Slice) -> Figure:
    """A row of panels each data set, a panel each task: methods from top to bottom."""
    methods = list(figures.experiment.methods)
    places = _compared(figures, of)
    figure, panels = _panels(len(figures.data), len(places), 0.6 + 0.3 * len(methods))
    for row, data in zip(panels, figures.data, strict=True):
        for axes, (part, task) in zip(row, places, strict=True):
            for y, method in enumerate(methods):
                found = figures.mean(data, method, of.at(part, task))
                if found is None:
                    continue
                low, high = _ends(found)
                reference = method == figures.experiment.reference
                color = "tab:red" if reference else "tab:blue"
                axes.plot([low, high], [y, y], color=color)
                axes.plot(found.value, y, "o", color=color)
            axes.set_yticks(
                range(len(methods)), methods if axes is row[0] else [], parse_math=False
            )
            axes.set_ylim(len(methods) - 0.5, -0.5)
            axes.locator_params(axis="x", nbins=4)  # 0.9982 and 0.9984 would run into each other
            axes.grid(axis="x", alpha=0.3)
            axes.set_title(f"{data}: {part} {TASKS[task]}", fontsize=9, parse_math=False)
            axes.set_xlabel(figures.experiment.measure["metric"])
    return figure


def _compared(figures: Figures, of: Slice) -> list[tuple[str, str]]:
    """The slice's part and task, then the others that two methods of a data set answer."""
    first, *others = figures.places(of)

    def answers(data: str, place: tuple[str, str]) -> int:
        found = [figures.mean(data, one, of.at(*place)) for one in figures.experiment.methods]
        return sum(one is not None for one in found)

    return [first, *(at for at in others if any(answers(data, at) > 1 for data in figures.data))]


def _columns(figures: Figures, slices: list[Slice]) -> Figure:
    """A panel each data set: methods side by side in each slice; lines join numbers of saves."""
    methods = list(figures.experiment.methods)
    figure, panels = _panels(1, len(figures.data), 4.0, width=max(3.2, 0.9 * len(slices)))
    style = "-" if figures.experiment.by_saves else ""
    for axes, data in zip(panels[0], figures.data, strict=True):
        for number, method in enumerate(methods):
            means = {x: figures.mean(data, method, of) for x, of in enumerate(slices)}
            found = {x: one for x, one in means.items() if one is not None}
            if not found:
                continue
            places = np.array(list(found)) + 0.6 * (number + 0.5) / len(methods) - 0.3
            mark = _MARKS[number % len(_MARKS)]
            values = [one.value for one in found.values()]
            (line,) = axes.plot(places, values, mark + style, label=method, markersize=5)
            for place, one in zip(places, found.values(), strict=True):
                axes.plot([place, place], _ends(one), color=line.get_color(), alpha=0.5)
        labels = [of.label for of in slices]
        axes.set_xticks(range(len(slices)), labels, rotation=30, ha="right", parse_math=False)
        axes.set_title(data, parse_math=False)
        axes.set_ylabel(measure_name(figures.experiment))
        axes.grid(alpha=0.3, axis="y")
    legend = panels[0][-1].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.02, 1))
    for text in legend.get_texts() if legend else ():
        text.set_parse_math(False)
    return figure


def _curves(figures: Figures, curves: list[Curve]) -> Figure:
    """A row of panels each data set, a panel each curve: means with intervals, and the line."""
    names = list(dict.fromkeys(curve.name for curve in curves))
    rows = list(dict.fromkeys(curve.data for curve in curves))
    figure, panels = _panels(len(rows), len(names), 2.8)
    for curve in curves:
        axes = panels[rows.index(curve.data)][names.index(curve.name)]
        values = [mean.value for mean in curve.means]
        label = f"{curve.series} {curve.slope.value:+.3f}".strip()
        (dots,) = axes.plot(curve.sizes, values, "o", label=label)
        for size, mean in zip(curve.sizes, curve.means, strict=True):
            axes.plot([size, size], _ends(mean), color=dots.get_color(), alpha=0.5)
        line = curve.start + curve.slope.value * np.log2(curve.sizes)
        axes.plot(curve.sizes, line, color=dots.get_color())
        axes.set_xscale("log", base=2)
        axes.set_xticks(curve.sizes, [f"{size:g}" for size in curve.sizes])
        axes.set_title(f"{curve.data}: {curve.name}", fontsize=9, parse_math=False)
        axes.set_ylabel(measure_name(figures.experiment), fontsize=8)
        axes.grid(alpha=0.3)
        legend = axes.legend(
            fontsize=7,
            title="gain by each doubling",
            title_fontsize=7,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.1),  # within, it hides intervals
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
    return figure


def _panels(
    rows: int, columns: int, height: float, width: float = 3.2
) -> tuple[Figure, np.ndarray]:
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "pingraph"  # else each file has other ids
    figure = Figure(figsize=(2.5 + width * columns, 0.8 + height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _ends(found: Mean) -> tuple[float, float]:
    if found.low is None or found.high is None:
        return found.value, found.value
    return found.low, found.high
