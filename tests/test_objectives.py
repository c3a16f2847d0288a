"""The objective is its formula in any blocks and on any ranks; options do what they say."""

import math
from dataclasses import replace

import jsonargparse
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pingraph.errors import PinGraphError
from pingraph.interfaces import Embeddings
from pingraph.losses import FORMS, MAX_SCALE
from pingraph.neighbor_context import NeighborContext
from pingraph.objectives import NEIGHBOR_PAIRS, AlignmentObjective
from pingraph.views import View
from tests import reference
from tests.batch_cases import (
    assert_same,
    draw,
    draw_embeddings,
    gradients,
    leaves,
    shuffled,
    strangers,
    without_positives,
)

EACH_FORM = pytest.mark.parametrize("form", FORMS)
SEEDS = st.integers(0, 2**32)
DEFAULT_PAIRS = {"image-text": 1.0, "fused-image": 0.25, "fused-text": 0.25}
FUSED = {"fused->fused": 1.0}
NEIGHBORS = {**FUSED, "shallow->shallow": 1.0}
MADE = ("image", "text", "fused", "shallow")


def make(**options):
    objective = AlignmentObjective(**{"temperature": 0.4, **options}).double()
    objective.log_scale["neighbor"].data += 0.5
    objective.bias["neighbor"].data += 0.5
    return objective


def slow(objective, embeddings, relations, **options):
    """The total by loops, at the objective's scale and bias."""
    return reference.objective(
        embeddings,
        relations,
        **{
            "form": objective.form,
            "neighbor_weight": objective.neighbor_weight,
            "pairs": DEFAULT_PAIRS,
            "neighbor_pairs": NEIGHBORS,
            "scale": {term: log.exp() for term, log in objective.log_scale.items()},
            "bias": objective.bias,
            "masked": objective.mask_false_negatives,
            "logq": objective.logq,
            **options,
        },
    )


def inputs_of(objective, embeddings):
    learned = [one for one in objective.parameters() if one.requires_grad]
    return [*leaves(embeddings), *learned]


def full(embeddings):
    """The same pins, all with image and text of length 1."""
    everywhere = torch.ones(len(embeddings.fused), dtype=bool)
    rng = torch.Generator().manual_seed(9)
    drawn = draw_embeddings(rng, len(everywhere), embeddings.fused.dtype, share=2)
    return replace(drawn, has_image=everywhere, has_text=everywhere)


