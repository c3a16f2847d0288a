"""The Pinterest benchmark: forced answers, plain twins of what it computes, broken folders."""

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.retrieval import retrieval_hit_rate, retrieval_normalized_dcg

from pingraph.errors import PinGraphError
from pingraph.experiments import pinterest, recommenders
from pingraph.experiments.leave_one_out import LeaveOneOut, expected_metrics
from pingraph.experiments.methods import LightGCN
from pingraph.experiments.methods.light_gcn import normalized
from pingraph.experiments.pinterest_sheets import quarters
from pingraph.experiments.recommender_comparison import BETAS, compare, count_steps
from pingraph.graph import PinBoardGraph
from pingraph.samplers import PinSAGESampler, PixieSampler, PPRSampler

REAL = Path(__file__).parents[2] / "shared" / "data" / "pinterest-graph"
FILES = ("train_edges", "test", "test_negatives")


def two_topics():
    """Boards 0 … 5 hold pins 0 … 7 of cats, boards 10 … 29 pins 100 … 119 of cars.

    Each board lacks two pins of its topic and hides one of these. Cars are the more popular, and a
    board of cats has 12 cars to choose from. Pin 999 is nobody's and on a list of each board.
    """
    train, test, negatives = [], [], []
    topics = ((range(6), range(8), range(100, 112)), (range(10, 30), range(100, 120), range(8)))
    for boards, pins, others in topics:
        for board in boards:
            hidden, lacking = pins[board % len(pins)], pins[(board + 1) % len(pins)]
            train += [(board, pin) for pin in pins if pin not in (hidden, lacking)]
            test.append((board, hidden))
            # as many for both topics: cats and pins below 999 that nobody has
            negatives.append((board, [*others, *range(900, 912 - len(others)), 999]))
    return {
        "train_edges": as_table(train, "pin_id"),
        "test": as_table(test, "pin_id"),
        "test_negatives": as_table(negatives, "negative_pin_ids"),
    }


def as_table(rows, column):
    boards, values = zip(*rows, strict=True)
    return pa.table({"board_id": boards, column: values})


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path, two_topics())


def write(path, tables):
    for name, table in tables.items():
        pq.write_table(table, path / f"{name}.parquet")
    return path


def random_graph(seed=0, pins=30, boards=20, edges=150):
    rng = np.random.default_rng(seed)
    pairs = rng.integers(pins, size=edges), rng.integers(boards, size=edges)
    return PinBoardGraph.from_edges(*pairs, pin_ids=range(pins + 1), board_ids=range(boards))


# --- reading


def test_reads_a_folder(folder):
    task = LeaveOneOut.read(folder)
    assert task.graph.num_edges == 6 * 6 + 20 * 18
    assert task.graph.board_ids[task.boards].tolist() == [*range(6), *range(10, 30)]
    assert task.graph.pin_ids[task.candidates[2]].tolist() == [2, *range(100, 112), 999]
    assert task.known[2].tolist() == [True] * 13 + [False]


def test_order_of_rows_and_kind_of_ids_change_nothing(folder, tmp_path):
    expected = LeaveOneOut.read(folder)
    rng, tables = np.random.default_rng(0), two_topics()
    for name, table in tables.items():
        table = table.take(rng.permutation(len(table)))
        column = table.column_names[1]
        kind = pa.large_list(pa.string()) if name == "test_negatives" else pa.string()
        tables[name] = table.set_column(1, column, table[column].cast(kind))
    (tmp_path / "other").mkdir()
    found = LeaveOneOut.read(write(tmp_path / "other", tables))
    as_numbers = found.graph.pin_ids.astype(np.int64)
    assert (
        as_numbers[found.candidates].tolist()
        == expected.graph.pin_ids[expected.candidates].tolist()
    )
    assert (found.graph.board_degrees == expected.graph.board_degrees).all()


