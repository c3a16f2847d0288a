"""`pingraph evaluate`: how well embeddings find what belongs together, printed and written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pingraph.evaluation import evaluate_table
from pingraph.files import write_json
from pingraph.grid import example_queries, grid_rows, save_grid
from pingraph.results import metrics_sheet, print_sheet
from pingraph.run_files import GRID_FILE, METRICS_FILE

if TYPE_CHECKING:
    from pingraph.subject import Subject

_EXAMPLES = 8  # queries in the picture


def judge(subject: Subject, folder: Path | None, *, seed: int) -> None:
    """Evaluate embeddings and print their table; write metrics.json and neighbors.png.

    Args:
        subject: the embeddings.
        folder: where the files go; None writes none.
        seed: of the intervals and of drawn queries.

    Raises:
        PinGraphError: a file cannot be written; the table is printed first.
    """
    table, dataset, split = subject.table, subject.dataset, subject.split
    metrics = evaluate_table(table, dataset, split, seed=seed).to_dict()
    written = []
    try:
        if folder is not None:
            write_json(folder / METRICS_FILE, metrics)
            written.append(folder / METRICS_FILE)
            queries = example_queries(dataset, split, _EXAMPLES, seed=seed)
            queries = queries[table.fused[queries].any(axis=1)]
            if len(queries):
                rows = grid_rows(table, dataset, queries)
                title = f"{dataset.name}: nearest pins in {subject.name}"
                save_grid(folder / GRID_FILE, dataset, rows, title)
                written.append(folder / GRID_FILE)
    finally:  # a full disk shall not cost the figures
        sheet = metrics_sheet(metrics)
        print_sheet(replace(sheet, notes=[*sheet.notes, *subject.notes]))
    print(*written, sep="\n", end="\n" if written else "")
