"""Jackknife intervals: equal to leaving things out by hand, and as wide as the numbers vary."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pingraph.geometry import geometry
from pingraph.geometry_intervals import geometry_intervals
from pingraph.graph import PinBoardGraph
from pingraph.jackknife import GROUPS, jackknife_interval
from pingraph.knn import nearest_neighbors
from tests.test_geometry import graph_of, random_case, table_of


def both(table, graph, **options):
    knn = nearest_neighbors(table.fused, 5)
    values = geometry(table, graph, knn, **options)
    return values, geometry_intervals(values, table, graph, knn, **options)


def by_hand(value, left_out):
    error = np.sqrt((GROUPS - 1) / GROUPS * np.square(left_out - np.mean(left_out)).sum())
    half = stats.t.ppf(0.975, GROUPS - 1) * error
    return [value - half, value + half]


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=200))
def test_the_interval_of_a_mean_is_that_of_its_standard_error(values):
    values = np.array(values)
    left_out = [np.delete(values, i).mean() for i in range(len(values))]
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    low, high = jackknife_interval(values.mean(), left_out)
    assert [low, high] == pytest.approx(
        [values.mean() - half, values.mean() + half], abs=1e-6 * max(1, np.abs(values).max())
    )


def test_nothing_is_said_of_what_does_not_exist():
    assert jackknife_interval(1.0, []) is None
    assert jackknife_interval(np.nan, [1.0, 2.0]) is None
    assert jackknife_interval(1.0, [1.0, np.nan]) is None


def test_an_interval_ends_where_the_number_cannot_be():
    left_out = [0.0, 0.02] * (GROUPS // 2)
    low, high = jackknife_interval(0.01, left_out)
    assert low < 0
    assert jackknife_interval(0.01, left_out, (0, 1)) == [0, high]
    assert jackknife_interval(0.99, [1 - one for one in left_out], (0, 1))[1] == 1


def test_no_interval_of_geometry_leaves_what_can_be():
    vectors, graph = random_case(count=220)
    table, knn = (
        table_of(vectors, np.roll(vectors, 3, axis=1), -vectors),
        nearest_neighbors(vectors, 5),
    )
    least = {
        "alignment": 0,
        "effective_rank": 1,
        "anisotropy": -1,
        "anti_hubs": 0,
        "modality_gap": 0,
    }
    most = {"alignment": 4, "uniformity": 0, "anisotropy": 1, "robin_hood": 1, "largest_hub": 1}
    for end, limits in ((0, least), (1, most)):
        values = geometry(table, graph, knn) | limits
        ends = geometry_intervals(values, table, graph, knn)
        assert {name: ends[name][end] for name in limits} == limits


@pytest.mark.parametrize("zeros", [0, 7])
def test_equal_to_leaving_out_by_hand(zeros):
    vectors, graph = random_case(count=220)
    image, text = np.roll(vectors, 3, axis=1), -vectors[::-1]
    vectors[:zeros] = 0
    image[5:50] = 0
    table = table_of(vectors, image, text)
    values, ends = both(table, graph)
    present = np.flatnonzero(vectors.any(axis=1))
    left_out = {name: [] for name in values}
    for g in range(GROUPS):
        part = vectors.copy()
        part[present[g::GROUPS]] = 0
        kept = np.arange(len(vectors)) % GROUPS != g
        shown = table_of(part, image * kept[:, None], text * kept[:, None])
        found = geometry(shown, graph, nearest_neighbors(part, 5))
        for name in ("uniformity", "effective_rank", "anisotropy", "modality_gap"):
            left_out[name].append(found[name])
    for name in ("uniformity", "effective_rank", "anisotropy", "modality_gap"):
        assert ends[name] == pytest.approx(by_hand(values[name], left_out[name]), rel=1e-5)
    assert (ends["pins"], ends["zero_vectors"]) == (None, None)


def test_alignment_leaves_out_boards():
    vectors, graph = random_case()
    table = table_of(vectors)
    values, ends = both(table, graph)
    pins, boards = graph.edges()
    counted = np.flatnonzero(graph.board_degrees > 1)
    left_out = []
    for g in range(GROUPS):
        kept = ~np.isin(boards, counted[g::GROUPS])
        rest = PinBoardGraph.from_edges(pins[kept], boards[kept], pin_ids=graph.pin_ids)
        left_out.append(geometry(table, rest, nearest_neighbors(vectors, 5))["alignment"])
    assert ends["alignment"] == pytest.approx(by_hand(values["alignment"], left_out), rel=1e-5)


def test_hubness_leaves_out_lists():
    vectors, graph = random_case()
    values, ends = both(table_of(vectors), graph)
    knn = nearest_neighbors(vectors, 5)
    counts = np.array(
        [
            (np.delete(knn.ids, np.s_[g::GROUPS], axis=0) == pin).sum()
            for g in range(GROUPS)
            for pin in range(len(vectors))
        ]
    )
    counts = counts.reshape(GROUPS, -1)
    lists = len(vectors) - np.array([len(vectors[g::GROUPS]) for g in range(GROUPS)])
    assert ends["hubness_skew"] == pytest.approx(
        by_hand(values["hubness_skew"], stats.skew(counts, axis=1)), rel=1e-6
    )
    assert ends["anti_hubs"] == pytest.approx(
        by_hand(values["anti_hubs"], (counts == 0).mean(axis=1)), rel=1e-6
    )
    assert ends["largest_hub"] == pytest.approx(
        by_hand(values["largest_hub"], counts.max(axis=1) / lists), rel=1e-6
    )


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    # Of the anisotropy of vectors around a direction, whose expectation is known.
    rng, found, drawn = np.random.default_rng(0), [], []
    graph = graph_of([0, 1], [0, 0], 400)
    for _ in range(120):
        vectors = (rng.normal(size=(400, 6)) + 0.4).astype(np.float32)
        values, ends = both(table_of(vectors), graph)
        found.append(values["anisotropy"])
        drawn.append(ends["anisotropy"])
    center = np.mean(found)
    held = np.mean([low <= center <= high for low, high in drawn])
    assert 0.88 <= held <= 1


def test_few_pins_have_no_interval():
    vectors, graph = random_case(count=39)
    _, ends = both(table_of(vectors), graph)
    assert set(ends.values()) == {None}


def test_a_sample_is_the_one_of_the_value():
    vectors, graph = random_case(count=900)
    values, ends = both(table_of(vectors), graph, sample=200, seed=3)
    low, high = ends["uniformity"]
    assert (low + high) / 2 == pytest.approx(values["uniformity"])
    assert ends["uniformity"] != both(table_of(vectors), graph)[1]["uniformity"]
