"""Numbers that tell whether the neighborhoods of an embedding are those of the graph.

Letters: N pins, D dimensions, k neighbors of each, Q pins that are asked, s walk neighbors of one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pingraph.compiled import njit
from pingraph.errors import PinGraphError
from pingraph.geometry import board_spreads, check_pins, unit_rows
from pingraph.graph_ranks import ranks_kept
from pingraph.samplers.requests import check_whole, share_out

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph
    from pingraph.interfaces import EmbeddingTable, Neighbors
    from pingraph.knn import Knn

PERSISTENCE = 0.9  # p of the rank-biased overlap: the first 10 places have 86% of the weight


def graph_agreement(
    table: EmbeddingTable,
    graph: PinBoardGraph,
    knn: Knn,
    walks: Neighbors,
    *,
    ranked: int | None = 1000,
    seed: int = 0,
) -> dict[str, float]:
    """Return the means of `agreement_by_pin`, over how many pins each is, and `dirichlet_energy`.

    A mean over no pin is NaN. Arguments and errors are those of `agreement_by_pin`.
    """
    values = agreement_by_pin(table, graph, knn, walks, ranked=ranked, seed=seed)
    known = {name: value[~np.isnan(value)] for name, value in values.items()}
    means = {name: float(v.mean()) if len(v) else np.nan for name, v in known.items()}
    counts = {f"{name} pins": float(len(v)) for name, v in known.items()}
    return {**means, **counts, "dirichlet_energy": dirichlet_energy(table.fused, graph)}


def agreement_by_pin(
    table: EmbeddingTable,
    graph: PinBoardGraph,
    knn: Knn,
    walks: Neighbors,
    *,
    ranked: int | None = 1000,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Return how well the graph and the embedding agree around each pin.

    Args:
        table: the embeddings, in the order of the graph's pins.
        graph: whose edges count: all, or those of training.
        knn: the k nearest neighbors of some or all rows of `table.fused`.
        walks: the neighbors that a sampler finds for some or all of these pins, best first. Those
            beyond the k-th are not looked at.
        ranked: trustworthiness and continuity rank all pins for each that is asked: they are taken
            from so many pins, drawn with `seed`; None takes all.
        seed: the random seed, also of the pins that stand for chance.

    Returns:
        float64 [N] each, NaN where there is nothing to say; k stands for its number:

        - overlap@k, rbo@k: see `overlaps`. Of the seeds of the walks that reached somebody.
        - board_purity@k: the share of the k nearest that share a board with the pin; and
          board_purity_chance@k: the same of k others that have a vector, drawn evenly. Of pins
          with a board-mate.
        - trustworthiness@k, continuity@k: see `ranks_kept`. Of pins with a board-mate.

        Pins with a zero vector have none. They are left out, and found by nobody.

    Raises:
        PinGraphError: the table is of other pins than the graph, has a wrong shape, an id twice or
            a vector that is not finite; a neighbor or seed is not a pin; or a seed of the walks has
            no list of neighbors.
    """
    check_pins(table, graph)
    _check_lists(knn, walks, graph.num_pins)
    if ranked is not None:
        check_whole("ranked", ranked, least=1, most=2**31)
    k, count = knn.ids.shape[1], graph.num_pins
    values = {}

    def spread(name: str, pins: np.ndarray, known: np.ndarray) -> None:
        values[f"{name}@{k}"] = np.full(count, np.nan)
        values[f"{name}@{k}"][pins] = known

    present = table.present["fused"]
    having = np.flatnonzero(present).astype(np.int32)
    near = knn.ids[:, : max(0, len(having) - 1)]  # zero vectors come last
    seeds = np.flatnonzero(walks.mask.any(axis=1) & present[walks.seeds])
    places = np.empty(count, np.int64)
    places[knn.queries] = np.arange(len(knn.queries))
    shared, biased = overlaps(near[places[walks.seeds[seeds]]], walks.ids[seeds])
    spread("overlap", walks.seeds[seeds], shared)
    spread("rbo", walks.seeds[seeds], biased)
    asked = np.flatnonzero(present[knn.queries] & has_mate(graph)[knn.queries])
    pins, random = knn.queries[asked], np.random.default_rng(seed)
    spread("board_purity", pins, mates_share(graph, pins, near[asked]))
    shape = len(pins), near.shape[1]
    others = random.integers(max(1, len(having) - 1), size=shape, dtype=np.int32)
    others += others >= np.searchsorted(having, pins)[:, None]  # never the pin itself
    spread("board_purity_chance", pins, mates_share(graph, pins, having[others]))
    if ranked is not None and ranked < len(pins):
        pins = np.sort(random.choice(pins, ranked, replace=False))
    trustworthiness, continuity = ranks_kept(table.fused, graph, pins, k)
    spread("trustworthiness", pins, trustworthiness)
    spread("continuity", pins, continuity)
    return values


