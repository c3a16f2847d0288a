"""One cell of an experiment, as a process of its own: `python -m pingraph.experiment.cell`.

A cell that is trained is prepared here, trained by `pingraph fit` and judged here; any other is
judged at once. What is asked for stands in cell.json.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pingraph.cores import cores
from pingraph.datasets import open_dataset
from pingraph.errors import PinGraphError
from pingraph.evaluation import PARTS, Evaluation, evaluate_scorers, table_scorers
from pingraph.experiment.parts import Condition, Method, Trial, built
from pingraph.experiment.plan import KEPT, Cell
from pingraph.files import atomic_file, read_json, write_json
from pingraph.fingerprint import fingerprint
from pingraph.metrics import METRICS
from pingraph.propagation import Propagation
from pingraph.ranking import Scorer
from pingraph.run_files import CHECKPOINT_FILE, SPLIT_FILE
from pingraph.splits import Split

CELL_FILE, JUDGED_FILE, QUERIES_FILE, MADE_FILE, DATA_FOLDER = (
    "cell.json",
    "judged.json",
    "queries.parquet",
    "made.json",
    "data",
)
LIBRARIES = ("pingraph", "torch", "lightning", "torch-geometric", "transformers", "numpy", "scipy")


def prepare(folder: Path, started: float) -> None:
    """Write what `pingraph fit` needs for a cell: its split, and its data where that is changed.

    A tower that the data has nothing for answers nothing: then the cell is finished here.

    Args:
        folder: of the cell.
        started: see `judge`.

    Raises:
        PinGraphError: the data or the condition is wrong, or gives another split than the one that
            the cell's training was begun with.
    """
    cell, trial = _opened(folder)
    path, now = folder / SPLIT_FILE, split_fingerprint(trial.split)
    begun = path.exists() and (folder / CHECKPOINT_FILE).exists()
    if begun and split_fingerprint(Split.load(path)) != now:
        raise PinGraphError(f"{folder} was begun with another split: remove it")
    trial.split.save(path)
    has = {"image": trial.dataset.has_image.any(), "text": trial.dataset.has_text.any()}
    if not has.get(cell.embedding, True):
        _finish(folder, trial, judged({}, trial, warm_only=False, seed=cell.seed), started)


def judge(folder: Path, started: float) -> None:
    """Judge a cell; a method that is no `pingraph fit` learns what it learns first.

    Writes judged.json, queries.parquet and, last, made.json, which says that the cell is finished.

    Args:
        folder: of the cell.
        started: when the cell was begun, in seconds since 1970.

    Raises:
        PinGraphError: something is missing or wrong, or a score is not finite.
    """
    cell, trial = _opened(folder)
    if cell.is_fit:
        trained_in = read_json(folder / CELL_FILE)["trained_in"]
        scorers, warm_only = _of_run(folder / trained_in, cell, trial), False
    else:
        method: Method = built(cell.made_by, "scorers", str(folder / CELL_FILE))
        trial.split.check_leaks(trial.dataset)
        scorers = method.scorers(trial.dataset, trial.split, seed=cell.seed)
        warm_only = getattr(method, "warm_only", False)
    found = judged(scorers, trial, warm_only=warm_only, seed=cell.seed)
    _finish(folder, trial, found, started)


def judged(
    scorers: Mapping[str, Scorer], trial: Trial, *, warm_only: bool, seed: int
) -> Evaluation:
    """Evaluate scorers under a trial.

    Cold pins rank all pins; warm ones rank the warm ones, since a method that knows pins by their
    saves could not find others.

    Args:
        scorers: by task.
        trial: what they may have seen, and by what they are judged.
        warm_only: ask only pins that have a save in training.
        seed: of intervals, and of queries where there are very many.
    """
    warm = trial.judge.warm_pins(trial.truth.graph)
    candidates = warm if trial.candidates is None else trial.candidates
    return evaluate_scorers(
        scorers,
        trial.truth,
        trial.judge,
        seed=seed,
        queries=trial.queries,
        known=trial.split.warm_pins(trial.dataset.graph) if warm_only else None,
        candidates={"warm": candidates},
    )


def query_table(found: Evaluation, trial: Trial) -> pa.Table:
    """Return what each query got: part, task, id of the pin or board, its saves and KEPT metrics.

    `saves` are those of the pin, or pins of the board, in training.
    """
    graph = trial.split.train_graph(trial.dataset.graph)
    columns = [METRICS.index(name) for name in KEPT]
    tables = []
    for part in PARTS:
        for task, result in getattr(found, part).items():
            if result is None or not len(result.queries):
                continue
            boards = task == "board_to_pins"
            ids = (trial.truth.board_ids if boards else trial.truth.pin_ids)[result.queries]
            degrees = (graph.board_degrees if boards else graph.pin_degrees)[result.queries]
            values = dict(zip(KEPT, result.values[:, columns].T, strict=True))
            place = {"part": [part] * len(ids), "task": [task] * len(ids)}
            query = {"query": [str(one) for one in ids.tolist()], "saves": degrees}
            tables.append(pa.table({**place, **query, **values}))
    empty: dict[str, list] = {
        "part": [],
        "task": [],
        "query": [],
        "saves": [],
        **{name: [] for name in KEPT},
    }
    return pa.concat_tables(tables) if tables else pa.table(empty)


def _finish(folder: Path, trial: Trial, found: Evaluation, started: float) -> None:
    write_json(folder / JUDGED_FILE, found.to_dict())
    with atomic_file(folder / QUERIES_FILE) as temporary:
        pq.write_table(query_table(found, trial), temporary)
    asked = read_json(folder / CELL_FILE)
    made = {
        **asked["started"],
        "continued": asked["continued"],
        "trained_in": asked["trained_in"],
        "seconds": round(time.time() - started, 1),
        "threads": int(os.environ.get("OMP_NUM_THREADS", 0)) or None,
        "machine": f"{platform.machine()}, {cores()} cores",
        "versions": {name: importlib.metadata.version(name) for name in LIBRARIES},
        "python": platform.python_version(),
        "data": trial.dataset.fingerprint,
        "split": split_fingerprint(trial.split),
        "judge": split_fingerprint(trial.judge),
    }
    write_json(folder / MADE_FILE, made)


def split_fingerprint(split: Split) -> str:
    """Return the sha256 of what a split trains on."""
    return fingerprint({"train_edges": split.train_edges, "train_pins": split.train_pins})


def seen_data(cell: Cell, folder: Path) -> str:
    """Return the name or folder of the data that a cell is trained on."""
    changed = folder / DATA_FOLDER
    return str(changed.resolve()) if changed.exists() else cell.source


def _opened(folder: Path) -> tuple[Cell, Trial]:
    cell = Cell(**read_json(folder / CELL_FILE)["cell"])
    dataset = open_dataset(cell.source)
    condition: Condition = built(cell.under, "trial", str(folder / CELL_FILE))
    return cell, condition.trial(dataset, folder / DATA_FOLDER, seed=cell.seed)


def _of_run(folder: Path, cell: Cell, trial: Trial) -> Mapping[str, Scorer]:
    from pingraph.runs import Run
    from pingraph.views import View

    run = Run.open(folder)
    trained = run.data["fingerprint"], split_fingerprint(run.split)
    if trained != (trial.dataset.fingerprint, split_fingerprint(trial.split)):
        raise PinGraphError(f"{folder} was trained on other data or another split: remove it")
    table = run.embed(trial.dataset)
    view = View(**cell.served) if cell.served else None
    if cell.embedding == "fused":
        scorers = table_scorers(table, trial.dataset, trial.split, view)
        if cell.propagation is not None:
            graph = trial.split.train_graph(trial.dataset.graph)
            added = Propagation(**cell.propagation)
            moved = added.vectors(table.fused, graph, seed=cell.seed)
            scorers["pin_to_pin"] = added.scorer(moved, graph, seed=cell.seed)
        return scorers
    alone = replace(table, fused=getattr(table, cell.embedding))
    scorers = table_scorers(alone, trial.dataset, trial.split, view)
    return {task: scorers[task] for task in ("pin_to_pin", "board_to_pins")}


def main(step: str, folder: str, started: str) -> None:
    """Do a step of a cell, "prepare" or "judge"; errors end with 2."""
    try:
        {"prepare": prepare, "judge": judge}[step](Path(folder), float(started))
    except PinGraphError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main(*sys.argv[1:])
