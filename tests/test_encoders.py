"""HybridEncoder: one space, masks that hide, and vectors that depend on a pin's content alone."""

import copy

import pytest
import torch

from pingraph.encoders import HybridEncoder
from pingraph.errors import PinGraphError
from pingraph.interfaces import PinContent

SIZES = {"image_size": 16, "vocab_size": 50, "max_tokens": 6, "dim": 32, "embed_dim": 24}


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return HybridEncoder(**SIZES, vision_depth=1, dropout=0.0).eval()


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


def close(a, b):
    return all(torch.allclose(getattr(a, k), getattr(b, k), atol=1e-5) for k in vectors(a))


def vectors(found):
    return {name: getattr(found, name) for name in ("image", "text", "fused")}


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
    other = PinContent(
        images=torch.where(hidden, 255 - given.images, given.images),
        has_image=given.has_image,
        tokens=torch.where(given.token_mask, given.tokens, 7),
        token_mask=given.token_mask,
    )
    assert close(encoder(given), encoder(other))


def test_a_missing_image_is_not_a_black_one(encoder):
    given = content()
    black = PinContent(**{**vars(given), "images": torch.zeros_like(given.images)})
    missing = PinContent(**{**vars(black), "has_image": torch.zeros_like(given.has_image)})
    assert not torch.allclose(encoder(black).fused, encoder(missing).fused, atol=1e-3)


def test_a_missing_text_is_not_padding(encoder):
    given = content()
    padding = PinContent(**{**vars(given), "tokens": torch.zeros_like(given.tokens)})
    missing = PinContent(**{**vars(padding), "token_mask": torch.zeros_like(given.token_mask)})
    assert not torch.allclose(encoder(padding).fused, encoder(missing).fused, atol=1e-3)


def test_padding_changes_nothing(encoder):
    given = content(tokens=4)
    wider = PinContent(
        **{
            **vars(given),
            "tokens": torch.nn.functional.pad(given.tokens, (0, 2)),
            "token_mask": torch.nn.functional.pad(given.token_mask, (0, 2)),
        }
    )
    assert close(encoder(given), encoder(wider))


@pytest.mark.parametrize("training", [False, True])
def test_a_pin_does_not_depend_on_its_batch(encoder, training):
    """In training neither, but for dropout: nothing is normalized by the batch."""
    given = mixed()
    encoder = copy.deepcopy(encoder).train(training)
    together = encoder(given)
    for row in range(7):
        alone = encoder(PinContent(**{k: v[row : row + 1] for k, v in vars(given).items()}))
        for name, value in vectors(together).items():
            assert torch.allclose(getattr(alone, name)[0], value[row], atol=1e-5)


def test_no_pins_at_all_have_no_vectors(encoder):
    found = encoder(content(pins=0))
    assert all(value.shape == (0, 24) for value in vectors(found).values())


@pytest.mark.parametrize("change", ["images", "tokens"])
def test_fused_sees_both_modalities(encoder, change):
    given = content()
    other = PinContent(**{**vars(given), change: getattr(content(seed=1), change)})
    assert not torch.allclose(encoder(given).fused, encoder(other).fused, atol=1e-3)


def test_word_order_and_image_layout_matter(encoder):
    given = content()
    full = PinContent(**{**vars(given), "token_mask": torch.ones_like(given.token_mask)})
    turned = PinContent(
        **{**vars(full), "tokens": full.tokens.flip(1), "images": full.images.flip(3)}
    )
    assert not torch.allclose(encoder(full).text, encoder(turned).text, atol=1e-4)
    assert not torch.allclose(encoder(full).image, encoder(turned).image, atol=1e-4)


def test_every_parameter_learns():
    encoder = HybridEncoder(**SIZES, vision_depth=1)
    found = encoder(mixed())
    torch.manual_seed(0)
    sum((value * torch.randn_like(value)).sum() for value in vectors(found).values()).backward()
    still = [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still
    assert all(p.grad.isfinite().all() for p in encoder.parameters())


@pytest.mark.parametrize("lacking", ["image", "text", "both"])
def test_a_batch_without_a_modality_trains(lacking):
    nobody = torch.zeros(7, dtype=torch.bool)
    image = nobody if lacking in ("image", "both") else None
    text = nobody if lacking in ("text", "both") else None
    encoder = HybridEncoder(**SIZES, vision_depth=1)
    found = encoder(content(image=image, text=text))
    sum(value.sum() for value in vectors(found).values()).backward()
    grads = [p.grad for p in encoder.parameters() if p.grad is not None]
    assert all(grad.isfinite().all() for grad in grads)
    assert found.fused.isfinite().all()
    assert (found.fused.norm(dim=1) == 0).all() == (lacking == "both")


@pytest.mark.parametrize(
    ("sizes", "named"),
    [
        ({"image_size": 20}, "image_size is 20: expected a multiple of 8"),
        ({"dim": 40}, "dim is 40: expected a multiple of 16"),
        ({"dim": 48, "heads": 5}, "dim is 48"),
        ({"dim": -16}, "dim is -16: expected 1 or more"),
        ({"heads": 0}, "heads is 0: expected 1 or more"),
        ({"embed_dim": 0}, "embed_dim is 0: expected 1 or more"),
        ({"max_tokens": 0}, "max_tokens is 0: expected 1 or more"),
        ({"vocab_size": 1}, "vocab_size is 1: expected 2 or more"),
        ({"vision_depth": -1}, "vision_depth is -1: expected 0 or more"),
        ({"dropout": 1.0}, "dropout is 1.0: expected 0 up to below 1"),
    ],
)
def test_sizes_that_do_not_fit_are_named(sizes, named):
    with pytest.raises(PinGraphError, match=named):
        HybridEncoder(**sizes)
