"""What content tells without any training: pins by the words of their text and by raw pixels."""

from __future__ import annotations

from collections.abc import Mapping

from pingraph.baselines import raw_pixels, tf_idf
from pingraph.datasets import PinBoardDataset
from pingraph.ranking import Scorer
from pingraph.splits import Split


class TfIdf:
    """Cosine of TF-IDF vectors (Spärck Jones 1972), see `pingraph.baselines.tf_idf`."""

    def scorers(self, dataset: PinBoardDataset, split: Split, *, seed: int) -> Mapping[str, Scorer]:
        """Return a scorer of "pin_to_pin"; nothing where no training pin has a word."""
        return _of_pins(tf_idf(dataset, split))


class RawPixels:
    """Correlation of shrunken images, see `pingraph.baselines.raw_pixels`."""

    def scorers(self, dataset: PinBoardDataset, split: Split, *, seed: int) -> Mapping[str, Scorer]:
        """Return a scorer of "pin_to_pin"; nothing where no pin has an image."""
        return _of_pins(raw_pixels(dataset))


class TfIdfAndPixels:
    """The sum of both: CombSUM of Fox and Shaw (TREC-2, 1994), as both are between -1 and 1.

    Args:
        text_weight: of the words, between 0 and 1; the pixels have the rest.
    """

    def __init__(self, text_weight: float = 0.5):
        self.text_weight = text_weight

    def scorers(self, dataset: PinBoardDataset, split: Split, *, seed: int) -> Mapping[str, Scorer]:
        """Return a scorer of "pin_to_pin"; of one of them where the data lacks the other."""
        words, pixels = tf_idf(dataset, split), raw_pixels(dataset)
        if words is None or pixels is None:
            return _of_pins(words or pixels)
        weight = self.text_weight
        return _of_pins(lambda pins: weight * words(pins) + (1 - weight) * pixels(pins))


def _of_pins(scorer: Scorer | None) -> dict[str, Scorer]:
    return {} if scorer is None else {"pin_to_pin": scorer}
