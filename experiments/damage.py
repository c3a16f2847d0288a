"""Conditions that spoil the training data of an experiment; what is asked stays what it was.

The cold pins keep their content, and who is relevant is said by the data set as it was. Held-out
saves of warm pins, weights and times are not in the damaged data set at all.
`pingraph.experiments.conditions.HeldOut` says what is held out. Letters: N pins, E edges.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pingraph.datasets import PinBoardDataset, open_dataset, write_dataset
from pingraph.errors import PinGraphError
from pingraph.experiment.parts import Trial
from pingraph.experiments.conditions import HeldOut
from pingraph.files import read_json, write_json
from pingraph.splits import Split, make_split
from pingraph.tables import is_text

MADE_OF_FILE = "made_of.json"  # beside the damaged data: the fingerprint of the whole


@dataclass(frozen=True, kw_only=True)
class Training:
    """What may be changed; pins and boards are dense indices, more boards may be added."""

    has_text: np.ndarray  # bool [N], whether a pin keeps its text; only training pins may lose it
    pins: np.ndarray  # int64 [E], of the training edges
    boards: np.ndarray  # int64 [E]


@dataclass(frozen=True, kw_only=True)
class Damage:
    """What all damages share.

    Args:
        held_out: what is held out.
    """

    held_out: HeldOut = field(default_factory=HeldOut)

    def changed(
        self, training: Training, dataset: PinBoardDataset, split: Split, rng: np.random.Generator
    ) -> Training:
        """Return the training data with the damage."""
        raise NotImplementedError

    def trial(self, dataset: PinBoardDataset, folder: Path, *, seed: int) -> Trial:
        """Return the damaged data set, written to the folder, to be judged by the whole one."""
        whole = self.held_out.trial(dataset, folder, seed=seed)
        pins, boards = (ends.astype(np.int64) for ends in dataset.graph.edges())
        trained = whole.split.train_edges
        before = Training(has_text=dataset.has_text, pins=pins[trained], boards=boards[trained])
        after = self.changed(before, dataset, whole.split, np.random.default_rng([seed, 6]))
        cold = np.isin(pins, whole.split.cold_pins(dataset.graph))
        made_of = folder / MADE_OF_FILE  # written last
        if not made_of.exists() or read_json(made_of) != dataset.fingerprint:
            shutil.rmtree(folder, ignore_errors=True)
            edges = zip((after.pins, after.boards), (pins[cold], boards[cold]), strict=True)
            _write(after, [np.concatenate(ends) for ends in edges], dataset, folder)
            write_json(made_of, dataset.fingerprint)
        damaged = open_dataset(folder)
        damaged.name = dataset.name
        held_out = np.isin(damaged.graph.edges()[0], pins[cold])
        split = make_split(whole.split.kind, seed, whole.split.parameters, damaged, held_out)
        return Trial(dataset=damaged, split=split, truth=dataset, judge=whole.judge)


@dataclass(frozen=True, kw_only=True)
class MissingText(Damage):
    """A share of the training pins has lost its text.

    Args:
        share: of the training pins with a text, between 0 and 1; a smaller share is part of a
            larger one.
        held_out: what is held out.

    Raises:
        PinGraphError: an argument is out of its range.
    """

    share: float

    def __post_init__(self) -> None:
        _check(self.share)

    def changed(
        self, training: Training, dataset: PinBoardDataset, split: Split, rng: np.random.Generator
    ) -> Training:
        """Return the training data without some texts."""
        lost = np.zeros(dataset.num_pins, bool)
        lost[split.train_pins] = True
        lost &= rng.random(dataset.num_pins) < self.share
        return replace(training, has_text=training.has_text & ~lost)


@dataclass(frozen=True, kw_only=True)
class ShuffledBoards(Damage):
    """A share of the training edges has changed boards with one another.

    Pins keep the number of their saves and boards of their pins, but for edges that meet another of
    the same pin and board. At 1 the graph says nothing but how popular pins and boards are.

    Args:
        share: of the training edges, between 0 and 1.
        held_out: what is held out.

    Raises:
        PinGraphError: an argument is out of its range.
    """

    share: float

    def __post_init__(self) -> None:
        _check(self.share)

    def changed(
        self, training: Training, dataset: PinBoardDataset, split: Split, rng: np.random.Generator
    ) -> Training:
        """Return the training data with boards permuted among some edges."""
        moved = np.flatnonzero(rng.random(len(training.pins)) < self.share)
        boards = training.boards.copy()
        boards[moved] = boards[rng.permutation(moved)]
        return replace(training, boards=boards)


@dataclass(frozen=True, kw_only=True)
class SpamBoards(Damage):
    """There are boards more, to which random training pins were saved.

    Args:
        share: of such boards in the number of the others, from 0 up.
        pins: of such a board.
        held_out: what is held out.

    Raises:
        PinGraphError: an argument is out of its range.
    """

    share: float
    pins: int = 30

    def __post_init__(self) -> None:
        if not 0 <= self.share < np.inf or self.pins < 1:
            raise PinGraphError(
                f"share is {self.share} and pins {self.pins}: expected 0 or more, and 1 or more"
            )

    def changed(
        self, training: Training, dataset: PinBoardDataset, split: Split, rng: np.random.Generator
    ) -> Training:
        """Return the training data with boards of random pins added."""
        count = dataset.graph.num_boards
        new = count + np.repeat(np.arange(round(self.share * count)), self.pins)
        saved = rng.choice(np.unique(training.pins), len(new))
        return replace(
            training,
            pins=np.concatenate([training.pins, saved]),
            boards=np.concatenate([training.boards, new]),
        )


@dataclass(frozen=True, kw_only=True)
class PopularPins(Damage):
    """There are saves more, of pins that have many already, to boards that they do not belong on.

    A training pin is drawn in proportion to its saves (preferential attachment, Barabási and Albert
    1999), and a board of training uniformly. A save that is there already changes nothing.

    Args:
        share: of such saves in the number of the others, from 0 up.
        held_out: what is held out.

    Raises:
        PinGraphError: an argument is out of its range.
    """

    share: float

    def __post_init__(self) -> None:
        if not 0 <= self.share < np.inf:
            raise PinGraphError(f"share is {self.share}: expected 0 or more")

    def changed(
        self, training: Training, dataset: PinBoardDataset, split: Split, rng: np.random.Generator
    ) -> Training:
        """Return the training data with saves of popular pins added."""
        count = round(self.share * len(training.pins))
        pins = rng.choice(training.pins, count)  # from a list that has a pin once for each save
        boards = rng.choice(np.unique(training.boards), count)
        return replace(
            training,
            pins=np.concatenate([training.pins, pins]),
            boards=np.concatenate([training.boards, boards]),
        )


def _check(share: float) -> None:
    if not 0 <= share <= 1:
        raise PinGraphError(f"share is {share}: expected a number between 0 and 1")


def _write(
    after: Training, edges: list[np.ndarray], dataset: PinBoardDataset, folder: Path
) -> None:
    """Write the data set with other edges (pins and boards, int64 [E]), texts and boards."""
    pins = pq.read_table(dataset.folder / "pins.parquet")
    if "text" in pins.column_names:
        texts = pa.array(dataset.texts, pa.string(), mask=~after.has_text)
        pins = pins.set_column(pins.column_names.index("text"), "text", texts)
    if "image" in pins.column_names and is_text(pins.schema.field("image").type):
        paths = [path and str(dataset.folder / path) for path in pins["image"].to_pylist()]
        paths = pa.array(paths, pa.string())
        pins = pins.set_column(pins.column_names.index("image"), "image", paths)
    ids = dataset.board_ids
    more = max(0, int(after.boards.max(initial=-1)) + 1 - len(ids))
    new = (
        [f"spam-{n}" for n in range(more)]
        if ids.dtype.kind == "U"
        else ids.max() + 1 + np.arange(more)
    )
    ids = np.concatenate([ids, new]) if more else ids
    write_dataset(
        folder,
        pins=pins,
        boards=pa.table(
            {"board_id": ids.tolist(), "title": [*dataset.board_titles, *([""] * more)]}
        ),
        edges=pa.table(
            {
                "pin_id": dataset.pin_ids[edges[0]].tolist(),
                "board_id": ids[edges[1]].tolist(),
            }
        ),
    )
