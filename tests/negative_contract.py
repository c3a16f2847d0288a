"""The contract that every implementation of the NegativeSampler protocol keeps: subclass it.

class TestMyNegatives(NegativeContract):
    def make(self, **arguments):
        return MyNegatives(**arguments)

The class under test has the arguments n and num_threads, and leaves out the seed's board-mates.
"""

import multiprocessing
import pickle
from functools import partial

import numpy as np
import pytest
from torch.utils.data import DataLoader

from pingraph.errors import PinGraphError
from pingraph.graph import PinBoardGraph
from pingraph.interfaces import Negatives, NegativeSampler
from tests.sampler_contract import BOARDS, ISOLATED, PINS, skewed_graph, two_hop

FIELDS = ("seeds", "ids", "log_probabilities", "mask")


def assert_same(a, b, rows=slice(None)):
    """Check that `a` holds the rows of `b`."""
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name)[rows], err_msg=name)


def assert_consistent(found, graph, n):
    """Check all that the docstring of Negatives promises, and that nobody draws his board-mates."""
    rows = len(found.seeds)
    for name, dtype in (("ids", "i8"), ("log_probabilities", "f4"), ("mask", "?")):
        array = getattr(found, name)
        assert array.dtype == np.dtype(dtype), name
        assert array.shape == (rows, n), name
    assert found.seeds.dtype == np.int64
    valid = found.mask
    assert np.array_equal(valid, np.sort(valid, axis=1)[:, ::-1])  # valid entries come first
    assert (found.ids[~valid] == -1).all()
    assert (found.log_probabilities[~valid] == 0).all()
    assert ((found.ids[valid] >= 0) & (found.ids[valid] < graph.num_pins)).all()
    assert np.isfinite(found.log_probabilities).all()
    assert (found.log_probabilities <= 0).all()
    assert (graph.pin_degrees[found.ids[valid]] > 0).all()
    for seed, ids in zip(found.seeds.tolist(), found.ids, strict=True):
        assert seed not in ids
        assert not np.isin(ids, two_hop(graph, seed)).any()


