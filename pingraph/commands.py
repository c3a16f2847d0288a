"""What the subcommands of `pingraph` do; their signatures are the command line."""

# Annotations stay objects: for strings jsonargparse imports all that stands under TYPE_CHECKING.

import errno
import shlex
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from pingraph.errors import PinGraphError
from pingraph.run_files import (
    CHECKPOINT_FILE,
    CONFIG_FILE,
    DATA_FILE,
    SPLIT_FILE,
    TOKENIZER_FILE,
)

_OF_DATA = ("pins.parquet", "boards.parquet", "edges.parquet")
_OF_RUN = (CONFIG_FILE, DATA_FILE, SPLIT_FILE, TOKENIZER_FILE, CHECKPOINT_FILE)


def fit(args: list[str]) -> None:
    """Train a model on a data set.

    Args:
        args: those of Lightning's command line, see `pingraph.fit`.
    """
    from lightning.pytorch.utilities import rank_zero_only

    from pingraph import fit as training

    folder = training.fit(args)
    if getattr(rank_zero_only, "rank", 0):  # of several processes that trained together one speaks
        return
    print(folder)
    told = f"next: pingraph evaluate {shlex.quote(str(folder))}"
    if not (folder / CHECKPOINT_FILE).exists():
        asked = "--trainer.enable_checkpointing false or --trainer.fast_dev_run"
        told = f"note: no checkpoint is kept ({asked}): no other command can read {folder}"
    sys.stderr.write(told + "\n")


def inspect(folder: str) -> None:
    """Tell what is in a data set folder, and everything that is wrong with it.

    Every image is decoded. Exits with 2 where something keeps the folder from being used.

    Args:
        folder: a folder of pins.parquet, boards.parquet and edges.parquet; or 'icons' or 'world'.
    """
    from pingraph.inspection import inspect_folder

    found = inspect_folder(folder)
    print(found)
    if found.errors:
        sys.exit(2)


def make_icons(out: Path) -> None:
    """Write the built-in data set of icons as a folder.

    Icons of Font Awesome, drawn; their labels; search terms and categories as boards.

    Args:
        out: the new folder.
    """
    from pingraph import icons

    icons.make_icons(out)
    print(out)


def make_world(out: Path, **knobs: Any) -> None:
    """Write a synthetic data set with known truth as a folder.

    Args:
        out: the new folder.
        knobs: those of `pingraph.world.World`; jsonargparse makes an option of each.
    """
    from pingraph.world import World

    World(**knobs).write(out)
    print(out)


def evaluate(
    run: Path,
    data: str | None = None,
    split: Path | None = None,
    cold_fraction: float | None = None,
    split_seed: int = 0,
    walks: bool = False,
    seed: int = 0,
    out: Path | None = None,
) -> None:
    """Rank the full corpus with embeddings, print the table, and write metrics.json.

    Tasks: pin → pin (board-mates), board → pins, image → text and text → image; cold and warm pins
    apart. An image of example queries and their nearest pins goes to neighbors.png.

    Embeddings that pingraph did not make are judged too: a Parquet file with ids and vectors, or a
    .npy file; docs/any-embedding.md describes both. Nothing is held out of them unless --split or
    --cold_fraction says so.

      pingraph evaluate runs/mine
      pingraph evaluate vectors.parquet --data pins --split runs/mine -o judged

    Args:
        run: a run folder of `pingraph fit`, a checkpoint in it, or a file of vectors.
        data: of a file, the data set of its pins: a folder, or 'icons' or 'world'.
        split: of a file, what it was not trained on: a saved split, or the run that has it.
        cold_fraction: of a file, instead of --split: the share of cold pins, drawn by PinSplit.
        split_seed: which pins --cold_fraction draws.
        walks: rank by what walks on the training graph say of known pins as well as by vectors.
        seed: of the bootstrap intervals, and of the queries where there are very many.
        out: the folder to write to, by default the run's own; of a file of vectors, of an earlier
            checkpoint and with --walks nothing is written.
    """
    from pingraph.judging import judge
    from pingraph.subject import chosen_split, open_subject

    _check_seed(seed)
    chosen = chosen_split(split, cold_fraction, split_seed)
    subject = open_subject(run, data, chosen, progress=True)
    if out is None and subject.run is not None and subject.run.ended and not walks:
        out = subject.run.folder
    if out is not None:
        _check_writable(out / "metrics.json")
    judge(subject, out, walks=walks, seed=seed)


