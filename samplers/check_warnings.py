"""What may be a fault of a sampler or may be meant, each as a function of a `Case`.

A function returns what is unusual, or None. It raises `LeftOut` where it cannot be told.
"""

from __future__ import annotations

import pickle

import numpy as np

from pingraph.errors import PinGraphError
from pingraph.samplers.check_case import (
    BrokenCall,
    Case,
    LeftOut,
    ask,
    isolated_rows,
    listed,
    refusal,
    same_rows,
)


def finds_some(case: Case) -> str | None:
    """Pins that share boards with others have neighbors."""
    return None if case.found.mask.any() else f"none of {len(case.pins)} pins got a neighbor"


def seed_and_epoch(case: Case) -> str | None:
    """Another random seed and another epoch give other walks."""
    same = []
    for name, other in (("seed", {"seed": 2}), ("epoch", {"epoch": 1})):
        if same_rows(ask(case.sampler, case.graph, case.pins, **other), case.found):
            same.append(name)
    if same:
        return f"another {' and another '.join(same)} changed no row: right if nothing is drawn"
    return None


def can_be_pickled(case: Case) -> str | None:
    """Spawned workers and ranks can be given the sampler."""
    try:
        pickle.dumps(case.sampler)
    except Exception as error:
        return f"pickle.dumps(sampler) raised {type(error).__name__}: {error}"
    return None


def unknown_pins_named(case: Case) -> str | None:
    """A seed that is no pin of the graph is refused by the error that is told in one line."""
    for pin in (case.graph.num_pins, -1):
        error = refusal(case, pin)
        if error and not isinstance(error.__cause__, PinGraphError):
            return f"{error}; PinGraphError would be told in one line"
    return None


def isolated_is_empty(case: Case) -> str | None:
    """A pin that no board shares with another has no neighbors."""
    try:
        found = isolated_rows(case)
    except BrokenCall as error:
        raise LeftOut("the sampler fails on such pins") from error
    rows = np.flatnonzero(found.mask.any(axis=1))
    if len(rows):
        ids = listed(found.ids[rows[0]][found.mask[rows[0]]])
        return f"pin {case.isolated[rows[0]]} shares no board with another, and got {ids}"
    return None


def within_reach(case: Case) -> str | None:
    """Neighbors lie in the component of their seed."""
    part = case.graph.components()
    known = case.found.mask & (case.found.ids >= 0) & (case.found.ids < case.graph.num_pins)
    far = known & (part[np.where(known, case.found.ids, 0)] != part[case.pins][:, None])
    if far.any():
        row, column = np.argwhere(far)[0]
        which = f"neighbor {case.found.ids[row, column]} (place {column} of row {row})"
        return f"pin {case.pins[row]}: no walk leads to {which}"
    return None
