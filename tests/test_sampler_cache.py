"""Kept and recorded rows: equal to the sampler's to the bit, within their bounds, never stale."""

import hashlib
import json
import pickle
import sys
import threading
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pytest
from jsonargparse import ArgumentParser
from safetensors.numpy import load_file
from torch.utils.data import DataLoader

from pingraph.errors import PinGraphError
from pingraph.graph import PinBoardGraph
from pingraph.interfaces import Sampler
from pingraph.samplers import CachedSampler, PinSAGESampler, PPRSampler, RecordedSampler, record
from pingraph.samplers import recording as recording_module
from tests.sampler_contract import PINS, SamplerContract, assert_same, skewed_graph

GRAPH = skewed_graph(80, 20, 75)
EVERY = np.arange(80)


@dataclass(frozen=True, kw_only=True)
class Counted:
    """PinSAGE neighbors, and a list of the pins and the epoch of each request."""

    k: int = 6
    asked: list = field(default_factory=list)

    def sample(self, graph, seeds, *, seed, epoch=0):
        self.asked.append((np.asarray(seeds).tolist(), epoch))
        return PinSAGESampler(k=self.k, num_walks=20).sample(graph, seeds, seed=seed, epoch=epoch)


class TestCachedContract(SamplerContract):
    def make(self, **arguments):
        return CachedSampler(sampler=PinSAGESampler(**arguments), epochs=1)


# Caching.


def test_a_row_is_computed_once():
    part = Counted()
    sampler = CachedSampler(sampler=part, epochs=1)
    expected = PinSAGESampler(k=6, num_walks=20)
    for seeds in ([5, 3, 5], [3, 9, 3, 1], [1, 3, 5, 9], [9]):
        found = sampler.sample(GRAPH, seeds, seed=1)
        assert_same(found, expected.sample(GRAPH, seeds, seed=1))
    assert [pins for pins, _ in part.asked] == [[3, 5], [1, 9]]


