"""What follows from a row's kind and arguments: their full values, its widths, its state dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoo.kinds.convolutional import CONVOLUTIONAL
from zoo.kinds.dense import DENSE
from zoo.kinds.detection import DETECTION
from zoo.kinds.graph import GRAPH
from zoo.kinds.kind import GROUP, Axis, Kind, Layer, Sum
from zoo.kinds.tabular import TABULAR
from zoo.kinds.transformer import TRANSFORMER
from zoo.kinds.translation import TRANSLATION
from zoo.spec import Block, ModelSpec, SpecError

EARLIER_KEYS = {"log_scale": "stretch"}  # key of a row -> its name in files and state dicts of earlier versions
KINDS: dict[str, Kind] = {
    kind.name: kind for kind in (*CONVOLUTIONAL, *DENSE, *DETECTION, *TRANSFORMER, *TRANSLATION, *GRAPH, *TABULAR)
}
_KNOWN = "_known"  # attribute of a row: its kind, and what is remembered for it


def remembered(block: Block, kind: Kind) -> dict[str, Any]:
    """What is known of the row as one of that kind: a row never changes, and is asked hundreds of times."""
    known: tuple[Kind, dict[str, Any]] | None = block.__dict__.get(_KNOWN)
    if known is None or known[0] is not kind:
        known = (kind, {})
        object.__setattr__(block, _KNOWN, known)
    return known[1]


def arguments(block: Block) -> dict[str, Any]:
    """The row's arguments with defaults filled in; raises SpecError for an unknown kind or argument, or a bad value."""
    kind = KINDS.get(block.kind)
    if kind is None:
        raise SpecError(f"Row {block.name!r}: unknown kind {block.kind!r}; the kinds are {sorted(KINDS)}.")
    known = remembered(block, kind)
    if "arguments" in known:
        return dict(known["arguments"])
    given = block.args
    unknown = set(given) - set(kind.args)
    if unknown:
        raise SpecError(f"Row {block.name!r}: {block.kind} has no argument {sorted(unknown)}.")
    filled = {}
    for name, arg in kind.args.items():
        value = given.get(name, arg.default)
        if value is None:
            raise SpecError(f"Row {block.name!r}: {block.kind} needs {name!r}.")
        arg.check(value, f"Row {block.name!r}: {name}")
        filled[name] = value
    if why := kind.conflict(filled):
        raise SpecError(f"Row {block.name!r}: {why}.")
    known["arguments"] = filled
    return dict(filled)


def residual(block: Block) -> Sum | None:
    """What the row adds its shortcut to; None where it adds none."""
    return KINDS[block.kind].sums(arguments(block))


def layer_widths(block: Block) -> dict[str, int]:
    """The size of each of the row's channel spaces."""
    kind, args = KINDS[block.kind], arguments(block)
    known = remembered(block, kind)
    if "widths" in known:
        return dict(known["widths"])
    given = {space: args[name] for space, name in kind.widths.items() if args[name]}
    widths = {space: sum(width) if isinstance(width, tuple) else width for space, width in given.items()}
    widths |= kind.derived(args)
    widths |= {space: sum(widths.get(one, 0) for one in parts) for space, parts in kind.composed.items()}
    known["widths"] = widths
    return dict(widths)


def state(block: Block) -> dict[str, tuple[str, tuple[Axis | int, ...]]]:
    """Key (without the row's name) -> (dtype, axes) of everything in the row's state dict."""
    args, widths = arguments(block), layer_widths(block)
    extras = KINDS[block.kind].extras(args)
    out: dict[str, tuple[str, tuple[Axis | int, ...]]] = {}
    out.update({key: ("float32", shape) for key, shape in extras.items() if "." not in key})  # the block's own
    if count := KINDS[block.kind].keys:
        out["vocabulary"] = ("int64", (count(args),))
    for table in KINDS[block.kind].tables(args):
        out.update(table.state(block.precision))
    layers = KINDS[block.kind].layers(args)
    for place, layer in enumerate(layers):
        target = _axis(layer.target, widths, layer.target_parts)
        source: Axis | int = 1 if layer.depthwise else _axis(layer.source, widths, layer.source_parts)
        window = () if layer.linear else (layer.kernel, layer.kernel)
        if block.precision in ("int8", "int8_dynamic"):
            out[f"{layer.int8_path}weight"] = ("int8", (target, source, *window))
            out[f"{layer.int8_path}scale"] = ("float32", (target,))
            if not layer.table:
                out[f"{layer.int8_path}bias"] = ("float32", (target,))
        elif block.precision in ("w8", "w4"):
            out.update(_weight_only(layer, target.length, source.length if isinstance(source, Axis) else source, block))
        elif block.precision in ("qat", "fused"):
            out[f"{layer.int8_path}weight"] = ("float32", (target, source, *window))
            out[f"{layer.int8_path}bias"] = ("float32", (target,))
        elif layer.norm:
            out[f"{layer.path}conv.weight"] = ("float32", (target, source, *window))
            for part in ("weight", "bias", "running_mean", "running_var"):
                out[f"{layer.path}bn.{part}"] = ("float32", (target,))
            out[f"{layer.path}bn.num_batches_tracked"] = ("int64", ())
        else:
            out[f"{layer.path}weight"] = ("float32", (target, source, *window))
            if layer.bias:
                out[f"{layer.path}bias"] = ("float32", (target,))
        part = layer.path.partition(".")[0]
        if not any(other.path.startswith(f"{part}.") for other in layers[place + 1 :]):  # what stands in its module
            out.update({key: ("float32", shape) for key, shape in extras.items() if key.startswith(f"{part}.")})
    out.update({key: ("float32", shape) for key, shape in extras.items()})
    edges = len(KINDS[block.kind].edges(args))
    if block.precision in ("int8", "qat") and edges:
        out["edges"] = ("float32", (edges, 2))
        if block.precision == "qat" and edges > 1:
            out["log_scale"] = ("float32", (edges - 1,))
    return out


def _weight_only(layer: Layer, outputs: int, inputs: int, block: Block) -> dict[str, tuple[str, tuple[int, ...]]]:
    """A linear layer whose weights alone are integers; tables have 8 bits in both."""
    path, groups = layer.path, -(-inputs // GROUP)
    bits4 = block.precision == "w4" and not layer.table
    out: dict[str, tuple[str, tuple[int, ...]]] = {
        f"{path}weight": ("uint8", (outputs, groups * GROUP // 2)) if bits4 else ("int8", (outputs, inputs)),
        f"{path}scale": ("float32", (outputs,)),
    }
    if bits4:
        out |= {f"{path}step": ("uint8", (outputs, groups)), f"{path}shift": ("int8", (outputs, groups))}
    if layer.bias:
        out[f"{path}bias"] = ("float32", (outputs,))
    return out


def _axis(space: str, widths: Mapping[str, int], parts: tuple[int, ...]) -> Axis:
    return Axis(space, widths[space], parts)


def model_state(spec: ModelSpec) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Key -> (dtype, shape) of the whole state dict, in the order of the rows."""
    return {
        f"{row.name}.{key}": (dtype, tuple(axis.length if isinstance(axis, Axis) else axis for axis in axes))
        for row in spec
        for key, (dtype, axes) in state(row).items()
    }
