"""Who is no negative of whom, found by sorted keys, equals what loops find."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pingraph import false_negatives
from pingraph.false_negatives import Columns, FalseNegatives, board_mate_share
from tests import reference
from tests.batch_cases import draw

SEEDS = st.integers(0, 2**32)


def dense(pins, columns, related):
    return torch.tensor([[related(one, other) for other in columns] for one in pins])


@given(seed=SEEDS, size=st.integers(1, 9), others=st.integers(1, 9), room=st.sampled_from([1, 4]))
@settings(deadline=None, max_examples=60)
def test_masks_equal_the_loops(seed, size, others, room):
    embeddings, relations = draw(seed, size, anchors=1 + size // 2, boards=6)
    kept_embeddings, kept = draw(seed + 1, others, anchors=1, boards=6)
    pins = reference.pins_of(embeddings, relations)
    columns = pins + reference.pins_of(kept_embeddings, kept)
    found = FalseNegatives(relations, Columns.of(relations) + Columns.of(kept))
    rows = torch.arange(size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(false_negatives, "_PAIRS", room)  # joins in pieces
        own = dense(pins, columns, lambda a, b: a.id == b.id)
        twins = dense(pins, columns, lambda a, b: a.id == b.id or reference.is_twin(a, b))
        mates = dense(pins, columns, lambda a, b: bool(a.boards & b.boards))
        assert torch.equal(found.itself(rows), own)
        assert torch.equal(found.twins(rows), twins)
        assert torch.equal(found.board_mates(rows), mates)
        anchors = [pins[place] for place in relations.anchors.tolist()]
        sampled = [set(row) for row in relations.neighbors.tolist()]
        expected = [
            [reference.is_no_negative(anchor, other, near) for other in columns]
            for anchor, near in zip(anchors, sampled, strict=True)
        ]
        masks = found.related(relations.anchors, relations.neighbors)
        assert torch.equal(masks, torch.tensor(expected))


@given(seed=SEEDS, size=st.integers(2, 9), step=st.integers(1, 5), ranks=st.integers(1, 3))
@settings(deadline=None, max_examples=30)
def test_the_share_of_board_mates_is_counted_without_the_diagonal(seed, size, step, ranks):
    embeddings, relations = draw(seed, size, anchors=1 + size // 2, boards=6)
    pins = reference.pins_of(embeddings, relations)
    pairs = [
        bool(pins[place].boards & other.boards)
        for place in relations.anchors.tolist()
        for other in pins
        if other is not pins[place]
    ]
    found = FalseNegatives(relations, Columns.of(relations))
    count = len(relations.anchors)
    shares = [range(count * rank // ranks, count * (rank + 1) // ranks) for rank in range(ranks)]
    share = sum(board_mate_share(found, relations, rows, step) for rows in shares)
    torch.testing.assert_close(share.item(), sum(pairs) / len(pairs))


def test_one_pin_alone_has_no_board_mates():
    _, relations = draw(0, 1, anchors=1)
    found = FalseNegatives(relations, Columns.of(relations))
    assert board_mate_share(found, relations, range(1), 4).item() == 0


def test_no_group_is_no_twin_and_no_neighbor_is_nobody():
    _, relations = draw(1, 5, anchors=5)
    relations = replace(
        relations,
        groups=torch.full((2, 5), -1),
        neighbors=torch.full((5, 3), -1),
        board_offsets=torch.zeros(6, dtype=torch.int64),
        boards=relations.boards[:0],
    )
    found = FalseNegatives(relations, Columns.of(relations))
    masks = found.related(relations.anchors, relations.neighbors)
    assert torch.equal(masks, torch.eye(5, dtype=bool))


def test_an_image_group_is_not_a_text_group():
    _, relations = draw(1, 2, anchors=1)
    relations = replace(relations, groups=torch.tensor([[4, -1], [-1, 4]]))
    found = FalseNegatives(relations, Columns.of(relations))
    assert torch.equal(found.twins(torch.arange(2)), torch.eye(2, dtype=bool))


def test_columns_can_be_taken_in_any_order():
    embeddings, relations = draw(3, 6, anchors=2)
    places = torch.tensor([4, 0, 4, 5])
    taken = Columns.of(relations).take(places)
    pins = reference.pins_of(embeddings, relations)
    for place, column in enumerate(places.tolist()):
        first, last = taken.board_offsets[place : place + 2].tolist()
        assert int(taken.pins[place]) == pins[column].id
        assert set(taken.boards[first:last].tolist()) == pins[column].boards
        assert taken.groups[:, place].tolist() == pins[column].groups