def embed(run: Path, data: str, out: Path, walks: bool = False) -> None:
    """Embed every pin of a data set and write a Parquet file.

    Columns: pin_id, and image, text and fused as lists of numbers. Without --walks only
    pins.parquet is needed: an embedding depends on a pin's content alone. Images are not looked at
    where the run was trained without any, nor texts.

    Args:
        run: a run folder of `pingraph fit`, or a checkpoint in it.
        data: a data set folder, or 'icons' or 'world'.
        out: the Parquet file to write.
        walks: move the fused vectors of pins that have saves towards those that walks from them
            visit, over all edges of the data set, for an index that serves known pins too.
    """
    from dataclasses import replace

    from pingraph.datasets import open_dataset
    from pingraph.embeddings import write_embeddings
    from pingraph.propagation import Propagation
    from pingraph.runs import Run

    _check_writable(out)
    _check_suffix(out, ".parquet")
    if out.resolve() == Path(data, "pins.parquet").resolve():
        raise PinGraphError(f"cannot write {out}: it holds the pins that are to be embedded")
    trained, pins = Run.open(run), open_dataset(data, pins_only=not walks)
    for name, there in (("image", pins.has_image), ("text", pins.has_text)):
        if name not in trained.modalities and there.any():
            told = f"{run} was trained without {name}s: those of {there.sum():,} pins are not read"
            sys.stderr.write(f"note: {told}\n")
    table = trained.embed(pins, progress=True)
    if walks:
        table = replace(table, fused=Propagation().vectors(table.fused, pins.graph))
    write_embeddings(out, table)
    print(f"{len(table.pin_ids):,} pins in {table.fused.shape[1]} dimensions: {out}")


def neighbors(
    run: Path,
    pin_id: str | None = None,
    text: str | None = None,
    image: Path | None = None,
    k: int = 10,
    data: str | None = None,
    out: Path | None = None,
) -> None:
    """List the pins that are nearest to a pin, a text or an image.

    Args:
        run: a run folder of `pingraph fit`, a checkpoint in it, or a file of vectors, which can be
            searched by pin.
        pin_id: a pin of the data set that the run was trained on.
        text: words to search with, instead of a pin.
        image: an image file to search with, instead of a pin.
        k: how many to list.
        data: of a file, the data set of its pins.
        out: draw a pin and its nearest pins as a PNG file too.
    """
    if [pin_id, text, image].count(None) != 2:
        raise PinGraphError("give one of: a pin's id, --text or --image")
    if out is not None and pin_id is None:
        raise PinGraphError("--out draws the neighbors of a pin: give a pin's id")
    if k < 1:
        raise PinGraphError(f"--k is {k}: expected 1 or more")
    from pingraph import queries
    from pingraph.subject import open_subject

    if out is not None:
        _check_writable(out)
        _check_suffix(out, ".png")
    subject = open_subject(run, data, progress=True)
    if pin_id is not None:
        queries.list_neighbors(subject, pin_id, k, out)
    elif text is not None:
        queries.search_text(subject, text, k)
    elif image is not None:
        queries.search_image(subject, image, k)


def explain(
    run: Path,
    pin: str,
    other: str,
    data: str | None = None,
    split: Path | None = None,
    cold_fraction: float | None = None,
    split_seed: int = 0,
    top: int = 5,
    json: Path | None = None,
) -> None:
    """Tell why two pins are near: their vectors, boards and walks, and what was held out.

    Args:
        run: a run folder of `pingraph fit`, a checkpoint in it, or a file of vectors.
        pin: the id of a pin.
        other: the id of another pin.
        data: of a file, the data set of its pins.
        split: of a file, what it was not trained on: a saved split, or the run that has it.
        cold_fraction: of a file, instead of --split: the share of cold pins, drawn by PinSplit.
        split_seed: which pins --cold_fraction draws.
        top: most boards and paths of each list.
        json: a file for the whole explanation.
    """
    from pingraph.explain import explain as explain_pins
    from pingraph.explain.text import print_explanation
    from pingraph.files import write_json
    from pingraph.subject import chosen_split, open_subject

    if json is not None:
        _check_writable(json)
    chosen = chosen_split(split, cold_fraction, split_seed)
    subject = open_subject(run, data, chosen, progress=True)
    found = explain_pins(subject, pin, other, top=top)
    if json is not None:
        write_json(json, found)
    print_explanation(found)
    if json is not None:
        print(json)


