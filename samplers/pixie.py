"""Pixie recommendations: walks from several weighted pins, with budgets, early stop and booster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pingraph.errors import PinGraphError
from pingraph.interfaces import Neighbors
from pingraph.samplers.hooks import Walk
from pingraph.samplers.keeping import kept_with
from pingraph.samplers.pixie_kernels import recommend_cached, recommend_fresh
from pingraph.samplers.requests import call_key, check_seeds, check_share, check_whole, share_out
from pingraph.samplers.tables import structure, whole
from pingraph.samplers.user_functions import check_function, compiled

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph
    from pingraph.samplers.hooks import GraphArrays

_MOST_STEPS = 2**24  # of a query, so that float32 holds every score of a single query pin


@dataclass(frozen=True, kw_only=True)
class PixieSampler:
    """The pins that random walks from one or several weighted query pins visit most.

    From each query pin q start walks, one after the other. A walk moves from its pin to one of the
    pin's boards and from there to one of the board's pins, each chosen uniformly; after each such
    traversal, a visit to the pin where it ends, it stops with probability `restart_probability`.
    The walks of q stop when they have made N_q traversals, in the middle of a walk if need be, or
    earlier, at the visit with which `min_pins` pins have `min_visits` visits from q. Of |E(q)|
    boards of q, C boards of the pin with most boards in the graph, and weights w,

        s_q = |E(q)| · (C - ln |E(q)|)            (1), rounded to a multiple of 1/1024
        N_q = w_q · num_steps · s_q / Σ_r s_r     (2), rounded to a whole number, at least 1
        V[p] = (Σ_q √V_q[p])²                     (3), where V_q[p] are the visits from q to p

    and the `k` pins of the highest V are the result. Walks pass through the pins of the query, but
    these do not count, neither for the result nor for stopping. Of equal V, the pin visited first
    is kept: the query pins in the order given, walk by walk.

    Edge weights and times of the graph are not used.

    Source: Eksombatchai et al., Pixie: A System for Recommending 3+ Billion Items to 200+ Million
    Users in Real-Time, WWW 2018 (arXiv 1711.07601), section 3.1, algorithms 2 and 3, equations 1 to
    3. `docs/pixie.md` says where the paper leaves a choice, and what was chosen. The paper walks
    200,000 steps and stops at n_p = 2,000 pins of n_v = 4 visits, for about 1,000 results; the
    defaults here are a twentieth of that.

    Args:
        k: recommendations of a query, at most.
        num_steps: N, traversals pin → board → pin of a query whose weights are 1.
        restart_probability: in [0, 1), the probability to stop a walk after a traversal.
        min_pins: n_p, the pins that must be visited often before a query pin stops early.
        min_visits: n_v, what is often. Above `num_steps`, nothing stops early.
        bias: bias(walk, pin) returns the probability that a proposed traversal from `walk.pin` over
            `walk.board` to `pin` is made; else another one is proposed from `walk.pin`, up to 1,000
            times, then the walk ends, and the steps planned for it are spent. So traversals are
            made in proportion to their bias, as by the paper's PersonalizedNeighbor. Plain Python
            that numba can compile, in a module; `walk` has the fields of
            `pingraph.samplers.hooks.Walk`. By default all are made.
        data: data(graph) returns arrays or numbers, or a tuple of some, such as features of the
            pins and of the user, that `bias` finds in `walk.data`; called once in the life of a
            graph.
        num_threads: threads that share the queries of a call. It does not change the result.

    Raises:
        PinGraphError: an argument is out of its range, or `bias` takes other arguments; when it is
            first used, that numba cannot compile it, with its file, line and reason; in a call,
            that it returned no number from 0 to 1, with the pin.
    """

    k: int = 10
    num_steps: int = 10_000
    restart_probability: float = 0.5
    min_pins: int = 100
    min_visits: int = 4
    bias: Callable | None = None
    data: Callable | None = None
    num_threads: int = 1

    def __post_init__(self) -> None:
        check_whole("k", self.k, least=1, most=2**20)
        check_whole("num_steps", self.num_steps, least=1, most=_MOST_STEPS)
        check_share("restart_probability", self.restart_probability)
        for name in ("min_pins", "min_visits"):
            check_whole(name, getattr(self, name), least=1, most=2 * _MOST_STEPS)
        check_whole("num_threads", self.num_threads, least=1, most=1024)
        check_function("bias", self.bias)
        if self.data is not None and not callable(self.data):
            raise PinGraphError(f"data is {self.data!r}; expected a function data(graph)")

    def sample(
        self, graph: PinBoardGraph, seeds: np.ndarray, *, seed: int, epoch: int = 0
    ) -> Neighbors:
        """Return what is recommended for each seed pin alone; the scores are visits.

        Args:
            graph: the graph to walk on.
            seeds: int [B], dense pin indices; repeats are allowed. A pin without boards has no
                neighbors: its row of the mask is False.
            seed: the random seed, 0 to 2⁶⁴ - 1. The row of a pin is a function of the graph, the
                settings, `seed`, `epoch` and the pin, whatever else is asked for, and by whom.
            epoch: another epoch gives fresh walks; 0 to 2⁶⁴ - 1.

        Raises:
            PinGraphError: a seed is not a pin of the graph, or an argument is out of its range.
        """
        key = call_key(seed, epoch)
        seeds = check_seeds(graph, seeds)
        connected = graph.pin_offsets[seeds] < graph.pin_offsets[seeds + 1]
        budgets = np.where(connected, self.num_steps, 0)
        return self._walk(graph, seeds, seeds, budgets, np.arange(len(seeds) + 1), key)

    def recommend(
        self,
        graph: PinBoardGraph,
        queries: Sequence[tuple[Any, Any]],
        *,
        seed: int,
        epoch: int = 0,
    ) -> Neighbors:
        """Return what is recommended for each query; the scores are V, the boosted visits.

        Args:
            graph: the graph to walk on.
            queries: B pairs (pins, weights): int [n], dense pin indices, none twice, and float [n],
                finite and above 0, or None for ones. Twice the weights, twice the steps: weights
                of 1 share out `num_steps`. A query without pins, or whose pins have no boards, has
                a row whose mask is False.
            seed: as of `sample`. A row is a function of the graph, the settings, `seed`, `epoch`
                and its query. Each query pin walks as it would in any other query, only more or
                fewer steps.
            epoch: as of `sample`.

        Returns:
            A row for each query; `seeds` holds its first pin, or -1 if it has none.

        Raises:
            PinGraphError: a pin is not in the graph or twice in its query, a weight is not finite
                and above 0, there are more or fewer weights than pins, or the weights ask for more
                than 2²⁴ steps; names the query and the value. Or an argument is out of its range.
        """
        key = call_key(seed, epoch)
        pins, weights, offsets = flat_queries(graph, queries)
        budgets = step_budgets(graph, pins, weights, offsets, self.num_steps)
        leads = np.append(pins, -1)[offsets[:-1]]
        leads[offsets[:-1] == offsets[1:]] = -1
        return self._walk(graph, leads, pins, budgets, offsets, key)

    def _walk(
        self,
        graph: PinBoardGraph,
        seeds: np.ndarray,
        pins: np.ndarray,
        budgets: np.ndarray,
        offsets: np.ndarray,
        key: np.uint64,
    ) -> Neighbors:
        ids = np.full((len(seeds), self.k), -1, np.int64)
        scores = np.zeros((len(seeds), self.k), np.float32)
        arrays, bias, data = structure(graph), None, ()
        if self.bias is not None:
            arrays, bias, data = kept_with(graph, self._compiled)
        kernel = recommend_cached if bias is None else recommend_fresh
        go_on = np.uint64(round((1 - self.restart_probability) * 2**53))
        rule = go_on, np.uint64(self.min_pins), self.min_visits

        def walk(rows: slice) -> None:
            part = offsets[rows.start : rows.stop + 1]
            answers = ids[rows], scores[rows]
            kernel(arrays, bias, data, pins, budgets, part, key, rule, *answers)

        share_out(walk, len(seeds), self.num_threads, fewest=1)  # each walks for long
        return Neighbors.from_scores(seeds=seeds, ids=ids, scores=scores)

    def _compiled(self, graph: PinBoardGraph) -> tuple[GraphArrays, Any, Any]:
        arrays = whole(graph)
        data = () if self.data is None else self.data(graph)
        return arrays, compiled("bias", self.bias, Walk(arrays, data, 0, 0, 0, 0, 0, 0)), data


def step_budgets(
    graph: PinBoardGraph,
    pins: np.ndarray,
    weights: np.ndarray,
    offsets: np.ndarray,
    num_steps: int,
) -> np.ndarray:
    """Return N_q of all query pins, int64 [n]: equations 1 and 2 of the paper, see `PixieSampler`.

    Args:
        graph: its degrees count.
        pins: int64 [n], the pins of all queries.
        weights: float64 [n], finite and above 0.
        offsets: int64 [B + 1], query i has the pins offsets[i] … offsets[i + 1] - 1.
        num_steps: N.

    Raises:
        PinGraphError: a query asks for more than 2²⁴ steps.
    """
    if not len(pins):
        return np.empty(0, np.int64)
    degrees = graph.pin_degrees[pins].astype(np.float64)
    most = kept_with(graph, _most_boards)
    scaling = degrees * (most - np.log(np.maximum(degrees, 1)))
    scaling = np.rint(scaling * 1024) / 1024  # machines differ in the last bit of a logarithm
    query = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    total = np.bincount(query, scaling)[query]
    with np.errstate(over="ignore"):
        steps = np.rint(weights * num_steps * scaling / np.maximum(total, 1))
    steps = np.where(degrees > 0, np.maximum(steps, 1), 0)
    asked = np.bincount(query, steps)
    if asked.max() > _MOST_STEPS:
        row = int(asked.argmax())
        raise PinGraphError(
            f"queries[{row}] asks for {asked[row]:.0f} steps by its weights; "
            f"expected at most {_MOST_STEPS}"
        )
    return steps.astype(np.int64)


def _most_boards(graph: PinBoardGraph) -> float:
    return float(graph.pin_degrees.max())


def flat_queries(graph: PinBoardGraph, queries: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Check the queries; return their pins int64 [n], weights float64 [n] and offsets [B + 1]."""
    pins, weights = [np.empty(0, np.int64)], [np.empty(0)]
    for row, query in enumerate(queries):
        if not isinstance(query, (tuple, list)) or len(query) != 2:
            raise PinGraphError(f"queries[{row}] is {query!r}; expected a pair (pins, weights)")
        try:
            pins.append(_distinct(check_seeds(graph, query[0])))
            weights.append(_checked_weights(query[1], len(pins[-1])))
        except PinGraphError as error:
            raise PinGraphError(f"queries[{row}]: {error}") from None
    offsets = np.cumsum([len(part) for part in pins], dtype=np.int64)
    return np.concatenate(pins), np.concatenate(weights), offsets


def _distinct(pins: np.ndarray) -> np.ndarray:
    values, counts = np.unique(pins, return_counts=True)
    if len(values) < len(pins):
        twice = values[counts.argmax()]
        raise PinGraphError(f"pin {twice} occurs {counts.max()} times; give it once, with a weight")
    return pins


def _checked_weights(weights: Any, count: int) -> np.ndarray:
    if weights is None:
        return np.ones(count)
    array = np.asarray(weights)
    if array.shape != (count,) or (count and array.dtype.kind not in "iuf"):
        raise PinGraphError(
            f"weights are {array.dtype} of shape {array.shape}; "
            f"expected numbers of shape ({count},)"
        )
    array = array.astype(np.float64)
    bad = np.flatnonzero(~(np.isfinite(array) & (array > 0)))
    if bad.size:
        raise PinGraphError(
            f"weights[{bad[0]}] is {array[bad[0]]}; expected a finite number above 0"
        )
    return array
