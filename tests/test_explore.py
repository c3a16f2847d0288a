"""The page tells what vectors and graph hold, to nobody but itself; no pin's words are run."""

import asyncio
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pingraph.datasets import open_dataset
from pingraph.errors import PinGraphError
from pingraph.explain import explain
from pingraph.explore.app import make_app
from pingraph.explore.columns import WALKS
from pingraph.explore.explorer import Explorer
from pingraph.explore.kept import embed_once
from pingraph.explore.question import Directory, read_question
from pingraph.explore.ranking import STATES, Filter, descending, pin_states
from pingraph.images import encode_png
from pingraph.relevance import BOARD_LIMIT
from pingraph.run_files import EMBEDDINGS_FILE
from pingraph.runs import Run
from pingraph.splits import EdgeSplit, NoSplit, PinSplit
from pingraph.subject import Subject, open_subject
from tests.browser import CHROMIUM, DRIVER, MISSING, Browser
from tests.command_line import SCRIPT
from tests.conftest import plain_tables
from tests.test_evaluation import make_table

HOSTILE = [
    "</script><script>document.title = 'owned'</script>",
    "<img src=x onerror=\"document.title = 'owned'\">",
    '"\' onmouseover="document.title = \'owned\'" x=" &pin=b#?%00/../',
    "javascript:document.title='owned' {{ 7 * 7 }} <!-- ]]> &lt;b&gt; \u2028 \x07 +%41",
]


def subject(dataset, split=None, name="mine", seed=0, **changes):
    table = make_table(dataset, seed=seed, **changes)
    split = split or PinSplit(0.3).split(dataset)
    return Subject(
        name=name, dataset=dataset, split=split, run=None, notes=(), make_table=lambda: table
    )


def ask(explorer, **parameters):
    pairs = [(name.rstrip("_"), str(value)) for name, value in parameters.items()]
    return explorer.view(read_question(pairs, explorer.directory))


def found(view, place=0):
    return [pin["index"] for pin in view["lists"][place]["pins"]]


def slow_ranking(vectors, query, own=None):
    """All pins that have a vector by their cosine with a query, in plain Python."""
    scores = [float(np.dot(row.astype(float), query.astype(float))) for row in vectors]
    there = [pin for pin in range(len(vectors)) if vectors[pin].any() and pin != own]
    return sorted(there, key=lambda pin: (-scores[pin], pin)), scores


# ---- what the lists hold ----


def test_neighbors_are_those_of_a_plain_sort(tiny):
    vectors = make_table(tiny).fused.copy()
    vectors[[3, 50]] = 0
    explorer = Explorer([subject(tiny, fused=vectors)])
    for pin in (0, 17, 59):
        view = ask(explorer, pin=tiny.pin_ids[pin], k=200)
        order, scores = slow_ranking(vectors, vectors[pin], pin)
        assert found(view) == order
        assert len(order) == 57
        listed = view["lists"][0]["pins"]
        assert [one["rank"] for one in listed] == list(range(1, 58))
        assert [one["score"] for one in listed] == pytest.approx(
            [scores[p] for p in order], abs=1e-6
        )
        assert [one["id"] for one in listed] == [str(tiny.pin_ids[p]) for p in order]
        assert [one["text"] for one in listed] == [" ".join(tiny.texts[p].split()) for p in order]
    [without] = ask(explorer, pin=tiny.pin_ids[3])["lists"]
    assert without["pins"] == []
    assert "has no vector" in without["note"]


def test_equal_vectors_stand_in_the_order_of_the_pins(tiny):
    vectors = np.full((60, 8), 8**-0.5, np.float32)
    assert found(ask(Explorer([subject(tiny, fused=vectors)]), pin=tiny.pin_ids[2], k=5)) == [
        *(0, 1, 3, 4, 5)
    ]


@given(
    scores=st.lists(
        st.sampled_from([0.0, -0.0, 0.5, -0.5, -np.inf, np.inf, 1e-45, -1e-45])
        | st.floats(width=32, allow_nan=False)
    )
)
def test_equal_scores_stay_in_their_order(scores):
    given = np.array(scores, np.float32)  # 1e-45 is no float32 before
    expected = sorted(range(len(given)), key=lambda place: -given[place])
    assert descending(given).tolist() == expected


@given(
    least=st.integers(0, 6),
    most=st.none() | st.integers(0, 12),
    state=st.none() | st.integers(0, 3),
    board=st.none() | st.integers(0, 13),
    fraction=st.sampled_from([0.2, 0.5]),
)
@settings(deadline=None, max_examples=60)
def test_filters_are_plain_conditions(tiny, least, most, state, board, fraction):
    graph = tiny.graph
    split = PinSplit(fraction).split(tiny)
    states = pin_states(split, graph)
    chosen = Filter(board=board, least=least, most=most, state=state)
    pins, boards = graph.edges()
    edges = set(zip(pins.tolist(), boards.tolist(), strict=True))
    expected = []
    for pin in range(60):
        degree = sum((pin, other) in edges for other in range(graph.num_boards))
        expected.append(
            degree >= least
            and (most is None or degree <= most)
            and (state is None or states[pin] == state)
            and (board is None or (pin, board) in edges)
        )
    assert chosen.passing(graph, states).tolist() == expected


