"""`pingraph evaluate`: how well embeddings find what belongs together, printed and written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pingraph.evaluation import evaluate_scorers, table_scorers
from pingraph.files import write_json
from pingraph.grid import example_queries, grid_rows, save_grid
from pingraph.propagation import Propagation
from pingraph.results import metrics_sheet, print_sheet
from pingraph.run_files import GRID_FILE, METRICS_FILE

if TYPE_CHECKING:
    from pingraph.subject import Subject

_EXAMPLES = 8  # queries in the picture
_WALKS = "Walks on the training graph are added: of warm pins they know the training edges."


def judge(subject: Subject, folder: Path | None, *, seed: int, walks: bool = False) -> None:
    """Evaluate embeddings and print their table; write metrics.json and neighbors.png.

    Args:
        subject: the embeddings.
        folder: where the files go; None writes none.
        seed: of the intervals and of drawn queries.
        walks: whether walks on the training graph are added (`Propagation`).

    Raises:
        PinGraphError: a file cannot be written; the table is printed first.
    """
    table, dataset, split = subject.table, subject.dataset, subject.split
    scorers = table_scorers(table, dataset, split)
    if walks:
        added, graph = Propagation(), split.train_graph(dataset.graph)
        table = replace(table, fused=added.vectors(table.fused, graph, seed=seed))
        scorers["pin_to_pin"] = added.scorer(table.fused, graph, seed=seed)
    metrics = evaluate_scorers(scorers, dataset, split, seed=seed).to_dict()
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
        notes = [*sheet.notes, *([_WALKS] if walks else []), *subject.notes]
        print_sheet(replace(sheet, notes=notes))
    print(*written, sep="\n", end="\n" if written else "")
