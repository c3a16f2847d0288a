"""Gathers all that a report shows of some embeddings as plain data, before anything is drawn."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pingraph.baselines import raw_pixels, tf_idf
from pingraph.errors import PinGraphError
from pingraph.evaluation import PARTS, Evaluation, evaluate_scorers, evaluate_table
from pingraph.geometry import geometry
from pingraph.geometry_intervals import geometry_intervals
from pingraph.graph_agreement import agreement_by_pin, energy_of, energy_sums
from pingraph.jackknife import GROUPS, jackknife_interval
from pingraph.knn import Knn, nearest_neighbors
from pingraph.pictures import Pictures
from pingraph.popularity import degree_buckets, metrics_by_bucket, popularity
from pingraph.ranking import draw_queries, number_or_null
from pingraph.relevance import retrieval_tasks
from pingraph.report.audit import audit
from pingraph.report.cases import cases
from pingraph.report.measures import (
    MAIN,
    UNIFORM,
    K,
    by_board,
    by_content,
    by_words,
    estimate,
    occurrences,
    similarities,
    spectrum,
)
from pingraph.report.pin_map import describe_pins, lay_out, placed_pins
from pingraph.report.served import measure_served
from pingraph.report.stability import measure_stability
from pingraph.samplers import PinSAGESampler
from pingraph.significance import paired_tests
from pingraph.subject import require_alike

if TYPE_CHECKING:
    from pingraph.datasets import PinBoardDataset
    from pingraph.evaluation import Scorer, TaskResult
    from pingraph.graph import PinBoardGraph
    from pingraph.interfaces import EmbeddingTable, Neighbors
    from pingraph.splits import Split
    from pingraph.subject import Subject

FORMAT, VERSION = "pingraph.report", 3
_SAMPLED, _RANKED = 2000, 500  # pins, where all would take long


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a report is made of: numbers, which go to the JSON file, and what is looked at."""

    numbers: dict[str, Any]  # docs/report.md describes the keys
    cases: dict[str, dict[str, Any]]  # by run, see `report.cases.cases`
    # See `pin_map.describe_pins`; "runs" are their layouts, "placeless" the pins left out.
    map: dict[str, Any]


def gather(subjects: Sequence[Subject], *, seed: int, map_pins: int) -> Findings:
    """Measure embeddings of one data set and split.

    Args:
        subjects: the embeddings, each under a name of its own.
        seed: of all that is drawn: queries beyond 10,000, intervals, pins of the map.
        map_pins: pins of the map at most.

    Raises:
        PinGraphError: there are none, they are of different data sets or splits, two have one
            name, or a vector is not finite.
    """
    _check(subjects)
    first = subjects[0]
    dataset, split = first.dataset, first.split
    pictures = Pictures(dataset)
    placed = placed_pins([subject.table for subject in subjects])
    pins = draw_queries(placed, map_pins, seed)
    runs, shown, layouts, evaluations = {}, {}, [], {}
    for subject in subjects:
        evaluation = evaluate_table(subject.table, dataset, split, seed=seed)
        evaluations[subject.name] = evaluation
        runs[subject.name] = _measure(subject, evaluation, seed)
        shown[subject.name] = cases(_asked(evaluation), subject, pictures, seed=seed)
        runs[subject.name]["served"] = measure_served(subject, seed=seed)
        runs[subject.name]["explanations"] = _explanations(shown[subject.name])
        layout = lay_out(subject.table, pins, evaluation)
        layouts.append({"name": subject.name, **layout})
    described = describe_pins(dataset, split, pins, pictures)
    baselines, broken = _baselines(dataset, split, seed)
    notes = ["No baseline from pixels, as images are broken."] if broken else []
    numbers = {
        "format": FORMAT,
        "version": VERSION,
        "pingraph": importlib.metadata.version("pingraph"),
        "seed": seed,
        "data": _describe(dataset, broken),
        "split": {"kind": split.kind, "seed": split.seed, **split.parameters},
        "audit": audit(dataset, split, seed=seed),
        "chance": {part: _chance(dataset, split, one) for part, one in _parts(evaluations)},
        "runs": runs,
        "baselines": {name: one.to_dict() for name, one in baselines.items()},
        "differences": _differences(evaluations, seed),
        "over_baselines": _over_baselines(evaluations, baselines, seed),
        "stability": measure_stability(subjects, seed=seed),
        "notes": notes,
    }
    shown_map = {**described, "placeless": dataset.num_pins - len(placed), "runs": layouts}
    return Findings(numbers=numbers, cases=shown, map=shown_map)