@EACH_FORM
@given(
    seed=SEEDS,
    pins=st.integers(2, 7),
    weight=st.sampled_from([0.0, 0.7]),
    masked=st.booleans(),
    logq=st.booleans(),
    pairs=st.dictionaries(
        st.sampled_from(["fused-image", "fused-text"]), st.sampled_from([0, 0.3]), min_size=1
    ),
    neighbor_pairs=st.dictionaries(
        st.sampled_from(NEIGHBOR_PAIRS), st.sampled_from([0.5, 2.0]), min_size=1, max_size=3
    ),
    block_rows=st.sampled_from([2, 100]),
)
@settings(deadline=None, max_examples=15)
def test_the_objective_and_its_gradient_equal_the_loop(
    form, seed, pins, weight, masked, logq, pairs, neighbor_pairs, block_rows
):
    pairs = {"image-text": 1.0, **pairs}
    embeddings, relations = draw(seed, pins, anchors=1 + pins // 2)
    objective = make(
        neighbor_weight=weight,
        form=form,
        pairs=pairs,
        neighbor_pairs=neighbor_pairs,
        mask_false_negatives=masked,
        logq=logq,
        block_rows=block_rows,
    )
    options = {"pairs": pairs, "neighbor_pairs": neighbor_pairs}
    try:
        expected = slow(objective, embeddings, relations, **options)
    except reference.NoNegativesError as error:
        with pytest.raises(PinGraphError, match=f"the {error} term has .* no negative"):
            objective(embeddings, relations)
        return
    found = objective(embeddings, relations).total
    assert_same(found, expected, inputs_of(objective, embeddings))


@EACH_FORM
def test_one_pin_alone_with_a_text_is_told_from_none_and_no_error(form):
    embeddings, relations = draw(3, 6, anchors=4)
    alone = torch.arange(6) == 2
    embeddings = replace(
        embeddings,
        text=embeddings.text * alone[:, None],
        has_text=alone,
        has_image=alone.new_ones(6),
    )
    objective = make(form=form, pairs={"image-text": 1.0}, neighbor_weight=0)
    loss = objective(embeddings, relations).total
    if form == "sigmoid":  # of which the pair by itself is left
        assert 0 < loss < math.inf
    else:
        assert loss == 0


@EACH_FORM
@given(seed=SEEDS, slots=st.integers(1, 20), logq=st.booleans(), masked=st.booleans())
@settings(deadline=None, max_examples=6)
def test_the_bank_is_further_negatives_in_the_loop_too(form, seed, slots, logq, masked):
    neighbor_pairs = {"fused->fused": 1.0, "image->text": 0.5}
    objective = make(
        form=form,
        neighbor_pairs=neighbor_pairs,
        bank_size=slots,
        bank_dim=5,
        logq=logq,
        mask_false_negatives=masked,
    )
    earlier = [draw(seed + i, 6, anchors=3) for i in range(1, 3)]
    queue = [pin for batch in earlier for pin in reference.pins_of(*batch)]
    for batch in earlier:
        objective.bank.push(*batch)
    held = objective.bank.beside(torch.tensor([])).columns.pins.tolist()
    if slots < len(queue):  # which they are is the bank's own matter
        newest = {pin.id: pin for pin in queue[:6] if pin.id in held[: max(0, len(held) - 6)]}
        bank = [newest[one] for one in held[: max(0, len(held) - 6)]]
        newest = {pin.id: pin for pin in queue[6:]}
        bank += [newest[one] for one in held[max(0, len(held) - 6) :]]
    else:
        bank = queue
    for pin in bank:
        for name in ("image", "text", "fused"):
            vector = getattr(pin, name)
            setattr(pin, name, None if vector is None else vector.detach())
    embeddings, relations = draw(seed, 6, anchors=4)
    try:
        expected = slow(objective, embeddings, relations, bank=bank, neighbor_pairs=neighbor_pairs)
    except reference.NoNegativesError:
        return
    found = objective(embeddings, relations).total
    assert_same(found, expected, inputs_of(objective, embeddings))


@EACH_FORM
def test_gradients_are_those_of_finite_differences(form):
    embeddings, relations = draw(3, 6, anchors=4)
    objective = make(form=form, logq=True, block_rows=2)

    def total(image, text, fused, shallow):
        changed = replace(embeddings, image=image, text=text, fused=fused, shallow=shallow)
        return objective(changed, relations).total

    assert torch.autograd.gradcheck(total, leaves(embeddings), fast_mode=True)


def test_without_a_shallow_part_fused_finds_fused_alone():
    embeddings, relations = draw(4, 9, anchors=6)
    bare = replace(embeddings, shallow=None)
    found = make(bank_size=20, bank_dim=5)
    expected = make(neighbor_pairs=FUSED, bank_size=20, bank_dim=5)
    for _ in range(2):  # the second time beside what the banks have kept of another batch
        assert_same(found(bare, relations).total, expected(bare, relations).total, leaves(bare))
        other, others = draw(5, 9, anchors=6)
        for objective in (found, expected):
            objective.bank.push(replace(other, shallow=None), others)
    both = found(embeddings, relations).terms["neighbor"]
    assert both > expected(embeddings, relations).terms["neighbor"]


@EACH_FORM
@given(seed=SEEDS, block_rows=st.integers(1, 12), ranks=st.integers(1, 5))
@settings(deadline=None, max_examples=6)
def test_blocks_and_ranks_add_up(form, seed, block_rows, ranks):
    embeddings, relations = draw(seed, 11, anchors=7)
    options = {"form": form, "neighbor_pairs": {"fused->fused": 1.0, "image->text": 0.5}}
    whole = make(**options)
    parts = make(**options, block_rows=block_rows)
    parts.load_state_dict(whole.state_dict())
    expected = whole(embeddings, relations)
    found = [parts(embeddings, relations, rank=rank, ranks=ranks) for rank in range(ranks)]
    total = sum(one.total for one in found)
    assert_same(total, expected.total, leaves(embeddings), 1e-12)
    for name, term in expected.terms.items():
        torch.testing.assert_close(sum(one.terms[name] for one in found), term)
    shares = sum(one.board_mate_share for one in found)
    torch.testing.assert_close(shares, expected.board_mate_share)
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        if one.requires_grad:
            assert_close_gradients(total, other, expected.total, one)


def assert_close_gradients(loss, parameter, expected, other):
    torch.testing.assert_close(gradients(loss, [parameter]), gradients(expected, [other]))


@EACH_FORM
def test_blocks_and_ranks_add_up_in_single_precision(form):
    embeddings, relations = draw(4, 64, anchors=48, dtype=torch.float32, known=100, boards=60)
    expected = AlignmentObjective(form=form)(embeddings, relations).total
    split = AlignmentObjective(form=form, block_rows=5)
    total = sum(split(embeddings, relations, rank=rank, ranks=3).total for rank in range(3))
    assert_same(total / expected.item(), expected / expected.item(), leaves(embeddings), 1e-6)


class LargestTensor(TorchDispatchMode):
    """Keeps the number of entries of the largest tensor that any operation made."""

    largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        sizes = [one.numel() for one in tree_leaves(made) if isinstance(one, torch.Tensor)]
        self.largest = max([self.largest, *sizes])
        return made


@EACH_FORM
def test_no_tensor_has_the_size_of_pins_times_pins(form):
    pins, block = 120, 4
    embeddings, relations = draw(5, pins, anchors=100, dtype=torch.float32, known=800, boards=4000)
    objective = AlignmentObjective(form=form, block_rows=block, bank_size=100, bank_dim=5)
    objective.bank.push(*draw(6, 90, anchors=1, known=800, boards=4000))
    with LargestTensor() as seen:
        objective(embeddings, relations).total.backward()
    assert seen.largest <= max(16, block) * (pins + 100)  # 16 rows are looked at for negatives


@pytest.mark.parametrize("form", ["softmax", "multi_softmax"])
def test_without_a_graph_it_is_clips_loss_to_the_last_digit(form):
    embeddings, relations = draw(6)
    embeddings = full(embeddings)
    pairs = {"image-text": 1.0}
    baseline = AlignmentObjective(0.0, form, pairs, temperature=0.5).double()
    joint = AlignmentObjective(1.0, form, pairs, temperature=0.5).double()
    scale = baseline.log_scale["image_text"].exp()
    logits, own = scale * (embeddings.image @ embeddings.text.T), torch.arange(9)
    expected = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    alone = strangers(relations)
    for loss in (
        baseline(embeddings, alone).total,
        joint(embeddings, without_positives(alone)).total,
    ):
        assert_same(loss, expected, leaves(embeddings), 2e-15)


def test_it_is_the_loss_that_transformers_computes():
    from transformers.models.clip.modeling_clip import image_text_contrastive_loss

    embeddings, relations = draw(6)
    embeddings = full(embeddings)
    objective = AlignmentObjective(0.0, pairs={"image-text": 1.0}, temperature=0.5).double()
    scale = objective.log_scale["image_text"].exp()
    expected = image_text_contrastive_loss(scale * (embeddings.text @ embeddings.image.T))
    loss = objective(embeddings, strangers(relations)).total
    assert_same(loss, expected, leaves(embeddings), 2e-15)


def test_without_a_graph_it_is_siglips_loss_to_the_last_digit():
    embeddings, relations = draw(6)
    embeddings = full(embeddings)
    objective = AlignmentObjective(0.0, "sigmoid", {"image-text": 1.0}).double()
    scale = objective.log_scale["image_text"].exp()
    logits = scale * (embeddings.text @ embeddings.image.T) - 10
    signs = 2 * torch.eye(9, dtype=torch.float64) - 1
    # As in transformers' SiglipModel: of each text over the images, then the mean.
    expected = -F.logsigmoid(signs * logits).sum(1).mean()
    loss = objective(embeddings, strangers(relations)).total
    assert_same(loss, expected, leaves(embeddings), 1e-14)


def test_the_default_is_todays_softmax_with_half_the_weight_on_fused():
    embeddings, relations = draw(7)
    found = make()(embeddings, relations)
    named = make(form="softmax", pairs=DEFAULT_PAIRS, neighbor_pairs=NEIGHBORS)
    assert named(embeddings, relations).total.item() == found.total.item()
    torch.testing.assert_close(found.total, slow(named, embeddings, relations))


@EACH_FORM
@given(seed=SEEDS)
@settings(deadline=None, max_examples=6)
def test_the_order_of_the_pins_changes_nothing(form, seed):
    embeddings, relations = draw(seed, 9, anchors=5)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(seed))
    objective = make(form=form, logq=True, block_rows=4)
    expected = objective(embeddings, relations).total
    found = objective(*shuffled(embeddings, relations, order)).total
    assert_same(found, expected, leaves(embeddings), 1e-9)


