"""Walks as tensors: equal to the CPU kernels bit for bit, on every device that this machine has."""

import hashlib
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonargparse import ArgumentParser
from numba import njit

from pingraph.devices import moved
from pingraph.errors import PinGraphError
from pingraph.graph import PinBoardGraph
from pingraph.interfaces import Sampler
from pingraph.samplers import (
    CoBoardSampler,
    DeviceGraph,
    DeviceSampler,
    MixtureSampler,
    Node2VecSampler,
    PinSAGESampler,
    PixieSampler,
    TemporalSampler,
    WalkSampler,
    randomness,
    torch_randomness,
)
from pingraph.samplers.torch_graph import resident
from pingraph.samplers.torch_requests import call_key
from tests.graph_cases import enriched
from tests.sampler_contract import SamplerContract, skewed_graph
from tests.test_samplers import GOLDEN
from tests.torch_cases import (
    CALL,
    GRAPH,
    WALK,
    assert_same_neighbors,
    assert_same_walks,
    graph_of,
    needs_cuda,
    on_devices,
)

EDGES = [0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 1]
WORDS = st.sampled_from(EDGES) | st.integers(0, 2**64 - 1)
CHOICES = st.sampled_from([0, 1, 2**22, 2**31, 2**32, 2**41 - 1]) | st.integers(0, 2**41 - 1)


class TestContractOnTensors(SamplerContract):
    def make(self, **arguments):
        return DeviceSampler(sampler=PinSAGESampler(**arguments), device="cpu", memory=2**20)


@needs_cuda
class TestContractOnCUDA(SamplerContract):
    def make(self, **arguments):
        return DeviceSampler(sampler=PinSAGESampler(**arguments), device="cuda")

    # CUDA cannot be used in a forked process
    def test_workers_of_a_data_loader_change_nothing(self, graph):
        self.check_workers(graph, "spawn", 1)

    @pytest.mark.skip(reason="CUDA cannot be used in a forked process")
    def test_threads_work_in_a_forked_process(self, graph):
        """Left out."""


# The random words.


@njit
def drawn(keys, indices):
    words = np.empty(len(keys), np.uint64)
    for i in range(len(keys)):
        words[i] = randomness.draw(keys[i], indices[i])
    return words


@njit
def picked(words, choices):
    indices, rests = np.empty(len(words), np.int64), np.empty(len(words), np.uint64)
    for i in range(len(words)):
        indices[i], rests[i] = randomness.pick(words[i], choices[i])
    return indices, rests


def words_of(tensor):
    return tensor.cpu().numpy().view(np.uint64)


def tensor_of(words, device):
    return torch.from_numpy(np.array(words, np.uint64).view(np.int64)).to(device)


@on_devices
@settings(max_examples=30, deadline=None)
@given(pairs=st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=50))
def test_draws_are_those_of_the_kernels(device, pairs):
    keys, indices = np.array(pairs, np.uint64).T
    found = torch_randomness.draw(tensor_of(keys, device), tensor_of(indices, device))
    np.testing.assert_array_equal(words_of(found), drawn(keys, indices))
    one = torch_randomness.draw(tensor_of(keys, device), int(indices[0]))
    np.testing.assert_array_equal(words_of(one), drawn(keys, np.full_like(keys, indices[0])))


@on_devices
@settings(max_examples=30, deadline=None)
@given(pairs=st.lists(st.tuples(WORDS, CHOICES), min_size=1, max_size=50))
def test_picks_are_those_of_the_kernels(device, pairs):
    words, choices = np.array(pairs, np.uint64).T
    index, rest = torch_randomness.pick(tensor_of(words, device), tensor_of(choices, device))
    expected, left = picked(words, choices)
    np.testing.assert_array_equal(index.cpu().numpy(), expected)
    np.testing.assert_array_equal(words_of(rest), left)
    assert index.tolist() == [w * c >> 64 for w, c in pairs]


