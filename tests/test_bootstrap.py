"""Intervals hold the truth as often as they promise, and say nothing where nothing is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from pingraph import bootstrap
from pingraph.bootstrap import RESAMPLES, lift_intervals, lifts, mean_intervals


def share_holding(intervals, truth):
    return ((intervals[:, 0] <= truth) & (truth <= intervals[:, 1])).mean()


@pytest.mark.parametrize("law", ["bernoulli", "skewed"])
def test_mean_intervals_hold_the_truth(law):
    rng = np.random.default_rng(1)
    shape = (200, 400)  # queries, worlds
    draw = {"bernoulli": rng.random(shape) < 0.3, "skewed": rng.beta(0.4, 1.2, shape)}[law]
    truth = {"bernoulli": 0.3, "skewed": 0.25}[law]
    # 400 worlds: 95% with a standard error of about 1%.
    assert 0.91 < share_holding(mean_intervals(draw.astype(float), seed=0), truth) < 0.985


@pytest.mark.parametrize("share", [0.005, 0.03])
@pytest.mark.parametrize("other", [0.0, 0.5])
def test_where_nearly_all_queries_get_the_same_the_truth_is_held_too(share, other):
    rng = np.random.default_rng(7)
    values = np.where(rng.random((30, 1000)) < share, other, 1.0)  # queries, worlds
    truth = 1 - share * (1 - other)
    for got, mean in ((values, truth), (1 - values, 1 - truth)):
        assert share_holding(mean_intervals(got, seed=0, unit=True), mean) > 0.95
        assert share_holding(mean_intervals(got, seed=0), mean) < 0.7


@pytest.mark.parametrize("queries", [2, 8, 500])
def test_the_interval_of_queries_that_are_all_alike_is_that_of_clopper_and_pearson(queries):
    values = np.stack([np.ones(queries), np.zeros(queries), np.full(queries, 0.3)], axis=1)
    ends = mean_intervals(values, seed=0, unit=True)
    for hits, found in ((queries, ends[0]), (0, ends[1])):
        exact = binomtest(hits, queries).proportion_ci(0.95, method="exact")
        assert found == pytest.approx([exact.low, exact.high])
    assert ends[2] == pytest.approx([0.3, 0.3])
    assert mean_intervals(values - 1, seed=0)[0].tolist() == [0, 0]  # of differences


def test_lift_intervals_hold_the_truth():
    rng = np.random.default_rng(2)
    shape = (300, 400)
    hard = rng.random(shape)  # a query that is hard is hard for both methods
    before = (rng.random(shape) < 0.4 * hard).astype(float)
    after = (rng.random(shape) < 0.5 * hard).astype(float)
    intervals = lift_intervals(before, after, seed=0)
    assert 0.91 < share_holding(intervals, 0.25) < 0.985


def test_equal_to_a_loop(monkeypatch):
    rng = np.random.default_rng(3)
    before, after = rng.random((50, 2)), rng.random((50, 2))
    drawn = np.concatenate(list(bootstrap._resamples(50, 7)))
    rows = [np.repeat(np.arange(50), counts.astype(int)) for counts in drawn]
    means = np.array([before[row].mean(axis=0) for row in rows])
    expected = np.quantile(means, [0.025, 0.975], axis=0).T
    assert mean_intervals(before, seed=7) == pytest.approx(expected)
    ratios = np.sort([after[row].mean(axis=0) / before[row].mean(axis=0) - 1 for row in rows], 0)
    expected = ratios[[24, 974]].T  # the 25th and the 975th of 1,000
    assert lift_intervals(before, after, seed=7) == pytest.approx(expected)


@given(st.integers(2, 60), st.integers(0, 2**32), st.integers(0, 2**32))
@settings(deadline=None, max_examples=25)
def test_identical_methods_have_no_lift(count, seed, data_seed):
    values = np.random.default_rng(data_seed).random((count, 3))
    assert (lifts(values, values.copy()) == 0).all()
    assert (lift_intervals(values, values.copy(), seed=seed) == 0).all()


def test_pairing_sees_what_separate_intervals_cannot():
    before = np.random.default_rng(4).random((100, 1))
    ends = lift_intervals(before, 1.1 * before, seed=0)
    assert ends == pytest.approx(np.array([[0.1, 0.1]]))
    low, high = mean_intervals(before, seed=0)[0]
    assert high / low > 1.1  # the two means overlap


def test_lift_is_the_ratio_of_means():
    rng = np.random.default_rng(5)
    before, after = rng.random((80, 4)), rng.random((80, 4))
    assert lifts(before, after) == pytest.approx(after.mean(axis=0) / before.mean(axis=0) - 1)


def test_nothing_is_said_where_nothing_is_known():
    empty, one = np.empty((0, 2)), np.ones((1, 2))
    assert np.isnan(mean_intervals(empty, seed=0)).all()
    assert np.isnan(mean_intervals(one, seed=0)).all()
    assert np.isnan(lifts(empty, empty)).all()
    assert np.isnan(lift_intervals(empty, empty, seed=0)).all()
    nothing, something = np.zeros((30, 1)), np.ones((30, 1))
    for after in (nothing, something):
        assert np.isnan(lifts(nothing, after)).all()
        assert np.isnan(lift_intervals(nothing, after, seed=0)).all()


def test_an_interval_without_an_end_is_none():
    before, after = np.array([[0.0], [0], [0], [1]]), np.ones((4, 1))
    assert lifts(before, after) == pytest.approx([3])
    assert np.isnan(lift_intervals(before, after, seed=0)).all()


def test_one_seed_one_result():
    values = np.random.default_rng(6).random((100, 2))
    one, again = mean_intervals(values, seed=1), mean_intervals(values, seed=1)
    assert np.array_equal(one, again)
    assert not np.array_equal(one, mean_intervals(values, seed=2))


@pytest.mark.parametrize("count", [2, 999, 30_000])
def test_every_resample_draws_as_many_as_there_are(count):
    chunks = list(bootstrap._resamples(count, 0))
    assert sum(len(chunk) for chunk in chunks) == RESAMPLES
    assert all((chunk.sum(axis=1) == count).all() for chunk in chunks)
    assert max(chunk.size for chunk in chunks) <= 4_000_000
