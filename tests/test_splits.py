"""Splits hold out what they say, twins with it, and a split that leaks is caught."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from pingraph.errors import PinGraphError
from pingraph.graph import PinBoardGraph
from pingraph.splits import BoardSplit, EdgeSplit, PinSplit, Split, TimeSplit

SPLITTERS = {
    "pin": lambda fraction, seed: PinSplit(fraction, seed),
    "edge": lambda fraction, seed: EdgeSplit(fraction, seed),
    "board": lambda fraction, seed: BoardSplit(fraction, seed),
    "time": lambda fraction, seed: TimeSplit(fraction),
}


def small(edges, groups, times=None, num_boards=None):
    """What a split reads of a data set: a graph and the image groups."""
    pins, boards = np.array(edges).T
    ids = np.arange(num_boards or boards.max() + 1)
    graph = PinBoardGraph.from_edges(
        pins, boards, times=times, pin_ids=np.arange(len(groups)), board_ids=ids
    )
    return SimpleNamespace(
        graph=graph, image_groups=np.array(groups), name="small", pin_ids=graph.pin_ids
    )


@st.composite
def small_datasets(draw):
    num_pins, num_boards = draw(st.integers(4, 14)), draw(st.integers(2, 6))
    edge = st.tuples(st.integers(0, num_pins - 1), st.integers(0, num_boards - 1))
    edges = draw(st.lists(edge, min_size=6, max_size=50))
    groups = draw(st.lists(st.integers(-1, 6), min_size=num_pins, max_size=num_pins))
    times = draw(st.lists(st.integers(0, 20), min_size=len(edges), max_size=len(edges)))
    return small(edges, groups, np.array(times), num_boards)


def split_or_none(splitter, dataset):
    try:
        return splitter.split(dataset)
    except PinGraphError:
        return None


@pytest.mark.parametrize("kind", SPLITTERS)
@settings(deadline=None, max_examples=60)
@given(dataset=small_datasets(), fraction=st.floats(0.05, 0.95), seed=st.integers(0, 9))
def test_no_split_leaks(kind, dataset, fraction, seed):
    split = split_or_none(SPLITTERS[kind](fraction, seed), dataset)
    if split is None:  # a side would be empty
        return
    split.check_leaks(dataset)
    graph, groups = dataset.graph, dataset.image_groups
    training = split.train_graph(graph)
    cold, warm = split.cold_pins(graph), split.warm_pins(graph)
    boards_of = [set(graph.boards_of(pin).tolist()) for pin in range(graph.num_pins)]
    seen_of = [set(training.boards_of(pin).tolist()) for pin in range(graph.num_pins)]

    # in the words of the docstrings, pin by pin
    for pin in range(graph.num_pins):
        twins = [pin, *(other for other in range(graph.num_pins) if groups[other] == groups[pin])]
        twins = [pin] if groups[pin] < 0 else twins
        trained = any(seen_of[twin] for twin in twins)
        withheld = any(boards_of[twin] - seen_of[twin] for twin in twins)
        assert (pin in warm) == bool(seen_of[pin])
        assert (pin in split.train_pins) == (trained or not withheld)
        assert (pin in cold) == bool(boards_of[pin] and not trained)
        for twin in twins:
            assert not seen_of[twin] & (boards_of[pin] - seen_of[pin])
    assert set(cold) <= set(range(graph.num_pins)) - set(split.train_pins.tolist())

    held_out = ~split.train_edges
    pins, boards = graph.edges()
    if kind == "pin":
        assert not set(pins[held_out]) & set(pins[~held_out])
    if kind == "board":
        assert not set(boards[held_out]) & set(boards[~held_out])
    if kind == "time":
        assert graph.pin_times[~held_out].max() <= split.parameters["after"]


@pytest.mark.parametrize("kind", SPLITTERS)
def test_one_seed_one_split_on_a_real_folder(kind, tiny):
    one, again = (SPLITTERS[kind](0.2, 3).split(tiny) for _ in range(2))
    one.check_leaks(tiny)
    np.testing.assert_array_equal(one.train_edges, again.train_edges)
    assert one.kind == kind
    if kind != "time":
        assert (SPLITTERS[kind](0.2, 4).split(tiny).train_edges != one.train_edges).any()


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5])
@pytest.mark.parametrize("kind", ["pin", "edge", "board", "time"])
def test_the_fraction_is_met_as_nearly_as_may_be(kind, fraction):
    rng = np.random.default_rng(0)
    edges = np.unique(rng.integers((0, 0), (500, 80), size=(3000, 2)), axis=0)
    groups = np.concatenate([np.full(60, 0), np.repeat(np.arange(1, 45), 5), np.full(220, -1)])
    dataset = small(edges, groups, np.arange(len(edges)))
    split = SPLITTERS[kind](fraction, 1).split(dataset)
    graph = dataset.graph
    share = {
        "pin": len(split.cold_pins(graph)) / (graph.pin_degrees > 0).sum(),
        "edge": 1 - split.train_edges.mean(),
        "board": 1 - len(np.unique(graph.edges()[1][split.train_edges])) / 80,
        "time": (graph.pin_times > split.parameters.get("after", 0)).mean(),
    }[kind]
    assert share == pytest.approx(fraction, abs=0.01)


def test_a_huge_image_group_does_not_break_the_fraction():
    edges = [(pin, pin % 7) for pin in range(1000)]
    groups = np.where(np.arange(1000) < 400, 0, -1)  # more pins than are to be held out
    for seed in range(8):
        cold = PinSplit(0.2, seed).split(small(edges, groups)).cold_pins(small(edges, groups).graph)
        assert len(cold) == 200


def test_every_pin_can_be_cold():
    dataset = small([(pin, pin % 3) for pin in range(30)], np.full(30, -1))
    drawn = [PinSplit(0.2, seed).split(dataset).cold_pins(dataset.graph) for seed in range(60)]
    counts = np.bincount(np.concatenate(drawn), minlength=30)
    assert counts.sum() == 60 * 6
    assert counts.min() >= 3
    assert counts.max() <= 24


def test_pins_without_edges_are_trained_on_unless_a_twin_is_cold():
    edges = [(0, 0), (1, 0), (2, 1), (3, 1)]
    dataset = small(edges, [0, 1, 2, 3, 0, -1])  # 4 is a twin of 0; 4 and 5 have no edge
    for seed in range(6):
        split = PinSplit(0.25, seed).split(dataset)
        (cold,) = split.cold_pins(dataset.graph)
        assert 5 in split.train_pins
        assert (4 in split.train_pins) == (cold != 0)


def test_a_pin_whose_twin_is_seen_is_neither_cold_nor_warm():
    dataset = small([(0, 0), (1, 1), (2, 0)], [0, 0, 1])
    for seed in range(6):
        split = BoardSplit(0.5, seed).split(dataset)
        assert 1 not in split.cold_pins(dataset.graph) or 0 not in split.warm_pins(dataset.graph)
        if not split.train_edges[1]:  # board 1 is held out, and pin 1 with it
            assert split.warm_pins(dataset.graph).tolist() == [0, 2]
            assert split.cold_pins(dataset.graph).tolist() == []
            assert split.train_pins.tolist() == [0, 1, 2]


def test_time_split_takes_earlier_twins_of_late_edges_along():
    edges, groups = [(0, 0), (1, 0), (2, 0), (2, 1)], [0, 0, 1]
    dataset = small(edges, groups, np.array([1, 9, 2, 3]))
    split = TimeSplit(after=5).split(dataset)
    assert split.train_edges.tolist() == [False, False, True, True]
    assert split.parameters == {"after": 5}


def test_an_edge_at_the_moment_of_a_time_split_is_seen():
    dataset = small([(0, 0), (1, 0), (2, 0)], [-1] * 3, np.array([4, 5, 6]))
    assert TimeSplit(after=5).split(dataset).train_edges.tolist() == [True, True, False]
    assert TimeSplit(0.4).split(dataset).parameters == {"after": 5}


@settings(deadline=None, max_examples=40)
@given(times=st.lists(st.integers(-9, 9), min_size=2, max_size=30), fraction=st.floats(0.01, 0.99))
def test_a_time_split_is_the_latest_that_holds_out_no_more_than_asked(times, fraction):
    dataset = small([(pin, 0) for pin in range(len(times))], [-1] * len(times), np.array(times))
    split = split_or_none(TimeSplit(fraction), dataset)
    allowed = [sum(t > after for t in times) for after in times]
    allowed = [number for number in allowed if number <= int(fraction * len(times))]
    assert (0 if split is None else (~split.train_edges).sum()) == max(allowed)


def test_splits_that_cannot_be(write_folder, tiny):
    one = small([(0, 0), (1, 0)], [0, 0])
    with pytest.raises(PinGraphError, match="leaves no edge"):
        PinSplit(0.5).split(one)
    with pytest.raises(PinGraphError, match="leaves no edge held out"):
        TimeSplit(after=10**12).split(tiny)
    with pytest.raises(PinGraphError, match="leaves no edge training"):
        TimeSplit(after=-1).split(tiny)
    with pytest.raises(PinGraphError, match="no column 'time'"):
        TimeSplit().split(one)
    for fraction in (0, 1, -0.2, float("nan")):
        with pytest.raises(PinGraphError, match="between 0 and 1"):
            PinSplit(fraction)


@pytest.mark.parametrize("kind", SPLITTERS)
def test_saved_and_loaded(kind, tiny, tmp_path):
    split = SPLITTERS[kind](0.3, 7).split(tiny)
    split.save(tmp_path / "split.safetensors")
    again = Split.load(tmp_path / "split.safetensors")
    for field in dataclasses.fields(Split):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(split, field.name))
    again.check_leaks(tiny)
    assert not again.train_edges.flags.writeable


@settings(deadline=None, max_examples=60)
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(1, 255), cut=st.booleans())
def test_a_damaged_file_is_refused(tiny, tmp_path_factory, place, byte, cut):
    path = tmp_path_factory.mktemp("split") / "split"
    PinSplit(0.3).split(tiny).save(path)
    data = bytearray(path.read_bytes())
    spot = int(place * len(data))
    data[spot] ^= byte
    path.write_bytes(data[:spot] if cut else data)
    with pytest.raises(PinGraphError, match=str(path)):
        Split.load(path)


def test_foreign_files_are_refused(tiny, tmp_path):
    with pytest.raises(PinGraphError, match="no such file"):
        Split.load(tmp_path / "nothing")
    save_file({"weight": np.ones(3)}, tmp_path / "model", {"format": "pt"})
    with pytest.raises(PinGraphError, match=r"pt version None, expected pingraph\.split"):
        Split.load(tmp_path / "model")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(PinGraphError, match="damaged, or no split"):
        Split.load(tmp_path / "text")
    with pytest.raises(PinGraphError, match="cannot write"):
        PinSplit().split(tiny).save(tmp_path / "text" / "split")


def test_a_split_of_another_data_set_is_refused(tiny, write_folder):
    from pingraph.datasets import open_dataset

    split, other = PinSplit().split(tiny), open_dataset(write_folder())
    for method in (split.train_graph, split.cold_pins, split.warm_pins):
        with pytest.raises(PinGraphError, match="another data set"):
            method(other.graph)
    with pytest.raises(PinGraphError, match="another data set"):
        split.check_leaks(other)


def flipped(mask, places):
    mask = mask.copy()
    mask[places] = ~mask[places]
    return mask


@pytest.mark.parametrize("kind", SPLITTERS)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_a_leaking_split_is_caught(kind, tiny, data):
    split = SPLITTERS[kind](0.3, 1).split(tiny)
    held_out, cold = np.flatnonzero(~split.train_edges), split.cold_pins(tiny.graph)
    pins, boards = tiny.graph.edges()
    if kind in ("pin", "board", "time"):  # a held-out edge is let in
        units = {"pin": pins, "board": boards, "time": pins}[kind]
        edge = data.draw(st.sampled_from(held_out.tolist()))
        if kind == "time" or (units[held_out] == units[edge]).sum() > 1:
            leaking = dataclasses.replace(split, train_edges=flipped(split.train_edges, edge))
            if kind != "time" or tiny.graph.pin_times[edge] > split.parameters["after"]:
                with pytest.raises(PinGraphError, match="leak"):
                    leaking.check_leaks(tiny)
    if len(cold) and kind == "pin":  # a cold pin is trained on
        grouped = [pin for pin in cold if (tiny.image_groups == tiny.image_groups[pin]).sum() > 1]
        for pin in grouped[:1]:
            more = np.union1d(split.train_pins, [pin])
            with pytest.raises(PinGraphError, match="share an image"):
                dataclasses.replace(split, train_pins=more).check_leaks(tiny)


def test_each_rule_of_the_leak_check_fires():
    edges = [(0, 0), (0, 1), (1, 0), (2, 1), (3, 1), (3, 0)]
    dataset = small(edges, [0, 1, 0, -1], np.arange(6))
    all_pins = np.arange(4)

    def check(kind, train_edges, train_pins=all_pins, **parameters):
        Split(
            kind=kind,
            seed=0,
            parameters=parameters,
            fingerprint=dataset.graph.fingerprint(),
            train_edges=np.array(train_edges, bool),
            train_pins=np.array(train_pins),
        ).check_leaks(dataset)

    check("edge", [0, 1, 1, 1, 1, 1])
    with pytest.raises(PinGraphError, match="pin 0 on board 0 is trained on, but its pin"):
        check("pin", [1, 1, 1, 1, 0, 0], [1, 2])
    with pytest.raises(PinGraphError, match=r"pins \[0, 2\] share an image"):
        check("pin", [0, 0, 1, 0, 1, 1], [0, 1, 3])
    with pytest.raises(PinGraphError, match="pin 0 on board 1 is on another side"):
        check("edge", [1, 0, 1, 1, 1, 1])
    with pytest.raises(PinGraphError, match="pin 3 on board 0 is of a pin on both sides"):
        check("pin", [1, 1, 1, 1, 1, 0])
    with pytest.raises(PinGraphError, match="on board 1 is of a board on both sides"):
        check("board", [1, 1, 1, 1, 1, 0])
    with pytest.raises(PinGraphError, match="later than the moment"):
        check("time", [1, 1, 1, 1, 1, 0], after=2)


def test_the_check_looks_at_the_graph_that_training_gets(tiny, monkeypatch):
    split = PinSplit(0.3).split(tiny)
    monkeypatch.setattr(Split, "train_graph", lambda self, graph: graph)
    with pytest.raises(PinGraphError, match="held out, but in the training graph"):
        split.check_leaks(tiny)
    fewer = split.train_edges & (np.arange(tiny.graph.num_edges) > 20)
    monkeypatch.setattr(Split, "train_graph", lambda self, graph: graph.keep_edges(fewer))
    with pytest.raises(PinGraphError, match="not in the graph"):
        split.check_leaks(tiny)


def test_an_edge_from_nowhere_is_a_leak(monkeypatch):
    dataset = small([(0, 0), (1, 0), (2, 1)], [-1] * 3)
    split = EdgeSplit(0.3).split(dataset)
    kept = split.train_graph(dataset.graph)
    pins, boards = (np.append(ends, new) for ends, new in zip(kept.edges(), (2, 0), strict=True))
    more = PinBoardGraph.from_edges(pins, boards, pin_ids=kept.pin_ids, board_ids=kept.board_ids)
    monkeypatch.setattr(Split, "train_graph", lambda self, graph: more)
    with pytest.raises(PinGraphError, match="edges that the data set lacks"):
        split.check_leaks(dataset)


def test_a_saved_split_is_plain_safetensors(tiny, tmp_path):
    split = PinSplit().split(tiny)
    split.save(tmp_path / "split")
    arrays = load_file(tmp_path / "split")
    assert arrays["train_edges"].dtype == np.bool_
    assert arrays["train_pins"].dtype == np.int64