@on_devices
def test_many_words_are_those_of_the_kernels(device):
    words = np.random.default_rng(0).integers(0, 2**64, 10**5, dtype=np.uint64)
    choices = words[::-1] >> (words % np.uint64(40) + np.uint64(24))  # 1 to 40 bits
    found = torch_randomness.draw(tensor_of(words, device), tensor_of(words[::-1], device))
    np.testing.assert_array_equal(words_of(found), drawn(words, words[::-1]))
    index, rest = torch_randomness.pick(tensor_of(words, device), tensor_of(choices, device))
    expected, left = picked(words, choices)
    np.testing.assert_array_equal(index.cpu().numpy(), expected)
    np.testing.assert_array_equal(words_of(rest), left)


@given(seed=WORDS, epoch=WORDS)
@settings(max_examples=30, deadline=None)
def test_the_key_of_a_call_is_that_of_the_kernels(seed, epoch):
    found = words_of(torch_randomness.epoch_key(seed, epoch))
    assert found == randomness.epoch_key(np.uint64(seed), np.uint64(epoch))


@pytest.mark.parametrize("places", [1, 11, 27, 32, 63])
def test_shifts_bring_in_zeros(places):
    found = torch_randomness.shift_right(tensor_of(EDGES, "cpu"), places)
    np.testing.assert_array_equal(words_of(found), np.array(EDGES, np.uint64) >> np.uint64(places))


# PinSAGE.


@on_devices
@settings(max_examples=30, deadline=None)
@given(weighted=st.booleans(), options=st.fixed_dictionaries(WALK), **GRAPH, **CALL)
def test_neighbors_are_those_of_the_kernel(device, edges, wide, weighted, options, pins, **call):
    kernel = PinSAGESampler(weighted=weighted, **options)
    assert_same_neighbors(kernel, device, graph_of(edges, wide), pins, **call)


@on_devices
def test_golden(device):
    """The hash is that of the kernel: see test_samplers.py."""
    numbers = np.arange(3_000)
    graph = PinBoardGraph.from_edges(numbers * numbers % 503, numbers * 7 % 101)
    sampler = DeviceSampler(sampler=PinSAGESampler(walk_length=3), device=device, memory=2**25)
    found = sampler.sample(graph, np.arange(graph.num_pins), seed=20, epoch=26)
    digest = hashlib.sha256(found.ids.astype("<i8").tobytes())
    digest.update(found.scores.astype("<i4").tobytes())
    assert digest.hexdigest() == GOLDEN


@on_devices
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("settings", [{"num_walks": 5_000, "k": 80}, {"walk_length": 50}, {}])
def test_all_of_a_skewed_graph_is_as_by_the_kernel(device, settings, weighted):
    graph = enriched(skewed_graph(80, 20, 75))
    kernel = PinSAGESampler(restart_probability=0.1, weighted=weighted, **settings)
    assert_same_neighbors(kernel, device, graph, list(range(80)))
    assert_same_walks(kernel, device, graph, list(range(80)))


@on_devices
@pytest.mark.parametrize(
    "kernel",
    [
        PinSAGESampler(),
        TemporalSampler(),
        Node2VecSampler(num_walks=20, return_parameter=4),
        CoBoardSampler(),
        PixieSampler(num_steps=100),
    ],
)
def test_torch_may_insist_on_determinism(device, kernel):
    torch.use_deterministic_algorithms(True)
    try:
        assert_same_neighbors(kernel, device, enriched(skewed_graph(80, 20, 75)), list(range(80)))
    finally:
        torch.use_deterministic_algorithms(False)


@on_devices
def test_a_graph_without_edges_gives_nothing(device):
    graph = graph_of([(0, 0)]).keep_edges(np.zeros(1, bool))
    sampler = DeviceSampler(sampler=PinSAGESampler(num_walks=2), device=device)
    assert not sampler.sample(graph, [0, 3], seed=1).mask.any()
    found = sampler.walk(graph, [0, 3], seed=1)
    assert found.pins.tolist() == [[[0, -1, -1]] * 2, [[3, -1, -1]] * 2]
    assert (found.boards == -1).all()


# Traces.


@on_devices
@settings(max_examples=40, deadline=None)
@given(weighted=st.booleans(), options=st.fixed_dictionaries(WALK), **GRAPH, **CALL)
def test_walks_are_those_of_the_kernel(device, edges, wide, weighted, options, pins, **call):
    kernel = PinSAGESampler(weighted=weighted, **options)
    assert_same_walks(kernel, device, graph_of(edges, wide), pins, **call)


