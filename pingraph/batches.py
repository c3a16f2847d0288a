"""Training batches: batch i is a sampled subgraph, and a function of the seed and i alone.

B anchors, k sampled neighbors of each, m of them drawn into the batch, U distinct pins, P pairs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import Dataset

from pingraph.errors import PinGraphError
from pingraph.interfaces import Neighbors, PinBatch, Sampler

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from pingraph.augmentation import Augmentation
    from pingraph.content import ContentReader
    from pingraph.graph import PinBoardGraph

# Streams of the random generator, so that no draw is used for two things.
_ORDER, _DRAW, _AUGMENT = range(3)


class PinBatches(Dataset[PinBatch]):
    """The batches of a training run, as a map-style data set for a DataLoader.

    The anchors of a pass are the training pins in a fresh order; each brings `neighbors_per_anchor`
    of its sampled neighbors along, drawn by weight. Each distinct pin stands in the batch once.
    Every sampled neighbor that is in the batch, drawn or not, is a positive of its anchor.

    Args:
        content: reads the pins' images and texts.
        graph: the training graph; nothing held out is in it.
        train_pins: int64, the pins that may be trained on.
        sampler: finds the neighbors.
        augmentation: changes what is read.
        batch_size: anchors B of a batch.
        neighbors_per_anchor: neighbors m that an anchor brings along.
        num_batches: length of the run.
        seed: the random seed.

    Raises:
        PinGraphError: there are no training pins, or a size is below 1.
    """

    def __init__(
        self,
        content: ContentReader,
        graph: PinBoardGraph,
        train_pins: np.ndarray,
        sampler: Sampler,
        augmentation: Augmentation,
        *,
        batch_size: int,
        neighbors_per_anchor: int,
        num_batches: int,
        seed: int,
    ):
        for name, value in (
            ("batch_size", batch_size),
            ("neighbors_per_anchor", neighbors_per_anchor),
        ):
            if value < 1:
                raise PinGraphError(f"{name} is {value}: expected 1 or more")
        if not len(train_pins):
            raise PinGraphError("the split leaves no pin to train on")
        self.content = content
        self.graph = graph
        self.train_pins = train_pins
        self.sampler = sampler
        self.augmentation = augmentation
        self.batch_size = min(batch_size, len(train_pins))
        self.neighbors_per_anchor = neighbors_per_anchor
        self.num_batches = num_batches
        self.seed = seed
        dataset = content.dataset
        # Not the weights: products of small ones would be 0.
        self._saves = graph.incidence().astype(bool)
        self._groups = np.stack([dataset.image_groups, dataset.text_groups])

    def __len__(self) -> int:
        """Return the number of batches."""
        return self.num_batches

    def __getitem__(self, index: int) -> PinBatch:
        """Return batch `index`, the same whenever and wherever it is asked for."""
        epoch, anchors = self._anchors(index)
        neighbors = self.sampler.sample(self.graph, anchors, seed=self.seed, epoch=epoch)
        drawn = _draw(neighbors, self.neighbors_per_anchor, self._rng(_DRAW, index))
        pins = np.unique(np.concatenate([anchors, drawn]))
        rows, columns, weights = _positives(neighbors, pins)
        content = self.augmentation(self.content.read(pins), self._rng(_AUGMENT, index))
        return PinBatch(
            pins=torch.from_numpy(pins),
            content=content,
            anchors=torch.from_numpy(np.searchsorted(pins, anchors)),
            positive_rows=torch.from_numpy(rows),
            positive_columns=torch.from_numpy(columns),
            positive_weights=torch.from_numpy(weights),
            board_mates=torch.from_numpy(_board_mates(self._saves, anchors, pins)),
            twins=torch.from_numpy(_twins(self._groups[:, pins])),
        )

    def _anchors(self, index: int) -> tuple[int, np.ndarray]:
        # Pins left over at the end of a pass are not lost: another order leaves out others.
        epoch, place = divmod(index, len(self.train_pins) // self.batch_size)
        order = self._rng(_ORDER, epoch).permutation(len(self.train_pins))
        chosen = order[place * self.batch_size : (place + 1) * self.batch_size]
        return epoch, self.train_pins[np.sort(chosen)]

    def _rng(self, stream: int, index: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, stream, index])


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
    columns = np.searchsorted(pins, neighbors.ids).clip(max=len(pins) - 1)
    present = neighbors.mask & (pins[columns] == neighbors.ids)
    weights = np.where(present, neighbors.weights, 0)
    weights /= np.maximum(weights.sum(1, keepdims=True), np.finfo(np.float32).tiny)
    rows, places = np.nonzero(present)
    return rows, columns[rows, places], weights[rows, places]


def _board_mates(saves: csr_array, anchors: np.ndarray, pins: np.ndarray) -> np.ndarray:
    """bool [B, U]: whether anchor and pin share a board, from who is saved where [N, boards]."""
    return (saves[anchors] @ saves[pins].T).toarray()


def _twins(groups: np.ndarray) -> np.ndarray:
    """bool [U, U] from group numbers [2, U], where -1 stands for no group."""
    same = (groups[:, :, None] == groups[:, None, :]) & (groups[:, :, None] >= 0)
    return same.any(0) | np.eye(groups.shape[1], dtype=bool)
