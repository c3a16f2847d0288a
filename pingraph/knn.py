"""Exact nearest neighbors among the vectors of a data set, at the speed of a matrix product.

Letters: N vectors, D dimensions, Q queries, k neighbors of each, C candidates kept of each.

Scores come in blocks of a matrix product. A block is read once while it is still in the cache: what
does not beat a row's C-th best so far, nearly everything, costs a comparison, 16 at a time. When
all are queries, the score of a pair serves both of its ends, so half of the product is enough.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pingraph.compiled import njit
from pingraph.errors import PinGraphError
from pingraph.samplers.requests import check_whole, share_out

SPARE = 8  # candidates beyond k, so that the rounding of a product's float32 sums decides nothing
_TOGETHER = 64  # scores that are compared before any of them is looked at


@dataclass(frozen=True, kw_only=True)
class Knn:
    """The nearest neighbors of some rows of a table, best first; never the row itself."""

    queries: np.ndarray  # int64 [Q], rows of the table
    ids: np.ndarray  # int32 [Q, k], rows of the table
    scores: np.ndarray  # float32 [Q, k], dot products


def nearest_neighbors(
    vectors: np.ndarray, k: int, *, queries: np.ndarray | None = None, block: int = 2048
) -> Knn:
    """Find the vectors with the greatest dot product with each query, exactly.

    Scores are float64 sums, rounded to float32; equal ones stand in the order of the rows. So
    neither `block` nor threads, nor what else is asked for, changes a bit of the result. (Only
    where more than SPARE candidates lie within the rounding of a float32 product of the k-th best,
    as do many copies of one vector, is it open which of them are found.) A zero vector stands for
    none: it scores 0 with everybody, and comes after all others; as a query, it finds the first
    rows.

    Memory: two arrays of 4 bytes for each of Q · (k + SPARE) candidates, and `block`² scores; where
    there are zero vectors, a copy of the others.
    Time: N² D multiply-adds / 2 for all rows, else Q N D. The threads of the product are those of
    NumPy's BLAS (OMP_NUM_THREADS), those of the selection are NUMBA_NUM_THREADS.

    Args:
        vectors: float32 [N, D].
        k: neighbors of each query, at least 1; there are N - 1 when that is fewer.
        queries: int64 [Q], rows of `vectors`, in any order; None asks for all rows.
        block: rows and columns of a block of scores, at least 1.

    Raises:
        PinGraphError: an argument is out of its range, a query is not a row, or a vector is not
            finite, or so large that its square is not. Names the row.
    """
    check_whole("k", k, least=1, most=2**20)
    check_whole("block", block, least=1, most=2**15)
    vectors = _check_vectors(vectors)
    asked = np.arange(len(vectors)) if queries is None else _check_queries(queries, len(vectors))
    present = vectors.any(axis=1)
    if present.all():
        ids, scores = _nearest(vectors, None if queries is None else asked, k, block)
    else:
        ids, scores = _zeros_last(vectors, present, asked, k, block, queries is None)
    return Knn(queries=asked, ids=ids, scores=scores)


def product_blocks(
    vectors: np.ndarray, *, block: int = 2048
) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Yield the dot products of all pairs of rows, each pair once, in blocks.

    With the rows in parts a, b and c: aa ab ac, then bb bc, then cc. Blocks on the diagonal hold
    their pairs twice, and -inf for a row with itself.

    Args:
        vectors: float32 [N, D].
        block: rows and columns of a block, at least 1.

    Yields:
        The rows, the columns, and their float32 products, in memory that the next block takes over.
    """
    parts = [slice(i, min(i + block, len(vectors))) for i in range(0, len(vectors), block)]
    buffer = np.empty(block * block, np.float32)
    for place, rows in enumerate(parts):
        for columns in parts[place:]:
            product = _product(vectors[rows], vectors[columns], buffer)
            if columns == rows:
                np.fill_diagonal(product, -np.inf)
            yield rows, columns, product


