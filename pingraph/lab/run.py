"""What `pingraph sample` does: open the graph, compare, print, write."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pingraph.datasets import BUILT_IN, open_dataset
from pingraph.errors import PinGraphError
from pingraph.files import atomic_folder, write_json
from pingraph.graph import PinBoardGraph
from pingraph.lab.choice import usual_samplers
from pingraph.lab.compare import Comparison, compare_samplers, count_steps
from pingraph.lab.plot import save_plot
from pingraph.lab.sheets import sheets
from pingraph.progress import progress_bar
from pingraph.results import print_sheet
from pingraph.storage import MANIFEST

if TYPE_CHECKING:
    from pingraph.interfaces import Sampler

JSON_FILE, PLOT_FILE = "sample.json", "sample.png"


def run_lab(
    source: str, samplers: dict[str, Sampler], *, num_seeds: int, seed: int, out: Path | None
) -> None:
    """Compare samplers on a graph, print the tables, and write the files if there is a folder.

    Args:
        source: see `open_graph`.
        samplers: by name; the usual ones where there are none.
        num_seeds: pins to sample for.
        seed: the random seed.
        out: a new or empty folder.

    Raises:
        PinGraphError: the graph cannot be opened, a sampler fails, or a file cannot be written.
    """
    name, graph = open_graph(source)
    notes = []
    if not samplers:
        samplers, unfit = usual_samplers(graph)
        notes = [f"{one} is left out: {reason}." for one, reason in unfit.items()]
    with progress_bar(count_steps(samplers)) as step:
        comparison = compare_samplers(
            graph, samplers, name=name, num_seeds=num_seeds, seed=seed, notes=notes, step=step
        )
    try:
        if out is not None:
            _write(out, comparison)
    finally:  # a full disk shall not cost the figures
        for place, sheet in enumerate(sheets(comparison)):
            print(end="\n" * (place > 0))
            print_sheet(sheet)
    if out is not None:
        print(out / JSON_FILE, out / PLOT_FILE, sep="\n")


def open_graph(source: str) -> tuple[str, PinBoardGraph]:
    """Open a graph and say what to call it.

    Args:
        source: "icons", "world" or a data set folder; a folder that `PinBoardGraph.save` wrote; or
            a Parquet or CSV file of edges.

    Raises:
        PinGraphError: it is none of these, or broken.
    """
    path = Path(source)
    if source in BUILT_IN:
        return source, open_dataset(source).graph
    if path.is_file():
        return path.name, PinBoardGraph.from_file(path)
    if not path.is_dir():
        known = " and ".join(BUILT_IN)
        raise PinGraphError(f"{path}: no such file or folder; the built-in data sets are {known}")
    if (path / MANIFEST).exists():
        return path.resolve().name, PinBoardGraph.open(path)
    return path.resolve().name, open_dataset(path).graph


def _write(out: Path, comparison: Comparison) -> None:
    with atomic_folder(out) as folder:
        write_json(folder / JSON_FILE, comparison.to_dict())
        save_plot(folder / PLOT_FILE, comparison)
