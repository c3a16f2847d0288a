"""The checker: samplers that are right pass, and of broken ones exactly the fault is named."""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom, kstest

from pingraph.errors import PinGraphError
from pingraph.graph import PinBoardGraph
from pingraph.interfaces import Neighbors
from pingraph.samplers import (
    CachedSampler,
    CoBoardSampler,
    MixtureSampler,
    MultiGraphSampler,
    Node2VecSampler,
    PinSAGESampler,
    PixieSampler,
    PPRSampler,
    RecordedSampler,
    TemporalSampler,
    WalkSampler,
    check,
    check_calls,
    record,
)
from pingraph.samplers.check_law import cells, coarser, exact_shares, p_value
from pingraph.samplers.checking import example_graph
from tests.sampler_contract import skewed_graph


class Good:
    """Draws pins of the seed's boards with replacement, 40 times; in plain Python, and right."""

    def __init__(self, k=10):
        self.k = k

    def sample(self, graph, seeds, *, seed, epoch=0):
        seeds = np.asarray(seeds)
        ids = np.full((len(seeds), self.k), -1)
        scores = np.zeros((len(seeds), self.k))
        for row, pin in enumerate(seeds):
            _ = graph.boards_of(pin)  # PinGraphError, if there is no such pin
            pins, visits = self.visits(graph, int(pin), self.generator(seed, epoch, pin))
            best = np.argsort(-visits, kind="stable")[: self.k]
            ids[row, : len(best)], scores[row, : len(best)] = pins[best], visits[best]
        return Neighbors.from_scores(seeds=seeds, ids=ids, scores=scores)

    def generator(self, seed, epoch, pin):
        return np.random.default_rng([seed, epoch, pin])

    def visits(self, graph, pin, generator):
        mates = self.mates(graph, pin)
        if not len(mates):
            return mates, mates
        return np.unique(generator.choice(mates, 40), return_counts=True)

    def mates(self, graph, pin):
        mates = [graph.pins_of(board) for board in graph.boards_of(pin)]
        mates = np.concatenate([np.empty(0, np.int64), *mates])
        return mates[mates != pin]


def exact_good(graph, pin):
    """The law of `Good`: how many boards each pin shares with the seed."""
    saves = graph.incidence().toarray()
    return saves @ saves[pin]


def exact_pinsage(graph, pin, walk_length=2, restart=0.5):
    """The law of PinSAGE walks, by matrix."""
    saves = graph.incidence().toarray() > 0
    to_board = saves / np.maximum(saves.sum(1, keepdims=True), 1)
    step = to_board @ (saves / np.maximum(saves.sum(0), 1)).T
    powers = [np.linalg.matrix_power(step, t)[pin] for t in range(1, walk_length + 1)]
    return sum((1 - restart) ** t * power for t, power in enumerate(powers))


# What is right passes.


def built_in(tmp_path):
    near, far = PinSAGESampler(walk_length=1), PinSAGESampler(k=20, walk_length=4)
    graph = example_graph()
    record(near, graph, np.arange(60), tmp_path / "rows", seed=1)
    pins, boards = graph.edges()
    other = PinBoardGraph.from_edges(graph.pin_ids[pins], boards)
    return [
        near,
        far,
        PPRSampler(),
        CoBoardSampler(),
        PixieSampler(),
        Node2VecSampler(return_parameter=2, in_out_parameter=0.5),
        WalkSampler(),
        MixtureSampler(samplers=[near, far], weights=[1, 2]),
        MultiGraphSampler(graphs=[other], samplers=[near]),
        CachedSampler(sampler=near, epochs=1),
        CachedSampler(sampler=near, epochs=3, max_bytes=2_000),
        RecordedSampler(path=str(tmp_path / "rows")),
    ]


def test_built_in_samplers_pass(tmp_path):
    for sampler in built_in(tmp_path):
        report = check(sampler)
        assert not report.named("failed")
        assert set(report.named("warning")) <= {"seed and epoch"}, str(report)
        quiet = isinstance(sampler, (PPRSampler, RecordedSampler))
        kept = isinstance(sampler, CachedSampler) and sampler.epochs > 1
        assert ("seed and epoch" in report.named("warning")) == (quiet or kept), str(report)


def test_walks_in_time_pass_on_a_graph_with_times():
    pins, boards = example_graph().edges()
    graph = PinBoardGraph.from_edges(pins, boards, times=np.arange(len(pins)) * 7 % 31)
    assert not check(TemporalSampler(), graph).named("failed")