def _check(subjects: Sequence[Subject]) -> None:
    if not subjects:
        raise PinGraphError("no run to report on")
    require_alike(subjects)
    called = [subject.name for subject in subjects]
    for name in called:
        if called.count(name) > 1:
            raise PinGraphError(f"two runs are called {name!r}: give each once")


def _measure(subject: Subject, evaluation: Evaluation, seed: int) -> dict[str, Any]:
    """Return all numbers of one run."""
    dataset, split, table = subject.dataset, subject.split, subject.table
    graph, present = dataset.graph, table.present["fused"]
    knn = nearest_neighbors(table.fused, K)
    walks = PinSAGESampler(k=K).sample(graph, _walked(graph, seed), seed=seed)
    by_degree = metrics_by_bucket(evaluation, degree_buckets(graph))
    shown = popularity(table, dataset, split, evaluation)
    out: dict[str, Any] = {
        "notes": list(subject.notes),
        "metrics": evaluation.to_dict(),
        "dimensions": table.fused.shape[1],
        "without_vector": int((~present).sum()),
        "geometry": _geometry(table, graph, knn, seed),
        "agreement": _agreement(table, graph, knn, walks, seed),
        "similarities": similarities(table.fused, dataset, seed=seed),
        "spectrum": spectrum(table.fused),
        "occurrences": occurrences(knn.ids[present], present),
        "by_age": shown["by_age"],
    }
    for part in PARTS:
        result = getattr(evaluation, part).get("pin_to_pin")
        out[part] = {
            "by_degree": by_degree[part]["pin_to_pin"],
            "by_content": by_content(result, dataset, seed=seed),
            "by_words": by_words(result, dataset, split, seed=seed),
            "exposure": shown["exposure"][part],
            "reach": shown["reach"][part],
            **by_board(result, dataset, seed=seed),
        }
    return out


