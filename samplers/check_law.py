"""Whether visits follow a law that is known: Hotelling's T², which assumes nothing of walks.

Letters: E epochs, C cells of pins.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from pingraph.errors import PinGraphError
from pingraph.samplers.check_case import Case, LeftOut, ask, listed, with_value

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph

ExactLaw = Callable[["PinBoardGraph", int], np.ndarray]

EPOCHS = 400
# Of the whole check, for a sampler that is right, by the F distribution. Far out its tail is only
# about right (docs: what was simulated), so 1 in 10,000 is promised.
FALSE_ALARMS = 1e-5
_PINS = 8
_CELL = 0.02  # least share of a cell, so at most 50 cells
_FOUND = 80  # epochs, at least, in which something of a cell was found: sums of fewer aren't normal
_TOLERANCE = 0.01  # of a cell's share, for a sampler that draws nothing


def follows(case: Case, exact: ExactLaw) -> str | None:
    """Say which pin's neighbors are found more or less often than `exact` says.

    In each of E epochs the scores of a pin's neighbors are added up in cells of pins, and
    y = (scores of the cells) - q · (all scores), where q are the exact shares of the cells, has
    the mean 0. Hotelling's T² = E ȳᵀ S⁺ ȳ tests that, with the covariance S of y over the epochs,
    so visits of one walk may depend on each other; with S known it would be chi-square.
    """
    places = np.linspace(0, len(case.pins) - 1, min(_PINS, len(case.pins))).astype(int)
    pins = np.unique(case.pins[places])
    laws = [exact_shares(exact, case.graph, int(pin)) for pin in pins]
    widest = max(int((law > 0).sum()) for law in laws)
    try:
        sampler = with_value(case.sampler, "k", widest)
    except LeftOut:
        sampler = case.sampler
    cell = [cells(law) for law in laws]
    counts = [np.zeros((EPOCHS, own.max() + 1)) for own in cell]
    for epoch in range(EPOCHS):
        found = ask(sampler, case.graph, pins, epoch=epoch)
        for row, law in enumerate(laws):
            ids, scores = found.ids[row][found.mask[row]], found.scores[row][found.mask[row]]
            if (law[ids] == 0).any():
                stranger = ids[law[ids] == 0][0]
                return f"pin {pins[row]}: found pin {stranger}, which the exact law never gives"
            np.add.at(counts[row][epoch], cell[row][ids], scores)
    if found.ids.shape[1] < widest:
        width = f"rows have {found.ids.shape[1]} neighbors, and the exact law gives up to {widest}"
        return f"{width}: use a k that no neighbor is cut off by"
    for pin, law, own, scores in zip(pins, laws, cell, counts, strict=True):
        fault = _fault(law, *coarser(own, scores), FALSE_ALARMS / len(pins))
        if fault:
            return f"pin {pin}: {fault}"
    return None


def exact_shares(exact: ExactLaw, graph: PinBoardGraph, pin: int) -> np.ndarray:
    """Return what `exact` says of a pin, float64 [num_pins]: 0 at the pin itself, sum 1.

    Raises:
        PinGraphError: it raises, or is not an array of one finite number ≥ 0 for each pin, or all
            are 0.
    """
    try:
        shares = np.array(exact(graph, pin), np.float64)
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise PinGraphError(f"exact(graph, {pin}) raised {what}") from error
    if shares.shape != (graph.num_pins,) or not np.isfinite(shares).all() or (shares < 0).any():
        raise PinGraphError(
            f"exact(graph, {pin}) is an array of shape {shares.shape}; expected a finite number, "
            f"0 or more, for each of the {graph.num_pins} pins"
        )
    shares[pin] = 0
    if not shares.any():
        raise PinGraphError(f"exact(graph, {pin}) is 0 for every other pin; expected neighbors")
    return shares / shares.sum()


def cells(law: np.ndarray) -> np.ndarray:
    """Return the cell of each pin, int64 [num_pins]: likely pins alone, rare ones together.

    Shares .5 .013 .012 .475 give cells 0 2 2 1.
    """
    order = np.flatnonzero(law)
    order = order[np.argsort(-law[order], kind="stable")]
    filled = np.cumsum(law[order])
    cell = np.zeros(len(law), np.int64)
    start = number = 0
    while start < len(order):
        before = filled[start - 1] if start else 0.0
        end = int(np.searchsorted(filled, before + _CELL)) + 1
        if end < len(order) and filled[-1] - filled[end - 1] < _CELL:
            end = len(order)  # what is left would be too small
        cell[order[start:end]] = number
        start, number = end, number + 1
    return cell


def coarser(cell: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Join cells, in their order, until something of each was found in 80 epochs.

    Args:
        cell: int64 [num_pins], the cell of each pin.
        scores: [E, C], of the cells.

    Returns:
        The same of the joined cells.
    """
    joined = np.zeros(scores.shape[1], np.int64)
    number = epochs = 0
    left = (scores > 0).sum()
    for place, found in enumerate((scores > 0).sum(axis=0)):
        joined[place] = number
        epochs, left = epochs + found, left - found
        if epochs >= _FOUND and left >= _FOUND:
            number, epochs = number + 1, 0
    sums = np.zeros((len(scores), number + 1))
    np.add.at(sums.T, joined, scores.T)
    return joined[cell], sums


def p_value(shares: np.ndarray, scores: np.ndarray) -> float:
    """Return the chance of scores [E, C] that are as far off the shares [C] of the law, or farther.

    It is 0 or 1 where nothing is left to chance: the shares are off by more than 1%, or not.
    """
    from scipy.stats import f

    totals = scores.sum(axis=1)
    off = (scores - totals[:, None] * shares) / max(totals.mean(), np.finfo(np.float64).tiny)
    values, vectors = np.linalg.eigh(np.cov(off, rowvar=False, bias=False).reshape(len(shares), -1))
    drawn = values > 1e-9 * max(values.max(), 1e-3)
    mean = off.mean(axis=0) @ vectors
    if (abs(mean[~drawn]) > _TOLERANCE).any():
        return 0.0
    rank, epochs = int(drawn.sum()), len(scores)
    if not rank:
        return 1.0
    squared = epochs * np.sum(mean[drawn] ** 2 / values[drawn])
    return float(f.sf(squared * (epochs - rank) / (rank * (epochs - 1)), rank, epochs - rank))


def _fault(law: np.ndarray, cell: np.ndarray, scores: np.ndarray, least: float) -> str | None:
    if not scores.any():
        return f"found nothing in {EPOCHS} epochs; the exact law gives {(law > 0).sum()} neighbors"
    shares = np.bincount(cell, law)
    chance = p_value(shares, scores)
    if chance >= least:
        return None
    found = scores.sum(axis=0) / scores.sum()
    worst = int(np.argmax(abs(found - shares)))
    members = np.flatnonzero((cell == worst) & (law > 0))
    who = f"pin {members[0]} has" if len(members) == 1 else f"pins {listed(members)} have"
    told = f"{found[worst]:.4f} of the scores, where the exact law gives {shares[worst]:.4f}"
    return f"over {EPOCHS} epochs {who} {told} (p = {chance:.1g})"
