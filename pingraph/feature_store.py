"""The tokens of a frozen backbone: computed once per pin, and read from the disk from then on.

Letters: N pins of the data set, U pins asked for, L levels, M tokens, C channels, P pooled ones.
A folder of features holds `card.json`, and for the image, the text and the token ids (words):

    NAME.values   [L, M, C] of each pin that has it, one after the other
    NAME.offsets  int64 [N + 1]: where a pin's tokens begin and end; none for a pin without it
    NAME.pooled   [N, P], zeros for a pin without it; not for words
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pingraph.datasets import cache_folder
from pingraph.errors import PinGraphError
from pingraph.feature_files import FeatureFile, FeatureWriter, open_features, save_card
from pingraph.feature_key import Precision, feature_key
from pingraph.files import atomic_folder, only_one
from pingraph.interfaces import PinContent, Tokens
from pingraph.progress import progress_bar

if TYPE_CHECKING:
    from pingraph.content import SourceReader
    from pingraph.encoders.backbone import Backbone

BLOCK = 64  # pins that the backbone sees at once


class FeatureStore:
    """Reads pins as a frozen backbone sees them. Pickled, it carries the folder's name only.

    Args:
        folder: of the features, as `cached_features` wrote it.
        reader: reads the images too, for an encoder that looks at the pixels beside the tokens.

    Raises:
        PinGraphError: a file is missing or damaged; the message names it.
    """

    def __init__(self, folder: str | Path, *, reader: SourceReader | None = None):
        self.folder = Path(folder)
        self.reader = reader
        self._open()

    def read(self, pins: np.ndarray) -> PinContent:
        """Return the content of pins int64 [U], with the tokens of both towers as they were kept.

        Without a `reader` the images are of size 0: [U, 3, 0, 0]. Tokens of a pin without the
        modality are zeros, and masked.

        Raises:
            BrokenImageError: images are read, one cannot be decoded, and none may be skipped.
        """
        content = self.reader.read(pins) if self.reader else self._without_images(pins)
        image, text = (self._tokens(name, pins) for name in ("image", "text"))
        return replace(content, image_tokens=image, text_tokens=text)

    def _tokens(self, name: str, pins: np.ndarray) -> Tokens:
        file = self._files[name]
        values, mask = file.read(pins, file.values.dtype)
        return Tokens(
            levels=tuple(torch.from_numpy(values)),
            mask=torch.from_numpy(mask),
            pooled=torch.from_numpy(file.pooled[pins]),
        )

    def _without_images(self, pins: np.ndarray) -> PinContent:
        words, mask = self._files["words"].read(pins, np.int64)
        return PinContent(
            images=torch.zeros(len(pins), 3, 0, 0, dtype=torch.uint8),
            has_image=torch.from_numpy(self._files["image"].lengths(pins) > 0),
            tokens=torch.from_numpy(words[0, :, :, 0]),
            token_mask=torch.from_numpy(mask),
        )

    def _open(self) -> None:
        self._files: dict[str, FeatureFile] = open_features(self.folder, self.folder.name)

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "reader": self.reader}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()


def cached_features(
    reader: SourceReader,
    backbone: Backbone,
    *,
    keep_images: bool = False,
    precision: Precision = "float16",
    cache: Path | None = None,
) -> FeatureStore:
    """Return the features of all pins that a reader has, computed unless they are in the cache.

    The backbone computes on the device it is on, and is left in evaluation mode. Of processes that
    want the same features, one computes and the others wait. A computation that was killed begins
    anew, and what it left is removed.

    Args:
        reader: of the data set, at the backbone's sizes and with its tokenizer.
        backbone: frozen.
        keep_images: read the images beside the tokens.
        precision: of the values on the disk; float16 rounds each by 2^-11 of it at most.
        cache: where features are kept, default the folder `features` in `cache_folder()`.

    Raises:
        PinGraphError: the backbone is not frozen, its tokens are not numbers or too large for
            `precision`, the folder cannot be written, or what is in it is damaged.
        BrokenImageError: an image cannot be decoded, and the reader may not skip it.
    """
    if not backbone.frozen:
        raise PinGraphError("only the tokens of a frozen backbone can be kept: train 'nothing'")
    if precision not in ("float16", "float32"):
        raise PinGraphError(f"precision is {precision!r}: expected 'float16' or 'float32'")
    key = feature_key(reader, backbone, precision)
    folder = (cache or cache_folder() / "features") / key
    if not folder.is_dir():
        with only_one(folder):
            if not folder.is_dir():
                for orphan in folder.parent.glob(f".{key}.*/"):
                    shutil.rmtree(orphan, ignore_errors=True)
                _compute(folder, reader, backbone, precision)
    return FeatureStore(folder, reader=reader if keep_images else None)


@torch.inference_mode()
def _compute(folder: Path, reader: SourceReader, backbone: Backbone, precision: Precision) -> None:
    pins = reader.num_pins
    backbone.eval()
    device = next(iter(backbone.parameters()), torch.empty(0)).device
    image_shape = (backbone.image_levels, backbone.image_width, backbone.image_pooled_width)
    text_shape = (backbone.text_levels, backbone.text_width, backbone.text_pooled_width)
    with (
        atomic_folder(folder) as temporary,
        FeatureWriter(temporary, "image", precision, *image_shape) as image,
        FeatureWriter(temporary, "text", precision, *text_shape) as text,
        FeatureWriter(temporary, "words", "int32", 1, 1, 0) as words,
        progress_bar(-(-pins // BLOCK)) as step,
    ):
        for start in range(0, pins, BLOCK):
            step(f"features of pin {start:,} of {pins:,}")
            content = reader.read(np.arange(start, min(start + BLOCK, pins)))
            has_image, has_text = content.has_image, content.token_mask.any(1)
            if has_image.any():
                image.add(backbone.embed_images(content.images[has_image].to(device)), has_image)
            else:
                image.skip(len(has_image))
            if has_text.any():
                ids, mask = content.tokens[has_text], content.token_mask[has_text]
                text.add(backbone.embed_texts(ids.to(device), mask.to(device)), has_text)
                words.add(_words(ids, mask), has_text)
            else:
                text.skip(len(has_text))
                words.skip(len(has_text))
        # Patches are told by their place from the end: no image is padded to fewer than these.
        parts = {"image": image.close(least=backbone.grid**2)}
        parts |= {"text": text.close(), "words": words.close()}
        save_card(temporary, folder.name, parts)


def _words(ids: torch.Tensor, mask: torch.Tensor) -> Tokens:
    return Tokens(levels=(ids.unsqueeze(2),), mask=mask, pooled=ids.new_zeros(len(ids), 0))