@pytest.mark.parametrize("splitter", [NoSplit(), PinSplit(0.3), EdgeSplit(0.4)])
def test_states_are_those_of_the_explanations(tiny, splitter):
    mine = subject(tiny, splitter.split(tiny))
    states = pin_states(mine.split, tiny.graph)
    for pin in range(1, 60):
        told = explain(mine, tiny.pin_ids[pin].item(), tiny.pin_ids[0].item())["pins"][0]["state"]
        assert STATES[states[pin]] == told


def test_a_filtered_list_keeps_its_places(tiny):
    mine = subject(tiny)
    explorer = Explorer([mine])
    cold = set(mine.split.cold_pins(tiny.graph).tolist())
    everyone = found(ask(explorer, pin=tiny.pin_ids[7], k=200))
    view = ask(explorer, pin=tiny.pin_ids[7], k=4, state="cold")
    assert found(view) == [pin for pin in everyone if pin in cold][:4]
    for one in view["lists"][0]["pins"]:
        assert everyone[one["rank"] - 1] == one["index"]
        assert one["state"] == "cold"
    assert view["filter"]["passing"] == len(cold)
    twice = ask(explorer, pin=tiny.pin_ids[7], least=2, most=2, k=200)
    assert found(twice) == [pin for pin in everyone if tiny.graph.pin_degrees[pin] == 2]
    board = int(np.argmax(tiny.graph.board_degrees))
    inside = tiny.graph.pins_of(board).tolist()
    view = ask(explorer, pin=tiny.pin_ids[7], k=200, in_=tiny.board_ids[board])
    assert found(view) == [pin for pin in everyone if pin in inside]
    assert ask(explorer, pin=tiny.pin_ids[7], least=50)["lists"][0]["note"] == (
        "No pin passes the filters."
    )


@pytest.mark.parametrize("name", ["training", "whole"])
def test_walks_are_told_by_their_share_of_all_visits(tiny, name):
    mine = subject(tiny, EdgeSplit(0.3).split(tiny))
    graph = mine.split.train_graph(tiny.graph) if name == "training" else tiny.graph
    pin = int(np.argmax(graph.pin_degrees))
    steps = WALKS.walk(graph, np.array([pin]), seed=0).pins[0, :, 1:]
    visits = np.bincount(steps[(steps >= 0) & (steps != pin)], minlength=60)
    view = ask(Explorer([mine]), pin=tiny.pin_ids[pin], by="graph", graph=name, k=200)
    [walks] = view["lists"]
    assert walks["ranked"] == len(walks["pins"]) == (visits > 0).sum()
    for one in walks["pins"]:
        assert one["score"] == pytest.approx(visits[one["index"]] / visits.sum(), rel=1e-5)
    shares = [one["score"] for one in walks["pins"]]
    assert shares == sorted(shares, reverse=True)
    assert name in walks["detail"]


def test_held_out_edges_are_walked_only_when_asked(tiny):
    mine = subject(tiny)
    cold = mine.split.cold_pins(tiny.graph)
    explorer = Explorer([mine])
    [training] = ask(explorer, pin=tiny.pin_ids[cold[0]], by="graph")["lists"]
    assert training["pins"] == []
    assert "training graph" in training["note"]
    [whole] = ask(explorer, pin=tiny.pin_ids[cold[0]], by="graph", graph="whole")["lists"]
    assert whole["pins"]
    near = found(ask(explorer, pin=tiny.pin_ids[3], by="graph", k=200))
    assert not set(near) & set(cold.tolist())


def test_the_smallest_shared_board_is_told(tiny):
    mine = subject(tiny, EdgeSplit(0.3).split(tiny))
    graph, train = tiny.graph, mine.split.train_graph(tiny.graph)
    kinds = set()
    for pin in range(0, 60, 7):
        for one in ask(Explorer([mine]), pin=tiny.pin_ids[pin], k=200)["lists"][0]["pins"]:
            other = one["index"]
            both = set(graph.boards_of(pin).tolist()) & set(graph.boards_of(other).tolist())
            if not both:
                assert one["shared"] is None
                continue
            board = min(both, key=lambda b: (graph.board_degrees[b], b))
            held_out = board not in train.boards_of(pin) or board not in train.boards_of(other)
            assert one["shared"] == {
                "board": {
                    "id": str(tiny.board_ids[board]),
                    "title": tiny.board_titles[board],
                    "pins": graph.board_degrees[board],
                },
                "boards": len(both),
                "hit": graph.board_degrees[board] <= BOARD_LIMIT,
                "held_out": held_out,
            }
            kinds.add(held_out)
    assert kinds == {True, False}