# The graph on the device, memory, arguments.


def test_a_graph_is_copied_once():
    graph = graph_of([(0, 0), (1, 0)])
    sampler = DeviceSampler(sampler=PinSAGESampler(), device="cpu")
    sampler.sample(graph, [0], seed=1)
    held = resident(graph, "cpu", False, False)
    other = graph_of([(0, 0), (1, 0)])
    assert other == graph
    assert resident(other, "cpu", False, False) is not held
    sampler.sample(graph, [0], seed=1)
    assert resident(graph, "cpu", False, False) is held
    assert held.by_pin.neighbors.dtype == torch.int32


@needs_cuda
def test_memory_is_kept_to():
    graph, memory = skewed_graph(2_000, 300, 2_000), 2**26
    kernel = PinSAGESampler(num_walks=200, walk_length=3)
    sampler = DeviceSampler(sampler=kernel, device="cuda", memory=memory)
    on_device, seeds = DeviceGraph.from_graph(graph), torch.arange(2_000).repeat(10)
    sampler.sample_tensors(on_device, seeds[:100], seed=1)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    found = sampler.sample_tensors(on_device, seeds, seed=1)
    result = sum(value.nbytes for value in vars(found).values())
    assert torch.cuda.max_memory_allocated() - before < memory + 3 * result


# Followed without a look at the device.
WALKERS = [
    PinSAGESampler(num_walks=20, walk_length=3),
    PinSAGESampler(num_walks=20, walk_length=3, weighted=True),
    TemporalSampler(num_walks=20, walk_length=3),
]
STEADY = [
    *WALKERS,
    CoBoardSampler(draws=20),
    CoBoardSampler(draws=20, weighting="inverse_size"),
]


@pytest.fixture(scope="module")
def graph_without_values():
    """Return a graph on the meta device: who asks for a value, or mixes devices, gets an error."""
    graph = enriched(skewed_graph(400, 60, 395))
    return moved(
        DeviceGraph.from_graph(graph, "cpu", weighted=True, timed=True), torch.device("meta")
    )


@pytest.mark.parametrize("kernel", STEADY)
def test_neighbors_are_found_without_a_look_at_the_device(graph_without_values, kernel):
    seeds = torch.arange(400)  # on the CPU, where they are checked
    sampler = DeviceSampler(sampler=kernel, memory=2**20)  # several turns
    found = sampler.sample_tensors(graph_without_values, seeds, seed=1)
    assert {tensor.device.type for tensor in vars(found).values()} == {"meta"}


@pytest.mark.parametrize("kernel", WALKERS)
def test_walks_are_made_without_a_look_at_the_device(graph_without_values, kernel):
    sampler = DeviceSampler(sampler=kernel, memory=2**20)
    pins, boards = sampler.walk_tensors(graph_without_values, torch.arange(400), seed=1)
    assert (pins.shape, boards.shape) == ((400, 20, 4), (400, 20, 3))
    assert pins.dtype == boards.dtype == torch.int32


@needs_cuda
@pytest.mark.parametrize("kernel", STEADY)
def test_the_host_does_not_wait_between_the_steps(kernel):
    graph = enriched(skewed_graph(400, 60, 395))
    graph = DeviceGraph.from_graph(graph, weighted=True, timed=True)
    sampler = DeviceSampler(sampler=kernel, memory=2**20)  # several turns
    request = sampler._request(graph, torch.arange(400, device="cuda"), None, call_key(1, 0))
    sampler._sample(request)
    torch.cuda.set_sync_debug_mode("error")
    try:
        sampler._sample(request)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_importing_the_samplers_does_not_import_torch():
    code = "import pingraph.samplers, sys; assert 'torch' not in sys.modules; "
    code += "from pingraph.samplers import DeviceSampler; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_it_is_chosen_by_class_path():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--sampler", type=Sampler)
    arguments = [
        "--sampler=pingraph.samplers.DeviceSampler",
        "--sampler.sampler=pingraph.samplers.PinSAGESampler",
        "--sampler.sampler.num_walks=50",
        "--sampler.device=cpu",
    ]
    chosen = parser.instantiate(parser.parse_args(arguments)).sampler
    assert chosen == DeviceSampler(sampler=PinSAGESampler(num_walks=50), device="cpu")
    assert pickle.loads(pickle.dumps(chosen)) == chosen


