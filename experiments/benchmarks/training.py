"""How much of a bare PyTorch loop's speed training has, how long it waits, and what it holds.

python -m pingraph.experiments.benchmarks.training [--quick] [--json FILE]
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from statistics import mean
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from pingraph.augmentation import Augmentation
from pingraph.batches import PinBatches
from pingraph.content import ContentReader
from pingraph.datasets import open_dataset
from pingraph.devices import default_device, moved
from pingraph.encoders import HybridEncoder
from pingraph.experiments.benchmarks.common import Heat, parse_arguments, report
from pingraph.experiments.benchmarks.training_memory import memory_heat, objective_heat
from pingraph.fit import fit
from pingraph.interfaces import Embeddings, PinBatch
from pingraph.objectives import AlignmentObjective
from pingraph.samplers import PinSAGESampler
from pingraph.splits import PinSplit
from pingraph.training_pins import TrainingPins

WARM = 5  # steps that are not timed
_CLOCKS: list["Clock"] = []


class Clock(Callback):
    """Times the steps after the first ones, and keeps what was logged of them."""

    def __init__(self) -> None:
        _CLOCKS.append(self)
        self.logged: dict[str, list[Tensor]] = {}
        self.pins = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: PinBatch, *_: Any
    ) -> None:
        """Start after the warm-up, stop after the last step."""
        step = trainer.global_step
        if step == WARM:
            self.started = now()
        elif step > WARM:
            self.pins += len(batch.relations.pins)
            # This callback stands before those that log, so what it sees is of the step before.
            if (step - 1) % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
                for name, value in trainer.callback_metrics.items():
                    self.logged.setdefault(name, []).append(value)
        if step == trainer.max_steps:
            self.seconds = now() - self.started


def now() -> float:
    """Return the time, when all that a GPU was told to do is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def lightning_run(options: Sequence[str], steps: int) -> Clock:
    """Train with `pingraph fit` as it is: loggers, audits, checkpoints."""
    with tempfile.TemporaryDirectory() as run:
        fit(
            [
                *options,
                f"--trainer.default_root_dir={run}/run",
                f"--trainer.max_steps={steps}",
                "--trainer.enable_progress_bar=false",
                f"--trainer.callbacks={__name__}.Clock",
            ]
        )
    return _CLOCKS.pop()


def bare_run(
    encoder: nn.Module, batches: Dataset | list, *, num_workers: int = 1, bf16: bool = False
) -> float:
    """Train with a loop of a few lines, and return the seconds of the steps after the first ones.

    The same losses, batches and optimizer as `pingraph fit`, on a GPU where there is one.
    """
    device = default_device()
    objective = AlignmentObjective().to(device)
    encoder.to(device)
    loader = DataLoader(
        batches,
        batch_size=None,
        num_workers=num_workers,
        shuffle=False,
        pin_memory=device.type == "cuda" and num_workers > 0,
    )
    parameters = [*encoder.parameters(), *objective.parameters()]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.1},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=2e-3,
        betas=(0.9, 0.98),
    )
    started = 0.0
    for step, batch in enumerate(loader):
        if step == WARM:
            started = now()
        batch = moved(batch, device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            parts = [encoder(content) for content in batch.content]
            names = [name for name, value in vars(parts[0]).items() if value is not None]
            joined = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
            loss = objective(Embeddings(**joined), batch.relations).total
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    return now() - started


def make_batches(
    folder: str, encoder: HybridEncoder, steps: int, *, batch_size: int = 128, chunk_size: int = 256
) -> PinBatches:
    """Return the batches that `pingraph fit` trains on."""
    dataset = open_dataset(folder)
    split = PinSplit().split(dataset)
    pins = TrainingPins.of(dataset, split)
    tokenizer = encoder.preparation.tokenizer(pins.texts(dataset))
    encoder.learn_words(tokenizer)
    return PinBatches(
        pins,
        pins.reader(encoder, ContentReader(dataset, tokenizer, encoder.preparation)),
        PinSAGESampler(k=50),
        Augmentation(),
        batch_size=batch_size,
        neighbors_per_anchor=2,
        chunk_size=chunk_size,
        num_batches=steps,
        seed=0,
    )


def speed_heat(
    title: str, ours: Callable[[], Clock], bare: Callable[[], float], *, rounds: int
) -> Heat:
    """Race the two, each in turn first; `rounds` of them."""
    seconds: dict[str, list[float]] = {"pingraph fit": [], "bare PyTorch loop": []}
    clocks: list[Clock] = []

    def timed() -> float:
        clocks.append(ours())
        return clocks[-1].seconds

    runs = dict(zip(seconds, (timed, bare), strict=True))
    for turn in range(rounds):
        for name in list(runs)[:: -1 if turn % 2 else 1]:
            seconds[name].append(runs[name]())
    waited, encoded = (
        mean(float(value) for clock in clocks for value in clock.logged[f"speed/{name}"])
        for name in ("data_wait_share", "encoded_per_pin")
    )
    return Heat(
        title=title,
        seconds=seconds,
        work=clocks[0].pins,
        unit="pins",
        notes={
            "pingraph fit": f"waits for data {waited:.1%} of the time, "
            f"encodes {encoded:.2f} pins per distinct pin"
        },
    )


def icons_heat(steps: int, rounds: int) -> Heat:
    """Race on the icons with the default encoder."""

    def bare() -> float:
        torch.manual_seed(0)
        encoder = HybridEncoder()
        return bare_run(encoder, make_batches("icons", encoder, steps))

    return speed_heat(
        f"Training on icons, {steps - WARM} steps",
        lambda: lightning_run(["--data.folder=icons"], steps),
        bare,
        rounds=rounds,
    )


def main() -> None:
    """Measure memory first, in children forked before torch has threads."""
    arguments = parse_arguments(__doc__ or "", steps=35, batch=4096)
    quick = arguments.quick
    memory = memory_heat(512 if quick else arguments.batch)
    forms = objective_heat(512 if quick else arguments.batch, rounds=2 if quick else 3)
    steps, rounds = (12, 1) if quick else (arguments.steps, 3)
    report([icons_heat(steps, rounds), memory, forms], arguments)


if __name__ == "__main__":
    main()
