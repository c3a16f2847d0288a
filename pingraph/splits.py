"""What may be seen in training and what is held out: named, seeded, saved, and checked for leaks.

Two kinds of twins would give a held-out answer away, and no split lets them: pins with the same
image to the byte (an image group), and edges from one image group to one board (a pair).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pingraph.datasets import PinBoardDataset
from pingraph.errors import PinGraphError
from pingraph.files import atomic_file, read_tensors
from pingraph.graph import PinBoardGraph

_FORMAT, _VERSION = "pingraph.split", "1"


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Which edges and pins of one graph training may see; everything else is held out.

    A pin may be trained on unless all its edges are held out; pins with one image share their
    fate, and pins without any edge may be trained on (their content tells no edge) unless a twin
    is held out.
    """

    kind: str  # "pin", "edge", "mixed", "board" or "time"; "none" where nothing is held out
    seed: int  # 0 where nothing is drawn
    parameters: dict[str, Any]  # of the splitter, as JSON holds them
    fingerprint: str  # of the graph with all edges
    train_edges: np.ndarray  # bool [E], in the pin order of the graph
    train_pins: np.ndarray  # int64, ascending: the pins that may be trained on

    def __post_init__(self):
        for array in (self.train_edges, self.train_pins):
            array.flags.writeable = False

    def train_graph(self, graph: PinBoardGraph) -> PinBoardGraph:
        """Return the graph without its held-out edges; all pins and boards stay.

        Raises:
            PinGraphError: the split was made of another graph.
        """
        self._require(graph)
        return graph.keep_edges(self.train_edges)

    def cold_pins(self, graph: PinBoardGraph) -> np.ndarray:
        """Return the held-out pins, int64 ascending: they have edges, and none is in training.

        Neither is an image twin of theirs: a pin whose own edges are all held out, but whose image
        is seen in training, is neither cold nor warm.
        """
        self._require(graph)
        cold = graph.pin_degrees > 0
        cold[self.train_pins] = False
        return np.flatnonzero(cold)

    def warm_pins(self, graph: PinBoardGraph) -> np.ndarray:
        """Return the pins that have an edge in training, int64 ascending."""
        self._require(graph)
        pins, _ = graph.edges()
        warm = np.zeros(graph.num_pins, np.bool_)
        warm[pins[self.train_edges]] = True
        return np.flatnonzero(warm)

    def save(self, path: str | Path) -> None:
        """Write the split as one safetensors file, all or nothing."""
        from safetensors.numpy import save

        arrays = {"train_edges": self.train_edges, "train_pins": self.train_pins}
        metadata = {
            "format": _FORMAT,
            "version": _VERSION,
            "kind": self.kind,
            "seed": str(self.seed),
            "parameters": json.dumps(self.parameters, allow_nan=False),
            "fingerprint": self.fingerprint,
        }
        metadata["sha256"] = _checksum(metadata, arrays)
        with atomic_file(path) as temporary:
            temporary.write_bytes(save(arrays, metadata))

    @classmethod
    def load(cls, path: str | Path) -> Split:
        """Read a split that `save` wrote.

        Raises:
            PinGraphError: the file is missing, damaged, or no split.
        """
        metadata, arrays = _read(Path(path))
        return cls(
            kind=metadata["kind"],
            seed=int(metadata["seed"]),
            parameters=json.loads(metadata["parameters"]),
            fingerprint=metadata["fingerprint"],
            train_edges=arrays["train_edges"],
            train_pins=arrays["train_pins"],
        )

    def check_leaks(self, dataset: PinBoardDataset) -> None:
        """Prove on the training graph itself that nothing held out can be reached in it.

        Raises:
            PinGraphError: the split is of another data set; a held-out edge is in the training
                graph or a training edge is not; a held-out pin has a training edge; the pins of
                an image group, or the edges of one group to one board, are on both sides; or the
                rule of the split's kind is broken (a pin, a board or a time on both sides).
        """
        from pingraph.leaks import check_leaks

        check_leaks(self, dataset)

    def _require(self, graph: PinBoardGraph) -> None:
        if len(self.train_edges) != graph.num_edges or self.fingerprint != graph.fingerprint():
            raise PinGraphError("this split was made of another data set: the graphs differ")


class Splitter(Protocol):
    """Makes a split of a data set."""

    def split(self, dataset: PinBoardDataset) -> Split:
        """Return the split of a data set; the same data set gives the same split."""
        ...


class NoSplit:
    """Nothing is held out: every pin with an edge is warm, as for embeddings of unknown origin."""

    def split(self, dataset: PinBoardDataset) -> Split:
        """Return the split."""
        graph = dataset.graph
        return Split(
            kind="none",
            seed=0,
            parameters={},
            fingerprint=graph.fingerprint(),
            train_edges=np.ones(graph.num_edges, bool),
            train_pins=np.arange(graph.num_pins),
        )


class PinSplit:
    """Cold pins: some pins are held out with all their edges.

    Image groups are drawn whole, in random order; one that would carry the number of pins further
    from the target is passed over. Only pins with edges count.

    Args:
        fraction: the share of the pins with edges to hold out, between 0 and 1.
        seed: which pins.
    """

    def __init__(self, fraction: float = 0.2, seed: int = 0):
        self.fraction, self.seed = _checked_fraction(fraction), _checked_seed(seed)

    def split(self, dataset: PinBoardDataset) -> Split:
        """Return the split; raises PinGraphError when a side would be empty."""
        graph, units = dataset.graph, image_units(dataset)
        sizes = np.bincount(units, weights=graph.pin_degrees > 0).astype(np.int64)
        cold = _draw(sizes, self.fraction, self.seed)[units]
        pins, _ = graph.edges()
        return make_split("pin", self.seed, {"fraction": self.fraction}, dataset, cold[pins])


