"""Pixie's walks as tensors: equal to the CPU kernels bit for bit, wherever they stop."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pingraph.errors import PinGraphError
from pingraph.graph import PinBoardGraph
from pingraph.samplers import CoBoardSampler, DeviceSampler, PixieSampler
from tests.sampler_contract import SamplerContract, assert_same, skewed_graph
from tests.torch_cases import (
    CALL,
    GRAPH,
    assert_same_neighbors,
    graph_of,
    on_devices,
)


class TestContractOnTensors(SamplerContract):
    def make(self, **arguments):
        sampler = PixieSampler(num_steps=100, min_pins=20, min_visits=2, **arguments)
        return DeviceSampler(sampler=sampler, device="cpu", memory=2**23)


@on_devices
@settings(max_examples=50, deadline=None)
@given(
    k=st.integers(1, 15),
    num_steps=st.integers(1, 90),
    restart_probability=st.sampled_from([0.0, 0.05, 0.5, 0.9, 0.999]),
    min_pins=st.integers(1, 9),
    min_visits=st.integers(1, 9),
    memory=st.sampled_from([50_000, 2**30]),
    **GRAPH,
    **{name: CALL[name] for name in ("seed", "epoch", "pins")},
)
def test_neighbors_are_those_of_the_kernel(
    device, edges, wide, memory, seed, epoch, pins, **options
):
    kernel = PixieSampler(**options)
    call = {"memory": memory, "seed": seed, "epoch": epoch}
    assert_same_neighbors(kernel, device, graph_of(edges, wide), pins, **call)


@on_devices
@pytest.mark.parametrize(
    "options",
    [
        {"num_steps": 3_000},
        {"num_steps": 3_000, "min_pins": 40, "min_visits": 1},
        {"num_steps": 2_000, "min_pins": 1, "min_visits": 50},
        {"num_steps": 700, "restart_probability": 0.02},
        {"num_steps": 2_000, "restart_probability": 0.97, "min_visits": 5_000},
    ],
)
def test_all_of_a_skewed_graph_is_as_by_the_kernel(device, options):
    graph, kernel = skewed_graph(400, 60, 395), PixieSampler(k=50, **options)
    assert_same_neighbors(kernel, device, graph, list(range(0, 400, 3)))


@on_devices
def test_walks_stop_at_exactly_the_right_visit(device):
    """Every number of pins in turn: each row's end moves on by some visits."""
    graph = skewed_graph(80, 20, 75)
    for min_pins in range(1, 12):
        kernel = PixieSampler(k=80, num_steps=60, min_pins=min_pins, min_visits=3)
        assert_same_neighbors(kernel, device, graph, list(range(0, 80, 2)))


@on_devices
def test_a_graph_without_edges_gives_nothing(device):
    graph = graph_of([(0, 0)]).keep_edges(np.zeros(1, bool))
    assert_same_neighbors(PixieSampler(num_steps=5), device, graph, [0, 11])
    assert_same_neighbors(PixieSampler(num_steps=5), device, graph_of([(0, 0)]), [11, 3])
    star = PinBoardGraph.from_edges(range(5), [0] * 5)
    assert_same_neighbors(PixieSampler(num_steps=1), device, star, [0, 4])


@on_devices
@settings(max_examples=50, deadline=None)
@given(data=st.data(), memory=st.sampled_from([1, 50_000, 2**30]), **GRAPH)
def test_queries_of_several_pins_are_answered_as_by_the_kernel(device, data, memory, edges, wide):
    graph = graph_of(edges, wide)
    kernel = PixieSampler(
        k=data.draw(st.integers(1, 15)),
        num_steps=data.draw(st.integers(1, 90)),
        min_pins=data.draw(st.integers(1, 9)),
        min_visits=data.draw(st.integers(1, 5)),
        restart_probability=data.draw(st.sampled_from([0.0, 0.5, 0.9])),
    )
    queries = []
    for _ in range(data.draw(st.integers(0, 6))):
        pins = data.draw(st.lists(st.integers(0, 11), unique=True, max_size=5))
        weight = st.floats(0.01, 3)
        given = st.lists(weight, min_size=len(pins), max_size=len(pins))
        queries.append((pins, data.draw(st.none() | given)))
    sampler = DeviceSampler(sampler=kernel, device=device, memory=memory)
    found = sampler.recommend(graph, queries, seed=3, epoch=1)
    assert_same(found, kernel.recommend(graph, queries, seed=3, epoch=1))


@on_devices
def test_large_queries_are_answered_as_by_the_kernel(device):
    graph, generator = skewed_graph(400, 60, 395), np.random.default_rng(0)
    queries = [
        (generator.choice(400, size, replace=False), generator.random(size) + 0.1)
        for size in (1, 3, 40, 200, 0, 9)
    ]
    for options in ({}, {"min_pins": 10, "min_visits": 2}):
        kernel = PixieSampler(k=100, num_steps=5_000, **options)
        sampler = DeviceSampler(sampler=kernel, device=device, memory=2**22)
        found = sampler.recommend(graph, queries, seed=3)
        assert_same(found, kernel.recommend(graph, queries, seed=3))


def test_queries_are_for_pixie():
    sampler = DeviceSampler(sampler=CoBoardSampler(), device="cpu")
    with pytest.raises(PinGraphError, match=r"^CoBoardSampler takes no queries; expected a Pixie"):
        sampler.recommend(graph_of([(0, 0)]), [([0], None)], seed=1)
    sampler = DeviceSampler(sampler=PixieSampler(), device="cpu")
    with pytest.raises(PinGraphError, match=r"^queries\[0\]: pin 1 occurs 2 times"):
        sampler.recommend(graph_of([(0, 0)]), [([1, 1], None)], seed=1)


def even(walk, pin):
    return 1.0 - pin % 2


def test_a_bias_runs_on_the_cpu_only():
    with pytest.raises(PinGraphError, match=r"^bias is <function even .*, which runs on the CPU o"):
        DeviceSampler(sampler=PixieSampler(bias=even))
