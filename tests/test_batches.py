"""Batches: functions of the seed and the place alone, of training pins, equal to slow twins."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2
from torch.utils.data import DataLoader

from pingraph.augmentation import Augmentation
from pingraph.batches import PinBatches, _draw, _twins
from pingraph.content import ContentReader
from pingraph.data import BatchLoader
from pingraph.errors import PinGraphError
from pingraph.graph import PinBoardGraph
from pingraph.interfaces import Neighbors
from pingraph.samplers import PinSAGESampler
from pingraph.splits import PinSplit
from pingraph.tokenization import train_tokenizer

NUM_BATCHES = 7
SAMPLER = PinSAGESampler(k=6)


@pytest.fixture(scope="module")
def split(tiny):
    return PinSplit(fraction=0.3, seed=1).split(tiny)


@pytest.fixture(scope="module")
def make(tiny, split):
    """A function that makes the batches of the tiny data set; sizes may be changed."""
    content = ContentReader(tiny, train_tokenizer(tiny.texts, 200), image_size=16, max_tokens=8)
    graph = split.train_graph(tiny.graph)
    sizes = {
        "batch_size": 8,
        "neighbors_per_anchor": 2,
        "num_batches": NUM_BATCHES,
        "seed": 5,
        "train_pins": split.train_pins,
    }

    def batches(graph=graph, **changes):
        given = {**sizes, **changes}
        return PinBatches(content, graph, given.pop("train_pins"), SAMPLER, Augmentation(), **given)

    return batches


@pytest.fixture(scope="module")
def direct(make):
    """The batches of a run, read one by one."""
    batches = make()
    return [batches[index] for index in range(NUM_BATCHES)]


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("trained", [0, 3])
def test_a_loader_goes_on_with_the_same_batches(workers, trained, make, direct):
    loader = BatchLoader(make(), range(NUM_BATCHES), workers, trained=lambda: trained)
    assert len(loader) == NUM_BATCHES
    loaded = list(loader)
    assert len(loaded) == NUM_BATCHES - trained
    for one, other in zip(direct[trained:], loaded, strict=True):
        assert same(one, other)


def test_spawned_workers_read_the_same_batches(make, direct):
    loader = DataLoader(
        make(), batch_size=None, num_workers=2, multiprocessing_context="spawn", prefetch_factor=1
    )
    loaded = list(loader)
    assert len(loaded) == NUM_BATCHES
    assert all(map(same, direct, loaded))


def test_ranks_deal_out_the_batches(make, direct):
    for rank in range(2):
        places = range(rank, NUM_BATCHES, 2)
        loaded = list(BatchLoader(make(), places, 0, trained=lambda: 1))
        expected = direct[rank::2][1:]
        assert len(loaded) == len(expected)
        assert all(map(same, expected, loaded))


def test_batches_may_be_asked_for_in_any_order(make, direct):
    batches = make()
    for index in (4, 0, 4, 6):
        assert same(batches[index], direct[index])


def test_places_and_seeds_give_other_batches(make, direct):
    assert not same(direct[0], direct[1])
    other = make(seed=6)[0]
    assert not torch.equal(other.pins[other.anchors], direct[0].pins[direct[0].anchors])


def test_pins_are_distinct_and_sorted_and_anchors_trained_on(direct, split):
    for batch in direct:
        assert (batch.pins.diff() > 0).all()
        assert len(batch.content.has_image) == len(batch.content.tokens) == len(batch.pins)
        assert len(batch.anchors) == 8
        assert len(set(batch.anchors.tolist())) == 8
        assert np.isin(batch.pins[batch.anchors], split.train_pins).all()


def test_nothing_held_out_comes_into_a_batch(make, tiny, split):
    held_out = set(range(tiny.num_pins)) - set(split.train_pins.tolist())
    cold = set(split.cold_pins(tiny.graph).tolist())
    assert cold
    assert cold <= held_out
    pins, seen = set(), make(num_batches=60, neighbors_per_anchor=6)
    images = {tiny.image_groups[pin] for pin in cold} - {-1}
    for index in range(60):
        pins |= set(seen[index].pins.tolist())
    assert pins.isdisjoint(held_out)
    assert {tiny.image_groups[pin] for pin in pins}.isdisjoint(images)
    assert pins == set(split.train_pins.tolist())


def test_each_anchor_brings_neighbors_along_and_nothing_else_comes(make, tiny, split):
    graph = split.train_graph(tiny.graph)
    batches = make(neighbors_per_anchor=3)
    for index in range(NUM_BATCHES):
        batch = batches[index]
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
    for index, batch in enumerate(direct):
        places = {pin: place for place, pin in enumerate(batch.pins.tolist())}
        anchors = batch.pins[batch.anchors].numpy()
        found = SAMPLER.sample(graph, anchors, seed=5, epoch=index // per_pass)
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


def test_board_mates_share_a_training_board(direct, tiny, split):
    graph = split.train_graph(tiny.graph)
    boards = [set(graph.boards_of(pin).tolist()) for pin in range(tiny.num_pins)]
    seen = set()
    for batch in direct:
        pins = batch.pins.tolist()
        expected = [[bool(boards[pins[a]] & boards[p]) for p in pins] for a in batch.anchors]
        assert batch.board_mates.tolist() == expected
        seen |= set(batch.board_mates.flatten().tolist())
    assert seen == {False, True}


def test_board_mates_share_a_board_however_small_the_weights(make, tiny):
    """The product of two small weights is 0."""
    pins, boards = (ends[:300] for ends in tiny.graph.edges())
    ids = {"pin_ids": np.arange(tiny.num_pins), "board_ids": np.arange(tiny.graph.num_boards)}
    weights = np.full(len(pins), 1e-30, np.float32)
    graph = PinBoardGraph.from_edges(pins, boards, weights, **ids)
    batch = make(graph=graph)[0]
    expected = make(graph=PinBoardGraph.from_edges(pins, boards, **ids))[0]
    assert expected.board_mates.sum() > len(expected.anchors)
    assert torch.equal(batch.board_mates, expected.board_mates)


def test_twins_show_the_same_image_or_say_the_same_text(make, tiny):
    """Over all pins at once, for the tiny data set has few twins."""
    batches = make(batch_size=60, train_pins=np.arange(tiny.num_pins), num_batches=1)
    batch = batches[0]
    images = [tiny.image(pin) and tiny.image(pin).tobytes() for pin in batch.pins.tolist()]
    texts = [tiny.texts[pin] for pin in batch.pins.tolist()]
    size = len(images)
    assert size == tiny.num_pins
    expected = [
        [
            one == other
            or (images[one] is not None and images[one] == images[other])
            or (texts[one] != "" and texts[one] == texts[other])
            for other in range(size)
        ]
        for one in range(size)
    ]
    assert sum(map(sum, expected)) > size
    assert batch.twins.tolist() == expected


@given(st.lists(st.tuples(st.integers(-1, 2), st.integers(-1, 2)), min_size=1, max_size=8))
@settings(deadline=None, max_examples=50)
def test_twins_equal_their_twin(groups):
    expected = [
        [
            i == j or any(a == b != -1 for a, b in zip(groups[i], groups[j], strict=True))
            for j in range(len(groups))
        ]
        for i in range(len(groups))
    ]
    assert _twins(np.array(groups).T).tolist() == expected


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
    sizes = [len(make(neighbors_per_anchor=count)[0].pins) for count in (1, 2, 6)]
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


@pytest.mark.parametrize("name", ["batch_size", "neighbors_per_anchor"])
@pytest.mark.parametrize("value", [0, -1])
def test_sizes_below_one_are_refused(name, value, make):
    with pytest.raises(PinGraphError, match=rf"{name} is {value}: expected 1 or more"):
        make(**{name: value})


def test_a_split_without_training_pins_is_refused(make):
    with pytest.raises(PinGraphError, match="no pin to train on"):
        make(train_pins=np.zeros(0, np.int64))


def test_a_batch_is_no_larger_than_what_there_is(make, split):
    batch = make(batch_size=10_000)[0]
    np.testing.assert_array_equal(batch.pins[batch.anchors], split.train_pins)


def same(one, other):
    """Whether two records hold the same tensors, also within the records they hold."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    names = [field.name for field in dataclasses.fields(one)]
    return all(same(getattr(one, name), getattr(other, name)) for name in names)
