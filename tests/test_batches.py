"""Batches: functions of the seed and the place alone, of training pins, equal to slow twins."""

import dataclasses
import os
import re
import socket
import warnings
from multiprocessing.resource_sharer import DupFd
from multiprocessing.resource_sharer import _resource_sharer as ResourceSharer
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2
from torch.utils.data import DataLoader

from pingraph import interfaces
from pingraph.augmentation import Augmentation
from pingraph.batches import PinBatches, _draw, rows_of_ranks
from pingraph.board_sizes import boards_that_tell
from pingraph.content import ContentReader
from pingraph.data import BatchLoader
from pingraph.encoders.preparation import SmallPreparation
from pingraph.errors import PinGraphError
from pingraph.graph import PinBoardGraph
from pingraph.interfaces import Negatives, Neighbors
from pingraph.pin_counts import expected_counts
from pingraph.samplers import (
    CachedSampler,
    PinSAGESampler,
    UniformNegatives,
    WalkRankNegatives,
    WalkSampler,
)
from pingraph.samplers.asking import neighbors_of
from pingraph.splits import NoSplit, PinSplit
from pingraph.training_pins import TrainingPins

NUM_BATCHES = 7
SAMPLER = PinSAGESampler(k=6)


@pytest.fixture(scope="module")
def split(tiny):
    return PinSplit(fraction=0.3, seed=1).split(tiny)


@pytest.fixture(scope="module")
def make(tiny, split):
    """A function that makes the batches of the tiny data set; sizes may be changed."""
    preparation = SmallPreparation(image_size=16, vocab_size=200, max_tokens=8)
    reader = ContentReader(tiny, preparation.tokenizer(tiny.texts), preparation)
    sizes = {
        "batch_size": 8,
        "neighbors_per_anchor": 2,
        "chunk_size": 4,
        "num_batches": NUM_BATCHES,
        "seed": 5,
    }
    plain = TrainingPins.of(tiny, split, titles=False)

    def batches(anchors=plain.anchors, graph=plain.graph, **changes):
        pins = dataclasses.replace(plain, anchors=anchors, graph=graph)
        return PinBatches(pins, reader, SAMPLER, Augmentation(), **{**sizes, **changes})

    return batches


@pytest.fixture(scope="module")
def direct(make):
    """The batches of a run, read one by one."""
    batches = make()
    return [batches[index] for index in range(NUM_BATCHES)]


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("trained", [0, 3])
def test_a_loader_goes_on_with_the_same_batches(workers, trained, make, direct):
    loader = BatchLoader(make(), workers, trained=lambda: trained)
    assert len(loader) == NUM_BATCHES
    loaded = list(loader)
    assert len(loaded) == NUM_BATCHES - trained
    for one, other in zip(direct[trained:], loaded, strict=True):
        assert same(one, other)


class HandedOver:
    """Batches that are handed over as tensors are: fetched from a thread of the worker."""

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return DupFd(0)


def test_a_worker_says_nothing_of_a_reader_that_has_gone_but_tells_its_own_errors(capfd):
    batches = iter(BatchLoader(HandedOver(), 1, trained=lambda: 0))
    batch = next(batches)
    address, key = batch._id
    with socket.socket(socket.AF_UNIX) as reader:
        reader.connect(address)
        reader.recv(1)  # the rest is lost: the worker finds the connection reset
    with pytest.raises(EOFError), ResourceSharer.get_connection((address, key + 1)) as asked:
        asked.recv()
    os.close(batch.detach())
    told = capfd.readouterr().err
    assert told.count("Traceback") == 1
    assert "KeyError" in told


