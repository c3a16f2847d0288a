"""The Lightning data module: a data set, its split and a sampler become training batches."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from lightning import LightningDataModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import nn
from torch.utils.data import DataLoader

from pingraph.augmentation import Augmentation
from pingraph.batches import PinBatches
from pingraph.content import ContentReader, Reader
from pingraph.datasets import PinBoardDataset, open_dataset
from pingraph.devices import moved
from pingraph.errors import PinGraphError
from pingraph.files import read_json, write_json
from pingraph.interfaces import NegativeSampler, PinBatch, PinContent, Sampler
from pingraph.interrupts import Uninterrupted
from pingraph.pixel_store import OnBrokenImage
from pingraph.progress import progress_bar
from pingraph.run_files import CHECKPOINT_FILE, DATA_FILE, SPLIT_FILE, TOKENIZER_FILE
from pingraph.splits import Split, Splitter
from pingraph.tokenization import load_tokenizer, save_tokenizer
from pingraph.training_pins import TrainingPins
from pingraph.walk_spectrum import walk_spectrum

# Of a run whose length is not given: these steps, or passes where there are too many pins for that.
STEPS, PASSES = 1200, 10
# Walks are solved for among so many pins at most, which are drawn: more would need more memory.
SOLVED_PINS = 50_000


class PinDataModule(LightningDataModule):
    """Training batches of a Pin-Board data set, split before anything is learned from it.

    The sampler, the false-negative mask and the tokenizer see the training side alone. Batch i of
    a run is a function of `seed` and i, whatever the number of workers; an interrupted run goes on
    with the batch it would have had.

    Args:
        folder: a data set folder, or "icons" or "world".
        split: which pins and edges are held out, such as PinSplit().
        sampler: finds the neighbors of the anchors, such as PinSAGESampler(k=50).
        encoder: what the content is made ready for, of the shape of `interfaces.Encoder`;
            `pingraph fit` takes the model's.
        negatives: draw pins that come into a batch as negatives beside the anchors and neighbors,
            such as [PopularityNegatives(n=1)]; None for none.
        augmentation: random changes of the content that is trained on; a pretrained text tower is
            given whole texts.
        batch_size: anchors of a batch, over all ranks.
        neighbors_per_anchor: sampled neighbors that each anchor brings into the batch.
        titles: let the titles of boards be pins in training, each of a text alone and saved to its
            board: their words are learned beside those of the pins.
        chunk_size: most pins that are encoded at once. The ranks share the chunks of a batch, and
            dropout is drawn for each chunk, so that the number of ranks changes nothing.
        count_pins: find out before training how often each pin comes into a batch, for an objective
            with `logq`; `pingraph fit` takes it from the objective.
        learn_walks: before training, let the encoder's shallow part learn what the sampler's walks
            say by themselves (`HybridEncoder.learn_walks`), for an objective that has a neighbor
            term; `pingraph fit` takes it from the objective.
        num_workers: processes that read batches; 0 reads in the training process.
        on_broken_image: "raise" stops with the pin's id, "skip" trains the pin without its image
            and counts it.
        seed: random seed of the batches.
    """

    def __init__(
        self,
        folder: str,
        split: Splitter,
        sampler: Sampler,
        encoder: nn.Module,
        negatives: list[NegativeSampler] | None = None,
        augmentation: Augmentation = Augmentation(),  # noqa: B008 (frozen)
        batch_size: int = 128,
        neighbors_per_anchor: int = 2,
        titles: bool = True,
        chunk_size: int = 256,
        count_pins: bool = False,
        learn_walks: bool = False,
        num_workers: int = 1,
        on_broken_image: OnBrokenImage = "raise",
        seed: int = 0,
    ):
        super().__init__()
        if num_workers < 0:
            raise PinGraphError(f"num_workers is {num_workers}: expected 0 or more")
        self.dataset = open_dataset(folder)
        if not (self.dataset.has_image | self.dataset.has_text).any():
            raise PinGraphError(
                f"{self.dataset.folder}: no pin has an image or a text to learn from"
            )
        self.splitter = split
        self.sampler = sampler
        self.encoder: Any = encoder  # of the shape of interfaces.Encoder
        self.negatives = negatives or []
        self.augmentation = augmentation
        self.batch_size = batch_size
        self.neighbors_per_anchor = neighbors_per_anchor
        self.titles = titles
        self.chunk_size = chunk_size
        self.count_pins = count_pins
        self.learn_walks = learn_walks
        self.num_workers = num_workers
        self.on_broken_image = on_broken_image
        self.seed = seed

    @property
    def _fitting(self) -> Trainer:
        assert self.trainer is not None, "batches are made in Trainer.fit"
        return self.trainer

    @property
    def _device(self) -> torch.device:
        return self._fitting.strategy.root_device

    def prepare_data(self) -> None:
        """Split the data, prove that nothing leaks, and write what the run rests on to its folder.

        Raises:
            PinGraphError: a leak; the folder cannot be written, or its run is of other data or of
                another split.
        """
        folder = Path(self._fitting.default_root_dir)
        split = self.splitter.split(self.dataset)
        texts = TrainingPins.of(self.dataset, split, titles=self.titles).texts(self.dataset)
        card = data_card(self.dataset, _modalities(self.dataset, split, texts))
        begun = (folder / CHECKPOINT_FILE).exists()
        if begun and read_json(folder / DATA_FILE) != card:
            raise PinGraphError(f"{self.dataset.folder} is not the data that {folder} was begun on")
        split.check_leaks(self.dataset)
        if begun and not _same(split, Split.load(folder / SPLIT_FILE)):
            raise PinGraphError(
                f"the split is not the one that {folder} was begun on: what it was trained on "
                "would be held out"
            )
        split.save(folder / SPLIT_FILE)
        save_tokenizer(self.encoder.preparation.tokenizer(texts), folder / TOKENIZER_FILE)
        write_json(folder / DATA_FILE, card)

    def setup(self, stage: str) -> None:
        """Make the batches of the run out of the split that `prepare_data` wrote."""
        folder = Path(self._fitting.default_root_dir)
        split = Split.load(folder / SPLIT_FILE)
        tokenizer = load_tokenizer(folder / TOKENIZER_FILE)
        if hasattr(self.encoder, "learn_words"):
            self.encoder.learn_words(tokenizer)
        self.content = ContentReader(
            self.dataset,
            tokenizer,
            self.encoder.preparation,
            on_broken_image=self.on_broken_image,
        )
        self.encoder.to(self._device)  # a frozen backbone computes its features there
        pins = TrainingPins.of(self.dataset, split, titles=self.titles)
        reader = pins.reader(self.encoder, self.content)
        if self.learn_walks and not (folder / CHECKPOINT_FILE).exists():
            self._learn_walks(pins, reader)
        self.batches = PinBatches(
            pins,
            reader,
            self.sampler,
            self._augmentation(),
            self.negatives,
            batch_size=self.batch_size,
            neighbors_per_anchor=self.neighbors_per_anchor,
            chunk_size=self.chunk_size,
            num_batches=self._steps(len(pins.anchors)) * self._fitting.accumulate_grad_batches,
            seed=self.seed,
            count_pins=self.count_pins,
            rank=self._fitting.global_rank,
            ranks=self._fitting.world_size,
        )
        if hasattr(self.encoder, "expect_passes"):
            self.encoder.expect_passes(self.batches.passes)

    def _learn_walks(self, training: TrainingPins, reader: Reader) -> None:
        """Let the encoder solve for who is walked to; placing titles too made it find fewer."""
        if getattr(self.encoder, "solved", None) is None:
            return
        graph = training.graph
        pins = training.anchors[graph.pin_degrees[training.anchors] > 0]
        if len(pins) > SOLVED_PINS:
            drawn = np.random.default_rng(self.seed).choice(pins, SOLVED_PINS, replace=False)
            pins = np.sort(drawn)
        targets = walk_spectrum(
            graph, pins, self.sampler, dim=2 * self.encoder.embed_dim, seed=self.seed
        )
        blocks = [pins[at : at + self.chunk_size] for at in range(0, len(pins), self.chunk_size)]
        with progress_bar(len(blocks)) as step:

            def contents() -> Iterator[PinContent]:
                for block in blocks:
                    step("content for the walks")
                    yield moved(reader.read(block), self._device)

            self.encoder.learn_walks(contents(), targets)

    def _steps(self, anchors: int) -> int:
        """Return how many steps the run has, and tell the trainer where it was not told."""
        steps = self._fitting.max_steps
        if steps == -1:
            step = max(1, self.batch_size * self._fitting.accumulate_grad_batches)
            steps = max(STEPS, math.ceil(PASSES * anchors / step))
            self._fitting.fit_loop.epoch_loop.max_steps = steps
        if steps < 1:
            raise PinGraphError(f"trainer.max_steps is {steps}: expected 1 or more")
        return steps

    def _augmentation(self) -> Augmentation:
        if self.encoder.preparation.hides_tokens:
            return self.augmentation
        return replace(self.augmentation, hide_tokens=0)

    def train_dataloader(self) -> BatchLoader:
        """Return the loader of the run's batches; one Lightning epoch is the whole run."""
        progress = self._fitting.fit_loop.epoch_loop.batch_progress
        return BatchLoader(
            self.batches,
            self.num_workers,
            trained=lambda: progress.current.ready,
            pin_memory=self._device.type == "cuda",
        )

    def transfer_batch_to_device(
        self, batch: PinBatch, device: torch.device, dataloader_idx: int
    ) -> PinBatch:
        """Move a batch; Lightning knows nothing of frozen records."""
        return moved(batch, device)

    def teardown(self, stage: str) -> None:
        """Tell how many images were skipped, since each is a pin trained on its text alone."""
        broken = self.content.pixels.broken_pins()
        if len(broken):
            names = ", ".join(repr(name) for name in self.dataset.pin_ids[broken[:5]].tolist())
            more = ", …" if len(broken) > 5 else ""
            rank_zero_warn(f"broken images skipped: {len(broken)}, of pins {names}{more}")


