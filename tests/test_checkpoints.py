"""A run keeps more than its last checkpoint when asked, and each is judged like a run."""

import shutil

import numpy as np
import pytest

from pingraph.embeddings import read_embeddings
from pingraph.errors import PinGraphError
from pingraph.explore.kept import embed_once
from pingraph.runs import Run
from pingraph.subject import SplitFile, open_subject, open_subjects
from pingraph.weights import read_state
from tests.command_line import TINY, contents

pytestmark = pytest.mark.xdist_group("commands")

KEEP = [
    "--trainer.callbacks+=ModelCheckpoint",
    "--trainer.callbacks.every_n_train_steps=2",
    "--trainer.callbacks.save_top_k=-1",
]


@pytest.fixture(scope="module")
def kept(commands, tiny_folder, tmp_path_factory):
    """A run of five steps with the checkpoints of steps 2 and 4."""
    run = tmp_path_factory.mktemp("kept") / "mine"
    commands.run(
        *("fit", f"--data.folder={tiny_folder}", f"--trainer.default_root_dir={run}"),
        *("--trainer.max_steps=5", "--data.num_workers=0", *TINY, *KEEP),
        f"--trainer.callbacks.dirpath={run}/checkpoints",
    )
    return run


@pytest.fixture
def early(kept):
    return kept / "checkpoints" / "epoch=0-step=2.ckpt"


def test_an_earlier_checkpoint_has_the_weights_of_then(kept, early):
    last, then = Run.open(kept), Run.open(early)
    assert [last.name, then.name] == ["mine", "mine epoch=0-step=2"]
    assert [last.ended, then.ended] == [True, False]
    again = Run.open(kept / "checkpoints" / "last.ckpt")
    assert (again.name, again.ended) == ("mine", True)
    fused = [run.embed(last.dataset()).fused for run in (last, then, again)]
    np.testing.assert_array_equal(fused[0], fused[2])
    assert abs(fused[0] - fused[1]).max() > 1e-4
    state = read_state(early)
    for name, value in then.encoder.state_dict().items():
        np.testing.assert_array_equal(value, state[f"encoder.{name}"])


def test_evaluating_an_earlier_checkpoint_writes_nothing_unless_asked(
    kept, early, commands, tmp_path
):
    before = contents(kept)
    ended = commands.run("evaluate", early)
    assert (ended.status, contents(kept)) == (0, before)
    assert "recall@10" in ended.out
    commands.run("evaluate", early, "-o", tmp_path / "out")
    assert (tmp_path / "out" / "metrics.json").exists()


def test_two_checkpoints_of_one_run_stand_side_by_side(kept, early):
    subjects = open_subjects([kept, early])
    assert [one.name for one in subjects] == ["mine", "mine epoch=0-step=2"]
    tables = [embed_once(one.run, one.dataset) for one in subjects]
    files = (kept / "embeddings.parquet", early.with_suffix(".parquet"))
    for path, table in zip(files, tables, strict=True):
        np.testing.assert_array_equal(read_embeddings(path).fused, table.fused)
    assert abs(tables[0].fused - tables[1].fused).max() > 1e-4


def test_a_checkpoint_is_found_from_its_own_folder_and_by_a_link(early, tmp_path, monkeypatch):
    (tmp_path / "linked.ckpt").symlink_to(early)
    monkeypatch.chdir(early.parent)
    for path in (early.name, tmp_path / "linked.ckpt"):
        assert Run.open(path).checkpoint == early.resolve()
    assert Run.open("last.ckpt").ended


def test_a_checkpoint_has_the_split_of_its_run(kept, early):
    dataset = Run.open(kept).dataset()
    found = [SplitFile(path).split(dataset) for path in (kept, early)]
    np.testing.assert_array_equal(found[0].train_edges, found[1].train_edges)


def test_a_run_that_has_not_ended_is_opened_by_its_first_checkpoint(early, kept, tmp_path):
    shutil.copytree(kept, tmp_path / "mine")
    (tmp_path / "mine" / "checkpoints" / "last.ckpt").unlink()
    assert Run.open(tmp_path / "mine" / "checkpoints" / early.name).name == "mine epoch=0-step=2"
    with pytest.raises(
        PinGraphError, match=r"mine is not a trained run: it has no checkpoints/last"
    ):
        Run.open(tmp_path / "mine")


def test_a_checkpoint_that_is_of_no_run_is_refused(early, tmp_path):
    alone = tmp_path / "alone.ckpt"
    with pytest.raises(PinGraphError, match=r"alone.ckpt: no such checkpoint"):
        open_subject(alone)
    alone.write_bytes(early.read_bytes())
    with pytest.raises(PinGraphError, match=r"alone.ckpt is in no run folder"):
        open_subject(alone)
