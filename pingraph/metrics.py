"""Ranks the relevant items in a full corpus, and makes the usual metrics of the ranks.

Letters: Q queries, N items of the corpus, R relevant pairs (the sum over the queries).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pingraph.compiled import njit

if TYPE_CHECKING:
    from scipy.sparse import csr_array

METRICS = ("recall@1", "recall@10", "recall@100", "hit_rate@10", "mrr", "map@100", "ndcg@10")
DEPTH = 100  # the deepest cut of METRICS


def rank_relevant(scores: np.ndarray, relevant: csr_array, queries: np.ndarray) -> np.ndarray:
    """Return the ranks of the relevant items of every query, 0 for the best.

    A rank is exact where it is below DEPTH and where the item is the first relevant one of its
    query; of any other it is only known to be DEPTH or more. METRICS ask for no more than that,
    and it is much faster than sorting.

    Equal scores are ordered by a hash of (query, item): a shuffle of its own for each query, which
    knows nothing of relevance and is the same for every method. So ties favor nobody, and vectors
    that are all alike are ranked as at random.

    Args:
        scores: float32 [Q, N], higher is better, no NaN; -inf takes an item out of the corpus.
        relevant: sparse [Q, N], nonzero pattern = relevant pairs, none of which scores -inf.
        queries: int64 [Q], a number that names the query (its pin), for the tie order.

    Returns:
        int64 [R], in the order of `relevant.indices`.
    """
    ranks = np.empty(len(relevant.indices), np.int64)
    offsets = relevant.indptr.astype(np.int64)
    columns = relevant.indices.astype(np.int64)
    _rank_rows(np.ascontiguousarray(scores, np.float32), queries, offsets, columns, ranks)
    return ranks


def best_items(scores: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """Return the first k items of every query, in the order in which `rank_relevant` ranks them.

    Args:
        scores: float32 [Q, N], as of `rank_relevant`.
        queries: int64 [Q], likewise.
        k: at most DEPTH.

    Returns:
        int64 [Q, k], best first; -1 where the corpus has no more.
    """
    items = np.full((len(scores), k), -1, np.int64)
    _best_rows(np.ascontiguousarray(scores, np.float32), queries, items)
    return items


def ranking_metrics(ranks: np.ndarray, offsets: np.ndarray) -> dict[str, np.ndarray]:
    """Compute the metrics of each query from the ranks of its relevant items.

    Of a query with R relevant items, of which h(i) are among the first i places:

    - recall@k = h(k) / min(k, R), so that 1 can always be reached;
    - hit_rate@k = 1 if h(k) > 0, else 0;
    - mrr = 1 / the place of the first relevant item, however far down (Voorhees 1999);
    - map@k = Σ h(i) / i over the relevant places i ≤ k, over min(k, R): average precision (Buckley
      and Voorhees 2000), cut at k as PyG cuts it; torchmetrics divides a cut one by h(k) instead;
    - ndcg@k = Σ 1 / log2(1 + i) over the relevant places i ≤ k, over its best possible value
      (Järvelin and Kekäläinen 2002).

    Args:
        ranks: int64 [R], 0 for the best.
        offsets: int64 [Q + 1]; query q owns ranks[offsets[q]:offsets[q + 1]], at least one.

    Returns:
        For each of METRICS, float64 [Q] with values between 0 and 1.
    """
    if len(offsets) < 2:
        return {name: np.empty(0) for name in METRICS}
    starts, relevant = offsets[:-1], np.diff(offsets)
    hits = {k: np.add.reduceat((ranks < k).astype(np.int64), starts) for k in (1, 10, 100)}
    values = {f"recall@{k}": hits[k] / np.minimum(k, relevant) for k in hits}
    values["hit_rate@10"] = (hits[10] > 0).astype(np.float64)
    values["mrr"] = 1.0 / (np.minimum.reduceat(ranks, starts) + 1)
    values["map@100"] = np.minimum(_precisions(ranks, relevant) / np.minimum(100, relevant), 1.0)
    discounts = 1.0 / np.log2(np.arange(10) + 2.0)
    gains = np.where(ranks < 10, discounts[np.minimum(ranks, 9)], 0.0)
    ideal = np.cumsum(discounts)[np.minimum(relevant, 10) - 1]
    values["ndcg@10"] = np.minimum(np.add.reduceat(gains, starts) / ideal, 1.0)  # rounding
    return values


def _precisions(ranks: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Sum the precisions at the places of the relevant items in the top 100, float64 [Q]."""
    top = ranks < 100
    rows, places = np.repeat(np.arange(len(relevant)), relevant)[top], ranks[top] + 1
    order = np.lexsort((places, rows))
    rows, places = rows[order], places[order]
    nth = np.arange(1, len(rows) + 1) - np.searchsorted(rows, rows)  # hit of its query
    return np.bincount(rows, nth / places, minlength=len(relevant))


