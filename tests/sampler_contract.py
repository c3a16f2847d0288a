"""The contract that every implementation of the Sampler protocol keeps: subclass it.

class TestMySampler(SamplerContract):
    def make(self, **arguments):
        return MySampler(**arguments)

The class under test has the arguments k and num_threads, as those of pingraph.samplers have.
"""

import multiprocessing
import pickle
from functools import cache, partial

import numpy as np
import pytest
from torch.utils.data import DataLoader

from pingraph.errors import PinGraphError
from pingraph.graph import PinBoardGraph
from pingraph.interfaces import Neighbors, Sampler

PINS, BOARDS, ISOLATED = 400, 60, 395  # pins 395 … 399 have no board


@cache
def skewed_graph(pins, boards, connected):
    """Return a graph whose first `connected` pins lie on some boards each, popular ones on many."""
    generator = np.random.default_rng(0)
    degrees = 1 + (generator.pareto(1.5, connected) * 2).astype(int).clip(max=boards - 1)
    rows = np.repeat(np.arange(connected), degrees)
    columns = (generator.random(len(rows)) ** 2 * boards).astype(int)
    return PinBoardGraph.from_edges(
        rows, columns, pin_ids=np.arange(pins), board_ids=np.arange(boards)
    )


def two_hop(graph, pin):
    """Return the pins that share a board with `pin`, itself included."""
    mates = [graph.pins_of(board) for board in graph.boards_of(pin)]
    return np.unique(np.concatenate(mates)) if mates else np.array([], np.int64)


def reachable(graph, pin):
    """Return the pins that any walk can reach from `pin`, itself left out, breadth first."""
    seen, frontier = {int(pin)}, {int(pin)}
    while frontier:
        frontier = {int(mate) for at in frontier for mate in two_hop(graph, at)} - seen
        seen |= frontier
    return seen - {int(pin)}


