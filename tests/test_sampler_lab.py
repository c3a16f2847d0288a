"""`pingraph sample` as a process, the comparison behind it, and the picture."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from pingraph.errors import PinGraphError
from pingraph.graph import PinBoardGraph
from pingraph.interfaces import Neighbors
from pingraph.lab import convergence
from pingraph.lab.choice import (
    USUAL,
    class_path,
    named,
    settings,
    spell_out,
    usual_samplers,
)
from pingraph.lab.compare import compare_samplers, count_steps
from pingraph.lab.convergence import WALKS
from pingraph.lab.plot import save_plot
from pingraph.lab.run import open_graph
from pingraph.lab.sheets import sheets
from pingraph.samplers import MixtureSampler, PinSAGESampler, PPRSampler, exact_ppr
from tests.command_line import contents
from tests.sampler_contract import skewed_graph

pytestmark = pytest.mark.xdist_group("commands")

MINE = '''
from dataclasses import replace

import numpy as np

from pingraph.errors import PinGraphError
from pingraph.graph import PinBoardGraph
from pingraph.interfaces import Neighbors


class Good:
    """The pin itself and those that follow.

    Args:
        k: how many.
    """

    def __init__(self, k: int = 2):
        self.k = k

    def sample(
        self, graph: PinBoardGraph, seeds: np.ndarray, *, seed: int, epoch: int = 0
    ) -> Neighbors:
        ids = (seeds[:, None] + np.arange(self.k)) % graph.num_pins
        return self.change(Neighbors.from_scores(seeds=seeds, ids=ids, scores=np.ones(ids.shape)))

    def change(self, found):
        return found


class Raises(Good):
    def change(self, found):
        return np.zeros(3)[5]


class Refuses(Good):
    def change(self, found):
        raise PinGraphError("no such luck")


class Lists(Good):
    def change(self, found):
        return found.ids.tolist()


class Outside(Good):
    def change(self, found):
        return replace(found, ids=found.ids + 1_000_000)


class Twice(Good):
    def change(self, found):
        return replace(found, ids=np.repeat(found.ids[:, :1], self.k, axis=1))


class Heavy(Good):
    def change(self, found):
        return replace(found, weights=2 * found.weights)


class Short(Good):
    def change(self, found):
        return replace(found, weights=found.weights[:3])


class Masked(Good):
    def change(self, found):
        return replace(found, mask=~found.mask)


class Others(Good):
    def change(self, found):
        return replace(found, seeds=found.seeds + 1)


class Next(Good):
    def change(self, found):
        return replace(found, ids=(found.ids + 1) % 60)


class Bare:
    def sample(self, graph, seeds, *, seed, epoch=0):
        return None
'''


@pytest.fixture
def place(tmp_path):
    """A folder with samplers of a user's own."""
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path


@pytest.fixture
def sample(commands, place):
    """A function that runs `pingraph sample` in that folder."""
    return lambda *args: commands.run("sample", *args, cwd=place, path=[place])


def timeless(found):
    """Return the content of sample.json without what no two runs have in common."""
    for result in found["samplers"].values():
        assert result.pop("seed_microseconds") > 0
        assert result.pop("calls") >= 1
    return found


def test_by_default_it_compares_the_built_in_samplers(sample, place, tiny_folder):
    ended = sample(tiny_folder, "-o", "lab")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.splitlines()[-2:] == ["lab/sample.json", "lab/sample.png"]
    found = json.loads((place / "lab" / "sample.json").read_text())
    assert (found["format"], found["version"]) == ("pingraph-sample", 1)
    assert tuple(found["samplers"]) == USUAL  # the tiny graph has times
    assert found["num_seeds"] == 54  # of 60 pins six are on no board
    for name, result in found["samplers"].items():
        assert result["class_path"] == f"pingraph.samplers.{name}"
        assert result["measures"]["self_hit_share"] == 0
        assert re.search(
            rf"^  {name} .* {result['measures']['entropy_bits']:.2f} ", ended.out, re.M
        )
    assert found["samplers"]["PPRSampler"]["convergence"] is None
    curve = found["samplers"]["PinSAGESampler"]["convergence"]
    assert len(curve["distance"]) == len(WALKS)
    picture = Image.open(place / "lab" / "sample.png")
    assert picture.size[0] == 1920
    assert picture.getpixel((2, 2))[:3] == (255, 255, 255)


def test_without_a_folder_nothing_is_written(sample, place, tiny_folder):
    before = contents(place)
    ended = sample(tiny_folder, "--sampler", "CoBoardSampler", "--num_seeds", "5")
    assert (ended.status, ended.err) == (0, "")
    assert "neighbors of 5 of 60 pins" in ended.out
    after = contents(place)
    assert {name for name in after if "__pycache__" not in name} == set(before)