def replaced(table, row, value):
    rows = table.to_pydict()
    rows[table.column_names[1]][row] = value
    return pa.table(rows)


BAD = {
    "missing column": (
        lambda t: {"test": t["test"].rename_columns(["board_id", "pin"])},
        r"test\.parquet: 0 columns 'pin_id'",
    ),
    "no column of negatives": (
        lambda t: {"test_negatives": t["test"]},
        r"test_negatives\.parquet: 0 columns 'negative_pin_ids'",
    ),
    "board without test pair": (
        lambda t: {"test": t["test"].slice(1)},
        r"test\.parquet: no row of board 0; expected one of each in train_edges\.parquet",
    ),
    "board without negatives": (
        lambda t: {"test_negatives": t["test_negatives"].slice(0, 25)},
        r"test_negatives\.parquet: no row of board 29;",
    ),
    "unknown board": (
        lambda t: {
            "test": pa.concat_tables([t["test"], pa.table({"board_id": [7], "pin_id": [1]})])
        },
        r"test\.parquet: row 26: unknown board id 7",
    ),
    "board twice": (
        lambda t: {"test": pa.concat_tables([t["test"], t["test"].slice(0, 1)])},
        r"test\.parquet: board id 0 occurs twice, in rows 0 and 26",
    ),
    "leak": (
        lambda t: {"test": replaced(t["test"], 1, 5)},
        r"test\.parquet: board 1 has pin 5, which the board saved in train_edges\.parquet",
    ),
    "saved negative": (
        lambda t: {"test_negatives": replaced(t["test_negatives"], 0, [7, *range(100, 112)])},
        r"test_negatives\.parquet: board 0 has pin 7, which the board saved",
    ),
    "hidden negative": (
        lambda t: {"test_negatives": replaced(t["test_negatives"], 0, [0, *range(100, 112)])},
        r"test_negatives\.parquet: board 0 has pin 0, which the board hides",
    ),
    "negative twice": (
        lambda t: {"test_negatives": replaced(t["test_negatives"], 0, [100, *range(100, 112)])},
        r"test_negatives\.parquet: board 0 has pin 100, which .* has in the list before",
    ),
    "short list": (
        lambda t: {"test_negatives": replaced(t["test_negatives"], 3, [100])},
        r"test_negatives\.parquet: row 3 has 1 negative_pin_ids; expected 13 in each",
    ),
    "no list": (
        lambda t: {"test_negatives": replaced(t["test_negatives"], 3, None)},
        r"test_negatives\.parquet: row 3 has 0 negative_pin_ids; expected 13 in each",
    ),
    "not lists": (
        lambda t: {"test_negatives": t["test"].rename_columns(["board_id", "negative_pin_ids"])},
        r"test_negatives\.parquet: column 'negative_pin_ids' is int64, expected lists",
    ),
    "another kind of ids": (
        lambda t: {"test": t["test"].set_column(1, "pin_id", t["test"]["pin_id"].cast("string"))},
        r"test\.parquet: the pin ids are <U3; expected int64 as in train_edges\.parquet",
    ),
    "no edges": (
        lambda t: {"train_edges": t["train_edges"].slice(0, 0)},
        r"train_edges\.parquet: ",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_refuses_a_bad_folder(case, folder):
    change, message = BAD[case]
    write(folder, change(two_topics()))
    with pytest.raises(PinGraphError, match=message):
        LeaveOneOut.read(folder)


@pytest.mark.parametrize("name", FILES)
def test_names_the_missing_and_the_damaged_file(name, folder):
    path = folder / f"{name}.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(PinGraphError, match=rf"/{name}\.parquet: not a readable Parquet file"):
        LeaveOneOut.read(folder)
    path.unlink()
    with pytest.raises(PinGraphError, match=rf"/{name}\.parquet: no such file; expected train_edg"):
        LeaveOneOut.read(folder)


# --- drawing and validation


def test_draws_boards_with_their_candidates(folder):
    task = LeaveOneOut.read(folder)
    drawn = task.draw(5, seed=3)
    assert len(drawn.boards) == 5
    assert (drawn.candidates == task.candidates[drawn.boards]).all()
    assert drawn.graph is task.graph
    assert (drawn.boards == task.draw(5, seed=3).boards).all()
    assert (drawn.boards != task.draw(5, seed=4).boards).any()
    assert len(task.draw(99, seed=3).boards) == 26


@pytest.mark.parametrize("num_boards", [1, 9, 26, 99])
def test_validation_hides_a_save_of_each_board_from_the_graph(folder, num_boards):
    task = LeaveOneOut.read(folder)
    tuning = task.validation(num_boards, seed=0)
    count = min(num_boards, 26)
    assert len(set(tuning.boards.tolist())) == count
    assert tuning.candidates.shape == (count, 14)
    assert tuning.graph.num_edges == task.graph.num_edges - count
    for board, (hidden, *others) in zip(tuning.boards, tuning.candidates.tolist(), strict=True):
        before, after = set(task.graph.pins_of(board)), set(tuning.graph.pins_of(board))
        assert before - after == {hidden}
        assert len(set(others)) == 13
        assert not before & set(others)


def test_validation_does_not_look_at_what_is_hidden(folder):
    task = LeaveOneOut.read(folder)
    other = LeaveOneOut(
        graph=task.graph, boards=task.boards, candidates=np.roll(task.candidates, 1, axis=1)
    )
    first, second = task.validation(9, seed=0), other.validation(9, seed=0)
    assert (first.candidates == second.candidates).all()
    assert first.graph == second.graph


def test_validation_needs_a_board_with_two_pins():
    graph = PinBoardGraph.from_edges([0, 1], [0, 1])
    task = LeaveOneOut(graph=graph, boards=np.array([0]), candidates=np.array([[1, 0]]))
    with pytest.raises(PinGraphError, match="no board has two pins"):
        task.validation(1, seed=0)


# --- metrics


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=6))
def test_ties_are_the_mean_over_all_orders(few):
    """The scores, and eight better ones before them: the cut at ten falls into the ties."""
    scores = np.array([few[0], *[9] * 8, *few[1:]], float)
    found = []
    for order in permutations(range(len(few))):
        place = sorted(order, key=lambda one: -few[one]).index(0) + 8  # sorted is stable
        found.append((place < 10, 1 / np.log2(place + 2) if place < 10 else 0))
    assert expected_metrics(scores[None])[0] == pytest.approx(np.mean(found, axis=0))


