"""The random numbers of `pingraph.samplers.randomness` as tensors: the same words, on any device.

torch lacks arithmetic on uint64. So a word is an int64 that holds the same 64 bits: sums and
products of int64 wrap around to the bits that those of uint64 have. Only a shift to the right and
the high half of a product depend on the sign; both are made anew here.
"""

from __future__ import annotations

import torch
from torch import Tensor

_DIGIT = 2**22 - 1
_GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # the constants of randomness.py, as int64
_MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
_MIX_2 = 0x94D049BB133111EB - 2**64
_SPREAD = 0xD1342543DE82EF95 - 2**64
_ACCEPTANCE = 2**41  # as in hooks.py


def bits(number: int) -> Tensor:
    """Return the int64 tensor, of no dimensions, that holds a whole number from 0 to 2⁶⁴ - 1.

    It lies on the CPU: tensors of a GPU take it as a constant, without waiting for one another.
    """
    return torch.tensor(number - 2**64 if number >= 2**63 else number, device="cpu")


def draw(key: Tensor, index: Tensor | int) -> Tensor:
    """Return output number `index` (0, 1, …) of SplitMix64 started at `key`.

    Args:
        key: the bits of a uint64, int64 of any shape.
        index: likewise, of a shape that broadcasts with the key's; or a number, 0 to 2⁶⁴ - 1.
    """
    place = bits(index) if isinstance(index, int) else index
    word = key + _GOLDEN * (place + 1)
    word = (word ^ shift_right(word, 30)) * _MIX_1
    word = (word ^ shift_right(word, 27)) * _MIX_2
    return word ^ shift_right(word, 31)


def pick(word: Tensor, choices: Tensor) -> tuple[Tensor, Tensor]:
    """Carve a uniform index in 0 … choices-1 off each random word; return (index, rest), int64.

    They are the high and the low half of the 128-bit product word · choices. The high half is found
    as by hand on paper, digit by digit of 22, 22 and 20 bits, where nothing overflows. For 73 · 14
    in decimal digits: 3 · 14 = 42, carry 4; 7 · 14 + 4 = 102, carry 10, the high half of 1022.

    Args:
        word: the bits of a uint64, int64 of any shape.
        choices: int64 from 0 to 2⁴¹ - 1, of a shape that broadcasts with the word's.
    """
    carry = ((word & _DIGIT) * choices) >> 22
    carry = (((word >> 22) & _DIGIT) * choices + carry) >> 22
    return (shift_right(word, 44) * choices + carry) >> 20, word * choices


def follow(word: Tensor) -> Tensor:
    """Return a fresh word after one that a choice has used up."""
    return (word ^ shift_right(word, 32)) * _SPREAD


def coin(word: Tensor) -> Tensor:
    """Return a number of [0, 1) that the words give, float64: what an acceptance is drawn by."""
    return shift_right(draw(word, _ACCEPTANCE), 11).double() * 2.0**-53


def epoch_key(seed: int, epoch: int) -> Tensor:
    """Return the key of a call, int64 of no dimensions, from two numbers of 0 to 2⁶⁴ - 1."""
    return draw(draw(bits(0), seed), epoch)


def shift_right(word: Tensor, places: int) -> Tensor:
    """Return the bits of uint64 words moved right by 1 to 63 places, zeros coming in."""
    return (word >> places) & ((1 << (64 - places)) - 1)
