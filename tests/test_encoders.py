"""HybridEncoder: one space, masks that hide, and vectors that depend on a pin's content alone."""

import copy

import pytest
import torch
from jsonargparse import ArgumentParser
from PIL import Image
from torch import nn

from pingraph.encoders import Backbone, HybridEncoder, SmallBackbone
from pingraph.encoders.lexicon import MINILM, read_lexicon
from pingraph.encoders.preparation import SmallPreparation
from pingraph.errors import PinGraphError
from pingraph.interfaces import PinContent, Tokens
from pingraph.tokenization import encode, train_tokenizer
from tests import tiny_models

SIZES = {"image_size": 16, "vocab_size": 50, "max_tokens": 6, "dim": 32}
SETTINGS: dict = {"embed_dim": 24, "dropout": 0.0, "input_dropout": 0.0, "features": ()}
ALL = ("global", "regional", "patch")


class LikePretrained(Backbone):
    """A backbone of other widths, a grid of 4, several depths, and two tokens before the patches.

    The first of them is padding that holds noise, the second a class token.
    """

    def __init__(self, pooled=20):
        super().__init__()
        self.preparation = SmallPreparation(image_size=16, vocab_size=50, max_tokens=6)
        self.image_width, self.image_pooled_width, self.image_levels, self.grid = 48, 20, 3, 4
        self.text_width, self.text_pooled_width, self.text_levels = 40, pooled, 2
        self.patches = nn.ModuleList(nn.Linear(48, 48) for _ in range(3))
        self.words = nn.ModuleList(nn.Embedding(50, 40) for _ in range(2))
        self.image_summary, self.text_summary = nn.Linear(48, 20), nn.Linear(40, pooled)

    def embed_images(self, images):
        cut = images.float().unfold(2, 4, 4).unfold(3, 4, 4) / 255  # [U, 3, 4, 4, 4, 4]
        patches = cut.permute(0, 2, 3, 1, 4, 5).reshape(len(images), 16, 48)
        x = torch.cat([patches.mean(1, keepdim=True), patches], dim=1)
        levels = []
        for layer in self.patches:
            x = x + torch.tanh(layer(x))
            levels.append(torch.cat([torch.rand_like(x[:, :1]) * 9, x], dim=1))
        visible = torch.ones(levels[0].shape[:2], dtype=torch.bool)
        visible[:, 0] = False
        return Tokens(levels=tuple(levels), mask=visible, pooled=self.image_summary(x[:, 0]))

    def embed_texts(self, tokens, mask):
        order = 1 + torch.arange(tokens.shape[1])[:, None] / 9
        levels = tuple(words(tokens) * order for words in self.words)
        sums = (levels[-1] * mask[:, :, None]).sum(1)
        return Tokens(levels=levels, mask=mask, pooled=self.text_summary(sums))

    def learning_rate_scales(self):
        return {"patches.0.weight": 0.5, "words.0.weight": 0.25}


def small(**changes):
    sizes = SIZES | {"vision_depth": 1, "dropout": 0.0, "word_dropout": 0.0} | changes
    return SmallBackbone(**sizes)


BUILDERS = {
    "small": lambda **o: HybridEncoder(small(), **SETTINGS | o),
    "small, deep": lambda **o: HybridEncoder(
        small(), granularities=ALL, levels=2, **SETTINGS | {"fusion": "early"} | o
    ),
    "small, global": lambda **o: HybridEncoder(
        small(), granularities=("global",), **SETTINGS | {"fusion": "late"} | o
    ),
    "pretrained": lambda **o: HybridEncoder(LikePretrained(), **SETTINGS | o),
    "pretrained, stem": lambda **o: HybridEncoder(
        LikePretrained(), dim=32, stem=True, levels=3, granularities=ALL, regions=3, **SETTINGS | o
    ),
    "pretrained, regional": lambda **o: HybridEncoder(
        LikePretrained(30),
        levels=2,
        granularities=("regional",),
        **SETTINGS | {"fusion": "late"} | o,
    ),
}