class NegativeContract:
    isolated_pins_have_negatives = True

    def make(self, **arguments):
        raise NotImplementedError

    @pytest.fixture
    def graph(self):
        return skewed_graph(PINS, BOARDS, ISOLATED)

    def test_it_is_a_negative_sampler_that_can_be_pickled(self, graph):
        sampler = self.make()
        assert isinstance(sampler, NegativeSampler)
        copy, seeds = pickle.loads(pickle.dumps(sampler)), np.arange(20)
        expected = sampler.sample_negatives(graph, seeds, seed=1)
        assert_same(copy.sample_negatives(graph, seeds, seed=1), expected)

    @pytest.mark.parametrize("n", [1, 5, 50, 500])
    def test_the_arrays_are_consistent(self, graph, n):
        seeds = np.arange(PINS)
        found = self.make(n=n).sample_negatives(graph, seeds, seed=3)
        assert isinstance(found, Negatives)
        np.testing.assert_array_equal(found.seeds, seeds)
        assert_consistent(found, graph, n)
        assert found.mask[:ISOLATED].any(axis=1).mean() > 0.9

    def test_it_draws_from_the_graph_that_is_given(self, graph):
        """Also from one that equals in size, so that nothing kept for one serves another."""
        edges = np.arange(graph.num_edges)
        odd, even = graph.keep_edges(edges % 2 == 1), graph.keep_edges(edges % 2 == 0)
        sampler, seeds = self.make(), np.arange(ISOLATED)
        before = sampler.sample_negatives(graph, seeds, seed=1)
        for other in (odd, even, odd):
            assert_consistent(sampler.sample_negatives(other, seeds, seed=1), other, sampler.n)
        assert_same(sampler.sample_negatives(graph, seeds, seed=1), before)

    def test_seed_and_epoch_change_the_draws(self, graph):
        sampler, seeds = self.make(), np.arange(ISOLATED)
        first = sampler.sample_negatives(graph, seeds, seed=1, epoch=0)
        assert_same(sampler.sample_negatives(graph, seeds, seed=1), first)
        for seed, epoch in [(2, 0), (1, 1), (0, 1), (2**64 - 1, 0), (1, 2**64 - 1)]:
            other = sampler.sample_negatives(graph, seeds, seed=seed, epoch=epoch)
            assert (other.ids != first.ids).any(axis=1).mean() > 0.5

    @pytest.mark.parametrize("num_threads", [1, 2, 8])
    def test_threads_change_nothing(self, graph, num_threads):
        seeds = np.random.default_rng(1).integers(0, PINS, 2_000)
        expected = self.make().sample_negatives(graph, np.arange(PINS), seed=5, epoch=2)
        sampler = self.make(num_threads=num_threads)
        assert_same(sampler.sample_negatives(graph, seeds, seed=5, epoch=2), expected, seeds)

    @pytest.mark.parametrize("size", [1, 7, 64, 399])
    def test_batching_and_order_change_nothing(self, graph, size):
        seeds = np.random.default_rng(2).permutation(PINS)
        whole = self.make().sample_negatives(graph, np.arange(PINS), seed=5, epoch=2)
        for start in range(0, PINS, size if size > 1 else 40):
            batch = seeds[start : start + size]
            found = self.make().sample_negatives(graph, batch, seed=5, epoch=2)
            assert_same(found, whole, batch)

    def test_a_repeated_seed_gets_the_same_row_each_time(self, graph):
        found = self.make().sample_negatives(graph, np.array([7, 3, 7, 7]), seed=5)
        np.testing.assert_array_equal(found.seeds, [7, 3, 7, 7])
        assert_same(found, found, [2, 1, 3, 0])

    def test_workers_of_a_data_loader_change_nothing(self, graph):
        self.check_workers(graph, "fork", 2)

    def check_workers(self, graph, method, workers):
        collate = partial(self.make().sample_negatives, graph, seed=5, epoch=2)
        loader = DataLoader(
            range(PINS),
            150,
            collate_fn=collate,
            num_workers=workers,
            multiprocessing_context=method,
        )
        expected = self.make().sample_negatives(graph, np.arange(PINS), seed=5, epoch=2)
        batches = list(loader)
        assert len(batches) == 3
        for number, batch in enumerate(batches):
            assert_same(batch, expected, slice(150 * number, 150 * (number + 1)))

    def test_a_spawned_process_finds_the_same(self, graph, spawned):
        """What a spawned worker of a DataLoader adds to a forked one: all comes by pickle."""
        sample = partial(self.make().sample_negatives, graph, seed=5, epoch=2)
        assert_same(spawned.apply(sample, (np.arange(PINS),)), sample(np.arange(PINS)))

    def test_threads_work_in_a_forked_process(self, graph):
        sampler, seeds = self.make(num_threads=2), np.arange(PINS)
        expected = sampler.sample_negatives(graph, seeds, seed=5)  # threads ran in the parent, too
        with multiprocessing.get_context("fork").Pool(1) as pool:
            found = pool.apply(partial(sampler.sample_negatives, graph, seed=5), (seeds,))
        assert_same(found, expected)

    def test_no_seeds_give_no_rows(self, graph):
        for seeds in (np.array([], np.int64), np.array([], np.float64), []):
            found = self.make(n=4).sample_negatives(graph, seeds, seed=1)
            assert_consistent(found, graph, 4)
            assert found.seeds.shape == (0,)

    def test_seeds_without_boards(self, graph):
        seeds = np.array([PINS - 1, 0, ISOLATED, PINS - 1])
        found = self.make().sample_negatives(graph, seeds, seed=1)
        theirs = self.isolated_pins_have_negatives
        assert found.mask.any(axis=1).tolist() == [theirs, True, theirs, theirs]
        assert_consistent(found, graph, found.ids.shape[1])

    def test_where_all_pins_are_board_mates_there_are_no_negatives(self):
        graph = PinBoardGraph.from_edges([0, 1, 2, 2], [0, 0, 0, 1], pin_ids=range(4))
        found = self.make().sample_negatives(graph, np.arange(3), seed=1)
        assert not found.mask.any()
        assert_consistent(found, graph, found.ids.shape[1])

    def test_a_graph_without_edges_has_no_negatives(self, graph):
        empty = graph.keep_edges(np.zeros(graph.num_edges, bool))
        found = self.make().sample_negatives(empty, np.arange(PINS), seed=1)
        assert not found.mask.any()

    @pytest.mark.parametrize("unknown", [-1, PINS, 2**40])
    def test_an_unknown_seed_is_refused(self, graph, unknown):
        with pytest.raises(PinGraphError, match=rf"seeds\[2\] is {unknown}; .* 0 to {PINS - 1}"):
            self.make().sample_negatives(graph, np.array([0, 1, unknown]), seed=1)

    @pytest.mark.parametrize("seeds", [[0.5], [[1, 2]], ["a"], [True], 3])
    def test_seeds_that_are_no_list_of_whole_numbers_are_refused(self, graph, seeds):
        with pytest.raises(PinGraphError, match="expected whole numbers"):
            self.make().sample_negatives(graph, np.array(seeds), seed=1)

    @pytest.mark.parametrize("value", [-1, 2**64, 0.5, None, True])
    @pytest.mark.parametrize("name", ["seed", "epoch"])
    def test_a_random_seed_out_of_range_is_refused(self, graph, name, value):
        arguments = {"seed": 1, "epoch": 0, name: value}
        with pytest.raises(PinGraphError, match=f"^{name} is {value}"):
            self.make().sample_negatives(graph, np.array([0]), **arguments)

    @pytest.mark.parametrize("name", ["n", "num_threads"])
    @pytest.mark.parametrize("value", [0, -1, 1.0, "3", True, None, 2**40])
    def test_a_whole_number_out_of_range_is_refused(self, name, value):
        with pytest.raises(
            PinGraphError, match=f"^{name} is {value!r}; expected a whole number from 1"
        ):
            self.make(**{name: value})

    def test_seeds_are_not_changed_and_not_kept(self, graph):
        seeds = np.array([5, 6])
        found = self.make().sample_negatives(graph, seeds, seed=1)
        seeds[:] = 0
        np.testing.assert_array_equal(found.seeds, [5, 6])

    def test_a_graph_with_wide_indices_gives_the_same(self, graph):
        arrays = graph.arrays()
        for name in ("pin_boards", "board_pins"):
            assert arrays[name].dtype == np.int32
            arrays[name] = arrays[name].astype(np.int64)
        seeds = np.arange(PINS)
        wide = self.make().sample_negatives(PinBoardGraph(**arrays), seeds, seed=5)
        assert_same(wide, self.make().sample_negatives(graph, seeds, seed=5))

    def test_a_memory_mapped_graph_gives_the_same(self, graph, tmp_path):
        graph.save(tmp_path / "graph")
        opened, seeds = PinBoardGraph.open(tmp_path / "graph"), np.arange(PINS)
        found = self.make().sample_negatives(opened, seeds, seed=5)
        assert_same(found, self.make().sample_negatives(graph, seeds, seed=5))
