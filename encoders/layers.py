"""The transformer parts that the towers and the fusion share.

B rows, N queries, M keys, C channels, h heads.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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

    def forward(self, queries: Tensor, keys: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            queries: [B, N, C].
            keys: [B, M, C].
            mask: bool [B, M], false where a key is hidden, or [B, N, M] where that differs by
                query; each row needs one visible key.

        Returns:
            [B, N, C].
        """
        B, N, C = queries.shape
        h, width = self.heads, C // self.heads
        q = self.query(queries).view(B, N, h, width).transpose(1, 2)
        k, v = self.key_value(keys).view(B, keys.shape[1], 2, h, width).unbind(2)
        if mask is not None:
            mask = mask[:, None, None, :] if mask.ndim == 2 else mask[:, None]
        mixed = F.scaled_dot_product_attention(
            q, k.transpose(1, 2), v.transpose(1, 2), attn_mask=mask
        )
        return self.out(mixed.transpose(1, 2).reshape(B, N, C))


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

    def forward(self, x: Tensor, keys: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Mix x [B, N, C] with itself, or with keys [B, M, C]; mask is bool over the keys."""
        queries = self.norm_queries(x)
        attended = self.attention(queries, queries if keys is None else keys, mask)
        x = x + self.dropout(attended)
        return x + self.dropout(self.mlp(x))


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
        """Pool tokens [B, M, C] into [B, N, C]; the mask is that of `Attention`."""
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


def unit(vectors: Tensor) -> Tensor:
    """Return vectors [B, C] at length 1, in float32 or better, which bf16 is too coarse for."""
    return F.normalize(vectors.to(torch.promote_types(vectors.dtype, torch.float32)), dim=1)
