"""Race samplers on tensors of a GPU against the CPU kernels, after proof that both find the same.

python experiments/benchmarks/gpu_samplers.py [--quick] [--json FILE]

Without a GPU the tensors lie on the CPU: that shows that the code is right, not what it is worth.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from rich.console import Console

from pingraph.experiments.benchmarks.common import Heat, finish, parse_arguments, race, show
from pingraph.experiments.benchmarks.samplers import power_law_graph
from pingraph.graph import PinBoardGraph
from pingraph.samplers import (
    CoBoardSampler,
    DeviceGraph,
    DeviceSampler,
    Node2VecSampler,
    PinSAGESampler,
    PixieSampler,
    PPRSampler,
    TemporalSampler,
)

WALKS = {"k": 10, "num_walks": 100, "walk_length": 2, "restart_probability": 0.5}
SAMPLERS = [  # with the share of the seeds that each gets, since some do much more for a seed
    (PinSAGESampler(**WALKS), 1),
    (TemporalSampler(**WALKS), 1),
    (Node2VecSampler(**WALKS, return_parameter=4, in_out_parameter=0.5), 1 / 4),
    (CoBoardSampler(draws=100), 1),
    (PixieSampler(num_steps=2_000), 1 / 16),
    (PPRSampler(epsilon=1e-4), 1 / 64),
]
MEMORY = 2**32  # bytes of the walks on a GPU; a tenth of it on a CPU


def main() -> None:
    arguments = parse_arguments(
        __doc__, pins=1_000_000, boards=200_000, edges=20_000_000, seeds=131_072, rounds=9
    )
    if arguments.quick:
        arguments.pins, arguments.boards, arguments.edges = 50_000, 10_000, 1_000_000
        arguments.seeds, arguments.rounds = 4_096, 3
    device = "cuda" if torch.cuda.is_available() else "cpu"
    graph = with_times(power_law_graph(arguments.pins, arguments.boards, arguments.edges))
    console = Console()
    console.print(graph)
    console.print(f"tensors are on {described(device)}; torch {torch.__version__}")
    seeds = np.random.default_rng(1).integers(0, graph.num_pins, arguments.seeds)
    memory = MEMORY if device == "cuda" else MEMORY // 10
    heats = []
    for settings, share in SAMPLERS:
        sampler = DeviceSampler(sampler=settings, device=device, memory=memory)
        some = seeds[: int(len(seeds) * share)]
        check_equal(sampler, graph, some)
        name = type(settings).__name__
        console.print(f"{name}: equal to the kernel to the bit, all rows of {len(some):,} seeds")
        sizes = [size for size in (1_024, 16_384, 131_072) if size <= len(some)] or [len(some)]
        for size in sizes:
            heats.append(race_batches(sampler, graph, some, size, arguments.rounds))
            show(heats[-1])
    finish(heats, arguments)


def with_times(graph: PinBoardGraph) -> PinBoardGraph:
    """Return the graph with a time for each edge, all of them equally likely."""
    times = np.random.default_rng(2).integers(0, 10**9, graph.num_edges)
    ids = {"pin_ids": np.arange(graph.num_pins), "board_ids": np.arange(graph.num_boards)}
    return PinBoardGraph.from_edges(*graph.edges(), times=times, **ids)


def described(device: str) -> str:
    """Return what the device is, in words."""
    if device == "cuda":
        return f"a GPU: {torch.cuda.get_device_name()}"
    return "the CPU, one thread: torch finds no CUDA device, so no figure here is that of a GPU"


def check_equal(sampler: DeviceSampler, graph: PinBoardGraph, seeds: np.ndarray) -> None:
    """Stop with an error unless kernel and device find the same, in both forms of the call."""
    expected = sampler.sampler.sample(graph, seeds, seed=0, epoch=1)
    arrays = sampler.sample(graph, seeds, seed=0, epoch=1)
    on_device = DeviceGraph.from_graph(graph, sampler.device, timed=True)
    tensors = sampler.sample_tensors(on_device, torch.from_numpy(seeds), seed=0, epoch=1)
    for name, array in vars(expected).items():
        for found in (getattr(arrays, name), getattr(tensors, name).cpu().numpy()):
            if not np.array_equal(found, array):
                raise SystemExit(f"{name} differ between the kernel and {sampler.device}")


def race_batches(
    sampler: DeviceSampler, graph: PinBoardGraph, seeds: np.ndarray, size: int, rounds: int
) -> Heat:
    """Race over all seeds, so many a call."""
    on_device = DeviceGraph.from_graph(graph, sampler.device, timed=True)
    kernels = [replace(sampler.sampler, num_threads=n) for n in (1, 2)]
    seed_tensor = torch.from_numpy(seeds).to(sampler.device)
    contestants = {
        f"{sampler.device}, tensors": lambda part: sampler.sample_tensors(
            on_device, seed_tensor[part], seed=0
        ),
        f"{sampler.device}, arrays": lambda part: sampler.sample(graph, seeds[part], seed=0),
        "kernel, 1 thread": lambda part: kernels[0].sample(graph, seeds[part], seed=0),
        "kernel, 2 threads": lambda part: kernels[1].sample(graph, seeds[part], seed=0),
    }
    runs = {name: in_calls(sample, len(seeds), size) for name, sample in contestants.items()}
    title = f"{sampler.sampler}, {size:,} seeds a call"
    return race(title, runs, rounds=rounds, work=len(seeds), unit="seeds")


def in_calls(sample: Callable[[slice], object], count: int, size: int) -> Callable[[], None]:
    """Return a function that samples all seeds, call by call, and waits until a GPU is done."""

    def run() -> None:
        for start in range(0, count, size):
            sample(slice(start, start + size))
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return run


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
