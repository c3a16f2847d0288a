"""The records that flow between the layers, and the protocols that a layer may be replaced by.

Letters of the shapes: B seeds or anchors, k neighbors of each, U distinct pins of a batch,
T text tokens, D embedding dimension, N pins of a data set, P positive pairs, H and W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from pingraph.graph import PinBoardGraph


@dataclass(frozen=True, kw_only=True)
class Neighbors:
    """The sampled neighbors of some seed pins, best first, padded to a fixed width.

    Pins are dense indices of the graph that was sampled. Where `mask` is false, `ids` is -1 and
    `weights` and `counts` are 0. The valid entries of a row stand before the padding.
    """

    seeds: np.ndarray  # int64 [B]
    ids: np.ndarray  # int64 [B, k]
    weights: np.ndarray  # float32 [B, k], each row sums to 1, or to 0 when nothing was found
    counts: np.ndarray  # int32 [B, k], how often the walks visited the neighbor
    mask: np.ndarray  # bool [B, k]


@runtime_checkable
class Sampler(Protocol):
    """Finds the neighbors of pins in a graph."""

    def sample(
        self, graph: PinBoardGraph, seeds: np.ndarray, *, seed: int, epoch: int = 0
    ) -> Neighbors:
        """Return the neighbors of each seed pin.

        Args:
            graph: the graph to walk on.
            seeds: int64 [B], dense pin indices; repeats are allowed.
            seed: the random seed. A draw is a function of (seed, epoch, pin, walk, step) alone, so
                neither threads, workers and ranks nor the order or batching of `seeds` change it.
            epoch: another epoch gives fresh walks.

        Raises:
            PinGraphError: a seed is not a pin of the graph.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class PinContent:
    """What some pins look like and say; all that an encoder ever sees of them."""

    images: Tensor  # uint8 [U, 3, H, W], RGB; zeros where a pin has no image
    has_image: Tensor  # bool [U]
    tokens: Tensor  # int64 [U, T]
    token_mask: Tensor  # bool [U, T]; a row of False is a pin without text


@dataclass(frozen=True, kw_only=True)
class PinBatch:
    """A sampled subgraph: the distinct pins of a training step and how they belong together.

    `anchors`, `positive_rows` and `positive_columns` index the U pins of the batch, each of which
    is encoded once.
    """

    pins: Tensor  # int64 [U], dense indices of the graph, all different
    content: PinContent
    anchors: Tensor  # int64 [B], places of the anchors among the pins
    positive_rows: Tensor  # int64 [P], which anchor (0 … B-1)
    positive_columns: Tensor  # int64 [P], which pin (0 … U-1)
    positive_weights: Tensor  # float32 [P], share of the walk's visits
    board_mates: Tensor  # bool [B, U], the anchor and the pin share a training board
    twins: Tensor  # bool [U, U], same image or same text to the byte; the diagonal is True


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """What an encoder makes of pins: vectors of length 1 in one space, by modality.

    `image` and `text` rows of pins that lack the modality are zero.
    """

    image: Tensor  # float32 [U, D]
    text: Tensor  # float32 [U, D]
    fused: Tensor  # float32 [U, D], from whatever the pin has
    has_image: Tensor  # bool [U]
    has_text: Tensor  # bool [U]


class Encoder(Protocol):
    """A torch module that embeds pins from their content alone."""

    image_size: int  # pixels of a side
    vocab_size: int  # tokens the text tower knows
    max_tokens: int  # longest text, in tokens

    def __call__(self, content: PinContent) -> Embeddings:
        """Embed U pins."""
        ...


@dataclass(frozen=True, kw_only=True)
class EmbeddingTable:
    """The embeddings of a whole data set, as NumPy arrays, in the order of its pins."""

    pin_ids: np.ndarray  # int64 or str [N]
    image: np.ndarray  # float32 [N, D], zero where there is no image
    text: np.ndarray  # float32 [N, D], zero where there is no text
    fused: np.ndarray  # float32 [N, D]
    has_image: np.ndarray  # bool [N]
    has_text: np.ndarray  # bool [N]
