"""`pingraph fit`: Lightning's command line over our modules; each run writes a folder."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import yaml
from lightning import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from pingraph.audits import TrainingAudit
from pingraph.data import PinDataModule
from pingraph.errors import PinGraphError
from pingraph.fit_failures import RanksEndTogether, WholeSteps, clean_failure
from pingraph.mistakes import dropped_option, own_error
from pingraph.module import PinModule
from pingraph.parsing import ShortErrors
from pingraph.resuming import check_resumable
from pingraph.run_callbacks import (
    AtomicCheckpoints,
    RunCheckpoint,
    RunProgress,
    SaveConfig,
    WholeLogs,
)
from pingraph.run_files import CHECKPOINT_FILE

DEFAULTS = {
    "model.encoder": {
        "class_path": "pingraph.encoders.HybridEncoder",
        "init_args": {"backbone": {"class_path": "pingraph.encoders.SmallBackbone"}},
    },
    "model.objective": {"class_path": "pingraph.objectives.AlignmentObjective"},
    "data.split": {"class_path": "pingraph.splits.PinSplit"},
    "data.sampler": {"class_path": "pingraph.samplers.PinSAGESampler", "init_args": {"k": 50}},
}

# With all of it in another precision, the loss and lengths of 1 would not be float32.
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")

HELP = """Train an encoder on a data set and write a run folder for evaluate, embed and neighbors.

The most common options:

  --data.folder FOLDER                       a data set folder, or icons or world
  --trainer.default_root_dir FOLDER          the run folder to write
  --trainer.max_steps STEPS                  how long to train; if not given, 1,200 steps, or 10
                                             passes over the pins where that is longer
  --model.objective.neighbor_weight WEIGHT   of the graph; 0 trains on images and texts alone
  --data.sampler.k NUMBER                    neighbors that the sampler finds
  --ckpt_path FOLDER/checkpoints/last.ckpt   go on with an interrupted run

What is trained, and on what (docs/training.md tells of each):

  --model.encoder.backbone FOLDER            CLIP, SigLIP or Qwen-VL, all of it trained
  --model.objective.form FORM                softmax, multi_softmax or sigmoid
  --model.objective.bank_size NUMBER         embeddings of earlier batches as more negatives
  --model.objective.views '[{}, {dim: 32}]'  train the whole embeddings, and a short form
  --data.negatives+ CLASS                    such as pingraph.samplers.PopularityNegatives
  --data.batch_size NUMBER                   anchors of a batch
  --model.recompute true                     large batches in little memory, chunk by chunk
  --trainer.precision bf16-mixed             half precision

Any option can stand in a YAML file given by --config; --print_config prints one with everything.
Classes are chosen by their path and have options of their own:

  pingraph fit --data.sampler.help pingraph.samplers.PinSAGESampler
  pingraph fit --config mine.yaml --data.sampler my_module.MySampler --data.sampler.k 20
  pingraph fit --data.folder icons --model.encoder.backbone PretrainedBackbone \\
               --model.encoder.backbone.name FOLDER --model.encoder.backbone.tuning.train nothing
"""


class FitParser(ShortErrors, LightningArgumentParser):
    """Lightning's parser, with our errors."""


