"""The report holds the figures it was made of, as text: no pin's words become part of the page."""

import base64
import csv
import hashlib
import io
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pingraph.approximate import recall_speed
from pingraph.compatibility import compatibility
from pingraph.datasets import open_dataset
from pingraph.errors import PinGraphError
from pingraph.evaluation import evaluate_table
from pingraph.explain import explain
from pingraph.geometry import uniformity, unit_rows
from pingraph.latex import latex
from pingraph.metrics import METRICS
from pingraph.pictures import SPRITE_COLUMNS, Pictures
from pingraph.plain_text import plain
from pingraph.report import served, write_report
from pingraph.report.audit import audit
from pingraph.report.cases import pick
from pingraph.report.gather import gather
from pingraph.report.measures import occurrences, spectrum, words_of
from pingraph.report.pin_map import CELL, describe_pins
from pingraph.report.plots import Mark, Series, dots
from pingraph.report.sections import sections
from pingraph.report.served import served_section
from pingraph.report.sheets import comma_separated
from pingraph.report.words import compare_runs, describe_data, describe_run
from pingraph.results import Cell, Sheet
from pingraph.served import served_quality
from pingraph.splits import EdgeSplit, NoSplit, PinSplit, Split
from pingraph.stability import stability
from pingraph.subject import Subject
from tests.browser import CHROMIUM, DRIVER, MISSING, Browser
from tests.conftest import plain_tables
from tests.test_evaluation import make_table

HOSTILE = [
    "</script><script>document.title = 'owned'</script>",
    "<img src=x onerror=\"document.title = 'owned'\">",
    '"\' onmouseover="document.title = \'owned\'" x="',
    "{{ 7 * 7 }} {% raw %} <!-- ]]> &lt;b&gt; \u2028 \x07 & | \\ $x$ =1+1",
]
ELEMENTS = """html head meta title style body a header div p h1 h2 h3 h4 button nav main section ul
li b figure figcaption span svg g line text polyline polygon circle details summary table caption
thead tbody tr th td noscript label select option input canvas aside img footer script"""


def subject(dataset, split=None, name="mine", seed=0, **changes):
    table = make_table(dataset, seed=seed, **changes)
    split = split or PinSplit(0.3).split(dataset)
    return Subject(
        name=name, dataset=dataset, split=split, run=None, notes=(), make_table=lambda: table
    )


# Colors the map, and returns the signs of its legend and the color of each pin's dot.
PAINTED = """
    const dots = [], pen = CanvasRenderingContext2D.prototype, arc = pen.arc;
    pen.arc = function (...place) { dots.push(this.fillStyle); return arc.apply(this, place); };
    const box = document.getElementById('map-color');
    box.value = arguments[0];
    box.dispatchEvent(new Event('change'));
    pen.arc = arc;
    const chips = [...document.querySelectorAll('#map-legend span')].map(
        (sign) => [sign.textContent, sign.querySelector('i').style.background]);
    return [chips, dots];
"""