def test_a_pin_is_told_with_its_boards(tiny):
    mine = subject(tiny, EdgeSplit(0.3).split(tiny))
    train = mine.split.train_graph(tiny.graph)
    pin = int(np.argmax(tiny.graph.pin_degrees))
    told = ask(Explorer([mine]), pin=tiny.pin_ids[pin])["asked"]["pin"]
    boards = tiny.graph.boards_of(pin).tolist()
    assert {board["id"]: board["held_out"] for board in told["on"]} == {
        str(tiny.board_ids[board]): board not in train.boards_of(pin) for board in boards
    }
    assert told["boards"] == len(boards)
    assert told["held_out"] == len(boards) - train.pin_degrees[pin]
    sizes = [board["pins"] for board in told["on"]]
    assert sizes == sorted(sizes)


def test_two_embeddings_and_walks_stand_side_by_side(tiny):
    split = PinSplit(0.3).split(tiny)
    explorer = Explorer([subject(tiny, split, "one"), subject(tiny, split, "other", seed=5)])
    view = ask(explorer, pin=tiny.pin_ids[4], by="both", k=10)
    assert [one["title"] for one in view["lists"]] == ["one", "other", "walks"]
    lists = [found(view, place) for place in range(3)]
    for overlap in view["overlaps"]:
        one, other = (lists[place] for place in overlap["lists"])
        assert overlap["shared"] == sum(pin in other for pin in one)
        assert overlap["of"] == min(len(one), len(other))
    assert [overlap["lists"] for overlap in view["overlaps"]] == [[0, 1], [0, 2], [1, 2]]
    whole = [found(ask(explorer, pin=tiny.pin_ids[4], by="both", k=200), at) for at in range(3)]
    for place, listed in enumerate(view["lists"]):
        for one in listed["pins"]:
            for told in one["elsewhere"]:
                order = whole[told["list"]]
                expected = order.index(one["index"]) + 1 if one["index"] in order else None
                assert told["rank"] == expected
                assert told["list"] != place
    alone = Explorer([subject(tiny, split)])
    assert found(ask(alone, pin=tiny.pin_ids[4], k=10)) == lists[0]


def test_pins_and_boards_are_found_by_words(tiny):
    explorer = Explorer([subject(tiny)])
    word = tiny.texts[int(np.flatnonzero(tiny.has_text)[0])].split()[0]
    expected = [pin for pin in range(60) if word.casefold() in tiny.texts[pin].casefold()]
    view = ask(explorer, words=word.upper(), k=200)
    assert found(view) == expected
    by_id = found(ask(explorer, words=str(tiny.pin_ids[9]), k=200))
    assert by_id[0] == 9
    [none] = ask(explorer, words="no pin says this")["lists"]
    assert (none["pins"], none["note"]) == ([], "None found.")
    board = int(np.argmax(tiny.graph.board_degrees))
    view = ask(explorer, board=tiny.board_ids[board], k=200)
    assert found(view) == tiny.graph.pins_of(board).tolist()
    assert view["asked"]["board"]["title"] == tiny.board_titles[board]
    first = tiny.board_titles[0].split()[0]
    listed = explorer.boards(first)
    assert str(tiny.board_ids[0]) in [one["id"] for one in listed]
    assert all(first in one["title"] for one in listed)
    sizes = [one["pins"] for one in listed]
    assert sizes == sorted(sizes, reverse=True)


def test_the_pin_of_an_id_comes_first_and_once(write_folder):
    tables = plain_tables()
    tables["pins"] |= {"pin_id": ["a", "b", "c", "blue"], "text": ["blue", "x", "Blue sea", "blue"]}
    tables["edges"]["pin_id"][-1] = "blue"
    dataset = open_dataset(write_folder(**tables))
    explorer = Explorer([subject(dataset, NoSplit().split(dataset))])
    assert found(ask(explorer, words=" blue ")) == [3, 0, 2]


def test_text_and_images_are_off_for_vectors_and_say_why(tiny):
    explorer = Explorer([subject(tiny)])
    [run] = explorer.about()["runs"]
    assert "only a run can be searched" in run["no_text"]
    assert "only a run can be searched" in run["no_image"]
    [listed] = ask(explorer, text="sailing")["lists"]
    assert "only a run can be searched" in listed["note"]
    with pytest.raises(PinGraphError, match="only a run can be searched"):
        explorer.images.keep(b"")


