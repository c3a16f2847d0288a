"""Graphs from files of edges equal graphs from the same arrays, and a bad file is named."""

import gzip
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings

from pingraph.errors import PinGraphError
from pingraph.graph import PinBoardGraph
from tests.graph_cases import edges

quick = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(params=[1, 3, 1000])
def group_rows(request, monkeypatch):
    """Groups of one row, of three rows, and one group of all."""
    monkeypatch.setattr("pingraph.edge_files._GROUP_ROWS", request.param)
    monkeypatch.setattr("pingraph.edge_files._BATCH_ROWS", 2)
    monkeypatch.setattr("pingraph.edge_files._BLOCK_BYTES", 256)  # a row fits


@pytest.fixture
def write(tmp_path):
    def write(text, name="edges.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def table(case):
    columns = {"pin_id": case.pins, "note": ["x"] * len(case.pins), "board_id": case.boards}
    columns |= {} if case.weights is None else {"weight": case.weights}
    columns |= {} if case.times is None else {"time": case.times}
    return pa.table(columns)


@quick
@given(case=edges())
def test_parquet_gives_the_graph_of_its_columns(case, tmp_path, group_rows):
    path = tmp_path / "edges.parquet"
    pq.write_table(table(case), path, row_group_size=4)
    assert PinBoardGraph.from_file(path) == case.graph(universe=False)
    graph = PinBoardGraph.from_file(path, pin_ids=case.pin_ids, board_ids=case.board_ids)
    assert graph == case.graph()


@quick
@given(case=edges())
def test_csv_gives_the_graph_of_its_columns(case, tmp_path, group_rows):
    path = tmp_path / "edges.csv"
    if case.weights is not None:  # float32 would be written with digits too few for float64
        case = replace(case, weights=case.weights.astype(np.float64))
    pa.csv.write_csv(table(case), path)
    names = [case.pin_ids, case.board_ids]
    if all(ids.dtype.kind == "i" or _plain(ids) for ids in names):
        graph = PinBoardGraph.from_file(path, pin_ids=names[0], board_ids=names[1])
        assert graph == case.graph()
        if all(ids.dtype.kind == "U" or (ids < 10**18).all() for ids in names):
            assert PinBoardGraph.from_file(path) == case.graph(universe=False)


def _plain(ids):
    """Return whether CSV keeps these strings: no spaces at the ends, not all of them numbers."""
    texts = ids.tolist()
    return all(text.strip() == text for text in texts) and not any(
        text.isdigit() or set(text) & {"\n", "\r"} for text in texts
    )


@pytest.mark.parametrize("name", ["wasteland-items", "art-subjects-text"])
def test_ids_that_are_strings_stay_what_they_are(tmp_path, name):
    ids = [f"{name} {i:03}" for i in (7, 5, 7)]
    path = tmp_path / "edges.parquet"
    pq.write_table(pa.table({"pin_id": ids, "board_id": ["b", "a", "b"]}), path)
    graph = PinBoardGraph.from_file(path)
    assert graph.pin_ids.tolist() == [f"{name} 005", f"{name} 007"]
    assert graph.num_edges == 2


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["10", "9", "0"], [0, 9, 10]),
        (["10", "09", "0"], ["0", "09", "10"]),
        (["10", "a", "0"], ["0", "10", "a"]),
        (["1000000000000000000", "1", "0"], ["0", "1", "1000000000000000000"]),
        ([" 10", "9 ", "0"], [0, 9, 10]),
    ],
)
def test_csv_ids_are_integers_only_if_all_are(write, texts, expected, group_rows):
    path = write("pin_id, board_id\n" + "".join(f"{text},5\n" for text in texts))
    assert PinBoardGraph.from_file(path).pin_ids.tolist() == expected


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["5", "-7"], [5, -7]),
        (["1970-01-02", "1970-01-01 00:00:09.5"], [86400, 9]),
        (["1970-01-01T01:00:00+01:00", "1970-01-01T00:00:01Z"], [0, 1]),
    ],
)
def test_csv_times_are_integers_or_timestamps(write, texts, expected, group_rows):
    path = write(f"time,pin_id,board_id\n{texts[0]},1,1\n{texts[1]},2,1\n")
    assert PinBoardGraph.from_file(path).pin_times.tolist() == expected


