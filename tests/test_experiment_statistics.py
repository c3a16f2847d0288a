"""Means, differences and lifts over seeds and queries, and the files that show them."""

import itertools
import re
import xml.etree.ElementTree as ET
from dataclasses import asdict, replace
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from scipy import stats

from pingraph.bootstrap import mean_intervals
from pingraph.errors import PinGraphError
from pingraph.experiment.cell import CELL_FILE, JUDGED_FILE, MADE_FILE, QUERIES_FILE
from pingraph.experiment.curve import fitted
from pingraph.experiment.figures import Figures
from pingraph.experiment.files import write_all
from pingraph.experiment.plan import Experiment
from pingraph.experiment.plot import _dots
from pingraph.experiment.statistics import averaged, compared
from pingraph.files import read_json, write_json
from pingraph.latex import latex
from pingraph.results import Cell, Sheet

TASKS = ("pin_to_pin", "image_to_text", "text_to_image", "board_to_pins")


def draws(*sizes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.random(size) for size in sizes]


def test_seeds_count_alike_however_many_queries_they_have():
    values = [np.zeros(90), np.ones(10)]
    found = averaged(values, seed=0)
    assert found.value == 0.5
    assert (found.low, found.high) == (0, 1)  # a draw of one seed twice


def test_with_one_seed_it_is_the_bootstrap_over_queries():
    (values,) = draws(40)
    found = averaged([values], seed=0)
    low, high = mean_intervals(values[:, None], seed=0)[0]
    assert [found.value, found.low, found.high] == pytest.approx(
        [values.mean(), low, high], abs=3e-3
    )


def test_the_interval_is_that_of_two_nested_loops():
    values = [part + shift for part, shift in zip(draws(60, 30, 80), (0, 0.1, 0.4), strict=True)]
    rng = np.random.default_rng(1)
    means = []
    for _ in range(4000):
        parts = [values[place] for place in rng.integers(3, size=3)]
        means.append(np.mean([rng.choice(part, len(part)).mean() for part in parts]))
    expected = np.quantile(means, [0.025, 0.975])
    found = averaged(values, seed=0)
    assert [found.low, found.high] == pytest.approx(expected, abs=0.02)
    assert found.high - found.low > 0.2  # the seeds differ, and the interval says so


def test_all_hits_are_no_certainty():
    for sizes, least in (((8,), 8), ((20, 9, 50), 27)):
        end = 0.025 ** (1 / least)
        hit, missed = ([make(size) for size in sizes] for make in (np.ones, np.zeros))
        assert asdict(averaged(hit, seed=0)) == pytest.approx({"value": 1, "low": end, "high": 1})
        found = asdict(averaged(missed, seed=0))
        assert found == pytest.approx({"value": 0, "low": 0, "high": 1 - end})
        equal = compared(hit, hit, seed=0).difference
        assert (equal.low, equal.high) == (0, 0)


def test_a_comparison_is_paired_and_its_test_is_scipys():
    before = draws(9)
    after = [part + noise for part, noise in zip(before, draws(9, seed=1), strict=True)]
    found = compared(before, after, seed=0)
    gains = after[0] - before[0]
    test = stats.permutation_test((gains,), np.mean, permutation_type="samples")
    assert found.p == pytest.approx(test.pvalue)
    assert found.difference.value == pytest.approx(gains.mean())
    assert found.lift.value == pytest.approx(after[0].mean() / before[0].mean() - 1)
    assert (found.queries, found.seeds) == (9, 1)


def test_seeds_count_alike_in_the_test_too():
    before = [np.zeros(9), np.zeros(2)]
    after = draws(9, 2, seed=2)
    weights = np.r_[np.full(9, 1 / 9), np.full(2, 1 / 2)]
    gains = np.concatenate(after) * weights
    sums = [np.dot(signs, gains) for signs in itertools.product((-1, 1), repeat=11)]
    expected = np.mean(np.abs(sums) >= gains.sum() - 1e-12)
    assert compared(before, after, seed=0).p == pytest.approx(expected)
    after[0][0] = -3.0
    gains[0] = -3.0 / 9
    sums = [np.dot(signs, gains) for signs in itertools.product((-1, 1), repeat=11)]
    expected = np.mean(np.abs(sums) >= abs(gains.sum()) - 1e-12)
    assert compared(before, after, seed=0).p == pytest.approx(expected)


