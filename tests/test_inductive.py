"""The inductive law: a pin's embedding is of its content alone, whatever the graph taught."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from pingraph.datasets import open_dataset, write_dataset
from pingraph.fit import fit
from pingraph.interfaces import PinContent
from pingraph.runs import Run
from tests import tiny_models
from tests.training_cases import EVERYTHING, arguments, pretrained

NAMES = ("image", "text", "fused", "has_image", "has_text")
CONTEXT = """
model:
  objective:
    class_path: pingraph.objectives.AlignmentObjective
    init_args:
      bank_size: 16
      context: {class_path: pingraph.neighbor_context.NeighborContext, init_args: {kind: pooling}}
"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return tiny_models.save("clip", tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module", params=["plain", "everything", "frozen", "lora"])
def run(request, clip, tiny_folder, tmp_path_factory):
    """A run that was trained on the graph: by walks alone, with bank and context, on a CLIP."""
    config = {
        "plain": "",
        "everything": EVERYTHING,
        "frozen": pretrained(clip, {"train": "nothing"}) + CONTEXT.replace("model:\n", "", 1),
        "lora": pretrained(clip, {"train": "lora", "rank": 2}) + CONTEXT.replace("model:\n", "", 1),
    }[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    return Run.open(fit(arguments(tiny_folder, folder, "run", config)))


@pytest.fixture(scope="module")
def embedded(run, tiny):
    return run.embed(tiny)


@pytest.fixture(scope="module")
def cut(tiny_folder, tmp_path_factory):
    """The same pins with half of the edges, and with neither boards nor edges."""
    pins, boards, edges = (
        pq.read_table(tiny_folder / f"{name}.parquet") for name in ("pins", "boards", "edges")
    )
    folder = tmp_path_factory.mktemp("cut") / "half"
    write_dataset(folder, pins=pins, boards=boards, edges=edges[: len(edges) // 2])
    half = open_dataset(folder)
    assert 0 < half.graph.num_edges < len(edges)
    return [half, open_dataset(tiny_folder, pins_only=True)]


def test_cutting_edges_changes_no_bit(run, embedded, cut):
    for dataset in cut:
        table = run.embed(dataset)
        for name in NAMES:
            np.testing.assert_array_equal(getattr(table, name), getattr(embedded, name))


def test_the_encoder_is_given_content_and_nothing_else(run, tiny, monkeypatch):
    """Neither ids nor neighbors, for which `PinContent` has no field; bank and context are gone."""
    given = []
    forward = type(run.encoder).forward

    def recording(encoder, *args, **more):
        given.append((args, more))
        return forward(encoder, *args, **more)

    monkeypatch.setattr(type(run.encoder), "forward", recording)
    run.embed(tiny)
    assert given
    assert all(len(args) == 1 and not more for args, more in given)
    assert {type(args[0]) for args, _ in given} == {PinContent}
    assert not any("bank" in name or "context" in name for name in run.encoder.state_dict())