def report(
    runs: list[Path],
    data: str | None = None,
    split: Path | None = None,
    cold_fraction: float | None = None,
    split_seed: int = 0,
    seed: int = 0,
    map_pins: int = 2000,
    out: Path | None = None,
) -> None:
    """Write all that is known of embeddings as one HTML file that opens offline.

    A summary in words, metrics, for whom they are good, geometry, agreement with the graph, what
    served forms still find, a map, queries with their neighbors and why these are near, and a leak
    audit. The numbers go to a JSON file beside it. Several runs stand side by side, with how far
    they agree; they must be of one data set and split. Prints what is wrong with the data, a line
    each, and the two files.

      pingraph report runs/mine
      pingraph report runs/mine runs/other -o both.html

    Args:
        runs: run folders of `pingraph fit`, checkpoints in them, or files of vectors (.parquet or
            .npy).
        data: of files, the data set of their pins.
        split: of files, what they were not trained on: a saved split, or the run that has it.
        cold_fraction: of files, take this share of the pins as cold instead.
        split_seed: of the pins that are taken as cold.
        seed: of intervals, and of all that is drawn.
        map_pins: how many pins the map shows at most.
        out: the HTML file; default report.html in the run folder, or here where that is not one.
    """
    from pingraph.report import numbers_file, write_report
    from pingraph.subject import chosen_split, open_subjects

    _check_seed(seed)
    alone = runs[0] if len(runs) == 1 and runs[0].is_dir() else Path()
    out = alone / "report.html" if out is None else out
    for path in (out, numbers_file(out)):
        _check_writable(path)
    chosen = chosen_split(split, cold_fraction, split_seed)
    subjects = open_subjects(runs, data, chosen, progress=True)
    written = write_report(subjects, out, seed=seed, map_pins=map_pins)
    print(*written.caveats, written.page, written.numbers, sep="\n")


def explore(
    runs: list[Path],
    data: str | None = None,
    split: Path | None = None,
    cold_fraction: float | None = None,
    split_seed: int = 0,
    port: int = 8765,
) -> None:
    """Walk the space of embeddings in a browser, on a page of this machine alone.

    Search by text, image, words or id; see the neighbors of a pin by its embedding, by walks on the
    graph, or side by side, and go on from any of them. Two runs stand side by side. Prints the
    address of the page when it is ready; Ctrl-C ends it.

      pingraph explore runs/mine
      pingraph explore runs/mine runs/other
      pingraph explore theirs.parquet --data pins --cold_fraction 0.2

    A run is embedded once: RUN/embeddings.parquet is there at the next start.

    Args:
        runs: one or two run folders of `pingraph fit`, checkpoints in them, or files of vectors
            (.parquet or .npy).
        data: of files, the data set of their pins: a folder, or 'icons' or 'world'.
        split: of files, what they were not trained on: a saved split, or the run that has it.
        cold_fraction: of files, take this share of the pins as cold instead.
        split_seed: of the pins that are taken as cold.
        port: of the page; 0 takes any that is free.
    """
    from pingraph.explore.serve import listen, serve
    from pingraph.subject import chosen_split, open_subjects, told_apart

    if len(runs) > 2:
        raise PinGraphError(f"{len(runs)} runs are given: expected one or two")
    chosen = chosen_split(split, cold_fraction, split_seed)
    server = listen(port)
    serve(told_apart(open_subjects(runs, data, chosen)), server)


