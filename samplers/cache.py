"""Rows that are kept: what a costly sampler has found once is looked up the next time."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from pingraph.errors import PinGraphError
from pingraph.interfaces import Neighbors, Sampler
from pingraph.samplers.asking import neighbors_of
from pingraph.samplers.keeping import kept_with
from pingraph.samplers.requests import check_draw, check_seeds, check_whole

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph

_OVERHEAD = 320  # bytes that Python takes for a row and its key; measured, rounded up
_NEIGHBOR = np.dtype([("id", "<i8"), ("weight", "<f4"), ("score", "<f4")])

Key = tuple[object, int, int, int]  # graph, seed, epoch of the sampler, pin


@dataclass(frozen=True, kw_only=True)
class CachedSampler:
    """The rows of another sampler, each computed once and then looked up in memory.

    A request for epoch e gets the rows that the sampler gives for epoch e // `epochs`: so walks are
    fresh every `epochs` epochs, and cost nothing in between. With `epochs=1` the rows are those of
    the sampler alone, and only a pin that is asked for twice in one epoch is looked up.

    Rows are kept by graph, random seed, epoch and pin. A graph is known by its object: an equal
    graph that was opened again has rows of its own. When `max_bytes` are full, the rows that were
    computed first go; the result is the same, it only costs more.

    Memory belongs to a process: each data-loader worker starts without rows (or, if forked, with
    those that were there), and keeps what it computes itself. Where many workers are to share the
    rows, `pingraph.samplers.record` them.

    Args:
        sampler: whose rows.
        epochs: how many epochs share their rows, 1 to 2⁶⁴. For a sampler that draws nothing, such
            as `PPRSampler`, a number above the epochs of the training.
        max_bytes: the most memory for rows, in bytes; a row of k neighbors takes 16 k + 320.

    Raises:
        PinGraphError: an argument is out of its range; names the argument and the value.
    """

    sampler: Sampler
    epochs: int
    max_bytes: int = 1 << 30

    def __post_init__(self) -> None:
        if isinstance(self.sampler, type) or not isinstance(self.sampler, Sampler):
            raise PinGraphError(f"sampler is {self.sampler!r}; expected a sampler")
        check_whole("epochs", self.epochs, least=1, most=2**64)
        check_whole("max_bytes", self.max_bytes, least=0, most=2**63)

    def sample(
        self, graph: PinBoardGraph, seeds: np.ndarray, *, seed: int, epoch: int = 0
    ) -> Neighbors:
        """Return the sampler's rows of epoch // `epochs`; arguments and errors as of the sampler.

        Raises:
            PinGraphError: also if the sampler returns rows of another width than before.
        """
        check_draw(seed, epoch)
        seeds = check_seeds(graph, seeds)
        shared = int(epoch) // int(self.epochs)
        if not len(seeds):
            return neighbors_of(self.sampler, graph, seeds, seed=seed, epoch=shared)
        place = (kept_with(graph, _name), int(seed), shared)
        wanted = set(seeds.tolist())
        kept = {pin: self._rows.get((*place, pin)) for pin in wanted}
        rows = {pin: row for pin, row in kept.items() if row is not None}
        missing = np.array(sorted(wanted - rows.keys()), np.int64)
        if len(missing):
            found = neighbors_of(self.sampler, graph, missing, seed=seed, epoch=shared)
            fresh = dict(zip(missing.tolist(), _packed(found), strict=True))
            rows.update(fresh)
            self._keep({(*place, pin): row for pin, row in fresh.items()})
        return _unpacked(seeds, [rows[pin] for pin in seeds.tolist()])

    def _keep(self, rows: dict[Key, bytes]) -> None:
        # No lock: a process that is forked while another thread holds it would wait forever. Each
        # step is atomic, and two threads at once at worst drop a row too many.
        self._rows.update(rows)
        most = self.max_bytes // (len(next(iter(rows.values()))) + _OVERHEAD)
        while len(self._rows) > most:
            with suppress(KeyError):
                self._rows.popitem(last=False)

    @cached_property
    def _rows(self) -> OrderedDict[Key, bytes]:
        return OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


def _name(graph: PinBoardGraph) -> object:
    return object()


def _packed(found: Neighbors) -> list[bytes]:
    """Return each row as bytes of its own, so that dropping a row frees its memory."""
    rows = np.empty(found.ids.shape, _NEIGHBOR)
    rows["id"], rows["weight"], rows["score"] = found.ids, found.weights, found.scores
    return [row.tobytes() for row in rows]


def _unpacked(seeds: np.ndarray, rows: list[bytes]) -> Neighbors:
    widths = sorted({len(row) // _NEIGHBOR.itemsize for row in rows})
    if len(widths) > 1:
        raise PinGraphError(
            f"the sampler returned rows of {widths[0]} and of {widths[-1]} neighbors; expected all "
            "of one width, whatever the seeds"
        )
    table = np.frombuffer(b"".join(rows), _NEIGHBOR).reshape(len(seeds), -1)
    ids = table["id"].copy()
    return Neighbors(
        seeds=seeds,
        ids=ids,
        weights=table["weight"].copy(),
        scores=table["score"].copy(),
        mask=ids >= 0,
    )
