"""A backbone of two models that never met: one of images, and one of texts.

ViT: arXiv 2010.11929. DINOv2: arXiv 2304.07193, with registers 2309.16588. DINOv3: arXiv
2508.10104. BERT: arXiv 1810.04805. DistilBERT: arXiv 1910.01108. RoBERTa: arXiv 1907.11692. XLM-R:
arXiv 1911.02116. MPNet: arXiv 2004.09297. ModernBERT: arXiv 2412.13663. The mean of the tokens as
the vector of a sentence: arXiv 1908.10084. U pins, T text tokens, S pixels and g patches of a side.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pingraph.encoders.checkpoints import (
    load_config,
    load_file,
    load_image_processor,
    load_model,
    load_tokenizer,
)
from pingraph.encoders.pretrained_preparation import prepare, usable_positions
from pingraph.encoders.towers import LEVELS, Depths, Scaling
from pingraph.encoders.tuning import Tower, TunedBackbone, Tuning
from pingraph.errors import PinGraphError
from pingraph.interfaces import Tokens


@dataclass(frozen=True)
class Kind:
    """Where a model of a type keeps its parts, and what loading it takes.

    Args:
        layers: path of the list of layers.
        norm: name of the last norm; None where each layer ends with its own.
        bias: path of the positions that all layers add to their attention, if it has such.
        loading: arguments of `load_model`.
    """

    layers: str
    norm: str | None = None
    bias: str | None = None
    loading: dict[str, Any] = field(default_factory=dict)


# Theirs is of another task, and many checkpoints lack it: its weights would be of chance.
_NO_POOLER = {"add_pooling_layer": False}
_BERT = Kind("encoder.layer", loading=_NO_POOLER)
VISION_TYPES = {
    "vit": Kind("layers", "layernorm", loading=_NO_POOLER),
    "dinov2": Kind("encoder.layer", "layernorm"),
    "dinov2_with_registers": Kind("encoder.layer", "layernorm"),
    "dinov3_vit": Kind("model.layer", "norm"),
}
TEXT_TYPES = {
    "bert": _BERT,
    "distilbert": Kind("transformer.layer"),
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "mpnet": Kind(
        "encoder.layer",
        bias="encoder.relative_attention_bias",
        # It has no fused attention in `transformers`.
        loading={**_NO_POOLER, "attn_implementation": "eager"},
    ),
    "modernbert": Kind("layers", "final_norm"),
}
POOLING = "1_Pooling/config.json"


class TwoTowerBackbone(TunedBackbone):
    """A model of `VISION_TYPES` for images and one of `TEXT_TYPES` for texts.

    An image's pooled vector is its class token after the last norm. A text's is the mean of its
    tokens, or its first one where the file `1_Pooling/config.json` of sentence-transformers says
    so; it is not normalized, which sentence-transformers does last of all.

    Args:
        vision: folder or hub name of the image model.
        text: folder or hub name of the text model.
        tuning: what of the two is trained.
        levels: the depths that tokens are taken from, as shares of each tower's depth, ascending;
            the last is 1, the last layer after its final norm.
        max_tokens: longest text, in tokens, where the text model can take as many.

    Raises:
        PinGraphError: a model cannot be loaded, is of another type, or does not fit its image
            processor or tokenizer; `levels` does not ascend to 1; `max_tokens` is below 3; as of
            `Tuning.apply`.
    """

    def __init__(
        self,
        vision: str,
        text: str,
        tuning: Tuning = Tuning(),  # noqa: B008
        levels: tuple[float, ...] = LEVELS,
        max_tokens: int = 128,
    ):
        super().__init__()
        if max_tokens < 3:
            raise PinGraphError(f"max_tokens is {max_tokens}: expected 3 or more")
        of_images, of_texts = load_config(vision, VISION_TYPES), load_config(text, TEXT_TYPES)
        processor = load_image_processor(vision, of_images.model_type)
        tokenizer = load_tokenizer(text, of_texts.vocab_size)
        max_tokens = min(max_tokens, usable_positions(of_texts))
        self.preparation = prepare(vision, processor, tokenizer, max_tokens)
        self.grid = _grid(vision, self.preparation.image_size, of_images)
        self.scaling = Scaling(processor)
        self.vision: Any = load_model(vision, **VISION_TYPES[of_images.model_type].loading)
        self.text: Any = load_model(text, **TEXT_TYPES[of_texts.model_type].loading)
        self.padding = tokenizer.pad_token_id or 0
        self.first = _pools_first(text)
        self.image_depths = Depths(levels, of_images.num_hidden_layers)
        self.text_depths = Depths(levels, of_texts.num_hidden_layers)
        self.image_levels, self.text_levels = len(self.image_depths), len(self.text_depths)
        self.image_width = self.image_pooled_width = of_images.hidden_size
        self.text_width = self.text_pooled_width = of_texts.hidden_size
        self.tune(tuning, (_tower(self.vision), _tower(self.text)))

    def embed_images(self, images: Tensor) -> Tokens:
        """Encode images uint8 [U, 3, S, S]; the class token and registers stand before g² patches.

        Registers stand after the class token where the model has them.
        """
        arguments = self.image_depths.arguments()
        output = self.vision(pixel_values=self.scaling(images), **arguments)
        last = output.last_hidden_state
        return Tokens(
            levels=self.image_depths.taken(output, last),
            mask=torch.ones(last.shape[:2], dtype=torch.bool, device=last.device),
            pooled=last[:, 0],
        )

    def embed_texts(self, tokens: Tensor, mask: Tensor) -> Tokens:
        """Encode token ids int64 [U, T], seen where mask bool [U, T] is true."""
        output = self.text(
            input_ids=tokens.masked_fill(~mask, self.padding),
            attention_mask=mask,
            **self.text_depths.arguments(),
        )
        last = output.last_hidden_state
        if self.first:
            pooled = last[:, 0]
        else:
            seen = mask.unsqueeze(2).to(last.dtype)
            pooled = (last * seen).sum(1) / seen.sum(1)
        return Tokens(levels=self.text_depths.taken(output, last), mask=mask, pooled=pooled)


def _tower(model: Any) -> Tower:
    kind = (VISION_TYPES | TEXT_TYPES)[model.config.model_type]
    # Without the token that hides patches in pretraining, which gets no gradient here.
    before = [p for name, p in model.embeddings.named_parameters() if name != "mask_token"]
    if kind.bias is not None:
        before += attrgetter(kind.bias)(model).parameters()
    return Tower(
        before=tuple(before),
        layers=attrgetter(kind.layers)(model),
        after=() if kind.norm is None else (getattr(model, kind.norm),),
    )


def _grid(name: str, size: int, config: Any) -> int:
    # DINO's positions fit any number of patches, ViT's only those that it was trained on.
    expected = config.image_size if config.model_type == "vit" else size
    if size != expected or size % config.patch_size:
        raise PinGraphError(
            f"{name}: its image processor makes {size} pixels of a side, but the model takes "
            f"{expected} in patches of {config.patch_size}"
        )
    return size // config.patch_size


def _pools_first(name: str) -> bool:
    """Whether the vector of a text is its first token, as the files of the model say."""
    path = load_file(name, POOLING)
    if path is None:
        return False
    try:
        settings = json.loads(Path(path).read_text(encoding="utf-8"))
        modes = {settings["pooling_mode"]} if "pooling_mode" in settings else _legacy(settings)
    except (ValueError, TypeError, AttributeError) as error:
        raise PinGraphError(f"{path}: not the settings of a pooling ({error})") from error
    if modes not in ({"mean"}, {"cls"}):
        raise PinGraphError(f"{path}: pooling {', '.join(sorted(modes))}, expected mean or cls")
    return modes == {"cls"}


def _legacy(settings: dict[str, Any]) -> set[str]:
    """What older versions of sentence-transformers wrote: a flag for each way of pooling."""
    flags = [key for key, value in settings.items() if key.startswith("pooling_mode_") and value]
    return {key.split("_")[2] for key in flags} or {"mean"}