def test_pairing_narrows_the_interval_and_equals_are_equal():
    before = draws(200, 200)
    shifted = [part + 0.1 for part in before]
    found = compared(before, shifted, seed=0)
    assert [found.difference.low, found.difference.high] == pytest.approx([0.1, 0.1])
    same = compared(before, before, seed=0)
    assert (same.difference.low, same.difference.high, same.lift.value) == (0, 0, 0)
    assert same.p == 1


def test_a_lift_over_nothing_is_none():
    nothing = [np.zeros(20)]
    assert compared(nothing, draws(20), seed=0).lift is None
    rare = [np.r_[1.0, np.zeros(19)]]  # many resamples have none of it
    found = compared(rare, draws(20), seed=0).lift
    assert found.value > 0
    assert found.high is None
    assert averaged([np.array([0.5])], seed=0).low is None


HOSTILE = "<script>alert(1)</script> 100% & $x_1$ {\\bad} --> |"


def experiment(tmp_path, methods=("a", "b", HOSTILE), seeds=(0, 1), **more):
    """An experiment with made-up cells: what each query got is drawn, b is a plus a bit."""
    tmp_path.mkdir(exist_ok=True)
    file = tmp_path / "made.yaml"
    spec = {"class_path": "pingraph.experiments.methods.TfIdf"}
    given = {
        "title": HOSTILE,
        "data": ["icons"],
        "seeds": list(seeds),
        "methods": dict.fromkeys(methods, spec),
    }
    file.write_text(yaml.safe_dump({**given, **more}, sort_keys=False))
    grid = Experiment.load(file)
    for cell in grid.cells():
        folder = tmp_path / "out" / cell.path
        count = 30 + 5 * cell.seed
        base = np.random.default_rng([cell.seed, len(cell.condition)]).random(count)
        values = base + 0.05 * list(methods).index(cell.method)
        queries = [f"{cell.seed}-{q}" for q in range(count)]
        keep = slice(10 * (cell.method == HOSTILE), None)  # one that answers fewer
        columns = dict.fromkeys(("recall@10", "ndcg@10", "mrr", "hit_rate@10"), values[keep])
        rows = len(values[keep])
        place = {"part": ["cold"] * rows, "task": ["pin_to_pin"] * rows}
        saves = {"query": queries[keep], "saves": np.arange(count)[keep] % 3}
        folder.mkdir(parents=True)
        pq.write_table(pa.table({**place, **saves, **columns}), folder / QUERIES_FILE)
        nothing = {part: dict.fromkeys(TASKS) for part in ("cold", "warm")}
        write_json(folder / JUDGED_FILE, nothing)
        write_json(folder / CELL_FILE, {"cell": asdict(cell), "started": {}})
        seen = {"judge": str(cell.seed), "data": f"{cell.data} {cell.seed}"}
        made = {"seconds": 3, **seen, "commit": "c" * 40, "dirty": False}
        write_json(folder / MADE_FILE, {**made, "threads": 1, "continued": [], "trained_in": "."})
    return grid, tmp_path / "out"


def test_comparisons_have_the_same_columns_where_there_is_none(tmp_path):
    tables = []
    for place, methods in enumerate((("a",), ("a", "b"))):
        grid, out = experiment(tmp_path / str(place), methods=methods)
        write_all(Figures(grid, out), out)
        tables.append(pq.read_table(out / "comparisons.parquet"))
    assert [len(table) for table in tables] == [0, 1]
    assert tables[0].schema == tables[1].schema


