"""Walks as recommenders on the Pinterest benchmark, beside cheap and learned ones.

    python -m pingraph.experiments.pinterest FOLDER

docs/pinterest.md holds the tables that this prints, and what they say.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pingraph.errors import PinGraphError
from pingraph.experiments import recommenders
from pingraph.experiments.leave_one_out import LeaveOneOut
from pingraph.experiments.methods import LightGCN
from pingraph.experiments.pinterest_sheets import REFERENCE, sheets, to_dict
from pingraph.experiments.recommender_comparison import compare, count_steps
from pingraph.files import write_json
from pingraph.parsing import run_module
from pingraph.progress import progress_bar
from pingraph.results import print_sheet
from pingraph.samplers import PinSAGESampler, PixieSampler, PPRSampler

if TYPE_CHECKING:
    from pingraph.experiments.recommender_comparison import Fit

STRENGTHS = (1000, 2000, 4000)  # λ of EASE; 100 and 12,000 were worse on validation pins
# Tried on validation pins: rates 0.03 and 0.1, penalties 1e-4 and 1e-3, fewer steps.
LIGHT_GCN = LightGCN(steps=400, batch_size=65536, learning_rate=0.03, penalty=1e-4)
_NEVER = 2**24  # more visits than there are steps: no early stop


def methods(num_pins: int, *, seed: int, num_threads: int) -> dict[str, dict[str, Fit]]:
    """Return the methods by name, each with the settings that it chooses from.

    Args:
        num_pins: of the graph, so that no visited pin is left out.
        seed: of the walks, and of LightGCN.
        num_threads: threads of the samplers.
    """
    common: dict[str, Any] = {"k": num_pins, "num_threads": num_threads}
    found: dict[str, dict[str, Fit]] = {
        "popularity": {"": recommenders.popularity},
        REFERENCE: {"": recommenders.co_occurrence},
    }
    for walks in (200, 10_000):
        pinsage = PinSAGESampler(num_walks=walks, **common)
        fit = partial(recommenders.neighbor_weights, sampler=pinsage, seed=seed)
        found[f"PinSAGE, {walks:,} walks of a pin"] = {"": fit}
    for steps in (10_000, 100_000):
        pixie = PixieSampler(num_steps=steps, min_visits=_NEVER, **common)
        fit = partial(recommenders.pixie, sampler=pixie, seed=seed)
        found[f"Pixie, {steps:,} steps of a board"] = {"": fit}
    ppr = PPRSampler(**common)
    endless = partial(recommenders.neighbor_weights, sampler=ppr, seed=seed)
    found["PinSAGE without end (PageRank)"] = {"": endless}
    found["Pixie without end (PageRank)"] = {"": partial(recommenders.endless_pixie, sampler=ppr)}
    strengths: dict[str, Fit] = {
        f"λ {one}": partial(recommenders.ease, strength=one) for one in STRENGTHS
    }
    found["EASE (learned)"] = strengths
    light_gcn = partial(recommenders.light_gcn, model=LIGHT_GCN, seed=seed)
    return {**found, "LightGCN (learned)": {"": light_gcn}}


def run(
    folder: Path,
    num_boards: int | None = None,
    seed: int = 0,
    num_threads: int = 2,
    out: Path | None = None,
) -> None:
    """Rank hidden pins of the Pinterest benchmark by walks, and by cheap and learned methods.

    Each board hides one pin, to be found among pins that it never saved; what else it saved is
    known. A method scores these candidates; HR@10 is the share of boards whose hidden pin is among
    the best ten, NDCG@10 counts a hit the less the lower it stands, 1 / log2(place + 1). Among
    equal scores each order is as likely, and the mean over the orders counts. A hidden pin that
    nobody else saved is a miss. Prints a table of both with 95% intervals (bootstrap over boards),
    another one by how many boards the hidden pin has, and published figures beside. About 14
    CPU minutes and 2 GB for the whole benchmark; the learned methods take half of it, however few
    the boards. docs/pinterest.md tells what comes out of it.

      python -m pingraph.experiments.pinterest path/to/pinterest-graph --out pinterest.json
      python -m pingraph.experiments.pinterest path/to/pinterest-graph --num_boards 1000

    Args:
        folder: with train_edges.parquet (board_id, pin_id), test.parquet (board_id, pin_id: the
            hidden pin of each board) and test_negatives.parquet (board_id, negative_pin_ids).
        num_boards: rank for so many boards, drawn at random; all if not given. The graph stays
            whole.
        seed: of the walks, of LightGCN, of this draw, and of the pins that settings are tuned on.
        num_threads: threads of the walks; they do not change the result.
        out: a JSON file for every figure.
    """
    for name, value, least in (
        ("num_boards", num_boards, 1),
        ("seed", seed, 0),
        ("num_threads", num_threads, 1),
    ):
        if value is not None and value < least:
            raise PinGraphError(f"--{name} is {value}: expected {least} or more")
    if out is not None and out.is_dir():
        raise PinGraphError(f"{out}: is a folder; expected the name of a file")
    task = LeaveOneOut.read(folder)
    if num_boards is not None:
        task = task.draw(num_boards, seed=seed)
    found = methods(task.graph.num_pins, seed=seed, num_threads=num_threads)
    with progress_bar(count_steps(task, found)) as step:
        comparison = compare(task, found, seed=seed, step=step)
    try:
        if out is not None:
            write_json(out, to_dict(comparison))
    finally:  # a full disk shall not cost the figures
        for sheet in sheets(comparison):
            print_sheet(sheet)


def main(args: list[str] | None = None) -> None:
    """Run the command line; what the user can put right is printed, and exits with 2."""
    run_module(run, "pingraph.experiments.pinterest", args)


if __name__ == "__main__":
    main()