def build(kind, **options):
    torch.manual_seed(0)
    encoder = BUILDERS[kind](**options)
    encoder.learn_words(train_tokenizer(["red chair, green table, blue door"] * 2, 50, ["sofa"]))
    return encoder


@pytest.fixture(scope="module", params=BUILDERS)
def encoder(request):
    return build(request.param).eval()


def content(pins=7, tokens=5, image=None, text=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    image = torch.ones(pins, dtype=torch.bool) if image is None else image
    lengths = torch.randint(1, tokens + 1, (pins, 1), generator=generator)
    mask = torch.arange(tokens) < lengths
    if text is not None:
        mask = mask & text[:, None]
    return PinContent(
        images=torch.randint(0, 256, (pins, 3, 16, 16), generator=generator).to(torch.uint8),
        has_image=image,
        tokens=torch.randint(1, 50, (pins, tokens), generator=generator),
        token_mask=mask,
    )


def mixed():
    """Pins with both, an image only, a text only, and neither."""
    return content(
        image=torch.tensor([1, 1, 1, 0, 0, 0, 1]).bool(),
        text=torch.tensor([1, 0, 1, 1, 1, 0, 1]).bool(),
    )


def changed(given, **fields):
    return PinContent(**{**vars(given), **fields})


def close(a, b, atol=1e-5):
    return all(torch.allclose(getattr(a, k), getattr(b, k), atol=atol) for k in vectors(a))


def vectors(found):
    return {name: getattr(found, name) for name in ("image", "text", "fused")}


def spread(tokens, rows):
    """Tokens of some rows among all, with what no one should look at in the others."""

    def place(values, filler):
        whole = torch.full((len(rows), *values.shape[1:]), filler, dtype=values.dtype)
        whole[rows] = values
        return whole

    return Tokens(
        levels=tuple(place(level, torch.nan) for level in tokens.levels),
        mask=place(tokens.mask, False),
        pooled=place(tokens.pooled, torch.nan),
    )


def cached(backbone, given, dtype=torch.float32):
    """The same content, with the tokens of the backbone in the place of pixels."""
    has_image, has_text = given.has_image, given.token_mask.any(1)
    found = (
        spread(backbone.embed_images(given.images[has_image]), has_image),
        spread(backbone.embed_texts(given.tokens[has_text], given.token_mask[has_text]), has_text),
    )
    image, text = (
        Tokens(
            levels=tuple(level.detach().to(dtype) for level in tokens.levels),
            mask=tokens.mask,
            pooled=tokens.pooled.detach().to(dtype),
        )
        for tokens in found
    )
    return changed(
        given,
        images=torch.zeros(len(given.images), 3, 0, 0, dtype=torch.uint8),
        image_tokens=image,
        text_tokens=text,
    )


def test_vectors_have_length_one_where_there_is_content(encoder):
    given = mixed()
    found = encoder(given)
    has_text = given.token_mask.any(1)
    known = {"image": given.has_image, "text": has_text, "fused": given.has_image | has_text}
    for name, value in vectors(found).items():
        assert value.shape == (7, 24)
        assert torch.allclose(value.norm(dim=1), known[name].float(), atol=1e-5)
    assert torch.equal(found.has_image, given.has_image)
    assert torch.equal(found.has_text, has_text)


def test_what_is_behind_a_mask_changes_nothing(encoder):
    given = mixed()
    hidden = ~given.has_image[:, None, None, None]
    other = changed(
        given,
        images=torch.where(hidden, 255 - given.images, given.images),
        tokens=torch.where(given.token_mask, given.tokens, 7),
    )
    assert close(encoder(given), encoder(other))


def test_a_missing_image_is_not_a_black_one(encoder):
    black = changed(content(), images=torch.zeros_like(content().images))
    missing = changed(black, has_image=torch.zeros_like(black.has_image))
    assert not torch.allclose(encoder(black).fused, encoder(missing).fused, atol=1e-3)


def test_a_missing_text_is_not_padding(encoder):
    padding = changed(content(), tokens=torch.zeros_like(content().tokens))
    missing = changed(padding, token_mask=torch.zeros_like(padding.token_mask))
    assert not torch.allclose(encoder(padding).fused, encoder(missing).fused, atol=1e-3)


def test_padding_changes_nothing(encoder):
    given = content(tokens=4)
    wider = changed(
        given,
        tokens=nn.functional.pad(given.tokens, (0, 2)),
        token_mask=nn.functional.pad(given.token_mask, (0, 2)),
    )
    assert close(encoder(given), encoder(wider))


@pytest.mark.parametrize("training", [False, True])
def test_a_pin_does_not_depend_on_its_batch(encoder, training):
    """In training neither, but for dropout: nothing is normalized by the batch."""
    given = mixed()
    encoder = copy.deepcopy(encoder).train(training)
    together = encoder(given)
    for row in range(7):
        own = {k: None if v is None else v[row : row + 1] for k, v in vars(given).items()}
        alone = encoder(PinContent(**own))
        for name, value in vectors(together).items():
            assert torch.allclose(getattr(alone, name)[0], value[row], atol=1e-5)


def test_no_pins_at_all_have_no_vectors(encoder):
    found = encoder(content(pins=0))
    assert all(value.shape == (0, 24) for value in vectors(found).values())


@pytest.mark.parametrize("change", ["images", "tokens"])
def test_each_vector_sees_its_own_modality_and_the_fused_one_both(encoder, change):
    given = content()
    before, after = (
        encoder(given),
        encoder(changed(given, **{change: vars(content(seed=1))[change]})),
    )
    moved = {
        k: not torch.allclose(v, vars(after)[k], atol=1e-3) for k, v in vectors(before).items()
    }
    assert moved == {"image": change == "images", "text": change == "tokens", "fused": True}


def test_word_order_and_image_layout_matter(encoder):
    given = content()
    full = changed(given, token_mask=torch.ones_like(given.token_mask))
    turned = changed(full, tokens=full.tokens.flip(1), images=full.images.flip(3))
    assert not torch.allclose(encoder(full).text, encoder(turned).text, atol=1e-4)
    assert not torch.allclose(encoder(full).image, encoder(turned).image, atol=1e-4)


@pytest.mark.parametrize("fusion", ["hybrid", "early", "late"])
@pytest.mark.parametrize("kind", BUILDERS)
def test_every_parameter_learns(kind, fusion):
    encoder = build(kind, fusion=fusion)
    found = encoder(mixed())
    sum((value * torch.randn_like(value)).sum() for value in vectors(found).values()).backward()
    learning = [(name, p) for name, p in encoder.named_parameters() if p.requires_grad]
    still = [name for name, p in learning if p.grad is None or not p.grad.any()]
    unused = {
        "pretrained": ("backbone.words.0.",),  # of a level that is not taken
    }
    assert [name for name in still if not name.startswith(unused.get(kind, ()))] == []
    assert all(p.grad.isfinite().all() for p in encoder.parameters() if p.grad is not None)


@pytest.mark.parametrize("lacking", ["image", "text", "both"])
@pytest.mark.parametrize("kind", BUILDERS)
def test_a_batch_without_a_modality_trains(kind, lacking):
    nobody = torch.zeros(7, dtype=torch.bool)
    image = nobody if lacking in ("image", "both") else None
    text = nobody if lacking in ("text", "both") else None
    encoder = build(kind)
    found = encoder(content(image=image, text=text))
    total = sum(value.sum() for value in vectors(found).values())
    if total.requires_grad:  # late fusion of nothing at all has nothing to learn from
        total.backward()
    grads = [p.grad for p in encoder.parameters() if p.grad is not None]
    assert all(grad.isfinite().all() for grad in grads)
    assert found.fused.isfinite().all()
    assert (found.fused.norm(dim=1) == 0).all() == (lacking == "both")


@torch.no_grad()
def test_late_fusion_of_one_modality_is_that_modality_turned():
    encoder = build("small", fusion="late", shallow=False).eval()
    found = encoder(mixed())
    one = found.has_image ^ found.has_text
    image, text = encoder.fusion.turns
    expected = found.image @ image + found.text @ text
    assert torch.allclose(found.fused[one], expected[one], atol=1e-6)


@pytest.mark.parametrize("kind", ["small, deep", "pretrained", "pretrained, regional"])
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-5), (torch.float16, 5e-3)])
def test_tokens_from_a_cache_give_what_the_backbone_gives(kind, dtype, atol):
    """Nothing is read of a pin that lacks the modality, and no backbone runs."""
    encoder = build(kind).eval()
    given = mixed()
    expected = encoder(given)
    kept = cached(encoder.backbone, given, dtype)
    if encoder.looks_at_pixels:
        kept = changed(kept, images=given.images)
    encoder.backbone.embed_images = encoder.backbone.embed_texts = None
    found = encoder(kept)
    assert close(found, expected, atol)
    assert found.fused.dtype == torch.float32


