"""Runs the cells of an experiment in processes of their own; a finished cell is never run again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict
from functools import partial
from pathlib import Path
from threading import Event, Lock

from pingraph.cores import cores
from pingraph.datasets import check_source
from pingraph.errors import PinGraphError
from pingraph.experiment.cell import CELL_FILE, DATA_FOLDER, MADE_FILE, seen_data
from pingraph.experiment.plan import Cell, Experiment, check_arguments
from pingraph.experiment.records import costs, finished, made, makers, older, told, trained_as
from pingraph.files import held_while_open, read_json, write_json
from pingraph.progress import progress_bar
from pingraph.run_files import CHECKPOINT_FILE, SPLIT_FILE

LOG_FILE = "log.txt"
_OF_DATA = ("source", "under", "seed")  # what the data of a cell are made of
_ASKED = (*_OF_DATA, "made_by")  # what makes a cell what it is


def run_cells(experiment: Experiment, out: Path, *, jobs: int) -> list[str]:
    """Run what is not finished yet, `jobs` cells at a time, each on its share of the cores.

    Args:
        experiment: the grid.
        out: the folder of its runs.
        jobs: processes at a time.

    Returns:
        A line for each cell that failed.

    Raises:
        PinGraphError: `jobs` is below 1, `pingraph fit` does not know an option of a cell that is
            to run, its data set is not there, two cells have one folder, or a cell in the folder
            was run with other options, maybe by another process meanwhile.
        KeyboardInterrupt: Ctrl-C; what runs is stopped, keeps its state, and goes on next time.
    """
    cells, among = _checked(experiment, out, jobs)
    waiting = [cell for cell in cells if not finished(cell, out)]
    # A cell that waits for another's weights holds a place: in each seed it comes after the rest.
    elsewhere = {cell.path for cell in waiting if trained_as(cell, among, out) is not cell}
    waiting.sort(key=lambda cell: (experiment.seeds.index(cell.seed), cell.path in elsewhere))
    stopped, telling = Event(), Lock()
    running: dict[Path, Future[str | None]] = {}
    ended: set[Path] = set()
    with (
        progress_bar(len(cells), done=len(cells) - len(waiting), lines=True) as step,
        ThreadPoolExecutor(jobs) as pool,
    ):

        def work(cell: Cell, before: list[Future[str | None]]) -> str | None:
            wait(before)  # they were begun before this one, so none waits for the place it holds
            if stopped.is_set():
                return None
            with telling:
                left = costs([one for one in waiting if one.path not in ended], among, out)
                step(f"{cell.path}{told(left, jobs)}")
            failure = _run(cell, among, out, jobs, stopped)
            ended.add(cell.path)
            return failure

        for cell in waiting:
            alike = [other.path for other in cells if other.trains_like(cell)]
            before = [running[path] for path in alike if path in running]
            running[cell.path] = pool.submit(work, cell, before)
        try:
            results = [running[cell.path].result() for cell in waiting]
        except BaseException:
            stopped.set()
            raise
    _check_folders(cells, out)  # what others have finished meanwhile
    return [failure for failure in results if failure is not None]


def listing(experiment: Experiment, out: Path, *, jobs: int) -> list[str]:
    """Return a line for each cell, with the seconds that it took or may take, and one for all.

    Raises:
        PinGraphError: where `run_cells` would refuse to begin.
    """
    cells, among = _checked(experiment, out, jobs)
    lines: list[str] = []
    left: list[float | None] = []
    for cell, cost in zip(cells, costs(cells, among, out), strict=True):
        done, trained = finished(cell, out), trained_as(cell, among, out)
        seconds = made(cell, out)["seconds"] if done else cost
        left += [] if done else [cost]
        spent = "" if seconds is None else f"  {seconds:,.0f} s"
        there = "" if done or trained is cell else f"  trained in {trained.path}"
        lines.append(f"{'finished' if done else 'to do   '} {out / cell.path}{spent}{there}")
    notes = [f"{len(left)} of {len(cells)} cells to do{told(left, jobs)}", older(cells, out)]
    return [*lines, *filter(None, notes)]


def _checked(experiment: Experiment, out: Path, jobs: int) -> tuple[list[Cell], list[Cell]]:
    """Return the cells; and these with the file's other ones that are finished as it says."""
    if jobs < 1:
        raise PinGraphError(f"jobs is {jobs}: expected 1 or more")
    cells = experiment.cells()
    _check_folders(cells, out)
    # Of what is finished the data may be gone: its tables are made without.
    waiting = [cell for cell in cells if not finished(cell, out)]
    check_arguments(experiment.file, waiting)
    for source in dict.fromkeys(cell.source for cell in waiting):
        check_source(source)
    others = [one for one in experiment.of_file() if one not in cells and finished(one, out)]
    return cells, [*cells, *(one for one in others if not _changed(one, out))]


