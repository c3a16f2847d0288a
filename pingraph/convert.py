"""Takes graphs from and to SciPy, NetworkX, PyG and DGL, with weights, times, ids and lone nodes.

Each pair of functions is lossless: what `to_x` returns, `from_x` makes an equal graph of. Foreign
graphs follow the rules of `PinBoardGraph.from_edges`: duplicates merge, a bad edge is refused.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pingraph.edges import check_edges
from pingraph.errors import PinGraphError
from pingraph.graph import PinBoardGraph
from pingraph.ids import universe_index

if TYPE_CHECKING:
    import dgl
    import networkx
    from scipy.sparse import csr_array, sparray, spmatrix
    from torch import Tensor
    from torch_geometric.data import HeteroData

EDGE_TYPE = ("pin", "saved_to", "board")
REVERSE_EDGE_TYPE = ("board", "holds", "pin")


@dataclass(frozen=True, kw_only=True)
class SciPyGraph:
    """What a sparse matrix alone can't say of a graph; `from_scipy(**vars(this))` reads it back."""

    matrix: csr_array  # [P, B], float32 weights, or True where the graph has no weights
    times: csr_array | None  # int64 [P, B], the same entries in the same order
    pin_ids: np.ndarray  # int64 or str [P]
    board_ids: np.ndarray  # int64 or str [B]


def to_scipy(graph: PinBoardGraph) -> SciPyGraph:
    """Return the graph as sparse matrices; `graph.incidence()` is the plain float32 matrix."""
    from scipy.sparse import csr_array

    def matrix(data: np.ndarray) -> csr_array:
        shape = (graph.num_pins, graph.num_boards)
        return csr_array((data, graph.pin_boards, graph.pin_offsets), shape=shape, copy=True)

    weights, times = graph.pin_weights, graph.pin_times
    return SciPyGraph(
        matrix=matrix(np.ones(graph.num_edges, np.bool_) if weights is None else weights),
        times=None if times is None else matrix(times),
        pin_ids=graph.pin_ids,
        board_ids=graph.board_ids,
    )


def from_scipy(
    matrix: sparray | spmatrix,
    *,
    times: sparray | spmatrix | None = None,
    pin_ids: Any = None,
    board_ids: Any = None,
) -> PinBoardGraph:
    """Make a graph of a sparse matrix whose rows are pins and whose columns are boards.

    Args:
        matrix: any sparse format [P, B]. Each stored entry is an edge, its value the weight; a bool
            matrix gives a graph without weights.
        times: integers [P, B], stored for the same entries as `matrix`.
        pin_ids: the ids of the rows; by default 0 … P-1.
        board_ids: the ids of the columns; by default 0 … B-1.

    Raises:
        PinGraphError: a stored value is no weight (0 or False included), or shapes differ.
    """
    entries = matrix.tocoo()
    weights = entries.data
    if weights.dtype == np.bool_:
        if not weights.all():
            raise PinGraphError(f"row {int(np.argmin(weights))}: the stored value is False")
        weights = None
    return _from_indices(
        entries.row,
        entries.col,
        weights,
        None if times is None else _matching_times(entries, times.tocoo()),
        pin_ids=np.arange(matrix.shape[0]) if pin_ids is None else pin_ids,
        board_ids=np.arange(matrix.shape[1]) if board_ids is None else board_ids,
        counts=matrix.shape,
    )


def to_networkx(graph: PinBoardGraph) -> networkx.Graph:
    """Return a NetworkX graph with nodes ("pin", id) and ("board", id).

    Nodes have `bipartite` (0 pins, 1 boards) and `id`; edges have `weight` and `time` if the graph
    has them.
    """
    import networkx

    result = networkx.Graph()
    pins = [("pin", name) for name in graph.pin_ids.tolist()]
    boards = [("board", name) for name in graph.board_ids.tolist()]
    result.add_nodes_from((node, {"bipartite": 0, "id": node[1]}) for node in pins)
    result.add_nodes_from((node, {"bipartite": 1, "id": node[1]}) for node in boards)
    result.add_edges_from(
        (pins[pin], boards[board]) for pin, board in zip(*graph.edges(), strict=True)
    )
    for name, values in (("weight", graph.pin_weights), ("time", graph.pin_times)):
        if values is not None:  # its edges are in pin order, since pins are its first nodes
            edges = dict(zip(result.edges, values.tolist(), strict=True))
            networkx.set_edge_attributes(result, edges, name)
    return result