def _nearest(vectors, queries, k, block):
    """Return ids and scores of the nearest, [Q, min(k, N - 1)]; None asks for all rows."""
    asked = np.arange(len(vectors)) if queries is None else queries
    found = max(0, min(k, len(vectors) - 1))
    shape = len(asked), max(0, min(k + SPARE, len(vectors) - 1))
    ids, scores = np.full(shape, -1, np.int32), np.full(shape, -np.inf, np.float32)
    if found and len(asked):
        search = _search_some if queries is not None else _search_all
        search(vectors, asked, ids, scores, block)
        share_out(
            lambda rows: _settle(vectors, asked[rows], ids[rows], scores[rows]),
            len(asked),
        )
    cut = np.s_[:, :found]
    return np.ascontiguousarray(ids[cut]), np.ascontiguousarray(scores[cut])


def _zeros_last(vectors, present, asked, k, block, everyone):
    """Search among the vectors that are not zero; the zero ones follow in the order of the rows."""
    k = max(0, min(k, len(vectors) - 1))
    order = np.argsort(~present, kind="stable")
    rows, having = order[: present.sum()], present[asked]
    ids, scores = np.empty((len(asked), k), np.int32), np.zeros((len(asked), k), np.float32)
    queries = None if everyone else np.searchsorted(rows, asked[having])
    near, near_scores = _nearest(vectors[rows], queries, k, block)
    width = near.shape[1]
    ids[having, :width], scores[having, :width] = rows[near], near_scores
    ids[having, width:] = order[len(rows) :][: k - width]
    # A zero vector finds the first of the order, itself skipped.
    own = order[: k + 1] == asked[~having, None]
    skipped = np.where(own.any(axis=1), own.argmax(axis=1), k)
    ids[~having] = order[np.arange(k) + (np.arange(k) >= skipped[:, None])]
    return ids, scores


def _search_all(vectors, queries, ids, scores, block):
    """Let a block serve its rows and, as a mirror image, its columns.

    The rows of part b meet a (as columns of ab), then b, then c: candidates always ascend, so of
    equal ones the lowest stays.
    """
    for rows, columns, product in product_blocks(vectors, block=block):
        if columns != rows:
            _serve(_merge_columns, product, rows.start, ids[columns], scores[columns])
        _serve(_merge_rows, product, columns.start, ids[rows], scores[rows])


def _search_some(vectors, queries, ids, scores, block):
    buffer = np.empty(block * block, np.float32)
    for start in range(0, len(queries), block):
        rows = slice(start, min(start + block, len(queries)))
        asked = vectors[queries[rows]]
        for first in range(0, len(vectors), block):
            product = _product(asked, vectors[first : first + block], buffer)
            own = queries[rows] - first
            inside = np.flatnonzero((own >= 0) & (own < product.shape[1]))
            product[inside, own[inside]] = -np.inf
            _serve(_merge_rows, product, first, ids[rows], scores[rows])


def _product(left: np.ndarray, right: np.ndarray, buffer: np.ndarray) -> np.ndarray:
    """Multiply into memory that is there already: fresh pages cost as much as the selection."""
    out = buffer[: len(left) * len(right)].reshape(len(left), len(right))
    return np.matmul(left, right.T, out=out)


def _serve(merge, product, first, ids, scores):
    """Merge a block into the best of its queries, in threads."""
    share_out(
        lambda part: merge(product, (part.start, part.stop), first, ids, scores),
        len(ids),
    )


@njit(nogil=True, cache=True)
def _merge_rows(product, part, first, ids, scores):
    """Merge product[q, c], the score of query q with candidate first + c, into the best of q.

    The best so far [.9 .4], scores [.3 .5 .4]: the floor is .4, so only .5 is looked at, and the
    best are [.9 .5]. The last .4 does not beat the new floor, nor would it have beaten the old.

    Args:
        product: float32 [queries, candidates], in one piece.
        part: the queries part[0] … part[1] - 1 are served.
        first: the first candidate.
        ids, scores: [queries, C], the best so far.
    """
    for query in range(part[0], part[1]):
        floor = scores[query, -1]
        for start in range(0, product.shape[1], _TOGETHER):
            some = product[query][start : start + _TOGETHER]
            if _any_above(some, floor):
                for place in range(len(some)):
                    if some[place] > floor:
                        _insert(scores[query], ids[query], some[place], first + start + place)
                        floor = scores[query, -1]


