"""The transformer parts that the towers and the fusion share.

B rows, N queries of each, n of them that are no padding, M keys, C channels, h heads.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Places:
    """Where the tokens stand that are worth computing, among N of each of B rows; or all of them.

    Texts of a batch differ in length, and the longest is three times the mean: what is computed
    for each token by itself is computed for these alone.

    Args:
        rows: B.
        tokens: N.
        seen: bool [B, N], the tokens that are there; None for all.
    """

    def __init__(self, rows: int, tokens: int, seen: Tensor | None = None):
        self.shape = rows, tokens
        self.at = None if seen is None else seen.flatten().nonzero().squeeze(1)

    def take(self, x: Tensor) -> Tensor:
        """Return the n tokens [n, C] of x [B, N, C]."""
        flat = x.flatten(0, 1)
        return flat if self.at is None else flat.index_select(0, self.at)

    def put(self, tokens: Tensor) -> Tensor:
        """Return tokens [n, C] at their places [B, N, C], zeros elsewhere."""
        rows, columns = self.shape
        if self.at is not None:
            tokens = spread(tokens, self.at, rows * columns)
        return tokens.view(rows, columns, tokens.shape[1])


class Attention(nn.Module):
    """Multi-head attention of queries over keys, some of which may be hidden.

    Args:
        dim: channels C of queries, keys and the result; a multiple of `heads`.
        heads: attention heads h.
    """

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(
        self,
        queries: Tensor,
        places: Places,
        keys: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Attend.

        Args:
            queries: [n, C].
            places: of the queries, among N of each of B rows.
            keys: [B, M, C]; the queries at their places, and zeros elsewhere, if not given.
            mask: bool [B, M], false where a key is hidden; each row needs one visible key.

        Returns:
            [n, C].
        """
        key_value = self.key_value(queries if keys is None else keys)
        if keys is None:
            key_value = places.put(key_value)
        q, k, v = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in (places.put(self.query(queries)), *key_value.chunk(2, dim=2))
        )
        mask = None if mask is None else mask[:, None, None, :]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(places.take(mixed.transpose(1, 2).flatten(2)))


class Block(nn.Module):
    """A pre-norm transformer block; with `keys` of another sequence it is cross-attention."""

    def __init__(self, dim: int, heads: int, dropout: float):
        super().__init__()
        self.norm_queries = nn.LayerNorm(dim)
        self.attention = Attention(dim, heads)
        self.mlp = nn.Sequential(
            nn.LayerNorm(dim),
            nn.Linear(dim, 4 * dim),
            nn.GELU(),
            nn.Linear(4 * dim, dim),
        )
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        keys: Tensor | None = None,
        mask: Tensor | None = None,
        seen: Tensor | None = None,
    ) -> Tensor:
        """Mix tokens with each other, or with those of another sequence.

        Args:
            x: [B, N, C].
            keys: [B, M, C]; x if not given.
            mask: bool [B, M], false where a key is hidden.
            seen: bool [B, N], false where x is padding, which becomes zeros.

        Returns:
            [B, N, C].
        """
        places = Places(x.shape[0], x.shape[1], seen)
        tokens = places.take(x)
        attended = self.attention(self.norm_queries(tokens), places, keys, mask)
        tokens = tokens + self.dropout(attended)
        return places.put(tokens + self.dropout(self.mlp(tokens)))


class AttentionPool(nn.Module):
    """Pools tokens into a few vectors by learned queries (Set Transformer, arXiv 1810.00825).

    Multi-head attention, computed the other way around: as the queries are the same for all rows,
    keys need not be made of the tokens, but a direction of the tokens of each query; and tokens
    are mixed before they become values. So a token costs heads times queries, not C, times C.

    Args:
        dim: channels C, a multiple of `heads`.
        heads: attention heads.
        queries: vectors N to pool into.
    """

    def __init__(self, dim: int, heads: int, queries: int = 1):
        super().__init__()
        self.heads = heads
        self.queries = nn.Parameter(torch.randn(queries, dim) * dim**-0.5)
        self.norm = nn.LayerNorm(dim)
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim, bias=False)  # a bias would move all scores alike
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Pool tokens [B, M, C] into [B, N, C].

        The mask is bool [B, M], false where a token is hidden, or [B, N, M] where that differs by
        query; each query needs one visible token.
        """
        B, M, C = tokens.shape
        h, N = self.heads, len(self.queries)
        tokens = self.norm(tokens)
        q = self.query(self.queries).view(N, h, C // h) * (C // h) ** -0.5
        directions = torch.einsum("nhw,hwc->nhc", q, self.key.weight.view(h, C // h, C))
        scores = F.linear(tokens, directions.flatten(0, 1)).transpose(1, 2).view(B, N, h, M)
        if mask is not None:
            mask = mask[:, None, None, :] if mask.ndim == 2 else mask[:, :, None, :]
            scores = scores.masked_fill(~mask, -torch.inf)
        mixed = torch.softmax(scores, dim=3).flatten(1, 2).to(tokens.dtype) @ tokens
        values = torch.einsum(
            "bnhc,hwc->bnhw", mixed.view(B, N, h, C), self.value.weight.view(h, C // h, C)
        )
        return self.out(values.reshape(B, N, C) + self.value.bias)


def spread(values: Tensor, rows: Tensor, size: int) -> Tensor:
    """Put values back at their rows among `size`, zeros elsewhere."""
    return values.new_zeros(size, *values.shape[1:]).index_copy(0, rows, values)


def unit(vectors: Tensor) -> Tensor:
    """Return vectors [B, C] at length 1, in float32 or better, which bf16 is too coarse for."""
    return F.normalize(vectors.to(torch.promote_types(vectors.dtype, torch.float32)), dim=1)