def overlaps(near: np.ndarray, walked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compare lists of k neighbors with lists of s neighbors, of which the first k count; s >= 1.

    - overlap: |A ∩ B| / min(k, s), so that 1 can be reached.
    - rank-biased overlap, extrapolated, for lists of two lengths (Webber, Moffat and Zobel 2010,
      equation 32), with p = PERSISTENCE and X_d what the first d of both have in common:

        (1-p)/p (Σ_{d=1..k} X_d/d p^d + Σ_{d=s+1..k} X_s (d-s)/(s d) p^d)
            + ((X_k - X_s)/k + X_s/s) p^k

    Args:
        near: int32 [Q, k], without repeats in a row.
        walked: int64 [Q, w], likewise, best first, then -1.

    Returns:
        float64 [Q] each, from 0 to 1; NaN where k is 0.
    """
    shared, biased = np.full(len(near), np.nan), np.full(len(near), np.nan)
    if not near.shape[1]:
        return shared, biased
    walked = np.ascontiguousarray(walked[:, : near.shape[1]])

    def work(part: slice) -> None:
        _overlap_rows(near[part], walked[part], PERSISTENCE, shared[part], biased[part])

    share_out(work, len(near))
    return shared, biased


def mates_share(graph: PinBoardGraph, pins: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the share of each pin's others (int32 [Q, k]) that are on a board of its, float64 [Q].

    NaN where k is 0.
    """
    hits = np.zeros(len(pins), np.int64)
    arrays = graph.pin_offsets, graph.pin_boards
    share_out(
        lambda part: _count_mates(*arrays, pins[part], others[part], hits[part]),
        len(pins),
    )
    return hits / others.shape[1] if others.shape[1] else np.full(len(pins), np.nan)


def has_mate(graph: PinBoardGraph) -> np.ndarray:
    """Return which pins share a board with another, bool [N]."""
    pins, boards = graph.edges()
    out = np.zeros(graph.num_pins, np.bool_)
    out[pins[graph.board_degrees[boards] > 1]] = True
    return out


def dirichlet_energy(vectors: np.ndarray, graph: PinBoardGraph) -> float:
    """Return how much vectors differ between board-mates, over how much they differ at all.

        Σ_{i<j} w_ij ‖x_i - x_j‖² / Σ_i d_i ‖x_i - m‖²,   w_ij = Σ 1 / (n_b - 1) over shared boards

    with n_b pins on board b, d_i boards of pin i that hold another, and m the mean of x weighted by
    d. It is the Rayleigh quotient of the normalized Laplacian (Chung 1997) of the walk "one of the
    pin's boards, then one of the other pins on it": 0 where board-mates are alike, about 1 where
    boards say nothing, at most 2. Vectors are taken at length 1, zero vectors are left out. NaN
    without a pair of board-mates, and where all vectors are alike.
    """
    return energy_of(energy_sums(vectors, graph)[0])


def energy_sums(vectors: np.ndarray, graph: PinBoardGraph, groups: int = 1) -> np.ndarray:
    """Return what `dirichlet_energy` is made of, summed over boards; board b is in group b % G.

    Args:
        vectors: float [N, D].
        graph: of the pins.
        groups: G.

    Returns:
        float64 [G, D + 3]: the numerator, Σ d_i ‖x_i‖², Σ d_i, and Σ d_i x_i.
    """
    unit, rows = unit_rows(vectors)
    sizes, spreads = board_spreads(unit, rows, graph)
    wanted = sizes > 1
    pins, boards = graph.edges()
    squares = np.einsum("nd,nd->n", unit, unit, dtype=np.float64)
    sums = np.empty((groups, vectors.shape[1] + 3))
    for group in range(groups):
        own = np.arange(graph.num_boards) % groups == group
        own &= wanted
        degrees = np.bincount(pins[own[boards]], minlength=graph.num_pins)[rows >= 0]
        rough = (spreads[own] / (sizes[own] - 1)).sum()
        sums[group, :3] = rough, squares @ degrees, degrees.sum()
        sums[group, 3:] = np.einsum("n,nd->d", degrees, unit, dtype=np.float64)  # without a copy
    return sums


def energy_of(sums: np.ndarray) -> float:
    """Return the energy from `energy_sums` of some groups, added up; NaN where there is none."""
    rough, squares, degrees = sums[:3].tolist()
    around = squares - float(sums[3:] @ sums[3:]) / max(1, degrees)
    return rough / around if around > 1e-12 * degrees else np.nan


def _check_lists(knn: Knn, walks: Neighbors, count: int) -> None:
    for name, pins in (("queries of the neighbors", knn.queries), ("neighbors", knn.ids)):
        if pins.size and not 0 <= pins.min() <= pins.max() < count:
            raise PinGraphError(f"{name}: expected pins 0 to {count - 1}, found others")
    known = np.zeros(count, np.bool_)
    known[knn.queries] = True
    inside = (walks.seeds >= 0) & (walks.seeds < count)
    inside &= known[np.where(inside, walks.seeds, 0)]
    if not inside.all():
        row = int(np.argmin(inside))
        raise PinGraphError(f"walks: seeds[{row}] is {walks.seeds[row]}, which has no neighbors")


@njit(nogil=True, cache=True)
def _overlap_rows(near, walked, p, shared, biased):
    k = near.shape[1]
    for row in range(len(near)):
        one, other = near[row], walked[row]
        size = 0
        while size < len(other) and other[size] >= 0:
            size += 1
        common, common_at_end, total, weight = 0, 0, 0.0, 1.0
        for depth in range(1, k + 1):
            weight *= p
            for place in range(min(depth, size)):
                common += one[depth - 1] == other[place]
            if depth <= size:
                for place in range(depth - 1):
                    common += one[place] == other[depth - 1]
                common_at_end = common
            total += common / depth * weight
            if depth > size:
                total += common_at_end * (depth - size) / (size * depth) * weight
        shared[row] = common / min(k, size)
        last = (common - common_at_end) / k + common_at_end / size
        biased[row] = (1 - p) / p * total + last * weight


@njit(nogil=True, cache=True)
def _count_mates(offsets, boards, pins, others, hits):
    for row in range(len(pins)):
        pin = pins[row]
        for other in others[row]:
            one, two = offsets[pin], offsets[other]
            while one < offsets[pin + 1] and two < offsets[other + 1]:
                if boards[one] == boards[two]:
                    hits[row] += 1
                    break
                if boards[one] < boards[two]:
                    one += 1
                else:
                    two += 1
