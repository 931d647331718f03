"""Marian (Junczys-Dowmunt et al., 2018): encoders and decoders for translation, such as those of OPUS-MT (Tiedemann and
Thottingal, 2020), as transformers has them."""

from __future__ import annotations

from typing import Any

from zoo.spec import Block, ModelSpec, SpecError, TextInput

# name -> (vocabulary, width, blocks of encoder and decoder, heads, width of the MLP, positions, activation)
MARIAN = {
    "marian_micro": (8000, 96, 2, 1, 4, 256, 512, "relu"),
    "marian_tiny": (8000, 128, 2, 2, 4, 512, 512, "relu"),
    "marian_small": (8000, 256, 3, 3, 4, 1024, 512, "relu"),
    "marian_base": (58101, 512, 6, 6, 8, 2048, 512, "swish"),  # OPUS-MT
    "marian_big": (58101, 1024, 6, 6, 16, 4096, 1024, "relu"),  # its transformer-big
}


def transformers(name: str, num_classes: int = 0) -> ModelSpec:
    """An encoder and decoder by its name; it makes texts of texts, so there are no classes to number."""
    if num_classes:
        raise SpecError(f"{name} translates texts; it has no classifier, so it takes no num_classes.")
    vocabulary, dim, encoder, decoder, heads, mlp_dim, length, activation = MARIAN[name]
    padding = vocabulary - 1
    spec = marian_type(
        name,
        vocabulary=vocabulary,
        dim=dim,
        layers=(encoder, decoder),
        heads=(heads, heads),
        mlp_dims=(mlp_dim, mlp_dim),
        length=length,
        activation=activation,
        padding=padding,
    )
    return spec.replace(
        input=TextInput(vocabulary, length, padding, ends=(0,), start=padding, last=0, banned=(padding,))
    )


def marian_type(
    name: str,
    *,
    vocabulary: int,
    dim: int,
    layers: tuple[int, int],
    heads: tuple[int, int],
    mlp_dims: tuple[int, int],
    target_vocabulary: int = 0,
    length: int = 512,
    activation: str = "swish",
    scaled: bool = True,
    padding: int = 0,
) -> ModelSpec:
    """Sinusoidal positions, post-norm blocks, and a head that is tied to the decoder's table, with a bias.

    Pairs are those of the encoder and of the decoder. With a `target_vocabulary` the decoder has a table of its own.
    """
    stem: dict[str, Any] = {"dim": dim, "max_positions": length, "sinusoidal": True}
    stem["scale"] = float(dim) ** 0.5 if scaled else 1.0
    targets, table = target_vocabulary or vocabulary, "target" if target_vocabulary else "embed"
    common: dict[str, Any] = {"dim": dim, "norm_first": False, "activation": activation, "eps": 1e-5}
    encoder, decoder = (
        {**common, "heads": many, "kv_heads": many, "head_dim": dim // many, "mlp_dim": mlp_dim}
        for many, mlp_dim in zip(heads, mlp_dims, strict=True)
    )
    memory = f"h{layers[0] - 1}" if layers[0] else "embed"
    rows = (
        Block("token_embedding", "embed", vocabulary=vocabulary, **stem),
        *(Block("transformer_block", f"h{i}", **encoder) for i in range(layers[0])),
        Block("target_embedding", "target", vocabulary=targets, tied="" if target_vocabulary else "embed", **stem),
        *(Block("decoder_block", f"d{i}", taps=(memory,), cross_heads=heads[1], **decoder) for i in range(layers[1])),
        Block("token_head", "head", dim=dim, outputs=targets, tied=table),
    )
    takes = TextInput(vocabulary, length, padding, start=padding, target_vocabulary=target_vocabulary)
    return ModelSpec(name=name, rows=rows, input=takes, task="translation")
