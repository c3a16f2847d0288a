"""Curves of an experiment: how the measure grows as something is doubled, fitted by least squares.

The model is value = a + b · log2(size): b is what a doubling brings. Letters: P points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pingraph.bootstrap import LEVELS
from pingraph.experiment.figures import Figures, Slice
from pingraph.experiment.statistics import Mean, resampled
from pingraph.results import Cell as Place
from pingraph.results import Sheet


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The measure at several sizes, and the line through it."""

    data: str
    name: str  # of the curve
    series: str  # the method; the condition where the sizes are methods
    sizes: np.ndarray  # float64 [P]
    means: tuple[Mean, ...]
    start: float  # a
    slope: Mean  # b
    explained: float  # R², of the points


def fitted(figures: Figures) -> list[Curve]:
    """Fit the curves of an experiment; none through fewer than 3 sizes that have an answer."""
    found = []
    for data in figures.data:
        for name, sizes in figures.experiment.curves.items():
            methods, conditions = figures.experiment.methods, figures.experiment.conditions
            # Of either there may be fewer than the file has.
            by_method = len(sizes.keys() & methods) > len(sizes.keys() & conditions)
            for series in conditions if by_method else methods:
                points = _points(figures, data, series, sizes, by_method)
                if len(points) >= 3:
                    found.append(_fitted(figures, points, data, name, series))
    return found


def curve_sheet(curves: list[Curve], title: str) -> Sheet:
    """Lay out what a doubling brings, a section each data set."""
    sections: dict[str, list[list[Place]]] = {}
    for curve in curves:
        slope = curve.slope
        ends = "" if slope.low is None else f" [{slope.low:+.3f}, {slope.high:+.3f}]"
        row = [
            curve.name + (curve.series and f": {curve.series}"),
            f"{slope.value:+.3f}{ends}",
            f"{curve.explained:.2f}",
            ", ".join(f"{size:g}" for size in curve.sizes),
        ]
        sections.setdefault(curve.data, []).append([Place(text) for text in row])
    return Sheet(
        title=f"{title}: by each doubling",
        columns=["", "gain", "R²", "sizes"],
        sections=sections,
        notes=["Least squares through the means over log2(size); 95% interval by bootstrap."],
    )


def _points(
    figures: Figures, data: str, series: str, sizes: dict[str, float], by_method: bool
) -> list[tuple[float, str, Slice]]:
    part, task = (figures.experiment.measure[key] for key in ("part", "task"))
    points = []
    for name, size in sorted(sizes.items(), key=lambda entry: entry[1]):
        method, condition = (name, series) if by_method else (series, name)
        of = Slice(label=name, condition=condition, part=part, task=task)
        if figures.mean(data, method, of):
            points.append((size, method, of))
    return points


def _fitted(
    figures: Figures, points: list[tuple[float, str, Slice]], data: str, name: str, series: str
) -> Curve:
    sizes = np.array([size for size, _, _ in points])
    values = [figures.values(data, one, of) for _, one, of in points]
    means = tuple(figures.mean(data, one, of) for _, one, of in points)
    seen = np.array([mean.value for mean in means if mean])
    # The same resamples at every size, since the queries are the same.
    drawn = np.stack([resampled(list(part.values()), seed=0)[:, 0] for part in values], axis=1)
    x = np.stack([np.ones(len(sizes)), np.log2(sizes)], axis=1)
    (start, slope), *_ = np.linalg.lstsq(x, seen)
    slopes = np.linalg.lstsq(x, drawn.T)[0][1]
    low, high = np.quantile(slopes, LEVELS).tolist()
    rest, spread = seen - x @ (start, slope), seen - seen.mean()
    return Curve(
        data=data,
        name=name,
        series=series,
        sizes=sizes,
        means=tuple(mean for mean in means if mean),
        start=float(start),
        slope=Mean(value=float(slope), low=low, high=high),
        explained=1 - float(rest @ rest) / float(spread @ spread) if spread.any() else 1.0,
    )
