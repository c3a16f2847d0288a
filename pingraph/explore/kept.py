"""The embeddings of a run, computed once and kept beside it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np

from pingraph.embeddings import check_table, read_embeddings, write_embeddings
from pingraph.errors import PinGraphError
from pingraph.run_files import EMBEDDINGS_FILE

if TYPE_CHECKING:
    from pathlib import Path

    from pingraph.datasets import PinBoardDataset
    from pingraph.interfaces import EmbeddingTable
    from pingraph.runs import Run

_PROBES = 64  # pins that are embedded again to see whether the file is still true
_TOLERANCE = 1e-3  # of a number; vectors have length 1, and a device rounds unlike another


def embed_once(run: Run, dataset: PinBoardDataset) -> EmbeddingTable:
    """Return the embeddings of the run's data set, from the file that keeps them if it is true.

    That is RUN/embeddings.parquet, and of an earlier checkpoint one of its name beside it.

    The file is true when it is of the same pins, and `_PROBES` of them, embedded now, come out as
    they stand there: so training that went on, or another code of the encoder, is noticed. Else all
    pins are embedded, with a progress bar, and the file is written anew. Where that cannot be, a
    line on standard error says so.

    Args:
        run: the run.
        dataset: its own, as `run.dataset()` returns it.

    Raises:
        PinGraphError: a vector is not finite; and as `Run.embed` does.
    """
    path = run.checkpoint.with_suffix(".parquet")
    if run.ended:
        path = run.folder / EMBEDDINGS_FILE
    if (kept := _still_true(path, run, dataset)) is not None:
        return kept
    table = run.embed(dataset, progress=True)
    check_table(table, run.name)
    try:
        write_embeddings(path, table)
    except PinGraphError as error:
        sys.stderr.write(f"{error}; the next start has to embed all pins again\n")
    return table


def _still_true(path: Path, run: Run, dataset: PinBoardDataset) -> EmbeddingTable | None:
    try:
        table = read_embeddings(path)
    except PinGraphError:  # it is missing or damaged
        return None
    if not np.array_equal(table.pin_ids, dataset.pin_ids):
        return None
    pins = np.unique(np.linspace(0, dataset.num_pins - 1, _PROBES).astype(np.int64))
    now = run.embed_content(run.reader(dataset).read(pins))
    for name in ("image", "text", "fused"):
        there, fresh = getattr(table, name)[pins], getattr(now, name).numpy()
        if there.shape != fresh.shape or np.abs(there - fresh).max() > _TOLERANCE:
            return None
    return table
