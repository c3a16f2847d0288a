"""Slow, obvious twins of the losses: loops over Python numbers, straight from the formulas."""

import math


def softmax_loss(logits, positives, negatives):
    """Σ_j w_ij (log Σ_m exp s_im − s_ij) over the columns m that are positive or negative."""
    total, rows = 0.0, 0
    for s, w, n in zip(logits, positives, negatives, strict=True):
        if sum(w) == 0:
            continue
        shown = [s[m] for m in range(len(s)) if n[m] or w[m] > 0]
        log_sum = math.log(sum(math.exp(x) for x in shown))
        total += sum(w[j] * (log_sum - s[j]) for j in range(len(s)))
        rows += 1
    return total / max(rows, 1)


def sigmoid_loss(logits, positives, negatives):
    """−Σ_j [w_ij log σ(s_ij) + n_ij log σ(−s_ij)]."""
    total, rows = 0.0, 0
    for s, w, n in zip(logits, positives, negatives, strict=True):
        if sum(w) == 0:
            continue
        for j in range(len(s)):
            total += w[j] * math.log1p(math.exp(-s[j]))
            total += math.log1p(math.exp(s[j])) if n[j] else 0.0
        rows += 1
    return total / max(rows, 1)
