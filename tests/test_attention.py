"""Attention in its kinds, against the formula and against timm's, torch's and transformers' own layers."""

from __future__ import annotations

import time
from functools import partial

import pytest
import torch
import torch.nn as nn
from hypothesis import given
from hypothesis import strategies as st

from zoo.blocks import Attention, TransformerBlock, attend
from zoo.blocks.kv_cache import KVCache, LayerCache
from zoo.blocks.positions import RelativeBias, interpolated, rotate


def by_the_formula(q, k, v, allowed, bias=0.0):
    """Softmax over the allowed keys, head by head: (B, H, N, D)."""
    k, v = (one.repeat_interleave(q.shape[1] // one.shape[1], 1) for one in (k, v))
    products = q @ k.transpose(2, 3) / q.shape[-1] ** 0.5 + bias
    return products.masked_fill(~allowed, -torch.inf).softmax(-1) @ v


def apart(queries: int, keys: int) -> torch.Tensor:
    """How far each key lies before each query, the last of both at one place."""
    return torch.arange(keys - queries, keys)[:, None] - torch.arange(keys)


def tensors(queries: int, keys: int, heads: int, groups: int, seed: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    q = torch.randn(2, heads, queries, 8, generator=generator, dtype=torch.float64)
    k, v = (torch.randn(2, groups, keys, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    keep = torch.rand(2, keys, generator=generator) < 0.8
    keep[:, 0] = keep[:, -1] = True
    return q, k, v, keep


@given(
    st.integers(1, 9), st.integers(0, 6), st.sampled_from([(4, 4), (4, 2), (4, 1)]), st.booleans(), st.booleans(),
    st.booleans(), st.integers(0, 2**31),
)  # fmt: skip
def test_full_attention_is_the_formula(queries, before, heads, causal, masked, biased, seed) -> None:
    keys = queries + before
    q, k, v, keep = tensors(queries, keys, *heads, seed)
    bias = torch.randn(heads[0], queries, keys, dtype=torch.float64) if biased else None
    allowed = (apart(queries, keys) >= 0 if causal else torch.ones(queries, keys, dtype=torch.bool)).expand(
        2, 1, -1, -1
    )
    if masked:
        allowed = allowed & keep[:, None, None]
    found = attend.full(q, k, v, causal=causal, keep=keep if masked else None, bias=bias)
    torch.testing.assert_close(found, by_the_formula(q, k, v, allowed, 0.0 if bias is None else bias))


@given(
    st.integers(1, 90), st.integers(1, 40), st.sampled_from([(4, 4), (4, 2)]), st.booleans(), st.booleans(),
    st.integers(0, 2**31),
)  # fmt: skip
def test_sliding_attention_is_full_attention_nearby(tokens, window, heads, causal, masked, seed) -> None:
    q, k, v, keep = tensors(tokens, tokens, *heads, seed)
    at = apart(tokens, tokens)
    near = ((at >= 0) & (at < window) if causal else at.abs() <= window).expand(2, 1, -1, -1)
    if masked:
        near = near & keep[:, None, None]
    found = attend.sliding(q, k, v, window=window, causal=causal, keep=keep if masked else None)
    assert found.isfinite().all()
    somewhere = near.any(-1)[:, :, :, None]  # a query with no key to read gives what nobody reads
    expected = by_the_formula(q, k, v, near).nan_to_num()
    torch.testing.assert_close(found * somewhere, expected * somewhere)


@given(st.integers(1, 300), st.sampled_from([(4, 4), (4, 1)]), st.booleans(), st.booleans(), st.integers(0, 2**31))
def test_linear_attention_is_the_kernels_formula(tokens, heads, causal, masked, seed) -> None:
    q, k, v, keep = tensors(tokens, tokens, *heads, seed)
    weights = (torch.nn.functional.elu(q) + 1) @ (torch.nn.functional.elu(k) + 1).repeat_interleave(
        heads[0] // heads[1], 1
    ).transpose(2, 3)
    if causal:
        weights = weights.tril()
    if masked:
        weights = weights * keep[:, None, None]
    expected = weights / weights.sum(-1, keepdim=True) @ v.repeat_interleave(heads[0] // heads[1], 1)
    found = attend.linear(q, k, v, causal=causal, keep=keep if masked else None)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"kv_heads": 2},
        {"kv_heads": 1, "positions": "rotary"},
        {"positions": "relative"},
        {"attention": "sliding", "window": 5, "positions": "rotary"},
        {"attention": "linear"},
    ],
    ids=str,
)
def test_tokens_one_by_one_through_a_cache_are_tokens_at_once(how: dict) -> None:
    torch.manual_seed(0)
    layer = Attention(dim=32, heads=4, causal=True, **how).double()
    if layer.bias is not None:
        nn.init.normal_(layer.bias.weight)
    x = torch.randn(2, 90, 32, dtype=torch.float64)  # more than a cache holds at first
    expected = layer(x)
    cache = LayerCache()
    torch.testing.assert_close(torch.cat([layer(one, cache=cache) for one in x.split(1, 1)], 1), expected)
    if how.get("attention") != "linear":
        cache = LayerCache()
        torch.testing.assert_close(
            torch.cat([layer(x[:, :70], cache=cache), layer(x[:, 70:], cache=cache)], 1), expected
        )


def test_padding_on_the_left_with_positions_changes_nothing() -> None:
    torch.manual_seed(0)
    layer = Attention(dim=32, heads=4, causal=True, positions="rotary").double()
    x = torch.randn(1, 7, 32, dtype=torch.float64)
    padded = torch.cat([torch.randn(1, 3, 32, dtype=torch.float64), x], 1)
    mask = torch.tensor([[0] * 3 + [1] * 7])
    positions = (mask.cumsum(1) - 1).clamp_min(0)
    torch.testing.assert_close(layer(padded, mask=mask, positions=positions)[:, 3:], layer(x))


def test_a_cache_keeps_the_rows_asked_for() -> None:
    cache = KVCache()
    k = torch.randn(3, 2, 4, 8)
    cache["a"].extend(k, k + 1), cache["b"].extend(k, k)
    assert cache.length == 4
    cache.select(torch.tensor([2, 0]))
    keys, values = cache["a"].extend(k[:2, :, :1], k[:2, :, :1])
    assert (
        cache["a"].length == 5
        and torch.equal(keys[:, :, :4], k[[2, 0]])
        and torch.equal(values[:, :, :4], k[[2, 0]] + 1)
    )


def test_rotated_products_depend_on_the_distance_alone() -> None:
    q, k = torch.randn(2, 1, 1, 16, dtype=torch.float64).unbind(0)
    q, k = q[None], k[None]

    def product(at: int, other: int) -> torch.Tensor:
        return (rotate(q, torch.tensor([at]), 1e4) * rotate(k, torch.tensor([other]), 1e4)).sum()

    torch.testing.assert_close(product(3, 10), product(103, 110), rtol=1e-4, atol=1e-4)
    assert abs(product(3, 10) - product(3, 11)) > 1e-4


@pytest.mark.parametrize("causal", [False, True])
def test_relative_positions_are_those_of_t5(causal: bool) -> None:
    transformers = pytest.importorskip("transformers")
    from transformers.models.t5.modeling_t5 import T5Attention

    theirs = T5Attention(transformers.T5Config(num_heads=4, is_decoder=causal), has_relative_attention_bias=True)
    ours = RelativeBias(heads=4, causal=causal)
    ours.weight.data = theirs.relative_attention_bias.weight.data
    at = torch.arange(300) - torch.arange(300)[:, None]
    expected = theirs._relative_position_bucket(at, bidirectional=not causal)
    assert torch.equal(ours(300, 300), ours.weight[expected].permute(2, 0, 1))
    assert ours(5, 9).shape == (4, 5, 9)
    assert torch.equal(ours(5, 9), ours(9, 9)[:, 4:])


@pytest.mark.parametrize("new", [(14, 14), (7, 9), (20, 16)])
def test_interpolated_positions_are_timms(new: tuple[int, int]) -> None:
    layers = pytest.importorskip("timm.layers")
    positions = torch.randn(1, 2 + 14 * 14, 32)
    expected = layers.resample_abs_pos_embed(positions, new_size=new, old_size=(14, 14), num_prefix_tokens=2)
    torch.testing.assert_close(interpolated(positions, 2, (14, 14), new), expected)


def test_a_block_is_timms() -> None:
    vit = pytest.importorskip("timm.models.vision_transformer")
    torch.manual_seed(0)
    theirs = vit.Block(64, 4, qkv_bias=True, norm_layer=partial(nn.LayerNorm, eps=1e-6)).eval()
    ours = TransformerBlock(dim=64, heads=4, mlp_dim=256).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 11, 64)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm_first", [False, True])
def test_a_block_is_torchs(norm_first: bool) -> None:
    torch.manual_seed(0)
    theirs = nn.TransformerEncoderLayer(64, 4, 128, norm_first=norm_first, batch_first=True).eval()
    ours = TransformerBlock(dim=64, heads=4, mlp_dim=128, activation="relu", norm_first=norm_first, eps=1e-5).eval()
    names = {
        "self_attn.in_proj_weight": "attn.qkv.weight", "self_attn.in_proj_bias": "attn.qkv.bias",
        "self_attn.out_proj.weight": "attn.proj.weight", "self_attn.out_proj.bias": "attn.proj.bias",
        "linear1": "mlp.fc1", "linear2": "mlp.fc2",
    }  # fmt: skip
    state = {}
    for key, value in theirs.state_dict().items():
        head, _, leaf = key.rpartition(".")
        state[names.get(key, f"{names.get(head, head)}.{leaf}")] = value
    ours.load_state_dict(state)
    x, mask = torch.randn(2, 9, 64), torch.ones(2, 9, dtype=torch.bool)
    mask[0, 6:] = False
    found = ours(x, mask=mask)
    expected = theirs(x, src_key_padding_mask=~mask)
    torch.testing.assert_close(found[mask], expected[mask], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_a_block_is_llamas(kv_heads: int) -> None:
    transformers = pytest.importorskip("transformers")
    from transformers.models.llama import modeling_llama as llama

    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        hidden_size=64, num_attention_heads=4, num_key_value_heads=kv_heads, intermediate_size=96, rms_norm_eps=1e-5,
        rope_theta=5000.0, attn_implementation="eager",
    )  # fmt: skip
    theirs = llama.LlamaDecoderLayer(config, 0).eval()
    ours = TransformerBlock(
        dim=64, heads=4, kv_heads=kv_heads, mlp_dim=96, causal=True, positions="rotary", rotary_base=5000.0, norm="rms",
        activation="swish", gated=True, qkv_bias=False, bias=False, eps=1e-5,
    ).eval()  # fmt: skip
    state = theirs.state_dict()
    ours.load_state_dict(
        {
            "norm1.weight": state["input_layernorm.weight"],
            "norm2.weight": state["post_attention_layernorm.weight"],
            "attn.qkv.weight": torch.cat([state[f"self_attn.{part}_proj.weight"] for part in "qkv"]),
            "attn.proj.weight": state["self_attn.o_proj.weight"],
            "mlp.fc1.weight": state["mlp.up_proj.weight"],
            "mlp.gate.weight": state["mlp.gate_proj.weight"],
            "mlp.fc2.weight": state["mlp.down_proj.weight"],
        }
    )
    x = torch.randn(2, 13, 64)
    positions = torch.arange(13)[None]
    angles = llama.LlamaRotaryEmbedding(config)(x, positions)
    reach = torch.full((13, 13), -torch.inf).triu(1)[None, None]
    expected = theirs(x, attention_mask=reach, position_embeddings=angles, position_ids=positions)
    expected = expected[0] if isinstance(expected, tuple) else expected
    torch.testing.assert_close(ours(x), expected, rtol=1e-5, atol=1e-5)


def test_gradients_and_dropout() -> None:
    block = TransformerBlock(dim=32, heads=4, mlp_dim=64, dropout=0.5).train()
    x = torch.randn(2, 7, 32, requires_grad=True)
    assert not torch.equal(block(x), block(x))
    block(x).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in block.parameters())
    block.eval()
    assert torch.equal(block(x), block(x))


@pytest.mark.timing
@pytest.mark.parametrize("attention", ["sliding", "linear"])
@pytest.mark.parametrize("causal", [False, True])
def test_time_grows_with_the_length(attention: str, causal: bool) -> None:
    """Four times as long takes at most seven times as long, where the square takes sixteen."""
    window = {"window": 128} if attention == "sliding" else {}
    layer = Attention(dim=128, heads=2, attention=attention, causal=causal, **window)
    xs = [torch.randn(1, length, 128) for length in (4096, 16384)]
    best = [float("inf")] * 2
    with torch.inference_mode():
        for _ in range(7):
            for i, x in enumerate(xs):
                start = time.perf_counter()
                layer(x)
                best[i] = min(best[i], time.perf_counter() - start)
    assert best[1] < 7 * best[0], best


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"heads": 5, "kv_heads": 2}, "do not divide"),
        ({"attention": "sparse"}, "attention is one of"),
        ({"positions": "alibi"}, "positions one of"),
        ({"attention": "sliding"}, "window"),
        ({"window": 3}, "window"),
        ({"positions": "rotary", "head_dim": 3}, "even"),
        ({"positions": "relative", "attention": "linear"}, "Relative"),
    ],
)
def test_what_does_not_fit_is_refused(how: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Attention(**{"dim": 32, "heads": 4, **how})
    with pytest.raises(ValueError, match="norm"):
        TransformerBlock(dim=32, heads=4, mlp_dim=64, norm="batch")
    with pytest.raises(ValueError, match="activation"):
        TransformerBlock(dim=32, heads=4, mlp_dim=64, activation="tanh")


@pytest.mark.parametrize(("heads", "kv_heads"), [(0, 0), (5, 0), (4, -2), (4, 3)])
def test_heads_that_do_not_divide(heads: int, kv_heads: int) -> None:
    with pytest.raises(ValueError, match="do not divide"):
        Attention(dim=32, heads=heads, kv_heads=kv_heads)
