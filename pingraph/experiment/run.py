"""Runs the cells of an experiment in processes of their own; a finished cell is never run again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import mean
from threading import Event
from typing import Any

from pingraph.cores import cores
from pingraph.datasets import check_source
from pingraph.errors import PinGraphError
from pingraph.experiment.cell import CELL_FILE, DATA_FOLDER, MADE_FILE, seen_data
from pingraph.experiment.plan import Cell, Experiment, check_arguments
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
    elsewhere = {cell.path for cell in waiting if _trained_as(cell, among, out) is not cell}
    waiting.sort(key=lambda cell: (experiment.seeds.index(cell.seed), cell.path in elsewhere))
    stopped, failures = Event(), []
    with (
        progress_bar(len(cells), done=len(cells) - len(waiting), lines=True) as step,
        ThreadPoolExecutor(jobs) as pool,
    ):
        running: dict[Path, Future[str | None]] = {}
        for cell in waiting:
            alike = [other.path for other in cells if other.trains_like(cell)]
            before = [running[path] for path in alike if path in running]
            running[cell.path] = pool.submit(_run, cell, among, before, out, jobs, stopped)
        try:
            for place, cell in enumerate(waiting):
                left = costs(waiting[place:], among, out)
                step(f"{cell.path}{told(left, jobs)}")
                failure = running[cell.path].result()
                if failure is not None:
                    failures.append(failure)
        except BaseException:
            stopped.set()
            raise
    _check_folders(cells, out)  # what others have finished meanwhile
    return failures


def listing(experiment: Experiment, out: Path, *, jobs: int) -> list[str]:
    """Return a line for each cell, with the seconds that it took or may take, and one for all.

    Raises:
        PinGraphError: where `run_cells` would refuse to begin.
    """
    cells, among = _checked(experiment, out, jobs)
    lines: list[str] = []
    left: list[float | None] = []
    for cell, cost in zip(cells, costs(cells, among, out), strict=True):
        done, trained = finished(cell, out), _trained_as(cell, among, out)
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


def finished(cell: Cell, out: Path) -> bool:
    """Return whether a cell has been judged."""
    return (out / cell.path / MADE_FILE).exists()


def made(cell: Cell, out: Path) -> dict[str, Any]:
    """Return how a finished cell was made: commit, versions, fingerprints, threads and seconds.

    A cell that does not say where it was trained is older than what is trained elsewhere.
    """
    return {"trained_in": ".", **read_json(out / cell.path / MADE_FILE)}


def took_part(how: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the commits that a cell was begun and gone on with by, of what `made` says."""
    return [{key: how[key] for key in ("commit", "dirty")}, *how["continued"]]


def older(cells: list[Cell], out: Path) -> str:
    """Say in how many finished cells other code took part than would make the rest; "" if none.

    Cells are compared by what was asked for, which says nothing of what a default was then.
    """
    now = _commit()["commit"]
    others = Counter(
        commit[:10]
        for cell in cells
        if finished(cell, out)
        for commit in {one["commit"] for one in took_part(made(cell, out))} - {None, now}
    )
    if now is None or not others:
        return ""
    counts = ", ".join(f"{count} of {commit}" for commit, count in others.items())
    return (
        f"finished cells of other commits than {now[:10]}: {counts}. Where a default has changed "
        "since, write to another folder by --out"
    )


def costs(cells: list[Cell], among: list[Cell], out: Path) -> list[float | None]:
    """Return the seconds that cells may take: the mean of finished ones that are most like each.

    That is those of the same method on the same data, else those of the method; None without any.
    A cell that is trained elsewhere is only judged: it is like others that were.
    """
    took = [(other, made(other, out)) for other in among if finished(other, out)]
    found = []
    for cell in cells:
        here = _trained_as(cell, among, out) is cell
        same = [
            (other.data, how["seconds"])
            for other, how in took
            if other.method == cell.method and (how["trained_in"] == ".") is here
        ]
        near = [seconds for data, seconds in same if data == cell.data]
        found.append(mean(near or [seconds for _, seconds in same]) if same else None)
    return found


def told(left: list[float | None], jobs: int) -> str:
    """Say in words how long cells may still take; nothing where that is not known of all."""
    known = [seconds for seconds in left if seconds is not None]
    if not known:
        return ""
    more = f" and {len(left) - len(known)} cells more" if len(known) < len(left) else ""
    return f" (about {sum(known) / jobs / 60:,.0f} min{more})"


def _trained_as(cell: Cell, among: list[Cell], out: Path) -> Cell:
    """Return the cell that it is trained in: of those alike a finished, a begun, or the first one.

    That is itself, unless others differ from it only in how they are judged.
    """
    alike = [other for other in among if other.trains_like(cell)]
    done = [other for other in alike if finished(other, out)]
    kept = [one for one in done if made(one, out)["trained_in"] == "." and _has_run(one, out)]
    left = [other for other in alike if other not in done]
    return [*kept, *(one for one in left if _has_run(one, out)), *left, cell][0]


def _has_run(cell: Cell, out: Path) -> bool:
    """Return whether there are weights; there are none of a tower that has nothing to answer."""
    return (out / cell.path / CHECKPOINT_FILE).exists()


def _run(
    cell: Cell,
    among: list[Cell],
    before: list[Future[str | None]],
    out: Path,
    jobs: int,
    stopped: Event,
) -> str | None:
    folder = out / cell.path
    wait(before)  # they were begun before this one, so none waits for the place that it holds
    if stopped.is_set():
        return None
    # The processes of the cell inherit the lock: they may outlive this one, if it is killed.
    with held_while_open(folder) as lock:
        if lock is None:
            return f"{folder}: runs already in another process"
        _check_folders([cell], out)
        if finished(cell, out):  # by another one, meanwhile
            return None
        trained = _trained_as(cell, among, out)
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
        **_makers(cell, trained, out),
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


def _makers(cell: Cell, trained: Cell, out: Path) -> dict[str, Any]:
    """Return the commit that a cell is begun by, and the others that have gone on with it."""
    now, then = _commit(), []
    if trained is not cell:
        then = took_part(made(trained, out))
    elif _has_run(cell, out):
        asked = read_json(out / cell.path / CELL_FILE)
        then = [asked["started"], *asked["continued"]]
    started, *continued = then if now in then else [*then, now]
    return {"started": started, "continued": continued}


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
    """Run Python as a process; return the last line that it wrote if it fails."""
    threads = max(1, cores() // jobs)
    log = folder / LOG_FILE
    with log.open("ab") as file:
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
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else f"ended with {process.returncode}"


def _commit() -> dict[str, Any]:
    """Return the commit that pingraph runs from, and whether files differ from it; null if none.

    A repository that pingraph is merely installed in, as in a .venv of another project, says
    nothing of it: this file has to be among its own.
    """
    file = Path(__file__)

    def git(*words: str) -> subprocess.CompletedProcess[str]:
        command = ["git", "-C", str(file.parent), *words]
        return subprocess.run(command, capture_output=True, text=True)

    try:
        tracked = git("ls-files", "--error-unmatch", file.name)
        head, changed = git("rev-parse", "HEAD"), git("diff", "--quiet", "HEAD")
    except OSError:  # there is no git
        return {"commit": None, "dirty": None}
    if tracked.returncode or head.returncode:
        return {"commit": None, "dirty": None}
    return {"commit": head.stdout.strip(), "dirty": changed.returncode != 0}
