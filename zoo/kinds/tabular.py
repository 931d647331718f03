"""The kinds of recommenders: rows that look up tables, and rows in which features act together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoo.kinds.kind import MAX_CHANNELS, Arg, Kind, Layer, Shape, Table

READS = ("row", "mean", "sum", "number")
COLUMNS = {"row": 1, "number": 2}  # of the input, for each feature; a list has as many as it says

_MOST = 2**31 - 1
_WIDTH = Arg(int, low=1, high=MAX_CHANNELS)
_DIMS = Arg(tuple, low=1, high=4096, whole=True)
_LOGITS = Arg(int, 1, low=1, high=1)
_FLOATS = ("float32", "int8")
_READER = {
    "rows": Arg(tuple, low=1, high=_MOST, whole=True),
    "columns": Arg(tuple, low=1, high=4096, whole=True),
    "reads": Arg(tuple, choices=READS),
}


def _reader_conflict(args: Mapping[str, Any]) -> str:
    lengths = {len(args[name]) for name in ("rows", "columns", "reads", "dims") if name in args}
    if len(lengths) != 1 or 0 in lengths:
        return "rows, columns and reads (and dims) are one for each feature"
    for read, columns, rows in zip(args["reads"], args["columns"], args["rows"], strict=True):
        if columns != COLUMNS.get(read, columns):
            return f"a feature that is read as {read!r} has {COLUMNS[read]} columns, not {columns}"
        if read == "number" and rows != 2:
            return f"a number has 2 rows, missing and present, not {rows}"
    if sum(args["rows"]) + sum(args.get("crosses", ())) > _MOST:
        return f"its tables have more than {_MOST:,} rows"
    keys = args.get("keys", ())
    if keys and (len(keys) != len(args["rows"]) or any(k > r for k, r in zip(keys, args["rows"], strict=True))):
        return "keys are one number for each feature, and at most its rows"
    return ""


def _embedding_tables(args: Mapping[str, Any]) -> tuple[Table, ...]:
    """One table for each width, of the features of that width."""
    found = dict.fromkeys(args["dims"])
    of_width = {width: tuple(place for place, dim in enumerate(args["dims"]) if dim == width) for width in found}
    return tuple(
        Table(f"tables.{number}.", sum(args["rows"][place] for place in places), width, features=places)
        for number, (width, places) in enumerate(of_width.items())
    )


def _wide_tables(args: Mapping[str, Any]) -> tuple[Table, ...]:
    parts = (*args["rows"], *args["crosses"])
    return (Table("table.", sum(parts), 1, parts, tuple(range(len(args["rows"])))),)


def _cross_layers(args: Mapping[str, Any]) -> tuple[Layer, ...]:
    common: dict[str, Any] = {"linear": True, "norm": False}
    if not args["rank"]:
        return (Layer("fc.", "in", "out", **common),)
    return (Layer("down.", "in", "rank", bias=False, **common), Layer("up.", "rank", "out", **common))


def _gate_conflict(args: Mapping[str, Any]) -> str:
    context, dims = args["context"], args["dims"]
    if any(place >= len(dims) for place in context):
        return f"context names features by their places below {len(dims)}, not {context}"
    if context and sum(dims[place] for place in context) != args["context_features"]:
        return f"the features {context} are not {args['context_features']} wide together"
    return ""


def _head_layers(args: Mapping[str, Any]) -> tuple[Layer, ...]:
    common: dict[str, Any] = {"linear": True, "norm": False}
    side = (Layer("side.", "tap0", "out", bias=False, **common),) if args["side_features"] else ()
    return (Layer("fc.", "in", "out", **common), *side)


def _head_macs(args: Mapping[str, Any], shape: Shape, *tapped: Shape) -> tuple[int, Shape]:
    return (args["in_features"] + args["side_features"]) * args["num_classes"], (args["num_classes"],)


def _bilinear_conflict(args: Mapping[str, Any]) -> str:
    heads = args["heads"]
    uneven = args["in_features"] % heads or args["side_features"] % heads
    return f"{heads} heads do not divide {args['in_features']} and {args['side_features']}" if uneven else ""


def _bilinear_extras(args: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    heads = args["heads"]
    return {"weight": (heads, args["in_features"] // heads, args["side_features"] // heads)}


def _cross_macs(args: Mapping[str, Any], shape: Shape, *tapped: Shape) -> tuple[int, Shape]:
    return args["features"] * (2 * args["rank"] or args["features"]), shape


TABULAR: tuple[Kind, ...] = (
    Kind(
        "feature_embedding",
        {**_READER, "dims": _DIMS, "keys": Arg(tuple, (), low=0, high=_MOST, whole=True)},
        lambda args: (),
        widths={"out": "dims"},
        rank=1,
        macs_and_shape=lambda args, shape: (0, (sum(args["dims"]),)),
        edges=lambda args: (),
        precisions=(*_FLOATS, "int4"),
        conflict=_reader_conflict,
        tables=_embedding_tables,
        keys=lambda args: sum(args["keys"]),
        takes_rows=True,
        role="stem",
    ),
    Kind(
        "wide",
        {**_READER, "crosses": Arg(tuple, (), low=1, high=_MOST, whole=True)},
        lambda args: (),
        rank=1,
        macs_and_shape=lambda args, shape: (0, (1,)),
        edges=lambda args: (),
        precisions=_FLOATS,
        conflict=_reader_conflict,
        tables=_wide_tables,
        extras=lambda args: {"bias": (1,)},
        takes_rows=True,
        role="stem",
    ),
    Kind(
        "factorization_machine",
        {"dims": _DIMS},
        lambda args: (),
        widths={"in": "dims"},
        rank=1,
        aligned=True,
        macs_and_shape=lambda args, shape: (0, (1,)),
        edges=lambda args: (),
        precisions=("float32",),
    ),
    Kind(
        "cross_layer",
        {"features": _WIDTH, "rank": Arg(int, 0, low=0, high=MAX_CHANNELS)},
        _cross_layers,
        widths={"in": "features", "out": "features", "tap0": "features", "rank": "rank"},
        ties=lambda args: (("in", "out"), ("in", "tap0")),
        rank=1,
        macs_and_shape=_cross_macs,
        edges=lambda args: ("<down", "<up") if args["rank"] else ("<fc",),
        precisions=_FLOATS,
        floats=True,
        taps=lambda args: 1,
    ),
    Kind(
        "feature_gate",
        {
            "dims": _DIMS,
            "hidden": _WIDTH,
            "context": Arg(tuple, (), low=0, high=4096, whole=True),
            "context_features": _WIDTH,
        },
        lambda args: (
            Layer("fc1.", "context", "hidden", activation="relu", linear=True, norm=False),
            Layer("fc2.", "hidden", "out", linear=True, norm=False),
        ),
        widths={"in": "dims", "out": "dims", "hidden": "hidden", "context": "context_features"},
        ties=lambda args: (("in", "out"),),
        fixed=("in", "out", "context"),
        extras=lambda args: {} if args["context"] else {"learned": (1, args["context_features"])},
        rank=1,
        macs_and_shape=lambda args, shape: (args["hidden"] * (args["context_features"] + sum(args["dims"])), shape),
        edges=lambda args: ("<fc1", "<fc2"),
        precisions=_FLOATS,
        floats=True,
        conflict=_gate_conflict,
    ),
    Kind(
        "logit_head",
        {
            "in_features": _WIDTH,
            "num_classes": _LOGITS,
            "side_features": Arg(int, 0, low=0, high=MAX_CHANNELS),
            "summands": Arg(int, 0, low=0, high=16),
            "dropout": Arg(float, 0.0, low=0.0, high=0.95),
        },
        _head_layers,
        widths={"in": "in_features", "out": "num_classes", "tap0": "side_features"},
        rank=1,
        macs_and_shape=_head_macs,
        edges=lambda args: ("<fc", "<side") if args["side_features"] else ("<fc",),
        precisions=_FLOATS,
        floats=True,
        taps=lambda args: bool(args["side_features"]) + args["summands"],
        role="head",
    ),
    Kind(
        "bilinear_head",
        {
            "in_features": _WIDTH,
            "side_features": _WIDTH,
            "num_classes": _LOGITS,
            "heads": Arg(int, 1, low=1, high=256),
        },
        _head_layers,
        widths={"in": "in_features", "out": "num_classes", "tap0": "side_features"},
        fixed=("in", "tap0"),
        extras=_bilinear_extras,
        rank=1,
        macs_and_shape=lambda args, shape, tapped: (
            args["in_features"] * (1 + args["side_features"] // args["heads"]) + args["side_features"],
            (1,),
        ),
        edges=lambda args: ("<fc", "<side"),
        precisions=_FLOATS,
        floats=True,
        conflict=_bilinear_conflict,
        taps=lambda args: 1,
        role="head",
    ),
)
