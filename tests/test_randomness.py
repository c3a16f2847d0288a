"""The random words: known answers, a plain twin, and the statistics of each part of the key."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from scipy.stats import binom, chi2

from pingraph.samplers.randomness import draw, epoch_key, pick
from tests.chance import assert_chance

WORDS = st.integers(0, 2**64 - 1)
PARTS = ("seed", "epoch", "pin", "walk", "step")


@njit
def words_at(addresses):
    """Return the random word of each row (seed, epoch, pin, walk, step), uint64 [n, 5]."""
    words = np.empty(len(addresses), np.uint64)
    for row in range(len(addresses)):
        seed, epoch, pin, walk, step = addresses[row]
        key = draw(draw(epoch_key(seed, epoch), pin), walk)
        words[row] = draw(key, step)
    return words


@njit
def picks(words, choices):
    """Return the index for each of `choices`, int64 [n, j], one carved after the other."""
    indices = np.empty((len(words), len(choices)), np.int64)
    for row in range(len(words)):
        rest = words[row]
        for column in range(len(choices)):
            indices[row, column], rest = pick(rest, choices[column])
    return indices


def along(part, count, rest=3):
    """Return `count` addresses that differ in one part alone."""
    addresses = np.full((count, 5), rest, np.uint64)
    addresses[:, PARTS.index(part)] = np.arange(count)
    return addresses


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (1234567, [6457827717110365317, 3203168211198807973, 9817491932198370423]),
        (0, [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC]),
    ],
)
def test_known_answers_of_splitmix64(key, words):
    assert [int(draw(np.uint64(key), i)) for i in range(len(words))] == words


def test_known_answers_of_the_whole_key():
    addresses = [[0, 0, 0, 0, 0], [1, 2, 3, 4, 5], [2**63] * 5]
    words = [f"{word:016x}" for word in words_at(np.array(addresses, np.uint64))]
    assert words == ["78ae5a9a6b5fd45e", "fe189c96e24de4f7", "a093da6f265eb1a4"]


@settings(max_examples=200, deadline=None)
@given(key=WORDS, index=WORDS)
def test_draw_equals_its_plain_twin(key, index):
    word = (key + 0x9E3779B97F4A7C15 * (index + 1)) % 2**64
    word = ((word ^ word >> 30) * 0xBF58476D1CE4E5B9) % 2**64
    word = ((word ^ word >> 27) * 0x94D049BB133111EB) % 2**64
    assert int(draw(np.uint64(key), np.uint64(index))) == word ^ word >> 31


@settings(max_examples=200, deadline=None)
@given(word=WORDS, choices=st.lists(st.integers(1, 2**40), min_size=1, max_size=4))
def test_pick_equals_its_plain_twin(word, choices):
    found = picks(np.array([word], np.uint64), np.array(choices))[0]
    for index, count in zip(found, choices, strict=True):
        assert int(index) == word * count >> 64
        word = word * count % 2**64


@pytest.mark.parametrize("part", PARTS)
def test_a_flipped_bit_of_any_part_flips_each_bit_with_probability_half(part):
    """64 × 64 shares of 2,000 flips. False alarms: 2 in 10,000."""
    addresses = np.random.default_rng(1).integers(0, 2**63, (2_000, 5), dtype=np.uint64)
    before = words_at(addresses)
    low, high = binom.ppf([1e-4 / 4096, 1 - 1e-4 / 4096], 2_000, 0.5)
    for bit in range(64):
        flipped = addresses.copy()
        flipped[:, PARTS.index(part)] ^= np.uint64(1) << np.uint64(bit)
        flips = bits(before ^ words_at(flipped)).sum(axis=0)
        assert low <= flips.min()
        assert flips.max() <= high


@pytest.mark.parametrize("part", PARTS)
def test_words_of_neighbors_are_uniform_and_independent(part):
    """Chi-square of the bytes of 50 runs, and of the pairs of nibbles of adjacent words.

    False alarms: 2 in 10,000 for each of the two.
    """
    singles, pairs = [], []
    for run in range(50):
        words = words_at(along(part, 8_192, rest=run))
        for column in words[:, None].view(np.uint8).T:
            singles.append(uniformity(column, 256))
        for shift in range(0, 64, 8):
            nibble = (words >> np.uint64(shift)) & np.uint64(15)
            pairs.append(uniformity(nibble[:-1] * 16 + nibble[1:], 256))
    assert_chance(singles)
    assert_chance(pairs)


def test_the_parts_of_the_key_cannot_be_exchanged():
    """All 6⁵ addresses of small and large parts have words of their own."""
    values = np.array([0, 1, 2, 2**32, 2**63, 2**64 - 1], np.uint64)
    addresses = np.stack(np.meshgrid(*[values] * 5), axis=-1).reshape(-1, 5)
    assert len(np.unique(words_at(addresses))) == len(addresses)


def test_picks_of_one_word_are_uniform_and_independent():
    """Chi-square of (board, pin, stop or not) over 200 runs of words. False alarms: 2 in 10,000."""
    p_values = []
    for run in range(200):
        indices = picks(words_at(along("walk", 20_000, rest=run)), np.array([7, 11, 2]))
        p_values.append(uniformity(np.ravel_multi_index(indices.T, (7, 11, 2)), 154))
    assert_chance(p_values)


def test_an_index_is_below_its_bound_even_for_the_largest_words():
    words = np.array([0, 2**63, 2**64 - 1], np.uint64)
    for count in (1, 2, 3, 10**6, 2**40, 2**63 - 1):
        indices = picks(words, np.array([count, count]))
        assert (indices >= 0).all()
        assert (indices < count).all()
        assert indices[0].tolist() == [0, 0]
        assert indices[2, 0] == count - 1


def bits(words):
    return np.unpackbits(words[:, None].view(np.uint8), axis=1, bitorder="little")


def uniformity(values, count):
    observed = np.bincount(values.astype(np.int64), minlength=count)
    expected = len(values) / count
    return chi2.sf(((observed - expected) ** 2 / expected).sum(), count - 1)
