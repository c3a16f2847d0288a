"""A run folder that is damaged, or whose data are gone, is refused by the name of what is wrong."""

import json

import pytest
import yaml

from tests.command_line import contents

pytestmark = pytest.mark.xdist_group("commands")


@pytest.mark.parametrize(
    "name", ["config.yaml", "data.json", "tokenizer.json", "split.safetensors"]
)
@pytest.mark.parametrize("damage", ["cut", "junk", "gone"])
def test_a_damaged_run_is_refused_by_the_name_of_the_file(name, damage, run, commands):
    path = run / name
    if damage == "gone":
        path.unlink()
    else:
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 3] if damage == "cut" else b"\xff\xfe\x00junk")
    before = contents(run)
    assert name in commands.run("evaluate", run).refusal()
    assert contents(run) == before


def test_a_checkpoint_that_does_not_fit_is_refused(run, commands, tiny_folder):
    checkpoint = run / "checkpoints" / "last.ckpt"
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["model"]["encoder"]["init_args"]["dim"] = 32
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    before = contents(run)
    for args in (["evaluate", run], ["embed", run, tiny_folder, "-o", run / "e.parquet"]):
        assert "last.ckpt is of another model" in commands.run(*args).refusal()
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    assert "last.ckpt: not a checkpoint" in commands.run("neighbors", run, "3").refusal()
    flipped = bytearray(before["checkpoints/last.ckpt"])
    flipped[len(flipped) // 2] ^= 1
    checkpoint.write_bytes(flipped)
    assert (
        "last.ckpt: not a checkpoint, or a damaged one" in commands.run("evaluate", run).refusal()
    )
    checkpoint.write_bytes(before["checkpoints/last.ckpt"])
    assert contents(run) == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"folder": "/nowhere"}, "/nowhere: no such folder"),
        ({"fingerprint": "0"}, "has changed since"),
        ({"name": 3}, "data.json: expected text under every key"),
    ],
)
def test_a_run_whose_data_are_gone_or_changed_is_refused(change, words, run, commands):
    card = json.loads((run / "data.json").read_text())
    (run / "data.json").write_text(json.dumps({**card, **change}))
    for args in (["evaluate", run], ["neighbors", run, "3"]):
        assert words in commands.run(*args).refusal()
    assert not (run / "metrics.json").exists()
