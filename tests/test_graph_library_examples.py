"""The examples with PyG and DGL, as processes on a small world: they print that they learn."""

import os
import re
import subprocess
import sys

import pytest

from pingraph.world import World


@pytest.fixture(scope="module")
def small_world(tmp_path_factory):
    """500 pins of 8 topics of 3 looks, which texts know and boards do not mind."""
    folder = tmp_path_factory.mktemp("examples") / "small"
    World(num_pins=500, num_boards=120, num_topics=8, image_size=8).write(folder)
    return folder


@pytest.mark.parametrize("name", ["pyg_graphsage", "dgl_pinsage"])
def test_an_example_learns(name, small_world):
    """With seeds 0, 1 and 2 recall grew by a factor of 3.5 to 5.8, and the loss fell by half."""
    ended = subprocess.run(
        [sys.executable, "-m", f"pingraph.experiments.{name}", "--data", small_world, "--epochs=3"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "DGLBACKEND": "pytorch"},
        capture_output=True,
        timeout=120,
        encoding="utf-8",
    )
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "texts alone",
        "untrained",
        *(f"epoch {epoch}" for epoch in (1, 2, 3)),
        "trained",
    ]
    values = [float(re.search(r" (0\.\d+)$", line)[1]) for line in lines]
    alone, untrained, *losses, trained = values
    assert 0.02 < untrained < 0.15
    assert trained > 2.5 * max(alone, untrained)
    assert losses[0] > 1.4 * losses[1]
    assert losses[0] > 1.4 * losses[2]
