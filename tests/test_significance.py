"""Paired tests equal SciPy's, hold their promises under chance, and are corrected as Holm says."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats

from pingraph.errors import PinGraphError
from pingraph.evaluation import Evaluation
from pingraph.metrics import METRICS
from pingraph.ranking import TaskResult
from pingraph.significance import holm, paired_tests, sign_flip


def scipy_p(differences):
    """SciPy's share of sign patterns whose sum is as far from 0."""
    done = stats.permutation_test(
        (differences,),
        lambda values: abs(values.sum()),
        permutation_type="samples",
        vectorized=False,
        alternative="greater",
    )
    return done.pvalue


@given(st.integers(2, 9), st.integers(0, 2**32), st.booleans())
@settings(deadline=None, max_examples=25)
def test_all_sign_patterns_equal_scipy(count, seed, coarse):
    rng = np.random.default_rng(seed)
    draw = rng.integers(-2, 3, (count, 2)) / 4 if coarse else rng.normal(size=(count, 2))
    found = sign_flip(draw.astype(float), seed=0)
    for column in range(2):
        assert found[column] == pytest.approx(scipy_p(draw[:, column]), abs=1e-9)


def test_drawn_patterns_come_near_to_all_of_them():
    differences = np.random.default_rng(1).normal(0.3, 1, (12, 3))
    every = sign_flip(differences, seed=0, flips=2**12)
    drawn = sign_flip(differences, seed=0, flips=2**12 - 1)
    assert (every > 0.005).all()
    assert np.abs(drawn - every).max() < 4.5 * np.sqrt(0.25 / 2**12)


def test_chunks_change_nothing(monkeypatch):
    differences = np.random.default_rng(2).integers(-4, 5, (40, 3)) / 4
    whole = sign_flip(differences, seed=3, flips=500)
    monkeypatch.setattr("pingraph.significance._CHUNK", 40 * 7)
    assert np.array_equal(sign_flip(differences, seed=3, flips=500), whole)


def test_without_a_difference_p_is_1_and_it_never_is_0():
    assert sign_flip(np.zeros((30, 2)), seed=0).tolist() == [1, 1]
    assert sign_flip(np.zeros((1, 1)), seed=0).tolist() == [1]
    assert sign_flip(np.ones((1, 1)), seed=0).tolist() == [1]  # one query proves nothing
    assert sign_flip(np.empty((0, 2)), seed=0).tolist() == [1, 1]
    assert sign_flip(np.ones((100, 1)), seed=0, flips=999)[0] == 1 / 1000
    assert sign_flip(np.ones((10, 1)), seed=0)[0] == 2 / 2**10


def test_chance_gives_false_alarms_as_often_as_promised():
    rng = np.random.default_rng(4)
    one, two = rng.random((2, 60, 2000)) < 0.3  # 2,000 worlds in which nothing is different
    p = sign_flip(two.astype(float) - one, seed=5, flips=999)
    for level in (0.01, 0.05, 0.2):
        # A discrete test may be stricter than promised, never laxer.
        assert (p <= level).mean() < level + 3.5 * np.sqrt(level * (1 - level) / 2000)
    assert (p <= 0.05).mean() > 0.02


def slow_holm(p):
    """Step down: reject the smallest while it is at most level / (tests left)."""
    out = []
    for value in p:
        smaller = sorted(other for other in p if other <= value)
        steps = [(len(p) - place) * other for place, other in enumerate(smaller)]
        out.append(min(1.0, max(steps[: smaller.index(value) + 1])))
    return out


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(deadline=None, max_examples=100)
def test_holm_equals_its_definition(p):
    corrected = holm(np.array(p))
    assert corrected == pytest.approx(np.array(slow_holm(p)))
    assert (corrected >= np.array(p)).all()
    assert (corrected <= np.minimum(1, len(p) * np.array(p)) + 1e-12).all()  # Bonferroni
    order = np.argsort(p)
    assert (np.diff(corrected[order]) >= 0).all()


def test_holm_by_hand():
    # Holm's steps: 4 · 0.01, 3 · 0.015, 2 · 0.03, and 0.04 is lifted to what stood before it.
    found = holm(np.array([0.03, 0.01, 0.04, 0.015]))
    assert found == pytest.approx(np.array([0.06, 0.04, 0.06, 0.045]))
    assert holm(np.array([])).tolist() == []


def evaluation(values, queries=None, **tasks):
    """An evaluation whose cold pin → pin has the values of recall@10, and nothing else."""
    filled = np.zeros((len(values), len(METRICS)))
    filled[:, METRICS.index("recall@10")] = values
    result = TaskResult(
        corpus=100,
        queries=np.arange(len(values)) if queries is None else queries,
        available=len(values),
        without_relevant=0,
        values=filled,
        boards=sparse.csr_array((len(values), 3), dtype=np.float32),
    )
    cold = {"pin_to_pin": result, "image_to_text": None, **tasks}
    return Evaluation(data="things", split={}, seed=0, cold=cold, warm={})


def test_tests_between_methods():
    rng = np.random.default_rng(6)
    base = rng.random(80)
    methods = {
        "base": evaluation(base),
        "better": evaluation(base + 0.1 + 0.1 * rng.random(80)),
        "same": evaluation(base + 0.2 * rng.normal(size=80)),
    }
    tests = paired_tests(methods, flips=2000)
    pairs = [(test.first, test.second) for test in tests]
    assert pairs == [("base", "better"), ("base", "same"), ("better", "same")]
    better, same, _ = tests
    assert better.difference == pytest.approx(better.means[1] - better.means[0])
    assert better.ci95[0] <= better.difference <= better.ci95[1]
    assert better.ci95[0] > 0
    assert better.p == pytest.approx(1 / 2001)
    assert better.p_holm == pytest.approx(3 / 2001)
    assert same.ci95[0] < 0 < same.ci95[1]
    assert same.p_holm >= same.p > 0.05
    told = [test.to_dict() for test in tests]
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    against = paired_tests(methods, base="same", metrics=("recall@10", "mrr"), flips=2000)
    assert [(test.second, test.metric) for test in against] == [
        ("base", "recall@10"),
        ("base", "mrr"),
        ("better", "recall@10"),
        ("better", "mrr"),
    ]
    assert against[1].p == 1


def test_what_cannot_be_paired():
    one = evaluation(np.ones(3))
    with pytest.raises(PinGraphError, match="'a' and 'b' answered different queries"):
        paired_tests({"a": one, "b": evaluation(np.ones(3), queries=np.array([0, 1, 5]))})
    with pytest.raises(PinGraphError, match="base 'c': expected one of a"):
        paired_tests({"a": one}, base="c")
    with pytest.raises(PinGraphError, match="metric 'recall@11': expected one of recall@1"):
        paired_tests({"a": one}, metrics=["recall@11"])
    assert paired_tests({"a": one}) == []
    assert paired_tests({"a": evaluation([]), "b": evaluation([])}) == []
    (alone,) = paired_tests({"a": evaluation([0.0]), "b": evaluation([1.0])})
    assert (alone.p, alone.ci95) == (1, None)