def _explanations(shown: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [
        {"kind": kind, **why}
        for kind, queries in shown.items()
        for one in queries
        for why in one["why"]
    ]


def _walked(graph: PinBoardGraph, seed: int) -> np.ndarray:
    """Draw pins with an edge, whose walks are compared with the embedding; int64 ascending."""
    return draw_queries(np.flatnonzero(graph.pin_degrees > 0), _SAMPLED, seed)


def _geometry(
    table: EmbeddingTable, graph: PinBoardGraph, knn: Knn, seed: int
) -> dict[str, dict[str, Any]]:
    values = geometry(table, graph, knn, sample=UNIFORM, seed=seed)
    ends = geometry_intervals(values, table, graph, knn, sample=UNIFORM, seed=seed)
    return {
        name: {"value": number_or_null(value), "ci95": ends[name]} for name, value in values.items()
    }


def _agreement(
    table: EmbeddingTable, graph: PinBoardGraph, knn: Knn, walks: Neighbors, seed: int
) -> dict[str, Any]:
    """Return the means of `agreement_by_pin` with intervals over the pins, and the energy."""
    by_pin = agreement_by_pin(table, graph, knn, walks, ranked=_RANKED, seed=seed)
    means = {
        name: estimate(values[np.isfinite(values)], seed=seed) for name, values in by_pin.items()
    }
    return {**means, "dirichlet_energy": _energy(table, graph)}


def _energy(table: EmbeddingTable, graph: PinBoardGraph) -> dict[str, Any]:
    """Return the energy, with the interval of leaving groups of boards out."""
    parts = energy_sums(table.fused, graph, GROUPS)
    energy, left_out = energy_of(parts.sum(0)), [energy_of(parts.sum(0) - one) for one in parts]
    return {"value": number_or_null(energy), "ci95": jackknife_interval(energy, left_out, (0, 2))}


def _asked(evaluation: Evaluation) -> TaskResult | None:
    """Return the pin → pin result of cold pins, of warm ones where no cold one can be asked."""
    cold = evaluation.cold.get("pin_to_pin")
    return cold if cold is not None and len(cold.queries) else evaluation.warm.get("pin_to_pin")


def _parts(evaluations: dict[str, Evaluation]) -> list[tuple[str, TaskResult | None]]:
    one = next(iter(evaluations.values()))
    return [("cold", one.cold.get("pin_to_pin")), ("warm", one.warm.get("pin_to_pin"))]


def _chance(dataset: PinBoardDataset, split: Split, result: TaskResult | None) -> float | None:
    """Return the MAIN that random ranking is expected to get for the queries of pin → pin.

    Of R relevant pins among C candidates, the first 10 hold 10 R / C on average.
    """
    if result is None or not len(result.queries):
        return None
    task = retrieval_tasks(dataset, split)[0]
    shares = []
    for block in task.blocks(result.queries):
        relevant, excluded = task.judge(block)
        counts = np.diff(relevant.indptr)
        candidates = task.corpus.sum() - np.diff(excluded.indptr)
        shares.append(np.minimum(10, candidates) * counts / candidates / np.minimum(10, counts))
    return float(np.concatenate(shares).mean())


def _baselines(
    dataset: PinBoardDataset, split: Split, seed: int
) -> tuple[dict[str, Evaluation], set[int]]:
    """Return how the cheap baselines do, and the pins whose image is broken.

    There is no baseline from pixels where one is, as it would rank these pins by nothing.
    """
    broken: set[int] = set()
    scorers: dict[str, Scorer | None] = {
        "tf_idf": tf_idf(dataset, split),
        "raw_pixels": raw_pixels(dataset, broken=broken),
    }
    if broken:
        del scorers["raw_pixels"]
    evaluations = {
        name: evaluate_scorers({"pin_to_pin": scorer}, dataset, split, seed=seed)
        for name, scorer in scorers.items()
        if scorer is not None
    }
    return evaluations, broken


def _differences(evaluations: dict[str, Evaluation], seed: int) -> list[dict[str, Any]]:
    """Return the tests of each later run against the first."""
    if len(evaluations) < 2:
        return []
    tests = paired_tests(evaluations, metrics=(MAIN,), base=next(iter(evaluations)), seed=seed)
    return [test.to_dict() for test in tests]


def _over_baselines(
    runs: dict[str, Evaluation], baselines: dict[str, Evaluation], seed: int
) -> dict[str, dict[str, Any]]:
    """Return by run and baseline the tests of pin → pin, "cold" and "warm"."""
    out: dict[str, dict[str, Any]] = {}
    for name, run in runs.items():
        out[name] = {}
        for rival, baseline in baselines.items():
            pair = {"baseline": baseline, "run": run}  # a run may be called like a baseline
            tests = paired_tests(pair, metrics=(MAIN,), seed=seed)
            out[name][rival] = {test.part: test.to_dict() for test in tests}
    return out


def _describe(dataset: PinBoardDataset, broken: set[int]) -> dict[str, Any]:
    graph = dataset.graph
    return {
        "name": dataset.name,
        "fingerprint": dataset.fingerprint,
        "pins": dataset.num_pins,
        "boards": graph.num_boards,
        "edges": graph.num_edges,
        "with_image": int(dataset.has_image.sum()),
        "with_text": int(dataset.has_text.sum()),
        "broken_images": len(broken),
    }
