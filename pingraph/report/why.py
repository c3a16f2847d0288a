"""Why a query and its neighbors are near, for pairs that are picked by a rule, not by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pingraph.explain import explain
from pingraph.explain.text import sheets
from pingraph.report.layout import Block

if TYPE_CHECKING:
    from pingraph.grid import GridRow
    from pingraph.subject import Subject

WHY_RULE = (
    "Below each query its nearest board-mate and its nearest other pin are explained, if they "
    "are among those shown."
)
_TOP = 3  # boards and paths of each list
_NAMES = {"hit": "board-mate", "miss": "other pin"}


def explain_row(subject: Subject, row: GridRow) -> list[dict[str, Any]]:
    """Explain why a query is near to its nearest board-mate and to its nearest other pin.

    Returns:
        At most two dicts of "relation" ("hit" or "miss"), "place" (of the neighbor, 1 for the
        nearest) and "explanation" (see `pingraph.explain`).
    """
    ids = subject.dataset.pin_ids
    relations = ["miss" if title is None else "hit" for title in row.shared]
    out = []
    for relation in _NAMES:
        if relation in relations:
            place = relations.index(relation)
            ends = ids[row.query].item(), ids[row.neighbors[place]].item()
            found = explain(subject, *ends, top=_TOP)
            out.append({"relation": relation, "place": place + 1, "explanation": found})
    return out


def why_title(why: dict[str, Any]) -> str:
    """Return the heading of an explained pair."""
    pin = why["explanation"]["pins"][1]
    name = _NAMES[why["relation"]]
    return f"Nearest {name}: pin {pin['pin_id']}, at place {why['place']}"


def why_blocks(why: dict[str, Any]) -> list[Block]:
    """Return the tables of an explained pair, which nobody needs to copy."""
    return [Block(sheet=sheet, copies={}) for sheet in sheets(why["explanation"])]
