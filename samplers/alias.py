"""Alias tables: an edge by its weight in constant time, with one random word.

Walker, An efficient method for generating discrete random variables with general distributions, ACM
TOMS 1977; built as Vose does, IEEE TSE 1991.
"""

import numpy as np

from pingraph.compiled import njit

_WHOLE = 2.0**32


@njit(nogil=True, cache=True)
def alias_tables(offsets, weights):
    """Return the alias tables of all rows of a CSR matrix.

    A place i of a row is drawn uniformly and kept if a uniform number in 0 … 2³² - 1 is below
    thresholds[i], else aliases[i] is taken instead. A probability is off by 2⁻³² at most. On paper:
    the weights 1 and 3 give the thresholds 2³¹ and 2³² - 1, and the first one's alias is 1.

    Args:
        offsets: int64 [N + 1].
        weights: float32 [E], finite and above 0.

    Returns:
        (thresholds, aliases): uint32 [E] and int32 [E], an alias is a place within its row.
    """
    thresholds = np.empty(len(weights), np.uint32)
    aliases = np.empty(len(weights), np.int32)
    longest = 0
    for row in range(len(offsets) - 1):
        longest = max(longest, offsets[row + 1] - offsets[row])
    shares, places = np.empty(longest, np.float64), np.empty(longest, np.int32)
    for row in range(len(offsets) - 1):
        start, end = offsets[row], offsets[row + 1]
        _fill_row(weights[start:end], shares, places, thresholds[start:end], aliases[start:end])
    return thresholds, aliases


@njit
def _fill_row(weights, shares, places, thresholds, aliases):
    total = 0.0
    for weight in weights:
        total += weight
    low, high = 0, len(weights)  # places below the mean grow from the left, the others from right
    for i in range(len(weights)):
        shares[i] = weights[i] / total * len(weights)
        if shares[i] < 1:
            places[low] = i
            low += 1
        else:
            high -= 1
            places[high] = i
    while low > 0 and high < len(weights):
        low -= 1
        poor, rich = places[low], places[high]
        thresholds[poor] = np.uint32(min(shares[poor] * _WHOLE, _WHOLE - 1))
        aliases[poor] = rich
        shares[rich] -= 1 - shares[poor]
        if shares[rich] < 1:
            high += 1
            places[low] = rich
            low += 1
    for i in range(low):
        _keep_always(places[i], thresholds, aliases)
    for i in range(high, len(weights)):
        _keep_always(places[i], thresholds, aliases)


@njit
def _keep_always(place, thresholds, aliases):
    thresholds[place] = np.uint32(_WHOLE - 1)  # its alias is itself, so that nothing is missing
    aliases[place] = place
