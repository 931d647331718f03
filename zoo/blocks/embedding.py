"""From pictures and token ids to the stream of tokens that Transformers work on.

Shapes: B batch, N tokens, D width.
"""

from __future__ import annotations

import torch
import torch.nn as nn
from torch import Tensor

from zoo.blocks.positions import interpolated
from zoo.blocks.transformer import make_norm


class PatchEmbedding(nn.Module):
    """Patches as tokens, behind `prefix` learned ones, with learned positions (ViT: Dosovitskiy et al., 2021).

    (B, in_channels, H, W) to (B, prefix + rows * columns, dim), of H // patch rows and W // patch columns. `grid` is
    the rows and columns that the positions were learned for; those of another grid are interpolated. One prefix token
    is for the class, a second for a teacher (DeiT: Touvron et al., 2021).
    """

    def __init__(self, *, in_channels: int, dim: int, patch: int, grid: tuple[int, int], prefix: int = 1) -> None:
        super().__init__()
        if patch < 1 or min(grid) < 1 or prefix < 0:
            raise ValueError(f"patch and grid are at least 1, and prefix 0, not {patch}, {grid} and {prefix}.")
        self.patch, self.grid, self.prefix = patch, tuple(grid), prefix
        self.proj = nn.Conv2d(in_channels, dim, patch, stride=patch)
        self.tokens = nn.Parameter(torch.zeros(1, prefix, dim))
        self.positions = nn.Parameter(torch.zeros(1, prefix + grid[0] * grid[1], dim))

    def extra_repr(self) -> str:
        return f"patch={self.patch}, grid={self.grid}, prefix={self.prefix}"

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = x.shape[2] // self.patch, x.shape[3] // self.patch
        if not rows or not columns:
            raise ValueError(f"A picture of {tuple(x.shape[2:])} pixels holds no patch of {self.patch}x{self.patch}.")
        patches = self.proj(x).flatten(2).transpose(1, 2)
        stream = torch.cat([self.tokens.expand(len(x), -1, -1), patches], 1)
        old = (self.grid[0], self.grid[1])
        return stream + interpolated(self.positions, self.prefix, old, (rows, columns))


class TokenEmbedding(nn.Module):
    """Token ids to vectors, with learned positions and segments where it has them, and a norm where asked for.

    (B, N) whole numbers to (B, N, dim) (BERT: Devlin et al., 2019; GPT-2: Radford et al., 2019). `max_positions` 0 is
    for networks that turn queries and keys instead, `token_types` 0 for those without segments. The first position has
    the number `first_position` (RoBERTa: Liu et al., 2019, has 2). `norm` is "layer", "rms" or "".
    """

    def __init__(
        self,
        *,
        vocabulary: int,
        dim: int,
        max_positions: int = 0,
        token_types: int = 0,
        first_position: int = 0,
        norm: str = "",
        eps: float = 1e-12,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.first_position = first_position
        self.tokens = nn.Embedding(vocabulary, dim)
        self.positions = nn.Embedding(max_positions, dim) if max_positions else None
        self.types = nn.Embedding(token_types, dim) if token_types else None
        self.norm = make_norm(norm, dim, eps) if norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, input_ids: Tensor, *, token_type_ids: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        """`positions` (N,) or (B, N) count from 0, by default 0 to N - 1; `token_type_ids` (B, N) are 0 by default."""
        x = self.tokens(input_ids)
        if self.types is not None:
            x = x + (self.types.weight[0] if token_type_ids is None else self.types(token_type_ids))
        if self.positions is not None:
            if positions is None:
                positions = torch.arange(input_ids.shape[1], device=input_ids.device)
            last, room = int(positions.max()) + self.first_position, self.positions.num_embeddings
            if last >= room:
                raise ValueError(f"This network has positions for {room - self.first_position} tokens: cut the text.")
            x = x + self.positions(positions + self.first_position)
        return self.dropout(self.norm(x))
