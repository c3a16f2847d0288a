"""What the report says of embeddings as they are served: in few bytes, searched approximately."""

from __future__ import annotations

import importlib.util
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from pingraph.approximate import recall_speed
from pingraph.report.layout import Plot, Section, block, blocks_of, plot_of, runs_series
from pingraph.report.measures import MAIN
from pingraph.report.plots import Mark, dots
from pingraph.report.words import spoken_part
from pingraph.results import TASKS, Cell, Sheet, lift, measured
from pingraph.served import served_quality

if TYPE_CHECKING:
    from pingraph.subject import Subject

_QUERIES = 500  # of each part, at most
_LEAST_PINS = 1000  # below, nobody needs an index
_PER_LIST = 39  # pins that faiss wants to have for each list of an index
_EFFORTS = (1, 4, 16, 64)  # lists that are searched
_OTHERS = ("image_to_text", "text_to_image")  # tasks that are shown beside pin_to_pin
_WHOLE = "float (whole)"


def measure_served(subject: Subject, *, seed: int) -> dict[str, Any]:
    """Return the quality of stored forms, and of approximate search.

    Returns:
        What `pingraph.served.served_quality` returns; and "approximate": see `_approximate`.
    """
    found = served_quality(
        subject.table, subject.dataset, subject.split, seed=seed, max_queries=_QUERIES
    )
    return {**found, "approximate": _approximate(subject, seed)}


def _approximate(subject: Subject, seed: int) -> dict[str, Any] | None:
    """Return what `recall_speed` finds of an index of lists, without what no report has twice.

    None without faiss, or with fewer than _LEAST_PINS pins that have a vector.
    """
    pins = int(subject.table.present["fused"].sum())
    if pins < _LEAST_PINS or importlib.util.find_spec("faiss") is None:
        return None
    lists = 2 ** ((pins // _PER_LIST).bit_length() - 1)
    lists = min(lists, 1024)
    found = recall_speed(
        subject.table,
        subject.dataset,
        subject.split,
        factory=f"IVF{lists},Flat",
        parameter="nprobe",
        efforts=[effort for effort in _EFFORTS if effort <= lists],
        max_queries=_QUERIES,
        seed=seed,
    )
    points = [
        {name: point[name] for name in ("effort", "recall", "tasks")} for point in found["points"]
    ]
    kept = ("factory", "parameter", "bytes_per_pin", "queries")
    return {**{name: found[name] for name in kept}, "lists": lists, "points": points}


def served_section(numbers: dict[str, Any]) -> Section:
    """Lay out what int8, binary, short and approximately searched vectors still find."""
    part = spoken_part(numbers)
    blocks = []
    for name, run in numbers["runs"].items():
        blocks.append(block(_forms_sheet(name, run["served"], part)))
        blocks += blocks_of(_approximate_sheet(name, run["served"]["approximate"], part))
    return Section(
        key="served",
        title="Served quality",
        lead=(
            "What is still found when the vectors are stored in few bytes, queries and pins alike, "
            f"or searched approximately. Of {_QUERIES} drawn queries where there are more, so the "
            "whole vectors may differ a little from above; changes are paired over the queries."
        ),
        plots=_plots(numbers, part),
        blocks=blocks,
    )


def form_name(form: dict[str, Any], channels: int) -> str:
    """Return how a stored form of vectors is called, whatever their width."""
    share = Fraction(form["dim"], channels)
    if share == 1:
        return form["code"]
    cut = f"{share} of the channels"
    return cut if form["code"] == "float" else f"{cut}, {form['code']}"


def _plots(numbers: dict[str, Any], part: str | None) -> list[Plot]:
    marks: dict[str, dict[str, Mark | None]] = {}
    kept: dict[str, dict[str, Mark | None]] = {}
    for name, run in numbers["runs"].items():
        served, channels = run["served"], run["served"]["full"]["dim"]
        forms = {form_name(form, channels): form for form in served["forms"]}
        kept[name] = {key: Mark.of(form["neighbors_kept"]) for key, form in forms.items()}
        if part is not None:
            whole = {_WHOLE: served["full"], **forms}
            marks[name] = {key: Mark.of(_entry(form, part)) for key, form in whole.items()}
    plots = []
    for found, title in (
        (marks, f"{MAIN} of pin → pin, {part} pins, by stored form"),
        (kept, "Share of the 10 nearest pins that a stored form keeps"),
    ):
        series = runs_series(numbers, found)
        if series:
            places = list(dict.fromkeys(key for of_run in found.values() for key in of_run))
            plots.append(plot_of(dots(places, series, title=title), title, series))
    return plots


def _entry(
    form: dict[str, Any], part: str | None, task: str = "pin_to_pin"
) -> dict[str, Any] | None:
    found = None if part is None else form["parts"][part].get(task)
    return found and found[MAIN]


def _forms_sheet(name: str, served: dict[str, Any], part: str | None) -> Sheet:
    channels = served["full"]["dim"]
    tasks = [
        task for task in _OTHERS if part is not None and served["full"]["parts"][part].get(task)
    ]
    rows = []
    for form in (served["full"], *served["forms"]):
        main = _entry(form, part)
        cells = [
            Cell(_WHOLE if form is served["full"] else form_name(form, channels)),
            Cell(f"{form['dim']:,}"),
            Cell(f"{form['bytes_per_pin']:,}"),
            measured(form.get("neighbors_kept")),
            measured(main),
            lift(main),
        ]
        rows.append([*cells, *(measured(_entry(form, part, task)) for task in tasks)])
    names = [f"{TASKS[task]}, {part or 'no pins'}" for task in ("pin_to_pin", *tasks)]
    return Sheet(
        title=f"Stored forms: {name}",
        columns=["", "channels", "bytes a pin", "neighbors kept", names[0], "change", *names[1:]],
        sections={"": rows},
        notes=[
            f"{MAIN} [95% interval]; change: relative to the whole vectors.",
            "neighbors kept: share of the 10 nearest of the whole vectors.",
        ],
    )


def _approximate_sheet(name: str, found: dict[str, Any] | None, part: str | None) -> Sheet | None:
    if found is None:
        return None
    rows = []
    for point in found["points"]:
        task = point["tasks"][part] if part else None
        entry = task and task[MAIN]
        cells = [Cell(f"{point['effort']:,} of {found['lists']:,}"), measured(point["recall"])]
        rows.append([*cells, measured(entry), lift(entry)])
    return Sheet(
        title=f"Approximate search: {name}",
        columns=["lists searched", "recall", f"{MAIN}, {part or 'no'} pins", "change"],
        sections={"": rows},
        notes=[
            f"faiss, {found['factory']}, {found['bytes_per_pin']:,.0f} bytes a pin.",
            "recall: share of the 10 places with a pin as near as the 10 nearest.",
            "change: relative to exact search. Speeds are in docs/served-quality.md.",
        ],
    )