def test_a_stem_looks_at_pixels_beside_the_cache():
    encoder = build("pretrained, stem").eval()
    given = mixed()
    kept = cached(encoder.backbone, given)
    encoder.backbone.embed_images = encoder.backbone.embed_texts = None
    assert close(encoder(changed(kept, images=given.images)), build("pretrained, stem")(given))
    with pytest.raises(PinGraphError, match="images have 0 x 0 pixels: expected 16 x 16"):
        encoder(kept)


def test_a_frozen_backbone_gets_no_gradient_and_the_rest_does():
    encoder = build("pretrained, stem")
    encoder.backbone.requires_grad_(False)
    encoder(mixed()).fused.sum().backward()
    assert encoder.backbone.frozen
    assert all(p.grad is None for p in encoder.backbone.parameters())
    assert all(p.grad is not None for p in encoder.fusion.parameters())


def test_numbers_of_a_pretrained_backbone_are_hidden_in_training_and_of_no_other():
    given = content()
    own = build("small", input_dropout=0.5, shallow=False).train()
    assert close(own(given), own(given), 0)
    encoder = build("pretrained", input_dropout=0.5).train()
    kept = changed(given, **vars(cached(encoder.backbone, given)))
    for one in (given, kept):
        first, second = encoder(one), encoder(one)
        assert not close(first, second)
        assert not close(first, encoder.eval()(one))
        assert close(encoder(one), encoder(one), 0)
        encoder.train()
    encoder.expect_passes(1e-9)  # a pin that is seen once cannot be known by heart
    assert close(encoder(given), encoder.eval()(given))


