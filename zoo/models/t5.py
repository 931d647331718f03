"""T5 (Raffel et al., 2020), its version 1.1 and Flan-T5 (Chung et al., 2022): texts made of texts, as transformers has
them."""

from __future__ import annotations

from typing import Any

from zoo.spec import Block, ModelSpec, SpecError, TextInput

WORDS, LENGTH = 32128, 512
# size -> (width, blocks of each side, heads of 64 channels, width of the MLP)
T5 = {"small": (512, 6, 8, 2048), "base": (768, 12, 12, 3072), "large": (1024, 24, 16, 4096)}
V1_1 = {"small": (512, 8, 6, 1024), "base": (768, 12, 12, 2048), "large": (1024, 24, 16, 2816)}


def transformers(name: str, num_classes: int = 0) -> ModelSpec:
    """An encoder and decoder by its name; it makes texts of texts, so there are no classes to number."""
    if num_classes:
        raise SpecError(f"{name} makes texts of texts; it has no classifier, so it takes no num_classes.")
    family, _, size = name.rpartition("_")
    newer = family != "t5"
    dim, layers, heads, mlp_dim = (V1_1 if newer else T5)[size]
    spec = t5_type(
        name,
        vocabulary=WORDS,
        dim=dim,
        layers=(layers, layers),
        heads=heads,
        head_dim=64,
        mlp_dim=mlp_dim,
        activation="gelu_tanh" if newer else "relu",
        gated=newer,
        tied=not newer,
        scaled=not newer,
    )
    return spec.replace(input=TextInput(WORDS, LENGTH, padding=0, ends=(1,), start=0))


def t5_type(
    name: str,
    *,
    vocabulary: int,
    dim: int,
    layers: tuple[int, int],
    heads: int,
    head_dim: int,
    mlp_dim: int,
    activation: str = "relu",
    gated: bool = False,
    tied: bool = True,
    scaled: bool = True,
    eps: float = 1e-6,
    length: int = LENGTH,
) -> ModelSpec:
    """Relative positions, pre-norm blocks with RMS norms and without biases, products of attention without a scale.

    `tied`: the head's weight is the table. `scaled`: its products are divided by the root of the width. T5 has one
    table of relative positions for all blocks of a side; here each block has its own, so that heads are pruned block by
    block.
    """
    block: dict[str, Any] = {
        "dim": dim,
        "heads": heads,
        "head_dim": head_dim,
        "kv_heads": heads,
        "mlp_dim": mlp_dim,
        "positions": "relative",
        "norm": "rms",
        "activation": activation,
        "gated": gated,
        "qkv_bias": False,
        "bias": False,
        "scaled": False,
        "eps": eps,
    }
    head: dict[str, Any] = {"tied": "embed"} if tied else {}
    rows = (
        Block("token_embedding", "embed", vocabulary=vocabulary, dim=dim),
        *(Block("transformer_block", f"h{i}", **block) for i in range(layers[0])),
        Block("token_norm", "memory", dim=dim, norm="rms", eps=eps),
        Block("target_embedding", "target", vocabulary=vocabulary, dim=dim, tied="embed"),
        *(Block("decoder_block", f"d{i}", taps=("memory",), cross_heads=heads, **block) for i in range(layers[1])),
        Block("token_norm", "norm", dim=dim, norm="rms", eps=eps),
        Block(
            "token_head", "head", dim=dim, outputs=vocabulary, bias=False, scale=dim**-0.5 if scaled else 1.0, **head
        ),
    )
    return ModelSpec(name=name, rows=rows, input=TextInput(vocabulary, length, start=0), task="translation")
