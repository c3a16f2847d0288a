"""Mixtures: the neighbors that several samplers find, weighted and added up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pingraph.errors import PinGraphError
from pingraph.interfaces import Neighbors, Sampler
from pingraph.samplers.asking import neighbors_of
from pingraph.samplers.requests import check_draw, check_seeds, check_whole

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph

_SMALLEST, _LARGEST = 1e-9, 1e9  # weights of parts: their sums and ratios stay far from the limits


@dataclass(frozen=True, kw_only=True)
class MixtureSampler:
    """The pins that several samplers find, by the weighted sum of the weights they give.

    The score of a pin is Σ wₚ · (its weight in the row of part p), where the wₚ of the parts that
    found a neighbor of the seed are divided by their sum. So where one part finds nothing, the
    others take its share. The `k` pins of the greatest score, compared as float32, are the
    neighbors; of equal scores the one that occurs first is kept, part by part, best first. The
    weights are the scores of the kept pins over their sum.

    All parts get the same random seed, so that each finds what it finds alone. Two equal parts
    therefore find the same and are as good as one of twice the weight.

    Args:
        samplers: the parts, at least one; each with a `k` and threads of its own.
        weights: wₚ, one for each part, from 1e-9 to 1e9; None gives all the same.
        k: neighbors of a seed, at most.

    Raises:
        PinGraphError: an argument is out of its range; names the argument and the value.
    """

    samplers: Sequence[Sampler]
    weights: Sequence[float] | None = None
    k: int = 10

    def __post_init__(self) -> None:
        object.__setattr__(self, "samplers", checked_samplers(self.samplers))
        object.__setattr__(self, "weights", checked_weights(self.weights, len(self.samplers)))
        check_whole("k", self.k, least=1, most=2**20)

    def sample(
        self, graph: PinBoardGraph, seeds: np.ndarray, *, seed: int, epoch: int = 0
    ) -> Neighbors:
        """Return the pins of the greatest score; arguments and errors as of `Sampler.sample`."""
        check_draw(seed, epoch)
        seeds = check_seeds(graph, seeds)
        parts = [neighbors_of(one, graph, seeds, seed=seed, epoch=epoch) for one in self.samplers]
        found = [(part.ids, part.weights) for part in parts]
        return mix(seeds, found, self.weights, self.k)


def mix(
    seeds: np.ndarray,
    parts: Sequence[tuple[np.ndarray, np.ndarray]],
    weights: Sequence[float] | None,
    k: int,
) -> Neighbors:
    """Return the `k` pins of the greatest weighted sum of each row; see `MixtureSampler`.

    Args:
        seeds: int64 [B].
        parts: for each part its ids, int64 [B, any], and their weights [B, any]; a row sums to 1.
            A place of weight 0 holds nothing.
        weights: of the parts, above 0; None gives all the same.
        k: neighbors of a seed, at most.
    """
    mine = np.ones(len(parts)) if weights is None else np.array(weights, np.float64)
    any_found = np.stack([(part_weights > 0).any(axis=1) for _, part_weights in parts], axis=1)
    shares = mine * any_found
    shares /= np.maximum(shares.sum(axis=1, keepdims=True), _SMALLEST)
    ids = np.concatenate([part_ids for part_ids, _ in parts], axis=1)
    values = np.concatenate(
        [share[:, None] * own for share, (_, own) in zip(shares.T, parts, strict=True)], axis=1
    )
    real = values > 0
    scores = _sums_at_first(np.where(real, ids, -1), np.where(real, values, 0)).astype(np.float32)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    kept_ids = np.full((len(seeds), k), -1, np.int64)
    kept_scores = np.zeros((len(seeds), k), np.float32)
    kept_scores[:, : best.shape[1]] = np.take_along_axis(scores, best, axis=1)
    kept_ids[:, : best.shape[1]] = np.take_along_axis(ids, best, axis=1)
    kept_ids[kept_scores == 0] = -1
    return Neighbors.from_scores(seeds=seeds, ids=kept_ids, scores=kept_scores)


def checked_samplers(samplers: Any) -> tuple[Sampler, ...]:
    """Return the samplers as a tuple.

    Raises:
        PinGraphError: they are no list, there is none, or one has no method `sample`.
    """
    if not isinstance(samplers, (list, tuple)) or not samplers:
        raise PinGraphError(f"samplers is {samplers!r}; expected a list of at least one sampler")
    for number, sampler in enumerate(samplers):
        if isinstance(sampler, type) or not isinstance(sampler, Sampler):
            raise PinGraphError(f"samplers[{number}] is {sampler!r}; expected a sampler")
    return tuple(samplers)


def checked_weights(weights: Any, count: int) -> tuple[float, ...] | None:
    """Return `count` weights of parts as a tuple, or None as it is.

    Raises:
        PinGraphError: they are no list of as many numbers, or one is out of range.
    """
    if weights is None:
        return None
    if not isinstance(weights, (list, tuple)) or len(weights) != count:
        raise PinGraphError(f"weights is {weights!r}; expected a list of {count}, one a part")
    for number, weight in enumerate(weights):
        real = isinstance(weight, (int, float, np.number)) and not isinstance(weight, bool)
        if not real or not _SMALLEST <= weight <= _LARGEST:
            expected = f"a number from {_SMALLEST:g} to {_LARGEST:g}"
            raise PinGraphError(f"weights[{number}] is {weight!r}; expected {expected}")
    return tuple(float(weight) for weight in weights)


def _sums_at_first(ids: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return values [B, n] summed over equal ids of a row, at the first place of each; else 0.

    A row of ids 7 3 7 and values .5 .2 .1 becomes .6 .2 0.
    """
    rows = np.arange(len(ids))[:, None]
    order = np.argsort(ids, axis=1, kind="stable")
    ordered = np.take_along_axis(ids, order, axis=1)
    first = np.ones(ids.shape, np.bool_)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    group = np.cumsum(first) - 1  # numbers the different ids of all rows
    # bincount adds one by one, in the order of the parts: no batch changes a sum.
    sums = np.bincount(group, np.take_along_axis(values, order, axis=1).ravel())
    out = np.zeros(ids.shape)
    out[np.broadcast_to(rows, ids.shape)[first], order[first]] = sums
    return out
