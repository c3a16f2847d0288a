"""Which rows shall find which columns in a batch: pairs within a pin, and pairs of neighbors.

B anchors, U pins of the batch, M columns: those pins, and those of a bank after them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pingraph.embedding_bank import Kept, presence, vectors_of
from pingraph.errors import PinGraphError
from pingraph.false_negatives import Columns, FalseNegatives
from pingraph.interfaces import Embeddings, Relations
from pingraph.losses import Alignment, Positives
from pingraph.views import View


class BatchAlignments:
    """Makes the alignments of a batch. Modalities are "image", "text", "fused" and "shallow".

    Args:
        embeddings: of the U pins.
        relations: of the same pins.
        kept: columns of the neighbor pairs beside those pins, negatives only.
        views: in which the embeddings are compared.
        mask_false_negatives: whether pins that belong together are no negatives.
        logq: whether the columns' log counts are subtracted from their logits.

    Raises:
        PinGraphError: the embeddings are not those of the pins, or a log count is missing.
    """

    def __init__(
        self,
        embeddings: Embeddings,
        relations: Relations,
        kept: Kept | None,
        *,
        views: Sequence[View],
        mask_false_negatives: bool,
        logq: bool,
    ):
        _check(embeddings, relations, logq)
        self._embeddings = embeddings
        self._relations = relations
        self._kept = kept
        self._views = views
        self._masked = mask_false_negatives
        self._logq = logq
        self._has = presence(embeddings)
        # At least float32: half precision loses what a sum over many columns adds up from.
        self._dtype = torch.promote_types(embeddings.fused.dtype, torch.float32)
        self.fused = embeddings.fused.to(self._dtype)
        columns = Columns.of(relations)
        self.own = FalseNegatives(relations, columns)
        self._all = self.own
        if kept is not None:
            self._all = FalseNegatives(relations, columns + kept.columns)

    def within(self, x: str, y: str) -> Alignment:
        """Let x of a pin find y of the same pin, among the pins that have both."""
        present = self._has[x] & self._has[y]
        rows = present.nonzero().ravel()
        hidden = self.own.twins if self._masked else self.own.itself
        return Alignment(
            x=[view[rows] for view in self._seen(x)],
            y=self._seen(y),
            view_weights=self._view_weights(),
            positives=Positives(
                rows=torch.arange(len(rows), device=rows.device),
                columns=rows,
                weights=torch.ones(len(rows), dtype=self._dtype, device=rows.device),
            ),
            present=present,
            hidden=lambda part: hidden(rows[part]),
            log_counts=self._log_counts(None),
        )

    def neighbors(self, x: str, y: str) -> Alignment:
        """Let x of an anchor find y of its neighbors, among the pins that have y and the bank."""
        kept = self._kept
        anchors, positives = self._positives(x, y)
        rows, neighbors = self._relations.anchors[anchors], self._relations.neighbors[anchors]
        columns, present = self._seen(y), self._has[y]
        if kept is not None:
            old = [view(kept.vectors[y].to(self._dtype)) for view in self._views]
            columns = [torch.cat(both) for both in zip(columns, old, strict=True)]
            present = torch.cat([present, kept.present[y]])

        def hidden(part: slice) -> Tensor:
            if self._masked:
                return self._all.related(rows[part], neighbors[part])
            return self._all.itself(rows[part])

        return Alignment(
            x=[view[rows] for view in self._seen(x)],
            y=columns,
            view_weights=self._view_weights(),
            positives=positives,
            present=present,
            hidden=hidden,
            log_counts=self._log_counts(kept),
        )

    def _positives(self, x: str, y: str) -> tuple[Tensor, Positives]:
        """Which anchors have neighbors, int64 [n], and their pairs by rows of those n."""
        relations = self._relations
        rows, columns = relations.positive_rows, relations.positive_columns
        present = self._has[x][relations.anchors[rows]] & self._has[y][columns]
        found = (present & (relations.positive_weights > 0)).nonzero().ravel()
        found = found[rows[found].argsort(stable=True)]
        anchors, rows = rows[found].unique(return_inverse=True)
        weights = relations.positive_weights[found].to(self._dtype)
        sums = weights.new_zeros(len(anchors)).index_add(0, rows, weights)
        # What a missing modality takes away, the anchor's other neighbors share.
        weights = weights / sums[rows]
        return anchors, Positives(rows=rows, columns=columns[found], weights=weights)

    def _seen(self, modality: str) -> list[Tensor]:
        vectors = vectors_of(self._embeddings, modality).to(self._dtype)
        return [view(vectors) for view in self._views]

    def _view_weights(self) -> list[float]:
        total = sum(view.weight for view in self._views)
        return [view.weight / total for view in self._views]

    def _log_counts(self, kept: Kept | None) -> Tensor | None:
        if not self._logq:
            return None
        counts = self._relations.log_counts
        if kept is not None:
            counts = torch.cat([counts, kept.log_counts.to(counts.dtype)])
        return counts.to(self._dtype)


def _check(embeddings: Embeddings, relations: Relations, logq: bool) -> None:
    found, pins = len(embeddings.fused), len(relations.pins)
    if found != pins:
        raise PinGraphError(f"embeddings has {found} rows: expected those of the {pins} pins")
    unknown = ~relations.log_counts.isfinite()
    if logq and unknown.any():
        place = int(unknown.nonzero()[0])
        pin, value = int(relations.pins[place]), float(relations.log_counts[place])
        raise PinGraphError(
            f"logq is on and the log count of pin {pin} is {value}: expected a finite number "
            "(the data module counts with count_pins: true)"
        )
