"""The shallow look: one matrix, and a part of the fused embedding beside the towers."""

import copy
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
from pingraph.interfaces import PinContent
from tests.test_encoders import LikePretrained, changed, content, mixed

WORDS = Vocabulary(50, read_lexicon("none"))


CUT = (slice(0, 3), slice(3, 7))


def made():
    return ShallowLook(WORDS, 12)


def parts(given):
    """The tensors of a content, by name."""
    return [(name, one) for name, one in vars(given).items() if one is not None]


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


def seen_by_loops(look, given):
    """What is seen of pins, a dense matrix of each group of numbers."""
    words = np.zeros((len(given.tokens), 51))
    for pin, tokens in enumerate(given.tokens):
        kept = tokens[given.token_mask[pin]].tolist()
        weights = [math.log1p(look.words.weights.weight[token, 0].exp().item()) for token in kept]
        for token, weight in zip(kept, weights, strict=True):
            words[pin, token] += weight / math.hypot(*weights)
    side = given.images.shape[-1] // look.SIDE
    images = given.images.double().unfold(2, side, side).unfold(3, side, side).mean((4, 5)) / 255
    coarse = F.normalize(images.flatten(1) - 0.5, dim=1) * given.has_image[:, None]
    return {"words": words, "pixels": coarse.numpy()}


def solved_by_loops(look, given, targets, counts):
    """The main components of the ridge regression's result, by the normal equations."""
    parts = []
    for name, group in seen_by_loops(look, given).items():
        square = (group**2).sum(1)
        if square.any():
            parts.append(group * np.sqrt(counts[name] / square[square > 0].mean()))
    x = np.concatenate(parts, axis=1)
    found = x @ np.linalg.solve(x.T @ x + 0.3 * np.eye(x.shape[1]), x.T @ targets)
    made = found @ np.linalg.svd(found)[2][:12].T
    return made / np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-12)


def test_it_is_solved_as_a_ridge_regression_of_the_lowest_rank():
    torch.manual_seed(3)
    look, given = made().eval(), mixed()
    given = changed(given, images=torch.randint(0, 256, (7, 3, 32, 32), dtype=torch.uint8))
    targets = np.random.default_rng(0).normal(size=(7, 30)).astype(np.float32)
    halves = [changed(given, **{n: v[rows] for n, v in parts(given)}) for rows in CUT]
    look.solve(((half, WORDS(half.tokens)) for half in halves), targets)
    found = look(given, WORDS(given.tokens)).detach().numpy()
    expected = solved_by_loops(look, given, targets, {"words": 2 / 3, "pixels": 1 / 3})
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=0.01)
    turned = made().eval()
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(30, 30)))[0]
    turned.solve([(given, WORDS(given.tokens))], targets @ rotation.astype(np.float32))
    other = turned(given, WORDS(given.tokens)).detach().numpy()
    np.testing.assert_allclose(other @ other.T, found @ found.T, atol=0.01)


def test_what_no_pin_has_is_not_solved_for():
    look, given = made().eval(), mixed()
    targets = np.random.default_rng(0).normal(size=(7, 30)).astype(np.float32)
    blind = changed(given, has_image=torch.zeros(7, dtype=torch.bool))
    look.solve([(blind, WORDS(blind.tokens))], targets)
    found = look(blind, WORDS(blind.tokens)).detach().numpy()
    expected = solved_by_loops(look, blind, targets, {"words": 1.0, "pixels": 0.0})
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=0.01)
    assert not look.pixels.weight.any()


def test_before_they_are_made_so_vectors_are_about_one_long():
    look, given = made().eval(), changed(mixed(), has_image=torch.zeros(7, dtype=torch.bool))
    look.solve([(given, WORDS(given.tokens))], 100 * np.eye(7, 5, dtype=np.float32))
    vectors = seen_by_loops(look, given)["words"] @ look.words.learned.weight.detach().numpy()
    assert np.square(vectors).sum(1).mean() == pytest.approx(1, rel=1e-3)
    assert not look.words.learned.weight[:, 5:].any()  # five targets make five dimensions
    assert not look.pixels.weight.any()


def test_foresight_is_told_by_pins_that_were_left_out():
    """Of words that say where a pin belongs, all is foreseen; of words that do not, nothing."""
    rng = np.random.default_rng(0)
    words = torch.from_numpy(rng.integers(1, 11, (400, 1)))
    pins = PinContent(
        images=torch.zeros(400, 3, 16, 16, dtype=torch.uint8),
        has_image=torch.zeros(400, dtype=torch.bool),
        tokens=words,
        token_mask=torch.ones(400, 1, dtype=torch.bool),
    )
    places = rng.normal(size=(11, 20)).astype(np.float32)[words[:, 0]]
    seen = [(pins, WORDS(words))]
    assert made().eval().solve(seen, places) > 0.999
    noise = rng.normal(size=(400, 20)).astype(np.float32)
    assert made().eval().solve(seen, noise) < 0.15
    mixed_up = made().eval().solve(seen, places + noise)
    assert 0.5 < mixed_up < 0.85  # about the root of a half


