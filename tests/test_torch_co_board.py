"""Co-board draws as tensors: equal to the CPU kernels bit for bit."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pingraph.errors import PinGraphError
from pingraph.graph import PinBoardGraph
from pingraph.samplers import CoBoardSampler, DeviceGraph, DeviceSampler
from tests.sampler_contract import SamplerContract, skewed_graph
from tests.torch_cases import (
    CALL,
    GRAPH,
    assert_same_neighbors,
    graph_of,
    on_devices,
)

WEIGHTINGS = ["uniform", "inverse_size"]
on_both = pytest.mark.parametrize("weighting", WEIGHTINGS)


class TestContractOnTensors(SamplerContract):
    def make(self, **arguments):
        return DeviceSampler(sampler=CoBoardSampler(**arguments), device="cpu", memory=2**20)


@on_devices
@settings(max_examples=60, deadline=None)
@given(
    k=st.integers(1, 15),
    draws=st.integers(1, 60),
    weighting=st.sampled_from(WEIGHTINGS),
    **GRAPH,
    **CALL,
)
def test_draws_are_those_of_the_kernel(device, edges, wide, k, draws, weighting, pins, **call):
    kernel = CoBoardSampler(k=k, draws=draws, weighting=weighting)
    assert_same_neighbors(kernel, device, graph_of(edges, wide), pins, **call)


@on_devices
@on_both
def test_all_of_a_skewed_graph_is_as_by_the_kernel(device, weighting):
    kernel = CoBoardSampler(k=80, draws=3_000, weighting=weighting)
    assert_same_neighbors(kernel, device, skewed_graph(80, 20, 75), list(range(80)))
    kernel = CoBoardSampler(k=50, draws=40, weighting=weighting)
    assert_same_neighbors(kernel, device, skewed_graph(400, 300, 395), list(range(400)))


@on_devices
@on_both
@pytest.mark.parametrize("order", [1, -1])
def test_pins_without_mates_at_both_ends_of_the_graph(device, weighting, order):
    """Pins 0 and 5 are alone on their boards, 6 and 7 on none; boards alone stand between."""
    pins, boards = [0, 0, 1, 1, 1, 2, 3, 5], [0, 1, 2, 3, 4, 3, 4, 5]
    ids = list(range(8))[::order]
    graph = PinBoardGraph.from_edges(pins, boards, pin_ids=ids, board_ids=range(6))
    kernel = CoBoardSampler(k=3, draws=30, weighting=weighting)
    assert_same_neighbors(kernel, device, graph, list(range(8)))


@on_devices
@on_both
def test_a_graph_without_edges_or_mates_gives_nothing(device, weighting):
    kernel = CoBoardSampler(weighting=weighting)
    alone = graph_of([(3, 0)])
    assert_same_neighbors(kernel, device, alone, [0, 3, 11])
    assert_same_neighbors(kernel, device, alone.keep_edges(np.zeros(1, bool)), [0, 3])


@settings(max_examples=60, deadline=None)
@given(edges=GRAPH["edges"])
def test_boards_with_mates_stand_in_front(edges):
    graph = graph_of(edges)
    mates = DeviceGraph.from_graph(graph, "cpu").mates
    for pin in range(graph.num_pins):
        row = graph.boards_of(pin)
        size = graph.board_degrees[row]
        first, end = int(mates.first[pin]), int(mates.end[pin])
        assert mates.boards[first:end].tolist() == row[size > 1].tolist()
        assert mates.boards[end : first + len(row)].tolist() == row[size == 1].tolist()
        assert mates.before[first : end + 1].diff().tolist() == (size[size > 1] - 1).tolist()


def test_draws_are_no_walks():
    sampler = DeviceSampler(sampler=CoBoardSampler(), device="cpu")
    graph = graph_of([(0, 0)])
    on_device = DeviceGraph.from_graph(graph, "cpu")
    for call, arguments in (
        (sampler.walk, (graph, [0])),
        (sampler.walk_tensors, (on_device, torch.tensor([0]))),
    ):
        with pytest.raises(PinGraphError, match=r"^CoBoardSampler has no walks to give"):
            call(*arguments, seed=1)