def test_epochs_share_their_rows():
    part = Counted()
    sampler = CachedSampler(sampler=part, epochs=3)
    expected = PinSAGESampler(k=6, num_walks=20)
    for epoch in range(8):
        found = sampler.sample(GRAPH, EVERY, seed=1, epoch=epoch)
        assert_same(found, expected.sample(GRAPH, EVERY, seed=1, epoch=epoch // 3))
    assert [epoch for _, epoch in part.asked] == [0, 1, 2]


def test_a_great_number_of_epochs_keeps_the_first_rows():
    sampler = CachedSampler(sampler=PinSAGESampler(), epochs=2**64)
    first = sampler.sample(GRAPH, EVERY, seed=1)
    assert_same(sampler.sample(GRAPH, EVERY, seed=1, epoch=2**64 - 1), first)


def test_another_seed_or_graph_gets_rows_of_its_own():
    sampler = CachedSampler(sampler=PPRSampler(), epochs=100)
    half = GRAPH.keep_edges(np.arange(GRAPH.num_edges) % 2 == 0)
    walks = CachedSampler(sampler=PinSAGESampler(), epochs=100)
    for _ in range(2):
        for graph in (GRAPH, half):
            found = sampler.sample(graph, EVERY, seed=1)
            assert_same(found, PPRSampler().sample(graph, EVERY, seed=1))
            for seed in (1, 2):
                found = walks.sample(graph, EVERY, seed=seed)
                assert_same(found, PinSAGESampler().sample(graph, EVERY, seed=seed))


def test_a_graph_that_takes_the_place_of_one_that_is_gone_gets_rows_of_its_own():
    sampler = CachedSampler(sampler=PinSAGESampler(), epochs=1)
    for number in range(200):  # CPython gives the addresses of the dead to the living
        boards = (np.arange(40) * (number + 3)) % 7
        graph = PinBoardGraph.from_edges(np.arange(40) % 20, boards)
        found = sampler.sample(graph, range(20), seed=1)
        assert_same(found, PinSAGESampler().sample(graph, range(20), seed=1))


def test_what_is_returned_is_no_part_of_the_cache():
    sampler = CachedSampler(sampler=PinSAGESampler(), epochs=1)
    first = sampler.sample(GRAPH, EVERY, seed=1)
    for name in ("ids", "weights", "scores", "mask", "seeds"):
        getattr(first, name)[:] = 0
    expected = PinSAGESampler().sample(GRAPH, EVERY, seed=1)
    assert_same(sampler.sample(GRAPH, EVERY, seed=1), expected)


def test_the_oldest_rows_go_when_the_memory_is_full():
    part = Counted(k=10)
    sampler = CachedSampler(sampler=part, epochs=1, max_bytes=5 * (160 + 320) + 479)
    for pin in (1, 2, 3, 4, 5, 5, 6, 1, 6):
        sampler.sample(GRAPH, [pin], seed=1)
        assert len(sampler._rows) <= 5
    assert [pins for pins, _ in part.asked] == [[1], [2], [3], [4], [5], [6], [1]]


def test_without_memory_nothing_is_kept():
    part = Counted()
    sampler = CachedSampler(sampler=part, epochs=1, max_bytes=0)
    found = sampler.sample(GRAPH, [1, 2, 1], seed=1)
    assert_same(found, PinSAGESampler(k=6, num_walks=20).sample(GRAPH, [1, 2, 1], seed=1))
    assert not sampler._rows
    assert len(part.asked) == 1


@pytest.mark.parametrize("k", [1, 10, 50])
def test_a_row_takes_no_more_memory_than_is_counted(k):
    graph = PinBoardGraph.from_edges(np.arange(4_000), np.arange(4_000) % 200)
    sampler = CachedSampler(sampler=PinSAGESampler(k=k, num_walks=5), epochs=1)
    sampler.sample(graph, np.arange(300, 4_000), seed=2**40)
    taken = sys.getsizeof(sampler._rows)
    for key, row in sampler._rows.items():
        taken += sys.getsizeof(key) + sys.getsizeof(row) + sys.getsizeof(key[3])
    assert 0.7 < taken / len(sampler._rows) / (16 * k + 320) <= 1


def test_rows_are_not_pickled():
    sampler = CachedSampler(sampler=PinSAGESampler(), epochs=1)
    before = len(pickle.dumps(sampler))
    sampler.sample(GRAPH, EVERY, seed=1)
    assert len(pickle.dumps(sampler)) == before
    assert pickle.loads(pickle.dumps(sampler)) == sampler


def test_threads_may_share_a_cache():
    sampler = CachedSampler(sampler=PinSAGESampler(k=10), epochs=1, max_bytes=20 * 480)
    expected = PinSAGESampler(k=10).sample(GRAPH, EVERY, seed=1)
    wrong = []

    def ask(number):
        generator = np.random.default_rng(number)
        for _ in range(100):
            seeds = generator.integers(0, 80, 16)
            found = sampler.sample(GRAPH, seeds, seed=1)
            if not np.array_equal(found.scores, expected.scores[seeds]):
                wrong.append(seeds)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_rows_of_another_width_are_refused():
    class Widening:
        def sample(self, graph, seeds, *, seed, epoch=0):
            return PinSAGESampler(k=len(seeds)).sample(graph, seeds, seed=seed, epoch=epoch)

    sampler = CachedSampler(sampler=Widening(), epochs=1)
    sampler.sample(GRAPH, [1, 2, 3], seed=1)
    with pytest.raises(PinGraphError, match="rows of 1 and of 3 neighbors; expected all of one"):
        sampler.sample(GRAPH, [1, 4], seed=1)


@pytest.mark.parametrize("epochs", [0, -1, 1.5, True, None, 2**65])
def test_epochs_out_of_range_are_refused(epochs):
    with pytest.raises(PinGraphError, match=f"^epochs is {epochs!r}; expected a whole number"):
        CachedSampler(sampler=PinSAGESampler(), epochs=epochs)


@pytest.mark.parametrize("max_bytes", [-1, 1.5, None])
def test_a_bound_out_of_range_is_refused(max_bytes):
    with pytest.raises(PinGraphError, match=f"^max_bytes is {max_bytes!r}; expected"):
        CachedSampler(sampler=PinSAGESampler(), epochs=1, max_bytes=max_bytes)


@pytest.mark.parametrize("part", [None, 3, PinSAGESampler])
def test_what_is_no_sampler_is_refused(part):
    with pytest.raises(PinGraphError, match=r"^sampler is .*; expected a sampler"):
        CachedSampler(sampler=part, epochs=1)


# Recording and replay.


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "rows.safetensors"
    record(PinSAGESampler(k=7), GRAPH, EVERY, path, seed=3, epoch=2)
    return path


def test_a_recording_equals_the_sampler(recording):
    sampler = RecordedSampler(path=str(recording))
    assert isinstance(sampler, Sampler)
    for seeds in (EVERY, [79, 0, 5, 5], [], np.array([], np.float64)):
        expected = PinSAGESampler(k=7).sample(GRAPH, seeds, seed=3, epoch=2)
        assert_same(sampler.sample(GRAPH, seeds, seed=3, epoch=2), expected)


def test_an_equal_graph_is_the_recorded_one(recording, tmp_path):
    GRAPH.save(tmp_path / "graph")
    opened = PinBoardGraph.open(tmp_path / "graph")
    expected = PinSAGESampler(k=7).sample(GRAPH, EVERY, seed=3, epoch=2)
    assert_same(RecordedSampler(path=recording).sample(opened, EVERY, seed=3, epoch=2), expected)


def test_a_recording_is_one_draw(recording):
    sampler = RecordedSampler(path=str(recording))
    first = sampler.sample(GRAPH, EVERY, seed=3, epoch=2)
    assert_same(sampler.sample(GRAPH, EVERY, seed=9, epoch=5), first)


def test_what_is_replayed_can_be_changed_and_the_file_is_not(recording):
    before = recording.read_bytes()
    sampler = RecordedSampler(path=str(recording))
    found = sampler.sample(GRAPH, EVERY, seed=3)
    found.ids[:], found.weights[:] = 0, 0
    expected = PinSAGESampler(k=7).sample(GRAPH, EVERY, seed=3, epoch=2)
    assert_same(sampler.sample(GRAPH, EVERY, seed=3), expected)
    assert recording.read_bytes() == before


def test_workers_replay(recording):
    sampler = RecordedSampler(path=str(recording))
    replay = partial(sampler.sample, GRAPH, seed=1)
    loader = DataLoader(range(80), 20, collate_fn=replay, num_workers=2)
    found = np.concatenate([batch.ids for batch in loader])
    np.testing.assert_array_equal(found, sampler.sample(GRAPH, EVERY, seed=1).ids)


def test_a_recording_is_pickled_by_its_path(recording):
    sampler = RecordedSampler(path=str(recording))
    assert len(pickle.dumps(sampler)) < 500
    copy = pickle.loads(pickle.dumps(sampler))
    assert copy == sampler
    assert_same(copy.sample(GRAPH, EVERY, seed=1), sampler.sample(GRAPH, EVERY, seed=1))


def test_the_file_says_what_is_in_it(recording):
    with recording.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    facts = header["__metadata__"]
    assert (facts["format"], facts["version"]) == ("pingraph.neighbors", "1")
    assert facts["graph"] == GRAPH.fingerprint()
    assert facts["sampler"] == repr(PinSAGESampler(k=7))
    assert (facts["seed"], facts["epoch"]) == ("3", "2")
    tensors = load_file(recording)  # any reader of safetensors will do
    expected = PinSAGESampler(k=7).sample(GRAPH, EVERY, seed=3, epoch=2)
    np.testing.assert_array_equal(tensors["pins"], EVERY)
    for name in ("ids", "weights", "scores"):
        np.testing.assert_array_equal(tensors[name], getattr(expected, name))


def test_the_same_rows_give_the_same_file(recording, tmp_path):
    class Plain:
        def sample(self, graph, seeds, *, seed, epoch=0):
            return PinSAGESampler().sample(graph, seeds, seed=seed, epoch=epoch)

    for seeds in (EVERY, EVERY[::-1], np.repeat(EVERY, 2)):
        record(PinSAGESampler(k=7), GRAPH, seeds, tmp_path / "again", seed=3, epoch=2)
        assert (tmp_path / "again").read_bytes() == recording.read_bytes()
    record(Plain(), GRAPH, [1, 2], tmp_path / "a", seed=1)
    record(Plain(), GRAPH, [1, 2], tmp_path / "b", seed=1)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()  # no address in it


def test_another_graph_is_refused(recording):
    half = GRAPH.keep_edges(np.arange(GRAPH.num_edges) % 2 == 0)
    with pytest.raises(
        PinGraphError, match=r"rows.safetensors: recorded on another graph than Pin"
    ):
        RecordedSampler(path=str(recording)).sample(half, EVERY, seed=3)


def test_a_pin_that_was_not_recorded_is_refused(tmp_path):
    record(PinSAGESampler(), GRAPH, [2, 4, 6], tmp_path / "rows", seed=3)
    sampler = RecordedSampler(path=str(tmp_path / "rows"))
    for pin in (0, 3, 79):
        with pytest.raises(PinGraphError, match=rf"seeds\[1\] is {pin}, which .*; 3 pins were"):
            sampler.sample(GRAPH, [4, pin], seed=3)
    with pytest.raises(PinGraphError, match=r"seeds\[0\] is 80; expected a pin of the graph"):
        sampler.sample(GRAPH, [80], seed=3)


@pytest.mark.parametrize("name", ["seed", "epoch"])
def test_a_random_seed_out_of_range_is_refused(recording, name):
    arguments = {"seed": 1, "epoch": 0, name: -1}
    with pytest.raises(PinGraphError, match=f"^{name} is -1"):
        RecordedSampler(path=str(recording)).sample(GRAPH, [0], **arguments)
    with pytest.raises(PinGraphError, match=f"^{name} is -1"):
        record(PinSAGESampler(), GRAPH, [0], recording, **arguments)


def test_no_flipped_bit_goes_unnoticed(recording, tmp_path):
    """A bit of each 61st byte of the file, and of all of its first 900, header included."""
    whole = recording.read_bytes()
    expected = PinSAGESampler(k=7).sample(GRAPH, EVERY, seed=3, epoch=2)
    damaged = tmp_path / "damaged"
    named = harmless = 0
    places = [*range(900), *range(900, len(whole), 61)]
    for place in places:
        damaged.write_bytes(
            whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :]
        )
        try:
            found = RecordedSampler(path=str(damaged)).sample(GRAPH, EVERY, seed=3)
        except PinGraphError as error:
            named += str(damaged) in str(error)
        else:
            assert_same(found, expected)
            harmless += 1
    assert named + harmless == len(places)
    assert harmless < 20  # in the blanks of the header


@pytest.mark.parametrize("size", [0, 4, 8, 200, 1_000, -1])
def test_a_cut_file_is_refused(recording, size):
    recording.write_bytes(recording.read_bytes()[:size])
    with pytest.raises(PinGraphError, match=r"rows.safetensors: cut"):
        RecordedSampler(path=str(recording))


def test_a_longer_file_is_refused(recording):
    recording.write_bytes(recording.read_bytes() + b"\0")
    with pytest.raises(PinGraphError, match=r"rows.safetensors: cut or damaged"):
        RecordedSampler(path=str(recording))


def test_what_is_no_recording_is_refused(tmp_path):
    with pytest.raises(PinGraphError, match="none: No such file"):
        RecordedSampler(path=str(tmp_path / "none"))
    with pytest.raises(PinGraphError, match="Is a directory"):
        RecordedSampler(path=str(tmp_path))
    (tmp_path / "text").write_text("pins and boards" * 100)
    with pytest.raises(PinGraphError, match="text: cut, damaged, or not a recording"):
        RecordedSampler(path=str(tmp_path / "text"))


@pytest.mark.parametrize(("name", "value"), [("format", "other"), ("version", "2")])
def test_another_format_or_version_is_refused(recording, name, value):
    whole = recording.read_bytes()
    size = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + size])
    header["__metadata__"][name] = value
    text = json.dumps(header).encode()
    recording.write_bytes(len(text).to_bytes(8, "little") + text + whole[8 + size :])
    with pytest.raises(PinGraphError, match=r"format '.*' version '.*'; expected 'pingraph.neigh"):
        RecordedSampler(path=str(recording))


