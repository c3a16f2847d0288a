"""Slow, obvious twins: the losses as their formulas read, the facts of a batch by plain loops.

Losses are made of torch scalars, so that their gradients can be compared too.
"""

import torch


class NoNegativesError(Exception):
    """A term has positives, and nothing to push away."""


def softmax_loss(logits, weights, negatives):
    """Σ_j w_j · −log(exp s_j / (exp s_j + Σ_negatives exp s_m)) of each row."""
    losses = []
    for row, own, pushed in zip(logits, weights, negatives, strict=True):
        away = sum(torch.exp(row[m]) for m in range(len(row)) if pushed[m])
        chosen = [j for j in range(len(row)) if own[j] > 0]
        shares = [torch.exp(row[j]) / (torch.exp(row[j]) + away) for j in chosen]
        pairs = zip(chosen, shares, strict=True)
        losses.append(sum(-own[j] * torch.log(share) for j, share in pairs))
    return losses


def multi_softmax_loss(logits, weights, negatives):
    """Σ_j w_j · −log(exp s_j / Σ_shown exp s_m) of each row, its positives among the shown."""
    losses = []
    for row, own, pushed in zip(logits, weights, negatives, strict=True):
        chosen = [j for j in range(len(row)) if own[j] > 0]
        shown = [j for j in range(len(row)) if own[j] > 0 or pushed[j]]
        total = sum(torch.exp(row[j]) for j in shown)
        losses.append(sum(-own[j] * torch.log(torch.exp(row[j]) / total) for j in chosen))
    return losses


def sigmoid_loss(logits, weights, negatives):
    """−Σ_j w_j log σ(s_j) − Σ_negatives log σ(−s_m) of each row with a positive."""
    losses = []
    for row, own, pushed in zip(logits, weights, negatives, strict=True):
        attract = [-own[j] * torch.log(sigma(row[j])) for j in range(len(row)) if own[j]]
        repel = [-torch.log(sigma(-row[j])) for j in range(len(row)) if pushed[j]]
        losses.append(sum(attract) + sum(repel) if attract else 0)
    return losses


ROW_LOSSES = {
    "softmax": softmax_loss,
    "multi_softmax": multi_softmax_loss,
    "sigmoid": sigmoid_loss,
}


class Pin:
    """All that is known of a pin of a batch, or of one that a bank remembers."""

    def __init__(self, embeddings, relations, place):
        self.id = int(relations.pins[place])
        self.image = embeddings.image[place] if embeddings.has_image[place] else None
        self.text = embeddings.text[place] if embeddings.has_text[place] else None
        has_any = embeddings.has_image[place] or embeddings.has_text[place]
        self.fused = embeddings.fused[place] if has_any else None
        has_shallow = has_any and embeddings.shallow is not None
        self.shallow = embeddings.shallow[place] if has_shallow else None
        first, last = relations.board_offsets[place : place + 2].tolist()
        self.boards = set(relations.boards[first:last].tolist())
        self.groups = relations.groups[:, place].tolist()
        self.log_count = relations.log_counts[place]


def pins_of(embeddings, relations):
    return [Pin(embeddings, relations, place) for place in range(len(relations.pins))]


def is_twin(one, other):
    return any(a == b and a >= 0 for a, b in zip(one.groups, other.groups, strict=True))


def is_no_negative(anchor, other, neighbors, masked=True):
    """Of the neighbor term."""
    if anchor.id == other.id:
        return True
    related = other.id in neighbors or bool(anchor.boards & other.boards) or is_twin(anchor, other)
    return masked and related


def neighbor_weights(relations, columns, row, x, y):
    """Share of each of the columns in the visits of an anchor, of those that have y."""
    anchor = columns[relations.anchors[row]]
    weights = [0.0] * len(columns)
    triples = zip(
        relations.positive_rows, relations.positive_columns, relations.positive_weights, strict=True
    )
    for place, column, weight in triples:
        if place == row and getattr(columns[column], y) is not None:
            weights[column] = float(weight)
    total = sum(weights) if getattr(anchor, x) is not None else 0
    return [weight / total if total else 0.0 for weight in weights]


def objective(
    embeddings,
    relations,
    *,
    form,
    neighbor_weight,
    pairs,
    neighbor_pairs,
    scale,
    bias,
    masked=True,
    logq=False,
    bank=(),
):
    """The total loss; scale and bias hold "image_text" and "neighbor", bank holds pins."""
    pins = pins_of(embeddings, relations)
    here = {pin.id for pin in pins}
    columns = pins + [pin for pin in bank if pin.id not in here]

    def loss(term, rows, x, y, columns, _):
        """Mean over the rows (anchor, weights, negatives) with positives; numbers of both."""
        rows = [row for row in rows if any(row[1])]
        losses, pushed = [], 0
        zero = 0 * embeddings.fused.sum()
        for anchor, weights, negatives in rows:
            logits = []
            for column in columns:
                vector = getattr(column, y)
                s = zero
                if vector is not None:
                    s = scale[term] * (getattr(anchor, x) * vector).sum() + bias[term]
                logits.append(s - column.log_count if logq else s)
            losses += ROW_LOSSES[form]([torch.stack(logits)], [weights], [negatives])
            pushed += sum(negatives)
        return (sum(losses) / len(losses) if losses else zero), len(losses), pushed

    def term(name, parts):
        found = [(weight, loss(name, *part)) for weight, part in parts if weight]
        # One pin alone that has the modality can be told from none.
        asked = [part for weight, part in parts if weight]
        told = [
            pushed
            for (_, (_, rows, pushed)), part in zip(found, asked, strict=True)
            if rows and there(*part[1:]) > 1
        ]
        if told and not sum(told):
            raise NoNegativesError(name)
        return sum(weight * value for weight, (value, _, _) in found)

    def there(x, y, columns, both):
        """How many columns have what is sought, and within a pin what seeks it."""
        names = (x, y) if both else (y,)
        return sum(all(getattr(one, name) is not None for name in names) for one in columns)

    def within(x, y):
        rows = []
        for i, anchor in enumerate(pins):
            if getattr(anchor, x) is None or getattr(anchor, y) is None:
                continue
            both = [getattr(p, x) is not None and getattr(p, y) is not None for p in pins]
            others = [
                both[j] and i != j and not (masked and is_twin(anchor, p))
                for j, p in enumerate(pins)
            ]
            rows.append((anchor, [float(i == j) for j in range(len(pins))], others))
        return rows, x, y, pins, True

    def neighbors(x, y):
        rows = []
        for row, place in enumerate(relations.anchors.tolist()):
            weights = neighbor_weights(relations, pins, row, x, y) + [0.0] * (
                len(columns) - len(pins)
            )
            sampled = set(relations.neighbors[row].tolist())
            others = [
                getattr(p, y) is not None
                and not weights[j]
                and not is_no_negative(pins[place], p, sampled, masked)
                for j, p in enumerate(columns)
            ]
            rows.append((pins[place], weights, others))
        return rows, x, y, columns, False

    symmetric = [(w / 2, name.split("-")) for name, w in pairs.items()]
    total = term(
        "image_text",
        [(w, within(*names)) for w, (x, y) in symmetric for names in ((x, y), (y, x))],
    )
    if not neighbor_weight:
        return total
    directed = [(w, neighbors(*name.split("->"))) for name, w in neighbor_pairs.items()]
    return total + neighbor_weight * term("neighbor", directed)


def sigma(x):
    return 1 / (1 + torch.exp(-x))
