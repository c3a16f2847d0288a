"""The sampler lab: runs several samplers on the same seeds of a graph and measures what they find.

No training, no images: a graph and samplers are all it takes.
"""

from __future__ import annotations

import inspect
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pingraph import sampler_statistics as statistics
from pingraph.errors import PinGraphError
from pingraph.interfaces import Neighbors
from pingraph.sampler_choice import class_path, settings
from pingraph.sampler_convergence import WALKS, Convergence, ExactPageRank, can_converge, converge

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph
    from pingraph.interfaces import Sampler

FORMAT, VERSION = "pingraph-sample", 1
CALLS, SECONDS = 5, 2.0  # timed calls of a sampler: so many, or as many as start in this time


@dataclass(frozen=True, kw_only=True)
class SamplerResult:
    """What one sampler found."""

    class_path: str
    init_args: dict[str, Any]
    k: int
    measures: dict[str, float]  # of sampler_statistics.measures; NaN where undefined
    seed_microseconds: float  # median over the timed calls
    calls: int
    convergence: Convergence | None  # None where the sampler or the graph does not allow it


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Samplers side by side, S of them."""

    name: str
    graph: PinBoardGraph
    seed: int
    num_seeds: int
    results: dict[str, SamplerResult]
    overlap: np.ndarray  # float64 [S, S], mean Jaccard index, NaN where undefined; on the diagonal
    # that of a sampler with itself at another epoch: more than this chance leaves to nobody
    notes: list[str]  # what was left out, and why

    @property
    def hub_edge_share(self) -> float:
        """The share of the edges that the hubs have."""
        return statistics.edge_share(self.graph, statistics.hubs(self.graph))

    def to_dict(self) -> dict[str, Any]:
        """Return the content of sample.json; None stands for what is undefined."""
        graph = self.graph
        return {
            "format": FORMAT,
            "version": VERSION,
            "graph": {
                "name": self.name,
                "pins": graph.num_pins,
                "boards": graph.num_boards,
                "edges": graph.num_edges,
                "fingerprint": graph.fingerprint(),
                "hub_edge_share": self.hub_edge_share,
            },
            "seed": self.seed,
            "num_seeds": self.num_seeds,
            "samplers": {
                name: {
                    **asdict(one),
                    "measures": {key: _number(value) for key, value in one.measures.items()},
                }
                for name, one in self.results.items()
            },
            "overlap": [[_number(value) for value in row] for row in self.overlap],
            "walks": list(WALKS),
            "notes": self.notes,
        }


def compare_samplers(
    graph: PinBoardGraph,
    samplers: dict[str, Sampler],
    *,
    name: str = "graph",
    num_seeds: int = 1000,
    seed: int = 0,
    notes: Sequence[str] = (),
    step: Callable[[str], None] = lambda what: None,
) -> Comparison:
    """Run samplers on the same seeds and measure what they find, and how long it takes.

    Args:
        graph: the graph.
        samplers: by the names that the results shall carry.
        name: what to call the graph.
        num_seeds: pins to sample for, drawn from those on a board; all of them if there are fewer.
        seed: the random seed, of the draw and of the samplers.
        notes: sentences that go to the results.
        step: called before each of `count_steps` steps with what is done next.

    Raises:
        PinGraphError: there is no sampler, an argument is out of its range, or a sampler fails or
            returns what is no `Neighbors` of the seeds; names the sampler.
    """
    if not samplers:
        raise PinGraphError("no sampler to compare: give at least one")
    if num_seeds < 1:
        raise PinGraphError(f"num_seeds is {num_seeds}: expected 1 or more")
    pins = np.flatnonzero(graph.pin_degrees)
    if not len(pins):
        raise PinGraphError(f"{name}: no pin lies on a board")
    seeds = np.random.default_rng(seed).permutation(pins)[:num_seeds]
    found = {}
    for one, sampler in samplers.items():
        step(f"{one}: sampling")
        with _blame(one, sampler):
            found[one] = sampler.sample(graph, seeds, seed=seed)
        _check(found[one], one, graph, seeds)
    times, again = _time_calls(graph, samplers, seeds, seed, step)
    curves, missing = _convergences(graph, samplers, seeds, seed, step)
    results = {
        one: SamplerResult(
            class_path=class_path(sampler),
            init_args=settings(sampler),
            k=found[one].ids.shape[1],
            measures=statistics.measures(found[one], graph),
            seed_microseconds=float(np.median(times[one]) * 1e6 / len(seeds)),
            calls=len(times[one]),
            convergence=curves.get(one),
        )
        for one, sampler in samplers.items()
    }
    overlap = [
        [statistics.mean_jaccard(found[a], found[b] if a != b else again[b]) for b in samplers]
        for a in samplers
    ]
    return Comparison(
        name=name,
        graph=graph,
        seed=seed,
        num_seeds=len(seeds),
        results=results,
        overlap=np.array(overlap),
        notes=[*notes, *missing],
    )


def count_steps(samplers: dict[str, Sampler]) -> int:
    """Return how many steps a comparison reports at most."""
    return len(samplers) * (1 + CALLS) + sum(map(can_converge, samplers.values())) * len(WALKS)


def _time_calls(
    graph: PinBoardGraph,
    samplers: dict[str, Sampler],
    seeds: np.ndarray,
    seed: int,
    step: Callable[[str], None],
) -> tuple[dict[str, list[float]], dict[str, Neighbors]]:
    """Return the seconds of calls for all seeds, and what the first of them found.

    In each round the samplers take turns, so what slows the machine for a while meets all of them.
    What is compiled or loaded at the first call of a sampler has been.
    """
    times: dict[str, list[float]] = {name: [] for name in samplers}
    first = {}
    for epoch in range(1, CALLS + 1):
        for name, sampler in samplers.items():
            step(f"{name}: timing")
            if sum(times[name]) < SECONDS:
                with _blame(name, sampler):
                    begun = time.perf_counter()
                    found = sampler.sample(graph, seeds, seed=seed, epoch=epoch)
                    times[name].append(time.perf_counter() - begun)
                if epoch == 1:
                    _check(found, name, graph, seeds)
                    first[name] = found
    return times, first


def _convergences(
    graph: PinBoardGraph,
    samplers: dict[str, Sampler],
    seeds: np.ndarray,
    seed: int,
    step: Callable[[str], None],
) -> tuple[dict[str, Convergence], list[str]]:
    exact, curves, notes = ExactPageRank(graph, seeds), {}, []
    for name, sampler in samplers.items():
        if can_converge(sampler):
            with _blame(name, sampler):
                curve = converge(
                    sampler, exact, seed=seed, step=lambda what, name=name: step(f"{name}: {what}")
                )
            if curve is None:
                notes.append(f"{name}: the graph is too large for exact PageRank.")
            else:
                curves[name] = curve
    return curves, notes


@contextmanager
def _blame(name: str, sampler: Sampler) -> Iterator[None]:
    """Put the sampler's name before an error; one of the user's own code is told with its line."""
    try:
        yield
    except PinGraphError as error:
        raise PinGraphError(f"{name}: {error}") from error
    except Exception as error:
        if type(sampler).__module__.startswith("pingraph."):
            raise
        frames = traceback.extract_tb(error.__traceback__)
        own = [one for one in frames if one.filename == inspect.getfile(type(sampler))]
        place = (own or frames)[-1]
        reason = " ".join(str(error).split())[:200]
        raise PinGraphError(
            f"{name}: {Path(place.filename).name}, line {place.lineno}: "
            f"{type(error).__name__}: {reason}"
        ) from error


def _check(found: Any, name: str, graph: PinBoardGraph, seeds: np.ndarray) -> None:
    """Raise a PinGraphError unless a sampler returned neighbors that can be measured."""
    if not isinstance(found, Neighbors):
        raise PinGraphError(f"{name} returned {type(found).__name__}; expected Neighbors")
    if not np.array_equal(found.seeds, seeds):
        raise PinGraphError(f"{name} returned other seeds than it was given")
    shape = (len(seeds), np.shape(found.ids)[-1])
    for field, kinds in (("ids", "iu"), ("weights", "f"), ("mask", "b")):
        array = np.asarray(getattr(found, field))
        if array.shape != shape or array.dtype.kind not in kinds:
            expected = {"iu": "whole numbers", "f": "floating-point numbers", "b": "bool"}[kinds]
            raise PinGraphError(
                f"{name}: {field} are {array.dtype} {array.shape}; expected {expected} {shape}"
            )
    for row, (ids, weights, mask) in enumerate(
        zip(found.ids, found.weights, found.mask, strict=True)
    ):
        fault = _fault(ids[mask], weights[mask], graph.num_pins)
        if fault:
            raise PinGraphError(f"{name}: row {row} (pin {seeds[row]}) {fault}")


def _fault(ids: np.ndarray, weights: np.ndarray, num_pins: int) -> str:
    """Say what is wrong with the neighbors of a seed, if anything is."""
    outside = ids[(ids < 0) | (ids >= num_pins)]
    if len(outside):
        return f"holds {outside[0]}; expected pins of the graph, 0 to {num_pins - 1}"
    if len(np.unique(ids)) < len(ids):
        return "holds a pin twice"
    total = weights.sum(dtype=np.float64)
    if len(ids) and not ((weights >= 0).all() and abs(total - 1) < 1e-3):
        return f"has weights that sum to {total:g}; expected none below 0, and a sum of 1"
    return ""


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
