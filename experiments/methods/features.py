"""Frozen features of content for methods that learn on top: words and pixels, made small."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from scipy import sparse

from pingraph.baselines import shrunken_images
from pingraph.datasets import PinBoardDataset
from pingraph.encoders.lexicon import NONE, read_lexicon
from pingraph.frozen_features import frozen_features
from pingraph.splits import Split
from pingraph.tokenization import encode, train_tokenizer


def content_features(
    dataset: PinBoardDataset,
    split: Split,
    *,
    words: int,
    pixels: int,
    lexicon: str = NONE,
    pretrained: bool = False,
    seed: int,
) -> np.ndarray:
    """Return latent semantic analysis of the texts beside the main components of the pixels.

    TF-IDF and a truncated SVD (Deerwester et al. 1990), and a truncated SVD of shrunken images.
    Both are learned from `split.train_pins` alone. With a lexicon, `lexicon_features` come along.
    Each part has length 1, or 0 where it is missing.

    Args:
        dataset: the data set.
        split: of it.
        words: numbers of the texts, at most, 0 for none; fewer where the training pins have fewer,
            and none where they have one word or less.
        pixels: likewise of the images.
        lexicon: as of `read_lexicon`.
        pretrained: whether the frozen features of `HybridEncoder` come along.
        seed: of the decompositions.

    Returns:
        float32 [N, at most words + pixels, P of a lexicon, and the frozen features].
    """
    parts = []
    if dataset.has_text.any():
        known = [dataset.texts[pin] for pin in split.train_pins]
        if words and any(re.search(r"\w", text) for text in known):
            parts.append(_decomposed(_tf_idf(dataset.texts, known), split, words, seed))
        parts.append(lexicon_features(dataset.texts, known, lexicon))
    if dataset.has_image.any():
        images = shrunken_images(dataset, np.arange(dataset.num_pins))
        parts.append(_decomposed(images, split, pixels, seed))
    if pretrained:
        parts += frozen_features(dataset).values()
    return np.concatenate([np.zeros((dataset.num_pins, 0), np.float32), *parts], axis=1)


def lexicon_features(texts: list[str], known: list[str], lexicon: str) -> np.ndarray:
    """Return the mean of the pretrained vectors of a text's words, by TF-IDF.

    Args:
        texts: N texts, "" for none.
        known: those that inverse document frequencies are counted in.
        lexicon: as of `read_lexicon`.

    Returns:
        float32 [N, P], rows of length 1, or 0 where a text has no word of the lexicon.
    """
    from sklearn.preprocessing import normalize

    found = read_lexicon(lexicon)
    if not found.words:
        return np.zeros((len(texts), 0), np.float32)
    weights = _tf_idf(texts, known, words=found.words)
    return normalize(weights @ found.vectors.astype(np.float32))


def word_parts(texts: list[str], known: list[str], *, words: int) -> sparse.csr_array:
    """Return the words of texts and their parts, by TF-IDF.

    Args:
        texts: N texts, "" for none.
        known: those that words and weights are learned from.
        words: words and parts together, at most, as of `train_tokenizer`.

    Returns:
        float32 [N, words and parts], rows of length 1, or 0 where there is no text.
    """
    from sklearn.feature_extraction.text import TfidfTransformer

    tokenizer = train_tokenizer(known, words)

    def counts(texts: list[str]) -> sparse.csr_array:
        tokens, mask = encode(tokenizer, texts)
        entries = np.ones(mask.sum(), np.float32), (mask.nonzero()[0], tokens[mask])
        return sparse.csr_array(entries, shape=(len(texts), tokenizer.get_vocab_size()))

    return TfidfTransformer(sublinear_tf=True).fit(counts(known)).transform(counts(texts))


def _tf_idf(texts: list[str], known: list[str], words: Sequence[str] | None = None):
    """The words of texts by TF-IDF, learned from the known ones; these words alone, if given."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(
        preprocessor=str.lower,
        lowercase=False,  # what sklearn takes for capitals in given words it warns of
        token_pattern=r"\w+",
        sublinear_tf=True,
        vocabulary=words,
        dtype=np.float32,
    )
    return vectorizer.fit(known).transform(texts)


def _decomposed(rows, split: Split, size: int, seed: int) -> np.ndarray:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.preprocessing import normalize

    train = rows[split.train_pins]
    if min(train.shape) < 2:
        return np.zeros((rows.shape[0], 0), np.float32)
    made = TruncatedSVD(min(size, min(train.shape) - 1), random_state=seed).fit(train)
    return normalize(made.transform(rows)).astype(np.float32)
