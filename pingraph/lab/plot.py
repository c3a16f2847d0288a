"""The picture of the sampler lab: measures as dots, overlap as a heat map, the way to PageRank.

A sampler keeps its number, color and marker in all panels. Lengths are in inches from the top left.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pingraph.lab.convergence import WALKS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pingraph.lab.compare import Comparison, SamplerResult

# Okabe and Ito's colors, which differ for every kind of color vision; the markers differ too.
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#444444")
_MARKERS = "osD^vPX"
_INK, _SOFT, _FAINT, _PAPER = "#1c1c1c", "#5c5c5c", "#e0e0e0", "#ffffff"
_WIDTH, _DPI = 16.0, 120
_MARGIN, _GAP, _HEAD = 0.5, 0.3, 1.75  # inches: around all, between panels, above the first row
_ROW, _BETWEEN = 0.42, 0.75  # inches: a sampler of the upper panels, the space below these
_LOWER, _CELL = 3.5, 0.4  # inches: the lower panels, and a cell of the heat map, at least
_LONGEST = 28  # characters of a name
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 12,
    "text.color": _INK,
    "axes.edgecolor": _SOFT,
    "axes.labelcolor": _SOFT,
    "xtick.color": _SOFT,
    "ytick.color": _SOFT,
    "text.parse_math": False,  # a name may hold a dollar sign
}


class _Panel(NamedTuple):
    """How a measure is drawn: its name, a title, what it is of, a format, the axis' end if any."""

    measure: str
    title: str
    note: str
    form: str
    end: float | None = None


_PANELS = (
    _Panel("coverage", "Coverage", "of all pins are found", ".1%"),
    _Panel("effective_neighbors", "Neighbors", "effective (found: |)", ".1f"),
    _Panel("board_mate_share", "Board-mates", "of the weight", ".0%", 1),
    _Panel("hub_share", "Hubs", "weight; dashed: edges", ".1%"),
    _Panel("degree_ratio", "Popularity", "degree ÷ usual", ".2f"),
    _Panel("cost", "Cost", "µs a pin, log scale", ",.1f"),
)


