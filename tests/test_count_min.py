"""The count-min sketch: against a dictionary, its error bound, merging, and damaged files."""

import hashlib
import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from pingraph.errors import PinGraphError
from pingraph.samplers import CountMinSketch
from tests.chance import assert_chance
from tests.random_twin import WORD, word
from tests.test_negatives import p_value

STREAMS = st.lists(st.integers(0, 20) | st.integers(0, 2**63 - 1), max_size=60)


def filled(ids, **arguments):
    sketch = CountMinSketch(**arguments)
    sketch.update(ids)
    return sketch


def test_a_wide_sketch_counts_exactly():
    stream = np.random.default_rng(0).zipf(1.3, 5_000) % 500
    sketch = filled(stream, width=2**20, depth=4)
    true = np.bincount(stream, minlength=600)
    np.testing.assert_array_equal(sketch.counts(np.arange(600)), true)
    assert sketch.total == 5_000
    seen = np.flatnonzero(true)
    logs = sketch.log_probabilities(seen)
    assert logs.dtype == np.float32
    np.testing.assert_allclose(logs, np.log(true[seen] / 5_000), rtol=1e-7)
    assert np.exp(logs.astype(float)).sum() == pytest.approx(1, abs=1e-6)


def test_an_unseen_pin_counts_as_seen_once():
    sketch = filled([7, 7, 7, 8], width=2**20, depth=4)
    assert sketch.counts([7, 9]).tolist() == [3, 0]
    np.testing.assert_allclose(sketch.log_probabilities([9]), np.log(1 / 4), rtol=1e-7)


@settings(max_examples=60, deadline=None)
@given(
    stream=STREAMS,
    asked=STREAMS,
    width=st.integers(1, 12),
    depth=st.integers(1, 4),
    seed=st.integers(0, WORD),
)
def test_it_equals_its_plain_twin_and_is_never_too_low(stream, asked, width, depth, seed):
    sketch = filled(stream, width=width, depth=depth, seed=seed)
    expected = []
    for pin in stream + asked:
        columns = [(row, column(pin, row, width, seed)) for row in range(depth)]
        rows = [sum(column(i, row, width, seed) == at for i in stream) for row, at in columns]
        expected.append(min(rows))
    found = sketch.counts(stream + asked)
    assert found.tolist() == expected
    true = Counter(stream)
    assert all(n >= true[pin] for n, pin in zip(found, stream + asked, strict=True))


