"""Race our PinSAGE sampler against DGL, torch-cluster, NumPy and torch on one power-law graph.

python experiments/benchmarks/samplers.py [--quick] [--json FILE]
"""

from collections.abc import Callable

import numpy as np
import torch
from numba import njit
from rich.console import Console

from pingraph.experiments.benchmarks.common import Heat, parse_arguments, race, report
from pingraph.experiments.benchmarks.sampler_peers import (
    Task,
    dgl_sampler,
    numpy_by_hand,
    torch_by_hand,
    torch_cluster_walks,
)
from pingraph.graph import PinBoardGraph
from pingraph.samplers import PinSAGESampler
from pingraph.samplers.randomness import draw, pick
from pingraph.samplers.requests import share_out
from pingraph.samplers.prefetching import prefetch

WALKS = {"k": 10, "num_walks": 100, "walk_length": 2, "restart_probability": 0.5}
BATCH = 1_024  # seeds of a call
READS = 4_000_000  # of a round of the machine's limit


def main() -> None:
    arguments = parse_arguments(
        __doc__, pins=1_000_000, boards=200_000, edges=20_000_000, seeds=16_384, rounds=9
    )
    if arguments.quick:
        arguments.pins, arguments.boards, arguments.edges = 200_000, 40_000, 4_000_000
        arguments.seeds, arguments.rounds = 4_096, 5
    graph = power_law_graph(arguments.pins, arguments.boards, arguments.edges)
    Console().print(graph)
    task = Task(graph=graph, **WALKS)
    seeds = np.random.default_rng(1).integers(0, graph.num_pins, arguments.seeds)
    heats = [race_samplers(task, seeds, arguments.rounds), race_reads(graph, arguments.rounds)]
    report(heats, arguments)
    print_share(task, heats)


def power_law_graph(pins: int, boards: int, edges: int) -> PinBoardGraph:
    """Return a graph whose rank-r pin and board have degrees like r^-0.6, in random order."""
    generator = np.random.default_rng(0)

    def popular(count):
        chances = np.cumsum(np.arange(1.0, count + 1) ** -0.6)
        ranks = np.searchsorted(chances, generator.random(edges) * chances[-1])
        return generator.permutation(count)[ranks]

    return PinBoardGraph.from_edges(
        popular(pins), popular(boards), pin_ids=np.arange(pins), board_ids=np.arange(boards)
    )


def race_samplers(task: Task, seeds: np.ndarray, rounds: int) -> Heat:
    """Race all samplers that are installed over the same seeds, with one and two threads."""
    ours = [PinSAGESampler(**WALKS, num_threads=n) for n in (1, 2)]
    contestants = {
        "pingraph": lambda batch: ours[0].sample(task.graph, batch, seed=0),
        "pingraph, 2 threads": lambda batch: ours[1].sample(task.graph, batch, seed=0),
        "NumPy by hand": numpy_by_hand(task),
        "torch by hand": with_threads(1, torch_by_hand(task)),
    }
    for name, make in {
        "DGL, int32": lambda: dgl_sampler(task, torch.int32),
        "DGL, int64": lambda: dgl_sampler(task, torch.int64),
        "torch-cluster": lambda: torch_cluster_walks(task),
    }.items():
        try:
            sample = make()
        except ImportError as error:
            Console().print(f"{name} is left out: {error}")
            continue
        contestants[name] = with_threads(1, sample)
        contestants[f"{name}, 2 threads"] = with_threads(2, sample)
    title = f"PinSAGE neighbors: {WALKS}, {BATCH} seeds a call"
    runs = {name: in_batches(sample, seeds) for name, sample in contestants.items()}
    return race(title, runs, rounds=rounds, work=len(seeds), unit="seeds")


def in_batches(sample: Callable, seeds: np.ndarray) -> Callable[[], None]:
    """Return a function that samples all seeds, batch by batch."""

    def run():
        for start in range(0, len(seeds), BATCH):
            sample(seeds[start : start + BATCH])

    return run


def with_threads(number: int, sample: Callable) -> Callable:
    """Return `sample` with so many threads of OpenMP, which torch, DGL and torch-cluster share."""

    def run(seeds):
        torch.set_num_threads(number)
        return sample(seeds)

    return run


def race_reads(graph: PinBoardGraph, rounds: int) -> Heat:
    """Measure the machine's own limit: independent random reads of an array of the edges' size."""
    array = np.ascontiguousarray(np.append(graph.pin_boards, graph.board_pins))

    def reads(num_threads):
        def work(part):
            random_reads(array, part.start, part.stop)

        return lambda: share_out(work, READS, num_threads)

    title = f"Random reads of a cache line, {array.nbytes / 1e6:.0f} MB"
    runs = {"1 thread": reads(1), "2 threads": reads(2)}
    return race(title, runs, rounds=rounds, work=READS, unit="reads")


@njit(nogil=True)
def random_reads(array, start, stop):
    """Sum random entries of `array`, fetching 128 at a time ahead, as many as fit in flight."""
    places = np.empty(128, np.int64)
    total = 0
    for block in range(start, stop, 128):
        for i in range(128):
            places[i] = pick(draw(np.uint64(0), block + i), array.size)[0]
            prefetch(array, places[i])
        for i in range(128):
            total += array[places[i]]
    return total


def print_share(task: Task, heats: list[Heat]) -> None:
    """Print how much of the machine's random reads the sampler uses.

    Counted are the reads of the edges alone, one a hop (the first hops of a seed's walks, which
    read one and the same row, count as one): the offsets of the nodes mostly lie in a cache.
    """
    steps = task.num_walks * sum(
        (1 - task.restart_probability) ** t for t in range(task.walk_length)
    )
    reads = 1 + 2 * steps - task.num_walks
    rate = {name: heats[0].work / time for name, time in heats[0].medians().items()}
    limit = {name: heats[1].work / time for name, time in heats[1].medians().items()}
    for ours, theirs in (("pingraph", "1 thread"), ("pingraph, 2 threads", "2 threads")):
        share = rate[ours] * reads / limit[theirs]
        Console().print(
            f"{ours}: {rate[ours] * steps / 1e6:.1f} M traversals/s, {reads:.0f} reads of edges a "
            f"seed: {share:.0%} of the machine's {limit[theirs] / 1e6:.0f} M reads/s"
        )


if __name__ == "__main__":
    main()
