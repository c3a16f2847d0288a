"""A view is the cut and rounded vector, at length 1, and learns as if it were not rounded."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonargparse import ArgumentParser
from torch.nn import functional as F

from pingraph.errors import PinGraphError
from pingraph.views import View

CODES = pytest.mark.parametrize("code", ["float", "int8", "binary"])
SHAPES = st.tuples(st.integers(0, 5), st.integers(1, 20))


def vectors(seed, rows=6, channels=16, dtype=torch.float32):
    """Unit vectors with some channels, and some whole rows, that are zero."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, channels, generator=rng, dtype=dtype)
    x = F.normalize(x * (torch.rand(rows, channels, generator=rng) < 0.8), dim=1)
    return x * (torch.rand(rows, 1, generator=rng) < 0.8)


def twin(row, size, code):
    """One vector's view, in Python's numbers."""
    kept = [float(x) for x in row[:size]]
    if code == "int8":
        peak = max(abs(x) for x in kept)
        kept = [round(127 * x / peak) if peak else 0 for x in kept]
    if code == "binary" and any(kept):
        kept = [1.0 if x >= 0 else -1.0 for x in kept]
    length = math.sqrt(sum(x * x for x in kept))
    return [x / length if length else 0.0 for x in kept]


@CODES
@given(seed=st.integers(0, 2**32), shape=SHAPES, data=st.data())
@settings(deadline=None, max_examples=40)
def test_a_view_is_its_formula_by_hand(code, seed, shape, data):
    x = vectors(seed, *shape, dtype=torch.float64)
    dim = data.draw(st.integers(0, shape[1]))
    size = dim or shape[1]
    found = View(dim=dim, code=code)(x)
    expected = [twin(row, size, code) for row in x.tolist()]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=x.dtype).reshape(-1, size))


def test_the_whole_float_view_is_the_vectors_themselves():
    x = vectors(0)
    assert View()(x) is x
    assert View(dim=16)(x) is x


@CODES
@pytest.mark.parametrize("dim", [0, 5])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_rows_have_length_1_or_0_and_keep_their_dtype(code, dim, dtype):
    x = vectors(1, channels=300, dtype=torch.float64).to(dtype)
    x[2] = 0
    x[3, :5] = 0
    found = View(dim=dim, code=code)(x)
    assert found.dtype == dtype
    expected = (x[:, : dim or 300] != 0).any(1).to(torch.float64)
    torch.testing.assert_close(found.double().norm(dim=1), expected, rtol=1e-2, atol=0)
    assert (found[2] == 0).all()


@pytest.mark.parametrize("code", ["int8", "binary"])
@given(seed=st.integers(0, 2**32), dim=st.sampled_from([0, 1, 7, 16]))
@settings(deadline=None, max_examples=20)
def test_the_gradient_is_that_of_the_unrounded_view(code, seed, dim):
    x = vectors(seed, dtype=torch.float64).requires_grad_()
    target = torch.randn(6, dim or 16, dtype=torch.float64)
    found, expected = (
        torch.autograd.grad((View(dim=dim, code=c)(x) * target).sum(), x)[0]
        for c in (code, "float")
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_the_gradient_of_a_cut_is_that_of_finite_differences():
    x = F.normalize(torch.randn(4, 9, dtype=torch.float64), dim=1).requires_grad_()
    assert torch.autograd.gradcheck(View(dim=5), [x])


@CODES
@pytest.mark.parametrize("dim", [0, 3])
def test_zero_rows_stay_zero_with_a_finite_gradient(code, dim):
    x = torch.zeros(4, 6, requires_grad=True)
    found = View(dim=dim, code=code)(x)
    assert (found == 0).all()
    found.sum().backward()
    assert x.grad.abs().max() <= 1  # not one over a tiny length


@pytest.mark.parametrize("code", ["int8", "binary"])
@given(seed=st.integers(0, 2**32), power=st.integers(-20, 20))
@settings(deadline=None, max_examples=20)
def test_a_code_does_not_know_the_length_of_its_vector(code, seed, power):
    x = vectors(seed)
    assert (View(code=code)(x) == View(code=code)(x * 2.0**power)).all()


@CODES
def test_a_pins_view_does_not_depend_on_the_others(code):
    x = vectors(2)
    view = View(dim=7, code=code)
    alone = torch.cat([view(row[None]) for row in x])
    torch.testing.assert_close(view(x), alone, rtol=0, atol=0 if code != "float" else 1e-7)


def test_a_code_can_be_trained():
    torch.manual_seed(0)
    raw = torch.randn(8, 32, requires_grad=True)
    target = 2 * F.normalize(torch.randn(8, 32), dim=1).sign() / 32**0.5
    view = View(dim=32, code="binary")
    optimizer = torch.optim.SGD([raw], lr=5)
    for _ in range(200):
        optimizer.zero_grad()
        (1 - (view(F.normalize(raw, dim=1)) * target / 2).sum(1)).mean().backward()
        optimizer.step()
    assert (view(raw.detach()).sign() == target.sign()).all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"dim": -1}, "dim is -1: expected 0"),
        ({"code": "int4"}, "code is 'int4': expected one of float, int8, binary"),
        ({"weight": 0.0}, "weight is 0.0: expected a number above 0"),
        ({"weight": -1.0}, "weight is -1.0"),
        ({"weight": math.nan}, "weight is nan"),
        ({"weight": math.inf}, "weight is inf"),
    ],
)
def test_wrong_arguments_are_refused(arguments, words):
    with pytest.raises(PinGraphError, match=words):
        View(**arguments)


def test_a_view_wider_than_the_vectors_is_refused():
    with pytest.raises(PinGraphError, match="dim is 17: the embeddings have 16 channels"):
        View(dim=17)(vectors(0))


class Holder:
    def __init__(self, views: tuple[View, ...] = (View(),)):
        self.views = views


@pytest.mark.parametrize(
    "entry", ["{class_path: pingraph.views.View, init_args: {dim: 32, code: int8}}", "{dim: 32}"]
)
def test_views_can_be_written_in_yaml(entry):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Holder, "objective")
    text = f"objective: {{views: [{entry}, {{class_path: pingraph.views.View}}]}}"
    views = parser.instantiate(parser.parse_string(text)).objective.views
    expected = View(dim=32, code="int8") if "int8" in entry else View(dim=32)
    assert views == (expected, View())
