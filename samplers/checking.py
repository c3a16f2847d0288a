"""The checker of samplers: does one that a user wrote keep what those of pingraph promise?"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pingraph.errors import PinGraphError
from pingraph.fingerprint import fingerprint
from pingraph.interfaces import Neighbors
from pingraph.samplers import check_calls, check_rows, check_warnings
from pingraph.samplers.check_case import BrokenCall, Case, LeftOut, ask, in_company
from pingraph.samplers.check_law import ExactLaw, follows

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph

Outcome = Literal["passed", "failed", "warning", "left out"]
_MOST_PINS = 200

# Name, what holds if it passes, and the function that says what is wrong. Of one answer:
_ROWS = (
    ("seeds given back", "the field seeds is what was asked for", check_rows.seeds_come_back),
    ("padding", "padding is -1, 0 and 0, at the end", check_rows.padded_at_the_end),
    ("ids in range", "every neighbor is a pin of the graph", check_rows.ids_in_range),
    ("no seed", "no pin is its own neighbor", check_rows.seed_not_among_them),
    ("no repeats", "no pin stands twice in a row", check_rows.none_twice),
    ("weights", "weights are above 0 and sum to 1", check_rows.weights_sum_to_one),
    ("scores", "scores are above 0", check_rows.scores_are_positive),
    ("best first", "neither scores nor weights grow along a row", check_rows.best_first),
)
# Of several answers, where the same call gives the same rows:
_STEADY = (
    ("order", "the order of the seeds changes no row", check_calls.order_of_seeds),
    ("batches", "batches of 7 and of 1 give the same rows", check_calls.batches),
    (
        "repeated seeds",
        "a seed asked for twice gets the same row twice",
        check_calls.repeated_seeds,
    ),
    ("threads", "1, 2 and 8 threads give the same rows", check_calls.threads),
    ("worker process", "a forked process gets the same rows", check_calls.worker_process),
    ("pickled copy", "a pickled copy finds the same", check_calls.pickled_copy),
    ("other seed", "nothing is kept from another seed or epoch", check_calls.other_seed),
    ("other graph", "nothing is kept from another graph", check_calls.other_graph),
)
_OTHERS = (
    ("no seeds", "no seeds give no rows", check_calls.no_seeds),
    ("isolated pins", "pins without neighbors have rows as good", check_calls.isolated_pins),
    ("unknown pins", "a pin that the graph lacks gets no row", check_calls.unknown_pins),
    ("seeds unchanged", "the array of seeds is left as it is", check_calls.seeds_unchanged),
)
_WARNINGS = (
    ("finds some", "pins have neighbors", check_warnings.finds_some),
    ("seed and epoch", "another seed or epoch changes rows", check_warnings.seed_and_epoch),
    ("can be pickled", "spawned workers can be given it", check_warnings.can_be_pickled),
    ("error of unknown", "it is refused by a PinGraphError", check_warnings.unknown_pins_named),
    ("isolated is empty", "pins alone on their boards have none", check_warnings.isolated_is_empty),
    ("within reach", "a walk can reach every neighbor", check_warnings.within_reach),
)


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """One check: its name, how it ended, and a sentence: what holds, or which pin got what."""

    name: str
    outcome: Outcome
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """All checks of a sampler, in the order in which they ran; `print` it."""

    sampler: str
    graph: str
    results: tuple[CheckResult, ...]

    def named(self, outcome: Outcome) -> dict[str, str]:
        """Return the sentences of the checks that ended so, by name."""
        return {one.name: one.sentence for one in self.results if one.outcome == outcome}

    def __str__(self) -> str:
        width = max(len(one.name) for one in self.results)
        lines = [f"  {one.outcome:<8}  {one.name:<{width}}  {one.sentence}" for one in self.results]
        return "\n".join([f"{self.sampler} on {self.graph}", *lines])


def check(
    sampler: Any, graph: PinBoardGraph | None = None, *, exact: ExactLaw | None = None
) -> Report:
    """Test all that a sampler promises, in seconds; docs/composing-samplers.md lists the checks.

    Args:
        sampler: an object with a method `sample` as `pingraph.interfaces.Sampler` has.
        graph: the graph to test on, of which up to 200 pins are asked for; by default one of 60
            pins and 15 boards, skewed, in parts, with pins that have no neighbors.
        exact: the law of the neighbors where it is known: a function of (graph, pin) that returns
            [num_pins] numbers proportional to the expected score of each pin as neighbor of the
            pin; what it says of the pin itself is ignored. It is compared with the scores of 400
            epochs by Hotelling's T², with a false alarm in fewer than 1 of 10,000 cases. Where the
            sampler has a `k`, a copy with a large enough one is tested, so that no neighbor is cut
            off.

    Returns:
        All checks, when none has failed. Warnings and what was left out are in it.

    Raises:
        PinGraphError: checks have failed; lists each, with the call, the pin, what was found and
            what was expected. Or `sampler` is no sampler, the graph has no pin with a neighbor, or
            `exact` returns no law.
    """
    if isinstance(sampler, type) or not callable(getattr(sampler, "sample", None)):
        hint = "give an object, not its class" if isinstance(sampler, type) else "no method sample"
        raise PinGraphError(f"{sampler!r} is not a sampler: {hint}")
    graph = example_graph() if graph is None else graph
    run = _Run(sampler, graph)
    run.everything(exact)
    report = Report(
        sampler=_short(sampler),
        graph=f"{graph.num_pins:,} pins, {graph.num_boards:,} boards, {graph.num_edges:,} edges",
        results=tuple(run.results),
    )
    failed = report.named("failed")
    if failed:
        head = f"{report.sampler} fails {len(failed)} of {len(report.results)} checks:"
        lines = [f"  {name}: {sentence}" for name, sentence in failed.items()]
        raise PinGraphError("\n".join([head, *lines])) from run.cause
    return report


def example_graph() -> PinBoardGraph:
    """Return the graph that `check` uses: 60 pins on 15 boards, in parts, ids unlike indices."""
    from pingraph.graph import PinBoardGraph

    edges = [(pin, pin * pin % 10) for pin in range(45)]
    edges += [(pin, (7 * pin + 3) % 10) for pin in range(0, 45, 3)]
    edges += [(0, board) for board in range(10)]  # a pin that is everywhere
    edges += [(pin, 10 + pin % 3) for pin in range(45, 55)] + [(45, 11), (45, 12)]
    edges += [(55, 13), (56, 13), (57, 14)]  # a pair, and a pin alone; 58 and 59 have no board
    pins, boards = zip(*[(1_000 + pin, board) for pin, board in edges], strict=True)
    return PinBoardGraph.from_edges(pins, boards, pin_ids=range(1_000, 1_060), board_ids=range(15))


class _Run:
    """The checks of one sampler, one after the other."""

    def __init__(self, sampler: Any, graph: PinBoardGraph):
        self.sampler, self.graph = sampler, graph
        self.results: list[CheckResult] = []
        self.cause: BaseException | None = None  # of the first failure that an exception made
        self._answers: list[Neighbors] = []

    def everything(self, exact: ExactLaw | None) -> None:
        """Run what makes sense: without a first answer nothing, without a second no comparison."""
        pins, isolated = _choose(self.graph)
        unused, before = _copied(self.sampler), _hashes(self.graph)
        first = partial(self._ask_first, pins)
        if not self._run("can be called", "a call returns a record of neighbors", first):
            return
        kept = partial(_what_changed, self.graph, before)
        if not self._run("graph unchanged", "the graph is left as it is", kept):
            return
        case = Case(
            sampler=self.sampler,
            unused=unused,
            graph=self.graph,
            pins=pins,
            isolated=isolated,
            found=self._answers[0],
        )
        for name, promise, row_check in _ROWS:
            self._run(name, promise, partial(row_check, self.graph, pins, case.found))
        again = partial(check_calls.called_again, case)
        steady = self._run("called again", "the same call gives the same rows", again)
        for name, promise, call_check in _STEADY:
            self._run(name, promise, partial(call_check, case) if steady else _unsteady)
        for name, promise, call_check in _OTHERS:
            self._run(name, promise, partial(call_check, case))
        for name, promise, call_check in _WARNINGS:
            self._run(name, promise, partial(call_check, case), fault="warning")
        if exact is not None:
            law = partial(follows, case, exact)
            self._run("exact law", "pins are found as often as the exact law says", law)

    def _run(
        self, name: str, promise: str, work: Callable[[], str | None], fault: Outcome = "failed"
    ) -> bool:
        outcome: Outcome = "passed"
        try:
            sentence = work()
            outcome = fault if sentence else "passed"
        except LeftOut as reason:
            outcome, sentence = "left out", str(reason)
        except BrokenCall as error:
            outcome, sentence = "failed", str(error)
            self.cause = self.cause or error.__cause__
        self.results.append(CheckResult(name=name, outcome=outcome, sentence=sentence or promise))
        return outcome != "failed"

    def _ask_first(self, pins: np.ndarray) -> None:
        self._answers.append(ask(self.sampler, self.graph, pins))


def _choose(graph: PinBoardGraph) -> tuple[np.ndarray, np.ndarray]:
    """Return some pins that share a board with others, and some that don't; int64, ascending."""
    degrees = graph.pin_degrees
    some = np.flatnonzero(degrees)
    some = some[np.linspace(0, len(some) - 1, min(len(some), _MOST_PINS)).astype(np.int64)]
    some = np.union1d(some, [np.argmax(degrees)])
    shared = in_company(graph, some)
    pins, isolated = some[shared], some[~shared]
    if not len(pins):
        raise PinGraphError("the graph has no pin with a neighbor; expected one to check on")
    return pins, np.union1d(isolated[:1], np.flatnonzero(degrees == 0)[:2]).astype(np.int64)


def _copied(sampler: Any) -> Any:
    try:
        return deepcopy(sampler)
    except Exception:  # whatever the user's class raises: the checks that need a copy are left out
        return None


def _hashes(graph: PinBoardGraph) -> dict[str, str]:
    return {name: fingerprint({name: array}) for name, array in graph.arrays().items()}


def _what_changed(graph: PinBoardGraph, before: dict[str, str]) -> str | None:
    changed = [name for name, found in _hashes(graph).items() if found != before[name]]
    return f"sample changed the graph: {', '.join(changed)}" if changed else None


def _unsteady() -> None:
    raise LeftOut("the same call gives other rows each time")


def _short(sampler: Any) -> str:
    kind, text = type(sampler), repr(sampler)
    plain = kind.__repr__ is object.__repr__
    return f"{kind.__name__}(…)" if plain or len(text) > 200 or "\n" in text else text
