"""The forms of a contrastive loss, and its sum over blocks of rows, so that no B x M matrix exists.

n rows, of which a block has b; M columns, D channels of the vectors, P positive pairs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pingraph.errors import PinGraphError

Form = Literal["softmax", "multi_softmax", "sigmoid"]
MAX_SCALE = 100.0  # of logits, as CLIP's (arXiv 2103.00020)


@dataclass(frozen=True, kw_only=True)
class Positives:
    """The pairs that belong together, in the order of their rows."""

    rows: Tensor  # int64 [P], ascending
    columns: Tensor  # int64 [P]
    weights: Tensor  # float [P], above 0; those of a row sum to 1

    def of(self, part: slice) -> Positives:
        """Return the pairs of the rows `part`, which are counted from its first."""
        ends = self.rows.new_tensor([part.start, part.stop])
        first, last = torch.searchsorted(self.rows, ends).tolist()
        return Positives(
            rows=self.rows[first:last] - part.start,
            columns=self.columns[first:last],
            weights=self.weights[first:last],
        )


def check_temperature(temperature: float) -> None:
    """Raise PinGraphError where an initial temperature is no number, or its scale above 100."""
    if not 1 / MAX_SCALE <= temperature < math.inf:
        raise PinGraphError(
            f"temperature is {temperature}: expected a number of {1 / MAX_SCALE} or more"
        )


def bounded_scale(log_scale: nn.Parameter) -> Tensor:
    """Return the learned scale of logits, after its logarithm was brought to that of 100 at most.

    The parameter itself is bounded: beyond a bound of its value alone it would have no gradient,
    and never come back.
    """
    with torch.no_grad():
        log_scale.clamp_(max=math.log(MAX_SCALE))
    return log_scale.exp()


def softmax_loss(logits: Tensor, positives: Positives, negatives: Tensor) -> Tensor:
    """InfoNCE of each positive pair by itself (arXiv 1807.03748), summed over the rows.

    Sum of w_ij log(1 + sum_m exp(s_im - s_ij)), m over the negatives of row i: its other positives
    have no part in it.

    Args:
        logits: float [b, M], the similarities s times the logit scale.
        positives: of the b rows, with weights w. A row without any has no loss.
        negatives: bool [b, M], the columns that a row is pushed away from; no positives. A column
            that is neither plays no part.

    Returns:
        A scalar; 0, with a gradient of zeros, when no row has a positive.
    """
    pushed = _logsumexp(logits, negatives)[positives.rows]
    gaps = pushed - logits[positives.rows, positives.columns]
    # log(1 + exp(gap)), which torch's softplus rounds off above 20.
    return -(positives.weights * nn.functional.logsigmoid(-gaps)).sum()


def multi_softmax_loss(logits: Tensor, positives: Positives, negatives: Tensor) -> Tensor:
    """Cross-entropy of a softmax over positives and negatives against the positives' weights.

    The weighted form of SupCon's L_out (arXiv 2004.11362), summed over the rows:
    sum of w_ij (log sum_m exp s_im - s_ij), m over the positives and negatives of row i.
    Arguments and result as of `softmax_loss`, which it equals where a row has one positive.
    """
    shown = negatives.index_put(
        (positives.rows, positives.columns), torch.ones_like(positives.rows, dtype=torch.bool)
    )
    whole = _logsumexp(logits, shown)[positives.rows]
    return (positives.weights * (whole - logits[positives.rows, positives.columns])).sum()


def sigmoid_loss(logits: Tensor, positives: Positives, negatives: Tensor) -> Tensor:
    """Binary cross-entropy of each pair by itself (SigLIP, arXiv 2303.15343).

    -Sum of w_ij log sigma(s_ij) + n_ij log sigma(-s_ij), over the rows with a positive. Arguments
    and result as of `softmax_loss`; the logits have the bias in them.
    """
    logsigmoid = nn.functional.logsigmoid
    attract = -positives.weights * logsigmoid(logits[positives.rows, positives.columns])
    counted = torch.zeros(len(logits), 1, dtype=torch.bool, device=logits.device)
    counted[positives.rows] = True
    repel = torch.where(negatives & counted, logsigmoid(-logits), 0)
    return attract.sum() - repel.sum()


FORMS = {"softmax": softmax_loss, "multi_softmax": multi_softmax_loss, "sigmoid": sigmoid_loss}


def _logsumexp(logits: Tensor, shown: Tensor) -> Tensor:
    # The smallest finite number: of a row without any column, -inf would leave inf - inf.
    return logits.masked_fill(~shown, torch.finfo(logits.dtype).min).logsumexp(1)


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """Rows that shall find their positives among columns, as seen in one view or several."""

    x: Sequence[Tensor]  # of each view, float [n, d], the rows' vectors
    y: Sequence[Tensor]  # of each view, float [M, d], the columns'
    view_weights: Sequence[float]  # sum to 1
    positives: Positives
    present: Tensor  # bool [M], the columns that there are: a pin may lack the modality
    hidden: Callable[[slice], Tensor]  # bool [b, M], which columns may not be pushed away
    log_counts: Tensor | None = None  # float [M], subtracted from the columns' logits

    def __len__(self) -> int:
        """Return the number of rows n."""
        return len(self.x[0])

    def negatives(self, part: slice) -> Tensor:
        """bool [b, M]: the columns that the rows `part` are pushed away from."""
        chosen = self.positives.of(part)
        negatives = self.present & ~self.hidden(part)
        negatives[chosen.rows, chosen.columns] = False
        return negatives

    def has_negatives(self) -> bool:
        """Whether any row has a negative; it looks at few rows where most have."""
        step = 16
        return any(
            bool(self.negatives(slice(start, min(start + step, len(self)))).any())
            for start in range(0, len(self), step)
        )

    def loss(self, form: Form, scale: Tensor, bias: Tensor, rows: range, block_rows: int) -> Tensor:
        """Sum the loss over some of the rows, block by block.

        Of several blocks none keeps its logits and masks: they are computed again for the gradient
        (arXiv 1604.06174). So memory grows with block_rows x M, not with n x M.

        Args:
            form: of the loss.
            scale: scalar that the similarities are multiplied with.
            bias: scalar that is added to them.
            rows: which to sum over.
            block_rows: most rows of a block.

        Returns:
            A scalar, not divided by the number of rows.
        """

        shift = bias if self.log_counts is None else bias - self.log_counts

        def block(part: slice) -> Tensor:
            positives, negatives = self.positives.of(part), self.negatives(part)
            losses = [
                weight * FORMS[form]((scale * x[part]) @ y.T + shift, positives, negatives)
                for x, y, weight in zip(self.x, self.y, self.view_weights, strict=True)
            ]
            return sum(losses[1:], start=losses[0])

        parts = [
            slice(start, min(start + block_rows, rows.stop))
            for start in range(rows.start, rows.stop, block_rows)
        ]
        if not parts:
            return 0 * (scale + self.x[0].sum())  # so that there is a gradient, of zeros
        if len(parts) == 1:
            return block(parts[0])
        losses = [
            checkpoint(block, part, use_reentrant=False, preserve_rng_state=False) for part in parts
        ]
        return torch.stack(losses).sum()