@pytest.mark.parametrize(
    "kind", [pa.timestamp("s"), pa.timestamp("us"), pa.timestamp("ns", "UTC"), pa.date32()]
)
def test_parquet_timestamps_become_seconds(tmp_path, kind):
    path = tmp_path / "edges.parquet"
    times = pa.array([np.datetime64("1970-01-03", "s")], pa.timestamp("s")).cast(kind)
    pq.write_table(pa.table({"pin_id": [1], "board_id": [1], "time": times}), path)
    assert PinBoardGraph.from_file(path).pin_times.tolist() == [2 * 86400]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.int8(), [1, 2]),
        (pa.uint64(), [1, 2]),
        (pa.large_string(), ["a", "b"]),
        (pa.string_view(), ["a", "b"]),
        (pa.dictionary(pa.int32(), pa.string()), ["a", "b"]),
    ],
)
def test_parquet_ids_may_have_any_integer_or_string_type(tmp_path, kind, values):
    path = tmp_path / "edges.parquet"
    ids = pa.array(values, kind.value_type if pa.types.is_dictionary(kind) else kind).cast(kind)
    pq.write_table(pa.table({"pin_id": ids, "board_id": [3, 3]}), path)
    assert PinBoardGraph.from_file(path).pin_ids.tolist() == values


@pytest.mark.parametrize("kind", [pa.int16(), pa.float16(), pa.decimal128(22, 2)])
def test_parquet_weights_may_have_any_numeric_type(tmp_path, kind):
    path = tmp_path / "edges.parquet"
    weights = pa.array([2, 3]).cast(kind)
    pq.write_table(pa.table({"pin_id": [1, 2], "board_id": [3, 3], "weight": weights}), path)
    assert PinBoardGraph.from_file(path).pin_weights.tolist() == [2, 3]


def test_a_compressed_csv_is_read(tmp_path):
    path = tmp_path / "edges.csv.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbfpin_id,board_id\n1,2\n"))
    assert PinBoardGraph.from_file(path).num_edges == 1


HEAD = "pin_id,board_id\n"
BAD_CSV = {
    "empty": ("", "Empty CSV file"),
    "only a header": (HEAD, "no edges"),
    "missing column": ("pin_id,board\n1,2\n", "no column 'board_id'; found 'pin_id', 'board'"),
    "column twice": ("pin_id,board_id,pin_id\n1,2,3\n", "column 'pin_id' occurs 2 times"),
    "negative": (HEAD + "1,2\n3,2\n-5,2\n", "row 2: pin id -5 is negative"),
    "empty id": (HEAD + "1,2\n1,\n", "row 1: board id '' is empty"),
    "ragged": (HEAD + "1,2\n1\n", "line 3: Expected 2 columns, got 1"),
    "not UTF-8": (b"pin_id,board_id\n1,2\n\xff,2\n", "line 3: .*invalid UTF8"),
    "Latin-1": ("pin_id,board_id,título\n1,2,3\n".encode("latin-1"), "not UTF-8"),
    "weight": ("pin_id,board_id,weight\n1,2,1\n1,2,heavy\n", "row 1: weight 'heavy'; expected a"),
    "no weight": ("pin_id,board_id,weight\n1,2,1\n1,2,\n", "row 1: weight ''"),
    "NaN": ("pin_id,board_id,weight\n1,2,1\n1,2,nan\n", "row 1: weight nan; expected a finite"),
    "zero": ("pin_id,board_id,weight\n1,2,1\n1,2,0\n", "row 1: weight 0.0; expected a finite"),
    "time": ("pin_id,board_id,time\n1,2,5\n1,2,soon\n", "row 1: time 'soon'; expected an integer"),
    "times of two kinds": ("pin_id,board_id,time\n1,2,5\n1,2,2020-01-01\n", "row 1: time '2020"),
}