@EACH_FORM
def test_the_order_of_the_positives_changes_nothing(form):
    embeddings, relations = draw(8)
    order = torch.randperm(len(relations.positive_rows))
    names = ("positive_rows", "positive_columns", "positive_weights")
    moved = replace(relations, **{name: getattr(relations, name)[order] for name in names})
    objective = make(form=form)
    expected = objective(embeddings, relations).total
    assert_same(objective(embeddings, moved).total, expected, leaves(embeddings), 1e-12)


@EACH_FORM
def test_lambda_0_is_the_image_text_term_whatever_the_graph_says(form):
    embeddings, relations = draw(7)
    other = replace(
        without_positives(relations),
        board_offsets=torch.zeros(10, dtype=int),
        boards=torch.tensor([]),
    )
    objective = AlignmentObjective(0.0, form)
    losses = objective(embeddings, relations)
    assert losses.total.item() == losses.terms["image_text"].item() > 0
    assert losses.terms["neighbor"].item() == 0
    assert objective(embeddings, other).total.item() == losses.total.item()
    losses.total.backward()
    assert objective.log_scale["neighbor"].grad is None
    found = AlignmentObjective(0.5, form)(embeddings, relations)
    assert found.terms["image_text"].item() == losses.total.item()
    assert found.total.item() == (losses.total + 0.5 * found.terms["neighbor"]).item()
    assert found.terms["neighbor"].item() > 0


