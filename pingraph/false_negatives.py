"""Who is no negative of whom: pins that belong together must not be pushed apart.

b rows at a time, M columns, E memberships; k sampled neighbors of a row. No M x M matrix exists:
what two pins share is found through sorted keys, like a join of two tables.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from pingraph.interfaces import Relations

# Most pairs that are looked at together, beside those of one key: bounds the memory of a join.
_PAIRS = 1 << 21


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What must be known of the pins that rows are compared with."""

    pins: Tensor  # int64 [M], dense indices of the graph
    board_offsets: Tensor  # int64 [M + 1]
    boards: Tensor  # int64 [E]
    groups: Tensor  # int64 [2, M], -1 for none

    @classmethod
    def of(cls, relations: Relations) -> "Columns":
        """Return the pins of a batch."""
        return cls(**{name: getattr(relations, name) for name in cls.__annotations__})

    def __add__(self, other: "Columns") -> "Columns":
        """Return these columns and then those."""
        ends = other.board_offsets[1:] + self.board_offsets[-1]
        return Columns(
            pins=torch.cat([self.pins, other.pins]),
            board_offsets=torch.cat([self.board_offsets, ends]),
            boards=torch.cat([self.boards, other.boards]),
            groups=torch.cat([self.groups, other.groups], dim=1),
        )

    def take(self, places: Tensor) -> "Columns":
        """Return the columns at places int64 [n], in that order."""
        counts = self.board_offsets.diff()[places]
        _, found = _expand(self.board_offsets[places], counts)
        return Columns(
            pins=self.pins[places],
            board_offsets=torch.cat([counts.new_zeros(1), counts.cumsum(0)]),
            boards=self.boards[found],
            groups=self.groups[:, places],
        )


class FalseNegatives:
    """Finds the columns that are no negatives of some pins of a batch.

    Rows are places among the pins of the batch. All masks are bool [b, M], true where row and
    column belong together.

    Args:
        relations: of the batch, whose pins the rows are.
        columns: the pins that the rows are compared with.
    """

    def __init__(self, relations: Relations, columns: Columns):
        self._relations = relations
        self._width = len(columns.pins)
        places = torch.arange(self._width, device=columns.pins.device)
        sizes = columns.board_offsets.diff()
        self._pins = _Index(columns.pins, places)
        self._boards = _Index(columns.boards, places.repeat_interleave(sizes))
        self._groups = [_Index(group[group >= 0], places[group >= 0]) for group in columns.groups]

    def itself(self, rows: Tensor) -> Tensor:
        """Mark the rows' own pins among the columns; rows int64 [b]."""
        mask = torch.zeros(len(rows), self._width, dtype=torch.bool, device=rows.device)
        self._pins.mark(mask, _arange(rows), self._relations.pins[rows])
        return mask

    def twins(self, rows: Tensor) -> Tensor:
        """Mark the rows' own pins, and those with the same image or the same text to the byte."""
        mask = self.itself(rows)
        for index, group in zip(self._groups, self._relations.groups, strict=True):
            index.mark(mask, _arange(rows), group[rows])
        return mask

    def board_mates(self, rows: Tensor) -> Tensor:
        """Mark the pins that share a training board with the rows."""
        mask = torch.zeros(len(rows), self._width, dtype=torch.bool, device=rows.device)
        offsets = self._relations.board_offsets
        owners, places = _expand(offsets[rows], offsets[rows + 1] - offsets[rows])
        self._boards.mark(mask, owners, self._relations.boards[places])
        return mask

    def related(self, rows: Tensor, neighbors: Tensor) -> Tensor:
        """Mark twins, board-mates and sampled neighbors; these int64 [b, k], -1 for none."""
        mask = self.twins(rows) | self.board_mates(rows)
        self._pins.mark(
            mask, _arange(rows).repeat_interleave(neighbors.shape[1]), neighbors.ravel()
        )
        return mask


def board_mate_share(found: FalseNegatives, relations: Relations, rows: range, step: int) -> Tensor:
    """Return the share of the pairs of an anchor and another pin that share a training board.

    Args:
        found: of the batch, its own pins as columns.
        relations: of the batch.
        rows: the anchors whose pairs are counted; the share is of the pairs of all anchors.
        step: anchors that are looked at together.

    Returns:
        A scalar, float32.
    """
    count = torch.zeros((), dtype=torch.int64, device=relations.pins.device)
    for start in range(rows.start, rows.stop, step):
        anchors = relations.anchors[start : min(start + step, rows.stop)]
        mates = found.board_mates(anchors)
        mates[_arange(anchors), anchors] = False
        count += mates.sum()
    pairs = len(relations.anchors) * (len(relations.pins) - 1)
    return (count / max(1, pairs)).float()


class _Index:
    """Which columns hold a key: int64 [E] keys and, one to one, their columns."""

    def __init__(self, keys: Tensor, columns: Tensor):
        self._keys, order = keys.sort(stable=True)
        self._columns = columns[order]

    def mark(self, mask: Tensor, rows: Tensor, keys: Tensor) -> None:
        """Set mask[row, column] for each row's key [n] that the column holds too.

        With columns 0, 1, 2 that hold the keys 7, 5, 7, the key 7 of row 0 marks (0, 0), (0, 2).
        """
        first = torch.searchsorted(self._keys, keys)
        counts = torch.searchsorted(self._keys, keys, right=True) - first
        ends = counts.cumsum(0)
        total = int(counts.sum())
        cuts = torch.arange(_PAIRS, total + _PAIRS, _PAIRS, device=keys.device)
        bounds = [0, *torch.searchsorted(ends, cuts, right=True).tolist()]
        for start, stop in pairwise(bounds):
            owners, places = _expand(first[start:stop], counts[start:stop])
            mask[rows[start:stop][owners], self._columns[places]] = True


def _expand(first: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Spell out ranges: of [5, 0], [2, 1] the owners 0, 0, 1 and the places 5, 6, 0."""
    owners = _arange(counts).repeat_interleave(counts)
    before = counts.cumsum(0) - counts
    return owners, _arange(owners) - before[owners] + first[owners]


def _arange(like: Tensor) -> Tensor:
    return torch.arange(len(like), device=like.device)
