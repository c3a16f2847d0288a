"""Fusion, granularities and levels against slow twins that loop over pins, regions and keys."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pingraph.encoders.fusion import Fusion
from pingraph.encoders.granularity import Granularities, Levels
from pingraph.encoders.layers import Attention, AttentionPool, Block, Places, unit
from pingraph.interfaces import Tokens

DIM, HEADS, D = 16, 2, 12


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow_attention(attention, queries, keys):
    """Attention of one row of queries [N, C] over the keys [M, C] that it sees, head by head."""
    k, v = attention.key_value(keys).chunk(2, dim=1)
    return attention.out(slow_heads(attention.query(queries), k, v, attention.heads))


def slow_pool(pool, keys, query=0):
    """What a query of an AttentionPool takes from the keys [M, C] that it sees."""
    keys = pool.norm(keys)
    q = pool.query(pool.queries[query : query + 1])
    return pool.out(slow_heads(q, pool.key(keys), pool.value(keys), pool.heads))[0]


def slow_heads(q, k, v, heads):
    width = q.shape[1] // heads
    mixed = []
    for head in range(heads):
        own = slice(head * width, (head + 1) * width)
        shares = torch.softmax(q[:, own] @ k[:, own].T / width**0.5, dim=1)
        mixed.append(shares @ v[:, own])
    return torch.cat(mixed, dim=1)


def draw_seen(rows, tokens, seed):
    """Which tokens are there; the first row may have none, the others have one at least."""
    seen = draw(rows, tokens, seed=seed) > 0
    seen[1:, seed % tokens] = True
    return seen


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 99), masked=st.booleans(), padded=st.booleans())
def test_attention_is_its_loop(seed, masked, padded):
    torch.manual_seed(seed)
    attention = Attention(DIM, HEADS).double()
    queries, keys = draw(3, 4, DIM, seed=seed), draw(3, 5, DIM, seed=seed + 1)
    visible, seen = draw(3, 5, seed=seed) > 0, draw_seen(3, 4, seed)
    visible[:, seed % 5] = True
    places = Places(3, 4, seen if padded else None)
    mixed = attention(places.take(queries), places, keys, visible if masked else None)
    found = places.put(mixed)
    for row in range(3):
        known = keys[row, visible[row]] if masked else keys[row]
        expected = slow_attention(attention, queries[row], known)
        there = seen[row] if padded else slice(None)
        assert torch.allclose(found[row, there], expected[there], atol=1e-12)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 99), crossed=st.booleans())
def test_a_block_computes_a_row_as_if_it_had_no_padding(seed, crossed):
    torch.manual_seed(seed)
    block = Block(DIM, HEADS, dropout=0.0).double()
    x, keys = draw(3, 4, DIM, seed=seed), draw(3, 5, DIM, seed=seed + 1) if crossed else None
    seen = draw_seen(3, 4, seed)
    mask = None if crossed else seen
    found = block(x.requires_grad_(), keys, mask, seen)
    assert not found[~seen].any()
    for row in range(3):
        if seen[row].any():
            own = None if keys is None else keys[row : row + 1]
            expected = block(x[row, seen[row]][None], own)
            assert torch.allclose(found[row, seen[row]], expected[0], atol=1e-12)
    (pull,) = torch.autograd.grad(found.square().sum(), x)
    assert not pull[~seen].any()


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 99), queries=st.integers(1, 3), masked=st.booleans())
def test_pooling_by_attention_is_its_loop(seed, queries, masked):
    torch.manual_seed(seed)
    pool = AttentionPool(DIM, HEADS, queries).double()
    tokens, mask = draw(3, 5, DIM, seed=seed), draw(3, queries, 5, seed=seed) > 0
    mask[:, :, seed % 5] = True
    found = pool(tokens, mask if masked else None)
    for row in range(3):
        for query in range(queries):
            seen = tokens[row, mask[row, query]] if masked else tokens[row]
            assert torch.allclose(found[row, query], slow_pool(pool, seen, query), atol=1e-12)


@settings(deadline=None, max_examples=25)
@given(
    grid=st.integers(1, 5),
    regions=st.integers(1, 3),
    levels=st.integers(1, 2),
    before=st.integers(0, 2),
    details=st.integers(0, 2),
    seed=st.integers(0, 99),
)
def test_granularities_are_their_loop(grid, regions, levels, before, details, seed):
    regions = min(grid, regions)
    torch.manual_seed(seed)
    kinds = ("patch", "global", "regional")
    look = Granularities(DIM, HEADS, grid, kinds, regions).double()
    tokens = draw(2, levels, before + grid * grid, DIM, seed=seed)
    mask = draw(2, before + grid * grid, seed=seed) > -0.5
    mask[:, -1] = True
    stem = draw(2, details, DIM, seed=seed + 1) if details else None
    found, visible, vectors = look(tokens, mask, stem)
    assert len(vectors) == 3
    for u in range(2):
        seen = mask[u].repeat(levels)
        everything = tokens[u].flatten(0, 1)[seen]
        if stem is not None:
            everything = torch.cat([stem[u], everything])
        patches = [
            (row, column, tokens[u, level, before + row * grid + column])
            for level in range(levels)
            for row in range(grid)
            for column in range(grid)
            if mask[u, before + row * grid + column]
        ]
        whole = slow_pool(look.pools["global"], everything)
        present = []
        for region in range(regions * regions):
            y, x = divmod(region, regions)
            inside = [
                p for r, c, p in patches if (r * regions // grid, c * regions // grid) == (y, x)
            ]
            if inside:
                present.append(slow_pool(look.pools["regional"], torch.stack(inside), region))
        patch = slow_pool(look.pools["patch"], torch.stack([p for _, _, p in patches]))
        expected = torch.cat([whole[None], torch.stack(present), everything])
        assert torch.allclose(found[u][visible[u]], expected, atol=1e-12)
        for vector, slow in zip(vectors, (whole, torch.stack(present).mean(0), patch), strict=True):
            assert torch.allclose(vector[u], slow, atol=1e-12)


def test_a_region_of_hidden_patches_gives_no_gradient_that_is_not_a_number():
    look = Granularities(DIM, HEADS, 2, ("regional",), 2).double()
    tokens = draw(1, 1, 4, DIM).requires_grad_()
    mask = torch.tensor([[True, False, False, True]])
    found, visible, vectors = look(tokens, mask, None)
    assert visible.tolist() == mask.tolist()
    assert not found[0, 1:3].any()
    vectors[0].sum().backward()
    assert tokens.grad.isfinite().all()
    assert not tokens.grad[0, 0, 1:3].any()


def test_regions_of_an_odd_grid_leave_no_patch_out():
    look = Granularities(DIM, HEADS, 7, ("regional",), 2)
    assert look.members.sum(0).tolist() == [1] * 49
    assert sorted(look.members.sum(1).tolist()) == [9, 12, 12, 16]
    assert look.members[0].view(7, 7)[:4, :4].all()


def levels_of(*widths):
    levels = tuple(draw(2, 3, width, seed=i) for i, width in enumerate(widths))
    return Tokens(levels=levels, mask=torch.ones(2, 3, dtype=torch.bool), pooled=draw(2, 5))


def test_a_single_level_of_the_right_channels_is_taken_as_it_is():
    levels = Levels(DIM, DIM, 1)
    given = levels_of(DIM, DIM)
    assert not list(levels.parameters())
    assert torch.equal(levels(given)[:, 0], given.levels[1])


def test_levels_are_taken_from_the_deepest_up_and_told_apart():
    levels = Levels(10, DIM, 2).double()
    given = levels_of(10, 10, 10)
    found = levels(given)
    for place, level in enumerate(given.levels[1:]):
        norm, project = levels.project[place]
        assert torch.allclose(found[:, place], project(norm(level)) + levels.depth[place])
    levels.project[1] = levels.project[0]
    same = levels(Tokens(**{**vars(given), "levels": (given.levels[0],) * 2}))
    assert not torch.allclose(same[:, 0], same[:, 1])


def fusion_inputs(seed=0):
    """Image and text, image alone, text alone, neither."""
    image_mask = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0]]).bool()
    text_mask = torch.tensor([[1, 1], [0, 0], [1, 0], [0, 0]]).bool()
    image = unit(draw(4, D, seed=seed)) * image_mask.any(1, keepdim=True)
    text = unit(draw(4, D, seed=seed + 1)) * text_mask.any(1, keepdim=True)
    tokens = draw(4, 3, DIM, seed=seed + 2), draw(4, 2, DIM, seed=seed + 3)
    return tokens[0], image_mask, image, tokens[1], text_mask, text


def slow_tokens(fusion, image, text):
    """Early fusion of one pin from its image tokens [M, C] and its text tokens [T, C]."""
    keys = torch.cat([fusion.nothing[0], image])
    block = fusion.cross
    text = text + slow_attention(block.attention, block.norm_queries(text), keys)
    text = text + block.mlp(text)
    return fusion.project(slow_pool(fusion.pool, torch.cat([keys, text])))


@pytest.mark.parametrize("kind", ["hybrid", "early", "late"])
def test_fusion_is_its_loop(kind):
    torch.manual_seed(0)
    fusion = Fusion(kind, DIM, D, HEADS, 0.0).double()
    given = fusion_inputs()
    image_tokens, image_mask, image, text_tokens, text_mask, text = given
    found = fusion(*given)
    for u in range(4):
        parts = [image[u], text[u]]
        if kind != "late":
            joint = slow_tokens(
                fusion.tokens, image_tokens[u][image_mask[u]], text_tokens[u][text_mask[u]]
            )
            parts.append(joint / joint.norm())
        if kind == "early":
            expected = parts[2]
        else:
            gates = torch.sigmoid(fusion.gates(torch.cat(parts)))
            turned = [part @ turn for part, turn in zip(parts, fusion.turns, strict=True)]
            expected = sum(gate * part for gate, part in zip(gates, turned, strict=True))
        assert torch.allclose(found[u], expected, atol=1e-12)


@pytest.mark.parametrize("kind", ["hybrid", "early", "late"])
def test_the_gradient_of_fusion_is_its_slope(kind):
    torch.manual_seed(0)
    fusion = Fusion(kind, DIM, D, HEADS, 0.0).double()
    given = fusion_inputs()
    moving = [tensor.requires_grad_() for tensor in given if tensor.dtype != torch.bool]
    image_tokens, image, text_tokens, text = moving

    def run(image_tokens, image, text_tokens, text):
        return fusion(image_tokens, given[1], image, text_tokens, given[4], text)

    assert torch.autograd.gradcheck(run, (image_tokens, image, text_tokens, text), fast_mode=True)


def test_fusion_starts_without_noise_between_modalities():
    """The image of one pin is no more like the text of another than two random vectors are."""
    torch.manual_seed(0)
    fusion = Fusion("late", DIM, 64, HEADS, 0.0)
    vectors = torch.nn.functional.normalize(torch.randn(400, 64), dim=1)
    image, text = (vectors @ turn for turn in fusion.turns)
    assert torch.allclose(image @ image.T, vectors @ vectors.T, atol=1e-5)
    assert torch.allclose(text @ text.T, vectors @ vectors.T, atol=1e-5)
    assert (image * text).sum(1).std() < 1.5 * 64**-0.5


def test_unit_vectors_of_half_precision_are_single():
    found = unit(draw(3, 8).to(torch.bfloat16))
    assert found.dtype == torch.float32
    assert torch.allclose(found.norm(dim=1), torch.ones(3), atol=1e-6)
