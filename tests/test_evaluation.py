"""Evaluation equals loops over sets of boards, and worlds with forced answers come out so."""

import json
import subprocess
import sys
import weakref
from dataclasses import replace

import numpy as np
import pytest

from pingraph import evaluation, relevance
from pingraph.datasets import open_dataset
from pingraph.errors import PinGraphError
from pingraph.evaluation import (
    compare,
    dot_scorer,
    evaluate_scorers,
    evaluate_table,
    table_scorers,
)
from pingraph.interfaces import EmbeddingTable
from pingraph.metrics import METRICS
from pingraph.ranking import figures, measured
from pingraph.relevance import board_task, retrieval_tasks
from pingraph.splits import BoardSplit, EdgeSplit, PinSplit, Split, TimeSplit
from pingraph.views import View

TASKS = ("pin_to_pin", "image_to_text", "text_to_image", "board_to_pins")
SPLITS = [PinSplit(0.3), EdgeSplit(0.3), BoardSplit(0.4), TimeSplit(0.3)]


def make_table(dataset, seed=0, **changes):
    """Random unit vectors, without ties but for zero vectors, where `changes` don't say other."""
    rng = np.random.default_rng(seed)
    width = next((vectors.shape[1] for vectors in changes.values()), 8)
    vectors = rng.normal(size=(3, dataset.num_pins, width)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    image, text, fused = vectors
    image[~dataset.has_image] = 0
    text[~dataset.has_text] = 0
    columns = {"image": image, "text": text, "fused": fused, **changes}
    return EmbeddingTable(
        pin_ids=dataset.pin_ids,
        has_image=dataset.has_image,
        has_text=dataset.has_text,
        **columns,
    )


def board_sets(graph, sizes):
    return [
        {board for board in graph.boards_of(pin).tolist() if sizes[board] <= relevance.BOARD_LIMIT}
        for pin in range(graph.num_pins)
    ]


def slow_case(dataset, split, task, query):
    """Who is relevant to a query, and who is a candidate, from sets."""
    pins, everyone = range(dataset.num_pins), set(range(dataset.num_pins))
    if task == "pin_to_pin":
        sizes = dataset.graph.board_degrees
        shared = board_sets(dataset.graph, sizes)
        known = board_sets(split.train_graph(dataset.graph), sizes)
        if split.kind == "pin":
            known = [set()] * dataset.num_pins
        left_out = {query} | {pin for pin in pins if known[pin] & known[query]}
        return {pin for pin in pins if shared[pin] & shared[query]} - left_out, everyone - left_out
    corpus = dataset.has_text if task == "image_to_text" else dataset.has_image
    candidates = {pin for pin in pins if corpus[pin]}
    same = {
        pin
        for pin in candidates
        if dataset.image_groups[pin] == dataset.image_groups[query]
        or dataset.text_groups[pin] == dataset.text_groups[query]
    }
    return same, candidates


def slow_recall_and_mrr(dataset, split, task, pins, table):
    left, right = {
        "pin_to_pin": (table.fused, table.fused),
        "image_to_text": (table.image, table.text),
        "text_to_image": (table.text, table.image),
    }[task]
    found = {}
    for query in pins.tolist():
        if task != "pin_to_pin" and not (dataset.has_image[query] and dataset.has_text[query]):
            continue
        relevant, candidates = slow_case(dataset, split, task, query)
        if relevant:
            scores = right @ left[query]
            ranked = sorted(candidates, key=lambda pin: -scores[pin])
            hits = [pin in relevant for pin in ranked]
            recall = sum(hits[:10]) / min(10, len(relevant))
            found[query] = (recall, 1 / (hits.index(True) + 1))
    return found


@pytest.mark.parametrize("splitter", SPLITS, ids=lambda splitter: type(splitter).__name__)
@pytest.mark.parametrize("limit", [200, 9])
def test_equal_to_loops(tiny, splitter, limit, monkeypatch):
    monkeypatch.setattr(relevance, "BOARD_LIMIT", limit)
    split, table = splitter.split(tiny), make_table(tiny)
    done = evaluate_table(table, tiny, split)
    pins = {"cold": split.cold_pins(tiny.graph), "warm": split.warm_pins(tiny.graph)}
    for part in ("cold", "warm"):
        for task in TASKS[:3]:
            result = getattr(done, part)[task]
            expected = slow_recall_and_mrr(tiny, split, task, pins[part], table)
            assert result.queries.tolist() == list(expected)
            for place, metric in enumerate(("recall@10", "mrr")):
                values = result.values[:, METRICS.index(metric)]
                wanted = [pair[place] for pair in expected.values()]
                assert values == pytest.approx(wanted), (part, task, metric)


def members(graph):
    return [set(graph.pins_of(board).tolist()) for board in range(graph.num_boards)]


@pytest.mark.parametrize("splitter", SPLITS, ids=lambda splitter: type(splitter).__name__)
@pytest.mark.parametrize("limit", [200, 9])
def test_boards_equal_a_loop(tiny, splitter, limit, monkeypatch):
    monkeypatch.setattr(relevance, "BOARD_LIMIT", limit)
    split, table = splitter.split(tiny), make_table(tiny)
    done = evaluate_table(table, tiny, split)
    whole, trained = members(tiny.graph), members(split.train_graph(tiny.graph))
    pins = {"cold": split.cold_pins(tiny.graph), "warm": split.warm_pins(tiny.graph)}
    for part in ("cold", "warm"):
        expected, asked = {}, 0
        for board, known in enumerate(trained):
            if not known or len(whole[board]) > limit:
                continue
            asked += 1
            relevant = (whole[board] - known) & set(pins[part].tolist())
            scores = table.fused @ table.fused[sorted(known)].mean(axis=0)
            candidates = set(range(tiny.num_pins)) - (whole[board] - relevant)
            ranked = sorted(candidates, key=lambda pin: -scores[pin])
            places = [place for place, pin in enumerate(ranked) if pin in relevant]
            if places:
                recall = sum(place < 10 for place in places) / min(10, len(relevant))
                expected[board] = (recall, 1 / (places[0] + 1))
        result = getattr(done, part)["board_to_pins"]
        assert result.queries.tolist() == list(expected)
        assert result.without_relevant == asked - len(expected)
        for place, metric in enumerate(("recall@10", "mrr")):
            values = result.values[:, METRICS.index(metric)]
            assert values == pytest.approx([pair[place] for pair in expected.values()])
        if expected:
            assert result.board_means() == pytest.approx(result.values)


def test_weights_of_edges_do_not_count(write_folder):
    ids = list(range(12))
    dataset = open_dataset(
        write_folder(
            pins={"pin_id": ids, "text": [str(pin) for pin in ids]},
            boards={"board_id": [0, 1], "title": ["even", "odd"]},
            edges={
                "pin_id": ids,
                "board_id": [pin % 2 for pin in ids],
                "weight": np.arange(1, 13, dtype=np.float32) ** 4,
            },
        )
    )
    table = make_table(dataset)
    scorers = table_scorers(table, dataset, hold_out(dataset, dataset.pin_ids[:4]))
    sums = np.stack([table.fused[4::2].sum(axis=0), table.fused[5::2].sum(axis=0)])
    found = scorers["board_to_pins"](np.arange(2))
    assert found == pytest.approx(sums @ table.fused.T, abs=1e-5)


@pytest.mark.parametrize("splitter", SPLITS, ids=lambda splitter: type(splitter).__name__)
def test_means_over_boards_equal_a_loop(tiny, splitter):
    """A query counts for the boards that it shares with someone relevant."""
    split = splitter.split(tiny)
    done = evaluate_table(make_table(tiny), tiny, split)
    boards = board_sets(tiny.graph, tiny.graph.board_degrees)
    for part in ("cold", "warm"):
        for task in TASKS[:3]:
            result = getattr(done, part)[task]
            values = {}
            for query, row in zip(result.queries.tolist(), result.values, strict=True):
                relevant, _ = slow_case(tiny, split, task, query)
                for board in set().union(*(boards[query] & boards[pin] for pin in relevant)):
                    values.setdefault(board, []).append(row)
            expected = [np.mean(values[board], axis=0) for board in sorted(values)]
            assert len(result.board_means()) == len(expected)
            if expected:
                assert result.board_means() == pytest.approx(np.array(expected))
            told = result.to_dict(seed=0)
            assert told["boards"] == len(expected)
            if expected:
                macro = told["mrr"]["macro"]["value"]
                assert macro == pytest.approx(np.mean(expected, axis=0)[METRICS.index("mrr")])


def test_a_board_with_many_queries_counts_once_in_the_mean_over_boards(write_folder):
    """Board 0 has 8 pins that all find each other, board 1 two that find nobody first."""
    ids = list(range(10))
    dataset = open_dataset(
        write_folder(
            pins={"pin_id": ids, "text": [str(pin) for pin in ids]},
            boards={"board_id": [0, 1], "title": ["many", "few"]},
            edges={"pin_id": ids, "board_id": [0] * 8 + [1] * 2},
        )
    )
    fused = np.zeros((10, 2), np.float32)
    fused[:8] = [1, 0]
    fused[8:] = [[0.6, 0.8], [0.6, -0.8]]  # −0.28 from each other, 0.6 from all the rest
    split = hold_out(dataset, dataset.pin_ids[:1])
    done = evaluate_table(make_table(dataset, fused=fused), dataset, split).warm["pin_to_pin"]
    found = done.to_dict(seed=0)["recall@1"]
    assert found["value"] == pytest.approx(7 / 9)
    assert found["macro"]["value"] == pytest.approx(1 / 2)


def test_counts_add_up(tiny):
    split = PinSplit(0.3).split(tiny)
    done = evaluate_table(make_table(tiny), tiny, split)
    cold = done.cold["pin_to_pin"]
    assert cold.available + cold.without_relevant == len(split.cold_pins(tiny.graph))
    assert cold.corpus == tiny.num_pins
    assert done.cold["image_to_text"].corpus == tiny.has_text.sum()
    assert done.warm["text_to_image"].corpus == tiny.has_image.sum()


def two_boards(write_folder, count=24, **columns):
    """Even pins on one board, odd ones on another; the last six are cold by hand."""
    ids = [f"p{pin}" for pin in range(count)]
    pins = {"pin_id": ids, "text": [f"text {pin}" for pin in range(count)], **columns}
    boards = {"board_id": [0, 1], "title": ["even", "odd"]}
    edges = {"pin_id": ids, "board_id": [pin % 2 for pin in range(count)]}
    dataset = open_dataset(write_folder(pins=pins, boards=boards, edges=edges))
    return dataset, hold_out(dataset, ids[-6:])


def hold_out(dataset, pin_ids):
    """A split by pin, of pins that are named."""
    cold = dataset.graph.pin_index(pin_ids)
    pins, _ = dataset.graph.edges()
    return Split(
        kind="pin",
        seed=0,
        parameters={},
        fingerprint=dataset.graph.fingerprint(),
        train_edges=~np.isin(pins, cold),
        train_pins=np.setdiff1d(np.arange(dataset.num_pins), cold),
    )


def test_forced_answers(write_folder):
    dataset, split = two_boards(write_folder)
    sides = np.eye(2, dtype=np.float32)[np.arange(24) % 2]
    right = evaluate_table(make_table(dataset, fused=sides), dataset, split)
    assert right.cold["pin_to_pin"].values == pytest.approx(np.ones((6, len(METRICS))))
    scorers = {"pin_to_pin": lambda queries: -(sides[queries] @ sides.T)}
    backwards = evaluate_scorers(scorers, dataset, split).warm["pin_to_pin"].values
    # 12 strangers first, then 11 mates: the first is 13th, and all are in the top 100.
    row = [0, 0, 1, 0, 1 / 13, sum(hit / (12 + hit) for hit in range(1, 12)) / 11, 0]
    assert np.unique(backwards, axis=0) == pytest.approx(np.array([row]))


def test_a_query_never_finds_itself(write_folder):
    dataset, split = two_boards(write_folder)
    apart = np.eye(24, dtype=np.float32)  # nobody is like anybody else
    apart[22], apart[20] = apart[23], apart[23]  # save 20, 22 and 23
    values = evaluate_table(make_table(dataset, fused=apart), dataset, split).cold["pin_to_pin"]
    by_pin = dict(zip(values.queries.tolist(), values.values, strict=True))
    # 22 has 20 (a mate) and 23 (a stranger) at the same distance, and itself is no candidate.
    assert by_pin[22][METRICS.index("mrr")] in (1, 1 / 2)
    assert by_pin[23][METRICS.index("mrr")] <= 1 / 3


@pytest.mark.parametrize("width", [1, 8, 37, 64])
@pytest.mark.parametrize("count", [60, 400])
def test_vectors_that_are_all_alike_score_as_chance(write_folder, count, width):
    dataset, split = two_boards(write_folder, count=count)
    one = np.random.default_rng(0).normal(size=width).astype(np.float32)
    found = []
    for flat in (np.zeros((count, width), np.float32), np.tile(one, (count, 1))):
        done = evaluate_table(make_table(dataset, fused=flat), dataset, split)
        found.append(done.warm["pin_to_pin"].values)
    np.testing.assert_array_equal(*found)
    recall = found[1][:, METRICS.index("recall@10")]
    expected = (count / 2 - 1) / (count - 1)
    assert abs(recall.mean() - expected) < 4.5 * recall.std() / np.sqrt(len(recall))


@pytest.mark.parametrize("width", [1, 8, 37, 64])
def test_equal_vectors_get_equal_scores_wherever_they_stand(width, monkeypatch):
    monkeypatch.setattr(evaluation, "_ROWS", 50)
    rng = np.random.default_rng(width)
    kinds = rng.integers(30, size=403)
    vectors = rng.normal(size=(30, width)).astype(np.float32)
    vectors[0], vectors[1, 0] = 0, 0
    table = vectors[kinds]
    table[kinds == 1, 0] *= rng.choice([-1, 1], (kinds == 1).sum())  # -0 and 0 are equal
    scores = dot_scorer(table, table.__getitem__)(np.arange(403))
    for kind in range(30):
        of_kind = scores[:, kinds == kind]
        assert (of_kind == of_kind[:, :1]).all()
    there = np.flatnonzero(table.any(axis=1))
    np.testing.assert_allclose(scores[:, there], table @ table[there].T, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("block", [1, 7])
def test_blocks_change_nothing(tiny, block, monkeypatch):
    # Halves and quarters add up without rounding, so the sums cannot depend on the blocks.
    rng = np.random.default_rng(0)
    exact = {
        name: rng.integers(-2, 3, size=(tiny.num_pins, 4)).astype(np.float32) / 4
        for name in ("image", "text", "fused")
    }
    table, split = make_table(tiny, **exact), EdgeSplit(0.3).split(tiny)
    whole = evaluate_table(table, tiny, split).to_dict()
    monkeypatch.setattr(relevance, "BLOCK_SCORES", block * tiny.num_pins)
    assert len(next(retrieval_tasks(tiny, split)[0].blocks(np.arange(9)))) == block
    assert evaluate_table(table, tiny, split).to_dict() == whole


def test_the_order_of_pins_changes_nothing(write_folder, tiny):
    import pyarrow.parquet as pq

    tables = {
        name: pq.read_table(tiny.folder / f"{name}.parquet") for name in ("pins", "boards", "edges")
    }
    order = np.random.default_rng(0).permutation(tiny.num_pins)
    other = open_dataset(write_folder(**{**tables, "pins": tables["pins"].take(order)}))
    cold = tiny.pin_ids[PinSplit(0.3).split(tiny).cold_pins(tiny.graph)]
    table = make_table(tiny)
    columns = {name: getattr(table, name)[order] for name in ("image", "text", "fused")}
    one = evaluate_table(table, tiny, hold_out(tiny, cold))
    two = evaluate_table(make_table(other, **columns), other, hold_out(other, cold))
    for part in ("cold", "warm"):
        for task in TASKS:
            a, b = getattr(one, part)[task], getattr(two, part)[task]
            assert len(a.queries) == len(b.queries)
            assert a.values.sum(axis=0) == pytest.approx(b.values.sum(axis=0))


def test_texts_of_twins_count_as_found(write_folder):
    from PIL import Image

    from pingraph.images import encode_png

    red, blue = (encode_png(Image.new("RGB", (4, 4), color)) for color in ("red", "blue"))
    dataset, split = two_boards(
        write_folder,
        count=8,
        image=[red, red, blue, None, None, None, None, blue],
        text=["a", "b", "a", "c", None, "d", "e", None],
    )
    tasks = {task.name: task for task in retrieval_tasks(dataset, split)}
    # Pin 0 shares its picture with 1 and its text with 2; 7 shares 2's picture, but has no text.
    for task, pin, expected in (
        ("image_to_text", 0, [0, 1, 2]),
        ("image_to_text", 2, [0, 2]),
        ("text_to_image", 0, [0, 1, 2]),
        ("text_to_image", 2, [0, 2, 7]),
    ):
        found, excluded = tasks[task].judge(np.array([pin]))
        assert sorted(found.indices.tolist()) == expected
        assert excluded.nnz == 0
    assert np.flatnonzero(tasks["image_to_text"].askable).tolist() == [0, 1, 2]


def test_pairs_known_from_training_are_no_candidates(write_folder):
    """p0 and p1 share board 0 in training; p0 and p2 share board 1, where p0's edge is held out."""
    pins = {"pin_id": ["p0", "p1", "p2", "p3"], "text": list("abcd")}
    boards = {"board_id": [0, 1], "title": ["x", "y"]}
    edges = {"pin_id": ["p0", "p0", "p1", "p2", "p3"], "board_id": [0, 1, 0, 1, 1]}
    dataset = open_dataset(write_folder(pins=pins, boards=boards, edges=edges))
    graph = dataset.graph
    split = Split(
        kind="edge",
        seed=0,
        parameters={},
        fingerprint=graph.fingerprint(),
        train_edges=np.array([True, False, True, True, True]),
        train_pins=np.arange(4),
    )
    relevant, excluded = retrieval_tasks(dataset, split)[0].judge(np.arange(4))
    assert relevant.toarray().astype(int).tolist() == [
        [0, 0, 1, 1],
        [0, 0, 0, 0],
        [1, 0, 0, 0],
        [1, 0, 0, 0],
    ]
    assert excluded.toarray().astype(int).tolist() == [
        [1, 1, 0, 0],
        [1, 1, 0, 0],
        [0, 0, 1, 1],
        [0, 0, 1, 1],
    ]
    # p0 is nearest to p1, which is known: its first candidate is p2 or p3, both right.
    close = np.eye(4, dtype=np.float32)
    close[1] = close[0]
    done = evaluate_table(make_table(dataset, fused=close), dataset, split).warm["pin_to_pin"]
    assert done.queries.tolist() == [0, 2, 3]
    assert done.without_relevant == 1
    assert done.values[0] == pytest.approx(1)


def test_many_queries_are_drawn_once_for_all(tiny):
    split = PinSplit(0.3).split(tiny)
    few = evaluate_table(make_table(tiny), tiny, split, max_queries=7, seed=3)
    other = evaluate_table(make_table(tiny, seed=1), tiny, split, max_queries=7, seed=3)
    whole = evaluate_table(make_table(tiny), tiny, split)
    result, every = few.warm["pin_to_pin"], whole.warm["pin_to_pin"]
    assert result.to_dict(seed=0)["queries"] == 7
    assert result.available == every.available == len(every.queries)
    assert np.array_equal(result.queries, other.warm["pin_to_pin"].queries)
    rows = np.searchsorted(every.queries, result.queries)
    assert np.array_equal(result.values, every.values[rows])
    again = evaluate_table(make_table(tiny), tiny, split, max_queries=7, seed=4)
    assert not np.array_equal(result.queries, again.warm["pin_to_pin"].queries)


def test_metrics_json(tiny):
    split = PinSplit(0.3).split(tiny)
    written = evaluate_table(make_table(tiny), tiny, split).to_dict()
    assert json.loads(json.dumps(written, allow_nan=False)) == written
    assert written["format"] == "pingraph.metrics"
    assert written["split"] == {"kind": "pin", "seed": 0, "fraction": 0.3}
    assert set(written["cold"]) == set(written["warm"]) == set(TASKS)
    for metric in METRICS:
        entry = written["cold"]["pin_to_pin"][metric]
        low, high = entry["ci95"]
        assert 0 <= low <= entry["value"] <= high <= 1


def test_a_few_queries_that_all_hit_do_not_promise_that_all_would():
    found = figures(np.ones((8, len(METRICS))), seed=0)
    assert found["recall@10"] == {"value": 1, "ci95": [pytest.approx(0.631, abs=5e-4), 1]}
    assert measured(np.zeros((8, 1)), seed=0)[0]["ci95"] == [0, 0]  # may be of any values


def test_what_does_not_exist_is_null(write_folder):
    dataset, split = two_boards(write_folder)  # no images
    written = evaluate_table(make_table(dataset), dataset, split).to_dict()
    assert written["cold"]["image_to_text"] is None
    assert written["warm"]["text_to_image"] is None
    alone = hold_out(dataset, dataset.pin_ids[:0])  # nobody is cold
    written = evaluate_table(make_table(dataset), dataset, alone).to_dict()
    assert written["cold"]["pin_to_pin"]["queries"] == 0
    nothing = {"value": None, "ci95": None}
    assert written["cold"]["pin_to_pin"]["mrr"] == {**nothing, "macro": nothing}
    json.dumps(written, allow_nan=False)


@pytest.mark.parametrize("name", ["image", "text", "fused"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_vector_that_is_not_finite_names_its_pin(tiny, name, bad):
    table = make_table(tiny)
    getattr(table, name)[5, 2] = bad
    with pytest.raises(PinGraphError, match=rf"{name} vector of {tiny.pin_ids[5].item()!r}"):
        evaluate_table(table, tiny, PinSplit().split(tiny))


def test_a_score_that_is_not_finite_names_its_pin(tiny):
    split = PinSplit().split(tiny)
    pin = split.warm_pins(tiny.graph)[3]

    def scorer(queries):
        scores = np.zeros((len(queries), tiny.num_pins), np.float32)
        scores[queries == pin, 1] = np.nan
        return scores

    with pytest.raises(PinGraphError, match=rf"score of pin {tiny.pin_ids[pin].item()!r}"):
        evaluate_scorers({"pin_to_pin": scorer}, tiny, split)


def test_a_score_may_be_as_low_as_float32_goes(tiny):
    split = PinSplit().split(tiny)
    low = np.finfo(np.float32).min

    def scorer(queries):
        scores = np.full((len(queries), tiny.num_pins), low)
        scores[:, ::2] = 0
        return scores

    found = evaluate_scorers({"pin_to_pin": scorer}, tiny, split)
    assert found.warm["pin_to_pin"] is not None


def test_who_may_be_asked_does_not_depend_on_how_many_pairs_are_held(tiny, monkeypatch):
    split = PinSplit().split(tiny)
    tasks = [*retrieval_tasks(tiny, split), board_task(tiny, split, split.cold_pins(tiny.graph))]
    for task in tasks:
        asked = np.arange(len(task.askable))
        most = task.most_relevant(asked)
        found = np.diff(task.judge(asked)[0].indptr)
        assert (found <= most).all()
        monkeypatch.setattr("pingraph.relevance._JUDGED", 10**9)
        whole = task.answerable(asked)
        assert whole.tolist() == np.flatnonzero(task.askable & (found > 0)).tolist()
        for pairs in (1, 7):
            monkeypatch.setattr("pingraph.relevance._JUDGED", pairs)
            assert np.array_equal(task.answerable(asked), whole)
        assert len(task.answerable(asked[:0])) == 0


def test_a_board_is_not_asked_for_pins_that_are_no_candidates(tiny):
    split = PinSplit().split(tiny)
    cold = split.cold_pins(tiny.graph)
    task = board_task(tiny, split, cold)
    corpus = task.corpus.copy()
    corpus[cold[::2]] = False
    relevant = replace(task, corpus=corpus).judge(np.arange(tiny.graph.num_boards))[0].toarray()
    whole = task.judge(np.arange(tiny.graph.num_boards))[0].toarray()
    assert whole[:, cold[::2]].any()
    assert np.array_equal(relevant, whole * corpus)


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        (lambda scores: scores[:, :5], r"float32 \[\d+, 5\]"),
        (lambda scores: scores.T, r"float32 \[60, \d+\]"),
        (lambda scores: scores[0], r"float32 \[60\]"),
        (lambda scores: scores.astype(int), r"int64 \[\d+, 60\]"),
        (lambda scores: scores.tolist(), "list"),
    ],
)
def test_scores_of_another_form_name_the_task(tiny, wrong, found):
    split = PinSplit(fraction=0.2, seed=0).split(tiny)
    scorers = {"pin_to_pin": lambda pins: wrong(np.zeros((len(pins), 60), np.float32))}
    words = rf"tiny: the scorer of pin_to_pin returned {found}: expected .* float32 \[\d+, 60\]"
    with pytest.raises(PinGraphError, match=words):
        evaluate_scorers(scorers, tiny, split)


def test_stored_forms_of_one_kind_are_held_at_a_time(tiny, monkeypatch):
    held, made = [], []

    def as_served(vectors, view):
        served = vectors.copy()
        if len(vectors) == tiny.num_pins:
            made.append(sum(one() is not None for one in held))
            held.append(weakref.ref(served))
        return served

    monkeypatch.setattr(evaluation, "as_served", as_served)
    split = PinSplit(fraction=0.2, seed=0).split(tiny)
    scorers = table_scorers(make_table(tiny), tiny, split, View(code="int8"))
    for task in (*scorers, *scorers):
        scorers[task](np.arange(3))
    assert len(made) > 3
    assert not any(made)
    del scorers
    assert not any(one() is not None for one in held)


def test_a_scorer_of_an_unknown_task_is_refused(tiny):
    scorers = {"pin_to_pin": np.zeros, "pin_to_pni": np.zeros}
    words = "scorer of 'pin_to_pni': expected one of pin_to_pin, image_to_text, text_to_image, boa"
    with pytest.raises(PinGraphError, match=words):
        evaluate_scorers(scorers, tiny, PinSplit().split(tiny))


def test_embeddings_and_splits_of_other_data_are_refused(tiny, write_folder):
    dataset, split = two_boards(write_folder)
    with pytest.raises(PinGraphError, match="other pins"):
        evaluate_table(make_table(dataset), tiny, PinSplit().split(tiny))
    with pytest.raises(PinGraphError, match="another data set"):
        evaluate_table(make_table(tiny), tiny, split)


def test_comparison_has_the_promised_form(tiny):
    split = PinSplit(0.3).split(tiny)
    one, two, words = (evaluate_table(make_table(tiny, seed), tiny, split) for seed in range(3))
    words.cold["image_to_text"] = None
    made = compare(one, two, {"tf_idf": words}, seed=5)
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    assert list(made) == ["data", "seed", "cold", "warm"]
    assert (made["data"], made["seed"]) == (tiny.name, 5)
    for part in ("cold", "warm"):
        assert tuple(made[part]) == TASKS
        for task in TASKS:
            assert tuple(made[part][task]) == METRICS
            for metric, entry in made[part][task].items():
                values = one.to_dict()[part][task][metric], two.to_dict()[part][task][metric]
                assert entry["image_text"] == pytest.approx(values[0]["value"])
                assert entry["joint"] == pytest.approx(values[1]["value"])
                if entry["lift"] is not None:
                    lift = entry["joint"] / entry["image_text"] - 1
                    assert entry["lift"] == pytest.approx(lift, abs=1e-12)
                if entry["ci95"] is not None:
                    assert entry["ci95"][0] <= entry["lift"] <= entry["ci95"][1]
    assert made["cold"]["image_to_text"]["mrr"]["tf_idf"] is None
    assert made["cold"]["pin_to_pin"]["mrr"]["tf_idf"] is not None


def test_a_method_against_itself_has_no_lift(tiny):
    split = PinSplit(0.3).split(tiny)
    made = compare(
        evaluate_table(make_table(tiny), tiny, split),
        evaluate_table(make_table(tiny), tiny, split),
        {},
        seed=0,
    )
    entries = [
        entry
        for part in ("cold", "warm")
        for task in made[part].values()
        for entry in task.values()
    ]
    assert all(entry["lift"] in (0, None) for entry in entries)
    assert all(entry["ci95"] in ([0, 0], None) for entry in entries)
    assert made["warm"]["pin_to_pin"]["mrr"]["ci95"] == [0, 0]


def test_a_comparison_of_different_queries_is_refused(tiny):
    split = PinSplit(0.3).split(tiny)
    one = evaluate_table(make_table(tiny), tiny, split, max_queries=5)
    two = evaluate_table(make_table(tiny), tiny, split, max_queries=6)
    with pytest.raises(PinGraphError, match="'joint' answered different queries"):
        compare(one, two, {}, seed=0)


def test_scores_are_dot_products(tiny):
    table = make_table(tiny)
    scorers = table_scorers(table, tiny, PinSplit(0.3).split(tiny))
    for task, left, right in (
        ("pin_to_pin", table.fused, table.fused),
        ("image_to_text", table.image, table.text),
        ("text_to_image", table.text, table.image),
    ):
        assert scorers[task](np.array([3]))[0, 9] == pytest.approx(left[3] @ right[9], abs=1e-6)


def test_evaluation_imports_no_training_code():
    code = (
        "import sys, pingraph.evaluation, pingraph.baselines, pingraph.grid, pingraph.results;"
        "import pingraph.popularity, pingraph.compatibility, pingraph.significance;"
        "import pingraph.served, pingraph.approximate;"
        "heavy = {'torch', 'lightning', 'sklearn', 'matplotlib', 'faiss', 'pingraph.data',"
        " 'pingraph.module'} & set(sys.modules); sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
