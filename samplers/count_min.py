"""A count-min sketch: how often each pin of a stream was seen, in memory that doesn't grow."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from pingraph.errors import PinGraphError
from pingraph.files import atomic_file, read_tensors
from pingraph.samplers.randomness import epoch_key
from pingraph.samplers.requests import check_whole

_FORMAT, _VERSION = "pingraph-count-min-sketch", "1"
_LOW = np.uint64(32)
_MASK = np.uint64(2**32 - 1)


class CountMinSketch:
    """Counts of a stream of pins, never too low, and seldom much too high.

    After N pins, the count of a pin is at least its true number and, for each pin with probability
    1 - e^-depth or more over the sketch's seed, above it by e/width · N at most. The memory is
    8 · width · depth bytes: 40 MiB by default.

    It gives the log-probabilities of a logQ correction where negatives are the other pins of the
    batch, and pins come from a stream instead of a graph.

    Sources: Cormode and Muthukrishnan, An improved data stream summary: the count-min sketch and
    its applications, Journal of Algorithms 55 (2005); the hash functions: Thorup, High speed
    hashing for integers and strings (arXiv 1504.06804), pair-multiply-shift, whose values for two
    pins are independent, as the bound wants. The use: Yi et al., Sampling-bias-corrected neural
    modeling for large corpus item recommendations, RecSys 2019; with this sketch in OmniSearchSage
    (arXiv 2404.16260).

    Args:
        width: counters of a row, 1 to 2²⁶.
        depth: rows, 1 to 64, each with a hash function of its own.
        seed: the random seed of the hash functions, 0 to 2⁶⁴ - 1.

    Raises:
        PinGraphError: an argument is out of its range; names the argument and the value.
    """

    def __init__(self, *, width: int = 2**20, depth: int = 5, seed: int = 0) -> None:
        check_whole("width", width, least=1, most=2**26)
        check_whole("depth", depth, least=1, most=64)
        check_whole("seed", seed, least=0, most=2**64 - 1)
        self.width, self.depth, self.seed = int(width), int(depth), int(seed)
        self._table = np.zeros((self.depth, self.width), np.int64)
        self._total = 0
        words = [epoch_key(np.uint64(seed), np.uint64(place)) for place in range(3 * self.depth)]
        self._multipliers = np.array(words, np.uint64).reshape(self.depth, 3)

    @property
    def total(self) -> int:
        """Number N of pins counted, repeats included."""
        return self._total

    def update(self, ids: Any) -> None:
        """Count each of the pins; not from two threads at once.

        Args:
            ids: whole numbers of any shape, 0 to 2⁶³ - 1, the same numbers for a pin always; a pin
                that occurs twice is counted twice. To count Negatives, give `ids[mask]`.

        Raises:
            PinGraphError: the ids are no whole numbers, or one is negative. Nothing is counted.
        """
        flat = _check_ids(ids).ravel()
        for row in range(self.depth):
            np.add.at(self._table[row], self._columns(row, flat), 1)
        self._total += flat.size

    def counts(self, ids: Any) -> np.ndarray:
        """Return how often each pin was counted, or a little more: int64, in the shape of `ids`.

        Args:
            ids: as of `update`.

        Raises:
            PinGraphError: as of `update`.
        """
        ids = _check_ids(ids)
        rows = range(self.depth)
        return np.min([self._table[row][self._columns(row, ids)] for row in rows], axis=0)

    def log_probabilities(self, ids: Any) -> np.ndarray:
        """Return the natural log of each pin's share of the stream: float32, in the shape of `ids`.

        A pin that was never seen is taken for one that was seen once, so that all are finite.

        Args:
            ids: as of `update`.

        Raises:
            PinGraphError: as of `update`, or nothing has been counted yet.
        """
        if not self._total:
            raise PinGraphError("the sketch has counted nothing; call update first")
        seen = np.maximum(self.counts(ids), 1)
        return np.log(seen / self._total).astype(np.float32)

    def merge(self, other: CountMinSketch) -> None:
        """Add the counts of another sketch, such as another rank's, as if it were one stream.

        Raises:
            PinGraphError: its width, depth or seed is another.
        """
        for name in ("width", "depth", "seed"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                raise PinGraphError(
                    f"{name} of the other sketch is {theirs}; expected {mine}, as here"
                )
        self._table += other._table
        self._total += other._total

    def save(self, path: str | Path) -> None:
        """Write the sketch as one safetensors file, all or nothing.

        Raises:
            PinGraphError: the file cannot be written.
        """
        from safetensors.numpy import save

        metadata = {"format": _FORMAT, "version": _VERSION, "seed": str(self.seed)}
        metadata["sha256"] = _checksum(self.seed, self._table)
        with atomic_file(path) as temporary:
            temporary.write_bytes(save({"table": self._table}, metadata))

    @classmethod
    def load(cls, path: str | Path) -> CountMinSketch:
        """Read a sketch that `save` wrote; it goes on counting as if it had never been away.

        Raises:
            PinGraphError: the file is missing, damaged, or no sketch.
        """
        seed, table = _read(Path(path))
        sketch = cls(width=table.shape[1], depth=table.shape[0], seed=seed)
        sketch._table, sketch._total = table, int(table[0].sum())
        return sketch

    def __repr__(self) -> str:
        return f"CountMinSketch(width={self.width}, depth={self.depth}, seed={self.seed})"

    def _columns(self, row: int, ids: np.ndarray) -> np.ndarray:
        """Return the counter of each pin in a row."""
        high, low, plus = self._multipliers[row]
        with np.errstate(over="ignore"):  # it wraps around on purpose
            product = (high + (ids & _MASK)) * (low + (ids >> _LOW)) + plus
        return (((product >> _LOW) * np.uint64(self.width)) >> _LOW).astype(np.int64)


def _check_ids(ids: Any) -> np.ndarray:
    """Return the ids as uint64, in their shape."""
    array = np.asarray(ids)
    if array.size == 0:
        return np.zeros(array.shape, np.uint64)
    if array.dtype.kind not in "iu":
        raise PinGraphError(f"ids are {array.dtype}; expected whole numbers")
    wrong = np.flatnonzero((array < 0) | (array >= 2**63))
    if wrong.size:
        found = array.flat[wrong[0]]
        raise PinGraphError(f"ids hold {found} at place {wrong[0]}; expected 0 to 2**63 - 1")
    return array.astype(np.uint64)


def _checksum(seed: int | str, table: np.ndarray) -> str:
    head = f"{_FORMAT} {_VERSION} {seed} {table.dtype} {table.shape}"
    return hashlib.sha256(head.encode() + table.tobytes()).hexdigest()


def _read(path: Path) -> tuple[int, np.ndarray]:
    """Return the seed and the table of a file."""
    metadata, arrays = read_tensors(path, form=_FORMAT, version=_VERSION, what="sketch")
    seed, table = metadata.get("seed", ""), arrays.get("table")
    if table is None or metadata.get("sha256") != _checksum(seed, table):
        raise PinGraphError(f"{path}: damaged, its checksum does not match")
    return int(seed), table
