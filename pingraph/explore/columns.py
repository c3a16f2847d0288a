"""The lists that answer a question, whole and before any filter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pingraph.errors import PinGraphError
from pingraph.explore.ranking import Ranking, rank_by_vector, rank_by_walks
from pingraph.queries import cannot_search, text_vector
from pingraph.samplers import PinSAGESampler

if TYPE_CHECKING:
    from pingraph.explore.given_images import GivenImages
    from pingraph.explore.question import Directory, Question
    from pingraph.graph import PinBoardGraph
    from pingraph.subject import Subject

# A thousand walks, that shares of visits are steady; k takes all pins that they can visit.
WALKS = PinSAGESampler(k=2000, num_walks=1000, walk_length=2)


@dataclass(frozen=True, kw_only=True)
class Column:
    """A list of pins, ranked."""

    title: str
    kind: str  # "embedding", "graph", or "pins" in no order of nearness
    ranking: Ranking
    run: int | None = None  # of an embedding, its place among the runs
    detail: str = ""  # which walks
    note: str | None = None  # why it is empty


class Columns:
    """Makes the lists.

    Args:
        subjects: the embeddings, of one data set and split.
        graphs: the graphs that can be walked on, by name.
        directory: finds pins and boards by id.
        images: those that can be searched with.
    """

    def __init__(
        self,
        subjects: Sequence[Subject],
        graphs: dict[str, PinBoardGraph],
        directory: Directory,
        images: GivenImages,
    ):
        self.subjects, self.graphs, self.images = subjects, graphs, images
        self.directory = directory
        self.dataset = subjects[0].dataset
        self.present = [subject.table.present["fused"] for subject in subjects]
        self.texts = WordIndex(self.dataset.texts)
        self.by_walks("training", 0)  # compiles what the first answer would else wait for

    def answering(self, question: Question, pin: int | None) -> list[Column]:
        """Return the lists that answer a question.

        Args:
            question: what is asked.
            pin: the pin (dense index) that it is about, None where it is about none.

        Raises:
            PinGraphError: a board or an image is not known.
        """
        runs = range(len(self.subjects))
        if pin is not None:
            near = [] if question.by == "graph" else [self._near_pin(run, pin) for run in runs]
            walked = [] if question.by == "embedding" else [self.by_walks(question.graph, pin)]
            return near + walked
        if question.kind == "text":
            return [self._near_text(run, question.value) for run in runs]
        if question.kind == "image":
            vectors = self.images[question.value].vectors
            return [
                self._near(run, vectors[run], cannot_search(self.subjects[run], "image"))
                for run in runs
            ]
        return [self._found(question)]

    def by_walks(self, name: str, pin: int) -> Column:
        """Return the pins that walks from a pin visit, on the graph of that name."""
        split = self.subjects[0].split
        where = "the graph" if split.kind == "none" else f"the {name} graph"
        ranking = rank_by_walks(WALKS, self.graphs[name], pin)
        alone = f"No walk on {where} leads from here to another pin."
        return Column(
            title="walks",
            kind="graph",
            ranking=ranking,
            detail=f"{WALKS.num_walks:,} walks on {where}",
            note=None if len(ranking.pins) else alone,
        )

    def _near_pin(self, run: int, pin: int) -> Column:
        subject = self.subjects[run]
        if not self.present[run][pin]:
            shown = self.dataset.pin_ids[pin].item()
            return self._near(run, None, f"Pin {shown!r} has no vector in {subject.name}.")
        return self._near(run, subject.table.fused[pin], own=pin)

    def _near_text(self, run: int, text: str) -> Column:
        try:
            return self._near(run, text_vector(self.subjects[run], text))
        except PinGraphError as error:
            return self._near(run, None, str(error))

    def _near(
        self, run: int, query: np.ndarray | None, note: str | None = None, own: int | None = None
    ) -> Column:
        """Return the pins nearest to a vector; without one an empty list, with a note on why."""
        subject, count = self.subjects[run], self.dataset.num_pins
        ranking = (
            Ranking.of(np.zeros(0, np.int64), np.zeros(0, np.float32), count)
            if query is None
            else rank_by_vector(subject.table.fused, self.present[run], query, own)
        )
        return Column(title=subject.name, kind="embedding", ranking=ranking, run=run, note=note)

    def _found(self, question: Question) -> Column:
        """Return pins that are not ranked: those with some words, those of a board, or any."""
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

    def _holding(self, words: str) -> np.ndarray:
        """Return the pin of this id, if there is one, and then the pins that hold all words."""
        held = self.texts.holding(words)
        try:
            own = self.directory.find("pin", words.strip())
        except PinGraphError:
            return held
        return np.append(own, held[held != own])


class WordIndex:
    """Finds the texts that hold words, in capitals or not.

    Args:
        texts: the texts.
    """

    def __init__(self, texts: list[str]):
        self._texts = [text.casefold() for text in texts]

    def holding(self, words: str) -> np.ndarray:
        """Return the places of the texts that hold all words, ascending, int64."""
        held = list(range(len(self._texts)))
        for word in words.casefold().split():
            held = [place for place in held if word in self._texts[place]]
        return np.array(held, np.int64)
