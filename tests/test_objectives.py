"""The losses are their formulas; what is neither positive nor negative has no part in them."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from pingraph.errors import PinGraphError
from pingraph.interfaces import Embeddings, PinBatch, PinContent
from pingraph.objectives import AlignmentObjective, sigmoid_loss, softmax_loss
from tests import reference

LOSSES = {"softmax": softmax_loss, "sigmoid": sigmoid_loss}
FORMS = pytest.mark.parametrize("form", LOSSES)
SIZES = st.tuples(st.integers(1, 6), st.integers(1, 7))


def pairs(seed, rows, columns, dtype=torch.float64):
    """Draw logits, positives (some rows have none) and negatives (some columns are neither)."""
    rng = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(rows, columns, generator=rng, dtype=dtype)
    weights = torch.rand(rows, columns, generator=rng, dtype=dtype)
    weights *= torch.rand(rows, columns, generator=rng) < 0.4
    weights /= weights.sum(1, keepdim=True).clamp(min=1e-9)
    negatives = (weights == 0) & (torch.rand(rows, columns, generator=rng) < 0.6)
    return logits.requires_grad_(), weights, negatives


def vectors(rng, count, present, dtype):
    x = torch.randn(count, 5, generator=rng, dtype=dtype)
    return (F.normalize(x, dim=1) * present[:, None]).requires_grad_()


def case(seed, pins=7, anchors=4, dtype=torch.float64):
    """Draw embeddings, of which some lack a modality, and a batch with mates and twins."""
    rng = torch.Generator().manual_seed(seed)
    has_image = torch.rand(pins, generator=rng) < 0.7
    has_text = torch.rand(pins, generator=rng) < 0.7
    embeddings = Embeddings(
        image=vectors(rng, pins, has_image, dtype),
        text=vectors(rng, pins, has_text, dtype),
        fused=vectors(rng, pins, has_image | has_text, dtype),
        has_image=has_image,
        has_text=has_text,
    )
    chosen = torch.randperm(pins, generator=rng)[:anchors].sort().values
    weights = torch.rand(anchors, pins, generator=rng) * (
        torch.rand(anchors, pins, generator=rng) < 0.4
    )
    weights[torch.arange(anchors), chosen] = 0  # nobody is its own neighbor
    weights /= weights.sum(1, keepdim=True).clamp(min=1e-9)
    rows, columns = weights.nonzero(as_tuple=True)
    twins = torch.rand(pins, pins, generator=rng) < 0.1
    batch = PinBatch(
        pins=torch.arange(pins),
        content=nothing(pins),
        anchors=chosen,
        positive_rows=rows,
        positive_columns=columns,
        positive_weights=weights[rows, columns],
        board_mates=torch.rand(anchors, pins, generator=rng) < 0.3,
        twins=twins | twins.T | torch.eye(pins, dtype=bool),
    )
    return embeddings, batch


def nothing(pins):
    return PinContent(
        images=torch.zeros(pins, 3, 8, 8, dtype=torch.uint8),
        has_image=torch.zeros(pins, dtype=bool),
        tokens=torch.zeros(pins, 1, dtype=torch.int64),
        token_mask=torch.zeros(pins, 1, dtype=bool),
    )


def leaves(embeddings):
    return [embeddings.image, embeddings.text, embeddings.fused]


def without_positives(batch):
    none = batch.positive_rows[:0]
    weights = batch.positive_weights[:0]
    return replace(batch, positive_rows=none, positive_columns=none, positive_weights=weights)


def gradients(loss, inputs):
    found = torch.autograd.grad(loss, inputs, allow_unused=True, retain_graph=True)
    pairs = zip(found, inputs, strict=True)
    return [torch.zeros_like(x) if one is None else one for one, x in pairs]


def assert_same(found, expected, inputs, tolerance=1e-10):
    """Check two scalars and their gradients."""
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    got, wanted = gradients(found, inputs), gradients(expected, inputs)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@FORMS
@given(seed=st.integers(0, 2**32), size=SIZES)
@settings(deadline=None, max_examples=40)
def test_a_loss_and_its_gradient_equal_the_loop(form, seed, size):
    logits, positives, negatives = pairs(seed, *size)
    expected = reference.PAIR_LOSSES[form](logits, positives, negatives)
    assert_same(LOSSES[form](logits, positives, negatives), expected, [logits])


@FORMS
def test_gradients_are_those_of_finite_differences(form):
    logits, positives, negatives = pairs(1, 4, 6)
    assert torch.autograd.gradcheck(lambda x: LOSSES[form](x, positives, negatives), [logits])


@FORMS
@pytest.mark.parametrize("size", [(0, 0), (0, 3), (2, 0), (1, 1), (3, 4)])
@pytest.mark.parametrize("pushed", [True, False])
def test_no_positive_at_all_is_no_loss_and_no_gradient(form, size, pushed):
    logits = torch.full(size, 50.0, requires_grad=True)
    loss = LOSSES[form](logits, torch.zeros(size), torch.full(size, pushed))
    assert loss.item() == 0
    loss.backward()
    assert (logits.grad == 0).all()


@FORMS
def test_a_row_without_positives_has_no_part_even_when_nothing_is_shown(form):
    logits, positives, negatives = pairs(2, 5, 6)
    positives[2], negatives[2] = 0, False
    positives[4] = 0
    kept = [0, 1, 3]
    loss = LOSSES[form](logits, positives, negatives)
    expected = LOSSES[form](logits[kept], positives[kept], negatives[kept])
    assert_same(loss, expected, [logits])
    assert (gradients(loss, [logits])[0][[2, 4]] == 0).all()


@FORMS
@given(seed=st.integers(0, 2**32), size=SIZES, elsewhere=st.sampled_from([-1e4, 0.0, 1e4]))
@settings(deadline=None, max_examples=25)
def test_a_column_that_is_neither_plays_no_part(form, seed, size, elsewhere):
    logits, positives, negatives = pairs(seed, *size)
    neither = (positives == 0) & ~negatives
    moved = logits.detach().masked_fill(neither, elsewhere).requires_grad_()
    before = LOSSES[form](logits, positives, negatives)
    after = LOSSES[form](moved, positives, negatives)
    assert before.item() == after.item()
    assert (gradients(after, [moved])[0][neither] == 0).all()


@FORMS
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_large_logits_stay_finite(form, dtype):
    logits, positives, negatives = pairs(3, 4, 5)
    large = (100 * logits.detach()).to(dtype).requires_grad_()
    loss = LOSSES[form](large, positives.to(dtype), negatives)
    assert loss.isfinite()
    assert gradients(loss, [large])[0].isfinite().all()


def test_softmax_with_one_positive_is_clips_cross_entropy():
    logits = pairs(4, 6, 6)[0]
    own, others = torch.eye(6, dtype=logits.dtype), ~torch.eye(6, dtype=bool)
    expected = F.cross_entropy(logits, torch.arange(6))
    assert_same(softmax_loss(logits, own, others), expected, [logits])


def test_sigmoid_with_one_positive_is_siglips_loss():
    logits = pairs(5, 6, 6)[0]
    own, others = torch.eye(6, dtype=logits.dtype), ~torch.eye(6, dtype=bool)
    signs = 2 * own - 1  # section 3.2 of the paper: −1/B Σ_ij log σ(z_ij s_ij)
    expected = -torch.log(torch.sigmoid(signs * logits)).sum() / 6
    assert_same(sigmoid_loss(logits, own, others), expected, [logits])


@FORMS
@given(seed=st.integers(0, 2**32), pins=st.integers(1, 8), weight=st.sampled_from([0.0, 0.7]))
@settings(deadline=None, max_examples=25)
def test_the_objective_and_its_gradient_equal_the_loop(form, seed, pins, weight):
    embeddings, batch = case(seed, pins, anchors=1 + pins // 2)
    objective = AlignmentObjective(weight, form, fused_weight=0.3, temperature=0.4).double()
    objective.log_scale["neighbor"].data += 0.5
    objective.bias["neighbor"].data += 0.5
    expected = reference.objective(
        embeddings,
        batch,
        neighbor_weight=weight,
        form=form,
        fused_weight=0.3,
        scale={term: log.exp() for term, log in objective.log_scale.items()},
        bias=objective.bias,
    )
    # The weights are float32, so they sum to 1 but for rounding.
    assert_same(objective(embeddings, batch).total, expected, leaves(embeddings), 1e-6)


def test_with_both_modalities_and_no_twins_it_is_clip():
    embeddings, batch = case(6)
    everywhere = torch.ones(7, dtype=bool)
    embeddings = replace(embeddings, has_image=everywhere, has_text=everywhere)
    batch = replace(batch, twins=torch.eye(7, dtype=bool))
    objective = AlignmentObjective(0.0, "softmax", fused_weight=0.0, temperature=0.5).double()
    logits, own = 2 * embeddings.image @ embeddings.text.T, torch.arange(7)
    expected = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    assert_same(objective(embeddings, batch).total, expected, leaves(embeddings), 1e-6)


@FORMS
@given(seed=st.integers(0, 2**32))
@settings(deadline=None, max_examples=15)
def test_the_order_of_the_pins_changes_nothing(form, seed):
    embeddings, batch = case(seed)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(seed))
    place = order.argsort()
    shuffled = Embeddings(**{name: value[order] for name, value in vars(embeddings).items()})
    moved = replace(
        batch,
        anchors=place[batch.anchors],
        positive_columns=place[batch.positive_columns],
        board_mates=batch.board_mates[:, order],
        twins=batch.twins[order][:, order],
    )
    objective = AlignmentObjective(1.0, form).double()
    expected = objective(embeddings, batch).total
    assert_same(objective(shuffled, moved).total, expected, leaves(embeddings), 1e-9)


@FORMS
def test_lambda_0_is_the_image_text_term_whatever_the_graph_says(form):
    embeddings, batch = case(7)
    other = replace(without_positives(batch), board_mates=~batch.board_mates)
    objective = AlignmentObjective(0.0, form)
    losses = objective(embeddings, batch)
    assert losses.total.item() == losses.image_text.item() > 0
    assert losses.neighbor.item() == 0
    assert objective(embeddings, other).total.item() == losses.total.item()
    losses.total.backward()
    assert objective.log_scale["neighbor"].grad is None
    with_graph = AlignmentObjective(0.5, form)(embeddings, batch)
    assert with_graph.image_text.item() == losses.image_text.item()
    assert with_graph.total.item() == (losses.total + 0.5 * with_graph.neighbor).item()
    assert with_graph.neighbor.item() > 0


@FORMS
def test_a_batch_without_neighbors_gives_the_image_text_loss_to_the_last_digit(form):
    embeddings, batch = case(8, dtype=torch.float32)
    losses = AlignmentObjective(3.0, form)(embeddings, without_positives(batch))
    baseline = AlignmentObjective(0.0, form)(embeddings, batch)
    assert losses.total.item() == baseline.total.item()
    assert losses.neighbor.item() == 0
    assert all(one.isfinite().all() for one in gradients(losses.total, leaves(embeddings)))


@FORMS
def test_a_pin_without_a_modality_has_no_part_in_its_pairs(form):
    embeddings, batch = case(9)
    assert not embeddings.has_image.all()
    noise = torch.randn(7, 5, dtype=torch.float64)
    moved = replace(
        embeddings,
        image=torch.where(embeddings.has_image[:, None], embeddings.image, noise),
        text=torch.where(embeddings.has_text[:, None], embeddings.text, noise),
    )
    objective = AlignmentObjective(1.0, form)
    losses, others = objective(embeddings, batch), objective(moved, batch)
    assert others.total.item() == losses.total.item()


@FORMS
@pytest.mark.parametrize("seed", range(3))
def test_a_batch_without_images_or_texts_has_a_finite_loss(form, seed):
    embeddings, batch = case(seed)
    nowhere = torch.zeros(7, dtype=bool)
    for lacking in ({"has_image": nowhere}, {"has_image": nowhere, "has_text": nowhere}):
        losses = AlignmentObjective(1.0, form)(replace(embeddings, **lacking), batch)
        found = gradients(losses.total, leaves(embeddings))
        assert losses.total.isfinite()
        assert all(one.isfinite().all() for one in found)
    assert losses.image_text.item() == 0


def test_twins_are_no_negatives_of_each_other():
    embeddings, batch = case(10, pins=3, anchors=2)
    everywhere = torch.ones(3, dtype=bool)
    embeddings = replace(embeddings, has_image=everywhere, has_text=everywhere)
    objective = AlignmentObjective(0.0)
    all_twins = replace(batch, twins=torch.ones(3, 3, dtype=bool))
    assert objective(embeddings, all_twins).total.item() == 0
    strangers = replace(batch, twins=torch.eye(3, dtype=bool))
    assert objective(embeddings, strangers).total.item() > 0


def triangle(**changes):
    """Anchor 0, its neighbor 1, and pin 2, of which the changes tell what it is to the anchor."""
    whole = PinBatch(
        pins=torch.arange(3),
        content=nothing(3),
        anchors=torch.tensor([0]),
        positive_rows=torch.tensor([0]),
        positive_columns=torch.tensor([1]),
        positive_weights=torch.tensor([1.0]),
        board_mates=torch.tensor([[True, True, False]]),
        twins=torch.eye(3, dtype=bool),
    )
    return replace(whole, **changes)


def neighbor_gradient(form, batch):
    """The neighbor term, and how it moves each of three pins."""
    fused = F.normalize(torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.3, -0.9]]), dim=1)
    fused.requires_grad_()
    everywhere = torch.ones(3, dtype=bool)
    embeddings = Embeddings(
        image=fused, text=fused, fused=fused, has_image=everywhere, has_text=everywhere
    )
    loss = AlignmentObjective(1.0, form)(embeddings, batch).neighbor
    return loss.item(), gradients(loss, [fused])[0]


@FORMS
def test_board_mates_and_twins_are_no_negatives(form):
    _, moved = neighbor_gradient(form, triangle())
    assert (moved[2] != 0).any()
    mate = triangle(board_mates=torch.ones(1, 3, dtype=bool))
    twin = torch.eye(3, dtype=bool)
    twin[0, 2] = twin[2, 0] = True
    for batch in (mate, triangle(twins=twin)):
        loss, moved = neighbor_gradient(form, batch)
        assert (moved[2] == 0).all()
        assert loss == 0 if form == "softmax" else loss > 0  # softmax has nothing to choose from


@FORMS
def test_a_neighbor_that_shares_no_board_is_not_pushed_away(form):
    far = triangle(board_mates=torch.tensor([[True, False, False]]))
    assert neighbor_gradient(form, far)[0] == neighbor_gradient(form, triangle())[0]


def test_the_temperature_is_learned_and_bounded():
    objective = AlignmentObjective(1.0, temperature=0.25)
    assert objective.log_scale["neighbor"].exp().item() == pytest.approx(4)
    objective(*case(11)).total.backward()
    assert all(one.grad != 0 for one in objective.log_scale.values())
    assert not any(one.requires_grad for one in objective.bias.values())
    losses = []
    for scale in (objective.MAX_SCALE, 5 * objective.MAX_SCALE):
        for one in objective.log_scale.values():
            one.data.fill_(math.log(scale))
        losses.append(objective(*case(11)).total.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_the_bias_is_learned_in_the_sigmoid_form():
    objective = AlignmentObjective(1.0, "sigmoid")
    objective(*case(12)).total.backward()
    assert all(one.grad != 0 for one in objective.bias.values())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"neighbor_weight": -1}, "neighbor_weight is -1"),
        ({"neighbor_weight": math.nan}, "neighbor_weight is nan"),
        ({"fused_weight": math.inf}, "fused_weight is inf"),
        ({"form": "hinge"}, "form is 'hinge': expected one of softmax, sigmoid"),
        ({"temperature": 0}, "temperature is 0"),
    ],
)
def test_wrong_arguments_are_refused(arguments, words):
    with pytest.raises(PinGraphError, match=words):
        AlignmentObjective(**arguments)
