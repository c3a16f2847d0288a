"""What training asks for: images near their texts, pins near their neighbors on the graph.

B anchors, U pins of the batch, M columns, D embedding dimension.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from pingraph.errors import PinGraphError
from pingraph.interfaces import Embeddings, PinBatch

Form = Literal["softmax", "sigmoid"]


def softmax_loss(logits: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    """Cross-entropy of a softmax over positives and negatives against the positives' weights.

    With one positive a row it is InfoNCE (arXiv 1807.03748), with several the weighted form of
    SupCon's L_out (arXiv 2004.11362): Σ_j w_ij (logsumexp_m s_im − s_ij), averaged over rows.

    Args:
        logits: float [B, M], the similarities s times the logit scale.
        positives: float [B, M], weights w; each row sums to 1, or to 0 and is then left out.
        negatives: bool [B, M], the columns that a row is pushed away from. A column that is
            neither positive nor negative plays no part.

    Returns:
        A scalar; 0, with a gradient of zeros, when no row has a positive.
    """
    rows = positives.sum(1) > 0
    shown = negatives | (positives > 0)
    # The smallest finite number, not -inf, so that rows without any column have no NaN gradient.
    masked = logits.masked_fill(~shown, torch.finfo(logits.dtype).min)
    losses = masked.logsumexp(1) - (positives * logits).sum(1)
    return torch.where(rows, losses, 0).sum() / rows.sum().clamp(min=1)


def sigmoid_loss(logits: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    """Binary cross-entropy of each pair by itself (SigLIP, arXiv 2303.15343).

    −Σ_j [w_ij log σ(s_ij) + n_ij log σ(−s_ij)], averaged over the rows with a positive.

    Args:
        logits: float [B, M], the similarities times the logit scale, plus the bias.
        positives: float [B, M], weights w; each row sums to 1, or to 0 and is then left out.
        negatives: bool [B, M], the pairs n that are pushed apart.

    Returns:
        A scalar; 0, with a gradient of zeros, when no row has a positive.
    """
    rows = positives.sum(1) > 0
    logsigmoid = nn.functional.logsigmoid
    attract = -(positives * logsigmoid(logits)).sum(1)
    repel = -(negatives * logsigmoid(-logits)).sum(1)
    return torch.where(rows, attract + repel, 0).sum() / rows.sum().clamp(min=1)


@dataclass(frozen=True, kw_only=True)
class Losses:
    """The terms of the objective, scalars; `total` is what is minimized."""

    total: Tensor
    image_text: Tensor
    neighbor: Tensor


class AlignmentObjective(nn.Module):
    """Image-text alignment plus λ times neighbor alignment, after PinCLIP (arXiv 2603.03544).

    *Image-text*: of all pins in the batch, a pin's image finds its own text and the reverse
    (CLIP, arXiv 2103.00020); its fused embedding finds both, so that all three live in one space.
    The pins' twins (same image or same text to the byte) are no negatives.

    *Neighbor*: an anchor's fused embedding finds those of its walk neighbors in the batch, each
    counting by its share of the visits. All its neighbors, board-mates and twins are no negatives.

    Args:
        neighbor_weight: λ; 0 leaves the graph out and gives the image-text baseline.
        form: "softmax" over the batch, or "sigmoid" of each pair by itself.
        fused_weight: weight of the fused embedding's part beside the image-text pairs.
        temperature: initial temperature of the softmax form; learned from there.

    Raises:
        PinGraphError: a negative weight, an unknown form, a temperature of 0 or below.
    """

    MAX_SCALE = 100.0

    def __init__(
        self,
        neighbor_weight: float = 1.0,
        form: Form = "softmax",
        fused_weight: float = 0.5,
        temperature: float = 0.07,
    ):
        super().__init__()
        _check(neighbor_weight, form, fused_weight, temperature)
        self.neighbor_weight = neighbor_weight
        self.fused_weight = fused_weight
        self.pair_loss = softmax_loss if form == "softmax" else sigmoid_loss
        # SigLIP starts at scale 10 and bias -10, so that the many negatives do not swamp step 1.
        scale, bias = (1 / temperature, 0.0) if form == "softmax" else (10.0, -10.0)
        self.log_scale = nn.ParameterDict(
            {
                term: nn.Parameter(torch.tensor(math.log(scale)))
                for term in ("image_text", "neighbor")
            }
        )
        self.bias = nn.ParameterDict(
            {
                term: nn.Parameter(torch.tensor(bias), requires_grad=form == "sigmoid")
                for term in ("image_text", "neighbor")
            }
        )

    def forward(self, embeddings: Embeddings, batch: PinBatch) -> Losses:
        """Compute the losses of a batch.

        Args:
            embeddings: of the U pins of the batch.
            batch: who is a neighbor, a board-mate and a twin of whom.

        Returns:
            The scalar losses; a term that the batch has no pair for is 0.
        """
        image_text = self._image_text(embeddings, batch.twins)
        neighbor = image_text.new_zeros(())
        if self.neighbor_weight:
            neighbor = self._neighbor(embeddings.fused, batch)
        total = image_text + self.neighbor_weight * neighbor
        return Losses(total=total, image_text=image_text, neighbor=neighbor)

    def _image_text(self, embeddings: Embeddings, twins: Tensor) -> Tensor:
        has_image, has_text = embeddings.has_image, embeddings.has_text
        image, text, fused = embeddings.image, embeddings.text, embeddings.fused
        pair = self._paired(image, text, has_image & has_text, twins)
        with_image = self._paired(fused, image, has_image, twins)
        with_text = self._paired(fused, text, has_text, twins)
        return pair + self.fused_weight * (with_image + with_text) / 2

    def _paired(self, x: Tensor, y: Tensor, present: Tensor, twins: Tensor) -> Tensor:
        """Align x [U, D] with y [U, D] row by row, among the rows that are present."""
        positives = torch.diag(present.to(x.dtype))
        negatives = ~twins & present.unsqueeze(0)
        logits = self._logits("image_text", x, y)
        forward = self.pair_loss(logits, positives, negatives)
        return (forward + self.pair_loss(logits.T, positives, negatives)) / 2

    def _neighbor(self, fused: Tensor, batch: PinBatch) -> Tensor:
        anchors = fused[batch.anchors]
        positives = fused.new_zeros(len(anchors), len(fused))
        weights = batch.positive_weights.to(fused.dtype)
        positives[batch.positive_rows, batch.positive_columns] = weights
        # A walk reaches pins that share no board with the anchor: no negatives of it either.
        negatives = ~(batch.board_mates | batch.twins[batch.anchors]) & (positives == 0)
        return self.pair_loss(self._logits("neighbor", anchors, fused), positives, negatives)

    def _logits(self, term: str, x: Tensor, y: Tensor) -> Tensor:
        scale = self.log_scale[term].exp().clamp(max=self.MAX_SCALE)
        return scale * x @ y.T + self.bias[term]


def _check(neighbor_weight: float, form: str, fused_weight: float, temperature: float) -> None:
    for name, weight in (("neighbor_weight", neighbor_weight), ("fused_weight", fused_weight)):
        if not 0 <= weight < math.inf:
            raise PinGraphError(f"{name} is {weight}: expected a number of 0 or more")
    if form not in get_args(Form):
        raise PinGraphError(f"form is {form!r}: expected one of {', '.join(get_args(Form))}")
    if not 0 < temperature < math.inf:
        raise PinGraphError(f"temperature is {temperature}: expected a number above 0")