def test_every_kind_of_graph_is_opened(sample, place, tiny, tiny_folder):
    graph = tiny.graph
    graph.save(place / "saved")
    pins, boards = graph.edges()
    pins, boards = graph.pin_ids[pins], graph.board_ids[boards]
    pq.write_table(pa.table({"pin_id": pins, "board_id": boards}), place / "edges.parquet")
    rows = (f"{pin},{board}\n" for pin, board in zip(pins, boards, strict=True))
    (place / "edges.csv").write_text("pin_id,board_id\n" + "".join(rows))
    for source, name in ((tiny_folder, "tiny"), (place / "saved", "saved")):
        assert open_graph(str(source)) == (name, graph)
    assert open_graph("world")[1].num_pins == 2_000
    edges = PinBoardGraph.from_edges(pins, boards)  # which know no pin without a board
    for file in ("edges.parquet", "edges.csv"):
        assert open_graph(str(place / file)) == (file, edges)
    ended = sample("edges.csv", "--sampler", "CoBoardSampler", "--num_seeds", "5")
    assert ended.out.startswith("edges.csv: neighbors of 5 of 54 pins")


def test_samplers_come_from_the_command_line_and_from_a_file(sample, place, tiny_folder):
    (place / "mine.yaml").write_text(
        "short: {class_path: PinSAGESampler, init_args: {num_walks: 9}}\n"
        "7: PPRSampler\n"
        "mixed:\n"
        "  class_path: MixtureSampler\n"
        "  init_args: {samplers: [{class_path: CoBoardSampler}, {class_path: mine.Next}]}\n"
    )
    args = ["--sampler", "PinSAGESampler", "--sampler.num_walks", "50", "--sampler=PinSAGESampler"]
    args += ["--sampler.num_walks=60", "--sampler.k=4", "--sampler", "mine.Good"]
    args += ["--sampler", "{class_path: PinSAGESampler, init_args: {num_walks: 70}}"]
    ended = sample(tiny_folder, "--samplers", "mine.yaml", *args, "-o", "lab")
    assert (ended.status, ended.err) == (0, "")
    samplers = json.loads((place / "lab" / "sample.json").read_text())["samplers"]
    assert list(samplers) == [
        "short",
        "7",
        "mixed",
        "PinSAGESampler(k=10, num_walks=50)",
        "PinSAGESampler(k=4, num_walks=60)",
        "Good",
        "PinSAGESampler(k=10, num_walks=70)",
    ]
    assert samplers["short"]["init_args"]["num_walks"] == 9
    assert samplers["Good"]["class_path"] == "mine.Good"
    assert samplers["Good"]["init_args"] == {"k": 2}
    assert samplers["Good"]["measures"]["self_hit_share"] == 1
    assert "Good: 100.0% of the pins are among their own neighbors; expected none." in ended.out