def test_spawned_workers_read_the_same_batches(make, direct):
    loader = DataLoader(
        make(), batch_size=None, num_workers=2, multiprocessing_context="spawn", prefetch_factor=1
    )
    loaded = list(loader)
    assert len(loaded) == NUM_BATCHES
    assert all(map(same, direct, loaded))


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_ranks_share_the_chunks_of_each_batch(ranks, make, direct):
    parts = [make(ranks=ranks, rank=rank) for rank in range(ranks)]
    for index, whole in enumerate(direct):
        batches = [part[index] for part in parts]
        content = [chunk for batch in batches for chunk in batch.content]
        assert len(content) == len(whole.content) == len(whole.bounds) - 1 >= 3
        assert all(map(same, content, whole.content))
        sizes = []
        for batch in batches:
            assert same(batch.relations, whole.relations)
            assert batch.bounds == whole.bounds
            assert ranks == 1 or same(batch.content[0], whole.content[batch.first_chunk])
            sizes.append(sum(len(chunk.has_image) for chunk in batch.content))
        assert sizes == rows_of_ranks(whole.bounds, ranks)
        assert sum(sizes) == len(whole.relations.pins)


def test_chunks_are_about_equal_and_none_is_too_large(make):
    for chunk_size in (1, 5, 7, 100):
        bounds = make(chunk_size=chunk_size)[0].bounds
        sizes = np.diff(bounds)
        assert sizes.max() <= chunk_size
        assert sizes.max() - sizes.min() <= 1
        assert len(sizes) == -(-bounds[-1] // chunk_size)


def test_fewer_chunks_than_ranks_are_refused(make):
    with pytest.raises(PinGraphError, match=r"chunk_size is 100: .* has 1 chunks, .* of 2 ranks"):
        make(chunk_size=100, ranks=2)[0]


def test_batches_may_be_asked_for_in_any_order(make, direct):
    batches = make()
    for index in (4, 0, 4, 6):
        assert same(batches[index], direct[index])


def test_places_and_seeds_give_other_batches(make, direct):
    assert not same(direct[0], direct[1])
    other = make(seed=6)[0]
    assert not np.array_equal(anchors_of(other), anchors_of(direct[0]))


def test_pins_are_distinct_and_sorted_and_anchors_trained_on(direct, split):
    for batch in direct:
        relations = batch.relations
        assert (relations.pins.diff() > 0).all()
        for chunk, size in zip(batch.content, np.diff(batch.bounds), strict=True):
            assert len(chunk.has_image) == len(chunk.tokens) == size
        assert len(set(relations.anchors.tolist())) == len(relations.anchors) == 8
        assert np.isin(anchors_of(batch), split.train_pins).all()


def test_nothing_held_out_comes_into_a_batch(make, tiny, split):
    held_out = set(range(tiny.num_pins)) - set(split.train_pins.tolist())
    cold = set(split.cold_pins(tiny.graph).tolist())
    assert cold
    assert cold <= held_out
    pins, seen = set(), make(num_batches=60, neighbors_per_anchor=6)
    images = {tiny.image_groups[pin] for pin in cold} - {-1}
    for index in range(60):
        pins |= set(seen[index].relations.pins.tolist())
    assert pins.isdisjoint(held_out)
    assert {tiny.image_groups[pin] for pin in pins}.isdisjoint(images)
    assert pins == set(split.train_pins.tolist())


def test_each_anchor_brings_neighbors_along_and_nothing_else_comes(make, tiny, split):
    graph = split.train_graph(tiny.graph)
    batches = make(neighbors_per_anchor=3)
    for index in range(NUM_BATCHES):
        batch = batches.relations(index)
        anchors = batch.pins[batch.anchors].numpy()
        epoch = index // (len(split.train_pins) // 8)
        found = SAMPLER.sample(graph, anchors, seed=5, epoch=epoch)
        others = set(batch.pins.tolist()) - set(anchors.tolist())
        assert others <= set(found.ids[found.mask].tolist())
        rows = set(batch.positive_rows.tolist())
        assert rows == set(np.flatnonzero(found.mask.any(1)).tolist())


def test_positives_are_the_sampled_neighbors_in_the_batch(direct, tiny, split):
    """Slow twin: each neighbor of each anchor, with its share of those that are present."""
    graph = split.train_graph(tiny.graph)
    per_pass = len(split.train_pins) // 8
    for index, batch in enumerate(batch.relations for batch in direct):
        places = {pin: place for place, pin in enumerate(batch.pins.tolist())}
        anchors = batch.pins[batch.anchors].numpy()
        found = SAMPLER.sample(graph, anchors, seed=5, epoch=index // per_pass)
        np.testing.assert_array_equal(batch.neighbors, found.ids)
        expected = {}
        for row in range(len(anchors)):
            present = [
                (places[pin], weight)
                for pin, weight, real in zip(
                    found.ids[row].tolist(),
                    found.weights[row].tolist(),
                    found.mask[row],
                    strict=True,
                )
                if real and pin in places
            ]
            total = sum(weight for _, weight in present)
            expected |= {(row, place): weight / total for place, weight in present}
        keys = list(zip(batch.positive_rows.tolist(), batch.positive_columns.tolist(), strict=True))
        assert len(set(keys)) == len(keys)
        assert set(keys) == set(expected)
        np.testing.assert_allclose(
            batch.positive_weights, [expected[key] for key in keys], rtol=1e-5
        )
        assert batch.positive_weights.dtype == torch.float32
        own = batch.anchors[batch.positive_rows]
        assert (own != batch.positive_columns).all()


def test_the_boards_of_each_pin_are_those_of_the_training_graph(direct, tiny, split):
    graph = split.train_graph(tiny.graph)
    assert graph.num_edges < tiny.graph.num_edges
    for batch in direct:
        relations = batch.relations
        offsets = relations.board_offsets.tolist()
        assert len(offsets) == len(relations.pins) + 1
        assert offsets[-1] == len(relations.boards)
        for place, pin in enumerate(relations.pins.tolist()):
            boards = relations.boards[offsets[place] : offsets[place + 1]].tolist()
            assert boards == graph.boards_of(pin).tolist()


@pytest.mark.parametrize("limit", [5, 1000])
def test_boards_of_too_many_pins_tell_nothing(limit, tiny, split, make, monkeypatch):
    """Of more than the limit, or than half of those that are trained on; each pin has the rest."""
    monkeypatch.setattr("pingraph.board_sizes.BOARD_LIMIT", limit)
    pins, boards = split.train_graph(tiny.graph).edges()
    everyone = split.train_pins
    new = np.full(len(everyone), tiny.graph.num_boards)
    graph = PinBoardGraph.from_edges(
        np.concatenate([pins, everyone]),
        np.concatenate([boards, new]),
        pin_ids=np.arange(tiny.num_pins),
    )
    most = min(limit, len(everyone) // 2)
    relations = make(graph=graph).relations(0)
    sizes, offsets = graph.board_degrees, relations.board_offsets.tolist()
    left_out = 0
    for place, pin in enumerate(relations.pins.tolist()):
        boards = graph.boards_of(pin).tolist()
        telling = [board for board in boards if sizes[board] <= most]
        assert relations.boards[offsets[place] : offsets[place + 1]].tolist() == telling
        left_out += len(boards) - len(telling)
    assert left_out >= len(relations.pins)


def test_a_title_is_no_pin_of_its_board_where_sizes_are_limited(tiny, split, monkeypatch):
    plain, titled = (TrainingPins.of(tiny, split, titles=titles) for titles in (False, True))
    assert titled.graph.board_degrees.max() == plain.graph.board_degrees.max() + 1
    for limit in range(1, plain.graph.board_degrees.max() + 1):
        monkeypatch.setattr("pingraph.board_sizes.BOARD_LIMIT", limit)
        expected = plain.graph.board_degrees <= min(limit, len(plain.anchors) // 2)
        for pins in (plain, titled):
            np.testing.assert_array_equal(boards_that_tell(pins.graph, pins.anchors), expected)


def test_groups_are_those_of_the_data_set(direct, tiny):
    for batch in direct:
        pins = batch.relations.pins.numpy()
        expected = np.stack([tiny.image_groups[pins], tiny.text_groups[pins]])
        np.testing.assert_array_equal(batch.relations.groups, expected)


class Fixed:
    """Negatives that are given: the same for each anchor."""

    def __init__(self, *pins):
        self.pins = np.array(pins, np.int64)

    def sample_negatives(self, graph, seeds, *, seed, epoch=0):
        ids = np.tile(self.pins, (len(seeds), 1))
        return Negatives(
            seeds=seeds, ids=ids, log_probabilities=np.zeros(ids.shape, np.float32), mask=ids >= 0
        )


def test_negatives_come_into_the_batch_unless_they_are_held_out(make, split, tiny):
    cold = int(split.cold_pins(tiny.graph)[0])
    plain = set(make()[0].relations.pins.tolist())
    others = [pin for pin in split.train_pins.tolist() if pin not in plain]
    batch = make(negatives=[Fixed(others[0], -1, cold), Fixed(others[1])])[0]
    assert set(batch.relations.pins.tolist()) == plain | set(others[:2])


@pytest.mark.parametrize(
    ("settings", "num_batches", "rank", "told"),
    [
        ({"curriculum": True}, 5, 0, ["pass 1"]),
        ({"curriculum": True}, 5, 1, []),
        ({"curriculum": True}, 6, 0, []),
        ({"first": 58, "last": 60}, 6, 0, ["pass 2"]),
    ],
)
def test_negatives_that_never_come_are_told(make, settings, num_batches, rank, told):
    """Five batches are a pass, in the first of which a curriculum gives none."""
    window = {"first": 10, "last": 30, **settings}
    hard = WalkRankNegatives(sampler=PinSAGESampler(k=60), n=2, **window)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        make(negatives=[hard], num_batches=num_batches, rank=rank, ranks=2)
    begin = "WalkRankNegatives draws nothing for the 8 anchors of the last batch, in "
    assert [str(one.message)[: len(begin) + 6] for one in found] == [begin + one for one in told]


class Wrong:
    """PinSAGE's answers, changed."""

    def __init__(self, change):
        self.change = change

    def sample(self, graph, seeds, *, seed, epoch=0):
        return self.change(SAMPLER.sample(graph, seeds, seed=seed, epoch=epoch))


def other(**changes):
    return lambda found: dataclasses.replace(
        found, **{name: change(getattr(found, name)) for name, change in changes.items()}
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda found: None, "returned NoneType; expected pingraph.interfaces.Neighbors"),
        (other(seeds=lambda seeds: seeds[::-1].copy()), "was asked for pin"),
        (
            other(ids=lambda ids: np.where(ids < 0, ids, ids + 10**6)),
            "expected a pin of the graph, 0 to",
        ),
        (other(weights=lambda weights: weights * np.float32(np.nan)), "weights"),
        (other(weights=lambda weights: weights / 2), "sum to 0.5, not 1"),
        (other(ids=lambda ids: ids[:, :1].repeat(6, axis=1)), "stands in places [0, 1"),
        (other(ids=lambda ids: ids[:3]), "returned ids of shape (3, 6); expected (8, k)"),
    ],
)
def test_a_wrong_answer_of_a_sampler_trains_nothing(make, change, words):
    batches = make()
    batches.sampler = Wrong(change)
    with pytest.raises(PinGraphError, match=rf"^Wrong: .*{re.escape(words)}"):
        batches.relations(0)


class WrongNegatives:
    """Pin 0 as the negative of each anchor, changed."""

    def __init__(self, change):
        self.change = change

    def sample_negatives(self, graph, seeds, *, seed, epoch=0):
        return self.change(Fixed(0).sample_negatives(graph, seeds, seed=seed, epoch=epoch))


@pytest.mark.parametrize("count_pins", [False, True])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda found: None, "returned NoneType; expected pingraph.interfaces.Negatives"),
        (other(ids=lambda ids: ids - 1), "negative 0 (of row 0) is -1; expected a pin of the"),
        (other(ids=lambda ids: ids + 10**6), "is 1000000; expected a pin of the graph, 0 to"),
        (other(ids=lambda ids: ids[:, 0]), "returned ids of shape ("),
        (other(ids=lambda ids: ids.astype(np.int32)), "returned ids as int32 of shape"),
        (other(mask=lambda mask: mask * 1), "returned mask as int64 of shape"),
        (other(log_probabilities=list), "returned log_probabilities as list; expected float32"),
        (other(seeds=lambda seeds: seeds[::-1].copy()), "was asked for pin"),
    ],
)
def test_a_wrong_answer_of_a_negative_sampler_trains_nothing(make, change, words, count_pins):
    with pytest.raises(PinGraphError, match=rf"^WrongNegatives: .*{re.escape(words)}"):
        make(negatives=[WrongNegatives(change)], count_pins=count_pins).relations(0)


