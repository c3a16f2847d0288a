"""The parts that the report's page is made of, and how they are made of plots and tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pingraph.report.plots import Mark, Series, swatch
from pingraph.report.sheets import copies, methods
from pingraph.results import Sheet


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A picture with its caption."""

    svg: str
    title: str
    caption: str
    legend: list[tuple[str, str]] = field(default_factory=list)  # sign (SVG) and name


@dataclass(frozen=True, kw_only=True)
class Block:
    """A table with the texts that it is copied as."""

    sheet: Sheet
    copies: dict[str, str]
    folded: bool = False


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page."""

    key: str
    title: str
    lead: str
    plots: list[Plot]
    blocks: list[Block]


def looks_of(numbers: dict[str, Any]) -> dict[str, int]:
    """Return the number of the color and shape of each run; baselines stand in the background."""
    names = methods(numbers)
    runs = list(numbers["runs"])
    others = [name for name in names if name not in runs]
    return {name: runs.index(name) if name in runs else -1 - others.index(name) for name in names}


def runs_series(numbers: dict[str, Any], found: dict[str, dict[str, Mark | None]]) -> list[Series]:
    """Return a series of each run, with a mark at every place that any run has one at.

    Args:
        numbers: of the report.
        found: by run and place.
    """
    looks = looks_of(numbers)
    places = dict.fromkeys(place for marks in found.values() for place in marks)
    return [
        Series(name=name, look=looks[name], marks=[marks.get(place) for place in places])
        for name, marks in found.items()
    ]


def plot_of(svg: str, title: str, series: list[Series], caption: str = "") -> Plot:
    """Return a plot with a legend of the series that have a mark."""
    shown = [one for one in series if any(mark is not None for mark in one.marks)]
    legend = [(swatch(one.look), one.name) for one in shown]
    return Plot(svg=svg, title=title, caption=caption, legend=legend)


def block(sheet: Sheet, *, folded: bool = False) -> Block:
    """Return a table with its copies; a folded one is shown when it is asked for."""
    return Block(sheet=sheet, copies=copies(sheet), folded=folded)


def blocks_of(sheet: Sheet | None) -> list[Block]:
    """Return a table as a list of one block, or of none."""
    return [] if sheet is None else [block(sheet)]