class EdgeSplit:
    """Single edges are held out, each with its twins: the edges of one image to one board.

    Args:
        fraction: the share of the edges to hold out, between 0 and 1.
        seed: which edges.
    """

    def __init__(self, fraction: float = 0.1, seed: int = 0):
        self.fraction, self.seed = _checked_fraction(fraction), _checked_seed(seed)

    def split(self, dataset: PinBoardDataset) -> Split:
        """Return the split; raises PinGraphError when a side would be empty."""
        pairs = pair_units(dataset)
        held_out = _draw(np.bincount(pairs), self.fraction, self.seed)[pairs]
        return make_split("edge", self.seed, {"fraction": self.fraction}, dataset, held_out)


class BoardSplit:
    """Whole boards are held out with all their edges.

    Args:
        fraction: the share of the boards with edges to hold out, between 0 and 1.
        seed: which boards.
    """

    def __init__(self, fraction: float = 0.2, seed: int = 0):
        self.fraction, self.seed = _checked_fraction(fraction), _checked_seed(seed)

    def split(self, dataset: PinBoardDataset) -> Split:
        """Return the split; raises PinGraphError when a side would be empty."""
        graph = dataset.graph
        used = (graph.board_degrees > 0).astype(np.int64)
        _, boards = graph.edges()
        held_out = _draw(used, self.fraction, self.seed)[boards]
        return make_split("board", self.seed, {"fraction": self.fraction}, dataset, held_out)


class TimeSplit:
    """The future is held out: edges later than a moment, with their earlier twins.

    An edge before the moment whose twin (same image, same board) comes after it is held out too,
    so training sees nothing of the future and no answer is given away.

    Args:
        fraction: the share of the latest edges to hold out at most, between 0 and 1; edges of one
            time stay together. Not used when `after` is given.
        after: hold out the edges whose time is greater, in the unit of the data set's times.
    """

    def __init__(self, fraction: float = 0.1, after: int | None = None):
        self.fraction, self.after = _checked_fraction(fraction), after

    def split(self, dataset: PinBoardDataset) -> Split:
        """Return the split; raises PinGraphError without times or when a side would be empty."""
        times = dataset.graph.pin_times
        if times is None:
            raise PinGraphError(f"{dataset.name}: edges.parquet has no column 'time' to split by")
        after = self.after
        if after is None:
            after = int(np.sort(times)[len(times) - int(self.fraction * len(times)) - 1])
        pairs = pair_units(dataset)
        late = np.bincount(pairs, weights=times > after) > 0
        return make_split("time", 0, {"after": after}, dataset, late[pairs])


def _checked_seed(seed: int) -> int:
    if not seed >= 0:
        raise PinGraphError(f"the seed of the split is {seed}: expected 0 or more")
    return seed


def _checked_fraction(fraction: float) -> float:
    if not 0 < fraction < 1:
        raise PinGraphError(f"fraction is {fraction}, expected a number between 0 and 1")
    return float(fraction)


def image_units(dataset: PinBoardDataset) -> np.ndarray:
    """Number the image groups; a pin without image is a group of its own. int64 [N]."""
    groups = dataset.image_groups
    alone = groups < 0
    units = groups.copy()
    units[alone] = groups.max(initial=-1) + 1 + np.arange(alone.sum())
    return units


def pair_units(dataset: PinBoardDataset) -> np.ndarray:
    """Number the pairs of an image group and a board. int64 [E], in pin order."""
    pins, boards = dataset.graph.edges()
    pairs = image_units(dataset)[pins] * dataset.graph.num_boards + boards
    return np.unique(pairs, return_inverse=True)[1]


def _draw(sizes: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Draw whole units until their sizes sum as nearly as may be to a fraction. bool [units]."""
    target = fraction * sizes.sum()
    drawn, total = np.zeros(len(sizes), bool), 0
    for unit in np.random.default_rng(seed).permutation(len(sizes)):
        if sizes[unit] and abs(total + sizes[unit] - target) < abs(total - target):
            drawn[unit] = True
            total += sizes[unit]
    return drawn


def make_split(
    kind: str, seed: int, parameters: dict, dataset: PinBoardDataset, held_out: np.ndarray
) -> Split:
    """Return the split that holds these edges out (bool [E], in pin order), twins with twins.

    Raises:
        PinGraphError: a side would be empty.
    """
    if held_out.all() or not held_out.any():
        side = "training" if held_out.all() else "held out"
        given = ", ".join(f"{name} {value}" for name, value in parameters.items())
        raise PinGraphError(
            f"{dataset.name}: a split by {kind} with {given} leaves no edge {side} (of "
            f"{dataset.graph.num_edges} edges; pins that show the same image stay together)"
        )
    graph, units = dataset.graph, image_units(dataset)
    pins, _ = graph.edges()
    count = units.max() + 1
    trained = np.bincount(units[pins[~held_out]], minlength=count) > 0
    withheld = np.bincount(units[pins[held_out]], minlength=count) > 0
    return Split(
        kind=kind,
        seed=seed,
        parameters=parameters,
        fingerprint=graph.fingerprint(),
        train_edges=~held_out,
        train_pins=np.flatnonzero((trained | ~withheld)[units]),
    )


def _checksum(metadata: dict[str, str], arrays: dict[str, np.ndarray]) -> str:
    text = {key: value for key, value in metadata.items() if key != "sha256"}
    digest = hashlib.sha256(json.dumps(text, sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()


def _read(path: Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    metadata, arrays = read_tensors(path, form=_FORMAT, version=_VERSION, what="split")
    if metadata.get("sha256") != _checksum(metadata, arrays):
        raise PinGraphError(f"{path}: damaged, its checksum does not match")
    return metadata, arrays