def from_networkx(graph: networkx.Graph) -> PinBoardGraph:
    """Make a graph of an undirected bipartite NetworkX graph, or of a multigraph.

    Each node needs `bipartite`: 0 makes it a pin, 1 a board (NetworkX's own convention). Its id is
    its `id`, or else the node itself. `weight` and `time` are read if an edge has them, and then
    each edge needs them.

    Raises:
        PinGraphError: the graph is directed, a node or edge lacks something, or an edge joins two
            nodes of one side.
    """
    if graph.is_directed():
        raise PinGraphError("the NetworkX graph is directed; give graph.to_undirected()")
    sides: tuple[dict, dict] = ({}, {})
    for node, values in graph.nodes(data=True):
        side = values.get("bipartite")
        if side not in (0, 1):
            raise PinGraphError(
                f"node {node!r}: bipartite is {side!r}; expected 0 (pin), 1 (board)"
            )
        sides[side][node] = (len(sides[side]), values.get("id", node))
    pairs = np.empty((graph.number_of_edges(), 2), np.int64)
    for row, (first, second) in enumerate(graph.edges()):
        pin, board = (first, second) if first in sides[0] else (second, first)
        if pin not in sides[0] or board not in sides[1]:
            raise PinGraphError(f"edge {first!r} - {second!r} doesn't join a pin and a board")
        pairs[row] = sides[0][pin][0], sides[1][board][0]
    return _from_indices(
        pairs[:, 0],
        pairs[:, 1],
        _edge_values(graph, "weight"),
        _edge_values(graph, "time"),
        pin_ids=[name for _, name in sides[0].values()],
        board_ids=[name for _, name in sides[1].values()],
        counts=(len(sides[0]), len(sides[1])),
    )


def to_pyg(graph: PinBoardGraph) -> HeteroData:
    """Return a PyG HeteroData with the edge type ("pin", "saved_to", "board").

    Nodes have `num_nodes` and `id` (int64 tensor, or a list of strings); edges have `edge_index`
    and, if the graph has them, `edge_weight` (float32) and `time` (int64).
    """
    from torch_geometric.data import HeteroData

    data = HeteroData()
    for name, ids in (("pin", graph.pin_ids), ("board", graph.board_ids)):
        data[name].num_nodes = len(ids)
        data[name].id = _tensor(ids) if ids.dtype.kind == "i" else ids.tolist()
    edges = data[EDGE_TYPE]
    edges.edge_index = _tensor(np.stack(graph.edges()).astype(np.int64))
    if graph.pin_weights is not None:
        edges.edge_weight = _tensor(graph.pin_weights)
    if graph.pin_times is not None:
        edges.time = _tensor(graph.pin_times)
    return data


def from_pyg(data: HeteroData, edge_type: tuple[str, str, str] = EDGE_TYPE) -> PinBoardGraph:
    """Make a graph of one edge type of a PyG HeteroData; see `to_pyg` for what is read.

    Args:
        data: its nodes need `num_nodes`, or something PyG infers it from; `id` is optional.
        edge_type: (pins, edges, boards), as this HeteroData calls them.

    Raises:
        PinGraphError: there is no such edge type, or an edge is bad.
    """
    _check_edge_type(edge_type, data.edge_types)
    edges = data[edge_type]
    index = _array(edges.edge_index)
    if index.ndim != 2 or len(index) != 2:
        raise PinGraphError(f"edge_index has shape {list(index.shape)}; expected [2, edges]")
    pins, boards = data[edge_type[0]], data[edge_type[2]]
    for name, nodes in ((edge_type[0], pins), (edge_type[2], boards)):
        if "num_nodes" not in nodes and nodes.num_nodes is None:
            raise PinGraphError(f"data[{name!r}] has no num_nodes: expected how many there are")
    return _from_indices(
        index[0],
        index[1],
        _array(edges.get("edge_weight")),
        _array(edges.get("time")),
        pin_ids=_array(pins.get("id", np.arange(pins.num_nodes))),
        board_ids=_array(boards.get("id", np.arange(boards.num_nodes))),
        counts=(pins.num_nodes, boards.num_nodes),
    )


def to_dgl(graph: PinBoardGraph) -> dgl.DGLGraph:
    """Return a DGL heterograph with both directions, ("pin", "saved_to", "board") and back.

    Edges have `weight` (float32) and `time` (int64) if the graph has them. Nodes have `id`: int64,
    or the Unicode code points of strings as int32 [nodes, longest id], padded with 0.

    Raises:
        PinGraphError: DGL is missing or broken.
    """
    dgl = import_dgl()
    pins, boards = (_tensor(side.astype(np.int64)) for side in graph.edges())
    result = dgl.heterograph(
        {EDGE_TYPE: (pins, boards), REVERSE_EDGE_TYPE: (boards, pins)},
        num_nodes_dict={"pin": graph.num_pins, "board": graph.num_boards},
    )
    for name, values in (("weight", graph.pin_weights), ("time", graph.pin_times)):
        if values is not None:
            result.edges[EDGE_TYPE].data[name] = _tensor(values)
            result.edges[REVERSE_EDGE_TYPE].data[name] = _tensor(values)
    for name, ids in (("pin", graph.pin_ids), ("board", graph.board_ids)):
        result.nodes[name].data["id"] = _tensor(ids if ids.dtype.kind == "i" else _code_points(ids))
    return result


