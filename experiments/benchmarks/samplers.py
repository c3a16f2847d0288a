"""Race our samplers against DGL, torch-cluster, NumPy and torch, all on one graph and in one run.

python experiments/benchmarks/samplers.py [--quick] [--graph FILE] [--json FILE]

Without a file of edges the graph is a power-law one of 1M pins, 200k boards and 20M edges.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numba import njit
from rich.console import Console

from pingraph.experiments.benchmarks.common import Heat, parse_arguments, race, report
from pingraph.experiments.benchmarks.first_batch import race_first_batch
from pingraph.experiments.benchmarks.sampler_peers import (
    Task,
    dgl_sampler,
    numpy_by_hand,
    torch_by_hand,
    torch_cluster_sampler,
)
from pingraph.experiments.benchmarks.walk_peers import (
    dgl_node2vec,
    dgl_walks,
    numpy_node2vec,
    numpy_walks,
    torch_cluster_walks,
    torch_walks,
)
from pingraph.graph import PinBoardGraph
from pingraph.samplers import Node2VecSampler, PinSAGESampler, WalkSampler
from pingraph.samplers.prefetching import prefetch
from pingraph.samplers.randomness import draw, pick
from pingraph.samplers.requests import share_out

NEIGHBORS = {"k": 10, "num_walks": 100, "walk_length": 2, "restart_probability": 0.5}
PLAIN = {"num_walks": 1, "walk_length": 10, "restart_probability": 0.0}
SECOND = {"return_parameter": 2.0, "in_out_parameter": 2.0}
BATCH = 1_024  # seeds of a call for neighbors
READS = 4_000_000  # of a round of the machine's limit


def main() -> None:
    sizes = {"pins": 1_000_000, "boards": 200_000, "edges": 20_000_000}
    arguments = parse_arguments(__doc__, graph_file=True, **sizes, seeds=16_384, rounds=9)
    if arguments.quick:
        arguments.pins, arguments.boards, arguments.edges = 200_000, 40_000, 4_000_000
        arguments.seeds, arguments.rounds = 4_096, 5
    if arguments.graph:
        graph = PinBoardGraph.from_file(arguments.graph)
    else:
        graph = power_law_graph(arguments.pins, arguments.boards, arguments.edges)
    Console().print(graph)
    generator, rounds = np.random.default_rng(1), arguments.rounds
    seeds = generator.integers(0, graph.num_pins, arguments.seeds)
    starts = generator.integers(0, graph.num_pins, 4 * arguments.seeds)
    heats = [
        race_neighbors(graph, seeds, rounds),
        race_walks(graph, starts, rounds),
        race_reads(graph, rounds),
        race_own_functions(graph, seeds, rounds),
        race_second_order(graph, starts[: len(starts) // 16], max(3, rounds // 3)),
        race_first_batch(graph, max(3, rounds // 3)),
    ]
    report(heats, arguments)
    print_shares(*heats[:3])


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


def race_neighbors(graph: PinBoardGraph, seeds: np.ndarray, rounds: int) -> Heat:
    """Race for the PinSAGE neighbors of the same seeds, with one and two threads."""
    task = Task(graph=graph, **NEIGHBORS)

    def ours(threads):
        sampler = PinSAGESampler(**NEIGHBORS, num_threads=threads)
        return lambda batch: sampler.sample(graph, batch, seed=0)

    contestants = {"pingraph": ours(1), "pingraph, 2 threads": ours(2)}
    contestants |= with_one_and_two_threads(
        {
            "NumPy by hand": lambda: numpy_by_hand(task),
            "torch by hand": lambda: torch_by_hand(task),
            "DGL, int32": lambda: dgl_sampler(task, torch.int32),
            "DGL, int64": lambda: dgl_sampler(task, torch.int64),
            "torch-cluster": lambda: torch_cluster_sampler(task),
        }
    )
    title = f"PinSAGE neighbors: {NEIGHBORS}, {BATCH} seeds a call"
    runs = {name: in_batches(sample, seeds) for name, sample in contestants.items()}
    return race(title, runs, rounds=rounds, work=len(seeds), unit="seeds")


def race_walks(graph: PinBoardGraph, seeds: np.ndarray, rounds: int) -> Heat:
    """Race for one walk from each seed; a step is a hop, so a traversal is two."""
    length = PLAIN["walk_length"]

    def ours(threads):
        sampler = PinSAGESampler(**PLAIN, num_threads=threads)
        return lambda seeds: sampler.walk(graph, seeds, seed=0)

    contestants = {"pingraph": ours(1), "pingraph, 2 threads": ours(2)}
    contestants |= with_one_and_two_threads(
        {
            "NumPy by hand": lambda: numpy_walks(graph, length),
            "torch by hand": lambda: torch_walks(graph, length),
            "DGL, int32": lambda: dgl_walks(graph, length, torch.int32),
            "DGL, int64": lambda: dgl_walks(graph, length, torch.int64),
            "torch-cluster": lambda: torch_cluster_walks(graph, length),
        }
    )
    runs = {name: call_with(walk, seeds) for name, walk in contestants.items()}
    title = f"Plain walks: {len(seeds):,} walks of {length} traversals"
    return race(title, runs, rounds=rounds, work=2 * length * len(seeds), unit="steps")


def race_own_functions(graph: PinBoardGraph, seeds: np.ndarray, rounds: int) -> Heat:
    """Race the built-in walk against the same walk written as a user's functions."""
    samplers = {
        "built in": PinSAGESampler(**NEIGHBORS),
        "own step": WalkSampler(**NEIGHBORS, step=uniform_step),
        "own step, acceptance and score": WalkSampler(
            **NEIGHBORS, step=uniform_step, accept=always, score=visits_alone
        ),
    }
    runs = {
        name: in_batches(lambda batch, sampler=sampler: sampler.sample(graph, batch, seed=0), seeds)
        for name, sampler in samplers.items()
    }
    return race(
        "The same walk in plain Python", runs, rounds=2 * rounds, work=len(seeds), unit="seeds"
    )


