"""What can be had for nothing: pins ranked by the words of their text, and by their raw pixels.

A learned embedding that does not beat these has learned little.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from pingraph.datasets import BrokenImageError

if TYPE_CHECKING:
    from pingraph.datasets import PinBoardDataset
    from pingraph.evaluation import Scorer
    from pingraph.splits import Split

SIDE = 16  # pixels of the shrunken image


def baseline_scorers(dataset: PinBoardDataset, split: Split) -> dict[str, dict[str, Scorer]]:
    """Return the baselines that a data set allows, for `evaluate_scorers`, by name.

    "tf_idf" is there when a training pin has a word, "raw_pixels" when a pin has an image. Both
    score pin → pin alone: words and pixels have no common space.

    Raises:
        BrokenImageError: an image cannot be decoded; the message names the pin.
    """
    made = {"tf_idf": tf_idf(dataset, split), "raw_pixels": raw_pixels(dataset)}
    return {name: {"pin_to_pin": scorer} for name, scorer in made.items() if scorer is not None}


def tf_idf(dataset: PinBoardDataset, split: Split) -> Scorer | None:
    """Score by the cosine of TF-IDF vectors of the texts (single words, lower case).

    Words and their weights come from the texts of `split.train_pins` alone, so a word that only
    held-out pins use counts for nothing. Pins without a known word score 0 with everybody.

    Returns:
        A scorer, or None where no training pin has a word.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = dataset.texts
    vectorizer = TfidfVectorizer(token_pattern=r"\w+", dtype=np.float32)
    analyze = vectorizer.build_analyzer()
    if not any(analyze(texts[pin]) for pin in split.train_pins):
        return None
    vectorizer.fit(texts[pin] for pin in split.train_pins)
    vectors = vectorizer.transform(texts).tocsr()
    transposed = vectors.T.tocsr()
    return lambda queries: (vectors[queries] @ transposed).toarray()


def raw_pixels(dataset: PinBoardDataset, *, broken: set[int] | None = None) -> Scorer | None:
    """Score by the correlation of images shrunk to SIDE × SIDE pixels in three colors.

    Pins without an image score 0 with everybody.

    Args:
        dataset: the data set.
        broken: see `shrunken_images`.

    Returns:
        A scorer, or None where no pin has an image.

    Raises:
        BrokenImageError: an image cannot be decoded; the message names the pin.
    """
    if not dataset.has_image.any():
        return None
    vectors = shrunken_images(dataset, np.arange(dataset.num_pins), broken=broken)
    return lambda queries: vectors[queries] @ vectors.T


def shrunken_images(
    dataset: PinBoardDataset, pins: np.ndarray, *, broken: set[int] | None = None
) -> np.ndarray:
    """Return the pixels of SIDE × SIDE images, whose dot products are correlations.

    Args:
        dataset: the data set.
        pins: int64 [n].
        broken: gets the pins whose image is broken, which count as pins without one; where it is
            None, such an image is an error.

    Returns:
        float32 [n, 3 · SIDE²], of mean 0 and length 1; zero for a pin without an image, and for an
        image of one color.

    Raises:
        BrokenImageError: an image cannot be decoded, and `broken` is None.
    """

    def read(pin: int) -> np.ndarray | None:
        try:
            return dataset.pixels(pin, SIDE)
        except BrokenImageError:
            if broken is None:
                raise
            broken.add(pin)
            return None

    vectors = np.zeros((len(pins), 3 * SIDE * SIDE), np.float32)
    with ThreadPoolExecutor() as pool:  # decoding releases the GIL
        for row, pixels in zip(vectors, pool.map(read, pins.tolist()), strict=True):
            if pixels is not None:
                row[:] = pixels.reshape(-1)
    vectors -= vectors.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=vectors, where=lengths > 0)
