"""A method that lives on edges falls without them, and one that lives on content stays."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pingraph.edge_masking import edge_masking, mask_edges
from pingraph.errors import PinGraphError
from pingraph.evaluation import evaluate_scorers
from pingraph.graph import PinBoardGraph
from pingraph.metrics import METRICS
from pingraph.splits import EdgeSplit, PinSplit


def by_edges(graph):
    """Scores by the number of shared boards."""
    incidence = graph.incidence()
    return {"pin_to_pin": lambda pins: (incidence[pins] @ incidence.T).toarray()}


def edges_of(graph):
    return set(zip(*(part.tolist() for part in graph.edges()), strict=True))


@given(st.integers(0, 2**32), st.lists(st.floats(0, 1), min_size=2, max_size=4))
@settings(deadline=None, max_examples=30)
def test_masks_are_nested_and_touch_nobody_else(seed, shares):
    rng = np.random.default_rng(seed)
    pins, boards = np.nonzero(rng.random((12, 9)) < 0.5)
    if not len(pins):
        return
    graph = PinBoardGraph.from_edges(pins, boards, pin_ids=np.arange(12), board_ids=np.arange(9))
    chosen = rng.permutation(12)[:5]
    before = edges_of(graph)
    for share in sorted(shares):
        left = mask_edges(graph, chosen, share, seed=3)
        for pin in range(12):
            degree = graph.pin_degrees[pin]
            kept = degree - round(share * degree) if pin in chosen else degree
            assert left.pin_degrees[pin] == kept
        assert edges_of(left) <= before
        before = edges_of(left)
    assert edges_of(mask_edges(graph, chosen, 0, seed=3)) == edges_of(graph)
    assert not any(pin in chosen for pin, _ in edges_of(mask_edges(graph, chosen, 1, seed=3)))


def test_other_seeds_mask_other_edges(tiny):
    pins = np.arange(tiny.num_pins)
    one, same, other = (mask_edges(tiny.graph, pins, 0.5, seed=seed) for seed in (0, 0, 1))
    assert edges_of(one) == edges_of(same) != edges_of(other)


@pytest.mark.parametrize("splitter", [PinSplit(0.3), EdgeSplit(0.3)])
def test_edges_are_all_that_a_method_of_edges_has(tiny, splitter):
    split = splitter.split(tiny)
    curve = edge_masking(by_edges, tiny, split, max_pins=7)
    assert json.loads(json.dumps(curve, allow_nan=False)) == curve
    assert [point["share"] for point in curve] == [0, 0.25, 0.5, 0.75, 1]
    edges = [point["edges"] for point in curve]
    assert edges == sorted(edges, reverse=True)
    assert (edges[0] > 0, edges[-1]) == (True, 0)
    values = [point["recall@10"]["value"] for point in curve]
    if split.kind == "pin":  # else what is relevant is on other boards than the masked edges
        assert values[0] > values[-1]


def test_the_ends_of_the_curve(tiny):
    """The first point is the evaluation as it is; where no edge is looked at, all points are."""
    split = PinSplit(0.3).split(tiny)
    whole = evaluate_scorers(by_edges(split.train_graph(tiny.graph)), tiny, split)
    result = whole.warm["pin_to_pin"]
    curve = edge_masking(by_edges, tiny, split, shares=[0, 1], max_pins=7)
    count = curve[0]["queries"]
    assert 0 < count <= min(7, len(result.queries) // 10 + 1)
    rows = np.sort(np.random.default_rng(0).choice(len(result.queries), count, replace=False))
    found = [curve[0][metric]["value"] for metric in METRICS]
    assert found == pytest.approx(result.values[rows].mean(axis=0))

    def content(graph):
        vectors = np.random.default_rng(1).normal(size=(tiny.num_pins, 4)).astype(np.float32)
        return {"pin_to_pin": lambda pins: vectors[pins] @ vectors.T}

    flat = edge_masking(content, tiny, split)
    assert len({point["mrr"]["value"] for point in flat}) == 1


@pytest.mark.parametrize("share", [-0.1, 1.01, float("nan")])
def test_shares_that_are_none(tiny, share):
    with pytest.raises(PinGraphError, match="expected a number between 0 and 1"):
        mask_edges(tiny.graph, np.arange(3), share, seed=0)
