"""What a large contrastive batch holds in memory, whole and in chunks, and what its losses cost."""

from types import SimpleNamespace

import numpy as np
import torch

from pingraph.augmentation import Augmentation
from pingraph.batches import PinBatches
from pingraph.encoders import HybridEncoder
from pingraph.experiments.benchmarks.common import Heat, peak_memory, race
from pingraph.graph import PinBoardGraph
from pingraph.interfaces import Embeddings, PinBatch, PinContent
from pingraph.module import PinModule
from pingraph.objectives import AlignmentObjective
from pingraph.samplers import PinSAGESampler
from pingraph.training_pins import TrainingPins


class Noise:
    """Content by chance: what a step holds does not depend on what is seen."""

    def read(self, pins: np.ndarray) -> PinContent:
        """Return images of 32 pixels and texts of 8 tokens."""
        generator = torch.Generator().manual_seed(int(pins[0]))
        U = len(pins)
        images = torch.randint(256, (U, 3, 32, 32), generator=generator, dtype=torch.uint8)
        return PinContent(
            images=images,
            has_image=torch.ones(U, dtype=torch.bool),
            tokens=torch.randint(2, 4096, (U, 8), generator=generator),
            token_mask=torch.ones(U, 8, dtype=torch.bool),
        )


def noise_batch(batch_size: int, chunk_size: int) -> PinBatch:
    """Return a batch of a random graph with 5 pins per anchor, 10 saves of each."""
    pins, rng = 5 * batch_size, np.random.default_rng(0)
    boards = rng.integers(0, pins // 8, 10 * pins)
    graph = PinBoardGraph.from_edges(np.repeat(np.arange(pins), 10), boards)
    training = TrainingPins(
        graph=graph, anchors=np.arange(pins), groups=np.full((2, pins), -1), titles=[]
    )
    return PinBatches(
        training,
        Noise(),
        PinSAGESampler(k=20),
        Augmentation(shift=0),
        batch_size=batch_size,
        neighbors_per_anchor=2,
        chunk_size=chunk_size,
        num_batches=1,
        seed=0,
    )[0]


def step(batch: PinBatch, *, recompute: bool, block_rows: int) -> float:
    """Compute the loss of a batch and its gradients; return the seconds of nothing else."""
    torch.manual_seed(0)
    module = PinModule(
        HybridEncoder(features=()), AlignmentObjective(block_rows=block_rows), recompute=recompute
    )
    module._trainer = SimpleNamespace(world_size=1)  # type: ignore[assignment]
    module.on_train_start()
    total = module.objective(module.embed(batch), batch.relations).total
    total.backward()
    return total.item()


def memory_heat(batch_size: int) -> Heat:
    """Compare one step whole and in chunks: seconds, with the peak of memory in the notes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a child forked from a process whose torch has threads hangs
    whole = noise_batch(batch_size, 10**9)
    chunks = noise_batch(batch_size, 256)
    steps = {
        "chunks of 256, recomputed": lambda: step(chunks, recompute=True, block_rows=512),
        "chunks of 256, kept": lambda: step(chunks, recompute=False, block_rows=512),
        "whole batch": lambda: step(whole, recompute=False, block_rows=10**9),
    }
    peaks = {name: peak_memory(function) for name, function in steps.items()}
    torch.set_num_threads(threads)
    ours = peaks["chunks of 256, recomputed"]
    pins = whole.bounds[-1]
    return race(
        f"One step of {batch_size:,} anchors, {pins:,} pins: loss and gradients",
        steps,
        rounds=1,
        work=pins,
        unit="pins",
        notes={
            name: f"peak {peak / 2**20:,.0f} MiB, {peak / ours:.1f} times the first"
            for name, peak in peaks.items()
        },
    )


def objective_heat(batch_size: int, rounds: int) -> Heat:
    """Race the forms of the loss on embeddings by chance, forward and backward."""
    relations = noise_batch(batch_size, 256).relations
    U = len(relations.pins)
    generator = torch.Generator().manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(3, U, 128, generator=generator), dim=2)
    present = torch.ones(U, dtype=torch.bool)

    def contestant(form: str):
        objective = AlignmentObjective(form=form)  # type: ignore[arg-type]

        def run() -> None:
            image, text, fused = (x.clone().requires_grad_() for x in vectors)
            embeddings = Embeddings(
                image=image, text=text, fused=fused, has_image=present, has_text=present
            )
            objective(embeddings, relations).total.backward()

        return run

    return race(
        f"The losses of {batch_size:,} anchors and {U:,} pins, forward and backward",
        {form: contestant(form) for form in ("sigmoid", "softmax", "multi_softmax")},
        rounds=rounds,
        work=U,
        unit="pins",
    )