def test_the_table_compares_the_queries_that_both_answered(tmp_path):
    grid, out = experiment(tmp_path)
    figures = Figures(grid, out)
    sheets, _ = write_all(figures, out)
    rows = pq.read_table(out / "comparisons.parquet").to_pylist()
    assert [row["method"] for row in rows] == ["b", HOSTILE]
    assert [row["queries"] for row in rows] == [65, 45]
    assert rows[0]["difference"] == pytest.approx(0.05)
    assert rows[1]["difference"] == pytest.approx(0.1)
    smallest = min(row["p"] for row in rows)
    assert max(row["p_holm"] for row in rows) <= 2 * max(row["p"] for row in rows)
    assert min(row["p_holm"] for row in rows) == pytest.approx(2 * smallest)
    shown = {row[0].text: [cell.text for cell in row[1:]] for row in sheets[0].sections["icons"]}
    assert shown["b"][1].startswith("+0.050 [")
    assert shown["a"][1:4] == ["", "", ""]
    means = [
        np.mean(pq.read_table(out / cell.path / QUERIES_FILE)["recall@10"].to_numpy())
        for cell in grid.cells()
        if cell.method == "b"
    ]
    assert shown["b"][0].startswith(f"{np.mean(means):.3f} [")
    assert any("cccccccccc (6 cells)" in note for note in sheets[0].notes)


def test_a_cell_whose_queries_are_gone_or_damaged_is_named(tmp_path):
    grid, out = experiment(tmp_path)
    queries = out / grid.cells()[0].path / QUERIES_FILE
    for damage in (lambda: queries.write_bytes(b"PAR1"), queries.unlink):
        damage()
        with pytest.raises(PinGraphError, match=r"seed-0/queries\.parquet: not a readable"):
            write_all(Figures(grid, out), out)


def test_the_footer_names_who_went_on_with_a_cell(tmp_path):
    grid, out = experiment(tmp_path)
    made = out / grid.cells()[0].path / MADE_FILE
    others = [{"commit": "d" * 40, "dirty": True}, {"commit": None, "dirty": None}]
    write_json(made, {**read_json(made), "continued": others})
    notes = write_all(Figures(grid, out), out)[0][0].notes
    both = "cccccccccc and dddddddddd with changes and no commit (1 cells), cccccccccc (5 cells)"
    assert f"Made at {both}, threads" in notes[-1]


def test_a_mean_over_fewer_seeds_is_told(tmp_path):
    grid, out = experiment(tmp_path)
    assert not any("fewer" in one for one in write_all(Figures(grid, out), out)[0][0].notes)
    for cell in grid.cells():
        if (cell.method, cell.seed) in (("b", 1), (HOSTILE, 0), (HOSTILE, 1)):
            (out / cell.path / MADE_FILE).unlink()
    notes = write_all(Figures(grid, out), out)[0][0].notes
    told = "Over fewer seeds, and so of other queries than the rest: icons, b (1 of 2)."
    assert told in notes  # of a method without any cell there is no mean
    assert "3 cells are not finished." in notes


def test_saves_and_conditions_make_columns(tmp_path):
    held_out = {"class_path": "pingraph.experiments.conditions.HeldOut"}
    grid, out = experiment(tmp_path, by_saves=True, conditions={"one": held_out})
    means, lifts = write_all(Figures(grid, out), out)[0]
    assert means.columns == ["", "0 saves", "1 save", "2 saves", "s"]
    assert [row[-1].text for row in means.sections["icons"]] == ["3", "3", "3"]
    assert lifts.columns == means.columns[:-1]
    table = [pq.read_table(out / "icons/one/a" / f"seed-{s}" / QUERIES_FILE) for s in (0, 1)]
    expected = np.mean(
        [t["recall@10"].to_numpy()[t["saves"].to_numpy() == 1].mean() for t in table]
    )
    assert means.sections["icons"][0][2].text.startswith(f"{expected:.3f} [")
    assert [row[0].text for row in lifts.sections["icons"]] == ["b", HOSTILE]
    (tmp_path / "two").mkdir()
    grid, out = experiment(tmp_path / "two", conditions={"one": held_out, "the other": held_out})
    means, _ = write_all(Figures(grid, out), out)[0]
    assert means.columns == ["", "one", "the other", "s"]
    assert means.sections["icons"][0][1].text != means.sections["icons"][0][2].text


