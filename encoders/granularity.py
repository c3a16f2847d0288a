"""What of a backbone's tokens is looked at: at which depths, and how finely the image is cut.

U pins, L levels (depths), M tokens of a level, G patches of a side, R regions, C channels.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from pingraph.encoders.layers import AttentionPool
from pingraph.interfaces import Tokens

Granularity = Literal["global", "regional", "patch"]


class Levels(nn.Module):
    """Brings the tokens of a tower's deepest levels to the channels of the fusion.

    Each level is normalized, projected and given a vector of its own that says how deep it is. A
    single level that has the right channels already is taken as it is.

    Args:
        width: channels of the tower's tokens.
        dim: channels C to bring them to.
        count: how many levels L are taken, from the last one up.
    """

    def __init__(self, width: int, dim: int, count: int):
        super().__init__()
        self.count = count
        same = count == 1 and width == dim
        self.project = nn.ModuleList(
            nn.Identity() if same else nn.Sequential(nn.LayerNorm(width), nn.Linear(width, dim))
            for _ in range(count)
        )
        self.depth = nn.Parameter(torch.randn(count, 1, dim) * 0.02) if count > 1 else None

    def forward(self, tokens: Tokens) -> Tensor:
        """Return the levels' tokens, [U, L, M, C]."""
        deepest = tokens.levels[-self.count :]
        x = torch.stack([to(level) for to, level in zip(self.project, deepest, strict=True)], dim=1)
        return x if self.depth is None else x + self.depth


class Granularities(nn.Module):
    """Cuts an image finely and coarsely; each granularity is pooled by attention.

    Global: one token that attends to everything. Regional: a token for each region of the grid,
    which attends to the patches in it. Patch: every token as it is; its vector attends to the
    patches of the whole grid.

    Args:
        dim: channels C.
        heads: attention heads.
        grid: patches of a side G; the last G² tokens of a level are the patches, row by row.
        kinds: the granularities that are looked at.
        regions: regions of a side; a patch belongs to the region that its corner lies in.
    """

    members: Tensor  # bool [R, G²]

    def __init__(
        self, dim: int, heads: int, grid: int, kinds: tuple[Granularity, ...], regions: int
    ):
        super().__init__()
        self.patches = grid * grid
        queries = {"global": 1, "regional": regions * regions, "patch": 1}
        self.pools = nn.ModuleDict(
            {kind: AttentionPool(dim, heads, queries[kind]) for kind in queries if kind in kinds}
        )
        side = torch.arange(grid) * regions // grid
        region = (side[:, None] * regions + side).flatten()
        members = region == torch.arange(regions * regions)[:, None]
        self.register_buffer("members", members, persistent=False)

    def forward(
        self, levels: Tensor, mask: Tensor, details: Tensor | None
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Look at the image of each pin.

        Args:
            levels: [U, L, M, C].
            mask: bool [U, M], false for padding; each row needs a visible patch.
            details: tokens of a stem beside the backbone, [U, F, C].

        Returns:
            Tokens [U, N, C], which of them are there, bool [U, N], and a vector [U, C] of each
            granularity.
        """
        patches = levels[:, :, -self.patches :].flatten(1, 2)
        patch_mask = mask[:, -self.patches :].repeat(1, levels.shape[1])
        everything, visible = levels.flatten(1, 2), mask.repeat(1, levels.shape[1])
        if details is not None:
            everything = torch.cat([details, everything], dim=1)
            visible = torch.cat([visible.new_ones(details.shape[:2]), visible], dim=1)
        tokens, masks, vectors = [], [], []
        for kind, pool in self.pools.items():
            if kind == "patch":
                found, present = everything, visible
                vector = pool(patches, patch_mask).squeeze(1)
            elif kind == "regional":
                found, present = self._regions(pool, patches, patch_mask)
                vector = found.sum(1) / present.sum(1, keepdim=True)
            else:
                found = pool(everything, visible)
                present, vector = visible.new_ones(found.shape[:2]), found.squeeze(1)
            tokens.append(found)
            masks.append(present)
            vectors.append(vector)
        return torch.cat(tokens, dim=1), torch.cat(masks, dim=1), vectors

    def _regions(self, pool: nn.Module, patches: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """A token of each region, [U, R, C]; zero and hidden where all its patches are."""
        levels = patches.shape[1] // self.patches
        seen = mask[:, None, :] & self.members.repeat(1, levels)
        present = seen.any(2)
        # A softmax over no keys at all would be NaN.
        found = pool(patches, seen | ~present[:, :, None])
        return found * present[:, :, None], present