def test_a_single_pin_and_string_ids(write_folder):
    tables = plain_tables()
    tables["pins"] = {name: column[:1] for name, column in tables["pins"].items()}
    tables["edges"] = {"pin_id": ["a"], "board_id": np.array([10])}
    dataset = open_dataset(write_folder(**tables))
    view = ask(Explorer([subject(dataset, NoSplit().split(dataset))]), pin="a", by="both")
    assert [one["pins"] for one in view["lists"]] == [[], []]
    assert [one["note"] for one in view["lists"]] == [
        "None found.",
        "No walk on the graph leads from here to another pin.",
    ]
    assert view["asked"]["pin"]["on"][0]["title"] == "colors"


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ([("pin", "nobody")], "no pin 'nobody' among 60 pins"),
        ([("pin", "")], "no pin '' among 60 pins"),
        ([("text", " ")], "text is empty"),
        ([("words", "")], "words is empty"),
        ([("pin", "1"), ("text", "x")], "pin and text are given"),
        ([("pin", "1"), ("pin", "2")], "pin is given twice"),
        ([("stat", "cold")], "did you mean state?"),
        ([("zzz", "cold")], "known are pin, text"),
        ([("state", "lukewarm")], "state is 'lukewarm': expected any, warm, cold"),
        ([("by", "eye")], "by is 'eye': expected embedding, graph, both"),
        ([("graph", "half")], "graph is 'half': expected training, whole"),
        ([("k", "0")], "k is '0': expected a whole number, 1 to 200"),
        ([("k", "201")], "k is '201'"),
        ([("k", "²")], "k is '²'"),
        ([("least", "-1")], "least is '-1'"),
        ([("least", "3"), ("most", "2")], "least is 3 and most is 2"),
        ([("in", "nowhere")], "no board 'nowhere' among 14 boards"),
        ([("board", "nowhere")], "no board 'nowhere'"),
        ([("text", "x" * 2001)], "text has 2,001 characters"),
        ([("image", "0123")], "not known any more"),
    ],
)
def test_wrong_parameters_are_named(tiny, pairs, words):
    explorer = Explorer([subject(tiny)])
    with pytest.raises(PinGraphError) as refused:
        explorer.view(read_question(pairs, Directory(tiny)))
    assert words in str(refused.value)


def test_what_cannot_stand_side_by_side_is_refused(tiny, write_folder):
    other = open_dataset(write_folder("other"))
    with pytest.raises(PinGraphError, match="different data sets"):
        Explorer([subject(tiny), subject(other, NoSplit().split(other))])
    with pytest.raises(PinGraphError, match="hold out different edges"):
        Explorer([subject(tiny), subject(tiny, PinSplit(0.3, 1).split(tiny))])


# ---- embeddings that are kept ----


def test_a_run_is_embedded_once(run, tiny, capsys):
    opened, path = Run.open(run), run / EMBEDDINGS_FILE
    expected = opened.embed(tiny)
    keep = partial(embed_once, opened, tiny)

    def same(table):
        np.testing.assert_allclose(table.fused, expected.fused, atol=1e-6)
        np.testing.assert_allclose(table.text, expected.text, atol=1e-6)

    same(keep())
    made = path.stat().st_ino
    same(keep())
    assert path.stat().st_ino == made  # read, not written anew
    from pingraph.embeddings import write_embeddings

    write_embeddings(path, replace(expected, fused=-expected.fused))
    same(keep())
    path.write_bytes(path.read_bytes()[:1000])
    same(keep())
    path.unlink()
    path.mkdir()  # cannot be written
    same(keep())
    assert "has to embed all pins again" in capsys.readouterr().err


# ---- the server ----


