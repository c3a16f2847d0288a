"""What many processes compile at once is kept apart in numba's cache."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from pingraph.compiled import njit

KERNEL = """
import sys, time
import numpy as np
from numba.core.caching import IndexDataCacheFile

read = IndexDataCacheFile._load_index

def slow(self):
    index = read(self)
    time.sleep(1)  # in which another process reads the same index
    return index

IndexDataCacheFile._load_index = slow

@njit(cache=True)
def double(x):
    return 2 * x

print(double(np.ones(2, sys.argv[1])))
"""


@pytest.mark.parametrize(("source", "lost"), [("pingraph.compiled", 0), ("numba", 1)])
def test_processes_that_compile_at_once_do_not_share_a_file(source, lost, tmp_path):
    (tmp_path / "kernel.py").write_text(f"from {source} import njit\n{KERNEL}")
    types = ["float32", "float64"]
    run = [sys.executable, "kernel.py"]
    settings = {"cwd": tmp_path, "env": {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}}
    at_once = [subprocess.Popen([*run, one], **settings) for one in types]
    assert [process.wait(120) for process in at_once] == [0, 0]
    (index,) = (tmp_path / "cache").rglob("*.nbi")
    with index.open("rb") as file:
        pickle.load(file)
        _, entries = pickle.loads(file.read())
    assert len(entries) == len(set(entries.values())) == 2 - lost


def test_a_cache_that_cannot_be_locked_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "none" / "yet"))
    assert njit(lambda x: x + 1)(1) == 2
    assert njit(nogil=True)(lambda x: x + 1)(1.5) == 2.5
    half = njit(cache=True)(halve)
    np.testing.assert_array_equal(half(np.arange(3.0)), [0, 0.5, 1])


def halve(x):
    return x / 2
