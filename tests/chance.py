"""When many chi-square tests of one law, each with its own p-value, agree with chance."""

import numpy as np
from scipy.stats import binom, kstest


def assert_chance(p_values):
    """Check the share below .05 (false alarm rate 1 in 10,000) and uniformity (likewise)."""
    low, high = binom.ppf([0.5e-4, 1 - 0.5e-4], len(p_values), 0.05)
    assert low <= np.sum(np.array(p_values) < 0.05) <= high
    assert kstest(p_values, "uniform").pvalue > 1e-4
