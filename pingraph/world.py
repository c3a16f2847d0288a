"""Synthetic pin-board worlds with known truth: what boards know and content hides is a knob."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from pingraph.datasets import write_dataset
from pingraph.errors import PinGraphError
from pingraph.scenes import NUM_LOOKS, VOCABULARY, draw_picture, invent_words, write_phrase

START = 1_735_689_600  # 2025-01-01 UTC, in seconds
YEAR = 365 * 24 * 3600
_SHARES = (
    "image_noise",
    "text_noise",
    "board_noise",
    "repin_share",
    "fresh_share",
    "missing_text",
    "missing_image",
)


@dataclass(frozen=True, kw_only=True)
class World:
    """A recipe for a data set; one recipe gives one data set.

    Every pin has a topic and, within it, a look. A topic's looks share nothing that can be seen or
    read, only boards: with several looks the graph knows what content hides. A look fixes a shape,
    a hue and a texture, and a vocabulary. Each knob draws from a random stream of its own, so
    turning one leaves what the others decide as it was.

    Args:
        num_pins: how many pins, in the order in which they are made.
        num_boards: how many boards; a board is about one topic.
        num_topics: how many topics.
        looks: looks of each topic; 1 makes topics visible, more hide them from all but boards.
        saves_per_pin: saves of the pins that are not fresh, on average, before saves that find no
            board left are dropped.
        image_noise: share of pins whose image shows a look of another topic.
        text_noise: share of pins whose text speaks of another topic.
        board_noise: share of saves that go to a board without regard to its topic; at 1 the graph
            knows nothing.
        popularity_skew: exponent of the power law of the popularity of pins and of boards; 0 makes
            all equally popular.
        repin_share: share of pins that show an earlier pin's image to the byte, under words of
            their own.
        fresh_share: share of pins, the youngest, that nobody has saved yet.
        missing_text: share of pins without text.
        missing_image: share of pins without image; no pin lacks both.
        image_size: pixels of a side.
        seed: the random seed.

    Raises:
        PinGraphError: a knob is out of range, or shares exclude each other.
    """

    num_pins: int = 2000
    num_boards: int = 400
    num_topics: int = 16
    looks: int = 3
    saves_per_pin: float = 6.0
    image_noise: float = 0.1
    text_noise: float = 0.1
    board_noise: float = 0.1
    popularity_skew: float = 0.8
    repin_share: float = 0.1
    fresh_share: float = 0.05
    missing_text: float = 0.1
    missing_image: float = 0.05
    image_size: int = 32
    seed: int = 0

    def __post_init__(self):
        for name in _SHARES:
            self._require(0 <= getattr(self, name) <= 1, name, "a share between 0 and 1")
        for name in ("num_pins", "num_topics", "looks", "image_size"):
            self._require(getattr(self, name) >= 1, name, "1 or more")
        fewest = f"num_topics ({self.num_topics}) or more"
        self._require(self.num_boards >= self.num_topics, "num_boards", fewest)
        self._require(self.saves_per_pin >= 1, "saves_per_pin", "1 or more")
        self._require(0 <= self.popularity_skew < np.inf, "popularity_skew", "0 or more")
        self._require(self.seed >= 0, "seed", "0 or more")
        most = f"{NUM_LOOKS} / num_topics ({self.num_topics}) at most"
        self._require(self.num_topics * self.looks <= NUM_LOOKS, "looks", most)
        self._require(self._count(self.fresh_share) < self.num_pins, "fresh_share", "less")
        missing = self.missing_text + self.missing_image
        self._require(missing <= 1, "missing_text", "no more than 1 - missing_image")
        pictured = self.num_pins - self._count(self.missing_image)
        repins = self._count(self.repin_share)
        self._require(repins < max(pictured, 1), "repin_share", "less than 1 - missing_image")
        noisy = self.image_noise + self.text_noise > 0
        self._require(self.num_topics > 1 or not noisy, "num_topics", "2 or more, with noise")

    def write(self, folder: str | Path) -> None:
        """Write the world as a data set folder.

        The truth stands in further columns. pins.parquet: topic, look, image_topic, image_look,
        text_topic, text_look, created (seconds), repin_of (pin_id or null). boards.parquet: topic.

        Raises:
            PinGraphError: the folder exists and is not empty, or cannot be written.
        """
        truth, board_topics = self._truth(), self._board_topics()
        rng = self._stream("words")
        words = invent_words(self.num_topics * (self.looks * VOCABULARY + 1), rng)
        names, spoken = words[: self.num_topics], np.array(words[self.num_topics :])
        vocabularies = spoken.reshape(self.num_topics, self.looks, VOCABULARY).tolist()
        images, texts = self._images(truth), self._texts(truth, vocabularies)
        titles = [f"{names[topic]} {place}" for place, topic in enumerate(board_topics, 1)]
        pins = pa.table(
            {**truth, "image": pa.array(images, pa.binary()), "text": pa.array(texts, pa.string())}
        )
        boards = {"board_id": np.arange(self.num_boards), "title": titles, "topic": board_topics}
        recipe = {"pingraph.world": json.dumps(dataclasses.asdict(self))}
        write_dataset(
            folder,
            pins=pins.replace_schema_metadata(recipe),
            boards=pa.table(boards),
            edges=pa.table(self._saves(truth, board_topics)),
        )

    def _truth(self) -> dict[str, np.ndarray | pa.Array]:
        ids, rng, origin = np.arange(self.num_pins), self._stream("pins"), self._origins()
        topic = rng.integers(self.num_topics, size=self.num_pins)[origin]
        look = rng.integers(self.looks, size=self.num_pins)[origin]
        image_topic, image_look = self._shown("image", topic, look)
        text_topic, text_look = self._shown("text", topic, look)
        return {
            "pin_id": ids,
            "topic": topic,
            "look": look,
            "image_topic": image_topic[origin],
            "image_look": image_look[origin],
            "text_topic": text_topic,
            "text_look": text_look,
            "created": START + ids * YEAR // self.num_pins,
            "repin_of": pa.array(origin, mask=origin == ids),
        }

    def _shown(self, kind: str, topic: np.ndarray, look: np.ndarray):
        """Return the topics and looks that images or texts show: the pin's own, or another's."""
        rng, n = self._stream(kind), self.num_pins
        noisy = np.zeros(n, bool)
        noisy[rng.permutation(n)[: self._count(getattr(self, f"{kind}_noise"))]] = True
        other_topic = (topic + rng.integers(1, max(self.num_topics, 2), size=n)) % self.num_topics
        other_look = rng.integers(self.looks, size=n)
        return np.where(noisy, other_topic, topic), np.where(noisy, other_look, look)

    def _lacking(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the pins without image and those without text; no pin is in both."""
        order = self._stream("missing").permutation(self.num_pins)
        texts = self._count(self.missing_text)
        return order[: self._count(self.missing_image)], order[self.num_pins - texts :]

    def _origins(self) -> np.ndarray:
        """Return for each pin the pin whose image it shows: an earlier one, or itself."""
        rng, origin = self._stream("repins"), np.arange(self.num_pins)
        pictured = np.setdiff1d(origin, self._lacking()[0])
        repins = rng.permutation(pictured[1:])[: self._count(self.repin_share)]
        originals = np.setdiff1d(pictured, repins)
        earlier = np.searchsorted(originals, repins)
        place = rng.uniform(size=len(repins)) ** 2 * earlier  # old pictures are repinned more
        origin[repins] = originals[place.astype(np.int64)]
        return origin

    def _images(self, truth: dict) -> list[bytes | None]:
        from PIL import Image

        from pingraph.images import encode_png

        codes = self._stream("looks").permutation(NUM_LOOKS)
        codes = codes[truth["image_topic"] * self.looks + truth["image_look"]]
        images: list[bytes | None] = []
        for pin, origin in enumerate(self._origins()):
            if origin == pin:
                rng = self._stream("pictures", pin)
                picture = draw_picture(int(codes[pin]), self.image_size, rng)
                images.append(encode_png(Image.fromarray(picture)))
            else:
                images.append(images[origin])
        for pin in self._lacking()[0]:
            images[pin] = None
        return images

    def _texts(self, truth: dict, vocabularies: list[list[list[str]]]) -> list[str | None]:
        spoken = zip(truth["text_topic"], truth["text_look"], strict=True)
        texts: list[str | None] = [
            write_phrase(vocabularies[topic][look], self._stream("phrases", pin))
            for pin, (topic, look) in enumerate(spoken)
        ]
        for pin in self._lacking()[1]:
            texts[pin] = None
        return texts

    def _board_topics(self) -> np.ndarray:
        return self._stream("boards").permutation(np.arange(self.num_boards) % self.num_topics)

    def _saves(self, truth: dict, board_topics: np.ndarray) -> dict[str, np.ndarray]:
        """Draw pin, board and time of each save; every pin that is not fresh has at least one."""
        rng = self._stream("saves")
        saved = self.num_pins - self._count(self.fresh_share)
        more = rng.choice(
            saved, size=round(saved * (self.saves_per_pin - 1)), p=self._popularity(saved, rng)
        )
        pins = np.concatenate([np.arange(saved), more])
        boards = self._draw_boards(pins, truth["topic"][pins], board_topics, rng)
        pins, boards = pins[boards >= 0], boards[boards >= 0]
        created, end = truth["created"][pins], START + YEAR
        times = created + (rng.uniform(size=len(pins)) * (end - created)).astype(np.int64)
        return {"pin_id": pins, "board_id": boards, "time": times}

    def _draw_boards(
        self, pins: np.ndarray, topics: np.ndarray, board_topics: np.ndarray, rng
    ) -> np.ndarray:
        """Draw a board for each save by popularity, no board twice for a pin; -1: none was found.

        With the boards laid end to end by topic, each as long as it is popular, a save falls
        anywhere in its topic's stretch, or anywhere at all where it goes astray.
        """
        order = np.argsort(board_topics, kind="stable")
        ends = np.cumsum(self._popularity(self.num_boards, rng)[order])
        first = np.searchsorted(board_topics[order], np.arange(self.num_topics + 1))
        bounds = np.concatenate([[0], ends])[first]
        astray = rng.uniform(size=len(pins)) < self.board_noise
        low = np.where(astray, 0, bounds[topics])
        high = np.where(astray, ends[-1], bounds[topics + 1])
        boards, again = np.empty(len(pins), np.int64), np.arange(len(pins))
        for _ in range(20):
            place = rng.uniform(low[again], high[again])
            boards[again] = order[np.searchsorted(ends[:-1], place, side="right")]
            first = np.unique(pins * self.num_boards + boards, return_index=True)[1]
            again = np.setdiff1d(np.arange(len(pins)), first)
        boards[again] = -1
        return boards

    def _popularity(self, count: int, rng: np.random.Generator) -> np.ndarray:
        weights = (1.0 + rng.permutation(count)) ** -self.popularity_skew
        return weights / weights.sum()

    def _count(self, share: float) -> int:
        return round(share * self.num_pins)

    def _stream(self, *key: str | int) -> np.random.Generator:
        """Return the random stream of one purpose, and of one pin where it is a pin's."""
        words = [int.from_bytes(str(part).encode(), "little") for part in key]
        return np.random.default_rng([self.seed, *words])

    def _require(self, holds: bool, name: str, expected: str) -> None:
        if not holds:
            raise PinGraphError(f"world: {name} is {getattr(self, name)}, expected {expected}")
