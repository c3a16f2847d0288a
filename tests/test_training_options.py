"""The options of a training, each and together: exact to resume, equal on ranks, told right."""

import csv
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from pingraph.batches import PinBatches
from pingraph.encoders import PretrainedBackbone, Tuning
from pingraph.errors import PinGraphError
from pingraph.fit import fit
from pingraph.module import PinModule
from pingraph.run_files import CHECKPOINT_FILE, CONFIG_FILE
from pingraph.runs import Run
from pingraph.weights import read_state
from tests import tiny_models, tiny_qwen
from tests.training_cases import EVERYTHING, arguments, pretrained


@pytest.fixture
def train(tiny_folder, tmp_path):
    """A function that trains on the tiny folder with a YAML and options, as a user does."""

    def train(name, config="", **changes):
        return fit(arguments(tiny_folder, tmp_path, name, config, **changes))

    return train


def state(run):
    return read_state(run / CHECKPOINT_FILE)


def same(one, other):
    one, other = state(one), state(other)
    assert one.keys() == other.keys()
    return [name for name in one if not torch.equal(one[name], other[name])] == []


def rows(run):
    with (run / "csv" / "version_0" / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return tiny_models.save("clip", tmp_path_factory.mktemp("clip"))


@pytest.fixture
def interrupted(monkeypatch):
    """A function that trains until Ctrl-C comes in the step after some others."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield lambda train, *args, steps=4, **changes: interrupt(
        monkeypatch, train, *args, steps=steps, **changes
    )
    for number, handler in handlers.items():  # Lightning ignores Ctrl-C for good once it came
        signal.signal(number, handler)


def interrupt(monkeypatch, train, *args, steps, **changes):
    before = PinModule.training_step

    def training_step(module, batch, batch_idx):
        if batch.index == steps:
            raise KeyboardInterrupt
        return before(module, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(PinModule, "training_step", training_step)
        with pytest.raises(KeyboardInterrupt, match="to go on: "):
            train(*args, **changes)


def test_everything_at_once_goes_on_exactly(train, interrupted, tmp_path, recwarn):
    """Bank, context, views, hard negatives and the rest: no bit differs after an interruption."""
    whole = train("whole", EVERYTHING)
    interrupted(train, "run", EVERYTHING)
    assert not same(tmp_path / "run", whole)
    assert same(train("run", EVERYTHING, ckpt_path=tmp_path / "run" / CHECKPOINT_FILE), whole)
    assert (state(whole)["objective.bank.pins"] >= 0).all()
    assert all(float(row["loss/context"]) > 0 for row in rows(whole))
    assert state(whole)["objective.bank.vectors"].shape[-1] == 24
    assert [one for one in recwarn if "draws nothing" in str(one.message)] == []


def test_interrupted_between_two_halves_of_a_step(train, interrupted, tmp_path):
    """With accumulated gradients the step is done again from its first batch."""
    changes = {"trainer__accumulate_grad_batches": 2, "trainer__max_steps": 3}
    whole = train("whole", **changes)
    interrupted(train, "run", steps=3, **changes)
    assert same(train("run", **changes, ckpt_path=tmp_path / "run" / CHECKPOINT_FILE), whole)


def test_recomputed_chunks_train_alike(train):
    assert same(train("kept"), train("again", model__recompute=True))


@pytest.mark.parametrize("form", ["softmax", "multi_softmax", "sigmoid"])
def test_each_form_learns(form, train):
    run = train(form, model__objective__form=form, trainer__max_steps=15, data__batch_size=24)
    curve = [float(row["loss"]) for row in rows(run)]
    assert np.mean(curve[-5:]) < 0.9 * np.mean(curve[:5])


def test_a_term_pulls_by_its_weight(train):
    whole, quarter = (
        rows(train(name, model__objective__neighbor_weight=weight, trainer__max_steps=1))[0]
        for name, weight in (("whole", 1.0), ("quarter", 0.25))
    )
    for name, share in (("pull_neighbor", 0.25), ("pull_image_text", 1)):
        found, expected = float(quarter[f"audit/{name}"]), share * float(whole[f"audit/{name}"])
        assert found == pytest.approx(expected, rel=1e-4)


def test_half_precision_trains_near_full_precision(train):
    full, half = (
        [float(row["loss"]) for row in rows(train(precision, trainer__precision=precision))]
        for precision in ("32-true", "bf16-mixed")
    )
    assert full != half
    assert half == pytest.approx(full, rel=0.05)


@pytest.mark.xdist_group("commands")
def test_two_ranks_with_everything_train_as_one(train, commands, tiny_folder, tmp_path):
    ranks = {"trainer__strategy": "ddp_fork", "trainer__devices": 2, "trainer__max_steps": 4}
    args = arguments(tiny_folder, tmp_path, "ranks", EVERYTHING, **ranks)
    ended = commands.run("fit", *args)
    assert ended.status == 0, ended.err
    one = train("one", EVERYTHING, trainer__max_steps=4)
    compared = [name for name in rows(one)[0] if not name.startswith("speed/")]
    for step, (row, expected) in enumerate(zip(rows(tmp_path / "ranks"), rows(one), strict=True)):
        near = 2e-4 if step else 1e-5  # Adam makes more of what differs by rounding
        for name in compared:
            assert float(row[name]) == pytest.approx(float(expected[name]), abs=near), name
    found = state(tmp_path / "ranks")
    for name, value in state(one).items():
        torch.testing.assert_close(found[name], value, atol=3e-4, rtol=0, msg=name)


@pytest.fixture
def images_seen(monkeypatch, tmp_path):
    """The number of images of each call of a pretrained backbone, with an empty cache."""
    monkeypatch.setenv("PINGRAPH_CACHE", str(tmp_path / "cache"))
    seen, embed_images = [], PretrainedBackbone.embed_images

    def recording(backbone, images):
        seen.append(len(images))
        return embed_images(backbone, images)

    monkeypatch.setattr(PretrainedBackbone, "embed_images", recording)
    return seen


def test_a_frozen_trunk_runs_once_for_all_runs(
    train, clip, tiny, interrupted, images_seen, tmp_path
):
    """The second run, one that goes on, and the embedding of all pins read what the first wrote."""
    frozen = pretrained(clip, {"train": "nothing"})
    whole = train("whole", frozen)
    assert sum(images_seen) == tiny.has_image.sum()
    images_seen.clear()
    interrupted(train, "run", frozen)
    assert same(train("run", frozen, ckpt_path=tmp_path / "run" / CHECKPOINT_FILE), whole)
    table = Run.open(whole).embed(tiny)
    assert images_seen == []
    np.testing.assert_allclose(np.linalg.norm(table.fused, axis=1), 1, atol=1e-5)
    found = state(whole)
    for name, value in PretrainedBackbone(clip).state_dict().items():
        assert torch.equal(found[f"encoder.backbone.{name}"], value)


@pytest.mark.parametrize(
    "tuning",
    [
        {"train": "last", "layers": 1, "layer_decay": 0.5, "checkpointing": True},
        {"train": "lora", "rank": 2, "layer_decay": 0.5, "checkpointing": True},
    ],
    ids=["last", "lora"],
)
def test_what_is_tuned_moves_and_nothing_else(tuning, train, clip, tiny):
    run = train("run", pretrained(clip, tuning), trainer__max_steps=2)
    found = state(run)
    made = PretrainedBackbone(clip, Tuning(**tuning))
    for name, value in made.named_parameters():
        if "lora_A" not in name:  # those are drawn
            now = found[f"encoder.backbone.{name}"]
            assert torch.equal(now, value) != value.requires_grad, name
    groups = torch.load(run / CHECKPOINT_FILE, weights_only=True)["optimizer_states"][0]
    rates = {group["initial_lr"] / 2e-3 for group in groups["param_groups"]}
    whole, layers = {"last": (0.01, [0, 1]), "lora": (1, [1, 2, 3])}[tuning["train"]]
    expected = {1.0, *(whole * 0.5**depth for depth in layers)}
    assert sorted(rates) == pytest.approx(sorted(expected))
    assert Run.open(run).embed(tiny).fused.shape == (60, 24)


BACKBONES = {
    "clip": "backbone: {clip}",
    "siglip": "backbone: {siglip}",
    "naflex": "backbone: {naflex}",
    "altclip": "backbone: {altclip}",
    "aimv2": "backbone: {aimv2}",
    "qwen with linear attention": "backbone: {{class_path: QwenBackbone, "
    "init_args: {{name: {qwen3_5_moe}, image_size: 32}}}}",
    "qwen": "backbone: {{class_path: QwenBackbone, "
    "init_args: {{name: {qwen3_vl}, image_size: 32}}}}",
    "two": "backbone: {{class_path: TwoTowerBackbone, "
    "init_args: {{vision: {dinov2}, text: {bert}}}}}",
    "two with positions after the padding's": "backbone: {{class_path: TwoTowerBackbone, "
    "init_args: {{vision: {vit}, text: {mpnet}}}}}",
}


@pytest.mark.parametrize("kind", BACKBONES)
def test_each_backbone_trains_from_a_line_of_yaml(kind, train, tiny, tmp_path, monkeypatch):
    seen, training_step = [], PinModule.training_step

    def recording(module, batch, batch_idx):
        seen.extend(content.token_mask for content in batch.content)
        return training_step(module, batch, batch_idx)

    monkeypatch.setattr(PinModule, "training_step", recording)
    folders = {}
    for name in re.findall(r"{(\w+)}", BACKBONES[kind]):
        saver = tiny_qwen if name.startswith("qwen") else tiny_models
        folders[name] = str(saver.save(name, tmp_path / name))
    line = BACKBONES[kind].format(**folders)
    run = train("run", f"model: {{encoder: {{init_args: {{{line}}}}}}}", trainer__max_steps=2)
    assert np.isfinite(Run.open(run).embed(tiny).fused).all()
    # A tower that reads its summary off the end would take a gap for it.
    assert not any((mask[:, 1:] & ~mask[:, :-1]).any() for mask in seen)


def test_negatives_come_into_the_batches_the_harder_the_later(train, monkeypatch):
    """One more of each window in each pass over the pins; held-out pins never."""
    hard = yaml.safe_load(EVERYTHING)["data"]["negatives"][1:]
    curriculum = yaml.safe_dump({"data": {"negatives": hard}})
    seen, negatives = [], PinBatches._negatives

    def recording(batches, anchors, epoch):
        found = negatives(batches, anchors, epoch)
        seen.append((epoch, sum(map(len, found))))
        assert batches._trained[np.concatenate(found)].all()
        return found

    monkeypatch.setattr(PinBatches, "_negatives", recording)
    train("run", curriculum, trainer__max_steps=12, data__batch_size=16)
    most = {epoch: max(n for e, n in seen if e == epoch) for epoch, _ in seen}
    assert most[0] == 0 < most[1] < most[2]


def test_the_objective_gets_the_width_of_the_encoder(train):
    """Whatever is given for it, since any other value is an error."""
    run = train("run", model__objective__bank_size=4, model__objective__bank_dim=7)
    saved = yaml.safe_load((run / CONFIG_FILE).read_text())["model"]["objective"]["init_args"]
    assert saved["bank_dim"] == 24
    assert train("again", config=(run / CONFIG_FILE).read_text(), trainer__max_steps=1).exists()


def test_a_frozen_run_tells_nothing_of_evaluation_mode(train, clip, recwarn):
    train("run", pretrained(clip, {"train": "nothing"}), trainer__max_steps=1)
    assert [str(one.message) for one in recwarn if "eval mode" in str(one.message)] == []


ENCODER, OBJECTIVE = "--model.encoder", "--model.objective"
MISTAKES = [
    (f"{ENCODER}.backbone PretrainedBackbone", ["missing: --model.encoder.backbone.name"]),
    (
        f"{ENCODER}.backbone TwoTowerBackbone",
        ["missing: --model.encoder.backbone.vision, --model.encoder.backbone.text"],
    ),
    (
        "--data.negatives+ pingraph.samplers.WalkRankNegatives",
        ["missing: --data.negatives.sampler"],
    ),
    (
        f"{ENCODER}.backbone PretrainedBackbone {ENCODER}.backbone.name x "
        f"{ENCODER}.backbone.tuning nothing",
        ["model.encoder.backbone.tuning is 'nothing': expected keys with values"],
    ),
    (
        f"{ENCODER}.backbone x/y {ENCODER}.backbone.tuning.train nothing",
        [
            "model.encoder.backbone is 'x/y': expected a class path, such as "
            "pingraph.encoders.PretrainedBackbone, to have the option 'tuning.train'"
        ],
    ),
    (
        "--data.negatives pingraph.samplers.UniformNegatives",
        [
            "data.negatives is 'pingraph.samplers.UniformNegatives': expected a list or null",
            "did you mean --data.negatives+ pingraph.samplers.UniformNegatives?",
        ],
    ),
    (
        "--data.negatives+ UniformNegatives",
        [
            "data.negatives is 'UniformNegatives': expected a class path, such as "
            "pingraph.samplers.PopularityNegatives",
            "did you mean pingraph.samplers.UniformNegatives?",
        ],
    ),
    (
        "--data.negatives+ pingraph.samplers.PinSAGESampler",
        [
            "data.negatives is 'pingraph.samplers.PinSAGESampler', which does not implement "
            "protocol NegativeSampler: its methods need these parameters, with these types:",
            "  sample_negatives(self, graph: PinBoardGraph, seeds: np.ndarray, *, seed: int, "
            "epoch: int = 0) -> Negatives",
        ],
    ),
    (
        f"{ENCODER}.granularities global",
        ["model.encoder.granularities is 'global': expected a list"],
    ),
    (
        f"{OBJECTIVE}.context tokens",
        [
            "model.objective.context is 'tokens': expected a class path, such as "
            "pingraph.neighbor_context.NeighborContext"
        ],
    ),
    (
        f"{OBJECTIVE}.views [32]",
        [
            "model.objective.views is '32': expected keys with values, or a class path, such as "
            "pingraph.views.View"
        ],
    ),
    (
        f"{OBJECTIVE}.neighbor_pairs fused->fused",
        ["model.objective.neighbor_pairs is 'fused->fused': expected keys with values or null"],
    ),
    (
        f"{OBJECTIVE}.pairs.image-text x",
        ["model.objective.pairs.image-text is 'x': expected a number or null"],
    ),
    ("--data.augmentation foo", ["data.augmentation is 'foo': expected keys with values"]),
]


@pytest.mark.parametrize(("options", "lines"), MISTAKES)
def test_a_mistake_in_an_option_is_told_in_plain_words(options, lines, tiny_folder, capsys):
    with pytest.raises(SystemExit) as end:
        fit([f"--data.folder={tiny_folder}", *options.split()])
    assert end.value.code == 2
    told = capsys.readouterr().err.splitlines()
    assert told == [f"error: {lines[0]}", *lines[1:], "try 'pingraph fit --help'"]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"train": "lora"}, "rank is None: train 'lora' needs 1 or more"),
        ({"layers": 3}, "layers is 3, but train is 'all', not 'last'"),
        ({"train": "last", "layers": 9}, "layers is 9, but a tower has only 3"),
    ],
)
def test_a_wrong_tuning_is_told_as_it_was_raised(config, words, train, clip):
    with pytest.raises(PinGraphError, match=f"^{words}$"):
        train("run", pretrained(clip, config))


@pytest.mark.parametrize(
    ("objective", "words"),
    [
        ({"views": [{}, {"dim": 32}]}, "views has one of dim 32: the encoder's embed_dim is 24"),
        ({"neighbor_pairs": {"shallow->shallow": 1}}, "shallow->shallow alone, but the encoder"),
    ],
)
def test_an_objective_that_does_not_fit_the_encoder_is_told_at_once(
    objective, words, train, clip, images_seen, tmp_path
):
    config = yaml.safe_load(pretrained(clip, {"train": "nothing"}))
    config["model"]["objective"] = {"init_args": objective}
    with pytest.raises(PinGraphError, match=words):
        train("run", yaml.safe_dump(config))
    assert images_seen == []
    assert not (tmp_path / "run").exists()


EXPERIMENTS = Path(__file__).parents[1] / "experiments"


@pytest.mark.parametrize("name", ["icons.yaml", "clip.yaml"])
def test_a_recipe_is_a_whole_configuration(name, capsys):
    with pytest.raises(SystemExit) as end:
        fit([f"--config={EXPERIMENTS / name}", "--print_config"])
    assert end.value.code == 0
    given, printed = (EXPERIMENTS / name).read_text(), capsys.readouterr().out
    given, printed = yaml.safe_load(given), yaml.safe_load(printed)
    assert printed["data"]["folder"] == given["data"]["folder"]
    assert printed["trainer"]["default_root_dir"] == given["trainer"]["default_root_dir"]


def test_the_recipe_for_clip_trains(train, clip, tiny, images_seen):
    recipe = (EXPERIMENTS / "clip.yaml").read_text()
    small = {"data__batch_size": 16, "trainer__max_steps": 2}
    run = train("run", recipe, model__encoder__backbone__name=clip, **small)
    assert sum(images_seen) == tiny.has_image.sum()
    assert Run.open(run).embed(tiny).fused.shape == (60, 256)


def test_a_precision_that_the_loss_cannot_have_is_refused(train):
    with pytest.raises(PinGraphError, match="precision is 'bf16-true': expected 32-true, bf16-mi"):
        train("run", trainer__precision="bf16-true")


def test_a_class_that_does_not_exist_is_not_looked_for_on_the_hub(train):
    with pytest.raises(PinGraphError, match=r"'pingraph\.encoders\.Foo': no such class"):
        train("run", model__encoder__backbone="pingraph.encoders.Foo")


def test_a_vision_model_alone_is_told_what_takes_it(train, tmp_path):
    folder = tiny_models.save("vit", tmp_path / "vit")
    with pytest.raises(
        PinGraphError, match=r"make a pingraph\.encoders\.TwoTowerBackbone, with its"
    ):
        train("run", model__encoder__backbone=folder)


@pytest.mark.xdist_group("commands")
def test_an_error_of_a_rank_is_told_as_one_of_the_run(commands, tiny_folder, tmp_path):
    ranks = {"trainer__strategy": "ddp_fork", "trainer__devices": 2, "data__chunk_size": 100}
    ended = commands.run("fit", *arguments(tiny_folder, tmp_path, "ranks", **ranks))
    assert "chunk_size is 100: a batch of " in ended.refusal()
    assert not (tmp_path / "ranks").exists()


FAILING_RANKS = """
import time

import numpy as np
import torch.distributed

from pingraph import PinBoardGraph
from pingraph.errors import PinGraphError
from pingraph.interfaces import Neighbors
from pingraph.samplers import PinSAGESampler


class SlowToTell(PinGraphError):
    @property
    def __cause__(self):  # asked for when the error is told
        time.sleep(3)


class Failing(PinSAGESampler):
    def sample(
        self, graph: PinBoardGraph, seeds: np.ndarray, *, seed: int, epoch: int = 0
    ) -> Neighbors:
        torch.distributed.barrier()
        if torch.distributed.get_rank() == 0:
            raise SlowToTell("rank 0 fails")
        raise PinGraphError("rank 1 fails")
"""


@pytest.mark.xdist_group("commands")
def test_a_rank_that_ends_while_it_tells_of_a_failure_says_nothing(commands, tiny_folder, tmp_path):
    (tmp_path / "failing_ranks.py").write_text(FAILING_RANKS)
    ranks = {"trainer__strategy": "ddp_fork", "trainer__devices": 2}
    ranks["data__sampler"] = "failing_ranks.Failing"
    args = arguments(tiny_folder, tmp_path, "ranks", **ranks)
    ended = commands.run("fit", *args, path=[tmp_path])
    assert "rank 1 fails" in ended.refusal()