def save_plot(path: Path, comparison: Comparison) -> None:
    """Draw a comparison as a PNG file, 1,920 pixels wide."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = len(comparison.results)
    lower = count > 1 or any(one.convergence for one in comparison.results.values())
    top = _HEAD + _ROW * count + 0.4
    height = top + lower * (_BETWEEN + _lower(count) + 0.75)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, facecolor=_PAPER)
        FigureCanvasAgg(figure)
        _draw_title(figure, comparison)
        names = [f"{i}  {_short(name)}" for i, name in enumerate(comparison.results, start=1)]
        left = _MARGIN + 0.2 + 0.105 * max(map(len, names))
        _draw_measures(figure, comparison, names, left)
        if lower:
            _draw_lower(figure, comparison, top + _BETWEEN)
        figure.savefig(path, format="png")


def _draw_title(figure: Figure, comparison: Comparison) -> None:
    graph, count = comparison.graph, len(comparison.results)
    title = f"{_short(comparison.name)}: {count} sampler{'s' * (count > 1)}"
    size = f"{graph.num_pins:,} pins, {graph.num_boards:,} boards, {graph.num_edges:,} edges"
    drawn = f"{comparison.num_seeds:,} pins sampled for, seed {comparison.seed}"
    x, height = _MARGIN / _WIDTH, figure.get_figheight()
    figure.text(x, 1 - 0.55 / height, title, size=22, weight="bold")
    figure.text(x, 1 - 0.87 / height, f"{size}  ·  {drawn}", size=12, color=_SOFT)


def _draw_measures(figure: Figure, comparison: Comparison, names: list[str], left: float) -> None:
    width = (_WIDTH - _MARGIN - left + _GAP) / len(_PANELS) - _GAP
    references = {"hub_share": comparison.hub_edge_share, "degree_ratio": 1.0}
    for place, panel in enumerate(_PANELS):
        x = left + place * (width + _GAP)
        axes = _axes(figure, x, _HEAD, width, _ROW * len(names))
        values = [_value(result, panel.measure) for result in comparison.results.values()]
        counts = [one.measures["mean_found"] for one in comparison.results.values()]
        counts = counts if panel.measure == "effective_neighbors" else []
        _draw_dots(axes, panel, values, counts, references.get(panel.measure))
        axes.set_yticks([])
        for row, name in enumerate(names if place == 0 else []):
            at: dict[str, Any] = {
                "xy": (0, row),
                "xycoords": ("axes fraction", "data"),
                "va": "center",
            }
            axes.annotate(name, xytext=(72 * (_MARGIN - left), 0), textcoords="offset points", **at)


def _draw_dots(
    axes: Axes, panel: _Panel, values: list[float], counts: list[float], reference: float | None
) -> None:
    _head(axes, panel.title, panel.note)
    start, end = _range(panel, [*values, *counts, reference or 0.0])
    axes.set_xscale("log" if panel.measure == "cost" else "linear")
    axes.set(xlim=(start, end), ylim=(len(values) - 0.5, -0.5))
    axes.set_xticks([])  # the numbers stand beside the dots
    axes.set_xticks([], minor=True)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_color(_FAINT)
    if reference is not None:
        axes.axvline(reference, color=_SOFT, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
    for row, found in enumerate(counts):
        axes.plot(found, row, "|", markersize=15, markeredgewidth=2, color=_SOFT, zorder=2)
    beside: dict[str, Any] = {"textcoords": "offset points", "va": "center", "zorder": 4}
    beside["bbox"] = {"facecolor": _PAPER, "edgecolor": "none", "pad": 1, "alpha": 0.85}
    for row, value in enumerate(values):
        if math.isnan(value):
            axes.annotate("none", (start, row), (6, 0), **beside)
            continue
        color, marker = _look(row)
        axes.plot([start, value], [row, row], color=color, alpha=0.35, linewidth=3, zorder=2)
        axes.plot(value, row, marker, color=color, markersize=9, clip_on=False, zorder=3)
        place = max([value, *counts[row : row + 1]]), row
        axes.annotate(format(value, panel.form), place, (9, 0), **beside)


def _range(panel: _Panel, numbers: list[float]) -> tuple[float, float]:
    """Return where the axis starts and ends, with room for a number beside the last dot."""
    known = [number for number in numbers if not math.isnan(number)]
    if panel.measure == "cost":
        costs = [cost for cost in known if cost > 0]
        start = min(costs) / 3
        return start, start * (max(costs) / start) ** 1.45
    return 0.0, 1.38 * (max([panel.end or 0.0, *known]) or 1.0)


def _draw_lower(figure: Figure, comparison: Comparison, top: float) -> None:
    """Draw the overlap, and at its right how walks come near exact PageRank."""
    height, left = _lower(len(comparison.results)), _MARGIN + 0.35
    if len(comparison.results) > 1:
        _draw_overlap(_axes(figure, left, top, height, height), comparison)
        left += height + 1.0
    curves = {
        row: one.convergence
        for row, one in enumerate(comparison.results.values())
        if one.convergence is not None
    }
    if not curves:
        return
    width = (_WIDTH - _MARGIN - 0.4 - left - 1.3) / 2
    axes = _axes(figure, left, top, width, height)
    _head(axes, "Distance to exact PageRank", "total variation of all weights; 0 is exact")
    _draw_curves(axes, {row: curve.distance for row, curve in curves.items()})
    axes = _axes(figure, left + width + 1.3, top, width, height)
    _head(axes, "Top k of exact PageRank", "share that is among a pin's k neighbors")
    _draw_curves(axes, {row: curve.top_share for row, curve in curves.items()})


def _lower(count: int) -> float:
    return max(_LOWER, _CELL * count)


def _draw_overlap(axes: Axes, comparison: Comparison) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    _head(axes, "Overlap", "mean Jaccard; diagonal: with itself anew")
    count = len(comparison.results)
    shades = LinearSegmentedColormap.from_list("overlap", ["#f4f7fa", "#7fb2d6", "#0b3c5d"])
    axes.pcolormesh(comparison.overlap, cmap=shades, vmin=0, vmax=1, edgecolor=_PAPER, linewidth=2)
    for row in range(count):
        for column in range(count):
            value = comparison.overlap[row, column]
            shown = "-" if math.isnan(value) else f"{value:.2f}"
            ink = _PAPER if value > 0.7 else _INK
            size = min(13, 24 * _lower(count) / count)
            place = column + 0.5, row + 0.5
            axes.text(*place, shown, color=ink, size=size, ha="center", va="center")
    ticks = [place + 0.5 for place in range(count)]
    axes.set_xticks(ticks, [str(place + 1) for place in range(count)])
    axes.set_yticks(ticks, [str(place + 1) for place in range(count)])
    axes.tick_params(length=0, labelcolor=_INK)
    axes.set(ylim=(count, 0))
    axes.spines[:].set_visible(False)


def _draw_curves(axes: Axes, curves: dict[int, list[float | None]]) -> None:
    """Draw a line for each sampler, with its number at the end."""
    axes.set_xscale("log")
    axes.set(xlim=(WALKS[0] * 0.8, WALKS[-1] * 1.25), ylim=(0, 1))
    axes.set_xticks(WALKS, [f"{walks:,}" for walks in WALKS])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("walks from a pin", labelpad=6)
    axes.grid(color=_FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=0, labelsize=11)
    ends: dict[tuple[float | None, ...], list[int]] = {}  # equal curves share a label
    for row, curve in curves.items():
        color, marker = _look(row)
        points = [(walks, y) for walks, y in zip(WALKS, curve, strict=True) if y is not None]
        style: dict[str, Any] = {
            "marker": marker,
            "color": color,
            "linewidth": 2.2,
            "markersize": 7,
        }
        axes.plot(*zip(*points, strict=True), **style)
        ends.setdefault(tuple(curve), []).append(row)
    labels = {rows[-1]: ", ".join(str(row + 1) for row in rows) for rows in ends.values()}
    heights = {row: [y for y in curves[row] if y is not None][-1] for row in labels}
    for row, y in _apart(heights, 0.06).items():
        place: dict[str, Any] = {
            "xy": (1, y),
            "xycoords": ("axes fraction", "data"),
            "xytext": (6, 0),
        }
        ink: dict[str, Any] = {"color": _look(row)[0], "weight": "bold", "va": "center"}
        axes.annotate(
            labels[row], **place, textcoords="offset points", annotation_clip=False, **ink
        )


def _axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    high = figure.get_figheight()
    return figure.add_axes(
        (left / _WIDTH, 1 - (top + height) / high, width / _WIDTH, height / high)
    )


def _head(axes: Axes, title: str, note: str) -> None:
    place: dict[str, Any] = {
        "xy": (0, 1),
        "xycoords": "axes fraction",
        "textcoords": "offset points",
    }
    axes.annotate(title, xytext=(0, 27), **place, size=14, weight="bold")
    axes.annotate(note, xytext=(0, 11), **place, size=10.5, color=_SOFT)


def _value(result: SamplerResult, measure: str) -> float:
    return result.seed_microseconds if measure == "cost" else result.measures[measure]


def _look(row: int) -> tuple[str, str]:
    """Return the color and marker of a sampler; beyond seven other pairs of both."""
    return _COLORS[row % 7], _MARKERS[(row + row // 7) % 7]


def _apart(values: dict[int, float], gap: float) -> dict[int, float]:
    """Return the values moved up so far that any two differ by the gap."""
    out: dict[int, float] = {}
    for key, value in sorted(values.items(), key=lambda item: item[1]):
        out[key] = max([value, *(other + gap for other in out.values())])
    return out


def _short(name: str) -> str:
    """Return a name in one line that fits; of a long one the ends, where settings tell it apart."""
    name, half = " ".join(name.split()), _LONGEST // 2
    return name if len(name) <= _LONGEST else f"{name[:half]}…{name[1 - half :]}"