def test_no_seeds_are_nothing_to_record(tmp_path):
    with pytest.raises(PinGraphError, match=r"^seeds are empty"):
        record(PinSAGESampler(), GRAPH, [], tmp_path / "rows", seed=1)
    with pytest.raises(PinGraphError, match=r"^seeds\[1\] is 80"):
        record(PinSAGESampler(), GRAPH, [0, 80], tmp_path / "rows", seed=1)
    assert not list(tmp_path.iterdir())


def test_a_sampler_that_fails_leaves_no_file_and_harms_none(recording, tmp_path):
    class Failing:
        def sample(self, graph, seeds, *, seed, epoch=0):
            raise RuntimeError("mine")

    before = recording.read_bytes()
    with pytest.raises(
        PinGraphError, match=r"Failing: test_sampler_cache.py, line \d+: RuntimeError: mine"
    ):
        record(Failing(), GRAPH, [0], recording, seed=1)
    assert recording.read_bytes() == before
    assert list(tmp_path.iterdir()) == [recording]


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    def refuse(metadata, tensors):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recording_module, "_header", refuse)
    with pytest.raises(PinGraphError, match=r"^cannot write .*rows: No space left"):
        record(PinSAGESampler(), GRAPH, EVERY, tmp_path / "rows", seed=1)
    assert not list(tmp_path.iterdir())


