"""The sampler lab: runs several samplers on the same seeds of a graph and measures what they find.

No training, no images: a graph and samplers are all it takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pingraph.errors import PinGraphError
from pingraph.lab import statistics
from pingraph.lab.choice import class_path, settings
from pingraph.lab.convergence import WALKS, Convergence, ExactPageRank, can_converge, converge
from pingraph.samplers.asking import blame, kept_promises, neighbors_of
from pingraph.samplers.check_rows import ROW_CHECKS, seed_not_among_them

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph
    from pingraph.interfaces import Neighbors, Sampler

FORMAT, VERSION = "pingraph-sample", 1
# How often a pin is among its own neighbors is one of the measures.
_PROMISES = tuple(promise for promise in ROW_CHECKS if promise is not seed_not_among_them)
CALLS, SECONDS = 5, 2.0  # timed calls of a sampler: so many, or as many as start in this time


@dataclass(frozen=True, kw_only=True)
class SamplerResult:
    """What one sampler found."""

    class_path: str
    init_args: dict[str, Any]
    k: int
    measures: dict[str, float]  # of `pingraph.lab.statistics.measures`; NaN where undefined
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
    overlap: np.ndarray  # float64 [S, S], mean Jaccard index; NaN where undefined
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
        found[one] = neighbors_of(sampler, graph, seeds, seed=seed, name=one, promises=_PROMISES)
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
    return Comparison(
        name=name,
        graph=graph,
        seed=seed,
        num_seeds=len(seeds),
        results=results,
        overlap=_overlap(found, again),
        notes=[*notes, *missing, *_self_hits(results)],
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
                with blame(name, sampler):
                    begun = time.perf_counter()
                    found = sampler.sample(graph, seeds, seed=seed, epoch=epoch)
                    times[name].append(time.perf_counter() - begun)
                if epoch == 1:
                    first[name] = kept_promises(found, graph, seeds, name, _PROMISES)
    return times, first


def _convergences(
    graph: PinBoardGraph,
    samplers: dict[str, Any],
    seeds: np.ndarray,
    seed: int,
    step: Callable[[str], None],
) -> tuple[dict[str, Convergence], list[str]]:
    exact, curves, notes = ExactPageRank(graph, seeds), {}, []
    for name, sampler in samplers.items():
        if can_converge(sampler):

            def tell(what: str, name: str = name) -> None:
                step(f"{name}: {what}")

            with blame(name, sampler):
                curve = converge(sampler, exact, seed=seed, step=tell)
            if curve is None:
                why = "too large" if not exact.size(sampler.restart_probability) else "unconnected"
                notes.append(f"{name}: the graph is {why}, so there is no exact PageRank.")
            else:
                curves[name] = curve
    return curves, notes


def _overlap(found: dict[str, Neighbors], again: dict[str, Neighbors]) -> np.ndarray:
    """Return the mean Jaccard index of each two samplers, and of each with itself, [S, S].

    Of two calls, of different epochs: samplers that share their random numbers would agree more
    than others, and each with itself entirely.
    """
    mixed = np.array(
        [
            [statistics.mean_jaccard(one, other) for other in again.values()]
            for one in found.values()
        ]
    )
    return (mixed + mixed.T) / 2


def _self_hits(results: dict[str, SamplerResult]) -> list[str]:
    shares = {name: one.measures["self_hit_share"] for name, one in results.items()}
    return [
        f"{name}: {share:.1%} of the pins are among their own neighbors; expected none."
        for name, share in shares.items()
        if share > 0
    ]


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