def test_each_level_that_is_taken_is_seen_and_no_other():
    given = content()
    for levels in (1, 2, 3):
        encoder = build("pretrained", levels=levels).eval()
        kept = cached(encoder.backbone, given)
        before = encoder(kept).image
        for level in range(3):
            layers = list(kept.image_tokens.levels)
            layers[level] = layers[level].flip(0)
            tokens = Tokens(**{**vars(kept.image_tokens), "levels": tuple(layers)})
            after = encoder(changed(kept, image_tokens=tokens)).image
            assert torch.equal(before, after) == (level < 3 - levels)


def test_an_alignment_that_the_backbone_brings_is_there_before_training():
    """Summaries in one space, as CLIP's, stay in one; each head then learns on its own."""

    class Aligned(LikePretrained):
        def embed_images(self, images):
            tokens = super().embed_images(images)
            return Tokens(**{**vars(tokens), "pooled": self.shared[: len(images)]})

        def embed_texts(self, tokens, mask):
            found = super().embed_texts(tokens, mask)
            return Tokens(**{**vars(found), "pooled": self.shared[: len(tokens)]})

    torch.manual_seed(0)
    encoder = HybridEncoder(Aligned(), **SETTINGS).eval()
    encoder.backbone.shared = torch.randn(20, 20)
    found = encoder(content(pins=20))
    assert torch.equal((found.image @ found.text.T).argmax(1), torch.arange(20))
    found.image.sum().backward()
    assert encoder.text_head.weight.grad is None


