"""Backbones that were trained on images and texts together: dual encoders as CLIP and SigLIP.

Papers of the models: `families`.
U pins, T text tokens, L positions of the text tower, S pixels and g patches of a side.
"""

from __future__ import annotations

import re
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pingraph.encoders.backbone import Backbone
from pingraph.encoders.checkpoints import (
    load_config,
    load_image_processor,
    load_model,
    load_tokenizer,
    read_model_type,
)
from pingraph.encoders.families import FAMILIES
from pingraph.encoders.pretrained_preparation import prepare, square_processor, usable_positions
from pingraph.encoders.towers import LEVELS, Depths, Scaling
from pingraph.encoders.tuning import TunedBackbone, Tuning
from pingraph.errors import PinGraphError
from pingraph.interfaces import Tokens

MODEL_TYPES = tuple(FAMILIES)


def load_backbone(name: str) -> Backbone:
    """Return the backbone of a folder or hub name, all of it trained.

    Raises:
        PinGraphError: it cannot be loaded, or is of a model type that no backbone is made for, or
            of images or of texts alone; or the name is that of a class that does not exist.
    """
    from pingraph.encoders.qwen import MODEL_TYPES as QWEN_TYPES
    from pingraph.encoders.qwen import QwenBackbone
    from pingraph.encoders.two_tower import TEXT_TYPES, VISION_TYPES

    if re.fullmatch(r"[a-z_]\w*(\.\w+)+", name) and not Path(name).exists():
        raise PinGraphError(f"backbone is {name!r}: no such class, folder or hub name")
    found = read_model_type(name)
    for kind, types in (("vision", VISION_TYPES), ("text", TEXT_TYPES)):
        if found in types:
            arguments = "vision and text".replace(kind, f"{kind} (this one)")
            raise PinGraphError(
                f"{name}: model type {found!r} is a {kind} model by itself, expected one of images "
                "and texts; two models make a pingraph.encoders.TwoTowerBackbone, with its "
                f"arguments {arguments}"
            )
    if load_config(name, (*MODEL_TYPES, *QWEN_TYPES)).model_type in QWEN_TYPES:
        return QwenBackbone(name)
    return PretrainedBackbone(name)


class PretrainedBackbone(TunedBackbone):
    """A dual encoder of a type in `FAMILIES`; its pooled vectors are the model's own features.

    SigLIP 2 of any aspect ("NaFlex") sees squares here, of as many patches as its image processor
    allows; what it makes of square images is the same.

    Args:
        name: a folder that `save_pretrained` wrote, or a name on the hub.
        tuning: what of it is trained.
        levels: the depths that tokens are taken from, as shares of each tower's depth, ascending;
            the last is 1, the last layer after its final norm.

    Raises:
        PinGraphError: the model cannot be loaded, is of another type, or its parts do not fit each
            other; `levels` does not ascend to 1; as of `Tuning.apply`.
    """

    def __init__(
        self,
        name: str,
        tuning: Tuning = Tuning(),  # noqa: B008
        levels: tuple[float, ...] = LEVELS,
    ):
        super().__init__()
        config = load_config(name, MODEL_TYPES)
        vision, text = config.vision_config, config.text_config
        processor = load_image_processor(name, config.model_type)
        tokenizer = load_tokenizer(name, text.vocab_size)
        self.model_type = config.model_type
        self.family = FAMILIES[config.model_type]
        if config.model_type == "siglip" and type(tokenizer).__name__.startswith("Gemma"):
            _lower(tokenizer)
        if config.model_type == "siglip2":
            processor = _of_squares(name, processor, vision.patch_size)
        self.preparation = prepare(name, processor, tokenizer, usable_positions(text))
        self.grid = _grid(name, self.preparation.image_size, vision)
        self.scaling = Scaling(processor)
        self.model: Any = _load(name)
        self.image_depths = Depths(levels, vision.num_hidden_layers)
        self.text_depths = Depths(levels, text.num_hidden_layers)
        self.image_levels, self.text_levels = len(self.image_depths), len(self.text_depths)
        self.image_width, self.text_width = vision.hidden_size, text.hidden_size
        self.patch = vision.patch_size
        self.padding = tokenizer.pad_token_id or 0
        self.pads_left = tokenizer.padding_side == "left"
        made = "attention_mask" in tokenizer.model_input_names
        self.hides_padding = (
            made if self.family.padding == "full" else self.family.padding == "masked"
        )
        # SigLIP has none, and its image tower ends at its own width.
        shared = getattr(config, "projection_dim", None)
        self.image_pooled_width = shared or vision.hidden_size
        self.text_pooled_width = shared or text.projection_size
        self.tune(tuning, (self.family.image.tower(self.model), self.family.text.tower(self.model)))

    def embed_images(self, images: Tensor) -> Tokens:
        """Encode images uint8 [U, 3, S, S]; a class token, if any, stands before the g² patches."""
        pixels = self.scaling(images)
        given = self._patches(pixels) if self.model_type == "siglip2" else {"pixel_values": pixels}
        parts = self.family.image
        output = self.model.get_image_features(**given, **parts.asked(self.image_depths))
        levels = parts.levels(self.image_depths, self.model, output)
        return Tokens(
            levels=levels,
            mask=torch.ones(levels[-1].shape[:2], dtype=torch.bool, device=images.device),
            pooled=output.pooler_output,
        )

    def embed_texts(self, tokens: Tensor, mask: Tensor) -> Tokens:
        """Encode token ids int64 [U, T], seen where mask bool [U, T] is true, first in each row.

        SigLIP's tower is given all L positions, with padding, as it was trained, and on the left
        where its tokenizer pads so.
        """
        tokens, shown = tokens.masked_fill(~mask, self.padding), mask
        T, places = tokens.shape[1], slice(None)
        if self.family.padding == "full":
            missing = self.preparation.max_tokens - T
            if self.pads_left:
                tokens, mask = _to_the_right(tokens, mask)
                places, sides = slice(missing, None), (missing, 0)
            else:
                places, sides = slice(0, T), (0, missing)
            tokens = F.pad(tokens, sides, value=self.padding)
            mask = F.pad(mask, sides)
        parts = self.family.text
        output = self.model.get_text_features(
            input_ids=tokens,
            attention_mask=mask if self.hides_padding else None,
            **parts.asked(self.text_depths),
        )
        levels = parts.levels(self.text_depths, self.model, output)
        levels = tuple(level[:, places] for level in levels)
        if self.family.padding == "full" and self.pads_left:
            levels = tuple(_to_the_left(level, shown) for level in levels)
        return Tokens(levels=levels, mask=shown, pooled=output.pooler_output)

    def _patches(self, pixels: Tensor) -> dict[str, Tensor]:
        U, g, p = len(pixels), self.grid, self.patch
        patches = pixels.view(U, 3, g, p, g, p).permute(0, 2, 4, 3, 5, 1).reshape(U, g * g, -1)
        return {
            "pixel_values": patches,
            "pixel_attention_mask": torch.ones(U, g * g, dtype=torch.long, device=pixels.device),
            # Stays on the CPU: the model reads it there, image by image.
            "spatial_shapes": torch.full((U, 2), g),
        }