class Page(HTMLParser):
    """The elements of a page, what stands in its scripts, and the text that is seen."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.scripts, self.words, self.inside = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.inside = tag

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside == "script":
            self.scripts.append(data)
        elif self.inside != "style":
            self.words.append(data)


def made(folder, *subjects, **options):
    out, numbers, _ = write_report(subjects, folder / "report.html", **options)
    text = out.read_text(encoding="utf-8")
    return Page(text), json.loads(numbers.read_text(encoding="utf-8")), text


@pytest.fixture
def hostile(write_folder):
    """Four pins and three boards whose ids, texts and titles are HOSTILE; one image is broken."""
    tables = plain_tables()
    tables["pins"] |= {"pin_id": HOSTILE, "text": HOSTILE}
    tables["pins"]["image"][3] = b"no image"
    tables["boards"] |= {"board_id": HOSTILE[:3], "title": HOSTILE[1:]}
    edges = tables["edges"]
    edges["pin_id"] = [HOSTILE["abcd".index(pin)] for pin in edges["pin_id"]]
    edges["board_id"] = [HOSTILE[board // 10 - 1] for board in edges["board_id"]]
    dataset = open_dataset(write_folder(**tables))
    dataset.name = "</title><script>document.title = 'owned'</script>"
    return dataset


def test_the_figures_are_those_of_the_evaluation(tiny, tmp_path):
    mine = subject(tiny)
    page, numbers, _ = made(tmp_path, mine)
    expected = evaluate_table(mine.table, tiny, mine.split).to_dict()
    assert numbers["runs"]["mine"]["metrics"] == expected
    value = expected["cold"]["pin_to_pin"]["recall@10"]["value"]
    assert f"recall@10 is {value:.3f}" in " ".join(page.words)
    assert json.loads(page.scripts[1]) == numbers


def test_twice_the_same_is_the_same_file(tiny, tmp_path):
    (tmp_path / "again").mkdir()
    first = made(tmp_path, subject(tiny), subject(tiny, name="other", seed=1))[2]
    assert made(tmp_path / "again", subject(tiny), subject(tiny, name="other", seed=1))[2] == first


def test_the_page_asks_for_nothing_and_runs_one_script(tiny, tmp_path):
    page, _, text = made(tmp_path, subject(tiny))
    for tag, attributes in page.elements:
        assert not {"srcset", "action", "background", "style"} & attributes.keys(), tag
        assert attributes.get("href", "#").startswith("#")
        assert "src" not in attributes or attributes["src"].startswith("data:image/webp;base64,")
    policy = next(a["content"] for t, a in page.elements if a.get("http-equiv"))
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    for source, content in (("style-src", style), ("script-src", page.scripts[2])):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{source} 'sha256-{digest}'" in policy
    assert len(page.scripts) == 3
    assert "http:" not in text.replace('xmlns="http:', "")
    assert "https:" not in text


def test_hostile_words_stay_words(hostile, tmp_path):
    named = [subject(hostile, NoSplit().split(hostile), name=name) for name in HOSTILE[:2]]
    page, numbers, _ = made(tmp_path, *named)
    assert {tag for tag, _ in page.elements} <= set(ELEMENTS.split())
    assert not [a for _, a in page.elements for name in a if name.startswith("on")]
    assert len(page.scripts) == 3
    assert not set("<>&") & set(page.scripts[0] + page.scripts[1])
    pins = json.loads(page.scripts[0])
    assert pins["id"] == HOSTILE
    assert set(pins["titles"]) == {plain(title, None) for title in HOSTILE[1:]}
    assert list(numbers["runs"]) == HOSTILE[:2]
    assert not re.search(r"(?<![\d.])49(?![\d.%])", "".join(page.words))  # 7 * 7
    assert "onerror" in "".join(page.words)  # shown as what it is
    assert numbers["data"]["broken_images"] == 1
    assert any("pixels" in note for note in numbers["notes"])


@pytest.mark.skipif(not (DRIVER and CHROMIUM), reason=MISSING)
def test_in_a_browser(hostile, tmp_path):
    made(tmp_path, subject(hostile, NoSplit().split(hostile), name=HOSTILE[1]))
    (tmp_path / "profile").mkdir()
    browser = Browser(tmp_path / "profile")
    try:
        browser.open(tmp_path / "report.html")
        assert browser.run("return document.title") == f"{HOSTILE[1]} on {hostile.name}"
        browser.run("document.getElementById('map-canvas').focus()")
        seen = set()
        for arrow in "\ue012\ue013\ue014\ue015" * 3:
            browser.type(arrow)
            seen.add(browser.run("return document.querySelector('#map-card h3').textContent"))
        assert seen <= {" ".join(text.split()) for text in HOSTILE}
        assert len(seen) > 1
        script = """
            const box = document.getElementById('map-search');
            box.value = arguments[0];
            box.dispatchEvent(new Event('input'));
            return document.getElementById('map-count').textContent;
        """
        assert browser.run(script, "ONERROR").startswith("3 of 4 pins")  # in titles too
        assert browser.run(script, "nowhere").startswith("0 of 4 pins")
        browser.run("document.querySelector('.why summary').focus()")
        browser.type("\ue007")
        assert browser.run("return document.querySelector('.why').open")
        browser.run("document.getElementById('theme').click()")
        assert browser.run("return document.documentElement.style.colorScheme") == "light"
        wide = "return document.documentElement.scrollWidth <= innerWidth"
        assert browser.run(wide)
        assert browser.run("return document.querySelectorAll('script').length") == 3
        browser.run(  # even what is written into the page by hand does not run
            "document.body.innerHTML += '<img src=x onerror=\"document.title = 1\">'"
        )
        assert browser.run("return document.title") == f"{HOSTILE[1]} on {hostile.name}"
        assert all("Content Security Policy" in line for line in browser.errors())
    finally:
        browser.close()


@pytest.mark.skipif(not (DRIVER and CHROMIUM), reason=MISSING)
def test_no_error_in_the_console(tiny, tmp_path):
    made(tmp_path, subject(tiny), subject(tiny, name="other", seed=1))
    (tmp_path / "profile").mkdir()
    browser = Browser(tmp_path / "profile", width=420)
    try:
        browser.open(tmp_path / "report.html")
        colors = """
            for (const way of document.getElementById('map-color').options) {
                document.getElementById('map-color').value = way.value;
                document.getElementById('map-color').dispatchEvent(new Event('change'));
            }
            document.getElementById('map-run').selectedIndex = 1;
            document.getElementById('map-run').dispatchEvent(new Event('change'));
            document.querySelector('button[data-copy]').click();
            document.getElementById('save').click();
            return document.documentElement.scrollWidth <= innerWidth;
        """
        assert browser.run(colors)
        assert browser.errors() == []
    finally:
        browser.close()


@pytest.mark.skipif(not (DRIVER and CHROMIUM), reason=MISSING)
def test_nothing_is_wider_than_the_paper(tiny, tmp_path):
    made(tmp_path, *(subject(tiny, name=f"run {seed}", seed=seed) for seed in range(3)))
    (tmp_path / "profile").mkdir()
    browser = Browser(tmp_path / "profile", width=718)  # of A4, in Chromium's margins
    try:
        browser.to_paper()
        browser.open(tmp_path / "report.html")
        opened = "for (const one of document.querySelectorAll('details')) one.open = true;"
        wide = "return document.documentElement.scrollWidth - innerWidth"
        assert browser.run(f"{opened} {wide}") <= 0
    finally:
        browser.close()


def test_what_cannot_stand_together_is_refused(tiny, write_folder, tmp_path):
    other = open_dataset(write_folder("other"))
    split = NoSplit().split(other)
    with pytest.raises(PinGraphError, match="different data sets"):
        made(tmp_path, subject(tiny), subject(other, split, name="b"))
    with pytest.raises(PinGraphError, match="hold out different edges"):
        made(tmp_path, subject(tiny), subject(tiny, PinSplit(0.3, 1).split(tiny), name="b"))
    with pytest.raises(PinGraphError, match="no run"):
        made(tmp_path)
    with pytest.raises(PinGraphError, match="map_pins is -1"):
        made(tmp_path, subject(tiny), map_pins=-1)
    with pytest.raises(PinGraphError, match=r"\.html"):
        write_report([subject(tiny)], tmp_path / "report.pdf")
    with pytest.raises(PinGraphError, match="not finite"):
        made(tmp_path, subject(tiny, fused=np.full((60, 8), np.nan, np.float32)))
    assert list(tmp_path.glob("*.html")) == []


def test_equal_names_are_numbered(tiny, tmp_path):
    _, numbers, _ = made(tmp_path, subject(tiny), subject(tiny, seed=1))
    assert list(numbers["runs"]) == ["mine (1)", "mine (2)"]


def test_pins_without_a_vector_are_counted(tiny, tmp_path):
    vectors = make_table(tiny).fused.copy()
    vectors[:7] = 0
    mine = subject(tiny, fused=vectors)
    page, numbers, _ = made(tmp_path, mine)
    assert numbers["runs"]["mine"]["without_vector"] == 7
    shown = gather([mine], seed=0, map_pins=0).cases["mine"]
    queries = [case["pin"]["id"] for kind in shown.values() for case in kind]
    assert queries
    assert not set(queries) & set(map(str, tiny.pin_ids[:7]))
    assert "7 of 60 pins have no vector" in "".join(page.words)


def test_zero_vectors_change_nothing_of_the_spectrum():
    vectors = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32) + 2
    assert spectrum(np.vstack([vectors, np.zeros((25, 6), np.float32)])) == spectrum(vectors)
    nothing = {"half": None, "first": []}
    assert spectrum(np.vstack([vectors[:1], np.zeros((25, 6), np.float32)])) == nothing


@pytest.mark.parametrize(("lengths", "half"), [([1] * 12, 6), ([1] * 6 + [0] * 6, 3), ([9, 1], 1)])
def test_how_many_directions_hold_half_of_the_variance(lengths, half):
    ends = np.diag(np.sqrt(lengths)).astype(np.float32)
    assert spectrum(np.vstack([ends, -ends]))["half"] == half


def test_pins_without_a_vector_are_not_counted_as_never_found():
    present = np.array([True, False, True, True, False])
    told = occurrences(np.array([[2], [3], [2]]), present)  # 0 finds 2, 2 finds 3, 3 finds 2
    assert (told["never"], told["most"], told["most_pin"]) == (pytest.approx(1 / 3), 2, 2)
    assert told["shares"][:3] == pytest.approx([1 / 3, 1 / 3, 1 / 3])
    nobody = occurrences(np.empty((0, 1), int), np.zeros(5, bool))
    assert (nobody["never"], nobody["most"], nobody["most_pin"]) == (0, 0, None)


def test_runs_that_lack_vectors_say_over_whom_they_are_compared(tiny, tmp_path):
    vectors = make_table(tiny).fused
    lacking = [np.where(np.arange(60)[:, None] < count, 0, vectors) for count in (7, 10)]
    names = ("one", "two")
    pair = [
        subject(tiny, name=name, fused=fused) for name, fused in zip(names, lacking, strict=True)
    ]
    _, numbers, _ = made(tmp_path, *pair)
    words = "over the 50 of 60 pins that have a vector in both; 3 have one in one alone, 0 in two"
    assert any(words in one.text for one in compare_runs(numbers))
    shown = {section.key: section for section in sections(numbers)}["stability"]
    assert any(words in note for note in shown.blocks[0].sheet.notes)
    gone = np.where(np.arange(60)[:, None] == 20, vectors, 0)
    _, numbers, _ = made(tmp_path, pair[0], subject(tiny, name="two", fused=gone))
    assert any("two and one have no neighbors." in one.text for one in compare_runs(numbers))


def test_a_run_beside_vectors_without_images_and_texts(tiny, tmp_path):
    whole = subject(tiny)
    none, nobody = np.zeros_like(whole.table.fused), np.zeros(60, bool)
    bare = replace(whole.table, image=none, text=none, has_image=nobody, has_text=nobody)
    other = replace(whole, name="bare", make_table=lambda: bare)
    for pair in ((whole, other), (other, whole), (other, replace(other, name="too"))):
        page, numbers, _ = made(tmp_path, *pair)
        for part in ("cold", "warm"):
            assert numbers["runs"]["bare"]["metrics"][part]["image_to_text"] is None
        tasks = {test["task"] for test in numbers["differences"]}
        assert not tasks & {"image_to_text", "text_to_image"}
        if whole not in pair:
            assert "image → text" not in "".join(page.words)


def test_all_vectors_alike_or_zero(tiny, tmp_path):
    for value in (0.0, 8**-0.5):
        _, numbers, _ = made(tmp_path, subject(tiny, fused=np.full((60, 8), value, np.float32)))
        run = numbers["runs"]["mine"]
        chance = numbers["chance"]["warm"]
        assert run["metrics"]["warm"]["pin_to_pin"]["recall@10"]["value"] < 2 * chance
        assert run["spectrum"] == {"half": None, "first": []}


@pytest.mark.parametrize("count", [1, 2])
def test_a_single_pin_and_boards_of_one(write_folder, tmp_path, count):
    tables = plain_tables()
    tables["pins"] = {name: column[:count] for name, column in tables["pins"].items()}
    tables["edges"] = {"pin_id": ["a", "b"][:count], "board_id": np.array([10, 20])[:count]}
    dataset = open_dataset(write_folder(**tables))
    page, numbers, _ = made(tmp_path, subject(dataset, NoSplit().split(dataset)))
    assert "nothing can be said of retrieval" in "".join(page.words)
    assert numbers["chance"] == {"cold": None, "warm": None}


def test_no_images_and_no_texts(write_folder, tmp_path):
    tables = plain_tables()
    tables["pins"] = {"pin_id": tables["pins"]["pin_id"]}
    dataset = open_dataset(write_folder(**tables))
    page, numbers, _ = made(tmp_path, subject(dataset, NoSplit().split(dataset)))
    assert "4 of 4 pins have no image" in "".join(page.words)
    assert numbers["baselines"] == {}
    assert json.loads(page.scripts[0])["picture"] == [-1] * 4


def test_without_a_map(tiny, tmp_path):
    page, _, _ = made(tmp_path, subject(tiny), map_pins=0)
    assert json.loads(page.scripts[0])["id"] == []


def test_a_map_of_some_pins(tiny, tmp_path):
    page, _, _ = made(tmp_path, subject(tiny), map_pins=25)
    pins = json.loads(page.scripts[0])
    table = subject(tiny).table
    rows = [table.pin_ids.tolist().index(type(table.pin_ids[0].item())(pin)) for pin in pins["id"]]
    assert len(rows) == 25 == len(set(rows))
    scores = table.fused[rows] @ table.fused[rows].T
    np.fill_diagonal(scores, -2)
    assert pins["runs"][0]["near"] == np.argsort(-scores, axis=1)[:, :6].tolist()
    assert pins["degree"] == tiny.graph.pin_degrees[rows].tolist()
    pictured = [place for place in pins["picture"] if place >= 0]
    assert pictured == list(range(tiny.has_image[rows].sum()))
    assert [place >= 0 for place in pins["picture"]] == tiny.has_image[rows].tolist()


def hub(write_folder, own=18):
    """Pins 0 to 20 are on the last two boards, and pin 20 on `own` boards where it is alone."""
    shared = [(pin, board) for pin in range(21) for board in (own, own + 1)]
    ends = np.array([*shared, *((20, board) for board in range(own))])
    return open_dataset(
        write_folder(
            pins={"pin_id": np.arange(21), "text": [f"word{pin}" for pin in range(21)]},
            boards={
                "board_id": np.arange(own + 2),
                "title": [f"b{board:02d}" for board in range(own + 2)],
            },
            edges={"pin_id": ends[:, 0], "board_id": ends[:, 1]},
        )
    )


def test_the_map_knows_all_boards_of_a_pin(write_folder, tmp_path):
    dataset = hub(write_folder)
    page, _, _ = made(tmp_path, subject(dataset, NoSplit().split(dataset)))
    pins = json.loads(page.scripts[0])
    assert pins["titles"][:2] == ["b18", "b19"]
    boards = [[pins["titles"][board] for board in own] for own in pins["boards"]]
    assert boards == [["b18", "b19"]] * 20 + [[f"b{board:02d}" for board in range(20)]]


def test_the_map_buckets_pins_by_their_boards_alone(write_folder, tmp_path):
    dataset = hub(write_folder)
    page, _, _ = made(tmp_path, subject(dataset, NoSplit().split(dataset)))
    pins = json.loads(page.scripts[0])
    buckets = ["0", "1", "2\N{EN DASH}4", "5\N{EN DASH}16", "17\N{EN DASH}64"]
    assert pins["buckets"] == buckets
    assert pins["bucket"] == [2] * 20 + [4]
    few = describe_pins(dataset, NoSplit().split(dataset), np.arange(20), Pictures(dataset))
    assert few["buckets"] == buckets[:3]  # though two boards have 21 pins


@pytest.mark.skipif(not (DRIVER and CHROMIUM), reason=MISSING)
def test_a_pin_on_many_boards_is_colored_and_found_by_all_of_them(write_folder, tmp_path):
    dataset = hub(write_folder, own=300)
    made(tmp_path, subject(dataset, NoSplit().split(dataset)))
    (tmp_path / "profile").mkdir()
    browser = Browser(tmp_path / "profile")
    try:
        browser.open(tmp_path / "report.html")
        chips, dots = browser.run(PAINTED, "board")
        assert [name for name, _ in chips][:2] == ["b300", "b301"]
        assert len(dots) == 21
        assert len(set(dots)) == 1  # all are on the most common board, the last pin too
        look = """
            const box = document.getElementById('map-search');
            box.value = 'b301';
            box.dispatchEvent(new Event('input'));
            const count = document.getElementById('map-count').textContent;
            box.value = 'word20';
            box.dispatchEvent(new Event('input'));
            return [count, document.getElementById('map-card').textContent];
        """
        count, card = browser.run(look)
        chips, dots = browser.run(PAINTED, "bucket")
        assert count.startswith("21 of 21 pins")
        assert "b10, b11 and 290 more" in card
        names = [name.replace("\N{EN DASH}", "-") for name, _ in chips]
        assert names[:4] == ["0 boards", "1 board", "2-4 boards", "5-16 boards"]
        assert names[4:] == ["17-64 boards", "65-256 boards", "257-1024 boards"]
        colors = [color for _, color in chips]
        assert len(set(colors)) == 7
        assert "" not in colors
        assert [colors[0], colors[-1]] == ["rgb(68, 1, 84)", "rgb(253, 231, 37)"]
        assert len(set(dots)) == 2
    finally:
        browser.close()


def test_the_pictures_of_the_largest_map_fit_into_one_image():
    rows = -(-20_000 // SPRITE_COLUMNS)
    assert CELL * max(rows, SPRITE_COLUMNS) <= 16_383  # of WebP


def test_chance_is_what_random_vectors_get(tiny):
    split = PinSplit(0.3).split(tiny)
    chance = gather([subject(tiny, split)], seed=0, map_pins=0).numbers["chance"]
    place = METRICS.index("recall@10")
    for part in ("cold", "warm"):
        means = [
            getattr(evaluate_table(make_table(tiny, seed=seed), tiny, split), part)["pin_to_pin"]
            .values[:, place]
            .mean()
            for seed in range(60)
        ]
        spread = np.std(means) / np.sqrt(len(means))
        assert chance[part] == pytest.approx(np.mean(means), abs=4 * spread)


def test_the_map_leaves_out_who_has_no_vector(tiny, tmp_path):
    first, second = (make_table(tiny, seed=seed).fused.copy() for seed in (0, 1))
    first[:7] = 0
    second[5:9] = 0
    page, _, _ = made(
        tmp_path, subject(tiny, fused=first), subject(tiny, fused=second, name="b", seed=1)
    )
    pins = json.loads(page.scripts[0])
    assert pins["id"] == [str(pin) for pin in tiny.pin_ids[9:].tolist()]
    for run, vectors in zip(pins["runs"], (first, second), strict=True):
        scores = vectors[9:] @ vectors[9:].T
        np.fill_diagonal(scores, -2)
        assert run["near"] == np.argsort(-scores, axis=1)[:, :6].tolist()
        assert len(run["x"]) == 51
    assert "Left out for lack of a vector in one of the runs: 9." in " ".join(page.words)


def test_the_picked_queries_follow_the_rule(tiny):
    mine = subject(tiny)
    result = evaluate_table(mine.table, tiny, mine.split).warm["pin_to_pin"]
    picked = pick(result, tiny, 3, seed=0)
    ndcg = dict(
        zip(result.queries.tolist(), result.values[:, METRICS.index("ndcg@10")], strict=True)
    )
    assert ndcg[picked["worst"][0]] == min(ndcg.values())
    assert ndcg[picked["best"][0]] == max(ndcg.values())
    flat = [pin for pins in picked.values() for pin in pins]
    assert len(flat) == len(set(flat))
    for pins in picked.values():
        boards = [board for pin in pins for board in tiny.graph.boards_of(pin).tolist()]
        assert len(boards) == len(set(boards))


def test_the_explained_pairs_follow_the_rule(tiny, tmp_path):
    mine = subject(tiny)
    found = gather([mine], seed=0, map_pins=0)
    ids = {str(pin): pin for pin in tiny.pin_ids.tolist()}
    told = []
    for kind, queries in found.cases["mine"].items():
        for case in queries:
            hits = [pin["shared"] is not None for pin in case["neighbors"]]
            wanted = [("hit", True), ("miss", False)]
            expected = [(name, hits.index(hit) + 1) for name, hit in wanted if hit in hits]
            assert [(why["relation"], why["place"]) for why in case["why"]] == expected
            for why in case["why"]:
                ends = case["pin"]["id"], case["neighbors"][why["place"] - 1]["id"]
                assert why["explanation"] == explain(mine, *(ids[end] for end in ends), top=3)
                told.append({"kind": kind, **why})
    assert told == found.numbers["runs"]["mine"]["explanations"]
    assert {why["relation"] for why in told} == {"hit", "miss"}
    page, _, _ = made(tmp_path, mine)
    words = "".join(page.words)
    assert all(line in words for why in told for line in why["explanation"]["summary"])
    folded = [attributes for tag, attributes in page.elements if attributes.get("class") == "why"]
    assert len(folded) == sum(map(len, found.cases["mine"].values()))
    assert not any("open" in attributes for attributes in folded)


def test_served_forms_are_those_of_served_quality(tiny, numbers):
    mine = subject(tiny)
    expected = served_quality(mine.table, tiny, mine.split, seed=0, max_queries=500)
    assert numbers["runs"]["mine"]["served"] == {**expected, "approximate": None}  # few pins
    sheets = [block.sheet for block in served_section(numbers).blocks]
    assert [sheet.title for sheet in sheets] == ["Stored forms: mine", "Stored forms: other"]
    rows = {row[0].text: [cell.text for cell in row] for row in sheets[0].sections[""]}
    assert list(rows) == ["float (whole)", "int8", "binary", "1/2 of the channels"][: len(rows)]
    form = next(one for one in expected["forms"] if one["code"] == "binary")
    assert rows["binary"][1:3] == [str(form["dim"]), str(form["bytes_per_pin"])]
    assert rows["binary"][3].startswith(f"{form['neighbors_kept']['value']:.3f}")
    main = form["parts"]["cold"]["pin_to_pin"]["recall@10"]
    assert rows["binary"][4].startswith(f"{main['value']:.3f}")
    assert rows["binary"][5].startswith(f"{main['lift']:+.1%}")


def test_approximate_search_is_told_without_its_speed(tiny, numbers, monkeypatch):
    monkeypatch.setattr(served, "_LEAST_PINS", 60)
    monkeypatch.setattr(served, "_PER_LIST", 7)
    mine = subject(tiny)
    found = served.measure_served(mine, seed=0)["approximate"]
    assert (found["factory"], found["lists"]) == ("IVF8,Flat", 8)
    assert [point["effort"] for point in found["points"]] == [1, 4]
    recalls = [point["recall"]["value"] for point in found["points"]]
    assert recalls[0] < recalls[1] <= 1
    expected = recall_speed(
        mine.table, tiny, mine.split, factory="IVF8,Flat", parameter="nprobe", efforts=[1, 4]
    )
    for point, whole in zip(found["points"], expected["points"], strict=True):
        assert point == {key: whole[key] for key in point}
    assert "second" not in json.dumps(found)
    told = json.loads(json.dumps(numbers))
    told["runs"]["mine"]["served"]["approximate"] = found
    sheet = served_section(told).blocks[1].sheet
    assert [row[0].text for row in sheet.sections[""]] == ["1 of 8", "4 of 8"]
    assert sheet.sections[""][0][1].text.startswith(f"{recalls[0]:.3f}")


def test_without_faiss_nothing_is_said_of_approximate_search(tiny, monkeypatch):
    monkeypatch.setattr(served, "_LEAST_PINS", 60)
    monkeypatch.setattr(served.importlib.util, "find_spec", lambda name: None)
    assert served.measure_served(subject(tiny), seed=0)["approximate"] is None


def test_a_form_is_called_by_its_share_of_the_channels():
    names = [
        served.form_name({"dim": dim, "code": code}, 8)
        for dim, code in ((8, "int8"), (2, "float"), (4, "binary"))
    ]
    assert names == ["int8", "1/4 of the channels", "1/2 of the channels, binary"]


def test_stability_is_of_the_first_and_each_other_run(tiny, numbers, tmp_path):
    first, other = subject(tiny), subject(tiny, name="other", seed=1)
    assert numbers["stability"] == [
        {
            "first": "mine",
            "second": "other",
            **stability(first.table, other.table, seed=0),
            "compatibility": compatibility(first.table, other.table, tiny, first.split),
        }
    ]
    shown = {section.key: section for section in sections(numbers)}["stability"]
    churn = numbers["stability"][0]["neighbors"]["churn"]["value"]
    assert shown.blocks[0].sheet.sections[""][0][1].text.startswith(f"{churn:.3f}")
    said = [one.text for one in compare_runs(numbers)]
    assert any(f"From mine to other, {churn:.0%}" in text for text in said)
    page, alone, _ = made(tmp_path, first)
    assert alone["stability"] == []
    assert "stability" not in [attributes.get("id") for _, attributes in page.elements]


def test_the_audit_counts_what_content_gives_away(write_folder):
    tables = plain_tables()
    tables["pins"]["text"] = ["Red colors!", "red  colors nature", "red  colors nature", "nature"]
    tables["boards"]["title"] = ["Red, colors", "nature walk", "animals"]
    tables["pins"]["image"][1] = tables["pins"]["image"][0]
    dataset = open_dataset(write_folder(**tables))
    held_out = np.isin(dataset.graph.edges()[0], [2, 3])
    split = Split(
        kind="pin",
        seed=0,
        parameters={},
        fingerprint=dataset.graph.fingerprint(),
        train_edges=~held_out,
        train_pins=np.array([0, 1]),
    )
    found = {check["name"]: check for check in audit(dataset, split)["checks"]}
    assert found["leak guard"]["verdict"] == "pass"
    assert (found["same text"]["found"], found["same text"]["of"]) == (1, 2)
    # Of the edges c-colors, c-nature walk and d-animals only the first is told by the text, whole.
    assert (found["title in the text"]["found"], found["title in the text"]["of"]) == (1, 3)
    assert found["title in the text"]["verdict"] == "warn"
    assert found["nearly the same image"]["of"] == 2
    twin = Split(**{**vars(split), "train_edges": dataset.graph.edges()[0] == 0})
    checks = audit(dataset, twin)["checks"]
    assert checks[0]["verdict"] == "fail"  # b shows the image of a
    assert "leak" in checks[0]["means"] or "both sides" in checks[0]["means"]


def test_broken_images_are_counted_wherever_they_are(tiny_folder, tmp_path):
    folder = tmp_path / "broken"
    shutil.copytree(tiny_folder, folder)
    pins = pq.read_table(folder / "pins.parquet").to_pydict()
    had = [place for place, image in enumerate(pins["image"]) if image is not None]
    spoiled = had[::2]
    for place in spoiled:
        pins["image"][place] = b"no image %d" % place
    pq.write_table(pa.table(pins), folder / "pins.parquet")
    dataset = open_dataset(folder)
    split = PinSplit(0.3).split(dataset)
    page, numbers, _ = made(tmp_path, subject(dataset, split), map_pins=0)
    assert numbers["data"]["broken_images"] == len(spoiled) > 12  # more than the queries show
    assert f"{len(spoiled)} of {len(had)} images cannot be decoded" in "".join(page.words)
    assert "raw_pixels" not in numbers["baselines"]
    cold = set(split.cold_pins(dataset.graph).tolist()) & set(had)
    check = numbers["audit"]["checks"][2]
    assert check["of"] == len(cold - set(spoiled)) < len(cold)


def test_nearly_equal_images_are_found(write_folder):
    from PIL import Image

    from pingraph.images import encode_png

    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    near = np.clip(noise.astype(int) + 3, 0, 255).astype(np.uint8)
    tables = plain_tables()
    tables["pins"]["image"][0] = encode_png(Image.fromarray(noise))
    tables["pins"]["image"][3] = encode_png(Image.fromarray(near))
    dataset = open_dataset(write_folder(**tables))
    held_out = dataset.graph.edges()[0] == 3
    split = Split(
        kind="pin",
        seed=0,
        parameters={},
        fingerprint=dataset.graph.fingerprint(),
        train_edges=~held_out,
        train_pins=np.array([0, 1, 2]),
    )
    check = audit(dataset, split)["checks"][2]
    assert (check["found"], check["of"]) == (1, 1)


@pytest.fixture(scope="module")
def numbers(tiny):
    return gather([subject(tiny), subject(tiny, name="other", seed=1)], seed=0, map_pins=0).numbers


def test_the_words_follow_the_numbers(numbers):
    told = json.loads(json.dumps(numbers))
    task = told["runs"]["mine"]["metrics"]["cold"]["pin_to_pin"]
    task["recall@10"] = {"value": 0.9, "ci95": [0.8, 0.95]}
    assert describe_run(told, "mine")[0].kind == "note"  # of 60 pins chance finds a quarter
    told["chance"]["cold"] = 0.1
    said = describe_run(told, "mine")
    assert said[0].kind == "good"
    assert "0.900 (95%: 0.800 to 0.950)" in said[0].text
    task["recall@10"]["ci95"] = [told["chance"]["cold"], 0.95]
    assert describe_run(told, "mine")[0].kind == "bad"
    texts = told["runs"]["mine"]["metrics"]["cold"]["image_to_text"]
    texts["recall@10"]["value"] = 0.9
    for queries, corpus, kind in ((5, 60, "good"), (4, 60, "note"), (5, 39, "note")):
        texts |= {"queries": queries, "corpus": corpus}
        (said,) = [one for one in describe_run(told, "mine") if one.text.startswith("image → text")]
        assert said.kind == kind
        assert said.text.startswith(f"image → text, {queries} queries: 90% of what could be found")

    warm = told["runs"]["mine"]["metrics"]["warm"]["pin_to_pin"]["recall@10"]
    for value, kind in ((1.0, "note"), (2.0, "bad")):
        warm["value"] = value
        (said,) = [one for one in describe_run(told, "mine") if "Cold pins reach" in one.text]
        assert said.kind == kind
        assert f"0.900, warm ones, which may have been trained on, {value:.3f}." in said.text

    test = told["over_baselines"]["mine"]["tf_idf"]["cold"]
    for difference, p, kind, word in [
        (0.2, 0.01, "good", "Better than TF-IDF"),
        (0.2, 0.30, "bad", "No better than TF-IDF"),
        (-0.2, 0.01, "bad", "Worse than TF-IDF"),
    ]:
        test |= {"difference": difference, "p": p}
        assert any(one.kind == kind and word in one.text for one in describe_run(told, "mine"))

    pair = next(t for t in told["differences"] if (t["part"], t["task"]) == ("cold", "pin_to_pin"))
    pair |= {"difference": -0.1, "p_holm": 0.01}
    assert any("other is behind mine" in one.text for one in compare_runs(told))
    pair |= {"p_holm": 0.2}
    assert any("do not differ beyond chance" in one.text for one in compare_runs(told))

    told["audit"]["checks"][0] |= {"verdict": "fail", "means": "an edge leaks"}
    assert describe_data(told)[0] == ("bad", "Leak: an edge leaks")


def test_what_int8_costs_is_told(numbers):
    told = json.loads(json.dumps(numbers))
    forms = {one["code"]: one for one in told["runs"]["mine"]["served"]["forms"]}
    for code, ends, kind in [
        ("int8", [-0.01, 0.01], "good"),
        ("int8", [-0.05, 0.01], "note"),
        ("int8", [-0.05, -0.03], "bad"),
        ("binary", [-0.05, -0.03], "note"),
    ]:
        main = forms[code]["parts"]["cold"]["pin_to_pin"]["recall@10"]
        main |= {"lift": sum(ends) / 2, "lift_ci95": ends}
        said = [one for one in describe_run(told, "mine") if f"Stored as {code}," in one.text]
        assert [one.kind for one in said] == [kind]


def test_groups_that_differ_are_told(numbers):
    told = json.loads(json.dumps(numbers))
    low = {"name": "1", "queries": 50, "value": 0.1, "ci95": [0.05, 0.15]}
    high = {"name": "2", "queries": 50, "value": 0.5, "ci95": [0.4, 0.6]}
    told["runs"]["mine"]["cold"]["by_content"] = [low, high]
    assert any("Not alike" in one.text for one in describe_run(told, "mine"))
    high["ci95"] = [0.1, 0.9]
    assert not any("Not alike" in one.text for one in describe_run(told, "mine"))


def test_the_worst_and_best_boards_are_those_of_a_loop(tiny):
    mine = subject(tiny, NoSplit().split(tiny))
    found = gather([mine], seed=0, map_pins=9).numbers["runs"]["mine"]["warm"]
    result = evaluate_table(mine.table, tiny, mine.split).warm["pin_to_pin"]
    recall = dict(
        zip(result.queries.tolist(), result.values[:, METRICS.index("recall@10")], strict=True)
    )
    means = {}
    for board in range(tiny.graph.num_boards):
        pins = [int(pin) for pin in tiny.graph.pins_of(board)]
        asked = [recall[pin] for pin in pins if pin in recall]
        if len(pins) > 1 and len(asked) >= 5:
            means[str(tiny.board_ids[board])] = (len(asked), np.mean(asked))
    values = sorted(mean for _, mean in means.values())
    assert found["boards"] == len(values) > 1
    for key, expected in (("worst_boards", values), ("best_boards", values[::-1])):
        assert [one["value"] for one in found[key]] == pytest.approx(expected[: len(found[key])])
        for one in found[key]:
            assert (one["queries"], one["value"]) == pytest.approx(means[one["board"]])
            assert one["ci95"][0] <= one["value"] <= one["ci95"][1]


def test_queries_are_told_apart_by_the_words_that_training_has_seen(write_folder):
    pins = np.arange(80)
    texts = ["Red, red!", "{0} red BLUE", "{0}, red; red", "?!"]  # of a number no other pin has
    names = ["all words", "most words", "half or fewer words", "no words"]
    images = [plain_tables()["pins"]["image"][0], *[None] * 79]
    said = [texts[pin % 4].format(pin) for pin in pins]
    edges = {"pin_id": np.repeat(pins, 2), "board_id": np.stack([pins % 5, pins % 7], 1).ravel()}
    dataset = open_dataset(
        write_folder(
            pins={"pin_id": pins, "image": images, "text": said},
            boards={"board_id": np.arange(7), "title": [""] * 7},
            edges=edges,
        )
    )
    mine = subject(dataset, PinSplit(0.4).split(dataset))
    run = gather([mine], seed=0, map_pins=9).numbers["runs"]["mine"]
    result = evaluate_table(mine.table, dataset, mine.split).cold["pin_to_pin"]
    values = result.values[:, METRICS.index("recall@10")]
    for kind, (name, group) in enumerate(zip(names, run["cold"]["by_words"], strict=True)):
        asked = values[result.queries % 4 == kind]
        assert group["name"].startswith(name)
        assert group["queries"] == len(asked) > 0
        assert group["value"] == pytest.approx(asked.mean())
    assert run["warm"]["by_words"][1]["queries"] == 0  # a pin of training has seen its own words
    assert words_of("Red, RED's 3 Äpfel") == {"red", "s", "3", "äpfel"}


def test_who_is_shown_and_the_young_have_their_tables(numbers):
    blocks = {section.key: section.blocks for section in sections(numbers)}["whom"]
    sheets = {block.sheet.title: block for block in blocks}
    run = numbers["runs"]["mine"]
    for part in ("cold", "warm"):
        found = run[part]["exposure"]
        shown = sheets[f"Who is shown to {part} queries"]
        assert set(shown.copies) == {"Markdown", "LaTeX", "CSV"}
        rows = {row[0].text: row[1].text for row in shown.sheet.sections[""]}
        assert rows["average popularity"].startswith(f"{found['popularity']['value']:.3f}")
        assert rows["coverage"].startswith(f"{found['coverage']['value']:.3f}")
        assert rows["Gini"].startswith(f"{found['gini']['value']:.3f}")
        assert len(shown.sheet.notes) == len(rows) == 7
        ages = sheets[f"recall@10 by age of the query, {part} queries"].sheet
        groups = [one for one in run["by_age"][part]["pin_to_pin"] if one["queries"]]
        assert [row[0].text for row in ages.sections[""]] == [one["bucket"] for one in groups]
        values = [f"{one['recall@10']['value']:.3f}" for one in groups]
        assert [row[2].text[:5] for row in ages.sections[""]] == values
        assert "first save" in ages.notes[0]
    without = json.loads(json.dumps(numbers))
    for one in without["runs"].values():
        one["by_age"] = None  # data without times
    titles = [block.sheet.title for section in sections(without) for block in section.blocks]
    assert not any("age of the query" in title for title in titles)


def test_means_over_boards_have_their_tables(numbers):
    blocks = {section.key: section.blocks for section in sections(numbers)}["retrieval"]
    sheets = {block.sheet.title: block for block in blocks}
    shown = sheets["Cold pins: all metrics by board"]
    assert set(shown.copies) == {"Markdown", "LaTeX", "CSV"}
    task = numbers["runs"]["mine"]["metrics"]["cold"]["pin_to_pin"]
    rows = shown.sheet.sections[f"pin → pin ({task['boards']} boards)"]
    values = [f"{task[metric]['macro']['value']:.3f}" for metric in METRICS]
    assert [row[1].text.split(" ")[0] for row in rows] == values
    assert "each of which is the mean over its queries" in shown.sheet.notes[0]


def test_uniformity_is_of_all_pins_up_to_a_bound_that_the_page_names(write_folder, numbers):
    pins = np.arange(2100)
    dataset = open_dataset(
        write_folder(
            pins={"pin_id": pins, "text": [f"word{pin}" for pin in pins]},
            boards={"board_id": [0], "title": ["all"]},
            edges={"pin_id": pins[:9], "board_id": np.zeros(9, np.int64)},
        )
    )
    mine = subject(dataset, NoSplit().split(dataset))
    found = gather([mine], seed=0, map_pins=0).numbers["runs"]["mine"]["geometry"]
    assert found["uniformity"]["value"] == uniformity(unit_rows(mine.table.fused)[0])
    table = {section.key: section.blocks for section in sections(numbers)}["geometry"][0].sheet
    assert any("10,000 drawn pins" in note for note in table.notes)


def sheet(cells):
    return Sheet(
        title="t", columns=["a", "b"], sections={"s": [[Cell(c) for c in cells]]}, notes=["n"]
    )


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=2))
@settings(deadline=None, max_examples=100)
def test_cells_survive_csv_and_cannot_break_latex(cells):
    text = comma_separated(sheet(cells))
    if not any(set(cell) & set("\r\n") for cell in cells):
        row = list(csv.reader(io.StringIO(text, newline="")))[1][1:]
        assert [cell.removeprefix("'") for cell in row] == [c.removeprefix("'") for c in cells]
        assert not any(cell[:1] in "=@\t\r" and cell for cell in row)
    body = latex(sheet(cells)).splitlines()[-4].removeprefix("{}")
    bare = re.sub(r"\\(text\w+\{\}|[&%$#_{}]|\w+arrow|to|geq|pm|lambda)|\$\^2\$", "", body)
    assert bare.count("&") == 1
    assert not set(bare.replace("$$", "").removesuffix(r" \\")) & set("%#_{}~^\\$")


def test_markdown_keeps_its_columns():
    rows = sheet(["a|b", "c"]).markdown().splitlines()
    assert re.split(r"(?<!\\)\|", rows[-3])[1:-1] == [r" a\|b ", " c "]


def test_a_plot_has_its_values_to_scale():
    from xml.etree import ElementTree

    marks = [Mark(0.25, 0.2, 0.3), Mark(0.5, 0.4, 0.6)]
    svg = dots(["x", "y"], [Series(name="<b>", look=0, marks=marks)], title="t")
    tree = ElementTree.fromstring(svg)
    ticks = {
        text.text: float(text.get("x")) for text in tree.iter("text") if "tick" in text.get("class")
    }
    unit = (ticks["0.60"] - ticks["0.00"]) / 0.6
    for circle, mark in zip(tree.iter("circle"), marks, strict=True):
        assert float(circle.get("cx")) == pytest.approx(ticks["0.00"] + unit * mark.value, abs=0.2)
    whiskers = [one for one in tree.iter("line") if one.get("class") == "whisker"]
    assert float(whiskers[1].get("x2")) == pytest.approx(ticks["0.00"] + unit * 0.6, abs=0.2)
    assert next(tree.iter("title")).text == "x, <b>: 0.250 (95%: 0.200 to 0.300)"


def test_command_line(run, commands, tmp_path):
    ended = commands.run("report", run)
    assert ended.status == 0, ended.err
    written = [str(run / "report.html"), str(run / "report.metrics.json")]
    assert ended.out.splitlines()[-2:] == written
    other = tmp_path / "both.html"
    ended = commands.run("report", run, run, "-o", other, "--map_pins", 10)
    assert ended.status == 0, ended.err
    assert "run (2)" in other.read_text(encoding="utf-8")
    assert "expected the name of an .html" in commands.run("report", run, "-o", "x.txt").refusal()
    commands.run("report").refusal()
    commands.run("report", tmp_path / "nowhere").refusal()


def test_the_console_tells_what_is_wrong_with_the_data(write_folder, commands, tmp_path):
    tables = plain_tables()
    tables["pins"]["image"][2:] = [None, b"no image"]
    tables["pins"]["text"][0] = " "
    tables["edges"] = {"pin_id": ["a", "b"], "board_id": np.array([10, 20])}
    folder = write_folder(**tables)
    for name, rows in (("one", 3), ("two", 2)):
        np.save(tmp_path / f"{name}.npy", np.eye(4, dtype=np.float32)[:rows])
        np.save(tmp_path / f"{name}.ids.npy", np.array(["a", "b", "c"][:rows]))
    out = tmp_path / "both.html"
    files = tmp_path / "one.npy", tmp_path / "two.npy"
    ended = commands.run("report", *files, "--data", folder, "-o", out)
    assert ended.status == 0, ended.err
    *caveats, page, numbers = ended.out.splitlines()
    assert [page, numbers] == [str(out), str(out.with_suffix(".metrics.json"))]
    told = [
        "Nothing was held out",
        "None of the 4 pins has a board-mate",
        "one.npy: 1 of 4 pins",
        "two.npy: 2 of 4 pins",
        "1 of 3 images",
        "1 of 4 pins have no image",
        "1 of 4 pins have no text",
    ]
    assert all(line.startswith(start) for line, start in zip(caveats, told, strict=True))
    words = " ".join(Page(out.read_text(encoding="utf-8")).words)
    assert all(
        line.removeprefix("one.npy: ").removeprefix("two.npy: ") in words for line in caveats
    )


def test_vectors_of_others(tiny, tiny_folder, commands, tmp_path):
    np.save(tmp_path / "theirs.npy", make_table(tiny).fused)
    np.save(tmp_path / "theirs.ids.npy", tiny.pin_ids)
    out = tmp_path / "theirs.html"
    ended = commands.run("report", tmp_path / "theirs.npy", "--data", tiny_folder, "-o", out)
    assert ended.status == 0, ended.err
    numbers = json.loads(out.with_suffix(".metrics.json").read_text(encoding="utf-8"))
    assert numbers["split"]["kind"] == "none"
    assert {check["verdict"] for check in numbers["audit"]["checks"]} == {"none"}
    words = " ".join(Page(out.read_text(encoding="utf-8")).words)
    told = words.index("Nothing was held out of the embeddings")
    assert words.index("Summary", words.index("Queries")) < told < words.index("warm pins")
    assert "The leak audit had nothing to check." in words
    assert "The leak audit found nothing" not in words
    assert numbers["runs"]["theirs.npy"]["metrics"]["warm"]["pin_to_pin"]["queries"] > 0


def test_a_split_that_leaves_known_pairs_out_says_so(tiny, tmp_path):
    split = EdgeSplit(0.05, seed=3).split(tiny)
    assert not len(split.cold_pins(tiny.graph))
    mine = subject(tiny, split)
    page, numbers, _ = made(tmp_path, mine)
    words = " ".join(page.words)
    task = numbers["runs"]["mine"]["metrics"]["warm"]["pin_to_pin"]
    rate = f"{task['hit_rate@10']['value']:.0%}"
    assert f"Of {task['queries']} warm pins, {rate}" in words
    for told in (
        "have a board-mate that training did not know among their 10 nearest pins, known ones left "
        "out;",
        "Relevant to a pin are the board-mates that training did not know; known ones are left ",
        "Board-mates that training knew are framed too, but count for no figure.",
        "of one image (to the byte) to one board, all edges are on the same side.",
    ):
        assert told in words
    page, _, _ = made(tmp_path, subject(tiny))
    words = " ".join(page.words)
    assert "no image (to the byte) is on both sides" in words
    assert "did not know" not in words


def test_no_board_is_among_the_worst_and_the_best(tiny, tmp_path):
    _, numbers, _ = made(tmp_path, subject(tiny))
    for part in ("cold", "warm"):
        told = numbers["runs"]["mine"][part]
        worst, best = ({one["board"] for one in told[f"{end}_boards"]} for end in ("worst", "best"))
        assert not worst & best
        assert len(worst | best) == min(16, told["boards"])


def test_boards_without_a_title_are_called_by_their_id(write_folder, tmp_path):
    names = list("abcdefgh")
    dataset = open_dataset(
        write_folder(
            pins={"pin_id": names, "text": names},
            boards={"board_id": ["w6", "long"], "title": ["  ", "x" * 4000]},
            edges={"pin_id": names * 2, "board_id": ["w6"] * 8 + ["long"] * 8},
        )
    )
    mine = subject(dataset, NoSplit().split(dataset))
    page, numbers, _ = made(tmp_path, mine)
    assert set(json.loads(page.scripts[0])["titles"]) == {"w6", "x" * 159 + "…"}
    told = numbers["runs"]["mine"]["warm"]
    titles = {one["title"] for one in told["worst_boards"] + told["best_boards"]}
    assert titles == {"w6", "x" * 47 + "…"}
    assert "x" * 200 not in "".join(page.words)
