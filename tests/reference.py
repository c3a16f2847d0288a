"""Slow, obvious twins: the losses as their formulas read, the facts of a batch by plain loops.

Losses are made of torch scalars, so that their gradients can be compared too.
"""

import torch


def softmax_loss(logits, positives, negatives):
    """Σ_j w_ij · −log(exp s_ij / Σ_shown exp s_im), averaged over the rows with a positive."""
    losses = []
    for row, weights, pushed in zip(logits, positives, negatives, strict=True):
        chosen = [j for j in range(len(row)) if weights[j] > 0]
        shown = [j for j in range(len(row)) if weights[j] > 0 or pushed[j]]
        if chosen:
            total = sum(torch.exp(row[j]) for j in shown)
            losses.append(sum(-weights[j] * torch.log(torch.exp(row[j]) / total) for j in chosen))
    return mean(losses, logits)


def sigmoid_loss(logits, positives, negatives):
    """−Σ_j w_ij log σ(s_ij) − Σ_j n_ij log σ(−s_ij), averaged over the rows with a positive."""
    losses = []
    for row, weights, pushed in zip(logits, positives, negatives, strict=True):
        attract = [-weights[j] * torch.log(sigma(row[j])) for j in range(len(row)) if weights[j]]
        repel = [-torch.log(sigma(-row[j])) for j in range(len(row)) if pushed[j]]
        if attract:
            losses.append(sum(attract) + sum(repel))
    return mean(losses, logits)


PAIR_LOSSES = {"softmax": softmax_loss, "sigmoid": sigmoid_loss}


def objective(embeddings, batch, *, neighbor_weight, form, fused_weight, scale, bias):
    """The total loss; scale and bias hold "image_text" and "neighbor"."""
    loss = PAIR_LOSSES[form]
    pins = range(len(embeddings.fused))

    def aligned(x, y, present):
        """Each present pin's x finds its own y among the present pins' that are no twins of it."""
        logits = scale["image_text"] * x @ y.T + bias["image_text"]
        own = [[float(i == j and bool(present[i])) for j in pins] for i in pins]
        others = [[bool(present[j]) and not batch.twins[i, j] for j in pins] for i in pins]
        own, others = torch.tensor(own, dtype=logits.dtype), torch.tensor(others)
        return (loss(logits, own, others) + loss(logits.T, own, others)) / 2

    both = embeddings.has_image & embeddings.has_text
    total = aligned(embeddings.image, embeddings.text, both)
    total = total + fused_weight / 2 * (
        aligned(embeddings.fused, embeddings.image, embeddings.has_image)
        + aligned(embeddings.fused, embeddings.text, embeddings.has_text)
    )
    if not neighbor_weight:
        return total
    weights = torch.zeros(len(batch.anchors), len(pins), dtype=embeddings.fused.dtype)
    triples = zip(batch.positive_rows, batch.positive_columns, batch.positive_weights, strict=True)
    for row, column, weight in triples:
        weights[row, column] = weight
    others = torch.tensor(
        [
            [
                not (batch.board_mates[row, pin] or batch.twins[anchor, pin] or weights[row, pin])
                for pin in pins
            ]
            for row, anchor in enumerate(batch.anchors.tolist())
        ]
    )
    logits = scale["neighbor"] * embeddings.fused[batch.anchors] @ embeddings.fused.T
    return total + neighbor_weight * loss(logits + bias["neighbor"], weights, others)


def positives(neighbors, pins):
    """(row, column, weight) of each sampled neighbor among the pins; a row's weights sum to 1."""
    found = []
    for row in range(len(neighbors.seeds)):
        inside = [
            (pins.index(pin), weight)
            for pin, weight, valid in zip(
                neighbors.ids[row].tolist(),
                neighbors.weights[row].tolist(),
                neighbors.mask[row].tolist(),
                strict=True,
            )
            if valid and pin in pins
        ]
        total = sum(weight for _, weight in inside)
        found += [(row, column, weight / total) for column, weight in inside]
    return found


def board_mates(graph, anchors, pins):
    """For each anchor and pin: do they share a board?"""
    boards = {pin: set(graph.boards_of(pin).tolist()) for pin in pins}
    return [[bool(boards[anchor] & boards[pin]) for pin in pins] for anchor in anchors]


def twins(images, texts, pins):
    """For each two pins: the same, or the same image bytes or letters, where they have them?"""

    def same(i, j):
        if i == j:
            return True
        return any(of[i] and of[i] == of[j] for of in (images, texts))

    return [[same(i, j) for j in pins] for i in pins]


def sigma(x):
    return 1 / (1 + torch.exp(-x))


def mean(losses, logits):
    return sum(losses) / len(losses) if losses else 0 * logits.sum()
