"""Sub-word tokens of the pins' texts. U texts, T tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pingraph.errors import PinGraphError
from pingraph.files import atomic_file

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

PADDING, UNKNOWN = "[PAD]", "[UNK]"
PIECES = 400  # parts of words that a trained tokenizer knows, at least, if the texts have them
WORDS_PER_PIECE = 5  # where that gives more parts
_WORD = "word:"  # no part begins so: words are cut before a colon, and behind it
_KNOWN = "known:"  # of a word that the training texts do not have


def train_tokenizer(
    texts: Iterable[str], vocab_size: int, known_words: Sequence[str] = ()
) -> Tokenizer:
    """Train a lower-casing tokenizer of whole words and of their parts.

    Parts are those of WordPiece (arXiv 1609.08144): one for each five distinct words, 400 at least
    and half of the vocabulary at most. Few of them are short, and words that no training text has
    still share some with others. The rest of the vocabulary are the most frequent whole words.
    fastText joins words and parts for the same reason (arXiv 1607.04606).

    The same texts give the same tokenizer. Of characters, the most frequent are known.

    Args:
        texts: the texts that training may see; their order does not matter.
        vocab_size: most tokens it may learn, at least 2; fewer where the texts are few.
        known_words: words, in lower case, that are tokens beside those, seen or not.

    Returns:
        A tokenizer whose token 0 is padding and token 1 stands for characters never seen; the
        others are numbered by how often they occur in the texts, the most frequent first. By itself
        it gives parts; `encode` adds the words, which stand in the vocabulary as "word:clock". The
        known words that it has not learned come last, in their order, as "known:clock"; where the
        texts have no token at all there are none.
    """
    from tokenizers import trainers

    texts = sorted(texts)
    tokenizer = _tokenizer({})
    words = _counted_words(tokenizer, texts)
    pieces = max(2, min(max(PIECES, len(words) // WORDS_PER_PIECE), vocab_size // 2))
    trainer = trainers.WordPieceTrainer(
        vocab_size=pieces,
        min_frequency=2,
        # The trainer numbers the characters in an order of chance, by which ties are decided, and
        # adds as many as there are: here they are given to it, which it takes for special tokens.
        special_tokens=[PADDING, UNKNOWN, *_alphabet(words, (pieces - 2) // 2)],
        limit_alphabet=0,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer = _tokenizer(tokenizer.get_vocab())
    learned = _by_frequency(tokenizer, texts, vocab_size)
    if len(learned) == len((PADDING, UNKNOWN)):
        return _tokenizer(learned)
    more = [_KNOWN + word for word in known_words if _WORD + word not in learned]
    return _tokenizer(learned | {word: len(learned) + place for place, word in enumerate(more)})


def learned_tokens(tokenizer: Tokenizer) -> int:
    """Return how many tokens were learned from texts; those of words known beside them follow."""
    vocabulary = tokenizer.get_vocab()
    return sum(not token.startswith(_KNOWN) for token in vocabulary)


def word_tokens(tokenizer: Tokenizer) -> dict[str, int]:
    """Return the tokens of whole words, by word."""
    return {
        token.removeprefix(prefix): number
        for token, number in tokenizer.get_vocab().items()
        for prefix in (_WORD, _KNOWN)
        if token.startswith(prefix)
    }


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Tokenize texts, cut where the tokenizer cuts them and padded to the longest of them.

    Of a tokenizer that knows whole words, those of a text come first and then its parts, so what a
    long text loses is the parts of its last words.

    Returns:
        Token ids int64 [U, T] and the mask bool [U, T], T at least 1; a row of the mask is false
        where the text holds no token but the special ones that a tokenizer adds to any text.
    """
    cut = (tokenizer.truncation or {}).get("max_length")
    encodings = zip(texts, tokenizer.encode_batch(list(texts)), strict=True)
    ids = [[*_word_ids(tokenizer, text), *_ids(one)][:cut] for text, one in encodings]
    lengths = np.array([len(row) for row in ids], dtype=np.int64)
    mask = np.arange(max(1, lengths.max(initial=0))) < lengths[:, None]
    tokens = np.zeros(mask.shape, dtype=np.int64)
    tokens[mask] = np.concatenate([np.zeros(0, dtype=np.int64), *map(np.asarray, ids)])
    return tokens, mask


def save_tokenizer(tokenizer: Tokenizer, path: str | Path) -> None:
    """Write the tokenizer as JSON, as `tokenizers` and `transformers` read it, atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(tokenizer.to_str(pretty=True), encoding="utf-8")


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Read a tokenizer's JSON.

    Raises:
        PinGraphError: the file is missing or holds no tokenizer.
    """
    from tokenizers import Tokenizer

    path = Path(path)
    if not path.is_file():
        raise PinGraphError(f"{path}: no such file")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception for a damaged file
        raise PinGraphError(f"{path}: not a tokenizer ({error})") from error


def _ids(encoding: Encoding) -> list[int]:
    return encoding.ids if 0 in encoding.special_tokens_mask else []


def _tokenizer(vocabulary: dict[str, int]) -> Tokenizer:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _counted_words(tokenizer: Tokenizer, texts: list[str]) -> Counter[str]:
    words: Counter[str] = Counter()
    for text in texts:
        words.update(_words(tokenizer, text))
    return words


def _alphabet(words: Counter[str], size: int) -> list[str]:
    """The most frequent characters, in order, as they begin words and as they go on in them."""
    counts: Counter[str] = Counter()
    for word, number in words.items():
        counts.update({character: number * word.count(character) for character in set(word)})
    kept = sorted(sorted(counts, key=lambda one: (-counts[one], one))[:size])
    inside = {character for word in words for character in word[1:]}
    return [*kept, *(f"##{character}" for character in kept if character in inside)]


def _by_frequency(tokenizer: Tokenizer, texts: list[str], size: int) -> dict[str, int]:
    """All parts and the most frequent words; a token's id is the rank of its frequency."""
    counts: Counter[str] = Counter()
    for text, encoding in zip(texts, tokenizer.encode_batch(texts), strict=True):
        counts.update([*encoding.tokens, *(_WORD + word for word in _words(tokenizer, text))])

    def ranked(tokens: Iterable[str]) -> list[str]:
        return sorted(tokens, key=lambda token: (-counts[token], token))

    parts = tokenizer.get_vocab().keys()
    words = ranked(counts.keys() - parts)[: size - len(parts)]
    ordered = ranked([*words, *parts - {PADDING, UNKNOWN}])
    return {token: number for number, token in enumerate([PADDING, UNKNOWN, *ordered])}


def _words(tokenizer: Tokenizer, text: str) -> list[str]:
    """The words of a text in order, also those of characters that the tokenizer does not know."""
    if tokenizer.normalizer is None or tokenizer.pre_tokenizer is None:
        return []  # a pretrained one that has no words
    normal = tokenizer.normalizer.normalize_str(text)
    return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal)]


def _word_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return [
        number
        for word in _words(tokenizer, text)
        for prefix in (_WORD, _KNOWN)
        if (number := tokenizer.token_to_id(prefix + word)) is not None
    ]