def test_a_sampler_of_the_user_passes():
    report = check(Good(), exact=exact_good)
    assert not report.named("warning")
    assert set(report.named("left out")) == {"threads"}
    assert len(report.results) > 25


def test_the_graph_of_the_user_is_taken():
    graph = skewed_graph(400, 60, 395)
    report = check(PinSAGESampler(), graph, exact=exact_pinsage)
    assert report.graph.startswith("400 pins, 60 boards, ")
    assert not report.named("warning")


def test_a_report_is_a_table():
    text = str(check(PPRSampler()))
    assert text.startswith("PPRSampler(k=10")
    assert "on 60 pins, 15 boards, 83 edges\n  passed    can be called " in text
    assert "\n  warning   seed and epoch     another seed and another epoch changed no" in text


# A zoo of faults. Each class is `Good` but for one thing; its check, and words of the sentence.

ZOO = []


def zoo(checks, words):
    def add(kind):
        ZOO.append(pytest.param(kind, set(checks.split(", ")), words, id=kind.__name__))
        return kind

    return add


class Changed(Good):
    """Changes the arrays of a good answer."""

    def sample(self, graph, seeds, *, seed, epoch=0):
        found = super().sample(graph, seeds, seed=seed, epoch=epoch)
        arrays = {
            name: getattr(found, name).copy()
            for name in ("seeds", "ids", "weights", "scores", "mask")
        }
        self.change(graph, arrays)
        return Neighbors(**arrays)


@zoo("can be called", r"returned dict; expected pingraph.interfaces.Neighbors")
class ReturnsADict(Good):
    def sample(self, graph, seeds, *, seed, epoch=0):
        return {"ids": seeds}


@zoo(
    "can be called", r"sample\(graph, \[0, 1, 2, 3, … 56\] \(57\), seed=1, epoch=0\) raised KeyErr"
)
class Raises(Good):
    def visits(self, graph, pin, generator):
        return {}[pin]


@zoo("can be called", r"TypeError: .*unexpected keyword argument 'epoch'")
class KnowsNoEpoch(Good):
    def sample(self, graph, seeds, seed):
        return super().sample(graph, seeds, seed=seed)


@zoo("can be called", r"returned ids as int32 of shape \(57, 10\); expected int64")
class NarrowIds(Changed):
    def change(self, graph, arrays):
        arrays["ids"] = arrays["ids"].astype(np.int32)


@zoo("can be called", r"returned mask as bool of shape \(57,\); expected bool of shape \(57, 10\)")
class FlatMask(Changed):
    def change(self, graph, arrays):
        arrays["mask"] = arrays["mask"].any(axis=1)


@zoo("can be called", r"ValueError: assignment destination is read-only")
class WritesToTheGraph(Good):
    def mates(self, graph, pin):
        graph.pin_boards[0] = 0
        return super().mates(graph, pin)


@zoo("graph unchanged", r"sample changed the graph: board_pins$")
class WritesToTheGraphByForce(Good):
    def mates(self, graph, pin):
        mates = super().mates(graph, pin)
        graph.board_pins.flags.writeable = True
        graph.board_pins[:4] = graph.board_pins[:4][::-1].copy()
        return mates


@zoo("seeds given back", r"row 0 was asked for pin 0, and seeds\[0\] is 56")
class ReturnsOtherSeeds(Changed):
    def change(self, graph, arrays):
        arrays["seeds"] = arrays["seeds"][::-1]


@zoo("padding", r"ids\[\d+, \d\] is 0 where the mask is False; expected -1")
class PadsWithZeros(Changed):
    def change(self, graph, arrays):
        arrays["ids"][~arrays["mask"]] = 0


@zoo("padding", r"mask\[\d+, \d\] is False before a True; padding comes last")
class PadsInFront(Changed):
    def change(self, graph, arrays):
        for row, valid in enumerate(arrays["mask"]):
            for name in ("ids", "weights", "scores", "mask"):
                arrays[name][row] = np.roll(arrays[name][row], len(valid) - valid.sum())


@zoo("ids in range", r"neighbor 0 \(of row 0\) is 10\d\d; expected a pin of the graph, 0 to 59")
class ReturnsOuterIds(Changed):
    def change(self, graph, arrays):
        ids = graph.pin_ids[arrays["ids"]]
        arrays["ids"] = np.where(arrays["mask"], ids, -1)