class PinCLI(LightningCLI):
    """LightningCLI whose runs each have a folder: trainer.default_root_dir."""

    def __init__(self, args: list[str]):
        self.args = args
        super().__init__(
            PinModule,
            PinDataModule,
            args=["fit", *args],
            parser_class=FitParser,
            parser_kwargs={
                "prog": "pingraph",
                "fit": {
                    "description": HELP,
                    "usage": "pingraph fit [--config FILE] [--OPTION VALUE ...]",
                },
            },
            seed_everything_default=0,
            auto_configure_optimizers=False,
            save_config_callback=SaveConfig,
            save_config_kwargs={"save_to_log_dir": False},
            trainer_defaults={
                "default_root_dir": "runs/default",
                "max_steps": -1,  # as many as the data needs: see `data`
                "enable_model_summary": False,
                "gradient_clip_val": 1.0,
                "log_every_n_steps": 10,
                # The data module deals the batches out to the ranks itself.
                "use_distributed_sampler": False,
            },
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Only fit: the other tasks of pingraph need no trainer."""
        return {"fit": {"model", "train_dataloaders", "val_dataloaders", "datamodule"}}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Set what the constructors can't hold, and give the data the encoder's sizes."""
        parser.set_defaults(DEFAULTS)
        parser.link_arguments("seed_everything", "data.seed", compute_fn=_checked_seed)
        parser.link_arguments("model.encoder", "data.encoder", apply_on="instantiate")
        parser.link_arguments(
            "model.objective", "data.count_pins", compute_fn=_uses_logq, apply_on="instantiate"
        )
        parser.link_arguments(
            "model.objective", "data.learn_walks", compute_fn=_aligns, apply_on="instantiate"
        )

    def before_instantiate_classes(self) -> None:
        """Give the parts of the objective that have to know it the width of the embeddings.

        Raises:
            PinGraphError: an option was typed before a class that lacks it.
        """
        if dropped := dropped_option(self.args, self.config["fit"]):
            raise PinGraphError(dropped)
        model = self.config["fit"]["model"]
        width = model.get("encoder.init_args.embed_dim")
        for part in ("bank_dim", "context.init_args.embed_dim"):
            if width is not None and f"objective.init_args.{part}" in model:
                model[f"objective.init_args.{part}"] = width

    def instantiate_classes(self) -> None:
        """Build the model, the data and the trainer.

        Raises:
            PinGraphError: an argument is wrong.
        """
        try:
            super().instantiate_classes()
        except Exception as error:
            ours = own_error(error)
            if ours is None:
                raise
            raise ours from None

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Return a trainer that logs and saves into the run folder."""
        trainer = self.config_init["fit"]["trainer"]
        if trainer["max_epochs"] == 0:
            raise PinGraphError("trainer.max_epochs is 0: nothing would be trained")
        # The epoch of some batches would be of the same ones each time.
        limit = trainer["limit_train_batches"]
        if limit is not None and not (isinstance(limit, float) and limit == 1.0):  # 1 is one batch
            raise PinGraphError(
                f"trainer.limit_train_batches is {limit}: expected none, since trainer.max_steps "
                "says how long to train"
            )
        folder = Path(trainer["default_root_dir"])
        if trainer["logger"] is None:
            kwargs["logger"] = [CSVLogger(folder, "csv"), WholeLogs(folder, "tensorboard")]
        callbacks = [*_listed(trainer["callbacks"]), WholeSteps(), RanksEndTogether()]
        if trainer["log_every_n_steps"]:
            callbacks.append(TrainingAudit(trainer["log_every_n_steps"]))
        # Of fast_dev_run nothing is kept: half a run could neither be read nor gone on with.
        if trainer["enable_checkpointing"] is not False and not trainer["fast_dev_run"]:
            callbacks.append(RunCheckpoint(folder / CHECKPOINT_FILE))
        if trainer["enable_progress_bar"] is not False:
            callbacks.append(RunProgress(refresh_rate=5))
        kwargs["callbacks"] = callbacks
        kwargs["plugins"] = [*_listed(trainer["plugins"]), AtomicCheckpoints()]
        try:
            made = super().instantiate_trainer(**kwargs)
        except (MisconfigurationException, TypeError, ValueError) as error:
            raise PinGraphError(f"trainer: {str(error).splitlines()[0]}") from error
        if made.precision not in PRECISIONS:
            expected = ", ".join(PRECISIONS)
            raise PinGraphError(f"trainer.precision is {made.precision!r}: expected {expected}")
        return made

    def fit(self, **kwargs: Any) -> None:
        """Train; Lightning calls this for the subcommand."""
        folder, first = Path(self.trainer.default_root_dir), self.trainer.is_global_zero
        with clean_failure(folder, self.args, alone=first):
            self.trainer.fit(**kwargs)

    def before_fit(self) -> None:
        """Keep an earlier run from being written over, by another one or by a wrong checkpoint.

        Raises:
            PinGraphError: the folder is a file; it holds a run, and no checkpoint was given to go
                on from; or the run cannot go on from the checkpoint.
        """
        folder = Path(self.trainer.default_root_dir)
        checkpoint = self.config_init["fit"]["ckpt_path"]
        if folder.exists() and not folder.is_dir():
            raise PinGraphError(f"{folder} is a file: expected a folder to write the run to")
        if checkpoint is None and (folder / CHECKPOINT_FILE).exists():
            raise PinGraphError(
                f"{folder} already holds a run: go on with it by --ckpt_path "
                f"{folder / CHECKPOINT_FILE}, or choose a folder by --trainer.default_root_dir"
            )
        if checkpoint is not None:
            config = yaml.safe_load(self._parser("fit").dump(self.config["fit"], skip_none=False))
            check_resumable(Path(checkpoint), folder, self.model, config)

    def _parse_ckpt_path(self) -> None:
        """Leave the options as they are given: Lightning would take the model's from the file."""


def fit(args: list[str]) -> Path:
    """Train a model as the arguments of `pingraph fit` say, and return its run folder.

    Raises:
        PinGraphError: something in the arguments, the data or the folder is wrong.
    """
    quiet()
    return Path(PinCLI(args).trainer.default_root_dir)


def _checked_seed(seed: int) -> int:
    # True would draw one, and False leave torch to chance: no run could be made again.
    if isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise ValueError(f"seed_everything is {seed}: expected 0 to {2**32 - 1}")
    return int(seed)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _uses_logq(objective: Any) -> bool:
    return getattr(objective, "logq", False)


def _aligns(objective: Any) -> bool:
    return bool(getattr(objective, "neighbor_pairs", True))


def quiet() -> None:
    """Leave out Lightning's advertisements and the advice that does not fit this job."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        "LightningCLI's args parameter is intended",
        "`max_epochs` was not set",
        "Found .* in eval mode at the start of training",  # of a backbone, the frozen parts
        "You're resuming from a checkpoint that ended before the epoch ended",  # BatchLoader can
        "The number of training batches .* is smaller than the logging interval",
        "Experiment logs directory .* exists and is not empty",
        "Checkpoint directory .* exists and is not empty",
        "The dirpath has changed from",  # of a run folder that was moved
        ".*treespec, LeafSpec",  # Lightning on a newer torch
    ):
        warnings.filterwarnings("ignore", message)