def test_they_are_chosen_by_class_path(recording):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--sampler", type=Sampler)
    arguments = ["--sampler=pingraph.samplers.RecordedSampler", f"--sampler.path={recording}"]
    chosen = parser.instantiate(parser.parse_args(arguments)).sampler
    assert chosen == RecordedSampler(path=str(recording))
    arguments = ["--sampler=pingraph.samplers.CachedSampler", "--sampler.epochs=9"]
    arguments += ["--sampler.sampler=pingraph.samplers.PPRSampler", "--sampler.sampler.k=3"]
    chosen = parser.instantiate(parser.parse_args(arguments)).sampler
    assert chosen == CachedSampler(sampler=PPRSampler(k=3), epochs=9)


@pytest.mark.parametrize("num_threads", [1, 2, 8])
def test_golden(num_threads, tmp_path):
    """A change of this hash changes the results of everybody: say so in the changelog."""
    graph, seeds = skewed_graph(PINS, 60, 395), np.arange(PINS)
    part = PinSAGESampler(num_threads=num_threads)
    record(part, graph, seeds, tmp_path / "rows", seed=20, epoch=26)
    cached = CachedSampler(sampler=part, epochs=2)
    for sampler in (cached, cached, RecordedSampler(path=str(tmp_path / "rows"))):
        found = sampler.sample(graph, seeds, seed=20, epoch=53)
        digest = hashlib.sha256(found.ids.astype("<i8").tobytes())
        digest.update(found.scores.astype("<f4").tobytes())
        assert digest.hexdigest() == GOLDEN


GOLDEN = "c0bac3a787290c44fa3ed9e9202dc13cf5c2dfd1c6419bcefcaaad94647ab8d6"
