"""Says why two pins are near: what vectors and graph say of them, and what was held out."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from pingraph.embeddings import find_rows
from pingraph.errors import PinGraphError
from pingraph.explain.nearest_boards import board_card, nearest_boards
from pingraph.explain.walk_paths import shared_boards, two_step_paths, walks
from pingraph.explain.words import summary

if TYPE_CHECKING:
    from pingraph.datasets import PinBoardDataset
    from pingraph.graph import PinBoardGraph
    from pingraph.interfaces import EmbeddingTable
    from pingraph.splits import Split
    from pingraph.subject import Subject

FORMAT, VERSION = "pingraph.explanation", 1
# The vector of the one pin, and that of the other.
COMPARISONS = (
    ("fused", "fused"),
    ("image", "image"),
    ("text", "text"),
    ("image", "text"),
    ("text", "image"),
)


def explain(
    subject: Subject,
    one_id: str | int,
    other_id: str | int,
    *,
    top: int = 5,
    restart_probability: float = 0.5,
) -> dict[str, Any]:
    """Tell what brings two pins together, as JSON holds it; docs/explain.md says what is in it.

    What is told of the graph is told of the training graph of the subject's split; where edges were
    held out, it is told once more with them, under a name of its own.

    Args:
        subject: the embeddings, with their data and split.
        one_id: the id of a pin.
        other_id: the id of another.
        top: most boards and paths of each list, at least 1.
        restart_probability: of the walks, after each traversal.

    Raises:
        PinGraphError: an id is unknown, or both are of one pin; or a number is out of its range.
    """
    if top < 1:
        raise PinGraphError(f"top is {top}: expected 1 or more")
    dataset, split = subject.dataset, subject.split
    one, other = (int(row) for row in find_rows(dataset, [one_id, other_id]))
    if one == other:
        raise PinGraphError(f"pin {str(one_id)!r} is both of the two: give two different pins")
    whole, train = dataset.graph, subject.training
    views = {"training": train}
    if train.num_edges < whole.num_edges:
        views["with_held_out"] = whole
    ends = one, other
    # Walks wait for memory, and so do products with all vectors: side by side they wait less.
    with ThreadPoolExecutor(len(views)) as pool:
        facts = {
            name: pool.submit(_graph_facts, dataset, graph, train, ends, top, restart_probability)
            for name, graph in views.items()
        }
        similarity = compare_vectors(subject.table, one, other)
        boards = nearest_boards(subject, train, ends, top)
    found = {
        "format": FORMAT,
        "version": VERSION,
        "subject": subject.name,
        "data": dataset.name,
        "split": {"kind": split.kind, "seed": split.seed, **split.parameters},
        "restart_probability": restart_probability,
        "pins": [_card(subject, pin, train, top) for pin in (one, other)],
        "same_image": _alike(dataset.image_groups, one, other),
        "same_text": _alike(dataset.text_groups, one, other),
        "similarity": similarity,
        "graph": {name: told.result() for name, told in facts.items()},
        "nearest_boards": boards,
    }
    return {**found, "summary": summary(found)}


def compare_vectors(
    table: EmbeddingTable, one: int, other: int
) -> dict[str, dict[str, Any] | None]:
    """Return the cosines of two pins' vectors, and the place of each among the neighbors of the
    other.

    Args:
        table: the embeddings.
        one: a pin, dense index.
        other: another pin.

    Returns:
        For each of `COMPARISONS`, under "left_right", of the one pin's `left` vector and the other
        pin's `right` one: "cosine"; "place": of the other pin's vector among all `right` vectors
        but the one pin's own, by their dot product with the one pin's `left` vector, 1 for the
        nearest (of equal ones the first of the data set); and the same from the other side; "of":
        how many are ranked, likewise. None where a vector is missing.
    """
    scores = _scores(table, [one, other])
    found: dict[str, dict[str, Any] | None] = {}
    for left, right in COMPARISONS:
        if not table.present[left][one] or not table.present[right][other]:
            found[f"{left}_{right}"] = None
            continue
        there = _place(table, right, scores[left, right][:, 0], one, other)
        back = _place(table, left, scores[right, left][:, 1], other, one)
        found[f"{left}_{right}"] = {
            "cosine": _cosine(getattr(table, left)[one], getattr(table, right)[other]),
            "place": [there[0], back[0]],
            "of": [there[1], back[1]],
        }
    return found


def _scores(table: EmbeddingTable, ends: list[int]) -> dict[tuple[str, str], np.ndarray]:
    """Return by kind of the asking and of the ranked vectors their dot products, float32 [N, 2].

    All that ask of a kind are multiplied at once: reading the vectors is what takes the time.
    """
    found = {}
    for ranked in ("fused", "image", "text"):
        kinds = [left for left, right in COMPARISONS if right == ranked]
        asking = np.concatenate([getattr(table, kind)[ends] for kind in kinds])
        products = getattr(table, ranked) @ asking.T
        for at, kind in enumerate(kinds):
            found[kind, ranked] = products[:, 2 * at : 2 * at + 2]
    return found


def _place(
    table: EmbeddingTable, kind: str, scores: np.ndarray, asking: int, wanted: int
) -> tuple[int, int]:
    ranked, vectors = table.present[kind].copy(), getattr(table, kind)
    ranked[asking] = False
    # A product may round equal vectors differently, by the place that they stand at.
    like = np.flatnonzero(vectors[:, 0] == vectors[wanted, 0])
    scores[like[(vectors[like] == vectors[wanted]).all(axis=1)]] = scores[wanted]
    ahead = (scores > scores[wanted]) & ranked
    equal = (scores[:wanted] == scores[wanted]) & ranked[:wanted]
    return 1 + int(ahead.sum()) + int(equal.sum()), int(ranked.sum())


def _cosine(left: np.ndarray, right: np.ndarray) -> float:
    left, right = left.astype(np.float64), right.astype(np.float64)
    return float(left @ right / (np.linalg.norm(left) * np.linalg.norm(right)))


def _card(subject: Subject, pin: int, train: PinBoardGraph, top: int) -> dict[str, Any]:
    dataset, table = subject.dataset, subject.table
    trained, degree = int(train.pin_degrees[pin]), int(dataset.graph.pin_degrees[pin])
    boards = dataset.graph.boards_of(pin)
    held_out = ~np.isin(boards, train.boards_of(pin))
    order = np.lexsort((dataset.graph.board_degrees[boards], held_out))[:top]
    return {
        "pin_id": dataset.pin_ids[pin].item(),
        "text": dataset.texts[pin],
        "has_image": bool(dataset.has_image[pin]),
        "has_text": bool(dataset.has_text[pin]),
        "has_vector": bool(table.fused[pin].any()),
        "state": _state(subject.split, dataset.graph, pin, trained),
        "training_edges": trained,
        "held_out_edges": degree - trained,
        "boards": [
            {**board_card(dataset, dataset.graph, boards[at]), "held_out": bool(held_out[at])}
            for at in order
        ],
    }


def _state(split: Split, graph: PinBoardGraph, pin: int, trained: int) -> str:
    if trained:
        return "warm"
    if not graph.pin_degrees[pin]:
        return "on no board"
    return "cold" if pin in split.cold_pins(graph) else "held out, but its image was trained on"


def _alike(groups: np.ndarray, one: int, other: int) -> bool:
    return bool(groups[one] == groups[other] and groups[one] >= 0)


def _graph_facts(
    dataset: PinBoardDataset,
    graph: PinBoardGraph,
    train: PinBoardGraph,
    ends: tuple[int, int],
    top: int,
    restart_probability: float,
) -> dict[str, Any]:
    """Return shared boards, paths and walks of one view of the graph; held-out edges are marked."""

    def held_out(pin: int, board: int) -> bool:
        return board not in train.boards_of(pin)

    shared = shared_boards(graph, *ends)
    return {
        "shared": len(shared),
        "shared_boards": [
            {
                **board_card(dataset, graph, step.board),
                "chance": [restart_probability * chance for chance in step.chance],
                "held_out": [held_out(pin, step.board) for pin in ends],
            }
            for step in shared[:top]
        ],
        "paths": [
            {
                "boards": [board_card(dataset, graph, board) for board in path.boards],
                "pin": {
                    "pin_id": dataset.pin_ids[path.pin].item(),
                    "text": dataset.texts[path.pin],
                },
                "chance": [
                    restart_probability * (1 - restart_probability) * chance
                    for chance in path.chance
                ],
                "held_out": [
                    held_out(ends[0], path.boards[0]),
                    held_out(path.pin, path.boards[0]),
                    held_out(path.pin, path.boards[1]),
                    held_out(ends[1], path.boards[1]),
                ],
            }
            for path in two_step_paths(graph, *ends, top)
        ],
        "walk": [
            {
                "chance": walk.chance,
                "after_one": walk.parts[0],
                "after_two": walk.parts[1],
                "after_more": walk.parts[2],
                "place": walk.place,
                "reached": walk.reached,
            }
            for walk in walks(graph, *ends, restart_probability)
        ],
    }