@EACH_FORM
def test_a_batch_without_neighbors_gives_the_image_text_loss_to_the_last_digit(form):
    embeddings, relations = draw(8, dtype=torch.float32)
    losses = AlignmentObjective(3.0, form)(embeddings, without_positives(relations))
    baseline = AlignmentObjective(0.0, form)(embeddings, relations)
    assert losses.total.item() == baseline.total.item()
    assert losses.terms["neighbor"].item() == 0
    found = gradients(losses.terms["neighbor"], leaves(embeddings))
    assert all((one == 0).all() for one in found)


@EACH_FORM
def test_a_pin_without_a_modality_has_no_part_in_its_pairs(form):
    embeddings, relations = draw(9)
    assert not embeddings.has_image.all()
    noise = torch.randn(9, 5, dtype=torch.float64)
    has = embeddings.has_image | embeddings.has_text
    moved = replace(
        embeddings,
        image=torch.where(embeddings.has_image[:, None], embeddings.image, noise),
        text=torch.where(embeddings.has_text[:, None], embeddings.text, noise),
        fused=torch.where(has[:, None], embeddings.fused, noise),
    )
    objective = make(form=form, neighbor_pairs=dict.fromkeys(NEIGHBOR_PAIRS, 1.0))
    losses, others = objective(embeddings, relations), objective(moved, relations)
    assert others.total.item() == losses.total.item()


@EACH_FORM
@pytest.mark.parametrize("seed", range(3))
def test_a_batch_without_images_or_texts_has_a_finite_loss(form, seed):
    embeddings, relations = draw(seed)
    nowhere = torch.zeros(9, dtype=bool)
    for lacking in ({"has_image": nowhere}, {"has_image": nowhere, "has_text": nowhere}):
        losses = make(form=form)(replace(embeddings, **lacking), relations)
        found = gradients(losses.total, leaves(embeddings))
        assert losses.total.isfinite()
        assert all(one.isfinite().all() for one in found)
    assert losses.total.item() == 0
    losses.total.backward()


