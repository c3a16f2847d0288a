"""Race the exact search for neighbors against faiss and a bare product; time the metrics.

python experiments/benchmarks/neighborhoods.py [--quick] [--pins N] [--dimensions D] [--json FILE]

The vectors are random ones around the centers of boards, at length 1. Threads are those that
OMP_NUM_THREADS gives to BLAS and faiss, and as many for our selection. "pingraph" scores each pair
of pins once; "pingraph, queries" scores every query with every pin, as the others do.
"""

from collections.abc import Callable, Mapping
from statistics import median

import faiss
import numba
import numpy as np
from rich.console import Console
from scipy.stats import skew
from sklearn.manifold import trustworthiness
from threadpoolctl import threadpool_info

from pingraph.experiments.benchmarks.common import (
    Heat,
    finish,
    grown,
    once_with_memory,
    parse_arguments,
    peak_of_run,
    race,
    show,
)
from pingraph.geometry import geometry, hubness
from pingraph.geometry_intervals import geometry_intervals
from pingraph.graph import PinBoardGraph
from pingraph.graph_agreement import graph_agreement
from pingraph.graph_ranks import ranks_kept
from pingraph.interfaces import EmbeddingTable
from pingraph.knn import Knn, nearest_neighbors
from pingraph.samplers import PinSAGESampler

K = 10
BLOCK = 2048
PEERS = 2_000  # pins for metrics that the peers hold as a matrix of all pairs
QUERIES = 10_000  # whose time is scaled up; more would only take longer
SAMPLE = 20_000  # pins from which the uniformity is taken
EXACT = 200_000  # pins whose geometry is timed over all pairs too: a million take an hour