def test_metrics_are_those_of_torchmetrics():
    rng = np.random.default_rng(0)
    scores = rng.permuted(np.tile(np.arange(40.0), (50, 1)), axis=1)
    target = torch.zeros(40, dtype=torch.bool)
    target[0] = True
    for row, (hit, gain) in zip(torch.tensor(scores), expected_metrics(scores), strict=True):
        assert hit == retrieval_hit_rate(row, target, top_k=10)
        assert gain == pytest.approx(float(retrieval_normalized_dcg(row, target, top_k=10)))


def test_metrics_of_what_cannot_be_ranked():
    inf, nan = np.inf, np.nan
    assert expected_metrics(np.array([[-inf, -inf], [0.0, -inf]])).tolist() == [[0, 0], [1, 1]]
    chance = np.mean([1 / np.log2(place + 2) for place in range(10)]) / 10
    assert expected_metrics(np.zeros((1, 100)))[0] == pytest.approx([0.1, chance])
    with pytest.raises(PinGraphError, match="the scores of row 1 hold NaN"):
        expected_metrics(np.array([[0, 1], [nan, 1]]))


# --- recommenders


def everyone(graph):
    """All boards, and all pins as the candidates of each."""
    return np.arange(graph.num_boards), np.tile(np.arange(graph.num_pins), (graph.num_boards, 1))