class Failing:
    def sample(self, graph, seeds, *, seed, epoch=0):
        return {}[int(seeds[0])]

    def sample_negatives(self, graph, seeds, *, seed, epoch=0):
        return 1 // 0


def test_a_sampler_that_raises_is_named_with_its_line(make):
    with pytest.raises(PinGraphError, match="ZeroDivisionError: integer"):
        make(negatives=[Failing()])
    batches = make()
    batches.negatives = (Failing(),)
    for words in ("ZeroDivisionError: integer", "KeyError: [0-9]"):
        with pytest.raises(PinGraphError, match=rf"^Failing: test_batches.py, line \d+: {words}"):
            batches.relations(0)
        batches.sampler = Failing()
    batches.sampler = CachedSampler(sampler=Failing(), epochs=1)
    words = r"^CachedSampler: Failing: test_batches.py, line \d+: KeyError: [0-9]"
    with pytest.raises(PinGraphError, match=words):
        batches.relations(0)


def test_a_function_that_raises_in_a_sampler_of_ours_is_told_with_its_line():
    file, mine = f"{Path(interfaces.__file__).parent}_mine.py", {}
    exec(compile("def data(graph):\n    return {}[0]", file, "exec"), mine)
    graph = PinBoardGraph.from_edges([0, 1], [0, 0])
    with pytest.raises(PinGraphError, match=r"^WalkSampler: pingraph_mine.py, line 2: KeyError: 0"):
        neighbors_of(WalkSampler(data=mine["data"]), graph, np.arange(2), seed=0)