@njit(nogil=True, cache=True)
def _rank_rows(scores, queries, offsets, columns, ranks):
    for row in range(len(scores)):
        start, end = offsets[row], offsets[row + 1]
        if end > start:
            _rank_row(scores[row], queries[row], columns[start:end], ranks[start:end])


@njit(nogil=True, cache=True)
def _rank_row(scores, query, columns, ranks):
    """Rank the relevant columns of one query.

    Scores [.9 .5 .7 .5], relevant columns 1 and 2: best first they are 2 (.7) and 1 (.5). Column 0
    is ahead of both (bin 0); column 2 ahead of column 1 alone (bin 1); column 3 ties with column 1
    and stands before (bin 1) or after it (bin 2) as the hash says. Running sums of the bins are
    the ranks: column 2 has rank 1, column 1 has rank 2 or 3. Relevant columns below DEPTH others
    are not kept, save the first.
    """
    keys = np.empty(len(columns), np.uint64)
    for place in range(len(columns)):
        keys[place] = _tie_key(query, columns[place])
    order = np.argsort(keys)
    order = order[np.argsort(-scores[columns[order]], kind="mergesort")]
    score, key = _floor(scores, query)
    kept = max(1, _ahead_of(score, key, scores[columns[order]], keys[order]))
    best, keys = scores[columns[order[:kept]]], keys[order[:kept]]
    bins = np.zeros(kept + 1, np.int64)
    for column in range(len(scores)):
        score = scores[column]
        if score >= best[-1]:
            key = _tie_key(query, column)
            if score > best[-1] or key <= keys[-1]:
                bins[_ahead_of(score, key, best, keys)] += 1
    ranks[:] = len(scores)
    ahead = 0
    for place in range(kept):
        ahead += bins[place]
        ranks[order[place]] = ahead


@njit(nogil=True, cache=True)
def _best_rows(scores, queries, items):
    for row in range(len(scores)):
        floor, floor_key = _floor(scores[row], queries[row])
        kept, keys = np.empty(scores.shape[1], np.int64), np.empty(scores.shape[1], np.uint64)
        count = 0
        for column in range(scores.shape[1]):
            score = scores[row, column]
            if score >= floor and score > -np.inf:
                key = _tie_key(queries[row], column)
                if score > floor or key <= floor_key:
                    kept[count], keys[count] = column, key
                    count += 1
        columns = kept[:count][np.argsort(keys[:count])]
        order = np.argsort(-scores[row][columns], kind="mergesort")[: items.shape[1]]
        items[row, : len(order)] = columns[order]


@njit(nogil=True, cache=True)
def _floor(scores, query):
    """Find a (score, key) that at least DEPTH columns are ahead of or equal to.

    The columns are dealt into DEPTH chunks; the worst of their best ones will do.
    """
    worst_score, worst_key = np.float32(np.inf), np.uint64(0)
    for chunk in range(DEPTH):
        score, key = np.float32(-np.inf), ~np.uint64(0)
        for column in range(chunk * len(scores) // DEPTH, (chunk + 1) * len(scores) // DEPTH):
            if scores[column] >= score:
                other = _tie_key(query, column)
                if scores[column] > score or other < key:
                    score, key = scores[column], other
        if score < worst_score or (score == worst_score and key > worst_key):
            worst_score, worst_key = score, key
    return worst_score, worst_key


@njit(nogil=True, cache=True)
def _ahead_of(score, key, best, keys):
    """Count the sorted entries that come before (score, key) or are it, by bisection."""
    low, high = 0, len(best)
    while low < high:
        middle = (low + high) // 2
        if best[middle] > score or (best[middle] == score and keys[middle] <= key):
            low = middle + 1
        else:
            high = middle
    return low


@njit(nogil=True, cache=True)
def _tie_key(query, column):
    """Mix (query, column) into 64 bits with the finalizer of SplitMix64 (Steele et al. 2014)."""
    mixed = np.uint64(query) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(column)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
