"""Training batches: batch i is a sampled subgraph, and a function of the seed and i alone.

B anchors, k sampled neighbors of each, m of them drawn into the batch, U distinct pins, P pairs.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import Dataset

from pingraph.board_sizes import boards_that_tell
from pingraph.errors import PinGraphError
from pingraph.gathering import share_of
from pingraph.interfaces import (
    NegativeSampler,
    Neighbors,
    PinBatch,
    Relations,
    Sampler,
)
from pingraph.pin_counts import expected_counts
from pingraph.samplers.asking import negatives_of, neighbors_of

if TYPE_CHECKING:
    from pingraph.augmentation import Augmentation
    from pingraph.content import Reader
    from pingraph.graph import PinBoardGraph
    from pingraph.training_pins import TrainingPins

# Streams of the random generator, so that no draw is used for two things.
_ORDER, _DRAW, _AUGMENT = range(3)


class PinBatches(Dataset[PinBatch]):
    """The batches of a training run, as a map-style data set for a DataLoader.

    The anchors of a pass are the training pins in a fresh order; each brings `neighbors_per_anchor`
    of its sampled neighbors along, drawn by weight, and the negatives that are drawn for it. Each
    distinct pin stands in the batch once. Every sampled neighbor that is in the batch, drawn or
    not, is a positive of its anchor. All ranks have the same batch, and each reads a part of it.

    Args:
        pins: the training side of a data set.
        reader: reads their images and texts.
        sampler: finds the neighbors.
        augmentation: changes what is read.
        negatives: draw pins that come into the batch as negatives beside the others.
        batch_size: anchors B of a batch.
        neighbors_per_anchor: neighbors m that an anchor brings along.
        chunk_size: most pins of a chunk.
        num_batches: length of the run.
        seed: the random seed.
        count_pins: find out how often each pin is expected in a batch, for the logQ correction;
            else the log counts are NaN.
        rank: this process among
        ranks: the processes that train together.

    Raises:
        PinGraphError: there are no training pins, or a size is below 1.
    """

    def __init__(
        self,
        pins: TrainingPins,
        reader: Reader,
        sampler: Sampler,
        augmentation: Augmentation,
        negatives: Sequence[NegativeSampler] = (),
        *,
        batch_size: int,
        neighbors_per_anchor: int,
        chunk_size: int,
        num_batches: int,
        seed: int,
        count_pins: bool = False,
        rank: int = 0,
        ranks: int = 1,
    ):
        for name, value in (
            ("batch_size", batch_size),
            ("neighbors_per_anchor", neighbors_per_anchor),
            ("chunk_size", chunk_size),
        ):
            if value < 1:
                raise PinGraphError(f"{name} is {value}: expected 1 or more")
        if not len(pins.anchors):
            raise PinGraphError("the split leaves no pin to train on")
        self.reader = reader
        self.graph = pins.graph
        self.train_pins = pins.anchors
        self.sampler = sampler
        self.augmentation = augmentation
        self.negatives = tuple(negatives)
        self.batch_size = min(batch_size, len(pins.anchors))
        self.neighbors_per_anchor = neighbors_per_anchor
        self.chunk_size = chunk_size
        self.num_batches = num_batches
        self.seed = seed
        self.rank = rank
        self.ranks = ranks
        self._groups = pins.groups
        self._telling = boards_that_tell(pins.graph, pins.anchors)
        self._trained = pins.graph.pin_degrees > 0
        self._trained[pins.anchors] = True
        self._log_counts = np.full(pins.graph.num_pins, np.nan, np.float32)
        if count_pins:
            self._log_counts = self._count_pins()
        if self.negatives and not rank:
            self._warn_of_idle_negatives()

    def __len__(self) -> int:
        """Return the number of batches."""
        return self.num_batches

    @property
    def passes(self) -> float:
        """How often the run takes each training pin as an anchor, on average."""
        return self.num_batches * self.batch_size / len(self.train_pins)

    def __getitem__(self, index: int) -> PinBatch:
        """Return batch `index`, the same whenever and wherever it is asked for."""
        relations = self.relations(index)
        pins = relations.pins.numpy()
        chunks = -(-len(pins) // self.chunk_size)
        if chunks < self.ranks:
            raise PinGraphError(
                f"chunk_size is {self.chunk_size}: a batch of {len(pins)} pins has {chunks} "
                f"chunks, expected one or more for each of {self.ranks} ranks: for this batch "
                f"{len(pins) // self.ranks} pins at most"
            )
        bounds = [len(pins) * chunk // chunks for chunk in range(chunks + 1)]
        own = share_of(self.rank, self.ranks, chunks)
        return PinBatch(
            index=index,
            relations=relations,
            bounds=tuple(bounds),
            first_chunk=own.start,
            content=tuple(
                self.augmentation(
                    self.reader.read(pins[bounds[chunk] : bounds[chunk + 1]]),
                    self._rng(_AUGMENT, index, chunk),
                )
                for chunk in own
            ),
        )

    def relations(self, index: int) -> Relations:
        """Return who is in batch `index`, and how they belong together."""
        epoch, anchors = self._anchors(index)
        neighbors = neighbors_of(self.sampler, self.graph, anchors, seed=self.seed, epoch=epoch)
        drawn = _draw(neighbors, self.neighbors_per_anchor, self._rng(_DRAW, index))
        pins = np.unique(np.concatenate([anchors, drawn, *self._negatives(anchors, epoch)]))
        rows, columns, weights = _positives(neighbors, pins)
        offsets, boards = _boards(self.graph, pins, self._telling)
        arrays = {
            "pins": pins,
            "anchors": np.searchsorted(pins, anchors),
            "neighbors": neighbors.ids.astype(np.int64, copy=False),
            "positive_rows": rows,
            "positive_columns": columns,
            "positive_weights": weights,
            "board_offsets": offsets,
            "boards": boards,
            "groups": self._groups[:, pins],
            "log_counts": self._log_counts[pins],
        }
        return Relations(**{name: torch.from_numpy(array) for name, array in arrays.items()})

    def _anchors(self, index: int) -> tuple[int, np.ndarray]:
        # Pins left over at the end of a pass are not lost: another order leaves out others.
        epoch, place = divmod(index, len(self.train_pins) // self.batch_size)
        order = self._rng(_ORDER, epoch).permutation(len(self.train_pins))
        chosen = order[place * self.batch_size : (place + 1) * self.batch_size]
        return epoch, self.train_pins[np.sort(chosen)]

    def _negatives(self, anchors: np.ndarray, epoch: int) -> list[np.ndarray]:
        """The negatives that may be trained on: a sampler may know of pins that are held out."""
        found = []
        for sampler in self.negatives:
            drawn = negatives_of(sampler, self.graph, anchors, seed=self.seed, epoch=epoch)
            pins = drawn.ids[drawn.mask]
            found.append(pins[self._trained[pins]])
        return found

    def _warn_of_idle_negatives(self) -> None:
        """Warn of each sampler that draws nothing even in the last batch, as a curriculum may."""
        epoch, anchors = self._anchors(self.num_batches - 1)
        for sampler, drawn in zip(self.negatives, self._negatives(anchors, epoch), strict=True):
            if not len(drawn):
                warnings.warn(
                    f"{type(sampler).__name__} draws nothing for the {len(anchors)} anchors of the "
                    f"last batch, in pass {epoch + 1} over the training pins; a curriculum begins "
                    "in pass 2, and a window of ranks needs a sampler that finds as many pins",
                    stacklevel=2,
                )

    def _count_pins(self) -> np.ndarray:
        counts = expected_counts(
            self.graph,
            self.train_pins,
            self.sampler,
            self.negatives,
            neighbors_per_anchor=self.neighbors_per_anchor,
            passes=self._anchors(self.num_batches - 1)[0] + 1,
            seed=self.seed,
        )
        # A pin stands in a batch once, as an anchor or by any draw, whose number is Poisson's.
        share = self.batch_size / len(self.train_pins)
        absent = np.exp(-counts * share)
        absent[self.train_pins] *= 1 - share
        return np.log1p(-absent).astype(np.float32)

    def _rng(self, stream: int, *place: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, stream, *place])


def rows_of_ranks(bounds: Sequence[int], ranks: int) -> list[int]:
    """Return how many pins of a batch each rank encodes.

    Args:
        bounds: of the batch's chunks.
        ranks: that share them.
    """
    own = [share_of(rank, ranks, len(bounds) - 1) for rank in range(ranks)]
    return [bounds[chunks.stop] - bounds[chunks.start] for chunks in own]


def _draw(neighbors: Neighbors, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw `count` neighbors of each seed by weight, with replacement; int64, flat."""
    found = neighbors.mask.any(1)
    cumulative = np.cumsum(neighbors.weights[found], axis=1, dtype=np.float64)
    places = rng.random((len(neighbors.seeds), count))[found] * cumulative[:, -1:]
    columns = (places[:, :, None] >= cumulative[:, None, :]).sum(2)
    last = neighbors.mask[found].sum(1, keepdims=True) - 1
    return np.take_along_axis(neighbors.ids[found], np.minimum(columns, last), axis=1).ravel()


def _positives(neighbors: Neighbors, pins: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns and weights of the sampled neighbors that are among the sorted `pins`."""
    present, columns = neighbors.among(pins)
    weights = np.where(present, neighbors.weights, 0)
    weights /= np.maximum(weights.sum(1, keepdims=True), np.finfo(np.float32).tiny)
    rows, places = np.nonzero(present)
    return rows, columns[rows, places], weights[rows, places]


def _boards(
    graph: PinBoardGraph, pins: np.ndarray, telling: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Those of the boards of pins [U] that tell (bool [boards]), and where each pin's begin.

    Returns:
        The boards, one pin's after another, int64, and places among them, int64 [U + 1].
    """
    first, last = graph.pin_offsets[pins], graph.pin_offsets[pins + 1]
    starts = np.cumsum(last - first) - (last - first)
    owners = np.repeat(np.arange(len(pins)), last - first)
    boards = graph.pin_boards[np.arange(len(owners)) + (first - starts)[owners]].astype(np.int64)
    kept = telling[boards]
    counts = np.bincount(owners[kept], minlength=len(pins))
    return np.concatenate([[0], np.cumsum(counts)]), boards[kept]