def assert_same(a, b):
    for name in ("seeds", "ids", "weights", "scores", "mask"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def assert_consistent(found, graph, k):
    """Check all that the docstring of Neighbors promises."""
    rows = len(found.seeds)
    for name, dtype in (("ids", "i8"), ("weights", "f4"), ("scores", "f4"), ("mask", "?")):
        array = getattr(found, name)
        assert array.dtype == np.dtype(dtype), name
        assert array.shape == (rows, k), name
    assert found.seeds.dtype == np.int64
    valid = found.mask
    assert np.array_equal(valid, np.sort(valid, axis=1)[:, ::-1])  # valid entries come first
    assert (found.ids[~valid] == -1).all()
    assert (found.weights[~valid] == 0).all()
    assert (found.scores[~valid] == 0).all()
    assert ((found.ids[valid] >= 0) & (found.ids[valid] < graph.num_pins)).all()
    assert (found.scores[valid] > 0).all()
    assert (found.weights[valid] > 0).all()
    assert (found.ids != found.seeds[:, None]).all()  # the seed is never its own neighbor
    assert (np.diff(found.weights, axis=1) <= 0).all()  # best first
    np.testing.assert_allclose(found.weights.sum(axis=1), valid.any(axis=1), atol=1e-6)
    for row in range(rows):
        ids = found.ids[row][valid[row]]
        assert len(np.unique(ids)) == len(ids)


class SamplerContract:
    def make(self, **arguments):
        raise NotImplementedError

    @pytest.fixture
    def graph(self):
        return skewed_graph(PINS, BOARDS, ISOLATED)

    def test_it_is_a_sampler_that_can_be_pickled(self, graph):
        sampler = self.make()
        assert isinstance(sampler, Sampler)
        copy = pickle.loads(pickle.dumps(sampler))
        seeds = np.arange(20)
        assert_same(copy.sample(graph, seeds, seed=1), sampler.sample(graph, seeds, seed=1))

    @pytest.mark.parametrize("k", [1, 5, 50, 500])
    def test_the_arrays_are_consistent(self, graph, k):
        seeds = np.arange(PINS)
        found = self.make(k=k).sample(graph, seeds, seed=3)
        assert isinstance(found, Neighbors)
        np.testing.assert_array_equal(found.seeds, seeds)
        assert_consistent(found, graph, k)
        assert found.mask[:ISOLATED].any()

    def test_neighbors_can_be_reached(self, graph):
        found = self.make(k=PINS).sample(graph, np.arange(0, ISOLATED, 20), seed=4)
        for seed, ids in zip(found.seeds, found.ids, strict=True):
            assert set(ids[ids >= 0].tolist()) <= reachable(graph, seed)

    def test_it_walks_on_the_graph_that_is_given(self, graph):
        other = graph.keep_edges(np.arange(graph.num_edges) % 2 == 0)
        sampler, seeds = self.make(), np.arange(ISOLATED)
        before = sampler.sample(graph, seeds, seed=1)
        found = sampler.sample(other, seeds, seed=1)
        for seed, ids in zip(seeds[::20], found.ids[::20], strict=True):
            assert set(ids[ids >= 0].tolist()) <= reachable(other, seed)
        assert_same(sampler.sample(graph, seeds, seed=1), before)

    def test_seed_and_epoch_change_the_walks(self, graph):
        sampler, seeds = self.make(), np.arange(ISOLATED)
        first = sampler.sample(graph, seeds, seed=1, epoch=0)
        assert_same(sampler.sample(graph, seeds, seed=1), first)
        for seed, epoch in [(2, 0), (1, 1), (0, 1), (2**64 - 1, 0), (1, 2**64 - 1)]:
            other = sampler.sample(graph, seeds, seed=seed, epoch=epoch)
            assert (other.ids != first.ids).any(axis=1).mean() > 0.5

    @pytest.mark.parametrize("num_threads", [1, 2, 8])
    def test_threads_change_nothing(self, graph, num_threads):
        seeds = np.random.default_rng(1).integers(0, PINS, 2_000)
        expected = self.make().sample(graph, seeds, seed=5, epoch=2)
        found = self.make(num_threads=num_threads).sample(graph, seeds, seed=5, epoch=2)
        assert_same(found, expected)

    @pytest.mark.parametrize("size", [1, 7, 64, 399])
    def test_batching_and_order_change_nothing(self, graph, size):
        seeds = np.random.default_rng(2).permutation(PINS)
        whole = self.make().sample(graph, np.arange(PINS), seed=5, epoch=2)
        for start in range(0, PINS, size) if size > 1 else range(0, PINS, 40):
            batch = seeds[start : start + size]
            found = self.make().sample(graph, batch, seed=5, epoch=2)
            for name in ("ids", "weights", "scores", "mask"):
                np.testing.assert_array_equal(getattr(found, name), getattr(whole, name)[batch])

    def test_a_repeated_seed_gets_the_same_row_each_time(self, graph):
        found = self.make().sample(graph, np.array([7, 3, 7, 7]), seed=5)
        np.testing.assert_array_equal(found.seeds, [7, 3, 7, 7])
        for row in (2, 3):
            np.testing.assert_array_equal(found.ids[row], found.ids[0])
            np.testing.assert_array_equal(found.scores[row], found.scores[0])

    def test_workers_of_a_data_loader_change_nothing(self, graph):
        self.check_workers(graph, "fork", 2)

    def check_workers(self, graph, method, workers):
        collate = partial(self.make().sample, graph, seed=5, epoch=2)
        loader = DataLoader(
            range(PINS),
            150,
            collate_fn=collate,
            num_workers=workers,
            multiprocessing_context=method,
        )
        expected = self.make().sample(graph, np.arange(PINS), seed=5, epoch=2)
        batches = list(loader)
        assert len(batches) == 3
        for name in ("seeds", "ids", "weights", "scores", "mask"):
            parts = np.concatenate([getattr(batch, name) for batch in batches])
            np.testing.assert_array_equal(parts, getattr(expected, name))

    def test_a_spawned_process_finds_the_same(self, graph, spawned):
        """What a spawned worker of a DataLoader adds to a forked one: all comes by pickle."""
        sample = partial(self.make().sample, graph, seed=5, epoch=2)
        assert_same(spawned.apply(sample, (np.arange(PINS),)), sample(np.arange(PINS)))

    def test_threads_work_in_a_forked_process(self, graph):
        sampler, seeds = self.make(num_threads=2), np.arange(PINS)
        expected = sampler.sample(graph, seeds, seed=5)  # threads ran in the parent, too
        with multiprocessing.get_context("fork").Pool(1) as pool:
            found = pool.apply(partial(sampler.sample, graph, seed=5), (seeds,))
        assert_same(found, expected)

    def test_no_seeds_give_no_rows(self, graph):
        for seeds in (np.array([], np.int64), np.array([], np.float64), []):
            found = self.make(k=4).sample(graph, seeds, seed=1)
            assert_consistent(found, graph, 4)
            assert found.seeds.shape == (0,)

    def test_a_pin_without_boards_has_no_neighbors(self, graph):
        found = self.make().sample(graph, np.array([PINS - 1, 0, ISOLATED, PINS - 1]), seed=1)
        assert found.mask.any(axis=1).tolist() == [False, True, False, False]
        assert_consistent(found, graph, found.ids.shape[1])

    def test_a_pin_alone_on_its_board_has_no_neighbors(self):
        graph = PinBoardGraph.from_edges([0, 1, 1], [0, 1, 2])
        found = self.make().sample(graph, np.array([0, 1]), seed=1)
        assert not found.mask.any()

    @pytest.mark.parametrize("unknown", [-1, PINS, 2**40])
    def test_an_unknown_seed_is_refused(self, graph, unknown):
        with pytest.raises(PinGraphError, match=rf"seeds\[2\] is {unknown}; .* 0 to {PINS - 1}"):
            self.make().sample(graph, np.array([0, 1, unknown]), seed=1)

    @pytest.mark.parametrize("seeds", [[0.5], [[1, 2]], ["a"], [True], 3])
    def test_seeds_that_are_no_list_of_whole_numbers_are_refused(self, graph, seeds):
        with pytest.raises(PinGraphError, match="expected whole numbers"):
            self.make().sample(graph, np.array(seeds), seed=1)

    @pytest.mark.parametrize("value", [-1, 2**64, 0.5, None, True])
    @pytest.mark.parametrize("name", ["seed", "epoch"])
    def test_a_random_seed_out_of_range_is_refused(self, graph, name, value):
        arguments = {"seed": 1, "epoch": 0, name: value}
        with pytest.raises(PinGraphError, match=f"^{name} is {value}"):
            self.make().sample(graph, np.array([0]), **arguments)

    def test_seeds_are_not_changed_and_not_kept(self, graph):
        seeds = np.array([5, 6])
        found = self.make().sample(graph, seeds, seed=1)
        seeds[:] = 0
        np.testing.assert_array_equal(found.seeds, [5, 6])

    def test_a_graph_with_wide_indices_gives_the_same(self, graph):
        arrays = graph.arrays()
        for name in ("pin_boards", "board_pins"):
            assert arrays[name].dtype == np.int32
            arrays[name] = arrays[name].astype(np.int64)
        seeds = np.arange(PINS)
        wide = self.make().sample(PinBoardGraph(**arrays), seeds, seed=5)
        assert_same(wide, self.make().sample(graph, seeds, seed=5))

    def test_a_memory_mapped_graph_gives_the_same(self, graph, tmp_path):
        graph.save(tmp_path / "graph")
        opened = PinBoardGraph.open(tmp_path / "graph")
        seeds = np.arange(PINS)
        found = self.make().sample(opened, seeds, seed=5)
        assert_same(found, self.make().sample(graph, seeds, seed=5))
