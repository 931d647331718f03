"""How queries read keys and values: over all of them, over a sliding window, or by a kernel in linear time.

Shapes: q (B, H, N, D), k and v (B, G, L, D) where G divides H: each key-value head serves H / G query heads (Ainslie et
al., 2023; G = 1 is Shazeer, 2019). The last query stands at the last key. `keep` (B, L) is True at keys to attend to.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK = 128  # positions that causal linear attention takes at a time


def full(
    q: Tensor, k: Tensor, v: Tensor, *, causal: bool = False, keep: Tensor | None = None, bias: Tensor | None = None,
    dropout: float = 0.0, scale: float | None = None,
) -> Tensor:  # fmt: skip
    """softmax(scale q k' + bias) v (Vaswani et al., 2017), by torch's fused kernels; `bias` (H, N, L).

    `scale` is 1 / sqrt(D) where it is None.
    """
    queries, keys = q.shape[2], k.shape[2]
    options: Any = {"dropout_p": dropout, "scale": scale}
    options["enable_gqa"] = bool(q.shape[1] != k.shape[1])  # a tensor while torch.jit.trace looks on
    if causal and queries == keys and keep is None and bias is None:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, **options)
    allowed: Tensor | None = None if keep is None else keep[:, None, None, :].bool()
    if causal and queries > 1:
        reach = torch.ones(queries, keys, dtype=torch.bool, device=q.device).tril(keys - queries)
        allowed = reach if allowed is None else allowed & reach
    mask = allowed
    if bias is not None:
        mask = bias.to(q.dtype)[None] if allowed is None else bias.to(q.dtype)[None].masked_fill(~allowed, -torch.inf)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=_never_empty(mask), **options)


def sliding(
    q: Tensor, k: Tensor, v: Tensor, *, window: int, causal: bool = False, keep: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:  # fmt: skip
    """`full` over the nearest keys alone (Beltagy et al., 2020): `window` on either side; causal: the last `window`.

    Time and memory grow with N * window: blocks of queries read the blocks of keys that they can reach.
    """
    batch, heads, queries, width = q.shape
    keys = k.shape[2]
    reach = window - 1 if causal else window
    if queries != keys or keys <= 2 * reach + 1:
        return _sliding_by_mask(q, k, v, reach, causal, keep, dropout)
    block = max(reach, 16)
    count = -(-queries // block)
    after = 0 if causal else block
    k, v = (one.repeat_interleave(heads // one.shape[1], 1) if one.shape[1] != heads else one for one in (k, v))
    q = F.pad(q, (0, 0, 0, count * block - queries)).view(batch, heads, count, block, width)
    k, v = (_blocks(one, block, count, after) for one in (k, v))
    span = k.shape[3]
    seen = torch.ones(1, keys, device=q.device) if keep is None else keep.float()
    there = _blocks(seen[:, None, :, None], block, count, after)[..., 0] > 0  # (1 or B, 1, count, span)
    at = torch.arange(block, device=q.device)[:, None] + block - torch.arange(span, device=q.device)
    near = (at >= 0) & (at <= reach) if causal else at.abs() <= reach
    allowed = _never_empty(near & there[:, :, :, None, :])
    if allowed is not None and allowed.shape[0] != 1:
        allowed = allowed.expand(batch, heads, count, block, span)
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, dropout_p=dropout)
    return y.reshape(batch, heads, count * block, width)[:, :, :queries]


def linear(q: Tensor, k: Tensor, v: Tensor, *, causal: bool = False, keep: Tensor | None = None) -> Tensor:
    """phi(q) (phi(k)' v) / (phi(q) sum phi(k)), phi = elu + 1 (Katharopoulos et al., 2020): time grows with N + L.

    Causal needs as many queries as keys; what came before is carried over in `CHUNK`s.
    """
    heads = q.shape[1]
    k, v = (one.repeat_interleave(heads // one.shape[1], 1) if one.shape[1] != heads else one for one in (k, v))
    q, k = F.elu(q) + 1, F.elu(k) + 1
    if keep is not None:
        k = k * keep[:, None, :, None].to(k.dtype)
    v = torch.cat([v, torch.ones_like(v[..., :1])], -1)  # the sums of weights ride along
    y = _causal_products(q, k, v) if causal else q @ (k.transpose(2, 3) @ v)
    return y[..., :-1] / y[..., -1:].clamp_min(1e-6)


def _causal_products(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """For every position, its query's products with the keys up to it, times their values."""
    batch, heads, length, _ = q.shape
    if k.shape[2] != length:
        raise ValueError(f"Causal linear attention takes as many queries as keys, not {length} and {k.shape[2]}.")
    count = -(-length // CHUNK)
    q, k, v = (F.pad(one, (0, 0, 0, count * CHUNK - length)).view(batch, heads, count, CHUNK, -1) for one in (q, k, v))
    whole = k.transpose(3, 4) @ v
    before = whole.cumsum(2) - whole
    y = q @ before + (q @ k.transpose(3, 4)).tril() @ v
    return y.reshape(batch, heads, count * CHUNK, -1)[:, :, :length]


def _blocks(x: Tensor, block: int, count: int, after: int) -> Tensor:
    """(B, H, L, D) to (B, H, count, span, D): for each block of queries the keys from one block before it on."""
    padded = F.pad(x, (0, 0, block, count * block - x.shape[2] + after))
    return padded.unfold(2, 2 * block + after, block).transpose(3, 4)


def _sliding_by_mask(
    q: Tensor, k: Tensor, v: Tensor, reach: int, causal: bool, keep: Tensor | None, dropout: float
) -> Tensor:
    queries, keys = q.shape[2], k.shape[2]
    if queries == 1 and causal:  # the cache's last keys
        start = max(0, keys - reach - 1)
        k, v, keep = k[:, :, start:], v[:, :, start:], None if keep is None else keep[:, start:]
        return full(q, k, v, keep=keep, dropout=dropout)
    at = torch.arange(queries, device=q.device)[:, None] + keys - queries - torch.arange(keys, device=q.device)
    allowed = (at >= 0) & (at <= reach) if causal else at.abs() <= reach
    if keep is not None:
        allowed = allowed & keep[:, None, None, :].bool()
    grouped = bool(q.shape[1] != k.shape[1])  # a tensor while torch.jit.trace looks on
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=_never_empty(allowed), dropout_p=dropout, enable_gqa=grouped
    )


def _never_empty(mask: Tensor | None) -> Tensor | None:
    """Let a query without any key attend to all: softmax over nothing is nan. The output of that query is not used."""
    if mask is None:
        return None
    if mask.dtype == torch.bool:
        return mask | ~mask.any(-1, keepdim=True)
    return mask.masked_fill((mask == -torch.inf).all(-1, keepdim=True), 0.0)
