"""Embeddings come back from their file as they were, damage is named, and search is exact."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pingraph import embeddings
from pingraph.embeddings import find_rows, nearest, read_embeddings, write_embeddings
from pingraph.errors import PinGraphError
from pingraph.interfaces import EmbeddingTable


def make_table(ids=("a", "b", "c", "d"), width=3, seed=0, **changes):
    rng = np.random.default_rng(seed)
    ids = np.array(ids)
    image, text, fused = rng.normal(size=(3, len(ids), width)).astype(np.float32)
    has_image, has_text = rng.random((2, len(ids))) < 0.6
    image[~has_image] = 0
    text[~has_text] = 0
    fields = {"image": image, "text": text, "fused": fused}
    fields |= {"has_image": has_image, "has_text": has_text}
    return EmbeddingTable(pin_ids=ids, **{**fields, **changes})


def same(one, other):
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        and getattr(one, name).dtype == getattr(other, name).dtype
        for name in vars(one)
    )


@given(
    st.one_of(
        st.lists(st.integers(-(2**63), 2**63 - 1), unique=True, min_size=1, max_size=20),
        # NumPy drops trailing NULs of strings; an id that ends in one cannot be held.
        st.lists(
            st.text(max_size=5).filter(lambda s: not s.endswith("\0") and s.isprintable()),
            unique=True,
            min_size=1,
            max_size=20,
        ),
    ),
    st.integers(1, 9),
    st.integers(0, 2**32),
)
@settings(deadline=None, max_examples=40)
def test_round_trip(tmp_path_factory, ids, width, seed):
    path = tmp_path_factory.mktemp("table") / "file.parquet"
    table = make_table(ids, width, seed)
    write_embeddings(path, table)
    assert same(read_embeddings(path), table)


def test_many_pins_and_none(tmp_path):
    path = tmp_path / "file.parquet"
    table = make_table(np.arange(50_000), 4)
    write_embeddings(path, table)
    assert same(read_embeddings(path), table)
    none = make_table(np.empty(0, np.int64), 4)
    write_embeddings(path, none)
    assert same(read_embeddings(path), none)


def test_the_file_is_plain_parquet(tmp_path):
    table = make_table(has_image=np.array([True, False, True, False]))
    write_embeddings(tmp_path / "file.parquet", table)
    arrow = pq.read_table(tmp_path / "file.parquet")
    assert arrow.column_names == ["pin_id", "image", "text", "fused"]
    assert arrow["image"].type == pa.list_(pa.float32(), 3)
    assert arrow["image"].is_null().to_pylist() == [False, True, False, True]
    assert arrow["fused"].null_count == 0
    metadata = {b"format": b"pingraph.embeddings", b"version": b"1"}
    assert metadata.items() <= arrow.schema.metadata.items()


DAMAGE = {
    "no column 'text'": lambda table: table.drop(["text"]),
    "pin_id is double": lambda table: replace(table, "pin_id", pa.array([1.0, 2, 3, 4])),
    "row 2: pin_id is null": lambda table: replace(table, "pin_id", pa.array([1, 2, None, 4])),
    "row 3: pin_id 2 occurs twice": lambda table: replace(table, "pin_id", pa.array([1, 2, 3, 2])),
    "row 1: fused is null": lambda table: replace(table, "fused", lists([[1, 2, 3], None] * 2)),
    "row 1: the fused vector of 'b' is not finite": lambda table: replace(
        table, "fused", lists([[1, 2, 3], [1, np.nan, 3]] * 2)
    ),
    "row 0: the image vector of 'a' is not finite": lambda table: replace(
        table, "image", lists([[1, None, 3], None] * 2)
    ),
    "text has shape": lambda table: replace(table, "text", lists([[1, 2], [3, 4]] * 2, 2)),
    "fused is list": lambda table: replace(table, "fused", pa.array([[1.0, 2, 3]] * 4)),
    "format None": lambda table: table.replace_schema_metadata(None),
    "version '2'": lambda table: table.replace_schema_metadata(
        {"format": "pingraph.embeddings", "version": "2"}
    ),
}


def lists(values, width=3):
    return pa.array(values, pa.list_(pa.float32(), width))


def replace(table, name, column):
    return table.set_column(table.column_names.index(name), name, column)


@pytest.mark.parametrize("message", DAMAGE)
def test_a_wrong_file_is_named(tmp_path, message):
    path = tmp_path / "file.parquet"
    write_embeddings(path, make_table())
    pq.write_table(DAMAGE[message](pq.read_table(path)), path)
    with pytest.raises(PinGraphError, match="file.parquet.*" + message):
        read_embeddings(path)


def test_a_file_that_is_missing_cut_or_foreign_is_named(tmp_path):
    path = tmp_path / "file.parquet"
    with pytest.raises(PinGraphError, match="no such file"):
        read_embeddings(path)
    write_embeddings(path, make_table())
    whole = path.read_bytes()
    for content in (whole[:-9], whole[: len(whole) // 2], b"", b"no Parquet at all"):
        path.write_bytes(content)
        with pytest.raises(PinGraphError, match="not a readable Parquet file"):
            read_embeddings(path)


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("not finite", {"fused": np.full((4, 3), np.inf, np.float32)}),
        ("expected \\(4, 3\\)", {"text": np.zeros((3, 3), np.float32)}),
        ("expected \\(4,\\)", {"has_text": np.ones(5, bool)}),
        ("'a' occurs twice", {"pin_ids": np.array(list("abca"))}),
    ],
)
def test_wrong_embeddings_are_not_written(tmp_path, message, changes):
    path = tmp_path / "file.parquet"
    good = make_table()
    write_embeddings(path, good)
    with pytest.raises(PinGraphError, match=message):
        write_embeddings(path, EmbeddingTable(**{**vars(good), **changes}))
    assert same(read_embeddings(path), good)
    assert list(tmp_path.iterdir()) == [path]


def slow_nearest(table, vector, k, left_out):
    rows = [row for row in range(len(table.fused)) if row != left_out]
    return sorted(rows, key=lambda row: -float(table.fused[row] @ vector))[:k]


@given(st.integers(1, 30), st.integers(1, 40), st.integers(0, 2**32), st.booleans())
@settings(deadline=None, max_examples=40)
def test_nearest_equals_sorting(count, k, seed, excluding):
    rng = np.random.default_rng(seed)
    table = make_table(np.arange(count), seed=seed)
    queries = rng.normal(size=(5, 3)).astype(np.float32)
    left_out = rng.integers(count, size=5) if excluding else None
    rows, scores = nearest(table, queries, k, exclude=left_out)
    assert rows.shape == scores.shape == (5, min(k, count - excluding))
    for place in range(5):
        expected = slow_nearest(table, queries[place], k, left_out[place] if excluding else None)
        assert rows[place].tolist() == expected
        assert scores[place] == pytest.approx(table.fused[expected] @ queries[place], abs=1e-5)


def test_search_in_blocks_changes_nothing(monkeypatch):
    table = make_table(np.arange(40))
    whole = nearest(table, table.fused, 5, exclude=np.arange(40))
    monkeypatch.setattr(embeddings, "_BLOCK_SCORES", 100)
    blocked = nearest(table, table.fused, 5, exclude=np.arange(40))
    assert np.array_equal(whole[0], blocked[0])


def test_equal_scores_stand_in_the_order_of_the_table():
    table = make_table(np.arange(100), fused=np.ones((100, 3), np.float32))
    rows, _ = nearest(table, table.fused[:1], 100)
    assert rows.tolist() == [list(range(100))]


@pytest.mark.parametrize(
    ("message", "vectors", "k"),
    [
        ("k is 0", np.zeros((1, 3)), 0),
        ("expected \\[queries, 3\\]", np.zeros((1, 4)), 1),
        ("expected \\[queries, 3\\]", np.zeros(3), 1),
        ("not finite", np.full((1, 3), np.nan), 1),
    ],
)
def test_wrong_queries_are_refused(message, vectors, k):
    with pytest.raises(PinGraphError, match=message):
        nearest(make_table(), vectors, k)


def test_pins_are_found_by_id():
    assert find_rows(make_table(), ["c", "a"]).tolist() == [2, 0]
    numbers = make_table([30, 10, 20])
    assert find_rows(numbers, ["10", 30]).tolist() == [1, 0]
    with pytest.raises(PinGraphError, match="no pin '40' among 3 pins"):
        find_rows(numbers, ["40"])
    with pytest.raises(PinGraphError, match=r"no pin 'a' among 3 pins .*: their ids are integers"):
        find_rows(numbers, ["a"])
