"""The Lightning module: an encoder, an objective and how they are optimized."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from lightning import LightningModule
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pingraph.audits import effective_rank, gradient_norms, modality_gap
from pingraph.batches import rows_of_ranks
from pingraph.errors import PinGraphError
from pingraph.gathering import gather_rows
from pingraph.interfaces import Embeddings, PinBatch, PinContent, Relations
from pingraph.objectives import AlignmentObjective
from pingraph.weights import check_state


class PinModule(LightningModule):
    """Trains an encoder jointly on image-text alignment and on neighbor alignment.

    AdamW (arXiv 1711.05101); the learning rate rises linearly and falls as a cosine to 0. The
    loss of a batch, its gradient and its dropout are the same on one rank and on several, up to
    rounding: each rank encodes some of the batch's chunks, all get the embeddings of all pins, and
    each sums its share of the loss.

    Args:
        encoder: embeds pins from their content; has the shape of `interfaces.Encoder`.
        objective: what is minimized.
        learning_rate: its peak.
        weight_decay: of matrices; vectors (biases, norms, temperatures) are not decayed.
        warmup: share of the steps in which the learning rate rises.
        recompute: keep no activations of a chunk and compute them again for its gradient, so that
            memory grows with the chunk and not with the batch (GradCache, arXiv 2101.06983), for
            one more forward pass.
        compile: run the encoder through torch.compile, of a `HybridEncoder` the layers of its
            backbone; it pays on a GPU.

    Raises:
        PinGraphError: a learning rate or weight decay below 0, or a warm-up outside 0 to 1; a view
            is wider than the embeddings, or the encoder lacks the only part that has neighbors.
    """

    def __init__(
        self,
        encoder: nn.Module,
        objective: AlignmentObjective,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.1,
        warmup: float = 0.1,
        recompute: bool = False,
        compile: bool = False,
    ):
        super().__init__()
        if not 0 < learning_rate < math.inf or not 0 <= weight_decay < math.inf:
            raise PinGraphError(
                f"learning_rate is {learning_rate} and weight_decay {weight_decay}: "
                "expected a number above 0, and one of 0 or more"
            )
        if not 0 <= warmup < 1:
            raise PinGraphError(f"warmup is {warmup}: expected 0 up to below 1")
        _check_fit(encoder, objective)
        self.encoder = encoder
        self.objective = objective
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.warmup = warmup
        self.recompute = recompute
        if compile:
            self.encoder.compile(dynamic=True)  # batches differ in size: compiled once for all

    def forward(self, content: PinContent) -> Embeddings:
        """Embed U pins from their content."""
        return self.encoder(content)

    def on_train_start(self) -> None:
        """Keep the seed that the run was given."""
        self._seed = torch.initial_seed()
        self._to_keep: list[tuple[Embeddings, Relations]] = []  # batches of the step

    def training_step(self, batch: PinBatch, batch_idx: int) -> Tensor:
        """Return this rank's part of a batch's loss, and log its terms and what they rest on."""
        rank, ranks = self.global_rank, self.trainer.world_size
        relations = batch.relations
        embeddings = self.embed(batch)
        if not batch_idx:
            _warn_of_idle_graph(self.objective, embeddings, relations)
        losses = self.objective(embeddings, relations, rank=rank, ranks=ranks)
        if getattr(self.objective, "bank", None) is not None:
            self._to_keep.append((_detached(embeddings), relations))
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and (self.global_step + 1) % every == 0:
            self._audit(embeddings, losses.terms)
        # Of the ranks' parts the mean is taken, of the gradients too; the loss is their sum.
        total = losses.total * ranks
        self._terms = {name: term.detach() * ranks for name, term in losses.terms.items()}
        logged = {f"loss/{name}": term for name, term in self._terms.items()}
        self.log("loss", total, prog_bar=True, sync_dist=ranks > 1, batch_size=1)
        self.log_dict(
            {
                **logged,
                "batch/pins": float(len(relations.pins)),
                "batch/positives_per_anchor": len(relations.positive_rows) / len(relations.anchors),
                "batch/board_mate_share": losses.board_mate_share * ranks,
                **{f"scale/{name}": scale for name, scale in self.objective.scales().items()},
            },
            sync_dist=ranks > 1,
            batch_size=1,
        )
        if ranks == 1:
            return total
        # Ranks wait for a gradient of each parameter, of those too that a batch has no use for.
        return total + 0 * sum(p.sum() for p in self.parameters() if p.requires_grad)

    def _audit(self, embeddings: Embeddings, terms: dict[str, Tensor]) -> None:
        weighted = {**terms, "neighbor": self.objective.neighbor_weight * terms["neighbor"]}
        pulls = gradient_norms(weighted, embeddings, ranks=self.trainer.world_size)
        self.log_dict(
            {
                "audit/effective_rank": effective_rank(embeddings.fused),
                "audit/modality_gap": modality_gap(embeddings),
                **{f"audit/pull_{name}": norm for name, norm in pulls.items()},
            },
            batch_size=1,
        )

    def embed(self, batch: PinBatch) -> Embeddings:
        """Embed the U pins of a batch, of which other ranks encode some, chunk by chunk."""
        own = []
        for chunk, content in enumerate(batch.content, start=batch.first_chunk):
            key = np.random.SeedSequence([self._seed, batch.index, chunk])
            word = int(key.generate_state(1)[0])
            if self.recompute:
                own.append(
                    checkpoint(
                        self._encode, content, word, use_reentrant=False, preserve_rng_state=False
                    )
                )
            else:
                own.append(self._encode(content, word))
        joined = {
            field.name: torch.cat([getattr(part, field.name) for part in own])
            for field in fields(Embeddings)
            if getattr(own[0], field.name) is not None
        }
        ranks = self.trainer.world_size
        if ranks > 1:
            sizes = rows_of_ranks(batch.bounds, ranks)
            joined = {name: gather_rows(rows, sizes) for name, rows in joined.items()}
        return Embeddings(**joined)

    def _encode(self, content: PinContent, word: int) -> Embeddings:
        torch.manual_seed(word)  # dropout by (seed, batch, chunk): a run that goes on is exact
        return self.encoder(content)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return AdamW and the schedule over the steps of the run."""
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        optimizer = torch.optim.AdamW(self._groups(), lr=self.learning_rate, betas=(0.9, 0.98))
        rise = max(1, round(self.warmup * steps))

        def factor(step: int) -> float:
            if step < rise:
                return (step + 1) / rise
            return (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise))) / 2

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Make a step, then let the bank see its batches: of a step that fails it has none."""
        super().optimizer_step(*args, **kwargs)
        bank = getattr(self.objective, "bank", None)
        if bank is not None:
            for embeddings, relations in self._to_keep:
                bank.push(embeddings, relations)
            self._to_keep.clear()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Stop before a step that would make all weights NaN.

        Raises:
            PinGraphError: the loss or its gradient is not finite. In 16-mixed a gradient may be,
                as its scaler leaves such a step out and scales less at the next one; not with a
                scale below 1, where it is no overflow of the scale.
        """
        gradients = [one.grad for one in self.parameters() if one.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        if scaler is not None and scaler.get_scale() >= 1:
            norm = torch.zeros_like(norm)
        if not sum(self._terms.values(), norm).isfinite():  # one wait for the device
            values = {**self._terms, "norm of the gradient": norm}
            found = ", ".join(f"{name} {float(value):g}" for name, value in values.items())
            raise PinGraphError(
                f"the loss of step {self.global_step + 1} or its gradient is not finite ({found}); "
                "a new run with a lower --model.learning_rate may help"
            )

    def _groups(self) -> list[dict[str, Any]]:
        """The trained parameters by their weight decay and by the scale of their learning rate."""
        scales: dict[str, float] = getattr(self.encoder, "learning_rate_scales", dict)()
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                decay = self.weight_decay if parameter.ndim > 1 else 0.0
                scale = scales.get(name.removeprefix("encoder."), 1.0)
                groups.setdefault((decay, scale), []).append(parameter)
        return [
            {"params": parameters, "weight_decay": decay, "lr": scale * self.learning_rate}
            for (decay, scale), parameters in groups.items()
        ]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the checkpoint of another model before any of it is loaded."""
        check_state(self, checkpoint.get("state_dict", {}), "the checkpoint")


def _warn_of_idle_graph(
    objective: AlignmentObjective, embeddings: Embeddings, relations: Relations
) -> None:
    """Warn where the first batch has nothing that the graph could teach."""
    if not objective.neighbor_pairs:
        return
    if (relations.neighbors < 0).all():
        rank_zero_warn(
            f"none of the {len(relations.anchors)} anchors of the first batch has a neighbor; "
            "if it stays so, nothing is learned from the graph: `pingraph sample` tells what "
            "the sampler finds"
        )
    present = {"image": embeddings.has_image, "text": embeddings.has_text}
    lacking = [name for name, has in present.items() if not has.any()]
    if all({x, y} & {*lacking} for x, y in objective.neighbor_pairs):
        pairs = ", ".join(f"{x}->{y}" for x, y in objective.neighbor_pairs)
        rank_zero_warn(
            f"none of the {len(embeddings.has_image)} pins of the first batch has any "
            f"{' or '.join(lacking)}; if it stays so, nothing is learned from the graph, since "
            f"neighbor_pairs has {pairs} alone"
        )


def _check_fit(encoder: nn.Module, objective: AlignmentObjective) -> None:
    """Check what can be told before the first batch, whose frozen features may take hours."""
    width = getattr(encoder, "embed_dim", math.inf)
    for view in objective.views:
        if view.dim > width:
            raise PinGraphError(
                f"views has one of dim {view.dim}: the encoder's embed_dim is {width}"
            )
    lacks = getattr(encoder, "shallow", encoder) is None  # that of a user may not tell
    if lacks and set(objective.neighbor_pairs) == {("shallow", "shallow")}:
        raise PinGraphError(
            "neighbor_pairs has shallow->shallow alone, but the encoder has no shallow part: "
            "nothing would be learned from the graph"
        )


def _detached(embeddings: Embeddings) -> Embeddings:
    return replace(
        embeddings,
        image=embeddings.image.detach(),
        text=embeddings.text.detach(),
        fused=embeddings.fused.detach(),
        shallow=None if embeddings.shallow is None else embeddings.shallow.detach(),
    )
