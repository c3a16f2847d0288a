"""What the address of a page, or of an answer, asks for: read, checked, and named."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pingraph.errors import PinGraphError
from pingraph.explore.ranking import COLD, TWIN, UNSAVED, WARM, Filter

if TYPE_CHECKING:
    from pingraph.datasets import PinBoardDataset

KINDS = ("pin", "text", "image", "words", "board")
STATES = {"any": None, "warm": WARM, "cold": COLD, "twin": TWIN, "unsaved": UNSAVED}
USUAL, MOST = 24, 200  # pins of a list
LONGEST = 2000  # characters of a value


@dataclass(frozen=True, kw_only=True)
class Question:
    """A place in the space, and which lists to show of it."""

    kind: str  # of KINDS, or "" for the start
    value: str  # an id, a text, words, or the key of an image
    by: str  # "embedding", "graph" or "both"
    graph: str  # "training" or "whole": where walks go
    k: int  # pins of a list
    filter: Filter


class Directory:
    """Finds pins and boards by the ids that stand in an address.

    Args:
        dataset: whose pins and boards.
    """

    def __init__(self, dataset: PinBoardDataset):
        self._ids = {"pin": dataset.pin_ids, "board": dataset.board_ids}
        self._rows = {
            what: {str(one): row for row, one in enumerate(ids.tolist())}
            for what, ids in self._ids.items()
        }

    def find(self, what: str, given: str) -> int:
        """Return the dense index of a "pin" or "board"; raises PinGraphError for an unknown id."""
        rows = self._rows[what]
        if given not in rows:
            raise PinGraphError(f"no {what} {given!r} among {len(rows):,} {what}s")
        return rows[given]


def read_question(pairs: Iterable[tuple[str, str]], directory: Directory) -> Question:
    """Return what the parameters of an address ask for.

    Args:
        pairs: names and values, as they stand in the address.
        directory: finds the board of the filter.

    Raises:
        PinGraphError: a parameter is unknown, given twice or wrong; or several things are asked.
    """
    given = read_parameters(pairs, (*KINDS, "by", "graph", "k", "in", "least", "most", "state"))
    kinds = [kind for kind in KINDS if kind in given]
    if len(kinds) > 1:
        raise PinGraphError(f"{kinds[0]} and {kinds[1]} are given: expected one of them")
    kind = kinds[0] if kinds else ""
    if kind in ("text", "words") and not given[kind].strip():
        raise PinGraphError(f"{kind} is empty")
    least, most = (_whole(given, name, 0, 2**31) for name in ("least", "most"))
    if least is not None and most is not None and least > most:
        raise PinGraphError(f"least is {least} and most is {most}: no pin can pass")
    state = _choice(given, "state", tuple(STATES))
    return Question(
        kind=kind,
        value=given.get(kind, ""),
        by=_choice(given, "by", ("embedding", "graph", "both")),
        graph=_choice(given, "graph", ("training", "whole")),
        k=_whole(given, "k", 1, MOST) or USUAL,
        filter=Filter(
            board=directory.find("board", given["in"]) if "in" in given else None,
            least=least or 0,
            most=most,
            state=STATES[state],
        ),
    )


def read_parameters(pairs: Iterable[tuple[str, str]], known: tuple[str, ...]) -> dict[str, str]:
    """Return parameters by name; raises PinGraphError for an unknown one, or one given twice."""
    given: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise PinGraphError(f"unknown parameter {name!r}: {hint}")
        if name in given:
            raise PinGraphError(f"{name} is given twice")
        if len(value) > LONGEST:
            raise PinGraphError(f"{name} has {len(value):,} characters: at most {LONGEST:,}")
        given[name] = value
    return given


def _choice(given: dict[str, str], name: str, choices: tuple[str, ...]) -> str:
    value = given.get(name, choices[0])
    if value not in choices:
        raise PinGraphError(f"{name} is {value!r}: expected {', '.join(choices)}")
    return value


def _whole(given: dict[str, str], name: str, least: int, most: int) -> int | None:
    value = given.get(name)
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and least <= int(value) <= most):
        raise PinGraphError(f"{name} is {value!r}: expected a whole number, {least} to {most}")
    return int(value)