class Served:
    """The real command, which listens."""

    def __init__(self, process, port):
        self.process, self.port = process, port
        self.home = f"http://127.0.0.1:{port}/"

    def ask(self, path, method="GET", body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        host = headers.pop("host", f"127.0.0.1:{self.port}")
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in {"Host": host, **headers}.items():
            if value is not None:
                connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer, content

    def json(self, path, status=200, **options):
        answer, content = self.ask(path, **options)
        assert answer.status == status, content
        assert answer.headers["Content-Type"] == "application/json"
        return json.loads(content)

    def post(self, data, status=200):
        origin = self.home.rstrip("/")
        return self.json("/api/image", status, method="POST", body=data, Origin=origin)


@contextmanager
def serving(*args, cwd):
    """Start the command; at the end Ctrl-C, after which it must have ended in good order."""
    process = subprocess.Popen(
        [SCRIPT, "explore", *map(str, args), "--port", "0"],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("http://127.0.0.1:"), process.stderr.read()
        yield Served(process, int(line.rstrip("/\n").rpartition(":")[2]))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out, err) == (130, "", "Ctrl-C ends it\ninterrupted\n")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


@pytest.fixture(scope="module")
def served(trained, tiny, tiny_folder, tmp_path_factory):
    """The command on a run and, beside it, a file of vectors."""
    import shutil

    folder = tmp_path_factory.mktemp("served")
    shutil.copytree(trained, folder / "run")
    np.save(folder / "theirs.npy", make_table(tiny).fused)
    args = ("run", "theirs.npy", "--data", tiny_folder, "--split", "run")
    with serving(*args, cwd=folder) as one:
        yield one
        # A request that is under way at Ctrl-C, or never ends, does not keep it from ending.
        hanging = socket.create_connection(("127.0.0.1", one.port))
        head = f"Host: 127.0.0.1:{one.port}\r\nOrigin: {one.home[:-1]}\r\nContent-Length: 99"
        hanging.sendall(f"POST /api/image HTTP/1.1\r\n{head}\r\n\r\nhalf".encode())
        time.sleep(0.3)
    hanging.close()


def test_the_server_answers_what_the_explorer_says(served, tiny, tiny_folder, trained):
    about = served.json("/api/about")
    assert [run["name"] for run in about["runs"]] == ["run", "theirs.npy"]
    assert [bool(run["no_text"]) for run in about["runs"]] == [False, True]
    assert about["data"]["pins"] == 60
    assert sum(about["states"]) == 60
    mine = open_subject(trained)
    table = mine.table
    view = served.json("/api/view?pin=11&by=both&k=7")
    assert found(view) == slow_ranking(table.fused, table.fused[11], 11)[0][:7]
    assert [one["title"] for one in view["lists"]] == ["run", "theirs.npy", "walks"]
    word = tiny.texts[int(mine.split.train_pins[0])]
    view = served.json("/api/view?" + urlencode({"text": word, "k": 5}))
    assert len(found(view)) == 5
    assert "only a run can be searched" in view["lists"][1]["note"]
    view = served.json("/api/view?text=%E6%97%A5%E6%9C%AC")
    assert "holds no word" in view["lists"][0]["note"]
    why = served.json("/api/why?pin=11&other=12&run=0")["summary"]
    assert why == explain(replace(mine, name="run"), "11", "12", top=3)["summary"]
    titles = served.json("/api/boards?" + urlencode({"words": tiny.board_titles[0]}))
    assert str(tiny.board_ids[0]) in [board["id"] for board in titles["boards"]]


def test_search_by_an_image_is_that_of_its_pin(served, tiny, trained):
    pin = int(np.flatnonzero(tiny.has_image)[0])
    data = encode_png(tiny.image(pin))
    key = served.post(data)["image"]
    view = served.json(f"/api/view?image={key}&k=9")
    table = open_subject(trained).table
    assert found(view) == slow_ranking(table.fused, table.image[pin])[0][:9]
    answer, content = served.ask(f"/given/{key}")
    assert answer.headers["Content-Type"] == "image/png"
    assert Image.open(io.BytesIO(content)).size == (16, 16)
    for broken in (b"", b"no image", data[:60]):
        assert "image" in served.post(broken, 400)["error"]
    assert "larger than 20 MB" in served.post(bytes(20 * 2**20 + 1), 413)["error"]
    assert "not known any more" in served.json("/given/0123456789abcdef", 400)["error"]


def test_pictures_are_small_and_asked_again_by_their_tag(served, tiny):
    pin = int(np.flatnonzero(tiny.has_image)[0])
    answer, content = served.ask(f"/image/{pin}?side=96")
    assert Image.open(io.BytesIO(content)).size == (16, 16)
    pixels = np.asarray(Image.open(io.BytesIO(content))).transpose(2, 0, 1)
    np.testing.assert_array_equal(pixels, tiny.pixels(pin, 16))
    tag = answer.headers["ETag"]
    assert "no-cache" in answer.headers["Cache-Control"]
    again, nothing = served.ask(f"/image/{pin}?side=96", **{"If-None-Match": tag})
    assert (again.status, nothing) == (304, b"")
    other, _ = served.ask(f"/image/{pin}?side=192", **{"If-None-Match": tag})
    assert other.status == 200
    bare = int(np.flatnonzero(~tiny.has_image)[0])
    for index in (60, 10**30, bare):
        assert served.json(f"/image/{index}", 404)["error"]
    assert "side is '97'" in served.json(f"/image/{pin}?side=97", 400)["error"]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{port}", 200),
        ("localhost:{port}", 200),
        ("LocalHost:{port}", 200),
        ("[::1]:{port}", 200),
        ("127.0.0.1", 403),
        ("127.0.0.1:{other}", 403),
        ("evil.example:{port}", 403),
        ("127.0.0.1.evil.example:{port}", 403),
        ("", 403),
        (None, 400),  # HTTP/1.1 asks for one
    ],
)
def test_only_our_own_names_are_answered(served, host, status):
    if host is not None:
        host = host.format(port=served.port, other=served.port + 1)
    for path in ("/", "/api/about", "/image/0", "/nowhere"):
        answer, content = served.ask(path, host=host)
        expected = 404 if (path, status) == ("/nowhere", 200) else status
        assert answer.status == expected
        assert status == 200 or b"pins" not in content


def test_two_hosts_are_refused(served):
    with socket.create_connection(("127.0.0.1", served.port)) as raw:
        ours = f"Host: 127.0.0.1:{served.port}\r\n"
        raw.sendall(f"GET / HTTP/1.1\r\n{ours}Host: evil.example\r\n\r\n".encode())
        assert raw.recv(100).split()[1] in (b"400", b"403")


@pytest.mark.parametrize("origin", [None, "null", "http://evil.example", "http://127.0.0.1:1", ""])
def test_other_pages_may_not_send_images(served, origin):
    answer = served.json("/api/image", 403, method="POST", body=b"x", Origin=origin)
    assert "only the page of this server" in answer["error"]


