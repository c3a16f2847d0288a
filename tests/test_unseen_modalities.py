"""What training saw neither images nor texts of is embedded without them: no weight knows them."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pingraph.datasets import open_dataset, write_dataset
from pingraph.embeddings import read_embeddings
from pingraph.fit import fit
from pingraph.queries import cannot_search
from pingraph.runs import Run
from pingraph.subject import open_subject
from tests.training_cases import arguments


@pytest.fixture(scope="module", params=["image", "text"])
def unseen(request):
    """The modality that training goes without."""
    return request.param


@pytest.fixture(scope="module")
def without(unseen, tiny_folder, tmp_path_factory):
    """The folder of the tiny data set without the modality, in pins and titles."""
    pins, boards, edges = (
        pq.read_table(tiny_folder / f"{name}.parquet") for name in ("pins", "boards", "edges")
    )
    pins = blank(pins, unseen)
    if unseen == "text":
        boards = blank(boards, "title")
    folder = tmp_path_factory.mktemp(unseen) / "without"
    write_dataset(folder, pins=pins, boards=boards, edges=edges)
    return folder


@pytest.fixture(scope="module")
def run(without):
    return Run.open(fit(arguments(without, without.parent, "run", "")))


def blank(table, column):
    place = table.column_names.index(column)
    return table.set_column(place, column, pa.nulls(len(table), table.schema.field(column).type))


def test_what_was_not_seen_is_not_read(run, unseen, without, tiny):
    known = {"image", "text"} - {unseen}
    assert set(run.modalities) == known
    blind, seeing = run.embed(open_dataset(without)), run.embed(tiny)
    for name in ("image", "text", "fused", "has_image", "has_text"):
        np.testing.assert_array_equal(getattr(blind, name), getattr(seeing, name))
    assert not getattr(seeing, f"has_{unseen}").any()
    assert not getattr(seeing, unseen).any()
    assert getattr(seeing, f"has_{known.pop()}").any()
    assert cannot_search(open_subject(run.folder), unseen)


def test_embed_says_what_it_does_not_read(run, unseen, commands, tiny, tiny_folder, tmp_path):
    ended = commands.run("embed", run.folder, tiny_folder, "-o", tmp_path / "vectors.parquet")
    there = getattr(tiny, f"has_{unseen}").sum()
    told = f"{run.folder} was trained without {unseen}s: those of {there} pins are not read"
    assert (ended.status, ended.err) == (0, f"note: {told}\n")
    assert not getattr(read_embeddings(tmp_path / "vectors.parquet"), f"has_{unseen}").any()