@njit(nogil=True, cache=True)
def _merge_columns(product, part, first, ids, scores):
    """Merge product[c, q] likewise: candidate by candidate, for many queries at a time."""
    floors = scores[:, -1].copy()
    for candidate in range(len(product)):
        for start in range(part[0], part[1], _TOGETHER):
            end = min(start + _TOGETHER, part[1])
            some, low = product[candidate][start:end], floors[start:end]
            if _any_above_each(some, low):
                for place in range(len(some)):
                    if some[place] > low[place]:
                        query = start + place
                        _insert(scores[query], ids[query], some[place], first + candidate)
                        low[place] = scores[query, -1]


@njit(nogil=True, cache=True)
def _any_above(some, floor):
    """Count instead of stopping at the first, from 0 up: only so LLVM compares 16 at a time."""
    above = np.int32(0)
    for place in range(len(some)):
        above += some[place] > floor
    return above


@njit(nogil=True, cache=True)
def _any_above_each(some, floors):
    above = np.int32(0)
    for place in range(len(some)):
        above += some[place] > floors[place]
    return above


@njit(nogil=True, cache=True)
def _insert(scores, ids, score, candidate):
    """Put a candidate behind all that score as much, and drop the last."""
    place = len(scores) - 1
    while place > 0 and scores[place - 1] < score:
        scores[place], ids[place] = scores[place - 1], ids[place - 1]
        place -= 1
    scores[place], ids[place] = score, candidate


@njit(nogil=True, cache=True)
def _settle(vectors, queries, ids, scores):
    """Score the candidates again, in one fixed order of summation, and sort them by it."""
    for row in range(len(queries)):
        for place in range(ids.shape[1]):
            candidate = ids[row, place]
            score = _score(vectors[queries[row]], vectors[candidate])
            while place > 0 and (
                scores[row, place - 1] < score
                or (scores[row, place - 1] == score and ids[row, place - 1] > candidate)
            ):
                scores[row, place], ids[row, place] = scores[row, place - 1], ids[row, place - 1]
                place -= 1
            scores[row, place], ids[row, place] = score, candidate


@njit(nogil=True, cache=True)
def _score(one, other):
    """Sum in four strands, so that no addition waits for the one before."""
    a = b = c = d = 0.0
    whole = len(one) - len(one) % 4
    for start in range(0, whole, 4):
        a += np.float64(one[start]) * np.float64(other[start])
        b += np.float64(one[start + 1]) * np.float64(other[start + 1])
        c += np.float64(one[start + 2]) * np.float64(other[start + 2])
        d += np.float64(one[start + 3]) * np.float64(other[start + 3])
    for channel in range(whole, len(one)):
        a += np.float64(one[channel]) * np.float64(other[channel])
    return np.float32((a + b) + (c + d))


def _check_vectors(vectors: Any) -> np.ndarray:
    array = np.asarray(vectors)
    if array.ndim != 2 or array.dtype.kind != "f":
        found = f"{array.dtype} of shape {array.shape}"
        raise PinGraphError(f"vectors are {found}; expected float32 of shape (N, D)")
    if len(array) >= 2**31:
        raise PinGraphError(f"there are {len(array):,} vectors; expected fewer than 2³¹")
    array = np.ascontiguousarray(array, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        usable = np.isfinite(np.einsum("nd,nd->n", array, array))
    if not usable.all():
        row = int(np.argmin(usable))
        raise PinGraphError(f"vectors: row {row} is not finite, or its square is too large")
    return array


def _check_queries(queries: Any, count: int) -> np.ndarray:
    array = np.asarray(queries)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        found = f"{array.dtype} of shape {array.shape}"
        raise PinGraphError(f"queries are {found}; expected whole numbers of shape (Q,)")
    wrong = np.flatnonzero((array < 0) | (array >= count))
    if wrong.size:
        row = wrong[0]
        raise PinGraphError(f"queries[{row}] is {array[row]}; expected a row, 0 to {count - 1}")
    return array.astype(np.int64)
