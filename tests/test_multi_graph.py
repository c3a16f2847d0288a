"""Several graphs over one set of pins: the contract, forced answers, a plain twin, bad input."""

import gc
import hashlib
import pickle
import weakref

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jsonargparse import ArgumentParser

from pingraph.errors import PinGraphError
from pingraph.graph import PinBoardGraph
from pingraph.interfaces import Sampler
from pingraph.samplers import MixtureSampler, MultiGraphSampler, PinSAGESampler
from tests.sampler_contract import (
    PINS,
    SamplerContract,
    assert_consistent,
    assert_same,
    skewed_graph,
)

NEAR = PinSAGESampler(walk_length=1)


def graph_of(*boards):
    """Return a graph from lists of the pins of its boards."""
    pins = [pin for board in boards for pin in board]
    return PinBoardGraph.from_edges(
        pins, [number for number, board in enumerate(boards) for _ in board]
    )


def found_ids(sampler, graph, pin):
    """Return the ids (outside) of the neighbors of a pin (by id), as a set, and their weights."""
    found = sampler.sample(graph, graph.pin_index([pin]), seed=1)
    assert_consistent(found, graph, sampler.k)
    ids = graph.pin_ids[found.ids[0][found.mask[0]]].tolist()
    return dict(zip(ids, found.weights[0].tolist(), strict=False))


class TestMultiGraphContract(SamplerContract):
    """The other graph says nothing that the main one doesn't: neighbors can be reached there."""

    def make(self, **arguments):
        near, far = PinSAGESampler(walk_length=1, **arguments), PinSAGESampler(**arguments)
        alone = PinBoardGraph.from_edges([PINS, 0], [0, 1])  # no neighbor of any main pin
        samplers, k = [far, near], far.k
        return MultiGraphSampler(graphs=[alone], samplers=samplers, weights=[1, 2], k=k)


# Forced answers.


def test_neighbors_come_from_each_graph():
    saves, clicks = graph_of(["a", "b"], ["c"]), graph_of(["a", "c"], ["b"])
    sampler = MultiGraphSampler(graphs=[clicks], samplers=[NEAR], weights=[3, 1])
    assert found_ids(sampler, saves, "a") == {"b": 0.75, "c": 0.25}
    assert found_ids(sampler, saves, "b") == {"a": 1.0}  # alone among the clicks
    assert found_ids(sampler, saves, "c") == {"a": 1.0}  # alone among the saves


def test_pins_go_by_id_and_not_by_index():
    main = PinBoardGraph.from_edges([7, 9], [0, 0], pin_ids=[9, 5, 7, 1])
    other = PinBoardGraph.from_edges([5, 9], [0, 0], pin_ids=[1, 9, 5])
    sampler = MultiGraphSampler(graphs=[other], samplers=[NEAR])
    assert found_ids(sampler, main, 9) == {7: 0.5, 5: 0.5}
    assert found_ids(sampler, main, 5) == {9: 1.0}
    assert found_ids(sampler, main, 1) == {}


def test_pins_that_the_main_graph_lacks_are_never_returned():
    main = graph_of(["a", "b"], ["c"])
    other = graph_of(["a", "x", "y"], ["a", "b", "c", "x"], ["y"], ["z", "c"])
    sampler = MultiGraphSampler(graphs=[other], samplers=[NEAR], weights=[1e-9, 1e9], k=30)
    found = found_ids(sampler, main, "a")
    assert set(found) == {"b", "c"}
    assert sum(found.values()) == pytest.approx(1)
    only_unknown = graph_of(["a", "x", "y"], ["b"])
    sampler = MultiGraphSampler(graphs=[only_unknown], samplers=[NEAR], weights=[1, 5])
    assert found_ids(sampler, main, "a") == {"b": 1.0}


def test_walks_pass_through_pins_that_the_main_graph_lacks():
    main, other = graph_of(["a"], ["b"]), graph_of(["a", "x"], ["x", "b"])
    far = PinSAGESampler(walk_length=2, restart_probability=0)
    assert found_ids(MultiGraphSampler(graphs=[other], samplers=[far]), main, "a") == {"b": 1.0}


def test_each_graph_may_have_its_own_sampler():
    main, other = graph_of(["a", "b"], ["b", "c"]), graph_of(["a", "d"], ["d", "c"], ["b"])
    main = PinBoardGraph.from_edges(
        ["a", "b", "b", "c"], [0, 0, 1, 1], pin_ids=["a", "b", "c", "d"]
    )
    far = PinSAGESampler(walk_length=2, restart_probability=0)
    one = MultiGraphSampler(graphs=[other], samplers=[NEAR, far])
    assert set(found_ids(one, main, "a")) == {"b", "d", "c"}
    one = MultiGraphSampler(graphs=[other], samplers=[NEAR])
    assert set(found_ids(one, main, "a")) == {"b", "d"}


