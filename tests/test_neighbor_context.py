"""A context seeks what it has not seen, is its formula by hand, and teaches the content."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonargparse import ArgumentParser
from torch.nn import functional as F

from pingraph.errors import PinGraphError
from pingraph.interfaces import Relations
from pingraph.neighbor_context import NeighborContext

KINDS = pytest.mark.parametrize("kind", ["pooling", "tokens"])
TERMS = ("context", "distillation")


def case(seed, pins=11, anchors=5, dim=8, k=6):
    """Draw embeddings, of which some are zero, and relations with mates, twins and lone anchors."""
    rng = torch.Generator().manual_seed(seed)
    ids = torch.arange(pins) * 3 + 1
    chosen = torch.randperm(pins, generator=rng)[:anchors].sort().values
    neighbors = torch.full((anchors, k), -1)
    rows, columns, weights = [], [], []
    for row, anchor in enumerate(chosen.tolist()):
        others = [p for p in torch.randperm(pins, generator=rng).tolist() if p != anchor]
        count = int(torch.randint(0, k + 1, (), generator=rng))
        scores = torch.rand(count, generator=rng) + 0.1
        for place, pin in enumerate(others[:count]):
            neighbors[row, place] = ids[pin]
            rows.append(row)
            columns.append(pin)
            weights.append(float(scores[place] / scores.sum()))
    sizes = torch.randint(0, 3, (pins,), generator=rng)
    relations = Relations(
        pins=ids,
        anchors=chosen,
        neighbors=neighbors,
        positive_rows=torch.tensor(rows, dtype=torch.int64),
        positive_columns=torch.tensor(columns, dtype=torch.int64),
        positive_weights=torch.tensor(weights, dtype=torch.float32),
        board_offsets=F.pad(sizes.cumsum(0), (1, 0)),
        boards=torch.randint(0, 8, (int(sizes.sum()),), generator=rng),
        groups=torch.randint(-1, pins, (2, pins), generator=rng),
        log_counts=torch.zeros(pins),
    )
    fused = F.normalize(torch.randn(pins, dim, generator=rng, dtype=torch.float64), dim=1)
    fused *= torch.rand(pins, 1, generator=rng) < 0.9
    return fused.requires_grad_(), relations


def module(kind, dim=8, **arguments):
    """A context whose last layer, too, is at work."""
    torch.manual_seed(0)
    made = NeighborContext(dim, kind, heads=2, temperature=0.4, **arguments).double()
    torch.nn.init.normal_(made.enrich.out.weight, std=0.5)
    return made


def halves(relations, fused, row):
    """The two halves of an anchor's known neighbors: dictionaries of pins and weights."""
    known = [bool(vector.any()) for vector in fused.detach()]
    triples = zip(
        relations.positive_rows.tolist(),
        relations.positive_columns.tolist(),
        relations.positive_weights.tolist(),
        strict=True,
    )
    found = [(pin, weight) for r, pin, weight in triples if r == row and known[pin]]
    if not known[relations.anchors[row]]:
        found = []
    parts = [dict(found[0::2]), dict(found[1::2])]
    return [{pin: w / sum(part.values()) for pin, w in part.items()} for part in parts]


def enriched(made, kind, own, seen, fused):
    """g(e, neighbors) by hand."""
    g = made.enrich
    if kind == "pooling":
        pooled = sum((w * g.message(fused[p]).relu() for p, w in seen.items()), 0 * own)
        return g.out(g.combine(torch.cat([own, pooled])).relu())
    tokens = [own + g.anchor] + [fused[p] + w * g.visits for p, w in seen.items()]
    block, attention = g.block, g.block.self_attn
    dim, heads = len(own), attention.num_heads
    width = dim // heads
    normed = [block.norm1(token) for token in tokens]
    q, k, v = (
        [F.linear(x, w, b) for x in normed]
        for w, b in zip(
            attention.in_proj_weight.split(dim), attention.in_proj_bias.split(dim), strict=True
        )
    )
    heard = []
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        scores = [torch.exp(q[0][part] @ key[part] / math.sqrt(width)) for key in k]
        heard.append(sum(s * value[part] for s, value in zip(scores, v, strict=True)) / sum(scores))
    x = tokens[0] + attention.out_proj(torch.cat(heard))
    x = x + block.linear2(F.gelu(block.linear1(block.norm2(x))))
    return g.out(g.norm(x))


