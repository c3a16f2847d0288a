"""Neighbor context: in training a pin also sees its neighbors, and teaches its content to foresee.

B anchors, U pins of the batch, C = 2 B contexts, P edges context → pin, D channels.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pingraph.errors import PinGraphError
from pingraph.false_negatives import Columns, FalseNegatives
from pingraph.gathering import share_of
from pingraph.interfaces import Relations
from pingraph.losses import Alignment, Positives, bounded_scale, check_temperature

Kind = Literal["pooling", "tokens"]


class NeighborContext(nn.Module):
    """Enriches an anchor's embedding by its neighbors', and distills that into its content.

    The neighbors of an anchor that are in the batch are dealt into two halves, best first. Each
    half makes a context of the anchor, z = normalize(e + g(e, neighbors)), which has to find the
    other half among the pins of the batch (a softmax, each neighbor by its share of the visits):
    what it must find it has not seen. The anchor's content embedding e is pulled toward its
    contexts by 1 − cos(e, z), in which z is a constant.

    g is PinSAGE's importance pooling (arXiv 1806.01973, algorithm 1) or a transformer whose tokens
    are the anchor and its neighbors (after OmniSage, arXiv 2504.17811). Its last layer starts at
    zero, so training begins with z = e and a distillation of 0. At inference nothing of it is used.

    Args:
        embed_dim: dimension D of the embeddings; `pingraph fit` takes the encoder's.
        kind: "pooling" or "tokens".
        weight: of the term in which contexts find neighbors, above 0.
        distill_weight: of the distillation, 0 or more.
        heads: attention heads of "tokens"; divides embed_dim.
        temperature: initial temperature of the softmax, 0.01 or more; learned from there.

    Raises:
        PinGraphError: a number out of its range, an unknown kind, or heads that do not divide
            embed_dim.
    """

    BLOCK_ROWS = 1024  # contexts whose logits are held at a time

    def __init__(
        self,
        embed_dim: int = 128,
        kind: Kind = "pooling",
        weight: float = 0.5,
        distill_weight: float = 0.5,
        heads: int = 4,
        temperature: float = 0.07,
    ):
        super().__init__()
        _check(embed_dim, kind, weight, distill_weight, heads, temperature)
        self.embed_dim = embed_dim
        self.weight = weight
        self.distill_weight = distill_weight
        self.enrich = (
            ImportancePooling(embed_dim) if kind == "pooling" else NeighborTokens(embed_dim, heads)
        )
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))

    def forward(
        self, fused: Tensor, relations: Relations, *, rank: int = 0, ranks: int = 1
    ) -> dict[str, Tensor]:
        """Return this rank's share of the weighted terms; the shares of all ranks add up to them.

        Args:
            fused: float [U, D], the content embeddings of the pins, of length 1 or zero. A zero
                vector is of a pin without content, which has no part in the context.
            relations: of the same pins.
            rank: which share of the anchors.
            ranks: number of shares.

        Returns:
            "context" and "distillation", scalars. An anchor with one neighbor has only a
            distillation, one without has neither; where no anchor has any, they are 0 with a
            gradient of zeros.

        Raises:
            PinGraphError: the embeddings have another dimension.
        """
        if fused.shape[1] != self.embed_dim:
            raise PinGraphError(
                f"embed_dim is {self.embed_dim}: the embeddings have {fused.shape[1]} channels"
            )
        share = share_of(rank, ranks, len(relations.anchors))
        if not share:  # more ranks than anchors
            return dict.fromkeys(("context", "distillation"), 0 * fused.sum())
        seen, sought = _halves(fused.detach(), relations)
        teachers, finders = (
            edges.rows.bincount(minlength=2 * len(relations.anchors)) > 0
            for edges in (seen, sought)
        )
        own = slice(2 * share.start, 2 * share.stop)
        anchors = relations.anchors.repeat_interleave(2)[own]
        content = fused[anchors]
        contexts = F.normalize(content + self.enrich(content, fused, seen.of(own)), dim=1)
        missed = self._missed(contexts.to(fused.dtype), fused, relations, sought.of(own), own)
        away = torch.where(teachers[own], 1 - (content * contexts.detach()).sum(1), 0).sum()
        return {
            "context": self.weight * missed / finders.sum().clamp(min=1),
            "distillation": self.distill_weight * away / teachers.sum().clamp(min=1),
        }

    def _missed(
        self,
        contexts: Tensor,
        fused: Tensor,
        relations: Relations,
        sought: Positives,
        own: slice,
    ) -> Tensor:
        """Sum over some contexts of the cross-entropy of finding what is sought."""
        related = FalseNegatives(relations, Columns.of(relations))
        anchors = torch.arange(own.start, own.stop, device=fused.device) // 2

        def hidden(part: slice) -> Tensor:
            rows = anchors[part]
            return related.related(relations.anchors[rows], relations.neighbors[rows])

        alignment = Alignment(
            x=[contexts],
            y=[fused],
            view_weights=[1.0],
            positives=sought,
            present=_known(fused),
            hidden=hidden,
        )
        scale = bounded_scale(self.log_scale)
        with torch.autocast(fused.device.type, enabled=False):
            return alignment.loss(
                "multi_softmax", scale, 0 * scale, range(len(contexts)), self.BLOCK_ROWS
            )


class ImportancePooling(nn.Module):
    """PinSAGE's convolution: W [e ; Σ_v w_v ReLU(Q e_v)], w the share of the walks' visits.

    Args:
        dim: channels D.
    """

    def __init__(self, dim: int):
        super().__init__()
        from torch_geometric.nn import SimpleConv  # two seconds, for those who use it

        self.message = nn.Linear(dim, dim)
        self.pool = SimpleConv(aggr="sum")
        self.combine = nn.Linear(2 * dim, dim)
        self.out = _silent(dim)

    def forward(self, own: Tensor, pins: Tensor, seen: Positives) -> Tensor:
        """Return what neighbors add to the embeddings `own` [C, D]; pins [U, D]."""
        messages = self.message(pins).relu()
        index = torch.stack([seen.columns, seen.rows])
        pooled = self.pool((messages, own), index, seen.weights)
        return self.out(self.combine(torch.cat([own, pooled], dim=1)).relu())


class NeighborTokens(nn.Module):
    """A transformer block over the anchor's and its neighbors' embeddings as tokens.

    Args:
        dim: channels D.
        heads: attention heads.
    """

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.anchor = nn.Parameter(torch.randn(dim) * dim**-0.5)
        self.visits = nn.Parameter(torch.randn(dim) * dim**-0.5)
        self.block = nn.TransformerEncoderLayer(
            dim, heads, 2 * dim, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.norm = nn.LayerNorm(dim)
        self.out = _silent(dim)

    def forward(self, own: Tensor, pins: Tensor, seen: Positives) -> Tensor:
        """Return what neighbors add to the embeddings `own` [C, D]; pins [U, D]."""
        from torch_geometric.utils import to_dense_batch

        tokens = pins[seen.columns] + seen.weights[:, None] * self.visits
        tokens, mask = to_dense_batch(tokens, seen.rows, batch_size=len(own))
        tokens = torch.cat([(own + self.anchor).unsqueeze(1), tokens], dim=1)
        mask = F.pad(mask, (1, 0), value=True)
        return self.out(self.norm(self.block(tokens, src_key_padding_mask=~mask)[:, 0]))


def _silent(dim: int) -> nn.Linear:
    layer = nn.Linear(dim, dim)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _known(fused: Tensor) -> Tensor:
    """bool [U]: the pins that have an image or a text."""
    return (fused != 0).any(1)


def _halves(fused: Tensor, relations: Relations) -> tuple[Positives, Positives]:
    """What contexts 2 b and 2 b + 1 of anchor b see, and what they seek: what the other sees."""
    known = _known(fused)
    rows, columns = relations.positive_rows, relations.positive_columns
    kept = (known[columns] & known[relations.anchors[rows]]).nonzero().squeeze(1)
    kept = kept[rows[kept].argsort(stable=True)]
    rows, columns, weights = rows[kept], columns[kept], relations.positive_weights[kept]
    counts = rows.bincount(minlength=len(relations.anchors))
    place = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
    contexts = 2 * rows + place % 2
    size = 2 * len(relations.anchors)
    sums = weights.new_zeros(size).index_add(0, contexts, weights)
    weights = (weights / sums[contexts]).to(fused.dtype)
    sees = contexts.bincount(minlength=size) > 0
    return (
        _by_row(contexts, columns, weights, torch.ones_like(contexts, dtype=torch.bool)),
        _by_row(contexts ^ 1, columns, weights, sees[contexts ^ 1]),
    )


def _by_row(rows: Tensor, columns: Tensor, weights: Tensor, kept: Tensor) -> Positives:
    order = rows.argsort(stable=True)
    order = order[kept[order]]
    return Positives(rows=rows[order], columns=columns[order], weights=weights[order])


def _check(
    embed_dim: int,
    kind: str,
    weight: float,
    distill_weight: float,
    heads: int,
    temperature: float,
) -> None:
    for name, size in (("embed_dim", embed_dim), ("heads", heads)):
        if size < 1:
            raise PinGraphError(f"{name} is {size}: expected 1 or more")
    if kind not in get_args(Kind):
        raise PinGraphError(f"kind is {kind!r}: expected one of {', '.join(get_args(Kind))}")
    if kind == "tokens" and embed_dim % heads:
        raise PinGraphError(f"heads is {heads}: expected a divisor of embed_dim ({embed_dim})")
    if not 0 < weight < math.inf:
        raise PinGraphError(f"weight is {weight}: expected a number above 0")
    check_temperature(temperature)
    if not 0 <= distill_weight < math.inf:
        raise PinGraphError(f"distill_weight is {distill_weight}: expected a number of 0 or more")
