"""Tells whether new vectors can query an index of old ones, which spares making it anew.

Letters: N pins, D and E dimensions of the new and the old embedding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pingraph.embeddings import check_table, require_pins
from pingraph.evaluation import PARTS, Evaluation, dot_scorer, evaluate_scorers
from pingraph.metrics import METRICS
from pingraph.ranking import measured
from pingraph.significance import paired_tests
from pingraph.stability import cross_products, require_same_pins

if TYPE_CHECKING:
    from pingraph.datasets import PinBoardDataset
    from pingraph.interfaces import EmbeddingTable
    from pingraph.splits import Split

SURE = 0.05  # the p-value below which a difference is taken for one


def compatibility(
    old: EmbeddingTable,
    new: EmbeddingTable,
    dataset: PinBoardDataset,
    split: Split,
    *,
    seed: int = 0,
    max_queries: int = 10_000,
) -> dict[str, Any]:
    """Tell whether new vectors can query an index of old ones (Shen et al. 2020, CVPR).

    pin → pin is evaluated with queries and candidates of both embeddings. With M(query, candidate)
    for a metric, the update gain is (M(new, old) - M(old, old)) / (M(new, new) - M(old, old)): the
    share of the new embedding's gain that is had before the index is made anew. The new embedding
    is compatible if M(new, old) > M(old, old).

    "rotated" asks by new vectors that are turned to the old ones: the orthogonal map R with the
    least ‖new R - old‖ over the training pins (Schönemann 1966). If that does well where the plain
    vectors fail, the two spaces differ by little more than a rotation, as do those of two seeds.

    Args:
        old: the embedding of the index.
        new: that of the queries.
        dataset: the data set of both.
        split: says which pins are cold, and which may be used for the rotation.
        seed: of drawn queries and intervals.
        max_queries: as of `evaluate_table`.

    Returns:
        By part, of recall@10: "old", "new", "new_on_old" and "rotated" with "value" and "ci95";
        "gain" and "gain_rotated" (null unless "new" is above "old" beyond chance, p < SURE),
        "difference" of "new_on_old" to "old" with "ci95" and "p", "compatible" (null where chance
        could explain the difference). Where the widths differ, "new_on_old" is null and "reason"
        says so.

    Raises:
        PinGraphError: they are of other pins, or a vector is not finite (names the pin).
    """
    for name, table in (("the old embedding", old), ("the new embedding", new)):
        check_table(table, name)
    require_same_pins(old, new)
    require_pins(old, dataset.pin_ids, dataset.name)
    pairs = {
        "old": (old.fused, old.fused),
        "new": (new.fused, new.fused),
        "rotated": (new.fused @ rotation(new.fused, old.fused, split.train_pins), old.fused),
    }
    if new.fused.shape == old.fused.shape:
        pairs["new_on_old"] = (new.fused, old.fused)
    done = {
        name: evaluate_scorers(
            {"pin_to_pin": dot_scorer(pins, queries.__getitem__)},
            dataset,
            split,
            seed=seed,
            max_queries=max_queries,
        )
        for name, (queries, pins) in pairs.items()
    }
    return {part: _compatible(done, part, seed) for part in PARTS}


def rotation(new: np.ndarray, old: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the orthogonal map R [D, E] with the least ‖new R - old‖ over some rows.

    With newᵀ old = U S Vᵀ it is U Vᵀ; where D and E differ, its rows or columns are orthonormal.

    Args:
        new: float32 [N, D].
        old: float32 [N, E].
        rows: int64, the pins that it is made of.
    """
    left, _, right = np.linalg.svd(cross_products(new[rows], old[rows]), full_matrices=False)
    return (left @ right).astype(np.float32)


def _compatible(done: dict[str, Evaluation], part: str, seed: int) -> dict[str, Any]:
    told: dict[str, Any] = {
        name: measured(_recalls(evaluation, part)[:, None], seed=seed, unit=True)[0]
        for name, evaluation in done.items()
    }
    tests = {
        test.second: test for test in paired_tests(done, base="old", seed=seed) if test.part == part
    }
    better = "new" in tests and tests["new"].p < SURE and tests["new"].difference > 0
    gains = {
        name: tests[name].difference / tests["new"].difference if better else None
        for name in ("new_on_old", "rotated")
        if name in done
    }
    crossed = tests.get("new_on_old")
    out = {
        "new_on_old": None,
        **told,
        "gain": gains.get("new_on_old"),
        "gain_rotated": gains["rotated"],
        "difference": None,
        "compatible": None,
    }
    if "new_on_old" not in done:
        out["reason"] = "the widths differ: new vectors cannot be compared with old ones"
    if crossed is not None:
        ends = None if crossed.ci95 is None else list(crossed.ci95)
        out["difference"] = {"value": crossed.difference, "ci95": ends, "p": crossed.p}
        out["compatible"] = crossed.difference > 0 if crossed.p < SURE else None
    return out


def _recalls(evaluation: Evaluation, part: str) -> np.ndarray:
    return getattr(evaluation, part)["pin_to_pin"].values[:, METRICS.index("recall@10")]
