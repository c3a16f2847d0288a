"""Stored forms are evaluated as what they decode to, beside the whole vectors."""

import json

import numpy as np
import pytest

from pingraph.errors import PinGraphError
from pingraph.evaluation import PARTS, evaluate_table
from pingraph.metrics import METRICS
from pingraph.served import served_quality, usual_views
from pingraph.splits import PinSplit
from pingraph.views import View
from tests.table_cases import decoded, table_of_pins


def make_table(dataset, width=16, seed=0):
    """Vectors that know the boards of a pin, in channels of falling size."""
    rng = np.random.default_rng(seed)
    known = dataset.graph.incidence().toarray() @ rng.normal(size=(dataset.graph.num_boards, width))
    vectors = (known + rng.normal(size=known.shape)) / np.arange(1, width + 1)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return table_of_pins(dataset, vectors, vectors, vectors)


def nearest_sets(vectors, k):
    scores = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    np.fill_diagonal(scores, -np.inf)
    return [set(np.argsort(-row, kind="stable")[:k].tolist()) for row in scores]


def test_usual_views():
    assert [(view.dim, view.code) for view in usual_views(128)] == [
        (0, "int8"),
        (0, "binary"),
        (64, "float"),
        (32, "float"),
        (16, "float"),
    ]
    assert [view.dim for view in usual_views(16)] == [0, 0, 8]
    assert [view.dim for view in usual_views(3)] == [0, 0]


def test_forms_equal_an_evaluation_of_what_they_decode_to(tiny):
    split, table = PinSplit(0.3).split(tiny), make_table(tiny)
    views = [View(), View(code="int8"), View(dim=4), View(dim=8, code="binary")]
    told = served_quality(table, tiny, split, views, k=5)
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    whole = evaluate_table(table, tiny, split).to_dict()
    sizes = [(form["dim"], form["code"], form["bytes_per_pin"]) for form in told["forms"]]
    assert sizes == [(16, "float", 64), (16, "int8", 16), (4, "float", 16), (8, "binary", 1)]
    near = nearest_sets(table.fused, 5)
    for view, form in zip(views, told["forms"], strict=True):
        served = decoded(table, view)
        expected = evaluate_table(served, tiny, split).to_dict()
        for part in PARTS:
            for task, metrics in form["parts"][part].items():
                for metric in METRICS:
                    found, base = metrics[metric], whole[part][task][metric]["value"]
                    assert found["value"] == expected[part][task][metric]["value"]
                    assert found["ci95"] == expected[part][task][metric]["ci95"]
                    assert told["full"]["parts"][part][task][metric]["value"] == base
                    if found["lift"] is None:
                        assert not base
                    else:
                        assert found["lift"] == pytest.approx(found["value"] / base - 1)
        kept = [len(a & b) / 5 for a, b in zip(near, nearest_sets(served.fused, 5), strict=True)]
        if view.code != "binary":  # whose scores tie
            assert form["neighbors_kept"]["value"] == pytest.approx(np.mean(kept))
    same, int8, *_, binary = told["forms"]
    assert same["neighbors_kept"]["value"] == 1
    assert same["parts"]["warm"]["pin_to_pin"]["mrr"]["lift_ci95"] == [0, 0]
    assert 1 > int8["neighbors_kept"]["value"] > binary["neighbors_kept"]["value"] > 0


def test_an_evaluation_that_is_there_is_taken(tiny):
    split, table = PinSplit(0.3).split(tiny), make_table(tiny)
    done = evaluate_table(table, tiny, split)
    views = [View(code="int8")]
    assert served_quality(table, tiny, split, views, evaluation=done) == served_quality(
        table, tiny, split, views
    )
    few = evaluate_table(table, tiny, split, max_queries=5)
    with pytest.raises(
        PinGraphError, match="pin_to_pin: the whole vectors were evaluated on other"
    ):
        served_quality(table, tiny, split, views, evaluation=few)


def test_a_view_that_is_too_wide(tiny):
    split, table = PinSplit(0.3).split(tiny), make_table(tiny)
    with pytest.raises(PinGraphError, match="the embeddings have 16 channels"):
        served_quality(table, tiny, split, [View(dim=17)])


def test_neighbors_are_kept_over_pins_with_a_vector(tiny):
    split, whole = PinSplit(0.3).split(tiny), make_table(tiny)
    views = [View(), View(code="int8"), View(dim=4)]
    there = np.arange(60) % 3 > 0
    vectors = whole.fused * there[:, None]
    told = served_quality(table_of_pins(tiny, *[vectors] * 3), tiny, split, views, k=5)
    for view, form in zip(views, told["forms"], strict=True):
        some = decoded(whole, view).fused[there]
        pairs = zip(nearest_sets(whole.fused[there], 5), nearest_sets(some, 5), strict=True)
        expected = np.mean([len(one & two) / 5 for one, two in pairs])
        assert form["neighbors_kept"]["value"] == pytest.approx(expected)


def test_a_pin_of_which_a_form_keeps_nothing_keeps_no_neighbors(tiny):
    vectors = np.zeros((60, 16), np.float32)
    vectors[40:, 0], vectors[:40, 8:] = 1, make_table(tiny).fused[:40, 8:]
    table, split = table_of_pins(tiny, *[vectors] * 3), PinSplit(0.3).split(tiny)
    (form,) = served_quality(table, tiny, split, [View(dim=4)], k=5)["forms"]
    assert form["neighbors_kept"]["value"] == pytest.approx(20 / 60)


@pytest.mark.parametrize("count", [0, 1])
def test_without_two_vectors_no_neighbors_can_be_kept(tiny, count):
    vectors = np.where(np.arange(60)[:, None] < count, make_table(tiny).fused, 0)
    table, split = table_of_pins(tiny, *[vectors] * 3), PinSplit(0.3).split(tiny)
    (form,) = served_quality(table, tiny, split, [View(code="int8")])["forms"]
    assert form["neighbors_kept"] == {"value": None, "ci95": None}
