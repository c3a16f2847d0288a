"""Walks between two pins equal sums over all walks, and held-out edges are never passed off."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pingraph import subject as subjects
from pingraph.datasets import open_dataset
from pingraph.errors import PinGraphError
from pingraph.explain import COMPARISONS, compare_vectors, explain
from pingraph.explain.nearest_boards import board_cosines
from pingraph.explain.text import print_explanation, sheets
from pingraph.explain.walk_paths import one_step, shared_boards, two_step_paths, two_steps, walks
from pingraph.graph import PinBoardGraph
from pingraph.interfaces import EmbeddingTable
from pingraph.queries import list_neighbors
from pingraph.splits import BoardSplit, EdgeSplit, NoSplit, PinSplit, TimeSplit
from pingraph.subject import Subject, board_sums
from tests.command_line import contents
from tests.table_cases import table_of_pins

SPLITS = [PinSplit(0.3), EdgeSplit(0.3), BoardSplit(0.4), TimeSplit(0.3), NoSplit()]


@st.composite
def graphs(draw):
    pins, boards = draw(st.integers(2, 9)), draw(st.integers(1, 7))
    pairs = st.tuples(st.integers(0, pins - 1), st.integers(0, boards - 1))
    edges = draw(st.lists(pairs, min_size=1, max_size=40))
    return PinBoardGraph.from_edges(
        [pin for pin, _ in edges],
        [board for _, board in edges],
        pin_ids=np.arange(pins),
        board_ids=np.arange(boards),
    )


def steps(graph, pin):
    """All traversals from a pin, and their chances."""
    for board in graph.boards_of(pin).tolist():
        for other in graph.pins_of(board).tolist():
            yield board, other, 1 / len(graph.boards_of(pin)) / len(graph.pins_of(board))


def two_step_walks(graph, one, other):
    return {
        (first, pin, second): chance * again
        for first, pin, chance in steps(graph, one)
        for second, end, again in steps(graph, pin)
        if end == other
    }


def transitions(graph):
    matrix = np.zeros((graph.num_pins, graph.num_pins))
    for pin in range(graph.num_pins):
        for _, other, chance in steps(graph, pin):
            matrix[pin, other] += chance
    return matrix


# ---- walks and paths ----


@given(graphs())
@settings(deadline=None, max_examples=60)
def test_one_and_two_steps_equal_sums_over_all_walks(graph):
    matrix = transitions(graph)
    for pin in range(graph.num_pins):
        np.testing.assert_allclose(one_step(graph, pin), matrix[pin], atol=1e-15)
        assert one_step(graph, pin).sum() == pytest.approx(float(graph.pin_degrees[pin] > 0))
    squared = matrix @ matrix
    for one, other in itertools.permutations(range(graph.num_pins), 2):
        assert two_steps(graph, one, other) == pytest.approx(squared[one, other], abs=1e-15)
        walked = two_step_walks(graph, one, other)
        assert sum(walked.values()) == pytest.approx(squared[one, other], abs=1e-15)
        shared = shared_boards(graph, one, other)
        both = {*graph.boards_of(one).tolist()} & {*graph.boards_of(other).tolist()}
        assert {step.board for step in shared} == both
        there = [step.chance.there for step in shared]
        assert there == sorted(there, reverse=True)
        assert sum(there) == pytest.approx(matrix[one, other], abs=1e-15)
        assert sum(step.chance.back for step in shared) == pytest.approx(matrix[other, one])


@given(graphs(), st.integers(1, 6))
@settings(deadline=None, max_examples=60)
def test_the_likeliest_paths_are_those_of_a_full_list(graph, count):
    for one, other in itertools.permutations(range(min(graph.num_pins, 5)), 2):
        walked = {
            path: chance
            for path, chance in two_step_walks(graph, one, other).items()
            if path[1] not in (one, other) and path[0] != path[2]
        }
        found = two_step_paths(graph, one, other, count)
        keys = [(path.boards[0], path.pin, path.boards[1]) for path in found]
        assert len(set(keys)) == len(keys) == min(count, len(walked))
        for key, path in zip(keys, found, strict=True):
            assert path.chance.there == pytest.approx(walked[key], rel=1e-12)
            back = two_step_walks(graph, other, one)[key[::-1]]
            assert path.chance.back == pytest.approx(back, rel=1e-12)
        best = sorted(walked.values(), reverse=True)[:count]
        assert [path.chance.there for path in found] == pytest.approx(best, rel=1e-12)
        order = [(-path.chance.there, path.pin, path.boards) for path in found]
        rounded = [(round(chance, 14), *rest) for chance, *rest in order]
        assert rounded == sorted(rounded)


@given(graphs(), st.sampled_from([0.2, 0.5, 0.9]))
@settings(deadline=None, max_examples=40)
def test_endless_walks_equal_the_series_and_their_parts_sum(graph, alpha):
    matrix = transitions(graph)
    ends = sum(alpha * (1 - alpha) ** t * np.linalg.matrix_power(matrix, t + 1) for t in range(200))
    for one, other in itertools.combinations(range(min(graph.num_pins, 4)), 2):
        for walk, (start, end) in zip(
            walks(graph, one, other, alpha), ((one, other), (other, one)), strict=True
        ):
            row = {pin: ends[start, pin] for pin in range(graph.num_pins) if pin != start}
            assert walk.chance == pytest.approx(row[end], abs=1e-10)
            assert sum(walk.parts) == pytest.approx(walk.chance, abs=1e-12)
            assert walk.parts[0] == pytest.approx(alpha * matrix[start, end], abs=1e-15)
            assert walk.reached == sum(chance > 0 for chance in row.values())
            ahead = sum(chance > row[end] * (1 + 1e-9) for chance in row.values())
            assert walk.place == (ahead + 1 if row[end] > 0 else None)


def test_a_drawn_graph():
    #  a ── X ── b        X holds a, b and m; Y holds m and c; a and c meet only by way of m
    #       │
    #       m ── Y ── c
    graph = PinBoardGraph.from_edges(["a", "b", "m", "m", "c"], ["X", "X", "X", "Y", "Y"])
    a, b, c, m = 0, 1, 2, 3
    (shared,) = shared_boards(graph, a, b)
    assert (shared.board, shared.chance) == (0, (1 / 3, 1 / 3))
    assert two_step_paths(graph, a, b, 5) == []  # X → m → X is the same board again
    (path,) = two_step_paths(graph, a, c, 5)
    assert (path.boards, path.pin) == ((0, 1), m)
    assert path.chance == pytest.approx((1 / 3 / 2 / 2, 1 / 2 / 2 / 3))
    assert two_steps(graph, a, b) == pytest.approx(2 / 9 + 1 / 3 / 2 / 3)
    there, back = walks(graph, a, b)
    assert there == back
    assert (there.place, there.reached) == (2, 3)  # m, on X too, is reached over Y as well


def test_paths_over_hubs_are_found_without_listing_all():
    """A pin that shares 300 boards with both ends has 90,000 paths; the best are found at once."""
    boards = np.arange(300)
    graph = PinBoardGraph.from_edges(
        np.concatenate([np.zeros(300, int), np.ones(300, int), np.full(300, 2)]),
        np.concatenate([boards, boards, boards]),
    )
    found = two_step_paths(graph, 0, 1, 3)
    assert [path.boards for path in found] == [(0, 1), (0, 2), (0, 3)]


# ---- vectors ----


def make_table(dataset, seed=0, levels=0):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(3, dataset.num_pins, 6))
    if levels:  # whole numbers: many ties, and no product depends on the order of its sums
        vectors = rng.integers(-levels, levels + 1, size=vectors.shape) + 0.0
    else:
        vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    image, text, fused = vectors.astype(np.float32)
    fused[rng.random(dataset.num_pins) < 0.1] = 0
    return table_of_pins(dataset, image, text, fused)


def make_subject(dataset, splitter=None, seed=0):
    return Subject(
        name="mine",
        dataset=dataset,
        split=(splitter or NoSplit()).split(dataset),
        run=None,
        notes=(),
        make_table=lambda: make_table(dataset, seed),
    )


@pytest.mark.parametrize("levels", [0, 1])
@pytest.mark.parametrize("kinds", COMPARISONS)
def test_places_equal_those_in_a_sorted_list(tiny, kinds, levels):
    table = make_table(tiny, levels=levels)
    left, right = (getattr(table, kind) for kind in kinds)
    for one, other in itertools.permutations(range(0, 60, 7), 2):
        found = compare_vectors(table, one, other)["_".join(kinds)]
        if not left[one].any() or not right[other].any():
            assert found is None
            continue
        lengths = np.linalg.norm(left[one]) * np.linalg.norm(right[other])
        expected = float(left[one] @ right[other] / lengths)
        assert found["cosine"] == pytest.approx(expected, abs=1e-6)
        for way, (query, vectors, asking, wanted) in enumerate(
            ((left[one], right, one, other), (right[other], left, other, one))
        ):
            ranked = [pin for pin in range(60) if vectors[pin].any() and pin != asking]
            scores = vectors @ query
            order = sorted(ranked, key=lambda pin: (-scores[pin], pin))
            assert found["place"][way] == 1 + order.index(wanted)
            assert found["of"][way] == len(ranked)


def test_equal_vectors_are_ties_wherever_they_stand():
    rng = np.random.default_rng(0)
    few, which = rng.normal(size=(7, 33)), rng.integers(7, size=61)
    vectors, present = few[which].astype(np.float32), np.ones(61, bool)
    table = EmbeddingTable(
        pin_ids=np.arange(61),
        **dict.fromkeys(("image", "text", "fused"), vectors),
        **dict.fromkeys(("has_image", "has_text"), present),
    )
    for one, other in itertools.permutations(range(61), 2):
        scores = (few @ few[which[one]])[which]
        order = sorted(set(range(61)) - {one}, key=lambda pin: (-scores[pin], pin))
        for found in compare_vectors(table, one, other).values():
            assert found["place"][0] == 1 + order.index(other)


@pytest.mark.parametrize("block", [1, 5, 100])
def test_boards_are_compared_by_the_mean_of_their_other_pins(tiny, monkeypatch, block):
    monkeypatch.setattr(subjects, "_BLOCK", block)
    table, pins = make_table(tiny), np.array([3, 11])
    sums = board_sums(table.fused, tiny.graph)
    cosines, counts = board_cosines(table.fused, tiny.graph, pins, sums)
    for board in range(tiny.graph.num_boards):
        others = [
            pin
            for pin in tiny.graph.pins_of(board).tolist()
            if pin not in pins and table.fused[pin].any()
        ]
        assert counts[board] == len(others)
        for at, pin in enumerate(pins):
            expected = 0.0
            if others:
                mean = table.fused[others].mean(axis=0)
                expected = float(mean @ table.fused[pin] / np.linalg.norm(mean))
            assert cosines[board, at] == pytest.approx(expected, abs=1e-6)


# ---- the whole explanation ----


@pytest.mark.parametrize("splitter", SPLITS, ids=lambda splitter: type(splitter).__name__)
def test_what_is_told_of_training_holds_nothing_held_out(tiny, splitter):
    subject = make_subject(tiny, splitter)
    whole, train = tiny.graph, subject.split.train_graph(tiny.graph)
    cold = {*subject.split.cold_pins(whole).tolist()}
    rng = np.random.default_rng(0)
    index = {board: at for at, board in enumerate(tiny.board_ids.tolist())}
    place = {pin: at for at, pin in enumerate(tiny.pin_ids.tolist())}
    for one, other in [rng.choice(60, 2, replace=False) for _ in range(12)]:
        found = explain(subject, tiny.pin_ids[one].item(), str(tiny.pin_ids[other]), top=4)
        assert json.loads(json.dumps(found, allow_nan=False)) == found
        views = {"training": train, "with_held_out": whole}
        assert found["graph"].keys() == (
            {"training"} if isinstance(splitter, NoSplit) else views.keys()
        )
        for name, view in found["graph"].items():
            graph = views[name]
            ends = {*graph.boards_of(one).tolist()} & {*graph.boards_of(other).tolist()}
            assert view["shared"] == len(ends)
            for board in view["shared_boards"]:
                at = index[board["board_id"]]
                assert board["held_out"] == [at not in train.boards_of(p) for p in (one, other)]
                assert board["pins"] == graph.board_degrees[at]
            for path in view["paths"]:
                first, last = (index[board["board_id"]] for board in path["boards"])
                middle = place[path["pin"]["pin_id"]]
                edges = [(one, first), (middle, first), (middle, last), (other, last)]
                assert all(b in graph.boards_of(p) for p, b in edges)
                assert path["held_out"] == [b not in train.boards_of(p) for p, b in edges]
            if name == "training":
                marks = [board["held_out"] for board in view["shared_boards"]]
                assert not any(itertools.chain(*marks, *(p["held_out"] for p in view["paths"])))
            walk = view["walk"][0]
            total = walk["after_one"] + walk["after_two"] + walk["after_more"]
            assert total == pytest.approx(walk["chance"], abs=1e-12)
            if view["shared"] <= 4:
                over = sum(board["chance"][0] for board in view["shared_boards"])
                assert over == pytest.approx(walk["after_one"], abs=1e-15)
            assert sum(p["chance"][0] for p in view["paths"]) <= walk["after_two"] + 1e-15
        for pin, card in zip((one, other), found["pins"], strict=True):
            assert (card["state"] == "cold") == (pin in cold)
            assert (card["state"] == "warm") == (train.pin_degrees[pin] > 0)
            assert card["training_edges"] == train.pin_degrees[pin]
            assert card["held_out_edges"] == whole.pin_degrees[pin] - train.pin_degrees[pin]
        for boards in found["nearest_boards"].values():
            for board in boards:
                at = index[board["board_id"]]
                for pin, holds in zip((one, other), board["holds"], strict=True):
                    expected = "held out" if at in whole.boards_of(pin) else None
                    assert holds == ("training" if at in train.boards_of(pin) else expected)
        assert found["summary"]
        assert all(sheet.markdown() for sheet in sheets(found))


def test_means_are_of_training_alone(tiny):
    """Boards whose pins are all held out are near to nobody."""
    subject = make_subject(tiny, BoardSplit(0.4))
    train = subject.split.train_graph(tiny.graph)
    found = explain(subject, *tiny.pin_ids[:2].tolist(), top=100)
    used = {tiny.board_ids[board].item() for board in np.flatnonzero(train.board_degrees)}
    for boards in found["nearest_boards"].values():
        assert {board["board_id"] for board in boards} <= used
        assert all(board["pins"] >= board["others"] > 0 for board in boards)
    both = [min(board["cosine"]) for board in found["nearest_boards"]["both"]]
    assert both == sorted(both, reverse=True)


def linked(write_folder):
    """a and b share X; b and c share Y; d is alone. c is held out by what follows."""
    edges = {"pin_id": ["a", "b", "b", "c"], "board_id": [10, 10, 20, 20]}
    return open_dataset(write_folder("linked", edges=edges))


def test_the_summary_says_what_was_held_out(write_folder):
    dataset = linked(write_folder)
    subject = make_subject(dataset)
    held_out = np.array([False, False, False, True])
    split = replace(
        subject.split,
        kind="pin",
        train_edges=~held_out,
        train_pins=np.array([0, 1, 3]),
    )
    found = explain(replace(subject, split=split), "b", "c")
    text = " ".join(found["summary"])
    assert (
        "Pin c is cold: without an edge in training, only its content can have placed it." in text
    )
    assert (
        "With the held-out edges, which training did not see, they share 1 board (“nature”)" in text
    )
    assert found["graph"]["training"]["walk"][0]["place"] is None
    assert found["graph"]["training"]["shared_boards"] == []
    (board,) = found["graph"]["with_held_out"]["shared_boards"]
    assert board["held_out"] == [False, True]
    # Of two warm pins the view with held-out edges is in the JSON, but says nothing new.
    text = " ".join(explain(replace(subject, split=split), "a", "b")["summary"])
    assert "They share 1 board in training (“colors”); a walk from pin a ends at pin b" in text
    assert "held-out" not in text
    # And without a split nothing is called training.
    text = " ".join(explain(subject, "b", "c")["summary"])
    assert "They share 1 board (“nature”); a walk" in text
    text = " ".join(explain(subject, "a", "d")["summary"])
    assert "Pin d is on no board: without an edge, only its content" in text


def test_a_pin_without_a_vector_is_said(write_folder):
    dataset = linked(write_folder)
    subject = make_subject(dataset)
    table = subject.table
    table.fused[:] = np.eye(4, 6)
    table.fused[1] = 0
    found = explain(subject, "a", "b")
    assert found["similarity"]["fused_fused"] is None
    assert found["pins"][1]["has_vector"] is False
    assert found["summary"][0] == "Pin b has no vector in mine."
    assert found["nearest_boards"]["both"] == found["nearest_boards"]["other"] == []
    assert found["nearest_boards"]["one"][0]["cosine"][1] is None
    assert found["graph"]["training"]["walk"][0]["place"] == 1


def test_text_is_shown_as_it_is_and_never_obeyed(write_folder, capsys):
    pins = {
        "pin_id": ["a", "b", "c", "d"],
        "text": ["[red]not red[/red]", "\x1b[31mred\x1b[0m\r\nline", "[/]", "<b>&amp;"],
    }
    boards = {"board_id": [10, 20, 30], "title": ["[bold]", "\x1b]0;title\x07", None]}
    dataset = open_dataset(write_folder("marked", pins=pins, boards=boards))
    for one, other in itertools.combinations("abcd", 2):
        print_explanation(explain(make_subject(dataset), one, other))
    out = capsys.readouterr().out
    assert "[red]not red[/red]" in out
    assert "[bold]" in out
    assert not set(out) & {"\x1b", "\x07", "\r"}


def test_ids_are_shown_as_they_are_and_never_obeyed(write_folder, capsys):
    long = "L" * 300
    ids = ["a[/b]", "\x1b[31mred", long, "d"]
    edges = {"pin_id": [ids[0], ids[1], ids[2], "d"], "board_id": [10, 10, 10, 20]}
    pins = {"pin_id": ids, "text": ["\x1b]0;title\x07", "w " * 200, None, "x"]}
    dataset = open_dataset(write_folder("ids", pins=pins, edges=edges))
    subject = make_subject(dataset)
    print_explanation(explain(subject, ids[0], ids[1]))
    out = capsys.readouterr().out
    assert "pin a[/b]" in out
    assert r"pin \x1b[31mred" in out
    list_neighbors(subject, ids[0], 3)
    head, *rows = capsys.readouterr().out.splitlines()
    assert head == r"nearest to \x1b]0;title\x07"
    assert any(rf"  \x1b[31mred{' ' * 55}w w w" in row and row.endswith("w…") for row in rows)
    assert any(row.endswith("L" * 63 + "…") for row in rows)
    assert not set("".join([out, *rows])) & {"\x1b", "\x07"}
    assert max(map(len, rows)) < 190


@pytest.mark.parametrize(
    ("args", "options", "message"),
    [
        ((3, 3), {}, "pin '3' is both of the two: give two different pins"),
        (("3", 3), {}, "pin '3' is both"),
        ((3, "x"), {}, "no pin 'x' among 60 pins"),
        ((3, 4), {"top": 0}, "top is 0: expected 1 or more"),
        ((3, 4), {"restart_probability": 1.0}, "restart_probability is 1.0"),
        ((3, 4), {"restart_probability": float("nan")}, "restart_probability is nan"),
    ],
)
def test_what_cannot_be_explained_is_refused(tiny, args, options, message):
    with pytest.raises(PinGraphError, match=message):
        explain(make_subject(tiny), *args, **options)


def test_the_command_prints_and_writes(commands, trained, tiny, tiny_folder, tmp_path):
    one, other = (str(pin) for pin in tiny.pin_ids[[3, 8]])
    ended = commands.run("explain", trained, one, other, "--json", "why.json", cwd=tmp_path)
    assert (ended.status, ended.err) == (0, "")
    found = json.loads((tmp_path / "why.json").read_text(encoding="utf-8"))
    assert (found["format"], found["version"]) == ("pingraph.explanation", 1)
    assert [str(pin["pin_id"]) for pin in found["pins"]] == [one, other]
    assert ended.out.splitlines()[0] == found["summary"][0]
    assert ended.out.splitlines()[-1] == "why.json"
    for heading in ("The two pins", "Vectors in run", "Walks that end", "Nearest boards"):
        assert heading in ended.out
    before = contents(tmp_path)
    assert commands.run("explain", trained, one, other, cwd=tmp_path).status == 0
    for args, words in (
        ([one, "x"], "no pin 'x' among 60 pins"),
        ([one, one], "give two different pins"),
        ([one], "missing: other"),
        ([one, other, "--top", "0"], "top is 0"),
        ([one, other, "--json", "."], "cannot write .: it is a folder"),
    ):
        assert words in commands.run("explain", trained, *args, cwd=tmp_path).refusal()
    assert contents(tmp_path) == before
    np.save(tmp_path / "mine.npy", np.eye(60, dtype=np.float32) + 1)
    args = ["mine.npy", one, other, "--data", tiny_folder, "--split", trained]
    ended = commands.run("explain", *args, cwd=tmp_path)
    assert (ended.status, ended.err) == (0, "")
    assert "Vectors in mine.npy" in ended.out
    args = ["mine.npy", one, other, "--data", tiny_folder, "--json", "drawn.json"]
    drawn = ["--cold_fraction", "0.3", "--split_seed", "4"]
    assert commands.run("explain", *args, *drawn, cwd=tmp_path).status == 0
    split = json.loads((tmp_path / "drawn.json").read_text())["split"]
    assert (split["fraction"], split["seed"]) == (0.3, 4)


def test_neighbors_where_no_other_pin_has_a_vector(commands, tiny_folder, tiny, tmp_path):
    alone = {"pin_id": tiny.pin_ids[7:8], "fused": [[1.0, 2.0]]}
    pq.write_table(pa.table(alone), tmp_path / "alone.parquet")
    args = ["alone.parquet", str(tiny.pin_ids[7]), "--data", tiny_folder, "--out", "grid.png"]
    error = commands.run("neighbors", *args, cwd=tmp_path).refusal()
    assert "alone.parquet: no other pin has a vector" in error
    assert not (tmp_path / "grid.png").exists()