def test_an_error_that_no_user_took_part_in_goes_on_as_it_is():
    with pytest.raises(AttributeError, match="num_pins"):
        neighbors_of(SAMPLER, object(), np.arange(3), seed=0)


def test_log_counts_are_nan_unless_pins_are_counted(make, direct):
    assert direct[0].relations.log_counts.isnan().all()
    assert make(count_pins=True)[0].relations.log_counts.isfinite().all()


@pytest.mark.parametrize("negatives", [[], [UniformNegatives(n=2)]])
def test_pins_come_as_often_as_they_are_counted(make, split, negatives):
    """The mean over 3,000 batches beside the estimate, whose chances are Poisson's."""
    rounds = 3000
    batches = make(count_pins=True, negatives=negatives, num_batches=rounds)
    seen = np.zeros(batches.graph.num_pins)
    for index in range(rounds):
        seen[batches.relations(index).pins.numpy()] += 1
    expected = np.exp(batches._log_counts[split.train_pins].astype(float))
    share = seen[split.train_pins] / rounds
    assert np.corrcoef(share, expected)[0, 1] > 0.97
    np.testing.assert_allclose(share, expected, atol=0.08)
    assert seen.sum() == seen[split.train_pins].sum()


def test_no_pin_of_any_pass_is_without_a_count(tiny):
    """Walks of one or two neighbors: each pass finds pins that no pass before it has found."""
    split = NoSplit().split(tiny)
    pins = TrainingPins.of(tiny, split)
    sizes = {"neighbors_per_anchor": 1, "passes": 1, "seed": 0}
    counts = expected_counts(pins.graph, pins.anchors, PinSAGESampler(k=1), **sizes)
    never = np.setdiff1d(np.arange(pins.graph.num_pins), pins.anchors)
    assert (counts > 0).all()
    assert (counts[never] == 0.5).any()