def test_bfloat16_changes_little_and_vectors_stay_single(encoder):
    given = mixed()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = encoder(given)
    assert close(found, encoder(given), atol=0.05)
    for name, value in vectors(found).items():
        assert value.dtype == torch.float32
        norms = value.norm(dim=1)
        assert ((norms - norms.round()).abs() < 1e-5).all(), name


def test_double_precision_stays_double():
    assert build("small").double()(mixed()).fused.dtype == torch.float64


def test_the_backbones_learning_rates_are_named_as_in_the_encoder():
    encoder = build("pretrained")
    scales = encoder.learning_rate_scales()
    assert scales == {"backbone.patches.0.weight": 0.5, "backbone.words.0.weight": 0.25}
    assert set(scales) <= dict(encoder.named_parameters()).keys()
    assert build("small").learning_rate_scales() == {}


def test_without_a_backbone_each_encoder_has_small_towers_of_its_own():
    one, other = HybridEncoder(), HybridEncoder()
    assert isinstance(one.backbone, SmallBackbone)
    assert one.backbone is not other.backbone
    words = read_lexicon(MINILM).words
    assert one.preparation == SmallPreparation(
        image_size=32, vocab_size=16384, max_tokens=48, known_words=words
    )
    assert (one.embed_dim, one.stem) == (128, None)
    assert sum(p.numel() for p in one.parameters() if p.requires_grad) < 5.2e6


