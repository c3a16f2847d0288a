"""What is judged: the embeddings of a run, or any vectors in a file, with their data and split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pingraph.errors import PinGraphError
from pingraph.run_files import SPLIT_FILE, is_run, locate_run
from pingraph.splits import NoSplit, PinSplit, Split, Splitter

if TYPE_CHECKING:
    from pingraph.datasets import PinBoardDataset
    from pingraph.graph import PinBoardGraph
    from pingraph.interfaces import EmbeddingTable
    from pingraph.runs import Run


FORMS = (".parquet", ".npy")
_BLOCK = 16_384  # boards whose vectors are summed at a time


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """Embeddings of all pins of a data set, and the split that says which of them are cold."""

    name: str  # of the run or the file
    dataset: PinBoardDataset
    split: Split
    run: Run | None  # None for a file
    notes: tuple[str, ...]  # what whoever reads the figures must know, a sentence each
    make_table: Callable[[], EmbeddingTable]

    @cached_property
    def table(self) -> EmbeddingTable:
        """The embeddings, in the order of the data set; a vector of zeros stands for none.

        A run embeds its pins when it is first asked for.
        """
        return self.make_table()

    @cached_property
    def training(self) -> PinBoardGraph:
        """The graph without held-out edges."""
        return self.split.train_graph(self.dataset.graph)

    @cached_property
    def board_sums(self) -> tuple[np.ndarray, np.ndarray]:
        """Of each board, how long the sum of its pins' fused vectors is, and how many have one.

        In training; float64 [B] and int64 [B].
        """
        return board_sums(self.table.fused, self.training)

    def require_vector(self, pin: int) -> None:
        """Raise PinGraphError where a pin (dense index) has no fused vector."""
        if not self.table.fused[pin].any():
            found = self.dataset.pin_ids[pin].item()
            raise PinGraphError(f"{self.name}: pin {found!r} has no vector")


def board_sums(vectors: np.ndarray, graph: PinBoardGraph) -> tuple[np.ndarray, np.ndarray]:
    """Return of each board how long the sum of its pins' vectors is, and how many have one.

    Args:
        vectors: float32 [N, D], zero where there is none.
        graph: says who is on which board.

    Returns:
        float64 [B] and int64 [B].
    """
    saves, lengths = graph.members(), np.zeros(graph.num_boards)
    for start in range(0, graph.num_boards, _BLOCK):
        rows = slice(start, start + _BLOCK)
        lengths[rows] = np.linalg.norm((saves[rows] @ vectors).astype(np.float64), axis=1)
    return lengths, (saves @ vectors.any(axis=1)).astype(np.int64)


class SplitFile:
    """A split that was saved.

    Args:
        path: a file that `Split.save` wrote, or a run folder or a checkpoint in one: the split of
            the run is meant.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if is_run(self.path):
            self.path = locate_run(self.path)[0] / SPLIT_FILE

    def split(self, dataset: PinBoardDataset) -> Split:
        """Return the split; raises PinGraphError unless it is one of this data set."""
        split = Split.load(self.path)
        if split.fingerprint != dataset.graph.fingerprint():
            raise PinGraphError(f"{self.path}: a split of other data than {dataset.name}")
        return split


def chosen_split(
    split: Path | None, cold_fraction: float | None, split_seed: int
) -> Splitter | None:
    """Return what the options of a command ask for, None where they ask for nothing.

    Raises:
        PinGraphError: both are given, or the fraction is not between 0 and 1.
    """
    if split is not None and cold_fraction is not None:
        raise PinGraphError("give one of --split and --cold_fraction")
    if split_seed and cold_fraction is None:
        raise PinGraphError("--split_seed draws the pins of --cold_fraction: give both")
    if split is not None:
        return SplitFile(split)
    return None if cold_fraction is None else PinSplit(cold_fraction, split_seed)


def open_subject(
    path: str | Path,
    data: str | Path | None = None,
    split: Splitter | None = None,
    *,
    progress: bool = False,
) -> Subject:
    """Open what is to be judged: a run folder, or a file of vectors beside a data set.

    Args:
        path: a run folder of `pingraph fit`, or a checkpoint in it; or a .parquet or .npy file,
            see `vector_files.read_vectors`.
        data: of a file, the data set that its vectors are of; a run knows its own.
        split: of a file, what was held out of the embeddings' training; by default nothing, so
            that all pins on boards are warm. A run has its own.
        progress: show a progress bar while a run embeds, on standard error.

    Raises:
        PinGraphError: something is missing, damaged or of other data; see `Run.open`, `Run.dataset`
            and `read_vectors`. Or `data` or `split` is given to a run, or no `data` to a file.
    """
    path = Path(path)
    if not is_run(path) and (path.is_file() or path.suffix in FORMS):
        return _open_file(path, data, split)
    return _open_run(path, data, split, progress)


def open_subjects(
    paths: Sequence[Path],
    data: str | Path | None = None,
    split: Splitter | None = None,
    *,
    progress: bool = False,
) -> list[Subject]:
    """Open runs and files that are to stand side by side; `data` and `split` are of the files.

    Arguments and errors are those of `open_subject`.
    """
    runs = [is_run(path) for path in paths]
    return [
        open_subject(path, None, None, progress=progress)
        if run and not all(runs)
        else open_subject(path, data, split, progress=progress)
        for path, run in zip(paths, runs, strict=True)
    ]


def _open_run(
    path: Path, data: str | Path | None, split: Splitter | None, progress: bool
) -> Subject:
    from pingraph.runs import Run

    run = Run.open(path)
    for given, what in ((data, "data"), (split, "split")):
        if given is not None:
            hint = "to judge it on other data, write its embeddings by 'pingraph embed'"
            raise PinGraphError(f"{path} has {what} of its own, from training; {hint}")
    dataset = run.dataset()
    return Subject(
        name=run.name,
        dataset=dataset,
        split=run.split,
        run=run,
        notes=(),
        make_table=partial(run.embed, dataset, progress=progress),
    )


def _open_file(path: Path, data: str | Path | None, split: Splitter | None) -> Subject:
    from pingraph.datasets import open_dataset
    from pingraph.vector_files import read_vectors

    if data is None:
        raise PinGraphError(f"{path} is no run: give the data set of its pins by --data")
    dataset = open_dataset(data)
    made = (split or NoSplit()).split(dataset)
    table, notes = read_vectors(path, dataset)
    if split is not None:
        notes.append("Cold pins are cold only if these embeddings were made without their boards.")
    return Subject(
        name=path.name,
        dataset=dataset,
        split=made,
        run=None,
        notes=tuple(notes),
        make_table=lambda: table,
    )


def told_apart(subjects: Sequence[Subject]) -> list[Subject]:
    """Return the subjects, those of one name numbered."""
    names = [subject.name for subject in subjects]
    return [
        subject
        if names.count(subject.name) == 1
        else replace(subject, name=f"{subject.name} ({names[:place].count(subject.name) + 1})")
        for place, subject in enumerate(subjects)
    ]


def require_alike(subjects: Sequence[Subject]) -> None:
    """Raise PinGraphError unless all are of one data set and hold out the same edges."""
    first = subjects[0]
    for subject in subjects[1:]:
        where = f"{subject.name} and {first.name} cannot stand side by side"
        if subject.dataset.fingerprint != first.dataset.fingerprint:
            names = f"{subject.dataset.name} and {first.dataset.name}"
            raise PinGraphError(f"{where}: they are of different data sets ({names})")
        if not np.array_equal(subject.split.train_edges, first.split.train_edges):
            raise PinGraphError(f"{where}: their splits hold out different edges")
