"""The forms are their formulas; what is neither positive nor negative has no part in them."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from pingraph.losses import FORMS, Alignment, Positives
from tests import reference
from tests.batch_cases import assert_same, gradients

EACH_FORM = pytest.mark.parametrize("form", FORMS)
SIZES = st.tuples(st.integers(1, 6), st.integers(1, 7))


def sparse(weights):
    rows, columns = weights.nonzero(as_tuple=True)
    return Positives(rows=rows, columns=columns, weights=weights[rows, columns])


def pairs(seed, rows, columns, dtype=torch.float64):
    """Draw logits, positives (some rows have none) and negatives (some columns are neither)."""
    rng = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(rows, columns, generator=rng, dtype=dtype)
    weights = torch.rand(rows, columns, generator=rng, dtype=dtype)
    weights *= torch.rand(rows, columns, generator=rng) < 0.4
    weights /= weights.sum(1, keepdim=True).clamp(min=1e-9)
    negatives = (weights == 0) & (torch.rand(rows, columns, generator=rng) < 0.6)
    return logits.requires_grad_(), weights, negatives


def loop(form, logits, weights, negatives):
    return sum(reference.ROW_LOSSES[form](logits, weights, negatives)) + 0 * logits.sum()


@EACH_FORM
@given(seed=st.integers(0, 2**32), size=SIZES)
@settings(deadline=None, max_examples=40)
def test_a_loss_and_its_gradient_equal_the_loop(form, seed, size):
    logits, weights, negatives = pairs(seed, *size)
    found = FORMS[form](logits, sparse(weights), negatives)
    assert_same(found, loop(form, logits, weights, negatives), [logits])


@EACH_FORM
def test_gradients_are_those_of_finite_differences(form):
    logits, weights, negatives = pairs(1, 4, 6)
    assert torch.autograd.gradcheck(lambda x: FORMS[form](x, sparse(weights), negatives), [logits])


@EACH_FORM
@pytest.mark.parametrize("size", [(0, 3), (1, 1), (3, 4)])
@pytest.mark.parametrize("pushed", [True, False])
def test_no_positive_at_all_is_no_loss_and_no_gradient(form, size, pushed):
    logits = torch.full(size, 50.0, requires_grad=True)
    loss = FORMS[form](logits, sparse(torch.zeros(size)), torch.full(size, pushed))
    assert loss.item() == 0
    loss.backward()
    assert (logits.grad == 0).all()


@EACH_FORM
def test_a_row_without_positives_has_no_part_even_when_nothing_is_shown(form):
    logits, weights, negatives = pairs(2, 5, 6)
    weights[2], negatives[2] = 0, False
    weights[4] = 0
    kept = [0, 1, 3]
    loss = FORMS[form](logits, sparse(weights), negatives)
    expected = FORMS[form](logits[kept], sparse(weights[kept]), negatives[kept])
    assert_same(loss, expected, [logits])
    assert (gradients(loss, [logits])[0][[2, 4]] == 0).all()


@EACH_FORM
def test_a_row_without_negatives_is_finite(form):
    logits, weights, negatives = pairs(2, 5, 6)
    loss = FORMS[form](logits, sparse(weights), torch.zeros_like(negatives))
    assert loss.isfinite()
    assert gradients(loss, [logits])[0].isfinite().all()
    assert loss >= 0 if form != "softmax" else loss == 0


@EACH_FORM
def test_what_is_neither_positive_nor_negative_changes_nothing(form):
    logits, weights, negatives = pairs(3, 5, 7)
    neither = ~negatives & (weights == 0)
    assert neither.any()
    moved = (logits.detach() + 5 * neither).requires_grad_()
    before = FORMS[form](logits, sparse(weights), negatives)
    after = FORMS[form](moved, sparse(weights), negatives)
    assert before.item() == after.item()
    assert (gradients(after, [moved])[0][neither] == 0).all()


@EACH_FORM
def test_large_logits_stay_finite(form):
    logits, weights, negatives = pairs(3, 4, 5, torch.float32)
    large = (1e4 * logits.detach()).requires_grad_()
    loss = FORMS[form](large, sparse(weights), negatives)
    assert loss.isfinite()
    assert gradients(loss, [large])[0].isfinite().all()


@pytest.mark.parametrize("form", ["softmax", "multi_softmax"])
def test_softmax_with_one_positive_is_clips_cross_entropy(form):
    logits = pairs(4, 6, 6)[0]
    own, others = torch.eye(6, dtype=logits.dtype), ~torch.eye(6, dtype=bool)
    expected = F.cross_entropy(logits, torch.arange(6), reduction="sum")
    assert_same(FORMS[form](logits, sparse(own), others), expected, [logits], 1e-14)


def test_sigmoid_with_one_positive_is_siglips_loss():
    logits = pairs(5, 6, 6)[0]
    own, others = torch.eye(6, dtype=logits.dtype), ~torch.eye(6, dtype=bool)
    signs = 2 * own - 1  # section 3.2 of the paper: −Σ_ij log σ(z_ij s_ij)
    expected = -F.logsigmoid(signs * logits).sum()
    assert_same(FORMS["sigmoid"](logits, sparse(own), others), expected, [logits], 1e-14)


def test_other_positives_are_in_the_denominator_of_multi_softmax_alone():
    """Two positives and a negative, all logits 0: log 2 against log 3."""
    logits = torch.zeros(1, 3, dtype=torch.float64)
    weights = torch.tensor([[0.5, 0.5, 0.0]], dtype=torch.float64)
    negatives = weights == 0
    for form, shown in (("softmax", 2), ("multi_softmax", 3)):
        loss = FORMS[form](logits, sparse(weights), negatives)
        torch.testing.assert_close(loss.exp().item(), float(shown))


def alignment(seed, rows=7, columns=9, views=1):
    rng = torch.Generator().manual_seed(seed)
    _, weights, negatives = pairs(seed, rows, columns)
    x = [torch.randn(rows, 4, generator=rng, dtype=torch.float64) for _ in range(views)]
    y = [torch.randn(columns, 4, generator=rng, dtype=torch.float64) for _ in range(views)]
    return Alignment(
        x=[one.requires_grad_() for one in x],
        y=[one.requires_grad_() for one in y],
        view_weights=[1 / views] * views,
        positives=sparse(weights),
        present=torch.ones(columns, dtype=torch.bool),
        hidden=lambda part: ~negatives[part],
        log_counts=torch.randn(columns, generator=rng, dtype=torch.float64),
    )


@EACH_FORM
@pytest.mark.parametrize("block_rows", [1, 2, 3, 6, 7, 100])
def test_blocks_and_parts_add_up(form, block_rows):
    case = alignment(6, views=2)
    scale = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    bias = torch.tensor(-0.5, dtype=torch.float64, requires_grad=True)
    inputs = [*case.x, *case.y, scale, bias]
    whole = case.loss(form, scale, bias, range(7), 100)
    parts = [range(0, 3), range(3, 3), range(3, 7)]
    found = sum(case.loss(form, scale, bias, rows, block_rows) for rows in parts)
    assert_same(found, whole, inputs, 1e-12)
    weights = torch.zeros(7, 9, dtype=torch.float64)
    weights[case.positives.rows, case.positives.columns] = case.positives.weights
    slow = [
        loop(form, scale * x @ y.T + bias - case.log_counts, weights, ~case.hidden(slice(0, 7)))
        for x, y in zip(case.x, case.y, strict=True)
    ]
    assert_same(whole, sum(slow) / 2, inputs)


def test_no_rows_are_no_loss_and_a_gradient_of_zeros():
    case = alignment(6)
    scale = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    loss = case.loss("softmax", scale, scale, range(0), 2)
    loss.backward()
    assert loss.item() == 0
    assert scale.grad == 0
    assert (case.x[0].grad == 0).all()


def test_a_negative_is_found_in_any_row():
    nothing = torch.zeros(40, 3, dtype=bool)
    weights = torch.zeros(40, 3)
    weights[:, 0] = 1
    last = nothing.clone()
    last[39, 2] = True
    own = nothing.clone()
    own[:, 0] = True  # positives are no negatives, whatever is allowed
    for allowed, expected in ((nothing, False), (last, True), (own, False)):
        case = Alignment(
            x=[torch.zeros(40, 1)],
            y=[torch.zeros(3, 1)],
            view_weights=[1.0],
            positives=sparse(weights),
            present=torch.ones(3, dtype=torch.bool),
            hidden=lambda part, allowed=allowed: ~allowed[part],
        )
        assert case.has_negatives() is expected
        absent = replace(case, present=torch.tensor([True, True, False]))
        assert absent.has_negatives() is False  # a pin that lacks the modality is none
