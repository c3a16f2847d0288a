"""The Lightning module: an encoder, an objective and how they are optimized."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from pingraph.errors import PinGraphError
from pingraph.interfaces import Embeddings, PinBatch, PinContent
from pingraph.objectives import AlignmentObjective


class PinModule(LightningModule):
    """Trains an encoder jointly on image-text alignment and on neighbor alignment.

    AdamW (arXiv 1711.05101); the learning rate rises linearly and falls as a cosine to 0.

    Args:
        encoder: embeds pins from their content; has the shape of `interfaces.Encoder`.
        objective: what is minimized.
        learning_rate: its peak.
        weight_decay: of matrices; vectors (biases, norms, temperatures) are not decayed.
        warmup: share of the steps in which the learning rate rises.

    Raises:
        PinGraphError: a learning rate or weight decay below 0, or a warm-up outside 0 to 1.
    """

    def __init__(
        self,
        encoder: nn.Module,
        objective: AlignmentObjective,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.1,
        warmup: float = 0.1,
    ):
        super().__init__()
        if not 0 < learning_rate < math.inf or not 0 <= weight_decay < math.inf:
            raise PinGraphError(
                f"learning_rate is {learning_rate} and weight_decay {weight_decay}: "
                "expected a number above 0, and one of 0 or more"
            )
        if not 0 <= warmup < 1:
            raise PinGraphError(f"warmup is {warmup}: expected 0 up to below 1")
        self.encoder = encoder
        self.objective = objective
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.warmup = warmup

    def forward(self, content: PinContent) -> Embeddings:
        """Embed U pins from their content."""
        return self.encoder(content)

    def on_train_start(self) -> None:
        """Keep the seed that the run was given."""
        self._seed = torch.initial_seed()

    def on_train_batch_start(self, batch: PinBatch, batch_idx: int) -> None:
        """Draw dropout by (seed, rank, batch), so that an interrupted run goes on exactly."""
        key = np.random.SeedSequence([self._seed, self.global_rank, batch_idx])
        torch.manual_seed(int(key.generate_state(1)[0]))

    def training_step(self, batch: PinBatch, batch_idx: int) -> Tensor:
        """Return the total loss of a batch, and log its terms and what they rest on."""
        losses = self.objective(self.encoder(batch.content), batch)
        self.log("loss", losses.total, prog_bar=True, batch_size=len(batch.pins))
        self.log_dict(
            {
                "loss/image_text": losses.image_text,
                "loss/neighbor": losses.neighbor,
                "batch/pins": float(len(batch.pins)),
                "batch/positives_per_anchor": len(batch.positive_rows) / len(batch.anchors),
                "batch/board_mate_share": batch.board_mates.float().mean(),
                **{f"scale/{k}": v.exp() for k, v in self.objective.log_scale.items()},
            },
            batch_size=len(batch.pins),
        )
        if self.trainer.world_size == 1:
            return losses.total
        # Ranks wait for a gradient of each parameter, of those too that a batch has no use for.
        return losses.total + 0 * sum(p.sum() for p in self.parameters() if p.requires_grad)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return AdamW and the schedule over the steps of the run."""
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        matrices = [p for p in self.parameters() if p.ndim > 1]
        vectors = [p for p in self.parameters() if p.ndim <= 1 and p.requires_grad]
        optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": self.weight_decay},
                {"params": vectors, "weight_decay": 0.0},
            ],
            lr=self.learning_rate,
            betas=(0.9, 0.98),
        )
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

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the checkpoint of another model before any of it is loaded."""
        check_state(self, checkpoint.get("state_dict", {}), "the checkpoint")


def check_state(module: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Check that the weights `state` fit a module, by name and shape.

    Args:
        module: the module that is to load them.
        state: weights by name.
        source: where they come from, for the message.

    Raises:
        PinGraphError: they do not; the message names the first that differs.
    """
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in state.items()}
    for name in [*expected, *found]:
        if expected.get(name) != found.get(name):
            raise PinGraphError(
                f"{source} is of another model: {name} is {_shape(found.get(name))} there, "
                f"and {_shape(expected.get(name))} in this model"
            )


def _shape(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else f"of shape {list(shape)}"