@zoo("no seed", r"pin \d+: neighbor \d \(of row \d+\) is the seed \d+ itself")
class FindsItself(Good):
    def mates(self, graph, pin):
        mates = super().mates(graph, pin)
        return np.append(mates, pin) if len(mates) else mates


@zoo("no repeats", r"neighbor \d+ stands in places \[\d, \d\] of row \d")
class FindsTwice(Good):
    def visits(self, graph, pin, generator):
        pins, visits = super().visits(graph, pin, generator)
        return np.append(pins, pins[:1]), np.append(visits, visits[:1])


@zoo("weights", r"pin 0: the weights of row 0 sum to 0\.\d+, not 1")
class WeightsAreShares(Changed):
    def change(self, graph, arrays):
        arrays["weights"] = (arrays["scores"] / 41).astype(np.float32)


@zoo("scores", r"pin 0: neighbor 0 \(of row 0\) has scores 0; expected a finite number above 0")
class LosesTheScores(Changed):
    def change(self, graph, arrays):
        arrays["scores"][:] = 0


@zoo("best first", r"pin \d+: scores\[\d+, \d:\] are \d+ and then \d+; expected best first")
class SortsById(Changed):
    def change(self, graph, arrays):
        keys = np.where(arrays["mask"], arrays["ids"], 10**9)
        order = np.argsort(keys, axis=1)
        for name in ("ids", "weights", "scores", "mask"):
            arrays[name] = np.take_along_axis(arrays[name], order, axis=1)


@zoo("called again", r"pin \d+, called again, got ids \[.*, at first \[")
class DrawsFromAGlobalGenerator(Good):
    shared = np.random.default_rng(0)

    def generator(self, seed, epoch, pin):
        return self.shared


@zoo("order, batches, repeated seeds", r"pin \d+, with the seeds in another order, got ids")
class DrawsSeedAfterSeed(Good):
    def sample(self, graph, seeds, *, seed, epoch=0):
        self.drawn = np.random.default_rng([seed, epoch])
        return super().sample(graph, seeds, seed=seed, epoch=epoch)

    def generator(self, seed, epoch, pin):
        return self.drawn


@zoo("batches, repeated seeds", r"pin \d+, in a batch of 7, got ids")
class DrawsByTheSizeOfTheBatch(Good):
    def sample(self, graph, seeds, *, seed, epoch=0):
        self.size = len(seeds)
        return super().sample(graph, seeds, seed=seed, epoch=epoch)

    def generator(self, seed, epoch, pin):
        return np.random.default_rng([seed, epoch, pin, self.size])


@zoo("repeated seeds", r"pin 0, asked for twice in one call, got ids \[-1")
class KnowsEachPinOnce(Changed):
    def change(self, graph, arrays):
        _, first = np.unique(arrays["seeds"], return_index=True)
        again = np.ones(len(arrays["seeds"]), bool)
        again[first] = False
        for name, empty in (("ids", -1), ("weights", 0), ("scores", 0), ("mask", False)):
            arrays[name][again] = empty


@zoo("batches, no seeds", r"in a batch of 7, rows have \d neighbors, 10 at first")
class AsWideAsTheWidestRow(Changed):
    def change(self, graph, arrays):
        width = arrays["mask"].any(axis=0).sum()
        for name in ("ids", "weights", "scores", "mask"):
            arrays[name] = arrays[name][:, :width]


@zoo("threads", r"pin \d+, with num_threads=2, got ids")
class DrawsByThread(Good):
    num_threads = 1

    def generator(self, seed, epoch, pin):
        return np.random.default_rng([seed, epoch, pin, self.num_threads])


@zoo("worker process", r"pin \d+, in a forked process, got ids")
class DrawsByProcess(Good):
    def __init__(self):
        super().__init__()
        self.home = os.getpid()

    def generator(self, seed, epoch, pin):
        return np.random.default_rng([seed, epoch, pin, os.getpid() != self.home])


@zoo("worker process", r"in a forked process, sample did not return within 2 s")
class KeepsThreadsThatForkingLoses(Good):
    threads = ThreadPoolExecutor(1)

    def visits(self, graph, pin, generator):
        return self.threads.submit(super().visits, graph, pin, generator).result()


@zoo("worker process", r"a forked process that sampled ended with exit code 7")
class DiesInAWorker(DrawsByProcess):
    def generator(self, seed, epoch, pin):
        if os.getpid() != self.home:
            os._exit(7)
        return super().generator(seed, epoch, pin)


