"""Answers what the page asks: lists of pins, beside each other, of one or two embeddings."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from pingraph.errors import PinGraphError
from pingraph.explain import explain
from pingraph.explore.cards import SIDES, Cards, png, small_pixels
from pingraph.explore.question import Directory, Question
from pingraph.explore.ranking import Ranking, pin_states, rank_by_vector, rank_by_walks
from pingraph.images import open_image
from pingraph.queries import cannot_search, image_vector, text_vector
from pingraph.samplers import PinSAGESampler
from pingraph.subject import require_alike

if TYPE_CHECKING:
    from pingraph.subject import Subject

# A thousand walks, that shares of visits are steady; k takes all pins that they can visit.
WALKS = PinSAGESampler(k=2000, num_walks=1000, walk_length=2)
_SUGGESTED = 12  # boards that are suggested for words
_KEPT_IMAGES = 100  # images that were searched with, so that Back finds them


@dataclass(frozen=True, kw_only=True)
class Column:
    """A list of pins before any filter: ranked, or why it is not there."""

    title: str
    kind: str  # "embedding", "graph", or "pins" in no order of nearness
    detail: str = ""  # which walks
    run: int | None = None  # of an embedding, its place among the runs
    ranking: Ranking | None = None
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class _KeptImage:
    picture: bytes  # PNG
    found: list[np.ndarray | str]  # of each run its embedding, float32 [D], or why there is none


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
        self.graphs = {"training": self.split.train_graph(whole), "whole": whole}
        self.states = pin_states(self.split, whole)
        self.cards = Cards(dataset=self.dataset, train=self.graphs["training"], states=self.states)
        self.directory = Directory(self.dataset)
        self._present = [np.asarray(subject.table.fused.any(axis=1)) for subject in subjects]
        self._images: OrderedDict[str, _KeptImage] = OrderedDict()

    def warm_up(self) -> None:
        """Compile and fetch what the first answer would else wait for."""
        rank_by_walks(WALKS, self.graphs["training"], 0)
        self._holding("")

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
                for subject, present in zip(self.subjects, self._present, strict=True)
            ],
        }

    def view(self, question: Question) -> dict[str, Any]:
        """Return what is asked about, the lists, and how much they have in common.

        Raises:
            PinGraphError: a pin, a board or an image is not known.
        """
        passing = question.filter.passing(self.dataset.graph, self.states)
        pin = self.directory.find("pin", question.value) if question.kind == "pin" else None
        columns = self._columns(question, pin)
        found = [_first(column, passing, question.k) for column in columns]
        board = question.filter.board
        return {
            "asked": {
                "kind": question.kind,
                "value": question.value,
                "pin": None if pin is None else self.cards.full(pin),
                "board": self.cards.board(self.directory.find("board", question.value))
                if question.kind == "board"
                else None,
            },
            "filter": {
                "passing": int(passing.sum()),
                "board": None if board is None else self.cards.board(board),
            },
            "lists": [
                self._list(columns, place, pins, scores, pin)
                for place, (pins, scores) in enumerate(found)
            ],
            "overlaps": [
                _overlap(found, one, other)
                for one, other in combinations(range(len(columns)), 2)
                if columns[one].ranking and columns[other].ranking
            ],
        }

    def why(self, pin: str, other: str, run: int) -> list[str]:
        """Return sentences on why two pins are near, see `pingraph.explain.explain`."""
        return explain(self.subjects[run], pin, other, top=3)["summary"]

    def boards(self, words: str) -> list[dict[str, Any]]:
        """Return the largest boards whose titles hold all words."""
        held = _holding(words, self._titles)
        degrees = self.dataset.graph.board_degrees[held]
        largest = held[np.argsort(-degrees, kind="stable")[:_SUGGESTED]]
        return [self.cards.board(board) for board in largest.tolist()]

    def keep_image(self, data: bytes) -> str:
        """Embed an encoded image, keep its vectors for questions, and return its key.

        Raises:
            PinGraphError: no run can be searched by image, or it cannot be decoded.
        """
        reasons = [cannot_search(subject, "image") for subject in self.subjects]
        if all(reasons):
            raise PinGraphError("; ".join(filter(None, reasons)))
        found = [
            reason or image_vector(subject, data, "the image")
            for subject, reason in zip(self.subjects, reasons, strict=True)
        ]
        key = hashlib.sha256(data).hexdigest()[:16]
        picture = png(small_pixels(open_image(data), SIDES[-1]))
        self._images[key] = _KeptImage(picture=picture, found=found)
        while len(self._images) > _KEPT_IMAGES:
            self._images.popitem(last=False)
        return key

    def kept_image(self, key: str) -> _KeptImage:
        """Return an image that was searched with; raises PinGraphError where it is not known."""
        if key not in self._images:
            raise PinGraphError("this image is not known any more: give the file once more")
        return self._images[key]

    def _columns(self, question: Question, pin: int | None) -> list[Column]:
        if pin is not None:
            columns = []
            if question.by != "graph":
                columns += [self._near_pin(run, pin) for run in range(len(self.subjects))]
            if question.by != "embedding":
                columns.append(self._by_walks(question.graph, pin))
            return columns
        if question.kind == "text":
            return [
                self._near(run, lambda subject: text_vector(subject, question.value))
                for run in range(len(self.subjects))
            ]
        if question.kind == "image":
            found = self.kept_image(question.value).found
            return [self._near(run, lambda _, one=one: one) for run, one in enumerate(found)]
        return [self._plain(question)]

    def _near_pin(self, run: int, pin: int) -> Column:
        def vector(subject: Subject) -> np.ndarray:
            subject.require_vector(pin)
            return subject.table.fused[pin]

        return self._near(run, vector, own=pin)

    def _near(
        self, run: int, vector: Callable[[Subject], np.ndarray | str], own: int | None = None
    ) -> Column:
        subject = self.subjects[run]
        named = {"title": subject.name, "kind": "embedding", "run": run}
        try:
            query = vector(subject)
        except PinGraphError as error:
            return Column(**named, note=str(error))
        if isinstance(query, str):
            return Column(**named, note=query)
        ranking = rank_by_vector(subject.table.fused, self._present[run], query, own)
        return Column(**named, ranking=ranking)

    def _by_walks(self, name: str, pin: int) -> Column:
        where = "the graph" if self.split.kind == "none" else f"the {name} graph"
        ranking = rank_by_walks(WALKS, self.graphs[name], pin)
        return Column(
            title="walks",
            kind="graph",
            detail=f"{WALKS.num_walks:,} walks on {where}",
            ranking=ranking,
            note=None
            if len(ranking.pins)
            else f"No walk on {where} leads from here to another pin.",
        )

    def _plain(self, question: Question) -> Column:
        count = self.dataset.num_pins
        if question.kind == "words":
            title, pins = "pins that hold the words", self._holding(question.value)
        elif question.kind == "board":
            board = self.directory.find("board", question.value)
            title, pins = "pins of the board", self.dataset.graph.pins_of(board)
        else:
            title, pins = "some pins", np.random.default_rng(0).permutation(count)
        ranking = Ranking.of(pins, np.zeros(len(pins), np.float32), count)
        return Column(title=title, kind="pins", ranking=ranking)

    def _list(
        self,
        columns: list[Column],
        place: int,
        pins: np.ndarray,
        scores: np.ndarray,
        asking: int | None,
    ) -> dict[str, Any]:
        column = columns[place]
        ranking = column.ranking
        note = column.note
        if note is None and not len(pins):
            note = "No pin passes the filters." if ranking and len(ranking.pins) else "None found."
        return {
            "title": column.title,
            "kind": column.kind,
            "detail": column.detail,
            "run": column.run,
            "note": note,
            "ranked": len(ranking.pins) if ranking else 0,
            "pins": [
                {
                    **self.cards.short(pin),
                    "rank": int(ranking.places[pin]),
                    "score": score,
                    "shared": None if asking is None else self.cards.shared(asking, pin),
                    "elsewhere": _elsewhere(columns, place, pin),
                }
                for pin, score in zip(pins.tolist(), scores.tolist(), strict=True)
            ]
            if ranking
            else [],
        }

    def _holding(self, words: str) -> np.ndarray:
        """Return the pin of this id, if there is one, and then the pins that hold all words."""
        held = _holding(words, self._texts)
        try:
            own = self.directory.find("pin", words.strip())
        except PinGraphError:
            return held
        return np.append(own, held[held != own])

    @cached_property
    def _texts(self) -> list[str]:
        return [text.casefold() for text in self.dataset.texts]

    @cached_property
    def _titles(self) -> list[str]:
        return [title.casefold() for title in self.dataset.board_titles]


def _first(column: Column, passing: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    if column.ranking is None:
        return np.zeros(0, np.int64), np.zeros(0, np.float32)
    return column.ranking.first(passing, k)


def _elsewhere(columns: list[Column], place: int, pin: int) -> list[dict[str, Any]]:
    """Return the rank of a pin in the other lists, None where it is not in one."""
    return [
        {"list": other, "rank": int(column.ranking.places[pin]) or None}
        for other, column in enumerate(columns)
        if other != place and column.ranking
    ]


def _overlap(
    found: list[tuple[np.ndarray, np.ndarray]], one: int, other: int
) -> dict[str, list[int] | int]:
    """Return how many pins two lists share, of how many that they could."""
    first, second = found[one][0], found[other][0]
    return {
        "lists": [one, other],
        "shared": len(np.intersect1d(first, second)),
        "of": min(len(first), len(second)),
    }


def _holding(words: str, texts: list[str]) -> np.ndarray:
    """Return the places of the texts that hold all words, int64."""
    held: Iterable[int] = range(len(texts))
    for word in words.casefold().split():
        held = [at for at in held if word in texts[at]]
    return np.fromiter(held, np.int64)
