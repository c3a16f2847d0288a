"""What to watch while training: spread and gap of the embeddings, pull of each term, speed.

U pins of a batch, D channels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from time import perf_counter
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor, distributed
from torch.nn.functional import normalize

from pingraph.errors import PinGraphError
from pingraph.interfaces import Embeddings, PinBatch


def effective_rank(vectors: Tensor) -> float:
    """Return in how many directions vectors spread: RankMe (arXiv 2210.02885).

    exp(−Σ p log p), p the singular values over their sum: 1 when all lie on a line, min(N, D) when
    they spread alike in all directions. The singular values are the roots of the eigenvalues of the
    D × D product, taken in float64, so the cost is N D² and no decomposition of N × D.

    Args:
        vectors: float [N, D]; zero rows change nothing.

    Returns:
        1 up to min(N, D), or 0 when all vectors are zero; NaN when a number is not finite.
    """
    wide = vectors.detach().double()
    if not wide.isfinite().all():
        return math.nan
    sizes = torch.linalg.eigvalsh(wide.T @ wide).clamp(min=0).sqrt()
    if not sizes.any():
        return 0.0
    return float(torch.special.entr(sizes / sizes.sum()).sum().exp())


def modality_gap(embeddings: Embeddings) -> float:
    """Return the distance of the mean image from the mean text (arXiv 2203.02053), 0 up to 2.

    The means are over the pins that have both; NaN if none has.
    """
    both = embeddings.has_image & embeddings.has_text
    means = [vectors.detach()[both].mean(0) for vectors in (embeddings.image, embeddings.text)]
    return float((means[0] - means[1]).norm())


def gradient_norms(
    terms: Mapping[str, Tensor], embeddings: Embeddings, *, ranks: int = 1
) -> dict[str, float]:
    """Return how strongly each term of a loss pulls at the embeddings of a batch.

    It is the norm of the term's gradient with respect to image, text, fused and shallow together,
    without the part along each vector: vectors have length 1, so that part moves nothing.
    The graph is kept, and no gradient is stored in it; the encoder is not run backward.

    Args:
        terms: scalars computed from the embeddings, by name; shares that add up over the ranks.
        embeddings: of the U pins, those that the terms were computed from.
        ranks: processes that each have a share of the terms and call this together; their
            gradients are added before the norm.

    Returns:
        A norm for each term, 0 for one that does not depend on the embeddings.
    """
    parts = (embeddings.image, embeddings.text, embeddings.fused, embeddings.shallow)
    vectors = [part for part in parts if part is not None and part.requires_grad]
    return {name: _norm(term, vectors, ranks) for name, term in terms.items()}


def _norm(term: Tensor, vectors: list[Tensor], ranks: int) -> float:
    found: list[Tensor | None] = [None] * len(vectors)
    if term.requires_grad and vectors:
        found = list(torch.autograd.grad(term, vectors, retain_graph=True, allow_unused=True))
    squares = 0.0
    for gradient, like in zip(found, vectors, strict=True):
        pull = torch.zeros_like(like) if gradient is None else gradient.detach()
        if ranks > 1:
            pull = pull.clone()
            distributed.all_reduce(pull)
        along = normalize(like.detach(), dim=1)
        pull = pull - (pull * along).sum(1, keepdim=True) * along
        squares += float(pull.double().square().sum())
    return squares**0.5


class TrainingAudit(Callback):
    """Logs the speed of training, over the steps since it was last logged.

    speed/pins_per_second: distinct pins of the batches over the time on the clock.
    speed/data_wait_share: of that time, the share from the end of a step to the start of the next,
    in which a batch is waited for and moved to the device. On a GPU that still works on the step
    before, less of it is lost. What a checkpoint delays is left out of the clock.
    speed/encoded_per_pin: pins encoded on all ranks over distinct pins; 1 if none is encoded twice.

    Args:
        every_n_steps: how often, a multiple of the trainer's `log_every_n_steps`, since Lightning
            drops what is logged in other steps.

    Raises:
        PinGraphError: every_n_steps is below 1.
    """

    def __init__(self, every_n_steps: int = 10):
        if every_n_steps < 1:
            raise PinGraphError(f"every_n_steps is {every_n_steps}: expected 1 or more")
        self.every_n_steps = every_n_steps

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the clock to nothing.

        Raises:
            PinGraphError: what is logged would be dropped.
        """
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and self.every_n_steps % every:
            raise PinGraphError(
                f"every_n_steps is {self.every_n_steps}: expected a multiple of "
                f"trainer.log_every_n_steps, {every}"
            )
        self._ended: float | None = None
        self._saved = False
        self._logged = trainer.global_step
        self._restart()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: PinBatch, batch_idx: int
    ) -> None:
        """Count what the batch was waited for."""
        now = perf_counter()
        if self._ended is not None and not self._saved:
            self._waited += now - self._ended
            self._passed += now - self._ended
        self._saved = False
        self._started = now

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: PinBatch,
        batch_idx: int,
    ) -> None:
        """Count the pins, and log now and then."""
        self._ended = perf_counter()
        self._passed += self._ended - self._started
        self._pins += len(batch.relations.pins)
        self._encoded += sum(len(content.has_image) for content in batch.content)
        step = trainer.global_step
        if step % self.every_n_steps or step == self._logged:
            return
        ranks = trainer.world_size
        pl_module.log_dict(
            {
                "speed/pins_per_second": self._pins / max(self._passed, 1e-9),
                "speed/data_wait_share": self._waited / max(self._passed, 1e-9),
                # The mean over the ranks is logged.
                "speed/encoded_per_pin": ranks * self._encoded / self._pins,
            },
            sync_dist=ranks > 1,
            batch_size=1,
        )
        self._logged = step
        self._restart()

    def on_save_checkpoint(self, *_: Any) -> None:
        """Take note that the time until the next batch is not the data's."""
        self._saved = True

    def _restart(self) -> None:
        self._passed = self._waited = 0.0
        self._pins = self._encoded = 0
