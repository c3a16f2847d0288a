"""The records that flow between the layers, and the protocols that a layer may be replaced by.

Letters of the shapes: B seeds or anchors, k neighbors of each, U distinct pins of a batch,
T text tokens, D embedding dimension, N pins of a data set, P positive pairs, H and W pixels;
of walks: W walks from each seed, L traversals pin → board → pin of a walk; n negatives of a seed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image
    from tokenizers import Tokenizer
    from torch import Tensor

    from pingraph.graph import PinBoardGraph


@dataclass(frozen=True, kw_only=True)
class Neighbors:
    """The sampled neighbors of some seed pins, best first, padded to a fixed width.

    Pins are dense indices of the graph that was sampled. Where `mask` is false, `ids` is -1 and
    `weights` and `scores` are 0. The valid entries of a row stand before the padding.
    """

    seeds: np.ndarray  # int64 [B]
    ids: np.ndarray  # int64 [B, k]
    weights: np.ndarray  # float32 [B, k], each row sums to 1, or to 0 when nothing was found
    scores: np.ndarray  # float32 [B, k], above 0; what the sampler ranks by, such as visits
    mask: np.ndarray  # bool [B, k]

    def among(self, pins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return which neighbors are among pins int64 [U], ascending, at least one.

        Returns:
            bool [B, k], whether it is one of them, and int64 [B, k], at which place, where it is.
        """
        places = np.searchsorted(pins, self.ids).clip(max=len(pins) - 1)
        return self.mask & (pins[places] == self.ids), places

    @classmethod
    def from_scores(cls, *, seeds: np.ndarray, ids: np.ndarray, scores: np.ndarray) -> Neighbors:
        """Return the record whose weights are the scores over their sum.

        Args:
            seeds: int64 [B].
            ids: int64 [B, k], best first, -1 where a row has no more.
            scores: [B, k], above 0 where there is an id, else 0; stored as float32.
        """
        scores = scores.astype(np.float32, copy=False)
        total = scores.sum(axis=1, keepdims=True, dtype=np.float64)
        weights = scores / np.where(total > 0, total, 1)
        return cls(
            seeds=seeds,
            ids=ids,
            weights=weights.astype(np.float32),
            scores=scores,
            mask=ids >= 0,
        )


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
class Walks:
    """The traces of random walks: from `pins[b, w, t]` over `boards[b, w, t]` to the next pin.

    Nodes are dense indices of the graph, in its index dtype (int32 or int64). After a walk has
    ended, its places hold -1.
    """

    seeds: np.ndarray  # int64 [B]
    pins: np.ndarray  # int [B, W, L + 1]; pins[:, :, 0] are the seeds
    boards: np.ndarray  # int [B, W, L]


@dataclass(frozen=True, kw_only=True)
class Negatives:
    """Pins that do not belong to their seed, and how likely each was to be drawn.

    Where `mask` is false, `ids` is -1 and `log_probabilities` is 0.
    """

    seeds: np.ndarray  # int64 [B]
    ids: np.ndarray  # int64 [B, n], dense indices; a pin may occur more than once in a row
    log_probabilities: np.ndarray  # float32 [B, n], natural log of the chance of each draw
    mask: np.ndarray  # bool [B, n]