def test_every_answer_carries_the_policy(served):
    for path, options in (
        ("/", {}),
        ("/page.js", {}),
        ("/api/about", {}),
        ("/image/0", {}),
        ("/nowhere", {}),
        ("/api/view?k=x", {}),
        ("/", {"host": "evil.example"}),
        ("/api/about", {"method": "DELETE", "Origin": served.home.rstrip("/")}),
    ):
        headers = served.ask(path, **options)[0].headers
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize(
    "path",
    [
        "/../app.py",
        "/page.css/../app.py",
        "/%2e%2e/app.py",
        "/..%2fapp.py",
        "//etc/passwd",
        "/app.py",
        "/given/../../app.py",
        "/image/..%2f1",
        "/image/-1",
        "/image/1.5",
        "/api",
    ],
)
def test_no_other_file_is_served(served, path):
    answer, content = served.ask(path)
    assert answer.status == 404
    assert "error" in json.loads(content)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/api/view?stat=cold", "did you mean state?"),
        ("/api/view?pin=a&pin=b", "pin is given twice"),
        ("/api/view?pin=%FF", "no pin"),
        ("/api/about?x=1", "unknown parameter 'x'"),
        ("/api/boards", "words is missing"),
        ("/api/why?pin=1&other=2", "run is missing"),
        ("/api/why?pin=1&other=2&run=2", "run is '2': expected 0 or 1"),
        ("/api/why?pin=1&other=1&run=0", "two different pins"),
    ],
)
def test_wrong_parameters_are_answered_with_400(served, path, words):
    assert words in served.json(path, 400)["error"]


