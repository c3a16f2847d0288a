"""Images and texts made ready for a pretrained model, by its own processor and tokenizer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from PIL import Image

from pingraph.errors import PinGraphError
from pingraph.images import to_rgb

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast
    from transformers.image_processing_backends import PilBackend

# Of longer images the ends are cut before: brought to a short side of 224 they would not fit into
# memory, and a processor that cuts out the middle never shows those ends.
LARGEST_ASPECT = 64


@dataclass(frozen=True, kw_only=True)
class PretrainedPreparation:
    """Resizes and crops as the model's image processor does; rescaling and mean are the tower's.

    Args:
        image_size: pixels of a side.
        max_tokens: longest text, in tokens.
        processor: the image processor; any image becomes `image_size` pixels square.
        tokenizer_json: the tokenizer, as the `tokenizers` library writes it.
        truncation_side: which end of a long text is cut, "right" or "left".
    """

    image_size: int
    max_tokens: int
    processor: PilBackend
    tokenizer_json: str
    truncation_side: str
    # Such a tower reads its summary off a token of the end, and takes a gap for the end.
    hides_tokens: ClassVar[bool] = False

    def pixels(self, image: Image.Image) -> np.ndarray:
        """Return an image as uint8 [3, image_size, image_size], RGB.

        A JPEG that has not been decoded yet is decoded at a fraction of its size, at least twice
        the size that is needed.
        """
        return _processed(self.processor, _decoded(image, self.image_size))

    def tokenizer(self, texts: Iterable[str]) -> Tokenizer:
        """Return the model's tokenizer, which cuts at `max_tokens`; `texts` do not matter."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_str(self.tokenizer_json)
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.max_tokens, direction=self.truncation_side)
        return tokenizer


def prepare(
    name: str, processor: PilBackend, tokenizer: PreTrainedTokenizerFast, max_tokens: int
) -> PretrainedPreparation:
    """Make the preparation of a model.

    Args:
        name: of the model, for messages.
        processor: its image processor.
        tokenizer: its tokenizer, which may have a lower limit than `max_tokens`.
        max_tokens: the most that the model can take.

    Raises:
        PinGraphError: the processor does not bring images of any shape to the same square.
    """
    shapes = {_shape(processor, size) for size in ((60, 37), (37, 60), (500, 500))}
    shape = min(shapes)
    if len(shapes) > 1 or shape[:1] != (3,) or shape[1:] != shape[:0:-1]:
        found = " and ".join(map(str, sorted(shapes)))
        raise PinGraphError(
            f"{name}: its image processor makes {found} of images, expected one square"
        )
    return PretrainedPreparation(
        image_size=shape[1],
        max_tokens=min(max_tokens, tokenizer.model_max_length),
        processor=processor,
        tokenizer_json=tokenizer.backend_tokenizer.to_str(),
        truncation_side=tokenizer.truncation_side,
    )


def usable_positions(text: Any) -> int:
    """Return how many tokens a text model has positions for, by its config.

    Those of RoBERTa (arXiv 1907.11692) and its kin begin after the number of the padding.
    """
    if text.model_type == "mpnet":
        return text.max_position_embeddings - 2  # its padding is 1, whatever the config says
    if text.model_type in ("roberta", "xlm-roberta", "altclip_text_model"):
        return text.max_position_embeddings - text.pad_token_id - 1
    return text.max_position_embeddings


def square_processor(processor: Any, size: int) -> PilBackend:
    """Return a processor that does to square images what the given one of NaFlex does to them.

    Args:
        processor: keeps the aspect of images, so that they differ in their number of patches.
        size: pixels of a side that it gives to square images.
    """
    from transformers import SiglipImageProcessorPil

    kept = ("resample", "do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std")
    settings = {key: getattr(processor, key) for key in kept}
    return SiglipImageProcessorPil(size={"height": size, "width": size}, **settings)


def _processed(processor: PilBackend, image: Image.Image) -> np.ndarray:
    batch = processor(images=image, do_rescale=False, do_normalize=False, return_tensors="np")
    return np.ascontiguousarray(batch["pixel_values"][0])


def _shape(processor: PilBackend, size: tuple[int, int]) -> tuple[int, ...]:
    return _processed(processor, Image.new("RGB", size)).shape


def _decoded(image: Image.Image, size: int) -> Image.Image:
    scale = 2 * size / min(image.size)
    image.draft("RGB", (int(scale * image.width) + 1, int(scale * image.height) + 1))
    image = to_rgb(image)
    width, height = (min(side, LARGEST_ASPECT * min(image.size)) for side in image.size)
    if (width, height) == image.size:
        return image
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))
