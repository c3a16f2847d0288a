"""The families of dual encoders: where a model of each keeps its parts, and what padding does.

CLIP: arXiv 2103.00020. MetaCLIP 2: arXiv 2507.22062. AltCLIP: arXiv 2211.06679. Chinese CLIP: arXiv
2211.01335. AIMv2: arXiv 2411.14402. SigLIP: arXiv 2303.15343. SigLIP 2: arXiv 2502.14786.
U pins, M tokens, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, Literal

from torch import Tensor

from pingraph.encoders.towers import Depths
from pingraph.encoders.tuning import Tower


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The paths of a tower's parts in the model, in the order that its input passes through them.

    Args:
        before: of what stands before the layers.
        layers: of the list of layers.
        after: of what comes after them.
        norm: of the last norm, where the model's `last_hidden_state` is not what comes out of it.
    """

    before: tuple[str, ...]
    layers: str
    after: tuple[str, ...]
    norm: str | None = None

    def tower(self, model: Any) -> Tower:
        """Return these parts of a model."""
        return Tower(
            before=tuple(attrgetter(path)(model) for path in self.before),
            layers=attrgetter(self.layers)(model),
            after=tuple(attrgetter(path)(model) for path in self.after),
        )

    def asked(self, depths: Depths) -> dict[str, Any]:
        """Return the arguments of the model with which its output holds all that `levels` needs."""
        return depths.arguments(last=self.norm is not None)

    def levels(self, depths: Depths, model: Any, output: Any) -> tuple[Tensor, ...]:
        """Return the levels float [U, M, C] of a model's output; the last comes after the norm."""
        if self.norm is None:
            return depths.taken(output, output.last_hidden_state)
        return depths.taken(output, attrgetter(self.norm)(model)(output.hidden_states[-1]))


@dataclass(frozen=True, kw_only=True)
class Family:
    """What `PretrainedBackbone` has to know of a model type beyond its config.

    Args:
        image: the parts of the image tower.
        text: those of the text tower.
        padding: of texts. "unseen": it stands last, where no token looks in a causal tower.
            "masked": the tower is given the mask. "full": to the tower's full length as in its
            training, masked only where the tokenizer makes a mask.
    """

    image: Parts
    text: Parts
    padding: Literal["unseen", "masked", "full"]


_CLIP = Family(
    image=Parts(
        before=("vision_model.embeddings", "vision_model.pre_layrnorm"),
        layers="vision_model.encoder.layers",
        after=("vision_model.post_layernorm", "visual_projection"),
        norm="vision_model.post_layernorm",  # which the model itself lets see the class token alone
    ),
    text=Parts(
        before=("text_model.embeddings",),
        layers="text_model.encoder.layers",
        after=("text_model.final_layer_norm", "text_projection"),
    ),
    padding="unseen",
)
_SIGLIP = Family(
    image=Parts(
        before=("vision_model.embeddings",),
        layers="vision_model.encoder.layers",
        after=("vision_model.post_layernorm", "vision_model.head"),
    ),
    text=replace(_CLIP.text, after=("text_model.final_layer_norm", "text_model.head")),
    padding="full",
)
_ALTCLIP_TEXT = Parts(  # XLM-R, whose tokens are mapped to those of the CLIP that taught it
    before=("text_model.roberta.embeddings",),
    layers="text_model.roberta.encoder.layers",
    after=("text_model.pre_LN", "text_model.transformation", "text_projection"),
    norm="text_model.pre_LN",
)
_BERT_TEXT = Parts(
    before=("text_model.embeddings",),
    layers="text_model.encoder.layer",
    after=("text_projection",),
)
_AIMV2 = Family(
    image=replace(
        _SIGLIP.image, after=("vision_model.rms_norm", "vision_model.head", "visual_projection")
    ),
    text=replace(_CLIP.text, after=("text_model.rms_norm", "text_projection")),
    padding="unseen",
)

# "siglip" are also the checkpoints of SigLIP 2 of a fixed size; "siglip2" those of any aspect.
FAMILIES = {
    "clip": _CLIP,
    "metaclip_2": _CLIP,
    "altclip": replace(_CLIP, text=_ALTCLIP_TEXT, padding="masked"),
    "chinese_clip": replace(_CLIP, text=_BERT_TEXT, padding="masked"),
    "aimv2": _AIMV2,
    "siglip": _SIGLIP,
    "siglip2": _SIGLIP,
}
