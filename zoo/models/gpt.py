"""Decoders: GPT-2 (Radford et al., 2019), DistilGPT2, and those of Llama's type (Touvron et al., 2023): SmolLM2, Qwen2,
as transformers has them."""

from __future__ import annotations

from typing import Any

from zoo.spec import Block, ModelSpec, SpecError, TextInput

# name -> (width, blocks); heads are 64 wide, of the smallest 32
GPT2 = {
    "gpt2_tiny": (64, 2),
    "gpt2_mini": (128, 4),
    "gpt2": (768, 12),
    "distilgpt2": (768, 6),
    "gpt2_medium": (1024, 24),
    "gpt2_large": (1280, 36),
    "gpt2_xl": (1600, 48),
}
# name -> the arguments of `llama_type`
LLAMA: dict[str, dict[str, Any]] = {
    "smollm2_135m": {"vocabulary": 49152, "dim": 576, "layers": 30, "heads": 9, "kv_heads": 3, "mlp_dim": 1536,
                     "rotary_base": 100000.0, "length": 8192},
    "smollm2_360m": {"vocabulary": 49152, "dim": 960, "layers": 32, "heads": 15, "kv_heads": 5, "mlp_dim": 2560,
                     "rotary_base": 100000.0, "length": 8192},
    "smollm2_1_7b": {"vocabulary": 49152, "dim": 2048, "layers": 24, "heads": 32, "kv_heads": 32, "mlp_dim": 8192,
                     "rotary_base": 130000.0, "length": 8192},
    "qwen2_0_5b": {"vocabulary": 151936, "dim": 896, "layers": 24, "heads": 14, "kv_heads": 2, "mlp_dim": 4864,
                   "rotary_base": 1000000.0, "eps": 1e-6, "qkv_bias": True, "length": 131072},
    "llama3_2_1b": {"vocabulary": 128256, "dim": 2048, "layers": 16, "heads": 32, "kv_heads": 8, "mlp_dim": 8192,
                    "rotary_base": 500000.0, "rotary_scaling": (32.0, 1.0, 4.0, 8192.0), "length": 131072},
}  # fmt: skip


ENDS = {"smollm2": 0, "qwen2": 151643, "llama3": 128001}  # the token that ends a text, by family


def transformers(name: str, num_classes: int = 0) -> ModelSpec:
    """A decoder by its name; it continues texts, so there are no classes to number."""
    if num_classes:
        raise SpecError(f"{name} continues texts; it has no classifier, so it takes no num_classes.")
    if name in LLAMA:
        spec, end = llama_type(name, **LLAMA[name]), ENDS[name.partition("_")[0]]
        vocabulary, length = LLAMA[name]["vocabulary"], LLAMA[name]["length"]
        return spec.replace(input=TextInput(vocabulary, length, padding=end, ends=(end,)))
    dim, layers = GPT2[name]
    spec = gpt2_type(name, vocabulary=50257, dim=dim, layers=layers, heads=dim // (64 if dim > 128 else 32))
    return spec.replace(input=TextInput(50257, 1024, padding=50256, ends=(50256,)))


def gpt2_type(
    name: str,
    *,
    vocabulary: int,
    dim: int,
    layers: int,
    heads: int,
    mlp_dim: int = 0,
    length: int = 1024,
    activation: str = "gelu_tanh",
    eps: float = 1e-5,
) -> ModelSpec:
    """Learned positions, pre-norm blocks, and a head that is tied to the embedding."""
    block: dict[str, Any] = {
        "dim": dim,
        "heads": heads,
        "head_dim": dim // heads,
        "kv_heads": heads,
        "mlp_dim": mlp_dim or 4 * dim,
    }
    rows = (
        Block("token_embedding", "embed", vocabulary=vocabulary, dim=dim, max_positions=length),
        *(
            Block("transformer_block", f"h{i}", causal=True, activation=activation, eps=eps, **block)
            for i in range(layers)
        ),
        Block("token_norm", "norm", dim=dim, eps=eps),
        Block("token_head", "head", dim=dim, outputs=vocabulary, bias=False, tied="embed"),
    )
    return ModelSpec(name=name, rows=rows, input=TextInput(vocabulary, length), task="text-generation")


def llama_type(
    name: str,
    *,
    vocabulary: int,
    dim: int,
    layers: int,
    heads: int,
    kv_heads: int,
    mlp_dim: int,
    head_dim: int = 0,
    rotary_base: float = 10000.0,
    rotary_scaling: tuple[float, ...] = (),
    activation: str = "swish",
    qkv_bias: bool = False,
    window: int = 0,
    eps: float = 1e-5,
    tied: bool = True,
    length: int = 2048,
) -> ModelSpec:
    """Rotary positions, RMS norms, gated MLPs, keys and values shared by groups of heads."""
    block: dict[str, Any] = {
        "dim": dim,
        "heads": heads,
        "head_dim": head_dim or dim // heads,
        "kv_heads": kv_heads,
        "mlp_dim": mlp_dim,
        "attention": "sliding" if window else "full",
        "window": window,
        "positions": "rotary",
        "rotary_base": rotary_base,
        "rotary_scaling": rotary_scaling,
        "norm": "rms",
        "activation": activation,
        "gated": True,
        "qkv_bias": qkv_bias,
        "bias": False,
    }
    head: dict[str, Any] = {"tied": "embed"} if tied else {}
    rows = (
        Block("token_embedding", "embed", vocabulary=vocabulary, dim=dim),
        *(Block("transformer_block", f"h{i}", causal=True, eps=eps, **block) for i in range(layers)),
        Block("token_norm", "norm", dim=dim, norm="rms", eps=eps),
        Block("token_head", "head", dim=dim, outputs=vocabulary, bias=False, **head),
    )
    return ModelSpec(name=name, rows=rows, input=TextInput(vocabulary, length), task="text-generation")
