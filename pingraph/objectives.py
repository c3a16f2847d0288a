"""What training asks for: images near their texts, pins near their neighbors on the graph.

B anchors, U pins of the batch, M columns (those pins, and those of a bank), D embedding dimension.
"""

import math
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, nn

from pingraph.batch_alignments import BatchAlignments
from pingraph.embedding_bank import EmbeddingBank
from pingraph.errors import PinGraphError
from pingraph.false_negatives import board_mate_share
from pingraph.gathering import share_of
from pingraph.interfaces import Embeddings, Relations
from pingraph.losses import FORMS, Alignment, Form, bounded_scale, check_temperature
from pingraph.neighbor_context import NeighborContext
from pingraph.views import View

MODALITIES = ("image", "text", "fused")
PAIRS = {"image-text": 1.0, "fused-image": 0.25, "fused-text": 0.25}
NEIGHBORS = {"fused->fused": 1.0, "shallow->shallow": 1.0}
_TERMS = ("image_text", "neighbor")
NEIGHBOR_PAIRS = (*(f"{x}->{y}" for x, y in product(MODALITIES, MODALITIES)), "shallow->shallow")


@dataclass(frozen=True, kw_only=True)
class Losses:
    """What a rank adds to the objective: the sums over ranks are the values of the batch."""

    total: Tensor  # what is minimized
    terms: dict[str, Tensor]  # "image_text" and "neighbor", not weighted; weighted, the context's
    board_mate_share: Tensor  # of the pairs of an anchor and another pin of the batch


class AlignmentObjective(nn.Module):
    """Image-text alignment plus λ times neighbor alignment, after PinCLIP (arXiv 2603.03544).

    *Image-text*: of all pins in the batch, a pin's image finds its own text and the reverse
    (CLIP, arXiv 2103.00020); its fused embedding finds both, so that all three live in one space.
    The pins' twins (same image or same text to the byte) are no negatives.

    *Neighbor*: an anchor's fused embedding finds those of its walk neighbors in the batch, each
    counting by its share of the visits. All its neighbors, board-mates and twins are no negatives.
    So does its shallow part by itself, where the encoder has one, so that it learns more than what
    the deep parts leave over.

    Args:
        neighbor_weight: λ; 0 leaves the graph out and gives the image-text baseline.
        form: "softmax" of each positive pair by itself, "multi_softmax" with an anchor's other
            positives in the denominator, or "sigmoid" of each pair, negatives too, by itself.
        pairs: weights of the pairs within a pin, symmetric, of "image-text", "fused-image" and
            "fused-text"; None stands for 1, 0.25 and 0.25. A pair that is not named has weight 0.
        neighbor_pairs: weights of the pairs from an anchor's modality to its neighbors', such as
            {"image->text": 0.5}, of image, text and fused, and "shallow->shallow", which counts
            where the encoder has a shallow part; None stands for that one and "fused->fused", each
            of weight 1.
        temperature: initial temperature of the softmax forms, 0.01 or more; learned from there, by
            term.
        mask_false_negatives: leave out twins, board-mates and sampled neighbors as negatives; else
            only the pin itself and its positives in the batch.
        logq: subtract log_counts of a column from its logits (Yi et al., RecSys 2019), so that a
            pin is not pushed away more for coming more often.
        bank_size: most pins of earlier batches that are negatives of the neighbor term.
        bank_dim: dimension D of the embeddings, which a bank has to know from the start;
            `pingraph fit` takes the encoder's.
        views: short forms of the embeddings to train as well; each loss is the mean over them by
            their weights. None stands for the whole embeddings.
        context: lets pins see their neighbors in training, with terms of its own.
        block_rows: rows of a loss that are computed at once. Memory grows with block_rows x M.

    Raises:
        PinGraphError: a weight, size or temperature out of range, an unknown form or pair, or
            nothing to learn.
    """

    def __init__(
        self,
        neighbor_weight: float = 1.0,
        form: Form = "softmax",
        pairs: dict[str, float] | None = None,
        neighbor_pairs: dict[str, float] | None = None,
        temperature: float = 0.07,
        mask_false_negatives: bool = True,
        logq: bool = False,
        bank_size: int = 0,
        bank_dim: int = 128,
        views: list[View] | None = None,
        context: NeighborContext | None = None,
        block_rows: int = 1024,
    ):
        super().__init__()
        pairs = dict(PAIRS) if pairs is None else pairs
        neighbor_pairs = dict(NEIGHBORS) if neighbor_pairs is None else neighbor_pairs
        _check_weight("neighbor_weight", neighbor_weight)
        _check_pairs("pairs", pairs, tuple(PAIRS))
        _check_pairs("neighbor_pairs", neighbor_pairs, NEIGHBOR_PAIRS)
        _check(form, temperature, bank_size, block_rows)
        self.neighbor_weight = neighbor_weight
        self.form = form
        self.pairs = _split(pairs, "-")
        self.neighbor_pairs = _split(neighbor_pairs if neighbor_weight else {}, "->")
        if not self.pairs and not self.neighbor_pairs:
            raise PinGraphError("pairs and neighbor_pairs have no weight above 0: nothing to learn")
        self.mask_false_negatives = mask_false_negatives
        self.logq = logq
        self.views = [View()] if views is None else views
        if not self.views:
            raise PinGraphError("views is empty: expected one or more, or none given")
        self.context = context
        self.block_rows = block_rows
        # SigLIP starts at scale 10 and bias -10, so that the many negatives do not swamp step 1.
        scale, bias = (10.0, -10.0) if form == "sigmoid" else (1 / temperature, 0.0)
        self.log_scale = nn.ParameterDict(
            {term: nn.Parameter(torch.tensor(math.log(scale))) for term in _TERMS}
        )
        self.bias = nn.ParameterDict(
            {
                term: nn.Parameter(torch.tensor(bias), requires_grad=form == "sigmoid")
                for term in _TERMS
            }
        )
        self.bank = None
        if bank_size:
            if not self.neighbor_pairs:
                raise PinGraphError(
                    f"bank_size is {bank_size}, but nothing is aligned with neighbors, and a bank "
                    "holds negatives of that term alone"
                )
            modalities = dict.fromkeys(y for _, y in self.neighbor_pairs)
            self.bank = EmbeddingBank(bank_size, bank_dim, tuple(modalities))

    def forward(
        self, embeddings: Embeddings, relations: Relations, *, rank: int = 0, ranks: int = 1
    ) -> Losses:
        """Compute a rank's share of the losses of a batch: those of some of its rows.

        Args:
            embeddings: of the U pins of the batch, of all ranks.
            relations: who is a neighbor, a board-mate and a twin of whom; on the same device.
            rank: this process among
            ranks: those that share the rows.

        Returns:
            Scalars, float32 under autocast too. Their sums over the ranks are the losses of the
            batch, and so are those of their gradients. A term without any pair is 0.

        Raises:
            PinGraphError: the embeddings do not fit the relations or the bank; a term has positives
                and no negative at all, though others have the modality; or a log count that `logq`
                needs is missing.
        """
        with torch.autocast(embeddings.fused.device.type, enabled=False):
            batch = self._alignments(embeddings, relations)
            pairs = {
                "image_text": [
                    (weight / 2, batch.within(*names))
                    for (x, y), weight in self.pairs.items()
                    for names in ((x, y), (y, x))
                ],
                "neighbor": [
                    (weight, batch.neighbors(x, y))
                    for (x, y), weight in self.neighbor_pairs.items()
                ],
            }
            terms = {name: self._term(name, pairs[name], rank, ranks) for name in _TERMS}
            total = terms["image_text"] + self.neighbor_weight * terms["neighbor"]
            if self.context is not None:
                found = self.context(batch.fused, relations, rank=rank, ranks=ranks)
                total = total + sum(found.values())
                terms |= found
        anchors = share_of(rank, ranks, len(relations.anchors))
        mates = board_mate_share(batch.own, relations, anchors, self.block_rows)
        return Losses(total=total, terms=terms, board_mate_share=mates)

    def scales(self) -> dict[str, Tensor]:
        """Return the learned scale of the logits of each term that has one, without gradient."""
        found = {name: one.detach().exp() for name, one in self.log_scale.items()}
        if self.context is not None:
            found["context"] = self.context.log_scale.detach().exp()
        return found

    def _alignments(self, embeddings: Embeddings, relations: Relations) -> BatchAlignments:
        kept = None
        if self.bank is not None:
            self.bank.check(embeddings)
            kept = self.bank.beside(relations.pins)
        return BatchAlignments(
            embeddings,
            relations,
            kept,
            views=self.views,
            mask_false_negatives=self.mask_false_negatives,
            logq=self.logq,
        )

    def _term(
        self, name: str, pairs: list[tuple[float, Alignment]], rank: int, ranks: int
    ) -> Tensor:
        scale = bounded_scale(self.log_scale[name])
        _check_negatives(name, [alignment for _, alignment in pairs])
        total = scale.new_zeros(())
        for weight, alignment in pairs:
            rows = share_of(rank, ranks, len(alignment))
            loss = alignment.loss(self.form, scale, self.bias[name], rows, self.block_rows)
            total = total + weight * loss / max(1, len(alignment))
        return total