def uniform_step(walk, start, end, word):
    return start + pick(word, end - start)[0]


def always(walk, pin):
    return 1.0


def visits_alone(walk, pin, visits):
    return visits


def race_second_order(graph: PinBoardGraph, seeds: np.ndarray, rounds: int) -> Heat:
    """Race for second-order walks; DGL's law is another one, see `walk_peers.dgl_node2vec`."""
    length, parameters = PLAIN["walk_length"], tuple(SECOND.values())
    sampler = Node2VecSampler(**PLAIN, **SECOND)
    contestants = {"pingraph": lambda seeds: sampler.walk(graph, seeds, seed=0)}
    contestants |= with_one_and_two_threads(
        {
            "NumPy and SciPy by hand": lambda: numpy_node2vec(graph, length, *parameters),
            "DGL node2vec, another law": lambda: dgl_node2vec(graph, length, *parameters),
        }
    )
    runs = {name: call_with(walk, seeds) for name, walk in contestants.items()}
    title = f"Second-order walks: {len(seeds):,} walks of {length} traversals, {SECOND}"
    return race(title, runs, rounds=rounds, work=2 * length * len(seeds), unit="steps")


def race_reads(graph: PinBoardGraph, rounds: int) -> Heat:
    """Measure the machine's own limit: independent random reads of the arrays that walks read."""
    edges = np.ascontiguousarray(np.append(graph.pin_boards, graph.board_pins))

    def reads(array, num_threads):
        def work(part):
            random_reads(array, part.start, part.stop)

        return lambda: share_out(work, READS, num_threads)

    title = "Random reads of a cache line"
    arrays = {"edges": edges, "offsets of pins": graph.pin_offsets}
    arrays["offsets of boards"] = graph.board_offsets
    runs = {
        f"{name}, {threads} thread{'s' * (threads - 1)}": reads(array, threads)
        for name, array in arrays.items()
        for threads in (1, 2)
    }
    notes = {f"{name}, 1 thread": f"{array.nbytes / 1e6:.1f} MB" for name, array in arrays.items()}
    return race(title, runs, rounds=rounds, work=READS, unit="reads", notes=notes)


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


def with_one_and_two_threads(makers: Mapping[str, Callable]) -> dict[str, Callable]:
    """Return what the makers make, twice each; say which are left out since they don't install."""
    contestants = {}
    for name, make in makers.items():
        try:
            contestant = make()
        except ImportError as error:
            Console().print(f"{name} is left out: {error}")
            continue
        contestants[name] = with_threads(1, contestant)
        if "NumPy" not in name:  # which has no threads
            contestants[f"{name}, 2 threads"] = with_threads(2, contestant)
    return contestants


def with_threads(number: int, sample: Callable) -> Callable:
    """Return `sample` with so many threads of OpenMP, which torch, DGL and torch-cluster share."""

    def run(seeds):
        torch.set_num_threads(number)
        return sample(seeds)

    return run


def in_batches(sample: Callable, seeds: np.ndarray) -> Callable[[], None]:
    """Return a function that samples all seeds, batch by batch."""

    def run():
        for start in range(0, len(seeds), BATCH):
            sample(seeds[start : start + BATCH])

    return run


def call_with(walk: Callable, seeds: np.ndarray) -> Callable[[], object]:
    return lambda: walk(seeds)


def print_shares(neighbors: Heat, walks: Heat, reads: Heat) -> None:
    """Print how much of the machine's random reads the kernels use, in two ways of counting.

    A hop reads one place among the edges, and before that the offsets of its node. "Edges alone"
    takes offsets for free, as if they lay in the first cache; "all reads" compares the time with
    that of the reads of all arrays, each at its own limit. The first hops of a seed's many walks
    read one and the same row: they count as one hop.
    """
    chance = 1 - NEIGHBORS["restart_probability"]
    traversals = NEIGHBORS["num_walks"] * sum(chance**t for t in range(NEIGHBORS["walk_length"]))
    hops = {"neighbors": (1 + traversals - NEIGHBORS["num_walks"], traversals)}
    hops["plain walks"] = (0.5, 0.5)  # of a step: from pins, from boards
    limit = {name: time / reads.work for name, time in reads.medians().items()}
    for title, heat in (("neighbors", neighbors), ("plain walks", walks)):
        taken = {name: time / heat.work for name, time in heat.medians().items()}
        for ours, threads in (("pingraph", "1 thread"), ("pingraph, 2 threads", "2 threads")):
            pins, boards = hops[title]
            edges = (pins + boards) * limit[f"edges, {threads}"]
            offsets = pins * limit[f"offsets of pins, {threads}"]
            offsets += boards * limit[f"offsets of boards, {threads}"]
            Console().print(
                f"{title}, {threads}: {edges / taken[ours]:.0%} of the machine's limit by reads of "
                f"edges alone, {(edges + offsets) / taken[ours]:.0%} by all reads"
            )
        gain = taken["pingraph"] / taken["pingraph, 2 threads"]
        machine = limit["edges, 1 thread"] / limit["edges, 2 threads"]
        Console().print(
            f"{title}: two threads gain {gain:.2f}, the machine's reads {machine:.2f}: "
            f"{gain / machine:.0%} of it"
        )


if __name__ == "__main__":
    main()
