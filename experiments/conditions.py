"""Under what methods are compared in an experiment: what is held out, and how much there is to see.

`pingraph.experiments.damage` has the conditions that change the data.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pingraph.datasets import PinBoardDataset
from pingraph.errors import PinGraphError
from pingraph.experiment.parts import Trial
from pingraph.mixed_split import MixedSplit
from pingraph.splits import Split, image_units, make_split, pair_units


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """The usual condition: cold pins, and held-out saves of warm pins, as of `MixedSplit`.

    Args:
        pins: the share of the pins that is cold.
        edges: the share of the spared saves of the others that is held out.

    Raises:
        PinGraphError: a share is out of its range.
    """

    pins: float = 0.2
    edges: float = 0.1

    def __post_init__(self) -> None:
        MixedSplit(self.pins, self.edges)

    def trial(self, dataset: PinBoardDataset, folder: Path, *, seed: int) -> Trial:
        """Return the data set with its split."""
        split = MixedSplit(self.pins, self.edges, seed).split(dataset)
        return Trial(dataset=dataset, split=split, truth=dataset, judge=split)


@dataclass(frozen=True, kw_only=True)
class FewerPins:
    """Only a share of the warm pins is trained on; all of them are still found and asked.

    Args:
        share: of the warm pins, above 0 and at most 1; a smaller share is part of a larger one.
        held_out: what is held out of the whole.

    Raises:
        PinGraphError: the share is out of its range.
    """

    share: float
    held_out: HeldOut = field(default_factory=HeldOut)

    def __post_init__(self) -> None:
        check_share(self.share)

    def trial(self, dataset: PinBoardDataset, folder: Path, *, seed: int) -> Trial:
        """Return the data set with a split of fewer pins; judged by the whole split."""
        whole = self.held_out.trial(dataset, folder, seed=seed)
        units = image_units(dataset)
        drawn = np.random.default_rng([seed, 3]).random(units.max() + 1)[units] < self.share
        pins, _ = dataset.graph.edges()
        return _less(whole, drawn[pins], {"share_of_pins": self.share})


@dataclass(frozen=True, kw_only=True)
class FewerSaves:
    """Only a share of the saves of each pin in training is seen, at least one.

    What an image twin of a pin saves to the same board is seen or not together with it, so pins
    with twins keep somewhat more.

    Args:
        share: of the saves, above 0 and at most 1; a smaller share is part of a larger one.
        held_out: what is held out of the whole.

    Raises:
        PinGraphError: the share is out of its range.
    """

    share: float
    held_out: HeldOut = field(default_factory=HeldOut)

    def __post_init__(self) -> None:
        check_share(self.share)

    def trial(self, dataset: PinBoardDataset, folder: Path, *, seed: int) -> Trial:
        """Return the data set with a split of fewer saves; judged by the whole split."""
        whole = self.held_out.trial(dataset, folder, seed=seed)
        place, degrees = _places(dataset, whole.split.train_edges, seed=seed)
        seen = place < np.maximum(1, np.rint(self.share * degrees))
        pairs = pair_units(dataset)  # twins of an edge that is seen are seen
        seen = np.isin(pairs, pairs[seen & whole.split.train_edges])
        return _less(whole, seen, {"share_of_saves": self.share})


@dataclass(frozen=True, kw_only=True)
class KnownSaves:
    """Pins of many saves are shown with few of them: so one training tells what a save is worth.

    Of the pins that have more saves than the most of `saves`, and whose image nobody else has, a
    share is drawn and dealt evenly to the numbers of `saves`. Of such a pin this many saves are
    trained on. Its targets are the saves beyond the most of `saves`, in an order that is drawn: so
    for a pin it does not matter to which number it was dealt which mates it is asked for. Mates
    are pins that were not drawn, share a target board with it, and none of its first boards; pins
    that share one of those are no candidates, and neither are drawn pins.

    Args:
        saves: numbers of saves in training.
        share: of the pins with enough saves to draw, above 0 and at most 1.

    Raises:
        PinGraphError: a number is negative, there is none, or the share is out of its range.
    """

    saves: tuple[int, ...] = (0, 1, 2, 4, 8)
    share: float = 0.5

    def __post_init__(self) -> None:
        if not self.saves or min(self.saves) < 0:
            raise PinGraphError(f"saves is {list(self.saves)}: expected numbers from 0")
        check_share(self.share)

    def trial(self, dataset: PinBoardDataset, folder: Path, *, seed: int) -> Trial:
        """Return the data set with most saves of the drawn pins held out."""
        graph, most = dataset.graph, max(self.saves)
        units = image_units(dataset)
        alone = np.bincount(units)[units] == 1
        able = np.flatnonzero(alone & (graph.pin_degrees > most))
        rng = np.random.default_rng([seed, 4])
        drawn = rng.permutation(able)[: round(self.share * len(able))]
        if len(drawn) < len(self.saves):
            raise PinGraphError(
                f"{dataset.name}: {len(able)} pins have an image of their own and more than {most} "
                f"saves; with a share of {self.share} there are fewer than numbers of saves"
            )
        shown = np.full(graph.num_pins, np.iinfo(np.int64).max)
        shown[drawn] = np.resize(self.saves, len(drawn))
        place, _ = _places(dataset, np.ones(graph.num_edges, bool), seed=seed)
        pins, _ = graph.edges()
        known = np.where(shown <= most, most, shown)
        split, judge = (
            make_split("saves", seed, {"saves": list(self.saves)}, dataset, place >= limit[pins])
            for limit in (shown, known)
        )
        return Trial(
            dataset=dataset,
            split=split,
            truth=dataset,
            judge=judge,
            queries=np.sort(drawn),
            candidates=np.setdiff1d(np.flatnonzero(graph.pin_degrees), drawn),
        )


def check_share(share: float) -> None:
    """Raise PinGraphError unless a share is above 0 and at most 1."""
    if not 0 < share <= 1:
        raise PinGraphError(f"share is {share}: expected a number above 0 and at most 1")


def _places(
    dataset: PinBoardDataset, among: np.ndarray, *, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw an order of each pin's edges: the place of each edge, and how many its pin has, [E].

    Only the edges of `among` (bool [E]) count; the others have a place behind all of them.
    """
    graph = dataset.graph
    pins, _ = graph.edges()
    order = np.lexsort((np.random.default_rng([seed, 5]).random(graph.num_edges), ~among, pins))
    place = np.empty(graph.num_edges, np.int64)
    place[order] = np.arange(graph.num_edges) - graph.pin_offsets[pins]
    return place, np.bincount(pins, among, graph.num_pins)[pins]


def _less(whole: Trial, seen: np.ndarray, parameters: dict[str, float]) -> Trial:
    """Return a trial of some of the training edges, with the judge of the whole."""
    judge = whole.judge
    held_out = ~(judge.train_edges & seen)
    parameters = {**judge.parameters, **parameters}
    split: Split = make_split(judge.kind, judge.seed, parameters, whole.dataset, held_out)
    return Trial(dataset=whole.dataset, split=split, truth=whole.truth, judge=judge)