def test_the_small_backbone_keeps_what_it_promises():
    backbone, given = small(), content()
    images, texts = (
        backbone.embed_images(given.images),
        backbone.embed_texts(given.tokens, given.token_mask),
    )
    for tokens, levels, width, pooled in (
        (images, backbone.image_levels, backbone.image_width, backbone.image_pooled_width),
        (texts, backbone.text_levels, backbone.text_width, backbone.text_pooled_width),
    ):
        assert len(tokens.levels) == levels
        assert {level.shape for level in tokens.levels} == {(*tokens.mask.shape, width)}
        assert tokens.pooled.shape == (7, pooled)
    # The last grid² tokens before the trunk are the patches, row by row: each sees its own place.
    for place in range(backbone.grid**2):
        row, column = 8 * (place // 2), 8 * (place % 2)
        other = given.images.clone()
        other[:, :, row + 3 : row + 5, column + 3 : column + 5] = 0
        moved = backbone.embed_images(other).levels[0] - images.levels[0]
        assert moved[0, -4:].norm(dim=1).argmax() == place
    assert not backbone.frozen


class Model:
    """Takes an encoder from a command line, as Lightning's does."""

    def __init__(self, encoder: nn.Module):
        self.encoder = encoder


def parse(*args):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(Model, "model")
    backbone = {"class_path": "pingraph.encoders.SmallBackbone"}
    encoder = {"class_path": "pingraph.encoders.HybridEncoder", "init_args": {"backbone": backbone}}
    parser.set_defaults({"model.encoder": encoder})
    return parser, parser.parse_args(args)


def test_options_of_the_backbone_are_options_of_the_command_line():
    parser, config = parse(
        "--model.encoder.backbone.dim=32",
        "--model.encoder.backbone.vision_depth=1",
        "--model.encoder.granularities=[global,regional]",
        "--model.encoder.fusion=late",
        "--model.encoder.heads=2",
    )
    again, kept = parse("--config", parser.dump(config))  # as config.yaml of a run
    for which, found in ((parser, config), (again, kept)):
        encoder = which.instantiate(found).model.encoder
        assert encoder.dim == encoder.backbone.image_width == 32
        assert len(encoder.backbone.vision.trunk) == 1
        assert set(encoder.granularities.pools) == {"global", "regional"}
        assert encoder.fusion.tokens is None
    with pytest.raises(Exception, match="fusion"):
        parse("--model.encoder.fusion=later")


def test_a_backbone_is_given_by_class_or_by_name(tmp_path):
    _, config = parse("--model.encoder.backbone", str(tmp_path), "--model.encoder.levels=2")
    assert config.model.encoder.init_args.backbone == str(tmp_path)
    file = tmp_path / "one.yaml"
    file.write_text(
        "model:\n  encoder:\n    class_path: pingraph.encoders.HybridEncoder\n    init_args:\n"
        "      backbone:\n        class_path: pingraph.encoders.SmallBackbone\n"
        "        init_args: {image_size: 16, dim: 16}\n      stem: true\n"
    )
    parser, config = parse("--config", str(file))
    encoder = parser.instantiate(config).model.encoder
    assert (encoder.preparation.image_size, encoder.dim) == (16, 16)
    assert encoder.stem is not None


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return tiny_models.save("clip", tmp_path_factory.mktemp("models") / "clip")


def prepared(encoder):
    """Two pins with image and text, one with a text alone, made ready by the encoder itself."""
    noise = torch.randint(0, 256, (2, 40, 40, 3), generator=torch.Generator().manual_seed(0))
    images = [Image.fromarray(one.to(torch.uint8).numpy()) for one in noise]
    pixels = torch.stack([torch.from_numpy(encoder.preparation.pixels(one)) for one in images])
    tokens, mask = encode(encoder.preparation.tokenizer([]), ["a red chair", "kitchen", "table"])
    return PinContent(
        images=torch.cat([pixels, torch.zeros_like(pixels[:1])]),
        has_image=torch.tensor([True, True, False]),
        tokens=torch.from_numpy(tokens),
        token_mask=torch.from_numpy(mask),
    )


def test_a_name_is_enough_for_a_pretrained_backbone(clip):
    encoder = HybridEncoder(
        clip, levels=3, granularities=ALL, stem=True, dim=16, **SETTINGS | {"fusion": "early"}
    )
    found = encoder(prepared(encoder))
    assert (found.fused.norm(dim=1) - 1).abs().max() < 1e-5
    assert (found.image.norm(dim=1) - torch.tensor([1, 1, 0])).abs().max() < 1e-5
    sum((value * torch.randn_like(value)).sum() for value in vectors(found).values()).backward()
    trained = {name: p for name, p in encoder.named_parameters() if p.requires_grad}
    assert not [name for name, p in trained.items() if p.grad is None]
    assert all(p.grad.isfinite().all() for p in trained.values())
    assert any(name.startswith("backbone.model.vision_model") for name in trained)


def test_a_pretrained_backbone_is_tuned_from_the_command_line(clip):
    chosen = "--model.encoder.backbone=pingraph.encoders.pretrained.PretrainedBackbone"
    parser, config = parse(
        chosen,
        f"--model.encoder.backbone.name={clip}",
        "--model.encoder.backbone.tuning.train=nothing",
        "--model.encoder.levels=2",
    )
    encoder = parser.instantiate(config).model.encoder.eval()
    assert encoder.backbone.frozen
    given = prepared(encoder)
    expected, kept = encoder(given), cached(encoder.backbone, given)
    encoder.backbone.embed_images = encoder.backbone.embed_texts = None
    assert close(encoder(kept), expected)
    parser, config = parse(
        chosen,
        f"--model.encoder.backbone.name={clip}",
        "--model.encoder.backbone.tuning.layer_decay=0.5",
    )
    encoder = parser.instantiate(config).model.encoder
    scales = encoder.learning_rate_scales()
    assert set(scales) <= dict(encoder.named_parameters()).keys()
    assert len(set(scales.values())) > 2


@pytest.mark.parametrize(
    ("sizes", "named"),
    [
        ({"image_size": 20}, "image_size is 20: expected a multiple of 8"),
        ({"image_size": 0}, "image_size is 0: expected 1 or more"),
        ({"dim": 40}, "dim is 40: expected a multiple of 16 and of heads"),
        ({"dim": 48, "heads": 5}, "dim is 48"),
        ({"dim": -16}, "dim is -16: expected 1 or more"),
        ({"heads": 0}, "heads is 0: expected 1 or more"),
        ({"max_tokens": 0}, "max_tokens is 0: expected 1 or more"),
        ({"vocab_size": 1}, "vocab_size is 1: expected 2 or more"),
        ({"vision_depth": -1}, "vision_depth is -1: expected 0 or more"),
        ({"dropout": 1.0}, "dropout is 1.0: expected 0 up to below 1"),
        ({"word_dropout": -0.5}, "word_dropout is -0.5: expected 0 up to below 1"),
    ],
)
def test_sizes_of_the_small_backbone_that_do_not_fit_are_named(sizes, named):
    with pytest.raises(PinGraphError, match=named):
        SmallBackbone(**sizes)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"embed_dim": 0}, "embed_dim is 0: expected 1 or more"),
        ({"dim": 0}, "dim is 0: expected 1 or more"),
        ({"dim": 30}, r"dim is 30: expected a multiple of heads \(4\)"),
        ({"dim": 40, "stem": True}, "dim is 40: expected a multiple of 16 and of heads"),
        ({"heads": 0}, "heads is 0: expected 1 or more"),
        ({"dropout": -0.1}, "dropout is -0.1: expected 0 up to below 1"),
        ({"input_dropout": 1}, "input_dropout is 1: expected 0 up to below 1"),
        ({"deep_weight": -0.5}, "deep_weight is -0.5: expected a number of 0 or more"),
        ({"deep_weight": float("nan")}, "deep_weight is nan: expected a number of 0 or more"),
        ({"fusion": "later"}, "fusion is 'later': expected hybrid, early or late"),
        ({"granularities": ()}, r"granularities is \(\): expected some of global, regional, patch"),
        ({"granularities": ("patches",)}, "expected some of global"),
        ({"regions": 0}, "regions is 0: expected 1 or more"),
        (
            {"granularities": ("regional",), "regions": 5},
            "regions is 5: the backbone has 4 patches of a side",
        ),
        ({"levels": 0}, "levels is 0: expected 1 or more"),
        ({"levels": 4}, "levels is 4: the backbone gives 3"),
    ],
)
def test_options_that_do_not_fit_are_named(options, named):
    with pytest.raises(PinGraphError, match=named):
        HybridEncoder(LikePretrained(), **options)


def test_content_of_other_sizes_is_refused():
    encoder = build("small")
    with pytest.raises(PinGraphError, match="texts have 8 tokens: expected 6 at most"):
        encoder(content(tokens=8))
    images = torch.zeros(7, 3, 16, 24, dtype=torch.uint8)
    with pytest.raises(PinGraphError, match="images have 16 x 24 pixels: expected 16 x 16"):
        encoder(changed(content(), images=images))


def test_compiled_are_the_layers_of_the_towers_alone():
    """Each by itself, for batches of all sizes; what comes out is the same."""
    encoder = build("small").eval()
    batches = [content(pins=pins, tokens=tokens, seed=pins) for pins, tokens in ((7, 5), (4, 3))]
    before = [encoder(batch).fused for batch in batches]
    encoder.compile(backend="eager", dynamic=True)
    layers = [*encoder.backbone.vision.trunk, *encoder.backbone.text.blocks]
    compiled = [m for m in encoder.modules() if m._compiled_call_impl is not None]
    assert {id(m) for m in compiled} == {id(m) for m in layers}
    for batch, expected in zip(batches, before, strict=True):
        torch.testing.assert_close(encoder(batch).fused, expected, atol=1e-6, rtol=0)