@pytest.mark.parametrize("by_saves", [False, True])
def test_a_measure_that_nobody_answers_has_dashes_and_no_figures_of_others(tmp_path, by_saves):
    grid, out = experiment(tmp_path, by_saves=by_saves, measure={"part": "warm"})
    measured, others = write_all(Figures(grid, out), out)[0]
    assert [row[1].text for row in measured.sections["icons"]] == ["-"] * 3
    assert others.columns == ["", "cold pin → pin"]
    assert "-" not in [row[1].text for row in others.sections["icons"]]


def test_more_columns_than_methods_become_rows(tmp_path):
    held_out = {"class_path": "pingraph.experiments.conditions.HeldOut"}
    names = ["one", "two", "three", "four"]
    grid, out = experiment(tmp_path, conditions=dict.fromkeys(names, held_out))
    figures = Figures(grid, out)
    means, lifts = write_all(figures, out)[0]
    assert means.columns == ["", "a", "b", HOSTILE]
    assert lifts.columns == ["", "b", HOSTILE]
    assert [row[0].text for row in lifts.sections["icons"]] == names
    *rows, costs = means.sections["icons"]
    assert [row[0].text for row in rows] == names
    assert [cell.text for cell in costs] == ["s", "3", "3", "3"]
    for row, of in zip(rows, figures.slices(), strict=True):
        for cell, method in zip(row[1:], grid.methods, strict=True):
            assert cell.text.startswith(f"{figures.mean('icons', method, of).value:.3f} [")
    assert all(row[1].text.startswith("+") for row in lifts.sections["icons"])  # b has more than a


def test_curves_are_lines_through_the_means(tmp_path):
    """The method at place i of a, b, … has 0.05 · i more: a line over the log of sizes 1, 2, 4."""
    sizes = {"a": 1, "b": 2, HOSTILE: 4}
    grid, out = experiment(tmp_path, methods=("a", "b", "c", HOSTILE), curves={"steps": sizes})
    figures = Figures(grid, out)
    (curve,) = fitted(figures)
    assert curve.sizes.tolist() == [1, 2, 4]
    means = [figures.mean("icons", name, figures.slices()[0]).value for name in sizes]
    slope, start = np.polyfit([0, 1, 2], means, 1)
    assert (curve.slope.value, curve.start) == pytest.approx((slope, start))
    assert curve.slope.low < curve.slope.value < curve.slope.high
    assert curve.explained == pytest.approx(np.corrcoef([0, 1, 2], means)[0, 1] ** 2)
    sheets, files = write_all(figures, out)
    assert sheets[-1].sections["icons"][0][0].text == "steps"
    assert {"curves.png", "curves.svg"} < {path.name for path in files}
    halves = {"a": 1, "b": 2}  # two points tell nothing
    assert fitted(Figures(replace(grid, curves={"steps": halves}), out)) == []
    more = replace(grid, curves={"steps": {**sizes, "c": 8}}).of(methods=list(sizes))
    assert [curve.sizes.tolist() for curve in fitted(Figures(more, out))] == [[1, 2, 4]]


def test_curves_through_methods_have_a_line_each_condition(tmp_path):
    names = ("one", "the other")
    held_out = {"class_path": "pingraph.experiments.conditions.HeldOut"}
    sizes = {"a": 1, "b": 2, HOSTILE: 4}
    given = {"conditions": dict.fromkeys(names, held_out), "curves": {"steps": sizes}}
    figures = Figures(*experiment(tmp_path, **given))
    curves = fitted(figures)
    assert [curve.series for curve in curves] == list(names)
    for curve, of in zip(curves, figures.slices(), strict=True):
        means = [figures.mean("icons", name, of).value for name in sizes]
        assert [mean.value for mean in curve.means] == means
    sheets, files = write_all(figures, tmp_path / "out")
    shown = [row[0].text for row in sheets[-1].sections["icons"]]
    assert shown == ["steps: one", "steps: the other"]
    assert "curves.svg" in {path.name for path in files}


