"""Titles of boards are pins of training, and nothing else changes by them."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pingraph.augmentation import Augmentation
from pingraph.batches import PinBatches
from pingraph.content import ContentReader, TextReader
from pingraph.datasets import open_dataset
from pingraph.encoders.hybrid import HybridEncoder
from pingraph.encoders.preparation import SmallPreparation
from pingraph.encoders.small import SmallBackbone
from pingraph.errors import PinGraphError
from pingraph.graph import PinBoardGraph
from pingraph.samplers import PinSAGESampler, RecordedSampler, record
from pingraph.splits import BoardSplit, EdgeSplit, PinSplit
from pingraph.training_pins import TrainingPins
from tests.conftest import plain_tables


@pytest.fixture(scope="module")
def split(tiny):
    return PinSplit(0.3, seed=1).split(tiny)


@pytest.fixture(scope="module")
def pins(tiny, split):
    return TrainingPins.of(tiny, split)


def titled(graph, boards):
    """The graph of a data set in which the boards, and no others, have a title."""

    class Titled:
        def __init__(self):
            self.graph, self.num_pins = graph, graph.num_pins
            self.board_titles = [f"t{b}" if b in boards else " " for b in range(graph.num_boards)]
            self.texts = ["" for _ in range(graph.num_pins)]
            self.image_groups = self.text_groups = np.full(graph.num_pins, -1)

    class Everything:
        train_pins = np.arange(graph.num_pins)

        def train_graph(self, graph):
            return graph

    return TrainingPins.of(Titled(), Everything()).graph


edges = st.lists(
    st.tuples(st.integers(0, 8), st.integers(0, 5), st.integers(1, 9), st.integers(-5, 5)),
    min_size=1,
    unique_by=lambda edge: edge[:2],
)


@given(edges, st.sets(st.integers(0, 6)), st.booleans(), st.booleans(), st.booleans())
@settings(deadline=None, max_examples=80)
def test_each_title_is_a_pin_on_its_board_alone(rows, boards, weighted, timed, named):
    pins, on, weights, times = (np.array(column) for column in zip(*rows, strict=True))
    ids, board_ids = np.arange(9), np.arange(7)
    if named:
        ids, board_ids = ids.astype(str), board_ids.astype(str)
    graph = PinBoardGraph.from_edges(
        ids[pins],
        board_ids[on],
        weights if weighted else None,
        times if timed else None,
        pin_ids=ids,
        board_ids=board_ids,
    )
    found = titled(graph, boards)
    expected = [board for board in sorted(boards) if board in on]
    assert found.subgraph(pins=np.arange(9)) == graph
    assert found.num_pins == 9 + len(expected)
    for title, board in enumerate(expected, 9):
        assert found.boards_of(title).tolist() == [board]
        edge = found.pin_offsets[title]
        if weighted:
            assert found.pin_weights[edge] == np.float32(weights[on == board].mean())
        if timed:
            assert found.pin_times[edge] == times[on == board].min()
    new = found.pin_ids[9:].tolist()
    assert (
        new == [f"title of {b}" for b in expected]
        if named
        else new == [n for n in range(9 + len(new)) if n not in set(ids.tolist())][: len(new)]
    )


def test_titles_of_boards_that_training_does_not_know_are_not_seen(tiny):
    split = BoardSplit(0.4).split(tiny)
    known = np.flatnonzero(split.train_graph(tiny.graph).board_degrees)
    assert 0 < len(known) < tiny.graph.num_boards
    pins = TrainingPins.of(tiny, split)
    assert pins.titles == [tiny.board_titles[board] for board in known]
    assert pins.texts(tiny) == [tiny.texts[pin] for pin in split.train_pins] + pins.titles


def test_without_titles_there_are_the_pins_of_the_split(tiny, split, pins):
    plain = TrainingPins.of(tiny, split, titles=False)
    assert plain.graph == split.train_graph(tiny.graph)
    assert plain.titles == []
    np.testing.assert_array_equal(plain.anchors, split.train_pins)
    np.testing.assert_array_equal(plain.groups, [tiny.image_groups, tiny.text_groups])
    np.testing.assert_array_equal(pins.groups[:, : tiny.num_pins], plain.groups)
    assert pins.anchors.max() < tiny.num_pins


def test_equal_titles_and_texts_are_of_one_group(write_folder):
    boards = {"title": ["a b", "none", "a b"]}
    tables = plain_tables()
    texts = tables["pins"]["text"]
    texts[0] = "a b"
    folder = write_folder(pins=tables["pins"], boards={**tables["boards"], **boards})
    dataset = open_dataset(folder)
    groups = TrainingPins.of(dataset, EdgeSplit(0.3).split(dataset)).groups
    assert groups.shape == (2, 7)
    assert (groups[0, 4:] == -1).all()
    assert groups[1, 4] == groups[1, 6] == groups[1, 0]
    assert groups[1, 5] not in np.delete(groups[1], 5)


def test_neighbors_that_were_recorded_are_trained_on(tiny, split, pins, tmp_path):
    sampler, preparation = (
        PinSAGESampler(k=5),
        SmallPreparation(image_size=16, vocab_size=100, max_tokens=8),
    )
    content = ContentReader(tiny, preparation.tokenizer(pins.texts(tiny)), preparation)
    reader = pins.reader(SimpleNamespace(preparation=preparation), content)
    sizes = {"batch_size": 16, "neighbors_per_anchor": 2, "chunk_size": 64, "num_batches": 2}

    def relations(sampler):
        return PinBatches(pins, reader, sampler, Augmentation(), **sizes, seed=0).relations(0)

    path = tmp_path / "rows.safetensors"
    record(sampler, pins.graph, pins.anchors, path, seed=0)
    found, expected = relations(RecordedSampler(path=str(path))), relations(sampler)
    assert (found.pins >= tiny.num_pins).any()
    for field in dataclasses.fields(found):
        torch.testing.assert_close(
            getattr(found, field.name), getattr(expected, field.name), equal_nan=True
        )
    record(sampler, split.train_graph(tiny.graph), pins.anchors, path, seed=0)
    with pytest.raises(PinGraphError, match=r"another graph .* titles of boards among its pins"):
        relations(RecordedSampler(path=str(path)))


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("stem", [False, True])
def test_an_encoder_sees_titles_as_texts_and_pins_as_ever(frozen, stem, tiny, pins):
    """Also where a frozen backbone's tokens come from the disk, to the rounding of float16."""
    torch.manual_seed(0)
    backbone = SmallBackbone(image_size=16, vocab_size=100, max_tokens=8, dim=32, heads=2)
    backbone.requires_grad_(not frozen)
    encoder = HybridEncoder(backbone, embed_dim=16, heads=2, stem=stem, features=()).eval()
    preparation = encoder.preparation
    tokenizer = preparation.tokenizer(pins.texts(tiny))
    content = ContentReader(tiny, tokenizer, preparation)
    reader = pins.reader(encoder, content)
    N, M = tiny.num_pins, len(pins.titles)
    with torch.inference_mode():
        of_pins = encoder(content.read(np.arange(N)))
        texts = TextReader(pins.titles, tokenizer, preparation)
        of_titles = encoder(texts.read(np.arange(M)))
        for rows in (np.arange(N + M), np.arange(5), np.array([N, N + M - 1]), np.array([2, N])):
            read = reader.read(rows)
            assert (read.text_tokens is not None) == frozen
            found = encoder(read)
            for name in ("image", "text", "fused", "has_image", "has_text"):
                expected = torch.cat([getattr(of_pins, name), getattr(of_titles, name)])[rows]
                torch.testing.assert_close(
                    getattr(found, name), expected, atol=5e-3 if frozen else 1e-5, rtol=0
                )
    assert not of_titles.has_image.any()
    assert of_titles.has_text.all()