def main() -> None:
    sizes = {"pins": 1_000_000, "dimensions": 256, "degree": 20, "rounds": 3}
    arguments = parse_arguments(__doc__, **sizes)
    if arguments.quick:
        arguments.pins, arguments.rounds = 20_000, 5
    threads = max(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
    numba.config.NUMBA_NUM_THREADS = threads
    faiss.omp_set_num_threads(threads)
    Console().print(f"{threads} thread{'s' * (threads > 1)}; faiss {faiss.__version__}")
    table, graph = made_up(arguments.pins, arguments.dimensions, arguments.degree)
    searches, knn = race_searches(table.fused, arguments.rounds)
    show(searches)
    heats = [time_metrics(table, graph, knn), *race_metrics(arguments.dimensions)]
    for heat in heats:
        show(heat)
    finish([searches, *heats], arguments)
    for name in ("pingraph", "pingraph, queries"):
        pairs = zip(searches.seconds["bare product"], searches.seconds[name], strict=True)
        share = median(bare / ours for bare, ours in pairs)
        Console().print(f"{name}: {share:.0%} of the throughput of the bare product")
    Console().print(f"peak memory of the run, the peers' included: {peak_of_run() / 1e9:.2f} GB")


def made_up(pins: int, dimensions: int, degree: int) -> tuple[EmbeddingTable, PinBoardGraph]:
    """Return pins near the center of a first board, and on `degree` - 1 boards at random."""
    generator = np.random.default_rng(0)
    count = max(2, pins // 20)
    first = generator.integers(count, size=pins)
    boards = np.append(first, generator.integers(count, size=pins * (degree - 1)))
    graph = PinBoardGraph.from_edges(np.resize(np.arange(pins), len(boards)), boards)
    centers = generator.standard_normal((count, dimensions), np.float32)

    def near_centers() -> np.ndarray:
        vectors = generator.standard_normal((pins, dimensions), np.float32)
        vectors += centers[first]
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors

    everyone = np.ones(pins, np.bool_)
    table = EmbeddingTable(
        pin_ids=graph.pin_ids,
        image=near_centers(),
        text=near_centers(),
        fused=near_centers(),
        has_image=everyone,
        has_text=everyone,
    )
    return table, graph


def race_searches(vectors: np.ndarray, rounds: int) -> tuple[Heat, Knn]:
    """Race for the neighbors of all pins; who asks one by one is timed on some and scaled up.

    The search for all runs once a round, no more: among a million pins it takes an hour.
    """
    count = len(vectors)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    asked = np.arange(min(count, QUERIES))
    found = {}

    def ours() -> None:
        found["knn"], found["memory"] = grown(lambda: nearest_neighbors(vectors, K, block=BLOCK))

    runs = {
        "pingraph": ours,
        "pingraph, queries": lambda: nearest_neighbors(vectors, K, block=BLOCK, queries=asked),
        "bare product": lambda: bare_product(vectors[asked], vectors),
        "faiss Flat": lambda: index.search(vectors[asked], K + 1),
    }
    nearest_neighbors(vectors[: 2 * BLOCK], K, block=BLOCK)  # compiles
    title = f"{K} nearest neighbors of {count:,} pins, {vectors.shape[1]} dimensions"
    heat = race(title, runs, rounds=rounds, work=count, unit="queries", warm_up=False)
    scale = {name: 1.0 if name == "pingraph" else count / len(asked) for name in runs}
    seconds = {name: [t * scale[name] for t in times] for name, times in heat.seconds.items()}
    some = "" if len(asked) == count else f"timed on {len(asked):,} queries"
    notes = {**dict.fromkeys(runs, some), "pingraph": f"{found['memory'] / 1e6:,.0f} MB"}
    heat = Heat(title=title, seconds=seconds, work=count, unit="queries", notes=notes)
    return heat, found["knn"]


def bare_product(left: np.ndarray, right: np.ndarray) -> None:
    """Multiply all rows with all rows, in the blocks of our search, into one buffer."""
    buffer = np.empty(BLOCK * BLOCK, np.float32)
    for first in range(0, len(left), BLOCK):
        rows = left[first : first + BLOCK]
        for start in range(0, len(right), BLOCK):
            columns = right[start : start + BLOCK]
            out = buffer[: len(rows) * len(columns)].reshape(len(rows), len(columns))
            np.matmul(rows, columns.T, out=out)


def time_metrics(table: EmbeddingTable, graph: PinBoardGraph, knn: Knn) -> Heat:
    """Time the metric set, neighbors given; the memory is what comes on top of the table."""
    pins = np.arange(graph.num_pins)
    sampler = PinSAGESampler(k=K, num_threads=numba.config.NUMBA_NUM_THREADS)
    walks = sampler.sample(graph, pins, seed=0)
    values = geometry(table, graph, knn, sample=SAMPLE)
    runs = {
        "geometry": lambda: geometry(table, graph, knn),
        "geometry, a sample": lambda: geometry(table, graph, knn, sample=SAMPLE),
        "its intervals": lambda: geometry_intervals(values, table, graph, knn, sample=SAMPLE),
        "walk neighbors": lambda: sampler.sample(graph, pins, seed=0),
        "graph agreement": lambda: graph_agreement(table, graph, knn, walks),
    }
    if graph.num_pins > EXACT:
        del runs["geometry"]
    title = f"Metrics of {graph.num_pins:,} pins, {graph.num_edges:,} edges"
    return once_with_memory(title, runs, work=graph.num_pins, unit="pins")


def race_metrics(dimensions: int) -> list[Heat]:
    """Race against the peers on few pins, since theirs want a matrix of all pairs."""
    table, graph = made_up(PEERS, dimensions, 4)
    vectors, pins = table.fused, np.arange(PEERS)
    knn = nearest_neighbors(vectors, K)
    near = (vectors @ vectors.T).astype(np.float64)
    distances = np.argsort(np.argsort(-near, axis=1), axis=1).astype(np.float64)
    counts = np.bincount(knn.ids.ravel(), minlength=PEERS)
    title = "Trustworthiness; ours with the walks in the graph, the peer's distances given"
    return [
        contest(
            title,
            {
                "pingraph": lambda: ranks_kept(vectors, graph, pins, K),
                "scikit-learn": lambda: trustworthiness(
                    distances, vectors, n_neighbors=K, metric="precomputed"
                ),
            },
        ),
        contest(
            "Hubness; SciPy's of the counts alone",
            {
                "pingraph": lambda: hubness(knn, np.ones(PEERS, np.bool_)),
                "SciPy skew": lambda: skew(counts),
            },
        ),
    ]


def contest(title: str, runs: Mapping[str, Callable[[], object]]) -> Heat:
    return race(f"{title}; {PEERS:,} pins", runs, rounds=3, work=PEERS, unit="pins")


if __name__ == "__main__":
    main()