def triangle(**changes):
    """Anchor 0, its neighbor 1, and pins 2 and 3, of which the changes tell what 2 is to 0."""
    _, relations = draw(0, 4, anchors=1)
    whole = replace(
        strangers(relations),
        pins=torch.arange(4),
        anchors=torch.tensor([0]),
        neighbors=torch.tensor([[1, -1, -1]]),
        positive_rows=torch.tensor([0]),
        positive_columns=torch.tensor([1]),
        positive_weights=torch.tensor([1.0]),
    )
    return replace(whole, **changes)


MATES = {"board_offsets": torch.tensor([0, 1, 1, 2, 2]), "boards": torch.tensor([7, 7])}
TWINS = {"groups": torch.tensor([[-1, -1, -1, -1], [3, -1, 3, -1]])}
SAMPLED = {"neighbors": torch.tensor([[1, 2, -1]])}


def moved_by(form, relations, **options):
    """How the neighbor term moves each of four pins."""
    fused = F.normalize(torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.3, -0.9], [-1, 0.2]]), dim=1)
    fused.requires_grad_()
    everywhere = torch.ones(4, dtype=bool)
    embeddings = Embeddings(
        image=fused, text=fused, fused=fused, has_image=everywhere, has_text=everywhere
    )
    loss = AlignmentObjective(form=form, temperature=1, **options)(embeddings, relations).terms[
        "neighbor"
    ]
    return gradients(loss, [fused])[0].abs().sum(1)


@EACH_FORM
def test_board_mates_twins_and_sampled_neighbors_are_no_negatives(form):
    assert (moved_by(form, triangle()) > 0).all()
    for changes in (MATES, TWINS, SAMPLED):
        moved = moved_by(form, triangle(**changes))
        assert moved[2] == 0
        assert (moved[[0, 1, 3]] > 0).all()
        assert (moved_by(form, triangle(**changes), mask_false_negatives=False) > 0).all()


@EACH_FORM
def test_board_mates_stay_negatives_of_image_text_alignment(form):
    embeddings, _ = draw(10, 4, anchors=2)
    embeddings, objective = full(embeddings), make(form=form, neighbor_weight=0.0)
    alone = objective(embeddings, triangle()).total.item()
    assert objective(embeddings, triangle(**MATES)).total.item() == alone
    assert objective(embeddings, triangle(**TWINS)).total.item() < alone


@EACH_FORM
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_mask_that_hides_everything_is_an_error(form, ranks):
    embeddings = full(draw(10, 4, anchors=2)[0])
    mates = {"board_offsets": torch.arange(5), "boards": torch.full((4,), 7)}
    twins = {"groups": torch.full((2, 4), 3)}
    for rank in range(ranks):
        with pytest.raises(PinGraphError, match="neighbor term has 2 rows with positives and no"):
            make(form=form)(embeddings, triangle(**mates), rank=rank, ranks=ranks)
        with pytest.raises(PinGraphError, match="image_text term has 24 rows with positives and"):
            make(form=form)(embeddings, triangle(**twins), rank=rank, ranks=ranks)
        # Of the anchor alone: the other rows have negatives still, so there is a loss.
        losses = make(form=form, neighbor_weight=0.0)(embeddings, triangle(**mates), rank=rank)
        assert losses.total.isfinite()
    off = make(form=form, mask_false_negatives=False)(embeddings, triangle(**mates))
    assert off.total.isfinite()


@EACH_FORM
def test_uniform_frequencies_change_nothing_but_a_constant(form):
    embeddings, relations = draw(11)
    uniform = replace(relations, log_counts=torch.full((9,), -2.5))
    plain, corrected = make(form=form), make(form=form, logq=True)
    found = corrected(embeddings, uniform)
    if form == "sigmoid":  # the constant is one on the bias, which is learned
        for bias in plain.bias.values():
            bias.data += 2.5
    expected = plain(embeddings, uniform)
    assert_same(found.total, expected.total, leaves(embeddings), 1e-12)
    assert corrected(embeddings, relations).total.item() != found.total.item()


