"""Answers what the page asks, as JSON holds it: of one or two embeddings, and of the graph."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from pingraph.explain import explain
from pingraph.explore.cards import Cards
from pingraph.explore.columns import Column, Columns, WordIndex
from pingraph.explore.given_images import GivenImages
from pingraph.explore.question import Directory, Question
from pingraph.explore.ranking import pin_states
from pingraph.queries import cannot_search, get_ready
from pingraph.subject import require_alike

if TYPE_CHECKING:
    from pingraph.subject import Subject

_SUGGESTED = 12  # boards that are suggested for words


class Explorer:
    """One or two embeddings of one data set, and its graph.

    Args:
        subjects: the embeddings, each under a name of its own.

    Raises:
        PinGraphError: they are of different data sets, or their splits differ.
    """

    def __init__(self, subjects: Sequence[Subject]):
        require_alike(subjects)
        self.subjects = subjects
        self.dataset, self.split = subjects[0].dataset, subjects[0].split
        whole = self.dataset.graph
        train = subjects[0].training
        self.states = pin_states(self.split, whole)
        self.cards = Cards(dataset=self.dataset, train=train, states=self.states)
        self.directory = Directory(self.dataset)
        self.images = GivenImages(subjects)
        graphs = {"training": train, "whole": whole}
        self.columns = Columns(subjects, graphs, self.directory, self.images)
        self._titles = WordIndex(self.dataset.board_titles)
        # What each answer rests on is found once, and now: the first who asks need not wait for it.
        for subject in subjects:
            get_ready(subject)
        if self.dataset.num_pins > 1:
            first, second = self.dataset.pin_ids[:2].tolist()
            for run in range(len(subjects)):
                self.why(first, second, run)

    def about(self) -> dict[str, Any]:
        """Return what is known before anything is asked."""
        graph, split = self.dataset.graph, self.split
        return {
            "data": {
                "name": self.dataset.name,
                "pins": graph.num_pins,
                "boards": graph.num_boards,
                "edges": graph.num_edges,
                "fingerprint": self.dataset.fingerprint,
            },
            "split": {"kind": split.kind, "held_out": int((~split.train_edges).sum())},
            "states": np.bincount(self.states, minlength=4).tolist(),
            "runs": [
                {
                    "name": subject.name,
                    "dimensions": subject.table.fused.shape[1],
                    "without_vector": int((~present).sum()),
                    "notes": list(subject.notes),
                    "no_text": cannot_search(subject, "text"),
                    "no_image": cannot_search(subject, "image"),
                }
                for subject, present in zip(self.subjects, self.columns.present, strict=True)
            ],
        }

    def view(self, question: Question) -> dict[str, Any]:
        """Return what is asked about, the lists, and how much they have in common.

        Raises:
            PinGraphError: a pin, a board or an image is not known.
        """
        passing = question.filter.passing(self.dataset.graph, self.states)
        pin = self.directory.find("pin", question.value) if question.kind == "pin" else None
        columns = self.columns.answering(question, pin)
        found = [column.ranking.first(passing, question.k) for column in columns]
        return {
            "asked": self._asked(question, pin),
            "filter": {
                "passing": int(passing.sum()),
                "board": _optional(self.cards.board, question.filter.board),
            },
            "lists": [
                self._list(columns, place, found[place], pin) for place in range(len(columns))
            ],
            "overlaps": [
                {
                    "lists": [one, other],
                    "shared": len(np.intersect1d(found[one], found[other])),
                    "of": min(len(found[one]), len(found[other])),
                }
                for one, other in combinations(range(len(columns)), 2)
            ],
        }

    def why(self, pin: str | int, other: str | int, run: int) -> list[str]:
        """Return sentences on why two pins are near, see `pingraph.explain.explain`."""
        return explain(self.subjects[run], pin, other, top=3)["summary"]

    def boards(self, words: str) -> list[dict[str, Any]]:
        """Return the largest boards whose titles hold all words."""
        held = self._titles.holding(words)
        degrees = self.dataset.graph.board_degrees[held]
        largest = held[np.argsort(-degrees, kind="stable")[:_SUGGESTED]]
        return [self.cards.board(board) for board in largest.tolist()]

    def _asked(self, question: Question, pin: int | None) -> dict[str, Any]:
        board = None
        if question.kind == "board":
            board = self.directory.find("board", question.value)
        return {
            "kind": question.kind,
            "value": question.value,
            "pin": _optional(self.cards.full, pin),
            "board": _optional(self.cards.board, board),
        }

    def _list(
        self, columns: list[Column], place: int, pins: np.ndarray, asking: int | None
    ) -> dict[str, Any]:
        """Return a list as the page shows it.

        Args:
            columns: all lists.
            place: which of them.
            pins: those of it that are shown.
            asking: the pin whose neighbors they are.
        """
        column = columns[place]
        ranking, note = column.ranking, column.note
        if note is None and not len(pins):
            note = "No pin passes the filters." if len(ranking.pins) else "None found."
        return {
            "title": column.title,
            "kind": column.kind,
            "detail": column.detail,
            "run": column.run,
            "note": note,
            "ranked": len(ranking.pins),
            "pins": [
                {
                    **self.cards.short(pin),
                    "rank": int(ranking.places[pin]),
                    "score": float(ranking.scores[ranking.places[pin] - 1]),
                    "shared": None if asking is None else self.cards.shared(asking, pin),
                    "elsewhere": _elsewhere(columns, place, pin),
                }
                for pin in pins.tolist()
            ],
        }


def _elsewhere(columns: list[Column], place: int, pin: int) -> list[dict[str, Any]]:
    """Return the rank of a pin in the other lists that there are, None where it is not in one."""
    return [
        {"list": other, "rank": int(column.ranking.places[pin]) or None}
        for other, column in enumerate(columns)
        if other != place and len(column.ranking.pins)
    ]


def _optional(make: Any, index: int | None) -> dict[str, Any] | None:
    return None if index is None else make(index)