def test_what_is_recorded_can_be_given_back(sample, place, tiny_folder):
    args = ["--num_seeds", "20"]
    assert sample(tiny_folder, "--sampler", "mine.Good", "--sampler.k=3", "--sampler",
                  "PinSAGESampler", *args, "-o", "one").status == 0  # fmt: skip
    first = timeless(json.loads((place / "one" / "sample.json").read_text()))
    entries = {
        name: {key: result[key] for key in ("class_path", "init_args")}
        for name, result in first["samplers"].items()
    }
    (place / "again.yaml").write_text(yaml.safe_dump(entries, sort_keys=False))
    assert sample(tiny_folder, "--samplers", "again.yaml", *args, "-o", "two").status == 0
    assert timeless(json.loads((place / "two" / "sample.json").read_text())) == first


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("", ["missing: graph"]),
        ("nowhere", ["nowhere: no such file or folder; the built-in data sets are icons"]),
        ("mine.py", ["mine.py: not a Parquet file"]),
        ("TINY --num_seeds 0", ["--num_seeds is 0: expected 1 or more"]),
        ("TINY --num-seeds 3", ["unknown option --num-seeds", "did you mean --num_seeds?"]),
        ("TINY --seed -1", ["--seed is -1"]),
        ("TINY --sampler", ["--sampler: expected a class, such as PinSAGESampler"]),
        ("TINY --sampler PinSAGE", ["no class 'PinSAGE'", "did you mean PinSAGESampler?"]),
        ("TINY --sampler mine.Goo", ["'mine' has no attribute 'Goo'", "mean mine.Good?"]),
        ("TINY --sampler exact_ppr", ["does not implement protocol Sampler"]),
        (
            "TINY --sampler mine.Bare",
            ["does not implement protocol Sampler", "sample(self, graph: PinBoardGraph, seeds: "],
        ),
        ("TINY --sampler.k 3 --sampler mine.Good", ["--sampler.k stands before any --sampler"]),
        ("TINY --sampler MixtureSampler", ["missing: --sampler.samplers"]),
        ("TINY --sampler {class_path", ["--sampler: not YAML: line 1, column 12"]),
        ("TINY --sampler PinSAGESampler --sampler.walks 3", ["did you mean sampler.num_walks?"]),
        ("TINY --sampler PinSAGESampler --sampler.k many", ["sampler.k is 'many'"]),
        ("TINY --sampler PinSAGESampler --sampler.k 0", ["k is 0; expected a whole number"]),
        ("TINY --sampler mine.Good --sampler mine.Good", ["Good is given twice"]),
        ("TINY --samplers nowhere.yaml", ["error: nowhere.yaml: No such file"]),
        ("TINY -o .", [".: already exists; give the name of a new or empty folder"]),
        ("TINY -o mine.py", ["mine.py: already exists"]),
        ("TINY -o /proc/lab", ["cannot write /proc/lab"]),
    ],
)
def test_a_mistake_is_answered_in_a_few_lines(args, words, sample, place, tiny_folder):
    before = contents(place)
    ended = sample(*(str(tiny_folder) if arg == "TINY" else arg for arg in args.split()))
    error = ended.refusal()
    assert ended.out == ""
    for word in words:
        assert word in error
    assert {name for name in contents(place) if "__pycache__" not in name} == set(before)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: {class_path: PinSAGESampler", "not YAML: line 1, column 31: expected"),
        ("a: PinSAGESampler\na: PPRSampler", "bad.yaml: line 2: the key 'a' is in line 1 too"),
        ("- PinSAGESampler", "bad.yaml: expected names with a class_path"),
        ("", "bad.yaml: expected names with a class_path"),
        ("a: 3", "bad.yaml: a: found 3; expected class_path"),
        ("a:", "bad.yaml: a: found None; expected class_path"),
        ("a: {init_args: {k: 3}}", "bad.yaml: a: found init_args; expected class_path"),
        ("a: {class_path: S, int_args: {}}", "a: found class_path, int_args; expected class_path"),
        ("a: PinSagSampler", "no class 'PinSagSampler'.*\n.*did you mean PinSAGESampler?"),
    ],
)
def test_a_mistake_in_the_file_is_named(text, words, tmp_path):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(PinGraphError, match=words):
        spell_out(["sample", "icons", "--samplers", str(tmp_path / "bad.yaml")])


def test_a_wrong_argument_in_the_file_is_named(sample, place, tiny_folder):
    (place / "bad.yaml").write_text("a: {class_path: PinSAGESampler, init_args: {walks: 3}}")
    error = sample(tiny_folder, "--samplers", "bad.yaml").refusal()
    assert "unknown option 'samplers.walks' of pingraph.samplers.PinSAGESampler" in error
    (place / "good.yaml").write_text("Good: {class_path: mine.Good}")
    error = sample(tiny_folder, "--samplers", "good.yaml", "--sampler", "mine.Good").refusal()
    assert "there is a sampler 'Good' in the file already" in error


def test_a_sampler_that_raises_is_told_with_its_line(sample, place, tiny_folder):
    args = ["--sampler", "PinSAGESampler", "--sampler", "mine.Raises", "-o", "lab"]
    ended = sample(tiny_folder, *args)
    assert "Raises: mine.py, line 33: IndexError: index 5 is out of bounds" in ended.refusal()
    assert ended.out == ""
    assert not (place / "lab").exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Refuses", "^it: no such luck$"),
        ("Lists", "^it: returned list; expected pingraph.interfaces.Neighbors$"),
        (
            "Outside",
            "^it: pin [0-9]+: neighbor 0 .* is 10000.*; expected a pin of the graph, 0 to 79$",
        ),
        ("Twice", r"^it: pin .* stands in places \[0, 1\] of row 0$"),
        ("Heavy", "the weights of row 0 sum to 2, not 1$"),
        ("Short", "weights as float32 of shape .3, 2.; expected float32 of shape .75, 2.$"),
        ("Masked", "is [0-9]+ where the mask is False; expected -1$"),
        ("Others", "^it: row 0 was asked for pin"),
    ],
)
def test_a_sampler_at_fault_is_named(name, words):
    names = {}
    exec(MINE, names)
    with pytest.raises(PinGraphError, match=words):
        compare_samplers(skewed_graph(80, 20, 75), {"it": names[name]()})