def test_frequent_pins_are_pushed_away_less():
    often = torch.tensor([0.0, 0.0, 3.0, 0.0])
    for form in FORMS:
        plain = moved_by(form, triangle(log_counts=often))
        corrected = moved_by(form, triangle(log_counts=often), logq=True)
        assert corrected[2] < plain[2]


@EACH_FORM
@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_a_missing_log_count_is_refused(form, value):
    embeddings, relations = draw(11)
    relations.log_counts[3] = value
    pin = int(relations.pins[3])
    with pytest.raises(PinGraphError, match=f"log count of pin {pin} is {value}"):
        make(form=form, logq=True)(embeddings, relations)
    assert make(form=form)(embeddings, relations).total.isfinite()


@EACH_FORM
def test_a_loss_leaves_the_bank_alone_and_what_is_in_the_batch_adds_nothing_to_it(form):
    embeddings, relations = draw(12)
    objective = make(form=form, bank_size=9, bank_dim=5)
    alone = objective(embeddings, relations).terms["neighbor"].item()
    assert (objective.bank.pins == -1).all()
    objective.bank.push(embeddings, relations)
    assert sorted(objective.bank.pins.tolist()) == relations.pins.tolist()
    assert objective(embeddings, relations).terms["neighbor"].item() == alone


@EACH_FORM
def test_the_gradient_of_blocks_is_of_the_bank_that_the_loss_saw(form):
    """Blocks are computed again for the gradient, when the bank may have changed already."""
    found = []
    for block_rows in (100, 2):
        objective = make(form=form, bank_size=12, bank_dim=5, block_rows=block_rows)
        objective.bank.push(*draw(13))
        embeddings, relations = draw(14)
        total = objective(embeddings, relations).total
        objective.bank.push(embeddings, relations)
        total.backward()
        found.append([one.grad for one in leaves(embeddings)])
    torch.testing.assert_close(found[0], found[1])


def test_a_bank_of_another_dimension_is_refused():
    with pytest.raises(PinGraphError, match="bank_dim is 128: the embeddings have 5 channels"):
        AlignmentObjective(bank_size=4)(*draw(12))


@EACH_FORM
def test_terms_are_the_weighted_mean_over_views(form):
    embeddings, relations = draw(15)
    views = [View(), View(dim=2, weight=3.0)]
    found = make(form=form, views=views)(embeddings, relations).total

    def seen(view):
        short = {name: view(getattr(embeddings, name)) for name in MADE}
        return make(form=form)(replace(embeddings, **short), relations).total

    expected = (seen(views[0]) + 3 * seen(views[1])) / 4
    assert_same(found, expected, leaves(embeddings), 1e-12)
    whole = make(form=form, views=[View()])(embeddings, relations).total
    assert whole.item() == make(form=form)(embeddings, relations).total.item()


def test_short_views_work_with_a_bank():
    objective = make(bank_size=9, bank_dim=5, views=[View(dim=2, code="int8"), View(code="binary")])
    objective.bank.push(*draw(12))
    embeddings, relations = draw(13)
    objective(embeddings, relations).total.backward()
    assert all(one.grad.isfinite().all() for one in leaves(embeddings))


def test_the_terms_of_a_context_are_added():
    embeddings, relations = draw(16, dtype=torch.float32, known=12, neighbors=6)
    context = NeighborContext(embed_dim=5, weight=0.5)
    losses = AlignmentObjective(context=context)(embeddings, relations)
    plain = AlignmentObjective()(embeddings, relations)
    found = context(embeddings.fused, relations)
    assert {"image_text", "neighbor", *found} == set(losses.terms)
    expected = plain.total + sum(found.values())
    torch.testing.assert_close(losses.total, expected)
    losses.total.backward()
    assert any((one.grad != 0).any() for one in context.parameters() if one.grad is not None)


@EACH_FORM
@pytest.mark.parametrize("block_rows", [3, 100])
def test_the_loss_is_float32_under_autocast(form, block_rows):
    embeddings, relations = draw(17, dtype=torch.float32)
    objective = AlignmentObjective(form=form, block_rows=block_rows)
    expected = objective(embeddings, relations).total
    with torch.autocast("cpu", torch.bfloat16):
        found = objective(embeddings, relations).total
    assert_same(found, expected, leaves(embeddings), 1e-7)
    half = {name: getattr(embeddings, name).bfloat16() for name in ("image", "text", "fused")}
    assert objective(replace(embeddings, **half), relations).total.dtype == torch.float32