def export(
    run: Path,
    out: Path,
    data: str | None = None,
    split: Path | None = None,
    cold_fraction: float | None = None,
    split_seed: int = 0,
    pins: int | None = None,
    k: int = 10,
    image_size: int = 128,
    seed: int = 0,
) -> None:
    """Write embeddings with what is known of their pins, for the viewers of others.

    A .parquet file is for Embedding Atlas, FiftyOne and Spotlight; a folder is for the projector of
    TensorBoard. Pins without a vector are left out.

      pingraph export runs/mine -o pins.parquet
      pingraph export theirs.npy --data my-folder --cold_fraction 0.2 -o pins.parquet
      pingraph export runs/mine --pins 10000 -o projector && tensorboard --logdir projector

    Args:
        run: a run folder of `pingraph fit`, a checkpoint in it, or a file of vectors (.parquet or
            .npy).
        out: a .parquet file, or a new folder for TensorBoard.
        data: of a file, the data set of its pins.
        split: of a file, what it was not trained on: a saved split, or the run that has it.
        cold_fraction: of a file, take this share of the pins as cold instead.
        split_seed: of the pins that are taken as cold.
        pins: how many pins to draw; by default all are written.
        k: neighbors of each pin in the Parquet file.
        image_size: pixels of the pictures in the Parquet file; 0 writes none.
        seed: of the pins and queries that are drawn.
    """
    from pingraph.export import gather, write_parquet, write_projector
    from pingraph.subject import chosen_split, open_subject

    _check_seed(seed)
    if not 0 <= image_size <= 4096:
        raise PinGraphError(f"--image_size is {image_size}: expected 0 to 4096")
    if k < 1:
        raise PinGraphError(f"--k is {k}: expected 1 or more")
    parquet = out.suffix == ".parquet"
    if not parquet and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise PinGraphError(f"{out}: expected a .parquet file, or a new or empty folder")
    _check_writable(out if parquet else out / "vectors.tsv")
    subject = open_subject(run, data, chosen_split(split, cold_fraction, split_seed), progress=True)
    facts = gather(subject, pins=pins, seed=seed)
    if parquet:
        write_parquet(out, facts, k=k, image_size=image_size)
    else:
        write_projector(out, facts)
    left_out = subject.dataset.num_pins - len(facts.pins)
    print(out)
    print(f"{len(facts.pins):,} pins ({left_out:,} left out)")


def sample(
    graph: str, num_seeds: int = 1000, seed: int = 0, out: Path | None = None, **chosen: Any
) -> None:
    """Compare samplers on the same pins of a graph, without training.

    Prints, for each sampler: how many neighbors it finds and how much of the graph; how evenly it
    weights them; what goes to hubs and to board-mates; what a pin costs. Then how much any two
    samplers agree, and how near walks come to exact personalized PageRank. What the numbers mean is
    in docs/sampler-lab.md. Without --sampler and --samplers it takes the built-in samplers that fit
    the graph.

      pingraph sample icons
      pingraph sample icons --sampler PinSAGESampler --sampler.num_walks 50 \\
                            --sampler my_module.MySampler -o lab
      pingraph sample edges.parquet --samplers mine.yaml --num_seeds 200

    where mine.yaml gives each sampler a name:

      short: {class_path: PinSAGESampler, init_args: {walk_length: 1}}
      mine: {class_path: my_module.MySampler}

    Args:
        graph: a data set folder, 'icons' or 'world', a saved graph, or a Parquet or CSV file of
            edges.
        num_seeds: how many pins to sample for, drawn from those on a board.
        seed: of the pins that are drawn and of the samplers.
        out: a new folder for sample.json, with every number, and the picture sample.png.
        chosen: those of `pingraph.lab.choice.gather`.
    """
    from pingraph.files import check_new_folder
    from pingraph.lab.choice import gather
    from pingraph.lab.run import run_lab

    _check_seed(seed)
    if num_seeds < 1:
        raise PinGraphError(f"--num_seeds is {num_seeds}: expected 1 or more")
    if out is not None:
        check_new_folder(out)
        _check_writable(out / "sample.json")
    run_lab(graph, gather(**chosen), num_seeds=num_seeds, seed=seed, out=out)