def test_co_occurrence_is_the_sum_of_cosines():
    graph = random_graph()
    found = recommenders.co_occurrence(graph)(*everyone(graph))
    on = [set(graph.boards_of(pin)) for pin in range(graph.num_pins)]
    for board in range(graph.num_boards):
        for pin in range(graph.num_pins - 1):
            cosines = [
                len(on[pin] & on[other]) / np.sqrt(len(on[pin]) * len(on[other]))
                for other in graph.pins_of(board)
            ]
            assert found[board, pin] == pytest.approx(sum(cosines), rel=1e-5)
    assert not found[:, -1].any()  # the pin without boards


def test_neighbor_weights_are_added_up():
    graph = random_graph()
    sampler = PinSAGESampler(k=50, num_walks=40)
    found = recommenders.neighbor_weights(graph, sampler=sampler, seed=5)(*everyone(graph))
    expected = np.zeros(found.shape)
    for board in range(graph.num_boards):
        neighbors = sampler.sample(graph, graph.pins_of(board), seed=5)
        for ids, weights, mask in zip(
            neighbors.ids, neighbors.weights, neighbors.mask, strict=True
        ):
            expected[board, ids[mask]] += weights[mask]
    assert found == pytest.approx(expected, rel=1e-5)


def test_pixie_without_end_is_what_pixie_tends_to():
    graph = random_graph()
    candidates = tuple(array[:5] for array in everyone(graph))
    long = PixieSampler(k=50, num_steps=500_000, min_visits=2**24)
    walked = recommenders.pixie(graph, sampler=long, seed=0)(*candidates)
    ppr = PPRSampler(k=50, epsilon=1e-9)
    endless = recommenders.endless_pixie(graph, sampler=ppr)(*candidates)
    for board in range(5):
        others = np.setdiff1d(np.arange(graph.num_pins), graph.pins_of(board))
        one, other = walked[board, others], endless[board, others]
        assert one / one.sum() == pytest.approx(other / other.sum(), abs=1e-3, rel=0.06)


@pytest.mark.parametrize("strength", [0.5, 20])
def test_ease_is_ridge_regression_of_each_pin_on_the_others(strength):
    graph = random_graph()
    x = graph.incidence().T.toarray().astype(float)
    expected = np.zeros(x.shape)
    for pin in range(graph.num_pins):
        others = np.delete(x, pin, axis=1)
        gram = others.T @ others + strength * np.eye(graph.num_pins - 1)
        expected[:, pin] = others @ np.linalg.solve(gram, others.T @ x[:, pin])
    found = recommenders.ease(graph, strength=strength)(*everyone(graph))
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_light_gcn_is_the_dot_product_of_averaged_hops(layers):
    graph = random_graph()
    model = LightGCN(dim=6, layers=layers, steps=4, batch_size=40)
    start = model._trained_start(graph, normalized(graph), 5).detach().numpy().astype(float)
    saved = graph.incidence().toarray().astype(float)  # [pins, boards]
    both = np.block([[np.zeros((graph.num_pins,) * 2), saved], [saved.T, np.zeros((20, 20))]])
    roots = np.sqrt(np.maximum(both.sum(axis=1), 1))
    hop = both / roots / roots[:, None]
    vectors = sum(np.linalg.matrix_power(hop, hops) @ start for hops in range(layers + 1))
    vectors /= layers + 1
    expected = vectors[graph.num_pins :] @ vectors[: graph.num_pins].T
    found = recommenders.light_gcn(graph, model=model, seed=5)(*everyone(graph))
    assert found == pytest.approx(expected, abs=1e-7, rel=1e-4)