class BatchLoader:
    """Loads batches from the first one on that is not trained on yet.

    torch's DataLoader would go on with other batches after an interruption, and one that keeps its
    state leaves out the batch whose step was interrupted.

    Args:
        batches: of the run.
        num_workers: processes that read them; 0 reads in this one.
        trained: returns how many of them are trained on.
        pin_memory: give batches in pinned memory, from which a GPU takes them while it works.
    """

    def __init__(
        self,
        batches: PinBatches,
        num_workers: int,
        *,
        trained: Callable[[], int],
        pin_memory: bool = False,
    ):
        self.batches = batches
        self.num_workers = num_workers
        self.trained = trained
        self.pin_memory = pin_memory

    def __len__(self) -> int:
        """Return how many batches there are, trained on or not."""
        return len(self.batches)

    def __iter__(self) -> Iterator[PinBatch]:
        """Yield the batches; how many are trained on is asked when the first is wanted.

        Lightning makes the iterator before it has read the checkpoint.
        """
        places = range(self.trained(), len(self.batches))
        loader = DataLoader(
            self.batches,
            batch_size=None,
            sampler=places,
            num_workers=self.num_workers,
            worker_init_fn=_quiet_when_its_reader_has_gone,
            pin_memory=self.pin_memory,
        )
        iterator: Any = None
        try:
            with Uninterrupted():  # Python loses an interrupt that comes while it forks
                iterator = iter(loader)
            yield from iterator
        finally:
            # Ends the workers here: the traceback of an interruption would keep them, and one that
            # was just forked may miss the signal by which Python ends them when it exits itself.
            del iterator


def _quiet_when_its_reader_has_gone(worker: int) -> None:
    """Let a worker's thread that hands tensors over print no traceback of a reader that has gone.

    It goes when training is interrupted while it fetches a batch, which is no error of the worker.
    """
    shown = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not isinstance(error, (ConnectionError, EOFError)):
            shown(kind, error, trace)

    sys.excepthook = hook


def data_card(dataset: PinBoardDataset, modalities: Sequence[str]) -> dict[str, str]:
    """Return which data set this is, and which of "image" and "text" training sees of it."""
    return {
        "name": dataset.name,
        "folder": str(dataset.folder),
        "fingerprint": dataset.fingerprint,  # sha256 of what is in it
        "modalities": " ".join(modalities),
    }


def _modalities(dataset: PinBoardDataset, split: Split, texts: Sequence[str]) -> list[str]:
    seen = {
        "image": dataset.has_image[split.train_pins].any(),
        "text": any(text.strip() for text in texts),
    }
    return [name for name, there in seen.items() if there]


def _same(one: Split, other: Split) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("train_edges", "train_pins")
    )