def related(relations, anchor, row):
    """Pins that are no negatives of an anchor: itself, twins, board-mates, neighbors."""
    offsets, boards = relations.board_offsets.tolist(), relations.boards.tolist()
    sets = [set(boards[a:b]) for a, b in pairwise(offsets)]
    groups = relations.groups.tolist()
    return {
        pin
        for pin in range(len(sets))
        if pin == anchor
        or sets[pin] & sets[anchor]
        or any(group[pin] == group[anchor] >= 0 for group in groups)
        or relations.pins[pin] in relations.neighbors[row]
    }


def twin(made, kind, fused, relations):
    """Both terms by loops over anchors, halves and pins."""
    losses, distances = [], []
    scale = made.log_scale.exp()
    for row, anchor in enumerate(relations.anchors.tolist()):
        parts = halves(relations, fused, row)
        own = fused[anchor]
        for seen, sought in (parts, parts[::-1]):
            if not seen:
                continue
            z = own + enriched(made, kind, own, seen, fused)
            z = z / z.square().sum().sqrt()
            distances.append(1 - own @ z.detach())
            if not sought:
                continue
            hidden = related(relations, anchor, row) - set(sought)
            shown = [pin for pin in range(len(fused)) if pin not in hidden and fused[pin].any()]
            total = torch.log(sum(torch.exp(scale * z @ fused[pin]) for pin in shown))
            losses.append(sum(w * (total - scale * z @ fused[p]) for p, w in sought.items()))
    nothing = 0 * fused.sum()
    return {
        "context": made.weight * sum(losses, nothing) / max(1, len(losses)),
        "distillation": made.distill_weight * sum(distances, nothing) / max(1, len(distances)),
    }


def gradients(loss, inputs):
    found = torch.autograd.grad(loss, inputs, allow_unused=True, retain_graph=True)
    pairs = zip(found, inputs, strict=True)
    return [torch.zeros_like(x) if one is None else one for one, x in pairs]


def assert_same(found, expected, inputs, tolerance=1e-6):
    for term in TERMS:
        torch.testing.assert_close(found[term], expected[term], rtol=tolerance, atol=tolerance)
        for one, other in zip(
            gradients(found[term], inputs), gradients(expected[term], inputs), strict=True
        ):
            torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@KINDS
