"""Each converter and its way back make an equal graph, and foreign graphs follow the same rules."""

import builtins
import sys

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings

from pingraph import convert
from pingraph.errors import PinGraphError
from pingraph.graph import PinBoardGraph
from tests.graph_cases import as_dict, edges

quick = settings(deadline=None, max_examples=30)


@pytest.fixture
def graph():
    """Pins a, b, c (alone); boards 7, 5: a - 7 (weight 1, time 10), b - 5 (2.5, 20)."""
    return PinBoardGraph.from_edges(
        ["a", "b"], [7, 5], [1.0, 2.5], [10, 20], pin_ids=["a", "b", "c"], board_ids=[7, 5]
    )


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # DGL and PyG use it on import
@pytest.mark.parametrize("name", ["scipy", "networkx", "pyg", "dgl"])
def test_there_and_back_changes_nothing(name):
    there, back = getattr(convert, f"to_{name}"), getattr(convert, f"from_{name}")

    @quick
    @given(edges())
    def check(case):
        graph = case.graph()
        other = there(graph)
        again = back(**vars(other)) if name == "scipy" else back(other)
        assert again == graph
        assert again.fingerprint() == graph.fingerprint()

    check()


def test_scipy_gets_weights_and_times_as_matrices(graph):
    parts = convert.to_scipy(graph)
    assert parts.matrix.toarray().tolist() == [[1, 0], [0, 2.5], [0, 0]]
    assert parts.times.toarray().tolist() == [[10, 0], [0, 20], [0, 0]]
    parts.matrix.data[:] = 9
    assert graph.pin_weights.tolist() == [1, 2.5]


@pytest.mark.parametrize("form", ["coo", "csr", "csc", "lil", "dok", "bsr"])
@pytest.mark.parametrize("make", [sp.coo_array, sp.coo_matrix])
def test_any_sparse_format_is_taken(form, make):
    matrix = make(([1.0, 2.0, 3.0], ([2, 0, 2], [1, 1, 0])), shape=(4, 2)).asformat(form)
    graph = convert.from_scipy(matrix)
    assert as_dict(graph) == {(0, 1): (2, 0), (2, 0): (3, 0), (2, 1): (1, 0)}
    assert (graph.num_pins, graph.num_boards) == (4, 2)


def test_duplicates_in_a_sparse_matrix_merge():
    matrix = sp.coo_array(([1.0, 2.0], ([0, 0], [1, 1])), shape=(1, 2))
    times = sp.coo_array(([9, 8], ([0, 0], [1, 1])), shape=(1, 2))
    assert as_dict(convert.from_scipy(matrix, times=times)) == {(0, 1): (3, 8)}


def test_bad_sparse_matrices_are_refused():
    def matrix(*data):
        return sp.coo_array((list(data), (range(len(data)), [0] * len(data))), shape=(3, 1))

    for bad, message in (
        (matrix(1.0, 0.0), "row 1: weight 0.0"),
        (matrix(1.0, -1.0), "row 1: weight -1.0"),
        (matrix(True, False), "row 1: the stored value is False"),
        (matrix(1j), "weights are complex128"),
        (sp.coo_array((3, 1)), "no edges"),
    ):
        with pytest.raises(PinGraphError, match=message):
            convert.from_scipy(bad)
    with pytest.raises(PinGraphError, match="there are 3 pins but 2 pin ids"):
        convert.from_scipy(matrix(1.0), pin_ids=["a", "b"])
    with pytest.raises(PinGraphError, match="there are 1 boards but 2 board ids"):
        convert.from_scipy(matrix(1.0), board_ids=["a", "b"])
    with pytest.raises(PinGraphError, match="times stores other entries"):
        convert.from_scipy(matrix(1.0, 2.0), times=matrix(1))


