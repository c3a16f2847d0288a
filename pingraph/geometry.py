"""Numbers that tell the shape of an embedding: is it used evenly, and whom does it bring together.

Letters: N pins, M of them with a vector that is not zero, D dimensions, k neighbors of each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pingraph.board_sizes import BOARD_LIMIT
from pingraph.compiled import njit
from pingraph.embeddings import check_table, require_pins
from pingraph.errors import PinGraphError
from pingraph.knn import product_blocks
from pingraph.samplers.requests import check_whole, share_out
from pingraph.stability import cross_products

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph
    from pingraph.interfaces import EmbeddingTable
    from pingraph.knn import Knn

_ROWS = 65_536  # of a block in float64: 128 MB at 256 dimensions


def geometry(
    table: EmbeddingTable,
    graph: PinBoardGraph,
    knn: Knn,
    *,
    sample: int | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Return every number of this file by name; docs/neighborhoods.md says what each one means.

    All are of the fused vectors at length 1, but for the modality gap. Pins whose fused vector is
    zero are counted and left out. What does not exist, such as a mean over no pair, is NaN.

    Args:
        table: the embeddings, in the order of the graph's pins.
        graph: says who are board-mates.
        knn: the k nearest neighbors of all rows of `table.fused`.
        sample: take the uniformity from so many pins, drawn with `seed`; None takes all, which
            costs as much as the search for the neighbors.
        seed: the random seed of `sample`.

    Raises:
        PinGraphError: the table is of other pins than the graph, has a wrong shape, an id twice or
            a vector that is not finite; or the neighbors are not those of all its rows.
    """
    check_pins(table, graph)
    if not np.array_equal(knn.queries, np.arange(graph.num_pins)):
        found = f"{len(knn.queries):,} queries"
        raise PinGraphError(f"the neighbors are of {found}; expected all {graph.num_pins:,} pins")
    unit, rows = unit_rows(table.fused)
    drawn = draw_rows(unit, sample, seed)
    return {
        "pins": float(graph.num_pins),
        "zero_vectors": float(graph.num_pins - len(unit)),
        "alignment": alignment(unit, rows, graph),
        "uniformity": uniformity(drawn),
        "effective_rank": effective_rank(unit),
        "anisotropy": anisotropy(unit),
        **hubness(knn, rows >= 0),
        "modality_gap": modality_gap(table),
    }


def draw_rows(unit: np.ndarray, sample: int | None, seed: int) -> np.ndarray:
    """Return so many rows, drawn without replacement; all where there are no more."""
    if sample is None:
        return unit
    check_whole("sample", sample, least=2, most=2**31)
    if sample >= len(unit):
        return unit
    return unit[np.random.default_rng(seed).choice(len(unit), sample, replace=False)]


def check_pins(table: EmbeddingTable, graph: PinBoardGraph) -> None:
    """Raise PinGraphError unless the table is sound and its pins are those of the graph."""
    check_table(table, "embeddings")
    require_pins(table, graph.pin_ids)


