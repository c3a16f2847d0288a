"""Churn and CKA equal their definitions on small matrices; forced answers come out so."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pingraph import stability as module
from pingraph.errors import PinGraphError
from pingraph.stability import cka, neighbor_churn, stability
from tests.table_cases import alike_table, orthogonal, random_vectors, unit


@given(st.integers(0, 2**32), st.integers(1, 8), st.integers(1, 20))
@settings(deadline=None, max_examples=40)
def test_churn_equals_a_loop(seed, k, queries):
    rng = np.random.default_rng(seed)
    one, two = (
        np.array([rng.permutation(12)[:k] for _ in range(queries)], np.int32) for _ in range(2)
    )
    told = neighbor_churn(one, two, pins=13, seed=0)
    sets = [(set(a), set(b)) for a, b in zip(one.tolist(), two.tolist(), strict=True)]
    assert told["churn"]["value"] == pytest.approx(np.mean([1 - len(a & b) / k for a, b in sets]))
    jaccard = np.mean([len(a & b) / len(a | b) for a, b in sets])
    assert told["jaccard"]["value"] == pytest.approx(jaccard)


def test_churn_of_unrelated_lists_is_that_of_chance():
    rng = np.random.default_rng(1)
    one, two = (np.array([rng.permutation(39)[:5] for _ in range(3000)]) for _ in range(2))
    told = neighbor_churn(one, two, pins=40, seed=0)
    low, high = told["churn"]["ci95"]
    assert low - 0.002 < told["churn_by_chance"] < high + 0.002
    same = neighbor_churn(one, one[:, ::-1], pins=40, seed=0)
    assert (same["churn"]["value"], same["jaccard"]["value"]) == (0, 1)


def gram(vectors):
    vectors = vectors.astype(np.float64)
    return vectors @ vectors.T


def slow_hsic(one, two):
    """tr(K H L H), from N x N matrices."""
    center = np.eye(len(one)) - 1 / len(one)
    return np.trace(gram(one) @ center @ gram(two) @ center)


def slow_unbiased_hsic(one, two):
    count, k, left = len(one), gram(one), gram(two)
    np.fill_diagonal(k, 0)
    np.fill_diagonal(left, 0)
    ones = np.ones(count)
    both = (ones @ k @ ones) * (ones @ left @ ones) / (count - 1) / (count - 2)
    return np.trace(k @ left) + both - 2 / (count - 2) * (ones @ k @ left @ ones)


def slow_ratio(hsic, one, two):
    return hsic(one, two) / np.sqrt(hsic(one, one) * hsic(two, two))


@given(st.integers(0, 2**32), st.integers(4, 60), st.integers(1, 7), st.integers(1, 7))
@settings(deadline=None, max_examples=40)
def test_cka_equals_its_definition(seed, rows, width, other):
    rng = np.random.default_rng(seed)
    one = rng.normal(size=(rows, width)).astype(np.float32)
    two = (rng.normal(size=(rows, other)) + 0.5 * one[:, :1] + 2).astype(np.float32)
    told = cka(one, two)
    assert told["cka"]["value"] == pytest.approx(slow_ratio(slow_hsic, one, two), abs=1e-6)
    if min(slow_unbiased_hsic(v, v) for v in (one, two)) > 1e-3:
        expected = slow_ratio(slow_unbiased_hsic, one, two)
        assert told["cka_debiased"]["value"] == pytest.approx(expected, abs=1e-6)
    if rows >= 2 * module.GROUPS:
        groups = np.arange(rows) % module.GROUPS
        values = np.array(
            [slow_ratio(slow_hsic, one[groups != g], two[groups != g]) for g in range(20)]
        )
        half = stats.t.ppf(0.975, 19) * np.sqrt(19 / 20 * np.square(values - values.mean()).sum())
        low, high = told["cka"]["ci95"]
        assert (high - low) / 2 == pytest.approx(half, abs=1e-6)
    else:
        assert told["cka"]["ci95"] is None


def test_cka_does_not_see_rotation_and_scale():
    one = random_vectors(2)
    told = cka(one, (3 * one @ orthogonal(3, 6)).astype(np.float32))
    assert told["cka"]["value"] == pytest.approx(1)
    assert told["cka_debiased"]["value"] == pytest.approx(1)
    assert told["cka"]["ci95"] == pytest.approx([1, 1])


def test_only_the_plain_cka_of_unrelated_vectors_is_above_0():
    told = cka(random_vectors(4, 200, 64), random_vectors(5, 200, 64))
    assert told["cka"]["value"] > 0.2
    low, high = told["cka_debiased"]["ci95"]
    assert abs(told["cka_debiased"]["value"]) < 0.05
    assert low < 0.02
    assert high > -0.02


def test_intervals_of_cka_hold_the_truth():
    """The truth is the CKA of very many pins of the same law."""

    def world(seed, rows):
        rng = np.random.default_rng(seed)
        shared = rng.normal(size=(rows, 3))
        return [unit(np.hstack([shared, rng.normal(size=(rows, 2))])) for _ in range(2)]

    truth = cka(*world(6, 200_000))["cka_debiased"]["value"]
    ends = np.array([cka(*world(7 + i, 200))["cka_debiased"]["ci95"] for i in range(200)])
    held = ((ends[:, 0] <= truth) & (truth <= ends[:, 1])).mean()
    assert 0.88 < held <= 0.99


def test_blocks_change_nothing(monkeypatch):
    one, two = (np.random.default_rng(seed).integers(-3, 4, (90, 4)) / 4 for seed in (8, 9))
    whole = cka(one.astype(np.float32), two.astype(np.float32))
    monkeypatch.setattr(module, "_BLOCK", 2)
    assert cka(one.astype(np.float32), two.astype(np.float32)) == whole


@pytest.mark.parametrize("rows", [0, 1, 50])
def test_cka_of_vectors_that_are_all_alike_does_not_exist(rows):
    told = cka(np.full((rows, 3), 0.3, np.float32), random_vectors(10, rows))
    for name in ("cka", "cka_debiased"):
        assert told[name]["value"] is None
        assert "alike" in told[name]["reason"]


def test_stability_of_two_tables():
    ids, one = np.arange(60), random_vectors(15, 60)
    near = unit(one + 0.02 * random_vectors(16, 60))
    far = random_vectors(17, 60)
    told = {
        name: stability(alike_table(ids, one), alike_table(ids, other), k=5, seed=0)
        for name, other in {"same": one, "near": near, "far": far}.items()
    }
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    churns = [told[name]["neighbors"]["churn"]["value"] for name in ("same", "near", "far")]
    assert churns[0] == 0 < churns[1] < 0.3 < churns[2]
    assert told["same"]["cka"]["value"] == pytest.approx(1)
    few = stability(alike_table(ids, one), alike_table(ids, far), k=5, max_queries=10, seed=0)
    assert (few["queries"], few["pins"]) == (10, 60)
    alone = stability(alike_table(ids[:1], one[:1]), alike_table(ids[:1], far[:1]), seed=0)
    assert alone["neighbors"]["churn"] == {"value": None, "ci95": None}
    json.dumps(alone, allow_nan=False)


def test_pins_without_a_vector_change_nothing_of_the_others():
    one, two = random_vectors(20, 50) + 0.4, random_vectors(21, 50) + 0.4
    expected = stability(alike_table(np.arange(50), one), alike_table(np.arange(50), two), seed=0)
    rows = np.random.default_rng(22).permutation(90)
    both, first, second = np.sort(rows[:50]), rows[50:60], rows[60:75]  # 15 have none at all
    padded = np.zeros((2, 90, 6), np.float32)
    padded[:, both] = one, two
    padded[0, first] = random_vectors(23, 10)
    padded[1, second] = random_vectors(24, 15)
    told = stability(*(alike_table(np.arange(90), vectors) for vectors in padded), seed=0)
    counts = {"pins": 90, "compared": 50, "only_first": 10, "only_second": 15}
    assert told == {**expected, **counts}
    assert (expected["only_first"], expected["only_second"]) == (0, 0)


@pytest.mark.parametrize("both", [0, 1])
def test_fewer_than_two_pins_with_both_vectors_have_no_stability(both):
    one, two = random_vectors(25, 8), random_vectors(26, 8)
    one[: 4 - both], two[4:] = 0, 0
    told = stability(*(alike_table(np.arange(8), vectors) for vectors in (one, two)), seed=0)
    assert told["compared"] == both
    assert told["neighbors"]["churn"] == {"value": None, "ci95": None}
    assert told["neighbors"]["churn_by_chance"] is told["cka"]["value"] is None
    json.dumps(told, allow_nan=False)


def test_tables_of_other_pins_are_refused():
    one = alike_table(np.arange(9), random_vectors(18, 9))
    with pytest.raises(PinGraphError, match="other pins, or in another order"):
        stability(one, alike_table(np.arange(9)[::-1], one.fused), seed=0)
    bad = one.fused.copy()
    bad[4, 1] = np.nan
    with pytest.raises(PinGraphError, match="the second embedding: row 4"):
        stability(one, alike_table(np.arange(9), bad), seed=0)
    with pytest.raises(PinGraphError, match=r"shapes \(3, 2\) and \(3, 1\)"):
        neighbor_churn(np.ones((3, 2)), np.ones((3, 1)), pins=9, seed=0)