def demo(data: str = "icons", seed: int = 0, out: Path = Path("runs/demo")) -> None:
    """Train with and without the graph on the same budget, and show what the graph taught.

    Trains twice on one split (a fifth of the pins is cold: held out with all their edges), ranks
    the full corpus with both, and prints them side by side with cheap baselines. Writes both run
    folders, comparison.json and neighbors.png.

    Args:
        data: a data set folder, or 'icons' or 'world'.
        seed: of the split, the training and the intervals.
        out: the new folder to write to.
    """
    from pingraph.experiments.demo import run_demo

    _check_seed(seed)
    run_demo(data, seed, out)


def experiment(
    file: Path,
    out: Path | None = None,
    data: list[str] | None = None,
    conditions: list[str] | None = None,
    methods: list[str] | None = None,
    seeds: list[int] | None = None,
    jobs: int = 1,
    dry_run: bool = False,
) -> None:
    """Run a grid of data sets, conditions, methods and seeds, and write its tables and plots.

    A cell is a process of its own in a folder of its own. A finished one is never run again, and
    one that was stopped goes on, so the same command can be typed again at any time. Writes
    results.parquet, comparisons.parquet, table.md, .tex and .html, and plot.png and .svg. Exits
    with 2 where a cell failed.

    Args:
        file: a YAML file; docs/experiments.md describes it.
        out: the folder to write to, default runs/NAME.
        data: other data sets than the file's: 'icons', 'world' or folders.
        conditions: some of the file's conditions, by name.
        methods: some of the file's methods, by name.
        seeds: other seeds than the file's.
        jobs: cells that run at a time.
        dry_run: only list the cells, which of them are finished, and how long the others may take.
    """
    from pingraph.experiment.figures import Figures
    from pingraph.experiment.files import write_all
    from pingraph.experiment.plan import Experiment
    from pingraph.experiment.records import older
    from pingraph.experiment.run import listing, run_cells
    from pingraph.results import print_sheet

    chosen = Experiment.load(file).of(
        data=data or (), conditions=conditions or (), methods=methods or (), seeds=seeds or ()
    )
    out = Path("runs", file.stem) if out is None else out
    if dry_run:
        print(*listing(chosen, out, jobs=jobs), sep="\n")
        return
    # A scheduler stops a job by SIGTERM, a terminal that is closed by SIGHUP, and cells would run
    # on without the command that started them. They are stopped by SIGINT, which they would ignore
    # as well where this command does, as in the background of a script. SIGHUP that is ignored
    # stays so: that is what nohup is for.
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    for number in numbers:
        signal.signal(number, signal.default_int_handler)
    if note := older(chosen.cells(), out):
        sys.stderr.write(f"note: {note}\n")
    failures = run_cells(chosen, out, jobs=jobs)
    figures = Figures(chosen, out)
    if figures.cells:
        sheets, written = write_all(figures, out)
        for sheet in sheets:
            print_sheet(sheet)
        print(*written, sep="\n")
    for failure in failures:
        sys.stderr.write(f"failed: {failure}\n")
    if failures:
        sys.exit(2)


def _check_seed(seed: int) -> None:
    if not 0 <= seed < 2**32:
        raise PinGraphError(f"--seed is {seed}: expected 0 to {2**32 - 1}")


def _is_part(path: Path) -> bool:
    """Whether a data set or a run has this file: by its name, and by those that it stands with."""
    for names in (_OF_DATA, _OF_RUN):
        for name in names:
            folder = path.parents[name.count("/")]
            beside = any((folder / other).exists() for other in names if other != name)
            if beside and path == folder / name:
                return True
    return False


def _check_suffix(path: Path, suffix: str) -> None:
    if path.suffix != suffix:
        raise PinGraphError(f"{path}: expected the name of a {suffix} file")


def _check_writable(path: Path) -> None:
    """Refuse, before the work is done, a file that could not be written after it, or should not."""
    if path.exists() and _is_part(path.resolve()):
        raise PinGraphError(f"cannot write {path}: it is a part of a data set or of a run")
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise PinGraphError(f"cannot write {path}: {error.strerror}") from error