def unit_rows(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the vectors that are not zero at length 1, and where they went.

    Returns:
        float32 [M, D], and int32 [N]: the row of each vector among them, -1 for a zero vector.
    """
    present = np.asarray(vectors.any(axis=1))
    unit = np.empty((int(present.sum()), vectors.shape[1]), np.float32)
    rows = np.where(present, np.cumsum(present) - 1, -1).astype(np.int32)
    for start in range(0, len(vectors), _ROWS):
        kept = np.flatnonzero(present[start : start + _ROWS]) + start
        block = vectors[kept].astype(np.float64)  # in float32 the square of 1e20 is infinite
        block /= np.abs(block).max(axis=1, initial=0, keepdims=True)
        unit[rows[kept]] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return unit, rows


def alignment(unit: np.ndarray, rows: np.ndarray, graph: PinBoardGraph) -> float:
    """Return the mean of ‖x - y‖² over pairs of board-mates, 0 (together) to 4 (opposite).

    Wang and Isola 2020 (arXiv 2005.10242), with exponent 2. The pairs are all pairs of all boards
    of at most BOARD_LIMIT pins; one that shares two boards counts twice. On a board of n pins

        Σ ‖x_i - x_j‖² over i < j  =  n Σ ‖x_i‖² - ‖Σ x_i‖²

    so that the time is that of the edges, not of the pairs.
    """
    sizes, spreads = board_spreads(unit, rows, graph)
    small = graph.board_degrees <= BOARD_LIMIT
    pairs = (sizes * (sizes - 1) // 2)[small].sum()
    return float(spreads[small].sum() / pairs) if pairs else np.nan


def uniformity(unit: np.ndarray) -> float:
    """Return log mean exp(-2 ‖x - y‖²) over all pairs of pins, 0 (all in one place) to about -4.

    Wang and Isola 2020 (arXiv 2005.10242), with t = 2. Exact; in blocks, each pair once.
    """
    return mean_kernel(kernel_sums(unit).sum(), len(unit))


def kernel_sums(unit: np.ndarray) -> np.ndarray:
    """Return of each vector the sum of exp(-2 ‖x - y‖²) over all others, float64 [M]."""
    sums = np.zeros(len(unit))
    for rows, columns, product in product_blocks(unit):
        _make_kernel(product)
        sums[rows] += product.sum(axis=1, dtype=np.float64)
        if rows != columns:
            sums[columns] += product.sum(axis=0, dtype=np.float64)
    return sums


def mean_kernel(total: float, count: int) -> float:
    """Return the uniformity of `count` vectors whose `kernel_sums` add up to `total`."""
    if count < 2:
        return np.nan
    return float(np.log(total) - np.log(count * (count - 1)))


def effective_rank(unit: np.ndarray) -> float:
    """Return exp(-Σ p log p) with p = σ / Σ σ + 1e-7, from 1 to about D.

    σ are the singular values of the vectors, not centered: RankMe (Garrido et al. 2023, arXiv
    2210.02885). They come from the D x D matrix of inner products of channels, in float64.
    """
    return rank_of_products(cross_products(unit, unit)) if len(unit) else np.nan


def rank_of_products(products: np.ndarray) -> float:
    """Return the effective rank of vectors from the inner products of their channels, [D, D]."""
    values = np.sqrt(np.maximum(np.linalg.eigvalsh(products), 0))
    shares = values / values.sum() + 1e-7
    return float(np.exp(-(shares * np.log(shares)).sum()))


def anisotropy(unit: np.ndarray) -> float:
    """Return the mean cosine of all pairs of different pins; about 0 where directions are even.

    Ethayarajh 2019 (arXiv 1909.00512), there on sampled pairs; here exact, for
    Σ x_i · x_j over i ≠ j  =  ‖Σ x_i‖² - Σ ‖x_i‖².
    """
    return mean_cosine(*sums_and_squares(unit), len(unit))


def sums_and_squares(unit: np.ndarray) -> tuple[np.ndarray, float]:
    """Return Σ x, float64 [D], and Σ ‖x‖²."""
    squares = np.einsum("nd,nd->n", unit, unit).sum(dtype=np.float64)
    return unit.sum(axis=0, dtype=np.float64), float(squares)


def mean_cosine(total: np.ndarray, squares: float, count: int) -> float:
    """Return the anisotropy of `count` vectors from their `sums_and_squares`."""
    if count < 2:
        return np.nan
    return float((total @ total - squares) / (count * (count - 1)))


def hubness(knn: Knn, present: np.ndarray) -> dict[str, float]:
    """Return how unevenly the pins are found: by n_i, in how many lists of k neighbors pin i is.

    - hubness_skew: mean (n_i - μ)³ / σ³ (Radovanović et al. 2010, JMLR 11); NaN where all n_i are
      equal.
    - robin_hood: Σ |n_i - μ| / 2 Σ n_i, the share of the places in lists that must change hands
      for all to have the same (Hoover index; for hubness Feldbauer et al. 2018).
    - anti_hubs: the share of the pins that nobody finds.
    - largest_hub: the share of the lists that hold the pin which is found most.

    Args:
        knn: neighbors of all N pins.
        present: bool [N]; the other pins' lists are left out, and so are those pins in lists.
    """
    lists = knn.ids[present]
    return hubness_of_counts(times_found(lists, present), len(lists))


def times_found(lists: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Return how often each present pin is in some lists, int64 [M]."""
    return np.bincount(lists.ravel(), minlength=len(present))[present]


def hubness_of_counts(counts: np.ndarray, lists: int) -> dict[str, float]:
    """Return the numbers of `hubness` from `times_found` and how many lists there are."""
    names = "hubness_skew", "robin_hood", "anti_hubs", "largest_hub"
    if not counts.sum():
        return dict.fromkeys(names, np.nan)
    apart = counts - counts.mean()
    variance = (apart**2).mean()
    skew = (apart**3).mean() / variance**1.5 if variance else np.nan
    robin_hood = np.abs(apart).sum() / (2 * counts.sum())
    values = skew, robin_hood, (counts == 0).mean(), counts.max() / lists
    return {name: float(value) for name, value in zip(names, values, strict=True)}


def modality_gap(table: EmbeddingTable) -> float:
    """Return ‖mean of image vectors - mean of text vectors‖, each vector at length 1; 0 to 2.

    Liang et al. 2022 (arXiv 2203.02053). NaN unless there are both kinds.
    """
    both = (table.image, table.has_image), (table.text, table.has_text)
    return distance_of_means(*(sum_of_units(*kind) for kind in both))


def sum_of_units(vectors: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the sum of the present vectors at length 1, float64 [D], and how many there are."""
    count, total = 0, np.zeros(vectors.shape[1])
    for start in range(0, len(vectors), _ROWS):
        part = slice(start, start + _ROWS)
        unit, _ = unit_rows(vectors[part][present[part]])
        count, total = count + len(unit), total + unit.sum(axis=0, dtype=np.float64)
    return total, count


def distance_of_means(one: tuple[np.ndarray, int], two: tuple[np.ndarray, int]) -> float:
    """Return the modality gap from two sums and counts."""
    if not one[1] or not two[1]:
        return np.nan
    return float(np.linalg.norm(one[0] / one[1] - two[0] / two[1]))


def board_spreads(
    unit: np.ndarray, rows: np.ndarray, graph: PinBoardGraph
) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of embedded pins of each board, and Σ ‖x_i - x_j‖² over their pairs.

    Args:
        unit: float32 [M, D].
        rows: int32 [N], the row of each pin, -1 for none.
        graph: of N pins and B boards.

    Returns:
        int64 [B] and float64 [B].
    """
    sizes, spreads = np.zeros(graph.num_boards, np.int64), np.zeros(graph.num_boards)
    arrays = graph.board_offsets, graph.board_pins, unit, rows

    def work(boards: slice) -> None:
        _spread(*arrays, boards.start, boards.stop, sizes, spreads)

    share_out(work, graph.num_boards)
    return sizes, spreads


@njit(nogil=True, cache=True)
def _spread(offsets, pins, unit, rows, first, last, sizes, spreads):
    total = np.empty(unit.shape[1])
    for board in range(first, last):
        total[:] = 0
        squares = 0.0
        for place in range(offsets[board], offsets[board + 1]):
            row = rows[pins[place]]
            if row >= 0:
                sizes[board] += 1
                vector = unit[row]
                for channel in range(len(vector)):
                    value = np.float64(vector[channel])
                    total[channel] += value
                    squares += value * value
        spreads[board] = max(0.0, sizes[board] * squares - (total * total).sum())


def _make_kernel(product: np.ndarray) -> None:
    """Write exp(-2 (2 - 2 s)) over each cosine s of a block."""

    def work(rows: slice) -> None:
        block = product[rows]
        block -= 1
        block *= 4
        np.exp(block, out=block)

    share_out(work, len(product))
