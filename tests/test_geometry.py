"""The shape of an embedding: equal to libraries and to written-out sums; forced where it can be."""

import itertools

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist
from sklearn.metrics.pairwise import cosine_similarity

from pingraph import geometry as module
from pingraph.errors import PinGraphError
from pingraph.geometry import board_spreads, geometry, hubness, unit_rows
from pingraph.graph import PinBoardGraph
from pingraph.interfaces import EmbeddingTable
from pingraph.knn import Knn, nearest_neighbors


def table_of(fused, image=None, text=None):
    fused = np.asarray(fused, np.float32)
    image = np.zeros_like(fused) if image is None else np.asarray(image, np.float32)
    text = np.zeros_like(fused) if text is None else np.asarray(text, np.float32)
    return EmbeddingTable(
        pin_ids=np.arange(len(fused)),
        image=image,
        text=text,
        fused=fused,
        has_image=image.any(axis=1),
        has_text=text.any(axis=1),
    )


def graph_of(pins, boards, count):
    return PinBoardGraph.from_edges(np.array(pins), np.array(boards), pin_ids=np.arange(count))


def random_graph(rng, count, boards, edges):
    return graph_of(rng.integers(count, size=edges), rng.integers(boards, size=edges), count)


def measure(table, graph, k=5, **options):
    return geometry(table, graph, nearest_neighbors(table.fused, k), **options)


def slow_alignment(vectors, graph):
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    apart = []
    for board in range(graph.num_boards):
        pins = graph.pins_of(board)
        if len(pins) <= 200:
            pairs = itertools.combinations(pins, 2)
            apart += [((vectors[i] - vectors[j]) ** 2).sum() for i, j in pairs]
    return np.mean(apart)


def random_case(seed=0, count=300, width=8):
    rng = np.random.default_rng(seed)
    vectors = (rng.normal(size=(count, width)) + 0.3) * rng.uniform(0.1, 9, (count, 1))
    return vectors.astype(np.float32), random_graph(rng, count, 40, 900)


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_libraries_and_the_papers(seed):
    vectors, graph = random_case(seed)
    unit = vectors / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    found = measure(table_of(vectors), graph)
    distances = torch.pdist(torch.tensor(unit))
    assert found["uniformity"] == pytest.approx(
        distances.square().mul(-2).exp().mean().log().item(), rel=1e-5
    )
    assert found["alignment"] == pytest.approx(slow_alignment(unit, graph), rel=1e-6)
    values = scipy.linalg.svdvals(unit)
    entropy = scipy.stats.entropy(values / values.sum())
    assert found["effective_rank"] == pytest.approx(np.exp(entropy), rel=1e-4)
    cosines = cosine_similarity(unit)
    off_diagonal = cosines[~np.eye(len(unit), dtype=bool)]
    assert found["anisotropy"] == pytest.approx(off_diagonal.mean(), rel=1e-4)


def test_blocks_change_nothing(monkeypatch):
    vectors, graph = random_case(count=5000)
    whole = measure(table_of(vectors, vectors, -vectors), graph)
    blocks = module.product_blocks
    monkeypatch.setattr(module, "_ROWS", 701)
    monkeypatch.setattr(module, "product_blocks", lambda unit: blocks(unit, block=333))
    cut = measure(table_of(vectors, vectors, -vectors), graph)
    assert whole == pytest.approx(cut, rel=1e-6)
    unit, _ = unit_rows(vectors)
    assert whole["uniformity"] == pytest.approx(
        np.log(np.exp(-2 * pdist(unit, "sqeuclidean")).mean()), rel=1e-5
    )


@given(st.lists(st.lists(st.integers(0, 6), min_size=3, max_size=3), min_size=7, max_size=7))
@settings(deadline=None, max_examples=60)
def test_hubness_equals_scipy_and_loops(lists):
    ids = np.array(lists, np.int32)
    knn = Knn(queries=np.arange(7), ids=ids, scores=np.zeros(ids.shape, np.float32))
    found = hubness(knn, np.ones(7, bool))
    counts = [sum(row.count(pin) for row in lists) for pin in range(7)]
    if len(set(counts)) > 1:
        assert found["hubness_skew"] == pytest.approx(scipy.stats.skew(counts))
    else:
        assert np.isnan(found["hubness_skew"])
    given_away = sum(max(0, count - 3) for count in counts)
    assert found["robin_hood"] == pytest.approx(given_away / 21)
    assert found["anti_hubs"] == pytest.approx(counts.count(0) / 7)
    assert found["largest_hub"] == pytest.approx(max(counts) / 7)


def test_a_star_has_one_hub():
    vectors = np.eye(6, 5, dtype=np.float32)
    vectors[5] = 1  # between all the others, which are at right angles
    found = measure(table_of(vectors), graph_of([0, 1], [0, 0], 6), k=1)
    assert found["largest_hub"] == pytest.approx(5 / 6)  # all but its own
    assert found["anti_hubs"] == pytest.approx(4 / 6)  # it finds one of them
    assert found["robin_hood"] == pytest.approx(4 / 6)