def test_the_same_graph_twice_is_a_mixture():
    graph, seeds = skewed_graph(80, 20, 75), np.arange(80)
    parts = [NEAR, PinSAGESampler(k=20, walk_length=3)]
    expected = MixtureSampler(samplers=parts, weights=[1, 2]).sample(graph, seeds, seed=4)
    sampler = MultiGraphSampler(graphs=[graph], samplers=parts, weights=[1, 2])
    found = sampler.sample(graph, seeds, seed=4)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_allclose(found.weights, expected.weights, atol=1e-6)


def test_the_order_of_the_pins_in_another_graph_changes_only_the_draws():
    graph = skewed_graph(60, 15, 60)
    order = np.random.default_rng(1).permutation(60)
    pins, boards = graph.edges()
    turned = PinBoardGraph.from_edges(pins, boards, pin_ids=order)
    every = PinSAGESampler(k=60, num_walks=4_000, walk_length=1)
    sampler = MultiGraphSampler(graphs=[turned], samplers=[every], weights=[1e-9, 1e9], k=60)
    found = sampler.sample(graph, np.arange(60), seed=1)
    expected = every.sample(graph, np.arange(60), seed=1)
    for row in range(60):
        mine, theirs = (np.zeros(60), np.zeros(60))
        mine[found.ids[row][found.mask[row]]] = found.weights[row][found.mask[row]]
        theirs[expected.ids[row][expected.mask[row]]] = expected.weights[row][expected.mask[row]]
        np.testing.assert_allclose(mine, theirs, atol=0.08)  # seven standard errors at .5


# A plain twin.

edge_sets = st.sets(st.tuples(st.integers(0, 9), st.integers(0, 3)), min_size=1, max_size=20)


@settings(max_examples=60, deadline=None)
@given(main=edge_sets, other=edge_sets, shift=st.integers(0, 6), share=st.sampled_from([1, 2, 9]))
def test_it_equals_its_plain_twin(main, other, shift, share):
    main = PinBoardGraph.from_edges(*zip(*main, strict=True), pin_ids=range(10))
    other = PinBoardGraph.from_edges(
        [pin + shift for pin, _ in other], [board for _, board in other]
    )
    part = PinSAGESampler(k=4, num_walks=20, walk_length=2)
    sampler = MultiGraphSampler(graphs=[other], samplers=[part], weights=[1, share], k=6)
    assume(set(main.pin_ids.tolist()) & set(other.pin_ids.tolist()))
    found = sampler.sample(main, range(10), seed=1)
    for pin in range(10):
        sums = {}
        rows = [row_of(part, main, pin), row_of(part, other, pin)]
        rows[1] = {other_pin: w for other_pin, w in rows[1].items() if other_pin < 10}
        weights = [w if row else 0 for w, row in zip([1, share], rows, strict=True)]
        for weight, row in zip(weights, rows, strict=True):
            for neighbor, w in row.items():
                part_share = weight / sum(weights) * w / sum(row.values())
                sums[neighbor] = sums.get(neighbor, 0) + part_share
        best = sorted(sums.values(), reverse=True)[:6]
        count = found.mask[pin].sum()
        assert count == len(best)
        np.testing.assert_allclose(found.scores[pin, :count], best, rtol=1e-5)
        mine = [sums[neighbor] for neighbor in found.ids[pin, :count].tolist()]
        np.testing.assert_allclose(found.scores[pin, :count], mine, rtol=1e-5)


def row_of(part, graph, pin_id):
    """Return the weights of a pin's neighbors by id, {} if the graph lacks the pin."""
    if pin_id not in graph.pin_ids:
        return {}
    found = part.sample(graph, graph.pin_index([pin_id]), seed=1)
    valid = found.mask[0]
    ids, weights = graph.pin_ids[found.ids[0, valid]], found.weights[0, valid]
    return dict(zip(ids.tolist(), weights.tolist(), strict=True))


# Files, processes, memory.


def test_graphs_are_opened_from_folders_and_edge_files(tmp_path):
    main, other = skewed_graph(80, 20, 75), skewed_graph(60, 10, 60)
    other.save(tmp_path / "other")
    pins, boards = other.edges()
    lines = [f"{pin},{board}" for pin, board in zip(pins.tolist(), boards.tolist(), strict=True)]
    (tmp_path / "other.csv").write_text("\n".join(["pin_id,board_id", *lines]) + "\n")
    expected = MultiGraphSampler(graphs=[other], samplers=[NEAR])
    for path in (tmp_path / "other", str(tmp_path / "other"), str(tmp_path / "other.csv")):
        sampler = MultiGraphSampler(graphs=[path], samplers=[NEAR])
        for _ in range(2):
            assert_same(
                sampler.sample(main, range(80), seed=1), expected.sample(main, range(80), seed=1)
            )


