"""Pruning: forced answers, plain loops over random graphs, and bad input."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pingraph.errors import PinGraphError
from pingraph.graph import PinBoardGraph
from pingraph.pruning import prune_boards, prune_pins
from tests.graph_cases import as_dict
from tests.random_twin import WORD, word

PINS, BOARDS = 9, 6


@st.composite
def graphs(draw):
    """Draw a graph of 9 pins and 6 boards, some without edges; weights and times or none."""
    pairs = st.tuples(st.integers(0, PINS - 1), st.integers(0, BOARDS - 1))
    edges = sorted(draw(st.sets(pairs, min_size=1, max_size=40)))
    pins, boards = zip(*edges, strict=True)
    weights = draw(st.none() | st.just([1.0 + (7 * i) % 4 for i in range(len(edges))]))
    times = draw(st.none() | st.just(list(range(len(edges)))))
    return PinBoardGraph.from_edges(
        pins, boards, weights, times, pin_ids=range(PINS), board_ids=range(BOARDS)
    )


@st.composite
def topic_rows(draw):
    """Draw topics in small whole numbers, which the functions divide by their sums."""
    width = draw(st.integers(1, 4))
    row = st.lists(st.integers(0, 3), min_size=width, max_size=width)
    return np.array(draw(st.lists(row, min_size=PINS, max_size=PINS)), float)


def board_topics(graph, topics):
    rows = []
    for board in range(BOARDS):
        total = [0.0] * topics.shape[1]
        for pin in graph.pins_of(board):
            for topic, value in enumerate(topics[pin]):
                total[topic] += value / max(sum(topics[pin]), 1)
        rows.append([value / (sum(total) or 1) for value in total])
    return rows


def assert_part(pruned, graph, kept):
    """Check that the graph is the other one with only the edges `kept`, all nodes in place."""
    assert (pruned.num_pins, pruned.num_boards) == (PINS, BOARDS)
    assert as_dict(pruned) == {edge: v for edge, v in as_dict(graph).items() if edge in kept}
    assert (pruned.pin_weights is None) == (graph.pin_weights is None)
    assert (pruned.pin_times is None) == (graph.pin_times is None)


@settings(max_examples=150, deadline=None)
@given(graph=graphs(), topics=st.none() | topic_rows(), share=st.sampled_from([0, 0.3, 0.5, 1]))
def test_boards_are_pruned_as_by_plain_loops(graph, topics, share):
    diversity = [float(len(graph.pins_of(board))) for board in range(BOARDS)]
    if topics is not None:
        rows = board_topics(graph, topics)
        diversity = [round(-sum(c * math.log(c) for c in row if c), 9) for row in rows]
    boards = [board for board in range(BOARDS) if len(graph.pins_of(board))]
    boards.sort(key=lambda board: (-diversity[board], -len(graph.pins_of(board)), -board))
    kept = boards[math.floor(share * len(boards) + 1e-9) :]
    pruned = prune_boards(graph, drop_share=share, topics=topics)
    assert_part(pruned, graph, {edge for edge in as_dict(graph) if edge[1] in kept})


@settings(max_examples=150, deadline=None)
@given(
    graph=graphs(),
    topics=st.none() | topic_rows(),
    exponent=st.sampled_from([1e-9, 0.2, 1 / 3, 0.5, 0.91, 1]),
    seed=st.integers(0, WORD),
)
def test_pins_are_pruned_as_by_plain_loops(graph, topics, exponent, seed):
    rows = board_topics(graph, topics) if topics is not None else None
    weights = as_dict(graph)
    kept = set()
    for pin in range(PINS):

        def fit(board, pin=pin):
            if topics is not None:
                return round(cosine(topics[pin], rows[board]), 9)
            return weights[pin, board][0]

        boards = graph.boards_of(pin).tolist()
        boards.sort(key=lambda b: (-fit(b), word(word(word(0, seed), pin), b)))
        count = 0
        while count < len(boards) ** exponent * (1 - 1e-12) and boards:
            count += 1
        kept |= {(pin, board) for board in boards[:count]}
    assert_part(prune_pins(graph, exponent=exponent, topics=topics, seed=seed), graph, kept)


def cosine(a, b):
    length = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / length if length else 0.0


@settings(max_examples=50, deadline=None)
@given(graph=graphs(), topics=st.none() | topic_rows())
def test_what_prunes_nothing_changes_nothing(graph, topics):
    assert prune_pins(graph, exponent=1, topics=topics) == graph
    assert prune_boards(graph, drop_share=0, topics=topics) == graph


def two_worlds():
    """Return cats 0-3, cars 4-7, boards of each, board 2 with all of them, and their topics."""
    cats, cars = [0, 1, 2, 3], [4, 5, 6, 7]
    pins = cats + cars + cats + cars
    boards = [0] * 4 + [1] * 4 + [2] * 8
    topics = np.array([[1.0, 0]] * 4 + [[0, 1.0]] * 4)
    return PinBoardGraph.from_edges(pins, boards), topics


def test_the_board_that_mixes_topics_goes_first():
    graph, topics = two_worlds()
    pruned = prune_boards(graph, drop_share=0.34, topics=topics)
    assert pruned.board_degrees.tolist() == [4, 4, 0]


def test_a_pin_keeps_the_board_of_its_topic():
    graph, topics = two_worlds()
    pruned = prune_pins(graph, exponent=0.01, topics=topics)  # ⌈2^0.01⌉ is 2: nothing to prune
    assert pruned == graph
    pins, boards = graph.edges()
    more = PinBoardGraph.from_edges(np.append(pins, range(8)), np.append(boards, [3] * 8))
    pruned = prune_pins(more, exponent=0.5, topics=topics)  # two of three stay
    assert pruned.pin_degrees.tolist() == [2] * 8
    assert pruned.board_degrees[:2].tolist() == [4, 4]


def test_the_largest_board_goes_first_without_topics():
    graph = PinBoardGraph.from_edges([0, 1, 2, 0, 1, 3, 4], [0, 0, 0, 1, 1, 2, 2])
    assert prune_boards(graph, drop_share=0.34).board_degrees.tolist() == [0, 2, 2]
    assert prune_boards(graph, drop_share=0.67).board_degrees.tolist() == [0, 2, 0]


def test_the_heaviest_edges_stay():
    graph = PinBoardGraph.from_edges([0] * 9, range(9), [5, 1, 9, 2, 8, 3, 7, 4, 6])
    pruned = prune_pins(graph, exponent=0.5)
    assert pruned.boards_of(0).tolist() == [2, 4, 6]
    np.testing.assert_array_equal(pruned.pin_weights, [9, 8, 7])


@pytest.mark.parametrize(("degree", "exponent"), [(243, 0.2), (125, 1 / 3), (81, 0.25), (49, 0.5)])
def test_whole_powers_are_hit(degree, exponent):
    graph = PinBoardGraph.from_edges([0] * degree, range(degree))
    pruned = prune_pins(graph, exponent=exponent)
    assert pruned.num_edges == round(degree**exponent)


def test_a_random_choice_favors_no_board_and_is_a_matter_of_the_seed():
    graph = PinBoardGraph.from_edges(np.repeat(range(3_000), 4), list(range(4)) * 3_000)
    pruned = prune_pins(graph, exponent=0.5, seed=5)
    np.testing.assert_allclose(pruned.board_degrees, 1_500, atol=165)  # six standard deviations
    assert prune_pins(graph, exponent=0.5, seed=5) == pruned
    other = prune_pins(graph, exponent=0.5, seed=6)
    both = len(as_dict(pruned).keys() & as_dict(other).keys())
    assert both == pytest.approx(3_000, abs=330)


def test_the_choice_of_a_pin_does_not_depend_on_other_pins():
    graph = PinBoardGraph.from_edges(np.repeat(range(50), 16), list(range(16)) * 50)
    part = graph.subgraph(pins=range(20, 30), keep_nodes=True)
    whole = prune_pins(graph, exponent=0.5).subgraph(pins=range(20, 30), keep_nodes=True)
    assert prune_pins(part, exponent=0.5) == whole


def test_huge_and_tiny_topics_are_distributions_too():
    graph, topics = two_worlds()
    expected = prune_boards(graph, drop_share=0.34, topics=topics)
    for scale in (1e308, 1e-308, 5e-324):
        scaled = np.where(topics > 0, scale, 0)
        assert prune_boards(graph, drop_share=0.34, topics=scaled) == expected
    full = np.full((8, 3), 1e308)
    assert prune_pins(graph, exponent=0.5, topics=full).num_edges == 16


# Bad input.


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, math.inf, "0.5", None, True])
def test_a_share_out_of_range_is_refused(value):
    with pytest.raises(PinGraphError, match=f"^drop_share is {value!r}; .* from 0 to 1"):
        prune_boards(two_worlds()[0], drop_share=value)


@pytest.mark.parametrize("value", [0, -0.5, 1.1, math.nan, "1", None, True])
def test_an_exponent_out_of_range_is_refused(value):
    with pytest.raises(PinGraphError, match=f"^exponent is {value!r}; .* above 0, at most 1"):
        prune_pins(two_worlds()[0], exponent=value)


@pytest.mark.parametrize("value", [-1, 2**64, 0.5, None, True])
def test_a_random_seed_out_of_range_is_refused(value):
    with pytest.raises(PinGraphError, match=f"^seed is {value}; "):
        prune_pins(two_worlds()[0], exponent=0.5, seed=value)


@pytest.mark.parametrize(
    "topics",
    [np.ones(8), np.ones((7, 2)), np.ones((2, 8)), np.ones((8, 0)), np.full((8, 2), "a"), 3.0],
)
def test_topics_of_another_shape_are_refused(topics):
    graph, _ = two_worlds()
    found = f"{np.asarray(topics).dtype}"
    for prune in (prune_boards, prune_pins):
        share = {"drop_share": 0.5} if prune is prune_boards else {"exponent": 0.5}
        with pytest.raises(PinGraphError, match=rf"^topics are {found} \[.*expected float \[8, "):
            prune(graph, topics=topics, **share)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1e-9])
def test_topics_that_are_no_distribution_are_refused(value):
    graph, topics = two_worlds()
    topics[5, 1] = value
    with pytest.raises(PinGraphError, match=rf"^topics\[5, 1\] is {value}; expected a finite"):
        prune_boards(graph, drop_share=0.5, topics=topics)
    with pytest.raises(PinGraphError, match=r"^topics\[5, 1\] is"):
        prune_pins(graph, exponent=0.5, topics=topics)


def test_topics_are_not_changed():
    graph, topics = two_worlds()
    topics *= 3
    before = topics.copy()
    prune_pins(graph, exponent=0.5, topics=topics)
    np.testing.assert_array_equal(topics, before)
