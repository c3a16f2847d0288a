"""Race the building and opening of a graph against SciPy, DGL and NumPy, one thread each.

python experiments/benchmarks/graph.py [--quick] [--edges N] [--rounds N] [--json FILE]

The edges are shuffled pairs of integers with power-law degrees, a few of them twice. Who builds
starts from the same arrays and ends with sorted neighbors both ways, duplicates merged. Who opens
finds its files in the page cache.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("DGLBACKEND", "pytorch")

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import sparse

from pingraph.experiments.benchmarks.common import (
    Heat,
    parse_arguments,
    peak_memory,
    race,
    report,
)
from pingraph.graph import PinBoardGraph


def main() -> None:
    arguments = parse_arguments(__doc__, edges=20_000_000, rounds=5)
    if arguments.quick:
        arguments.edges, arguments.rounds = min(arguments.edges, 1_000_000), 3
    columns = draw_edges(arguments.edges)
    with tempfile.TemporaryDirectory() as folder:
        heats = [
            race_builders(*columns[:2], rounds=arguments.rounds),
            race_weighted_builders(*columns, rounds=arguments.rounds),
            race_openers(PinBoardGraph.from_edges(*columns), Path(folder), arguments.rounds),
        ]
    report(heats, arguments)


def draw_edges(num_edges: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return pins, boards and weights: about num_edges / 10 pins and num_edges / 40 boards."""
    rng = np.random.default_rng(0)
    pins = (num_edges // 10 * rng.random(num_edges) ** 2).astype(np.int64)
    boards = (num_edges // 40 * rng.random(num_edges) ** 3).astype(np.int64)
    return pins, boards, rng.random(num_edges, dtype=np.float32) + np.float32(0.1)


def race_builders(pins: np.ndarray, boards: np.ndarray, *, rounds: int) -> Heat:
    """Build without weights; SciPy needs values, so it gets the smallest."""
    contestants = {
        "pingraph": lambda: PinBoardGraph.from_edges(pins, boards),
        "scipy coo → csr, csc": lambda: scipy_both_ways(pins, boards, np.ones(len(pins), np.bool_)),
    }
    if dgl := dgl_builder(pins, boards):
        contestants["dgl heterograph, to_simple"] = dgl
    return race_with_memory("build from edges", contestants, len(pins), rounds)


def race_weighted_builders(
    pins: np.ndarray, boards: np.ndarray, weights: np.ndarray, *, rounds: int
) -> Heat:
    """Build with weights that add up where an edge occurs twice."""
    contestants = {
        "pingraph": lambda: PinBoardGraph.from_edges(pins, boards, weights),
        "scipy coo → csr, csc": lambda: scipy_both_ways(pins, boards, weights),
    }
    return race_with_memory("build from edges with weights", contestants, len(pins), rounds)


def race_openers(graph: PinBoardGraph, folder: Path, rounds: int) -> Heat:
    """Open what was saved; who maps reads nothing yet, who loads reads all."""
    ours = folder / "graph"
    graph.save(ours)
    arrays = sorted(ours.glob("*.npy"))
    matrix = graph.incidence()
    matrices = {folder / "csr.npz": matrix, folder / "csc.npz": matrix.tocsc()}
    for path, value in matrices.items():
        sparse.save_npz(path, value, compressed=False)
    contestants = {
        "pingraph": lambda: PinBoardGraph.open(ours),
        "pingraph, verify": lambda: PinBoardGraph.open(ours, verify=True),
        "numpy, mapped": lambda: [np.load(path, mmap_mode="r") for path in arrays],
        "numpy, loaded": lambda: [np.load(path) for path in arrays],
        "scipy load_npz": lambda: [sparse.load_npz(path) for path in matrices],
    }
    notes = {
        "pingraph": "checks sizes, headers and samples",
        "pingraph, verify": "checks every byte and edge",
        "numpy, mapped": "the same files, unchecked",
        "numpy, loaded": "the same files, unchecked",
        "scipy load_npz": "CSR and CSC without ids, unchecked",
    }
    title = f"open a saved graph of {graph.num_edges:,} edges"
    return race(title, contestants, rounds=rounds, work=1, unit="graphs", notes=notes)


def race_with_memory(
    title: str, contestants: dict[str, Callable[[], object]], num_edges: int, rounds: int
) -> Heat:
    """Race, and note the most memory each needs beyond what it is given."""
    notes = {}
    for name, run in contestants.items():
        run()
        notes[name] = f"peak {peak_memory(run) / num_edges:.1f} bytes an edge"
    title = f"{title}: {num_edges:,} rows"
    return race(title, contestants, rounds=rounds, work=num_edges, unit="edges", notes=notes)


def scipy_both_ways(pins: np.ndarray, boards: np.ndarray, values: np.ndarray) -> tuple:
    """Return the matrix by rows and by columns, duplicates summed and indices sorted."""
    by_pin = sparse.coo_array((values, (pins, boards))).tocsr()
    by_pin.sum_duplicates()
    return by_pin, by_pin.tocsc()


def dgl_builder(pins: np.ndarray, boards: np.ndarray) -> Callable[[], object] | None:
    """Return a function that builds DGL's heterograph, or None where DGL cannot be imported."""
    try:
        import dgl
    except (ImportError, OSError):
        return None
    import torch

    torch.set_num_threads(1)
    edges = (torch.from_numpy(pins), torch.from_numpy(boards))

    def build() -> object:
        graph = dgl.to_simple(dgl.heterograph({("pin", "in", "board"): edges}), return_counts=None)
        graph = graph.formats(["csr", "csc"])
        graph.create_formats_()
        return graph

    return build


if __name__ == "__main__":
    main()
