"""Lays an explanation of `pingraph explain` out as tables, for the console and as Markdown."""

from __future__ import annotations

from typing import Any

from pingraph.explain.words import (
    board_title,
    count_of,
    matters,
    percent,
    pin_label,
    pin_name,
)
from pingraph.plain_text import plain
from pingraph.results import Cell, Sheet, print_sheet

_HOLDS = {"training": " (on it)", "held out": " (held out)", None: ""}
_VIEWS = {"training": "training graph", "with_held_out": "with the held-out edges"}


def print_explanation(found: dict[str, Any]) -> None:
    """Print an explanation to standard output: its sentences, then its tables."""
    print("\n".join(plain(line, None) for line in found["summary"]))
    for sheet in sheets(found):
        print()
        print_sheet(sheet)


def sheets(found: dict[str, Any]) -> list[Sheet]:
    """Return the tables of an explanation; those without a row are left out."""
    names = [pin_name(pin) for pin in found["pins"]]
    made = [
        _pins_sheet(found, names),
        _similarity_sheet(found, names),
        _graph_sheet(found, names),
        _boards_sheet(found, names),
    ]
    return [sheet for sheet in made if sheet.sections]


def _pins_sheet(found: dict[str, Any], names: list[str]) -> Sheet:
    def boards(pin: dict[str, Any]) -> str:
        return ", ".join(
            board_title(b) + (" (held out)" if b["held_out"] else "") for b in pin["boards"]
        )

    rows = [
        [Cell("text"), *(Cell(plain(pin["text"]) or "-") for pin in found["pins"])],
        [Cell("state"), *(Cell(pin["state"]) for pin in found["pins"])],
        [Cell("boards in training"), *(Cell(f"{p['training_edges']:,}") for p in found["pins"])],
        [Cell("boards held out"), *(Cell(f"{p['held_out_edges']:,}") for p in found["pins"])],
        [Cell("smallest boards"), *(Cell(boards(pin) or "-") for pin in found["pins"])],
    ]
    heading = f"of {plain(found['data'])}"
    return Sheet(title="The two pins", columns=["", *names], sections={heading: rows}, notes=[])


def _similarity_sheet(found: dict[str, Any], names: list[str]) -> Sheet:
    rows = [
        [
            Cell(" · ".join(key.split("_"))),
            Cell(f"{entry['cosine']:.3f}"),
            *(
                Cell(f"{place:,} of {of:,}")
                for place, of in zip(entry["place"], entry["of"], strict=True)
            ),
        ]
        for key, entry in found["similarity"].items()
        if entry is not None
    ]
    ways = [f"from {names[0]}", f"from {names[1]}"]
    return Sheet(
        title=f"Vectors in {plain(found['subject'])}",
        columns=["", "cosine", *ways],
        sections={f"{names[0]} · {names[1]}": rows} if rows else {},
        notes=[
            "The last columns: which nearest neighbor of the one the other is, by such vectors."
        ],
    )


def _graph_sheet(found: dict[str, Any], names: list[str]) -> Sheet:
    alpha = found["restart_probability"]
    whole = found["split"]["kind"] == "none"
    return Sheet(
        title="Walks that end at the other pin",
        columns=["", f"from {names[0]}", f"from {names[1]}"],
        sections={
            "graph" if whole else _VIEWS[name]: _view_rows(view)
            for name, view in found["graph"].items()
            if matters(found, name)
        },
        notes=[
            f"A walk ends with probability {alpha:g} after each step pin → board → pin.",
            "over: those of one step over a board of both, or of two over a third pin.",
        ],
    )


def _view_rows(view: dict[str, Any]) -> list[list[Cell]]:
    walk = view["walk"]
    if walk[0]["place"] is None:
        return [[Cell("none"), Cell("-"), Cell("-")]]
    rows = [[Cell("chance"), *(Cell(percent(way["chance"])) for way in walk)]]
    for steps, name in (("one", "one step"), ("two", "two steps"), ("more", "more steps")):
        chances = (percent(way[f"after_{steps}"]) for way in walk)
        rows.append([Cell(f"  after {name}", "dim"), *(Cell(chance, "dim") for chance in chances)])
    places = (f"{way['place']:,} of {way['reached']:,}" for way in walk)
    rows.append([Cell("place among pins reached"), *(Cell(place) for place in places)])
    links = [(f"{board_title(b)}, {count_of(b['pins'], 'pin')}", b) for b in view["shared_boards"]]
    for path in view["paths"]:
        first, last = (board_title(board) for board in path["boards"])
        links.append((f"{first} → {pin_label(path['pin'])} → {last}", path))
    for label, link in links:
        marked = f"over {label}" + " (held out)" * any(link["held_out"])
        rows.append([Cell(marked), *(Cell(percent(chance)) for chance in link["chance"])])
    return rows


def _boards_sheet(found: dict[str, Any], names: list[str]) -> Sheet:
    headings = {"one": f"nearest to {names[0]}", "other": f"nearest to {names[1]}"}
    headings["both"] = "nearest to both"
    sections = {
        headings[key]: [
            [
                Cell(f"{board_title(board)}, {count_of(board['others'], 'other pin')}"),
                *(
                    Cell(("-" if cosine is None else f"{cosine:.3f}") + _HOLDS[holds])
                    for cosine, holds in zip(board["cosine"], board["holds"], strict=True)
                ),
            ]
            for board in boards
        ]
        for key, boards in found["nearest_boards"].items()
        if boards
    }
    return Sheet(
        title="Nearest boards",
        columns=["", *names],
        sections=sections,
        notes=[
            "Cosine with the mean vector of a board's pins, these two left out.",
            "What is held out makes no mean.",
        ],
    )
