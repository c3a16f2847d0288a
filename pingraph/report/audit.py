"""The leak audit of a split: what the leak guard proves, and what no split can forbid.

The guard of `pingraph.leaks` knows edges, pins and images that are the same to the byte. A held-out
answer may still be given away by content: the same text, nearly the same picture, or the title of
the board in the text of the pin. Those are counted here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pingraph.baselines import SIDE, shrunken_images
from pingraph.errors import PinGraphError
from pingraph.ranking import draw_queries
from pingraph.relevance import leaves_out_known
from pingraph.report.measures import words_of

if TYPE_CHECKING:
    from pingraph.datasets import PinBoardDataset
    from pingraph.splits import Split

NEAR = 0.98  # correlation of shrunken images from which two are nearly the same
_DRAWN = 2000  # cold pins whose images are compared at most
_BLOCK = 256
WARN = 0.05  # share from which a leak through content is worth a warning


def audit(dataset: PinBoardDataset, split: Split, *, seed: int = 0) -> dict[str, Any]:
    """Return the counts of a split, and its checks.

    Args:
        dataset: the data set.
        split: of it.
        seed: of the cold pins that are drawn, where the images of all would take too long.

    Returns:
        "counts": by name; "checks": dicts of "name", "verdict" ("pass", "warn", "fail" or
        "none" where there is nothing to check), "found", "of" and "means" (a sentence).
    """
    graph = dataset.graph
    cold, trained = split.cold_pins(graph), split.train_pins
    counts = {
        "pins": graph.num_pins,
        "pins_cold": len(cold),
        "pins_warm": len(split.warm_pins(graph)),
        "pins_without_edge": int((graph.pin_degrees == 0).sum()),
        "edges": graph.num_edges,
        "edges_training": int(split.train_edges.sum()),
        "edges_held_out": int((~split.train_edges).sum()),
    }
    checks = [
        _guard(dataset, split),
        _same_texts(dataset, cold, trained),
        _near_images(dataset, cold, trained, seed),
        _told_titles(dataset, split),
    ]
    return {"counts": counts, "checks": checks}


def _guard(dataset: PinBoardDataset, split: Split) -> dict[str, Any]:
    try:
        split.check_leaks(dataset)
    except PinGraphError as error:
        return _check("leak guard", "fail", 1, None, str(error))
    if split.kind == "none":
        return _check("leak guard", "none", 0, None, "Nothing is held out that could leak.")
    twins = "no image (to the byte) is on both sides"
    if leaves_out_known(split.kind):
        twins = "of one image (to the byte) to one board, all edges are on the same side"
    means = (
        f"No held-out edge is in the training graph; no held-out pin has a training edge; {twins}."
    )
    return _check("leak guard", "pass", 0, None, means)


def _same_texts(dataset: PinBoardDataset, cold: np.ndarray, trained: np.ndarray) -> dict[str, Any]:
    groups = dataset.text_groups
    asked = cold[groups[cold] >= 0]
    found = int(np.isin(groups[asked], groups[trained]).sum())
    means = "Cold pins whose text is, to the letter, that of a pin in training."
    return _graded("same text", found, len(asked), means)


def _near_images(
    dataset: PinBoardDataset, cold: np.ndarray, trained: np.ndarray, seed: int
) -> dict[str, Any]:
    cold, trained = cold[dataset.has_image[cold]], trained[dataset.has_image[trained]]
    cold = draw_queries(cold, _DRAWN, seed)
    found, broken = 0, set[int]()
    if len(cold) and len(trained):
        known = shrunken_images(dataset, trained, broken=set())
        for start in range(0, len(cold), _BLOCK):
            block = shrunken_images(dataset, cold[start : start + _BLOCK], broken=broken)
            found += int(((block @ known.T).max(axis=1) >= NEAR).sum())
    means = (
        f"Cold pins whose image, shrunk to {SIDE} by {SIDE} pixels, correlates to "
        f"{NEAR} or more with that of a pin in training."
    )
    return _graded("nearly the same image", found, len(cold) - len(broken), means)


def _told_titles(dataset: PinBoardDataset, split: Split) -> dict[str, Any]:
    titles = [words_of(title) for title in dataset.board_titles]
    pins, boards = (ends[~split.train_edges] for ends in dataset.graph.edges())
    asked = dataset.has_text[pins] & np.array([bool(titles[board]) for board in boards], bool)
    texts: dict[int, set[str]] = {}
    found = 0
    for pin, board in zip(pins[asked].tolist(), boards[asked].tolist(), strict=True):
        if pin not in texts:
            texts[pin] = words_of(dataset.texts[pin])
        found += titles[board] <= texts[pin]
    means = "Held-out edges where the pin's text has every word of the board's title."
    return _graded("title in the text", found, int(asked.sum()), means)


def _graded(name: str, found: int, of: int, means: str) -> dict[str, Any]:
    verdict = "none" if not of else "warn" if found >= WARN * of and found else "pass"
    return _check(name, verdict, found, of, means)


def _check(name: str, verdict: str, found: int, of: int | None, means: str) -> dict[str, Any]:
    return {"name": name, "verdict": verdict, "found": found, "of": of, "means": means}
