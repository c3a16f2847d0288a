"""Jackknife: how sure a number is, from what it is with each of some groups of things left out.

Efron and Tibshirani 1993, chapter 11. For numbers that are no means over things, such as a rank: to
draw things again with replacement, as the bootstrap does, would change these by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

GROUPS = 20  # thing i is in group i modulo GROUPS


def jackknife_interval(
    value: float, left_out: Sequence[float], limits: tuple[float, float] = (-np.inf, np.inf)
) -> list[float] | None:
    """Return the 95% interval of a number: ± t standard errors, by Student's t with G - 1 degrees.

    Args:
        value: what the number is of all things.
        left_out: what it is without each of G groups in turn.
        limits: what it can be, at least and at most; the interval is cut there.

    Returns:
        Its ends; None where the number does not exist of all, or of what is left.
    """
    others = np.array(left_out, np.float64)
    if not len(others) or not np.isfinite([value, *others]).all():
        return None
    spread = np.square(others - others.mean()).sum() * (len(others) - 1) / len(others)
    half = stats.t.ppf(0.975, len(others) - 1) * np.sqrt(spread)
    return [float(end) for end in np.clip([value - half, value + half], *limits)]
