"""Buckets, lists and exposure equal loops; worlds with a favorite come out as such."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from pingraph.errors import PinGraphError
from pingraph.evaluation import PARTS, evaluate_table, table_scorers
from pingraph.graph import PinBoardGraph
from pingraph.jackknife import GROUPS, jackknife_interval
from pingraph.metrics import METRICS
from pingraph.popularity import (
    age_buckets,
    best_lists,
    coverage,
    degree_buckets,
    exposure,
    gini,
    metrics_by_bucket,
    popularity,
    reach_by_bucket,
)
from pingraph.relevance import retrieval_tasks
from pingraph.splits import EdgeSplit, PinSplit
from tests.table_cases import table_of_pins


def make_table(dataset, seed=0):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(3, dataset.num_pins, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    return table_of_pins(dataset, *vectors)


def star(degrees, times=None):
    """A graph whose pin i has degrees[i] boards, and each board as many pins as wish for it."""
    pins = np.repeat(np.arange(len(degrees)), degrees)
    boards = np.concatenate([np.arange(degree) for degree in degrees])
    return PinBoardGraph.from_edges(
        pins, boards, times=times, pin_ids=np.arange(len(degrees)), board_ids=np.arange(70)
    )


def test_degree_buckets():
    degrees = [0, 1, 2, 4, 5, 16, 17, 64, 65]
    found = degree_buckets(star(degrees))
    assert found.labels == ("0", "1", "2–4", "5–16", "17–64", "65–256")  # noqa: RUF001
    assert found.pins.tolist() == [0, 1, 2, 2, 3, 3, 4, 4, 5]
    for place, degree in zip(found.pins, degrees, strict=True):
        low, high = found.bounds[place]
        assert low <= degree <= high
    # Board 0 is of all 8 pins that have one, board 64 of one pin, boards 65 and on of none.
    assert [found.boards[board] for board in (0, 64, 69)] == [3, 1, 0]


@given(st.lists(st.integers(0, 12), min_size=1, max_size=30), st.integers(1, 6))
@settings(deadline=None, max_examples=50)
def test_age_buckets_equal_a_loop(days, parts):
    """Pin i has edges at its day and later; a pin of day 0 has none."""
    degrees = [2 if day else 0 for day in days]
    if not any(degrees):
        return
    times = [day + extra for day in days if day for extra in (3, 0)]
    found = age_buckets(star(degrees, times), parts)
    ages = [max(times) - day if day else None for day in days]
    assert [place == -1 for place in found.pins] == [age is None for age in ages]
    known = [(place, age) for place, age in zip(found.pins, ages, strict=True) if age is not None]
    for place, (low, high) in enumerate(found.bounds):
        inside = [age for own, age in known if own == place]
        assert (min(inside), max(inside)) == (low, high)
    assert len(found.bounds) <= parts
    assert all(one[1] < two[0] for one, two in zip(found.bounds, found.bounds[1:], strict=False))
    if len({age for _, age in known}) == len(known) >= parts:
        sizes = np.bincount([place for place, _ in known])
        assert len(sizes) == parts
        assert sizes.max() - sizes.min() <= 1


def test_no_times_no_ages():
    assert age_buckets(star([1, 2])) is None


@pytest.mark.parametrize("splitter", [PinSplit(0.3), EdgeSplit(0.3)])
def test_metrics_by_bucket_equal_a_loop_and_add_up(tiny, splitter):
    split = splitter.split(tiny)
    done = evaluate_table(make_table(tiny), tiny, split)
    trained = split.train_graph(tiny.graph)
    buckets = degree_buckets(trained)
    told = metrics_by_bucket(done, buckets)
    for part in PARTS:
        for task, result in getattr(done, part).items():
            degrees = trained.board_degrees if task == "board_to_pins" else trained.pin_degrees
            rows = told[part][task]
            assert [row["bucket"] for row in rows] == list(buckets.labels)
            assert sum(row["queries"] for row in rows) == len(result.queries)
            for row, (low, high) in zip(rows, buckets.bounds, strict=True):
                values = [
                    value
                    for query, value in zip(result.queries, result.values, strict=True)
                    if low <= degrees[query] <= high
                ]
                assert row["queries"] == len(values)
                for place, metric in enumerate(METRICS):
                    mean = np.mean(values, axis=0)[place] if values else None
                    assert row[metric]["value"] == (mean if mean is None else pytest.approx(mean))
                    ends = row[metric]["ci95"]
                    assert (ends is None) == (len(values) < 2)
    if split.kind == "pin":  # training saw no edge of cold pins
        assert told["cold"]["pin_to_pin"][0]["queries"] == len(done.cold["pin_to_pin"].queries)


@pytest.mark.parametrize("splitter", [PinSplit(0.3), EdgeSplit(0.3)])
def test_lists_agree_with_the_metrics(tiny, splitter):
    split, table = splitter.split(tiny), make_table(tiny)
    done = evaluate_table(table, tiny, split)
    scorers = table_scorers(table, tiny, split)
    for task in retrieval_tasks(tiny, split):
        result = done.warm[task.name]
        lists, relevant = best_lists(task, scorers[task.name], result.queries, 10)
        recalls = []
        for row, found in enumerate(lists.tolist()):
            own = set(relevant[[row]].indices.tolist())
            recalls.append(len(own & set(found)) / min(10, len(own)))
            assert task.finds_itself or result.queries[row] not in found
        assert recalls == pytest.approx(result.values[:, METRICS.index("recall@10")])


def random_lists(seed, pins=30, queries=12, k=4):
    rng = np.random.default_rng(seed)
    lists = np.array([rng.permutation(pins)[:k] for _ in range(queries)]).reshape(queries, k)
    lists[rng.random(lists.shape) < 0.1] = -1
    relevant = sparse.csr_array((rng.random((queries, pins)) < 0.2).astype(np.float32))
    return rng, lists, relevant


@given(st.integers(0, 2**32), st.sampled_from([1, 2, 12, 40]))
@settings(deadline=None, max_examples=30)
def test_exposure_equals_a_loop(seed, queries):
    rng, lists, relevant = random_lists(seed, queries=queries)
    degrees = rng.integers(0, 9, 30)
    told = exposure(lists, relevant, degrees, seed=0)
    rows = [[degrees[pin] for pin in row if pin >= 0] for row in lists.tolist()]
    means = [np.mean(row) for row in rows if row]
    shown = [pin for row in lists.tolist() for pin in row if pin >= 0]
    if not shown:
        return
    assert told["popularity"]["value"] == pytest.approx(np.mean(means))
    dense = relevant.toarray() > 0
    wanted = [degrees[row].mean() for row in dense if row.any()]
    found = told["popularity_of_relevant"]["value"]
    assert found == (pytest.approx(np.mean(wanted)) if wanted else None)
    assert told["popularity_of_all"] == pytest.approx(degrees.mean())
    assert told["coverage"]["value"] == pytest.approx(len(set(shown)) / 30)
    assert told["coverage"]["value"] <= told["coverage_possible"] == min(1, len(shown) / 30)
    # The Gini coefficient is half the relative mean absolute difference of all pairs.
    times = [shown.count(pin) for pin in range(30)]
    apart = sum(abs(a - b) for a in times for b in times)
    assert told["gini"]["value"] == pytest.approx(apart / (2 * 30 * sum(times)))
    assert told["gini"]["value"] >= told["gini_even"] - 1e-12
    for name, measure in (("coverage", coverage), ("gini", gini)):
        if queries < 2 * GROUPS:
            assert told[name]["ci95"] is None
            continue
        kept = [np.arange(queries) % GROUPS != group for group in range(GROUPS)]
        left = [np.bincount(lists[rows][lists[rows] >= 0], minlength=30) for rows in kept]
        ends = jackknife_interval(told[name]["value"], [measure(one) for one in left], (0, 1))
        assert told[name]["ci95"] == ends


def test_intervals_of_coverage_and_gini_hold_what_other_queries_get():
    rng, chances = np.random.default_rng(0), 1 / np.arange(1, 301)
    chances /= chances.sum()
    told = []
    for _ in range(150):
        lists = rng.choice(300, size=(80, 10), p=chances)
        relevant = sparse.csr_array((80, 300))
        told.append(exposure(lists, relevant, np.ones(300), seed=0))
    for name in ("coverage", "gini"):
        truth = np.mean([one[name]["value"] for one in told])
        held = np.mean([one[name]["ci95"][0] <= truth <= one[name]["ci95"][1] for one in told])
        assert 0.9 < held < 1


def test_gini_by_hand():
    assert gini(np.array([3, 3, 3])) == 0
    assert gini(np.array([0, 0, 0, 8])) == 0.75
    assert gini(np.zeros(4, int)) is None


@given(st.integers(0, 2**32))
@settings(deadline=None, max_examples=30)
def test_reach_equals_a_loop(seed):
    rng, lists, relevant = random_lists(seed)
    buckets = degree_buckets(star(rng.integers(0, 9, 30).tolist()))
    told = reach_by_bucket(lists, relevant, buckets, seed=0)
    for place, row in enumerate(told):
        values = []
        for query, found in enumerate(lists.tolist()):
            own = {pin for pin in relevant[[query]].indices if buckets.pins[pin] == place}
            if own:
                values.append(len(own & set(found)) / min(4, len(own)))
        assert row["bucket"] == buckets.labels[place]
        assert row["queries"] == len(values)
        assert row["value"] == (pytest.approx(np.mean(values)) if values else None)


def test_a_favorite_is_seen(tiny):
    """Where one pin is first on every list, few are covered, and its degree is what is shown."""
    count, favorite = tiny.num_pins, int(np.argmax(tiny.graph.pin_degrees))
    degrees = tiny.graph.pin_degrees
    lists = np.full((count, 1), favorite)
    relevant = sparse.csr_array(np.ones((count, count), np.float32))
    told = exposure(lists, relevant, degrees, seed=0)
    assert told["popularity"]["value"] == degrees[favorite]
    assert told["popularity_of_relevant"]["value"] == pytest.approx(degrees.mean())
    assert told["coverage"] == {"value": pytest.approx(1 / count), "ci95": [1 / count, 1 / count]}
    assert told["gini"]["value"] == pytest.approx(1 - 1 / count)


def test_the_whole_goes_into_json(tiny):
    split, table = PinSplit(0.3).split(tiny), make_table(tiny)
    done = evaluate_table(table, tiny, split)
    told = popularity(table, tiny, split, done)
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert set(told) == {"by_degree", "by_age", "exposure", "reach"}
    assert len(told["by_age"]["warm"]["pin_to_pin"]) > 1
    cold, warm = told["exposure"]["cold"], told["exposure"]["warm"]
    assert (cold["lists"], warm["lists"]) == (
        len(done.cold["pin_to_pin"].queries),
        len(done.warm["pin_to_pin"].queries),
    )
    # Those that are to be found by cold pins are cold and warm ones: bucket 0 and above.
    assert told["reach"]["cold"][0]["queries"] > 0
    assert sum(row["queries"] for row in told["reach"]["cold"][1:]) > 0


def test_without_queries_it_is_null(write_folder):
    from pingraph.datasets import open_dataset

    dataset = open_dataset(
        write_folder(
            pins={"pin_id": [0, 1, 2], "text": ["a", "b", "c"]},
            boards={"board_id": [0, 1], "title": ["x", "y"]},
            edges={"pin_id": [0, 1], "board_id": [0, 1]},
        )
    )
    split, table = PinSplit(0.5).split(dataset), make_table(dataset)
    told = popularity(table, dataset, split, evaluate_table(table, dataset, split))
    assert told["exposure"] == told["reach"] == {"cold": None, "warm": None}
    assert told["by_age"] is None
    assert all(row["mrr"]["value"] is None for row in told["by_degree"]["warm"]["pin_to_pin"])
    json.dumps(told, allow_nan=False)


@pytest.mark.parametrize("k", [0, 101])
def test_lists_of_no_length(tiny, k):
    split = PinSplit(0.3).split(tiny)
    task = retrieval_tasks(tiny, split)[0]
    with pytest.raises(PinGraphError, match=f"k is {k}: expected 1 to 100"):
        best_lists(task, lambda queries: None, np.arange(3), k)
