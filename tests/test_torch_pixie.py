"""Pixie's walks as tensors: equal to the CPU kernels bit for bit, wherever they stop."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pingraph.errors import PinGraphError
from pingraph.graph import PinBoardGraph
from pingraph.samplers import DeviceSampler, PixieSampler
from tests.sampler_contract import SamplerContract, skewed_graph
from tests.torch_cases import (
    CALL,
    GRAPH,
    assert_same_neighbors,
    graph_of,
    on_devices,
    one_thread,  # noqa: F401, a fixture for all tests of the file
)


class TestContractOnTensors(SamplerContract):
    def make(self, **arguments):
        sampler = PixieSampler(num_steps=100, min_pins=20, min_visits=2, **arguments)
        return DeviceSampler(sampler=sampler, device="cpu", memory=2**23)


@on_devices
@settings(max_examples=100, deadline=None)
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


def even(walk, pin):
    return 1.0 - pin % 2


def test_a_bias_runs_on_the_cpu_only():
    with pytest.raises(PinGraphError, match=r"^bias is <function even .*, which runs on the CPU o"):
        DeviceSampler(sampler=PixieSampler(bias=even))