def test_many_ask_at_once(served):
    """Answers of threads that run side by side are those that are given alone."""
    paths = [f"/api/view?pin={pin}&by=both&k=5" for pin in range(0, 60, 6)]
    alone = [served.json(path) for path in paths]
    together = [None] * len(paths)

    def fetch(place):
        together[place] = served.json(paths[place])

    threads = [threading.Thread(target=fetch, args=(place,)) for place in range(len(paths))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def test_a_fault_is_told_as_one_and_shown_in_the_terminal(tiny):
    explorer = Explorer([subject(tiny)])
    explorer.about = lambda: 1 / 0
    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/api/about", "query_string": b""}
    scope |= {"headers": [(b"host", b"localhost:1")], "http_version": "1.1"}
    with pytest.raises(ZeroDivisionError):  # which the server writes out
        asyncio.run(make_app(explorer, 1)(scope, None, send))
    assert sent[0]["status"] == 500
    assert b"content-security-policy" in dict(sent[0]["headers"])
    assert "a fault of pingraph" in json.loads(sent[1]["body"])["error"]


# ---- the command ----


def test_what_is_wrong_is_told_before_anything_is_served(
    commands, tiny, tiny_folder, trained, tmp_path
):
    vectors = tmp_path / "theirs.npy"
    np.save(vectors, make_table(tiny).fused)

    def refusal(*args, **options):
        return commands.run("explore", *args, cwd=tmp_path, **options).refusal()

    assert "no-such-run is not a trained run" in refusal("no-such-run", "--port", 0)
    own = refusal(trained, trained, "--data", tiny_folder, "--port", 0)
    assert "has data of its own, from training" in own
    assert "is no run: give the data set" in refusal(vectors, "--port", 0)
    assert "3 runs are given: expected one or two" in refusal(vectors, vectors, vectors)
    assert "--port is 70000: expected 0 to 65535" in refusal(trained, "--port", 70000)
    both = refusal(trained, vectors, "--data", tiny_folder, "--port", 0)
    assert "their splits hold out different edges" in both
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"port {port} is taken: give another one" in refusal(trained, "--port", port)
    (tmp_path / "stub").mkdir()
    (tmp_path / "stub" / "uvicorn.py").write_text("raise ImportError('not here')")
    missing = refusal(trained, path=[tmp_path / "stub"])
    assert "pip install 'pingraph[explore]'" in missing


def test_the_port_is_of_this_machine_alone(served):
    with socket.socket() as other, pytest.raises(OSError, match="refused"):
        other.connect((f"127.0.0.{2}", served.port))


# ---- the page ----

BROWSER = pytest.mark.skipif(not (DRIVER and CHROMIUM), reason=MISSING)


class Page:
    """The page in a browser."""

    def __init__(self, browser, home):
        self.browser, self.home = browser, home

    def open(self, **parameters):
        self.browser.visit(f"{self.home}?{urlencode(parameters)}")
        self.wait()

    def wait(self, script="!document.body.ariaBusy && document.querySelector('#asked h1')"):
        for _ in range(200):
            if self.browser.run(f"return Boolean({script})"):
                return
            time.sleep(0.05)
        raise AssertionError(f"not within ten seconds: {script}")

    def until(self, **parameters):
        """Wait for an address, and that the page shows it."""
        wanted = json.dumps(urlencode(sorted(parameters.items())))
        sort = "const asked = new URLSearchParams(location.search); asked.sort();"
        self.wait(f"(() => {{ {sort} return String(asked) === {wanted}; }})()")
        self.wait()

    def click(self, selector):
        self.browser.run("document.querySelector(arguments[0]).click()", selector)

    def text(self, selector):
        return self.browser.run(
            "return [...document.querySelectorAll(arguments[0])].map(one => one.textContent)",
            selector,
        )


@contextmanager
def browsing(home, folder, **options):
    (folder / "profile").mkdir()
    browser = Browser(folder / "profile", **options)
    try:
        yield Page(browser, home)
    finally:
        browser.close()


@BROWSER
def test_a_walk_through_the_page(served, tiny, tmp_path):
    with browsing(served.home, tmp_path) as page:
        page.open()
        assert page.text("h1") == ["Where to begin"]
        assert len(page.text("li.pin")) == 24
        page.open(pin=11, k=48)
        assert page.text("#asked .facts b") == ["11"]
        assert page.text("h2") == ["run", "theirs.npy"]
        expected = [
            [one["id"] for one in listed["pins"]]
            for listed in served.json("/api/view?pin=11&k=48")["lists"]
        ]
        shown = [page.text(f".list:nth-child({place}) li.pin b") for place in (1, 2)]
        assert shown == expected
        shared = len(set(expected[0]) & set(expected[1]))
        assert page.text(".overlap")[0].startswith(f"shares {shared} of 48 with theirs.npy")
        marked = page.text(".list:nth-child(1) li.pin:has(.also) b")
        assert marked == [pin for pin in expected[0] if pin in expected[1]]
        page.browser.run("scrollTo(0, 300)")
        page.click("li.pin .go")
        page.until(pin=expected[0][0], k=48)
        page.browser.run("history.back()")
        page.until(pin=11, k=48)
        page.wait("Math.abs(scrollY - 300) < 2")
        assert page.text("#asked .facts b") == ["11"]
        page.click("#by-both")
        page.until(pin=11, k=48, by="both")
        assert page.text("h2") == ["run", "theirs.npy", "walks"]
        page.browser.run(
            "const box = document.querySelector('[name=state]'); box.value = 'cold';"
            "box.dispatchEvent(new Event('change', {bubbles: true}))"
        )
        page.until(pin=11, k=48, by="both", state="cold")
        assert set(page.text("li.pin .state")) <= {"cold"}
        page.click("#clear")
        page.until(pin=11, k=48, by="both")
        page.click("button.why")
        page.wait("document.querySelector('.reasons p')?.textContent !== '…'")
        assert page.text(".reasons p")[0].startswith("In run, ")
        page.click("#asked .on .only")
        page.wait("location.search.includes('in=')")
        page.wait("!document.getElementById('board-on').hidden")
        assert page.browser.errors() == []


@BROWSER
def test_the_keyboard_alone(served, tiny, tmp_path):
    up, left, right, down, enter, escape, tab = "\ue013\ue012\ue014\ue015\ue007\ue00c\ue004"
    with browsing(served.home, tmp_path) as page:
        page.open(pin=11)
        focus = "return document.activeElement.closest('li.pin')?.querySelector('b').textContent"
        pins = page.text(".list:nth-child(1) li.pin b")
        page.browser.type(right)
        assert page.browser.run(focus) == pins[0]
        page.browser.type(right)
        assert page.browser.run(focus) == pins[1]
        page.browser.type(left + down)
        below = page.browser.run(focus)
        assert below in pins[2:]
        page.browser.type(up)
        assert page.browser.run(focus) == pins[0]
        page.browser.type("w")
        page.wait("document.querySelector('.reasons')")
        page.browser.type(down)
        page.browser.type(enter)
        page.until(pin=below)
        page.browser.type("/")
        assert page.browser.run("return document.activeElement.id") == "query"
        word = tiny.texts[int(np.flatnonzero(tiny.has_text)[0])].split()[0]
        page.browser.type(word + enter)
        page.until(text=word)
        assert page.text("h1") == [f"“{word}”"]
        title = tiny.board_titles[0]
        page.browser.run("document.getElementById('board').focus()")
        page.browser.type(title)
        page.wait("document.querySelector('[role=option]')")
        chosen = page.browser.run("return document.querySelector('[role=option]').dataset.board")
        page.browser.type(down + enter)
        page.until(text=word, **{"in": chosen})
        page.browser.type("/" + escape + tab)
        page.open(pin=11)
        page.browser.run("[...document.querySelectorAll('li.pin > .go')].at(-1).focus()")
        page.browser.type("w")
        page.wait("document.querySelector('.reasons p')?.textContent.startsWith('In ')")
        page.wait(
            "document.querySelector('.reasons').getBoundingClientRect().bottom <= innerHeight"
        )
        assert page.browser.errors() == []


@BROWSER
def test_a_long_id_breaks_no_other_word(served, tmp_path):
    with browsing(served.home, tmp_path) as page:
        page.open(pin=11)
        page.browser.run(
            "document.querySelector('.facts b').textContent = 'plane-circle-'.repeat(9)"
        )
        lines = """
            const words = document.createRange();
            words.selectNodeContents(document.querySelector('.facts .state'));
            return words.getClientRects().length;
        """
        assert page.browser.run(lines) == 1


@BROWSER
def test_an_image_is_dropped_and_broken_ones_are_told(served, tiny, tmp_path):
    pin = int(np.flatnonzero(tiny.has_image)[0])
    drop = """
        const bytes = Uint8Array.from(atob(arguments[0]), (one) => one.charCodeAt(0));
        const data = new DataTransfer();
        data.items.add(new File([bytes], 'mine.png'));
        document.body.dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true}));
    """
    import base64

    with browsing(served.home, tmp_path, width=420) as page:
        page.open()
        page.browser.run(drop, base64.b64encode(b"no image").decode())
        page.wait("document.querySelector('[role=alert]')")
        assert page.text("[role=alert]") == ["the image: no image of a known format"]
        page.browser.run(drop, base64.b64encode(encode_png(tiny.image(pin))).decode())
        page.wait("location.search.startsWith('?image=')")
        page.wait("document.querySelector('#asked .large img')?.naturalWidth")
        assert page.text("h1") == ["Your image"]
        assert page.browser.run("return document.documentElement.scrollWidth <= innerWidth")
        errors = page.browser.errors()
        assert len(errors) == 1
        assert "400" in errors[0]


@pytest.fixture
def hostile(write_folder, tmp_path):
    """Arguments of the command: a data set and a file whose every word would be markup."""
    tables = plain_tables()
    tables["pins"] |= {"pin_id": HOSTILE, "text": HOSTILE}
    tables["pins"]["image"][3] = b"no image"
    tables["pins"]["image"][2] = None
    tables["boards"] |= {"board_id": HOSTILE[:3], "title": HOSTILE[1:]}
    edges = tables["edges"]
    edges["pin_id"] = [HOSTILE["abcd".index(pin)] for pin in edges["pin_id"]]
    edges["board_id"] = [HOSTILE[board // 10 - 1] for board in edges["board_id"]]
    folder = write_folder(name=HOSTILE[1], **tables)
    file = tmp_path / "<img src=x onerror=alert(1)>.npy"
    np.save(file, make_table(open_dataset(folder)).fused)
    return file, "--data", folder


@BROWSER
def test_hostile_words_stay_words(hostile, tmp_path):
    with serving(*hostile, cwd=tmp_path) as one, browsing(one.home, tmp_path) as page:
        count = "return document.querySelectorAll(arguments[0]).length"
        for pin in HOSTILE:
            page.open(pin=pin, by="both")
            assert page.text("h1") == [pin]
            assert page.text("#asked .facts b") == [pin]
            assert page.browser.run("return document.title").startswith(pin[:20])
            assert set(page.text(".list:nth-child(1) li.pin b")) == set(HOSTILE) - {pin}
            page.click("button.why")
            page.wait("document.querySelector('.reasons p')?.textContent !== '…'")
            for selector in ("[onerror]", "[onmouseover]", "script:not([src])", "#lists script"):
                assert page.browser.run(count, selector) == 0
            links = "return [...document.links].map(one => one.getAttribute('href'))"
            assert all(link[0] in "?#" for link in page.browser.run(links))
        page.wait("document.querySelector('#asked .broken')")  # the picture of the last pin
        assert page.text("#asked .broken") == ["broken image: " + HOSTILE[3]]
        page.open(board=HOSTILE[2])
        assert page.text("h1") == [" ".join(HOSTILE[3].split())]
        page.click("li.pin .go")  # the address of a hostile id leads to it
        page.wait("document.querySelector('#asked .facts b')")
        assert page.text("#asked .facts b")[0] in HOSTILE
        page.open(words=HOSTILE[1])
        assert page.text("h1") == [f"“{HOSTILE[1]}”"]
        page.wait("document.querySelector('#off').textContent.includes('is off')")
        assert page.browser.run("return document.querySelector('[value=text]').disabled")
        assert page.browser.run("return document.getElementById('image').disabled")
        errors = page.browser.errors()  # the broken image, and nothing else
        assert all("/image/3" in line or "/image/2" in line for line in errors), errors
        refused = """
            try { document.body.innerHTML = '<img src=x onerror="document.title = 1">'; }
            catch (error) { return error.name; }
        """
        assert page.browser.run(refused) == "TypeError"


def test_the_page_asks_for_nothing_from_elsewhere():
    folder = Path(__file__).parents[1] / "pingraph" / "explore"
    for name in ("page.html", "page.css", "page.js", "draw.js"):
        text = (folder / name).read_text(encoding="utf-8")
        assert "http:" not in text
        assert "https:" not in text
        assert "innerHTML" not in text
