"""The shallow look: one matrix, and a part of the fused embedding beside the towers."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pingraph.encoders import HybridEncoder, SmallBackbone
from pingraph.encoders.lexicon import read_lexicon
from pingraph.encoders.shallow import ShallowLook
from pingraph.encoders.vocabulary import Vocabulary
from pingraph.errors import PinGraphError
from tests.test_encoders import LikePretrained, changed, content, mixed

WORDS = Vocabulary(50, read_lexicon("none"))


def made():
    return ShallowLook(WORDS, 12)


def by_loops(look, given, pin):
    """The sum over words and over coarse pixels of what the matrix has for each."""
    total = torch.zeros(look.words.learned.embedding_dim)
    if given.token_mask[pin].any():
        seen = given.tokens[pin][given.token_mask[pin]].tolist()
        weights = [math.log1p(look.words.weights.weight[token, 0].exp().item()) for token in seen]
        length = math.hypot(*weights)
        for token, weight in zip(seen, weights, strict=True):
            total += weight / length * look.words.learned.weight[token]
    if given.has_image[pin]:
        side, image = given.images.shape[-1] // look.SIDE, given.images[pin].double() / 255
        cut = image.unfold(1, side, side).unfold(2, side, side).mean((3, 4)).flatten()
        coarse = cut.float() - look.middle
        total += (look.pixels.weight * (coarse / coarse.norm())).sum(1)
    return total / total.norm() if total.any() else total


@torch.no_grad()
@pytest.mark.parametrize("scale", [1, 3])
def test_it_is_the_sum_over_words_and_coarse_pixels(scale):
    torch.manual_seed(0)
    look, given = made(), mixed()
    look.middle.add_(0.1 * torch.randn_like(look.middle))
    weights = look.words.weights.weight
    weights.add_(torch.randn_like(weights))
    noise = torch.randint(0, 99, (7, 3, 16 * scale, 16 * scale))
    given = changed(given, images=(noise + given.images.repeat(1, 1, scale, scale) // 2).byte())
    found = look(given, WORDS(given.tokens))
    expected = torch.stack([by_loops(look, given, pin) for pin in range(7)])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert found.any(1).tolist() == [True, True, True, True, True, False, True]


def test_the_order_of_words_and_small_shifts_within_a_coarse_pixel_change_nothing():
    look, given = made(), content()
    given = changed(given, images=F.interpolate(given.images, scale_factor=2))
    turned = changed(
        given,
        tokens=given.tokens.flip(1),
        token_mask=given.token_mask.flip(1),
        images=given.images.view(7, 3, 16, 2, 16, 2).flip(3, 5).reshape(given.images.shape),
    )
    found, expected = (look(one, WORDS(one.tokens)) for one in (turned, given))
    torch.testing.assert_close(found, expected)


def test_pins_that_lack_something_leave_finite_gradients():
    look, given = made(), mixed()
    (look(given, WORDS(given.tokens)) * torch.randn(7, 12)).sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in look.parameters())


@torch.no_grad()
def test_the_fused_embedding_is_the_turned_sum_of_the_towers_and_the_look():
    torch.manual_seed(1)
    backbone = SmallBackbone(image_size=16, vocab_size=50, max_tokens=6, dim=32, dropout=0)
    encoder = HybridEncoder(backbone, embed_dim=24, features=(), deep_weight=0.7).eval()
    given = mixed()
    whole = encoder(given)
    shallow = encoder.shallow(given, encoder.backbone.vocabulary(given.tokens))
    assert torch.equal(whole.shallow, shallow)
    encoder.shallow = None
    deep = encoder(given)
    assert deep.shallow is None
    known = torch.tensor([1, 1, 1, 1, 1, 0, 1]).bool()
    summed = F.normalize(0.7 * deep.fused + shallow @ encoder.turn, dim=1)
    torch.testing.assert_close(whole.fused, summed * known[:, None])
    np.testing.assert_allclose(encoder.turn @ encoder.turn.T, np.eye(24), atol=1e-5)
    for name in ("image", "text"):
        assert torch.equal(getattr(whole, name), getattr(deep, name))


@torch.no_grad()
def test_pixels_are_hidden_in_training_alone():
    torch.manual_seed(2)
    look, given = ShallowLook(WORDS, 768, dropout=0.25), content()
    look.pixels.weight.copy_(torch.eye(768))
    given = changed(given, token_mask=torch.zeros_like(given.token_mask))
    words = WORDS(given.tokens)
    shown, whole = look(given, words), look.eval()(given, words)
    hidden = shown == 0
    assert 0.2 < hidden.float().mean() < 0.3
    torch.testing.assert_close(shown, F.normalize(whole * ~hidden, dim=1))


def test_it_stands_beside_a_backbone_that_learns_its_words():
    assert HybridEncoder(LikePretrained()).shallow is None
    assert HybridEncoder(shallow=False)(content(pins=0)).shallow is None
    with pytest.raises(PinGraphError, match="shallow is true: expected a backbone that learns its"):
        HybridEncoder(LikePretrained(), shallow=True)
