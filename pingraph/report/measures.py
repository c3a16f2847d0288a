"""What the report measures of one embedding beyond its retrieval: for whom, and how vectors lie.

Letters: N pins, Q queries, D dimensions, k neighbors. All results are plain, as JSON holds them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from pingraph.board_sizes import BOARD_LIMIT
from pingraph.metrics import METRICS
from pingraph.plain_text import board_name
from pingraph.ranking import measured

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pingraph.datasets import PinBoardDataset
    from pingraph.evaluation import TaskResult
    from pingraph.splits import Split

MAIN = "recall@10"
K = 10  # neighbors of a pin, where the report asks who finds whom
UNIFORM = 10_000  # pins from which uniformity is taken at most: all pairs of more take seconds
LEAST_QUERIES = 5  # of a board or a group, to be named in the report
NAMED_BOARDS = 8  # at most, of the worst and of the best
BUCKETS = ((0, 0), (1, 1), (2, 4), (5, 16), (17, 64), (65, None))  # of counts, ends included
_SAMPLED_PAIRS = 20_000
_BINS = 60


def bucket_names() -> list[str]:
    """Return how the buckets of counts are called."""
    dash = "\N{EN DASH}"
    return [
        f"{low}+" if high is None else str(low) if low == high else f"{low}{dash}{high}"
        for low, high in BUCKETS
    ]


def bucket_of(counts: np.ndarray) -> np.ndarray:
    """Return the number of the bucket of each count, int64."""
    return np.searchsorted([low for low, _ in BUCKETS], counts, side="right") - 1


def by_content(result: TaskResult | None, dataset: PinBoardDataset, *, seed: int) -> list[dict]:
    """Return MAIN of pins with image and text, with one of them alone, and with neither."""
    kinds = 3 - 2 * dataset.has_image.astype(np.int64) - dataset.has_text
    names = ["image and text", "image alone", "text alone", "neither"]
    return grouped(result, kinds, names, seed=seed)


def by_words(
    result: TaskResult | None, dataset: PinBoardDataset, split: Split, *, seed: int
) -> list[dict]:
    """Return MAIN by how many of a query's distinct words a text of training has as well.

    What only others know of a word cannot be learned here, so this tells how much is missing.
    """
    known = set().union(*(words_of(dataset.texts[pin]) for pin in split.train_pins))
    groups = np.full(dataset.num_pins, 3)
    for pin, text in enumerate(dataset.texts):
        if words := words_of(text):
            share = len(words - known) / len(words)
            groups[pin] = 0 if not share else 1 if share < 0.5 else 2
    names = [
        "all words seen in training",
        "most words seen in training",
        "half or fewer words seen in training",
        "no words",
    ]
    return grouped(result, groups, names, seed=seed)


def words_of(text: str) -> set[str]:
    """Return the distinct words of a text: its runs of letters and digits, whatever their case."""
    return set(re.findall(r"\w+", text.casefold()))


def grouped(
    result: TaskResult | None, groups: np.ndarray, names: list[str], *, seed: int
) -> list[dict]:
    """Return MAIN of the queries in each group: {"name", "queries", "value", "ci95"}.

    Args:
        result: of a task whose queries are pins.
        groups: int64 [N], each pin's place among the names.
        names: of the groups.
        seed: of the intervals.
    """
    values, own = np.empty(0), np.empty(0, np.int64)
    if result is not None:
        values, own = main_values(result), groups[result.queries]
    return [
        {"name": name, **estimate(values[own == place], seed=seed, unit=True)}
        for place, name in enumerate(names)
    ]


def named_groups(entries: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    """Return entries as those of `grouped`, of these or of `pingraph.popularity`; [] of None."""
    out = []
    for one in entries or ():
        figure = one.get(MAIN, one)  # of several metrics
        kept = {key: figure[key] for key in ("value", "ci95")}
        out.append({"name": one.get("name", one.get("bucket")), "queries": one["queries"], **kept})
    return out


def by_board(result: TaskResult | None, dataset: PinBoardDataset, *, seed: int) -> dict[str, Any]:
    """Return the boards with the lowest and the highest mean of MAIN over their queries.

    A query counts for the boards that it shares with a relevant pin. Only boards with LEAST_QUERIES
    queries are ranked; equal ones stand in their order.
    """
    if result is None or not len(result.queries):
        return {"boards": 0, "worst_boards": [], "best_boards": []}
    values, counts = main_values(result), result.boards.sum(axis=0).astype(np.int64)
    sums = result.boards.T @ values
    named = np.flatnonzero(counts >= LEAST_QUERIES)
    order = named[np.argsort(sums[named] / counts[named], kind="stable")].tolist()
    columns = result.boards.tocsc()

    def told(board: int) -> dict[str, Any]:
        asked = columns.indices[columns.indptr[board] : columns.indptr[board + 1]]
        return {
            "board": str(dataset.board_ids[board]),
            "title": board_name(dataset, board),
            "pins": int(dataset.graph.board_degrees[board]),
            **estimate(values[asked], seed=seed, unit=True),
        }

    return {
        "boards": len(order),
        "worst_boards": [told(board) for board in order[: min(NAMED_BOARDS, -(-len(order) // 2))]],
        "best_boards": [told(board) for board in order[::-1][: min(NAMED_BOARDS, len(order) // 2)]],
    }


def estimate(values: np.ndarray, *, seed: int, unit: bool = False) -> dict[str, Any]:
    """Return how many values there are, their mean and its 95% interval; null where unknown."""
    return {"queries": len(values), **measured(values[:, None], seed=seed, unit=unit)[0]}


def main_values(result: TaskResult) -> np.ndarray:
    """Return MAIN of each query, float64 [Q]."""
    return result.values[:, METRICS.index(MAIN)]


def similarities(vectors: np.ndarray, dataset: PinBoardDataset, *, seed: int) -> dict[str, Any]:
    """Return histograms of the cosine of board-mates, and of pins drawn at random.

    Mates are two pins of a drawn edge's board (of at most BOARD_LIMIT pins); pairs of a pin and
    itself, and zero vectors, are left out.
    """
    rng = np.random.default_rng(seed)
    lengths = np.linalg.norm(vectors, axis=1)
    edges = np.linspace(-1, 1, _BINS + 1)
    out: dict[str, Any] = {"edges": edges.round(4).tolist()}
    pairs = {
        "mates": _mates(dataset, rng),
        "random": rng.integers(len(vectors), size=(2, _SAMPLED_PAIRS)),
    }
    for name, (one, other) in pairs.items():
        kept = (one != other) & (lengths[one] > 0) & (lengths[other] > 0)
        one, other = one[kept], other[kept]
        cosines = np.einsum("pd,pd->p", vectors[one], vectors[other])
        cosines /= np.maximum(lengths[one] * lengths[other], np.finfo(np.float32).tiny)
        counts = np.histogram(np.clip(cosines, -1, 1), edges)[0]
        out[name] = (counts / max(1, len(one))).tolist()
        out[f"{name}_mean"] = float(cosines.mean()) if len(one) else None
    return out


def spectrum(vectors: np.ndarray) -> dict[str, Any]:
    """Return how many principal directions hold half of the variance, and what the first ones hold.

    `first` has the share of the first 1, 2, 4, … of them. Without variance it is empty, and `half`
    None. Zero vectors are left out: where they are many, the way from them to the others would be
    the first direction.
    """
    vectors = vectors[vectors.any(axis=1)]
    covariance = np.cov(vectors, rowvar=False, dtype=np.float64) if len(vectors) > 1 else None
    if covariance is None or not np.trace(np.atleast_2d(covariance)) > 0:
        return {"half": None, "first": []}
    values = np.clip(np.linalg.eigvalsh(np.atleast_2d(covariance))[::-1], 0, None)
    shares = np.cumsum(values) / values.sum()
    first = [
        {"directions": count, "share": float(min(1.0, shares[count - 1]))}
        for count in _doubling(len(shares))
    ]
    return {"half": int(np.searchsorted(shares, 0.5)) + 1, "first": first}


def occurrences(found: np.ndarray, present: np.ndarray) -> dict[str, Any]:
    """Return how often pins are among the nearest of others: shares by bucket, and the extremes.

    Args:
        found: int [M, k], the nearest pins of every pin with a vector.
        present: bool [N], which M pins have one; the others are not counted as never found.
    """
    pins = np.flatnonzero(present)
    times = np.bincount(found.ravel(), minlength=len(present))[pins]
    shares = np.bincount(bucket_of(times), minlength=len(BUCKETS)) / max(1, len(pins))
    return {
        "k": found.shape[1],
        "shares": shares.tolist(),
        "never": float(shares[0]),
        "most": int(times.max(initial=0)),
        "most_pin": int(pins[times.argmax()]) if len(pins) else None,
    }


def _mates(dataset: PinBoardDataset, rng: np.random.Generator) -> np.ndarray:
    graph = dataset.graph
    pins, boards = graph.board_pins, np.repeat(np.arange(graph.num_boards), graph.board_degrees)
    allowed = np.flatnonzero(graph.board_degrees[boards] <= BOARD_LIMIT)
    if not len(allowed):
        return np.empty((2, 0), np.int64)
    drawn = rng.choice(allowed, _SAMPLED_PAIRS)
    low, high = graph.board_offsets[boards[drawn]], graph.board_offsets[boards[drawn] + 1]
    return np.stack([pins[drawn], pins[rng.integers(low, high)]])


def _doubling(last: int) -> Iterator[int]:
    count = 1
    while count < last:
        yield count
        count *= 2
    yield last