def _load(name: str) -> Any:
    model = load_model(name)
    if not getattr(model.vision_model, "use_head", True):
        raise PinGraphError(f"{name}: its vision model has no head, so no features of an image")
    if model.config.model_type == "aimv2":
        # Without padding `transformers` leaves the mask out, and then lets tokens see those after
        # them, as they never did in training: a text's features would depend on its batch.
        for layer in model.text_model.encoder.layers:
            layer.attention.is_causal = True
    return model


def _lower(tokenizer: Any) -> None:
    """Let the tokenizer of SigLIP 2 lower its texts, which are all that training has shown it.

    `transformers` does so for model type "siglip2" alone (its pull request 43101).
    """
    from tokenizers.normalizers import Lowercase, Sequence

    backend = tokenizer.backend_tokenizer
    before = [] if backend.normalizer is None else [backend.normalizer]
    backend.normalizer = Sequence([Lowercase(), *before])


def _of_squares(name: str, processor: Any, patch: int) -> Any:
    if processor.patch_size != patch:
        raise PinGraphError(
            f"{name}: its image processor makes patches of {processor.patch_size} pixels, but its "
            f"vision model takes {patch}"
        )
    return square_processor(processor, isqrt(processor.max_num_patches) * patch)


def _grid(name: str, size: int, vision: Any) -> int:
    expected = getattr(vision, "image_size", size)  # SigLIP 2 of any aspect has none
    if size != expected or size % vision.patch_size:
        raise PinGraphError(
            f"{name}: its image processor makes {size} pixels of a side, but its vision model "
            f"takes {expected} in patches of {vision.patch_size}"
        )
    return size // vision.patch_size


def _to_the_right(tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Move the tokens of each row, which stand first in it, to its end."""
    T = tokens.shape[1]
    places = torch.arange(T, device=tokens.device) + mask.sum(1, keepdim=True)
    places = places % T
    return tokens.gather(1, places), mask.gather(1, places)


def _to_the_left(level: Tensor, mask: Tensor) -> Tensor:
    """Move what a tower makes of the last tokens of each row, float [U, T, C], to where they were.

    `mask` bool [U, T] says where that was.
    """
    T = mask.shape[1]
    places = torch.arange(T, device=mask.device) - mask.sum(1, keepdim=True)
    return level.take_along_dim((places % T).unsqueeze(2), dim=1)
