"""Conditions hold out what they say, leak nothing, and spoil the training data alone."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from pingraph.datasets import open_dataset
from pingraph.errors import PinGraphError
from pingraph.experiment.cell import judged
from pingraph.experiments.conditions import FewerPins, FewerSaves, HeldOut, KnownSaves
from pingraph.experiments.damage import (
    MADE_OF_FILE,
    MissingText,
    PopularPins,
    ShuffledBoards,
    SpamBoards,
    Training,
)
from pingraph.metrics import METRICS
from pingraph.mixed_split import MixedSplit
from pingraph.splits import PinSplit

NOWHERE = Path("/nowhere")


def saves(graph):
    return set(zip(*(ends.tolist() for ends in graph.edges()), strict=True))


def trained(trial):
    return saves(trial.split.train_graph(trial.dataset.graph))


@settings(max_examples=20, deadline=None)
@given(
    pins=st.floats(0.1, 0.6),
    edges=st.floats(0.2, 0.9),
    seed=st.integers(0, 2**31),
)
def test_a_mixed_split_has_cold_pins_and_leaves_warm_ones_a_save(tiny, pins, edges, seed):
    split = MixedSplit(pins, edges, seed).split(tiny)
    split.check_leaks(tiny)
    cold = split.cold_pins(tiny.graph)
    assert np.array_equal(cold, PinSplit(pins, seed).split(tiny).cold_pins(tiny.graph))
    warm = np.setdiff1d(np.flatnonzero(tiny.graph.pin_degrees), cold)
    assert np.array_equal(split.warm_pins(tiny.graph), warm)
    owners, _ = tiny.graph.edges()
    assert (~split.train_edges & ~np.isin(owners, cold)).any()


def test_a_mixed_split_holds_out_its_share_of_what_can_be_spared(tiny):
    owners, _ = tiny.graph.edges()
    for share in (0.25, 0.5):
        split = MixedSplit(0.2, share).split(tiny)
        warm = ~np.isin(owners, split.cold_pins(tiny.graph))
        held_out = (~split.train_edges & warm).sum()
        able = warm.sum() - len(np.unique(owners[warm]))
        assert held_out <= share * able + 3
        assert held_out >= 0.5 * share * able  # twins of a kept edge are kept
    assert np.array_equal(split.train_edges, MixedSplit(0.2, 0.5).split(tiny).train_edges)
    other = MixedSplit(0.2, 0.5, seed=1).split(tiny)
    assert not np.array_equal(split.train_edges, other.train_edges)


@pytest.mark.parametrize("kind", [FewerPins, FewerSaves])
def test_less_is_part_of_more_and_judged_alike(tiny, kind):
    half, most = (kind(share=share).trial(tiny, NOWHERE, seed=0) for share in (0.5, 0.9))
    whole = HeldOut().trial(tiny, NOWHERE, seed=0)
    for trial in (half, most):
        trial.split.check_leaks(tiny)
        assert trial.split.fingerprint == whole.split.fingerprint
        assert np.array_equal(trial.judge.train_edges, whole.judge.train_edges)
    assert trained(half) < trained(most) <= trained(whole)
    left = half.split.train_graph(tiny.graph).pin_degrees[whole.split.warm_pins(tiny.graph)]
    if kind is FewerPins:
        assert 0.2 < (left == 0).mean() < 0.8
    else:
        assert left.min() >= 1


def test_known_saves_are_dealt_evenly_and_all_are_asked_alike(tiny):
    few = KnownSaves(saves=(0, 1, 2), share=1.0)
    trial = few.trial(tiny, NOWHERE, seed=3)
    trial.split.check_leaks(tiny)
    trial.judge.check_leaks(tiny)
    graph = trial.split.train_graph(tiny.graph)
    numbers = np.bincount(graph.pin_degrees[trial.queries])
    assert len(numbers) == 3
    assert numbers.max() - numbers.min() <= 1
    others = np.setdiff1d(np.arange(tiny.num_pins), trial.queries)
    assert np.array_equal(graph.pin_degrees[others], tiny.graph.pin_degrees[others])
    assert not np.isin(trial.candidates, trial.queries).any()
    # What is known to the judge does not depend on the number a pin was dealt to.
    judged = trial.judge.train_graph(tiny.graph)
    assert (judged.pin_degrees[trial.queries] == 2).all()
    assert trained(trial) <= saves(judged)
    groups = tiny.image_groups
    twins = {g for g in groups.tolist() if g >= 0 and (groups == g).sum() > 1}
    assert not any(groups[pin] in twins for pin in trial.queries)


def recall_by_loop(scores, trial, query, candidates):
    """recall@10 of one pin, None where nobody is relevant to it."""
    whole, known = (boards_of(trial.truth.graph), boards_of(judged_graph(trial)))
    candidates = [
        pin for pin in candidates.tolist() if pin != query and not known[pin] & known[query]
    ]
    relevant = {pin for pin in candidates if whole[pin] & whole[query]}
    best = sorted(candidates, key=lambda pin: -scores[query, pin])[:10]
    return len(relevant & set(best)) / min(10, len(relevant)) if relevant else None


def boards_of(graph):
    return [set(graph.boards_of(pin).tolist()) for pin in range(graph.num_pins)]


def judged_graph(trial):
    return trial.judge.train_graph(trial.truth.graph)


@pytest.mark.parametrize("condition", [FewerPins(share=0.3), HeldOut(edges=0.4)])
def test_boards_are_asked_alike_for_whom_a_method_does_not_know(tiny, condition):
    trial = condition.trial(tiny, NOWHERE, seed=1)
    scores = np.random.default_rng(0).random((tiny.graph.num_boards, 60)).astype(np.float32)
    scorers = {"board_to_pins": lambda boards: scores[boards].copy()}
    found = [judged(scorers, trial, warm_only=one, seed=0).warm for one in (False, True)]
    one, other = (part["board_to_pins"] for part in found)
    assert len(one.queries) > 3
    assert np.array_equal(one.queries, other.queries)
    assert np.array_equal(one.values, other.values)


@pytest.mark.parametrize("condition", [HeldOut(edges=0.4), KnownSaves(saves=(0, 1, 2), share=0.6)])
def test_a_trial_is_judged_as_two_loops_judge_it(tiny, condition):
    trial = condition.trial(tiny, NOWHERE, seed=1)
    scores = np.random.default_rng(0).random((60, 60)).astype(np.float32)
    warm = trial.judge.warm_pins(tiny.graph)
    candidates = {"warm": warm if trial.candidates is None else trial.candidates}
    candidates["cold"] = np.arange(60)
    asked = {"cold": trial.judge.cold_pins(tiny.graph), "warm": warm}
    for warm_only in (False, True):
        scorers = {"pin_to_pin": lambda pins: scores[pins].copy()}
        found = judged(scorers, trial, warm_only=warm_only, seed=0)
        seen = trial.split.warm_pins(tiny.graph)
        for part, pins in asked.items():
            if trial.queries is not None:
                pins = np.intersect1d(pins, trial.queries)
            if warm_only:
                pins = np.intersect1d(pins, seen)
            values = {pin: recall_by_loop(scores, trial, pin, candidates[part]) for pin in pins}
            expected = {pin: value for pin, value in values.items() if value is not None}
            result = getattr(found, part)["pin_to_pin"]
            assert result.queries.tolist() == list(expected)
            recall = result.values[:, METRICS.index("recall@10")]
            assert recall == pytest.approx(list(expected.values()))
        assert len(found.warm["pin_to_pin"].queries) > 5


def test_known_saves_need_pins_with_enough_of_them(tiny):
    with pytest.raises(
        PinGraphError, match="tiny: 0 pins have an image of their own and more than"
    ):
        KnownSaves(saves=(0, 50)).trial(tiny, NOWHERE, seed=0)


def damaged(kind, tiny, folder, **arguments):
    trial = kind(**arguments).trial(tiny, folder, seed=0)
    trial.split.check_leaks(trial.dataset)
    whole = HeldOut().trial(tiny, NOWHERE, seed=0)
    cold = whole.judge.cold_pins(tiny.graph)
    assert trial.truth is tiny
    assert np.array_equal(trial.judge.train_edges, whole.judge.train_edges)
    assert np.array_equal(trial.split.cold_pins(trial.dataset.graph), cold)
    assert trial.dataset.pin_ids.tolist() == tiny.pin_ids.tolist()
    for pin in cold.tolist():
        assert trial.dataset.texts[pin] == tiny.texts[pin]
        assert trial.dataset.graph.boards_of(pin).tolist() == tiny.graph.boards_of(pin).tolist()
    held_out = saves(tiny.graph) - trained(whole)
    return trial, whole, held_out


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_texts_are_missing_from_training_pins_alone(tiny, tmp_path, share):
    trial, whole, _ = damaged(MissingText, tiny, tmp_path / "data", share=share)
    assert trained(trial) == trained(whole)
    lost = tiny.has_text & ~trial.dataset.has_text
    assert set(np.flatnonzero(lost)) <= set(whole.split.train_pins.tolist())
    of_training = tiny.has_text[whole.split.train_pins].sum()
    assert abs(lost.sum() - share * of_training) <= (0.25 * of_training if share == 0.5 else 0)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_boards_are_shuffled_among_training_edges(tiny, tmp_path, share):
    trial, whole, _ = damaged(ShuffledBoards, tiny, tmp_path / "data", share=share)
    before, after = trained(whole), trained(trial)
    kept = len(before & after) / len(before)
    assert kept == 1 if share == 0 else kept < 0.85 if share == 0.5 else kept < 0.6
    warm = whole.split.warm_pins(tiny.graph)
    degrees = trial.split.train_graph(trial.dataset.graph).pin_degrees[warm]
    whole_degrees = whole.split.train_graph(tiny.graph).pin_degrees[warm]
    assert (degrees >= 1).all()
    assert (degrees <= whole_degrees).all()  # fewer where two edges met
    assert len(after) > 0.7 * len(before)


def test_spam_boards_are_added_and_the_rest_stays(tiny, tmp_path):
    trial, whole, _ = damaged(SpamBoards, tiny, tmp_path / "data", share=0.5, pins=5)
    graph, count = trial.dataset.graph, tiny.graph.num_boards
    assert graph.num_boards == count + round(0.5 * count)
    assert {edge for edge in trained(trial) if edge[1] < count} == trained(whole)
    spam = graph.board_degrees[count:]
    assert spam.max() <= 5
    assert spam.sum() > 0
    again = SpamBoards(share=0.5, pins=5).trial(tiny, tmp_path / "again", seed=0)
    assert again.dataset.fingerprint == trial.dataset.fingerprint
    same = SpamBoards(share=0.5, pins=5).trial(tiny, tmp_path / "data", seed=0)  # read, not written
    assert np.array_equal(same.split.train_edges, trial.split.train_edges)


def test_damaged_data_are_made_anew_where_the_whole_has_changed(tiny, tmp_path):
    damage, folder = MissingText(share=0.5), tmp_path / "cell" / "data"
    whole = Path(shutil.copytree(tiny.folder, tmp_path / "whole"))
    before = damage.trial(open_dataset(whole), folder, seed=0)
    stamp = (folder / "pins.parquet").stat().st_mtime_ns
    damage.trial(open_dataset(whole), folder, seed=0)
    assert (folder / "pins.parquet").stat().st_mtime_ns == stamp
    table = pq.read_table(whole / "pins.parquet")
    texts = [text and f"mended {text}" for text in table["text"].to_pylist()]
    place = table.column_names.index("text")
    mended = table.set_column(place, "text", pa.array(texts, table["text"].type))
    pq.write_table(mended, whole / "pins.parquet")
    after = damage.trial(open_dataset(whole), folder, seed=0)
    assert after.dataset.texts == [text and f"mended {text}" for text in before.dataset.texts]
    (folder / MADE_OF_FILE).unlink()  # of a process that was killed while it wrote
    damage.trial(open_dataset(whole), folder, seed=0)
    assert (folder / MADE_OF_FILE).exists()


def test_popular_pins_are_saved_by_their_popularity(tiny, tmp_path):
    """Chi-square of where 200 times the saves went; the others stay."""
    trial, whole, _ = damaged(PopularPins, tiny, tmp_path / "data", share=0.5)
    assert trained(trial) > trained(whole)
    added = trained(trial) - trained(whole)
    assert len(added) <= round(0.5 * len(trained(whole)))
    pins, boards = (np.array(ends) for ends in zip(*sorted(trained(whole)), strict=True))
    before = Training(has_text=tiny.has_text, pins=pins, boards=boards)
    rng = np.random.default_rng(0)
    after = PopularPins(share=200).changed(before, tiny, whole.split, rng)
    new = slice(len(pins), None)
    for drawn, chances in (
        (after.pins[new], np.bincount(pins) / len(pins)),
        (after.boards[new], (np.bincount(boards) > 0) / len(np.unique(boards))),
    ):
        found, expected = np.bincount(drawn, minlength=len(chances)), chances * len(drawn)
        assert not found[expected == 0].any()
        found, expected = found[expected > 0], expected[expected > 0]
        assert chi2.sf(((found - expected) ** 2 / expected).sum(), len(found) - 1) > 1e-4


def test_images_in_files_are_found_from_the_damaged_folder(tiny, write_folder, tmp_path):
    tables = {n: pq.read_table(tiny.folder / f"{n}.parquet") for n in ("pins", "boards", "edges")}
    paths = []
    for pin, image in enumerate(tables["pins"]["image"].to_pylist()):
        paths.append(None if image is None else f"{pin}.png")
    place = tables["pins"].column_names.index("image")
    tables["pins"] = tables["pins"].set_column(place, "image", [paths])
    folder = write_folder(**tables)
    for pin, image in enumerate(pq.read_table(tiny.folder / "pins.parquet")["image"].to_pylist()):
        if image is not None:
            (folder / f"{pin}.png").write_bytes(image)
    trial = MissingText(share=0.5).trial(open_dataset(folder), tmp_path / "data", seed=0)
    for pin in np.flatnonzero(tiny.has_image)[:5]:
        assert np.array_equal(trial.dataset.pixels(pin, 8), tiny.pixels(pin, 8))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: FewerPins(share=0),
        lambda: FewerSaves(share=1.5),
        lambda: KnownSaves(share=-1),
        lambda: MissingText(share=-0.1),
        lambda: ShuffledBoards(share=2),
        lambda: SpamBoards(share=-1),
        lambda: PopularPins(share=-1),
    ],
)
def test_a_share_out_of_its_range_is_refused(wrong):
    with pytest.raises(PinGraphError, match=r"share is .*: expected"):
        wrong()
    with pytest.raises(PinGraphError, match=r"saves is \[-1\]: expected numbers from 0"):
        KnownSaves(saves=(-1,))
    for shares in ({"pins": 2}, {"edges": -0.1}):
        with pytest.raises(PinGraphError, match=r"fraction is .*, expected"):
            HeldOut(**shares)