def test_networkx_nodes_say_what_they_are(graph):
    other = convert.to_networkx(graph)
    assert nx.is_bipartite(other)
    assert other.nodes["pin", "c"] == {"bipartite": 0, "id": "c"}
    assert other.nodes["board", 5] == {"bipartite": 1, "id": 5}
    assert other.edges[("board", 7), ("pin", "a")] == {"weight": 1.0, "time": 10}


def test_a_pin_and_a_board_may_have_the_same_id():
    graph = PinBoardGraph.from_edges([1, 2], [1, 1])
    assert convert.from_networkx(convert.to_networkx(graph)) == graph


def test_a_plain_bipartite_networkx_graph_is_taken():
    other = nx.davis_southern_women_graph()
    graph = convert.from_networkx(other)
    assert (graph.num_pins, graph.num_boards, graph.num_edges) == (18, 14, 89)
    women = {pin for pin, _ in as_dict(graph)}
    assert women == set(other.graph["top"])
    multi = nx.MultiGraph(other)
    multi.add_edge("E1", "Laura Mandeville")
    assert convert.from_networkx(multi).num_edges == 89


def test_bad_networkx_graphs_are_refused():
    good = nx.Graph()
    good.add_node("p", bipartite=0)
    good.add_node("q", bipartite=0)
    good.add_node("b", bipartite=1)
    good.add_edge("p", "b", weight=1.0)
    changes = {
        "edge 'p' - 'q' doesn't join": lambda other: other.add_edge("p", "q", weight=1.0),
        "node 'x': bipartite is None": lambda other: other.add_node("x"),
        "node 'x': bipartite is 2": lambda other: other.add_node("x", bipartite=2),
        "edge 'q' - 'b' has no weight": lambda other: other.add_edge("q", "b"),
        "row 1: weight nan": lambda other: other.add_edge("q", "b", weight=float("nan")),
        "pin id 3 among strings": lambda other: other.add_node(3, bipartite=0),
        "pin id 'p' occurs twice": lambda other: other.add_node("x", bipartite=0, id="p"),
        "times are float64": lambda other: other.add_edge("p", "b", time=0.5),
        "no edges": lambda other: other.remove_edge("p", "b"),
    }
    for message, change in changes.items():
        other = good.copy()
        change(other)
        with pytest.raises(PinGraphError, match=message):
            convert.from_networkx(other)
    with pytest.raises(PinGraphError, match="directed"):
        convert.from_networkx(nx.DiGraph(good))


def test_pyg_gets_tensors_that_are_its_own(graph):
    data = convert.to_pyg(graph)
    assert data.validate()
    assert data.node_types == ["pin", "board"]
    edges = data["pin", "saved_to", "board"]
    assert edges.edge_index.tolist() == [[0, 1], [0, 1]]
    assert edges.edge_weight.dtype == torch.float32
    assert edges.time.tolist() == [10, 20]
    assert data["pin"].id == ["a", "b", "c"]
    assert data["board"].id.tolist() == [7, 5]
    edges.edge_weight[:] = 0
    assert graph.pin_weights.tolist() == [1, 2.5]


def test_other_names_and_bare_edges_of_pyg_are_taken():
    from torch_geometric.data import HeteroData

    data = HeteroData()
    data["user"].x = torch.zeros(3, 1)
    data["film"].num_nodes = 2
    data["user", "saw", "film"].edge_index = torch.tensor([[2, 0, 2], [1, 1, 1]])
    graph = convert.from_pyg(data, ("user", "saw", "film"))
    assert as_dict(graph) == {(0, 1): (0, 0), (2, 1): (0, 0)}
    assert (graph.num_pins, graph.num_boards) == (3, 2)
    with pytest.raises(PinGraphError, match=r"no edge type .*'saved_to'.*found .*'user', 'saw'"):
        convert.from_pyg(data)


