"""From pictures and token ids to the stream of tokens that Transformers work on.

Shapes: B batch, N tokens, D width.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from zoo.blocks.linear import product
from zoo.blocks.positions import interpolated, sinusoids
from zoo.blocks.transformer import Dropout, make_norm


class PatchEmbedding(nn.Module):
    """Square patches of a picture as tokens, with learned positions (ViT: Dosovitskiy et al., 2021).

    A picture of another size than the positions' has them interpolated.

    Args:
        in_channels (int): channels of the picture.
        dim (int): width of the tokens.
        patch (int): height and width of a patch, in pixels.
        rows (int): rows of patches that the positions are learned for.
        columns (int): columns of patches that the positions are learned for.
        prefix (int): learned tokens before the patches: 0; 1, for the class; or 2, for a teacher too (DeiT: Touvron et
            al., 2021). Default: 1.

    Shape:
        (B, in_channels, H, W) to (B, prefix + (H // patch) * (W // patch), dim).

    Raises:
        ValueError: a size is below 1, `prefix` is another, or a picture is smaller than a patch.

    Example:
        >>> block = zoo.blocks.PatchEmbedding(in_channels=3, dim=16, patch=8, rows=4, columns=4)
        >>> block(torch.randn(1, 3, 32, 32)).shape
        torch.Size([1, 17, 16])
    """

    def __init__(self, *, in_channels: int, dim: int, patch: int, rows: int, columns: int, prefix: int = 1) -> None:
        super().__init__()
        if min(patch, rows, columns) < 1 or prefix not in (0, 1, 2):
            raise ValueError(f"patch and grid are at least 1, prefix 0 to 2, not {patch}, {rows}x{columns}, {prefix}.")
        self.patch, self.grid, self.prefix = patch, (rows, columns), prefix
        self.proj = nn.Conv2d(in_channels, dim, patch, stride=patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, dim)) if prefix > 0 else None
        self.teacher_token = nn.Parameter(torch.zeros(1, 1, dim)) if prefix > 1 else None
        self.positions = nn.Parameter(torch.zeros(1, prefix + rows * columns, dim))

    def extra_repr(self) -> str:
        return f"patch={self.patch}, grid={self.grid}, prefix={self.prefix}"

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = x.shape[2] // self.patch, x.shape[3] // self.patch
        if not rows or not columns:
            raise ValueError(f"A picture of {tuple(x.shape[2:])} pixels holds no patch of {self.patch}x{self.patch}.")
        patches = self.proj(x).flatten(2).transpose(1, 2)
        learned = [token for token in (self.class_token, self.teacher_token) if token is not None]
        stream = torch.cat([*(token.expand(x.shape[0], -1, -1) for token in learned), patches], 1)
        return stream + interpolated(self.positions, self.prefix, self.grid, (rows, columns))


class TokenEmbedding(nn.Module):
    """Token ids to vectors, with positions and segments (BERT: Devlin et al., 2019; GPT-2: Radford et al., 2019).

    Args:
        vocabulary (int): how many token ids there are.
        dim (int): width of the vectors.
        max_positions (int): rows of the table of positions; 0 where attention has the positions. Default: 0.
        token_types (int): how many segments there are; 0 for none. Default: 0.
        padding_id (int): the id of padding, if positions count the tokens that are not padding, from the number after
            this id on (RoBERTa: Liu et al., 2019). Default: -1, positions count from 0.
        sinusoidal (bool): whether positions are sines and cosines (Vaswani et al., 2017), not a learned table.
            Default: False.
        scale (float): what the vectors of tokens are multiplied by. Default: 1.0.
        norm (str): "layer", "rms" or "" for none. Default: "".
        eps (float): added to the variance in the norm. Default: 1e-12.
        dropout (float): share of the output set to zero in training. Default: 0.0.

    Shape:
        (B, N) whole numbers to (B, N, dim).

    Raises:
        ValueError: `norm` is unknown, or a text is longer than the positions.

    Example:
        >>> block = zoo.blocks.TokenEmbedding(vocabulary=100, dim=16, max_positions=32)
        >>> block(torch.randint(100, (2, 5))).shape
        torch.Size([2, 5, 16])
    """

    context: tuple[str, ...] = ("token_type_ids", "positions")

    def __init__(
        self,
        *,
        vocabulary: int,
        dim: int,
        max_positions: int = 0,
        token_types: int = 0,
        padding_id: int = -1,
        sinusoidal: bool = False,
        scale: float = 1.0,
        norm: str = "",
        eps: float = 1e-12,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.padding_id, self.dim, self.scale = padding_id, dim, scale
        self.max_positions, self.sinusoidal = max_positions, sinusoidal
        self.tokens = self.make_table(vocabulary, dim)
        self.positions = nn.Embedding(max_positions, dim) if max_positions and not sinusoidal else None
        self.types = nn.Embedding(token_types, dim) if token_types else None
        self.norm = make_norm(norm, dim, eps) if norm else nn.Identity()
        self.dropout = Dropout(dropout)

    def make_table(self, vocabulary: int, dim: int) -> nn.Module:
        """The module that maps ids (B, N) to vectors (B, N, dim)."""
        return nn.Embedding(vocabulary, dim)

    def extra_repr(self) -> str:
        kind = ", sinusoidal positions" if self.sinusoidal else ""
        return f"padding_id={self.padding_id}, scale={self.scale:g}{kind}"

    def project(self, x: Tensor) -> Tensor:
        """The scores of a head tied to this table: (..., dim) to (..., vocabulary)."""
        weight: Any = self.tokens.weight
        return product(x, weight)

    def forward(
        self, input_ids: Tensor, *, token_type_ids: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        """Look the vectors up.

        Args:
            input_ids (Tensor): token ids (B, N), int64 or int32.
            token_type_ids (Tensor | None): segments (B, N). Default: None, all 0.
            positions (Tensor | None): (N,) or (B, N), counted from 0. Default: None, 0 to N - 1.

        Returns:
            Vectors (B, N, dim).
        """
        return self.placed(self.tokens(input_ids), input_ids, token_type_ids, positions)

    def placed(self, x: Tensor, ids: Tensor, types: Tensor | None, positions: Tensor | None) -> Tensor:
        """The vectors `x` of the tokens `ids`, scaled, with segments and positions, normed."""
        x = x if self.scale == 1 else x * self.scale
        if self.types is not None:
            x = x + (self.types.weight[0] if types is None else self.types(types))
        if self.positions is not None:
            x = x + self.positions(self._numbers(ids, positions))
        elif self.sinusoidal:
            x = x + sinusoids(self._numbers(ids, positions), self.dim, self.max_positions).to(x.dtype)
        return self.dropout(self.norm(x))

    def _numbers(self, input_ids: Tensor, positions: Tensor | None) -> Tensor:
        """The rows of the table of positions."""
        tokens, first = input_ids.shape[1], self.padding_id + 1
        room = self.max_positions - first
        if positions is None and tokens <= room:
            if first:
                there = input_ids != self.padding_id
                return there.cumsum(1) * there + self.padding_id
            return torch.arange(tokens, device=input_ids.device)
        last = tokens - 1 if positions is None else int(positions.max())
        if positions is None or last >= room:
            raise ValueError(f"This network has positions for {room} tokens, not for {last + 1}: cut the text.")
        return positions + first


class TargetEmbedding(TokenEmbedding):
    """The first row of a decoder behind an encoder: the vectors of the tokens so far (Vaswani et al., 2017).

    Args:
        vocabulary (int): how many token ids there are.
        dim (int): width of the vectors.
        tied (str): the name of the embedding whose table is the decoder's too. Default: "", a table of its own.
        max_positions (int): as for `TokenEmbedding`. Default: 0.
        sinusoidal (bool): as for `TokenEmbedding`. Default: False.
        scale (float): as for `TokenEmbedding`. Default: 1.0.
        norm (str): as for `TokenEmbedding`. Default: "".
        eps (float): as for `TokenEmbedding`. Default: 1e-12.
        dropout (float): as for `TokenEmbedding`. Default: 0.0.

    Shape:
        (B, M, dim), which goes no further here, and token ids (B, N), to (B, N, dim).

    Raises:
        ValueError: as for `TokenEmbedding`, or the table is tied and `forward` is given none.

    Example:
        >>> block = zoo.blocks.TargetEmbedding(vocabulary=100, dim=16)
        >>> block(torch.zeros(2, 7, 16), decoder_input_ids=torch.randint(100, (2, 5))).shape
        torch.Size([2, 5, 16])
    """

    context = ("table", "decoder_input_ids", "positions")

    def __init__(
        self,
        *,
        vocabulary: int,
        dim: int,
        tied: str = "",
        max_positions: int = 0,
        sinusoidal: bool = False,
        scale: float = 1.0,
        norm: str = "",
        eps: float = 1e-12,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(
            vocabulary=1 if tied else vocabulary,
            dim=dim,
            max_positions=max_positions,
            sinusoidal=sinusoidal,
            scale=scale,
            norm=norm,
            eps=eps,
            dropout=dropout,
        )
        self.tied = tied
        if tied:
            del self.tokens

    def extra_repr(self) -> str:
        return f"tied to {self.tied}, {super().extra_repr()}" if self.tied else super().extra_repr()

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        *,
        decoder_input_ids: Tensor,
        table: TokenEmbedding | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """Look the vectors up.

        Args:
            x (Tensor): what the row before gives; it goes no further here.
            decoder_input_ids (Tensor): token ids (B, N), int64 or int32.
            table (TokenEmbedding | None): the embedding whose table it is tied to. Default: None.
            positions (Tensor | None): as for `TokenEmbedding.forward`. Default: None.

        Returns:
            Vectors (B, N, dim).

        Raises:
            ValueError: the table is tied and `table` is None.
        """
        if self.tied and table is None:
            raise ValueError(f"This embedding is tied to {self.tied!r}: the model hands it that embedding.")
        tokens = self.tokens if table is None else table.tokens
        return self.placed(tokens(decoder_input_ids), decoder_input_ids, None, positions)
