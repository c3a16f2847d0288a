"""Time the measures that ask queries, of a million pins: retrieval, popularity, stability, served.

python experiments/benchmarks/retrieval.py [--quick] [--pins N] [--queries Q] [--json FILE]

The vectors are those of `neighborhoods`: random ones around the centers of boards, at length 1. A
fifth of the pins is cold. Every image and every text is another, so that all tasks can be asked; no
image is ever decoded. Whole corpora are ranked, for Q drawn queries of each task and part.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from pingraph.approximate import recall_speed
from pingraph.datasets import PinBoardDataset, open_dataset
from pingraph.evaluation import evaluate_table
from pingraph.experiments.benchmarks.common import (
    Heat,
    finish,
    once_with_memory,
    parse_arguments,
    peak_of_run,
    show,
)
from pingraph.experiments.benchmarks.neighborhoods import made_up
from pingraph.graph import PinBoardGraph
from pingraph.interfaces import EmbeddingTable
from pingraph.popularity import popularity
from pingraph.served import served_quality
from pingraph.splits import PinSplit
from pingraph.stability import stability
from pingraph.views import View

DEGREE = 4  # boards of a pin: 80 pins on each, as boards of more than 200 are asked nothing


def main() -> None:
    arguments = parse_arguments(__doc__, pins=1_000_000, queries=1_000, dimensions=256)
    if arguments.quick:
        arguments.pins, arguments.queries = 20_000, 200
    table, graph = made_up(arguments.pins, arguments.dimensions, DEGREE)
    with tempfile.TemporaryDirectory() as name:
        heat = time_measures(table, write(Path(name), graph), arguments.queries)
    show(heat)
    finish([heat], arguments)
    Console().print(f"peak memory of the run: {peak_of_run() / 1e9:.2f} GB")


def write(folder: Path, graph: PinBoardGraph) -> PinBoardDataset:
    """Write the pins of a graph with a text and bytes for an image each, and open them."""
    pins, boards = graph.edges()
    texts = np.char.add("pin ", graph.pin_ids.astype(str))
    tables = {
        "pins": {"pin_id": graph.pin_ids, "text": texts, "image": texts.astype(bytes)},
        "boards": {"board_id": graph.board_ids, "title": graph.board_ids.astype(str)},
        "edges": {"pin_id": graph.pin_ids[pins], "board_id": graph.board_ids[boards]},
    }
    for name, columns in tables.items():
        made = {column: pa.array(values.tolist()) for column, values in columns.items()}
        pq.write_table(pa.table(made), folder / f"{name}.parquet")
    return open_dataset(folder)


def time_measures(table: EmbeddingTable, dataset: PinBoardDataset, queries: int) -> Heat:
    """Time each measure once; memory is what comes on top of the vectors and the data set."""
    split = PinSplit(fraction=0.2, seed=0).split(dataset)
    evaluation = evaluate_table(table, dataset, split, max_queries=queries)
    other = replace(table, fused=table.image)

    def served(view: View) -> None:
        given = {"evaluation": evaluation, "max_queries": queries}
        served_quality(table, dataset, split, [view], **given)

    def approximate() -> None:
        given = {"factory": "IVF1024,SQ8", "parameter": "nprobe", "max_queries": queries}
        recall_speed(table, dataset, split, **given)

    runs = {
        "retrieval, all tasks and parts": lambda: evaluate_table(
            table, dataset, split, max_queries=queries
        ),
        "popularity": lambda: popularity(table, dataset, split, evaluation),
        "stability": lambda: stability(table, other, max_queries=queries, seed=0),
        "served as int8": lambda: served(View(code="int8")),
        "served as binary": lambda: served(View(code="binary")),
        "approximate search (IVF1024,SQ8)": approximate,
    }
    title = f"{dataset.num_pins:,} pins, {table.fused.shape[1]} dimensions, {queries:,} queries"
    return once_with_memory(title, runs, work=queries, unit="queries")


if __name__ == "__main__":
    main()
