"""Ranks and metrics equal a loop over sorted lists, three libraries, and the laws of chance."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from pingraph.metrics import DEPTH, METRICS, best_items, rank_relevant, ranking_metrics


def tie_key(query, column):
    """SplitMix64's finalizer on Python's own integers."""
    mixed = (query * 0x9E3779B97F4A7C15 + column) % 2**64
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB % 2**64
    return mixed ^ (mixed >> 31)


def slow_ranks(scores, relevant, query):
    order = sorted(range(len(scores)), key=lambda c: (-scores[c], tie_key(query, c)))
    return {column: order.index(column) for column in relevant}


def slow_metrics(ranks):
    """The metrics of one query from the ranks of its relevant items, by the definitions."""
    count = len(ranks)
    out = {f"recall@{k}": sum(r < k for r in ranks) / min(k, count) for k in (1, 10, 100)}
    out["hit_rate@10"] = float(any(r < 10 for r in ranks))
    out["mrr"] = 1 / (min(ranks) + 1)
    precisions = [sum(other <= r for other in ranks) / (r + 1) for r in ranks if r < 100]
    out["map@100"] = sum(precisions) / min(100, count)
    gained = sum(1 / math.log2(r + 2) for r in ranks if r < 10)
    out["ndcg@10"] = gained / sum(1 / math.log2(r + 2) for r in range(min(10, count)))
    return out


def measure(scores, relevant, queries=None):
    """All metrics of score rows and a dense bool matrix of relevance."""
    matrix = sparse.csr_array(np.asarray(relevant, np.float32))
    queries = np.arange(len(scores)) if queries is None else queries
    ranks = rank_relevant(np.asarray(scores, np.float32), matrix, queries)
    return ranking_metrics(ranks, matrix.indptr)


@st.composite
def rankings(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    queries, items = draw(st.integers(1, 6)), draw(st.sampled_from([1, 2, 7, 99, 100, 101, 450]))
    levels = draw(st.sampled_from([1, 2, 5, 10**6]))  # few levels, many ties
    scores = rng.integers(levels, size=(queries, items)).astype(np.float32)
    relevant = rng.random((queries, items)) < draw(st.sampled_from([0.02, 0.3, 0.9]))
    relevant[np.arange(queries), rng.integers(items, size=queries)] = True
    scores[(rng.random(scores.shape) < 0.2) & ~relevant] = -np.inf
    return scores, relevant


@given(rankings(), st.integers(0, 10**7))
@settings(deadline=None, max_examples=60)
def test_ranks_equal_sorting(case, first_query):
    scores, relevant = case
    queries = first_query + np.arange(len(scores))
    matrix = sparse.csr_array(relevant.astype(np.float32))
    ranks = rank_relevant(scores, matrix, queries)
    for row, query in enumerate(queries.tolist()):
        part = slice(matrix.indptr[row], matrix.indptr[row + 1])
        columns = matrix.indices[part].tolist()
        expected = slow_ranks(scores[row].tolist(), columns, query)
        for column, rank in zip(columns, ranks[part].tolist(), strict=True):
            exact = expected[column] < DEPTH or expected[column] == min(expected.values())
            assert rank == expected[column] if exact else rank >= DEPTH


@given(rankings(), st.sampled_from([1, 10, DEPTH]), st.integers(0, 10**7))
@settings(deadline=None, max_examples=40)
def test_best_items_equal_sorting(case, k, first_query):
    scores, _ = case
    queries = first_query + np.arange(len(scores))
    found = best_items(scores, queries, k)
    for row, query in enumerate(queries.tolist()):
        candidates = np.flatnonzero(np.isfinite(scores[row])).tolist()
        ranked = sorted(candidates, key=lambda c: (-scores[row, c], tie_key(query, c)))[:k]
        assert found[row].tolist() == ranked + [-1] * (k - len(ranked))


@given(rankings())
@settings(deadline=None, max_examples=60)
def test_metrics_equal_their_definitions(case):
    scores, relevant = case
    measured = measure(scores, relevant)
    assert tuple(sorted(measured)) == tuple(sorted(METRICS))
    for row in range(len(scores)):
        columns = np.flatnonzero(relevant[row]).tolist()
        expected = slow_metrics(list(slow_ranks(scores[row].tolist(), columns, row).values()))
        for name in METRICS:
            assert measured[name][row] == pytest.approx(expected[name], abs=1e-12)
            assert 0 <= measured[name][row] <= 1


def without_ties(queries=40, items=300, seed=0):
    rng = np.random.default_rng(seed)
    scores = rng.permuted(np.tile(np.arange(items, dtype=np.float32), (queries, 1)), axis=1)
    relevant = rng.random((queries, items)) < rng.choice([0.01, 0.1, 0.5], size=(queries, 1))
    relevant[:, 0] = True
    return scores, relevant


def test_equal_to_pyg():
    torch = pytest.importorskip("torch")
    pyg = pytest.importorskip("torch_geometric.metrics")
    scores, relevant = without_ties()
    measured, counts = measure(scores, relevant), relevant.sum(axis=1)
    order = torch.from_numpy(np.argsort(-scores, axis=1))
    labels = torch.from_numpy(np.stack(np.nonzero(relevant)))

    def theirs(metric):
        metric.update(order[:, : metric.k], labels)
        return float(metric.compute())

    for k in (1, 10, 100):
        # PyG divides by all relevant items, also where they are more than k.
        ours = measured[f"recall@{k}"] * np.minimum(k, counts) / counts
        assert theirs(pyg.LinkPredRecall(k)) == pytest.approx(ours.mean(), abs=1e-6)
    assert theirs(pyg.LinkPredHitRatio(10)) == pytest.approx(measured["hit_rate@10"].mean())
    assert theirs(pyg.LinkPredNDCG(10)) == pytest.approx(measured["ndcg@10"].mean(), abs=1e-6)
    assert theirs(pyg.LinkPredMAP(100)) == pytest.approx(measured["map@100"].mean(), abs=1e-6)
    every = pyg.LinkPredMRR(scores.shape[1])
    assert theirs(every) == pytest.approx(measured["mrr"].mean(), abs=1e-6)


def test_equal_to_torchmetrics():
    torch = pytest.importorskip("torch")
    retrieval = pytest.importorskip("torchmetrics.functional.retrieval")
    scores, relevant = without_ties(seed=1)
    measured = measure(scores, relevant)
    for row in range(len(scores)):
        pair = torch.from_numpy(scores[row]), torch.from_numpy(relevant[row])
        expected = {
            "mrr": retrieval.retrieval_reciprocal_rank(*pair),
            "ndcg@10": retrieval.retrieval_normalized_dcg(*pair, top_k=10),
            "hit_rate@10": retrieval.retrieval_hit_rate(*pair, top_k=10),
            "recall@1": retrieval.retrieval_precision(*pair, top_k=1),
        }
        for name, value in expected.items():
            assert measured[name][row] == pytest.approx(float(value), abs=1e-6)


def test_equal_to_scikit_learn():
    sklearn = pytest.importorskip("sklearn.metrics")
    scores, relevant = without_ties(seed=2)
    expected = sklearn.ndcg_score(relevant, scores, k=10)
    assert measure(scores, relevant)["ndcg@10"].mean() == pytest.approx(expected, abs=1e-9)


def test_average_precision_that_is_not_cut_equals_two_libraries():
    torch = pytest.importorskip("torch")
    retrieval = pytest.importorskip("torchmetrics.functional.retrieval")
    sklearn = pytest.importorskip("sklearn.metrics")
    scores, relevant = without_ties(items=100, seed=5)
    scores += 1  # torchmetrics takes a score of 0 for no candidate
    found = measure(scores, relevant)["map@100"]
    for row in range(len(scores)):
        pair = torch.from_numpy(scores[row]), torch.from_numpy(relevant[row])
        theirs = float(retrieval.retrieval_average_precision(*pair))
        assert found[row] == pytest.approx(theirs, abs=1e-6)
        theirs = sklearn.average_precision_score(relevant[row], scores[row])
        assert found[row] == pytest.approx(theirs, abs=1e-9)


def test_the_best_ranking_gets_1_and_the_worst_0():
    relevant = np.zeros((3, 400), bool)
    for row, count in enumerate((1, 10, 150)):
        relevant[row, :count] = True
    best = measure(relevant.astype(float), relevant)
    assert all(values == pytest.approx(np.ones(3)) for values in best.values())
    worst = measure(-relevant.astype(float), relevant)
    assert all((values == 0).all() for name, values in worst.items() if name != "mrr")
    assert worst["mrr"] == pytest.approx(1 / np.array([400, 391, 251]))


@pytest.mark.parametrize("place", ["first", "last", "spread"])
def test_ties_are_ranked_as_at_random(place):
    """Neither where relevant items stand nor that they are relevant moves them among equals."""
    queries, items, count = 4000, 250, 5
    columns = {"first": slice(count), "last": slice(-count, None), "spread": slice(3, None, 50)}
    relevant = np.zeros((queries, items), bool)
    relevant[:, columns[place]] = True
    measured = measure(np.zeros((queries, items)), relevant)
    miss = math.comb(items - count, 10) / math.comb(items, 10)
    first = [math.comb(items - r - 1, count - 1) / math.comb(items, count) for r in range(items)]
    gain = sum(1 / math.log2(r + 2) for r in range(10)) * count / items
    expected = {
        "recall@1": count / items,
        "recall@10": 10 / items,
        "recall@100": 100 / items,
        "hit_rate@10": 1 - miss,
        "mrr": sum(p / (r + 1) for r, p in enumerate(first)),
        "map@100": sum((1 + r * (count - 1) / (items - 1)) / (r + 1) for r in range(100)) / items,
        "ndcg@10": gain / sum(1 / math.log2(r + 2) for r in range(count)),
    }
    # recall@10 is over min(10, count), so each relevant item counts as it does in recall@100.
    for name, value in expected.items():
        error = measured[name].std() / math.sqrt(queries)
        assert abs(measured[name].mean() - value) < 4.5 * error, name


def test_relabelling_items_changes_nothing_without_ties():
    scores, relevant = without_ties(seed=3)
    order = np.random.default_rng(0).permutation(scores.shape[1])
    one, other = measure(scores, relevant), measure(scores[:, order], relevant[:, order])
    assert all(one[name] == pytest.approx(other[name], abs=1e-12) for name in METRICS)


def test_a_query_that_is_asked_elsewhere_gets_the_same():
    rng = np.random.default_rng(4)
    scores = rng.integers(3, size=(20, 500)).astype(np.float32)
    relevant = rng.random((20, 500)) < 0.05
    relevant[:, 7] = True
    whole = measure(scores, relevant)
    for start in range(0, 20, 6):
        part = slice(start, start + 6)
        block = measure(scores[part], relevant[part], np.arange(20)[part])
        assert all(np.array_equal(whole[name][part], block[name]) for name in METRICS)


def test_no_queries():
    empty = np.zeros((0, 5))
    assert all(values.shape == (0,) for values in measure(empty, empty).values())