def test_the_temperature_is_learned_and_bounded():
    objective = AlignmentObjective(temperature=0.25)
    assert objective.log_scale["neighbor"].exp().item() == pytest.approx(4)
    objective(*draw(11)).total.backward()
    assert all(one.grad != 0 for one in objective.log_scale.values())
    assert not any(one.requires_grad for one in objective.bias.values())
    losses = []
    for scale in (MAX_SCALE, 5 * MAX_SCALE):
        for one in objective.log_scale.values():
            one.data.fill_(math.log(scale))
            one.grad = None
        losses.append(objective(*draw(11)).total)
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-5)
    # What went too far is taken back to the bound, and can come back from there.
    assert all(one.item() == pytest.approx(math.log(100)) for one in objective.log_scale.values())
    losses[1].backward()
    assert all(one.grad > 0 for one in objective.log_scale.values())
    assert objective.scales() == pytest.approx({"image_text": 100, "neighbor": 100})


def test_the_bias_is_learned_in_the_sigmoid_form():
    objective = AlignmentObjective(form="sigmoid")
    objective(*draw(12)).total.backward()
    assert all(one.grad != 0 for one in objective.bias.values())


def test_it_is_made_from_yaml():
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(AlignmentObjective, "objective")
    written = """
objective:
  class_path: pingraph.objectives.AlignmentObjective
  init_args:
    form: sigmoid
    pairs: {image-text: 1.0}
    neighbor_pairs: {fused->fused: 1.0, image->text: 0.25}
    bank_size: 16
    views: [{}, {dim: 32, code: int8, weight: 0.5}]
    context:
      class_path: pingraph.neighbor_context.NeighborContext
"""
    objective = parser.instantiate(parser.parse_string(written)).objective
    assert objective.neighbor_pairs == {("fused", "fused"): 1.0, ("image", "text"): 0.25}
    assert objective.views == [View(), View(dim=32, code="int8", weight=0.5)]
    assert isinstance(objective.context, NeighborContext)
    assert objective.bank.modalities == ("fused", "text")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"neighbor_weight": -1}, "neighbor_weight is -1"),
        ({"neighbor_weight": math.nan}, "neighbor_weight is nan"),
        ({"form": "hinge"}, "form is 'hinge': expected one of softmax, multi_softmax, sigmoid"),
        ({"temperature": 0}, "temperature is 0"),
        ({"temperature": 0.009}, "temperature is 0.009: expected a number of 0.01 or more"),
        ({"pairs": {"text-image": 1}}, "'text-image': expected one of image-text, fused-image, f"),
        ({"pairs": {"image-text": math.inf}}, r"pairs\['image-text'\] is inf"),
        ({"neighbor_pairs": {"fused-fused": 1}}, "'fused-fused': expected one of image->image, im"),
        ({"neighbor_pairs": {"fused->fused": -2}}, r"neighbor_pairs\['fused->fused'\] is -2"),
        ({"pairs": {}, "neighbor_pairs": {"fused->text": 0}}, "nothing to learn"),
        ({"pairs": {}, "neighbor_weight": 0}, "nothing to learn"),
        ({"bank_size": -1}, "bank_size is -1"),
        ({"bank_size": 4, "neighbor_weight": 0}, "bank_size is 4, but nothing is aligned"),
        ({"bank_size": 4, "neighbor_pairs": {}}, "bank_size is 4, but nothing is aligned"),
        ({"bank_size": 4, "bank_dim": 0}, "bank_dim is 0"),
        ({"views": []}, "views is empty"),
        ({"block_rows": 0}, "block_rows is 0"),
    ],
)
def test_wrong_arguments_are_refused(arguments, words):
    with pytest.raises(PinGraphError, match=words):
        AlignmentObjective(**arguments)


def test_embeddings_of_other_pins_are_refused():
    embeddings, _ = draw(1, 5)
    with pytest.raises(PinGraphError, match="embeddings has 5 rows: expected those of the 9 pins"):
        AlignmentObjective()(embeddings, draw(1, 9)[1])
