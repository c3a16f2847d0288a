"""The graph as its users see it: edges in, views and measures out, bad edges refused."""

import copy
import itertools
import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError

import networkx as nx
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pingraph.errors import PinGraphError
from pingraph.graph import PinBoardGraph
from pingraph.ids import IdIndex, _from_arrow
from tests.graph_cases import as_dict, edges

quick = settings(deadline=None, max_examples=60)


@pytest.fixture
def graph():
    """Four pins, three boards; pin d and board z have no edge.

    a - x (weight 1, time 10), a - y (2, 20), b - x (3, 30), c - y (4, 40)
    """
    return PinBoardGraph.from_edges(
        ["a", "c", "b", "a"],
        ["x", "y", "x", "y"],
        [1.0, 4.0, 3.0, 2.0],
        [10, 40, 30, 20],
        pin_ids=["a", "b", "c", "d"],
        board_ids=["x", "y", "z"],
    )


@quick
@given(edges())
def test_a_graph_holds_what_the_twin_holds(case):
    graph = case.graph()
    twin = case.twin()
    found = as_dict(graph)
    assert found.keys() == twin.keys()
    for edge, (weight, time) in found.items():
        assert weight == pytest.approx(float(twin[edge][0]), rel=1.3e-7)
        assert time == twin[edge][1]
    assert (graph.pin_weights is None, graph.pin_times is None) == (
        case.weights is None,
        case.times is None,
    )
    assert graph.pin_ids.tolist() == case.pin_ids.tolist()


@quick
@given(edges())
def test_the_default_universe_is_the_sorted_ids_that_occur(case):
    graph = case.graph(universe=False)
    assert graph.pin_ids.tolist() == sorted(set(case.pins.tolist()))
    assert graph.board_ids.tolist() == sorted(set(case.boards.tolist()))
    assert as_dict(graph) == as_dict(case.graph())


@quick
@given(edges())
def test_both_directions_hold_the_same_edges_in_order(case):
    graph = case.graph()
    there, back = {}, {}
    for pin in range(graph.num_pins):
        places = range(graph.pin_offsets[pin], graph.pin_offsets[pin + 1])
        there |= {(pin, int(graph.pin_boards[i])): i for i in places}
        assert (np.diff(graph.boards_of(pin)) > 0).all()
        assert graph.pin_degrees[pin] == len(graph.boards_of(pin))
    for board in range(graph.num_boards):
        places = range(graph.board_offsets[board], graph.board_offsets[board + 1])
        back |= {(int(graph.board_pins[i]), board): i for i in places}
        assert (np.diff(graph.pins_of(board)) > 0).all()
        assert graph.board_degrees[board] == len(graph.pins_of(board))
    assert there.keys() == back.keys()
    for name in ("weights", "times"):
        by_pin, by_board = getattr(graph, f"pin_{name}"), getattr(graph, f"board_{name}")
        if by_pin is not None:
            assert all(by_pin[there[edge]] == by_board[back[edge]] for edge in there)