class Late:
    """Draws a pin as a negative of each anchor from a pass on."""

    def __init__(self, pin, first):
        self.pin, self.first = pin, first

    def sample_negatives(self, graph, anchors, *, seed, epoch):
        ids = np.full((len(anchors), 1), self.pin if epoch >= self.first else -1)
        return Negatives(
            seeds=anchors, ids=ids, log_probabilities=np.zeros(ids.shape, np.float32), mask=ids >= 0
        )


@pytest.mark.parametrize(("passes", "share"), [(1, 0), (2, 0), (3, 1 / 3), (8, 0.75), (4000, 1)])
def test_the_counted_passes_are_spread_over_the_run(tiny, passes, share):
    anchors = np.arange(60)
    counts = [
        expected_counts(
            tiny.graph,
            anchors,
            PinSAGESampler(k=5),
            negatives,
            neighbors_per_anchor=1,
            passes=passes,
            seed=0,
        )
        for negatives in ([Late(7, 2)], [])
    ]
    assert counts[0][7] - counts[1][7] == pytest.approx(share * len(anchors))


@given(st.integers(1, 50), st.integers(0, 3))
@settings(deadline=None, max_examples=15)
def test_a_pass_takes_each_training_pin_at_most_once(make, split, batch_size, epoch):
    batches = make(batch_size=batch_size)
    size = min(batch_size, len(split.train_pins))
    full = len(split.train_pins) // size
    anchors = []
    for place in range(full):
        found = batches._anchors(epoch * full + place)
        assert found[0] == epoch
        anchors += found[1].tolist()
    assert len(set(anchors)) == len(anchors) == size * full
    assert set(anchors) <= set(split.train_pins.tolist())


