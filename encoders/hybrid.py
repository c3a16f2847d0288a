"""HybridEncoder: a pin's content in, its image, text and fused embeddings out, all in one space.

U pins, N image tokens, T text tokens, C channels, D embedding dimension.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pingraph.encoders.backbone import Backbone
from pingraph.encoders.checks import check_dropout, check_heads, check_sizes
from pingraph.encoders.features import FeatureToken, Modality, feature_of
from pingraph.encoders.fusion import Fusion, FusionKind, rotation
from pingraph.encoders.granularity import Granularities, Granularity, Levels
from pingraph.encoders.hiding import HiddenNumbers, hide_for
from pingraph.encoders.layers import AttentionPool, spread, unit
from pingraph.encoders.shallow import ShallowLook
from pingraph.encoders.small import SmallBackbone
from pingraph.encoders.stem import ConvolutionalStem
from pingraph.errors import PinGraphError
from pingraph.interfaces import Embeddings, PinContent, Tokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class HybridEncoder(nn.Module):
    """The two towers of a backbone, looked at by attention and fused.

    After PinCLIP (arXiv 2603.03544): a hybrid vision transformer on a vision-language backbone,
    fusion at several granularities. What the abstract leaves open is an option here. The embedding
    of a pin depends on its content alone, so a pin without a single save is embedded as well as
    any other.

    Args:
        backbone: the towers; a string is the folder or hub name of a pretrained model, all of it
            trained. `SmallBackbone()` if not given.
        embed_dim: dimension D of the embeddings.
        dim: channels C in which tokens are pooled and fused, a multiple of `heads`, and of 16 with
            a stem; the width of the narrower tower if not given.
        heads: attention heads.
        dropout: share of activations dropped in training, 0 up to below 1; of the fusion, a
            backbone has its own.
        fusion: early over tokens, late over vectors, or hybrid of both.
        granularities: how the image is looked at: as a whole, by regions, by patches. The image's
            embedding rests on the vectors of all of them, and the fusion sees the tokens of all.
        regions: regions of a side that the image is cut into.
        levels: depths that tokens are taken from, the backbone's deepest. A tower that has fewer
            gives all it has.
        stem: whether convolutions look at the pixels beside the backbone. `SmallBackbone` has
            them inside.
        shallow: whether the fused embedding has a part that only words, coarse pixels and features
            make; if not given, with a backbone that learns its words, which `SmallBackbone` does.
        features: modalities of which frozen features come along: what EfficientNet-Lite0,
            pretrained on ImageNet, makes of the image, and MiniLM of the text. If not given, of
            both with a backbone that learns its words, of none with a pretrained one.
        input_dropout: share of the numbers of the features, of the shallow part's pixels, and of
            the tokens of a pretrained backbone, that are hidden in training, others at each step, 0
            up to below 1: with all of them training pins are known by heart. Less in a training of
            fewer than 37 passes over the pins, in proportion.
        deep_weight: what the fused vector of the towers counts beside the shallow part's.
        solved_weight: what the shallow part that is solved for the walks at once counts beside
            the one that goes on to learn from it, times what it can tell of pins unseen
            (`learn_walks`), and less where it was solved for more than 5,000 pins, in proportion;
            0 for none that is solved.

    Raises:
        PinGraphError: a size that is too small, or does not fit another or the backbone; a share
            or weight out of range; no granularity; a shallow part beside a pretrained backbone; an
            unknown modality.
    """

    SOLVED_WHOLE = 5_000  # pins up to which what is solved for them counts whole

    solved_share: Tensor  # what the solved part counts of its weight

    def __init__(
        self,
        backbone: Backbone | str | None = None,
        embed_dim: int = 128,
        dim: int | None = None,
        heads: int = 4,
        dropout: float = 0.1,
        fusion: FusionKind = "hybrid",
        granularities: tuple[Granularity, ...] = ("patch",),
        regions: int = 2,
        levels: int = 1,
        stem: bool = False,
        shallow: bool | None = None,
        features: tuple[Modality, ...] | None = None,
        input_dropout: float = 0.5,
        deep_weight: float = 0.5,
        solved_weight: float = 1.0,
    ):
        super().__init__()
        self.backbone = _built(backbone)
        towers = self.backbone
        dim = min(towers.image_width, towers.text_width) if dim is None else dim
        check_sizes(embed_dim=embed_dim, dim=dim, heads=heads, regions=regions, levels=levels)
        check_heads(dim, heads, multiple=16 if stem else 1)
        check_dropout(dropout=dropout, input_dropout=input_dropout)
        for name, weight in (("deep_weight", deep_weight), ("solved_weight", solved_weight)):
            if not 0 <= weight < math.inf:
                raise PinGraphError(f"{name} is {weight}: expected a number of 0 or more")
        _check_looks(towers, granularities, regions, levels)
        self.embed_dim = embed_dim
        self.dim = dim
        self.preparation = towers.preparation
        self.hidden = HiddenNumbers(input_dropout)
        self.stem = ConvolutionalStem(dim, heads) if stem else None
        self.image_levels = Levels(towers.image_width, dim, min(levels, towers.image_levels))
        self.text_levels = Levels(towers.text_width, dim, min(levels, towers.text_levels))
        self.granularities = Granularities(dim, heads, towers.grid, granularities, regions)
        self.text_pool = AttentionPool(dim, heads)
        self.features = _features(towers, features)
        self.feature_tokens = nn.ModuleDict(
            {one: FeatureToken(one, dim, input_dropout) for one in self.features}
        )
        looks = len(self.granularities.pools) + stem + ("image" in self.features)
        self.image_head = nn.Linear(towers.image_pooled_width + looks * dim, embed_dim)
        looks = 1 + ("text" in self.features)
        self.text_head = nn.Linear(towers.text_pooled_width + looks * dim, embed_dim)
        self._align_heads()
        self.fusion = Fusion(fusion, dim, embed_dim, heads, dropout)
        self.shallow = _shallow(towers, shallow, embed_dim, self.features, input_dropout)
        self.deep_weight = deep_weight
        self.solved_weight = solved_weight
        self.solved: ShallowLook | None = None
        if self.shallow is not None and solved_weight:
            self.solved = copy.deepcopy(self.shallow).requires_grad_(False)
            self.register_buffer("solved_share", torch.tensor(0.0))  # nothing until it is solved
        self.turn = None if self.shallow is None else nn.Parameter(rotation(embed_dim))

    def forward(self, content: PinContent) -> Embeddings:
        """Embed U pins; each tower runs only on the pins that have its modality.

        Raises:
            PinGraphError: images of another size, or longer texts, than the backbone's.
        """
        has_image, has_text = content.has_image, content.token_mask.any(1)
        image = self._image(content, has_image.nonzero().squeeze(1))
        text = self._text(content, has_text.nonzero().squeeze(1))
        fused = unit(self.fusion(*image, *text))
        known = (has_image | has_text).unsqueeze(1)
        shallow, vocabulary = None, self.backbone.vocabulary
        if self.shallow is not None and vocabulary is not None:
            words = vocabulary(content.tokens)
            shallow = both = self.shallow(content, words)
            # Not in training: it fits the training pins, which would leave the others little to do.
            if self.solved is not None and not self.training:
                counts = self.solved_weight * self.solved_share
                both = shallow + counts * self.solved(content, words)
            # Turned as the parts of the fusion are, so that each is held against its like.
            fused = unit(self.deep_weight * fused + both @ self.turn)
        return Embeddings(
            image=image[2],
            text=text[2],
            fused=fused * known,
            has_image=has_image,
            has_text=has_text,
            shallow=shallow,
        )

    @property
    def looks_at_pixels(self) -> bool:
        """Whether it needs the images even where the tokens of a frozen backbone come along."""
        return self.stem is not None or self.shallow is not None

    def learn_words(self, tokenizer: Tokenizer) -> None:
        """Note what the tokens of a trained tokenizer are; nothing to do for a pretrained one."""
        if self.backbone.vocabulary is not None:
            self.backbone.vocabulary.learn(tokenizer)

    @torch.no_grad()
    def learn_walks(self, contents: Iterable[PinContent], targets: np.ndarray) -> None:
        """Let the shallow part start from what walks say by themselves, which is solved at once.

        The fused embedding of a pin is, from then on, of the towers, of the shallow part that goes
        on to learn, and of the solution, since what is trained on also forgets (WiSE-FT, Wortsman
        et al., CVPR 2022). The solution counts as much as it can tell of pins that it was not
        solved for, next to nothing where walks go by chance; and less where there are many pins, of
        whom its few dimensions say less each. The shallow part starts on the way from what was
        drawn to the solution, as far as the solution can tell. Without it, or a walk, nothing
        changes.

        Args:
            contents: of n training pins, some at a time.
            targets: float32 [n, K], as of `walk_spectrum`.
        """
        vocabulary = self.backbone.vocabulary
        if self.shallow is None or self.solved is None or vocabulary is None or not targets.any():
            return
        seen = ((one, vocabulary(one.tokens)) for one in contents)
        foresight = self.solved.solve(seen, targets)
        for drawn, solved in zip(self.shallow.parameters(), self.solved.parameters(), strict=True):
            drawn.lerp_(solved, foresight)
        self.solved_share.fill_(foresight * min(1.0, self.SOLVED_WHOLE / len(targets)))

    def expect_passes(self, passes: float) -> None:
        """Hide less of what is read where training sees each pin a few times only: see `hiding`.

        Args:
            passes: over the training pins, as anchors, that the training is to make.
        """
        hide_for(self, passes)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the layers of the backbone; arguments as of `torch.compile`."""
        self.backbone.compile(*args, **kwargs)

    def learning_rate_scales(self) -> dict[str, float]:
        """Return what the learning rate of a parameter is multiplied with, by name; 1 if absent."""
        scales = self.backbone.learning_rate_scales()
        return {f"backbone.{name}": scale for name, scale in scales.items()}

    def _image(self, content: PinContent, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens [U, N, C], their mask [U, N] and unit vectors [U, D], zero without an image."""
        pins = len(content.has_image)
        if not len(rows):
            return self._absent(pins)
        images = content.images
        if self.looks_at_pixels or content.image_tokens is None:
            self._check_images(images)
            images = images[rows]
        cached = content.image_tokens
        found = self.backbone.embed_images(images) if cached is None else self._at(cached, rows)
        found = self._partly(found)
        beside = [] if self.stem is None else [self.stem(images)[0]]
        beside += self._feature_token(content, "image", rows)
        details = torch.cat(beside, dim=1) if beside else None
        tokens, mask, vectors = self.granularities(self.image_levels(found), found.mask, details)
        vectors += [part.mean(1) for part in beside]
        vector = unit(self.image_head(torch.cat([found.pooled, *vectors], dim=1)))
        return spread(tokens, rows, pins), spread(mask, rows, pins), spread(vector, rows, pins)

    def _text(self, content: PinContent, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens [U, T, C], their mask [U, T] and unit vectors [U, D], zero without a text."""
        pins = len(content.tokens)
        if not len(rows):
            return self._absent(pins)
        if content.text_tokens is None:
            self._check_texts(content.tokens)
            found = self.backbone.embed_texts(content.tokens[rows], content.token_mask[rows])
        else:
            found = self._at(content.text_tokens, rows)
        found = self._partly(found)
        levels = self.text_levels(found)
        beside = self._feature_token(content, "text", rows)
        tokens = torch.cat([*beside, levels.flatten(1, 2)], dim=1)
        mask = F.pad(found.mask.repeat(1, levels.shape[1]), (len(beside), 0), value=True)
        vectors = [self.text_pool(tokens, mask), *beside]
        pooled = torch.cat([found.pooled, *(part.squeeze(1) for part in vectors)], dim=1)
        vector = unit(self.text_head(pooled))
        return spread(tokens, rows, pins), spread(mask, rows, pins), spread(vector, rows, pins)

    def _feature_token(self, content: PinContent, name: str, rows: Tensor) -> list[Tensor]:
        """The token [rows, 1, C] of a modality's frozen features, if they are looked at."""
        if name not in self.feature_tokens:
            return []
        features, _ = feature_of(content, name)
        return [self.feature_tokens[name](features[rows]).unsqueeze(1)]

    def _absent(self, pins: int) -> tuple[Tensor, Tensor, Tensor]:
        """What a modality gives that no pin has: a hidden token, and zero vectors."""
        weight = self.image_head.weight
        return (
            weight.new_zeros(pins, 1, self.dim),
            weight.new_zeros(pins, 1, dtype=torch.bool),
            weight.new_zeros(pins, self.embed_dim),
        )

    def _at(self, tokens: Tokens, rows: Tensor) -> Tokens:
        """Tokens that were read from a cache, at some rows, in the dtype of the parameters."""
        dtype = self.image_head.weight.dtype
        return Tokens(
            levels=tuple(level[rows].to(dtype) for level in tokens.levels),
            mask=tokens.mask[rows],
            pooled=tokens.pooled[rows].to(dtype),
        )

    def _partly(self, tokens: Tokens) -> Tokens:
        """Hide a share of what a pretrained backbone says; `SmallBackbone` hides words itself."""
        if self.backbone.vocabulary is not None:
            return tokens
        levels = tuple(self.hidden(level) for level in tokens.levels)
        return replace(tokens, levels=levels, pooled=self.hidden(tokens.pooled))

    @torch.no_grad()
    def _align_heads(self) -> None:
        """Start with one projection of both summaries: CLIP's are in one space and stay there."""
        width = self.backbone.image_pooled_width
        if width == self.backbone.text_pooled_width:
            self.text_head.weight[:, :width] = self.image_head.weight[:, :width]

    def _check_images(self, images: Tensor) -> None:
        size = self.preparation.image_size
        if images.shape[2:] != (size, size):
            found = " x ".join(map(str, images.shape[2:]))
            raise PinGraphError(f"images have {found} pixels: expected {size} x {size}")

    def _check_texts(self, tokens: Tensor) -> None:
        most = self.preparation.max_tokens
        if tokens.shape[1] > most:
            raise PinGraphError(f"texts have {tokens.shape[1]} tokens: expected {most} at most")


def _built(backbone: Backbone | str | None) -> Backbone:
    if backbone is None:
        return SmallBackbone()
    if isinstance(backbone, str):
        from pingraph.encoders.pretrained import load_backbone

        return load_backbone(backbone)
    return backbone


def _features(towers: Backbone, wanted: tuple[Modality, ...] | None) -> tuple[Modality, ...]:
    if wanted is None:
        return () if towers.vocabulary is None else get_args(Modality)
    if not set(wanted) <= set(get_args(Modality)):
        expected = ", ".join(get_args(Modality))
        raise PinGraphError(f"features is {wanted}: expected some of {expected}")
    return tuple(wanted)


def _shallow(
    towers: Backbone,
    wanted: bool | None,
    embed_dim: int,
    features: tuple[Modality, ...],
    dropout: float,
) -> ShallowLook | None:
    vocabulary = towers.vocabulary
    if wanted and vocabulary is None:
        raise PinGraphError(
            "shallow is true: expected a backbone that learns its words, such as SmallBackbone"
        )
    if vocabulary is None or wanted is False:
        return None
    return ShallowLook(vocabulary, embed_dim, features, dropout)


def _check_looks(
    towers: Backbone, granularities: tuple[Granularity, ...], regions: int, levels: int
) -> None:
    if not granularities or not set(granularities) <= set(get_args(Granularity)):
        expected = ", ".join(get_args(Granularity))
        raise PinGraphError(f"granularities is {granularities}: expected some of {expected}")
    if "regional" in granularities and regions > towers.grid:
        raise PinGraphError(
            f"regions is {regions}: the backbone has {towers.grid} patches of a side"
        )
    most = max(towers.image_levels, towers.text_levels)
    if levels > most:
        raise PinGraphError(f"levels is {levels}: the backbone gives {most}")
