"""How much of a bare PyTorch loop's speed training has, how long it waits, and what it holds.

python -m pingraph.experiments.benchmarks.training [--quick] [--json FILE]
"""

import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch.utils.data import DataLoader

from pingraph.augmentation import Augmentation
from pingraph.batches import PinBatches
from pingraph.content import ContentReader
from pingraph.datasets import open_dataset
from pingraph.encoders import HybridEncoder
from pingraph.experiments.benchmarks.common import Heat, parse_arguments, report
from pingraph.experiments.benchmarks.training_memory import memory_heat, objective_heat
from pingraph.fit import fit
from pingraph.interfaces import Embeddings
from pingraph.objectives import AlignmentObjective
from pingraph.samplers import PinSAGESampler
from pingraph.splits import PinSplit

WARM = 5  # steps that are not timed
_CLOCKS: list["Clock"] = []


class Clock(Callback):
    """Times the steps after the first ones, and keeps what was logged of them."""

    def __init__(self) -> None:
        _CLOCKS.append(self)
        self.logged: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Start after the warm-up, stop after the last step."""
        if trainer.global_step == WARM:
            self.started, self.pins = time.perf_counter(), 0.0
        elif trainer.global_step > WARM:
            self.pins += float(trainer.callback_metrics["batch/pins"])
            self.logged.append({k: float(v) for k, v in trainer.callback_metrics.items()})
            self.seconds = time.perf_counter() - self.started


def lightning_run(folder: str, steps: int) -> Clock:
    """Train with `pingraph fit` as it is: loggers, audits, a checkpoint every 50 steps."""
    with tempfile.TemporaryDirectory() as run:
        fit(
            [
                f"--data.folder={folder}",
                f"--trainer.default_root_dir={run}/run",
                f"--trainer.max_steps={steps}",
                "--trainer.enable_progress_bar=false",
                f"--trainer.callbacks={__name__}.Clock",
            ]
        )
    return _CLOCKS[-1]


def bare_run(folder: str, steps: int) -> float:
    """Train with a loop of a few lines: the same encoder, losses, batches and optimizer."""
    torch.manual_seed(0)
    encoder, objective = HybridEncoder(), AlignmentObjective()
    loader = DataLoader(
        _batches(folder, encoder, steps), batch_size=None, num_workers=1, shuffle=False
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
            started = time.perf_counter()
        parts = [encoder(content) for content in batch.content]
        names = ("image", "text", "fused", "has_image", "has_text")
        joined = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
        loss = objective(Embeddings(**joined), batch.relations).total
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    return time.perf_counter() - started


def _batches(folder: str, encoder: HybridEncoder, steps: int) -> PinBatches:
    dataset = open_dataset(folder)
    split = PinSplit().split(dataset)
    tokenizer = encoder.preparation.tokenizer([dataset.texts[pin] for pin in split.train_pins])
    return PinBatches(
        dataset,
        ContentReader(dataset, tokenizer, encoder.preparation),
        split.train_graph(dataset.graph),
        split.train_pins,
        PinSAGESampler(k=50),
        Augmentation(),
        batch_size=128,
        neighbors_per_anchor=2,
        chunk_size=256,
        num_batches=steps,
        seed=0,
    )


def speed_heat(folder: str, steps: int, rounds: int) -> Heat:
    """Race the two, each in turn first."""
    seconds: dict[str, list[float]] = {"pingraph fit": [], "bare PyTorch loop": []}
    clocks: list[Clock] = []

    def ours() -> float:
        clocks.append(lightning_run(folder, steps))
        return clocks[-1].seconds

    runs: dict[str, Callable[[], float]] = {
        "pingraph fit": ours,
        "bare PyTorch loop": lambda: bare_run(folder, steps),
    }
    for turn in range(rounds):
        for name in list(runs)[:: -1 if turn % 2 else 1]:
            seconds[name].append(runs[name]())
    logged = list(itertools.chain.from_iterable(clock.logged for clock in clocks))
    waited, encoded = (
        mean(row[f"speed/{name}"] for row in logged if f"speed/{name}" in row)
        for name in ("data_wait_share", "encoded_per_pin")
    )
    return Heat(
        title=f"Training on {Path(folder).name}, {steps - WARM} steps",
        seconds=seconds,
        work=clocks[0].pins,
        unit="pins",
        notes={
            "pingraph fit": f"waits for data {waited:.1%} of the time, "
            f"encodes {encoded:.2f} pins per distinct pin"
        },
    )


def main() -> None:
    """Measure memory first, in children forked before torch has threads."""
    arguments = parse_arguments(__doc__ or "", steps=35, batch=4096)
    quick = arguments.quick
    memory = memory_heat(512 if quick else arguments.batch)
    forms = objective_heat(512 if quick else arguments.batch, rounds=2 if quick else 3)
    steps, rounds = (12, 1) if quick else (arguments.steps, 3)
    report([speed_heat("icons", steps, rounds), memory, forms], arguments)


if __name__ == "__main__":
    main()
