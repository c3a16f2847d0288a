"""Compares recommenders on a leave-one-out task, each tuned on pins of its training graph."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from pingraph.bootstrap import mean_intervals
from pingraph.experiments.leave_one_out import LeaveOneOut, expected_metrics

if TYPE_CHECKING:
    from pingraph.experiments.recommenders import Scorer
    from pingraph.graph import PinBoardGraph

    Fit = Callable[[PinBoardGraph], Scorer]
    Methods = Mapping[str, Mapping[str, Fit]]  # by name, each with the settings to choose from
    Step = Callable[[str], None]

BETAS = (0.0, 0.25, 0.5, 0.75, 1.0)
VALIDATION_BOARDS = 5000
_AT_ONCE = 256  # boards that are scored at a time


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one method reached; B boards."""

    name: str
    setting: str  # that was chosen on the validation pins; "" where there is nothing to choose
    beta: float  # scores were divided by degree^β
    metrics: np.ndarray  # float64 [B, 2], HR@10 and NDCG@10
    intervals: np.ndarray  # float64 [2, 2], 95% of the mean of each, over boards
    cpu_seconds: float  # of all threads, to fit and to score all boards once


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The methods side by side."""

    task: LeaveOneOut
    validation_boards: int
    seed: int
    plain: list[Row]  # one of each method, its scores as they are
    debiased: list[Row]  # likewise, divided by degree^β


def compare(
    task: LeaveOneOut,
    found: Methods,
    *,
    seed: int,
    step: Step = lambda what: None,
) -> Comparison:
    """Rank by each method, by its scores as they are and by these over degree^β.

    Settings and β are those of the highest NDCG@10 on validation pins, taken out of the training
    saves of at most VALIDATION_BOARDS boards.

    Args:
        task: what is to be ranked.
        found: the methods.
        seed: of the validation pins.
        step: called before each of at most `count_steps` steps with what is done next.
    """
    tuning = task.validation(min(VALIDATION_BOARDS, len(task.boards)), seed=seed)
    plain: list[Row] = []
    debiased: list[Row] = []
    for name, fits in found.items():
        trials = {
            setting: _score(fit, tuning, partial(step, f"{name} {setting}: tuning"))
            for setting, fit in fits.items()
        }
        reached = {
            (setting, beta): _metrics(scores, tuning, beta)[:, 1].mean()
            for (setting, scores), beta in product(trials.items(), BETAS)
        }
        best = max(reached, key=lambda one: reached[one])
        best_plain = max(((setting, 0.0) for setting in trials), key=lambda one: reached[one])
        tested = {}
        for setting in {best[0], best_plain[0]}:
            begun = time.process_time()
            scores = _score(fits[setting], task, partial(step, f"{name} {setting}"))
            tested[setting] = scores, time.process_time() - begun
        for rows, (setting, beta) in ((plain, best_plain), (debiased, best)):
            scores, seconds = tested[setting]
            metrics = _metrics(scores, task, beta)
            rows.append(
                Row(
                    name=name,
                    setting=setting,
                    beta=beta,
                    metrics=metrics,
                    intervals=mean_intervals(metrics, seed=seed, unit=True),
                    cpu_seconds=seconds,
                )
            )
    return Comparison(
        task=task,
        validation_boards=len(tuning.boards),
        seed=seed,
        plain=plain,
        debiased=debiased,
    )


def count_steps(task: LeaveOneOut, found: Methods) -> int:
    """Return how many steps a comparison reports at most."""
    tuning, tested = (
        -(-boards // _AT_ONCE)
        for boards in (min(VALIDATION_BOARDS, len(task.boards)), len(task.boards))
    )
    return sum(len(fits) * tuning + min(len(fits), 2) * tested for fits in found.values())


def _score(fit: Fit, task: LeaveOneOut, step: Callable[[], None]) -> np.ndarray:
    """Return the scores of all candidates, float32 [B, C]; -inf for pins that nobody saved."""
    scores, scorer = np.empty(task.candidates.shape, np.float32), None
    for start in range(0, len(scores), _AT_ONCE):
        step()
        scorer = scorer or fit(task.graph)
        part = slice(start, start + _AT_ONCE)
        scores[part] = scorer(task.boards[part], task.candidates[part])
    return np.where(task.known, scores, -np.inf)


def _metrics(scores: np.ndarray, task: LeaveOneOut, beta: float) -> np.ndarray:
    degrees = np.maximum(task.graph.pin_degrees, 1)[task.candidates]
    return expected_metrics(scores / degrees**beta)
