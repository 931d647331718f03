"""The kinds of Transformers. Their stream of tokens keeps its width: norms average over it, so it cannot narrow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoo.kinds.kind import MAX_CHANNELS, Arg, Axis, Kind, Layer, NormReaders, Shape
from zoo.spec import Block, SpecError

ATTENTIONS = ("full", "sliding", "linear")
POSITIONS = ("none", "rotary", "relative")
NORMS = ("layer", "rms")
MLP_ACTIVATIONS = ("gelu", "gelu_tanh", "relu", "swish")
POOLS = ("first", "pair", "mean", "max", "mean_sqrt", "weighted_mean", "last")
BUCKETS = 32  # of relative positions

MOST_VOCABULARY = 1_000_000
_MOST_TOKENS = 2**20
DIM = Arg(int, low=1, high=MAX_CHANNELS)
HEADS = Arg(int, low=1, high=1024)
EPS = Arg(float, 1e-6, low=0.0, high=1.0)
NORM = Arg(str, "layer", choices=NORMS)
DROPOUT = Arg(float, 0.0, low=0.0, high=0.95)
_SCALE = Arg(float, 1.0, low=1e-6, high=1e6)
EMBEDDING: dict[str, Arg] = {
    "max_positions": Arg(int, 0, low=0, high=_MOST_TOKENS),
    "sinusoidal": Arg(bool, False),
    "scale": _SCALE,
    "norm": Arg(str, "", choices=("", *NORMS)),
    "eps": EPS,
    "dropout": DROPOUT,
}
FLOATS = ("float32", "int8", "int8_dynamic")
_DECODING = (*FLOATS, "w8", "w4")


def norms_of(path: str, norm: str, dim: int) -> dict[str, tuple[int, ...]]:
    leaves = {"": (), "rms": ("weight",), "layer": ("weight", "bias")}[norm]
    return {f"{path}{leaf}": (dim,) for leaf in leaves}


def _patch_extras(args: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    tokens = ("class_token", "teacher_token")[: args["prefix"]]
    positions = (1, args["prefix"] + args["rows"] * args["columns"], args["dim"])
    return {**dict.fromkeys(tokens, (1, 1, args["dim"])), "positions": positions}


def _patch_macs_and_shape(args: Mapping[str, Any], shape: Shape) -> tuple[int, Shape]:
    patches = (shape[1] // args["patch"]) * (shape[2] // args["patch"])
    if not patches:
        raise SpecError(f"A picture of {shape[1:]} pixels holds no patch of {args['patch']}x{args['patch']}.")
    macs = patches * args["dim"] * args["in_channels"] * args["patch"] ** 2
    return macs, (args["dim"], args["prefix"] + patches)


def embedding_extras(args: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    extras = {}
    if args["max_positions"] and not args["sinusoidal"]:
        extras["positions.weight"] = (args["max_positions"], args["dim"])
    if args.get("token_types"):
        extras["types.weight"] = (args["token_types"], args["dim"])
    return {**extras, **norms_of("norm.", args["norm"], args["dim"])}


def embedding_conflict(args: Mapping[str, Any]) -> str:
    if args["sinusoidal"] and not args["max_positions"]:
        return "sinusoidal positions have a largest one, max_positions"
    if args["sinusoidal"] and args["dim"] < 2:
        return "sinusoidal positions are of 2 channels at least"
    return ""


def _block_layers(args: Mapping[str, Any]) -> tuple[Layer, ...]:
    width, queries = args["head_dim"], args["heads"] // args["kv_heads"] * args["head_dim"]
    common: dict[str, Any] = {"linear": True, "norm": False}
    bias = args["bias"]
    gate = (Layer("mlp.gate.", "in", "mlp", bias=bias, **common),) if args["gated"] else ()
    return (
        Layer("attn.qkv.", "in", "heads", bias=args["qkv_bias"], target_parts=(queries, width, width), **common),
        Layer("attn.proj.", "heads", "out", bias=bias, source_parts=(queries,), **common),
        Layer("mlp.fc1.", "in", "mlp", bias=bias, **common),
        *gate,
        Layer("mlp.fc2.", "mlp", "out", bias=bias, **common),
    )


def relative_extras(args: Mapping[str, Any]) -> dict[str, tuple[Axis | int, ...]]:
    """The table of relative positions, a number for each head: it narrows with them."""
    heads = Axis("heads", args["kv_heads"], (args["heads"] // args["kv_heads"],))
    return {"attn.bias.weight": (BUCKETS, heads)} if args["positions"] == "relative" else {}


def _block_extras(args: Mapping[str, Any]) -> dict[str, tuple[Axis | int, ...]]:
    norms = {**norms_of("norm1.", args["norm"], args["dim"]), **norms_of("norm2.", args["norm"], args["dim"])}
    return {**norms, **relative_extras(args)}


def _block_macs_and_shape(args: Mapping[str, Any], shape: Shape) -> tuple[int, Shape]:
    dim, tokens = shape
    width = args["heads"] * args["head_dim"]
    weights = dim * (width + 2 * args["kv_heads"] * args["head_dim"]) + width * dim
    weights += dim * args["mlp_dim"] * (3 if args["gated"] else 2)
    window = args["window"] * (1 if args["causal"] else 2) + (0 if args["causal"] else 1)
    reach = {"full": tokens, "sliding": min(tokens, window), "linear": args["head_dim"]}[args["attention"]]
    return args["repeats"] * tokens * (weights + 2 * reach * width), shape


def _block_conflict(args: Mapping[str, Any]) -> str:
    if args["heads"] % args["kv_heads"]:
        return f"{args['kv_heads']} key-value heads do not divide {args['heads']} heads"
    if (args["attention"] == "sliding") != (args["window"] > 0):
        return f"a window above 0 belongs to sliding attention, not {args['window']} to {args['attention']}"
    if args["positions"] == "rotary" and args["head_dim"] % 2:
        return f"rotary positions turn pairs of channels, and head_dim is {args['head_dim']}"
    if not args["scaled"] and args["attention"] != "full":
        return f"products without a scale belong to full attention, not to {args['attention']}"
    if args["positions"] == "relative" and args["attention"] != "full":
        return f"relative positions belong to full attention, not to {args['attention']}"
    if args["repeats"] > 1 and args["causal"]:
        return "a block that repeats keeps no cache, so it is not causal"
    if len(args["rotary_scaling"]) not in (0, 1, 4):
        return f"rotary_scaling has 0, 1 or 4 numbers, not {len(args['rotary_scaling'])}"
    return ""


def _block_readers(args: Mapping[str, Any]) -> NormReaders:
    gate = ("mlp.gate.",) if args["gated"] else ()
    return (("norm1.", ("attn.qkv.",)), ("norm2.", ("mlp.fc1.", *gate))) if args["norm_first"] else ()


def _block_sums(args: Mapping[str, Any]) -> dict[str, str]:
    """Of a row that repeats, its own input is what the first of its parts takes each time."""
    enters = "" if args["repeats"] == 1 else "norm1" if args["norm_first"] else "attn"
    return {"attn.proj": enters, "mlp.fc2": "norm2" if args["norm_first"] else "mlp"}


def _head_conflict(args: Mapping[str, Any]) -> str:
    scaled = args["scale"] != 1 and args["bias"] and not args["tied"]
    return "a scale belongs to a head that is tied, or without a bias" if scaled else ""


def _head_layers(args: Mapping[str, Any]) -> tuple[Layer, ...]:
    return () if args["tied"] else (Layer("fc.", "in", "out", linear=True, norm=False, bias=args["bias"]),)


TRANSFORMER: tuple[Kind, ...] = (
    Kind(
        "patch_embedding",
        {
            "in_channels": DIM,
            "dim": DIM,
            "patch": Arg(int, low=1, high=256),
            "rows": Arg(int, low=1, high=1024),
            "columns": Arg(int, low=1, high=1024),
            "prefix": Arg(int, 1, low=0, high=2),
        },
        lambda args: (Layer("proj.", "in", "out", args["patch"], norm=False),),
        widths={"in": "in_channels", "out": "dim"},
        extras=_patch_extras,
        fixed=("out",),
        macs_and_shape=_patch_macs_and_shape,
        edges=lambda args: (),
        precisions=("float32",),
        role="stem",
        grid=True,
    ),
    Kind(
        "token_embedding",
        {
            "vocabulary": Arg(int, low=1, high=MOST_VOCABULARY),
            "dim": DIM,
            "token_types": Arg(int, 0, low=0, high=1024),
            "padding_id": Arg(int, -1, low=-1, high=MOST_VOCABULARY),
            **EMBEDDING,
        },
        lambda args: (Layer("tokens.", "out", "vocabulary", linear=True, norm=False, bias=False, table=True),),
        widths={"vocabulary": "vocabulary", "out": "dim"},
        conflict=embedding_conflict,
        extras=embedding_extras,
        fixed=("vocabulary", "out"),
        rank=1,
        macs_and_shape=lambda args, shape: (0, (args["dim"], shape[0])),
        edges=lambda args: (),
        precisions=_DECODING,
        takes_ids=True,
        role="stem",
    ),
    Kind(
        "transformer_block",
        {
            "dim": DIM,
            "heads": HEADS,
            "head_dim": Arg(int, low=1, high=4096),
            "kv_heads": HEADS,
            "mlp_dim": Arg(int, low=1, high=4 * MAX_CHANNELS),
            "attention": Arg(str, "full", choices=ATTENTIONS),
            "window": Arg(int, 0, low=0, high=_MOST_TOKENS),
            "causal": Arg(bool, False),
            "positions": Arg(str, "none", choices=POSITIONS),
            "rotary_base": Arg(float, 10000.0, low=1.0, high=1e12),
            "rotary_scaling": Arg(tuple, (), low=1.0, high=float(_MOST_TOKENS)),
            "norm": NORM,
            "norm_first": Arg(bool, True),
            "activation": Arg(str, "gelu", choices=MLP_ACTIVATIONS),
            "gated": Arg(bool, False),
            "qkv_bias": Arg(bool, True),
            "bias": Arg(bool, True),
            "scaled": Arg(bool, True),
            "eps": EPS,
            "dropout": DROPOUT,
            "repeats": Arg(int, 1, low=1, high=512),
        },
        _block_layers,
        widths={"in": "dim", "out": "dim", "heads": "kv_heads", "mlp": "mlp_dim"},
        ties=lambda args: (("in", "out"),),
        extras=_block_extras,
        fixed=("in", "out"),
        scales_with={"kv_heads": "heads"},
        rank=2,
        macs_and_shape=_block_macs_and_shape,
        conflict=_block_conflict,
        edges=lambda args: ("<attn.qkv", "<attn.proj", "<mlp.fc1", "<mlp.fc2"),
        precisions=_DECODING,
        norm_readers=_block_readers,
        added_to=_block_sums,
        droppable=True,
    ),
    Kind(
        "token_projection",
        {"dim": DIM, "width": DIM},
        lambda args: (Layer("fc.", "in", "out", linear=True, norm=False),),
        widths={"in": "dim", "out": "width"},
        fixed=("in", "out"),
        rank=2,
        macs_and_shape=lambda args, shape: (shape[1] * args["dim"] * args["width"], (args["width"], shape[1])),
        edges=lambda args: ("in",),
        precisions=FLOATS,
    ),
    Kind(
        "token_norm",
        {"dim": DIM, "norm": NORM, "eps": EPS},
        lambda args: (),
        widths={"in": "dim", "out": "dim"},
        ties=lambda args: (("in", "out"),),
        extras=lambda args: norms_of("norm.", args["norm"], args["dim"]),
        fixed=("in", "out"),
        rank=2,
        macs_and_shape=lambda args, shape: (0, shape),
        edges=lambda args: (),
        precisions=("float32",),
    ),
    Kind(
        "token_pool",
        {
            "pool": Arg(str, "first", choices=POOLS),
            "normalize": Arg(bool, False),
        },
        lambda args: (),
        passes_channels=True,
        rank=2,
        macs_and_shape=lambda args, shape: (0, shape[:1]),
        edges=lambda args: (),
        precisions=("float32",),
        role="pool",
        output="sentence_embedding",
    ),
    Kind(
        "pooler",
        {"dim": DIM, "activation": Arg(str, "tanh", choices=("tanh", "relu", "gelu"))},
        lambda args: (Layer("fc.", "in", "out", linear=True, norm=False),),
        widths={"in": "dim", "out": "dim"},
        fixed=("in", "out"),
        rank=2,
        macs_and_shape=lambda args, shape: (args["dim"] ** 2, shape[:1]),
        edges=lambda args: (),
        precisions=("float32",),
        role="pool",
        output="pooler_output",
    ),
    Kind(
        "pair_classifier",
        {"dim": DIM, "num_classes": Arg(int, low=1, high=MOST_VOCABULARY)},
        lambda args: tuple(Layer(path, "in", "out", linear=True, norm=False) for path in ("fc.", "teacher.")),
        widths={"in": "dim", "out": "num_classes"},
        fixed=("in", "out"),
        rank=2,
        macs_and_shape=lambda args, shape: (2 * args["dim"] * args["num_classes"], (args["num_classes"],)),
        edges=lambda args: (),
        precisions=("float32",),
        role="head",
        head_replacement=Block("token_pool", "pool", pool="pair"),  # the mean of both tokens
    ),
    Kind(
        "token_head",
        {
            "dim": DIM,
            "outputs": Arg(int, low=1, high=MOST_VOCABULARY),
            "bias": Arg(bool, True),
            "dropout": DROPOUT,
            "tied": Arg(str, ""),
            "scale": _SCALE,
        },
        _head_layers,
        conflict=_head_conflict,
        extras=lambda args: {"bias": (args["outputs"],)} if args["tied"] and args["bias"] else {},
        widths={"in": "dim", "out": "outputs"},
        fixed=("in", "out"),
        rank=2,
        macs_and_shape=lambda args, shape: (shape[1] * args["dim"] * args["outputs"], (args["outputs"], shape[1])),
        edges=lambda args: ("in",),
        precisions=_DECODING,
        role="head",
    ),
)