_NO_NEGATIVES = {
    "image_text": (
        "twins, of the same image or the same text",
        "pins of more images and texts, or larger batches",
    ),
    "neighbor": (
        "twins, board-mates or neighbors",
        "larger batches (--data.batch_size), a sampler that finds fewer neighbors "
        "(--data.sampler.k), or --model.objective.mask_false_negatives false",
    ),
}


def _check_negatives(term: str, alignments: list[Alignment]) -> None:
    # Where one pin alone has the modality there is none to tell it from, which is nobody's fault.
    told = [one for one in alignments if len(one) and one.present.sum() > 1]
    rows = sum(len(alignment) for alignment in told)
    if told and not any(alignment.has_negatives() for alignment in told):
        why, remedy = _NO_NEGATIVES[term]
        raise PinGraphError(
            f"the {term} term has {rows} rows with positives and no negative for any: all other "
            f"pins of the batch are {why}; expected {remedy}"
        )


def _split(pairs: dict[str, float], separator: str) -> dict[tuple[str, str], float]:
    """The pairs of a weight above 0, by their two modalities."""
    found = {}
    for name, weight in pairs.items():
        x, y = name.split(separator)
        if weight:
            found[x, y] = weight
    return found


def _check_pairs(name: str, pairs: dict[str, float], known: tuple[str, ...]) -> None:
    for pair, weight in pairs.items():
        if pair not in known:
            raise PinGraphError(f"{name} has {pair!r}: expected one of {', '.join(known)}")
        _check_weight(f"{name}[{pair!r}]", weight)


def _check_weight(name: str, weight: float) -> None:
    if not 0 <= weight < math.inf:
        raise PinGraphError(f"{name} is {weight}: expected a number of 0 or more")


def _check(form: str, temperature: float, bank_size: int, block_rows: int) -> None:
    if form not in FORMS:
        raise PinGraphError(f"form is {form!r}: expected one of {', '.join(FORMS)}")
    check_temperature(temperature)
    if bank_size < 0:
        raise PinGraphError(f"bank_size is {bank_size}: expected 0 (no bank) or more")
    if block_rows < 1:
        raise PinGraphError(f"block_rows is {block_rows}: expected 1 or more")
