"""The demo: one data set, one split, trained without and with the graph, side by side."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pingraph.baselines import baseline_scorers
from pingraph.datasets import open_dataset
from pingraph.errors import PinGraphError
from pingraph.evaluation import Evaluation, compare, evaluate_scorers, evaluate_table
from pingraph.files import atomic_file, check_new_folder, write_json
from pingraph.grid import example_queries, grid_rows, save_grid
from pingraph.results import METHODS as METHOD_NAMES
from pingraph.results import comparison_sheet, print_sheet, verdict
from pingraph.run_files import GRID_FILE, METRICS_FILE
from pingraph.runs import Run
from pingraph.splits import PinSplit

if TYPE_CHECKING:
    from pingraph.datasets import PinBoardDataset
    from pingraph.interfaces import EmbeddingTable
    from pingraph.splits import Split

WEIGHTS = {"image_text": 0.0, "joint": None}  # λ; None leaves it at its default
STEPS = 300  # a quarter of the default: who tries pingraph wants to see something in minutes
EXAMPLES = 6  # queries in the grid


def run_demo(data: str, seed: int, out: Path) -> dict[str, Any]:
    """Train both methods, compare them on cold and warm pins, and write what came out.

    Args:
        data: a data set folder, or "icons" or "world".
        seed: of the split, the training and the intervals.
        out: a new or empty folder; gets the run folders image_text and joint, comparison.json,
            comparison.md and neighbors.png.

    Returns:
        The content of comparison.json.

    Raises:
        PinGraphError: the data are wrong, or `out` is not empty or cannot be written.
    """
    check_new_folder(out)
    try:
        return _run(data, seed, out)
    except PinGraphError:
        # So that the same command can be typed again once the data are mended. A trained and
        # evaluated run is kept, as when the disk is full at last.
        if not any(out.glob(f"*/{METRICS_FILE}")):
            shutil.rmtree(out, ignore_errors=True)
        raise


def _run(data: str, seed: int, out: Path) -> dict[str, Any]:
    started = time.monotonic()
    dataset = open_dataset(data)
    print(dataset.graph.describe())
    split = PinSplit(seed=seed).split(dataset)
    baselines = _baselines(dataset, split, seed)  # first, since they meet every broken image
    evaluations, tables = {}, {}
    for method, neighbor_weight in WEIGHTS.items():
        print(f"\ntraining {method} …")
        run = _train(dataset, out / method, seed, neighbor_weight)
        tables[method] = run.embed(dataset, progress=True)
        evaluations[method] = evaluate_table(tables[method], dataset, split, seed=seed)
        write_json(run.folder / METRICS_FILE, evaluations[method].to_dict())
    comparison = compare(**evaluations, baselines=baselines, seed=seed)
    _write(out, dataset, split, tables, comparison, seed)
    print(f"\n{verdict(comparison)}\n\n{time.monotonic() - started:.0f} seconds in all. Written:")
    for path in sorted(out.iterdir()):
        print(f"  {path}")
    return comparison


def _train(dataset: PinBoardDataset, folder: Path, seed: int, neighbor_weight: float | None) -> Run:
    from pingraph.fit import fit

    args = [
        f"--seed_everything={seed}",
        f"--data.folder={dataset.folder}",
        f"--data.split.seed={seed}",
        f"--trainer.default_root_dir={folder}",
        f"--trainer.max_steps={STEPS}",
    ]
    if neighbor_weight is not None:
        args.append(f"--model.objective.neighbor_weight={neighbor_weight}")
    return Run.open(fit(args))


def _baselines(dataset: PinBoardDataset, split: Split, seed: int) -> dict[str, Evaluation]:
    return {
        name: evaluate_scorers(scorers, dataset, split, seed=seed)
        for name, scorers in baseline_scorers(dataset, split).items()
    }


def _write(
    out: Path,
    dataset: PinBoardDataset,
    split: Split,
    tables: dict[str, EmbeddingTable],
    comparison: dict[str, Any],
    seed: int,
) -> None:
    sheet = comparison_sheet(comparison)
    print_sheet(sheet)
    write_json(out / "comparison.json", comparison)
    with atomic_file(out / "comparison.md") as temporary:
        temporary.write_text(sheet.markdown(), encoding="utf-8")
    queries = example_queries(dataset, split, EXAMPLES, seed=seed)
    rows = [
        row
        for pair in zip(
            *(
                grid_rows(table, dataset, queries, label=METHOD_NAMES[method])
                for method, table in tables.items()
            ),
            strict=True,
        )
        for row in pair
    ]
    if rows:
        save_grid(out / GRID_FILE, dataset, rows, f"{dataset.name}: nearest pins of cold pins")
