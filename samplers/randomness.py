"""The random numbers of all samplers: pure functions of (seed, epoch, pin, walk, step), no state.

A sampler that draws from a shared generator gives another result for another order, batch, thread
or worker. Here nothing is drawn from anything: `draw(key, i)` is output number i of SplitMix64
started at `key` (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014),
and each part of the address of a random word picks one output of the generator that the parts
before it have started:

    epoch_key = draw(draw(0, seed), epoch)      # once a call, `epoch_key(seed, epoch)`
    pin_key   = draw(epoch_key, pin)            # once a seed pin
    walk_key  = draw(pin_key, walk)             # once a walk
    word      = draw(walk_key, step)            # 64 random bits

It is not for secrets. All arithmetic is on 64-bit words that wrap around, so that another language
or a GPU can repeat it bit for bit.

A trap for whoever edits this file: numba's disk cache watches the file of the kernel alone, not
the files of the functions that it calls; delete the `__pycache__` folders after a change.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from pingraph.compiled import njit

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, made odd: the stride of SplitMix64
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_ONE = np.uint64(1)
_SPREAD = np.uint64(0xD1342543DE82EF95)  # Steele and Vigna 2021 (arXiv 2001.05304)


@njit(inline="always")
def draw(key, index):
    """Return output number `index` (0, 1, …) of SplitMix64 started at `key`, a uint64.

    Adjacent indices and adjacent keys both give words that look independent.
    """
    word = key + _GOLDEN * (np.uint64(index) + _ONE)
    word = (word ^ (word >> np.uint64(30))) * _MIX_1
    word = (word ^ (word >> np.uint64(27))) * _MIX_2
    return word ^ (word >> np.uint64(31))


@njit(inline="always")
def pick(word, choices):
    """Carve a uniform index in 0 … choices-1 off a random word; return (int64 index, uint64 rest).

    The index is the high half of the 128-bit product word · choices, the rest is the low half,
    which serves as the word of the next pick. After picks among n₁, n₂, … nⱼ choices, the
    probability of each outcome differs from 1/(n₁ n₂ … nⱼ) by a relative n₁ n₂ … nⱼ / 2⁶⁴ at most.
    On two decimal digits instead of 64 bits: word 73, 4 choices: 292, so index 2, rest 92.
    """
    high, low = _multiply(word, np.uint64(choices))
    return np.int64(high), low


@njit(inline="always")
def follow(word):
    """Return a fresh word after one that a choice has used up, in two operations.

    It is for words that are random already: its high bits, which choices use first, depend on all
    low bits, which the choice before has not used.
    """
    return (word ^ (word >> np.uint64(32))) * _SPREAD


@njit(cache=True)
def epoch_key(seed, epoch):
    """Return the uint64 key of a call from its random seed and its epoch (both uint64)."""
    return draw(draw(np.uint64(0), seed), epoch)


def _emit_multiply(typing_context, left, right):
    """Return (high, low), the two 64-bit halves of the product of two uint64."""

    def generate(context, builder, signature, arguments):
        wide = ir.IntType(128)
        product = builder.mul(*(builder.zext(argument, wide) for argument in arguments))
        high = builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))
        low = builder.trunc(product, ir.IntType(64))
        return context.make_tuple(builder, signature.return_type, (high, low))

    pair = types.UniTuple(types.uint64, 2)
    return pair(types.uint64, types.uint64), generate


_multiply: Any = intrinsic(_emit_multiply)  # called as _multiply(left, right)
