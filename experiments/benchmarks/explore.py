"""Time every kind of step of `pingraph explore` over HTTP, as a browser asks for it.

python experiments/benchmarks/explore.py [--quick] [--pins N] [--rounds N] [--json FILE]

Makes a world, trains a run for a few steps (what vectors are worth does not matter here), puts a
file of vectors around the boards' centers beside it, and starts the command as a process: once when
the run has to be embedded, and once more. Each step is asked for with other pins, one after the
other, over one connection; the time is that until the answer is read.
"""

import http.client
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
from rich.console import Console
from rich.table import Table

from pingraph.datasets import PinBoardDataset, open_dataset
from pingraph.experiments.benchmarks.common import machine, parse_arguments
from pingraph.world import World

DIMENSIONS = 128
COMMAND = Path(sys.executable).with_name("pingraph")


def main() -> None:
    arguments = parse_arguments(__doc__, pins=100_000, rounds=100)
    if arguments.quick:
        arguments.pins, arguments.rounds = 2_000, 20
    console = Console()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_data(folder, arguments.pins)
        starts, timed = [], {}
        for turn in ("the first start, which embeds the run", "the next start"):
            begun = time.perf_counter()
            with serving(folder) as connection:
                starts.append((turn, time.perf_counter() - begun))
                if len(starts) == 2:
                    steps = make_steps(open_dataset(folder / "world"))
                    timed = {
                        step: measure(connection, *given, rounds=arguments.rounds)
                        for step, given in steps.items()
                    }
    console.print(table_of(timed, f"{arguments.pins:,} pins, milliseconds"))
    for turn, seconds in starts:
        console.print(f"{turn}: {seconds:.0f} s until the address is printed")
    console.print(f"{machine()}; the whole run took {time.time() - arguments.started:.0f} s")
    if arguments.json:
        found = {"machine": machine(), "pins": arguments.pins, "starts": starts, "ms": timed}
        Path(arguments.json).write_text(json.dumps(found, indent=2) + "\n")


def make_data(folder: Path, pins: int) -> None:
    """Write world, run and vectors.npy."""
    World(num_pins=pins, num_boards=max(16, pins // 12)).write(folder / "world")
    subprocess.run(
        [
            *(COMMAND, "fit", f"--data.folder={folder / 'world'}", "--trainer.max_steps=5"),
            f"--trainer.default_root_dir={folder / 'run'}",
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    graph = open_dataset(folder / "world").graph
    random = np.random.default_rng(0)
    centers = random.standard_normal((graph.num_boards, DIMENSIONS), np.float32)
    vectors = graph.incidence() @ centers
    vectors += random.standard_normal(vectors.shape, np.float32)
    np.save(folder / "vectors.npy", vectors)


@contextmanager
def serving(folder: Path):
    """Yield a connection to the command; Ctrl-C ends it."""
    arguments = ["vectors.npy", "--data", folder / "world", "--split", "run", "--port", "0"]
    process = subprocess.Popen(
        [COMMAND, "explore", "run", *arguments], cwd=folder, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip().rstrip("/").rpartition(":")[2]
        connection = http.client.HTTPConnection("127.0.0.1", int(port))
        yield connection
        connection.close()
    finally:
        process.terminate()
        process.wait()


def make_steps(dataset: PinBoardDataset) -> dict[str, tuple[Callable[[int], str], bytes | None]]:
    """Return by name the address of a step with the i-th drawn pin, and what is sent to it."""
    from pingraph.images import encode_png

    random = np.random.default_rng(1)
    pictured = random.permutation(np.flatnonzero(dataset.has_image))
    worded = random.permutation(np.flatnonzero(dataset.has_text))
    image = dataset.image(pictured[0])
    assert image is not None

    def pin(i: int) -> str:
        return dataset.pin_ids[pictured[i % len(pictured)]].item()

    def text(i: int) -> str:
        return dataset.texts[worded[i % len(worded)]]

    def board(i: int) -> str:
        return dataset.board_ids[i % len(dataset.board_ids)].item()

    def view(**given) -> str:
        return "/api/view?" + urlencode({name.rstrip("_"): one for name, one in given.items()})

    def title(i: int) -> str:
        return urlencode({"words": dataset.board_titles[i % len(dataset.board_ids)][:4]})

    get = {
        "neighbors in two embeddings": lambda i: view(pin=pin(i)),
        "neighbors by walks": lambda i: view(pin=pin(i), by="graph"),
        "both embeddings and walks": lambda i: view(pin=pin(i), by="both"),
        "the same, 200 of each": lambda i: view(pin=pin(i), by="both", k=200),
        "filter: cold pins on 2 to 9 boards": lambda i: view(
            pin=pin(i), by="both", state="cold", least=2, most=9
        ),
        "filter: pins of a board": lambda i: view(pin=pin(i), by="both", in_=board(i)),
        "search by text": lambda i: view(text=text(i)),
        "search by words": lambda i: view(words=text(i).split()[0]),
        "a board": lambda i: view(board=board(i)),
        "boards suggested for a filter": lambda i: "/api/boards?" + title(i),
        "a picture": lambda i: f"/image/{pictured[i % len(pictured)]}",
    }
    return {
        **{name: (path, None) for name, path in get.items()},
        "an image sent to search with": (lambda i: "/api/image", encode_png(image)),
        "why two pins are near": (
            lambda i: "/api/why?" + urlencode({"pin": pin(i), "other": pin(i + 1), "run": 0}),
            None,
        ),
    }


def measure(
    connection: http.client.HTTPConnection,
    path: Callable[[int], str],
    body: bytes | None,
    rounds: int,
) -> list[float]:
    """Return the milliseconds of each round."""
    times = []
    headers = {} if body is None else {"Origin": f"http://127.0.0.1:{connection.port}"}
    for turn in range(rounds):
        begun = time.perf_counter()
        connection.request("GET" if body is None else "POST", path(turn), body, headers)
        answer = connection.getresponse()
        content = answer.read()
        times.append(1000 * (time.perf_counter() - begun))
        if answer.status != 200:
            raise RuntimeError(f"{path(turn)}: {answer.status} {content[:200]!r}")
    return times


def table_of(timed: dict[str, list[float]], title: str) -> Table:
    table = Table("", title=title, title_justify="left")
    for heading in ("median", "95%", "worst"):
        table.add_column(heading, justify="right")
    for name, times in timed.items():
        cells = (np.median(times), np.percentile(times, 95), max(times))
        table.add_row(name, *(f"{cell:.0f}" if cell >= 10 else f"{cell:.1f}" for cell in cells))
    return table


if __name__ == "__main__":
    main()