@pytest.mark.parametrize("key", ["judge", "data"])
def test_cells_of_different_splits_or_data_are_not_compared(key, tmp_path):
    grid, out = experiment(tmp_path)
    made = out / grid.cells()[1].path / MADE_FILE
    write_json(made, {**read_json(made), key: "another"})
    with pytest.raises(PinGraphError, match=r"b/seed-0 and .*a/seed-0 were judged by different"):
        Figures(grid, out)


def test_what_one_method_alone_answers_has_no_panel(tmp_path):
    grid, out = experiment(tmp_path)

    def panels():
        figures = Figures(grid, out)
        return [axes.get_title() for axes in _dots(figures, figures.slices()[0]).axes]

    def answer(method, task):
        for cell in grid.cells():
            if cell.method == method:
                file = out / cell.path / QUERIES_FILE
                table = pq.read_table(file)
                at = table.column_names.index("task")
                other = table.set_column(at, "task", pa.array([task] * len(table)))
                pq.write_table(pa.concat_tables([table, other]), file)

    answer("a", "image_to_text")
    assert panels() == ["icons: cold pin → pin"]
    answer("b", "image_to_text")
    assert panels() == ["icons: cold pin → pin", "icons: cold image → text"]


class Page(HTMLParser):
    """Collects the elements of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.sources = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href")]


def test_hostile_names_stay_names_in_every_file(tmp_path):
    sizes = {"a": 1, "b": 2, HOSTILE: 4}
    grid, out = experiment(tmp_path, curves={HOSTILE: sizes})
    _, files = write_all(Figures(grid, out), out)
    page = Page((out / "table.html").read_text())
    assert "script" not in page.tags
    assert [source[:26] for source in page.sources] == ["data:image/svg+xml;base64,"] * 2
    assert "curves.svg" in {path.name for path in files}
    assert "&lt;script&gt;alert(1)" in (out / "table.html").read_text()
    ET.parse(out / "plot.svg")
    assert b"<script" not in (out / "plot.svg").read_bytes()
    assert (out / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert r"100% & $x_1$ {\bad} --> \|" in (out / "table.md").read_text()
    assert [path.name for path in files if not path.exists()] == []
    before = {path: path.read_bytes() for path in files}
    write_all(Figures(grid, out), out)
    assert {path: path.read_bytes() for path in files} == before


def test_latex_has_cells_of_one_number_and_no_bare_sign(tmp_path):
    grid, out = experiment(tmp_path)
    text = latex(write_all(Figures(grid, out), out)[0][0])
    lines = [line for line in text.splitlines() if not line.startswith("%")]
    assert lines[0].startswith(r"\begin{tabular}{l")
    assert lines[-1] == r"\end{tabular}"
    columns = len(re.search(r"\{(l?r*)\}$", lines[0])[1])
    for line in lines[1:-1]:
        if line == r"\hline" or line.startswith(r"\multicolumn"):
            continue
        assert line.endswith(r" \\")
        assert len(re.findall(r"(?<!\\)&", line)) == columns - 1
    body = text.replace(r"\textbackslash{}", "").replace(r"$\to$", "").replace(r"\{", "")
    body = re.sub(r"\$\\\w+\$", "", body.replace(r"\}", ""))
    assert not re.search(r"(?<!\\)[$#_]", body)
    assert body.count("{") == body.count("}")
    assert r"100\% \& \$x\_1\$ \{\textbackslash{}bad\} --\textgreater{} \textbar{}" in text


@pytest.mark.parametrize("name", ["[old]", "*"])
def test_a_row_of_latex_is_no_argument_of_the_row_before(name):
    rows = [[Cell("a")], [Cell(name)]]
    sheet = Sheet(title="", columns=[""], sections={"": rows}, notes=[])
    assert rf"{{}}{name} \\" in latex(sheet).splitlines()