def from_dgl(graph: dgl.DGLGraph, edge_type: tuple[str, str, str] = EDGE_TYPE) -> PinBoardGraph:
    """Make a graph of one edge type of a DGL heterograph; see `to_dgl` for what is read.

    Args:
        graph: node and edge data are optional.
        edge_type: (pins, edges, boards), as this heterograph calls them. The way back is not read.

    Raises:
        PinGraphError: there is no such edge type, or an edge is bad.
    """
    _check_edge_type(edge_type, graph.canonical_etypes)
    pins, boards = (_array(side) for side in graph.edges(etype=edge_type))
    counts = (graph.num_nodes(edge_type[0]), graph.num_nodes(edge_type[2]))
    sides = [graph.nodes[edge_type[side]].data for side in (0, 2)]
    ids = [
        _from_code_points(_array(data["id"])) if "id" in data else np.arange(count)
        for data, count in zip(sides, counts, strict=True)
    ]
    values = graph.edges[edge_type].data
    return _from_indices(
        pins,
        boards,
        _array(values["weight"]) if "weight" in values else None,
        _array(values["time"]) if "time" in values else None,
        pin_ids=ids[0],
        board_ids=ids[1],
        counts=counts,
    )


def _from_indices(
    pins: np.ndarray,
    boards: np.ndarray,
    weights: Any,
    times: Any,
    *,
    pin_ids: Any,
    board_ids: Any,
    counts: tuple[int, int],
) -> PinBoardGraph:
    """Make a graph of edges whose ends are indices of nodes that have ids."""
    rows = check_edges(
        pins,
        boards,
        weights,
        times,
        pin_ids=np.arange(counts[0]),
        board_ids=np.arange(counts[1]),
    )
    ids = []
    for what, given, count in (("pin", pin_ids, counts[0]), ("board", board_ids, counts[1])):
        if len(given) != count:
            raise PinGraphError(f"there are {count} {what}s but {len(given)} {what} ids")
        ids.append(universe_index(given, what).ids)
    return PinBoardGraph.from_rows(replace(rows, pin_ids=ids[0], board_ids=ids[1]))


def _matching_times(entries: Any, times: Any) -> np.ndarray:
    same = (
        times.shape == entries.shape
        and np.array_equal(times.row, entries.row)
        and np.array_equal(times.col, entries.col)
    )
    if not same:
        raise PinGraphError("times stores other entries, or in another order, than the matrix")
    return times.data


def _edge_values(graph: networkx.Graph, name: str) -> np.ndarray | None:
    values = [value for _, _, value in graph.edges(data=name)]
    if all(value is None for value in values):
        return None
    for edge, value in zip(graph.edges(), values, strict=True):
        if value is None:
            raise PinGraphError(f"edge {edge[0]!r} - {edge[1]!r} has no {name}; others have one")
    return np.array(values)


def _check_edge_type(wanted: tuple[str, str, str], found: list[tuple[str, str, str]]) -> None:
    if tuple(wanted) not in found:
        raise PinGraphError(f"no edge type {wanted}; found {', '.join(map(str, found)) or 'none'}")


def _tensor(array: np.ndarray) -> Tensor:
    import torch

    return torch.from_numpy(np.array(array))  # a copy: torch has no read-only tensors


def _array(values: Any) -> Any:
    """Return a tensor as a NumPy array, anything else as it is."""
    return values.detach().cpu().numpy() if hasattr(values, "detach") else values


def _code_points(ids: np.ndarray) -> np.ndarray:
    ids = np.ascontiguousarray(ids)
    return ids.view(np.int32).reshape(len(ids), ids.dtype.itemsize // 4)


def _from_code_points(ids: np.ndarray) -> np.ndarray:
    if ids.ndim == 1:
        return ids
    return np.ascontiguousarray(ids, np.int32).view(f"<U{ids.shape[1]}").reshape(-1)


def import_dgl() -> Any:
    """Return the module dgl, or raise PinGraphError with what to install."""
    os.environ.setdefault("DGLBACKEND", "pytorch")  # else DGL writes a file into the home folder
    try:
        import dgl
    except (ImportError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PinGraphError(
            f"DGL can't be imported ({reason}); pip install 'pingraph[dgl]'"
        ) from error
    return dgl