@zoo("worker process", r"in a forked process, sample\(graph, .* raised RuntimeError: not here")
class RaisesInAWorker(DrawsByProcess):
    def generator(self, seed, epoch, pin):
        if os.getpid() != self.home:
            raise RuntimeError("not here")
        return super().generator(seed, epoch, pin)


@zoo("pickled copy", r"pin \d+, by a pickled copy, got ids")
class ForgetsWhenPickled(Good):
    draws = 1

    def __init__(self):
        super().__init__()
        self.draws = 2

    def generator(self, seed, epoch, pin):
        return np.random.default_rng([seed, epoch, pin, self.draws])

    def __reduce__(self):
        return Good, ()

    def __deepcopy__(self, memo):
        return ForgetsWhenPickled()


@zoo("other seed", r"with another seed, .* is something kept from the first seed\?")
class KeepsRowsByPinAndGraph(Good):
    def __init__(self):
        super().__init__()
        self.kept = {}

    def visits(self, graph, pin, generator):
        key = (graph.num_edges, pin)
        if key not in self.kept:
            self.kept[key] = super().visits(graph, pin, generator)
        return self.kept[key]


@zoo("other graph", r"on a graph of half the edges, .* is something kept from the first graph\?")
class KeepsTheFirstGraph(Good):
    graph = None

    def mates(self, graph, pin):
        self.graph = self.graph or graph
        return super().mates(self.graph, pin)


@zoo("no seeds", r"sample\(graph, \[\], seed=1, epoch=0\) raised ValueError: need at least one arr")
class FailsWithoutSeeds(Good):
    def sample(self, graph, seeds, *, seed, epoch=0):
        np.concatenate([graph.boards_of(pin) for pin in seeds])
        return super().sample(graph, seeds, seed=seed, epoch=epoch)


@zoo("isolated pins", r"sample\(graph, \[57, 58, 59\], .*\) raised ValueError: a cannot be empty")
class FailsWithoutMates(Good):
    def visits(self, graph, pin, generator):
        return np.unique(generator.choice(self.mates(graph, pin), 40), return_counts=True)


@zoo("isolated pins", r"pin 57: weights\[0, 0\] is nan where the mask is False; expected 0")
class DividesByZero(Changed):
    def change(self, graph, arrays):
        with np.errstate(invalid="ignore"):
            arrays["weights"] /= arrays["weights"].sum(axis=1, keepdims=True)


@zoo("unknown pins", r"sample\(graph, \[-1\], …\) returned rows for a pin that the graph lacks")
class CountsFromTheEnd(Good):
    def sample(self, graph, seeds, *, seed, epoch=0):
        known = np.where(seeds < 0, np.add(seeds, graph.num_pins), seeds)
        return super().sample(graph, known, seed=seed, epoch=epoch)


@zoo("seeds unchanged", r"sample changed seeds\[0\] from 56 to 0")
class SortsTheSeeds(Good):
    def sample(self, graph, seeds, *, seed, epoch=0):
        asked = seeds.copy()
        seeds.sort()
        return super().sample(graph, asked, seed=seed, epoch=epoch)


@zoo(
    "exact law", r"over 400 epochs pins? .* of the scores, where the exact law gives 0\.\d+ \(p = "
)
class DrawsBoardsFirst(Good):
    """Draws a board and then a pin of it: pins of small boards come more often than they should."""

    def visits(self, graph, pin, generator):
        boards = [b for b in graph.boards_of(pin) if len(graph.pins_of(b)) > 1]
        drawn = []
        for _ in range(8 if boards else 0):
            mates = graph.pins_of(generator.choice(boards))
            drawn.append(generator.choice(mates[mates != pin]))
        return np.unique(np.array(drawn, np.int64), return_counts=True)


@zoo("exact law", r"found pin \d+, which the exact law never gives")
class WalksTooFar(Good):
    def mates(self, graph, pin):
        near = super().mates(graph, pin)
        if not len(near):
            return near
        far = np.concatenate([super(WalksTooFar, self).mates(graph, int(mate)) for mate in near])
        return np.concatenate([near, far[far != pin]])


@pytest.mark.parametrize(("kind", "checks", "words"), ZOO)
def test_exactly_the_fault_is_named(kind, checks, words, monkeypatch):
    monkeypatch.setattr(check_calls, "PATIENCE", 2)
    with pytest.raises(PinGraphError) as caught:
        check(kind(), exact=exact_good if "exact law" in checks else None)
    head, *lines = str(caught.value).splitlines()
    assert re.search(rf"fails {len(checks)} of \d+ checks:$", head)
    assert {line.strip().split(":")[0] for line in lines} == checks
    assert re.search(words, "\n".join(lines)), lines


