"""The text tower: a small transformer over words and their parts. U texts, T tokens, C channels."""

import torch
from torch import Tensor, nn

from pingraph.encoders.layers import Block
from pingraph.encoders.vocabulary import Vocabulary, Words, WordVectors
from pingraph.interfaces import Tokens


class TextTransformer(nn.Module):
    """Turns words into contextual tokens and a bag of words.

    The bag is a weighted mean of the input vectors, which learns from few texts what the blocks
    need many for (fastText, arXiv 1607.01759).

    Args:
        vocabulary: of the tokens.
        max_tokens: longest text T, in tokens; longer ones are cut by the tokenizer.
        dim: channels C of the tokens.
        depth: transformer blocks.
        heads: attention heads of a block.
        dropout: share of activations dropped in training.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        max_tokens: int,
        dim: int,
        depth: int,
        heads: int,
        dropout: float,
    ):
        super().__init__()
        self.words = WordVectors(vocabulary, dim)
        self.positions = nn.Parameter(torch.randn(1, max_tokens, dim) * 0.02)
        self.blocks = nn.ModuleList(Block(dim, heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.norm_bag = nn.LayerNorm(dim)

    def forward(self, words: Words, mask: Tensor) -> Tokens:
        """Encode.

        Args:
            words: of U texts, as the vocabulary gives them.
            mask: bool [U, T], true for the tokens of the text; each row has one at least.

        Returns:
            Tokens [U, T, C] of the last block alone; as summary the bag of words, [U, C].
        """
        vectors = self.words(words)
        x = vectors + self.positions[:, : vectors.shape[1]]
        for block in self.blocks:
            x = block(x, mask=mask, seen=mask)
        x = self.norm(x)
        weights = self.words.weigh(words, mask).unsqueeze(2)
        bag = (vectors * weights).sum(1) / weights.sum(1)
        return Tokens(levels=(x,), mask=mask, pooled=self.norm_bag(bag))