def test_an_empty_folder_is_taken(sample, place, tiny_folder):
    (place / "lab").mkdir()
    args = ["--sampler", "CoBoardSampler", "-o", "lab"]
    assert sample(tiny_folder, *args).status == 0
    assert sorted(contents(place / "lab")) == ["sample.json", "sample.png"]
    before = contents(place / "lab")
    assert "already exists" in sample(tiny_folder, *args).refusal()
    assert contents(place / "lab") == before


# The comparison, without a process.


def test_one_seed_gives_one_result():
    samplers, graph = {"one": PinSAGESampler(), "two": PPRSampler()}, skewed_graph(80, 20, 75)
    first, again, other = (
        timeless(compare_samplers(graph, samplers, num_seeds=30, seed=seed).to_dict())
        for seed in (3, 3, 4)
    )
    assert again == first
    for part in ("measures", "convergence"):
        assert other["samplers"]["one"][part] != first["samplers"]["one"][part]


def test_a_sampler_that_does_not_fit_is_left_out_with_the_reason():
    fitting, unfit = usual_samplers(skewed_graph(80, 20, 75))
    assert set(unfit) == {"TemporalSampler"}
    assert "times" in unfit["TemporalSampler"]
    assert [*fitting, *unfit] == list(USUAL)


def test_seeds_are_pins_on_a_board_and_the_same_for_all():
    graph, asked = skewed_graph(80, 20, 75), []

    class Watching(PinSAGESampler):
        def sample(self, graph, seeds, **address):
            asked.append(seeds.copy())
            return super().sample(graph, seeds, **address)

    samplers = {"a": Watching(restart_probability=0), "b": Watching(restart_probability=0, k=3)}
    found = compare_samplers(graph, samplers, num_seeds=30, seed=2)
    assert found.num_seeds == 30
    assert all(np.array_equal(seeds, asked[0]) for seeds in asked)
    first = set(asked[0].tolist())
    assert len(first) == 30
    assert asked[0].max() < 75
    asked.clear()
    compare_samplers(graph, samplers, num_seeds=30, seed=3)
    assert len(set(asked[0].tolist())) == 30
    assert set(asked[0].tolist()) != first
    assert compare_samplers(graph, samplers, num_seeds=500).num_seeds == 75


def test_samplers_that_share_their_random_numbers_agree_no_more_than_others():
    graph = skewed_graph(400, 60, 395)
    samplers = {"one": PinSAGESampler(), "same": PinSAGESampler(), "exact": PPRSampler()}
    overlap = compare_samplers(graph, samplers, num_seeds=50).overlap
    np.testing.assert_array_equal(overlap, overlap.T)
    assert overlap[0, 1] == overlap[0, 0] == overlap[1, 1]
    assert 0.2 < overlap[0, 0] < 0.9
    assert overlap[2, 2] == 1


def test_the_distance_of_short_walks_is_the_chance_of_what_they_miss():
    """On the path 0 -a- 1 -b- 2 one traversal from 0 finds 1 alone, however many walks there are.

    So the distance is the chance of 2 among the others; and from 1, 0 and 2 are equally near.
    """
    path = PinBoardGraph.from_edges([0, 1, 1, 2], [0, 0, 1, 1])
    sampler = PinSAGESampler(walk_length=1, restart_probability=0.3)
    curve = compare_samplers(path, {"short": sampler}).results["short"].convergence
    exact = exact_ppr(path, [0], 0.3)[0]
    missed = exact[2] / (exact[1] + exact[2])
    assert curve.seeds == 3
    assert curve.distance[-1] == pytest.approx(2 / 3 * missed, abs=0.02)
    # From 0 and 2 it finds one of the other two pins, from 1 both.
    assert curve.top_share[-1] == pytest.approx(2 / 3)
    nearest = PinSAGESampler(k=1, walk_length=1, restart_probability=0.3)
    curve = compare_samplers(path, {"nearest": nearest}).results["nearest"].convergence
    assert curve.top_share[-1] == 1  # of 0 and 2, which tie, either is right


def test_long_walks_come_near_exact_pagerank():
    """The distance falls with the root of the walks: tenfold walks, a third of the distance."""
    graph = skewed_graph(80, 20, 75)
    samplers = {
        "plain": PinSAGESampler(k=5, walk_length=40),
        "weighted": PinSAGESampler(k=5, walk_length=40, weighted=True),
    }
    pins, boards = graph.edges()
    weights = 1.0 + np.arange(len(pins)) % 7
    weighted = PinBoardGraph.from_edges(pins, boards, weights)
    results = compare_samplers(weighted, samplers).results
    for result in results.values():
        distance = np.array(result.convergence.distance)
        assert (np.diff(distance) < 0).all()
        np.testing.assert_allclose(distance[2:] / distance[:-2], 10**-0.5, rtol=0.25)
        assert distance[-1] < 0.07
        assert result.convergence.top_share[-1] > 0.9
    assert results["plain"].convergence.distance != results["weighted"].convergence.distance