def test_forced_answers():
    # Two boards of pins that are alike, at right angles to each other.
    vectors = np.repeat(np.eye(2, 3, dtype=np.float32), 4, axis=0)
    graph = graph_of(range(8), [0] * 4 + [1] * 4, 8)
    found = measure(table_of(vectors, vectors, -vectors), graph, k=3)
    assert found["alignment"] == 0
    assert found["effective_rank"] == pytest.approx(2, abs=1e-4)
    assert found["uniformity"] == pytest.approx(np.log((12 + 16 * np.exp(-4)) / 28))
    assert found["anisotropy"] == pytest.approx(12 / 28)
    assert found["modality_gap"] == pytest.approx(2 * np.sqrt(0.5))
    assert np.isnan(found["hubness_skew"])  # everybody is found three times
    assert found["robin_hood"] == 0


@given(st.integers(0, 2**32), st.floats(1e-20, 1e18))
@settings(deadline=None, max_examples=25)
def test_length_rotation_and_zero_vectors_change_nothing(seed, length):
    rng = np.random.default_rng(seed)
    count = 40
    graph = random_graph(rng, count, 8, 80)
    vectors = rng.normal(size=(count, 4))
    turned = vectors @ scipy.stats.ortho_group(4, seed=1).rvs()
    padded = np.vstack([turned * length, np.zeros((5, 4))])
    pins, boards = graph.edges()  # the zero vectors are on boards as well
    wide = graph_of([*pins, *range(40, 45)], [*boards, 0, 0, 1, 2, 3], 45)
    # Among the 30 nearest of 40 are some with a score below the 0 of a zero vector.
    one, two = (measure(table_of(v, v), g, k=30) for v, g in ((vectors, graph), (padded, wide)))
    assert two.pop("pins") == 45
    assert two.pop("zero_vectors") == 5
    assert one.pop("zero_vectors") == 0
    assert one.pop("pins") == 40
    assert two == pytest.approx(one, rel=1e-4, abs=1e-5, nan_ok=True)
    assert 0 <= one["alignment"] <= 4
    assert one["effective_rank"] <= 4 + 1e-4


def test_large_boards_have_no_part_in_alignment():
    vectors, _ = random_case(count=203)
    pins, boards = [0, 1, *range(2, 203)], [0, 0] + [1] * 201
    graph = graph_of(pins, boards, 203)
    unit, rows = unit_rows(vectors)
    found = measure(table_of(vectors), graph)
    assert found["alignment"] == pytest.approx(((unit[0] - unit[1]) ** 2).sum(), rel=1e-5)
    sizes, spreads = board_spreads(unit, rows, graph)
    assert sizes.tolist() == [2, 201]
    assert spreads[1] == pytest.approx(pdist(unit[2:], "sqeuclidean").sum(), rel=1e-5)


def test_the_gap_is_between_centers_of_what_is_there():
    image = np.float32([[2, 0], [0, 0], [0, 3]])
    text = np.float32([[0, 0], [-1, 0], [0, 0]])
    found = measure(table_of(np.ones((3, 2)), image, text), graph_of([0, 1], [0, 0], 3))
    assert found["modality_gap"] == pytest.approx(np.hypot(1.5, 0.5))


def test_a_sample_is_near_and_repeats():
    vectors, graph = random_case(count=3000)
    whole, one, two, other = (
        measure(table_of(vectors), graph, sample=sample, seed=seed)["uniformity"]
        for sample, seed in ((None, 0), (600, 0), (600, 0), (600, 1))
    )
    assert one == two != other
    assert one == pytest.approx(whole, abs=0.1)
    assert measure(table_of(vectors), graph, sample=3000)["uniformity"] == whole


def test_what_does_not_exist_is_nan():
    single = measure(table_of([[1, 2]]), graph_of([0], [0], 1))
    assert single["effective_rank"] == pytest.approx(1, abs=1e-4)
    del single["effective_rank"]
    assert {name for name, value in single.items() if not np.isnan(value)} == {
        "pins",
        "zero_vectors",
    }
    nobody = measure(table_of(np.zeros((4, 2))), graph_of([0, 1], [0, 0], 4))
    assert nobody.pop("zero_vectors") == nobody.pop("pins") == 4
    assert np.isnan(list(nobody.values())).all()
    alone = measure(table_of(np.eye(3)), graph_of([0, 1, 2], [0, 1, 2], 3))
    assert np.isnan(alone["alignment"])  # no board has two pins
    assert np.isnan(alone["modality_gap"])  # there are neither images nor texts


def test_bad_input_is_named():
    vectors, graph = random_case()
    broken = vectors.copy()
    broken[3, 1] = np.nan
    knn = nearest_neighbors(vectors, 2)
    with pytest.raises(PinGraphError, match="row 3: the fused vector of 3 is not finite"):
        geometry(table_of(broken), graph, knn)
    with pytest.raises(PinGraphError, match=r"other pins.*\(299 embeddings, 300 pins\)"):
        geometry(table_of(vectors[1:]), graph, knn)
    some = nearest_neighbors(vectors, 2, queries=np.arange(5))
    with pytest.raises(PinGraphError, match="are of 5 queries; expected all 300 pins"):
        geometry(table_of(vectors), graph, some)
    with pytest.raises(PinGraphError, match="sample is 1"):
        geometry(table_of(vectors), graph, knn, sample=1)
