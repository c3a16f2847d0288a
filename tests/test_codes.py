"""What is stored is what was trained: the codes decode to their views, bit for bit."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pingraph import codes as stored
from pingraph.codes import _BLOCK, as_served, encode, score
from pingraph.errors import PinGraphError
from pingraph.views import View

CODES = ("float", "int8", "binary")
ALL = pytest.mark.parametrize("code", CODES)


def vectors(seed, rows=9, channels=16):
    """Unit vectors with some channels, and some whole rows, that are zero."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, channels)) * (rng.random((rows, channels)) < 0.8)
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)
    return (x * (rng.random((rows, 1)) < 0.8)).astype(np.float32)


@ALL
@given(
    seed=st.integers(0, 2**32),
    rows=st.integers(0, 6),
    channels=st.sampled_from([1, 2, 7, 8, 9, 64, 2000]),
    part=st.sampled_from([0, 0.3, 1]),
)
@settings(deadline=None, max_examples=60)
def test_a_code_decodes_to_its_view_and_scores_like_it(code, seed, rows, channels, part):
    x = vectors(seed, rows, channels)
    view = View(dim=int(part * channels), code=code)
    trained = view(torch.from_numpy(x)).numpy()
    codes = encode(x, view)
    served = codes.decode()
    assert served.dtype == np.float32
    if code == "float":
        np.testing.assert_allclose(served, trained, rtol=1e-6, atol=0)
    else:
        np.testing.assert_array_equal(served, trained)
    wide = trained.astype(np.float64)
    np.testing.assert_allclose(score(codes, codes), wide @ wide.T, rtol=0, atol=2e-6)
    np.testing.assert_array_equal(codes.present, trained.any(1))


@pytest.mark.parametrize("asked", CODES)
@ALL
def test_a_score_is_the_cosine_also_across_codes(asked, code):
    queries, pins = vectors(1, rows=4), vectors(2, rows=7)
    left, right = encode(queries, View(dim=11, code=asked)), encode(pins, View(dim=11, code=code))
    found = score(left, right)
    for q, query in enumerate(left.decode().tolist()):
        for p, pin in enumerate(right.decode().tolist()):
            expected = sum(a * b for a, b in zip(query, pin, strict=True))
            assert found[q, p] == pytest.approx(expected, abs=1e-6)


def test_binary_scores_by_hand():
    codes = encode(np.float32([[0.6, -0.8, 0], [-0.6, 0.8, -0.1], [0, 0, 0]]), View(code="binary"))
    assert codes.values.tolist() == [[0b10100000], [0b01000000], [0b11100000]]
    expected = np.float32([[1, -1, 0], [-1, 1, 0], [0, 0, 0]])
    np.testing.assert_allclose(score(codes, codes), expected)


def test_int8_by_hand():
    codes = encode(np.float32([[0.6, -0.8], [0, 0]]), View(code="int8"))
    assert codes.values.tolist() == [[95, -127], [0, 0]]  # 127 · 0.6 / 0.8 = 95.25
    assert codes.values.dtype == np.int8


@ALL
def test_scores_do_not_depend_on_the_block(code):
    pins = np.tile(vectors(3, rows=13, channels=4), (_BLOCK // 13 + 2, 1))
    view = View(code=code)
    queries = encode(pins[:13], View())
    found = score(queries, encode(pins, view))
    assert found.shape == (13, len(pins))
    expected = score(queries, encode(pins[:13], view))
    np.testing.assert_allclose(found, np.tile(expected, len(pins) // 13), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("view", "size"),
    [
        (View(), 512),
        (View(dim=32), 128),
        (View(code="int8"), 128),
        (View(dim=32, code="int8"), 32),
        (View(code="binary"), 16),
        (View(dim=33, code="binary"), 5),
    ],
)
def test_bytes_per_pin(view, size):
    codes = encode(vectors(4, channels=128), view)
    assert codes.bytes_per_pin == size == codes.values.nbytes / len(codes.values)


@pytest.mark.parametrize("asked", ["float", "int8"])
def test_a_long_code_finds_what_the_vectors_find(asked):
    x = vectors(5, rows=200, channels=128)
    x = x[x.any(1)]
    best = (x @ x.T - 2 * np.eye(len(x))).argmax(1)
    found = score(encode(x, View(code=asked)), encode(x, View(code="int8"))) - 2 * np.eye(len(x))
    assert (found.argmax(1) == best).mean() > 0.95


@pytest.mark.parametrize("dim", [0, 8])
@ALL
def test_vectors_are_served_as_their_codes_decode(code, dim, monkeypatch):
    monkeypatch.setattr(stored, "_BLOCK", 7)
    x, view = vectors(6, rows=20), View(dim=dim, code=code)
    np.testing.assert_array_equal(as_served(x, view), encode(x, view).decode())


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros(3, np.float32), r"vectors have shape \(3,\): expected \[N, D\]"),
        (np.float32([[1, 0], [np.nan, 0]]), "row 1 of the vectors is not finite"),
        (np.zeros((2, 7), np.float32), "dim is 8: the embeddings have 7 channels"),
    ],
)
def test_bad_vectors_are_refused(array, words):
    with pytest.raises(PinGraphError, match=words):
        encode(array, View(dim=8 if array.shape[-1] == 7 else 0))


def test_codes_of_other_widths_are_not_compared():
    x = vectors(7)
    with pytest.raises(PinGraphError, match="queries have 8 channels, and the pins 16"):
        score(encode(x, View(dim=8)), encode(x, View()))


def test_serving_needs_no_torch():
    check = "import sys, pingraph.codes; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], timeout=60).returncode == 0