@quick
@given(edges(), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_nothing(case, random):
    rows = list(range(len(case.pins)))
    random.shuffle(rows)
    one, two = case.graph(), case.take(rows).graph()
    assert one == two
    assert one.fingerprint() == two.fingerprint()


def test_the_sum_of_many_weights_does_not_depend_on_their_order():
    """Largest first, float64 loses each of the smallest, and float32 then rounds down to 1."""
    weights = [1.0, 2.0**-24] + [2.0**-54] * 4
    for order in set(itertools.permutations(weights)):
        graph = PinBoardGraph.from_edges([0] * 6, [0] * 6, order)
        assert graph.pin_weights.tolist() == [1 + 2.0**-23]


@quick
@given(edges(), st.randoms(use_true_random=False))
def test_other_ids_change_nothing_inside(case, random):
    names = [f"pin {i}" for i in range(len(case.pin_ids))]
    random.shuffle(names)
    renamed = dict(zip(case.pin_ids.tolist(), names, strict=True))
    other = PinBoardGraph.from_edges(
        [renamed[pin] for pin in case.pins.tolist()],
        case.boards,
        case.weights,
        case.times,
        pin_ids=names,
        board_ids=case.board_ids,
    )
    graph = case.graph()
    for name, array in graph.arrays().items():
        if name != "pin_ids":
            np.testing.assert_array_equal(array, other.arrays()[name])


@quick
@given(edges(), st.data())
def test_subgraphs_hold_the_selected_edges(case, data):
    graph = case.graph()
    pins = np.array(data.draw(st.lists(st.booleans(), **_size(graph.num_pins))), bool)
    boards = np.array(data.draw(st.lists(st.booleans(), **_size(graph.num_boards))), bool)
    kept_pins, kept_boards = graph.pin_ids[pins].tolist(), graph.board_ids[boards].tolist()
    expected = {
        (pin, board): values
        for (pin, board), values in as_dict(graph).items()
        if pin in kept_pins and board in kept_boards
    }
    small = graph.subgraph(pins=pins, boards=np.flatnonzero(boards))
    assert as_dict(small) == expected
    assert small.pin_ids.tolist() == kept_pins
    assert small.board_ids.tolist() == kept_boards
    wide = graph.subgraph(pins=np.flatnonzero(pins), boards=boards, keep_nodes=True)
    assert as_dict(wide) == expected
    assert wide.pin_ids.tolist() == graph.pin_ids.tolist()
    if expected:
        assert small == PinBoardGraph.from_edges(
            [pin for pin, _ in expected],
            [board for _, board in expected],
            None if case.weights is None else [weight for weight, _ in expected.values()],
            None if case.times is None else np.array([time for _, time in expected.values()]),
            pin_ids=kept_pins,
            board_ids=kept_boards,
        )


@quick
@given(edges(times=True), st.data())
def test_selections_can_be_made_one_after_another(case, data):
    graph = case.graph()
    pins = np.array(data.draw(st.lists(st.booleans(), **_size(graph.num_pins))), bool)
    boards = np.array(data.draw(st.lists(st.booleans(), **_size(graph.num_boards))), bool)
    time = data.draw(st.sampled_from(case.times.tolist()))
    together = graph.subgraph(pins=pins, boards=boards, as_of=time, keep_nodes=True)
    apart = graph.subgraph(as_of=time, keep_nodes=True)
    apart = apart.subgraph(boards=boards, keep_nodes=True).subgraph(pins=pins, keep_nodes=True)
    assert together == apart
    assert graph.subgraph() == graph == graph.subgraph(as_of=int(case.times.max()))


@quick
@given(edges(), st.data())
def test_a_mask_and_its_opposite_part_the_edges(case, data):
    graph = case.graph()
    mask = np.array(data.draw(st.lists(st.booleans(), **_size(graph.num_edges))), bool)
    one, two = as_dict(graph.keep_edges(mask)), as_dict(graph.keep_edges(~mask))
    assert not one.keys() & two.keys()
    assert one | two == as_dict(graph)


def test_as_of_takes_the_edges_up_to_and_including_a_time(graph):
    assert set(as_dict(graph.subgraph(as_of=20))) == {("a", "x"), ("a", "y")}
    assert graph.subgraph(as_of=9).num_edges == 0
    assert graph.subgraph(as_of=9) == graph.subgraph(as_of=9, keep_nodes=True)


def test_the_earliest_time_stays_so_that_as_of_sees_an_edge_when_it_first_was():
    graph = PinBoardGraph.from_edges([1, 1], [1, 1], times=[7, 5])
    assert graph.subgraph(as_of=5).num_edges == 1


@quick
@given(edges())
def test_ids_are_found_again(case):
    graph = case.graph()
    assert graph.pin_index(graph.pin_ids).tolist() == list(range(graph.num_pins))
    assert graph.pin_index(graph.pin_ids[::-1].tolist()).dtype == np.int64
    assert graph.board_index(graph.board_ids[-1].item()).tolist() == [graph.num_boards - 1]


@pytest.mark.parametrize("kind", ["int64", "U8"])
@pytest.mark.parametrize("in_order", [True, False])
@pytest.mark.parametrize("wanted", [5, 900])
def test_few_ids_are_searched_and_many_hashed_alike(kind, in_order, wanted):
    names = np.random.default_rng(0).choice(10**6, 1000, replace=False).astype(kind)
    names = np.sort(names) if in_order else names
    index = IdIndex(names, "pin")
    rows = np.random.default_rng(1).permutation(1000)[:wanted]
    column = names[rows] if kind == "int64" else pa.array(names[rows], pa.large_string())
    assert index.find(column).tolist() == rows.tolist()
    other = np.array([0, 10**6]).astype(kind)[1:].repeat(wanted)
    missing = other if kind == "int64" else pa.array(other, pa.large_string())
    with pytest.raises(PinGraphError, match=r"row 7: unknown pin id '?1000000'?"):
        index.find(missing, first_row=7)


def test_lookups_refuse_what_they_do_not_know(graph):
    with pytest.raises(PinGraphError, match="row 1: unknown pin id 'q'"):
        graph.pin_index(["a", "q"])
    with pytest.raises(PinGraphError, match="board ids are strings, but integers were given"):
        graph.board_index([0])
    numbered = PinBoardGraph.from_edges([0, 1], [0, 0])
    for wanted, message in ((2, "unknown pin id 2"), (-1, "pin id -1 is negative")):
        with pytest.raises(PinGraphError, match=message):
            numbered.pin_index(wanted)
    assert numbered.pin_index([]).tolist() == graph.pin_index([]).tolist() == []


@pytest.mark.parametrize("index", [-1, 4])
def test_dense_indices_out_of_range_are_refused(graph, index):
    with pytest.raises(PinGraphError, match=f"no pin with index {index}; the graph has 4 pins"):
        graph.boards_of(index)
    with pytest.raises(PinGraphError, match=rf"row 1 of pins: index {index} is not in 0 … 3"):
        graph.subgraph(pins=[0, index])


BAD_EDGES = {
    "negative": (([1, -2], [1, 1]), "row 1: pin id -2 is negative"),
    "float ids": (([1.0], [1]), "pin ids are float64.*row 0.*1.0.*expected"),
    "bool ids": ((np.array([True]), [1]), "pin ids are bool"),
    "object ids": (([1], np.array([{}], object)), "board ids are object"),
    "a hole in a column of pandas": ((np.array(["a", None], object), [1, 1]), "row 1: pin id None"),
    "missing id": (([1, None], [1, 1]), "pin ids are object"),
    "missing Arrow id": ((pa.array([1, None]), [1, 1]), "row 1: the pin id is missing"),
    "Arrow floats": ((pa.array([1.5]), [1]), "pin ids are of type double"),
    "mixed ids": ((["a", 1], [1, 1]), "row 1: pin id 1 among strings"),
    "empty string": ((["a", ""], [1, 1]), "row 1: pin id '' is empty"),
    "NUL": ((["a", "b\0"], [1, 1]), r"row 1: pin id 'b\\x00' holds a NUL"),
    "beyond int64": ((np.array([2**63], np.uint64), [1]), "pin id 9223372036854775808 exceeds"),
    "two dimensions": (([[1]], [1]), "pin ids have 2 dimensions"),
    "lengths": (([1, 2], [1]), "pins has 2, boards has 1 rows"),
    "lengths of weights": (([1], [1], [1.0, 2.0]), "weights has 2 rows"),
    "weights of two dimensions": (([1], [1], [[1.0]]), "weights has 2 dimensions"),
    "no edges": (([], []), "no edges"),
    "NaN": (([1, 2], [1, 1], [1.0, np.nan]), "row 1: weight nan"),
    "infinite": (([1, 2], [1, 1], [np.inf, 1.0]), "row 0: weight inf"),
    "beyond float32": (([1, 2], [1, 1], [1.0, 1e39]), r"row 1: weight 1e\+39"),
    "vanishing in float32": (([1, 2], [1, 1], [1.0, 1e-46]), "row 1: weight 1e-46"),
    "zero weight": (([1, 2], [1, 1], [1.0, 0.0]), "row 1: weight 0.0"),
    "negative weight": (([1, 2], [1, 1], [-1, 1]), "row 0: weight -1.0"),
    "text weight": (([1], [1], ["1"]), "weights are <U1.*expected positive numbers"),
    "float time": (([1], [1], None, [1.5]), "times are float64.*expected integers"),
    "missing time": (
        ([1, 1], [1, 2], None, np.array(["2020", "NaT"], "M8[s]")),
        "row 1: the time is missing",
    ),
    "time beyond int64": (([1], [1], None, np.array([2**63], np.uint64)), "row 0: time 92"),
    "sum beyond float32": (([1, 1], [1, 1], [3e38, 3e38]), "add up to more than float32"),
}


@pytest.mark.parametrize("name", BAD_EDGES)
def test_bad_edges_are_refused_with_row_and_value(name):
    columns, message = BAD_EDGES[name]
    with pytest.raises(PinGraphError, match=message) as caught:
        PinBoardGraph.from_edges(*columns)
    assert "\n" not in str(caught.value)


def test_a_universe_is_the_law():
    with pytest.raises(PinGraphError, match="row 1: unknown pin id 3"):
        PinBoardGraph.from_edges([1, 3], [0, 0], pin_ids=[1, 2])
    with pytest.raises(PinGraphError, match="row 1: unknown board id 2"):
        PinBoardGraph.from_edges([1, 3], [0, 2], board_ids=[0, 1])
    with pytest.raises(PinGraphError, match="pin_ids: pin id 'a' occurs twice, in rows 0 and 2"):
        PinBoardGraph.from_edges(["a"], [0], pin_ids=["a", "b", "a"])
    with pytest.raises(PinGraphError, match="pin ids are integers, but strings were given"):
        PinBoardGraph.from_edges(["a"], [0], pin_ids=[0, 1])
    with pytest.raises(PinGraphError, match="board_ids: row 1: board id -1 is negative"):
        PinBoardGraph.from_edges([0], [0], board_ids=[0, -1])


def test_masks_of_edges_must_fit(graph):
    with pytest.raises(PinGraphError, match=r"mask of edges is bool \[3\]; expected bool \[4\]"):
        graph.keep_edges(np.ones(3, bool))
    with pytest.raises(PinGraphError, match=r"mask of edges is int64 \[4\]"):
        graph.keep_edges(np.arange(4))
    with pytest.raises(PinGraphError, match="pins are float64"):
        graph.subgraph(pins=[0.0])
    with pytest.raises(PinGraphError, match="as_of needs edge times"):
        PinBoardGraph.from_edges([1], [1]).subgraph(as_of=3)


def test_times_may_be_dates_and_become_seconds():
    dates = np.array(["1970-01-02T00:00:01.9", "1969-12-31T23:59:59.5"], "M8[ms]")
    graph = PinBoardGraph.from_edges([1, 2], [1, 1], times=dates)
    assert graph.pin_times.tolist() == [86401, -1]


@pytest.mark.parametrize(
    "ids",
    [
        pa.array(["b", "a"]),
        pa.chunked_array([["b"], ["a"]]),
        pa.array(["b", "a"]).dictionary_encode(),
        pa.array(["b", "a"], pa.string_view()),
        np.array(["b", "a"]),
        np.array(["b", "a"], object),
        [np.str_("b"), "a"],
    ],
    ids=lambda ids: str(getattr(ids, "type", ids.dtype if hasattr(ids, "dtype") else "")),
)
def test_strings_may_come_in_any_common_form(ids):
    assert PinBoardGraph.from_edges(ids, [0, 1]).pin_ids.tolist() == ["a", "b"]


def test_integers_of_pandas_are_integers():
    assert PinBoardGraph.from_edges(np.array([7, 3], object), [0, 1]).pin_ids.tolist() == [3, 7]


def test_strings_of_many_chunks_are_more_than_one_can_hold():
    """Arrow's plain strings are counted by int32, 2 GiB of them at most."""
    chunk = pa.array(["x" * 50_000_000])
    found = _from_arrow(pa.chunked_array([chunk] * 44), "pin", 0)
    assert (len(found), found.type) == (44, pa.large_string())


def test_nothing_can_be_changed(graph):
    for array in graph.arrays().values():
        with pytest.raises(ValueError, match="read-only"):
            array[0] = array[0]
    for array in (graph.pin_degrees, graph.board_degrees, graph.boards_of(0)):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    with pytest.raises(FrozenInstanceError):
        graph.pin_ids = None


def test_a_graph_keeps_no_hold_on_what_it_was_made_of():
    columns = {
        "pins": np.array([1, 0]),
        "boards": np.array([0, 1]),
        "weights": np.array([1, 2], np.float32),
        "times": np.array([5, 6]),
        "pin_ids": np.array([1, 0]),
        "board_ids": np.arange(2),
    }
    graph = PinBoardGraph.from_edges(**columns)
    before = graph.fingerprint()
    for column in columns.values():
        column[:] = 0
    assert copy.copy(graph).fingerprint() == before
    assert graph.pin_ids.tolist() == [1, 0]


@pytest.mark.parametrize("way", [copy.deepcopy, lambda graph: pickle.loads(pickle.dumps(graph))])
def test_copies_are_equal_and_as_fixed(graph, way):
    twin = way(graph)
    assert twin == graph
    assert hash(twin) == hash(graph)
    assert not any(array.flags.writeable for array in twin.arrays().values())


def test_the_fingerprint_tells_all_differences(graph):
    def variant(**changes):
        values = {
            "pins": ["a", "b"],
            "boards": ["x", "y"],
            "weights": [1.0, 2.0],
            "times": [1, 2],
            "pin_ids": ["a", "b", "c"],
            "board_ids": ["x", "y"],
        }
        return PinBoardGraph.from_edges(**values | changes)

    graphs = [
        variant(),
        variant(pins=["a", "c"]),
        variant(boards=["x", "x"]),
        variant(weights=[1.0, 2.0000002]),
        variant(weights=None),
        variant(times=[1, 3]),
        variant(times=None),
        variant(weights=None, times=None),
        variant(pin_ids=["a", "b", "d"]),
        variant(pin_ids=["a", "b", "c", "d"]),
        variant(pin_ids=["a", "b"]),
        variant(pin_ids=["a", "b", "longer"]),
        variant(board_ids=["x", "y", "z"]),
        variant(pins=[0, 1], pin_ids=[0, 1, 2]),
        variant(pins=["0", "1"], pin_ids=["0", "1", "2"]),
    ]
    assert len({graph.fingerprint() for graph in graphs}) == len(graphs)
    assert all(a != b for i, a in enumerate(graphs) for b in graphs[:i])
    assert graphs[0] == variant() != "a graph"
    assert len(graph.fingerprint()) == 64


def test_strings_are_the_same_however_wide_their_array_is():
    narrow = PinBoardGraph.from_edges(np.array(["a"], "U1"), [0], pin_ids=np.array(["a"], "U1"))
    part = PinBoardGraph.from_edges(["a", "longer"], [0, 0]).subgraph(pins=[0])
    assert part.pin_ids.dtype != narrow.pin_ids.dtype
    assert part == narrow
    assert part.fingerprint() == narrow.fingerprint()


@quick
@given(edges(max_edges=8))
def test_the_connected_share_is_that_of_the_largest_component(case):
    graph = case.graph()
    twin = nx.Graph()
    twin.add_nodes_from(("pin", i) for i in range(graph.num_pins))
    twin.add_edges_from(
        (("pin", int(pin)), ("board", int(board)))
        for pin, board in zip(*graph.edges(), strict=True)
    )
    counts = [sum(kind == "pin" for kind, _ in part) for part in nx.connected_components(twin)]
    assert graph.connected_share() == max(counts) / graph.num_pins


def test_a_view_may_have_no_edges_and_no_nodes(graph):
    bare = graph.keep_edges(np.zeros(4, bool))
    assert (bare.num_pins, bare.num_boards, bare.num_edges) == (4, 3, 0)
    assert bare.pin_weights.tolist() == []
    assert bare.connected_share() == 0.25
    assert bare.incidence().shape == (4, 3)
    nothing = graph.subgraph(pins=[], boards=[])
    assert nothing.connected_share() == 0
    assert "0 pins, 0 boards, 0 edges" in nothing.describe()
    assert nothing.subgraph(pins=[]) == nothing


def test_the_incidence_matrix_has_the_weights_or_ones(graph):
    dense = [[1, 2, 0], [3, 0, 0], [0, 4, 0], [0, 0, 0]]
    assert graph.incidence().toarray().tolist() == dense
    plain = PinBoardGraph.from_edges([0, 0], [0, 1]).incidence()
    assert plain.dtype == np.float32
    assert plain.toarray().tolist() == [[1, 1]]


def test_describe_and_repr_say_what_matters(graph):
    assert repr(graph) == "PinBoardGraph(4 pins, 3 boards, 4 edges, weighted, timed)"
    text = graph.describe()
    for fact in (
        "4 pins, 3 boards, 4 edges, weighted, timed",
        "median 1, mean 1.0, most 2; 1 pin (25.0%) without any",
        "1 board (33.3%) without any",
        "75.0% of the pins lie in the largest component",
        "1 … 4, median 2.5",
        "10 … 40, median 25",
        "pins strings 'a' … 'd'",
        "bytes an edge",
    ):
        assert fact in text
    assert "weights       none" in PinBoardGraph.from_edges([0], [0]).describe()


def test_more_nodes_than_int32_counts_get_int64_neighbors(monkeypatch, graph):
    monkeypatch.setattr("pingraph.build._INT32_NODES", 3)
    pins, boards = graph.edges()
    wide = PinBoardGraph.from_edges(pins, boards, pin_ids=np.arange(4), board_ids=np.arange(3))
    assert (wide.pin_boards.dtype, wide.board_pins.dtype) == (np.int32, np.int64)
    assert wide.pin_boards.tolist() == graph.pin_boards.tolist()
    assert wide.board_pins.tolist() == graph.board_pins.tolist()
    assert wide.subgraph(pins=[0, 1, 2]).board_pins.dtype == np.int32


def test_importing_the_package_imports_nothing_else():
    code = """
import sys, pingraph
heavy = {"numpy", "numba", "pyarrow", "torch", "scipy", "importlib.metadata"} & set(sys.modules)
assert not heavy, heavy
assert pingraph.PinGraphError.__name__ == "PinGraphError"
assert "numpy" not in sys.modules
assert pingraph.__version__ and set(pingraph.__all__) <= set(dir(pingraph))
from pingraph.graph import PinBoardGraph
assert pingraph.PinBoardGraph is PinBoardGraph
heavy = {"torch", "pyarrow", "networkx", "dgl", "torch_geometric"} & set(sys.modules)
assert not heavy, heavy
try:
    pingraph.nonsense
except AttributeError as error:
    assert "nonsense" in str(error)
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def _size(length):
    return {"min_size": length, "max_size": length}
