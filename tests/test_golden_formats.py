"""What lies on users' disks and behind published figures stays what it is, to the bit.

A change of a hash here makes saved graphs unreadable or stale, or holds out other pins under the
same seed: say so in the commit, and raise the version of the file where it has one.
"""

import hashlib
import json

import numpy as np

from pingraph.experiment.cell import split_fingerprint
from pingraph.graph import PinBoardGraph
from pingraph.mixed_split import MixedSplit
from pingraph.samplers import CoBoardSampler, record
from pingraph.splits import BoardSplit, EdgeSplit, PinSplit, TimeSplit


def graph():
    rng = np.random.default_rng(0)
    pins, boards, times = rng.integers(0, [[300], [40], [1000]], (3, 900))
    return PinBoardGraph.from_edges(pins, boards, 1.0 + pins % 3, times)


def digest(data):
    return hashlib.sha256(data).hexdigest()[:16]


def test_a_saved_graph(tmp_path):
    graph().save(tmp_path / "graph")
    manifest = json.loads((tmp_path / "graph" / "manifest.json").read_text())
    assert digest(json.dumps(manifest, sort_keys=True).encode()) == "516b1f726f8eb86c"
    assert graph().fingerprint()[:16] == "7370999fa15d4410"


def test_a_recording(tmp_path):
    record(CoBoardSampler(k=5), graph(), np.arange(20), tmp_path / "rows", seed=1, epoch=2)
    assert digest((tmp_path / "rows").read_bytes()) == "1a15f9bd03899a36"


def test_splits(tiny):
    splits = [
        PinSplit(0.2, seed=1),
        BoardSplit(0.2, seed=1),
        EdgeSplit(0.2, seed=1),
        MixedSplit(0.2, 0.2, seed=1),
        TimeSplit(0.2),
    ]
    found = {type(one).__name__: split_fingerprint(one.split(tiny))[:16] for one in splits}
    assert found == SPLITS


SPLITS = {
    "PinSplit": "40369d559776b866",
    "BoardSplit": "ad7ff1f2ef04721e",
    "EdgeSplit": "12686b9c93de1861",
    "MixedSplit": "be8a57ca491c67a7",
    "TimeSplit": "bda829e6459410d6",
}
