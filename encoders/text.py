"""The text tower: a small transformer over words and their parts. U texts, T tokens, C channels."""

import torch
from torch import Tensor, nn

from pingraph.encoders.layers import Block, word_weights
from pingraph.interfaces import Tokens


class TextTransformer(nn.Module):
    """Turns token ids into contextual tokens and a bag of words.

    The bag is a weighted mean of the input vectors, which learns from few texts what the blocks
    need many for (fastText, arXiv 1607.01759). Each token has a learned weight. It starts as the
    logarithm of the token's id, which stands for its inverse document frequency: ids go by falling
    frequency, and by Zipf's law a frequency falls as one over its rank.

    Args:
        vocab_size: distinct tokens, numbered by falling frequency.
        max_tokens: longest text T, in tokens; longer ones are cut by the tokenizer.
        dim: channels C of the tokens.
        depth: transformer blocks.
        heads: attention heads of a block.
        dropout: share of activations dropped in training.
    """

    def __init__(
        self, vocab_size: int, max_tokens: int, dim: int, depth: int, heads: int, dropout: float
    ):
        super().__init__()
        self.words = nn.Embedding(vocab_size, dim)
        nn.init.normal_(self.words.weight, std=0.02)
        self.weights = word_weights(vocab_size)
        self.positions = nn.Parameter(torch.randn(1, max_tokens, dim) * 0.02)
        self.blocks = nn.ModuleList(Block(dim, heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.norm_bag = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tokens:
        """Encode.

        Args:
            tokens: int64 [U, T].
            mask: bool [U, T], true for the tokens of the text; each row has one at least.

        Returns:
            Tokens [U, T, C] of the last block alone; as summary the bag of words, [U, C].
        """
        words = self.words(tokens)
        x = words + self.positions[:, : tokens.shape[1]]
        for block in self.blocks:
            x = block(x, mask=mask, seen=mask)
        x = self.norm(x)
        weights = nn.functional.softplus(self.weights(tokens)) * mask.unsqueeze(2)
        bag = (words * weights).sum(1) / weights.sum(1)
        return Tokens(levels=(x,), mask=mask, pooled=self.norm_bag(bag))
