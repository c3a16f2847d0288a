"""What the subcommands of `pingraph` do; their signatures are the command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pingraph.errors import PinGraphError

if TYPE_CHECKING:
    from pingraph.datasets import PinBoardDataset
    from pingraph.interfaces import EmbeddingTable
    from pingraph.runs import Run


def inspect(folder: str) -> None:
    """Tell what is in a data set folder, and everything that is wrong with it.

    Every image is decoded. Exits with 2 where something keeps the folder from being used.

    Args:
        folder: a folder of pins.parquet, boards.parquet and edges.parquet; or 'icons' or 'world'.
    """
    from pingraph.inspection import inspect_folder

    found = inspect_folder(folder)
    print(found)
    if found.errors:
        sys.exit(2)


def icons(out: Path) -> None:
    """Write the built-in data set of icons as a folder.

    Icons of Font Awesome, drawn; their labels; search terms and categories as boards.

    Args:
        out: the new folder.
    """
    from pingraph.icons import make_icons

    make_icons(out)
    print(out)


def evaluate(run: Path, seed: int = 0) -> None:
    """Rank the full corpus with a run's embeddings, write metrics.json and print the table.

    Tasks: pin → pin (board-mates), image → text and text → image; cold and warm pins apart. An
    image of example queries and their nearest pins goes to neighbors.png.

    Args:
        run: a run folder of `pingraph fit`.
        seed: of the bootstrap intervals, and of the queries where there are very many.
    """
    from pingraph.evaluation import evaluate_table
    from pingraph.files import write_json
    from pingraph.grid import example_queries, grid_rows, save_grid
    from pingraph.results import metrics_sheet, print_sheet
    from pingraph.run_files import GRID_FILE, METRICS_FILE
    from pingraph.runs import Run

    trained = Run.open(run)
    dataset = trained.dataset()
    table = trained.embed(dataset, progress=True)
    metrics = evaluate_table(table, dataset, trained.split, seed=seed).to_dict()
    write_json(run / METRICS_FILE, metrics)
    print_sheet(metrics_sheet(metrics))
    print(run / METRICS_FILE)
    queries = example_queries(dataset, trained.split, 8, seed=seed)
    if len(queries):
        rows = grid_rows(table, dataset, queries)
        save_grid(run / GRID_FILE, dataset, rows, f"{dataset.name}: nearest pins in {run.name}")
        print(run / GRID_FILE)


def embed(run: Path, data: str, out: Path) -> None:
    """Embed every pin of a data set and write a Parquet file.

    Columns: pin_id, and image, text and fused as lists of numbers. Only pins.parquet is needed: an
    embedding depends on a pin's content alone.

    Args:
        run: a run folder of `pingraph fit`.
        data: a data set folder, or 'icons' or 'world'.
        out: the Parquet file to write.
    """
    from pingraph.datasets import open_dataset
    from pingraph.embeddings import write_embeddings
    from pingraph.runs import Run

    trained = Run.open(run)
    table = trained.embed(open_dataset(data, pins_only=True), progress=True)
    write_embeddings(out, table)
    print(f"{len(table.pin_ids):,} pins in {table.fused.shape[1]} dimensions: {out}")


def neighbors(
    run: Path,
    pin_id: str | None = None,
    text: str | None = None,
    image: Path | None = None,
    k: int = 10,
    out: Path | None = None,
) -> None:
    """List the pins that are nearest to a pin, a text or an image.

    Args:
        run: a run folder of `pingraph fit`.
        pin_id: a pin of the data set that the run was trained on.
        text: words to search with, instead of a pin.
        image: an image file to search with, instead of a pin.
        k: how many to list.
        out: draw a pin and its nearest pins as a PNG file too.
    """
    from pingraph.runs import Run

    if [pin_id, text, image].count(None) != 2:
        raise PinGraphError("give one of: a pin's id, --text or --image")
    if out is not None and pin_id is None:
        raise PinGraphError("--out draws the neighbors of a pin: give a pin's id")
    trained = Run.open(run)
    dataset = trained.dataset()
    table = trained.embed(dataset, progress=True)
    if pin_id is None:
        _list(dataset, table, _search_vector(trained, text, image), k)
    else:
        _list_of_pin(dataset, table, pin_id, k, out)


def demo(data: str = "icons", seed: int = 0, out: Path = Path("runs/demo")) -> None:
    """Train with and without the graph on the same budget, and show what the graph taught.

    Trains twice on one split (a fifth of the pins is cold: held out with all their edges), ranks
    the full corpus with both, and prints them side by side with cheap baselines. Writes both run
    folders, comparison.json and neighbors.png.

    Args:
        data: a data set folder, or 'icons' or 'world'.
        seed: of the split, the training and the intervals.
        out: the new folder to write to.
    """
    from pingraph.experiments.demo import run_demo

    run_demo(data, seed, out)


def _search_vector(run: Run, text: str | None, image: Path | None) -> np.ndarray:
    from pingraph.queries import image_content, text_content

    if text is not None:
        return run.embed_content(text_content(run, text)).text.numpy()
    assert image is not None
    return run.embed_content(image_content(run, image)).image.numpy()


def _list_of_pin(
    dataset: PinBoardDataset, table: EmbeddingTable, pin_id: str, k: int, out: Path | None
) -> None:
    from pingraph.embeddings import find_rows
    from pingraph.grid import grid_rows, save_grid

    rows = find_rows(table, [pin_id])
    print(f"nearest to {dataset.texts[rows[0]] or pin_id}")
    _list(dataset, table, table.fused[rows], k, exclude=rows)
    if out is not None:
        save_grid(out, dataset, grid_rows(table, dataset, rows, k=k), f"nearest to {pin_id}")
        print(out)


def _list(
    dataset: PinBoardDataset,
    table: EmbeddingTable,
    vector: np.ndarray,
    k: int,
    exclude: np.ndarray | None = None,
) -> None:
    from pingraph.embeddings import nearest

    found, scores = nearest(table, vector, k, exclude=exclude)
    rows = zip(found[0].tolist(), scores[0].tolist(), strict=True)
    for rank, (pin, score) in enumerate(rows, start=1):
        print(f"{rank:>4}  {score:.3f}  {dataset.pin_ids[pin]}  {dataset.texts[pin]}")