def test_what_was_opened_is_not_pickled(tmp_path):
    main, other = skewed_graph(80, 20, 75), skewed_graph(60, 10, 60)
    other.save(tmp_path / "other")
    sampler = MultiGraphSampler(graphs=[str(tmp_path / "other")], samplers=[NEAR])
    before = len(pickle.dumps(sampler))
    expected = sampler.sample(main, range(80), seed=1)
    assert len(pickle.dumps(sampler)) == before < 1_000
    copy = pickle.loads(pickle.dumps(sampler))
    assert copy == sampler
    assert_same(copy.sample(main, range(80), seed=1), expected)


def test_a_main_graph_is_not_kept_alive():
    other = skewed_graph(60, 10, 60)
    sampler = MultiGraphSampler(graphs=[other], samplers=[NEAR])
    main = PinBoardGraph.from_edges([0, 1], [0, 0])
    gone = weakref.ref(main)
    sampler.sample(main, [0], seed=1)
    del main
    gc.collect()
    assert gone() is None


def test_it_is_chosen_by_class_path(tmp_path):
    other = skewed_graph(60, 10, 60)
    other.save(tmp_path / "other")
    (tmp_path / "mine.yaml").write_text(f"""
sampler:
  class_path: pingraph.samplers.MultiGraphSampler
  init_args:
    graphs: [{tmp_path / "other"}]
    samplers:
    - class_path: pingraph.samplers.PinSAGESampler
      init_args: {{walk_length: 1}}
    weights: [1, 3]
""")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--sampler", type=Sampler)
    parser.add_argument("--config", action="config")
    chosen = parser.instantiate(parser.parse_args([f"--config={tmp_path / 'mine.yaml'}"])).sampler
    expected = MultiGraphSampler(graphs=[other], samplers=[NEAR], weights=[1, 3])
    main = skewed_graph(80, 20, 75)
    assert_same(chosen.sample(main, range(80), seed=1), expected.sample(main, range(80), seed=1))


@pytest.mark.parametrize("num_threads", [1, 2, 8])
def test_golden(num_threads):
    """A change of this hash changes the results of everybody: say so in the changelog."""
    numbers = np.arange(3_000)
    main = PinBoardGraph.from_edges(numbers * numbers % 503, numbers * 7 % 101)
    other = PinBoardGraph.from_edges(numbers**3 % 607, numbers * 11 % 103)
    parts = [PinSAGESampler(walk_length=2, k=30, num_threads=num_threads)]
    sampler = MultiGraphSampler(graphs=[other], samplers=parts, weights=[0.3, 0.7], k=20)
    found = sampler.sample(main, np.arange(main.num_pins), seed=20, epoch=26)
    digest = hashlib.sha256(found.ids.astype("<i8").tobytes())
    digest.update(found.scores.astype("<f4").tobytes())
    assert digest.hexdigest() == GOLDEN


GOLDEN = "15671ab94ca1f0f960015ab42776f24dcde9280594e93cc22f59facb95b9fc42"


# Bad input.


@pytest.mark.parametrize("graphs", [[], None, "clicks", skewed_graph(60, 10, 60)])
def test_no_list_of_graphs_is_refused(graphs):
    with pytest.raises(PinGraphError, match=r"^graphs is .*; expected a list of at least one"):
        MultiGraphSampler(graphs=graphs, samplers=[NEAR])


def test_what_is_no_graph_is_refused():
    with pytest.raises(PinGraphError, match=r"^graphs\[1\] is 3; expected a graph or a path"):
        MultiGraphSampler(graphs=["clicks", 3], samplers=[NEAR])


@pytest.mark.parametrize("count", [2, 4])
def test_another_number_of_samplers_is_refused(count):
    with pytest.raises(PinGraphError, match=f"has {count} entries; expected 1, or 3: one a graph"):
        MultiGraphSampler(graphs=["clicks", "searches"], samplers=[NEAR] * count)


def test_weights_are_counted_with_the_main_graph():
    with pytest.raises(PinGraphError, match=r"^weights is \[1\]; expected a list of 2"):
        MultiGraphSampler(graphs=["clicks"], samplers=[NEAR], weights=[1])


def test_a_path_that_is_missing_is_named(tmp_path):
    sampler = MultiGraphSampler(graphs=[str(tmp_path / "none")], samplers=[NEAR])
    with pytest.raises(PinGraphError, match=str(tmp_path / "none")):
        sampler.sample(skewed_graph(80, 20, 75), [0], seed=1)


def test_a_graph_of_other_pins_is_refused():
    main, other = graph_of(["a", "b"]), graph_of(["x", "y"])
    sampler = MultiGraphSampler(graphs=[other], samplers=[NEAR])
    with pytest.raises(PinGraphError, match=r"^graphs\[0\] shares no pin with the main graph"):
        sampler.sample(main, [0], seed=1)


def test_ids_of_another_type_are_refused():
    sampler = MultiGraphSampler(graphs=[graph_of([1, 2])], samplers=[NEAR])
    with pytest.raises(PinGraphError, match=r"its pin ids are integers, .* main graph strings"):
        sampler.sample(graph_of(["1", "2"]), [0], seed=1)