@pytest.mark.parametrize("device", ["gpu", "", "mps", "cuda:x", None, 0.5])
def test_a_device_of_no_known_kind_is_refused(device):
    with pytest.raises(PinGraphError, match=rf"^device is {device!r}; expected 'cuda'"):
        DeviceSampler(sampler=PinSAGESampler(), device=device)


def test_a_device_that_is_not_here_is_refused():
    absent = f"cuda:{torch.cuda.device_count()}"
    sampler = DeviceSampler(sampler=PinSAGESampler(), device=absent)
    with pytest.raises(PinGraphError, match=rf"^device is '{absent}'; torch finds"):
        sampler.sample(graph_of([(0, 0)]), [0], seed=1)


def test_arguments_out_of_range_are_refused():
    with pytest.raises(PinGraphError, match=r"^memory is 0; expected a whole number from 1"):
        DeviceSampler(sampler=PinSAGESampler(), memory=0)
    for other in (7, WalkSampler(num_walks=3), MixtureSampler(samplers=[PinSAGESampler()])):
        with pytest.raises(PinGraphError, match=r"^sampler is .*, which runs on the CPU only; exp"):
            DeviceSampler(sampler=other)
    graph = DeviceGraph.from_graph(graph_of([(0, 0)]), "cpu")
    sampler = DeviceSampler(sampler=PinSAGESampler(), device="cpu")
    for call in (sampler.sample_tensors, sampler.walk_tensors):
        for name, value in [("seed", -1), ("seed", None), ("epoch", 2**64), ("epoch", 0.5)]:
            with pytest.raises(PinGraphError, match=f"^{name} is {value}; expected a whole number"):
                call(graph, torch.tensor([0]), **{"seed": 1, name: value})


def test_weighted_walks_need_weights():
    sampler = DeviceSampler(sampler=PinSAGESampler(weighted=True), device="cpu")
    with pytest.raises(PinGraphError, match="weighted walks need edge weights"):
        sampler.sample(skewed_graph(80, 20, 75), [0], seed=1)
    plain = DeviceGraph.from_graph(graph_of([(0, 0)]), "cpu")
    for call in (sampler.sample_tensors, sampler.walk_tensors):
        with pytest.raises(PinGraphError, match=r"from_graph\(…, weighted=True\)"):
            call(plain, torch.tensor([0]), seed=1)


@on_devices
@pytest.mark.parametrize("unknown", [-1, 12, 2**40])
def test_unknown_seeds_are_refused(device, unknown):
    graph = DeviceGraph.from_graph(graph_of([(0, 0)]), device)
    seeds = torch.tensor([0, 1, unknown, unknown], device=device)
    sampler = DeviceSampler(sampler=PinSAGESampler(), device=device)
    with pytest.raises(PinGraphError, match=rf"^seeds\[2\] is {unknown}; .* 0 to 11"):
        sampler.sample_tensors(graph, seeds, seed=1)
    with pytest.raises(PinGraphError, match=rf"^seeds\[2\] is {unknown}; .* 0 to 11"):
        sampler.walk_tensors(graph, seeds, seed=1)


@pytest.mark.parametrize("seeds", [torch.tensor([0.5]), torch.tensor([[1]]), torch.tensor([True])])
def test_seeds_that_are_no_list_of_whole_numbers_are_refused(seeds):
    graph = DeviceGraph.from_graph(graph_of([(0, 0)]), "cpu")
    sampler = DeviceSampler(sampler=PinSAGESampler(), device="cpu")
    with pytest.raises(PinGraphError, match=r"expected int64 of shape \(B,\)"):
        sampler.sample_tensors(graph, seeds, seed=1)


def test_the_code_of_the_page_runs():
    page = (Path(__file__).parent.parent / "docs" / "gpu.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert len(blocks) == 1
    names = {}
    exec(blocks[0], names)
    assert names["boards"].shape == (100, 200, 2)
