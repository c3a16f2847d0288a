"""What samplers keep with a graph: found by identity, gone with the graph, never pickled."""

import gc
import pickle
import weakref

from pingraph.graph import PinBoardGraph
from pingraph.samplers.keeping import kept_with


class Value:
    """Something that a weak reference can watch."""


def make(graph, *arguments):
    value = Value()
    value.of = arguments
    return value


def other(graph):
    return Value()


def pair():
    return PinBoardGraph.from_edges([0, 1], [0, 0])


def test_a_value_is_made_once_for_each_graph_function_and_arguments():
    graph = pair()
    value = kept_with(graph, make, 1, "a")
    assert value.of == (1, "a")
    assert kept_with(graph, make, 1, "a") is value
    for another in (
        kept_with(graph, make, 2, "a"),
        kept_with(graph, make),
        kept_with(graph, other),
        kept_with(pair(), make, 1, "a"),  # an equal graph
    ):
        assert another is not value


def test_a_value_goes_when_its_graph_goes():
    graph = pair()
    gone = weakref.ref(kept_with(graph, make))
    assert gone() is not None
    del graph
    gc.collect()
    assert gone() is None


def test_a_value_is_neither_pickled_nor_part_of_the_graph():
    graph = pair()
    before, print_before = pickle.dumps(graph), graph.fingerprint()
    kept_with(graph, make)
    assert len(pickle.dumps(graph)) == len(before)
    assert graph == pair()
    assert graph.fingerprint() == print_before
