"""A generative model of the Qwen-VL family, whose vision and language towers serve as encoders.

Qwen2-VL: arXiv 2409.12191. Qwen2.5-VL: arXiv 2502.13923. Qwen3-VL: arXiv 2511.21631.
U pins, T text tokens, S pixels of a side, p of a patch, g merged patches of a side, C channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pingraph.encoders.checkpoints import (
    load_config,
    load_image_processor,
    load_model,
    load_tokenizer,
)
from pingraph.encoders.pretrained_preparation import prepare, square_processor
from pingraph.encoders.towers import LEVELS, Depths, Scaling
from pingraph.encoders.tuning import Tower, TunedBackbone, Tuning
from pingraph.errors import PinGraphError
from pingraph.interfaces import Tokens

MODEL_TYPES = (
    "qwen2_vl",
    "qwen2_5_vl",
    "qwen3_vl",
    "qwen3_vl_moe",
    "qwen3_5",
    "qwen3_5_moe",
)


class QwenBackbone(TunedBackbone):
    """A model of `MODEL_TYPES`: what its language model would see is taken as features.

    An image's tokens are the vision tower's merged patches. Those of Qwen3-VL come from several
    depths, as it feeds them to its language model (DeepStack, arXiv 2406.04334); the others have
    one. Pooled they are the mean, which no place in the image is favored by.

    A text ends with the tokenizer's end token, whose last state is the pooled vector: in a causal
    model it alone has seen the whole text (as in arXiv 2401.00368).

    Args:
        name: a folder that `save_pretrained` wrote, or a name on the hub.
        tuning: what of it is trained.
        levels: the depths of the language tower that tokens are taken from, as shares of it,
            ascending; the last is 1, the last layer after its final norm.
        image_size: pixels of a side, a multiple of a patch's times those merged (28 or 32); images
            are resized to this square.
        max_tokens: longest text, in tokens, at least 2: the last is the end token.

    Raises:
        PinGraphError: the model cannot be loaded, is of another type, or its image processor or
            tokenizer does not fit it; a size out of its range; as of `Tuning.apply`.
    """

    def __init__(
        self,
        name: str,
        tuning: Tuning = Tuning(),  # noqa: B008 (frozen)
        levels: tuple[float, ...] = LEVELS,
        image_size: int = 224,
        max_tokens: int = 64,
    ):
        super().__init__()
        config = load_config(name, MODEL_TYPES)
        vision, text = config.vision_config, config.text_config
        self.patch, self.merge = vision.patch_size, vision.spatial_merge_size
        self.frames = vision.temporal_patch_size
        unit = self.patch * self.merge
        if image_size < unit or image_size % unit:
            raise PinGraphError(f"image_size is {image_size}: {name} needs a multiple of {unit}")
        if max_tokens < 2:
            raise PinGraphError(f"max_tokens is {max_tokens}: expected 2 or more")
        processor = load_image_processor(name, config.model_type)
        _check_patches(name, processor, vision)
        tokenizer = load_tokenizer(name, text.vocab_size)
        _end_texts(name, tokenizer)
        square = square_processor(processor, image_size)
        self.preparation = prepare(name, square, tokenizer, max_tokens)
        self.scaling = Scaling(processor)
        self.model: Any = load_model(name)
        self.padding = tokenizer.pad_token_id or 0
        self.grid = image_size // unit
        self.text_depths = Depths(levels, text.num_hidden_layers)
        self.image_levels = 1 + len(getattr(vision, "deepstack_visual_indexes", ()))
        self.text_levels = len(self.text_depths)
        # Qwen2-VL calls the width that leaves the tower "hidden", and that inside of it "embed".
        self.image_width = getattr(vision, "out_hidden_size", vision.hidden_size)
        self.image_pooled_width = self.image_width
        self.text_width = self.text_pooled_width = text.hidden_size
        self.tune(tuning, _towers(self.model))

    def embed_images(self, images: Tensor) -> Tokens:
        """Encode images uint8 [U, 3, S, S]; the g² merged patches stand row by row."""
        side, g = self.grid * self.merge, self.grid
        shapes = torch.tensor([1, side, side], device=images.device).repeat(len(images), 1)
        output = self.model.visual(self._patches(images), grid_thw=shapes)
        deep = output.get("deepstack_features") or ()
        levels = tuple(level.view(-1, g * g, self.image_width) for level in (*deep, output[1]))
        return Tokens(
            levels=levels,
            mask=torch.ones(levels[-1].shape[:2], dtype=torch.bool, device=images.device),
            pooled=levels[-1].mean(1),
        )

    def embed_texts(self, tokens: Tensor, mask: Tensor) -> Tokens:
        """Encode token ids int64 [U, T], seen where mask bool [U, T] is true, first in each row."""
        output = self.model.language_model(
            input_ids=tokens.masked_fill(~mask, self.padding),
            # No mask of the padding: it stands last, where no token looks in a causal model.
            use_cache=False,
            **self.text_depths.arguments(),
        )
        states = output.last_hidden_state
        rows, ends = torch.arange(len(mask), device=mask.device), mask.sum(1) - 1
        return Tokens(
            levels=self.text_depths.taken(output, states), mask=mask, pooled=states[rows, ends]
        )

    def _patches(self, images: Tensor) -> Tensor:
        """Patches [U·(S/p)², 3·frames·p²] of images; those that are merged stand together."""
        U, g, m, p = len(images), self.grid, self.merge, self.patch
        pixels = self.scaling(images).view(U, 3, g, m, p, g, m, p)
        pixels = pixels.permute(0, 2, 5, 3, 6, 1, 4, 7).unsqueeze(6)
        # The towers were made for films: an image is one that stands still.
        return pixels.expand(-1, -1, -1, -1, -1, -1, self.frames, -1, -1).reshape(
            U * (g * m) ** 2, -1
        )


def _check_patches(name: str, processor: Any, vision: Any) -> None:
    for key, expected in (
        ("patch_size", vision.patch_size),
        ("merge_size", vision.spatial_merge_size),
        ("temporal_patch_size", vision.temporal_patch_size),
    ):
        found = getattr(processor, key, None)
        if found != expected:
            raise PinGraphError(
                f"{name}: its image processor has {key} {found}, but its vision model {expected}"
            )


def _end_texts(name: str, tokenizer: Any) -> None:
    """Let the tokenizer put its end token after each text, which it does not do by itself."""
    from tokenizers.processors import TemplateProcessing

    if tokenizer.eos_token is None:
        raise PinGraphError(f"{name}: its tokenizer has no end token (eos_token)")
    end = (tokenizer.eos_token, tokenizer.eos_token_id)
    template = TemplateProcessing(single=f"$A {end[0]}", special_tokens=[end])
    tokenizer.backend_tokenizer.post_processor = template


def _towers(model: Any) -> tuple[Tower, Tower]:
    vision, text = model.visual, model.language_model
    embeddings = [vision.patch_embed, getattr(vision, "pos_embed", None)]
    mergers = (vision.merger, *getattr(vision, "deepstack_merger_list", ()))
    return (
        Tower(
            before=tuple(part for part in embeddings if part is not None),
            layers=vision.blocks,
            after=mergers,
        ),
        Tower(before=(text.embed_tokens,), layers=text.layers, after=(text.norm,)),
    )
