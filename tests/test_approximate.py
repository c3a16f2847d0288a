"""Approximate search: effort buys recall, and what is exact is exact."""

import json
import sys

import numpy as np
import pytest

from pingraph.approximate import AT_K, neighbor_recall, recall_speed
from pingraph.datasets import open_dataset
from pingraph.errors import PinGraphError
from pingraph.evaluation import PARTS, evaluate_scorers, evaluate_table, table_scorers
from pingraph.metrics import METRICS
from pingraph.splits import EdgeSplit, PinSplit
from tests.table_cases import alike_table, unit

pytest.importorskip("faiss")


def make_table(dataset, fused=None):
    if fused is None:
        fused = unit(np.random.default_rng(0).normal(size=(dataset.num_pins, 8)))
    return alike_table(dataset.pin_ids, fused)


@pytest.fixture
def boards(write_folder):
    """1,500 pins on 150 boards of ten."""
    pins = np.arange(1500)
    return open_dataset(
        write_folder(
            pins={"pin_id": pins, "text": [str(pin) for pin in pins]},
            boards={"board_id": np.arange(150), "title": [str(board) for board in range(150)]},
            edges={"pin_id": pins, "board_id": pins // 10},
        )
    )


@pytest.mark.parametrize("splitter", [PinSplit(0.3), EdgeSplit(0.3)])
def test_an_exact_index_gets_what_the_evaluation_gets(tiny, splitter):
    """Places that known pairs would take are made up for, so the split by edge agrees too."""
    split, table = splitter.split(tiny), make_table(tiny)
    told = recall_speed(table, tiny, split, factory="IVF1,Flat", parameter="nprobe", efforts=[1])
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    expected = evaluate_table(table, tiny, split).to_dict()
    (point,) = told["points"]
    assert point["recall"]["value"] == 1
    for part in PARTS:
        result = expected[part]["pin_to_pin"]
        assert told["queries"][part] == result["queries"]
        for metric in AT_K:
            for found in (told["exact"]["tasks"], point["tasks"]):
                assert found[part][metric]["value"] == pytest.approx(result[metric]["value"])
            assert point["tasks"][part][metric]["lift"] in (0, None)


@pytest.mark.parametrize(
    ("factory", "parameter"), [("HNSW8", "efSearch"), ("IVF32,Flat", "nprobe")]
)
def test_effort_buys_recall(boards, factory, parameter):
    rng = np.random.default_rng(1)
    homes = unit(rng.normal(size=(150, 24)))
    table = make_table(boards, unit(np.repeat(homes, 10, 0) + 0.3 * rng.normal(size=(1500, 24))))
    split = PinSplit(0.3).split(boards)
    told = recall_speed(
        table,
        boards,
        split,
        factory=factory,
        parameter=parameter,
        efforts=[1, 4, 32],
        max_queries=200,
    )
    recalls = [point["recall"]["value"] for point in told["points"]]
    assert recalls == sorted(recalls)
    assert recalls[0] < recalls[-1]
    assert recalls[-1] > 0.9
    first, last = (point["tasks"]["warm"]["recall@10"] for point in told["points"][::2])
    assert first["value"] < last["value"] <= told["exact"]["tasks"]["warm"]["recall@10"]["value"]
    assert first["lift"] < 0
    assert first["lift_ci95"][0] <= first["lift"] <= first["lift_ci95"][1]
    assert told["queries"] == {"cold": 200, "warm": 200}
    assert told["bytes_per_pin"] > 24 * 4
    speeds = [told["exact"], *told["points"]]
    assert all(point["queries_per_second"] > 0 for point in speeds)
    assert told["threads"] >= 1


def test_recall_equals_a_loop_and_takes_ties_as_right():
    rng = np.random.default_rng(2)
    vectors = unit(rng.normal(size=(40, 5)))
    vectors[30:] = vectors[3]  # ten copies: which of them is found is no mistake
    queries = np.array([0, 3, 35])
    found = np.array([rng.permutation(40)[:12] for _ in queries])
    found[1, 4] = -1
    scores = vectors @ vectors.T
    expected = []
    for query, row in zip(queries, found, strict=True):
        others = sorted((scores[query, pin] for pin in range(40) if pin != query), reverse=True)
        own = [pin for pin in row if pin not in (query, -1)][:10]
        expected.append(sum(scores[query, pin] >= others[9] - 1e-6 for pin in own) / 10)
    assert neighbor_recall(vectors, queries, found) == pytest.approx(np.array(expected))
    assert neighbor_recall(vectors, np.array([35]), np.arange(29, 40)[None])[0] == 0.9
    assert neighbor_recall(vectors[:1], np.array([0]), np.array([[0]])).shape == (0,)


def test_pins_without_a_vector_change_nothing_of_the_others(boards):
    rng = np.random.default_rng(3)
    vectors = unit(rng.normal(size=(40, 3)))
    queries = np.array([0, 7, 35])
    found = np.array([rng.permutation(40)[:30] for _ in queries])
    rows = np.sort(rng.permutation(70)[:40])
    padded = np.zeros((70, 3), np.float32)
    padded[rows] = vectors
    expected = neighbor_recall(vectors, queries, found, k=30)
    assert np.array_equal(neighbor_recall(padded, rows[queries], rows[found], k=30), expected)
    zeros = np.setdiff1d(np.arange(70), rows)
    assert np.isnan(neighbor_recall(padded, zeros[:2], rows[found[:2]])).all()
    assert neighbor_recall(padded, rows[queries], np.tile(zeros, (3, 1))).tolist() == [0, 0, 0]
    fused = unit(rng.normal(size=(1500, 3)))
    fused[::2] = 0
    table, split = make_table(boards, fused), PinSplit(0.3).split(boards)
    told = recall_speed(table, boards, split, factory="IVF1,Flat", parameter="nprobe", efforts=[1])
    assert told["pins"] == 750
    assert told["points"][0]["recall"]["value"] == 1
    cold = split.cold_pins(boards.graph)
    asked = cold[fused[cold].any(axis=1)]
    scorers = table_scorers(table, boards, split)
    alone = evaluate_scorers(scorers, boards, split, queries=asked).cold["pin_to_pin"]
    share = len(alone.queries) / told["queries"]["cold"]
    expected = alone.values[:, METRICS.index("recall@10")].mean() * share  # others find nobody
    assert told["exact"]["tasks"]["cold"]["recall@10"]["value"] == pytest.approx(expected)


def test_without_queries_it_is_null(write_folder):
    dataset = open_dataset(
        write_folder(
            pins={"pin_id": [0, 1], "text": ["a", "b"]},
            boards={"board_id": [0, 1], "title": ["x", "y"]},
            edges={"pin_id": [0, 1], "board_id": [0, 1]},
        )
    )
    told = recall_speed(make_table(dataset), dataset, PinSplit(0.5).split(dataset), efforts=[8])
    assert told["exact"] == {"queries_per_second": None, "tasks": {"cold": None, "warm": None}}
    assert told["points"][0]["recall"]["value"] is None
    json.dumps(told, allow_nan=False)


def test_bad_indices_are_refused(tiny, monkeypatch):
    split, table = PinSplit(0.3).split(tiny), make_table(tiny)
    with pytest.raises(PinGraphError, match=r"index 'Nonsense': faiss cannot .* could not parse"):
        recall_speed(table, tiny, split, factory="Nonsense")
    with pytest.raises(PinGraphError, match=r"IVF900.* of 60 vectors .*Number of training points"):
        recall_speed(table, tiny, split, factory="IVF900,Flat")
    with pytest.raises(PinGraphError, match="'HNSW32' has no parameter 'nprobe'"):
        recall_speed(table, tiny, split, parameter="nprobe")
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(PinGraphError, match=r"pip install 'pingraph\[faiss\]'"):
        recall_speed(table, tiny, split)