def test_light_gcn_learns_and_is_the_same_for_a_seed():
    graph = random_graph()

    def scores(steps, seed):
        model = LightGCN(dim=6, steps=steps, batch_size=40, learning_rate=0.05)
        return recommenders.light_gcn(graph, model=model, seed=seed)(*everyone(graph))

    def saves_above_others(found):
        saved = graph.incidence().T.toarray() > 0
        pairs = zip(found, saved, strict=True)
        return np.mean([(row[on][:, None] > row[~on]).mean() for row, on in pairs])

    assert np.array_equal(scores(60, 1), scores(60, 1))
    assert not np.allclose(scores(60, 1), scores(60, 2))
    assert saves_above_others(scores(60, 1)) > 0.9
    assert saves_above_others(scores(0, 1)) < 0.8  # averages of noise know a little already


# --- the comparison and the command


@pytest.fixture(autouse=True)
def small_light_gcn(monkeypatch):
    """The benchmark's batches are a thousand times what these graphs have."""
    model = LightGCN(dim=16, steps=100, batch_size=512, learning_rate=0.03)
    monkeypatch.setattr(pinterest, "LIGHT_GCN", model)


def test_forced_answers(folder):
    task = LeaveOneOut.read(folder)
    comparison = compare(
        task, pinterest.methods(task.graph.num_pins, seed=0, num_threads=1), seed=0
    )
    assert [row.name for row in comparison.plain] == [row.name for row in comparison.debiased]
    cats = task.boards < 6
    for row in comparison.plain:
        assert row.beta == 0
        if row.name == "popularity":  # 12 cars come before each cat, and 12 cars behind none
            assert not row.metrics[cats].any()
            assert (row.metrics[~cats] == 1).all()
        else:
            assert (row.metrics == 1).all(), row.name


def test_beta_and_setting_are_chosen_on_validation_pins_alone(folder):
    """One setting is right on validation pins and wrong on the hidden ones, the other reversed."""
    task = LeaveOneOut.read(folder)

    def fit(good_in_validation):
        def fitted(graph):
            sign = 1 if (graph is not task.graph) == good_in_validation else -1
            return lambda boards, pins: sign * recommenders.co_occurrence(task.graph)(boards, pins)

        return fitted

    steps = []
    found = {"odd": {"bad": fit(False), "good": fit(True)}}
    comparison = compare(task, found, seed=0, step=steps.append)
    assert comparison.plain[0].setting == comparison.debiased[0].setting == "good"
    assert (comparison.plain[0].metrics[:, 1] < 1).all()
    assert steps == ["odd bad: tuning", "odd good: tuning", "odd good"]
    assert count_steps(task, found) == 4


def test_scores_are_divided_by_the_degree(folder):
    """Scores are noise below 0, nearer to 0 when divided by more: so they become popularity."""
    task = LeaveOneOut.read(folder)
    noise = -np.random.default_rng(0).random((task.graph.num_boards, task.graph.num_pins)) - 0.5

    def metrics(part, beta):
        scores = noise[part.boards[:, None], part.candidates]
        degrees = part.graph.pin_degrees[part.candidates]
        divided = scores / np.maximum(degrees, 1) ** beta
        return expected_metrics(np.where(degrees > 0, divided, -np.inf))

    fit = {"": lambda graph: lambda boards, pins: noise[boards[:, None], pins]}
    found = compare(task, {"noise": fit}, seed=0)
    tuning = task.validation(26, seed=0)
    reached = [metrics(tuning, beta)[:, 1].mean() for beta in BETAS]
    assert reached.index(max(reached)) > 0
    assert found.debiased[0].beta == BETAS[reached.index(max(reached))]
    for row in (found.plain[0], found.debiased[0]):
        assert row.metrics == pytest.approx(metrics(task, row.beta))


def test_quarters_part_the_boards(folder):
    task = LeaveOneOut.read(folder)
    quarter, names = quarters(task)
    degrees = task.graph.pin_degrees[task.candidates[:, 0]]
    for degree, part in zip(degrees, quarter, strict=True):
        start, end = map(int, names[part].split("-"))
        assert start <= degree <= end
    assert set(quarter) == set(range(len(names)))