def test_the_error_of_the_sampler_is_shown_with_its_line():
    with pytest.raises(
        PinGraphError, match=r"KeyError: 0 \(test_checking.py, line \d+\)"
    ) as caught:
        check(Raises())
    assert isinstance(caught.value.__cause__, KeyError)


def test_all_failures_are_listed():
    class Two(FindsItself, CountsFromTheEnd):
        pass

    with pytest.raises(PinGraphError, match=r"Two.* fails 2 of \d+ checks:\n  no seed: .*\n  unk"):
        check(Two())


def test_a_checked_graph_is_made_anew_each_time():
    with pytest.raises(PinGraphError, match="graph unchanged"):
        check(WritesToTheGraphByForce())
    assert not check(Good()).named("failed")


# Warnings, and what cannot be checked.


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("error of unknown", "sample(graph, [60], seed=1, epoch=0) raised IndexError: "),
        ("finds some", "none of 57 pins got a neighbor"),
        ("can be pickled", "pickle.dumps(sampler) raised"),
        ("isolated is empty", "pin 57 shares no board with another, and got [0]"),
        ("within reach", "pin 45: no walk leads to neighbor 0 (place "),
    ],
)
def test_what_may_be_meant_is_a_warning(name, words):
    class Nothing(Good):
        def mates(self, graph, pin):
            return super().mates(graph, pin)[:0]

    class Local(Good):
        pass

    class Indexing(Good):
        def sample(self, graph, seeds, *, seed, epoch=0):
            _ = graph.pin_degrees[seeds]
            return super().sample(graph, seeds, seed=seed, epoch=epoch)

    class Popular(Good):
        def mates(self, graph, pin):
            mates = super().mates(graph, pin)
            return mates if len(mates) else np.array([0])

    class Everywhere(Good):
        def visits(self, graph, pin, generator):
            pins, visits = super().visits(graph, pin, generator)
            far = pin >= 45 and len(pins)
            return (np.append(pins, 0), np.append(visits, 1)) if far else (pins, visits)

    kinds = {
        "error of unknown": Indexing,
        "finds some": Nothing,
        "can be pickled": Local,
        "isolated is empty": Popular,
        "within reach": Everywhere,
    }
    report = check(kinds[name]())
    assert report.named("warning")[name].startswith(words)
    assert "cannot be pickled" in report.named("left out")["pickled copy"]


def test_what_cannot_be_checked_is_left_out():
    class Stubborn(Good):
        def __deepcopy__(self, memo):
            raise TypeError("no copies")

    graph = PinBoardGraph.from_edges([0, 1, 1, 2], [0, 0, 1, 1])
    report = check(Stubborn(), graph)
    expected = {"threads", "pickled copy", "other seed", "other graph", "isolated pins"}
    assert set(report.named("left out")) == {*expected, "isolated is empty"}


def test_a_sampler_that_refuses_another_graph_is_not_blamed(tmp_path):
    record(PinSAGESampler(), example_graph(), np.arange(60), tmp_path / "rows", seed=1)
    report = check(RecordedSampler(path=str(tmp_path / "rows")))
    assert "refuses another graph" in report.named("left out")["other graph"]


# The exact law.


@pytest.mark.parametrize(("walk_length", "restart"), [(1, 0.5), (2, 0.5), (4, 0.1)])
def test_the_law_of_pinsage_is_found_true(walk_length, restart):
    def exact(graph, pin):
        return exact_pinsage(graph, pin, walk_length, restart)

    for num_walks in (2, 200):
        sampler = PinSAGESampler(
            walk_length=walk_length, restart_probability=restart, num_walks=num_walks
        )
        assert "exact law" in check(sampler, exact=exact).named("passed")


@pytest.mark.parametrize("restart", [0.45, 0.55])
def test_a_small_error_of_the_law_is_found(restart):
    def exact(graph, pin):
        return exact_pinsage(graph, pin, restart=restart)

    with pytest.raises(PinGraphError, match="exact law: pin"):
        check(PinSAGESampler(), exact=exact)