def test_edges_alone_of_pyg_do_not_say_how_many_nodes_there_are():
    from torch_geometric.data import HeteroData

    data = HeteroData()
    data["user", "saw", "film"].edge_index = torch.tensor([[0], [0]])
    data["user"].num_nodes = 1
    with pytest.raises(PinGraphError, match=r"data\['film'\] has no num_nodes"):
        convert.from_pyg(data, ("user", "saw", "film"))


def test_bad_edges_of_pyg_are_refused(graph):
    for name, values, message in (
        ("edge_index", torch.tensor([[0, 3], [0, 1]]), "row 1: unknown pin id 3"),
        ("edge_index", torch.tensor([[0, 0], [0, -1]]), "row 1: board id -1 is negative"),
        ("edge_index", torch.tensor([0, 1]), r"edge_index has shape \[2\]; expected \[2, edges\]"),
        ("edge_weight", torch.tensor([1.0, torch.nan]), "row 1: weight nan"),
        ("edge_weight", torch.tensor([1.0]), "boards has 2, weights has 1"),
        ("edge_weight", torch.ones(2, 1), "weights has 2 dimensions"),
        ("time", torch.tensor([1.0, 2.0]), "times are float32"),
    ):
        data = convert.to_pyg(graph)
        setattr(data["pin", "saved_to", "board"], name, values)
        with pytest.raises(PinGraphError, match=message):
            convert.from_pyg(data)


def test_weights_that_are_trained_are_taken(graph):
    data = convert.to_pyg(graph)
    data["pin", "saved_to", "board"].edge_weight.requires_grad_()
    assert convert.from_pyg(data) == graph


def test_dgl_gets_both_directions(graph):
    other = convert.to_dgl(graph)
    assert sorted(other.canonical_etypes) == [
        ("board", "holds", "pin"),
        ("pin", "saved_to", "board"),
    ]
    pins, boards = other.edges(etype="saved_to")
    back_boards, back_pins = other.edges(etype="holds")
    assert (pins.tolist(), boards.tolist()) == (back_pins.tolist(), back_boards.tolist())
    for edge_type in ("saved_to", "holds"):
        assert other.edges[edge_type].data["weight"].tolist() == [1, 2.5]
        assert other.edges[edge_type].data["time"].tolist() == [10, 20]
    assert (other.num_nodes("pin"), other.num_nodes("board")) == (3, 2)
    assert other.nodes["board"].data["id"].tolist() == [7, 5]


def test_a_bare_dgl_graph_is_taken():
    convert.import_dgl()
    import dgl

    edges = (torch.tensor([2, 0, 2], dtype=torch.int32), torch.tensor([1, 1, 1]).int())
    other = dgl.heterograph({("user", "saw", "film"): edges})
    graph = convert.from_dgl(other, ("user", "saw", "film"))
    assert as_dict(graph) == {(0, 1): (0, 0), (2, 1): (0, 0)}
    with pytest.raises(PinGraphError, match=r"no edge type .*found .*'user', 'saw', 'film'"):
        convert.from_dgl(other)


@pytest.mark.parametrize("error", [ImportError("no dgl"), FileNotFoundError("no graphbolt.so")])
def test_a_missing_or_broken_dgl_is_said_in_a_line(graph, monkeypatch, error):
    real = builtins.__import__

    def fail(name, *rest, **more):
        if name == "dgl":
            raise error
        return real(name, *rest, **more)

    monkeypatch.delitem(sys.modules, "dgl", raising=False)
    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(PinGraphError, match=r"DGL can't be imported \(no .*pingraph\[dgl\]"):
        convert.to_dgl(graph)


def test_strings_of_any_alphabet_fit_into_tensors():
    ids = np.array(["ü", "Ωmega", "日本", "🜚🜛", "a b"])
    codes = convert._code_points(ids)
    assert codes.dtype == np.int32
    assert convert._from_code_points(codes).tolist() == ids.tolist()
    nothing = convert._code_points(ids[:0])
    assert nothing.shape == (0, codes.shape[1])
    assert convert._from_code_points(nothing).tolist() == []
