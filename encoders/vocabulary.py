"""The tokens of the texts, and a vector of each.

U texts, T tokens, C channels, P numbers of a word of a lexicon.

What training has seen gets a learned vector. Whole words that a lexicon has get its vector too, by
a learned map, so words that training has never seen find their place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pingraph.encoders.hiding import HiddenRows
from pingraph.tokenization import learned_tokens, word_tokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from pingraph.encoders.lexicon import Lexicon


@dataclass(frozen=True, kw_only=True)
class Words:
    """The tokens of some texts, each distinct one of them once: M of them."""

    places: Tensor  # int64 [U, T], which of the distinct tokens
    tokens: Tensor  # int64 [M]
    learned: Tensor  # int64 [M], rows of the learned vectors
    known: Tensor | None  # float16 [M, P], of the lexicon, 0 for other tokens; None without one


class Vocabulary(nn.Module):
    """Knows which tokens training has seen, and which are words of a lexicon.

    Args:
        trained: most tokens that training sees, V.
        lexicon: of L words that are known beside them.
        dropout: share of the tokens that go without their learned vector in training: else pins
            that training has seen are known by their words, by heart.
    """

    rows: Tensor  # int64 [size], of `vectors`, for each token; the last row for those without one
    seen: Tensor  # int64, how many tokens training has seen

    def __init__(self, trained: int, lexicon: Lexicon, dropout: float = 0.0):
        super().__init__()
        self.trained = trained
        self.dropout = dropout
        self.words = lexicon.words
        self.size = trained + len(self.words)
        self.width = lexicon.vectors.shape[1]
        if self.words:
            none = torch.zeros(1, self.width, dtype=torch.float16)
            vectors = torch.cat([torch.from_numpy(lexicon.vectors), none])
            # A parameter, since ranks send each other all buffers before each step.
            self.vectors = nn.Parameter(vectors, requires_grad=False)
            self.register_buffer("rows", torch.full((self.size,), len(self.words)))
            self.register_buffer("seen", torch.tensor(trained))

    def learn(self, tokenizer: Tokenizer) -> None:
        """Note which tokens are words of the lexicon, and which training has seen."""
        if not self.words:
            return
        places = {word: row for row, word in enumerate(self.words)}
        self.seen.fill_(learned_tokens(tokenizer))
        self.rows.fill_(len(places))
        for word, token in word_tokens(tokenizer).items():
            if word in places:
                self.rows[token] = places[word]

    def forward(self, tokens: Tensor) -> Words:
        """Return what is known of tokens int64 [U, T]."""
        tokens, places = tokens.unique(return_inverse=True)
        if not self.words:
            return Words(places=places, tokens=tokens, learned=tokens, known=None)
        return Words(
            places=places,
            tokens=tokens,
            learned=torch.where(tokens < self.seen, tokens, self.trained),
            known=self.vectors[self.rows[tokens]],
        )


class WordVectors(nn.Module):
    """A vector and a weight of each token.

    The weight starts as the logarithm of the token's id, which stands for its inverse document
    frequency: ids go by falling frequency, which by Zipf's law falls as one over its rank.

    Args:
        vocabulary: of the tokens.
        dim: channels C.
    """

    def __init__(self, vocabulary: Vocabulary, dim: int):
        super().__init__()
        self.dropout = HiddenRows(vocabulary.dropout)
        # The last row is of the words that training has not seen, and stays 0.
        self.learned = nn.Embedding(vocabulary.trained + 1, dim, padding_idx=vocabulary.trained)
        self.weights = nn.Embedding(vocabulary.size, 1)
        self.map = nn.Linear(vocabulary.width, dim, bias=False) if vocabulary.width else None
        with torch.no_grad():
            nn.init.normal_(self.learned.weight[:-1], std=0.02)
            self.weights.weight[:, 0] = torch.log1p(torch.arange(vocabulary.size))
            if self.map is not None:
                nn.init.normal_(self.map.weight, std=0.02)

    def forward(self, words: Words) -> Tensor:
        """Return the vector of each token, [U, T, C]."""
        return F.embedding(words.places, self._distinct(words))

    def weigh(self, words: Words, mask: Tensor) -> Tensor:
        """Return the weight of each token, [U, T], above 0; 0 where mask bool [U, T] is false."""
        weights = F.softplus(self.weights(words.tokens))
        return F.embedding(words.places, weights).squeeze(2) * mask

    def sum(self, words: Words, weights: Tensor) -> Tensor:
        """Return the sum of the vectors of each text by weights [U, T], [U, C]."""
        return F.embedding_bag(
            words.places, self._distinct(words), per_sample_weights=weights, mode="sum"
        )

    def _distinct(self, words: Words) -> Tensor:
        """The vectors of the distinct tokens, [M, C]."""
        learned = self.dropout(self.learned(words.learned))
        if self.map is None or words.known is None:
            return learned
        return learned + self.map(words.known.to(learned.dtype))