def column(pin, row, width, seed):
    """Return the counter of a pin: pair-multiply-shift, in whole numbers without bounds."""
    high, low, plus = (word(word(0, seed), 3 * row + i) for i in range(3))
    product = (high + pin % 2**32) * (low + pin // 2**32) + plus
    return ((product % 2**64 >> 32) * width) >> 32


# What the hash functions must do, and the bound that follows from it.

PAIRS = {
    "adjacent": (5, 6),
    "high halves": (1, 1 + 2**32),
    "swapped halves": (3 + 7 * 2**32, 7 + 3 * 2**32),
    "far ends": (0, 2**63 - 1),
    "a power of two apart": (0, 2**31),
}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize("width", [5, 8])
def test_two_pins_fall_on_columns_as_two_dice_do(pair, width):
    """Chi-square of both columns over the seeds, 50 tests. False alarms: 2 in 10,000 a case."""
    p_values = []
    for test in range(50):
        sketches = (CountMinSketch(width=width, depth=64, seed=10 * test + i) for i in range(10))
        ids = np.array(pair, np.uint64)
        rows = [s._columns(row, ids) for s in sketches for row in range(64)]
        p_values.append(p_value(np.array(rows) @ [width, 1], np.full(width**2, width**-2.0)))
    assert_chance(p_values)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_the_error_bound_holds(depth):
    """Over 3,000 seeds, no pin of the stream is off by more than e/width · N oftener than e^-depth.

    Five pins of different popularity. The binomial bound is passed by chance in 1 of 10,000 cases
    even where the error were as large as the theorem allows; it is smaller.
    """
    stream = np.random.default_rng(1).zipf(1.4, 2_000) % 300
    true = np.bincount(stream, minlength=300)
    asked = np.array([1, 2, 5, 40, 299])
    width = 20
    errors = np.array(
        [
            filled(stream, width=width, depth=depth, seed=seed).counts(asked) - true[asked]
            for seed in range(3_000)
        ]
    )
    assert (errors >= 0).all()
    exceeded = (errors > np.e / width * len(stream)).sum(axis=0)
    assert exceeded.max() <= binom.ppf(1 - 1e-4 / 5, 3_000, np.exp(-depth))
    if depth == 1:  # the mean that the proof rests on: all others' counts, shared by the columns
        others = len(stream) - true[asked]
        spread = np.sqrt((true.astype(float) ** 2).sum() / width / 3_000)
        assert (np.abs(errors.mean(axis=0) - others / width) < 5 * spread).all()


# Streams in pieces, on ranks, in files.


@settings(max_examples=40, deadline=None)
@given(parts=st.lists(STREAMS, min_size=1, max_size=4), seed=st.integers(0, WORD))
def test_merged_sketches_are_the_sketch_of_the_whole_stream(parts, seed):
    options = {"width": 9, "depth": 3, "seed": seed}
    stream = [pin for part in parts for pin in part]
    merged, in_turn = CountMinSketch(**options), CountMinSketch(**options)
    for part in parts:
        merged.merge(filled(part, **options))
        in_turn.update(part)
    whole = filled(stream[::-1], **options)
    for other in (merged, in_turn):
        assert other.total == whole.total == len(stream)
        np.testing.assert_array_equal(other._table, whole._table)


def test_merging_leaves_the_other_as_it_was():
    mine, other = filled([1, 2], width=50, depth=2), filled([2], width=50, depth=2)
    mine.merge(other)
    other.update([3])
    assert (mine.total, other.total) == (3, 2)
    assert mine.counts([1, 2, 3]).tolist() == [1, 2, 0]


@pytest.mark.parametrize(("name", "value"), [("width", 51), ("depth", 3), ("seed", 1)])
def test_sketches_that_differ_cannot_be_merged(name, value):
    options = {"width": 50, "depth": 2, "seed": 0}
    sketch = filled([1], **options)
    with pytest.raises(PinGraphError, match=f"^{name} of the other sketch is {value}; expected"):
        sketch.merge(filled([1], **{**options, name: value}))
    assert sketch.total == 1


@pytest.mark.filterwarnings("error")
def test_the_shape_of_the_ids_is_kept():
    ids = np.array([[1, 2, 2], [3, 3, 3]], np.int32)
    sketch = filled(ids, width=1_000, depth=3)
    assert sketch.total == 6
    assert sketch.counts(ids).tolist() == [[1, 2, 2], [3, 3, 3]]
    assert sketch.log_probabilities(ids).shape == (2, 3)
    assert sketch.counts([]).shape == (0,)
    assert sketch.counts(3) == 3
    sketch.update([])
    assert sketch.total == 6


def test_a_saved_sketch_goes_on_counting(tmp_path):
    stream = np.arange(500) ** 2 % 97
    options = {"width": 30, "depth": 3, "seed": WORD}
    filled(stream[:200], **options).save(tmp_path / "sketch")
    opened = CountMinSketch.load(tmp_path / "sketch")
    opened.update(stream[200:])
    whole = filled(stream, **options)
    for sketch in (opened, pickle.loads(pickle.dumps(opened))):
        assert sketch.total == 500
        assert repr(sketch) == repr(whole)
        np.testing.assert_array_equal(sketch._table, whole._table)
    assert [path.name for path in tmp_path.iterdir()] == ["sketch"]


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "sketch"
    filled([1, 2, 3], width=16, depth=2).save(path)
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        changed = bytearray(whole)
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(PinGraphError, match=r"sketch: .*(damaged|expected)"):
            CountMinSketch.load(path)
    for cut in (0, 4, 100, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(PinGraphError, match="damaged, or no sketch"):
            CountMinSketch.load(path)
    with pytest.raises(PinGraphError, match="no such file"):
        CountMinSketch.load(tmp_path / "nothing")


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PinGraphError, match="cannot write"):
        filled([1], width=16, depth=2).save(tmp_path / "file" / "sketch")


def test_golden():
    """A change of this hash makes saved sketches wrong: raise the version of the file, too."""
    sketch = filled(np.arange(2_000) ** 3, width=101, depth=5, seed=20)
    digest = hashlib.sha256(sketch._table.astype("<i8").tobytes()).hexdigest()
    assert digest == "310f332499efb7364f12a690a00cb537a928469231bfe409b4e01189123b776f"


# Bad input.


@pytest.mark.parametrize("ids", [[0.5], ["a"], [True], [None], [[1, 2], [3, -4]], [2**63]])
@pytest.mark.parametrize("method", ["update", "counts", "log_probabilities"])
def test_ids_that_are_no_pins_are_refused(ids, method):
    sketch = filled([1], width=16, depth=2)
    with pytest.raises(PinGraphError, match=r"^ids (are .*; expected|hold .* at place [03];)"):
        getattr(sketch, method)(ids)
    assert sketch.total == 1


def test_an_empty_sketch_has_no_probabilities():
    with pytest.raises(PinGraphError, match="counted nothing"):
        CountMinSketch(width=16).log_probabilities([1])


@pytest.mark.parametrize("name", ["width", "depth", "seed"])
@pytest.mark.parametrize("value", [-1, 1.0, "3", True, None, 2**64])
def test_an_argument_out_of_range_is_refused(name, value):
    with pytest.raises(PinGraphError, match=f"^{name} is {value!r}; expected a whole number"):
        CountMinSketch(**{name: value})