@pytest.mark.parametrize("name", BAD_CSV)
def test_a_bad_csv_is_refused_with_file_row_and_value(write, name, group_rows):
    text, message = BAD_CSV[name]
    path = write(text)
    with pytest.raises(PinGraphError, match=message) as caught:
        PinBoardGraph.from_file(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


BAD_PARQUET = {
    "missing column": ({"pin_id": [1], "pin": [1]}, "no column 'board_id'; found 'pin_id', 'pin'"),
    "no rows": ({"pin_id": pa.array([], "int64"), "board_id": pa.array([], "int64")}, "no edges"),
    "float ids": ({"pin_id": [1.0], "board_id": [1]}, "pin ids are of type double"),
    "missing id": ({"pin_id": [1, 2], "board_id": ["a", None]}, "row 1: the board id is missing"),
    "negative": ({"pin_id": [1, 2, -3], "board_id": [1, 1, 1]}, "row 2: pin id -3 is negative"),
    "missing weight": (
        {"pin_id": [1, 2], "board_id": [1, 1], "weight": [1.0, None]},
        "row 1: the weight is missing",
    ),
    "bad weight": (
        {"pin_id": [1, 2, 3], "board_id": [1, 1, 1], "weight": [1.0, 2.0, -1.0]},
        "row 2: weight -1.0",
    ),
    "text weight": ({"pin_id": [1], "board_id": [1], "weight": ["1"]}, "weights are object"),
    "missing time": (
        {"pin_id": [1, 2], "board_id": [1, 1], "time": [None, 5]},
        "row 0: the time is missing",
    ),
    "float time": ({"pin_id": [1], "board_id": [1], "time": [0.5]}, "times are float64"),
}


@pytest.mark.parametrize("name", BAD_PARQUET)
def test_a_bad_parquet_is_refused_with_file_row_and_value(tmp_path, name, group_rows):
    columns, message = BAD_PARQUET[name]
    path = tmp_path / "edges.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(PinGraphError, match=message) as caught:
        PinBoardGraph.from_file(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("column", "bad", "message"),
    [
        ("pin_id", "9", "row 17: unknown pin id '?9'?"),
        ("board_id", "", "row 17: board id '' is empty"),
        ("weight", "-1", "row 17: weight -1.0"),
        ("time", "1970-01-01", "row 17: time '1970-01-01'; expected an integer"),
    ],
)
def test_rows_are_counted_through_all_groups(tmp_path, kind, column, bad, message, group_rows):
    columns = {name: ["1"] * 20 for name in ("pin_id", "board_id", "weight", "time")}
    columns[column][17] = bad
    path = tmp_path / f"edges.{kind}"
    if kind == "csv":
        pa.csv.write_csv(pa.table(columns), path)
    elif column == "time":
        pytest.skip("a Parquet column has one type")
    else:
        types = (str, str, float, int)
        edges = {
            name: np.array(values).astype(to)
            for (name, values), to in zip(columns.items(), types, strict=True)
        }
        pq.write_table(pa.table(edges), path)
    with pytest.raises(PinGraphError, match=message):
        PinBoardGraph.from_file(path, pin_ids=["1"])


def test_ids_that_the_universe_lacks_are_refused(write, group_rows):
    path = write(HEAD + "1,2\n2,2\n3,2\n9,2\n")
    with pytest.raises(PinGraphError, match="row 3: unknown pin id 9"):
        PinBoardGraph.from_file(path, pin_ids=[3, 2, 1])
    with pytest.raises(PinGraphError, match="row 0: unknown board id '2'"):
        PinBoardGraph.from_file(path, board_ids=["x"])
    words = write(HEAD + "1,2\nx,2\n", "words.csv")
    with pytest.raises(PinGraphError, match="row 1: pin id 'x'; expected an integer"):
        PinBoardGraph.from_file(words, pin_ids=[3, 2, 1])


def test_a_file_that_is_no_table_is_named(tmp_path, write):
    for path, message in (
        (tmp_path / "missing.csv", "No such file"),
        (tmp_path / "missing.parquet", "No such file"),
        (tmp_path, "Is a directory"),
        (write("pin_id\n", "edges.json"), "not a Parquet file, and its name doesn't end in .csv"),
        (write("PAR1 and no more", "edges.parquet"), "Parquet magic bytes not found|not a parquet"),
    ):
        with pytest.raises(PinGraphError, match=message) as caught:
            PinBoardGraph.from_file(path)
        assert str(caught.value).startswith(f"{path}: ")


def test_a_cut_parquet_is_refused(tmp_path):
    path = tmp_path / "edges.parquet"
    pq.write_table(pa.table({"pin_id": np.arange(5000), "board_id": np.arange(5000)}), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + b"\0" * 400 + whole[500:])
    with pytest.raises(PinGraphError, match=r"edges\.parquet: "):
        PinBoardGraph.from_file(path)
    path.write_bytes(whole[:-50])
    with pytest.raises(PinGraphError, match=r"edges\.parquet: "):
        PinBoardGraph.from_file(path)


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_memory_is_bounded_by_the_graph_not_by_the_file(tmp_path, kind):
    """The ids of all rows would take 68 MB; what is held is 8 MB of indices and some groups."""
    path = tmp_path / f"edges.{kind}"
    names = pa.array([f"pin with a rather long identifier number {i:020}" for i in range(1000)])
    ids = names.take(pa.array(np.random.default_rng(0).integers(0, 1000, 1_000_000)))
    edges = pa.table({"pin_id": ids, "board_id": np.arange(1_000_000) % 50})
    if kind == "csv":
        pa.csv.write_csv(edges, path)
    else:
        plain = {"use_dictionary": False, "compression": "none"}
        pq.write_table(edges, path, row_group_size=1_000_000, **plain)
    code = """
import sys
import pyarrow as pa
from pingraph import edge_files
edge_files._GROUP_ROWS = edge_files._BATCH_ROWS = 1 << 16
edge_files._BLOCK_BYTES = 1 << 18
rows = edge_files.read_edges(sys.argv[1])
assert len(rows.pins) == 1_000_000 and len(rows.pin_ids) == 1000
print(pa.default_memory_pool().max_memory())
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True
    )
    assert int(done.stdout) < 35e6 < ids.nbytes