def _check_folders(cells: list[Cell], out: Path) -> None:
    """Raise PinGraphError where two cells share a folder, or one was run with other options."""
    paths = [cell.path for cell in cells]
    for path in paths:
        if paths.count(path) > 1:
            raise PinGraphError(f"{path} would hold two cells: give data and methods other names")
    for cell in cells:
        if changed := _changed(cell, out):
            raise PinGraphError(
                f"{out / cell.path} was run with other options ({changed}): "
                "remove it, or write to another folder by --out"
            )


def _changed(cell: Cell, out: Path) -> str:
    """Say which of the options that a cell's files rest on it was run with otherwise; or ""."""
    folder = out / cell.path
    if not (folder / CELL_FILE).exists():
        return ""
    then, now = read_json(folder / CELL_FILE)["cell"], asdict(cell)
    changed = (key for key in _kept(folder) if then[key] != now[key])
    return next((f"{key} {then[key]}, now {now[key]}" for key in changed), "")


def _kept(folder: Path) -> tuple[str, ...]:
    """Return the options that a cell's files rest on; one that failed early is begun anew."""
    if (folder / MADE_FILE).exists() or (folder / CHECKPOINT_FILE).exists():
        return _ASKED
    return _OF_DATA if (folder / DATA_FOLDER).exists() else ()


def _run(cell: Cell, among: list[Cell], out: Path, jobs: int, stopped: Event) -> str | None:
    folder = out / cell.path
    # The processes of the cell inherit the lock: they may outlive this one, if it is killed.
    with held_while_open(folder) as lock:
        if lock is None:
            return f"{folder}: runs already in another process"
        _check_folders([cell], out)
        if finished(cell, out):  # by another one, meanwhile
            return None
        trained = trained_as(cell, among, out)
        if trained is not cell and not finished(trained, out):
            return f"{folder}: {out / trained.path}, which is trained alike, is not finished"
        return _run_held(cell, trained, out, jobs, stopped, lock)


def _run_held(
    cell: Cell, trained: Cell, out: Path, jobs: int, stopped: Event, lock: int
) -> str | None:
    folder = out / cell.path
    started = time.time()
    asked = {
        "cell": asdict(cell),
        "trained_in": os.path.relpath(out / trained.path, folder),
        **makers(cell, trained, out),
    }
    write_json(folder / CELL_FILE, asked)

    def step(name: str) -> list[str]:
        return ["-m", "pingraph.experiment.cell", name, str(folder), str(started)]

    def fit() -> list[str]:  # asked for when its data is there
        return ["-c", "from pingraph.cli import main; main()", *_fit(cell, folder)]

    steps: list[Callable[[], list[str]]] = [partial(step, "judge")]
    if cell.is_fit:
        steps = [partial(step, "prepare"), *([fit] if trained is cell else []), *steps]
    for arguments in steps:
        failure = _process(arguments(), folder, jobs, stopped, lock)
        if failure is not None:
            return f"{folder}: {failure} (see {LOG_FILE})"
        if stopped.is_set() or finished(cell, out):
            return None
    return None


def _fit(cell: Cell, folder: Path) -> list[str]:
    arguments = [
        "fit",
        *cell.arguments(),
        f"--data.folder={seen_data(cell, folder)}",
        "--data.split=pingraph.subject.SplitFile",
        f"--data.split.path={folder / SPLIT_FILE}",
        f"--trainer.default_root_dir={folder}",
        "--trainer.enable_progress_bar=false",
    ]
    if (folder / CHECKPOINT_FILE).exists():
        arguments.append(f"--ckpt_path={folder / CHECKPOINT_FILE}")
    return arguments


def _process(
    arguments: list[str], folder: Path, jobs: int, stopped: Event, lock: int
) -> str | None:
    """Run Python as a process; if it fails, return the last line that it wrote, or how it ended."""
    threads = max(1, cores() // jobs)
    log = folder / LOG_FILE
    with log.open("ab") as file:
        before = file.tell()
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdout=file,
            stderr=file,
            stdin=subprocess.DEVNULL,
            env={"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE", **os.environ},
            pass_fds=[lock],
            start_new_session=True,  # Ctrl-C comes by way of `stopped`, to each process once
        )
        while process.poll() is None:
            if stopped.wait(0.2):
                process.send_signal(signal.SIGINT)
                process.wait()
                return None
    if process.returncode == 0:
        return None
    if process.returncode < 0:
        return f"ended by {signal.Signals(-process.returncode).name}"
    lines = log.read_bytes()[before:].decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else f"ended with {process.returncode}"
