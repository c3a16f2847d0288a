"""Small data sets that the tests share, and a cache that is not the user's."""

import fcntl
import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pingraph.datasets import open_dataset
from tests.command_line import TINY, CommandServer

# Before torch is loaded: threads of several test processes would wait for one another on few cores,
# and a forked child of a process that has OpenMP threads hangs as soon as it computes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Who starts the tests in the background may ignore Ctrl-C, and so would the commands that we stop.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items):
    """Keep a file in one process of xdist: its fixtures are made, its kernels compiled once."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.name))


@pytest.fixture(scope="session")
def make_once(tmp_path_factory):
    """A function that makes a folder by its name once for all processes of this test run."""
    base = tmp_path_factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def make(name, fill):
        folder, done = root / name, root / f"{name}.done"
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # held until the file is closed
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a process that failed
                fill(folder)
                done.touch()
        return folder

    return make


@pytest.fixture(scope="session", autouse=True)
def cache(make_once):
    """A cache folder of this test run: built-in data sets are made in it at most once."""
    folder = make_once("cache", Path.mkdir)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PINGRAPH_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def tiny_folder(make_once):
    """A valid folder: 60 pins with 16 x 16 images and text, 14 boards on 4 topics, times.

    4 pins lack the image, 6 the text; 6 show another's image to the byte; 6 have no edge.
    """
    from pingraph.world import World

    world = World(
        num_pins=60,
        num_boards=14,
        num_topics=4,
        looks=1,
        saves_per_pin=4,
        fresh_share=0.1,
        missing_image=4 / 60,
        image_size=16,
    )
    return make_once("tiny", world.write)


@pytest.fixture(scope="session")
def tiny(tiny_folder):
    """The opened data set of `tiny_folder`."""
    return open_dataset(tiny_folder)


@pytest.fixture(scope="session")
def spawned():
    """A pool of one process that was spawned: it knows only what is pickled to it.

    It imports everything anew, which takes seconds, and so is started once for all tests. It cannot
    import the tests.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        yield pool


@pytest.fixture(scope="session")
def commands(cache, tmp_path_factory):
    """A server that runs command lines of pingraph as processes."""
    server = CommandServer(tmp_path_factory.mktemp("commands"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def trained(tiny_folder, make_once):
    """A run folder that `pingraph fit` wrote: 10 steps on `tiny_folder`; read only."""

    def write(folder):
        from pingraph.fit import fit

        folder.mkdir()
        (folder / "mine.yaml").write_text(
            f"trainer: {{max_steps: 10, default_root_dir: {folder / 'run'}}}\n"
            f"data: {{folder: {tiny_folder}, num_workers: 0}}\n"
        )
        fit([f"--config={folder / 'mine.yaml'}", *TINY])

    return make_once("trained", write) / "run"


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the trained run that may be damaged."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def write_folder(tmp_path):
    """A function that writes three tables as a folder, unchecked, and returns its path.

    Each table is a dict of columns or a pa.Table; what is not given is four pins with texts and
    one-color images on three boards; None leaves the file out.
    """

    def write(name="folder", **tables):
        folder = tmp_path / name
        folder.mkdir()
        for key, default in plain_tables().items():
            table = tables.get(key, default)
            if isinstance(table, dict):
                table = pa.table(table)
            if table is not None:
                pq.write_table(table, folder / f"{key}.parquet")
        return folder

    return write


def plain_tables():
    from PIL import Image

    from pingraph.images import encode_png

    colors = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9))
    return {
        "pins": {
            "pin_id": ["a", "b", "c", "d"],
            "image": [encode_png(Image.new("RGB", (8, 8), color)) for color in colors],
            "text": ["red sky", "green field", "blue sea", "black cat"],
        },
        "boards": {"board_id": [10, 20, 30], "title": ["colors", "nature", "animals"]},
        "edges": {
            "pin_id": ["a", "a", "b", "b", "c", "c", "d"],
            "board_id": np.array([10, 20, 10, 20, 10, 20, 30]),
        },
    }
