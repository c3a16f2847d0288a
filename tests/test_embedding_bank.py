"""The bank holds the newest embeddings, with all that tells who is no negative of whom."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pingraph import embedding_bank
from pingraph.embedding_bank import EmbeddingBank
from pingraph.errors import PinGraphError
from tests import reference
from tests.batch_cases import draw


def held(bank):
    """What is in the bank, oldest first: id, boards, twin groups, vectors, presence, log count."""
    kept = bank.beside(torch.tensor([], dtype=torch.int64))
    found = []
    for slot, pin in enumerate(kept.columns.pins.tolist()):
        first, last = kept.columns.board_offsets[slot : slot + 2].tolist()
        found.append(
            (
                pin,
                set(kept.columns.boards[first:last].tolist()),
                kept.columns.groups[:, slot].tolist(),
                {name: vectors[slot].tolist() for name, vectors in kept.vectors.items()},
                {name: bool(present[slot]) for name, present in kept.present.items()},
                float(kept.log_counts[slot]),
            )
        )
    return found


def facts(embeddings, relations, modalities):
    """The same of a batch, by pin."""
    has = {"image": embeddings.has_image, "text": embeddings.has_text}
    has["fused"] = has["image"] | has["text"]
    return {
        pin.id: (
            pin.id,
            pin.boards,
            pin.groups,
            {name: getattr(embeddings, name)[place].tolist() for name in modalities},
            {name: bool(has[name][place]) for name in modalities},
            float(pin.log_count),
        )
        for place, pin in enumerate(reference.pins_of(embeddings, relations))
    }


@given(
    seed=st.integers(0, 2**32),
    size=st.integers(1, 30),
    sizes=st.lists(st.integers(1, 9), max_size=4),
    room=st.sampled_from([1, 32]),
)
@settings(deadline=None, max_examples=40)
def test_it_holds_the_newest_whole_and_in_order(seed, size, sizes, room):
    names = ("text", "fused")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedding_bank, "_BOARDS", room)
        bank = EmbeddingBank(size, 5, names).double()
    batches = [draw(seed + i, pins, anchors=1) for i, pins in enumerate(sizes)]
    for batch in batches:
        bank.push(*batch)
    found = held(bank)
    wanted = [facts(*batch, names) for batch in batches]
    # Each is one of its batch, unchanged, and batches follow each other.
    queue = [one for batch in wanted for one in batch.values()]
    assert all(any(same(one, other) for other in queue) for one in found)
    counts = sum(len(one[1]) for one in found)
    assert len(found) <= size
    assert counts <= size * room
    if room == 32:
        assert len(found) == min(size, sum(sizes))
        newest = {one[0] for one in found[-min(size, sizes[-1] if sizes else 0) :]}
        assert newest <= set(wanted[-1] if wanted else ())


def same(one, other):
    return (
        one[:3] == other[:3]
        and one[4] == other[4]
        and all(one[3][name] == pytest.approx(other[3][name]) for name in one[3])
        and one[5] == pytest.approx(other[5])
    )


def test_old_pins_leave_first_and_a_batch_leaves_evenly():
    bank = EmbeddingBank(6, 5, ("fused",))
    first, second = draw(1, 4, anchors=1), draw(2, 5, anchors=1)
    bank.push(*first)
    assert {one[0] for one in held(bank)} == set(first[1].pins.tolist())
    bank.push(*second)
    found = [one[0] for one in held(bank)]
    assert set(found[1:]) == set(second[1].pins.tolist())
    assert found[0] in first[1].pins.tolist()
    # Of a batch larger than the bank the pins that stay are of all its ids, not the last ones.
    large = draw(3, 40, anchors=1)
    bank.push(*large)
    places = torch.isin(large[1].pins, torch.tensor([one[0] for one in held(bank)])).nonzero()
    assert len(places) == 6
    assert places.min() < 10
    assert places.max() >= 30
    assert places.ravel().diff().max() < 14


def test_pins_whose_boards_find_no_room_leave_and_never_lose_a_board(monkeypatch):
    monkeypatch.setattr(embedding_bank, "_BOARDS", 1)
    bank = EmbeddingBank(4, 5, ("fused",))
    embeddings, relations = draw(4, 3, anchors=1)

    def saved(*counts):
        offsets = torch.tensor([0, *counts]).cumsum(0)
        return replace(relations, board_offsets=offsets, boards=torch.arange(int(offsets[-1])))

    bank.push(embeddings, saved(1, 1, 1))
    assert sorted(len(one[1]) for one in held(bank)) == [1, 1, 1]
    bank.push(embeddings, saved(1, 5, 2))  # 5 boards never fit into a room of 4
    assert sorted(len(one[1]) for one in held(bank)) == [1, 1, 2]
    bank.push(embeddings, saved(4, 0, 0))
    assert sorted(len(one[1]) for one in held(bank)) == [0, 0, 4]


def test_pins_of_the_batch_are_not_beside_it():
    bank = EmbeddingBank(20, 5, ("fused",))
    batch = draw(5, 6, anchors=1)
    bank.push(*batch)
    kept = bank.beside(batch[1].pins[1:3])
    assert set(kept.columns.pins.tolist()) == set(batch[1].pins[[0, 3, 4, 5]].tolist())
    assert len(kept.vectors["fused"]) == len(kept.log_counts) == 4


def test_a_saved_bank_goes_on_exactly():
    one, other = EmbeddingBank(7, 5, ("fused", "text")), EmbeddingBank(7, 5, ("fused", "text"))
    shapes = {name: value.shape for name, value in one.state_dict().items()}
    one.push(*draw(6, 5, anchors=1, dtype=torch.float32))
    state = {name: value.clone() for name, value in one.state_dict().items()}
    assert {name: value.shape for name, value in state.items()} == shapes
    other.load_state_dict(state)
    for bank in (one, other):
        bank.push(*draw(7, 6, anchors=1, dtype=torch.float32))
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_nobody_counts_is_no_nan():
    bank = EmbeddingBank(7, 5, ("fused",))
    embeddings, relations = draw(6, 5, anchors=1)
    bank.push(embeddings, replace(relations, log_counts=torch.full((5,), torch.nan)))
    assert (bank.log_counts == 0).all()


def test_no_gradient_goes_through_the_bank():
    bank = EmbeddingBank(7, 5, ("fused",))
    bank.push(*draw(6, 5, anchors=1))
    assert not bank.beside(torch.tensor([0])).vectors["fused"].requires_grad


def test_wrong_sizes_are_refused():
    with pytest.raises(PinGraphError, match="bank_size is 0"):
        EmbeddingBank(0, 5, ("fused",))
    with pytest.raises(PinGraphError, match="bank_dim is 0"):
        EmbeddingBank(5, 0, ("fused",))
    with pytest.raises(PinGraphError, match="bank_dim is 4: the embeddings have 5 channels"):
        EmbeddingBank(5, 4, ("fused",)).push(*draw(6, 5, anchors=1))