def test_p_values_are_those_of_chance():
    """Of 400 tests with 3 walks a call. False alarm rate of the two assertions: 1 in 1,000."""
    p_values = []
    for number in range(20):
        graph = skewed_graph(30 + number, 12, 30)
        pins = np.arange(20)
        laws = [exact_shares(exact_pinsage, graph, int(pin)) for pin in pins]
        cell = [cells(law) for law in laws]
        counts = [np.zeros((400, own.max() + 1)) for own in cell]
        sampler = PinSAGESampler(k=50, num_walks=3)
        for epoch in range(400):
            found = sampler.sample(graph, pins, seed=number, epoch=epoch)
            for row, (ids, scores) in enumerate(zip(found.ids, found.scores, strict=True)):
                np.add.at(counts[row][epoch], cell[row][ids], scores)  # the score of padding is 0
        for law, own, scores in zip(laws, cell, counts, strict=True):
            joined, sums = coarser(own, scores)
            p_values.append(p_value(np.bincount(joined, law), sums))
    low, high = binom.ppf([2.5e-4, 1 - 2.5e-4], len(p_values), 0.05)
    assert low <= np.sum(np.array(p_values) < 0.05) <= high
    assert kstest(p_values, "uniform").pvalue > 5e-4


def test_a_sampler_that_draws_nothing_is_compared_as_it_is():
    class Counts(Good):
        def visits(self, graph, pin, generator):
            return np.unique(self.mates(graph, pin), return_counts=True)

    assert "exact law" in check(Counts(), exact=exact_good).named("passed")
    with pytest.raises(PinGraphError, match="exact law: pin"):
        check(Counts(), exact=lambda graph, pin: exact_good(graph, pin) ** 2)


def test_cells_are_likely_pins_alone_and_rare_ones_together():
    assert cells(np.array([0.5, 0.013, 0.012, 0.475])).tolist() == [0, 2, 2, 1]
    assert cells(np.array([0.97, 0.015, 0.015])).tolist() == [0, 1, 1]
    assert cells(np.array([0.99, 0.005, 0.005])).tolist() == [0, 0, 0]
    law = np.random.default_rng(0).dirichlet(np.ones(200))
    assert np.bincount(cells(law), law).min() >= 0.02
    assert cells(law).max() in range(20, 50)


def test_cells_are_joined_until_enough_was_found():
    scores = np.zeros((400, 5))
    for column, epochs in enumerate((90, 50, 29, 1, 79)):
        scores[:epochs, column] = 2
    cell, sums = coarser(np.array([4, 0, 0, 1, 2, 3]), scores)
    assert cell.tolist() == [1, 0, 0, 1, 1, 1]
    np.testing.assert_array_equal(sums[:, 0], scores[:, 0])
    np.testing.assert_array_equal(sums[:, 1], scores[:, 1:].sum(axis=1))


def test_a_k_that_cuts_off_neighbors_is_told():
    class Fixed:
        def sample(self, graph, seeds, *, seed, epoch=0):
            return Good(k=3).sample(graph, seeds, seed=seed, epoch=epoch)

    with pytest.raises(PinGraphError, match="use a k that no neighbor is cut off by"):
        check(Fixed(), exact=exact_good)


@pytest.mark.parametrize(
    ("exact", "words"),
    [
        (lambda graph, pin: np.ones(3), r"array of shape \(3,\); expected a finite number"),
        (lambda graph, pin: np.full(graph.num_pins, np.nan), "expected a finite number"),
        (lambda graph, pin: -np.ones(graph.num_pins), "expected a finite number, 0 or more"),
        (lambda graph, pin: np.zeros(graph.num_pins), "is 0 for every other pin"),
        (lambda graph, pin: 1 / 0, r"exact\(graph, \d+\) raised ZeroDivisionError"),
    ],
)
def test_what_is_no_law_is_refused(exact, words):
    with pytest.raises(PinGraphError, match=words):
        check(Good(), exact=exact)


@pytest.mark.parametrize(
    ("sampler", "words"),
    [(None, "no method sample"), (Good, "not its class"), (np.sort, "no method sample")],
)
def test_what_is_no_sampler_is_refused(sampler, words):
    with pytest.raises(PinGraphError, match=words):
        check(sampler)


def test_a_graph_without_neighbors_is_refused():
    with pytest.raises(PinGraphError, match="the graph has no pin with a neighbor"):
        check(Good(), PinBoardGraph.from_edges([0, 1], [0, 1]))


def test_the_code_of_the_page_runs(capsys):
    page = Path(__file__).parent.parent / "docs" / "composing-samplers.md"
    names = {}
    for block in re.findall(
        r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL
    ):
        exec(block, names)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("['dog' 'cow'] [0.7")
    assert lines[1] == "['cow']"
    assert "passed    exact law" in lines[-1]