def test_command_prints_tables_and_writes_them(folder, tmp_path, capsys):
    out = tmp_path / "found.json"
    pinterest.main([str(folder), "--num_boards", "9", "--out", str(out)])
    printed, progress = capsys.readouterr()
    assert not progress
    for text in (
        "The hidden pin of 9 boards among 14 pins",
        "Over degree^β",
        "10,000 walks of a pin 1.0000 0.664-1.000 1.0000 0.664-1.000 0 ",
        "EASE (learned)",
        "LightGCN (learned)",
        "NeuMF with pre-training",
        "HR@10 by the number of boards of the hidden pin",
    ):
        assert text in " ".join(printed.split())
    found = json.loads(out.read_text())
    assert (found["format"], found["version"]) == ("pingraph-pinterest", 1)
    assert (found["boards"], found["candidates"], found["validation_boards"]) == (9, 14, 9)
    row = found["plain"][1]
    assert row["name"] == "co-occurrence"
    assert row["hr@10"] == row["ndcg@10"] == {"value": 1.0, "ci95": [0.025 ** (1 / 9), 1.0]}
    assert set(row["hr@10_by_degree"].values()) == {1.0}
    popularity = found["plain"][0]
    lost = popularity["ndcg@10_against_co-occurrence"]
    assert lost["value"] == popularity["ndcg@10"]["value"] - 1
    assert lost["ci95"] == pytest.approx([end - 1 for end in popularity["ndcg@10"]["ci95"]])
    assert found["published"]["MLP"] == {"hr@10": 0.868, "ndcg@10": 0.542}


def test_one_board_has_no_interval(folder, tmp_path, capsys):
    out = tmp_path / "found.json"
    pinterest.main([str(folder), "--num_boards", "1", "--out", str(out)])
    assert "nan" not in capsys.readouterr().out
    assert json.loads(out.read_text())["plain"][0]["hr@10"]["ci95"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--num_boards", "0"], "error: --num_boards is 0: expected 1 or more\n"),
        (["--seed", "-1"], "error: --seed is -1: expected 0 or more\n"),
        (["--num_threads", "0"], "error: --num_threads is 0: expected 1 or more\n"),
        (["--out", "/"], "error: /: is a folder; expected the name of a file\n"),
    ],
)
def test_command_refuses_in_a_line(folder, options, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        pinterest.main([str(folder), *options])
    assert capsys.readouterr() == ("", message)


def test_command_names_a_missing_file_and_option(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        pinterest.main([str(tmp_path)])
    assert capsys.readouterr().err.startswith(
        f"error: {tmp_path}/train_edges.parquet: no such file"
    )
    with pytest.raises(SystemExit, match="2"):
        pinterest.main([str(tmp_path), "--boards", "9"])
    assert "did you mean --num_boards?" in capsys.readouterr().err


@pytest.mark.skipif(not REAL.is_dir(), reason="the shared data lies beside the checkout only")
def test_real_data():
    task = LeaveOneOut.read(REAL)
    assert task.candidates.shape == (37501, 100)
    assert (task.graph.num_pins, task.graph.num_edges) == (9836, 962653)
    assert (~task.known[:, 0]).sum() == 10
    scores = recommenders.popularity(task.graph)(task.boards, task.candidates)
    scores[:, 0] -= 0.5  # its README ranks the hidden pin behind its equals
    found = expected_metrics(np.where(task.known, scores, -np.inf)).mean(axis=0)
    assert found.round(4).tolist() == [0.2820, 0.1446]
    few = task.draw(300, seed=0)
    sampler = PinSAGESampler(k=200, num_walks=200)
    walks = recommenders.neighbor_weights(few.graph, sampler=sampler, seed=0)
    scores = np.where(few.known, walks(few.boards, few.candidates), -np.inf)
    assert expected_metrics(scores).mean(axis=0) == pytest.approx([0.79, 0.49], abs=0.05)
