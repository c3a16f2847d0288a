"""What the cells of a folder say of how they were made: by which commit, where, in how long."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path
from statistics import mean
from typing import Any

from pingraph.experiment.cell import CELL_FILE, MADE_FILE
from pingraph.experiment.plan import Cell
from pingraph.files import read_json
from pingraph.run_files import CHECKPOINT_FILE


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
    now = commit_of_code()["commit"]
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
        here = trained_as(cell, among, out) is cell
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


def trained_as(cell: Cell, among: list[Cell], out: Path) -> Cell:
    """Return the cell that it is trained in: of those alike a finished, a begun, or the first one.

    That is itself, unless others differ from it only in how they are judged.
    """
    alike = [other for other in among if other.trains_like(cell)]
    done = [other for other in alike if finished(other, out)]
    kept = [one for one in done if made(one, out)["trained_in"] == "." and has_run(one, out)]
    left = [other for other in alike if other not in done]
    return [*kept, *(one for one in left if has_run(one, out)), *left, cell][0]


def has_run(cell: Cell, out: Path) -> bool:
    """Return whether there are weights; there are none of a tower that has nothing to answer."""
    return (out / cell.path / CHECKPOINT_FILE).exists()


def makers(cell: Cell, trained: Cell, out: Path) -> dict[str, Any]:
    """Return the commit that a cell is begun by, and the others that have gone on with it."""
    now, then = commit_of_code(), []
    if trained is not cell:
        then = took_part(made(trained, out))
    elif has_run(cell, out):
        asked = read_json(out / cell.path / CELL_FILE)
        then = [asked["started"], *asked["continued"]]
    started, *continued = then if now in then else [*then, now]
    return {"started": started, "continued": continued}


def commit_of_code() -> dict[str, Any]:
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
