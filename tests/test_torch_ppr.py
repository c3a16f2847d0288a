"""PageRank on tensors: equal to the CPU kernel bit for bit, though floats are added up."""

import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pingraph.errors import PinGraphError
from pingraph.graph import PinBoardGraph
from pingraph.samplers import DeviceGraph, DeviceSampler, PPRSampler
from pingraph.samplers.ppr import _working_set, sides_of
from pingraph.samplers.ppr_kernels import _push_all
from pingraph.samplers.torch_sums import row_sums, running_sums
from tests.graph_cases import enriched
from tests.sampler_contract import SamplerContract, skewed_graph
from tests.torch_cases import (
    GRAPH,
    assert_same_neighbors,
    graph_of,
    on_devices,
)


class TestContractOnTensors(SamplerContract):
    def make(self, **arguments):
        sampler = PPRSampler(epsilon=1e-3, **arguments)
        return DeviceSampler(sampler=sampler, device="cpu", memory=2**25)

    @pytest.mark.skip(reason="nothing is random")
    def test_seed_and_epoch_change_the_walks(self, graph):
        """Left out."""


@on_devices
@settings(max_examples=25, deadline=None)
@given(
    k=st.integers(1, 15),
    restart=st.sampled_from([0.2, 0.5, 0.77, 0.999]),
    epsilon=st.sampled_from([1.0, 0.3, 1e-2, 1e-3]),
    weighted=st.booleans(),
    memory=st.sampled_from([1_000, 2**30]),
    pins=st.lists(st.integers(0, 11), min_size=1, max_size=6),
    **GRAPH,
)
def test_neighbors_are_those_of_the_kernel(
    device, edges, wide, k, restart, epsilon, weighted, memory, pins
):
    kernel = PPRSampler(k=k, restart_probability=restart, epsilon=epsilon, weighted=weighted)
    assert_same_neighbors(kernel, device, graph_of(edges, wide), pins, memory=memory)


@on_devices
def test_a_mass_within_float32_of_its_threshold_is_pushed_as_by_the_kernel(device):
    """0.0005 and the last bit of ½ (1 - 0.999) waits, above the threshold 0.0005 by no more."""
    kernel = PPRSampler(k=1, restart_probability=0.999, epsilon=0.001)
    assert_same_neighbors(kernel, device, graph_of({(0, 0), (1, 0)}), [0], memory=2**20)


@on_devices
@pytest.mark.parametrize("weighted", [False, True])
def test_masses_are_those_of_the_kernel(device, weighted):
    """Scores are float32: they would hide most of what another order of adding changes."""
    graph = enriched(skewed_graph(400, 60, 395))
    sampler = PPRSampler(epsilon=1e-4, weighted=weighted)
    on_device = DeviceGraph.from_graph(graph, device, weighted=True)
    method = DeviceSampler(sampler=sampler, device=device)._method
    seeds = torch.arange(0, 395, 9, device=device)
    for seed, found in zip(seeds.tolist(), method.masses(on_device, seeds).cpu(), strict=True):
        sides = [
            side + _working_set(size)
            for side, size in zip(sides_of(graph, weighted), (400, 60), strict=True)
        ]
        unit = on_device.mean_weight if weighted else 1.0
        _push_all(*sides, seed, (0.5, 1e-4 / 2 / unit))
        np.testing.assert_array_equal(found.numpy(), sides[0][4][:, 0])


@on_devices
def test_many_turns_of_the_smallest_restart_are_as_by_the_kernel(device):
    kernel = PPRSampler(restart_probability=0.001, epsilon=0.1)
    graph = graph_of([(pin, board) for pin in range(12) for board in range(pin % 3, 6, 2)])
    assert_same_neighbors(kernel, device, graph, list(range(12)))


@on_devices
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("memory", [2**19, 2**30])
def test_all_of_a_skewed_graph_is_as_by_the_kernel(device, weighted, memory):
    graph = enriched(skewed_graph(400, 60, 395))
    kernel = PPRSampler(k=400, epsilon=1e-4, weighted=weighted)
    assert_same_neighbors(kernel, device, graph, list(range(0, 400, 9)), memory=memory)
    kernel = PPRSampler(k=7, epsilon=1e-3, restart_probability=0.2, weighted=weighted)
    assert_same_neighbors(kernel, device, graph, list(range(400)), memory=memory)


@on_devices
def test_equal_scores_fall_as_by_the_kernel(device):
    """On a star all pins but the seed have the same score."""
    star = PinBoardGraph.from_edges(range(50), [0] * 50)
    assert_same_neighbors(PPRSampler(k=20), device, star, list(range(50)))


@on_devices
def test_seeds_that_are_never_pushed(device):
    graph = graph_of([(pin, board) for pin in range(4) for board in range(5)])
    kernel = PPRSampler(epsilon=0.4)  # a degree of 5 is 2 / epsilon
    assert not kernel.sample(graph, [0, 11], seed=1).mask.any()
    assert_same_neighbors(kernel, device, graph, [0, 11])
    assert_same_neighbors(kernel, device, graph.keep_edges(np.zeros(20, bool)), [0, 11])


@on_devices
@pytest.mark.parametrize("runs", [[1], [3], [1, 1], [4, 3, 2], [500, 300], [1] * 99])
def test_sums_are_made_one_by_one(device, runs):
    generator = np.random.default_rng(0)
    values = np.exp(-30 * generator.random(sum(runs)))
    old = np.exp(-30 * generator.random(len(runs)))
    lengths = torch.tensor(runs, device=device)
    starts = lengths.cumsum(0) - lengths
    tensors = (torch.from_numpy(array).to(device) for array in (old, values))
    found = running_sums(*tensors, starts, lengths).cpu().numpy()
    for column, (start, length) in enumerate(zip(starts.tolist(), runs, strict=True)):
        expected = [old[column]]
        for value in values[start : start + length]:
            expected.append(expected[-1] + value)
        expected += expected[-1:] * (max(runs) - length)
        np.testing.assert_array_equal(found[:, column], expected)


@on_devices
@pytest.mark.parametrize("length", [1, 7, 8, 9, 50, 128, 129, 1_000, 3_003])
def test_sums_of_rows_are_those_of_numpy(device, length):
    values = np.exp(-40 * np.random.default_rng(0).random((300, length))).astype(np.float32)
    found = row_sums(torch.from_numpy(values).to(device).double()).cpu().numpy()
    np.testing.assert_array_equal(found, values.sum(axis=1, dtype=np.float64))
    one_by_one = functools.reduce(np.add, values.T.astype(np.float64))
    assert length < 50 or (found != one_by_one).any()  # else the test could not fail


def test_weights_are_needed():
    sampler = DeviceSampler(sampler=PPRSampler(weighted=True), device="cpu")
    with pytest.raises(PinGraphError, match="need edge weights, and this graph has none"):
        sampler.sample(skewed_graph(80, 20, 75), [0], seed=1)
    plain = DeviceGraph.from_graph(graph_of([(0, 0)]), "cpu")
    with pytest.raises(PinGraphError, match=r"from_graph\(…, weighted=True\)"):
        sampler.sample_tensors(plain, torch.tensor([0]), seed=1)