@runtime_checkable
class NegativeSampler(Protocol):
    """Draws negatives of pins, with the probabilities that a logQ correction needs."""

    def sample_negatives(
        self, graph: PinBoardGraph, seeds: np.ndarray, *, seed: int, epoch: int = 0
    ) -> Negatives:
        """Return negatives of each seed pin; arguments and errors as of `Sampler.sample`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """What a tower makes of its input: tokens of several depths, and its own summary of them.

    M tokens, C channels; P channels of the summary, which need not be C.
    """

    levels: tuple[Tensor, ...]  # float [U, M, C] each, from shallow to deep; the last layer's last
    mask: Tensor  # bool [U, M], false for padding
    pooled: Tensor  # float [U, P], not normalized


@dataclass(frozen=True, kw_only=True)
class PinContent:
    """What some pins look like and say; all that an encoder ever sees of them.

    The tokens of a frozen backbone may come along, computed once and read from the disk: then the
    encoder takes those, and never runs the backbone. So may frozen features, F numbers that
    pretrained models make of an image or a text, for an encoder that asks for them.
    """

    images: Tensor  # uint8 [U, 3, H, W], RGB; zeros where a pin has no image
    has_image: Tensor  # bool [U]
    tokens: Tensor  # int64 [U, T]
    token_mask: Tensor  # bool [U, T]; a row of False is a pin without text
    image_tokens: Tokens | None = None
    text_tokens: Tokens | None = None
    image_features: Tensor | None = None  # float16 [U, F], of length 1; 0 without an image
    text_features: Tensor | None = None  # likewise


@dataclass(frozen=True, kw_only=True)
class Relations:
    """How the distinct pins of a batch belong together: a sampled subgraph without content.

    `anchors`, `positive_rows` and `positive_columns` are places, not ids. Nothing has the size of
    pins times pins: who shares a board with whom is found, block by block, from the pins' boards.
    """

    pins: Tensor  # int64 [U], dense indices of the graph, all different, ascending
    anchors: Tensor  # int64 [B], places of the anchors among the pins
    neighbors: Tensor  # int64 [B, k], the pins sampled as neighbors of each anchor, -1 for none
    positive_rows: Tensor  # int64 [P], which anchor (0 … B-1)
    positive_columns: Tensor  # int64 [P], which pin (0 … U-1): a sampled neighbor in the batch
    positive_weights: Tensor  # float32 [P], share of the walk's visits; sum to 1 over an anchor's
    board_offsets: Tensor  # int64 [U + 1]
    boards: Tensor  # int64, boards[board_offsets[u] : board_offsets[u + 1]]: training boards of u
    groups: Tensor  # int64 [2, U], equal for pins with the same image; the same text; -1 for none
    log_counts: Tensor  # float32 [U], log of how often a batch is expected to hold the pin


@dataclass(frozen=True, kw_only=True)
class PinBatch:
    """A training step: the relations of its pins, and the content of those that this rank encodes.

    The pins stand in chunks that are encoded one after the other, each pin once. Chunk c holds the
    pins at places `bounds[c]` up to `bounds[c + 1]`, the same on every rank; `content` is that of
    this rank's own chunks, from `first_chunk` on.
    """

    index: int  # of the batch in the run
    relations: Relations
    bounds: tuple[int, ...]
    first_chunk: int
    content: tuple[PinContent, ...]

    def pin_memory(self) -> PinBatch:
        """Return the batch in pinned memory, as a DataLoader with `pin_memory` asks for it."""
        from pingraph.devices import pinned

        return pinned(self)


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
    # float32 [U, D], what `HybridEncoder` makes of words, coarse pixels and frozen features by one
    # matrix, a part of fused
    shallow: Tensor | None = None


class Preparation(Protocol):
    """How images and texts are made ready for an encoder."""

    @property
    def image_size(self) -> int:
        """Pixels of a side."""
        ...

    @property
    def max_tokens(self) -> int:
        """The longest text, in tokens."""
        ...

    @property
    def hides_tokens(self) -> bool:
        """Whether training may hide some tokens of a text; a pretrained tower knows whole ones."""
        ...

    def pixels(self, image: Image) -> np.ndarray:
        """Return an image as uint8 [3, image_size, image_size], RGB."""
        ...

    def tokenizer(self, texts: Iterable[str]) -> Tokenizer:
        """Return the tokenizer, which cuts texts at `max_tokens`.

        Args:
            texts: those that training may see, for an encoder that learns its vocabulary.
        """
        ...


class Encoder(Protocol):
    """A torch module that embeds pins from their content alone."""

    preparation: Preparation

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

    @cached_property
    def present(self) -> dict[str, np.ndarray]:
        """bool [N] of "image", "text" and "fused": which vectors are not zero; found once."""
        names = ("image", "text", "fused")
        return {name: np.asarray(getattr(self, name).any(axis=1)) for name in names}
