"""Vectors of any origin are laid out by pin, judged like a run's, and refused when wrong."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pingraph import vector_files
from pingraph.embeddings import nearest, write_embeddings
from pingraph.errors import PinGraphError
from pingraph.evaluation import evaluate_table, table_scorers
from pingraph.interfaces import EmbeddingTable
from pingraph.significance import paired_tests
from pingraph.splits import PinSplit, Split
from pingraph.subject import SplitFile, open_subject
from tests.command_line import contents
from tests.table_cases import table_of_pins


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def make_vectors(dataset, seed=0, width=8, dtype=np.float32):
    vectors = np.random.default_rng(seed).normal(size=(dataset.num_pins, width))
    return unit(vectors).astype(dtype)


def make_table(dataset, seed=0):
    return table_of_pins(dataset, *(make_vectors(dataset, seed + kind) for kind in range(3)))


def write_lists(path, ids, vectors, kind="list", names=("pin_id", "vector"), dtype=None):
    """Write ids and rows of floats as a foreign Parquet file; None is a null."""
    number = pa.from_numpy_dtype(dtype or np.float32)
    kinds = {
        "list": pa.list_(number),
        "large": pa.large_list(number),
        "fixed": pa.list_(number, len(next(v for v in vectors if v is not None))),
    }
    rows = [None if v is None else list(np.asarray(v, dtype)) for v in vectors]
    table = pa.table({names[0]: pa.array(list(ids)), names[1]: pa.array(rows, kinds[kind])})
    pq.write_table(table, path)
    return path


@pytest.fixture
def words(write_folder):
    """The path of four pins with string ids: a, b, c, d."""
    return write_folder("words")


# ---- what is read ----


@given(
    kind=st.sampled_from(["list", "large", "fixed"]),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
    block=st.integers(1, 70),
    seed=st.integers(0, 2**32),
    missing=st.floats(0, 0.9),
)
@settings(deadline=None, max_examples=25)
def test_a_parquet_file_of_any_order_is_laid_out_by_pin(
    tiny, tiny_folder, tmp_path_factory, kind, dtype, block, seed, missing
):
    rng = np.random.default_rng(seed)
    vectors = make_vectors(tiny, seed, dtype=dtype)
    there = rng.random(tiny.num_pins) >= missing
    there[rng.integers(tiny.num_pins)] = True
    null = there & (rng.random(tiny.num_pins) < 0.2)
    null[np.argmax(there)] = False
    order = rng.permutation(np.flatnonzero(there))
    path = tmp_path_factory.mktemp("vectors") / "file.parquet"
    rows = [None if null[pin] else vectors[pin] for pin in order]
    write_lists(path, tiny.pin_ids[order].tolist(), rows, kind, ("id", "clip"), dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vector_files, "BLOCK", block)
        subject = open_subject(path, tiny_folder)
    wide = vectors.astype(np.float64)
    expected = np.where((there & ~null)[:, None], unit(wide), 0)
    np.testing.assert_allclose(subject.table.fused, expected, atol=1.1e-6)
    assert subject.table.fused.dtype == np.float32
    assert not subject.table.image.any()
    assert not subject.table.has_text.any()
    lost = int((~there | null).sum())
    told = [note for note in subject.notes if "have no fused vector" in note]
    assert told[0].startswith(f"{lost} of 60 pins") if lost else not told
    assert (subject.name, subject.run, subject.split.kind) == ("file.parquet", None, "none")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
@pytest.mark.parametrize("beside", [None, "npy", "txt"])
def test_an_array_follows_the_data_set_or_the_ids_beside_it(
    tiny, tiny_folder, tmp_path, dtype, beside
):
    vectors = make_vectors(tiny).astype(dtype)
    order = np.arange(60)
    if beside:
        order = np.random.default_rng(1).permutation(60)[:50]
        if beside == "npy":
            np.save(tmp_path / "file.ids.npy", tiny.pin_ids[order])
        else:
            ids = "".join(f"{pin}\n" for pin in tiny.pin_ids[order])
            (tmp_path / "file.ids.txt").write_text(ids)
    np.save(tmp_path / "file.npy", np.asfortranarray(vectors[order]))
    table = open_subject(tmp_path / "file.npy", tiny_folder).table
    expected = np.zeros((60, 8))
    expected[order] = unit(vectors[order].astype(np.float64))
    np.testing.assert_allclose(table.fused, expected, atol=1.1e-6)


def test_ids_may_be_strings(words, tmp_path):
    np.save(tmp_path / "file.npy", np.eye(4, dtype=np.float32))
    np.save(tmp_path / "file.ids.npy", np.array(["d", "b", "a", "c"]))
    fused = open_subject(tmp_path / "file.npy", words).table.fused
    np.testing.assert_array_equal(fused, np.eye(4)[[2, 1, 3, 0]])
    (tmp_path / "file.ids.npy").rename(tmp_path / "kept")
    (tmp_path / "file.ids.txt").write_text("d\nb\na\nc")
    np.testing.assert_array_equal(open_subject(tmp_path / "file.npy", words).table.fused, fused)
    ids = pa.array(["d", "b", "a", "c"]).dictionary_encode()
    rows = pa.array(np.eye(4).tolist(), pa.list_(pa.float64()))
    pq.write_table(pa.table({"name": ids, "v": rows}), tmp_path / "file.parquet")
    np.testing.assert_array_equal(open_subject(tmp_path / "file.parquet", words).table.fused, fused)


def test_our_own_file_is_read_to_the_bit(tiny, tiny_folder, tmp_path):
    table = make_table(tiny)
    table.fused[~(tiny.has_image | tiny.has_text)] = 0
    order = np.random.default_rng(0).permutation(60)
    mixed = {name: getattr(table, name)[order] for name in vars(table)}
    write_embeddings(tmp_path / "file.parquet", EmbeddingTable(**mixed))
    subject = open_subject(tmp_path / "file.parquet", tiny_folder)
    for name in vars(table):
        np.testing.assert_array_equal(getattr(subject.table, name), getattr(table, name))
    assert len(subject.notes) == int((~(tiny.has_image | tiny.has_text)).any())


def test_a_foreign_file_may_have_all_three_kinds(tiny, tiny_folder, tmp_path):
    table = make_table(tiny)
    columns = {
        "pin_id": pa.array(tiny.pin_ids),
        "fused": pa.array(table.fused.tolist(), pa.list_(pa.float64())),
        "image": pa.array(
            [
                row if has else None
                for row, has in zip(table.image.tolist(), table.has_image, strict=True)
            ],
            pa.list_(pa.float32()),
        ),
    }
    pq.write_table(pa.table(columns), tmp_path / "file.parquet")
    found = open_subject(tmp_path / "file.parquet", tiny_folder).table
    np.testing.assert_allclose(found.image, table.image, atol=1e-6)
    np.testing.assert_array_equal(found.has_image, table.has_image)
    assert found.text.shape == (60, 8)
    assert not found.has_text.any()


@pytest.mark.parametrize("scale", [1e-30, 0.01, 1e30])
def test_lengths_are_taken_out_and_told(tiny, tiny_folder, tmp_path, scale):
    vectors = make_vectors(tiny)
    np.save(tmp_path / "file.npy", vectors * np.float32(scale))
    subject = open_subject(tmp_path / "file.npy", tiny_folder)
    np.testing.assert_allclose(subject.table.fused, vectors, rtol=1e-5, atol=1e-6)
    (note,) = subject.notes
    assert "lengths from" in note
    assert "brought to length 1" in note


def test_huge_and_tiny_doubles_are_neither_zero_nor_infinite(words, tmp_path):
    np.save(tmp_path / "file.npy", np.eye(4) * [1e-200, 1e200, 5e-324, 1.7e308])
    np.testing.assert_array_equal(open_subject(tmp_path / "file.npy", words).table.fused, np.eye(4))


# ---- what is refused ----


def damaged(row, value, width=3):
    vectors = np.eye(4, width, dtype=np.float32) + 1
    vectors[row] = value
    return vectors


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (damaged(2, np.nan), "row 2: the fused vector of pin 'c' is not finite"),
        (damaged([1, 3], np.inf), r"row 1: .* pin 'b' is not finite \(and 1 more\)"),
        (damaged([0, 1, 3], 0), r"row 0: .* pin 'a' is zero \(and 2 more\)"),
        (damaged(0, 1)[:3], "3 rows, but words has 4 pins: give the ids .* file.ids.npy"),
        (np.ones(4, np.float32), r"float32 \[4\], expected floats"),
        (np.ones((4, 2, 2), np.float32), r"float32 \[4, 2, 2\], expected floats"),
        (np.ones((4, 0), np.float32), r"float32 \[4, 0\]|not a readable"),
        (np.ones((4, 2), np.int8), r"int8 \[4, 2\], expected floats"),
        (np.ones((4, 2), complex), r"complex128 \[4, 2\], expected floats"),
        (np.array([["a"]] * 4), r"<U1 \[4, 1\], expected floats"),
        (np.array([[1.0]] * 4, object), "Python objects"),
        (np.zeros(4, [("a", "f4")]), r"expected floats"),
    ],
)
def test_a_wrong_array_is_named_by_file_row_and_pin(words, tmp_path, vectors, message):
    np.save(tmp_path / "file.npy", vectors, allow_pickle=True)
    with pytest.raises(PinGraphError, match=rf"file\.npy: .*{message}|{message}") as caught:
        open_subject(tmp_path / "file.npy", words)
    assert "\n" not in str(caught.value)
    assert "file.npy" in str(caught.value)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.array(["a", "b", "c"]), r"file\.ids\.npy: 3 ids for 4 rows of file\.npy"),
        (np.array(["a", "b", "x", "y"]), "row 2: unknown pin id 'x'; words lacks 2 of the 4 ids"),
        (np.array(["a", "b", "b", "d"]), "pin id 'b' occurs twice, in rows 1 and 2$"),
        (
            np.array(["a", "b", "b", "a"]),
            r"pin id 'a' occurs twice, in rows 0 and 3 \(and 1 more\)",
        ),
        (np.arange(4), "the pin ids are strings, but integers were given$"),
        (np.array(["a", "", "c", "d"]), "row 1: pin id '' is empty"),
        (np.array(["a", "b", "c", None], object), "Python objects"),
        (np.ones(4), "pin ids are float64"),
        (np.array([["a"]]), "2 dimensions"),
    ],
)
def test_wrong_ids_beside_an_array_are_named(words, tmp_path, ids, message):
    np.save(tmp_path / "file.npy", np.eye(4))
    np.save(tmp_path / "file.ids.npy", ids, allow_pickle=True)
    with pytest.raises(PinGraphError, match=message) as caught:
        open_subject(tmp_path / "file.npy", words)
    assert "\n" not in str(caught.value)
    assert "file.ids.npy" in str(caught.value)


def test_lines_that_are_no_ids_are_named(tiny_folder, words, tmp_path):
    np.save(tmp_path / "file.npy", np.eye(4))
    ids = tmp_path / "file.ids.txt"
    for text, message in (("0\n1\n\n2\n", "row 2: ''"), ("0\n1\n2.0\n3\n", "row 2: '2.0'")):
        ids.write_text(text)
        with pytest.raises(PinGraphError, match=f"file.ids.txt: {message} is no id"):
            open_subject(tmp_path / "file.npy", tiny_folder)
    ids.write_bytes(b"\xff\xfe")
    with pytest.raises(PinGraphError, match=r"file.ids.txt: not a text file"):
        open_subject(tmp_path / "file.npy", words)
    np.save(tmp_path / "file.ids.npy", np.array(["a", "b", "c", "d"]))
    with pytest.raises(PinGraphError, match=r"there is file.ids.txt as well"):
        open_subject(tmp_path / "file.npy", words)


def lists(values, kind=None):
    return pa.array(values, kind or pa.list_(pa.float32()))


GOOD = {"pin_id": ["a", "b", "c", "d"], "v": lists(np.eye(4).tolist())}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (GOOD | {"v": lists([[1, 2], [3], [4, 5], [6, 7]])}, "row 1: .* pin 'b' has 1 numbers, ex"),
        (GOOD | {"v": lists([None, [], [4], [6]])}, "row 1: .* pin 'b' has 0 numbers"),
        (GOOD | {"v": lists([[1], [2], [None], [4]])}, "row 2: .* pin 'c' is not finite"),
        (GOOD | {"v": lists([[1], [2], [0], [0]])}, r"row 2: .* pin 'c' is zero \(and 1 more\)"),
        (GOOD | {"v": lists([None] * 4)}, "holds no vectors"),
        (GOOD | {"pin_id": ["a", "b", "c", "x"]}, "row 3: unknown pin id 'x'; words lacks 1 of"),
        (GOOD | {"pin_id": ["a", "b", "a", "c"]}, "pin id 'a' occurs twice, in rows 0 and 2"),
        (GOOD | {"pin_id": ["a", None, "b", "c"]}, "row 1: the pin id is missing"),
        (GOOD | {"pin_id": [1, 2, 3, 4]}, "the pin ids are strings, but integers were given"),
        (
            GOOD | {"w": GOOD["v"]},
            "expected one column of vectors .*, or one of them named 'fused'",
        ),
        (GOOD | {"v": [1.0, 2, 3, 4]}, "expected one column of vectors"),
        (GOOD | {"v": lists([[1]] * 4, pa.list_(pa.int8()))}, "expected one column of vectors"),
        ({"x": ["a"], "y": ["b"], "v": lists([[1]])}, "no column 'pin_id' among x, y, v"),
        ({"v": lists([[1]])}, "no column 'pin_id' among v"),
        (
            {"pin_id": ["a"], "fused": lists([[1]]), "text": lists([[1, 2]])},
            "the text vectors have 2 numbers, the fused ones 1",
        ),
    ],
)
def test_a_wrong_parquet_file_is_named_by_row_and_pin(words, tmp_path, columns, message):
    pq.write_table(pa.table(columns), tmp_path / "file.parquet")
    with pytest.raises(PinGraphError, match=message) as caught:
        open_subject(tmp_path / "file.parquet", words)
    assert "\n" not in str(caught.value)
    assert "file.parquet" in str(caught.value)


def test_a_later_block_with_another_width_is_named(tiny, tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(vector_files, "BLOCK", 7)
    rows = [[1.0, 2.0]] * 20 + [[1.0]] + [[1.0, 2.0]] * 39
    write_lists(tmp_path / "file.parquet", tiny.pin_ids, rows)
    with pytest.raises(PinGraphError, match=r"row 20: .* has 1 numbers, expected 2"):
        open_subject(tmp_path / "file.parquet", tiny_folder)


@pytest.mark.parametrize("name", ["file.parquet", "file.npy"])
def test_a_file_that_is_missing_cut_or_foreign_is_named(words, tmp_path, name):
    path = tmp_path / name
    np.save(tmp_path / "good.npy", np.eye(4))
    write_lists(tmp_path / "good.parquet", "abcd", np.eye(4))
    whole = (tmp_path / f"good{path.suffix}").read_bytes()
    with pytest.raises(PinGraphError, match=f"{name}: no such file"):
        open_subject(path, words)
    for content in (whole[:-9], whole[: len(whole) // 2], b"", b"nothing of the kind"):
        path.write_bytes(content)
        with pytest.raises(PinGraphError, match=f"{name}: not a readable") as caught:
            open_subject(path, words)
        assert "\n" not in str(caught.value)


def test_a_pickle_is_never_loaded(words, tmp_path):
    import pickle

    class Trap:
        def __reduce__(self):
            return (tmp_path / "sprung").touch, ()

    (tmp_path / "file.npy").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(PinGraphError, match="not a readable"):
        open_subject(tmp_path / "file.npy", words)
    np.save(tmp_path / "file.npy", np.array([[Trap()]], object), allow_pickle=True)
    with pytest.raises(PinGraphError, match="Python objects"):
        open_subject(tmp_path / "file.npy", words)
    assert not (tmp_path / "sprung").exists()


def test_other_formats_versions_and_places_are_refused(words, trained, tmp_path):
    (tmp_path / "file.csv").write_text("1,2")
    with pytest.raises(PinGraphError, match=r"expected a run folder, a .parquet file or a .npy"):
        open_subject(tmp_path / "file.csv", words)
    table = pa.table(GOOD).replace_schema_metadata(
        {"format": "pingraph.embeddings", "version": "9"}
    )
    pq.write_table(table, tmp_path / "file.parquet")
    with pytest.raises(PinGraphError, match=r"pingraph.embeddings version 9, expected version 1"):
        open_subject(tmp_path / "file.parquet", words)
    with pytest.raises(PinGraphError, match="is no run: give the data set of its pins by --data"):
        open_subject(tmp_path / "file.parquet")
    with pytest.raises(PinGraphError, match="has data of its own"):
        open_subject(trained, words)
    with pytest.raises(PinGraphError, match="has split of its own"):
        open_subject(trained, split=PinSplit())
    with pytest.raises(PinGraphError, match="is not a trained run"):
        open_subject(tmp_path / "nowhere")


# ---- how it is judged ----


def test_a_file_is_judged_as_the_run_it_was_written_from(trained, tiny, tiny_folder, tmp_path):
    run = open_subject(trained)
    write_embeddings(tmp_path / "file.parquet", run.table)
    file = open_subject(tmp_path / "file.parquet", tiny_folder, SplitFile(trained))
    assert len(file.split.cold_pins(tiny.graph)) == len(run.split.cold_pins(tiny.graph)) > 0
    one, other = (evaluate_table(s.table, s.dataset, s.split).to_dict() for s in (run, file))
    one["data"] = other["data"]
    assert one == other
    assert any("Cold pins are cold only if" in note for note in file.notes)
    assert run.run is not None
    assert run.notes == ()


def test_a_split_of_other_data_is_refused(trained, words, tmp_path):
    np.save(tmp_path / "file.npy", np.eye(4))
    with pytest.raises(PinGraphError, match=r"split.safetensors: a split of other data than words"):
        open_subject(tmp_path / "file.npy", words, SplitFile(trained))
    with pytest.raises(PinGraphError, match="nowhere: no such file"):
        open_subject(tmp_path / "file.npy", words, SplitFile("nowhere"))


def test_without_a_split_nobody_is_cold_and_no_mate_is_filtered(tiny, tiny_folder, tmp_path):
    np.save(tmp_path / "file.npy", make_vectors(tiny))
    subject = open_subject(tmp_path / "file.npy", tiny_folder)
    subject.split.check_leaks(tiny)
    subject.split.save(tmp_path / "split")
    assert Split.load(tmp_path / "split").kind == "none"
    made = evaluate_table(subject.table, tiny, subject.split)
    queries = made.warm["pin_to_pin"].queries
    shared = (tiny.graph.incidence() @ tiny.graph.incidence().T).toarray()
    np.fill_diagonal(shared, 0)
    np.testing.assert_array_equal(queries, np.flatnonzero(shared.any(axis=1)))
    assert not len(made.cold["pin_to_pin"].queries)


def test_a_pin_without_a_vector_is_found_last_and_guesses(tiny, tiny_folder, tmp_path):
    vectors = np.abs(make_vectors(tiny))
    vectors[::2] *= -1  # half of the cosines are below the 0 that a vector of zeros would have
    there = np.arange(60) % 5 != 0
    write_lists(tmp_path / "file.parquet", tiny.pin_ids[there], vectors[there])
    subject = open_subject(tmp_path / "file.parquet", tiny_folder)
    found, scores = nearest(subject.table, subject.table.fused[[1]], 100, exclude=np.array([1]))
    assert sorted(found[0]) == [pin for pin in np.flatnonzero(there) if pin != 1]
    assert np.isfinite(scores).all()
    assert (scores < 0).any()
    with pytest.raises(PinGraphError, match=r"file.parquet: pin 5 has no vector"):
        subject.require_vector(5)
    scores = table_scorers(subject.table, tiny, subject.split)["pin_to_pin"](np.array([1, 2]))
    assert scores[:, ~there].max() < scores[:, there].min()


def test_who_gives_no_image_or_no_text_vectors_is_not_asked_for_them(tiny, tiny_folder, tmp_path):
    split = PinSplit(0.3)
    made = {}
    for kinds in ((), ("image",), ("text",), ("image", "text")):
        columns = {name: list(make_vectors(tiny, seed=9)) for name in ("fused", *kinds)}
        name = "-".join(("fused", *kinds)) + ".parquet"
        pq.write_table(pa.table({"pin_id": tiny.pin_ids, **columns}), tmp_path / name)
        subject = open_subject(tmp_path / name, tiny_folder, split)
        made[kinds] = evaluate_table(subject.table, tiny, subject.split)
        for part in ("cold", "warm"):
            tasks = made[kinds].to_dict()[part]
            asked = {task for task, found in tasks.items() if found is not None}
            other = {"image_to_text", "text_to_image"} if len(kinds) == 2 else set()
            assert asked == {"pin_to_pin", "board_to_pins"} | other
    told = paired_tests({"one": made[()], "two": made["image", "text"]})
    assert {test.task for test in told} == {"pin_to_pin", "board_to_pins"}


# ---- the commands ----


def test_evaluate_prints_what_must_be_known_and_writes_where_it_is_told(
    commands, tiny, tiny_folder, trained, tmp_path
):
    write_lists(tmp_path / "mine.parquet", tiny.pin_ids[4:], 3 * make_vectors(tiny)[4:])
    before = contents(tmp_path)
    ended = commands.run("evaluate", tmp_path / "mine.parquet", "--data", tiny_folder)
    assert (ended.status, ended.err) == (0, "")
    for words in (
        "Nothing is held out: every pin on a board counts as warm.",
        "4 of 60 pins have no fused vector in mine.parquet",
        "lengths from 3 to 3",
    ):
        assert words in ended.out
    assert "Cold pins were held out" not in ended.out
    assert contents(tmp_path) == before
    args = ["mine.parquet", "--data", tiny_folder, "--split", trained, "-o", "out"]
    ended = commands.run("evaluate", *args, cwd=tmp_path)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.splitlines()[-2:] == ["out/metrics.json", "out/neighbors.png"]
    assert "Cold pins are cold only if" in ended.out
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["split"]["kind"] == "pin"
    assert metrics["cold"]["pin_to_pin"]["queries"] > 0
    for part in ("cold", "warm"):  # the file has no image and no text vectors
        assert metrics[part]["image_to_text"] is metrics[part]["text_to_image"] is None
    args = ["mine.parquet", "--data", tiny_folder, "--cold_fraction", "0.5", "-o", "half"]
    assert commands.run("evaluate", *args, cwd=tmp_path).status == 0
    metrics = json.loads((tmp_path / "half" / "metrics.json").read_text())
    assert metrics["split"] == {"kind": "pin", "seed": 0, "fraction": 0.5}


def test_neighbors_searches_a_file_by_pin(commands, tiny, tiny_folder, tmp_path):
    vectors = make_vectors(tiny)
    np.save(tmp_path / "mine.npy", vectors)
    pin = tiny.pin_ids[7]
    args = ["mine.npy", pin, "--data", tiny_folder, "--k", "5", "-o", "grid.png"]
    ended = commands.run("neighbors", *args, cwd=tmp_path)
    assert (ended.status, ended.err) == (0, "")
    scores = vectors @ vectors[7]
    scores[7] = -2
    expected = tiny.pin_ids[np.argsort(-scores)[:5]]
    assert [line.split()[2] for line in ended.out.splitlines()[1:-1]] == [str(p) for p in expected]
    assert (tmp_path / "grid.png").is_file()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("evaluate mine.npy", "mine.npy is no run: give the data set of its pins by --data"),
        ("evaluate mine.npy --data nowhere", "nowhere: no such folder"),
        ("evaluate gone.npy --data {data}", "gone.npy: no such file"),
        ("evaluate mine.npy --data {data} --split gone", "gone: no such file"),
        ("evaluate mine.npy --data {data} --split x --cold_fraction .1", "give one of --split and"),
        ("evaluate mine.npy --data {data} --cold_fraction 2", "fraction is 2"),
        ("evaluate {run} --data {data}", "has data of its own"),
        ("neighbors mine.npy --text x --data {data}", "only a run can be searched by words"),
        ("neighbors mine.npy x --data {data}", "no pin 'x' among 60 pins"),
        ("neighbors nan.npy 3 --data {data}", "row 9: the fused vector of pin 9 is not finite"),
    ],
)
def test_what_cannot_be_judged_is_refused_in_a_line(
    args, words, commands, tiny, tiny_folder, trained, tmp_path
):
    vectors = make_vectors(tiny)
    np.save(tmp_path / "mine.npy", vectors)
    vectors[9, 3] = np.nan
    np.save(tmp_path / "nan.npy", vectors)
    before = contents(tmp_path)
    given = [part.format(data=tiny_folder, run=trained) for part in args.split()]
    ended = commands.run(*given, cwd=tmp_path)
    error = ended.refusal()
    assert words in error
    assert len(error.splitlines()) == 1
    assert ended.out == ""
    assert contents(tmp_path) == before
