"""The kinds of a decoder behind an encoder: it reads the tokens so far, and what the encoder made of a text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoo.kinds.kind import MAX_CHANNELS, Arg, Axis, Kind, Layer, NormReaders, Shape
from zoo.kinds.transformer import (
    DIM,
    DROPOUT,
    EMBEDDING,
    EPS,
    FLOATS,
    HEADS,
    MLP_ACTIVATIONS,
    MOST_VOCABULARY,
    NORM,
    POSITIONS,
    embedding_conflict,
    embedding_extras,
    norms_of,
    relative_extras,
)

ATTENTION_EDGES = ("<attn.qkv", "<attn.proj", "<cross.q", "<cross.kv", "<cross.proj")


def _table(args: Mapping[str, Any]) -> tuple[Layer, ...]:
    if args["tied"]:
        return ()
    return (Layer("tokens.", "out", "vocabulary", linear=True, norm=False, bias=False, table=True),)


def _layers(args: Mapping[str, Any]) -> tuple[Layer, ...]:
    width, queries = args["head_dim"], args["heads"] // args["kv_heads"] * args["head_dim"]
    common: dict[str, Any] = {"linear": True, "norm": False}
    bias, reads = args["bias"], {**common, "bias": args["qkv_bias"]}
    gate = (Layer("mlp.gate.", "in", "mlp", bias=bias, **common),) if args["gated"] else ()
    return (
        Layer("attn.qkv.", "in", "heads", target_parts=(queries, width, width), **reads),
        Layer("attn.proj.", "heads", "out", bias=bias, source_parts=(queries,), **common),
        Layer("cross.q.", "in", "cross", target_parts=(width,), **reads),
        Layer("cross.kv.", "tap0", "cross", target_parts=(width, width), **reads),
        Layer("cross.proj.", "cross", "out", bias=bias, source_parts=(width,), **common),
        Layer("mlp.fc1.", "in", "mlp", bias=bias, **common),
        *gate,
        Layer("mlp.fc2.", "mlp", "out", bias=bias, **common),
    )


def _extras(args: Mapping[str, Any]) -> dict[str, tuple[Axis | int, ...]]:
    norms = [norms_of(f"norm{place}.", args["norm"], args["dim"]) for place in (1, 2, 3)]
    return {**norms[0], **norms[1], **norms[2], **relative_extras(args)}


def _macs_and_shape(args: Mapping[str, Any], shape: Shape, memory: Shape) -> tuple[int, Shape]:
    (dim, tokens), (_, remembered), head = shape, memory, args["head_dim"]
    own, cross = args["heads"] * head, args["cross_heads"] * head
    weights = 2 * dim * (own + args["kv_heads"] * head) + 2 * dim * cross
    weights += dim * args["mlp_dim"] * (3 if args["gated"] else 2)
    products = 2 * tokens * own + 2 * remembered * cross
    return tokens * (weights + products) + remembered * 2 * dim * cross, shape


def _conflict(args: Mapping[str, Any]) -> str:
    if args["heads"] % args["kv_heads"]:
        return f"{args['kv_heads']} key-value heads do not divide {args['heads']} heads"
    if args["positions"] == "rotary" and args["head_dim"] % 2:
        return f"rotary positions turn pairs of channels, and head_dim is {args['head_dim']}"
    return ""


def _readers(args: Mapping[str, Any]) -> NormReaders:
    gate = ("mlp.gate.",) if args["gated"] else ()
    parts = (("norm1.", ("attn.qkv.",)), ("norm2.", ("cross.q.",)), ("norm3.", ("mlp.fc1.", *gate)))
    return parts if args["norm_first"] else ()


def _added_to(args: Mapping[str, Any]) -> dict[str, str]:
    first = args["norm_first"]
    return {"attn.proj": "", "cross.proj": "norm2" if first else "cross.q", "mlp.fc2": "norm3" if first else "mlp"}


TRANSLATION: tuple[Kind, ...] = (
    Kind(
        "target_embedding",
        {
            "vocabulary": Arg(int, low=1, high=MOST_VOCABULARY),
            "dim": DIM,
            "tied": Arg(str, ""),
            **EMBEDDING,
        },
        _table,
        widths={"vocabulary": "vocabulary", "out": "dim"},
        conflict=embedding_conflict,
        extras=embedding_extras,
        fixed=("vocabulary", "out"),
        rank=2,
        macs_and_shape=lambda args, shape: (0, (args["dim"], shape[1])),
        edges=lambda args: (),
        precisions=FLOATS,
        takes_targets=True,
        role="stem",
    ),
    Kind(
        "decoder_block",
        {
            "dim": DIM,
            "heads": HEADS,
            "head_dim": Arg(int, low=1, high=4096),
            "kv_heads": HEADS,
            "cross_heads": HEADS,
            "mlp_dim": Arg(int, low=1, high=4 * MAX_CHANNELS),
            "positions": Arg(str, "none", choices=POSITIONS),
            "norm": NORM,
            "norm_first": Arg(bool, True),
            "activation": Arg(str, "gelu", choices=MLP_ACTIVATIONS),
            "gated": Arg(bool, False),
            "qkv_bias": Arg(bool, True),
            "bias": Arg(bool, True),
            "scaled": Arg(bool, True),
            "eps": EPS,
            "dropout": DROPOUT,
        },
        _layers,
        widths={
            "in": "dim",
            "out": "dim",
            "tap0": "dim",
            "heads": "kv_heads",
            "cross": "cross_heads",
            "mlp": "mlp_dim",
        },
        ties=lambda args: (("in", "out"),),
        extras=_extras,
        fixed=("in", "out", "tap0"),
        scales_with={"kv_heads": "heads"},
        rank=2,
        macs_and_shape=_macs_and_shape,
        conflict=_conflict,
        edges=lambda args: (*ATTENTION_EDGES, "<mlp.fc1", "<mlp.fc2"),
        precisions=FLOATS,
        norm_readers=_readers,
        added_to=_added_to,
        taps=lambda args: 1,
        droppable=True,
    ),
)