def test_more_neighbors_bring_more_pins(make):
    sizes = [make(neighbors_per_anchor=count)[0].bounds[-1] for count in (1, 2, 6)]
    assert sizes[0] < sizes[1] < sizes[2]


def test_passes_have_orders_of_their_own(make, split):
    full = len(split.train_pins) // 8
    batches = make()
    firsts = [tuple(batches._anchors(epoch * full)[1].tolist()) for epoch in range(5)]
    assert len(set(firsts)) == 5


def test_neighbors_are_drawn_by_their_weights():
    """Chi-square of 40,000 draws from each of three rows; false alarms: 3 in 10,000."""
    weights = np.array([[0.5, 0.3, 0.15, 0.05], [0.75, 0.25, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]])
    ids = np.array([[9, 4, 7, 2], [3, 8, -1, -1], [-1] * 4, [6, -1, -1, -1]])
    neighbors = Neighbors.from_scores(seeds=np.arange(4), ids=ids, scores=weights)
    count = 40_000
    drawn = _draw(neighbors, count, np.random.default_rng(3))
    assert len(drawn) == 3 * count  # none for the row that has no neighbors
    for row, of_row in zip((0, 1, 3), drawn.reshape(3, count), strict=True):
        real = neighbors.mask[row]
        observed = np.array([(of_row == pin).sum() for pin in ids[row][real]])
        assert observed.sum() == count
        expected = weights[row][real] * count
        if real.sum() > 1:
            assert chi2.sf(((observed - expected) ** 2 / expected).sum(), real.sum() - 1) > 1e-4


@pytest.mark.parametrize("name", ["batch_size", "neighbors_per_anchor", "chunk_size"])
@pytest.mark.parametrize("value", [0, -1])
def test_sizes_below_one_are_refused(name, value, make):
    with pytest.raises(PinGraphError, match=rf"{name} is {value}: expected 1 or more"):
        make(**{name: value})


def test_a_split_without_training_pins_is_refused(make):
    with pytest.raises(PinGraphError, match="no pin to train on"):
        make(anchors=np.zeros(0, np.int64))


def test_a_batch_is_no_larger_than_what_there_is(make, split):
    np.testing.assert_array_equal(anchors_of(make(batch_size=10_000)[0]), split.train_pins)


def anchors_of(batch):
    return batch.relations.pins[batch.relations.anchors].numpy()


def same(one, other):
    """Whether two records hold the same tensors, also within the records they hold."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one.nan_to_num(), other.nan_to_num())
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if not dataclasses.is_dataclass(one):
        return one == other
    names = [field.name for field in dataclasses.fields(one)]
    return all(same(getattr(one, name), getattr(other, name)) for name in names)
