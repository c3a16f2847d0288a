"""Runs the cells of an experiment in processes of their own; a finished cell is never run again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from threading import Event
from typing import Any

from pingraph.baselines import baseline_scorers
from pingraph.datasets import open_dataset
from pingraph.errors import PinGraphError
from pingraph.evaluation import evaluate_scorers
from pingraph.experiment import Cell, Experiment
from pingraph.files import read_json, write_json
from pingraph.progress import progress_bar
from pingraph.run_files import CHECKPOINT_FILE, METRICS_FILE
from pingraph.splits import PinSplit

CELL_FILE, LOG_FILE, TIME_FILE = "cell.json", "log.txt", "seconds.json"


def run_cells(experiment: Experiment, out: Path, *, jobs: int) -> list[str]:
    """Run what is not finished yet, `jobs` cells at a time, each on its share of the cores.

    Args:
        experiment: the grid.
        out: the folder of its runs.
        jobs: processes at a time.

    Returns:
        A line for each cell that failed.

    Raises:
        PinGraphError: `jobs` is below 1, or a cell in the folder was run with other options.
        KeyboardInterrupt: Ctrl-C; what runs is stopped, keeps its state, and goes on next time.
    """
    if jobs < 1:
        raise PinGraphError(f"jobs is {jobs}: expected 1 or more")
    cells = experiment.cells()
    for cell in cells:
        _check_same(cell, out / cell.path)
    waiting = [cell for cell in cells if not finished(cell, out)]
    stopped, failures = Event(), []
    with (
        progress_bar(len(cells)) as step,
        ThreadPoolExecutor(jobs) as pool,
    ):
        for _ in range(len(cells) - len(waiting)):
            step("finished before")
        running = [pool.submit(_run, cell, out, jobs, stopped) for cell in waiting]
        try:
            for cell, future in zip(waiting, running, strict=True):
                step(f"{cell.path}")
                failure = future.result()
                if failure is not None:
                    failures.append(failure)
        except BaseException:
            stopped.set()
            raise
    return failures


def finished(cell: Cell, out: Path) -> bool:
    """Return whether a cell has been evaluated."""
    return (out / cell.path / METRICS_FILE).exists()


def seconds(cell: Cell, out: Path) -> float | None:
    """Return how long a finished cell took, None where it is not known."""
    path = out / cell.path / TIME_FILE
    return read_json(path) if path.exists() else None


def _run(cell: Cell, out: Path, jobs: int, stopped: Event) -> str | None:
    folder = out / cell.path
    if stopped.is_set():
        return None
    started = time.monotonic()
    write_json(folder / CELL_FILE, asdict(cell))
    steps: list[Callable[[], str | None]] = [
        lambda: _process(_fit_arguments(cell, folder), folder, jobs, stopped),
        lambda: _process(["evaluate", str(folder)], folder, jobs, stopped),
    ]
    if "baseline" in cell.options:
        steps = [lambda: _baseline(cell, folder)]
    for step in steps:
        failure = step()
        if failure is not None:
            return f"{folder}: {failure} (see {LOG_FILE})"
        if stopped.is_set():
            return None
    write_json(folder / TIME_FILE, round(time.monotonic() - started, 1))
    return None


def _fit_arguments(cell: Cell, folder: Path) -> list[str]:
    arguments = ["fit", *cell.arguments(), f"--trainer.default_root_dir={folder}"]
    if (folder / CHECKPOINT_FILE).exists():
        arguments.append(f"--ckpt_path={folder / CHECKPOINT_FILE}")
    return [*arguments, "--trainer.enable_progress_bar=false"]


def _baseline(cell: Cell, folder: Path) -> str | None:
    try:
        dataset = open_dataset(cell.source)
        split = PinSplit(seed=cell.seed).split(dataset)
        scorers = baseline_scorers(dataset, split).get(cell.options["baseline"], {})
        found = evaluate_scorers(scorers, dataset, split, seed=cell.seed)
    except PinGraphError as error:
        return str(error)
    write_json(folder / METRICS_FILE, found.to_dict())
    return None


def _process(arguments: list[str], folder: Path, jobs: int, stopped: Event) -> str | None:
    """Run `pingraph` as a process; return the last line that it wrote if it fails."""
    threads = max(1, len(os.sched_getaffinity(0)) // jobs)
    command = [sys.executable, "-c", "from pingraph.cli import main; main()", *arguments]
    log = folder / LOG_FILE
    with log.open("ab") as file:
        process = subprocess.Popen(
            command,
            stdout=file,
            stderr=file,
            stdin=subprocess.DEVNULL,
            env={"OMP_NUM_THREADS": str(threads), **os.environ},
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


def _check_same(cell: Cell, folder: Path) -> None:
    if not (folder / CELL_FILE).exists():
        return
    then: dict[str, Any] = read_json(folder / CELL_FILE)
    if then["options"] != cell.options or then["source"] != cell.source:
        raise PinGraphError(
            f"{folder} was run with other options ({then['options']} on {then['source']}): "
            "remove it, or write to another folder by --out"
        )
