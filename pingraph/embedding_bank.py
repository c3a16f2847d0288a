"""Embeddings of earlier batches, kept as further negatives (XBM, arXiv 1912.06798).

S slots, of which M hold a pin; U pins of a batch, D embedding dimension, Y modalities kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pingraph.errors import PinGraphError
from pingraph.false_negatives import Columns
from pingraph.interfaces import Embeddings, Relations

# Room for memberships, of a slot on average: popular pins may have many more.
_BOARDS = 32
_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What a bank holds beside the pins of a batch."""

    columns: Columns  # M pins
    vectors: dict[str, Tensor]  # by modality, float [M, D], without gradient
    present: dict[str, Tensor]  # by modality, bool [M]
    log_counts: Tensor  # float [M]


def presence(embeddings: Embeddings) -> dict[str, Tensor]:
    """Return which pins have an embedding, bool [U], by modality."""
    image, text = embeddings.has_image, embeddings.has_text
    known = image | text
    has_shallow = known if embeddings.shallow is not None else torch.zeros_like(known)
    return {"image": image, "text": text, "fused": known, "shallow": has_shallow}


def vectors_of(embeddings: Embeddings, modality: str) -> Tensor:
    """Return the embeddings [U, D] of a modality; zeros of one that the encoder does not make."""
    vectors = getattr(embeddings, modality)
    return torch.zeros_like(embeddings.fused) if vectors is None else vectors


class EmbeddingBank(nn.Module):
    """Holds the newest embeddings, what they are of, and the boards and twins of their pins.

    All of it lies in buffers of fixed size, so that a checkpoint holds it and a run that goes on is
    exact. All boards share one room of S x 32 memberships. Those of a pin are kept whole or the pin
    is not kept at all, so that no board-mate is ever pushed away: where boards fill the room before
    pins fill the slots, the bank holds fewer pins, the newest.

    Args:
        size: slots S.
        dim: dimension D of the embeddings.
        modalities: which embeddings are kept, of "image", "text", "fused" and "shallow".

    Raises:
        PinGraphError: a size or dimension below 1.
    """

    pins: Tensor  # int64 [S], -1 for a free slot; those stand after the used ones, newest last
    groups: Tensor  # int64 [S, 2]
    board_counts: Tensor  # int64 [S]
    boards: Tensor  # int64 [S x 32], slot by slot
    log_counts: Tensor  # float32 [S]
    vectors: Tensor  # float32 [S, Y, D]
    present: Tensor  # bool [S, Y]

    def __init__(self, size: int, dim: int, modalities: Sequence[str]):
        super().__init__()
        for name, value in (("bank_size", size), ("bank_dim", dim)):
            if value < 1:
                raise PinGraphError(f"{name} is {value}: expected 1 or more")
        self.modalities = tuple(modalities)
        kinds = len(self.modalities)
        self.register_buffer("pins", torch.full((size,), -1))
        self.register_buffer("groups", torch.full((size, 2), -1))
        self.register_buffer("board_counts", torch.zeros(size, dtype=torch.int64))
        self.register_buffer("boards", torch.full((size * _BOARDS,), -1))
        self.register_buffer("log_counts", torch.zeros(size))
        self.register_buffer("vectors", torch.zeros(size, kinds, dim))
        self.register_buffer("present", torch.zeros(size, kinds, dtype=torch.bool))

    def beside(self, pins: Tensor) -> Kept:
        """Return copies of what is kept, without the stale ones of a batch's pins int64 [U]."""
        slots = ((self.pins >= 0) & ~torch.isin(self.pins, pins)).nonzero().ravel()
        vectors, present = self.vectors[slots].unbind(1), self.present[slots].unbind(1)
        return Kept(
            columns=self._columns().take(slots),
            vectors=dict(zip(self.modalities, vectors, strict=True)),
            present=dict(zip(self.modalities, present, strict=True)),
            log_counts=self.log_counts[slots],
        )

    @torch.no_grad()
    def push(self, embeddings: Embeddings, relations: Relations) -> None:
        """Take in the embeddings of the U pins of a batch; the oldest leave.

        Raises:
            PinGraphError: the embeddings have another dimension than the bank.
        """
        self.check(embeddings)
        held, count = self._columns(), len(relations.pins)
        columns = held + Columns.of(relations)
        # In an order in which the last of a batch, when the first have left, are of all its pins.
        new = (torch.arange(count, dtype=torch.float64) * _GOLDEN % 1).argsort()
        old = torch.arange(len(held.pins))
        order = torch.cat([old, len(old) + new]).to(columns.pins.device)
        order = order[self._that_fit(columns.board_offsets.diff()[order])]
        has = presence(embeddings)
        values = {
            "vectors": torch.stack(
                [vectors_of(embeddings, name) for name in self.modalities], dim=1
            ),
            "present": torch.stack([has[name] for name in self.modalities], dim=1),
            # NaN where nobody counts, which equals not even itself.
            "log_counts": relations.log_counts.nan_to_num(),
        }
        for name, value in values.items():
            kept = getattr(self, name)[: len(old)]
            self._set(name, torch.cat([kept, value.to(kept.dtype)])[order])
        columns = columns.take(order)
        self._set("pins", columns.pins, -1)
        self._set("groups", columns.groups.T, -1)
        self._set("board_counts", columns.board_offsets.diff())
        self._set("boards", columns.boards, -1)

    def check(self, embeddings: Embeddings) -> None:
        """Check that embeddings have the bank's dimension.

        Raises:
            PinGraphError: they have not.
        """
        dim, found = self.vectors.shape[2], embeddings.fused.shape[1]
        if found != dim:
            raise PinGraphError(
                f"bank_dim is {dim}: the embeddings have {found} channels, the encoder's embed_dim"
            )

    def _columns(self) -> Columns:
        used = int((self.pins >= 0).sum())
        offsets = torch.cat([self.board_counts.new_zeros(1), self.board_counts[:used].cumsum(0)])
        return Columns(
            pins=self.pins[:used],
            board_offsets=offsets,
            boards=self.boards[: int(offsets[-1])],
            groups=self.groups[:used].T,
        )

    def _that_fit(self, counts: Tensor) -> Tensor:
        """Places of the last pins that slots and room suffice for, from their numbers of boards."""
        room = len(self.boards)
        fits = counts <= room
        needed = torch.where(fits, counts, 0).flip(0).cumsum(0).flip(0)
        return (fits & (needed <= room)).nonzero().ravel()[-len(self.pins) :]

    def _set(self, name: str, values: Tensor, free: int = 0) -> None:
        buffer = getattr(self, name).fill_(free)
        buffer[: len(values)] = values