def start():
    torch.manual_seed(1)
    backbone = SmallBackbone(image_size=16, vocab_size=50, max_tokens=6, dim=32, dropout=0)
    return HybridEncoder(backbone, embed_dim=24, deep_weight=0.7, solved_weight=1.5, dropout=0)


def with_features(given):
    generator = torch.Generator().manual_seed(0)
    made = (torch.randn(7, width, generator=generator) for width in (1280, 384))
    image, text = (F.normalize(one, dim=1).half() for one in made)
    return changed(given, image_features=image, text_features=text)


@torch.no_grad()
def test_the_shallow_part_starts_near_the_solution_and_the_fused_embedding_keeps_it():
    encoder, given = start().eval(), with_features(mixed())
    before, drawn = encoder(given), copy.deepcopy(encoder.shallow)
    encoder.learn_walks([given], np.zeros((7, 48), np.float32))
    assert torch.equal(encoder(given).fused, before.fused)  # no walk, no change
    encoder.learn_walks([given], np.random.default_rng(0).normal(size=(7, 48)).astype(np.float32))
    words = encoder.backbone.vocabulary(given.tokens)
    solved = encoder.solved(given, words)
    foresight = encoder.solved_share  # so few pins count whole
    assert 0 < foresight < 1
    looks = (drawn, encoder.solved, encoder.shallow)
    for of_chance, of_walks, mean in zip(*(look.parameters() for look in looks), strict=True):
        expected = (1 - foresight) * of_chance + foresight * of_walks
        torch.testing.assert_close(mean, expected)
    for name in ("image", "text"):
        assert torch.equal(getattr(encoder(given), name), getattr(before, name))
    for matrix in encoder.shallow.parameters():
        matrix.add_(0.1 * torch.randn_like(matrix))
    assert torch.equal(encoder.solved(given, words), solved)
    whole = encoder(given)
    learned = encoder.shallow(given, words)
    assert torch.equal(whole.shallow, learned)
    encoder.solved_weight = 0.0
    deep = F.normalize(encoder(given).fused, dim=1)
    encoder.solved_weight = 1.5
    encoder.train().expect_passes(1e-9)  # nothing is hidden
    np.testing.assert_allclose(encoder(given).fused, deep, atol=1e-5)
    encoder.eval().shallow = None
    towers = encoder(given).fused
    known = torch.tensor([1, 1, 1, 1, 1, 0, 1]).bool()[:, None]
    summed = 0.7 * towers + (learned + 1.5 * foresight * solved) @ encoder.turn
    torch.testing.assert_close(whole.fused, F.normalize(summed, dim=1) * known)


@torch.no_grad()
@pytest.mark.parametrize(("most", "share"), [(7, 1), (100, 1), (2, 2 / 7)])
def test_what_is_solved_for_many_pins_counts_less(most, share, monkeypatch):
    encoder, given = start().eval(), with_features(mixed())
    targets = np.random.default_rng(0).normal(size=(7, 48)).astype(np.float32)
    foresight = copy.deepcopy(encoder.solved).solve(
        [(given, encoder.backbone.vocabulary(given.tokens))], targets
    )
    monkeypatch.setattr(HybridEncoder, "SOLVED_WHOLE", most)
    encoder.learn_walks([given], targets)
    assert float(encoder.solved_share) == pytest.approx(foresight * share)


def test_only_what_goes_on_to_learn_is_trained():
    encoder, given = start(), with_features(mixed())
    encoder.learn_walks([given], np.random.default_rng(0).normal(size=(7, 48)).astype(np.float32))
    encoder(given).fused.square().sum().backward()
    assert all(p.grad is None and not p.requires_grad for p in encoder.solved.parameters())
    assert all(p.grad is not None for p in encoder.shallow.parameters())


def test_an_encoder_without_a_shallow_part_learns_no_walks():
    encoder = HybridEncoder(shallow=False)
    encoder.learn_walks([content()], np.ones((7, 4), np.float32))
    assert encoder.solved is None
    assert HybridEncoder(solved_weight=0).solved is None
    for weight in (-1, math.inf):
        with pytest.raises(PinGraphError, match=f"solved_weight is {weight}: expected a number"):
            HybridEncoder(solved_weight=weight)
