"""What a sampler keeps for a graph: found again by identity, gone when the graph is."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph

T = TypeVar("T")


class PerGraph(Generic[T]):
    """A value for each graph object, made when it is first asked for; pickled without any.

    A dictionary by graph would compare all edges at each look-up, and keep the graphs.
    """

    def __init__(self) -> None:
        self._kept: dict[int, tuple[weakref.ref, T]] = {}

    def get(self, graph: PinBoardGraph, make: Callable[[], T]) -> T:
        """Return what is kept for the graph, or else keep what `make` returns."""
        kept = self._kept.get(id(graph))
        if kept is None:
            mine, number = self._kept, id(graph)
            kept = weakref.ref(graph, lambda _: mine.pop(number, None)), make()
            mine[number] = kept
        return kept[1]

    def __reduce__(self) -> tuple:
        return PerGraph, ()
