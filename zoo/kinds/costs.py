"""What a network costs, and whether its rows fit together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from zoo.kinds.kind import Axis, Shape
from zoo.kinds.rows import KINDS, arguments, layer_widths, state
from zoo.spec import Block, ModelSpec, SpecError

MAX_PARAMETERS = 20_000_000_000


@dataclass(frozen=True)
class Cost:
    """Of one example: multiply-accumulates; and learnt values (batch-norm statistics left out)."""

    macs: int
    parameters: int


def cost(spec: ModelSpec) -> Cost:
    """What the network costs at its own input size."""
    return Cost(sum(c.macs for c in row_costs(spec)), sum(c.parameters for c in row_costs(spec)))


def row_costs(spec: ModelSpec, size: tuple[int, int] | None = None) -> list[Cost]:
    """The cost of every row, at the spec's own input size or another one. Raises SpecError where widths disagree."""
    return [Cost(macs, _row_parameters(row)) for row, (macs, _) in zip(spec, _run(spec, size), strict=True)]


def row_shapes(spec: ModelSpec, size: tuple[int, int] | None = None) -> list[Shape]:
    """What comes out of every row, for one example; otherwise as `row_costs`."""
    return [shape for _, shape in _run(spec, size)]


def check(spec: ModelSpec) -> ModelSpec:
    """Raise SpecError unless every row is of a known kind, in bounds, and fits the one before; returns the spec."""
    total = sum(c.parameters for c in row_costs(spec))
    if total > MAX_PARAMETERS:
        raise SpecError(f"{spec.name} has {total:,} parameters; more than {MAX_PARAMETERS:,} are refused.")
    for row in spec:
        wanted = KINDS[row.kind].taps
        if len(row.taps) != wanted:
            raise SpecError(f"Row {row.name!r}: {row.kind} takes {wanted} taps, not {len(row.taps)}.")
        if row.emits == "uint8" and row.precision in ("float32", "fused"):
            raise SpecError(f"Row {row.name!r} is {row.precision}, so it cannot emit uint8.")
    for before, row in zip(spec.rows, spec.rows[1:], strict=False):
        if before.emits == "uint8" and row.precision != before.precision:
            raise SpecError(
                f"Row {before.name!r} is {before.precision} and emits uint8, but {row.name!r} behind it is "
                f"{row.precision}."
            )
    if spec.rows[-1].emits != "float32":
        raise SpecError(f"The last row, {spec.rows[-1].name!r}, must emit float32.")
    return spec


def _run(spec: ModelSpec, size: tuple[int, int] | None) -> Iterator[tuple[int, Shape]]:
    """Multiply-accumulates of every row, and the shape behind it."""
    shape: Shape = (spec.input.channels, *(size or spec.input.size))
    for row in spec:
        macs, shape = _row_macs(row, shape)
        yield macs, shape


def _row_macs(row: Block, shape: Shape) -> tuple[int, Shape]:
    args, widths, kind = arguments(row), layer_widths(row), KINDS[row.kind]
    if "in" in widths and widths["in"] != shape[0]:
        raise SpecError(f"Row {row.name!r} takes {widths['in']} channels, but {shape[0]} come in.")
    if kind.ties(args) and (args["stride"] != 1 or widths["in"] != widths["out"]):
        raise SpecError(f"Row {row.name!r}: a skip needs stride 1 and equal widths.")
    macs, entry = 0, shape
    if len(shape) != kind.rank:
        raise SpecError(f"Row {row.name!r}: {row.kind} cannot take an input of shape {shape}.")
    for layer in kind.layers(args):
        if not layer.linear and not layer.pooled:
            shape = entry if layer.beside else shape
            shape = (widths[layer.target], *(-(-side // layer.stride) for side in shape[1:]))
        positions = 1 if layer.pooled or layer.linear else shape[1] * shape[2]
        fan_in = layer.kernel**2 * (1 if layer.depthwise else widths[layer.source])
        macs += positions * widths[layer.target] * fan_in
        if layer.linear:
            shape = (widths[layer.target],)
    return macs, kind.shape(args, shape) if kind.shape else shape


def _row_parameters(row: Block) -> int:
    """Counted on the float form of the row, so that a variant's precision does not change it."""
    total = 0
    for key, (_, axes) in state(row.replace(precision="float32")).items():
        if "running_" in key or key.endswith("num_batches_tracked"):
            continue
        size = 1
        for axis in axes:
            size *= axis.length if isinstance(axis, Axis) else axis
        total += size
    return total
