"""The numbers of the sampler lab: each against a plain twin in loops, and forced answers."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pingraph.graph import PinBoardGraph
from pingraph.interfaces import Neighbors
from pingraph.lab import statistics

PINS, BOARDS = 9, 5

edge_sets = st.sets(
    st.tuples(st.integers(0, PINS - 1), st.integers(0, BOARDS - 1)), min_size=1, max_size=25
)


def graph_of(edges):
    pins, boards = zip(*sorted(edges), strict=True)
    return PinBoardGraph.from_edges(pins, boards, pin_ids=range(PINS), board_ids=range(BOARDS))


@st.composite
def rows_of(draw, seeds, k=4):
    """Return, for each seed, distinct pins with scores: any pin, the seed itself too."""
    row = st.dictionaries(st.integers(0, PINS - 1), st.integers(1, 50), max_size=k)
    return [list(draw(row).items()) for _ in seeds]


@st.composite
def cases(draw):
    seeds = draw(st.lists(st.integers(0, PINS - 1), min_size=1, max_size=6))
    return seeds, draw(rows_of(seeds)), draw(rows_of(seeds))


def record(seeds, rows, k=4):
    ids, scores = np.full((len(seeds), k), -1), np.zeros((len(seeds), k))
    for row, pairs in enumerate(rows):
        for column, (pin, score) in enumerate(pairs):
            ids[row, column], scores[row, column] = pin, score
    return Neighbors.from_scores(seeds=np.array(seeds, np.int64), ids=ids, scores=scores)


def weights_of(pairs):
    total = sum(score for _, score in pairs)
    return [(pin, Fraction(score, total)) for pin, score in pairs]


def mean(values):
    values = list(values)
    return sum(values) / len(values) if values else math.nan


def close(found, expected):
    assert found == pytest.approx(float(expected), abs=1e-6, nan_ok=True)


@settings(max_examples=150, deadline=None)
@given(edges=edge_sets, case=cases())
def test_every_measure_equals_its_plain_twin(edges, case):
    seeds, rows, _ = case
    graph = graph_of(edges)
    boards = [{board for pin, board in edges if pin == one} for one in range(PINS)]
    degrees = [len(own) for own in boards]
    weighted = [weights_of(pairs) for pairs in rows]
    found = statistics.measures(record(seeds, rows), graph)

    close(found["answered_share"], mean(bool(pairs) for pairs in rows))
    close(found["mean_found"], mean(len(pairs) for pairs in rows))
    close(found["coverage"], len({pin for pairs in rows for pin, _ in pairs}) / PINS)
    bits = [-sum(w * math.log2(w) for _, w in pairs) for pairs in weighted if pairs]
    close(found["entropy_bits"], mean(bits))
    close(found["effective_neighbors"], mean(2**value for value in bits))

    everything = [
        (seed, pin, w) for seed, pairs in zip(seeds, weighted, strict=True) for pin, w in pairs
    ]
    total = sum(w for _, _, w in everything)
    hub = min(range(PINS), key=lambda pin: (-degrees[pin], pin))  # 1% of nine, rounded up
    share = {
        "hub_share": sum(w for _, pin, w in everything if pin == hub),
        "board_mate_share": sum(w for seed, pin, w in everything if boards[seed] & boards[pin]),
    }
    for name, weight in share.items():
        close(found[name], weight / total if everything else math.nan)
    usual = median([degree for degree in degrees if degree])
    close(
        found["degree_ratio"],
        median([degrees[pin] for _, pin, _ in everything]) / usual if everything else math.nan,
    )
    hits = (seed in dict(pairs) for seed, pairs in zip(seeds, rows, strict=True))
    close(found["self_hit_share"], mean(hits))


def median(values):
    values = sorted(values)
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2


@settings(max_examples=150, deadline=None)
@given(case=cases())
def test_overlap_equals_its_plain_twin(case):
    seeds, rows, others = case
    one, other = record(seeds, rows), record(seeds, others)
    shares = []
    for left, right in zip(map(dict, rows), map(dict, others), strict=True):
        if left or right:
            shares.append(len(left.keys() & right.keys()) / len(left.keys() | right.keys()))
    close(statistics.mean_jaccard(one, other), mean(shares))
    close(statistics.mean_jaccard(other, one), mean(shares))
    close(statistics.mean_jaccard(one, one), 1 if any(rows) else math.nan)


@settings(max_examples=150, deadline=None)
@given(case=cases(), k=st.integers(1, PINS), data=st.data())
def test_the_distance_and_the_top_equal_their_plain_twins(case, k, data):
    seeds, rows, _ = case
    draw = st.lists(st.integers(0, 4), min_size=PINS, max_size=PINS).filter(any)
    parts = [data.draw(draw) for _ in seeds]  # small numbers, so that there are ties
    exact = np.array([[part / sum(row) for part in row] for row in parts])
    found = record(seeds, rows)
    distances = statistics.total_variation(found, exact)
    tops = statistics.top_share(found, exact, k)
    for row, (pairs, shares) in enumerate(zip(rows, parts, strict=True)):
        own = dict(weights_of(pairs))
        chances = [Fraction(part, sum(shares)) for part in shares]
        distance = sum(abs(own.get(pin, 0) - chances[pin]) for pin in range(PINS)) / 2
        close(distances[row], distance if pairs else 1)
        possible = sorted((part for part in shares if part), reverse=True)
        wanted = min(k, len(possible))
        good = [pin for pin, _ in pairs[:k] if shares[pin] and shares[pin] >= possible[wanted - 1]]
        close(tops[row], Fraction(len(good), wanted))


def test_equal_weights_and_a_single_neighbor_have_known_entropies():
    found = record([0, 0, 0], [[(1, 3), (2, 3), (3, 3), (4, 3)], [(1, 9)], []])
    assert statistics.entropy(found)[:2].tolist() == [2, 0]
    assert math.isnan(statistics.entropy(found)[2])


def test_nothing_found_is_zero_or_undefined():
    graph = graph_of({(0, 0), (1, 0)})
    found = statistics.measures(record([5, 6], [[], []]), graph)
    zero = {"answered_share", "mean_found", "coverage", "self_hit_share"}
    assert {name for name, value in found.items() if value == 0} == zero
    assert all(math.isnan(value) for name, value in found.items() if name not in zero)


def test_hubs_are_one_percent_rounded_up_and_their_edges():
    pins = np.repeat(np.arange(201), 1 + (np.arange(201) >= 198))
    boards = [i for pin in range(201) for i in range(1 + (pin >= 198))]
    graph = PinBoardGraph.from_edges(pins, boards)
    hubs = statistics.hubs(graph)
    assert np.flatnonzero(hubs).tolist() == [198, 199, 200]
    assert statistics.edge_share(graph, hubs) == 6 / 204
    fewer = graph.subgraph(pins=np.arange(200))  # 2 of 200
    assert np.flatnonzero(statistics.hubs(fewer)).tolist() == [198, 199]


def test_a_distribution_is_at_distance_zero_from_itself_and_one_from_others():
    found = record([0, 0], [[(1, 1), (2, 3)], [(3, 2)]])
    exact = np.zeros((2, PINS))
    exact[:, [1, 2]] = 0.25, 0.75
    assert statistics.total_variation(found, exact).tolist() == [0, 1]
    assert exact.sum() == 2  # it is not changed
