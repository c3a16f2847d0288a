"""What every benchmark shares: two arguments, interleaved timing, one table of medians and ratios.

arguments = parse_arguments(__doc__, edges=20_000_000)   # adds --edges to --quick and --json
heat = race("build", {"pingraph": ours, "scipy": theirs}, rounds=5, work=edges, unit="edges")
report([heat], arguments)
"""

import ctypes
import gc
import json
import os
import platform
import time
from argparse import SUPPRESS
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

from jsonargparse import ArgumentParser, Namespace
from rich.console import Console
from rich.table import Table

from pingraph.cores import cores


@dataclass(frozen=True, kw_only=True)
class Heat:
    """The seconds that each contestant took in each round; the first contestant is ours."""

    title: str
    seconds: Mapping[str, Sequence[float]]
    work: float  # what one run does, in `unit`
    unit: str
    notes: Mapping[str, str] = field(default_factory=dict)  # by contestant, for the last column

    def medians(self) -> dict[str, float]:
        """Return the median seconds of each contestant."""
        return {name: median(times) for name, times in self.seconds.items()}

    def ratios(self) -> dict[str, float]:
        """Return how many times as long as ours each contestant takes: the median over rounds.

        The ratio is taken round by round, so that a machine that slows down cannot bend it.
        """
        ours = next(iter(self.seconds.values()))
        return {
            name: median(theirs / mine for theirs, mine in zip(times, ours, strict=True))
            for name, times in self.seconds.items()
        }


def parse_arguments(description: str, *, graph_file: bool = False, **sizes: int) -> Namespace:
    """Parse --quick and --json FILE, and an integer --NAME for each of `sizes` (its default).

    With `graph_file` also --graph FILE, a file of edges to take instead of a made graph.
    """
    parser = ArgumentParser(description=description.strip().splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes: less than a minute")
    parser.add_argument("--json", metavar="FILE", help="also write the figures to this file")
    if graph_file:
        parser.add_argument("--graph", metavar="FILE", help="edges, Parquet or CSV; else made up")
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"number of {name}")
    parser.add_argument("--started", type=float, default=time.time(), help=SUPPRESS)
    return parser.parse_args()


def race(
    title: str,
    contestants: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    work: float,
    unit: str,
    notes: Mapping[str, str] | None = None,
    warm_up: bool = True,
) -> Heat:
    """Time the contestants in turn, round by round, each round starting with another one.

    With `warm_up` a round that is not counted comes first: it compiles and warms what can be.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    names = list(contestants)
    for turn in range(-1 if warm_up else 0, rounds):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            gc.collect()
            start = time.perf_counter()
            result = contestants[name]()
            elapsed = time.perf_counter() - start
            del result
            if turn >= 0:
                seconds[name].append(elapsed)
    return Heat(title=title, seconds=seconds, work=work, unit=unit, notes=notes or {})


def peak_memory(function: Callable[[], object]) -> int:
    """Return by how many bytes the memory of a forked child grows while it runs `function`.

    Linux only. The function should have run once before, so that nothing is compiled in the child.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            gc.collect()
            c = ctypes.CDLL(None)
            c.malloc_trim(0)  # freed memory would otherwise be used again unseen
            c.mallopt(-3, 65536)  # M_MMAP_THRESHOLD: arrays go back to the system when freed
            before = _forget_peak()
            result = function()
            os.write(writing, str(_status_bytes("VmHWM") - before).encode())
            del result
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    if not answer:
        raise RuntimeError("the child that measured memory died")
    return int(answer)


def grown(function: Callable[[], Any]) -> tuple[Any, int]:
    """Return what the function does, and the bytes by which this process grew at its peak.

    Linux only. Unlike `peak_memory` it runs the function here, so memory that an earlier call freed
    but did not give back is used unseen: right for megabytes, not for kilobytes.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = _forget_peak()
    result = function()
    return result, _status_bytes("VmHWM") - before


def once_with_memory(
    title: str, runs: Mapping[str, Callable[[], object]], *, work: float, unit: str
) -> Heat:
    """Time each function once, and note by how much memory grew at its peak."""
    memory = {}

    def watched(name: str) -> Callable[[], None]:
        def run() -> None:
            memory[name] = grown(runs[name])[1]

        return run

    timed = {name: watched(name) for name in runs}
    heat = race(title, timed, rounds=1, work=work, unit=unit, warm_up=False)
    return replace(heat, notes={name: f"{size / 1e6:,.0f} MB" for name, size in memory.items()})


def report(heats: Sequence[Heat], arguments: Namespace) -> None:
    """Print a table for each heat and end the run; see `show` and `finish`."""
    for heat in heats:
        show(heat)
    finish(heats, arguments)


def show(heat: Heat) -> None:
    """Print the table of a heat."""
    Console().print(_table(heat))


def finish(heats: Sequence[Heat], arguments: Namespace) -> None:
    """Print the machine, and write the figures to `arguments.json` if it is given."""
    seconds = time.time() - arguments.started
    Console().print(f"{machine()}; the whole run took {seconds:.0f} s")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(_as_json(heats, arguments), indent=2) + "\n")


def machine() -> str:
    """Return the machine and the versions that the figures belong to, in one line."""
    packages = ", ".join(f"{name} {_version(name)}" for name in ("numpy", "numba", "scipy", "dgl"))
    machine = f"{cores()} CPU cores ({platform.machine()})"
    return f"{machine}, Python {platform.python_version()}, {packages}"


def _table(heat: Heat) -> Table:
    table = Table(title=heat.title, title_justify="left")
    table.add_column("")
    for heading in ("median s", f"{heat.unit}/s", "ratio"):
        table.add_column(heading, justify="right")
    table.add_column("")
    medians, ratios = heat.medians(), heat.ratios()
    for name in heat.seconds:
        table.add_row(
            name,
            f"{medians[name]:.4g}",
            f"{heat.work / medians[name]:,.0f}",
            f"{ratios[name]:.2f}",
            heat.notes.get(name, ""),
        )
    return table


def _as_json(heats: Sequence[Heat], arguments: Namespace) -> dict:
    settings = {k: v for k, v in vars(arguments).items() if k not in ("json", "started")}
    results = [
        {
            "title": heat.title,
            "work": heat.work,
            "unit": heat.unit,
            "seconds": {name: list(times) for name, times in heat.seconds.items()},
            "median_seconds": heat.medians(),
            "ratio": heat.ratios(),
            "notes": dict(heat.notes),
        }
        for heat in heats
    ]
    return {"machine": machine(), "settings": settings, "results": results}


def peak_of_run() -> int:
    """Return the most bytes of memory that this process has held; Linux only.

    `resource.getrusage` forgets with `grown` what was before it.
    """
    _peaks.append(_status_bytes("VmHWM"))
    return max(_peaks)


_peaks: list[int] = []


def _forget_peak() -> int:
    """Set the high-water mark of this process' memory back, and return what it holds now."""
    _peaks.append(_status_bytes("VmHWM"))
    Path("/proc/self/clear_refs").write_text("5")
    return _status_bytes("VmRSS")


def _status_bytes(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {key}")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"
