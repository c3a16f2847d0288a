"""How long a new process takes from its start to its first batch of neighbors, on a saved graph."""

import subprocess
import sys
import tempfile
from pathlib import Path

from pingraph.experiments.benchmarks.common import Heat, race
from pingraph.graph import PinBoardGraph

_PINGRAPH = """
from sys import argv
import numpy as np
from pingraph.graph import PinBoardGraph
from pingraph.samplers import PinSAGESampler
graph = PinBoardGraph.open(argv[1])
seeds = np.random.default_rng(0).integers(0, graph.num_pins, 1024)
assert PinSAGESampler(k=10, num_walks=100).sample(graph, seeds, seed=0).mask.any()
"""
_DGL = """
from sys import argv
import numpy as np
import torch
import dgl
mixed = dgl.load_graphs(argv[1] + ".dgl")[0][0]
sampler = dgl.sampling.PinSAGESampler(mixed, "pin", "board", 2, 0.5, 100, 10)
seeds = np.random.default_rng(0).integers(0, mixed.num_nodes("pin"), 1024)
assert sampler(torch.from_numpy(seeds).int()).num_edges()
"""


def race_first_batch(graph: PinBoardGraph, rounds: int) -> Heat:
    """Race new Python processes, each of which opens the saved graph and samples 1,024 seeds.

    The round that is not counted compiles our kernels, once for all later processes.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph"
        graph.save(path)
        contestants = {"pingraph": process(_PINGRAPH, path)}
        if save_for_dgl(graph, path):
            contestants["DGL, int32"] = process(_DGL, path)
        title = f"A new process to its first batch, {graph.num_edges:,} edges"
        return race(title, contestants, rounds=rounds, work=1, unit="processes")


def process(code: str, path: Path):
    return lambda: subprocess.run([sys.executable, "-c", code, str(path)], check=True)


def save_for_dgl(graph: PinBoardGraph, path: Path) -> bool:
    """Save DGL's own form of the graph beside ours; return whether DGL is there."""
    try:
        import dgl
        import torch
    except ImportError:
        return False
    pins, boards = (torch.from_numpy(side.copy()).int() for side in graph.edges())
    both = {("pin", "on", "board"): (pins, boards), ("board", "holds", "pin"): (boards, pins)}
    counts = {"pin": graph.num_pins, "board": graph.num_boards}
    mixed = dgl.heterograph(both, num_nodes_dict=counts, idtype=torch.int32).formats("csr")
    mixed.create_formats_()
    dgl.save_graphs(f"{path}.dgl", [mixed])
    return True
