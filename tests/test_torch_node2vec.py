"""Second-order walks as tensors: equal to the CPU kernels bit for bit, ties included."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pingraph.graph import PinBoardGraph
from pingraph.samplers import DeviceGraph, DeviceSampler, Node2VecSampler, torch_second_order
from pingraph.samplers.torch_second_order import share_a_board
from tests.graph_cases import enriched
from tests.sampler_contract import SamplerContract, skewed_graph
from tests.torch_cases import (
    CALL,
    GRAPH,
    WALK,
    assert_same_neighbors,
    assert_same_walks,
    graph_of,
    on_devices,
)

WORTH = st.sampled_from([1.0, 0.25, 4.0, 0.7, 30.0])


class TestContractOnTensors(SamplerContract):
    def make(self, **arguments):
        settings = Node2VecSampler(
            num_walks=12, return_parameter=4, in_out_parameter=0.5, **arguments
        )
        return DeviceSampler(sampler=settings, device="cpu", memory=2**20)


@on_devices
@settings(max_examples=30, deadline=None)
@given(
    options=st.fixed_dictionaries(
        {**WALK, "return_parameter": WORTH, "in_out_parameter": WORTH, "weighted": st.booleans()}
    ),
    **GRAPH,
    **CALL,
)
def test_neighbors_and_walks_are_those_of_the_kernel(device, edges, wide, options, pins, **call):
    graph, kernel = graph_of(edges, wide), Node2VecSampler(**options)
    assert_same_neighbors(kernel, device, graph, pins, **call)
    assert_same_walks(kernel, device, graph, pins, **call)


@on_devices
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("worth", [(4, 0.5), (0.25, 1), (1, 30), (0.1, 0.1)])
def test_all_of_a_skewed_graph_is_as_by_the_kernel(device, worth, weighted):
    graph = enriched(skewed_graph(80, 20, 75))
    kernel = Node2VecSampler(
        k=80,
        num_walks=200,
        return_parameter=worth[0],
        in_out_parameter=worth[1],
        restart_probability=0.1,
        weighted=weighted,
    )
    assert_same_neighbors(kernel, device, graph, list(range(80)))
    assert_same_walks(kernel, device, graph, list(range(80)))


@on_devices
def test_ties_fall_in_the_order_in_which_the_kernel_accepts(device):
    """Many pins, each visited once or twice: nearly all of a row is ties."""
    generator = np.random.default_rng(0)
    graph = PinBoardGraph.from_edges(
        generator.integers(0, 400, 1_500), generator.integers(0, 60, 1_500)
    )
    kernel = Node2VecSampler(k=300, num_walks=100, return_parameter=20, in_out_parameter=3)
    assert_same_neighbors(kernel, device, graph, list(range(0, graph.num_pins, 4)))


@on_devices
def test_walks_end_where_nothing_is_accepted(device):
    """Pins 0 and 1 share one board: a walk that may hardly go back ends at 1,000 proposals."""
    pair = PinBoardGraph.from_edges([0, 1], [0, 0])
    kernel = Node2VecSampler(num_walks=30, return_parameter=1e6, in_out_parameter=1e-6)
    assert (kernel.walk(pair, [0, 1], seed=1).pins == -1).any()
    assert_same_neighbors(kernel, device, pair, [0, 1])
    assert_same_walks(kernel, device, pair, [0, 1])


@on_devices
def test_a_graph_without_edges_gives_nothing(device):
    graph = graph_of([(0, 0)]).keep_edges(np.zeros(1, bool))
    kernel = Node2VecSampler(num_walks=2, return_parameter=2)
    assert_same_neighbors(kernel, device, graph, [0, 11])
    assert_same_walks(kernel, device, graph, [0, 11])


@pytest.mark.parametrize("room", [1, 2**16])
def test_pins_share_a_board_where_their_rows_meet(monkeypatch, room):
    monkeypatch.setattr(torch_second_order, "_ROOM", room)
    monkeypatch.setattr(torch_second_order, "_WIDTH", 1)
    generator = np.random.default_rng(1)
    hubs = np.repeat([0, 1, 2], 90), np.tile(np.arange(90) * 2, 3) + np.repeat([0, 1, 1], 90)
    rest = generator.integers(3, 60, 200), generator.integers(0, 181, 200)
    graph = PinBoardGraph.from_edges(
        *(np.concatenate(part) for part in zip(hubs, rest, strict=True))
    )
    ones, others = (part.ravel() for part in np.meshgrid(*[np.arange(graph.num_pins)] * 2))
    incidence = graph.incidence()
    expected = (incidence @ incidence.T).toarray()[ones, others] > 0
    by_pin = DeviceGraph.from_graph(graph, "cpu").by_pin
    found = share_a_board(by_pin, torch.from_numpy(ones), torch.from_numpy(others))
    np.testing.assert_array_equal(found.numpy(), expected)
