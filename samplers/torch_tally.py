"""Ranks pins on a GPU: sorts their visits, where the CPU kernel hashes them, and their scores."""

from __future__ import annotations

import torch
from torch import Tensor


def rank_visits(visits: Tensor, no_pin: int, ids: Tensor, scores: Tensor) -> None:
    """Write the pins with the most visits to `ids` and `scores`; of equal ones the first visited.

    On paper: the visits 5 7 7 0 5 are sorted to 0 5 5 7 7, which stood at 3 0 4 1 2 (a stable sort:
    the first of each run is the first visit). At the end of each run its length and its first visit
    make one number, larger for more and for earlier visits: 1 and 3, 2 and 0, 2 and 1. The largest
    are those of 5 and 7.

    Args:
        visits: int [B, V], pins; 0 < V.
        no_pin: what stands in `visits` where there is no visit.
        ids: int64 [B, k], filled with -1.
        scores: float32 [B, k], filled with 0; becomes the numbers of visits.
    """
    total = visits.shape[1]
    width = total.bit_length()
    pins, order = visits.sort(dim=1, stable=True)
    differs = pins[:, 1:] != pins[:, :-1]
    edge = differs.new_ones(len(pins), 1)
    place = torch.arange(total, device=pins.device)
    start = torch.where(torch.cat((edge, differs), dim=1), place, 0).cummax(dim=1).values
    worth = ((place - start + 1) << width) + (total - 1 - order.gather(1, start))
    last = torch.cat((differs, edge), dim=1) & (pins != no_pin)
    best, where = torch.where(last, worth, -1).topk(min(ids.shape[1], total), dim=1)
    columns = slice(0, best.shape[1])
    ids[:, columns] = torch.where(best >= 0, pins.gather(1, where).long(), -1)
    scores[:, columns] = torch.where(best >= 0, best >> width, 0)


def write_best(rows: Tensor, pins: Tensor, values: Tensor, ids: Tensor, scores: Tensor) -> None:
    """Write the pins of the highest scores to `ids` and `scores`; of equal ones the first.

    Args:
        rows: int64 [n], the row of each pin.
        pins: int64 [n], each once in a row.
        values: float32 [n], above 0.
        ids: int64 [B, k], filled with -1.
        scores: float32 [B, k], filled with 0.
    """
    order = values.argsort(descending=True, stable=True)
    order = order[rows[order].argsort(stable=True)]
    rows, pins, values = rows[order], pins[order], values[order]
    first = torch.searchsorted(rows, torch.arange(len(ids), device=rows.device))
    rank = torch.arange(len(rows), device=rows.device) - first[rows]
    best = rank < ids.shape[1]
    ids[rows[best], rank[best]] = pins[best]
    scores[rows[best], rank[best]] = values[best]
