"""What a training writes and shows: configuration, logs, checkpoints, a progress bar."""

from __future__ import annotations

import contextlib
import io
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO

from pingraph.errors import PinGraphError
from pingraph.files import atomic_file
from pingraph.interrupts import Uninterrupted
from pingraph.run_files import CONFIG_FILE

# A large model takes seconds to save; this keeps it to a few percent of the time.
EVERY = timedelta(minutes=2)


class SaveConfig(SaveConfigCallback):
    """Writes the whole configuration into the run folder."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write config.yaml."""
        with atomic_file(Path(trainer.default_root_dir) / CONFIG_FILE) as temporary:
            temporary.write_text(self.parser.dump(self.config, skip_none=False), encoding="utf-8")


class WholeLogs(TensorBoardLogger):
    """A TensorBoard log that Ctrl-C does not leave half written to.

    Its writer is a thread: a wake-up call that is cut in two is lost, and the training would wait
    for the thread, up to two minutes, before it ends.
    """

    def log_metrics(self, *args: Any, **kwargs: Any) -> None:
        """Write a row, and only then do what Ctrl-C does."""
        with Uninterrupted():
            super().log_metrics(*args, **kwargs)


class RunProgress(TQDMProgressBar):
    """A bar over the batches of the run, which to Lightning are one epoch."""

    @property
    def train_description(self) -> str:
        """The name of the run folder."""
        return Path(self.trainer.default_root_dir).name

    def init_train_tqdm(self) -> Tqdm:
        """Show the bar on standard error: standard output is for results."""
        with contextlib.redirect_stdout(sys.stderr):
            bar = super().init_train_tqdm()
        bar.total = self.total_train_batches  # which a run that goes on is not told else
        return bar

    @property
    def total_train_batches(self) -> int | float:
        """All batches of the run; Lightning counts steps, and leaves out those before."""
        return self.trainer.num_training_batches

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        """Keep the name: Lightning puts "Epoch 0" in its place."""
        super().on_train_epoch_start(trainer)
        self.train_progress_bar.set_description(self.train_description)

    def on_exception(self, trainer: Trainer, *_: Any) -> None:
        """End the line of the bar, lest the error stands behind it."""
        if self._train_progress_bar is not None:
            self.train_progress_bar.close()

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Leave out the loggers' version numbers."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics


class RunCheckpoint(ModelCheckpoint):
    """Keeps the newest state: now and then, when training stops for whatever reason, at the end."""

    def __init__(self, path: Path):
        super().__init__(
            dirpath=path.parent,
            filename=path.stem,
            train_time_interval=EVERY,
            save_on_exception=True,
            enable_version_counter=False,
        )
        self.path = path
        self.started = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take note that there is a state to keep."""
        super().on_train_start(trainer, pl_module)
        self.started = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save now and then, but not between the batches of a step, whose gradients would go."""
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the last finite weights.

        Raises:
            PinGraphError: a weight is not finite; nothing is written then.
        """
        for name, weight in pl_module.named_parameters():
            if not weight.isfinite().all():
                raise PinGraphError(
                    f"after step {trainer.global_step} {name} is not finite, so nothing is saved "
                    "of it; a new run with a lower --model.learning_rate may help"
                )

    def on_exception(self, trainer: Trainer, *others: Any) -> None:
        """Save, unless training has not begun: the checkpoint that was being read is whole."""
        if self.started:
            # No checkpoint holds the gradients of a step's first batches: they are done again.
            batches: Any = trainer.fit_loop.epoch_loop.batch_progress.current
            batches.completed -= batches.processed % trainer.accumulate_grad_batches
            super().on_exception(trainer, *others)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save what is not saved yet."""
        trainer.save_checkpoint(self.path)


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes checkpoints all or nothing: a full disk leaves the one before."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, *_: Any, **__: Any) -> None:
        """Write a checkpoint.

        Raises:
            PinGraphError: it cannot be written.
        """
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        with atomic_file(path) as temporary:
            temporary.write_bytes(buffer.getbuffer())