@given(seed=st.integers(0, 2**32), pins=st.integers(2, 9), k=st.integers(1, 6))
@settings(deadline=None, max_examples=25)
def test_the_terms_and_their_gradients_equal_the_loop(kind, seed, pins, k):
    fused, relations = case(seed, pins, anchors=1 + pins // 2, k=k)
    made = module(kind, weight=0.7, distill_weight=0.3)
    expected = twin(made, kind, fused, relations)
    # The weights are float32, so they sum to 1 but for rounding.
    assert_same(made(fused, relations), expected, [fused, *made.parameters()])


@KINDS
def test_the_gradient_of_the_context_is_that_of_finite_differences(kind):
    fused, relations = case(0, pins=6, anchors=3, dim=4)
    made = module(kind, dim=4)
    assert made(fused, relations)["context"] > 0
    known = fused.detach().abs().sum(1) > 0
    start = fused.detach()[known].requires_grad_()

    def term(x):
        return made(torch.zeros_like(fused).index_put((known,), x), relations)["context"]

    assert torch.autograd.gradcheck(term, [start], atol=1e-4)


@KINDS
@given(seed=st.integers(0, 2**32), ranks=st.integers(2, 7))
@settings(deadline=None, max_examples=15)
def test_the_shares_of_the_ranks_add_up(kind, seed, ranks):
    fused, relations = case(seed)
    made = module(kind)
    shares = [made(fused, relations, rank=rank, ranks=ranks) for rank in range(ranks)]
    total = {term: sum(share[term] for share in shares) for term in TERMS}
    assert_same(total, made(fused, relations), [fused, *made.parameters()], 1e-9)


@KINDS
def test_blocks_change_nothing(kind, monkeypatch):
    fused, relations = case(3, pins=20, anchors=9)
    made = module(kind)
    whole = made(fused, relations)
    monkeypatch.setattr(NeighborContext, "BLOCK_ROWS", 5)
    assert_same(made(fused, relations), whole, [fused, *made.parameters()], 1e-9)


@KINDS
@pytest.mark.parametrize("pins", [1, 5])
def test_without_neighbors_there_is_nothing_to_learn(kind, pins):
    fused, relations = case(4, pins, anchors=1)
    none = relations.positive_rows[:0]
    relations = replace(
        relations,
        positive_rows=none,
        positive_columns=none,
        positive_weights=relations.positive_weights[:0],
        neighbors=torch.full_like(relations.neighbors, -1),
    )
    made = module(kind)
    for term in made(fused, relations).values():
        assert term.item() == 0
        assert all((one == 0).all() for one in gradients(term, [fused, *made.parameters()]))


def star(fused, count):
    """Pin 0 is the anchor, the next `count` pins are its neighbors; nobody shares a board."""
    pins = len(fused)
    columns = torch.arange(1, count + 1)
    return Relations(
        pins=torch.arange(pins),
        anchors=torch.tensor([0]),
        neighbors=columns[None],
        positive_rows=torch.zeros(count, dtype=torch.int64),
        positive_columns=columns,
        positive_weights=torch.full((count,), 1 / count),
        board_offsets=torch.zeros(pins + 1, dtype=torch.int64),
        boards=torch.zeros(0, dtype=torch.int64),
        groups=torch.full((2, pins), -1),
        log_counts=torch.zeros(pins),
    )


def unit(pins):
    rng = torch.Generator().manual_seed(pins)
    return F.normalize(torch.randn(pins, 8, generator=rng, dtype=torch.float64), dim=1)


@KINDS
def test_one_neighbor_teaches_but_has_nobody_to_find(kind):
    fused = unit(5)
    found = module(kind)(fused, star(fused, 1))
    assert found["context"] == 0
    assert found["distillation"] > 0


@KINDS
def test_a_context_does_not_see_what_it_seeks(kind):
    fused = unit(4)
    made = module(kind)
    before = contexts(made, fused, star(fused, 2))
    moved = fused.clone()
    moved[1] = -moved[1]
    after = contexts(made, moved, star(fused, 2))
    assert (before[0] != after[0]).any()
    assert (before[1] == after[1]).all()


def contexts(made, fused, relations):
    """Collect the contexts as the softmax is given them."""
    kept = []
    made._missed = lambda z, *others: kept.append(z) or z.sum() * 0
    made(fused, relations)
    del made._missed
    return kept[0].detach()


@KINDS
def test_pins_that_are_no_neighbors_do_not_change_a_context(kind):
    fused, relations = unit(11), case(6)[1]
    made = module(kind)
    before = contexts(made, fused, relations)
    for row, anchor in enumerate(relations.anchors.tolist()):
        here = relations.positive_columns[relations.positive_rows == row].tolist()
        moved = fused.clone()
        others = [pin for pin in range(11) if pin != anchor and pin not in here]
        moved[others] = torch.flip(moved[others], (1,))
        after = contexts(made, moved, relations)
        assert (after[2 * row : 2 * row + 2] == before[2 * row : 2 * row + 2]).all()


def test_padding_changes_no_context():
    fused, relations = unit(11), case(7)[1]
    made = module("tokens")
    together = contexts(made, fused, relations)  # as wide as the anchor with most neighbors
    for row in range(len(relations.anchors)):
        mine = relations.positive_rows == row
        alone = replace(
            relations,
            anchors=relations.anchors[row : row + 1],
            neighbors=relations.neighbors[row : row + 1],
            positive_rows=torch.zeros_like(relations.positive_rows[mine]),
            positive_columns=relations.positive_columns[mine],
            positive_weights=relations.positive_weights[mine],
        )
        found = contexts(made, fused, alone)
        torch.testing.assert_close(found, together[2 * row : 2 * row + 2], rtol=1e-9, atol=1e-9)


@KINDS
def test_training_begins_with_the_content_itself(kind):
    fused, relations = case(8)
    made = NeighborContext(8, kind).double()
    assert made(fused, relations)["distillation"].item() == pytest.approx(0, abs=1e-12)
    torch.testing.assert_close(
        contexts(made, fused, relations), fused[relations.anchors].repeat_interleave(2, 0)
    )


@KINDS
def test_distillation_pulls_the_content_and_leaves_the_teacher(kind):
    fused, relations = case(9)
    made = module(kind, distill_weight=2.0)
    term = made(fused, relations)["distillation"]
    pulled, *others = gradients(term, [fused, *made.parameters()])
    assert all((one == 0).all() for one in others)
    z = contexts(made, fused, relations)
    expected = torch.zeros_like(fused)
    parts = [halves(relations, fused, row) for row in range(len(relations.anchors))]
    teachers = [bool(part) for pair in parts for part in pair]
    for row, anchor in enumerate(relations.anchors.repeat_interleave(2).tolist()):
        expected[anchor] -= 2.0 * teachers[row] * z[row] / sum(teachers)
    torch.testing.assert_close(pulled, expected)


def topics(blank=3, told=6, count=4, dim=16):
    """Blank pins, whose content says nothing, saved beside told pins, which show their topic.

    Pins 0 … are blank, `blank` of each topic, and the anchors; then `told` of each topic.
    """
    rng = torch.Generator().manual_seed(1)
    centers = F.normalize(torch.randn(count, dim, generator=rng), dim=1)
    blanks = torch.randn(count * blank, dim, generator=rng)
    shown = centers.repeat_interleave(told, 0)
    shown = shown + 0.1 * torch.randn(count * told, dim, generator=rng)
    fused = F.normalize(torch.cat([blanks, shown]), dim=1)
    anchors = torch.arange(count * blank)
    neighbors = len(anchors) + (anchors[:, None] // blank) * told + torch.arange(told)
    pins = len(fused)
    relations = Relations(
        pins=torch.arange(pins),
        anchors=anchors,
        neighbors=neighbors,
        positive_rows=anchors.repeat_interleave(told),
        positive_columns=neighbors.ravel(),
        positive_weights=torch.full((neighbors.numel(),), 1 / told),
        board_offsets=torch.zeros(pins + 1, dtype=torch.int64),
        boards=torch.zeros(0, dtype=torch.int64),
        groups=torch.full((2, pins), -1),
        log_counts=torch.zeros(pins),
    )
    return fused, relations, centers.repeat_interleave(blank, 0)


def fit(parameters, loss, steps, rate):
    optimizer = torch.optim.Adam(parameters, lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()


@KINDS
def test_context_foresees_what_content_cannot_and_content_learns_it(kind):
    fused, relations, centers = topics()
    torch.manual_seed(0)
    made = NeighborContext(16, kind, weight=1.0, distill_weight=1.0, temperature=0.2)
    content = made(fused, relations)["context"].item()  # at the start a context is the content
    fit(made.parameters(), lambda: made(fused, relations)["context"], 150, 5e-3)
    floor = math.log(3)  # nothing tells the three that a context seeks apart
    context = made(fused, relations)["context"].item()
    assert context - floor < 0.1 * (content - floor)

    blanks = len(relations.anchors)
    before = (fused[:blanks] * centers).sum(1).mean()
    table = fused.clone().requires_grad_()

    def distillation():
        return made(F.normalize(table, dim=1), relations)["distillation"]

    away = distillation().item()
    fit([table], distillation, 100, 2e-2)
    assert distillation().item() < 0.1 * away
    after = (F.normalize(table[:blanks].detach(), dim=1) * centers).sum(1).mean()
    assert before < 0.3
    assert after > 0.8


@KINDS
def test_bf16_gives_finite_float32(kind):
    fused, relations = case(10)
    fused = fused.detach().float().requires_grad_()
    made = module(kind).float()
    exact = made(fused, relations)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = made(fused, relations)
    for term in TERMS:
        assert found[term].dtype == torch.float32
        torch.testing.assert_close(found[term], exact[term], rtol=0.05, atol=0.05)
    assert gradients(found["context"], [fused])[0].isfinite().all()


def test_it_can_be_written_in_yaml():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(NeighborContext, "context")
    text = (
        "context: {class_path: pingraph.neighbor_context.NeighborContext, "
        "init_args: {embed_dim: 8, kind: tokens, heads: 2}}"
    )
    made = parser.instantiate(parser.parse_string(text)).context
    assert made.enrich.block.self_attn.num_heads == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"embed_dim": 0}, "embed_dim is 0"),
        ({"kind": "mean"}, "kind is 'mean': expected one of pooling, tokens"),
        ({"weight": 0.0}, "weight is 0.0: expected a number above 0"),
        ({"weight": math.nan}, "weight is nan"),
        ({"distill_weight": -1.0}, "distill_weight is -1.0: expected a number of 0 or more"),
        ({"kind": "tokens", "heads": 3}, r"heads is 3: expected a divisor of embed_dim \(128\)"),
        ({"heads": 0}, "heads is 0"),
        ({"temperature": 0.0}, "temperature is 0.0"),
    ],
)
def test_wrong_arguments_are_refused(arguments, words):
    with pytest.raises(PinGraphError, match=words):
        NeighborContext(**arguments)


def test_embeddings_of_another_dimension_are_refused():
    fused, relations = case(11)
    with pytest.raises(PinGraphError, match="embed_dim is 16: the embeddings have 8 channels"):
        NeighborContext(16)(fused, relations)
