"""Plots of the report as inline SVG, drawn from numbers; the colors are the style sheet's.

Each series has a color and a shape of its own (classes s0, s1, … of page.css), so that color is
never the only difference. Lengths are in units of the view box, about pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from xml.etree import ElementTree

LOOKS = 7  # how many colors there are
_WIDTH, _TICKS = 760.0, 5
_LONGEST = 34  # characters of a label


class Mark(NamedTuple):
    """A value with the ends of its interval, where there are any."""

    value: float
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, entry: dict[str, Any] | None) -> Mark | None:
        """Return the mark of an entry of metrics.json, None where it has no value."""
        if entry is None or entry["value"] is None:
            return None
        return cls(entry["value"], *(entry.get("ci95") or ()))

    def words(self) -> str:
        """Return the numbers, as a tool tip shows them."""
        if self.low is None or self.high is None:
            return f"{self.value:.3f}"
        return f"{self.value:.3f} (95%: {self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True, kw_only=True)
class Series:
    """What one run, or one baseline, has at every place of an axis; None where it has nothing."""

    name: str
    look: int  # number of the color and shape; -1 and -2 for what stands in the background
    marks: list[Mark | None]


def dots(places: Sequence[str], series: Sequence[Series], *, title: str) -> str:
    """Draw rows of dots with their intervals: a row each place, a dot each series."""
    left, top, step = 200.0, 8.0, 15.0
    row = step * len(series) + 14
    bottom = top + row * len(places)
    right = _WIDTH - 24
    end, ticks = _axis(_ends(series))
    svg = _canvas(bottom + 30, title)

    def across(value: float) -> float:
        return left + (right - left) * value / end

    for tick in ticks:
        _line(svg, across(tick), top, across(tick), bottom, "grid")
        _text(svg, across(tick), bottom + 18, _number(tick, end), "tick middle")
    for place, name in enumerate(places):
        start = top + place * row
        if place:
            _line(svg, 0, start, right, start, "rule")
        _text(svg, left - 14, start + row / 2 + 4, name, "label end")
        for order, one in enumerate(series):
            mark = one.marks[place]
            if mark is not None:
                y = start + 7 + step * (order + 0.5)
                group = _group(svg, one, f"{name}, {one.name}: {mark.words()}")
                if mark.low is not None and mark.high is not None:
                    _line(group, across(mark.low), y, across(mark.high), y, "whisker")
                _shape(group, across(mark.value), y, one.look)
    return _written(svg)


def lines(places: Sequence[str], series: Sequence[Series], *, title: str, axis: str) -> str:
    """Draw a line for each series over places that stand side by side, with whiskers."""
    left, right, top, bottom = 52.0, _WIDTH / 2, 12.0, 252.0
    end, ticks = _axis(_ends(series))
    svg = _canvas(bottom + 46, title, right + 16)
    step = (right - left) / max(1, len(places))

    def up(value: float) -> float:
        return bottom - (bottom - top) * value / end

    for tick in ticks:
        _line(svg, left, up(tick), right, up(tick), "grid")
        _text(svg, left - 8, up(tick) + 4, _number(tick, end), "tick end")
    for place, name in enumerate(places):
        _text(svg, left + step * (place + 0.5), bottom + 18, name, "tick middle")
    _text(svg, (left + right) / 2, bottom + 38, axis, "axis middle")
    apart = min(10.0, step / (len(series) + 1))
    for order, one in enumerate(series):
        shift = apart * (order - (len(series) - 1) / 2)
        spots = [
            (left + step * (place + 0.5) + shift, place, mark)
            for place, mark in enumerate(one.marks)
            if mark is not None
        ]
        path = " ".join(f"{x:.1f},{up(mark.value):.1f}" for x, _, mark in spots)
        _add(_group(svg, one), "polyline", points=path, class_="line")
        for x, place, mark in spots:
            group = _group(svg, one, f"{places[place]}, {one.name}: {mark.words()}")
            if mark.low is not None and mark.high is not None:
                _line(group, x, up(mark.low), x, up(mark.high), "whisker")
            _shape(group, x, up(mark.value), one.look)
    return _written(svg)


def steps(
    edges: Sequence[float], series: dict[str, Sequence[float]], *, title: str, axis: str
) -> str:
    """Draw histograms over the same bins as filled steps, heights relative to the highest.

    Args:
        edges: of the bins, ascending; one more than the bins.
        series: by name, the share in each bin; the first stands in the foreground.
        title: for who does not see the picture.
        axis: what the bins are of.
    """
    left, right, top, bottom = 12.0, _WIDTH / 2, 12.0, 180.0
    svg = _canvas(bottom + 46, title, right + 16)
    highest = max((value for values in series.values() for value in values), default=0) or 1
    span = edges[-1] - edges[0]

    def across(value: float) -> float:
        return left + (right - left) * (value - edges[0]) / span

    for tick in _ticks(edges[0], edges[-1]):
        _line(svg, across(tick), top, across(tick), bottom, "grid")
        _text(svg, across(tick), bottom + 18, f"{tick:g}", "tick middle")
    _text(svg, (left + right) / 2, bottom + 38, axis, "axis middle")
    for order, (name, values) in reversed(list(enumerate(series.items()))):
        points = [f"{across(edges[0]):.1f},{bottom}"]
        for place, value in enumerate(values):
            y = bottom - (bottom - top) * value / highest
            points += [f"{across(edge):.1f},{y:.1f}" for edge in edges[place : place + 2]]
        points.append(f"{across(edges[-1]):.1f},{bottom}")
        group = _group(svg, Series(name=name, look=order if order == 0 else -1, marks=[]), name)
        _add(group, "polygon", points=" ".join(points), class_="area")
    return _written(svg)


def swatch(look: int) -> str:
    """Return the sign of a series, for the legend."""
    attributes = {"viewBox": "0 0 16 16", "class": "swatch", "aria-hidden": "true"}
    svg = ElementTree.Element("svg", attributes)
    _shape(_group(svg, Series(name="", look=look, marks=[])), 8, 8, look)
    return _written(svg)


def _ends(series: Iterable[Series]) -> float:
    marks = [mark for one in series for mark in one.marks if mark is not None]
    return max((max(mark.value, mark.high or 0) for mark in marks), default=1.0)


def _axis(highest: float) -> tuple[float, list[float]]:
    """Return the end of an axis from 0 that holds `highest`, and its ticks."""
    ticks = _ticks(0.0, highest or 1.0, beyond=True)
    return ticks[-1], ticks


def _ticks(low: float, high: float, *, beyond: bool = False) -> list[float]:
    """Return round numbers between two others; `beyond` the higher, one more."""
    rough = (high - low) / _TICKS
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    if beyond and last * step < high - 1e-9 * step:
        last += 1
    return [number * step for number in range(first, last + 1)]


def _number(tick: float, end: float) -> str:
    return f"{tick:,.0f}" if end >= 5 else f"{tick:.{max(1, 1 - math.floor(math.log10(end)))}f}"


def _shape(parent: ElementTree.Element, x: float, y: float, look: int) -> None:
    if look == -1:
        _line(parent, x, y - 6, x, y + 6, "bar")
        return
    if look < 0:
        _line(parent, x - 4.5, y - 4.5, x + 4.5, y + 4.5, "bar")
        _line(parent, x - 4.5, y + 4.5, x + 4.5, y - 4.5, "bar")
        return
    kind = look % 4
    if kind == 0:
        _add(parent, "circle", cx=x, cy=y, r=4.6, class_="shape")
        return
    corners = {
        1: ((-4.2, -4.2), (4.2, -4.2), (4.2, 4.2), (-4.2, 4.2)),
        2: ((0, -5.8), (5.8, 0), (0, 5.8), (-5.8, 0)),
        3: ((0, -5.4), (5.4, 4.4), (-5.4, 4.4)),
    }[kind]
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    _add(parent, "polygon", points=points, class_="shape")


def _canvas(height: float, title: str, width: float = _WIDTH) -> ElementTree.Element:
    view = f"0 0 {width:g} {height:g}"
    attributes = {"viewBox": view, "role": "img", "aria-label": title, "class": "plot"}
    if width < _WIDTH:
        attributes["class"] = "plot half"
    return ElementTree.Element("svg", attributes)


def _group(svg: ElementTree.Element, one: Series, tip: str = "") -> ElementTree.Element:
    look = "back" if one.look < 0 else f"s{one.look % LOOKS}"
    group = _add(svg, "g", class_=look)
    if tip:
        _add(group, "title").text = tip
    return group


def _line(parent: ElementTree.Element, x1: float, y1: float, x2: float, y2: float, kind: str):
    _add(parent, "line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def _text(parent: ElementTree.Element, x: float, y: float, words: str, kind: str) -> None:
    text = _add(parent, "text", x=x, y=y, class_=kind)
    cut = kind.startswith("label") and len(words) > _LONGEST
    text.text = words[: _LONGEST - 1] + "…" if cut else words


def _add(parent: ElementTree.Element, tag: str, **attributes: Any) -> ElementTree.Element:
    written = {
        name.rstrip("_"): f"{value:.1f}".removesuffix(".0")
        if isinstance(value, float)
        else str(value)
        for name, value in attributes.items()
    }
    return ElementTree.SubElement(parent, tag, written)


def _written(svg: ElementTree.Element) -> str:
    return ElementTree.tostring(svg, encoding="unicode", short_empty_elements=True)