def test_a_number_of_walks_that_is_refused_is_left_open():
    graph = skewed_graph(80, 20, 75)
    sampler = PinSAGESampler(num_walks=1, walk_length=20_000, restart_probability=0.9)
    curve = compare_samplers(graph, {"far": sampler}, num_seeds=3).results["far"].convergence
    assert [value is None for value in curve.distance] == [False] * 4 + [True] * 2


def test_a_graph_too_large_for_exact_pagerank_is_told(monkeypatch):
    monkeypatch.setattr(convergence, "_WORK", 1.0)
    found = compare_samplers(skewed_graph(80, 20, 75), {"one": PinSAGESampler()}, num_seeds=20)
    assert found.results["one"].convergence is None
    assert found.notes == ["one: the graph is too large, so there is no exact PageRank."]
    assert len(sheets(found)) == 1


def test_a_graph_of_lonely_pins_is_told():
    lonely = PinBoardGraph.from_edges(range(4), range(4))
    found = compare_samplers(lonely, {"one": PinSAGESampler(), "two": PPRSampler()})
    assert found.notes == ["one: the graph is unconnected, so there is no exact PageRank."]
    assert found.results["one"].measures["answered_share"] == 0
    assert np.isnan(found.overlap).all()
    json.dumps(found.to_dict(), allow_nan=False)


def test_as_many_steps_are_told_as_were_announced():
    samplers = {"one": PinSAGESampler(), "two": PPRSampler()}
    told = []
    compare_samplers(skewed_graph(80, 20, 75), samplers, num_seeds=20, step=told.append)
    assert len(told) == count_steps(samplers)


@pytest.mark.parametrize(
    ("samplers", "arguments", "words"),
    [
        ({}, {}, "no sampler to compare"),
        ({"one": PinSAGESampler()}, {"num_seeds": 0}, "num_seeds is 0"),
    ],
)
def test_what_cannot_be_compared_is_refused(samplers, arguments, words):
    with pytest.raises(PinGraphError, match=words):
        compare_samplers(skewed_graph(80, 20, 75), samplers, **arguments)


def test_settings_are_json_and_name_objects_by_class():
    @dataclass(frozen=True, kw_only=True)
    class Odd:
        number: float = float("inf")
        array: object = np.float32(0.5)
        function: object = len

    assert settings(Odd()) == {"number": "inf", "array": 0.5, "function": "builtins.len"}
    mixed = settings(MixtureSampler(samplers=[PPRSampler(k=3)]))["samplers"][0]
    assert mixed["class_path"] == class_path(PPRSampler()) == "pingraph.samplers.PPRSampler"
    assert mixed["init_args"]["k"] == 3
    one, two = PinSAGESampler(), PinSAGESampler(k=3)
    assert named([one, two, PPRSampler()]) == {
        "PinSAGESampler(k=10)": one,
        "PinSAGESampler(k=3)": two,
        "PPRSampler": PPRSampler(),
    }


def test_the_code_of_the_page_runs(capsys):
    page = (Path(__file__).parents[1] / "docs" / "sampler-lab.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    exec(block, {})
    assert capsys.readouterr().out.startswith("0.")


class Nobody:
    """Finds nothing."""

    def sample(
        self, graph: PinBoardGraph, seeds: np.ndarray, *, seed: int, epoch: int = 0
    ) -> Neighbors:
        ids = np.full((len(seeds), 3), -1)
        return Neighbors.from_scores(seeds=seeds, ids=ids, scores=np.zeros(ids.shape))


@pytest.mark.parametrize(
    "names", [["one"], ["nothing"], ["nothing", "one", "$x^{2", "\n" * 3 + "long " * 30], range(15)]
)
def test_whatever_there_is_can_be_drawn_and_written(names, tmp_path):
    samplers = {str(n): Nobody() if n == "nothing" else PinSAGESampler() for n in names}
    found = compare_samplers(skewed_graph(80, 20, 75), samplers, name="$e_dges", num_seeds=10)
    json.dumps(found.to_dict(), allow_nan=False)
    for sheet in sheets(found):
        assert sheet.markdown()
    save_plot(tmp_path / "plot.png", found)
    assert Image.open(tmp_path / "plot.png").size[0] == 1920
