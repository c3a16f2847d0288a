"""Tells in plain words what an explanation of `pingraph explain` comes to."""

from __future__ import annotations

from typing import Any

from pingraph.plain_text import plain


def summary(found: dict[str, Any]) -> list[str]:
    """Return what an explanation comes to, a sentence each.

    Args:
        found: what `explain` tells, its "summary" aside.
    """
    return [
        *_vectors(found),
        *_twins(found),
        *_modalities(found),
        *_graph(found),
        *_held_out(found),
    ]


def matters(found: dict[str, Any], view: str) -> bool:
    """Return whether a view of the graph tells of the two pins what the training graph does not."""
    held_out = any(pin["held_out_edges"] for pin in found["pins"])
    unreached = found["graph"]["training"]["walk"][0]["place"] is None
    return view in found["graph"] and (view == "training" or held_out or unreached)


def pin_name(pin: dict[str, Any]) -> str:
    """Return how a pin is called in a sentence."""
    return f"pin {plain(str(pin['pin_id']))}"


def pin_label(pin: dict[str, Any]) -> str:
    """Return the text of a pin, short, or its id in brackets where it has none."""
    return plain(pin["text"], 32) or f"[{plain(str(pin['pin_id']))}]"


def board_title(board: dict[str, Any]) -> str:
    """Return the title of a board, or its id in brackets where it has none."""
    return plain(board["title"]) or f"[{plain(str(board['board_id']))}]"


def count_of(number: int, noun: str) -> str:
    """Return a number of things in words."""
    return f"{number or 'no':{',' if number else ''}} {noun}{'' if number == 1 else 's'}"


def percent(chance: float) -> str:
    """Return a chance in percent, two digits of it."""
    return f"{100 * chance:.2g}%"


def _vectors(found: dict[str, Any]) -> list[str]:
    one, other = (pin_name(pin) for pin in found["pins"])
    fused = found["similarity"]["fused_fused"]
    if fused is None:
        without = [pin_name(pin) for pin in found["pins"] if not pin["has_vector"]]
        have = "has" if len(without) == 1 else "have"
        return [f"{_upper(' and '.join(without))} {have} no vector in {found['subject']}."]
    there, back = (_nearest(place) for place in fused["place"])
    return [
        f"In {found['subject']}, {other} is the {there} of {fused['of'][0]:,} pins to {one}, and "
        f"{one} the {back} to {other} (cosine {fused['cosine']:.3f})."
    ]


def _twins(found: dict[str, Any]) -> list[str]:
    same = [what for what in ("image", "text") if found[f"same_{what}"]]
    return [f"They have the same {' and the same '.join(same)}."] if same else []


def _modalities(found: dict[str, Any]) -> list[str]:
    entries = {what: found["similarity"][f"{what}_{what}"] for what in ("image", "text")}
    entries = {what: entry for what, entry in entries.items() if entry is not None}
    said = [
        f"by {what} each is the other's "
        f"{' and '.join(dict.fromkeys(_ordinal(place) for place in entry['place']))} "
        f"(cosine {entry['cosine']:.3f})"
        for what, entry in sorted(entries.items(), key=lambda item: sum(item[1]["place"]))
    ]
    return [f"{_upper(', '.join(said))}."] if said else []


def _graph(found: dict[str, Any]) -> list[str]:
    view, training = found["graph"]["training"], " in training" * (found["split"]["kind"] != "none")
    lines = [
        f"{_upper(pin_name(pin))} is {pin['state']}: without an edge{training}, only its content "
        "can have placed it."
        for pin in found["pins"]
        if pin["state"] != "warm"
    ]
    if lines:
        return lines
    shared = f"They share {count_of(view['shared'], 'board')}{training}"
    return [f"{shared}{_titles(view)}; {_walked(view, found['pins'])}."]


def _held_out(found: dict[str, Any]) -> list[str]:
    if not matters(found, "with_held_out"):
        return []
    view = found["graph"]["with_held_out"]
    shared = f"they share {count_of(view['shared'], 'board')}{_titles(view)}"
    walked = _walked(view, found["pins"])
    return [f"With the held-out edges, which training did not see, {shared}; {walked}."]


def _walked(view: dict[str, Any], pins: list[dict[str, Any]]) -> str:
    one, other = (pin_name(pin) for pin in pins)
    there, back = view["walk"]
    if there["place"] is None:
        return "no walk leads from one to the other"
    return (
        f"a walk from {one} ends at {other} with a chance of {percent(there['chance'])} (its "
        f"{_ordinal(there['place'])} of {there['reached']:,}), and one back with "
        f"{percent(back['chance'])} ({_ordinal(back['place'])} of {back['reached']:,})"
    )


def _titles(view: dict[str, Any]) -> str:
    titles = [f"“{board_title(board)}”" for board in view["shared_boards"]]
    more = " and others" if view["shared"] > len(titles) else ""
    return f" ({', '.join(titles)}{more})" if titles else ""


def _nearest(place: int) -> str:
    return "nearest" if place == 1 else f"{_ordinal(place)} nearest"


def _ordinal(number: int) -> str:
    teens = number % 100 in (11, 12, 13)
    return f"{number:,}{'th' if teens else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
