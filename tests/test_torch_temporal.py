"""Walks in time as tensors: equal to the CPU kernels bit for bit, whatever the times."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pingraph.errors import PinGraphError
from pingraph.graph import PinBoardGraph
from pingraph.samplers import DeviceGraph, DeviceSampler, PinSAGESampler, TemporalSampler
from pingraph.samplers.torch_hooks import first_not_below
from tests.graph_cases import enriched
from tests.sampler_contract import skewed_graph
from tests.test_walks import RichContract
from tests.torch_cases import (
    CALL,
    GRAPH,
    WALK,
    assert_same_neighbors,
    assert_same_walks,
    graph_of,
    on_devices,
)

TIMES = st.sampled_from([-(2**63), -1, 0, 7, 2**63 - 1]) | st.integers(0, 8)


class TestContractOnTensors(RichContract):
    def make(self, **arguments):
        return DeviceSampler(sampler=TemporalSampler(**arguments), device="cpu", memory=2**20)


@on_devices
@settings(max_examples=30, deadline=None)
@given(options=st.fixed_dictionaries(WALK), data=st.data(), **GRAPH, **CALL)
def test_neighbors_and_walks_are_those_of_the_kernel(
    device, edges, wide, options, data, pins, **call
):
    graph, kernel = graph_of(edges, wide), TemporalSampler(**options)
    times = data.draw(st.none() | st.lists(TIMES, min_size=len(pins), max_size=len(pins)))
    assert_same_neighbors(kernel, device, graph, pins, times=times, **call)
    assert_same_walks(kernel, device, graph, pins, times=times, **call)


@on_devices
def test_all_of_a_skewed_graph_is_as_by_the_kernel(device):
    graph = enriched(skewed_graph(80, 20, 75))
    kernel = TemporalSampler(num_walks=1_000, walk_length=4, restart_probability=0.1, k=80)
    for times in (None, [row % 13 for row in range(80)]):
        assert_same_neighbors(kernel, device, graph, list(range(80)), times=times)
        assert_same_walks(kernel, device, graph, list(range(80)), times=times)


@on_devices
def test_times_at_the_ends_of_int64(device):
    ends = [-(2**63), 2**63 - 1, 2**63 - 2, 0]
    graph = PinBoardGraph.from_edges([0, 1, 2, 3], [0, 0, 0, 0], times=ends)
    kernel = TemporalSampler(num_walks=50)
    assert_same_neighbors(kernel, device, graph, [0, 1, 2, 3])
    for time in ends:
        assert_same_neighbors(kernel, device, graph, [0, 1, 2, 3], times=[time] * 4)


@on_devices
def test_a_graph_without_edges_gives_nothing(device):
    graph = graph_of([(0, 0)]).keep_edges(np.zeros(1, bool))
    assert_same_neighbors(TemporalSampler(num_walks=2), device, graph, [0, 11])
    assert_same_walks(TemporalSampler(num_walks=2), device, graph, [0, 11], times=[1, 2])


@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=20), min_size=1, max_size=8),
    bound=st.integers(-1, 10),
)
def test_the_search_finds_what_numpy_finds(rows, bound):
    rows = [sorted(row) for row in rows]
    offsets = torch.tensor([0, *np.cumsum([len(row) for row in rows])])
    values = torch.tensor([value for row in rows for value in row])
    longest = max(len(row) for row in rows)
    found = first_not_below(values, offsets[:-1], offsets[1:], torch.tensor(bound), longest)
    expected = [np.searchsorted(row, bound) for row in rows]
    assert (found - offsets[:-1]).tolist() == expected


@pytest.mark.parametrize("times", [[1], [0.5, 0.5], [[1, 2]], ["a", "b"], [True, False]])
def test_times_that_are_no_whole_numbers_are_refused(times):
    graph = graph_of([(0, 0), (1, 0)])
    for sampler in (
        TemporalSampler(),
        DeviceSampler(sampler=TemporalSampler(), device="cpu"),
    ):
        for call in (sampler.sample, sampler.walk):
            with pytest.raises(PinGraphError, match=r"^times are .*; expected whole numbers of sh"):
                call(graph, [0, 1], seed=1, times=times)


def test_tensors_of_times_of_another_kind_are_refused():
    graph = DeviceGraph.from_graph(graph_of([(0, 0), (1, 0)]), "cpu", timed=True)
    sampler = DeviceSampler(sampler=TemporalSampler(), device="cpu")
    for times in (torch.tensor([1]), torch.tensor([0.5, 0.5]), torch.tensor([1, 1]).int()):
        for call in (sampler.sample_tensors, sampler.walk_tensors):
            with pytest.raises(PinGraphError, match=r"^times are .*; expected int64 of shape \(2"):
                call(graph, torch.tensor([0, 1]), seed=1, times=times)


def test_times_need_a_sampler_and_a_graph_with_times():
    timed, plain = graph_of([(0, 0), (1, 0)]), skewed_graph(80, 20, 75)
    sampler = DeviceSampler(sampler=PinSAGESampler(), device="cpu")
    with pytest.raises(PinGraphError, match=r"^times are given to PinSAGESampler; expected a Temp"):
        sampler.sample(timed, [0], seed=1, times=[1])
    sampler = DeviceSampler(sampler=TemporalSampler(), device="cpu")
    with pytest.raises(PinGraphError, match="walks in time need edge times"):
        sampler.sample(plain, [0], seed=1)
    on_device, seeds = DeviceGraph.from_graph(timed, "cpu"), torch.tensor([0])
    for times in (None, seeds):
        with pytest.raises(PinGraphError, match=r"from_graph\(…, timed=True\)"):
            sampler.sample_tensors(on_device, seeds, seed=1, times=times)
