"""What the tests of samplers on tensors share: devices, small graphs, and equality to the bit."""

import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from pingraph.graph import PinBoardGraph
from pingraph.samplers import DeviceGraph, DeviceSampler
from tests.sampler_contract import assert_same

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
on_devices = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_cuda)])

PINS, BOARDS = 12, 6
GRAPH = {
    "edges": st.sets(
        st.tuples(st.integers(0, PINS - 1), st.integers(0, BOARDS - 1)), min_size=1, max_size=40
    ),
    "wide": st.booleans(),
}
CALL = {
    "memory": st.sampled_from([1, 20_000, 100_000, 2**30]),
    "seed": st.integers(0, 2**64 - 1),
    "epoch": st.integers(0, 2**64 - 1),
    "pins": st.lists(st.integers(0, PINS - 1), min_size=1, max_size=30),
}
WALK = {
    "k": st.integers(1, 15),
    "num_walks": st.integers(1, 40),
    "walk_length": st.integers(1, 5),
    "restart_probability": st.sampled_from([0.0, 0.25, 0.5, 0.9, 0.999]),
}


def graph_of(edges, wide=False):
    """Return a graph of 12 pins and 6 boards, not all with edges; `wide` for int64 neighbors.

    It has skewed weights, and times of which many are equal.
    """
    pins, boards = zip(*sorted(edges), strict=True)
    graph = PinBoardGraph.from_edges(
        pins,
        boards,
        [1 + pin * board**2 for pin, board in zip(pins, boards, strict=True)],
        [(pin * 5 + board * 3) % 7 for pin, board in zip(pins, boards, strict=True)],
        pin_ids=range(PINS),
        board_ids=range(BOARDS),
    )
    arrays = graph.arrays()
    for name in ("pin_boards", "board_pins"):
        arrays[name] = arrays[name].astype(np.int64 if wide else np.int32)
    return PinBoardGraph(**arrays)


def assert_same_neighbors(
    kernel, device, graph, pins, *, seed=1, epoch=0, memory=2**30, times=None
):
    """Check that a sampler finds on tensors what it finds on the CPU, in both forms of the call."""
    sampler = DeviceSampler(sampler=kernel, device=device, memory=memory)
    call = {"seed": seed, "epoch": epoch}
    asked = call if times is None else {**call, "times": times}
    expected = kernel.sample(graph, pins, **asked)
    assert_same(sampler.sample(graph, pins, **asked), expected)
    needs = {"weighted": sampler._method.weighted, "timed": sampler._method.timed}
    on_device = DeviceGraph.from_graph(graph, device, **needs)
    asked = call if times is None else {**call, "times": torch.tensor(times)}
    found = sampler.sample_tensors(on_device, torch.tensor(pins, dtype=torch.int64), **asked)
    assert_same(as_arrays(found), expected)


def assert_same_walks(kernel, device, graph, pins, *, seed=1, epoch=0, memory=2**30, times=None):
    """Check that walks on tensors are those on the CPU, in both forms of the call."""
    sampler = DeviceSampler(sampler=kernel, device=device, memory=memory)
    call = {"seed": seed, "epoch": epoch}
    asked = call if times is None else {**call, "times": times}
    expected = kernel.walk(graph, pins, **asked)
    arrays = sampler.walk(graph, pins, **asked)
    has = {"weighted": graph.pin_weights is not None, "timed": graph.pin_times is not None}
    on_device = DeviceGraph.from_graph(graph, device, **has)
    asked = call if times is None else {**call, "times": torch.tensor(times)}
    tensors = sampler.walk_tensors(on_device, torch.tensor(pins, dtype=torch.int64), **asked)
    np.testing.assert_array_equal(arrays.seeds, expected.seeds)
    for name, tensor in zip(("pins", "boards"), tensors, strict=True):
        assert tensor.device == on_device.device
        for found in (getattr(arrays, name), tensor.cpu().numpy()):
            assert found.dtype == getattr(expected, name).dtype
            np.testing.assert_array_equal(found, getattr(expected, name))


def as_arrays(found):
    """Return the record of tensors as one of arrays, on which `assert_same` works."""
    values = {name: value.cpu().numpy() for name, value in vars(found).items()}
    assert all(value.device == found.seeds.device for value in vars(found).values())
    return type(found)(**values)
