"""The losses against plain loops and finite differences, and the masks that keep them true."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from pingraph.errors import PinGraphError
from pingraph.interfaces import Embeddings, PinBatch, PinContent
from pingraph.objectives import AlignmentObjective, sigmoid_loss, softmax_loss
from tests import reference

PAIRS = [(softmax_loss, reference.softmax_loss), (sigmoid_loss, reference.sigmoid_loss)]


def case(seed, rows=4, columns=6):
    rng = np.random.default_rng(seed)
    logits = torch.tensor(rng.normal(size=(rows, columns)) * 3)
    kinds = rng.integers(0, 3, size=(rows, columns))  # positive, negative, neither
    weights = torch.tensor(np.where(kinds == 0, rng.random((rows, columns)), 0))
    weights = weights / weights.sum(1, keepdim=True).clamp(min=1e-9)
    return logits, weights, torch.tensor(kinds == 1)


@pytest.mark.parametrize(("loss", "twin"), PAIRS)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_equals_the_plain_loop(loss, twin, seed):
    logits, weights, negatives = case(seed)
    expected = twin(logits.tolist(), weights.tolist(), negatives.tolist())
    assert loss(logits, weights, negatives).item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("loss", "twin"), PAIRS)
def test_gradient_equals_finite_differences(loss, twin):
    for seed in range(5):
        logits, weights, negatives = case(seed)
        logits.requires_grad_()
        assert torch.autograd.gradcheck(lambda x: loss(x, weights, negatives), [logits])  # noqa: B023


@pytest.mark.parametrize(("loss", "twin"), PAIRS)
def test_without_any_pair_it_is_zero_and_moves_nothing(loss, twin):
    logits = torch.randn(3, 4, requires_grad=True)
    value = loss(logits, torch.zeros(3, 4), torch.zeros(3, 4, dtype=torch.bool))
    value.backward()
    assert value.item() == 0
    assert torch.equal(logits.grad, torch.zeros(3, 4))


@pytest.mark.parametrize(("loss", "twin"), PAIRS)
def test_a_column_that_is_neither_positive_nor_negative_plays_no_part(loss, twin):
    logits, weights, negatives = case(3)
    idle = ~negatives & (weights == 0)
    assert idle.any()
    moved = torch.where(idle, 50.0, logits)
    assert torch.equal(loss(moved, weights, negatives), loss(logits, weights, negatives))


def test_one_positive_each_is_clip_and_siglip():
    logits = torch.randn(5, 5, dtype=torch.float64)
    eye = torch.eye(5, dtype=torch.float64)
    clip = F.cross_entropy(logits, torch.arange(5))
    assert softmax_loss(logits, eye, eye == 0).item() == pytest.approx(clip.item(), abs=1e-12)
    siglip = -F.logsigmoid((2 * eye - 1) * logits).sum() / 5
    assert sigmoid_loss(logits, eye, eye == 0).item() == pytest.approx(siglip.item(), abs=1e-12)


def embeddings(seed=0, pins=6, image=None, text=None):
    generator = torch.Generator().manual_seed(seed)
    image = torch.ones(pins, dtype=torch.bool) if image is None else image
    text = torch.ones(pins, dtype=torch.bool) if text is None else text
    vectors = [F.normalize(torch.randn(pins, 8, generator=generator), dim=1) for _ in range(3)]
    return Embeddings(
        image=vectors[0] * image[:, None],
        text=vectors[1] * text[:, None],
        fused=vectors[2],
        has_image=image,
        has_text=text,
    )


def batch(pins=6, anchors=(0, 2), positives=((0, 1, 0.75), (0, 3, 0.25), (1, 4, 1.0))):
    rows, columns, weights = zip(*positives, strict=True) if positives else ((), (), ())
    nothing = torch.zeros(pins, 1)
    return PinBatch(
        pins=torch.arange(pins),
        content=PinContent(images=nothing, has_image=nothing, tokens=nothing, token_mask=nothing),
        anchors=torch.tensor(anchors),
        positive_rows=torch.tensor(rows, dtype=torch.int64),
        positive_columns=torch.tensor(columns, dtype=torch.int64),
        positive_weights=torch.tensor(weights, dtype=torch.float32),
        board_mates=torch.zeros(len(anchors), pins, dtype=torch.bool),
        twins=torch.eye(pins, dtype=torch.bool),
    )


@pytest.mark.parametrize("form", ["softmax", "sigmoid"])
def test_the_neighbor_term_is_the_loss_over_the_visited_neighbors(form):
    objective, found = AlignmentObjective(form=form), embeddings()
    losses = objective(found, batch())
    scale = objective.log_scale["neighbor"].exp().item()
    logits = scale * found.fused[[0, 2]] @ found.fused.T + objective.bias["neighbor"].item()
    weights = [[0, 0.75, 0, 0.25, 0, 0], [0, 0, 0, 0, 1.0, 0]]
    negatives = [[j not in (0, 1, 3) for j in range(6)], [j not in (2, 4) for j in range(6)]]
    twin = reference.softmax_loss if form == "softmax" else reference.sigmoid_loss
    expected = twin(logits.tolist(), weights, negatives)
    assert losses.neighbor.item() == pytest.approx(expected, rel=1e-5)
    assert losses.total.item() == pytest.approx((losses.image_text + losses.neighbor).item())


@pytest.mark.parametrize("form", ["softmax", "sigmoid"])
def test_board_mates_and_twins_are_no_negatives(form):
    objective, found, plain = AlignmentObjective(form=form), embeddings(), batch()
    mates = plain.board_mates.clone()
    mates[0, 5] = mates[1, 5] = True
    masked = replace(plain, board_mates=mates)
    moved = replace(found, fused=torch.cat([found.fused[:5], -found.fused[5:]]))
    same = [objective(e, masked).neighbor for e in (found, moved)]
    assert torch.equal(*same)
    assert not torch.equal(*(objective(e, plain).neighbor for e in (found, moved)))

    twins = plain.twins.clone()
    twins[0, 5] = twins[5, 0] = twins[2, 5] = twins[5, 2] = True
    assert torch.equal(
        *(objective(e, replace(plain, twins=twins)).neighbor for e in (found, moved))
    )
    # Pins 0 and 5 are twins: the image of one must not be pushed from the text of the other.
    fewer, more = objective(found, replace(plain, twins=twins)), objective(found, plain)
    assert fewer.image_text < more.image_text


def test_without_lambda_or_neighbors_it_is_the_image_text_loss_to_the_last_digit():
    found = embeddings()
    joint = AlignmentObjective(neighbor_weight=1.0)
    without = AlignmentObjective(neighbor_weight=0.0)
    assert torch.equal(without(found, batch()).total, joint(found, batch()).image_text)
    assert torch.equal(joint(found, batch(positives=())).total, without(found, batch()).total)
    mates = replace(batch(), board_mates=torch.ones(2, 6, dtype=torch.bool))
    assert torch.equal(without(found, mates).total, without(found, batch()).total)


def test_pins_that_lack_a_modality_have_no_part_in_its_pairs():
    image = torch.tensor([True, True, True, True, False, False])
    text = torch.tensor([True, True, True, False, True, False])
    found = embeddings(image=image, text=text)
    objective = AlignmentObjective(neighbor_weight=0.0, fused_weight=0.0)
    # Only pins 0, 1 and 2 have both: the loss is CLIP's among the three.
    logits = objective.log_scale["image_text"].exp() * found.image[:3] @ found.text[:3].T
    clip = (
        F.cross_entropy(logits, torch.arange(3)) + F.cross_entropy(logits.T, torch.arange(3))
    ) / 2
    assert objective(found, batch()).total.item() == pytest.approx(clip.item(), rel=1e-5)
    nobody = embeddings(image=torch.zeros(6, dtype=torch.bool))
    assert objective(nobody, batch()).total.item() == 0


def test_the_order_of_the_pins_changes_nothing():
    found, plain, objective = embeddings(), batch(), AlignmentObjective()
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    place = torch.argsort(order)
    shuffled = Embeddings(**{k: v[order] for k, v in vars(found).items()})
    moved = replace(
        plain,
        anchors=place[plain.anchors],
        positive_columns=place[plain.positive_columns],
        board_mates=plain.board_mates[:, order],
        twins=plain.twins[order][:, order],
    )
    a, b = objective(found, plain), objective(shuffled, moved)
    assert a.total.item() == pytest.approx(b.total.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"neighbor_weight": -1.0}, "neighbor_weight is -1.0"),
        ({"fused_weight": float("nan")}, "fused_weight is nan"),
        ({"form": "triplet"}, "form is 'triplet': expected one of softmax, sigmoid"),
        ({"temperature": 0.0}, "temperature is 0.0"),
    ],
)
def test_bad_arguments_are_named(arguments, named):
    with pytest.raises(PinGraphError, match=named):
        AlignmentObjective(**arguments)
