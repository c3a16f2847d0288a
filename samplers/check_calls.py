"""What a sampler promises from call to call, each promise as a function of a `Case`.

A function returns what is wrong, or None. It raises `LeftOut` where the promise cannot be checked;
`ask` raises `BrokenCall` where the sampler fails.
"""

from __future__ import annotations

import multiprocessing
import pickle
import sys
from copy import deepcopy
from typing import Any

import numpy as np

from pingraph.errors import PinGraphError
from pingraph.samplers.check_case import (
    BrokenCall,
    Case,
    LeftOut,
    ask,
    call,
    difference,
    in_company,
    isolated_rows,
    refusal,
    same_rows,
    with_value,
)
from pingraph.samplers.check_rows import ROW_CHECKS, malformed

PATIENCE = 60  # seconds that a forked process is waited for


def called_again(case: Case) -> str | None:
    """Calls with other arguments in between change nothing."""
    ask(case.sampler, case.graph, case.pins[::-1], seed=2, epoch=3)
    for _ in range(2):
        again = ask(case.sampler, case.graph, case.pins)
        fault = difference(again, case, np.arange(len(case.pins)), "called again")
        if fault:
            return fault
    return None


def order_of_seeds(case: Case) -> str | None:
    """The row of a pin is the same wherever it stands."""
    order = np.argsort(np.arange(len(case.pins)) * 7919 % 104_729, kind="stable")
    order = order[::-1]
    found = ask(case.sampler, case.graph, case.pins[order])
    return difference(found, case, order, "with the seeds in another order")


def batches(case: Case) -> str | None:
    """The row of a pin is the same whatever else is asked for in the call."""
    for size, last in ((7, len(case.pins)), (1, 20)):
        for start in range(0, min(last, len(case.pins)), size):
            places = np.arange(start, min(start + size, len(case.pins)))
            found = ask(case.sampler, case.graph, case.pins[places])
            fault = difference(found, case, places, f"in a batch of {len(places)}")
            if fault:
                return fault
    return None


def repeated_seeds(case: Case) -> str | None:
    """A pin that is asked for twice gets the same row twice."""
    places = np.tile(np.arange(len(case.pins)), 2)
    found = ask(case.sampler, case.graph, case.pins[places])
    return difference(found, case, places, "asked for twice in one call")


def threads(case: Case) -> str | None:
    """The number of threads changes nothing."""
    places = np.tile(np.arange(len(case.pins)), 1 + 1_000 // len(case.pins))
    for count in (1, 2, 8):
        sampler = with_value(case.sampler, "num_threads", count)
        found = ask(sampler, case.graph, case.pins[places])
        fault = difference(found, case, places, f"with num_threads={count}")
        if fault:
            return fault
    return None


def worker_process(case: Case) -> str | None:
    """A forked process, such as a data-loader worker, gets the same rows."""
    if sys.platform != "linux":
        raise LeftOut("data-loader workers are forked on Linux only")
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(sender, case), daemon=True)
    process.start()
    sender.close()
    try:
        if not receiver.poll(PATIENCE):
            return f"in a forked process, sample did not return within {PATIENCE} s"
        found = receiver.recv()
    except EOFError:
        process.join(5)
        return f"a forked process that sampled ended with exit code {process.exitcode}"
    finally:
        process.kill()
        process.join()
        receiver.close()
    if isinstance(found, str):
        return f"in a forked process, {found}"
    return difference(found, case, np.arange(len(case.pins)), "in a forked process")


def other_graph(case: Case) -> str | None:
    """Nothing is kept from one graph for another."""
    unused = _unused(case)
    half = case.graph.keep_edges(np.arange(case.graph.num_edges) % 2 == 0)
    pins = case.pins[in_company(half, case.pins)]
    try:
        used = ask(case.sampler, half, pins)
    except BrokenCall as error:
        if isinstance(error.__cause__, PinGraphError):
            raise LeftOut(f"the sampler refuses another graph: {error.__cause__}") from error
        raise
    expected = ask(unused, half, pins)
    if not same_rows(used, expected):
        return (
            "on a graph of half the edges, the sampler found other neighbors than a copy of it "
            "that had not seen the whole graph before; is something kept from the first graph?"
        )
    back = ask(case.sampler, case.graph, case.pins)
    return difference(back, case, np.arange(len(case.pins)), "after a call with another graph")


def other_seed(case: Case) -> str | None:
    """Nothing is kept from one random seed or epoch for another."""
    unused = _unused(case)
    for name, other in (("seed", {"seed": 2}), ("epoch", {"epoch": 1})):
        used = ask(case.sampler, case.graph, case.pins, **other)
        if not same_rows(used, ask(unused, case.graph, case.pins, **other)):
            return (
                f"with another {name}, the sampler found other neighbors than a copy of it that "
                f"was never asked before; is something kept from the first {name}?"
            )
    return None


def no_seeds(case: Case) -> str | None:
    """No seeds give no rows."""
    found = ask(case.sampler, case.graph, np.empty(0, np.int64))
    k = case.found.ids.shape[1]
    fault = malformed(found, 0, k)
    return f"sample(graph, seeds=[]) {fault}" if fault else None


def isolated_pins(case: Case) -> str | None:
    """A pin that no board shares with another has a row like any other, empty or not."""
    found = isolated_rows(case)
    for row_check in ROW_CHECKS:
        known = row_check(case.graph, case.pins, case.found)  # told already
        fault = None if known else row_check(case.graph, case.isolated, found)
        if fault:
            return fault
    return None


def unknown_pins(case: Case) -> str | None:
    """A seed that is no pin of the graph gets no row."""
    for pin in (case.graph.num_pins, -1):
        if not refusal(case, pin):
            found = f"sample(graph, [{pin}], …) returned rows for a pin that the graph lacks"
            return f"{found}; expected PinGraphError"
    return None


def seeds_unchanged(case: Case) -> str | None:
    """The array of seeds is left as it is."""
    asked = case.pins[::-1]
    seeds = asked.copy()
    call(case.sampler, case.graph, seeds)
    rows = np.flatnonzero(seeds != asked)
    if len(rows):
        return f"sample changed seeds[{rows[0]}] from {asked[rows[0]]} to {seeds[rows[0]]}"
    return None


def pickled_copy(case: Case) -> str | None:
    """A pickled copy finds the same."""
    try:
        copied = pickle.loads(pickle.dumps(case.sampler))
    except Exception as error:
        raise LeftOut("the sampler cannot be pickled") from error
    found = ask(copied, case.graph, case.pins)
    return difference(found, case, np.arange(len(case.pins)), "by a pickled copy")


def _unused(case: Case) -> Any:
    if case.unused is None:
        raise LeftOut("the sampler cannot be copied by copy.deepcopy")
    return deepcopy(case.unused)


def _answer(sender: Any, case: Case) -> None:
    try:
        sender.send(ask(case.sampler, case.graph, case.pins))
    except BrokenCall as error:
        sender.send(str(error))
