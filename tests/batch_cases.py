"""Batches for the tests of the objective: embeddings and relations, drawn or made by hand."""

from dataclasses import replace

import torch
from torch.nn import functional as F

from pingraph.interfaces import Embeddings, Relations


def vectors(rng, present, dtype=torch.float64, dim=5):
    x = torch.randn(len(present), dim, generator=rng, dtype=dtype)
    return (F.normalize(x, dim=1) * present[:, None]).requires_grad_()


def draw_embeddings(rng, pins, dtype=torch.float64, share=0.8):
    """Draw unit vectors of pins, of which some lack a modality or both."""
    other = torch.Generator().manual_seed(rng.initial_seed() + 1)
    has_image = torch.rand(pins, generator=rng) < share
    has_text = torch.rand(pins, generator=rng) < share
    return Embeddings(
        image=vectors(rng, has_image, dtype),
        text=vectors(rng, has_text, dtype),
        fused=vectors(rng, has_image | has_text, dtype),
        has_image=has_image,
        has_text=has_text,
        shallow=vectors(other, has_image | has_text, dtype),
    )


def draw_relations(rng, pins, anchors, *, neighbors=3, boards=12, known=40):
    """Draw who belongs to whom; some neighbors are not in the batch, some anchors have none."""
    ids = torch.randperm(known, generator=rng)[:pins].sort().values
    chosen = torch.randperm(pins, generator=rng)[:anchors].sort().values
    found = torch.stack([torch.randperm(known, generator=rng)[:neighbors] for _ in chosen])
    found[(found == ids[chosen][:, None]) | (torch.rand(found.shape, generator=rng) < 0.2)] = -1
    columns = torch.searchsorted(ids, found).clamp(max=pins - 1)
    rows, places = (ids[columns] == found).nonzero(as_tuple=True)
    weights = torch.rand(len(rows), generator=rng) + 0.1
    sums = torch.zeros(anchors).index_add(0, rows, weights)
    sizes = torch.randint(0, 3, (pins,), generator=rng)
    return Relations(
        pins=ids,
        anchors=chosen,
        neighbors=found,
        positive_rows=rows,
        positive_columns=columns[rows, places],
        positive_weights=weights / sums[rows],
        board_offsets=F.pad(sizes.cumsum(0), (1, 0)),
        boards=torch.randint(0, boards, (int(sizes.sum()),), generator=rng),
        groups=torch.randint(-1, 12, (2, pins), generator=rng).clamp(min=-1),
        log_counts=torch.randn(pins, generator=rng),
    )


def draw(seed, pins=9, anchors=5, dtype=torch.float64, **options):
    """Draw a batch: its embeddings and relations."""
    rng = torch.Generator().manual_seed(seed)
    return draw_embeddings(rng, pins, dtype), draw_relations(rng, pins, anchors, **options)


def strangers(relations):
    """The same pins without boards and twins."""
    return replace(
        relations,
        board_offsets=torch.zeros_like(relations.board_offsets),
        boards=relations.boards[:0],
        groups=torch.full_like(relations.groups, -1),
    )


def without_positives(relations):
    """The same pins without sampled neighbors."""
    return replace(
        relations,
        neighbors=torch.full_like(relations.neighbors, -1),
        positive_rows=relations.positive_rows[:0],
        positive_columns=relations.positive_columns[:0],
        positive_weights=relations.positive_weights[:0],
    )


def shuffled(embeddings, relations, order):
    """The same batch with its pins in another order (ids stay with their pins)."""
    place = order.argsort()
    counts = relations.board_offsets.diff()
    parts = relations.boards.split(counts.tolist())
    return (
        Embeddings(**{name: value[order] for name, value in vars(embeddings).items()}),
        replace(
            relations,
            pins=relations.pins[order],
            anchors=place[relations.anchors],
            positive_columns=place[relations.positive_columns],
            board_offsets=F.pad(counts[order].cumsum(0), (1, 0)),
            boards=torch.cat([parts[i] for i in order.tolist()]),
            groups=relations.groups[:, order],
            log_counts=relations.log_counts[order],
        ),
    )


def leaves(embeddings):
    made = [embeddings.image, embeddings.text, embeddings.fused, embeddings.shallow]
    return [vectors for vectors in made if vectors is not None]


def gradients(loss, inputs):
    """Gradients that are zeros where there are none."""
    found = torch.autograd.grad(loss, inputs, allow_unused=True, retain_graph=True)
    return [
        torch.zeros_like(x) if one is None else one for one, x in zip(found, inputs, strict=True)
    ]


def assert_same(found, expected, inputs, tolerance=1e-10):
    """Check two scalars and their gradients."""
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    got, wanted = gradients(found, inputs), gradients(expected, inputs)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)
