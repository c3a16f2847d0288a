"""A trained run: what `fit` wrote to a folder, opened to embed pins with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import yaml

from pingraph.content import BlindReader, ContentReader, Reader, reader_for
from pingraph.datasets import PinBoardDataset, open_dataset
from pingraph.devices import default_device, moved
from pingraph.errors import PinGraphError
from pingraph.files import read_json
from pingraph.interfaces import Embeddings, EmbeddingTable, Encoder, PinContent
from pingraph.pixel_store import OnBrokenImage
from pingraph.run_files import (
    CHECKPOINT_FILE,
    CONFIG_FILE,
    DATA_FILE,
    SPLIT_FILE,
    TOKENIZER_FILE,
    locate_run,
)
from pingraph.splits import Split
from pingraph.tokenization import load_tokenizer
from pingraph.weights import check_state, read_state

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BLOCK = 512  # pins embedded at once


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run folder's encoder in evaluation mode, its tokenizer, its split and where its data is.

    The encoder is on the GPU where torch finds one; what it makes comes back to the CPU.
    """

    folder: Path
    checkpoint: Path
    encoder: Encoder
    tokenizer: Tokenizer
    split: Split
    data: dict[str, str]  # what data set it was trained on, as `data_card` says
    on_broken_image: OnBrokenImage

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Open a run that `pingraph fit` wrote.

        Args:
            path: its folder, or a .ckpt file in it, for the weights that it had then.

        Raises:
            PinGraphError: there is no run, a file of it is missing or damaged, or the checkpoint is
                of another model.
        """
        folder, checkpoint = locate_run(Path(path))
        files = (folder / name for name in (CONFIG_FILE, DATA_FILE, SPLIT_FILE, TOKENIZER_FILE))
        for file in (*files, checkpoint):
            if not file.is_file():
                missing = file.relative_to(folder)
                raise PinGraphError(f"{folder} is not a trained run: it has no {missing}")
        config = read_config(folder / CONFIG_FILE)
        return cls(
            folder=folder,
            checkpoint=checkpoint,
            encoder=_load_encoder(config["model"], folder, checkpoint),
            tokenizer=load_tokenizer(folder / TOKENIZER_FILE),
            split=Split.load(folder / SPLIT_FILE),
            data=_read_data_card(folder / DATA_FILE),
            on_broken_image=config["data"]["on_broken_image"],
        )

    @property
    def ended(self) -> bool:
        """Whether it has its last weights, not those of a checkpoint before."""
        return self.checkpoint == self.folder / CHECKPOINT_FILE

    @property
    def name(self) -> str:
        """The name of the folder, and that of an earlier checkpoint."""
        name = self.folder.resolve().name
        return name if self.ended else f"{name} {self.checkpoint.stem}"

    def dataset(self) -> PinBoardDataset:
        """Open the data set the run was trained on.

        Raises:
            PinGraphError: it is gone, or is no longer what it was.
        """
        try:
            dataset = open_dataset(self.data["folder"])
        except PinGraphError as error:
            raise PinGraphError(f"{self.folder} was trained on this data set: {error}") from error
        dataset.name = self.data["name"]
        if dataset.fingerprint != self.data["fingerprint"]:
            raise PinGraphError(
                f"{dataset.folder} has changed since {self.folder} was trained on it: "
                "its figures would not be of held-out pins"
            )
        return dataset

    def embed(self, dataset: PinBoardDataset, *, progress: bool = False) -> EmbeddingTable:
        """Embed all pins of a data set from their content, in its order.

        Args:
            dataset: any data set; its graph is not looked at.
            progress: show a progress bar on standard error, if that is a terminal.

        Raises:
            BrokenImageError: an image cannot be decoded, and the run does not skip broken ones.
        """
        from tqdm import tqdm

        content = self.reader(dataset)
        blocks = []
        hidden = None if progress else True  # None: where nobody watches
        with tqdm(
            total=dataset.num_pins, desc="embedding", unit=" pins", leave=False, disable=hidden
        ) as bar:
            for start in range(0, dataset.num_pins, BLOCK):
                pins = np.arange(start, min(start + BLOCK, dataset.num_pins))
                blocks.append(self.embed_content(content.read(pins)))
                bar.update(len(pins))
        return EmbeddingTable(
            pin_ids=dataset.pin_ids,
            **{
                name: torch.cat([getattr(block, name) for block in blocks]).numpy()
                for name in ("image", "text", "fused", "has_image", "has_text")
            },
        )

    @property
    def modalities(self) -> tuple[str, ...]:
        """Which of "image" and "text" it was trained on."""
        return tuple(self.data["modalities"].split())

    def reader(self, dataset: PinBoardDataset) -> Reader:
        """Return what reads the content of a data set's pins for this encoder.

        Of a modality that training has never seen, the weights are as they were drawn: it is not
        looked at.
        """
        content = ContentReader(
            dataset,
            self.tokenizer,
            self.encoder.preparation,
            on_broken_image=self.on_broken_image,
        )
        return BlindReader(reader_for(self.encoder, content), self.modalities)

    @torch.inference_mode()
    def embed_content(self, content: PinContent) -> Embeddings:
        """Embed U pins; content and embeddings are on the CPU."""
        return moved(self.encoder(moved(content, default_device())), torch.device("cpu"))


def read_config(path: Path) -> dict[str, Any]:
    """Read the configuration that `pingraph fit` wrote.

    Raises:
        PinGraphError: it is missing or damaged.
    """
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise PinGraphError(f"{path}: not a YAML file ({error})") from error
    if not isinstance(config, dict) or not {"model", "data"} <= config.keys():
        raise PinGraphError(f"{path}: expected the keys 'model' and 'data' of `pingraph fit`")
    if not isinstance(config["data"], dict) or "on_broken_image" not in config["data"]:
        raise PinGraphError(f"{path}: expected the key 'on_broken_image' under 'data'")
    return config


def _read_data_card(path: Path) -> dict[str, str]:
    card = read_json(path)
    keys = ("name", "folder", "fingerprint", "modalities")
    if not isinstance(card, dict) or not set(keys) <= card.keys():
        raise PinGraphError(f"{path}: expected the keys {', '.join(map(repr, keys))}")
    if not all(isinstance(value, str) for value in card.values()):
        raise PinGraphError(f"{path}: expected text under every key")
    return card


def _load_encoder(config: dict[str, Any], folder: Path, checkpoint: Path) -> Encoder:
    from jsonargparse import ArgumentParser
    from torch import nn

    from pingraph.mistakes import explain, own_error

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--model.encoder", type=nn.Module)
    try:
        chosen = parser.parse_object({"model": {"encoder": config["encoder"]}})
        encoder = parser.instantiate(chosen).model.encoder
    except Exception as error:  # jsonargparse raises many kinds for a config that does not fit
        if ours := own_error(error):
            raise ours from error
        reason = explain(str(error), parser)[0]
        raise PinGraphError(f"{folder / CONFIG_FILE}: {reason}") from error
    state = read_state(checkpoint)
    own = {key[8:]: value for key, value in state.items() if key.startswith("encoder.")}
    check_state(encoder, own, str(checkpoint))
    encoder.load_state_dict(own)
    return encoder.to(default_device()).eval()
