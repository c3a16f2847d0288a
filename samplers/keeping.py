"""What a sampler derives from a graph once, such as a table: it is kept with the graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph

T = TypeVar("T")


def kept_with(graph: PinBoardGraph, make: Callable[..., T], *arguments: Any) -> T:
    """Return `make(graph, *arguments)`, made once in the life of the graph object.

    It is kept in the graph, and so found by identity, where a dictionary would compare all edges.
    It goes when the graph goes, and is not pickled with it.

    Args:
        graph: whose value.
        make: a function or bound method that can be hashed.
        arguments: all of which can be hashed.
    """
    tables = vars(graph).setdefault("_kept", {})
    key = make, arguments
    if key not in tables:
        tables[key] = make(graph, *arguments)
    return tables[key]
